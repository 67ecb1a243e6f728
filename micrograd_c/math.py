"""The standard `math` module for floats and Values alike.

Every public name of `math` is here. A function that has a derivative takes Values and returns a
Value. A test, for example `isnan`, looks at the number of a Value. The other functions (`floor`,
`gcd`, `gamma`, ...) are those of `math` itself, and a Value is a TypeError. For floats, all
functions are those of `math`, and raise its errors. Angles are in radians.

>>> from micrograd_c import Value, math
>>> x = Value(0.0)
>>> math.exp(x).data, math.exp(0.0)
(1.0, 1.0)
>>> math.hypot(3, 4), math.degrees(Value(math.pi)).data
(5.0, 180.0)
"""

from __future__ import annotations

import math as _math
import sys
from collections.abc import Callable, Iterable
from math import e, inf, nan, pi, tau
from typing import Any

from micrograd_c._core import Value, dot, where

_SMALLEST = sys.float_info.min  # of those with all their digits

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "comb",
    "copysign",
    "cos",
    "cosh",
    "degrees",
    "dist",
    "e",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "factorial",
    "floor",
    "fma",
    "fmax",
    "fmin",
    "fmod",
    "frexp",
    "fsum",
    "gamma",
    "gcd",
    "hypot",
    "inf",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isnormal",
    "isqrt",
    "issubnormal",
    "lcm",
    "ldexp",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "modf",
    "nan",
    "nextafter",
    "perm",
    "pi",
    "pow",
    "prod",
    "radians",
    "remainder",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "sumprod",
    "tan",
    "tanh",
    "tau",
    "trunc",
    "ulp",
]

if sys.version_info >= (3, 15):  # a module of functions of integers
    integer = vars(_math)["integer"]
    __all__ += ["integer"]

__dir__ = __all__.copy


def _function(name: str) -> Callable[[Any], Any]:
    """The function that is `math`'s for floats and the method of the same name for Values."""
    of_float = getattr(_math, name)

    def function(x: Any, /) -> Any:
        return getattr(x, name)() if isinstance(x, Value) else of_float(x)

    at = 1.0 if name == "acosh" else 0.5
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{of_float.__doc__}

    A Value gives a Value, with the gradient.

    >>> {name}(Value({at})).data == {name}({at})
    True
    """
    return function


def _test(name: str) -> Callable[[Any], bool]:
    """The test of `math` on a float or on a Value's number."""
    of_float = getattr(_math, name)

    def test(x: Any, /) -> bool:
        return bool(of_float(_number(x)))

    test.__name__ = test.__qualname__ = name
    test.__doc__ = f"""{of_float.__doc__}

    Of a Value, its number is tested.

    >>> {name}(Value(1.0)) == {name}(1.0)
    True
    """
    return test


def _without_derivative(name: str) -> Callable[..., Any]:
    """The function of `math`, where a Value is a TypeError."""
    of_float = getattr(_math, name)

    def function(*args: Any, **keywords: Any) -> Any:
        if _any_value(args):
            raise TypeError(
                f"math.{name}() has no derivative here, so it takes no Value: "
                "use v.data for the number"
            )
        return of_float(*args, **keywords)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = of_float.__doc__
    return function


def _number(x: Any) -> Any:
    return x.data if isinstance(x, Value) else x


def _float(x: Any) -> float:
    """x as `math` reads an argument: not a string, which `float` would read."""
    return _math.ldexp(_number(x), 0)


def _fixed(x: Any) -> Any:
    return x.detach() if isinstance(x, Value) else x


def _any_value(xs: Iterable[Any]) -> bool:
    return any(isinstance(x, Value) for x in xs)


acos = _function("acos")
acosh = _function("acosh")
asin = _function("asin")
asinh = _function("asinh")
atan = _function("atan")
atanh = _function("atanh")
cos = _function("cos")
cosh = _function("cosh")
erf = _function("erf")
erfc = _function("erfc")
exp = _function("exp")
expm1 = _function("expm1")
log10 = _function("log10")
log1p = _function("log1p")
log2 = _function("log2")
sin = _function("sin")
sinh = _function("sinh")
sqrt = _function("sqrt")
tan = _function("tan")
tanh = _function("tanh")

