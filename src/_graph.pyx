# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, c_api_binop_methods=True, autotestdict=False
"""What programs compute, and how it is executed: graphs, passes over them, their derivatives, and their code."""

cimport cython
from libc.math cimport INFINITY, fabs, floor, signbit
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from cpython.object cimport Py_EQ, Py_GE, Py_GT, Py_LE, Py_LT

import operator
import os
from collections import namedtuple

include "graph/graph.pyx"
include "graph/simplify.pyx"
include "graph/sums.pyx"
include "graph/partials.pyx"
include "graph/derive.pyx"
include "graph/sparsity.pyx"
include "graph/scan.pyx"
include "code/schedule.pyx"
include "code/slots.pyx"
include "code/runs.pyx"
include "code/code.pyx"
include "code/run.pyx"
