/* attention_cache_body.h - attention over a KV cache for one instruction set: included by
 * attention_cache_<isa>.c.
 *
 * A task is (run of rows, key head): a run is up to 64 rows that continue one sequence. Pages are visited in
 * order; a page of another type than f32 is widened once for all rows and heads of the run. Runs take six
 * rows of one head at a time; single rows take six heads of the group, which share the keys. Private to
 * tensor/cpu.
 *
 * Writing text, every run is a single row of a sequence of its own: then a task stores its row and attends at
 * once, while the lines are there, and asks for the next task's keys before it ends. Otherwise a run may read
 * what another one stores, so all are stored first. */
#include <stdatomic.h>

#include "tensor/attention_cache.h"
#include "tensor/cpu/attend.h"
#include "tensor/cpu/kernels.h"

typedef struct plan {
    const tn_call  *c;
    int32_t        *run; /* first row of each run; one more at the end */
    int64_t         n_run;
    char           *slots;
    size_t          slot_bytes;
    bool            stores; /* tasks store their own rows */
    _Atomic int64_t next;
} plan;

/* Rows a and a + 1 are neighbours of one sequence. */
static bool continues(const tn_call *c, int64_t a)
{
    const int32_t *pos = tn_i32(c->in[3]), *pages = tn_i32(c->in[4]);
    int64_t        n = tn_cols(c->in[4]);
    return pos[a + 1] == pos[a] + 1 && memcmp(pages + a * n, pages + (a + 1) * n, (size_t)n * 4) == 0;
}

static void widen(float *dst, const uint8_t *codes, const uint8_t *scales, tn_dtype type, int64_t n_row,
                  int64_t n_col, bool transposed)
{
    if (type == TN_BF16) {
        for (int64_t i = 0; i < n_row * n_col; i += 16)
            vf_store(dst + i, vf_load_bf16((const uint16_t *)codes + i));
        return;
    }
    /* transposed: rows of 64 keys share a row of 64 scales a 32 rows; else every row has a scale a 32
     * columns */
    for (int64_t r = 0; r < n_row; r++)
        for (int64_t i = 0; i < n_col; i += 16) {
            const uint16_t *s = (const uint16_t *)scales +
                                (transposed ? r / 32 * n_col + i : r * (n_col / 32) + i / 32);
            vf scale = transposed ? vf_load_f16(s) : vf_set(_cvtsh_ss(*s));
            vf_store(dst + r * n_col + i, vf_mul(vf_load_i8((const int8_t *)codes + r * n_col + i), scale));
        }
}

/* The page's keys [d_k][64] and values [64][d_v] as f32: in place, or widened into kt and v. */
static void open_page(const tn_kv *kv, int64_t page, int64_t i_layer, int64_t g, float *kt, float *v,
                      const float **kt_out, const float **v_out)
{
    const uint8_t *at = tn_kv_at(kv, page, i_layer, g), *vt = at + kv->k_bytes + kv->k_scale_bytes;
    *kt_out = (const float *)at;
    *v_out = (const float *)vt;
    if (kv->type == TN_F32) return;
    widen(kt, at, at + kv->k_bytes, kv->type, kv->d_k, TN_KV_PAGE, true);
    widen(v, vt, vt + kv->v_bytes, kv->type, TN_KV_PAGE, kv->d_v, false);
    *kt_out = kt;
    *v_out = v;
}

static int32_t page_of(const tn_call *c, int64_t r, int64_t i)
{
    return tn_i32(c->in[4])[r * tn_cols(c->in[4]) + i];
}

/* The first keys of a task, and how many columns of them are used. */
static ahead first_keys(const plan *t, int64_t i)
{
    const tn_attention_cache_params *p = t->c->params;
    int64_t n_kv = p->a.n_head_kv, r = t->run[i / n_kv], pos = tn_i32(t->c->in[3])[r];
    if (!tn_attn_cache_row_ok(t->c, r)) return (ahead){ 0 };
    int64_t b = tn_attn_first(&p->a, pos) / BLOCK;
    return (ahead){ (const float *)tn_kv_at(p->kv, page_of(t->c, r, b), p->i_layer, i % n_kv),
                    tn_min64(BLOCK, pos + 1 - b * BLOCK) };
}

