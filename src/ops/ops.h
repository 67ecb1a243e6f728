/* The op table: ONE line an operation, and all that is made from it.
 *
 *   X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says)
 *
 *   NAME    the op code, OP_NAME
 *   name    the method or operator as Python spells it
 *   symbol  what `_op` says and what pictures print
 *   value   the primal, of the operands a and b
 *   by_a    partial derivative by the first operand; may read a, b and the primal v
 *   by_b    partial derivative by the second operand (0 where there is none)
 *   raises  the function of Python's `math` or `operator` that decides, where the primal is not
 *           finite, whether these operands are an error; NULL where Python never raises
 *   traits  what passes need to know, by |; FINITE where there is nothing to say:
 *             COMMUTES  op(a, b) is op(b, a), and so are the partials
 *             LIBRARY   the value calls a function that takes long for one number alone
 *             OVERFLOWS value and partials are infinite where a finite operand is large
 *             SINGULAR  a partial is infinite, or nan, at a point or beyond a bound
 *             CHOOSES   the partials say what is chosen: where one is 0, nothing passes, whatever the adjoint
 *   says    what it is, with units, as the documentation of its method begins
 *
 * Adding an operation is adding a line: its method on Value and Array, that method's documentation and signature,
 * its derivatives and its lanes follow from it.
 */
#ifndef MICROGRAD_C_OPS_H
#define MICROGRAD_C_OPS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "bits.h"

/* 1 / (1 + exp(-a)), without overflow on either side. */
static inline double logistic(double a) {
    double e = exp(-fabs(a));
    return a < 0 ? e / (1 + e) : 1 / (1 + e);
}

/* Formulas of partials that are too long for a line of the table: name, parameters, value. Derivatives as graphs are
 * made from their text and that of the table: micrograd_c/formulas.py says what it may hold. */
#define FORMULAS(F) \
/* 1 / cosh(x)^2 from e = exp(-2|x|) */                                                                       \
F(bell,            (double e),                     4 * e / ((1 + e) * (1 + e)))                               \
/* where tanh and sigmoid saturate, the partial can no longer be had from the value v alone */                \
F(tanh_partial,    (double a, double v),           v * v < 0.99 ? 1 - v * v : bell(exp(-2 * fabs(a))))        \
F(sigmoid_partial, (double a, double v),           v < 0.99 ? v * (1 - v) : v * logistic(-a))                 \
F(expm1_partial,   (double a, double v),           v < -0.99 ? exp(a) : v + 1)                                \
/* a ** b at a = 0, where the rules would give 0 * inf, or second derivatives that are not symmetric */                                                                                    \
F(power_rule,      (double a, double b),           a == 0 && b == 1 ? 1 : b * pow(a, b - 1))                 \
F(pow_by_base,     (double a, double b),           a == 0 && b == 0 ? 0 : power_rule(a, b))                   \
F(pow_by_exponent, (double a, double b, double v), a == 0 && b >= 0 ? 0 : v * log(a))                         \
F(powc_by_base,    (double a, double b),           b == 0 ? 0 : b * pow(a, b - 1))                            \
/* whether b alone is nan */                                                                                  \
F(nan_alone,       (double a, double b),           !(b == b) && a == a)                                       \
/* 1 - a^2, exact near 1 as a product, its derivative near 0 as a difference */                               \
F(one_less_square, (double a),                     a * a < 0.5 ? 1 - a * a : (1 - a) * (1 + a))               \
F(hypot_partial,   (double a, double v),           v > 0 ? a / v : 0)

#define F(name, parameters, value) \
    static inline double name parameters { return value; }
FORMULAS(F)
#undef F

