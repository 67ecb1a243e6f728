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
            refuse(MANY)
        return samples_of(args, keywords, self.names_of())

    def mean(self, /, *args, **keywords):
        """The mean of the results over samples: Values, which carry the gradient of the mean.

        Arrays and lists are mapped over their first axis, whose length is the number of samples. Numbers, Values
        and arguments marked with `shared` belong to every sample. A dict is mapped value by value.

        ValueError if lengths differ or there is no sample.

        >>> import micrograd_c as mg
        >>> w = Value(3.0)
        >>> f = mg.compile(lambda x: w * x)
        >>> loss = f.mean([1.0, 2.0])
        >>> loss.backward()
        >>> loss.data, w.grad
        (4.5, 1.5)
        """
        cdef Samples samples = self.take_samples(args, keywords)
        if samples.count == 0:
            raise ValueError(f'argument {python.argument_name(samples.counted)} has no samples: there is no mean')
        return reduced(self.program_of(samples.one, samples), samples, 1.0 / samples.count)

    def sum(self, /, *args, **keywords):
        """The sum of the results over samples: Values, which carry the gradient of the sum; 0 without samples.

        Arrays and lists are mapped over their first axis, whose length is the number of samples (ValueError if
        lengths differ). Numbers, Values and arguments marked with `shared` belong to every sample.

        >>> import micrograd_c as mg
        >>> mg.compile(lambda x: x * x).sum([1.0, 2.0]).data
        5.0
        """
        cdef Samples samples = self.take_samples(args, keywords)
        if samples.unknown:
            return Value(0)
        return reduced(self.program_of(samples.one, samples), samples, 1)

    def map(self, /, *args, **keywords):
        """The results for every sample: float arrays with one more axis in front, the samples. No gradient.

        Arrays and lists are mapped over their first axis, whose length is the number of samples (ValueError if
        lengths differ). Numbers, Values and arguments marked with `shared` belong to every sample.

        >>> import micrograd_c as mg
        >>> mg.compile(lambda x: x * x).map([1.0, 2.0, 3.0]).tolist()
        [1.0, 4.0, 9.0]
        """
        cdef Samples samples = self.take_samples(args, keywords)
        if samples.unknown:
            import numpy
            return numpy.empty(0)
        return map_samples(self.program_of(samples.one, samples), samples)

    @property
    def grad(self):
        """The derivative by arguments, a `Gradient`: `f.grad(x, y, argnums=0)`.

        argnums: the number of a positional argument, or a tuple of numbers. The result has the structure of the
        argument, as NumPy numbers and arrays. Nothing is recorded on the tape. `f.grad.map(X, Y)` gives the
        gradient of each sample, `f.grad.mean(X, Y)` and `f.grad.sum(X, Y)` those of the mean and the sum.

        TypeError if the result is not one number or an argument is not made of floats.

        >>> import micrograd_c as mg
        >>> f = mg.compile(lambda x, y: x * x * y)
        >>> float(f.grad(3.0, 2.0)), [float(d) for d in f.grad(3.0, 2.0, argnums=(0, 1))]
        (12.0, [12.0, 9.0])
        """
        return Gradient(self, False)

    @property
    def value_and_grad(self):
        """The value and its derivative by arguments, as a pair: `f.value_and_grad(x, y, argnums=0)`.

        argnums: the number of a positional argument, or a tuple of numbers. The derivative has the structure of
        the argument, as NumPy numbers and arrays. Nothing is recorded on the tape. `.map`, `.mean` and `.sum` take
        many samples, as those of `f.grad` do, and return pairs as well.

        TypeError if the result is not one number or an argument is not made of floats.

        >>> import micrograd_c as mg
        >>> [float(x) for x in mg.compile(lambda x: x**3).value_and_grad(2.0)]
        [8.0, 12.0]
        """
        return Gradient(self, True)


