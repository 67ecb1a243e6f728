"""mg.array: arrays of Values, their arithmetic, products and sums, and NumPy around them."""

import copy
import itertools
import math
import operator
import pickle
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, mutually_broadcastable_shapes
from reference import ARITY, inside, live_nodes, numpys_name, within

import micrograd_c as mg
from micrograd_c import Value, _core, tape


def values_of(x):
    """The numbers of an array of Values, read one by one."""
    numbers = np.empty(np.shape(x))
    for i in np.ndindex(numbers.shape):
        numbers[i] = x[i].data
    return numbers


def grads_of(x):
    grads = np.empty(np.shape(x))
    for i in np.ndindex(grads.shape):
        grads[i] = x[i].grad
    return grads


def plain(x):
    """The same Values in a NumPy array like any other."""
    return x.view(np.ndarray)


def checked(x):
    """An Array whose elements are all Values."""
    assert type(x) is mg.Array and x.dtype == object
    assert all(isinstance(v, Value) for v in x.ravel().tolist())
    return x


# ---- the MXNet autograd tutorial


def test_tutorial_twice_the_dot_product():
    x = mg.array(np.arange(4.0))
    x.attach_grad()
    with mg.autograd.record():
        y = 2 * np.dot(x, x)
    assert y.data == 28.0
    y.backward()
    assert x.grad.tolist() == [0.0, 4.0, 8.0, 12.0]
    assert (x.grad == 4 * x.asnumpy()).all()


def test_tutorial_a_sum_of_cubes_and_its_non_scalar_form():
    x = mg.array(np.arange(4.0))
    x.attach_grad()
    y = 3 * x**3
    z = y.sum()
    assert z.data == 108.0
    z.backward()
    assert x.grad.tolist() == [0.0, 9.0, 36.0, 81.0]
    assert (x.grad == 9 * x.values**2).all()
    again = 3 * x**3
    again.backward()  # the same as of its sum
    assert x.grad.tolist() == [0.0, 9.0, 36.0, 81.0]


def test_tutorial_detach():
    x = mg.array(np.arange(4.0))
    x.attach_grad()
    y = 3 * x**2
    t = y.detach()
    z = t * x
    z.backward()
    assert t.values.tolist() == [0.0, 3.0, 12.0, 27.0]
    assert x.grad.tolist() == [0.0, 3.0, 12.0, 27.0]
    y.backward()  # y keeps its own history
    assert x.grad.tolist() == [0.0, 6.0, 12.0, 18.0]


def test_tutorial_attach_grad_on_what_lies_between():
    x = mg.array(np.arange(4.0))
    x.attach_grad()
    y = 3 * x**2
    y.attach_grad()
    z = y * x
    z.backward()
    assert x.grad.tolist() == [0.0, 3.0, 12.0, 27.0]
    assert y.grad.tolist() == x.values.tolist()


def test_tutorial_head_gradients():
    """z = y x with y = t = 3 x^2: its whole gradient A is C D, by way of y, and B, by x itself."""
    x = mg.array(np.arange(4.0))
    x.attach_grad()
    t = 3 * x**2
    y = t.detach()
    y.attach_grad()
    z = y * x
    z.backward()
    b, c = x.grad, y.grad
    assert b.tolist() == [0.0, 3.0, 12.0, 27.0] and c.tolist() == [0.0, 1.0, 2.0, 3.0]
    t.backward(y.grad)
    c_times_d = x.grad
    assert c_times_d.tolist() == [0.0, 6.0, 24.0, 54.0]
    (3 * x**2 * x).backward()
    assert (x.grad == c_times_d + b).all()


# ---- making one


@pytest.mark.parametrize(
    "data",
    [
        [1.0, 2.0],
        (1, 2, 3),
        [[1, 2.5], [True, np.float32(4)]],
        np.arange(6).reshape(2, 3),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(12.0)[::-3],
        np.float32([1.5, 2.5]),
        np.array([True, False]),
        np.array([1.5, 2.5], ">f8"),
        np.array([1, 2**60], dtype=object),
        np.array([Fraction(1, 4), 2], dtype=object),
        range(4),
        3.0,
        np.float64(3.0),
        [],
        np.zeros((0, 3)),
        [[[1.0]]],
        [2**70],
    ],
    ids=repr,
)
def test_an_array_of_numbers(data, nursery):
    a = checked(mg.array(data))
    expected = np.asarray(data).astype(float)
    assert a.shape == expected.shape
    assert (values_of(a) == expected).all() and (a.values == expected).all()
    assert a.values.dtype == np.float64 and a.asnumpy().tolist() == expected.tolist()
    assert len({id(v) for v in a.flat}) == a.size  # each its own


def test_values_are_kept_and_numbers_become_values():
    v, w = Value(1.0), Value(2.0)
    a = checked(mg.array([[v, 3], [w, np.float64(0.5)]]))
    assert a[0, 0] is v and a[1, 0] is w and a[0, 1].data == 3.0
    assert checked(mg.array(v)).shape == () and mg.array(v)[()] is v
    b = mg.array(a)
    assert b is not a and all(x is y for x, y in zip(a.flat, b.flat))
    assert mg.array(np.array([v, w]))[1] is w
    assert mg.array([a[0], a[1]])[1, 0] is w
    b[0, 0] = w
    assert a[0, 0] is v


@pytest.mark.parametrize(
    "data, name",
    [
        ("12", "str"),
        (["1"], "str"),
        ([1.0, "a"], "str"),
        ([1.0, None], "NoneType"),
        (None, "NoneType"),
        ([1j], "complex"),
        (np.array([1 + 2j]), "complex"),
        ({"a": 1}, "dict"),
        ((x for x in [1.0]), "generator"),
        (np.array(["2020-01-01"], "M8[D]"), "date"),
        ([b"1"], "bytes"),
        ([Value(1.0), object()], "object"),
    ],
    ids=repr,
)
def test_what_is_no_number_is_named(data, name):
    before = tape.size()
    with pytest.raises(TypeError, match=f"data must hold real numbers and Values, not {name}"):
        mg.array(data)
    assert tape.size() == before


def test_the_position_is_named():
    with pytest.raises(TypeError, match=r"not str \(at 1, 0\)"):
        mg.array([[1.0, 2.0], ["x", 3.0]])


def test_ragged_lists():
    for data in ([[1.0, 2.0], [3.0]], [Value(1.0), [Value(1.0)]]):
        with pytest.raises(ValueError):
            mg.array(data)


def test_the_class_is_not_called():
    with pytest.raises(TypeError, match=r"micrograd_c\.array\(data\)"):
        mg.Array([1.0])


# ---- element by element

UNARY = {
    getattr(np, numpys_name(name)): within(name, -2, 2)
    for name in ARITY
    if ARITY[name] == 1 and hasattr(np, numpys_name(name))
}
UNARY |= dict.fromkeys([np.negative, np.fabs, np.square, np.positive, np.conjugate], (-2, 2))
UNARY[np.reciprocal] = (0.5, 2)


def method(name):
    return lambda x, y: getattr(x if isinstance(x, Value) else Value(x), name)(y)


BINARY = {  # and what it is on scalars
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.power: operator.pow,
    np.arctan2: method("atan2"),
    np.hypot: method("hypot"),
    np.minimum: method("min"),
    np.maximum: method("max"),
}
names = {"ids": lambda f: getattr(f, "__name__", None)}


@pytest.mark.parametrize("ufunc", UNARY, **names)
def test_functions_of_one_array(ufunc, nursery):
    numbers = np.random.default_rng(1).uniform(*UNARY[ufunc], size=(3, 4))
    a = mg.array(numbers)
    out = checked(ufunc(a))
    np.testing.assert_allclose(values_of(out), ufunc(numbers), rtol=1e-15, atol=1e-15)
    out.sum().backward()
    if ufunc not in (np.fabs, np.absolute):
        if ufunc is np.conjugate:
            wanted = 1.0
        elif ufunc is np.cbrt:  # of no complex number
            wanted = 1 / (3 * np.cbrt(numbers) ** 2)
        else:
            wanted = ufunc(numbers + 1e-30j).imag / 1e-30
        np.testing.assert_allclose(a.grad, wanted, rtol=1e-12)
    else:
        assert (a.grad == np.sign(numbers)).all()


