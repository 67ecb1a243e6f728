"""debug_nans: the operation, and the line, that the first nan or infinity comes from."""

import functools
import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

import micrograd_c as mg
from micrograd_c import Value, autograd


def error_of(call):
    """What debug_nans says to a call that goes well without it, less the name of the file."""
    call()
    with pytest.raises(FloatingPointError) as error:
        with mg.debug_nans():
            call()
    assert not autograd_is_debugging()
    return str(error.value).replace(__file__ + ", ", "")


def autograd_is_debugging():
    before = mg._core.set_debug_nans(0)
    mg._core.set_debug_nans(before)
    return before


def place(function, offset):
    """The line so far below the first one of a function, as errors name it."""
    code = function.__code__
    with open(__file__) as file:
        source = file.read().splitlines()[code.co_firstlineno + offset - 1].strip()
    return f"line {code.co_firstlineno + offset}, in {code.co_name}: {source}\n"


w = Value(3.0)


def loss(x, y):
    a = w * x
    b = a.log()
    return b * y + x


LOSS = place(loss, 2) + "log(0.0) = -inf, out of finite numbers"


@pytest.mark.parametrize("optimize", [True, False])
def test_compiled_calls(optimize):
    f = mg.compile(loss, optimize=optimize)
    X = np.array([1.0, 2.0, 0.0, 4.0])
    assert error_of(lambda: f(0.0, 1.0)) == LOSS + "."
    assert error_of(lambda: f(Value(0.0), 1.0)) == LOSS + "."
    assert error_of(lambda: f.program(1.0, 1.0)(0.0, 1.0)) == LOSS + "."
    assert error_of(lambda: f.mean(X, 1.0)) == LOSS + " (sample 2)."
    assert error_of(lambda: f.sum([Value(x) for x in X], 1.0)) == LOSS + " (sample 2)."
    assert error_of(lambda: f.map(1.0, X[::-1]) + f.map(X, X)) == LOSS + " (sample 2)."
    assert error_of(lambda: f.grad(0.0, 1.0)) == LOSS + "."
    assert error_of(lambda: f.value_and_grad(0.0, 1.0, argnums=1)) == LOSS + "."
    assert error_of(lambda: f.grad.mean(X, X)) == LOSS + " (sample 2)."
    assert error_of(lambda: f.grad.sum(X, 1.0)) == LOSS + " (sample 2)."
    assert error_of(lambda: f.grad.map(X, X)) == LOSS + " (sample 2)."


def root(x):
    y = x.sqrt()
    return y * 2.0


ROOT = place(root, 1) + (
    "In reverse: sqrt(0.0) = 0.0, whose adjoint is 2.0, gives an operand the adjoint inf."
)


def test_derivatives():
    f = mg.compile(root)
    assert error_of(lambda: f.grad(0.0)) == ROOT
    assert error_of(lambda: f(Value(0.0))) == ROOT
    for derivative in (mg.grad, mg.jacobian, mg.value_and_grad):
        assert error_of(functools.partial(derivative(root), 0.0)) == ROOT
    assert error_of(lambda: mg.jvp(root, (0.0,), (1.0,))) == ROOT
    assert error_of(lambda: mg.vjp(root, 0.0)[1](1.0)) == ROOT
    assert error_of(lambda: mg.jacobian(root, sparse=True)(0.0)) == ROOT
    with mg.debug_nans():  # the value alone is finite
        f(0.0)
        f.map([0.0, 1.0])
        with autograd.pause():
            f(Value(0.0))


def test_second_derivatives_tell_the_function_and_the_listing():
    def f(x):
        return x**1.5

    for second in (mg.hessian(f), lambda x: mg.hvp(f, x, 1.0), mg.grad(mg.grad(f))):
        text = error_of(functools.partial(second, 0.0))
        assert text.startswith(f"line {f.__code__.co_firstlineno}, in f: def f(x):\n%0 = ")
        assert "0.0 ** " in text and "inf" in text


def test_captured_values_and_their_derivatives():
    v = Value(0.0)
    f = mg.compile(lambda x: v**0.5 * x)
    text = error_of(lambda: f(2.0))
    assert "0.0 ** 0.5 = 0.0, whose adjoint is 2.0, gives an operand the adjoint inf." in text
    with mg.debug_nans(), autograd.pause():
        assert f(2.0).data == 0


def test_overflow_is_found_where_it_happens():
    def f(x):
        y = x * 1e200
        z = y * y
        return z - z

    assert error_of(lambda: mg.compile(f)(2.0)) == (
        place(f, 2) + "2e+200 * 2e+200 = inf, out of finite numbers."
    )

    def g(x):
        return mg.sum([x * 1e308, x * 1e308])

    text = error_of(lambda: mg.compile(g)(1.0))
    assert text == place(g, 1) + "1e+308 + 1e+308 = inf, out of finite numbers."


def test_an_adjoint_that_overflows():
    def f(x):
        y = x * 1e200
        return y * 1e200

    assert error_of(lambda: mg.compile(f).grad(1e-200)) == place(f, 1) + (
        "In reverse: 1e-200 * 1e+200 = 1.0, whose adjoint is 1e+200, gives an operand the adjoint"
        " inf."
    )


