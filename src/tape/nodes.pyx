# The tape: flat, growing arrays of nodes, in the order in which they were made.
#
# Rule 1: a parent stands before its child, so that the order of the indices is a topological one.
# Rule 2: a node lives as long as its facade lives or a live node depends on it (value/collect.pyx).
# Rule 3: collecting moves nodes, so it happens only at the end of an operation, or in `reserve` at
#         its start, when every index still needed is held by a facade; nobody keeps a pointer into
#         the arrays across a push.
# Rule 4: data is read when it is used: the reverse sweep reads the operands as they stand then.

cdef enum:
    USER = 0x80             # flag on an op: the node's reverse step is a closure of the user's
    MIN_CAPACITY = 1 << 10  # nodes, and edges, that there is always room for
    UNRECORDED = 64         # results that were not recorded, before they are looked through, at least

cdef enum:                  # what a leaf is, in the place of its second parent
    PLAIN_LEAF
    GRAD_ADD                # of attach_grad, by what a sweep does to its gradient
    GRAD_WRITE
    GRAD_NULL
    FREED                   # an operation once, whose history a sweep was told not to retain

cdef double DETACHED = 1    # the partial of a detached Value in a trace, which tells it from other plain nodes

cdef struct Node:
    double data             # primal
    double grad             # adjoint
    int32_t lhs             # first parent; of an n-ary node, its first edge
    int32_t rhs             # second parent (the first again where there is one); n-ary: number of edges;
                            # of a leaf, what kind of leaf
    PyObject *facade        # the live Value of this node, or NULL: borrowed, but owned when pinned

# A set of node indices from which the highest is taken at about the cost of one memory access, however
# far apart they are: a bit a node, and two levels of summary to skip empty stretches.
cdef struct Marks:
    uint64_t *level[3]      # a bit a node; a bit a word of the former that is not zero; and again
    Py_ssize_t capacity     # nodes there is room for

cdef struct Tape:
    Node *nodes
    uint8_t *ops            # what each node computes: OP_..., perhaps | USER
    Py_ssize_t size         # nodes on the tape
    Py_ssize_t capacity     # nodes there is room for
    int32_t *edge_parent    # the edges of n-ary nodes, in the order of the nodes
    double *edge_partial    # partial of the node by that parent, where it has no rule of its own
    Py_ssize_t edges
    Py_ssize_t edge_capacity
    Marks marks             # of the reverse sweep, and of collect; no bit is set between
    Marks spare             # of a sweep within a closure of another
    int32_t paused          # -1 while any thread records nothing (mode.pyx), else 0
    # When to collect:
    Py_ssize_t limit        # at this size
    Py_ssize_t edge_limit   # or at so many edges;
    Py_ssize_t interval     # new nodes before the next collect
    Py_ssize_t full_at      # at this size the whole tape, below it only the nursery
    Py_ssize_t full_at_edges
    Py_ssize_t popped       # nodes popped since the last look at how much room is needed,
    Py_ssize_t peak         # the most nodes there were before one of these pops,
    Py_ssize_t peak_edges   # and the most edges
    Py_ssize_t recent       # about the most nodes that were live of late: what programs come back to
    Py_ssize_t recent_edges
    Py_ssize_t old          # the nodes before this one have survived a collect
    Py_ssize_t renumbered   # how often nodes before `old` may have got other indices or lost their facade
    int hold                # while not 0, nothing is collected: indices are in flight
    int sweeping            # sweeps under way (more than one where closures nest them)
    Py_ssize_t special      # leaves that a sweep must know of before it begins: see is_special
    # While nothing is recorded (mode.pyx):
    Py_ssize_t floor        # about where the results begin
    Py_ssize_t unrecorded   # results since the last collect of them,
    Py_ssize_t unrecorded_due   # and how many bring about the next
    Py_ssize_t pinned       # facades that the tape owns
    # Settings:
    Py_ssize_t nursery      # new nodes before the next collect, at least: some of the L2 cache
    Py_ssize_t max_nodes

