"""The operations of the table as a textbook has them: numbers and partials, for floats (`math`) or
for NumPy's arrays (`ArrayMath`). None of the engine's own formulas is used."""

import math

import numpy as np

SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}


class ArrayMath:
    """The names of `math`, for arrays."""

    pi = math.pi
    asin, acos, atan, atan2 = np.arcsin, np.arccos, np.arctan, np.arctan2
    asinh, acosh, atanh = np.arcsinh, np.arccosh, np.arctanh
    erf, erfc = (np.vectorize(f, otypes=[float]) for f in (math.erf, math.erfc))

    def __getattr__(self, name):
        return getattr(np, name)


class FloatMath:
    """The names of `math`, and NumPy's `where` and `cbrt`."""

    @staticmethod
    def where(test, a, b):
        return a if test else b

    @staticmethod
    def cbrt(a):
        root = math.copysign(abs(a) ** (1 / 3), a)
        return root and root - (root - a / root / root) / 3

    def __getattr__(self, name):
        return getattr(math, name)


def tables(m):
    """({name: (number of a, partial of a)}, {name: (number of a and b, partials)}) for ArrayMath or
    FloatMath."""

    def bell(a):  # the derivative of the logistic function
        e = m.exp(-abs(a))
        return e / (1 + e) ** 2

    def logistic(a):
        e = m.exp(-abs(a))
        return m.where(a < 0, e, 1.0) / (1 + e)

    def either(test):  # all to the first or to the second
        return m.where(test, 1.0, 0.0), m.where(test, 0.0, 1.0)

    unary = {
        "neg": (lambda a: -a, lambda a: -1.0 + 0 * a),
        "abs": (abs, lambda a: m.where(a > 0, 1.0, m.where(a < 0, -1.0, 0.0))),
        "exp": (m.exp, m.exp),
        "expm1": (m.expm1, m.exp),
        "log": (m.log, lambda a: 1 / a),
        "log2": (m.log2, lambda a: 1 / (a * math.log(2))),
        "log10": (m.log10, lambda a: 1 / (a * math.log(10))),
        "log1p": (m.log1p, lambda a: 1 / (1 + a)),
        "sqrt": (m.sqrt, lambda a: 1 / (2 * m.sqrt(a))),
        "cbrt": (m.cbrt, lambda a: 1 / (3 * m.cbrt(a) ** 2)),
        "sin": (m.sin, m.cos),
        "cos": (m.cos, lambda a: -m.sin(a)),
        "tan": (m.tan, lambda a: 1 / m.cos(a) ** 2),
        "asin": (m.asin, lambda a: 1 / m.sqrt((1 - a) * (1 + a))),
        "acos": (m.acos, lambda a: -1 / m.sqrt((1 - a) * (1 + a))),
        "atan": (m.atan, lambda a: 1 / (1 + a * a)),
        "sinh": (m.sinh, m.cosh),
        "cosh": (m.cosh, m.sinh),
        "tanh": (m.tanh, lambda a: 4 * bell(2 * a)),
        "asinh": (m.asinh, lambda a: 1 / m.sqrt(1 + a * a)),
        "acosh": (m.acosh, lambda a: 1 / (m.sqrt(a - 1) * m.sqrt(a + 1))),
        "atanh": (m.atanh, lambda a: 1 / ((1 - a) * (1 + a))),
        "erf": (m.erf, lambda a: 2 / math.sqrt(math.pi) * m.exp(-a * a)),
        "erfc": (m.erfc, lambda a: -2 / math.sqrt(math.pi) * m.exp(-a * a)),
        "sigmoid": (logistic, bell),
        "softplus": (lambda a: m.where(a > 0, a, 0.0) + m.log1p(m.exp(-abs(a))), logistic),
        "relu": (lambda a: m.where(a < 0, 0.0, a), lambda a: m.where(a > 0, 1.0, 0.0)),
    }

    def angles(a, b):
        r = m.hypot(a, b)
        return b / r / r, -a / r / r

    binary = {
        "add": (lambda a, b: a + b, lambda a, b: (1.0, 1.0)),
        "sub": (lambda a, b: a - b, lambda a, b: (1.0, -1.0)),
        "mul": (lambda a, b: a * b, lambda a, b: (b, a)),
        "div": (lambda a, b: a / b, lambda a, b: (1 / b, -a / b / b)),
        "pow": (lambda a, b: a**b, lambda a, b: (b * a ** (b - 1), a**b * m.log(a))),
        "atan2": (m.atan2, angles),
        "hypot": (m.hypot, lambda a, b: (a / m.hypot(a, b), b / m.hypot(a, b))),
        "min": (lambda a, b: m.where(b < a, b, a), lambda a, b: either(a <= b)),
        "max": (lambda a, b: m.where(b > a, b, a), lambda a, b: either(a >= b)),
    }
    return unary, binary


EXACT = {"neg", "abs", "relu", "min", "max"}
