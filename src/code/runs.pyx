# Operations side by side whose operands stand at regular distances become one instruction, a run.

cdef enum:
    LONGEST_RUN = 0xFFFF
    NODES_A_RUN = 3     # where runs are shorter on average, other orders are better
    SHORTEST_LIST = 3   # operations of a run whose operands are listed

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
    cdef int op = g.graph.op[i], flags = 0
    cdef Py_ssize_t k
    cdef const int32_t *edge = g.graph.edges + g.graph.lhs[i]
    cdef int32_t node
    cdef bint active = g.active[i]
    x.op = op
    x.m = 0
    x.a = x.b = x.c = -1
    x.a_step = x.b_step = 0
    x.edges = edge
    if op < FIRST_NARY:
        flags = operand_flags(g, g.graph.lhs[i], active, A_VARYING, A_ACTIVE)
        x.a = g.slot[g.graph.lhs[i]]
        x.b = x.a
        if OP_INFO[op].arity == 2:
            flags |= operand_flags(g, g.graph.rhs[i], active, B_VARYING, B_ACTIVE)
            x.b = g.slot[g.graph.rhs[i]]
    elif op == OP_PLAIN:
        flags = operand_flags(g, edge[0], False, A_VARYING, 0)
        x.a = x.b = g.slot[edge[0]]
    elif op == OP_WHERE:
        flags = operand_flags(g, edge[0], False, A_VARYING, 0)
        flags |= operand_flags(g, edge[1], active, B_VARYING, B_ACTIVE)
        flags |= operand_flags(g, edge[2], active, C_VARYING, C_ACTIVE)
        x.a, x.b, x.c = g.slot[edge[0]], g.slot[edge[1]], g.slot[edge[2]]
    elif op == OP_DOT:
        x.m = g.graph.rhs[i] >> 1
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
        if g.graph.rhs[i] & 1:
            node = edge[g.graph.rhs[i] - 1]
            flags |= operand_flags(g, node, active, C_VARYING, C_ACTIVE)
            x.c = g.slot[node]
    elif op == OP_TAKE:
        x.m = g.graph.rhs[i] - 1
        flags = operand_flags(g, edge[0], False, A_VARYING, 0)
        x.a, x.b = g.slot[edge[0]], g.slot[edge[1]]
        if x.m > 1:
            x.b_step = g.slot[edge[2]] - x.b
        for k in range(1, x.m + 1):
            flags |= operand_flags(g, edge[k], active, B_VARYING, B_ACTIVE)
            if k > 1 and g.slot[edge[k]] - g.slot[edge[k - 1]] != x.b_step:
                flags |= GATHER
    else:
        raise no_rule(op, 'code for')
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
    if x.op < FIRST_NARY:
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
        elif x.op > OP_PLAIN:
            raise no_rule(x.op, 'an instruction of')
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
        op = g.graph.op[order[start[p]]]
        runs.listing = (not regular and OP_INFO[op].traits & LIBRARY
                        and start[p + 1] - start[p] >= SHORTEST_LIST)
        for j in range(start[p], start[p + 1]):
            add_operation(runs, order[j])
            if not regular and not runs.listing:
                finish_run(runs)
        finish_run(runs)
    return runs
