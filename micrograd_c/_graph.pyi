"""What programs compute, and how it is executed: graphs, passes over them, their derivatives."""

from collections.abc import Iterable
from typing import Any, NamedTuple, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Bytes: TypeAlias = NDArray[np.uint8]
_Ints: TypeAlias = NDArray[np.int32]

OP_NAMES: tuple[str, ...]

class Graph(NamedTuple):
    """What a program computes: nodes, operands before the nodes that use them. Node 0 is the
    constant 1. The arrays are not to be changed."""

    op: _Bytes
    """What each node computes: an index of OP_NAMES."""
    lhs: _Ints
    """The first operand; the first edge; the kind of a leaf: 0 constant, 1 input, 2 captured."""
    rhs: _Ints
    """The second operand (of a unary operation the first again); how many edges; which leaf."""
    data: NDArray[np.float64]
    """The number of a constant, else 0."""
    edges: _Ints
    """The operands of dot, where, take and plain."""
    outputs: _Ints
    """The node of each result."""

def reachable(graph: Graph) -> Graph:
    """Without the nodes that no output needs, leaves included."""

def fold_constants(graph: Graph) -> Graph:
    """With the numbers that are known computed, and operations that do nothing left out."""

def share_nodes(graph: Graph) -> Graph:
    """With one node where there were several of the same operation and operands."""

def group_terms(graph: Graph, varying: Any) -> Graph:
    """With dots of pairs of several kinds divided into one dot for each kind."""

def fuse_sums(graph: Graph) -> Graph:
    """With sums of several additions, subtractions, products and dots made into one dot."""

def optimized(graph: Graph) -> Graph:
    """The passes, in their order."""

def varying_nodes(graph: Graph, mask: ArrayLike) -> _Bytes:
    """Which nodes depend on a varying input. mask: which inputs vary, one number each."""

def active_nodes(graph: Graph, inputs: ArrayLike, captured: bool) -> _Bytes:
    """Which nodes have a derivative by a leaf that is wanted."""

def separate(graph: Graph, varying: ArrayLike) -> Graph:
    """With every varying dot made of pairs of one kind: a uniform factor and a varying one, or both
    varying."""

def check_graph(graph: Any, inputs: int, captured: int) -> None:
    """ValueError, saying what is wrong where, unless this is a Graph of so many inputs and captured
    numbers."""

def first_made(
    graph: Graph,
    numbers: NDArray[np.float64],
    captured: NDArray[np.float64],
    wanted: Any,
    by_captured: bool,
    heads: int,
) -> tuple[int, bool, NDArray[np.float64], NDArray[np.float64]] | None:
    """What in a graph makes the first nan or infinity out of finite numbers.

    (node, in reverse, values, adjoints), or None.
    """

def get_isa() -> str:
    """The instruction set that programs run with: 'baseline', 'avx2' or 'avx512'.

    The best one that the processor has, unless MICROGRAD_C_ISA names another when the module is
    loaded.
    """

def get_num_threads() -> int:
    """How many threads mapped calls (`f.mean`, `f.sum`, `f.map`) of programs share their samples
    among."""

def set_num_threads(n: SupportsIndex) -> None:
    """Share the samples of mapped calls among n threads. Results do not depend on n.

    TypeError if n is not an integer, ValueError if it is not positive.
    """

def tangents(graph: Graph, directions: Iterable[_Ints]) -> Graph:
    """The graph with more outputs: for each direction, the derivatives of the outputs along it."""

def adjoints(graph: Graph, wanted: Any, heads: Iterable[_Ints]) -> Graph:
    """The graph with more outputs: for each heads, derivatives of the sum of heads * outputs."""

def dependencies(graph: Graph, wanted: Any) -> tuple[NDArray[Any], _Ints]:
    """Which of the inputs wanted each output may have a derivative by: (starts, inputs), as CSR."""

def column_colours(starts: Any, indices: Any, columns: int) -> _Ints:
    """A colour for each column of a sparse matrix: no row has two columns of one colour."""
