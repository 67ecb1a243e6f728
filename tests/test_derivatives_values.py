"""Derivatives given Values: kept programs, called again as nodes of the tape; traced integers.

The references are closed forms, mpmath, and floats through the same derivative, which
test_derivatives.py and test_derivatives_structures.py compare with JAX, mpmath and complex steps.
"""

import collections
import copy
import inspect
import math
import pickle

import numpy as np
import pytest
from reference import live_nodes

import micrograd_c as mg
from micrograd_c import TraceError, Value

Pair = collections.namedtuple("Pair", "first second")

CALLS = range(3)  # the first derives, later ones find what was derived


def near(expected, rel=1e-12, abs=1e-13):
    return pytest.approx(expected, rel=rel, abs=abs)


def number(x):
    return x.data if isinstance(x, Value) else float(x)


numbers = np.vectorize(number, otypes=[float])


def values(x):
    """A structure with a Value for each float."""
    if isinstance(x, dict):
        return {key: values(v) for key, v in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return x._make(map(values, x))
    if isinstance(x, (list, tuple)):
        return type(x)(map(values, x))
    if isinstance(x, np.ndarray):
        return np.vectorize(Value, otypes=[object])(x)
    return Value(x) if isinstance(x, float) else x


def flat(x):
    """A structure as types, names, shapes and numbers, to compare by ==."""
    if isinstance(x, dict):
        return {key: flat(v) for key, v in x.items()}
    if isinstance(x, (list, tuple)):
        return (type(x).__name__, *map(flat, x))
    if x is None or isinstance(x, (str, bool)):
        return x
    if isinstance(x, np.ndarray):
        return x.shape, *map(near, numbers(x).ravel().tolist())
    return near(number(x))


def gradient_of(out, leaves):
    """The gradient of one Value, of leaves whose own are put back to 0."""
    out.backward()
    found = [v.grad for v in leaves]
    for v in leaves:
        v.grad = 0
    return found


# ---- programs are kept


def cubes(calls):
    def function(x, y):
        calls.append(x)
        return x**3 * y**2

    return function


def second_of(function):
    return lambda x, y: function(x, y)[1]


def a_third_of(function):
    return lambda x, y: function(x, y) * x / 3


def pulled(function, x, y):
    return mg.vjp(function, x, y)[1](1.0)[0]


EACH = {
    "grad": lambda f: mg.grad(f),
    "value_and_grad": lambda f: second_of(mg.value_and_grad(f)),
    "jacobian": lambda f: mg.jacobian(f),
    "grad of grad": lambda f: mg.grad(a_third_of(mg.grad(f))),
    "jvp": lambda f: lambda x, y: mg.jvp(f, (x, y), (1.0, 0.0))[1],
    "vjp": lambda f: lambda x, y: pulled(f, x, y),
}


@pytest.mark.parametrize("name", EACH)
def test_a_function_of_values_is_traced_once(name):
    """By x, x^3 y^2 gives 3 x^2 y^2; x/3 times that, 3 x^2 y^2 again."""
    calls = []
    derivative = EACH[name](cubes(calls))
    x, y = Value(2.0), Value(0.5)
    derivative(x, y)
    assert len(calls) == 1
    for data in (3.0, -1.0, 0.0):
        x.data = data
        out = derivative(x, y)
        assert out.data == near(3 * data**2 * 0.25)
        assert gradient_of(out, [x, y]) == [near(6 * data * 0.25), near(3 * data**2)]
    assert len(calls) == 1
    derivative(Value(1.0), 2.0), derivative(1.0, 2.0)
    assert len(calls) == 1


def test_hessians_and_their_products_with_values_are_traced_once():
    calls = []
    function = cubes(calls)
    hessian = mg.hessian(function)
    product = lambda x: mg.hvp(second, x, 1.0)  # noqa: E731

    def second(x):
        return function(x, 2.0)

    x = Value(2.0)
    for data in (2.0, 3.0, -1.0):
        x.data = data
        for out in (hessian(x, 2.0), product(x)):
            assert out.data == near(24 * data)
            assert gradient_of(out, [x]) == near([24.0])
    assert len(calls) == 2


def test_a_call_with_values_is_one_node_for_each_result():
    """As calls of compiled programs are: no operation of the derivative is on the tape."""

    def function(v):
        return v[0] ** 3 * v[1].sin() + mg.math.exp(v[0] * v[1])

    x = [Value(0.5), Value(2.0)]
    gradient, hessian = mg.grad(function), mg.hessian(function)
    before = live_nodes()
    first = gradient(x)
    assert live_nodes() - before == 2
    second = hessian(x)
    assert live_nodes() - before == 2 + 4
    for out, k in ((first[0], 0), (first[1], 1)):
        assert out._prev == set(x)
        assert gradient_of(out, x) == [near(second[k][j].data) for j in (0, 1)]


def test_what_is_derived_is_kept_with_the_program():
    gradient = mg.grad(lambda x: x**3)
    gradient(Value(2.0))
    (program,) = gradient.programs
    kept = dict(program.derived)
    assert kept
    for _ in CALLS:
        gradient(Value(3.0))
    assert gradient.programs == (program,) and dict(program.derived) == kept
    mg.value_and_grad(gradient.__wrapped__)(Value(2.0))
    assert gradient.programs == (program,)


# ---- numbers, structures, argnums, aux: those of floats


def total(x):
    """A number made of all numbers of a structure; with second derivatives."""
    if isinstance(x, dict):
        x = [x[key] for key in sorted(x)]
    if isinstance(x, (list, tuple)):
        return sum((total(v) * (k + 1) for k, v in enumerate(x) if v is not None), 0.0)
    if getattr(x, "ndim", 0) == 0:
        return x * x * x
    x = x.ravel()
    return (x**3 * np.arange(1.0, len(x) + 1)).sum() * x[0]


ARGUMENTS = {
    "number": 2.0,
    "array": np.array([1.0, 2.0, -0.5]),
    "matrix": np.array([[0.5, -1.0], [2.0, 3.0]]),
    "list": [1.0, 2.0],
    "tuple": (1.0, (2.0, 0.5)),
    "dict": {"b": 1.5, "a": np.array([[0.5]])},
    "namedtuple": Pair(2.0, np.array([1.0, 2.0])),
    "nested": {"w": [np.ones(2), {"x": (1.0,)}], "v": Pair(0.5, [3.0])},
    "with None": [2.0, None],
    "with nothing": {"w": 1.5, "none": [], "empty": ()},
    "of many": np.linspace(-1, 1, 20),
}
WAYS = {
    "grad": lambda x: mg.grad(total)(x),
    "value_and_grad": lambda x: mg.value_and_grad(total)(x),
    "hessian": lambda x: mg.hessian(total)(x),
    "jacobian": lambda x: mg.jacobian(lambda x: Pair(total(x), [x, {"a": np.array([total(x)])}]))(
        x
    ),
    "jvp": lambda x: mg.jvp(total, (x,), (x,)),
    "vjp": lambda x: mg.vjp(total, x)[1](2.0),
    "hvp": lambda x: mg.hvp(total, x, x),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("argument", ARGUMENTS.values(), ids=ARGUMENTS)
def test_structures_of_values(way, argument):
    expected = flat(way(argument))
    given = values(argument)
    for _ in CALLS:
        assert flat(way(given)) == expected


def test_jacobians_of_structures_kept_by_one_function():
    """Forward, backward and with argnums in any order, twice the same among them."""

    def function(x, y):
        return {"a": x[0] * y, "b": np.array([x[1] ** 2, x[0], y**3])}, x[0] * x[1] * y

    x, y = np.array([2.0, 3.0]), 0.5
    for argnums in (0, 1, -1, (0,), (1, 0), (0, 0, 1), ()):
        for transform, f in (
            (mg.jacobian, function),
            (mg.grad, lambda x, y: function(x, y)[1]),
            (mg.hessian, lambda x, y: function(x, y)[1]),
            (mg.value_and_grad, lambda x, y: function(x, y)[1]),
        ):
            derivative = transform(f, argnums)
            expected = flat(derivative(x, y))
            for _ in CALLS:
                assert flat(derivative(values(x), Value(y))) == expected
                assert flat(derivative(x, Value(y))) == expected
                assert flat(derivative(values(x), y)) == expected
                assert flat(derivative(x, y)) == expected


def test_aux_of_values_that_are_kept():
    def function(x, y):
        return x**3 * y, {"square": x * x, "name": "aux", "row": np.array([y, 7.0])}

    def pull(x, y):
        value, pull, aux = mg.vjp(function, x, y, has_aux=True)
        return value, pull(2.0), aux

    ways = [t(function, has_aux=True) for t in (mg.grad, mg.value_and_grad, mg.hessian)]
    ways += [mg.jacobian(lambda x, y: ([x * y, y], x), argnums=(1, 0), has_aux=True), pull]
    ways += [lambda x, y: mg.jvp(function, (x, y), (1.0, 2.0), has_aux=True)]
    for way in ways:
        expected = flat(way(2.0, 3.0))
        for _ in CALLS:
            assert flat(way(Value(2.0), Value(3.0))) == expected
    gradient = ways[0]
    for _ in CALLS:
        x = Value(2.0)
        found, aux = gradient(x, 3.0)
        (found + aux["square"]).backward()
        assert x.grad == 2 * 3 * 2 * 3 + 2 * 2


def test_second_derivatives_of_values_against_mpmath():
    mp = pytest.importorskip("mpmath").mp.clone()
    mp.dps = 50

    def function(x, lib):
        return lib.exp(lib.sin(x) * x) / (1 + x * x)

    derivatives = [
        mg.grad(lambda x: function(x, mg.math)),
        mg.grad(mg.grad(lambda x: function(x, mg.math))),
        mg.hessian(lambda x: function(x, mg.math)),
    ]
    for at in (0.4, -1.3, 0.4, 2.0):
        for derivative, order in zip(derivatives, (1, 2, 2)):
            x = Value(at)
            out = derivative(x)
            out.backward()
            exact = [mp.diff(lambda x: function(x, mp), mp.mpf(at), k) for k in (order, order + 1)]
            assert (out.data, x.grad) == (near(float(exact[0])), near(float(exact[1])))


def test_many_results_have_their_graph_too(nursery):
    """More of them than it pays to sweep back from one by one."""
    n = 40

    def function(x):
        return mg.sum(a**2 * b for a, b in zip(x, x[1:])) + mg.sum(x) ** 2

    x = [Value(float(k % 5) - 1.5) for k in range(n)]
    at = numbers(x)
    shifted, before = np.append(at[1:], 0), np.append(0, at[:-1])
    inner = np.append(np.ones(n - 1), 0)
    hessian = np.diag(2 * shifted * inner) + np.diag(2 * at[:-1], 1) + np.diag(2 * at[:-1], -1) + 2
    gradient = 2 * at * shifted * inner + before**2 + 2 * at.sum()
    derivative = mg.grad(function)
    for _ in CALLS:
        found = derivative(x)
        assert numbers(found) == near(gradient)
        out = mg.dot(found, found)
        assert gradient_of(out, x) == near((2 * hessian @ gradient).tolist())


def test_captured_values_are_read_at_each_call_and_get_gradients():
    w, b = Value(3.0), Value(1.0)
    square = w * w
    gradient = mg.grad(lambda x: square * x**3 + b * x)
    x = Value(2.0)
    for _ in CALLS:
        out = gradient(x)
        assert out.data == 9 * 12 + 1
        assert gradient_of(out, [w, b, x, square]) == [2 * 3 * 12, 1, 9 * 12, 12]
    b.data = 5.0
    assert gradient(x).data == 9 * 12 + 5


def test_an_argument_that_is_captured_too_and_one_given_twice():
    x = Value(3.0)
    gradient = mg.grad(lambda y: x * y * y)
    both = mg.grad(lambda a, b: a * b**2, argnums=(0, 1))
    for _ in CALLS:
        out = gradient(x)
        assert out.data == 2 * 9 and gradient_of(out, [x]) == [12]
        by_a, by_b = both(x, x)
        assert (by_a.data, by_b.data) == (9, 18) and gradient_of(by_a + by_b, [x]) == [18]


def test_derivatives_of_values_while_nothing_is_recorded():
    gradient, many = mg.grad(lambda x: x**3), mg.grad(lambda v: mg.sum(x**3 for x in v))
    x, v = Value(2.0), [Value(2.0) for _ in range(30)]
    for _ in CALLS:
        with mg.no_grad():
            for out in (gradient(x), many(v)[0]):
                assert isinstance(out, Value) and out.data == 12 and not out._prev
        assert gradient(x)._prev and many(v)[0]._prev


def test_results_that_do_not_depend_on_the_values():
    gradient = mg.grad(lambda x, y: 3.0 * x + y.detach())
    for _ in CALLS:
        out = gradient(Value(2.0), Value(1.0))
        assert isinstance(out, Value) and out.data == 3
        out.backward()


def test_what_vjp_pulls_of_values():
    x = Value(2.0)
    value, pull = mg.vjp(lambda x: x**3, x)
    for head in (1.0, 2.0, Value(3.0), 1.0):
        (found,) = pull(head)
        assert found.data == 12 * number(head)
        assert gradient_of(found, [x]) == [12 * number(head)]
    value, pull = mg.vjp(lambda x: x**3, 2.0)
    for _ in CALLS:
        assert pull(1.0) == (12,) and pull(Value(2.0))[0].data == 24
    # made before a trace, and used in it: the tangent of the trace goes through
    assert mg.grad(lambda t: pull(t)[0] * t)(3.0) == 2 * 12 * 3


def test_a_pull_made_before_a_trace_reads_captured_values_in_it():
    w = Value(3.0)
    _, pull = mg.vjp(lambda x: w * x**2, 2.0)
    compiled = mg.compile(lambda t: pull(1.0)[0] * t)
    assert compiled(1.0).data == 12
    w.data = 5.0
    out = compiled(1.0)
    assert out.data == 20 and gradient_of(out, [w]) == [4]


def test_indices_of_values_are_checked_at_each_call():
    gradient = mg.grad(lambda c, j: mg.take(list(c), j) * 2.0)
    c = [Value(1.0), Value(2.0)]
    for j in (0, 1, -1, 1):
        found = numbers(gradient(c, j)).tolist()
        assert found == [2.0 * (k == j % 2) for k in range(2)]
        with pytest.raises(IndexError, match="index 2 .* from 2 rows"):
            gradient(c, 2)
    assert len(gradient.programs) == 1


# ---- traced integers


def picked(c, j):
    return mg.take(list(c), j) ** 2 * c[0]


def picked_gradient(c, j):
    """Of c[j]^2 c[0]."""
    found = np.zeros(len(c))
    found[j] = 2 * c[j] * c[0]
    found[0] += c[j] ** 2
    return found


def picked_hessian(c, j):
    found = np.zeros((len(c), len(c)))
    found[j, j] += 2 * c[0]
    found[0, j] += 2 * c[j]
    found[j, 0] += 2 * c[j]
    return found


C = np.array([1.5, 2.0, -3.0])
INDICES = [0, 1, 2, -1, -2, -3]
UNIT = np.array([1.0, 0.5, 2.0])

BY_INTEGERS = {
    "grad, receives": (mg.grad(picked), picked_gradient),
    "grad, closes over": (lambda c, j: mg.grad(lambda c: picked(c, j))(c), picked_gradient),
    "grad, by keyword": (lambda c, j: mg.grad(picked)(c, j=j), picked_gradient),
    "grad, both": (lambda c, j: mg.grad(lambda c, k: picked(c, k) + picked(c, j))(c, j),
                   lambda c, j: 2 * picked_gradient(c, j)),
    "value_and_grad": (lambda c, j: mg.value_and_grad(picked)(c, j)[1], picked_gradient),
    "aux": (lambda c, j: mg.grad(lambda c, j: (picked(c, j), c[0]), has_aux=True)(c, j)[0],
            picked_gradient),
    "jacobian": (lambda c, j: mg.jacobian(lambda c: [picked(c, j)])(c)[0], picked_gradient),
    "jvp": (lambda c, j: mg.jvp(lambda c: picked(c, j), (c,), (UNIT,))[1],
            lambda c, j: picked_gradient(c, j) @ UNIT),
    "vjp": (lambda c, j: mg.vjp(lambda c: picked(c, j), c)[1](1.0)[0], picked_gradient),
    "hessian": (mg.hessian(picked), picked_hessian),
    "hessian, closes over": (lambda c, j: mg.hessian(lambda c: picked(c, j))(c), picked_hessian),
    "hvp": (lambda c, j: mg.hvp(lambda c: picked(c, j), c, UNIT),
            lambda c, j: picked_hessian(c, j) @ UNIT),
    "jacobian of grad": (mg.jacobian(mg.grad(picked)), picked_hessian),
    "grad of grad": (
        lambda c, j: mg.grad(lambda c: mg.dot(mg.grad(picked)(c, j), UNIT))(c),
        lambda c, j: picked_hessian(c, j) @ UNIT),
    "of a compiled function": (mg.grad(mg.compile(picked)), picked_gradient),
    "a linear function": (mg.grad(lambda c, j: mg.take(list(c), j) * 2.0),
                          lambda c, j: 2.0 * np.eye(3)[j]),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_INTEGERS)
def test_one_program_for_every_integer(name):
    """What an inner derivative closes over or receives stays an input of the program."""
    function, expected = BY_INTEGERS[name]
    compiled = mg.compile(function)
    for j in INDICES:
        assert numbers(compiled(C, j)) == near(expected(C, j)), j
        assert numbers(compiled(values(C), j)) == near(expected(C, j)), j
    assert [program.baked for program in compiled.programs] == [{}, {}]  # of numbers, of Values
    found = compiled.map(mg.shared(C), np.array(INDICES))
    assert found == near(np.array([expected(C, j) for j in INDICES]))
    for outside in (3, -4):
        with pytest.raises(IndexError, match=f"index {outside}.* from 3 rows"):
            compiled(C, outside)
        with pytest.raises(IndexError, match=f"index {outside}.* from 3 rows"):
            compiled.map(mg.shared(C), np.array([0, outside]))
    assert compiled.check(C, 1) < 1e-12
    assert len(compiled.programs) == 2


def test_values_are_followed_back_through_what_an_integer_picks():
    compiled = mg.compile(lambda c, j: mg.sum(mg.grad(picked)(c, j)))
    for j in INDICES:
        c = values(C)
        out = compiled(c, j)
        assert out.data == near(picked_gradient(C, j).sum())
        assert gradient_of(out, c) == near(picked_hessian(C, j).sum(0).tolist())


def test_arrays_and_structures_of_integers_within_inner_derivatives():
    def function(c, which):
        return mg.sum(mg.take(list(c), j) ** 2 for j in which["rows"]) * mg.take(
            list(c), which["one"]
        )

    def expected(c, rows, one):
        squares = sum(c[j] ** 2 for j in rows)
        found = np.zeros(3)
        found[one] = squares
        for j in rows:
            found[j] += 2 * c[j] * c[one]
        return found

    for make in (np.array, list, tuple):
        compiled = mg.compile(mg.grad(function))
        for rows, one in (([0, 2], 1), ([1, 1], -1), ([-1, 0], 0)):
            found = compiled(C, {"rows": make(rows), "one": one})
            assert numbers(found) == near(expected(C, rows, one))
        assert len(compiled.programs) == 1


def test_tables_of_rows_by_an_integer_of_an_inner_derivative():
    table = np.arange(1.0, 7.0).reshape(3, 2)

    def function(table, j):
        row = mg.take(table, j)
        return row[0] * row[1] ** 2

    compiled = mg.compile(mg.grad(function))
    for j in INDICES:
        a, b = table[j]
        expected = np.zeros((3, 2))
        expected[j] = b * b, 2 * a * b
        assert numbers(compiled(table, j)) == near(expected)
    assert len(compiled.programs) == 1


def test_integers_that_an_inner_function_uses_as_numbers_are_part_of_the_signature():
    """Of the outer program, too: it has as many as there are numbers; and names the line."""

    def inner(c, j):
        return c[j] ** 2 * c[0]  # the line

    for function in (mg.grad(inner), lambda c, j: mg.grad(lambda c: inner(c, j))(c)):
        compiled = mg.compile(function)
        for j in (0, 1, 2, 1, 0):
            assert numbers(compiled(C, j)) == near(picked_gradient(C, j))
        assert [program.baked for program in compiled.programs] == [{3: 0}, {3: 1}, {3: 2}]
        with pytest.raises(TraceError, match="in inner: return c.*# the line") as error:
            compiled.map(mg.shared(C), np.array([0, 1]))
        assert "mg.take" in str(error.value)


def test_integers_as_tangents_are_part_of_the_signature():
    compiled = mg.compile(lambda x, j: mg.jvp(lambda x: x**3, (x,), (j,))[1])
    for j in (1, 2, 1):
        assert compiled(2.0, j).data == 12 * j
    assert len(compiled.programs) == 2


def test_integers_of_a_program_that_is_differentiated_while_tracing():
    def inner(c, j, n):
        return mg.take(list(c), j) ** n

    c = C.tolist()
    program = mg.compile(inner).program(c, 0, 2)
    compiled = mg.compile(mg.grad(program))
    for j in INDICES:
        assert numbers(compiled(c, j, 2)) == near(2 * C[j] * np.eye(3)[j])
    assert len(compiled.programs) == 1 and list(compiled.programs[0].baked.values()) == [2]
    with pytest.raises(ValueError, match="traced for 2.* not 3"):
        compiled(c, 0, 3)


def test_saved_programs_of_inner_derivatives_check_their_indices(tmp_path):
    compiled = mg.compile(mg.grad(lambda c, j: mg.take(list(c), j) * 2.0))
    compiled.program(C, 0).save(tmp_path / "program.npz")
    loaded = mg.load(tmp_path / "program.npz")
    assert numbers(loaded(C, -1)).tolist() == [0, 0, 2]
    with pytest.raises(IndexError, match="index 3"):
        loaded(C, 3)


# ---- programs and clear()

KEEPING = [mg.grad, mg.value_and_grad, mg.jacobian, mg.hessian]
every_keeping = pytest.mark.parametrize("transform", KEEPING, ids=lambda f: f.__name__)


@every_keeping
def test_programs_and_clear(transform):
    calls = []
    function = cubes(calls)
    derivative = transform(function)
    assert derivative.programs == ()
    first = flat(derivative(2.0, 3.0)), flat(derivative(Value(2.0), 3.0))
    (program,) = derivative.programs
    assert isinstance(program, mg.Program) and program.inputs == 2
    derivative(np.float64(2.0), 3)  # another signature
    assert len(derivative.programs) == 2 and derivative.programs[0] is program
    assert transform(function).programs == derivative.programs  # all derivatives share them
    derivative.clear()
    assert derivative.programs == () and len(calls) == 2
    assert (flat(derivative(2.0, 3.0)), flat(derivative(Value(2.0), 3.0))) == first
    assert len(calls) == 3 and len(derivative.programs) == 1


def test_clear_lets_captured_numbers_be_read_anew():
    scale = [2.0]
    gradient = mg.grad(lambda x: x * float(scale[0]))
    assert gradient(1.0) == gradient(Value(1.0)).data == 2
    scale[0] = 5.0
    gradient.clear()
    assert gradient(1.0) == gradient(Value(1.0)).data == 5


@every_keeping
def test_programs_of_what_is_compiled(transform):
    compiled = mg.compile(lambda x: x**3)
    derivative = transform(compiled)
    derivative(2.0)
    assert derivative.programs == compiled.programs and len(compiled.programs) == 1
    program = compiled.programs[0]
    derivative.clear()
    assert compiled.programs == ()
    derivative = transform(program)
    found = flat(derivative(Value(2.0)))
    assert derivative.programs == (program,) and program.derived
    derivative.clear()
    assert derivative.programs == (program,) and not program.derived
    assert flat(derivative(Value(2.0))) == found


@every_keeping
def test_methods_and_builtins_keep_their_programs_with_the_derivative(transform):
    class Cube:
        def __init__(self):
            self.calls = 0

        def method(self, x):
            self.calls += 1
            return x**3

    cube = Cube()
    derivative = transform(cube.method)
    for x in (2.0, 3.0, Value(2.0), Value(3.0), Value(4.0)):
        derivative(x)
    assert cube.calls == 1 and len(derivative.programs) == 1
    derivative = transform(Value.tanh)
    for x in (0.5, 0.25, Value(0.5)):
        derivative(x)
    assert len(derivative.programs) == 1


@mg.grad
def slope(x, scale=2.0):
    """The slope of a cubic."""
    return scale * x**3


def cubic(x):
    return x**3


class Model:
    @mg.grad
    def of_numbers(self):
        return self[0] ** 2 * self[1]

    @staticmethod
    @mg.hessian
    def curvature(x):
        return x**3


def test_derivatives_pickle_and_copy():
    """By name where they have one; else with the function that they are of."""
    assert pickle.loads(pickle.dumps(slope)) is slope
    assert copy.deepcopy(slope) is slope
    for transform in KEEPING:
        derivative = transform(cubic, 0)
        for other in (pickle.loads(pickle.dumps(derivative)), copy.deepcopy(derivative)):
            assert other is not derivative and flat(other(2.0)) == flat(derivative(2.0))
    other = pickle.loads(pickle.dumps(mg.grad(mg.grad(cubic))))
    assert other(2.0) == 12
    other = pickle.loads(pickle.dumps(mg.jacobian(cubic, argnums=(0,), sparse=False)))
    assert other(2.0) == (12,)


def test_derivatives_are_like_functions():
    assert slope(2.0) == 24 and slope(2.0, scale=1.0) == 12
    assert slope.__doc__ == "The slope of a cubic." and slope.__name__ == "slope"
    assert str(inspect.signature(slope)) == "(x, scale=2.0)"
    assert repr(slope) == "<grad of slope>" and repr(mg.hessian(cubic)) == "<hessian of cubic>"
    assert Model.curvature(2.0) == 12
    pair = type("Pair", (list,), {"gradient": Model.__dict__["of_numbers"]})([2.0, 3.0])
    assert pair.gradient() == [12, 4]  # a method, whose argument is the instance
    assert hash(slope) == hash(slope) and {slope: 1}[slope] == 1
    assert mg.grad(slope)(2.0) == 24


def test_an_error_within_a_derivation_leaves_nothing_kept():
    derivative = mg.grad(lambda x: [x, x])
    for _ in CALLS:
        for x in (2.0, Value(2.0)):
            with pytest.raises(TypeError, match="one number as its result"):
                derivative(x)
    assert not derivative.programs[0].derived


def test_nothing_is_left_of_calls_with_values():
    w = Value(3.0)
    function = lambda x: w * x**3  # noqa: E731
    gradient, hessian = mg.grad(function), mg.hessian(function)

    def everything():
        x = Value(2.0)
        gradient(x), hessian(x), mg.hvp(function, x, x), mg.jvp(function, (x,), (x,))
        mg.vjp(function, x)[1](x)

    for _ in CALLS:
        everything()
    before = live_nodes()
    for _ in CALLS:
        everything()
    assert live_nodes() == before and w.grad == 0


def test_nan_and_infinities_flow_on():
    """As in compiled programs: nothing raises."""
    gradient = mg.grad(lambda x: mg.math.log(x) if not isinstance(x, float) else None)
    for _ in CALLS:
        assert gradient(Value(0.0)).data == math.inf
        assert math.isnan(gradient(Value(math.nan)).data)
