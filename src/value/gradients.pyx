# What sweeps are asked for, and derivatives of the graph on the tape. micrograd_c/autograd.py is
# the face of what is public here.

from libc.math cimport isfinite

cdef extern from "bits.h" nogil:
    """
    static THREAD_LOCAL int sweeps_here;
    """
    int sweeps_here         # sweeps of `sweep_reached` that are under way in this thread


# ---------------------------------------------------------------------------------- leaves and requests

cdef int kind_of_request(object grad_req) except -1:
    if isinstance(grad_req, str):
        if grad_req == 'add':
            return GRAD_ADD
        if grad_req == 'write':
            return GRAD_WRITE
        if grad_req == 'null':
            return GRAD_NULL
    raise ValueError(f"grad_req must be 'write', 'add' or 'null', not {grad_req!r}")


cdef object request_of(Py_ssize_t i):
    """What attach_grad asked for at leaf i, or None."""
    return {GRAD_ADD: 'add', GRAD_WRITE: 'write', GRAD_NULL: 'null'}.get(node_at(i).rhs)


cdef int forget_history(Py_ssize_t i, int kind, list carried) except -1:
    """Make node i a leaf of that kind. What its facade carried of the operation moves to `carried`."""
    cdef PyObject *facade = node_at(i).facade
    if tape.ops[i] != OP_LEAF and facade != NULL and (<Value> facade).attributes != NULL:
        carried.append((<dict> (<Value> facade).attributes).pop('_backward', None))
        carried.append((<dict> (<Value> facade).attributes).pop('_op', None))
    tape.special -= is_special(i)
    tape.ops[i] = OP_LEAF
    node_at(i).lhs = 0
    node_at(i).rhs = kind
    tape.special += is_special(i)
    return 0


cdef object freed_error():
    return ValueError('the graph was freed: a backward(retain_graph=False) has been through a node that this needs;'
                      ' retain the graph there, or compute the value anew')


# ---------------------------------------------------------------------------------------------- sweeps

cdef class Reached:
    """The nodes that some Values reach, leaves included, children before parents. Valid while tape.hold is not 0."""
    cdef int32_t *nodes
    cdef double *grads      # saved gradients of theirs, or NULL
    cdef Py_ssize_t count
    cdef Py_ssize_t room
    cdef bint freed         # whether a node that was freed is among them

    def __dealloc__(self):
        free(self.nodes)
        free(self.grads)


cdef Reached reached_from(list heads, Py_ssize_t floor):
    """What heads reach, without the nodes before `floor`. ValueError if one of them was freed.

    Time and memory grow with what is reached, at about half of what a reverse sweep costs.
    """
    cdef Reached r = Reached.__new__(Reached)
    cdef Claim claim
    cdef Py_ssize_t i = -1, k
    for k in range(len(heads)):
        i = max(i, index_of(heads[k]))
    claim_marks(&claim, max(i, 0))
    try:
        for k in range(len(heads)):
            mark_from(claim.marks, (<Value> heads[k]).index, floor)
        i = highest_mark(claim.marks, max(i, 0))
        while i >= 0:
            if r.room - r.count < 64:
                grow_reached(r)
            i = reach_word(r, claim.marks, i, floor)
    except:
        while i >= 0:
            unmark(claim.marks, i)
            i = highest_mark(claim.marks, i)
        raise
    finally:
        return_marks(&claim)
    if r.freed:
        raise freed_error()
    return r


cdef int grow_reached(Reached r) except -1:
    cdef void *p = realloc(r.nodes, (2 * r.room + 256) * sizeof(int32_t))
    if p == NULL:
        raise MemoryError
    r.nodes = <int32_t *> p
    r.room = 2 * r.room + 256
    return 0


cdef inline void mark_from(Marks *marks, Py_ssize_t i, Py_ssize_t floor) noexcept nogil:
    if i >= floor:
        mark(marks, i)


