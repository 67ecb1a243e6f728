"""Compiled programs against vectorised NumPy.

The same text runs on `Vec`: the numbers of all samples, and their derivatives by every leaf, in
arrays. Each array has REPLICAS rows, of which all but the first have every number and partial
changed by DELTA, up or down: what that does to a result says how much roundings may do to it. So a
result that cancellation left over is given that much room, and no other; where a replica decides
otherwise, or numbers are far out of scale, the result is nan: unknown.
"""

import pickle
import tempfile
from pathlib import Path

import numpy as np
from reference import OPERATIONS, tables

import micrograd_c as mg
from micrograd_c import Value

from . import Case, Wrong, programs

REPLICAS, DELTA = 4, 1e-9
MOST_SAMPLES = 300
ROOM = 1000 * 2.0**-52 / DELTA
UNARY, BINARY = tables(np)
LEAVES = ["x[0]", "x[1]", "x[2]", "s[0]", "s[1]", "w[0]", "w[1]", "w[2]"]
STEPS = [*programs.STEPS, "take", "detach"]
MODES = ["one", "one", "grad", "value_and_grad", "map", "sum", "mean", "grad.map", "grad.mean"]


class Vec:
    """numbers: (REPLICAS, samples); slopes: (leaves, REPLICAS, samples); depends: which leaves it
    may have a derivative by."""

    wobble = None  # set by each case: random numbers around 0, of a shape

    def __init__(self, numbers, slopes, depends):
        self.numbers, self.slopes, self.depends = numbers, slopes, depends

    @classmethod
    def made(cls, numbers, parents, exact=False):
        """parents: (Vec, partial) of each operand."""
        shape = parents[0][0].numbers.shape
        numbers = settled(numbers, exact)
        slopes = np.zeros((len(LEAVES), *shape))
        depends = np.zeros(len(LEAVES), bool)
        for parent, partial in parents:
            k = parent.depends
            partial = settled(partial if np.ndim(partial) else np.full(shape, partial), exact)
            slopes[k] += parent.slopes[k] * partial
            depends |= k
        slopes[:, np.isnan(numbers)] = np.nan
        return cls(numbers, slopes, depends)

    def lifted(self, x):
        if isinstance(x, Vec):
            return x
        numbers = np.full(self.numbers.shape, float(x))
        return Vec(numbers, 0 * self.slopes, np.zeros(len(LEAVES), bool))

    def unary(self, name):
        number, partial = UNARY[name]
        a = self.numbers
        known = ~np.isnan(a)  # elsewhere a comparison tells nothing
        parents = [(self, np.where(known, partial(a), np.nan))]
        return Vec.made(
            np.where(known, number(a), np.nan), parents, OPERATIONS[name].roundings == 0
        )

    def binary(self, name, other):
        other = self.lifted(other)
        numbers, partials = BINARY[name]
        a, b = self.numbers, other.numbers
        known = ~np.isnan(a + b)
        by_a, by_b = partials(a, b)
        parents = [(v, np.where(known, p, np.nan)) for v, p in ((self, by_a), (other, by_b))]
        found = np.where(known, numbers(a, b), np.nan)
        if name in ("add", "sub"):  # sums may be added in another order: what cancels here may not
            found = found + DELTA * Vec.wobble(a.shape) * (np.abs(a) + np.abs(b))
        return Vec.made(found, parents, OPERATIONS[name].roundings == 0)

    def __pow__(self, b):
        if isinstance(b, Vec):
            return self.binary("pow", b)
        a = self.numbers
        return Vec.made(a**b, [(self, b * a ** (b - 1) if b else 0.0 * a)])

    def detach(self):
        return Vec(self.numbers, 0 * self.slopes, np.zeros(len(LEAVES), bool))

    def __neg__(self):
        return self.unary("neg")

    def __abs__(self):
        return self.unary("abs")


