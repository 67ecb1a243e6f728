# What a thread is doing, which every layer above asks for and this file alone knows: whether it records, whether it
# traces a function and what a trace refuses, and whether it looks for what makes nans.

from cpython.pythread cimport PyThread_get_thread_ident

cdef extern from "bits.h" nogil:
    """
    static THREAD_LOCAL int paused;
    static THREAD_LOCAL int debugging_here;
    """
    bint paused             # whether this thread records nothing
    int debugging_here      # what it asked for of debug_nans: 1 that it be on, -1 off, 0 nothing


# ------------------------------------------------------------------------------------------- recording
# Each thread records, or does not. What is not recorded gives leaves, except while a function is traced:
# there its number must follow the arguments at each replay, so that it is a node, but detached.

# How many threads record nothing: while it is 0, operations look no further. (A thread that ended without
# recording is still counted, which costs the others a look at their own flag.)
cdef int paused_threads = 0


cdef inline bint recording() noexcept:
    return LIKELY(tape.paused == 0) or not paused


def is_recording():
    """Whether operations of this thread are recorded, so that `backward` can pass them. True at first.

    >>> is_recording()
    True
    """
    return recording()


def set_recording(flag):
    """Record the operations of this thread from now on, or do not; returns what it was before.

    What operations give while nothing is recorded are leaves. `record()` and `pause()` do this for a `with`.

    >>> before = set_recording(False)
    >>> x = Value(3.0)
    >>> (x * x)._children
    ()
    >>> set_recording(before)
    False
    """
    global paused, paused_threads
    cdef bint on = flag, before = recording()
    if on == before:
        return before
    paused = not on
    paused_threads += -1 if on else 1
    tape.paused = -(paused_threads > 0)
    if not on and paused_threads == 1:
        tape.floor = max(0, tape.size - UNRECORDED)     # what a loop begins with goes along
        tape.unrecorded = 0
        tape.unrecorded_due = UNRECORDED
    elif on and paused_threads == 0 and tape.unrecorded:
        hooks.collect_unrecorded()
    return before


cdef class Scope:
    """Recording, or not, in this thread for a `with`.

    Compiled, so that no signal's handler runs between the switch and the block.
    """
    cdef readonly bint flag
    cdef list before

    def __init__(self, flag):
        self.flag = flag
        self.before = []

    def __enter__(self):
        self.before.append(recording())
        set_recording(self.flag)
        try:
            PyErr_CheckSignals()    # from CPython 3.14 on they would come after this call, yet before the block
        except:
            self.__exit__()
            raise

    def __exit__(self, *error):
        set_recording(self.before.pop())


# --------------------------------------------------------------------------------------------- tracing

class TraceError(Exception):
    """A function that is being compiled asked for something that a replay cannot repeat.

    Mostly that is the number of a Value that depends on an argument. The message names the line of the function
    and what to write instead.

    >>> import micrograd_c as mg
    >>> f = mg.compile(lambda x: x if x > 0 else -x)
    >>> try:
    ...     f(2.0)
    ... except mg.TraceError:
    ...     print('write mg.where(x, x, -x)')
    write mg.where(x, x, -x)
    """


class StaleTraceError(TraceError):
    """A function compiled with verify=True no longer does what it did when it was traced.

    The message names the first operation that differs, and its line.

    >>> import random, micrograd_c as mg
    >>> f = mg.compile(lambda x: x * random.random(), verify=True)
    >>> try:
    ...     f(2.0), f(2.0)
    ... except mg.StaleTraceError:
    ...     print('pass the random number as an argument')
    pass the random number as an argument
    """


cdef struct Trace:
    unsigned long thread    # the one that is tracing; 0: none
    Py_ssize_t base         # the first node of the trace
    Py_ssize_t inputs       # the nodes from there on that stand for numbers among the arguments
    Py_ssize_t standins     # these, and those that stand for elements of arrays outside, which are captured
    uint8_t *sources        # of each node from base on, as far as known: what it depends on
    Py_ssize_t known
    Py_ssize_t room

cdef enum:
    FROM_ARGUMENT = 1
    FROM_CAPTURED = 2

cdef Trace trace
memset(&trace, 0, sizeof(trace))
cdef object refused = None      # the first TraceError of this trace: it ends it, whoever has caught it

# What a trace refuses ({}: of what kind the Value is), and what to write instead.
READ_DATA = ('the number (.data) of {} was read',
             'use the Value itself (mg.where, mg.max, mg.softmax, detach() do without .data), or read it'
             ' outside of the function')
