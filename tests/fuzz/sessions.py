"""Eager Values against a dictionary of plain nodes.

A session is a list of lines of Python over the names v0 to v7. Each line runs twice: on Values, and
on `Node`, which keeps its operands as Python objects and its numbers as floats. After each line all
that it logs and assigns is compared; at times all names, and how many nodes live.

Numbers are compared as they are rounded: `+ - * /` and what chooses a number exactly, functions to
some units in the last place (then the reference goes on with the engine's number), gradients
relative to the sum of the magnitudes of all terms that were added up.
"""

import copy
import gc
import math
import operator
import re

from reference import METHODS_OF_TWO, OPERATIONS, tables

import micrograd_c as mg
from micrograd_c import Value, _core, autograd, tape

from . import Case, Wrong

NAMES = [f"v{k}" for k in range(8)]
NUMBERS = [-2.5, -1.0, -0.75, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0]


# Of the op table: those that are called as methods.
UNARY, BINARY = tables(math)
FUNCTIONS = [name for name in UNARY if name != "neg"]
SYMBOLS = {op.name: op.symbol for op in _core.OPS}
# Their partials are made from their own number, v. (Of relu, the reference does so, too.)
READ_THEMSELVES = {op.symbol for op in _core.OPS if re.search(r"\bv\b", op.by_a + "," + op.by_b)}
READ_THEMSELVES.remove("ReLU")


class Unknown(Exception):
    """The reference cannot tell: the line is left out."""


class Node:
    """A Value as a dictionary would have it."""

    recording = True

    def __init__(self, data, _children=(), _op="", label="", kind="Value", ulps=0):
        self.data = self.own = float(data)
        self.ulps = ulps  # as many units in the last place the engine's number may be off, ...
        self.size = abs(self.data)  # ... of a number of this size
        self._grad, self.bound = 0.0, 0.0  # bound: the magnitudes of all that was added up
        self.grad_req = "add"
        self.attributes = {}
        self.kind = kind
        self.partials, self.closure, self.apart = (lambda: ()), False, False
        if not isinstance(_op, str):
            given = tuple(map(float, _op))
            self.partials, _op = (lambda: given), ""
        self.children, self._op = tuple(_children), _op
        self.hidden = ()  # nodes that it needs, but does not show
        self.attached = self.freed = False
        self.numbers = [node.data for node in self.children]
        self.label = label
        if not math.isfinite(self.data):
            raise Unknown

    grad = property(lambda self: self._grad)

    @grad.setter
    def grad(self, x):
        self._grad, self.bound = float(x), abs(float(x))

    @property
    def _children(self):
        if self.apart:
            raise Unknown
        return self.children

    @property
    def _prev(self):
        return set(self._children)

    @property
    def _local_grads(self):
        if self.apart or self.closure:
            raise Unknown
        return tuple(checked(self.partials()))

    # ---- operations

    def __add__(self, other):
        other = lifted(other)
        return made(self.data + other.data, (self, other), "+", lambda: (1.0, 1.0))

    def __sub__(self, other):
        other = lifted(other)
        return made(self.data - other.data, (self, other), "-", lambda: (1.0, -1.0))

    def __mul__(self, other):
        other = lifted(other)
        return made(self.data * other.data, (self, other), "*", lambda: (other.data, self.data))

    def __truediv__(self, other):
        other = lifted(other)
        return made(
            self.data / other.data,
            (self, other),
            "/",
            lambda: (1 / other.data, -self.data / other.data / other.data),
        )

    def __pow__(self, other):
        if not isinstance(other, Node):
            out = made(
                real(self.data**other),
                (self,),
                f"**{other}",
                lambda: (other * real_or_nan(self.data ** (other - 1)) if other else 0.0,),
                ulps=4,
            )
            if out.children:
                out.hidden = (Node(other),)
            return out
        data = real(self.data**other.data)

        def partials():
            a, b = self.data, other.data
            if a <= 0:
                raise Unknown
            return b * a ** (b - 1), a**b * math.log(a)

        return made(data, (self, other), "**", partials, ulps=4)

    def __rpow__(self, other):
        return lifted(other) ** self

    def __radd__(self, other):
        return lifted(other) + self

    def __rmul__(self, other):
        return lifted(other) * self

    def __rsub__(self, other):
        return lifted(other) - self

    def __rtruediv__(self, other):
        return lifted(other) / self

    def __neg__(self):
        return made(-self.data, (self,), "neg", lambda: (-1.0,))

    def __abs__(self):
        return function("abs")(self)

    def detach(self):
        return Node(self.data, kind=self.kind)

    # ---- comparisons and reading

    def __lt__(self, other):
        return self.data < number(other)

    def __le__(self, other):
        return self.data <= number(other)

    def __gt__(self, other):
        return self.data > number(other)

    def __ge__(self, other):
        return self.data >= number(other)

    def __format__(self, spec):
        return format(self.data, spec)

    def __deepcopy__(self, memo):
        if self.attributes or self.attached:
            raise Unknown
        if self.children:
            raise TypeError
        twin = Node(self.data, kind=self.kind, label=self.label)
        twin._grad, twin.bound = self._grad, self.bound
        return twin

    def __setattr__(self, name, value):
        if name == "m":
            self.attributes[name] = value
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name):
        try:
            return object.__getattribute__(self, "attributes")[name]
        except KeyError:
            raise AttributeError(name) from None

    def __delattr__(self, name):
        self.__getattr__(name)
        del self.attributes[name]

    # ---- sweeps

    def attach_grad(self, grad_req="write"):
        self.grad_req, self.attached = grad_req, True
        self.forget()
        self.freed = False
        self.grad = 0.0

    def forget(self):
        self.children, self._op, self.partials = (), "", lambda: ()
        self.hidden, self.closure, self.apart = (), False, False

    def backward(self, head_gradient=1.0, retain_graph=True):
        if self.grad_req != "add":
            raise Unknown
        order = topological(self)
        if any(node.freed for node in order):
            raise ValueError
        shares = [(node, tuple(checked(node.partials()))) for node in order]
        before = [(node, node._grad, node.bound) for node in order if node.grad_req == "null"]
        # Where a gradient is to be written, only what is new passes through operations.
        fresh = [node for node in order if node.grad_req == "write"]
        old = [(node, node._grad, node.bound) for node in order if node.children and fresh]
        for node in (*fresh, *(node for node, *_ in old)):
            node.grad = 0.0
        self.grad = head_gradient
        for node, partials in reversed(shares):
            for child, partial in zip(node.children, partials):
                child._grad += partial * node._grad
                child.bound += abs(partial) * node.bound
        for node, grad, bound in before:
            node._grad, node.bound = grad, bound
        for node, grad, bound in old:
            if node is not self:
                node._grad += grad
                node.bound += bound
        if not retain_graph:
            for node in order:
                if node.children:
                    node.forget()
                    node.freed = True


