/* Sums of products over contiguous lanes: the two kernels that every OP_DOT is made of.
 *
 * Lanes are samples in varying code; in scalar code they are whatever index of the dot runs contiguously.
 * Both kernels keep a small block of results in registers, so that a number once loaded serves several.
 */
#ifndef MICROGRAD_C_DOTS_H
#define MICROGRAD_C_DOTS_H

#include <stddef.h>
#include <stdint.h>

/* A vector of W doubles, as wide as the instruction set has them; `load` and `store` with live < W touch
 * the first `live` elements alone. */
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#if defined(__AVX512F__)
#include <immintrin.h>
enum { W = 8 };
#elif defined(__AVX2__)
#include <immintrin.h>
enum { W = 4 };
#else
enum { W = 2 };
#endif
typedef double vec __attribute__((vector_size(8 * W), aligned(8), may_alias));
#else
#define INLINE static __forceinline
#define UNROLL
enum { W = 1 };
typedef double vec;
#endif

INLINE vec splat(double x) { return x - (vec){0}; } /* -0.0 - 0 is -0.0 */

#if defined(__AVX512F__)
INLINE vec load(const double *p, int live) {
    return live == W ? *(const vec *)p : (vec)_mm512_maskz_loadu_pd((__mmask8)((1 << live) - 1), p);
}
INLINE void store(double *p, vec x, int live) {
    if (live == W) *(vec *)p = x;
    else _mm512_mask_storeu_pd(p, (__mmask8)((1 << live) - 1), x);
}
INLINE double total(vec x) { return _mm512_reduce_add_pd(x); }
#elif defined(__AVX2__)
INLINE __m256i first(int live) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(live), _mm256_setr_epi64x(0, 1, 2, 3));
}
INLINE vec load(const double *p, int live) {
    return live == W ? *(const vec *)p : (vec)_mm256_maskload_pd(p, first(live));
}
INLINE void store(double *p, vec x, int live) {
    if (live == W) *(vec *)p = x;
    else _mm256_maskstore_pd(p, first(live), x);
}
INLINE double total(vec x) {
    __m128d half = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return half[0] + half[1];
}
#elif defined(__GNUC__)
INLINE vec load(const double *p, int live) { return live == W ? *(const vec *)p : (vec){*p, 0}; }
INLINE void store(double *p, vec x, int live) {
    if (live == W) *(vec *)p = x;
    else *p = x[0];
}
INLINE double total(vec x) { return x[0] + x[1]; }
#else
INLINE vec load(const double *p, int live) { return *p; }
INLINE void store(double *p, vec x, int live) { *p = x; }
INLINE double total(vec x) { return x; }
#endif

/* Where element (r, k) of a matrix stands: at[r * row + k * col]; or where its lanes begin. */
typedef struct {
    const double *at;
    ptrdiff_t row, col;
} Matrix;

INLINE Matrix matrix(const double *at, ptrdiff_t row, ptrdiff_t col) { return (Matrix){at, row, col}; }