OPERANDS = {
    "Array": mg.array,
    "floats": np.asarray,
    "float32, as Fortran has it": lambda x: np.asfortranarray(np.float32(x)),
    "objects": lambda x: plain(mg.array(x)),
    "a number": lambda x: float(x[0, 0]),
    "a Value": lambda x: Value(x[0, 0]),
    "lists": lambda x: x.tolist(),
}


@pytest.mark.parametrize("ufunc", BINARY, **names)
@pytest.mark.parametrize("other", OPERANDS)
@pytest.mark.parametrize("first", [True, False], ids=["Array first", "Array second"])
def test_functions_of_two_arrays(ufunc, other, first, nursery):
    """Against NumPy on the numbers, and bit for bit against the same on scalars."""
    draw = np.random.default_rng(2)
    x, y = draw.uniform(0.5, 2.0, size=(2, 3, 4))
    a, b = mg.array(x), OPERANDS[other](y)
    y = np.asarray(b if other in ("float32, as Fortran has it", "a number") else y, float)
    y = y[0, 0] if other == "a Value" else y
    operands, numbers = ((a, b), (x, y)) if first else ((b, a), (y, x))
    out = checked(ufunc(*operands))
    np.testing.assert_allclose(values_of(out), ufunc(*numbers), rtol=1e-15)
    objects = np.empty((), object)
    objects[()] = b
    full = (
        a.view(np.ndarray),
        np.broadcast_to(objects if np.ndim(y) == 0 else np.array(b, object), a.shape),
    )
    head = draw.normal(size=out.shape)
    wanted = {id(v): 0.0 for array in full for v in array.flat}
    for i in np.ndindex(out.shape):
        pair = (full[0][i], full[1][i]) if first else (full[1][i], full[0][i])
        alone = BINARY[ufunc](*pair)
        assert out[i].data == alone.data and out[i]._op == alone._op
        assert out[i]._local_grads == alone._local_grads
        for v, partial in zip(pair, alone._local_grads):
            wanted[id(v)] += partial * head[i]
    out.backward(head)
    for v in (*full[0].flat, *full[1].flat):
        if isinstance(v, Value):
            assert v.grad == pytest.approx(wanted[id(v)], rel=1e-12)


@pytest.mark.parametrize("name", [op.name for op in _core.OPS if hasattr(Value, op.name)])
def test_functions_of_the_op_table_are_methods(name, nursery):
    """Those that NumPy has no name for, too. (max and min are NumPy's, over an axis.)"""
    a = mg.array([inside(name, x) for x in np.linspace(0.1, 0.9, 5)])
    if name in ("max", "min"):
        assert getattr(a, name)() is a[-1 if name == "max" else 0]
        return
    others = (0.5,) * (ARITY[name] - 1)
    out = checked(getattr(a, name)(*others))
    assert [v.data for v in out] == [getattr(v, name)(*others).data for v in a]
    assert [v._op for v in out] == [getattr(v, name)(*others)._op for v in a]


@given(st.data())
def test_broadcasting(data):
    """Any two shapes that broadcast, of arrays that lie in memory anyhow."""
    shapes = data.draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
    numbers, operands = [], []
    for shape in shapes.input_shapes:
        x = data.draw(arrays(float, shape[::-1], elements=st.integers(-9, 9).map(float)))
        a = mg.array(x).T
        x = x.T
        for axis in range(a.ndim):
            if data.draw(st.booleans()):
                a, x = np.flip(a, axis), np.flip(x, axis)
        numbers.append(x)
        operands.append(a)
    out, wanted = operands[0] - operands[1], numbers[0] - numbers[1]
    if wanted.ndim == 0:
        assert type(out) is Value and out.data == wanted
        return
    assert checked(out).shape == wanted.shape and (values_of(out) == wanted).all()
    out.backward()
    for a, sign in zip(operands, (1, -1)):
        assert wanted.size == 0 or (a.grad == sign * wanted.size / a.size).all()


@given(st.data())
def test_shapes_that_do_not_broadcast(data):
    left, right = data.draw(array_shapes(max_side=3)), data.draw(array_shapes(max_side=3))
    try:
        np.broadcast_shapes(left, right)
    except ValueError:
        with pytest.raises(ValueError, match="could not be broadcast together"):
            mg.array(np.ones(left)) * mg.array(np.ones(right))


def test_a_constant_is_one_leaf_for_all():
    a = mg.array(np.arange(10.0))
    before = tape.size()
    out = a * 2.0
    assert tape.size() == before + 11
    constants = [v._children[1] for v in out]
    assert all(v is constants[0] for v in constants) and constants[0].data == 2.0
    squares = a**2
    assert [v._op for v in squares] == ["**2"] * 10
    del out, squares, constants
    assert tape.size() == before


def test_an_element_a_node():
    a, b = mg.array(np.arange(6.0).reshape(2, 3)), mg.array(np.arange(3.0))
    before = tape.size()
    out = a * b
    assert tape.size() == before + 6
    assert out[1, 2]._children == (a[1, 2], b[2]) and out[1, 2]._op == "*"
    out[1, 2].label = "corner"
    assert out[1, 2].label == "corner"


def test_views_share_their_values():
    a = mg.array(np.arange(12.0).reshape(3, 4))
    row, tail = checked(a[1]), checked(a[:, 1:])
    assert row[2] is a[1, 2] and tail[0, 0] is a[0, 1]
    assert a.T[3, 1] is a[1, 3] and checked(a.reshape(4, 3))[0, 2] is a[0, 2]
    assert checked(a[[2, 0]])[0, 0] is a[2, 0] and checked(a[a > 5.0]).shape == (6,)
    assert checked(np.broadcast_to(a[0], (5, 4)))[4, 1] is a[0, 1]
    ((a[::2] * a[1, ::-1]).sum() + a[..., 0].sum()).backward()
    numbers = values_of(a)
    wanted = np.zeros((3, 4))
    wanted[::2] += numbers[1, ::-1]
    wanted[1] += numbers[::2].sum(axis=0)[::-1]
    wanted[:, 0] += 1
    assert (a.grad == wanted).all()


def test_stacking_and_choosing():
    a, b = mg.array([1.0, 2.0]), mg.array([3.0, 4.0])
    assert checked(np.concatenate([a, b]))[3] is b[1]
    assert checked(np.stack([a, b], axis=1)).shape == (2, 2)
    mixed = checked(np.concatenate([a, [5.0, 6.0]]))
    assert mixed[0] is a[0] and mixed.values.tolist() == [1.0, 2.0, 5.0, 6.0]
    chosen = checked(np.where(np.array([True, False]), a, 0.0))
    assert chosen[0] is a[0] and chosen[1].data == 0.0
    assert checked(np.clip(mg.array([0.0, 1.0, 2.0]), 0.5, 1.5)).values.tolist() == [0.5, 1.0, 1.5]
    for made, number in (
        (np.zeros_like(a), 0.0),
        (np.ones_like(a), 1.0),
        (np.full_like(a, 7), 7.0),
    ):
        assert checked(made).values.tolist() == [number] * 2
    assert checked(np.pad(a, 1)).values.tolist() == [0.0, 1.0, 2.0, 0.0]
    assert [checked(x)[0].data for x in np.split(mixed, 2)] == [1.0, 5.0]
    assert checked(np.diag(a)).values.tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_the_rest_of_numpy():
    numbers = np.random.default_rng(3).uniform(0.5, 2.0, size=(3, 3))
    a = mg.array(numbers)
    for f in (np.cumsum, np.prod, np.cumprod, np.var, np.std, np.trace, np.ptp, np.linalg.norm):
        out = f(a)
        assert type(out) in (Value, mg.Array)
        got = out.data if type(out) is Value else out.values
        np.testing.assert_allclose(got, f(numbers), rtol=1e-14)
    np.testing.assert_allclose(np.diff(a).values, np.diff(numbers))
    np.testing.assert_allclose(np.outer(a[0], a[1]).values, np.outer(numbers[0], numbers[1]))
    np.testing.assert_allclose(np.kron(a, a).values, np.kron(numbers, numbers))
    np.testing.assert_allclose(
        np.average(a, weights=numbers).data, np.average(numbers, weights=numbers)
    )
    np.testing.assert_allclose(np.tensordot(a, a, 1).values, numbers @ numbers)
    np.testing.assert_allclose(np.einsum("ij,kj->ik", a, a).values, numbers @ numbers.T)
    np.testing.assert_allclose(np.add.outer(a[0], a[1]).values, np.add.outer(*numbers[:2]))
    for f in (np.argmax, np.argmin, np.argsort):
        assert type(f(a)) is not mg.Array and (f(a) == f(numbers)).all()
        by_axis = f(a, axis=0)
        assert type(by_axis) is np.ndarray and (by_axis == f(numbers, axis=0)).all()
    assert np.max(a).data == numbers.max() and np.max(a) in set(a.flat)
    np.testing.assert_array_equal(np.sort(a).values, np.sort(numbers))
    assert type(np.sign(a)) is np.ndarray and type(np.shape(a)) is tuple


