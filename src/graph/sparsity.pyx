# Which inputs outputs depend on, and colours of columns that can share a sweep.

def dependencies(graph, wanted):
    """Which of the inputs wanted each output may have a derivative by: (starts, inputs), as in a CSR matrix.

    wanted: a flag for each input. The inputs of one output are in increasing order.
    """
    import numpy
    cdef Arrays g = arrays_of(graph)
    cdef Py_ssize_t i, k, count, size = 0
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef int32_t source
    active_ = active_nodes(graph, wanted, False)
    cdef const uint8_t *flags = <const uint8_t *> address(active_)
    # The set of node i: `length` inputs from `start` on in `sets`. Nodes may have one set in common.
    start_, length_ = numpy.zeros(g.nodes, numpy.int64), numpy.zeros(g.nodes, numpy.int64)
    seen_ = numpy.full(len(wanted) + 1, -1, numpy.int32)
    cdef int64_t *start = <int64_t *> address(start_)
    cdef int64_t *length = <int64_t *> address(length_)
    cdef int32_t *seen = <int32_t *> address(seen_)     # of each input, the last node whose set it is in
    cdef Sets sets = Sets()
    for i in range(g.nodes):
        if not flags[i]:
            continue
        start[i] = sets.count
        if g.op[i] == OP_LEAF:
            sets.add(g.rhs[i])
            length[i] = 1
            continue
        count = operands_of(&g, i, &operands, pair)
        k = min(<Py_ssize_t> OP_INFO[g.op[i]].first, count)
        operands += k
        count -= k
        for k in range(count):
            source = operands[k]
            if not length[source]:
                continue
            if not length[i] or length[source] > length[i]:     # the largest, so far: perhaps the union
                start[i], length[i] = start[source], length[source]
        merge(sets, operands, count, start, length, seen, i)
    starts, inputs = [0], []
    for i in graph.outputs.tolist():
        part = numpy.sort(array_of(sets.items + start[i], length[i], numpy.int32))
        inputs.append(part)
        starts.append(starts[len(starts) - 1] + len(part))
    return numpy.array(starts), numpy.concatenate(inputs or [numpy.empty(0, numpy.int32)])


@cython.final
cdef class Sets:
    """A growing array of numbers of inputs."""
    cdef int32_t *items
    cdef Py_ssize_t count, room

    def __dealloc__(self):
        free(self.items)

    cdef int add(self, int32_t item) except -1:
        cdef void *p
        if self.count == self.room:
            p = realloc(self.items, (2 * self.room + 64) * sizeof(int32_t))
            if p == NULL:
                raise MemoryError(f'no memory for the pattern of a sparse matrix of {self.count:,} elements')
            self.items, self.room = <int32_t *> p, 2 * self.room + 64
        self.items[self.count] = item
        self.count += 1
        return 0


cdef int merge(Sets sets, const int32_t *operands, Py_ssize_t count, int64_t *start, int64_t *length, int32_t *seen,
               Py_ssize_t i) except -1:
    """Make the set of node i, which is the largest of its operands', the union of all of them."""
    cdef Py_ssize_t k, j, first = sets.count, base = start[i], size = length[i]
    cdef int32_t item
    for k in range(size):
        seen[sets.items[base + k]] = <int32_t> i
    for j in range(count):
        if start[operands[j]] == base:
            continue
        for k in range(length[operands[j]]):
            item = sets.items[start[operands[j]] + k]
            if seen[item] == i:
                continue
            if sets.count == first:     # something is missing: copy the largest, and go on from there
                for size in range(length[i]):
                    sets.add(sets.items[base + size])
            seen[item] = <int32_t> i
            sets.add(item)
    if sets.count > first:
        start[i], length[i] = first, sets.count - first
    return 0


def column_colours(starts, indices, Py_ssize_t columns):
    """A colour for each column of a sparse matrix, such that no row has two columns of one colour.

    starts, indices: the pattern, as in a CSR matrix. Greedy, in the order of the columns: int32[columns].
    """
    import numpy
    cdef Py_ssize_t rows = len(starts) - 1, j, k, l, row
    cdef int32_t colour
    starts_ = numpy.ascontiguousarray(starts, numpy.int64)
    indices_ = numpy.ascontiguousarray(indices, numpy.int32)
    # The same pattern by columns: for each, its rows.
    order = numpy.argsort(indices_, kind='stable')
    row_ = numpy.repeat(numpy.arange(rows, dtype=numpy.int32), numpy.diff(starts_))[order]
    begin_ = numpy.concatenate(([0], numpy.cumsum(numpy.bincount(indices_, minlength=columns)))).astype(numpy.int64)
    colours = numpy.full(columns, -1, numpy.int32)
    taken_ = numpy.full(columns + 1, -1, numpy.int64)
    cdef const int64_t *first = <const int64_t *> address(starts_)
    cdef const int32_t *column = <const int32_t *> address(indices_)
    cdef const int32_t *rows_of = <const int32_t *> address(row_)
    cdef const int64_t *begin = <const int64_t *> address(begin_)
    cdef int32_t *chosen = <int32_t *> address(colours)
    cdef int64_t *taken = <int64_t *> address(taken_)   # of each colour, the last column that may not have it
    for j in range(columns):
        for k in range(begin[j], begin[j + 1]):
            row = rows_of[k]
            for l in range(first[row], first[row + 1]):
                if chosen[column[l]] >= 0:
                    taken[chosen[column[l]]] = j
        colour = 0
        while taken[colour] == j:
            colour += 1
        chosen[j] = colour
    return colours
