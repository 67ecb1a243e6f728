# Graphs made smaller: what no output needs, what is known, what is there twice.

# ------------------------------------------------------------------------------------- reachability

def reachable(graph):
    """Without the nodes that no output needs, leaves included. The leaves that stay keep their numbers."""
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = draft_of(&g)
    cdef Py_ssize_t i, k
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
        flag_operands(&g, i, needed)
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
    for op in range(OP_LEAF + 1, FIRST_NARY):
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
                for e in range(OP_INFO[op].first if OP_INFO[op].traits & CHOOSES else 0, g.rhs[i]):
                    signs[g.edges[g.lhs[i] + e]] |= WANTED
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
            if is_finite_constant(g, a) or is_finite_constant(g, b):
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
    """An n-ary operation that chooses, where a constant decides; and plain."""
    cdef Arrays *made = &draft.made
    cdef const int32_t *edges = g.edges + g.lhs[i]
    cdef Py_ssize_t row
    cdef double x = made.data[to[edges[0]]]
    if is_constant(made, to[edges[0]]):
        if g.op[i] == OP_PLAIN:
            return to[edges[0]]
        if g.op[i] == OP_WHERE:
            return to[edges[1 if x > 0 else 2]]
        if g.op[i] == OP_TAKE:
            row = row_at(x, g.rhs[i])
            if row and x == floor(x):   # else it is left to be found out of range
                return to[edges[row]]
    return draft.copy(g, i, to)


# ---------------------------------------------------------------------------- common subexpressions

def share_nodes(graph):
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


cdef uint64_t hash_of(const Arrays *g, Py_ssize_t i) noexcept:
    cdef int op = g.op[i]
    cdef uint64_t a = g.lhs[i], b = g.rhs[i], bits, hash
    cdef Py_ssize_t e
    if is_nary(op):
        hash = mixed(op, b)
        for e in range(g.lhs[i], g.lhs[i] + <Py_ssize_t> g.rhs[i]):
            hash = mixed(hash, g.edges[e])
        return mixed(hash, 0)
    if OP_INFO[op].traits & COMMUTES and a > b:
        a, b = b, a
    memcpy(&bits, &g.data[i], sizeof(bits))
    return mixed(mixed(mixed(op, bits), a << 32 | b), 0)


cdef bint are_same(const Arrays *g, Py_ssize_t i, Py_ssize_t j) noexcept:
    if g.op[i] != g.op[j]:
        return False
    if is_nary(g.op[i]):
        return g.rhs[i] == g.rhs[j] and memcmp(g.edges + g.lhs[i], g.edges + g.lhs[j],
                                               g.rhs[i] * sizeof(int32_t)) == 0
    if OP_INFO[g.op[i]].traits & COMMUTES and g.lhs[i] == g.rhs[j] and g.rhs[i] == g.lhs[j]:
        return True
    return (g.lhs[i] == g.lhs[j] and g.rhs[i] == g.rhs[j]
            and memcmp(&g.data[i], &g.data[j], sizeof(double)) == 0)


def optimized(graph):
    """The passes, in their order: constants that meet in a sum are folded once more."""
    for step in (fold_constants, share_nodes, reachable, fuse_sums, fold_constants, reachable):
        graph = step(graph)
    return graph
