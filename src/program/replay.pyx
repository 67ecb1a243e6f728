# Replaying: a program's code is run where its captured Values stand now, and what comes out is put on the tape.

cdef int locate(Program program) except -1:
    """Make program.indices those of the captured Values; valid until anything may collect.

    They are remembered where all are of the old generation: parameters, which stay where they are.
    """
    cdef Py_ssize_t k
    cdef int32_t index, last = -1
    if LIKELY(program.located == tape.renumbered):
        return 0
    program.located = -1
    for k in range(program.captures):
        index = (<Value> PyTuple_GET_ITEM(program.captured, k)).index
        if index < 0:
            raise no_node()
        program.indices[k] = index
        last = max(last, index)
    if last < tape.old:
        program.located = tape.renumbered
    return 0


cdef Buffers begun(Program program, Code code, const double *numbers, Samples samples):
    """Buffers in which the uniform part of a call has run forward. Who is done with them puts them to code.spare."""
    if debugging():
        look_for_nans(program, code, numbers, samples)
    cdef Buffers buffers = uniform_buffers(code)
    gather(program, code, numbers, buffers.values)
    run_forward(code, buffers.values)
    return buffers


cdef int gather(Program program, Code code, const double *numbers, double *u) except -1:
    """Read the captured Values, and the inputs that all samples share, into their slots."""
    cdef Py_ssize_t k
    cdef int32_t slot
    locate(program)
    for k in range(program.captures):
        slot = code.captured_slot[k]
        if slot >= 0:
            u[slot] = node_at(program.indices[k]).data
    if code.inputs_in_row:
        memcpy(u + code.input_slot[0], numbers, code.inputs_in_row * sizeof(double))
    for k in range(code.inputs_in_row, program.input_count):
        slot = code.input_slot[k]
        if slot >= 0 and not code.mapped[k]:
            u[slot] = numbers[k]
    return 0


# ------------------------------------------------------------------------------------- one sample

cdef object push_call(Program program, Code code, double primal, const double *gu, double scale,
                      list values, list mapped_values):
    """The result of a call as a Value: a node whose parents are the captured and the given Values.

    values: (number of the input, Value); mapped_values: (partial, Value).
    """
    cdef Py_ssize_t k, first, count = program.captures
    cdef int32_t slot
    cdef PyObject *facade = new_facade()
    result = handed_over(facade)
    if values is not None:
        count += len(values)
    if mapped_values is not None:
        count += len(mapped_values)
    reserve(1, count)
    locate(program)
    first = tape.edges
    for k in range(program.captures):
        slot = code.captured_slot[k]
        if slot >= 0:
            CHECK(program.indices[k] == (<Value> PyTuple_GET_ITEM(program.captured, k)).index)
            push_edge(program.indices[k], scale * gu[slot])
    if values is not None:
        for number, value in values:
            slot = code.input_slot[<Py_ssize_t> number]
            if slot >= 0:
                push_parent((<Value> value).index, scale * gu[slot], first)
    if mapped_values is not None:
        for partial, value in mapped_values:
            push_parent((<Value> value).index, partial, first)
    return finish_nary(facade, OP_NARY, primal, first)


cdef inline int push_parent(int32_t index, double partial, Py_ssize_t first) except -1:
    if index < 0:
        tape.edges = first
        raise no_node()
    push_edge(index, partial)
    return 0


cdef void clear_leaves(Program program, Code code, double *gu) noexcept:
    """Adjoints of leaves are taken by no instruction: set them to 0 for the next sweep."""
    cdef Py_ssize_t k
    for k in range(program.captures):
        if code.captured_slot[k] >= 0:
            gu[code.captured_slot[k]] = 0
    if code.inputs_in_row:
        memset(gu + code.input_slot[0], 0, code.inputs_in_row * sizeof(double))
    for k in range(code.inputs_in_row, program.input_count):
        if code.input_slot[k] >= 0 and not code.mapped[k]:
            gu[code.input_slot[k]] = 0


cdef object call_one(Program program, Inputs inputs):
    """The results for one sample, as nodes of the tape."""
    cdef Code code
    cdef Buffers buffers
    cdef Py_ssize_t k
    check_indices(program, inputs.numbers)
    code = code_for_one(program, inputs)
    buffers = begun(program, code, inputs.numbers, None)
    if program.single:
        result = one_result(program, code, 0, buffers, inputs)
    else:
        results = []
        for k in range(code.outputs):
            results.append(one_result(program, code, k, buffers, inputs))
        result = Assembly(program.result_spec, results, objects).next()
    code.spare.append(buffers)
    return result


