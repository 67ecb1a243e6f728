# The partials of the op table as graphs: its formulas (micrograd_c/formulas.py) are evaluated once on symbols in
# place of numbers, and kept as small graphs that are copied in where an operation is differentiated.

cdef extern from "ops.h" nogil:
    ctypedef struct Formula:
        const char *name
        const char *parameters
        const char *value
    const Formula *FORMULA_TEXTS
    const double TWO_OVER_SQRT_PI, LN_2, LN_10

cdef enum:
    LONGEST_FORMULA = 64    # nodes of a partial

cdef list partial_graphs = []               # the graphs of all partials
cdef Arrays partial_arrays[2][OP_COUNT]     # and where their nodes are


@cython.final
cdef class Symbol:
    """A number of a formula that is evaluated on nodes of a draft."""
    cdef Draft draft
    cdef int32_t node

    def __add__(a, b):
        return symbol_of(OP_ADD, a, b)

    def __sub__(a, b):
        return symbol_of(OP_SUB, a, b)

    def __mul__(a, b):
        return symbol_of(OP_MUL, a, b)

    def __truediv__(a, b):
        return symbol_of(OP_DIV, a, b)

    def __neg__(self):
        return symbol_of(OP_NEG, self, self)

    # Truth is 1 or 0, as in C.

    def __and__(a, b):
        return either(a, b, 0)

    def __or__(a, b):
        return either(a, 1, b)

    def __invert__(self):
        return either(self, 0, 1)

    def __richcmp__(self, other, int comparison):
        if comparison == Py_LT:
            return either(other - self, 1, 0)
        if comparison == Py_GT:
            return either(self - other, 1, 0)
        if comparison == Py_LE:
            return ~(self > other)
        if comparison == Py_GE:
            return ~(self < other)
        if comparison != Py_EQ:
            return NotImplemented
        # nan equals nothing, not even itself, which is how formulas ask for it
        difference = self if self is other else self - other
        is_number = either(difference, 1, either(1 - difference, 1, 0))
        return is_number if self is other else either(difference, 0, either(-difference, 0, is_number))


cdef Symbol symbol_at(Draft draft, int32_t node):
    cdef Symbol symbol = Symbol.__new__(Symbol)
    symbol.draft, symbol.node = draft, node
    return symbol


cdef int32_t node_in(Draft draft, x) except -1:
    return (<Symbol> x).node if isinstance(x, Symbol) else draft.constant(x)


cdef Symbol symbol_of(int op, a, b):
    """The result of an operation of the table on symbols and numbers, one a symbol at least."""
    cdef Draft draft = (<Symbol> (a if isinstance(a, Symbol) else b)).draft
    cdef int32_t x = node_in(draft, a)
    return symbol_at(draft, folded_op(draft, op, x, node_in(draft, b)))


def either(test, x, y):
    """x where test > 0, else y."""
    cdef Draft draft
    if not isinstance(test, Symbol):
        return x if test > 0 else y
    draft = (<Symbol> test).draft
    cdef int32_t a = node_in(draft, x)
    return symbol_at(draft, folded_where(draft, (<Symbol> test).node, a, node_in(draft, y)))


cdef int32_t folded_where(Draft draft, int32_t test, int32_t a, int32_t b) except -1:
    cdef Py_ssize_t first = draft.made.edge_count
    if a == b:
        return a
    if is_constant(&draft.made, test):
        return a if draft.made.data[test] > 0 else b
    draft.edge(test)
    draft.pair(a, b)
    return draft.nary(OP_WHERE, first)


cdef int learn_partials() except -1:
    """Make the graphs of all partials."""
    from micrograd_c.formulas import Formula, Operation, read_partials
    cdef Py_ssize_t k
    cdef int op
    cdef Arrays found[2][OP_COUNT]
    cdef const OpInfo *info
    operations, formulas = [], []
    for op in range(OP_LEAF + 1, FIRST_NARY):
        info = &OP_INFO[op]
        operations.append(Operation(info.name.decode(), info.arity, info.value.decode(), info.by_a.decode(),
                                    info.by_b.decode()))
    k = 0
    while FORMULA_TEXTS[k].name != NULL:
        formulas.append(Formula(FORMULA_TEXTS[k].name.decode(), FORMULA_TEXTS[k].parameters.decode(),
                                FORMULA_TEXTS[k].value.decode()))
        k += 1
    names = {'choice': either, 'TWO_OVER_SQRT_PI': TWO_OVER_SQRT_PI, 'LN_2': LN_2, 'LN_10': LN_10}
    graphs = []
    for op, pair in enumerate(read_partials(operations, formulas, names, operation_named), OP_LEAF + 1):
        for k in range(2):
            graphs.append(graph_of_partial(pair[k], OP_NAMES[op]))
            found[k][op] = arrays_of(graphs[len(graphs) - 1])
    if not partial_graphs:  # another thread may have learned them meanwhile, and be using them
        memcpy(partial_arrays, found, sizeof(partial_arrays))
        partial_graphs[:] = graphs
    return 0


def operation_named(name):
    """An operation of the table on symbols."""
    cdef int op = OP_NAMES.index(name)
    if OP_INFO[op].arity == 1:
        return lambda a: symbol_of(op, a, a)
    return lambda a, b: symbol_of(op, a, b)


def graph_of_partial(partial, name):
    """A partial of the operation of that name, a function of a, b and v, as a graph of three inputs.

    Its last node is its value.
    """
    cdef Draft draft = Draft.__new__(Draft)
    draft.node(OP_LEAF, CONSTANT, 0, 1)
    inputs = [symbol_at(draft, draft.node(OP_LEAF, INPUT, k)) for k in range(3)]
    cdef int32_t value = node_in(draft, partial(*inputs))
    graph = reachable(with_outputs(draft, [value]))
    if len(graph.op) > LONGEST_FORMULA:
        raise AssertionError(f'a partial of {name} has {len(graph.op)} nodes, more than {LONGEST_FORMULA}')
    return graph


cdef int32_t partial_node(Draft draft, int op, int k, int32_t a, int32_t b, int32_t v) except -1:
    """The node of the partial of v = op(a, b) by a (k = 0) or b (k = 1), on nodes of the draft."""
    if op == OP_POW and is_constant(&draft.made, b):
        op = OP_POWC
    cdef const Arrays *f = &partial_arrays[k][op]
    cdef int32_t to[LONGEST_FORMULA]
    cdef int32_t operands[3]
    cdef const int32_t *edges
    cdef Py_ssize_t i
    cdef int inner
    operands[0], operands[1], operands[2] = a, b, v
    for i in range(f.nodes):
        inner = f.op[i]
        if inner == OP_LEAF:
            to[i] = operands[f.rhs[i]] if f.lhs[i] == INPUT else draft.constant(f.data[i])
        elif inner == OP_WHERE:
            edges = f.edges + f.lhs[i]
            to[i] = folded_where(draft, to[edges[0]], to[edges[1]], to[edges[2]])
        else:
            if inner == OP_POW and is_constant(&draft.made, to[f.rhs[i]]):
                inner = OP_POWC
            to[i] = folded_op(draft, inner, to[f.lhs[i]], to[f.rhs[i]])
    return to[f.nodes - 1]
