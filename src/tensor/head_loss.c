/* head_loss.c - the output head fused with its cross-entropy, chunk by chunk (head.h): never the whole logits
 * matrix, and the gradient of the logits is formed where they lie.
 *
 *   nll_i = lse_i - l_it,   loss = tree sum of weight_i nll_i + z_coef weight_i lse_i^2        (target -1: nothing)
 *   g_ij  = weight_i ((1 + 2 z_coef lse_i) p_ij - [j = t]),   dx = g w,   dw += g^T x (rows ascending)
 *
 * A row that is taught has a distribution for a target, the teacher's: q_i = softmax(cap(t_i)), t_i = teacher
 * x_i teacher w^T, and
 *
 *   nll_i = KL(q_i || p_i) = lse(l_i) - lse(t_i) + sum_j q_ij (t_ij - l_ij),   g_ij = weight_i ((1 + 2 z_coef lse_i) p_ij - q_ij)
 *
 * so a teacher is stored as its last hidden state, n_embd numbers a row, and all of its distribution is
 * learned.
 *
 * With train, dx is formed in the forward chunk into out 2, and with add_dw dw continues the chains of out 3.
 * Backward hands dx on, times dout; dw has been added already, so dout must be 1 then. Without add_dw a
 * wanted dw is formed in the backward pass from logits computed again. */
#include "tensor/cpu/kernels.h"
#include "tensor/head.h"

static bool taught(const tn_call *c) { return c->n_in > 4 && c->in[4] != NULL; }

static tn_status shape(const tn_call *c, tn_error *err)
{
    const tn_head_params *p = c->params;
    TN_TRY(tn_head_check(c, p->softcap, err));
    TN_TRY(tn_need_finite(c, "z_coef", p->z_coef, err));
    TN_TRY(tn_need_profile(c, p->profile, err));
    int64_t n_row = tn_rows(c->in[0]);
    TN_TRY(tn_need_vector(c, 3, "row weights", n_row, false, err));
    if (taught(c)) {
        TN_TRY(tn_need(c, 4, "teacher x", TN_F32, 2, err));
        TN_TRY(tn_need_weight(c, 5, "teacher w", c->in[1]->shape[0], tn_cols(c->in[4]), err));
        TN_TRY(tn_need_ints(c, 6, "taught rows", n_row, err));
        if (tn_rows(c->in[4]) != n_row)
            return tn_fail(err, TN_MISMATCH, "head_loss: %lld teacher rows for %lld rows",
                           (long long)tn_rows(c->in[4]), (long long)n_row);
    }
    if (p->add_dw && (!p->train || c->in[1]->packed != NULL))
        return tn_fail(err, TN_MISMATCH,
                       "head_loss: add_dw needs train and an unpacked head: a packed one has no gradient");
    tn_set_shape(c->out[0], TN_F32, 1, (int64_t[]){ 1 });
    if (c->n_out > 1) tn_set_shape(c->out[1], TN_F32, 1, (int64_t[]){ n_row });
    if (c->n_out > 2 && c->out[2] != NULL) {
        *c->out[2] = (tn_tensor){ .n_dim = 0 };
        if (p->train) tn_set_like(c->out[2], c->in[0]);
    }
    if (c->n_out > 3 && c->out[3] != NULL) {
        *c->out[3] = (tn_tensor){ .n_dim = 0 };
        if (p->add_dw) tn_set_rows(c->out[3], c->in[1]->shape[0], c->in[1]->shape[1]);
    }
    return TN_OK;
}

/* The chunk in work: what the rows' loop needs. */
typedef struct chunk {
    const tn_head *h;
    int64_t        r0;
    bool           grad;
    float         *nll, *part;
    /* the teacher's logits and hidden states of the taught rows, one after the other */
    float   *soft, *soft_x;
    int32_t *slot; /* [chunk] place among them; -1: not taught; NULL: no teacher */
} chunk;

