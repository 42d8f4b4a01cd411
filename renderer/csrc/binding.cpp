// Gaussians on the triangles of a mesh and the gradients back, LANES Gaussians at a time. The same numbers as renderer/binding.py.
#include <algorithm>

#include "rows.h"
#include "threads.h"

namespace {

constexpr float SMALLEST_SQUARE = 1e-24f;  // of a length: what is shorter has no direction
constexpr int64_t CHUNK = 512;             // Gaussians per piece of work

struct Mesh {  // the arguments that describe the work
    int64_t batch, vertices, gaussians;
    int32_t threads;
};

struct Length {  // what makes a vector a unit vector, and its gradient
    Vec inverse;
    Int counts;  // not too short to have a direction
};

INLINE Length unit(const Vec* vector, Vec* direction) {
    Vec square = dot(vector, vector), inverse = 1.0f / vsqrt(vmax(square, splat(SMALLEST_SQUARE)));
    for (int i = 0; i < 3; i++) direction[i] = vector[i] * inverse;
    return {inverse, square >= SMALLEST_SQUARE};
}

INLINE void add_unit_gradient(const Length& length, const Vec* direction, const Vec* g_direction, Vec* g_vector) {
    Vec along = length.counts ? dot(direction, g_direction) : Vec{};
    for (int i = 0; i < 3; i++) g_vector[i] += length.inverse * (g_direction[i] - along * direction[i]);
}

struct Frames {  // of LANES triangles; the axes are the columns of a rotation
    Vec corner[3][3], base[3], side[3], along[3], normal[3], across[3], height, scale;
    Length base_length, normal_length;
};

INLINE Frames frames_of(const float* vertices, const int64_t* triangles, int64_t count) {
    float buffer[3][3][LANES];
    for (int i = 0; i < LANES; i++)
        for (int c = 0; c < 3; c++)
            for (int k = 0; k < 3; k++) buffer[c][k][i] = vertices[3 * triangles[i < count ? 3 * i + c : c] + k];
    Frames f;
    for (int c = 0; c < 3; c++)
        for (int k = 0; k < 3; k++) f.corner[c][k] = load(buffer[c][k]);
    for (int k = 0; k < 3; k++) f.base[k] = f.corner[1][k] - f.corner[0][k], f.side[k] = f.corner[2][k] - f.corner[0][k];
    f.base_length = unit(f.base, f.along);
    Vec upright[3];
    cross_product(f.along, f.side, upright);
    f.normal_length = unit(upright, f.normal);
    cross_product(f.along, f.normal, f.across);
    f.height = dot(f.across, f.side);
    f.scale = 0.5f * (dot(f.base, f.along) + vmax(f.height, -f.height));
    return f;
}

// Which column of 4 q q^T a frame's quaternion is: that of its largest diagonal, the earlier one of equal ones.
struct Choice {
    Int w, x, y, z;
};

INLINE Choice quaternion_of(const Frames& f, Vec* q) {
    Vec r00 = f.along[0], r11 = f.normal[1], r22 = f.across[2];
    Vec ww = 1 + r00 + r11 + r22, xx = 1 + r00 - r11 - r22, yy = 1 - r00 + r11 - r22, zz = 1 - r00 - r11 + r22;
    Vec wx = f.normal[2] - f.across[1], wy = f.across[0] - f.along[2], wz = f.along[1] - f.normal[0];
    Vec xy = f.normal[0] + f.along[1], xz = f.across[0] + f.along[2], yz = f.across[1] + f.normal[2];
    Vec largest = vmax(vmax(ww, xx), vmax(yy, zz));
    Choice c;
    c.w = ww >= largest, c.x = (xx >= largest) & ~c.w, c.y = (yy >= largest) & ~c.w & ~c.x, c.z = ~(c.w | c.x | c.y);
    q[0] = c.w ? ww : c.x ? wx : c.y ? wy : wz;
    q[1] = c.w ? wx : c.x ? xx : c.y ? xy : xz;
    q[2] = c.w ? wy : c.x ? xy : c.y ? yy : yz;
    q[3] = c.w ? wz : c.x ? xz : c.y ? yz : zz;
    return c;
}

// Adds the gradients of the axes, given that of the frame's quaternion.
INLINE void add_quaternion_gradient(const Choice& c, const Vec* g, Vec* g_along, Vec* g_normal, Vec* g_across) {
    Vec ww = c.w ? g[0] : Vec{}, xx = c.x ? g[1] : Vec{}, yy = c.y ? g[2] : Vec{}, zz = c.z ? g[3] : Vec{};
    Vec wx = c.w ? g[1] : c.x ? g[0] : Vec{}, wy = c.w ? g[2] : c.y ? g[0] : Vec{}, wz = c.w ? g[3] : c.z ? g[0] : Vec{};
    Vec xy = c.x ? g[2] : c.y ? g[1] : Vec{}, xz = c.x ? g[3] : c.z ? g[1] : Vec{}, yz = c.y ? g[3] : c.z ? g[2] : Vec{};
    g_along[0] += ww + xx - yy - zz, g_normal[1] += ww - xx + yy - zz, g_across[2] += ww - xx - yy + zz;
    g_normal[2] += yz + wx, g_across[1] += yz - wx;
    g_across[0] += xz + wy, g_along[2] += xz - wy;
    g_along[1] += xy + wz, g_normal[0] += xy - wz;
}

// Hamilton products of quaternions wxyz.
INLINE void product(const Vec* a, const Vec* b, Vec* out) {
    out[0] = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3];
    out[1] = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2];
    out[2] = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1];
    out[3] = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0];
}