cdef Py_ssize_t reach_word(Reached r, Marks *marks, Py_ssize_t i, Py_ssize_t floor) noexcept nogil:
    """Take the nodes of one word of marks, i the highest; the next node that is marked, or -1."""
    cdef uint64_t *level = marks.level[0]
    cdef Py_ssize_t word = i >> 6, e
    cdef uint64_t bits = level[word]
    cdef Node *node
    cdef int op
    while bits:
        i = word << 6 | highest_bit(bits)
        CHECK(r.count < r.room)
        r.nodes[r.count] = <int32_t> i
        r.count += 1
        node = node_at(i)
        op = op_at(i)
        if is_nary(op):
            level[word] = bits  # with the bit of i: the summary stands
            for e in range(node.lhs, node.lhs + <Py_ssize_t> node.rhs):
                mark_from(marks, tape.edge_parent[e], floor)
            bits = level[word]
        elif op != OP_LEAF:
            if node.lhs >= floor:
                if node.lhs >> 6 == word:
                    bits |= <uint64_t> 1 << (node.lhs & 63)
                else:
                    mark(marks, node.lhs)
            if node.rhs >= floor:
                if node.rhs >> 6 == word:
                    bits |= <uint64_t> 1 << (node.rhs & 63)
                else:
                    mark(marks, node.rhs)
        elif node.rhs == FREED:
            r.freed = True
        bits &= ~(<uint64_t> 1 << (i & 63))
    level[word] = 0
    unmark_summary(marks, i)
    return highest_mark(marks, i)


cdef Py_ssize_t position_of(Reached r, Py_ssize_t i) noexcept nogil:
    """Where node i stands in r, or -1."""
    cdef Py_ssize_t low = 0, high = r.count, middle
    while low < high:
        middle = (low + high) // 2
        if r.nodes[middle] > i:
            low = middle + 1
        else:
            high = middle
    return low if low < r.count and r.nodes[low] == i else -1


cdef int keep_grads(Reached r) except -1:
    """Save the gradients of the nodes of r."""
    cdef Py_ssize_t k
    r.grads = <double *> malloc((r.count + 1) * sizeof(double))
    if r.grads == NULL:
        raise MemoryError
    for k in range(r.count):
        r.grads[k] = node_at(r.nodes[k]).grad
    return 0


cdef void clear_grads(Reached r) noexcept:
    cdef Py_ssize_t k
    for k in range(r.count):
        node_at(r.nodes[k]).grad = 0


cdef void restore_grads(Reached r) noexcept:
    cdef Py_ssize_t k
    for k in range(r.count):
        node_at(r.nodes[k]).grad = r.grads[k]


cdef int sweep_reached(Reached r) except -1:
    """Every node of r takes its reverse step: as `reverse_sweep`, where the way is known already."""
    cdef Py_ssize_t k = 0
    cdef bint careful = debugging()
    global sweeps_here
    sweeps_here += 1
    tape.sweeping += 1
    tape.hold += 1
    try:
        while k < r.count:
            if careful:
                careful_step(r.nodes[k])
                k += 1
            elif tape.ops[r.nodes[k]] & USER:
                user_step(r.nodes[k])
                k += 1
            else:
                k = reverse_stretch(r, k)
            PyErr_CheckSignals()
    finally:
        sweeps_here -= 1
        tape.sweeping -= 1
        tape.hold -= 1
    return 0


cdef Py_ssize_t reverse_stretch(Reached r, Py_ssize_t k) noexcept nogil:
    """Sweep from number k to a node whose step is the user's, or at least some way; the next number."""
    cdef Py_ssize_t end = min(r.count, k + (1 << 16)), i
    cdef int op
    while k < end:
        i = r.nodes[k]
        op = tape.ops[i]
        if OP_LEAF < op < FIRST_NARY:
            reverse_op(node_at(i), op)
        elif op & USER:
            break
        elif op != OP_LEAF:
            reverse_nary(node_at(i), op)
        k += 1
    return k


