"""What compiled functions read outside of themselves: each change gives what eager code gives.

The reference is always the function itself, called eagerly on plain numbers or Values.
"""

import gc
import os
import subprocess
import sys
import textwrap
import types
import warnings
import weakref
from collections import OrderedDict, deque, namedtuple

import numpy as np
import pytest

import micrograd_c as mg
from micrograd_c import TraceError, Value

LAM = 0.1
FLAG = True
WEIGHTS = [Value(1.0), Value(2.0)]
ARRAY = np.array([1.0, 2.0, 3.0])
TABLE = {"a": 2.0}


@pytest.fixture(autouse=True)
def as_it_was():
    """The globals of this module are put back after each test."""
    names = {"LAM": 0.1, "FLAG": True, "TABLE": {"a": 2.0}}
    yield
    globals().update(names)
    globals()["WEIGHTS"] = [Value(1.0), Value(2.0)]
    globals()["ARRAY"] = np.array([1.0, 2.0, 3.0])


def number(x):
    return x.data if isinstance(x, Value) else float(x)


def derivative(function, x):
    """By complex step."""
    return function(complex(x, 1e-30)).imag / 1e-30


# ---- globals, closures, defaults


def test_a_global_number():
    def loss(x):
        return LAM * x * x

    compiled = mg.compile(loss)
    for lam in (0.1, 10.0, -3, 0.1, True, 2.5):
        globals()["LAM"] = lam
        assert compiled(3.0).data == loss(3.0)
        assert mg.grad(loss)(3.0) == pytest.approx(derivative(loss, 3.0), rel=1e-14)
        assert mg.hessian(loss)(3.0) == pytest.approx(2 * lam, rel=1e-14)
        assert mg.jacobian(loss)(3.0) == pytest.approx(derivative(loss, 3.0), rel=1e-14)
        assert mg.hvp(loss, 3.0, 1.0) == pytest.approx(2 * lam, rel=1e-14)
        assert mg.jvp(loss, (3.0,), (1.0,))[1] == pytest.approx(6 * lam, rel=1e-14)
        assert mg.vjp(loss, 3.0)[1](1.0)[0] == pytest.approx(6 * lam, rel=1e-14)
        assert compiled.map([1.0, 3.0])[1] == loss(3.0)
        assert compiled.grad(3.0) == pytest.approx(6 * lam, rel=1e-14)
        assert compiled.mean([3.0, 3.0]).data == loss(3.0)


def test_a_kept_derivative_follows_a_global():
    def loss(x):
        return LAM * x * x

    gradient, both = mg.grad(loss), mg.value_and_grad(loss)
    for lam in (0.1, 10.0, 0.1):
        globals()["LAM"] = lam
        assert gradient(3.0) == pytest.approx(6 * lam, rel=1e-14)
        assert both(3.0)[0] == loss(3.0)


def test_a_number_that_comes_back_needs_no_new_trace():
    calls = []

    @mg.compile
    def f(x):
        calls.append(1)
        return LAM * x

    for lam in (1.0, 2.0, 1.0, 2.0, 1.0):
        globals()["LAM"] = lam
        assert f(3.0).data == 3 * lam
    assert len(calls) == 2 == len(f.programs)


def test_an_equal_number_that_is_another_object():
    calls = []

    @mg.compile
    def f(x):
        calls.append(1)
        return LAM * x

    for lam in ("1.5", "1.5", "1.5"):
        globals()["LAM"] = float(lam)
        assert f(2.0).data == 3.0
    assert len(calls) == 1


@pytest.mark.parametrize(
    "first, second",
    [(0.0, -0.0), (1, 1.0), (1.0, True), (float("nan"), 1.0), ("a", "b"), (None, 1.0), (1, 2)],
)
def test_numbers_that_are_almost_the_same(first, second):
    def f(x):
        return [str(LAM), x * (1 if isinstance(LAM, (str, type(None))) else LAM)]

    compiled = mg.compile(f)
    for lam in (first, second, first):
        globals()["LAM"] = lam
        text, found = compiled(2.0)
        expected = f(2.0)
        assert text == expected[0]
        assert repr(found.data) == repr(float(expected[1]))


def test_nan_that_stays_nan_needs_no_new_trace():
    f = mg.compile(lambda x: x * LAM)
    for _ in range(3):
        globals()["LAM"] = float("nan")
        assert f(1.0).data != f(1.0).data
    assert len(f.programs) == 1


def test_a_closure_cell():
    lam = 1.0

    def loss(x):
        return lam * x

    compiled = mg.compile(loss)
    for lam in (1.0, 5.0, 7.0):  # noqa: B007
        assert compiled(2.0).data == loss(2.0)


def test_a_flag_that_chooses_a_branch():
    def f(x):
        return x * 2 if FLAG else x * 3

    compiled = mg.compile(f)
    for flag in (True, False, True, None, "yes", ""):
        globals()["FLAG"] = flag
        assert compiled(1.0).data == f(1.0)


def test_a_mutable_default():
    def f(x, scale=[2.0], *, more={"k": 1.0}):  # noqa: B006
        return x * scale[0] + more["k"]

    compiled = mg.compile(f)
    assert compiled(1.0).data == 3.0
    f.__defaults__[0][0] = 5.0
    assert compiled(1.0).data == 6.0
    f.__kwdefaults__["more"]["k"] = 2.0
    assert compiled(1.0).data == 7.0
    f.__defaults__ = ([1.0],)
    assert compiled(1.0).data == 3.0


def test_a_name_that_appears_later_hides_the_builtin():
    namespace = {"mg": mg}
    exec("def f(x):\n    return abs(x)\n", namespace)
    f = mg.compile(namespace["f"])
    assert f(-2.0).data == 2.0
    namespace["abs"] = lambda x: x * 10
    assert f(-2.0).data == -20.0
    del namespace["abs"]
    assert f(-2.0).data == 2.0