cdef object one_result(Program program, Code code, Py_ssize_t k, Buffers buffers, Inputs inputs):
    cdef int32_t slot = code.output_slot[k]
    if not (code.reverse and code.output_active[k]):
        return Value(buffers.values[slot])
    reverse_from(code, slot, 1, buffers.values, buffers.adjoints)
    result = push_call(program, code, buffers.values[slot], buffers.adjoints, 1, inputs.values, None)
    clear_leaves(program, code, buffers.adjoints)
    return result


cdef Code code_for_one(Program program, Inputs inputs):
    if not recording():
        return code_for(program, None, None, False, False)
    if inputs.values is not None:
        return code_for(program, None, mask_of(program, inputs.values), True, True)
    if program.plain is None:
        program.plain = code_for(program, None, None, True, program.captures > 0)
    return program.plain


cdef bytes mask_of(Program program, values):
    """A mask of the inputs that are Values: (number of the input, ...) each."""
    mask = bytearray(program.input_count)
    for item in values:
        mask[item[0]] = 1
    return bytes(mask)


cdef Code code_for(Program program, bytes mapped, bytes wanted, bint captured_wanted, bint reverse):
    mapped, wanted = mapped or program.none, wanted or program.none
    key = mapped, wanted, captured_wanted, reverse
    code = program.codes.get(key)
    if code is None:
        code = program.codes[key] = compile_code(program.graph, program.input_count, program.captures,
                                                  program.optimize, mapped, wanted, captured_wanted, reverse)
        (<Code> code).key = key
    return code


cdef int check_indices(Program program, const double *numbers) except -1:
    """Every index into a table is in range."""
    cdef Py_ssize_t k, rows
    if program.limits:
        for k, rows in program.limits:
            if not -rows <= numbers[k] < rows:
                raise out_of_range(program, k, numbers[k], rows)
    return 0


cdef object out_of_range(Program program, Py_ssize_t k, double index, Py_ssize_t rows):
    return IndexError(f'index {index:.0f}{place_text(program, k)} is out of range for mg.take from'
                      f' {rows} rows')


cdef object place_text(Program program, Py_ssize_t k):
    """Where input k is found among the arguments."""
    for argument in program.arguments:
        if argument.first <= k < argument.first + argument.count:
            within = f', number {k - argument.first} in it' if argument.count > 1 else ''
            return f' (argument {python.argument_name(argument.name)}{within})'
    return ''


# ----------------------------------------------------------------------------------- many samples

cdef bytes mapped_inputs(Samples samples):
    cdef bytearray mask = bytearray(samples.one.count)
    cdef Columns columns
    for columns in samples.columns:
        memset(<char *> mask + columns.first, 1, columns.count)
    return bytes(mask)


cdef int check_sample_indices(Program program, Samples samples) except -1:
    cdef Py_ssize_t k, rows, s
    cdef Columns columns
    cdef double index
    if not program.limits:
        return 0
    check_indices(program, samples.one.numbers)
    for k, rows in program.limits:
        for columns in samples.columns:
            if columns.first <= k < columns.first + columns.count:
                for s in range(samples.count):
                    index = columns.numbers[s * columns.count + k - columns.first]
                    if not -rows <= index < rows:
                        raise out_of_range(program, k, index, rows)
    return 0


cdef object reduced(Program program, Samples samples, double scale):
    """scale times the sum over the samples of each result, as nodes of the tape."""
    cdef Code code
    cdef Buffers uniform
    cdef Py_ssize_t k
    cdef bytes wanted = None
    cdef bint recorded = recording()
    if recorded and (samples.one.values is not None or samples.values):
        wanted = mask_of(program, (samples.one.values or []) + samples.values)
    check_sample_indices(program, samples)
    code = code_for(program, mapped_inputs(samples), wanted, recorded,
                    recorded and (program.captures > 0 or wanted is not None))
    uniform = begun(program, code, samples.one.numbers, samples)
    results = []
    for k in range(code.outputs):
        results.append(reduced_result(program, code, k, uniform, samples, scale))
    code.spare.append(uniform)
    if program.single:
        return results[0]
    return Assembly(program.result_spec, results, objects).next()


