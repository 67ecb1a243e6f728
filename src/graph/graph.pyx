# Graphs: what programs compute, and how passes read and make them. A pass takes a Graph and returns another with
# the results of the first, or looks something up for every node. All are scans in the order of the nodes, linear in
# nodes and edges.
#
# What a pass is given is trusted: it was traced, or loaded and checked by `check_graph`. (The debug build
# checks every graph that goes in or out.) Arrays are read and written through plain pointers, which last as
# long as the arrays they were taken from.

Graph = namedtuple('Graph', 'op lhs rhs data edges outputs', module=__name__)
Graph.__doc__ = """What a program computes, as arrays: nodes, each after its operands. Node 0 is the constant 1.

    op: uint8[n], what each node computes, an index of OP_NAMES; 0 for a leaf
    lhs, rhs: int32[n], the two operands, or one operand twice; for a node with edges, the first edge and the number
        of edges; for a leaf, its kind (0 constant, 1 input, 2 captured) and which one it is
    data: float64[n], the number of a constant, else 0
    edges: int32[m], the operands of nodes with edges
    outputs: int32[k], the node of each result

The arrays must not be changed. Nodes with edges:

    dot    (x, y, x, y, ...): the sum of the products x*y; a last, odd edge, the addend, is added.
           A plain term of the sum is the pair (0, x)
    where  (test, a, b): a where test > 0, else b; no derivative by the test
    take   (index, row, row, ...): the row of that number, from the end if it is negative; the index is an input
    plain  (x): the number x, without a derivative

    >>> import micrograd_c as mg
    >>> graph = mg.compile(lambda x: x * x).program(3.0).graph
    >>> type(graph) is mg.Graph
    True
    >>> int(graph.op[graph.outputs[0]]) == OP_NAMES.index('mul')
    True
"""

OP_NAMES = tuple([OP_INFO[op].name.decode() for op in range(OP_COUNT)])


# ---------------------------------------------------------------------------------- reading a graph

cdef Arrays arrays_of(graph) except *:
    """Pointers into a graph's arrays."""
    cdef Arrays g
    g.op = <uint8_t *> address(graph.op)
    g.lhs = <int32_t *> address(graph.lhs)
    g.rhs = <int32_t *> address(graph.rhs)
    g.data = <double *> address(graph.data)
    g.edges = <int32_t *> address(graph.edges)
    g.nodes = len(graph.op)
    g.edge_count = len(graph.edges)
    if DEBUG_BUILD:
        check_nodes(&g, INT32_MAX, INT32_MAX)
    return g


cdef inline bint is_constant(const Arrays *g, Py_ssize_t i) noexcept:
    return g.op[i] == OP_LEAF and g.lhs[i] == CONSTANT


cdef inline bint is_finite_constant(const Arrays *g, Py_ssize_t i) noexcept:
    return is_constant(g, i) and fabs(g.data[i]) < INFINITY


cdef inline int unit(const Arrays *g, Py_ssize_t i) noexcept:
    """1 or -1 if the node is that constant, else 0."""
    if not is_constant(g, i):
        return 0
    return (g.data[i] == 1) - (g.data[i] == -1)


cdef inline Py_ssize_t operands_of(const Arrays *g, Py_ssize_t i, const int32_t **operands, int32_t *pair) noexcept:
    """The number of operands of node i, and where they are listed; `pair` is room for two.

    There is a derivative by those from OP_INFO[op].first on.
    """
    cdef int op = g.op[i]
    if is_nary(op):
        operands[0] = g.edges + g.lhs[i]
        return g.rhs[i]
    pair[0], pair[1] = g.lhs[i], g.rhs[i]
    operands[0] = pair
    return OP_INFO[op].arity


cdef inline bint any_operand(const Arrays *g, Py_ssize_t i, const uint8_t *flags, Py_ssize_t first=0) noexcept:
    """Whether any operand of the node from number `first` on has its flag set."""
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef Py_ssize_t k, count = operands_of(g, i, &operands, pair)
    for k in range(first, count):
        if flags[operands[k]]:
            return True
    return False


cdef inline void flag_operands(const Arrays *g, Py_ssize_t i, uint8_t *flags) noexcept:
    """Set the flags of the operands of the node."""
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef Py_ssize_t k, count = operands_of(g, i, &operands, pair)
    for k in range(count):
        flags[operands[k]] = True


cdef object no_rule(int op, str what):
    """The error of a pass that meets an n-ary operation it does not know."""
    return NotImplementedError(f'there is no rule for {what} the operation {OP_NAMES[op]!r}')


# ----------------------------------------------------------------------------------- making a graph

cdef enum:
    RECENT_CONSTANTS = 64

