/* The op table: ONE line an operation, and all that is made from it.
 *
 *   X(NAME, name, symbol, arity, value, by_a, by_b, raises)
 *
 *   NAME    the op code, OP_NAME
 *   name    the method or operator as Python spells it
 *   symbol  what `_op` says and what pictures print
 *   value   the primal, of the operands a and b
 *   by_a    partial derivative by the first operand; may read a, b and the primal v
 *   by_b    partial derivative by the second operand (0 where there is none)
 *   raises  the function of Python's `math` or `operator` that decides, where the primal is not
 *           finite, whether these operands are an error; NULL where Python never raises
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
 * that of the table, is read where programs are differentiated (derive.pyx): an expression, each, of numbers,
 * operators, comparisons, one `? :` on the outside, and functions that are formulas or values of the table. */
#define FORMULAS(F) \
/* 1 / cosh(x)^2 from e = exp(-2|x|) */                                                                       \
F(bell,            (double e),                     4 * e / ((1 + e) * (1 + e)))                               \
/* where tanh and sigmoid saturate, the partial can no longer be had from the value v alone */                \
F(tanh_partial,    (double a, double v),           v * v < 0.99 ? 1 - v * v : bell(exp(-2 * fabs(a))))        \
F(sigmoid_partial, (double a, double v),           v < 0.99 ? v * (1 - v) : v * logistic(-a))                 \
F(expm1_partial,   (double a, double v),           v < -0.99 ? exp(a) : v + 1)                                \
/* a ** b where one of these would not be finite, though the derivative is: 0 instead of 0 * inf. What is not   \
 * chosen stays finite, too: a derivative of the formula passes 0 times its own there. */                     \
F(base_by_base,    (double a, double b),           a == 0 && b == 0 ? 1 : a)                                  \
F(base_by_power,   (double a, double b),           a == 0 && b >= 0 ? 1 : a)                                  \
F(pow_by_base,     (double a, double b),           b * pow(base_by_base(a, b), b - 1))                        \
F(pow_by_exponent, (double a, double b, double v), v * log(base_by_power(a, b)))                              \
F(powc_by_base,    (double a, double b),           b == 0 ? 0 : b * pow(a, b - 1))                            \
/* a / v at the origin */                                                                                     \
F(divisor,         (double v),                     v == 0 ? 1 : v)                                            \
F(hypot_partial,   (double a, double v),           v > 0 ? a / divisor(v) : 0)

#define F(name, parameters, value) \
    static inline double name parameters { return value; }
FORMULAS(F)
#undef F

#define OPERATORS(X) \
X(ADD,      add,      "+",        2, a + b,              1,                          1,                         NULL)      \
X(SUB,      sub,      "-",        2, a - b,              1,                          -1,                        NULL)      \
X(MUL,      mul,      "*",        2, a * b,              b,                          a,                         NULL)      \
X(DIV,      div,      "/",        2, a / b,              1 / b,                      -(a / b) / b,              "truediv") \
X(POW,      pow,      "**",       2, pow(a, b),          pow_by_base(a, b),          pow_by_exponent(a, b, v),  "pow")     \
/* the exponent is a plain number: no derivative by it is asked for */                                                     \
X(POWC,     powc,     "**",       2, pow(a, b),          powc_by_base(a, b),         0,                         "pow")     \
X(NEG,      neg,      "neg",      1, -a,                 -1,                         0,                         NULL)

