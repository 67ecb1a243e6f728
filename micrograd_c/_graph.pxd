# What the extension module _graph offers to _core: graphs, their code, and the running of it. Neither knows a tape.

include "ops/ops.pxi"
include "code/lanes.pxi"

cdef enum:  # kinds of leaves
    CONSTANT, INPUT, CAPTURED

cdef struct Arrays:     # of a Graph, or of one that is being made
    uint8_t *op
    int32_t *lhs
    int32_t *rhs
    double *data
    int32_t *edges
    Py_ssize_t nodes
    Py_ssize_t edge_count

cdef Arrays arrays_of(graph) except *
cdef object no_rule(int op, str what)

# A graph evaluated by the op table alone.
cdef object new_scan(graph, wanted, bint captured)
cdef bint finds(scan, const double *numbers, const double *captured, Py_ssize_t heads) except -1

cdef class Part:
    cdef object instrs, more    # numpy arrays: they own the memory
    cdef InstrCode code
    cdef Py_ssize_t slots

cdef class Code:
    cdef tuple key                  # the way of calling it, see code_for
    cdef Part uniform, varying
    cdef bint reverse
    cdef const uint8_t *mapped      # of each input: whether it varies
    cdef int32_t *input_slot        # of each input, -1: not used
    cdef Py_ssize_t inputs_in_row   # so many inputs, the first ones, are uniform and have slots one after another
    cdef int32_t *captured_slot     # of each captured Value, likewise; always uniform
    cdef int32_t *output_slot       # of each result
    cdef uint8_t *output_varying
    cdef uint8_t *output_active
    cdef list constants             # (slot, number)
    cdef Py_ssize_t leaves          # uniform leaves: theirs are the first slots
    cdef Py_ssize_t inputs, outputs, lanes
    cdef Py_ssize_t shared_slots    # varying code adds to the adjoints of uniform slots below this number
    cdef object held
    cdef list spare                 # Buffers of the uniform part, ready for a call
    cdef list spare_blocks          # and of the varying part

cdef Code compile_code(graph, Py_ssize_t inputs, Py_ssize_t captured, bint optimize, bytes mapped, bytes wanted,
                       bint captured_wanted, bint reverse)

cdef class Buffers:
    cdef void *memory
    cdef double *values
    cdef double *adjoints
    cdef double *uniform    # adjoints of uniform slots, MINI lanes each
    cdef double *mini_values    # of the last, padded block of samples
    cdef double *mini_adjoints
    cdef Py_ssize_t lanes       # of the block that was last here

cdef class Columns:
    cdef Py_ssize_t first, count    # the inputs: from number `first` on
    cdef Py_ssize_t to_input, to_sample     # how far the next input, and the next sample are, in doubles
    cdef object rows                # the array, or where the numbers are from
    cdef const double *numbers

cdef class Batch:
    cdef Py_ssize_t count           # of samples; -1: not known yet
    cdef const double *numbers      # of the first sample, all inputs: of those that are not mapped, for all samples
    cdef list columns               # Columns, of the inputs that are mapped

cdef struct Column:
    const double *start     # the number of the first sample
    Py_ssize_t stride       # in doubles, to the next sample; 0: shared by all
    int32_t slot
    double *gradient        # where the adjoints go, one a sample, or NULL

cdef class Job:
    cdef Code code
    cdef Buffers uniform
    cdef Column *columns        # the inputs that vary
    cdef Py_ssize_t inputs, samples
    cdef Py_ssize_t chunk, chunks               # samples a chunk, and how many of them
    cdef int64_t next_chunk, chunks_done        # the next to be begun; how many are finished
    cdef Py_ssize_t lanes
    cdef Py_ssize_t output      # the result whose adjoint is 1; -1: no reverse sweep
    cdef bint careful           # whether that is the careful one
    cdef double **results       # where each result's numbers go, a sample each, or NULL
    cdef double *totals         # by chunk: the sum of the result over the samples
    cdef double *shared         # by chunk: the adjoints of the uniform slots that samples share
    cdef list held              # all arrays behind the pointers: a thread may outlive an interrupted call

cdef void *allocated(Py_ssize_t count, size_t size) except NULL
cdef Columns columns_of(Py_ssize_t first, Py_ssize_t count, object rows)
cdef Buffers uniform_buffers(Code code)
cdef void run_forward(Code code, double *u) noexcept
cdef void reverse_from(Code code, Py_ssize_t slot, double weight, const double *u, double *gu) noexcept
cdef double sweep(Code code, Py_ssize_t k, Buffers uniform, Batch samples, dict gradients) except? -1
cdef Job new_job(Code code, Buffers uniform, Batch samples, Py_ssize_t output, dict gradients)
cdef int run_job(Job job) except -1
cdef bint nan_among(dict arrays) except -1
