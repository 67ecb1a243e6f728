"""What tests share; above all a plain-Python model of the engine to compare with.

In the model every node is kept, children stand in order, and every partial is read from the
operands' data at the time it is asked for. Given Python's ints it computes without rounding;
`Model.peak` is the largest number any sweep met, so a caller knows whether floats are exact too.
"""

import gc
import math
import operator

from micrograd_c import tape

# Ops that are called as operators; all others are methods of their name.
OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "powc": lambda x, y: x ** getattr(y, "data", y),  # the exponent as a number
    "neg": operator.neg,
    "abs": abs,
}


def call(name, *args):
    """The op of that name in the op table, as a user calls it."""
    return OPERATORS[name](*args) if name in OPERATORS else getattr(args[0], name)(*args[1:])


def in_mpmath(mp, name):
    """The op of that name in the op table, as a function of mpmath's numbers; mp: its context."""
    own = {
        "add": lambda p, q: p + q,
        "sub": lambda p, q: p - q,
        "mul": lambda p, q: p * q,
        "div": lambda p, q: p / q,
        "pow": mp.power,
        "powc": mp.power,
        "neg": lambda p: -p,
        "abs": abs,
        "expm1": lambda p: mp.exp(p) - 1,
        "log2": lambda p: mp.log(p) / mp.log(2),
        "log1p": lambda p: mp.log(1 + p),
        "cbrt": lambda p: mp.sign(p) * mp.cbrt(abs(p)),
        "sigmoid": lambda p: 1 / (1 + mp.exp(-p)),
        "softplus": lambda p: mp.log(1 + mp.exp(p)),
        "relu": lambda p: max(p, mp.mpf(0)),
        "min": min,
        "max": max,
        "hypot": lambda p, q: mp.sqrt(p * p + q * q),
    }
    return own.get(name) or getattr(mp, name)


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
