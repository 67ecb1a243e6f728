# Graphs, and passes over them. A pass takes a Graph and returns another with the same results, or looks
# something up for every node. All are scans in the order of the nodes, linear in nodes and edges.
#
# What a pass is given is trusted: it was traced, or loaded and checked by `check_graph`. (The debug build
# checks every graph that goes in or out.) Arrays are read and written through plain pointers, which last as
# long as the arrays they were taken from.

cimport cython
from libc.math cimport fabs, floor, INFINITY, signbit
from libc.stdint cimport int8_t
from libc.string cimport memcmp, memcpy

Graph = namedtuple('Graph', 'op lhs rhs data edges outputs', module=__name__)
Graph.__doc__ = """What a program computes: nodes, operands before what uses them. Node 0 is the constant 1.

    op        uint8[n]    what the node computes: an index of OP_NAMES
    lhs, rhs  int32[n]    its operands (of a unary operation twice the same); of a node with edges: the first
                          edge and how many; of a leaf: its kind (0 constant, 1 input, 2 captured) and number
    data      float64[n]  the number of a constant, else 0
    edges     int32[m]    operands
    outputs   int32[k]    the node of each result

The arrays are not to be changed. Nodes with edges:

    dot    (x, y, x, y, ...): the sum of the products x*y; a last, odd edge, the addend, is added.
           A plain term of the sum is the pair (0, x)
    where  (test, a, b): a where test > 0, else b; no derivative by the test
    take   (index, row, row, ...): the row of that number, from the end if it is negative; the index is an input
    plain  (x): the same number, without a derivative
"""

OP_NAMES = tuple([OP_INFO[op].name.decode() for op in range(OP_COUNT)])

cdef enum:  # kinds of leaves
    CONSTANT, INPUT, CAPTURED

cdef struct Arrays:     # of a Graph, or of one that is being made
    uint8_t *op
    int32_t *lhs
    int32_t *rhs
    double *data
    int32_t *edges
    Py_ssize_t nodes
    Py_ssize_t edge_count


# ---------------------------------------------------------------------------------- reading a graph