#define OPERATORS(X) \
X(ADD,      add,      "+",        2, a + b,              1,                          1,                         NULL,  COMMUTES, "")                                                          \
X(SUB,      sub,      "-",        2, a - b,              1,                          -1,                        NULL,  FINITE, "")                                                            \
X(MUL,      mul,      "*",        2, a * b,              b,                          a,                         NULL,  COMMUTES, "")                                                          \
X(DIV,      div,      "/",        2, a / b,              1 / b,                      -(a / b) / b,              "truediv", SINGULAR, "")                                                      \
X(POW,      pow,      "**",       2, pow(a, b),          pow_by_base(a, b),          pow_by_exponent(a, b, v),  "pow", LIBRARY | SINGULAR, "")                                                \
/* the exponent is a plain number: no derivative by it is asked for */                                                                                                                        \
X(POWC,     powc,     "**",       2, pow(a, b),          powc_by_base(a, b),         0,                         "pow", LIBRARY | SINGULAR, "")                                                \
X(NEG,      neg,      "neg",      1, -a,                 -1,                         0,                         NULL,  FINITE, "")

#define UNARY_FUNCTIONS(X) \
X(ABS,      abs,      "abs",      1, fabs(a),            (a > 0) - (a < 0),          0,                         NULL,  FINITE, "The absolute value.")                                         \
X(EXP,      exp,      "exp",      1, exp(a),             v,                          0,                         "exp", LIBRARY | OVERFLOWS, "e to the power of this value.")                  \
X(EXPM1,    expm1,    "expm1",    1, expm1(a),           expm1_partial(a, v),        0,                         "expm1", LIBRARY | OVERFLOWS, "exp(a) - 1, precise near 0.")                  \
X(LOG,      log,      "log",      1, log(a),             1 / a,                      0,                         "log", LIBRARY | SINGULAR, "The natural logarithm.")                          \
X(LOG2,     log2,     "log2",     1, log2(a),            1 / LN_2 / a,               0,                         "log2", LIBRARY | SINGULAR, "The logarithm to base 2.")                       \
X(LOG10,    log10,    "log10",    1, log10(a),           1 / LN_10 / a,              0,                         "log10", LIBRARY | SINGULAR, "The logarithm to base 10.")                     \
X(LOG1P,    log1p,    "log1p",    1, log1p(a),           1 / (1 + a),                0,                         "log1p", LIBRARY | SINGULAR, "log(1 + a), precise near 0.")                   \
X(SQRT,     sqrt,     "sqrt",     1, sqrt(a),            0.5 / v,                    0,                         "sqrt", SINGULAR, "The square root.")                                         \
X(CBRT,     cbrt,     "cbrt",     1, cbrt(a),            1 / (3 * v * v),            0,                         NULL,  LIBRARY | SINGULAR, "The cube root.")                                  \
X(SIN,      sin,      "sin",      1, sin(a),             cos(a),                     0,                         "sin", LIBRARY, "The sine, of radians.")                                      \
X(COS,      cos,      "cos",      1, cos(a),             -sin(a),                    0,                         "cos", LIBRARY, "The cosine, of radians.")                                    \
X(TAN,      tan,      "tan",      1, tan(a),             1 + v * v,                  0,                         "tan", LIBRARY, "The tangent, of radians.")                                   \
X(ASIN,     asin,     "asin",     1, asin(a),            1 / sqrt(one_less_square(a)), 0,                        "asin", LIBRARY | SINGULAR, "The arc sine, in radians.")                     \
X(ACOS,     acos,     "acos",     1, acos(a),            -1 / sqrt(one_less_square(a)), 0,                       "acos", LIBRARY | SINGULAR, "The arc cosine, in radians.")                   \
X(ATAN,     atan,     "atan",     1, atan(a),            1 / (1 + a * a),            0,                         "atan", LIBRARY, "The arc tangent, in radians.")                              \
X(SINH,     sinh,     "sinh",     1, sinh(a),            cosh(a),                    0,                         "sinh", LIBRARY | OVERFLOWS, "The hyperbolic sine.")                          \
X(COSH,     cosh,     "cosh",     1, cosh(a),            sinh(a),                    0,                         "cosh", LIBRARY | OVERFLOWS, "The hyperbolic cosine.")                        \
X(TANH,     tanh,     "tanh",     1, tanh(a),            tanh_partial(a, v),         0,                         "tanh", LIBRARY, "The hyperbolic tangent.")                                   \
X(ASINH,    asinh,    "asinh",    1, asinh(a),           1 / hypot(1, a),            0,                         "asinh", LIBRARY, "The inverse hyperbolic sine.")                             \
X(ACOSH,    acosh,    "acosh",    1, acosh(a),           1 / (sqrt(a - 1) * sqrt(a + 1)), 0,                    "acosh", LIBRARY | SINGULAR, "The inverse hyperbolic cosine.")                \
X(ATANH,    atanh,    "atanh",    1, atanh(a),           1 / one_less_square(a),      0,                         "atanh", LIBRARY | SINGULAR, "The inverse hyperbolic tangent.")              \
X(ERF,      erf,      "erf",      1, erf(a),             TWO_OVER_SQRT_PI * exp(-a * a), 0,                     "erf", LIBRARY, "The error function.")                                        \
X(ERFC,     erfc,     "erfc",     1, erfc(a),            -TWO_OVER_SQRT_PI * exp(-a * a), 0,                    "erfc", LIBRARY, "1 - erf(a), precise where it is small.")                    \
X(SIGMOID,  sigmoid,  "sigmoid",  1, logistic(a),        sigmoid_partial(a, v),      0,                         NULL,  LIBRARY, "The logistic function.")                                     \
X(SOFTPLUS, softplus, "softplus", 1, (a > 0 ? a : 0) + log1p(exp(-fabs(a))), logistic(a), 0,                    NULL,  LIBRARY, "log(1 + exp(a)), without overflow.")                         \
/* as micrograd: nothing passes at 0 */                                                                                                                                                       \
X(RELU,     relu,     "ReLU",     1, a < 0 ? 0 : a,      v > 0,                      0,                         NULL,  CHOOSES, "The larger of a and 0. Its derivative at 0 is 0.")

