// One token through all blocks of a pre-norm Transformer, for a few songs at once: what writing a song costs.
//
// A step reads every weight and every key and value that is attended to exactly once, so memory sets its pace: weights
// may be float32, bfloat16, or int8 with one scale for each output; keys and values float32 or bfloat16. Sums are
// float32. Plain C interface, called through ctypes; `step.py` has the same structs, and says what each field is.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#ifdef __AVX512F__
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

// Lane n of the result is the sum of v[n]: three instructions a vector, by merging two, four, eight, sixteen of them.
inline Vec sums(const Vec v[LANES]) {
    Vec w[8], u[4], t[2];
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
    Vec shifted = x + 12582912.f, n = shifted - 12582912.f, f = x - n;  // 1.5 · 2^23: rounds to the nearest
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

// Where the processor multiplies bfloat16, pairs of numbers at once: two products and two sums an instruction and lane.
#ifdef __AVX512BF16__
constexpr bool PAIRS = true;
typedef __m512bh Pairs;
inline Pairs load_pairs(const BFloat16* from) { return read<Pairs>(from); }
inline Pairs load_pairs(const int8_t* from) { return _mm512_cvtne2ps_pbh(as<__m512>(load(from + LANES)), as<__m512>(load(from))); }
inline Vec dot(Vec total, Pairs a, Pairs b) { return as<Vec>(_mm512_dpbf16_ps(as<__m512>(total), a, b)); }
#else
constexpr bool PAIRS = false;
struct Pairs {};
inline Pairs load_pairs(const void*) { return {}; }
inline Vec dot(Vec total, Pairs, Pairs) { return total; }
#endif

}  // namespace

extern "C" {

struct Linear {
    const void* weight;
    const float* scale;
    const float* bias;
    int64_t out, in, kind;
};
struct Norm { const float *weight, *bias; };
struct Block { Norm attention_norm; Linear joined, out; Norm feedforward_norm; Linear expand, contract; };
struct Window { void* sources; int64_t capacity, filled; };

}

