# From a graph to the code that the engines in C execute.
#
#   schedule    the order of the operations: by level, those of one op side by side; or where that makes no
#               long runs, as traced (many samples) or by readiness (one sample)
#   storage     a slot for every node; values that are no longer read give theirs to later ones
#   runs        operations side by side whose operands stand at regular distances become one instruction
#
# What varies with the sample and what is uniform are two codes, each with slots of its own.

cdef extern from "lanes.h" nogil:
    enum:
        STRIDED, A_VARYING, B_VARYING, C_VARYING, GATHER, A_ACTIVE, B_ACTIVE, C_ACTIVE
    ctypedef struct Instr:
        uint8_t op
        uint8_t flags
        uint16_t n
        int32_t out
        int32_t a
        int32_t b
    ctypedef struct InstrCode "Code":
        const Instr *instrs
        Py_ssize_t count
        const int32_t *more
    ctypedef struct Engine:
        const char *isa
        void (*forward)(const InstrCode *, double *) noexcept nogil
        void (*reverse[2])(const InstrCode *, const double *, double *) noexcept nogil
        void (*forward_lanes)(const InstrCode *, const double *, double *, Py_ssize_t) noexcept nogil
        void (*reverse_lanes[2])(const InstrCode *, const double *, const double *, double *, double *,
                                 Py_ssize_t) noexcept nogil
        bint (*has_nan)(const double *, Py_ssize_t) noexcept nogil
    const Engine *engine_select(const char *name)

cdef enum:
    MINI = 8                # lanes of the last block of samples, some of which may be padding
    MOST_LANES = 64
    BLOCK_BYTES = 1 << 18   # the working set of a block, at most, where MINI lanes allow it
    LONGEST_RUN = 0xFFFF
    NODES_A_RUN = 3     # where runs are shorter on average, other orders are better
    LARGE_GROUP = 16    # operations side by side that are worth sorting
    SHORTEST_LIST = 3   # operations of a run whose operands are listed

# What each operation's partials read, bits: of that by a, READS_...; of that by b, the same << 3.
cdef enum:
    READS_A = 1
    READS_B = 2
    READS_V = 4

cdef uint8_t reads_of_op[OP_COUNT]
cdef bint calls_library[OP_COUNT]   # its value is a function that takes long for one number alone
cdef bint ops_known = False


cdef int learn_ops() except -1:
    """From the formulas in the op table."""
    global ops_known
    import re
    for op in range(OP_LEAF + 1, OP_PLAIN):
        reads_of_op[op] = 0
        for k, formula in enumerate((OP_INFO[op].by_a, OP_INFO[op].by_b)):
            for name in re.findall(r'\b[abv]\b', formula.decode()):
                reads_of_op[op] |= {'a': READS_A, 'b': READS_B, 'v': READS_V}[name] << 3 * k
        calls_library[op] = bool(re.search(r'\b(?!fabs|sqrt)\w+\(', OP_INFO[op].value.decode()))
    ops_known = True
    return 0


cdef class Part:
    """The uniform or the varying part of a code: its instructions, and the slots they need."""
    cdef object instrs, more    # numpy arrays: they own the memory
    cdef InstrCode code
    cdef Py_ssize_t slots

    cdef int freeze(self, Runs runs) except -1:
        """Take over finished runs."""
        import numpy
        self.instrs = array_of(runs.instrs, runs.count * sizeof(Instr), numpy.uint8)
        self.more = array_of(runs.more, runs.more_count, numpy.int32)
        self.code.instrs = <const Instr *> address(self.instrs)
        self.code.more = <const int32_t *> address(self.more)
        self.code.count = runs.count
        return 0


cdef class Layout:
    """A graph with what code generation knows of its nodes, as bare pointers into the arrays it holds."""
    cdef object held
    cdef Py_ssize_t count
    cdef const uint8_t *op
    cdef const int32_t *lhs
    cdef const int32_t *rhs
    cdef const int32_t *edges
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
        self.op = <const uint8_t *> address(graph.op)
        self.lhs = <const int32_t *> address(graph.lhs)
        self.rhs = <const int32_t *> address(graph.rhs)
        self.edges = <const int32_t *> address(graph.edges)
        self.varying = <uint8_t *> address(varying)
        self.active = <uint8_t *> address(active)
        self.kept = <uint8_t *> address(kept)
        self.slot = <int32_t *> address(slot)
        self.group = <int32_t *> address(group)


