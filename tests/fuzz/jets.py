"""Truncated Taylor series of several variables over mpmath, which owe nothing to the engine.

Functions are composed by their own series, which mpmath finds of the table in reference.py.
"""

import functools
import itertools
import random

from mpmath import MPContext
from reference import ARITY, OPERATIONS, in_mpmath

mp = MPContext()
mp.dps = 30
DELTA = mp.mpf(10) ** -15
MOST = mp.mpf(10) ** 6  # coefficients beyond are out of scale
NEAR = 1e-6  # closer to a kink than this, it is unknown on which side roundings put a number


@functools.cache
def monomials(variables, order):
    """The exponents of each coefficient, by degree."""
    every = itertools.product(range(order + 1), repeat=variables)
    return sorted((m for m in every if sum(m) <= order), key=lambda m: (sum(m), m))


@functools.cache
def products(variables, order):
    """(i, j, k): coefficients i and j contribute to k."""
    found = monomials(variables, order)
    at = {m: k for k, m in enumerate(found)}
    pairs = (
        (i, j, tuple(map(sum, zip(m, n)))) for i, m in enumerate(found) for j, n in enumerate(found)
    )
    return [(i, j, at[m]) for i, j, m in pairs if m in at]


class Jet:
    """Coefficients of the monomials; None where the number is unknown, or not a number at all.

    exact: no rounding is in it, so that it may be compared with another that is.
    """

    wobble: "random.Random | None" = None  # if set, every result is changed by DELTA, up or down

    def __init__(self, kind, coefficients, exact=False, sizes=None):
        self.kind, self.exact = kind, exact
        self.coefficients = coefficients
        if coefficients is None:
            return
        if not all(-MOST < c < MOST for c in coefficients):
            self.coefficients = None
        elif Jet.wobble and not exact:
            sizes = sizes or coefficients
            self.coefficients = [
                c + s * DELTA * Jet.wobble.uniform(-2, 2) for c, s in zip(coefficients, sizes)
            ]

    @classmethod
    def variable(cls, kind, k, x):
        """The k-th variable, at x."""
        unit = tuple(int(k == n) for n in range(kind[0]))
        found = [mp.mpf(int(m == unit)) for m in monomials(*kind)]
        return cls(kind, [mp.mpf(x), *found[1:]], exact=True)

    def constant(self, x):
        return Jet(
            self.kind, [mp.mpf(x)] + [mp.zero] * (len(monomials(*self.kind)) - 1), exact=True
        )

    def lifted(self, other):
        return other if isinstance(other, Jet) else self.constant(other)

    def unknown(self):
        return Jet(self.kind, None)

    @property
    def value(self):
        return self.coefficients[0]

    def composed(self, series, exact=False):
        """Of a function with these coefficients at the value of this jet."""
        rest = self.constant(0)
        rest.coefficients = [mp.zero, *self.coefficients[1:]]
        out = self.constant(series[-1])
        for c in reversed(series[:-1]):
            out = out * rest + c
        out.exact = exact and out.coefficients is not None
        return out

    # ---- operators

    def __add__(self, other):
        other = self.lifted(other)
        if self.coefficients is None or other.coefficients is None:
            return self.unknown()
        pairs = list(zip(self.coefficients, other.coefficients))
        # Terms may be added in another order: what cancels here is then rounded beside others.
        return Jet(self.kind, [a + b for a, b in pairs], sizes=[abs(a) + abs(b) for a, b in pairs])

    def __mul__(self, other):
        other = self.lifted(other)
        a, b = self.coefficients, other.coefficients
        if a is None or b is None:
            return self.unknown()
        out, sizes = [mp.zero] * len(a), [mp.zero] * len(a)
        for i, j, k in products(*self.kind):
            if a[i] and b[j]:
                out[k] += a[i] * b[j]
                sizes[k] += abs(a[i] * b[j])
        return Jet(self.kind, out, sizes=sizes)

    def __neg__(self):
        if self.coefficients is None:
            return self
        return Jet(self.kind, [-a for a in self.coefficients], self.exact)

    def __sub__(self, other):
        return self + -self.lifted(other)

    def __truediv__(self, other):
        return self * self.lifted(other) ** -1

    def __radd__(self, other):
        return self.lifted(other) + self

    def __rmul__(self, other):
        return self.lifted(other) * self

    def __rsub__(self, other):
        return self.lifted(other) - self

    def __rtruediv__(self, other):
        return self.lifted(other) / self

    def __pow__(self, power):
        if isinstance(power, Jet):
            return (power * self.log()).exp()
        if self.coefficients is None:
            return self
        a, whole = self.value, power == int(power)
        if a < 0 and not whole or a == 0 and not (whole and power >= 0):
            return self.unknown()
        series, c = [], mp.one
        for k in range(self.kind[1] + 1):
            series.append(c * a ** (power - k) if c else mp.zero)
            c = c * (power - k) / (k + 1)
        return self.composed(series)

    # ---- choices

    def sign(self):
        """Of the value; None near a kink."""
        if self.coefficients is None or not self.exact and abs(self.value) < NEAR:
            return None
        return mp.sign(self.value)

    def first_wins(self, other, largest):
        """Whether this is the larger (smaller), or as large; None near a tie."""
        if self is other:
            return True
        if self.coefficients is None or other.coefficients is None:
            return None
        a, b = self.value, other.value
        if abs(a - b) < NEAR and not (self.exact and other.exact):
            return None
        return a >= b if largest else a <= b

    def either(self, other, largest):
        other = self.lifted(other)
        first = self.first_wins(other, largest)
        return self.unknown() if first is None else self if first else other

    def max(self, other):
        return self.either(other, True)

    def min(self, other):
        return self.either(other, False)

    def __abs__(self):
        s = self.sign()
        if s is None:
            return self.unknown()
        return self if s > 0 else -self if s < 0 else self.constant(0)

    def relu(self):
        s = self.sign()
        return self.unknown() if s is None else self if s > 0 else self.constant(0)

    def where(self, a, b):
        a, b, s = self.lifted(a), self.lifted(b), self.sign()
        return self.unknown() if s is None else a if s > 0 else b

    # ---- functions of two

    def hypot(self, other):
        other = self.lifted(other)
        return (self * self + other * other).sqrt()

    def atan2(self, other):
        x = self.lifted(other)
        if self.coefficients is None or x.coefficients is None:
            return self.unknown()
        if x.value > 0:
            return (self / x).atan()
        s = self.sign()
        return (-(x / self)).atan() + s * mp.pi / 2 if s else self.unknown()


