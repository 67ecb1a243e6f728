"""A long program of mixed operations on one sample: what an instruction costs, there and back."""

import math
import operator
from collections import deque
from functools import lru_cache

import numpy as np

from benchmarks.registry import Step, gradient_step, workload

INPUTS = 16
WAITING = 32  # results that have not been used yet: how wide the program is
EVERY = 100  # every so many operations one result joins the sum that is returned
LARGEST = 1.5  # of all numbers; what would lead beyond it becomes a product with an input

# How often it is drawn, the operation on floats, and its derivatives by the operands.
OPERATIONS = {
    "add": (0.30, lambda a, b: a + b, lambda a, b: (1.0, 1.0)),
    "sub": (0.16, lambda a, b: a - b, lambda a, b: (1.0, -1.0)),
    "mul": (0.20, lambda a, b: a * b, lambda a, b: (b, a)),
    "div": (0.06, lambda a, b: a / b, lambda a, b: (1 / b, -a / b**2)),
    "exp": (0.06, math.exp, lambda a: (math.exp(a),)),
    "tanh": (0.08, math.tanh, lambda a: (1 - math.tanh(a) ** 2,)),
    "sin": (0.06, math.sin, lambda a: (math.cos(a),)),
    "relu": (0.08, lambda a: max(a, 0.0), lambda a: (float(a > 0),)),
}
BINARY = {name: getattr(operator, name) for name in ("add", "sub", "mul")}
BINARY["div"] = operator.truediv


def start():
    return [math.sin(k + 1) for k in range(INPUTS)]


@lru_cache(maxsize=1)
def mixed_program(operations):
    """(program, values): [(name, operands)], and the numbers of the inputs and of all results.

    An operand is an index into the values. The first one is the result that has waited longest, so
    that every one is needed, the second an input or a recent result. So many inputs that a result
    depends less and less on what is long past: a program that grew its rounding errors could not be
    checked.
    """
    rng = np.random.default_rng(1)
    chances = np.array([chance for chance, _, _ in OPERATIONS.values()])
    names = rng.choice(list(OPERATIONS), operations, p=chances).tolist()
    inputs = rng.integers(INPUTS, size=operations).tolist()
    back = rng.integers(1, WAITING + 1, size=operations)
    back[(rng.random(operations) < 0.4) | (np.arange(operations) < WAITING)] = 0

    values, program = start(), []
    waiting = deque(k % INPUTS for k in range(WAITING))
    for name, source, distance in zip(names, inputs, back.tolist(), strict=True):
        a = waiting.popleft()
        b = len(values) - distance if distance else source
        operands = (a, b) if name in BINARY else (a,)
        value = math.inf
        if name != "div" or abs(values[b]) > 1 / LARGEST:
            value = OPERATIONS[name][1](*(values[k] for k in operands))
        if abs(value) > LARGEST:
            name, operands, value = "mul", (a, source), values[a] * values[source]
        waiting.append(len(values))
        values.append(value)
        program.append((name, operands))
    return program, values


def mixed_by_hand(operations):
    """The program's result and its gradient by the inputs."""
    program, values = mixed_program(operations)
    summed = range(INPUTS + EVERY - 1, len(values), EVERY)
    adjoints = [0.0] * len(values)
    for k in summed:
        adjoints[k] = 1.0
    for k in range(len(program) - 1, -1, -1):
        name, operands = program[k]
        partials = OPERATIONS[name][2](*(values[j] for j in operands))
        for j, partial in zip(operands, partials, strict=True):
            adjoints[j] += adjoints[INPUTS + k] * partial
    return [sum(values[k] for k in summed), *adjoints[:INPUTS]]


mixed = workload(
    "mixed",
    "Program of 10^6 mixed operations on one sample, forward and reverse",
    size=10**6,
    quick_size=10**4,
    unit="second",
    per="operation",
    expected=mixed_by_hand,
)


def interpreter(functions, operations):
    """The program as a function of the inputs; `functions` are the engine's own, by name."""
    instructions, _ = mixed_program(operations)
    program = [(functions[name], operands) for name, operands in instructions]

    def function(inputs):
        values, total = list(inputs), 0.0
        for k, (operation, operands) in enumerate(program, 1):
            values.append(operation(*[values[j] for j in operands]))
            if k % EVERY == 0:
                total = total + values[-1]
        return total

    return function


def value_functions():
    from micrograd_c import Value

    methods = {name: getattr(Value, name) for name in ("exp", "tanh", "sin", "relu")}
    return BINARY | methods


@mixed.on("micrograd_c", note="recorded anew every time")
def _(operations):
    from micrograd_c import Value

    function = interpreter(value_functions(), operations)
    inputs = list(map(Value, start()))
    total = None

    def step():
        nonlocal total
        for x in inputs:
            x.grad = 0.0
        total = function(inputs)
        total.backward()

    return Step(step, lambda: [total.data, *(x.grad for x in inputs)])


@mixed.on("micrograd_c.compile", note="value_and_grad")
def _(operations):
    import micrograd_c as mg

    function = mg.compile(interpreter(value_functions(), operations))
    inputs = np.array(start())
    return gradient_step(lambda: function.value_and_grad(inputs))


@mixed.on("casadi", scale=0.1, note="SX function of value and gradient")
def _(operations):
    import casadi

    functions = {name: getattr(casadi, name) for name in ("exp", "tanh", "sin")}
    functions["relu"] = lambda x: casadi.fmax(x, 0)
    x = casadi.SX.sym("x", INPUTS)
    total = interpreter(BINARY | functions, operations)(x.elements())
    function = casadi.Function("mixed", [x], [total, casadi.gradient(total, x)])

    def evaluate():
        value, by = function(start())
        return value, by.nonzeros()

    return gradient_step(evaluate)
