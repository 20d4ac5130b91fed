/* quantize_k.c - fp32 rows to q4_k, q5_k and q6_k: blocks of 256 whose sub-blocks have small scales of their
 * own.
 *
 * A sub-block's scale (and minimum) is searched: a few roundings on slightly different grids, for each the
 * weighted least squares fit, and the best kept. Every float operation and its order is ggml's reference,
 * since the search would choose another grid after one other rounding. Built without contraction
 * (-ffp-contract=off) like all of tenet. */
#include "tensor/dtype.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

enum { SUPER = 256 };

static const float SMALLEST = 1e-15f; /* a group whose largest magnitude is below is all zero */

static void store_half(uint8_t *dst, float f)
{
    uint16_t h = tn_f32_to_f16(f);

    memcpy(dst, &h, sizeof h);
}

static float half_of(float f) { return tn_f16_to_f32(tn_f32_to_f16(f)); }

/* Nearest integer, ties to even, through the bits of 1.5 * 2^23 + x: right for |x| < 2^22, some integer
 * beyond. */
static int nearest(float x)
{
    float    shifted = x + 12582912.0f;
    uint32_t u;

    memcpy(&u, &shifted, sizeof u);
    return (int)(u & 0x7fffffu) - 0x400000;
}

static int within(int low, int high, int q) { return q < low ? low : q > high ? high : q; }

/* -------------------------------------------------------------------------- scale and minimum: q4_k, q5_k */

typedef struct grid {
    int   top;         /* largest code */
    float first, step; /* the grids tried have top + first + i * step intervals */
    int   n_try;
} grid;

/* Weighted squared error of scale * q + min. */
static float fit_error(const float *x, const float *w, const uint8_t *q, float scale, float min)
{
    float error = 0.0f;

    for (int i = 0; i < 32; i++) {
        float diff = scale * (float)q[i] + min - x[i];
        diff = diff * diff;
        error += w[i] * diff;
    }
    return error;
}

/* One grid: codes into q, and their least squares scale and minimum (at most 0). False when the fit is
 * singular. */
static bool grid_try(const grid *g, const float *x, const float *w, float sum_w, float sum_x, float min,
                     float inverse, uint8_t *q, float *scale_out, float *min_out)
{
    float sum_q = 0.0f, sum_qq = 0.0f, sum_xq = 0.0f;

    for (int i = 0; i < 32; i++) {
        int l = within(0, g->top, nearest(inverse * (x[i] - min)));
        q[i] = (uint8_t)l;
        sum_q += w[i] * (float)l;
        sum_qq += w[i] * (float)l * (float)l;
        sum_xq += w[i] * (float)l * x[i];
    }
    float determinant = sum_w * sum_qq - sum_q * sum_q;
    if (!(determinant > 0.0f)) return false;
    *scale_out = (sum_w * sum_xq - sum_x * sum_q) / determinant;
    *min_out = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
    if (*min_out > 0.0f) {
        *min_out = 0.0f;
        *scale_out = sum_xq / sum_qq;
    }
    return true;
}

