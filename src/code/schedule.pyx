# The order in which a graph's operations are executed: by level, those of one op side by side; or where that makes no
# long runs, as traced (many samples) or by readiness (one sample).
#
# What varies with the sample and what is uniform are two codes, each with slots of its own.

cdef enum:
    LARGE_GROUP = 16    # operations side by side that are worth sorting

# What each operation's partials read, bits: of that by a, READS_...; of that by b, the same << 3.
cdef enum:
    READS_A = 1
    READS_B = 2
    READS_V = 4

cdef uint8_t reads_of_op[OP_COUNT]
cdef bint ops_known = False


cdef int learn_ops() except -1:
    """From the formulas in the op table."""
    global ops_known
    import re
    for op in range(OP_LEAF + 1, FIRST_NARY):
        reads_of_op[op] = 0
        for k, formula in enumerate((OP_INFO[op].by_a, OP_INFO[op].by_b)):
            for name in re.findall(r'\b[abv]\b', formula.decode()):
                reads_of_op[op] |= {'a': READS_A, 'b': READS_B, 'v': READS_V}[name] << 3 * k
    ops_known = True
    return 0


cdef class Layout:
    """A graph with what code generation knows of its nodes, as bare pointers into the arrays it holds."""
    cdef object held
    cdef Py_ssize_t count
    cdef Arrays graph
    cdef uint8_t *varying
    cdef uint8_t *active
    cdef uint8_t *kept      # read by the reverse sweep, by varying code, or a result: never overwritten
    cdef int32_t *slot
    cdef int32_t *group     # in which it is computed; -1: a leaf

    def __init__(self, graph, varying, active):
        import numpy
        self.count = len(graph.op)
        kept = numpy.zeros(self.count, numpy.uint8)
        slot = numpy.full(self.count, -1, numpy.int32)
        group = numpy.full(self.count, -1, numpy.int32)
        self.held = graph, varying, active, kept, slot, group
        self.graph = arrays_of(graph)
        self.varying = <uint8_t *> address(varying)
        self.active = <uint8_t *> address(active)
        self.kept = <uint8_t *> address(kept)
        self.slot = <int32_t *> address(slot)
        self.group = <int32_t *> address(group)


cdef object ops_of_part(Layout g, bint varying):
    """The operations of a part, in the order of the trace."""
    import numpy
    held = g.held
    return numpy.nonzero((held[0].op != OP_LEAF) & (held[1] == varying))[0].astype(numpy.int32)


cdef object levels_of(Layout g, bint varying):
    """For each node of a part, the longest way to it from what the part starts with; int32[n]."""
    import numpy
    levels = numpy.zeros(g.count, numpy.int32)
    cdef int32_t *level = <int32_t *> address(levels)
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef int32_t deepest
    cdef Py_ssize_t i, k, count
    for i in range(g.count):
        if g.varying[i] != varying or g.graph.op[i] == OP_LEAF:
            continue
        deepest = 0
        count = operands_of(&g.graph, i, &operands, pair)
        for k in range(count):
            if g.varying[operands[k]] == varying:
                deepest = max(deepest, level[operands[k]])
        level[i] = deepest + 1
    return levels


cdef tuple by_level(Layout g, ops, bint varying):
    """Operations ordered by level, those of one make and activity side by side: (order, starts of groups)."""
    import numpy
    graph = g.held[0]
    op = graph.op[ops].astype(numpy.int64)
    shape = numpy.where(op >= FIRST_NARY, graph.rhs[ops], 0)
    active = g.held[2][ops].astype(numpy.int64)
    a, b = first_operands(graph, ops)
    source = graph.op | ((graph.op == OP_LEAF) & (graph.lhs == CONSTANT)) << 6
    makes = op << 50 | active << 49 | source[a].astype(numpy.int64) << 40 | source[b].astype(numpy.int64) << 32 | shape
    kinds = numpy.unique(makes, return_inverse=True)[1]
    key = levels_of(g, varying)[ops].astype(numpy.int64) << 32 | kinds
    order = numpy.argsort(key, kind='stable')
    key = key[order]
    starts = numpy.nonzero(numpy.diff(key, prepend=-1))[0]
    starts = numpy.append(starts, len(ops)).astype(numpy.int32)
    order = ops[order]
    follow_operands(graph, order, starts)
    return order, starts


cdef tuple first_operands(graph, nodes):
    """The first and the second operand of each node; of those that have one, twice the same."""
    import numpy
    a, b = graph.lhs[nodes], graph.rhs[nodes]
    nary = numpy.nonzero(graph.op[nodes] >= FIRST_NARY)[0]
    first = a[nary]
    a[nary], b[nary] = graph.edges[first], graph.edges[first + numpy.minimum(b[nary] - 1, 1)]
    return a, b