def checked(partials):
    try:
        found = list(partials)
    except (ArithmeticError, TypeError, ValueError):  # TypeError: complex
        raise Unknown from None
    if not all(map(math.isfinite, found)):
        raise Unknown
    return found


def guarded(out, partials):
    """Partials, Unknown where they are not finite, and where the operation reads its own number,
    as micrograd's do, but that is not what its operands now give."""

    def call():
        if out._op in READ_THEMSELVES and (
            out.numbers != [node.data for node in out.children] or out.own != out.data
        ):
            raise Unknown
        try:
            return partials()
        except (ArithmeticError, TypeError, ValueError):  # TypeError: complex
            raise Unknown from None

    return call


def made(data, children, op, partials, ulps=0, size=0.0):
    kind = "Sub" if any(child.kind == "Sub" for child in children) else "Value"
    if not Node.recording:
        out = Node(data, kind=kind, ulps=ulps)
    else:
        out = Node(data, children, op, kind=kind, ulps=ulps)
        out.partials = guarded(out, partials)
    out.size = max(out.size, size)
    return out


def real(x):
    if isinstance(x, complex):
        raise ValueError
    return x


def real_or_nan(x):
    """A power that a derivative needs: where it is complex, sweeps have nan."""
    return math.nan if isinstance(x, complex) else x


def added(terms):
    """Their sum; of nothing but zeros below 0 that, too."""
    total = math.fsum(terms)
    negative = terms and all(x == 0 and math.copysign(1, x) < 0 for x in terms)
    return -0.0 if negative else total


def lifted(x):
    return x if isinstance(x, Node) else Node(x)


def number(x):
    return x.data if isinstance(x, Node) else x


def topological(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in node.children]
    return order


def function(name):
    of_number, partial = UNARY[name]
    exact = OPERATIONS[name].roundings == 0

    def method(self):
        data = of_number(self.data)
        out = made(data, (self,), SYMBOLS[name], lambda: (), ulps=0 if exact else 8)
        if out.children:  # relu asks the node's own number, as micrograd does
            reads = out if name == "relu" else self
            out.partials = guarded(out, lambda: (partial(reads.data),))
        return out

    return method


