# Programs, and the functions that make and call them.

cdef class Callable:
    """What can be called for one sample or mapped over many: a compiled function, or one of its programs."""

    cdef Program program_of(self, Inputs inputs, Samples samples):
        raise NotImplementedError

    cdef tuple names_of(self):
        raise NotImplementedError

    cdef Inputs take_inputs(self, tuple args, dict keywords):
        return inputs_of(args, keywords, self.names_of())

    cdef Samples take_samples(self, tuple args, dict keywords):
        if trace.thread:
            refuse(None, MANY)
        return samples_of(args, keywords, self.names_of())

    def mean(self, /, *args, **keywords):
        """The mean of the results over samples, as Values with its gradient.

        Arrays and lists are mapped over their first axis, of one length n > 0 (else ValueError); numbers,
        Values and what `shared` marks are the same for all samples; a dict is mapped value by value.
        """
        cdef Samples samples = self.take_samples(args, keywords)
        if samples.count == 0:
            raise ValueError(f'argument {argument_name(samples.counted)} has no samples: there is no mean')
        return reduced(self.program_of(samples.one, samples), samples, 1.0 / samples.count)

    def sum(self, /, *args, **keywords):
        """The sum of the results over samples, as Values with its gradient; 0 for none. Arguments: see `mean`."""
        cdef Samples samples = self.take_samples(args, keywords)
        if samples.unknown:
            return Value(0)
        return reduced(self.program_of(samples.one, samples), samples, 1)

    def map(self, /, *args, **keywords):
        """The results for every sample, as arrays with a leading axis: numbers alone, no gradient.

        Arguments: see `mean`.
        """
        cdef Samples samples = self.take_samples(args, keywords)
        if samples.unknown:
            import numpy
            return numpy.empty(0)
        return mapped(self.program_of(samples.one, samples), samples)

    @property
    def grad(self):
        """The derivative by arguments: `f.grad(x, y, argnums=0)`; mapped: `f.grad.mean(...)`, `.sum`, `.map`.

        argnums: which positional argument, or a tuple of them; they must be made of floats (TypeError). The
        result has the structure of the argument, as NumPy numbers and arrays; nothing is on the tape.
        `.map` gives the gradient of each sample, with a leading axis; `.mean` and `.sum` that of
        the mean or the sum.
        """
        return Gradient(self, False)

    @property
    def value_and_grad(self):
        """The same as `grad`, as pairs of the value and its derivative."""
        return Gradient(self, True)


cdef class Gradient:
    """The derivative of a compiled function. See `grad` there."""
    cdef Callable of
    cdef bint with_value

    def __init__(self, Callable of, with_value):
        self.of, self.with_value = of, with_value

    cdef object finish(self, tuple pair):
        return pair if self.with_value else pair[1]

    def __call__(self, /, *args, argnums=0, **keywords):
        if trace.thread:
            refuse(None, MANY)
        cdef Inputs inputs = self.of.take_inputs(args, keywords)
        return self.finish(value_and_gradient(self.of.program_of(inputs, None), inputs, argnums, False))

    def mean(self, /, *args, argnums=0, **keywords):
        """Of the mean over samples."""
        cdef Samples samples = self.of.take_samples(args, keywords)
        if samples.count == 0:
            raise ValueError(f'argument {argument_name(samples.counted)} has no samples: there is no mean')
        program = self.of.program_of(samples.one, samples)
        return self.finish(reduced_value_and_gradient(program, samples, argnums, 1.0 / samples.count))

    def sum(self, /, *args, argnums=0, **keywords):
        """Of the sum over samples."""
        cdef Samples samples = self.of.take_samples(args, keywords)
        return self.finish(reduced_value_and_gradient(self.of.program_of(samples.one, samples), samples, argnums, 1))

    def map(self, /, *args, argnums=0, **keywords):
        """Of every sample, with a leading axis."""
        cdef Samples samples = self.of.take_samples(args, keywords)
        return self.finish(mapped_value_and_gradient(self.of.program_of(samples.one, samples), samples, argnums))