def test_a_name_that_is_gone_is_an_error_as_in_python():
    namespace = {"lam": 2.0}
    exec("def f(x):\n    return lam * x\n", namespace)
    f = mg.compile(namespace["f"])
    assert f(1.0).data == 2.0
    del namespace["lam"]
    with pytest.raises(NameError, match="lam"):
        f(1.0)


def test_functions_that_are_called():
    namespace = {}
    exec(
        textwrap.dedent(
            """
            scale = 2.0
            def inner(x):
                return x * scale
            def middle(x):
                return inner(x) + (lambda y: y * scale)(x)
            def f(x):
                return middle(x)
            """
        ),
        namespace,
    )
    f = mg.compile(namespace["f"])
    assert f(1.0).data == 4.0
    namespace["scale"] = 3.0
    assert f(1.0).data == 6.0
    namespace["inner"] = lambda x: x * 100
    assert f(1.0).data == 103.0
    exec("def middle(x):\n    return x * -1\n", namespace)
    assert f(1.0).data == -1.0


def test_the_code_of_a_function_that_is_called():
    def inner(x):
        return x * 2

    def other(x):
        return x * 3

    f = mg.compile(lambda x: inner(x))
    assert f(1.0).data == 2.0
    inner.__code__ = other.__code__
    assert f(1.0).data == 3.0


# ---- lists, tuples, dicts, sets


def test_a_list_that_grows():
    def total(x):
        return mg.sum(w * x for w in WEIGHTS)

    f = mg.compile(total)
    assert f(1.0).data == 3.0
    WEIGHTS.append(Value(10.0))
    assert f(1.0).data == 13.0 == total(1.0).data
    WEIGHTS.pop()
    assert f(1.0).data == 3.0
    assert len(f.programs) == 2


def test_a_value_that_is_rebound_in_a_list_learns():
    """Training by rebinding moves, as it does eagerly."""
    ws, eager_ws = [Value(1.0)], [Value(1.0)]

    def loss_of(ws):
        return lambda x: (ws[0] * x - 6.0) ** 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        compiled, eager = mg.compile(loss_of(ws)), loss_of(eager_ws)
        for _ in range(20):
            for function, weights in ((compiled, ws), (eager, eager_ws)):
                function(2.0).backward()
                weights[0] = Value(weights[0].data - 0.05 * weights[0].grad)
            assert ws[0].data == pytest.approx(eager_ws[0].data, rel=1e-14)
    assert ws[0].data == pytest.approx(3.0, abs=1e-3)
    assert len(compiled.programs) <= 8


@pytest.mark.parametrize(
    "make, change",
    [
        (lambda: [1.0, 2.0], lambda x: x.__setitem__(1, 5.0)),
        (lambda: [1.0, 2.0], lambda x: x.reverse()),
        (lambda: [[1.0], [2.0]], lambda x: x[1].append(5.0)),
        (lambda: ([1.0], [2.0]), lambda x: x[1].append(5.0)),
        (lambda: {"a": 1.0, "b": 2.0}, lambda x: x.__setitem__("b", 5.0)),
        (lambda: {"a": 1.0, "b": 2.0}, lambda x: x.__setitem__("c", 5.0)),
        (lambda: {"a": 1.0, "b": 2.0}, lambda x: x.pop("a")),
        (lambda: {"a": [1.0], "b": 2.0}, lambda x: x["a"].append(5.0)),
        (lambda: OrderedDict(a=1.0, b=2.0), lambda x: x.move_to_end("a")),
        (lambda: deque([1.0, 2.0]), lambda x: x.rotate()),
        (lambda: {1.0, 2.0}, lambda x: x.add(5.0)),
        (lambda: types.SimpleNamespace(a=1.0, b=[2.0]), lambda x: setattr(x, "a", 5.0)),
        (lambda: types.SimpleNamespace(a=1.0, b=[2.0]), lambda x: x.b.append(5.0)),
        (lambda: namedtuple("P", "a b")(1.0, [2.0]), lambda x: x.b.append(5.0)),
        (lambda: np.array([1.0, 2.0]), lambda x: x.__setitem__(1, 5.0)),
        (lambda: np.array([1, 2]), lambda x: x.__setitem__(1, 5)),
        (lambda: np.array([True, False]), lambda x: x.__setitem__(1, True)),
        (lambda: np.array([1.0, 2.0], np.float32), lambda x: x.__setitem__(1, 5.0)),
        (lambda: np.array([1.0, 2.0], object), lambda x: x.__setitem__(1, 5.0)),
        (lambda: mg.array([1.0, 2.0]), lambda x: x.__setitem__(1, Value(5.0))),
        (lambda: mg.array([1.0, 2.0]), lambda x: setattr(x, "values", [7.0, 5.0])),
        (lambda: [np.array([1.0, 2.0])], lambda x: x[0].__setitem__(1, 5.0)),
        (lambda: [np.array([1.0, 2.0])], lambda x: x.__setitem__(0, np.array([7.0, 8.0, 9.0]))),
    ],
)
def test_containers(make, change):
    state = make()

    def weighed(x, items, k=1.0):
        total = x * 0.0
        for item in items:
            if isinstance(item, (list, tuple, np.ndarray)):
                total = total + weighed(x, item, k)
            else:
                total = (
                    total
                    + (
                        item
                        if not isinstance(item, str)
                        else state[item][0]
                        if isinstance(state[item], list)
                        else state[item]
                    )
                    * x
                    * k
                )
            k *= 10.0
        return total

    def f(x):
        items = state
        if isinstance(state, types.SimpleNamespace):
            items = [state.a, state.b]
        return weighed(x, items)

    compiled = mg.compile(f)
    for _ in range(2):
        assert compiled(3.0).data == pytest.approx(number(f(3.0)), rel=1e-14)
    change(state)
    for _ in range(2):
        assert compiled(3.0).data == pytest.approx(number(f(3.0)), rel=1e-14)
    assert len(compiled.programs) <= 2


