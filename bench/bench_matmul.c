/* bench_matmul.c - is the fixed order slower than a library? fp32 products in all three transposes against
 * OpenBLAS and oneDNN, in turn with the FMA peak: peak, ours, OpenBLAS, oneDNN, peak, ours ...; medians.
 *
 *   bench_matmul [threads] [repeats]
 *
 * OpenBLAS is looked for when the program runs, oneDNN when it is built. OpenBLAS does not choose its AVX-512
 * kernels on every CPU that has them: its core type is forced to SKYLAKEX where the CPU has AVX-512. The
 * libraries' threads go on spinning for a while after a call, which would slow whoever comes next: everybody
 * starts after a pause, and the median of three calls in a row counts. Columns: ours over the peak; ours over
 * OpenBLAS; ours over oneDNN. "packed": weights packed beforehand (inference); OpenBLAS has no such form. The
 * other three pack within the call (training); of oneDNN the better of taking the weights as they lie and
 * bringing them into its own layout each time. */
#include "base/cpu.h"
#include "base/machine.h"
#include "base/thread.h"
#include "bench_util.h"
#include "onednn.h"
#include "tensor/tensor.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*sgemm_fn)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);
enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112, MAX_REPEAT = 200, N_WAY = 4 };
enum { PAUSE_US = 50000 }; /* longer than anybody's threads spin (OpenBLAS's: 32 ms by default) */

static const char *const ways[N_WAY] = { "packed", "y = x w^T", "dx = dy w", "dw = dy^T x" };

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

/* The product of `way` by oneDNN: dw adds to what is there, as ours does. */
static onednn *third(const tn_call *c, int way, int64_t m, int64_t n, int64_t k, onednn_how how)
{
    const float *x = c->in[0]->data, *w = c->in[1]->data, *dy = c->out[0]->data;

    if (way < 2)
        return onednn_create(m, n, k, x, (int64_t[]){ k, 1 }, w, (int64_t[]){ 1, k }, c->out[0]->data, false,
                             way == 0 ? ONEDNN_PACKED : how);
    if (way == 2)
        return onednn_create(m, k, n, dy, (int64_t[]){ n, 1 }, w, (int64_t[]){ k, 1 }, c->in[2]->data, false,
                             how);
    return onednn_create(n, k, m, dy, (int64_t[]){ 1, n }, x, (int64_t[]){ k, 1 }, c->in[3]->data, true, how);
}

typedef struct times {
    double peak[MAX_REPEAT], ours[MAX_REPEAT], blas[MAX_REPEAT], plain[MAX_REPEAT], packs[MAX_REPEAT];
} times;

/* Who runs, and what: the libraries' calls behind one door. */
typedef struct turn {
    sgemm_fn   sgemm;
    onednn    *dnn;
    tn_call   *c;
    int        way;
    const int *mnk;
} turn;

static void turn_run(const turn *t)
{
    if (t->dnn != NULL) onednn_run(t->dnn);
    else if (t->sgemm != NULL) theirs(t->sgemm, t->c, t->way, t->mnk[0], t->mnk[1], t->mnk[2]);
    else ours(t->c, t->way);
}

static double turn_time(const turn *t)
{
    double s[3];

    usleep(PAUSE_US);
    for (int i = 0; i < 3; i++) {
        double start = tn_now();
        turn_run(t);
        s[i] = tn_now() - start;
    }
    return median(s, 3);
}

/* One way of one shape: a round measures everything once. */
static void way_run(times *t, sgemm_fn sgemm, tn_call *c, int way, const int mnk[3], int n_repeat)
{
    onednn *plain = third(c, way, mnk[0], mnk[1], mnk[2], ONEDNN_PLAIN),
           *packs = third(c, way, mnk[0], mnk[1], mnk[2], ONEDNN_PACKS);
    double flops = 2.0 * mnk[0] * mnk[1] * mnk[2] * 1e-9, ratio[MAX_REPEAT], by_blas[MAX_REPEAT];

    for (int i = -1; i < n_repeat; i++) { /* the first round warms up */
        int  at = i < 0 ? 0 : i;
        turn us = { .c = c, .way = way }, blas = { sgemm, NULL, c, way, mnk },
             dnn[2] = { { .dnn = plain }, { .dnn = packs } };
        usleep(PAUSE_US);
        t->peak[at] = tn_peak_f32(0.01);
        t->ours[at] = turn_time(&us);
        if (sgemm != NULL) t->blas[at] = turn_time(&blas);
        if (plain != NULL) t->plain[at] = turn_time(&dnn[0]);
        if (packs != NULL) t->packs[at] = turn_time(&dnn[1]);
    }
    for (int i = 0; i < n_repeat; i++)
        ratio[i] = flops / t->ours[i] / t->peak[i], by_blas[i] = t->blas[i] / t->ours[i];
    double best = packs == NULL || (plain != NULL && median(t->plain, n_repeat) < median(t->packs, n_repeat))
                      ? median(t->plain, n_repeat)
                      : median(t->packs, n_repeat);
    printf("| %5.2f ", median(ratio, n_repeat));
    printf(sgemm != NULL ? "%5.2f " : "    - ", median(by_blas, n_repeat));
    printf(plain != NULL || packs != NULL ? "%5.2f " : "    - ", best / median(t->ours, n_repeat));
    fflush(stdout);
    onednn_destroy(plain);
    onednn_destroy(packs);
}

