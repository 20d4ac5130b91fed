/* adamw.c - the fused step of AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101), element by element, so that
 * any cut into shards or threads gives the same bits.
 *
 *   h = g grad_scale,  m = fma(b1, m, (1-b1) h),  v = fma(b2, v, ((1-b2) h) h)
 *   p = fma(-c1, m / fma(sqrt(v), c2, eps), p (1 - lr wd)),   c1 = lr / (1-b1^t),  c2 = 1 / sqrt(1-b2^t)
 *
 * The constants are formed in double and rounded once. The bf16 copy is rounded to nearest even, or
 * stochastically:
 * 16 random bits of the element's own counter are added below the bits that stay. */
#include "tensor/adamw.h"

#include "tensor/cpu/kernels.h"
#include "tensor/loops.h"

typedef void (*step_fn)(float *, float *, float *, const float *, int64_t, const tn_adamw_const *);

void tn_adamw_consts(tn_adamw_const *k, const tn_adamw_params *a)
{
    double t = (double)a->step, b1 = (double)a->beta1, b2 = (double)a->beta2;
    *k = (tn_adamw_const){ .beta1 = a->beta1,
                           .beta2 = a->beta2,
                           .rest1 = (float)(1.0 - b1),
                           .rest2 = (float)(1.0 - b2),
                           .eps = a->eps,
                           .grad_scale = a->grad_scale,
                           .decay = (float)(1.0 - (double)a->lr * (double)a->weight_decay),
                           .c1 = (float)((double)a->lr / (1.0 - tn_exp(t * tn_ln(b1)))),
                           .c2 = (float)(1.0 / sqrt(1.0 - tn_exp(t * tn_ln(b2)))) };
}

void tn_adamw_ref(float *p, float *m, float *v, const float *g, int64_t n, const tn_adamw_const *k)
{
    for (int64_t i = 0; i < n; i++) {
        float h = g[i] * k->grad_scale;
        m[i] = fmaf(k->beta1, m[i], k->rest1 * h);
        v[i] = fmaf(k->beta2, v[i], (k->rest2 * h) * h);
        p[i] = fmaf(-k->c1, m[i] / fmaf(sqrtf(v[i]), k->c2, k->eps), p[i] * k->decay);
    }
}

typedef struct {
    float            *p, *m, *v;
    const float      *g;
    uint16_t         *p16;
    tn_adamw_const    k;
    const tn_rng_key *round;
    int64_t           first;
    step_fn           step;
} job;

static step_fn step_of(tn_isa isa)
{
    return isa == TN_ISA_AVX512 ? tn_adamw_avx512 : isa == TN_ISA_AVX2 ? tn_adamw_avx2 : tn_adamw_ref;
}

/* Element e uses half e mod 2 of word (e / 2) mod 4 at position e / 8. Infinity and NaN stay what they
 * are. */
static void round_bf16(const job *j, int64_t begin, int64_t end)
{
    uint32_t word[4] = { 0 };
    for (int64_t i = begin; i < end; i++) {
        int64_t  e = j->first + i;
        uint32_t u;
        if (i == begin || e % 8 == 0) tn_rng4(word, j->round, (uint64_t)(e / 8));
        memcpy(&u, j->p + i, 4);
        if ((u & 0x7f800000u) == 0x7f800000u) {
            j->p16[i] = tn_f32_to_bf16(j->p[i]);
            continue;
        }
        u += e % 2 == 0 ? word[e / 2 % 4] & 0xffffu : word[e / 2 % 4] >> 16;
        j->p16[i] = (uint16_t)(u >> 16);
    }
}

void tn_round_bf16(uint16_t *out, const float *p, int64_t n, const tn_rng_key *round, int64_t first)
{
    job j = { .p = (float *)(uintptr_t)p, .p16 = out, .round = round, .first = first };
    if (round != NULL) round_bf16(&j, 0, n);
    else
        for (int64_t i = 0; i < n; i++) out[i] = tn_f32_to_bf16(p[i]);
}

static void piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const job *j = arg;
    (void)i_thread;
    j->step(j->p + begin, j->m + begin, j->v + begin, j->g + begin, end - begin, &j->k);
    if (j->p16 == NULL) return;
    if (j->round != NULL) {
        round_bf16(j, begin, end);
        return;
    }
    for (int64_t i = begin; i < end; i++) j->p16[i] = tn_f32_to_bf16(j->p[i]);
}

void tn_adamw_step(float *p, float *m, float *v, const float *g, uint16_t *p16, int64_t n,
                   const tn_adamw_params *a, const tn_rng_key *round, int64_t first)
{
    job j = { .p = p,
              .m = m,
              .v = v,
              .g = g,
              .p16 = p16,
              .round = round,
              .first = first,
              .step = step_of(tn_loops_isa(TN_LOOPS_ADAMW)) };
    tn_adamw_consts(&j.k, a);
    tn_parallel(n, TN_GRAIN_ELEMS, piece, &j);
}

/* p, m, v behind one another in y; gradients that are not the weights themselves. */
void tn_loops_run_adamw(tn_isa isa, float *y, const float *x)
{
    tn_adamw_const k;
    float          g[TN_LOOPS_N];
    tn_adamw_consts(&k, &(tn_adamw_params){ 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 3, 0.5f });
    for (int i = 0; i < TN_LOOPS_N; i++) {
        g[i] = x[TN_LOOPS_N - 1 - i];
        y[i] = x[i];
        y[TN_LOOPS_N + i] = 0.5f * x[i];
        y[2 * TN_LOOPS_N + i] = x[i] * x[i];
    }
    step_of(isa)(y, y + TN_LOOPS_N, y + 2 * TN_LOOPS_N, g, TN_LOOPS_N, &k);
}
