"""A character GPT on scalar Values, in one file that needs nothing but Python.

    python examples/gpt.py                                as it stands
    python -m micrograd_c --swap Value examples/gpt.py    its class Value replaced by micrograd_c's

One transformer layer (width 16, 4 heads, context 16) reads names letter by letter and learns to
guess the next letter; then it makes up names of its own. Every number in it is a Value, and its
gradient comes from the chain rule, one scalar at a time. The names to learn from are `input.txt`
in the current folder, one a line, or `--names FILE`, or else made up from syllables.
"""

import argparse
import math
import random
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

WIDTH = 16
HEADS = 4
HEAD_WIDTH = WIDTH // HEADS
CONTEXT = 16


class Value:
    """A scalar that remembers its parents and its derivative by each of them."""

    __slots__ = ("_children", "_local_grads", "data", "grad")

    def __init__(self, data, children=(), local_grads=()):
        self.data = data
        self.grad = 0.0
        self._children = children
        self._local_grads = local_grads

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, power):
        return Value(self.data**power, (self,), (power * self.data ** (power - 1),))

    def exp(self):
        out = math.exp(self.data)
        return Value(out, (self,), (out,))

    def log(self):
        return Value(math.log(self.data), (self,), (1.0 / self.data,))

    def relu(self):
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self):
        return self * -1

    def __radd__(self, other):
        return self + other

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return other + -self

    def __rmul__(self, other):
        return self * other

    def __truediv__(self, other):
        return self * other**-1

    def __rtruediv__(self, other):
        return other * self**-1

    def backward(self):
        """Add to the gradient of every Value that this one was made from."""
        order, seen = [], set()

        def visit(value):
            if value not in seen:
                seen.add(value)
                for child in value._children:
                    visit(child)
                order.append(value)

        visit(self)
        self.grad = 1.0
        for value in reversed(order):
            for child, local_grad in zip(value._children, value._local_grads):
                child.grad += local_grad * value.grad


# The model: matrices of Values, as lists of rows.


def make_matrix(rng, rows, columns):
    return [[Value(rng.gauss(0, 0.08)) for _ in range(columns)] for _ in range(rows)]


def make_model(rng, tokens=27):
    return {
        "token": make_matrix(rng, tokens, WIDTH),
        "position": make_matrix(rng, CONTEXT, WIDTH),
        "query": make_matrix(rng, WIDTH, WIDTH),
        "key": make_matrix(rng, WIDTH, WIDTH),
        "value": make_matrix(rng, WIDTH, WIDTH),
        "mix": make_matrix(rng, WIDTH, WIDTH),
        "expand": make_matrix(rng, 4 * WIDTH, WIDTH),
        "contract": make_matrix(rng, WIDTH, 4 * WIDTH),
        "head": make_matrix(rng, tokens, WIDTH),
    }


def parameters(model):
    return [p for matrix in model.values() for row in matrix for p in row]


def dot(a, b):
    return sum(ai * bi for ai, bi in zip(a, b))


def linear(x, weights):
    return [dot(row, x) for row in weights]


def add(a, b):
    return [ai + bi for ai, bi in zip(a, b)]


def take(rows, index):
    """A table lookup. To trace the loss with micrograd_c.compile, let its take and softmax stand
    here instead: for them an index is an input, and the highest score a node."""
    return rows[index]


def rmsnorm(x):
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def softmax(scores):
    highest = max(score.data for score in scores)
    exps = [(score - highest).exp() for score in scores]
    total = sum(exps)
    return [e / total for e in exps]


def attend(query, keys, values):
    """One head: the values seen so far, weighted by how well their keys match the query."""
    weights = softmax([dot(query, key) / HEAD_WIDTH**0.5 for key in keys])
    return [dot(weights, column) for column in zip(*values)]


def next_token(model, token, position, keys, values):
    """Probabilities of the token that follows `token`; keys and values remember those before it."""
    x = add(take(model["token"], token), take(model["position"], position))

    normed = rmsnorm(x)
    query = linear(normed, model["query"])
    keys.append(linear(normed, model["key"]))
    values.append(linear(normed, model["value"]))
    mixed = []
    for start in range(0, WIDTH, HEAD_WIDTH):
        head = slice(start, start + HEAD_WIDTH)
        mixed += attend(query[head], [key[head] for key in keys], [value[head] for value in values])
    x = add(x, linear(mixed, model["mix"]))

    hidden = [h.relu() for h in linear(rmsnorm(x), model["expand"])]
    x = add(x, linear(hidden, model["contract"]))

    return softmax(linear(rmsnorm(x), model["head"]))


# Training, one name a step.


class Adam:
    """Gradient descent at a pace of each parameter's own, from running means of g and g**2."""

    def __init__(self, parameters):
        self.parameters = parameters
        self.mean = [0.0] * len(parameters)
        self.square = [0.0] * len(parameters)
        self.steps = 0

    def step(self, learning_rate, beta1=0.9, beta2=0.99):
        """Move each parameter against its gradient, and clear the gradient."""
        self.steps += 1
        mean, square = self.mean, self.square
        rate = learning_rate / (1 - beta1**self.steps)  # both means start at 0, which is too low
        scale = 1 / (1 - beta2**self.steps)
        for i, p in enumerate(self.parameters):
            gradient = p.grad
            mean[i] += (1 - beta1) * (gradient - mean[i])
            square[i] += (1 - beta2) * (gradient * gradient - square[i])
            p.data -= rate * mean[i] / (math.sqrt(scale * square[i]) + 1e-8)
            p.grad = 0.0