def test_methods_of_builtin_containers():
    rates, table = [2.0, 3.0], {"k": 1.0}
    at, get = rates.__getitem__, table.get
    f = mg.compile(lambda x: x * at(0) + get("k"))
    assert f(1.0).data == 3.0
    rates[0] = 5.0
    assert f(1.0).data == 6.0
    table["k"] = 7.0
    assert f(1.0).data == 12.0


# ---- models


class Neuron:
    def __init__(self, n):
        self.w = [Value(0.1 * (k + 1)) for k in range(n)]
        self.b = Value(0.5)
        self.scale = 1.0

    def __call__(self, x):
        return self.activation(mg.dot(self.w, x, self.b)) * self.scale

    def activation(self, v):
        return v.tanh()


class Layer:
    def __init__(self, n, m):
        self.neurons = [Neuron(n) for _ in range(m)]

    def __call__(self, x):
        return [neuron(x) for neuron in self.neurons]


class Model:
    offset = 0.0

    def __init__(self):
        self.layers = [Layer(2, 3), Layer(3, 1)]
        self.history = []

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x[0] + self.offset

    @mg.compile
    def loss(self, x, y):
        return (self(x) - y) ** 2


CHANGES = {
    "a number of a neuron": lambda m: setattr(m.layers[0].neurons[1], "scale", 3.0),
    "a number of a class": lambda m: setattr(Model, "offset", 1.0),
    "a number of an instance that hides the class's": lambda m: setattr(m, "offset", 2.0),
    "a Value rebound": lambda m: setattr(m.layers[1].neurons[0], "b", Value(-1.0)),
    "a Value rebound in a list": lambda m: m.layers[0].neurons[0].w.__setitem__(1, Value(9.0)),
    "a neuron replaced": lambda m: m.layers[0].neurons.__setitem__(0, Neuron(2)),
    "a layer between": lambda m: m.layers.insert(1, Layer(3, 3)),
    "a method of a class": lambda m: setattr(Neuron, "activation", lambda self, v: v.relu()),
    "a function in place of a method": lambda m: setattr(
        m.layers[0].neurons[2], "activation", lambda v: v * 5
    ),
    "all attributes": lambda m: setattr(m, "__dict__", Model().__dict__ | {"offset": -1.0}),
    "the class": lambda m: setattr(m, "__class__", Louder),
}


class Louder(Model):
    def __call__(self, x):
        return 2 * super().__call__(x)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("how", ["method", "function"])
def test_models(change, how, monkeypatch):
    monkeypatch.setattr(Model, "offset", 0.0)
    monkeypatch.setattr(Neuron, "activation", Neuron.activation)
    model = Model()
    if how == "method":
        compiled = model.loss
    else:
        compiled = mg.compile(lambda x, y: (model(x) - y) ** 2)

    def compare():
        expected = (model([0.5, -0.25]) - 1.0) ** 2
        for f in (compiled, model.loss):
            found = f([0.5, -0.25], 1.0)
            assert found.data == pytest.approx(expected.data, rel=1e-13)
            b = model.layers[1].neurons[0].b
            (mine,), (theirs,) = (mg.autograd.grad(v, [b]) for v in (found, expected))
            assert mine == pytest.approx(theirs, rel=1e-12)

    compare()
    model.history.append(1)  # not read
    model.step = 3
    compare()
    assert len(compiled.programs) == 1
    CHANGES[change](model)
    compare()
    compare()
    assert len(compiled.programs) <= 2  # one, where what it was traced with is gone


def test_training_with_attributes_that_the_loss_does_not_read():
    class Trainer:
        def __init__(self):
            self.w = Value(0.0)
            self.step = 0
            self.losses = []

        @mg.compile
        def loss(self, x):
            return (self.w * x - 6.0) ** 2

        def train(self):
            for _ in range(30):
                self.step += 1
                loss = self.loss(2.0)
                self.losses.append(loss.data)
                self.w.grad = 0
                loss.backward()
                self.w.data -= 0.05 * self.w.grad

    trainer = Trainer()
    trainer.train()
    assert trainer.w.data == pytest.approx(3.0, abs=1e-3)
    assert len(trainer.loss.programs) == 1


def test_slots():
    class Point:
        __slots__ = ("x", "y", "__weakref__")

    point = Point()
    point.x, point.y = 2.0, [1.0]
    f = mg.compile(lambda v: v * point.x + point.y[0])
    assert f(1.0).data == 3.0
    point.x = 3.0
    assert f(1.0).data == 4.0
    point.y.insert(0, 10.0)
    assert f(1.0).data == 13.0
    del point.x
    with pytest.raises(AttributeError):
        f(1.0)


def test_attributes_that_the_code_does_not_spell():
    class Settings:
        pass

    settings = Settings()
    settings.scale, settings.other = 2.0, 1.0
    names = ["scale"]
    f = mg.compile(lambda v: v * getattr(settings, names[0]))
    g = mg.compile(lambda v: v * sum(vars(settings).values()))
    h = mg.compile(lambda v: v * getattr(settings, "missing", 1.0))
    assert [f(1.0).data, g(1.0).data, h(1.0).data] == [2.0, 3.0, 1.0]
    settings.scale = 5.0
    assert [f(1.0).data, g(1.0).data, h(1.0).data] == [5.0, 6.0, 1.0]
    settings.missing = 7.0
    assert [f(1.0).data, g(1.0).data, h(1.0).data] == [5.0, 13.0, 7.0]
    names[0] = "missing"
    assert f(1.0).data == 7.0