@cython.final
cdef class Draft:
    """A graph being made: nodes are appended, operands first; the first must be the constant 1."""

    cdef Arrays made
    cdef Py_ssize_t room
    cdef Py_ssize_t edge_room
    cdef int32_t recent[RECENT_CONSTANTS]   # nodes of constants

    def __dealloc__(self):
        free(self.made.op)
        free(self.made.lhs)
        free(self.made.rhs)
        free(self.made.data)
        free(self.made.edges)

    cdef int resize(self, Py_ssize_t room) except -1:
        """Make room for so many nodes."""
        resized(<void **> &self.made.op, room, sizeof(uint8_t))
        resized(<void **> &self.made.lhs, room, sizeof(int32_t))
        resized(<void **> &self.made.rhs, room, sizeof(int32_t))
        resized(<void **> &self.made.data, room, sizeof(double))
        self.room = room
        return 0

    cdef int resize_edges(self, Py_ssize_t room) except -1:
        resized(<void **> &self.made.edges, room, sizeof(int32_t))
        self.edge_room = room
        return 0

    cdef inline int32_t node(self, int op, int32_t lhs, int32_t rhs, double data=0) except -1:
        """Append a node: its index."""
        cdef Py_ssize_t i = self.made.nodes
        if i == self.room:
            self.resize(2 * i + 64)
        self.made.op[i] = <uint8_t> op
        self.made.lhs[i] = lhs
        self.made.rhs[i] = rhs
        self.made.data[i] = data
        self.made.nodes = i + 1
        return <int32_t> i

    cdef int32_t constant(self, double x) except -1:
        """The node of a number: one that was made of late, or a new one."""
        cdef uint64_t bits
        if x == 1:
            return 0
        memcpy(&bits, &x, sizeof(bits))
        cdef int32_t *recent = &self.recent[mixed(0, bits) & (RECENT_CONSTANTS - 1)]
        if (recent[0] >= self.made.nodes or not is_constant(&self.made, recent[0])
                or memcmp(&self.made.data[recent[0]], &x, sizeof(x))):
            recent[0] = self.node(OP_LEAF, CONSTANT, 0, x)
        return recent[0]

    cdef inline int edge(self, int32_t parent) except -1:
        """Append an edge of the node that comes next."""
        if self.made.edge_count == self.edge_room:
            self.resize_edges(2 * self.edge_room + 64)
        self.made.edges[self.made.edge_count] = parent
        self.made.edge_count += 1
        return 0

    cdef inline int pair(self, int32_t x, int32_t y) except -1:
        self.edge(x)
        self.edge(y)
        return 0

    cdef inline int32_t nary(self, int op, Py_ssize_t first) except -1:
        """Append a node whose edges are those from `first` on."""
        return self.node(op, <int32_t> first, <int32_t> (self.made.edge_count - first))

    cdef int32_t dot(self, Py_ssize_t first, int32_t addend) except -1:
        """The sum of the pairs that are the edges from `first` on and of the addend (-1: none).

        It need not become a dot: x is x, one product a multiplication, two plain terms an addition.
        """
        cdef Py_ssize_t pairs = (self.made.edge_count - first) >> 1
        cdef int32_t x, y
        if pairs == 0:
            return self.constant(0) if addend < 0 else addend
        if pairs == 1:
            x = self.made.edges[first]
            y = self.made.edges[first + 1]
            if addend < 0:
                self.made.edge_count = first
                return y if unit(&self.made, x) > 0 else self.node(OP_MUL, x, y)
            if unit(&self.made, x):
                self.made.edge_count = first
                return self.node(OP_ADD if unit(&self.made, x) > 0 else OP_SUB, addend, y)
        if addend >= 0:
            self.edge(addend)
        return self.nary(OP_DOT, first)

    cdef int32_t copy(self, const Arrays *g, Py_ssize_t i, const int32_t *to) except -1:
        """Append node i of g, its operands by their new indices."""
        cdef int op = g.op[i]
        cdef Py_ssize_t e, first = self.made.edge_count
        if op == OP_LEAF:
            return self.node(op, g.lhs[i], g.rhs[i], g.data[i])
        if not is_nary(op):
            return self.node(op, to[g.lhs[i]], to[g.rhs[i]])
        for e in range(g.lhs[i], g.lhs[i] + <Py_ssize_t> g.rhs[i]):
            self.edge(to[g.edges[e]])
        return self.nary(op, first)

    cdef object graph(self, given, const int32_t *to):
        """The graph, with the outputs of the one it was made from, by their new indices."""
        import numpy
        cdef Py_ssize_t k
        outputs = numpy.empty(len(given.outputs), numpy.int32)
        cdef int32_t *before = <int32_t *> address(given.outputs)
        cdef int32_t *after = <int32_t *> address(outputs)
        for k in range(len(given.outputs)):
            after[k] = to[before[k]]
            CHECK(0 <= after[k] and after[k] < self.made.nodes)
        return self.graph_of(outputs)

    cdef object graph_of(self, outputs):
        """The graph with these outputs, int32 indices."""
        import numpy
        if DEBUG_BUILD:
            check_nodes(&self.made, INT32_MAX, INT32_MAX)
        return Graph(array_of(self.made.op, self.made.nodes, numpy.uint8),
                     array_of(self.made.lhs, self.made.nodes, numpy.int32),
                     array_of(self.made.rhs, self.made.nodes, numpy.int32),
                     array_of(self.made.data, self.made.nodes, numpy.float64),
                     array_of(self.made.edges, self.made.edge_count, numpy.int32), outputs)