namespace {

// y[r, o] = bias[o] + scale[o] · Σ_i weight[o, i] · x[r, i], for outputs [o, o + OUT) and rows [0, ROWS). The order of the
// sum does not depend on ROWS: a song comes out the same whatever is written beside it.
template <int OUT, int ROWS, class W, class X>
void outputs(const Linear& layer, const W* weight, const X* x, float* y, int64_t o) {
    Vec total[OUT][ROWS] = {};
    if constexpr (std::is_same_v<X, BFloat16>) {
        for (int64_t i = 0; i < layer.in; i += 2 * LANES)
            for (int j = 0; j < OUT; ++j) {
                Pairs w = load_pairs(weight + (o + j) * layer.in + i);
                for (int r = 0; r < ROWS; ++r) total[j][r] = dot(total[j][r], w, load_pairs(x + r * layer.in + i));
            }
    } else {
        for (int64_t i = 0; i < layer.in; i += LANES)
            for (int j = 0; j < OUT; ++j) {
                Vec w = load(weight + (o + j) * layer.in + i);
                for (int r = 0; r < ROWS; ++r) total[j][r] += w * load(x + r * layer.in + i);
            }
    }
    for (int j = 0; j < OUT; ++j)
        for (int r = 0; r < ROWS; ++r)
            y[r * layer.out + o + j] =
                sum(total[j][r]) * (layer.scale ? layer.scale[o + j] : 1.f) + (layer.bias ? layer.bias[o + j] : 0.f);
}

template <int ROWS, class W, class X>
void some_rows(const Linear& layer, const W* weight, const X* x, float* y) {
    constexpr int OUT = ROWS >= 4 ? 2 : 4;
    int64_t o = 0;
    for (; o + OUT <= layer.out; o += OUT) outputs<OUT, ROWS>(layer, weight, x, y, o);
    for (; o < layer.out; ++o) outputs<1, ROWS>(layer, weight, x, y, o);
}

template <class W, class X>
void all_rows(const Linear& layer, const X* x, float* y, int64_t rows) {
    const W* weight = static_cast<const W*>(layer.weight);
    while (rows > 0) {
        int64_t taken = rows >= 8 ? 8 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        if (taken == 8) some_rows<8>(layer, weight, x, y);
        else if (taken == 4) some_rows<4>(layer, weight, x, y);
        else if (taken == 2) some_rows<2>(layer, weight, x, y);
        else some_rows<1>(layer, weight, x, y);
        x += taken * layer.in, y += taken * layer.out, rows -= taken;
    }
}

// `scratch` has room for x once more.
void apply(const Linear& layer, const float* x, float* y, int64_t rows, float* scratch) {
    if (layer.kind == 0) return all_rows<float>(layer, x, y, rows);
    if (PAIRS && layer.in % (2 * LANES) == 0) {
        BFloat16* halves = reinterpret_cast<BFloat16*>(scratch);
        for (int64_t i = 0; i < rows * layer.in; ++i) keep(halves + i, x[i]);
        if (layer.kind == 1) return all_rows<BFloat16>(layer, halves, y, rows);
        return all_rows<int8_t>(layer, halves, y, rows);
    }
    if (layer.kind == 1) return all_rows<BFloat16>(layer, x, y, rows);
    all_rows<int8_t>(layer, x, y, rows);
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

// Products of a query with sixteen keys of SIZE · LANES numbers each.
template <int SIZE, class S>
inline Vec products(const float* query, const BFloat16* halves, const S* keys) {
    Vec partial[LANES];
    for (int n = 0; n < LANES; ++n, keys += SIZE * LANES) {
        partial[n] = Vec{};
        if constexpr (PAIRS && std::is_same_v<S, BFloat16> && SIZE % 2 == 0)
            for (int d = 0; d < SIZE; d += 2)
                partial[n] = dot(partial[n], load_pairs(halves + d * LANES), load_pairs(keys + d * LANES));
        else
            for (int d = 0; d < SIZE; ++d) partial[n] += load(query + d * LANES) * load(keys + d * LANES);
    }
    return sums(partial);
}

// Σ_n weights[n] · values[n] / divisor, for values of SIZE · LANES numbers each; `count` is a multiple of LANES.
template <int SIZE, class S>
inline void mix(const float* weights, const S* values, float* out, int64_t count, float divisor) {
    Vec total[SIZE] = {};
#ifdef __AVX512BF16__
    if constexpr (std::is_same_v<S, BFloat16> && SIZE % 2 == 0) {
        for (int64_t n = 0; n < count; n += 2, values += 2 * SIZE * LANES) {  // two values' numbers side by side
            BFloat16 both[2];
            keep(both, weights[n]), keep(both + 1, weights[n + 1]);
            Pairs pair = as<Pairs>(_mm512_set1_epi32(read<int32_t>(both)));
            for (int d = 0; d < SIZE; d += 2) {
                __m512i a = read<__m512i>(values + d * LANES), b = read<__m512i>(values + (SIZE + d) * LANES);
                total[d] = dot(total[d], as<Pairs>(_mm512_unpacklo_epi16(a, b)), pair);
                total[d + 1] = dot(total[d + 1], as<Pairs>(_mm512_unpackhi_epi16(a, b)), pair);
            }
        }
        for (int d = 0; d < SIZE; d += 2) {  // unpacking took four numbers in turn for the one and for the other
            Vec low = total[d], high = total[d + 1];
            total[d] = MERGE(low, high, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
            total[d + 1] = MERGE(low, high, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
        }
    } else
#endif
        for (int64_t n = 0; n < count; ++n, values += SIZE * LANES)
            for (int d = 0; d < SIZE; ++d) total[d] += weights[n] * load(values + d * LANES);
    for (int d = 0; d < SIZE; ++d) store(out + d * LANES, total[d] / divisor);
}

// Attention of one query over `count` keys and values; up to the next multiple of LANES, keys, values and weights have
// room, and what stands there does not matter.
template <int SIZE, class S>
void attend_head(const float* query, const S* keys, const S* values, float* out, float* weights, int64_t count) {
    constexpr int size = SIZE * LANES;
    float scaled[size];
    BFloat16 halves[size];
    for (int d = 0; d < size; ++d) keep(halves + d, scaled[d] = query[d] * (1.f / std::sqrt(float(size))));
    int64_t rounded = (count + LANES - 1) / LANES * LANES;
    Vec highest = Vec{} - INFINITY, mass = {};
    for (int64_t n = 0; n < rounded; n += LANES) {
        Vec found = products<SIZE>(scaled, halves, keys + n * size);
        for (int64_t i = count - n; i < LANES; ++i) found[i] = -INFINITY;
        store(weights + n, found);
        highest = found > highest ? found : highest;
    }
    float top = highest[0];
    for (int i = 1; i < LANES; ++i) top = highest[i] > top ? highest[i] : top;
    for (int64_t n = 0; n < rounded; n += LANES) {
        Vec w = exponential(load(weights + n) - top);
        store(weights + n, w);
        mass += w;
    }
    mix<SIZE>(weights, values, out, rounded, sum(mass));
}

// Keep a token's key and value behind the last of its window [layers, 2, heads, capacity, size], then attend to all.
template <class S>
void attend(const Window& window, int64_t layer, const float* qkv, float* out, float* weights, int64_t heads, int64_t size) {
    int64_t plane = window.capacity * size;
    for (int64_t h = 0; h < heads; ++h) {
        S* keys = static_cast<S*>(window.sources) + (layer * 2 * heads + h) * plane;
        S* values = keys + heads * plane;
        const float *query = qkv + h * size, *key = query + heads * size, *value = key + heads * size;
        for (int64_t i = 0; i < size; ++i) {
            keep(keys + window.filled * size + i, key[i]);
            keep(values + window.filled * size + i, value[i]);
        }
        float* to = out + h * size;
        if (size == 16) attend_head<1>(query, keys, values, to, weights, window.filled + 1);
        else if (size == 32) attend_head<2>(query, keys, values, to, weights, window.filled + 1);
        else if (size == 64) attend_head<4>(query, keys, values, to, weights, window.filled + 1);
        else attend_head<8>(query, keys, values, to, weights, window.filled + 1);
    }
}

}  // namespace

// x: [rows, width], what the blocks read and change in place. added: [rows, width] added to x before every block, or null.
// cosine, sine: [rows, size / 2], or null where positions are not rotations. logits: [rows, head.out].
// scratch: rows · (3 · width + 2 · the greater of width and feedforward) + the longest window + 32 numbers.
extern "C" void step(const Block* blocks, int64_t layers, const Norm* norm, const Linear* head, float* x, const float* added,
                     int64_t rows, int64_t width, int64_t heads, const Window* windows, int64_t halves, const float* cosine,
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
            if (halves) attend<BFloat16>(windows[r], l, row, hidden + r * width, weights, heads, size);
            else attend<float>(windows[r], l, row, hidden + r * width, weights, heads, size);
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
