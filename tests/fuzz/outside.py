"""What a function reads from outside, and changes between calls: compiled against eager.

A case is a script: state of all kinds in globals, closures, defaults, lists, dicts, instances and
NumPy's arrays; a function that reads some of it; then changes of the state, and calls. Each call is
compared with what the plain function gives on Values at that time: the number, and the gradient by
its argument and by every Value of the state.
"""

import ast
import functools
import warnings

import numpy as np

import micrograd_c as mg
from micrograd_c import Value

from . import Case, Wrong

STATE = '''
import collections
import dataclasses
import functools
import types
import numpy as np
import micrograd_c as mg
from micrograd_c import Value

lam, flag, mode, n, name = 0.5, True, "tanh", 2, "scale"
w, ws = Value(0.7), [Value(0.3), Value(-0.6), Value(0.9)]
rates, pair, chosen = [0.1, 0.2], (0.4, Value(0.8)), {1, 2}
cfg = {"scale": 1.5, "bias": Value(0.3), "inner": {"deep": [0.7]}}
X, G = np.array([0.5, -1.0, 2.0]), np.array([[1.0, 0.5], [0.25, -0.5]])
box = types.SimpleNamespace(a=0.5, v=Value(0.2), xs=np.array([1.0, 2.0]))
settings = types.ModuleType("settings")
settings.rate = 0.3
act = lambda v: v.tanh()
scalar, whole, mask = np.float64(0.3), np.array([1, 2]), np.array([True, False, True])
tables, zero = [np.array([0.5, 0.25]), {"t": np.array([1.0])}], np.array(0.5)
queue, counts = collections.deque([0.1, 0.2]), collections.defaultdict(float, a=0.5)
Point = collections.namedtuple("Point", "x y")
point = Point(0.3, Value(0.4))
maybe = None


class Layer:
    factor = 0.9

    def __init__(self):
        self.w, self.b, self.scale = [Value(0.4), Value(-0.2)], Value(0.1), 0.5

    def __call__(self, x):
        return (sum(w * x for w in self.w) + self.b).tanh() * self.scale


class Model:
    def __init__(self):
        self.layers, self.gain = [Layer(), Layer()], 1.1

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x * self.gain

    def parameters(self):
        return [v for layer in self.layers for v in (*layer.w, layer.b)]


class Slots:
    __slots__ = "a", "v"


@dataclasses.dataclass
class Config:
    rate: float = 0.2
    rates: list = dataclasses.field(default_factory=lambda: [0.1])
    inner: object = None

    @property
    def double(self):
        return self.rate * 2


class Sequence:
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return self.items[k]


def scaled(a, factor=0.5):
    return a * factor


def counter():
    step = [0.3]

    def call(a):
        return a * step[0]

    return call, step


config, sequence = Config(inner=Config(0.7)), Sequence([0.1, Value(0.6)])
half, (stepped, step) = functools.partial(scaled, factor=0.25), counter()
model, slots = Model(), Slots()
slots.a, slots.v = 0.6, Value(0.5)


def helper(a):
    return a * lam + ws[0]


def deeper(a):
    return helper(a) * box.a


def careful(a):
    try:
        return a * 3 if a > 0.3 else a
    except Exception:
        return a * 0.1


def values():
    """Every Value of the state."""
    known = [w, *ws, pair[1], point.y, sequence[1], cfg["bias"], box.v, slots.v, *own()]
    return list({id(v): v for v in known + model.parameters()}.values())
'''

# In a function within a function, and in a method.
CLOSURE = """

def make():
    k, vk, ks = 1.5, Value(0.4), [0.2]

    def plain(x, acc=[0.5], factor=1.5):
        {lines}

    def set_k(number):
        nonlocal k
        k = number

    def set_vk(number):
        nonlocal vk
        vk = Value(number)

    return plain, set_k, set_vk, ks, lambda: [vk]


plain, set_k, set_vk, ks, own = make()
f = mg.compile(plain)
"""
METHOD = """

class Net:
    rate = 0.4

    def __init__(self):
        self.k, self.w, self.items, self.layer = 0.5, Value(0.4), [Value(0.2)], Layer()

    def plain(self, x):
        {lines}

    f = mg.compile(plain)


net = Net()
own = lambda: [net.w, *net.items, *net.layer.w, net.layer.b]
plain, f = (lambda x: net.plain(x)), net.f
"""

