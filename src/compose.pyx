# Programs within other graphs: a function is traced for itself alone while another one is, or on Values of the
# tape; a graph made of its own (its derivative, say) is put on the tape, where it is recorded like anything else.

def point(Callable function, tuple args, dict keywords):
    """The program of a function for these arguments, and their numbers, flat: (program, float64[n]).

    Where there are Values among the arguments, or this thread is tracing, the program is traced for this call
    alone, captures what it finds, and is given with a list of numbers and Values.
    """
    cdef Inputs inputs = function.take_inputs(args, keywords)
    cdef Program program
    operands = operands_in(inputs)
    if (inputs.values is not None or tracing()) and isinstance(function, Function):
        program = nested_program(<Function> function, inputs)
    else:
        program = function.program_of(inputs, None)
    check_indices(program, inputs.numbers)     # a derivative may do without the table that limits an index
    return program, operands if inputs.values is None and not tracing() else list(operands)


cdef object numbers_of(Inputs inputs):
    import numpy
    cdef object numbers = numpy.empty(inputs.count)
    if inputs.count:
        memcpy(address(numbers), inputs.numbers, inputs.count * sizeof(double))
    return numbers


cdef Program nested_program(Function function, Inputs inputs):
    """The program of a function, traced anew, perhaps within another trace, whose Values it may capture."""
    global trace
    cdef Trace outer
    with trace_lock:
        outer = trace
        memset(&trace, 0, sizeof(trace))
        try:
            return traced_program(function, tuple(inputs.spec), inputs, [])
        finally:
            trace = outer


cdef object operands_in(Inputs inputs):
    """The numbers of inputs, float64[n]; or where there are Values among them a list of both."""
    cdef Py_ssize_t k
    if inputs.values is None:
        return numbers_of(inputs)
    operands = [inputs.numbers[k] for k in range(inputs.count)]
    for k, value in inputs.values:
        operands[k] = value
    return operands


def operands_like(x, name, like):
    """The numbers and Values of a structure of that signature: ValueError where it has another."""
    cdef Inputs inputs = Inputs.__new__(Inputs)
    inputs.argument = name
    take_apart(inputs, ordered_like(x, iter(like)), 0)
    if inputs.spec != list(like) and floats_of(inputs.spec) != floats_of(like):
        raise ValueError(f'{name} must have the structure ({spec_text(like)}), not ({spec_text(inputs.spec)})')
    return operands_in(inputs)


def ordered_like(x, items):
    """x with its dicts in the order of a signature, as far as it has that structure."""
    item = next(items, None)
    if isinstance(item, tuple) and item[0] == '{' and isinstance(x, dict) and x.keys() == set(item[1]):
        return {key: ordered_like(x[key], items) for key in item[1]}
    if isinstance(item, tuple) and item[0] in '[(' and type(x) in (list, tuple) and len(x) == item[1]:
        return type(x)([ordered_like(part, items) for part in x])
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


def flat_program(Program of, graph, seeds):
    """The program of a graph made from that of another: of an array of its inputs and one of `seeds` more."""
    graph = optimized(graph)
    spec = ('a', (of.input_count,), 'f'), ('a', (seeds,), 'f')
    cdef Program program = new_program(graph, of.captured, spec, (('a', (len(graph.outputs),), 'f'),), {},
                                       ('inputs', 'seeds'), True, {})
    program.made_from, program.by_reference = of.made_from, of.by_reference
    return program


cdef Inputs flat_inputs(Program program, parts):
    """The inputs of a flat program, from arrays of numbers."""
    cdef Inputs inputs = Inputs.__new__(Inputs)
    for part in parts:
        take_array_apart(inputs, part, 0)
    if inputs.count != program.input_count:
        raise ValueError(f'the program takes {program.input_count} numbers, not {inputs.count}')
    return inputs


def evaluated(Program program, inputs, seeds):
    """The outputs of a flat program, float64[m]: numbers alone, nothing is left on the tape."""
    import numpy
    cdef Code code = code_for(program, None, None, False, False)
    cdef Buffers buffers = begun(program, code, flat_inputs(program, (inputs, seeds)).numbers)
    cdef Py_ssize_t k
    outputs = numpy.empty(code.outputs)
    cdef double *to = <double *> address(outputs)
    cdef const int32_t *slot = code.output_slot
    for k in range(code.outputs):
        to[k] = buffers.values[slot[k]]
    code.spare.append(buffers)
    return outputs


def evaluated_along(Program program, directions, inputs):
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
    samples.one = flat_inputs(program, (inputs, directions[:, 0]))
    samples.count = count
    columns = columns_of(len(inputs), len(directions), directions)
    columns.to_input, columns.to_sample = count, 1
    samples.columns.append(columns)
    code = code_for(program, mapped_inputs(samples), None, False, False)
    uniform = begun(program, code, samples.one.numbers)
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


def recorded(Program program, graph, list operands):
    """Put a graph made from that of a program on the tape: its outputs, as Values.

    operands: the numbers and Values that are the inputs.
    """
    cdef Arrays g = arrays_of(graph)
    cdef Py_ssize_t i, e
    cdef list nodes = []
    cdef int op
    for i in range(g.nodes):
        op = g.op[i]
        if op == OP_LEAF:
            if g.lhs[i] == CONSTANT:
                nodes.append(g.data[i])
            else:
                nodes.append(operands[g.rhs[i]] if g.lhs[i] == INPUT else program.captured[<Py_ssize_t> g.rhs[i]])
        elif is_nary(op):
            nodes.append(recorded_nary(op, [nodes[g.edges[e]] for e in range(g.lhs[i], g.lhs[i] + <Py_ssize_t> g.rhs[i])]))
        else:
            nodes.append(recorded_op(op, nodes[g.lhs[i]], nodes[g.rhs[i]]))
    return [result_of(nodes[i]) for i in graph.outputs.tolist()]


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
    index, rows = operands[0], operands[1:]     # an integer, which is no Value
    if not -len(rows) <= index < len(rows):
        raise IndexError(f'index {index:.0f} is out of range for mg.take from {len(rows)} rows')
    return rows[int(index)]
