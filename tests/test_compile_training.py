"""Training with compiled functions: the curves of eager training, over 50 steps."""

import importlib.util
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import micrograd_c as mg
from micrograd_c import Value
from micrograd_c.nn import MLP

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STEPS = 50


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same_curves(ours, expected):
    assert len(ours) == STEPS and len(set(expected)) > STEPS // 2
    np.testing.assert_allclose(ours, expected, rtol=1e-8)


# ---- two moons


@pytest.fixture(scope="module")
def moons():
    points, labels = example("moons").two_moons(30, np.random.default_rng(1337))
    return np.array(points), np.array(labels, dtype=float)


def make_mlp():
    random.seed(1337)
    return MLP(2, [16, 16, 1])


def descend(model, step_loss, optimizer=None):
    """50 steps of gradient descent; the losses and the parameters at the end."""
    params, losses = model.parameters(), []
    for k in range(STEPS):
        loss = step_loss()
        model.zero_grad()
        loss.backward()
        if optimizer:
            optimizer.step()
        else:
            for p in params:
                p.data -= (1.0 - 0.9 * k / STEPS) * 0.3 * p.grad
        losses.append(loss.data)
    return losses, mg.get_data(params)


def regularisation(model):
    return 1e-4 * mg.sum(p * p for p in model.parameters())


def eager_loss(model, points, labels):
    hinge = [(1 - y * model(x)).relu() for x, y in zip(points, labels)]
    return mg.sum(hinge) / len(hinge) + regularisation(model)


@pytest.fixture(scope="module")
def eager_moons(moons):
    model = make_mlp()
    return descend(model, lambda: eager_loss(model, *moons))


@pytest.mark.parametrize("options", [{}, {"optimize": False}], ids=["optimised", "plain"])
def test_moons_by_the_mean_over_samples(moons, eager_moons, options):
    model = make_mlp()

    def sample_loss(x, y):
        return (1 - y * model(x)).relu()

    f = mg.compile(sample_loss, **options)
    losses, params = descend(model, lambda: f.mean(*moons) + regularisation(model))
    same_curves(losses, eager_moons[0])
    np.testing.assert_allclose(params, eager_moons[1], rtol=1e-7, atol=1e-9)
    assert losses[-1] < losses[0] / 2
    assert len(f.programs) == 1


def test_moons_by_one_program_of_all_samples(moons, eager_moons):
    """The whole loss traced, regularisation too; the loop over samples unrolls."""
    model = make_mlp()
    f = mg.compile(lambda points, labels: eager_loss(model, points, labels))
    losses, params = descend(model, lambda: f(*moons))
    same_curves(losses, eager_moons[0])
    np.testing.assert_allclose(params, eager_moons[1], rtol=1e-7, atol=1e-9)


def test_moons_with_an_optimiser(moons):
    curves = []
    for compiled in (False, True):
        model = make_mlp()
        optimizer = mg.optim.AdamW(model.parameters(), lr=0.02)
        if compiled:
            f = mg.compile(lambda x, y: (1 - y * model(x)).relu())  # noqa: B023
            losses, _ = descend(model, lambda: f.mean(*moons), optimizer)  # noqa: B023
        else:
            losses, _ = descend(
                model,
                lambda: eager_loss(model, *moons) - regularisation(model),  # noqa: B023
                optimizer,
            )
        curves.append(losses)
    same_curves(curves[1], curves[0])


def test_moons_against_numpy(moons):
    """Forward and backward by hand on matrices."""
    points, labels = moons
    model = make_mlp()
    weights = [
        (
            np.array([[w.data for w in neuron.w] for neuron in layer.neurons]),
            np.array([neuron.b.data for neuron in layer.neurons]),
        )
        for layer in model.layers
    ]
    expected = []
    for k in range(STEPS):
        inputs = [points]
        for depth, (w, b) in enumerate(weights):
            z = inputs[-1] @ w.T + b
            inputs.append(np.maximum(z, 0) if depth < 2 else z)
        margin = 1 - labels * inputs[-1][:, 0]
        squares = sum((w**2).sum() + (b**2).sum() for w, b in weights)
        expected.append(np.maximum(margin, 0).mean() + 1e-4 * squares)
        delta = (-labels * (margin > 0) / len(labels))[:, None]
        for depth in (2, 1, 0):
            w, b = weights[depth]
            by_w, by_b = delta.T @ inputs[depth], delta.sum(axis=0)
            delta = delta @ w * (inputs[depth] > 0)
            rate = (1.0 - 0.9 * k / STEPS) * 0.3
            weights[depth] = (
                w - rate * (by_w + 2e-4 * w),
                b - rate * (by_b + 2e-4 * b),
            )
    f = mg.compile(lambda x, y: (1 - y * model(x)).relu())
    losses, _ = descend(model, lambda: f.mean(points, labels) + regularisation(model))
    same_curves(losses, expected)


