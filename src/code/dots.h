/* Sums of products over contiguous lanes: the kernels that OP_DOT is made of, forward and reverse.
 *
 * Lanes are samples in varying code; in scalar code they are whatever index of the dot runs
 * contiguously. combine() and reduce() keep a small block of results in registers, so that a number
 * once loaded serves several.
 */
#ifndef MICROGRAD_C_DOTS_H
#define MICROGRAD_C_DOTS_H

#include <stddef.h>
#include <stdint.h>

/* A vector of W doubles, as wide as the instruction set has them. load() and store() with live < W
 * touch the first `live` elements alone; total() is the sum of all. */
#if !defined(__GNUC__)
#define INLINE static __forceinline
#define UNROLL
enum { W = 1 };
typedef double vec;
#else
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
#endif

INLINE vec splat(double x) { return x - (vec){0}; } /* -0.0 - 0 is -0.0 */

#if !defined(__GNUC__)
INLINE vec load_part(const double *p, int live) { return live ? *p : 0; }
INLINE void store_part(double *p, vec x, int live) {
    if (live) *p = x;
}
INLINE double total(vec x) { return x; }
#elif defined(__AVX512F__)
INLINE vec load_part(const double *p, int live) {
    return _mm512_maskz_loadu_pd((__mmask8)((1 << live) - 1), p);
}
INLINE void store_part(double *p, vec x, int live) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1 << live) - 1), x);
}
INLINE double total(vec x) { return _mm512_reduce_add_pd(x); }
#elif defined(__AVX2__)
INLINE __m256i first(int live) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(live), _mm256_setr_epi64x(0, 1, 2, 3));
}
INLINE vec load_part(const double *p, int live) { return _mm256_maskload_pd(p, first(live)); }
INLINE void store_part(double *p, vec x, int live) { _mm256_maskstore_pd(p, first(live), x); }
INLINE double total(vec x) {
    __m128d half = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return half[0] + half[1];
}
#else
INLINE vec load_part(const double *p, int live) { return (vec){live ? *p : 0, 0}; }
INLINE void store_part(double *p, vec x, int live) {
    if (live) *p = x[0];
}
INLINE double total(vec x) { return x[0] + x[1]; }
#endif

INLINE vec load(const double *p, int live) {
    return live == W ? *(const vec *)p : load_part(p, live);
}
INLINE void store(double *p, vec x, int live) {
    if (live == W)
        *(vec *)p = x;
    else
        store_part(p, x, live);
}

/* Where the lanes of element (r, k) of a matrix begin, or where its number stands if it has the
 * same for all lanes: at[r * row + k * col]. */
typedef struct {
    const double *at;
    ptrdiff_t row, col;
} Matrix;

INLINE Matrix matrix(const double *at, ptrdiff_t row, ptrdiff_t col) {
    return (Matrix){at, row, col};
}

/* out(r)[l] = c(r)[l] + the sum over k < m of a(r, k)[l] * b(r, k)[l], for r < rows and l < lanes;
 * out(r) is at out + r * out_row, c(r) at c + r * c_row. */
typedef struct {
    ptrdiff_t lanes, rows, m;
    double *out;
    ptrdiff_t out_row;
    const double *c; /* NULL for -0, with which nothing is lost of the sign of 0; may be out */
    ptrdiff_t c_row;
    Matrix a, b;
    int a_lanes, c_lanes; /* lanes, or numbers? */
    int apart;            /* no two rows of out overlap */
    const int32_t *pairs; /* not NULL: of a single row, a(k) and b(k) are at column pairs[2 * k] of
                             a and pairs[2 * k + 1] of b */
} Combine;

/* R rows and V vectors, the last of which has `live` lanes. */
INLINE void combine_block(const int R, const int V, const int live, const int a_lanes,
                          const int b_shared, const int listed, Combine t) {
    vec sum[4][4], b[4];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int v = 0; v < V; v++) {
            const double *c = t.c + r * t.c_row;
            sum[r][v] = !t.c ? splat(-0.0) : t.c_lanes ? load(c + v * W, live) : splat(*c);
        }
    }
    for (ptrdiff_t k = 0; k < t.m; k++) {
        UNROLL for (int r = 0; r < R; r++) {
            const double *x = t.a.at + r * t.a.row + (listed ? t.pairs[2 * k] : k) * t.a.col;
            const double *y = t.b.at + r * t.b.row + (listed ? t.pairs[2 * k + 1] : k) * t.b.col;
            UNROLL for (int v = 0; v < V; v++) {
                if (!b_shared || r == 0) b[v] = load(y + v * W, live);
                sum[r][v] += (a_lanes ? load(x + v * W, live) : splat(*x)) * b[v];
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int v = 0; v < V; v++) store(t.out + r * t.out_row + v * W, sum[r][v], live);
    }
}

/* V vectors of all rows. */
INLINE void combine_rows(const int V, const int live, const int a_lanes, const int b_shared,
                         const int listed, Combine t) {
#define ROWS(R)                                                               \
    for (; t.rows >= R; t.rows -= R) {                                        \
        combine_block(R, V, live, a_lanes, b_shared, listed, t);              \
        t.out += R * t.out_row, t.a.at += R * t.a.row, t.b.at += R * t.b.row; \
        if (t.c) t.c += R * t.c_row;                                          \
    }
    if (t.apart) ROWS(4)
    ROWS(1)
#undef ROWS
}

