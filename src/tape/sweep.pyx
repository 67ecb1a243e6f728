# The reverse sweep: one scan from the roots down, by marks.

cdef inline void reverse_nary(Node *node, int op) noexcept nogil:
    cdef Edges edges = edges_from(node.lhs, node.rhs)
    if node.grad != 0:      # else it passes nothing on, though a partial is infinite
        nary_reverse(op, &edges, node.grad, &tape.nodes[0].grad)


cdef inline void reverse_op(Node *node, int op) noexcept nogil:
    cdef Node *a = node_at(node.lhs)
    cdef Node *b = node_at(node.rhs)
    if node.grad != 0:
        op_reverse(op, a.data, b.data, node.data, node.grad, &a.grad, &b.grad)


cdef void reverse_step(Py_ssize_t i) noexcept nogil:
    """Pass the adjoint of node i on to its parents, by its op's own rule."""
    cdef int op = op_at(i)
    if is_nary(op):
        reverse_nary(node_at(i), op)
    elif op != OP_LEAF:
        reverse_op(node_at(i), op)


cdef int reverse_sweep(const int32_t *roots, Py_ssize_t count) except -1:
    """Every node that the roots reach takes its reverse step, children before parents.

    The cost grows with what the roots reach. Gradients are added to, none is cleared. A user's closure
    may do anything on its way, make nodes and sweep itself included; what it raises ends the sweep.
    """
    cdef Claim claim
    cdef Py_ssize_t i = 0, k
    for k in range(count):
        i = max(i, roots[k])
    claim_marks(&claim, i)
    cdef Marks *marks = claim.marks
    try:
        for k in range(count):
            mark(marks, roots[k])
        while i >= 0:
            if tape.ops[i] & USER:
                mark_parents(marks, i)
                hooks.user_step(i)
                unmark(marks, i)
                i = highest_mark(marks, i)
            else:
                i = reverse_run(marks, i)
            PyErr_CheckSignals()
    except:
        while i >= 0:
            unmark(marks, i)
            i = highest_mark(marks, i)
        raise
    finally:
        return_marks(&claim)
    return 0


cdef Py_ssize_t reverse_run(Marks *marks, Py_ssize_t i) noexcept nogil:
    """Sweep from node i, the highest marked, to a node whose step is the user's, or at least some way.

    Returns the index of the next node, still marked, or -1 at the end of the sweep.
    """
    cdef uint64_t *level = marks.level[0]
    cdef Py_ssize_t word                        # the word of marks being worked on,
    cdef uint64_t bits, bit                     # and its bits, in a register
    cdef Node *node
    cdef int op, words
    for words in range(1 << 13):
        word = i >> 6
        bits = level[word]
        while bits:
            i = word << 6 | highest_bit(bits)
            bit = <uint64_t> 1 << (i & 63)
            op = tape.ops[i]
            node = node_at(i)
            if OP_LEAF < op < FIRST_NARY:
                if node.lhs >> 6 == word:
                    bits |= <uint64_t> 1 << (node.lhs & 63)
                else:
                    mark(marks, node.lhs)
                if node.rhs >> 6 == word:
                    bits |= <uint64_t> 1 << (node.rhs & 63)
                else:
                    mark(marks, node.rhs)
                reverse_op(node, op)
            elif op != OP_LEAF:
                level[word] = bits
                if op & USER:
                    return i
                mark_parents(marks, i)
                reverse_nary(node, op)
                bits = level[word]
            bits &= ~bit
        level[word] = 0
        unmark_summary(marks, i)
        i = highest_mark(marks, i)
        if i < 0:
            return -1
    return i