def test_what_looks_like_something_else():
    """Mocks and proxies say that they are of a class that they are not of."""
    from unittest import mock

    class Settings:
        scale = 2.0

        @property
        def __dict__(self):
            raise RuntimeError("not to be asked")

    settings = Settings()
    proxy, fake = weakref.proxy(settings), mock.Mock(spec=list, by=3.0)
    f = mg.compile(lambda x: x * proxy.scale * fake.by * settings.scale)
    assert f(1.0).data == f(1.0).data == 12.0
    fake.by = 4.0
    assert f(1.0).data == 16.0
    Settings.scale = 1.0
    assert f(1.0).data == 4.0


def test_properties_and_other_wrappers(monkeypatch):
    import functools

    class Thing:
        def __init__(self):
            self.scale = 2.0

        @property
        def double(self):
            return 2 * self.scale

        @staticmethod
        def still(v):
            return v * LAM

        @classmethod
        def of_class(cls, v):
            return v * LAM

        @functools.lru_cache  # noqa: B019
        def cached(self, k):
            return k

    thing = Thing()
    part = functools.partial(lambda scale, v: scale[0] * v * LAM, [2.0])
    f = mg.compile(
        lambda v: thing.double * v + thing.still(v) + Thing.of_class(v) + part(v) + thing.cached(1)
    )
    eager = f.__wrapped__
    assert f(1.0).data == pytest.approx(eager(1.0))
    thing.scale = 3.0
    assert f(1.0).data == pytest.approx(eager(1.0))
    globals()["LAM"] = 9.0
    assert f(1.0).data == pytest.approx(eager(1.0))
    part.args[0][0] = 5.0
    assert f(1.0).data == pytest.approx(eager(1.0))


def test_a_module_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "settings_of_mine.py").write_text(
        "lam = 2.0\nrows = [1.0]\ndef g(x): return x * lam\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import settings_of_mine

    f = mg.compile(lambda x: settings_of_mine.lam * x + settings_of_mine.rows[0])
    g = mg.compile(lambda x: settings_of_mine.g(x))
    assert [f(1.0).data, g(1.0).data] == [3.0, 2.0]
    settings_of_mine.lam = 4.0
    assert [f(1.0).data, g(1.0).data] == [5.0, 4.0]
    settings_of_mine.rows[0] = 6.0
    assert [f(1.0).data, g(1.0).data] == [10.0, 4.0]
    settings_of_mine.g = lambda x: x * 100
    assert g(1.0).data == 100.0


def test_a_module_made_in_the_program():
    settings = types.ModuleType("settings")
    settings.rate = 2.0
    f = mg.compile(lambda x: x * settings.rate)
    assert f(1.0).data == 2.0
    settings.rate = 3.0
    assert f(1.0).data == 3.0


def test_a_compiled_function_within_another():
    scale = [2.0]
    inner = mg.compile(lambda x: x * scale[0])
    outer = mg.compile(lambda x: inner(x) + 1.0)
    assert outer(1.0).data == 3.0
    scale[0] = 5.0
    assert outer(1.0).data == 6.0


def test_a_derivative_within_a_compiled_function():
    scale = [2.0]

    def square(x):
        return scale[0] * x * x

    outer = mg.compile(lambda x: mg.grad(square)(x))
    assert outer(1.0).data == 4.0
    scale[0] = 5.0
    assert outer(1.0).data == 10.0


def test_a_callable_object_and_a_bound_method():
    class Scale:
        def __init__(self):
            self.by = 2.0

        def __call__(self, x):
            return x * self.by

        def method(self, x):
            return x * self.by

    scale = Scale()
    f, g = mg.compile(scale), mg.compile(scale.method)
    assert f(1.0).data == g(1.0).data == 2.0
    scale.by = 3.0
    assert f(1.0).data == g(1.0).data == 3.0


# ---- arrays


def test_an_array_is_read_at_each_call():
    calls = []

    def f(x):
        calls.append(1)
        return x * (ARRAY[0] + ARRAY[1] * ARRAY[2])

    compiled = mg.compile(f)
    rng = np.random.default_rng(0)
    for _ in range(10):
        assert compiled(2.0).data == pytest.approx(f(2.0), rel=1e-14)
        ARRAY[:] = rng.normal(size=3)
        assert compiled(2.0).data == pytest.approx(f(2.0), rel=1e-14)
        assert compiled.map([1.0, 2.0])[1] == pytest.approx(f(2.0), rel=1e-14)
        assert compiled.grad(2.0) == pytest.approx(f(1.0), rel=1e-14)
        globals()["ARRAY"] = rng.normal(size=3)
    assert len(compiled.programs) == 1
    globals()["ARRAY"] = np.arange(6.0)[::-2]  # not contiguous
    assert compiled(2.0).data == pytest.approx(f(2.0), rel=1e-14)
    assert len(compiled.programs) == 1
    globals()["ARRAY"] = np.arange(4.0)  # of another shape
    assert compiled(2.0).data == pytest.approx(f(2.0), rel=1e-14)
    assert len(compiled.programs) == 2


def test_the_array_is_in_its_place_while_and_after_tracing():
    array = ARRAY
    compiled = mg.compile(lambda x: x * ARRAY[0])
    compiled(1.0)
    assert ARRAY is array and array.tolist() == [1.0, 2.0, 3.0]

    @mg.compile
    def raises(x):
        raise ValueError(f"{ARRAY[0] * x}"[:0] + "mine")

    with pytest.raises(ValueError, match="mine"):
        raises(1.0)
    assert ARRAY is array and array.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "where", ["global", "closure", "attribute", "list", "dict", "default", "slot"]
)
def test_arrays_wherever_they_are(where):
    class Holder:
        __slots__ = ("array",)

    class Open:
        pass

    array = np.array([2.0, 3.0])
    holder = Holder() if where == "slot" else Open()
    holder.array = array
    rows, table = [array], {"k": array}

    def f(x, default=array):
        from_where = {
            "global": lambda: ARRAY,
            "closure": lambda: array,
            "attribute": lambda: holder.array,
            "slot": lambda: holder.array,
            "list": lambda: rows[0],
            "dict": lambda: table["k"],
            "default": lambda: default,
        }[where]()
        return x * from_where[0] - from_where[1]

    compiled = mg.compile(f)
    globals()["ARRAY"] = array
    assert compiled(1.0).data == -1.0
    array[:] = 5.0, 1.0
    assert compiled(1.0).data == 4.0
    new = np.array([10.0, 1.0])
    globals()["ARRAY"] = holder.array = rows[0] = table["k"] = new
    f.__defaults__ = (new,)
    array = new
    assert compiled(1.0).data == 9.0


