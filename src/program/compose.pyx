# What is made of programs: their derivatives, which are programs of flat inputs, kept with the one they are of.
# They are evaluated, called as one node of the tape for each result, or recorded there: while a trace is on, too,
# where the function itself is traced for this call alone.

cdef enum:
    MOST_CALLED = 16    # results of a call of Values, each of which takes a reverse sweep: more are recorded


def point(Callable function, tuple args, dict keywords):
    """A function at one point: its program for these arguments, and the inputs there, (Program, Inputs).

    While this thread is tracing, the function is traced for this call alone, and captures what it finds.
    """
    cdef Inputs inputs = function.take_inputs(args, keywords)
    cdef Program program
    if isinstance(function, Function) and tracing():
        program = nested_program(<Function> function, inputs)
    else:
        program = function.program_of(inputs, None)
    if inputs.integers is not None:     # those that Python used within are part of the trace around, too
        for k, integer in inputs.integers:
            if k in program.baked:
                integer._baked.setdefault(integer._input, program.used.get(k) or python.user_line())
    check_indices(program, inputs.numbers)     # a derivative may do without the table that limits an index
    return program, inputs


cdef Program nested_program(Function function, Inputs inputs):
    """The program of a function, traced anew within another trace, whose Values it may capture."""
    global trace
    cdef Trace outer
    with trace_lock:
        outer = trace
        memset(&trace, 0, sizeof(trace))
        try:
            spec = tuple(inputs.spec)
            return program_of_run(function, spec, inputs, traced(function.function, function.instance, spec,
                                                                 inputs.numbers, inputs.count, []))
        finally:
            trace = outer


cdef list operands_in(Inputs inputs):
    """The numbers of inputs, and in their places the Values and traced integers."""
    cdef Py_ssize_t k
    cdef list operands = []
    for k in range(inputs.count):
        operands.append(inputs.numbers[k])
    for k, value in inputs.values or ():
        operands[k] = value
    for k, integer in inputs.integers or ():
        operands[k] = integer._node
    return operands


cdef Inputs joined(tuple parts):
    """Several inputs as one; without their signatures."""
    cdef Inputs into = Inputs.__new__(Inputs)
    cdef Inputs part
    for part in parts:
        make_room(into, part.count)
        if part.count:      # else there may be no memory at all
            memcpy(into.numbers + into.count, part.numbers, part.count * sizeof(double))
        if part.values is not None:
            into.values = (into.values or []) + [(into.count + k, value) for k, value in part.values]
        if part.integers is not None:
            into.integers = (into.integers or []) + [(into.count + k, x) for k, x in part.integers]
        into.count += part.count
    return into


def operands_like(x, name, like):
    """The inputs of a structure of that signature: ValueError where it has another."""
    cdef Inputs inputs = Inputs.__new__(Inputs)
    inputs.argument = name
    take_apart(inputs, ordered_like(x, iter(like)), 0)
    if inputs.spec != list(like) and floats_of(inputs.spec) != floats_of(like):
        raise ValueError(f'{name} must have the structure ({python.spec_text(like)}),'
                         f' not ({python.spec_text(inputs.spec)})')
    for _, integer in inputs.integers or ():
        number_of_integer(integer)  # it stands for a float
    inputs.integers = None
    return inputs


def ordered_like(x, items):
    """x with its dicts in the order of a signature, as far as it has that structure."""
    cdef list parts = []
    item = next(items, None)
    if isinstance(item, tuple) and item[0] == '{' and isinstance(x, dict) and x.keys() == set(item[1]):
        return {key: ordered_like(x[key], items) for key in item[1]}
    if isinstance(item, tuple) and item[0] in '[(' and type(x) in (list, tuple) and len(x) == item[1]:
        for part in x:
            parts.append(ordered_like(part, items))
        return type(x)(parts)
    return x


def floats_of(spec):
    """A signature with floats for integers, and arrays of numbers for arrays of objects."""
    items = []
    skip = 0
    for item in spec:
        if skip and isinstance(item, str):
            skip -= 1
        elif item == 'i':
            items.append('f')
        elif item[0] == 'a' or item[0] == 'o':
            items.append(('a', item[1], 'f'))
            skip = size_of(item[1]) if item[0] == 'o' else 0
        else:
            items.append(item)
    return items


def replayed(Program program, list values):
    """The results of a program for a Value for each of its inputs."""
    cdef Inputs inputs = Inputs.__new__(Inputs)
    inputs.values = []
    for value in values:
        inputs.values.append((inputs.count, value))
        add_number(inputs, node_at(index_of(value)).data, None)
    inputs.spec = list(program.spec)
    return call_one(program, inputs)


def flat_program(Program of, graph, seeds, result_spec):
    """The program of a graph made from that of another: of an array of its inputs and one of `seeds` more."""
    spec = ('a', (of.input_count,), 'f'), ('a', (seeds,), 'f')
    cdef Program program = new_program(optimized(graph), of.captured, spec, result_spec, {}, ('inputs', 'seeds'),
                                       True, {})
    program.made_from, program.by_reference = of.made_from, of.by_reference
    return program


cpdef object derived(Program program, tuple key):
    """What key[0](program, *key[1:]) makes of a program, once."""
    found = program.derived.get(key)
    if found is None:
        found = program.derived[key] = key[0](program, *key[1:])
    return found


