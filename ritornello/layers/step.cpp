// One token through all blocks of a pre-norm Transformer, for a few songs at once: what writing a song costs.
//
// A step reads every weight and every key and value that is attended to exactly once, so memory sets its pace: they may
// be float32, bfloat16, or int8 with a scale for each output, key and value. What meets int8 is int16, taken as two digits
// of eight bits, since processors multiply bytes sixty-four at a time; their sums are exact.
// Plain C interface, called through ctypes; `step.py` has the same structs, and says what each field is.

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
struct Pairs { Words bits; };                                     // two bfloat16 a lane

struct BFloat16 { uint16_t bits; };

template <class T, class U> T as(const U& from) { T to; static_assert(sizeof to == sizeof from); memcpy(&to, &from, sizeof to); return to; }
template <class T> T read(const void* from) { T to; memcpy(&to, from, sizeof to); return to; }

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
    return total + as<Vec>(a.bits << 16) * as<Vec>(b.bits << 16) + as<Vec>(a.bits & 0xffff0000) * as<Vec>(b.bits & 0xffff0000);
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

extern "C" {

struct Linear {  // weights in panels of 64 outputs: [out / 64, in / n, 64, n], n numbers to four bytes; int8 is kept + 128
    const void* weight;
    const float* scale;
    const float* bias;
    int64_t out, in, kind;
};
struct Norm { const float *weight, *bias; };
struct Block { Norm attention_norm; Linear joined, out; Norm feedforward_norm; Linear expand, contract; };
struct Window { void* sources; float* scales; int64_t capacity, filled; };

}

namespace {

constexpr int WIDE = 4;  // vectors of outputs in a panel

// One panel of y[r, o] = bias[o] + scale[o] · Σ_i weight[o, i] · x[r, i], for rows [0, ROWS). The order of the sum does
// not depend on ROWS: a song comes out the same whatever is written beside it.
template <class W, int ROWS>
void panel(const Linear& layer, const W* weight, int64_t groups, const uint32_t* x, const Digits* of, float* y, int64_t o) {
    constexpr bool BYTES = std::is_same_v<W, Quads>;
    constexpr int PARTS = BYTES ? 2 * ROWS : ROWS;
    std::conditional_t<BYTES, Ints, Vec> total[PARTS][WIDE] = {};
    for (int64_t g = 0; g < groups; ++g)
        for (int v = 0; v < WIDE; ++v, ++weight) {
            W w = read<W>(weight);
            for (int p = 0; p < PARTS; ++p) total[p][v] = dot(total[p][v], w, as<W>(Words{} + x[p * groups + g]));
        }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < WIDE && o + v * LANES < layer.out; ++v) {
            Vec sum;
            if constexpr (BYTES) {
                sum = 256.f * numbers(total[2 * r][v] - 128 * of[r].high) + numbers(total[2 * r + 1][v] - 128 * of[r].low);
                sum *= of[r].scale * load(layer.scale + o + v * LANES);
            } else sum = total[r][v];
            if (layer.bias) sum += load(layer.bias + o + v * LANES);
            int64_t left = layer.out - o - v * LANES;
            memcpy(y + r * layer.out + o + v * LANES, &sum, sizeof(float) * (left < LANES ? left : LANES));
        }
}

// All panels, each for all rows while it is near; as many rows at a time as there are registers for their sums.
template <class W>
void panels(const Linear& layer, const uint32_t* x, const Digits* of, float* y, int64_t rows, int64_t groups) {
    constexpr int MOST = std::is_same_v<W, Quads> ? 2 : 4, PARTS = std::is_same_v<W, Quads> ? 2 : 1;
    const W* weight = static_cast<const W*>(layer.weight);
    for (int64_t o = 0; o < layer.out; o += WIDE * LANES, weight += WIDE * groups)
        for (int64_t r = 0, taken; r < rows; r += taken) {
            const uint32_t* from = x + r * PARTS * groups;
            float* to = y + r * layer.out;
            taken = rows - r >= MOST ? MOST : rows - r >= 2 ? 2 : 1;
            if (taken == MOST) panel<W, MOST>(layer, weight, groups, from, of + r, to, o);
            else if (taken == 2) panel<W, 2>(layer, weight, groups, from, of + r, to, o);
            else panel<W, 1>(layer, weight, groups, from, of + r, to, o);
        }
}

