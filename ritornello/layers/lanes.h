// Sixteen numbers at a time: as vectors, in fewer bits and back, their sums and products. Compilers make of it what the
// processor has; where they do not see an instruction that is there, it is named.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;
typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef int16_t Shorts __attribute__((vector_size(LANES * 2)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
typedef int8_t Bytes __attribute__((vector_size(LANES)));
typedef uint8_t Quads __attribute__((vector_size(LANES * 4)));  // four bytes a lane
typedef uint16_t Pairs __attribute__((vector_size(LANES * 4)));  // two bfloat16 a lane

struct BFloat16 { uint16_t bits; };

template <class T, class U> T as(const U& from) { T to; static_assert(sizeof to == sizeof from); memcpy(&to, &from, sizeof to); return to; }
template <class T> T read(const void* from) {  // by one instruction; GCC copies by halves, and waits for both
    struct __attribute__((packed, may_alias)) Loose { T value; };
    return static_cast<const Loose*>(from)->value;
}

inline Vec load(const float* from) { return read<Vec>(from); }
#ifdef __AVX512F__  // one instruction for what GCC would otherwise do by halves
inline Vec load(const BFloat16* from) { return as<Vec>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(read<__m256i>(from)), 16)); }
inline Vec load(const int8_t* from) { return as<Vec>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(read<__m128i>(from)))); }
#else
inline Vec load(const BFloat16* from) { return as<Vec>(__builtin_convertvector(read<Halves>(from), Words) << 16); }
inline Vec load(const int8_t* from) {  // doubling the width twice is one instruction; at once, sixteen
    return __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(read<Bytes>(from), Shorts), Ints), Vec);
}
#endif
inline void store(float* to, Vec v) { memcpy(to, &v, sizeof v); }

