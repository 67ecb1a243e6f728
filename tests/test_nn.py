"""micrograd_c.nn against micrograd.nn: the same seed, the same model, the same training."""

import random

import micrograd.nn
import numpy as np
import pytest
from reference import live_nodes

import micrograd_c.nn
from micrograd_c import Value, tape

ENGINES = [micrograd_c.nn, micrograd.nn]
SHAPES = [(1, [1]), (2, [16, 16, 1]), (3, [4, 4, 2]), (4, [3])]


def both(make, seed=1337):
    """make(nn) on both engines with the same seed; the generators end in the same state."""
    made, states = [], []
    for nn in ENGINES:
        random.seed(seed)
        made.append(make(nn))
        states.append(random.getstate())
    assert states[0] == states[1]
    return made


@pytest.mark.parametrize("nin, nouts", SHAPES)
def test_the_same_seed_gives_the_same_parameters(nin, nouts):
    ours, theirs = both(lambda nn: nn.MLP(nin, nouts))
    assert [p.data for p in ours.parameters()] == [p.data for p in theirs.parameters()]
    assert all(type(p) is Value for p in ours.parameters())
    assert all(p is q for p, q in zip(ours.parameters(), ours.parameters(), strict=True))


@pytest.mark.parametrize("nin, nouts", SHAPES)
def test_repr(nin, nouts):
    ours, theirs = both(lambda nn: nn.MLP(nin, nouts))
    assert repr(ours) == repr(theirs)
    assert repr(ours.layers[0]) == repr(theirs.layers[0])
    assert repr(ours.layers[0].neurons[0]) == repr(theirs.layers[0].neurons[0])
    ours, theirs = both(lambda nn: [nn.Neuron(2, nonlin=False), nn.Layer(2, 3, nonlin=False)])
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("nin, nouts", SHAPES)
def test_outputs_and_gradients(nin, nouts):
    ours, theirs = both(lambda nn: nn.MLP(nin, nouts))
    for _ in range(5):
        x = [random.uniform(-2, 2) for _ in range(nin)]
        y, z = ours(x), theirs(x)
        assert isinstance(y, list) == isinstance(z, list)
        if nouts[-1] == 1:
            y, z = [y], [z]
        assert [v.data for v in y] == pytest.approx([v.data for v in z], rel=1e-12)
        sum(k * v for k, v in enumerate(y, 1)).backward()
        sum(k * v for k, v in enumerate(z, 1)).backward()
        # No zero_grad between: gradients accumulate alike.
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert p.grad == pytest.approx(q.grad, rel=1e-12, abs=1e-14)


def test_inputs_may_be_numbers_values_or_arrays():
    random.seed(1)
    model = micrograd_c.nn.MLP(3, [8, 1])
    x = [0.5, -1.0, 2.0]
    expected = model(x).data
    leaves = [Value(v) for v in x]
    for given in (leaves, tuple(x), np.array(x), np.array(leaves), [0.5, -1, leaves[2]]):
        assert model(given).data == expected
    model(leaves).backward()
    assert any(leaf.grad != 0.0 for leaf in leaves)


def test_gradients_of_the_inputs():
    ours, theirs = both(lambda nn: nn.MLP(3, [8, 1]))
    x = [0.5, -1.0, 2.0]
    xs = [Value(v) for v in x]
    ys = [micrograd.engine.Value(v) for v in x]
    ours(xs).backward()
    theirs(ys).backward()
    assert [v.grad for v in xs] == pytest.approx([v.grad for v in ys], rel=1e-12)


def test_zero_grad():
    random.seed(1)
    for module in (
        micrograd_c.nn.MLP(2, [3, 1]),
        micrograd_c.nn.Layer(2, 3),
        micrograd_c.nn.Neuron(2),
    ):
        for p in module.parameters():
            p.grad = 5.0
        module.zero_grad()
        assert [p.grad for p in module.parameters()] == [0.0] * len(module.parameters())


