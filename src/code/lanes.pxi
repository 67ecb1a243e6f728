cdef extern from "lanes.h" nogil:
    enum:
        STRIDED, A_VARYING, B_VARYING, C_VARYING, GATHER, A_ACTIVE, B_ACTIVE, C_ACTIVE
    ctypedef struct Instr:
        uint8_t op
        uint8_t flags
        uint16_t n
        int32_t out
        int32_t a
        int32_t b
    ctypedef struct InstrCode "Code":
        const Instr *instrs
        Py_ssize_t count
        const int32_t *more
    ctypedef struct Engine:
        const char *isa
        void (*forward)(const InstrCode *, double *) noexcept nogil
        void (*reverse[2])(const InstrCode *, const double *, double *) noexcept nogil
        void (*forward_lanes)(const InstrCode *, const double *, double *, Py_ssize_t) noexcept nogil
        void (*reverse_lanes[2])(const InstrCode *, const double *, const double *, double *, double *,
                                 Py_ssize_t) noexcept nogil
        bint (*has_nan)(const double *, Py_ssize_t) noexcept nogil
    const Engine *engine_select(const char *name)
