/* bench_matmul.c - is the fixed order slower than a BLAS? fp32 products in all three transposes against OpenBLAS in the same
 * run, alternating, medians; each also as a ratio to the FMA peak.
 *
 *   OPENBLAS_CORETYPE=SKYLAKEX bench_matmul [threads] [repeats]
 *
 * OpenBLAS is looked for when the program runs; without it only the ratios to the peak are printed. Its core type is forced
 * from outside because it does not choose its AVX-512 kernels on every CPU that has them. Columns: ours over the peak, ours
 * over OpenBLAS. "packed": weights packed beforehand (inference); the other three pack within the call (training). */
#include "base/cpu.h"
#include "base/machine.h"
#include "base/thread.h"
#include "tensor/tensor.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*sgemm_fn)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                         const float *b, int ldb, float beta, float *c, int ldc);
enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112, MAX_REPEAT = 200, N_WAY = 4 };

static const char *const ways[N_WAY] = {"packed", "y = x w^T", "dx = dy w", "dw = dy^T x"};

static void *numbers(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);

    if (p == NULL) exit(1);
    for (size_t i = 0; i < n; i++) p[i] = (float)((i * 2654435761u >> 8) % 2001) / 1000.0f - 1.0f;
    return p;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

static void ours(tn_call *c, int way)
{
    c->din[0] = way == 2 ? c->in[2] : NULL;
    c->din[1] = way == 3 ? c->in[3] : NULL;
    if (way < 2) tn_op_forward(c);
    else tn_op_backward(c);
}

static void theirs(sgemm_fn sgemm, const tn_call *c, int way, int m, int n, int k)
{
    const float *x = c->in[0]->data, *w = c->in[1]->data;
    float       *y = c->out[0]->data, *dx = c->in[2]->data, *dw = c->in[3]->data;

    if (way < 2) sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, m, n, k, 1, x, k, w, k, 0, y, n);
    if (way == 2) sgemm(ROW_MAJOR, PLAIN, PLAIN, m, k, n, 1, y, n, w, k, 0, dx, k);
    if (way == 3) sgemm(ROW_MAJOR, TRANSPOSED, PLAIN, n, k, m, 1, y, n, x, k, 1, dw, k);
}

static void shape_run(sgemm_fn sgemm, int m, int n, int k, int n_repeat)
{
    tn_matmul_params params = {TN_PROFILE_STRICT};
    tn_weight       *packed;
    tn_tensor        x = {.n_dim = 2, .shape = {m, k}}, w = {.n_dim = 2, .shape = {n, k}}, y = {.n_dim = 2, .shape = {m, n}}, dx = x, dw = w;
    double           t_ours[MAX_REPEAT], t_theirs[MAX_REPEAT], peak = tn_peak_f32(0.2), flops = 2.0 * m * n * k * 1e-9;

    x.data = numbers((size_t)m * (size_t)k), w.data = numbers((size_t)n * (size_t)k), y.data = numbers((size_t)m * (size_t)n);
    dx.data = numbers((size_t)m * (size_t)k), dw.data = numbers((size_t)n * (size_t)k);
    if (tn_weight_pack(&packed, w.data, TN_F32, n, k, TN_PROFILE_STRICT, NULL) != TN_OK) exit(1);
    tn_call c = {.op = &tn_op_matmul, .params = &params, .n_in = 2, .n_out = 1, .in = {&x, &w, &dx, &dw}, .out = {&y}, .dout = {&y}};
    c.add[1] = true;
    c.scratch_bytes = c.op->scratch(&c, true);
    c.scratch = aligned_alloc(64, (c.scratch_bytes + 63) / 64 * 64);
    if (c.scratch == NULL) exit(1);
    printf("%5d %5d %5d ", m, n, k);
    for (int way = 0; way < N_WAY; way++) {
        w.packed = way == 0 ? packed : NULL;
        for (int i = -1; i < n_repeat; i++) {                       /* the first pair warms up */
            double start = tn_now();
            ours(&c, way);
            double middle = tn_now();
            if (sgemm != NULL) theirs(sgemm, &c, way, m, n, k);
            if (i >= 0) t_ours[i] = middle - start, t_theirs[i] = tn_now() - middle;
        }
        double a = median(t_ours, n_repeat), b = median(t_theirs, n_repeat);
        printf("| %5.2f ", flops / a / peak);
        if (sgemm != NULL) printf("%5.2f ", b / a);
    }
    printf("| peak %.0f GFLOP/s\n", peak);
    tn_weight_free(packed);
    free(x.data), free(w.data), free(y.data), free(dx.data), free(dw.data), free(c.scratch);
}

int main(int argc, char **argv)
{
    static const int shapes[][3] = {{1024, 768, 768}, {1024, 3072, 768}, {1024, 768, 3072}, {512, 1536, 576}, {2048, 2048, 2048}};
    int              threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : tn_threads_default();
    int              n_repeat = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 15;
    char             text[16];

    if (threads < 1 || n_repeat < 1 || n_repeat > MAX_REPEAT || tn_threads_set(threads, NULL) != TN_OK) {
        fprintf(stderr, "bench_matmul [threads] [repeats up to %d]\n", MAX_REPEAT);
        return 2;
    }
    snprintf(text, sizeof text, "%d", threads);
    setenv("OPENBLAS_NUM_THREADS", text, 1);
    void    *blas = dlopen("libopenblas.so.0", RTLD_NOW);
    sgemm_fn sgemm = NULL;
    char *(*core)(void) = NULL;
    if (blas != NULL) {
        *(void **)&sgemm = dlsym(blas, "cblas_sgemm");              /* POSIX's way: ISO C has no such conversion */
        *(void **)&core  = dlsym(blas, "openblas_get_corename");
    }
    printf("%s, %d threads, kernels %s, OpenBLAS %s\n", tn_cpu_name(), threads, tn_op_kernel(&tn_op_matmul)->name,
           sgemm == NULL ? "not found" : core != NULL ? core() : "found");
    printf("    M     N     K ");
    for (int way = 0; way < N_WAY; way++) printf("| %-11s ", ways[way]);
    printf("\n");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) shape_run(sgemm, shapes[i][0], shapes[i][1], shapes[i][2], n_repeat);
    return 0;
}
