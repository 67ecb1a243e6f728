"""What errors say: what was given, what is wanted, and what to do."""

import copy
import os
import pickle

import numpy as np
import pytest

import micrograd_c as mg
from micrograd_c import Value, autograd, nn, optim, viz

OPTIMIZERS = [optim.SGD, optim.Adam, optim.AdamW]


def says(call, kind, message):
    """The call raises this error, with exactly this message."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind and str(caught.value) == message


# nn


@pytest.mark.parametrize(
    "module, name",
    [
        (nn.Neuron(2), "ReLUNeuron(2)"),
        (nn.Neuron(2, nonlin=False), "LinearNeuron(2)"),
        (nn.Layer(2, 3), "Layer of 3 ReLUNeuron(2)"),
        (nn.Layer(2, 1, nonlin=False), "Layer of 1 LinearNeuron(2)"),
        (nn.MLP(2, [3, 1]), "Layer of 3 ReLUNeuron(2)"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_wrong_inputs_of_a_network(module, name):
    for x in ([], [1.0], [Value(1.0)] * 3, "abc", np.zeros(5), mg.array([1.0])):
        says(lambda x=x: module(x), ValueError, f"{name} takes 2 inputs, not {len(x)}")
    for x in (None, 3.0, Value(1.0), iter([])):
        message = f"{name} takes a list of 2 inputs, not {type(x).__name__}"
        if not isinstance(module, nn.Neuron) or x is None or not hasattr(x, "__iter__"):
            says(lambda x=x: module(x), TypeError, message)
    message = f"{name}: input 1 must be a Value or a real number, not str"
    says(lambda: module([1.0, "x"]), TypeError, message)


def test_a_single_neuron_in_the_middle_gives_no_list():
    with pytest.raises(
        TypeError, match=r"Layer of 2 LinearNeuron\(1\) takes a list of 1 inputs, n"
    ):
        nn.MLP(2, [1, 2])([1.0, 2.0])


@pytest.mark.parametrize(
    "make, kind, message",
    [
        (lambda: nn.Neuron(None), TypeError, "nin must be an integer, not None"),
        (lambda: nn.Neuron(2.0), TypeError, "nin must be an integer, not 2.0"),
        (lambda: nn.Neuron(-1), ValueError, "nin must not be negative: -1"),
        (lambda: nn.Layer(2, "3"), TypeError, "nout must be an integer, not '3'"),
        (lambda: nn.MLP(2, 3), TypeError, "nouts must be a list of sizes, not 3"),
        (lambda: nn.MLP(2, None), TypeError, "nouts must be a list of sizes, not None"),
        (lambda: nn.MLP(2, [3, None]), TypeError, "nout must be an integer, not None"),
    ],
)
def test_wrong_sizes_of_a_network(make, kind, message):
    says(make, kind, message)


def test_sizes_in_a_tuple():
    assert len(nn.MLP(2, (3, 1)).parameters()) == 13


# math


@pytest.mark.parametrize(
    "name", "ceil floor trunc gamma lgamma modf frexp ulp factorial isqrt".split()
)
def test_functions_without_a_derivative(name):
    function = getattr(mg.math, name)
    message = (
        f"math.{name}() has no derivative here, so it takes no Value: use v.data for the number"
    )
    says(lambda: function(Value(2.0)), TypeError, message)
    import math

    x = 5 if name in ("factorial", "isqrt") else 2.5
    assert function(x) == getattr(math, name)(x)


@pytest.mark.parametrize("name", "comb fmod gcd lcm nextafter perm remainder".split())
def test_functions_of_two_without_a_derivative(name):
    function = getattr(mg.math, name)
    for arguments in [(Value(2.0), 1), (1, Value(2.0))]:
        with pytest.raises(TypeError, match=rf"math\.{name}\(\) has no derivative.*use v\.data"):
            function(*arguments)


# Values that leaked from a trace


@pytest.fixture(params=["an argument", "a result", "a subclass"])
def leaked(request):
    kept = []

    class Mine(Value):
        pass

    def function(x):
        kept.append(x if request.param == "an argument" else x * 2)
        if request.param == "a subclass":
            kept[-1] = x * Mine(3.0)
        return x * x

    assert mg.compile(function)(3.0).data == 9.0
    return kept[0]


LEAKED = "this Value leaked from the trace of a compiled function, where it stood for a number"


def test_the_repr_of_a_leaked_value(leaked):
    assert repr(leaked) == "<Value that leaked from the trace of a compiled function>"
    assert str(leaked) == f"{leaked}" == repr(leaked) and [leaked].__repr__() == f"[{leaked}]"


@pytest.mark.parametrize(
    "use",
    [
        lambda v: v.data,
        lambda v: v.grad,
        lambda v: setattr(v, "data", 1.0),
        lambda v: v + 1,
        lambda v: 2 / v,
        lambda v: v.exp(),
        lambda v: v < 1,
        lambda v: v.backward(),
        lambda v: v.detach(),
        lambda v: v._prev,
        lambda v: f"{v:.2f}",
        lambda v: mg.sum([v]),
        lambda v: mg.dot([v], [1.0]),
        lambda v: mg.compile(lambda x: x)(v),
        lambda v: mg.compile(lambda x: x * v)(1.0),
        lambda v: mg.grad(lambda x: x * x)(v),
        lambda v: autograd.backward(v),
        lambda v: viz.draw_dot(v),
        copy.copy,
        pickle.dumps,
    ],
)
def test_uses_of_a_leaked_value(leaked, use):
    with pytest.raises(ValueError, match=f"^{LEAKED}"):
        use(leaked)


def test_leaked_values_among_parameters(leaked):
    for call in (mg.get_data, mg.get_grad, *OPTIMIZERS):
        with pytest.raises(ValueError, match=rf"^params\[1\]: {LEAKED}"):
            call([Value(1.0), leaked])


def test_a_leaked_value_can_be_made_anew(leaked):
    leaked.__init__(4.0)
    leaked.backward()
    assert (leaked.data, leaked.grad) == (4.0, 1.0)


def test_a_leaked_value_that_nobody_keeps_is_freed():
    live = mg.tape.live()
    for _ in range(3):
        kept = []
        mg.compile(lambda x, kept=kept: (kept.append(x.exp()), x)[1])(1.0)
        assert repr(kept.pop()).startswith("<Value that leaked")
    assert mg.tape.live() == live


# Mapped bools


@pytest.mark.parametrize("bools", [[True, False], np.array([True, False]), (True, False)])
@pytest.mark.parametrize("how", ["map", "mean", "sum"])
def test_bools_are_not_mapped(how, bools):
    function = mg.compile(lambda b, x: x if b else -x)
    message = (
        "argument 'b': it holds True in one sample and False in sample 1, and what is neither a "
        "float nor an integer must be the same in all, as it is part of the program: map over the "
        "samples of each apart, or map over 1.0 and 0.0 and choose with mg.where"
    )
    says(lambda: getattr(function, how)(bools, [1.0, 2.0]), ValueError, message)
    assert function.map([True, True], [1.0, 2.0]).tolist() == [1.0, 2.0]
    assert function.map([False, False], [1.0, 2.0]).tolist() == [-1.0, -2.0]


@pytest.mark.parametrize("argnums", ["x", None, 1.5, (0, "x")])
def test_argnums_that_are_no_integers(argnums):
    function = mg.compile(lambda x: x * x)
    message = f"argnums must be an integer or a tuple of integers, not {argnums!r}"
    says(lambda: function.grad(1.0, argnums=argnums), TypeError, message)


# Optimisers


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_no_parameters(optimizer):
    model = nn.MLP(2, [1])
    start = "params must be an iterable of Values, not "
    for given, end in [
        (model, "MLP (but its .parameters() are such)"),
        (model.parameters, "method (call it)"),
        (Value(1.0), "Value (for one, write [v])"),
        (None, "NoneType"),
        (1.0, "float"),
    ]:
        says(lambda given=given: optimizer(given), TypeError, start + end)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_result_of_an_operation_is_no_parameter(optimizer):
    x = Value(1.0)
    for result, op in [(x * 2, "*"), (mg.sum([x, x]), "sum"), (Value(4.0, (x,), (4.0,)), "")]:
        with pytest.raises(ValueError, match=r"^params\[1\] is the result of an operation \(") as e:
            optimizer([x, result])
        assert repr(op) in str(e.value) and "Value(v.data)" in str(e.value)
    optimizer([x, (x * 2).detach(), Value(2.0)])
    with autograd.pause():
        optimizer([x * 2])


@pytest.mark.parametrize("norm", [None, "1", 1j, [1.0], Value(1.0)])
def test_a_norm_that_is_no_number(norm):
    message = f"Invalid max_norm, not a number: {norm!r}"
    says(lambda: optim.clip_grad_norm_([Value(1.0)], norm), TypeError, message)


def test_parameters_that_are_none():
    for call in (mg.get_data, mg.get_grad, lambda p: mg.set_data(p, [1.0])):
        message = "params must be an iterable of Values, not NoneType"
        says(lambda call=call: call(None), TypeError, message)
    message = "parameters must be an iterable of Values, not MLP (but its .parameters() are such)"
    says(lambda: optim.clip_grad_norm_(nn.MLP(2, [1]), 1.0), TypeError, message)


# Functions of several values


VALUES = "values must be an iterable of Values and numbers, not"
ONE = "must be a Value or a real number, not"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mg.sum(None), f"{VALUES} NoneType"),
        (lambda: mg.sum([1.0, "a"]), f"values[1] {ONE} str"),
        (lambda: mg.sum(Value(1.0)), f"{VALUES} Value (for one, write [v])"),
        (lambda: mg.dot(None, []), "xs must be an iterable of Values and numbers, not NoneType"),
        (lambda: mg.dot([1.0], [1j]), f"ys[0] {ONE} complex"),
        (lambda: mg.dot([], [], "a"), f"start {ONE} str"),
        (lambda: mg.where(None, 1, 2), f"test {ONE} NoneType"),
        (lambda: mg.where(1, "a", 2), f"a {ONE} str"),
        (lambda: mg.where(1, 2, []), f"b {ONE} list"),
        (lambda: mg.max(["a"]), f"max: values[0] {ONE} str"),
        (lambda: mg.min([1.0, None]), f"min: values[1] {ONE} NoneType"),
        (lambda: mg.max(1.0), f"{VALUES} float"),
        (lambda: mg.softmax(None), f"{VALUES} NoneType"),
        (lambda: mg.logsumexp([1j]), f"logsumexp: values[0] {ONE} complex"),
        (
            lambda: mg.take(None, 0),
            "rows must be an iterable of Values, numbers or lists, not NoneType",
        ),
        (lambda: mg.take([1.0], None), "take: index must be an integer, not NoneType"),
        (lambda: mg.take([1.0], Value(0.0)), "take: index must be an integer, not Value"),
        (lambda: Value(1.0, None), "_children must be an iterable of Values, not NoneType"),
        (
            lambda: Value(1.0, (Value(1.0),), 2.0),
            "local_grads must be an iterable of numbers, not float",
        ),
        (
            lambda: Value(1.0).__format__(3),
            "__format__() argument must be str, not int",
        ),
    ],
)
def test_arguments_of_the_wrong_type(call, message):
    says(call, TypeError, message)


@pytest.mark.parametrize("name", ["backward", "grad", "jvp"])
def test_functions_are_called_what_their_users_call_them(name):
    with pytest.raises(TypeError, match=rf"^{name}\(\) takes"):
        getattr(autograd, name)()


def test_labels_are_deleted_as_attributes_are():
    v = Value(1.0, label="a")
    v._op = "mine"
    del v.label, v._op
    assert (v.label, v._op) == ("", "")
    for name in ("label", "_op"):
        says(lambda name=name: delattr(v, name), AttributeError, f"{name} was not assigned")


# Pictures and files


@pytest.mark.parametrize("root", [None, 1.0, "a", [Value(1.0)], np.zeros(2), lambda: 0])
def test_pictures_of_what_has_no_graph(root):
    kind = type(root).__name__
    says(lambda: viz.trace(root), TypeError, f"root must be a Value, not {kind}")
    says(lambda: viz.draw_dot(root), TypeError, f"root must be a Value or a Program, not {kind}")
    says(lambda: viz.explore(root), TypeError, f"root must be a Value, not {kind}")


def test_files_that_cannot_be_written_are_named(tmp_path):
    program = mg.compile(lambda x: x * x).program(1.0)
    for path in (tmp_path / "nowhere" / "a.npz", str(tmp_path / "nowhere" / "a.npz"), tmp_path):
        with pytest.raises(OSError) as caught:
            program.save(path)
        assert caught.value.filename == str(path) and caught.value.filename2 is None
        assert str(tmp_path) in str(caught.value) and "/." not in str(caught.value)
        assert type(caught.value) in (FileNotFoundError, IsADirectoryError, PermissionError)
    says(lambda: program.save(""), ValueError, "path must name a file, not ''")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [None, True, 1.0])
def test_files_are_named_by_paths(path):
    with pytest.raises(TypeError, match="expected str, bytes or os.PathLike object, not"):
        mg.load(path)


def test_a_descriptor_is_no_path(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        with pytest.raises(TypeError, match="expected str, bytes or os.PathLike object, not int"):
            mg.load(file.fileno())
        os.fstat(file.fileno())  # nobody closed it


def test_arrays_of_values_and_of_floats_are_told_apart():
    f = mg.compile(lambda x: x[0] * x[1])
    names = [f.program(x).arguments[0].text for x in (np.ones(2), mg.array([1.0, 2.0]))]
    assert names == ["array(2,)", "array(2,) of Values"]