cdef Tape tape
memset(&tape, 0, sizeof(tape))

cdef struct Hooks:          # what the tape asks of the layers above it, which set them (_core.pyx)
    Py_ssize_t (*collect)(Py_ssize_t start) noexcept
    void (*collect_unrecorded)() noexcept
    int (*user_step)(Py_ssize_t i) except -1

cdef Hooks hooks


# ---------------------------------------------------------------------------------------- growth

cdef Py_ssize_t mark_words(Py_ssize_t capacity, int level) noexcept:
    return (capacity >> (6 * (level + 1))) + 1


cdef int resize_marks(Marks *marks, Py_ssize_t capacity) except -1:
    """Make room for the marks of `capacity` nodes, new ones unset; MemoryError leaves them usable."""
    cdef uint64_t *words
    cdef Py_ssize_t count, cleared
    cdef int level
    if capacity < marks.capacity:
        marks.capacity = capacity
    for level in range(3):
        count = mark_words(capacity, level)
        cleared = mark_words(marks.capacity, level) if marks.capacity else 0
        words = <uint64_t *> realloc(marks.level[level], count * sizeof(uint64_t))
        if words == NULL:
            raise MemoryError(f'no memory for the marks of {capacity:,} nodes')
        marks.level[level] = words
        if count > cleared:
            memset(words + cleared, 0, (count - cleared) * sizeof(uint64_t))
    marks.capacity = capacity
    return 0


cdef void free_marks(Marks *marks) noexcept:
    cdef int level
    for level in range(3):
        free(marks.level[level])
    memset(marks, 0, sizeof(marks[0]))


cdef int resize_nodes(Py_ssize_t capacity) except -1:
    """Make room for `capacity` nodes, no fewer than there are; MemoryError leaves all as it was."""
    cdef void *p
    # The arrays are resized one by one: if one cannot be, those before it keep their new size, which is
    # harmless while `capacity` still says the smaller of the two.
    if capacity < tape.capacity:
        tape.capacity = capacity
    p = realloc(tape.nodes, capacity * sizeof(Node))
    if p == NULL:
        raise MemoryError(f'no memory for a tape of {capacity:,} nodes')
    tape.nodes = <Node *> p
    p = realloc(tape.ops, capacity)
    if p == NULL:
        raise MemoryError(f'no memory for a tape of {capacity:,} nodes')
    tape.ops = <uint8_t *> p
    resize_marks(&tape.marks, capacity)
    tape.capacity = capacity
    return 0


cdef int resize_edges(Py_ssize_t capacity) except -1:
    """Make room for `capacity` edges, no fewer than there are; MemoryError leaves all as it was."""
    cdef void *p
    if capacity < tape.edge_capacity:
        tape.edge_capacity = capacity
    p = realloc(tape.edge_parent, capacity * sizeof(int32_t))
    if p == NULL:
        raise MemoryError(f'no memory for a tape of {capacity:,} edges')
    tape.edge_parent = <int32_t *> p
    p = realloc(tape.edge_partial, capacity * sizeof(double))
    if p == NULL:
        raise MemoryError(f'no memory for a tape of {capacity:,} edges')
    tape.edge_partial = <double *> p
    tape.edge_capacity = capacity
    return 0


resize_nodes(MIN_CAPACITY)  # from the start: the arrays, and the words of the marks, are always there
resize_edges(MIN_CAPACITY)


cdef int grow(Py_ssize_t nodes, Py_ssize_t edges) except -1:
    """Make room for so many more nodes and edges; where there is none, by collecting."""
    try:
        return grow_arrays(nodes, edges)
    except (MemoryError, OverflowError):
        if tape.hold or hooks.collect(0) == 0:
            raise
    return grow_arrays(nodes, edges)


