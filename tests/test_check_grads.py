"""check_grads: right derivatives pass, wrong ones are named."""

import math
import random
from collections import namedtuple

import numpy as np
import pytest
from reference import call, within

import micrograd_c as mg
from micrograd_c import Value, _core, autograd, check_grads, nn
from micrograd_c import check as checking


def fault_of(*args, **keywords):
    with pytest.raises(AssertionError) as error:
        check_grads(*args, **keywords)
    return str(error.value)


# ---- right functions


def of_op(op, rng):
    """An operation of the table as a function, and a point where it is smooth."""
    points = [rng.uniform(*within(op.name, -3, 5)), rng.uniform(0.3, 2)]
    if op.name == "powc":
        return lambda a: call("powc", a, points[1]), points[:1]
    if op.arity == 1:
        return lambda a: call(op.name, a), points[:1]
    return lambda a, b: call(op.name, a, b), points


@pytest.mark.parametrize("op", _core.OPS, ids=lambda op: op.name)
def test_the_operations(op):
    rng = random.Random(op.name)
    for _ in range(3):
        f, args = of_op(op, rng)
        check_grads(f, *args)
        check_grads(f, *args, order=3)
        check_grads(mg.compile(lambda *x: (f(*x) * 1.7 + x[0]).tanh()), *args)  # noqa: B023
        check_grads(lambda *x: [1e-6 * f(*x), f(*x) + 1e3], *args)  # noqa: B023


def test_random_functions():
    rng = random.Random(5)
    smooth = [op for op in _core.OPS if op.name in "add sub mul sin cos tanh exp softplus".split()]
    for _ in range(20):
        plan = [(rng.choice(smooth), rng.random(), rng.random()) for _ in range(15)]

        def f(x):
            values = list(x)
            for op, p, q in plan:  # noqa: B023
                chosen = [values[int(p * len(values))], values[int(q * len(values))]]
                values.append(call(op.name, *chosen[: op.arity]).tanh())
            return values[-3:]

        check_grads(f, np.array([rng.uniform(-1, 1) for _ in range(4)]))


def test_structures_and_integers():
    Point = namedtuple("Point", "x y")

    def f(a, p, table, k, flag, name, none):
        assert flag and name == "s" and none is None
        rows = mg.take([table["w"][0, 0], table["w"][1, 2], table["b"]], k)
        return {"r": a @ a * p.x, "s": (p.y[0] - rows, [rows.exp()])}

    args = (
        np.array([1.0, 2.0]),
        Point(0.5, (3.0, 4)),
        {"w": np.arange(6.0).reshape(2, 3), "b": Value(0.25)},
        1,
        True,
        "s",
        None,
    )
    check_grads(f, *args)
    check_grads(mg.compile(f), *args)
    check_grads(lambda k, x: x * k, 3, np.float32(0.5))
    check_grads(lambda i, x: mg.take(list(x), i[1]) * i[0], np.array([2, -1]), np.array([1.0, 2.0]))
    check_grads(lambda k: Value(2.0) * k, 3)  # nothing to differentiate by
    check_grads(lambda x: [], 3.0)
    check_grads(lambda x: [x, 5.0], 3.0)


def test_captured_values_and_models():
    rng = np.random.default_rng(1)
    model = nn.MLP(3, [4, 1])
    for p in model.parameters():
        p.data = rng.uniform(0.2, 1)

    def loss(x, y):
        return (model(x) - y) ** 2 + sum(p * p for p in model.parameters())

    before = [p.data for p in model.parameters()]
    check_grads(loss, np.array([0.1, 0.2, 0.3]), 0.5)
    check_grads(mg.compile(loss), np.array([0.1, 0.2, 0.3]), 0.5)
    check_grads(mg.compile(lambda: loss([0.1, 0.2, 0.3], 0.5)))  # by the parameters alone
    assert [p.data for p in model.parameters()] == before
    assert all(p.grad == 0 for p in model.parameters())


def test_a_program(tmp_path):
    w = Value(2.0)
    program = mg.compile(lambda x: w * x.sin()).program(1.0)
    check_grads(program, 0.5)
    program.save(tmp_path / "p.npz")
    check_grads(mg.load(tmp_path / "p.npz"), 0.5)


@pytest.mark.parametrize(
    "f, x",
    [
        (lambda x: x.log(), 1e-8),
        (lambda x: x.log(), 1e10),
        (lambda x: x.log(), 1e-100),
        (lambda x: x.sin(), 1e10),
        (lambda x: (x * 200.0).sin(), 1.0),
        (lambda x: (x + 1e8) - 1e8, 1.0),
        (lambda x: (x + 1e8) - 1e8 + x * x, 3.0),
        (lambda x: x * x + 1e9, 1e-3),
        (lambda x: x.cbrt(), -1e-8),
        (lambda x: x.relu() + 1000.0, 1e-8),
        (lambda x: x**5, 1e50),
        (lambda x: x.exp(), 500.0),
        (lambda x: x * 1e-200, 2.0),
        (lambda x: x * 0.0 + 1.0, 2.0),
        (lambda x: (-(x * x)).exp(), 20.0),
    ],
)
def test_it_is_not_too_strict(f, x):
    check_grads(f, x)
    check_grads(lambda x: f(x) if x.data else f(x), x)  # cannot be traced