cdef void *address(array) except? NULL:
    """Where the numbers of an array are, for as long as it lives and is not resized."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef void *numbers = view.buf
    PyBuffer_Release(&view)
    return numbers


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


cdef inline int unit(const Arrays *g, Py_ssize_t i) noexcept:
    """1 or -1 if the node is that constant, else 0."""
    if not is_constant(g, i):
        return 0
    return (g.data[i] == 1) - (g.data[i] == -1)


cdef inline bint any_operand(const Arrays *g, Py_ssize_t i, const uint8_t *flags) noexcept:
    """Whether any operand of the node has its flag set."""
    cdef Py_ssize_t e
    if is_nary(g.op[i]):
        for e in range(g.lhs[i], g.lhs[i] + <Py_ssize_t> g.rhs[i]):
            if flags[g.edges[e]]:
                return True
        return False
    return g.op[i] != OP_LEAF and (flags[g.lhs[i]] or flags[g.rhs[i]])


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


# ------------------------------------------------------------------------------------- reachability

def reachable(graph):
    """Without the nodes that no output needs, leaves included. The leaves that stay keep their numbers."""
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = draft_of(&g)
    cdef Py_ssize_t i, e, k
    needed_, to_ = numpy.zeros(g.nodes, numpy.uint8), numpy.empty(g.nodes, numpy.int32)
    cdef uint8_t *needed = <uint8_t *> address(needed_)
    cdef int32_t *to = <int32_t *> address(to_)
    cdef int32_t *outputs = <int32_t *> address(graph.outputs)
    needed[0] = True
    for k in range(len(graph.outputs)):
        needed[outputs[k]] = True
    for i in range(g.nodes - 1, -1, -1):
        if not needed[i]:
            continue
        if is_nary(g.op[i]):
            for e in range(g.lhs[i], g.lhs[i] + <Py_ssize_t> g.rhs[i]):
                needed[g.edges[e]] = True
        elif g.op[i] != OP_LEAF:
            needed[g.lhs[i]] = needed[g.rhs[i]] = True
    for i in range(g.nodes):
        if needed[i]:
            to[i] = draft.copy(&g, i, to)
    return draft.graph(graph, to)


# ------------------------------------------------------------------------------- the signs of zeros

cdef enum:
    PASSES = 1      # the sign of a zero operand may become that of a zero,
    SEES = 2        # or make another number
    WANTED = 1      # a node's being -0 or 0 may change a number that is computed from it
    POSSIBLE = 2    # it may be -0

cdef uint8_t sign_effects[2][OP_COUNT]  # what an operand's sign does, by a and by b
cdef bint negative_zeros[OP_COUNT]      # whether the value may be -0 at all
cdef bint signs_known = False


cdef int sign_effect(int op, bint k, double other) noexcept:
    """What the sign of a zero, the first operand or the second (k), does next to that other operand."""
    cdef double x = op_value(op, other if k else 0.0, 0.0 if k else other)
    cdef double y = op_value(op, other if k else -0.0, -0.0 if k else other)
    if x != y and (x == x or y == y):
        return SEES
    return PASSES if memcmp(&x, &y, sizeof(double)) != 0 and x == x else 0


cdef void learn_signs():
    """From the values in the op table."""
    global signs_known
    cdef int op, k
    cdef double x
    for op in range(OP_LEAF + 1, OP_PLAIN):
        negative_zeros[op] = OP_INFO[op].arity == 2
        for other in (-INFINITY, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, INFINITY):
            for k in range(2):
                sign_effects[k][op] = max(sign_effects[k][op], sign_effect(op, k, other))
            x = op_value(op, other, 0)
            negative_zeros[op] |= x == 0 and signbit(x)
    signs_known = True


cdef object signs_of(graph):
    """uint8[n]: WANTED, POSSIBLE of each node. Who leaves out a 0 that is added where both are true changes numbers.

    A result may be 0 instead of -0, which are equal.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Py_ssize_t i, e
    cdef int op, k, effect
    cdef int32_t operand, other
    signs_ = numpy.zeros(g.nodes, numpy.uint8)
    cdef uint8_t *signs = <uint8_t *> address(signs_)
    if not signs_known:
        learn_signs()
    for i in range(g.nodes):
        op = g.op[i]
        if op == OP_LEAF:
            signs[i] = 0 if is_constant(&g, i) and not (g.data[i] == 0 and signbit(g.data[i])) else POSSIBLE
        elif op == OP_DOT:      # where all its terms may be
            signs[i] = signs[g.edges[g.lhs[i] + g.rhs[i] - 1]] if g.rhs[i] & 1 else POSSIBLE
            for e in range(g.lhs[i], g.lhs[i] + (g.rhs[i] & ~1), 2):
                if unit(&g, g.edges[e]) == 1:
                    signs[i] &= signs[g.edges[e + 1]]
        elif is_nary(op):
            signs[i] = POSSIBLE
        elif op == OP_ADD:
            signs[i] = signs[g.lhs[i]] & signs[g.rhs[i]]
        elif negative_zeros[op] and not (op == OP_MUL and g.lhs[i] == g.rhs[i]):
            signs[i] = POSSIBLE
    for i in range(g.nodes - 1, -1, -1):
        op = g.op[i]
        if is_nary(op):
            if signs[i] & WANTED:
                for e in range(g.lhs[i] + (op == OP_WHERE or op == OP_TAKE), g.lhs[i] + <Py_ssize_t> g.rhs[i]):
                    signs[g.edges[e]] |= WANTED
        elif op != OP_LEAF:
            for k in range(OP_INFO[op].arity):
                operand, other = (g.rhs[i], g.lhs[i]) if k else (g.lhs[i], g.rhs[i])
                effect = sign_effects[k][op]
                if effect and other != operand and is_constant(&g, other):
                    effect = sign_effect(op, k, g.data[other])
                if effect == SEES or effect and signs[i] & WANTED:
                    signs[operand] |= WANTED
    return signs_


# ------------------------------------------------------------------------------------------ constants

def fold_constants(graph):
    """With the numbers that are known computed, and operations that do nothing left out.

    Values are those of IEEE 754, inf and nan among them. x*0 stays, as x may be one of those; x + 0 becomes x
    where no number depends on whether that is -0. Constant factors are multiplied: 2 * (3 * x) becomes 6 * x.
    """
    import numpy
    signs_ = signs_of(graph)
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = draft_of(&g)
    cdef Py_ssize_t i
    to_ = numpy.empty(g.nodes, numpy.int32)
    cdef int32_t *to = <int32_t *> address(to_)
    cdef const uint8_t *signs = <const uint8_t *> address(signs_)
    for i in range(g.nodes):
        if g.op[i] == OP_LEAF:
            to[i] = draft.copy(&g, i, to)
        elif g.op[i] == OP_DOT:
            to[i] = folded_dot(draft, &g, i, to, signs[i] & WANTED)
        elif is_nary(g.op[i]):
            to[i] = folded_choice(draft, &g, i, to)
        elif is_added_zero(&draft.made, g.op[i], to[g.rhs[i]]) and not (
                signs[i] & WANTED and signs[g.lhs[i]] & POSSIBLE):
            to[i] = to[g.lhs[i]]
        elif g.op[i] == OP_ADD and is_added_zero(&draft.made, OP_ADD, to[g.lhs[i]]) and not (
                signs[i] & WANTED and signs[g.rhs[i]] & POSSIBLE):
            to[i] = to[g.rhs[i]]
        else:
            to[i] = folded_op(draft, g.op[i], to[g.lhs[i]], to[g.rhs[i]])
    return draft.graph(graph, to)