ceil = _without_derivative("ceil")
comb = _without_derivative("comb")
factorial = _without_derivative("factorial")
floor = _without_derivative("floor")
fmod = _without_derivative("fmod")
frexp = _without_derivative("frexp")
gamma = _without_derivative("gamma")
gcd = _without_derivative("gcd")
isqrt = _without_derivative("isqrt")
lcm = _without_derivative("lcm")
lgamma = _without_derivative("lgamma")
modf = _without_derivative("modf")
nextafter = _without_derivative("nextafter")
perm = _without_derivative("perm")
remainder = _without_derivative("remainder")
trunc = _without_derivative("trunc")
ulp = _without_derivative("ulp")

isfinite = _test("isfinite")
isinf = _test("isinf")
isnan = _test("isnan")


def isnormal(x: Any, /) -> bool:
    """Whether x is finite, not 0, and not so close to 0 that it has fewer digits.

    Of a Value, its number is tested.

    >>> isnormal(1.0), isnormal(Value(1e-310)), isnormal(0.0)
    (True, False, False)
    """
    return _SMALLEST <= abs(_float(x)) < inf


def issubnormal(x: Any, /) -> bool:
    """Whether x is not 0, but so close to 0 that it has fewer digits.

    Of a Value, its number is tested.

    >>> issubnormal(1.0), issubnormal(Value(1e-310))
    (False, True)
    """
    return 0 < abs(_float(x)) < _SMALLEST


def signbit(x: Any, /) -> bool:
    """Whether x is negative, or -0.0. Of a Value, its number is tested.

    >>> signbit(Value(-0.0)), signbit(0.0)
    (True, False)
    """
    return _math.copysign(1.0, _float(x)) < 0


def isclose(a: Any, b: Any, *, rel_tol: float = 1e-09, abs_tol: float = 0.0) -> bool:
    """Whether a and b are close to each other: |a-b| <= max(rel_tol * max(|a|, |b|), abs_tol).

    Of Values, their numbers.

    >>> isclose(Value(1.0), 1.0 + 1e-12)
    True
    """
    return _math.isclose(_number(a), _number(b), rel_tol=rel_tol, abs_tol=abs_tol)


def log(x: Any, /, *base: Any) -> Any:
    """The natural logarithm of x, or the logarithm to a base.

    ValueError if x is not positive.

    >>> log(Value(8.0), 2).data
    3.0
    """
    if not _any_value((x, *base)):
        return _math.log(x, *base)
    numerator = x.log() if isinstance(x, Value) else _math.log(x)
    return numerator / log(*base) if base else numerator


def pow(x: Any, y: Any, /) -> Any:
    """x to the power of y.

    >>> x = Value(2.0)
    >>> pow(x, 3).backward()
    >>> x.grad
    12.0
    """
    return x**y if _any_value((x, y)) else _math.pow(x, y)


def exp2(x: Any, /) -> Any:
    """2 to the power of x.

    >>> exp2(Value(3.0)).data
    8.0
    """
    if isinstance(x, Value) or not hasattr(_math, "exp2"):
        return 2.0**x
    return _math.exp2(x)


def cbrt(x: Any, /) -> Any:
    """The cube root of x, which has the sign of x.

    >>> cbrt(Value(-8.0)).data
    -2.0
    """
    if isinstance(x, Value):
        return x.cbrt()
    return _math.cbrt(x) if hasattr(_math, "cbrt") else Value(x).cbrt().data


def fabs(x: Any, /) -> Any:
    """The absolute value of x.

    >>> fabs(Value(-2.0)).data
    2.0
    """
    return abs(x) if isinstance(x, Value) else _math.fabs(x)


def atan2(y: Any, x: Any, /) -> Any:
    """The angle of the point (x, y), in radians from -pi to pi.

    >>> atan2(Value(1.0), -1.0).data == 0.75 * pi
    True
    """
    if isinstance(y, Value):
        return y.atan2(x)
    return Value(y).atan2(x) if isinstance(x, Value) else _math.atan2(y, x)


def hypot(*coordinates: Any) -> Any:
    """The distance of a point from the origin: the square root of the sum of squares.

    >>> x = Value(3.0)
    >>> hypot(x, 4.0).backward()
    >>> round(x.grad, 12)
    0.6
    """
    if not _any_value(coordinates):
        return _math.hypot(*coordinates)
    distance = Value(0.0)
    for x in coordinates:
        distance = distance.hypot(x)
    return distance


