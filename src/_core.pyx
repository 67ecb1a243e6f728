# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, c_api_binop_methods=True, autotestdict=False
"""The compiled core of micrograd_c: the tape and its facade, Value."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint64_t, INT32_MAX
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject, PyTypeObject, PyObject_RichCompare
from cpython.object cimport Py_EQ, Py_GE, Py_GT, Py_LE, Py_LT, Py_NE

import copyreg
import math
import operator
import os
import weakref
from collections import OrderedDict, deque, namedtuple

cdef class Code
cdef class Callable
cdef class Program(Callable)
cdef class Reference

include "tape.pyx"
include "value.pyx"
include "collect.pyx"
include "nary.pyx"
include "autograd.pyx"
include "array.pyx"
include "optim.pyx"
include "passes.pyx"
include "trace.pyx"
include "signature.pyx"
include "codegen.pyx"
include "replay.pyx"
include "guards.pyx"
include "program.pyx"
include "derive.pyx"
include "compose.pyx"
include "finite.pyx"