#define UNARY_FUNCTIONS(X) \
X(ABS,      abs,      "abs",      1, fabs(a),            (a > 0) - (a < 0),          0,                         NULL)      \
X(EXP,      exp,      "exp",      1, exp(a),             v,                          0,                         "exp")     \
X(EXPM1,    expm1,    "expm1",    1, expm1(a),           expm1_partial(a, v),        0,                         "expm1")   \
X(LOG,      log,      "log",      1, log(a),             1 / a,                      0,                         "log")     \
X(LOG2,     log2,     "log2",     1, log2(a),            1 / LN_2 / a,               0,                         "log2")    \
X(LOG10,    log10,    "log10",    1, log10(a),           1 / LN_10 / a,              0,                         "log10")   \
X(LOG1P,    log1p,    "log1p",    1, log1p(a),           1 / (1 + a),                0,                         "log1p")   \
X(SQRT,     sqrt,     "sqrt",     1, sqrt(a),            0.5 / v,                    0,                         "sqrt")    \
X(CBRT,     cbrt,     "cbrt",     1, cbrt(a),            1 / (3 * v * v),            0,                         NULL)      \
X(SIN,      sin,      "sin",      1, sin(a),             cos(a),                     0,                         "sin")     \
X(COS,      cos,      "cos",      1, cos(a),             -sin(a),                    0,                         "cos")     \
X(TAN,      tan,      "tan",      1, tan(a),             1 + v * v,                  0,                         "tan")     \
X(ASIN,     asin,     "asin",     1, asin(a),            1 / sqrt((1 - a) * (1 + a)), 0,                        "asin")    \
X(ACOS,     acos,     "acos",     1, acos(a),            -1 / sqrt((1 - a) * (1 + a)), 0,                       "acos")    \
X(ATAN,     atan,     "atan",     1, atan(a),            1 / (1 + a * a),            0,                         "atan")    \
X(SINH,     sinh,     "sinh",     1, sinh(a),            cosh(a),                    0,                         "sinh")    \
X(COSH,     cosh,     "cosh",     1, cosh(a),            sinh(a),                    0,                         "cosh")    \
X(TANH,     tanh,     "tanh",     1, tanh(a),            tanh_partial(a, v),         0,                         "tanh")    \
X(ASINH,    asinh,    "asinh",    1, asinh(a),           1 / hypot(1, a),            0,                         "asinh")   \
X(ACOSH,    acosh,    "acosh",    1, acosh(a),           1 / (sqrt(a - 1) * sqrt(a + 1)), 0,                    "acosh")   \
X(ATANH,    atanh,    "atanh",    1, atanh(a),           1 / ((1 - a) * (1 + a)),    0,                         "atanh")   \
X(ERF,      erf,      "erf",      1, erf(a),             TWO_OVER_SQRT_PI * exp(-a * a), 0,                     "erf")     \
X(ERFC,     erfc,     "erfc",     1, erfc(a),            -TWO_OVER_SQRT_PI * exp(-a * a), 0,                    "erfc")    \
X(SIGMOID,  sigmoid,  "sigmoid",  1, logistic(a),        sigmoid_partial(a, v),      0,                         NULL)      \
X(SOFTPLUS, softplus, "softplus", 1, (a > 0 ? a : 0) + log1p(exp(-fabs(a))), logistic(a), 0,                    NULL)      \
/* as micrograd: nothing passes at 0 */                                                                                    \
X(RELU,     relu,     "ReLU",     1, a < 0 ? 0 : a,      v > 0,                      0,                         NULL)

#define BINARY_FUNCTIONS(X) \
X(ATAN2,    atan2,    "atan2",    2, atan2(a, b),        b / hypot(a, b) / hypot(a, b), -a / hypot(a, b) / hypot(a, b), "atan2") \
X(HYPOT,    hypot,    "hypot",    2, hypot(a, b),        hypot_partial(a, v),        hypot_partial(b, v),       "hypot")   \
/* the first operand wins a tie, and takes its whole gradient; nan spreads, as NumPy has it */                             \
X(MIN,      min,      "min",      2, (b < a) + (b != b) ? b : a, !(b < a),              b < a,                     NULL)      \
X(MAX,      max,      "max",      2, (b > a) + (b != b) ? b : a, !(b > a),              b > a,                     NULL)

#define ALL_OPS(X) OPERATORS(X) UNARY_FUNCTIONS(X) BINARY_FUNCTIONS(X)

#define TWO_OVER_SQRT_PI 1.1283791670955126
#define LN_2 0.69314718055994531
#define LN_10 2.3025850929940457

enum {
    OP_LEAF,
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises) OP_##NAME,
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

typedef struct {
    const char *name, *symbol;
    int arity;
    const char *raises;
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
    {"leaf", "", 0, NULL, "", "", ""},
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises) \
    {#name, symbol, arity, raises, #value, #by_a, #by_b},
    ALL_OPS(X)
#undef X
    {"plain", "", 0, NULL, "", "", ""},
    {"nary", "", 0, NULL, "", "", ""},
    {"sum", "sum", 0, NULL, "", "", ""},
    {"dot", "dot", 0, NULL, "", "", ""},
    {"where", "where", 0, NULL, "", "", ""},
    {"take", "take", 0, NULL, "", "", ""},
};

/* The primal of an operation of the table. */
static inline double op_value(int op, double a, double b) {
    switch (op) {
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises) \
    case OP_##NAME: return value;
        ALL_OPS(X)
#undef X
    }
    return 0;
}

/* Adds to the operands' adjoints *ga and *gb their share of the adjoint g; with g = 1 and both at 0,
 * this is how to ask for the partials. */
static inline void op_reverse(int op, double a, double b, double v, double g, double *ga,
                              double *gb) {
    switch (op) {
#define X(NAME, name, symbol, arity, value, by_a, by_b, raises) \
    case OP_##NAME:                                             \
        *ga += g * (by_a);                                      \
        if (arity == 2)                                         \
            *gb += g * (by_b);                                  \
        break;
        ALL_OPS(X)
#undef X
    }
    (void)b, (void)v;
}

#endif