/* A row whose target is a distribution; t: the teacher's logits. */
static float soft_row(const chunk *k, float *l, float *t, float weight, float *lse)
{
    const tn_head_params  *p = k->h->c->params;
    const tn_head_kernels *f = k->h->kernels;
    int64_t                n = k->h->n_vocab;
    float                  top, sum, soft_top, soft_sum;

    f->lse(l, n, &k->h->row, false, &top, &sum);
    f->lse(t, n, &k->h->row, false, &soft_top, &soft_sum);
    float kl = f->cross(l, t, n, soft_top) / soft_sum;
    *lse = top + tn_logf(sum);
    if (k->grad) {
        float a = weight * (p->z_coef != 0.0f ? fmaf(2.0f * p->z_coef, *lse, 1.0f) : 1.0f);
        f->grad_soft(l, t, n, k->h->row.softcap, top, a / sum, soft_top, weight / soft_sum);
    }
    return *lse - (soft_top + tn_logf(soft_sum)) + kl;
}

static void rows_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const chunk          *k = arg;
    const tn_head        *h = k->h;
    const tn_head_params *p = h->c->params;
    bool                  keep = k->grad && h->row.softcap == 0.0f;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t r = k->r0 + i, t = h->target[r];
        float  *l = h->logits + i * h->ld, top, sum, weight = tn_f32(h->c->in[3])[r];
        if (t == -1) { /* nothing to learn here */
            if (k->nll != NULL) k->nll[r] = 0.0f;
            if (k->part != NULL) k->part[r] = 0.0f;
            if (k->grad) memset(l, 0, (size_t)h->n_vocab * 4);
            continue;
        }
        if (k->slot != NULL && k->slot[i] >= 0) {
            float lse, nll = soft_row(k, l, k->soft + k->slot[i] * h->ld, weight, &lse);
            if (k->nll != NULL) k->nll[r] = nll;
            if (k->part != NULL)
                k->part[r] = weight * (p->z_coef != 0.0f ? fmaf(p->z_coef * lse, lse, nll) : nll);
            continue;
        }
        bool  ok = tn_head_target_ok(h, r);
        float l_t = ok ? l[t] : NAN;
        h->kernels->lse(l, h->n_vocab, &h->row, keep, &top, &sum);
        if (ok && !keep) l_t = l[t]; /* capped */
        float lse = top + tn_logf(sum), nll = lse - l_t;
        if (k->nll != NULL) k->nll[r] = nll;
        if (k->part != NULL)
            k->part[r] = weight * (p->z_coef != 0.0f ? fmaf(p->z_coef * lse, lse, nll) : nll);
        if (!k->grad) continue;
        float a = weight * (p->z_coef != 0.0f ? fmaf(2.0f * p->z_coef, lse, 1.0f) : 1.0f);
        h->kernels->grad(l, h->n_vocab, &h->row, keep, top, ok ? a / sum : NAN, ok ? t : -1, -weight);
    }
}

/* Scratch behind the head's own: slots, teacher's logits, gathered hidden states. */
static void teacher_place(chunk *k, const tn_call *c)
{
    if (!taught(c)) return;
    char *at = (char *)c->scratch + tn_head_scratch(c);
    k->slot = (int32_t *)(void *)at;
    k->soft = (float *)(void *)(at + tn_align64((size_t)k->h->chunk * 4));
    k->soft_x = k->soft + tn_align64((size_t)k->h->chunk * (size_t)k->h->ld * 4) / 4;
}

/* The logits of n rows from r0 on, and the teacher's of those that are taught. */
static void logits(chunk *k, int64_t n)
{
    const tn_call *c = k->h->c;
    int64_t        n_soft = 0, width = taught(c) ? tn_cols(c->in[4]) : 0;

    tn_head_logits(k->h, k->r0, n);
    if (!taught(c)) return;
    for (int64_t i = 0; i < n; i++) {
        int64_t r = k->r0 + i;
        k->slot[i] = -1;
        if (tn_i32(c->in[6])[r] == 0 || k->h->target[r] == -1) continue;
        memcpy(k->soft_x + n_soft * width, tn_f32(c->in[4]) + r * width, (size_t)width * 4);
        k->slot[i] = (int32_t)n_soft++;
    }
    if (n_soft == 0) return;
    tn_head teacher = *k->h;
    teacher.x = k->soft_x;
    teacher.w = c->in[5];
    teacher.n_embd = width;
    teacher.logits = k->soft;
    tn_head_logits(&teacher, 0, n_soft);
}

