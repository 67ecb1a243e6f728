"""One sample's loss and gradient by the parameters, for the network of the moons demo."""

import numpy as np

from benchmarks.registry import gradient_step, workload
from benchmarks.workloads.moons import (
    LAYERS,
    casadi_sample,
    hinge_by_hand,
    jax_hinge,
    join,
    own_network,
    split,
    start,
    two_moons,
)


def one_sample():
    """Parameters, a point and its label, as arrays and a float; the point is on the wrong side."""
    points, labels = two_moons(100)
    return start(LAYERS), points[1], float(labels[1])


def gradient_by_hand(_size):
    p, x, y = one_sample()
    loss, by = hinge_by_hand(p, x[None, :], np.array([y]))
    assert loss > 0  # else the gradient would be 0
    return [loss, *by]


sample = workload(
    "sample",
    "One sample's loss and gradient by 337 parameters: the moons network",
    size=1,
    quick_size=1,
    unit="second",
    per="",
    expected=gradient_by_hand,
)


def score(p, x):
    """The network in scalar code; p as numbers or Values, in micrograd's order."""
    matrices = split(p, LAYERS)
    for weights, biases in matrices:
        x = [sum((w * xi for w, xi in zip(row, x)), b) for row, b in zip(weights, biases)]  # noqa: B905
        x = x if weights is matrices[-1][0] else [xi.relu() for xi in x]
    return x[0]


@sample.on("micrograd_c", note="the user's own Neuron")
def _(_size):
    import micrograd_c as mg

    p, x, y = one_sample()
    model = own_network(mg.Value)(LAYERS[0], LAYERS[1:])
    parameters = model.parameters()
    mg.set_data(parameters, p)

    def value_and_gradient():
        loss = (1 + -y * model(x.tolist())).relu()
        model.zero_grad()
        loss.backward()
        return loss.data, mg.get_grad(parameters)

    return gradient_step(value_and_gradient)


@sample.on("micrograd_c.compile", note="value_and_grad")
def _(_size):
    import micrograd_c as mg

    p, x, y = one_sample()

    @mg.compile
    def hinge(p, x, y):
        return (1 - y * score(p, x)).relu()

    return gradient_step(lambda: hinge.value_and_grad(p, x, y))


@sample.on("casadi", note="SX function, parameters kept as a DM")
def _(_size):
    import casadi

    p, x, y = map(casadi.DM, one_sample())  # an array is turned into one at every call
    function = casadi_sample()
    return gradient_step(lambda: function(p, x, y), flat=lambda by: by.nonzeros())


@sample.on("jax", note="tensors, compiled once")
def _(_size):
    import jax
    import jax.numpy as jnp

    p, x, y = one_sample()
    matrices = jax.tree.map(jnp.asarray, split(p, LAYERS))
    function = jax.jit(jax.value_and_grad(jax_hinge))
    return gradient_step(lambda: jax.block_until_ready(function(matrices, x, y)), flat=join)
