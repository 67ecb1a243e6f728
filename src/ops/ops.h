/* The op table: ONE line an operation, and all that is made from it.
 *
 *   X(NAME, name, symbol, arity, value, by_a, by_b, raises, kind)
 *
 *   NAME    the op code, OP_NAME
 *   name    the method or operator as Python spells it
 *   symbol  what `_op` says and what pictures print
 *   value   the primal, of the operands a and b
 *   by_a    partial derivative by the first operand; may read a, b and the primal v
 *   by_b    partial derivative by the second operand (0 where there is none)
 *   raises  the function of Python's `math` or `operator` that decides, where the primal is not
 *           finite, whether these operands are an error; NULL where Python never raises
 *   kind    what can become of finite operands:
 *             FINITE    a finite value and finite partials, but for sums and products that are too large
 *             OVERFLOWS infinite ones where the operand is large
 *             SINGULAR  infinite partials, or nan, at a point or beyond a bound
 *             CHOOSES    its partials say what is chosen: where one is 0, nothing passes, whatever the adjoint
 *
 * Adding an operation is adding a line: its method on Value, that method's documentation and its tests
 * follow from it. (Type checkers read its signature in _core.pyi.)
 */
#ifndef MICROGRAD_C_OPS_H
#define MICROGRAD_C_OPS_H

#include <math.h>
#include <stdint.h>

/* 1 / (1 + exp(-a)), without overflow on either side. */
static inline double logistic(double a) {
    double e = exp(-fabs(a));
    return a < 0 ? e / (1 + e) : 1 / (1 + e);
}

/* Formulas of partials that are too long for a line of the table: name, parameters, value. Their text, like
 * that of the table, is read where programs are differentiated (graph/partials.pyx): an expression, each, of numbers,
 * operators, comparisons, one `? :` on the outside, and functions that are formulas or values of the table. */
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
X(ADD,      add,      "+",        2, a + b,              1,                          1,                         NULL,  FINITE)      \
X(SUB,      sub,      "-",        2, a - b,              1,                          -1,                        NULL,  FINITE)      \
X(MUL,      mul,      "*",        2, a * b,              b,                          a,                         NULL,  FINITE)      \
X(DIV,      div,      "/",        2, a / b,              1 / b,                      -(a / b) / b,              "truediv", SINGULAR)\
X(POW,      pow,      "**",       2, pow(a, b),          pow_by_base(a, b),          pow_by_exponent(a, b, v),  "pow", SINGULAR)    \
/* the exponent is a plain number: no derivative by it is asked for */                                                              \
X(POWC,     powc,     "**",       2, pow(a, b),          powc_by_base(a, b),         0,                         "pow", SINGULAR)    \
X(NEG,      neg,      "neg",      1, -a,                 -1,                         0,                         NULL,  FINITE)

#define UNARY_FUNCTIONS(X) \
X(ABS,      abs,      "abs",      1, fabs(a),            (a > 0) - (a < 0),          0,                         NULL,  FINITE)      \
X(EXP,      exp,      "exp",      1, exp(a),             v,                          0,                         "exp", OVERFLOWS)   \
X(EXPM1,    expm1,    "expm1",    1, expm1(a),           expm1_partial(a, v),        0,                         "expm1", OVERFLOWS) \
X(LOG,      log,      "log",      1, log(a),             1 / a,                      0,                         "log", SINGULAR)    \
X(LOG2,     log2,     "log2",     1, log2(a),            1 / LN_2 / a,               0,                         "log2", SINGULAR)   \
X(LOG10,    log10,    "log10",    1, log10(a),           1 / LN_10 / a,              0,                         "log10", SINGULAR)  \
X(LOG1P,    log1p,    "log1p",    1, log1p(a),           1 / (1 + a),                0,                         "log1p", SINGULAR)  \
X(SQRT,     sqrt,     "sqrt",     1, sqrt(a),            0.5 / v,                    0,                         "sqrt", SINGULAR)   \
X(CBRT,     cbrt,     "cbrt",     1, cbrt(a),            1 / (3 * v * v),            0,                         NULL,  SINGULAR)    \
X(SIN,      sin,      "sin",      1, sin(a),             cos(a),                     0,                         "sin", FINITE)      \
X(COS,      cos,      "cos",      1, cos(a),             -sin(a),                    0,                         "cos", FINITE)      \
X(TAN,      tan,      "tan",      1, tan(a),             1 + v * v,                  0,                         "tan", FINITE)      \
X(ASIN,     asin,     "asin",     1, asin(a),            1 / sqrt(one_less_square(a)), 0,                        "asin", SINGULAR)   \
X(ACOS,     acos,     "acos",     1, acos(a),            -1 / sqrt(one_less_square(a)), 0,                       "acos", SINGULAR)   \
X(ATAN,     atan,     "atan",     1, atan(a),            1 / (1 + a * a),            0,                         "atan", FINITE)     \
X(SINH,     sinh,     "sinh",     1, sinh(a),            cosh(a),                    0,                         "sinh", OVERFLOWS)  \
X(COSH,     cosh,     "cosh",     1, cosh(a),            sinh(a),                    0,                         "cosh", OVERFLOWS)  \
X(TANH,     tanh,     "tanh",     1, tanh(a),            tanh_partial(a, v),         0,                         "tanh", FINITE)     \
X(ASINH,    asinh,    "asinh",    1, asinh(a),           1 / hypot(1, a),            0,                         "asinh", FINITE)    \
X(ACOSH,    acosh,    "acosh",    1, acosh(a),           1 / (sqrt(a - 1) * sqrt(a + 1)), 0,                    "acosh", SINGULAR)  \
X(ATANH,    atanh,    "atanh",    1, atanh(a),           1 / one_less_square(a),      0,                         "atanh", SINGULAR)  \
X(ERF,      erf,      "erf",      1, erf(a),             TWO_OVER_SQRT_PI * exp(-a * a), 0,                     "erf", FINITE)      \
X(ERFC,     erfc,     "erfc",     1, erfc(a),            -TWO_OVER_SQRT_PI * exp(-a * a), 0,                    "erfc", FINITE)     \
X(SIGMOID,  sigmoid,  "sigmoid",  1, logistic(a),        sigmoid_partial(a, v),      0,                         NULL,  FINITE)      \
X(SOFTPLUS, softplus, "softplus", 1, (a > 0 ? a : 0) + log1p(exp(-fabs(a))), logistic(a), 0,                    NULL,  FINITE)      \
/* as micrograd: nothing passes at 0 */                                                                                             \
X(RELU,     relu,     "ReLU",     1, a < 0 ? 0 : a,      v > 0,                      0,                         NULL,  CHOOSES)

