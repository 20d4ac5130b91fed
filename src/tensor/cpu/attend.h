/* attend.h - one block of keys against some rows: the forward step that attention and attention_cache share.
 * Private to tensor/cpu. */
#ifndef TN_TENSOR_CPU_ATTEND_H
#define TN_TENSOR_CPU_ATTEND_H

#include "tensor/attention.h"
#include "tensor/cpu/tile.h"
#include "tensor/cpu/vec_math.h"

enum { BLOCK = TN_KV_PAGE };
/* Rows whose softmax runs together: what it waits for (reductions, one exp of all their maxima) is then
 * waited for once in two tiles. */
enum { SOFT_ROWS = 2 * TILE_M };

/* Scale, soft cap and softmax of the scores of mr rows of a block: keys [lo, hi) of it are allowed to each.
 * Leaves p_j in s, zero where nothing is allowed, m and l brought up to date, and in corr the correction of
 * what came before. `whole`: all 64 keys are allowed to all rows; `cap`: there is a soft cap. */
TN_INLINE void soften(float *s, int64_t mr, const int32_t *lo, const int32_t *hi,
                      const tn_attention_params *p, bool whole, bool cap, float *m, float *l, float *corr)
{
    float top[16], sum[16], allowed[16] = { 0 };
    for (int64_t i = 0; i < mr; i++) {
        float *row = s + i * BLOCK;
        allowed[i] = hi[i] > 0 ? 1.0f : 0.0f;
        vf best = vf_set(-INFINITY);
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            vf x = vf_mul(vf_load(row + 16 * v), vf_set(p->scale));
            if (cap) x = vf_mul(vf_set(p->softcap), vf_tanh(vf_div(x, vf_set(p->softcap))));
            vf_store(row + 16 * v, x);
            best = whole ? vf_max(x, best)
                         : vf_sel(vm_between(lo[i] - 16 * v, hi[i] - 16 * v), vf_max(x, best), best);
        }
        top[i] = vf_top(best);
    }
    vf was = vf_load_n(m, (int)mr), now = vf_max(vf_load_n(top, (int)mr), was), d = vf_sub(was, now);
    vf c = vf_sel(vf_eq(d, vf_zero()), vf_set(1.0f), vf_prob(d));
    /* a row that sees nothing here stays as it was */
    if (!whole) c = vf_sel(vf_lt(vf_zero(), vf_load(allowed)), c, vf_set(1.0f));
    vf_store(top, now);
    vf_store_n(m, now, (int)mr);
    vf_store(corr, c);
    for (int64_t i = 0; i < mr; i++) {
        float *row = s + i * BLOCK;
        vf     total = vf_zero();
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            vf e = vf_prob_below(vf_sub(vf_load(row + 16 * v), vf_set(top[i])));
            if (!whole) e = vf_sel(vm_between(lo[i] - 16 * v, hi[i] - 16 * v), e, vf_zero());
            total = vf_add(total, e);
            vf_store(row + 16 * v, e);
        }
        sum[i] = vf_sum(total);
    }
    vf_store_n(l, vf_fma(vf_load_n(l, (int)mr), c, vf_load_n(sum, (int)mr)), (int)mr);
}

static void scale_row(float *o, int64_t n, float s)
{
    int64_t d = 0;
    for (; d + 16 <= n; d += 16) vf_store(o + d, vf_mul(vf_load(o + d), vf_set(s)));
    if (d < n) vf_store_n(o + d, vf_mul(vf_load_n(o + d, (int)(n - d)), vf_set(s)), (int)(n - d));
}

/* Asks for n_row pieces of `bytes`, `step` bytes apart. */
static inline void fetch_rows(const void *p, int64_t n_row, size_t bytes, size_t step)
{
    for (int64_t r = 0; r < n_row; r++)
        for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)p + (size_t)r * step + i);
}

/* What single rows wait for is memory: the values are asked for while the softmax runs, the next keys
 * [d_k][64] (NULL: none; n_next of the
 * 64 columns) before P V. */
typedef struct ahead {
    const float *next_kt;
    int64_t      n_next;
} ahead;

/* One block of keys against rows of one key head: row r has position pos0 + r step (step 0: the heads of one
 * position); key0 is the position of the block. S is scratch of [SOFT_ROWS][64]. kt [d_k][64]; v rows of ldv
 * floats, the first one of the block. o, m, l go on from the blocks before. then: see above, or NULL. */
static inline void attend_block(const tn_attention_params *p, const float *q, int64_t ldq, const float *kt,
                                const float *v, int64_t ldv, int64_t pos0, int64_t step, int64_t n_row,
                                int64_t key0, float *o, int64_t ldo, float *m, float *l, float *s,
                                const ahead *then)
{
    for (int64_t r = 0; r < n_row; r += SOFT_ROWS) {
        int64_t mr = tn_min64(SOFT_ROWS, n_row - r), width = 0;
        int32_t lo[SOFT_ROWS], hi[SOFT_ROWS];
        for (int64_t i = 0; i < mr; i++) {
            int64_t pos = pos0 + (r + i) * step;
            lo[i] = (int32_t)tn_max64(0, tn_attn_first(p, pos) - key0);
            hi[i] = (int32_t)tn_min64(BLOCK, pos + 1 - key0);
            if (lo[i] >= hi[i]) lo[i] = hi[i] = 0;
            width = tn_max64(width, hi[i]);
        }
        if (width == 0) continue;
        tile_job qk = { .c = s, .a = q + r * ldq, .b = kt, .ldc = BLOCK, .ars = ldq, .aks = 1, .ldb = BLOCK };
        for (int64_t i = 0; i < mr; i += TILE_M)
            tile_some(tn_min64(TILE_M, mr - i), &qk, i, tn_round_up(width, 16), 0, p->d_k);
        if (then != NULL && r == 0) fetch_rows(v, width, (size_t)p->d_v * 4, (size_t)ldv * 4);
        float corr[16];
        bool  whole = true;
        for (int64_t i = 0; i < mr; i++) whole &= lo[i] == 0 && hi[i] == BLOCK;
        if (p->softcap > 0.0f) soften(s, mr, lo, hi, p, false, true, m + r, l + r, corr);
        else if (whole) soften(s, mr, lo, hi, p, true, false, m + r, l + r, corr);
        else soften(s, mr, lo, hi, p, false, false, m + r, l + r, corr);
        for (int64_t i = 0; i < mr; i++)
            if (corr[i] != 1.0f) scale_row(o + (r + i) * ldo, p->d_v, corr[i]);
        if (then != NULL && then->next_kt != NULL && r == 0)
            fetch_rows(then->next_kt, p->d_k, (size_t)then->n_next * 4, BLOCK * 4);
        tile_job pv = {
            .c = o + r * ldo, .a = s, .b = v, .ldc = ldo, .ars = BLOCK, .aks = 1, .ldb = ldv, .load = true
        };
        tile_ranges(&pv, 0, mr, p->d_v, lo, hi);
    }
}

/* out = o / l */
static inline void divide_row(float *out, const float *o, int64_t n, float l)
{
    vf      div = vf_set(l);
    int64_t d = 0;
    for (; d + 16 <= n; d += 16) vf_store(out + d, vf_div(vf_load(o + d), div));
    if (d < n) vf_store_n(out + d, vf_div(vf_load_n(o + d, (int)(n - d)), div), (int)(n - d));
}

#endif