INLINE void combine_all(const int a_lanes, const int b_shared, const int listed, Combine t) {
#define LANES(V, condition, live)                            \
    for (; condition; t.lanes -= V * W) {                    \
        combine_rows(V, live, a_lanes, b_shared, listed, t); \
        t.out += V * W, t.b.at += V * W;                     \
        if (a_lanes) t.a.at += V * W;                        \
        if (t.c && t.c_lanes) t.c += V * W;                  \
    }
    LANES(4, W == 8 && t.lanes >= 4 * W, W) /* as many registers as AVX-512 has */
    LANES(2, t.lanes >= 2 * W, W)
    LANES(1, t.lanes >= W, W)
    LANES(1, t.lanes > 0, (int)t.lanes)
#undef LANES
}

static void combine(Combine t) {
    if (t.pairs && t.a_lanes)
        combine_all(1, 0, 1, t);
    else if (t.pairs)
        combine_all(0, 0, 1, t);
    else if (t.a_lanes && !t.b.row)
        combine_all(1, 1, 0, t);
    else if (t.a_lanes)
        combine_all(1, 0, 0, t);
    else if (!t.b.row)
        combine_all(0, 1, 0, t);
    else
        combine_all(0, 0, 0, t);
}

/* For r < rows and k < cols: to(r, k) += the sum over l < lanes of a(r)[l] * b(r, k)[l]. No two of
 * the to(r, k), at to + r * to_row + k * to_col, need be apart. */
typedef struct {
    ptrdiff_t lanes, rows, cols;
    double *to;
    ptrdiff_t to_row, to_col;
    Matrix a, b;
    int a_lanes; /* lanes, or numbers? */
} Reduce;

/* R rows and K columns. */
INLINE void reduce_block(const int R, const int K, const int a_lanes, const int b_shared,
                         const int eight, Reduce t) {
    const int step = eight ? 8 : W;
    UNROLL for (int h = 0; h < step; h += W) {
        vec sum[4][4], b[4];
        ptrdiff_t l = h;
        UNROLL for (int r = 0; r < R; r++) {
            UNROLL for (int k = 0; k < K; k++) sum[r][k] = splat(-0.0);
        }
#define ADD(live)                                                            \
    UNROLL for (int r = 0; r < R; r++) {                                     \
        const double *x = t.a.at + r * t.a.row, *y = t.b.at + r * t.b.row;   \
        const vec a = a_lanes ? load(x + l, live) : splat(*x);               \
        UNROLL for (int k = 0; k < K; k++) {                                 \
            if (!b_shared || r == 0) b[k] = load(y + k * t.b.col + l, live); \
            sum[r][k] += a * b[k];                                           \
        }                                                                    \
    }
        for (; l + W <= t.lanes; l += step) ADD(W)
        if (!eight && l < t.lanes) ADD((int)(t.lanes - l))
#undef ADD
        UNROLL for (int r = 0; r < R; r++) {
            UNROLL for (int k = 0; k < K; k++) {
                double *to = t.to + r * t.to_row + k * t.to_col;
                if (eight)
                    store(to + h, load(to + h, W) + sum[r][k], W);
                else
                    *to += total(sum[r][k]);
            }
        }
    }
}

INLINE void reduce_cols(const int R, const int a_lanes, const int b_shared, const int eight,
                        Reduce t) {
#define COLS(K)                                          \
    for (; t.cols >= K; t.cols -= K) {                   \
        reduce_block(R, K, a_lanes, b_shared, eight, t); \
        t.to += K * t.to_col, t.b.at += K * t.b.col;     \
    }
    if (b_shared) COLS(4)
    COLS(1)
#undef COLS
}

INLINE void reduce_all(const int a_lanes, const int b_shared, const int eight, Reduce t) {
#define ROWS(R)                                                             \
    for (; t.rows >= R; t.rows -= R) {                                      \
        reduce_cols(R, a_lanes, b_shared, eight, t);                        \
        t.to += R * t.to_row, t.a.at += R * t.a.row, t.b.at += R * t.b.row; \
    }
    if (W == 8 || !b_shared || t.cols < 4)
        ROWS(4)
    else
        ROWS(2) /* with 4 columns, as many registers as AVX2 has */
    ROWS(1)
#undef ROWS
}

static void reduce(Reduce t) {
    if (t.a_lanes && !t.b.row)
        reduce_all(1, 1, 0, t);
    else if (t.a_lanes)
        reduce_all(1, 0, 0, t);
    else
        reduce_all(0, 0, 0, t);
}

/* The same with to(r, k) eight numbers: lane l is added to the (l % 8)th. `lanes` is a multiple of
 * 8, and a is lanes. */
static void reduce_to_eight(Reduce t) {
    if (!t.b.row)
        reduce_all(1, 1, 1, t);
    else
        reduce_all(1, 0, 1, t);
}

/* to(k)[l] += g[l] * x(k)[l], for k < cols and l < lanes, a multiple of W; x may be numbers instead
 * of lanes. No two columns need be apart. */
static void distribute(ptrdiff_t lanes, ptrdiff_t cols, double *to, ptrdiff_t to_col,
                       const double *g, const double *x, ptrdiff_t x_col, int x_lanes) {
    for (ptrdiff_t k = 0; k < cols; k++, to += to_col, x += x_col)
        for (ptrdiff_t l = 0; l < lanes; l += W)
            store(to + l, load(to + l, W) + load(g + l, W) * (x_lanes ? load(x + l, W) : splat(*x)),
                  W);
}

#endif