// `scratch` has room for x once more.
void apply(const Linear& layer, const float* x, float* y, int64_t rows, float* scratch) {
    const uint32_t* words = reinterpret_cast<const uint32_t*>(layer.kind == 0 ? x : scratch);
    if (layer.kind == 0) return panels<Vec>(layer, words, nullptr, y, rows, layer.in);
    if (layer.kind == 1) {
        for (int64_t i = 0; i < rows * layer.in; ++i) keep(reinterpret_cast<BFloat16*>(scratch) + i, x[i]);
        return panels<Pairs>(layer, words, nullptr, y, rows, layer.in / 2);
    }
    int8_t* bytes = reinterpret_cast<int8_t*>(scratch);
    Digits* of = reinterpret_cast<Digits*>(bytes + 2 * rows * layer.in);
    for (int64_t r = 0; r < rows; ++r, bytes += 2 * layer.in)
        of[r] = split(x + r * layer.in, layer.in, bytes, bytes + layer.in);
    panels<Quads>(layer, words, of, y, rows, layer.in / 4);
}

void normalise(const Norm& norm, const float* x, float* y, int64_t rows, int64_t width) {
    for (; rows > 0; --rows, x += width, y += width) {
        Vec total = {}, squares = {};
        for (int64_t i = 0; i < width; i += LANES) total += load(x + i);
        float mean = sum(total) / width;
        for (int64_t i = 0; i < width; i += LANES) { Vec d = load(x + i) - mean; squares += d * d; }
        float inverse = 1.f / std::sqrt(sum(squares) / width + 1e-5f);
        for (int64_t i = 0; i < width; i += LANES)
            store(y + i, (load(x + i) - mean) * inverse * load(norm.weight + i) + load(norm.bias + i));
    }
}

// Turn the pairs (x[j], x[j + size/2]) of every head by the angles of the row.
void rotate(float* x, const float* cosine, const float* sine, int64_t heads, int64_t size) {
    int64_t half = size / 2;
    for (; heads > 0; --heads, x += size)
        for (int64_t j = 0; j < half; ++j) {
            float a = x[j], b = x[j + half];
            x[j] = a * cosine[j] - b * sine[j];
            x[j + half] = b * cosine[j] + a * sine[j];
        }
}

// A query of SIZE · LANES numbers in the forms in which it meets keys.
template <int SIZE>
struct Query {
    float scaled[SIZE * LANES];
    BFloat16 halves[SIZE * LANES];
    int8_t high[SIZE * LANES], low[SIZE * LANES];
    Digits of;

    Query(const float* query) {
        for (int d = 0; d < SIZE * LANES; ++d) keep(halves + d, scaled[d] = query[d] / std::sqrt(float(SIZE * LANES)));
        of = split(scaled, SIZE * LANES, high, low);
    }

    // Its products with sixteen keys, which lie one after another.
    Vec with(const float* keys, const float*) const {
        Vec partial[LANES] = {};
        for (int n = 0; n < LANES; ++n)
            for (int d = 0; d < SIZE; ++d)
                partial[n] = dot(partial[n], load(scaled + d * LANES), load(keys + (n * SIZE + d) * LANES));
        return sums(partial);
    }

    Vec with(const BFloat16* keys, const float*) const {
        Vec partial[LANES] = {};
        for (int n = 0; n < LANES; ++n)
            for (int d = 0; d < SIZE; d += 2)
                partial[n] = dot(partial[n], some<Pairs>(halves + d * LANES), some<Pairs>(keys + (n * SIZE + d) * LANES));
        return sums(partial);
    }

    Vec with(const int8_t* keys, const float* scales) const {
        Ints partial[LANES];
        for (int n = 0; n < LANES; ++n) {
            Ints upper = {}, lower = {};
            for (int d = 0; d < SIZE; d += 4) {
                Quads key = some<Quads>(keys + (n * SIZE + d) * LANES) ^ 128;  // + 128: the one factor must be unsigned
                upper = dot(upper, key, some<Quads>(high + d * LANES));
                lower = dot(lower, key, some<Quads>(low + d * LANES));
            }
            partial[n] = (upper << 8) + lower;
        }
        return numbers(sums(partial) - 128 * (256 * of.high + of.low)) * (of.scale * load(scales));
    }

    template <class T, class S> static T some(const S* from) {  // as much as a register holds, or all there is
        T to{};
        memcpy(&to, from, std::min(sizeof(T), SIZE * LANES * sizeof(S)));
        return to;
    }
};

// Σ_n weights[n] · values[n], for values of SIZE · LANES numbers each; `count` is a multiple of LANES.
template <int SIZE, class S>
void mix(const float* weights, const S* values, Vec* out, int64_t count) {
    for (int64_t n = 0; n < count; ++n)
        for (int d = 0; d < SIZE; ++d, values += LANES) out[d] += weights[n] * load(values);
}

