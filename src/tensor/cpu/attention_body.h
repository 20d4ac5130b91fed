/* attention_body.h - attention, forward and backward, for one instruction set: included by attention_<isa>.c,
 * which names the exported functions. Private to tensor/cpu.
 *
 * Forward. A task is (document, key head, stretch of up to 512 query rows). For each key block it turns the
 * keys into columns once and then takes every query head of the group, twelve rows at a time:
 *
 *   S [12][64] = q K^T  →  softmax pieces  →  P [12][64]  →  o [12][d_v] = o corr + P V
 *
 * Backward. A task is (document, key head, key blocks, query rows). For each key block and query head, 64
 * rows at a time:
 *
 *   P, W [64][64]  →  dv += P^T dout,  dk += W^T q,  dq += W k
 *
 * With enough (document, key head) pairs one task does all three; else dk, dv and dq are made by tasks of
 * their own, which computes the scores twice but keeps every thread busy. The chains are the same either
 * way. */
#include <stdatomic.h>

#include "tensor/cpu/attend.h"
#include "tensor/cpu/kernels.h"

enum { STRETCH = TN_ATTN_STRETCH };

typedef tn_attn_stretch stretch;

typedef struct plan {
    tn_attn         a;
    stretch        *list;
    int64_t         n_stretch, n_task, n_slot;
    char           *slots; /* one a thread */
    size_t          slot_bytes;
    bool            want_q, want_kv; /* backward: of this pass */
    _Atomic int64_t next;
} plan;

/* Whole documents, or stretches of them; the list lies at the front of the scratch. */
static void cut_documents(plan *t, int64_t rows)
{
    const tn_attn *a = &t->a;
    t->n_stretch = 0;
    for (int64_t i = 0, end; i < a->n_row; i = end) {
        int64_t start = tn_attn_start(a, i);
        for (end = i + 1; end < a->n_row && tn_attn_start(a, end) == start && start != end; end++) {
        }
        for (int64_t p = i - start; p < end - start; p += rows)
            t->list[t->n_stretch++] = (stretch){ (int32_t)start, (int32_t)end, (int32_t)p,
                                                 (int32_t)tn_min64(p + rows, end - start) };
    }
}

static void open_plan(plan *t, const tn_call *c, bool backward)
{
    tn_attn_open(&t->a, c, backward);
    char  *s = (char *)c->scratch + tn_attn_open_bytes(c);
    size_t list = tn_align64((size_t)t->a.n_row * sizeof(stretch)),
           left = c->scratch_bytes - tn_attn_open_bytes(c) - list;
    t->list = (stretch *)s;
    t->slots = s + list;
    t->slot_bytes = tn_attn_slot_bytes(t->a.p, backward);
    atomic_init(&t->next, 0);
    t->n_slot = (int64_t)(left / t->slot_bytes);
}

/* Tasks are taken one after the other, the last ones first: they see the most keys. Which thread takes which
 * changes nothing. */
static void run_plan(plan *t, int64_t n_task, tn_range_fn fn)
{
    t->n_task = n_task;
    atomic_store(&t->next, 0);
    tn_parallel(tn_min64(tn_min64(tn_threads(), t->n_slot), n_task), 1, fn, t);
}

/* A block [64][n] to rows that lie apart, and from them (keep), or zeros. Products read blocks many times:
 * heads side by side lie a power of two apart in many models, and such rows share a few places of the first
 * cache. */
static void rows_out(float *dst, int64_t ld, const float *src, int64_t n_row, int64_t n)
{
    for (int64_t r = 0; r < n_row; r++) memcpy(dst + r * ld, src + r * n, (size_t)n * 4);
}

static void rows_in(float *dst, const float *src, int64_t ld, int64_t n_row, int64_t n, bool keep)
{
    for (int64_t r = 0; r < n_row; r++) {
        if (keep && r + 8 < n_row)
            for (int64_t k = 0; k < n; k += 16) __builtin_prefetch(src + (r + 8) * ld + k);
        if (keep) memcpy(dst + r * n, src + r * ld, (size_t)n * 4);
        else memset(dst + r * n, 0, (size_t)n * 4);
    }
}

