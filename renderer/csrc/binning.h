// Which Gaussians touch which rows of which 16x16 tile, in order of depth.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "simd.h"
#include "threads.h"

constexpr int TILE = 16;
constexpr int PARTS = TILE / LANES;  // vectors to a tile row
constexpr float ALPHA_CUT = 1.0f / 255.0f, ALPHA_CAP = 0.999f, TRANSMITTANCE_STOP = 1e-4f;
constexpr float LOG2E = 1.44269504f;

struct Stages {  // where the time of one image goes; benchmarks ask for it
    double binning, kernel, gathering;  // seconds
    int64_t pairs, records;             // a pair is one pixel of a tile row that a Gaussian was evaluated at
};

struct Images {  // the arguments that describe the work; axes images, gaussians, channels
    int64_t images, gaussians, channels;
    int32_t width, height, threads;
    Stages* stages;       // of the last image drawn, or null
    unsigned char* bins;  // where the forward pass leaves its bins for the backward pass; null: each makes its own
    int64_t bins_bytes;   // of one image

    int64_t across() const { return (width + TILE - 1) / TILE; }
    int64_t down() const { return (height + TILE - 1) / TILE; }
    int64_t tiles() const { return across() * down(); }
};

struct Footprints {  // 2D Gaussians of one image, as they come in
    const float *means2d, *conics, *opacities;
    const int32_t* radii;
    const float* depths;

    Footprints of(int64_t image, int64_t gaussians) const {
        const int64_t first = image * gaussians;
        return {means2d + 2 * first, conics + 3 * first, opacities + first, radii + 2 * first, depths + first};
    }
    bool drawn(int64_t g) const { return (radii[2 * g] > 0) & (radii[2 * g + 1] > 0) & (opacities[g] >= ALPHA_CUT); }
};

inline double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct alignas(64) Splat {  // a visible Gaussian, ready for the kernel
    float x, y, xx, xy, yy, opacity;
    float a, b_per_dy, c_per_dy2, log_opacity, cap;  // log2 of alpha along a row: (a dx + b) dx + c; alpha at most cap
    uint32_t gaussian;
    int64_t first;  // its records in `records`, one per tile, end where the next one's begin
    int64_t unused;  // no padding: bins are compared byte by byte

    Splat() = default;
    Splat(const float* mean, const float* conic, float o, uint32_t g, int64_t f)
        : x(mean[0]), y(mean[1]), xx(conic[0]), xy(conic[1]), yy(conic[2]), opacity(o), a(-0.5f * LOG2E * xx), b_per_dy(-LOG2E * xy),
          c_per_dy2(-0.5f * LOG2E * yy), log_opacity(std::log2(o)), cap(std::min(o, ALPHA_CAP)), gaussian(g), first(f), unused(0) {}
};

struct Record {  // one Gaussian in one tile
    uint32_t splat, slot, gaussian;
    uint8_t row0, row1;  // the rows of the tile it may touch
    uint16_t unused;
};

struct alignas(64) Line {  // of memory; new ones are uninitialised
    unsigned char bytes[64];
};

inline int64_t lines(int64_t bytes) { return (bytes + int64_t(sizeof(Line)) - 1) / int64_t(sizeof(Line)); }

// The bins of one image in somebody else's memory: a count, tile_first, splats, records. No pointer is stored there: a copy is as good.
struct Bins {
    int64_t tiles, drawn;  // how many tiles there are, and Gaussians to be seen
    int64_t* tile_first;  // tiles + 1
    Splat* splats;        // front to back, one more at the end for its `first`
    Record* records;      // tile by tile, front to back

    // Those that are in the memory.
    Bins(unsigned char* memory, int64_t tiles)
        : tiles(tiles), drawn(*reinterpret_cast<int64_t*>(memory)), tile_first(reinterpret_cast<int64_t*>(memory) + 1),
          splats(reinterpret_cast<Splat*>(memory + sizeof(Line) * lines_of_head(tiles))),
          records(reinterpret_cast<Record*>(splats + drawn + 1)) {}

    static int64_t lines_of_head(int64_t tiles) { return lines((tiles + 2) * sizeof(int64_t)); }
    int64_t number_of_records() const { return splats[drawn].first; }

    // Up to the end of the memory: the same bins are the same bytes.
    void clear_gaps(unsigned char* end) const {
        for (auto [first, last] : {std::pair<void*, void*>(tile_first + tiles + 1, splats), {records + number_of_records(), end}})
            std::memset(first, 0, size_t(static_cast<char*>(last) - static_cast<char*>(first)));
    }
};