cdef object reduced_result(Program program, Code code, Py_ssize_t k, Buffers uniform, Samples samples,
                           double scale):
    cdef double total
    cdef list mapped_values = []
    gradients = {number: None for number, _, _ in samples.values} if code.reverse else {}
    total = sweep(code, k, uniform, samples, gradients)
    if not (code.reverse and code.output_active[k]):
        return Value(scale * total)
    if samples.values:
        for number, s, value in samples.values:
            mapped_values.append((scale * gradients[number][s], value))
    result = push_call(program, code, scale * total, uniform.adjoints, scale, samples.one.values, mapped_values)
    clear_leaves(program, code, uniform.adjoints)
    return result


cdef object map_samples(Program program, Samples samples):
    """The results for every sample, as arrays."""
    import numpy
    cdef Code code
    cdef Buffers uniform
    cdef Job job
    cdef Py_ssize_t k
    check_sample_indices(program, samples)
    code = code_for(program, mapped_inputs(samples), None, False, False)
    uniform = begun(program, code, samples.one.numbers, samples)
    results = []
    for k in range(code.outputs):
        results.append(numpy.empty(samples.count))
    job = new_job(code, uniform, samples, -1, {})
    job.held.append(results)
    for k in range(code.outputs):
        if code.output_varying[k]:
            job.results[k] = <double *> address(results[k])
        else:
            results[k][:] = uniform.values[code.output_slot[k]]
    run_job(job)
    code.spare.append(uniform)
    n = samples.count
    return Assembly(program.result_spec, results, lambda leaves, shape: array_of_samples(leaves, shape, n)).next()


def array_of_samples(leaves, shape, n):
    import numpy
    return numpy.stack(leaves, -1).reshape((n, *shape)) if leaves else numpy.empty((n, *shape))


# -------------------------------------------------------------------------------------- gradients

def chosen_arguments(Program program, argnums):
    """The arguments that argnums names, and a mask of their inputs."""
    if type(argnums) is int and argnums in program.chosen:
        return program.chosen[argnums]
    mask = bytearray(program.input_count)
    numbers = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    arguments = []
    positional = [a for a in program.arguments if not isinstance(a.name, str)]
    for number in numbers:
        try:
            argument = positional[operator.index(number)]
        except IndexError:
            raise ValueError(f'argnums={argnums!r}: there are {len(positional)} positional arguments') from None
        except TypeError:
            raise TypeError(f'argnums must be an integer or a tuple of integers, not {argnums!r}') from None
        if argument.integers or not argument.count and all([item[0] != 'a' for item in argument.spec]):
            raise TypeError(f'argument {python.argument_name(argument.name)} must be made of floats to be'
                            f' differentiated by, not {argument.text}')
        mask[argument.first:argument.first + argument.count] = bytes([1]) * argument.count
        arguments.append(argument)
    chosen = arguments, bytes(mask)
    if type(argnums) is int:
        program.chosen[argnums] = chosen
    return chosen


cdef int check_single(Program program) except -1:
    if not program.single and program.result_spec != (('a', (), 'f'),):
        raise not_single(program.result_spec)
    return 0


cdef object not_single(spec):
    return TypeError(f'a gradient is that of a function with one number as its result, not {python.spec_text(spec)}')


def result_and_aux(Program program, has_aux):
    """The signature of what is differentiated of the result, and with has_aux, of what comes along: else None."""
    spec = program.result_spec
    if not has_aux:
        return spec, None
    if spec[0] != ('(', 2):
        raise TypeError('has_aux=True wants a function that returns a pair (result, aux),'
                        f' not {python.spec_text(spec)}')
    end, _, _ = python.end_of(spec, 1)
    return spec[1:end], spec[end:]


def assembled(arguments, argnums, leaves, array):
    """Gradients in the structure of their arguments."""
    parts = []
    for a in arguments:
        parts.append(Assembly(a.spec, leaves[a.first:a.first + a.count], array).next())
    return tuple(parts) if isinstance(argnums, (tuple, list)) else parts[0]


def assembled_result(spec, leaves, array):
    """A result of that signature."""
    return Assembly(spec, leaves, array).next()


def reshaped(numbers, shape):
    """The numbers of an array argument, an array of one dimension, in its shape."""
    return numbers.reshape(shape)


def gradient_at(Program program, Inputs inputs, argnums, has_aux):
    """(value, gradient) of a function of numbers; None where there are Values among them or a trace is on."""
    return value_and_gradient(program, inputs, argnums, has_aux) if numbers_alone(inputs) else None


