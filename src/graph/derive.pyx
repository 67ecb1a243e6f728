# Derivatives of graphs, as graphs: so they are programs like any other, and have derivatives themselves.

# ------------------------------------------------------------------------------ what is not chosen
# An adjoint or a tangent of 0 contributes nothing, though the partial is infinite: where one may be, their
# product is OP_CHAIN. And the partials that choose, 0 or 1, make no product but a choice, lest what is not chosen
# be infinite times 0.

cdef bint is_singular(const Arrays *g, Py_ssize_t i) noexcept:
    """Whether a partial of node i, or one of its own derivatives, may be infinite, or nan, for finite operands."""
    cdef double power
    if g.op[i] == OP_CHAIN:     # whose factors are what such partials are made of
        return True
    if (g.op[i] == OP_POWC or g.op[i] == OP_POW) and is_constant(g, g.rhs[i]):
        power = g.data[g.rhs[i]]
        return not (power >= 0 and power == floor(power))    # of 1.5, the second
    return OP_INFO[g.op[i]].traits & SINGULAR != 0


cdef object careful_nodes(const Arrays *g):
    """uint8[n]: of which nodes an adjoint of 0 may meet an infinite partial.

    That is so of an operation that is singular by itself; and of one beneath what chooses, so that its adjoint may
    be 0 in spite of all that is singular, where its operands, or what it does, may be infinite.
    """
    import numpy
    cdef Py_ssize_t i
    cdef int traits
    careful_ = numpy.zeros(g.nodes, numpy.uint8)
    infinite_, optional_ = numpy.zeros(g.nodes, numpy.uint8), numpy.zeros(g.nodes, numpy.uint8)
    cdef uint8_t *careful = <uint8_t *> address(careful_)
    cdef uint8_t *infinite = <uint8_t *> address(infinite_)     # may its value be?
    cdef uint8_t *optional = <uint8_t *> address(optional_)     # is it beneath what chooses?
    for i in range(g.nodes):
        careful[i] = any_operand(g, i, infinite)
        infinite[i] = (careful[i] or is_constant(g, i) and not is_finite_constant(g, i)
                       or OP_INFO[g.op[i]].traits & (SINGULAR | OVERFLOWS))
    for i in range(g.nodes - 1, -1, -1):
        traits = OP_INFO[g.op[i]].traits
        careful[i] = is_singular(g, i) or optional[i] and (careful[i] or traits & OVERFLOWS)
        if optional[i] or traits & CHOOSES:
            flag_operands(g, i, optional)
    return careful_


cdef bint is_choice(const Arrays *g, Py_ssize_t i) noexcept:
    """Whether a node, the partial of an operation that chooses, is 0 or 1 by comparisons."""
    cdef const int32_t *edges = g.edges + g.lhs[i]
    if g.op[i] == OP_WHERE:
        return is_choice(g, edges[1]) and is_choice(g, edges[2])
    return is_constant(g, i) and (g.data[i] == 0 or g.data[i] == 1)


cdef int32_t where_chosen(Draft draft, int32_t choice, int32_t x) except -1:
    """x where the choice is 1, else 0."""
    cdef int32_t test, a, b
    if is_constant(&draft.made, choice):
        return x if draft.made.data[choice] == 1 else choice
    test, a, b = [draft.made.edges[draft.made.lhs[choice] + k] for k in range(3)]
    a = where_chosen(draft, a, x)
    return folded_where(draft, test, a, where_chosen(draft, b, x))


cdef int share_of(Draft draft, int op, bint careful, int32_t *partial, int32_t *x) except -1:
    """Replace the factors of partial * x by others, of which the first is 1, where it must not be a mere product."""
    if OP_INFO[op].traits & CHOOSES and op != OP_CHAIN and is_choice(&draft.made, partial[0]):
        partial[0], x[0] = 0, where_chosen(draft, partial[0], x[0])
    elif careful and not is_finite_constant(&draft.made, partial[0]):
        partial[0], x[0] = 0, folded_op(draft, OP_CHAIN, partial[0], x[0])
    return 0


# ---------------------------------------------------------------------------------- whole graphs

