// 2D Gaussians to pixels and the gradient back. A tile row is PARTS vectors; all state of a tile stays in the first cache.
//
// With T the transmittance before a Gaussian, w = alpha T its weight and q = sum_k G_k c_k its colour against the pixel's
// gradient G, going front to back a second time:
//     dL/dalpha = T q - S / (1 - alpha),  S = what lies behind = (final colour . G) - G_alpha T_final - (sum of w q so far)
// so nothing has to be stored per pixel and Gaussian, and the order is the forward order.
#include "binning.h"

namespace {

INLINE Vec columns(int64_t tile_x, int part) { return lanes() + (float(tile_x * TILE + part * LANES) + 0.5f); }

struct Tile {
    int64_t x, y;
    int rows, cols;  // how many lie on the image
};

// Splats and colours lie all over memory; those of the records to come are called for in time.
INLINE void prefetch(const Bins& bins, const float* colors, int D, int64_t i) {
    const Record& later = bins.records[std::min<int64_t>(i + 6, bins.number_of_records() - 1)];
    __builtin_prefetch(&bins.splats[later.splat]);
    __builtin_prefetch(colors + int64_t(later.gaussian) * D);
}

// One row of pixels meets one Gaussian. `live` is the transmittance, or 0 once the pixel is finished.
struct Meeting {
    Vec alpha, weight;
    Int gradient_flows;
};

INLINE Meeting meet(const Splat& s, float dy, Vec dx, Vec& live) {
    Vec power = (s.a * dx + s.b_per_dy * dy) * dx + (s.c_per_dy2 * dy * dy + s.log_opacity);
    Vec raw = exp2_fast(vmin(power, splat(64.0f)));
    Vec alpha = vmin(raw, splat(s.cap));
    Int touches = alpha >= ALPHA_CUT;
    Vec taken = alpha * live, after = live - taken;
    Int goes_on = after > TRANSMITTANCE_STOP;
    Vec left = goes_on ? after : Vec{};
    Vec weight = goes_on ? taken : Vec{};
    weight = touches ? weight : Vec{};
    live = touches ? left : live;
    return {alpha, weight, raw <= ALPHA_CAP};
}

template <int FIXED>
struct Kernel {  // FIXED channels, or any number when it is 0
    static constexpr int ROOM = FIXED ? FIXED : 33;

    // Both return how many tile rows met a Gaussian.
    static int64_t forward(const Images& n, const Tile& tile, const Bins& bins, const float* colors, const float* background,
                           float* out_colors, float* out_alphas) {
        int64_t rows = 0;
        const int D = FIXED ? FIXED : int(n.channels);
        Vec live[TILE][PARTS], opaque[TILE][PARTS], sum[TILE][PARTS][ROOM];
        for (int r = 0; r < TILE; r++)
            for (int p = 0; p < PARTS; p++) {
                live[r][p] = r < tile.rows ? (columns(0, p) < float(tile.cols) ? splat(1) : Vec{}) : Vec{};
                opaque[r][p] = Vec{};
                for (int k = 0; k < D; k++) sum[r][p][k] = Vec{};
            }
        const int64_t t = tile.y * n.across() + tile.x;
        for (int64_t i = bins.tile_first[t]; i < bins.tile_first[t + 1]; i++) {
            if (i % 16 == 15 && finished(live)) break;
            const Record record = bins.records[i];
            prefetch(bins, colors, D, i);
            const Splat& s = bins.splats[record.splat];
            const float* color = colors + int64_t(record.gaussian) * D;
            Vec dx[PARTS];
            for (int p = 0; p < PARTS; p++) dx[p] = columns(tile.x, p) - s.x;
            rows += record.row1 - record.row0;
            for (int r = record.row0; r < record.row1; r++) {
                float dy = float(tile.y * TILE + r) + 0.5f - s.y;
                for (int p = 0; p < PARTS; p++) {
                    Meeting m = meet(s, dy, dx[p], live[r][p]);
                    opaque[r][p] += m.weight;
                    for (int k = 0; k < D; k++) sum[r][p][k] += m.weight * color[k];
                }
            }
        }
        for (int r = 0; r < tile.rows; r++) {
            int64_t pixel = (tile.y * TILE + r) * n.width + tile.x * TILE;
            for (int x = 0; x < tile.cols; x++) {
                float alpha = opaque[r][x / LANES][x % LANES];
                out_alphas[pixel + x] = alpha;
                for (int k = 0; k < D; k++) {
                    float value = sum[r][x / LANES][k][x % LANES];
                    out_colors[(pixel + x) * D + k] = background ? value + (1.0f - alpha) * background[k] : value;
                }
            }
        }
        return rows;
    }

