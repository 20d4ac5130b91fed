/* unary.c - y = act(x), or the soft cap: y = cap * tanh(x / cap).
 *
 *   backward   dx = dy act'(x);  cap: dx = dy fma(-t, t, 1), t = tanh(x / cap) */
#include "tensor/act.h"
#include "tensor/cpu/kernels.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    const tn_unary_params *p = c->params;
    if (p->softcap == 0.0f && ((int)p->act < 0 || p->act >= TN_ACT_OSS))
        return tn_fail(err, TN_MISMATCH, "unary: no plain activation has number %d", (int)p->act);
    if (!(p->softcap >= 0.0f && p->softcap < INFINITY))
        return tn_fail(err, TN_MISMATCH, "unary: soft cap is %g; it must not be below 0, and finite",
                       (double)p->softcap);
    TN_TRY(tn_need(c, 0, "x", TN_F32, 1, err));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call         *c = arg;
    const tn_unary_params *p = c->params;
    const float           *x = tn_f32(c->in[0]);
    float                 *y = tn_f32(c->out[0]);
    (void)i_thread;
    if (p->softcap > 0.0f)
        for (int64_t i = begin; i < end; i++) y[i] = p->softcap * tn_tanhf(x[i] / p->softcap);
    else
        for (int64_t i = begin; i < end; i++) y[i] = tn_act_value(p->act, x[i]);
}

static void fwd_ref(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS / 8, fwd_piece, (void *)c);
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call         *c = arg;
    const tn_unary_params *p = c->params;
    const float           *x = tn_f32(c->in[0]), *dy = tn_f32(c->dout[0]);
    float                 *dx = tn_f32(c->din[0]);
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        float slope;
        if (p->softcap > 0.0f) {
            float t = tn_tanhf(x[i] / p->softcap);
            slope = fmaf(-t, t, 1.0f);
        } else {
            slope = tn_act_slope(p->act, x[i]);
        }
        dx[i] = tn_put(dx[i], c->add[0], dy[i] * slope);
    }
}

static void bwd_ref(const tn_call *c)
{
    if (c->din[0] != NULL) tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS / 8, bwd_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    static const tn_unary_params t[] = { { TN_ACT_SILU, 0 },     { TN_ACT_GELU_TANH, 0 },
                                         { TN_ACT_GELU_ERF, 0 }, { TN_ACT_RELU, 0 },
                                         { TN_ACT_SIGMOID, 0 },  { TN_ACT_TANH, 0 },
                                         { TN_ACT_SILU, 30.0f } };
    if (i >= 7) return 0;
    *k = (tn_case){ .by_row = 1u };
    *(tn_unary_params *)k->params = t[i];
    tn_case_in(k, 0, TN_F32, 3, 37 + 16 * i, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    *k = (tn_case){ .by_row = 1u };
    *(tn_unary_params *)k->params = (tn_unary_params){ (tn_act)tn_draw_below(d, TN_ACT_OSS),
                                                       tn_draw_below(d, 4) == 0 ? tn_draw_number(d, 1, 50)
                                                                                : 0 };
    int64_t rows = tn_draw_size(d, 200);
    tn_case_in(k, 0, TN_F32, rows, tn_draw_size(d, 1000), true);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_unary_fwd_avx2, tn_unary_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_unary_fwd_avx512, tn_unary_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_unary = { .name = "unary",
                            .params_bytes = sizeof(tn_unary_params),
                            .n_in = 1,
                            .n_out = 1,
                            .shape = shape,
                            .kernels = kernels,
                            .bwd_in = 1u,
                            .in_place = 1,
                            .cases = cases,
                            .draw = draw };