cdef inline Py_ssize_t operands_of(Layout g, Py_ssize_t i, const int32_t **operands, int32_t *pair) noexcept:
    """The number of operands of node i, and where they are listed; `pair` is room for two."""
    cdef int op = g.op[i]
    if op == OP_LEAF:
        return 0
    if is_nary(op):
        operands[0] = g.edges + g.lhs[i]
        return g.rhs[i]
    pair[0], pair[1] = g.lhs[i], g.rhs[i]
    operands[0] = pair
    return OP_INFO[op].arity


# --------------------------------------------------------------------------------------- schedule

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
        if g.varying[i] != varying or g.op[i] == OP_LEAF:
            continue
        deepest = 0
        count = operands_of(g, i, &operands, pair)
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
    shape = numpy.where(op >= OP_PLAIN, graph.rhs[ops], 0)
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
    nary = numpy.nonzero(graph.op[nodes] >= OP_PLAIN)[0]
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
    slow = numpy.array([calls_library[k] or k >= OP_PLAIN for k in range(OP_COUNT)])
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
        operand_count = operands_of(g, op_nodes[k], &operands, pair)
        for j in range(operand_count):
            if kind[operands[j]] >= 0:
                uses[operands[j]] += 1
                waiting[op_nodes[k]] += 1
    ends = numpy.cumsum(by_node[3], dtype=numpy.int32)
    by_node[3] = ends   # each is counted down to its begin
    users_list = numpy.empty(max(1, int(ends[ends.size - 1])), numpy.int32)
    cdef int32_t *users = <int32_t *> address(users_list)
    for k in range(count - 1, -1, -1):
        operand_count = operands_of(g, op_nodes[k], &operands, pair)
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


# ---------------------------------------------------------------------------------------- storage

cdef int keep_for_reverse(Layout g) except -1:
    """Mark the nodes whose numbers the reverse sweep reads."""
    cdef Py_ssize_t i, k
    cdef int op, reads
    cdef const int32_t *edge
    cdef int32_t a, b
    for i in range(g.count):
        op = g.op[i]
        if op == OP_LEAF or not g.active[i]:
            continue
        a, b = g.lhs[i], g.rhs[i]
        edge = g.edges + a
        if op == OP_DOT:
            for k in range(b >> 1):
                g.kept[edge[2 * k + 1]] |= g.active[edge[2 * k]]
                g.kept[edge[2 * k]] |= g.active[edge[2 * k + 1]]
        elif op == OP_WHERE or op == OP_TAKE:
            g.kept[edge[0]] = True
        elif op < OP_PLAIN:
            reads = 0
            if g.active[a]:
                reads |= reads_of_op[op] & 7
            if g.active[b]:
                reads |= reads_of_op[op] >> 3
            if reads & READS_A:
                g.kept[a] = True
            if reads & READS_B:
                g.kept[b] = True
            if reads & READS_V:
                g.kept[i] = True
    return 0


cdef int keep_for_varying(Layout g) except -1:
    """Mark the uniform nodes that varying code reads."""
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef Py_ssize_t i, k, count
    for i in range(g.count):
        if g.varying[i]:
            count = operands_of(g, i, &operands, pair)
            for k in range(count):
                g.kept[operands[k]] |= not g.varying[operands[k]]
    return 0