cdef int grow_arrays(Py_ssize_t nodes, Py_ssize_t edges) except -1:
    cdef Py_ssize_t wanted = tape.size + nodes
    if wanted > tape.max_nodes:
        raise OverflowError(f'a tape holds at most {tape.max_nodes:,} nodes')
    if wanted > tape.capacity:
        resize_nodes(min(max(wanted, 2 * tape.capacity, MIN_CAPACITY), tape.max_nodes))
    wanted = tape.edges + edges
    if wanted > INT32_MAX:
        raise OverflowError(f'a tape holds at most {INT32_MAX:,} edges')
    if wanted > tape.edge_capacity:
        resize_edges(min(max(wanted, 2 * tape.edge_capacity, MIN_CAPACITY), INT32_MAX))
    return 0


cdef inline bint has_room(Py_ssize_t nodes, Py_ssize_t edges) noexcept:
    return tape.size + nodes <= tape.capacity and (edges == 0 or tape.edges + edges <= tape.edge_capacity)


cdef inline int reserve(Py_ssize_t nodes, Py_ssize_t edges) except -1:
    """Make sure that so many pushes cannot fail. May collect: indices are read after it."""
    if LIKELY(has_room(nodes, edges)):
        return 0
    return grow(nodes, edges)


# --------------------------------------------------------------------------------- nodes and edges

cdef inline Node *node_at(Py_ssize_t i) noexcept nogil:
    CHECK(0 <= i and i < tape.size)
    return &tape.nodes[i]


cdef inline int op_at(Py_ssize_t i) noexcept nogil:
    CHECK(0 <= i and i < tape.size)
    return tape.ops[i] & ~USER


cdef inline bint is_special(Py_ssize_t i) noexcept nogil:
    """Whether node i is a leaf whose gradient a sweep does not simply add to, or one that it must not meet."""
    return op_at(i) == OP_LEAF and node_at(i).rhs >= GRAD_WRITE


cdef inline int32_t push(int op, double data, int32_t lhs, int32_t rhs) noexcept:
    """Append a node without a facade; room must have been reserved."""
    cdef Py_ssize_t i = tape.size
    CHECK(i < tape.capacity)
    cdef Node *node = &tape.nodes[i]
    tape.ops[i] = <uint8_t> op
    node.data = data
    node.grad = 0
    node.lhs = lhs
    node.rhs = rhs
    node.facade = NULL
    tape.size = i + 1
    if DEBUG_BUILD:
        check_parents(i)
    return <int32_t> i


cdef inline void push_edge(int32_t parent, double partial) noexcept:
    """Append an edge of the n-ary node that is pushed next; room must have been reserved."""
    CHECK(tape.edges < tape.edge_capacity)
    CHECK(0 <= parent and parent < tape.size)
    tape.edge_parent[tape.edges] = parent
    tape.edge_partial[tape.edges] = partial
    tape.edges += 1