cdef class Program(Callable):
    """A traced function for one signature: an immutable graph, and the Values that it captured.

    Called like the function it was traced from, for arguments of the same signature (else ValueError).
    """
    cdef readonly object graph          # a Graph
    cdef readonly tuple captured        # Values, read at each call
    cdef readonly tuple spec            # the signature of its arguments, see signature.pyx
    cdef readonly tuple result_spec
    cdef readonly dict baked            # integers that are part of the signature: input -> number
    cdef dict used                      # and the line that used each as a plain number, where known
    cdef readonly tuple names           # of the parameters, as far as known
    cdef readonly bint optimize
    cdef readonly tuple arguments       # what each is, Argument
    cdef Py_ssize_t input_count
    cdef bint single                    # the result is one number
    cdef tuple limits                   # (input, rows of the shortest table that it is an index into)
    cdef Py_ssize_t captures
    cdef int32_t *indices               # of the captured Values, see locate
    cdef Py_ssize_t located             # tape.renumbered when they were read; -1: to be read anew
    cdef dict chosen                    # what chosen_arguments found, by argnums
    cdef readonly dict derived          # programs made of this one, see transform.py
    cdef bytes none                     # a mask of no inputs
    cdef dict codes
    cdef Code plain                     # for one sample, derivatives by the captured alone

    def __init__(self, *args, **keywords):
        raise TypeError('programs are made by micrograd_c.compile and micrograd_c.load')

    def __dealloc__(self):
        free(self.indices)

    cdef tuple names_of(self):
        return self.names

    cdef Program program_of(self, Inputs inputs, Samples samples):
        given = tuple(inputs.spec)
        if given != self.spec:
            raise ValueError(f'the program takes ({spec_text(self.spec)}), not ({spec_text(given)})')
        for k, number in self.baked.items():
            if inputs.numbers[<Py_ssize_t> k] != number:
                raise ValueError(f'the program was traced for {number}{place_text(self, k)}, not'
                                 f' {int(inputs.numbers[<Py_ssize_t> k])}')
        if samples is not None:
            check_same(self, samples)
        return self

    def __call__(self, /, *args, **keywords):
        if trace.thread:
            refuse(None, A_PROGRAM)
        cdef Inputs inputs = inputs_of(args, keywords, self.names)
        return call_one(self.program_of(inputs, None), inputs)

    @property
    def inputs(self):
        """The number of inputs: the numbers among the arguments."""
        return self.input_count

    @property
    def outputs(self):
        """The number of results."""
        return len(self.graph.outputs)

    @property
    def memory(self):
        """Bytes a sample, of values and adjoints, where all inputs vary."""
        cdef Code code = code_for(self, bytes([1]) * self.input_count, bytes([1]) * self.input_count, True, True)
        return 2 * sizeof(double) * (code.varying.slots or code.uniform.slots)

    @property
    def ops(self):
        """How many instructions there are of each operation: a dict, by name."""
        import numpy
        counts = numpy.bincount(self.graph.op, minlength=OP_COUNT).tolist()
        return {OP_INFO[op].name.decode(): counts[op] for op in range(1, OP_COUNT) if counts[op]}

    def __str__(self):
        from micrograd_c.program import listing
        return listing(self)

    def __repr__(self):
        return (f'<Program ({spec_text(self.spec)}): {self.input_count} inputs, {len(self.captured)} captured,'
                f' {int((self.graph.op != OP_LEAF).sum())} instructions, {len(self.graph.outputs)} outputs>')

    def _repr_svg_(self):
        from micrograd_c.viz import _repr_svg
        return _repr_svg(self)

    def save(self, path):
        """Write the program to a file, an .npz of plain arrays; captured Values as their numbers.

        TypeError if its signature has dict keys other than strings and numbers. See `micrograd_c.load`.
        """
        from micrograd_c.program import save
        save(self, path)

    def __reduce__(self):
        state = (tuple(self.graph), [v.data for v in self.captured], self.spec, self.result_spec, self.baked,
                 self.names, self.optimize)
        return restored_program, state


