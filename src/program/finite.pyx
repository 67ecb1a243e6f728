# debug_nans: which operation was the first to make a nan or an infinity out of finite numbers.
#
# Nothing here runs unless it is asked for: a compiled call looks at one number, `debugging_threads`, and so does a
# sweep. Where it is on, a call's graph is computed once more before it is run, node by node and sample by sample,
# and only a finding costs another trace, which tells the line (micrograd_c/nans.py). What a `where`, `take`, max or
# min does not choose is not looked at, nor what is to pass on an adjoint of 0: neither contributes anything.

from libc.math cimport isfinite

cdef extern from "bits.h" nogil:
    """
    static THREAD_LOCAL int debugging_here;
    """
    int debugging_here          # what this thread asked for: 1 that it be on, -1 off, 0 nothing

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


cdef int look_for_nans(Program program, Code code, const double *numbers, Samples samples) except -1:
    """FloatingPointError if a call that is about to run will make a nan or an infinity out of finite numbers."""
    import numpy
    cdef Py_ssize_t k, s, heads = 0, count = program.input_count
    cdef Columns columns
    _, mask, by_captured, reverse = code.key
    wanted = numpy.frombuffer(mask, numpy.uint8)
    if reverse:     # by arguments alone, there is one result; an aux may come after it
        heads = code.outputs if by_captured else 1
    captured, here = numpy.array([v.data for v in program.captured], numpy.float64), numpy.empty(count)
    cdef const double *captured_ = <const double *> address(captured)
    cdef double *here_ = <double *> address(here)
    cdef object scan = new_scan(program.graph, wanted, by_captured)
    for k in range(count):
        here_[k] = numbers[k]
    for s in range(1 if samples is None else samples.count):
        if samples is not None:
            for columns in samples.columns:
                for k in range(columns.count):
                    here_[columns.first + k] = columns.numbers[s * columns.to_sample + k * columns.to_input]
        if finds(scan, here_, captured_, heads):
            from micrograd_c.nans import call_error
            raise call_error(program, here, None if samples is None else s, wanted, by_captured, heads)
        PyErr_CheckSignals()
    return 0


# ----------------------------------------------------------------------------------- sweeps of the tape

cdef bint finite_operation(Py_ssize_t i) noexcept nogil:
    """Whether node i, its parents and its adjoint are finite numbers."""
    cdef Py_ssize_t e
    for e in range(edges_of(i)):
        if not isfinite(node_at(parent_at(i, e)).data):
            return False
    return isfinite(node_at(i).data)


cdef int careful_step(Py_ssize_t i) except -1:
    """The reverse step of node i: FloatingPointError if it makes a gradient that is not finite of one that is."""
    cdef Py_ssize_t e
    cdef bint finite = isfinite(node_at(i).grad) and finite_operation(i)
    before = [node_at(parent_at(i, e)).grad for e in range(edges_of(i))] if finite else []
    if tape.ops[i] & USER:
        user_step(i)
    else:
        reverse_step(i)
    for e in range(min(<Py_ssize_t> len(before), edges_of(i))):
        if isfinite(<double> before[e]) and not isfinite(node_at(parent_at(i, e)).grad):
            raise sweep_error(i, node_at(parent_at(i, e)).grad, True)
    return 0


cdef int check_tangent(Py_ssize_t i, Marks *marks) except -1:
    """FloatingPointError if the tangent of node i is not finite, though all it was made from is."""
    cdef Py_ssize_t e
    if isfinite(node_at(i).grad) or not finite_operation(i) or not edges_of(i):
        return 0
    for e in range(edges_of(i)):
        if marked(marks, parent_at(i, e)) and not isfinite(node_at(parent_at(i, e)).grad):
            return 0
    raise sweep_error(i, node_at(i).grad, False)


cdef object sweep_error(Py_ssize_t i, double made, bint reverse):
    from micrograd_c.nans import sweep_error
    return sweep_error(facade_of(i), made, reverse)