cdef int backward_from(list heads, list weights, bint retain_graph) except -1:
    """The gradient of each head is set to the sum of its weights (None: ones), then all is swept at once.

    What attach_grad asked for is looked after by the outermost sweep of a thread: a closure that sweeps
    itself adds its share to what that finds. If a sweep fails, these leaves get their old gradients back,
    while those of other nodes keep what has been added so far, as in micrograd. Under debug_nans all that it reached
    get theirs back.

    micrograd passes on all that an operation's gradient has accumulated, over calls, too. Where a new gradient is
    to be written, only what is new passes, and is added to the operations' gradients in the end.
    """
    cdef Reached r
    cdef Py_ssize_t k, i
    cdef bint outermost = sweeps_here == 0, done = False, writes = False, careful = debugging()
    cdef list carried = []
    if retain_graph and not tape.special and not careful:
        sweep_heads(heads, weights)
        return 0
    tape.hold += 1
    try:
        r = reached_from(heads, 0)
        if outermost and (tape.special or careful):
            keep_grads(r)
            for k in range(r.count):
                writes = writes or grad_kind(r.nodes[k]) == GRAD_WRITE
            if writes:
                for k in range(r.count):
                    if grad_kind(r.nodes[k]) == GRAD_WRITE or tape.ops[r.nodes[k]] != OP_LEAF:
                        node_at(r.nodes[k]).grad = 0
                for k in range(len(heads)):
                    i = index_of(heads[k])
                    if tape.ops[i] != OP_LEAF:
                        r.grads[position_of(r, i)] = 0
        set_weights(heads, weights)
        try:
            sweep_reached(r)
            done = True
        finally:
            if r.grads != NULL:
                for k in range(r.count):
                    i = r.nodes[k]
                    if grad_kind(i) == GRAD_NULL or not done and (careful or grad_kind(i) == GRAD_WRITE):
                        node_at(i).grad = r.grads[k]
                    elif writes and tape.ops[i] != OP_LEAF:
                        node_at(i).grad += r.grads[k]
        if not retain_graph and not tape.sweeping:  # a sweep around this one may need the graph still
            for k in range(r.count):
                if op_at(r.nodes[k]) != OP_LEAF:
                    forget_history(r.nodes[k], FREED, carried)
    finally:
        tape.hold -= 1
    return 0


cdef inline int grad_kind(Py_ssize_t i) noexcept nogil:
    return node_at(i).rhs if op_at(i) == OP_LEAF else PLAIN_LEAF


cdef int sweep_heads(list heads, list weights) except -1:
    """Sweep from the heads, if every leaf wants the sweep to add to its gradient, and nothing else."""
    cdef Py_ssize_t k
    cdef int32_t *roots = <int32_t *> malloc(len(heads) * sizeof(int32_t) + 1)
    if roots == NULL:
        raise MemoryError
    try:
        for k in range(len(heads)):
            roots[k] = <int32_t> index_of(heads[k])
        set_weights(heads, weights)
        reverse_sweep(roots, len(heads))
    finally:
        free(roots)
    return 0


cdef int set_weights(list heads, list weights) except -1:
    cdef Py_ssize_t k
    for k in range(len(heads)):
        node_at(index_of(heads[k])).grad = 0
    return add_weights(heads, weights)


cdef int add_weights(list heads, list weights) except -1:
    cdef Py_ssize_t k
    for k in range(len(heads)):
        node_at(index_of(heads[k])).grad += 1 if weights is None else <double> weights[k]
    return 0


cdef list gradients_of(list heads, list weights, list variables):
    """The derivative of the weighted sum of heads by each variable; None where they do not reach it.

    No gradient on the tape is changed: those of all nodes reached are the sweep's scratch, and put back.
    """
    cdef list found = [None] * len(variables)
    cdef Reached r
    cdef Py_ssize_t k, at
    tape.hold += 1
    try:
        r = reached_from(heads, 0)
        keep_grads(r)
        try:
            clear_grads(r)
            add_weights(heads, weights)
            sweep_reached(r)
            for k in range(len(variables)):
                at = position_of(r, (<Value> variables[k]).index)
                if at >= 0:
                    found[k] = node_at(r.nodes[at]).grad
        finally:
            restore_grads(r)
    finally:
        tape.hold -= 1
    return found