cdef inline uint64_t mixed(uint64_t hash, uint64_t x) noexcept:
    hash = (hash ^ x) * <uint64_t> 0x9e3779b97f4a7c15
    return hash ^ hash >> 29


cdef int resized(void **array, Py_ssize_t count, size_t size) except -1:
    if count > INT32_MAX:
        raise OverflowError(f'a graph holds at most {INT32_MAX:,} nodes, and as many edges')
    cdef void *p = realloc(array[0], count * size)
    if p == NULL:
        raise MemoryError(f'no memory for {count:,} nodes or edges of a graph')
    array[0] = p
    return 0


cdef object array_of(const void *items, Py_ssize_t count, dtype):
    """A new array of what is there."""
    import numpy
    array = numpy.empty(count, dtype)
    if count:   # else there may be no memory at all
        memcpy(<uint8_t *> address(array.view(numpy.uint8)), items, array.nbytes)
    return array


cdef Draft draft_of(const Arrays *g):
    """An empty draft, with room for about as much as g holds."""
    cdef Draft draft = Draft()
    draft.resize(g.nodes + 1)
    draft.resize_edges(g.edge_count + 1)
    return draft


# ------------------------------------------------------------------ uniform, varying; active, not active

def varying_nodes(graph, mask):
    """uint8[n]: which nodes depend on a varying input. mask: which inputs vary, one number each."""
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Py_ssize_t i
    mask_, result = numpy.ascontiguousarray(mask, numpy.uint8), numpy.zeros(g.nodes, numpy.uint8)
    cdef Py_ssize_t inputs = len(mask_)
    cdef uint8_t *varies = <uint8_t *> address(mask_)
    cdef uint8_t *flags = <uint8_t *> address(result)
    for i in range(g.nodes):
        if g.op[i] == OP_LEAF:
            flags[i] = g.lhs[i] == INPUT and flag_at(varies, g.rhs[i], inputs)
        else:
            flags[i] = any_operand(&g, i, flags)
    return result