/* ------------------------------------------------------------------------------------------------ forward */

static void fwd_task(const plan *t, const stretch *z, int64_t g, float *slot)
{
    const tn_attn             *a = &t->a;
    const tn_attention_params *p = a->p;
    int64_t                    n_row = z->last - z->first;
    int64_t                    most = tn_attn_rows(p);
    int64_t                    rows = most * a->group;
    int64_t                    ldq = p->n_head * p->d_k;
    int64_t                    ldv = p->n_head_kv * p->d_v;
    float *kt = slot, *v = kt + p->d_k * BLOCK, *m = v + p->d_v * BLOCK, *l = m + rows, *s = l + rows,
          *o = s + SOFT_ROWS * BLOCK + 64;
    for (int64_t h = 0; h < a->group; h++)
        for (int64_t r = 0; r < n_row; r++) {
            m[h * most + r] = a->sinks != NULL ? a->sinks[g * a->group + h] : -INFINITY;
            l[h * most + r] = a->sinks != NULL ? 1.0f : 0.0f;
        }
    memset(o, 0, (size_t)(rows * p->d_v) * 4);
    for (int64_t b = tn_attn_first(p, z->first) / BLOCK; b * BLOCK < z->last; b++) {
        int64_t key0 = b * BLOCK, n_key = tn_min64(BLOCK, z->last - key0), row0 = z->start + key0;
        int64_t r0 = tn_max64(0, key0 - z->first); /* rows before the block do not see it */
        transpose_block(kt, a->k + (row0 * p->n_head_kv + g) * p->d_k, p->n_head_kv * p->d_k, n_key, p->d_k);
        rows_in(v, a->v + row0 * ldv + g * p->d_v, ldv, n_key, p->d_v, true);
        for (int64_t h = 0; h < a->group; h++)
            attend_block(p, a->q + (z->start + z->first + r0) * ldq + (g * a->group + h) * p->d_k, ldq, kt, v,
                         p->d_v, z->first + r0, 1, n_row - r0, key0, o + (h * most + r0) * p->d_v, p->d_v,
                         m + h * most + r0, l + h * most + r0, s, NULL);
    }
    for (int64_t h = 0; h < a->group; h++)
        for (int64_t r = 0; r < n_row; r++) {
            int64_t t_out = (z->start + z->first + r) * p->n_head + g * a->group + h;
            divide_row(a->out + t_out * p->d_v, o + (h * most + r) * p->d_v, p->d_v, l[h * most + r]);
            if (a->lse != NULL) a->lse[t_out] = m[h * most + r] + tn_logf(l[h * most + r]);
        }
}

static void fwd_worker(void *arg, int64_t begin, int64_t end, int i_thread)
{
    plan *t = arg;
    (void)end;
    (void)i_thread;
    for (int64_t i; (i = atomic_fetch_add(&t->next, 1)) < t->n_task;) {
        int64_t k = t->n_task - 1 - i;
        fwd_task(t, &t->list[k / t->a.p->n_head_kv], k % t->a.p->n_head_kv,
                 (float *)(t->slots + (size_t)begin * t->slot_bytes));
    }
}

void FWD(const tn_call *c)
{
    plan t = { .n_task = 0 };
    open_plan(&t, c, false);
    if (t.a.n_row == 0) return;
    int64_t rows = tn_attn_rows(t.a.p), n_kv = t.a.p->n_head_kv,
            enough = 4 * tn_min64(tn_threads(), t.n_slot);
    cut_documents(&t, rows);
    /* every thread wants something to do */
    for (; rows > BLOCK && t.n_stretch * n_kv < enough; cut_documents(&t, rows)) rows /= 2;
    run_plan(&t, t.n_stretch * n_kv, fwd_worker);
}

