"""grad, value_and_grad, jacobian, hessian, hvp, jvp, vjp: their numbers, and how they compose.

The references are mpmath, complex steps, closed forms, and the eager tape's own backward.
"""

import cmath
import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import INF, OPERATIONS, call, in_mpmath

import micrograd_c as mg
from micrograd_c import Value
from micrograd_c._core import OPS


def near(expected, rel=1e-12, abs=1e-13):
    return pytest.approx(expected, rel=rel, abs=abs)


def nested(derivative, order, function):
    """The derivative of the derivative ... of a function, so many times."""
    return functools.reduce(lambda f, _: derivative(f), range(order), function)


def number(x):
    return x.data if isinstance(x, Value) else float(x)


numbers = np.vectorize(number, otypes=[float])


# ---- every operation of the op table, to third order

EVERYWHERE = [-2.0, -0.5, 0.3, 1.7, 4.0]
UNARY = [op.name for op in OPS if op.arity == 1]
BINARY = [op.name for op in OPS if op.arity == 2 and op.name != "powc"]


def points(name):
    """Those of the table, or so many that some are inside of bounds."""
    op = OPERATIONS[name]
    if op.points or name in BINARY:
        return op.points or [(1.5, -0.5), (-2.0, 0.25), (0.0, 3.0)]
    moved = [x for d in EVERYWHERE for x in (d, op.above + abs(d), op.below - abs(d))]
    return [x for x in moved if op.above < x < op.below]


@pytest.fixture
def mp():
    mp = pytest.importorskip("mpmath").mp.clone()
    mp.dps = 120
    return mp


def partial(mp, function, at, orders):
    """A mixed partial derivative by central differences, of steps below what floats resolve."""
    step = mp.mpf(10) ** -12
    terms = []
    for shifts in itertools.product(*(range(n + 1) for n in orders)):
        weight = math.prod((-1) ** k * math.comb(n, k) for k, n in zip(shifts, orders))
        moved = [mp.mpf(x) + (mp.mpf(n) / 2 - k) * step for x, k, n in zip(at, shifts, orders)]
        terms.append(weight * function(*moved))
    return float(mp.fsum(terms) / step ** sum(orders))


@pytest.mark.parametrize("name", UNARY)
def test_derivatives_of_unary_operations(mp, name):
    def function(x):
        return call(name, x)

    by_reverse = [nested(mg.grad, order, function) for order in (1, 2, 3)]
    forward = [
        nested(lambda f: lambda x: mg.jvp(f, (x,), (1.0,))[1], order, function)
        for order in (1, 2, 3)
    ]
    second = mg.hessian(function), lambda x: mg.hvp(function, x, 1.0)
    third = mg.hessian(mg.grad(function)), mg.grad(mg.hessian(function))
    for x in points(name):
        expected = [partial(mp, in_mpmath(mp, name), [x], [order]) for order in (1, 2, 3)]
        expected = [near(d, rel=2e-14, abs=1e-60) for d in expected]
        for order, d in enumerate(expected):
            assert by_reverse[order](x) == d
            assert forward[order](x) == d
        assert [f(x) for f in second] == [expected[1]] * 2
        assert [f(x) for f in third] == [expected[2]] * 2


@pytest.mark.parametrize("name", BINARY)
def test_derivatives_of_binary_operations(mp, name):
    def function(x, y):
        return call(name, x, y)

    for at in points(name):
        for order in (1, 2, 3):
            for ways in itertools.product((0, 1), repeat=order):
                orders = [ways.count(0), ways.count(1)]
                expected = partial(mp, in_mpmath(mp, name), at, orders)
                expected = near(expected, rel=1e-13, abs=1e-15)
                by_reverse = functools.reduce(mg.grad, ways, function)
                assert by_reverse(*at) == expected, (at, ways)
                mixed = functools.reduce(lambda f, k: mg.jacobian(f, k), ways[1:], function)
                assert mg.grad(mixed, ways[0])(*at) == expected, (at, ways)

                def forward(f, k):
                    return lambda x, y: mg.jvp(f, (x, y), (1.0 - k, float(k)))[1]

                assert functools.reduce(forward, ways, function)(*at) == expected, (at, ways)


@pytest.mark.parametrize("name", BINARY)
def test_hessians_of_binary_operations(mp, name):
    for at in points(name):
        found = mg.hessian(lambda v: call(name, v[0], v[1]))(np.array(at))
        expected = [
            [partial(mp, in_mpmath(mp, name), at, orders) for orders in row]
            for row in (([2, 0], [1, 1]), ([1, 1], [0, 2]))
        ]
        assert found == near(np.array(expected), rel=1e-13, abs=1e-15), at


