"""Random functions from the op table: eager, compiled and compiled without passes agree, for one
sample and for many, on every instruction set of this machine and on any number of threads.

A function is a list of steps over a growing list of nodes. It is run in two dialects: `Plain`, in
eager Values, their operators and Python's control flow alone; `Traced`, in micrograd_c's names.
"""

import json
import math
import operator
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ARITY, call, kinks, live_nodes

import micrograd_c as mg
from micrograd_c import Value
from micrograd_c._core import OPS

NUMBERS = [-2.0, -1.5, -1.0, -0.5, 0.25, 0.5, 0.7, 1.0, 1.25, 2.0, 3.0]
# An operator with a number for its first or second operand.
WITH_NUMBERS = [f"{name} {side}" for name in ("add", "sub", "mul", "div") for side in "lr"]
SEVERAL = ["sum", "dot", "chain", "where", "largest", "smallest", "logsumexp", "softmax", "take"]
STEPS = [*ARITY, *WITH_NUMBERS, *SEVERAL, "affine", "detach"]

INPUTS, SHARED, CAPTURED = 3, 2, 3
LEAVES = INPUTS + SHARED + CAPTURED


class Plain:
    """What the words below mean, in eager Values, their operators and Python."""

    sum = staticmethod(sum)
    take = staticmethod(operator.getitem)

    @staticmethod
    def dot(xs, ys):
        return sum(x * y for x, y in zip(xs, ys))

    @staticmethod
    def where(test, a, b):
        return a if test.data > 0 else b

    @staticmethod
    def largest(values):
        return max(values, key=lambda v: v.data)

    @staticmethod
    def smallest(values):
        return min(values, key=lambda v: v.data)

    @staticmethod
    def softmax(values):
        highest = max(v.data for v in values)
        exps = [(v - highest).exp() for v in values]
        return [e / sum(exps) for e in exps]

    @staticmethod
    def logsumexp(values):
        highest = max(v.data for v in values)
        return sum((v - highest).exp() for v in values).log() + highest

    @staticmethod
    def detach(v):
        return Value(v.data)


class Smooth(Plain):
    """As Plain, but a detached value still shows how it depends on others."""

    @staticmethod
    def detach(v):
        return v * 1.0


class Traced:
    """The same words of micrograd_c."""

    def __getattr__(self, name):
        return getattr(mg, {"largest": "max", "smallest": "min"}.get(name, name))

    @staticmethod
    def detach(v):
        return v.detach()


def apply(words, step, nodes, index):
    """What the step makes of the nodes so far."""
    name, i, j, k, number = step
    a, b, c = (nodes[at % len(nodes)] for at in (i, j, k))
    if name == "powc":
        return a**number
    if name in ARITY:
        return call(name, a, b) if ARITY[name] == 2 else call(name, a)
    if name in WITH_NUMBERS:
        return call(name[:-2], *((number, a) if name[-1] == "l" else (a, number)))
    if name == "affine":
        return a * number + 0.5
    if name == "detach":
        return words.detach(a)
    if name == "sum":
        return words.sum([a, b, number, c, a])
    if name == "dot":
        return words.dot([a, b, 2.0], [c, number, a])
    if name == "chain":  # a sum of products over a run of nodes, as a neuron writes it
        row = nodes[i % len(nodes) :][:4]
        return sum((w * x for w, x in zip(row, nodes)), c)
    if name == "where":
        return words.where(a, b, c)
    if name == "softmax":
        return words.softmax([a, b, c])[1]
    if name == "take":
        return words.take([a, b, number * c], index)
    return getattr(words, name)([a, b, c])


def run(words, steps, x, shared, captured, index):
    nodes = [*x, *shared, *captured]
    for step in steps:
        nodes.append(apply(words, step, nodes, index))
    return nodes


def apart(a, b):
    return a is b or abs(a.data - b.data) > 1e-3


def away_from_kinks(step, nodes):
    """Whether the step has a moderate second derivative here, so that roundings do not matter."""
    name, i, j, k, _ = step
    a, b, c = (nodes[at % len(nodes)] for at in (i, j, k))
    if name == "where":
        return abs(a.data) > 0.05
    if name in ("min", "max"):
        return apart(a, b)
    if name in ("largest", "smallest"):
        return apart(a, b) and apart(b, c) and apart(a, c)
    if name in ("atan2", "hypot"):
        return math.hypot(a.data, b.data) > 0.3 and (b.data > 0 or abs(a.data) > 1e-3)
    return name not in ARITY or all(abs(a.data - at) > 0.05 for at in kinks(name))


