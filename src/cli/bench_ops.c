/* bench_ops.c - the operations that decide how fast training and decoding are, each as a ratio to the
 * machine's limit: matrix products, matrix times one row, attention, and the head with its loss.
 *
 * A benchmark lays its tensors into an arena, asks the operation's own shape and scratch rules for the rest,
 * and times tn_op_forward or tn_op_backward: the same calls that the graph makes. */
#include "cli/bench.h"

#include "base/arena.h"
#include "base/cpu.h"
#include "base/machine.h"
#include "base/rng.h"
#include "base/thread.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t ARENA_BYTES = (size_t)6 << 30; /* address space; pages are touched when used */

typedef struct job {
    tn_arena  a;
    tn_call   c;
    tn_tensor t[2 * (TN_MAX_IN + TN_MAX_OUT)]; /* what c points to */
    int       n_t;
    bool      backward;
} job;

static void fill(void *arg, int64_t begin, int64_t end, int i_thread)
{
    float *p = arg;

    (void)i_thread;
    for (int64_t i = begin; i < end; i++) { /* cheap, seeded, about N(0, 1/3) */
        uint64_t h = (uint64_t)i * 0x9e3779b97f4a7c15u;
        p[i] = (float)((int64_t)(h >> 40) - (1 << 23)) * 0x1p-23f;
    }
}

/* A tensor of [rows][cols] (rows 0: [cols]); f32 is filled, the rest is zero. NULL and c full if there is no
 * room. */
static tn_tensor *tensor(job *j, tn_dtype type, int64_t rows, int64_t cols)
{
    tn_tensor *t = &j->t[j->n_t++];

    *t = (tn_tensor){ .dtype = type, .n_dim = rows > 0 ? 2 : 1, .shape = { rows > 0 ? rows : cols, cols } };
    t->data = tn_arena_get(&j->a, (size_t)(rows > 0 ? rows : 1), tn_row_bytes(type, cols));
    if (t->data != NULL && type == TN_F32) tn_parallel(tn_n_elem(t), 4096, fill, t->data);
    return t;
}

static tn_status job_begin(job *j, const tn_op *op, const void *params, tn_error *err)
{
    memset(j, 0, sizeof *j);
    tn_ops_choose(true); /* as planning a graph does: no wrong kernel is measured */
    j->c.op = op;
    j->c.params = params;
    return tn_arena_init(&j->a, ARENA_BYTES, err);
}

/* Inputs are in place: makes the outputs, the gradients that `grad` names (bit i: of in[i]), and the scratch
 * memory. */
static tn_status job_ready(job *j, int n_in, int n_out, uint32_t grad, tn_error *err)
{
    tn_call *c = &j->c;

    c->n_in = n_in;
    c->n_out = n_out;
    for (int i = 0; i < n_out; i++) c->out[i] = &j->t[j->n_t++];
    TN_TRY(c->op->shape(c, err));
    for (int i = 0; i < n_out; i++) {
        tn_tensor *o = c->out[i];
        o->data = tn_arena_get(&j->a, 1, tn_n_bytes(o));
    }
    if (grad != 0) c->dout[0] = tensor(j, TN_F32, tn_rows(c->out[0]), tn_cols(c->out[0]));
    for (int i = 0; i < n_in; i++)
        if (grad & (1u << i)) c->din[i] = tensor(j, TN_F32, tn_rows(c->in[i]), tn_cols(c->in[i]));
    c->scratch_bytes = 0;
    for (int back = 0; c->op->scratch != NULL && back < 2; back++) {
        size_t n = back && grad == 0 ? 0 : c->op->scratch(c, back);
        if (n > c->scratch_bytes) c->scratch_bytes = n;
    }
    c->scratch = tn_arena_get(&j->a, 1, c->scratch_bytes);
    if (j->a.full)
        return tn_fail(err, TN_NOMEM, "the benchmark of %s needs more than %zu bytes", c->op->name,
                       ARENA_BYTES);
    return TN_OK;
}

static void job_run(void *arg)
{
    job *j = arg;

    if (j->backward) tn_op_backward(&j->c);
    else tn_op_forward(&j->c);
}

/* ----------------------------------------------------------------------------------------------- products */

typedef enum way { PACKED, ROWS, DX, DW } way;
static const char *const way_names[] = { "matmul", "matmul_rows", "matmul_dx", "matmul_dw" };

