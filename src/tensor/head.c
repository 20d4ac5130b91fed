/* head.c - the parts of the output head that head_loss and head_logprob share: the chunk's products and the
 * softmax of a row, as plain loops (head.h has the definition). */
#include "tensor/head.h"

#include "tensor/loops.h"
#include "tensor/mathfn.h"

/* 64 MiB of logits: enough rows that reading w for each chunk costs little. Where w learns, its gradient, as
 * large as w, is read and written for each chunk too: 256 MiB, a thousand rows of a vocabulary of 50 000. */
enum { CHUNK_ELEMS = 1 << 24, CHUNK_ELEMS_LOSS = 1 << 26 };

/* Distance of the rows of logits in floats. A long row's is not a multiple of 4 KiB, as a common vocabulary's
 * would be: then the same part of every row would fall on the same few lines of the first cache; with 3 KiB
 * beside it 14 rows lie one after another there. */
int64_t tn_head_ld(int64_t n_vocab)
{
    return n_vocab < 4096 ? n_vocab : (n_vocab - 768 + 1023) / 1024 * 1024 + 768;
}

tn_status tn_head_check(const tn_call *c, float softcap, tn_error *err)
{
    TN_TRY(tn_need(c, 0, "x", TN_F32, 2, err));
    TN_TRY(tn_need_weight(c, 1, "w", -1, tn_cols(c->in[0]), err));
    TN_TRY(tn_need_ints(c, 2, "targets", tn_rows(c->in[0]), err));
    if (!(softcap >= 0.0f && softcap < INFINITY))
        return tn_fail(err, TN_MISMATCH, "%s: soft cap is %g; it must not be below 0, and finite",
                       c->op->name, (double)softcap);
    return TN_OK;
}

int64_t tn_head_chunk(const tn_call *c)
{
    int64_t n_row = tn_rows(c->in[0]), n_vocab = c->in[1]->shape[0],
            elems = c->op == &tn_op_head_loss ? CHUNK_ELEMS_LOSS : CHUNK_ELEMS;
    int64_t most = tn_max64(32, elems / tn_max64(tn_head_ld(n_vocab), 1)),
            n_chunk = tn_max64(1, (n_row + most - 1) / most);
    /* Equal chunks, of whole blocks of 32 rows where there are several: in strict-bf16 dw then does not
     * depend on the cut. */
    int64_t rows = tn_max64(1, (n_row + n_chunk - 1) / n_chunk);
    return n_chunk == 1 ? rows : (rows + 31) / 32 * 32;
}

/* A teacher's hidden states (head_loss, input 4) may be wider than the model's. */
static size_t mm_bytes(const tn_call *c)
{
    int64_t n_row = tn_rows(c->in[0]), n_vocab = c->in[1]->shape[0], n_embd = tn_cols(c->in[0]);
    if (c->n_in > 4 && c->in[4] != NULL) n_embd = tn_max64(n_embd, tn_cols(c->in[4]));
    return tn_mm_scratch_bytes(tn_threads(), tn_max64(n_row, n_vocab),
                               tn_max64(n_row, tn_max64(n_embd, n_vocab)));
}

size_t tn_head_scratch(const tn_call *c)
{
    int64_t n_row = tn_rows(c->in[0]);
    /* besides the logits: two floats a row for the caller */
    return tn_align64((size_t)tn_head_chunk(c) * (size_t)tn_head_ld(c->in[1]->shape[0]) * 4) +
           tn_align64(mm_bytes(c)) + 2 * tn_align64((size_t)n_row * 4);
}

void tn_head_open(tn_head *h, const tn_call *c, const tn_head_kernels *k, float softcap, float temperature,
                  tn_profile profile)
{
    *h = (tn_head){ .c = c,
                    .kernels = k,
                    .x = tn_f32(c->in[0]),
                    .w = c->in[1],
                    .target = tn_i32(c->in[2]),
                    .n_row = tn_rows(c->in[0]),
                    .n_embd = tn_cols(c->in[0]),
                    .n_vocab = c->in[1]->shape[0],
                    .ld = tn_head_ld(c->in[1]->shape[0]),
                    .row = { softcap, temperature == 1.0f ? 0.0f : temperature },
                    .profile = profile };
    h->chunk = tn_head_chunk(c);
    h->logits = (float *)((char *)c->scratch + 2 * tn_align64((size_t)h->n_row * 4));
    h->mm_scratch = (char *)h->logits + tn_align64((size_t)h->chunk * (size_t)h->ld * 4);
    h->mm_bytes = mm_bytes(c);
}

static void product(const tn_head *h, const tn_mm *mm)
{
    if (h->kernels->reference_mm) tn_mm_run_set(NULL, mm, h->mm_scratch, h->mm_bytes);
    else tn_mm_run(mm, h->mm_scratch, h->mm_bytes);
}