cdef inline bint is_added_zero(const Arrays *g, int op, int32_t i) noexcept:
    """Whether a node is a zero, and the second operand of an addition or subtraction."""
    return (op == OP_ADD or op == OP_SUB) and is_constant(g, i) and g.data[i] == 0


cdef int32_t folded_op(Draft draft, int op, int32_t a, int32_t b) except -1:
    """The node of an operation of the table on nodes of the draft."""
    cdef Arrays *g = &draft.made
    cdef bint a_known, b_known
    cdef double x, y, scale
    while True:     # until no constant factor is left to be multiplied: a graph not folded may have many in a row
        a_known, b_known = is_constant(g, a), is_constant(g, b)
        x, y = g.data[a], g.data[b]
        if a_known and b_known:
            return draft.constant(op_value(op, x, y))
        if op == OP_MUL:
            if a_known and x == 1:
                return b
            if b_known and y == 1:
                return a
            if a_known and scale_of(g, b, x, &scale):
                b = scaled(g, b)
                a = draft.constant(x * scale)
                continue
            if b_known and scale_of(g, a, y, &scale):
                b = scaled(g, a)
                a = draft.constant(y * scale)
                continue
        elif op == OP_DIV:
            if b_known and y == 1:
                return a
        elif op == OP_POW or op == OP_POWC:
            if b_known and y == 1:
                return a
            if b_known and y == 2:
                return draft.node(OP_MUL, a, a)
        elif op == OP_CHAIN:
            if a_known and x == 0 or b_known and y == 0:
                return draft.constant(0)
            if a_known and fabs(x) < INFINITY or b_known and fabs(y) < INFINITY:
                op = OP_MUL
                continue
        elif op == OP_NEG and scale_of(g, a, -1, &scale):
            op = OP_MUL
            b = scaled(g, a)
            a = draft.constant(-scale)
            continue
        return draft.node(op, a, b)


cdef inline bint scale_of(const Arrays *g, int32_t i, double factor, double *scale) noexcept:
    """Whether node i is a constant times a node, `scaled`, and that constant may be multiplied by the factor."""
    if g.op[i] == OP_NEG:
        scale[0] = -1
    elif g.op[i] == OP_MUL and (is_constant(g, g.lhs[i]) or is_constant(g, g.rhs[i])):
        scale[0] = g.data[g.lhs[i] if is_constant(g, g.lhs[i]) else g.rhs[i]]
    else:
        return False
    return 1e-300 < fabs(scale[0] * factor) < 1e300     # neither lost nor infinite by itself


cdef inline int32_t scaled(const Arrays *g, int32_t i) noexcept:
    return g.rhs[i] if g.op[i] == OP_MUL and is_constant(g, g.lhs[i]) else g.lhs[i]


cdef int32_t folded_dot(Draft draft, const Arrays *g, Py_ssize_t i, const int32_t *to, bint exact) except -1:
    """A dot: its constant terms are summed, its factors 1 stand first as node 0. exact: 0 must not become -0."""
    cdef Arrays *made = &draft.made
    cdef const int32_t *edges = g.edges + g.lhs[i]
    cdef Py_ssize_t e, first = made.edge_count
    cdef int32_t x, y, addend = -1
    cdef double total = -0.0, scale = 0
    if g.rhs[i] & 1:
        addend = to[edges[g.rhs[i] - 1]]
        if is_constant(made, addend):
            total = made.data[addend]
            addend = -1
    for e in range(g.rhs[i] >> 1):
        x = to[edges[2 * e]]
        y = to[edges[2 * e + 1]]
        if is_constant(made, y):
            x, y = y, x
        if is_constant(made, x) and is_constant(made, y):
            total += made.data[x] * made.data[y]
            continue
        if is_constant(made, x) and scale_of(made, y, made.data[x], &scale):
            x, y = draft.constant(made.data[x] * scale), scaled(made, y)
        if unit(made, x) == 1:
            draft.pair(0, y)
        else:
            draft.pair(x, y)
    if made.edge_count == first and addend < 0:
        return draft.constant(total)
    if total != 0 or exact and not signbit(total):
        x = draft.constant(total)
        if addend < 0:
            addend = x
        else:
            draft.pair(0, x)
    return draft.dot(first, addend)