/* One product of m rows: y [m][n] = x [m][k] w[n][k]^T, or one of its two gradients. */
static tn_status product_begin(job *j, const tn_matmul_params *params, tn_weight **packed, int64_t m,
                               int64_t n, int64_t k, way how, tn_error *err)
{
    *packed = NULL;
    TN_TRY(job_begin(j, &tn_op_matmul, params, err));
    j->c.in[0] = tensor(j, TN_F32, m, k);
    j->c.in[1] = tensor(j, TN_F32, n, k);
    if (j->a.full)
        return tn_fail(err, TN_NOMEM, "no memory for a product of %lld x %lld x %lld", (long long)m,
                       (long long)n, (long long)k);
    if (how == PACKED) {
        TN_TRY(tn_weight_pack(packed, j->c.in[1]->data, TN_F32, n, k, params->profile, err));
        j->c.in[1]->packed = *packed;
    }
    TN_TRY(job_ready(j, 2, 1, how == DX ? 1u : how == DW ? 2u : 0, err));
    j->backward = how == DX || how == DW;
    return TN_OK;
}

static tn_status product_row(tn_bench *b, const int64_t mnk[3], way how, tn_profile profile, tn_error *err)
{
    bool             bf16 = profile == TN_PROFILE_STRICT_BF16;
    tn_matmul_params params = { profile };
    tn_weight       *packed;
    char             shape[64];
    job              j;
    tn_status        status = product_begin(&j, &params, &packed, mnk[0], mnk[1], mnk[2], how, err);

    snprintf(shape, sizeof shape, "%lldx%lldx%lld", (long long)mnk[0], (long long)mnk[1], (long long)mnk[2]);
    if (status == TN_OK)
        status = tn_bench_rate(b, way_names[how], shape, bf16 ? "bf16" : "f32",
                               2e-9 * (double)mnk[0] * (double)mnk[1] * (double)mnk[2], "GFLOP/s",
                               bf16 ? TN_LIMIT_BF16 : TN_LIMIT_F32, (tn_bench_job){ job_run, &j }, err);
    /* bf16 against the peak of the vector instruction above; where there is a matrix unit, also against the
     * unit's. */
    if (status == TN_OK && bf16 && tn_cpu_avx512_amx() && tn_isa_limit() == TN_ISA_AVX512)
        status = tn_bench_rate(b, "matmul_amx", shape, "bf16",
                               2e-9 * (double)mnk[0] * (double)mnk[1] * (double)mnk[2], "GFLOP/s",
                               TN_LIMIT_AMX, (tn_bench_job){ job_run, &j }, err);
    tn_weight_free(packed);
    tn_arena_free(&j.a);
    return status;
}

tn_status tn_bench_matmul(tn_bench *b, tn_error *err)
{
    static const int64_t shapes[][3] = {
        { 1024, 768, 768 }, { 1024, 3072, 768 },  { 1024, 768, 3072 },
        { 512, 1536, 576 }, { 2048, 2048, 2048 },
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (way how = PACKED; how <= DW; how++)
            TN_TRY(product_row(b, shapes[i], how, TN_PROFILE_STRICT, err));
        TN_TRY(product_row(b, shapes[i], PACKED, TN_PROFILE_STRICT_BF16, err));
    }
    return TN_OK;
}

/* One row times a matrix that no cache holds, so that reading is the limit: rows of 2304, as many as it
 * takes. */
static tn_status time_row(tn_bench *b, tn_dtype type, tn_profile profile, tn_error *err)
{
    enum { N_IN = 2304, SAMPLE = 64 };
    tn_matmul_params params = { profile };
    size_t           row = tn_row_bytes(type, N_IN), want = tn_cache_bytes() + tn_cache_bytes() / 4;
    int64_t          n_out;
    tn_weight       *packed = NULL;
    uint8_t         *rows = NULL;
    float           *values = NULL;
    char             shape[64];
    tn_status        status;
    job              j;

    if (want < (size_t)192 << 20) want = (size_t)192 << 20;
    n_out = (int64_t)(want / row / SAMPLE + 1) * SAMPLE;
    TN_TRY(job_begin(&j, &tn_op_matmul, &params, err));
    if ((rows = malloc((size_t)n_out * row)) == NULL ||
        (values = malloc(SAMPLE * N_IN * sizeof *values)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no %zu bytes for a matrix larger than the cache",
                         (size_t)n_out * row);
        goto out;
    }
    fill(values, 0, SAMPLE * N_IN, 0);
    /* the same few rows again and again: values do not change the time */
    for (int64_t r = 0; r < n_out; r += SAMPLE) {
        if (r == 0)
            for (int64_t i = 0; i < SAMPLE; i++)
                tn_row_from_f32(rows + (size_t)i * row, values + i * N_IN, type, N_IN);
        else memcpy(rows + (size_t)r * row, rows, SAMPLE * row);
    }
    TN_GOTO(tn_weight_pack(&packed, rows, type, n_out, N_IN, profile, err));
    free(rows);
    rows = NULL;
    j.c.in[0] = tensor(&j, TN_F32, 1, N_IN);
    j.c.in[1] = &j.t[j.n_t++];
    *j.c.in[1] = (tn_tensor){ .dtype = type, .n_dim = 2, .shape = { n_out, N_IN }, .packed = packed };
    TN_GOTO(job_ready(&j, 2, 1, 0, err));
    snprintf(shape, sizeof shape, "1x%lldx%d", (long long)n_out, (int)N_IN);
    status = tn_bench_rate(b, profile == TN_PROFILE_Q8ACT ? "matvec_q8act" : "matvec", shape,
                           tn_dtype_name(type), (double)n_out * (double)row * 1e-9, "GB/s", TN_LIMIT_READ,
                           (tn_bench_job){ job_run, &j }, err);
out:
    tn_weight_free(packed);
    free(rows);
    free(values);
    tn_arena_free(&j.a);
    return status;
}