@pytest.mark.parametrize("power", [0, 1, 2, 3, 7, -1, -2, 0.5, 1.5, -0.3, 2.0, 0.0])
def test_constant_exponents(mp, power):
    for x in (0.3, 2.0, 11.0, *([-1.7] if power == int(power) else [])):
        for order in range(1, 6):
            expected = math.prod(power - k for k in range(order)) * mp.mpf(x) ** (power - order)
            assert nested(mg.grad, order, lambda v: v**power)(x) == near(float(expected))


@pytest.mark.parametrize("power", [0, 1, 2, 3, 5, 0.0, 2.0])
def test_constant_exponents_at_0(power):
    for order in range(1, 6):
        expected = math.factorial(int(power)) if order == power else 0
        for derivative in (mg.grad, mg.jacobian):
            assert nested(derivative, order, lambda v: v**power)(0.0) == expected


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_variable_exponents_at_base_0(order):
    """x**2 with 2 an argument, by x: 0, 2, 0, 0."""
    for derivative in (mg.grad, mg.jacobian):
        assert nested(derivative, order, lambda x, y: x**y)(0.0, 2.0) == [0, 2, 0, 0][order - 1]


def test_powers_of_0_by_their_exponent():
    """x**y is 0 at x = 0 for all y > 0."""

    def power(x, y):
        return x**y

    for function in (
        mg.grad(power, 1),
        mg.grad(mg.grad(power, 1), 1),
        mg.jacobian(mg.jacobian(power, 1), 1),
        mg.grad(mg.grad(power, 1), 0),  # y x**(y - 1) log x + x**(y - 1)
        mg.grad(mg.grad(power, 0), 1),
        lambda x, y: mg.hessian(power, 1)(x, y),
        lambda x, y: mg.jvp(power, (x, y), (0.0, 1.0))[1],
    ):
        assert function(0.0, 3.0) == 0


def test_mixed_derivatives_of_powers_at_exponent_0():
    """By x and y: x**(y - 1) (1 + y log x)."""

    def power(x, y):
        return x**y

    for x in (2.0, 0.1, 7.0):
        assert mg.grad(mg.grad(power, 0), 1)(x, 0.0) == near(1 / x)
        assert mg.grad(mg.grad(power, 1), 0)(x, 0.0) == near(1 / x)
        found = mg.hessian(lambda v: v[0] ** v[1])(np.array([x, 0.0]))
        assert found == near(np.array([[0, 1 / x], [1 / x, math.log(x) ** 2]]))


def test_powers_near_0_are_not_those_of_0():
    """1e-200 squared is 0, but it is not 0 itself."""

    def power(x, y):
        return x**y

    x, y = 1e-200, 1e-3
    expected = x**y * math.log(x)
    assert mg.grad(power, 1)(x, y) == near(expected)
    assert mg.jvp(power, (x, y), (0.0, 1.0))[1] == near(expected)
    assert mg.jacobian(power, 1)(x, y) == near(expected)
    assert mg.grad(mg.grad(power, 1), 1)(x, y) == near(expected * math.log(x))
    x, y = 1e-300, 1e-200
    assert mg.jacobian(power)(x, y) == near(1e100)
    assert mg.jvp(power, (x, y), (1.0, 0.0))[1] == near(1e100)
    assert mg.grad(power)(x, y) == near(1e100)


@pytest.mark.parametrize("at", [(math.nan, 2.0), (2.0, math.nan), (math.nan, 0.5)])
def test_powers_of_nan_are_nan_by_any_mode(at):
    def power(x, y):
        return x**y

    for k in (0, 1):
        assert math.isnan(mg.grad(power, k)(*at))
        assert math.isnan(mg.jacobian(power, k)(*at))
        assert math.isnan(mg.jvp(power, at, (1.0 - k, float(k)))[1])


def test_hypot_at_0():
    """Its derivatives at 0, of which there are none, are 0, as the eager engine has it."""

    def function(x, y):
        return x.hypot(y)

    for j, k in itertools.product((0, 1), repeat=2):
        assert mg.grad(function, j)(0.0, 0.0) == 0
        assert mg.jacobian(function, j)(0.0, 0.0) == 0
        found = [
            mg.grad(mg.grad(function, j), k)(0.0, 0.0),
            mg.jacobian(mg.grad(function, j), k)(0.0, 0.0),
        ]
        assert found[0] == found[1] or all(map(math.isnan, found))


def test_ties_and_kinks_have_the_derivative_of_the_eager_engine():
    cases = [
        (lambda x: x.relu(), 0.0),
        (abs, 0.0),
        (lambda x: x.max(x * 2), 0.0),
        (lambda x: x.min(x * 2), 0.0),
        (lambda x: mg.max([x, 1.0]), 1.0),
        (lambda x: mg.min([x, 1.0]), 1.0),
        (lambda x: mg.where(x, x * 3, x * 5), 0.0),
        (lambda x: mg.where(x, x * 3, x * 5), -0.0),
        (lambda x: mg.max([x, math.inf]), math.inf),
        (lambda x: mg.max([x, math.inf]), 1.0),
    ]
    for function, at in cases:
        x = Value(at)
        function(x).backward()
        assert mg.grad(function)(at) == x.grad
        assert mg.jacobian(function)(at) == x.grad
        assert mg.jvp(function, (at,), (1.0,))[1] == x.grad
        assert mg.hessian(function)(at) == 0
        assert mg.grad(mg.grad(function))(at) == 0