template <int SIZE>
void mix(float* weights, const float* values, const float*, Vec* out, int64_t count) { mix<SIZE>(weights, values, out, count); }

template <int SIZE>
void mix(float* weights, const BFloat16* values, const float*, Vec* out, int64_t count) {
    for (int64_t n = 0; n < count; n += 2, values += 2 * SIZE * LANES) {  // two values' numbers side by side
        BFloat16 both[2];
        keep(both, weights[n]), keep(both + 1, weights[n + 1]);
        Pairs pair = as<Pairs>(Words{} + read<uint32_t>(both));
        for (int d = 0; d < SIZE; ++d) {
            Words a = as<Words>(load(values + d * LANES)), b = as<Words>(load(values + (SIZE + d) * LANES));
            out[d] = dot(out[d], pair, Pairs{a >> 16 | b});
        }
    }
}

#ifdef __AVX512VNNI__
// Here it is the weights that are unsigned: whole = 256 · high + low. Four values' numbers are brought side by side.
template <int WHOLE>
void mix_bytes(const float* weights, const int8_t* values, float scale, Vec* out, int64_t count) {
    __m512i high[4 * WHOLE] = {}, low[4 * WHOLE] = {};
    for (int64_t n = 0; n < count; n += LANES) {
        Ints whole = nearest(load(weights + n) * (1 / scale));
        int8_t upper[LANES], lower[LANES];
        put(upper, whole >> 8), put(lower, whole & 255);
        for (int k = 0; k < LANES; k += 4, values += 4 * WHOLE * 64) {
            __m512i h = _mm512_set1_epi32(read<int32_t>(upper + k)), l = _mm512_set1_epi32(read<int32_t>(lower + k));
            for (int d = 0; d < WHOLE; ++d) {
                __m512i v[4], ab[2], cd[2];
                for (int i = 0; i < 4; ++i) v[i] = read<__m512i>(values + (i * WHOLE + d) * 64);
                ab[0] = _mm512_unpacklo_epi8(v[0], v[1]), ab[1] = _mm512_unpackhi_epi8(v[0], v[1]);
                cd[0] = _mm512_unpacklo_epi8(v[2], v[3]), cd[1] = _mm512_unpackhi_epi8(v[2], v[3]);
                for (int i = 0; i < 4; ++i) {
                    __m512i four = i % 2 ? _mm512_unpackhi_epi16(ab[i / 2], cd[i / 2]) : _mm512_unpacklo_epi16(ab[i / 2], cd[i / 2]);
                    high[4 * d + i] = _mm512_dpbusd_epi32(high[4 * d + i], h, four);
                    low[4 * d + i] = _mm512_dpbusd_epi32(low[4 * d + i], l, four);
                }
            }
        }
    }
    for (int d = 0; d < 4 * WHOLE; ++d)  // unpacking took four of every sixteen numbers in turn
        for (int i = 0; i < LANES; ++i)
            out[d / 4 * 4 + i / 4][d % 4 * 4 + i % 4] = (256.f * as<Ints>(high[d])[i] + as<Ints>(low[d])[i]) * scale;
}
#endif

template <int SIZE>
void mix(float* weights, const int8_t* values, const float* scales, Vec* out, int64_t count) {
    Vec most = Vec{} + 1e-30f;
    for (int64_t n = 0; n < count; n += LANES) {
        Vec w = load(weights + n) * load(scales + n);
        store(weights + n, w);
        most = w > most ? w : most;
    }
#ifdef __AVX512VNNI__
    if constexpr (SIZE % 4 == 0) return mix_bytes<SIZE / 4>(weights, values, greatest(most) / 65535, out, count);
#endif
    mix<SIZE>(weights, values, out, count);
}

// Attention of one query over `count` keys and values; up to the next multiple of LANES, keys, values, scales and weights
// have room, and what stands there does not matter.
template <int SIZE, class S>
void attend_head(const float* from, const S* keys, const S* values, const float* scales, const float* value_scales,
                 float* out, float* weights, int64_t count) {
    constexpr int size = SIZE * LANES;
    Query<SIZE> query(from);
    int64_t rounded = (count + LANES - 1) / LANES * LANES;
    Vec highest = Vec{} - INFINITY, mass = {}, mixed[SIZE] = {};
    for (int64_t n = 0; n < rounded; n += LANES) {
        Vec found = query.with(keys + n * size, scales + n);
        for (int64_t i = count - n; i < LANES; ++i) found[i] = -INFINITY;
        store(weights + n, found);
        highest = found > highest ? found : highest;
    }
    float top = greatest(highest);
    for (int64_t n = 0; n < rounded; n += LANES) {
        Vec w = exponential(load(weights + n) - top);
        store(weights + n, w);
        mass += w;
    }
    mix<SIZE>(weights, values, value_scales, mixed, rounded);
    for (int d = 0; d < SIZE; ++d) store(out + d * LANES, mixed[d] / sum(mass));
}