AT_ONCE = ('data or gradients of many Values were read or assigned at once',
           'do so between calls, outside of the function')
ASSIGNED_DATA = ('.data was assigned', 'make a new Value, or assign between calls')
READ_GRAD = ('the .grad of {} was read', 'read gradients after backward() of what the function returns')
ASSIGNED_GRAD = ('the .grad of {} was assigned', 'zero gradients between calls, outside of the function')
COMPARED = ('{} was compared',
            'write mg.where(a - b, x, y), which is x where a > b, or mg.max, mg.min, relu()')
TRUTH = ('the truth of {} was asked for', 'write mg.where(v, x, y), which is x where v > 0')
CONVERTED = ('{} was converted to a plain number',
             'use the functions of micrograd_c.math, or methods such as v.exp()')
BACKWARD = ('a backward step was run inside the function', 'call backward() on what the function returns')
DERIVED = ('a derivative was taken inside the function', 'take that of what the function returns')
ATTACHED = ('attach_grad was called inside the function',
            'call it outside of the function, or detach() to let no gradient pass')
OWN_OP = ('an operation of your own, given by numbers or a closure, was used', 'compose it of operations of Value')
A_PROGRAM = ('a program was called', 'call the function that it was traced from')
MANY = ('a compiled function was mapped or differentiated inside another',
        'call it, f(x), for one sample: it is then a part of the trace')


cdef inline bint tracing() noexcept:
    return trace.thread != 0 and trace.thread == <unsigned long> PyThread_get_thread_ident()


cdef int refuse(tuple why) except -1:
    """TraceError if this thread is tracing."""
    if tracing():
        raise trace_error(why[0], why[1])
    return 0


cdef int refuse_number(Py_ssize_t i, tuple why) except -1:
    """TraceError if this thread is tracing and the number of node i may be another at a replay."""
    if not tracing() or not depends(i):
        return 0
    raise trace_error(why[0].format('a Value that depends on an argument' if depends(i) & FROM_ARGUMENT
                                    else 'a captured Value' if i < trace.base else 'a Value made of captured ones'),
                      why[1])


def trace_error(str what, str instead):
    """A TraceError that names the line of the user's that is being run."""
    global refused
    error = TraceError(f'{python.user_line()}\n'
                       f'While a function is compiled, {what}: a replay could not honour it. Instead, {instead}.')
    if refused is None and tracing():
        refused = error
    return error


cdef int depends(Py_ssize_t i) except -1:
    """What the number of node i depends on: FROM_ARGUMENT, FROM_CAPTURED, both or (0) constants alone."""
    cdef Py_ssize_t count = tape.size - trace.base, k, e
    cdef Node *node
    cdef uint8_t *sources
    cdef int op
    if i < trace.base:
        return FROM_CAPTURED
    if count > trace.room:
        sources = <uint8_t *> realloc(trace.sources, 2 * count)
        if sources == NULL:
            raise MemoryError
        trace.sources = sources
        trace.room = 2 * count
    sources = trace.sources
    for k in range(trace.known, count):
        node = node_at(trace.base + k)
        op = op_at(trace.base + k)
        sources[k] = 0
        if op == OP_LEAF:
            sources[k] = FROM_ARGUMENT if k < trace.standins else 0
        elif is_nary(op):
            for e in range(node.lhs, node.lhs + <Py_ssize_t> node.rhs):
                sources[k] |= source_of(tape.edge_parent[e])
        else:
            sources[k] = source_of(node.lhs) | source_of(node.rhs)
    trace.known = count
    return sources[i - trace.base]


cdef inline uint8_t source_of(Py_ssize_t i) noexcept:
    return FROM_CAPTURED if i < trace.base else trace.sources[i - trace.base]


# ------------------------------------------------------------------------------------------ debug_nans

cdef bint debugging_all = os.environ.get('MICROGRAD_C_DEBUG_NANS', '0') not in ('', '0')
cdef int debugging_threads = debugging_all  # how many asked for it, at least (see paused_threads); all of them: one


cdef inline bint debugging() noexcept:
    return not LIKELY(debugging_threads == 0) and debugging_here + debugging_all > 0


def set_debug_nans(int state):
    """Whether this thread looks for what makes nans and infinities from now on; returns the state before.

    1: it does, -1: it does not, 0: as the whole program does.
    """
    global debugging_here, debugging_threads
    cdef int before = debugging_here
    debugging_here = state
    debugging_threads += (state > 0) - (before > 0)
    return before