def test_where_passes_nothing_through_what_was_not_chosen():
    """A derivative that is not finite on the other side is no part of the gradient."""

    def function(x):
        return mg.where(x - 1, x**3, x * x)

    for x, d1, d2, d3 in [(2.0, 12.0, 12.0, 6.0), (0.5, 1.0, 2.0, 0.0)]:
        assert [nested(mg.grad, k, function)(x) for k in (1, 2, 3)] == [d1, d2, d3]
        assert [nested(mg.jacobian, k, function)(x) for k in (1, 2, 3)] == [d1, d2, d3]
    # the test has no derivative of its own
    assert mg.grad(lambda x, y: mg.where(x, y, 2 * y))(1.0, 3.0) == 0


# ---- closed forms to order 5 and beyond


@pytest.mark.parametrize("derivative", [mg.grad, mg.jacobian], ids=["reverse", "forward"])
def test_high_orders_of_closed_forms(derivative):
    x = 0.7
    for order in range(1, 6):
        assert nested(derivative, order, mg.math.exp)(x) == near(math.exp(x))
        expected = math.sin(x + order * math.pi / 2)
        assert nested(derivative, order, mg.math.sin)(x) == near(expected)
        expected = math.perm(7, order) * x ** (7 - order)
        assert nested(derivative, order, lambda v: v**7)(x) == near(expected)
        assert nested(derivative, order, lambda v: v * v * v * v * v * v * v)(x) == near(expected)
        expected = (-1) ** (order - 1) * math.factorial(order - 1) / x**order
        assert nested(derivative, order, lambda v: v.log())(x) == near(expected)
    assert nested(derivative, 8, lambda v: v**7)(x) == 0


def test_order_8_of_a_composition(mp):
    def function(lib):
        return lambda x: lib.exp(lib.sin(x) * x)

    expected = mp.diff(function(mp), mp.mpf("0.4"), 8, h=mp.mpf(10) ** -5)
    found = nested(mg.grad, 8, function(mg.math))(0.4)
    assert found == near(float(expected), rel=1e-8)


# ---- Rosenbrock


def rosenbrock(x):
    return mg.sum(100 * (q - p**2) ** 2 + (1 - p) ** 2 for p, q in itertools.pairwise(x))


def rosenbrock_gradient(x):
    d = np.zeros_like(x)
    inner = x[1:] - x[:-1] ** 2
    d[:-1] = -400 * x[:-1] * inner - 2 * (1 - x[:-1])
    d[1:] += 200 * inner
    return d


def rosenbrock_hessian(x):
    main = np.zeros_like(x)
    main[:-1] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    main[1:] += 200
    return np.diag(main) + np.diag(-400 * x[:-1], 1) + np.diag(-400 * x[:-1], -1)


@pytest.mark.parametrize("n", [2, 3, 1000])
def test_rosenbrock(n):
    random = np.random.default_rng(n)
    x, v = random.normal(size=(2, n))
    gradient, hessian = rosenbrock_gradient(x), rosenbrock_hessian(x)
    assert mg.grad(rosenbrock)(x) == near(gradient)
    value, found = mg.value_and_grad(rosenbrock)(x)
    assert value == near(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))
    assert found == near(gradient)
    found = mg.hessian(rosenbrock)(x)
    assert found.shape == (n, n) and np.abs(found - found.T).max() <= 1e-12 * np.abs(found).max()
    assert np.allclose(found, hessian, rtol=1e-12, atol=1e-9)
    assert mg.hvp(rosenbrock, x, v) == near(hessian @ v, abs=1e-9)
    assert mg.jvp(rosenbrock, (x,), (v,))[1] == near(gradient @ v)
    assert mg.vjp(rosenbrock, x)[1](2.0)[0] == near(2 * gradient)
    assert mg.jacobian(rosenbrock)(x) == near(gradient)
    assert np.allclose(mg.jacobian(mg.grad(rosenbrock))(x), hessian, rtol=1e-12, atol=1e-9)


def test_rosenbrock_at_its_minimum():
    x = np.ones(2)
    assert mg.grad(rosenbrock)(x).tolist() == [0, 0]
    assert mg.hessian(rosenbrock)(x).tolist() == [[802, -400], [-400, 200]]


# ---- a chain of all operations, and a network, against complex steps and mpmath


