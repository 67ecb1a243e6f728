# Nodes with any number of parents: a user's operation given by its partials, sum and dot.

cdef extern from "Python.h":
    PyObject *PyTuple_GET_ITEM(tuple, Py_ssize_t)


cdef int32_t push_given(double primal, tuple parents, tuple given) except -1:
    """Append the node of an operation that is not in the table, without a facade."""
    cdef Py_ssize_t k, count = len(parents)
    cdef int32_t first
    cdef list values = []
    if trace.thread:
        refuse(OWN_OP)
    for k in range(count):
        if not isinstance(parents[k], Value):
            raise TypeError(f'child {k} must be a Value, not {type(parents[k]).__name__}')
    if given and len(given) != count:
        raise ValueError(f'{count} children want as many local_grads, not {len(given)}')
    for k in range(len(given)):
        values.append(as_double(given[k], f'local_grads[{k}]'))
    for k in range(count):
        index_of(parents[k])
    reserve(1, count)
    if not recording():
        return push(OP_LEAF, primal, 0, 0)
    first = <int32_t> tape.edges
    for k in range(count):
        push_edge((<Value> parents[k]).index, values[k] if values else 0.0)
    return push(OP_NARY if given else OP_PLAIN, primal, first, <int32_t> count)


cdef tuple terms_of(object values, name, PyTypeObject **cls):
    """A tuple of nothing but Values and floats; `cls` becomes the class of a result of theirs.

    name: what errors call the values, or a tuple of what they call each.
    """
    cdef tuple terms = items_of(values, name if type(name) is str else 'values', 'Values and numbers')
    cdef list converted
    cdef double number
    for k, x in enumerate(terms):
        if isinstance(x, Value):
            index_of(x)
            cls[0] = result_type(cls[0], Py_TYPE(<PyObject *> x))
        elif not PyFloat_Check(x):
            # Numbers of other kinds: converting them may run code of the user's, so it comes first.
            converted = []
            for k, x in enumerate(terms):
                if isinstance(x, Value):
                    converted.append(x)
                elif as_number(x, &number):
                    converted.append(number)
                else:
                    which = name[k] if isinstance(name, tuple) else f'{name}[{k}]'
                    raise TypeError(f'{which} must be a Value or a real number, not {type(x).__name__}')
            return terms_of(converted, name, cls)
    return terms


cdef inline bint is_value(PyObject *term) noexcept:
    return PyObject_TypeCheck(term, <PyTypeObject *> Value)


cdef inline double primal_of(PyObject *term) noexcept:
    if is_value(term):
        return node_at((<Value> term).index).data
    return PyFloat_AS_DOUBLE(<object> term)


cdef inline int32_t node_of(PyObject *term) noexcept:
    """The index of a Value, or of a new leaf for a number; room must have been reserved."""
    if is_value(term):
        return (<Value> term).index
    return push(OP_LEAF, PyFloat_AS_DOUBLE(<object> term), 0, 0)


cdef object finish_choice(PyObject *facade, int op, Py_ssize_t first):
    """The result of an operation whose number is that of one of its edges, which are those from `first` on."""
    cdef Edges edges = edges_from(first, tape.edges - first)
    return finish_nary(facade, op, nary_value(op, &edges), first)


cdef object finish_nary(PyObject *facade, int op, double primal, Py_ssize_t first):
    """The result of the edges from `first` on: a leaf where there are none, or nothing is recorded."""
    cdef bint recorded = recording()
    if not recorded and not tracing():
        tape.edges = first
    if tape.edges > first:
        attach(facade, push(op, primal, <int32_t> first, <int32_t> (tape.edges - first)))
    else:
        attach(facade, push(OP_LEAF, primal, 0, 0))
    collect_made(recorded)
    return <object> facade if recorded or not tracing() else detached(<Value> facade)


class Sums:
    """Holds `sum`: as a name of the whole module it would hide the builtin."""

    @staticmethod
    def sum(values):
        """The sum of Values and numbers, as one node.

        values: any iterable. TypeError names the first item that is neither. An empty one gives 0.

        >>> import micrograd_c as mg
        >>> a, b = mg.Value(1.0), mg.Value(2.0)
        >>> total = mg.sum([a, b, a, 10])
        >>> total.backward()
        >>> total.data, a.grad, b.grad
        (14.0, 2.0, 1.0)
        """
        cdef PyTypeObject *cls = <PyTypeObject *> Value
        cdef tuple terms = terms_of(values, 'values', &cls)
        cdef Py_ssize_t k, count = len(terms), first
        cdef PyObject *x
        cdef double total = -0.0 if count else 0.0     # what nothing is added to
        cdef PyObject *facade = new_facade_of(cls)
        cdef bint all_terms = tracing()     # numbers, too, are edges
        result = handed_over(facade)
        reserve(1 + (count if all_terms else 0), count)
        first = tape.edges
        for k in range(count):
            x = PyTuple_GET_ITEM(terms, k)
            total += primal_of(x)
            if is_value(x) or all_terms:
                push_edge(node_of(x), 1)
        return finish_nary(facade, OP_SUM, total, first)