    static bool finished(const Vec (&live)[TILE][PARTS]) {
        Vec most{};
        for (int r = 0; r < TILE; r++)
            for (int p = 0; p < PARTS; p++) most = vmax(most, live[r][p]);
        float any = 0;
        for (int i = 0; i < LANES; i++) any = std::max(any, most[i]);
        return any == 0.0f;
    }

    // Writes 6 + D numbers per record at its slot: the moments h, h dx, h dy, h dx^2, h dx dy, h dy^2 with
    // h = alpha dL/dalpha summed over the tile's pixels, and the gradient of the colour. And the tile's share of the background's.
    static int64_t backward(const Images& n, const Tile& tile, const Bins& bins, const float* colors, const float* out_colors,
                         const float* out_alphas, const float* g_colors, const float* g_alphas, float* moments,
                            float* g_background) {
        const int D = FIXED ? FIXED : int(n.channels);
        float grad[TILE][ROOM][TILE], rest[TILE][TILE] = {}, through[TILE][TILE] = {};  // rest: S above
        for (int r = 0; r < TILE; r++) std::memset(grad[r], 0, D * sizeof grad[r][0]);
        for (int r = 0; r < tile.rows; r++) {
            int64_t pixel = (tile.y * TILE + r) * n.width + tile.x * TILE;
            for (int x = 0; x < tile.cols; x++) {
                through[r][x] = 1.0f - out_alphas[pixel + x];
                float behind = g_alphas ? -g_alphas[pixel + x] * through[r][x] : 0.0f;
                for (int k = 0; k < D; k++) {
                    grad[r][k][x] = g_colors[(pixel + x) * D + k];
                    behind += grad[r][k][x] * out_colors[(pixel + x) * D + k];
                }
                rest[r][x] = behind;
            }
        }
        for (int k = 0; k < D; k++) {
            Vec shares{};
            for (int r = 0; r < TILE; r++)
                for (int p = 0; p < PARTS; p++) shares += load(&grad[r][k][p * LANES]) * load(&through[r][p * LANES]);
            g_background[k] = sum(shares);
        }
        Vec live[TILE][PARTS], behind[TILE][PARTS];
        for (int r = 0; r < TILE; r++)
            for (int p = 0; p < PARTS; p++) {
                live[r][p] = r < tile.rows ? (columns(0, p) < float(tile.cols) ? splat(1) : Vec{}) : Vec{};
                behind[r][p] = load(&rest[r][p * LANES]);
            }
        const int64_t t = tile.y * n.across() + tile.x;
        bool done = false;
        int64_t rows = 0;
        for (int64_t i = bins.tile_first[t]; i < bins.tile_first[t + 1]; i++) {
            const Record record = bins.records[i];
            float* out = moments + int64_t(record.slot) * (6 + D);
            done = done || (i % 16 == 15 && finished(live));
            if (done) {  // every record is written: the buffer starts uninitialised
                std::memset(out, 0, (6 + D) * sizeof(float));
                continue;
            }
            prefetch(bins, colors, D, i);
            const Splat& s = bins.splats[record.splat];
            const float* color = colors + int64_t(record.gaussian) * D;
            rows += record.row1 - record.row0;
            Vec total[6 + ROOM];  // six moments, then channels
            for (int k = 0; k < 6 + D; k++) total[k] = Vec{};
            for (int p = 0; p < PARTS; p++) {
                Vec dx = columns(tile.x, p) - s.x, m0{}, m1{}, m2{}, per_channel[ROOM];
                for (int k = 0; k < D; k++) per_channel[k] = Vec{};
                for (int r = record.row0; r < record.row1; r++) {
                    float dy = float(tile.y * TILE + r) + 0.5f - s.y;
                    Meeting m = meet(s, dy, dx, live[r][p]);
                    Vec against{};
                    for (int k = 0; k < D; k++) {
                        Vec g = load(&grad[r][k][p * LANES]);
                        against += g * color[k];
                        per_channel[k] += g * m.weight;
                    }
                    Vec contribution = m.weight * against;
                    behind[r][p] -= contribution;
                    Vec h = contribution - m.alpha * behind[r][p] / (1.0f - m.alpha);
                    h = (m.weight > 0.0f) & m.gradient_flows ? h : Vec{};
                    m0 += h, m1 += h * dy, m2 += h * (dy * dy);
                }
                total[0] += m0, total[1] += m0 * dx, total[2] += m1, total[3] += m0 * dx * dx, total[4] += m1 * dx, total[5] += m2;
                for (int k = 0; k < D; k++) total[6 + k] += per_channel[k];
            }
            for (int k = 0; k < 6 + D; k += LANES) {
                Vec s_k = sums(total + k, std::min(LANES, 6 + D - k));
                std::memcpy(out + k, &s_k, std::min(LANES, 6 + D - k) * sizeof(float));
            }
        }
        return rows;
    }
};

// Calls work(tile) for every tile of an image and adds up what it returns.
template <class Work>
int64_t sum_over_tiles(Team& team, const Images& n, const Work& work) {
    const int64_t across = n.across();
    std::atomic<int64_t> total{0};
    team.parallel_for(n.tiles(), [&](int64_t i) {
        int64_t x = i % across, y = i / across;
        total += work(Tile{x, y, int(std::min<int64_t>(TILE, n.height - y * TILE)), int(std::min<int64_t>(TILE, n.width - x * TILE))});
    });
    return total;
}

// Calls work(image, team): many images are drawn side by side, each by one thread and in its cache; few share the threads.
template <class Work>
void for_images(const Images& n, const Work& work) {
    Team team(n.threads);
    if (n.images >= n.threads) {
        team.parallel_for(n.images, [&](int64_t i) {
            Team alone(1);
            work(i, alone);
        });
    } else {
        for (int64_t i = 0; i < n.images; i++) work(i, team);
    }
}

// The moments of one Gaussian, summed over its tiles in their order, become its gradients.
INLINE void gather_gradient(const Splat& s, int64_t last, int64_t D, const float* moments, float* g_mean, float* g_conic, float* g_opacity,
                            float* g_color) {
    float m[6] = {};
    for (int64_t slot = s.first; slot < last; slot++) {
        const float* from = moments + slot * (6 + D);
        for (int k = 0; k < 6; k++) m[k] += from[k];
        for (int64_t k = 0; k < D; k++) g_color[k] += from[6 + k];
    }
    g_mean[0] = s.xx * m[1] + s.xy * m[2], g_mean[1] = s.xy * m[1] + s.yy * m[2];
    g_conic[0] = -0.5f * m[3], g_conic[1] = -m[4], g_conic[2] = -0.5f * m[5];
    g_opacity[0] = m[0] / s.opacity;
}

// Gaussian by Gaussian, so that the gradients are written one after the other; what was not drawn gets zeros.
void gather_gradients(Team& team, const Images& n, const Bins& bins, const float* moments, float* g_means2d, float* g_conics,
                      float* g_opacities, float* g_colors) {
    const int64_t D = n.channels;
    std::vector<uint32_t> splat_of(n.gaussians, UINT32_MAX);
    for (int64_t k = 0; k < bins.drawn; k++) splat_of[bins.splats[k].gaussian] = uint32_t(k);
    const Pieces pieces(n.gaussians, FEW);
    team.parallel_for(pieces.number, [&](int64_t piece) {
        const int64_t first = pieces.first(piece), last = pieces.last(piece), count = last - first;
        std::fill_n(g_means2d + 2 * first, 2 * count, 0.0f), std::fill_n(g_conics + 3 * first, 3 * count, 0.0f);
        std::fill_n(g_colors + D * first, D * count, 0.0f), std::fill_n(g_opacities + first, count, 0.0f);
        for (int64_t g = first; g < last; g++) {
            // Splats and moments lie in the order of depth, all over memory. (In a function of their own GCC drops these as useless.)
            if (g + 16 < last && splat_of[g + 16] != UINT32_MAX) __builtin_prefetch(&bins.splats[splat_of[g + 16]]);
            if (g + 8 < last && splat_of[g + 8] != UINT32_MAX) {
                const float* its = moments + bins.splats[splat_of[g + 8]].first * (6 + D);
                __builtin_prefetch(its), __builtin_prefetch(its + 16);
            }
            if (splat_of[g] == UINT32_MAX) continue;
            const Splat* s = &bins.splats[splat_of[g]];
            gather_gradient(s[0], s[1].first, D, moments, g_means2d + 2 * g, g_conics + 3 * g, g_opacities + g, g_colors + D * g);
        }
    });
}

// New bins of an image: where they are to be kept, or else in `own`.
Bins bin_anew(Team& team, const Images& n, const Footprints& in, unsigned char* kept, std::unique_ptr<Line[]>& own) {
    if (!kept) own.reset(new Line[lines_for_bins(n, in)]);
    const Bins bins = bin_image(team, n, in, kept ? kept : own[0].bytes);
    if (kept) bins.clear_gaps(kept + n.bins_bytes);
    return bins;
}

}  // namespace