inline void keep(float* to, const float* from, int64_t size, float*) { memcpy(to, from, size * sizeof(float)); }
inline void keep(BFloat16* to, const float* from, int64_t size, float*) { for (int64_t i = 0; i < size; ++i) keep(to + i, from[i]); }
inline void keep(int8_t* to, const float* from, int64_t size, float* scale) { *scale = shorten(from, size, to); }

// Keep a token's key and value behind the last of its window [layers, 2, heads, capacity, size], then attend to all.
template <class S>
void attend(const Window& window, int64_t layer, const float* qkv, float* out, float* weights, int64_t heads, int64_t size) {
    for (int64_t h = 0; h < heads; ++h, qkv += size, out += size) {
        int64_t key = (layer * 2 * heads + h) * window.capacity, value = key + heads * window.capacity;
        S *sources = static_cast<S*>(window.sources), *keys = sources + key * size, *values = sources + value * size;
        float *scales = window.scales + key, *value_scales = window.scales + value;
        keep(keys + window.filled * size, qkv + heads * size, size, scales + window.filled);
        keep(values + window.filled * size, qkv + 2 * heads * size, size, value_scales + window.filled);
        auto all = [&](auto attend_head) { attend_head(qkv, keys, values, scales, value_scales, out, weights, window.filled + 1); };
        if (size == 16) all(attend_head<1, S>);
        else if (size == 32) all(attend_head<2, S>);
        else if (size == 64) all(attend_head<4, S>);
        else all(attend_head<8, S>);
    }
}

}  // namespace

// x: [rows, width], what the blocks read and change in place. added: [rows, width] added to x before every block, or null.
// kind: of keys and values, as of weights: 0 float32, 1 bfloat16, 2 int8.
// cosine, sine: [rows, size / 2], or null where positions are not rotations. logits: [rows, head.out].
// scratch: rows · (3 · width + 2 · the greater of width and feedforward) + the longest window + 32 numbers.
extern "C" void step(const Block* blocks, int64_t layers, const Norm* norm, const Linear* head, float* x, const float* added,
                     int64_t rows, int64_t width, int64_t heads, const Window* windows, int64_t kind, const float* cosine,
                     const float* sine, float* logits, float* scratch) {
    int64_t size = width / heads, feedforward = blocks[0].expand.out;
    int64_t widest = feedforward > width ? feedforward : width;
    float *qkv = scratch, *hidden = qkv + rows * 3 * width, *spare = hidden + rows * widest, *weights = spare + rows * widest;
    for (int64_t l = 0; l < layers; ++l) {
        const Block& block = blocks[l];
        if (added)
            for (int64_t i = 0; i < rows * width; ++i) x[i] += added[i];
        normalise(block.attention_norm, x, hidden, rows, width);
        apply(block.joined, hidden, qkv, rows, spare);
        for (int64_t r = 0; r < rows; ++r) {
            float* row = qkv + r * 3 * width;
            if (cosine) rotate(row, cosine + r * (size / 2), sine + r * (size / 2), 2 * heads, size);
            auto all = kind == 0 ? attend<float> : kind == 1 ? attend<BFloat16> : attend<int8_t>;
            all(windows[r], l, row, hidden + r * width, weights, heads, size);
        }
        apply(block.out, hidden, qkv, rows, spare);
        for (int64_t i = 0; i < rows * width; ++i) x[i] += qkv[i];
        normalise(block.feedforward_norm, x, qkv, rows, width);
        apply(block.expand, qkv, hidden, rows, spare);
        for (int64_t i = 0; i < rows * feedforward; i += LANES) store(hidden + i, gelu(load(hidden + i)));
        apply(block.contract, hidden, qkv, rows, spare);
        for (int64_t i = 0; i < rows * width; ++i) x[i] += qkv[i];
    }
    normalise(*norm, x, hidden, rows, width);
    apply(*head, hidden, logits, rows, spare);
}