/* x[32] is about scale * q - *minimum with q in 0 .. top; returns scale, both not negative. */
static float fit(const grid *g, const float *x, const float *w, uint8_t *q, float *minimum)
{
    float   min = x[0], max = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    uint8_t tried[32];

    for (int i = 1; i < 32; i++) {
        if (x[i] < min) min = x[i];
        if (x[i] > max) max = x[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (min > 0.0f) min = 0.0f;
    if (max == min) {
        memset(q, 0, 32);
        *minimum = -min;
        return 0.0f;
    }
    float inverse = (float)g->top / (max - min), scale = 1.0f / inverse;
    for (int i = 0; i < 32; i++) q[i] = (uint8_t)within(0, g->top, nearest(inverse * (x[i] - min)));
    float best = fit_error(x, w, q, scale, min);
    for (int i = 0; i <= g->n_try; i++) {
        float this_scale, this_min;
        inverse = (g->first + g->step * (float)i + (float)g->top) / (max - min);
        if (!grid_try(g, x, w, sum_w, sum_x, min, inverse, tried, &this_scale, &this_min)) continue;
        float error = fit_error(x, w, tried, this_scale, this_min);
        if (error < best) {
            memcpy(q, tried, 32);
            best = error;
            scale = this_scale;
            min = this_min;
        }
    }
    *minimum = -min;
    return scale;
}

/* d, dmin, the 6-bit scales and minima, and the codes of a block of 256. head: the first 16 bytes. */
static void scaled_write(uint8_t *head, const float *x, const grid *g, uint8_t q[SUPER])
{
    float    scales[8], mins[8], max_scale = 0.0f, max_min = 0.0f;
    uint8_t *packed = head + 4;

    for (int j = 0; j < 8; j++) {
        const float *x_j = x + 32 * j;
        float        w[32], sum_xx = 0.0f;
        for (int l = 0; l < 32; l++) sum_xx += x_j[l] * x_j[l];
        float rms = sqrtf(sum_xx / 32.0f);
        for (int l = 0; l < 32; l++) w[l] = rms + fabsf(x_j[l]);
        scales[j] = fit(g, x_j, w, q + 32 * j, &mins[j]);
        if (scales[j] > max_scale) max_scale = scales[j];
        if (mins[j] > max_min) max_min = mins[j];
    }
    float inverse_scale = max_scale > 0.0f ? 63.0f / max_scale : 0.0f,
          inverse_min = max_min > 0.0f ? 63.0f / max_min : 0.0f;
    memset(packed, 0, 12);
    for (int j = 0; j < 8; j++) {
        uint8_t sc = (uint8_t)nearest(inverse_scale * scales[j]),
                mn = (uint8_t)nearest(inverse_min * mins[j]);
        if (sc > 63) sc = 63;
        if (mn > 63) mn = 63;
        if (j < 4) {
            packed[j] = sc;
            packed[j + 4] = mn;
        } else {
            packed[j + 4] = (uint8_t)((sc & 15) | (mn & 15) << 4);
            packed[j - 4] |= (uint8_t)(sc >> 4 << 6);
            packed[j] |= (uint8_t)(mn >> 4 << 6);
        }
    }
    store_half(head, max_scale / 63.0f);
    store_half(head + 2, max_min / 63.0f);
    float d16 = half_of(max_scale / 63.0f), dmin16 = half_of(max_min / 63.0f);
    for (int j = 0; j < 8; j++) {
        int sc, mn;
        tn_q4_k_scale(&sc, &mn, packed, j);
        float d = d16 * (float)sc, m = dmin16 * (float)mn;
        if (d == 0.0f) continue;
        for (int l = 0; l < 32; l++)
            q[32 * j + l] = (uint8_t)within(0, g->top, nearest((x[32 * j + l] + m) / d));
    }
}

void tn_q4_k_write(uint8_t *b, const float *x)
{
    static const grid g = { 15, -1.0f, 0.1f, 20 };
    uint8_t           q[SUPER];

    scaled_write(b, x, &g, q);
    for (int i = 0; i < 128; i++)
        b[16 + i] = (uint8_t)(q[i / 32 * 64 + i % 32] | q[i / 32 * 64 + 32 + i % 32] << 4);
}

void tn_q5_k_write(uint8_t *b, const float *x)
{
    static const grid g = { 31, -0.5f, 0.1f, 15 };
    uint8_t           q[SUPER], *qh = b + 16;

    scaled_write(b, x, &g, q);
    memset(qh, 0, 32);
    for (int i = 0; i < SUPER; i++) qh[i % 32] |= (uint8_t)((q[i] >> 4) << (i / 32));
    for (int i = 0; i < 128; i++)
        b[48 + i] = (uint8_t)((q[i / 32 * 64 + i % 32] & 15) | (q[i / 32 * 64 + 32 + i % 32] & 15) << 4);
}

/* -------------------------------------------------------------------------------------- scale alone: q6_k */

/* Sums of the least squares fit of x[16] by integers of -32 .. 31 on the grid 1 / inverse, weight x^2. */
static void signed_sums(const float *x, float inverse, float *sum_xq, float *sum_qq)
{
    *sum_xq = *sum_qq = 0.0f;
    for (int i = 0; i < 16; i++) {
        float l = (float)within(-32, 31, nearest(inverse * x[i])), w = x[i] * x[i];
        *sum_xq += w * x[i] * l;
        *sum_qq += w * l * l;
    }
}

static void signed_codes(uint8_t *q, const float *x, float inverse)
{
    for (int i = 0; i < 16; i++) q[i] = (uint8_t)(within(-32, 31, nearest(inverse * x[i])) + 32);
}

/* x[16] is about scale * (q - 32). */
static float signed_fit(const float *x, uint8_t *q)
{
    float max = 0.0f, amax = 0.0f, sum_xq, sum_qq;

    for (int i = 0; i < 16; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    if (amax < SMALLEST) {
        memset(q, 0, 16);
        return 0.0f;
    }
    float inverse = -32.0f / max;
    signed_codes(q, x, inverse);
    signed_sums(x, inverse, &sum_xq, &sum_qq);
    float scale = sum_qq != 0.0f ? sum_xq / sum_qq : 0.0f, best = scale * sum_xq;
    for (int i = -9; i <= 9; i++) {
        if (i == 0) continue;
        inverse = -(32.0f + 0.1f * (float)i) / max;
        signed_sums(x, inverse, &sum_xq, &sum_qq);
        if (sum_qq > 0.0f && sum_xq * sum_xq > best * sum_qq) {
            signed_codes(q, x, inverse);
            scale = sum_xq / sum_qq;
            best = scale * sum_xq;
        }
    }
    return scale;
}

void tn_q6_k_write(uint8_t *b, const float *x)
{
    float   scales[16], max_scale = 0.0f, max_magnitude = 0.0f;
    uint8_t q[SUPER];

    for (int j = 0; j < 16; j++) {
        scales[j] = signed_fit(x + 16 * j, q + 16 * j);
        if (fabsf(scales[j]) > max_magnitude) {
            max_magnitude = fabsf(scales[j]);
            max_scale = scales[j];
        }
    }
    memset(b, 0, 210);
    if (max_magnitude < SMALLEST) return;
    float inverse = -128.0f / max_scale, d16 = half_of(1.0f / inverse);
    store_half(b + 208, 1.0f / inverse);
    for (int j = 0; j < 16; j++) {
        int sc = nearest(inverse * scales[j]);
        b[192 + j] = (uint8_t)(int8_t)(sc < 127 ? sc : 127);
        float d = d16 * (float)(int8_t)b[192 + j];
        if (d == 0.0f) continue;
        for (int l = 0; l < 16; l++)
            q[16 * j + l] = (uint8_t)(within(-32, 31, nearest(x[16 * j + l] / d)) + 32);
    }
    for (int i = 0; i < SUPER; i++) {
        int half = i / 128, quarter = i % 128 / 32, l = i % 32;
        b[half * 64 + quarter % 2 * 32 + l] |= (uint8_t)((q[i] & 15) << (quarter / 2 * 4));
        b[128 + half * 32 + l] |= (uint8_t)((q[i] >> 4) << (2 * quarter));
    }
}
