"""Every line of the op table: value and partials against mpmath, parametrised from the table.

A new op is tested by its line in reference.py. Points where it has no two-sided derivative are its
edges there.
"""

import itertools
import math
import random

import mpmath
import numpy as np
import pytest
from reference import INF, OPERATIONS, call, in_mpmath, inside, numpys_name, operands, tables

from micrograd_c import Value
from micrograd_c._core import OPS

UNARY = [0.0, 5e-324, 1e-308, 1e-200, 1e-20, 1e-10, 1e-8, 1e-5, 1e-3, 0.1, 0.25, 0.5, 0.7, 0.9]
UNARY += [1 - 1e-4, 1 - 1e-10, math.nextafter(1, 0), 1.0, math.nextafter(1, 2), 1 + 1e-10, 1.1]
UNARY += [math.pi / 2, 2.0, 3.0, math.pi, 5.0, 10.0, 18.5, 20.0, 26.0, 36.7, 40.0, 100.0, 700.0]
UNARY += [709.0, 745.0, 800.0, 1e5, 1e10, 1e154, 1e200, 1e300, 1.7e308]
UNARY += [-x for x in UNARY if x]

BINARY = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0, 0.1, 1e-200, 1e-300, 1e200, 1e300]
BINARY += [-0.5, -1.0, -2.0, -3.0, -1e-200, -1e300]

ids = [op.name for op in OPS]
every_op = pytest.mark.parametrize("op", OPS, ids=ids)
two_operands = pytest.mark.parametrize(
    "op", [op for op in OPS if op.arity == 2], ids=lambda op: op.name
)


def points(op):
    """Points of the op's domain: the list above, and some drawn (the same ones every time)."""
    draw = random.Random(op.name)
    drawn = [
        tuple(draw.choice([-1, 1]) * 10 ** draw.uniform(-6, 4) for _ in range(op.arity))
        for _ in range(30)
    ]
    listed = itertools.product(UNARY if op.arity == 1 else BINARY, repeat=op.arity)
    # With an enormous exponent no step is small enough for the difference below.
    return [args for args in (*listed, *drawn) if "pow" not in op.name or abs(args[1]) < 1e5]


def values(op):
    """(arguments, result) where the op is defined: elsewhere it raises, or gives nan."""
    found = []
    above, below = OPERATIONS[op.name][2:4]
    for args in points(op):
        leaves = [Value(x) for x in args]
        try:
            out = call(op.name, *leaves)
        except (ValueError, OverflowError, ZeroDivisionError):
            continue  # which error for which numbers: test_errors.py
        if above <= args[0] <= below or not math.isnan(out.data):
            found.append((leaves, out))
    assert len(found) >= 10, f"{op.name} refuses nearly every point"
    return found


def as_float(x):
    """The nearest double; beyond the largest, infinity."""
    try:
        return float(x)
    except OverflowError:
        return math.copysign(INF, x)


def differ(x, exact, relative):
    """The relative error if it is too large, else None; subnormals may be off by a few units."""
    exact = as_float(exact)
    if x == exact:
        return None
    error = abs(x - exact)
    return None if error <= relative * abs(exact) + 1e-322 else error / (abs(exact) or 1)


def partial(exact, args, k):
    """The k-th partial by a central difference, in 800 digits; None where there is none."""
    h = mpmath.mpf(10) ** -40 * (min(abs(args[k]), 1) or mpmath.mpf(10) ** -360)
    up, down = list(args), list(args)
    up[k], down[k] = args[k] + h, args[k] - h
    try:
        slope = (exact(*up) - exact(*down)) / (2 * h)
    except ZeroDivisionError:
        return None
    return None if isinstance(slope, mpmath.mpc) else slope


@every_op
def test_value(op):
    exact = in_mpmath(mpmath.mp, op.name)
    wrong = []
    with mpmath.workdps(800):
        for leaves, out in values(op):
            expected = exact(*(mpmath.mpf(leaf.data) for leaf in leaves))
            error = differ(out.data, expected, 4e-15)
            if error is not None:
                wrong.append(([leaf.data for leaf in leaves], out.data, as_float(expected)))
    assert not wrong, f"{op.name}: (arguments, value, exact value)\n" + "\n".join(map(str, wrong))