def test_in_place():
    a = mg.array([1.0, 2.0, 3.0])
    before, same = a[0], a
    tail = a[1:]
    a *= 2.0
    assert a is same and a[0] is not before and checked(a).values.tolist() == [2.0, 4.0, 6.0]
    tail += 1.0
    assert a.values.tolist() == [2.0, 5.0, 7.0] and tail[0] is a[1]
    a[1:] -= a[:-1]  # overlapping
    assert a.values.tolist() == [2.0, 3.0, 2.0]
    a[:] = np.exp(a, out=a)
    assert a[0]._op == "exp" and a[0].data == math.exp(2.0)
    with pytest.raises(TypeError):
        numbers = np.zeros(3)
        numbers += a
    kept = a.tolist()
    with pytest.raises(ValueError):
        a += np.ones(4)
    with pytest.raises(ZeroDivisionError):
        a /= [1.0, 0.0, 2.0]
    assert all(x is y for x, y in zip(a, kept))
    np.add(np.ones(3), 1.0, out=a)
    assert checked(a).values.tolist() == [2.0] * 3
    objects = np.zeros(3, object)
    assert np.add(a, 1.0, out=objects) is objects and type(objects[0]) is Value


def test_elements_that_are_assigned():
    a = mg.array(np.zeros((2, 3)))
    v = Value(5.0)
    a[0, 0] = v
    a[0, 1] = 2
    assert a[0, 0] is v and type(a[0, 1]) is Value and a[0, 1].data == 2.0
    a[1] = 7.0
    assert checked(a)[1, 0] is not a[1, 1] and a.values[1].tolist() == [7.0] * 3
    a[:, 1:] = [8.0, 9.0]
    assert a.values.tolist() == [[5.0, 8.0, 9.0], [7.0, 8.0, 9.0]]
    assert a[0, 1] is not a[1, 1]
    a[...] = v
    assert all(x is v for x in a.flat)
    a[0] = mg.array([1.0, 2.0, 3.0])
    a[1, 1] = mg.array(4.0)
    a[1, 2] = np.array([[6.0]])
    assert checked(a).values.tolist() == [[1.0, 2.0, 3.0], [5.0, 4.0, 6.0]]
    a.fill(0)
    assert len({id(x) for x in checked(a).flat}) == 6
    np.copyto(a, 3.0)
    assert checked(a).values.tolist() == [[3.0] * 3] * 2
    a[a > 2.0] = 1
    assert checked(a).values.sum() == 6.0
    for bad in ("x", None, [1.0, "x", 2.0]):
        with pytest.raises(TypeError):
            a[0] = bad
    with pytest.raises(ValueError):
        a[0] = [1.0, 2.0]
    with pytest.raises(ValueError):
        a[0, 0] = [1.0, 2.0]
    assert checked(a).values.sum() == 6.0


# ---- errors


@pytest.mark.parametrize(
    "f, error, text",
    [
        (lambda a: 1 / a, ZeroDivisionError, "division by zero"),
        (lambda a: np.log(a - 5), ValueError, "math domain error|expected a positive"),
        (lambda a: np.exp(a * 1000), OverflowError, "range"),
        (lambda a: a**-1, ZeroDivisionError, None),
        (lambda a: (a - 1.5) ** 0.5, ValueError, "real number"),
        (lambda a: a + "x", TypeError, None),
        (lambda a: a + None, TypeError, None),
        (lambda a: a * 1j, TypeError, None),
        (lambda a: a + np.ones(3), ValueError, r"shapes \(2, 2\) and \(3,\)"),
        (lambda a: a.astype(float), TypeError, "use v.data"),
        (lambda a: np.asarray(a, float), TypeError, "use v.data"),
        (lambda a: a.sum(dtype=float), TypeError, None),
        (lambda a: a @ a[0, :1], ValueError, r"\(2, 2\) and \(1,\) do not match"),
        (lambda a: np.dot(a, np.ones((3, 2))), ValueError, r"\(2, 2\) and \(3, 2\) do not match"),
        (lambda a: np.inner(a, np.ones((2, 3))), ValueError, r"do not match"),
        (lambda a: a @ 2.0, ValueError, None),
        (lambda a: np.ones((3, 2, 2)) @ np.stack([a, a]), ValueError, "broadcast"),
        (lambda a: a.sum(axis=2), ValueError, "axis 2 is out of bounds"),
        (lambda a: a.sum(axis=(0, 0)), ValueError, "twice"),
        (lambda a: a.sum(axis="x"), TypeError, None),
        (lambda a: a[:0].mean(), ValueError, "no mean"),
        (lambda a: a.item(), ValueError, None),
        (lambda a: a.backward([1.0, 2.0]), ValueError, r"head_gradient must have shape \(2, 2\)"),
        (lambda a: a.backward(a), TypeError, "real number, not Value"),
    ],
)
def test_errors_leave_nothing_behind(f, error, text):
    a = mg.array([[0.0, 1.0], [2.0, 3.0]])
    a.grad = 5.0
    live, nodes = live_nodes(), tape.size()
    with pytest.raises(error, match=text):
        f(a)
    assert tape.size() == nodes and live_nodes() == live
    assert (a.grad == 5.0).all() and a.values.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_a_full_tape():
    a = mg.array(np.arange(100.0))
    b = mg.array(np.arange(100.0).reshape(10, 10))
    kept = (a * a).sum()
    nodes = live_nodes()
    _core._tune(max_nodes=tape.size() + 50)
    for f in (lambda: a + a, lambda: a * np.ones(100), lambda: b @ b, lambda: mg.array(b.values)):
        with pytest.raises(OverflowError, match="a tape holds at most"):
            f()
        assert live_nodes() == nodes
    assert checked(b.sum(axis=0)).shape == (10,)
    kept.backward()
    assert (a.grad == 2 * np.arange(100.0)).all()


# ---- products and sums

SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((1, 1), (1, 1)),
    ((2, 0), (0, 3)),
    ((0, 2), (2, 3)),
]
STACKS = [((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,))]
STACKS += [((5, 1, 2, 3), (6, 3, 2)), ((2, 3), (5, 3, 4)), ((0, 2, 3), (3, 2))]
PRODUCTS = [(np.matmul, *shapes) for shapes in SHAPES + STACKS]
PRODUCTS += [(np.dot, *shapes) for shapes in SHAPES + [((5, 2, 3), (6, 3, 4)), ((5, 2, 3), (3,))]]
PRODUCTS += [(np.inner, (3,), (3,)), (np.inner, (2, 3), (4, 3)), (np.inner, (5, 2, 3), (4, 3))]
PRODUCTS += [(np.vdot, (2, 3), (2, 3))]
PRODUCTS += [(operator.matmul, (2, 3), (3, 4)), (lambda a, b: a.dot(b), (2, 3), (3, 4))]


