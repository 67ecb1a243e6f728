"""Calling a program so small that the call itself is what it costs."""

from benchmarks.registry import Step, workload

X = 1.25


def ten(x):
    """Ten operations, the same code for every engine."""
    a = x * x
    b = a + x
    c = b * a
    d = c - b
    e = d * x
    f = e + c
    g = f * b
    h = g - e
    i = h / a
    return i * x


call = workload(
    "call",
    "Call of a function of 10 operations on one number",
    size=1,
    quick_size=1,
    unit="second",
    per="",
    expected=lambda _: [ten(X)],
)


def called(function, data=float):
    """A step that calls it; `data` reads the number out of its result."""
    result = function(X)  # whatever is compiled at the first call

    def step():
        nonlocal result
        result = function(X)

    return Step(step, lambda: [data(result)])


@call.on("python")
def _(_size):
    return called(ten)


@call.on("micrograd_c", note="10 nodes")
def _(_size):
    from micrograd_c import Value

    return called(lambda x: ten(Value(x)), lambda value: value.data)


@call.on("micrograd_c.compile", note="its result is a Value")
def _(_size):
    import micrograd_c as mg

    return called(mg.compile(ten), lambda value: value.data)


@call.on("casadi", note="SX function")
def _(_size):
    import casadi

    x = casadi.SX.sym("x")
    return called(casadi.Function("ten", [x], [ten(x)]))


@call.on("jax")
def _(_size):
    import jax

    function = jax.jit(ten)
    return called(lambda x: jax.block_until_ready(function(x)))