def settled(x, exact):
    """Numbers rounded, in the replicas; nan where they are out of scale."""
    size = np.abs(x)
    x = np.where((size < 1e30) & ((size > 1e-30) | (size == 0)), x, np.nan)
    return x if exact else x * (1 + DELTA * Vec.wobble(x.shape))


for name in UNARY:
    setattr(Vec, name, lambda self, name=name: self.unary(name))
for name in BINARY:
    setattr(Vec, name, lambda self, other, name=name: self.binary(name, other))
for name in ("add", "sub", "mul", "truediv"):
    op = name.replace("truediv", "div")
    setattr(Vec, f"__{name}__", lambda a, b, op=op: a.binary(op, b))
    setattr(Vec, f"__r{name}__", lambda a, b, op=op: a.lifted(b).binary(op, a))


class Words:
    """micrograd_c's names, for Vecs."""

    @staticmethod
    def sum(values):
        values = list(values)
        total = values[0]
        for v in values[1:]:
            total = total + v
        return total

    @classmethod
    def dot(cls, xs, ys):
        return cls.sum(x * y for x, y in zip(xs, ys))

    @staticmethod
    def where(test, a, b):
        a, b = test.lifted(a), test.lifted(b)
        chosen = test.numbers > 0
        unknown = np.isnan(test.numbers)
        return Vec(
            np.where(unknown, np.nan, np.where(chosen, a.numbers, b.numbers)),
            np.where(unknown, np.nan, np.where(chosen, a.slopes, b.slopes)),
            a.depends | b.depends,
        )

    @staticmethod
    def max(values):
        a, b, c = values
        return a.max(b).max(c)

    @staticmethod
    def min(values):
        a, b, c = values
        return a.min(b).min(c)

    @classmethod
    def logsumexp(cls, values):
        top = cls.max(values).detach()
        return cls.sum((v - top).exp() for v in values).log() + top

    @classmethod
    def softmax(cls, values):
        top = cls.max(values).detach()
        exps = [(v - top).exp() for v in values]
        return [e / cls.sum(exps) for e in exps]

    @staticmethod
    def take(rows, index):
        a, b, c = rows
        c = a.lifted(c)
        at = index % 3
        return Vec(
            np.select([at == 0, at == 1], [a.numbers, b.numbers], c.numbers),
            np.select([at == 0, at == 1], [a.slopes, b.slopes], c.slopes),
            a.depends | b.depends | c.depends,
        )


def case(rng):
    length = rng.choice([3, 6, 10, 20, 30])
    setup = {
        "seed": rng.getrandbits(32),
        "first": 0,
        "samples": rng.choice([1, 2, 5, 9, 9, 17, MOST_SAMPLES]),
        "results": rng.choice([1, 1, 1, 2]),
        "optimize": rng.random() < 0.9,
        "threads": rng.choice([1, 1, 1, 2]),
    }
    steps = [("step", programs.step(rng, STEPS)) for _ in range(length)]
    calls = []
    for _ in range(rng.choice([1, 2, 4])):
        calls.append(("call", rng.choice(MODES), rng.randrange(300)))
        if rng.random() < 0.4:
            calls.append(("assign", rng.randrange(3), round(rng.gauss(0, 1.5), 3)))
        if rng.random() < 0.1:
            calls.append(("again", rng.choice(["file", "pickle", "clear"]), 0))
    return Case(setup, steps + calls)


def smaller(case):
    """Fewer samples, and less of what else there is."""
    for first in range(case.setup["samples"] if case.setup["samples"] > 1 else 0):
        yield case._replace(setup={**case.setup, "first": first, "samples": 1})
    for key, value in (("results", 1), ("optimize", True), ("threads", 1)):
        if case.setup[key] != value:
            yield case._replace(setup={**case.setup, key: value})


def source(case):
    """(source of the function, number of results)"""
    steps = [step for kind, step, *_ in case.steps if kind == "step"]
    lines, nodes = programs.body(steps, LEAVES)
    made = nodes[len(LEAVES) :] or nodes
    results = [" + ".join([made[-1], *made[:-1:3]])]
    if case.setup["results"] == 2:
        results.append(f"{made[len(made) // 2]} * 1.5")
    result = results[0] if len(results) == 1 else f"[{', '.join(results)}]"
    return programs.function("f(x, s, i)", lines, result), len(results)