cdef tuple value_and_gradient(Program program, Inputs inputs, argnums, has_aux):
    """Of one sample: (value, gradient), with has_aux ((value, aux), gradient)."""
    import numpy
    cdef Code code
    cdef Buffers buffers
    cdef Py_ssize_t k
    cdef int32_t slot
    spec, aux = result_and_aux(program, has_aux)
    if spec != ('f',) and spec != (('a', (), 'f'),):
        raise not_single(spec)
    arguments, mask = chosen_arguments(program, argnums)
    check_indices(program, inputs.numbers)
    code = code_for(program, None, mask, False, True)
    buffers = begun(program, code, inputs.numbers, None)
    slot = code.output_slot[0]
    value = numpy.float64(buffers.values[slot])
    if has_aux:
        others = []
        for k in range(1, code.outputs):
            others.append(buffers.values[code.output_slot[k]])
        value = value, Assembly(aux, numpy.array(others), reshaped).next()
    if code.output_active[0]:
        reverse_from(code, slot, 1, buffers.values, buffers.adjoints)
    gradient = numpy.empty(program.input_count)
    cdef double *to = <double *> address(gradient)
    if code.inputs_in_row:
        memcpy(to, buffers.adjoints + code.input_slot[0], code.inputs_in_row * sizeof(double))
    for k in range(code.inputs_in_row, program.input_count):
        to[k] = buffers.adjoints[code.input_slot[k]] if code.input_slot[k] >= 0 else 0.0
    clear_leaves(program, code, buffers.adjoints)
    code.spare.append(buffers)
    return value, assembled(arguments, argnums, gradient, reshaped)


cdef tuple reduced_value_and_gradient(Program program, Samples samples, argnums, double scale):
    """Of the mean or the sum over samples: (value, gradient)."""
    import numpy
    cdef Code code
    cdef Buffers uniform
    cdef Py_ssize_t k
    check_single(program)
    arguments, mask = chosen_arguments(program, argnums)
    check_sample_indices(program, samples)
    varies = mapped_inputs(samples)
    code = code_for(program, varies, mask, False, True)
    uniform = begun(program, code, samples.one.numbers, samples)
    gradients = {k: None for k in range(program.input_count) if mask[k] and varies[k]}
    total = sweep(code, 0, uniform, samples, gradients)
    leaves = [0.0] * program.input_count
    for k in range(program.input_count):
        if k in gradients:
            leaves[k] = gradients[k] * scale
        elif mask[k] and code.input_slot[k] >= 0:
            leaves[k] = numpy.float64(uniform.adjoints[code.input_slot[k]] * scale)
    clear_leaves(program, code, uniform.adjoints)
    code.spare.append(uniform)
    return numpy.float64(total * scale), assembled(arguments, argnums, leaves, stacked_or_plain)


cdef tuple mapped_value_and_gradient(Program program, Samples samples, argnums):
    """Of every sample: (values, gradients), a leading axis for the samples."""
    import numpy
    cdef Code code
    cdef Buffers uniform
    cdef Job job
    cdef Py_ssize_t k
    cdef bint careful
    check_single(program)
    arguments, mask = chosen_arguments(program, argnums)
    check_sample_indices(program, samples)
    # An argument that samples share has a gradient of its own in each: here it varies, too.
    varies = bytes([a | b for a, b in zip(mapped_inputs(samples), mask)])
    code = code_for(program, varies, mask, False, True)
    uniform = begun(program, code, samples.one.numbers, samples)
    values = numpy.full(samples.count, uniform.values[code.output_slot[0]] if not code.output_varying[0] else 0.0)
    leaves = {k: numpy.zeros(samples.count) for k in range(program.input_count) if mask[k]}
    if code.output_varying[0]:
        for careful in range(2):
            job = new_job(code, uniform, samples, 0, leaves)
            job.careful = careful
            job.held.append(values)
            job.results[0] = <double *> address(values)
            run_job(job)
            if careful or not nan_among(leaves):
                break
    code.spare.append(uniform)
    n = samples.count
    gradients = []
    for k in range(program.input_count):
        gradients.append(leaves.get(k))
    return values, assembled(arguments, argnums, gradients, lambda parts, shape: array_of_samples(parts, shape, n))


def stacked_or_plain(leaves, shape):
    """An array of a gradient by an argument: of one a sample where the argument is mapped."""
    import numpy
    if leaves and getattr(leaves[0], 'ndim', 0):
        return array_of_samples(leaves, shape, len(leaves[0]))
    return numpy.array(leaves, numpy.float64).reshape(shape)