#define BINARY_FUNCTIONS(X) \
X(ATAN2,    atan2,    "atan2",    2, atan2(a, b),        b / hypot(a, b) / hypot(a, b), -a / hypot(a, b) / hypot(a, b), "atan2", SINGULAR)\
X(HYPOT,    hypot,    "hypot",    2, hypot(a, b),        hypot_partial(a, v),        hypot_partial(b, v),       "hypot", FINITE)    \
/* the first operand wins a tie, and takes its whole gradient; nan wins, as in NumPy */                                             \
X(MIN,      min,      "min",      2, b < a || (!(b == b) && a == a) ? b : a, !(b < a) && !nan_alone(a, b), b < a || nan_alone(a, b), NULL, CHOOSES)\
X(MAX,      max,      "max",      2, b > a || (!(b == b) && a == a) ? b : a, !(b > a) && !nan_alone(a, b), b > a || nan_alone(a, b), NULL, CHOOSES)

/* What derivatives that are graphs need (graph/derive.pyx), and nobody calls. */
#define DERIVED_OPS(X) \
/* the product of the chain rule: what an adjoint of 0 is multiplied with, be it infinite, contributes nothing */                    \
X(CHAIN,    chain,    "*",        2, a == 0 || b == 0 ? 0 : a * b, b,                a,                         NULL,  CHOOSES)

#define ALL_OPS(X) OPERATORS(X) UNARY_FUNCTIONS(X) BINARY_FUNCTIONS(X) DERIVED_OPS(X)

#define TWO_OVER_SQRT_PI 1.1283791670955126
#define LN_2 0.69314718055994531
#define LN_10 2.3025850929940457

enum {
    OP_LEAF,
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, kind) OP_##NAME,
    ALL_OPS(X)
#undef X
    /* n-ary nodes, whose parents are edges: */
    OP_PLAIN, /* passes nothing back (made from children alone) */
    OP_NARY,  /* each edge carries its partial */
    OP_SUM,   /* every partial is 1 */
    OP_DOT,   /* edges in pairs (x, y): each one's partial is the other's primal; a last, odd edge is added */
    OP_WHERE, /* edges (test, a, b): a where the test is > 0, else b */
    OP_TAKE,  /* edges (index, row, row, ...): the row of that number; in traces and programs alone */
    OP_COUNT
};

enum { FINITE, OVERFLOWS, SINGULAR, CHOOSES };

typedef struct {
    const char *name, *symbol;
    int arity;
    const char *raises;
    int kind;
    const char *value, *by_a, *by_b; /* the formulas, for documentation */
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
    {"leaf", "", 0, NULL, FINITE, "", "", ""},
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, kind) \
    {#name, symbol, arity, raises, kind, #value, #by_a, #by_b},
    ALL_OPS(X)
#undef X
    {"plain", "", 0, NULL, FINITE, "", "", ""},
    {"nary", "", 0, NULL, FINITE, "", "", ""},
    {"sum", "sum", 0, NULL, FINITE, "", "", ""},
    {"dot", "dot", 0, NULL, FINITE, "", "", ""},
    {"where", "where", 0, NULL, CHOOSES, "", "", ""},
    {"take", "take", 0, NULL, CHOOSES, "", "", ""},
};

/* The primal of an operation of the table. */
static inline double op_value(int op, double a, double b) {
    switch (op) {
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, kind) \
    case OP_##NAME: return value;
        ALL_OPS(X)
#undef X
    }
    return 0;
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
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises, kind) \
    case OP_##NAME:                                                   \
        *ga += kind == CHOOSES && (by_a) == 0 ? 0 : g * (by_a);       \
        if (arity == 2)                                               \
            *gb += kind == CHOOSES && (by_b) == 0 ? 0 : g * (by_b);   \
        break;
        ALL_OPS(X)
#undef X
    }
    (void)b, (void)v;
}

#endif