def test_the_parts_of_a_model():
    random.seed(1)
    model = micrograd_c.nn.MLP(2, [3, 1])
    neuron = model.layers[0].neurons[0]
    assert len(model.layers) == 2 and len(model.layers[0].neurons) == 3
    assert len(neuron.w) == 2 and neuron.b.data == 0.0 and neuron.nonlin is True
    assert model.layers[1].neurons[0].nonlin is False
    assert neuron.parameters() == neuron.w + [neuron.b]
    assert model.parameters()[:3] == neuron.parameters()
    assert micrograd_c.nn.Module().parameters() == []


def test_a_neuron_is_one_dot_and_one_activation():
    random.seed(1)
    neuron = micrograd_c.nn.Neuron(3)
    x = [Value(1.0), Value(2.0), Value(3.0)]
    before = tape.size()
    out = neuron(x)
    assert tape.size() == before + 2
    assert out._op == "ReLU" and out._children[0]._op == "dot"
    before = tape.size()
    assert micrograd_c.nn.Neuron(3, nonlin=False)(x)._op == "dot"


def test_a_layer_of_one_gives_a_value_and_of_many_a_list():
    random.seed(1)
    assert type(micrograd_c.nn.Layer(2, 1)([1.0, 2.0])) is Value
    out = micrograd_c.nn.Layer(2, 3)([1.0, 2.0])
    assert type(out) is list and len(out) == 3


def test_parameters_may_be_replaced():
    random.seed(1)
    neuron = micrograd_c.nn.Neuron(2, nonlin=False)
    neuron.w[0] = Value(10.0)
    neuron.b = Value(5.0)
    neuron.w[1].data = 2.0
    out = neuron([1.0, 3.0])
    assert out.data == 21.0
    out.backward()
    assert neuron.w[0].grad == 1.0 and neuron.b.grad == 1.0


@pytest.mark.parametrize("nn", ENGINES, ids=lambda nn: nn.__name__)
def test_a_module_of_ones_own(nn):
    class Residual(nn.Module):
        def __init__(self):
            self.inner = nn.Layer(2, 2)

        def __call__(self, x):
            return [a + b for a, b in zip(x, self.inner(x), strict=True)]

        def parameters(self):
            return self.inner.parameters()

    random.seed(1)
    module = Residual()
    sum(module([1.0, 2.0])).backward()
    module.zero_grad()
    assert [p.grad for p in module.parameters()] == [0] * 6


def moons_like(n=20):
    draw = random.Random(5)
    points = [(draw.uniform(-1, 1), draw.uniform(-1, 1)) for _ in range(n)]
    return points, [1 if x * y > 0.1 else -1 for x, y in points]


def test_a_training_curve_is_that_of_micrograd():
    """The demo notebook's loop: hinge loss, L2, SGD with a falling rate."""
    points, labels = moons_like()
    curves = []
    for model in both(lambda nn: nn.MLP(2, [8, 8, 1])):
        curve = []
        for step in range(15):
            scores = [model(list(x)) for x in points]
            losses = [
                (1 + -label * score).relu() for label, score in zip(labels, scores, strict=True)
            ]
            data_loss = sum(losses) * (1.0 / len(losses))
            total = data_loss + 1e-4 * sum(p * p for p in model.parameters())
            model.zero_grad()
            total.backward()
            for p in model.parameters():
                p.data -= (1.0 - 0.9 * step / 15) * p.grad
            curve.append(total.data)
        curves.append([*curve, *(p.data for p in model.parameters())])
    assert curves[0] == pytest.approx(curves[1], rel=1e-9)
    assert curves[0][14] < curves[0][0]


def test_training_leaves_the_tape_bounded():
    points, labels = moons_like()
    random.seed(1)
    model = micrograd_c.nn.MLP(2, [8, 8, 1])
    base = live_nodes()
    for _ in range(30):
        loss = micrograd_c.sum(
            (1 - label * model(x)).relu() for x, label in zip(points, labels, strict=True)
        )
        model.zero_grad()
        loss.backward()
    del loss
    assert live_nodes() == base