struct Attributes {  // of LANES Gaussians, relative to their triangles
    Vec weight[3], offset[3], q[4], size[3];
};

INLINE Attributes attributes_of(const float* weights, const float* offsets, const float* quats, const float* sizes, int64_t count) {
    const float nothing[4] = {};
    Attributes a;
    gather(weights, 3, count, nothing, a.weight);
    gather(offsets, 3, count, nothing, a.offset);
    gather(quats, 4, count, nothing, a.q);
    gather(sizes, 3, count, nothing, a.size);
    return a;
}

struct Gradients {  // of what the mesh made of LANES Gaussians
    Vec mean[3] = {}, q[4] = {}, scale[3] = {}, normal[3] = {}, side2[3] = {};
};

INLINE Gradients gradients_of(const float* g_means, const float* g_quats, const float* g_scales, const float* g_normals,
                              const float* g_sides, int64_t i, int64_t count) {
    const float nothing[4] = {};
    Gradients g;
    if (g_means) gather(g_means + 3 * i, 3, count, nothing, g.mean);
    if (g_quats) gather(g_quats + 4 * i, 4, count, nothing, g.q);
    if (g_scales) gather(g_scales + 3 * i, 3, count, nothing, g.scale);
    if (g_normals) gather(g_normals + 3 * i, 3, count, nothing, g.normal);
    if (g_sides) gather(g_sides + 3 * i, 3, count, nothing, g.side2);
    return g;
}