cdef Py_ssize_t assign_slots(Layout g, order_array, starts_array, Py_ssize_t slots, bint share_storage) except -1:
    """Give the operations of a part their slots, from number `slots` on; returns how many there are then.

    The operations of a group get slots side by side. A group is given the slots of an earlier one of its
    size when nothing reads that any more; never those of its own operands. Slots whose adjoints may
    hold something that is never taken (those of inactive nodes) are not mixed with the others.
    """
    import numpy
    cdef const int32_t *order = <const int32_t *> address(order_array)
    cdef const int32_t *start = <const int32_t *> address(starts_array)
    cdef Py_ssize_t groups = len(starts_array) - 1, p, q, j, k, count, size
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef int32_t i, base
    cdef bint active
    last_use = numpy.zeros(groups, numpy.int32)
    ending = numpy.full(groups, -1, numpy.int32)    # the first group last used at p,
    following = numpy.full(groups, -1, numpy.int32) # and the one after each
    cdef int32_t *last = <int32_t *> address(last_use)
    cdef int32_t *end = <int32_t *> address(ending)
    cdef int32_t *after = <int32_t *> address(following)
    cdef dict free_slots = {}
    for p in range(groups):
        last[p] = <int32_t> p
        for j in range(start[p], start[p + 1]):
            g.group[order[j]] = <int32_t> p
    if share_storage:
        for p in range(groups):
            for j in range(start[p], start[p + 1]):
                i = order[j]
                count = operands_of(g, i, &operands, pair)
                for k in range(count):
                    if g.group[operands[k]] >= 0 and g.varying[operands[k]] == g.varying[i]:
                        last[g.group[operands[k]]] = <int32_t> p
        for p in range(groups - 1, -1, -1):
            for j in range(start[p], start[p + 1]):
                if g.kept[order[j]]:
                    break
            else:
                after[p] = end[last[p]]
                end[last[p]] = <int32_t> p
    for p in range(groups):
        size = start[p + 1] - start[p]
        active = g.active[order[start[p]]]
        spare = free_slots.get((active, size)) if share_storage else None
        if spare:
            base = spare.pop()
        else:
            base = <int32_t> slots
            slots += size
            if slots > INT32_MAX // 8:
                raise OverflowError('the program needs too many slots')
        for j in range(size):
            g.slot[order[start[p] + j]] = base + <int32_t> j
        q = end[p]
        while q >= 0:
            active = g.active[order[start[q]]]
            free_slots.setdefault((active, start[q + 1] - start[q]), []).append(g.slot[order[start[q]]])
            q = after[q]
    return slots


# ------------------------------------------------------------------------------------------- runs

# The operands of one operation by their slots. A table op, where: a, b (and c) alone; dot: pairs from
# (a, b) on at distances (a_step, b_step), and c; take: rows from b on at distances b_step, a the index.
cdef struct Operands:
    int op
    int flags               # GATHER: the slots are not at regular distances
    Py_ssize_t m            # pairs of a dot, rows of a take
    int32_t a, b, c         # -1: there is none
    int32_t a_step, b_step
    const int32_t *edges

cdef class Runs:
    """Instructions being collected, the last of them still growing."""
    cdef Layout g
    cdef Instr *instrs
    cdef int32_t *more
    cdef Py_ssize_t count, room, more_count, more_room
    cdef Operands first, last   # of the operations of the run that is growing
    cdef Py_ssize_t n           # how many these are; 0: none
    cdef int32_t out
    cdef int32_t sa, sb, sc     # their strides, from the second operation on
    cdef Py_ssize_t gathered    # where in `more` its listed slots begin
    cdef bint listing           # operands at any distances make runs, too: they are listed

    def __init__(self, Layout g):
        self.g = g

    def __dealloc__(self):
        free(self.instrs)
        free(self.more)


