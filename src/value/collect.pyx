# Collecting (rule 2): a node lives as long as its facade lives or a live node depends on it.
#
# The last nodes of the tape, with nothing after them, are popped as soon as their facades are dropped: so
# goes the whole graph of a function when it returns. For what dies further down, there is the collector.
# (Where facades are pinned, all is left to it: how soon it comes must not depend on what is popped.)
#
# One reverse scan marks what is reached from the live facades, one forward scan slides the survivors
# down, in order. Most collects look at the nursery alone, the nodes made since the last one, and take
# all older nodes for live; when the tape has doubled since it was last scanned whole, all of it is.
#
# A pinned facade is held by the tape itself, and perhaps by closures that only it holds in turn: a cycle
# that Python's collector cannot see, as facades are not tracked. So where any facade carries attributes,
# references are first counted from within (trial deletion): `scratch` becomes the number of references
# to a facade that do not come from what pinned facades carry.

cdef extern from "Python.h":
    bint PyFunction_Check(PyObject *)
    PyObject *PyFunction_GET_CLOSURE(PyObject *)
    PyObject *PyFunction_GET_DEFAULTS(PyObject *)
    PyObject *PyFunction_GET_KW_DEFAULTS(PyObject *)
    ctypedef struct PyFunctionObject:
        PyObject *func_dict
    bint PyObject_IS_GC(PyObject *)
    bint PyType_Check(PyObject *)
    bint PyModule_Check(PyObject *)
    bint PyGen_CheckExact(PyObject *)
    bint PyCoro_CheckExact(PyObject *)
    bint PyAsyncGen_CheckExact(PyObject *)
    bint PyTuple_CheckExact(PyObject *)
    bint PyList_CheckExact(PyObject *)
    bint PyDict_CheckExact(PyObject *)
    Py_ssize_t Py_SIZE(PyObject *)
    bint PyAnySet_CheckExact(PyObject *)
    Py_ssize_t PyDict_Size(PyObject *)
    Py_ssize_t PySet_Size(PyObject *)
    const Py_ssize_t ALIVE "PY_SSIZE_T_MAX"  # so many references: certainly held
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef struct PyTypeTraverse "PyTypeObject":
        int (*tp_traverse)(PyObject *, visitproc, void *) noexcept
        int (*tp_clear)(PyObject *) noexcept

cdef enum:
    NURSERY = 1 << 13   # nodes: some 270 KB, which stay in an L2 cache
    EDGES_A_NODE = 4    # so many edges for each node of the nursery bring a collect about, too
    # So many references a node are followed on trial, no more (a closure makes about ten): what else there
    # is counts as held from outside. That errs on the side of keeping, and keeps collecting at O(1) a node
    # whatever a user hangs on a Value.
    WALK_A_NODE = 64

cdef struct Trial:
    Py_ssize_t start        # nodes before this one are taken for live
    int32_t *moved          # a mark a node from `start` on
    bint counted            # facades' `scratch` is their number of references from outside
    Py_ssize_t passed       # the nodes above this one have been scanned; those that turn out to live
    Py_ssize_t top          # all the same are in the tape's marks, none above this one
    # The containers met: a hash table by address, with the references to each from outside.
    Py_ssize_t budget       # references that may still be followed
    PyObject **keys
    Py_ssize_t *outside
    Py_ssize_t used
    Py_ssize_t slots        # a power of two
    PyObject **stack        # containers still to be looked into; room for as many as there are slots
    Py_ssize_t stacked


cdef void pop() noexcept:
    """Free the nodes at the end of the tape that have no facade: no node stands after them to need them."""
    cdef Py_ssize_t size = tape.size, i
    tape.peak = max(tape.peak, size)
    tape.peak_edges = max(tape.peak_edges, tape.edges)
    while size and tape.nodes[size - 1].facade == NULL:
        size -= 1
        if is_nary(tape.ops[size] & ~USER):
            tape.edges = tape.nodes[size].lhs
    tape.popped += tape.size - size
    if tape.special:
        for i in range(size, tape.size):
            tape.special -= is_special(i)
    tape.size = size
    if size < tape.old:
        tape.old = size
        schedule()
    if tape.popped > tape.capacity and not tape.hold:
        tape.recent = tape.peak
        tape.recent_edges = tape.peak_edges
        tape.popped = tape.peak = tape.peak_edges = 0
        shrink()


