# Value: the thin facade of one node: its index, and a dict where a user hangs something on it.
#
# A facade that carries anything (attributes, a label, a closure, the class where that is a subclass) is
# pinned: the tape holds a reference to it, so that what it carries stays with the node.

cdef extern from *:
    """
    #define VALUE_POOL (DEBUG_BUILD ? 0 : 1 << 12)
    /* An owned reference, handed over. */
    static inline PyObject *handed_over(PyObject *p) { return p; }

    static PyObject *apply_unary(int, PyObject *);
    static PyObject *apply_binary(int, PyObject *, PyObject *);

    /* The functions of the op table as methods of Value. */
    #define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
        static PyObject *value_##name(PyObject *self, PyObject *unused) { \
            (void)unused; \
            return apply_unary(OP_##NAME, self); \
        }
    UNARY_FUNCTIONS(X)
    #undef X
    #define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
        static PyObject *value_##name(PyObject *self, PyObject *other) { \
            return apply_binary(OP_##NAME, self, other); \
        }
    BINARY_FUNCTIONS(X)
    #undef X

    static PyMethodDef FUNCTION_METHODS[] = {
    #define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
        {#name, value_##name, METH_NOARGS, #name "($self, /)\\n--\\n\\n" \
         says "\\n\\na: this value\\nvalue: " #value "\\nd/da: " #by_a "  (v: the value)"},
        UNARY_FUNCTIONS(X)
    #undef X
    #define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
        {#name, value_##name, METH_O, #name "($self, other, /)\\n--\\n\\n" \
         says "\\n\\na: this value; b: another, or a number\\nvalue: " #value \
         "\\nd/da: " #by_a "\\nd/db: " #by_b "  (v: the value)"},
        BINARY_FUNCTIONS(X)
    #undef X
        {NULL, NULL, 0, NULL}
    };
    """
    const int VALUE_POOL
    object handed_over(PyObject *p)
    ctypedef struct PyMethodDef:
        const char *ml_name
    PyMethodDef *FUNCTION_METHODS

cdef extern from "Python.h":
    ctypedef struct PyTypeStruct "PyTypeObject":
        const char *tp_name
        PyObject *(*tp_alloc)(PyTypeObject *, Py_ssize_t) except NULL
        void (*tp_dealloc)(PyObject *) noexcept
        void (*tp_free)(void *) noexcept
        unsigned long tp_flags
        Py_ssize_t tp_dictoffset
        Py_ssize_t tp_weaklistoffset
    unsigned long Py_TPFLAGS_IMMUTABLETYPE
    double PyFloat_AS_DOUBLE(object)
    bint PyFloat_Check(object)
    bint PyLong_Check(object)
    tuple PyList_AsTuple(object)
    bint PyType_IsSubtype(PyTypeObject *, PyTypeObject *)
    bint PyObject_TypeCheck(PyObject *, PyTypeObject *)
    double PyLong_AsDouble(object) except? -1
    double PyFloat_AsDouble(object) except? -1
    void Py_SET_REFCNT(PyObject *, Py_ssize_t)
    Py_ssize_t Py_REFCNT(PyObject *)
    void Py_INCREF(PyObject *)
    void Py_XDECREF(PyObject *)
    PyTypeObject *Py_TYPE(PyObject *)
    void Py_DECREF(PyObject *)
    void PyObject_ClearWeakRefs(PyObject *)
    PyObject *PyDict_New() except NULL
    int PyObject_GenericSetAttr(object, object, PyObject *) except -1
    object PyDescr_NewMethod(PyTypeObject *, PyMethodDef *)
    void PyType_Modified(PyTypeObject *)