@pytest.mark.parametrize("f, left, right", PRODUCTS)
@pytest.mark.parametrize("kinds", ["aa", "an", "na", "ao", "am"])
def test_products(f, left, right, kinds, nursery):
    """Against NumPy on the numbers; the gradient against finite sums of its linearity."""
    if kinds[0] == "n" and f is PRODUCTS[-1][0]:
        pytest.skip("a method of the left one")
    draw = np.random.default_rng(4)
    x, y = draw.integers(-9, 9, left).astype(float), draw.integers(-9, 9, right).astype(float)
    mixed = np.array(y, object)
    mixed.flat[::2] = [Value(v) for v in y.flat[::2]]
    a = mg.array(x) if kinds[0] == "a" else x
    b = {"a": mg.array(y), "n": y, "o": plain(mg.array(y)), "m": mixed}[kinds[1]]
    before = live_nodes()
    out, wanted = f(a, b), f(x, y)
    new = live_nodes() - before
    if np.ndim(wanted) == 0:
        assert type(out) is Value and out.data == wanted
        out = mg.array(out)
    assert checked(out).shape == wanted.shape
    assert (values_of(out) == wanted).all()
    if kinds != "am":
        assert new == out.size or out.size == 0  # each one node, constants none
    head = draw.integers(-9, 9, wanted.shape).astype(float)
    if x.size and y.size:
        out.backward(head)
        # A bilinear function: its derivative along a unit vector is its value there.
        if kinds[0] == "a":
            for i in np.ndindex(left):
                unit = np.zeros(left)
                unit[i] = 1.0
                assert a[i].grad == (head * f(unit, y)).sum()
        for j in np.ndindex(right):
            if isinstance(b, np.ndarray) and isinstance(b[j], Value):
                unit = np.zeros(right)
                unit[j] = 1.0
                assert b[j].grad == (head * f(x, unit)).sum()


def test_products_with_a_number():
    a = mg.array([1.0, 2.0])
    assert checked(np.dot(a, 3.0)).values.tolist() == [3.0, 6.0]
    assert checked(np.dot(Value(2.0), a)).values.tolist() == [2.0, 4.0]
    assert checked(np.inner(2.0, a)).values.tolist() == [2.0, 4.0]


def test_the_node_of_a_product():
    a, b = mg.array([1.0, 2.0]), mg.array([3.0, 4.0])
    out = a @ b
    assert out._op == "dot" and out._children == (a[0], b[0], a[1], b[1])
    assert out._local_grads == (3.0, 1.0, 4.0, 2.0)
    weighted = np.array([10.0, 20.0]) @ a
    assert weighted._children == tuple(a) and weighted._local_grads == (10.0, 20.0)
    assert weighted.data == 50.0
    a.values = [5.0, 6.0]  # rule 4: read when it is used
    out.backward()
    assert b.grad.tolist() == [5.0, 6.0]


def test_operands_read_in_place():
    """Transposed, reversed and broadcast operands, against copies."""
    draw = np.random.default_rng(5)
    a = mg.array(draw.normal(size=(4, 6)))
    for view in (a.T, a[::-1], a[:, ::2], a[1:3, ::-2].T, np.broadcast_to(a[0], (3, 6))):
        other = draw.normal(size=(view.shape[1], 2))
        np.testing.assert_array_equal((view @ other).values, (mg.array(view) @ other).values)
        np.testing.assert_array_equal(view.sum(axis=0).values, mg.array(view).sum(axis=0).values)
        np.testing.assert_array_equal(view.values, values_of(view))


@pytest.mark.parametrize("name", ["sum", "mean"])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, 2, (0, 1), (2, 0), (-1, 1, 0), ()], ids=str)
def test_sums_and_means(name, axis, keepdims, nursery):
    numbers = np.random.default_rng(6).integers(-9, 9, (2, 3, 4)).astype(float)
    a = mg.array(numbers)
    wanted = getattr(np, name)(numbers, axis=axis, keepdims=keepdims)
    before = tape.size()
    out = getattr(a, name)(axis=axis, keepdims=keepdims)
    assert tape.size() == before + wanted.size  # each one node
    again = getattr(np, name)(a, axis=axis, keepdims=keepdims)
    if wanted.ndim == 0:
        assert type(out) is Value and type(again) is Value and out.data == again.data == wanted
        out = mg.array(out)
    else:
        assert checked(out).shape == wanted.shape and checked(again).shape == wanted.shape
        np.testing.assert_array_equal(again.values, out.values)
    np.testing.assert_allclose(values_of(out), wanted, rtol=1e-15)
    head = np.random.default_rng(7).normal(size=wanted.shape)
    out.backward(head)
    if not keepdims and axis is not None:
        head = np.expand_dims(head, axis)
    share = np.broadcast_to(head, numbers.shape) * (
        1.0 if name == "sum" else wanted.size / numbers.size
    )
    np.testing.assert_allclose(a.grad, share, rtol=1e-15)


def test_other_ways_to_sum():
    a = mg.array([[1.0, 2.0], [3.0, 4.0]])
    assert np.add.reduce(a).values.tolist() == [4.0, 6.0] and np.add.reduce(a)[0]._op == "sum"
    assert np.add.reduce(a, axis=None).data == 10.0
    assert np.sum(a, initial=5.0).data == 15.0
    assert np.sum(a, initial=0, where=[[True, False], [True, True]]).data == 8.0
    assert np.mean(a, axis=0, dtype=object).values.tolist() == [2.0, 3.0]
    assert a[:0].sum().data == 0.0 and a[:, :0].sum(axis=1).values.tolist() == [0.0, 0.0]
    assert mg.sum(a[0]).data == 3.0 and sum(a[0]).data == 3.0
    assert a.mean()._local_grads == (0.25,) * 4


def test_item():
    a = mg.array([[2.0]])
    assert a.item() == 2.0 and type(a.item()) is float
    assert mg.array([1.0, 3.0]).item(1) == 3.0


# ---- data and gradients


def test_values_and_gradients_are_assigned(nursery):
    a = mg.array(np.zeros((2, 3)))
    a.values = np.arange(6).reshape(2, 3)
    assert values_of(a).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    a.T.values = [[10, 20]]
    assert values_of(a).tolist() == [[10.0] * 3, [20.0] * 3]
    a[:, 0].values -= 1
    assert values_of(a)[:, 0].tolist() == [9.0, 19.0]
    a.grad = 2.0
    assert grads_of(a).tolist() == [[2.0] * 3] * 2
    a.grad += np.array([1.0, 2.0, 3.0])
    assert a.grad.tolist() == [[3.0, 4.0, 5.0]] * 2
    a.values = [[Fraction(1, 2), 1, True]]
    assert a.values.tolist() == [[0.5, 1.0, 1.0]] * 2


@pytest.mark.parametrize("name", ["values", "grad"])
def test_what_cannot_be_assigned(name):
    a = mg.array([[1.0, 2.0, 3.0]] * 2)
    before = a.values, a.grad
    cases = [
        (np.zeros((3, 2)), ValueError, r"\(2, 3\) or broadcast to it, not \(3, 2\)"),
        (np.zeros((1, 2, 3)), ValueError, "must have shape"),
        ("x", TypeError, f"{name}: element .* must be a real number, not str"),
        ([1.0, None, 2.0], TypeError, "NoneType"),
        (1j, TypeError, "complex"),
        (a, TypeError, r"not Value \(its number is .data\)"),
    ]
    for bad, error, text in cases:
        with pytest.raises(error, match=text):
            setattr(a, name, bad)
        assert (a.values == before[0]).all() and (a.grad == before[1]).all()


