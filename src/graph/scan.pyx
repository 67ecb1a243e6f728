# A graph evaluated in one sample by the op table alone, and what in it makes the first nan or infinity.

from libc.math cimport isfinite

@cython.final
cdef class Scan:
    """A graph evaluated in one sample, forward and in reverse, by the op table alone."""
    cdef object held                # what the pointers lead to
    cdef Arrays g
    cdef const int32_t *outputs
    cdef Py_ssize_t output_count
    cdef const uint8_t *active      # which nodes have a derivative that is wanted
    cdef double *value
    cdef double *adjoint
    cdef uint8_t *needed
    # What was found:
    cdef Py_ssize_t node
    cdef bint reverse

    cdef Edges edges_at(self, Py_ssize_t i) noexcept:
        """The operands of an n-ary node."""
        cdef Edges edges
        edges.index, edges.n, edges.numbers, edges.step = self.g.edges + self.g.lhs[i], self.g.rhs[i], self.value, 1
        edges.partials = NULL
        return edges

    cdef double value_of(self, Py_ssize_t i) noexcept:
        cdef Edges edges
        if is_nary(self.g.op[i]):
            edges = self.edges_at(i)
            return nary_value(self.g.op[i], &edges)
        return op_value(self.g.op[i], self.value[self.g.lhs[i]], self.value[self.g.rhs[i]])

    cdef bint finite_operands(self, Py_ssize_t i) noexcept:
        """Of a node that computes: not a leaf, nor an n-ary one that passes a number on."""
        cdef int op = self.g.op[i]
        cdef const int32_t *operands = NULL
        cdef int32_t pair[2]
        cdef Py_ssize_t k, count = operands_of(&self.g, i, &operands, pair)
        if op == OP_LEAF or op == OP_PLAIN or is_nary(op) and OP_INFO[op].traits & CHOOSES:
            return False
        for k in range(count):
            if not isfinite(self.value[operands[k]]):
                return False
        return True

    cdef bint made(self, Py_ssize_t i) noexcept:
        return not isfinite(self.value[i]) and self.finite_operands(i)

    cdef bint find(self, const double *numbers, const double *captured, Py_ssize_t heads) noexcept:
        """Whether anything is found; in reverse from each of the first `heads` outputs."""
        cdef Py_ssize_t i
        cdef bint any_made = False
        for i in range(self.g.nodes):
            if self.g.op[i] != OP_LEAF:
                self.value[i] = self.value_of(i)
                any_made |= self.made(i)
            elif self.g.lhs[i] == CONSTANT:
                self.value[i] = self.g.data[i]
            else:
                self.value[i] = numbers[self.g.rhs[i]] if self.g.lhs[i] == INPUT else captured[self.g.rhs[i]]
        self.reverse = False
        if any_made and self.find_needed():
            return True
        self.reverse = True
        for i in range(heads):
            if self.find_in_reverse(self.outputs[i]):
                return True
        return False

    cdef bint find_needed(self) noexcept:
        """Look for the first node that an output needs, as the numbers choose, and that made one."""
        cdef Py_ssize_t i, e
        cdef Edges edges
        cdef bint chooses
        memset(self.needed, 0, self.g.nodes)
        for i in range(self.output_count):
            self.needed[self.outputs[i]] = True
        self.node = -1
        for i in range(self.g.nodes - 1, -1, -1):
            if not self.needed[i] or self.g.op[i] == OP_LEAF:
                continue
            if self.made(i):
                self.node = i
            if is_nary(self.g.op[i]):
                edges = self.edges_at(i)
                chooses = OP_INFO[self.g.op[i]].traits & CHOOSES
                for e in range(edges.n):
                    if not chooses or e < OP_INFO[self.g.op[i]].first or nary_partial(self.g.op[i], &edges, e):
                        self.needed[edges.index[e]] = True
            else:
                self.need(i, self.g.lhs[i], self.g.rhs[i])
                self.need(i, self.g.rhs[i], self.g.lhs[i])
        return self.node >= 0

    cdef void need(self, Py_ssize_t i, Py_ssize_t a, Py_ssize_t b) noexcept:
        """Operand a of node i is needed, unless it is not finite and the other, b, decides, as in a max or min."""
        if a == b or isfinite(self.value[a]) or self.value[i] != self.value[b] or not isfinite(self.value[b]):
            self.needed[a] = True

    cdef bint find_in_reverse(self, Py_ssize_t output) noexcept:
        """Look for the first node that gives an operand an adjoint that is not finite."""
        cdef Py_ssize_t i
        memset(self.adjoint, 0, self.g.nodes * sizeof(double))
        self.adjoint[output] = 1
        for i in range(output, -1, -1):
            if self.adjoint[i] == 0 or not self.active[i] or self.g.op[i] == OP_LEAF:
                continue
            if not self.passed_on(i):
                self.node = i
                return True
        return False

    cdef bint passed_on(self, Py_ssize_t i) noexcept:
        """Add to the adjoints of the operands their share; False if that makes a nan or infinity."""
        cdef double g = self.adjoint[i], by_a = 0, by_b = 0
        cdef bint finite = isfinite(g) and isfinite(self.value[i]) and self.finite_operands(i), good = True
        cdef int op = self.g.op[i]
        cdef int32_t a = self.g.lhs[i], b = self.g.rhs[i]
        cdef Edges edges
        cdef Py_ssize_t e
        if is_nary(op):
            edges = self.edges_at(i)
            for e in range(OP_INFO[op].first, edges.n):
                by_a = nary_partial(op, &edges, e)
                if by_a != 0 or not OP_INFO[op].traits & CHOOSES:
                    good &= self.add(edges.index[e], g * by_a)
        else:
            op_reverse(op, self.value[a], self.value[b], self.value[i], g, &by_a, &by_b)
            good = self.add(a, by_a)
            if OP_INFO[op].arity == 2:
                good &= self.add(b, by_b)
        return good or not finite

    cdef bint add(self, Py_ssize_t i, double share) noexcept:
        """False if a finite adjoint is no longer so."""
        cdef double before = self.adjoint[i]
        if not self.active[i]:
            return True
        self.adjoint[i] += share
        return isfinite(self.adjoint[i]) or not isfinite(before)


