"""Values and numpy: its functions, its scalars, object arrays."""

import math
import operator

import numpy as np
import pytest
from reference import inside, numpys_name

from micrograd_c import Value
from micrograd_c._core import OPS

FUNCTIONS = [op.name for op in OPS if op.arity == 1 and hasattr(np, numpys_name(op.name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_functions_of_a_value(name):
    x = inside(name, 0.5)
    v = Value(x)
    f = getattr(np, numpys_name(name))
    out = f(v)
    assert type(out) is Value
    assert out.data == pytest.approx(float(f(x)), rel=1e-14)
    out.backward()
    h = 1e-6
    assert v.grad == pytest.approx(float((f(x + h) - f(x - h)) / (2 * h)), rel=1e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_functions_of_an_object_array(name):
    values = [Value(inside(name, x)) for x in (0.25, 0.5)]
    out = getattr(np, numpys_name(name))(np.array(values))
    assert out.dtype == object and out.shape == (2,)
    assert all(type(v) is Value for v in out)
    out.sum().backward()
    assert all(v.grad != 0.0 for v in values)


@pytest.mark.parametrize("name", ["arctan2", "hypot"])
def test_numpy_functions_of_two_values(name):
    v, w = Value(1.0), Value(2.0)
    out = getattr(np, name)(v, w)
    assert type(out) is Value and out.data == pytest.approx(float(getattr(np, name)(1.0, 2.0)))
    out.backward()
    expected = (2 / 5, -1 / 5) if name == "arctan2" else (5**-0.5, 2 * 5**-0.5)
    assert (v.grad, w.grad) == pytest.approx(expected)
    assert type(getattr(np, name)(v, 2.0)) is Value
    assert type(getattr(np, name)(np.array([v, w]), np.array([1.0, 2.0]))[1]) is Value


@pytest.mark.parametrize(
    "f, slope",
    [
        (np.negative, -1.0),
        (np.absolute, -1.0),
        (np.square, -6.0),
        (np.positive, 1.0),
        (np.reciprocal, -1 / 9),
    ],
    ids=lambda f: getattr(f, "__name__", ""),
)
def test_numpy_functions_that_use_operators(f, slope):
    v = Value(-3.0)
    out = f(v)
    assert type(out) is Value and out.data == pytest.approx(f(-3.0))
    out.backward()
    assert v.grad == pytest.approx(slope)


SCALARS = [np.float64(2.0), np.float32(2.0), np.int64(2), np.int8(2), np.uint32(2), np.bool_(True)]
OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("scalar", SCALARS, ids=lambda x: type(x).__name__)
def test_numpy_scalars_either_way_give_values(op, scalar):
    v = Value(3.0)
    left, right = op(scalar, v), op(v, scalar)
    assert type(left) is Value and type(right) is Value
    assert left.data == op(float(scalar), 3.0) and right.data == op(3.0, float(scalar))
    left.backward()
    assert v.grad != 0.0 or (op is operator.pow and float(scalar) == 1.0)


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
def test_value_with_array_works_elementwise_either_way(op):
    v = Value(2.0)
    array = np.array([1.0, 2.0, 3.0])
    left, right = op(v, array), op(array, v)
    for out in left, right:
        assert isinstance(out, np.ndarray) and out.dtype == object and out.shape == (3,)
        assert all(type(x) is Value for x in out)
    assert [x.data for x in left] == [op(2.0, x) for x in array]
    assert [x.data for x in right] == [op(x, 2.0) for x in array]
    right.sum().backward()
    assert v.grad != 0.0


def test_integer_and_two_dimensional_arrays():
    v = Value(2.0)
    out = v * np.arange(6).reshape(2, 3)
    assert out.shape == (2, 3) and out[1, 2].data == 10.0
    out = np.arange(6).reshape(2, 3) - v
    assert out.shape == (2, 3) and out[1, 2].data == 3.0


def test_object_arrays():
    a = np.array([Value(1.0), Value(2.0)])
    b = np.array([Value(3.0), Value(4.0)])
    assert a.dtype == object
    for out, expected in [(a + b, [4.0, 6.0]), (a * b, [3.0, 8.0]), (a / b, [1 / 3, 0.5])]:
        assert [v.data for v in out] == expected
    assert [v.data for v in a**2] == [1.0, 4.0]
    assert [v.data for v in -a] == [-1.0, -2.0]
    total = np.sum(a * b)
    assert type(total) is Value and total.data == 11.0
    total.backward()
    assert [v.grad for v in a] == [3.0, 4.0] and [v.grad for v in b] == [1.0, 2.0]


def test_dot_and_matmul_of_object_arrays():
    w = np.array([[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]])
    x = np.array([Value(5.0), Value(6.0)])
    for out in (w @ x, np.dot(w, x), w.dot(x)):
        assert [v.data for v in out] == [17.0, 39.0]
    out = w @ x
    for v in (*w.flat, *x):
        v.grad = 0.0
    np.sum(out).backward()
    assert [v.grad for v in w.flat] == [5.0, 6.0, 5.0, 6.0]
    assert [v.grad for v in x] == [4.0, 6.0]
    assert (w @ w).shape == (2, 2)
    mixed = np.array([[1.0, 2.0]]) @ x
    assert mixed[0].data == 17.0
    assert np.dot(x, x).data == 61.0


def test_mean_max_and_cumsum():
    values = [Value(1.0), Value(5.0), Value(3.0)]
    a = np.array(values)
    mean = np.mean(a)
    assert mean.data == 3.0
    mean.backward()
    assert [v.grad for v in values] == pytest.approx([1 / 3] * 3)
    assert np.max(a) is values[1] and np.min(a) is values[0]
    assert [v.data for v in np.cumsum(a)] == [1.0, 6.0, 9.0]
    assert np.argmax(a) == 1


def test_an_array_does_not_swallow_a_gradient():
    v = Value(1.0)
    assert np.array(v).dtype == object and np.asarray([v, 1.0]).dtype == object
    for silent in (
        lambda: np.array([v], dtype=float),
        lambda: np.array(v, dtype=np.float32),
        lambda: np.float64(v),
        lambda: np.zeros(2).__setitem__(0, v),
    ):
        with pytest.raises(TypeError):
            silent()


def test_comparisons_with_numpy():
    v = Value(2.0)
    assert bool(np.float64(1.0) < v) and bool(v > np.float64(1.0))
    assert list(np.array([1.0, 3.0]) < v) == [True, False]
    assert list(v < np.array([1.0, 3.0])) == [False, True]


def test_numbers_of_numpy_as_data():
    for x in (np.float64(1.5), np.float32(1.5), np.float16(1.5), np.int32(1), np.bool_(True)):
        v = Value(x)
        assert type(v.data) is float and v.data == float(x)
        v.data = x
        v.grad = x
        assert v.grad == float(x)
    v = Value(1.0)
    v.data -= np.float64(0.25)
    assert type(v.data) is float and v.data == 0.75


def test_complex_numpy_scalars_are_refused():
    v = Value(1.0)
    for bad in (np.complex128(1.0), np.complex64(1.0)):
        with pytest.raises(TypeError):
            Value(bad)
        with pytest.raises(TypeError):
            v + bad
        with pytest.raises(TypeError):
            bad * v


def test_errors_pass_through_numpy():
    with pytest.raises(ValueError):
        np.log(Value(-1.0))
    with pytest.raises(ZeroDivisionError):
        np.float64(1.0) / Value(0.0)
    with pytest.raises(ZeroDivisionError):
        np.array([1.0, 2.0]) / Value(0.0)
    with pytest.raises(OverflowError):
        np.exp(np.array([Value(1.0), Value(1000.0)]))


def test_gradients_through_a_small_network_in_numpy():
    draw = np.random.default_rng(0)
    w1 = draw.normal(size=(4, 3))
    w2 = draw.normal(size=(1, 4))
    x = draw.normal(size=3)
    lift = np.vectorize(Value, otypes=[object])
    v1, v2 = lift(w1), lift(w2)
    out = (v2 @ np.tanh(v1 @ x))[0]
    out.backward()
    hidden = np.tanh(w1 @ x)
    assert out.data == pytest.approx(float((w2 @ hidden)[0]))
    expected = (w2[0] * (1 - hidden**2))[:, None] * x
    grads = np.array([[v.grad for v in row] for row in v1])
    assert np.allclose(grads, expected, rtol=1e-12)
    assert math.isclose(v2[0, 0].grad, hidden[0], rel_tol=1e-12)
