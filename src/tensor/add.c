/* add.c - the residual sum: y = a + b, or fma(s, b, a).
 *
 *   backward   da = dy,  db = s dy */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    TN_TRY(tn_need(c, 0, "a", TN_F32, 1, err));
    TN_TRY(tn_need_like(c, 1, "b", c->in[0], err));
    TN_TRY(tn_need_finite(c, "s", TN_PARAMS(c, tn_add_params)->s, err));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *a = tn_f32(c->in[0]), *b = tn_f32(c->in[1]);
    float         *y = tn_f32(c->out[0]), s = TN_PARAMS(c, tn_add_params)->s;
    (void)i_thread;
    if (s == 1.0f)
        for (int64_t i = begin; i < end; i++) y[i] = a[i] + b[i];
    else
        for (int64_t i = begin; i < end; i++) y[i] = fmaf(s, b[i], a[i]);
}

static void fwd_ref(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, fwd_piece, (void *)c);
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *dy = tn_f32(c->dout[0]);
    float         *da = tn_f32(c->din[0]), *db = tn_f32(c->din[1]), s = TN_PARAMS(c, tn_add_params)->s;
    (void)i_thread;
    if (da != NULL && c->add[0])
        for (int64_t i = begin; i < end; i++) da[i] += dy[i];
    else if (da != NULL && da != dy) memcpy(da + begin, dy + begin, (size_t)(end - begin) * 4);
    if (db == NULL) return;
    if (s != 1.0f)
        for (int64_t i = begin; i < end; i++) db[i] = tn_put(db[i], c->add[1], s * dy[i]);
    else if (c->add[1])
        for (int64_t i = begin; i < end; i++) db[i] += dy[i];
    else if (db != dy) memcpy(db + begin, dy + begin, (size_t)(end - begin) * 4);
}

static void bwd_ref(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, bwd_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    if (i > 1) return 0;
    *k = (tn_case){ .by_row = 3u };
    *(tn_add_params *)k->params = (tn_add_params){ .s = i == 0 ? 1.0f : 0.37f };
    tn_case_in(k, 0, TN_F32, 3, 37, true);
    tn_case_in(k, 1, TN_F32, 3, 37, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 300), cols = tn_draw_size(d, 1500);
    *k = (tn_case){ .by_row = 3u };
    *(tn_add_params *)k->params = (tn_add_params){ .s = tn_draw_yes(d) ? 1.0f : tn_draw_number(d, -2, 2) };
    tn_case_in(k, 0, TN_F32, rows, cols, true);
    tn_case_in(k, 1, TN_F32, rows, cols, true);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_add_fwd_avx2, tn_add_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_add_fwd_avx512, tn_add_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_add = { .name = "add",
                          .params_bytes = sizeof(tn_add_params),
                          .n_in = 2,
                          .n_out = 1,
                          .shape = shape,
                          .kernels = kernels,
                          .in_place = 1,
                          .grad_in_place = 1,
                          .cases = cases,
                          .draw = draw };
