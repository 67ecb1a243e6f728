# A slot for every node; values that are no longer read give theirs to later ones.

cdef int keep_for_reverse(Layout g) except -1:
    """Mark the nodes whose numbers the reverse sweep reads."""
    cdef Py_ssize_t i, k
    cdef int op, reads
    cdef const int32_t *edge
    cdef int32_t a, b
    for i in range(g.count):
        op = g.graph.op[i]
        if op == OP_LEAF or not g.active[i]:
            continue
        a, b = g.graph.lhs[i], g.graph.rhs[i]
        edge = g.graph.edges + a
        if op == OP_DOT:
            for k in range(b >> 1):
                g.kept[edge[2 * k + 1]] |= g.active[edge[2 * k]]
                g.kept[edge[2 * k]] |= g.active[edge[2 * k + 1]]
        elif op == OP_WHERE or op == OP_TAKE:
            g.kept[edge[0]] = True
        elif is_nary(op):
            raise no_rule(op, 'what the reverse sweep reads of')
        else:
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
            count = operands_of(&g.graph, i, &operands, pair)
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
                count = operands_of(&g.graph, i, &operands, pair)
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
