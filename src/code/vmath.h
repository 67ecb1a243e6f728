/* SIMD versions of libm's functions: loops that call exp, log ... may then be vectorised.
 *
 * GCC turns the calls of a function declared `simd` into calls of its vector versions, whose names
 * the x86-64 vector ABI lays down: _ZGVdN4v_exp takes the exp of 4 doubles in one AVX2 register.
 * glibc has them in libmvec, but which ones depends on its version, and other C libraries have
 * none. So they are not linked: each name is defined here as a jump through a pointer, which
 * vmath_load() sets to what the libmvec of this machine has, and which else calls libm once an
 * element.
 *
 * Elsewhere nothing is declared, and such loops stay scalar.
 */
#ifndef MICROGRAD_C_VMATH_H
#define MICROGRAD_C_VMATH_H

#include <math.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)

#include <dlfcn.h>

#define VMATH_UNARY(X)                                                                             \
    X(exp) X(expm1) X(log) X(log2) X(log10) X(log1p) X(cbrt) X(sin) X(cos) X(tan) X(asin) X(acos)  \
    X(atan) X(sinh) X(cosh) X(tanh) X(asinh) X(acosh) X(atanh) X(erf) X(erfc)
#define VMATH_BINARY(X) X(pow) X(atan2) X(hypot)

#if defined(__AVX512F__)
#define VMATH_WIDTH 8
#define VMATH_PREFIX "_ZGVeN8"
#elif defined(__AVX2__)
#define VMATH_WIDTH 4
#define VMATH_PREFIX "_ZGVdN4"
#else
#define VMATH_WIDTH 2
#define VMATH_PREFIX "_ZGVbN2"
#endif

typedef double VmathVector __attribute__((vector_size(8 * VMATH_WIDTH)));

#define JUMP(symbol, pointer)                                                                    \
    __asm__(".text\n.globl " symbol "\n.hidden " symbol "\n.type " symbol ", @function\n" symbol \
            ": jmp *" #pointer "(%rip)\n.size " symbol ", . - " symbol "\n");

/* The fallbacks call libm under names that are not `simd`, lest they be vectorised into calls of
 * themselves. */
#define X(name)                                                                          \
    double name(double) __attribute__((simd("notinbranch")));                            \
    double libm_##name(double) __asm__(#name);                                           \
    static VmathVector each_##name(VmathVector x) {                                      \
        for (int i = 0; i < VMATH_WIDTH; i++) x[i] = libm_##name(x[i]);                  \
        return x;                                                                        \
    }                                                                                    \
    static __attribute__((used)) VmathVector (*vmath_##name)(VmathVector) = each_##name; \
    JUMP(VMATH_PREFIX "v_" #name, vmath_##name)
VMATH_UNARY(X)
#undef X

#define X(name)                                                                          \
    double name(double, double) __attribute__((simd("notinbranch")));                    \
    double libm_##name(double, double) __asm__(#name);                                   \
    static VmathVector each_##name(VmathVector x, VmathVector y) {                       \
        for (int i = 0; i < VMATH_WIDTH; i++) x[i] = libm_##name(x[i], y[i]);            \
        return x;                                                                        \
    }                                                                                    \
    static __attribute__((used)) VmathVector (*vmath_##name)(VmathVector, VmathVector) = \
        each_##name;                                                                     \
    JUMP(VMATH_PREFIX "vv_" #name, vmath_##name)
VMATH_BINARY(X)
#undef X

/* libmvec stays loaded: the pointers into it are for good. */
static void vmath_load(void) {
    void *library = dlopen("libmvec.so.1", RTLD_NOW | RTLD_LOCAL), *found;
    if (!library) return;
#define X(name) \
    if ((found = dlsym(library, VMATH_PREFIX "v_" #name))) *(void **)&vmath_##name = found;
    VMATH_UNARY(X)
#undef X
#define X(name) \
    if ((found = dlsym(library, VMATH_PREFIX "vv_" #name))) *(void **)&vmath_##name = found;
    VMATH_BINARY(X)
#undef X
}

#else
static void vmath_load(void) {}
#endif

#endif
