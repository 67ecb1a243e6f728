# Tracing: a function is run once on stand-in Values, and the graph that it records is lifted off the tape.
#
# While a trace is on, nothing is collected and the end of the tape is not popped, so the nodes from
# trace.base on are the function's, in its order (and those that other threads make, which nothing of the
# function's leads to). Nodes before are what the function captured.

import sys
import threading


trace_lock = threading.RLock()  # one trace at a time


cdef list begin_trace(const double *numbers, Py_ssize_t inputs, Py_ssize_t others):
    """Start tracing; the stand-ins for so many inputs, and for others whose number is 0. `end_trace` must follow."""
    cdef Py_ssize_t k, count = inputs + others
    cdef list standins = []
    cdef PyObject *facade
    for k in range(count):
        facade = new_facade()
        standins.append(handed_over(facade))
    reserve(count, 0)
    tape.hold += 1
    tape.pinned += 1    # keeps the end of the tape from being popped
    trace.base = tape.size
    trace.inputs = inputs
    trace.standins = count
    trace.known = 0
    trace.thread = <unsigned long> PyThread_get_thread_ident()
    for k in range(count):
        attach_new((<PyObject *> standins[k]), push(OP_LEAF, numbers[k] if k < inputs else 0, 0, 0))
    return standins


cdef int end_trace() except -1:
    """Stop tracing. Values that leaked out and depend on an argument lose their node (LEAKED): they have no number."""
    cdef Py_ssize_t i
    cdef PyObject *facade
    try:
        if tape.size > trace.base:
            depends(trace.base)
        for i in range(trace.base, trace.base + trace.known):
            facade = node_at(i).facade
            if trace.inputs <= i - trace.base < trace.standins:
                continue    # captured, like a Value from outside
            if facade != NULL and trace.sources[i - trace.base] & FROM_ARGUMENT:
                Py_INCREF(facade)
                detach(<Value> facade)
                (<Value> facade).index = LEAKED
                Py_DECREF(facade)
    finally:
        trace.thread = 0
        tape.hold -= 1
        tape.pinned -= 1
        free(trace.sources)
        trace.sources = NULL
        trace.room = 0
    collect_if_edges_due()
    return 0


def forget_trace():
    """In a process just forked: a thread that was tracing is not there to end its trace."""
    global trace_lock
    if not tracing():
        trace_lock = threading.RLock()
        if trace.thread:
            end_trace()

if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=forget_trace)


# ----------------------------------------------------------------------------------- lifting the graph

cdef struct Lift:
    uint8_t *reached        # of the nodes from base on: whether a result needs it
    int32_t *number         # of the nodes from base on: the node of the graph
    int32_t *captured       # of the nodes before base: 1 + its number among the captured; 0: not captured
    int32_t *order          # the captured nodes
    Py_ssize_t order_room
    Py_ssize_t captures
    Py_ssize_t first        # the node of the graph of the first captured one


cdef object lift_graph(list results):
    """The graph of the trace that leads to results, Values or numbers; the captured Values; and of each node of
    the graph, int32[n], the node of the tape that it stands for, -1: none."""
    cdef Lift lift
    memset(&lift, 0, sizeof(lift))
    cdef Py_ssize_t count = tape.size - trace.base
    lift.reached = <uint8_t *> calloc(count + 1, 1)
    lift.number = <int32_t *> calloc(count + 1, sizeof(int32_t))
    # As long as the tape, but only what is captured is touched: the rest is the system's page of zeros.
    lift.captured = <int32_t *> calloc(trace.base + 1, sizeof(int32_t))
    try:
        if lift.reached == NULL or lift.number == NULL or lift.captured == NULL:
            raise MemoryError
        return lifted(&lift, results, count)
    finally:
        free(lift.reached)
        free(lift.number)
        free(lift.captured)
        free(lift.order)