cdef class Gradient:
    """The derivative of a compiled function or a program by its arguments: `f.grad` or `f.value_and_grad`.

    Called with the arguments of the function and argnums, the number of a positional argument or a tuple of numbers
    (0 at first), it returns the derivative in the structure of that argument: NumPy numbers and arrays. That of
    `value_and_grad` returns pairs (value, derivative).

    TypeError if the result is not one number or an argument is not made of floats.

    >>> import micrograd_c as mg
    >>> f = mg.compile(lambda x, y: x * x * y)
    >>> float(f.grad(3.0, 2.0)), float(f.grad(3.0, 2.0, argnums=1))
    (12.0, 9.0)
    """
    cdef Callable of
    cdef bint with_value

    def __init__(self, Callable of, with_value):
        self.of, self.with_value = of, with_value

    cdef object finish(self, tuple pair):
        return pair if self.with_value else pair[1]

    def __call__(self, /, *args, argnums=0, **keywords):
        if trace.thread:
            refuse(MANY)
        cdef Inputs inputs = self.of.take_inputs(args, keywords)
        return self.finish(value_and_gradient(self.of.program_of(inputs, None), inputs, argnums, False))

    def mean(self, /, *args, argnums=0, **keywords):
        """The derivative of the mean over samples, in the structure of the argument.

        Arguments are mapped as in `f.mean`. By an argument that is mapped, it has one more axis in front, the
        samples. ValueError if lengths differ or there is no sample.

        >>> import micrograd_c as mg
        >>> f = mg.compile(lambda w, x: w * x)
        >>> float(f.grad.mean(3.0, [1.0, 2.0]))
        1.5
        """
        cdef Samples samples = self.of.take_samples(args, keywords)
        if samples.count == 0:
            raise ValueError(f'argument {python.argument_name(samples.counted)} has no samples: there is no mean')
        program = self.of.program_of(samples.one, samples)
        return self.finish(reduced_value_and_gradient(program, samples, argnums, 1.0 / samples.count))

    def sum(self, /, *args, argnums=0, **keywords):
        """The derivative of the sum over samples, in the structure of the argument.

        Arguments are mapped as in `f.sum`. By an argument that is mapped, it has one more axis in front, the
        samples. ValueError if lengths differ.

        >>> import micrograd_c as mg
        >>> f = mg.compile(lambda w, x: w * x)
        >>> float(f.grad.sum(3.0, [1.0, 2.0]))
        3.0
        """
        cdef Samples samples = self.of.take_samples(args, keywords)
        return self.finish(reduced_value_and_gradient(self.of.program_of(samples.one, samples), samples, argnums, 1))

    def map(self, /, *args, argnums=0, **keywords):
        """The derivative of each sample: arrays with one more axis in front, the samples.

        Arguments are mapped as in `f.map`. ValueError if lengths differ.

        >>> import micrograd_c as mg
        >>> f = mg.compile(lambda w, x: w * x)
        >>> f.grad.map(3.0, [1.0, 2.0]).tolist()
        [1.0, 2.0]
        """
        cdef Samples samples = self.of.take_samples(args, keywords)
        return self.finish(mapped_value_and_gradient(self.of.program_of(samples.one, samples), samples, argnums))


