"""Errors are Python's for the same numbers, name the type, and leave the tape as it was."""

import functools
import itertools
import math
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import METHODS_OF_TWO, OPERATIONS, call, live_nodes, tables

import micrograd_c
from micrograd_c import Value, tape
from micrograd_c._core import OPS

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 1 / 3, -8.0, 5e-324, -5e-324, 1e-300]
SPECIAL += [1e300, -1e300, 1.7e308, -1.7e308, math.inf, -math.inf, math.nan]
SPECIAL += [709.0, 709.782712893384, 709.782712893385, 710.0, 710.4758600739439, 711.0, 1000.0]
SPECIAL += [-708.0, -745.0, -746.0, -1000.0, math.nextafter(1, 2), math.nextafter(-1, -2)]
SPECIAL += [math.nextafter(-1, 0), math.nextafter(1, 0), math.pi / 2]
FEWER = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0, 1 / 3, -8.0, 1e200, 1e308, -1e308, 1e-300]
FEWER += [math.inf, -math.inf, math.nan]

every_op = pytest.mark.parametrize("op", OPS, ids=[op.name for op in OPS])


def real(x):
    """A number; a complex one is an error."""
    if isinstance(x, complex):
        raise ValueError("math domain error")
    return x


def real_power(x, y):
    return real(x**y)


PYTHON = functools.reduce(operator.or_, tables(math))


def outcome(function, *args):
    """The result, or the type of the exception."""
    try:
        return function(*args)
    except Exception as error:
        return type(error)


def agree(name, ours, pythons):
    if isinstance(pythons, type) or isinstance(ours, type):
        return ours is pythons
    if math.isnan(pythons):
        return math.isnan(ours.data)
    if OPERATIONS[name].roundings < 2 or pythons == 0.0 or math.isinf(pythons):
        return ours.data == pythons and math.copysign(1, ours.data) == math.copysign(1, pythons)
    return math.isclose(ours.data, pythons, rel_tol=4e-15, abs_tol=1e-322)


def check(op, args):
    """One op on one tuple of floats: Python's outcome, and no node left behind by an error."""
    if op.name in ("min", "max") and any(map(math.isnan, args)):
        return  # Python's own min and max depend on the order of the arguments
    leaves = [Value(x) for x in args]
    before = tape.size()
    ours = outcome(call, op.name, *leaves)
    pythons = outcome(lambda *args: real(PYTHON[op.name][0](*args)), *args)
    assert agree(op.name, ours, pythons), (op.name, args, ours, pythons)
    if isinstance(ours, type):
        assert tape.size() == before, (op.name, args)


@every_op
def test_special_numbers(op):
    tape.collect()
    for args in itertools.product(SPECIAL if op.arity == 1 else FEWER, repeat=op.arity):
        check(op, args)


@every_op
@settings(max_examples=40)
@given(data=st.data())
def test_any_numbers(op, data):
    number = st.floats() | st.floats(-5, 5) | st.integers(-5, 5).map(float)
    tape.collect()
    check(op, data.draw(st.tuples(*[number] * op.arity)))


@given(st.floats() | st.floats(-5, 5), st.floats() | st.integers(-5, 5))
def test_power_with_a_number_either_way(x, power):
    pythons = outcome(real_power, x, power)
    assert agree("pow", outcome(operator.pow, Value(x), power), pythons)
    assert agree("pow", outcome(operator.pow, x, Value(power)), pythons)


@pytest.mark.parametrize(
    "expression, error",
    [
        ("Value(0.0) ** -1", ZeroDivisionError),
        ("Value(0.0) ** Value(-1.0)", ZeroDivisionError),
        ("Value(-0.0) ** -3", ZeroDivisionError),
        ("0 ** Value(-1.0)", ZeroDivisionError),
        ("1 / Value(0.0)", ZeroDivisionError),
        ("Value(1.0) / 0", ZeroDivisionError),
        ("Value(1.0) / Value(-0.0)", ZeroDivisionError),
        ("Value(float('nan')) / 0.0", ZeroDivisionError),
        ("Value(-1.0).log()", ValueError),
        ("Value(0.0).log()", ValueError),
        ("Value(1000.0).exp()", OverflowError),
        ("Value(10.0) ** 400", OverflowError),
        ("Value(-8.0) ** (1/3)", ValueError),
        ("(-8) ** Value(1/3)", ValueError),
        ("Value(float('inf')).sin()", ValueError),
        ("Value(-1.0).sqrt()", ValueError),
        ("Value(10**400)", OverflowError),
        ("Value(1.0) + 10**400", OverflowError),
        ("10**400 * Value(1.0)", OverflowError),
        ("Value('3')", TypeError),
        ("Value(None)", TypeError),
        ("Value(1j)", TypeError),
    ],
)
def test_named_errors(expression, error):
    before = live_nodes()
    with pytest.raises(error):
        eval(expression)
    assert live_nodes() == before