// Sets bins_bytes to what the bins of any one of the images need at most.
extern "C" int measure_bins(Images* sizes, const float* means2d, const float* opacities, const int32_t* radii) {
    const Footprints all{means2d, nullptr, opacities, radii, nullptr};
    int64_t most = 0;
    for (int64_t i = 0; i < sizes->images; i++) most = std::max(most, lines_for_bins(*sizes, all.of(i, sizes->gaussians)));
    sizes->bins_bytes = most * int64_t(sizeof(Line));
    return 0;
}

extern "C" int blend_forward(const Images* sizes, const float* means2d, const float* conics, const float* colors, const float* opacities,
                             const int32_t* radii, const float* depths, const float* backgrounds, float* out_colors,
                             float* out_alphas) try {
    const Images& n = *sizes;
    const Footprints all{means2d, conics, opacities, radii, depths};
    int64_t pixels = int64_t(n.width) * n.height, N = n.gaussians, D = n.channels;
    auto* kernel = D == 1 ? Kernel<1>::forward : D == 3 ? Kernel<3>::forward : D == 4 ? Kernel<4>::forward : Kernel<0>::forward;
    for_images(n, [&](int64_t i, Team& team) {
        double start = seconds();
        std::unique_ptr<Line[]> own;
        const Bins bins = bin_anew(team, n, all.of(i, N), n.bins ? n.bins + i * n.bins_bytes : nullptr, own);
        double binned = seconds();
        int64_t rows = sum_over_tiles(team, n, [&](const Tile& tile) {
            return kernel(n, tile, bins, colors + i * N * D, backgrounds ? backgrounds + i * D : nullptr, out_colors + i * pixels * D,
                          out_alphas + i * pixels);
        });
        if (n.stages) *n.stages = {binned - start, seconds() - binned, 0, rows * TILE, bins.number_of_records()};
    });
    return 0;
} catch (...) {
    return 1;
}

