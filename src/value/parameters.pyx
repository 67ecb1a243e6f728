# Parameters all at once: one loop over a tuple of Values, for NumPy and for the optimisers.
#
# Each of these functions either does all of its work or none: whatever may raise or run Python code
# (conversions, buffers, allocation) comes first, then `check_params`, then a loop in which nothing can
# fail and no signal is handled. The count of updates is stepped in that loop's function for the same reason.
# Arrays are buffers in Cython's older syntax: a typed memoryview doubles the size of the module.

from libc.math cimport pow as c_pow, sqrt


cdef int check_params(tuple params) except -1:
    """All are Values with a node. Indices are read after it; no Python code may run in between."""
    cdef Py_ssize_t k
    if trace.thread:
        refuse(AT_ONCE)
    for k in range(len(params)):
        if not isinstance(params[k], Value):
            raise TypeError(f'params[{k}] must be a Value, not {type(params[k]).__name__}')
        if (<Value> params[k]).index < 0:
            raise ValueError(f'params[{k}]: {no_node(params[k])}')
    return 0


cdef inline Node *param(tuple params, Py_ssize_t k) noexcept:
    return node_at((<Value> PyTuple_GET_ITEM(params, k)).index)


cdef int check_length(str name, state, Py_ssize_t wanted) except -1:
    if len(state) != wanted:
        raise ValueError(f'{name} must have length {wanted}, not {len(state)}')
    return 0


# ----------------------------------------------------------------------------------- NumPy in and out

def get_data(params):
    """The data of Values, as a new array of float64 of shape (n,).

    params: any iterable. TypeError names the first item that is not a Value.

    >>> get_data([Value(1.0), Value(2.5)]).tolist()
    [1.0, 2.5]
    """
    return gathered(items_of(params, 'params', 'Values'), False)


def get_grad(params):
    """The gradients of Values, as a new array of float64 of shape (n,).

    params: any iterable. TypeError names the first item that is not a Value.

    >>> a, b = Value(2.0), Value(3.0)
    >>> (a * b).backward()
    >>> get_grad([a, b]).tolist()
    [3.0, 2.0]
    """
    return gathered(items_of(params, 'params', 'Values'), True)


cdef object gathered(tuple params, bint gradients):
    import numpy
    cdef Py_ssize_t k
    array = numpy.empty(len(params))
    cdef object[double, mode='c'] out = array
    check_params(params)
    for k in range(len(params)):
        out[k] = param(params, k).grad if gradients else param(params, k).data
    return array


def set_data(params, array):
    """Assign the data of Values, from an array or a sequence of n numbers.

    params: an iterable of n Values. TypeError names the first item of params that is not a Value, or the
    first item of `array` that is not a real number; ValueError if the shape is not (n,). No data has changed then.

    >>> a, b = Value(2.0), Value(3.0)
    >>> set_data([a, b], get_data([a, b]) / 2)
    >>> a.data, b.data
    (1.0, 1.5)
    """
    import numpy
    cdef tuple values = items_of(params, 'params', 'Values')
    cdef Py_ssize_t k
    given = numpy.asarray(array)
    if given.shape != (len(values),):
        raise ValueError(f'array must have shape ({len(values)},), not {given.shape}')
    if given.dtype.kind not in 'biuf':
        given = []
        for k, x in enumerate(array):
            given.append(as_double(x, f'array[{k}]'))
    # A copy: what is checked cannot be written to by others any more.
    cdef object[double, mode='c'] data = numpy.array(given, dtype=numpy.float64, order='C')
    check_params(values)
    for k in range(len(values)):
        param(values, k).data = data[k]


# ------------------------------------------------------------------------------------- update rules
# micrograd_c/optim.py is their face. The rules, and the names in them, are PyTorch's.

def zero_grad(tuple params not None):
    """Set the gradient of every Value to 0."""
    cdef Py_ssize_t k
    check_params(params)
    for k in range(len(params)):
        param(params, k).grad = 0


def clip_grad_norm(tuple params not None, double max_norm):
    """Scale all gradients so that their L2 norm is at most max_norm; returns what it was."""
    cdef Py_ssize_t k
    cdef double total = 0, scale
    check_params(params)
    for k in range(len(params)):
        total += param(params, k).grad * param(params, k).grad
    total = sqrt(total)
    scale = max_norm / (total + 1e-6)
    if not scale > 1:   # as PyTorch has it: a norm of nan makes all gradients nan
        for k in range(len(params)):
            param(params, k).grad *= scale
    return total


def sgd_step(tuple params not None, object[double, mode='c'] updates not None,
             object[double, mode='c'] momentum_buffer not None, *,
             double lr, double momentum, double dampening, double weight_decay, bint nesterov):
    """A step of SGD. updates: of shape (1,), how often the momentum buffer has been updated."""
    cdef Py_ssize_t k
    cdef Node *p
    cdef double g, buffer
    check_length('updates', updates, 1)
    check_length('momentum_buffer', momentum_buffer, len(params))
    cdef bint first = updates[0] == 0
    check_params(params)
    for k in range(len(params)):
        p = param(params, k)
        g = p.grad
        if weight_decay != 0:
            g += weight_decay * p.data
        if momentum != 0:
            buffer = g if first else momentum * momentum_buffer[k] + (1 - dampening) * g
            momentum_buffer[k] = buffer
            g = g + momentum * buffer if nesterov else buffer
        p.data -= lr * g
    if momentum != 0:
        updates[0] += 1


def adam_step(tuple params not None, object[double, mode='c'] updates not None,
              object[double, mode='c'] exp_avg not None, object[double, mode='c'] exp_avg_sq not None, *,
              double lr, betas, double eps, double weight_decay, bint decoupled):
    """A step of Adam, or of AdamW if decoupled. updates: of shape (1,), the steps taken so far."""
    cdef Py_ssize_t k
    cdef Node *p
    cdef double g, m, v, beta1, beta2
    beta1, beta2 = betas
    check_length('updates', updates, 1)
    check_length('exp_avg', exp_avg, len(params))
    check_length('exp_avg_sq', exp_avg_sq, len(params))
    cdef double t = updates[0] + 1
    cdef double step_size = lr / (1 - c_pow(beta1, t))
    cdef double correction = 1 / sqrt(1 - c_pow(beta2, t))
    cdef double decay = 1 - lr * weight_decay if decoupled else 1
    if decoupled:
        weight_decay = 0
    check_params(params)
    for k in range(len(params)):
        p = param(params, k)
        g = p.grad
        if weight_decay != 0:
            g += weight_decay * p.data
        m = beta1 * exp_avg[k] + (1 - beta1) * g
        v = beta2 * exp_avg_sq[k] + (1 - beta2) * g * g
        exp_avg[k] = m
        exp_avg_sq[k] = v
        p.data = p.data * decay - step_size * m / (sqrt(v) * correction + eps)
    updates[0] = t