def test_messages_are_pythons():
    for ours, pythons in [
        (lambda: Value(0.0) ** -1, lambda: 0.0**-1),
        (lambda: Value(1.0) / 0.0, lambda: 1.0 / 0.0),
        (lambda: Value(1000.0).exp(), lambda: math.exp(1000.0)),
    ]:
        with pytest.raises(ArithmeticError) as expected:
            pythons()
        with pytest.raises(ArithmeticError) as error:
            ours()
        assert type(error.value) is type(expected.value)
        assert str(error.value)


BAD = ["a", None, 1j, [1], object(), {}, b"x"]


@pytest.mark.parametrize("bad", BAD, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize(
    "op",
    [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow],
    ids=lambda op: op.__name__,
)
def test_an_operand_of_a_wrong_type_is_named(op, bad):
    v = Value(1.0)
    before = tape.size()
    # Sequences answer a product themselves, naming the other type, as they do for floats.
    named = type(bad).__name__ + ("|sequence" if op is operator.mul else "")
    with pytest.raises(TypeError, match=named):
        op(v, bad)
    with pytest.raises(TypeError, match=named):
        op(bad, v)
    assert tape.size() == before


@pytest.mark.parametrize("bad", BAD, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("name", METHODS_OF_TWO)
def test_an_argument_of_a_wrong_type_is_named(name, bad):
    v = Value(1.0)
    before = tape.size()
    with pytest.raises(TypeError, match=type(bad).__name__):
        getattr(v, name)(bad)
    assert tape.size() == before


def test_foreign_operands_get_their_turn():
    class Foreign:
        def __radd__(self, other):
            return "radd"

        def __rpow__(self, other):
            return "rpow"

        def __lt__(self, other):
            return "lt"

    v = Value(1.0)
    assert v + Foreign() == "radd" and v ** Foreign() == "rpow"
    assert (v > Foreign()) == "lt"


def test_wrong_numbers_of_arguments():
    v = Value(1.0)
    before = tape.size()
    for wrong in (
        lambda: Value(),
        lambda: v.exp(1.0),
        lambda: v.atan2(),
        lambda: v.min(),
        lambda: v.backward(1, True, True),
        lambda: Value(1.0, nonsense=1),
        lambda: micrograd_c.dot([v]),
        lambda: micrograd_c.sum(),
    ):
        with pytest.raises(TypeError):
            wrong()
    assert tape.size() == before


def test_after_an_error_the_next_operation_is_right(nursery):
    a, b = Value(2.0), Value(0.0)
    kept = a * 3.0
    for wrong in (
        lambda: kept / b,
        lambda: b**-1,
        lambda: kept + "a",
        lambda: (a - 3.0).log(),
        lambda: Value(1.0, (a, b), (1.0,)),
        lambda: micrograd_c.sum([a, kept, None]),
        lambda: micrograd_c.dot([a, b], [kept]),
    ):
        with pytest.raises((ArithmeticError, TypeError, ValueError)):
            wrong()
        a.grad = kept.grad = 0.0
        (kept * a + b).backward()
        assert (kept.grad, a.grad) == (2.0, 12.0)


def test_a_hundred_thousand_errors_leave_nothing():
    zero = Value(0.0)
    before = live_nodes()
    for _ in range(100_000):
        try:
            1.0 / zero
        except ZeroDivisionError:
            pass
    assert tape.size() <= before + 1
    assert live_nodes() == before


def test_a_failed_init_leaves_the_tape_and_the_value_as_they_were():
    class Awkward:
        def __bool__(self):
            raise RuntimeError

    v = Value(2.0, label="v")
    before = tape.size()
    with pytest.raises(TypeError):
        v.__init__("3", label="w")
    with pytest.raises(TypeError):
        Value("3", (v,), "op", "label")
    assert (v.data, v.label, tape.size()) == (2.0, "v", before)
    odd = Awkward()
    assert Value(1.0, label=odd).label is odd


def test_text_in_a_numpy_array_is_no_number():
    numpy = pytest.importorskip("numpy")
    for bad in (numpy.array("3"), numpy.str_("3"), numpy.complex64(1), numpy.array([1.0, 2.0])):
        with pytest.raises(TypeError):
            Value(bad)
