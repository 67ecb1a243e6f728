# Replaying: a program's code is run for one sample or for many, with no Python in the loop.

cdef enum:
    ALIGNMENT = 64
    BLOCKS_A_CHUNK = 4          # at least: what a chunk costs by itself is spread over them
    MOST_CHUNKS = 64
    LONG_CODE = 4096            # instructions worth giving up the GIL for
    MOST_THREADS = 1024
    SPINS = 1 << 14             # looks for the end of other threads' chunks before going to sleep
    STRETCH = 1 << 25           # slots times samples between two looks for Ctrl-C

cdef const Engine *engine = NULL
cdef int thread_count = 1
cdef object thread_pool = None
cdef int pool_process = -1


cdef int select_engine() except -1:
    global engine
    cdef bytes name = os.environ.get('MICROGRAD_C_ISA', '').encode()
    if name:
        engine = engine_select(name)
    else:
        engine = engine_select(NULL)
    if engine == NULL:
        raise ImportError(f'MICROGRAD_C_ISA={name.decode()}: not one of baseline, avx2, avx512, or not one that this'
                          f' processor has')
    return 0

select_engine()


def get_isa():
    """The instruction set that programs run with: 'baseline', 'avx2' or 'avx512'.

    The best one that the processor has, unless MICROGRAD_C_ISA names another when the module is loaded.
    """
    return engine.isa.decode()


def get_num_threads():
    """How many threads mapped calls (`f.mean`, `f.sum`, `f.map`) of programs share their samples among."""
    return thread_count


def set_num_threads(n):
    """Share the samples of mapped calls among n threads. Results do not depend on n.

    TypeError if n is not an integer, ValueError if it is not positive.

    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    >>> set_num_threads(1)
    """
    global thread_count
    n = operator.index(n)
    if not 1 <= n <= MOST_THREADS:
        raise ValueError(f'the number of threads must be from 1 to {MOST_THREADS}, not {n}')
    thread_count = n


cdef object pool_of_threads():
    """The threads besides the calling one; each starts when it is first needed."""
    global thread_pool, pool_process
    from concurrent.futures import ThreadPoolExecutor
    if pool_process != os.getpid():     # threads do not survive a fork
        thread_pool = ThreadPoolExecutor(MOST_THREADS, 'micrograd_c')
        pool_process = os.getpid()
    return thread_pool


# ------------------------------------------------------------------------------------------- buffers

cdef class Buffers:
    """Arrays of doubles, aligned, zero at first."""
    cdef void *memory
    cdef double *values
    cdef double *adjoints
    cdef double *uniform    # adjoints of uniform slots, MINI lanes each
    cdef double *mini_values    # of the last, padded block of samples
    cdef double *mini_adjoints
    cdef Py_ssize_t lanes       # of the block that was last here

    def __dealloc__(self):
        free(self.memory)


