# The op table for Cython, and what every layer above may use.

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint64_t, INT32_MAX
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

cdef extern from "ops.h" nogil:
    enum:
        OP_LEAF, OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_POW, OP_POWC, OP_NEG, OP_ABS, OP_CHAIN
        OP_PLAIN, OP_NARY, OP_SUM, OP_DOT, OP_WHERE, OP_TAKE, OP_COUNT
        FINITE, OVERFLOWS, SINGULAR, CHOOSES
    ctypedef struct OpInfo:
        const char *name
        const char *symbol
        int arity
        const char *raises
        int kind
        const char *value
        const char *by_a
        const char *by_b
    const OpInfo *OP_INFO
    double op_value(int op, double a, double b)
    void op_reverse(int op, double a, double b, double v, double g, double *ga, double *gb)

cdef extern from "bits.h" nogil:
    int highest_bit(uint64_t word)
    int64_t add_to(int64_t *counter, int64_t n)
    bint LIKELY(bint condition)
    void CHECK(bint condition)
    const bint DEBUG_BUILD

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


cdef inline bint is_nary(int op) noexcept nogil:
    return op >= OP_PLAIN


cdef inline void *address(array) except? NULL:
    """Where the numbers of an array are, for as long as it lives and is not resized."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef void *numbers = view.buf
    PyBuffer_Release(&view)
    return numbers