cdef class Value:
    """Value(data, _children=(), _op='', label='')

    A number that remembers how it was computed. So `backward` can find the derivative of a result by
    every number that it was made from.

    With children, a Value is an operation of your own. The third argument is then either its name, and
    you assign its reverse step to `_backward`; or `local_grads`, a sequence of numbers: the partial
    derivative by each child.

    TypeError if data is not a number or a child not a Value; ValueError if children and local_grads
    differ in length.

    >>> a, b = Value(2.0), Value(-3.0)
    >>> c = (a * b).exp() + a**2
    >>> c.backward()
    >>> a.grad == b.data * (a * b).exp().data + 2 * a.data
    True
    >>> square = Value(a.data ** 2, (a,), (2 * a.data,))
    """
    cdef int32_t index          # of the node on the tape; -1: none (yet, or any more); or LEAKED
    cdef bint pinned            # the tape owns a reference
    cdef Py_ssize_t scratch     # collect: references from outside; in the pool: the next facade
    cdef PyObject *attributes   # the instance's dict, or NULL
    cdef PyObject *weakrefs

    def __cinit__(self):
        self.index = -1

    def __init__(self, data, _children=(), _op='', label='', *, children=(), local_grads=()):
        cdef double primal = as_double(data, 'data')
        cdef tuple parents = items_of(_children, '_children', 'Values') or items_of(children, 'children', 'Values')
        cdef int32_t index
        cdef bint again
        if not isinstance(_op, str):
            local_grads, _op = _op, ''
        cdef tuple given = items_of(local_grads, 'local_grads', 'numbers')
        if parents or given:
            index = push_given(primal, parents, given)
        else:
            reserve(1, 0)
            index = push(OP_LEAF, primal, 0, 0)
        again = self.index >= 0
        if again and trace.thread:
            refuse_value(self, ASSIGNED_DATA)
        detach(self)
        attach(<PyObject *> self, index)
        if again and self.attributes != NULL:
            for name in ('_backward', '_op', 'label'):
                (<dict> self.attributes).pop(name, None)
        if _op and (recording() or not parents):
            carry(self, '_op', _op)
        if not (isinstance(label, str) and label == ''):
            carry(self, 'label', label)
        collect_made(recording())

    # ------------------------------------------------------------------------ what a node holds

    @property
    def data(self):
        """The number itself (the primal), a float.

        It may be assigned at any time. Sweeps read it as it stands then; what was computed from it stays as it is.
        TypeError if the number assigned is not real.

        >>> x = Value(3.0)
        >>> x.data -= 1
        >>> x.data
        2.0
        """
        if trace.thread:
            refuse_value(self, READ_DATA)
        return node_at(index_to_read(self, 'data')).data

    @data.setter
    def data(self, value):
        cdef double x = as_double(value, 'data')
        if trace.thread:
            refuse(ASSIGNED_DATA)
        node_at(index_of(self)).data = x

    @data.deleter
    def data(self):
        raise AttributeError('data cannot be deleted')

    @property
    def grad(self):
        """The derivative (the adjoint) that `backward` has added up here, a float; 0.0 before.

        It may be assigned. TypeError if the number assigned is not real.

        >>> x = Value(3.0)
        >>> (x * x).backward()
        >>> x.grad
        6.0
        >>> x.grad = 0
        """
        if trace.thread:
            refuse_value(self, READ_GRAD)
        return node_at(index_to_read(self, 'grad')).grad

    @grad.setter
    def grad(self, value):
        cdef double x = as_double(value, 'grad')
        if trace.thread:
            refuse_value(self, ASSIGNED_GRAD)
        node_at(index_of(self)).grad = x

    @grad.deleter
    def grad(self):
        raise AttributeError('grad cannot be deleted: assign 0')

    @property
    def _children(self):
        """The parents of this node on the tape, as a tuple of Values in the order of the operands."""
        return parents_of(self)

    @property
    def _prev(self):
        """The parents of this node on the tape, as a set of Values."""
        return set(parents_of(self))

    @property
    def _local_grads(self):
        """The partial derivative of this node by each of `_children`, as a tuple of floats."""
        if trace.thread:
            refuse_value(self, READ_DATA)
        return partials_of(self)

    @property
    def _op(self):
        """The name of the operation that made this node: '+', '*', 'exp', ...; '' for a leaf."""
        cdef Py_ssize_t i = index_of(self)
        carried = carried_by(self, '_op')
        if carried is not None:
            return carried
        if op_at(i) == OP_POWC:
            return f'**{shortest(node_at(node_at(i).rhs).data)}'
        return OP_INFO[op_at(i)].symbol.decode()

    @_op.setter
    def _op(self, name):
        carry(self, '_op', name)

    @_op.deleter
    def _op(self):
        drop(self, '_op')

    @property
    def label(self):
        """A name, which pictures and errors show; '' until assigned.

        >>> x = Value(3.0, label='x')
        >>> x.label
        'x'
        """
        carried = carried_by(self, 'label')
        return '' if carried is None else carried

    @label.setter
    def label(self, name):
        carry(self, 'label', name)

    @label.deleter
    def label(self):
        drop(self, 'label')

    @property
    def _backward(self):
        """A function of no arguments: this node's own step of the reverse sweep.

        Calling it adds to the parents' gradients their share of this node's. Assign a closure to replace
        it, as operations in micrograd's own style do.
        """
        cdef Py_ssize_t i = index_of(self)
        if tape.ops[i] & USER:
            return carried_by(self, '_backward')
        return self._reverse_step

    @_backward.setter
    def _backward(self, step):
        if not callable(step):
            raise TypeError(f'_backward must be callable, not {type(step).__name__}')
        if trace.thread:
            refuse(OWN_OP)
        if op_at(index_of(self)) == OP_LEAF and not recording():
            return      # of an operation that was not recorded: there is nothing to pass anything on to
        carry(self, '_backward', step)
        tape.ops[index_of(self)] |= USER

    @_backward.deleter
    def _backward(self):
        if not tape.ops[index_of(self)] & USER:
            raise AttributeError('_backward was not assigned')
        tape.ops[index_of(self)] &= ~USER
        del (<dict> self.attributes)['_backward']

    def _reverse_step(self):
        if trace.thread:
            refuse(BACKWARD)
        reverse_step(index_of(self))

    def __setattr__(self, name, value):
        PyObject_GenericSetAttr(self, name, <PyObject *> value)
        pin_if_due(<PyObject *> self)

    @property
    def __dict__(self):
        """What was hung on this value: attributes, label, a closure."""
        return attributes_of(self)

    def item(self):
        """The number itself, a float, by NumPy's name.

        >>> Value(3.0).item()
        3.0
        """
        return self.data

    def asnumpy(self):
        """The number itself, as a float array without axes, by MXNet's name.

        >>> Value(3.0).asnumpy()
        array(3.)
        """
        import numpy
        return numpy.array(self.data)

    def detach(self):
        """A new leaf with this number. It has no history, so no gradient passes through it.

        >>> x = Value(3.0)
        >>> (x * x.detach()).backward()
        >>> x.grad
        3.0
        """
        return detached(self)

    def attach_grad(self, grad_req='write'):
        """Make this value an independent variable, in place: its history is forgotten, its gradient 0.

        Its number stays, and what was computed from it still leads to it. grad_req says what each
        `backward` that reaches it does to its gradient: 'write' puts the new one in its place, 'add' adds
        to it (as for Values that never called this), 'null' leaves it alone. ValueError for other names.
        Copies and pickles of it keep the request.

        >>> x = Value(3.0)
        >>> u = x * x
        >>> y = u * x
        >>> u.attach_grad()
        >>> for _ in range(2):
        ...     y.backward()
        >>> u.grad, x.grad
        (3.0, 18.0)
        """
        cdef int kind = kind_of_request(grad_req)
        cdef list carried = []
        if trace.thread:
            refuse(ATTACHED)
        forget_history(index_of(self), kind, carried)
        node_at(index_of(self)).grad = 0

    def backward(self, head_gradient=1.0, retain_graph=True):
        """Set the gradient of this value to head_gradient and add to that of every value it was made from.

        Gradients accumulate, over the uses of a value and over calls; nothing is cleared, but see
        `attach_grad`. Time and memory grow with the graph that this value reaches; there is no recursion.

        retain_graph: if false, the operations that were reached forget their history, and what only that
        held is freed; a later backward that would need it is a ValueError, and changes nothing.

        TypeError if head_gradient is not a real number.

        >>> x = Value(3.0)
        >>> (x * x).backward()
        >>> x.grad
        6.0
        >>> (x * x).backward(head_gradient=10.0)
        >>> x.grad
        66.0
        """
        cdef double weight = as_double(head_gradient, 'head_gradient')
        cdef bint retain = retain_graph
        if trace.thread:
            refuse(BACKWARD)
        cdef int32_t root = <int32_t> index_of(self)
        if retain and not tape.special and not debugging():
            node_at(root).grad = weight
            reverse_sweep(&root, 1)
        else:
            backward_from([self], [weight], retain)

    # ------------------------------------------------------------------------------- operators

    def __add__(a, b):
        return binary(OP_ADD, a, b)

    def __sub__(a, b):
        return binary(OP_SUB, a, b)

    def __mul__(a, b):
        return binary(OP_MUL, a, b)

    def __truediv__(a, b):
        return binary(OP_DIV, a, b)

    def __pow__(a, b, modulo):
        if modulo is not None:
            raise TypeError('pow() of a Value takes no modulo')
        return binary(OP_POW, a, b)

    def __neg__(self):
        return apply_unary(OP_NEG, <PyObject *> self)

    def __pos__(self):
        return self

    def __abs__(self):
        return apply_unary(OP_ABS, <PyObject *> self)

    def __richcmp__(self, other, int comparison):
        cdef double x
        if comparison == Py_EQ or comparison == Py_NE:
            if trace.thread and not isinstance(other, Value) and as_number(other, &x):
                refuse_value(self, COMPARED)
            return NotImplemented   # identity
        if trace.thread:
            refuse_value(self, COMPARED)
            refuse_value(other, COMPARED)
        if isinstance(other, Value):
            other = other.data
        elif getattr(other, 'ndim', 0):
            import numpy
            name = {Py_LT: 'less', Py_LE: 'less_equal', Py_GT: 'greater', Py_GE: 'greater_equal'}[comparison]
            return getattr(numpy, name)(self, other)
        elif not PyLong_Check(other) and not as_number(other, &x):
            return NotImplemented
        return PyObject_RichCompare(self.data, other, comparison)

    def __hash__(self):
        return <Py_hash_t> (<size_t> <void *> self >> 4)

    def __bool__(self):
        if trace.thread:
            refuse_value(self, TRUTH)
        return is_exact(<PyObject *> self) or not hasattr(self, '__len__') or len(self) > 0

    def __float__(self):
        raise no_conversion(self, 'float')

    def __int__(self):
        raise no_conversion(self, 'int')

    # ------------------------------------------------------------------------------- as an object

    def __repr__(self):
        if self.index == LEAKED:
            return '<Value that leaked from the trace of a compiled function>'
        if trace.thread and tracing() and self.index >= 0 and depends(self.index):
            return '<Value being traced>'
        return f'Value(data={self.data}, grad={self.grad})'

    def __format__(self, spec):
        return str(self) if spec == '' else self.data.__format__(spec)

    def _repr_svg_(self):
        return python._repr_svg(self)

    def __reduce__(self):
        cdef Py_ssize_t i = index_of(self)
        if op_at(i) != OP_LEAF:
            raise TypeError(
                f'cannot copy or pickle a {type(self).__name__} that is the result of an operation'
                f' ({self._op!r}): its history is on the tape. Copy or pickle the leaves it was made'
                f' from (such as a model), or a new leaf with its number, Value(v.data)')
        carried = {} if self.attributes == NULL else dict(<dict> self.attributes)
        for name in copyreg._slotnames(type(self)):
            if hasattr(self, name):
                carried[name] = getattr(self, name)
        return restored, (type(self), self.data, self.grad, request_of(i)), carried or None

    def __setstate__(self, state):
        for name, value in state.items():
            setattr(self, name, value)


