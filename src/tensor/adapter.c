/* adapter.c - the second half of a low-rank adapter (LoRA, arXiv:2106.09685) on top of a frozen product.
 *
 *   forward    out[r][o] = fma(s, u, y[r][o]),   u = chain over k of low[r][k] b[o][k], from +0
 *   backward   t = s dout;   dy = dout
 *              dlow[r][k] = chain over o of t[r][o] b[o][k]
 *              db[o][k]  += chain over r of t[r][o] low[r][k]        rows ascending, continuing what db holds
 *
 * The bits are those of a matmul and an add. But u and t are as large as an activation, and with a rank of 16
 * their way to memory and back would take longer than the arithmetic: here they live in registers. adapted.c
 * has the frozen product in the same operation. */
#include "tensor/adapter.h"

#include "tensor/op_util.h"

static tn_status shape(const tn_call *c, tn_error *err)
{
    char a[96], b[96], low[96];
    TN_TRY(tn_need(c, 0, "y", TN_F32, 1, err));
    TN_TRY(tn_need(c, 1, "low", TN_F32, 1, err));
    TN_TRY(tn_need(c, 2, "b", TN_F32, 2, err));
    if (tn_rows(c->in[1]) != tn_rows(c->in[0]) || c->in[2]->shape[0] != tn_cols(c->in[0]) ||
        tn_cols(c->in[2]) != tn_cols(c->in[1]))
        return tn_fail(
            err, TN_MISMATCH,
            "adapter: y has shape %s, low %s and b %s; expected [n_row][n_out], [n_row][rank], [n_out][rank]",
            tn_shape_text(a, c->in[0]), tn_shape_text(low, c->in[1]), tn_shape_text(b, c->in[2]));
    TN_TRY(tn_need_finite(c, "s", TN_PARAMS(c, tn_adapter_params)->s, err));
    tn_set_like(c->out[0], c->in[0]);
    return TN_OK;
}

static size_t scratch(const tn_call *c, bool backward)
{
    (void)backward;
    return (size_t)tn_round_up(tn_cols(c->in[0]), 32) * (size_t)tn_cols(c->in[1]) * 4;
}

/* ----------------------------------------------------------------------------------------- the definition */

static void panels_ref(const tn_adapter *a, int64_t begin, int64_t end) { (void)a, (void)begin, (void)end; }

static void up_ref(const tn_adapter *a, int64_t r0, int64_t r1, int64_t p0, int64_t p1)
{
    for (int64_t r = r0; r < r1; r++)
        for (int64_t o = p0; o < p1; o++) {
            float u = 0.0f;
            for (int64_t k = 0; k < a->rank; k++) u = fmaf(a->low[r * a->rank + k], a->b[o * a->rank + k], u);
            a->out[r * a->n_out + o] = fmaf(a->s, u, a->y[r * a->n_out + o]);
        }
}

static void low_ref(const tn_adapter *a, int64_t begin, int64_t end)
{
    for (int64_t r = begin; r < end; r++)
        for (int64_t k = 0; k < a->rank; k++) {
            float v = a->add_low ? a->dlow[r * a->rank + k] : 0.0f;
            for (int64_t o = 0; o < a->n_out; o++)
                v = fmaf(a->s * a->g[r * a->n_out + o], a->b[o * a->rank + k], v);
            a->dlow[r * a->rank + k] = v;
        }
}

static void db_ref(const tn_adapter *a, int64_t begin, int64_t end)
{
    for (int64_t o = begin; o < end; o++)
        for (int64_t k = 0; k < a->rank; k++) {
            float v = a->add_db ? a->db[o * a->rank + k] : 0.0f;
            for (int64_t r = 0; r < a->n_row; r++)
                v = fmaf(a->s * a->g[r * a->n_out + o], a->low[r * a->rank + k], v);
            a->db[o * a->rank + k] = v;
        }
}

const tn_adapter_kernels tn_adapter_ref = { 1, panels_ref, up_ref, low_ref, db_ref, true };

/* --------------------------------------------------------------------------------------------- the driver */

enum { FEW = 8 }; /* rows: each is done with a panel as soon as it is made */

typedef struct job {
    tn_adapter                a;
    const tn_adapter_kernels *k;
    float                    *dy;
    bool                      add_dy;
} job;

static void panels_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    (void)i_thread;
    j->k->panels(&j->a, begin, end);
    if (j->a.n_row <= FEW) j->k->up(&j->a, 0, j->a.n_row, begin, end);
}

static void up_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    (void)i_thread;
    j->k->up(&j->a, begin, end, 0, (j->a.n_out + j->k->wide - 1) / j->k->wide);
}

