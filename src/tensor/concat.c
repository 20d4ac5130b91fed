/* concat.c - per group, the columns of a, then of b; b may have one group that all share (MLA's k_rope).
 *
 *   backward   da, db: the columns of dy; a shared b: the sum over the groups, ascending */
#include "tensor/moves.h"
#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    char                    a[96], b[96];
    const tn_concat_params *p = c->params;
    TN_TRY(tn_need(c, 0, "a", TN_F32, 2, err));
    TN_TRY(tn_need(c, 1, "b", TN_F32, 2, err));
    if (p->n_group <= 0 || p->n_a <= 0 || p->n_b <= 0 ||
        !tn_is_product(tn_cols(c->in[0]), p->n_group, p->n_a) ||
        !tn_is_product(tn_cols(c->in[1]), p->b_shared ? 1 : p->n_group, p->n_b) ||
        tn_rows(c->in[0]) != tn_rows(c->in[1]))
        return tn_fail(err, TN_MISMATCH,
                       "concat: a has shape %s and b %s, expected %lld groups of %lld and %lld columns%s",
                       tn_shape_text(a, c->in[0]), tn_shape_text(b, c->in[1]), (long long)p->n_group,
                       (long long)p->n_a, (long long)p->n_b, p->b_shared ? " (b shared)" : "");
    tn_set_rows(c->out[0], tn_rows(c->in[0]), p->n_group * (p->n_a + p->n_b));
    return TN_OK;
}

typedef struct job {
    const tn_call  *c;
    const tn_moves *m;
} job;

static void fwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call          *c = ((const job *)arg)->c;
    const tn_moves         *m = ((const job *)arg)->m;
    const tn_concat_params *p = c->params;
    (void)i_thread;
    for (int64_t r = begin; r < end; r++)
        for (int64_t k = 0; k < p->n_group; k++) {
            int64_t g = r * p->n_group + k;
            float  *y = tn_f32(c->out[0]) + g * (p->n_a + p->n_b);
            m->copy(y, tn_f32(c->in[0]) + g * p->n_a, p->n_a);
            m->copy(y + p->n_a, tn_f32(c->in[1]) + (p->b_shared ? r : g) * p->n_b, p->n_b);
        }
}

static void forward(const tn_call *c, const tn_moves *m)
{
    tn_parallel(tn_rows(c->out[0]), tn_row_grain(tn_cols(c->out[0])), fwd_piece, &(job){ c, m });
}

static void bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call          *c = ((const job *)arg)->c;
    const tn_moves         *m = ((const job *)arg)->m;
    const tn_concat_params *p = c->params;
    (void)i_thread;
    for (int64_t r = begin; r < end; r++)
        for (int64_t k = 0; k < p->n_group; k++) {
            int64_t      g = r * p->n_group + k;
            const float *dy = tn_f32(c->dout[0]) + g * (p->n_a + p->n_b);
            if (c->din[0] != NULL) {
                float *da = tn_f32(c->din[0]) + g * p->n_a;
                (c->add[0] ? m->add : m->copy)(da, dy, p->n_a);
            }
            if (c->din[1] != NULL) {
                float *db = tn_f32(c->din[1]) + (p->b_shared ? r : g) * p->n_b;
                bool   add = c->add[1] || (p->b_shared && k > 0);
                (add ? m->add : m->copy)(db, dy + p->n_a, p->n_b);
            }
        }
}

static void backward(const tn_call *c, const tn_moves *m)
{
    const tn_concat_params *p = c->params;
    int64_t                 n = p->n_group * (p->n_a + p->n_b);
    tn_parallel(tn_n_elem(c->dout[0]) / n, tn_row_grain(n), bwd_piece, &(job){ c, m });
}

static int cases(tn_case *k, int i)
{
    if (i > 1) return 0;
    *k = (tn_case){ .by_row = 3u };
    *(tn_concat_params *)k->params = (tn_concat_params){ 3, 5, 7, i == 1 };
    tn_case_in(k, 0, TN_F32, 4, 15, true);
    tn_case_in(k, 1, TN_F32, 4, i == 1 ? 7 : 21, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    tn_concat_params p = { 1 + tn_draw_below(d, 5), tn_draw_size(d, 200), tn_draw_size(d, 200),
                           tn_draw_yes(d) };
    int64_t          rows = tn_draw_size(d, 200);
    *k = (tn_case){ .by_row = 3u };
    *(tn_concat_params *)k->params = p;
    tn_case_in(k, 0, TN_F32, rows, p.n_group * p.n_a, true);
    tn_case_in(k, 1, TN_F32, rows, (p.b_shared ? 1 : p.n_group) * p.n_b, true);
}

TN_KERNELS_OF(tn_moves);

const tn_op tn_op_concat = { .name = "concat",
                             .params_bytes = sizeof(tn_concat_params),
                             .n_in = 2,
                             .n_out = 1,
                             .shape = shape,
                             .kernels = kernels,
                             .cases = cases,
                             .draw = draw };
