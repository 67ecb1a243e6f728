# Arguments and results: nested structures, taken apart into a signature and flat numbers, and put together.
#
# A signature is a tuple, in the order of a walk from left to right:
#   'f', 'i'            a number, which is an input of the program; an integer, likewise
#   ('=', type, x)      a bool, a string, None, an integer too long for a double, bool array: part of the signature
#   ('a', shape, kind)  an array of numbers, kind 'f' or 'i': as many inputs as it has elements
#   ('o', shape)        an array of objects; its elements follow
#   ('[', n), ('(', n)  a list, a tuple of n items, which follow
#   ('n', type)         a namedtuple, its fields follow
#   ('{', keys)         a dict, its values follow
#   ('k', names)        the arguments after this are given by keyword

cdef double LONGEST = 2.0**53   # integers up to here are exact as doubles


cdef class Inputs:
    """The arguments of a call, taken apart: signature, numbers, and the Values among them."""
    cdef list spec
    cdef double *numbers
    cdef Py_ssize_t count, room
    cdef list values        # (number of the input, Value), or None
    cdef list integers      # (number of the input, Integer of the trace that is on), or None
    cdef object argument    # the name of the argument being taken apart, for errors

    def __cinit__(self):
        self.spec = []

    def __dealloc__(self):
        free(self.numbers)


cdef int make_room(Inputs into, Py_ssize_t more) except -1:
    cdef void *p
    if into.count + more >= into.room:     # so there is some memory even for none
        p = realloc(into.numbers, (2 * into.room + more + 8) * sizeof(double))
        if p == NULL:
            raise MemoryError
        into.numbers = <double *> p
        into.room = 2 * into.room + more + 8
    return 0


cdef inline int add_number(Inputs into, double x, object kind) except -1:
    make_room(into, 1)
    into.numbers[into.count] = x
    into.count += 1
    into.spec.append(kind)
    return 0


cdef int take_apart(Inputs into, object x, int depth) except -1:
    """Append what an argument holds."""
    cdef double number
    if PyFloat_Check(x):
        return add_number(into, PyFloat_AS_DOUBLE(x), 'f')
    if isinstance(x, Value):
        number = node_at(index_of(x)).data
        if into.values is None:
            into.values = []
        into.values.append((into.count, x))
        return add_number(into, number, 'f')
    if depth > DEEPEST:
        raise ValueError(f'{argument_text(into.argument)} is nested deeper than {DEEPEST} levels')
    if type(x) is int:
        if -LONGEST <= x <= LONGEST:
            return add_number(into, x, 'i')
        into.spec.append(('=', int, x))
    elif type(x) is Integer and tracing():
        if into.integers is None:
            into.integers = []
        into.integers.append((into.count, x))
        add_number(into, x._number, 'i')
    elif isinstance(x, (bool, str)) or x is None:
        into.spec.append(('=', type(x), x))
    elif type(x) is list or type(x) is tuple:
        items = tuple(x)    # taking an item apart may run code that changes x
        into.spec.append(('[' if type(x) is list else '(', len(items)))
        for item in items:
            take_apart(into, item, depth + 1)
    elif isinstance(x, tuple) and hasattr(x, '_fields'):
        into.spec.append(('n', type(x)))
        for item in x:
            take_apart(into, item, depth + 1)
    elif isinstance(x, dict):
        keys = tuple(x)
        into.spec.append(('{', keys))
        for key in keys:
            take_apart(into, x[key], depth + 1)
    elif hasattr(x, '__array__') and hasattr(x, 'ndim'):
        take_array_apart(into, x, depth)
    elif isinstance(x, (list, tuple)):
        take_apart(into, list(x), depth)
    elif not hasattr(x, '__len__') and as_number(x, &number):
        if hasattr(x, '__index__'):
            return take_apart(into, int(operator.index(x)), depth)
        return add_number(into, number, 'f')
    else:
        raise unfit(into, x)
    return 0


cdef str argument_text(object argument):
    """What errors call an argument: the text begins so."""
    return f'argument {python.argument_name(argument)}'


cdef object unfit(Inputs into, object x):
    return TypeError(f'{argument_text(into.argument)} must hold numbers, Values, arrays, and lists, tuples and dicts'
                     f' of them, not {type(x).__name__}')