def restored(cls, data, adjoint, grad_req=None):
    """A leaf, as pickle and copy make it."""
    cdef Value v = cls.__new__(cls)
    Value.__init__(v, data)
    if grad_req is not None:
        v.attach_grad(grad_req)
    v.grad = adjoint
    return v


cdef object no_conversion(Value v, str name):
    if trace.thread:
        refuse_value(v, CONVERTED)
    return TypeError(f'a Value is not converted to {name}, which would drop its gradient:'
                     f' use v.data for the number, or micrograd_c.math for functions of Values')


cdef object shortest(double x):
    return int(x) if x == <int64_t> x else x


# --------------------------------------------------------------------------------------- the pool
# Facades come and go with every operation, so a few thousand of them are kept for the next ones.

cdef PyObject *pool = NULL
cdef int pooled = 0


cdef inline PyObject *new_facade() except NULL:
    """A Value without a node, from the pool if it can be: an owned reference."""
    global pool, pooled
    cdef PyObject *p = pool
    if LIKELY(p != NULL):
        pool = <PyObject *> (<Value> p).scratch
        pooled -= 1
        Py_SET_REFCNT(p, 1)
        return p
    return new_facade_of(<PyTypeObject *> Value)


cdef PyObject *new_facade_of(PyTypeObject *cls) except NULL:
    """An instance of Value or a subclass without a node: an owned reference. Its __init__ does not run."""
    if <void *> cls == <void *> Value and pool != NULL:
        return new_facade()
    cdef PyObject *p = (<PyTypeStruct *> cls).tp_alloc(cls, 0)
    (<Value> p).index = -1
    return p


