/* bench_few.c - what do the products of one step of writing cost? All matrices of a 135M Llama, layer by
 * layer, each read once, times a few rows.
 *
 *   bench_few [rows] [threads] [repeats] [dtype] [profile]        8 2 30 q8_0 q8act
 *
 * One line a product: milliseconds a step (median), weight bytes a second, and that over the read bandwidth
 * measured before. Products of one input run together, as the engine runs them. */
#include "base/cpu.h"
#include "base/machine.h"
#include "base/thread.h"
#include "bench_util.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_LAYER = 30, EMBD = 576, KV = 192, FFN = 1536, VOCAB = 49152, MAX_REPEAT = 400, N_KIND = 5 };

static const struct {
    const char *name;
    int64_t     n_in, n_out[3];
    int         n;
} kinds[N_KIND] = {
    { "q k v", EMBD, { EMBD, KV, KV }, 3 }, { "o", EMBD, { EMBD }, 1 },
    { "gate up", EMBD, { FFN, FFN }, 2 },   { "down", FFN, { EMBD }, 1 },
    { "head", EMBD, { VOCAB }, 1 },
};

typedef struct product {
    tn_call   call[3];
    tn_tensor w[3], y[3];
    size_t    bytes;
} product;

static tn_dtype dtype_of(const char *name)
{
    for (int t = 0; t < TN_DTYPE_COUNT; t++)
        if (strcmp(tn_dtype_name((tn_dtype)t), name) == 0) return (tn_dtype)t;
    fprintf(stderr, "bench_few: no dtype %s\n", name);
    exit(2);
}

static void make(product *p, int kind, int64_t rows, tn_dtype t, tn_tensor *x, tn_matmul_params *params)
{
    for (int i = 0; i < kinds[kind].n; i++) {
        int64_t    n_in = kinds[kind].n_in, n_out = kinds[kind].n_out[i];
        float     *plain = numbers((size_t)(n_in * n_out));
        size_t     row_bytes = tn_row_bytes(t, n_in);
        uint8_t   *coded = malloc(row_bytes * (size_t)n_out);
        tn_weight *packed;
        for (int64_t r = 0; r < n_out; r++)
            tn_row_from_f32(coded + (size_t)r * row_bytes, plain + r * n_in, t, n_in);
        if (tn_weight_pack(&packed, coded, t, n_out, n_in, params->profile, NULL) != TN_OK) exit(1);
        p->bytes += row_bytes * (size_t)n_out;
        p->w[i] = (tn_tensor){ .dtype = t, .n_dim = 2, .shape = { n_out, n_in }, .packed = packed };
        p->y[i] = (tn_tensor){ .n_dim = 2,
                               .shape = { rows, n_out },
                               .data = numbers((size_t)(rows * n_out)) };
        p->call[i] = (tn_call){ .op = &tn_op_matmul,
                                .params = params,
                                .n_in = 2,
                                .n_out = 1,
                                .in = { x, &p->w[i] },
                                .out = { &p->y[i] } };
        p->call[i].scratch_bytes = tn_op_matmul.scratch(&p->call[i], false);
        p->call[i].scratch = aligned_alloc(64, (p->call[i].scratch_bytes + 63) / 64 * 64);
        free(plain);
        free(coded);
    }
}

static void run(product *p, int kind)
{
    const tn_call *calls[3] = { &p->call[0], &p->call[1], &p->call[2] };

    if (kinds[kind].n > 1) tn_op_matmul.together(calls, kinds[kind].n);
    else tn_op_forward(&p->call[0]);
}

int main(int argc, char **argv)
{
    static product   all[N_KIND][N_LAYER];
    static double    ms[N_KIND + 1][MAX_REPEAT];
    int64_t          rows = argc > 1 ? strtol(argv[1], NULL, 10) : 8;
    int              threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 2;
    int              n_repeat = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 30;
    tn_dtype         t = dtype_of(argc > 4 ? argv[4] : "q8_0");
    const char      *profile = argc > 5 ? argv[5] : "q8act";
    tn_matmul_params params = { TN_PROFILE_STRICT };
    size_t           bytes[N_KIND + 1] = { 0 };

    for (int p = 0; p < 3; p++)
        if (strcmp(tn_profile_name((tn_profile)p), profile) == 0) params.profile = (tn_profile)p;
    if (rows < 1 || n_repeat < 1 || n_repeat > MAX_REPEAT || tn_threads_set(threads, NULL) != TN_OK) return 2;
    tn_tensor x576 = { .n_dim = 2, .shape = { rows, EMBD }, .data = numbers((size_t)rows * EMBD) };
    tn_tensor x1536 = { .n_dim = 2, .shape = { rows, FFN }, .data = numbers((size_t)rows * FFN) };
    for (int layer = 0; layer < N_LAYER; layer++)
        for (int k = 0; k < N_KIND; k++)
            if (k < N_KIND - 1 || layer == 0)
                make(&all[k][layer], k, rows, t, kinds[k].n_in == FFN ? &x1536 : &x576, &params);
    tn_reader *reader;
    if (tn_reader_create(&reader, NULL) != TN_OK) return 1;
    /* not between steps: a step finds in the caches what the last one left */
    double limit = tn_reader_rate(reader, 0.2);
    tn_reader_destroy(reader);
    for (int i = -1; i < n_repeat; i++) { /* the first round warms up */
        int at = i < 0 ? 0 : i;
        for (int k = 0; k <= N_KIND; k++) ms[k][at] = 0;
        for (int layer = 0; layer < N_LAYER; layer++)
            for (int k = 0; k < N_KIND; k++) {
                if (k == N_KIND - 1 && layer < N_LAYER - 1) continue;
                product *p = &all[k][k == N_KIND - 1 ? 0 : layer];
                double   start = tn_now();
                run(p, k);
                double took = (tn_now() - start) * 1e3;
                ms[k][at] += took;
                ms[N_KIND][at] += took;
            }
    }
    for (int k = 0; k < N_KIND; k++)
        for (int layer = 0; layer < N_LAYER; layer++)
            bytes[k] += all[k][layer].bytes, bytes[N_KIND] += all[k][layer].bytes;
    printf("%s, %d threads, %lld rows, %s, %s; read %.1f GB/s\n", tn_op_kernel(&tn_op_matmul)->name, threads,
           (long long)rows, tn_dtype_name(t), profile, limit);
    for (int k = 0; k <= N_KIND; k++) {
        double m = median(ms[k], n_repeat);
        printf("%-8s %7.3f ms  %6.1f GB/s  %5.2f\n", k < N_KIND ? kinds[k].name : "all", m,
               (double)bytes[k] / m * 1e-6, (double)bytes[k] / m * 1e-6 / limit);
    }
    return 0;
}