static void run_task(const plan *t, int64_t r0, int64_t n_row, int64_t g, float *slot, const ahead *after)
{
    const tn_call                   *c = t->c;
    const tn_attention_cache_params *cp = c->params;
    const tn_attention_params       *p = &cp->a;
    const float                     *sinks = c->n_in > 5 ? tn_f32(c->in[5]) : NULL;
    const int32_t                   *pages = tn_i32(c->in[4]) + r0 * tn_cols(c->in[4]);
    int64_t group = p->n_head / p->n_head_kv, pos0 = tn_i32(c->in[3])[r0], ldq = p->n_head * p->d_k;
    bool    by_head = n_row * 2 <= group || n_row == 1;
    float  *kt = slot, *v = kt + p->d_k * BLOCK, *m = v + p->d_v * BLOCK, *l = m + BLOCK * group,
          *s = l + BLOCK * group, *o = s + TN_ATTN_TILE * BLOCK;
    /* state [row][head] or [head][row], whatever lies together in a tile */
    int64_t row_step = by_head ? group : 1, head_step = by_head ? 1 : n_row;
    for (int64_t r = 0; r < n_row; r++)
        for (int64_t h = 0; h < group; h++) {
            m[r * row_step + h * head_step] = sinks != NULL ? sinks[g * group + h] : -INFINITY;
            l[r * row_step + h * head_step] = sinks != NULL ? 1.0f : 0.0f;
        }
    memset(o, 0, (size_t)(n_row * group * p->d_v) * 4);
    const float *q = tn_f32(c->in[0]) + r0 * ldq + g * group * p->d_k;
    for (int64_t b = tn_attn_first(p, pos0) / BLOCK; b * BLOCK <= pos0 + n_row - 1; b++) {
        const float *page_k, *page_v;
        int64_t      key0 = b * BLOCK, skip = tn_max64(0, key0 - pos0);
        open_page(cp->kv, pages[b], cp->i_layer, g, kt, v, &page_k, &page_v);
        int64_t     n_next = tn_min64(BLOCK, pos0 + n_row - key0 - BLOCK); /* keys of this run's next page */
        const ahead next_page = { n_next > 0 ? (const float *)tn_kv_at(cp->kv, pages[b + 1], cp->i_layer, g)
                                             : NULL,
                                  n_next };
        const ahead *then = cp->kv->type != TN_F32 ? NULL : n_next > 0 ? &next_page : after;
        if (by_head)
            for (int64_t r = skip; r < n_row; r++)
                attend_block(p, q + r * ldq, p->d_k, page_k, page_v, p->d_v, pos0 + r, 0, group, key0,
                             o + r * group * p->d_v, p->d_v, m + r * group, l + r * group, s, then);
        else
            for (int64_t h = 0; h < group; h++)
                attend_block(p, q + skip * ldq + h * p->d_k, ldq, page_k, page_v, p->d_v, pos0 + skip, 1,
                             n_row - skip, key0, o + (h * n_row + skip) * p->d_v, p->d_v,
                             m + h * n_row + skip, l + h * n_row + skip, s, NULL);
    }
    for (int64_t r = 0; r < n_row; r++)
        for (int64_t h = 0; h < group; h++) {
            int64_t i = r * row_step + h * head_step;
            divide_row(tn_f32(c->out[0]) + ((r0 + r) * p->n_head + g * group + h) * p->d_v, o + i * p->d_v,
                       p->d_v, l[i]);
        }
}