constexpr int64_t FEW = 2048, MANY = 32768;  // things that take tens of nanoseconds each, or one or two

// Things in up to eight pieces, each of half of `least` or more: threads share what is worth sharing, and few counts have to be kept.
struct Pieces {
    int64_t count, number;

    Pieces(int64_t things, int64_t least) : count(things), number(std::min<int64_t>(8, 1 + things / least)) {}
    int64_t first(int64_t piece) const { return count * piece / number; }
    int64_t last(int64_t piece) const { return count * (piece + 1) / number; }
};

// Turns how many things of each kind every piece has (pieces kinds) into where the next one of them goes when they are put in order, kind
// by kind and piece by piece. Returns where each kind begins, and the end.
inline std::vector<uint32_t> places_of(std::vector<uint32_t>& counts, int64_t pieces, int64_t kinds) {
    std::vector<uint32_t> first(kinds + 1), next(kinds);
    for (int64_t piece = 0; piece < pieces; piece++)
        for (int64_t kind = 0; kind < kinds; kind++) next[kind] += counts[piece * kinds + kind];
    for (int64_t kind = 0; kind < kinds; kind++) {
        first[kind + 1] = first[kind] + next[kind];
        next[kind] = first[kind];
    }
    for (int64_t piece = 0; piece < pieces; piece++)
        for (int64_t kind = 0; kind < kinds; kind++) {
            uint32_t number = counts[piece * kinds + kind];
            counts[piece * kinds + kind] = next[kind];
            next[kind] += number;
        }
    return first;
}

struct Key {
    uint32_t depth, gaussian;  // the bits of a positive depth, which are in the order of their values
};

// In rising order of depth, equal ones in the order they came in: a radix sort by eleven bits at a time.
inline void sort_by_depth(Team& team, std::vector<Key>& keys) {
    constexpr int DIGITS = 2048;
    std::vector<Key> moved(keys.size());
    const Pieces pieces(int64_t(keys.size()), MANY);
    std::vector<uint32_t> places(pieces.number * DIGITS);  // how many keys of a piece have a digit, then where the next one goes
    for (int shift : {0, 11, 22}) {
        std::fill(places.begin(), places.end(), 0);
        team.parallel_for(pieces.number, [&](int64_t piece) {
            uint32_t* mine = &places[piece * DIGITS];
            for (int64_t i = pieces.first(piece); i < pieces.last(piece); i++) mine[keys[i].depth >> shift & (DIGITS - 1)]++;
        });
        places_of(places, pieces.number, DIGITS);
        team.parallel_for(pieces.number, [&](int64_t piece) {
            uint32_t* mine = &places[piece * DIGITS];
            for (int64_t i = pieces.first(piece); i < pieces.last(piece); i++)
                moved[mine[keys[i].depth >> shift & (DIGITS - 1)]++] = keys[i];
        });
        keys.swap(moved);
    }
}

