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
    int64_t image, x, y;
    int rows, cols;  // how many lie on the image
};

struct Quadratic {  // log2 of alpha along a row: (a dx + b) dx + c
    float a, b_per_dy, c_per_dy2, c, cap;

    explicit Quadratic(const Splat& s)
        : a(-0.5f * LOG2E * s.xx), b_per_dy(-LOG2E * s.xy), c_per_dy2(-0.5f * LOG2E * s.yy), c(std::log2(s.opacity)),
          cap(std::min(s.opacity, ALPHA_CAP)) {}
};

// One row of pixels meets one Gaussian. `live` is the transmittance, or 0 once the pixel is finished.
struct Meeting {
    Vec alpha, weight;
    Int gradient_flows;
};

INLINE Meeting meet(const Quadratic& q, float dy, Vec dx, Vec& live) {
    Vec power = (q.a * dx + q.b_per_dy * dy) * dx + (q.c_per_dy2 * dy * dy + q.c);
    Vec raw = exp2_fast(vmin(power, splat(64.0f)));
    Vec alpha = vmin(raw, splat(q.cap));
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

    static void forward(const Images& n, const Tile& tile, const Bins& bins, const float* colors, const float* background,
                        float* out_colors, float* out_alphas) {
        const int D = FIXED ? FIXED : int(n.channels);
        Vec live[TILE][PARTS], opaque[TILE][PARTS], sum[TILE][PARTS][ROOM];
        for (int r = 0; r < TILE; r++)
            for (int p = 0; p < PARTS; p++) {
                live[r][p] = r < tile.rows ? (columns(0, p) < float(tile.cols) ? splat(1) : Vec{}) : Vec{};
                opaque[r][p] = Vec{};
                for (int k = 0; k < D; k++) sum[r][p][k] = Vec{};
            }
        int64_t tiles_across = (n.width + TILE - 1) / TILE, t = tile.y * tiles_across + tile.x;
        for (int64_t i = bins.tile_first[t]; i < bins.tile_first[t + 1]; i++) {
            if (i % 16 == 15 && finished(live)) break;
            const Record record = bins.records[i];
            const Splat& s = bins.splats[record.splat];
            const Quadratic q(s);
            const float* color = colors + int64_t(s.gaussian) * D;
            Vec dx[PARTS];
            for (int p = 0; p < PARTS; p++) dx[p] = columns(tile.x, p) - s.x;
            for (int r = record.row0; r < record.row1; r++) {
                float dy = float(tile.y * TILE + r) + 0.5f - s.y;
                for (int p = 0; p < PARTS; p++) {
                    Meeting m = meet(q, dy, dx[p], live[r][p]);
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
    // h = alpha dL/dalpha summed over the tile's pixels, and the gradient of the colour.
    static void backward(const Images& n, const Tile& tile, const Bins& bins, const float* colors, const float* out_colors,
                         const float* out_alphas, const float* g_colors, const float* g_alphas, float* moments) {
        const int D = FIXED ? FIXED : int(n.channels);
        float grad[TILE][ROOM][TILE] = {}, rest[TILE][TILE] = {};  // rest: S above
        for (int r = 0; r < tile.rows; r++) {
            int64_t pixel = (tile.y * TILE + r) * n.width + tile.x * TILE;
            for (int x = 0; x < tile.cols; x++) {
                float behind = g_alphas[pixel + x] * (out_alphas[pixel + x] - 1.0f);
                for (int k = 0; k < D; k++) {
                    grad[r][k][x] = g_colors[(pixel + x) * D + k];
                    behind += grad[r][k][x] * out_colors[(pixel + x) * D + k];
                }
                rest[r][x] = behind;
            }
        }
        Vec live[TILE][PARTS], behind[TILE][PARTS];
        for (int r = 0; r < TILE; r++)
            for (int p = 0; p < PARTS; p++) {
                live[r][p] = r < tile.rows ? (columns(0, p) < float(tile.cols) ? splat(1) : Vec{}) : Vec{};
                behind[r][p] = load(&rest[r][p * LANES]);
            }
        int64_t tiles_across = (n.width + TILE - 1) / TILE, t = tile.y * tiles_across + tile.x;
        bool done = false;
        for (int64_t i = bins.tile_first[t]; i < bins.tile_first[t + 1]; i++) {
            const Record record = bins.records[i];
            float* out = moments + int64_t(record.slot) * (6 + D);
            done = done || (i % 16 == 15 && finished(live));
            if (done) {  // every record is written: the buffer starts uninitialised
                std::memset(out, 0, (6 + D) * sizeof(float));
                continue;
            }
            const Splat& s = bins.splats[record.splat];
            const Quadratic q(s);
            const float* color = colors + int64_t(s.gaussian) * D;
            Vec total[((6 + ROOM + LANES - 1) / LANES) * LANES] = {};  // six moments, then channels
            for (int p = 0; p < PARTS; p++) {
                Vec dx = columns(tile.x, p) - s.x, m0{}, m1{}, m2{}, per_channel[ROOM];
                for (int k = 0; k < D; k++) per_channel[k] = Vec{};
                for (int r = record.row0; r < record.row1; r++) {
                    float dy = float(tile.y * TILE + r) + 0.5f - s.y;
                    Meeting m = meet(q, dy, dx, live[r][p]);
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
    }
};

// Calls work(tile, bins) for every tile of every image.
template <class Work>
void for_tiles(const Images& n, const std::vector<Bins>& bins, const Work& work) {
    int64_t across = (n.width + TILE - 1) / TILE, down = (n.height + TILE - 1) / TILE;
    parallel_for(n.images * down, n.threads, [&](int64_t strip) {
        for (int64_t x = 0; x < across; x++) {
            Tile tile{strip / down, x, strip % down, 0, 0};
            tile.rows = int(std::min<int64_t>(TILE, n.height - tile.y * TILE));
            tile.cols = int(std::min<int64_t>(TILE, n.width - tile.x * TILE));
            work(tile, bins[tile.image]);
        }
    });
}

std::vector<Bins> bin(const Images& n, const float* means2d, const float* conics, const float* opacities, const int32_t* radii,
                      const float* depths) {
    std::vector<Bins> bins(n.images);
    parallel_for(n.images, n.threads, [&](int64_t i) {
        int64_t g = i * n.gaussians;
        bins[i] = bin_image(n, means2d + 2 * g, conics + 3 * g, opacities + g, radii + 2 * g, depths + g);
    });
    return bins;
}

// The moments of one Gaussian, summed over its tiles in their order, become its gradients.
void gather_gradient(const Splat& s, int64_t last, int64_t D, const float* moments, float* g_mean, float* g_conic, float* g_opacity,
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

}  // namespace

extern "C" int blend_forward(const Images* sizes, const float* means2d, const float* conics, const float* colors, const float* opacities,
                             const int32_t* radii, const float* depths, const float* backgrounds, float* out_colors,
                             float* out_alphas) try {
    const Images& n = *sizes;
    auto bins = bin(n, means2d, conics, opacities, radii, depths);
    auto* kernel = n.channels == 1 ? Kernel<1>::forward : n.channels == 3 ? Kernel<3>::forward : n.channels == 4 ? Kernel<4>::forward
                                                                                                                : Kernel<0>::forward;
    int64_t pixels = int64_t(n.width) * n.height, D = n.channels;
    for_tiles(n, bins, [&](const Tile& tile, const Bins& b) {
        int64_t i = tile.image;
        kernel(n, tile, b, colors + i * n.gaussians * D, backgrounds ? backgrounds + i * D : nullptr, out_colors + i * pixels * D,
               out_alphas + i * pixels);
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
    auto bins = bin(n, means2d, conics, opacities, radii, depths);
    int64_t pixels = int64_t(n.width) * n.height, N = n.gaussians, D = n.channels;
    std::vector<int64_t> start(n.images + 1, 0);
    for (int64_t i = 0; i < n.images; i++) start[i + 1] = start[i] + int64_t(bins[i].records.size());
    std::unique_ptr<float[]> moments(new float[start[n.images] * (6 + D) + 1]);
    auto* kernel = D == 1 ? Kernel<1>::backward : D == 3 ? Kernel<3>::backward : D == 4 ? Kernel<4>::backward : Kernel<0>::backward;
    for_tiles(n, bins, [&](const Tile& tile, const Bins& b) {
        int64_t i = tile.image;
        kernel(n, tile, b, colors + i * N * D, out_colors + i * pixels * D, out_alphas + i * pixels, g_out_colors + i * pixels * D,
               g_out_alphas + i * pixels, moments.get() + start[i] * (6 + D));
    });
    parallel_for(n.images, n.threads, [&](int64_t i) {
        int64_t g0 = i * N;
        std::fill_n(g_means2d + 2 * g0, 2 * N, 0.0f), std::fill_n(g_conics + 3 * g0, 3 * N, 0.0f);
        std::fill_n(g_colors + D * g0, D * N, 0.0f), std::fill_n(g_opacities + g0, N, 0.0f);
        const Bins& b = bins[i];
        for (size_t k = 0; k + 1 < b.splats.size(); k++) {
            int64_t g = g0 + b.splats[k].gaussian;
            gather_gradient(b.splats[k], b.splats[k + 1].first, D, moments.get() + start[i] * (6 + D), g_means2d + 2 * g,
                            g_conics + 3 * g, g_opacities + g, g_colors + D * g);
        }
        if (!g_backgrounds) return;
        for (int64_t k = 0; k < D; k++) g_backgrounds[i * D + k] = 0;
        for (int64_t y = 0; y < n.height; y++) {  // row by row: a sum over all pixels in one go would lose digits
            float row[33] = {};
            for (int64_t p = i * pixels + y * n.width; p < i * pixels + (y + 1) * n.width; p++)
                for (int64_t k = 0; k < D; k++) row[k] += g_out_colors[p * D + k] * (1.0f - out_alphas[p]);
            for (int64_t k = 0; k < D; k++) g_backgrounds[i * D + k] += row[k];
        }
    });
    return 0;
} catch (...) {
    return 1;
}