#define BINARY_FUNCTIONS(X) \
X(ATAN2,    atan2,    "atan2",    2, atan2(a, b),        b / hypot(a, b) / hypot(a, b), -a / hypot(a, b) / hypot(a, b), "atan2", LIBRARY | SINGULAR, "The angle of the point (b, a), in radians from -pi to pi.")\
X(HYPOT,    hypot,    "hypot",    2, hypot(a, b),        hypot_partial(a, v),        hypot_partial(b, v),       "hypot", COMMUTES | LIBRARY, "The distance of the point (a, b) from the origin.")\
/* the first operand wins a tie, and takes its whole gradient; nan wins, as in NumPy */                                                                                                       \
X(MIN,      min,      "min",      2, b < a || (!(b == b) && a == a) ? b : a, !(b < a) && !nan_alone(a, b), b < a || nan_alone(a, b), NULL, CHOOSES, "The smaller of the two; nan if one is nan.")\
X(MAX,      max,      "max",      2, b > a || (!(b == b) && a == a) ? b : a, !(b > a) && !nan_alone(a, b), b > a || nan_alone(a, b), NULL, CHOOSES, "The larger of the two; nan if one is nan.")

/* What derivatives that are graphs need (graph/derive.pyx), and nobody calls. */
#define DERIVED_OPS(X) \
/* the product of the chain rule: what an adjoint of 0 is multiplied with, be it infinite, contributes nothing */                                                                             \
X(CHAIN,    chain,    "*",        2, a == 0 || b == 0 ? 0 : a * b, b,                a,                         NULL,  COMMUTES | CHOOSES, "")

#define ALL_OPS(X) OPERATORS(X) UNARY_FUNCTIONS(X) BINARY_FUNCTIONS(X) DERIVED_OPS(X)