def tame(step, nodes, index):
    """The node that the step makes, eagerly; None where it is not well-scaled.

    Well-scaled: numbers and slopes are moderate, and errors of one unit in the last place in every
    node before add up to some hundred units.
    """
    if not away_from_kinks(step, nodes):
        return None
    for node in nodes:
        node.grad = 0.0
    try:
        out = apply(Smooth, step, nodes, index)
    except (ArithmeticError, ValueError):
        return None
    if not 1e-6 < abs(out.data) < 10 or any(abs(slope) > 5 for slope in out._local_grads):
        return None
    out.backward()
    return out if sum(abs(v.grad * v.data) for v in nodes) < 200 else None


class Case:
    """Steps that are well-scaled on all samples, the samples, and what eager Values say of them."""

    def __init__(self, steps, draw, samples=9):
        # Quarters, so that leaves are apart and some are equal.
        numbers = lambda *shape: draw.integers(1, 9, shape) / 4 * draw.choice([-1, 1], shape)  # noqa: E731
        self.x = numbers(samples, INPUTS) + draw.uniform(-0.02, 0.02, (samples, INPUTS))
        self.index = draw.integers(-3, 3, samples)
        self.shared, self.captured = (list(map(Value, numbers(n))) for n in (SHARED, CAPTURED))
        self.leaves = [*self.shared, *self.captured]
        rows = [[*map(Value, x), *self.leaves] for x in self.x]
        self.steps = []
        for step in steps:
            outs = []
            for row, index in zip(rows, self.index):
                outs.append(tame(step, row, index))
                if outs[-1] is None:
                    break
            else:
                for row, out in zip(rows, outs):
                    row.append(out)
                self.steps.append(step)
        self.eager()

    def result(self, nodes):
        """The last node, and as one number all that nothing else depends on."""
        return nodes[-1] + sum(nodes[LEAVES:-1], nodes[0]) / len(nodes)

    def function(self, words):
        def fn(x, shared, index):
            return self.result(run(words, self.steps, x, shared, self.captured, index))

        return fn

    def eager(self):
        """values (n,), gradients by x (n, INPUTS) and by the other leaves (n, rest), and scale: the
        largest gradient of any node on the way."""
        self.values, self.by_x, self.by_leaves, self.scale = [], [], [], 1.0
        for row, index in zip(self.x, self.index):
            for leaf in self.leaves:
                leaf.grad = 0.0
            x = list(map(Value, row))
            nodes = run(Plain, self.steps, x, self.shared, self.captured, index)
            out = self.result(nodes)
            out.backward()
            self.values.append(out.data)
            self.by_x.append([v.grad for v in x])
            self.by_leaves.append([v.grad for v in self.leaves])
            self.scale = max(self.scale, *(abs(v.grad) for v in nodes))
        self.values, self.by_x, self.by_leaves = map(
            np.array, (self.values, self.by_x, self.by_leaves)
        )

    def close(self, ours, expected, rel):
        """Equal to `rel`; what cancellation left over, to as much of the terms that cancelled."""
        np.testing.assert_allclose(ours, expected, rtol=rel, atol=rel * 0.1 * self.scale)

    def gradients(self, out):
        for leaf in self.leaves:
            leaf.grad = 0.0
        out.backward()
        return np.array([leaf.grad for leaf in self.leaves])

    def check(self, f, value_rel=1e-12, grad_rel=1e-10):
        """One sample, map, mean, sum and gradients of a compiled function against eager's."""
        shared = mg.shared(self.shared)
        self.close(f.map(self.x, shared, self.index), self.values, value_rel)
        self.close(f.grad.map(self.x, shared, self.index), self.by_x, grad_rel)
        for out, expected, by_leaves in (
            (f.sum, self.values.sum(), self.by_leaves.sum(axis=0)),
            (f.mean, self.values.mean(), self.by_leaves.mean(axis=0)),
        ):
            out = out(self.x, shared, self.index)
            self.close(out.data, expected, value_rel * 10)
            self.close(self.gradients(out), by_leaves, grad_rel)
        for k in (0, len(self.x) - 1):
            args = list(self.x[k]), self.shared, int(self.index[k])
            out = f(*args)
            self.close(out.data, self.values[k], value_rel)
            self.close(self.gradients(out), self.by_leaves[k], grad_rel)
            value, grad = f.value_and_grad(*args)
            self.close(value, self.values[k], value_rel)
            self.close(grad, self.by_x[k], grad_rel)

    def numbers(self, f, copies=40):
        """All numbers that many samples give, in one array."""
        x, index = np.tile(self.x, (copies, 1)), np.tile(self.index, copies)
        args = x, mg.shared(self.shared), index
        mean = f.mean(*args)
        parts = f.map(*args), f.grad.map(*args), mean.data, self.gradients(mean)
        return np.concatenate([np.ravel(part) for part in parts])


def random_case(seed, length=30):
    rng = random.Random(seed)
    steps = [
        (rng.choice(STEPS), *(rng.randrange(40) for _ in range(3)), rng.choice(NUMBERS))
        for _ in range(length)
    ]
    return Case(steps, np.random.default_rng(seed))