cdef tuple array_of_numbers(Inputs into, object x):
    """An array as float64, in C order, and 'f' or 'i'; or (the array, another kind)."""
    import numpy
    array = numpy.asarray(x)
    kind = array.dtype.kind
    if kind in 'iu':
        if array.size and not -LONGEST <= int(array.min()) <= int(array.max()) <= LONGEST:
            raise ValueError(f'{argument_text(into.argument)}: integers in arrays must lie between -2**53 and 2**53')
        kind = 'i'
    elif kind not in 'fbO':
        raise TypeError(f'{argument_text(into.argument)} must hold real numbers, not an array of {array.dtype}')
    if kind in 'fi':
        array = numpy.require(array, numpy.float64, 'CA')
    return array, kind


cdef int take_array_apart(Inputs into, object x, int depth) except -1:
    cdef Py_ssize_t count
    cdef tuple shape = plain_shape(x)
    array, kind = (x, 'f') if shape is not None else array_of_numbers(into, x)
    if kind == 'b' and not array.ndim:
        return take_apart(into, bool(array), depth)
    if kind == 'b':
        into.spec.append(('=', 'array', (array.shape, array.tobytes())))
    elif kind == 'O':
        into.spec.append(('o', array.shape))
        for item in array.ravel().tolist():
            take_apart(into, item, depth + 1)
    else:
        shape = plain_shape(array)
        count = size_of(shape)
        make_room(into, count)
        memcpy(into.numbers + into.count, address(array), count * sizeof(double))
        into.count += count
        into.spec.append(('a', shape, kind) if shape else kind)
    return 0