cdef int describe(Layout g, Py_ssize_t i, Operands *x) except -1:
    cdef int op = g.op[i], flags = 0
    cdef Py_ssize_t k
    cdef const int32_t *edge = g.edges + g.lhs[i]
    cdef int32_t node
    cdef bint active = g.active[i]
    x.op = op
    x.m = 0
    x.a = x.b = x.c = -1
    x.a_step = x.b_step = 0
    x.edges = edge
    if op < OP_PLAIN:
        flags = operand_flags(g, g.lhs[i], active, A_VARYING, A_ACTIVE)
        x.a = g.slot[g.lhs[i]]
        x.b = x.a
        if OP_INFO[op].arity == 2:
            flags |= operand_flags(g, g.rhs[i], active, B_VARYING, B_ACTIVE)
            x.b = g.slot[g.rhs[i]]
    elif op == OP_PLAIN:
        flags = operand_flags(g, edge[0], False, A_VARYING, 0)
        x.a = x.b = g.slot[edge[0]]
    elif op == OP_WHERE:
        flags = operand_flags(g, edge[0], False, A_VARYING, 0)
        flags |= operand_flags(g, edge[1], active, B_VARYING, B_ACTIVE)
        flags |= operand_flags(g, edge[2], active, C_VARYING, C_ACTIVE)
        x.a, x.b, x.c = g.slot[edge[0]], g.slot[edge[1]], g.slot[edge[2]]
    elif op == OP_DOT:
        x.m = g.rhs[i] >> 1
        for k in range(x.m):
            flags |= operand_flags(g, edge[2 * k], active, A_VARYING, A_ACTIVE)
            flags |= operand_flags(g, edge[2 * k + 1], active, B_VARYING, B_ACTIVE)
        if x.m:
            x.a, x.b = g.slot[edge[0]], g.slot[edge[1]]
        if x.m > 1:
            x.a_step, x.b_step = g.slot[edge[2]] - x.a, g.slot[edge[3]] - x.b
        for k in range(2, x.m):
            if (g.slot[edge[2 * k]] - g.slot[edge[2 * k - 2]] != x.a_step
                    or g.slot[edge[2 * k + 1]] - g.slot[edge[2 * k - 1]] != x.b_step):
                flags |= GATHER
                break
        if g.rhs[i] & 1:
            node = edge[g.rhs[i] - 1]
            flags |= operand_flags(g, node, active, C_VARYING, C_ACTIVE)
            x.c = g.slot[node]
    elif op == OP_TAKE:
        x.m = g.rhs[i] - 1
        flags = operand_flags(g, edge[0], False, A_VARYING, 0)
        x.a, x.b = g.slot[edge[0]], g.slot[edge[1]]
        if x.m > 1:
            x.b_step = g.slot[edge[2]] - x.b
        for k in range(1, x.m + 1):
            flags |= operand_flags(g, edge[k], active, B_VARYING, B_ACTIVE)
            if k > 1 and g.slot[edge[k]] - g.slot[edge[k - 1]] != x.b_step:
                flags |= GATHER
    x.flags = flags
    return 0


cdef inline int operand_flags(Layout g, Py_ssize_t i, bint active, int varying_flag, int active_flag) noexcept:
    CHECK(g.slot[i] >= 0)
    return (varying_flag if g.varying[i] else 0) | (active_flag if active and g.active[i] else 0)


cdef inline bint same_kind(const Operands *x, const Operands *y) noexcept:
    if x.op != y.op or x.flags != y.flags or x.m != y.m or (x.c < 0) != (y.c < 0):
        return False
    if x.op == OP_TAKE and x.a != y.a:
        return False
    return x.flags & GATHER or x.a_step == y.a_step and x.b_step == y.b_step


cdef int add_operation(Runs runs, Py_ssize_t i) except -1:
    """Append operation i of the schedule, to the run that is growing if it fits."""
    cdef Operands x
    cdef int32_t out = runs.g.slot[i]
    cdef bint listed
    describe(runs.g, i, &x)
    if runs.listing:
        x.flags |= GATHER
    listed = x.flags & GATHER
    if (0 < runs.n < LONGEST_RUN and out == runs.out + runs.n and same_kind(&runs.last, &x)
            and (runs.n == 1
                 or x.c - runs.last.c == runs.sc
                 and (listed or x.a - runs.last.a == runs.sa and x.b - runs.last.b == runs.sb))):
        if runs.n == 1:
            runs.sa, runs.sb, runs.sc = x.a - runs.last.a, x.b - runs.last.b, x.c - runs.last.c
    else:
        finish_run(runs)
        runs.first = x
        runs.out = out
        runs.sa = runs.sb = runs.sc = 0
        runs.gathered = runs.more_count
        if listed:
            if x.op > OP_PLAIN:
                add_more(runs, <int32_t> x.m)
                add_more(runs, x.a if x.op == OP_TAKE else x.c)
            if x.op == OP_DOT:
                add_more(runs, 0)
    runs.last = x
    runs.n += 1
    if listed:
        list_slots(runs, &x)
    return 0


cdef int list_slots(Runs runs, const Operands *x) except -1:
    cdef Py_ssize_t k, first = 1 if x.op == OP_TAKE else 0
    if x.op < OP_PLAIN:
        add_more(runs, x.a)
        if OP_INFO[x.op].arity == 2:
            add_more(runs, x.b)
        return 0
    for k in range(first, x.m + 1 if x.op == OP_TAKE else 2 * x.m):
        add_more(runs, runs.g.slot[x.edges[k]])
    return 0


cdef int add_more(Runs runs, int32_t number) except -1:
    cdef void *p
    if runs.more_count == runs.more_room:
        runs.more_room = 2 * runs.more_room + 64
        if runs.more_room > INT32_MAX:
            raise OverflowError('the program has too many operands')
        p = realloc(runs.more, runs.more_room * sizeof(int32_t))
        if p == NULL:
            raise MemoryError
        runs.more = <int32_t *> p
    runs.more[runs.more_count] = number
    runs.more_count += 1
    return 0