cdef int capture(Lift *lift, Py_ssize_t i) except -1:
    """Number node i among the captured."""
    cdef void *p
    if lift.captures == lift.order_room:
        lift.order_room = 2 * lift.order_room + 64
        p = realloc(lift.order, lift.order_room * sizeof(int32_t))
        if p == NULL:
            raise MemoryError
        lift.order = <int32_t *> p
    lift.order[lift.captures] = <int32_t> i
    if i < trace.base:
        lift.captured[i] = <int32_t> lift.captures + 1
    else:
        lift.number[i - trace.base] = <int32_t> (lift.first + lift.captures)
    lift.captures += 1
    return 0


cdef inline void reach_node(Lift *lift, Py_ssize_t i) noexcept:
    if i >= trace.base:
        lift.reached[i - trace.base] = True


cdef inline int use_node(Lift *lift, Py_ssize_t i) except -1:
    if i < trace.base and not lift.captured[i]:
        capture(lift, i)
    return 0


cdef inline int32_t number_of(Lift *lift, Py_ssize_t i) noexcept:
    if i < trace.base:
        return <int32_t> lift.first + lift.captured[i] - 1
    return lift.number[i - trace.base]


cdef object lifted(Lift *lift, list results, Py_ssize_t count):
    import numpy
    cdef Py_ssize_t i, k, e, n, m = 0, inputs = 0, others = 0, size, end = trace.base + count
    cdef Node *node
    cdef int op
    for result in results:
        if isinstance(result, Value):
            reach_node(lift, index_of(result))
    for i in range(end - 1, trace.base - 1, -1):
        if not lift.reached[i - trace.base]:
            continue
        node = node_at(i)
        op = op_at(i)
        if is_nary(op):
            m += 2 * <Py_ssize_t> node.rhs if op == OP_SUM else node.rhs
            for e in range(node.lhs, node.lhs + <Py_ssize_t> node.rhs):
                reach_node(lift, tape.edge_parent[e])
        elif op != OP_LEAF:
            reach_node(lift, node.lhs)
            reach_node(lift, node.rhs)
    # The order of the graph: the number 1, inputs, captured, and the rest as it was recorded.
    for k in range(trace.inputs):
        if lift.reached[k]:
            inputs += 1
            lift.number[k] = <int32_t> inputs
    lift.first = 1 + inputs
    for i in range(trace.base + trace.inputs, end):
        if not lift.reached[i - trace.base]:
            continue
        node = node_at(i)
        op = op_at(i)
        if op == OP_LEAF and node.facade != NULL:
            capture(lift, i)    # somebody keeps it: a parameter that was made at the first call
            continue
        if op == OP_NARY or op == OP_PLAIN and tape.edge_partial[node.lhs] != DETACHED:
            # No operation of this thread's.
            raise trace_error('a result was used that another thread computed meanwhile, by a compiled function'
                              ' or an operation of its own', 'compute it before, or in this thread')
        others += 1
        if is_nary(op):
            for e in range(node.lhs, node.lhs + <Py_ssize_t> node.rhs):
                use_node(lift, tape.edge_parent[e])
        elif op != OP_LEAF:
            use_node(lift, node.lhs)
            use_node(lift, node.rhs)
    for result in results:
        if isinstance(result, Value):
            use_node(lift, index_of(result))
        else:
            others += 1
    # The captured in the order in which they were made: what a layer captures then stands side by side.
    for k, i in enumerate(sorted([lift.order[k] for k in range(lift.captures)])):
        lift.order[k] = <int32_t> i
        if i < trace.base:
            lift.captured[i] = <int32_t> k + 1
        else:
            lift.number[i - trace.base] = <int32_t> (lift.first + k)
    size = lift.first + lift.captures + others

    ops, data = numpy.zeros(size, numpy.uint8), numpy.zeros(size)
    lhs, rhs = numpy.zeros(size, numpy.int32), numpy.zeros(size, numpy.int32)
    edges, outputs = numpy.empty(m, numpy.int32), numpy.empty(len(results), numpy.int32)
    origin = numpy.full(size, -1, numpy.int32)
    cdef object[uint8_t, mode='c'] ops_ = ops
    cdef object[double, mode='c'] data_ = data
    cdef object[int32_t, mode='c'] lhs_ = lhs, rhs_ = rhs, edges_ = edges, outputs_ = outputs
    cdef object[int32_t, mode='c'] origin_ = origin
    data_[0] = 1
    for k in range(trace.inputs):
        if lift.reached[k]:
            n = lift.number[k]
            lhs_[n], rhs_[n] = INPUT, <int32_t> k
            origin_[n] = <int32_t> (trace.base + k)
    for k in range(lift.captures):
        n = lift.first + k
        lhs_[n], rhs_[n] = CAPTURED, <int32_t> k
        origin_[n] = lift.order[k]
    n = lift.first + lift.captures
    m = 0
    for i in range(trace.base + trace.inputs, end):
        node = node_at(i)
        op = op_at(i)
        if not lift.reached[i - trace.base] or op == OP_LEAF and lift.number[i - trace.base]:
            continue
        lift.number[i - trace.base] = <int32_t> n
        if op == OP_LEAF:
            data_[n] = node.data
        elif is_nary(op):
            lhs_[n] = <int32_t> m
            for e in range(node.lhs, node.lhs + <Py_ssize_t> node.rhs):
                if op == OP_SUM:
                    edges_[m] = 0
                    m += 1
                edges_[m] = number_of(lift, tape.edge_parent[e])
                m += 1
            rhs_[n] = <int32_t> (m - lhs_[n])
            op = OP_DOT if op == OP_SUM else op
        else:
            lhs_[n], rhs_[n] = number_of(lift, node.lhs), number_of(lift, node.rhs)
        ops_[n] = <uint8_t> op
        origin_[n] = <int32_t> i
        n += 1
    for k in range(len(results)):
        if isinstance(results[k], Value):
            outputs_[k] = number_of(lift, index_of(results[k]))
        else:
            data_[n] = results[k]
            outputs_[k] = <int32_t> n
            n += 1
    captured = tuple([facade_of(lift.order[k]) for k in range(lift.captures)])
    return Graph(ops, lhs, rhs, data, edges, outputs), captured, origin


