# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, c_api_binop_methods=True, autotestdict=False
"""The tape and its facade, Value; and the programs that functions are compiled to."""

cimport cython
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDED_RO
from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject, PyTypeObject, PyObject_RichCompare
from cpython.object cimport Py_EQ, Py_GE, Py_GT, Py_LE, Py_LT, Py_NE

from micrograd_c._graph cimport *

import copyreg
import math
import operator
import os
import weakref
from collections import OrderedDict, deque, namedtuple

from micrograd_c._graph import OP_NAMES, Graph, active, check_graph, optimized

cdef class Callable
cdef class Program(Callable)
cdef class Reference

include "tape/tape.pyx"
include "tape/mode.pyx"
include "tape/sweep.pyx"
include "value/value.pyx"
include "value/collect.pyx"
include "value/nary.pyx"
include "value/autograd.pyx"
include "value/array.pyx"
include "value/optim.pyx"
include "program/trace.pyx"
include "program/signature.pyx"
include "program/replay.pyx"
include "program/guards.pyx"
include "program/program.pyx"
include "program/compose.pyx"
include "program/finite.pyx"

hooks.collect, hooks.collect_unrecorded, hooks.user_step = collect, collect_unrecorded, user_step
