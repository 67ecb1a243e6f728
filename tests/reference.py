"""What tests share; above all a plain-Python model of the engine to compare with.

In the model every node is kept, children stand in order, and every partial is read from the
operands' data at the time it is asked for. Given Python's ints it computes without rounding;
`Model.peak` is the largest number any sweep met, so a caller knows whether floats are exact too.
"""

import functools
import gc
import math
import re
from typing import Any, NamedTuple

import numpy as np

from micrograd_c import Value, tape
from micrograd_c._core import OPS

INF = math.inf

# ---- the operations of the op table


class Op(NamedTuple):
    """What tests know of an operation of src/ops/ops.h; nothing of it is the engine's.

    Formulas are text over the names of `math`, `where`, and those in `names` below. They are read
    for floats, for NumPy's arrays and for mpmath's numbers, so write them without cancellation.
    """

    value: str
    partial: str
    """Of an operation of two operands: both partials."""
    above: float = -INF
    """The first operand is above this number, ..."""
    below: float = INF
    """... and below this one."""
    edges: "dict[Any, Any]" = {}
    """{operands: partials} where the two-sided derivative does not exist; None: not promised."""
    points: "list[Any] | None" = None
    """Where higher derivatives are tested, if the points for all operations are not enough."""
    spelled: str = "{a}.{name}({b})"
    """How Python calls it."""
    roundings: int = 2
    """0: the result is exact, or an operand; 1: the exact result, rounded; 2: a little off."""


class Operations(dict):
    def __missing__(self, name):
        raise AssertionError(
            f"the operation {name!r} has no line in OPERATIONS of {__file__}: add it there"
        )


POSITIVE = [1e-3, 0.5, 2.0, 1e3]
INSIDE = [-0.9, -0.3, 0.2, 0.999]
BENT = [-2.0, -1e-3, 1e-3, 2.0]
POWERS = [(2.0, 3.0), (0.3, -1.5), (1.7, 0.5), (2.0, 1.0), (2.0, 2.0), (2.0, 0.0), (0.1, 0.0)]
ANGLES = [(0.5, 2.0), (-1.0, -2.0), (2.0, 1e-3), (1e-3, -1.0), (1.0, 0.0)]
BASE_0 = {
    (0.0, 0.0): (0.0, None),
    (0.0, 1.0): (1.0, 0.0),
    **{(0.0, y): (INF, 0.0) for y in (0.1, 0.5, 1e-200, 1e-300)},
    **{(0.0, y): (0.0, 0.0) for y in (1.5, 2.0, 3.0, 10.0)},
}
# On its cut, atan2's formula holds though the function jumps.
CUT = {(0.0, x): (1 / x, 0.0) for x in (-0.5, -1.0, -2.0, -3.0, -1e-200, -1e300)}

