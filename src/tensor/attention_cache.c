/* attention_cache.c - attention over a KV cache: the bits of attention.c for rows that continue cached
 * sequences.
 *
 * First every row's key and value go to page pos / 64, slot pos % 64 of its sequence; then every row attends.
 * A page is a key block of the definition. A row whose pages do not cover its position (or name none) gives
 * NaN and stores nothing. */
#include "tensor/attention_cache.h"

#include "tensor/cpu/kernels.h"
#include "tensor/mathfn.h"
#include "tensor/selftest.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    char                             a[96];
    const tn_attention_cache_params *p = c->params;
    const tn_kv                     *kv = p->kv;
    TN_TRY(tn_attention_check(c, &p->a, err));
    int64_t n_row = tn_rows(c->in[0]);
    TN_TRY(tn_need_ints(c, 3, "positions", n_row, err));
    TN_TRY(tn_need(c, 4, "pages", TN_I32, 2, err));
    if (tn_rows(c->in[4]) != n_row || tn_cols(c->in[4]) < 1)
        return tn_fail(err, TN_MISMATCH, "attention_cache: pages has shape %s, expected [%lld][n_page_max]",
                       tn_shape_text(a, c->in[4]), (long long)n_row);
    TN_TRY(tn_need_vector(c, 5, "sinks", p->a.n_head, true, err));
    if (kv == NULL) return tn_fail(err, TN_MISMATCH, "attention_cache: there is no cache");
    if (kv->n_head_kv != p->a.n_head_kv || kv->d_k != p->a.d_k || kv->d_v != p->a.d_v ||
        kv->type != p->a.kv_type || p->i_layer < 0 || p->i_layer >= kv->n_layer)
        return tn_fail(err, TN_MISMATCH,
                       "attention_cache: the cache holds %lld layers of %lld heads of %lld and %lld columns, "
                       "%s; the operation wants layer %lld, %lld heads of %lld and %lld, %s",
                       (long long)kv->n_layer, (long long)kv->n_head_kv, (long long)kv->d_k,
                       (long long)kv->d_v, tn_dtype_name(kv->type), (long long)p->i_layer,
                       (long long)p->a.n_head_kv, (long long)p->a.d_k, (long long)p->a.d_v,
                       tn_dtype_name(p->a.kv_type));
    tn_set_rows(c->out[0], n_row, p->a.n_head * p->a.d_v);
    return TN_OK;
}

bool tn_attn_cache_row_ok(const tn_call *c, int64_t r)
{
    const tn_kv   *kv = TN_PARAMS(c, tn_attention_cache_params)->kv;
    int64_t        pos = tn_i32(c->in[3])[r], n_page = tn_cols(c->in[4]);
    const int32_t *page = tn_i32(c->in[4]) + r * n_page;
    if (pos < 0 || pos / TN_KV_PAGE >= n_page) return false;
    for (int64_t i = tn_attn_first(&TN_PARAMS(c, tn_attention_cache_params)->a, pos) / TN_KV_PAGE;
         i <= pos / TN_KV_PAGE; i++)
        if (page[i] < 0 || page[i] >= kv->n_page) return false;
    return true;
}

void tn_attention_cache_store_one(const tn_call *c, int64_t r, int64_t g)
{
    const tn_attention_cache_params *p = c->params;
    int64_t                          t = r * p->a.n_head_kv + g, pos = tn_i32(c->in[3])[r];
    tn_kv_store(p->kv, tn_i32(c->in[4])[r * tn_cols(c->in[4]) + pos / TN_KV_PAGE], p->i_layer, g,
                pos % TN_KV_PAGE, tn_f32(c->in[1]) + t * p->a.d_k, tn_f32(c->in[2]) + t * p->a.d_v);
}

static void store_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    int64_t        n_kv = TN_PARAMS(c, tn_attention_cache_params)->a.n_head_kv;
    (void)i_thread;
    for (int64_t t = begin; t < end; t++)
        if (tn_attn_cache_row_ok(c, t / n_kv)) tn_attention_cache_store_one(c, t / n_kv, t % n_kv);
}

