"""Derivatives of functions: structures in and out, argnums, aux, errors, and what is left behind.

The structures are JAX's, as recorded.
"""

import collections
import functools
import gc
import inspect
import math
import pickle
import re
import threading
import weakref

import numpy as np
import pytest
from reference import live_nodes

import micrograd_c as mg
from micrograd_c import TraceError, Value, tape

Pair = collections.namedtuple("Pair", "first second")

TRANSFORMS = [mg.grad, mg.value_and_grad, mg.jacobian, mg.hessian]
every_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda f: f.__name__)


def flat(x):
    """A structure with plain floats and arrays' shapes and numbers, to compare by ==."""
    if isinstance(x, dict):
        return {key: flat(v) for key, v in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return (type(x).__name__, *map(flat, x))
    if isinstance(x, (list, tuple)):
        return (type(x).__name__, *map(flat, x))
    if x is None or isinstance(x, str):
        return x
    array = np.asarray(x)
    if array.dtype == object:
        array = np.vectorize(lambda v: getattr(v, "data", v), otypes=[float])(array)
    return array.shape, array.ravel().astype(float).tolist()


def alike(x, y):
    """Whether two flat structures are the same but for rounding."""
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(alike(x[key], y[key]) for key in x)
    if isinstance(x, (tuple, list)):
        return type(x) is type(y) and len(x) == len(y) and all(map(alike, x, y))
    if isinstance(x, float):
        return isinstance(y, float) and math.isclose(x, y, rel_tol=1e-12, abs_tol=1e-13)
    return x == y


# ---- structures, as JAX has them

A = np.array([1.0, 2.0, -0.5])
M = np.array([[0.5, -1.0], [2.0, 3.0]])


def total(x):
    """A number made of all numbers of a structure, in its order; with second derivatives."""
    if isinstance(x, dict):
        x = [x[key] for key in sorted(x)]
    if isinstance(x, (list, tuple)):
        return sum((total(v) * (k + 1) for k, v in enumerate(x)), 0.0)
    if getattr(x, "ndim", 0) == 0:
        return x * x * x
    x = x.ravel()
    return (x**3 * np.arange(1.0, len(x) + 1)).sum() * x[0]


ARGUMENTS = {
    "number": 2.0,
    "array": A,
    "matrix": M,
    "one element": np.array([[3.0]]),
    "list": [1.0, 2.0],
    "tuple": (1.0, (2.0, A)),
    "dict": {"b": 1.5, "a": M},
    "namedtuple": Pair(2.0, A),
    "nested": {"w": [A, {"x": (1.0,)}], "v": Pair(0.5, [M])},
    "with nothing": {"w": 1.5, "none": [], "empty": ()},
    "with None": [2.0, None],
}


def by_jax(make, *args):
    """make(jax)(*args), of doubles and compiled, as a flat structure."""
    import jax

    jax.config.update("jax_enable_x64", True)
    return flat(jax.jit(make(jax))(*args))


def without_none(x):
    return total([v for v in x if v is not None]) if isinstance(x, list) else total(x)


@pytest.mark.parametrize("argument", ARGUMENTS.values(), ids=ARGUMENTS)
def test_structures_of_arguments(recorded, argument):
    f, x = without_none, argument
    expected = recorded(
        by_jax,
        lambda jax: (
            lambda x: (
                jax.value_and_grad(f)(x),
                jax.hessian(f)(x),
                jax.jvp(f, (x,), (x,)),
                jax.vjp(f, x)[1](2.0),
                jax.jvp(jax.grad(f), (x,), (x,))[1],
            )
        ),
        x,
    )
    found = (
        mg.value_and_grad(f)(x),
        mg.hessian(f)(x),
        mg.jvp(f, (x,), (x,)),
        mg.vjp(f, x)[1](2.0),
        mg.hvp(f, x, x),
    )
    assert alike(flat(found), expected)
    assert flat(mg.grad(f)(x)) == flat(found[0][1])
    assert flat(mg.vjp(f, x)[0]) == flat(found[0][0])
    assert alike(flat(mg.jacobian(f)(x)), flat(found[0][1]))
    assert alike(flat(mg.jacobian(mg.grad(f))(x)), flat(found[1]))


@pytest.mark.parametrize("name", ["number", "array", "nested", "dict"])
def test_structures_of_results(recorded, name):
    x = ARGUMENTS[name]

    def results(x):
        y = total(x)
        return Pair({"p": y, "q": [y * y]}, (y * 2.0, [y, (y + 1.0,)]))

    expected = recorded(
        by_jax,
        lambda jax: (
            lambda x: (
                jax.jacrev(results)(x),
                jax.jvp(results, (x,), (x,)),
                jax.vjp(results, x)[1](results(x)),
            )
        ),
        x,
    )
    value, pull = mg.vjp(results, x)
    found = mg.jacobian(results)(x), mg.jvp(results, (x,), (x,)), pull(value)
    assert alike(flat(found), expected)


@pytest.mark.parametrize("shape", [(), (3,), (1,), (2, 3), (2, 1, 2)])
def test_shapes_of_jacobians_and_hessians(recorded, shape):
    x = np.arange(1.0, 1.0 + math.prod(shape)).reshape(shape)

    def tall(x, lib):
        return lib.array([[x * 2.0, x * x], [x**3, x * x.ravel()[0] if shape else x]])

    def wide(x, lib):
        return lib.array([(x.ravel() ** 2).sum() if shape else x * x])

    expected = recorded(
        by_jax,
        lambda jax: (
            lambda x: (
                jax.jacrev(lambda x: tall(x, jax.numpy))(x),
                jax.jacrev(lambda x: wide(x, jax.numpy))(x),
                jax.hessian(lambda x: wide(x, jax.numpy)[0])(x),
            )
        ),
        x,
    )
    found = (
        mg.jacobian(lambda x: tall(x, np))(x),
        mg.jacobian(lambda x: wide(x, np))(x),
        mg.hessian(lambda x: wide(x, np)[0])(x),
    )
    assert all(x.dtype == float for x in found)
    assert alike(flat(found), expected)
    as_values = np.vectorize(Value, otypes=[object])(x) if shape else Value(float(x))
    found = (
        mg.jacobian(lambda x: tall(x, np))(as_values),
        mg.jacobian(lambda x: wide(x, np))(as_values),
        mg.hessian(lambda x: wide(x, np)[0])(as_values),
    )
    assert alike(flat(found), expected)


# ---- argnums


def product(x, y, z):
    return x**2 * y[0] ** 2 * z["a"] ** 2


@pytest.mark.parametrize(
    "argnums", [0, 1, 2, -1, -3, (0,), (2, 0), (0, 1, 2), (-1, 1), [0, 1], [2]], ids=str
)
def test_argnums_as_jax_has_them(recorded, argnums):
    args = 2.0, [3.0], {"a": 0.5}
    _, *expected = recorded(
        by_jax,
        lambda jax: (
            lambda *args: [
                f(product, argnums)(*args)
                for f in (jax.grad, jax.value_and_grad, jax.jacrev, jax.hessian)
            ]
        ),
        *args,
    )
    for transform, wanted in zip(TRANSFORMS, expected):
        assert alike(flat(transform(product, argnums)(*args)), wanted), transform.__name__
        values = Value(2.0), [3.0], {"a": 0.5}
        found = flat(transform(product, argnums=argnums)(*values))
        assert alike(found, wanted), transform.__name__


def test_an_argument_may_be_named_twice():
    for x in (2.0, Value(2.0)):
        assert flat(mg.grad(lambda x, y: x * y, (0, 0))(x, 3.0)) == flat((3.0, 3.0))
        assert flat(mg.jacobian(lambda x, y: [x * y], (1, -1))(x, 3.0)) == flat([(2.0, 2.0)])


@every_transform
def test_argnums_of_numpy_integers(transform):
    assert flat(transform(lambda x, y: x * y * y, np.int64(1))(2.0, 3.0)) == flat(
        transform(lambda x, y: x * y * y, 1)(2.0, 3.0)
    )


@every_transform
@pytest.mark.parametrize("argnums", [3, -4, (0, 3)])
def test_argnums_out_of_range(transform, argnums):
    with pytest.raises(ValueError, match=rf"argnums={re.escape(repr(argnums))}: there are 3 pos"):
        transform(product, argnums)(2.0, [3.0], {"a": 0.5})


@every_transform
@pytest.mark.parametrize("argnums", ["x", None, 1.0, (0, "x")], ids=repr)
def test_argnums_that_are_no_integers(transform, argnums):
    args = 2.0, [3.0], {"a": 0.5}
    transform(product, 1)(*args)  # 1.0 is no integer, though it is equal to one that was seen
    with pytest.raises(TypeError, match="argnums"):
        transform(product, argnums)(*args)


@every_transform
def test_what_is_not_differentiated_by_may_be_anything(transform):
    def function(x, n, flag, name, table, none):
        assert isinstance(n, int) and flag is True and name == "sine" and none is None
        return sum((x.sin() * table[k] for k in range(n)), 0.0)

    args = 0.5, 2, True, "sine", np.array([1, 2, 3]), None
    found = transform(function)(*args)
    found = found[1] if transform is mg.value_and_grad else found
    expected = -math.sin(0.5) if transform is mg.hessian else math.cos(0.5)
    assert found == pytest.approx(3 * expected)


@every_transform
@pytest.mark.parametrize(
    "argument, text",
    [
        (2, "int"),
        ([1.0, 2], r"\[float, int\]"),
        (np.array([1, 2]), r"int array\(2,\)"),
        ("text", "'text'"),
        (True, "True"),
        (None, "None"),
        ([], r"\[\]"),
        (np.array([True]), "bool array"),
        ({"a": {"b": 1}}, "int"),
    ],
    ids=repr,
)
def test_arguments_not_made_of_floats(transform, argument, text):
    for k, args in enumerate([(argument, 1.0), (1.0, argument)]):
        with pytest.raises(
            TypeError, match=rf"argument '{'xy'[k]}' must be made of floats.*{text}"
        ):
            transform(lambda x, y: 1.0, k)(*args)


def test_arguments_of_the_others_not_made_of_floats():
    for call in (
        lambda: mg.jvp(lambda x: x * 1.0, (2,), (1.0,)),
        lambda: mg.vjp(lambda x: x * 1.0, 2),
        lambda: mg.hvp(lambda x: x * 1.0, 2, 1.0),
    ):
        with pytest.raises(TypeError, match="argument 'x' must be made of floats.*int"):
            call()


@every_transform
def test_arguments_of_a_kind_that_no_function_takes(transform):
    for argument in (object(), 1j, {1.0}, np.array(["a"])):
        with pytest.raises(TypeError, match="argument 'x'"):
            transform(lambda x: x)(argument)


def test_empty_arrays_are_made_of_floats():
    """A model with nothing to fit has the empty gradient, as in JAX."""
    empty = np.zeros((0, 2))
    assert mg.grad(lambda x: mg.sum(x.ravel()))(empty).shape == (0, 2)
    assert mg.hessian(lambda x: mg.sum(x.ravel()))(empty).shape == (0, 2, 0, 2)
    assert mg.jacobian(lambda x: [1.0, mg.sum(x.ravel())])(empty)[0].shape == (0, 2)
    assert mg.hessian(lambda x: mg.sum(x), sparse=True)(np.zeros(0)).shape == (0, 0)
    assert mg.hvp(lambda x: mg.sum(x.ravel()), empty, empty).shape == (0, 2)
    by_both = mg.grad(lambda x, y: y * 2.0, argnums=(0, 1))(empty, 1.0)
    assert by_both[0].shape == (0, 2) and by_both[1] == 2


@pytest.mark.parametrize("result", [[], {}, (), None, "text", np.zeros(0)], ids=repr)
def test_results_without_numbers(result):
    for argument in (2.0, A, {"a": A}):
        found = mg.jacobian(lambda x: result)(argument)
        if isinstance(result, np.ndarray):
            if argument is A:
                assert found.shape == (0, 3)
        else:
            assert found == result
        assert flat(mg.jvp(lambda x: result, (argument,), (argument,))) == flat((result, result))
        assert mg.jacobian(lambda x: [], sparse=True)(argument).shape[0] == 0


def test_no_arguments_to_differentiate_by():
    assert mg.grad(lambda x: x, argnums=())(2.0) == ()
    assert mg.jacobian(lambda x: x, argnums=())(2.0) == ()
    assert mg.hessian(lambda x: x, argnums=())(2.0) == ()
    assert mg.jvp(lambda: 3.0, (), ()) == (3, 0)
    value, pull = mg.vjp(lambda: 3.0)
    assert (value, pull(1.0)) == (3, ())


# ---- aux, keywords


def test_aux():
    def function(x, y):
        return x[0] ** 2 * y, {"twice": x[1] * 2, "name": "aux", "shape": [y, 7.0]}

    aux = {"twice": 4.0, "name": "aux", "shape": [3.0, 7.0]}
    x = np.array([1.0, 2.0])
    assert flat(mg.grad(function, has_aux=True)(x, 3.0)) == flat((np.array([6.0, 0.0]), aux))
    found = mg.value_and_grad(function, has_aux=True)(x, 3.0)
    assert flat(found) == flat(((3.0, aux), np.array([6.0, 0.0])))
    found = mg.jacobian(function, has_aux=True)(x, 3.0)
    assert flat(found) == flat((np.array([6.0, 0.0]), aux))
    found = mg.hessian(function, has_aux=True)(x, 3.0)
    assert flat(found) == flat((np.array([[6.0, 0.0], [0.0, 0.0]]), aux))
    found = mg.jvp(function, (x, 3.0), (np.array([1.0, 1.0]), 0.0), has_aux=True)
    assert flat(found) == flat((3.0, 6.0, aux))
    value, pull, found = mg.vjp(function, x, 3.0, has_aux=True)
    assert flat((value, found)) == flat((3.0, aux))
    assert flat(pull(2.0)) == flat((np.array([12.0, 0.0]), 2.0))
    found = mg.grad(function, argnums=(1, 0), has_aux=True)(x, 3.0)
    assert flat(found) == flat(((1.0, np.array([6.0, 0.0])), aux))


def test_aux_of_a_result_that_is_a_structure():
    def function(x):
        return [x * x, {"a": x**3}], (x, "aux")

    assert flat(mg.jacobian(function, has_aux=True)(2.0)) == flat(
        ([4.0, {"a": 12.0}], (2.0, "aux"))
    )
    value, pull, aux = mg.vjp(function, 2.0, has_aux=True)
    assert flat((value, aux)) == flat(([4.0, {"a": 8.0}], (2.0, "aux")))
    assert flat(pull([1.0, {"a": 1.0}])) == flat((16.0,))


def test_aux_of_values_has_their_graph():
    x = Value(2.0)
    gradient, aux = mg.grad(lambda x: (x**3, [x**2]), has_aux=True)(x)
    (gradient + aux[0]).backward()
    assert x.grad == 12 + 4


def test_aux_composes():
    gradient, aux = mg.grad(
        lambda x: (mg.grad(lambda y: (y**3, y), has_aux=True)(x)[0], x), has_aux=True
    )(2.0)
    assert (gradient, aux) == (12, 2)


@every_transform
@pytest.mark.parametrize("result", [lambda x: x, lambda x: [x, x], lambda x: (x, x, x)])
def test_aux_that_is_not_there(transform, result):
    with pytest.raises(TypeError, match=r"has_aux=True wants .* a pair \(result, aux\), not"):
        transform(result, has_aux=True)(2.0)


@every_transform
def test_keyword_arguments(transform):
    def function(x, scale=1.0, *, power=2):
        return scale * x**power

    expected = {mg.value_and_grad: (24, 36), mg.hessian: 36}.get(transform, 36)
    assert transform(function)(2.0, scale=3.0, power=3) == expected
    assert transform(function)(2.0, power=3, scale=3.0) == expected
    assert transform(function)(2.0, 3.0, power=3) == expected
    simple = {mg.value_and_grad: (4, 4), mg.hessian: 2}.get(transform, 4)
    assert transform(function)(2.0) == simple
    with pytest.raises(TypeError, match="colour"):
        transform(function)(2.0, colour=3.0)
    with pytest.raises((TypeError, ValueError), match="argnums=0"):
        transform(function)(x=2.0)


def test_values_by_keyword():
    scale = Value(3.0)
    out = mg.grad(lambda x, scale: x**2 * scale)(2.0, scale=scale)
    out.backward()
    assert (out.data, scale.grad) == (12, 4)


# ---- errors of results and of what is handed in

NON_SCALAR = {
    r"\[float\]": lambda x: [x],
    r"array\(1,\)": lambda x: np.array([x]),
    r"\(float, float\)": lambda x: (x, x),
    r"\{'a': float\}": lambda x: {"a": x},
    "None": lambda x: None,
    "'text'": lambda x: "text",
}


@pytest.mark.parametrize("text", NON_SCALAR)
def test_results_that_are_not_one_number(text):
    function = NON_SCALAR[text]
    for call in (
        lambda x: mg.grad(function)(x),
        lambda x: mg.value_and_grad(function)(x),
        lambda x: mg.hessian(function)(x),
        lambda x: mg.hessian(function, sparse=True)(x),
        lambda x: mg.hvp(function, x, 1.0),
    ):
        with pytest.raises(TypeError, match=f"one number as its result, not {text}"):
            call(2.0)
    for call in (mg.grad, mg.hessian):
        with pytest.raises(TypeError, match=f"one number as its result, not {text}"):
            call(function)(Value(2.0))
        with pytest.raises(TypeError, match=f"one number as its result, not {text}"):
            mg.compile(call(function))(2.0)


def test_results_that_are_no_numbers():
    for transform in TRANSFORMS:
        with pytest.raises(TypeError, match="object"):
            transform(lambda x: object())(2.0)


STRUCTURES = [
    ([1.0, 2.0], [1.0]),
    ([1.0, 2.0], 1.0),
    ([1.0, 2.0], (1.0, 2.0)),
    ([1.0, 2.0], np.array([1.0, 2.0])),
    ({"a": 1.0}, {"b": 1.0}),
    ({"a": 1.0}, {"a": [1.0]}),
    (A, A[:2]),
    (A, A[:, None]),
    (M, M.ravel()),
    (1.0, "text"),
    (1.0, None),
    (1.0, np.ones(1)),
]


@pytest.mark.parametrize("like, given", STRUCTURES, ids=repr)
def test_structures_that_do_not_match(like, given):
    def function(x):
        return total(x)

    with pytest.raises(ValueError, match=r"tangents\[1\] must have the structure"):
        mg.jvp(lambda x, y: function(y), (1.0, like), (1.0, given))
    with pytest.raises(ValueError, match="v must have the structure"):
        mg.hvp(function, like, given)
    with pytest.raises(ValueError, match="head_gradient must have the structure"):
        mg.vjp(lambda x: x, like)[1](given)


def test_structures_that_match_though_made_otherwise():
    """Integers stand for floats, arrays of objects for arrays, any order of keys for another."""
    assert mg.jvp(lambda x: x**3, (2.0,), (1,)) == (8, 12)
    assert mg.hvp(lambda x: x**3, 2.0, np.int64(1)) == 12
    found = mg.hvp(lambda x: mg.sum(x**3), A, np.array([1, 0, 2]))
    assert found.tolist() == [6, 0, -6]
    found = mg.hvp(lambda x: mg.sum(x**3), A, np.array([1.0, 0, 2], object))
    assert [float(v) for v in found] == [6, 0, -6]
    found = mg.jvp(
        lambda x: x["a"] ** 2 * x["b"], ({"a": 1.0, "b": 2.0},), ({"b": 10.0, "a": 1.0},)
    )
    assert found == (2, 14)


@pytest.mark.parametrize(
    "primals, tangents",
    [(2.0, 1.0), ((2.0,), 1.0), (2.0, (1.0,)), (np.ones(1), (1.0,)), ({"x": 2.0}, (1.0,))],
    ids=repr,
)
def test_primals_and_tangents_that_are_no_sequences(primals, tangents):
    wrong = "primals" if not isinstance(primals, tuple) else "tangents"
    with pytest.raises(TypeError, match=f"{wrong} must be a tuple or list"):
        mg.jvp(lambda x: x, primals, tangents)


def test_primals_and_tangents_of_different_length():
    with pytest.raises(ValueError, match=r"tangents must be as many as primals \(2\), not 1"):
        mg.jvp(lambda x, y: x * y, (2.0, 3.0), (1.0,))
    assert mg.jvp(lambda x, y: x * y, [2.0, 3.0], (1.0, 0.0)) == (6, 3)


@every_transform
def test_what_is_no_function(transform):
    with pytest.raises(TypeError, match="function, not int"):
        transform(3)


def test_functions_of_any_kind():
    class Cube:
        def __init__(self, scale):
            self.scale = scale

        def __call__(self, x):
            return self.scale * x**3

        def method(self, x):
            return self.scale * x**3

        @classmethod
        def of_class(cls, x):
            return x**3

    class Slotted:
        __slots__ = ()

        def __call__(self, x):
            return x**3

    cube = Cube(1.0)
    functions = [
        cube,
        cube.method,
        Cube.of_class,
        Slotted(),
        functools.partial(lambda power, x: x**power, 3),
        mg.compile(lambda x: x**3),
        mg.compile(lambda x: x**3, optimize=False),
        mg.compile(lambda x: x**3).program(2.0),
    ]
    for function in functions:
        assert mg.grad(function)(2.0) == 12
        assert mg.hessian(function)(2.0) == 12
        assert mg.grad(mg.grad(function))(2.0) == 12
        assert mg.jvp(function, (2.0,), (1.0,)) == (8, 12)
        assert mg.grad(lambda x, f=function: mg.grad(f)(x) * x)(2.0) == 36
    assert mg.grad(Value.tanh)(0.5) == pytest.approx(1 - math.tanh(0.5) ** 2)
    assert mg.grad(np.sin)(0.5) == pytest.approx(math.cos(0.5))
    # two instances are two functions
    assert mg.grad(Cube(5.0).method)(2.0) == 60 and mg.grad(Cube(7.0))(2.0) == 84


def test_names_and_documentation_are_the_functions_own():
    def loss(x: float, *, scale: float = 1.0) -> float:
        """The loss."""
        return x * scale

    for transform in TRANSFORMS:
        wrapped = transform(loss)
        assert (wrapped.__name__, wrapped.__doc__) == ("loss", "The loss.")
        assert list(inspect.signature(wrapped).parameters) == ["x", "scale"]


def test_wrapped_functions_are_functions_of_their_own():
    """functools.wraps copies what a function carries: not the program of another function."""

    def cube(x):
        return x**3

    assert mg.grad(cube)(2.0) == 12

    @functools.wraps(cube)
    def scaled(x):
        return 10 * cube(x)

    assert mg.grad(scaled)(2.0) == 120
    assert mg.hessian(scaled)(2.0) == 120
    assert mg.grad(cube)(2.0) == 12
    assert mg.grad(mg.grad(scaled))(2.0) == 120


# ---- one trace


def counted(calls):
    def function(x, n=1):
        calls.append(n)
        return mg.sum(v**3 for v in x) * n

    return function


def test_a_function_is_traced_once_for_all_its_derivatives():
    calls = []
    function = counted(calls)
    x, v = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    for _ in range(3):
        mg.grad(function)(x)
        mg.value_and_grad(function)(2 * x)
        mg.jacobian(function)(x)
        mg.hessian(function)(x)
        mg.hessian(function, sparse=True)(x)
        mg.jacobian(function, sparse=True)(x)
        mg.jvp(function, (x,), (v,))
        mg.vjp(function, x)[1](1.0)
        mg.hvp(function, x, v)
    assert len(calls) == 1
    mg.grad(function)(np.ones(3))
    assert len(calls) == 2
    second = mg.grad(lambda x: mg.grad(function)(x)[0])
    second(x)
    assert len(calls) == 3
    second(2 * x)
    assert len(calls) == 3


def test_a_derivative_is_traced_once():
    calls = []
    gradient = mg.grad(counted(calls))
    second = mg.jacobian(gradient)
    for k in range(5):
        assert second(np.array([1.0 + k, 2.0])).tolist() == [[6 + 6 * k, 0], [0, 12]]
    assert len(calls) == 1


def test_compiled_functions_share_their_programs():
    calls = []
    function = mg.compile(counted(calls))
    x = np.array([1.0, 2.0])
    function(x)
    mg.grad(function)(x)
    mg.hessian(function)(x)
    assert len(calls) == 1 and len(function.programs) == 1


def test_integers_that_python_used_are_part_of_the_signature():
    calls = []
    gradient = mg.grad(counted(calls))
    for n in (2, 3, 2, 3):
        assert gradient(np.array([1.0]), n).tolist() == [3 * n]
    assert calls == [2, 3]


def test_other_structures_are_traced_anew():
    gradient = mg.grad(total)
    assert gradient(2.0) == 12
    assert gradient([2.0, 1.0]) == [12, 6]
    assert gradient({"a": 2.0}) == {"a": 12}
    assert gradient(np.array([2.0]))[0] == 32
    assert gradient(3.0) == 27


def test_functions_and_their_programs_are_let_go():
    def function(x):
        return x**2

    mg.grad(function)(2.0), mg.hessian(function)(2.0), mg.grad(mg.grad(function))(2.0)
    alive = weakref.ref(function)
    del function
    gc.collect()
    assert alive() is None


def test_functions_that_were_differentiated_pickle():
    mg.grad(total)(2.0)
    assert pickle.loads(pickle.dumps(total)) is total


# ---- nothing is left


def test_the_tape_and_gradients_stay_as_they_are():
    w = Value(3.0)
    (w * w).backward()

    def function(x):
        return mg.sum(w * v**3 for v in x)

    x, v = np.array([1.0, 2.0]), np.array([1.0, 0.0])

    def everything():
        mg.grad(function)(x), mg.value_and_grad(function)(x)
        mg.jacobian(function)(x), mg.hessian(function)(x)
        mg.jacobian(function, sparse=True)(x), mg.hessian(function, sparse=True)(x)
        mg.jvp(function, (x,), (v,)), mg.hvp(function, x, v), mg.vjp(function, x)[1](1.0)
        mg.grad(mg.grad(lambda s: function([s, s])))(2.0)

    everything()  # the traces are collected in time
    before = live_nodes(), tape.size(), w.grad
    for _ in range(3):
        everything()
    assert (live_nodes(), tape.size(), w.grad) == before
    assert not any(
        isinstance(r, Value) for r in (mg.grad(function)(x), *mg.jvp(function, (x,), (v,)))
    )


def test_derivatives_of_values_leave_their_graph_alone():
    x = Value(2.0)
    before = live_nodes()
    for _ in range(3):
        found = mg.hessian(lambda x: x**4)(x)
    assert live_nodes() > before and x.grad == 0
    del found
    assert live_nodes() == before


def test_results_are_the_callers_own():
    x = np.array([1.0, 2.0])
    makers = [
        lambda: mg.grad(lambda x: mg.sum(x**3))(x),
        lambda: mg.jacobian(lambda x: x**3)(x),
        lambda: mg.hessian(lambda x: mg.sum(x**3))(x),
        lambda: mg.hvp(lambda x: mg.sum(x**3), x, x),
        lambda: mg.vjp(lambda x: x * 1.0, x)[0],
    ]
    functions = [
        mg.grad(lambda x: mg.sum(x**3)),
        mg.jacobian(lambda x: x**3),
        mg.hessian(lambda x: mg.sum(x**3)),
    ]
    makers += [lambda f=f: f(x) for f in functions]
    for make in makers:
        first = make()
        expected = first.copy()
        first[...] = 99
        assert make().tolist() == expected.tolist() and x.tolist() == [1, 2]


def test_what_vjp_pulls_is_of_the_point_it_was_made_for():
    x = np.array([1.0, 2.0])
    _, pull = mg.vjp(lambda x: x**2, x)
    x[:] = 100
    assert pull(np.ones(2))[0].tolist() == [2, 4]
    assert pull(np.array([0.0, 10.0]))[0].tolist() == [0, 40]
    with pytest.raises(ValueError, match="head_gradient"):
        pull(1.0)
    assert pull(np.ones(2))[0].tolist() == [2, 4]


@pytest.mark.parametrize(
    "derivative",
    [
        mg.grad,
        mg.jacobian,
        mg.hessian,
        lambda f: lambda x: mg.jvp(f, (x,), (1.0,)),
        lambda f: lambda x: mg.hvp(f, x, 1.0),
        lambda f: mg.grad(mg.grad(f)),
    ],
    ids=["grad", "jacobian", "hessian", "jvp", "hvp", "grad of grad"],
)
def test_an_exception_within_the_function_leaves_everything_clean(derivative):
    fail = [True]

    def function(x):
        y = x**3
        if fail[0]:
            raise KeyError("mine")
        return y

    found = derivative(function)
    w = Value(1.0)
    before = live_nodes()
    for argument in (2.0, Value(2.0)):
        with pytest.raises(KeyError, match="mine"):
            found(argument)
        with pytest.raises(KeyError, match="mine"):
            mg.compile(lambda x: found(x))(argument)
        del argument
    assert live_nodes() == before
    assert w * 2 > 1 and w.data == 1  # no trace is on
    fail[0] = False
    assert np.ravel(found(2.0))[-1] == 12
    assert np.ravel([getattr(v, "data", v) for v in np.ravel(found(Value(2.0)))])[-1] == 12


# ---- what cannot be traced


def branching(x):
    y = x * 2
    if y > 0:  # the line
        return y
    return -y


LINE = r"test_derivatives_structures\.py, line {}, in branching: if y > 0:  # the line"


def line():
    source, first = inspect.getsourcelines(branching)
    at = next(k for k, text in enumerate(source) if "# the line" in text)
    return LINE.format(first + at)


def test_a_branch_names_its_line_in_every_derivative():
    calls = [
        lambda x: mg.grad(branching)(x),
        lambda x: mg.value_and_grad(branching)(x),
        lambda x: mg.jacobian(branching)(x),
        lambda x: mg.hessian(branching)(x),
        lambda x: mg.hessian(branching, sparse=True)(x),
        lambda x: mg.jvp(branching, (x,), (1.0,)),
        lambda x: mg.vjp(branching, x),
        lambda x: mg.hvp(branching, x, 1.0),
        lambda x: mg.grad(mg.grad(branching))(x),
        lambda x: mg.grad(lambda y: mg.grad(branching)(y) * y)(x),
        lambda x: mg.compile(lambda y: mg.hessian(branching)(y) * y)(x),
        lambda x: mg.compile(mg.grad(branching)).mean([x, x]),
    ]
    before = live_nodes()
    for call in calls:
        for argument in (2.0, Value(2.0)):
            with pytest.raises(TraceError, match=line()) as error:
                call(argument)
            assert "mg.where" in str(error.value)
            del error, argument
    assert live_nodes() == before
    assert Value(1.0) > 0


def test_an_outer_number_cannot_be_read_within_an_inner_function():
    for read in (lambda x: x.data, lambda x: float(x), lambda x: bool(x), lambda x: x > 0):

        def function(x):
            return mg.grad(lambda y: y * x * read(x))(1.0)  # noqa: B023

        with pytest.raises(TraceError, match="test_derivatives_structures.py"):
            mg.grad(function)(2.0)


def test_a_derivative_cannot_be_branched_on():
    def function(x):
        return x if mg.grad(lambda y: y**2)(x) > 0 else -x

    with pytest.raises(TraceError, match="in function: return x if"):
        mg.grad(function)(2.0)


def test_a_pull_that_outlives_its_trace_is_an_error():
    pulls = []

    def function(x):
        value, pull = mg.vjp(lambda y: y * y, x)
        pulls.append(pull)
        return value

    assert mg.grad(function)(2.0) == 4
    with pytest.raises(ValueError):
        pulls[0](1.0)


# ---- threads


def in_threads(*jobs):
    errors = []

    def run(job):
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def test_two_threads_share_a_derivative():
    def function(x):
        return mg.sum(v**3 for v in x)

    gradient, hessian = mg.grad(function), mg.hessian(function)
    start = threading.Barrier(2)

    def job(scale):
        start.wait(30)
        for k in range(200):
            n = 1 + k % 5  # five programs, that both threads want
            x = scale * np.arange(1.0, n + 1)
            assert gradient(x).tolist() == (3 * x * x).tolist()
            assert hessian(x).tolist() == np.diag(6 * x).tolist()
            found = mg.grad(function)([Value(v) for v in x])
            assert [v.data for v in found] == (3 * x * x).tolist()

    in_threads(lambda: job(1.0), lambda: job(-2.0))


def test_another_thread_differentiates_while_one_traces():
    """What one thread records while another traces is neither in the trace nor disturbed by it."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(x):
        inside.set()
        assert go_on.wait(30)
        return mg.grad(lambda y: y**3)(x)

    found = []
    v = Value(2.0)

    def other():
        assert inside.wait(30)
        recorded = v * v
        assert v > 0 and recorded.data == 4  # this thread does not trace
        go_on.set()
        out = mg.grad(lambda y: y**4)(v)
        out.backward()
        found.append((out.data, v.grad))

    in_threads(lambda: found.append(mg.grad(slow)(2.0)), other)
    assert sorted(found, key=str) == sorted([12.0, (32.0, 48.0)], key=str)


def test_one_function_with_and_without_aux():
    """The same program serves both, but not the same derivative of it."""

    def f(x):
        return x * 2.0, x * 3.0

    for _ in range(2):
        assert mg.jacobian(f)(1.0) == (2.0, 3.0)
        assert mg.jacobian(f, has_aux=True)(1.0) == (2.0, 3.0)
        assert mg.jacobian(f, sparse=True)(1.0).toarray().tolist() == [[2.0], [3.0]]
        found, aux = mg.jacobian(f, has_aux=True, sparse=True)(1.0)
        assert found.toarray().tolist() == [[2.0]] and aux == 3.0
        assert mg.vjp(f, 1.0)[1]((1.0, 10.0)) == (32.0,)
        assert mg.vjp(f, 1.0, has_aux=True)[1](1.0) == (2.0,)
        assert mg.jvp(f, (1.0,), (10.0,)) == ((2.0, 3.0), (20.0, 30.0))
        assert mg.jvp(f, (1.0,), (10.0,), has_aux=True) == (2.0, 20.0, 3.0)


def test_one_pull_of_numbers_and_of_values():
    result, pull = mg.vjp(lambda x: x * 2.0, np.array([1.0, 2.0]))
    cotangent = Value(3.0)
    (found,) = pull(np.array([cotangent, 4.0]))
    assert [v.data for v in found] == [6.0, 8.0]
    (found,) = pull(np.array([5.0, 6.0]))
    assert found.dtype == np.float64 and found.tolist() == [10.0, 12.0]