cdef void value_dealloc(PyObject *p) noexcept:
    global pool, pooled
    cdef Py_ssize_t i = (<Value> p).index
    if LIKELY(i >= 0):
        node_at(i).facade = NULL
        if i == tape.size - 1 and not tape.pinned:
            pop()
    if LIKELY(pooled < VALUE_POOL and is_exact(p) and (<Value> p).attributes == NULL
              and (<Value> p).weakrefs == NULL):
        (<Value> p).index = -1
        (<Value> p).scratch = <Py_ssize_t> pool
        pool = p
        pooled += 1
    else:
        dealloc_carrying(p)


cdef void dealloc_carrying(PyObject *p) noexcept:
    cdef PyObject *attributes = (<Value> p).attributes
    (<Value> p).index = -1
    if (<Value> p).weakrefs != NULL:
        PyObject_ClearWeakRefs(p)
    (<Value> p).attributes = NULL
    Py_XDECREF(attributes)
    (<PyTypeStruct *> Py_TYPE(p)).tp_free(p)


# ------------------------------------------------------------------------------- facades and nodes

cdef enum:
    LEAKED = -2     # in place of an index: the node was a trace's, which has ended

cdef inline bint is_exact(PyObject *p) noexcept:
    return <void *> Py_TYPE(p) == <void *> Value