TERMS = [
    "x * lam",
    "w * x",
    "ws[1] * x",
    "sum(ws) * x",
    "sum(p * x for p in ws)",
    "mg.dot(ws, ws)",
    "len(ws) * x",
    "ws[-1] * w",
    "rates[0] * x",
    "sum(rates) * x",
    "max(rates) * x",
    "sum(r for r in rates if r > 0.15) * x",
    "[r * x for r in rates][-1]",
    "pair[0] * x",
    "pair[1] * x",
    "len(chosen) * x",
    "(x if 3 in chosen else -x)",
    "cfg['scale'] * x",
    "cfg.get('scale', 0) * x",
    "cfg['bias']",
    "cfg['inner']['deep'][0] * x",
    "len(cfg) * x",
    "(x if 'extra' in cfg else x * 2)",
    "getattr(box, 'a') * x",
    "box.a * x",
    "box.v * x",
    "hasattr(box, 'extra') * x",
    "(x * 2 if flag else x + 1)",
    "(x * 2 if lam > 1 else x + 1)",
    "getattr(x, mode)()",
    "x ** n",
    "cfg[name] * x",
    "model(x)",
    "model.gain * x",
    "model.layers[0].scale * x",
    "model.layers[-1].b * x",
    "model.layers[0].factor * x",
    "sum(model.parameters()) * x",
    "slots.a * x",
    "slots.v * x",
    "helper(x)",
    "deeper(x)",
    "act(x)",
    "(lambda v: v * lam)(x)",
    "settings.rate * x",
    "X[1] * x",
    "(X * x).sum()",
    "mg.sum(X * x)",
    "X @ X * x",
    "mg.dot(list(X), [x, w, x])",
    "G[0, 1] * x",
    "(G @ np.array([1.0, 2.0]))[0] * x",
    "G.T[1, 0] * x",
    "box.xs[0] * x",
    "len(X) * x",
    "(x + X).sum()",
    "scalar * x",
    "whole[1] * x",
    "(x * whole).sum()",
    "zero * x",
    "tables[0][1] * x",
    "tables[1]['t'][0] * x",
    "(tables[0] * x).sum()",
    "queue[0] * x",
    "sum(queue) * x",
    "counts['a'] * x",
    "point.x * x",
    "point.y * x",
    "point[0] * x",
    "(x if maybe is None else x * 3)",
    "(x * maybe if maybe else x)",
    "config.rate * x",
    "config.double * x",
    "config.rates[0] * x",
    "config.inner.rate * x",
    "dataclasses.replace(config, inner=None).rate * x",
    "len(sequence) * x",
    "sequence[0] * x",
    "sequence[-1] * x",
    "scaled(x)",
    "half(x)",
    "stepped(x)",
    "sum(v * x for v in cfg.values() if isinstance(v, float))",
    "sum(len(key) for key in cfg) * x",
    "sum(k * r for k, r in enumerate(rates)) * x",
    "(x if mode.startswith('t') else -x)",
    "functools.reduce(lambda a, b: a * b, rates) * x",
    "sum(layer.scale for layer in model.layers) * x",
    "[x * r for r in range(n + 1)][-1]",
    "(x if isinstance(act, types.FunctionType) else 0.0)",
    "vars(box)['a'] * x",
    "max(ws, key=id) * 0.0",
]
# What a trace may refuse: a decision on numbers that are read at each call.
REFUSED = [
    "float(X.sum()) * x",
    "(x if X[0] > 0 else -x)",
    "careful(x)",
    "X.tolist()[0] * x",
]
REFUSED += ["(X[mask] * x).sum()", "w.data * x", "sorted(rates + [float(zero)])[0] * x"]
OF_CLOSURE = [
    "k * x",
    "vk * x",
    "ks[0] * x",
    "sum(ks) * x",
    "acc[0] * x",
    "len(acc) * x",
    "factor * x",
]
OF_METHOD = [
    "self.k * x",
    "self.w * x",
    "sum(self.items) * x",
    "self.items[0] * x",
    "len(self.items) * x",
    "self.layer(x)",
    "self.layer.scale * x",
    "self.rate * x",
]