cdef list tangents_of(list heads, list variables, list seeds):
    """The derivative of each head in the direction of the seeds (None: ones) of the variables.

    One forward sweep over what lies between. Tangents stand in the place of gradients, which are put back;
    the marks are of the nodes that depend on a variable. No code of the user's runs meanwhile.
    """
    cdef Reached r
    cdef Claim claim
    cdef Py_ssize_t k, i, low = INT32_MAX
    cdef list found = [0.0] * len(heads)
    cdef bint careful = debugging()
    for k in range(len(variables)):
        low = min(low, index_of(variables[k]))
    tape.hold += 1
    try:
        r = reached_from(heads, low)
        if r.count == 0:
            return found
        keep_grads(r)
        claim_marks(&claim, r.nodes[0])
        try:
            clear_grads(r)
            for k in range(len(variables)):
                i = index_of(variables[k])
                if position_of(r, i) >= 0:
                    node_at(i).grad += 1 if seeds is None else <double> seeds[k]
                    mark(claim.marks, i)
            for k in range(r.count - 1, -1, -1):
                forward_step(r.nodes[k], claim.marks)
                if careful:
                    check_tangent(r.nodes[k], claim.marks)
            for k in range(len(heads)):
                i = index_of(heads[k])
                if i >= low:
                    found[k] = node_at(i).grad
        finally:
            restore_grads(r)
            unmark_reached(r, &claim)
    finally:
        tape.hold -= 1
    return found


cdef int forward_step(Py_ssize_t i, Marks *marks) except -1:
    """Add to the tangent of node i its share of those of the parents that are marked; mark it if any is.

    A tangent of 0 adds nothing, though the partial is infinite; nor does one that is, of what is not chosen.
    """
    cdef Py_ssize_t e, parent
    cdef double partial
    for e in range(edges_of(i)):
        parent = parent_at(i, e)
        if marked(marks, parent):
            check_partials(i)
            partial = partial_at(i, e)
            if node_at(parent).grad != 0 and (partial != 0 or not OP_INFO[op_at(i)].traits & CHOOSES):
                node_at(i).grad += partial * node_at(parent).grad
            mark(marks, i)
    return 0


cdef int check_partials(Py_ssize_t i) except -1:
    """ValueError if the partials of node i are not known."""
    if tape.ops[i] & USER:
        name = carried_by(facade_of(i), '_op') or OP_INFO[op_at(i)].symbol.decode()
        raise ValueError(f'only its _backward closure knows the partial derivatives of the operation {name!r}:'
                         f' give it local_grads instead')
    return 0


cdef void unmark_reached(Reached r, Claim *claim) noexcept:
    cdef Py_ssize_t k
    for k in range(r.count):
        unmark(claim.marks, r.nodes[k])
    return_marks(claim)


# ------------------------------------------------------------------------- sweeps that look for nans

cdef bint finite_operation(Py_ssize_t i) noexcept nogil:
    """Whether node i, its parents and its adjoint are finite numbers."""
    cdef Py_ssize_t e
    for e in range(edges_of(i)):
        if not isfinite(node_at(parent_at(i, e)).data):
            return False
    return isfinite(node_at(i).data)


cdef int careful_step(Py_ssize_t i) except -1:
    """The reverse step of node i: FloatingPointError if it makes a gradient that is not finite of one that is."""
    cdef Py_ssize_t e
    cdef bint finite = isfinite(node_at(i).grad) and finite_operation(i)
    before = [node_at(parent_at(i, e)).grad for e in range(edges_of(i))] if finite else []
    if tape.ops[i] & USER:
        user_step(i)
    else:
        reverse_step(i)
    for e in range(min(<Py_ssize_t> len(before), edges_of(i))):
        if isfinite(<double> before[e]) and not isfinite(node_at(parent_at(i, e)).grad):
            raise sweep_error(i, node_at(parent_at(i, e)).grad, True)
    return 0


cdef int check_tangent(Py_ssize_t i, Marks *marks) except -1:
    """FloatingPointError if the tangent of node i is not finite, though all it was made from is."""
    cdef Py_ssize_t e
    if isfinite(node_at(i).grad) or not finite_operation(i) or not edges_of(i):
        return 0
    for e in range(edges_of(i)):
        if marked(marks, parent_at(i, e)) and not isfinite(node_at(parent_at(i, e)).grad):
            return 0
    raise sweep_error(i, node_at(i).grad, False)


cdef object sweep_error(Py_ssize_t i, double made, bint reverse):
    return python.sweep_error(facade_of(i), made, reverse)


# ------------------------------------------------------------------------------------------- structures
# Heads and variables: a Value, an array of Values, or a list or tuple of such. Numbers go with them in the
# same structure, and come back in it.