# What gives the tangent of an input, or the adjoint of an output, where it is not the number of an input.
cdef enum:
    NONE = -1
    ONE = -2


cdef Draft continued(const Arrays *g):
    """A draft that begins with the nodes of g, under the same numbers."""
    cdef Draft draft = Draft()
    draft.resize(3 * g.nodes + 64)
    draft.resize_edges(2 * g.edge_count + 64)
    memcpy(draft.made.op, g.op, g.nodes * sizeof(uint8_t))
    memcpy(draft.made.lhs, g.lhs, g.nodes * sizeof(int32_t))
    memcpy(draft.made.rhs, g.rhs, g.nodes * sizeof(int32_t))
    memcpy(draft.made.data, g.data, g.nodes * sizeof(double))
    memcpy(draft.made.edges, g.edges, g.edge_count * sizeof(int32_t))
    draft.made.nodes, draft.made.edge_count = g.nodes, g.edge_count
    if not partial_graphs:
        learn_partials()
    return draft


cdef int32_t seed_node(Draft draft, int32_t source) except -1:
    return 0 if source == ONE else draft.node(OP_LEAF, INPUT, source)


cdef int32_t twice(Draft draft, int32_t x) except -1:
    """2x, the derivative of x * x."""
    return folded_op(draft, OP_MUL, draft.constant(2), x)


cdef int push_product(Draft draft, int32_t x, int32_t y, int32_t *addend) except -1:
    """x * y as a term of the dot being made; the first that is no product becomes its addend (-1: none yet)."""
    cdef const Arrays *g = &draft.made
    if is_constant(g, x) and g.data[x] == 0:
        return 0
    if unit(g, y) == 1:
        x, y = y, x
    if unit(g, x) != 1:
        draft.pair(x, y)
    elif addend[0] < 0:
        addend[0] = y
    else:
        draft.pair(0, y)
    return 0


cdef int32_t finished_sum(Draft draft, Py_ssize_t first, int32_t addend) except -2:
    """The sum of the terms pushed; -1 where there are none."""
    if addend < 0 and draft.made.edge_count == first:
        return -1
    return draft.dot(first, addend)


cdef object with_outputs(Draft draft, list outputs):
    """The graph of a draft, with other outputs; -1 among them is 0."""
    import numpy
    nodes = numpy.array(outputs, numpy.int32)
    if (nodes < 0).any():
        nodes[nodes < 0] = draft.constant(0)
    return draft.graph_of(nodes)


def tangents(graph, directions):
    """The graph with more outputs: for each direction, the derivatives of the outputs along it. Forward mode.

    directions: int32 arrays that say for each input what its tangent is: the input of a number, ONE, or NONE.
    """
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = continued(&g)
    cdef Py_ssize_t i, k
    cdef const int32_t *sources
    cdef const int32_t *given = <const int32_t *> address(graph.outputs)
    cdef list outputs = graph.outputs.tolist()
    import numpy
    tangent_ = numpy.empty(g.nodes, numpy.int32)
    cdef int32_t *tangent = <int32_t *> address(tangent_)
    for direction in directions:
        sources = <const int32_t *> address(direction)
        for i in range(g.nodes):
            if g.op[i] != OP_LEAF:
                tangent[i] = tangent_node(draft, &g, i, tangent)
            elif g.lhs[i] == INPUT and sources[g.rhs[i]] != NONE:
                tangent[i] = seed_node(draft, sources[g.rhs[i]])
            else:
                tangent[i] = -1
        outputs.extend([tangent[given[k]] for k in range(len(graph.outputs))])
    return with_outputs(draft, outputs)