def chain(x, lib, y=0.3):
    """Every analytic operation, each within where it is defined for x and y in (0, 1)."""
    u = lib.exp(x) + lib.log(1 + x) * lib.sqrt(x + y)
    u = lib.sin(u) + lib.cos(u * y) + lib.tan(u / 9)
    u = u + lib.asin(x / 2) - lib.acos(y / 3) + lib.atan(u)
    u = u * lib.sinh(x) / lib.cosh(u / 5) + lib.tanh(u)
    u = u - lib.asinh(u) + lib.acosh(2 + x * x) + lib.atanh(y / 2)
    return u**3 + (2 + x) ** (1 + y) - 1 / (3 + u * u)


def test_a_chain_of_operations_against_complex_steps():
    h = 1e-30

    def complex_step(function, x):
        return function(complex(x, h)).imag / h

    for x in (0.1, 0.5, 0.9):
        expected = complex_step(lambda x: chain(x, cmath), x)
        assert mg.grad(lambda x: chain(x, mg.math))(x) == near(expected)
        assert mg.jvp(lambda x: chain(x, mg.math), (x,), (1.0,))[1] == near(expected)


def test_a_chain_of_operations_to_third_order(mp):
    for x in (0.1, 0.5, 0.9):
        for order in (1, 2, 3):
            expected = partial(mp, lambda x, y: chain(x, mp, y), [x, 0.3], [order, 0])
            assert nested(mg.grad, order, lambda x: chain(x, mg.math))(x) == near(expected, 1e-11)
        found = mg.hessian(lambda v: chain(v[0], mg.math, v[1]))(np.array([x, 0.3]))
        for j, k in itertools.product((0, 1), repeat=2):
            orders = [(j == 0) + (k == 0), (j == 1) + (k == 1)]
            expected = partial(mp, lambda x, y: chain(x, mp, y), [x, 0.3], orders)
            assert found[j, k] == near(expected, 1e-11)
        assert abs(found[0, 1] - found[1, 0]) <= 1e-12 * abs(found[0, 1])


def network(parameters, x, lib, dot):
    w1, b1, w2, b2 = parameters
    hidden = [lib.tanh(dot(row, x) + b) for row, b in zip(w1, b1)]
    return [lib.tanh(dot(row, hidden) + b) for row, b in zip(w2, b2)]


def test_a_two_layer_network(mp):
    random = np.random.default_rng(0)
    shapes = [(3, 2), (3,), (2, 3), (2,)]
    parameters = [random.normal(size=shape) for shape in shapes]
    x, y = [0.5, -1.0], [0.2, -0.3]

    def loss(parameters, lib=mg.math, dot=mg.dot):
        out = network(parameters, x, lib, dot)
        return (out[0] - y[0]) ** 2 + (out[1] - y[1]) ** 2

    def plain_dot(p, q):
        return sum(u * v for u, v in zip(p, q))

    def unpacked(flat):
        parts = np.split(np.array(flat, object), np.cumsum([6, 3, 6]))
        return [part.reshape(shape) for part, shape in zip(parts, shapes)]

    flat = np.concatenate([p.ravel() for p in parameters])
    n = len(flat)

    def moved(*steps):
        point = [mp.mpf(v) for v in flat]
        for k, step in steps:
            point[k] += step
        return loss(unpacked(point), mp, plain_dot)

    h = mp.mpf(10) ** -15
    gradient = [float((moved((k, h)) - moved((k, -h))) / (2 * h)) for k in range(n)]
    found = mg.grad(loss)(parameters)
    assert [p.shape for p in found] == shapes
    assert np.concatenate([p.ravel() for p in found]) == near(gradient)

    hessian = mg.hessian(lambda flat: loss(unpacked(flat)))(flat)
    assert np.abs(hessian - hessian.T).max() <= 1e-12 * np.abs(hessian).max()
    for j, k in itertools.product(range(0, n, 3), range(n)):
        corners = [s * t * moved((j, s * h), (k, t * h)) for s in (1, -1) for t in (1, -1)]
        assert hessian[j, k] == near(float(sum(corners) / (4 * h * h)), rel=1e-10, abs=1e-12)

    blocks = mg.hessian(loss)(parameters)
    assert blocks[0][2].shape == (3, 2, 2, 3)
    rows = [
        np.concatenate([b.reshape(p.size, -1) for b in row], 1)
        for row, p in zip(blocks, parameters)
    ]
    assert np.allclose(np.concatenate(rows), hessian, rtol=1e-12, atol=1e-14)

    outputs = mg.jacobian(lambda p: network(p, x, mg.math, mg.dot))(parameters)
    assert outputs[1][0].shape == (3, 2)
    for k in range(2):
        one = mg.grad(lambda p, k=k: network(p, x, mg.math, mg.dot)[k])(parameters)
        for p, q in zip(outputs[k], one):
            assert p == near(q)


# ---- functions of several numbers: max, min, logsumexp, softmax, take, detach