def test_of_several_results_each_is_looked_at():
    def f(x, y):
        a = x * y
        return [a, x.sqrt()]

    text = place(f, 2) + "In reverse: sqrt(0.0) = 0.0, whose adjoint is 1.0, gives an operand the"
    assert error_of(lambda: mg.compile(f)(Value(0.0), 2.0)) == text + " adjoint inf."

    def g(x):
        return x * x, x.sqrt()

    with mg.debug_nans():  # the aux is not differentiated
        assert mg.value_and_grad(g, has_aux=True)(0.0)[0] == (0.0, 0.0)


def test_what_is_no_fault_of_the_function():
    nan, inf = float("nan"), float("inf")
    f = mg.compile(lambda x, y: (x + 1.0) * y.exp() / x)
    v = Value(nan)
    g = mg.compile(lambda x: (v * x).sin())
    h = mg.compile(lambda x: x * inf + nan)
    with mg.debug_nans():
        assert np.isnan(f(nan, 1.0).data) and f(2.0, inf).data == inf
        assert np.isnan(f.grad(nan, 1.0)) and np.isnan(f.map([1.0, nan], 1.0)[1])
        assert np.isnan(g(1.0).data) and np.isnan(h(1.0).data)
        (v * 2.0).backward()


def test_what_is_not_chosen_is_not_looked_at():
    f = mg.compile(lambda x: mg.where(x, x.log(), 0.0))
    g = mg.compile(lambda x, k: mg.take([x.log(), x, 1.0 / x], k))
    h = mg.compile(lambda x: mg.max([x.log(), -100.0]) + mg.min([1.0 / x, 7.0]))
    with mg.debug_nans(), autograd.pause():
        assert f(0.0).data == 0 and g(0.0, 1).data == 0 and g(0.0, -2).data == 0
        assert h(0.0).data == -93
        assert f.map([0.0, 1.0]).tolist() == [0, 0]
        for k in (0, 2, -1, -3):
            with pytest.raises(FloatingPointError):
                g(0.0, k)
    with mg.debug_nans():
        for function in (f, h):
            function.grad(0.0)
            mg.grad(function.__wrapped__)(1.0)
        g.grad(0.0, 1)


def test_an_index_out_of_range_is_an_index_error():
    g = mg.compile(lambda x, k: mg.take([x.log(), x], k))
    g(1.0, 1)
    with mg.debug_nans(), pytest.raises(IndexError):
        g(1.0, 2)


def test_no_operation_after_which_all_is_finite_again_is_overlooked():
    assert "1.0 / 0.0 = inf" in error_of(lambda: mg.compile(lambda x: (-(1 / x)).exp())(0.0))
    assert "log(0.0) = -inf" in error_of(lambda: mg.compile(lambda x: 1 / x.log())(0.0))


# ---- where there is no function, or another


def test_a_loaded_program_names_the_place_in_its_listing(tmp_path):
    mg.compile(lambda x: (1.0 / x).exp()).program(1.0).save(tmp_path / "p.npz")
    program = mg.load(tmp_path / "p.npz")
    text = f"%0 = 1 / x, in the listing of {program!r}\n1.0 / 0.0 = inf, out of finite numbers"
    assert error_of(lambda: program(0.0)) == f"{text}."
    assert error_of(lambda: program.map([1.0, 0.0])) == f"{text} (sample 1)."
    assert "1.0 / 0.0 = inf" in error_of(lambda: mg.grad(program)(0.0))


@pytest.mark.parametrize("then", ["another", "fails"])
def test_a_function_that_is_no_longer_the_same(then):
    kinds = iter(["first"])

    def f(x):
        kind = next(kinds, then)
        if kind == "fails":
            raise KeyError(kind)
        return 1.0 / x if kind == "first" else x.log() * 2.0

    compiled = mg.compile(f)
    text = error_of(lambda: compiled(0.0))
    assert text.split("\n")[1].startswith("%0 = 1 / x, in the listing of <Program (float)")
    assert text.endswith("\n1.0 / 0.0 = inf, out of finite numbers.")


# ---- sweeps of the tape


def small():
    x, y = Value(0.0, label="x"), Value(2.0)
    x.grad, y.grad = 5.0, 7.0
    a = x**0.5
    b = a * y
    a.grad = 11.0
    return [x, y, a, b]


def grads(values):
    return [v.grad for v in values]


def test_backward():
    x, y, a, b = values = small()
    before = grads(values)
    with mg.debug_nans(), pytest.raises(FloatingPointError) as error:
        b.backward()
    assert str(error.value) == (
        "In reverse: x=0.0**0.5 = 0.0, whose adjoint is 13.0, gives an operand the adjoint inf."
    )
    assert grads(values) == before
    for call in (
        lambda: autograd.backward([b, a]),
        lambda: b.backward(3.0, retain_graph=False),
        lambda: autograd.grad(b, [x, y]),
        lambda: autograd.jvp(b, [x, y]),
    ):
        with mg.debug_nans(), pytest.raises(FloatingPointError, match="x=0.0"):
            call()
        assert grads(values) == before
    b.backward()  # the graph is still there
    assert x.grad == np.inf


