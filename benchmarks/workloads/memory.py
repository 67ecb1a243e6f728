"""Resident bytes a node: a long chain of which only the last scalar is held."""

from benchmarks.registry import Measured, workload
from benchmarks.resident import resident
from benchmarks.workloads.chain import A, B, X, chain_by_hand, iterate

memory = workload(
    "memory",
    "Memory: chain of 10^7 nodes, only the last one held",
    size=10**7,
    quick_size=10**5,
    unit="byte",
    per="node",
    expected=lambda nodes: chain_by_hand(nodes)[:1],
)

WARM_UP = 1000  # nodes: what an engine allocates once is not counted


def growth(x, a, b, nodes, data):
    """The resident bytes a node that the chain adds."""
    iterate(x, a, b, WARM_UP)
    before = resident()
    last = iterate(x, a, b, nodes)
    return Measured((resident() - before) / nodes, [data(last)])


@memory.on("micrograd_c")
def _(nodes):
    from micrograd_c import Value

    return growth(Value(X), Value(A), Value(B), nodes, lambda x: x.data)


@memory.on("micrograd", scale=0.01)
def _(nodes):
    from micrograd.engine import Value

    return growth(Value(X), Value(A), Value(B), nodes, lambda x: x.data)


@memory.on("xad", scale=0.1)
def _(nodes):
    from xad.adj_1st import Real, Tape

    with Tape() as tape:
        x, a, b = Real(X), Real(A), Real(B)
        tape.registerInputs([x, a, b])
        tape.newRecording()
        return growth(x, a, b, nodes, lambda x: x.value)


@memory.on("torch", scale=0.01, note="0-d tensors")
def _(nodes):
    import torch

    x, a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (X, A, B))
    return growth(x, a, b, nodes, lambda x: x.item())


@memory.on("autograd", scale=0.01)
def _(nodes):
    from autograd import make_vjp

    measured = None

    def function(x, a, b):
        nonlocal measured
        measured = growth(x, a, b, nodes, lambda last: float(last._value))
        return x

    make_vjp(function, argnum=(0, 1, 2))(X, A, B)
    return measured


@memory.on("casadi", scale=0.1, note="nodes of the expression")
def _(nodes):
    import casadi

    x, a, b = (casadi.SX.sym(name) for name in "xab")

    def data(last):
        return float(casadi.Function("chain", [x, a, b], [last])(X, A, B))

    return growth(x, a, b, nodes, data)