/* ----------------------------------------------------------------------------------------------- backward */

/* P and W of up to 64 rows of one head against one key block: rows from position pos0 on, whose first row is
 * `row`. */
static void weigh_block(const tn_attn *a, const float *kt, const float *vt, int64_t row, int64_t n_row,
                        int64_t h, const int32_t *hi, float *pm, float *wm)
{
    const tn_attention_params *p = a->p;
    int64_t                    ldq = p->n_head * p->d_k, ldo = p->n_head * p->d_v;
    for (int64_t r = 0; r < n_row; r += TILE_M) {
        int64_t mr = tn_min64(TILE_M, n_row - r), width = 0;
        for (int64_t i = r; i < r + mr; i++) width = tn_max64(width, hi[i]);
        width = tn_round_up(width, 16);
        tile_job s = { .c = pm,
                       .a = a->q + row * ldq + h * p->d_k,
                       .b = kt,
                       .ldc = BLOCK,
                       .ars = ldq,
                       .aks = 1,
                       .ldb = BLOCK };
        tile_job d = { .c = wm,
                       .a = a->dout + row * ldo + h * p->d_v,
                       .b = vt,
                       .ldc = BLOCK,
                       .ars = ldo,
                       .aks = 1,
                       .ldb = BLOCK };
        s.a += r * ldq;
        s.c += r * BLOCK;
        d.a += r * ldo;
        d.c += r * BLOCK;
        tile_some(mr, &s, 0, width, 0, p->d_k);
        tile_some(mr, &d, 0, width, 0, p->d_v);
        for (int64_t i = r; i < r + mr; i++) {
            vf lse = vf_set(a->lse[(row + i) * p->n_head + h]),
               delta = vf_set(a->delta[(row + i) * p->n_head + h]), scale = vf_set(p->scale);
            for (int64_t j = 0; j < width; j += 16) {
                float *ps = pm + i * BLOCK + j, *ws = wm + i * BLOCK + j;
                vf     x = vf_mul(vf_load(ps), scale), slope = vf_set(1.0f);
                if (p->softcap > 0.0f) {
                    vf c = vf_tanh(vf_div(x, vf_set(p->softcap)));
                    x = vf_mul(vf_set(p->softcap), c);
                    slope = vf_fnma(c, c, slope);
                }
                vf e = vf_prob(vf_sub(x, lse)), w = vf_mul(e, vf_sub(vf_load(ws), delta));
                if (p->softcap > 0.0f) w = vf_mul(w, slope);
                vf_store(ps, e);
                vf_store(ws, vf_mul(w, scale));
            }
        }
    }
}

