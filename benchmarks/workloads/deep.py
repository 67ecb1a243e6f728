"""A chain of a million nodes, built and gone back through: depth, and cost that grows linearly."""

from benchmarks.registry import Step, workload
from benchmarks.workloads.chain import (
    autograd_chain,
    chain_by_hand,
    iterate,
    torch_chain,
    value_chain,
    xad_chain,
)

deep = workload(
    "deep",
    "Deep chain of 10^6 nodes, forward and backward",
    size=10**6,
    quick_size=10**4,
    unit="second",
    per="node",
    expected=chain_by_hand,
)


@deep.on("micrograd_c")
def _(nodes):
    from micrograd_c import Value

    return value_chain(Value, nodes)


@deep.on("micrograd")
def _(nodes):
    from micrograd.engine import Value

    return value_chain(Value, nodes)


deep.on("xad")(xad_chain)
deep.on("torch", scale=0.1, note="0-d tensors")(torch_chain)
deep.on("autograd", scale=0.1)(autograd_chain)


@deep.on("casadi", scale=0.1, note="builds the function anew every time")
def _(nodes):
    import casadi

    from benchmarks.workloads.chain import A, B, X

    numbers = []

    def step():
        nonlocal numbers
        x, a, b = (casadi.SX.sym(name) for name in "xab")
        last = iterate(x, a, b, nodes)
        gradient = casadi.gradient(last, casadi.vertcat(x, a, b))
        value, by = casadi.Function("chain", [x, a, b], [last, gradient])(X, A, B)
        numbers = [float(value), *by.nonzeros()]

    return Step(step, lambda: numbers)
