# Programs: traced functions, replayed for one sample or for many, with no Python in the loop.

cdef enum:
    ALIGNMENT = 64
    MINI = 8                    # lanes of the last block of samples, some of which may be padding
    MOST_LANES = 64
    BLOCK_BYTES = 1 << 18       # the working set of a block, at most, where MINI lanes allow it
    BLOCKS_A_CHUNK = 4          # at least: what a chunk costs by itself is spread over them
    MOST_CHUNKS = 64
    LONG_CODE = 4096            # instructions worth giving up the GIL for
    MOST_THREADS = 1024
    SPINS = 1 << 14             # looks for the end of other threads' chunks before going to sleep
    STRETCH = 1 << 25           # slots times samples between two looks for Ctrl-C

cdef class Code
cdef class Callable
cdef class Program(Callable)

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


# ------------------------------------------------------------------------------------------- code

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


cdef class Code:
    """A program compiled for a way of calling it: which inputs vary, which derivatives are wanted."""
    cdef Part uniform, varying
    cdef bint reverse
    cdef const uint8_t *mapped      # of each input: whether it varies
    cdef int32_t *input_slot        # of each input, -1: not used
    cdef int32_t *captured_slot     # of each captured Value, likewise; always uniform
    cdef int32_t *output_slot       # of each result
    cdef uint8_t *output_varying
    cdef uint8_t *output_active
    cdef uint8_t *input_active
    cdef list constants             # (slot, number)
    cdef Py_ssize_t outputs, lanes
    cdef Py_ssize_t shared_slots    # varying code adds to the adjoints of uniform slots below this number
    cdef object held
    cdef list spare                 # Buffers of the uniform part, ready for a call
    cdef list spare_blocks          # and of the varying part


cdef object filled(Py_ssize_t count):
    import numpy
    return numpy.full(count, -1, numpy.int32)


cdef Code compile_code(Program program, bytes mapped, bytes wanted, bint captured_wanted, bint reverse):
    """The code for inputs that vary as `mapped` says, with derivatives by those that `wanted` says."""
    import numpy
    cdef Code code = Code.__new__(Code)
    if not ops_known:
        learn_ops()
    cdef Py_ssize_t k, i, slots = 0, varying_slots = 0
    cdef Layout g
    mask = numpy.frombuffer(mapped, numpy.uint8)
    graph = separate(program.graph, varying(program.graph, mask))
    graph, varies = broadcast_rows(graph, varying(graph, mask))
    if reverse:
        lives = active(graph, numpy.frombuffer(wanted, numpy.uint8), captured_wanted)
    else:
        lives = numpy.zeros(len(graph.op), numpy.uint8)
    g = Layout(graph, varies, lives)
    captured_slot, input_slot = filled(len(program.captured)), filled(program.input_count)
    code.constants = []
    leaves = numpy.nonzero(graph.op == OP_LEAF)[0]
    for kind in (CAPTURED, INPUT, CONSTANT):
        for i in leaves[graph.lhs[leaves] == kind].tolist():
            if g.varying[i]:
                g.slot[i] = <int32_t> varying_slots
                varying_slots += 1
            else:
                g.slot[i] = <int32_t> slots
                slots += 1
            if kind == CONSTANT:
                code.constants.append((g.slot[i], float(graph.data[i])))
            else:
                (captured_slot if kind == CAPTURED else input_slot)[g.rhs[i]] = g.slot[i]
    for i in graph.outputs.tolist():
        g.kept[i] = True
    keep_for_varying(g)
    keep_for_reverse(g)
    code.uniform = part_of(g, False, slots, program.optimize)
    code.varying = part_of(g, True, varying_slots, program.optimize)
    held = g.held
    output_slot = held[4][graph.outputs]
    output_varying, output_active = varies[graph.outputs], lives[graph.outputs]
    code.held = mapped, wanted, captured_slot, input_slot, output_slot, output_varying, output_active
    code.mapped = <const uint8_t *> <const char *> mapped
    code.input_active = <uint8_t *> <char *> wanted
    code.captured_slot = <int32_t *> address(captured_slot)
    code.input_slot = <int32_t *> address(input_slot)
    code.output_slot = <int32_t *> address(output_slot)
    code.output_varying = <uint8_t *> address(output_varying)
    code.output_active = <uint8_t *> address(output_active)
    code.outputs = len(output_slot)
    code.reverse = reverse
    code.shared_slots = slots_shared(g) if reverse else 0
    # A multiple of MINI, the largest whose working set stays in the cache.
    code.lanes = BLOCK_BYTES // (2 * sizeof(double) * max(code.varying.slots, 1)) // MINI * MINI
    code.lanes = min(max(code.lanes, MINI), MOST_LANES)
    code.spare, code.spare_blocks = [], []
    return code