cdef inline Py_ssize_t index_of(object v) except -1:
    cdef Py_ssize_t i = (<Value> v).index
    if LIKELY(i >= 0):
        return i
    raise no_node(v)


cdef inline Py_ssize_t index_to_read(Value v, str name) except -1:
    """The index of v, whose attribute of this name is read: AttributeError before its __init__."""
    if LIKELY(v.index >= 0):
        return v.index
    if v.index == LEAKED:
        raise no_node(v)
    raise AttributeError(f'{type(v).__name__!r} object has no attribute {name!r}: {no_node()}')


cdef int refuse_value(object v, tuple why) except -1:
    """TraceError if this thread is tracing and v is a Value whose number may be another at a replay."""
    if tracing() and isinstance(v, Value):
        refuse_number(index_of(v), why)
    return 0


def being_traced(list values):
    """Whether one of them is a Value whose number this thread's trace may not tell."""
    for v in values:
        if tracing() and isinstance(v, Value) and depends(index_of(v)):
            return True
    return False


cdef object no_node(v=None):
    if v is not None and (<Value> v).index == LEAKED:
        return ValueError('this Value leaked from the trace of a compiled function, where it stood for a number that'
                          ' is another at each call: let the function return it')
    return ValueError('this Value has no node: Value.__init__ has not run, or its graph is gone')


cdef void pin_if_due(PyObject *p) noexcept:
    """Let the tape own a reference, for as long as the node lives, to a facade that carries anything."""
    if (<Value> p).pinned or (<Value> p).index < 0 or is_exact(p) and (<Value> p).attributes == NULL:
        return
    (<Value> p).pinned = True
    tape.pinned += 1
    Py_INCREF(p)


cdef void attach(PyObject *p, Py_ssize_t i) noexcept:
    """Make a new facade that of node i."""
    (<Value> p).index = <int32_t> i
    node_at(i).facade = p
    pin_if_due(p)


cdef inline void attach_new(PyObject *p, Py_ssize_t i) noexcept:
    """Make a facade that is fresh from new_facade that of node i."""
    (<Value> p).index = <int32_t> i
    node_at(i).facade = p


cdef void detach(Value self) noexcept:
    """Take a facade from its node, which may live on without, by its op's own rule."""
    if self.index >= 0:
        node_at(self.index).facade = NULL
        tape.ops[self.index] &= ~USER
        self.index = -1
        tape.renumbered += 1
    if self.pinned:
        self.pinned = False
        tape.pinned -= 1
        Py_DECREF(<PyObject *> self)