def test_backward_of_an_array_is_one_sweep(nursery):
    x = mg.array([1.0, 2.0, 3.0])
    y = np.exp(x) * x[0]
    y.backward()
    wanted = math.e * np.exp([0.0, 1.0, 2.0])
    wanted[0] += np.exp([1.0, 2.0, 3.0]).sum()
    np.testing.assert_allclose(x.grad, wanted, rtol=1e-15)
    x.grad = 0
    y = np.exp(x) * x[0]
    y.backward(np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(x.grad, [math.e**2, math.e**2, 0.0], rtol=1e-15)


def test_elements_that_numpy_put_there():
    """NumPy's own ways into the memory of an array: numbers are numbers, but have no gradient."""
    a = mg.array([1.0, 2.0])
    a.flat[1] = 5.0
    assert a.values.tolist() == [1.0, 5.0] and (a * 2).values.tolist() == [2.0, 10.0]
    assert a.sum().data == 6.0 and (a @ a).data == 26.0
    with pytest.raises(TypeError, match="element 1 is no Value but a float"):
        _ = a.grad
    with pytest.raises(TypeError, match="element 1 is no Value"):
        a.values = 0.0
    assert a[0].data == 1.0
    empty = np.ndarray.__new__(mg.Array, (2,), object)
    with pytest.raises(TypeError, match="element 0 must be a real number, not NoneType"):
        _ = empty.values
    numbers = np.ndarray.__new__(mg.Array, (2,), float)
    with pytest.raises(TypeError, match="no values to assign"):
        numbers.values = 1.0
    assert type(numbers + 1) is np.ndarray


# ---- with Values, and with what is not exactly a Value


class Marked(Value):
    def __add__(self, other):
        return Marked(self.data + getattr(other, "data", other) + 100)


def test_elements_of_a_subclass_use_their_operators():
    a = mg.array([Marked(1.0), Value(2.0)])
    assert (a + 1.0).values.tolist() == [102.0, 3.0]
    assert type((a * 2)[0]) is Marked and type((a * 2)[1]) is Value
    assert a.values.tolist() == [1.0, 2.0] and type(a.detach()[0]) is Marked
    assert checked(a.tanh())[0].data == math.tanh(1.0)
    assert (a @ a).data == 105.0
    assert a.mean().data == 51.5  # by way of +
    assert (a > 1.5).tolist() == [False, True]


def test_numbers_of_other_kinds():
    a = mg.array([1.0, 2.0])
    out = checked(a * np.array([Fraction(1, 2), 3], dtype=object))
    assert out.values.tolist() == [0.5, 6.0]
    assert checked(a + Fraction(1, 4)).values.tolist() == [1.25, 2.25]
    powers = checked(a ** np.array([Value(2.0), 3.0], dtype=object))
    assert [v._op for v in powers] == ["**", "**3"]


@pytest.mark.parametrize("scalar", [np.float64(2.0), np.float32(2.0), np.int64(2), np.bool_(True)])
def test_scalars_of_numpy_and_a_value(scalar, nursery):
    v = Value(3.0)
    for f in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        for out, wanted in (
            (f(scalar, v), f(float(scalar), 3.0)),
            (f(v, scalar), f(3.0, float(scalar))),
        ):
            assert type(out) is Value and out.data == wanted
    assert type(np.maximum(v, 0.0)) is Value and np.maximum(v, 0.0)._op == "max"
    assert (scalar < v) == (float(scalar) < 3.0) and (v < scalar) == (3.0 < float(scalar))


def test_an_array_of_numbers_and_a_value_give_an_array(nursery):
    v = Value(2.0)
    for numbers in (np.arange(1.0, 7.0).reshape(2, 3), np.arange(1, 7), np.float32([1, 2])):
        for f in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
            left, right = checked(f(numbers, v)), checked(f(v, numbers))
            assert left.values.tolist() == f(np.float64(numbers), 2.0).tolist()
            np.testing.assert_allclose(right.values, f(2.0, np.float64(numbers)), rtol=1e-15)
        v.grad = 0.0
        (numbers * v).backward()
        assert v.grad == numbers.sum()
        assert ((numbers < v) == (numbers < 2.0)).all() and type(numbers < v) is np.ndarray
        assert ((v <= numbers) == (numbers >= 2.0)).all()


def test_arrays_of_objects_stay_as_they_are():
    objects = np.array([Value(1.0), Value(2.0)])
    assert type(objects + objects) is np.ndarray and type(np.exp(objects)) is np.ndarray
    assert type(objects * 2.0) is np.ndarray and type(objects @ objects) is Value
    assert type(objects * mg.array([1.0, 2.0])) is mg.Array


def test_comparisons():
    a, b = mg.array([1.0, 2.0, 3.0]), mg.array([3.0, 2.0, 1.0])
    comparisons = operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne
    for f in comparisons:
        for x, y in ((a, b), (a, 2.0), (2, b), (a, b.values), (a.values, b), (a[1], b)):
            out = f(x, y)
            numbers = [getattr(z, "values", getattr(z, "data", z)) for z in (x, y)]
            numbers = [z if not isinstance(z, memoryview) else np.asarray(z) for z in numbers]
            assert type(out) is np.ndarray and out.dtype == bool
            assert (out == f(*numbers)).all()


class Own:
    """Somebody else's array, which has a say in ufuncs."""

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return "mine"


def test_others_have_a_say():
    assert mg.array([1.0]) + Own() == "mine" and Own.__array_ufunc__
    assert np.multiply(Value(1.0), Own()) == "mine"


# ---- of the numbers: comparisons, truth, kinds


def test_equal_is_of_the_numbers():
    a = mg.array([1.0, 2.0, math.nan])
    assert (a == mg.array([1.0, 3.0, math.nan])).tolist() == [True, False, False]
    assert (a != [1.0, 3.0, 0.0]).tolist() == [False, True, True]
    assert (2.0 == a).tolist() == [False, True, False]
    assert (a == a[0]).tolist() == [True, False, False] == (a[0] == a).tolist()
    assert (np.ones(2) == Value(1.0)).tolist() == [True, True]
    assert (a == None).tolist() == [False] * 3  # noqa: E711
    assert 2.0 in a and 5.0 not in a
    assert not isinstance(a == a, mg.Array)


def test_a_value_without_an_array_equals_itself_alone():
    v = Value(1.0)
    for number in (
        np.longdouble(1),
        np.float64(1),
        np.float32(1),
        np.int64(1),
        np.bool_(True),
        1.0,
    ):
        assert not v == number and not number == v and v != number and number != v
        assert not np.equal(v, number) and np.not_equal(number, v)
    assert np.equal(v, v) and not np.equal(v, Value(1.0)) and not np.not_equal(v, v)
    assert np.longdouble(1) < Value(2.0) and Value(1.0) + np.longdouble(1) is not None


def test_truth_is_that_of_the_number():
    assert mg.array([0.0, 2.0]).astype(bool).tolist() == [False, True]
    booleans = np.ndarray.astype(mg.array([1.0, 2.0]), bool)  # NumPy's own, of no Values
    assert booleans.any() and np.count_nonzero(booleans) == 2 and booleans.sum() == 2
    assert not mg.array(0.0) and not mg.array([0.0]) and mg.array([[2.0]]) and mg.array(math.nan)
    for several in ([0.0, 0.0], []):
        with pytest.raises(ValueError, match="truth value|ambiguous"):
            bool(mg.array(several))


MASKS = [np.array(x) for x in itertools.product([True, False], repeat=3)]


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_the_kind_of_a_result_does_not_depend_on_the_numbers(mask):
    a = mg.array([1.0, 2.0, 3.0])
    numbers = a.values
    chosen = np.where(mask, numbers, 0.0)
    assert checked(np.where(mask, a, 0.0)).values.tolist() == chosen.tolist()
    assert checked(np.where(mask, 0.0, a)).values.tolist() == (numbers - chosen).tolist()
    assert checked(np.select([mask], [a], 0.0)).values.tolist() == chosen.tolist()
    assert checked(np.choose(mask.astype(int), [0.0, a])).values.tolist() == chosen.tolist()
    assert checked(np.where(mask * 1.0 * a, a, 0.0)).values.tolist() == chosen.tolist()
    assert checked(np.clip(a, 5.0, 6.0)).values.tolist() == [5.0] * 3
    assert checked(a.clip(-2.0, -1.0)).values.tolist() == [-1.0] * 3
    assert checked(np.tril(a[:, None] * a, -3)).values.tolist() == [[0.0] * 3] * 3
    assert checked(a[mask]).shape == (mask.sum(),)
    assert type(np.prod(a[mask])) is Value and np.prod(a[mask]).data == numbers[mask].prod()
    assert type(np.sum(a, where=mask)) is Value and np.sum(a, where=mask).data == chosen.sum()


def test_nan_spreads():
    a = mg.array([1.0, math.nan, 3.0])
    for f in (np.max, np.min, np.median, np.ptp, np.maximum.reduce, lambda x: np.quantile(x, 0.2)):
        assert math.isnan(f(a).data)
    for f in (np.maximum, np.minimum):
        for x, y in ((a, 2.0), (2.0, a), (a, mg.array([2.0] * 3)), (mg.array([2.0] * 3), a)):
            assert np.isnan(f(x, y)).tolist() == [False, True, False]
    assert np.isnan(np.clip(a, 0.0, 2.0)).tolist() == [False, True, False]
    assert np.isnan(np.sort(a)).tolist() == [False, False, True]
    assert np.isnan(np.maximum.accumulate(a)).tolist() == [False, True, True]
    assert np.fmax(a, 2.0).values.tolist() == [2.0, 2.0, 3.0]
    v = Value(math.nan)
    assert math.isnan(v.max(1.0).data) and math.isnan(Value(1.0).min(v).data)


def test_sorted_elements_are_those_of_the_array():
    a = mg.array([3.0, 1.0, 2.0])
    assert [np.sort(a)[k] is a[i] for k, i in enumerate((1, 2, 0))] == [True] * 3
    (np.sort(a) * [1.0, 10.0, 100.0]).backward()
    assert a.grad.tolist() == [100.0, 1.0, 10.0]
    a.grad = 0
    np.median(a).backward()
    assert a.grad.tolist() == [0.0, 0.0, 1.0]
    a.sort()
    assert a.values.tolist() == [1.0, 2.0, 3.0]


def test_what_the_numbers_alone_decide():
    a = mg.array([0.0, 2.0, math.nan, 2.0])
    assert (
        np.count_nonzero(a) == 3
        and np.nonzero(a)[0].tolist() == [1, 2, 3] == a.nonzero()[0].tolist()
    )
    assert np.unique(a[:2]).tolist() == [0.0, 2.0] and np.isin(a, [2.0]).tolist() == [0, 1, 0, 1]
    assert np.nansum(a).data == 4.0 and type(np.nansum(a)) is Value
    assert np.nan_to_num(a).values.tolist() == [0.0, 2.0, 0.0, 2.0]
    assert np.array_equal(a[:2], mg.array([0.0, 2.0])) and not np.array_equal(a, a)
    assert np.allclose(a[:2], [0.0, 2.0]) and a[:2].any() and not a.all()
    np.nansum(a * a).backward()
    assert a.grad.tolist()[:2] == [0.0, 4.0]


def test_functions_that_failed():
    x = np.random.default_rng(9).normal(size=(3, 4))
    a = mg.array(x)
    for f in (
        lambda a: np.linalg.norm(a, axis=1),
        lambda a: np.vdot(a, a),
        np.var,
        lambda a: np.var(a, axis=0, ddof=1, keepdims=True),
        np.cov,
        lambda a: np.sum(a, where=x > 0, axis=1),
        lambda a: np.empty_like(a) * 0,
        lambda a: np.logaddexp.reduce(a, axis=1),
        lambda a: np.linalg.matrix_power(a[:, :3], 3),
        lambda a: np.fmod(a, 0.3) + a % 0.7,
        lambda a: np.exp2(a) + np.radians(a),
    ):
        out, wanted = f(a), f(x)
        got = out.values if isinstance(out, mg.Array) else out.data
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-15)


