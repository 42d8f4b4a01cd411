// Vectors as wide as the machine's, by GCC's and Clang's vector extensions. No NaN or infinity may reach these: the
// sources are compiled with -ffast-math, which is free to mistake them for numbers. Test for them by their bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;  // sixteen lanes lowered to AVX2 run four times slower than this
#else
constexpr int LANES = 4;  // SSE, NEON; elsewhere the compiler takes the vectors apart into scalars
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Int __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE Vec splat(float x) { return Vec{} + x; }
INLINE Vec vmax(Vec a, Vec b) { return a > b ? a : b; }
INLINE Vec vmin(Vec a, Vec b) { return a < b ? a : b; }
INLINE Vec lanes() {
    Vec v;
    for (int i = 0; i < LANES; i++) v[i] = float(i);
    return v;
}
INLINE Vec load(const float* p) {
    Vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
INLINE void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
INLINE Vec vsqrt(Vec a) {
    Vec r;
    for (int i = 0; i < LANES; i++) r[i] = __builtin_sqrtf(a[i]);
    return r;
}
INLINE float sum(Vec v) {
    float s = 0;
    for (int i = 0; i < LANES; i++) s += v[i];
    return s;
}
// Bit i is set where lane i of a comparison holds.
INLINE uint32_t bits(Int v) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)v, (__m512i)v);
#elif defined(__AVX2__)
    return uint32_t(_mm256_movemask_ps((__m256)v));
#elif defined(__SSE2__)
    return uint32_t(_mm_movemask_ps((__m128)v));
#else
    uint32_t mask = 0;
    for (int i = 0; i < LANES; i++) mask |= uint32_t(v[i] & 1) << i;
    return mask;
#endif
}
INLINE bool any(Int v) { return bits(v) != 0; }
INLINE Int finite(Vec v) { return ((Int)v & 0x7f800000) != 0x7f800000; }

// Sums over the lanes of many vectors at once: two half-summed vectors share one, and so on down. One sum at a time
// would cost more than the pixels of a small Gaussian.
template <int HALF>
INLINE Vec fold(Vec a, Vec b) {  // lanes with bit HALF clear: a's pairs added, set: b's
    Int low, high;
    for (int i = 0; i < LANES; i++) {
        low[i] = (i & HALF) ? LANES + (i ^ HALF) : i;
        high[i] = (i & HALF) ? LANES + i : (i ^ HALF);
    }
#if defined(__clang__)
    Vec x, y;
    for (int i = 0; i < LANES; i++) {
        x[i] = low[i] < LANES ? a[low[i]] : b[low[i] - LANES];
        y[i] = high[i] < LANES ? a[high[i]] : b[high[i] - LANES];
    }
    return x + y;
#else
    return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
#endif
}

// Afterwards lane k of the result holds the sum of v[k], for k < LANES. Vectors beyond `count` are taken as zero.
INLINE Vec sums(const Vec* v, int count) {
    Vec level[LANES];
    for (int i = 0; i < LANES; i++) level[i] = i < count ? v[i] : Vec{};
    for (int i = 0; i < LANES; i += 2) level[i] = fold<1>(level[i], level[i + 1]);
    for (int i = 0; i < LANES; i += 4) level[i] = fold<2>(level[i], level[i + 2]);
#if defined(__AVX2__)
    for (int i = 0; i < LANES; i += 8) level[i] = fold<4>(level[i], level[i + 4]);
#endif
#if defined(__AVX512F__)
    level[0] = fold<8>(level[0], level[8]);
#endif
    return level[0];
}

// 2^x for x in [-126, 127], relative error below 2e-7 (minimax of degree 5 around the nearest integer).
INLINE Vec exp2_fast(Vec x) {
    x = vmax(x, splat(-126.0f));
#if defined(__AVX512F__)
    Vec whole = (Vec)_mm512_roundscale_ps((__m512)x, 8);
    Int n = (Int)_mm512_cvtps_epi32((__m512)whole);
#elif defined(__AVX2__)
    Int n = (Int)_mm256_cvtps_epi32((__m256)x);
    Vec whole = __builtin_convertvector(n, Vec);
#elif defined(__SSE2__)
    Int n = (Int)_mm_cvtps_epi32((__m128)x);
    Vec whole = __builtin_convertvector(n, Vec);
#elif defined(__ARM_NEON) && defined(__aarch64__)
    Int n = (Int)vcvtnq_s32_f32((float32x4_t)x);
    Vec whole = __builtin_convertvector(n, Vec);
#else
    Int n = __builtin_convertvector(x + (x < 0.0f ? splat(-0.5f) : splat(0.5f)), Int);
    Vec whole = __builtin_convertvector(n, Vec);
#endif
    Vec f = x - whole;
    Vec p = f * 1.32764718e-3f + 9.67554154e-3f;
    p = p * f + 5.55071328e-2f;
    p = p * f + 2.40221197e-1f;
    p = p * f + 6.93146967e-1f;
    p = p * f + 1.00000007f;
    return (Vec)((Int)p + (n << 23));
}