cdef object detached(Value v):
    """A new Value with the number of v and no history; in a trace, one through which no gradient passes."""
    cdef Py_ssize_t i
    cdef PyObject *facade = new_facade_of(Py_TYPE(<PyObject *> v))
    result = handed_over(facade)
    reserve(1, 1)
    i = index_of(v)
    if tracing():
        push_edge(<int32_t> i, DETACHED)
        attach(facade, push(OP_PLAIN, node_at(i).data, <int32_t> tape.edges - 1, 1))
    else:
        attach(facade, push(OP_LEAF, node_at(i).data, 0, 0))
    collect_made(recording())
    return result


cdef object facade_of(Py_ssize_t i):
    """The Value of node i: the one there is, else a new one."""
    cdef PyObject *p = node_at(i).facade
    if p != NULL:
        return <object> p
    p = new_facade()
    attach_new(p, i)
    return handed_over(p)


cdef int carry(Value self, str name, object what) except -1:
    """Hang something on a value under a name that is a property of the class."""
    attributes_of(self)[name] = what
    return 0


cdef int drop(Value self, str name) except -1:
    """Undo `carry`: AttributeError if nothing is there."""
    if self.attributes == NULL or name not in <dict> self.attributes:
        raise AttributeError(f'{name} was not assigned')
    del (<dict> self.attributes)[name]
    return 0


cdef dict attributes_of(Value self):
    """The dict of what a value carries, made if need be."""
    if self.attributes == NULL:
        self.attributes = PyDict_New()
        pin_if_due(<PyObject *> self)
    return <dict> self.attributes


cdef object carried_by(Value self, str name):
    return None if self.attributes == NULL else (<dict> self.attributes).get(name)


cdef inline Py_ssize_t edges_of(Py_ssize_t i) noexcept nogil:
    """The number of edges from node i to its parents; a parent used twice counts twice."""
    cdef int op = op_at(i)
    if op == OP_LEAF:
        return 0
    if is_nary(op):
        return node_at(i).rhs
    return 1 if op == OP_POWC else OP_INFO[op].arity    # a constant power is no parent


cdef inline Py_ssize_t parent_at(Py_ssize_t i, Py_ssize_t e) noexcept nogil:
    """The parent of node i at its edge number e."""
    if is_nary(op_at(i)):
        return tape.edge_parent[node_at(i).lhs + e]
    return node_at(i).rhs if e else node_at(i).lhs


cdef double partial_at(Py_ssize_t i, Py_ssize_t e) noexcept nogil:
    """The partial derivative of node i by its edge number e, by its op's own rule."""
    cdef Node *node = node_at(i)
    cdef int op = op_at(i)
    cdef double by_a = 0, by_b = 0
    cdef Edges edges
    if is_nary(op):
        edges = edges_from(node.lhs, node.rhs)
        return nary_partial(op, &edges, e)
    op_reverse(op, node_at(node.lhs).data, node_at(node.rhs).data, node.data, 1, &by_a, &by_b)
    return by_b if e else by_a


cdef tuple parents_of(Value v):
    cdef list parents = []      # made first: that may run Python's collector, and code of the user's
    cdef Py_ssize_t i = index_of(v), e
    for e in range(edges_of(i)):
        parents.append(facade_of(parent_at(i, e)))
    return tuple(parents)


cdef tuple partials_of(Value v):
    cdef list found = []        # made first, as above
    cdef Py_ssize_t i = index_of(v), e
    if op_at(i) != OP_PLAIN:
        for e in range(edges_of(i)):
            found.append(partial_at(i, e))
    return tuple(found)


cdef int user_step(Py_ssize_t i) except -1:
    """Call the closure that stands for node i's reverse step."""
    step = carried_by(<Value> node_at(i).facade, '_backward')
    if step is None:    # taken out of its dict
        reverse_step(i)
    else:
        step()
    return 0


# ---------------------------------------------------------------------------------------- numbers

cdef enum:
    DEEPEST = 200       # structures nest no deeper


LEVELS = DEEPEST


def size_of(shape):
    """The number of elements of an array."""
    size = 1
    for n in shape:
        size *= n
    return size