class Numbers:
    """The leaves of a case."""

    def __init__(self, setup):
        draw = np.random.default_rng(setup["seed"])
        n = MOST_SAMPLES
        window = slice(setup["first"], setup["first"] + setup["samples"])
        special = [0.0, 1.0, -1.0, 0.5, 2.0, 1e-8, 30.0]

        def numbers(*shape):
            x = draw.normal(0, 1.2, shape).round(3)
            return np.where(draw.random(shape) < 0.15, draw.choice(special, shape), x)

        self.x, self.s, self.w = numbers(n, 3)[window], numbers(2), numbers(3)
        self.i = draw.integers(-3, 3, n)[window]
        self.random = np.random.default_rng(setup["seed"] + 1)

    def reference(self, code):
        """The results, Vecs."""
        n = len(self.x)
        columns = [*self.x.T, *(np.full(n, v) for v in (*self.s, *self.w))]
        unit = np.eye(len(LEAVES))
        vecs = []
        for k, column in enumerate(columns):
            slopes = np.repeat(unit[k], REPLICAS * n).reshape(len(LEAVES), REPLICAS, n)
            vecs.append(Vec(np.tile(column, (REPLICAS, 1)), slopes, unit[k] > 0))

        def wobble(shape):
            found = self.random.uniform(-2, 2, shape)
            found[0] = 0
            return found

        Vec.wobble = staticmethod(wobble)
        names = {"mg": Words, "w": vecs[5:]}
        exec(code, names)
        with np.errstate(all="ignore"):
            result = names["f"](vecs[:3], vecs[3:5], self.i)
        return result if isinstance(result, list) else [result]


def compare(what, ours, expected):
    """expected: (..., REPLICAS, n), the numbers with their replicas; ours: (..., n)."""
    exact = expected[..., 0, :]
    ours = np.asarray(ours, float)
    if ours.shape != exact.shape:
        raise Wrong(f"{what} has shape {ours.shape}, not {exact.shape}")
    with np.errstate(all="ignore"):
        spread = np.abs(expected - expected[..., :1, :]).max(axis=-2)
        room = ROOM * spread + 1e-14 * np.abs(exact) + 1e-300
        known = np.isfinite(spread) & (spread <= 1e-3 * np.abs(exact).clip(1e-3))
        wrong = known & ~(np.abs(ours - exact) <= room)
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0].tolist())
        raise Wrong(
            f"{what}: {ours[at]!r} at {list(at)}, where the reference has {exact[at]!r}"
            f" with room for {room[at]:.2g}"
        )


def averaged(vec, mean):
    """Sums or means over the samples: (numbers, slopes), each with a last axis of 1."""
    n = vec.numbers.shape[-1] if mean else 1
    return vec.numbers.sum(-1, keepdims=True) / n, vec.slopes.sum(-1, keepdims=True) / n


def derivatives(out, leaves):
    """Of one result by Values."""
    for v in leaves:
        v.grad = 0.0
    out.backward()
    return [v.grad for v in leaves]


