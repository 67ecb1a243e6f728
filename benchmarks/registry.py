"""The workloads: what is measured, in which unit, and the function of every engine that does it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.engines import ENGINES


class Step(NamedTuple):
    """Work to be timed: `step()` does it once; after the first, `result()` gives its numbers."""

    step: Callable[[], object]
    result: Callable[[], Sequence[float]]


class Measured(NamedTuple):
    """A number that needs no timing loop, in the workload's unit, and the work's own numbers."""

    value: float
    result: Sequence[float] = ()


@dataclass(frozen=True)
class Case:
    """One engine's part in a workload; it is given `scale` times the workload's size."""

    run: Callable[[int], Step | Measured]
    scale: float
    note: str


@dataclass
class Workload:
    """What all engines do alike.

    `size` is handed to every case: how many operations, nodes, samples or steps.
    `per` names what the size counts, if a value stands for one of them: the time of a step is then
    divided by the size. '' where a value stands for the whole step.
    `expected(size)` gives the numbers that every engine's result must equal, reckoned without any
    of the engines; None where there is nothing to compare.
    """

    name: str
    title: str
    size: int
    quick_size: int
    unit: str  # 'second', 'byte' or 'ratio'
    per: str
    expected: Callable[[int], Sequence[float]] | None
    cases: dict[str, Case] = field(default_factory=dict)

    def on(self, engine, scale=1.0, note=""):
        """Declare the decorated function as the way `engine` does this workload."""
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r} is not in engines.py")

        def declare(run):
            self.cases[engine] = Case(run, scale, note)
            return run

        return declare

    def size_for(self, engine, quick):
        """The size that this engine is given."""
        return max(1, round((self.quick_size if quick else self.size) * self.cases[engine].scale))


def evaluation_step(evaluate, numbers):
    """A step that calls `evaluate`; `numbers` lists the numbers in what it returned last."""
    result = evaluate()  # whatever is compiled at the first call

    def step():
        nonlocal result
        result = evaluate()

    return Step(step, lambda: [float(number) for number in numbers(result)])


def gradient_step(value_and_gradient, flat=list):
    """A step that calls a function which returns (value, gradient); `flat` lists the gradient."""
    return evaluation_step(value_and_gradient, lambda pair: (pair[0], *flat(pair[1])))


WORKLOADS: dict[str, Workload] = {}


def workload(name, title, *, size, quick_size, unit, per, expected=None):
    """Declare a workload; engines join it with `.on(engine)`."""
    WORKLOADS[name] = Workload(name, title, size, quick_size, unit, per, expected)
    return WORKLOADS[name]
