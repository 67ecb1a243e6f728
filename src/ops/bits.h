/* What the compilers spell differently. */
#ifndef MICROGRAD_C_BITS_H
#define MICROGRAD_C_BITS_H

#include <stdint.h>

/* Number of the highest set bit of a word that is not zero. */
#ifdef _MSC_VER
#include <intrin.h>
static inline int highest_bit(uint64_t word) {
    unsigned long n;
    _BitScanReverse64(&n, word);
    return (int)n;
}
/* Adds to a counter that threads share, and returns what it was. */
static inline int64_t add_to(int64_t *counter, int64_t n) {
    return _InterlockedExchangeAdd64((volatile long long *)counter, n);
}
#else
static inline int highest_bit(uint64_t word) { return 63 - __builtin_clzll(word); }
static inline int64_t add_to(int64_t *counter, int64_t n) {
    return __atomic_fetch_add(counter, n, __ATOMIC_ACQ_REL);
}
#endif

#if defined(__GNUC__) || defined(__clang__)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define LIKELY(x) (x)
#define PREFETCH(address) ((void)0)
#endif

#ifdef _MSC_VER
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL __thread
#endif

/* CHECK states an invariant: the debug build tests it, the others compile it away. */
#ifdef MICROGRAD_C_DEBUG
#include <stdio.h>
#include <stdlib.h>
#define DEBUG_BUILD 1
#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                        \
        }                                                                                   \
    } while (0)
#else
#define DEBUG_BUILD 0
#define CHECK(condition) ((void)0)
#endif

#endif