def test_logsumexp_and_softmax():
    x = np.array([0.5, -1.0, 2.0, 0.0])
    p = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
    covariance = np.diag(p) - np.outer(p, p)
    assert mg.grad(lambda v: mg.logsumexp(v))(x) == near(p)
    assert mg.hessian(lambda v: mg.logsumexp(v))(x) == near(covariance)
    assert np.array(mg.jacobian(lambda v: mg.softmax(v))(x)) == near(covariance)
    far = x + 1000
    assert mg.hessian(lambda v: mg.logsumexp(v))(far) == near(covariance)
    # third order: of softmax i by j and k
    found = mg.jacobian(mg.hessian(lambda v: mg.logsumexp(v)))(x)
    e = np.eye(4)
    expected = [
        [
            [
                p[i] * ((e[i, j] - p[j]) * (e[i, k] - p[k]) - p[j] * (e[j, k] - p[k]))
                for k in range(4)
            ]
            for j in range(4)
        ]
        for i in range(4)
    ]
    assert found == near(np.array(expected))


def test_max_min_and_take():
    x = np.array([3.0, -1.0, 2.0])
    assert mg.grad(lambda v: mg.max(v) ** 2)(x).tolist() == [6, 0, 0]
    assert mg.grad(lambda v: mg.min(v) ** 3)(x).tolist() == [0, 3, 0]
    assert mg.hessian(lambda v: mg.max(v) * mg.min(v))(x).tolist() == [
        [0, 1, 0],
        [1, 0, 0],
        [0, 0, 0],
    ]


def test_taken_rows_follow_the_index_in_one_program():
    traces = []

    def function(rows, index, scale):
        traces.append(index)
        return mg.take(rows, index) ** 3 * scale

    gradient, hessian = mg.grad(function), mg.hessian(function)
    by_both = mg.grad(mg.grad(function), argnums=2)
    rows = np.array([1.0, 2.0, 3.0])
    for index in (0, 2, -1, -3, 1):
        unit = np.zeros(3)
        unit[index] = 1
        x = rows[index]
        assert gradient(rows, index, 2.0).tolist() == (6 * x**2 * unit).tolist()
        assert hessian(rows, index, 2.0).tolist() == (12 * x * np.diag(unit)).tolist()
        pushed = mg.jvp(lambda r, k=index: function(r, k, 2.0), (rows,), (unit,))[1]
        assert pushed == 6 * x**2
    assert len(traces) == 1 + 5
    with pytest.raises(IndexError, match="3"):
        hessian(rows, 3, 2.0)
    with pytest.raises(IndexError, match="-4"):
        gradient(rows, -4, 2.0)
    with pytest.raises(TypeError, match="one number"):
        by_both(rows, 0, 2.0)


def test_taken_rows_of_tables():
    table = np.arange(6.0).reshape(3, 2)

    def function(table, index):
        row = mg.take(table, index)
        return row[0] * row[1] ** 2

    expected = np.zeros((3, 2))
    expected[1] = [9, 12]
    assert mg.grad(function)(table, 1).tolist() == expected.tolist()
    found = mg.hessian(function)(table, -2)
    assert found.shape == (3, 2, 3, 2)
    assert found[1, :, 1].tolist() == [[0, 6], [6, 4]] and np.count_nonzero(found) == 3


def test_detached_numbers_have_no_derivative_of_any_order():
    def function(x):
        return x * x.detach() + (x * x).detach() * 5

    x = 3.0
    assert mg.grad(function)(x) == 3
    assert mg.grad(mg.grad(function))(x) == 0
    assert mg.jvp(function, (x,), (1.0,)) == (54, 3)
    assert mg.hessian(lambda x: x**2 * x.detach())(x) == 6
    assert mg.grad(lambda x: mg.grad(lambda y: y**2 * y.detach())(x))(x) == 12 - 6
    # a derivative that is detached is a number, too
    assert mg.grad(lambda x: x * as_value(mg.grad(lambda y: y**3)(x)).detach())(x) == 27
    found = mg.grad(function)(Value(x))
    assert number(found) == 3


def as_value(x):
    return x if isinstance(x, Value) else Value(x)


# ---- derivatives within functions


def test_perturbations_are_not_confused():
    """The inner derivative is by y alone, though its function contains x."""
    assert mg.grad(lambda x: x * mg.grad(lambda y: x + y)(1.0))(3.0) == 1
    assert mg.grad(lambda x: x * mg.grad(lambda y: x * y)(2.0))(3.0) == 6
    assert mg.grad(lambda x: x * mg.grad(lambda y: x * y)(x))(3.0) == 6
    assert mg.jvp(lambda x: x * mg.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (3.0,), (1.0,)) == (
        3,
        1,
    )
    assert mg.grad(lambda x: x * mg.jvp(lambda y: x * y * y, (x,), (1.0,))[1])(3.0) == 54
    inner = mg.grad(mg.grad(lambda x: x**2 * mg.grad(lambda y: x**2 * y**3)(2.0)))
    assert inner(3.0) == 12 * 12 * 9  # of 12 x^4, twice


