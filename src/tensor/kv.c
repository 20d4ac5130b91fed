/* kv.c - the KV cache: pages of 64 positions for all layers and key heads (kv.h draws one). */
#include "tensor/kv.h"

#include <stdlib.h>

#include "tensor/op_util.h"

tn_status tn_kv_create(tn_kv **out, int64_t n_layer, int64_t n_head_kv, int64_t d_k, int64_t d_v,
                       int64_t n_page, tn_dtype type, tn_error *err)
{
    tn_status status = TN_OK;
    tn_kv    *kv = NULL;
    size_t    bytes = 0;

    *out = NULL;
    if (type != TN_F32 && type != TN_BF16 && type != TN_Q8_0)
        return tn_fail(err, TN_USAGE, "a KV cache of type %s is not possible; choose f32, bf16 or q8_0",
                       tn_dtype_name(type));
    if (n_layer <= 0 || n_head_kv <= 0 || d_k <= 0 || d_v <= 0 || n_page <= 0 || d_k > 4096 || d_v > 4096 ||
        n_layer > 65536 || n_head_kv > 65536 || n_page > INT32_MAX)
        return tn_fail(
            err, TN_MISMATCH,
            "a KV cache of %lld pages, %lld layers, %lld heads of %lld and %lld columns is not possible",
            (long long)n_page, (long long)n_layer, (long long)n_head_kv, (long long)d_k, (long long)d_v);
    if (type == TN_Q8_0 && (d_k % 32 != 0 || d_v % 32 != 0))
        return tn_fail(
            err, TN_MISMATCH,
            "a q8_0 KV cache needs heads of a multiple of 32 columns; these have %lld and %lld: choose bf16",
            (long long)d_k, (long long)d_v);
    if ((kv = calloc(1, sizeof *kv)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a KV cache handle");
    *kv = (tn_kv){
        .n_layer = n_layer, .n_head_kv = n_head_kv, .d_k = d_k, .d_v = d_v, .n_page = n_page, .type = type
    };
    size_t value = type == TN_F32 ? 4 : type == TN_BF16 ? 2 : 1;
    kv->k_bytes = tn_align64(value * TN_KV_PAGE * (size_t)d_k);
    kv->v_bytes = tn_align64(value * TN_KV_PAGE * (size_t)d_v);
    if (type == TN_Q8_0) {
        kv->k_scale_bytes = tn_align64(2 * TN_KV_PAGE * (size_t)(d_k / 32));
        kv->v_scale_bytes = tn_align64(2 * TN_KV_PAGE * (size_t)(d_v / 32));
    }
    kv->stride = kv->k_bytes + kv->k_scale_bytes + kv->v_bytes + kv->v_scale_bytes;
    if (!tn_mul_size(kv->stride, (size_t)n_layer, &bytes) || !tn_mul_size(bytes, (size_t)n_head_kv, &bytes) ||
        !tn_mul_size(bytes, (size_t)n_page, &bytes)) {
        status = tn_fail(err, TN_LIMIT, "a KV cache of %lld pages is too large to address",
                         (long long)n_page);
        goto out;
    }
    tn_arena count = { .cap = SIZE_MAX };
    (void)tn_arena_get(&count, bytes, 1);
    if (count.full || (status = tn_arena_init(&kv->arena, count.used, err)) != TN_OK) {
        if (count.full) status = tn_fail(err, TN_LIMIT, "too large to address");
        tn_fail_prefix(err, status, "KV cache of %lld positions (%.1f MiB)", (long long)(n_page * TN_KV_PAGE),
                       (double)bytes / 0x1p20);
        goto out;
    }
    kv->data = tn_arena_get(&kv->arena, bytes, 1);
    *out = kv;
    kv = NULL;
out:
    tn_kv_destroy(kv);
    return status;
}

void tn_kv_destroy(tn_kv *kv)
{
    if (kv == NULL) return;
    tn_arena_free(&kv->arena);
    free(kv);
}

size_t tn_kv_page_bytes(const tn_kv *kv) { return kv->stride * (size_t)(kv->n_layer * kv->n_head_kv); }

/* Moves n slots of a matrix with `d` rows of 64 slots (a transposed K) or 64 rows of d (V). */
static void copy_columns(uint8_t *to, const uint8_t *from, int64_t d, int64_t n, size_t value)
{
    for (int64_t i = 0; i < d; i++)
        memcpy(to + (size_t)i * TN_KV_PAGE * value, from + (size_t)i * TN_KV_PAGE * value, (size_t)n * value);
}

void tn_kv_copy_page(tn_kv *kv, int32_t to, int32_t from, int64_t n)
{
    size_t value = kv->type == TN_F32 ? 4 : kv->type == TN_BF16 ? 2 : 1;
    if (to == from || to < 0 || from < 0 || to >= kv->n_page || from >= kv->n_page) return;
    n = tn_min64(tn_max64(n, 0), TN_KV_PAGE);
    for (int64_t l = 0; l < kv->n_layer; l++)
        for (int64_t h = 0; h < kv->n_head_kv; h++) {
            uint8_t       *t = tn_kv_at(kv, to, l, h);
            const uint8_t *f = tn_kv_at(kv, from, l, h);
            size_t         at = 0;
            copy_columns(t, f, kv->d_k, n, value);
            at += kv->k_bytes;
            if (kv->type == TN_Q8_0) copy_columns(t + at, f + at, kv->d_k / 32, n, 2);
            at += kv->k_scale_bytes;
            memcpy(t + at, f + at, (size_t)(n * kv->d_v) * value);
            at += kv->v_bytes;
            if (kv->type == TN_Q8_0) memcpy(t + at, f + at, (size_t)(n * (kv->d_v / 32)) * 2);
        }
}

static void store_q8(int8_t *codes, uint16_t *scales, const float *x, int64_t d, int64_t code_step,
                     int64_t scale_step)
{
    for (int64_t b = 0; b < d / 32; b++) {
        uint8_t block[34];
        tn_row_from_f32(block, x + 32 * b, TN_Q8_0, 32);
        memcpy(scales + b * scale_step, block, 2);
        for (int64_t i = 0; i < 32; i++) codes[(32 * b + i) * code_step] = (int8_t)block[2 + i];
    }
}

static void load_q8(float *x, const int8_t *codes, const uint16_t *scales, int64_t d, int64_t code_step,
                    int64_t scale_step)
{
    for (int64_t b = 0; b < d / 32; b++) {
        float scale = tn_f16_to_f32(scales[b * scale_step]);
        for (int64_t i = 0; i < 32; i++) x[32 * b + i] = (float)codes[(32 * b + i) * code_step] * scale;
    }
}

void tn_kv_store(const tn_kv *kv, int64_t page, int64_t i_layer, int64_t head, int64_t slot, const float *k,
                 const float *v)
{
    uint8_t *at = tn_kv_at(kv, page, i_layer, head), *vt = at + kv->k_bytes + kv->k_scale_bytes;
    if (kv->type == TN_F32) {
        float *kt = (float *)at + slot;
        for (int64_t d = 0; d < kv->d_k; d++) kt[d * TN_KV_PAGE] = k[d];
        memcpy((float *)vt + slot * kv->d_v, v, (size_t)kv->d_v * 4);
    } else if (kv->type == TN_BF16) {
        uint16_t *kt = (uint16_t *)at + slot, *vr = (uint16_t *)vt + slot * kv->d_v;
        for (int64_t d = 0; d < kv->d_k; d++) kt[d * TN_KV_PAGE] = tn_f32_to_bf16(k[d]);
        for (int64_t d = 0; d < kv->d_v; d++) vr[d] = tn_f32_to_bf16(v[d]);
    } else {
        store_q8((int8_t *)at + slot, (uint16_t *)(at + kv->k_bytes) + slot, k, kv->d_k, TN_KV_PAGE,
                 TN_KV_PAGE);
        store_q8((int8_t *)vt + slot * kv->d_v, (uint16_t *)(vt + kv->v_bytes) + slot * (kv->d_v / 32), v,
                 kv->d_v, 1, 1);
    }
}

void tn_kv_load(const tn_kv *kv, int64_t page, int64_t i_layer, int64_t head, int64_t slot, float *k,
                float *v)
{
    const uint8_t *at = tn_kv_at(kv, page, i_layer, head), *vt = at + kv->k_bytes + kv->k_scale_bytes;
    if (kv->type == TN_F32) {
        for (int64_t d = 0; d < kv->d_k; d++) k[d] = ((const float *)at)[d * TN_KV_PAGE + slot];
        memcpy(v, (const float *)vt + slot * kv->d_v, (size_t)kv->d_v * 4);
    } else if (kv->type == TN_BF16) {
        for (int64_t d = 0; d < kv->d_k; d++)
            k[d] = tn_bf16_to_f32(((const uint16_t *)at)[d * TN_KV_PAGE + slot]);
        for (int64_t d = 0; d < kv->d_v; d++)
            v[d] = tn_bf16_to_f32(((const uint16_t *)vt)[slot * kv->d_v + d]);
    } else {
        load_q8(k, (const int8_t *)at + slot, (const uint16_t *)(at + kv->k_bytes) + slot, kv->d_k,
                TN_KV_PAGE, TN_KV_PAGE);
        load_q8(v, (const int8_t *)vt + slot * kv->d_v,
                (const uint16_t *)(vt + kv->v_bytes) + slot * (kv->d_v / 32), kv->d_v, 1, 1);
    }
}