/* Key blocks [b0, b1) of a document against its positions [i0, i1): what t->want_q and t->want_kv ask for. */
static void bwd_blocks(const plan *t, const stretch *z, int64_t g, int64_t b0, int64_t b1, int64_t i0,
                       int64_t i1, float *slot)
{
    const tn_attn             *a = &t->a;
    const tn_attention_params *p = a->p;
    int64_t len = z->end - z->start, ldk = p->n_head_kv * p->d_k, ldv = p->n_head_kv * p->d_v,
            ldq = p->n_head * p->d_k, ldo = p->n_head * p->d_v;
    float *kt = slot, *vt = kt + p->d_k * BLOCK, *dk = vt + p->d_v * BLOCK, *dv = dk + p->d_k * BLOCK,
          *pm = dv + p->d_v * BLOCK, *wm = pm + BLOCK * BLOCK;
    float *kb = wm + BLOCK * BLOCK, *qb = kb + p->d_k * BLOCK, *ob = qb + p->d_k * BLOCK;
    bool   do_k = t->want_kv && a->dk != NULL, do_v = t->want_kv && a->dv != NULL,
         do_q = t->want_q && a->dq != NULL;
    for (int64_t b = b0; b < b1; b++) {
        int64_t      key0 = b * BLOCK, n_key = tn_min64(BLOCK, len - key0), row0 = z->start + key0;
        const float *k = a->k + row0 * ldk + g * p->d_k, *v = a->v + row0 * ldv + g * p->d_v;
        transpose_block(kt, k, ldk, n_key, p->d_k);
        transpose_block(vt, v, ldv, n_key, p->d_v);
        if (do_q) rows_in(kb, k, ldk, n_key, p->d_k, true);
        if (do_k) rows_in(dk, a->dk + row0 * ldk + g * p->d_k, ldk, n_key, p->d_k, a->add_k);
        if (do_v) rows_in(dv, a->dv + row0 * ldv + g * p->d_v, ldv, n_key, p->d_v, a->add_v);
        int64_t until = p->window > 0 ? tn_min64(i1, key0 + n_key + p->window - 1) : i1;
        for (int64_t h = g * a->group; h < (g + 1) * a->group; h++)
            for (int64_t i = tn_max64(i0, key0); i < until; i += BLOCK) {
                int64_t n = tn_min64(BLOCK, until - i), row = z->start + i;
                int32_t lo[BLOCK], hi[BLOCK], from[BLOCK], to[BLOCK];
                for (int64_t r = 0; r < n; r++) {
                    lo[r] = (int32_t)tn_max64(0, tn_attn_first(p, i + r) - key0);
                    hi[r] = (int32_t)tn_min64(n_key, i + r + 1 - key0);
                    if (lo[r] > hi[r]) lo[r] = hi[r];
                }
                for (int64_t j = 0; j < n_key; j++) { /* rows that see key j */
                    from[j] = (int32_t)tn_max64(0, key0 + j - i);
                    to[j] = (int32_t)(p->window > 0 ? tn_min64(n, key0 + j + p->window - i) : n);
                    if (from[j] > to[j]) from[j] = to[j] = 0;
                }
                if (do_k) rows_in(qb, a->q + row * ldq + h * p->d_k, ldq, n, p->d_k, true);
                if (do_v) rows_in(ob, a->dout + row * ldo + h * p->d_v, ldo, n, p->d_v, true);
                weigh_block(a, kt, vt, row, n, h, hi, pm, wm);
                tile_job jv = { .c = dv,
                                .a = pm,
                                .b = ob,
                                .ldc = p->d_v,
                                .ars = 1,
                                .aks = BLOCK,
                                .ldb = p->d_v,
                                .load = true };
                tile_job jk = { .c = dk,
                                .a = wm,
                                .b = qb,
                                .ldc = p->d_k,
                                .ars = 1,
                                .aks = BLOCK,
                                .ldb = p->d_k,
                                .load = true };
                tile_job jq = { .c = a->dq + row * ldq + h * p->d_k,
                                .a = wm,
                                .b = kb,
                                .ldc = ldq,
                                .ars = BLOCK,
                                .aks = 1,
                                .ldb = p->d_k,
                                .load = true };
                if (do_v) tile_ranges(&jv, 0, n_key, p->d_v, from, to);
                if (do_k) tile_ranges(&jk, 0, n_key, p->d_k, from, to);
                if (do_q) tile_ranges(&jq, 0, n, p->d_k, lo, hi);
            }
        if (do_k) rows_out(a->dk + row0 * ldk + g * p->d_k, ldk, dk, n_key, p->d_k);
        if (do_v) rows_out(a->dv + row0 * ldv + g * p->d_v, ldv, dv, n_key, p->d_v);
    }
}

/* The queries' gradients start from zero, unless they continue. */
static void clear_dq(const plan *t, const stretch *z, int64_t g)
{
    const tn_attn             *a = &t->a;
    const tn_attention_params *p = a->p;
    if (!t->want_q || a->dq == NULL || a->add_q) return;
    for (int64_t i = z->first; i < z->last; i++)
        memset(a->dq + ((z->start + i) * p->n_head + g * a->group) * p->d_k, 0,
               (size_t)(a->group * p->d_k) * 4);
}

