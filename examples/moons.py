"""Two moons, micrograd's demo: a small network learns to tell two half circles apart.

    python examples/moons.py                   on micrograd
    python -m micrograd_c examples/moons.py    the same file on micrograd_c

An MLP 2-16-16-1 with the hinge loss of a support vector machine and L2 regularisation, trained on
all samples at once by gradient descent. Writes the decision boundary as a picture.
"""

import argparse
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

try:
    import numpy as np
    from matplotlib.figure import Figure
    from micrograd.engine import Value
    from micrograd.nn import MLP
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
except ModuleNotFoundError as error:
    sys.exit(f"moons.py needs {error.name}: pip install 'micrograd_c[examples]'")

ENGINE = Value.__module__.partition(".")[0]
L2 = 1e-4


class Step(NamedTuple):
    step: int
    loss: float  # loss and accuracy before the step's update
    accuracy: float
    seconds: float


def two_moons(samples, rng, noise=0.1):
    """Points on two interleaved half circles, as lists, and their labels, -1 and 1."""
    outer = np.linspace(0, np.pi, samples // 2)
    inner = np.linspace(0, np.pi, samples - samples // 2)
    points = np.concatenate(
        [
            np.column_stack([np.cos(outer), np.sin(outer)]),
            np.column_stack([1 - np.cos(inner), 0.5 - np.sin(inner)]),
        ]
    )
    points += rng.normal(scale=noise, size=points.shape)
    return points.tolist(), [-1] * len(outer) + [1] * len(inner)


def loss_and_accuracy(model, points, labels):
    """The loss to minimise, a Value, and the fraction of points on the right side."""
    scores = [model(list(map(Value, point))) for point in points]
    hinge = [(1 + -label * score).relu() for label, score in zip(labels, scores)]
    loss = sum(hinge) * (1.0 / len(hinge)) + L2 * sum(p * p for p in model.parameters())
    right = sum((label > 0) == (score.data > 0) for label, score in zip(labels, scores))
    return loss, right / len(labels)


def train(model, points, labels, steps):
    """Gradient descent, the learning rate falling from 1.0 to 0.1; yields a Step after each."""
    for k in range(steps):
        start = time.perf_counter()
        loss, accuracy = loss_and_accuracy(model, points, labels)
        model.zero_grad()
        loss.backward()
        learning_rate = 1.0 - 0.9 * k / steps
        for p in model.parameters():
            p.data -= learning_rate * p.grad
        yield Step(k + 1, loss.data, accuracy, time.perf_counter() - start)


def score_points(model, points):
    """The scores of many points at once, without a graph.

    A plain forward pass with numpy on the numbers in the parameters: a picture needs thousands of
    scores and no gradient, and would take minutes through micrograd's Values.
    """
    x = np.asarray(points)
    for layer in model.layers:
        weights = np.array([[w.data for w in neuron.w] for neuron in layer.neurons])
        x = x @ weights.T + np.array([neuron.b.data for neuron in layer.neurons])
        if layer.neurons[0].nonlin:
            x = np.maximum(x, 0)
    return x[:, 0]


def draw(model, points, labels, title, path):
    """Write the decision boundary (score 0), its margins (-1 and 1) and the points as a PNG."""
    points, labels = np.array(points), np.array(labels)
    (left, bottom), (right, top) = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
    x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(bottom, top, 300))
    scores = score_points(model, np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)

    figure = Figure(figsize=(7.0, 4.3), dpi=150, layout="constrained")
    axes = figure.subplots()
    shades = axes.imshow(
        scores,
        extent=(left, right, bottom, top),
        origin="lower",
        cmap="RdBu",
        vmin=-6,
        vmax=6,
        alpha=0.7,
    )
    axes.contour(
        x,
        y,
        scores,
        levels=[-1, 0, 1],
        colors="black",
        linestyles=["dashed", "solid", "dashed"],
        linewidths=[0.8, 1.8, 0.8],
    )
    for label, colour in ((-1, "#b2182b"), (1, "#2166ac")):
        moon = points[labels == label]
        axes.scatter(moon[:, 0], moon[:, 1], s=32, color=colour, edgecolors="white", linewidths=0.8)
    axes.set(title=title, aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    figure.colorbar(shades, label="score", extend="both", fraction=0.04)
    figure.savefig(path, format="png")


def show_json(steps, total):
    for step in steps:
        print(json.dumps(step._asdict()), flush=True)
        yield step


def show_lines(steps, total):
    every = max(1, total // 10)
    for step in steps:
        if step.step % every == 0 or step.step == total:
            print(
                f"step {step.step:4}/{total}  loss {step.loss:.6f}  "
                f"accuracy {step.accuracy:6.1%}  {step.seconds * 1e3:9,.1f} ms",
                flush=True,
            )
        yield step


def show_bar(steps, total):
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, expand=True) as progress:
        bar = progress.add_task(ENGINE, total=total, numbers="")
        for step in steps:
            numbers = f"loss {step.loss:.4f}  accuracy {step.accuracy:6.1%}"
            progress.update(bar, completed=step.step, numbers=numbers)
            yield step


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description="Train micrograd's two moons demo.")
    parser.add_argument("--steps", type=positive, default=100)
    parser.add_argument("--samples", type=positive, default=100)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--output", type=Path, default="moons.png", help="the picture to write")
    parser.add_argument("--no-plot", action="store_true", help="write no picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    args = parser.parse_args()
    if args.samples < 2:
        parser.error("two moons need two samples")
    if not args.output.parent.is_dir():
        parser.error(f"no folder {args.output.parent} to write the picture in")

    random.seed(args.seed)
    points, labels = two_moons(args.samples, np.random.default_rng(args.seed))
    model = MLP(2, [16, 16, 1])
    if args.json:
        show = show_json
    else:
        show = show_bar if Console().is_terminal else show_lines

    seconds = []
    try:
        if not args.json:
            size = f"{len(model.parameters())} parameters, {args.samples} samples"
            print(f"{ENGINE}: {size}", flush=True)
        for step in show(train(model, points, labels, args.steps), args.steps):
            seconds.append(step.seconds)
        loss, accuracy = loss_and_accuracy(model, points, labels)
    except KeyboardInterrupt:
        print(f"Stopped after {len(seconds)} of {args.steps} steps.", file=sys.stderr)
        sys.exit(130)

    step_seconds = statistics.median(seconds)
    if not args.no_plot:
        title = f"{ENGINE}: loss {loss.data:.4f}, accuracy {accuracy:.0%} after {args.steps} steps"
        draw(model, points, labels, title, args.output)
    if args.json:
        end = {"loss": loss.data, "accuracy": accuracy, "step_seconds": step_seconds}
        print(json.dumps({"engine": ENGINE, **end}), flush=True)
        return
    print(f"{step_seconds * 1e3:,.2f} ms a step (median of {args.steps})")
    print(f"final loss {loss.data:.6f}, accuracy {accuracy:.1%}")
    if not args.no_plot:
        print(f"decision boundary: {args.output}")


if __name__ == "__main__":
    main()