cdef inline Edges edges_from(Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """So many edges, until the next push."""
    cdef Edges edges
    CHECK(first + count <= tape.edges)
    edges.index = tape.edge_parent + first
    edges.n = count
    edges.numbers = &tape.nodes[0].data
    edges.step = <Py_ssize_t> (sizeof(Node) // sizeof(double))
    edges.partials = tape.edge_partial + first
    return edges


cdef void check_parents(Py_ssize_t i) noexcept nogil:
    """Debug build: rule 1 holds for node i."""
    cdef Node *node = node_at(i)
    cdef int op = op_at(i), arity
    cdef Py_ssize_t e
    CHECK(op < OP_COUNT)
    if is_nary(op):
        CHECK(node.lhs >= 0 and node.rhs >= 0 and node.lhs + <Py_ssize_t> node.rhs <= tape.edges)
        for e in range(node.lhs, node.lhs + <Py_ssize_t> node.rhs):
            CHECK(0 <= tape.edge_parent[e] and tape.edge_parent[e] < i)
    elif op != OP_LEAF:
        arity = OP_INFO[op].arity
        CHECK(0 <= node.lhs and node.lhs < i and 0 <= node.rhs and node.rhs < i)
        CHECK(arity == 2 or node.lhs == node.rhs)


# --------------------------------------------------------------------------------------- the marks

cdef inline void mark(Marks *marks, Py_ssize_t i) noexcept nogil:
    CHECK(0 <= i and i < marks.capacity)
    cdef uint64_t *word = &marks.level[0][i >> 6]
    if word[0] == 0:
        mark_summary(marks, i)
    word[0] |= <uint64_t> 1 << (i & 63)


cdef void mark_summary(Marks *marks, Py_ssize_t i) noexcept nogil:
    marks.level[1][i >> 12] |= <uint64_t> 1 << (i >> 6 & 63)
    marks.level[2][i >> 18] |= <uint64_t> 1 << (i >> 12 & 63)


cdef inline void unmark(Marks *marks, Py_ssize_t i) noexcept nogil:
    CHECK(0 <= i and i < marks.capacity)
    cdef uint64_t *word = &marks.level[0][i >> 6]
    word[0] &= ~(<uint64_t> 1 << (i & 63))
    if word[0] == 0:
        unmark_summary(marks, i)


cdef void unmark_summary(Marks *marks, Py_ssize_t i) noexcept nogil:
    marks.level[1][i >> 12] &= ~(<uint64_t> 1 << (i >> 6 & 63))
    if marks.level[1][i >> 12] == 0:
        marks.level[2][i >> 18] &= ~(<uint64_t> 1 << (i >> 12 & 63))


cdef Py_ssize_t highest_mark(Marks *marks, Py_ssize_t top) noexcept nogil:
    """The highest index marked, or -1; there must be none above `top`."""
    CHECK(0 <= top and top < marks.capacity)
    cdef Py_ssize_t k = top >> 6    # a word of level 0
    if marks.level[0][k] == 0:
        k = top >> 12               # a word of level 1
        if marks.level[1][k] == 0:
            k = top >> 18
            while marks.level[2][k] == 0:
                k -= 1
                if k < 0:
                    return -1
            k = k << 6 | highest_bit(marks.level[2][k])
        k = k << 6 | highest_bit(marks.level[1][k])
    return k << 6 | highest_bit(marks.level[0][k])


cdef inline bint marked(Marks *marks, Py_ssize_t i) noexcept nogil:
    CHECK(0 <= i and i < marks.capacity)
    return marks.level[0][i >> 6] >> (i & 63) & 1


# A sweep has marks of its own: those of the tape, or in the closure of another sweep the spare ones. While
# it has them, nothing is collected.
cdef struct Claim:
    Marks *marks
    Marks own               # where they are not the tape's


cdef int claim_marks(Claim *claim, Py_ssize_t top) except -1:
    """Take marks for the nodes up to `top`, none of them set."""
    claim.marks = &tape.marks
    if tape.sweeping:
        if tape.spare.capacity <= top:
            resize_marks(&tape.spare, top + 1)
        claim.own = tape.spare
        memset(&tape.spare, 0, sizeof(Marks))
        claim.marks = &claim.own
    tape.sweeping += 1
    tape.hold += 1
    return 0


cdef void return_marks(Claim *claim) noexcept:
    """Give them back, none of them set."""
    tape.sweeping -= 1
    tape.hold -= 1
    if claim.marks != &tape.marks:
        free_marks(&tape.spare)
        tape.spare = claim.own


cdef void mark_parents(Marks *marks, Py_ssize_t i) noexcept nogil:
    cdef Node *node = node_at(i)
    cdef int op = op_at(i)
    cdef Py_ssize_t e
    if is_nary(op):
        for e in range(node.lhs, node.lhs + <Py_ssize_t> node.rhs):
            if tape.ops[tape.edge_parent[e]] != OP_LEAF:    # a leaf has no step to take
                mark(marks, tape.edge_parent[e])
    elif op != OP_LEAF:
        mark(marks, node.lhs)
        mark(marks, node.rhs)
