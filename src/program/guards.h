/* How a guard looks at an object: see guards.pyx.
 *
 * Stamps tell in one comparison that nothing has changed: a dict whose stamp is what it was has not changed,
 * nor has a class. 0 is no stamp.
 */
#ifndef MICROGRAD_C_GUARDS_H
#define MICROGRAD_C_GUARDS_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030C0000
/* Each change of a dict gives it a number that no dict had before. */
static inline int watch_dict(PyObject *dict) { return 0; }
static inline uint64_t dict_stamp(PyObject *dict) { return ((PyDictObject *)dict)->ma_version_tag; }
#else
/* Python tells when a dict that is watched changes. One count serves all of them. */
static int dict_watcher = -1;
static uint64_t dict_changes = 1;

static int count_change(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value) {
    dict_changes++;
    return 0;
}

static inline int watch_dict(PyObject *dict) {
    if (dict_watcher < 0 && (dict_watcher = PyDict_AddWatcher(count_change)) < 0) {
        PyErr_Clear();      /* others have taken all watchers that there are: stamps are 0 */
        return 0;
    }
    return PyDict_Watch(dict_watcher, dict);
}

static inline uint64_t dict_stamp(PyObject *dict) {
#if PY_VERSION_HEX >= 0x030D0000
    if (((PyDictObject *)dict)->ma_values)  /* they lie in an instance, which may change them and not tell */
        return 0;
#endif
    return dict_watcher < 0 ? 0 : dict_changes;
}
#endif

/* Changes of a class, or of one that it inherits from, set it to 0; a later look-up gives it a new number. */
static inline uint64_t type_stamp(PyObject *type) { return ((PyTypeObject *)type)->tp_version_tag; }

/* The items of a list or tuple as they lie. */
static inline PyObject **items_in(PyObject *sequence) { return PySequence_Fast_ITEMS(sequence); }

/* Where an instance of a class holds its __dict__, if it has one already: bytes from the instance on. 0: nowhere
 * that is known. (A Python that holds it elsewhere is found out: another pointer is there than expected.) */
static inline int namespace_offset(PyObject *cls) {
#ifdef Py_TPFLAGS_MANAGED_DICT
    if (PyType_HasFeature((PyTypeObject *)cls, Py_TPFLAGS_MANAGED_DICT))
        return -3 * (int)sizeof(PyObject *);
#endif
    return ((PyTypeObject *)cls)->tp_dictoffset > 0 ? (int)((PyTypeObject *)cls)->tp_dictoffset : 0;
}

/* The k-th of: a function's code, its defaults, those of its keywords, the contents of its cells. NULL: none. */
static inline PyObject *in_function(PyObject *function, PyObject **cells, Py_ssize_t k) {
    switch (k) {
    case 0: return PyFunction_GET_CODE(function);
    case 1: return PyFunction_GET_DEFAULTS(function);
    case 2: return PyFunction_GET_KW_DEFAULTS(function);
    }
    return PyCell_GET(cells[k - 3]);
}

enum { BY_ITEMS, BY_DICT, BY_NAMESPACE, BY_CLASS, BY_CODE, BY_LOOKING };

/* One object, and how to see that it is as it was. Many are looked at in turn: they are kept small. */
typedef struct {
    int how;
    int offset;             /* BY_NAMESPACE: where the __dict__ is */
    Py_ssize_t count;       /* of its items */
    PyObject *of, *cls;     /* the object, borrowed; its class */
    PyObject **found;       /* what its items were; NULL: not there */
    void *inside;           /* BY_NAMESPACE: its __dict__. BY_CODE: its cells, which live as long as it does */
    uint64_t stamp;         /* of the object, or of its __dict__, when it was as it should be */
} Watch;

/* Whether an object is certainly as it was. Where not, `Check.holds` looks closer. */
static inline int unchanged(const Watch *watch) {
    PyObject *of = watch->of;
    uintptr_t differences = 0;
    if ((PyObject *)Py_TYPE(of) != watch->cls)
        return 0;
    if (watch->how == BY_ITEMS)
        return Py_SIZE(of) == watch->count && (!watch->count    /* whose items may be at NULL */
               || memcmp(items_in(of), watch->found, watch->count * sizeof(PyObject *)) == 0);
    switch (watch->how) {
    case BY_DICT:
        return watch->stamp && dict_stamp(of) == watch->stamp;
    case BY_NAMESPACE:
        return watch->stamp && watch->offset && *(void **)((char *)of + watch->offset) == watch->inside
               && dict_stamp(watch->inside) == watch->stamp;
    case BY_CLASS:
        return watch->stamp && type_stamp(of) == watch->stamp;
    case BY_CODE:
        for (Py_ssize_t k = 0; k < watch->count; k++)
            differences |= (uintptr_t)in_function(of, watch->inside, k) ^ (uintptr_t)watch->found[k];
        return differences == 0;
    }
    return 0;
}

#endif