class Words:
    """micrograd_c's names, for Jets."""

    @staticmethod
    def sum(values):
        total, *rest = values
        for v in rest:
            total = total + v
        return total

    @classmethod
    def dot(cls, xs, ys):
        return cls.sum([x * y for x, y in zip(xs, ys)])

    @staticmethod
    def where(test, a, b):
        return test.where(a, b)

    @staticmethod
    def max(values):
        return functools.reduce(Jet.max, values)

    @staticmethod
    def min(values):
        return functools.reduce(Jet.min, values)

    @classmethod
    def logsumexp(cls, values):
        return cls.sum([v.exp() for v in values]).log()

    @classmethod
    def softmax(cls, values):
        exps = [v.exp() for v in values]
        return [e / cls.sum(exps) for e in exps]


def defined(name, a, at):
    """Whether the first operand is between the bounds, and the operands are at no edge."""
    op = OPERATIONS[name]
    return op.above < a < op.below and at not in op.edges


def known(c):
    """Whether it is a number, real and in scale."""
    return isinstance(c, mp.mpf) and abs(c) < MOST


def series_of(name, a, order):
    """The coefficients of a function at a; None where it has none."""
    if not defined(name, a, a):
        return None
    found = mp.taylor(in_mpmath(mp, name), a, order)
    return found if all(map(known, found)) else None


def rounded(series, a):
    """The coefficients but for the last, as they are for a number about as large as a.

    The engine's formula of one may cancel where it is near 0: the third of tanh at 0.659.
    """
    if not Jet.wobble:
        return series[:-1]
    steps = [(k + 1) * c * a * DELTA for k, c in enumerate(series[1:])]
    return [c + step * Jet.wobble.uniform(-2, 2) for c, step in zip(series, steps)]


def method(name):
    def call(self):
        if self.coefficients is None or abs(self.value) > 500:
            return self.unknown()
        series = series_of(name, self.value, self.kind[1] + 1)
        return self.unknown() if series is None else self.composed(rounded(series, self.value))

    return call


def method_of_two(name):
    def call(self, other):
        other = self.lifted(other)
        if self.coefficients is None or other.coefficients is None:
            return self.unknown()
        a, b = self.value, other.value
        if not defined(name, a, (a, b)):
            return self.unknown()
        out = self.constant(0)
        for m, n in monomials(2, self.kind[1]):
            c = mp.diff(in_mpmath(mp, name), (a, b), (m, n))
            if not known(c):
                return self.unknown()
            c = c / mp.factorial(m) / mp.factorial(n)
            out = out + c * (self - a) ** m * (other - b) ** n
        return out

    return call


for name in ARITY:
    if "{name}" in OPERATIONS[name].spelled and not hasattr(Jet, name):
        setattr(Jet, name, (method if ARITY[name] == 1 else method_of_two)(name))