/* The second table: n-ary operations, whose operands are edges. ONE line each, too:
 *
 *   N(NAME, name, symbol, fewest, most, first, value, partial, traits)
 *
 *   fewest, most    edges of a node of a graph; most 0: it is on the tape alone
 *   first           the first edge by which there is a derivative, NO_EDGE if by none. Those before it choose.
 *   value, partial  the primal, and its partial by edge e; may read x(k), the number at edge k, n, how many
 *                   edges there are, and given, the partial that the tape keeps for edge e
 */
#define NARY_OPS(N) \
/* a number through which nothing passes back; on the tape also one that was made from several */                          \
N(PLAIN, plain, "",      1, 1,    NO_EDGE, x(0),                    0,                                       FINITE)        \
/* a user's operation, or the call of a program */                                                                         \
N(NARY,  nary,  "",      0, 0,    0,       NAN,                     given,                                   FINITE)        \
N(SUM,   sum,   "sum",   0, 0,    0,       NAN,                     1,                                       FINITE)        \
/* edges in pairs, whose products are added; a last, odd edge is added, too */                                             \
N(DOT,   dot,   "dot",   1, MANY, 0,       sum_of_products(edges),  e < (n & ~1) ? x(e ^ 1) : 1,             FINITE)        \
/* (test, a, b): a where the test is > 0, else b */                                                                        \
N(WHERE, where, "where", 3, 3,    1,       x(0) > 0 ? x(1) : x(2),  e == (x(0) > 0 ? 1 : 2),                 CHOOSES)       \
/* (index, row, row, ...): the row of that number, from the end where it is negative */                                    \
N(TAKE,  take,  "take",  2, MANY, 1,       row_taken(edges),        e == row_at(x(0), n),                    CHOOSES)

#define MANY INT32_MAX
#define NO_EDGE INT32_MAX

#define TWO_OVER_SQRT_PI 1.1283791670955126
#define LN_2 0.69314718055994531
#define LN_10 2.3025850929940457

enum {
    OP_LEAF,
#define X(NAME, ...) OP_##NAME,
    ALL_OPS(X)
#define N(NAME, ...) OP_##NAME,
    NARY_OPS(N)
#undef N
#undef X
    OP_COUNT,
    FIRST_NARY = OP_PLAIN
};

enum { FINITE = 0, COMMUTES = 1, LIBRARY = 2, OVERFLOWS = 4, SINGULAR = 8, CHOOSES = 16 };

typedef struct {
    const char *name, *symbol;
    int arity;
    const char *raises;
    int traits;
    const char *value, *by_a, *by_b; /* the formulas, for documentation and derivatives */
    int32_t fewest, most, first;     /* of n-ary operations */
} OpInfo;

typedef struct {
    const char *name, *parameters, *value;
} Formula;

static const Formula FORMULA_TEXTS[] = {
#define F(name, parameters, value) {#name, #parameters, #value},
    FORMULAS(F)
#undef F
    {NULL, NULL, NULL},
};

