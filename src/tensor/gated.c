/* gated.c - act(gate) * up: SwiGLU, GeGLU (Shazeer 2020, arXiv:2002.05202) and the clamped form of gpt-oss.
 *
 *   forward    y = act(g) u                     OSS: (clamp(u) + 1) min(g, limit) sigmoid(1.702 min(g, limit))
 *   backward   dg = dy (u act'(g)),  du = dy act(g)            act.h has the steps */
#include "tensor/act.h"
#include "tensor/cpu/kernels.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    const tn_gated_params *p = c->params;
    if ((int)p->act < 0 || p->act > TN_ACT_OSS)
        return tn_fail(err, TN_MISMATCH, "gated: no activation has number %d", (int)p->act);
    if (p->act == TN_ACT_OSS && !(p->limit > 0.0f))
        return tn_fail(err, TN_MISMATCH, "gated: limit is %g; it must be above 0", (double)p->limit);
    TN_TRY(tn_need(c, 0, "gate", TN_F32, 1, err));
    TN_TRY(tn_need_like(c, 1, "up", c->in[0], err));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call         *c = arg;
    const tn_gated_params *p = c->params;
    const float           *g = tn_f32(c->in[0]), *u = tn_f32(c->in[1]);
    float                 *y = tn_f32(c->out[0]);
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) y[i] = tn_gated_value(p->act, p->limit, g[i], u[i]);
}

static void fwd_ref(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS / 8, fwd_piece, (void *)c);
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call         *c = arg;
    const tn_gated_params *p = c->params;
    const float           *g = tn_f32(c->in[0]), *u = tn_f32(c->in[1]), *dy = tn_f32(c->dout[0]);
    float                 *dg = tn_f32(c->din[0]), *du = tn_f32(c->din[1]);
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        float sg, su;
        tn_gated_slopes(p->act, p->limit, g[i], u[i], &sg, &su);
        if (dg != NULL) dg[i] = tn_put(dg[i], c->add[0], dy[i] * sg);
        if (du != NULL) du[i] = tn_put(du[i], c->add[1], dy[i] * su);
    }
}

static void bwd_ref(const tn_call *c)
{
    tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS / 8, bwd_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    static const tn_gated_params t[] = { { TN_ACT_SILU, 0 },
                                         { TN_ACT_GELU_TANH, 0 },
                                         { TN_ACT_GELU_ERF, 0 },
                                         { TN_ACT_OSS, 7.0f },
                                         { TN_ACT_SIGMOID, 0 } };
    if (i >= 5) return 0;
    *k = (tn_case){ .by_row = 3u };
    *(tn_gated_params *)k->params = t[i];
    tn_case_in(k, 0, TN_F32, 3, 37 + 16 * i, true);
    tn_case_in(k, 1, TN_F32, 3, 37 + 16 * i, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 200), cols = tn_draw_size(d, 1000);
    tn_act  act = (tn_act)tn_draw_below(d, TN_ACT_OSS + 1);
    *k = (tn_case){ .by_row = 3u };
    *(tn_gated_params *)k->params = (tn_gated_params){ act, act == TN_ACT_OSS ? tn_draw_number(d, 1, 9) : 0 };
    tn_case_in(k, 0, TN_F32, rows, cols, true);
    tn_case_in(k, 1, TN_F32, rows, cols, true);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_gated_fwd_avx2, tn_gated_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_gated_fwd_avx512, tn_gated_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_gated = { .name = "gated",
                            .params_bytes = sizeof(tn_gated_params),
                            .n_in = 2,
                            .n_out = 1,
                            .shape = shape,
                            .kernels = kernels,
                            .bwd_in = 3u,
                            .in_place = 1,
                            .cases = cases,
                            .draw = draw };