cdef class Program(Callable):
    """A function traced for one signature of its arguments: an immutable graph, and the Values that it captured.

    It is made by `f.program(...)` and `load`, and called as the function that it was traced from. ValueError if the
    arguments have another signature. `print` shows its instructions. A signature is the structure and shapes of
    arguments, and which numbers are integers.

    graph: the instructions, a `Graph`
    captured: a tuple of the Values that it reads at each call, besides its arguments
    arguments: a tuple, an `Argument` for each argument
    names: the names of the parameters, as far as known
    spec, result_spec: the signatures of the arguments and of the result, in an internal form
    baked: the integers that belong to the signature, {number of the input: integer}
    optimize: whether passes have simplified the graph
    derived: the programs of its derivatives, as far as they have been made
    made_from: (function, signature, graph, weak reference to the instance that the function is a method of), as
        traced; None stands for the function if the program was loaded

    >>> import micrograd_c as mg
    >>> w = Value(3.0, label='w')
    >>> program = mg.compile(lambda x: (w * x).tanh()).program(2.0)
    >>> print(program)
    Program (float): 1 inputs, 1 captured, 2 instructions, 1 outputs
      %0 = w * x
      %1 = tanh(%0)
      return %1
    >>> program(0.0).data, program.captured == (w,), program.names
    (0.0, True, ('x',))
    """
    cdef readonly object graph          # a Graph
    cdef readonly tuple captured        # Values, read at each call
    cdef readonly tuple spec            # the signature of its arguments, see signature.pyx
    cdef readonly tuple result_spec
    cdef readonly dict baked            # integers that are part of the signature: input -> number
    cdef dict used                      # and the line that used each as a plain number, where known
    cdef readonly tuple names           # of the parameters, as far as known
    cdef readonly bint optimize
    cdef readonly tuple made_from       # (function or None, spec, graph, weak reference to the instance that it is a
                                        # method of or None) as traced or loaded: of a derivative its function's
    cdef readonly tuple arguments       # what each is, Argument
    cdef Py_ssize_t input_count
    cdef bint single                    # the result is one number
    cdef tuple limits                   # (input, rows of the shortest table that it is an index into)
    cdef Py_ssize_t captures
    cdef int32_t *indices               # of the captured Values, see locate
    cdef Py_ssize_t located             # tape.renumbered when they were read; -1: to be read anew
    cdef dict chosen                    # what chosen_arguments found, by argnums
    cdef readonly dict derived          # programs made of this one, see derivatives.py
    cdef bytes none                     # a mask of no inputs
    cdef dict codes
    cdef Code plain                     # for one sample, derivatives by the captured alone
    cdef Guards guards                  # what it depends on outside of its function, if it was traced here
    cdef bint by_reference              # arrays of floats outside are read, not compared
    cdef object recording               # what the function did, if that is verified: see verify.py

    def __init__(self, *args, **keywords):
        raise TypeError('programs are made by micrograd_c.compile and micrograd_c.load')

    def __dealloc__(self):
        free(self.indices)

    cdef tuple names_of(self):
        return self.names

    cdef Program program_of(self, Inputs inputs, Samples samples):
        given = tuple(inputs.spec)
        if given != self.spec:
            raise ValueError(f'the program takes ({python.spec_text(self.spec)}), not ({python.spec_text(given)})')
        for k, number in self.baked.items():
            if inputs.numbers[<Py_ssize_t> k] != number:
                raise ValueError(f'the program was traced for {number}{place_text(self, k)}, not'
                                 f' {int(inputs.numbers[<Py_ssize_t> k])}')
        if samples is not None:
            check_same(self, samples)
        if self.guards is not None:
            self.guards.read()
        return self

    def __call__(self, /, *args, **keywords):
        if trace.thread:
            refuse(A_PROGRAM)
        cdef Inputs inputs = inputs_of(args, keywords, self.names)
        return call_one(self.program_of(inputs, None), inputs)

    @property
    def inputs(self):
        """How many numbers the arguments hold.

        >>> import micrograd_c as mg
        >>> mg.compile(lambda x, y: x[0] * y).program([1.0, 2.0], 3.0).inputs
        3
        """
        return self.input_count

    @property
    def outputs(self):
        """How many numbers the result holds.

        >>> import micrograd_c as mg
        >>> mg.compile(lambda x: [x, x * x]).program(2.0).outputs
        2
        """
        return len(self.graph.outputs)

    @property
    def memory(self):
        """The bytes that one sample needs for values and adjoints, if all inputs differ from sample to sample.

        >>> import micrograd_c as mg
        >>> mg.compile(lambda x: x.exp()).program(2.0).memory % 16
        0
        """
        cdef Code code = code_for(self, bytes([1]) * self.input_count, bytes([1]) * self.input_count, True, True)
        return 2 * sizeof(double) * (code.varying.slots or code.uniform.slots)

    @property
    def ops(self):
        """How many instructions there are of each operation: {name: count}.

        >>> import micrograd_c as mg
        >>> mg.compile(lambda x: (x * x).exp()).program(2.0).ops
        {'mul': 1, 'exp': 1}
        """
        import numpy
        counts = numpy.bincount(self.graph.op, minlength=OP_COUNT).tolist()
        return {OP_INFO[op].name.decode(): counts[op] for op in range(1, OP_COUNT) if counts[op]}

    def __str__(self):
        return python.listing(self)

    def __repr__(self):
        return (f'<Program ({python.spec_text(self.spec)}): {self.input_count} inputs, {len(self.captured)} captured,'
                f' {int((self.graph.op != OP_LEAF).sum())} instructions, {len(self.graph.outputs)} outputs>')

    def _repr_svg_(self):
        return python._repr_svg(self)

    def save(self, path):
        """Write the program to a file, an .npz of plain arrays, which `load` reads.

        path: a str, bytes or os.PathLike. Of captured Values the numbers are written. The file is written in
        full or not at all.

        TypeError if an argument or result is a dict with keys other than strings and numbers; OSError if the
        file cannot be written.

        >>> import micrograd_c as mg, pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / 'double.npz'
        >>> mg.compile(lambda x: 2 * x).program(1.0).save(file)
        >>> mg.load(file)(4.0).data
        8.0
        """
        if self.guards is not None:
            self.guards.read()
        python.save(self, path)

    def __reduce__(self):
        if self.guards is not None:
            self.guards.read()
        state = (tuple(self.graph), [v.data for v in self.captured], self.spec, self.result_spec, self.baked,
                 self.names, self.optimize)
        return restored_program, state