def compiled(case):
    return mg.compile(case.function(Traced()))


def draw_cases(names):
    at = st.integers(0, 40)
    step = st.tuples(st.sampled_from(names), at, at, at, st.sampled_from(NUMBERS))
    steps = st.lists(step, min_size=1, max_size=30)
    return st.builds(lambda steps, seed: Case(steps, np.random.default_rng(seed)), steps, at)


cases = draw_cases(STEPS)
# Those whose plain words ask for no number.
unrolled_cases = draw_cases([*ARITY, *WITH_NUMBERS, "sum", "dot", "chain", "affine"])


@settings(max_examples=120)
@given(cases)
def test_compiled_is_eager(case):
    case.check(compiled(case))


@settings(max_examples=60)
@given(cases)
def test_passes_change_no_number(case):
    plain = mg.compile(case.function(Traced()), optimize=False)
    case.check(plain)
    f, shared = compiled(case), mg.shared(case.shared)
    args = case.x, shared, case.index
    for ours, expected in (
        (f.map(*args), plain.map(*args)),
        (f.grad.map(*args), plain.grad.map(*args)),
        (case.gradients(f.sum(*args)), case.gradients(plain.sum(*args))),
        (f.grad(case.x[0], case.shared, 1), plain.grad(case.x[0], case.shared, 1)),
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12 * case.scale)


@settings(max_examples=40)
@given(unrolled_cases)
def test_eager_code_is_traced_as_it_stands(case):
    case.check(mg.compile(case.function(Plain)))


@settings(max_examples=40)
@given(cases, st.sampled_from([1, 7, 8, 9, 64, 255, 257, 1000]))
def test_every_sample_of_many_is_that_of_one(case, n):
    f, shared = compiled(case), mg.shared(case.shared)
    pick = np.random.default_rng(n).integers(0, len(case.x), n)
    x, index = case.x[pick], case.index[pick]
    case.close(f.map(x, shared, index), case.values[pick], 1e-12)
    case.close(f.grad.map(x, shared, index), case.by_x[pick], 1e-10)
    mean = f.mean(x, shared, index)
    case.close(mean.data, case.values[pick].mean(), 1e-11)
    case.close(case.gradients(mean), case.by_leaves[pick].mean(axis=0), 1e-10)


@settings(max_examples=25)
@given(cases)
def test_results_do_not_depend_on_the_number_of_threads(case):
    f, threads = compiled(case), mg.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            mg.set_num_threads(n)
            results.append(case.numbers(f, copies=123))
    finally:
        mg.set_num_threads(threads)
    for other in results[1:]:
        assert np.array_equal(results[0], other)


@settings(max_examples=25)
@given(cases)
def test_nothing_is_left_on_the_tape(case):
    f = compiled(case)
    before = live_nodes()
    f.map(case.x, mg.shared(case.shared), case.index)
    f.mean(case.x, mg.shared(case.shared), case.index).backward()
    assert f.check(list(case.x[0]), case.shared, int(case.index[0])) < 1e-10
    assert live_nodes() <= before  # fewer where an earlier example's were still held


# ---- every op of the table, over all kinds of numbers

INF = math.inf
UNARY = [0.0, 5e-324, 1e-308, 1e-200, 1e-20, 1e-10, 1e-5, 1e-3, 0.1, 0.25, 0.5, 0.7, 0.9]
UNARY += [1 - 1e-10, math.nextafter(1, 0), 1.0, math.nextafter(1, 2), 1 + 1e-10, 1.1, 1.5]
UNARY += [math.pi / 2, 2.0, 3.0, math.pi, 5.0, 10.0, 18.5, 26.0, 36.7, 40.0, 100.0, 700.0]
UNARY += [709.0, 709.5, 745.0, 800.0, 1e5, 1e10, 1e16, 1e154, 1e200, 1e300, 1.7e308, INF]
UNARY += [-x for x in UNARY]
UNARY += [math.nan, *np.random.default_rng(0).normal(size=150) * 3]
BINARY = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0, 0.1, 1e-200, 1e-300, 1e200, 1e300, INF]
BINARY += [-x for x in BINARY] + [math.nan]
POWERS = [-2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 10, -3.0, 1 / 3]


def eager_points(fn, points):
    """(n, 1 + operands): value and partials at each point, nan where the eager op raises."""
    out = []
    for point in points:
        leaves = [Value(x) for x in point]
        try:
            result = fn(*leaves)
        except (ArithmeticError, ValueError):
            out.append([math.nan] * (1 + len(point)))
            continue
        result.backward()
        out.append([result.data, *(leaf.grad for leaf in leaves)])
    return np.array(out)