def outcome(Program program, tuple key, *parts):
    """The results of a flat program that is derived from another (see `derived`), at the inputs given.

    Of numbers, they are numbers. Where there are Values among the inputs, they are nodes of the tape with these for
    parents, or where there are many, with the operations between. So they are while this thread is tracing.
    """
    cdef Program flat = derived(program, key)
    cdef Inputs inputs = parts[0] if len(parts) == 1 else joined(parts)
    cdef Py_ssize_t k
    if not tracing():
        if inputs.values is None:
            return Assembly(flat.result_spec, evaluated(flat, inputs), reshaped).next()
        for k, value in inputs.values:
            inputs.numbers[k] = node_at(index_of(value)).data
        if flat.single or len(flat.graph.outputs) <= MOST_CALLED:
            return call_one(flat, inputs)
    return Assembly(flat.result_spec, record_program(flat, operands_in(inputs)), objects).next()


cpdef bint numbers_alone(Inputs inputs):
    """Whether derivatives at these inputs are numbers: there are no Values among them, and no trace is on."""
    return inputs.values is None and not tracing()


def evaluated(Program program, Inputs inputs):
    """The outputs of a flat program, float64[m]: numbers alone, nothing is left on the tape."""
    import numpy
    cdef Code code = code_for(program, None, None, False, False)
    cdef Buffers buffers = begun(program, code, inputs.numbers, None)
    cdef Py_ssize_t k
    outputs = numpy.empty(code.outputs)
    cdef double *to = <double *> address(outputs)
    cdef const int32_t *slot = code.output_slot
    for k in range(code.outputs):
        to[k] = buffers.values[slot[k]]
    code.spare.append(buffers)
    return outputs


def evaluated_along(Program program, Inputs inputs, directions):
    """The outputs of a flat program for many seeds, float64[m, k]: of directions[:, j] in column j."""
    import numpy
    cdef Py_ssize_t k, count = directions.shape[1]
    cdef double *to
    cdef Samples samples = Samples.__new__(Samples)
    cdef Columns columns
    cdef Code code
    cdef Buffers uniform
    cdef Job job
    if not count:
        return numpy.empty((len(program.graph.outputs), 0))
    samples.one = joined((inputs,))
    take_array_apart(samples.one, directions[:, 0], 0)
    samples.count, samples.numbers = count, samples.one.numbers
    columns = columns_of(inputs.count, len(directions), directions)
    columns.to_input, columns.to_sample = count, 1
    samples.columns.append(columns)
    code = code_for(program, mapped_inputs(samples), None, False, False)
    uniform = begun(program, code, samples.one.numbers, samples)
    outputs = numpy.empty((code.outputs, count))
    job = new_job(code, uniform, samples, -1, {})
    job.held.append(outputs)
    to = <double *> address(outputs)
    for k in range(code.outputs):
        if code.output_varying[k]:
            job.results[k] = to + k * count
        else:
            outputs[k] = uniform.values[code.output_slot[k]]
    run_job(job)
    code.spare.append(uniform)
    return outputs


cdef list record_program(Program program, list operands):
    """Put the graph of a program on the tape: its outputs, as Values.

    operands: the numbers and Values that are the inputs.
    """
    cdef Arrays g = arrays_of(program.graph)
    cdef Py_ssize_t i, e
    cdef list nodes = [], results = []
    cdef int op
    for i in range(g.nodes):
        op = g.op[i]
        if op == OP_LEAF:
            if g.lhs[i] == CONSTANT:
                nodes.append(g.data[i])
            else:
                nodes.append(operands[g.rhs[i]] if g.lhs[i] == INPUT else program.captured[<Py_ssize_t> g.rhs[i]])
        elif is_nary(op):
            given = [nodes[g.edges[e]] for e in range(g.lhs[i], g.lhs[i] + <Py_ssize_t> g.rhs[i])]
            nodes.append(recorded_nary(op, given))
        else:
            nodes.append(recorded_op(op, nodes[g.lhs[i]], nodes[g.rhs[i]]))
    for i in program.graph.outputs.tolist():
        results.append(result_of(nodes[i]))
    return results


cdef object result_of(x):
    """A Value, without history where nothing is recorded."""
    if not isinstance(x, Value):
        return Value(x)
    return x if recording() else x.detach()


cdef object recorded_op(int op, a, b):
    """The result of an operation on Values and numbers. As in programs, numbers follow IEEE 754: nothing raises."""
    cdef bint left = isinstance(a, Value), right = isinstance(b, Value)
    cdef double x, y
    cdef PyObject *facade
    cdef int32_t i, j
    if not left and not right:
        return op_value(op, a, b)
    facade = new_facade()
    result = handed_over(facade)
    reserve(3, 0)
    x = node_at(index_of(a)).data if left else a
    y = node_at(index_of(b)).data if right else b
    i = (<Value> a).index if left else push(OP_LEAF, x, 0, 0)
    j = i if OP_INFO[op].arity == 1 else (<Value> b).index if right else push(OP_LEAF, y, 0, 0)
    attach(facade, push(op, op_value(op, x, y), i, j))
    collect_made(True)
    return result


@cython.wraparound(True)
cdef object recorded_nary(int op, list operands):
    if op == OP_DOT:
        return dot(operands[:len(operands) - 1:2], operands[1::2], operands[-1] if len(operands) & 1 else None)
    if op == OP_WHERE:
        return where(*operands)
    if op == OP_PLAIN:
        return operands[0].detach() if isinstance(operands[0], Value) else operands[0]
    if op != OP_TAKE:
        raise no_rule(op, 'recording')
    index, rows = operands[0], operands[1:]
    if isinstance(index, Value):    # an integer of the trace that is on
        return take_node(rows, index)
    if not -len(rows) <= index < len(rows):
        raise IndexError(f'index {index:.0f} is out of range for mg.take from {len(rows)} rows')
    return rows[int(index)]
