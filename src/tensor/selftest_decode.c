/* selftest_decode.c - decoding = training: sequences fed to a KV cache in pieces, alone and batched with
 * others, give the bits of attention over whole documents, for every type of cache and every pair of
 * kernels. */
#include <stdio.h>

#include "base/log.h"
#include "tensor/kv.h"
#include "tensor/selftest.h"
#include "tensor/selftest_rig.h"

enum { N_A = 150, N_B = 71, N_ROW = N_A + N_B, N_PAGE_MAX = 3, N_PAGE = 8 };

typedef struct decode {
    tn_attention_params p;
    bool                sinks;
    uint64_t            seed; /* of random pieces; 0: the fixed ones */
    /* the start-up check: so many rows of A in one piece, then two of A and B; 0: the walk */
    int      n_run;
    tn_arena arena;
    float   *q, *k, *v, *sink, *want, *got, *q1, *k1, *v1, *o1;
    int32_t *start, *pos, *pages;
    void    *scratch;
    size_t   scratch_bytes;
    tn_kv   *kv;
} decode;

/* pages of sequence A and B, out of order */
static const int32_t page_of[2][N_PAGE_MAX] = { { 5, 0, 3 }, { 6, 2, 7 } };

static void lay_out(decode *d)
{
    tn_arena *a = &d->arena;
    int64_t   nq = N_ROW * d->p.n_head * d->p.d_k, nk = N_ROW * d->p.n_head_kv * d->p.d_k,
            nv = N_ROW * d->p.n_head_kv * d->p.d_v, no = N_ROW * d->p.n_head * d->p.d_v;
    d->q = TN_NEW(a, float, nq);
    d->k = TN_NEW(a, float, nk);
    d->v = TN_NEW(a, float, nv);
    d->q1 = TN_NEW(a, float, nq);
    d->k1 = TN_NEW(a, float, nk);
    d->v1 = TN_NEW(a, float, nv);
    d->want = TN_NEW(a, float, no);
    d->got = TN_NEW(a, float, no);
    d->o1 = TN_NEW(a, float, no);
    d->sink = TN_NEW(a, float, d->p.n_head);
    d->start = TN_NEW(a, int32_t, N_ROW);
    d->pos = TN_NEW(a, int32_t, N_ROW);
    d->pages = TN_NEW(a, int32_t, N_ROW * N_PAGE_MAX);
    d->scratch = d->scratch_bytes > 0 ? tn_arena_get(a, d->scratch_bytes, 1) : NULL;
}

static tn_tensor matrix(float *data, int64_t rows, int64_t cols)
{
    return (tn_tensor){ .dtype = TN_F32, .n_dim = 2, .shape = { rows, cols }, .data = data };
}
static tn_tensor ints(int32_t *data, int64_t rows, int64_t cols)
{
    return (tn_tensor){ .dtype = TN_I32, .n_dim = 2, .shape = { rows, cols }, .data = data };
}

static size_t scratch_of(const tn_op *op, const tn_call *c)
{
    return op->scratch == NULL ? 0 : op->scratch(c, false);
}

/* Whole documents with attention's kernel. */
static void whole(decode *d, const tn_kernel *kernel, size_t *scratch_bytes)
{
    const tn_attention_params *p = &d->p;
    tn_tensor q = matrix(d->q, N_ROW, p->n_head * p->d_k), k = matrix(d->k, N_ROW, p->n_head_kv * p->d_k),
              v = matrix(d->v, N_ROW, p->n_head_kv * p->d_v);
    tn_tensor start = ints(d->start, 1, N_ROW), sink = matrix(d->sink, 1, p->n_head),
              out = matrix(d->want, N_ROW, p->n_head * p->d_v);
    tn_call c = { .op = &tn_op_attention,
                  .params = p,
                  .n_in = 5,
                  .n_out = 1,
                  .in = { &q, &k, &v, &start, d->sinks ? &sink : NULL },
                  .out = { &out },
                  .scratch = d->scratch,
                  .scratch_bytes = d->scratch_bytes };
    if (scratch_bytes != NULL) *scratch_bytes = scratch_of(c.op, &c);
    else kernel->fwd(&c);
}