cdef int32_t folded_choice(Draft draft, const Arrays *g, Py_ssize_t i, const int32_t *to) except -1:
    """where and take, which are decided by a constant; and plain."""
    cdef Arrays *made = &draft.made
    cdef const int32_t *edges = g.edges + g.lhs[i]
    cdef Py_ssize_t rows = g.rhs[i] - 1
    cdef double x = made.data[to[edges[0]]]
    if is_constant(made, to[edges[0]]):
        if g.op[i] == OP_WHERE:
            return to[edges[1 if x > 0 else 2]]
        if g.op[i] == OP_PLAIN:
            return to[edges[0]]
        if -rows <= x and x < rows and x == <Py_ssize_t> x:     # else it is left to be found out of range
            return to[edges[1 + <Py_ssize_t> (x + rows if x < 0 else x)]]
    return draft.copy(g, i, to)


# ---------------------------------------------------------------------------- common subexpressions

def share(graph):
    """With one node where there were several of the same operation and operands, or the same leaf.

    Constants are the same if their bits are; a + b and a * b are the same as b + a and b * a.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = draft_of(&g)
    cdef Py_ssize_t i, first
    cdef uint64_t slot, hash, mask = 1
    cdef int32_t new, old
    while mask < 2 * <uint64_t> g.nodes:
        mask *= 2
    # A table by open addressing: the upper half of a hash, and below it 1 + the index of the node; 0 is free.
    to_, table_ = numpy.empty(g.nodes, numpy.int32), numpy.zeros(mask, numpy.uint64)
    cdef int32_t *to = <int32_t *> address(to_)
    cdef object[uint64_t, mode='c'] table = table_
    mask -= 1
    for i in range(g.nodes):
        first = draft.made.edge_count
        new = draft.copy(&g, i, to)
        hash = hash_of(&draft.made, new)
        slot = hash & mask
        while table[slot]:
            old = <int32_t> (table[slot] & 0xffffffff) - 1
            if table[slot] >> 32 == hash >> 32 and are_same(&draft.made, old, new):
                to[i] = old
                draft.made.nodes -= 1
                draft.made.edge_count = first
                break
            slot = (slot + 1) & mask
        else:
            table[slot] = hash >> 32 << 32 | <uint64_t> (new + 1)
            to[i] = new
    return draft.graph(graph, to)


cdef inline uint64_t mixed(uint64_t hash, uint64_t x) noexcept:
    hash = (hash ^ x) * <uint64_t> 0x9e3779b97f4a7c15
    return hash ^ hash >> 29


cdef inline bint commutes(int op) noexcept:
    return op == OP_ADD or op == OP_MUL or op == OP_CHAIN


cdef uint64_t hash_of(const Arrays *g, Py_ssize_t i) noexcept:
    cdef int op = g.op[i]
    cdef uint64_t a = g.lhs[i], b = g.rhs[i], bits, hash
    cdef Py_ssize_t e
    if is_nary(op):
        hash = mixed(op, b)
        for e in range(g.lhs[i], g.lhs[i] + <Py_ssize_t> g.rhs[i]):
            hash = mixed(hash, g.edges[e])
        return mixed(hash, 0)
    if commutes(op) and a > b:
        a, b = b, a
    memcpy(&bits, &g.data[i], sizeof(bits))
    return mixed(mixed(mixed(op, bits), a << 32 | b), 0)


cdef bint are_same(const Arrays *g, Py_ssize_t i, Py_ssize_t j) noexcept:
    if g.op[i] != g.op[j]:
        return False
    if is_nary(g.op[i]):
        return g.rhs[i] == g.rhs[j] and memcmp(g.edges + g.lhs[i], g.edges + g.lhs[j],
                                               g.rhs[i] * sizeof(int32_t)) == 0
    if commutes(g.op[i]) and g.lhs[i] == g.rhs[j] and g.rhs[i] == g.lhs[j]:
        return True
    return (g.lhs[i] == g.lhs[j] and g.rhs[i] == g.rhs[j]
            and memcmp(&g.data[i], &g.data[j], sizeof(double)) == 0)


# ------------------------------------------------------------------------------------------------ sums

cdef struct Term:   # of a sum: x * y, or x alone where y < 0
    int32_t x
    int32_t y
    int sign        # 1 or -1


def fuse_sums(graph):
    """With sums of several additions, subtractions, products and dots made into one dot.

    The terms of a sum that are used nowhere else become part of it. They keep their order, and their factors
    theirs; the first that is no product becomes the addend. Nothing is subtracted by a dot: a product with a
    constant has that negated, all else gets the factor -1. (So a sum or a product of variables that is
    subtracted stays a node.) An addition or subtraction of two terms that are no products stays as it is.
    A use by a node that no output needs counts as any other: `reachable` goes first.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = draft_of(&g)
    cdef Py_ssize_t i
    cdef int32_t minus_one = -1
    # part: of a node that is part of the sum that uses it, the sign that it has there; else 0
    part_, to_ = numpy.zeros(g.nodes, numpy.int8), numpy.empty(g.nodes, numpy.int32)
    cdef int8_t *part = <int8_t *> <uint8_t *> address(part_.view(numpy.uint8))
    cdef int32_t *to = <int32_t *> address(to_)
    # Terms still to be looked at: there are no more than two a node and one an edge in a whole graph.
    cdef Py_ssize_t most = 2 * g.nodes + g.edge_count + 1
    stack_ = numpy.empty(most * sizeof(Term), numpy.uint8)
    cdef Term *stack = <Term *> <uint8_t *> address(stack_)

    find_parts(&g, graph.outputs, part, stack)
    for i in range(g.nodes):
        if part[i]:
            to[i] = -1
        elif is_sum(g.op[i]):
            to[i] = fused(draft, &g, i, part, to, stack, &minus_one)
        else:
            to[i] = draft.copy(&g, i, to)
            if unit(&g, i) < 0:
                minus_one = to[i]
    return draft.graph(graph, to)


