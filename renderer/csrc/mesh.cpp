// Triangles to pixels: the nearest triangle at every pixel centre, its perspective-correct barycentrics and its depth.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "threads.h"

namespace {

struct Frame {
    int64_t images, vertices, faces;
    int32_t width, height, threads;
    double near_plane;
};

struct Point {
    double x, y, z;
};

// Twice the signed area of a, b and the pixel. Computed from the same end of an edge whichever way it is named: two triangles
// that share it then get exactly opposite numbers, and no pixel falls through between them.
double side(const Point& a, const Point& b, double x, double y) {
    bool turned = b.x < a.x || (b.x == a.x && b.y < a.y);
    const Point &p = turned ? b : a, &q = turned ? a : b;
    double area = (q.x - p.x) * (y - p.y) - (q.y - p.y) * (x - p.x);
    return turned ? -area : area;
}

void draw_face(const Frame& n, int64_t face, const Point& a, const Point& b, const Point& c, int64_t* ids, float* weights, float* depths) {
    if (!(a.z >= n.near_plane && b.z >= n.near_plane && c.z >= n.near_plane)) return;
    double area = side(a, b, c.x, c.y);
    if (area == 0 || !std::isfinite(area)) return;
    double low_x = std::min({a.x, b.x, c.x}), high_x = std::max({a.x, b.x, c.x});
    double low_y = std::min({a.y, b.y, c.y}), high_y = std::max({a.y, b.y, c.y});
    int64_t x0 = int64_t(std::clamp(std::ceil(low_x - 0.5), 0.0, double(n.width)));
    int64_t x1 = int64_t(std::clamp(std::floor(high_x - 0.5) + 1, 0.0, double(n.width)));
    int64_t y0 = int64_t(std::clamp(std::ceil(low_y - 0.5), 0.0, double(n.height)));
    int64_t y1 = int64_t(std::clamp(std::floor(high_y - 0.5) + 1, 0.0, double(n.height)));
    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++) {
            double u = side(b, c, x + 0.5, y + 0.5) / area, v = side(c, a, x + 0.5, y + 0.5) / area;
            double w = side(a, b, x + 0.5, y + 0.5) / area;
            if (u < 0 || v < 0 || w < 0) continue;
            u /= a.z, v /= b.z, w /= c.z;  // linear on the screen is 1/z times linear on the triangle
            double depth = 1 / (u + v + w);
            int64_t pixel = y * n.width + x;
            if (!(float(depth) < depths[pixel])) continue;  // equal depth: the earlier triangle stays
            ids[pixel] = face, depths[pixel] = float(depth);
            weights[3 * pixel] = float(u * depth), weights[3 * pixel + 1] = float(v * depth), weights[3 * pixel + 2] = float(w * depth);
        }
}

}  // namespace

// vertices: images x vertices x (u, v, depth), float64. Where nothing is: id -1, weights 0, depth 0.
extern "C" int rasterize_mesh(const Frame* frame, const double* vertices, const int64_t* faces, int64_t* ids, float* weights,
                              float* depths) try {
    const Frame& n = *frame;
    int64_t pixels = int64_t(n.width) * n.height;
    Team(int(std::min<int64_t>(n.threads, n.images))).parallel_for(n.images, [&](int64_t image) {
        const Point* points = reinterpret_cast<const Point*>(vertices) + image * n.vertices;
        int64_t* id = ids + image * pixels;
        float *weight = weights + 3 * image * pixels, *depth = depths + image * pixels;
        std::fill_n(id, pixels, -1), std::fill_n(weight, 3 * pixels, 0.0f);
        std::fill_n(depth, pixels, std::numeric_limits<float>::max());
        for (int64_t f = 0; f < n.faces; f++)
            draw_face(n, f, points[faces[3 * f]], points[faces[3 * f + 1]], points[faces[3 * f + 2]], id, weight, depth);
        for (int64_t p = 0; p < pixels; p++)
            if (id[p] < 0) depth[p] = 0;
    });
    return 0;
} catch (...) {
    return 1;
}