cdef list values_in(object x, str name):
    """The Values of a structure, in its order."""
    cdef list values = []
    take_values(x, name, values, 0)
    return values


cdef int take_values(object x, str name, list values, int depth) except -1:
    if isinstance(x, Value):
        index_of(x)
        values.append(x)
    elif isinstance(x, (list, tuple)):
        if depth > DEEPEST:
            raise ValueError(f'{name} is nested deeper than {DEEPEST} levels')
        for k, item in enumerate(x):
            if isinstance(item, Value) and (<Value> item).index >= 0:
                values.append(item)
            else:
                take_values(item, f'{name}[{k}]', values, depth + 1)
    elif is_array(x):
        for k, item in enumerate(x.ravel().tolist()):
            if not isinstance(item, Value):
                raise TypeError(f'{name}[{place_in(x, k)}] must be a Value, not {type(item).__name__}')
            index_of(item)
            values.append(item)
    else:
        raise TypeError(f'{name} must be a Value, an array of Values, or a list or tuple of such,'
                        f' not {type(x).__name__}')
    return 0


cdef bint is_array(object x):
    return hasattr(x, 'ndim') and hasattr(x, 'ravel') and hasattr(x, 'shape')


cdef object place_in(object array, Py_ssize_t k):
    """The index of item number k of an array, as text."""
    import numpy
    return ', '.join([str(i) for i in numpy.unravel_index(k, array.shape)])


cdef list numbers_like(object like, str like_name, list values, object x, str name):
    """The numbers of x, one for each of the values of `like`; None stands for ones, also as a part of x."""
    cdef list numbers = []
    if x is None:
        return None
    take_numbers(like, like_name, x, name, numbers)
    if len(numbers) != len(values):     # they were changed meanwhile
        raise ValueError(f'{name} must be {len(values)} numbers, as {like_name} is, not {len(numbers)}')
    return numbers


cdef int take_numbers(object like, str like_name, object x, str name, list numbers) except -1:
    if x is None:
        numbers.extend([1.0] * len(values_in(like, like_name)))
    elif isinstance(like, Value):
        numbers.append(as_double(x, name))
    elif isinstance(like, (list, tuple)):
        if not isinstance(x, (list, tuple)) and not (is_array(x) and x.ndim):
            raise TypeError(f'{name} must be a list of {len(like)}, as {like_name} is, not {type(x).__name__}')
        if len(x) != len(like):
            raise ValueError(f'{name} must have length {len(like)}, as {like_name} has, not {len(x)}')
        for k, (part, item) in enumerate(zip(like, x)):
            if isinstance(part, Value) and type(item) is float:
                numbers.append(item)
            else:
                take_numbers(part, f'{like_name}[{k}]', item, f'{name}[{k}]', numbers)
    else:
        import numpy
        array = numpy.asarray(x)
        if array.shape != like.shape:
            raise ValueError(f'{name} must have shape {like.shape}, as {like_name} has, not {array.shape}')
        for k, item in enumerate(array.ravel().tolist()):
            numbers.append(item if type(item) is float else as_double(item, f'{name}[{place_in(array, k)}]'))
    return 0


cdef object structured(object like, object numbers):
    """The numbers of an iterator in the structure `like`: floats, lists of them, and arrays."""
    cdef list items = []
    if isinstance(like, Value):
        return next(numbers)
    if isinstance(like, (list, tuple)):
        for item in like:
            items.append(structured(item, numbers))
        return items
    import numpy
    for _ in range(like.size):
        items.append(next(numbers))
    return numpy.array(items, numpy.float64).reshape(like.shape)


cdef object place_of(object x, str name, Py_ssize_t k):
    """The name of Value number k of a structure."""
    cdef Py_ssize_t count
    if isinstance(x, Value):
        return name
    if isinstance(x, (list, tuple)):
        for i, item in enumerate(x):
            count = len(values_in(item, name))
            if k < count:
                return place_of(item, f'{name}[{i}]', k)
            k -= count
    return f'{name}[{place_in(x, k)}]'