@every_op
def test_partials(op):
    exact, edges = in_mpmath(mpmath.mp, op.name), OPERATIONS[op.name].edges
    wrong = []
    with mpmath.workdps(800):
        for leaves, out in values(op):
            out.backward()
            args = tuple(leaf.data for leaf in leaves)
            at = args if op.arity == 2 else args[0]
            for k, leaf in enumerate(leaves):
                if op.name == "powc" and k == 1:
                    expected = 0.0  # its exponent is a number, not an operand
                elif at in edges:
                    expected = edges[at] if op.arity == 1 else edges[at][k]
                elif op.name in ("min", "max") and args[0] == args[1]:
                    expected = 1 - k  # the first operand takes a tie
                elif op.name == "pow" and args[0] < 0 and k == 1:
                    expected = None  # x**y is not real around an integer y
                else:
                    expected = partial(exact, [mpmath.mpf(x) for x in args], k)
                    assert expected is not None, f"in reference.py, {at} is an edge of {op.name}"
                if expected is not None and differ(leaf.grad, expected, 1e-12) is not None:
                    wrong.append((args, k, leaf.grad, as_float(expected)))
    message = f"{op.name}: {len(wrong)} wrong: (arguments, operand, partial, exact partial)\n"
    assert not wrong, message + "\n".join(map(str, wrong))


@every_op
@pytest.mark.parametrize("m", [math, np], ids=["floats", "arrays"])
def test_formulas_of_partials_in_reference_py(op, m):
    _, partial = tables(m)[op.arity - 1][op.name]
    for at in itertools.product((0.1, 0.45, 0.9), (0.2, 0.75)):
        at = operands(op, *at)
        for k, found in enumerate(np.atleast_1d(partial(*at))[: 1 if op.name == "powc" else 2]):
            orders = tuple(int(k == n) for n in range(op.arity))
            exact = mpmath.diff(in_mpmath(mpmath.mp, op.name), tuple(at), orders)
            assert found == pytest.approx(float(exact), rel=1e-10)


@every_op
def test_gradient_is_partial_times_the_nodes_own_gradient(op):
    leaves = [*map(Value, operands(op, 0.5, 0.25))]
    out = call(op.name, *leaves)
    out.backward()
    ones = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = 10.0
    out.grad = -3.0
    out._backward()
    assert [leaf.grad for leaf in leaves] == pytest.approx([10.0 - 3.0 * x for x in ones])


@pytest.mark.parametrize("op", [op for op in OPS if op.name != "powc"], ids=lambda op: op.name)
def test_op_name_and_children(op):
    leaves = [*map(Value, operands(op, 0.5, 0.25))]
    out = call(op.name, *leaves)
    assert out._op == op.symbol
    assert out._children == tuple(leaves)
    assert type(out.data) is float


@every_op
def test_local_grads_are_the_partials(op):
    leaves = [*map(Value, operands(op, 0.5, 0.25))]
    out = call(op.name, *leaves)
    out.backward()
    assert tuple(out._local_grads) == tuple(leaf.grad for leaf in out._children)


@two_operands
def test_the_same_operand_twice(op):
    a, b, c = Value(0.5), Value(0.5), Value(0.5)
    call(op.name, a, a).backward()
    call(op.name, b, c).backward()
    assert a.grad == b.grad + c.grad


@two_operands
def test_a_number_as_the_second_operand(op):
    a, b = Value(0.5), Value(0.5)
    with_number, with_value = call(op.name, a, 2), call(op.name, b, Value(2.0))
    with_number.backward()
    with_value.backward()
    assert with_number.data == with_value.data
    assert a.grad == b.grad


@pytest.mark.parametrize(
    "op",
    [op for op in OPS if op.arity == 2 and op.name != "powc" and not hasattr(Value, op.name)],
    ids=lambda op: op.name,
)
def test_a_number_as_the_first_operand(op):
    a, b = Value(0.5), Value(0.5)
    with_number, with_value = call(op.name, 2, a), call(op.name, Value(2.0), b)
    with_number.backward()
    with_value.backward()
    assert with_number.data == with_value.data
    assert a.grad == b.grad