cdef int finish_run(Runs runs) except -1:
    """Write the instruction of the run that was growing."""
    cdef Operands *x = &runs.first
    cdef Instr instr
    cdef void *p
    if not runs.n:
        return 0
    instr.op, instr.flags, instr.n = <uint8_t> x.op, <uint8_t> x.flags, <uint16_t> runs.n
    instr.out, instr.a, instr.b = runs.out, x.a, x.b
    if x.flags & GATHER:
        instr.a, instr.b = <int32_t> runs.gathered, 0
        if x.op == OP_DOT:
            runs.more[runs.gathered + 2] = runs.sc
    elif x.op > OP_PLAIN or runs.n > 1 and (runs.sa != 1 or runs.sb != 1):
        instr.a, instr.b = <int32_t> runs.more_count, 0
        if x.op == OP_DOT:
            for number in (x.m, x.c, runs.sc, x.a, runs.sa, x.a_step, x.b, runs.sb, x.b_step):
                add_more(runs, number)
        elif x.op == OP_WHERE:
            for number in (x.a, runs.sa, x.b, runs.sb, x.c, runs.sc):
                add_more(runs, number)
        elif x.op == OP_TAKE:
            for number in (x.m, x.a, x.b, x.b_step, runs.sb):
                add_more(runs, number)
        else:
            instr.flags |= STRIDED
            for number in (x.a, runs.sa, x.b, runs.sb):
                add_more(runs, number)
    if runs.count == runs.room:
        runs.room = 2 * runs.room + 64
        p = realloc(runs.instrs, runs.room * sizeof(Instr))
        if p == NULL:
            raise MemoryError
        runs.instrs = <Instr *> p
    runs.instrs[runs.count] = instr
    runs.count += 1
    runs.n = 0
    return 0


cdef Runs runs_of(Layout g, order_array, starts_array, bint regular):
    """The instructions for operations in this order, their slots assigned. No run leaves its group.

    Where operands stand in no regular order, runs are made only of functions that take long.
    """
    cdef Runs runs = Runs(g)
    cdef const int32_t *order = <const int32_t *> address(order_array)
    cdef const int32_t *start = <const int32_t *> address(starts_array)
    cdef Py_ssize_t p, j
    cdef int op
    for p in range(len(starts_array) - 1):
        op = g.op[order[start[p]]]
        runs.listing = (not regular and op < OP_PLAIN and calls_library[op]
                        and start[p + 1] - start[p] >= SHORTEST_LIST)
        for j in range(start[p], start[p + 1]):
            add_operation(runs, order[j])
            if not regular and not runs.listing:
                finish_run(runs)
        finish_run(runs)
    return runs


cdef Part part_of(Layout g, bint varying, Py_ssize_t slots, bint optimize):
    """The code of a part; `slots` are taken by leaves."""
    cdef Part part = Part.__new__(Part)
    cdef Runs runs
    ops = ops_of_part(g, varying)
    if optimize and len(ops):
        order, starts = by_level(g, ops, varying)
        if (len(starts) - 1) * NODES_A_RUN <= len(ops):
            part.slots = assign_slots(g, order, starts, slots, True)
            runs = runs_of(g, order, starts, True)
            if runs.count * NODES_A_RUN <= len(ops):
                part.freeze(runs)
                return part
    order, starts = by_readiness(g, ops) if optimize and not varying and len(ops) else one_by_one(ops)
    part.slots = assign_slots(g, order, starts, slots, optimize)
    runs = runs_of(g, order, starts, False)
    part.freeze(runs)
    return part


# ------------------------------------------------------------------------------------------- code

