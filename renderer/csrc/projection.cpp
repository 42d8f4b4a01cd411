// 3D Gaussians to 2D ones and the gradient back, LANES Gaussians at a time. The same numbers as renderer/projection.py.
#include <algorithm>

#include "rows.h"
#include "threads.h"

namespace {

constexpr float ALPHA_CUT = 1.0f / 255.0f, MAX_EXTENT = 3.33f, MAX_RADIUS = 1 << 24;
constexpr int64_t CHUNK = 1024;  // Gaussians per piece of work; fixes the order in which a camera's gradient is summed

struct View {  // one camera
    float R[3][3], t[3], fx, fy, cx, cy, low_x, high_x, low_y, high_y;

    View(const float* m, const float* K, int width, int height) {
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 3; j++) R[i][j] = m[4 * i + j];
            t[i] = m[4 * i + 3];
        }
        fx = K[0], cx = K[2], fy = K[4], cy = K[5];
        float margin_x = 0.15f * width / fx, margin_y = 0.15f * height / fy;
        low_x = -(cx / fx + margin_x), high_x = (width - cx) / fx + margin_x;
        low_y = -(cy / fy + margin_y), high_y = (height - cy) / fy + margin_y;
    }
};

struct Shape {  // LANES Gaussians in the world
    Vec mean[3], q[4], inverse_norm, scale[3], rotation[3][3], half[3][3];
};

INLINE Shape shape_of(const float* means, const float* quats, const float* scales, int64_t count) {
    const float nothing[4] = {0, 0, 0, 0}, identity[4] = {1, 0, 0, 0};
    Shape s;
    gather(means, 3, count, nothing, s.mean);
    gather(quats, 4, count, identity, s.q);
    gather(scales, 3, count, nothing, s.scale);
    Vec square = s.q[0] * s.q[0] + s.q[1] * s.q[1] + s.q[2] * s.q[2] + s.q[3] * s.q[3];
    Int usable = (square > 1e-30f) & finite(square);
    s.inverse_norm = usable ? 1.0f / vsqrt(usable ? square : splat(1)) : Vec{};  // 0 also kills the gradient of what is unusable
    for (int i = 0; i < 4; i++) s.q[i] = usable ? s.q[i] * s.inverse_norm : splat(identity[i]);
    Vec w = s.q[0], x = s.q[1], y = s.q[2], z = s.q[3];
    s.rotation[0][0] = 1 - 2 * (y * y + z * z), s.rotation[0][1] = 2 * (x * y - w * z), s.rotation[0][2] = 2 * (x * z + w * y);
    s.rotation[1][0] = 2 * (x * y + w * z), s.rotation[1][1] = 1 - 2 * (x * x + z * z), s.rotation[1][2] = 2 * (y * z - w * x);
    s.rotation[2][0] = 2 * (x * z - w * y), s.rotation[2][1] = 2 * (y * z + w * x), s.rotation[2][2] = 1 - 2 * (x * x + y * y);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) s.half[i][j] = s.rotation[i][j] * s.scale[j];
    return s;
}

struct Seen {  // LANES Gaussians in one camera
    Vec x, y, z, inverse_z, slope_x, slope_y, toward_x[3], toward_y[3], m1[3], m2[3], xx, xy, yy, cross[3], area2, det;
    Int visible;
};

INLINE Seen see(const Shape& s, const View& v, float near_plane, float far_plane, float eps2d) {
    Seen o;
    Vec c[3];
    for (int i = 0; i < 3; i++) c[i] = v.R[i][0] * s.mean[0] + v.R[i][1] * s.mean[1] + v.R[i][2] * s.mean[2] + v.t[i];
    o.visible = finite(c[0]) & finite(c[1]) & finite(c[2]) & (c[2] >= near_plane) & (c[2] <= far_plane) & (c[2] > 0.0f);
    o.x = o.visible ? c[0] : Vec{}, o.y = o.visible ? c[1] : Vec{}, o.z = o.visible ? c[2] : splat(1);
    o.inverse_z = 1.0f / o.z;
    o.slope_x = vmin(vmax(o.x * o.inverse_z, splat(v.low_x)), splat(v.high_x));
    o.slope_y = vmin(vmax(o.y * o.inverse_z, splat(v.low_y)), splat(v.high_y));
    for (int j = 0; j < 3; j++) {
        o.toward_x[j] = v.R[0][j] - o.slope_x * v.R[2][j];
        o.toward_y[j] = v.R[1][j] - o.slope_y * v.R[2][j];
    }
    Vec ax = v.fx * o.inverse_z, ay = v.fy * o.inverse_z;
    for (int k = 0; k < 3; k++) {
        o.m1[k] = ax * (o.toward_x[0] * s.half[0][k] + o.toward_x[1] * s.half[1][k] + o.toward_x[2] * s.half[2][k]);
        o.m2[k] = ay * (o.toward_y[0] * s.half[0][k] + o.toward_y[1] * s.half[1][k] + o.toward_y[2] * s.half[2][k]);
    }
    o.xx = dot(o.m1, o.m1), o.xy = dot(o.m1, o.m2), o.yy = dot(o.m2, o.m2);
    cross_product(o.m1, o.m2, o.cross);
    o.area2 = dot(o.cross, o.cross);  // the determinant before the blur, never negative
    o.det = o.area2 + eps2d * (o.xx + o.yy) + eps2d * eps2d;
    return o;
}