tn_status tn_bench_matvec(tn_bench *b, tn_error *err)
{
    static const tn_dtype types[] = { TN_F32, TN_BF16, TN_Q8_0, TN_Q4_0, TN_Q4_K };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        TN_TRY(time_row(b, types[i], TN_PROFILE_STRICT, err));
    for (size_t i = 2; i < sizeof types / sizeof types[0]; i++)
        TN_TRY(time_row(b, types[i], TN_PROFILE_Q8ACT, err));
    return TN_OK;
}

/* ---------------------------------------------------------------------------------------------- attention */

tn_status tn_bench_attention(tn_bench *b, tn_error *err)
{
    enum { N_ROW = 1024, N_HEAD = 12, D = 64 };
    tn_attention_params params = {
        .n_head = N_HEAD, .n_head_kv = N_HEAD, .d_k = D, .d_v = D, .scale = 0.125f, .kv_type = TN_F32
    };
    /* A causal row sees half of the positions; two products of d multiply-adds each. Backward: five products
     * for two. */
    double    flops = 2.0 * 2.0 * N_HEAD * D * (double)N_ROW * (N_ROW + 1) / 2;
    tn_status status;
    job       j;

    TN_TRY(job_begin(&j, &tn_op_attention, &params, err));
    for (int i = 0; i < 3; i++) j.c.in[i] = tensor(&j, TN_F32, N_ROW, N_HEAD * D);
    j.c.in[3] = tensor(&j, TN_I32, 0, N_ROW); /* one document: every row's first row is 0 */
    TN_GOTO(job_ready(&j, 5, 2, 7, err));
    TN_GOTO(tn_bench_rate(b, "attention", "1024x12x64", "f32", flops * 1e-9, "GFLOP/s", TN_LIMIT_F32,
                          (tn_bench_job){ job_run, &j }, err));
    j.backward = true;
    status = tn_bench_rate(b, "attention_bwd", "1024x12x64", "f32", 2.5e-9 * flops, "GFLOP/s", TN_LIMIT_F32,
                           (tn_bench_job){ job_run, &j }, err);
out:
    tn_arena_free(&j.a);
    return status;
}

static void jobs_run(void *arg)
{
    for (int i = 0; i < 3; i++) job_run((job *)arg + i);
}

/* The head with its loss and both gradients, in time, against 1.15 times its three products. */
tn_status tn_bench_head(tn_bench *b, tn_error *err)
{
    enum { N_ROW = 512, N_EMBD = 576, N_VOCAB = 49152 };
    static const tn_matmul_params strict = { TN_PROFILE_STRICT };
    /* all three products */
    tn_head_params params = { .profile = TN_PROFILE_STRICT, .train = true, .add_dw = true };
    tn_status      status = TN_OK;
    job            j = { 0 }, product[3] = { 0 };
    tn_weight     *none;

    for (int i = 0; i < 3; i++)
        TN_GOTO(product_begin(&product[i], &strict, &none, N_ROW, N_VOCAB, N_EMBD, i + ROWS, err));
    product[2].c.add[1] = true;
    TN_GOTO(job_begin(&j, &tn_op_head_loss, &params, err));
    j.c.in[0] = tensor(&j, TN_F32, N_ROW, N_EMBD);
    j.c.in[1] = tensor(&j, TN_F32, N_VOCAB, N_EMBD);
    j.c.in[2] = tensor(&j, TN_I32, 0, N_ROW);
    j.c.in[3] = tensor(&j, TN_F32, 0, N_ROW);
    TN_GOTO(job_ready(&j, 4, 4, 0, err));
    for (int i = 0; i < N_ROW; i++) {
        ((int32_t *)j.c.in[2]->data)[i] = i * 90;
        ((float *)j.c.in[3]->data)[i] = 1.0f;
    }
    status = tn_bench_time_under(b, "head_loss", "512x49152x576", "f32", "ms", 1e3,
                                 (tn_bench_job){ job_run, &j }, (tn_bench_job){ jobs_run, product }, 1.15,
                                 err);
out:
    for (int i = 0; i < 3; i++) tn_arena_free(&product[i].a);
    tn_arena_free(&j.a);
    return status;
}