@pytest.mark.parametrize("power", [-2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 10])
def test_power_with_a_number_is_power_with_a_value(power):
    positive, negative = [1e-5, 0.3, 1.0, 2.0, 7.5, 1e5], [-0.3, -1.0, -2.0, -1e5]
    for x in positive + negative if power == int(power) else positive:
        a, b = Value(x), Value(x)
        by_number, by_value = a**power, b ** Value(power)
        by_number.backward()
        by_value.backward()
        assert by_number.data == by_value.data == x**power
        assert a.grad == pytest.approx(b.grad, rel=1e-14, abs=0)


@pytest.mark.parametrize("power, expected", [(0, 0.0), (1, 1.0), (2, 0.0), (3, 0.0), (1.5, 0.0)])
def test_power_at_zero(power, expected):
    a = Value(0.0)
    (a**power).backward()
    assert a.grad == expected


def test_operands_are_read_at_the_time_of_backward():
    for build, partials in [
        (lambda a, b: a * b, lambda a, b: (b, a)),
        (lambda a, b: a / b, lambda a, b: (1 / b, -a / b**2)),
        (lambda a, b: a**3 + b, lambda a, b: (3 * a**2, 1)),
        (lambda a, b: a.log() + b.sin(), lambda a, b: (1 / a, math.cos(b))),
        (lambda a, b: a.min(b), lambda a, b: (0, 1)),
    ]:
        a, b = Value(1.0), Value(2.0)
        out = build(a, b)
        a.data, b.data = 5.0, 3.0
        out.backward()
        assert (a.grad, b.grad) == pytest.approx(partials(5.0, 3.0), rel=1e-13)


SATURATED = {"sigmoid": (0.0, 1.0), "softplus": (0.0, 800.0), "tanh": (-1.0, 1.0)}


@pytest.mark.parametrize("name", SATURATED)
def test_saturated_functions_neither_overflow_nor_turn_nan(name):
    slopes = (0.0, 1.0 if name == "softplus" else 0.0)
    for x, expected, slope in zip((-800.0, 800.0), SATURATED[name], slopes, strict=True):
        a = Value(x)
        out = getattr(a, name)()
        out.backward()
        assert out.data == pytest.approx(expected, abs=1e-300)
        assert a.grad == pytest.approx(slope, abs=1e-300)


@pytest.mark.parametrize("x", [-1.5, 0.0, -0.0, 2.5, math.nan, math.inf, -math.inf])
def test_relu_keeps_what_micrograd_keeps(x):
    out = Value(x).relu()
    expected = 0.0 if x < 0 else x
    assert out.data == expected or math.isnan(expected) and math.isnan(out.data)


@pytest.mark.parametrize("name", ["min", "max"])
def test_min_and_max_give_the_gradient_to_one_operand(name):
    for x, y in itertools.product([-1.0, 0.0, 1.0, 2.0], repeat=2):
        a, b = Value(x), Value(y)
        out = getattr(a, name)(b)
        out.backward()
        assert out.data == {"min": min, "max": max}[name](x, y)
        assert {a.grad, b.grad} == {0.0, 1.0}


ALIASES = {numpys_name(op.name): op.name for op in OPS if op.arity == 1}
ALIASES = {alias: name for alias, name in ALIASES.items() if alias != name}


@pytest.mark.parametrize("alias", ALIASES)
def test_numpys_names_are_aliases(alias):
    x = inside(ALIASES[alias], 0.5)
    a, b = Value(x), Value(x)
    ours, plain = getattr(a, alias)(), getattr(b, ALIASES[alias])()
    ours.backward()
    plain.backward()
    assert (ours.data, a.grad, ours._op) == (plain.data, b.grad, plain._op)


def test_arctan2_is_an_alias():
    a, b = Value(1.0), Value(2.0)
    out = a.arctan2(b)
    out.backward()
    assert out.data == math.atan2(1.0, 2.0)
    assert (a.grad, b.grad) == pytest.approx((2 / 5, -1 / 5))


@pytest.mark.parametrize("name", sorted({*OPERATIONS, *ids}))
def test_both_tables_have(name):
    assert ids.count(name) == 1 and OPERATIONS[name]
