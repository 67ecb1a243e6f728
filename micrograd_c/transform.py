"""Derivatives of functions: `grad`, `jacobian`, `hessian` and their kin, as JAX names them.

A function of numbers and arrays is compiled (see `micrograd_c.compile`, whose limits hold: no
`if` on a number that depends on an argument). Its derivative is made from its program, and is a
program again. So derivatives may be taken of derivatives, to any order, and within compiled
functions; given Values, they return Values with their graph, so `backward` goes through them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

from micrograd_c._core import (
    Function,
    Program,
    adjoints,
    assembled,
    assembled_result,
    chosen_arguments,
    column_colours,
    dependencies,
    end_of,
    evaluated,
    evaluated_along,
    flat_program,
    floats_of,
    gradient_at,
    objects,
    operands_like,
    optimized,
    point,
    recorded,
    reshaped,
    result_and_aux,
    spec_text,
    tangents,
)

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

NONE, ONE = -1, -2  # a tangent or adjoint that is 0 or 1, where others are inputs of a number


def grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The gradient of a function whose result is one number, as a function of its arguments.

    argnums: by which positional argument, or a tuple of them; they must be made of floats. The
    gradient has the structure of the argument: a float, arrays, lists, tuples and dicts of them.
    has_aux: the function returns (result, aux); the gradient then comes as (gradient, aux).
    The function is compiled: it is run once for each signature of its arguments, and again where
    something changed that it reads from elsewhere. See `compile`.

    TypeError if the result is not one number, or an argument not made of floats.

    >>> import micrograd_c as mg
    >>> print(mg.grad(lambda x: x**3)(2.0), mg.grad(mg.grad(lambda x: x**3))(2.0))
    12.0 12.0
    >>> by_w, by_x = mg.grad(lambda w, x: w * x[0] * x[1], argnums=(0, 1))(2.0, [3.0, 4.0])
    >>> print(by_w, *by_x)
    12.0 8.0 6.0
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def gradient(*args: Any, **keywords: Any) -> Any:
        value, found = both(*args, **keywords)
        return (found, value[1]) if has_aux else found

    return gradient


def value_and_grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The same as `grad`, as pairs (value, gradient); with has_aux, ((value, aux), gradient).

    >>> import micrograd_c as mg
    >>> print(*mg.value_and_grad(lambda x: x**3)(2.0))
    8.0 12.0
    """
    compiled = compiled_function(function)
    argnums = checked_argnums(argnums)

    @functools.wraps(function)
    def value_and_gradient(*args: Any, **keywords: Any) -> Any:
        found = gradient_at(compiled, args, keywords, argnums, has_aux)
        if found is not None:
            return found
        at = Point(compiled, args, keywords, has_aux)
        at.check_scalar()
        arguments, wanted = at.by(argnums)
        outputs = at.outputs("grad", lambda: adjoints(at.graph, wanted, [at.one_head()]))
        gradient = outputs[at.size :]
        return at.result(outputs), assembled(arguments, argnums, gradient, shaping(outputs))

    return value_and_gradient