// Gradient of q / |q| -> R, given the gradient of R; q is the unit quaternion.
INLINE void quaternion_gradient(const Vec* q, const Vec g[3][3], Vec* out) {
    Vec w = q[0], x = q[1], y = q[2], z = q[3];
    out[0] = 2 * (x * (g[2][1] - g[1][2]) + y * (g[0][2] - g[2][0]) + z * (g[1][0] - g[0][1]));
    out[1] = 2 * (-2 * x * (g[1][1] + g[2][2]) + y * (g[0][1] + g[1][0]) + z * (g[0][2] + g[2][0]) + w * (g[2][1] - g[1][2]));
    out[2] = 2 * (x * (g[0][1] + g[1][0]) - 2 * y * (g[0][0] + g[2][2]) + z * (g[1][2] + g[2][1]) + w * (g[0][2] - g[2][0]));
    out[3] = 2 * (x * (g[0][2] + g[2][0]) + y * (g[1][2] + g[2][1]) - 2 * z * (g[0][0] + g[1][1]) + w * (g[1][0] - g[0][1]));
}

struct Sizes {
    int64_t scenes, cameras, gaussians;
    int32_t width, height;
    float eps2d, near_plane, far_plane, radius_clip;
    int32_t antialiased, threads;
};

INLINE void project_block(const Sizes& n, const Shape& shape, const View& view, const float* opacities, int64_t count, int32_t* radii,
                          float* means2d, float* depths, float* conics, float* compensations) {
    Seen o = see(shape, view, n.near_plane, n.far_plane, n.eps2d);
    Int usable = o.visible & finite(o.det) & (o.det > 0.0f);
    Vec det = usable ? o.det : splat(1), inverse = 1.0f / det;
    Vec u[2] = {view.fx * o.x * o.inverse_z + view.cx, view.fy * o.y * o.inverse_z + view.cy};
    Vec conic[3] = {(o.yy + n.eps2d) * inverse, -o.xy * inverse, (o.xx + n.eps2d) * inverse};
    Vec compensation = vsqrt(vmax(o.area2, Vec{}) * inverse);
    for (Vec v : {u[0], u[1], conic[0], conic[1], conic[2], compensation}) usable &= finite(v);
    Vec one[1];
    const float nothing[1] = {0};
    gather(opacities, 1, count, nothing, one);
    Vec opacity = n.antialiased ? one[0] * compensation : one[0];
    usable &= (opacity >= ALPHA_CUT) & finite(opacity);
    Vec safe = usable ? opacity * 255.0f : splat(1), reach{};
    for (int i = 0; i < LANES; i++) reach[i] = std::log(safe[i]);
    reach = vmin(vsqrt(vmax(2.0f * reach, Vec{})), splat(MAX_EXTENT));
    Vec rx = reach * vsqrt(usable ? o.xx + n.eps2d : Vec{}), ry = reach * vsqrt(usable ? o.yy + n.eps2d : Vec{});
    for (int i = 0; i < LANES; i++) rx[i] = std::ceil(rx[i]), ry[i] = std::ceil(ry[i]);
    usable &= (rx > n.radius_clip) | (ry > n.radius_clip);
    usable &= (u[0] + rx > 0.0f) & (u[0] - rx < float(n.width)) & (u[1] + ry > 0.0f) & (u[1] - ry < float(n.height));
    Vec results[2] = {usable ? vmin(rx, splat(MAX_RADIUS)) : Vec{}, usable ? vmin(ry, splat(MAX_RADIUS)) : Vec{}};
    for (int i = 0; i < count; i++) radii[2 * i] = int32_t(results[0][i]), radii[2 * i + 1] = int32_t(results[1][i]);
    for (Vec& v : u) v = usable ? v : Vec{};
    for (Vec& v : conic) v = usable ? v : Vec{};
    Vec depth = usable ? o.z : Vec{}, kept = usable ? compensation : Vec{};
    scatter(means2d, 2, count, u);
    scatter(depths, 1, count, &depth);
    scatter(conics, 3, count, conic);
    scatter(compensations, 1, count, &kept);
}

struct ShapeGradient {
    Vec mean[3] = {}, rotation[3][3] = {}, scale[3] = {};
};