def agree(name, ours, expected, points, rel):
    """Equal to `rel`; where eager raises or overflows, ours is not finite either."""
    raised = np.isnan(expected)
    with np.errstate(invalid="ignore"):
        fine = np.abs(ours - expected) <= rel * np.abs(expected) + 1e-306
    fine |= ours == expected
    fine[raised] = ~np.isfinite(ours[raised])
    wrong = [(p, o, e) for p, o, e, ok in zip(points, ours, expected, fine) if not ok]
    assert not wrong, f"{name}: (operands, compiled, eager)\n" + "\n".join(map(str, wrong[:20]))


def op_cases():
    for op in OPS:
        if op.name == "powc":
            for power in POWERS:
                yield f"** {power}", lambda x, power=power: x**power, 1
        else:
            yield op.name, lambda *xs, name=op.name: call(name, *xs), op.arity


def check_op(name, fn, arity):
    if arity == 1:
        f = mg.compile(lambda x: fn(x))
        points = [(x,) for x in UNARY]
    else:
        f = mg.compile(lambda x, y: fn(x, y))
        points = [(x, y) for x in BINARY for y in BINARY]
    expected = eager_points(fn, points)
    argnums = tuple(range(arity))
    columns = np.array(points).T
    values, grads = f.value_and_grad.map(*columns, argnums=argnums)
    value_rel = 5e-14 if "pow" in name or "**" in name else 1e-14
    agree(name, values, expected[:, 0], points, value_rel)
    agree(f"{name}, map alone", f.map(*columns), expected[:, 0], points, value_rel)
    # Partials at a point where the value itself is an error are nobody's promise.
    sound = np.isfinite(expected).all(axis=1)
    kept = [point for point, ok in zip(points, sound) if ok]
    for k in range(arity):
        label = f"{name}, partial {k}"
        agree(label, grads[k][sound], expected[sound, 1 + k], kept, 2e-12)
    if arity == 2:  # one operand uniform, either one
        for k in range(0, len(BINARY), 3):
            at = slice(k, None, len(BINARY))
            ours = f.map(columns[0][at], BINARY[k])
            agree(f"{name}, second shared", ours, expected[at, 0], points[at], value_rel)
            at = slice(k * len(BINARY), (k + 1) * len(BINARY))
            ours = f.map(BINARY[k], columns[1][at])
            agree(f"{name}, first shared", ours, expected[at, 0], points[at], value_rel)
    few = list(range(0, len(points), 5))
    single = [f.value_and_grad(*points[k], argnums=argnums) for k in few]
    some = [points[k] for k in few]
    agree(f"{name}, one", np.array([v for v, _ in single]), expected[few, 0], some, value_rel)
    for k in range(arity):
        ours = np.array([g[k] for _, g in single])
        agree(
            f"{name}, partial {k}, one",
            ours[sound[few]],
            expected[few, 1 + k][sound[few]],
            [p for p, ok in zip(some, sound[few]) if ok],
            2e-12,
        )


@pytest.mark.parametrize("op", [*op_cases()], ids=lambda op: op[0])
def test_every_op_over_all_kinds_of_numbers(op):
    check_op(*op)


def test_every_op_is_drawn():
    assert set(ARITY) <= set(STEPS)
    used = {step[0] for seed in range(60) for step in random_case(seed).steps}
    assert used == set(STEPS)


# ---- instruction sets, forced as the package loads

ISAS = ["baseline", "avx2", "avx512"]


def available():
    """The instruction sets up to the one in use, which is the best of this machine."""
    return ISAS[: ISAS.index(mg.get_isa()) + 1] if mg.get_isa() in ISAS else [mg.get_isa()]


def check_everything(seeds):
    """For the processes below: every op, and random functions with their passes and without."""
    for op in op_cases():
        check_op(*op)
    for seed in seeds:
        case = random_case(seed)
        case.check(compiled(case))
        case.check(mg.compile(case.function(Traced()), optimize=False))


def results(seeds):
    """Numbers of random functions, to be compared over instruction sets."""
    return [(case := random_case(seed)).numbers(compiled(case)).tolist() for seed in seeds]


SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import json
import micrograd_c as mg
import test_compile_random as tests
tests.check_everything(range(15))
threads = []
for n in (1, 2, 3):
    mg.set_num_threads(n)
    threads.append(json.dumps(tests.results(range(100, 104))))
assert threads[0] == threads[1] == threads[2]
print(mg.get_isa(), threads[0], sep="\\n")
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(run, isa, monkeypatch):
    if isa not in available():
        pytest.skip(f"{mg.get_isa()} is the best here")
    monkeypatch.setenv("MICROGRAD_C_ISA", isa)
    used, numbers = run(SCRIPT, timeout=300).splitlines()
    assert used == isa
    for seed, ours in zip(range(100, 104), json.loads(numbers), strict=True):
        case = random_case(seed)
        case.close(np.array(ours), case.numbers(compiled(case)), 1e-10)