def jvp(
    function: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """The result of a function and its derivative along one direction, in one forward sweep.

    primals: a tuple or list of the positional arguments, made of floats. tangents: one for each,
    of its structure. Returns (result, tangent), with has_aux (result, tangent, aux).

    TypeError if primals and tangents are not two sequences, ValueError if they differ in length or
    structure.

    >>> import micrograd_c as mg
    >>> print(*mg.jvp(lambda x, y: x * y, (3.0, 4.0), (1.0, 0.5)))
    12.0 5.5
    """
    check_sequences(primals, tangents)
    at = Point(compiled_function(function), tuple(primals), {}, has_aux)
    arguments, wanted = at.by(tuple(range(len(primals))))
    seeds = joined(
        operands_like(tangent, f"tangents[{k}]", argument.spec)
        for k, (argument, tangent) in enumerate(zip(arguments, tangents))
    )
    outputs = at.outputs("jvp", lambda: along(at.graph, at.direction(wanted)), seeds)
    result = at.result(outputs)
    part = outputs[at.size : at.size + at.count]
    tangent = assembled_result(at.spec, part, shaping(outputs))
    return (result[0], tangent, result[1]) if has_aux else (result, tangent)


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The result of a function, and a function that pulls cotangents back to its arguments.

    Returns (result, pull), with has_aux (result, pull, aux). pull(cotangent), of the structure of
    the result (else ValueError), is a tuple of the derivatives of the sum of cotangent * result,
    one for each of the primals.

    >>> import micrograd_c as mg
    >>> result, pull = mg.vjp(lambda x, y: [x * y, x + y], 3.0, 4.0)
    >>> print(*result, *pull([1.0, 10.0]))
    12.0 7.0 14.0 13.0
    """
    at = Point(compiled_function(function), primals, {}, has_aux)
    argnums = tuple(range(len(primals)))
    arguments, wanted = at.by(argnums)

    def pull(cotangent: Any) -> Any:
        heads = operands_like(cotangent, "the cotangent", at.spec)
        outputs = at.outputs("vjp", lambda: adjoints(at.graph, wanted, [at.heads()]), heads)
        return assembled(arguments, argnums, outputs[at.size :], shaping(outputs))

    result = at.result(at.outputs("value", lambda: at.graph))
    return (result[0], pull, result[1]) if has_aux else (result, pull)


def hvp(function: Callable[..., Any], x: Any, v: Any) -> Any:
    """The Hessian of a function of one argument, with one number as its result, times a vector.

    x, v: of the same structure, which the product has, too (ValueError where they differ). Costs a
    few evaluations of the function; the Hessian itself is not made.

    >>> import numpy, micrograd_c as mg
    >>> mg.hvp(lambda x: x[0] ** 2 * x[1], numpy.array([3.0, 4.0]), numpy.array([1, 0])).tolist()
    [8.0, 6.0]
    """
    at = Point(compiled_function(function), (x,), {})
    arguments, wanted = at.by(0)
    seeds = operands_like(v, "v", arguments[0].spec)

    def product() -> Any:
        graph = along(at.gradient_graph(wanted), at.direction(wanted))
        return graph._replace(outputs=graph.outputs[len(seeds) :])

    outputs = at.outputs("hvp", product, seeds)
    return assembled(arguments, 0, outputs, shaping(outputs))


def jacobian(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    sparse: bool = False,
) -> Callable[..., Any]:
    """The Jacobian of a function, as a function of its arguments.

    For a result of shape r and an argument of shape a it has the shape (*r, *a); where results or
    arguments are structures, it is a structure of the results' of structures of the arguments'. By
    forward mode where there are no more inputs than results, else by reverse mode, many directions
    at once. argnums, has_aux: see `grad`.

    sparse=True gives a `scipy.sparse.csr_array` of shape (numbers in the result, numbers in the
    argument): which elements can be other than 0 is found from the program, and columns (or rows)
    that have no row (or column) in common are found in one sweep. So there are at least as many
    sweeps as the fullest row has elements, or the fullest column. Needs scipy: `pip install
    micrograd_c[sparse]`.

    >>> import numpy, micrograd_c as mg
    >>> mg.jacobian(lambda x: x**2)(numpy.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    >>> mg.jacobian(lambda x: x**2, sparse=True)(numpy.array([1.0, 2.0])).toarray().tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    argnums = checked_argnums(argnums)

    def derivative(at: Point, wanted: Any, arguments: Any) -> Any:
        def results() -> Any:
            return at.graph._replace(outputs=at.graph.outputs[: at.count])

        if sparse:
            return at.sparse(
                ("sparse jacobian", argnums), results, wanted, at.count, symmetric=False
            )
        rows = Rows(at.matrix(("jacobian", argnums), results, wanted, at.count), arguments, argnums)
        return assembled_result(at.spec, rows, rows.of_array)

    return matrix_function(function, argnums, has_aux, sparse, derivative)


def hessian(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    sparse: bool = False,
) -> Callable[..., Any]:
    """The Hessian of a function whose result is one number, as a function of its arguments.

    For an argument of shape a it has the shape (*a, *a); structures and argnums as in `jacobian` of
    `grad`. sparse=True: a `scipy.sparse.csr_array` of shape (n, n), see `jacobian`.

    >>> import numpy, micrograd_c as mg
    >>> mg.hessian(lambda x: x[0] ** 2 * x[1])(numpy.array([3.0, 4.0])).tolist()
    [[8.0, 6.0], [6.0, 0.0]]
    """
    argnums = checked_argnums(argnums)

    def derivative(at: Point, wanted: Any, arguments: Any) -> Any:
        def gradient() -> Any:
            return at.gradient_graph(wanted)

        at.check_scalar()
        size = int(wanted.sum())
        if sparse:
            return at.sparse(("sparse hessian", argnums), gradient, wanted, size, symmetric=True)
        rows = Rows(at.matrix(("hessian", argnums), gradient, wanted, size), arguments, argnums)
        return assembled(arguments, argnums, rows, rows.of_array)

    return matrix_function(function, argnums, has_aux, sparse, derivative)


def matrix_function(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...],
    has_aux: bool,
    sparse: bool,
    derivative: Callable[..., Any],
) -> Callable[..., Any]:
    """What `jacobian` and `hessian` return."""
    compiled = compiled_function(function)
    if sparse and isinstance(argnums, tuple):
        raise TypeError(f"a sparse matrix is by one argument: argnums={argnums!r} must be a number")

    @functools.wraps(function)
    def matrix(*args: Any, **keywords: Any) -> Any:
        at = Point(compiled, args, keywords, has_aux)
        arguments, wanted = at.by(argnums)
        found = derivative(at, wanted, arguments)
        return (found, at.result(at.values())[1]) if has_aux else found

    return matrix


# ------------------------------------------------------------------------------ what they share


def compiled_function(function: Any) -> Any:
    """The function compiled, once for all its derivatives; what is compiled as it is."""
    if isinstance(function, (Function, Program)):
        return function
    known = getattr(function, "__dict__", {}).get("_micrograd_c")
    if known is not None and known.__wrapped__ is function:  # wrappers copy what functions carry
        return known
    compiled = Function(function)
    try:
        function._micrograd_c = compiled
    except AttributeError:
        pass  # a method, or a builtin: it is traced for each derivative
    return compiled


def checked_argnums(argnums: Any) -> int | tuple[int, ...]:
    try:
        if isinstance(argnums, (tuple, list)):
            return tuple(operator.index(k) for k in argnums)
        return operator.index(argnums)
    except TypeError:
        raise TypeError(f"argnums must be an integer or a tuple of such, not {argnums!r}") from None


def along(graph: Any, direction: Any) -> Any:
    return tangents(graph, [direction])


def check_sequences(primals: Any, tangents: Any) -> None:
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise TypeError(
                f"{name} must be a tuple or list, one for each argument, not {type(given).__name__}"
            )
    if len(primals) != len(tangents):
        raise ValueError(f"{len(primals)} primals want as many tangents, not {len(tangents)}")


class Point:
    """A function at one point: its program, and the numbers or Values there."""

    def __init__(
        self, compiled: Any, args: tuple[Any, ...], keywords: dict[str, Any], has_aux: bool = False
    ):
        self.program, self.operands = point(compiled, args, keywords)
        self.graph = self.program.graph
        self.spec, self.aux = result_and_aux(self.program, has_aux)
        self.size = len(self.graph.outputs)
        self.count = end_of(self.spec, 0)[1]  # of the outputs: those that are differentiated

    def by(self, argnums: int | tuple[int, ...]) -> tuple[Any, Any]:
        """The arguments named, numbered among the inputs wanted; and which inputs these are."""
        import numpy

        def named() -> Any:
            arguments, mask = chosen_arguments(self.program, argnums)
            wanted = numpy.frombuffer(mask, numpy.uint8)
            return [
                a._replace(first=int(wanted[: a.first].sum()), spec=tuple(floats_of(a.spec)))
                for a in arguments
            ], wanted

        found: tuple[Any, Any] = self.once(("by", argnums), named)
        return found

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is made of the program once; its outputs are others with and without an aux."""
        key = key, self.aux is None
        if key not in self.program.derived:
            self.program.derived[key] = make()
        return self.program.derived[key]

    def check_scalar(self) -> None:
        if self.spec != ("f",):
            raise TypeError(
                "a gradient or Hessian is that of a function with one number as its result, not"
                f" {spec_text(self.spec)}"
            )

    # Sources of tangents and adjoints, see `tangents` and `adjoints` in the core. Seeds are inputs
    # after those of the function.

    def direction(self, wanted: Any) -> Any:
        """A seed for each input wanted."""
        import numpy

        return numpy.where(wanted, len(wanted) + places_of(wanted), NONE).astype(numpy.int32)

    def heads(self) -> Any:
        """A seed for each output that is differentiated."""
        import numpy

        sources = numpy.full(self.size, NONE, numpy.int32)
        start = self.program.inputs
        sources[: self.count] = numpy.arange(start, start + self.count)
        return sources

    def one_head(self) -> Any:
        """1 for the output that is differentiated."""
        import numpy

        sources = numpy.full(self.size, NONE, numpy.int32)
        sources[0] = ONE
        return sources

    def gradient_graph(self, wanted: Any) -> Any:
        """The graph of the gradient by the inputs wanted, where the result is one number."""
        self.check_scalar()
        graph = adjoints(self.graph, wanted, [self.one_head()])
        return optimized(graph._replace(outputs=graph.outputs[self.size :]))

    # Numbers (or Values, where there are any among the operands or a trace is on).

    def outputs(self, key: Any, make: Callable[[], Any], seeds: Any = ()) -> Any:
        """The outputs of a graph made from the program's, whose further inputs are `seeds`."""
        if not isinstance(self.operands, list) and not isinstance(seeds, list):
            flat = self.once(key, lambda: flat_program(self.program, make(), len(seeds)))
            return evaluated(flat, self.operands, seeds)
        return recorded(self.program, optimized(make()), [*self.operands, *seeds])

    def values(self) -> Any:
        return self.outputs("value", lambda: self.graph)

    def result(self, outputs: Any) -> Any:
        """What the function returns, with has_aux a pair, from outputs that begin with its own."""
        array = shaping(outputs)
        found = assembled_result(self.spec, outputs[: self.count], array)
        if self.aux is None:
            return found
        return found, assembled_result(self.aux, outputs[self.count : self.size], array)

    def matrix(self, key: Any, make: Callable[[], Any], wanted: Any, size: int) -> Any:
        """The Jacobian of a graph of `size` outputs: float64[size, inputs wanted]."""
        import numpy

        columns = int(wanted.sum())
        forward = columns <= size
        if isinstance(self.operands, list):
            return self.recorded_matrix(make(), wanted, size, columns, forward)

        def derivative() -> Any:
            graph = make()
            if forward:
                graph = along(graph, self.direction(wanted))
            else:
                heads = numpy.arange(self.program.inputs, self.program.inputs + size)
                graph = adjoints(graph, wanted, [heads.astype(numpy.int32)])
            graph = graph._replace(outputs=graph.outputs[size:])
            units = numpy.eye(min(columns, size))
            return flat_program(self.program, graph, len(units)), units

        flat, units = self.once(key, derivative)
        found = evaluated_along(flat, units, self.operands)
        return found if forward else found.T

    def recorded_matrix(
        self, graph: Any, wanted: Any, size: int, columns: int, forward: bool
    ) -> Any:
        import numpy

        if forward:
            units = unit_vectors(numpy.nonzero(wanted)[0], len(wanted))
            graph = tangents(graph, units)
        else:
            graph = adjoints(graph, wanted, unit_vectors(numpy.arange(size), size))
        graph = optimized(graph._replace(outputs=graph.outputs[size:]))
        found = objects(recorded(self.program, graph, self.operands), (size * columns,))
        return found.reshape(columns, size).T if forward else found.reshape(size, columns)

    def sparse(
        self, key: Any, make: Callable[[], Any], wanted: Any, size: int, symmetric: bool
    ) -> Any:
        """The Jacobian of a graph of `size` outputs by the inputs wanted, a csr_array."""
        try:
            from scipy.sparse import csr_array
        except ImportError as error:
            raise ImportError("sparse=True needs scipy: pip install micrograd_c[sparse]") from error
        if isinstance(self.operands, list):
            raise TypeError("sparse=True takes numbers, no Values, and not while tracing")

        def elements() -> Any:
            graph, starts, columns = compressed(make(), wanted, size, symmetric)
            return flat_program(self.program, graph, 0), starts, columns

        flat, starts, columns = self.once(key, elements)
        data = evaluated(flat, self.operands, ())
        return csr_array((data, columns.copy(), starts.copy()), (size, int(wanted.sum())))


def shaping(outputs: Any) -> Callable[..., Any]:
    """What makes arrays of outputs: of floats, or of the Values in a list."""
    return objects if isinstance(outputs, list) else reshaped


class Rows:
    """The rows of a Jacobian, in the structures of the arguments: a sequence for `assembled`."""

    def __init__(self, matrix: Any, arguments: Any, argnums: int | tuple[int, ...]):
        self.matrix, self.arguments, self.argnums = matrix, arguments, argnums

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return Rows(self.matrix[k], self.arguments, self.argnums)
        return self.of_array(self[k : k + 1], ())

    def of_array(self, rows: Rows, shape: tuple[int, ...]) -> Any:
        """The part of the Jacobian for a result of that shape, which these rows are of."""
        matrix = rows.matrix
        columns = matrix.T.reshape(matrix.shape[1], *shape)

        def array(part: Any, inner: tuple[int, ...]) -> Any:
            return part.reshape(len(part), len(matrix)).T.reshape(shape + inner)

        return assembled(self.arguments, self.argnums, columns, array)


def joined(parts: Iterable[Any]) -> Any:
    """Several operands as one array, or where there are Values among them, one list."""
    import numpy

    parts = list(parts)
    if any(isinstance(part, list) for part in parts):
        return [x for part in parts for x in part]
    return numpy.concatenate(parts or [numpy.empty(0)])


def places_of(wanted: Any) -> Any:
    """For each input its place among those wanted."""
    import numpy

    return numpy.cumsum(wanted, dtype=numpy.int64) - wanted


def unit_vectors(places: Any, size: int) -> list[Any]:
    """For each place, a source of tangents or adjoints that is 1 there and 0 elsewhere."""
    import numpy

    vectors = numpy.full((len(places), size), NONE, numpy.int32)
    vectors[numpy.arange(len(places)), places] = ONE
    return list(vectors)


# ---------------------------------------------------------------------------------------- sparsity


def compressed(graph: Any, wanted: Any, size: int, symmetric: bool) -> tuple[Any, Any, Any]:
    """A graph of the elements of a Jacobian that may be other than 0; and its CSR pattern.

    Columns of one colour have no row in common, so one forward sweep, with the tangents of their
    inputs all 1, gives the elements of all of them; or so with rows, by reverse sweeps, where that
    takes fewer. Source: Curtis, Powell and Reid, "On the Estimation of Sparse Jacobian Matrices",
    1974.
    """
    import numpy

    starts, inputs = dependencies(graph, wanted)
    columns = places_of(wanted)[inputs]
    count = int(wanted.sum())
    rows = numpy.repeat(numpy.arange(size), numpy.diff(starts))
    if symmetric:
        rows, columns = symmetrised(rows, columns, count)
        starts = numpy.concatenate(([0], numpy.cumsum(numpy.bincount(rows, minlength=size))))
    order = numpy.argsort(columns, kind="stable")
    column_starts = numpy.concatenate(([0], numpy.cumsum(numpy.bincount(columns, minlength=count))))
    # There are at least as many colours of columns as the longest row has elements, and so the
    # other way round; and to colour what meets in long rows takes long.
    at_least_columns, at_least_rows = longest(starts), longest(column_starts)
    by_column: Any = None
    by_row: Any = None
    if at_least_columns <= at_least_rows:
        by_column = column_colours(starts, columns, count)
    if by_column is None or at_least_rows <= by_column.max(initial=-1):
        by_row = column_colours(column_starts, rows[order], size)
    if by_column is None and at_least_columns <= by_row.max(initial=-1):
        by_column = column_colours(starts, columns, count)
    if (
        by_row is None
        or by_column is not None
        and by_column.max(initial=-1) <= by_row.max(initial=-1)
    ):
        sources = coloured(by_column, numpy.nonzero(wanted)[0], len(wanted))
        graph = tangents(graph, sources)
        chosen = size + by_column[columns] * size + rows
    else:
        graph = adjoints(graph, wanted, coloured(by_row, numpy.arange(size), size))
        chosen = size + by_row[rows] * count + columns
    if symmetric:  # both halves are one: what is above the diagonal is taken from below it
        position = numpy.lexsort((rows, columns))  # the place of each element's mirror image
        chosen = numpy.where(rows < columns, chosen[position], chosen)
    return (
        graph._replace(outputs=graph.outputs[chosen]),
        starts.astype(numpy.int32),
        columns.astype(numpy.int32),
    )


def longest(starts: Any) -> int:
    """The most elements of a row, or column."""
    import numpy

    return int(numpy.diff(starts).max(initial=0))


def symmetrised(rows: Any, columns: Any, size: int) -> tuple[Any, Any]:
    """A pattern with the mirror image of each element, in the order of rows, then columns."""
    import numpy

    keys = numpy.unique(numpy.concatenate((rows * size + columns, columns * size + rows)))
    return keys // size, keys % size


def coloured(colours: Any, places: Any, size: int) -> list[Any]:
    """For each colour, a source that is 1 at the places of that colour."""
    import numpy

    vectors = numpy.full((int(colours.max(initial=-1)) + 1, size), NONE, numpy.int32)
    vectors[colours, places] = ONE
    return list(vectors)