cdef Program new_program(graph, captured, spec, result_spec, baked, names, optimize, used):
    """A program of a graph that holds together; used: for each input in `baked`, the line that used it."""
    cdef Program program = Program.__new__(Program)
    program.graph, program.captured, program.spec = graph, tuple(captured), tuple(spec)
    program.result_spec, program.baked, program.names = tuple(result_spec), dict(baked), tuple(names)
    program.optimize, program.used = optimize, used
    program.made_from = None, program.spec, graph, None
    program.arguments = python.arguments_of(program.spec, program.names)
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
    for argument in python.arguments_of(spec, names):
        inputs += argument.count
    check_graph(graph, inputs, len(numbers))
    check_leaves(graph)
    end, outputs, has_integers = python.end_of(result_spec, 0)
    if end != len(result_spec) or outputs != len(graph.outputs) or has_integers:
        raise ValueError('the results are not as many as the outputs')
    integers = set(python.integer_inputs(spec))
    for k, _ in limits_of(graph):
        if k not in integers:
            raise ValueError(f'input {k} is an index, but no integer')
    return new_program(graph, list(map(Value, numbers)), spec, result_spec, baked, names, optimize, {})


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
        index, rows = graph.edges[graph.lhs[i]], int(graph.rhs[i]) - 1
        if graph.lhs[index] == INPUT:   # not captured: of a trace around, whose own program has the limit
            k = int(graph.rhs[index])
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

cdef enum:
    MOST_VARIANTS = 8       # programs for one signature, which differ in what they found outside
    MANY_PROGRAMS = 9       # traced, of one function, when a warning says so


cdef class Traces:
    """The programs of a compiled function; of a method, those of one instance."""
    cdef dict families      # signature -> {inputs that are part of it: {their numbers: [Program, last used first]}}
    cdef list programs      # in the order of their tracing
    cdef Py_ssize_t count   # how many have been traced

    def __cinit__(self):
        self.families, self.programs = {}, []

    cdef int clear(self) except -1:
        self.families.clear()
        self.programs.clear()
        self.count = 0
        return 0

    cdef Program known(self, tuple spec, Inputs inputs):
        """The program for these arguments, if there is one and all is as it was when it was traced."""
        cdef dict family = self.families.get(spec)
        cdef list variants
        cdef Program program
        if family is None:
            return None
        for places, by_numbers in list(family.items()):     # reading arrays lets other threads run, which may add
            variants = by_numbers.get(tuple([inputs.numbers[<Py_ssize_t> k] for k in places]) if places else ())
            if variants is None:
                continue
            for program in variants:
                if program.guards.hold():
                    if variants[0] is not program:
                        if program in variants:     # another thread may have dropped it meanwhile
                            variants.remove(program)
                        variants.insert(0, program)
                    return program
        return None

    cdef int add(self, Program program, Inputs inputs) except -1:
        """Keep a program; those that can not hold again, and those not used for long, are dropped."""
        cdef Program other
        numbers = tuple([inputs.numbers[<Py_ssize_t> k] for k in program.baked])
        family = self.families.setdefault(program.spec, {}).setdefault(tuple(program.baked), {})
        variants = family.setdefault(numbers, [])
        kept = [other for other in variants if not other.guards.alive.dead][:MOST_VARIANTS - 1]
        dropped = [other for other in variants if other not in kept]
        self.programs = [other for other in self.programs if other not in dropped] + [program]
        variants[:] = [program, *kept]
        self.count += 1
        return 0

    cdef object reason(self, Program program, Inputs inputs):
        """Why the last program would not do, and what to do about it: to be asked before it is added."""
        cdef Program last
        numbers = tuple([inputs.numbers[<Py_ssize_t> k] for k in program.baked])
        variants = self.families.get(program.spec, {}).get(tuple(program.baked), {}).get(numbers)
        if variants:
            last = variants[0]
            if last.guards.failed is None:
                return 'an object outside of it is gone', 'keep it, or pass its numbers as arguments'
            name, was = last.guards.failed.difference()
            return (f'{name} changed, outside of it' + (f' (it was {was!r})' if was is not None else ''),
                    'pass it as an argument: then one program serves all')
        last = self.programs[len(self.programs) - 1]
        if last.spec == program.spec:
            for k in last.baked:
                if last.baked[k] != inputs.numbers[<Py_ssize_t> k]:
                    return (f'an integer{place_text(last, k)} was {last.baked[k]} before, now'
                            f' {int(inputs.numbers[<Py_ssize_t> k])}',
                            'give a float, or look it up with mg.take(rows, index): then one program serves all')
        for one, other in zip(last.arguments, program.arguments):
            if one != other:
                return (f'argument {python.argument_name(other.name)} was ({one.text}) before, now ({other.text})',
                        'give arguments of one structure and shape, floats where no integers are meant')
        return 'it was given other arguments', 'give arguments of one structure'