cdef inline bint is_sum(int op) noexcept:
    return op == OP_ADD or op == OP_SUB or op == OP_DOT


cdef inline Term term_of(const Arrays *g, int32_t x, int32_t y, int sign) noexcept:
    """x * y with a sign; not a product where a factor is 1 or -1."""
    cdef Term term
    term.x = x
    term.y = y
    term.sign = sign
    if unit(g, x):
        term.x = y
        term.y = -1
        term.sign = sign * unit(g, x)
    elif unit(g, y):
        term.y = -1
        term.sign = sign * unit(g, y)
    return term


cdef Py_ssize_t terms_within(const Arrays *g, Py_ssize_t i, int sign, Term *out) noexcept:
    """Write the terms of a node that is a sum, or part of one, to out, from left to right: how many."""
    cdef int op = g.op[i]
    cdef const int32_t *edges
    cdef Py_ssize_t e, count = 0
    if op == OP_NEG:
        out[0] = term_of(g, 0, g.lhs[i], -sign)
        return 1
    if op == OP_MUL:
        out[0] = term_of(g, g.lhs[i], g.rhs[i], sign)
        return 1
    if op == OP_ADD or op == OP_SUB:
        out[0] = term_of(g, 0, g.lhs[i], sign)
        out[1] = term_of(g, 0, g.rhs[i], sign if op == OP_ADD else -sign)
        return 2
    edges = g.edges + g.lhs[i]
    if g.rhs[i] & 1:
        out[0] = term_of(g, 0, edges[g.rhs[i] - 1], sign)
        count = 1
    for e in range(g.rhs[i] >> 1):
        out[count] = term_of(g, edges[2 * e], edges[2 * e + 1], sign)
        count += 1
    return count


cdef int find_parts(const Arrays *g, outputs_, int8_t *part, Term *terms) except -1:
    """Find the nodes that become part of the sum that uses them. One scan: users stand after."""
    import numpy
    cdef Py_ssize_t i, e, k, count
    cdef int32_t *outputs = <int32_t *> address(outputs_)
    uses_ = numpy.zeros(g.nodes, numpy.uint8)
    cdef uint8_t *uses = <uint8_t *> address(uses_)    # 2 stands for more, too
    for i in range(g.nodes):
        if is_nary(g.op[i]):
            for e in range(g.lhs[i], g.lhs[i] + <Py_ssize_t> g.rhs[i]):
                count_use(uses, g.edges[e])
        elif g.op[i] != OP_LEAF:
            count_use(uses, g.lhs[i])
            if OP_INFO[g.op[i]].arity == 2:
                count_use(uses, g.rhs[i])
    for k in range(len(outputs_)):
        uses[outputs[k]] = 2
    for i in range(g.nodes - 1, -1, -1):
        if is_sum(g.op[i]) or part[i]:
            count = terms_within(g, i, part[i] if part[i] else 1, terms)
            for k in range(count):
                if terms[k].y < 0 and uses[terms[k].x] == 1 and can_be_part(g, terms[k].x, terms[k].sign):
                    part[terms[k].x] = <int8_t> terms[k].sign
    return 0


cdef inline void count_use(uint8_t *uses, Py_ssize_t i) noexcept:
    if uses[i] < 2:
        uses[i] += 1


cdef inline bint can_be_part(const Arrays *g, Py_ssize_t i, int sign) noexcept:
    """Whether a node may be added to (sign 1) or subtracted from a sum term by term."""
    cdef int op = g.op[i]
    if op == OP_MUL:
        return sign > 0 or is_constant(g, g.lhs[i]) or is_constant(g, g.rhs[i])
    return op == OP_NEG or sign > 0 and is_sum(op)


