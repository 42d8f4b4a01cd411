// Which Gaussians touch which rows of which 16x16 tile, in order of depth.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "simd.h"
#include "threads.h"

constexpr int TILE = 16;
constexpr int PARTS = TILE / LANES;  // vectors to a tile row
constexpr float ALPHA_CUT = 1.0f / 255.0f, ALPHA_CAP = 0.999f, TRANSMITTANCE_STOP = 1e-4f;
constexpr float LOG2E = 1.44269504f;

struct Images {  // the arguments that describe the work; axes images, gaussians, channels
    int64_t images, gaussians, channels;
    int32_t width, height, threads;
};

struct alignas(64) Splat {  // a visible Gaussian, ready for the kernel
    float x, y, xx, xy, yy, opacity;
    float a, b_per_dy, c_per_dy2, log_opacity, cap;  // log2 of alpha along a row: (a dx + b) dx + c; alpha at most cap
    uint32_t gaussian;
    int64_t first;  // its records in `records`, one per tile, end where the next one's begin

    Splat(const float* mean, const float* conic, float o, uint32_t g, int64_t f)
        : x(mean[0]), y(mean[1]), xx(conic[0]), xy(conic[1]), yy(conic[2]), opacity(o), a(-0.5f * LOG2E * xx), b_per_dy(-LOG2E * xy),
          c_per_dy2(-0.5f * LOG2E * yy), log_opacity(std::log2(o)), cap(std::min(o, ALPHA_CAP)), gaussian(g), first(f) {}
};

struct Record {  // one Gaussian in one tile
    uint32_t splat, slot, gaussian;
    uint8_t row0, row1;  // the rows of the tile it may touch
};

struct Bins {  // of one image
    std::vector<Splat> splats;        // front to back, one more at the end for its `first`
    std::vector<Record> records;      // tile by tile, front to back
    std::vector<int64_t> tile_first;  // tiles + 1
};

// Indices of the given depths (all positive) in rising order, equal ones in the order they came in: a radix sort of the bits.
inline void sort_by_depth(const float* depths, std::vector<uint32_t>& index) {
    size_t n = index.size();
    std::vector<uint64_t> a(n), b(n);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        std::memcpy(&bits, depths + index[i], 4);
        a[i] = uint64_t(bits) << 32 | index[i];
    }
    for (int shift : {32, 43, 54}) {
        size_t count[2049] = {};
        for (uint64_t k : a) count[(k >> shift & 2047) + 1]++;
        for (int i = 0; i < 2048; i++) count[i + 1] += count[i];
        for (uint64_t k : a) b[count[k >> shift & 2047]++] = k;
        a.swap(b);
    }
    for (size_t i = 0; i < n; i++) index[i] = uint32_t(a[i]);
}

struct Reach {  // where in sixteen pixel rows alpha can come up to the cut: between left and right
    Vec left[PARTS], right[PARTS];
};

// Errs on the wide side by more than float32 can lose; rows out of reach get left > right.
INLINE Reach reach_of_rows(const Splat& s, float top) {
    Reach reach;
    float limit = (s.log_opacity + 7.99435344f) * (2.0f / LOG2E * 1.0001f) + 1e-5f;  // twice the sigma of the cut; log2(255)
    float det = std::max(s.xx * s.yy * (1.0f - 1e-6f) - s.xy * s.xy, 0.0f), inverse = 1.0f / s.xx;
    for (int p = 0; p < PARTS; p++) {
        Vec dy = lanes() + (top + 0.5f - s.y + float(p * LANES));
        Vec room = s.xx * limit - det * dy * dy;
        Vec half = vsqrt(vmax(room, Vec{})) * inverse + 0.01f + 1e-5f * vmax(dy, -dy);
        Vec middle = s.x - s.xy * inverse * dy;
        reach.left[p] = room >= 0.0f ? middle - half : splat(1e30f);
        reach.right[p] = room >= 0.0f ? middle + half : splat(-1e30f);
    }
    return reach;
}

INLINE uint32_t rows_within(const Reach& reach, float first, float last) {
    uint32_t rows = 0;
    for (int p = 0; p < PARTS; p++) rows |= bits((reach.left[p] <= last) & (reach.right[p] >= first)) << (p * LANES);
    return rows;
}

inline int64_t clamp_tile(float pixel, int64_t tiles) {  // safe for any float: centres may lie far off the image
    return int64_t(std::min(std::max(pixel / TILE, 0.0f), float(tiles)));
}

inline Bins bin_image(const Images& n, const float* means2d, const float* conics, const float* opacities, const int32_t* radii,
                      const float* depths) {
    std::vector<uint32_t> order;
    for (int64_t g = 0; g < n.gaussians; g++)
        if (radii[2 * g] > 0 && radii[2 * g + 1] > 0 && opacities[g] >= ALPHA_CUT) order.push_back(uint32_t(g));
    sort_by_depth(depths, order);
    int64_t across = (n.width + TILE - 1) / TILE, down = (n.height + TILE - 1) / TILE;
    Bins bins;
    bins.tile_first.assign(across * down + 1, 0);
    bins.splats.reserve(order.size() + 1);
    std::vector<Record> found;
    std::vector<uint32_t> tile_of;
    found.reserve(order.size() * 3), tile_of.reserve(order.size() * 3);
    for (uint32_t g : order) {
        const Splat s(means2d + 2 * g, conics + 3 * g, opacities[g], g, int64_t(found.size()));
        float rx = float(radii[2 * g]), ry = float(radii[2 * g + 1]);
        int64_t x0 = clamp_tile(s.x - rx, across), x1 = std::min(clamp_tile(s.x + rx, across) + 1, across);
        int64_t y0 = clamp_tile(s.y - ry, down), y1 = std::min(clamp_tile(s.y + ry, down) + 1, down);
        for (int64_t ty = y0; ty < y1; ty++) {
            const Reach reach = reach_of_rows(s, float(ty * TILE));
            for (int64_t tx = x0; tx < x1; tx++) {
                float first = float(tx * TILE) + 0.5f, last = first + TILE - 1;
                uint32_t rows = rows_within(reach, first, last);
                if (rows == 0) continue;
                uint8_t row0 = uint8_t(__builtin_ctz(rows)), row1 = uint8_t(32 - __builtin_clz(rows));
                found.push_back({uint32_t(bins.splats.size()), uint32_t(found.size()), g, row0, row1});
                tile_of.push_back(uint32_t(ty * across + tx));
                bins.tile_first[ty * across + tx + 1]++;
            }
        }
        bins.splats.push_back(s);
    }
    const float nothing[3] = {};
    bins.splats.emplace_back(nothing, nothing, 1.0f, 0, int64_t(found.size()));
    for (size_t t = 1; t < bins.tile_first.size(); t++) bins.tile_first[t] += bins.tile_first[t - 1];
    std::vector<int64_t> next(bins.tile_first.begin(), bins.tile_first.end() - 1);
    bins.records.resize(found.size());
    for (size_t i = 0; i < found.size(); i++) bins.records[next[tile_of[i]]++] = found[i];
    return bins;
}