cdef class Function(Callable):
    """A compiled function, as `compile` returns it: traced once for each signature of its arguments, then replayed.

    Called with arguments of the function, for one sample. Arguments and results are numbers, Values, arrays, and
    lists, tuples and dicts of them. `map`, `mean` and `sum` take many samples. A signature is the structure and
    shapes of the arguments, and which numbers are integers.

    TraceError if the function needs the number of a Value that may change.

    optimize: whether passes simplify the graphs
    verify: whether the function also runs at each call, and is compared with its program

    >>> import micrograd_c as mg
    >>> f = mg.compile(lambda x: x * x)
    >>> type(f) is mg.Function, f.optimize, f.verify
    (True, True, False)
    >>> f(3.0).data
    9.0
    """
    cdef object function
    cdef readonly bint optimize
    cdef readonly bint verify   # the function is run again at each call, and compared with its program
    cdef tuple names
    cdef Traces traces
    cdef dict methods       # id of an instance -> (weak reference, Traces), where this is a method of its class
    cdef object instance    # of which it is a method: kept alive as long as this is
    cdef dict __dict__
    cdef object __weakref__

    def __init__(self, function, optimize=True, verify=None):
        import functools
        if not callable(function):
            raise TypeError(f'compile takes a function, not {type(function).__name__}')
        self.function, self.optimize = function, optimize
        self.verify = os.environ.get('MICROGRAD_C_VERIFY') == '1' if verify is None else verify
        self.names = python.parameter_names(function)
        self.traces, self.methods = Traces(), {}
        functools.update_wrapper(self, function)

    cdef tuple names_of(self):
        return self.names

    cdef Program program_of(self, Inputs inputs, Samples samples):
        cdef tuple spec = tuple(inputs.spec)
        cdef Program program = self.traces.known(spec, inputs)
        if program is None:
            program = self.trace(spec, inputs)
        elif self.verify:
            verify_program(self, program, inputs)
        if samples is not None and program.baked:
            check_same(program, samples)
        return program

    cdef Program trace(self, tuple spec, Inputs inputs):
        cdef Program program
        reason = None
        if trace.thread:
            refuse(MANY)
        with trace_lock:
            program = self.traces.known(spec, inputs)   # perhaps another thread has traced it meanwhile
            if program is None:
                program = guarded_program(self, spec, inputs)
                if self.traces.count == MANY_PROGRAMS - 1:
                    reason = self.traces.reason(program, inputs)
                self.traces.add(program, inputs)
        if reason is not None:
            import warnings
            warnings.warn(f'{self.shown_name()} has been traced {MANY_PROGRAMS} times. This time, {reason[0]}.'
                          f' Each trace runs the function and makes a program of its own. To keep one, {reason[1]}.',
                          RuntimeWarning, 2)
        return program

    cdef object run(self, args, keywords):
        if self.instance is not None:
            return self.function(self.instance, *args, **keywords)
        return self.function(*args, **keywords)

    def __call__(self, /, *args, **keywords):
        if trace.thread and tracing():
            return self.run(args, keywords)
        cdef Inputs inputs = inputs_of(args, keywords, self.names)
        return call_one(self.program_of(inputs, None), inputs)

    def __get__(self, instance, owner):
        if instance is None or not hasattr(type(self.function), '__get__'):
            return self
        cdef Function method = Function.__new__(Function)
        method.function, method.names = self.function, self.names[1:]
        method.optimize, method.verify = self.optimize, self.verify
        method.traces, method.instance, method.methods = self.traces_for(instance), instance, {}
        vars(method).update(vars(self))
        vars(method)['__wrapped__'] = self.function.__get__(instance, owner)
        return method

    cdef Traces traces_for(self, instance):
        """The programs of this method of one instance, which is not kept alive: each instance has its own."""
        key = id(instance)
        known = self.methods.get(key)
        if known is None:
            try:
                reference = weakref.ref(instance, forgetting(weakref.ref(self), key))
            except TypeError:
                raise TypeError(f'a compiled method needs instances that can have weak references: add'
                                f" '__weakref__' to __slots__ of {type(instance).__name__}") from None
            known = self.methods[key] = reference, Traces()
        return known[1]

    @property
    def __self__(self):
        """The instance that this is a method of, or None."""
        return self.instance

    def __reduce__(self):
        """By name where it is found so; else the function alone, to be traced anew."""
        if self.instance is not None:
            return getattr, (self.instance, self.function.__name__)
        return global_name(self) or (Function, (self.function, self.optimize, self.verify))

    @property
    def programs(self):
        """The programs that have been traced and are kept, a tuple, in the order of their tracing.

        >>> import micrograd_c as mg
        >>> f = mg.compile(lambda x: x * x)
        >>> _ = f(3.0), f(4.0), f(5)
        >>> len(f.programs)  # for a float, and for the integer 5
        2
        """
        return tuple(self.traces.programs)

    def clear(self):
        """Forget all programs, so that the next call traces the function anew. For a method, those of all instances.

        >>> import micrograd_c as mg
        >>> f = mg.compile(lambda x: x * x)
        >>> _ = f(3.0)
        >>> f.clear()
        >>> f.programs
        ()
        """
        self.traces.clear()
        for _, traces in list(self.methods.values()):
            (<Traces> traces).clear()

    def program(self, /, *args, **keywords):
        """The `Program` that a call with these arguments replays. The function is traced if there is none.

        >>> import micrograd_c as mg
        >>> f = mg.compile(lambda x: x * x)
        >>> f.program(3.0) is f.program(4.0)
        True
        """
        return self.program_of(inputs_of(args, keywords, self.names), None)

    def check(self, /, *args, **keywords):
        """The largest difference between the program for these arguments and the function, called eagerly.

        Compared are the values of the results and their derivatives by all captured Values and all floats among
        the arguments. A difference is relative to the eager number if that is above 1. Gradients on the tape stay
        as they are.

        >>> import micrograd_c as mg
        >>> mg.compile(lambda x: x.exp() * x).check(2.0) < 1e-12
        True
        """
        return python.check(self, args, keywords)

    def __repr__(self):
        count = len(self.traces.programs)
        return f"<compiled {self.shown_name()}, {count} program{'s' * (count != 1)}>"

    cdef str shown_name(self):
        """What texts call the function: an object that can be called need not have a name."""
        return getattr(self.function, '__qualname__', None) or repr(self.function)