def check_call(f, mode, k, numbers, w, expected):
    """One call, in one of the MODES, against the reference."""
    x, s, i = numbers.x, list(numbers.s), numbers.i
    k %= len(x)
    several = len(expected) > 1
    shared = [Value(v) for v in s]
    if mode in ("one", "sum", "mean"):
        if mode == "one":
            values = [Value(v) for v in x[k]]
            leaves = [*values, *shared, *w]
            out = f(values, shared, int(i[k]))
            wanted = [(vec.numbers[:, k : k + 1], vec.slopes[..., k : k + 1]) for vec in expected]
        else:
            leaves = [*shared, *w]
            out = getattr(f, mode)(x.tolist(), mg.shared(shared), i)
            wanted = [averaged(vec, mode == "mean") for vec in expected]
        outs = out if several else [out]
        for r, (out, (value, slopes)) in enumerate(zip(outs, wanted)):
            compare(f"f.{mode}, result {r}", [out.data], value)
            grads = np.array(derivatives(out, leaves))[:, None]
            compare(f"f.{mode}, gradient of result {r}", grads, slopes[-len(leaves) :])
    elif mode == "map":
        found = f.map(x.tolist(), mg.shared(s), i)
        for r, (ours, vec) in enumerate(zip(found if several else [found], expected)):
            compare(f"f.map, result {r}", ours, vec.numbers)
    elif several:
        return
    elif mode in ("grad", "value_and_grad"):
        found = getattr(f, mode)(list(x[k]), s, int(i[k]), argnums=(0, 1))
        if mode == "value_and_grad":
            value, found = found
            compare("f.value_and_grad", [value], expected[0].numbers[:, k : k + 1])
        ours = np.array([*found[0], *found[1]], float)[:, None]
        compare(f"f.{mode}", ours, expected[0].slopes[:5, :, k : k + 1])
    elif mode == "grad.map":
        compare("f.grad.map", f.grad.map(x.tolist(), mg.shared(s), i), expected[0].slopes[:3])
    else:
        found = f.grad.mean(x.tolist(), mg.shared(s), i, argnums=1)
        compare("f.grad.mean", np.array(found, float)[:, None], averaged(expected[0], True)[1][3:5])


def again(f, how, numbers):
    """The function by another way: (what is called, its captured Values or None)."""
    if how == "clear":
        f.clear()
        return f, None
    program = f.program(list(numbers.x[0]), list(numbers.s), int(numbers.i[0]))
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(program))
    else:
        with tempfile.TemporaryDirectory() as folder:
            program.save(Path(folder) / "f.npz")
            twin = mg.load(Path(folder) / "f.npz")
    order = {id(v): k for k, v in enumerate(program.captured)}
    return twin, lambda w: [twin.captured[order[id(v)]] if id(v) in order else v for v in w]


def run(case):
    text, _ = source(case)
    code = compile(text, "<program>", "exec")
    numbers = Numbers(case.setup)
    w = [Value(v) for v in numbers.w]
    names = {"mg": mg, "w": w}
    exec(code, names)
    f = mg.compile(names["f"], optimize=case.setup["optimize"])
    expected = numbers.reference(code)
    before = mg.get_num_threads()
    mg.set_num_threads(case.setup["threads"])
    try:
        for kind, what, k in (step for step in case.steps if step[0] != "step"):
            if kind == "call":
                check_call(f, what, k, numbers, w, expected)
            elif kind == "assign":
                w[what].data = numbers.w[what] = k
                expected = numbers.reference(code)
            elif hasattr(f, "clear"):  # no Program yet
                f, captured = again(f, what, numbers)
                w = captured(w) if captured else w
    finally:
        mg.set_num_threads(before)


def script(case):
    numbers = Numbers(case.setup)
    text, _ = source(case)
    array = "np.array({})".format
    lines = [
        "import numpy as np",
        "import micrograd_c as mg",
        f"w = [mg.Value(v) for v in {numbers.w.tolist()}]",
        text,
        f"f = mg.compile(f, optimize={case.setup['optimize']})",
        f"x = {numbers.x.tolist()}",
        f"s, i = {numbers.s.tolist()}, {array(numbers.i.tolist())}",
    ]
    for kind, what, k in (step for step in case.steps if step[0] != "step"):
        one = k % len(numbers.x)
        if kind == "assign":
            lines.append(f"w[{what}].data = {k}")
        elif kind == "again":
            lines.append("f.clear()" if what == "clear" else f"# f through a {what}")
        elif what in ("one", "grad", "value_and_grad"):
            call = {"one": "f"}.get(what, f"f.{what}")
            lines.append(f"print({call}(x[{one}], s, int(i[{one}])))")
        else:
            lines.append(f"print(f.{what}(x, mg.shared(s), i))")
    return "\n".join(lines)
