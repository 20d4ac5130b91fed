/* weight.c - frozen matrices in the order that the kernels read: panels of 16 outputs (picture in matmul.h).
 *
 * Packing only moves bits: codes and scales stay what the file holds, so the memory is the file's (q4_k and
 * q5_k: 1.03 times, their 6-bit scales become bytes) and a row can be read back exactly. q2_k, q3_k and mxfp4
 * are widened to f32. */
#include "tensor/matmul.h"

#include "base/thread.h"
#include "tensor/dtype.h"
#include "tensor/weight_memory.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 32, SUPER = 256, LARGE = 8 << 20 };

static uint32_t word_at(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint16_t half_at(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static tn_layout layout_of(tn_dtype t)
{
    switch (t) {
    case TN_F16: return TN_L_F16;
    case TN_BF16: return TN_L_BF16;
    case TN_Q8_0: return TN_L_C8;
    case TN_Q4_0:
    case TN_Q4_1:
    case TN_Q4_K: return TN_L_C4;
    case TN_Q5_0:
    case TN_Q5_1:
    case TN_Q5_K: return TN_L_C5;
    case TN_Q6_K: return TN_L_C6;
    default: return TN_L_F32;
    }
}

size_t tn_layout_block_bytes(tn_layout l)
{
    switch (l) {
    case TN_L_F32: return 2048;
    case TN_L_F16:
    case TN_L_BF16: return 1024;
    case TN_L_C8: return 512;
    case TN_L_C4: return 256;
    case TN_L_C5: return 320;
    case TN_L_C6: return 384;
    }
    return 0;
}

/* Bytes of scales a panel needs for n_in inputs. */
static size_t scale_bytes(tn_dtype t, int64_t n_in)
{
    switch (t) {
    case TN_Q8_0:
    case TN_Q4_0:
    case TN_Q5_0: return (size_t)(n_in / BLOCK) * 32;
    case TN_Q4_1:
    case TN_Q5_1: return (size_t)(n_in / BLOCK) * 64;
    case TN_Q4_K:
    case TN_Q5_K: return (size_t)(n_in / SUPER) * 320;
    case TN_Q6_K: return (size_t)(n_in / SUPER) * 288;
    default: return 0;
    }
}

static size_t code_bytes(tn_layout l, int64_t n_in)
{
    switch (l) {
    case TN_L_F32: return (size_t)n_in * 64;
    case TN_L_F16: return (size_t)(n_in + n_in % 2) * 32; /* panels start on 64 bytes */
    case TN_L_BF16: return (size_t)(n_in + n_in % 2) * 32;
    default: return (size_t)(n_in / BLOCK) * tn_layout_block_bytes(l);
    }
}

/* ---------------------------------------------------------------------------------- from the file's order */

/* The 32 codes of a block as 8 words: byte b of word g is element 4g + b. */
static void block_words(uint32_t c[8], const uint8_t *row, tn_dtype t, int64_t i_block)
{
    static const uint32_t nibble = 0x0f0f0f0f;
    static const uint32_t spread[16] = {
        /* bit b of the index to bit 8b + 4 */
        0x00000000, 0x00000010, 0x00001000, 0x00001010, 0x00100000, 0x00100010, 0x00101000, 0x00101010,
        0x10000000, 0x10000010, 0x10001000, 0x10001010, 0x10100000, 0x10100010, 0x10101000, 0x10101010,
    };
    int64_t        i_super = i_block / 8;
    int            j = (int)(i_block % 8);
    const uint8_t *b;
    uint32_t       high;

    switch (t) {
    case TN_Q8_0:
        b = row + i_block * 34 + 2;
        for (int g = 0; g < 8; g++) c[g] = word_at(b + 4 * g);
        break;
    case TN_Q4_0:
    case TN_Q4_1:
        b = row + i_block * (t == TN_Q4_0 ? 18 : 20) + (t == TN_Q4_0 ? 2 : 4);
        for (int g = 0; g < 4; g++) {
            c[g] = word_at(b + 4 * g) & nibble;
            c[g + 4] = (word_at(b + 4 * g) >> 4) & nibble;
        }
        break;
    case TN_Q5_0:
    case TN_Q5_1:
        b = row + i_block * (t == TN_Q5_0 ? 22 : 24) + (t == TN_Q5_0 ? 2 : 4);
        high = word_at(b);
        for (int g = 0; g < 4; g++) {
            uint32_t w = word_at(b + 4 + 4 * g);
            c[g] = (w & nibble) | spread[(high >> (4 * g)) & 15];
            c[g + 4] = ((w >> 4) & nibble) | spread[(high >> (4 * g + 16)) & 15];
        }
        break;
    case TN_Q4_K:
        b = row + i_super * 144 + 16 + j / 2 * 32;
        for (int g = 0; g < 8; g++) c[g] = (word_at(b + 4 * g) >> (j % 2 * 4)) & nibble;
        break;
    case TN_Q5_K:
        b = row + i_super * 176 + 16;
        for (int g = 0; g < 8; g++)
            c[g] = ((word_at(b + 32 + j / 2 * 32 + 4 * g) >> (j % 2 * 4)) & nibble) |
                   ((word_at(b + 4 * g) >> j) & 0x01010101u) << 4;
        break;
    case TN_Q6_K:
        b = row + i_super * 210;
        for (int g = 0; g < 8; g++)
            c[g] = ((word_at(b + j / 4 * 64 + j % 2 * 32 + 4 * g) >> (j % 4 / 2 * 4)) & nibble) |
                   ((word_at(b + 128 + j / 4 * 32 + 4 * g) >> (j % 4 * 2)) & 0x03030303u) << 4;
        break;
    default: tn_bug("dtype %d has no codes", (int)t);
    }
}

static void store_word(uint8_t *codes, int i_word, int lane, uint32_t v)
{
    memcpy(codes + ((size_t)i_word * TN_PANEL + (size_t)lane) * 4, &v, 4);
}

/* The words of one block of one output into its panel. */
static void codes_store(uint8_t *codes, tn_layout l, int lane, const uint32_t c[8])
{
    if (l == TN_L_C8) {
        for (int g = 0; g < 8; g++) store_word(codes, g, lane, c[g]);
        return;
    }
    for (int t = 0; t < 4; t++)
        store_word(codes, t, lane, (c[2 * t] & 0x0f0f0f0fu) | (c[2 * t + 1] & 0x0f0f0f0fu) << 4);
    if (l == TN_L_C5) {
        uint32_t high = 0;
        for (int g = 0; g < 8; g++) high |= ((c[g] >> 4) & 0x01010101u) << g;
        store_word(codes, 4, lane, high);
    } else if (l == TN_L_C6) {
        uint32_t high[2] = { 0, 0 };
        for (int g = 0; g < 8; g++) high[g / 4] |= ((c[g] >> 4) & 0x03030303u) << (2 * (g % 4));
        store_word(codes, 4, lane, high[0]);
        store_word(codes, 5, lane, high[1]);
    }
}

static void store_half(uint8_t *scales, size_t i, int lane, uint16_t v)
{
    memcpy(scales + (i * TN_PANEL + (size_t)lane) * 2, &v, 2);
}

static void scales_store(uint8_t *scales, tn_dtype t, int lane, const uint8_t *row, int64_t n_in)
{
    int64_t n_block = n_in / BLOCK, n_super = n_in / SUPER;

    switch (t) {
    case TN_Q8_0:
    case TN_Q4_0:
    case TN_Q5_0:
        for (int64_t i = 0; i < n_block; i++)
            store_half(scales, (size_t)i, lane,
                       half_at(row + (size_t)i * (t == TN_Q8_0   ? 34
                                                  : t == TN_Q4_0 ? 18
                                                                 : 22)));
        break;
    case TN_Q4_1:
    case TN_Q5_1:
        for (int64_t i = 0; i < n_block; i++) {
            const uint8_t *b = row + (size_t)i * (t == TN_Q4_1 ? 20 : 24);
            store_half(scales, (size_t)i * 2, lane, half_at(b));
            store_half(scales, (size_t)i * 2 + 1, lane, half_at(b + 2));
        }
        break;
    case TN_Q4_K:
    case TN_Q5_K:
        for (int64_t i = 0; i < n_super; i++) {
            const uint8_t *b = row + (size_t)i * (t == TN_Q4_K ? 144 : 176);
            uint8_t       *s = scales + (size_t)i * 320;
            store_half(s, 0, lane, half_at(b));
            store_half(s, 1, lane, half_at(b + 2));
            for (int j = 0; j < 8; j++) {
                int sc, mn;
                tn_q4_k_scale(&sc, &mn, b + 4, j);
                s[64 + j * TN_PANEL + lane] = (uint8_t)sc;
                s[192 + j * TN_PANEL + lane] = (uint8_t)mn;
            }
        }
        break;
    case TN_Q6_K:
        for (int64_t i = 0; i < n_super; i++) {
            const uint8_t *b = row + (size_t)i * 210;
            uint8_t       *s = scales + (size_t)i * 288;
            store_half(s, 0, lane, half_at(b + 208));
            for (int j = 0; j < 16; j++) s[32 + j * TN_PANEL + lane] = b[192 + j];
        }
        break;
    default: break;
    }
}

typedef struct pack_job {
    tn_weight     *w;
    const uint8_t *src;
    size_t         row_bytes;
} pack_job;

/* A panel whose numbers are not codes; a few k of all outputs at a time, so that what is written stays in the
 * cache. */
static void plain_store(const tn_weight *w, uint8_t *codes, const uint8_t *rows, size_t row_bytes, int n_lane)
{
    size_t part_bytes = tn_row_bytes(w->dtype, SUPER);

    for (int64_t k = 0; k < w->n_in; k += SUPER, rows += part_bytes) {
        int64_t n = w->n_in - k < SUPER ? w->n_in - k : SUPER;
        for (int lane = 0; lane < n_lane; lane++) {
            const uint8_t *row = rows + (size_t)lane * row_bytes;
            if (w->layout == TN_L_F32) {
                float *dst = (float *)(void *)codes, part[SUPER];
                tn_row_to_f32(part, row, w->dtype, n);
                for (int64_t i = 0; i < n; i++) dst[(k + i) * TN_PANEL + lane] = part[i];
                continue;
            }
            for (int64_t i = k; i < k + n; i++) {
                size_t at = w->layout == TN_L_BF16 ? (size_t)(i / 2) * 32 + (size_t)lane * 2 + (size_t)(i % 2)
                                                   : (size_t)i * TN_PANEL + (size_t)lane;
                memcpy(codes + at * 2, row + (i - k) * 2, 2);
            }
        }
    }
}

static void pack_panels(void *arg, int64_t begin, int64_t end, int i_thread)
{
    pack_job  *job = arg;
    tn_weight *w = job->w;

    (void)i_thread;
    for (int64_t p = begin; p < end; p++) {
        uint8_t *codes = w->codes + (size_t)p * w->code_stride,
                *scales = w->scales + (size_t)p * w->scale_stride;
        const uint8_t *rows = job->src + (size_t)(p * TN_PANEL) * job->row_bytes;
        int n_lane = w->n_out - p * TN_PANEL < TN_PANEL ? (int)(w->n_out - p * TN_PANEL) : TN_PANEL;
        if (w->layout < TN_L_C8) {
            plain_store(w, codes, rows, job->row_bytes, n_lane);
            continue;
        }
        for (int lane = 0; lane < n_lane; lane++) {
            const uint8_t *row = rows + (size_t)lane * job->row_bytes;
            scales_store(scales, w->dtype, lane, row, w->n_in);
            size_t block_bytes = tn_layout_block_bytes(w->layout);
            for (int64_t i = 0; i < w->n_in / BLOCK; i++) {
                uint32_t c[8];
                block_words(c, row, w->dtype, i);
                codes_store(codes + (size_t)i * block_bytes, w->layout, lane, c);
            }
        }
    }
}

tn_status tn_weight_pack(tn_weight **out, const void *src, tn_dtype t, int64_t n_out, int64_t n_in,
                         tn_profile profile, tn_error *err)
{
    tn_status  status = TN_OK;
    tn_weight *w = NULL;
    size_t     codes, scales, total;

    *out = NULL;
    /* every profile reads the same layout; one that does not exist is refused here as by the product */
    if ((int)profile < TN_PROFILE_STRICT || profile > TN_PROFILE_Q8ACT) {
        status = tn_fail(err, TN_MISMATCH, "a matrix cannot be packed for profile number %d: there is none",
                         (int)profile);
        goto out;
    }
    if (n_out < 1 || n_in < 1 || tn_row_bytes(t, n_in) == 0) {
        status = tn_fail(
            err, TN_MISMATCH,
            "a %s matrix [%lld][%lld] cannot be packed: its rows must be a positive multiple of %lld",
            tn_dtype_name(t), (long long)n_out, (long long)n_in, (long long)tn_dtype_block(t));
        goto out;
    }
    if (t >= TN_I8) {
        status = tn_fail(err, TN_UNSUPPORTED, "a %s matrix is no weight: convert it to f32, f16 or bf16",
                         tn_dtype_name(t));
        goto out;
    }
    if ((w = calloc(1, sizeof *w)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a packed matrix");
        goto out;
    }
    w->dtype = t, w->layout = layout_of(t), w->n_out = n_out, w->n_in = n_in;
    w->n_panel = (n_out + TN_PANEL - 1) / TN_PANEL;
    w->code_stride = code_bytes(w->layout, n_in);
    w->scale_stride = scale_bytes(t, n_in);
    if (n_in > INT64_MAX / 128 || !tn_mul_size(w->code_stride, (size_t)w->n_panel, &codes) ||
        !tn_mul_size(w->scale_stride, (size_t)w->n_panel, &scales) ||
        !tn_add_size(codes, scales + 64, &total) || scales > SIZE_MAX / 2) {
        status = tn_fail(err, TN_LIMIT, "a %s matrix [%lld][%lld] is larger than the address space",
                         tn_dtype_name(t), (long long)n_out, (long long)n_in);
        goto out;
    }
    w->memory_bytes = total;
    w->codes = tn_weight_memory_get(&w->memory, total, w->layout >= TN_L_C8 || total >= LARGE);
    if (w->codes == NULL) {
        status = tn_fail(
            err, TN_NOMEM,
            "a packed %s matrix [%lld][%lld] needs %.2f MiB: free memory or choose a smaller quantisation",
            tn_dtype_name(t), (long long)n_out, (long long)n_in, (double)total / 0x1p20);
        goto out;
    }
    w->scales = w->codes + ((codes + 63) & ~(size_t)63);
    pack_job job = { w, src, tn_row_bytes(t, n_in) };
    tn_parallel(w->n_panel, 1, pack_panels, &job);
    *out = w;
    w = NULL;
out:
    tn_weight_free(w);
    return status;
}

void tn_weight_free(tn_weight *w)
{
    if (w == NULL) return;
    if (w->codes != NULL) tn_weight_memory_put(w->memory, w->codes, w->memory_bytes);
    free(w);
}

size_t tn_weight_bytes(const tn_weight *w) { return (size_t)w->n_panel * (w->code_stride + w->scale_stride); }

tn_dtype tn_weight_dtype(const tn_weight *w) { return w->dtype; }

/* ---------------------------------------------------------------------------------------- back to numbers */

static uint32_t load_word(const uint8_t *codes, int i_word, int lane)
{
    return word_at(codes + ((size_t)i_word * TN_PANEL + (size_t)lane) * 4);
}

void tn_weight_codes(uint8_t code[32], const tn_weight *w, int64_t i_out, int64_t i_block)
{
    const uint8_t *codes = w->codes + (size_t)(i_out / TN_PANEL) * w->code_stride +
                           (size_t)i_block * tn_layout_block_bytes(w->layout);
    int lane = (int)(i_out % TN_PANEL);

    for (int k = 0; k < BLOCK; k++) {
        int g = k / 4, b = k % 4;
        if (w->layout == TN_L_C8) {
            code[k] = (uint8_t)(load_word(codes, g, lane) >> (8 * b) ^ 0x80);
            continue;
        }
        uint32_t low = (load_word(codes, g / 2, lane) >> (8 * b + g % 2 * 4)) & 15, high = 0;
        if (w->layout == TN_L_C5) high = (load_word(codes, 4, lane) >> (8 * b + g)) & 1;
        if (w->layout == TN_L_C6) high = (load_word(codes, 4 + g / 4, lane) >> (8 * b + 2 * (g % 4))) & 3;
        code[k] = (uint8_t)(low | high << 4);
    }
}

static float scale_half(const uint8_t *scales, size_t i, int lane)
{
    return tn_f16_to_f32(half_at(scales + (i * TN_PANEL + (size_t)lane) * 2));
}

static void row_block(float *dst, const tn_weight *w, int64_t i_out, int64_t i_block)
{
    const uint8_t *scales = w->scales + (size_t)(i_out / TN_PANEL) * w->scale_stride;
    int            lane = (int)(i_out % TN_PANEL), j = (int)(i_block % 8);
    const uint8_t *super;
    uint8_t        q[BLOCK];
    float          d, m;

    tn_weight_codes(q, w, i_out, i_block);
    switch (w->dtype) {
    case TN_Q8_0:
    case TN_Q4_0:
    case TN_Q5_0:
        d = scale_half(scales, (size_t)i_block, lane);
        for (int k = 0; k < BLOCK; k++)
            dst[k] = (float)(q[k] - (w->dtype == TN_Q8_0 ? 128 : w->dtype == TN_Q4_0 ? 8 : 16)) * d;
        break;
    case TN_Q4_1:
    case TN_Q5_1:
        d = scale_half(scales, (size_t)i_block * 2, lane);
        m = scale_half(scales, (size_t)i_block * 2 + 1, lane);
        for (int k = 0; k < BLOCK; k++) dst[k] = (float)q[k] * d + m;
        break;
    case TN_Q4_K:
    case TN_Q5_K:
        super = scales + (size_t)(i_block / 8) * 320;
        d = scale_half(super, 0, lane) * (float)super[64 + j * TN_PANEL + lane];
        m = scale_half(super, 1, lane) * (float)super[192 + j * TN_PANEL + lane];
        for (int k = 0; k < BLOCK; k++) dst[k] = d * (float)q[k] - m;
        break;
    case TN_Q6_K:
        super = scales + (size_t)(i_block / 8) * 288;
        d = scale_half(super, 0, lane);
        for (int k = 0; k < BLOCK; k++)
            dst[k] = d * (float)(int8_t)super[32 + (2 * j + k / 16) * TN_PANEL + lane] * (float)(q[k] - 32);
        break;
    default: tn_bug("dtype %d has no codes", (int)w->dtype);
    }
}

void tn_weight_part(float *dst, const tn_weight *w, int64_t i_out, int64_t k0, int64_t n)
{
    const uint8_t *codes = w->codes + (size_t)(i_out / TN_PANEL) * w->code_stride;
    size_t         lane = (size_t)(i_out % TN_PANEL);

    if (w->layout >= TN_L_C8) {
        float block[BLOCK];
        for (int64_t k = k0; k < k0 + n;) {
            int64_t at = k % BLOCK, take = BLOCK - at < k0 + n - k ? BLOCK - at : k0 + n - k;
            row_block(block, w, i_out, k / BLOCK);
            memcpy(dst + (k - k0), block + at, (size_t)take * sizeof *dst);
            k += take;
        }
        return;
    }
    for (int64_t k = k0; k < k0 + n; k++) {
        size_t at = (size_t)k * TN_PANEL + lane;
        if (w->layout == TN_L_F32) dst[k - k0] = ((const float *)(const void *)codes)[at];
        else if (w->layout == TN_L_F16) dst[k - k0] = tn_f16_to_f32(half_at(codes + at * 2));
        else
            dst[k - k0] = tn_bf16_to_f32(
                half_at(codes + ((size_t)(k / 2) * 32 + lane * 2 + (size_t)(k % 2)) * 2));
    }
}

void tn_weight_row(float *dst, const tn_weight *w, int64_t i_out)
{
    tn_weight_part(dst, w, i_out, 0, w->n_in);
}