def test_functions_of_the_users_own():
    a = mg.array([1.0, 2.0])
    for f in (np.vectorize(lambda v: v * v), np.frompyfunc(lambda v: v * v, 1, 1)):
        assert checked(mg.array(f(a))).values.tolist() == [1.0, 4.0]
    assert np.frompyfunc(lambda v: f"{v.data}", 1, 1)(a).tolist() == ["1.0", "2.0"]
    assert np.frompyfunc(lambda x, y: x + y, 2, 1).reduce(a).data == 3.0


def test_what_is_refused_says_what_to_write():
    a = mg.array([[2.0, 1.0], [1.0, 3.0]])
    for f, text in (
        (lambda: np.linalg.inv(a), r"np.linalg.inv.*Instead, np.linalg.inv\(x.values\)"),
        (lambda: np.fft.fft(a), r"np.fft.fft\(x.values\)"),
        (lambda: np.gradient(a), "np.diff"),
        (lambda: a.tobytes(), r"x.values.tobytes"),
        (lambda: np.add(a, a, out=np.zeros((2, 2))), "does not hold Values"),
        (lambda: np.exp(a, where=a > 0), "np.where"),
        (lambda: np.sum(a, dtype=float), "x.values"),
        (lambda: np.i0(a), "x.values"),
        (lambda: np.histogram([0.0, 1.0], weights=a[0]), "weights"),
    ):
        with pytest.raises(TypeError, match=text):
            f()


MASKED = np.ma.array([1.0, 2.0], mask=[True, False])


@pytest.mark.parametrize(
    "f",
    [
        lambda a: mg.array(MASKED),
        lambda a: a + MASKED,
        lambda a: a * MASKED,
        lambda a: Value(2.0) * MASKED,
        lambda a: np.exp(a, out=MASKED.astype(object)),
        lambda a: a < MASKED,
        lambda a: a == MASKED,
        lambda a: a @ MASKED,
        lambda a: np.dot(a, MASKED),
        lambda a: np.concatenate([a, MASKED]),
        lambda a: np.where([True, False], a, MASKED),
        lambda a: np.sum(a, where=MASKED),
        lambda a: setattr(a, "values", MASKED),
        lambda a: setattr(a, "grad", MASKED),
        lambda a: a.__setitem__(0, MASKED),
        lambda a: a.__setitem__(slice(None), MASKED),
        lambda a: a.backward(MASKED),
        lambda a: (a * a).backward(MASKED),
        lambda a: np.ma.array(a, mask=[True, False]),
        lambda a: np.ma.masked_where([True, False], a),
        lambda a: np.ma.exp(a),
        lambda a: a.view(np.ma.MaskedArray),
    ],
)
def test_masked_arrays_are_refused(f):
    a = mg.array([3.0, 4.0])
    with pytest.raises(TypeError, match="masked arrays do not hold Values.*np.where"):
        f(a)
    assert a.values.tolist() == [3.0, 4.0] and a.grad.tolist() == [0.0, 0.0]


def test_gradients_are_not_assigned_in_part():
    a = mg.array([1.0, 2.0])
    (a * a).backward()
    for name in ("grad", "values"):
        numbers = getattr(a, name)
        assert not numbers.flags.writeable and isinstance(numbers, np.ndarray)
        with pytest.raises(ValueError, match=f"x.{name} = 0"):
            numbers[:] = 0
        with pytest.raises(ValueError, match=f"x.{name} = 0"):
            numbers[0] += 1.0
        with pytest.raises(ValueError, match=f"x.{name} = 0"):
            numbers.fill(0.0)
        with pytest.raises(ValueError, match="read-only"):
            np.copyto(numbers, 0.0)
        assert type(numbers + 1) is np.ndarray and type(numbers.sum()) is np.float64
        assert repr(numbers).startswith("array(") and type(numbers.max(axis=0)) is np.float64
        copied = numbers.copy()
        copied[:] = 7.0
        copied += 1.0
        assert copied.tolist() == [8.0, 8.0]
        again = pickle.loads(pickle.dumps(numbers))
        assert type(again) is np.ndarray and again.tolist() == numbers.tolist()
    a.grad *= 2.0
    a.values -= a.grad
    assert a.grad.tolist() == [4.0, 8.0] and a.values.tolist() == [-3.0, -6.0]
    a.grad = 0
    assert a.grad.tolist() == [0.0, 0.0]
    own = a.asnumpy()
    own[:] = 1.0


def test_data_of_an_array_says_values():
    a = mg.array([1.0])
    with pytest.raises(AttributeError, match=".values"):
        _ = a.data
    with pytest.raises(AttributeError, match=".values"):
        a.data = [2.0]