@pytest.mark.parametrize(
    "use",
    [
        lambda x, a: x * float(a[0]),
        lambda x, a: x * 2 if a[0] > 1.5 else x * 3,
        lambda x, a: x * 2 if a[0] == 1.0 else x * 3,
        lambda x, a: x * a[int(a[0])],
        lambda x, a: x * np.linalg.norm(a),
        lambda x, a: x * a.astype(int)[1],
        lambda x, a: x * np.interp(1.5, a, a**2),
        lambda x, a: x * a.sum(),
        lambda x, a: x * a.mean() * np.exp(a).max(),
        lambda x, a: x * sum(a) * len(a),
        lambda x, a: (x * a).sum(),
        lambda x, a: x * np.dot(a, a[::-1]),
        lambda x, a: x * np.searchsorted(a, 1.5),
        lambda x, a: x * a.tolist()[1],
        lambda x, a: x * (a > 1.5).sum(),
        lambda x, a: x * np.argmax(a),
        lambda x, a: x * sorted(a)[-1],
        lambda x, a: x * a.item(0) ** 2,
        lambda x, a: x * np.median(a),
        lambda x, a: x * np.cumsum(a)[-1],
        lambda x, a: x * np.sort(a)[0],
        lambda x, a: x * a.std(),
        lambda x, a: mg.where(a[0] - 1.5, x, 2 * x),
        lambda x, a: x ** a[1],
    ],
)
def test_what_is_done_with_an_array(use):
    """Also what needs its numbers while the function is traced."""

    def f(x):
        return use(x, ARRAY)

    compiled = mg.compile(f)
    for numbers in ([1.0, 2.0, 3.0], [2.0, 1.0, 0.5], [0.5, 0.25, 7.0], [1.0, 2.0, 3.0]):
        ARRAY[:] = numbers
        expected = number(use(Value(2.0), np.array(numbers)))
        assert compiled(2.0).data == pytest.approx(expected, rel=1e-12)
        assert compiled(2.0).data == pytest.approx(expected, rel=1e-12)


def test_a_function_that_writes_to_an_array_does_so():
    out = np.zeros(2)

    def f(x):
        out[0] = 7.0
        return x * out[1]

    compiled = mg.compile(f)
    assert compiled(1.0).data == 0.0
    assert out.tolist() == [7.0, 0.0]
    out[1] = 3.0
    assert compiled(1.0).data == 3.0


def test_no_gradient_reaches_an_array():
    w = Value(2.0)
    f = mg.compile(lambda x: w * x * ARRAY[1])
    y = f(3.0)
    y.backward()
    assert w.grad == 6.0
    y = f(3.0)
    ARRAY[1] = 100.0
    y.backward()  # of the numbers at the call
    assert w.grad == 12.0


def test_a_program_of_an_array_is_saved_with_its_numbers(tmp_path):
    f = mg.compile(lambda x: x * ARRAY[1])
    assert f(1.0).data == 2.0
    f.program(1.0).save(tmp_path / "p.npz")
    assert mg.load(tmp_path / "p.npz")(1.0).data == 2.0


def test_a_large_array():
    big = np.arange(200_000.0)
    f = mg.compile(lambda x: x * big[3])
    assert f(1.0).data == 3.0
    big[3] = 5.0
    assert f(1.0).data == 5.0


# ---- errors end the trace


def test_an_error_that_the_function_catches():
    def f(x):
        try:
            big = x > 2
        except Exception:
            big = False
        return x * 10 if big else x

    for run in (mg.compile(f), mg.grad(f), mg.compile(f).map, lambda x: mg.jvp(f, (x,), (1.0,))):
        with pytest.raises(TraceError, match=r"big = x > 2"):
            run([3.0] if run.__name__ == "map" else 3.0)


def test_an_error_in_an_inner_derivative_that_the_outer_function_catches():
    def inner(x):
        return x * 2 if x > 0 else x

    @mg.compile
    def outer(x):
        try:
            return mg.grad(inner)(x)
        except TraceError:
            return x

    with pytest.raises(TraceError, match="if x > 0"):
        outer(1.0)
    assert mg.compile(lambda x: x * 2)(1.0).data == 2.0  # the next trace is not ended by it


def test_the_error_of_one_trace_does_not_end_the_next():
    with pytest.raises(TraceError):
        mg.compile(lambda x: float(x))(1.0)
    assert mg.compile(lambda x: x * 2)(1.0).data == 2.0


# ---- many programs