cdef int check_heads(object heads, list values, list variables) except -1:
    """ValueError if there is no head, or one without a graph: a leaf that is none of the variables.

    An array is one head: it has a graph if any of its elements has.
    """
    if not values:
        raise ValueError('heads has no Values')
    for v in values:
        if not has_graph(v, ()):
            check_graphs(heads, 'heads', {id(v) for v in variables})
            break
    return 0


cdef int check_graphs(object x, str name, object variables) except -1:
    if isinstance(x, (list, tuple)):
        for k, item in enumerate(x):
            if not (isinstance(item, Value) and has_graph(item, variables)):
                check_graphs(item, f'{name}[{k}]', variables)
        return 0
    for v in values_in(x, name):
        if has_graph(v, variables):
            return 0
    raise ValueError(f'{name} has no graph: no recorded operation made it, and attach_grad() was not called on it')


cdef bint has_graph(Value v, object variables) except -1:
    cdef Py_ssize_t i = index_of(v)
    return tape.ops[i] != OP_LEAF or node_at(i).rhs != PLAIN_LEAF or id(v) in variables


# ------------------------------------------------------------------------------------ what may be asked

def backward(heads, head_gradients=None, retain_graph=True):
    """Set the gradient of each head to its head gradient, and sweep once from all of them.

    heads: a Value, an array of Values, or a list or tuple of these. head_gradients: numbers in the structure
    of heads, or None for ones. If one head was made from another, the gradient of the other is its own head
    gradient and what comes from the first; if a head is named twice, its head gradients are added. With
    retain_graph=False, the operations that the sweep reached forget their history.

    ValueError if a head has no graph, or if lengths or shapes differ; TypeError if an item is neither a Value
    nor a number. Nothing has changed then.

    >>> from micrograd_c import autograd
    >>> x = Value(3.0)
    >>> autograd.backward([x * x, 2 * x], [1.0, 10.0])
    >>> x.grad
    26.0
    """
    if trace.thread:
        refuse(BACKWARD)
    cdef list values = values_in(heads, 'heads')
    cdef list weights = numbers_like(heads, 'heads', values, head_gradients, 'head_gradients')
    cdef bint retain = retain_graph
    check_heads(heads, values, [])
    backward_from(values, weights, retain)


def grad(heads, variables, head_gradients=None, allow_unused=True):
    """The derivatives of the sum of heads by variables, each head weighted by its head gradient.

    No `.grad` is changed. heads, variables: a Value, an array of Values, or a list or tuple of these; a
    variable may be the result of an operation. head_gradients: numbers in the structure of heads, or None for
    ones. Returns floats in the structure of variables: lists, and arrays of float64. A variable that no head
    depends on gives 0, or with allow_unused=False a ValueError that names it.

    ValueError if a head has no graph, or if lengths or shapes differ; TypeError if an item is neither a Value
    nor a number.

    >>> from micrograd_c import autograd
    >>> x, y = Value(3.0), Value(2.0)
    >>> u = x * y
    >>> autograd.grad(u * x, [x, y, u])
    [12.0, 9.0, 3.0]
    >>> x.grad
    0.0
    """
    if trace.thread:
        refuse(DERIVED)
    cdef list values = values_in(heads, 'heads'), by = values_in(variables, 'variables'), found
    cdef list weights = numbers_like(heads, 'heads', values, head_gradients, 'head_gradients')
    cdef Py_ssize_t k
    check_heads(heads, values, by)
    found = gradients_of(values, weights, by)
    for k in range(len(found)):
        if found[k] is None:
            if not allow_unused:
                raise ValueError(f'heads do not depend on {place_of(variables, "variables", k)}'
                                 f' (allow_unused=True gives 0)')
            found[k] = 0.0
    return structured(variables, iter(found))