def where(test, a, b):
    """a if test > 0, else b: one node. The gradient goes to the one that is chosen. If test is nan, b is chosen.

    test: a Value or number. a, b: Values, numbers, or functions without arguments that return one. No gradient
    goes to the test. In a compiled function, this is how to choose by numbers that depend on its arguments.

    The one that is not chosen contributes nothing to a derivative of any order, even if it or its derivative is
    infinite or nan: where(x, x.sqrt(), 0) has the gradient 0 at 0. JAX and PyTorch need a second `where` around
    the argument for this.

    Python computes the arguments of a call before the call. So in eager code, where(x, x.log(), 0) raises the
    error of `log` at 0. With where(x, lambda: x.log(), 0), only the one that is chosen is computed; while a
    function is traced, both are.

    TypeError if test, a or b is neither a Value nor a real number.

    >>> x = Value(0.0)
    >>> y = where(x, lambda: x.log(), 5 * x)
    >>> y.backward()
    >>> y.data, x.grad
    (0.0, 5.0)
    """
    cdef PyTypeObject *cls = <PyTypeObject *> Value
    cdef tuple terms = terms_of((test,), ('test',), &cls)
    cdef bint both = tracing(), chosen = primal_of(PyTuple_GET_ITEM(terms, 0)) > 0
    if callable(a) and not isinstance(a, Value):
        a = a() if both or chosen else 0.0
    if callable(b) and not isinstance(b, Value):
        b = b() if both or not chosen else 0.0
    terms = terms_of((test, a, b), ('test', 'a', 'b'), &cls)
    if chosen != (primal_of(PyTuple_GET_ITEM(terms, 0)) > 0):
        raise ValueError('where: a branch assigned another number to the test, which had chosen it')
    cdef Py_ssize_t first, k
    cdef PyObject *facade = new_facade_of(cls)
    result = handed_over(facade)
    reserve(4, 3)
    first = tape.edges
    for k in range(3):
        push_edge(node_of(PyTuple_GET_ITEM(terms, k)), 0)
    return finish_choice(facade, OP_WHERE, first)


def dot(xs, ys, start=None):
    """The sum of the products of two sequences of Values and numbers, as one node.

    xs, ys: iterables of one length, else ValueError. start: a Value or number to begin the sum with.
    Products are added from left to right, so the result is that of `sum((x*y ...), start)`.

    >>> w = [Value(1.0), Value(2.0)]
    >>> n = dot(w, [3, 4], start=Value(0.5))
    >>> n.backward()
    >>> n.data, w[0].grad, w[1].grad
    (11.5, 3.0, 4.0)
    """
    cdef PyTypeObject *cls = <PyTypeObject *> Value
    cdef tuple left = terms_of(xs, 'xs', &cls), right = terms_of(ys, 'ys', &cls)
    cdef tuple last
    cdef Py_ssize_t k, count = len(left), first
    last = terms_of(((-0.0 if count else 0.0) if start is None else start,), ('start',), &cls)
    cdef PyObject *x
    cdef PyObject *y
    if len(right) != count:
        raise ValueError(f'dot() takes two sequences of one length, not {count} and {len(right)}')
    cdef PyObject *facade = new_facade_of(cls)
    cdef bint all_terms = tracing()     # numbers, too, are edges
    result = handed_over(facade)
    reserve(2 + 2 * count if all_terms else 1 + count, 2 * count + 1)
    cdef PyObject *z = PyTuple_GET_ITEM(last, 0)
    cdef double total = primal_of(z)
    first = tape.edges
    for k in range(count):
        x = PyTuple_GET_ITEM(left, k)
        y = PyTuple_GET_ITEM(right, k)
        total += primal_of(x) * primal_of(y)
        if is_value(x) or is_value(y) or all_terms:
            push_edge(node_of(x), 0)
            push_edge(node_of(y), 0)
    if is_value(z) or all_terms and start is not None:
        push_edge(node_of(z), 0)
    return finish_nary(facade, OP_DOT, total, first)


def take_node(list rows, Value index):
    """The node of the row (a Value or number) that `index` selects at run time."""
    cdef PyTypeObject *cls = <PyTypeObject *> Value
    cdef tuple terms = terms_of(rows, 'rows', &cls)
    cdef Py_ssize_t k, first, count = len(terms)
    cdef PyObject *facade = new_facade_of(cls)
    result = handed_over(facade)
    reserve(1 + count, 1 + count)
    first = tape.edges
    push_edge(<int32_t> index_of(index), 0)
    for k in range(count):
        push_edge(node_of(PyTuple_GET_ITEM(terms, k)), 0)
    return finish_choice(facade, OP_TAKE, first)