OPERATIONS = Operations(
    neg=Op("-a", "-1.0 + 0 * a", spelled="-{a}", roundings=0),
    abs=Op("abs(a)", "sign(a)", -INF, INF, {0.0: 0.0}, BENT, "abs({a})", 0),
    exp=Op("exp(a)", "exp(a)"),
    expm1=Op("expm1(a)", "exp(a)", points=[-20.0, -4.7, -1e-9, 0.5, 5.0]),
    log=Op("log(a)", "1 / a", above=0, points=POSITIVE),
    log2=Op("log2(a)", "1 / (a * log(2))", above=0, points=POSITIVE),
    log10=Op("log10(a)", "1 / (a * log(10))", above=0, points=POSITIVE),
    log1p=Op("log1p(a)", "1 / (1 + a)", above=-1, points=[-0.9, 1e-8, 2.0]),
    sqrt=Op("sqrt(a)", "1 / (2 * sqrt(a))", 0, INF, {0.0: INF}, POSITIVE, roundings=1),
    cbrt=Op("cbrt(a)", "1 / (3 * cbrt(a) ** 2)", -INF, INF, {0.0: INF}, [-8.0, -0.1, 0.1, 2.0]),
    sin=Op("sin(a)", "cos(a)"),
    cos=Op("cos(a)", "-sin(a)"),
    tan=Op("tan(a)", "1 / cos(a) ** 2", points=[-1.5, 0.5, 1.5]),
    asin=Op("asin(a)", "1 / sqrt((1 - a) * (1 + a))", -1, 1, {1.0: INF, -1.0: INF}, INSIDE),
    acos=Op("acos(a)", "-1 / sqrt((1 - a) * (1 + a))", -1, 1, {1.0: -INF, -1.0: -INF}, INSIDE),
    atan=Op("atan(a)", "1 / (1 + a * a)"),
    sinh=Op("sinh(a)", "cosh(a)"),
    cosh=Op("cosh(a)", "sinh(a)"),
    tanh=Op("tanh(a)", "4 * bell(2 * a)", points=[-20.0, -3.0, -2.9, 0.0, 0.5, 2.9, 3.0, 20.0]),
    asinh=Op("asinh(a)", "1 / sqrt(1 + a * a)"),
    acosh=Op("acosh(a)", "1 / (sqrt(a - 1) * sqrt(a + 1))", 1, INF, {1.0: INF}, [1.001, 1.5, 30.0]),
    atanh=Op("atanh(a)", "1 / ((1 - a) * (1 + a))", -1, 1, points=INSIDE),
    erf=Op("erf(a)", "2 / sqrt(pi) * exp(-a * a)", points=[-5.0, -0.5, 0.0, 3.0]),
    erfc=Op("erfc(a)", "-2 / sqrt(pi) * exp(-a * a)", points=[-5.0, -0.5, 0.0, 3.0, 8.0]),
    sigmoid=Op("logistic(a)", "bell(a)", points=[-40.0, -20.0, 0.0, 0.5, 4.5, 4.7, 20.0, 40.0]),
    softplus=Op(
        "where(a > 0, a, 0.0) + log1p(exp(-abs(a)))",
        "logistic(a)",
        points=[-40.0, -20.0, 0.5, 20.0, 40.0],
    ),
    relu=Op(
        "where(a < 0, 0.0, a)", "where(a > 0, 1.0, 0.0)", -INF, INF, {0.0: 0.0}, BENT, roundings=0
    ),
    add=Op("a + b", "1.0, 1.0", spelled="{a} + {b}", roundings=1),
    sub=Op("a - b", "1.0, -1.0", spelled="{a} - {b}", roundings=1),
    mul=Op("a * b", "b, a", spelled="{a} * {b}", roundings=1),
    div=Op(
        "a / b",
        "1 / b, -a / b / b",
        points=[(3.0, 4.0), (-0.1, -7.0), (0.0, 2.0)],
        spelled="{a} / {b}",
        roundings=1,
    ),
    pow=Op("a**b", "b * a ** (b - 1), a**b * log(a)", 0, INF, BASE_0, POWERS, "{a} ** {b}"),
    powc=Op("a**b", "b * a ** (b - 1), 0.0", 0, INF, BASE_0, POWERS, "{a} ** {b}"),
    atan2=Op("atan2(a, b)", "angles(a, b)", -INF, INF, {(0.0, 0.0): (None, None), **CUT}, ANGLES),
    hypot=Op(
        "hypot(a, b)",
        "a / hypot(a, b), b / hypot(a, b)",
        edges={(0.0, 0.0): (0.0, 0.0)},
        points=[(3.0, 4.0), (-1e-3, 2.0), (0.0, 2.0), (2.0, 0.0)],
    ),
    min=Op("where(b < a, b, a)", "where(a <= b, 1.0, 0.0), where(a <= b, 0.0, 1.0)", roundings=0),
    max=Op("where(b > a, b, a)", "where(a >= b, 1.0, 0.0), where(a >= b, 0.0, 1.0)", roundings=0),
)


def numpys_name(name):
    return re.sub("^a(sin|cos|tan)", r"arc\1", name)


def names(m):
    """What formulas may use, of `math`, `numpy`, or a context of mpmath."""
    of = numpys_name if m is np else str
    found = {name: getattr(m, of(name), None) for name in [*dir(math), "cbrt"]}
    found |= {"abs": abs, "where": np.where if m is np else lambda test, a, b: a if test else b}
    if m is np:
        for name in ("erf", "erfc"):
            found[name] = np.vectorize(getattr(math, name), otypes=[float])
    elif m is not math:
        found["cbrt"] = lambda a: m.sign(a) * m.cbrt(abs(a))
        found["log2"] = lambda a: m.log(a, 2)
        # Of large numbers, mpmath's own take long.
        found["erf"] = lambda a: m.erf(a) if abs(a) < 1e10 else m.sign(a)
        found["erfc"] = lambda a: m.erfc(a) if abs(a) < 1e10 else 1 - m.sign(a)
    text = """
def sign(a): return where(a > 0, 1.0, where(a < 0, -1.0, 0.0))
def logistic(a): return where(a < 0, e := exp(-abs(a)), 1.0) / (1 + e)
def bell(a): return (e := exp(-abs(a))) / (1 + e) ** 2  # its derivative
def angles(a, b): return b / (r := hypot(a, b)) / r, -a / r / r
"""
    exec(text, found)
    return found


def never_raising(function):
    """Of NumPy's numbers, for floats."""

    def call(*args):
        with np.errstate(all="ignore"):
            found = function(*map(np.float64, args))
        return tuple(map(float, found)) if type(found) is tuple else float(found)

    return call


def tables(m):
    """{name: (value, partial)} of operations of one operand, and of those of two.

    With `math`, for floats. What Python does not have never raises, and follows NumPy.
    """
    found = {}, {}
    known, numpys = names(m), names(np)
    for op in OPS:
        pythons = hasattr(m, op.name) or m is np or "{name}" not in OPERATIONS[op.name].spelled
        text = "lambda a: ({})" if op.arity == 1 else "lambda a, b: ({})"
        formulas = [text.format(formula) for formula in OPERATIONS[op.name][:2]]
        formulas = [eval(formula, known if pythons else numpys) for formula in formulas]
        found[op.arity - 1][op.name] = formulas if pythons else [*map(never_raising, formulas)]
    return found