def binary(name):
    of_numbers, partials = BINARY[name]
    exact = OPERATIONS[name].roundings == 0

    def method(self, other):
        other = lifted(other)
        return made(
            of_numbers(self.data, other.data),
            (self, other),
            name,
            lambda: partials(self.data, other.data),
            ulps=0 if exact else 8,
        )

    return method


for name in FUNCTIONS:
    setattr(Node, name, function(name))
for name in METHODS_OF_TWO:
    setattr(Node, name, binary(name))


class Reference:
    """The words of a session, for Nodes."""

    Value = Node

    @staticmethod
    def Sub(data, label=""):
        return Node(data, label=label, kind="Sub")

    @staticmethod
    def sum(values):
        nodes = [v for v in values if isinstance(v, Node)]
        terms = [number(v) for v in values]
        return made(added(terms), nodes, "sum", lambda: [1.0] * len(nodes), 8, sum(map(abs, terms)))

    @staticmethod
    def dot(xs, ys):
        pairs = list(zip(xs, ys))
        terms = [x.data * y.data for x, y in pairs]
        return made(
            added(terms),
            [v for pair in pairs for v in pair],
            "dot",
            lambda: [p for x, y in pairs for p in (y.data, x.data)],
            8,
            sum(map(abs, terms)),
        )

    @staticmethod
    def where(test, a, b):
        test, a, b = map(lifted, (test, a, b))
        chosen = test.data > 0
        return made(
            (a if chosen else b).data,
            (test, a, b),
            "where",
            lambda: (0.0, float(test.data > 0), float(not test.data > 0)),
        )

    take = staticmethod(operator.getitem)

    @staticmethod
    def user(a, b):
        out = Node(a.data * b.data, (a, b), "user")
        out.partials, out.closure = (lambda: (b.data, a.data)), True
        return out

    @staticmethod
    def compiled(a, b):
        x, y = a.data, b.data
        e = math.exp(-2 * abs(x * y))
        slope = 4 * e / (1 + e) ** 2
        partials = slope * y + 1.0, slope * x
        data = math.tanh(x * y) + x
        out = made(data, (a, b), "", lambda: partials, 16, abs(x) + 1)
        out.apart, out.kind = True, "Value"
        return out

    @staticmethod
    def product(a, b, c):
        return [a * c, b * c]

    class pause:
        def __enter__(self):
            Node.recording = False

        def __exit__(self, *error):
            Node.recording = True

    @staticmethod
    def grad(y, xs):
        order = topological(y)
        if any(node.freed or node.closure for node in order):
            raise Unknown
        if not (y.children or y.attached or any(x is y for x in xs)):
            raise ValueError  # a head without a graph
        grads, bounds = {id(y): 1.0}, {id(y): 1.0}
        for node in reversed(order):
            for child, partial in zip(node.children, checked(node.partials())):
                key = id(child)
                grads[key] = grads.get(key, 0.0) + partial * grads.get(id(node), 0.0)
                bounds[key] = bounds.get(key, 0.0) + abs(partial) * bounds.get(id(node), 0.0)
        return [Number(grads.get(id(x), 0.0), bounds.get(id(x), 0.0)) for x in xs]

    @classmethod
    def jvp(cls, y, x):
        return cls.grad(y, [x])[0]

    @staticmethod
    def count_paths(y, x):
        counts = {id(x): 1}
        for node in topological(y):
            if node is not x:
                counts[id(node)] = sum(counts[id(child)] for child in node.children)
            if node.apart or node.freed:
                raise Unknown
        return counts[id(y)]

    @staticmethod
    def collect():
        pass

    @staticmethod
    def grad_of(v):
        return Number(v._grad, v.bound)

    @staticmethod
    def type_of(v):
        return v.kind


class Number(float):
    """A float, and the sum of the magnitudes of what it was added up from."""

    def __new__(cls, x, bound):
        self = super().__new__(cls, x)
        self.bound = bound
        return self


class Sub(Value):
    """A class of the user's own."""


def user(a, b):
    out = Value(a.data * b.data, (a, b), "user")

    def _backward():
        a.grad += b.data * out.grad
        b.grad += a.data * out.grad

    out._backward = _backward
    return out


