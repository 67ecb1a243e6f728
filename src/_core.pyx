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

from micrograd_c._graph import OP_NAMES, Graph, active_nodes, check_graph, optimized

cdef class Callable
cdef class Program(Callable)
cdef class Reference

# What the core asks of Python, by name, and the module of micrograd_c that has it: imported when it is asked for.
ASKED = dict(
    user_line='lines', record_lines='lines',
    argument_name='signatures', spec_text='signatures', arguments_of='signatures', end_of='signatures',
    integer_inputs='signatures',
    outside='outside', recording_of='verify', compare='verify', call_error='nans', sweep_error='nans',
    parameter_names='compiling', check='compiling', listing='listing', save='files', _repr_svg='viz',
    Array='arrays', of_ufunc='functions',
)


class Python:
    """`python.user_line()` and all else in ASKED."""

    def __getattr__(self, name):
        if name not in ASKED:
            raise AttributeError(f'{name!r} is not in ASKED')
        return getattr(__import__(f'micrograd_c.{ASKED[name]}', None, None, (name,)), name)

python = Python()

include "tape/nodes.pyx"
include "tape/mode.pyx"
include "tape/sweep.pyx"
include "value/value.pyx"
include "value/collect.pyx"
include "value/nary.pyx"
include "value/gradients.pyx"
include "value/ndarray.pyx"
include "value/parameters.pyx"
include "program/trace.pyx"
include "program/signature.pyx"
include "program/replay.pyx"
include "program/guards.pyx"
include "program/program.pyx"
include "program/compose.pyx"
include "program/finite.pyx"

globals()['sum'] = Sums.sum     # where pickles of it look
hooks.collect, hooks.collect_unrecorded, hooks.user_step = collect, collect_unrecorded, user_step