def test_scores_of_many_points(moons):
    model = make_mlp()
    points = np.random.default_rng(0).normal(size=(500, 2))
    scores = mg.compile(lambda x: model(x)).map(points)
    expected = example("moons").score_points(model, points)
    np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-13)


# ---- the GPT


@pytest.fixture(scope="module")
def gpt():
    """The example, its class replaced by ours, and made small."""
    gpt = example("gpt")
    gpt.Value = Value
    gpt.WIDTH, gpt.HEADS, gpt.HEAD_WIDTH, gpt.CONTEXT = 8, 2, 4, 8
    return gpt


LETTERS = "abcde"
NAMES = ["abba", "bea", "dad", "cade", "ebba", "ada", "decade", "abe", "bead", "ede"]


def all_tokens():
    end = len(LETTERS)
    return [[end, *map(LETTERS.index, name), end] for name in NAMES]


def next_token(gpt, model, token, position, keys, values):
    """The example's, with the table looked up by `take` and micrograd_c's softmax."""
    x = gpt.add(mg.take(model["token"], token), model["position"][position])
    normed = gpt.rmsnorm(x)
    query = gpt.linear(normed, model["query"])
    keys.append(gpt.linear(normed, model["key"]))
    values.append(gpt.linear(normed, model["value"]))
    mixed = []
    for start in range(0, gpt.WIDTH, gpt.HEAD_WIDTH):
        head = slice(start, start + gpt.HEAD_WIDTH)
        scores = [gpt.dot(query[head], key[head]) / gpt.HEAD_WIDTH**0.5 for key in keys]
        weights = mg.softmax(scores)
        mixed += [gpt.dot(weights, column) for column in zip(*(value[head] for value in values))]
    x = gpt.add(x, gpt.linear(mixed, model["mix"]))
    hidden = [h.relu() for h in gpt.linear(gpt.rmsnorm(x), model["expand"])]
    x = gpt.add(x, gpt.linear(hidden, model["contract"]))
    return mg.softmax(gpt.linear(gpt.rmsnorm(x), model["head"]))


def gpt_loss(gpt, model):
    def loss(tokens):
        keys, values, losses = [], [], []
        for position, (token, target) in enumerate(pairwise(tokens)):
            probabilities = next_token(gpt, model, token, position, keys, values)
            losses.append(-mg.take(probabilities, target).log())
        return sum(losses) / len(losses)

    return loss


def make_gpt(gpt):
    return gpt.make_model(random.Random(42), len(LETTERS) + 1)


def test_gpt_one_name_a_step(gpt):
    tokens = all_tokens()
    model = make_gpt(gpt)
    adam = gpt.Adam(gpt.parameters(model))
    expected = [
        gpt.train_step(model, adam, tokens[k % len(tokens)], 0.01 * (1 - k / STEPS))
        for k in range(STEPS)
    ]
    expected_params = mg.get_data(gpt.parameters(model))

    model = make_gpt(gpt)
    params = gpt.parameters(model)
    f = mg.compile(gpt_loss(gpt, model))
    optimizer = mg.optim.Adam(params, lr=0.01, betas=(0.9, 0.99))
    losses = []
    for k in range(STEPS):
        loss = f(tokens[k % len(tokens)])
        loss.backward()
        optimizer.lr = 0.01 * (1 - k / STEPS)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.data)
    same_curves(losses, expected)
    np.testing.assert_allclose(mg.get_data(params), expected_params, rtol=1e-6, atol=1e-8)
    assert losses[-1] < losses[0]
    assert len(f.programs) == len(set(map(len, tokens)))


def test_gpt_many_names_of_one_length_a_step(gpt):
    tokens = [ids for ids in all_tokens() if len(ids) == 6]
    assert len(tokens) > 2
    curves = []
    for compiled in (False, True):
        model = make_gpt(gpt)
        params = gpt.parameters(model)
        f = mg.compile(gpt_loss(gpt, model))
        optimizer = mg.optim.Adam(params, lr=0.02)
        losses = []
        for _ in range(STEPS):
            if compiled:
                loss = f.mean(tokens)
            else:
                loss = sum(map(gpt_loss(gpt, model), tokens)) / len(tokens)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.data)
        curves.append(losses)
        assert len(f.programs) == compiled
    same_curves(curves[1], curves[0])


def test_gpt_samples_the_same_names(gpt):
    """Inference: the probabilities of the next letter, one program for each length so far."""
    model = make_gpt(gpt)

    def probabilities(tokens):
        keys, values = [], []
        for position, token in enumerate(tokens):
            out = next_token(gpt, model, token, position, keys, values)
        return out

    f = mg.compile(probabilities)
    tokens, keys, values = [5], [], []
    for position in range(5):
        expected = [v.data for v in gpt.next_token(model, tokens[-1], position, keys, values)]
        assert [v.data for v in f(tokens)] == pytest.approx(expected, rel=1e-12)
        each = f.map([tokens, tokens[::-1]])
        assert [v[0] for v in each] == pytest.approx(expected, rel=1e-12)
        tokens.append(int(np.argmax(expected)))
    assert len(f.programs) == 5