def test_forward():
    x, y, a, b = small()
    a.label = "root"
    with mg.debug_nans():
        assert autograd.jvp(b, y) == 0
        with pytest.raises(FloatingPointError) as error:
            autograd.jvp(b, [y, x])
    assert str(error.value) == (
        "In forward: root = x=0.0**0.5 = 0.0 has the tangent inf, out of finite ones."
    )


def test_leaves_that_asked_for_their_gradients():
    x, y, a, b = small()
    x.attach_grad("write")
    y.attach_grad("null")
    x.grad, y.grad = 5.0, 7.0
    with mg.debug_nans(), pytest.raises(FloatingPointError):
        ((x + 0.0) ** 0.5 * y).backward()
    assert (x.grad, y.grad) == (5, 7)
    with mg.debug_nans():
        ((x + 1.0) ** 0.5 * y).backward()
    assert (x.grad, y.grad) == (1, 7)


def some_graph():
    rng = random.Random(1)
    leaves = [Value(rng.uniform(0.5, 2)) for _ in range(5)]
    values = list(leaves)
    for _ in range(200):
        p, q = rng.sample(values[-20:] + leaves, 2)
        terms = [p + q, p * q.tanh(), p.sin() - q, mg.dot([p, q], [q, 2.0])]
        values.append(rng.choice(terms).tanh())
    return leaves, values[-1]


def test_sweeps_in_which_all_is_finite_are_as_ever(nursery):
    leaves, top = some_graph()
    top.backward()
    expected = grads(leaves)
    assert all(expected)
    with mg.debug_nans():
        leaves, top = some_graph()
        top.backward()
        assert grads(leaves) == expected
        assert autograd.grad(top, leaves) == expected
        assert autograd.jvp(top, leaves) == pytest.approx(sum(expected), rel=1e-12)


def test_operations_of_the_users_own():
    x = Value(2.0)
    own = Value(4.0, (x,), "square", local_grads=(float("inf"),))
    with mg.debug_nans(), pytest.raises(FloatingPointError, match=r"square\(2.0\) = 4.0"):
        own.backward()
    assert x.grad == 0

    closure = Value(4.0, (x,), "power")

    def step():
        x.grad += closure.grad * float("nan")

    closure._backward = step
    top = closure * 3.0
    with mg.debug_nans(), pytest.raises(FloatingPointError, match=r"power\(2.0\) = 4.0"):
        top.backward()
    assert (x.grad, closure.grad, top.grad) == (0, 0, 0)


def test_sums_and_compiled_calls_on_the_tape():
    x = Value(1.0)
    with mg.debug_nans(), pytest.raises(FloatingPointError, match="adjoint is 1e.300"):
        mg.sum([x * 1e300, x]).backward(1e300)
    f = mg.compile(lambda x: x * 1e300)
    y = f(x)
    with mg.debug_nans(), pytest.raises(FloatingPointError, match="compiled function"):
        y.backward(1e300)
    assert x.grad == 0


# ---- for whom it is on


def test_it_is_off_again_and_nests():
    f = mg.compile(lambda x: 1.0 / x)
    with mg.debug_nans():
        with mg.debug_nans():
            pass
        with pytest.raises(FloatingPointError):
            f(0.0)
    assert f(0.0).data == np.inf
    with pytest.raises(KeyError), mg.debug_nans():
        raise KeyError
    assert f(0.0).data == np.inf


def test_a_decorator():
    f = mg.compile(lambda x: 1.0 / x)

    @mg.debug_nans()
    def call(x):
        return f(x)

    for _ in range(2):
        assert call(2.0).data == 0.5
        with pytest.raises(FloatingPointError):
            call(0.0)
    assert f(0.0).data == np.inf


def test_other_threads_are_left_alone():
    f = mg.compile(lambda x: 1.0 / x)
    f(1.0)
    found = []

    def call():
        found.append(f(0.0).data)
        with mg.debug_nans():
            try:
                f(0.0)
            except FloatingPointError:
                found.append("raised")

    with mg.debug_nans():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        with pytest.raises(FloatingPointError):
            f(0.0)
    assert found == [np.inf, "raised"] and f(0.0).data == np.inf


@pytest.mark.parametrize("setting, on", [("1", True), ("0", False), ("", False)])
def test_for_a_whole_program(setting, on):
    code = """
import threading
import micrograd_c as mg
f = mg.compile(lambda x: 1.0 / x)
def call():
    try:
        print(f(0.0).data)
    except FloatingPointError:
        print("raised")
call()
thread = threading.Thread(target=call); thread.start(); thread.join()
with mg.debug_nans():
    call()
call()
"""
    env = {**os.environ, "MICROGRAD_C_DEBUG_NANS": setting, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    once = "raised" if on else "inf"
    assert done.stdout.split() == [once, once, "raised", once]