// What can be seen, front to back.
inline std::vector<Key> visible_by_depth(Team& team, const Images& n, const Footprints& in) {
    const Pieces pieces(n.gaussians, MANY);
    std::vector<std::vector<Key>> found(pieces.number);
    team.parallel_for(pieces.number, [&](int64_t piece) {
        std::vector<Key> mine;  // not found[piece]: neighbours there share a cache line, and threads would fight for it
        for (int64_t g = pieces.first(piece); g < pieces.last(piece); g++) {
            if (!in.drawn(g)) continue;
            Key key{0, uint32_t(g)};
            std::memcpy(&key.depth, in.depths + g, 4);
            mine.push_back(key);
        }
        found[piece] = std::move(mine);
    });
    std::vector<Key> keys = std::move(found[0]);
    for (int64_t piece = 1; piece < pieces.number; piece++) keys.insert(keys.end(), found[piece].begin(), found[piece].end());
    sort_by_depth(team, keys);
    return keys;
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

struct Rectangle {  // of tiles: the first, and one past the last
    int64_t x0, x1, y0, y1;
};

INLINE Rectangle tiles_around(float x, float y, const int32_t* radii, int64_t across, int64_t down) {
    float rx = float(radii[0]), ry = float(radii[1]);
    return {clamp_tile(x - rx, across), std::min(clamp_tile(x + rx, across) + 1, across),  //
            clamp_tile(y - ry, down), std::min(clamp_tile(y + ry, down) + 1, down)};
}

// How much memory the bins of one image need at most.
inline int64_t lines_for_bins(const Images& n, const Footprints& in) {
    const int64_t across = n.across(), down = n.down();
    int64_t splats = 1, records = 0;
    for (int64_t g = 0; g < n.gaussians; g++) {  // without branches: eight at a time
        const Rectangle r = tiles_around(in.means2d[2 * g], in.means2d[2 * g + 1], in.radii + 2 * g, across, down);
        const int64_t drawn = in.drawn(g);
        splats += drawn, records += drawn * (r.x1 - r.x0) * (r.y1 - r.y0);
    }
    return Bins::lines_of_head(n.tiles()) + lines(splats * sizeof(Splat)) + lines(records * sizeof(Record));
}

struct Found {  // a record on its way to its tile
    uint32_t tile, splat;
    uint8_t row0, row1;
};

// Appends a record for every tile that the Gaussian touches and counts them by tile.
INLINE void find_tiles(const Splat& s, uint32_t index, const int32_t* radii, int64_t across, int64_t down, std::vector<Found>& found,
                       uint32_t* count) {
    const Rectangle r = tiles_around(s.x, s.y, radii, across, down);
    for (int64_t ty = r.y0; ty < r.y1; ty++) {
        const Reach reach = reach_of_rows(s, float(ty * TILE));
        for (int64_t tx = r.x0; tx < r.x1; tx++) {
            float first = float(tx * TILE) + 0.5f, last = first + TILE - 1;
            uint32_t rows = rows_within(reach, first, last);
            if (rows == 0) continue;
            uint32_t tile = uint32_t(ty * across + tx);
            found.push_back({tile, index, uint8_t(__builtin_ctz(rows)), uint8_t(32 - __builtin_clz(rows))});
            count[tile]++;
        }
    }
}

// The same bins whatever the number of threads: a tile's records lie in the order of depth, slots in the order of Gaussians and tiles.
// They go to `memory`, which has `lines_for_bins`.
inline Bins bin_image(Team& team, const Images& n, const Footprints& in, unsigned char* memory) {
    const std::vector<Key> keys = visible_by_depth(team, n, in);
    const int64_t across = n.across(), down = n.down(), tiles = n.tiles();
    const Pieces pieces(int64_t(keys.size()), FEW);
    *reinterpret_cast<int64_t*>(memory) = pieces.count;
    const Bins bins(memory, tiles);
    std::vector<std::vector<Found>> found(pieces.number);
    std::vector<uint32_t> places(pieces.number * tiles);  // how many records of a piece a tile has, then where the next one goes
    team.parallel_for(pieces.number, [&](int64_t piece) {
        std::vector<Found> mine;  // as above
        mine.reserve((pieces.last(piece) - pieces.first(piece)) * 4);
        for (int64_t i = pieces.first(piece); i < pieces.last(piece); i++) {
            const uint32_t g = keys[i].gaussian, later = keys[std::min(i + 8, pieces.count - 1)].gaussian;
            for (const void* row : {(const void*)(in.means2d + 2 * later), (const void*)(in.conics + 3 * later),
                                    (const void*)(in.opacities + later), (const void*)(in.radii + 2 * later)})
                __builtin_prefetch(row);  // in the order of depth they lie all over memory
            bins.splats[i] = Splat(in.means2d + 2 * g, in.conics + 3 * g, in.opacities[g], g, int64_t(mine.size()));
            find_tiles(bins.splats[i], uint32_t(i), in.radii + 2 * g, across, down, mine, &places[piece * tiles]);
        }
        found[piece] = std::move(mine);
    });
    std::vector<int64_t> first_slot(pieces.number + 1);
    for (int64_t piece = 0; piece < pieces.number; piece++) first_slot[piece + 1] = first_slot[piece] + int64_t(found[piece].size());
    if (first_slot[pieces.number] > UINT32_MAX) throw std::bad_alloc();
    const std::vector<uint32_t> tile_first = places_of(places, pieces.number, tiles);
    std::copy(tile_first.begin(), tile_first.end(), bins.tile_first);
    bins.splats[pieces.count] = Splat{};
    bins.splats[pieces.count].first = tile_first[tiles];
    team.parallel_for(pieces.number, [&](int64_t piece) {
        uint32_t slot = uint32_t(first_slot[piece]);
        for (int64_t i = pieces.first(piece); i < pieces.last(piece); i++) bins.splats[i].first += first_slot[piece];
        for (const Found& f : found[piece])
            bins.records[places[piece * tiles + f.tile]++] = {f.splat, slot++, keys[f.splat].gaussian, f.row0, f.row1, 0};
    });
    return bins;
}
