# Running: code is executed for one sample or for many, with no Python in the loop.

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

    >>> get_isa() in ('baseline', 'avx2', 'avx512')
    True
    """
    return engine.isa.decode()


def get_num_threads():
    """How many threads share the samples of a mapped call (`f.mean`, `f.sum`, `f.map`); 1 at first.

    >>> get_num_threads()
    1
    """
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


# ------------------------------------------------------------------------------------- one sample

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


# ----------------------------------------------------------------------------------- many samples

cdef class Columns:
    """The numbers of some inputs that are mapped: an array of a row a sample, a column an input, or other steps."""


cdef Columns columns_of(Py_ssize_t first, Py_ssize_t count, object rows):
    cdef Columns columns = Columns.__new__(Columns)
    columns.first, columns.count, columns.rows = first, count, rows
    columns.to_input, columns.to_sample = 1, count
    columns.numbers = <const double *> address(rows)
    return columns


cdef class Batch:
    """Where the numbers of many samples are."""

    def __cinit__(self):
        self.count = -1
        self.columns = []


cdef class Job:
    """A mapped call that is under way: samples in blocks, blocks in chunks, chunks shared among threads.

    How samples are divided depends on their number alone, and what chunks yield is added in their order:
    so the results are the same for any number of threads.
    """

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


cdef Job new_job(Code code, Buffers uniform, Batch samples, Py_ssize_t output, dict gradients):
    """gradients: arrays for the adjoints of inputs, by their number."""
    cdef Job job = Job.__new__(Job)
    cdef Py_ssize_t k, blocks, inputs = code.inputs
    cdef Columns columns
    cdef Column *column
    job.code, job.uniform, job.samples = code, uniform, samples.count
    job.output = output
    job.held = [samples, gradients]
    job.columns = <Column *> allocated(inputs, sizeof(Column))
    job.results = <double **> allocated(code.outputs, sizeof(double *))
    for k in range(inputs):
        job.columns[k].start = &samples.numbers[k]
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


cdef double sweep(Code code, Py_ssize_t k, Buffers uniform, Batch samples, dict gradients) except? -1:
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
