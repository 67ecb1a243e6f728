/* Compiled programs as the C engines execute them: see lanes.c for how.
 *
 * A Code is a list of instructions over numbered slots. In *scalar* code a slot is one double, u[slot].
 * In *varying* code a slot is a block of samples, v[slot * lanes] .. v[slot * lanes + lanes - 1]; its
 * operands may also be uniform, the same number for all samples, read from the u of scalar code.
 *
 * An instruction is a run of n operations of one kind; its j-th writes slot out + j. No operand of an
 * instruction lies among its outputs; operands may be the same slots, or overlap. `more` holds what
 * does not fit into Instr; "slot[s]" below is u[s] or the block of s.
 *
 *   op of the table, OP_PLAIN (a copy)
 *             slot[out + j] = op(slot[a + j], slot[b + j]); with STRIDED, more[a ..] is
 *             {a, sa, b, sb} and operands are slot[a + j * sa], slot[b + j * sb]; with GATHER it is
 *             n times the slots of all operands, one by one.
 *   OP_DOT    more[a ..] is {m, c, sc, a, a_sj, a_sk, b, b_sj, b_sk}:
 *             slot[out + j] = (c < 0 ? -0 : slot[c + j * sc]) + the sum over k < m of
 *             slot[a + j * a_sj + k * a_sk] * slot[b + j * b_sj + k * b_sk];
 *             with GATHER {m, c, sc, n * m pairs (slot of a, slot of b)}, pair (j, k) the (j * m + k)th.
 *             In varying code b is always varying.
 *   OP_WHERE  more[a ..] is {test, st, a, sa, b, sb}: slot[test + j * st] > 0 ? a : b, strided alike.
 *             In flags and adjoints A is the test (which has none), B is a, C is b.
 *   OP_TAKE   more[a ..] is {rows, index, base, row_stride, col_stride}:
 *             slot[out + j] = slot[base + i * row_stride + j * col_stride], where i is the number in slot
 *             `index`, plus rows if negative; the caller has made sure that 0 <= i < rows.
 *             With GATHER {rows, index, n * rows slots}, that of (j, i) the (j * rows + i)th.
 *             In flags and adjoints A is the index (which has none), B are the rows.
 */
#ifndef MICROGRAD_C_LANES_H
#define MICROGRAD_C_LANES_H

#include <stddef.h>
#include <stdint.h>

enum {
    STRIDED = 1,    /* the operands of a table op have strides other than 1 */
    A_VARYING = 2,  /* in varying code: the operand is a block, not a uniform number */
    B_VARYING = 4,
    C_VARYING = 8,
    GATHER = 16,    /* the operands' slots are listed one by one */
    A_ACTIVE = 32,  /* the reverse sweep wants the operand's adjoint */
    B_ACTIVE = 64,
    C_ACTIVE = 128
};

typedef struct {
    uint8_t op, flags;
    uint16_t n;
    int32_t out, a, b;
} Instr;

typedef struct {
    const Instr *instrs;
    ptrdiff_t count;
    const int32_t *more;
} Code;

/* The sweeps, built for one instruction set. Arrays begin at multiples of 64 bytes; `lanes` is a multiple
 * of 8 from 8 to 256. Numbers follow IEEE 754; products and sums may be fused and reordered.
 *
 * The reverse sweeps take the adjoint of every output of an instruction that has active operands, last
 * instruction first, set it to 0 (so that a slot can serve several values of a program in turn), and add
 * its share to the adjoints of the active operands, and of no others. In varying code the adjoint of a
 * uniform slot is acc[8 * slot] .. acc[8 * slot + 7], lane l added to the (l % 8)th: the caller
 * takes their sum.
 *
 * There are two of each. The first, the quick one, multiplies every adjoint by every partial, and so makes
 * nan of an adjoint of 0 and an infinite partial, such as that of a branch that was not chosen; nan reaches
 * the leaves. By the second, the careful one, an adjoint of 0 passes nothing on: where the first has left
 * nan it is asked once more. */
typedef struct {
    const char *isa;
    void (*forward)(const Code *, double *u);
    void (*reverse[2])(const Code *, const double *u, double *gu);
    void (*forward_lanes)(const Code *, const double *u, double *v, ptrdiff_t lanes);
    void (*reverse_lanes[2])(const Code *, const double *u, const double *v, double *acc, double *gv,
                             ptrdiff_t lanes);
    int (*has_nan)(const double *x, ptrdiff_t count); /* whether there is one among these numbers */
} Engine;

/* The named engine ("baseline", "avx2", "avx512"), or NULL if this build or this processor does not have
 * it; for NULL the best that the processor can run. */
const Engine *engine_select(const char *name);

#endif