class Engine:
    """The same words, of micrograd_c."""

    Value, Sub, user = Value, Sub, staticmethod(user)
    sum, dot, where, take = map(staticmethod, (mg.sum, mg.dot, mg.where, mg.take))
    pause, grad, count_paths = map(
        staticmethod, (autograd.pause, autograd.grad, autograd.count_paths)
    )
    collect = staticmethod(tape.collect)
    compiled = staticmethod(mg.compile(lambda a, b: (a * b).tanh() + a))

    @staticmethod
    def product(a, b, c):
        return list(mg.array([a, b]) * c)

    @staticmethod
    def jvp(y, x):
        return autograd.jvp(y, x)

    @staticmethod
    def grad_of(v):
        return v.grad

    @staticmethod
    def type_of(v):
        return type(v).__name__


def words(dialect):
    found = {name: getattr(dialect, name) for name in dir(Engine) if not name.startswith("_")}
    return {**found, "held": [], "copy": copy}


# ---- lines


def line(rng):
    a, b, c, out = (rng.choice(NAMES) for _ in range(4))
    x, y = rng.choice(NUMBERS), rng.choice(NUMBERS)
    kind = rng.random()
    if kind < 0.06:
        return f"{out} = {rng.choice(['Value', 'Value', 'Value', 'Sub'])}({x})"
    if kind < 0.33:
        op = rng.choice("+-*/+-*")
        form = rng.choice([f"{a} {op} {b}"] * 4 + [f"{a} {op} {x}", f"{x} {op} {a}"])
        return f"{out} = {form}"
    if kind < 0.43:
        return f"{out} = {a}.{rng.choice(FUNCTIONS)}()"
    if kind < 0.47:
        return f"{out} = {a}.{rng.choice(METHODS_OF_TWO)}({rng.choice([b, str(x)])})"
    if kind < 0.49:
        return f"{out} = {a} ** {rng.choice([b, '2', '3', '-1', '0.5', '0', '1', '-2.5'])}"
    return rng.choice(
        [
            f"{out} = {x} ** {a}",
            f"{out} = -{a}",
            f"{out} = abs({a})",
            f"{a} += {b}",
            f"{a} *= {x}",
            f"{out} = ({a} * {b} + {c}) * {x} - {a}",
            f"{out} = sum([{a}, {b}, {x}, {c}, {a}])",
            f"{out} = dot([{a}, {b}], [{c}, {a}])",
            f"{out} = where({a}, {b}, {rng.choice([c, str(x)])})",
            f"{out} = take([{a}, {b}, {c}], {rng.randrange(-3, 3)})",
            f"{out} = Value({x}, ({a}, {b}), ({y}, {x}))",
            f"{out} = Value({x}, ({a}, {b}), 'mine')",
            f"{out} = user({a}, {b})",
            f"{out} = compiled({a}, {b})",
            f"{out}, {c} = product({a}, {b}, {c})",
            f"{out} = {a}.detach()",
            f"{out} = {a}",
            f"{out} = {a}._children[{rng.randrange(2)}]",
            f"{out} = copy.deepcopy({a})",
            f"with pause(): {out} = {a} * {b}",
            f"with pause(): {out} = {a}.exp()",
            f"del {a}",
            f"del {a}, {b}",
            f"held.append({a})",
            "held.clear()",
            f"{out} = held.pop(0)",
            f"{a}.data = {x}",
            f"{a}.data += {x}",
            f"{a}.grad = {x}",
            f"{a}.attach_grad({rng.choice(['', repr('add'), repr('null')])})",
            f"{a}.label = {rng.choice(['p', 'q'])!r}",
            f"{a}.m = {rng.choice([str(x), b, b])}",
            f"del {a}.m",
            "collect()",
            "alive()",
            "everything()",
            f"{a}.backward()",
            f"{a}.backward()",
            f"{a}.backward()",
            f"{a}.backward({x}, retain_graph={rng.random() < 0.6})",
            f"log(grad({a}, [{b}, {c}]))",
            f"log(jvp({a}, {b}))",
            f"log(count_paths({a}, {b}))",
            f"log({a}._local_grads)",
            f"log({a}.data, grad_of({a}), {a}._op, {a}.label, type_of({a}))",
            f"log(getattr({a}, 'm', None))",
            f"log([v.data for v in {a}._children], len({a}._prev))",
            f"log({a}._children[0] is {b}, {b} in {a}._prev)",
            f"log({a} < {b}, {a} >= {x}, {x} > {a}, {a} <= {b})",
            f"log(bool({a}), f'{{{a}:.3f}}')",
        ]
    )


