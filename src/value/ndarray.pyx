# Arrays: NumPy's, with Values for elements (micrograd_c/arrays.py is their class). What is about shapes
# (slices, axes, stacking) NumPy does itself; arithmetic, products and sums of the elements are done here.
#
# An operation keeps the order of one on scalars, for all elements at once: the facades of the result are
# made; the operands are read into plain arrays of numbers and node indices; all primals are computed, which
# may raise; room is made, which may collect, and then the operands are read anew; nodes are pushed, and
# nothing can fail. Elements that are neither plain Values nor floats (those of a subclass, fractions, ...)
# are left to NumPy, which runs Python's operators on each.
#
# What of NumPy's is not here (tests, reductions, functions that are no ufuncs) is in micrograd_c/functions.py.

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    MAX_DIMS = 64       # as NumPy has it
    # What an operand is:
    A_NUMBER, A_VALUE, OBJECTS, DOUBLES
    # Products of arrays:
    MATMUL, DOT, INNER

cdef struct Operand:
    int kind
    double number       # of A_NUMBER
    PyObject *value     # of A_VALUE: borrowed
    Py_buffer view      # of OBJECTS and DOUBLES: the array,
    bint held           # as long as this says so
    # How its elements are walked, the last axis fastest: each axis' length, and bytes to the next element.
    int ndim
    Py_ssize_t length[MAX_DIMS]
    Py_ssize_t stride[MAX_DIMS]

cdef struct Elements:       # of an operand, as they are read
    Py_ssize_t count
    Py_ssize_t step         # 0: the first stands for all
    Py_ssize_t constants    # so many have no node
    double *numbers         # the primals
    int32_t *nodes          # their nodes; -1: a constant

NO_MASK = ('masked arrays do not hold Values, as their mask would be lost:'
           ' give x.data, and choose with np.where(mask, y, z)')

OF_NUMBERS_NAMES = ('ceil floor floor_divide isfinite isinf isnan logical_and logical_not logical_or'
                    ' logical_xor rint sign signbit spacing trunc').split()

# NumPy is imported when the first array is met, for programs that want none.
cdef object np = None
cdef object Array = None
cdef object ndarray = ()
cdef dict OP_OF = {}        # the op of a ufunc
cdef frozenset COMPARISONS = frozenset()
cdef frozenset OF_NUMBERS = frozenset()     # ufuncs of the numbers alone: their derivative is 0, or there is none

UFUNC_NAMES = dict(subtract='sub', multiply='mul', divide='div', power='pow', negative='neg', absolute='abs',
                   fabs='abs', minimum='min', maximum='max', **NUMPY_NAMES)


cdef int need_numpy() except -1:
    global np, ndarray, Array, COMPARISONS, OF_NUMBERS
    if np is not None:
        return 0
    import numpy
    Array = python.Array
    ndarray = numpy.ndarray
    names = {op.name: op.name for op in OPS}
    names.update(UFUNC_NAMES)
    codes = {op.name: code for code, op in enumerate(OPS, OP_LEAF + 1)}
    for name, op in names.items():
        ufunc = getattr(numpy, name, None)
        if isinstance(ufunc, numpy.ufunc):
            OP_OF[ufunc] = codes[op]
    COMPARISONS = frozenset([getattr(numpy, name) for name in
                             'equal not_equal less less_equal greater greater_equal'.split()])
    OF_NUMBERS = COMPARISONS | {getattr(numpy, name) for name in OF_NUMBERS_NAMES}
    np = numpy
    return 0


# ---------------------------------------------------------------------------------------- operands

cdef bint take_operand(object x, Operand *to) except -1:
    """Look at an operand; False if it is to be left to Python. `let_go` must follow."""
    to.held = False
    to.ndim = 0
    if is_exact(<PyObject *> x):
        to.kind, to.value = A_VALUE, <PyObject *> x
        return True
    if type(x) is list or type(x) is tuple:
        x = np.asarray(x)
    if isinstance(x, ndarray):
        refuse_mask(x)
        return take_array(x, to)
    if isinstance(x, Value) or not as_number(x, &to.number):
        return False
    to.kind = A_NUMBER
    return True


cdef bint take_array(object x, Operand *to) except -1:
    cdef int d
    if not take_buffer(x, to):
        if x.dtype.kind not in 'biufO':
            return False
        take_buffer(np.array(x, object if x.dtype.kind == 'O' else np.float64, order='C'), to)
    to.ndim = to.view.ndim
    if to.ndim == 0 and to.kind == DOUBLES:
        to.kind, to.number = A_NUMBER, (<double *> to.view.buf)[0]
    for d in range(to.ndim):
        to.length[d], to.stride[d] = to.view.shape[d], to.view.strides[d]
    return True