CHANGES = [
    "lam = {x}",
    "w = Value({x})",
    "w.data = {x}",
    "w, ws[0] = ws[0], w",
    "ws.append(Value({x}))",
    "ws[1] = Value({x})",
    "ws[:] = [Value({x}), Value(0.5)]",
    "ws = [Value({x}), Value(-0.5)]",
    "ws.reverse()",
    "ws[0].data += {x}",
    "rates[0] = {x}",
    "rates.append({x})",
    "rates = [{x}]",
    "pair = ({x}, pair[1])",
    "pair = (pair[0], Value({x}))",
    "chosen.add(3)",
    "chosen = {{4}}",
    "cfg['scale'] = {x}",
    "cfg['bias'] = Value({x})",
    "cfg['inner']['deep'][0] = {x}",
    "cfg['inner'] = {{'deep': [{x}]}}",
    "cfg['extra'] = {x}",
    "cfg = dict(cfg, scale={x})",
    "box.a = {x}",
    "box.v = Value({x})",
    "box.extra = {x}",
    "box = types.SimpleNamespace(a={x}, v=Value(0.9), xs=np.array([{x}, 0.0]))",
    "flag = not flag",
    "mode = 'sin' if mode == 'tanh' else 'tanh'",
    "n = 3 if n == 2 else 2",
    "name = 'scale'",
    "model = Model()",
    "model.gain = {x}",
    "model.layers.append(Layer())",
    "model.layers[0].w[1] = Value({x})",
    "model.layers[0].b.data = {x}",
    "model.layers[0].scale = {x}",
    "model.layers[-1].b = Value({x})",
    "model.layers[0] = Layer()",
    "model.layers[0].factor = {x}",
    "slots.a = {x}",
    "slots.v = Value({x})",
    "helper = lambda a: a * {x}",
    "act = lambda v: v.sin()",
    "act = lambda v: v * {x}",
    "settings.rate = {x}",
    "X[1] = {x}",
    "X[:] = [{x}, 1.0, -1.0]",
    "X *= {x}",
    "X = np.array([{x}, 1.0, -0.5])",
    "G[0, 1] = {x}",
    "G = G + {x}",
    "box.xs[0] = {x}",
    "box.xs = np.array([{x}, 1.0])",
    "for p in values(): p.data *= 0.9",
    "Layer.factor = {x}",
    "Layer.__call__ = lambda self, x: x * self.scale",
    "scalar = np.float64({x})",
    "whole[1] += 1",
    "whole = np.array([3, 4])",
    "zero[...] = {x}",
    "mask[0] = not mask[0]",
    "tables[0][1] = {x}",
    "tables[0] = np.array([{x}, {x}])",
    "tables[1]['t'][:] = {x}",
    "queue.appendleft({x})",
    "queue[0] = {x}",
    "counts['a'] = {x}",
    "point = point._replace(x={x})",
    "point = Point({x}, Value({x}))",
    "maybe = {x}",
    "maybe = None",
    "config.rate = {x}",
    "config.rates[0] = {x}",
    "config.inner.rate = {x}",
    "config.inner = Config({x})",
    "config = Config({x}, inner=Config())",
    "sequence.items[0] = {x}",
    "sequence.items.append(Value({x}))",
    "sequence = Sequence([{x}, Value({x}), {x}])",
    "scaled.__defaults__ = ({x},)",
    "half = functools.partial(scaled, factor={x})",
    "half.keywords['factor'] = {x}",
    "step[0] = {x}",
    "stepped, step = counter()",
    "vars(box).pop('extra', None)",
    "vars(box)['a'] = {x}",
    "cfg.pop('extra', None)",
    "cfg.update(scale={x})",
    "rates.sort()",
    "w.attach_grad()",
    "w = w * 1.0",
]
CHANGES_OF_CLOSURE = [
    "set_k({x})",
    "set_vk({x})",
    "ks[0] = {x}",
    "ks.append({x})",
    "plain.__defaults__[0][0] = {x}",
    "plain.__defaults__[0].append({x})",
    "plain.__defaults__ = ([{x}], {x})",
]
CHANGES_OF_METHOD = [
    "net.k = {x}",
    "net.w = Value({x})",
    "net.items.append(Value({x}))",
    "net.items[0] = Value({x})",
    "net.layer.scale = {x}",
    "net.layer = Layer()",
    "net.rate = {x}",
]


def case(rng):
    method = rng.random() < 0.3
    terms = TERMS + (OF_METHOD if method else OF_CLOSURE) * 3 + REFUSED
    changes = CHANGES + (CHANGES_OF_METHOD if method else CHANGES_OF_CLOSURE) * 3

    def call():
        return "call", rng.choice(["one", *CALLED]), rng.choice([0.5, -0.75, 1.25])

    steps = [("term", rng.choice(terms)) for _ in range(rng.choice([1, 2, 3, 6]))]
    steps.append(call())
    for _ in range(rng.choice([1, 3, 6, 12])):
        x = round(rng.uniform(-1, 1), 2)
        steps.append(("do", rng.choice(changes).format(x=x)))
        if rng.random() < 0.7:
            steps.append(call())
    return Case(method, [*steps, call()])


@functools.cache
def state():
    return compile(STATE, "<state>", "exec")


