"""Derivatives of functions: `grad`, `jacobian`, `hessian` and their kin, as JAX names them.

A function of numbers and arrays is compiled (see `micrograd_c.compile`, whose limits hold: no
`if` on a number that depends on an argument). Its derivative is made from its program, once, and
is a program again. So derivatives may be taken of derivatives, to any order, and within compiled
functions. Given Values, they return Values with a graph, so `backward` goes through them: up to 16
results are one node of the tape each; if there are more, the tape has the operations themselves.

What `grad`, `value_and_grad`, `jacobian` and `hessian` return is a `Derivative`: `programs` are
those of the function, which all its derivatives share, and `clear()` forgets them.
"""

from __future__ import annotations

import functools
import itertools
import operator
import types
from collections.abc import Callable
from typing import Any

from micrograd_c._core import (
    Function,
    Program,
    assembled,
    assembled_result,
    chosen_arguments,
    derived,
    evaluated,
    evaluated_along,
    flat_program,
    floats_of,
    global_name,
    gradient_at,
    numbers_alone,
    operands_like,
    outcome,
    point,
    result_and_aux,
    spec_and_leaves,
)
from micrograd_c._graph import adjoints, column_colours, dependencies, optimized, tangents
from micrograd_c.signatures import end_of, spec_text

__all__ = ["Derivative", "grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

NONE, ONE = -1, -2  # a tangent or adjoint that is 0 or 1, where others are inputs of a number


def grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Derivative:
    """The gradient of a function whose result is one number, as a function of its arguments.

    argnums: the number of a positional argument, or a tuple of numbers; these arguments must be
    made of floats. The gradient has the structure of the argument: a float, arrays, lists, tuples
    and dicts of them. Given Values, it returns Values with a graph. has_aux: the function returns
    (result, aux), and the gradient comes as (gradient, aux).

    The function is compiled (see `compile`): it runs once for each signature of its arguments, and
    again if something has changed that it reads from outside.

    TypeError if the result is not one number, or an argument is not made of floats.

    >>> import micrograd_c as mg
    >>> print(mg.grad(lambda x: x**3)(2.0), mg.grad(mg.grad(lambda x: x**3))(2.0))
    12.0 12.0
    >>> by_w, by_x = mg.grad(lambda w, x: w * x[0] * x[1], argnums=(0, 1))(2.0, [3.0, 4.0])
    >>> print(by_w, *by_x)
    12.0 8.0 6.0
    """
    argnums, has_aux = checked_argnums(argnums), bool(has_aux)
    key = gradient_program, argnums, has_aux, False

    def derive(program: Program, inputs: Any) -> Any:
        both = gradient_at(program, inputs, argnums, has_aux)
        if both is None:
            return outcome(program, key, inputs)
        return (both[1], both[0][1]) if has_aux else both[1]

    return Derivative(derive, function, (grad, argnums, has_aux))


def value_and_grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Derivative:
    """The value and the gradient of a function whose result is one number, as a pair.

    It returns a function of the arguments of `function`, which returns (value, gradient), or with
    has_aux, where the function returns (result, aux), ((value, aux), gradient). argnums: the number
    of a positional argument, or a tuple of numbers. The gradient has the structure of the argument:
    a float, arrays, lists, tuples and dicts of them. Given Values, it returns Values with a graph.

    TypeError if the result is not one number, or an argument is not made of floats.

    >>> import micrograd_c as mg
    >>> print(*mg.value_and_grad(lambda x: x**3)(2.0))
    8.0 12.0
    """
    argnums, has_aux = checked_argnums(argnums), bool(has_aux)
    key = gradient_program, argnums, has_aux, True

    def derive(program: Program, inputs: Any) -> Any:
        both = gradient_at(program, inputs, argnums, has_aux)
        return outcome(program, key, inputs) if both is None else both

    return Derivative(derive, function, (value_and_grad, argnums, has_aux))


def jvp(
    function: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """The result of a function and its derivative along one direction, in one forward sweep.

    primals: a tuple or list of the positional arguments, made of floats. tangents: a tuple or list
    with one item for each primal, in its structure. Returns (result, tangent), where the tangent
    has the structure of the result; or with has_aux, where the function returns (result, aux),
    (result, tangent, aux).

    TypeError if primals or tangents are not a tuple or list; ValueError if they differ in length or
    structure.

    >>> import micrograd_c as mg
    >>> print(*mg.jvp(lambda x, y: x * y, (3.0, 4.0), (1.0, 0.5)))
    12.0 5.5
    """
    check_sequences(primals, tangents)
    program, inputs = point(compiled_function(function), tuple(primals), {})
    arguments, _ = derived(program, (by, tuple(range(len(primals)))))
    seeds = [
        operands_like(tangent, f"tangents[{k}]", argument.spec)
        for k, (argument, tangent) in enumerate(zip(arguments, tangents))
    ]
    found: tuple[Any, ...] = outcome(program, (tangent_program, bool(has_aux)), inputs, *seeds)
    return found


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The result of a function, and a function that takes a head gradient back to the arguments.

    primals: the positional arguments, made of floats. Returns (result, pull), or with has_aux,
    where the function returns (result, aux), (result, pull, aux). pull(head_gradient) takes numbers
    or Values in the structure of the result. It returns a tuple with one item for each of the
    primals, in its structure: the derivative of the sum of head_gradient * result. Each pull is one
    reverse sweep. JAX calls the head gradient a cotangent.

    TypeError if an argument is not made of floats; ValueError if head_gradient has another
    structure than the result.

    >>> import micrograd_c as mg
    >>> result, pull = mg.vjp(lambda x, y: [x * y, x + y], 3.0, 4.0)
    >>> print(*result, *pull([1.0, 10.0]))
    12.0 7.0 14.0 13.0
    """
    program, inputs = point(compiled_function(function), primals, {})
    spec, _ = result_and_aux(program, has_aux)
    derived(program, (by, tuple(range(len(primals)))))  # TypeError where they are not of floats

    def pull(head_gradient: Any) -> Any:
        heads = operands_like(head_gradient, "head_gradient", spec)
        return outcome(program, (pull_program, bool(has_aux)), inputs, heads)

    result = outcome(program, (value_program,), inputs)
    return (result[0], pull, result[1]) if has_aux else (result, pull)


def hvp(function: Callable[..., Any], x: Any, v: Any) -> Any:
    """The product of the Hessian of a function at x with a vector v.

    function: of one argument, with one number as its result. x: the argument. v: numbers in the
    structure of x. The product has this structure, too. It costs a few evaluations of the function;
    the Hessian itself is not made.

    TypeError if the result is not one number or x is not made of floats; ValueError if v has
    another structure than x.

    >>> import numpy, micrograd_c as mg
    >>> mg.hvp(lambda x: x[0] ** 2 * x[1], numpy.array([3.0, 4.0]), numpy.array([1, 0])).tolist()
    [8.0, 6.0]
    """
    program, inputs = point(compiled_function(function), (x,), {})
    arguments, _ = derived(program, (by, 0))
    return outcome(program, (product_program,), inputs, operands_like(v, "v", arguments[0].spec))


def jacobian(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    sparse: bool = False,
) -> Derivative:
    """The Jacobian of a function, as a function of its arguments.

    For a result of shape r and an argument of shape a, it has the shape (*r, *a). If results or
    arguments are lists, tuples or dicts, it has the structure of the result, and in place of each
    number or array there the structure of the argument. Forward mode is used if there are no more
    inputs than results, else reverse mode, with many directions at once.

    argnums: the number of a positional argument, or a tuple of numbers. has_aux: the function
    returns (result, aux), and the Jacobian comes as (jacobian, aux).

    sparse=True gives a `scipy.sparse.csr_array` of shape (numbers in the result, numbers in the
    argument). The program tells which elements can be other than 0. Columns without a common row
    share one forward sweep, or rows without a common column one reverse sweep: A. R. Curtis, M. J.
    D. Powell and J. K. Reid, "On the Estimation of Sparse Jacobian Matrices", 1974. It needs scipy:
    `pip install micrograd_c[sparse]`.

    TypeError if an argument is not made of floats; with sparse=True also if argnums is a tuple or
    an argument holds Values. ImportError if sparse=True and scipy is missing.

    >>> import numpy, micrograd_c as mg
    >>> mg.jacobian(lambda x: x**2)(numpy.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    >>> mg.jacobian(lambda x: x**2, sparse=True)(numpy.array([1.0, 2.0])).toarray().tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    derive = matrix_at(results_of, argnums, has_aux, sparse)
    return Derivative(derive, function, (jacobian, argnums, has_aux, sparse))


def hessian(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    sparse: bool = False,
) -> Derivative:
    """The Hessian of a function whose result is one number, as a function of its arguments.

    For an argument of shape a, it has the shape (*a, *a). If the argument is a list, tuple or dict,
    it has the structure of the argument, and in place of each number or array there that structure
    again. argnums: the number of a positional argument, or a tuple of numbers. has_aux: the
    function returns (result, aux), and the Hessian comes as (hessian, aux). sparse=True gives a
    `scipy.sparse.csr_array` of shape (n, n) for n numbers in the argument, see `jacobian`.

    TypeError if the result is not one number, or an argument is not made of floats; with
    sparse=True also if argnums is a tuple or an argument holds Values. ImportError if sparse=True
    and scipy is missing.

    >>> import numpy, micrograd_c as mg
    >>> mg.hessian(lambda x: x[0] ** 2 * x[1])(numpy.array([3.0, 4.0])).tolist()
    [[8.0, 6.0], [6.0, 0.0]]
    """
    derive = matrix_at(gradient_of, argnums, has_aux, sparse)
    return Derivative(derive, function, (hessian, argnums, has_aux, sparse))


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
        raise TypeError(
            f"argnums must be an integer or a tuple of integers, not {argnums!r}"
        ) from None


def check_sequences(primals: Any, tangents: Any) -> None:
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise TypeError(
                f"{name} must be a tuple or list, one for each argument, not {type(given).__name__}"
            )
    if len(primals) != len(tangents):
        raise ValueError(
            f"tangents must be as many as primals ({len(primals)}), not {len(tangents)}"
        )


class Derivative:
    """What `grad`, `value_and_grad`, `jacobian` and `hessian` return: a function of the arguments.

    It has the name and the documentation of the function that it is the derivative of. It works as
    a method, and pickles if the function does.

    >>> import micrograd_c as mg
    >>> gradient = mg.grad(lambda x: x**3)
    >>> print(gradient(2.0), len(gradient.programs))
    12.0 1
    >>> gradient.clear()
    >>> gradient.programs
    ()
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __init__(
        self, derive: Callable[..., Any], function: Callable[..., Any], made: tuple[Any, ...]
    ):
        """derive: of a program and its inputs. made: what made it of the function, with what."""
        functools.update_wrapper(self, function)  # first: it copies attributes of a Derivative, too
        self._compiled = compiled_function(function)
        self._derive, self._made = derive, made

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        return self._derive(*point(self._compiled, args, keywords))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs of the function that have been traced, a tuple of `Program`.

        All derivatives of the function share them.

        >>> derivative = grad(lambda x: x**3)
        >>> _ = derivative(2.0)
        >>> len(derivative.programs)
        1
        """
        of = self._compiled
        return (of,) if isinstance(of, Program) else of.programs

    def clear(self) -> None:
        """Forget all programs of the function, and their derivatives: the next call traces anew.

        >>> derivative = grad(lambda x: x**3)
        >>> _ = derivative(2.0)
        >>> derivative.clear()
        >>> derivative.programs
        ()
        """
        of = self._compiled
        of.derived.clear() if isinstance(of, Program) else of.clear()

    def __reduce__(self) -> Any:
        make, *given = self._made
        return global_name(self) or (make, (self.__wrapped__, *given))

    def __repr__(self) -> str:
        name = getattr(self.__wrapped__, "__qualname__", repr(self.__wrapped__))
        return f"<{self._made[0].__name__} of {name}>"


class Primal:
    """A program to be differentiated: its graph, whose outputs are the result, then the aux."""

    def __init__(self, program: Program, has_aux: bool):
        self.program, self.graph = program, program.graph
        self.spec, self.aux = result_and_aux(program, has_aux)
        self.size = len(self.graph.outputs)
        self.count = end_of(self.spec, 0)[1]  # of the outputs: those that are differentiated

    def check_scalar(self) -> None:
        if self.spec not in (("f",), (("a", (), "f"),)):
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

    # Parts of what a derived program returns: the signature of each, and the nodes of its numbers.

    def value(self) -> Part:
        return self.spec, self.graph.outputs[: self.count]

    def with_aux(self, nodes: Any, *parts: Part) -> Part:
        """These parts, and if there is an aux, which is of these nodes, that too."""
        if self.aux is not None:
            parts = (*parts, (self.aux, nodes))
        return together(*parts) if len(parts) > 1 else parts[0]


Part = tuple[Any, Any]


def together(*parts: Part) -> Part:
    """A tuple of parts."""
    import numpy

    nodes = [numpy.empty(0, numpy.int32), *(nodes for _, nodes in parts)]
    spec = ("(", len(parts)), *itertools.chain.from_iterable(spec for spec, _ in parts)
    return spec, numpy.concatenate(nodes)


def by(program: Program, argnums: int | tuple[int, ...]) -> tuple[Any, Any]:
    """The arguments named, numbered among the inputs wanted; and which inputs these are."""
    import numpy

    arguments, mask = chosen_arguments(program, argnums)
    wanted = numpy.frombuffer(mask, numpy.uint8)
    return [
        a._replace(first=int(wanted[: a.first].sum()), spec=tuple(floats_of(a.spec)))
        for a in arguments
    ], wanted


def in_arguments(arguments: Any, argnums: int | tuple[int, ...], nodes: Any) -> Part:
    """A part in the structure of the arguments, of a node for each input wanted."""
    parts = [(a.spec, nodes[a.first : a.first + a.count]) for a in arguments]
    return together(*parts) if isinstance(argnums, tuple) else parts[0]


def flat(program: Program, graph: Any, part: Part, seeds: int = 0) -> Program:
    """The program of a graph that is made of another program's, which returns a part."""
    spec, nodes = part
    return flat_program(program, graph._replace(outputs=nodes), seeds, spec)


# ---- What is derived from a program: made once, see `derived` and `outcome` in the core


def value_program(program: Program) -> Program:
    """What the function itself returns."""
    return flat(program, program.graph, (program.result_spec, program.graph.outputs))


def gradient_program(
    program: Program, argnums: int | tuple[int, ...], has_aux: bool, with_value: bool
) -> Program:
    """What `grad`, or with_value `value_and_grad`, returns."""
    of = Primal(program, has_aux)
    of.check_scalar()
    arguments, wanted = by(program, argnums)
    graph = adjoints(of.graph, wanted, [of.one_head()])
    aux = graph.outputs[of.count : of.size]
    gradient = in_arguments(arguments, argnums, graph.outputs[of.size :])
    if with_value:
        return flat(program, graph, together(of.with_aux(aux, of.value()), gradient))
    return flat(program, graph, of.with_aux(aux, gradient))


def tangent_program(program: Program, has_aux: bool) -> Program:
    """What `jvp` returns; seeds: the tangents."""
    of = Primal(program, has_aux)
    wanted = every_input(program)
    graph = tangents(of.graph, [of.direction(wanted)])
    tangent = of.spec, graph.outputs[of.size : of.size + of.count]
    aux = graph.outputs[of.count : of.size]
    return flat(program, graph, of.with_aux(aux, of.value(), tangent), len(wanted))


def pull_program(program: Program, has_aux: bool) -> Program:
    """What the second result of `vjp` returns; seeds: the head gradient."""
    of = Primal(program, has_aux)
    graph = adjoints(of.graph, every_input(program), [of.heads()])
    argnums = tuple(range(len(program.arguments)))
    arguments, _ = by(program, argnums)
    return flat(
        program, graph, in_arguments(arguments, argnums, graph.outputs[of.size :]), of.count
    )


def product_program(program: Program) -> Program:
    """What `hvp` returns; seeds: the vector."""
    of = Primal(program, False)
    arguments, wanted = by(program, 0)
    graph, spec = gradient_of(of, arguments, 0, wanted)
    size = len(graph.outputs)
    graph = tangents(graph, [of.direction(wanted)])
    return flat(program, graph, (spec, graph.outputs[size:]), size)


def every_input(program: Program) -> Any:
    import numpy

    return numpy.ones(program.inputs, numpy.uint8)


# ---- Matrices. Their rows are of outputs of a graph, which are followed by the aux.


def results_of(of: Primal, arguments: Any, argnums: Any, wanted: Any) -> tuple[Any, Any]:
    """The graph and the signature of what a Jacobian differentiates: the results."""
    return of.graph, of.spec


def gradient_of(of: Primal, arguments: Any, argnums: Any, wanted: Any) -> tuple[Any, Any]:
    """The graph and the signature of what a Hessian differentiates: the gradient."""
    import numpy

    of.check_scalar()
    graph = adjoints(of.graph, wanted, [of.one_head()])
    spec, nodes = in_arguments(arguments, argnums, graph.outputs[of.size :])
    nodes = numpy.concatenate((nodes, graph.outputs[of.count : of.size]))
    return optimized(graph._replace(outputs=nodes)), spec


def matrix_at(
    rows_of: Callable[..., Any], argnums: int | tuple[int, ...], has_aux: bool, sparse: bool
) -> Callable[..., Any]:
    """What finds the matrix at the inputs of a program."""
    given = rows_of, checked_argnums(argnums), bool(has_aux)
    if sparse and isinstance(argnums, (tuple, list)):
        raise TypeError(f"a sparse matrix is by one argument: argnums={argnums!r} must be a number")

    def derive(program: Program, inputs: Any) -> Any:
        if sparse:
            found = sparse_matrix(program, inputs, given)
        elif numbers_alone(inputs):
            found = dense_matrix(program, inputs, given)
        else:
            return outcome(program, (matrix_of_values, *given), inputs)
        return (found, outcome(program, (value_program,), inputs)[1]) if has_aux else found

    return derive


class Matrix:
    """What is differentiated by what."""

    def __init__(self, program: Program, rows_of: Callable[..., Any], argnums: Any, has_aux: bool):
        self.of = Primal(program, has_aux)
        self.arguments, self.wanted = by(program, argnums)
        self.argnums = argnums
        graph, self.spec = rows_of(self.of, self.arguments, argnums, self.wanted)
        self.size, self.columns = end_of(self.spec, 0)[1], int(self.wanted.sum())
        self.graph = graph._replace(outputs=graph.outputs[: self.size])
        self.aux = graph.outputs[self.size :]
        self.forward = self.columns <= self.size

    def structure(self, numbers: Any) -> Any:
        """The matrix in its structure, of an array [size, columns]."""
        rows = Rows(numbers, self.arguments, self.argnums)
        return assembled_result(self.spec, rows, rows.of_array)


def matrix_of_values(program: Program, *given: Any) -> Program:
    import numpy

    m = Matrix(program, *given)
    if m.forward:
        graph = tangents(m.graph, unit_vectors(numpy.nonzero(m.wanted)[0], len(m.wanted)))
        nodes = graph.outputs[m.size :].reshape(m.columns, m.size).T
    else:
        graph = adjoints(m.graph, m.wanted, unit_vectors(numpy.arange(m.size), m.size))
        nodes = graph.outputs[m.size :].reshape(m.size, m.columns)
    spec, leaves = spec_and_leaves(m.structure(nodes))
    return flat(program, graph, m.of.with_aux(m.aux, (spec, numpy.array(leaves, numpy.int32))))


def swept_matrix(program: Program, *given: Any) -> tuple[Program, Any, Matrix]:
    """A program of one column, or row; the seeds of all of them; and what they are of."""
    import numpy

    m = Matrix(program, *given)
    if m.forward:
        graph = tangents(m.graph, [m.of.direction(m.wanted)])
    else:
        heads = numpy.arange(program.inputs, program.inputs + m.size, dtype=numpy.int32)
        graph = adjoints(m.graph, m.wanted, [heads])
    seeds = numpy.eye(min(m.columns, m.size))
    return flat(program, graph, of_array(graph.outputs[m.size :]), len(seeds)), seeds, m


def dense_matrix(program: Program, inputs: Any, given: tuple[Any, ...]) -> Any:
    one, seeds, m = derived(program, (swept_matrix, *given))
    found = evaluated_along(one, inputs, seeds)
    return m.structure(found if m.forward else found.T)


def elements(program: Program, *given: Any) -> tuple[Program, Any, Any, tuple[int, int]]:
    """A program of the elements that may be other than 0; their pattern as CSR; the shape."""
    m = Matrix(program, *given)
    graph, starts, columns = compressed(
        m.graph, m.wanted, m.size, symmetric=given[0] is gradient_of
    )
    return flat(program, graph, of_array(graph.outputs)), starts, columns, (m.size, m.columns)


def sparse_matrix(program: Program, inputs: Any, given: tuple[Any, ...]) -> Any:
    try:
        from scipy.sparse import csr_array
    except ImportError as error:
        raise ImportError("sparse=True needs scipy: pip install micrograd_c[sparse]") from error
    if not numbers_alone(inputs):
        raise TypeError("sparse=True takes numbers, not Values, and cannot be used while tracing")
    of_elements, starts, columns, shape = derived(program, (elements, *given))
    return csr_array((evaluated(of_elements, inputs), columns.copy(), starts.copy()), shape)


def of_array(nodes: Any) -> Part:
    """A part that is an array of one dimension."""
    return (("a", (len(nodes),), "f"),), nodes


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