/* Rows of documents, given by their row number in the whole batch, with attention_cache's kernel. */
static void piece(decode *d, const tn_kernel *kernel, const int *rows, int n, size_t *scratch_bytes)
{
    const tn_attention_cache_params cp = { .a = d->p, .kv = d->kv, .i_layer = 1 };
    const tn_attention_params      *p = &d->p;
    int64_t nq = p->n_head * p->d_k, nk = p->n_head_kv * p->d_k, nv = p->n_head_kv * p->d_v,
            no = p->n_head * p->d_v;
    tn_tensor q = matrix(d->q1, n, nq), k = matrix(d->k1, n, nk), v = matrix(d->v1, n, nv),
              pos = ints(d->pos, 1, n), pages = ints(d->pages, n, N_PAGE_MAX);
    tn_tensor sink = matrix(d->sink, 1, p->n_head), out = matrix(d->o1, n, no);
    tn_call   c = { .op = &tn_op_attention_cache,
                    .params = &cp,
                    .n_in = 6,
                    .n_out = 1,
                    .in = { &q, &k, &v, &pos, &pages, d->sinks ? &sink : NULL },
                    .out = { &out },
                    .scratch = d->scratch,
                    .scratch_bytes = d->scratch_bytes };
    if (scratch_bytes != NULL) {
        *scratch_bytes = scratch_of(c.op, &c);
        return;
    }
    for (int i = 0; i < n; i++) {
        memcpy(d->q1 + i * nq, d->q + rows[i] * nq, (size_t)nq * 4);
        memcpy(d->k1 + i * nk, d->k + rows[i] * nk, (size_t)nk * 4);
        memcpy(d->v1 + i * nv, d->v + rows[i] * nv, (size_t)nv * 4);
        int seq = rows[i] >= N_A;
        d->pos[i] = seq ? rows[i] - N_A : rows[i];
        memcpy(d->pages + i * N_PAGE_MAX, page_of[seq], sizeof page_of[seq]);
    }
    kernel->fwd(&c);
    for (int i = 0; i < n; i++) memcpy(d->got + rows[i] * no, d->o1 + i * no, (size_t)no * 4);
}

/* Pieces that nobody chose: up to 8 rows of each, or sometimes up to 100, until both are done. */
static void in_random_pieces(decode *d, const tn_kernel *kernel, uint64_t seed)
{
    tn_draw draw = { .seed = seed };
    int     rows[N_ROW], a = 0, b = 0;
    while (a < N_A || b < N_B) {
        int  n = 0, most = tn_draw_below(&draw, 4) == 0 ? 100 : 8;
        int  from_a = (int)tn_draw_below(&draw, most), from_b = (int)tn_draw_below(&draw, most);
        bool b_first = tn_draw_yes(&draw);
        for (int i = 0; b_first && b < N_B && i < from_b; i++) rows[n++] = N_A + b++;
        for (int i = 0; a < N_A && i < from_a; i++) rows[n++] = a++;
        for (int i = 0; !b_first && b < N_B && i < from_b; i++) rows[n++] = N_A + b++;
        if (n > 0) piece(d, kernel, rows, n, NULL);
    }
}

/* A: 97 rows at once, B: 3; then both one by one, A also in runs of 5; the rest of the longer one alone. */
static void in_pieces(decode *d, const tn_kernel *kernel)
{
    int rows[N_ROW], n = 0, a = 97, b = 3;
    for (int i = 0; i < a; i++) rows[n++] = i;
    piece(d, kernel, rows, n, NULL);
    n = 0;
    for (int i = 0; i < b; i++) rows[n++] = N_A + i;
    piece(d, kernel, rows, n, NULL);
    for (int step = 0; a < N_A || b < N_B; step++) {
        n = 0;
        for (int i = 0; b < N_B && i < 1 + step % 3; i++) rows[n++] = N_A + b++;
        for (int i = 0; a < N_A && i < (step % 4 == 0 ? 5 : 1); i++) rows[n++] = a++;
        piece(d, kernel, rows, n, NULL);
    }
}

/* Rows in a run, then one by one. */
static void in_few_pieces(decode *d, const tn_kernel *kernel)
{
    int rows[N_A];
    for (int i = 0; i < d->n_run; i++) rows[i] = i;
    piece(d, kernel, rows, d->n_run, NULL);
    for (int i = 0; i < 2; i++) piece(d, kernel, (int[]){ d->n_run + i, N_A + i }, 2, NULL);
}

