# Guards: what a trace could read outside of its function, noted before it runs and compared before each replay.
#
# micrograd_c/outside.py finds that state. Here is one Check for each object that holds some of it: a namespace,
# an instance, a list, an array, ... A check holds a borrowed pointer to its object. It is followed only where all
# checks before it hold: one of these has just found the object where it belongs, so it is alive. No check runs
# Python code of a user's, so nothing is freed in between. Holding the objects themselves would keep a model alive
# for its own compiled methods.

cdef extern from "guards.h":
    int watch_dict(object dict) except -1
    uint64_t dict_stamp(PyObject *dict)
    uint64_t type_stamp(PyObject *cls)
    PyObject **items_in(PyObject *sequence)
    int namespace_offset(PyObject *cls)
    enum:
        BY_ITEMS, BY_DICT, BY_NAMESPACE, BY_CLASS, BY_CODE, BY_LOOKING
    ctypedef struct Watch:
        int how
        int offset
        Py_ssize_t count
        PyObject *of
        PyObject *cls
        PyObject **found
        void *inside
        uint64_t stamp
    PyObject *in_function(PyObject *function, PyObject **cells, Py_ssize_t k)
    bint unchanged(const Watch *watch)

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object dict, object key) except? NULL
    int PyDict_Next(object dict, Py_ssize_t *place, PyObject **key, PyObject **value)
    object PyObject_GenericGetDict(object x, void *context)
    Py_ssize_t Py_REFCNT(PyObject *x)
    int PyGC_Disable()
    int PyGC_Enable()

cdef enum:
    HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE

MISSING = object()      # where a name is not there


cdef class Alive:
    """Whether every object that is known by its identity alone is still alive: another may lie in its place."""
    cdef bint dead

    def died(self, reference):
        self.dead = True


cdef set PLAIN_TYPES = {float, int, bool, str, bytes, complex, type(None), type(...), range, slice}
cdef object SCALARS = None      # numpy's plain numbers, once it is imported


def is_plain(x):
    """Whether x is a plain number, string or the like, which is compared by value."""
    return type(x) in PLAIN_TYPES or is_scalar(x)


cdef bint is_scalar(x) except -1:
    """Whether x is one of NumPy's numbers, not of a class of the user's, whose == might run their code."""
    global SCALARS
    if SCALARS is None and 'numpy' in sys.modules:
        import numpy
        SCALARS = numpy.bool_, numpy.number, numpy.character
    return SCALARS is not None and issubclass(type(x), SCALARS) and type(x).__module__ == 'numpy'


cdef bint same_number(x, y) except -1:
    """Whether two plain things of one type are equal, the sign of a zero and nan included."""
    return x == y and (x != 0 or repr(x) == repr(y)) or x != x and y != y


cdef object kept_for(x, contents, Alive alive):
    """What a check keeps so that no other object can lie where x was: a plain thing itself, else a weak reference.

    None for Values, as a program keeps those that it needs, and for what has a check of its own, which compares
    its contents. What has no weak references stays alive.
    """
    if is_plain(x):
        return x
    if issubclass(type(x), Value) or issubclass(type(x), contents):
        return None
    try:
        return weakref.ref(x, alive.died)
    except TypeError:
        return None if type(x).__flags__ & HEAP_TYPE else x     # a class of the user's: there is a check