cdef bint as_number(object x, double *out) except -1:
    """Whether x is a real number; then its value. Strings, complex numbers and Values are not."""
    if PyFloat_Check(x):
        out[0] = PyFloat_AS_DOUBLE(x)
        return True
    if PyLong_Check(x):
        out[0] = PyLong_AsDouble(x)
        return True
    if isinstance(x, Value) or getattr(x, 'ndim', 0):
        return False
    if getattr(getattr(x, 'dtype', None), 'kind', 'f') not in 'biuf':  # numpy's own of other kinds
        return False
    if not hasattr(x, '__float__') and not hasattr(x, '__index__'):
        return False
    out[0] = PyFloat_AsDouble(x)
    return True


cdef inline tuple items_of(given, str name, str what):
    """The items given, as a tuple: `listed`, but fast for tuples and lists."""
    if type(given) is tuple:
        return <tuple> given
    return PyList_AsTuple(given) if type(given) is list else listed(given, name, what)


def listed(given, str name, str what):
    """The items of an iterable, as a tuple; TypeError if it is none."""
    if not hasattr(given, '__iter__') and not hasattr(given, '__getitem__'):
        hint = (' (for one, write [v])' if isinstance(given, Value)
                else ' (but its .parameters() are such)' if callable(getattr(given, 'parameters', None))
                else ' (call it)' if callable(given) else '')
        raise TypeError(f'{name} must be an iterable of {what}, not {type(given).__name__}{hint}')
    return tuple(given)


cdef double as_double(object x, str name) except? -1:
    cdef double out
    if not as_number(x, &out):
        raise TypeError(f'{name} must be a real number, not {type(x).__name__}'
                        + (' (its number is .data)' if isinstance(x, Value) else ''))
    return out


# ------------------------------------------------------------------------------------- operations

cdef inline double evaluate(int op, double a, double b) except? -1:
    """The primal of an operation; where Python raises for the same numbers, its error."""
    cdef double v = op_value(op, a, b)
    if LIKELY(v - v == 0) or OP_INFO[op].raises == NULL:
        return v
    return evaluate_in_python(op, a, b)


cdef double evaluate_in_python(int op, double a, double b) except? -1:
    if tracing():   # programs follow IEEE 754
        return op_value(op, a, b)
    cdef str name = OP_INFO[op].raises.decode()
    function = getattr(operator, name, None) or getattr(math, name)
    result = function(a) if OP_INFO[op].arity == 1 else function(a, b)
    if isinstance(result, complex):
        raise ValueError(f'{a!r} to the power of {b!r} is not a real number')
    return result


cdef inline object binary(int op, object a, object b):
    cdef PyObject *p
    cdef Py_ssize_t i
    cdef double v
    if not LIKELY(is_exact(<PyObject *> a) and is_exact(<PyObject *> b)):
        return binary_mixed(op, a, b)
    if not LIKELY(((<Value> a).index | (<Value> b).index | tape.paused) >= 0):  # none of them is negative
        return binary_mixed(op, a, b)
    v = evaluate(op, node_at((<Value> a).index).data, node_at((<Value> b).index).data)
    reserve(1, 0)
    p = new_facade()
    i = push(op, v, (<Value> a).index, (<Value> b).index)
    attach_new(p, i)
    collect_if_due()
    return handed_over(p)


cdef object binary_mixed(int op, object a, object b):
    """An operation with a number, an array or instances of a subclass among its operands, or not recorded."""
    cdef bint left = isinstance(a, Value), right = isinstance(b, Value)
    cdef PyTypeObject *cls = NULL
    cdef double x = 0, y = 0, v
    cdef int32_t i, j
    if not left and not is_exact(<PyObject *> b):
        # As in micrograd, where 2 * v is v * 2, whatever a subclass makes of that.
        if op == OP_ADD and type(b).__add__ is not Value.__add__:
            return b + a
        if op == OP_MUL and type(b).__mul__ is not Value.__mul__:
            return b * a
    # Numbers first: converting them may run code of the user's, after which indices are others.
    if not left and not as_number(a, &x):
        return elementwise(op, a, b) if getattr(a, 'ndim', 0) else NotImplemented
    if not right and not as_number(b, &y):
        if getattr(b, 'ndim', 0):
            need_numpy()
            refuse_mask(b)
        return NotImplemented
    if left:
        x = node_at(index_of(a)).data
        cls = Py_TYPE(<PyObject *> a)
    if right:
        y = node_at(index_of(b)).data
        cls = result_type(cls, Py_TYPE(<PyObject *> b))
    elif op == OP_POW:
        op = OP_POWC
    v = evaluate(op, x, y)
    cdef PyObject *p = new_facade_of(cls)
    cdef bint recorded = recording()
    result = handed_over(p)
    if not recorded and not tracing():
        return unrecorded(p, v)
    reserve(3, 0)
    i = (<Value> a).index if left else push(OP_LEAF, x, 0, 0)
    j = (<Value> b).index if right else push(OP_LEAF, y, 0, 0)
    attach(p, push(op, v, i, j))
    collect_if_due()
    return result if recorded else detached(result)


