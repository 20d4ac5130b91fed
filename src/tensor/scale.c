/* scale.c - y = s * x;  backward dx = s * dy. */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    TN_TRY(tn_need(c, 0, "x", TN_F32, 1, err));
    TN_TRY(tn_need_finite(c, "s", TN_PARAMS(c, tn_scale_params)->s, err));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *x = tn_f32(c->in[0]);
    float         *y = tn_f32(c->out[0]), s = TN_PARAMS(c, tn_scale_params)->s;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) y[i] = s * x[i];
}

static void fwd_ref(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, fwd_piece, (void *)c);
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *dy = tn_f32(c->dout[0]);
    float         *dx = tn_f32(c->din[0]), s = TN_PARAMS(c, tn_scale_params)->s;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) dx[i] = tn_put(dx[i], c->add[0], s * dy[i]);
}

static void bwd_ref(const tn_call *c)
{
    if (c->din[0] != NULL) tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, bwd_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    if (i > 0) return 0;
    *k = (tn_case){ .by_row = 1u };
    *(tn_scale_params *)k->params = (tn_scale_params){ .s = -0.7f };
    tn_case_in(k, 0, TN_F32, 3, 37, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    *k = (tn_case){ .by_row = 1u };
    *(tn_scale_params *)k->params = (tn_scale_params){ .s = tn_draw_number(d, -2, 2) };
    int64_t rows = tn_draw_size(d, 300);
    tn_case_in(k, 0, TN_F32, rows, tn_draw_size(d, 1500), true);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_scale_fwd_avx2, tn_scale_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_scale_fwd_avx512, tn_scale_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_scale = { .name = "scale",
                            .params_bytes = sizeof(tn_scale_params),
                            .n_in = 1,
                            .n_out = 1,
                            .shape = shape,
                            .kernels = kernels,
                            .in_place = 1,
                            .cases = cases,
                            .draw = draw };
