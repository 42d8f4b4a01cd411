// Vectors in space, LANES of them at a time: rows of a few floats in memory, columns (x, y, z) in registers.
#pragma once

#include "simd.h"

// Columns of an array of rows of `width` floats; lanes past the end get `fill`.
INLINE void gather(const float* rows, int width, int64_t count, const float* fill, Vec* columns) {
    float buffer[4][LANES];
    for (int i = 0; i < LANES; i++)
        for (int k = 0; k < width; k++) buffer[k][i] = i < count ? rows[i * width + k] : fill[k];
    for (int k = 0; k < width; k++) columns[k] = load(buffer[k]);
}

INLINE void scatter(float* rows, int width, int64_t count, const Vec* columns) {
    float buffer[4][LANES];
    for (int k = 0; k < width; k++) store(buffer[k], columns[k]);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < width; k++) rows[i * width + k] = buffer[k][i];
}

INLINE void cross_product(const Vec* a, const Vec* b, Vec* out) {
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}
INLINE Vec dot(const Vec* a, const Vec* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
