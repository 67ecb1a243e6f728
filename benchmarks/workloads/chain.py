"""`x = x*b + a` over and over: what one scalar operation costs, forward alone and with backward."""

import sys

from benchmarks.registry import Step, gradient_step, workload

# Close enough to 1 and 0 that neither x nor any gradient leaves the normal range in 10^7 nodes.
X, A, B = 0.5, 1e-6, 0.999999


def iterate(x, a, b, operations):
    """The chain itself, the same code for every engine: two operations an iteration."""
    for _ in range(operations // 2):
        x = x * b + a
    return x


def chain_by_hand(operations):
    """x and its derivatives by x, a and b, carried along with the chain."""
    x, by_x, by_a, by_b = X, 1.0, 0.0, 0.0
    for _ in range(operations // 2):
        x, by_x, by_a, by_b = x * B + A, by_x * B, by_a * B + 1.0, by_b * B + x
    return [x, by_x, by_a, by_b]


forward = workload(
    "op",
    "Scalar operation: x = x*b + a in a loop, forward alone",
    size=1000,
    quick_size=100,
    unit="second",
    per="operation",
    expected=lambda operations: chain_by_hand(operations)[:1],
)


def forward_step(x, a, b, operations, data):
    """Runs the chain; `data` reads the number out of the engine's scalar."""
    last = x

    def step():
        nonlocal last
        last = iterate(x, a, b, operations)

    return Step(step, lambda: [data(last)])


@forward.on("python")
def _(operations):
    return forward_step(X, A, B, operations, float)


@forward.on("micrograd_c")
def _(operations):
    from micrograd_c import Value

    return forward_step(Value(X), Value(A), Value(B), operations, lambda x: x.data)


@forward.on("micrograd")
def _(operations):
    from micrograd.engine import Value

    return forward_step(Value(X), Value(A), Value(B), operations, lambda x: x.data)


@forward.on("xad")
def _(operations):
    from xad.adj_1st import Real, Tape

    tape = Tape()
    tape.activate()
    x, a, b = Real(X), Real(A), Real(B)
    tape.registerInputs([x, a, b])
    last = x

    def step():
        nonlocal last
        tape.newRecording()
        last = iterate(x, a, b, operations)

    return Step(step, lambda: [last.value])


@forward.on("torch", note="0-d tensors")
def _(operations):
    import torch

    x, a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (X, A, B))
    return forward_step(x, a, b, operations, lambda x: x.item())


chain = workload(
    "chain",
    "Scalar chain: x = x*b + a, forward and backward",
    size=1000,
    quick_size=100,
    unit="second",
    per="operation",
    expected=chain_by_hand,
)


def value_chain(Value, operations):
    """The chain on micrograd's API."""
    x, a, b = leaves = Value(X), Value(A), Value(B)
    last = x

    def step():
        nonlocal last
        for leaf in leaves:
            leaf.grad = 0.0
        last = iterate(x, a, b, operations)
        last.backward()

    return Step(step, lambda: [last.data, x.grad, a.grad, b.grad])


def xad_chain(operations):
    """The chain on XAD: one tape, recorded anew every step."""
    from xad.adj_1st import Real, Tape

    tape = Tape()
    tape.activate()
    x, a, b = Real(X), Real(A), Real(B)
    tape.registerInputs([x, a, b])
    last = x

    def step():
        nonlocal last
        tape.newRecording()
        last = iterate(x, a, b, operations)
        tape.registerOutput(last)
        last.derivative = 1.0
        tape.computeAdjoints()

    return Step(step, lambda: [last.value, x.derivative, a.derivative, b.derivative])


def torch_chain(operations):
    """The chain on PyTorch's 0-d tensors."""
    import torch

    x, a, b = leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (X, A, B)]
    last = x

    def step():
        nonlocal last
        for leaf in leaves:
            leaf.grad = None
        last = iterate(x, a, b, operations)
        last.backward()

    return Step(step, lambda: [v.item() for v in (last, x.grad, a.grad, b.grad)])


def autograd_chain(operations):
    """The chain on HIPS autograd."""
    from autograd import value_and_grad

    function = value_and_grad(lambda x, a, b: iterate(x, a, b, operations), argnum=(0, 1, 2))
    return gradient_step(lambda: function(X, A, B))


def casadi_chain(operations):
    """The chain as a CasADi function, built once; a step evaluates value and gradient."""
    import casadi

    x, a, b = (casadi.SX.sym(name) for name in "xab")
    last = iterate(x, a, b, operations)
    gradient = casadi.gradient(last, casadi.vertcat(x, a, b))
    function = casadi.Function("chain", [x, a, b], [last, gradient])

    def evaluate():
        value, by = function(X, A, B)
        return value, by.nonzeros()

    return gradient_step(evaluate)


def jax_chain(operations):
    """The chain as a JAX function, compiled once."""
    import jax

    def function(x, a, b):
        return jax.lax.fori_loop(0, operations // 2, lambda _, x: x * b + a, x)

    compiled = jax.jit(jax.value_and_grad(function, argnums=(0, 1, 2)))
    return gradient_step(lambda: jax.block_until_ready(compiled(X, A, B)))


@chain.on("micrograd_c")
def _(operations):
    from micrograd_c import Value

    return value_chain(Value, operations)


@chain.on("micrograd", note="recursion limit raised")
def _(operations):
    from micrograd.engine import Value

    sys.setrecursionlimit(10 * operations)
    return value_chain(Value, operations)


chain.on("xad")(xad_chain)
chain.on("torch", note="0-d tensors")(torch_chain)
chain.on("autograd")(autograd_chain)
chain.on("casadi", note="evaluates a function built once")(casadi_chain)
chain.on("jax", note="evaluates a fori_loop compiled once")(jax_chain)