cdef Program new_program(graph, captured, spec, result_spec, baked, names, optimize, used):
    """A program of a graph that holds together; used: for each input in `baked`, the line that used it."""
    cdef Program program = Program.__new__(Program)
    program.graph, program.captured, program.spec = graph, tuple(captured), tuple(spec)
    program.result_spec, program.baked, program.names = tuple(result_spec), dict(baked), tuple(names)
    program.optimize, program.used = optimize, used
    program.arguments = arguments_of(program.spec, program.names)
    for argument in program.arguments:
        program.input_count += argument.count
    program.none = bytes(program.input_count)
    program.single = program.result_spec == ('f',)
    program.limits = limits_of(graph)
    program.codes, program.chosen, program.derived = {}, {}, {}
    program.captures = len(program.captured)
    program.indices = <int32_t *> allocated(program.captures, sizeof(int32_t))
    program.located = -1
    return program


def restored_program(arrays, numbers, spec, result_spec, baked, names, optimize):
    """A Program, as pickle and `load` make it."""
    graph = Graph(*arrays)
    inputs = 0
    for argument in arguments_of(spec, names):
        inputs += argument.count
    check_graph(graph, inputs, len(numbers))
    check_leaves(graph)
    integers = set(integer_inputs(spec))
    for k, _ in limits_of(graph):
        if k not in integers:
            raise ValueError(f'input {k} is an index, but no integer')
    return new_program(graph, [Value(x) for x in numbers], spec, result_spec, baked, names, optimize, {})


cdef int check_leaves(graph) except -1:
    """ValueError if an input or a captured number is two leaves: only one of them would be given its number."""
    import numpy
    leaves = (graph.op == OP_LEAF) & (graph.lhs != CONSTANT)
    numbers = graph.lhs[leaves].astype(numpy.int64) << 32 | graph.rhs[leaves]
    if len(numpy.unique(numbers)) < len(numbers):
        raise ValueError('two leaves stand for the same input or captured number')
    return 0


def limits_of(graph):
    """((input, rows of the shortest table), ...) of the inputs that are indices."""
    import numpy
    limits = {}
    for i in numpy.nonzero(graph.op == OP_TAKE)[0].tolist():
        k, rows = int(graph.rhs[graph.edges[graph.lhs[i]]]), int(graph.rhs[i]) - 1
        limits[k] = min(rows, limits.get(k, rows))
    return tuple(limits.items())


cdef int check_same(Program program, Samples samples) except -1:
    """Integers that are part of the signature are the same in all samples."""
    cdef Py_ssize_t k, s
    cdef Columns columns
    for k, number in program.baked.items():
        for columns in samples.columns:
            if not columns.first <= k < columns.first + columns.count:
                continue
            for s in range(samples.count):
                if columns.numbers[s * columns.count + k - columns.first] == number:
                    continue
                raise TraceError(f'{program.used.get(k, "in a program")}\n'
                                 f'An integer{place_text(program, k)} differs from sample to sample, but is used'
                                 f' here as a plain number, which belongs to the signature. Instead, give floats'
                                 f' where no integers are meant, choose by integers with mg.take(rows, index),'
                                 f' or call for one sample at a time.')
    return 0


# --------------------------------------------------------------------------------- compiled functions