cdef object indexed_by_argument(error):
    return IndexError(f'{error}. An array of integers that is an argument is no index while a function is compiled:'
                      f' write mg.array([mg.take(x, k) for k in i]), which keeps one program for all of them,'
                      f' or x[i.astype(int)], which makes one for each')


def global_name(x):
    """The name by which x is found in its module, or None."""
    found = sys.modules.get(getattr(x, '__module__', None))
    name = getattr(x, '__qualname__', '')
    for part in name.split('.'):
        found = getattr(found, part, None)
    return name if found is x else None


def forgetting(function, key):
    """What is called when an instance dies: function, a weak reference, forgets its programs for it."""
    def forget(_):
        if function() is not None:
            (<Function> function()).methods.pop(key, None)
    return forget


Traced = namedtuple('Traced', 'graph captured result_spec baked origin', module=__name__)
Traced.__doc__ = """What a function did when it was traced.

    graph        a Graph, as it was recorded: no pass has been over it
    captured     the Values that it used without receiving them
    result_spec  the signature of its result
    baked        integers that it used as plain numbers: input -> the line that did, as text
    origin       int32[n], of each node of the graph the node of the tape: `record_lines` knows its line; -1: none
"""


cdef object traced(object function, instance, tuple spec, const double *numbers, Py_ssize_t inputs, list references):
    """Run a function, a method of `instance` or None, on stand-ins for the numbers of a signature: a Traced.

    Others stand for the elements of references, while it runs.
    """
    cdef list leaves, results = [], result_spec = []
    cdef dict baked = {}
    cdef Py_ssize_t k, count = inputs
    cdef Reference reference
    cdef bint recorded = recording()
    for reference in references:
        count += reference.array.size
    leaves = begin_trace(numbers, inputs, count - inputs)
    try:
        set_recording(True)     # a program serves calls under pause and others alike
        for k in python.integer_inputs(spec):
            leaves[k] = Integer(int(numbers[k]), k, leaves[k], baked)
        args, keywords = Assembly(spec, leaves, objects).arguments()
        if instance is not None:
            args.insert(0, instance)
        try:
            count = inputs
            for reference in references:
                reference.stand_in(leaves[count:count + reference.array.size])
                count += reference.array.size
            result = function(*args, **keywords)
        except IndexError as error:
            if 'used as indices' in str(error):
                raise indexed_by_argument(error) from error
            raise
        finally:
            restore(references)
        if refused is not None:
            raise refused
        take_result_apart(result, result_spec, results, 0)
        graph, captured, origin = lift_graph(results)
    finally:
        set_recording(recorded)
        end_trace()
    return Traced(graph, captured, result_spec, baked, origin)