cdef int32_t tangent_node(Draft draft, const Arrays *g, Py_ssize_t i, const int32_t *tangent) except -2:
    """The tangent of node i, whose operands have theirs; -1 where it is 0 for any numbers."""
    cdef Py_ssize_t e, first = draft.made.edge_count, begin = g.lhs[i], end = begin + g.rhs[i]
    cdef int32_t addend = -1, a = g.lhs[i], b = g.rhs[i], zero
    cdef int op = g.op[i]
    cdef const int32_t *edges = g.edges
    if op == OP_PLAIN:
        return -1
    if op == OP_WHERE or op == OP_TAKE:
        for e in range(begin + 1, end):
            if tangent[edges[e]] >= 0:
                break
        else:
            return -1
        zero = draft.constant(0)
        draft.edge(edges[begin])
        for e in range(begin + 1, end):
            draft.edge(tangent[edges[e]] if tangent[edges[e]] >= 0 else zero)
        return draft.nary(op, first)
    if op == OP_DOT:
        for e in range(begin, end - 1, 2):
            if edges[e] == edges[e + 1]:
                if tangent[edges[e]] >= 0:
                    push_product(draft, twice(draft, edges[e]), tangent[edges[e]], &addend)
                continue
            if tangent[edges[e]] >= 0:
                push_product(draft, edges[e + 1], tangent[edges[e]], &addend)
            if tangent[edges[e + 1]] >= 0:
                push_product(draft, edges[e], tangent[edges[e + 1]], &addend)
        if g.rhs[i] & 1 and tangent[edges[end - 1]] >= 0:
            push_product(draft, 0, tangent[edges[end - 1]], &addend)
        return finished_sum(draft, first, addend)
    if is_nary(op):
        raise no_rule(op, 'the tangent of')
    cdef int32_t by_a = -1, by_b = -1
    if tangent[a] >= 0:
        by_a = twice(draft, a) if op == OP_MUL and a == b else partial_node(draft, op, 0, a, b, <int32_t> i)
    if OP_INFO[op].arity == 2 and tangent[b] >= 0 and not (op == OP_MUL and a == b):
        by_b = partial_node(draft, op, 1, a, b, <int32_t> i)
    cdef int32_t along_a = tangent[a], along_b = tangent[b]
    if by_a >= 0:
        share_of(draft, op, is_singular(g, i), &by_a, &along_a)
    if by_b >= 0:
        share_of(draft, op, is_singular(g, i), &by_b, &along_b)
    first = draft.made.edge_count   # after the edges of the partials
    if by_a >= 0:
        push_product(draft, by_a, along_a, &addend)
    if by_b >= 0:
        push_product(draft, by_b, along_b, &addend)
    return finished_sum(draft, first, addend)


cdef struct Product:    # that is added to an adjoint
    int32_t x
    int32_t y
    int32_t next        # of the same adjoint; -1: none

cdef struct Adjoints:
    int32_t *last       # of each node: the last product that is added to its adjoint; -1: none
    Product *products
    int32_t count


cdef inline void add_product(Adjoints *sums, Py_ssize_t i, int32_t x, int32_t y) noexcept:
    cdef Product *product = &sums.products[sums.count]
    product.x, product.y, product.next = x, y, sums.last[i]
    sums.last[i] = sums.count
    sums.count += 1


