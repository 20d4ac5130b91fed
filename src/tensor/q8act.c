/* q8act.c - the profile q8act: activations in int8, for inference with quantised weights. This is its
 * definition.
 *
 * A row of x is cut into blocks of 32 k (from k = 0). In a block, with amax the largest magnitude:
 *
 *   d = amax / 127,   code = x * (127 / amax) rounded to the nearest integer, ties to even          (-127 .. 127)
 *
 * A block whose amax is below 2^-100 is zero (d = 0, codes 0); one that holds an infinity or NaN has d = NaN,
 * codes 0, so that the row's outputs are NaN. A weight's block is D * (q - bias), or D * q + M (weight.c).
 * One block adds to the chain
 *
 *   c = fmaf(D * d, (float)s, c)          s = sum of (q - bias) * code, an exact integer
 *   c = fmaf(M, d * (float)t, c)          t = sum of the codes; only where there is an M
 *
 * with D * d and d * (float)t rounded to fp32. q6_k has a scale sc for 16 k: s = sc_0 s_0 + sc_1 s_1, below
 * 2^24, so exact in fp32 too, and D is the block's d. Only sums of integers change places between kernels,
 * hence the same bits. */
#include "tensor/matmul.h"

#include <math.h>
#include <string.h>

int tn_q8_bias(tn_dtype t)
{
    switch (t) {
    case TN_Q8_0: return 128;
    case TN_Q4_0: return 8;
    case TN_Q5_0: return 16;
    case TN_Q6_K: return 32;
    default: return 0;
    }
}

bool tn_q8_takes(tn_dtype t)
{
    return t == TN_Q8_0 || t == TN_Q4_0 || t == TN_Q4_1 || t == TN_Q5_0 || t == TN_Q5_1 || t == TN_Q4_K ||
           t == TN_Q5_K || t == TN_Q6_K;
}

float tn_q8_block(int8_t q[32], const float *x, int64_t stride)
{
    float amax = 0.0f;
    bool  finite = true;

    for (int k = 0; k < 32; k++) {
        float a = fabsf(x[k * stride]);
        if (!(a < INFINITY)) finite = false;
        if (a > amax) amax = a;
    }
    memset(q, 0, 32);
    if (!finite) return NAN;
    if (amax < 0x1p-100f) return 0.0f;
    float inverse = 127.0f / amax;
    for (int k = 0; k < 32; k++) q[k] = (int8_t)nearbyintf(x[k * stride] * inverse);
    return amax / 127.0f;
}

static float half_at(const uint8_t *scales, int i, int lane)
{
    uint16_t h;

    memcpy(&h, scales + (i * TN_PANEL + lane) * 2, sizeof h);
    return tn_f16_to_f32(h);
}

typedef struct block_of {
    float d, m;
    int   sc[2];
    bool  has_m;
} block_of;

static block_of scale_of(const tn_weight *w, int64_t i_out, int64_t i)
{
    const uint8_t *scales = w->scales + (size_t)(i_out / TN_PANEL) * w->scale_stride, *s;
    int            lane = (int)(i_out % TN_PANEL), j = (int)(i % 8);

    switch (w->dtype) {
    case TN_Q4_1:
    case TN_Q5_1:
        s = scales + i * 64;
        return (block_of){ half_at(s, 0, lane), half_at(s, 1, lane), { 1, 1 }, true };
    case TN_Q4_K:
    case TN_Q5_K:
        s = scales + i / 8 * 320;
        return (block_of){ half_at(s, 0, lane) * (float)s[64 + j * TN_PANEL + lane],
                           -(half_at(s, 1, lane) * (float)s[192 + j * TN_PANEL + lane]),
                           { 1, 1 },
                           true };
    case TN_Q6_K:
        s = scales + i / 8 * 288;
        return (block_of){ half_at(s, 0, lane),
                           0.0f,
                           { (int8_t)s[32 + 2 * j * TN_PANEL + lane],
                             (int8_t)s[32 + (2 * j + 1) * TN_PANEL + lane] },
                           false };
    default: return (block_of){ half_at(scales + i * 32, 0, lane), 0.0f, { 1, 1 }, false };
    }
}

void tn_q8_columns(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_mm     *mm = arg;
    const tn_weight *w = mm->b.w;
    int              bias = tn_q8_bias(w->dtype);

    (void)i_thread;
    for (int64_t n = begin; n < end; n++)
        for (int64_t i = 0; i < mm->k / 32; i++) {
            uint8_t  q[32];
            int8_t   x[32];
            block_of b = scale_of(w, mm->b.first + n, i);
            tn_weight_codes(q, w, mm->b.first + n, i);
            for (int64_t m = 0; m < mm->m; m++) {
                float *c = mm->c + m * mm->ldc + n, acc = i > 0 || mm->add ? *c : 0.0f;
                float  d = tn_q8_block(x, mm->a.a + m * mm->a.rs + i * 32 * mm->a.ks, mm->a.ks);
                int    s = 0, t = 0;
                for (int k = 0; k < 32; k++) {
                    s += b.sc[k / 16] * (q[k] - bias) * x[k];
                    t += x[k];
                }
                acc = fmaf(b.d * d, (float)s, acc);
                if (b.has_m) acc = fmaf(b.m, d * (float)t, acc);
                *c = isnan(acc) ? NAN : acc;
            }
        }
}