void tn_head_loss_forward(const tn_call *c, const tn_head_kernels *kernels)
{
    const tn_head_params *p = c->params;
    tn_head               h;
    tn_head_open(&h, c, kernels, p->softcap, 0.0f, p->profile);
    float *dx = p->train && c->n_out > 2 ? tn_f32(c->out[2]) : NULL,
          *dw = p->add_dw && c->n_out > 3 ? tn_f32(c->out[3]) : NULL;
    float *part = c->scratch;
    chunk  k = { .h = &h,
                 .grad = dx != NULL || dw != NULL,
                 .nll = c->n_out > 1 ? tn_f32(c->out[1]) : NULL,
                 .part = part };
    teacher_place(&k, c);
    for (k.r0 = 0; k.r0 < h.n_row; k.r0 += h.chunk) {
        int64_t n = tn_min64(h.chunk, h.n_row - k.r0);
        logits(&k, n);
        tn_parallel(n, 1, rows_piece, &k);
        if (dx != NULL) tn_head_dx(&h, n, dx + k.r0 * h.n_embd, false);
        if (dw != NULL) tn_head_dw(&h, k.r0, n, dw);
    }
    tn_f32(c->out[0])[0] = tn_block_tree_sum(part, h.n_row);
}

typedef struct {
    float       *dst;
    const float *src;
    float        s;
    bool         add;
} scaled;

static void scaled_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const scaled *k = arg;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) k->dst[i] = tn_put(k->dst[i], k->add, k->src[i] * k->s);
}

void tn_head_loss_backward(const tn_call *c, const tn_head_kernels *kernels)
{
    const tn_head_params *p = c->params;
    float                 s = c->dout[0] == NULL ? 0.0f : tn_f32(c->dout[0])[0];
    if (c->din[0] != NULL && c->out[2] != NULL && c->out[2]->data != NULL) {
        scaled k = { tn_f32(c->din[0]), tn_f32(c->out[2]), s, c->add[0] };
        tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, scaled_piece, &k);
    }
    if (c->din[1] == NULL || p->add_dw) return;
    tn_head h;
    tn_head_open(&h, c, kernels, p->softcap, 0.0f, p->profile);
    float *dw = tn_f32(c->din[1]);
    if (!c->add[1]) memset(dw, 0, tn_n_bytes(c->din[1]));
    chunk k = { .h = &h, .grad = true };
    teacher_place(&k, c);
    for (k.r0 = 0; k.r0 < h.n_row; k.r0 += h.chunk) {
        int64_t n = tn_min64(h.chunk, h.n_row - k.r0);
        logits(&k, n);
        tn_parallel(n, 1, rows_piece, &k);
        scaled z = { h.logits, h.logits, s, false };
        if (s != 1.0f) tn_parallel((n - 1) * h.ld + h.n_vocab, TN_GRAIN_ELEMS, scaled_piece, &z);
        tn_head_dw(&h, k.r0, n, dw);
    }
}

static void fwd_ref(const tn_call *c) { tn_head_loss_forward(c, &tn_head_ref); }
static void bwd_ref(const tn_call *c) { tn_head_loss_backward(c, &tn_head_ref); }

static size_t scratch(const tn_call *c, bool backward)
{
    (void)backward;
    if (!taught(c)) return tn_head_scratch(c);
    int64_t rows = tn_head_chunk(c);
    return tn_head_scratch(c) + tn_align64((size_t)rows * 4) +
           tn_align64((size_t)rows * (size_t)tn_head_ld(c->in[1]->shape[0]) * 4) +
           tn_align64((size_t)rows * (size_t)tn_cols(c->in[4]) * 4);
}

static double flops(const tn_call *c)
{
    double one = 2.0 * (double)tn_rows(c->in[0]) * (double)tn_cols(c->in[0]) * (double)c->in[1]->shape[0];
    const tn_head_params *p = c->params;
    return one * (1.0 + (p->train ? 1.0 : 0.0) + (p->add_dw ? 1.0 : 0.0) + (taught(c) ? 1.0 : 0.0));
}