cdef tuple plain_shape(object x):
    """The shape of an array of float64 whose numbers can be read as they lie; of others None."""
    cdef Py_buffer view
    cdef Py_ssize_t k
    try:
        PyObject_GetBuffer(x, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    except (ValueError, BufferError, TypeError):
        return None
    try:
        if view.format[0] == b'd' and view.format[1] == 0 and <size_t> view.buf % sizeof(double) == 0:
            return tuple([view.shape[k] for k in range(view.ndim)])
        return None
    finally:
        PyBuffer_Release(&view)


cdef Inputs inputs_of(tuple args, dict keywords, object names):
    """The arguments of one call for one sample. `names` tells their names, for errors."""
    cdef Inputs into = Inputs.__new__(Inputs)
    cdef Py_ssize_t k
    for k in range(len(args)):
        into.argument = names, k
        take_apart(into, args[k], 0)
    if keywords:
        into.spec.append(('k', tuple(sorted(keywords))))
        for name in sorted(keywords):
            into.argument = name
            take_apart(into, keywords[name], 0)
    return into


# ------------------------------------------------------------------------------------ putting together

cdef class Assembly:
    """Puts structures together from a signature and its leaves, one for each number: a list or an array.

    `array(leaves, shape)` makes what stands for an array of numbers.
    """
    cdef tuple spec
    cdef object leaves, array
    cdef Py_ssize_t at, leaf

    def __init__(self, tuple spec, leaves, array):
        self.spec, self.leaves, self.array = spec, leaves, array

    @cython.boundscheck(True)   # the classes of namedtuples and dicts may say what is not so
    cdef object next(self):
        cdef object item = self.spec[self.at]
        cdef Py_ssize_t k, count
        self.at += 1
        if isinstance(item, str):
            self.leaf += 1
            return self.leaves[self.leaf - 1]
        kind = item[0]
        if kind == '=':
            if item[1] == 'array':
                import numpy
                shape, data = item[2]
                return numpy.frombuffer(data, numpy.bool_).reshape(shape).copy()
            return item[2]
        if kind == 'a':
            count = 1
            for k in item[1]:
                count *= k
            self.leaf += count
            return self.array(self.leaves[self.leaf - count:self.leaf], item[1])
        if kind == 'o':
            count = 1
            for k in item[1]:
                count *= k
            return objects(self.several(count), item[1])
        if kind == '{':
            return {key: self.next() for key in item[1]}
        if kind == 'n':
            return item[1]._make(self.several(len(item[1]._fields)))
        items = self.several(item[1])
        return items if kind == '[' else tuple(items)

    cdef list several(self, Py_ssize_t count):
        cdef list items = []
        cdef Py_ssize_t k
        for k in range(count):
            items.append(self.next())
        return items

    cdef bint more(self):
        return self.at < len(self.spec)

    def arguments(self):
        """(positional arguments, keyword arguments)"""
        args, keywords = [], {}
        while self.more():
            if self.spec[self.at][0] == 'k':
                names = self.spec[self.at][1]
                self.at += 1
                keywords = {name: self.next() for name in names}
            else:
                args.append(self.next())
        return args, keywords


def objects(leaves, shape):
    """An array of objects; an Array where they are Values."""
    need_numpy()
    array = np.empty(len(leaves), object)
    array[:] = leaves
    return array.reshape(shape).view(Array) if all_values(array) else array.reshape(shape)


cdef int take_result_apart(object x, list spec, list leaves, int depth) except -1:
    """Append what a result of a traced function holds: its leaves are Values and numbers."""
    cdef double number
    if isinstance(x, Value):
        index_of(x)
        spec.append('f')
        leaves.append(x)
    elif isinstance(x, (bool, str)) or x is None:
        spec.append(('=', type(x), x))
    elif depth > DEEPEST:
        raise ValueError(f'the result is nested deeper than {DEEPEST} levels')
    elif isinstance(x, tuple) and hasattr(x, '_fields'):
        spec.append(('n', type(x)))
        for item in x:
            take_result_apart(item, spec, leaves, depth + 1)
    elif isinstance(x, (list, tuple)):
        items = tuple(x)
        spec.append(('[' if isinstance(x, list) else '(', len(items)))
        for item in items:
            take_result_apart(item, spec, leaves, depth + 1)
    elif isinstance(x, dict):
        keys = tuple(x)
        spec.append(('{', keys))
        for key in keys:
            take_result_apart(x[key], spec, leaves, depth + 1)
    elif getattr(x, 'ndim', 0) or Array is not None and isinstance(x, Array):
        spec.append(('a', x.shape, 'f'))
        for item in x.ravel().tolist():
            if not isinstance(item, Value):
                item = as_double(item, 'a result')
            leaves.append(item)
    elif as_number(x, &number):
        spec.append('f')
        leaves.append(number)
    else:
        raise TypeError(f'a compiled function returns numbers, Values, arrays, and lists, tuples and dicts'
                        f' of them, not {type(x).__name__}')
    return 0


# --------------------------------------------------------------------------------------- many samples

class shared:
    """Marks an argument of `f.mean`, `f.sum` or `f.map` that belongs to every sample, and is not mapped.

    value: the argument itself

    >>> import numpy, micrograd_c as mg
    >>> f = mg.compile(lambda w, x: mg.dot(w, x))
    >>> f.map(mg.shared(numpy.array([1.0, 2.0])), numpy.array([[1.0, 1.0], [3.0, 4.0]])).tolist()
    [3.0, 11.0]
    >>> mg.shared(2.0).value
    2.0
    """
    __slots__ = ('value',)

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f'shared({self.value!r})'


cdef class Samples(Batch):
    """The arguments of a mapped call: the signature of one sample, and where each sample's numbers are."""
    cdef Inputs one         # the first sample (of Values, only those that are shared)
    cdef bint unknown       # an empty list: nothing tells what a sample looks like
    cdef object counted     # the argument that told
    cdef list values        # (number of the input, sample, Value)

    def __cinit__(self):
        self.one = Inputs.__new__(Inputs)
        self.values = []


cdef int check_count(Samples into, Py_ssize_t count, tuple rest) except -1:
    if into.count < 0:
        into.count, into.counted = count, into.one.argument
    elif into.count != count:
        raise ValueError(f'{argument_text(into.one.argument)} must have shape {(into.count, *rest)}, not'
                         f' {(count, *rest)}: {python.argument_name(into.counted)} has {into.count} samples')
    return 0


cdef int take_samples_apart(Samples into, object x, int depth) except -1:
    cdef Inputs one = into.one
    if type(x) is shared:
        return take_apart(one, x.value, depth)
    if depth > DEEPEST:
        raise ValueError(f'{argument_text(one.argument)} is nested deeper than {DEEPEST} levels')
    if isinstance(x, dict):
        keys = tuple(x)
        one.spec.append(('{', keys))
        for key in keys:
            take_samples_apart(into, x[key], depth + 1)
    elif isinstance(x, tuple) and hasattr(x, '_fields'):
        one.spec.append(('n', type(x)))
        for item in x:
            take_samples_apart(into, item, depth + 1)
    elif isinstance(x, (list, tuple)):
        take_list_of_samples_apart(into, tuple(x))
    elif hasattr(x, '__array__') and getattr(x, 'ndim', 0):
        take_array_of_samples_apart(into, x)
    else:
        take_apart(one, x, depth)
    return 0


cdef int take_array_of_samples_apart(Samples into, object x) except -1:
    cdef tuple shape = plain_shape(x)
    kind = 'f'
    if shape is None:
        x, kind = array_of_numbers(into.one, x)
        if kind not in 'fi':
            return take_list_of_samples_apart(into, tuple(x))
        shape = plain_shape(x)
    check_count(into, shape[0], shape[1:])
    add_columns(into, shape[0], size_of(shape[1:]), x)
    into.one.spec.append(('a', shape[1:], kind) if len(shape) > 1 else kind)
    return 0


cdef int add_columns(Samples into, Py_ssize_t samples, Py_ssize_t count, object rows) except -1:
    """Append inputs whose numbers are the rows of an array."""
    cdef Inputs one = into.one
    cdef Columns columns = columns_of(one.count, count, rows)
    into.columns.append(columns)
    make_room(one, count)
    if samples:
        memcpy(one.numbers + one.count, columns.numbers, count * sizeof(double))
    else:
        memset(one.numbers + one.count, 0, count * sizeof(double))
    one.count += count
    return 0


cdef int take_list_of_samples_apart(Samples into, tuple samples) except -1:
    import numpy
    cdef Inputs one = into.one, sample
    cdef Py_ssize_t k, number, count = len(samples), size = 0
    cdef list spec = None
    check_count(into, count, ())
    rows = None
    for k in range(count):
        sample = Inputs.__new__(Inputs)
        sample.argument = one.argument
        take_apart(sample, samples[k], 1)
        if spec is None:
            spec, size = sample.spec, sample.count
            rows = numpy.empty((count, size))
        elif sample.spec != spec:
            spec = common_spec(into, spec, sample.spec, k)
        copy_row(rows, k, sample)
        for number, value in sample.values or ():
            into.values.append((one.count + number, k, value))
    if spec is None:
        into.unknown = True
        spec, size, rows = ['f'], 1, numpy.empty((0, 1))
    add_columns(into, count, size, rows)
    one.spec.extend(spec)
    return 0


cdef int copy_row(object rows, Py_ssize_t k, Inputs sample) except -1:
    cdef object[double, ndim=2, mode='c'] to = rows
    cdef Py_ssize_t j
    for j in range(sample.count):
        to[k, j] = sample.numbers[j]
    return 0


cdef list common_spec(Samples into, list wanted, list given, Py_ssize_t k):
    """The signature of samples of which some have integers where others have floats."""
    cdef list spec = []
    if len(wanted) == len(given):
        for x, y in zip(wanted, given):
            if x != y and (isinstance(x, str) and isinstance(y, str) or x[:2] == y[:2] and x[0] == 'a'):
                x = 'f' if isinstance(x, str) else ('a', x[1], 'f')
            elif x != y:
                break
            spec.append(x)
        else:
            return spec
        if x[0] == y[0] == '=':
            raise ValueError(f'{argument_text(into.one.argument)}: it holds {x[2]!r} in one sample and {y[2]!r}'
                             f' in sample {k}, and what is neither a float nor an integer must be the same in all, as'
                             f' it is part of the program: map over the samples of each apart, or map over 1.0 and'
                             f' 0.0 and choose with mg.where')
    raise ValueError(f'{argument_text(into.one.argument)}: sample {k} must have the shape of sample 0,'
                     f' {python.spec_text(wanted)}, not {python.spec_text(given)}')


cdef Samples samples_of(tuple args, dict keywords, object names):
    """The arguments of a mapped call."""
    cdef Samples into = Samples.__new__(Samples)
    cdef Py_ssize_t k
    for k in range(len(args)):
        into.one.argument = names, k
        take_samples_apart(into, args[k], 0)
    if keywords:
        into.one.spec.append(('k', tuple(sorted(keywords))))
        for name in sorted(keywords):
            into.one.argument = name
            take_samples_apart(into, keywords[name], 0)
    if into.count < 0:
        raise ValueError('no argument has a sample axis: at least one must be an array or a list')
    into.numbers = into.one.numbers
    return into


def eager_arguments(args, keywords, names):
    """The arguments of one sample with each float as a Value: (a Value for each number, args, keywords)."""
    cdef Inputs inputs = inputs_of(args, keywords, names)
    cdef Py_ssize_t k
    cdef list leaves = [Value(inputs.numbers[k]) for k in range(inputs.count)]
    values = list(leaves)
    for k in python.integer_inputs(inputs.spec):
        leaves[k] = int(inputs.numbers[k])
    args, keywords = Assembly(tuple(inputs.spec), leaves, objects).arguments()
    return values, args, keywords


def spec_and_leaves(result):
    """The signature of a result, and the Values and numbers that it holds."""
    cdef list spec = [], leaves = []
    take_result_apart(result, spec, leaves, 0)
    return spec, leaves


def flat_results(result):
    """The Values and numbers that a result holds, from left to right."""
    return spec_and_leaves(result)[1]