# ----------------------------------------------------------------------------------- integer arguments

class Integer:
    """What stands for an integer argument while a function is traced.

    Handed to `take`, it stays an input of the program, also by a function whose derivative is taken meanwhile,
    be it an argument of that one or not. Whatever else is asked of it, its number becomes part of the signature.
    """
    __slots__ = ('_number', '_input', '_node', '_baked')
    __class__ = int

    def __init__(self, number, input, node, baked):
        self._number, self._input, self._node, self._baked = number, input, node, baked

    def __getattr__(self, name):
        if not hasattr(int, name):
            raise AttributeError(f"'int' object has no attribute {name!r}")
        return getattr(number_of_integer(self), name)

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return getattr(ufunc, method)(*map(number_of_integer, inputs), **keywords)


def is_integer(x):
    """Whether x stands for an integer argument of a trace."""
    return type(x) is Integer


def number_of_integer(x):
    """The number that an Integer stands for, from now on part of the signature; other things as they are."""
    if type(x) is not Integer:
        return x
    if x._input not in x._baked:
        x._baked[x._input] = python.user_line()
    return x._number


def with_numbers(function):
    """A function of integers as a method of Integer: given the numbers that its arguments stand for."""
    def method(*args):
        return function(*map(number_of_integer, args))
    return method


def reflected(function):
    return lambda x, y: function(y, x)


cdef int finish_integer() except -1:
    for name in 'add sub mul truediv floordiv mod divmod pow lshift rshift and or xor eq ne lt le gt ge'.split():
        function = {'divmod': divmod, 'pow': pow}.get(name) or getattr(operator, f'__{name}__')
        setattr(Integer, f'__{name}__', with_numbers(function))
        setattr(Integer, f'__r{name}__', with_numbers(reflected(function)))
    for name in 'abs bool ceil float floor format hash index int invert neg pos repr round str trunc'.split():
        setattr(Integer, f'__{name}__', with_numbers(getattr(int, f'__{name}__')))

finish_integer()