cdef Py_ssize_t aligned(Py_ssize_t count):
    return (count * sizeof(double) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef Buffers new_buffers(Py_ssize_t slots, Py_ssize_t lanes, Py_ssize_t uniform):
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef Py_ssize_t size = aligned(slots * lanes), mini = aligned(slots * MINI) if lanes > 1 else 0, start
    buffers.memory = calloc(2 * (size + mini) + aligned(uniform * MINI) + ALIGNMENT, 1)
    if buffers.memory == NULL:
        raise MemoryError(f'no memory for a program of {slots:,} slots')
    start = (<Py_ssize_t> buffers.memory + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    buffers.values = <double *> start
    buffers.adjoints = <double *> (start + size)
    buffers.mini_values = <double *> (start + 2 * size)
    buffers.mini_adjoints = <double *> (start + 2 * size + mini)
    buffers.uniform = <double *> (start + 2 * (size + mini))
    return buffers


cdef Buffers uniform_buffers(Code code):
    if code.spare:
        return code.spare.pop()
    cdef Buffers buffers = new_buffers(code.uniform.slots, 1, 0)
    for slot, number in code.constants:
        buffers.values[<Py_ssize_t> slot] = number
    return buffers


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


cdef Buffers begun(Program program, Code code, const double *numbers, Samples samples) except *:
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


cdef void run_forward(Code code, double *u) noexcept:
    if code.uniform.code.count < LONG_CODE:
        engine.forward(&code.uniform.code, u)
    else:
        with nogil:
            engine.forward(&code.uniform.code, u)


cdef void run_reverse(Code code, const double *u, double *gu, bint careful) noexcept:
    if code.uniform.code.count < LONG_CODE:
        engine.reverse[careful](&code.uniform.code, u, gu)
    else:
        with nogil:
            engine.reverse[careful](&code.uniform.code, u, gu)


cdef void reverse_from(Code code, Py_ssize_t slot, double weight, const double *u, double *gu) noexcept:
    """The adjoints of the leaves, for the adjoint of one result: quickly, and where that yields nan carefully."""
    cdef bint careful
    for careful in range(2):
        gu[slot] = weight
        run_reverse(code, u, gu, careful)
        if careful or not engine.has_nan(gu, code.leaves):
            return
        clear_adjoints(code, gu)


cdef void clear_adjoints(Code code, double *gu) noexcept:
    memset(gu, 0, code.uniform.slots * sizeof(double))


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
        code = program.codes[key] = compile_code(program, mapped, wanted, captured_wanted, reverse)
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
            return f' (argument {argument_name(argument.name)}{within})'
    return ''


# ----------------------------------------------------------------------------------- many samples

cdef struct Column:
    const double *start     # the number of the first sample
    Py_ssize_t stride       # in doubles, to the next sample; 0: shared by all
    int32_t slot
    double *gradient        # where the adjoints go, one a sample, or NULL


cdef class Job:
    """A mapped call that is under way: samples in blocks, blocks in chunks, chunks shared among threads.

    How samples are divided depends on their number alone, and what chunks yield is added in their order:
    so the results are the same for any number of threads.
    """
    cdef Code code
    cdef Buffers uniform
    cdef Column *columns        # the inputs that vary
    cdef Py_ssize_t inputs, samples
    cdef Py_ssize_t chunk, chunks               # samples a chunk, and how many of them
    cdef int64_t next_chunk, chunks_done        # the next to be begun; how many are finished
    cdef Py_ssize_t lanes
    cdef Py_ssize_t output      # the result whose adjoint is 1; -1: no reverse sweep
    cdef bint careful           # whether that is the careful one
    cdef double **results       # where each result's numbers go, a sample each, or NULL
    cdef double *totals         # by chunk: the sum of the result over the samples
    cdef double *shared         # by chunk: the adjoints of the uniform slots that samples share
    cdef list held              # all arrays behind the pointers: a thread may outlive an interrupted call

    def __dealloc__(self):
        free(self.columns)
        free(self.results)
        free(self.totals)
        free(self.shared)

    def work(self):
        """Do chunks until there are none left."""
        cdef Buffers block
        cdef Code code = self.code
        cdef int64_t k = 0
        cdef Py_ssize_t stretch = max(1, STRETCH // (self.chunk * (code.varying.slots + 1)))
        if code.spare_blocks:
            block = code.spare_blocks.pop()
        else:
            block = new_buffers(code.varying.slots, code.lanes, code.shared_slots)
        while k < self.chunks:
            with nogil:
                for _ in range(stretch):
                    k = add_to(&self.next_chunk, 1)
                    if k >= self.chunks:
                        break
                    do_chunk(self, code, k, block)
                    add_to(&self.chunks_done, 1)
            PyErr_CheckSignals()
        code.spare_blocks.append(block)


cdef void *allocated(Py_ssize_t count, size_t size) except NULL:
    cdef void *p = calloc(count + 1, size)
    if p == NULL:
        raise MemoryError
    return p


cdef Job new_job(Code code, Buffers uniform, Samples samples, Py_ssize_t output, dict gradients):
    """gradients: arrays for the adjoints of inputs, by their number."""
    cdef Job job = Job.__new__(Job)
    cdef Py_ssize_t k, blocks, inputs = samples.one.count
    cdef Columns columns
    cdef Column *column
    job.code, job.uniform, job.samples = code, uniform, samples.count
    job.output = output
    job.held = [samples, gradients]
    job.columns = <Column *> allocated(inputs, sizeof(Column))
    job.results = <double **> allocated(code.outputs, sizeof(double *))
    for k in range(inputs):
        job.columns[k].start = &samples.one.numbers[k]
    for columns in samples.columns:
        for k in range(columns.count):
            job.columns[columns.first + k].start = columns.numbers + k * columns.to_input
            job.columns[columns.first + k].stride = columns.to_sample
    for k in range(inputs):     # those that vary and are used move to the front
        if code.mapped[k] and code.input_slot[k] >= 0:
            column = &job.columns[job.inputs]
            column[0] = job.columns[k]
            column.slot = code.input_slot[k]
            if k in gradients:
                column.gradient = <double *> address(gradients[k])
            job.inputs += 1
    job.lanes = max(min(code.lanes, samples.count // MINI * MINI), MINI)
    blocks = (samples.count + job.lanes - 1) // job.lanes
    job.chunk = max(BLOCKS_A_CHUNK, (blocks + MOST_CHUNKS - 1) // MOST_CHUNKS) * job.lanes
    job.chunks = (samples.count + job.chunk - 1) // job.chunk
    job.totals = <double *> allocated(job.chunks, sizeof(double))
    job.shared = <double *> allocated(job.chunks * code.shared_slots, sizeof(double))
    return job


cdef int run_job(Job job) except -1:
    """Do all chunks, with the threads there are."""
    cdef Py_ssize_t threads = min(<Py_ssize_t> thread_count, job.chunks)
    if threads < 2:
        job.work()
        return 0
    from time import sleep
    others = []
    try:
        submit_work(job, threads - 1, others)
        job.work()
        for other in others:
            other.cancel()          # those that have not begun
        while not chunks_finished(job):
            sleep(1e-4)
    finally:
        job.next_chunk = job.chunks # where something was raised: the other threads stop
    return 0


cdef bint chunks_finished(Job job) noexcept:
    """Whether all chunks are finished, soon: to be woken up would take as long as most of them."""
    cdef Py_ssize_t k
    with nogil:
        for k in range(SPINS):
            if add_to(&job.chunks_done, 0) >= job.chunks:
                return True
    return False


cdef int submit_work(Job job, Py_ssize_t threads, list others) except -1:
    global pool_process
    try:
        pool = pool_of_threads()
        for _ in range(threads):
            others.append(pool.submit(job.work))
    except (RuntimeError, ImportError):
        pass    # Python is ending, or has no more threads: those that there are do it all
    except BaseException:
        pool_process = -1   # Ctrl-C within `submit` may leave its locks taken: the next call makes a new pool
        raise
    return 0


cdef void do_chunk(Job job, Code code, Py_ssize_t chunk, Buffers block) noexcept nogil:
    """Whole blocks first, then what is left as blocks of MINI lanes, the last of them padded."""
    cdef Py_ssize_t k, s = chunk * job.chunk, end = min(s + job.chunk, job.samples), slots = code.shared_slots
    cdef double *shared = job.shared + chunk * slots
    cdef double *total = job.totals + chunk
    memset(block.uniform, 0, slots * MINI * sizeof(double))
    while s + job.lanes <= end:
        do_block(job, code, block, s, job.lanes, job.lanes, total)
        s += job.lanes
    if s + MINI <= end:
        k = (end - s) // MINI * MINI
        do_block(job, code, block, s, k, k, total)
        s += k
    for k in range(slots):
        shared[k] = sum_of_lanes(block.uniform + k * MINI, MINI)
    if s < end:
        memset(block.uniform, 0, slots * MINI * sizeof(double))
        do_block(job, code, block, s, MINI, end - s, total)
        for k in range(slots):
            shared[k] += sum_of_lanes(block.uniform + k * MINI, end - s)


cdef inline double sum_of_lanes(const double *lane, Py_ssize_t count) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t k
    if count == MINI:
        return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]))
    for k in range(count):
        total += lane[k]
    return total


cdef void do_block(Job job, Code code, Buffers block, Py_ssize_t s, Py_ssize_t lanes, Py_ssize_t count,
                   double *total) noexcept nogil:
    """The samples from s on: `count` of them, padded to `lanes` with the last one."""
    cdef double *v = block.values if count == lanes else block.mini_values
    cdef double *gv = block.adjoints if count == lanes else block.mini_adjoints
    cdef const double *u = job.uniform.values
    cdef Py_ssize_t k, l, stride
    cdef const double *start
    cdef double *row
    for k in range(job.inputs):
        stride = job.columns[k].stride
        start = job.columns[k].start + s * stride
        row = v + job.columns[k].slot * lanes
        for l in range(count):
            row[l] = start[l * stride]
        for l in range(count, lanes):
            row[l] = row[count - 1]
    if count == lanes != block.lanes:   # what nobody took from inactive slots now stands elsewhere
        memset(gv, 0, code.varying.slots * block.lanes * sizeof(double))
        block.lanes = lanes
    engine.forward_lanes(&code.varying.code, u, v, lanes)
    for k in range(code.outputs):
        if job.results[k] != NULL:
            row = v + code.output_slot[k] * lanes
            for l in range(count):
                job.results[k][s + l] = row[l]
    if job.output < 0:
        return
    row = v + code.output_slot[job.output] * lanes
    for l in range(count):
        total[0] += row[l]
    if not (code.reverse and code.output_active[job.output]):
        return
    row = gv + code.output_slot[job.output] * lanes
    for l in range(lanes):
        row[l] = 1
    engine.reverse_lanes[job.careful](&code.varying.code, u, v, block.uniform, gv, lanes)
    for k in range(job.inputs):
        row = gv + job.columns[k].slot * lanes
        if job.columns[k].gradient != NULL:
            for l in range(count):
                job.columns[k].gradient[s + l] = row[l]
        memset(row, 0, lanes * sizeof(double))


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
    total = sweep(program, code, k, uniform, samples, gradients)
    if not (code.reverse and code.output_active[k]):
        return Value(scale * total)
    if samples.values:
        for number, s, value in samples.values:
            mapped_values.append((scale * gradients[number][s], value))
    result = push_call(program, code, scale * total, uniform.adjoints, scale, samples.one.values, mapped_values)
    clear_leaves(program, code, uniform.adjoints)
    return result


cdef double sweep(Program program, Code code, Py_ssize_t k, Buffers uniform, Samples samples,
                  dict gradients) except? -1:
    """The sum of result k over the samples; its adjoints by uniform leaves are then in uniform.adjoints.

    gradients: for each input of its keys, which vary, an array of its adjoints by sample is put there.
    """
    cdef double total = 0
    cdef double *gu = uniform.adjoints
    cdef Py_ssize_t c, j
    cdef bint careful
    cdef Job job
    if gradients:
        import numpy
        for number in gradients:
            gradients[number] = numpy.zeros(samples.count)
    if not code.output_varying[k]:
        total = uniform.values[code.output_slot[k]] * samples.count if samples.count else 0.0
        if code.reverse and code.output_active[k]:
            reverse_from(code, code.output_slot[k], samples.count, uniform.values, gu)
        return total
    for careful in range(2):
        job = new_job(code, uniform, samples, k, gradients)
        job.careful = careful
        run_job(job)
        total = 0
        for c in range(job.chunks):
            total += job.totals[c]
            for j in range(code.shared_slots):
                gu[j] += job.shared[c * code.shared_slots + j]
        if not (code.reverse and code.output_active[k]):
            break
        run_reverse(code, uniform.values, gu, careful)
        if careful or not (engine.has_nan(gu, code.leaves) or nan_among(gradients)):
            break
        clear_adjoints(code, gu)
    return total


cdef bint nan_among(dict arrays) except -1:
    for array in arrays.values():
        if engine.has_nan(<double *> address(array), len(array)):
            return True
    return False


cdef object mapped(Program program, Samples samples):
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
            raise TypeError(f'argnums must be an integer or a tuple of such, not {argnums!r}') from None
        if argument.integers or not argument.count and all([item[0] != 'a' for item in argument.spec]):
            raise TypeError(f'argument {argument_name(argument.name)} must be made of floats to be differentiated'
                            f' by, not {argument.text}')
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
    return TypeError(f'a gradient is that of a function with one number as its result, not {spec_text(spec)}')


def result_and_aux(Program program, has_aux):
    """The signature of what is differentiated of the result, and with has_aux, of what comes along: else None."""
    spec = program.result_spec
    if not has_aux:
        return spec, None
    if spec[0] != ('(', 2):
        raise TypeError(f'has_aux=True wants a function that returns a pair (result, aux), not {spec_text(spec)}')
    end, _, _ = end_of(spec, 1)
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
    total = sweep(program, code, 0, uniform, samples, gradients)
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
