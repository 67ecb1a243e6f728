"""Graphs built array by array: what an element of an expression or a term of a product costs."""

from functools import partial

import numpy as np

from benchmarks.registry import evaluation_step, workload
from benchmarks.workloads.chain import iterate

ELEMENTS = 1000  # of an array in the elementwise expression
SIDE = 100  # of the square matrix in the product


def numbers(*shape):
    """An array of numbers between -1 and 1."""
    return np.cos(np.arange(1.0, np.prod(shape) + 1)).reshape(shape)


def expression(size):
    """(function, its arguments): the scalar chain, element by element."""
    return partial(iterate, operations=size // ELEMENTS), numbers(3, ELEMENTS)


def vectors(size):
    return np.dot, numbers(2, size)


def matrices(size):
    return np.matmul, [numbers(size // SIDE**2, SIDE), numbers(SIDE, SIDE)]


def by_numpy(problem):
    def expected(size):
        function, arguments = problem(size)
        return np.ravel(function(*arguments))

    return expected


elementwise = workload(
    "elementwise",
    f"Elementwise x = x*b + a on arrays of {ELEMENTS:,} scalars, forward alone",
    size=10 * ELEMENTS,
    quick_size=2 * ELEMENTS,
    unit="second",
    per="element and operation",
    expected=by_numpy(expression),
)
dot = workload(
    "dot",
    "Dot product of two arrays of 1,000 scalars, forward alone",
    size=1000,
    quick_size=100,
    unit="second",
    per="multiply-add",
    expected=by_numpy(vectors),
)
matmul = workload(
    "matmul",
    f"Product of arrays of scalars, 10 x {SIDE} by {SIDE} x {SIDE}, forward alone",
    size=10 * SIDE**2,
    quick_size=10 * SIDE**2,
    unit="second",
    per="multiply-add",
    expected=by_numpy(matrices),
)


def array_step(function, arguments):
    """A step that makes a graph from arrays, of one kind or another, of an engine's scalars."""
    return evaluation_step(
        lambda: function(*arguments), lambda result: [x.data for x in np.ravel(result)]
    )


def objects(Value, arrays):
    """NumPy's arrays of objects. Its loop in C calls each object's own operation."""
    return [np.vectorize(Value, otypes=[object])(array) for array in arrays]


def on_arrays(problem):
    def run(size):
        import micrograd_c as mg

        function, arguments = problem(size)
        return array_step(function, list(map(mg.array, arguments)))

    return run


def on_objects(problem):
    def run(size):
        from micrograd_c import Value

        function, arguments = problem(size)
        return array_step(function, objects(Value, arguments))

    return run


def on_micrograd(problem):
    def run(size):
        from micrograd.engine import Value

        function, arguments = problem(size)
        return array_step(function, objects(Value, arguments))

    return run


for load, problem in (elementwise, expression), (dot, vectors), (matmul, matrices):
    load.on("micrograd_c.array")(on_arrays(problem))
    scale = 0.1 if load is matmul else 1.0
    load.on("micrograd", scale, "NumPy's array of objects")(on_micrograd(problem))

elementwise.on("micrograd_c", note="NumPy's array of objects")(on_objects(expression))


@dot.on("micrograd_c", note="mg.dot")
def _(size):
    import micrograd_c as mg

    _, arguments = vectors(size)
    return array_step(mg.dot, objects(mg.Value, arguments))


@matmul.on("micrograd_c", note="mg.dot of rows and columns")
def _(size):
    import micrograd_c as mg

    def product(rows, columns):
        return [[mg.dot(row, column) for column in columns] for row in rows]

    _, (left, right) = matrices(size)
    left, right = objects(mg.Value, [left, right.T])
    return array_step(product, [left.tolist(), right.tolist()])
