/* dequantize.c - one row of any format to fp32: the meaning of a quantised weight.
 *
 * Block layouts are ggml's (little-endian; d, m, dmin are IEEE halves). Each product and each sum is rounded
 * on its own, in the order written here; every kernel that reads quantised weights must reproduce these
 * values to the bit.
 *
 *   q8_0  {d; int8 q[32]}                    x = d q                       32 elements, 34 bytes
 *   q4_0  {d; qs[16]}                        x = (q - 8) d                 element j: low nibble of byte j,
 *   q4_1  {d, m; qs[16]}                     x = q d + m                   element j + 16: its high nibble
 *   q5_0  {d; qh[4]; qs[16]}                 x = (q - 16) d                bit 4 of element j is bit j of qh
 *   q5_1  {d, m; qh[4]; qs[16]}              x = q d + m
 *   q2_k  {scales[16]; qs[64]; d, dmin}      x = d sc q - dmin mn          256 elements
 *   q3_k  {hmask[32]; qs[64]; scales[12]; d} x = d (sc - 32) q
 *   q4_k  {d, dmin; scales[12]; qs[128]}     x = d sc q - dmin mn
 *   q5_k  {d, dmin; scales[12]; qh[32]; qs[128]}
 *   q6_k  {ql[128]; qh[64]; int8 sc[16]; d}  x = d sc (q - 32)
 *   mxfp4 {e; qs[16]}                        x = 2^(e-128) code            code: twice the e2m1 value, an integer */
#include "tensor/dtype.h"
#include "tensor/tensor.h"

#include <string.h>

static float half_at(const uint8_t *p) { return tn_f16_to_f32((uint16_t)(p[0] | p[1] << 8)); }

static void q8_0_read(float *y, const uint8_t *b)
{
    float d = half_at(b);

    for (int j = 0; j < 32; j++) y[j] = (float)(int8_t)b[2 + j] * d;
}

static void q4_0_read(float *y, const uint8_t *b)
{
    float d = half_at(b);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)((b[2 + j] & 15) - 8) * d;
        y[j + 16] = (float)((b[2 + j] >> 4) - 8) * d;
    }
}

static void q4_1_read(float *y, const uint8_t *b)
{
    float d = half_at(b), m = half_at(b + 2);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)(b[4 + j] & 15) * d + m;
        y[j + 16] = (float)(b[4 + j] >> 4) * d + m;
    }
}

static void q5_0_read(float *y, const uint8_t *b)
{
    float          d = half_at(b);
    const uint8_t *qh = b + 2, *qs = b + 6;

    for (int j = 0; j < 16; j++) {
        int low = (qh[j / 8] >> (j % 8)) & 1, high = (qh[2 + j / 8] >> (j % 8)) & 1;
        y[j] = (float)(((qs[j] & 15) | low << 4) - 16) * d;
        y[j + 16] = (float)(((qs[j] >> 4) | high << 4) - 16) * d;
    }
}

static void q5_1_read(float *y, const uint8_t *b)
{
    float          d = half_at(b), m = half_at(b + 2);
    const uint8_t *qh = b + 4, *qs = b + 8;

    for (int j = 0; j < 16; j++) {
        int low = (qh[j / 8] >> (j % 8)) & 1, high = (qh[2 + j / 8] >> (j % 8)) & 1;
        y[j] = (float)((qs[j] & 15) | low << 4) * d + m;
        y[j + 16] = (float)((qs[j] >> 4) | high << 4) * d + m;
    }
}

static void q2_k_read(float *y, const uint8_t *b)
{
    const uint8_t *scales = b, *qs = b + 16;
    float          d = half_at(b + 80), dmin = half_at(b + 82);

    for (int i = 0; i < 256; i++) {
        int   half = i / 128, shift = i % 128 / 32 * 2, sub = i / 16;
        float dl = d * (float)(scales[sub] & 15), ml = dmin * (float)(scales[sub] >> 4);
        y[i] = dl * (float)((qs[half * 32 + i % 32] >> shift) & 3) - ml;
    }
}