// The gradients of LANES triangles' corners.
INLINE void corner_gradients(const Frames& f, const Attributes& a, const Gradients& g, Vec g_corner[3][3]) {
    Vec q[4], g_q[4], g_along[3], g_normal[3], g_across[3], g_base[3] = {}, g_side[3] = {}, g_upright[3] = {};
    for (int k = 0; k < 3; k++) {
        Vec pull = f.scale * g.mean[k];
        g_along[k] = pull * a.offset[0], g_normal[k] = pull * a.offset[1] + g.normal[k], g_across[k] = pull * a.offset[2];
    }
    Vec g_scale = dot(g.scale, a.size) + dot(f.along, g.mean) * a.offset[0] + dot(f.normal, g.mean) * a.offset[1] +
                  dot(f.across, g.mean) * a.offset[2];
    const Vec conjugate[4] = {a.q[0], -a.q[1], -a.q[2], -a.q[3]};
    product(g.q, conjugate, g_q);
    add_quaternion_gradient(quaternion_of(f, q), g_q, g_along, g_normal, g_across);
    Vec half = 0.5f * g_scale, half_height = f.height > 0.0f ? half : f.height < 0.0f ? -half : Vec{};
    for (int k = 0; k < 3; k++) {  // scale = (base . along + |across . side|) / 2
        g_base[k] += half * f.along[k], g_along[k] += half * f.base[k];
        g_across[k] += half_height * f.side[k], g_side[k] += half_height * f.across[k];
    }
    Vec more[3];
    cross_product(f.normal, g_across, more);  // across = along x normal
    for (int k = 0; k < 3; k++) g_along[k] += more[k];
    cross_product(g_across, f.along, more);
    for (int k = 0; k < 3; k++) g_normal[k] += more[k];
    add_unit_gradient(f.normal_length, f.normal, g_normal, g_upright);
    cross_product(f.side, g_upright, more);  // upright = along x side
    for (int k = 0; k < 3; k++) g_along[k] += more[k];
    cross_product(g_upright, f.along, more);
    for (int k = 0; k < 3; k++) g_side[k] += more[k];
    add_unit_gradient(f.base_length, f.along, g_along, g_base);
    for (int k = 0; k < 3; k++) {  // squares of base, side, and side - base
        Vec last = 2.0f * g.side2[2] * (f.side[k] - f.base[k]);
        g_base[k] += 2.0f * g.side2[0] * f.base[k] - last;
        g_side[k] += 2.0f * g.side2[1] * f.side[k] + last;
    }
    for (int k = 0; k < 3; k++) {
        g_corner[0][k] = a.weight[0] * g.mean[k] - g_base[k] - g_side[k];
        g_corner[1][k] = a.weight[1] * g.mean[k] + g_base[k];
        g_corner[2][k] = a.weight[2] * g.mean[k] + g_side[k];
    }
}

int threads_for(const Mesh& n) {  // starting a thread takes as long as some thousand Gaussians
    return int(std::min<int64_t>(n.threads, 1 + n.batch * n.gaussians / 8192));
}

// Calls work(first, count, at) for the pieces of all Gaussians: at most LANES from `first` on.
template <class Work>
void for_blocks(const Mesh& n, const Work& work) {
    Team(threads_for(n)).parallel_for((n.gaussians + CHUNK - 1) / CHUNK, [&](int64_t chunk) {
        const int64_t last = std::min((chunk + 1) * CHUNK, n.gaussians);
        for (int64_t g = chunk * CHUNK; g < last; g += LANES) work(g, std::min<int64_t>(LANES, last - g));
    });
}

}  // namespace

// Axes: vertices batch x vertices x 3; weights, offsets, quats, sizes: Gaussians; results: batch x Gaussians.
extern "C" int bind_forward(const Mesh* mesh, const float* vertices, const int64_t* triangles, const float* weights, const float* offsets,
                            const float* quats, const float* sizes, float* means, float* turned, float* scales, float* normals, float* sides) try {
    const Mesh& n = *mesh;
    for_blocks(n, [&](int64_t first, int64_t count) {
        const Attributes a = attributes_of(weights + 3 * first, offsets + 3 * first, quats + 4 * first, sizes + 3 * first, count);
        for (int64_t b = 0; b < n.batch; b++) {
            const Frames f = frames_of(vertices + 3 * b * n.vertices, triangles + 3 * first, count);
            Vec q[4], mean[3], quat[4], scale[3], last[3];
            quaternion_of(f, q);
            product(q, a.q, quat);
            for (int k = 0; k < 3; k++) last[k] = f.side[k] - f.base[k];
            const Vec side2[3] = {dot(f.base, f.base), dot(f.side, f.side), dot(last, last)};
            for (int k = 0; k < 3; k++) {
                Vec pushed = f.along[k] * a.offset[0] + f.normal[k] * a.offset[1] + f.across[k] * a.offset[2];
                Vec point = a.weight[0] * f.corner[0][k] + a.weight[1] * f.corner[1][k] + a.weight[2] * f.corner[2][k];
                mean[k] = point + f.scale * pushed;
                scale[k] = f.scale * a.size[k];
            }
            const int64_t i = b * n.gaussians + first;
            scatter(means + 3 * i, 3, count, mean);
            scatter(turned + 4 * i, 4, count, quat);
            scatter(scales + 3 * i, 3, count, scale);
            scatter(normals + 3 * i, 3, count, f.normal);
            scatter(sides + 3 * i, 3, count, side2);
        }
    });
    return 0;
} catch (...) {
    return 1;
}