static int64_t rows_grain(int64_t n_out) { return tn_max64(tn_row_grain(n_out), 16); }
static int64_t panel_grain(const job *j, int64_t n)
{
    return tn_max64(1, TN_GRAIN_ELEMS / (j->k->wide * n + 1));
}

static void forward(const tn_call *c, const tn_adapter_kernels *k)
{
    job j = { .k = k,
              .a = { .n_row = tn_rows(c->in[0]),
                     .n_out = tn_cols(c->in[0]),
                     .rank = tn_cols(c->in[1]),
                     .s = TN_PARAMS(c, tn_adapter_params)->s,
                     .low = tn_f32(c->in[1]),
                     .b = tn_f32(c->in[2]),
                     .y = tn_f32(c->in[0]),
                     .out = tn_f32(c->out[0]),
                     .turned = c->scratch } };
    tn_parallel((j.a.n_out + k->wide - 1) / k->wide, panel_grain(&j, j.a.rank), panels_piece, &j);
    if (j.a.n_row > FEW) tn_parallel(j.a.n_row, rows_grain(j.a.n_out), up_piece, &j);
}

static void rows_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    int64_t    n = j->a.n_out;
    (void)i_thread;
    if (j->a.dlow != NULL) j->k->low(&j->a, begin, end);
    if (j->dy == NULL || j->dy == j->a.g) return;
    if (!j->add_dy) memcpy(j->dy + begin * n, j->a.g + begin * n, (size_t)((end - begin) * n) * 4);
    else
        for (int64_t i = begin * n; i < end * n; i++) j->dy[i] += j->a.g[i];
}

static void db_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    (void)i_thread;
    j->k->db(&j->a, begin, end);
}

static void backward(const tn_call *c, const tn_adapter_kernels *k)
{
    job j = { .k = k,
              .dy = tn_f32(c->din[0]),
              .add_dy = c->add[0],
              .a = { .n_row = tn_rows(c->dout[0]),
                     .n_out = tn_cols(c->dout[0]),
                     .rank = tn_cols(c->in[1]),
                     .s = TN_PARAMS(c, tn_adapter_params)->s,
                     .low = tn_f32(c->in[1]),
                     .b = tn_f32(c->in[2]),
                     .g = tn_f32(c->dout[0]),
                     .dlow = tn_f32(c->din[1]),
                     .db = tn_f32(c->din[2]),
                     .add_low = c->add[1],
                     .add_db = c->add[2],
                     .turned = c->scratch } };
    tn_parallel(j.a.n_row, rows_grain(j.a.n_out), rows_piece, &j);
    if (j.a.db != NULL)
        tn_parallel((j.a.n_out + k->wide - 1) / k->wide, panel_grain(&j, j.a.n_row), db_piece, &j);
}

static int cases(tn_case *k, int i)
{
    static const struct {
        int64_t rows, n_out, rank;
        float   s;
    } t[] = { { 5, 37, 3, 0.37f }, { 29, 70, 16, 2.0f }, { 17, 33, 21, 1.0f }, { 1, 48, 4, 2.0f } };
    if (i >= 4) return 0;
    *k = (tn_case){ .by_row = 3u };
    *(tn_adapter_params *)k->params = (tn_adapter_params){ .s = t[i].s };
    tn_case_in(k, 0, TN_F32, t[i].rows, t[i].n_out, true);
    tn_case_in(k, 1, TN_F32, t[i].rows, t[i].rank, true);
    tn_case_in(k, 2, TN_F32, t[i].n_out, t[i].rank, true);
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    int64_t rows = tn_draw_size(d, 500), n_out = tn_draw_size(d, 300), rank = tn_draw_size(d, 70);
    *k = (tn_case){ .by_row = 3u };
    *(tn_adapter_params *)k->params = (tn_adapter_params){ .s = tn_draw_number(d, 0.1f, 4) };
    tn_case_in(k, 0, TN_F32, rows, n_out, true);
    tn_case_in(k, 1, TN_F32, rows, rank, true);
    tn_case_in(k, 2, TN_F32, n_out, rank, true);
}

static double flops(const tn_call *c)
{
    return 2.0 * (double)tn_n_elem(c->in[0]) * (double)tn_cols(c->in[1]);
}

TN_KERNELS_OF(tn_adapter);

const tn_op tn_op_adapter = { .name = "adapter",
                              .params_bytes = sizeof(tn_adapter_params),
                              .n_in = 3,
                              .n_out = 1,
                              .shape = shape,
                              .scratch = scratch,
                              .kernels = kernels,
                              .bwd_in = 6u,
                              .in_place = 1,
                              .grad_in_place = 1,
                              .cases = cases,
                              .draw = draw,
                              .flops = flops };