extern "C" int blend_backward(const Images* sizes, const float* means2d, const float* conics, const float* colors, const float* opacities,
                              const int32_t* radii, const float* depths, const float* out_colors, const float* out_alphas,
                              const float* g_out_colors, const float* g_out_alphas, float* g_means2d, float* g_conics, float* g_colors,
                              float* g_opacities, float* g_backgrounds) try {
    const Images& n = *sizes;
    const Footprints all{means2d, conics, opacities, radii, depths};
    int64_t pixels = int64_t(n.width) * n.height, N = n.gaussians, D = n.channels;
    auto* kernel = D == 1 ? Kernel<1>::backward : D == 3 ? Kernel<3>::backward : D == 4 ? Kernel<4>::backward : Kernel<0>::backward;
    for_images(n, [&](int64_t i, Team& team) {
        int64_t g0 = i * N, p0 = i * pixels;
        double start = seconds();
        std::unique_ptr<Line[]> own;
        const Bins bins = n.bins ? Bins(n.bins + i * n.bins_bytes, n.tiles()) : bin_anew(team, n, all.of(i, N), nullptr, own);
        const std::unique_ptr<float[]> moments(new float[bins.number_of_records() * (6 + D) + LANES]);
        std::vector<float> shares(n.tiles() * D);  // of the background's gradient
        double binned = seconds();
        int64_t rows = sum_over_tiles(team, n, [&](const Tile& tile) {
            return kernel(n, tile, bins, colors + g0 * D, out_colors + p0 * D, out_alphas + p0, g_out_colors + p0 * D,
                          g_out_alphas ? g_out_alphas + p0 : nullptr, moments.get(), &shares[(tile.y * n.across() + tile.x) * D]);
        });
        double blended = seconds();
        gather_gradients(team, n, bins, moments.get(), g_means2d + 2 * g0, g_conics + 3 * g0, g_opacities + g0, g_colors + D * g0);
        std::fill_n(g_backgrounds + i * D, D, 0.0f);
        for (int64_t tile = 0; tile < n.tiles(); tile++)
            for (int64_t k = 0; k < D; k++) g_backgrounds[i * D + k] += shares[tile * D + k];
        if (n.stages)
            *n.stages = {binned - start, blended - binned, seconds() - blended, rows * TILE, bins.number_of_records()};
    });
    return 0;
} catch (...) {
    return 1;
}