cdef inline void collect_if_due() noexcept:
    """The end of an operation: a good moment to collect, every index needed is held by a facade."""
    if not LIKELY(tape.size < tape.limit):
        collect_due()


cdef void collect_due() noexcept:
    if tape.hold:
        return
    if tape.size >= tape.full_at or tape.edges >= tape.full_at_edges or tape.nursery == 1:
        collect(0)
    else:
        collect(tape.old)


cdef inline void collect_if_edges_due() noexcept:
    """The end of an operation that made edges: collect if there are many nodes or edges."""
    if not LIKELY(tape.size < tape.limit and tape.edges < tape.edge_limit):
        collect_due()


cdef inline void collect_made(bint recorded) noexcept:
    """The end of an operation of either kind."""
    if LIKELY(recorded):
        collect_if_edges_due()
    else:
        collect_if_unrecorded_due()


cdef void schedule() noexcept:
    """The next collect is due after so many more nodes or edges, in keeping with what lives, or lived."""
    cdef Py_ssize_t nodes = min(tape.interval, max(tape.nursery, tape.size, tape.recent))
    tape.limit = tape.size + nodes
    tape.edge_limit = tape.edges + EDGES_A_NODE * nodes


cdef Py_ssize_t collect(Py_ssize_t start) noexcept:
    """Free the nodes from `start` on that nothing needs; their number. Facades' indices move along."""
    cdef Py_ssize_t before = tape.size, room
    cdef PyObject *released = NULL
    if not remove_dead(start, &released):
        schedule()  # no memory now: later perhaps
        return 0
    tape.old = tape.size
    if start:
        # Where most of the nursery lives on, a graph is being built, and collecting so often is in vain.
        tape.interval = max(tape.nursery, 2 * (tape.size - start))
    schedule()
    if start == 0:
        tape.renumbered += 1
        tape.recent = max(tape.size, tape.recent * 7 // 8)
        tape.recent_edges = max(tape.edges, tape.recent_edges * 7 // 8)
        # Scanning costs nodes and edges alike, so much of the one is a reason to let the other grow, too.
        room = max(tape.recent, tape.recent_edges // EDGES_A_NODE, tape.nursery)
        tape.full_at = tape.size + room
        tape.full_at_edges = tape.edges + EDGES_A_NODE * room
        shrink()
    if DEBUG_BUILD:
        check_tape()
    before -= tape.size
    release(released)
    return before


cdef void collect_unrecorded() noexcept:
    """Collect among the results of operations that were not recorded, as far as nothing needs them.

    They come and go without history: a loop that makes millions of them leaves the tape as long as it was,
    though no pop reaches them where the last one is kept. How often: see collect_if_unrecorded_due.
    """
    cdef PyObject *released = NULL
    cdef Py_ssize_t start = min(tape.floor, tape.size)
    if tape.hold or not remove_dead(start, &released):
        return
    if start < tape.old:
        tape.old = min(tape.old, tape.size)
        tape.renumbered += 1
    tape.unrecorded = 0
    tape.unrecorded_due = max(UNRECORDED, tape.size - start)
    if DEBUG_BUILD:
        check_tape()
    release(released)


cdef inline void collect_if_unrecorded_due() noexcept:
    """The end of an operation that was not recorded."""
    tape.unrecorded += 1
    if tape.unrecorded >= tape.unrecorded_due:
        collect_unrecorded()
    collect_if_edges_due()


cdef bint remove_dead(Py_ssize_t start, PyObject **released) noexcept:
    """Slide the nodes from `start` on that are needed over the others. False, and nothing done, without memory.

    `released` becomes a list of facades for `release`, once all else is in order.
    """
    cdef Py_ssize_t count = tape.size - start
    cdef Trial trial
    cdef int32_t *moved = <int32_t *> malloc((count + 1) * sizeof(int32_t))
    if moved == NULL:
        return False
    memset(moved, 0, count * sizeof(int32_t))
    memset(&trial, 0, sizeof(trial))
    trial.start = start
    trial.moved = moved
    trial.passed = tape.size
    trial.budget = WALK_A_NODE * count
    if tape.pinned:
        count_references(&trial)
    mark_live(&trial)
    free_trial(&trial)
    released[0] = slide(start, moved)
    free(moved)
    return True


# ------------------------------------------------------------------------------------------ marking

cdef inline bint is_root(PyObject *facade, bint counted) noexcept:
    """Whether a facade is held by anybody but the tape (and, on trial, what pinned facades carry)."""
    if facade == NULL:
        return False
    if counted:
        return (<Value> facade).scratch > 0
    return not (<Value> facade).pinned or Py_REFCNT(facade) > 1


cdef void mark_live(Trial *trial) noexcept:
    """Set moved[] to 1 for the nodes that live."""
    cdef Py_ssize_t i, later
    for i in range(tape.size - 1, trial.start - 1, -1):
        if trial.moved[i - trial.start] or is_root(tape.nodes[i].facade, trial.counted):
            trial.moved[i - trial.start] = 1
            trial.passed = i
            trial.top = -1
            reach(trial, i)
            # What it carries may be nodes that the scan has passed, and what these reach likewise.
            while trial.top >= 0:
                later = highest_mark(&tape.marks, trial.top)
                if later < 0:
                    break
                unmark(&tape.marks, later)
                reach(trial, later)


cdef void reach(Trial *trial, Py_ssize_t i) noexcept:
    """What node i needs lives too: its parents, and what its facade carries."""
    cdef Node *node = node_at(i)
    cdef int op = op_at(i)
    cdef Py_ssize_t e
    if is_nary(op):
        for e in range(node.lhs, node.lhs + <Py_ssize_t> node.rhs):
            mark_moved(trial, tape.edge_parent[e])
    elif op != OP_LEAF:
        mark_moved(trial, node.lhs)
        mark_moved(trial, node.rhs)
    if trial.counted and node.facade != NULL and carries(node.facade):
        visit_carried(node.facade, revive, trial)
        revive_stacked(trial)


cdef inline void mark_moved(Trial *trial, Py_ssize_t i) noexcept:
    """Node i lives; if the scan has passed it, it is put down to be reached."""
    if i >= trial.start and not trial.moved[i - trial.start]:
        trial.moved[i - trial.start] = 1
        if i > trial.passed:
            mark(&tape.marks, i)
            trial.top = max(trial.top, i)


# ------------------------------------------------------------------------------------------ sliding

cdef PyObject *slide(Py_ssize_t start, int32_t *moved) noexcept:
    """Move the marked nodes and their edges down, and their facades' indices with them.

    Returns the facades that lost their node, as a list linked through `scratch`.
    """
    cdef Py_ssize_t i, j, e, edges, first = start   # the first node that moves or goes
    cdef Node *node
    cdef Node *target
    cdef PyObject *released = NULL
    cdef bint pinned = tape.pinned > 0  # if none is, a node that goes has no facade
    cdef int32_t lhs, rhs
    cdef int op
    if tape.special:
        for i in range(start, tape.size):
            tape.special -= not moved[i - start] and is_special(i)
    while first < tape.size and moved[first - start]:
        moved[first - start] = <int32_t> first
        first += 1
    j = first
    edges = edges_before(start, first)
    for i in range(first, tape.size):
        node = &tape.nodes[i]
        if not moved[i - start]:
            if pinned and node.facade != NULL:
                (<Value> node.facade).index = -1
                if (<Value> node.facade).pinned:
                    (<Value> node.facade).pinned = False
                    tape.pinned -= 1
                    (<Value> node.facade).scratch = <Py_ssize_t> released
                    released = node.facade
            continue
        moved[i - start] = <int32_t> j
        op = tape.ops[i] & ~USER
        lhs, rhs = node.lhs, node.rhs
        if is_nary(op):
            lhs = <int32_t> edges
            for e in range(node.lhs, node.lhs + <Py_ssize_t> rhs):
                tape.edge_parent[edges] = new_index(tape.edge_parent[e], start, moved)
                tape.edge_partial[edges] = tape.edge_partial[e]
                edges += 1
        elif op != OP_LEAF:
            lhs = new_index(lhs, start, moved)
            rhs = new_index(rhs, start, moved)
        target = &tape.nodes[j]
        target.data = node.data
        target.grad = node.grad
        target.lhs = lhs
        target.rhs = rhs
        target.facade = node.facade
        tape.ops[j] = tape.ops[i]
        if node.facade != NULL:
            (<Value> node.facade).index = <int32_t> j
        j += 1
    tape.size = j
    tape.edges = edges
    return released


cdef Py_ssize_t edges_before(Py_ssize_t start, Py_ssize_t i) noexcept:
    """Where the edges of the nodes before node i end, as seen from node `start` on.

    A node that forgot its history leaves edges behind that are no node's: they go where nodes slide.
    """
    cdef Py_ssize_t k
    for k in range(i - 1, start - 1, -1):
        if is_nary(op_at(k)):
            return node_at(k).lhs + node_at(k).rhs
    if start == 0:
        return 0
    while i < tape.size:
        if is_nary(op_at(i)):
            return node_at(i).lhs
        i += 1
    return tape.edges


cdef inline int32_t new_index(int32_t i, Py_ssize_t start, int32_t *moved) noexcept:
    return i if i < start else moved[i - start]


cdef void shrink() noexcept:
    """Give memory back when most of it has been free for a while."""
    cdef Py_ssize_t nodes = 4 * max(tape.recent, tape.nursery, MIN_CAPACITY)
    cdef Py_ssize_t edges = 4 * max(tape.recent_edges, EDGES_A_NODE * tape.nursery, MIN_CAPACITY)
    try:
        if tape.capacity > 2 * nodes:
            resize_nodes(nodes)
        if tape.edge_capacity > 2 * edges:
            resize_edges(edges)
    except MemoryError:
        pass  # then it stays


cdef void release(PyObject *facade) noexcept:
    """Let go of facades whose nodes are gone. Runs code of the user's: all else must be in order."""
    cdef PyObject *following
    cdef PyObject *attributes
    tape.hold += 1  # the list is linked through the facades
    while facade != NULL:
        following = <PyObject *> (<Value> facade).scratch
        if Py_REFCNT(facade) > 1:   # by what it carries itself
            attributes = (<Value> facade).attributes
            (<Value> facade).attributes = NULL
            Py_XDECREF(attributes)
            if PyObject_IS_GC(facade):
                (<PyTypeTraverse *> Py_TYPE(facade)).tp_clear(facade)
        Py_DECREF(facade)
        facade = following
    tape.hold -= 1


# ----------------------------------------------------------------------------------- trial deletion

cdef void free_trial(Trial *trial) noexcept:
    free(trial.keys)
    free(trial.outside)
    free(trial.stack)


cdef void count_references(Trial *trial) noexcept:
    """Set `scratch` of every facade to the references to it from outside, if any of them needs it."""
    cdef Py_ssize_t i
    cdef PyObject *facade
    cdef bint needed = False
    for i in range(trial.start, tape.size):
        facade = tape.nodes[i].facade
        if facade != NULL:
            (<Value> facade).scratch = Py_REFCNT(facade) - (<Value> facade).pinned
            needed = needed or carries(facade)
    if not needed or not grow_trial(trial):
        return
    for i in range(trial.start, tape.size):
        facade = tape.nodes[i].facade
        if facade != NULL and carries(facade):
            if visit_carried(facade, subtract, trial) != 0 or not subtract_stacked(trial):
                return  # out of memory: leave it at the plain rule, which keeps more
    for i in range(trial.slots):
        if trial.keys[i] != NULL and 0 < trial.outside[i] < ALIVE:
            revive(trial.keys[i], <void *> trial)
            revive_stacked(trial)
    trial.counted = True


cdef inline bint carries(PyObject *facade) noexcept:
    """Whether a facade may refer to other objects: by its dict, or by the slots of a subclass."""
    return (<Value> facade).attributes != NULL or PyObject_IS_GC(facade)


cdef int visit_carried(PyObject *facade, visitproc visit, Trial *trial) noexcept:
    """Visit what a facade carries."""
    if (<Value> facade).attributes != NULL and visit((<Value> facade).attributes, <void *> trial) != 0:
        return -1
    if PyObject_IS_GC(facade):
        return (<PyTypeTraverse *> Py_TYPE(facade)).tp_traverse(facade, visit, <void *> trial)
    return 0


cdef bint is_container(PyObject *o) noexcept:
    """Whether what o holds is looked into.

    Not classes and modules, which lead everywhere. Nor a generator or coroutine: from CPython 3.14 on, a
    frame visits references on its stack that it only borrows, and they must not be counted.
    """
    return (PyObject_IS_GC(o) and not PyType_Check(o) and not PyModule_Check(o)
            and not PyGen_CheckExact(o) and not PyCoro_CheckExact(o) and not PyAsyncGen_CheckExact(o))


cdef Py_ssize_t references_of(PyObject *container) noexcept:
    """About how many references a container holds."""
    if PyTuple_CheckExact(container) or PyList_CheckExact(container):
        return Py_SIZE(container)
    if PyDict_CheckExact(container):
        return 2 * PyDict_Size(container)
    if PyAnySet_CheckExact(container):
        return PySet_Size(container)
    return 4


cdef int traverse(PyObject *container, visitproc visit, Trial *trial) noexcept:
    """Visit what a container refers to."""
    if not PyFunction_Check(container):
        return (<PyTypeTraverse *> Py_TYPE(container)).tp_traverse(container, visit, <void *> trial)
    # Not a function's globals: they lead everywhere.
    if PyFunction_GET_CLOSURE(container) != NULL:
        if visit(PyFunction_GET_CLOSURE(container), <void *> trial) != 0:
            return -1
    if PyFunction_GET_DEFAULTS(container) != NULL:
        if visit(PyFunction_GET_DEFAULTS(container), <void *> trial) != 0:
            return -1
    if PyFunction_GET_KW_DEFAULTS(container) != NULL:
        if visit(PyFunction_GET_KW_DEFAULTS(container), <void *> trial) != 0:
            return -1
    if (<PyFunctionObject *> container).func_dict != NULL:
        return visit((<PyFunctionObject *> container).func_dict, <void *> trial)
    return 0


cdef int subtract(PyObject *o, void *arg) noexcept:
    """One reference to o comes from within. Returns -1 if there is no memory."""
    cdef Trial *trial = <Trial *> arg
    cdef Py_ssize_t slot
    if PyObject_TypeCheck(o, <PyTypeObject *> Value):
        if (<Value> o).index >= trial.start:
            (<Value> o).scratch -= 1
        return 0
    if not is_container(o):
        return 0
    slot = slot_of(trial, o)
    if trial.keys[slot] == NULL:
        if references_of(o) > trial.budget:
            return 0
        trial.budget -= 1 + references_of(o)
        if 2 * trial.used >= trial.slots:
            if not grow_trial(trial):
                return -1
            slot = slot_of(trial, o)
        trial.keys[slot] = o
        trial.outside[slot] = Py_REFCNT(o)
        trial.used += 1
        trial.stack[trial.stacked] = o
        trial.stacked += 1
    trial.outside[slot] -= 1
    return 0


cdef bint subtract_stacked(Trial *trial) noexcept:
    while trial.stacked:
        trial.stacked -= 1
        if traverse(trial.stack[trial.stacked], subtract, trial) != 0:
            return False
    return True


cdef int revive(PyObject *o, void *arg) noexcept:
    """o is held by something that lives. Always returns 0."""
    cdef Trial *trial = <Trial *> arg
    cdef Py_ssize_t slot
    if PyObject_TypeCheck(o, <PyTypeObject *> Value):
        mark_moved(trial, (<Value> o).index)
    elif is_container(o):
        slot = slot_of(trial, o)
        if trial.keys[slot] != NULL and trial.outside[slot] != ALIVE:
            trial.outside[slot] = ALIVE
            trial.stack[trial.stacked] = o
            trial.stacked += 1
    return 0


cdef void revive_stacked(Trial *trial) noexcept:
    while trial.stacked:
        trial.stacked -= 1
        traverse(trial.stack[trial.stacked], revive, trial)


cdef inline Py_ssize_t slot_of(Trial *trial, PyObject *key) noexcept:
    """Where a container is in the table, or where it belongs."""
    cdef Py_ssize_t slot = <Py_ssize_t> ((<uint64_t> key >> 4) * <uint64_t> 0x9E3779B97F4A7C15 >> 20)
    slot &= trial.slots - 1
    while trial.keys[slot] != NULL and trial.keys[slot] != key:
        slot = slot + 1 & trial.slots - 1
    return slot


cdef bint grow_trial(Trial *trial) noexcept:
    """Double the table. False, and all as it was, if there is no memory."""
    cdef Trial larger = trial[0]
    cdef Py_ssize_t i, slot
    larger.slots = max(64, 2 * trial.slots)
    larger.keys = <PyObject **> calloc(larger.slots, sizeof(PyObject *))
    larger.outside = <Py_ssize_t *> malloc(larger.slots * sizeof(Py_ssize_t))
    larger.stack = <PyObject **> malloc(larger.slots * sizeof(PyObject *))
    if larger.keys == NULL or larger.outside == NULL or larger.stack == NULL:
        free_trial(&larger)
        return False
    for i in range(trial.slots):
        if trial.keys[i] != NULL:
            slot = slot_of(&larger, trial.keys[i])
            larger.keys[slot] = trial.keys[i]
            larger.outside[slot] = trial.outside[i]
    for i in range(trial.stacked):
        larger.stack[i] = trial.stack[i]
    free_trial(trial)
    trial[0] = larger
    return True


# ---------------------------------------------------------------------------------- what may be asked

cdef void check_tape() noexcept:
    """Debug build: everything that holds between the arrays and the facades."""
    cdef Py_ssize_t i, pinned = 0, special = 0
    cdef PyObject *facade
    for i in range(tape.size):
        check_parents(i)
        special += is_special(i)
        facade = tape.nodes[i].facade
        if facade != NULL:
            CHECK((<Value> facade).index == i)
            CHECK(Py_REFCNT(facade) > 0)
            pinned += (<Value> facade).pinned
        if tape.ops[i] & USER:
            CHECK(facade != NULL and (<Value> facade).pinned)
    for i in range(mark_words(tape.capacity, 0)):
        CHECK(tape.marks.level[0][i] == 0)
    CHECK(pinned == tape.pinned)
    CHECK(special == tape.special)


def tape_size():
    """The number of nodes on the tape: those that live, and those that have not been collected yet.

    >>> from micrograd_c import Value, tape
    >>> before = tape.size()
    >>> y = Value(2.0) * 3
    >>> tape.size() > before
    True
    """
    return tape.size


def tape_collect():
    """Free every node that no Value needs any more, and memory with them; returns the number of nodes.

    The tape does this by itself from time to time. Within a reverse sweep nothing is collected, and it returns 0.

    >>> from micrograd_c import Value, tape
    >>> y = Value(2.0) * 3
    >>> del y
    >>> _ = tape.collect()
    >>> tape.collect()
    0
    """
    if tape.hold:
        return 0
    tape.recent = tape.recent_edges = 0
    return collect(0)


def tape_live():
    """The number of nodes that live: a Value stands for them or depends on them. It collects first.

    >>> from micrograd_c import Value, tape
    >>> before = tape.live()
    >>> y = Value(2.0).exp()
    >>> tape.live() - before
    2
    """
    tape_collect()
    return tape.size


def tape_allocated():
    """The number of nodes that the tape has room for.

    >>> from micrograd_c import tape
    >>> tape.allocated() >= tape.size()
    True
    """
    return tape.capacity


def tape_bytes():
    """The bytes allocated for the tape: nodes, edges and marks. Values, which are Python objects, do not count.

    >>> from micrograd_c import tape
    >>> tape.bytes() > tape.allocated()
    True
    """
    cdef Py_ssize_t total = tape.capacity * (sizeof(Node) + 1), level
    for level in range(3):
        total += mark_words(tape.marks.capacity, level) * sizeof(uint64_t)
    return total + tape.edge_capacity * (sizeof(int32_t) + sizeof(double))


def _tune(nursery=None, max_nodes=None):
    """For tests: the nursery, in nodes (1: collect after every operation), and the largest tape."""
    tape.nursery = NURSERY if nursery is None else nursery
    tape.max_nodes = INT32_MAX if max_nodes is None else max_nodes
    tape.interval = tape.nursery
    schedule()
    tape.full_at, tape.full_at_edges = tape.limit, tape.edge_limit
    reserve(0, 0)
    if tape.capacity > max(tape.size, tape.max_nodes):
        resize_nodes(max(tape.size, tape.max_nodes))

_tune()