def test_every_transform_within_every_other():
    """3 x^3 as an inner derivative of each kind, differentiated from outside."""
    inner = {
        "grad": lambda x: mg.grad(lambda y: x * y**3)(x),  # 3 x^3
        "value_and_grad": lambda x: mg.value_and_grad(lambda y: x * y**3)(x)[1],
        "jacobian": lambda x: mg.jacobian(lambda y: [x * y**3, y])(x)[0],
        "jvp": lambda x: mg.jvp(lambda y: x * y**3, (x,), (1.0,))[1],
        "vjp": lambda x: mg.vjp(lambda y: x * y**3, x)[1](1.0)[0],
        "hessian": lambda x: mg.hessian(lambda y: x * y**4 / 4)(x),  # 3 x y^2
        "hvp": lambda x: mg.hvp(lambda y: y**3 / 2, x, x * x),  # 3 y x^2
    }
    value, first, second = 24.0, 36.0, 36.0  # of 3 x^3 at 2
    x = 2.0
    for name, f in inner.items():
        assert mg.value_and_grad(f)(x) == (near(value), near(first)), name
        assert mg.grad(f)(x) == near(first), name
        assert mg.jacobian(f)(x) == near(first), name
        assert mg.jvp(f, (x,), (2.0,))[1] == near(2 * first), name
        assert mg.vjp(f, x)[1](2.0)[0] == near(2 * first), name
        assert mg.hessian(f)(x) == near(second), name
        assert mg.hvp(f, x, 2.0) == near(2 * second), name
        assert mg.grad(mg.grad(f))(x) == near(second), name
        compiled = mg.compile(f)
        assert number(compiled(x)) == near(value), name
        v = Value(x)
        compiled(v).backward()
        assert v.grad == near(first), name
        assert compiled.grad.map(np.array([x, 1.0])).tolist() == near([first, 9.0]), name
        v = Value(x)
        out = f(v)
        out.backward()
        assert (out.data, v.grad) == (near(value), near(first)), name


def test_a_penalty_on_a_gradient():
    """|grad f|^2 of f = x^2 y: 4 x^2 y^2 + x^4."""

    def penalty(v):
        return mg.sum(d**2 for d in mg.grad(lambda u: u[0] ** 2 * u[1])(v))

    x, y = 3.0, -2.0
    assert mg.grad(penalty)(np.array([x, y])) == near([8 * x * y**2 + 4 * x**3, 8 * x**2 * y])
    expected = [[8 * y**2 + 12 * x**2, 16 * x * y], [16 * x * y, 8 * x**2]]
    assert mg.hessian(penalty)(np.array([x, y])) == near(np.array(expected))
    assert mg.hessian(penalty)([x, y]) == [near(row) for row in expected]


def test_jacobians_of_jacobians():
    x = np.array([1.5, -0.5])

    def function(v):
        return np.array([v[0] ** 2 * v[1], v[0] * v[1] ** 3, v[1].sin()])

    first = mg.jacobian(function)(x)
    a, b = x
    assert first == near(np.array([[2 * a * b, a * a], [b**3, 3 * a * b * b], [0, math.cos(b)]]))
    second = mg.jacobian(mg.jacobian(function))(x)
    assert second.shape == (3, 2, 2)
    assert second[0] == near(np.array([[2 * b, 2 * a], [2 * a, 0]]))
    assert second[1] == near(np.array([[0, 3 * b * b], [3 * b * b, 6 * a * b]]))
    assert second[2] == near(np.array([[0, 0], [0, -math.sin(b)]]))
    assert mg.jacobian(mg.jacobian(mg.jacobian(function)))(x).shape == (3, 2, 2, 2)


def test_hessians_within_compiled_functions_and_over_samples():
    def newton(x, y):
        """One step towards where (x^2 - y)^2 is least."""
        f = lambda x: (x * x - y) ** 2  # noqa: E731
        return x - mg.grad(f)(x) / mg.hessian(f)(x)

    def expected(x, y):
        return x - 4 * x * (x * x - y) / (12 * x * x - 4 * y)

    step = mg.compile(newton)
    assert number(step(3.0, 2.0)) == near(expected(3.0, 2.0))
    xs, ys = np.linspace(2, 5, 37), np.linspace(1, 2, 37)
    assert step.map(xs, ys) == near(expected(xs, ys))
    assert number(step.mean(xs, ys)) == near(expected(xs, ys).mean())
    by_x = (expected(xs + 1e-20j, ys)).imag / 1e-20
    assert step.grad.map(xs, ys) == near(by_x)
    assert step.check(3.0, 2.0) < 1e-12
    assert len(step.programs) == 1