def jvp(heads, variables, tangents=None):
    """The derivatives of heads in the direction of tangents, one for each variable: forward mode.

    It is one forward sweep over the graph between variables and heads, with the numbers as they stand. No
    `.grad` is changed. heads, variables: a Value, an array of Values, or a list or tuple of these; a variable
    may be the result of an operation. tangents: numbers in the structure of variables, or None for ones.
    Returns floats in the structure of heads: lists, and arrays of float64. For each head it is the sum, over
    the variables, of the derivative by the variable times its tangent.

    ValueError if a head has no graph, if lengths or shapes differ, or if an operation between has a
    `_backward` closure in place of partials; TypeError if an item is neither a Value nor a number.

    >>> from micrograd_c import autograd
    >>> x, y = Value(3.0), Value(2.0)
    >>> autograd.jvp([x * y, x - y], [x, y], [1.0, 10.0])
    [32.0, -9.0]
    """
    if trace.thread:
        refuse(DERIVED)
    cdef list values = values_in(heads, 'heads'), by = values_in(variables, 'variables')
    cdef list seeds = numbers_like(variables, 'variables', by, tangents, 'tangents')
    check_heads(heads, values, by)
    return structured(heads, iter(tangents_of(values, by, seeds)))


def partials(Value v not None):
    """The parents of a node and its derivatives by them: a list of pairs (parent, derivative), [] for a leaf.

    The pairs are in the order of the operands; a parent that is used twice has two. Numbers among the operands
    are leaves, but an exponent that is a number is not a parent. ValueError if only a `_backward` closure knows
    the derivatives.

    >>> a, b = Value(2.0), Value(3.0)
    >>> [(parent.data, derivative) for parent, derivative in partials(a * b)]
    [(2.0, 3.0), (3.0, 2.0)]
    """
    if trace.thread:
        refuse_value(v, READ_DATA)
    cdef tuple parents = parents_of(v)
    cdef Py_ssize_t i = index_of(v)
    if parents:
        check_partials(i)
    elif grad_kind(i) == FREED:
        raise freed_error()
    return list(zip(parents, [0.0] * len(parents) if op_at(i) == OP_PLAIN else partials_of(v)))


def links(Value y not None, Value x not None):
    """From the nodes between x and y, y included, to parents that depend on x, or are x.

    {id(node): [(parent, derivative), ...]}; empty where y does not depend on x, or is x.
    """
    if trace.thread:
        refuse_value(y, READ_DATA)
    cdef Reached r
    cdef Claim claim
    cdef Py_ssize_t k, e, i, parent, low = index_of(x)
    cdef dict found = {}
    tape.hold += 1
    try:
        low = index_of(x)
        r = reached_from([y], low)
        if position_of(r, low) < 0:
            return found
        claim_marks(&claim, r.nodes[0])
        try:
            mark(claim.marks, low)
            for k in range(r.count - 2, -1, -1):
                i = r.nodes[k]
                for e in range(edges_of(i)):
                    if marked(claim.marks, parent_at(i, e)):
                        check_partials(i)
                        mark(claim.marks, i)
                        break
            for k in range(r.count - 1):
                i = r.nodes[k]
                if not marked(claim.marks, i):
                    continue
                node = facade_of(i)
                pairs = found[id(node)] = []
                for e in range(edges_of(i)):
                    parent = parent_at(i, e)
                    if marked(claim.marks, parent):
                        pairs.append((facade_of(parent), partial_at(i, e)))
        finally:
            unmark_reached(r, &claim)
    finally:
        tape.hold -= 1
    return found


def count_paths(Value y not None, Value x not None):
    """The number of paths from x to y, exactly: an int of any size. Two edges to one parent are two paths.

    It is 1 if y is x, and 0 if y does not depend on x. It takes one sweep over the graph between, which adds
    up the numbers of paths.

    >>> x = y = Value(1.0)
    >>> for _ in range(100):
    ...     y = y * y
    >>> count_paths(y, x) == 2**100
    True
    """
    cdef Reached r
    cdef Py_ssize_t k, i, e, parent, low
    cdef dict ways = {}     # from y to nodes that are yet to be visited: what is done with is let go
    tape.hold += 1
    try:
        low = index_of(x)
        ways[index_of(y)] = 1
        r = reached_from([y], low)
        for k in range(r.count):
            i = r.nodes[k]
            if i == low or i not in ways:   # a constant power is reached, but by no edge
                continue
            count = ways.pop(i)
            for e in range(edges_of(i)):
                parent = parent_at(i, e)
                if parent >= low:
                    ways[parent] = ways.get(parent, 0) + count
            if k & 0xfff == 0:
                PyErr_CheckSignals()
    finally:
        tape.hold -= 1
    return ways.get(low, 0)
