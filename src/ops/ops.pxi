# The op table for Cython, and what every layer above may use.

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint64_t, INT32_MAX
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

cdef extern from "ops.h" nogil:
    enum:
        OP_LEAF, OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_POW, OP_POWC, OP_NEG, OP_ABS, OP_CHAIN
        OP_PLAIN, OP_NARY, OP_SUM, OP_DOT, OP_WHERE, OP_TAKE, OP_COUNT, FIRST_NARY
        COMMUTES, LIBRARY, OVERFLOWS, SINGULAR, CHOOSES
    ctypedef struct OpInfo:
        const char *name
        const char *symbol
        int arity
        const char *raises
        int traits
        const char *value
        const char *by_a
        const char *by_b
        int32_t fewest
        int32_t most
        int32_t first
    ctypedef struct Edges:
        const int32_t *index
        Py_ssize_t n
        const double *numbers
        Py_ssize_t step
        const double *partials
    const OpInfo *OP_INFO
    double op_value(int op, double a, double b)
    void op_reverse(int op, double a, double b, double v, double g, double *ga, double *gb)
    double nary_value(int op, const Edges *edges)
    double nary_partial(int op, const Edges *edges, Py_ssize_t e)
    void nary_reverse(int op, const Edges *edges, double g, double *adjoints)
    Py_ssize_t row_at(double index, Py_ssize_t n)

cdef extern from "bits.h" nogil:
    int highest_bit(uint64_t word)
    int64_t add_to(int64_t *counter, int64_t n)
    bint LIKELY(bint condition)
    void CHECK(bint condition)
    const bint DEBUG_BUILD

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


cdef inline bint is_nary(int op) noexcept nogil:
    return op >= FIRST_NARY


cdef inline void *address(array) except? NULL:
    """Where the numbers of an array are, for as long as it lives and is not resized."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef void *numbers = view.buf
    PyBuffer_Release(&view)
    return numbers