cdef int32_t fused(Draft draft, const Arrays *g, Py_ssize_t root, const int8_t *part, const int32_t *to,
                   Term *stack, int32_t *minus_one) except -1:
    """The sum of all terms of a sum and of its parts. minus_one: that constant in the draft; -1: none yet."""
    cdef Py_ssize_t count, top, k, first = draft.made.edge_count
    cdef int32_t addend = -1
    cdef Term term
    top = pushed(g, root, 1, stack)
    while top:
        top -= 1
        term = stack[top]
        if term.y < 0 and part[term.x]:
            top += pushed(g, term.x, term.sign, stack + top)
        elif term.y >= 0:
            if term.sign > 0:
                draft.pair(to[term.x], to[term.y])
            elif is_constant(g, term.x):
                draft.pair(draft.constant(-g.data[term.x]), to[term.y])
            else:
                draft.pair(to[term.x], draft.constant(-g.data[term.y]))
        elif term.sign < 0:
            if minus_one[0] < 0:
                minus_one[0] = draft.constant(-1)
            draft.pair(minus_one[0], to[term.x])
        elif addend < 0:
            addend = to[term.x]
        else:
            draft.pair(0, to[term.x])
    return draft.dot(first, addend)


cdef Py_ssize_t pushed(const Arrays *g, Py_ssize_t i, int sign, Term *stack) noexcept:
    """Push the terms of a node, the first one on top: how many."""
    cdef Py_ssize_t k, count = terms_within(g, i, sign, stack)
    for k in range(count >> 1):
        stack[k], stack[count - 1 - k] = stack[count - 1 - k], stack[k]
    return count


# ------------------------------------------------------------------ uniform, varying; active, not active

def varying(graph, mask):
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


def active(graph, inputs, bint captured):
    """uint8[n]: which nodes have a derivative by a leaf that is wanted.

    inputs: which inputs are wanted, one number each. captured: whether the captured are.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Py_ssize_t i, e, first
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
        elif g.op[i] == OP_WHERE or g.op[i] == OP_TAKE:     # nothing by the test, or the index
            for e in range(g.lhs[i] + 1, g.lhs[i] + <Py_ssize_t> g.rhs[i]):
                flags[i] |= flags[g.edges[e]]
        elif g.op[i] != OP_PLAIN:
            flags[i] = any_operand(&g, i, flags)
    return result


cdef int flag_at(const uint8_t *flags, int32_t k, Py_ssize_t count) except -1:
    if k >= count:
        raise ValueError(f'the graph has an input {k}, but there are flags for {count} alone')
    return flags[k] != 0


def separate(graph, varying):
    """With every varying dot made of pairs of one kind: a uniform factor and a varying one, or both varying.

    varying: which nodes of the graph vary. A product of a uniform and a varying factor becomes a dot, too. The pairs
    of uniform factors, and a uniform addend, become a uniform sum, which is then the addend; pairs of one uniform
    factor, which stands first, are summed before those of two varying ones.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = draft_of(&g)
    cdef Py_ssize_t i, first
    flags_, to_ = numpy.ascontiguousarray(varying, numpy.uint8), numpy.empty(g.nodes, numpy.int32)
    if len(flags_) != g.nodes:
        raise ValueError(f'varying must have length {g.nodes}, not {len(flags_)}')
    cdef uint8_t *flags = <uint8_t *> address(flags_)
    cdef int32_t *to = <int32_t *> address(to_)
    for i in range(g.nodes):
        if g.op[i] == OP_DOT:
            to[i] = separated(draft, &g, i, flags, to)
        elif g.op[i] == OP_MUL and flags[g.lhs[i]] != flags[g.rhs[i]]:
            first = draft.made.edge_count
            draft.pair(to[g.rhs[i] if flags[g.lhs[i]] else g.lhs[i]], to[g.lhs[i] if flags[g.lhs[i]] else g.rhs[i]])
            to[i] = uniform_product(draft, first)
        else:
            to[i] = draft.copy(&g, i, to)
    return draft.graph(graph, to)


cdef int32_t separated(Draft draft, const Arrays *g, Py_ssize_t i, const uint8_t *flags,
                       const int32_t *to) except -1:
    """A dot as the sum of its pairs of no, one and two varying factors; a uniform one has the first alone."""
    cdef const int32_t *edges = g.edges + g.lhs[i]
    cdef Py_ssize_t first = draft.made.edge_count
    cdef int32_t addend = -1, uniform
    cdef bint varies = False    # the addend
    if g.rhs[i] & 1:
        addend = to[edges[g.rhs[i] - 1]]
        varies = flags[edges[g.rhs[i] - 1]]
    if push_pairs(draft, g, i, flags, to, 0):
        uniform = draft.dot(first, -1 if varies else addend)
        addend = draft.node(OP_ADD, addend, uniform) if varies else uniform
    for kind in range(1, 3):
        first = draft.made.edge_count
        if push_pairs(draft, g, i, flags, to, kind):
            addend = uniform_product(draft, first) if kind == 1 and addend < 0 else draft.dot(first, addend)
    return addend