/* A stretch is a whole document, or (dk and dv alone) its key blocks, or (dq alone) its rows. */
static void bwd_worker(void *arg, int64_t begin, int64_t end, int i_thread)
{
    plan *t = arg;
    (void)end;
    (void)i_thread;
    for (int64_t i; (i = atomic_fetch_add(&t->next, 1)) < t->n_task;) {
        /* early keys and late queries see the most */
        int64_t        n_kv = t->a.p->n_head_kv, k = t->want_kv ? i : t->n_task - 1 - i;
        const stretch *z = &t->list[k / n_kv];
        float         *slot = (float *)(t->slots + (size_t)begin * t->slot_bytes);
        clear_dq(t, z, k % n_kv);
        if (t->want_kv)
            bwd_blocks(t, z, k % n_kv, z->first / BLOCK, (z->last + BLOCK - 1) / BLOCK, z->first,
                       z->end - z->start, slot);
        else
            bwd_blocks(t, z, k % n_kv, tn_attn_first(t->a.p, z->first) / BLOCK, (z->last + BLOCK - 1) / BLOCK,
                       z->first, z->last, slot);
    }
}

/* Time of the slowest thread when whole documents are the tasks, in units of all work divided evenly. */
static double imbalance(const plan *t, int64_t n_thread)
{
    double load[64] = { 0 }, total = 0, most = 0;
    if (n_thread > 64) n_thread = 64;
    for (int64_t k = 0; k < t->n_stretch * t->a.p->n_head_kv; k++) {
        const stretch *z = &t->list[k / t->a.p->n_head_kv];
        double         n = (double)(z->end - z->start);
        double         w = (double)t->a.p->window;
        double         cost = w > 0 && w < n ? n * w : n * n / 2;
        int64_t        best = 0;
        for (int64_t i = 1; i < n_thread; i++)
            if (load[i] < load[best]) best = i;
        load[best] += cost + 64 * n;
        total += cost + 64 * n;
        most = load[best] > most ? load[best] : most;
    }
    return total > 0 ? most * (double)n_thread / total : 1;
}

static void delta_worker(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_attn *a = arg;
    int64_t        n = a->p->d_v;
    (void)i_thread;
    for (int64_t t = begin; t < end; t++) {
        vf      s = vf_zero();
        int64_t d = 0;
        for (; d + 16 <= n; d += 16) s = vf_fma(vf_load(a->dout + t * n + d), vf_load(a->out + t * n + d), s);
        if (d < n)
            s = vf_sel(vm_range(0, (int)(n - d)),
                       vf_fma(vf_load_n(a->dout + t * n + d, (int)(n - d)),
                              vf_load_n(a->out + t * n + d, (int)(n - d)), s),
                       s);
        a->delta[t] = vf_sum(s);
    }
}

void BWD(const tn_call *c)
{
    plan t = { .n_task = 0 };
    open_plan(&t, c, true);
    if (t.a.n_row == 0) return;
    tn_parallel(t.a.n_row * t.a.p->n_head, 64, delta_worker, &t.a);
    int64_t n_thread = tn_min64(tn_threads(), t.n_slot), n_kv = t.a.p->n_head_kv;
    cut_documents(&t, INT32_MAX);
    if (imbalance(&t, n_thread) <= 1.4) {
        t.want_q = t.want_kv = true;
        run_plan(&t, t.n_stretch * n_kv, bwd_worker);
    } else {
        t.want_kv = true;
        cut_documents(&t, BLOCK);
        run_plan(&t, t.n_stretch * n_kv, bwd_worker);
        t.want_kv = false;
        t.want_q = true;
        cut_documents(&t, STRETCH);
        run_plan(&t, t.n_stretch * n_kv, bwd_worker);
    }
    if (t.a.dsinks != NULL) tn_attention_dsinks(&t.a);
}