cdef Py_ssize_t slots_shared(Layout g):
    """One more than the highest uniform slot that varying code reads."""
    cdef const int32_t *operands = NULL
    cdef int32_t pair[2]
    cdef Py_ssize_t i, k, count, top = 0
    for i in range(g.count):
        if g.varying[i] and g.active[i]:
            count = operands_of(g, i, &operands, pair)
            for k in range(count):
                if not g.varying[operands[k]]:
                    top = max(top, g.slot[operands[k]] + 1)
    return top


def broadcast_rows(graph, varies):
    """The rows of a take that varies all vary: uniform ones, where there are others, get a varying copy.

    Returns the graph and which of its nodes vary. (Elsewhere the kinds may mix.)
    """
    import numpy
    takes = []
    for i in numpy.nonzero((graph.op == OP_TAKE) & (varies == 1))[0].tolist():
        first = graph.lhs[i] + 1
        kinds = varies[graph.edges[first:first + graph.rhs[i] - 1]]
        if kinds.any() and not kinds.all():
            takes.append(i)
    if not takes:
        return graph, varies
    # A copy is row + 0, and 0 the number right after the 1.
    places, rows, slots = [1], [], []
    for i in takes:
        for e in range(graph.lhs[i] + 1, graph.lhs[i] + graph.rhs[i]):
            if not varies[graph.edges[e]]:
                places.append(i)
                rows.append(graph.edges[e])
                slots.append(e)
    number = numpy.arange(len(graph.op)) + numpy.searchsorted(places, numpy.arange(len(graph.op)), 'right')
    number = number.astype(numpy.int32)
    copies = numpy.array(places[1:]) + 1 + numpy.arange(len(rows))
    op, data = numpy.insert(graph.op, places, 0), numpy.insert(graph.data, places, 0)
    lhs, rhs = numpy.insert(graph.lhs, places, 0), numpy.insert(graph.rhs, places, 0)
    table = (op != OP_LEAF) & (op < OP_PLAIN)
    lhs[table], rhs[table] = number[lhs[table]], number[rhs[table]]
    op[copies], lhs[copies], rhs[copies] = OP_ADD, number[rows], 1
    edges = number[graph.edges]
    edges[slots] = copies
    varies = numpy.insert(varies, places, 0)
    varies[copies] = 1
    return Graph(op, lhs, rhs, data, edges, number[graph.outputs]), varies


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


cdef int gather(Program program, Code code, const double *numbers, double *u) except -1:
    """Read the captured Values, and the inputs that all samples share, into their slots."""
    cdef Py_ssize_t k
    cdef int32_t slot
    locate(program)
    for k in range(program.captures):
        slot = code.captured_slot[k]
        if slot >= 0:
            u[slot] = node_at(program.indices[k]).data
    for k in range(program.input_count):
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
    finish_nary(facade, OP_NARY, primal, first)
    return result


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
    for k in range(program.input_count):
        if code.input_slot[k] >= 0 and not code.mapped[k]:
            gu[code.input_slot[k]] = 0


cdef void run_forward(Code code, double *u) noexcept:
    if code.uniform.code.count < LONG_CODE:
        engine.forward(&code.uniform.code, u)
    else:
        with nogil:
            engine.forward(&code.uniform.code, u)


cdef void run_reverse(Code code, const double *u, double *gu) noexcept:
    if code.uniform.code.count < LONG_CODE:
        engine.reverse(&code.uniform.code, u, gu)
    else:
        with nogil:
            engine.reverse(&code.uniform.code, u, gu)


cdef object call_one(Program program, Inputs inputs):
    """The results for one sample, as nodes of the tape."""
    cdef Code code
    cdef Buffers buffers
    cdef double *u
    cdef double *gu
    cdef Py_ssize_t k
    cdef list results
    check_indices(program, inputs.numbers)
    code = code_for_one(program, inputs)
    buffers = uniform_buffers(code)
    u, gu = buffers.values, buffers.adjoints
    gather(program, code, inputs.numbers, u)
    run_forward(code, u)
    if program.single:
        result = one_result(program, code, 0, u, gu, inputs)
        code.spare.append(buffers)
        return result
    results = [one_result(program, code, k, u, gu, inputs) for k in range(code.outputs)]
    code.spare.append(buffers)
    return Assembly(program.result_spec, results, objects).next()