// Adds one camera's share to the gradients of LANES Gaussians and of the camera ([R | t], row by row).
INLINE void unproject_block(const Sizes& n, const Shape& s, const View& v, int64_t count, const int32_t* radii, const float* g_means2d,
                            const float* g_depths, const float* g_conics, const float* g_compensations, ShapeGradient& g, Vec* g_view) {
    const float nothing[4] = {0, 0, 0, 0};
    Int visible{};
    for (int i = 0; i < LANES; i++) visible[i] = i < count && radii[2 * i] > 0 && radii[2 * i + 1] > 0 ? -1 : 0;
    if (!any(visible)) return;
    Vec gu[2] = {}, gz[1] = {}, gc[3] = {}, ga[1] = {};
    if (g_means2d) gather(g_means2d, 2, count, nothing, gu);
    if (g_depths) gather(g_depths, 1, count, nothing, gz);
    if (g_conics) gather(g_conics, 3, count, nothing, gc);
    Seen o = see(s, v, n.near_plane, n.far_plane, n.eps2d);
    Vec inverse = 1.0f / (visible ? o.det : splat(1));
    // Through the determinant as see() writes it. The textbook -C G C cancels to nothing for thin Gaussians.
    Vec a = (o.yy + n.eps2d) * inverse, b = -o.xy * inverse, c = (o.xx + n.eps2d) * inverse;
    Vec g_det = -(gc[0] * a + gc[1] * b + gc[2] * c) * inverse, g_area = Vec{};
    if (n.antialiased && g_compensations) {  // compensation = area / sqrt(det)
        gather(g_compensations, 1, count, nothing, ga);
        Vec area = vsqrt(o.area2), root = vsqrt(inverse);
        g_det -= 0.5f * ga[0] * area * root * inverse;
        g_area = area > 1e-20f ? ga[0] * root / vmax(area, splat(1e-20f)) : Vec{};
    }
    Vec g_xx = gc[2] * inverse + g_det * n.eps2d, g_xy = -gc[1] * inverse, g_yy = gc[0] * inverse + g_det * n.eps2d;
    Vec along = g_area + 2.0f * g_det, g1[3], g2[3];
    Vec g_cross[3] = {along * o.cross[0], along * o.cross[1], along * o.cross[2]};
    cross_product(o.m2, g_cross, g1);
    cross_product(g_cross, o.m1, g2);
    for (int k = 0; k < 3; k++) {
        g1[k] += 2.0f * g_xx * o.m1[k] + g_xy * o.m2[k];
        g2[k] += 2.0f * g_yy * o.m2[k] + g_xy * o.m1[k];
    }
    Vec ax = v.fx * o.inverse_z, ay = v.fy * o.inverse_z, gx_toward[3], gy_toward[3];
    for (int i = 0; i < 3; i++) {
        gx_toward[i] = dot(g1, s.half[i]), gy_toward[i] = dot(g2, s.half[i]);
        for (int k = 0; k < 3; k++) {
            Vec g_half = ax * o.toward_x[i] * g1[k] + ay * o.toward_y[i] * g2[k];
            g.scale[k] += visible ? g_half * s.rotation[i][k] : Vec{};
            g.rotation[i][k] += visible ? g_half * s.scale[k] : Vec{};
        }
    }
    Vec g_ax = dot(gx_toward, o.toward_x), g_ay = dot(gy_toward, o.toward_y);
    Vec along_x = gx_toward[0] * v.R[2][0] + gx_toward[1] * v.R[2][1] + gx_toward[2] * v.R[2][2];
    Vec along_y = gy_toward[0] * v.R[2][0] + gy_toward[1] * v.R[2][1] + gy_toward[2] * v.R[2][2];
    Vec raw_x = o.x * o.inverse_z, raw_y = o.y * o.inverse_z;
    Vec g_slope_x = ((raw_x >= v.low_x) & (raw_x <= v.high_x)) ? -ax * along_x : Vec{};
    Vec g_slope_y = ((raw_y >= v.low_y) & (raw_y <= v.high_y)) ? -ay * along_y : Vec{};
    g_slope_x += gu[0] * v.fx, g_slope_y += gu[1] * v.fy;
    Vec centre[3] = {g_slope_x * o.inverse_z, g_slope_y * o.inverse_z,
                     gz[0] - o.inverse_z * (g_slope_x * raw_x + g_slope_y * raw_y + g_ax * ax + g_ay * ay)};
    for (Vec& w : centre) w = visible ? w : Vec{};
    for (int j = 0; j < 3; j++) {
        g.mean[j] += v.R[0][j] * centre[0] + v.R[1][j] * centre[1] + v.R[2][j] * centre[2];
        Vec gx = ax * gx_toward[j], gy = ay * gy_toward[j];
        g_view[0 + j] += visible ? gx + centre[0] * s.mean[j] : Vec{};
        g_view[4 + j] += visible ? gy + centre[1] * s.mean[j] : Vec{};
        g_view[8 + j] += visible ? centre[2] * s.mean[j] - gx * o.slope_x - gy * o.slope_y : Vec{};
        g_view[4 * j + 3] += centre[j];
    }
}