def name_loss(model, tokens):
    """How badly the letters of a name were foreseen, in nats a letter."""
    keys, values, losses = [], [], []
    for position, (token, target) in enumerate(pairwise(tokens)):
        probabilities = next_token(model, token, position, keys, values)
        losses.append(-take(probabilities, target).log())
    return sum(losses) / len(losses)


def train_step(model, adam, tokens, learning_rate):
    """Learn from one name; its loss before the update."""
    loss = name_loss(model, tokens)
    loss.backward()
    adam.step(learning_rate)
    return loss.data


def train(model, names, letters, steps):
    """Learn from `steps` names, the learning rate falling to 0; yields loss and seconds of each."""
    adam = Adam(parameters(model))
    end = len(letters)  # the token that stands before and after each name
    for k in range(steps):
        start = time.perf_counter()
        name = names[k % len(names)]
        tokens = [end, *(letters.index(letter) for letter in name), end]
        loss = train_step(model, adam, tokens[: CONTEXT + 1], 0.01 * (1 - k / steps))
        yield loss, time.perf_counter() - start


def sample(model, letters, rng):
    """A made-up name, drawn letter by letter until the end mark or the end of the context."""
    end = len(letters)
    token, keys, values, name = end, [], [], ""
    for position in range(CONTEXT):
        weights = [p.data for p in next_token(model, token, position, keys, values)]
        token = rng.choices(range(len(weights)), weights)[0]
        if token == end:
            break
        name += letters[token]
    return name


def made_up_names(count=2000):
    """Names put together from syllables, the same ones every time."""
    onsets = [*"bcdfghjklllmmnnnprrssttvwxyz", "br", "ch", "gr", "qu", "sh", "th"]
    vowels = [*"aaaaeeeiioou", "ai", "ea", "ie"]
    endings = [*"hlmnnrs", "", "", ""]
    rng = random.Random(0)
    names = []
    for _ in range(count):
        syllables = [rng.choice(onsets) + rng.choice(vowels) for _ in range(rng.choice([2, 2, 3]))]
        if rng.random() < 0.3:
            syllables[0] = rng.choice(vowels)
        names.append("".join(syllables) + rng.choice(endings))
    return names


def read_names(path):
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [name for name in names if name]


def show_line(steps, total):
    """Progress on one line of a terminal, written over and over."""
    begin = time.perf_counter()
    for k, (loss, seconds) in enumerate(steps, 1):
        left = (time.perf_counter() - begin) / k * (total - k)
        print(
            f"\rstep {k:{len(str(total))}}/{total}  loss {loss:.4f}  "
            f"{seconds * 1e3:9,.2f} ms  {left:5,.0f} s left",
            end="\n" if k == total else "",
            flush=True,
        )
        yield loss, seconds


def show_log(steps, total):
    """Progress as a line now and then; ten decimals, so that two runs can be compared."""
    every = max(1, total // 20)
    for k, (loss, seconds) in enumerate(steps, 1):
        if k % every == 0 or k == total:
            print(f"step {k:{len(str(total))}}/{total}  loss {loss:.10f}", flush=True)
        yield loss, seconds


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description="Train a character GPT on names.")
    parser.add_argument("--steps", type=positive, default=1000, help="names to learn from")
    parser.add_argument("--samples", type=positive, default=20, help="names to make up at the end")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--names", type=Path, help="a file of names, one a line")
    args = parser.parse_args()

    path = args.names or Path("input.txt")
    if args.names or path.exists():
        source = path
        try:
            names = read_names(path)
        except (OSError, UnicodeDecodeError) as error:
            sys.exit(f"gpt.py: cannot read {path}: {error}")
        if not names:
            sys.exit(f"gpt.py: no names in {path}")
    else:
        names, source = made_up_names(), "made up from syllables"

    rng = random.Random(args.seed)
    rng.shuffle(names)
    letters = sorted(set("".join(names)))
    model = make_model(rng, len(letters) + 1)
    size = f"{len(letters)} letters, {len(parameters(model))} parameters"

    show = show_line if sys.stdout.isatty() else show_log
    losses, seconds = [], []
    try:
        print(f"{len(names)} names ({source}), {size}", flush=True)
        for step_loss, step_seconds in show(train(model, names, letters, args.steps), args.steps):
            losses.append(step_loss)
            seconds.append(step_seconds)
        made = [sample(model, letters, rng) for _ in range(args.samples)]
    except KeyboardInterrupt:
        print(f"\nStopped after {len(losses)} of {args.steps} steps.", file=sys.stderr)
        sys.exit(130)
    recent = losses[-100:]
    print(f"mean loss of the last {len(recent)} names: {statistics.fmean(recent):.4f}")
    print(f"{statistics.median(seconds) * 1e3:,.2f} ms a step (median)")
    print("names made up:", *made, sep="\n    ")


if __name__ == "__main__":
    main()