cdef class Check:
    """That one object still holds what it held."""
    cdef readonly str name          # as the user's code would write the object
    cdef PyObject *of               # borrowed, see above
    cdef PyObject *cls              # its class
    cdef object class_alive
    cdef list items                 # what was found, MISSING where there was nothing; None once it is in watch.found
    cdef list kept                  # for each item what keeps `found` from being another object, if anything must
    cdef readonly list keys         # the items' names; None: they are numbered
    cdef dict references            # item -> Reference
    cdef Watch *watch               # how it is looked at, in Guards.watches
    cdef Py_ssize_t differs         # the item that was other

    def __init__(self, name, of, items, keys, contents, Alive alive):
        """contents: the types that have checks of their own."""
        self.name, self.keys, self.references, self.differs = name, keys, {}, -1
        self.of, self.cls = <PyObject *> of, <PyObject *> Py_TYPE(<PyObject *> of)
        self.class_alive = weakref.ref(type(of), alive.died)
        self.items, self.kept = items, []
        for x in items:
            self.kept.append(None if x is MISSING else kept_for(x, contents, alive))

    cdef int how(self) noexcept:
        return BY_LOOKING

    cdef void *inside(self) noexcept:
        return NULL

    cdef int settle(self, Watch *watch, PyObject **found) except -1:
        """Begin to watch: all checks do so side by side."""
        cdef Py_ssize_t k
        memset(watch, 0, sizeof(Watch))
        watch.how, watch.of, watch.cls, watch.inside = self.how(), self.of, self.cls, self.inside()
        watch.offset, watch.count, watch.found = namespace_offset(self.cls), len(self.items), found
        for k in range(watch.count):
            x = self.items[k]
            found[k] = <PyObject *> x if x is not MISSING else NULL
        self.watch, self.items = watch, None
        return 0

    def refer(self, k, Reference reference):
        self.references[k] = reference

    cdef int other(self, Py_ssize_t k, PyObject *now) except -1:
        """Whether item k, which is not the object that was found, is another thing, too."""
        cdef Reference reference
        if self.watch.found[k] != NULL and now != NULL:
            x = <object> now
            reference = self.references.get(k)
            if reference is not None:
                if reference.take(x):
                    self.watch.found[k] = now
                    return False
            elif self.kept[k] is not None and is_plain(x) and type(x) is type(self.kept[k]):
                if same_number(self.kept[k], x):
                    self.watch.found[k], self.kept[k] = now, x
                    return False
        self.differs = k
        return True

    cdef int holds(self) except -1:
        """Whether the object is as it was, by a close look."""
        raise NotImplementedError

    cdef int items_hold(self, PyObject **now, Py_ssize_t count) except -1:
        cdef Py_ssize_t k
        if count != self.watch.count:
            self.differs = -1
            return False
        for k in range(count):
            if now[k] != self.watch.found[k] and self.other(k, now[k]):
                return False
        return True

    cdef int item_holds(self, Py_ssize_t k, now) except -1:
        """Whether an item, MISSING if there is none, is what it was."""
        cdef PyObject *x = <PyObject *> now if now is not MISSING else NULL
        return x == self.watch.found[k] or not self.other(k, x)

    def difference(self):
        """(what differed, as the user's code would write it; what it was, if that is plain)."""
        if self.differs < 0:
            return self.name, None
        was = self.kept[self.differs]
        return self.item_name(self.differs), was if is_plain(was) else None

    def item_name(self, k):
        if isinstance(self, MappingCheck):
            key = (<MappingCheck> self).own_keys[k]
            return f'{self.name}[{key!r}]' if is_plain(key) else f'{self.name}[<{type(key).__name__}>]'
        if self.keys is None:
            return f'{self.name}[{k}]'
        key = getattr(self.keys[k], '__name__', self.keys[k])
        return f'{self.name}.{key}' if self.name else key


cdef class ItemsCheck(Check):
    """The items of a list or tuple."""
    cdef int how(self) noexcept:
        return BY_ITEMS

    cdef int holds(self) except -1:
        return self.items_hold(items_in(self.watch.of), Py_SIZE(self.watch.of))


cdef class ElementsCheck(Check):
    """The elements of an array of objects."""
    cdef int holds(self) except -1:
        cdef list now = elements_of(<object> self.watch.of)
        return self.items_hold(items_in(<PyObject *> now), len(now))


cdef class MembersCheck(Check):
    """The items of a set or deque, in its order."""
    cdef int holds(self) except -1:
        cdef list now = members(<object> self.watch.of)
        return self.items_hold(items_in(<PyObject *> now), len(now))


def elements_of(array):
    """The elements of an array, whatever a subclass says."""
    need_numpy()
    return np.ndarray.tolist(np.ndarray.ravel(array))


