/* The engines of compiled programs (lanes.h), made from the op table.
 *
 * setup.py compiles this file once for each instruction set, with ENGINE its name.
 */
#include "lanes.h"

#include <string.h>

#include "bits.h"
#include "dots.h"
#include "ops.h"
#include "vmath.h"

#define MAX_LANES 256

/* Kernels: one operation over arrays x, y, z of operands; `count` is a multiple of 8, and said to
 * be one, so that the compiler needs no loop for a rest. The kernel of a partial adds to gx, the
 * adjoint of that operand. They are made from the op table, a copy, and OP_WHERE. */

#define PLAIN(X) X(PLAIN, plain, "", 1, a, 1, 0, NULL, FINITE, "")

#define VALUE_ARGS \
    double *__restrict out, const double *x, const double *y, const double *z, size_t count
#define PARTIAL_ARGS                                                                           \
    double *__restrict gx, const double *g, const double *x, const double *y, const double *z, \
        const double *out, size_t count
#define EACH(i) for (size_t i = 0; i != (count & ~(size_t)7); i++)

#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
    static void value_##name(VALUE_ARGS) {                            \
        (void)y, (void)z;                                             \
        EACH(i) {                                                     \
            const double a = x[i], b = arity == 2 ? y[i] : 0;         \
            (void)b;                                                  \
            out[i] = (value);                                         \
        }                                                             \
    }                                                                 \
    PARTIAL(by_a_##name, arity, by_a)                                 \
    PARTIAL(by_b_##name, arity, by_b)
#define PARTIAL(function, arity, partial)                                 \
    static void function(PARTIAL_ARGS) {                                  \
        (void)y, (void)z;                                                 \
        EACH(i) {                                                         \
            const double a = x[i], b = arity == 2 ? y[i] : 0, v = out[i]; \
            (void)a, (void)b, (void)v;                                    \
            gx[i] += g[i] * (partial);                                    \
        }                                                                 \
    }
ALL_OPS(X)
PLAIN(X)
#undef X

static void value_where(VALUE_ARGS) {
    EACH(i) {
        const double a = y[i], b = z[i];
        out[i] = x[i] > 0 ? a : b;
    }
}
static void where_by_y(PARTIAL_ARGS) {
    (void)y, (void)z, (void)out;
    EACH(i) {
        const double share = g[i];
        gx[i] += x[i] > 0 ? share : 0;
    }
}
static void where_by_z(PARTIAL_ARGS) {
    (void)y, (void)z, (void)out;
    EACH(i) {
        const double share = g[i];
        gx[i] += x[i] > 0 ? 0 : share;
    }
}

typedef struct {
    int arity;
    void (*value)(VALUE_ARGS);
    void (*by[3])(PARTIAL_ARGS);
} Kernel;

static const Kernel KERNELS[OP_COUNT] = {
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
    [OP_##NAME] = {arity, value_##name, {by_a_##name, arity == 2 ? by_b_##name : NULL, NULL}},
    ALL_OPS(X) PLAIN(X)
#undef X
        [OP_WHERE] = {3, value_where, {NULL, where_by_y, where_by_z}},
};

/* An operand of a run: the slot of its first element, and how far the next is; or with GATHER, the
 * list that has the slots, and how far apart there. */
typedef struct {
    ptrdiff_t slot, stride;
    const int32_t *list;
} Operand;

/* The slot of the j-th element. */
INLINE ptrdiff_t place(Operand x, ptrdiff_t j) {
    return x.list ? x.list[j * x.stride] : x.slot + j * x.stride;
}

/* Does `more` tell where the operands of a run are? If not, they are as contiguous as its output. */
INLINE int is_listed(const Instr *i) { return i->op == OP_WHERE || i->flags & (STRIDED | GATHER); }

/* The operands of a run of an op that has a kernel, its last repeated up to three. */
static void get_operands(const Code *code, const Instr *i, Operand x[3]) {
    const int32_t *more = code->more + i->a;
    for (int k = 0; k < 3; k++) {
        if (k >= KERNELS[i->op].arity)
            x[k] = x[k - 1];
        else if (i->flags & GATHER)
            x[k] = (Operand){0, KERNELS[i->op].arity, more + k};
        else if (is_listed(i))
            x[k] = (Operand){more[2 * k], more[2 * k + 1], NULL};
        else
            x[k] = (Operand){k ? i->b : i->a, 1, NULL};
    }
}

/* Where the second operand of a run begins that is not listed; the first again if it has none. */
INLINE ptrdiff_t second(const Instr *i) { return KERNELS[i->op].arity == 2 ? i->b : i->a; }

/* A factor of a dot: the slot of its element (0, 0), and how far the next of j and of k are. */
typedef struct {
    ptrdiff_t slot, sj, sk;
} Factor;

typedef struct {
    ptrdiff_t n, m, c, sc;
    Factor a, b;
    const int32_t *pairs; /* with GATHER, instead of a and b */
} Dot;

INLINE Dot get_dot(const Code *code, const Instr *i) {
    const int32_t *more = code->more + i->a;
    Dot d = {.n = i->n, .m = more[0], .c = more[1], .sc = more[2]};
    if (i->flags & GATHER) {
        d.pairs = more + 3;
        d.a.sk = d.b.sk = 1; /* from slot to slot */
    } else {
        d.a = (Factor){more[3], more[4], more[5]};
        d.b = (Factor){more[6], more[7], more[8]};
        if (d.n == 1) d.a.sj = d.b.sj = 0;
        if (d.m == 1) d.a.sk = d.b.sk = 0;
    }
    return d;
}

/* The rows of an OP_TAKE: the j-th element of the row found at `row` stands in slot row + j * col,
 * or with GATHER in slot list[row + j * rows]. */
typedef struct {
    ptrdiff_t rows, index, base, stride, col;
    const int32_t *list;
} Take;

static Take get_take(const Code *code, const Instr *i) {
    const int32_t *more = code->more + i->a;
    if (i->flags & GATHER) return (Take){more[0], more[1], 0, 1, more[0], more + 2};
    return (Take){more[0], more[1], more[2], more[3], more[4], NULL};
}
static ptrdiff_t find_row(const Take *t, double index) {
    ptrdiff_t row = (ptrdiff_t)index;
    if (row < 0) row += t->rows;
    CHECK(0 <= row && row < t->rows);
    return t->base + row * t->stride;
}
static ptrdiff_t taken(const Take *t, ptrdiff_t row, ptrdiff_t j) {
    ptrdiff_t at = row + j * t->col;
    return t->list ? t->list[at] : at;
}

#define ACTIVE (A_ACTIVE | B_ACTIVE | C_ACTIVE)

/* Scalar code: runs. */

/* One by one: for few elements a kernel would take longer, unless it is that of a long function. */
static void forward_few(const Instr *i, const Operand x[3], double *u) {
    for (ptrdiff_t j = 0; j < i->n; j++) {
        const double a = u[place(x[0], j)], b = u[place(x[1], j)];
        u[i->out + j] = i->op == OP_PLAIN   ? a
                        : i->op != OP_WHERE ? op_value(i->op, a, b)
                        : a > 0             ? b
                                            : u[place(x[2], j)];
    }
}

static void reverse_few(const Instr *i, const Operand x[3], const double *u, double *gu) {
    for (ptrdiff_t j = 0; j < i->n; j++) {
        const double g = gu[i->out + j], a = u[place(x[0], j)];
        double nowhere, *to[3];
        for (int k = 0; k < 3; k++)
            to[k] = i->flags & A_ACTIVE << k ? &gu[place(x[k], j)] : &nowhere;
        nowhere = gu[i->out + j] = 0;
        if (i->op == OP_PLAIN)
            *to[0] += g;
        else if (i->op == OP_WHERE)
            *(a > 0 ? to[1] : to[2]) += g;
        else
            op_reverse(i->op, a, u[place(x[1], j)], u[i->out + j], g, to[0], to[1]);
    }
}

/* Strided operands are gathered, STAGE at a time, the last repeated up to a multiple of 8. */
enum { STAGE = 64 };

static ptrdiff_t stage(const double *u, Operand x, ptrdiff_t first, ptrdiff_t n, double *to) {
    ptrdiff_t padded = (n + 7) & ~(ptrdiff_t)7;
    for (ptrdiff_t j = 0; j < n; j++) to[j] = u[place(x, first + j)];
    for (ptrdiff_t j = n; j < padded; j++) to[j] = to[n - 1];
    return padded;
}

static void forward_run(const Code *code, const Instr *i, double *u) {
    const Kernel *kernel = &KERNELS[i->op];
    const ptrdiff_t n = i->n;
    double *out = u + i->out;
    if (n >= 8 && !is_listed(i)) {
        const double *a = u + i->a, *b = u + second(i);
        kernel->value(out, a, b, b, n);
        if (n % 8)
            kernel->value(out + n - 8, a + n - 8, b + n - 8, b + n - 8, 8); /* some once more */
        return;
    }
    Operand x[3];
    double staged[3][STAGE], value[STAGE];
    get_operands(code, i, x);
    if (n < 8 && !(i->flags & GATHER)) {
        forward_few(i, x, u);
        return;
    }
    for (ptrdiff_t j = 0, count, padded = 0; j < n; j += count) {
        count = n - j < STAGE ? n - j : STAGE;
        for (int k = 0; k < 3; k++) padded = stage(u, x[k], j, count, staged[k]);
        kernel->value(value, staged[0], staged[1], staged[2], padded);
        memcpy(out + j, value, count * sizeof(double));
    }
}

/* Reverses an unlisted run of n >= 8 for one operand, whose adjoints are gx. */
static void reverse_contiguous(const Instr *i, int k, double *gx, const double *g,
                               const double *u) {
    const ptrdiff_t n = i->n;
    const double *a = u + i->a, *b = u + second(i), *out = u + i->out;
    double last[8] = {0};
    KERNELS[i->op].by[k](gx, g, a, b, b, out, n);
    if (n % 8 == 0) return;
    a += n - 8, b += n - 8;
    KERNELS[i->op].by[k](last, g + n - 8, a, b, b, out + n - 8, 8);
    for (ptrdiff_t j = 8 - n % 8; j < 8; j++) gx[n - 8 + j] += last[j];
}

static void reverse_run(const Code *code, const Instr *i, const double *u, double *gu) {
    const Kernel *kernel = &KERNELS[i->op];
    const ptrdiff_t n = i->n;
    double *g = gu + i->out;
    if (n >= 8 && !is_listed(i)) {
        if (i->flags & A_ACTIVE) reverse_contiguous(i, 0, gu + i->a, g, u);
        if (i->flags & B_ACTIVE) reverse_contiguous(i, 1, gu + i->b, g, u);
        memset(g, 0, n * sizeof(double));
        return;
    }
    Operand x[3], out = {i->out, 1, NULL};
    double staged[5][STAGE], gx[STAGE];
    get_operands(code, i, x);
    if (n < 8 && !(i->flags & GATHER)) {
        reverse_few(i, x, u, gu);
        return;
    }
    for (ptrdiff_t j = 0, count, padded; j < n; j += count) {
        count = n - j < STAGE ? n - j : STAGE;
        for (int k = 0; k < 3; k++) stage(u, x[k], j, count, staged[k]);
        stage(u, out, j, count, staged[3]);
        padded = stage(gu, out, j, count, staged[4]);
        for (int k = 0; k < kernel->arity; k++) {
            if (!(i->flags & A_ACTIVE << k)) continue;
            memset(gx, 0, sizeof gx);
            kernel->by[k](gx, staged[4], staged[0], staged[1], staged[2], staged[3], padded);
            for (ptrdiff_t l = 0; l < count; l++) gu[place(x[k], j + l)] += gx[l];
        }
    }
    memset(g, 0, n * sizeof(double));
}

/* Scalar code: dots. Their lanes are j or k, whichever runs contiguously. */

enum { NEITHER, ALONG_J, ALONG_K };

/* What the lanes of an affine dot are. They are contiguous in b, and in a contiguous or all the
 * same; a and b may be swapped for that, and so that b rather than a is shared by all j. */
INLINE int orient(Dot *d, int *swapped) {
    int along_j = d->n >= 4 && (size_t)d->a.sj < 2 && (size_t)d->b.sj < 2 && d->a.sj + d->b.sj;
    int along_k = d->m >= 4 && (size_t)d->a.sk < 2 && (size_t)d->b.sk < 2 && d->a.sk + d->b.sk;
    int along = along_j && !(along_k && d->m > d->n) ? ALONG_J : along_k ? ALONG_K : NEITHER;
    *swapped = along == ALONG_J   ? !d->b.sj
               : along == ALONG_K ? !d->b.sk || (d->a.sk && !d->a.sj)
                                  : 0;
    if (*swapped) {
        Factor a = d->a;
        d->a = d->b;
        d->b = a;
    }
    return along;
}

static void forward_dot(const Code *code, const Instr *i, double *u) {
    Dot d = get_dot(code, i);
    int swapped, along = orient(&d, &swapped);
    double *out = u + i->out;
    const Factor a = d.a, b = d.b;
    for (ptrdiff_t j = 0; j < d.n; j++) out[j] = d.c < 0 ? -0.0 : u[d.c + j * d.sc];
    if (along == ALONG_J) {
        combine((Combine){.lanes = d.n,
                          .rows = 1,
                          .m = d.m,
                          .out = out,
                          .c = out,
                          .c_lanes = 1,
                          .a = matrix(u + a.slot, 0, a.sk),
                          .a_lanes = a.sj != 0,
                          .b = matrix(u + b.slot, 0, b.sk)});
    } else if (along == ALONG_K) {
        reduce((Reduce){.lanes = d.m,
                        .rows = d.n,
                        .cols = 1,
                        .to = out,
                        .to_row = 1,
                        .a = matrix(u + a.slot, a.sj, 0),
                        .a_lanes = a.sk != 0,
                        .b = matrix(u + b.slot, b.sj, 0)});
    } else {
        for (ptrdiff_t j = 0; j < d.n; j++)
            for (ptrdiff_t k = 0; k < d.m; k++)
                out[j] += u[a.slot + j * a.sj + k * a.sk] * u[b.slot + j * b.sj + k * b.sk];
    }
}

/* Adds to the adjoints of factor p: those of the outputs, g, times the other factor, q. */
static void reverse_factor(const Dot *d, int along, Factor p, Factor q, const double *u, double *gu,
                           const double *g) {
    double *gp = gu + p.slot;
    const double *y = u + q.slot;
    if (along == ALONG_J && p.sj) {
        combine((Combine){.lanes = d->n,
                          .rows = d->m,
                          .m = 1,
                          .out = gp,
                          .out_row = p.sk,
                          .c = gp,
                          .c_row = p.sk,
                          .c_lanes = 1,
                          .apart = p.sk >= d->n || -p.sk >= d->n,
                          .a = matrix(y, q.sk, 0),
                          .a_lanes = q.sj != 0,
                          .b = matrix(g, 0, 0)});
    } else if (along == ALONG_J) {
        reduce((Reduce){.lanes = d->n,
                        .rows = 1,
                        .cols = d->m,
                        .to = gp,
                        .to_col = p.sk,
                        .a = matrix(g, 0, 0),
                        .a_lanes = 1,
                        .b = matrix(y, 0, q.sk)});
    } else if (along == ALONG_K && p.sk && q.sk && !p.sj) {
        combine((Combine){.lanes = d->m,
                          .rows = 1,
                          .m = d->n,
                          .out = gp,
                          .c = gp,
                          .c_lanes = 1,
                          .a = matrix(g, 0, 1),
                          .b = matrix(y, 0, q.sj)});
    } else if (along == ALONG_K && p.sk && q.sk) {
        combine((Combine){.lanes = d->m,
                          .rows = d->n,
                          .m = 1,
                          .out = gp,
                          .out_row = p.sj,
                          .c = gp,
                          .c_row = p.sj,
                          .c_lanes = 1,
                          .apart = p.sj >= d->m || -p.sj >= d->m,
                          .a = matrix(g, 1, 0),
                          .b = matrix(y, q.sj, 0)});
    } else if (along == ALONG_K && q.sk) {
        reduce((Reduce){.lanes = d->m,
                        .rows = d->n,
                        .cols = 1,
                        .to = gp,
                        .to_row = p.sj,
                        .a = matrix(g, 1, 0),
                        .b = matrix(y, q.sj, 0)});
    } else {
        for (ptrdiff_t j = 0; j < d->n; j++)
            for (ptrdiff_t k = 0; k < d->m; k++)
                gp[j * p.sj + k * p.sk] += g[j] * y[j * q.sj + k * q.sk];
    }
}

static void reverse_dot(const Code *code, const Instr *i, const double *u, double *gu) {
    Dot d = get_dot(code, i);
    int swapped, along = orient(&d, &swapped);
    const double *g = gu + i->out;
    if (i->flags & C_ACTIVE)
        for (ptrdiff_t j = 0; j < d.n; j++) gu[d.c + j * d.sc] += g[j];
    if (i->flags & (swapped ? B_ACTIVE : A_ACTIVE)) reverse_factor(&d, along, d.a, d.b, u, gu, g);
    if (i->flags & (swapped ? A_ACTIVE : B_ACTIVE)) reverse_factor(&d, along, d.b, d.a, u, gu, g);
    memset(gu + i->out, 0, d.n * sizeof(double));
}

static void forward_pairs(const Code *code, const Instr *i, double *u) {
    const Dot d = get_dot(code, i);
    const int32_t *pair = d.pairs;
    for (ptrdiff_t j = 0; j < d.n; j++) {
        double sum = d.c < 0 ? -0.0 : u[d.c + j * d.sc];
        for (ptrdiff_t k = 0; k < d.m; k++, pair += 2) sum += u[pair[0]] * u[pair[1]];
        u[i->out + j] = sum;
    }
}

static void reverse_pairs(const Code *code, const Instr *i, const double *u, double *gu) {
    const Dot d = get_dot(code, i);
    const int32_t *pair = d.pairs;
    for (ptrdiff_t j = 0; j < d.n; j++) {
        const double g = gu[i->out + j];
        gu[i->out + j] = 0;
        if (i->flags & C_ACTIVE) gu[d.c + j * d.sc] += g;
        for (ptrdiff_t k = 0; k < d.m; k++, pair += 2) {
            if (i->flags & A_ACTIVE) gu[pair[0]] += g * u[pair[1]];
            if (i->flags & B_ACTIVE) gu[pair[1]] += g * u[pair[0]];
        }
    }
}

/* Scalar code: lookups, and the sweeps. */

static void forward_take(const Code *code, const Instr *i, double *u) {
    Take t = get_take(code, i);
    ptrdiff_t row = find_row(&t, u[t.index]);
    for (ptrdiff_t j = 0; j < i->n; j++) u[i->out + j] = u[taken(&t, row, j)];
}

static void reverse_take(const Code *code, const Instr *i, const double *u, double *gu) {
    Take t = get_take(code, i);
    ptrdiff_t row = find_row(&t, u[t.index]);
    for (ptrdiff_t j = 0; j < i->n; j++) {
        gu[taken(&t, row, j)] += gu[i->out + j];
        gu[i->out + j] = 0;
    }
}

/* Scalar code: the sweeps. Most programs of one sample are made of single operations, n == 1, in an
 * order that the processor cannot foresee, and a jump by op costs more than the operation. So a
 * streak of one kind is a loop of its own. A kind is one op; or several cheap ones, of which all
 * are computed and one is chosen, by an index and not by a branch; or dots of one or two pairs. */

#define CHEAP(X) X(ADD) X(SUB) X(MUL) X(DIV) X(RELU)

enum {
    NOT_CHEAP,
#define X(NAME) CHEAP_##NAME,
    CHEAP(X)
#undef X
        CHEAP_COUNT
};

static const uint8_t CHOICE[OP_COUNT] = {
#define X(NAME) [OP_##NAME] = CHEAP_##NAME,
    CHEAP(X)
#undef X
};

INLINE int is_single(const Instr *i) {
    return i->op < FIRST_NARY && i->n == 1 && !(i->flags & (STRIDED | GATHER));
}

INLINE int is_cheap(const Instr *i) { return CHOICE[i->op] && is_single(i); }

/* Do three more of the same op stand after i (step 1) or before it (step -1)? Then its own loop is
 * quicker. */
INLINE int is_streak(const Instr *i, ptrdiff_t step) {
    return i[step].op == i->op && i[2 * step].op == i->op && i[3 * step].op == i->op;
}

/* A single affine dot of one or two pairs. */
INLINE int is_small_dot(const Code *code, const Instr *i) {
    return i->op == OP_DOT && i->n == 1 && !(i->flags & GATHER) &&
           (uint32_t)(code->more[i->a] - 1) < 2;
}

/* `to`, or if it is not wanted `nowhere`, without a branch. */
INLINE double *choose(int wanted, double *to, double *nowhere) {
    const uintptr_t mask = 0 - (uintptr_t)!!wanted;
    return (double *)(((uintptr_t)to & mask) | ((uintptr_t)nowhere & ~mask));
}

/* Each executes the streak of its kind that begins at i, and returns what comes after. */
INLINE const Instr *forward_cheap(const Instr *i, const Instr *end, double *u) {
    do {
        const double a = u[i->a], b = u[second(i)];
        const double values[CHEAP_COUNT] = {
#define X(NAME) [CHEAP_##NAME] = op_value(OP_##NAME, a, b),
            CHEAP(X)
#undef X
        };
        u[i->out] = values[CHOICE[i->op]];
    } while (++i < end && is_cheap(i));
    return i;
}

INLINE const Instr *forward_single(const Instr *i, const Instr *end, double *u) {
    switch (i->op) {
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
    case OP_##NAME:                                                    \
        do {                                                           \
            const double a = u[i->a], b = u[arity == 2 ? i->b : i->a]; \
            (void)b;                                                   \
            u[i->out] = (value);                                       \
        } while (++i < end && i->op == OP_##NAME && is_single(i));     \
        break;
        ALL_OPS(X)
#undef X
    }
    return i;
}

INLINE const Instr *forward_small_dots(const Code *code, const Instr *i, const Instr *end,
                                       double *u) {
    do {
        const int32_t *more = code->more + i->a;
        const int two = more[0] - 1, added = more[1] >= 0;
        const double terms[2][2] = {
            {-0.0, u[more[1] & -added]},
            {-0.0, u[more[3] + (more[5] & -two)] * u[more[6] + (more[8] & -two)]},
        };
        u[i->out] = terms[0][added] + u[more[3]] * u[more[6]] + terms[1][two];
    } while (++i < end && is_small_dot(code, i));
    return i;
}

/* How far ahead, in slots, the reverse sweep fetches: the first touch of a cache line is that of an
 * operand, which may be any within some thousand slots before the output, so the processor cannot
 * foresee it. */
enum { AHEAD = 8192 };
INLINE void fetch_ahead(const double *u, const double *gu, ptrdiff_t slot) {
    slot = slot < AHEAD ? 0 : slot - AHEAD;
    PREFETCH(u + slot);
    PREFETCH(gu + slot);
}

/* The same backwards, from i down to begin. */
INLINE const Instr *reverse_cheap(const Instr *i, const Instr *begin, const double *u, double *gu) {
    do {
        const double a = u[i->a], b = u[second(i)], v = u[i->out], g = gu[i->out];
        double by_a[CHEAP_COUNT], by_b[CHEAP_COUNT], nowhere = 0;
        fetch_ahead(u, gu, i->out);
        gu[i->out] = 0;
#define X(NAME)                                  \
    by_a[CHEAP_##NAME] = by_b[CHEAP_##NAME] = 0; \
    op_reverse(OP_##NAME, a, b, v, 1, &by_a[CHEAP_##NAME], &by_b[CHEAP_##NAME]);
        CHEAP(X)
#undef X
        *choose(i->flags & A_ACTIVE, &gu[i->a], &nowhere) += g * by_a[CHOICE[i->op]];
        *choose(i->flags & B_ACTIVE, &gu[i->b], &nowhere) += g * by_b[CHOICE[i->op]];
    } while (--i >= begin && is_cheap(i) && i->flags & ACTIVE);
    return i;
}

INLINE const Instr *reverse_single(const Instr *i, const Instr *begin, const double *u,
                                   double *gu) {
    switch (i->op) {
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says)              \
    case OP_##NAME:                                                                        \
        do {                                                                               \
            const double a = u[i->a], b = u[arity == 2 ? i->b : i->a], v = u[i->out];      \
            const double g = gu[i->out];                                                   \
            (void)a, (void)b, (void)v;                                                     \
            fetch_ahead(u, gu, i->out);                                                    \
            gu[i->out] = 0;                                                                \
            if (i->flags & A_ACTIVE) gu[i->a] += g * (by_a);                               \
            if (arity == 2 && i->flags & B_ACTIVE) gu[i->b] += g * (by_b);                 \
        } while (--i >= begin && i->op == OP_##NAME && is_single(i) && i->flags & ACTIVE); \
        break;
        ALL_OPS(X)
#undef X
    }
    return i;
}

INLINE const Instr *reverse_small_dots(const Code *code, const Instr *i, const Instr *begin,
                                       const double *u, double *gu) {
    do {
        const int32_t *more = code->more + i->a;
        const int two = more[0] - 1, flags = i->flags, second = flags & -two;
        const ptrdiff_t a = more[3], b = more[6];
        const ptrdiff_t a2 = a + (more[5] & -two), b2 = b + (more[8] & -two);
        const double g = gu[i->out];
        double nowhere = 0;
        fetch_ahead(u, gu, i->out);
        gu[i->out] = 0;
        *choose(flags & C_ACTIVE, &gu[more[1]], &nowhere) += g;
        *choose(flags & A_ACTIVE, &gu[a], &nowhere) += g * u[b];
        *choose(flags & B_ACTIVE, &gu[b], &nowhere) += g * u[a];
        *choose(second & A_ACTIVE, &gu[a2], &nowhere) += g * u[b2];
        *choose(second & B_ACTIVE, &gu[b2], &nowhere) += g * u[a2];
    } while (--i >= begin && is_small_dot(code, i) && i->flags & ACTIVE);
    return i;
}

/* An affine dot of so few terms that the kernels would take longer. */
INLINE int is_short_dot(const Code *code, const Instr *i) {
    return i->op == OP_DOT && !(i->flags & GATHER) && (ptrdiff_t)i->n * code->more[i->a] <= 64;
}

INLINE void forward_short_dot(const Code *code, const Instr *i, double *u) {
    const int32_t *more = code->more + i->a;
    for (ptrdiff_t j = 0; j < i->n; j++) {
        double sum = more[1] < 0 ? -0.0 : u[more[1] + j * more[2]];
        ptrdiff_t a = more[3] + j * more[4], b = more[6] + j * more[7];
        for (int k = 0; k < more[0]; k++, a += more[5], b += more[8]) sum += u[a] * u[b];
        u[i->out + j] = sum;
    }
}

INLINE void reverse_short_dot(const Code *code, const Instr *i, const double *u, double *gu) {
    const int32_t *more = code->more + i->a;
    const int flags = i->flags;
    fetch_ahead(u, gu, i->out);
    for (ptrdiff_t j = 0; j < i->n; j++) {
        const double g = gu[i->out + j];
        ptrdiff_t a = more[3] + j * more[4], b = more[6] + j * more[7];
        gu[i->out + j] = 0;
        if (flags & C_ACTIVE) gu[more[1] + j * more[2]] += g;
        for (int k = 0; k < more[0]; k++, a += more[5], b += more[8]) {
            if (flags & A_ACTIVE) gu[a] += g * u[b];
            if (flags & B_ACTIVE) gu[b] += g * u[a];
        }
    }
}

static void forward(const Code *code, double *u) {
    const Instr *i = code->instrs, *end = i + code->count;
    while (i < end) {
        if (is_cheap(i) && !(end - i > 3 && is_streak(i, 1))) {
            i = forward_cheap(i, end, u);
            continue;
        }
        if (is_single(i)) {
            i = forward_single(i, end, u);
            continue;
        }
        if (is_small_dot(code, i)) {
            i = forward_small_dots(code, i, end, u);
            continue;
        }
        if (is_short_dot(code, i))
            forward_short_dot(code, i, u);
        else if (i->op == OP_DOT)
            (i->flags & GATHER ? forward_pairs : forward_dot)(code, i, u);
        else if (i->op == OP_TAKE)
            forward_take(code, i, u);
        else
            forward_run(code, i, u);
        i++;
    }
}

static void reverse(const Code *code, const double *u, double *gu) {
    const Instr *begin = code->instrs, *i = begin + code->count - 1;
    while (i >= begin) {
        if (!(i->flags & ACTIVE)) {
            i--;
            continue;
        }
        if (is_cheap(i) && !(i - begin > 3 && is_streak(i, -1))) {
            i = reverse_cheap(i, begin, u, gu);
            continue;
        }
        if (is_single(i)) {
            i = reverse_single(i, begin, u, gu);
            continue;
        }
        if (is_small_dot(code, i)) {
            i = reverse_small_dots(code, i, begin, u, gu);
            continue;
        }
        if (is_short_dot(code, i))
            reverse_short_dot(code, i, u, gu);
        else if (i->op == OP_DOT)
            (i->flags & GATHER ? reverse_pairs : reverse_dot)(code, i, u, gu);
        else if (i->op == OP_TAKE)
            reverse_take(code, i, u, gu);
        else
            reverse_run(code, i, u, gu);
        i--;
    }
}

/* Varying code. */

typedef struct {
    const Code *code;
    const double *u;
    double *v;        /* written by the forward sweep alone */
    double *acc, *gv; /* the reverse sweep's */
    ptrdiff_t lanes;
} Block;

/* One number a lane: the block of a varying slot; or `buffer`, filled with a uniform number. */
static const double *spread(const Block *s, ptrdiff_t slot, int varying, double *buffer) {
    if (varying) return s->v + slot * s->lanes;
    for (ptrdiff_t l = 0; l < s->lanes; l += W) store(buffer + l, splat(s->u[slot]), W);
    return buffer;
}

INLINE void clear(double *x, ptrdiff_t lanes) {
    for (ptrdiff_t l = 0; l < lanes; l += W) store(x + l, splat(0), W);
}

/* Adds the adjoints gx, one a lane, to those of a slot. */
INLINE void give(const Block *s, ptrdiff_t slot, int varying, const double *gx) {
    if (varying) {
        double *to = s->gv + slot * s->lanes;
        for (ptrdiff_t l = 0; l < s->lanes; l += W)
            store(to + l, load(to + l, W) + load(gx + l, W), W);
    } else {
        for (double *to = s->acc + slot * 8, *end = to + 8; to < end; to += W, gx += W) {
            vec sum = load(to, W);
            for (ptrdiff_t l = 0; l < s->lanes; l += 8) sum += load(gx + l, W);
            store(to, sum, W);
        }
    }
}

/* Is a run one array of lanes, all operands varying and contiguous? */
static int is_whole(const Instr *i) {
    int all = KERNELS[i->op].arity == 2 ? A_VARYING | B_VARYING : A_VARYING;
    return !is_listed(i) && (i->flags & all) == all;
}

/* The operands of the j-th element of a run. */
static void spread_all(const Block *s, const Instr *i, const Operand x[3], ptrdiff_t j,
                       double buffer[3][MAX_LANES], const double *at[3]) {
    for (int k = 0; k < 3; k++)
        at[k] = k >= KERNELS[i->op].arity
                    ? at[k - 1]
                    : spread(s, place(x[k], j), i->flags & A_VARYING << k, buffer[k]);
}

static void forward_run_lanes(const Block *s, const Instr *i) {
    const Kernel *kernel = &KERNELS[i->op];
    const ptrdiff_t lanes = s->lanes;
    double *out = s->v + i->out * lanes;
    if (is_whole(i)) {
        const double *a = s->v + i->a * lanes, *b = s->v + second(i) * lanes;
        kernel->value(out, a, b, b, i->n * lanes);
        return;
    }
    Operand x[3];
    double buffer[3][MAX_LANES];
    const double *at[3];
    get_operands(s->code, i, x);
    for (ptrdiff_t j = 0; j < i->n; j++, out += lanes) {
        spread_all(s, i, x, j, buffer, at);
        kernel->value(out, at[0], at[1], at[2], lanes);
    }
}

static void reverse_run_lanes(const Block *s, const Instr *i) {
    const Kernel *kernel = &KERNELS[i->op];
    const ptrdiff_t lanes = s->lanes;
    const double *out = s->v + i->out * lanes;
    double *g = s->gv + i->out * lanes;
    if (is_whole(i)) {
        const double *a = s->v + i->a * lanes, *b = s->v + second(i) * lanes;
        const ptrdiff_t count = i->n * lanes;
        if (i->flags & A_ACTIVE) kernel->by[0](s->gv + i->a * lanes, g, a, b, b, out, count);
        if (i->flags & B_ACTIVE) kernel->by[1](s->gv + i->b * lanes, g, a, b, b, out, count);
        memset(g, 0, count * sizeof(double));
        return;
    }
    Operand x[3];
    double buffer[3][MAX_LANES], gx[MAX_LANES];
    const double *at[3];
    get_operands(s->code, i, x);
    for (ptrdiff_t j = 0; j < i->n; j++, out += lanes, g += lanes) {
        spread_all(s, i, x, j, buffer, at);
        for (int k = 0; k < kernel->arity; k++) {
            const int varying = i->flags & A_VARYING << k;
            const ptrdiff_t slot = place(x[k], j);
            if (!(i->flags & A_ACTIVE << k)) continue;
            if (!varying) clear(gx, lanes);
            kernel->by[k](varying ? s->gv + slot * lanes : gx, g, at[0], at[1], at[2], out, lanes);
            if (!varying) give(s, slot, 0, gx);
        }
        clear(g, lanes);
    }
}

static Matrix factor(const Block *s, Factor x, int varying) {
    if (varying) return matrix(s->v + x.slot * s->lanes, x.sj * s->lanes, x.sk * s->lanes);
    return matrix(s->u + x.slot, x.sj, x.sk);
}

static void forward_dot_lanes(const Block *s, const Instr *i) {
    const ptrdiff_t lanes = s->lanes;
    const Dot d = get_dot(s->code, i);
    const int a_varying = i->flags & A_VARYING, c_varying = i->flags & C_VARYING;
    Combine t = {.lanes = lanes,
                 .rows = d.n,
                 .m = d.m,
                 .out = s->v + i->out * lanes,
                 .out_row = lanes,
                 .a = factor(s, d.a, a_varying),
                 .a_lanes = a_varying,
                 .b = factor(s, d.b, 1),
                 .c_lanes = c_varying,
                 .apart = 1,
                 .pairs = d.pairs};
    if (d.c >= 0) {
        t.c = c_varying ? s->v + d.c * lanes : s->u + d.c;
        t.c_row = c_varying ? d.sc * lanes : d.sc;
    }
    if (!d.pairs) {
        combine(t);
        return;
    }
    t.rows = 1;
    for (ptrdiff_t j = 0; j < d.n; j++) {
        combine(t);
        t.pairs += 2 * d.m, t.out += lanes;
        if (t.c) t.c += t.c_row;
    }
}

/* Adds to the adjoints of the varying factor p: those of the outputs, g, times the other, q. */
static void reverse_varying(const Block *s, const Dot *d, Factor p, Factor q, int q_varying,
                            const double *g) {
    const ptrdiff_t lanes = s->lanes, row = p.sj * lanes, col = p.sk * lanes;
    const Matrix y = factor(s, q, q_varying);
    double *gp = s->gv + p.slot * lanes;
    Combine t = {
        .lanes = lanes, .out = gp, .c = gp, .c_lanes = 1, .a_lanes = q_varying, .apart = 1};
    if (!row && col) { /* shared by the outputs, over which it is summed in registers */
        t.rows = d->m, t.out_row = t.c_row = col, t.m = d->n;
        t.a = matrix(y.at, y.col, y.row), t.b = matrix(g, 0, lanes);
        combine(t);
    } else if (row && !col) { /* one number or block an output */
        t.rows = d->n, t.out_row = t.c_row = row, t.m = d->m;
        t.a = y, t.b = matrix(g, lanes, 0);
        combine(t);
    } else {
        for (ptrdiff_t j = 0; j < d->n; j++)
            distribute(lanes, d->m, gp + j * row, col, g + j * lanes, y.at + j * y.row, y.col,
                       q_varying);
    }
}

static void reverse_factors(const Block *s, const Dot *d, int flags, const double *g) {
    const int a_varying = flags & A_VARYING;
    if (flags & A_ACTIVE && a_varying) reverse_varying(s, d, d->a, d->b, 1, g);
    if (flags & A_ACTIVE && !a_varying)
        reduce_to_eight((Reduce){.lanes = s->lanes,
                                 .rows = d->n,
                                 .cols = d->m,
                                 .to = s->acc + 8 * d->a.slot,
                                 .to_row = 8 * d->a.sj,
                                 .to_col = 8 * d->a.sk,
                                 .a = matrix(g, s->lanes, 0),
                                 .b = factor(s, d->b, 1)});
    if (flags & B_ACTIVE) reverse_varying(s, d, d->b, d->a, a_varying, g);
}

static void reverse_dot_lanes(const Block *s, const Instr *i) {
    const ptrdiff_t lanes = s->lanes;
    const Dot d = get_dot(s->code, i);
    const int32_t *pair = d.pairs;
    double *g = s->gv + i->out * lanes;
    if (i->flags & C_ACTIVE)
        for (ptrdiff_t j = 0; j < d.n; j++)
            give(s, d.c + j * d.sc, i->flags & C_VARYING, g + j * lanes);
    if (!d.pairs) reverse_factors(s, &d, i->flags, g);
    for (ptrdiff_t j = 0; d.pairs && j < d.n; j++)
        for (ptrdiff_t k = 0; k < d.m; k++, pair += 2) { /* each pair as a dot of its own */
            const Dot one = {.n = 1, .m = 1, .a.slot = pair[0], .b.slot = pair[1]};
            reverse_factors(s, &one, i->flags, g + j * lanes);
        }
    memset(g, 0, d.n * lanes * sizeof(double));
}

/* The row each lane takes. */
static void find_rows(const Block *s, const Take *t, int varying, ptrdiff_t *rows) {
    for (ptrdiff_t l = 0; l < s->lanes; l++)
        rows[l] = find_row(t, varying ? s->v[t->index * s->lanes + l] : s->u[t->index]);
}

static void forward_take_lanes(const Block *s, const Instr *i) {
    Take t = get_take(s->code, i);
    ptrdiff_t rows[MAX_LANES];
    double *out = s->v + i->out * s->lanes;
    find_rows(s, &t, i->flags & A_VARYING, rows);
    for (ptrdiff_t j = 0; j < i->n; j++)
        for (ptrdiff_t l = 0; l < s->lanes; l++) {
            ptrdiff_t slot = taken(&t, rows[l], j);
            *out++ = i->flags & B_VARYING ? s->v[slot * s->lanes + l] : s->u[slot];
        }
}

static void reverse_take_lanes(const Block *s, const Instr *i) {
    Take t = get_take(s->code, i);
    ptrdiff_t rows[MAX_LANES];
    double *g = s->gv + i->out * s->lanes;
    find_rows(s, &t, i->flags & A_VARYING, rows);
    for (ptrdiff_t j = 0; j < i->n; j++)
        for (ptrdiff_t l = 0; l < s->lanes; l++) {
            ptrdiff_t slot = taken(&t, rows[l], j);
            if (i->flags & B_VARYING)
                s->gv[slot * s->lanes + l] += *g;
            else
                s->acc[slot * 8 + (l & 7)] += *g;
            *g++ = 0;
        }
}

static void forward_lanes(const Code *code, const double *u, double *v, ptrdiff_t lanes) {
    Block s = {code, u, v, NULL, NULL, lanes};
    for (const Instr *i = code->instrs, *end = i + code->count; i < end; i++) {
        if (i->op == OP_DOT)
            forward_dot_lanes(&s, i);
        else if (i->op == OP_TAKE)
            forward_take_lanes(&s, i);
        else
            forward_run_lanes(&s, i);
    }
}

static void reverse_lanes(const Code *code, const double *u, const double *v, double *acc,
                          double *gv, ptrdiff_t lanes) {
    Block s = {code, u, (double *)v, acc, gv, lanes};
    for (const Instr *i = code->instrs + code->count; i-- > code->instrs;) {
        if (!(i->flags & ACTIVE)) continue;
        if (i->op == OP_DOT)
            reverse_dot_lanes(&s, i);
        else if (i->op == OP_TAKE)
            reverse_take_lanes(&s, i);
        else
            reverse_run_lanes(&s, i);
    }
}

/* Reverse sweeps that are careful with adjoints of 0: those pass nothing on, though a partial is
 * infinite, or nan. The others, which multiply, make nan of it, so that they need no test: who finds
 * nan in what they yield asks once more here. One element of one lane after the other. In scalar
 * code all is varying, in one lane. */

static double careful_value(const Block *s, ptrdiff_t slot, int varying, ptrdiff_t l) {
    return varying ? s->v[slot * s->lanes + l] : s->u[slot];
}

static void careful_give(const Block *s, ptrdiff_t slot, int varying, ptrdiff_t l, double share) {
    *(varying ? &s->gv[slot * s->lanes + l] : &s->acc[slot * 8 + (l & 7)]) += share;
}

/* The j-th dot of a run. */
static void careful_dot(const Block *s, const Instr *i, int flags, ptrdiff_t j, ptrdiff_t l,
                        double g) {
    const Dot d = get_dot(s->code, i);
    const int a_varying = flags & A_VARYING, b_varying = flags & B_VARYING;
    if (flags & C_ACTIVE) careful_give(s, d.c + j * d.sc, flags & C_VARYING, l, g);
    for (ptrdiff_t k = 0; k < d.m; k++) {
        const int32_t *pair = d.pairs + 2 * (j * d.m + k);
        const ptrdiff_t a = d.pairs ? pair[0] : d.a.slot + j * d.a.sj + k * d.a.sk;
        const ptrdiff_t b = d.pairs ? pair[1] : d.b.slot + j * d.b.sj + k * d.b.sk;
        if (flags & A_ACTIVE) careful_give(s, a, a_varying, l, g * careful_value(s, b, b_varying, l));
        if (flags & B_ACTIVE) careful_give(s, b, b_varying, l, g * careful_value(s, a, a_varying, l));
    }
}

static void careful_take(const Block *s, const Instr *i, int flags, ptrdiff_t j, ptrdiff_t l,
                         double g) {
    const Take t = get_take(s->code, i);
    const ptrdiff_t row = find_row(&t, careful_value(s, t.index, flags & A_VARYING, l));
    careful_give(s, taken(&t, row, j), flags & B_VARYING, l, g);
}

/* An operation that has a kernel. */
static void careful_op(const Block *s, const Instr *i, int flags, ptrdiff_t j, ptrdiff_t l,
                       double g) {
    Operand x[3];
    double value[3], share[3] = {0, 0, 0};
    get_operands(s->code, i, x);
    for (int k = 0; k < 3; k++)
        value[k] = k >= KERNELS[i->op].arity
                       ? value[k - 1]
                       : careful_value(s, place(x[k], j), flags & A_VARYING << k, l);
    if (i->op == OP_WHERE)
        share[value[0] > 0 ? 1 : 2] = g;
    else
        op_reverse(i->op, value[0], value[1], s->v[(i->out + j) * s->lanes + l], g, &share[0],
                   &share[1]);
    for (int k = 0; k < KERNELS[i->op].arity; k++)
        if (flags & A_ACTIVE << k)
            careful_give(s, place(x[k], j), flags & A_VARYING << k, l, share[k]);
}

static void careful_sweep(const Block *s, int flags) {
    for (ptrdiff_t k = s->code->count; k-- > 0;) {
        const Instr *i = &s->code->instrs[k];
        if (!(i->flags & ACTIVE)) continue;
        for (ptrdiff_t j = 0; j < i->n; j++)
            for (ptrdiff_t l = 0; l < s->lanes; l++) {
                double *at = &s->gv[(i->out + j) * s->lanes + l];
                const double g = *at;
                *at = 0;
                if (g == 0) continue;
                (i->op == OP_DOT    ? careful_dot
                 : i->op == OP_TAKE ? careful_take
                                    : careful_op)(s, i, i->flags | flags, j, l, g);
            }
    }
}

static void careful_reverse(const Code *code, const double *u, double *gu) {
    const Block s = {code, NULL, (double *)u, NULL, gu, 1};
    careful_sweep(&s, A_VARYING | B_VARYING | C_VARYING);
}

static void careful_reverse_lanes(const Code *code, const double *u, const double *v, double *acc,
                                  double *gv, ptrdiff_t lanes) {
    const Block s = {code, u, (double *)v, acc, gv, lanes};
    careful_sweep(&s, 0);
}

static int has_nan(const double *x, ptrdiff_t count) {
    int64_t found = 0;
    for (ptrdiff_t k = 0; k < count; k++) found |= x[k] != x[k] ? -1 : 0;
    return found != 0;
}

#define JOIN(a, b) a##b
#define ENGINE_OF(isa) JOIN(engine_, isa)
#define QUOTE(a) #a
#define NAME_OF(isa) QUOTE(isa)

const Engine *ENGINE_OF(ENGINE)(void);
const Engine *ENGINE_OF(ENGINE)(void) {
    static const Engine engine = {NAME_OF(ENGINE), forward,       {reverse, careful_reverse},
                                  forward_lanes,   {reverse_lanes, careful_reverse_lanes}, has_nan};
    vmath_load();
    return &engine;
}

/* Defined for the baseline alone, whose code runs on any processor: are there other engines? */
#ifdef X86_ENGINES
const Engine *engine_avx2(void);
const Engine *engine_avx512(void);

const Engine *engine_select(const char *name) {
#if X86_ENGINES
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma") && (!name || !strcmp(name, "avx512")))
        return engine_avx512();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        (!name || !strcmp(name, "avx2")))
        return engine_avx2();
#endif
    return !name || !strcmp(name, "baseline") ? engine_baseline() : NULL;
}
#endif
