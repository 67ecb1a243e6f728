"""Derivatives of Rosenbrock's function of many variables: gradient, sparse Hessian and hvp."""

import statistics
import time

import numpy as np

from benchmarks.registry import Measured, evaluation_step, workload

VARIABLES = 1000  # for the product of the Hessian with a vector
SECONDS = 0.3  # that the two measurements of it last together


def rosenbrock(x):
    """The same code for NumPy, JAX, and arrays of Values."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def casadi_rosenbrock(variables):
    """(x, its function), symbols of CasADi."""
    import casadi

    x = casadi.SX.sym("x", variables)
    return x, casadi.sum1(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def point(variables):
    return np.cos(np.arange(variables))


def direction(variables):
    return np.sin(np.arange(variables))


def gradient_by_hand(variables):
    x = point(variables)
    rise = x[1:] - x[:-1] ** 2
    by = np.zeros(variables)
    by[:-1] = -400 * x[:-1] * rise - 2 * (1 - x[:-1])
    by[1:] += 200 * rise
    return by


def bands_by_hand(variables):
    """The Hessian's diagonal and the one beside it."""
    x = point(variables)
    diagonal = np.zeros(variables)
    diagonal[:-1] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    diagonal[1:] += 200
    return diagonal, -400 * x[:-1]


def hessian_by_hand(variables):
    diagonal, beside = bands_by_hand(variables)
    return [3 * variables - 2, *diagonal, *beside, *beside]


def product_by_hand(variables):
    diagonal, beside = bands_by_hand(variables)
    v = direction(variables)
    product = diagonal * v
    product[:-1] += beside * v[1:]
    product[1:] += beside * v[:-1]
    return product


def bands(matrix):
    """The numbers of a SciPy matrix with three diagonals: how many they are, and themselves."""
    return [matrix.nnz, *matrix.diagonal(), *matrix.diagonal(1), *matrix.diagonal(-1)]


gradient = workload(
    "rosenbrock",
    "Rosenbrock's function of 1,000 variables: gradient",
    size=1000,
    quick_size=10,
    unit="second",
    per="",
    expected=gradient_by_hand,
)


@gradient.on("micrograd_c", note="recorded anew")
def _(variables):
    import micrograd_c as mg

    values = list(map(mg.Value, point(variables).tolist()))
    x = np.array(values)

    def evaluate():
        for value in values:
            value.grad = 0.0
        rosenbrock(x).backward()
        return mg.get_grad(values)

    return evaluation_step(evaluate, list)


@gradient.on("micrograd_c.compile", note="grad")
def _(variables):
    import micrograd_c as mg

    x = point(variables)
    function = mg.grad(rosenbrock)
    return evaluation_step(lambda: function(x), list)


@gradient.on("casadi", note="SX function, x a DM")
def _(variables):
    import casadi

    x, y = casadi_rosenbrock(variables)
    function = casadi.Function("gradient", [x], [casadi.gradient(y, x)])
    x = casadi.DM(point(variables))  # an array is turned into one at every call
    return evaluation_step(lambda: function(x), lambda by: by.nonzeros())


@gradient.on("jax", note="jit of grad, x a jax.Array")
def _(variables):
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(point(variables))
    function = jax.jit(jax.grad(rosenbrock))
    return evaluation_step(lambda: jax.block_until_ready(function(x)), list)


sparse_hessian = workload(
    "sparse_hessian",
    "Rosenbrock's function of 10^5 variables: sparse Hessian",
    size=10**5,
    quick_size=100,
    unit="second",
    per="variable",
    expected=hessian_by_hand,
)


@sparse_hessian.on("micrograd_c.compile", note="hessian(sparse=True)")
def _(variables):
    import micrograd_c as mg

    x = point(variables)
    function = mg.hessian(rosenbrock, sparse=True)
    return evaluation_step(lambda: function(x), bands)


@sparse_hessian.on("casadi", note="SX function")
def _(variables):
    import casadi

    x, y = casadi_rosenbrock(variables)
    function = casadi.Function("hessian", [x], [casadi.hessian(y, x)[0]])
    x = casadi.DM(point(variables))
    return evaluation_step(lambda: function(x), lambda hessian: bands(hessian.sparse()))


hvp = workload(
    "hvp",
    "Hessian of Rosenbrock's function of 1,000 variables times vector, to one evaluation",
    size=VARIABLES,
    quick_size=10,
    unit="ratio",
    per="",
    expected=product_by_hand,
)


def product_to_evaluation(product, evaluate):
    """The ratio of the medians of their times; both are called in turn."""
    evaluate()  # whatever is compiled at the first call
    result = product()
    products, evaluations = [], []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        started = time.perf_counter()
        evaluate()
        between = time.perf_counter()
        result = product()
        products.append(time.perf_counter() - between)
        evaluations.append(between - started)
    ratio = statistics.median(products) / statistics.median(evaluations)
    return Measured(ratio, [float(number) for number in result])


@hvp.on("micrograd_c.compile")
def _(variables):
    import micrograd_c as mg

    x, v = point(variables), direction(variables)
    function = mg.compile(rosenbrock)
    return product_to_evaluation(lambda: mg.hvp(rosenbrock, x, v), lambda: function(x))


@hvp.on("casadi", note="SX functions")
def _(variables):
    import casadi

    x, y = casadi_rosenbrock(variables)
    v = casadi.SX.sym("v", variables)
    function = casadi.Function("rosenbrock", [x], [y])
    product = casadi.jtimes(casadi.gradient(y, x), x, v)
    times = casadi.Function("hvp", [x, v], [product])
    x, v = map(casadi.DM, (point(variables), direction(variables)))
    return product_to_evaluation(lambda: times(x, v).nonzeros(), lambda: function(x))


@hvp.on("jax", note="jit of jvp of grad")
def _(variables):
    import jax
    import jax.numpy as jnp

    @jax.jit
    def times(x, v):
        return jax.jvp(jax.grad(rosenbrock), (x,), (v,))[1]

    x, v = map(jnp.asarray, (point(variables), direction(variables)))
    function = jax.jit(rosenbrock)
    return product_to_evaluation(
        lambda: jax.block_until_ready(times(x, v)), lambda: jax.block_until_ready(function(x))
    )
