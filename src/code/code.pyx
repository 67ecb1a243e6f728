# A graph compiled for one way of calling it.

cdef enum:
    MINI = 8                # lanes of the last block of samples, some of which may be padding
    MOST_LANES = 64
    BLOCK_BYTES = 1 << 18   # the working set of a block, at most, where MINI lanes allow it


cdef class Part:
    """The uniform or the varying part of a code: its instructions, and the slots they need."""


cdef class Code:
    """A graph compiled for a way of calling it: which inputs vary, which derivatives are wanted."""


cdef Part part_of_runs(Runs runs, Py_ssize_t slots):
    """The code of finished runs."""
    import numpy
    cdef Part part = Part.__new__(Part)
    part.instrs = array_of(runs.instrs, runs.count * sizeof(Instr), numpy.uint8)
    part.more = array_of(runs.more, runs.more_count, numpy.int32)
    part.code.instrs = <const Instr *> address(part.instrs)
    part.code.more = <const int32_t *> address(part.more)
    part.code.count = runs.count
    part.slots = slots
    return part


cdef Part part_of(Layout g, bint varying, Py_ssize_t slots, bint optimize):
    """The code of a part; `slots` are taken by leaves."""
    cdef Runs runs
    cdef Py_ssize_t count
    ops = ops_of_part(g, varying)
    if optimize and len(ops):
        order, starts = by_level(g, ops, varying)
        if (len(starts) - 1) * NODES_A_RUN <= len(ops):
            count = assign_slots(g, order, starts, slots, True)
            runs = runs_of(g, order, starts, True)
            if runs.count * NODES_A_RUN <= len(ops):
                return part_of_runs(runs, count)
    order, starts = by_readiness(g, ops) if optimize and not varying and len(ops) else one_by_one(ops)
    count = assign_slots(g, order, starts, slots, optimize)
    return part_of_runs(runs_of(g, order, starts, False), count)


def broadcast_rows(graph, varies):
    """The rows of a take that varies all vary: uniform ones, where there are others, get a varying copy.

    Returns the graph and which of its nodes vary. (Elsewhere the kinds may mix.)
    """
    import numpy
    takes = []
    for i in numpy.nonzero((graph.op == OP_TAKE) & (varies == 1))[0].tolist():
        first = graph.lhs[i] + 1
        kinds = varies[graph.edges[first:first + graph.rhs[i] - 1]]
        if kinds.any() and not kinds.all():
            takes.append(i)
    if not takes:
        return graph, varies
    # A copy is row + 0, and 0 the number right after the 1.
    places, rows, slots = [1], [], []
    for i in takes:
        for e in range(graph.lhs[i] + 1, graph.lhs[i] + graph.rhs[i]):
            if not varies[graph.edges[e]]:
                places.append(i)
                rows.append(graph.edges[e])
                slots.append(e)
    number = numpy.arange(len(graph.op)) + numpy.searchsorted(places, numpy.arange(len(graph.op)), 'right')
    number = number.astype(numpy.int32)
    copies = numpy.array(places[1:]) + 1 + numpy.arange(len(rows))
    op, data = numpy.insert(graph.op, places, 0), numpy.insert(graph.data, places, 0)
    lhs, rhs = numpy.insert(graph.lhs, places, 0), numpy.insert(graph.rhs, places, 0)
    table = (op != OP_LEAF) & (op < FIRST_NARY)
    lhs[table], rhs[table] = number[lhs[table]], number[rhs[table]]
    op[copies], lhs[copies], rhs[copies] = OP_ADD, number[rows], 1
    edges = number[graph.edges]
    edges[slots] = copies
    varies = numpy.insert(varies, places, 0)
    varies[copies] = 1
    return Graph(op, lhs, rhs, data, edges, number[graph.outputs]), varies


cdef object filled(Py_ssize_t count):
    import numpy
    return numpy.full(count, -1, numpy.int32)


cdef Code compile_code(graph, Py_ssize_t inputs, Py_ssize_t captured, bint optimize, bytes mapped, bytes wanted,
                       bint captured_wanted, bint reverse):
    """The code for inputs that vary as `mapped` says, with derivatives by those that `wanted` says."""
    import numpy
    cdef Code code = Code.__new__(Code)
    if not ops_known:
        learn_ops()
    cdef Py_ssize_t k, i, slots = 0, varying_slots = 0
    cdef Layout g
    mask = numpy.frombuffer(mapped, numpy.uint8)
    if optimize:
        graph = group_terms(graph, varying_nodes(graph, mask))
    graph = separate(graph, varying_nodes(graph, mask))
    graph, varies = broadcast_rows(graph, varying_nodes(graph, mask))
    if reverse:
        lives = active_nodes(graph, numpy.frombuffer(wanted, numpy.uint8), captured_wanted)
    else:
        lives = numpy.zeros(len(graph.op), numpy.uint8)
    g = Layout(graph, varies, lives)
    captured_slot, input_slot = filled(captured), filled(inputs)
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
                (captured_slot if kind == CAPTURED else input_slot)[g.graph.rhs[i]] = g.slot[i]
    for i in graph.outputs.tolist():
        g.kept[i] = True
    keep_for_varying(g)
    keep_for_reverse(g)
    code.leaves = slots
    code.uniform = part_of(g, False, slots, optimize)
    code.varying = part_of(g, True, varying_slots, optimize)
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
    while (code.inputs_in_row < inputs and not code.mapped[code.inputs_in_row]
           and code.input_slot[code.inputs_in_row] == code.input_slot[0] + code.inputs_in_row >= 0):
        code.inputs_in_row += 1
    code.inputs, code.outputs = inputs, len(output_slot)
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
            count = operands_of(&g.graph, i, &operands, pair)
            for k in range(count):
                if not g.varying[operands[k]]:
                    top = max(top, g.slot[operands[k]] + 1)
    return top
