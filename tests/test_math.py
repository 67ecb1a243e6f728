"""micrograd_c.math: the standard module's names, for floats and Values alike."""

import inspect
import math
import struct

import numpy as np
import pytest
from reference import inside

import micrograd_c
import micrograd_c.math as mmath
from micrograd_c import Value, tape
from micrograd_c._core import OPS

NAMES = [name for name in dir(math) if not name.startswith("_")]
CONSTANTS = [name for name in NAMES if isinstance(getattr(math, name), float)]
FUNCTIONS = [name for name in NAMES if callable(getattr(math, name))]

# Arguments for every function, as Python numbers; most are tried with each tuple that fits.
FLOATS = [0.5, 1.5, -0.5, 2.0, 0.0, -0.0, 1.0, -1.0, 1e300, -1e300, math.inf, -math.inf, math.nan]
ARGUMENTS = [(), *((x,) for x in [*FLOATS, 3, 10, True, "a", None, 1j])]
ARGUMENTS += [(x, y) for x in FLOATS[:9] for y in FLOATS[:9]]
ARGUMENTS += [(6, 4), (10, 3), (2.0, 3), ([1.0, 2.0, 3.0],), ([1.0, 2.0], [3.0, 5.0]), (1, 2, 3)]
ARGUMENTS += [(3.0, 4.0, 12.0), (1.0, 1.0 + 1e-12), ("a", 1.0), (1.0, None)]

# Differentiable: name, arguments, which are the Values; the op table has them.
TABLE = [op.name for op in OPS if op.arity == 1 and hasattr(math, op.name)]
# Without a useful derivative, or only defined for integers.
REFUSED = [
    "ceil",
    "comb",
    "factorial",
    "floor",
    "frexp",
    "gcd",
    "isqrt",
    "lcm",
    "modf",
    "perm",
    "trunc",
    "ulp",
]


def outcome(function, *args):
    try:
        return function(*args)
    except Exception as error:
        return type(error)