cdef int restore(list references) except -1:
    """Put all arrays back, whatever happens on the way."""
    cdef Reference reference
    failed = None
    for reference in references:
        try:
            reference.restore()
        except BaseException as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return 0


cdef object traced_alone(function, instance, tuple spec, const double *numbers, Py_ssize_t inputs, list references):
    """`traced`, where no trace is around: the TraceErrors of others are none of its."""
    global refused
    refused = None
    try:
        return traced(function, instance, spec, numbers, inputs, references)
    finally:
        refused = None


cdef Program program_of_run(Function function, tuple spec, Inputs inputs, run):
    cdef Program program = new_program(optimized(run.graph) if function.optimize else run.graph, run.captured, spec,
                                       run.result_spec, {k: int(inputs.numbers[k]) for k in sorted(run.baked)},
                                       function.names, function.optimize, run.baked)
    program.made_from = (function.function, spec, program.graph,
                         None if function.instance is None else weakref.ref(function.instance))
    return program


cdef Program guarded_program(Function function, tuple spec, Inputs inputs):
    """The program of a function, with what it could read outside; float arrays by reference, where it can be so traced.

    A function that needs their numbers while it is traced is traced again, and they are compared at each call.
    """
    from contextlib import nullcontext
    cdef Program program
    cdef Reference reference
    for by_reference in (True, False):
        checks, references, alive = python.outside(function.function, function.instance, by_reference)
        try:
            with python.record_lines() if function.verify else nullcontext() as lines:
                run = traced_alone(function.function, function.instance, spec, inputs.numbers, inputs.count, references)
            break
        except Exception:
            if not references:
                raise
    for reference in references:
        reference.keep_captured(run.captured)
    program = program_of_run(function, spec, inputs, run)
    program.guards, program.by_reference = Guards(checks, references, alive), by_reference
    if function.verify:
        program.recording = python.recording_of(run, references, lines)
    return program


cdef int verify_program(Function function, Program program, Inputs inputs) except -1:
    """StaleTraceError if the function, run again, does not do what the program does."""
    cdef Reference reference
    if trace.thread:
        refuse(MANY)
    with trace_lock:
        references = python.outside(function.function, function.instance, program.by_reference)[1]
        with python.record_lines() as lines:
            run = traced_alone(function.function, function.instance, program.spec, inputs.numbers, inputs.count,
                               references)
        for reference in references:
            reference.keep_captured(run.captured)
        python.compare(function.shown_name(), program.recording, python.recording_of(run, references, lines))
    return 0


def retraced(Program program, numbers):
    """The function that a program, or the one it is a derivative of, was traced from, traced again: a Traced.

    numbers: of its inputs, float64[n], further ones are ignored. None where the program was loaded.
    """
    function, spec, _, instance = program.made_from
    if function is None:
        return None
    inputs = 0
    for argument in python.arguments_of(spec, ()):
        inputs += argument.count
    instance = None if instance is None else instance()
    with trace_lock:
        return traced_alone(function, instance, spec, <const double *> address(numbers), inputs,
                            python.outside(function, instance, program.by_reference)[1])