static void worker(void *arg, int64_t begin, int64_t end, int i_thread)
{
    plan                            *t = arg;
    const tn_attention_cache_params *p = t->c->params;
    int64_t                          n_kv = p->a.n_head_kv, n_task = t->n_run * n_kv, after;
    (void)end;
    (void)i_thread;
    for (int64_t i = atomic_fetch_add(&t->next, 1); i < n_task; i = after) {
        int64_t run = i / n_kv, g = i % n_kv, r0 = t->run[run], n = t->run[run + 1] - r0;
        ahead   then = { 0 };
        after = atomic_fetch_add(&t->next, 1);
        if (after < n_task && t->stores) then = first_keys(t, after);
        if (tn_attn_cache_row_ok(t->c, r0) && tn_attn_cache_row_ok(t->c, r0 + n - 1)) {
            if (t->stores) tn_attention_cache_store_one(t->c, r0, g);
            run_task(t, r0, n, g, (float *)(t->slots + (size_t)begin * t->slot_bytes), &then);
            continue;
        }
        int64_t group = p->a.n_head / n_kv; /* such runs are single rows, see cut_runs */
        float  *o = tn_f32(t->c->out[0]) + (r0 * p->a.n_head + g * group) * p->a.d_v;
        for (int64_t d = 0; d < group * p->a.d_v; d++) o[d] = NAN;
    }
}

/* Runs of at most 64 rows; a row that cannot be used stands alone. */
static void cut_runs(plan *t)
{
    int64_t n_row = tn_rows(t->c->in[0]);
    t->n_run = 0;
    for (int64_t i = 0, end; i < n_row; i = end) {
        t->run[t->n_run++] = (int32_t)i;
        end = i + 1;
        if (!tn_attn_cache_row_ok(t->c, i)) continue;
        while (end < n_row && end - i < BLOCK && continues(t->c, end - 1) && tn_attn_cache_row_ok(t->c, end))
            end++;
    }
    t->run[t->n_run] = (int32_t)n_row;
}

/* Single rows, none of which reads a page that another one stores into? Pages are told apart by their low
 * bits first. */
static bool rows_are_apart(const plan *t)
{
    enum { BITS = 1024 };
    const tn_call *c = t->c;
    const int32_t *pos = tn_i32(c->in[3]);
    int64_t        n = tn_rows(c->in[0]);
    uint64_t       stored[BITS / 64] = { 0 };
    if (t->n_run != n) return false;
    for (int64_t r = 0; r < n; r++) {
        if (!tn_attn_cache_row_ok(c, r)) continue;
        uint32_t bit = (uint32_t)page_of(c, r, pos[r] / BLOCK) % BITS;
        if (stored[bit / 64] >> bit % 64 & 1) return false;
        stored[bit / 64] |= 1ull << bit % 64;
    }
    for (int64_t r = 0; r < n; r++)
        for (int64_t b = tn_attn_cache_row_ok(c, r)
                             ? tn_attn_first(&TN_PARAMS(c, tn_attention_cache_params)->a, pos[r]) / BLOCK
                             : INT64_MAX;
             b < pos[r] / BLOCK; b++) {
            uint32_t bit = (uint32_t)page_of(c, r, b) % BITS;
            if (stored[bit / 64] >> bit % 64 & 1) return false;
        }
    return true;
}

void FWD(const tn_call *c)
{
    const tn_attention_params *p = &TN_PARAMS(c, tn_attention_cache_params)->a;
    plan                       t = { .c = c, .run = c->scratch, .slot_bytes = tn_attn_cache_slot_bytes(p) };
    size_t                     list = tn_align64((size_t)(tn_rows(c->in[0]) + 1) * 4);
    t.slots = (char *)c->scratch + list;
    if (tn_rows(c->in[0]) == 0) return;
    cut_runs(&t);
    t.stores = rows_are_apart(&t);
    if (!t.stores) tn_attention_cache_store(c);
    atomic_init(&t.next, 0);
    int64_t n_slot = (int64_t)((c->scratch_bytes - list) / t.slot_bytes);
    tn_parallel(tn_min64(tn_min64(tn_threads(), n_slot), t.n_run * p->n_head_kv), 1, worker, &t);
}