cdef int32_t uniform_product(Draft draft, Py_ssize_t first) except -1:
    """The sum of the pairs from edge `first` on, of uniform and varying factors: a dot even where it is one pair.

    Lanes multiply a number with a block in a dot alone.
    """
    if draft.made.edge_count - first == 2 and unit(&draft.made, draft.made.edges[first]) == 1:
        return draft.dot(first, -1)
    return draft.nary(OP_DOT, first)


cdef bint push_pairs(Draft draft, const Arrays *g, Py_ssize_t i, const uint8_t *flags, const int32_t *to,
                     int kind) except -1:
    """Push the pairs of a dot with so many varying factors, a uniform one first: whether there are any."""
    cdef const int32_t *edges = g.edges + g.lhs[i]
    cdef Py_ssize_t e, first = draft.made.edge_count
    cdef int32_t x, y
    for e in range(g.rhs[i] >> 1):
        x = edges[2 * e]
        y = edges[2 * e + 1]
        if (flags[x] != 0) + (flags[y] != 0) != kind:
            continue
        if flags[x] and not flags[y]:
            x, y = y, x
        draft.pair(to[x], to[y])
    return draft.made.edge_count > first


cdef enum:
    LONG_SUM = 16       # pairs of a dot that is worth dividing by itself,
    LONG_PART = 8       # and of a part of one
    MANY_SUMS = 16      # shorter dots of one make that are worth dividing

