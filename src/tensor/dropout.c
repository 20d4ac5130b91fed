/* dropout.c - keeps a value with probability 1 - p, scaled by 1 / (1 - p), else 0. The mask is a function of
 * (seed, step, node, the row's own sample id, column): moving a row to another batch or rank keeps its mask.
 *
 *   column c uses word c mod 4 of Philox at position node * 2^32 + c / 4, and is kept when word >= p 2^32 */
#include "tensor/cpu/kernels.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    float p = TN_PARAMS(c, tn_dropout_params)->p;
    if (!(p >= 0.0f && p < 1.0f))
        return tn_fail(err, TN_MISMATCH, "dropout: p is %g; it must be in [0, 1)", (double)p);
    TN_TRY(tn_need(c, 0, "x", TN_F32, 2, err));
    TN_TRY(tn_need_ints(c, 1, "sample ids", tn_rows(c->in[0]), err));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

/* y = mask * x / (1 - p); backward is the same function of dy. */
typedef struct {
    const tn_call *c;
    const float   *x;
    float         *y;
    bool           add;
} job;

static void piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job               *j = arg;
    const tn_dropout_params *p = j->c->params;
    const int32_t           *sample = tn_i32(j->c->in[1]);
    int64_t                  n = tn_cols(j->c->in[0]);
    uint64_t                 threshold = (uint64_t)((double)p->p * 4294967296.0);
    float                    scale = 1.0f / (1.0f - p->p);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const tn_rng_key key = { .seed = p->seed,
                                 .purpose = TN_RNG_DROPOUT,
                                 .step = p->step,
                                 .sample = (uint64_t)(uint32_t)sample[r] };
        uint32_t         word[4] = { 0 };
        for (int64_t i = 0; i < n; i++) {
            if (i % 4 == 0) tn_rng4(word, &key, (uint64_t)p->node << 32 | (uint64_t)(i / 4));
            float *y = j->y + r * n + i;
            *y = tn_put(*y, j->add, word[i % 4] >= threshold ? j->x[r * n + i] * scale : 0.0f);
        }
    }
}

static void fwd_ref(const tn_call *c)
{
    job j = { c, tn_f32(c->in[0]), tn_f32(c->out[0]), false };
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(8 * tn_cols(c->in[0])), piece, &j);
}

static void bwd_ref(const tn_call *c)
{
    if (c->din[0] == NULL) return;
    job j = { c, tn_f32(c->dout[0]), tn_f32(c->din[0]), c->add[0] };
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(8 * tn_cols(c->in[0])), piece, &j);
}

static void fill(const tn_case *k, tn_tensor *t, int i_in, uint64_t seed)
{
    (void)k;
    if (i_in == 1) tn_fill_ids(t, seed, 1000);
}

static int cases(tn_case *k, int i)
{
    if (i > 1) return 0;
    *k = (tn_case){ .by_row = 3u };
    *(tn_dropout_params *)k->params = (tn_dropout_params){
        .p = i == 0 ? 0.3f : 0.6f, .seed = 5, .step = 0x900000009u, .node = i == 0 ? 3 : 0x80000001u
    };
    tn_case_in(k, 0, TN_F32, 5, i == 0 ? 37 : 203, true);
    tn_case_vec(k, 1, TN_I32, 5, false);
    k->fill = fill;
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 100);
    *k = (tn_case){ .by_row = 3u, .fill = fill };
    *(tn_dropout_params *)k->params = (tn_dropout_params){ .p = tn_draw_number(d, 0, 0.9f),
                                                           .seed = (uint64_t)tn_draw_below(d, INT64_MAX),
                                                           .step = (uint64_t)tn_draw_below(d, 1 << 20),
                                                           .node = (uint32_t)tn_draw_below(d, UINT32_MAX) };
    tn_case_in(k, 0, TN_F32, rows, tn_draw_size(d, 1000), true);
    tn_case_vec(k, 1, TN_I32, rows, false);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_dropout_fwd_avx2, tn_dropout_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_dropout_fwd_avx512,
                                       tn_dropout_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_dropout = { .name = "dropout",
                              .params_bytes = sizeof(tn_dropout_params),
                              .n_in = 2,
                              .n_out = 1,
                              .shape = shape,
                              .kernels = kernels,
                              .bwd_in = 2u,
                              .in_place = 1,
                              .cases = cases,
                              .draw = draw };