cdef bint take_buffer(object x, Operand *to) except -1:
    """Whether the elements can be read as they lie; then `view` is held."""
    cdef Py_ssize_t misplaced
    cdef char kind
    cdef int d
    try:
        PyObject_GetBuffer(x, &to.view, PyBUF_STRIDED_RO | PyBUF_FORMAT)
    except (ValueError, BufferError):
        return False
    to.held = True
    kind = to.view.format[0]
    to.kind = OBJECTS if kind == b'O' else DOUBLES
    misplaced = <Py_ssize_t> to.view.buf
    for d in range(to.view.ndim):
        misplaced |= to.view.strides[d]
    if (kind != b'O' and kind != b'd') or to.view.format[1] or misplaced % <Py_ssize_t> sizeof(double):
        let_go(to)
        return False
    return True


cdef void let_go(Operand *x) noexcept:
    if x.held:
        x.held = False
        PyBuffer_Release(&x.view)


cdef inline bint has_elements(Operand *x) noexcept:
    return x.kind == OBJECTS or x.kind == DOUBLES


cdef inline bint holds_values(Operand *x) noexcept:
    return x.kind == A_VALUE or x.kind == OBJECTS


cdef inline Py_ssize_t count_of(Operand *x) noexcept:
    cdef Py_ssize_t count = 1
    cdef int d
    for d in range(x.ndim):
        count *= x.length[d]
    return count


cdef bint exceeds(Operand *x, size_t limit) noexcept:
    """Whether more than so many elements are walked; the product of all lengths may overflow."""
    cdef size_t count = 1
    cdef int d
    for d in range(x.ndim):
        if x.length[d] == 0:
            return False
    for d in range(x.ndim):
        if count > limit // <size_t> x.length[d]:
            return True
        count *= x.length[d]
    return False


cdef tuple shape_of(Operand *x):
    """The shape of the array itself."""
    cdef int d
    return tuple([x.view.shape[d] for d in range(x.view.ndim)]) if has_elements(x) else ()


cdef tuple broadcast(Operand *a, Operand *b):
    """Let both be walked in their common shape, and return that. ValueError if there is none."""
    cdef int ndim = max(a.ndim, b.ndim), d
    cdef tuple before = (shape_of(a), shape_of(b))
    widen(a, ndim)
    widen(b, ndim)
    for d in range(ndim):
        if a.length[d] != b.length[d]:
            if a.length[d] != 1 and b.length[d] != 1:
                raise ValueError('operands could not be broadcast together:'
                                 f' shapes {before[0]} and {before[1]}')
            if a.length[d] == 1:
                a.length[d], a.stride[d] = b.length[d], 0
            else:
                b.length[d], b.stride[d] = a.length[d], 0
    return tuple([a.length[d] for d in range(ndim)])


cdef void widen(Operand *x, int ndim) noexcept:
    """Put axes of length 1 before those there are, up to so many."""
    cdef int d, more = ndim - x.ndim
    for d in range(ndim - 1, -1, -1):
        x.length[d] = x.length[d - more] if d >= more else 1
        x.stride[d] = x.stride[d - more] if d >= more else 0
    x.ndim = ndim


cdef void *laid_out(Operand *x, Py_ssize_t itemsize, void **made) except? NULL:
    """The elements in the order of the walk, side by side: as they lie, or in `made`, which is to be freed.

    They are borrowed: nothing may run Python code while they are looked at.
    """
    cdef Py_ssize_t counter[MAX_DIMS]
    cdef Py_ssize_t count = count_of(x), wanted = itemsize, inner, stride, j
    cdef int d
    cdef char *row = <char *> x.view.buf
    cdef char *at
    cdef char *to
    for d in range(x.ndim - 1, -1, -1):
        if x.length[d] != 1 and x.stride[d] != wanted:
            break
        wanted *= x.length[d]
    else:
        return row
    made[0] = to = <char *> malloc(count * itemsize + 1)
    if to == NULL:
        raise MemoryError
    if count == 0:
        return to
    memset(counter, 0, sizeof(counter))
    inner, stride = x.length[x.ndim - 1], x.stride[x.ndim - 1]
    while True:
        at = row
        if itemsize == sizeof(uint64_t):
            for j in range(inner):
                (<uint64_t *> to)[j] = (<uint64_t *> at)[0]
                at += stride
        else:
            for j in range(inner):
                memcpy(to + j * itemsize, at, itemsize)
                at += stride
        to += inner * itemsize
        d = x.ndim - 2
        while d >= 0:
            counter[d] += 1
            row += x.stride[d]
            if counter[d] < x.length[d]:
                break
            row -= x.stride[d] * x.length[d]
            counter[d] = 0
            d -= 1
        if d < 0:
            return made[0]


# ---------------------------------------------------------------------------------------- elements