// Any of the five incoming gradients may be null. One batch element is one thread's: its vertices' sums have one order.
extern "C" int bind_vertex_gradient(const Mesh* mesh, const float* vertices, const int64_t* triangles, const float* weights,
                                    const float* offsets, const float* quats, const float* sizes, const float* g_means,
                                    const float* g_quats, const float* g_scales, const float* g_normals, const float* g_sides,
                                    float* g_vertices) try {
    const Mesh& n = *mesh;
    Team(int(std::min<int64_t>(threads_for(n), n.batch))).parallel_for(n.batch, [&](int64_t b) {
        float* sums = g_vertices + 3 * b * n.vertices;
        std::fill_n(sums, 3 * n.vertices, 0.0f);
        for (int64_t first = 0; first < n.gaussians; first += LANES) {
            const int64_t count = std::min<int64_t>(LANES, n.gaussians - first), *corners = triangles + 3 * first;
            const Frames f = frames_of(vertices + 3 * b * n.vertices, corners, count);
            const Attributes a = attributes_of(weights + 3 * first, offsets + 3 * first, quats + 4 * first, sizes + 3 * first, count);
            Vec g_corner[3][3];
            corner_gradients(f, a, gradients_of(g_means, g_quats, g_scales, g_normals, g_sides, b * n.gaussians + first, count), g_corner);
            for (int64_t i = 0; i < count; i++)
                for (int c = 0; c < 3; c++)
                    for (int k = 0; k < 3; k++) sums[3 * corners[3 * i + c] + k] += g_corner[c][k][i];
        }
    });
    return 0;
} catch (...) {
    return 1;
}

// As above, summed over the batch in its order.
extern "C" int bind_attribute_gradients(const Mesh* mesh, const float* vertices, const int64_t* triangles, const float* g_means,
                                        const float* g_quats, const float* g_scales, float* g_weights, float* g_offsets, float* g_turns,
                                        float* g_sizes) try {
    const Mesh& n = *mesh;
    for_blocks(n, [&](int64_t first, int64_t count) {
        Vec weight[3] = {}, offset[3] = {}, turn[4] = {}, size[3] = {};
        for (int64_t b = 0; b < n.batch; b++) {
            const Frames f = frames_of(vertices + 3 * b * n.vertices, triangles + 3 * first, count);
            const Gradients g = gradients_of(g_means, g_quats, g_scales, nullptr, nullptr, b * n.gaussians + first, count);
            offset[0] += f.scale * dot(f.along, g.mean);
            offset[1] += f.scale * dot(f.normal, g.mean);
            offset[2] += f.scale * dot(f.across, g.mean);
            Vec q[4], more[4];
            quaternion_of(f, q);
            for (int k = 1; k < 4; k++) q[k] = -q[k];
            product(q, g.q, more);
            for (int k = 0; k < 4; k++) turn[k] += more[k];
            for (int k = 0; k < 3; k++) weight[k] += dot(f.corner[k], g.mean), size[k] += f.scale * g.scale[k];
        }
        scatter(g_weights + 3 * first, 3, count, weight);
        scatter(g_offsets + 3 * first, 3, count, offset);
        scatter(g_turns + 4 * first, 4, count, turn);
        scatter(g_sizes + 3 * first, 3, count, size);
    });
    return 0;
} catch (...) {
    return 1;
}
