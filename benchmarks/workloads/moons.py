"""micrograd's demo: one step of full-batch training of an MLP 2-16-16-1 on two moons."""

import ctypes
import random
from itertools import pairwise

import numpy as np

from benchmarks.native import build
from benchmarks.registry import Step, workload

LAYERS = [2, 16, 16, 1]
ALPHA = 1e-4  # of the L2 regularisation
LEARNING_RATE = 0.1


def two_moons(samples):
    """Points (samples, 2) and labels -1 or 1, on two half circles with some noise."""
    outer = np.linspace(0, np.pi, samples // 2)
    inner = np.linspace(0, np.pi, samples - samples // 2)
    x = np.concatenate([np.cos(outer), 1 - np.cos(inner)])
    y = np.concatenate([np.sin(outer), 0.5 - np.sin(inner)])
    points = np.column_stack([x, y])
    points += np.random.default_rng(1337).normal(scale=0.1, size=points.shape)
    return points, np.repeat([-1.0, 1.0], [len(outer), len(inner)])


def start(layers):
    """The parameters to begin with, in micrograd's order: each neuron's weights, then its bias."""
    draw = random.Random(1337).uniform
    numbers = []
    for inputs, outputs in pairwise(layers):
        for _ in range(outputs):
            numbers += [draw(-1, 1) for _ in range(inputs)] + [0.0]
    return np.array(numbers)


def split(parameters, layers):
    """[(weights (outputs, inputs), biases (outputs,))] of the parameters in micrograd's order."""
    matrices, done = [], 0
    for inputs, outputs in pairwise(layers):
        size = outputs * (inputs + 1)
        matrix = parameters[done : done + size].reshape(outputs, inputs + 1)
        matrices.append((matrix[:, :-1], matrix[:, -1]))
        done += size
    return matrices


def join(matrices):
    """The inverse of `split`."""
    rows = [np.column_stack([weights, biases]) for weights, biases in matrices]
    return np.concatenate([matrix.ravel() for matrix in rows])


def step_by_hand(samples):
    """The loss of the first step and the parameters after it."""
    parameters = start(LAYERS)
    hinge, by = hinge_by_hand(parameters, *two_moons(samples))
    loss = hinge + ALPHA * (parameters**2).sum()
    return [loss, *(parameters - LEARNING_RATE * (by + 2 * ALPHA * parameters))]


def hinge_by_hand(parameters, points, labels):
    """The mean hinge loss, and its gradient derived by hand."""
    matrices = split(parameters, LAYERS)
    inputs = [points]
    for k, (weights, biases) in enumerate(matrices):
        out = inputs[-1] @ weights.T + biases
        inputs.append(np.maximum(out, 0) if k < len(matrices) - 1 else out)
    margins = 1 - labels * inputs.pop()[:, 0]

    by_out = np.where(margins > 0, -labels / len(labels), 0)[:, None]
    gradient = []
    for weights, _ in reversed(matrices):
        values = inputs.pop()
        gradient.insert(0, (by_out.T @ values, by_out.sum(axis=0)))
        by_out = by_out @ weights * (values > 0)
    return np.maximum(margins, 0).mean(), join(gradient)


moons = workload(
    "moons",
    "Moons step: micrograd's demo, 100 samples, MLP 2-16-16-1",
    size=100,
    quick_size=10,
    unit="second",
    per="",
    expected=step_by_hand,
)


def own_network(Value):
    """micrograd's nn.py as a user has it in a script of their own, on the given Value."""

    class Neuron:
        def __init__(self, nin, nonlin=True):
            self.w = [Value(random.uniform(-1, 1)) for _ in range(nin)]
            self.b = Value(0)
            self.nonlin = nonlin

        def __call__(self, x):
            act = sum((wi * xi for wi, xi in zip(self.w, x)), self.b)  # noqa: B905
            return act.relu() if self.nonlin else act

        def parameters(self):
            return self.w + [self.b]

    class Layer:
        def __init__(self, nin, nout, **kwargs):
            self.neurons = [Neuron(nin, **kwargs) for _ in range(nout)]

        def __call__(self, x):
            out = [n(x) for n in self.neurons]
            return out[0] if len(out) == 1 else out

        def parameters(self):
            return [p for n in self.neurons for p in n.parameters()]

    class MLP:
        def __init__(self, nin, nouts):
            sz = [nin] + nouts
            self.layers = [
                Layer(sz[i], sz[i + 1], nonlin=i != len(nouts) - 1) for i in range(len(nouts))
            ]

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

        def zero_grad(self):
            for p in self.parameters():
                p.grad = 0

        def parameters(self):
            return [p for layer in self.layers for p in layer.parameters()]

    return MLP


def value_step(Value, MLP, samples, layers=LAYERS):
    """The demo's training loop on micrograd's API."""
    points, labels = two_moons(samples)
    points, labels = points.tolist(), labels.tolist()
    model = MLP(layers[0], layers[1:])
    for p, number in zip(model.parameters(), start(layers), strict=True):
        p.data = float(number)
    loss = None

    def step():
        nonlocal loss
        inputs = [list(map(Value, point)) for point in points]
        scores = list(map(model, inputs))
        losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(labels, scores)]  # noqa: B905
        data_loss = sum(losses) * (1.0 / len(losses))
        reg_loss = ALPHA * sum(p * p for p in model.parameters())
        loss = data_loss + reg_loss
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= LEARNING_RATE * p.grad

    return Step(step, lambda: [loss.data, *(p.data for p in model.parameters())])


@moons.on("micrograd_c", note="the user's own Neuron")
def _(samples):
    from micrograd_c import Value

    return value_step(Value, own_network(Value), samples)


@moons.on("micrograd_c.nn")
def _(samples):
    from micrograd_c import Value
    from micrograd_c.nn import MLP

    return value_step(Value, MLP, samples)


@moons.on("micrograd_c.compile", note="the user's own Neuron")
def _(samples):
    import micrograd_c as mg

    points, labels = two_moons(samples)
    model = own_network(mg.Value)(LAYERS[0], LAYERS[1:])
    parameters = model.parameters()
    mg.set_data(parameters, start(LAYERS))
    optimizer = mg.optim.SGD(parameters, lr=LEARNING_RATE)
    loss = None

    @mg.compile
    def sample_loss(x, y):
        return (1 + -y * model(x)).relu() + ALPHA * sum(p * p for p in parameters)

    def step():
        nonlocal loss
        loss = sample_loss.mean(points, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Step(step, lambda: [loss.data, *mg.get_data(parameters)])


@moons.on("c", note="gradients by hand, moons.c")
def _(samples):
    points, labels = two_moons(samples)
    columns = np.ascontiguousarray(points.T)
    size = start(LAYERS).size

    class Training(ctypes.Structure):
        _fields_ = [
            ("network", ctypes.c_double * size),
            ("points", ctypes.c_void_p * len(columns)),
            ("labels", ctypes.c_void_p),
            ("samples", ctypes.c_long),
            ("alpha", ctypes.c_double),
            ("learning_rate", ctypes.c_double),
        ]

    training = Training(
        tuple(start(LAYERS)),
        tuple(column.ctypes.data for column in columns),
        labels.ctypes.data,
        samples,
        ALPHA,
        LEARNING_RATE,
    )
    training.arrays = columns, labels  # which pointers do not keep alive
    train_step = build("moons.c").train_step
    train_step.restype = ctypes.c_double
    here = ctypes.byref(training)
    loss = None

    def step():
        nonlocal loss
        loss = train_step(here)

    return Step(step, lambda: [loss, *training.network])


@moons.on("micrograd", note="the user's own Neuron")
def _(samples):
    from micrograd.engine import Value

    return value_step(Value, own_network(Value), samples)


@moons.on("xad", note="the user's own Neuron")
def _(samples):
    import xad.math
    from xad.adj_1st import Real, Tape

    def neuron(row, x, nonlin):
        act = sum((wi * xi for wi, xi in zip(row, x)), row[-1])  # noqa: B905
        return xad.math.max(act, 0.0) if nonlin else act

    points, labels = two_moons(samples)
    points, labels = points.tolist(), labels.tolist()
    numbers = start(LAYERS).tolist()
    tape = Tape()
    tape.activate()
    loss = None

    def layers(parameters):
        """Each layer's rows: the weights of a neuron and its bias."""
        parameters = iter(parameters)
        return [
            [[next(parameters) for _ in range(inputs + 1)] for _ in range(outputs)]
            for inputs, outputs in pairwise(LAYERS)
        ]

    def score(model, x):
        for layer in model:
            x = [neuron(row, x, layer is not model[-1]) for row in layer]
        return x[0]

    def step():
        nonlocal loss, numbers
        parameters = [Real(number) for number in numbers]  # the value of a Real cannot be assigned
        tape.registerInputs(parameters)
        tape.newRecording()
        model = layers(parameters)
        scores = [score(model, point) for point in points]
        losses = [xad.math.max(1 + -yi * scorei, 0.0) for yi, scorei in zip(labels, scores)]  # noqa: B905
        loss = sum(losses) * (1.0 / len(losses)) + ALPHA * sum(p * p for p in parameters)
        tape.registerOutput(loss)
        loss.derivative = 1.0
        tape.computeAdjoints()
        numbers = [p.value - LEARNING_RATE * p.derivative for p in parameters]

    return Step(step, lambda: [loss.value, *numbers])


@moons.on("torch", note="tensors")
def _(samples):
    import torch

    points, labels = map(torch.from_numpy, two_moons(samples))
    linear = [torch.nn.Linear(i, o, dtype=torch.float64) for i, o in pairwise(LAYERS)]
    model = torch.nn.Sequential(linear[0], torch.nn.ReLU(), linear[1], torch.nn.ReLU(), linear[2])
    with torch.no_grad():
        for layer, (weights, biases) in zip(linear, split(start(LAYERS), LAYERS), strict=True):
            layer.weight.copy_(torch.from_numpy(weights))
            layer.bias.copy_(torch.from_numpy(biases))
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss = None

    def step():
        nonlocal loss
        scores = model(points)[:, 0]
        loss = torch.relu(1 - labels * scores).mean()
        loss = loss + ALPHA * sum((p * p).sum() for p in model.parameters())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def result():
        matrices = [(layer.weight.detach(), layer.bias.detach()) for layer in linear]
        return [loss.item(), *join(matrices)]

    return Step(step, result)


def jax_hinge(matrices, points, labels):
    """The mean hinge loss on JAX's tensors."""
    import jax

    x = points
    for weights, biases in matrices[:-1]:
        x = jax.nn.relu(x @ weights.T + biases)
    weights, biases = matrices[-1]
    scores = (x @ weights.T + biases)[..., 0]
    return jax.nn.relu(1 - labels * scores).mean()


@moons.on("jax", note="tensors, compiled once")
def _(samples):
    import jax
    import jax.numpy as jnp

    points, labels = map(jnp.asarray, two_moons(samples))

    def loss_of(matrices):
        squares = sum((p * p).sum() for p in jax.tree.leaves(matrices))
        return jax_hinge(matrices, points, labels) + ALPHA * squares

    @jax.jit
    def update(matrices):
        loss, by = jax.value_and_grad(loss_of)(matrices)
        return loss, jax.tree.map(lambda p, g: p - LEARNING_RATE * g, matrices, by)

    matrices = jax.tree.map(jnp.asarray, split(start(LAYERS), LAYERS))
    update(matrices)  # compiles
    loss = None

    def step():
        nonlocal loss, matrices
        loss, matrices = jax.block_until_ready(update(matrices))

    return Step(step, lambda: [float(loss), *join(matrices)])


def casadi_sample():
    """CasADi's function of parameters, point and label: one sample's hinge loss and gradient."""
    import casadi

    size = start(LAYERS).size
    p, point, label = casadi.SX.sym("p", size), casadi.SX.sym("x", 2), casadi.SX.sym("y")
    out, done = point, 0
    for k, (inputs, outputs) in enumerate(pairwise(LAYERS)):
        size = outputs * (inputs + 1)
        matrix = casadi.reshape(p[done : done + size], inputs + 1, outputs).T
        out = matrix[:, :-1] @ out + matrix[:, -1]
        out = casadi.fmax(out, 0) if k < len(LAYERS) - 2 else out
        done += size
    hinge = casadi.fmax(1 - label * out, 0)
    return casadi.Function("sample", [p, point, label], [hinge, casadi.gradient(hinge, p)])


@moons.on("casadi", note="built once, mapped over the samples")
def _(samples):
    import casadi

    points, labels = two_moons(samples)
    initial = start(LAYERS)
    q = casadi.MX.sym("q", initial.size)
    losses, by = casadi_sample().map(samples)(q, points.T, labels[None, :])
    loss = casadi.sum2(losses) / samples + ALPHA * casadi.sumsqr(q)
    gradient = casadi.sum2(by) / samples + 2 * ALPHA * q
    update = casadi.Function("update", [q], [loss, q - LEARNING_RATE * gradient])

    loss, parameters = None, initial

    def step():
        nonlocal loss, parameters
        loss, parameters = update(parameters)

    return Step(step, lambda: [float(loss), *parameters.nonzeros()])