cdef object new_scan(graph, wanted, bint captured):
    """wanted: by which inputs derivatives are wanted, a flag each; captured: whether by the captured, too."""
    import numpy
    cdef Scan scan = Scan.__new__(Scan)
    scan.g = arrays_of(graph)
    value, adjoint = numpy.empty(scan.g.nodes), numpy.empty(scan.g.nodes)
    needed, flags = numpy.empty(scan.g.nodes, numpy.uint8), active_nodes(graph, wanted, captured)
    scan.held = graph, value, adjoint, needed, flags
    scan.value, scan.adjoint = <double *> address(value), <double *> address(adjoint)
    scan.needed, scan.active = <uint8_t *> address(needed), <const uint8_t *> address(flags)
    scan.outputs, scan.output_count = <const int32_t *> address(graph.outputs), len(graph.outputs)
    return scan


cdef bint finds(scan, const double *numbers, const double *captured, Py_ssize_t heads) except -1:
    """Whether a Scan finds anything; in reverse from each of the first `heads` outputs."""
    return (<Scan> scan).find(numbers, captured, heads)


def first_made(graph, numbers, captured, wanted, by_captured, heads):
    """What in a graph makes the first nan or infinity out of finite numbers: (node, in reverse, values, adjoints).

    numbers, captured: float64, of its inputs and captured Values. In reverse from the first `heads` outputs, by
    the inputs that `wanted` flags and perhaps the captured. None if there is nothing.
    """
    cdef Scan scan = new_scan(graph, wanted, by_captured)
    if scan.find(<const double *> address(numbers), <const double *> address(captured), heads):
        return scan.node, scan.reverse, scan.held[1], scan.held[2]
    return None