cdef class Code:
    """A program compiled for a way of calling it: which inputs vary, which derivatives are wanted."""
    cdef tuple key                  # the way of calling it, see code_for
    cdef Part uniform, varying
    cdef bint reverse
    cdef const uint8_t *mapped      # of each input: whether it varies
    cdef int32_t *input_slot        # of each input, -1: not used
    cdef Py_ssize_t inputs_in_row   # so many inputs, the first ones, are uniform and have slots one after another
    cdef int32_t *captured_slot     # of each captured Value, likewise; always uniform
    cdef int32_t *output_slot       # of each result
    cdef uint8_t *output_varying
    cdef uint8_t *output_active
    cdef list constants             # (slot, number)
    cdef Py_ssize_t leaves          # uniform leaves: theirs are the first slots
    cdef Py_ssize_t outputs, lanes
    cdef Py_ssize_t shared_slots    # varying code adds to the adjoints of uniform slots below this number
    cdef object held
    cdef list spare                 # Buffers of the uniform part, ready for a call
    cdef list spare_blocks          # and of the varying part


cdef object filled(Py_ssize_t count):
    import numpy
    return numpy.full(count, -1, numpy.int32)


cdef Code compile_code(Program program, bytes mapped, bytes wanted, bint captured_wanted, bint reverse):
    """The code for inputs that vary as `mapped` says, with derivatives by those that `wanted` says."""
    import numpy
    cdef Code code = Code.__new__(Code)
    if not ops_known:
        learn_ops()
    cdef Py_ssize_t k, i, slots = 0, varying_slots = 0
    cdef Layout g
    mask = numpy.frombuffer(mapped, numpy.uint8)
    graph = program.graph
    if program.optimize:
        graph = group_terms(graph, varying(graph, mask))
    graph = separate(graph, varying(graph, mask))
    graph, varies = broadcast_rows(graph, varying(graph, mask))
    if reverse:
        lives = active(graph, numpy.frombuffer(wanted, numpy.uint8), captured_wanted)
    else:
        lives = numpy.zeros(len(graph.op), numpy.uint8)
    g = Layout(graph, varies, lives)
    captured_slot, input_slot = filled(len(program.captured)), filled(program.input_count)
    code.constants = []
    leaves = numpy.nonzero(graph.op == OP_LEAF)[0]
    for kind in (CAPTURED, INPUT, CONSTANT):
        for i in leaves[graph.lhs[leaves] == kind].tolist():
            if g.varying[i]:
                g.slot[i] = <int32_t> varying_slots
                varying_slots += 1
            else:
                g.slot[i] = <int32_t> slots
                slots += 1
            if kind == CONSTANT:
                code.constants.append((g.slot[i], float(graph.data[i])))
            else:
                (captured_slot if kind == CAPTURED else input_slot)[g.rhs[i]] = g.slot[i]
    for i in graph.outputs.tolist():
        g.kept[i] = True
    keep_for_varying(g)
    keep_for_reverse(g)
    code.leaves = slots
    code.uniform = part_of(g, False, slots, program.optimize)
    code.varying = part_of(g, True, varying_slots, program.optimize)
    held = g.held
    output_slot = held[4][graph.outputs]
    output_varying, output_active = varies[graph.outputs], lives[graph.outputs]
    code.held = mapped, captured_slot, input_slot, output_slot, output_varying, output_active
    code.mapped = <const uint8_t *> <const char *> mapped
    code.captured_slot = <int32_t *> address(captured_slot)
    code.input_slot = <int32_t *> address(input_slot)
    code.output_slot = <int32_t *> address(output_slot)
    code.output_varying = <uint8_t *> address(output_varying)
    code.output_active = <uint8_t *> address(output_active)
    while (code.inputs_in_row < program.input_count and not code.mapped[code.inputs_in_row]
           and code.input_slot[code.inputs_in_row] == code.input_slot[0] + code.inputs_in_row >= 0):
        code.inputs_in_row += 1
    code.outputs = len(output_slot)
    code.reverse = reverse
    code.shared_slots = slots_shared(g) if reverse else 0
    # A multiple of MINI, the largest whose working set stays in the cache.
    code.lanes = BLOCK_BYTES // (2 * sizeof(double) * max(code.varying.slots, 1)) // MINI * MINI
    code.lanes = min(max(code.lanes, MINI), MOST_LANES)
    code.spare, code.spare_blocks = [], []
    return code


cdef Py_ssize_t slots_shared(Layout g):
    """One more than the highest uniform slot that varying code reads."""
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef Py_ssize_t i, k, count, top = 0
    for i in range(g.count):
        if g.varying[i] and g.active[i]:
            count = operands_of(g, i, &operands, pair)
            for k in range(count):
                if not g.varying[operands[k]]:
                    top = max(top, g.slot[operands[k]] + 1)
    return top