static bool is_used(const decode *d, int64_t row)
{
    return d->n_run == 0 || row < d->n_run + 2 || (row >= N_A && row < N_A + 2);
}

/* Memory, and numbers in the rows that are used. */
static tn_status prepare(decode *d, tn_error *err)
{
    d->arena = (tn_arena){ .cap = SIZE_MAX };
    lay_out(d);
    size_t a = 0, b = 0;
    whole(d, NULL, &a);
    piece(d, NULL, NULL, N_ROW, &b);
    d->scratch_bytes = a > b ? a : b;
    d->arena = (tn_arena){ .cap = SIZE_MAX };
    lay_out(d);
    TN_TRY(tn_arena_init(&d->arena, d->arena.used, err));
    lay_out(d);
    float  *fill[] = { d->q, d->k, d->v, d->sink };
    int64_t n[] = { d->p.n_head * d->p.d_k, d->p.n_head_kv * d->p.d_k, d->p.n_head_kv * d->p.d_v,
                    d->p.n_head };
    for (int t = 0; t < 4; t++)
        for (int64_t i = 0; i < (t < 3 ? N_ROW : 1) * n[t]; i++)
            if (is_used(d, i / n[t])) fill[t][i] = tn_rig_value(TN_NORMAL, 3 + (uint64_t)t, (uint64_t)i);
    for (int i = 0; i < N_ROW; i++) d->start[i] = i < N_A ? 0 : N_A;
    return TN_OK;
}

static tn_status run_case(decode *d, char *detail, size_t n_detail, bool *passed, tn_error *err)
{
    TN_TRY(prepare(d, err));
    for (const tn_kernel *k = tn_op_attention.kernels; k->name != NULL; k++) {
        if (!k->usable()) continue;
        whole(d, k, NULL);
        for (const tn_kernel *kc = tn_op_attention_cache.kernels; kc->name != NULL; kc++) {
            int64_t at = 0;
            if (!kc->usable()) continue;
            if (d->seed != 0) in_random_pieces(d, kc, d->seed);
            else in_pieces(d, kc);
            if (tn_same_bits(d->got, d->want, N_ROW * d->p.n_head * d->p.d_v, &at)) continue;
            if (*passed)
                snprintf(detail, n_detail,
                         "%s cache, attention %s, cache %s: element %lld of row %lld is %a, expected %a",
                         tn_dtype_name(d->p.kv_type), k->name, kc->name,
                         (long long)(at % (d->p.n_head * d->p.d_v)),
                         (long long)(at / (d->p.n_head * d->p.d_v)), (double)d->got[at], (double)d->want[at]);
            *passed = false;
        }
    }
    return TN_OK;
}

static tn_status one(decode *d, char *detail, size_t n_detail, bool *passed, tn_error *err)
{
    TN_TRY(tn_interrupted(err));
    TN_TRY(tn_kv_create(&d->kv, 2, d->p.n_head_kv, d->p.d_k, d->p.d_v, N_PAGE, d->p.kv_type, err));
    tn_status status = run_case(d, detail, n_detail, passed, err);
    tn_arena_free(&d->arena);
    tn_kv_destroy(d->kv);
    return status;
}

static decode drawn(uint64_t seed)
{
    static const tn_dtype kinds[] = { TN_F32, TN_BF16, TN_Q8_0 };
    tn_draw               d = { .seed = seed };
    int64_t               n_kv = 1 + tn_draw_below(&d, 3);
    tn_attention_params   p = { .n_head = n_kv * (1 + tn_draw_below(&d, 4)),
                                .n_head_kv = n_kv,
                                .kv_type = kinds[tn_draw_below(&d, 3)],
                                .scale = tn_draw_number(&d, 0.05f, 0.4f) };
    bool                  blocks = p.kv_type == TN_Q8_0;

    p.d_k = blocks ? 32 * (1 + tn_draw_below(&d, 3)) : tn_draw_size(&d, 80);
    p.d_v = blocks ? 32 * (1 + tn_draw_below(&d, 3)) : tn_draw_yes(&d) ? p.d_k : tn_draw_size(&d, 80);
    if (tn_draw_yes(&d)) p.window = tn_draw_size(&d, 140);
    if (tn_draw_below(&d, 3) == 0) p.softcap = tn_draw_number(&d, 1, 30);
    return (decode){ .p = p, .sinks = tn_draw_yes(&d), .seed = seed | 1 };
}

