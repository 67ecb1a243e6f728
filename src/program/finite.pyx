# debug_nans: which operation was the first to make a nan or an infinity out of finite numbers.
#
# Nothing here runs unless it is asked for: a compiled call looks at one number, `debugging_threads`, and so does a
# sweep. Where it is on, a call's graph is computed once more before it is run, node by node and sample by sample,
# and only a finding costs another trace, which tells the line (micrograd_c/nans.py). What a `where`, `take`, max or
# min does not choose is not looked at, nor what is to pass on an adjoint of 0: neither contributes anything.

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
            raise python.call_error(program, here, None if samples is None else s, wanted, by_captured, heads)
        PyErr_CheckSignals()
    return 0