int threads_for(const Sizes& n) {  // starting a thread takes as long as projecting some thousand Gaussians
    return int(std::min<int64_t>(n.threads, 1 + n.scenes * n.cameras * n.gaussians / 8192));
}

}  // namespace

extern "C" int project_forward(const Sizes* sizes, const float* means, const float* quats, const float* scales, const float* opacities,
                               const float* viewmats, const float* Ks, float* means2d, float* depths, float* conics, float* compensations,
                               int32_t* radii) try {
    const Sizes& n = *sizes;
    int64_t chunks = (n.gaussians + CHUNK - 1) / CHUNK;
    Team(threads_for(n)).parallel_for(n.scenes * chunks, [&](int64_t piece) {
        int64_t scene = piece / chunks, first = piece % chunks * CHUNK, last = std::min(first + CHUNK, n.gaussians);
        for (int64_t g = first; g < last; g += LANES) {
            int64_t i = scene * n.gaussians + g, count = std::min<int64_t>(LANES, last - g);
            Shape shape = shape_of(means + 3 * i, quats + 4 * i, scales + 3 * i, count);
            for (int64_t camera = scene * n.cameras; camera < (scene + 1) * n.cameras; camera++) {
                int64_t o = camera * n.gaussians + g;
                View view(viewmats + 16 * camera, Ks + 9 * camera, n.width, n.height);
                project_block(n, shape, view, opacities + i, count, radii + 2 * o, means2d + 2 * o, depths + o, conics + 3 * o,
                              compensations + o);
            }
        }
    });
    return 0;
} catch (...) {
    return 1;
}

// Gradients that nobody has are null.
extern "C" int project_backward(const Sizes* sizes, const float* means, const float* quats, const float* scales, const float* viewmats,
                                const float* Ks, const int32_t* radii, const float* g_means2d, const float* g_depths,
                                const float* g_conics, const float* g_compensations, float* g_means, float* g_quats, float* g_scales,
                                float* g_viewmats) try {
    const Sizes& n = *sizes;
    int64_t chunks = (n.gaussians + CHUNK - 1) / CHUNK;
    std::vector<float> shares(n.scenes * chunks * n.cameras * 12);
    Team(threads_for(n)).parallel_for(n.scenes * chunks, [&](int64_t piece) {
        int64_t scene = piece / chunks, first = piece % chunks * CHUNK, last = std::min(first + CHUNK, n.gaussians);
        std::vector<Vec> g_views(n.cameras * 12, Vec{});
        for (int64_t at = first; at < last; at += LANES) {
            int64_t i = scene * n.gaussians + at, count = std::min<int64_t>(LANES, last - at);
            Shape shape = shape_of(means + 3 * i, quats + 4 * i, scales + 3 * i, count);
            ShapeGradient g;
            for (int64_t c = 0; c < n.cameras; c++) {
                int64_t camera = scene * n.cameras + c, o = camera * n.gaussians + at;
                View view(viewmats + 16 * camera, Ks + 9 * camera, n.width, n.height);
                auto from = [o](const float* gradient, int width) { return gradient ? gradient + width * o : nullptr; };
                unproject_block(n, shape, view, count, radii + 2 * o, from(g_means2d, 2), from(g_depths, 1), from(g_conics, 3),
                                from(g_compensations, 1), g, &g_views[12 * c]);
            }
            Vec turned[4];
            quaternion_gradient(shape.q, g.rotation, turned);
            Vec along = turned[0] * shape.q[0] + turned[1] * shape.q[1] + turned[2] * shape.q[2] + turned[3] * shape.q[3];
            for (int k = 0; k < 4; k++) turned[k] = (turned[k] - along * shape.q[k]) * shape.inverse_norm;
            scatter(g_means + 3 * i, 3, count, g.mean);
            scatter(g_quats + 4 * i, 4, count, turned);
            scatter(g_scales + 3 * i, 3, count, g.scale);
        }
        for (int64_t k = 0; k < 12 * n.cameras; k++) shares[piece * n.cameras * 12 + k] = sum(g_views[k]);
    });
    for (int64_t camera = 0; camera < n.scenes * n.cameras; camera++) {  // chunk by chunk: same bits on any number of threads
        for (int k = 0; k < 16; k++) g_viewmats[16 * camera + k] = 0;
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            for (int k = 0; k < 12; k++)
                g_viewmats[16 * camera + k] +=
                    shares[((camera / n.cameras * chunks + chunk) * n.cameras + camera % n.cameras) * 12 + k];
    }
    return 0;
} catch (...) {
    return 1;
}
