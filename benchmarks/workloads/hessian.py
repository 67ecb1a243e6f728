"""The dense Hessian of the trigonometric function, number 26 of the collection by Moré, Garbow and
Hillstrom (1981): a sum of squares of residuals, each of which depends on all variables.
"""

import numpy as np

from benchmarks.registry import evaluation_step, workload


def trigonometric(x, cos=np.cos, sin=np.sin):
    """The same code for all engines, each with functions of its own; `x` is an array of theirs."""
    n = x.shape[0]
    c, s = cos(x), sin(x)
    residuals = n - c.sum() + np.arange(1, n + 1) * (1 - c) - s
    return (residuals**2).sum()


def point(variables):
    """Where the collection starts it."""
    return np.full(variables, 1 / variables)


def hessian_by_hand(variables):
    """2 (J'J + the sum of the residuals times their own Hessians, which are diagonal)."""
    x = point(variables)
    c, s, number = np.cos(x), np.sin(x), np.arange(1, variables + 1)
    residuals = variables - c.sum() + number * (1 - c) - s
    jacobian = s + np.diag(number * s - c)
    curvature = residuals.sum() * c + residuals * (number * c + s)
    return np.ravel(2 * (jacobian.T @ jacobian + np.diag(curvature)))


hessian = workload(
    "hessian",
    "Trigonometric function of 100 variables: dense Hessian",
    size=100,
    quick_size=5,
    unit="second",
    per="",
    expected=hessian_by_hand,
)


@hessian.on("micrograd_c.compile", note="hessian")
def _(variables):
    import micrograd_c as mg

    x = point(variables)
    function = mg.hessian(trigonometric)
    return evaluation_step(lambda: function(x), np.ravel)


@hessian.on("casadi", note="SX function, x a DM")
def _(variables):
    import casadi

    x = casadi.SX.sym("x", variables)
    number = casadi.DM(range(1, variables + 1))
    c, s = casadi.cos(x), casadi.sin(x)
    residuals = variables - casadi.sum1(c) + number * (1 - c) - s
    y = casadi.sumsqr(residuals)
    function = casadi.Function("hessian", [x], [casadi.hessian(y, x)[0]])
    x = casadi.DM(point(variables))
    return evaluation_step(lambda: function(x), lambda matrix: matrix.nonzeros())


@hessian.on("jax", note="jit of hessian, x a jax.Array")
def _(variables):
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(point(variables))
    function = jax.jit(jax.hessian(lambda x: trigonometric(x, jnp.cos, jnp.sin)))
    return evaluation_step(lambda: jax.block_until_ready(function(x)), np.ravel)