def adjoints(graph, wanted, heads):
    """The graph with more outputs: for each heads, the derivatives of the sum of heads * outputs. Reverse mode.

    wanted: by which inputs, a flag each. heads: int32 arrays that say for each output what it is weighted with:
    the input of a number, ONE, or NONE.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Draft draft = continued(&g)
    cdef Py_ssize_t i, k, first
    cdef int32_t adjoint, addend, product
    cdef Adjoints sums
    cdef const int32_t *sources
    cdef const int32_t *given = <const int32_t *> address(graph.outputs)
    cdef list outputs = graph.outputs.tolist(), numbers = numpy.nonzero(wanted)[0].tolist()
    cdef dict by_input
    active_ = active_nodes(graph, wanted, False)
    cdef const uint8_t *flags = <const uint8_t *> address(active_)
    careful_ = careful_nodes(&g)
    cdef const uint8_t *careful = <const uint8_t *> address(careful_)
    last_ = numpy.full(g.nodes, -1, numpy.int32)    # as the sweep leaves it
    # Every operand gets one product at most.
    products_ = numpy.empty((2 * g.nodes + g.edge_count + len(outputs) + 1) * sizeof(Product), numpy.uint8)
    sums.last, sums.products = <int32_t *> address(last_), <Product *> address(products_)
    for one_heads in heads:
        sources = <const int32_t *> address(one_heads)
        sums.count = 0
        by_input = {}
        for k in range(len(graph.outputs)):
            if sources[k] != NONE and flags[given[k]]:
                add_product(&sums, given[k], 0, seed_node(draft, sources[k]))
        for i in range(g.nodes - 1, -1, -1):
            if sums.last[i] < 0:
                continue
            first, addend, product = draft.made.edge_count, -1, sums.last[i]
            sums.last[i] = -1
            while product >= 0:
                push_product(draft, sums.products[product].x, sums.products[product].y, &addend)
                product = sums.products[product].next
            adjoint = finished_sum(draft, first, addend)
            if adjoint < 0:
                continue
            if g.op[i] == OP_LEAF:
                by_input[g.rhs[i]] = adjoint
            else:
                pass_adjoint(draft, &g, i, adjoint, flags, careful[i], &sums)
        outputs.extend([by_input.get(k, -1) for k in numbers])
    return with_outputs(draft, outputs)


cdef int pass_share(Draft draft, const Arrays *g, Py_ssize_t i, bint careful, int32_t operand, int32_t partial,
                    int32_t adjoint, Adjoints *sums) except -1:
    """Add to the adjoint of an operand of node i partial * adjoint."""
    share_of(draft, g.op[i], careful, &partial, &adjoint)
    add_product(sums, operand, partial, adjoint)
    return 0


cdef int pass_adjoint(Draft draft, const Arrays *g, Py_ssize_t i, int32_t adjoint, const uint8_t *flags,
                      bint careful, Adjoints *sums) except -1:
    """Add to the adjoints of the operands of node i their share of its own."""
    cdef Py_ssize_t e, first, begin = g.lhs[i], end = begin + g.rhs[i]
    cdef int32_t a = g.lhs[i], b = g.rhs[i], index, test, zero
    cdef int op = g.op[i]
    cdef const int32_t *edges = g.edges
    if op == OP_DOT:
        for e in range(begin, end - 1, 2):
            if edges[e] == edges[e + 1]:
                if flags[edges[e]]:
                    pass_share(draft, g, i, careful, edges[e], twice(draft, edges[e]), adjoint, sums)
                continue
            if flags[edges[e]]:
                pass_share(draft, g, i, careful, edges[e], edges[e + 1], adjoint, sums)
            if flags[edges[e + 1]]:
                pass_share(draft, g, i, careful, edges[e + 1], edges[e], adjoint, sums)
        if g.rhs[i] & 1 and flags[edges[end - 1]]:
            add_product(sums, edges[end - 1], 0, adjoint)
    elif op == OP_WHERE:
        zero = draft.constant(0)
        if flags[edges[begin + 1]]:
            add_product(sums, edges[begin + 1], 0, folded_where(draft, edges[begin], adjoint, zero))
        if flags[edges[begin + 2]]:
            add_product(sums, edges[begin + 2], 0, folded_where(draft, edges[begin], zero, adjoint))
    elif op == OP_TAKE:
        zero = draft.constant(0)
        rows = [draft.constant(e - begin - 1) for e in range(begin + 1, end)]
        first = draft.made.edge_count
        draft.edge(edges[begin])    # the index, counted from the end where it is negative, and limited as it was
        for row in rows:
            draft.edge(row)
        index = draft.nary(OP_TAKE, first)
        for e in range(begin + 1, end):
            if flags[edges[e]]:     # where the square of index - row is 0
                test = folded_op(draft, OP_SUB, index, draft.constant(e - begin - 1))
                test = draft.node(OP_MUL, test, test)
                add_product(sums, edges[e], 0, folded_where(draft, test, zero, adjoint))
    elif is_nary(op):
        raise no_rule(op, 'the adjoints of the operands of')
    elif op == OP_MUL and a == b:
        if flags[a]:
            pass_share(draft, g, i, careful, a, twice(draft, a), adjoint, sums)
    else:
        if flags[a]:
            pass_share(draft, g, i, careful, a, partial_node(draft, op, 0, a, b, <int32_t> i), adjoint, sums)
        if OP_INFO[op].arity == 2 and flags[b]:
            pass_share(draft, g, i, careful, b, partial_node(draft, op, 1, a, b, <int32_t> i), adjoint, sums)
    return 0