def test_means_of_derivatives_by_captured_parameters():
    w, b = Value(0.5), Value(-0.25)

    @mg.compile
    def loss(x):
        """Of a network that should be its own derivative."""
        net = lambda x: (w * x + b).tanh() * 2  # noqa: E731
        return (mg.grad(net)(x) - net(x)) ** 2

    xs = np.linspace(-1, 1, 11)

    def numpy_loss(w, b):
        t = np.tanh(w * xs + b)
        return np.mean((2 * w * (1 - t * t) - 2 * t) ** 2)

    for _ in range(3):
        w.grad = b.grad = 0
        out = loss.mean(xs)
        out.backward()
        h = 1e-30
        assert out.data == near(numpy_loss(w.data, b.data))
        assert w.grad == near(numpy_loss(w.data + h * 1j, b.data).imag / h)
        assert b.grad == near(numpy_loss(w.data, b.data + h * 1j).imag / h)
        w.data, b.data = w.data - 0.1 * w.grad, b.data - 0.1 * b.grad
    assert len(loss.programs) == 1


# ---- Values as arguments: results with a graph


def test_derivatives_of_values_are_values_with_a_graph():
    x = Value(2.0)
    first = mg.grad(lambda x: x**4)(x)
    assert isinstance(first, Value) and first.data == 32
    first.backward()
    assert x.grad == 48
    x.grad = 0
    second = mg.grad(mg.grad(lambda x: x**4))(x)
    second.backward()
    assert (second.data, x.grad) == (48, 48)
    x.grad = 0
    (x * mg.hessian(lambda x: x**4)(x) + x).backward()
    assert x.grad == near(12 * 4 + 2 * 24 * 2 + 1)


def test_values_and_floats_mixed():
    x, y = Value(2.0), 3.0
    by_x, by_y = mg.grad(lambda x, y: x**2 * y**2, argnums=(0, 1))(x, y)
    assert (by_x.data, by_y.data) == (36, 24)
    (by_x + by_y).backward()
    assert x.grad == 2 * 9 + 2 * 2 * 2 * 3
    found = mg.grad(lambda v: v[0] * v[1] ** 2)([x, 5.0])
    assert [number(v) for v in found] == [25, 20]
    found = mg.grad(lambda v: v[0] * v[1] ** 2)(np.array([x, 5.0], object))
    assert isinstance(found, np.ndarray) and numbers(found).tolist() == [25, 20]


def test_every_transform_of_values():
    def function(v):
        return v[0] ** 2 * v[1]

    def leaves():
        return np.array([Value(3.0), Value(4.0)])

    def gradient(out, of):
        for v in of:
            v.grad = 0
        out.backward()
        return [v.grad for v in of]

    x = leaves()
    value, found = mg.value_and_grad(function)(x)
    assert gradient(value, x) == [24, 9]
    assert gradient(found[0], x) == [8, 6] and gradient(found[1], x) == [6, 0]
    found = mg.hessian(function)(x)
    assert found.shape == (2, 2) and numbers(found).tolist() == [[8, 6], [6, 0]]
    assert gradient(found[0, 0], x) == [0, 2] and gradient(found[0, 1], x) == [2, 0]
    found = mg.jacobian(lambda v: [function(v), v[1] ** 3])(x)
    assert [numbers(row).tolist() for row in found] == [[24, 9], [0, 48]]
    assert gradient(found[1][1], x) == [0, 24]
    value, found = mg.jvp(function, (x,), (np.array([1.0, 2.0]),))
    assert found.data == 24 + 18 and gradient(found, x) == [8 + 12, 6]
    value, pull = mg.vjp(function, x)
    (found,) = pull(2.0)
    assert numbers(found).tolist() == [48, 18] and gradient(found[0], x) == [16, 12]
    found = mg.hvp(function, x, np.array([1.0, 2.0]))
    assert numbers(found).tolist() == [8 + 12, 6] and gradient(found[0], x) == [4, 2]


def test_tangents_and_cotangents_may_be_values():
    t = Value(2.0)
    value, found = mg.jvp(lambda x: x**3, (2.0,), (t,))
    found.backward()
    assert (number(value), found.data, t.grad) == (8, 24, 12)
    t.grad = 0
    (found,) = mg.vjp(lambda x: x**3, 2.0)[1](t)
    found.backward()
    assert (found.data, t.grad) == (24, 12)
    t.grad = 0
    found = mg.hvp(lambda x: x**3, 2.0, t)
    found.backward()
    assert (found.data, t.grad) == (24, 12)


def test_derivatives_of_values_are_values_whatever_the_function():
    """Also where they are constants, so that code that goes on with them need not ask."""
    x = Value(2.0)
    for function in (lambda x: 3 * x, lambda x: x, lambda x: x.detach(), lambda x: 5.0):
        found = mg.grad(function)(x)
        assert isinstance(found, Value)
        found.backward()
    for row in mg.hessian(lambda v: v[0] * v[1])([x, Value(1.0)]):
        assert all(isinstance(d, Value) for d in row)