/* R rows and V vectors of combine(). */
INLINE void combine_block(const int R, const int V, const int a_lanes, const int shared, const int live,
                          ptrdiff_t m, double *out, ptrdiff_t out_row, const double *c, ptrdiff_t c_row,
                          int c_lanes, Matrix a, Matrix b, const int32_t *pairs) {
    vec sum[4][4], x[4];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++)
        sum[r][v] = !c ? (vec){0} : c_lanes ? load(c + r * c_row + v * W, live) : splat(c[r * c_row]);
    for (ptrdiff_t k = 0; k < m; k++) {
        UNROLL for (int r = 0; r < R; r++) {
            const double *w = a.at + r * a.row + (pairs ? pairs[2 * k] : k) * a.col;
            const double *y = b.at + r * b.row + (pairs ? pairs[2 * k + 1] : k) * b.col;
            UNROLL for (int v = 0; v < V; v++) {
                if (!shared || r == 0) x[v] = load(y + v * W, live);
                sum[r][v] += (a_lanes ? load(w + v * W, live) : splat(*w)) * x[v];
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++)
        store(out + r * out_row + v * W, sum[r][v], live);
}

/* V vectors of all rows of combine(). */
INLINE void combine_rows(const int V, const int a_lanes, const int shared, const int live, int apart,
                         ptrdiff_t rows, ptrdiff_t m, double *out, ptrdiff_t out_row, const double *c,
                         ptrdiff_t c_row, int c_lanes, Matrix a, Matrix b) {
#define ROWS(R)                                                                                     \
    for (; rows >= R; rows -= R, out += R * out_row, a.at += R * a.row, b.at += R * b.row) {        \
        combine_block(R, V, a_lanes, shared, live, m, out, out_row, c, c_row, c_lanes, a, b, NULL); \
        if (c) c += R * c_row;                                                                      \
    }
    if (apart) ROWS(4)
    ROWS(1)
#undef ROWS
}

/* Calls BLOCK(V, live) for all lanes, V vectors at a time, ADVANCE(V) after each. */
#define EACH_VECTORS(BLOCK, ADVANCE)                                                  \
    for (; W == 8 && lanes >= 4 * W; lanes -= 4 * W, ADVANCE(4 * W)) BLOCK(4, W);     \
    for (; lanes >= 2 * W; lanes -= 2 * W, ADVANCE(2 * W)) BLOCK(2, W);               \
    for (; lanes >= W; lanes -= W, ADVANCE(W)) BLOCK(1, W);                           \
    if (lanes > 0) BLOCK(1, (int)lanes)

INLINE void combine_all(const int a_lanes, const int shared, int apart, ptrdiff_t lanes, ptrdiff_t rows,
                        ptrdiff_t m, double *out, ptrdiff_t out_row, const double *c, ptrdiff_t c_row,
                        int c_lanes, Matrix a, Matrix b) {
#define BLOCK(V, live) \
    combine_rows(V, a_lanes, shared, live, apart, rows, m, out, out_row, c, c_row, c_lanes, a, b)
#define ADVANCE(n) out += n, a.at += a_lanes ? n : 0, b.at += n, c += c && c_lanes ? n : 0
    EACH_VECTORS(BLOCK, ADVANCE);
#undef BLOCK
}

/* out(r)[l] = c(r)[l] + the sum over k < m of a(r, k)[l] * b(r, k)[l], for r < rows and l < lanes.
 *
 * c may be NULL, for 0, or out. c and a may be numbers instead of lanes. With `apart` no two rows of out
 * overlap. */
static void combine(int apart, ptrdiff_t lanes, ptrdiff_t rows, ptrdiff_t m, double *out,
                    ptrdiff_t out_row, const double *c, ptrdiff_t c_row, int c_lanes, Matrix a, int a_lanes,
                    Matrix b) {
#define CASE(a_lanes, shared) \
    combine_all(a_lanes, shared, apart, lanes, rows, m, out, out_row, c, c_row, c_lanes, a, b)
    if (a_lanes && b.row == 0) CASE(1, 1);
    else if (a_lanes) CASE(1, 0);
    else if (b.row == 0) CASE(0, 1);
    else CASE(0, 0);
#undef CASE
}

/* combine() of one row, where a(k) and b(k) stand at a.at + pairs[2 * k] * a.col and
 * b.at + pairs[2 * k + 1] * b.col. */
static void combine_pairs(ptrdiff_t lanes, ptrdiff_t m, double *out, const double *c, int c_lanes, Matrix a,
                          int a_lanes, Matrix b, const int32_t *pairs) {
    if (a_lanes) {
#define BLOCK(V, live) combine_block(1, V, 1, 0, live, m, out, 0, c, 0, c_lanes, a, b, pairs)
        EACH_VECTORS(BLOCK, ADVANCE);
#undef BLOCK
    } else {
#define BLOCK(V, live) combine_block(1, V, 0, 0, live, m, out, 0, c, 0, c_lanes, a, b, pairs)
        EACH_VECTORS(BLOCK, ADVANCE);
#undef BLOCK
    }
#undef ADVANCE
}

/* R rows and K columns of reduce(). */
INLINE void reduce_block(const int R, const int K, const int shared, const int a_lanes, const int scalar,
                         ptrdiff_t lanes, double *to, ptrdiff_t to_row, ptrdiff_t to_col, Matrix a, Matrix b) {
    const int span = scalar ? W : 8;
    UNROLL for (int h = 0; h < span; h += W) {
        vec sum[4][4], x[4];
        ptrdiff_t l = h;
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int k = 0; k < K; k++) sum[r][k] = (vec){0};
#define STEP(live)                                                                                  \
    UNROLL for (int r = 0; r < R; r++) {                                                            \
        const vec w = a_lanes ? load(a.at + r * a.row + l, live) : splat(a.at[r * a.row]);          \
        UNROLL for (int k = 0; k < K; k++) {                                                        \
            if (!shared || r == 0) x[k] = load(b.at + r * b.row + k * b.col + l, live);             \
            sum[r][k] += w * x[k];                                                                  \
        }                                                                                           \
    }
        for (; l + W <= lanes; l += span) { STEP(W) }
        if (scalar && l < lanes) { STEP((int)(lanes - l)) }
#undef STEP
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int k = 0; k < K; k++) {
            double *slot = to + r * to_row + k * to_col;
            if (scalar) *slot += total(sum[r][k]);
            else store(slot + h, load(slot + h, W) + sum[r][k], W);
        }
    }
}

