/* cols.c - the columns [first, first + n) of every group of columns: splits q|k|v, q_nope|q_rope. Backward
 * puts dy back and zeros elsewhere. */
#include "tensor/moves.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    char                  a[96];
    const tn_cols_params *p = c->params;
    TN_TRY(tn_need(c, 0, "x", TN_F32, 2, err));
    if (p->n_group <= 0 || p->group <= 0 || !tn_is_product(tn_cols(c->in[0]), p->n_group, p->group))
        return tn_fail(err, TN_MISMATCH, "cols: x has shape %s, expected %lld groups of %lld columns",
                       tn_shape_text(a, c->in[0]), (long long)p->n_group, (long long)p->group);
    if (p->first < 0 || p->n <= 0 || p->first > p->group - p->n)
        return tn_fail(err, TN_MISMATCH,
                       "cols: %lld columns from column %lld on are not inside a group of %lld",
                       (long long)p->n, (long long)p->first, (long long)p->group);
    tn_set_rows(c->out[0], tn_rows(c->in[0]), p->n_group * p->n);
    return TN_OK;
}

typedef struct job {
    const tn_call  *c;
    const tn_moves *m;
} job;

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call        *c = ((const job *)arg)->c;
    const tn_moves       *m = ((const job *)arg)->m;
    const tn_cols_params *p = c->params;
    (void)i_thread;
    for (int64_t g = begin * p->n_group; g < end * p->n_group; g++)
        m->copy(tn_f32(c->out[0]) + g * p->n, tn_f32(c->in[0]) + g * p->group + p->first, p->n);
}

static void forward(const tn_call *c, const tn_moves *m)
{
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), fwd_piece, &(job){ c, m });
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call        *c = ((const job *)arg)->c;
    const tn_moves       *m = ((const job *)arg)->m;
    const tn_cols_params *p = c->params;
    (void)i_thread;
    for (int64_t g = begin * p->n_group; g < end * p->n_group; g++) {
        float       *dx = tn_f32(c->din[0]) + g * p->group;
        const float *dy = tn_f32(c->dout[0]) + g * p->n;
        if (c->add[0]) {
            m->add(dx + p->first, dy, p->n);
        } else {
            memset(dx, 0, (size_t)p->first * 4);
            m->copy(dx + p->first, dy, p->n);
            memset(dx + p->first + p->n, 0, (size_t)(p->group - p->first - p->n) * 4);
        }
    }
}

static void backward(const tn_call *c, const tn_moves *m)
{
    if (c->din[0] != NULL)
        tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), bwd_piece, &(job){ c, m });
}

static int cases(tn_case *k, int i)
{
    if (i > 1) return 0;
    *k = (tn_case){ .by_row = 1u };
    *(tn_cols_params *)k->params = i == 0 ? (tn_cols_params){ 1, 37, 5, 17 }
                                          : (tn_cols_params){ 3, 10, 4, 6 };
    tn_case_in(k, 0, TN_F32, 5, i == 0 ? 37 : 30, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t n_group = 1 + tn_draw_below(d, 5), group = tn_draw_size(d, 300), n = 1 + tn_draw_below(d, group),
            rows = tn_draw_size(d, 200);
    *k = (tn_case){ .by_row = 1u };
    *(tn_cols_params *)k->params = (tn_cols_params){ n_group, group, tn_draw_below(d, group - n + 1), n };
    tn_case_in(k, 0, TN_F32, rows, n_group * group, true);
}

TN_KERNELS_OF(tn_moves);

const tn_op tn_op_cols = { .name = "cols",
                           .params_bytes = sizeof(tn_cols_params),
                           .n_in = 1,
                           .n_out = 1,
                           .shape = shape,
                           .kernels = kernels,
                           .cases = cases,
                           .draw = draw };