cdef int make_elements(Elements *elements, Operand *x) except -1:
    elements.count = count_of(x) if has_elements(x) else 1
    elements.step = has_elements(x)
    if exceeds(x, PY_SSIZE_T_MAX // sizeof(double)):
        raise MemoryError(f'no memory for the elements of arrays of shape {shape_of(x)} and another')
    elements.numbers = <double *> malloc(elements.count * sizeof(double) + 1)
    elements.nodes = <int32_t *> malloc(elements.count * sizeof(int32_t) + 1)
    if elements.numbers == NULL or elements.nodes == NULL:
        raise MemoryError
    return 0


cdef void free_elements(Elements *elements) noexcept:
    free(elements.numbers)
    free(elements.nodes)


cdef bint read_elements(Operand *x, Elements *to) except -1:
    """Read the numbers and node indices as they are now; False if an element is to be left to Python."""
    cdef void *made = NULL
    cdef PyObject **items
    to.constants = 0
    if x.kind == A_NUMBER:
        to.numbers[0], to.nodes[0], to.constants = x.number, -1, 1
        return True
    if x.kind == A_VALUE:
        return read_objects(&x.value, to)
    try:
        if x.kind == DOUBLES:
            memcpy(to.numbers, laid_out(x, sizeof(double), &made), to.count * sizeof(double))
            memset(to.nodes, -1, to.count * sizeof(int32_t))
            to.constants = to.count
            return True
        return read_objects(<PyObject **> laid_out(x, sizeof(PyObject *), &made), to)
    finally:
        free(made)


cdef bint read_objects(PyObject **items, Elements *to) noexcept:
    cdef Py_ssize_t k
    cdef PyObject *item
    for k in range(to.count):
        item = items[k]
        if LIKELY(item != NULL and is_exact(item) and (<Value> item).index >= 0):
            to.nodes[k] = (<Value> item).index
            to.numbers[k] = node_at((<Value> item).index).data
        elif item != NULL and PyFloat_Check(<object> item):
            to.nodes[k] = -1
            to.numbers[k] = PyFloat_AS_DOUBLE(<object> item)
            to.constants += 1
        else:
            return False
    return True


cdef bint read_with_room(Operand *x, Operand *y, Elements *left, Elements *right,
                           Py_ssize_t nodes, Py_ssize_t edges) except -1:
    """Gather the operands with room for so many nodes and one for each constant; False: leave it to Python."""
    while read_elements(x, left) and (y == NULL or read_elements(y, right)):
        if has_room(nodes + left.constants + right.constants, edges):
            return True
        reserve(nodes + left.constants + right.constants, edges)    # may collect: gather anew
    return False


cdef void push_constants(Elements *elements) noexcept:
    """Give the constants a leaf each; room must have been reserved."""
    cdef Py_ssize_t k
    if elements.constants:
        for k in range(elements.count):
            if elements.nodes[k] < 0:
                elements.nodes[k] = push(OP_LEAF, elements.numbers[k], 0, 0)


# ----------------------------------------------------------------------------------------- results

cdef object new_array(tuple shape):
    """An Array of Values without a node."""
    array = np.ndarray.__new__(Array, shape, object)
    cdef PyObject **items = <PyObject **> address(array)
    cdef PyObject *before
    cdef Py_ssize_t k
    for k in range(size_of(shape)):
        before = items[k]
        items[k] = new_facade()
        Py_XDECREF(before)
    return array


cdef inline bint leaves_alone() noexcept:
    """Whether results are leaves, as nothing is recorded. (In a trace they are nodes, detached in the end.)"""
    return not recording() and not tracing()


cdef void push_leaves(double *primals, Py_ssize_t count, PyObject **facades) noexcept:
    """Room must have been reserved."""
    cdef Py_ssize_t k
    for k in range(count):
        attach_new(facades[k], push(OP_LEAF, primals[k], 0, 0))


cdef void collect_after(Py_ssize_t count) noexcept:
    """The end of an operation of so many results."""
    cdef bint recorded = recording()
    if not recorded:
        tape.unrecorded += count - 1
    collect_made(recorded)


cdef object finished(object result, tuple shape):
    """The end of an operation: the Array, or where there are no axes its element."""
    collect_after(size_of(shape))
    if not recording() and tracing():
        result = array_detached(result)
    return result if shape else <object> (<PyObject **> address(result))[0]


# --------------------------------------------------------------------------------- element by element

cdef object by_element(int op, object a, object b, bint unary=False):
    """An operation of the table on each pair of elements, broadcast; or on each element of a alone.

    An Array; a Value where there are no axes; None if that is to be left to Python.
    """
    cdef Operand x, y
    cdef Elements left, right
    memset(&left, 0, sizeof(left))
    memset(&right, 0, sizeof(right))
    x.held = y.held = False
    try:
        y.kind = A_NUMBER
        if (take_operand(a, &x) and (unary or take_operand(b, &y))
                and (holds_values(&x) or holds_values(&y))):
            return operated(op, &x, NULL if unary else &y, &left, &right)
    finally:
        let_go(&x)
        let_go(&y)
        free_elements(&left)
        free_elements(&right)


cdef object operated(int op, Operand *x, Operand *y, Elements *left, Elements *right):
    """An operation on operands that take_operand has read; y and right are NULL if there is only one."""
    cdef tuple shape = shape_of(x) if y == NULL else broadcast(x, y)
    cdef Py_ssize_t count = size_of(shape), nodes
    cdef double *primals = NULL
    result = new_array(shape)
    make_elements(left, x)
    if y != NULL:
        make_elements(right, y)
    try:
        primals = <double *> malloc(count * sizeof(double) + 1)
        if primals == NULL:
            raise MemoryError
        if not read_elements(x, left) or y != NULL and not read_elements(y, right):
            return None
        if op == OP_POW and right.constants:
            if right.constants < right.count:
                return None
            op = OP_POWC
        nodes = count + left.constants + right.constants
        if compute(op, count, left, left if y == NULL else right, primals) or not has_room(nodes, 0):
            reserve(nodes, 0)
            if not read_with_room(x, y, left, right, count, 0):   # indices may be others now
                return None
        push_elements(op, count, left, left if y == NULL else right, primals, <PyObject **> address(result))
    finally:
        free(primals)
    return finished(result, shape)


cdef bint compute(int op, Py_ssize_t count, Elements *a, Elements *b, double *out) except -1:
    """The primals, or the error that Python raises for one of them; whether Python code has run."""
    cdef Py_ssize_t k
    cdef bint asked = False
    for k in range(count):
        out[k] = op_value(op, a.numbers[k * a.step], b.numbers[k * b.step])
    if OP_INFO[op].raises != NULL:
        for k in range(count):
            if not LIKELY(out[k] - out[k] == 0):
                out[k] = evaluate_in_python(op, a.numbers[k * a.step], b.numbers[k * b.step])
                asked = True
    return asked


cdef void push_elements(int op, Py_ssize_t count, Elements *a, Elements *b, double *primals,
                        PyObject **facades) noexcept:
    """Push the nodes of an operation. A constant operand is a leaf, one for all where it stands for all."""
    cdef Py_ssize_t k
    if count == 0 or leaves_alone():
        push_leaves(primals, count, facades)
        return
    push_constants(a)
    if b != a:
        push_constants(b)
    for k in range(count):
        attach_new(facades[k], push(op, primals[k], a.nodes[k * a.step], b.nodes[k * b.step]))


# ------------------------------------------------------------------------------- products, sums, means

cdef object product(int kind, object a, object b):
    """What np.matmul, np.dot or np.inner gives: each element one node. None if that is to be left to NumPy."""
    cdef Operand x, y
    cdef Elements left, right
    memset(&left, 0, sizeof(left))
    memset(&right, 0, sizeof(right))
    x.held = y.held = False
    try:
        if (take_operand(a, &x) and take_operand(b, &y) and x.ndim and y.ndim
                and (holds_values(&x) or holds_values(&y))):
            return multiplied(kind, &x, &y, &left, &right)
    finally:
        let_go(&x)
        let_go(&y)
        free_elements(&left)
        free_elements(&right)


cdef object multiplied(int kind, Operand *x, Operand *y, Elements *left, Elements *right):
    """A product of arrays that take_operand has read."""
    cdef int x_ndim = x.ndim, y_ndim = y.ndim, x_stack = 0, y_stack = 0, d
    # The axis of y that is summed over; of x it is the last.
    cdef int inner = y_ndim - 1 if kind == INNER or y_ndim == 1 else y_ndim - 2
    cdef Py_ssize_t stacks, rows, columns, length = x.length[x_ndim - 1]
    cdef tuple shape, kept
    if length != y.length[inner]:
        raise ValueError(f'shapes {shape_of(x)} and {shape_of(y)} do not match: axis {x_ndim - 1} of the'
                         f' first has {length} elements, axis {inner} of the second has {y.length[inner]}')
    # Both are walked stack by stack (of matmul), then row by row: a row is one factor of a sum of products.
    x.ndim = y.ndim = 0
    if kind == MATMUL:
        x_stack, y_stack = max(x_ndim - 2, 0), max(y_ndim - 2, 0)
        walk_axes(x, range(x_stack))
        walk_axes(y, range(y_stack))
    shape = broadcast(x, y)
    stacks = size_of(shape)
    kept = walk_axes(x, range(x_stack, x_ndim - 1))
    rows = size_of(kept)
    shape += kept
    kept = walk_axes(y, [d for d in range(y_stack, y_ndim) if d != inner])
    columns = size_of(kept)
    shape += kept
    walk_axes(x, (x_ndim - 1,))
    walk_axes(y, (inner,))
    result = new_array(shape)
    make_elements(left, x)
    make_elements(right, y)
    if not read_with_room(x, y, left, right, size_of(shape), 2 * size_of(shape) * length):
        return None
    push_products(left, right, stacks, rows, columns, length, <PyObject **> address(result))
    return finished(result, shape)


cdef tuple walk_axes(Operand *x, axes):
    """Append axes of the array to those walked; their lengths."""
    for d in axes:
        x.length[x.ndim], x.stride[x.ndim] = x.view.shape[<int> d], x.view.strides[<int> d]
        x.ndim += 1
    return tuple([x.view.shape[<int> d] for d in axes])


cdef void push_products(Elements *left, Elements *right, Py_ssize_t stacks, Py_ssize_t rows, Py_ssize_t columns,
                        Py_ssize_t length, PyObject **facades) noexcept:
    """Push the sum of products of each row of left with each of right, stack by stack.

    Where one of the two is constants alone, these are the partials by the other; in a trace they are nodes.
    """
    cdef Py_ssize_t stack, row, column, i, j, first
    cdef double primal
    cdef bint weights_left = not tracing() and left.constants == left.count and not right.constants
    cdef bint weights_right = not tracing() and right.constants == right.count and not left.constants
    if not weights_left and not weights_right:
        push_constants(left)
        push_constants(right)
    for stack in range(stacks):
        for row in range(rows):
            i = (stack * rows + row) * length
            for column in range(columns):
                j = (stack * columns + column) * length
                first = tape.edges
                if weights_left:
                    primal = push_weighted(left.numbers + i, right.numbers + j, right.nodes + j, length)
                elif weights_right:
                    primal = push_weighted(right.numbers + j, left.numbers + i, left.nodes + i, length)
                else:
                    primal = push_factors(left.numbers + i, left.nodes + i,
                                          right.numbers + j, right.nodes + j, length)
                attach_nary(facades[0], OP_NARY if weights_left or weights_right else OP_DOT, primal, first)
                facades += 1


cdef inline double push_weighted(double *weights, double *x, int32_t *nodes, Py_ssize_t length) noexcept:
    """The edges of a sum of Values with constant weights; its primal."""
    cdef Py_ssize_t e
    cdef double total = 0
    for e in range(length):
        total += weights[e] * x[e]
        push_edge(nodes[e], weights[e])
    return total


cdef inline double push_factors(double *x, int32_t *x_nodes, double *y, int32_t *y_nodes,
                                Py_ssize_t length) noexcept:
    """The edges of a sum of products of Values; its primal."""
    cdef Py_ssize_t e
    cdef double total = 0
    for e in range(length):
        total += x[e] * y[e]
        push_edge(x_nodes[e], 0)
        push_edge(y_nodes[e], 0)
    return total


cdef inline void attach_nary(PyObject *facade, int op, double primal, Py_ssize_t first) noexcept:
    """Push the node of the edges from `first` on; a leaf where there are none, or nothing is recorded."""
    if leaves_alone():
        tape.edges = first
    if tape.edges > first:
        attach_new(facade, push(op, primal, <int32_t> first, <int32_t> (tape.edges - first)))
    else:
        attach_new(facade, push(OP_LEAF, primal, 0, 0))


def array_sum(array, axis=None, keepdims=False, mean=False):
    """The sums or means over axes, each one node; NotImplemented if that is to be left to NumPy."""
    need_numpy()
    cdef Operand x
    cdef Elements elements, none
    memset(&elements, 0, sizeof(elements))
    memset(&none, 0, sizeof(none))
    x.held = False
    try:
        if not take_operand(array, &x) or x.kind != OBJECTS:
            return NotImplemented
        axes = axes_of(axis, x.ndim)
        kept = [d for d in range(x.ndim) if d not in axes]
        x.ndim = 0
        shape = walk_axes(&x, kept)
        count, length = size_of(shape), size_of(walk_axes(&x, axes))
        if mean and not length:
            raise ValueError(f'no mean over axis {axis} of an array of shape {shape_of(&x)}')
        if keepdims:
            shape = tuple([1 if d in axes else x.view.shape[<int> d] for d in range(x.view.ndim)])
        result = new_array(shape)
        make_elements(&elements, &x)
        if not read_with_room(&x, NULL, &elements, &none, (3 if mean else 1) * count, count * length):
            return NotImplemented
        push_sums(&elements, count, length, mean, <PyObject **> address(result))
        return finished(result, shape)
    finally:
        let_go(&x)
        free_elements(&elements)


def axes_of(object axis, int ndim):
    """The axes that an argument `axis` names."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple([operator.index(d) for d in (axis if isinstance(axis, tuple) else (axis,))])
    for d in axes:
        if not -ndim <= d < ndim:
            raise getattr(np, 'exceptions', np).AxisError(d, ndim, 'axis')    # its place before NumPy 1.25
    axes = tuple([d % ndim for d in axes])
    if len(set(axes)) < len(axes):
        raise ValueError(f'axis {axis} names one twice')
    return axes


cdef void push_sums(Elements *x, Py_ssize_t count, Py_ssize_t length, bint mean, PyObject **facades) noexcept:
    """Push the sum or mean of each row."""
    cdef Py_ssize_t k, e, first
    cdef double total
    cdef bint all_terms = tracing()     # numbers, too, are edges; and no partials are
    cdef int32_t parent
    if all_terms:
        push_constants(x)
    for k in range(count):
        first = tape.edges
        total = 0
        for e in range(k * length, (k + 1) * length):
            total += x.numbers[e]
            if x.nodes[e] >= 0:
                push_edge(x.nodes[e], 1.0 / length)
        if mean and all_terms:
            parent = push(OP_SUM, total, <int32_t> first, <int32_t> length)
            attach_new(facades[k], push(OP_DIV, total / length, parent, push(OP_LEAF, length, 0, 0)))
        else:
            attach_nary(facades[k], OP_NARY if mean else OP_SUM, total / length if mean else total, first)


# -------------------------------------------------------------------------------- what NumPy asks for

def array_ufunc(self, ufunc, method, *inputs, **keywords):
    """`__array_ufunc__` of Array and Value."""
    need_numpy()
    out = keywords.pop('out', None)
    result = called(ufunc, inputs) if method == '__call__' and not keywords else None
    if result is None:
        result = python.of_ufunc(ufunc, method, inputs, keywords, out)
    if out is None or method == 'at':
        return result
    if len(out) > 1:
        return tuple([y if x is None else put_out(x, y) for x, y in zip(out, result)])
    return put_out(out[0], result)


def put_out(object out, object result):
    """Assign a result to the array that `out=` gave."""
    refuse_mask(out)
    if isinstance(out, Array) or not isinstance(result, (Array, Value)):
        out[...] = result       # numbers become Values
    elif out.dtype == object:
        out.view(np.ndarray)[...] = plain(result)
    else:
        raise TypeError(f'out= is an array of {out.dtype}, which does not hold Values:'
                        f' make it with mg.array or np.zeros_like(x), or leave it out')
    return out


cdef object called(object ufunc, tuple inputs):
    """A ufunc of Arrays, Values, arrays and numbers; None if that is to be left to Python."""
    cdef object op = OP_OF.get(ufunc)
    if op is not None:
        if len(inputs) == 2:
            return of_two(op, inputs[0], inputs[1])
        return of_one(op, inputs[0])
    if ufunc in OF_NUMBERS:
        return of_numbers(ufunc, inputs)
    if ufunc is np.square:
        return of_two(OP_MUL, inputs[0], inputs[0])
    if ufunc is np.reciprocal:
        return of_two(OP_DIV, 1.0, inputs[0])
    if ufunc is np.matmul:
        return product(MATMUL, inputs[0], inputs[1])
    return None


cdef object of_one(int op, object x):
    return apply_unary(op, <PyObject *> x) if is_exact(<PyObject *> x) else by_element(op, x, None, unary=True)


cdef object of_two(int op, object x, object y):
    cdef bint left = is_exact(<PyObject *> x), right = is_exact(<PyObject *> y)
    if left and (right or is_number(y)) or right and is_number(x):
        result = binary(op, x, y)
        if result is not NotImplemented:
            return result
    return by_element(op, x, y)


cdef bint is_number(object x):
    return PyFloat_Check(x) or PyLong_Check(x) or isinstance(x, np.generic)


cdef bint is_single(object x):
    return isinstance(x, Value) or is_number(x) or type(x) is ndarray and x.ndim == 0


cdef object of_numbers(object ufunc, tuple inputs):
    """A ufunc of the numbers alone: a comparison, a test, ...

    A Value that is compared with another or a number, without an array, is equal to itself alone.
    """
    cdef list numbers = []
    cdef tuple why = COMPARED if ufunc in COMPARISONS else READ_DATA
    if ufunc is np.equal or ufunc is np.not_equal:
        x, y = inputs
        if is_single(x) and is_single(y):
            if not (isinstance(x, Value) and isinstance(y, Value)):
                refuse_value(x, COMPARED)
                refuse_value(y, COMPARED)
            return np.bool_((x is y) == (ufunc is np.equal))
    for x in inputs:
        numbers.append(read_numbers(x, why))
    return ufunc(*numbers)


cdef object read_numbers(object x, tuple why):
    """A Value's number, an array of objects' numbers; other things as they are. why: what a trace says."""
    if isinstance(x, Value):
        if trace.thread:
            refuse_value(x, why)
        return node_at(index_of(x)).data
    if type(x) is list or type(x) is tuple:
        x = np.asarray(x)
    refuse_mask(x)
    if isinstance(x, np.ndarray) and x.dtype == object:
        return numbers_read(x, False, why)
    return plain(x)


def array_by_python(ufunc, method, inputs, keywords):
    """A method of a ufunc, by Python's operators and methods on each element."""
    need_numpy()
    return settled(getattr(ufunc, method)(*map(plain, inputs), **keywords))


cdef object plain(object x):
    """A Value or an Array as an array of objects as any other."""
    refuse_mask(x)
    if isinstance(x, Array):
        return x.view(np.ndarray)
    if isinstance(x, Value):
        array = np.empty((), object)
        array[()] = x
        return array
    return x


cpdef int refuse_mask(object x) except -1:
    """TypeError for an array of numpy.ma."""
    if type(x) is not ndarray and type(x) is not Array and isinstance(x, ndarray) and hasattr(x, 'mask'):
        raise TypeError(NO_MASK)    # it is one of numpy.ma, which may not have been imported
    return 0


def array_apply(str name, array, *others):
    """An operation of the table by its name, on each element."""
    need_numpy()
    cdef int op
    for op in range(OP_LEAF + 1, FIRST_NARY):
        if OP_INFO[op].name == name.encode():
            break
    result = of_two(op, array, others[0]) if others else of_one(op, array)
    if result is None:
        method = np.frompyfunc(lambda v, *others: getattr(v if isinstance(v, Value) else Value(v), name)(*others),
                               1 + len(others), 1)
        return array_by_python(method, '__call__', (array, *others), {})
    return result


def array_product(str name, a, b):
    """np.dot or np.inner where an Array is among the operands."""
    need_numpy()
    if not np.ndim(a) or not np.ndim(b):
        return np.multiply(a, b)
    result = product(DOT if name == 'dot' else INNER, a, b)
    return settled(getattr(np, name)(plain(a), plain(b))) if result is None else result


def is_exact_array(x):
    return type(x) is Array


def settled(result):
    """What a function of NumPy's gave, with arrays of objects as Arrays: numbers in them become Values."""
    need_numpy()
    if isinstance(result, (tuple, list)):
        items = []
        for x in result:
            items.append(settled(x))
        return type(result)(*items) if hasattr(result, '_fields') else type(result)(items)
    if not isinstance(result, np.ndarray):
        return result
    if result.dtype != object:
        return plain(result)
    if all_values(result):
        return result if isinstance(result, Array) else result.view(Array)
    return array_of_values(result)


# ----------------------------------------------------------------------------- making, reading, assigning

def array_of_values(data):
    """An Array of numbers and Values; see `micrograd_c.array`."""
    need_numpy()
    cdef Py_ssize_t count
    refuse_mask(data)
    if isinstance(data, Value):
        data = plain(data)
    given = np.asarray(data)
    if given.dtype.kind not in 'biuf':
        return array_of_objects(np.array(given if given.dtype.kind == 'O' else data, object, order='C'))
    given = np.array(given, np.float64, order='C')
    result = new_array(given.shape)
    count = given.size
    reserve(count, 0)
    push_leaves(<double *> address(given), count, <PyObject **> address(result))
    collect_after(count)
    return result


cdef object array_of_objects(given):
    """A new array of objects as an Array, its numbers made Values."""
    cdef double number
    if all_values(given):
        return given.view(Array)
    elements = given.reshape(-1)
    numbers = {}
    for k, x in enumerate(elements.tolist()):
        if not isinstance(x, Value):
            if not as_number(x, &number):
                raise TypeError(f'data must hold real numbers and Values, not {type(x).__name__}'
                                f' (at {position(k, given.shape)})')
            numbers[k] = number
    for k, x in numbers.items():
        elements[k] = Value(x)
    return given.view(Array)


cdef object position(Py_ssize_t k, shape):
    """The index of the element number k of an array, as text."""
    return ', '.join([str(i) for i in np.unravel_index(k, shape)]) if shape else '()'


cdef bint all_values(array) except -1:
    """Whether the elements of an array of objects are all Values."""
    cdef Operand x
    cdef void *made = NULL
    cdef PyObject **items
    cdef Py_ssize_t k
    x.held = False
    try:
        if not take_operand(array, &x) or x.kind != OBJECTS:
            return False
        items = <PyObject **> laid_out(&x, sizeof(PyObject *), &made)
        for k in range(count_of(&x)):
            if items[k] == NULL or not is_value(items[k]):
                return False
        return True
    finally:
        let_go(&x)
        free(made)


cdef object elements_read(array, bint gradients, tuple why):
    """The data or gradients of an Array's elements as float64; None if they are not all plain Values or floats.

    why: what a trace says that refuses it.
    """
    cdef Operand x
    cdef Elements elements
    cdef double *out
    cdef Py_ssize_t k
    if trace.thread:
        for item in array.ravel().tolist():
            if isinstance(item, Value):
                refuse_value(item, why)
    memset(&elements, 0, sizeof(elements))
    x.held = False
    result = np.empty(array.shape)
    try:
        if not take_operand(array, &x):
            return None
        make_elements(&elements, &x)
        if not read_elements(&x, &elements) or gradients and elements.constants:
            return None
        out = <double *> address(result)
        for k in range(elements.count):
            out[k] = node_at(elements.nodes[k]).grad if gradients else elements.numbers[k]
        return result
    finally:
        let_go(&x)
        free_elements(&elements)


cdef object numbers_read(array, bint gradients, tuple why):
    """The data or gradients of elements of any kind: TypeError names one that has no number, or no gradient."""
    result = elements_read(array, gradients, why)
    if result is not None:
        return result
    numbers = []
    for k, v in enumerate(array.ravel().tolist()):
        if isinstance(v, Value):
            numbers.append(v.grad if gradients else v.data)
        elif gradients:
            raise TypeError(f'element {position(k, array.shape)} is no Value but a {type(v).__name__}:'
                            f' it has no gradient')
        else:
            numbers.append(as_double(v, f'element {position(k, array.shape)}'))
    return np.array(numbers, np.float64).reshape(array.shape)


def array_numbers(array, bint gradients=False):
    """The data or gradients of an Array's elements, as a new array of float64."""
    need_numpy()
    return numbers_read(array, gradients, READ_GRAD if gradients else READ_DATA)


def array_truth(array):
    """NumPy's truth of an Array: that of the number of its only element, else ValueError."""
    need_numpy()
    return bool(numbers_read(array, False, TRUTH))


def numbers_in(x):
    """x with the numbers of Values and arrays of objects in their place, in lists, tuples and dicts, too."""
    need_numpy()
    if isinstance(x, (tuple, list)) and not hasattr(x, '_fields'):
        return type(x)(map(numbers_in, x))
    if isinstance(x, dict):
        return {key: numbers_in(y) for key, y in x.items()}
    return read_numbers(x, READ_DATA)


def objects_in(x):
    """x with Arrays as arrays of objects as any other, in lists, tuples and dicts, too."""
    need_numpy()
    if isinstance(x, (tuple, list)) and not hasattr(x, '_fields'):
        return type(x)(map(objects_in, x))
    if isinstance(x, dict):
        return {key: objects_in(y) for key, y in x.items()}
    return plain(x) if isinstance(x, np.ndarray) else x


def array_assign(array, numbers, bint gradients=False):
    """Assign the data or gradients of an Array's elements."""
    need_numpy()
    cdef Operand x
    cdef void *made = NULL
    cdef list converted = []
    cdef PyObject **items
    cdef double *source
    cdef Py_ssize_t k, count
    name = 'grad' if gradients else 'values'
    refuse_mask(numbers)
    given = np.asarray(numbers)
    if given.dtype.kind not in 'biuf':
        given = np.array(numbers, object, order='C')
        for k, v in enumerate(given.ravel().tolist()):
            converted.append(as_double(v, f'{name}: element {position(k, given.shape)}'))
        given = np.array(converted, np.float64).reshape(given.shape)
    try:
        given = np.array(np.broadcast_to(given, array.shape), np.float64, order='C')
    except ValueError:
        raise ValueError(f'{name} must have shape {array.shape} or broadcast to it,'
                         f' not {given.shape}') from None
    if trace.thread and not gradients:
        refuse(ASSIGNED_DATA)
    elif trace.thread:
        for v in array.ravel().tolist():
            refuse_value(v, ASSIGNED_GRAD)
    x.held = False
    try:
        if not take_operand(array, &x) or x.kind != OBJECTS:
            raise TypeError(f'an array of {array.dtype} has no {name} to assign')
        source = <double *> address(given)
        items = <PyObject **> laid_out(&x, sizeof(PyObject *), &made)
        count = count_of(&x)
        for k in range(count):
            if items[k] == NULL or not is_value(items[k]):
                raise TypeError(f'element {position(k, array.shape)} is no Value: it has no {name}')
            if (<Value> items[k]).index < 0:
                raise no_node()
        for k in range(count):
            if gradients:
                node_at((<Value> items[k]).index).grad = source[k]
            else:
                node_at((<Value> items[k]).index).data = source[k]
    finally:
        let_go(&x)
        free(made)


def array_detached(given):
    """A new Array of leaves with the numbers of the elements."""
    need_numpy()
    cdef Py_ssize_t k
    numbers = None if tracing() else elements_read(given, False, READ_DATA)
    if numbers is not None:
        return array_of_values(numbers)
    copy = np.array(plain(given), order='C')
    elements = copy.reshape(-1)
    for k in range(len(elements)):
        elements[k] = elements[k].detach()
    return copy.view(Array)


Value.__array_ufunc__ = array_ufunc