cdef object one_result(Program program, Code code, Py_ssize_t k, double *u, double *gu, Inputs inputs):
    cdef int32_t slot = code.output_slot[k]
    if not (code.reverse and code.output_active[k]):
        return Value(u[slot])
    gu[slot] = 1
    run_reverse(code, u, gu)
    result = push_call(program, code, u[slot], gu, 1, inputs.values, None)
    clear_leaves(program, code, gu)
    return result


cdef Code code_for_one(Program program, Inputs inputs):
    if inputs.values is None:
        if program.plain is None:
            program.plain = code_for(program, None, None, True, len(program.captured) > 0)
        return program.plain
    wanted = bytearray(program.input_count)
    for number, _ in inputs.values:
        wanted[number] = 1
    return code_for(program, None, bytes(wanted), True, True)


cdef Code code_for(Program program, bytes mapped, bytes wanted, bint captured_wanted, bint reverse):
    none = bytes(program.input_count)
    mapped, wanted = mapped or none, wanted or none
    key = mapped, wanted, captured_wanted, reverse
    code = program.codes.get(key)
    if code is None:
        code = program.codes[key] = compile_code(program, mapped, wanted, captured_wanted, reverse)
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
            job.columns[columns.first + k].start = columns.numbers + k
            job.columns[columns.first + k].stride = columns.count
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
    others = []
    try:
        submit_work(job, threads - 1, others)
        job.work()
        begun = [other for other in others if not other.cancel()]
        if not wait_for_chunks(job):
            for other in begun:
                other.result()
    finally:
        job.next_chunk = job.chunks # where something was raised: the other threads stop
    return 0


cdef bint wait_for_chunks(Job job) noexcept:
    """Whether all chunks are finished, soon: being woken up would take as long as most of them."""
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
    engine.reverse_lanes(&code.varying.code, u, v, block.uniform, gv, lanes)
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
    if samples.one.values is not None or samples.values:
        mask = bytearray(program.input_count)
        for number, _ in samples.one.values or ():
            mask[number] = 1
        for number, _, _ in samples.values:
            mask[number] = 1
        wanted = bytes(mask)
    check_sample_indices(program, samples)
    code = code_for(program, mapped_inputs(samples), wanted, True,
                    len(program.captured) > 0 or wanted is not None)
    uniform = uniform_buffers(code)
    gather(program, code, samples.one.numbers, uniform.values)
    run_forward(code, uniform.values)
    results = [reduced_result(program, code, k, uniform, samples, scale) for k in range(code.outputs)]
    code.spare.append(uniform)
    if program.single:
        return results[0]
    return Assembly(program.result_spec, results, objects).next()


cdef object reduced_result(Program program, Code code, Py_ssize_t k, Buffers uniform, Samples samples,
                           double scale):
    cdef double total
    cdef list mapped_values = None
    gradients = {number: None for number, _, _ in samples.values}
    total = sweep(program, code, k, uniform, samples, gradients)
    if not (code.reverse and code.output_active[k]):
        return Value(scale * total)
    if samples.values:
        mapped_values = [(scale * gradients[number][s], value) for number, s, value in samples.values]
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
    cdef Job job
    if gradients:
        import numpy
        for number in gradients:
            gradients[number] = numpy.zeros(samples.count)
    if not code.output_varying[k]:
        total = uniform.values[code.output_slot[k]] * samples.count if samples.count else 0.0
        if code.reverse and code.output_active[k]:
            gu[code.output_slot[k]] = samples.count
            run_reverse(code, uniform.values, gu)
        return total
    job = new_job(code, uniform, samples, k, gradients)
    run_job(job)
    for c in range(job.chunks):
        total += job.totals[c]
        for j in range(code.shared_slots):
            gu[j] += job.shared[c * code.shared_slots + j]
    if code.reverse and code.output_active[k]:
        run_reverse(code, uniform.values, gu)
    return total


cdef object mapped(Program program, Samples samples):
    """The results for every sample, as arrays."""
    import numpy
    cdef Code code
    cdef Buffers uniform
    cdef Job job
    cdef Py_ssize_t k
    check_sample_indices(program, samples)
    code = code_for(program, mapped_inputs(samples), None, False, False)
    uniform = uniform_buffers(code)
    gather(program, code, samples.one.numbers, uniform.values)
    run_forward(code, uniform.values)
    results = [numpy.empty(samples.count) for k in range(code.outputs)]
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