cdef int follow_operands(graph, order, starts) except -1:
    """Sort the operations of each large group as their operands are sorted: so their distances become regular.

    (An adjoint sweep, for one, makes nodes in the opposite order of what they are made from.)
    """
    import numpy
    large = numpy.nonzero(numpy.diff(starts) >= LARGE_GROUP)[0]
    rank = numpy.arange(len(graph.op))
    rank[order] = len(graph.op) + numpy.arange(len(order))
    for k in large.tolist():
        begin, end = starts[k], starts[k + 1]
        nodes = order[begin:end]
        a, b = first_operands(graph, nodes)
        order[begin:end] = nodes[numpy.lexsort((rank[b], rank[a]))]
        rank[order[begin:end]] = len(graph.op) + numpy.arange(begin, end)
    return 0


cdef tuple by_readiness(Layout g, ops):
    """Operations ordered by always taking the kind of which most are ready: (order, starts of groups).

    Of one sample, so many small operations in no regular order cost most where the processor cannot
    foresee which comes next.
    """
    import numpy
    cdef Py_ssize_t count = len(ops), done = 0, k, j, operand_count, kinds, best, batch, i
    cdef const int32_t *op_nodes = <const int32_t *> address(ops)
    graph = g.held[0]
    op = graph.op[ops].astype(numpy.int64)
    # The engines run cheap operations of any kind in one loop, and so sums of one or two products.
    slow = numpy.array([is_nary(k) or OP_INFO[k].traits & LIBRARY != 0 for k in range(OP_COUNT)])
    terms = numpy.where((op == OP_DOT) & (graph.rhs[ops] > 5), numpy.minimum(graph.rhs[ops], 7), 0)
    kind_list, kind_of_op = numpy.unique(numpy.where(slow[op], op << 5 | terms << 1, 0) | g.held[2][ops],
                                         return_inverse=True)
    kinds = len(kind_list)
    by_node = numpy.full((4, g.count), -1, numpy.int32)
    cdef int32_t *kind = <int32_t *> address(by_node[0])
    cdef int32_t *waiting = <int32_t *> address(by_node[1])     # operands that are not done yet
    cdef int32_t *following = <int32_t *> address(by_node[2])   # in the queue of its kind
    cdef int32_t *uses = <int32_t *> address(by_node[3])        # where its users begin in `users`
    by_node[0][ops] = kind_of_op
    by_node[1] = 0
    by_node[3] = 0
    queues = numpy.full((3, kinds), -1, numpy.int32)
    cdef int32_t *head = <int32_t *> address(queues[0])
    cdef int32_t *tail = <int32_t *> address(queues[1])
    cdef int32_t *ready = <int32_t *> address(queues[2])
    queues[2] = 0
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    for k in range(count):
        operand_count = operands_of(&g.graph, op_nodes[k], &operands, pair)
        for j in range(operand_count):
            if kind[operands[j]] >= 0:
                uses[operands[j]] += 1
                waiting[op_nodes[k]] += 1
    ends = numpy.cumsum(by_node[3], dtype=numpy.int32)
    by_node[3] = ends   # each is counted down to its begin
    users_list = numpy.empty(max(1, int(ends[ends.size - 1])), numpy.int32)
    cdef int32_t *users = <int32_t *> address(users_list)
    for k in range(count - 1, -1, -1):
        operand_count = operands_of(&g.graph, op_nodes[k], &operands, pair)
        for j in range(operand_count):
            if kind[operands[j]] >= 0:
                uses[operands[j]] -= 1
                users[uses[operands[j]]] = op_nodes[k]
    cdef const int32_t *end = <const int32_t *> address(ends)
    order_list, start_list = numpy.empty(count, numpy.int32), numpy.empty(count + 1, numpy.int32)
    cdef int32_t *order = <int32_t *> address(order_list)
    cdef int32_t *start = <int32_t *> address(start_list)
    cdef Py_ssize_t groups = 0
    for k in range(count):
        if not waiting[op_nodes[k]]:
            enqueue(op_nodes[k], kind, head, tail, following, ready)
    best = 0
    while done < count:
        if not ready[best]:     # else what has become ready meanwhile prolongs the streak
            for k in range(kinds):
                if ready[k] > ready[best]:
                    best = k
        start[groups] = <int32_t> done
        groups += 1
        i, batch = head[best], ready[best]
        head[best], ready[best] = -1, 0
        for k in range(batch):
            order[done] = <int32_t> i
            done += 1
            i = following[i]
        for k in range(done - batch, done):
            for j in range(uses[order[k]], end[order[k]]):
                waiting[users[j]] -= 1
                if not waiting[users[j]]:
                    enqueue(users[j], kind, head, tail, following, ready)
    start[groups] = <int32_t> count
    return order_list, start_list[:groups + 1]


cdef inline void enqueue(int32_t i, const int32_t *kind, int32_t *head, int32_t *tail, int32_t *following,
                         int32_t *ready) noexcept:
    cdef int32_t k = kind[i]
    if head[k] < 0:
        head[k] = i
    else:
        following[tail[k]] = i
    tail[k] = i
    ready[k] += 1


cdef tuple one_by_one(ops):
    import numpy
    return ops, numpy.arange(len(ops) + 1, dtype=numpy.int32)