def active_nodes(graph, inputs, bint captured):
    """uint8[n]: which nodes have a derivative by a leaf that is wanted.

    inputs: which inputs are wanted, one number each. captured: whether the captured are.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Py_ssize_t i
    wanted_, result = numpy.ascontiguousarray(inputs, numpy.uint8), numpy.zeros(g.nodes, numpy.uint8)
    cdef Py_ssize_t count = len(wanted_)
    cdef uint8_t *wanted = <uint8_t *> address(wanted_)
    cdef uint8_t *flags = <uint8_t *> address(result)
    for i in range(g.nodes):
        if g.op[i] == OP_LEAF:
            if g.lhs[i] == INPUT:
                flags[i] = flag_at(wanted, g.rhs[i], count)
            else:
                flags[i] = captured and g.lhs[i] == CAPTURED
        else:
            flags[i] = any_operand(&g, i, flags, OP_INFO[g.op[i]].first)
    return result


cdef int flag_at(const uint8_t *flags, int32_t k, Py_ssize_t count) except -1:
    if k >= count:
        raise ValueError(f'the graph has an input {k}, but there are flags for {count} alone')
    return flags[k] != 0


# --------------------------------------------------------------------------------------------- checking

def check_graph(graph, Py_ssize_t inputs, Py_ssize_t captured):
    """ValueError, saying what is wrong where, unless this is a Graph of so many inputs and captured numbers.

    It is all that other functions rely on, so that a graph from anywhere is safe to use after it.
    """
    import numpy
    cdef Py_ssize_t k, n, m
    cdef Arrays g
    cdef int32_t *outputs
    if not isinstance(graph, Graph):
        raise ValueError(f'not a Graph but {type(graph).__name__}')
    for name, dtype in zip(Graph._fields, ('uint8', 'int32', 'int32', 'float64', 'int32', 'int32')):
        array = getattr(graph, name)
        if type(array) is not numpy.ndarray or array.dtype != dtype or array.ndim != 1:
            raise ValueError(f'{name} must be an array of {dtype} in one dimension')
        if not (array.flags.c_contiguous and array.flags.aligned):
            raise ValueError(f'{name} must be contiguous and aligned')
        if len(array) > INT32_MAX:
            raise ValueError(f'{name} holds {len(array):,} numbers, more than {INT32_MAX:,}')
    n = len(graph.op)
    m = len(graph.edges)
    for name in ('lhs', 'rhs', 'data'):
        if len(getattr(graph, name)) != n:
            raise ValueError(f'{name} must have length {n} as op has, not {len(getattr(graph, name))}')
    g.op = <uint8_t *> address(graph.op)
    g.lhs = <int32_t *> address(graph.lhs)
    g.rhs = <int32_t *> address(graph.rhs)
    g.data = <double *> address(graph.data)
    g.edges = <int32_t *> address(graph.edges)
    g.nodes = n
    g.edge_count = m
    if n == 0 or not is_constant(&g, 0) or g.data[0] != 1:
        raise ValueError('node 0 must be the constant 1')
    check_nodes(&g, inputs, captured)
    for k in range(n):
        if g.op[k] == OP_TAKE:
            check_index(&g, k)
    outputs = <int32_t *> address(graph.outputs)
    for k in range(len(graph.outputs)):
        if not 0 <= outputs[k] < n:
            raise ValueError(f'output {k} is node {outputs[k]}, but there are {n} nodes')


cdef int check_nodes(const Arrays *g, Py_ssize_t inputs, Py_ssize_t captured) except -1:
    cdef Py_ssize_t i, total = 0
    cdef int op
    for i in range(g.nodes):
        op = g.op[i]
        if op >= OP_COUNT or is_nary(op) and OP_INFO[op].most == 0:
            raise ValueError(f'node {i}: there is no operation {op}')
        if not is_constant(g, i) and g.data[i] != 0:
            raise broken(g, i, f'has data {g.data[i]}, though it is no constant')
        if op == OP_LEAF:
            check_leaf(g, i, inputs, captured)
        elif is_nary(op):
            check_edges(g, i)
            # Edges may be shared, but not so that there are more of them than there are.
            total += g.rhs[i]
            if total > g.edge_count:
                raise broken(g, i, f'makes {total} edges in all, of {g.edge_count} there are')
        else:
            check_operands(g, i)
    return 0


cdef object broken(const Arrays *g, Py_ssize_t i, str what):
    return ValueError(f'node {i} ({OP_NAMES[g.op[i]]}) {what}')


cdef int check_leaf(const Arrays *g, Py_ssize_t i, Py_ssize_t inputs, Py_ssize_t captured) except -1:
    cdef int32_t kind = g.lhs[i], number = g.rhs[i]
    if not CONSTANT <= kind <= CAPTURED:
        raise broken(g, i, f'is of kind {kind}, which there is not')
    cdef Py_ssize_t count = 1 if kind == CONSTANT else inputs if kind == INPUT else captured
    if not 0 <= number < count:
        name = {CONSTANT: 'constant', INPUT: 'input', CAPTURED: 'captured'}[kind]
        raise broken(g, i, f'is {name} number {number} of {count}')
    return 0


cdef int check_operands(const Arrays *g, Py_ssize_t i) except -1:
    cdef int32_t a = g.lhs[i], b = g.rhs[i]
    if not (0 <= a < i and 0 <= b < i):
        raise broken(g, i, f'has operands {a} and {b}, not both before it')
    if OP_INFO[g.op[i]].arity == 1 and a != b:
        raise broken(g, i, f'has operands {a} and {b}, though it takes one')
    if g.op[i] == OP_POWC and not is_constant(g, b):
        raise broken(g, i, f'has node {b} for its exponent, which is no constant')
    return 0


cdef int check_edges(const Arrays *g, Py_ssize_t i) except -1:
    cdef Py_ssize_t e, first = g.lhs[i], count = g.rhs[i]
    cdef int op = g.op[i]
    if first < 0 or count < 0 or first + count > g.edge_count:
        raise broken(g, i, f'has {count} edges from {first} on, of {g.edge_count} there are')
    for e in range(first, first + count):
        if not 0 <= g.edges[e] < i:
            raise broken(g, i, f'has edge {e} to node {g.edges[e]}, which is not before it')
    if not OP_INFO[op].fewest <= count <= OP_INFO[op].most:
        raise broken(g, i, f'has {count} edges')
    return 0


cdef int check_index(const Arrays *g, Py_ssize_t i) except -1:
    cdef int32_t index = g.edges[g.lhs[i]]
    if g.op[index] != OP_LEAF or g.lhs[index] != INPUT:
        raise broken(g, i, f'has node {index} for its index, which is no input')
    return 0