def case(rng):
    start = [f"{name} = Value({rng.choice(NUMBERS)})" for name in NAMES[:4]]
    nursery = rng.choice([None, None, 1, 10])
    length = rng.choice([10, 20, 40, 80])
    return Case(nursery, start + [line(rng) for _ in range(length)] + ["everything()", "alive()"])


class Session:
    """A session on both sides."""

    def __init__(self):
        self.ours, self.theirs = words(Engine), words(Reference)
        self.log, self.expected = [], []
        for names, log in ((self.ours, self.log), (self.theirs, self.expected)):
            names["log"] = lambda *x, log=log: log.extend(x)
            names["everything"] = lambda names=names, log=log: self.everything(names, log)
        self.ours["alive"] = lambda: self.log.append(tape.live() - self.others)
        self.theirs["alive"] = lambda: self.expected.append(len(self.living()))
        self.ran = []
        gc.collect(0)
        self.others = tape.live()

    @staticmethod
    def everything(names, log):
        for name in NAMES:
            if name in names:
                v = names[name]
                log += [v.data, names["grad_of"](v), v._op, v.label, names["type_of"](v)]

    def living(self):
        """Of the reference, the nodes that the names lead to."""
        found, stack = {}, [self.theirs.get(name) for name in NAMES] + self.theirs["held"]
        while stack:
            node = stack.pop()
            if isinstance(node, Node) and id(node) not in found:
                found[id(node)] = node
                stack += [*node.children, *node.hidden, *node.attributes.values()]
        return found

    def step(self, text):
        code = compile(text, "<session>", "exec")
        try:
            raised = run_line(code, self.theirs)
        except Unknown:
            del self.expected[:]
            return
        self.ran.append(text)
        got = run_line(code, self.ours)
        if got != raised:
            raise Wrong(f"{text}: {got or 'no error'}, where the reference has {raised or 'none'}")
        if len(self.log) != len(self.expected):
            raise Wrong(f"{text}: logs {self.log}, where the reference has {self.expected}")
        for x, y in zip(self.log, self.expected):
            if not same(x, y):
                raise Wrong(f"{text}: {self.log} where the reference has {self.expected}")
        self.log.clear()
        self.expected.clear()
        if " = " in text or "= " in text:
            self.adopt(text)

    def adopt(self, text):
        """Compare numbers that were assigned; the reference goes on with ours."""
        for name in NAMES:
            if name in self.theirs:
                ours, theirs = self.ours[name], self.theirs[name]
                if not isinstance(theirs, Node) or ours.data == theirs.data:
                    continue
                if abs(ours.data - theirs.data) > theirs.ulps * 2.0**-52 * theirs.size:
                    raise Wrong(
                        f"{text}: {name} is {ours.data}, where the reference has {theirs.data}"
                    )
                theirs.data = theirs.own = ours.data


def run_line(code, names):
    """The name of the error that the line raises, or ''."""
    try:
        exec(code, names)
    except Unknown:
        raise
    except (ArithmeticError, AttributeError, IndexError, NameError, TypeError, ValueError) as error:
        return type(error).__name__
    return ""


def same(x, y):
    if isinstance(y, Node) or isinstance(x, Value):
        return isinstance(y, Node) and isinstance(x, Value)
    if isinstance(y, (list, tuple)):
        return len(x) == len(y) and all(map(same, x, y))
    if isinstance(y, Number):
        return abs(x - y) <= 1e-13 * y.bound or not math.isfinite(y.bound)
    if isinstance(y, float):
        return abs(x - y) <= 1e-12 * abs(y)
    return x == y


def run(case):
    session = Session()
    try:
        if case.setup:
            _core._tune(nursery=case.setup)
        for text in case.steps:
            session.step(text)
    finally:
        _core._tune()
        session.ours.clear()  # which hold themselves
        session.theirs.clear()


def script(case):
    tuned = f"_core._tune(nursery={case.setup})\n" if case.setup else ""
    head = "from micrograd_c import _core\nfrom tests.fuzz import sessions\n"
    return f"{head}globals().update(sessions.shown())\n{tuned}" + "\n".join(case.steps)


def shown():
    """The words of a session, where it runs as a script: what it logs is printed."""
    names = words(Engine)

    def everything():
        log = []
        Session.everything(names, log)
        print(*log)

    names.update(log=print, alive=lambda: print(tape.live()), everything=everything)
    return names