def group_terms(graph, varying):
    """With dots of pairs of several kinds divided into one dot for each kind, the last one the addend of the next.

    Pairs of one kind, by the ops of their factors, are often at regular distances, as code wants them: within a
    long dot; or, of a shorter one that is uniform, from one of many dots of the same make to the next.
    varying: which nodes of the graph vary.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = draft_of(&g)
    cdef Py_ssize_t i
    cdef int32_t addend
    flags_ = numpy.ascontiguousarray(varying, numpy.uint8)
    cdef const uint8_t *flags = <const uint8_t *> address(flags_)
    to_, makes_ = numpy.empty(g.nodes, numpy.int32), numpy.zeros(g.nodes, numpy.uint64)
    cdef int32_t *to = <int32_t *> address(to_)
    cdef uint64_t *makes = <uint64_t *> address(makes_)
    for i in range(g.nodes):
        if g.op[i] == OP_DOT and g.rhs[i] < 2 * LONG_SUM and not flags[i] and mixes_pairs(&g, i):
            makes[i] = make_of(&g, i)
    _, inverse, counts = numpy.unique(makes_, return_inverse=True, return_counts=True)
    many_ = (counts >= MANY_SUMS)[inverse].astype(numpy.uint8)
    cdef const uint8_t *many = <const uint8_t *> address(many_)
    for i in range(g.nodes):
        addend = to[g.edges[g.lhs[i] + g.rhs[i] - 1]] if g.op[i] == OP_DOT and g.rhs[i] & 1 else -1
        if makes[i] and many[i]:
            to[i] = divided(draft, &g, i, to, addend)
        elif g.op[i] == OP_DOT and g.rhs[i] >= 2 * LONG_SUM and mixes_pairs(&g, i):
            to[i] = divided_long(draft, graph, &g, i, to, addend)
        else:
            to[i] = draft.copy(&g, i, to)
    return draft.graph(graph, to)


cdef inline int kind_of_pair(const Arrays *g, Py_ssize_t edge) noexcept:
    """The ops of the factors of a pair; of leaves, too, whether they are constants."""
    cdef int32_t x = g.edges[edge], y = g.edges[edge + 1]
    return (g.op[x] | is_constant(g, x) << 6) << 7 | g.op[y] | is_constant(g, y) << 6


cdef bint mixes_pairs(const Arrays *g, Py_ssize_t i) noexcept:
    """Whether a dot has pairs of several kinds."""
    cdef Py_ssize_t e
    for e in range(2, g.rhs[i] & ~1, 2):
        if kind_of_pair(g, g.lhs[i] + e) != kind_of_pair(g, g.lhs[i]):
            return True
    return False


cdef uint64_t make_of(const Arrays *g, Py_ssize_t i) noexcept:
    """A hash of the kinds of the pairs of a dot, in their order, and of whether it has an addend."""
    cdef uint64_t hash = g.rhs[i]
    cdef Py_ssize_t e
    for e in range(0, g.rhs[i] & ~1, 2):
        hash = mixed(hash, kind_of_pair(g, g.lhs[i] + e))
    return hash | 1


cdef int32_t divided(Draft draft, const Arrays *g, Py_ssize_t i, const int32_t *to, int32_t addend) except -1:
    """A dot of few pairs as dots of one kind of pairs each."""
    cdef Py_ssize_t begin = g.lhs[i], end = begin + (g.rhs[i] & ~1), e, later, first
    cdef uint64_t done = 0
    for e in range(begin, end, 2):
        if done >> (e - begin) & 1:
            continue
        first = draft.made.edge_count
        for later in range(e, end, 2):
            if kind_of_pair(g, later) == kind_of_pair(g, e):
                done |= <uint64_t> 1 << (later - begin)
                draft.pair(to[g.edges[later]], to[g.edges[later + 1]])
        addend = draft.dot(first, addend)
    return addend


cdef int32_t divided_long(Draft draft, graph, const Arrays *g, Py_ssize_t i, const int32_t *to,
                          int32_t addend) except -1:
    """A dot of many pairs as dots of one kind each, and one of those kinds that have few."""
    import numpy
    cdef Py_ssize_t e, first, begin = g.lhs[i], pairs = g.rhs[i] >> 1
    kinds_ = numpy.empty(pairs, numpy.int32)
    cdef int32_t *kinds = <int32_t *> address(kinds_)
    for e in range(pairs):
        kinds[e] = kind_of_pair(g, begin + 2 * e)
    _, kind, counts = numpy.unique(kinds_, return_inverse=True, return_counts=True)
    kind[(counts < LONG_PART)[kind]] = len(counts)
    for part in numpy.unique(kind):
        first = draft.made.edge_count
        for e in numpy.nonzero(kind == part)[0].tolist():
            draft.pair(to[g.edges[begin + 2 * e]], to[g.edges[begin + 2 * e + 1]])
        addend = draft.dot(first, addend)
    return addend


def broadcast_rows(graph, varies):
    """The rows of a take that varies all vary: uniform ones, where there are others, get a varying copy.

    Returns the graph and which of its nodes vary. (Elsewhere the kinds may mix.)
    """
    import numpy
    takes = []
    for i in numpy.nonzero((graph.op == OP_TAKE) & (varies == 1))[0].tolist():
        first = graph.lhs[i] + 1
        kinds = varies[graph.edges[first:first + graph.rhs[i] - 1]]
        if kinds.any() and not kinds.all():
            takes.append(i)
    if not takes:
        return graph, varies
    # A copy is row + 0, and 0 the number right after the 1.
    places, rows, slots = [1], [], []
    for i in takes:
        for e in range(graph.lhs[i] + 1, graph.lhs[i] + graph.rhs[i]):
            if not varies[graph.edges[e]]:
                places.append(i)
                rows.append(graph.edges[e])
                slots.append(e)
    number = numpy.arange(len(graph.op)) + numpy.searchsorted(places, numpy.arange(len(graph.op)), 'right')
    number = number.astype(numpy.int32)
    copies = numpy.array(places[1:]) + 1 + numpy.arange(len(rows))
    op, data = numpy.insert(graph.op, places, 0), numpy.insert(graph.data, places, 0)
    lhs, rhs = numpy.insert(graph.lhs, places, 0), numpy.insert(graph.rhs, places, 0)
    table = (op != OP_LEAF) & (op < OP_PLAIN)
    lhs[table], rhs[table] = number[lhs[table]], number[rhs[table]]
    op[copies], lhs[copies], rhs[copies] = OP_ADD, number[rows], 1
    edges = number[graph.edges]
    edges[slots] = copies
    varies = numpy.insert(varies, places, 0)
    varies[copies] = 1
    return Graph(op, lhs, rhs, data, edges, number[graph.outputs]), varies


def optimized(graph):
    """The passes, in their order: constants that meet in a sum are folded once more."""
    for step in (fold_constants, share, reachable, fuse_sums, fold_constants, reachable):
        graph = step(graph)
    return graph


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
        if op >= OP_COUNT or op == OP_NARY or op == OP_SUM:
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
    if (op == OP_DOT and count < 1 or op == OP_WHERE and count != 3 or op == OP_TAKE and count < 2
            or op == OP_PLAIN and count != 1):
        raise broken(g, i, f'has {count} edges')
    return 0


cdef int check_index(const Arrays *g, Py_ssize_t i) except -1:
    cdef int32_t index = g.edges[g.lhs[i]]
    if g.op[index] != OP_LEAF or g.lhs[index] != INPUT:
        raise broken(g, i, f'has node {index} for its index, which is no input')
    return 0