def members(x):
    """The items of a set or deque, the keys of an OrderedDict: in their order, whatever a subclass says."""
    for cls in (set, frozenset, deque, OrderedDict):
        if issubclass(type(x), cls):
            return list(cls.__iter__(x))


cdef class NumbersCheck(Check):
    """The numbers of an array, as they were."""
    cdef object copy

    def __init__(self, name, of, Alive alive):
        Check.__init__(self, name, of, [], None, (), alive)
        need_numpy()
        self.copy = np.array(of, copy=True, subok=False)

    cdef int holds(self) except -1:
        now, was = np.asarray(np.ndarray.view(<object> self.watch.of, np.ndarray)), self.copy
        return now.shape == was.shape and now.dtype == was.dtype and now.tobytes() == was.tobytes()


cdef class MappingCheck(Check):
    """The keys and values of a dict, in its order."""
    cdef list own_keys      # plain ones; of others weak references, which do not keep a model alive

    def __init__(self, name, of, items, list keys, contents, Alive alive):
        Check.__init__(self, name, of, items, None, contents, alive)
        self.own_keys = []
        for key in keys:
            if not is_plain(key):
                try:
                    key = weakref.ref(key, alive.died)
                except TypeError:
                    pass
            self.own_keys.append(key)

    cdef int how(self) noexcept:
        return BY_DICT

    cdef int holds(self) except -1:
        cdef Py_ssize_t place = 0, k = 0
        cdef PyObject *key
        cdef PyObject *value
        cdef object of = <object> self.watch.of
        watch_dict(of)
        cdef uint64_t stamp = dict_stamp(self.watch.of)
        self.differs = -1
        if dict.__len__(of) != self.watch.count:
            return False
        while PyDict_Next(of, &place, &key, &value):
            was = self.own_keys[k]
            if type(was) is weakref.ref:
                was = was()
            if <PyObject *> was != key and not (is_plain(was) and type(was) is type(<object> key)
                                                and same_number(was, <object> key)):
                return False
            if value != self.watch.found[k] and self.other(k, value):
                return False
            k += 1
        self.watch.stamp = stamp
        return True


cdef class NamesCheck(Check):
    """Some names of a namespace, the globals of a module."""
    cdef int how(self) noexcept:
        return BY_DICT

    cdef int holds(self) except -1:
        return self.names_hold(<object> self.watch.of)

    cdef int names_hold(self, dict namespace) except -1:
        cdef Py_ssize_t k
        cdef PyObject *now
        watch_dict(namespace)
        cdef uint64_t stamp = dict_stamp(<PyObject *> namespace)
        for k in range(self.watch.count):
            now = PyDict_GetItemWithError(namespace, self.keys[k])
            if now != self.watch.found[k] and self.other(k, now):
                return False
        self.watch.stamp = stamp
        return True


cdef class AttributesCheck(NamesCheck):
    """Some attributes in the __dict__ of an instance, or all."""
    cdef public bint whole      # there are no others

    cdef int how(self) noexcept:
        return BY_NAMESPACE

    cdef int holds(self) except -1:
        cdef dict namespace = PyObject_GenericGetDict(<object> self.watch.of, NULL)
        if self.whole and len(namespace) != self.watch.count:
            self.differs = -1
            return False
        self.watch.inside = <PyObject *> namespace
        return self.names_hold(namespace)


cdef class SlotsCheck(Check):
    """The attributes of an instance that are in slots. keys: their descriptors."""
    cdef int holds(self) except -1:
        cdef Py_ssize_t k
        for k in range(self.watch.count):
            if not self.item_holds(k, in_slot(<object> self.watch.of, self.keys[k])):
                return False
        return True


def namespace_of(x):
    """The __dict__ of an instance, whatever its class says."""
    return PyObject_GenericGetDict(x, NULL)


def in_slot(x, descriptor):
    """What is in a slot of an instance, or MISSING."""
    try:
        return descriptor.__get__(x)
    except AttributeError:
        return MISSING