cdef object elementwise(int op, array, value):
    """array op value, as numpy applies it to an array of objects."""
    import numpy
    name = {OP_ADD: 'add', OP_SUB: 'subtract', OP_MUL: 'multiply', OP_DIV: 'divide', OP_POW: 'power'}[op]
    return getattr(numpy, name)(array, value)


cdef object apply_unary "apply_unary"(int op, PyObject *a):
    index_of(<object> a)
    cdef double v = node_at((<Value> a).index).data
    v = evaluate(op, v, v)
    cdef PyObject *p = new_facade_of(Py_TYPE(a))
    cdef bint recorded = recording()
    result = handed_over(p)
    if not recorded and not tracing():
        return unrecorded(p, v)
    reserve(1, 0)
    attach(p, push(op, v, (<Value> a).index, (<Value> a).index))
    collect_if_due()
    return result if recorded else detached(result)


cdef object unrecorded(PyObject *p, double primal):
    """The result of an operation that is not recorded: a leaf."""
    reserve(1, 0)
    attach(p, push(OP_LEAF, primal, 0, 0))
    collect_if_unrecorded_due()
    return <object> p


cdef object apply_binary "apply_binary"(int op, PyObject *a, PyObject *b):
    result = binary(op, <object> a, <object> b)
    if result is NotImplemented:
        raise TypeError(f'{OP_INFO[op].name.decode()}() takes a Value or a real number,'
                        f' not {type(<object> b).__name__}')
    return result


cdef PyTypeObject *result_type(PyTypeObject *left, PyTypeObject *right) noexcept:
    """The more derived of two classes, else the left one; left may be NULL."""
    return right if left == NULL or PyType_IsSubtype(right, left) else left


# ------------------------------------------------------------------------- finishing the class

NUMPY_NAMES = dict(arcsin='asin', arccos='acos', arctan='atan', arcsinh='asinh', arccosh='acosh',
                   arctanh='atanh', arctan2='atan2')

cdef void finish_value() except *:
    """What Cython has no words for."""
    cdef PyTypeStruct *cls = <PyTypeStruct *> Value
    cdef PyMethodDef *method = FUNCTION_METHODS
    cls.tp_name = b'micrograd_c.Value'
    cdef Value sample = Value.__new__(Value)
    cls.tp_dealloc = value_dealloc
    cls.tp_dictoffset = <char *> &sample.attributes - <char *> <PyObject *> sample
    cls.tp_weaklistoffset = <char *> &sample.weakrefs - <char *> <PyObject *> sample
    cls.tp_flags &= ~Py_TPFLAGS_IMMUTABLETYPE  # programs add methods to Value after the fact
    while method.ml_name != NULL:
        setattr(Value, method.ml_name.decode(), PyDescr_NewMethod(<PyTypeObject *> cls, method))
        method += 1
    for alias, name in NUMPY_NAMES.items():
        setattr(Value, alias, getattr(Value, name))
    Value.__array_priority__ = 1000.0  # numpy's scalars leave operators to us
    PyType_Modified(<PyTypeObject *> cls)

finish_value()


Op = namedtuple('Op', 'name symbol arity value by_a by_b', module=__name__)

# The op table, a line each: name, symbol, number of operands, and its formulas as text.
OPS = tuple([
    Op(OP_INFO[op].name.decode(), OP_INFO[op].symbol.decode(), OP_INFO[op].arity,
       OP_INFO[op].value.decode(), OP_INFO[op].by_a.decode(), OP_INFO[op].by_b.decode())
    for op in range(OP_LEAF + 1, OP_CHAIN)
])