static void shape_run(sgemm_fn sgemm, int m, int n, int k, int n_repeat)
{
    static times     t;
    tn_matmul_params params = { TN_PROFILE_STRICT };
    tn_weight       *packed;
    tn_tensor        x = { .n_dim = 2, .shape = { m, k } };
    tn_tensor        w = { .n_dim = 2, .shape = { n, k } };
    tn_tensor        y = { .n_dim = 2, .shape = { m, n } };
    tn_tensor        dx = x;
    tn_tensor        dw = w;

    x.data = numbers((size_t)m * (size_t)k), w.data = numbers((size_t)n * (size_t)k),
    y.data = numbers((size_t)m * (size_t)n);
    dx.data = numbers((size_t)m * (size_t)k), dw.data = numbers((size_t)n * (size_t)k);
    if (tn_weight_pack(&packed, w.data, TN_F32, n, k, TN_PROFILE_STRICT, NULL) != TN_OK) exit(1);
    tn_call c = { .op = &tn_op_matmul,
                  .params = &params,
                  .n_in = 2,
                  .n_out = 1,
                  .in = { &x, &w, &dx, &dw },
                  .out = { &y },
                  .dout = { &y } };
    c.add[1] = true;
    c.scratch_bytes = c.op->scratch(&c, true);
    c.scratch = aligned_alloc(64, (c.scratch_bytes + 63) / 64 * 64);
    if (c.scratch == NULL) exit(1);
    printf("%5d %5d %5d ", m, n, k);
    for (int way = 0; way < N_WAY; way++) {
        w.packed = way == 0 ? packed : NULL;
        way_run(&t, sgemm, &c, way, (int[]){ m, n, k }, n_repeat);
    }
    printf("| peak %.0f GFLOP/s\n", median(t.peak, n_repeat));
    tn_weight_free(packed);
    free(x.data), free(w.data), free(y.data), free(dx.data), free(dw.data), free(c.scratch);
}

int main(int argc, char **argv)
{
    static const int shapes[][3] = {
        { 1024, 768, 768 }, { 1024, 3072, 768 },  { 1024, 768, 3072 },
        { 512, 1536, 576 }, { 2048, 2048, 2048 },
    };
    int  threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : tn_threads_default();
    int  n_repeat = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 15;
    char text[16];

    if (threads < 1 || n_repeat < 1 || n_repeat > MAX_REPEAT || tn_threads_set(threads, NULL) != TN_OK) {
        fprintf(stderr, "bench_matmul [threads] [repeats up to %d]\n", MAX_REPEAT);
        return 2;
    }
    snprintf(text, sizeof text, "%d", threads);
    setenv("OPENBLAS_NUM_THREADS", text, 1);
    setenv("OPENBLAS_THREAD_TIMEOUT", "24", 1); /* 2^24 cycles: not longer than a few calls */
    if (tn_cpu_avx512()) setenv("OPENBLAS_CORETYPE", "SKYLAKEX", 1);
    void (*omp_threads)(int);
    /* oneDNN's threads; its runtime has read the environment */
    *(void **)&omp_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    if (omp_threads != NULL) omp_threads(threads);
    void    *blas = dlopen("libopenblas.so.0", RTLD_NOW);
    sgemm_fn sgemm = NULL;
    char *(*core)(void) = NULL;
    if (blas != NULL) {
        *(void **)&sgemm = dlsym(blas, "cblas_sgemm"); /* POSIX's way: ISO C has no such conversion */
        *(void **)&core = dlsym(blas, "openblas_get_corename");
    }
    printf("%s, %d threads, kernels %s, OpenBLAS %s, oneDNN %s\n", tn_cpu_name(), threads,
           tn_op_kernel(&tn_op_matmul)->name,
           sgemm == NULL  ? "not found"
           : core != NULL ? core()
                          : "found",
           onednn_name());
    printf("    M     N     K ");
    for (int way = 0; way < N_WAY; way++) printf("| %-17s ", ways[way]);
    printf("\n                  ");
    for (int way = 0; way < N_WAY; way++) printf("|  peak  BLAS   DNN ");
    printf("\n");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        shape_run(sgemm, shapes[i][0], shapes[i][1], shapes[i][2], n_repeat);
    return 0;
}