/* Kernel k against ref. */
static tn_status quick_case(decode *d, const tn_op *op, const tn_kernel *k, bool *passed, char *detail,
                            size_t n_detail, tn_error *err)
{
    int64_t no = d->p.n_head * d->p.d_v, at;
    TN_TRY(prepare(d, err));
    in_few_pieces(d, &op->kernels[0]);
    memcpy(d->want, d->got, (size_t)(N_ROW * no) * 4);
    in_few_pieces(d, k);
    for (int64_t row = 0; row < N_ROW && *passed; row++) {
        *passed = !is_used(d, row) || tn_same_bits(d->got + row * no, d->want + row * no, no, &at);
        if (!*passed)
            snprintf(detail, n_detail, "%s cache, element %lld of row %lld is %a, expected %a",
                     tn_dtype_name(d->p.kv_type), (long long)at, (long long)row,
                     (double)d->got[row * no + at], (double)d->want[row * no + at]);
    }
    return TN_OK;
}

bool tn_selftest_decode_quick(const tn_op *op, const tn_kernel *k, char *detail, size_t n_detail)
{
    static const struct {
        tn_attention_params p;
        bool                sinks;
        int                 n_run;
    } t[] = { { { 2, 1, 20, 9, 11, 0.3f, 4.0f, TN_F32 }, true, 67 },
              { { 4, 2, 16, 16, 0, 0.25f, 0, TN_BF16 }, false, 5 },
              { { 2, 2, 32, 64, 0, 0.2f, 0, TN_Q8_0 }, false, 9 } };
    bool      passed = true;
    tn_status status = TN_OK;
    for (size_t i = 0; i < sizeof t / sizeof *t && passed && status == TN_OK; i++) {
        decode   d = { .p = t[i].p, .sinks = t[i].sinks, .n_run = t[i].n_run };
        tn_error err;
        status = tn_kv_create(&d.kv, 2, d.p.n_head_kv, d.p.d_k, d.p.d_v, N_PAGE, d.p.kv_type, &err);
        if (status == TN_OK) status = quick_case(&d, op, k, &passed, detail, n_detail, &err);
        if (status != TN_OK) snprintf(detail, n_detail, "%s", err.msg);
        tn_arena_free(&d.arena);
        tn_kv_destroy(d.kv);
    }
    return passed;
}

tn_status tn_selftest_decode(int64_t rounds, uint64_t seed, tn_selftest_report report, void *arg,
                             tn_error *err)
{
    static const struct {
        tn_attention_params p;
        bool                sinks;
    } t[] = { { { 4, 2, 32, 32, 0, 0.2f, 0, TN_F32 }, false },
              { { 3, 1, 20, 9, 70, 0.3f, 4.0f, TN_F32 }, true },
              { { 2, 2, 64, 64, 0, 0.125f, 0, TN_BF16 }, false },
              { { 4, 2, 64, 32, 40, 0.125f, 0, TN_Q8_0 }, true } };
    char detail[300] = "", more[500] = "", what[80];
    bool passed = true;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        TN_TRY(one(&(decode){ .p = t[i].p, .sinks = t[i].sinks }, detail, sizeof detail, &passed, err));
    report(arg, "attention_cache", "decode = prefill = training", passed, detail);
    passed = true;
    for (int64_t i = 0; i < rounds && passed; i++) {
        decode d = drawn(seed + (uint64_t)i * 0x9e3779b97f4a7c15u);
        TN_TRY(one(&d, detail, sizeof detail, &passed, err));
        snprintf(more, sizeof more,
                 "--seed %llu, round %lld, %lld of %lld heads, %lld and %lld columns, window %lld: %s",
                 (unsigned long long)seed, (long long)i, (long long)d.p.n_head_kv, (long long)d.p.n_head,
                 (long long)d.p.d_k, (long long)d.p.d_v, (long long)d.p.window, detail);
    }
    snprintf(what, sizeof what, "%lld random caches and pieces", (long long)rounds);
    if (rounds > 0) report(arg, "attention_cache", what, passed, passed ? "" : more);
    return TN_OK;
}