def test_parameters_that_a_function_uses_without_receiving_them():
    w = Value(3.0)

    def function(x):
        return w * w * x**3

    gradient, x = mg.grad(function), Value(2.0)
    for data in (3.0, 5.0, -1.0):
        w.data = data
        w.grad = x.grad = 0
        assert gradient(2.0) == 12 * data**2
        assert mg.hessian(function)(2.0) == 12 * data**2
        assert mg.jvp(function, (2.0,), (1.0,)) == (8 * data**2, 12 * data**2)
        out = gradient(x)
        out.backward()
        assert (out.data, w.grad, x.grad) == (12 * data**2, 24 * data, 12 * data**2)
    assert mg.grad(lambda v: v * 1.0)(w) is not w


def test_parameters_may_be_intermediate_results():
    w = Value(3.0)
    square = w * w
    x = Value(2.0)
    mg.grad(lambda x: square * x**2)(x).backward()
    assert (w.grad, x.grad) == (24, 18)


def test_an_argument_that_is_also_captured():
    """Only what comes through the parameter is differentiated by."""
    x = Value(3.0)
    found = mg.grad(lambda y: x * y)(x)
    assert found.data == 3
    found.backward()
    assert x.grad == 1


def test_the_same_value_twice():
    x = Value(3.0)
    by_a, by_b = mg.grad(lambda a, b: a * b**2, argnums=(0, 1))(x, x)
    assert (by_a.data, by_b.data) == (9, 18)
    (by_a + by_b).backward()
    assert x.grad == 6 + 12


def test_long_recorded_graphs_survive_collecting(nursery):
    """Derivatives recorded on the tape, with a collect after every operation and without."""
    x = [Value(float(k % 7) - 3) for k in range(60)]
    gradient = mg.grad(rosenbrock)
    gradient(x)
    found = gradient(x)
    assert numbers(found) == near(rosenbrock_gradient(numbers(x)))
    mg.sum(d * d for d in found).backward()
    g, h = rosenbrock_gradient(numbers(x)), rosenbrock_hessian(numbers(x))
    assert [v.grad for v in x] == near(2 * h @ g)


# ---- random functions: against the eager tape

STEPS = [op for op in OPS if op.name != "powc"]


def tamed(name, x):
    """x, moved well inside of where the operation and its derivatives are bounded."""
    above, below, edges = OPERATIONS[name][2:5]
    if math.isfinite(above) and math.isfinite(below):
        return (above + below) / 2 + 0.45 * (below - above) * x.tanh()
    if above > -INF or INF in edges.values():
        return max(above, 0) + 1 + x * x
    return x if below == INF else min(below, 0) - 1 - x * x


@st.composite
def functions(draw):
    """A function of three numbers as steps over a growing list, and where each op is tame."""
    random = draw(st.randoms(use_true_random=True))
    steps = []
    for k in range(draw(st.integers(1, 15))):
        op = random.choice(STEPS)
        steps.append((op.name, [random.randrange(3 + k) for _ in range(op.arity)]))

    def function(x):
        pool = list(x)
        for name, which in steps:
            given = [pool[k] for k in which]
            given[0] = tamed(name, given[0])
            if name == "div":
                given[1] = given[1] * given[1] + 1
            if name in ("atan2", "hypot"):
                given[1] = abs(given[1]) + 1
            pool.append(call(name, *given).tanh() * 1.5)
        return mg.sum(v * (k + 1) for k, v in enumerate(pool[-4:]))

    return function


AT = [0.4, -0.7, 1.1]


@given(functions(), st.lists(st.integers(-3, 3), min_size=3, max_size=3))
def test_random_functions_against_backward(function, direction):
    leaves = [Value(v) for v in AT]
    out = function(leaves)
    out.backward()
    eager = np.array([v.grad for v in leaves])
    scale = 1e-9 * (1 + np.abs(eager).max())
    value, gradient = mg.value_and_grad(function)(np.array(AT))
    assert value == near(out.data) and np.abs(gradient - eager).max() <= scale
    u = np.array(direction, float)
    pushed = mg.jvp(function, (np.array(AT),), (u,))[1]
    assert abs(pushed - eager @ u) <= 10 * scale
    assert np.abs(mg.vjp(function, AT)[1](1.0)[0] - eager).max() <= scale
    for _ in range(2):  # what the first call derives, the second one finds
        recorded = mg.grad(function)(leaves)
        assert np.abs(numbers(recorded) - eager).max() <= scale
    # second derivatives: dense, as products, and by backward of the recorded gradient
    hessian = mg.hessian(function)(np.array(AT))
    scale = 1e-9 * (1 + np.abs(hessian).max())
    assert np.abs(hessian - hessian.T).max() <= scale
    assert np.abs(mg.hvp(function, np.array(AT), u) - hessian @ u).max() <= 10 * scale
    for v in leaves:
        v.grad = 0
    mg.dot(recorded, list(direction)).backward()
    assert np.abs([v.grad for v in leaves] - hessian @ u).max() <= 10 * scale