cdef object chosen_arguments(Program program, argnums):
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
        if not argument.count or argument.integers:
            raise TypeError(f'argument {argument_name(argument.name)} must be made of floats to be differentiated'
                            f' by, not {argument.text}')
        mask[argument.first:argument.first + argument.count] = bytes([1]) * argument.count
        arguments.append(argument)
    chosen = arguments, bytes(mask)
    if type(argnums) is int:
        program.chosen[argnums] = chosen
    return chosen


cdef int check_single(Program program) except -1:
    if not program.single:
        raise TypeError(f'a gradient is that of a function with one number as its result, not'
                        f' {spec_text(program.result_spec)}')
    return 0


cdef object assembled(arguments, argnums, leaves, array):
    """Gradients in the structure of their arguments."""
    parts = [Assembly(a.spec, leaves[a.first:a.first + a.count], array).next() for a in arguments]
    return tuple(parts) if isinstance(argnums, (tuple, list)) else parts[0]


def reshaped(numbers, shape):
    """The numbers of an array argument, an array of one dimension, in its shape."""
    return numbers.reshape(shape)


cdef tuple value_and_gradient(Program program, Inputs inputs, argnums):
    """Of one sample: (value, gradient)."""
    import numpy
    cdef Code code
    cdef Buffers buffers
    cdef Py_ssize_t k
    cdef int32_t slot
    check_single(program)
    arguments, mask = chosen_arguments(program, argnums)
    check_indices(program, inputs.numbers)
    code = code_for(program, None, mask, False, True)
    buffers = uniform_buffers(code)
    gather(program, code, inputs.numbers, buffers.values)
    run_forward(code, buffers.values)
    slot = code.output_slot[0]
    value = numpy.float64(buffers.values[slot])
    if code.output_active[0]:
        buffers.adjoints[slot] = 1
        run_reverse(code, buffers.values, buffers.adjoints)
    gradient = numpy.zeros(program.input_count)
    cdef object[double, mode='c'] to = gradient
    for k in range(program.input_count):
        if code.input_slot[k] >= 0:
            to[k] = buffers.adjoints[code.input_slot[k]]
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
    uniform = uniform_buffers(code)
    gather(program, code, samples.one.numbers, uniform.values)
    run_forward(code, uniform.values)
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
    check_single(program)
    arguments, mask = chosen_arguments(program, argnums)
    check_sample_indices(program, samples)
    # An argument that samples share has a gradient of its own in each: here it varies, too.
    varies = bytes([a | b for a, b in zip(mapped_inputs(samples), mask)])
    code = code_for(program, varies, mask, False, True)
    uniform = uniform_buffers(code)
    gather(program, code, samples.one.numbers, uniform.values)
    run_forward(code, uniform.values)
    values = numpy.full(samples.count, uniform.values[code.output_slot[0]] if not code.output_varying[0] else 0.0)
    leaves = {k: numpy.zeros(samples.count) for k in range(program.input_count) if mask[k]}
    if code.output_varying[0]:
        job = new_job(code, uniform, samples, 0, leaves)
        job.held.append(values)
        job.results[0] = <double *> address(values)
        run_job(job)
    code.spare.append(uniform)
    n = samples.count
    leaves = [leaves.get(k) for k in range(program.input_count)]
    return values, assembled(arguments, argnums, leaves, lambda parts, shape: array_of_samples(parts, shape, n))


def stacked_or_plain(leaves, shape):
    """An array of a gradient by an argument: of one a sample where the argument is mapped."""
    import numpy
    if leaves and getattr(leaves[0], 'ndim', 0):
        return array_of_samples(leaves, shape, len(leaves[0]))
    return numpy.array(leaves, numpy.float64).reshape(shape)


# ---------------------------------------------------------------------------------------- programs

Argument = namedtuple('Argument', 'name spec first count integers text')


@cython.boundscheck(True)
def arguments_of(spec, names):
    """What each argument of a signature is: an Argument, its inputs from number `first` on."""
    arguments = []
    at = first = 0
    keywords = None
    while at < len(spec):
        if spec[at][0] == 'k':
            keywords = iter(spec[at][1])
            at += 1
            continue
        name = (names, len(arguments)) if keywords is None else next(keywords)
        end, count, integers = end_of(spec, at)
        part = spec[at:end]
        arguments.append(Argument(name, part, first, count, integers, spec_text(part)))
        at = end
        first += count
    return tuple(arguments)