def test_the_number_of_a_value():
    v = Value(2.5)
    assert v.item() == 2.5 and type(v.item()) is float
    assert v.asnumpy() == 2.5 and v.asnumpy().shape == () and type(v.asnumpy()) is np.ndarray


def test_backward_of_one_element():
    a = mg.array([2.0])
    a.backward()
    assert a.grad.tolist() == [1.0]
    mg.array(a[0]).backward(3.0)
    assert a.grad.tolist() == [3.0]
    (a * a).backward([10.0])
    assert a.grad.tolist() == [43.0]
    with pytest.raises(TypeError, match="real number"):
        a.backward(["x"])


def test_backward_that_forgets_the_graph():
    for numbers in ([2.0], [2.0, 3.0]):
        a = mg.array(numbers)
        y = a * a
        y.backward(retain_graph=False)
        assert a.grad.tolist() == [2 * x for x in numbers]
        assert y[0]._children == ()


# ---- as an object


def test_repr():
    assert repr(mg.array([0.0, 1.5])) == "mg.array([0. , 1.5])"
    assert repr(mg.array([[1, 2], [3, 4]])) == "mg.array([[1., 2.],\n          [3., 4.]])"
    assert str(mg.array([0.0, 1.0])) == "[0. 1.]" and repr(mg.array(3.0)) == "mg.array(3.)"
    assert repr(mg.array([])) == "mg.array([])"
    assert "more" not in repr(mg.array(np.zeros(5000))) and "..." in repr(mg.array(np.zeros(5000)))


def test_copies():
    a = mg.array([[1.0, 2.0], [3.0, 4.0]])
    a.grad = 0.5
    for twin in (pickle.loads(pickle.dumps(a)), copy.deepcopy(a)):
        assert checked(twin).values.tolist() == a.values.tolist() and (twin.grad == 0.5).all()
        assert twin[0, 0] is not a[0, 0]
    for same in (copy.copy(a), a.copy(), np.copy(a, subok=True)):
        assert checked(same)[0, 0] is a[0, 0]
        same[0, 0] = 9.0
        assert a[0, 0].data == 1.0
    with pytest.raises(TypeError, match="leaves"):
        pickle.dumps(a * 2)


def test_detach():
    a = mg.array([[1.0, 2.0]])
    b = checked((a * 2).detach())
    assert b.values.tolist() == [[2.0, 4.0]] and b[0, 0]._children == ()
    (a * b).backward()
    assert a.grad.tolist() == [[2.0, 4.0]]


# ---- memory


def test_what_is_dropped_is_freed():
    a, w = mg.array(np.ones(1000)), mg.array(np.ones((20, 20)))
    nodes = live_nodes()
    for _ in range(50):
        y = np.tanh(a * 2 + a)
        z = (w @ w.T).sum()
        if _ == 25:
            z.backward()
            y.backward()
    assert tape.live() < nodes + 20_000
    del y, z
    assert live_nodes() == nodes


def test_a_collect_moves_what_arrays_stand_on(nursery):
    keep = []
    for k in range(30):
        a = mg.array(np.arange(k, k + 50.0))
        garbage = a * a - 1.0
        keep.append((a, a * 2.0, k))
        del garbage
    tape.collect()
    for a, twice, k in keep:
        assert a.values.tolist() == list(np.arange(k, k + 50.0))
        assert twice.values.tolist() == list(2 * np.arange(k, k + 50.0))
        twice.backward()
        assert (a.grad == 2.0).all()


def test_values_that_carry_something():
    """Pinned facades keep the end of the tape; arrays work on."""
    a = mg.array([1.0, 2.0])
    a[0].label = "x"
    out = (a * 3).sum()
    assert out._children[0]._children[0].label == "x"
    out.backward()
    assert a.grad.tolist() == [3.0, 3.0]


# ---- traced

TRACED = {
    "affine": lambda x, w: np.tanh(w @ x + 1.0).sum(),
    "mean": lambda x, w: (w * x).mean(),
    "mean of an axis": lambda x, w: ((w * x).mean(axis=0) ** 2).sum(),
    "numbers": lambda x, w: (np.arange(6.0).reshape(2, 3) @ x).sum() + (w @ np.ones(3)).sum(),
    "an array": lambda x, w: w @ x,
    "constants beside": lambda x, w: np.concatenate([x, [1.0, 2.0]]) @ np.arange(5.0),
    "detached": lambda x, w: (x.detach() * x).sum() + w.sum(),
    "maximum": lambda x, w: np.maximum(x, 0.5).sum() + np.exp(w[0]) @ x,
    "in place": lambda x, w: _in_place(x, w),
    "assigned": lambda x, w: _assigned(x, w),
    "made": lambda x, w: (mg.array([x[0], 2.0, w[1, 1]]) ** 2).sum(),
}


def _in_place(x, w):
    x = x * 1.0
    x[1:] *= 3.0
    x += w[0]
    return x.sum()


def _assigned(x, w):
    y = np.zeros_like(x)
    y[0] = x[1]
    y[1] = 4.0
    return (y * x).sum()


@pytest.mark.parametrize("name", TRACED)
def test_in_a_compiled_function(name):
    f = TRACED[name]
    compiled = mg.compile(f)
    draw = np.random.default_rng(8)
    for _ in range(3):
        x, w = draw.normal(size=3), draw.normal(size=(2, 3))
        a, b, c, d = mg.array(x), mg.array(w), mg.array(x), mg.array(w)
        out, wanted = compiled(a, b), f(c, d)
        if isinstance(wanted, Value):
            assert out.data == pytest.approx(wanted.data, rel=1e-13)
        else:
            np.testing.assert_allclose(checked(out).values, wanted.values, rtol=1e-13)
        out.backward()
        wanted.backward()
        np.testing.assert_allclose(a.grad, c.grad, rtol=1e-12)
        np.testing.assert_allclose(b.grad, d.grad, rtol=1e-12)


@pytest.mark.parametrize(
    "f, text",
    [
        (lambda x: x.values[0], r"\.data"),
        (lambda x: x.grad[0], r"\.grad"),
        (lambda x: (x > 0)[0] * x[0], "compared"),
        (lambda x: (x[0] > np.zeros(2))[0] * x[0], "compared"),
        (lambda x: setattr(x, "values", 0.0) or x[0], "assigned"),
        (lambda x: setattr(x, "grad", 0.0) or x[0], "assigned"),
        (lambda x: x.backward() or x[0], "backward"),
        (lambda x: float(x.astype(float)[0]), "converted"),
    ],
)
def test_what_a_trace_refuses(f, text):
    with pytest.raises(mg.TraceError, match=text):
        mg.compile(f)(np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    "f, text",
    [
        (lambda x: (x == x)[0] * x[0], "compared"),
        (lambda x: (x != 1.0)[0] * x[0], "compared"),
        (lambda x: np.equal(x[0], 1.0) * x[0], "compared"),
        (lambda x: x[0] if x[:1] else x[1], "truth"),
        (lambda x: np.sort(x)[0], ".data"),
        (lambda x: np.where(x, x, 0.0).sum(), ".data"),
        (lambda x: np.max(x), ".data"),
        (lambda x: np.sign(x)[0] * x[0], ".data"),
        (lambda x: x.item(0) * x[0], ".data"),
        (lambda x: x[0].item() * x[0], ".data"),
        (lambda x: x[0].asnumpy() * x[0], ".data"),
    ],
)
def test_what_a_trace_refuses_of_the_numbers(f, text):
    with pytest.raises(mg.TraceError, match=text):
        mg.compile(f)(np.array([1.0, 2.0]))


def test_results_without_axes():
    def f(x):
        return mg.array((x * x).sum())

    compiled, x = mg.compile(f), np.array([1.0, 2.0])
    for numbers in (x, 2 * x):
        out = compiled(numbers)
        assert checked(out).shape == () and out.item() == (numbers**2).sum()
    a = mg.array(x)
    compiled(a).backward()
    assert a.grad.tolist() == [2.0, 4.0]
    assert compiled.map(np.ones((3, 2))).tolist() == [2.0] * 3
    assert mg.grad(f)(x).tolist() == [2.0, 4.0] and mg.hessian(f)(x).tolist() == [[2, 0], [0, 2]]
    assert compiled.grad(x).tolist() == [2.0, 4.0]
    both = mg.compile(lambda x: {"loss": mg.array(x[0]), "rest": x[1:]})(x)
    assert both["loss"].shape == () and both["rest"].values.tolist() == [2.0]