INLINE void reduce_all(const int shared, const int a_lanes, const int scalar, ptrdiff_t lanes,
                       ptrdiff_t rows, ptrdiff_t cols, double *to, ptrdiff_t to_row, ptrdiff_t to_col,
                       Matrix a, Matrix b) {
    enum { R = W == 8 ? 4 : 2 };
#define BLOCK(R, K, k)                                                                         \
    reduce_block(R, K, shared, a_lanes, scalar, lanes, to + (k) * to_col, to_row, to_col, a,   \
                 matrix(b.at + (k) * b.col, b.row, b.col))
#define ROWS(R)                                                                                \
    for (; rows >= R; rows -= R, to += R * to_row, a.at += R * a.row, b.at += R * b.row)
    if (shared && cols >= 4) {
        ROWS(R) {
            ptrdiff_t k = 0;
            for (; k + 4 <= cols; k += 4) BLOCK(R, 4, k);
            for (; k < cols; k++) BLOCK(R, 1, k);
        }
        ROWS(1) {
            ptrdiff_t k = 0;
            for (; k + 4 <= cols; k += 4) BLOCK(1, 4, k);
            for (; k < cols; k++) BLOCK(1, 1, k);
        }
    } else {
        ROWS(4) for (ptrdiff_t k = 0; k < cols; k++) BLOCK(4, 1, k);
        ROWS(1) for (ptrdiff_t k = 0; k < cols; k++) BLOCK(1, 1, k);
    }
#undef BLOCK
#undef ROWS
}

/* to(r, k) += the sum over l < lanes of a(r)[l] * b(r, k)[l], for r < rows and k < cols; no two of these
 * need be apart. In scalar code a may be numbers instead of lanes. In varying code to(r, k) is the 8 partial
 * sums of a uniform slot's adjoint. */
static void reduce_scalar(ptrdiff_t lanes, ptrdiff_t rows, ptrdiff_t cols, double *to, ptrdiff_t to_row,
                          ptrdiff_t to_col, Matrix a, int a_lanes, Matrix b) {
    if (a_lanes && b.row == 0) reduce_all(1, 1, 1, lanes, rows, cols, to, to_row, to_col, a, b);
    else if (a_lanes) reduce_all(0, 1, 1, lanes, rows, cols, to, to_row, to_col, a, b);
    else reduce_all(0, 0, 1, lanes, rows, cols, to, to_row, to_col, a, b);
}
static void reduce_lanes(ptrdiff_t lanes, ptrdiff_t rows, ptrdiff_t cols, double *to, ptrdiff_t to_row,
                         ptrdiff_t to_col, Matrix a, Matrix b) {
    if (b.row == 0) reduce_all(1, 1, 0, lanes, rows, cols, to, to_row, to_col, a, b);
    else reduce_all(0, 1, 0, lanes, rows, cols, to, to_row, to_col, a, b);
}

/* to(k)[l] += g[l] * x(k)[l], for k < cols and l < lanes, a multiple of W; x may be numbers instead of
 * lanes. No two columns need be apart. */
static void distribute(ptrdiff_t lanes, ptrdiff_t cols, double *to, ptrdiff_t to_col, const double *g,
                       const double *x, ptrdiff_t x_col, int x_lanes) {
    for (ptrdiff_t k = 0; k < cols; k++, to += to_col, x += x_col)
        for (ptrdiff_t l = 0; l < lanes; l += W)
            store(to + l, load(to + l, W) + load(g + l, W) * (x_lanes ? load(x + l, W) : splat(*x)), W);
}

#endif