@functools.lru_cache
def in_mpmath(mp, name):
    """The operation of that name, as a function of mpmath's numbers; mp: its context."""
    return eval(f"lambda a, b=None: {OPERATIONS[name].value}", names(mp))


ARITY = {op.name: op.arity for op in OPS}
METHODS_OF_TWO = [op.name for op in OPS if op.arity == 2 and hasattr(Value, op.name)]


def spelled(name, a, b):
    """The operation as Python calls it, of these texts."""
    return OPERATIONS[name].spelled.format(name=name, a=a, b=b if ARITY[name] == 2 else "")


@functools.cache
def caller(name):
    return eval(f"lambda a, b=None: {spelled(name, 'a', 'b')}")


def call(name, *args):
    """The operation of that name, as a user calls it."""
    if name == "powc":  # the exponent as a number
        args = args[0], getattr(args[1], "data", args[1])
    return caller(name)(*args)


def inside(name, x):
    """x, a number from 0 to 1, moved to where the operation is defined."""
    above, below = OPERATIONS[name][2:4]
    return x if above < x < below else above + x if math.isfinite(above) else below - x


def operands(op, a, b):
    """As many as it has, the first one moved."""
    return [inside(op.name, a), b][: op.arity]


def within(name, low, high):
    """What of an interval is 0.1 or more inside of where the operation is defined."""
    above, below = OPERATIONS[name][2:4]
    return max(low, above + 0.1), min(high, below - 0.1)


def kinks(name):
    """Where the first operand is at a bound, or at an edge whatever the second one is."""
    op = OPERATIONS[name]
    return {x for x in (op.above, op.below, *op.edges) if type(x) is not tuple and abs(x) < INF}


class Model:
    peak = 0

    def __init__(self, data, children=(), op="", partials=lambda: ()):
        self.data = data
        self.grad = 0
        self.children = tuple(children)
        self.partials = partials
        self.op = op
        self.label = ""
        self.subclass = any(child.subclass for child in self.children)
        self._backward = self.step

    def step(self):
        for child, partial in zip(self.children, self.partials(), strict=False):
            child.grad += partial * self.grad
            Model.peak = max(Model.peak, abs(partial * self.grad), abs(child.grad))

    def backward(self):
        order, seen = [], set()

        def visit(node):
            if id(node) not in seen:
                seen.add(id(node))
                for child in node.children:
                    visit(child)
                order.append(node)

        visit(self)
        self.grad = 1
        for node in reversed(order):
            node._backward()

    def __add__(self, other):
        other = lift(other)
        return Model(self.data + other.data, (self, other), "+", lambda: (1, 1))

    def __sub__(self, other):
        other = lift(other)
        return Model(self.data - other.data, (self, other), "-", lambda: (1, -1))

    def __mul__(self, other):
        other = lift(other)
        return Model(self.data * other.data, (self, other), "*", lambda: (other.data, self.data))

    def __truediv__(self, other):
        other = lift(other)
        return Model(
            self.data / other.data,
            (self, other),
            "/",
            lambda: (1 / other.data, -self.data / other.data**2),
        )

    def __pow__(self, power):
        return Model(
            self.data**power, (self,), f"**{power}", lambda: (power * self.data ** (power - 1),)
        )

    def __radd__(self, other):
        return lift(other) + self

    def __rsub__(self, other):
        return lift(other) - self

    def __rmul__(self, other):
        return lift(other) * self

    def __rtruediv__(self, other):
        return lift(other) / self

    def __neg__(self):
        return Model(-self.data, (self,), "neg", lambda: (-1,))

    def relu(self):
        # micrograd asks the node's own data, which may have been assigned since.
        out = Model(0 if self.data < 0 else self.data, (self,), "ReLU")
        out.partials = lambda: (int(out.data > 0),)
        return out


def lift(x):
    return x if isinstance(x, Model) else Model(x)


def model_sum(xs):
    xs = [lift(x) for x in xs]
    return Model(sum(x.data for x in xs), xs, "sum", lambda: [1] * len(xs))


def model_dot(xs, ys, start=0):
    pairs, start = [(lift(x), lift(y)) for x, y in zip(xs, ys, strict=True)], lift(start)
    return Model(
        start.data + sum(x.data * y.data for x, y in pairs),
        [*(v for pair in pairs for v in pair), start],
        "dot",
        lambda: [*(v.data for x, y in pairs for v in (y, x)), 1],
    )


def live_nodes():
    """The nodes that live once Python's own garbage (tracebacks, local classes) is gone."""
    gc.collect()
    return tape.live()


def same(x, y):
    """Equal as floats: nan is nan, and -0.0 is not 0.0."""
    x, y = float(x), float(y)
    if math.isnan(x) or math.isnan(y):
        return math.isnan(x) and math.isnan(y)
    return x == y and math.copysign(1.0, x) == math.copysign(1.0, y)