# ---- wrong ones


def own(x, value, derivative):
    """An operation of the user's own, of one operand."""
    return Value(value(x.data), (x,), "own", local_grads=(derivative(x.data),))


def test_a_wrong_derivative_is_named():
    text = fault_of(lambda x, y: own(x, math.sin, math.sin) * y, 0.5, 2.0)
    assert text.startswith(
        f"forward mode, on the tape: the derivative by argument 'x' is {2 * math.sin(0.5)!r};"
        " finite differences give 1.7551"
    )
    number = float(text.split("give ")[1].split(",")[0])
    assert number == pytest.approx(2 * math.cos(0.5), rel=1e-11)
    error = float(text.split("about ")[1])
    assert 0 < error < 1e-11
    text = fault_of(lambda *a: own(a[1], math.sin, math.sin), 0.5, 2.0, modes=["reverse"])
    assert text.startswith("reverse mode, on the tape: the derivative by argument 2 is")


@pytest.mark.parametrize("op", _core.OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_wrong_partial_of_each_operation(op, mode):
    """An error of 1e-6 of the partial is found, by either operand; without it all is right."""
    rng = random.Random(op.name)
    f, args = of_op(op, rng)
    if op.name in ("min", "max"):
        args = [1.0, 2.0] if op.name == "max" else [2.0, 1.0]  # the second is chosen

    for wrong in [None, *range(len(args))]:

        def with_own_partials(*operands):
            result = f(*operands)
            partials = [
                g * (1 + 1e-6 * (k == wrong))  # noqa: B023
                for k, g in enumerate(result._local_grads)
            ]
            return Value(result.data, operands, "own", local_grads=partials)

        known = f(*map(Value, args))._local_grads
        if wrong is None or known[wrong] == 0:
            check_grads(with_own_partials, *args, modes=[mode])
        else:
            text = fault_of(with_own_partials, *args, modes=[mode])
            assert f"by argument {wrong + 1} is" in text


@pytest.mark.parametrize(
    "args, name",
    [
        ([[1.0, 2.0, 3.0]], "'x'[1]"),
        ([(1.0, {"a": 5, "b": [2.0]})], "'x'[1]['b'][0]"),
        ([np.arange(6.0).reshape(2, 3) + 1], "'x'[0, 1]"),
        ([mg.array([1.0, 2.0])], "'x'[1]"),
        ([{"k": 3, "w": np.array([7.0, 2.0])}], "'x'['w'][1]"),
        ([namedtuple("P", "u v")(1.0, 2.0)], "'x'[1]"),
        ([Value(2.0)], "'x'"),
    ],
)
def test_the_element_is_named(args, name):
    def leaves(x):
        if isinstance(x, dict):
            return leaves(list(x.values()))
        if isinstance(x, (list, tuple, np.ndarray)):
            return [v for item in (x.ravel() if hasattr(x, "ravel") else x) for v in leaves(item)]
        return [x]

    before = [v.data if isinstance(v, Value) else v for v in leaves(args)]

    def g(x):  # numbers move: it is told by its place
        values = [v for v in leaves(x) if isinstance(v, Value)]
        place = [v for v in before if isinstance(v, float)].index(2.0)
        return sum(
            own(v, math.exp, lambda t: math.exp(t) * (2 if k == place else 1))  # noqa: B023
            for k, v in enumerate(values)
        )

    assert f"the derivative by argument {name} is" in fault_of(g, *args)
    assert [v.data if isinstance(v, Value) else v for v in leaves(args)] == before


def test_the_result_is_named():
    text = fault_of(lambda x: [x * 2.0, (x, own(x, math.exp, math.sin))], 1.0)
    assert "the derivative of result 2 by argument 'x' is" in text


def doubled(graph, place):
    """A graph of derivatives with one of its new outputs twice as large."""
    outputs = graph.outputs.tolist()
    node = outputs[place]
    op = np.append(graph.op, np.uint8(1))
    lhs, rhs = (np.append(side, np.int32(node)) for side in (graph.lhs, graph.rhs))
    data = np.append(graph.data, 0.0)
    outputs[place] = len(op) - 1
    outputs = np.array(outputs, np.int32)
    return graph._replace(op=op, lhs=lhs, rhs=rhs, data=data, outputs=outputs)


@pytest.mark.parametrize("mode, name", [("forward", "tangents"), ("reverse", "adjoints")])
def test_wrong_derivatives_of_programs(monkeypatch, mode, name):
    """As if the core took a wrong derivative, of the first order or of the second."""
    w = Value(3.0, label="w")

    def f(x):
        return x[0] * x[1] * w

    right = getattr(checking, name)
    calls = []
    wrong_at = 1

    def wrong(graph, *how):
        calls.append(None)
        derived = right(graph, *how)
        return doubled(derived, -1) if len(calls) == wrong_at else derived

    check_grads(f, [1.0, 2.0])
    monkeypatch.setattr(checking, name, wrong)
    text = fault_of(f, [1.0, 2.0], modes=[mode])
    if mode == "forward":
        assert text.startswith("forward mode: the derivative by argument 'x'[0] is 12.0;")
    else:
        assert text.startswith("reverse mode: the derivative by the captured Value 'w' is 4.0;")
    calls.clear()
    wrong_at = 2
    text = fault_of(f, [1.0, 2.0], modes=[mode])
    if mode == "forward":
        assert text.startswith("forward mode over forward: the derivative of the derivative along")
    else:
        assert text.startswith("reverse mode over reverse: the derivative of the derivative by")
    calls.clear()
    check_grads(f, [1.0, 2.0], modes=[mode], order=1)


# ---- kinks, and where there is no derivative


@pytest.mark.parametrize(
    "f, x",
    [
        (lambda x: x.relu(), 0.0),
        (lambda x: abs(x), 0.0),
        (lambda x: x.relu() * 3.0 + x * x, 0.0),
        (lambda x: mg.max([x, x * x]), 1.0),
        (lambda x: mg.where(x - 2.0, x * 2.0, x * x), 2.0),
        (lambda x: mg.where(x, x * x * 2.0, x * x), 0.0),
        (lambda x: (x - 0.7).relu(), 0.7 + 1e-9),
    ],
)
def test_kinks(f, x):
    check_grads(f, x)
    check_grads(lambda x: f(x) if x.data else f(x), x)


def test_a_wrong_derivative_at_a_kink():
    def relu(derivative):
        return lambda x: own(x, lambda t: max(t, 0.0), lambda t: derivative if t == 0 else t > 0)

    for derivative in (0.0, 0.5, 1.0):
        check_grads(relu(derivative), 0.0)
    for derivative in (-1e-3, 1.001, math.nan, math.inf):
        text = fault_of(relu(derivative), 0.0)
        assert "give 0.0 from the left and 1.0 from the right" in text
        assert f" is {derivative!r};" in text


def test_at_the_edge_of_a_domain():
    def beyond_0_alone(derivative):
        return lambda x: own(x, lambda t: math.sqrt(t) ** 2 * (1 + t), lambda t: derivative)

    check_grads(beyond_0_alone(1.0), 0.0)
    text = fault_of(beyond_0_alone(1.0001), 0.0)
    assert float(text.split("give ")[1].split(" from the right, ")[0]) == pytest.approx(1, rel=1e-9)
    assert "do not settle there" in fault_of(lambda x: x.sqrt(), 0.0)
    assert "do not settle there" in fault_of(lambda x: own(x, math.sqrt, lambda t: 0.0), 0.0)


def test_noise_is_not_passed_blindly():
    rng = random.Random(0)
    text = fault_of(lambda x: own(x, lambda t: t + rng.random(), lambda t: 1.0), 2.0)
    assert "do not settle there" in text


# ---- what it leaves behind, and what it refuses


def test_eager_code_that_cannot_be_traced():
    def branches(x):
        return x * x if x.data > 0 else x.sin()

    check_grads(branches, 1.5)
    check_grads(branches, -1.5)

    def closure(x):
        out = Value(x.data**2, (x,), "square")

        def step():
            x.grad += 2 * x.data * out.grad

        out._backward = step
        return out

    check_grads(closure, 3.0, modes=["reverse"])
    with pytest.raises(ValueError, match="closure knows the partial"):
        check_grads(closure, 3.0)
    with pytest.raises(mg.TraceError):
        check_grads(mg.compile(branches), 1.5)


def test_it_leaves_all_as_it_was():
    x = Value(2.0)
    w = Value(3.0)
    x.grad, w.grad = 5.0, 7.0
    with autograd.pause():
        check_grads(lambda v: w * v * v, x)
        assert not autograd.is_recording()
    assert (x.data, x.grad, w.data, w.grad) == (2, 5, 3, 7)
    assert autograd.is_recording()

    def fails(v):
        if v.data > 2.1:
            raise KeyError
        return v * v

    with pytest.raises(KeyError):
        check_grads(fails, x)
    assert (x.data, x.grad) == (2, 5)


def test_under_debug_nans():
    f = mg.compile(lambda x: x.log())
    with mg.debug_nans():
        check_grads(f, 1e-3)  # differences lead beyond 0
        with pytest.raises(FloatingPointError):
            f(0.0)


def test_bad_options():
    with pytest.raises(ValueError, match="modes must be some of 'forward' and 'reverse', not 'rev"):
        check_grads(lambda x: x, 1.0, modes="reverse")
    with pytest.raises(ValueError, match="modes"):
        check_grads(lambda x: x, 1.0, modes=["backward"])
    with pytest.raises(ValueError, match="order must be at least 1, not 0"):
        check_grads(lambda x: x, 1.0, order=0)
    with pytest.raises(TypeError):
        check_grads(3, 1.0)
