# Sums: additions and products become dots, and dots are divided as the engines want them.

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
    cdef Py_ssize_t i, k, count
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef int32_t *outputs = <int32_t *> address(outputs_)
    uses_ = numpy.zeros(g.nodes, numpy.uint8)
    cdef uint8_t *uses = <uint8_t *> address(uses_)    # 2 stands for more, too
    for i in range(g.nodes):
        count = operands_of(g, i, &operands, pair)
        for k in range(count):
            if uses[operands[k]] < 2:
                uses[operands[k]] += 1
    for k in range(len(outputs_)):
        uses[outputs[k]] = 2
    for i in range(g.nodes - 1, -1, -1):
        if is_sum(g.op[i]) or part[i]:
            count = terms_within(g, i, part[i] if part[i] else 1, terms)
            for k in range(count):
                if terms[k].y < 0 and uses[terms[k].x] == 1 and can_be_part(g, terms[k].x, terms[k].sign):
                    part[terms[k].x] = <int8_t> terms[k].sign
    return 0


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


# ------------------------------------------------------------------------------- dots for the engines

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