static const OpInfo OP_INFO[OP_COUNT] = {
    {"leaf", "", 0, NULL, FINITE, "", "", "", 0, 0, 0},
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
    {#name, symbol, arity, raises, traits, #value, #by_a, #by_b, 0, 0, 0},
    ALL_OPS(X)
#undef X
#define N(NAME, name, symbol, fewest, most, first, value, partial, traits) \
    {#name, symbol, 0, NULL, traits, #value, #partial, "", fewest, most, first},
    NARY_OPS(N)
#undef N
};

/* The primal of an operation of the table. */
static inline double op_value(int op, double a, double b) {
    switch (op) {
#define X(NAME, name, symbol, arity, value, ...) \
    case OP_##NAME: return value;
        ALL_OPS(X)
#undef X
    }
    CHECK(!"an operation of the first table");
    return NAN;
}

/* With a constant op, nothing but its own formulas is to be left. */
#ifdef _MSC_VER
#define ALWAYS_INLINE static __forceinline
#else
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#endif

/* Adds to the operands' adjoints *ga and *gb their share of the adjoint g; with g = 1 and both at 0,
 * this is how to ask for the partials. The caller leaves out an adjoint of 0: it passes nothing on, though a
 * partial is infinite. */
ALWAYS_INLINE void op_reverse(int op, double a, double b, double v, double g, double *ga,
                              double *gb) {
    switch (op) {
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, traits, says) \
    case OP_##NAME:                                                     \
        *ga += (traits) & CHOOSES && (by_a) == 0 ? 0 : g * (by_a);      \
        if (arity == 2)                                                 \
            *gb += (traits) & CHOOSES && (by_b) == 0 ? 0 : g * (by_b);  \
        return;
        ALL_OPS(X)
#undef X
    }
    (void)b, (void)v;
    CHECK(!"an operation of the first table");
}

/* The operands of an n-ary node: that at edge k is numbers[index[k] * step]. */
typedef struct {
    const int32_t *index;
    ptrdiff_t n;
    const double *numbers;
    ptrdiff_t step;
    const double *partials; /* one an edge, where the node keeps them */
} Edges;

static inline double number_at(const Edges *edges, ptrdiff_t k) {
    return edges->numbers[edges->index[k] * edges->step];
}

static inline double sum_of_products(const Edges *edges) {
    double sum = edges->n & 1 ? number_at(edges, edges->n - 1) : -0.0;
    for (ptrdiff_t k = 0; k < edges->n - 1; k += 2) sum += number_at(edges, k) * number_at(edges, k + 1);
    return sum;
}

/* The edge of the row that an index takes, of n edges; 0 if there is none. */
static inline ptrdiff_t row_at(double index, ptrdiff_t n) {
    const double rows = (double)(n - 1);
    if (!(-rows <= index && index < rows)) return 0;
    const ptrdiff_t row = (ptrdiff_t)index;
    return row + (row < 0 ? n : 1);
}

static inline double row_taken(const Edges *edges) {
    const ptrdiff_t row = row_at(number_at(edges, 0), edges->n);
    return row ? number_at(edges, row) : NAN;
}

#define x(k) number_at(edges, k)

/* The primal of an n-ary operation that may be in a graph. */
static inline double nary_value(int op, const Edges *edges) {
    switch (op) {
#define N(NAME, name, symbol, fewest, most, first, value, ...) \
    case OP_##NAME: return value;
        NARY_OPS(N)
#undef N
    }
    CHECK(!"an n-ary operation");
    return NAN;
}

/* Its partial by edge e. */
static inline double nary_partial(int op, const Edges *edges, ptrdiff_t e) {
    const ptrdiff_t n = edges->n;
    CHECK(0 <= e && e < n);
    switch (op) {
#define given edges->partials[e]
#define N(NAME, name, symbol, fewest, most, first, value, partial, traits) \
    case OP_##NAME: return e < first ? 0 : partial;
        NARY_OPS(N)
#undef N
#undef given
    }
    (void)n;
    CHECK(!"an n-ary operation");
    return NAN;
}

/* Adds to the adjoints of its operands, that at edge k being adjoints[index[k] * step], their share of g, not 0. */
static inline void nary_reverse(int op, const Edges *edges, double g, double *__restrict adjoints) {
    const ptrdiff_t n = edges->n, step = edges->step;
    switch (op) {
#define given edges->partials[e]
#define N(NAME, name, symbol, fewest, most, first, value, partial, traits) \
    case OP_##NAME:                                                        \
        for (ptrdiff_t e = first; e < n; e++) {                            \
            const double by_e = partial;                                   \
            if (!((traits) & CHOOSES) || by_e != 0)                        \
                adjoints[edges->index[e] * step] += g * by_e;              \
        }                                                                  \
        return;
        NARY_OPS(N)
#undef N
#undef given
    }
    CHECK(!"an n-ary operation");
}
#undef x

#endif