def test_the_ninth_program_warns_of_a_global():
    @mg.compile
    def loss(x):
        return x * LAM

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(8):
            globals()["LAM"] = float(k)
            loss(1.0)
    globals()["LAM"] = 8.0
    with pytest.warns(RuntimeWarning, match=r"loss.* LAM changed.*\(it was \d\.0\).*argument"):
        loss(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(9, 40):
            globals()["LAM"] = float(k)
            assert loss(2.0).data == 2.0 * k
    assert len(loss.programs) <= 8


def test_the_ninth_program_warns_of_an_attribute():
    class Model:
        def __init__(self):
            self.scale = 0.0

        @mg.compile
        def loss(self, x):
            return x * self.scale

    model = Model()
    with pytest.warns(RuntimeWarning, match=r"self\.scale changed"):
        for k in range(9):
            model.scale = k + 0.5
            model.loss(1.0)


def test_the_ninth_program_warns_of_an_integer():
    @mg.compile
    def power(x, n):
        return x**n

    with pytest.warns(RuntimeWarning, match=r"integer.*'n'.*was 7.*now 8.*(float|mg\.take)"):
        for n in range(9):
            power(2.0, n)
    assert power(2.0, 3).data == 8.0
    assert len(power.programs) == 9  # all of them can be used


def test_the_ninth_program_warns_of_a_shape():
    @mg.compile
    def total(xs):
        return mg.sum(xs)

    with pytest.warns(RuntimeWarning, match=r"'xs'.*shape"):
        for n in range(1, 10):
            total([1.0] * n)


def test_a_warning_that_is_an_error_leaves_the_program():
    @mg.compile
    def loss(x):
        return x * LAM

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            for k in range(9):
                globals()["LAM"] = float(k)
                loss(1.0)
    assert loss(1.0).data == 8.0


def test_the_ninth_program_of_an_object_without_a_name():
    class Times:
        def __call__(self, x, n):
            return x * n + int(n)

    f = mg.compile(Times())
    with pytest.warns(RuntimeWarning, match="Times.*has been traced 9 times"):
        for n in range(9):
            assert f(1.0, n).data == 2.0 * n
    assert "Times" in repr(f)


# ---- what is kept alive


def test_a_model_is_freed_with_its_compiled_methods():
    model = Model()
    model.layers[0].parent = model  # a cycle
    model.loss([1.0, 2.0], 0.0)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_instances_leave_nothing_behind():
    class Scale:
        def __init__(self, by):
            self.by = by

        @mg.compile
        def times(self, x):
            return x * self.by

    def some():
        for k in range(50):
            assert Scale(float(k)).times(2.0).data == 2.0 * k

    some()
    gc.collect()
    registry = len(weakref.finalize._registry)
    objects = len(gc.get_objects())
    some()
    gc.collect()
    assert len(weakref.finalize._registry) == registry
    assert abs(len(gc.get_objects()) - objects) < 25


def test_objects_that_die_end_their_programs():
    def helper(k):
        return eval(f"lambda x: x * {k}")

    functions = [helper(1)]
    f = mg.compile(lambda x: functions[0](x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for k in range(2, 40):  # another function soon lies where one was
            functions[0] = None
            functions[0] = helper(k)
            assert f(1.0).data == k
    assert len(f.programs) <= 2


def test_a_counter_is_not_read():
    count = 0
    calls = []

    @mg.compile
    def f(x):
        nonlocal count
        count += 1
        calls.append(x)
        return x * 2

    for _ in range(5):
        f(1.0)
    assert count == len(calls) == 1


def test_a_counter_that_is_read_is_traced_each_time():
    count = 0

    def f(x):
        nonlocal count
        count += 1
        return x * count

    compiled = mg.compile(f)
    assert [compiled(1.0).data for _ in range(5)] == [1.0, 2.0, 3.0, 4.0, 5.0]


# ---- check


def test_check_looks_at_the_program_that_a_call_replays():
    xs = np.array([1.0, 2.0])
    box = [1.0]

    source = iter([1, 2])  # which no guard sees

    def f(x):
        return (x * float(next(source))).sum()

    compiled = mg.compile(f)
    assert compiled(xs).data == 3.0
    assert compiled.check(xs) == 0.5  # relative to 6: eager code goes on to 2.0 * x
    assert len(compiled.programs) == 1
    assert mg.compile(lambda x: (x * box[0]).sum()).check(xs) == 0.0


def test_check_of_structures():
    f = mg.compile(lambda p, k: p["w"][k] * p["b"][0] + p["b"][1])
    assert f.check({"w": [1.0, 2.0], "b": np.array([3.0, 4.0])}, 1) == 0.0
    assert len(f.programs) == 1


# ---- a program at the top of a script, where globals change at each step


def test_a_script(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import warnings
            warnings.simplefilter("error")
            import micrograd_c as mg
            calls = 0
            w = mg.Value(0.0)
            lr = 0.1
            @mg.compile
            def loss(x):
                global calls
                calls += 1
                return (w * x - 6.0) ** 2
            for step in range(50):
                l = loss(2.0)
                w.grad = 0.0
                l.backward()
                lr = 0.1 / (1 + step)
                w.data -= lr * w.grad
            print(calls, len(loss.programs))
            """
        )
    )
    package = os.path.dirname(mg.__path__[0])
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": package},
    )
    assert done.stdout == "1 1\n", done.stderr


# ---- what no guard sees


def test_verify_sees_a_random_number():
    import random

    def noisy(x):
        y = x * 2
        return y + random.random()

    f = mg.compile(noisy, verify=True)
    f(1.0)
    with pytest.raises(
        mg.StaleTraceError, match=r"(?s)return y \+ random.random\(\).*noisy.*constant|0\.\d+"
    ):
        f(1.0)
    still = mg.compile(lambda x: x * 2 + LAM, verify=True)
    for lam in (1.0, 1.0, 2.0, 1.0):
        globals()["LAM"] = lam
        assert still(1.0).data == 2.0 + lam
        assert still.map([1.0])[0] == 2.0 + lam
    assert len(still.programs) == 2


def test_verify_sees_a_branch_another_value_and_a_missing_operation():
    flags = iter([True, False])
    values = iter([Value(1.0), Value(1.0)])
    counts = iter([3, 2])

    def branch(x):
        return x * 2.0 if next(flags) else x + 2.0

    def value(x):
        return x * next(values)

    def count(x):
        for _ in range(next(counts)):
            x = x.tanh()
        return x

    for function, match in (
        (branch, r"(?s)return x \* 2.0 if.*mul.*add|mul"),
        (value, r"(?s)return x \* next.*captured"),
        (count, r"(?s)x = x.tanh\(\).*not there"),
    ):
        f = mg.compile(function, verify=True)
        f(0.5)
        with pytest.raises(mg.StaleTraceError, match=match):
            f(0.5)


def test_verify_of_arrays_methods_and_derivatives():
    class Model:
        def __init__(self):
            self.w = Value(2.0)
            self.x = np.array([1.0, 2.0])

        def loss(self, y):
            return self.w * self.x[0] * y + self.x[1]

    model = Model()
    f = mg.compile(model.loss, verify=True)
    for k in range(3):
        model.x[:] = k, k + 1
        assert f(3.0).data == 2.0 * k * 3.0 + k + 1
    gradient = mg.grad(mg.compile(lambda x: x**3 * LAM, verify=True))
    for lam in (1.0, 2.0):
        globals()["LAM"] = lam
        assert gradient(2.0) == gradient(2.0) == pytest.approx(12 * lam)


def test_verify_for_a_whole_program(tmp_path):
    script = tmp_path / "noisy.py"
    script.write_text(
        "import random\nimport micrograd_c as mg\n"
        "f = mg.compile(lambda x: x * random.random())\n"
        "f(1.0)\n"
        "try:\n    f(1.0)\nexcept mg.StaleTraceError as e:\n    print('stale')\n"
        "g = mg.grad(lambda x: x * random.random())\n"
        "g(1.0)\n"
        "try:\n    g(1.0)\nexcept mg.StaleTraceError as e:\n    print('stale')\n"
    )
    package = os.path.dirname(mg.__path__[0])
    for verify, expected in (("1", "stale\nstale\n"), ("0", "")):
        done = subprocess.run(
            [sys.executable, script],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": package, "MICROGRAD_C_VERIFY": verify},
        )
        assert done.stdout == expected, done.stderr


# ---- what a second look found


class Base:
    def __init__(self):
        self.k = 2.0

    def step(self, x):
        return x * self.k


class Sub(Base):
    def step(self, x):
        return super().step(x) + 1


def test_methods_that_super_calls(monkeypatch):
    s = Sub()
    f = mg.compile(lambda x: s.step(x))
    assert f(1.0).data == 3.0
    s.k = 5.0
    assert f(1.0).data == 6.0
    monkeypatch.setattr(Base, "step", lambda self, x: x * 100)
    assert f(1.0).data == 101.0


def test_metaclasses():
    class Meta(type):
        def __getitem__(cls, key):
            return cls.table[key]

    class Registry(metaclass=Meta):
        table = {"a": 1.0}

    f = mg.compile(lambda x: x * Registry["a"])
    assert f(1.0).data == 1.0
    Registry.table["a"] = 3.0
    assert f(1.0).data == 3.0


@pytest.mark.parametrize(
    "read",
    [
        lambda m, k: getattr(m, f"w{k}"),
        lambda m, k: getattr(m, "w" + str(k)),
        lambda m, k: getattr(m, "w{}".format(k), 0.0),  # noqa: UP032
        lambda m, k: getattr(m, ["w0", "w1"][k]),
        lambda m, k: m.__getattribute__("w1"),
        lambda m, k: m.by_method(),
    ],
)
def test_names_that_are_computed(read):
    class M:
        def by_method(self):
            return {"w1": self.w1}["w1"]

    m = M()
    m.w0, m.w1 = 1.0, 2.0
    f = mg.compile(lambda x: x * read(m, 1))
    assert f(1.0).data == 2.0
    m.w1 = 5.0
    assert f(1.0).data == 5.0


def test_methods_with_the_names_of_writers():
    class Adder:
        def __init__(self, k):
            self.k = k

        def add(self, x):
            return x + self.k

    adder, module = Adder(1.0), types.ModuleType("arithmetic")
    exec("k = 1.0\ndef add(x): return x + k", module.__dict__)
    f, g = mg.compile(lambda x: adder.add(x)), mg.compile(lambda x: module.add(x))
    assert f(1.0).data == g(1.0).data == 2.0
    adder.k = module.k = 5.0
    assert f(1.0).data == g(1.0).data == 6.0


def test_a_counted_name_that_is_used():
    namespace = {"n": 0, "m": 0}
    exec(
        "def f(x):\n    global n\n    return x * (n := n + 1)\n"
        "def g(x):\n    global m\n    y = m = m + 1\n    return x * y\n",
        namespace,
    )
    f, g = mg.compile(namespace["f"]), mg.compile(namespace["g"])
    assert [f(1.0).data for _ in range(3)] == [g(1.0).data for _ in range(3)] == [1.0, 2.0, 3.0]


def test_arrays_that_the_function_moves_or_replaces():
    a, b, c = np.array([1.0]), np.array([2.0]), np.array([3.0])
    rows, other = [a, b], [c]

    def rotates(x):
        rows.append(rows.pop(0))
        return x * rows[0][0]

    mg.compile(rotates)(1.0)
    assert {id(row) for row in rows} == {id(a), id(b)}

    def pops(x):
        y = x * rows[0][0] * other[0][0]
        rows.pop(0)
        return y

    with pytest.raises(IndexError):
        mg.compile(lambda x: [pops(x) for _ in range(3)])(1.0)
    assert other[0] is c and rows == []

    def inserts(x):
        other.insert(0, c)
        return x * other[0][0]

    mg.compile(inserts)(1.0)
    assert all(row is c for row in other)


def test_a_function_of_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "of_mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("K = 2.0\ndef inner(x): return x * K\n")
    (package / "model.py").write_text(
        "import micrograd_c as mg\nfrom . import parts\n"
        "@mg.compile\ndef f(x): return parts.inner(x) * S\nS = 1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    from of_mine import model, parts

    assert model.f(1.0).data == 2.0
    parts.K = 3.0
    assert model.f(1.0).data == 3.0
    model.S = 2.0
    assert model.f(1.0).data == 6.0


def test_a_derivative_made_outside():
    scale = [1.0]
    gradient = mg.grad(lambda x: x**2 * scale[0])
    f = mg.compile(lambda x: gradient(x) * 1.0)
    assert f(1.0).data == 2.0
    scale[0] = 5.0
    assert f(1.0).data == 10.0


def test_attributes_of_functions_and_keys_of_dicts():
    class Key:
        k = 1.0

    def helper(x):
        return x * helper.scale

    @mg.compile
    def f(x):
        return helper(x) * f.scale

    key = Key()
    table = {key: 1}
    g = mg.compile(lambda x: x * [q.k for q in table][0])
    helper.scale = f.scale = 2.0
    assert f(1.0).data == 4.0 and g(1.0).data == 1.0
    f.scale, key.k = 3.0, 7.0
    assert f(1.0).data == 6.0 and g(1.0).data == 7.0
    helper.scale = 1.0
    assert f(1.0).data == 3.0


def test_match_statements():
    namespace = {"mg": mg}
    exec(
        "class Cfg:\n    __match_args__ = ('scale',)\n    def __init__(s): s.scale = 2.0\n"
        "cfg = Cfg()\n"
        "def f(x):\n    match cfg:\n        case Cfg(scale=s): return x * s\n"
        "def g(x):\n    match cfg:\n        case Cfg(s): return x * s\n",
        namespace,
    )
    f, g = mg.compile(namespace["f"]), mg.compile(namespace["g"])
    assert f(1.0).data == g(1.0).data == 2.0
    namespace["cfg"].scale = 3.0
    assert f(1.0).data == g(1.0).data == 3.0


def test_modules_imported_by_the_function(tmp_path, monkeypatch):
    (tmp_path / "imported_late.py").write_text("K = 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)

    def f(x):
        import imported_late

        return x * imported_late.K

    compiled = mg.compile(f)
    assert compiled(1.0).data == compiled(1.0).data == 2.0
    sys.modules["imported_late"].K = 3.0
    assert compiled(1.0).data == 3.0


def test_classes_of_libraries_that_hold_data():
    from collections import ChainMap, UserDict

    data, chained = UserDict(k=1.0), ChainMap({"k": 1.0}, {})
    f = mg.compile(lambda x: x * data["k"] * chained["k"])
    assert f(1.0).data == 1.0
    data["k"] = 3.0
    assert f(1.0).data == 3.0
    chained["k"] = 2.0
    assert f(1.0).data == 6.0


def test_subclasses_of_containers_run_no_code_while_they_are_compared():
    outer, armed = [[1.0] * 100_000], []

    class Armed(set):
        def __iter__(self):
            if armed:
                outer[0] = [2.0]
            return set.__iter__(self)

    items = Armed(range(3))
    f = mg.compile(lambda x: x * outer[0][0] * len(items))
    assert f(1.0).data == f(1.0).data == 3.0
    armed.append(1)
    assert f(1.0).data == 3.0
    items.add(7)
    assert f(1.0).data == 4.0


def test_two_families_of_programs():
    flag, calls = [True], []

    def f(x, n):
        calls.append(1)
        return x * n + 0 * int(n) if flag[0] else x * 2

    compiled = mg.compile(f)
    compiled(1.0, 3)
    flag[0] = False
    for _ in range(5):
        assert compiled(1.0, 3).data == 2.0
    assert len(calls) == 2


def test_children_without_weak_references_keep_no_model_alive():
    class Child:
        __slots__ = ("parent", "k")

    class Parent:
        def __init__(self):
            self.child = Child()
            self.child.parent, self.child.k = self, 2.0
            self.table = {self: 1.0}

        @mg.compile
        def times(self, x):
            return x * self.child.k * self.table[self]

    parent = Parent()
    assert parent.times(1.0).data == 2.0
    parent.child.k = 3.0
    assert parent.times(1.0).data == 3.0
    alive = weakref.ref(parent)
    del parent
    gc.collect()
    assert alive() is None


def test_clear_of_a_method_forgets_those_of_all_instances():
    model = Model()
    model.loss([1.0, 2.0], 0.0)
    assert len(model.loss.programs) == 1
    Model.loss.clear()
    assert model.loss.programs == ()


def test_a_program_that_is_kept_reads_arrays(tmp_path):
    program = mg.compile(lambda x: x * ARRAY[0]).program(1.0)
    ARRAY[0] = 7.0
    assert program(1.0).data == 7.0
    ARRAY[0] = 8.0
    program.save(tmp_path / "p.npz")
    assert mg.load(tmp_path / "p.npz")(1.0).data == 8.0


def test_objects_that_raise_when_they_are_looked_at():
    class Raises:
        def __getattribute__(self, name):
            raise RuntimeError(name)

        def __repr__(self):
            raise RuntimeError("repr")

    class Dead:
        pass

    dead = Dead()
    things = [weakref.proxy(dead), Raises(), {Raises(): 1.0}]
    del dead
    f = mg.compile(lambda x: x * len(things))
    assert f(1.0).data == 3.0
    things.append(None)
    assert f(1.0).data == 4.0


def test_a_compiled_callable_object_in_a_class():
    class Double:
        def __call__(self, x):
            return x * 2

    class M:
        act = mg.compile(Double())

    assert M().act(1.0).data == 2.0
