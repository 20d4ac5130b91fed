/* cols.c - the columns [first, first + n) of every group of columns: splits q|k|v, q_nope|q_rope. Backward puts dy back
 * and zeros elsewhere. */
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    char a[96];
    const tn_cols_params *p = c->params;
    TN_TRY(tn_need(c, 0, "x", TN_F32, 2, err));
    if (p->n_group <= 0 || p->group <= 0 || p->n_group * p->group != tn_cols(c->in[0]))
        return tn_fail(err, TN_MISMATCH, "cols: x has shape %s, expected %lld groups of %lld columns", tn_shape_text(a, c->in[0]), (long long)p->n_group, (long long)p->group);
    if (p->first < 0 || p->n <= 0 || p->first + p->n > p->group)
        return tn_fail(err, TN_MISMATCH, "cols: columns [%lld, %lld) are not inside a group of %lld", (long long)p->first, (long long)(p->first + p->n), (long long)p->group);
    tn_set_rows(c->out[0], tn_rows(c->in[0]), p->n_group * p->n);
    return TN_OK;
}

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const tn_cols_params *p = c->params;
    (void)i_thread;
    for (int64_t g = begin * p->n_group; g < end * p->n_group; g++)
        memcpy(tn_f32(c->out[0]) + g * p->n, tn_f32(c->in[0]) + g * p->group + p->first, (size_t)p->n * 4);
}

static void fwd_ref(const tn_call *c) { tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), fwd_piece, (void *)c); }

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const tn_cols_params *p = c->params;
    (void)i_thread;
    for (int64_t g = begin * p->n_group; g < end * p->n_group; g++) {
        float       *dx = tn_f32(c->din[0]) + g * p->group;
        const float *dy = tn_f32(c->dout[0]) + g * p->n;
        if (c->add[0]) {
            for (int64_t i = 0; i < p->n; i++) dx[p->first + i] += dy[i];
        } else {
            memset(dx, 0, (size_t)p->first * 4);
            memcpy(dx + p->first, dy, (size_t)p->n * 4);
            memset(dx + p->first + p->n, 0, (size_t)(p->group - p->first - p->n) * 4);
        }
    }
}

static void bwd_ref(const tn_call *c)
{
    if (c->din[0] != NULL) tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), bwd_piece, (void *)c);
}

static int cases(tn_case *k, int i)
{
    if (i > 1) return 0;
    *k = (tn_case){ .by_row = 1u };
    *(tn_cols_params *)k->params = i == 0 ? (tn_cols_params){ 1, 37, 5, 11 } : (tn_cols_params){ 3, 10, 4, 6 };
    tn_case_in(k, 0, TN_F32, 5, i == 0 ? 37 : 30, true);
    return 1;
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref }, { .name = NULL } };

const tn_op tn_op_cols = {
    .name = "cols", .params_bytes = sizeof(tn_cols_params), .n_in = 1, .n_out = 1, .shape = shape, .kernels = kernels, .cases = cases };
