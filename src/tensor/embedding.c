/* embedding.c - rows of a matrix by id.
 *
 *   forward    y_r = scale * w[id_r]
 *   backward   dw[id_r] = fma(scale, dy_r, dw[id_r]), rows ascending: the sum of one id is one chain in row order
 *
 * Threads share columns in the backward pass, so that each chain stays on one of them. An id outside the
 * vocabulary gives a row of NaN and no gradient. */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    char a[96];
    TN_TRY(tn_need_ints(c, 0, "ids", -1, err));
    if (c->n_in < 2 || c->in[1] == NULL || c->in[1]->n_dim != 2)
        return tn_fail(err, TN_MISMATCH, "embedding: w is %s, expected [n_vocab][n_embd]",
                       tn_shape_text(a, c->n_in < 2 ? NULL : c->in[1]));
    TN_TRY(tn_need_weight(c, 1, "w", -1, c->in[1]->shape[1], err));
    tn_set_rows(c->out[0], tn_n_elem(c->in[0]), c->in[1]->shape[1]);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call   *c = arg;
    const tn_tensor *w = c->in[1];
    const int32_t   *id = tn_i32(c->in[0]);
    float            scale = TN_PARAMS(c, tn_embedding_params)->scale;
    int64_t          n = w->shape[1];
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        float *y = tn_f32(c->out[0]) + r * n;
        if (id[r] < 0 || id[r] >= w->shape[0]) {
            for (int64_t i = 0; i < n; i++) y[i] = NAN;
            continue;
        }
        if (w->packed != NULL) tn_weight_row(y, w->packed, id[r]);
        else tn_row_to_f32(y, (const char *)w->data + (size_t)id[r] * tn_row_bytes(w->dtype, n), w->dtype, n);
        if (scale != 1.0f)
            for (int64_t i = 0; i < n; i++) y[i] *= scale;
    }
}

static void fwd_ref(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), tn_row_grain(c->in[1]->shape[1]), fwd_piece, (void *)c);
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *dy = tn_f32(c->dout[0]);
    const int32_t *id = tn_i32(c->in[0]);
    float         *dw = tn_f32(c->din[1]), scale = TN_PARAMS(c, tn_embedding_params)->scale;
    int64_t        n_vocab = c->in[1]->shape[0], n = c->in[1]->shape[1], n_row = tn_n_elem(c->in[0]);
    (void)i_thread;
    if (!c->add[1])
        for (int64_t v = 0; v < n_vocab; v++) memset(dw + v * n + begin, 0, (size_t)(end - begin) * 4);
    if (dy == NULL) return;
    for (int64_t r = 0; r < n_row; r++) {
        if (id[r] < 0 || id[r] >= n_vocab) continue;
        float       *d = dw + (int64_t)id[r] * n;
        const float *g = dy + r * n;
        if (scale == 1.0f)
            for (int64_t i = begin; i < end; i++) d[i] += g[i];
        else
            for (int64_t i = begin; i < end; i++) d[i] = fmaf(scale, g[i], d[i]);
    }
}

static void bwd_ref(const tn_call *c)
{
    if (c->din[1] != NULL) tn_parallel(c->in[1]->shape[1], 16, bwd_piece, (void *)c);
}

static void fill(const tn_case *k, tn_tensor *t, int i_in, uint64_t seed)
{
    if (i_in == 0) tn_fill_ids(t, seed, k->in[1].shape[0]);
}

static int cases(tn_case *k, int i)
{
    if (i > 1) return 0;
    *k = (tn_case){ .by_row = 1u };
    *(tn_embedding_params *)k->params = (tn_embedding_params){ .scale = i == 0 ? 1.0f : 3.7f };
    tn_case_vec(k, 0, TN_I32, 23, false);
    tn_case_in(k, 1, TN_F32, 7, 37, true);
    k->fill = fill;
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t n_vocab = tn_draw_size(d, 400), n_embd = tn_draw_width(d, 512);
    *k = (tn_case){ .by_row = 1u, .fill = fill };
    *(tn_embedding_params *)k->params = (tn_embedding_params){ .scale = tn_draw_yes(d)
                                                                            ? 1.0f
                                                                            : tn_draw_number(d, 0.1f, 9) };
    tn_case_vec(k, 0, TN_I32, tn_draw_size(d, 300), false);
    tn_draw_weight(d, k, 1, n_vocab, n_embd, tn_draw_yes(d));
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, fwd_ref, tn_embedding_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, fwd_ref, tn_embedding_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_embedding = { .name = "embedding",
                                .params_bytes = sizeof(tn_embedding_params),
                                .n_in = 2,
                                .n_out = 1,
                                .shape = shape,
                                .kernels = kernels,
                                .bwd_in = 1u,
                                .cases = cases,
                                .draw = draw };