def test_a_traced_array_of_integers_is_no_index():
    def f(x, i):
        return x[i].sum()

    for argument in (np.array([1.0, 2.0, 3.0]), mg.array([1.0, 2.0, 3.0])):
        with pytest.raises(IndexError, match=r"mg\.take\(x, k\) for k in i"):
            mg.compile(f)(argument, np.array([2, 0]))
    taken = mg.compile(lambda x, i: mg.array([mg.take(x, k) for k in i]).sum())
    x = np.array([1.0, 2.0, 3.0])
    assert taken(x, np.array([2, 0])).data == 4.0 and taken(x, np.array([1, 0])).data == 3.0
    assert len(taken.programs) == 1
    with pytest.raises(IndexError, match="out of bounds"):
        mg.compile(lambda x: x[7])(x)


def test_an_array_being_traced_can_be_printed():
    seen = []
    mg.compile(lambda x: seen.append(repr(x)) or x.sum())(np.ones(2))
    assert seen == ["mg.array(<(2,) being traced>)"]


def test_a_captured_array():
    w = mg.array([1.0, 2.0])
    f = mg.compile(lambda x: w @ x)
    f(np.array([3.0, 4.0])).backward()
    assert w.grad.tolist() == [3.0, 4.0]
    w.values = [0.0, 1.0]
    assert f(np.array([3.0, 4.0])).data == 4.0


# ---- not recorded


def test_while_nothing_is_recorded(nursery):
    a, b = mg.array([[1.0, 2.0], [3.0, 4.0]]), mg.array([[1.0, 0.5], [2.0, -1.0]])
    recorded = [f(a, b) for f in PAUSED]
    with mg.no_grad():
        before = live_nodes()
        for f, other in zip(PAUSED, recorded):
            out = f(a, b)
            out, other = mg.array(out), mg.array(other)
            np.testing.assert_array_equal(out.values, other.values)
            assert all(v._children == () and v._op == "" for v in out.flat)
        del out
        assert live_nodes() == before
        c = a * b
        with pytest.raises(ValueError, match="no graph"):
            c.backward()
    np.concatenate([c, a * 1]).backward()  # some have one
    assert (a.grad == 1.0).all()


PAUSED = [
    lambda a, b: a * b + 2.0,
    lambda a, b: np.exp(a) / b.values,
    lambda a, b: a @ b,
    lambda a, b: a.values @ b,
    lambda a, b: a.sum(axis=0),
    lambda a, b: a.mean(),
    lambda a, b: mg.array(a.values),
    lambda a, b: a.detach() - b,
]


def test_a_long_loop_without_recording_leaves_the_tape_short():
    a = mg.array(np.ones(100))
    x = a
    with mg.autograd.pause():
        before = tape.size()
        for _ in range(2000):
            x = x * 0.5 + a
            y = (x @ a) + x.sum()
        assert tape.size() < before + 5000
    assert x[0].data == 2.0 and y._children == ()


def test_what_a_trace_does_not_record_is_detached():
    def f(x):
        with mg.autograd.pause():
            y = x * x + x.mean()
        return y @ x

    x = mg.array([1.0, 2.0])
    for numbers in ([1.0, 2.0], [3.0, 5.0]):
        x.values, x.grad = numbers, 0.0
        out = mg.compile(f)(x)
        y = np.array(numbers) ** 2 + np.mean(numbers)
        assert out.data == y @ numbers
        out.backward()
        assert x.grad.tolist() == y.tolist()


# ---- importing


def test_numpy_is_imported_when_it_is_needed(run):
    code = """
        import sys, micrograd_c as mg
        mg.Value(1.0) + 1
        assert "numpy" not in sys.modules
        a = mg.array([1.0])
        assert type(a) is mg.Array and callable(mg.array)
        try:
            mg.no_such_name
        except AttributeError as error:
            print(error)
    """
    assert "no_such_name" in run(code)


def test_the_first_ufunc_of_a_value_comes_before_any_array(run):
    code = """
        import numpy as np
        from micrograd_c import Value
        print(type(np.ones(2) * Value(2.0)).__name__, np.exp(Value(0.0)).data)
    """
    assert run(code).split() == ["Array", "1.0"]


def test_threads():
    results = []

    def work(k):
        a = mg.array(np.full(100, float(k)))
        for _ in range(200):
            a = a * 1.0 + 1.0
        results.append((k, a.values.tolist()))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(k, [k + 200.0] * 100) for k in range(4)]


@given(array_shapes(max_dims=3, max_side=4))
def test_values_of_any_shape(shape):
    numbers = np.arange(float(np.prod(shape))).reshape(shape)
    a = mg.array(numbers)
    assert (a.values == numbers).all() and (a.T.values == numbers.T).all()
    a.T.values = numbers.T + 1
    assert (values_of(a) == numbers + 1).all()


def test_numbers_of_an_array_before_an_array():
    x, a = mg.array([1.5, 2.0, 0.5]), mg.array([2.0, 0.5, 1.0]).values
    assert np.isin(a, x).tolist() == [True, True, False]
    assert np.union1d(a, x).tolist() == [0.5, 1.0, 1.5, 2.0]
    assert type(np.stack([a, x])) is mg.Array


@pytest.mark.parametrize("change", [np.putmask, np.place])
def test_masks_by_name(change):
    names = {np.putmask: ("mask", "values"), np.place: ("mask", "vals")}[change]
    x, mask = mg.array([1.0, 2.0, 3.0]), mg.array([0.0, 1.0, 0.0])
    change(x, **dict(zip(names, (mask, [9.0]))))
    assert x.values.tolist() == [1.0, 9.0, 3.0]


def test_conditions_by_name():
    x = mg.array([1.0, -2.0, 3.0])
    assert np.compress(condition=x > 0, a=x).values.tolist() == [1.0, 3.0]
    assert np.extract(condition=x > 0, arr=x).values.tolist() == [1.0, 3.0]
    found = np.select(condlist=[x > 0], choicelist=[x], default=7.0)
    assert found.values.tolist() == [1.0, 7.0, 3.0]
    y = mg.array([0.0, 0.0, 0.0])
    np.copyto(y, x, where=x > 0)
    assert y.values.tolist() == [1.0, 0.0, 3.0]


def test_texts_are_of_the_numbers():
    numbers = np.array([1.5, -2.0])
    assert mg.array(numbers).astype(str).tolist() == numbers.astype(str).tolist()
    assert mg.array(numbers).astype("U8").tolist() == numbers.astype("U8").tolist()


def test_reductions_of_nothing_with_a_start():
    numbers = np.zeros((0, 3))
    for initial in (0.5, mg.Value(0.5)):
        found = np.logaddexp.reduce(mg.array(numbers), initial=initial)
        assert type(found) is mg.Array
        assert found.values.tolist() == np.logaddexp.reduce(numbers, initial=0.5).tolist()
    assert np.logaddexp.reduce(mg.array([]), initial=0.5).data == 0.5


def test_a_flag_is_no_value():
    with pytest.raises(TypeError, match="increasing= must be True or False, not Values"):
        np.vander(mg.array([2.0, 3.0]), increasing=mg.array([0.0]), N=2)
    assert np.vander(mg.array([2.0, 3.0]), N=2, increasing=True).values.tolist() == [[1, 2], [1, 3]]


@pytest.mark.skipif(not hasattr(np, "cumulative_sum"), reason="NumPy before 2.1")
def test_cumulative_sums_of_nothing():
    of_nothing = np.cumulative_sum(mg.array(np.empty(0)), include_initial=True)
    assert of_nothing.values.tolist() == [0]
    total = np.cumulative_sum(mg.array([1.0, 2.0]), include_initial=True)
    assert total.values.tolist() == [0, 1, 3]