cdef class Function(Callable):
    """A function that is traced once for each signature of its arguments, and from then on replayed.

    See `micrograd_c.compile`.
    """
    cdef object function
    cdef readonly bint optimize
    cdef tuple names
    cdef dict families      # signature -> {inputs that are part of it: {their numbers: Program}}
    cdef list traced
    cdef object instance    # of which it is a method: kept alive as long as this is
    cdef dict __dict__
    cdef object __weakref__

    def __init__(self, function, optimize=True):
        import functools
        from micrograd_c.program import parameter_names
        if not callable(function):
            raise TypeError(f'compile takes a function, not {type(function).__name__}')
        self.function, self.optimize = function, optimize
        self.names = parameter_names(function)
        self.families, self.traced = {}, []
        functools.update_wrapper(self, function)

    cdef tuple names_of(self):
        return self.names

    cdef Program program_of(self, Inputs inputs, Samples samples):
        cdef tuple spec = tuple(inputs.spec)
        cdef Program program = self.known(spec, inputs)
        if program is None:
            program = self.trace(spec, inputs)
        if samples is not None and program.baked:
            check_same(program, samples)
        return program

    cdef Program trace(self, tuple spec, Inputs inputs):
        cdef Program program
        if trace.thread:
            refuse(None, MANY)
        with trace_lock:
            program = self.known(spec, inputs)  # perhaps another thread has traced it meanwhile
            if program is None:
                program = traced_program(self, spec, inputs)
                numbers = tuple([inputs.numbers[<Py_ssize_t> k] for k in program.baked])
                self.families.setdefault(spec, {}).setdefault(tuple(program.baked), {})[numbers] = program
                self.traced.append(program)
        return program

    cdef Program known(self, tuple spec, Inputs inputs):
        """The program for a signature, and for the integers that are part of it; None if there is none."""
        cdef dict family = self.families.get(spec)
        cdef Program program
        if family is not None:
            for places, by_numbers in family.items():
                program = by_numbers.get(tuple([inputs.numbers[<Py_ssize_t> k] for k in places]) if places else ())
                if program is not None:
                    return program
        return None

    def __call__(self, /, *args, **keywords):
        if trace.thread and tracing():
            return self.function(*args, **keywords)
        cdef Inputs inputs = inputs_of(args, keywords, self.names)
        return call_one(self.program_of(inputs, None), inputs)

    def __get__(self, instance, owner):
        if instance is None:
            return self
        from micrograd_c.program import bound
        cdef Function shared = bound(self, instance)    # which must not keep the instance alive
        cdef Function method = Function.__new__(Function)
        method.function, method.optimize, method.names = shared.function, shared.optimize, shared.names
        method.families, method.traced = shared.families, shared.traced
        vars(method).update(vars(shared))
        method.instance = instance
        return method

    def __reduce__(self):
        """By name where it is found so; else the function alone, to be traced anew."""
        found = sys.modules.get(getattr(self, '__module__', None))
        name = getattr(self, '__qualname__', '')
        for part in name.split('.'):
            found = getattr(found, part, None)
        return name if found is self else (Function, (self.function, self.optimize))

    @property
    def programs(self):
        """The programs traced so far, a tuple, in the order of their tracing."""
        return tuple(self.traced)

    def clear(self):
        """Forget all programs: the next call traces anew."""
        self.families.clear()
        self.traced.clear()

    def program(self, /, *args, **keywords):
        """The program for these arguments, of one sample; traced if need be."""
        return self.program_of(inputs_of(args, keywords, self.names), None)

    def check(self, /, *args, **keywords):
        """Call the function eagerly and compiled, for one sample; the largest difference found.

        Of values and of derivatives by all captured Values and floats among the arguments, each difference
        relative to the eager number where that is above 1. Gradients on the tape stay as they are.
        """
        from micrograd_c.program import check
        return check(self, args, keywords)

    def __repr__(self):
        name = getattr(self.function, '__qualname__', repr(self.function))
        return f"<compiled {name}, {len(self.traced)} program{'s' * (len(self.traced) != 1)}>"


cdef Program traced_program(Function function, tuple spec, Inputs inputs):
    cdef list leaves, results = [], result_spec = []
    cdef dict baked = {}
    cdef Py_ssize_t k
    cdef bint recorded = recording()
    leaves = begin_trace(inputs.numbers, inputs.count)
    try:
        set_recording(True)     # a program serves calls under pause and others alike
        for k in integer_inputs(spec):
            leaves[k] = Integer(int(inputs.numbers[k]), k, leaves[k], baked)
        args, keywords = Assembly(spec, leaves, objects).arguments()
        result = function.function(*args, **keywords)
        take_result_apart(result, result_spec, results, 0)
        graph, captured = lift_graph(results)
    finally:
        set_recording(recorded)
        end_trace()
    if function.optimize:
        graph = optimized(graph)
    return new_program(graph, captured, spec, result_spec, {k: int(inputs.numbers[k]) for k in sorted(baked)},
                       function.names, function.optimize, baked)