static void fill(const tn_case *k, tn_tensor *t, int i_in, uint64_t seed)
{
    if (i_in == 2) {
        tn_fill_ids(t, seed, k->in[1].shape[0]);
        if (tn_n_elem(t) > 2) ((int32_t *)t->data)[1] = -1;
    }
    if (i_in == 6) tn_fill_ids(t, seed, 2);
}

static int cases(tn_case *k, int i)
{
    static const tn_head_params t[] = { { .train = true },
                                        { .train = true, .z_coef = 0.01f },
                                        { .train = true, .softcap = 3.0f, .z_coef = 0.02f },
                                        { .train = true, .add_dw = true },
                                        { .train = false },
                                        { .train = true },
                                        { .train = true, .softcap = 3.0f, .z_coef = 0.02f },
                                        { .train = true, .add_dw = true } };
    if (i >= 8) return 0;
    *k = (tn_case){ 0 };
    *(tn_head_params *)k->params = t[i];
    int64_t rows = 5 + 4 * i, cols = 13 + 16 * i;
    tn_case_in(k, 0, TN_F32, rows, cols, t[i].train);
    tn_case_in(k, 1, TN_F32, 37, cols, t[i].train && !t[i].add_dw);
    tn_case_vec(k, 2, TN_I32, rows, false);
    tn_case_vec(k, 3, TN_F32, rows, false);
    if (i >= 5) { /* a teacher of another width */
        tn_case_in(k, 4, TN_F32, rows, 21, false);
        tn_case_in(k, 5, TN_F32, 37, 21, false);
        tn_case_vec(k, 6, TN_I32, rows, false);
    }
    k->fill = fill;
    return 1;
}

static void draw(tn_case *k, tn_draw *d)
{
    bool    large = tn_draw_below(d, 4) == 0, teacher = tn_draw_below(d, 3) == 0;
    int64_t rows = tn_draw_size(d, 150), cols = tn_draw_width(d, large ? 32 : 256),
            n_vocab = tn_draw_size(d, large ? 5000 : 400), wide = tn_draw_width(d, large ? 32 : 128);
    tn_head_params p = { .train = tn_draw_below(d, 4) != 0, .profile = (tn_profile)tn_draw_below(d, 3) };
    if (tn_draw_yes(d)) p.softcap = tn_draw_number(d, 1, 30);
    if (tn_draw_yes(d)) p.z_coef = tn_draw_number(d, 0, 0.1f);
    p.add_dw = p.train && tn_draw_below(d, 3) == 0;
    *k = (tn_case){ .fill = fill, .profile = p.profile };
    *(tn_head_params *)k->params = p;
    tn_case_in(k, 0, TN_F32, rows, cols, p.train);
    if (p.add_dw) tn_case_in(k, 1, TN_F32, n_vocab, cols, false);
    else tn_draw_weight(d, k, 1, n_vocab, cols, p.train && tn_draw_yes(d));
    tn_case_vec(k, 2, TN_I32, rows, false);
    tn_case_vec(k, 3, TN_F32, rows, false);
    if (!teacher) return;
    tn_case_in(k, 4, TN_F32, rows, wide, false);
    tn_draw_weight(d, k, 5, n_vocab, wide, false);
    tn_case_vec(k, 6, TN_I32, rows, false);
}

static const tn_kernel kernels[] = { { "ref", tn_cpu_any, fwd_ref, bwd_ref },
                                     { "avx2", tn_cpu_avx2, tn_head_loss_fwd_avx2, tn_head_loss_bwd_avx2 },
                                     { "avx512", tn_cpu_avx512, tn_head_loss_fwd_avx512,
                                       tn_head_loss_bwd_avx512 },
                                     { .name = NULL } };

const tn_op tn_op_head_loss = { .name = "head_loss",
                                .params_bytes = sizeof(tn_head_params),
                                .n_in = 7,
                                .n_out = 4,
                                .shape = shape,
                                .scratch = scratch,
                                .kernels = kernels,
                                .no_grad_in = 0x38u,
                                .bwd_in = 127u,
                                .bwd_out = 4u,
                                .cases = cases,
                                .draw = draw,
                                .flops = flops };