cdef class ClassCheck(Check):
    """Some attributes of a class, its own or inherited: methods, and numbers that all instances share."""
    cdef int how(self) noexcept:
        return BY_CLASS

    cdef int holds(self) except -1:
        cdef uint64_t stamp = type_stamp(self.watch.of)
        cdef Py_ssize_t k
        if stamp == 0:      # nothing was looked up since it changed: this gives it a number
            try:
                type.__getattribute__(<object> self.watch.of, '')
            except AttributeError:
                pass
            stamp = type_stamp(self.watch.of)
        for k in range(self.watch.count):
            if not self.item_holds(k, class_attribute(<object> self.watch.of, self.keys[k])):
                return False
        self.watch.stamp = stamp
        return True


def class_attribute(cls, name):
    """What a class, or the first that it inherits from, has under a name; MISSING if there is none."""
    for base in cls.__mro__:
        found = vars(base).get(name, MISSING)
        if found is not MISSING:
            return found
    return MISSING


cdef class FunctionCheck(Check):
    """The code and defaults of a function, and the contents of some of its cells."""
    cdef PyObject **cells       # borrowed

    def __init__(self, name, of, items, keys, contents, Alive alive, list cells):
        cdef Py_ssize_t k
        Check.__init__(self, name, of, items, keys, contents, alive)
        self.cells = <PyObject **> allocated(len(cells), sizeof(PyObject *))
        for k in range(len(cells)):
            self.cells[k] = <PyObject *> cells[k]

    def __dealloc__(self):
        free(self.cells)

    cdef int how(self) noexcept:
        return BY_CODE

    cdef void *inside(self) noexcept:
        return self.cells

    cdef int holds(self) except -1:
        cdef Py_ssize_t k
        cdef PyObject *now
        for k in range(self.watch.count):
            now = in_function(self.watch.of, self.cells, k)
            if now != self.watch.found[k] and self.other(k, now):
                return False
        return True


def function_items(function, list cells):
    """What a `FunctionCheck` compares, a list."""
    found = [function.__code__, function.__defaults__, function.__kwdefaults__]
    found = [MISSING if x is None else x for x in found]
    for cell in cells:
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(MISSING)
    return found


def sequence_items(x):
    """The items of a list or tuple, as they lie: of a subclass, too."""
    cdef Py_ssize_t k
    items = []
    for k in range(Py_SIZE(<PyObject *> x)):
        items.append(<object> items_in(<PyObject *> x)[k])
    return items


# ------------------------------------------------------------------------------ arrays by reference