void tn_head_logits(const tn_head *h, int64_t r0, int64_t n)
{
    tn_mm mm = { .c = h->logits,
                 .ldc = h->ld,
                 .a = { h->x + r0 * h->n_embd, h->n_embd, 1 },
                 .m = n,
                 .n = h->n_vocab,
                 .k = h->n_embd,
                 .profile = h->profile };
    mm.b = h->w->packed != NULL
               ? (tn_mm_b){ .kind = TN_MM_B_PACKED, .w = h->w->packed }
               : (tn_mm_b){ .kind = TN_MM_B_NK, .dtype = h->w->dtype, .rows = h->w->data, .ld = h->n_embd };
    product(h, &mm);
}

void tn_head_dx(const tn_head *h, int64_t n, float *dx, bool add)
{
    tn_mm mm = { .c = dx,
                 .ldc = h->n_embd,
                 .a = { h->logits, h->ld, 1 },
                 .m = n,
                 .n = h->n_embd,
                 .k = h->n_vocab,
                 .add = add,
                 .profile = h->profile == TN_PROFILE_Q8ACT ? TN_PROFILE_STRICT : h->profile };
    mm.b = h->w->packed != NULL
               ? (tn_mm_b){ .kind = TN_MM_B_PACKED_T, .w = h->w->packed }
               : (tn_mm_b){ .kind = TN_MM_B_KN, .dtype = h->w->dtype, .rows = h->w->data, .ld = h->n_embd };
    product(h, &mm);
}

void tn_head_dw(const tn_head *h, int64_t r0, int64_t n, float *dw)
{
    tn_mm mm = { .c = dw,
                 .ldc = h->n_embd,
                 .a = { h->logits, 1, h->ld },
                 .m = h->n_vocab,
                 .n = h->n_embd,
                 .k = n,
                 .add = true,
                 .profile = h->profile == TN_PROFILE_Q8ACT ? TN_PROFILE_STRICT : h->profile,
                 .b = {
                     .kind = TN_MM_B_KN, .dtype = TN_F32, .rows = h->x + r0 * h->n_embd, .ld = h->n_embd } };
    product(h, &mm);
}

static void lse_ref(float *l, int64_t n, const tn_head_row *h, bool keep_exp, float *top, float *sum)
{
    float lane[16] = { 0 }, m = -INFINITY;
    for (int64_t j = 0; j < n; j++) {
        if (h->softcap > 0.0f) l[j] = h->softcap * tn_tanhf(l[j] / h->softcap);
        float x = h->temperature != 0.0f ? l[j] / h->temperature : l[j];
        m = x > m ? x : m;
    }
    for (int64_t j = 0; j < n; j++) {
        float e = tn_prob((h->temperature != 0.0f ? l[j] / h->temperature : l[j]) - m);
        lane[j % 16] += e;
        if (keep_exp) l[j] = e;
    }
    *top = m;
    *sum = tn_lane_sum(lane);
}

static void grad_ref(float *l, int64_t n, const tn_head_row *h, bool have_exp, float top, float scale,
                     int64_t target, float at_target)
{
    for (int64_t j = 0; j < n; j++) {
        float e = have_exp ? l[j] : tn_prob((h->temperature != 0.0f ? l[j] / h->temperature : l[j]) - top);
        float g = j == target ? fmaf(scale, e, at_target) : scale * e;
        if (h->temperature != 0.0f) g /= h->temperature;
        if (h->softcap > 0.0f) {
            float c = l[j] / h->softcap;
            g *= fmaf(-c, c, 1.0f);
        }
        l[j] = g;
    }
}

static float cross_ref(const float *l, const float *t, int64_t n, float top)
{
    float lane[16] = { 0 };
    for (int64_t j = 0; j < n; j++) lane[j % 16] = fmaf(tn_prob(t[j] - top), t[j] - l[j], lane[j % 16]);
    return tn_lane_sum(lane);
}

static void grad_soft_ref(float *l, const float *t, int64_t n, float softcap, float top, float scale,
                          float soft_top, float soft_scale)
{
    for (int64_t j = 0; j < n; j++) {
        float g = fmaf(scale, tn_prob(l[j] - top), -(soft_scale * tn_prob(t[j] - soft_top)));
        if (softcap > 0.0f) {
            float c = l[j] / softcap;
            g *= fmaf(-c, c, 1.0f);
        }
        l[j] = g;
    }
}

const tn_head_kernels tn_head_ref = { lse_ref, grad_ref, cross_ref, grad_soft_ref, true };

static float logits_lse(tn_isa isa, const float *logits, int64_t n)
{
    const tn_head_kernels *k = isa == TN_ISA_AVX512 ? &tn_head_avx512
                               : isa == TN_ISA_AVX2 ? &tn_head_avx2
                                                    : &tn_head_ref;
    float                  top, sum;

    /* writes only with a cap or with exponentials kept */
    k->lse((float *)logits, n, &(tn_head_row){ 0 }, false, &top, &sum);
    return top + tn_logf(sum);
}

float tn_logits_lse(const float *logits, int64_t n)
{
    return logits_lse(tn_loops_isa(TN_LOOPS_LSE), logits, n);
}

void tn_loops_run_logits_lse(tn_isa isa, float *y, const float *x)
{
    int64_t n[] = { 1, 37, 500, TN_LOOPS_N };
    for (int i = 0; i < 4; i++) y[i] = logits_lse(isa, x, n[i]);
}