def function(case):
    terms = [text for kind, text, *_ in case.steps if kind == "term"]
    lines = ["t = x * 1.0", *(f"t = t * 0.7 + {text}" for text in terms), "return t"]
    return (METHOD if case.setup else CLOSURE).format(lines="\n        ".join(lines))


def run(case):
    names = {"__name__": "outside"}
    exec(state(), names)
    exec(compile(function(case), "<outside>", "exec"), names)
    refused = any(text in REFUSED for _, text, *_ in case.steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, text, *x in case.steps:
            if kind == "do":
                exec(text, names)
            elif kind == "call":
                expected = eager(names, x[0])
                try:
                    ours = CALLED[text](names, x[0])
                except mg.TraceError as error:
                    if refused:
                        return
                    raise Wrong(f"{text}({x[0]}): {error}") from None
                compare(text, x[0], ours, expected)


def swept(names, call):
    """[number, gradient by the argument, gradients by the values of the state] of a call."""
    values = names["values"]()
    for v in values:
        v.grad = 0.0
    out, x = call()
    (out + 0.0 * x).backward()  # a result that depends on nothing has no graph
    return [out.data, x.grad, *(v.grad for v in values)]


def eager(names, number):
    x = Value(number)
    return swept(names, lambda: (names["plain"](x), x))


def one(names, number):
    x = Value(number)
    return swept(names, lambda: (names["f"](x), x))


def mean(names, number):
    """Of samples that are all the same, so it is their number."""
    found = swept(names, lambda: (names["f"].mean(np.full(3, number)), Value(0.0)))
    return [found[0], None, *found[2:]]


CALLED = {
    "one": one,
    "mean": mean,
    "map": lambda names, x: [names["f"].map(np.array([x, x]))[1]],
    "grad": lambda names, x: [None, names["f"].grad(x)],
    "mg.grad": lambda names, x: [None, mg.grad(names["plain"])(x)],
    "mg.value_and_grad": lambda names, x: mg.value_and_grad(names["plain"])(x),
    "mg.jacobian": lambda names, x: [None, mg.jacobian(names["plain"])(x)],
    "mg.jvp": lambda names, x: mg.jvp(names["plain"], (x,), (1.0,)),
    "mg.vjp": lambda names, x: pulled(*mg.vjp(names["plain"], x)),
    "mg.hessian": lambda names, x: [None, integrated(names["plain"], x)],
}


def pulled(value, pull):
    return [value, *pull(1.0)]


def integrated(f, x):
    """The derivative at x from that at 0 and the second derivatives between: by Gauss's rule."""
    at, weights = np.polynomial.legendre.leggauss(12)
    second = [float(mg.hessian(f)(x / 2 * (1 + t))) for t in at]
    return float(mg.grad(f)(0.0)) + x / 2 * float(weights @ second)


def compare(what, x, ours, expected):
    names = ["the number", "the derivative by x"]
    for k, (a, b) in enumerate(zip(ours, expected)):
        rel = 1e-5 if what == "mg.hessian" else 1e-10
        if a is not None and not abs(a - b) <= rel * max(1.0, abs(b)):
            name = names[k] if k < 2 else f"the derivative by values()[{k - 2}]"
            raise Wrong(f"{what}, x = {x}: {name} is {float(a)!r}, where eager code gives {b!r}")


def script(case):
    lines = []
    for kind, text, *x in case.steps:
        if kind == "do":
            lines.append(text)
        elif kind == "call":
            call = {
                "one": "f({x})",
                "mean": "f.mean([{x}] * 3)",
                "map": "f.map([{x}])",
                "grad": "f.grad({x})",
                "mg.jvp": "mg.jvp(plain, ({x},), (1.0,))",
                "mg.vjp": "mg.vjp(plain, {x})[1](1.0)",
            }.get(text, f"{text}(plain)({{x}})")
            lines.append(f"print({call.format(x=x[0])}, plain(Value({x[0]})))")
    return needed(STATE + function(case), "\n".join(lines))


def needed(text, end):
    """The statements of `text` that `end` needs, directly or not; then `end`."""
    statements = ast.parse(text).body
    chosen, wanted, more = set(), names_in(ast.parse(end)), True
    while more:
        more = [s for s in statements if s not in chosen and wanted & bound_by(s)]
        chosen.update(more)
        wanted = wanted.union(*map(names_in, more))
    return "\n".join([*(ast.unparse(s) for s in statements if s in chosen), end])


def names_in(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def bound_by(statement):
    """The names that a statement of a module binds, or changes."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name for alias in statement.names}
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    return set().union(*map(names_in, getattr(statement, "targets", [])))