@cython.boundscheck(True)
def end_of(spec, at):
    """(where the part that begins at `at` ends, its number of inputs, whether there are integers)"""
    parts, inputs, integers = 1, 0, False
    while parts:
        item = spec[at]
        at += 1
        parts -= 1
        if isinstance(item, str):
            inputs += 1
            integers |= item == 'i'
        elif item[0] == 'a':
            inputs += size_of(item[1])
            integers |= item[2] == 'i'
        elif item[0] == 'o':
            parts += size_of(item[1])
        elif item[0] == '[' or item[0] == '(':
            parts += item[1]
        elif item[0] == '{':
            parts += len(item[1])
        elif item[0] == 'n':
            parts += len(item[1]._fields)
    return at, inputs, integers


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
        return self.finish(value_and_gradient(self.of.program_of(inputs, None), inputs, argnums))

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
    program.single = program.result_spec == ('f',)
    program.limits = limits_of(graph)
    program.codes, program.chosen = {}, {}
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
    for k, _ in limits_of(graph):
        if k not in integer_inputs(spec):
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
    leaves = begin_trace(inputs.numbers, inputs.count)
    try:
        for k in integer_inputs(spec):
            leaves[k] = Integer(int(inputs.numbers[k]), k, leaves[k], baked)
        args, keywords = Assembly(spec, leaves, objects).arguments()
        result = function.function(*args, **keywords)
        take_result_apart(result, result_spec, results, 0)
        graph, captured = lift_graph(results)
    finally:
        end_trace()
    if function.optimize:
        graph = optimized(graph)
    return new_program(graph, captured, spec, result_spec, {k: int(inputs.numbers[k]) for k in sorted(baked)},
                       function.names, function.optimize, baked)


def optimized(graph):
    """The passes, in their order: constants that meet in a sum are folded once more."""
    for step in (fold_constants, share, reachable, fuse_sums, fold_constants, reachable):
        graph = step(graph)
    return graph


def eager_arguments(args, keywords, names):
    """The arguments of one sample with each float as a Value: (args, keywords, these Values)."""
    cdef Inputs inputs = inputs_of(args, keywords, names)
    cdef Py_ssize_t k
    cdef list leaves = [Value(inputs.numbers[k]) for k in range(inputs.count)]
    values = list(leaves)
    for k in integer_inputs(inputs.spec):
        leaves[k] = int(inputs.numbers[k])
    args, keywords = Assembly(tuple(inputs.spec), leaves, objects).arguments()
    return args, keywords, values


def flat_results(result):
    """The Values and numbers that a result holds, from left to right."""
    cdef list leaves = []
    take_result_apart(result, [], leaves, 0)
    return leaves


@cython.wraparound(True)
def integer_inputs(spec):
    """The numbers of the inputs that are integers."""
    numbers, first = [], 0
    for item in spec:
        if isinstance(item, str) or item[0] == 'a':
            count = 1 if isinstance(item, str) else size_of(item[1])
            if item == 'i' or item[-1] == 'i':
                numbers.extend(range(first, first + count))
            first += count
    return numbers


class Integer:
    """What stands for an integer argument while a function is traced.

    Handed to `take`, it stays an input of the program. Whatever else is asked of it, its number becomes
    part of the signature.
    """
    __slots__ = ('_number', '_input', '_node', '_baked')
    __class__ = int

    def __init__(self, number, input, node, baked):
        self._number, self._input, self._node, self._baked = number, input, node, baked

    def __getattr__(self, name):
        if not hasattr(int, name):
            raise AttributeError(f"'int' object has no attribute {name!r}")
        return getattr(number_of_integer(self), name)

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return getattr(ufunc, method)(*[number_of_integer(x) for x in inputs], **keywords)


def is_integer(x):
    """Whether x stands for an integer argument of a trace."""
    return type(x) is Integer


def number_of_integer(x):
    """The number that an Integer stands for, from now on part of the signature; other things as they are."""
    if type(x) is not Integer:
        return x
    if x._input not in x._baked:
        x._baked[x._input] = user_line()
    return x._number


def with_numbers(function):
    """A function of integers as a method of Integer: given the numbers that its arguments stand for."""
    def method(*args):
        return function(*[number_of_integer(x) for x in args])
    return method


def reflected(function):
    return lambda x, y: function(y, x)


cdef int finish_integer() except -1:
    for name in 'add sub mul truediv floordiv mod divmod pow lshift rshift and or xor eq ne lt le gt ge'.split():
        function = {'divmod': divmod, 'pow': pow}.get(name) or getattr(operator, f'__{name}__')
        setattr(Integer, f'__{name}__', with_numbers(function))
        setattr(Integer, f'__r{name}__', with_numbers(reflected(function)))
    for name in 'abs bool ceil float floor format hash index int invert neg pos repr round str trunc'.split():
        setattr(Integer, f'__{name}__', with_numbers(getattr(int, f'__{name}__')))

finish_integer()