static void q3_k_read(float *y, const uint8_t *b)
{
    const uint8_t *hmask = b, *qs = b + 32, *scales = b + 96;
    float          d = half_at(b + 108);

    for (int i = 0; i < 256; i++) {
        int sub = i / 16, group = i / 32;
        int sc = (sub < 8 ? scales[sub] & 15 : scales[sub - 8] >> 4) |
                 ((scales[8 + sub % 4] >> (2 * (sub / 4))) & 3) << 4;
        int q = (qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
        if (((hmask[i % 32] >> group) & 1) == 0) q -= 4;
        y[i] = d * (float)(sc - 32) * (float)q;
    }
}

void tn_q4_k_scale(int *sc, int *mn, const uint8_t *s, int j)
{
    if (j < 4) {
        *sc = s[j] & 63;
        *mn = s[j + 4] & 63;
    } else {
        *sc = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *mn = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

static void q4_k_read(float *y, const uint8_t *b)
{
    float d = half_at(b), dmin = half_at(b + 2);

    for (int j = 0; j < 8; j++) {
        int sc, mn;
        tn_q4_k_scale(&sc, &mn, b + 4, j);
        float          dl = d * (float)sc, ml = dmin * (float)mn;
        const uint8_t *qs = b + 16 + j / 2 * 32;
        for (int l = 0; l < 32; l++) y[j * 32 + l] = dl * (float)((qs[l] >> (j % 2 * 4)) & 15) - ml;
    }
}

static void q5_k_read(float *y, const uint8_t *b)
{
    float          d = half_at(b), dmin = half_at(b + 2);
    const uint8_t *qh = b + 16;

    for (int j = 0; j < 8; j++) {
        int sc, mn;
        tn_q4_k_scale(&sc, &mn, b + 4, j);
        float          dl = d * (float)sc, ml = dmin * (float)mn;
        const uint8_t *qs = b + 48 + j / 2 * 32;
        for (int l = 0; l < 32; l++) {
            int q = ((qs[l] >> (j % 2 * 4)) & 15) | ((qh[l] >> j) & 1) << 4;
            y[j * 32 + l] = dl * (float)q - ml;
        }
    }
}

static void q6_k_read(float *y, const uint8_t *b)
{
    float d = half_at(b + 208);

    for (int i = 0; i < 256; i++) {
        int            half = i / 128, quarter = i % 128 / 32, l = i % 32;
        const uint8_t *ql = b + half * 64, *qh = b + 128 + half * 32;
        int            low = (ql[l + quarter % 2 * 32] >> (quarter / 2 * 4)) & 15;
        int            q = (low | ((qh[l] >> (2 * quarter)) & 3) << 4) - 32;
        y[i] = d * (float)(int8_t)b[192 + i / 16] * (float)q;
    }
}

const int8_t tn_mxfp4_codes[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

/* 2^(e-128), a denormal for e < 2; e = 255 is 2^127, as ggml reads it. */
float tn_mxfp4_scale(uint8_t e)
{
    uint32_t u = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float    f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static void mxfp4_read(float *y, const uint8_t *b)
{
    float d = tn_mxfp4_scale(b[0]);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)tn_mxfp4_codes[b[1 + j] & 15] * d;
        y[j + 16] = (float)tn_mxfp4_codes[b[1 + j] >> 4] * d;
    }
}

typedef void (*block_reader)(float *y, const uint8_t *block);

// clang-format off
static const block_reader readers[TN_DTYPE_COUNT] = {
    [TN_Q8_0] = q8_0_read, [TN_Q4_0] = q4_0_read, [TN_Q4_1] = q4_1_read,   [TN_Q5_0] = q5_0_read,
    [TN_Q5_1] = q5_1_read, [TN_Q2_K] = q2_k_read, [TN_Q3_K] = q3_k_read,   [TN_Q4_K] = q4_k_read,
    [TN_Q5_K] = q5_k_read, [TN_Q6_K] = q6_k_read, [TN_MXFP4] = mxfp4_read,
};
// clang-format on

void tn_row_to_f32(float *dst, const void *src, tn_dtype t, int64_t n)
{
    const uint8_t *b = src;
    int64_t        block = tn_dtype_block(t);
    size_t         bytes = tn_row_bytes(t, block);

    if (readers[t] != NULL) {
        for (int64_t i = 0; i + block <= n; i += block, b += bytes) readers[t](dst + i, b);
        return;
    }
    if (t == TN_F32) {
        memcpy(dst, src, (size_t)n * sizeof *dst);
        return;
    }
    if (t == TN_BF16) {
        uint16_t h;
        for (int64_t i = 0; i < n; i++, b += 2) memcpy(&h, b, 2), dst[i] = tn_bf16_to_f32(h);
        return;
    }
    for (int64_t i = 0; i < n; i++, b += bytes) {
        uint16_t h;
        int16_t  i16;
        int32_t  i32;
        int64_t  i64;
        double   f64;
        switch (t) {
        case TN_F16:
            memcpy(&h, b, 2);
            dst[i] = tn_f16_to_f32(h);
            break;
        case TN_I8: dst[i] = (float)(int8_t)*b; break;
        case TN_U8: dst[i] = (float)*b; break;
        case TN_I16:
            memcpy(&i16, b, 2);
            dst[i] = (float)i16;
            break;
        case TN_I32:
            memcpy(&i32, b, 4);
            dst[i] = (float)i32;
            break;
        case TN_I64:
            memcpy(&i64, b, 8);
            dst[i] = (float)i64;
            break;
        case TN_F64:
            memcpy(&f64, b, 8);
            dst[i] = (float)f64;
            break;
        default: tn_bug("dtype %d has no reader", (int)t);
        }
    }
}