void tn_attention_cache_store(const tn_call *c)
{
    tn_parallel(tn_rows(c->in[0]) * TN_PARAMS(c, tn_attention_cache_params)->a.n_head_kv, 16, store_piece,
                (void *)c);
}

static void attend_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call                   *c = arg;
    const tn_attention_cache_params *cp = c->params;
    const tn_attention_params       *p = &cp->a;
    const float                     *sinks = c->n_in > 5 ? tn_f32(c->in[5]) : NULL;
    int64_t                          n_page = tn_cols(c->in[4]);
    float                            k[4096], v[4096];
    (void)i_thread;
    for (int64_t t = begin; t < end; t++) {
        int64_t r = t / p->n_head, h = t % p->n_head, g = h / (p->n_head / p->n_head_kv);
        float  *o = tn_f32(c->out[0]) + t * p->d_v, m = sinks != NULL ? sinks[h] : -INFINITY,
              l = sinks != NULL ? 1.0f : 0.0f;
        bool           ok = tn_attn_cache_row_ok(c, r);
        const float   *q = tn_f32(c->in[0]) + t * p->d_k;
        const int32_t *page = tn_i32(c->in[4]) + r * n_page;
        for (int64_t d = 0; d < p->d_v; d++) o[d] = ok ? 0.0f : NAN;
        if (!ok) continue;
        int64_t pos = tn_i32(c->in[3])[r], lo = tn_attn_first(p, pos);
        for (int64_t b = lo / TN_KV_PAGE; b <= pos / TN_KV_PAGE; b++) {
            int64_t j0 = tn_max64(lo, b * TN_KV_PAGE), j1 = tn_min64(pos + 1, (b + 1) * TN_KV_PAGE);
            float   s[TN_KV_PAGE], lane[16] = { 0 }, top = m;
            for (int64_t j = j0; j < j1; j++) {
                float x = 0.0f;
                tn_kv_load(cp->kv, page[b], cp->i_layer, g, j % TN_KV_PAGE, k, v);
                for (int64_t d = 0; d < p->d_k; d++) x = fmaf(q[d], k[d], x);
                x *= p->scale;
                if (p->softcap > 0.0f) x = p->softcap * tn_tanhf(x / p->softcap);
                s[j % TN_KV_PAGE] = x;
                top = x > top ? x : top;
            }
            float corr = tn_prob(m - top);
            for (int64_t d = 0; d < p->d_v; d++) o[d] *= corr;
            for (int64_t j = j0; j < j1; j++) {
                float e = tn_prob(s[j % TN_KV_PAGE] - top);
                tn_kv_load(cp->kv, page[b], cp->i_layer, g, j % TN_KV_PAGE, k, v);
                lane[j % 16] += e;
                for (int64_t d = 0; d < p->d_v; d++) o[d] = fmaf(e, v[d], o[d]);
            }
            l = fmaf(l, corr, tn_lane_sum(lane));
            m = top;
        }
        for (int64_t d = 0; d < p->d_v; d++) o[d] /= l;
    }
}

static void fwd_ref(const tn_call *c)
{
    const tn_attention_cache_params *p = c->params;
    tn_attention_cache_store(c);
    tn_parallel(tn_rows(c->in[0]) * p->a.n_head, 1, attend_piece, (void *)c);
}

static size_t scratch(const tn_call *c, bool backward)
{
    (void)backward;
    return tn_align64((size_t)(tn_rows(c->in[0]) + 1) * 4) +
           tn_attn_cache_slot_bytes(&TN_PARAMS(c, tn_attention_cache_params)->a) * (size_t)tn_threads();
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, NULL },
                                     { "avx2", tn_cpu_avx2, tn_attention_cache_fwd_avx2, NULL },
                                     { "avx512", tn_cpu_avx512, tn_attention_cache_fwd_avx512, NULL },
                                     { .name = NULL } };

const tn_op tn_op_attention_cache = { .name = "attention_cache",
                                      .params_bytes = sizeof(tn_attention_cache_params),
                                      .n_in = 6,
                                      .n_out = 1,
                                      .shape = shape,
                                      .scratch = scratch,
                                      .kernels = kernels,
                                      .quick = tn_selftest_decode_quick };