def equal(x, y):
    if isinstance(x, float) and isinstance(y, float):
        return repr(x) == repr(y)
    return type(x) is type(y) and repr(x) == repr(y)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_math_is_there(name):
    assert hasattr(mmath, name)
    assert callable(getattr(mmath, name)) == callable(getattr(math, name))


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name):
    assert repr(getattr(mmath, name)) == repr(getattr(math, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_give_what_math_gives(name):
    ours, pythons = getattr(mmath, name), getattr(math, name)
    before = tape.size()
    for args in ARGUMENTS:
        if name in ("factorial", "perm", "comb") and any(abs(x) > 100 for x in args if x in FLOATS):
            continue
        x, y = outcome(ours, *args), outcome(pythons, *args)
        assert equal(x, y), (name, args, x, y)
    assert tape.size() == before


@pytest.mark.parametrize("name", TABLE)
def test_functions_of_the_op_table(name):
    x = inside(name, 0.5)
    v = Value(x)
    out = getattr(mmath, name)(v)
    assert type(out) is Value and out.data == pytest.approx(getattr(math, name)(x), rel=1e-15)
    out.backward()
    assert v.grad == pytest.approx(slope(lambda x: getattr(math, name)(x), x), rel=1e-8)


def slope(f, x, h=1e-6):
    """The derivative by a difference of fourth order."""
    return (f(x - 2 * h) - 8 * f(x - h) + 8 * f(x + h) - f(x + 2 * h)) / (12 * h)


TWO = [op.name for op in OPS if op.arity == 2 and hasattr(math, op.name)]
CHOOSING = ["fmax", "fmin"]


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_operands(name):
    for args in ((1.5, 2.5), (2, 3.0)):
        check_two_operands(name, *args)


def check_two_operands(name, x, y):
    """Value and gradients, with either operand or both a Value."""
    f, g = getattr(mmath, name), getattr(math, name)
    by_x = pytest.approx(slope(lambda t: g(t, y), x), rel=1e-8)
    by_y = pytest.approx(slope(lambda t: g(x, t), y), rel=1e-8)
    for v, w in ((Value(x), Value(y)), (Value(x), y), (x, Value(y))):
        out = f(v, w)
        assert type(out) is Value and out.data == pytest.approx(g(x, y), rel=1e-15)
        out.backward()
        assert not isinstance(v, Value) or v.grad == by_x
        assert not isinstance(w, Value) or w.grad == by_y


@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_fmax_and_fmin_pass_over_nan(name, compiled):
    """A nan is missing data, as in NumPy. The gradient goes to the one chosen, of equals to x."""
    function = getattr(mmath, name)
    numbers = [-math.inf, -1e300, -2.0, -0.5, 0.0, 3.0, 1e300, math.inf, math.nan]
    called = micrograd_c.compile(function) if compiled else function
    for x in numbers:
        for y in numbers:
            expected = getattr(np, name)(x, y)
            of_x = x == expected or math.isnan(expected)
            for left, right in ((Value(x), Value(y)), (Value(x), y), (x, Value(y))):
                out = called(left, right)
                out.backward()
                assert repr(out.data) == repr(float(expected)), (x, y)
                assert not isinstance(left, Value) or left.grad == of_x or math.isnan(expected)
                assert not isinstance(right, Value) or right.grad == (not of_x) or x != x and y != y
            assert repr(function(x, y)) == repr(float(expected))
    for bad in ((1.0,), ("a", 1.0), (Value(1.0), "a"), (1.0, None)):
        with pytest.raises(TypeError):
            function(*bad)


def test_tests_of_the_bits_of_a_number():
    """Against the bits themselves: the exponent's are all 0 below the normal numbers, 1 above."""
    smallest = 2.0**-1022
    numbers = [0.0, 5e-324, smallest - 5e-324, smallest, 1.0, 1.7e308, math.inf, math.nan]
    for x in [*numbers, *(-x for x in numbers), 3, True]:
        bits = struct.unpack("<Q", struct.pack("<d", x))[0]
        exponent, digits = bits >> 52 & 0x7FF, bits & (1 << 52) - 1
        for v in (x, Value(x)):
            assert mmath.isnormal(v) is (0 < exponent < 0x7FF)
            assert mmath.issubnormal(v) is (exponent == 0 and digits > 0)
            assert mmath.signbit(v) is bool(bits >> 63)
    for function in (mmath.isnormal, mmath.issubnormal, mmath.signbit):
        for bad in ("1.0", None, 1j):
            with pytest.raises(TypeError):
                function(bad)


def test_log_with_a_base():
    check_two_operands("log", 5.0, 3)


# For functions that need particular arguments; the Values among them are marked by being floats.
CALLS = {
    "dist": ([1.0, 2.0], [3.0, 5.0]),
    "fsum": ([1.0, 2.0],),
    "prod": ([2.0, 3.0],),
    "sumprod": ([1.0, 2.0], [3.0, 5.0]),
    "fma": (2.0, 3.0, 4.0),
    "ldexp": (1.5, 3),
    "log": (2.5,),
    "acosh": (1.5,),
}


def calls_with_values(name):
    """Argument tuples with floats in them, and the same with every float a Value."""

    def lift(x):
        if isinstance(x, list):
            return [lift(y) for y in x]
        return Value(x) if type(x) is float else x

    for args in [CALLS[name]] if name in CALLS else [(0.5,), (0.5, 0.25), (0.5, 1)]:
        if outcome(getattr(math, name), *args) is not TypeError:
            yield args, tuple(lift(x) for x in args)


def leaves(args):
    for x in args:
        if isinstance(x, list):
            yield from leaves(x)
        elif isinstance(x, Value):
            yield x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_drops_a_gradient_in_silence(name):
    """A Value gives a Value with the right gradient, a truth value as `<` does, or a TypeError."""
    for numbers, args in calls_with_values(name):
        out = outcome(getattr(mmath, name), *args)
        if out is TypeError:
            assert name not in TABLE + TWO + CHOOSING
            continue
        expected = getattr(math, name)(*numbers)
        if isinstance(expected, bool):
            assert out is expected
            continue
        assert isinstance(out, Value), (name, out)
        assert out.data == pytest.approx(expected, rel=1e-14)
        out.backward()
        h = 1e-6
        for leaf in leaves(args):
            sides = []
            for sign in (1, -1):
                leaf.data += sign * h
                shifted = getattr(mmath, name)(*args).data
                sides.append(shifted)
                leaf.data -= sign * h
            assert leaf.grad == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", [name for name in REFUSED if hasattr(math, name)])
def test_no_derivative_is_a_type_error(name):
    v = Value(4.0)
    before = tape.size()
    for args in ((v,), (v, 2), (v, v)):
        with pytest.raises(TypeError):
            getattr(mmath, name)(*args)
    assert tape.size() == before


def test_a_subclass_stays_one():
    class Sub(Value):
        pass

    assert type(mmath.exp(Sub(1.0))) is Sub
    assert type(mmath.atan2(1.0, Sub(1.0))) is Sub
    assert type(mmath.hypot(Value(1.0), Sub(1.0))) is Sub


def test_errors_of_values_are_those_of_numbers():
    for name, x in (("log", -1.0), ("log", 0.0), ("exp", 1000.0), ("sqrt", -1.0), ("asin", 2.0)):
        expected = outcome(getattr(math, name), x)
        assert outcome(getattr(mmath, name), Value(x)) is expected


def test_a_tutorials_function_with_math_swapped():
    def f(m, x):
        return (m.exp(2 * x) - 1) / (m.exp(2 * x) + 1) + m.sin(m.pi * x)

    v = Value(0.3)
    out = f(mmath, v)
    out.backward()
    assert out.data == pytest.approx(f(math, 0.3))
    assert v.grad == pytest.approx(slope(lambda x: f(math, x), 0.3), rel=1e-8)


def test_functions_have_docstrings():
    for name in TABLE + TWO + CHOOSING:
        assert inspect.getdoc(getattr(mmath, name))


def test_it_is_reached_from_the_package():
    assert micrograd_c.math is mmath
