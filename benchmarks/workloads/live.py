"""A small backward on a crowded tape: its cost must grow with the graph, not with the tape."""

import statistics
import sys
import time

from benchmarks.registry import Measured, workload
from benchmarks.workloads.chain import A, B, X, chain_by_hand, iterate

GRAPH = 1000  # nodes
SECONDS = 0.3  # that each of the two measurements lasts

live = workload(
    "live",
    "Backward, 1,000 fresh nodes: 10^7 others live, to an empty tape",
    size=10**7,
    quick_size=10**5,
    unit="ratio",
    per="",
    expected=lambda _: chain_by_hand(GRAPH),
)


def crowded_to_empty(Value, others):
    """The ratio of the median times; the leaves stand before the others on the tape."""
    x, a, b = leaves = Value(X), Value(A), Value(B)

    def backward_time():
        times = []
        until = time.perf_counter() + SECONDS
        while time.perf_counter() < until:
            for leaf in leaves:
                leaf.grad = 0.0
            last = iterate(x, a, b, GRAPH)
            started = time.perf_counter()
            last.backward()
            times.append(time.perf_counter() - started)
        return statistics.median(times), [last.data, x.grad, a.grad, b.grad]

    empty, _ = backward_time()
    others = iterate(Value(X), Value(A), Value(B), others)
    crowded, numbers = backward_time()
    return Measured(crowded / empty, numbers)


@live.on("micrograd_c")
def _(others):
    from micrograd_c import Value

    return crowded_to_empty(Value, others)


@live.on("micrograd", scale=0.01, note="recursion limit raised")
def _(others):
    from micrograd.engine import Value

    sys.setrecursionlimit(10 * GRAPH)
    return crowded_to_empty(Value, others)