def dist(p: Iterable[Any], q: Iterable[Any], /) -> Any:
    """The distance between two points, each a sequence of coordinates.

    ValueError if they differ in length.

    >>> dist([Value(1.0), 2.0], [4.0, 6.0]).data
    5.0
    """
    p, q = list(p), list(q)
    if not _any_value(p + q):
        return _math.dist(p, q)
    return hypot(*(x - y for x, y in zip(p, q, strict=True)))


def fmax(x: Any, y: Any, /) -> Any:
    """The larger of x and y, which takes the gradient; of equals, x. If one is nan, the other.

    >>> fmax(Value(2.0), nan).data
    2.0
    """
    if _any_value((x, y)):
        a, b = _fixed(x), _fixed(y)
        return where(a * a + 1, where(b - a, y, x), y)
    if hasattr(_math, "fmax"):
        return _math.fmax(x, y)
    x, y = _float(x), _float(y)
    return y if y > x or isnan(x) else x


def fmin(x: Any, y: Any, /) -> Any:
    """The smaller of x and y, which takes the gradient; of equals, x. If one is nan, the other.

    >>> fmin(Value(2.0), 1.0).data
    1.0
    """
    if _any_value((x, y)):
        a, b = _fixed(x), _fixed(y)
        return where(a * a + 1, where(a - b, y, x), y)
    if hasattr(_math, "fmin"):
        return _math.fmin(x, y)
    x, y = _float(x), _float(y)
    return y if y < x or isnan(x) else x


def copysign(x: Any, y: Any, /) -> Any:
    """x with the sign of y. There is no derivative by y.

    >>> copysign(Value(2.0), -0.0).data
    -2.0
    """
    sign = _math.copysign(1.0, _number(x)) * _math.copysign(1.0, _number(y))
    return x * sign if isinstance(x, Value) else _math.copysign(x, _number(y))


def degrees(x: Any, /) -> Any:
    """The angle x, given in radians, in degrees.

    >>> degrees(Value(pi)).data
    180.0
    """
    return x * (180 / pi) if isinstance(x, Value) else _math.degrees(x)


def radians(x: Any, /) -> Any:
    """The angle x, given in degrees, in radians.

    >>> radians(Value(180.0)).data == pi
    True
    """
    return x * (pi / 180) if isinstance(x, Value) else _math.radians(x)


def ldexp(x: Any, i: int, /) -> Any:
    """x * 2**i, for an integer i.

    >>> ldexp(Value(3.0), 2).data
    12.0
    """
    return x * _math.ldexp(1.0, i) if isinstance(x, Value) else _math.ldexp(x, i)


def fma(x: Any, y: Any, z: Any, /) -> Any:
    """x*y + z. For floats it is rounded once from Python 3.13 on, whose `math` has this function.

    >>> fma(Value(2.0), 3.0, 1.0).data
    7.0
    """
    if _any_value((x, y, z)) or not hasattr(_math, "fma"):
        return x * y + z
    return _math.fma(x, y, z)


def prod(values: Iterable[Any], /, *, start: Any = 1) -> Any:
    """The product of the start and of an iterable of numbers and Values.

    >>> prod([Value(2.0), 3.0], start=2).data
    12.0
    """
    values = list(values)
    if not _any_value(values):
        return _math.prod(values, start=start)
    for x in values:
        start = start * x
    return start


def fsum(values: Iterable[Any], /) -> Any:
    """The sum of an iterable of numbers and Values, rounded once.

    >>> fsum([Value(1e100), 1.0, -1e100]).data
    1.0
    """
    values = list(values)
    total = _math.fsum(map(_number, values))
    terms = [x for x in values if isinstance(x, Value)]
    return Value(total, terms, [1.0] * len(terms)) if terms else total


def sumprod(p: Iterable[Any], q: Iterable[Any], /) -> Any:
    """The sum of the products of two sequences of one length (else ValueError).

    >>> sumprod([Value(1.0), 2.0], [3.0, 4.0]).data
    11.0
    """
    p, q = list(p), list(q)
    if _any_value(p + q):
        return dot(p, q)
    if hasattr(_math, "sumprod"):
        return _math.sumprod(p, q)
    return _math.fsum(x * y for x, y in zip(p, q, strict=True))
