// One token through all blocks of a pre-norm Transformer, for a few songs at once: what writing a song costs.
//
// A step reads every weight and every key and value that is attended to exactly once, so memory sets its pace: they may
// be float32, bfloat16, or int8 with a scale for each output, key and value. What meets int8 is int16, taken as two digits
// of eight bits, since processors multiply bytes sixty-four at a time; their sums are exact.
// Plain C interface, called through ctypes; `step.py` has the same structs, and says what each field is.

#include "lanes.h"

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
#pragma GCC unroll 4  // the sums stay in registers
        for (int v = 0; v < WIDE; ++v, ++weight) {
            W w = read<W>(weight);
#pragma GCC unroll 4
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
        if constexpr (SIZE * LANES * sizeof(S) >= sizeof(T)) return read<T>(from);
        T to{};
        memcpy(&to, from, SIZE * LANES * sizeof(S));
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
#ifdef __AVX512BF16__
    for (int64_t n = 0; n < count; n += 2, values += 2 * SIZE * LANES) {  // two values' numbers side by side
        BFloat16 both[2];
        keep(both, weights[n]), keep(both + 1, weights[n + 1]);
        Pairs pair = as<Pairs>(Words{} + read<uint32_t>(both));
        for (int d = 0; d < SIZE; ++d) {
            Words a = as<Words>(load(values + d * LANES)), b = as<Words>(load(values + (SIZE + d) * LANES));
            out[d] = dot(out[d], pair, as<Pairs>(a >> 16 | b));
        }
    }
#else
    mix<SIZE>(weights, values, out, count);
#endif
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