cdef class Reference:
    """An array of floats that a function reads from outside. Its numbers are read at each call.

    While the function is traced, an Array of Values stands in its place. Those that the program needs are among its
    captured Values, and are given the array's numbers before each replay.
    """
    cdef readonly object array
    cdef object next            # the array that has taken its place since, if any
    cdef object get, put        # get() is what is in the array's place, put(x) sets it
    cdef readonly str name
    cdef readonly list values   # what stood for the elements; later those that the program needs
    cdef Py_ssize_t *places     # the elements that these are
    cdef object standin
    cdef list shown             # its elements

    def __init__(self, name, array, get, put):
        self.name, self.array, self.get, self.put = name, array, get, put

    def __dealloc__(self):
        free(self.places)

    cdef bint take(self, x) except -1:
        """Whether x is an array like this; then it is read from now on. (Dropping the other could run code.)"""
        if type(x) is not type(self.array) or x.dtype != self.array.dtype or x.shape != self.array.shape:
            return False
        self.next = x
        return True

    cdef int stand_in(self, list values) except -1:
        """Put an Array of these Values where the array is."""
        self.values = values
        for value, number in zip(values, self.array.ravel().tolist()):
            node_at(index_of(value)).data = number
        self.shown = list(map(Value.detach, values))    # no gradient reaches an array
        self.standin = objects(self.shown, self.array.shape)
        self.put(self.standin)
        return 0

    cdef int restore(self) except -1:
        """Put the array back, after the trace; a TraceError ends it if the function has changed what stood there."""
        if self.standin is None:
            return 0
        standin, self.standin = self.standin, None
        shown, self.shown = self.shown, None
        try:
            same = self.get() is standin
        except Exception:
            same = False
        if same:
            self.put(self.array)
        self.get = self.put = None      # which hold what the array is in
        if Py_REFCNT(<PyObject *> standin) > 1:     # that of this variable
            same = not put_instead(standin, self.array) and same
        for x, y in zip(standin.ravel().tolist(), shown):
            same = same and x is y
        if not same:
            trace_error(f'the array {self.name} was changed', 'change it outside of the function')
        return 0

    @property
    def elements(self):
        """For each of the Values that the program needs, the number of the element, in C order."""
        return [self.places[k] for k in range(len(self.values))]

    cdef int keep_captured(self, tuple captured) except -1:
        """Of the Values, keep those that a program has captured."""
        cdef Py_ssize_t k
        cdef list places = []
        cdef list values = []
        needed = set(captured)
        for k in range(len(self.values)):
            if self.values[k] in needed:
                places.append(k)
                values.append(self.values[k])
        self.values = values
        self.places = <Py_ssize_t *> allocated(len(values), sizeof(Py_ssize_t))
        for k in range(len(values)):
            self.places[k] = places[k]
        return 0

    cdef int read(self) except -1:
        """Give the Values the array's numbers."""
        import numpy
        cdef Py_ssize_t k
        cdef const double *numbers
        if self.next is not None:
            self.array, self.next = self.next, None
        if not self.values:
            return 0
        array = numpy.require(self.array, numpy.float64, 'CA')
        numbers = <const double *> address(array)
        for k in range(len(self.values)):
            node_at(index_of(self.values[k])).data = numbers[self.places[k]]
        return 0


def put_instead(standin, array):
    """Put an array wherever a function has put what stood for it, or another thread has. Whether there was any."""
    import gc
    found = False
    for holder in gc.get_referrers(standin):
        if type(holder) is list:
            for k in range(len(holder)):
                if holder[k] is standin:
                    holder[k], found = array, True
            continue
        if type(holder) is not dict and type(holder).__dictoffset__ and not callable(holder):
            holder = namespace_of(holder)
        if type(holder) is dict:
            for key in list(holder):
                if holder[key] is standin:
                    holder[key], found = array, True
    return found


# ------------------------------------------------------------------------------------------ all of it

cdef class Guards:
    """All that a program depends on outside of its function."""
    cdef list checks
    cdef Watch *watches             # theirs, side by side
    cdef PyObject **found
    cdef readonly list references
    cdef Alive alive
    cdef readonly Check failed      # the check that did not hold, when last compared

    def __init__(self, list checks, list references, Alive alive):
        cdef Py_ssize_t k, count = 0
        cdef Check check
        self.checks, self.references, self.alive = checks, references, alive
        for check in checks:
            count += len(check.items)
        self.watches = <Watch *> allocated(len(checks), sizeof(Watch))
        self.found = <PyObject **> allocated(count, sizeof(PyObject *))
        count = 0
        for k in range(len(checks)):
            check = <Check> checks[k]
            check.settle(&self.watches[k], self.found + count)
            count += check.watch.count

    def __dealloc__(self):
        free(self.watches)
        free(self.found)

    cdef int hold(self) except -1:
        """Whether all is as it was; the arrays that are read by reference are then read."""
        cdef Py_ssize_t k, count = len(self.checks)
        cdef Watch *watch = self.watches
        if self.alive.dead:
            return False
        for k in range(count):
            if not LIKELY(unchanged(&watch[k])) and not self.looks(k):
                return False
        self.read()
        return True

    cdef int read(self) except -1:
        cdef Reference reference
        for reference in self.references:
            reference.read()
        return 0

    cdef int looks(self, Py_ssize_t k) except -1:
        cdef Check check = <Check> self.checks[k]
        cdef int collected = PyGC_Disable()     # a collection may run code of the user's
        try:
            if <PyObject *> Py_TYPE(check.watch.of) == check.watch.cls and check.holds():
                return True
        finally:
            if collected:
                PyGC_Enable()
        self.failed = check
        return False