inline void keep(float* to, float v) { *to = v; }
inline void keep(BFloat16* to, float v) {  // to the nearest, ties to even
    uint32_t bits = as<uint32_t>(v);
    to->bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline float sum(Vec v) {  // by halves: a chain of sixteen additions would cost more than the products
    typedef float Eight __attribute__((vector_size(32)));
    typedef float Four __attribute__((vector_size(16)));
    struct { Eight low, high; } eights = as<decltype(eights)>(v);
    struct { Four low, high; } fours = as<decltype(fours)>(eights.low + eights.high);
    Four four = fours.low + fours.high;
    return (four[0] + four[2]) + (four[1] + four[3]);
}

inline float greatest(Vec v) {
    float most = v[0];
    for (int i = 1; i < LANES; ++i) most = v[i] > most ? v[i] : most;
    return most;
}

// Lane n of the result is the sum of v[n]: three instructions a vector, by merging two, four, eight, sixteen of them.
template <class V> inline V sums(const V v[LANES]) {
    V w[8], u[4], t[2];
#define MERGE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
    for (int i = 0; i < 8; ++i)
        w[i] = MERGE(v[i], v[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               MERGE(v[i], v[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    for (int i = 0; i < 4; ++i)
        u[i] = MERGE(w[i], w[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
               MERGE(w[i], w[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    for (int i = 0; i < 2; ++i)
        t[i] = MERGE(u[i], u[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               MERGE(u[i], u[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    return MERGE(t[0], t[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           MERGE(t[0], t[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}

inline Vec exponential(Vec x) {  // 2^n · p(f): relative error below 3e-7
    x = x * 1.44269504f;
    x = x < -126.f ? Vec{} - 126.f : x;
    Vec shifted = x + 12582912.f, n = shifted - 12582912.f, f = x - n;  // as `nearest`
    Vec p = f * 1.53533e-4f + 1.339887e-3f;
    p = p * f + 9.618437e-3f;
    p = p * f + 5.550332e-2f;
    p = p * f + 2.402265e-1f;
    p = p * f + 6.931472e-1f;
    p = p * f + 1.f;
    return as<Vec>(as<Ints>(p) + (__builtin_convertvector(n, Ints) << 23));
}

inline Vec gelu(Vec x) {  // erf by Abramowitz and Stegun 7.1.26: absolute error below 2e-7
    Vec z = x * 0.70710678f, positive = z < 0 ? -z : z;
    Vec t = 1.f / (1.f + 0.3275911f * positive);
    Vec tail = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    Vec erf = 1.f - tail * exponential(-positive * positive);
    erf = z < 0 ? -erf : erf;
    return 0.5f * x * (1.f + erf);
}

inline Ints nearest(Vec x) { return as<Ints>(x + 12582912.f) - 0x4b400000; }  // 1.5 · 2^23: |x| below 2^22
inline void put(int8_t* to, Ints v) { Bytes bytes = __builtin_convertvector(v, Bytes); memcpy(to, &bytes, LANES); }
inline Vec numbers(Ints v) { return __builtin_convertvector(v, Vec); }

inline int32_t whole_sum(Ints v) {
    int32_t total = 0;
    for (int i = 0; i < LANES; ++i) total += v[i];
    return total;
}

// Sums of products, lane by lane: of one float32, of two bfloat16, of four unsigned bytes with four signed ones.
inline Vec dot(Vec total, Vec a, Vec b) { return total + a * b; }
inline Vec dot(Vec total, Pairs a, Pairs b) {
#ifdef __AVX512BF16__
    return as<Vec>(_mm512_dpbf16_ps(as<__m512>(total), as<__m512bh>(a), as<__m512bh>(b)));
#else
    Words x = as<Words>(a), y = as<Words>(b);
    return total + as<Vec>(x << 16) * as<Vec>(y << 16) + as<Vec>(x & 0xffff0000) * as<Vec>(y & 0xffff0000);
#endif
}
inline Ints dot(Ints total, Quads a, Quads b) {
#if defined(__AVX512VNNI__)
    return as<Ints>(_mm512_dpbusd_epi32(as<__m512i>(total), as<__m512i>(a), as<__m512i>(b)));
#elif defined(__AVX2__)  // even and odd bytes as int16, of which the processor multiplies and adds pairs
    struct Two { __m256i half[2]; } t = as<Two>(total), x = as<Two>(a), y = as<Two>(b);
    for (int i = 0; i < 2; ++i) {
        __m256i even = _mm256_and_si256(x.half[i], _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(x.half[i], 8);
        even = _mm256_madd_epi16(even, _mm256_srai_epi16(_mm256_slli_epi16(y.half[i], 8), 8));
        odd = _mm256_madd_epi16(odd, _mm256_srai_epi16(y.half[i], 8));
        t.half[i] = _mm256_add_epi32(t.half[i], _mm256_add_epi32(even, odd));
    }
    return as<Ints>(t);
#else
    for (int shift = 0; shift < 32; shift += 8)
        total += as<Ints>(as<Words>(a) >> shift & 255) * (as<Ints>(b) << (24 - shift) >> 24);
    return total;
#endif
}

// x = scale · (256 · high + low), rounded to one of 65,025 steps; `high` and `low` are summed up too.
struct Digits { float scale; int32_t high, low; };
Digits split(const float* x, int64_t count, int8_t* high, int8_t* low) {
    Vec most = Vec{} + 1e-30f;
    for (int64_t i = 0; i < count; i += LANES) {
        Vec v = load(x + i), positive = v < 0 ? -v : v;
        most = positive > most ? positive : most;
    }
    float scale = greatest(most) / (127 * 256);
    Ints of_high = {}, of_low = {};
    for (int64_t i = 0; i < count; i += LANES) {
        Ints whole = nearest(load(x + i) * (1 / scale)), upper = (whole + 128) >> 8, lower = whole - (upper << 8);
        put(high + i, upper), put(low + i, lower);
        of_high += upper, of_low += lower;
    }
    return {scale, whole_sum(of_high), whole_sum(of_low)};
}

// A number as one byte, for keeping.
float shorten(const float* x, int64_t count, int8_t* to) {
    float most = 1e-12f;
    for (int64_t i = 0; i < count; ++i) most = std::max(most, std::fabs(x[i]));
    for (int64_t i = 0; i < count; i += LANES) put(to + i, nearest(load(x + i) * (127 / most)));
    return most / 127;
}

}  // namespace
