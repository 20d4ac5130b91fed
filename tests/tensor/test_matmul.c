/* test_matmul.c - the matrix product: every kernel set against the plain loops, bit for bit, on odd shapes
 * and ugly values; weights of every format; rows alone and in a batch; threads; and that a wrong kernel would
 * be seen. */
#include "base/cpu.h"
#include "base/thread.h"
#include "tensor/matmul.h"
#include "tensor/op_util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct set_row {
    const tn_mm_set *set;
    bool (*usable)(void);
} set_row;

static const set_row sets[] = {
    { &tn_mm_avx2, tn_cpu_avx2 },
    { &tn_mm_avx512, tn_cpu_avx512 },
    { &tn_mm_avx512_vnni, tn_cpu_avx512_vnni },
    { &tn_mm_avx512_bf16, tn_cpu_avx512_bf16 },
    { &tn_mm_avx512_amx, tn_cpu_avx512_amx },
};
enum { N_SET = sizeof sets / sizeof sets[0] };

static const tn_dtype weights[] = { TN_F32,  TN_F16,  TN_BF16, TN_Q8_0, TN_Q4_0, TN_Q4_1, TN_Q5_0,
                                    TN_Q5_1, TN_Q2_K, TN_Q3_K, TN_Q4_K, TN_Q5_K, TN_Q6_K, TN_MXFP4 };
enum { N_WEIGHT = sizeof weights / sizeof weights[0] };

static uint64_t state = 1;

static uint32_t next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/* Ugly 0: ordinary. 1: denormals, zeros of both signs, values whose products overflow or vanish. 2:
 * infinities, NaN. */
static float value(int ugly)
{
    static const float odd[] = { 1e-40f, -1e-41f, -0.0f,     0.0f,     3e38f,
                                 1e-30f, -2e-25f, 0x1p-126f, INFINITY, NAN };
    uint32_t           r = next() % 60;

    if (ugly > 0 && r < (ugly == 1 ? 8u : 10u)) return odd[r];
    return ((float)(next() % 20001) - 10000.0f) / 5000.0f;
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);

    assert_non_null(p);
    return p;
}

static float *filled(int64_t n, int ugly)
{
    float *x = room((size_t)n * sizeof *x);

    for (int64_t i = 0; i < n; i++) x[i] = value(ugly);
    return x;
}

/* Rows of any format. Codes are random bits; scales are ordinary numbers unless the case is as ugly as can
 * be. */
static uint8_t *weight_rows(tn_dtype t, int64_t n_out, int64_t n_in, int ugly)
{
    size_t   row = tn_row_bytes(t, n_in), block = tn_row_bytes(t, tn_dtype_block(t)), n = row * (size_t)n_out;
    uint8_t *rows = room(n);
    size_t at[2] = { t == TN_Q2_K ? 80 : t == TN_Q3_K ? 108 : t == TN_Q6_K ? 208 : 0, t == TN_Q2_K ? 82 : 2 };
    bool   two = t == TN_Q4_1 || t == TN_Q5_1 || t == TN_Q2_K || t == TN_Q4_K || t == TN_Q5_K;

    if (tn_dtype_block(t) == 1) {
        for (int64_t i = 0; i < n_out; i++) {
            float *x = filled(n_in, ugly);
            tn_row_from_f32(rows + (size_t)i * row, x, t, n_in);
            free(x);
        }
        return rows;
    }
    for (size_t i = 0; i < n; i++) rows[i] = (uint8_t)next();
    for (size_t b = 0; ugly < 2 && b < n; b += block)
        for (int j = 0; j < (two ? 2 : 1); j++) {
            uint16_t h = tn_f32_to_f16(value(0) / 16.0f);
            if (t == TN_MXFP4) rows[b] = (uint8_t)(120 + next() % 8);
            else memcpy(rows + b + at[j], &h, 2);
        }
    return rows;
}

static void assert_same(const char *what, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s: element %lld is %a, the definition says %a", what, (long long)i, (double)got[i],
                     (double)want[i]);
}

typedef struct shape {
    int64_t m, k, n;
} shape;

static int64_t whole_blocks(int64_t k, tn_dtype t)
{
    int64_t block = tn_dtype_block(t);

    return (k + block - 1) / block * block;
}

/* Runs mm by the definition into one buffer and by every usable set into another that starts with the same
 * bits. */
static void check(const char *what, tn_mm mm)
{
    int64_t n = mm.m * mm.ldc;
    float  *start = filled(n, mm.add ? 1 : 0), *want = room((size_t)n * 4), *got = room((size_t)n * 4);
    size_t  bytes = tn_mm_scratch_bytes(tn_threads(), mm.m, mm.k);
    void   *scratch = room(bytes);

    memcpy(want, start, (size_t)n * 4);
    mm.c = want;
    tn_mm_run_ref(&mm);
    for (int s = 0; s < N_SET; s++) {
        char text[300];
        if (!sets[s].usable()) continue;
        snprintf(text, sizeof text, "%s %s %lldx%lldx%lld%s profile %s", sets[s].set->name, what,
                 (long long)mm.m, (long long)mm.n, (long long)mm.k, mm.add ? " continued" : "",
                 tn_profile_name(mm.profile));
        memcpy(got, start, (size_t)n * 4);
        mm.c = got;
        tn_mm_run_set(sets[s].set, &mm, scratch, bytes);
        assert_same(text, got, want, n);
    }
    free(start);
    free(want);
    free(got);
    free(scratch);
}

static void every_set_equals_the_definition_with_packed_weights(void **unused)
{
    static const shape shapes[] = { { 1, 16, 40 }, { 2, 37, 19 }, { 3, 257, 70 },
                                    { 5, 64, 33 }, { 8, 96, 17 }, { 30, 544, 21 } };

    (void)unused;
    for (int ugly = 0; ugly < 3; ugly++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            for (int d = 0; d < N_WEIGHT; d++) {
                tn_dtype   t = weights[d];
                int64_t    m = shapes[i].m, k = whole_blocks(shapes[i].k, t), n = shapes[i].n;
                uint8_t   *rows = weight_rows(t, n, k, ugly);
                float     *x = filled(m * k, ugly), *dy = filled(m * n, ugly);
                tn_weight *w;
                assert_int_equal(tn_weight_pack(&w, rows, t, n, k, TN_PROFILE_STRICT, NULL), TN_OK);
                for (int p = 0; p < 3; p++) {
                    tn_profile profile = (tn_profile)p;
                    tn_mm      y = { .ldc = n,
                                     .a = { x, k, 1 },
                                     .b = { .kind = TN_MM_B_PACKED, .w = w },
                                     .m = m,
                                     .n = n,
                                     .k = k,
                                     .profile = profile };
                    check(tn_dtype_name(t), y);
                    y.n -= 9, y.b.first = 5; /* a slice that starts and ends inside panels */
                    check(tn_dtype_name(t), y);
                    tn_mm dx = { .ldc = k,
                                 .a = { dy, n, 1 },
                                 .b = { .kind = TN_MM_B_PACKED_T, .w = w },
                                 .m = m,
                                 .n = k,
                                 .k = n,
                                 .profile = profile };
                    if (profile == TN_PROFILE_Q8ACT || k * n > 9000) continue;
                    check("dx", dx);
                    dx.add = true, dx.k -= 9, dx.b.first = 5;
                    check("dx", dx);
                }
                tn_weight_free(w);
                free(rows);
                free(x);
                free(dy);
            }
}

/* q8act has kernels of its own for more rows, and cuts rows at 256 and k at lengths of its own. */
static void q8act_equals_the_definition_for_many_rows(void **unused)
{
    static const shape shapes[] = { { 6, 288, 19 },   { 10, 96, 35 },  { 14, 512, 21 }, { 65, 1568, 18 },
                                    { 129, 320, 33 }, { 530, 64, 17 }, { 23, 9216, 9 }, { 250, 3584, 11 } };

    (void)unused;
    for (int ugly = 0; ugly < 3; ugly++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            for (int d = 0; d < N_WEIGHT; d++) {
                tn_dtype   t = weights[d];
                int64_t    m = shapes[i].m, k = whole_blocks(shapes[i].k, t), n = shapes[i].n;
                tn_weight *w;
                if (!tn_q8_takes(t)) continue;
                uint8_t *rows = weight_rows(t, n, k, ugly);
                float   *x = filled(m * k, ugly);
                assert_int_equal(tn_weight_pack(&w, rows, t, n, k, TN_PROFILE_Q8ACT, NULL), TN_OK);
                tn_mm y = { .ldc = n,
                            .a = { x, k, 1 },
                            .b = { .kind = TN_MM_B_PACKED, .w = w },
                            .m = m,
                            .n = n,
                            .k = k,
                            .profile = TN_PROFILE_Q8ACT };
                check(tn_dtype_name(t), y);
                /* a slice that starts and ends inside panels, and goes on */
                y.n -= 6, y.b.first = 3, y.add = true;
                check(tn_dtype_name(t), y);
                tn_weight_free(w);
                free(rows);
                free(x);
            }
}

/* Codes, scales of 16 and activations as large as they can be, of either sign: the sums nearest to their
 * bounds. */
static void q8act_is_exact_at_the_largest_sums(void **unused)
{
    enum { M = 20, K = 512, N = 16 };
    static const uint8_t fill[] = { 0x00, 0x80, 0x7f, 0xff };

    (void)unused;
    for (int d = 0; d < N_WEIGHT; d++)
        for (size_t f = 0; f < sizeof fill; f++) {
            tn_dtype t = weights[d];
            if (!tn_q8_takes(t)) continue;
            uint8_t   *rows = weight_rows(t, N, K, 0);
            float     *x = room(M * K * 4);
            size_t     block = tn_row_bytes(t, tn_dtype_block(t)), n = tn_row_bytes(t, K) * N;
            tn_weight *w;
            /* everything but the halves, which stay ordinary numbers */
            for (size_t b = 0; b < n; b += block) {
                size_t halves = t == TN_Q6_K                                                   ? 0
                                : t == TN_Q4_1 || t == TN_Q5_1 || t == TN_Q4_K || t == TN_Q5_K ? 4
                                                                                               : 2;
                memset(rows + b + halves, fill[f], t == TN_Q6_K ? 192 : block - halves);
                if (t == TN_Q6_K) memset(rows + b + 192, f < 2 ? 0x80 : 0x7f, 16);
            }
            for (int64_t i = 0; i < M * K; i++)
                x[i] = i / K % 3 == 0 ? 1.0f : i / K % 3 == 1 ? -1.0f : next() % 2 ? 1.0f : -1.0f;
            assert_int_equal(tn_weight_pack(&w, rows, t, N, K, TN_PROFILE_Q8ACT, NULL), TN_OK);
            tn_mm y = { .ldc = N,
                        .a = { x, K, 1 },
                        .b = { .kind = TN_MM_B_PACKED, .w = w },
                        .m = M,
                        .n = N,
                        .k = K,
                        .profile = TN_PROFILE_Q8ACT };
            check(tn_dtype_name(t), y);
            tn_weight_free(w);
            free(rows);
            free(x);
        }
}

/* A block whose largest value is below 2^-100 is zero; from there on it counts. */
static void q8act_takes_the_block_at_its_threshold(void **unused)
{
    enum { M = 20, K = 512, N = 16 };
    static const float most[] = { 0x1.fffffep-101f, 0x1p-100f, 0x1.000002p-100f, 0x1.8p-100f, 0x1p-99f };

    (void)unused;
    for (int d = 0; d < N_WEIGHT; d++) {
        if (!tn_q8_takes(weights[d])) continue;
        uint8_t   *rows = weight_rows(weights[d], N, K, 0);
        float     *x = room(M * K * 4);
        tn_weight *w;
        for (int64_t i = 0; i < M * K; i++)
            x[i] = (next() % 2 ? 1.0f : -1.0f) * most[(i / 32 + i / K) % 5] * (i % 32 == 7 ? 1.0f : 0.75f);
        assert_int_equal(tn_weight_pack(&w, rows, weights[d], N, K, TN_PROFILE_Q8ACT, NULL), TN_OK);
        tn_mm y = { .ldc = N,
                    .a = { x, K, 1 },
                    .b = { .kind = TN_MM_B_PACKED, .w = w },
                    .m = M,
                    .n = N,
                    .k = K,
                    .profile = TN_PROFILE_Q8ACT };
        check(tn_dtype_name(weights[d]), y);
        y.m = 3; /* few rows have kernels of their own */
        check(tn_dtype_name(weights[d]), y);
        tn_weight_free(w);
        free(rows);
        free(x);
    }
}

/* Four products of the same rows in one region, of types whose strips differ or not, the third an adapter's
 * fp32 rows, for every profile and number of threads. */
static void products_of_one_input_equal_those_apart(void **unused)
{
    static const tn_dtype types[][3] = { { TN_Q4_1, TN_Q4_1, TN_Q4_1 },
                                         { TN_Q4_1, TN_Q8_0, TN_Q4_0 },
                                         { TN_Q6_K, TN_Q8_0, TN_Q6_K },
                                         { TN_F32, TN_Q4_0, TN_BF16 } };
    static const int64_t  n_out[4] = { 83, 16, 8, 41 };
    static const int      rows_of[] = { 1, 2, 8, 12, 13 }, threads[] = { 1, 2, 3, 8 };
    enum { K = 768 };

    (void)unused;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        for (size_t j = 0; j < sizeof rows_of / sizeof rows_of[0]; j++)
            for (int p = 0; p < 3; p++) {
                int64_t    m = rows_of[j];
                float     *x = filled(m * K, 1), *adapter = filled(n_out[2] * K, 0), *got[4], *want[4];
                tn_mm      mm[4];
                tn_weight *w[4] = { NULL };
                for (int q = 0; q < 4; q++) {
                    tn_dtype t = types[i][q == 3 ? 2 : q % 2];
                    uint8_t *rows = weight_rows(t, n_out[q], K, 0);
                    if (q != 2)
                        assert_int_equal(tn_weight_pack(&w[q], rows, t, n_out[q], K, (tn_profile)p, NULL),
                                         TN_OK);
                    free(rows);
                    got[q] = room((size_t)(m * n_out[q]) * 4);
                    want[q] = room((size_t)(m * n_out[q]) * 4);
                    mm[q] = (tn_mm){ .c = want[q],
                                     .ldc = n_out[q],
                                     .a = { x, K, 1 },
                                     .b = { .kind = TN_MM_B_PACKED, .w = w[q] },
                                     .m = m,
                                     .n = n_out[q],
                                     .k = K,
                                     .profile = (tn_profile)p };
                    if (q == 2)
                        mm[q].b = (tn_mm_b){ .kind = TN_MM_B_NK, .dtype = TN_F32, .rows = adapter, .ld = K },
                        mm[q].profile = TN_PROFILE_STRICT;
                    tn_mm_run_ref(&mm[q]);
                    mm[q].c = got[q];
                }
                for (int s = 0; s < N_SET; s++)
                    for (int t = 0; t < 4 && sets[s].usable(); t++) {
                        assert_int_equal(tn_threads_set(threads[t], NULL), TN_OK);
                        size_t bytes = tn_mm_scratch_bytes(threads[t], mm[0].m, K);
                        void  *scratch = room(bytes);
                        for (int q = 0; q < 4; q++) memset(got[q], 0xee, (size_t)(m * n_out[q]) * 4);
                        tn_mm_run_several(sets[s].set, mm, 4, scratch, bytes);
                        for (int q = 0; q < 4; q++)
                            assert_same(sets[s].set->name, got[q], want[q], m * n_out[q]);
                        free(scratch);
                    }
                tn_threads_set(2, NULL);
                for (int q = 0; q < 4; q++) {
                    tn_weight_free(w[q]);
                    free(got[q]);
                    free(want[q]);
                }
                free(x);
                free(adapter);
            }
}

static void every_set_equals_the_definition_with_rows(void **unused)
{
    static const shape shapes[] = { { 1, 16, 32 },   { 1, 37, 19 },   { 17, 300, 70 },
                                    { 33, 530, 47 }, { 530, 17, 20 }, { 15, 64, 64 } };

    (void)unused;
    for (int ugly = 0; ugly < 3; ugly++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            for (int d = 0; d < 2; d++)
                for (int p = 0; p < 2; p++) {
                    tn_dtype t = d == 0 ? TN_F32 : TN_BF16;
                    int64_t  m = shapes[i].m, k = shapes[i].k, n = shapes[i].n;
                    uint8_t *rows = weight_rows(t, n, k, ugly);
                    float   *x = filled(m * k, ugly), *dy = filled(m * n, ugly);
                    tn_mm    y = { .ldc = n,
                                   .a = { x, k, 1 },
                                   .b = { .kind = TN_MM_B_NK, .dtype = t, .rows = rows, .ld = k },
                                   .m = m,
                                   .n = n,
                                   .k = k,
                                   .profile = (tn_profile)p };
                    tn_mm    dx = { .ldc = k,
                                    .a = { dy, n, 1 },
                                    .b = { .kind = TN_MM_B_KN, .dtype = t, .rows = rows, .ld = k },
                                    .m = m,
                                    .n = k,
                                    .k = n,
                                    .profile = (tn_profile)p };
                    tn_mm    dw = { .ldc = k,
                                    .a = { dy, 1, n },
                                    .b = { .kind = TN_MM_B_KN, .dtype = TN_F32, .rows = x, .ld = k },
                                    .m = n,
                                    .n = k,
                                    .k = m,
                                    .profile = (tn_profile)p };
                    for (int add = 0; add < 2; add++) {
                        y.add = dx.add = dw.add = add != 0;
                        check("y", y);
                        check("dx", dx);
                        check("dw", dw);
                    }
                    free(rows);
                    free(x);
                    free(dy);
                }
}

/* Rectangles of every height, so tiles of every height above one another, with A along k and along m: what
 * one strip's vectors write too much must not reach the next. */
static void every_number_of_rows_equals_the_definition(void **unused)
{
    enum { M = 61, K = 37, N = 18 };
    float *a = filled(M * K, 0), *b = filled(K * N, 0);

    (void)unused;
    for (int threads = 1; threads <= 3; threads++) {
        assert_int_equal(tn_threads_set(threads, NULL), TN_OK);
        for (int64_t m = 1; m <= M; m++)
            for (int p = 0; p < 2; p++) {
                tn_mm along_k = { .ldc = N,
                                  .a = { a, K, 1 },
                                  .b = { .kind = TN_MM_B_KN, .dtype = TN_F32, .rows = (uint8_t *)b, .ld = N },
                                  .m = m,
                                  .n = N,
                                  .k = K,
                                  .profile = (tn_profile)p };
                tn_mm along_m = along_k;
                along_m.a = (tn_mm_a){ a, 1, m };
                check("along k", along_k);
                check("along m", along_m);
            }
    }
    tn_threads_set(2, NULL);
    free(a);
    free(b);
}

/* Products that nobody chose: any size, stride, kind of B, first output, profile and number of threads.
 * SHAKE=n, SEED=s: so many, and which (soak). */
static void random_products_equal_the_definition(void **unused)
{
    const char *shake = getenv("SHAKE"), *seed = getenv("SEED");
    int64_t     rounds = shake != NULL ? strtol(shake, NULL, 10) : 400;
    tn_draw     d = { .seed = seed != NULL ? strtoull(seed, NULL, 10) : 3 };

    (void)unused;
    for (int64_t i = 0; i < rounds; i++) {
        tn_profile   p = (tn_profile)tn_draw_below(&d, 3);
        tn_mm_b_kind kind = (tn_mm_b_kind)tn_draw_below(&d, 4);
        bool         frozen = kind == TN_MM_B_PACKED || kind == TN_MM_B_PACKED_T;
        tn_dtype     t = frozen ? weights[tn_draw_below(&d, N_WEIGHT)] : tn_draw_yes(&d) ? TN_F32 : TN_BF16;
        bool         small = tn_draw_below(&d, 4) != 0;
        int64_t      m = tn_draw_size(&d, small ? 40 : 700);
        int64_t      n = tn_draw_size(&d, small ? 40 : 500);
        int64_t      k = tn_draw_size(&d, small ? 200 : 2600);
        int64_t      first = 0;
        int64_t      n_out = n;
        int64_t      n_in = k;
        int          ugly = (int)tn_draw_below(&d, 3), threads = 1 + (int)tn_draw_below(&d, 8);
        while (m * n * k > 6 << 20) {
            if (m >= n) m = 1 + m / 2;
            else n = 1 + n / 2;
        }
        if (kind == TN_MM_B_PACKED)
            k = n_in = whole_blocks(k, t), first = tn_draw_below(&d, 3) == 0 ? tn_draw_below(&d, 70) : 0,
            n_out = first + n;
        if (kind == TN_MM_B_PACKED_T)
            n = n_in = whole_blocks(tn_draw_size(&d, small ? 40 : 500), t),
            first = tn_draw_below(&d, 3) == 0 ? tn_draw_below(&d, 70) : 0, n_out = first + k;
        /* has no backward of its own */
        if (p == TN_PROFILE_Q8ACT && kind == TN_MM_B_PACKED_T) p = TN_PROFILE_STRICT;
        int64_t ld = tn_draw_below(&d, 20);
        int64_t rows = kind == TN_MM_B_KN ? k
                       : frozen           ? n_out
                                          : n,
                cols = kind == TN_MM_B_KN ? n + ld
                       : frozen           ? n_in
                                          : k + ld;
        uint8_t   *b = weight_rows(t, rows, cols, frozen && ugly == 2 && tn_dtype_block(t) > 1 ? 1 : ugly);
        tn_weight *w = NULL;
        bool       along_m = p != TN_PROFILE_Q8ACT && tn_draw_yes(&d); /* q8act: only y = x w^T, rows of x */
        int64_t    lda = (along_m ? m : k) + tn_draw_below(&d, 20);
        float     *a = filled((along_m ? k : m) * lda, ugly);
        tn_mm      mm = { .ldc = n + tn_draw_below(&d, 20),
                          .a = { a, along_m ? 1 : lda, along_m ? lda : 1 },
                          .m = m,
                          .n = n,
                          .k = k,
                          .add = tn_draw_yes(&d),
                          .profile = p };
        mm.b = (tn_mm_b){ .kind = kind, .dtype = t, .rows = b, .ld = cols, .first = first };
        if (frozen) {
            assert_int_equal(tn_weight_pack(&w, b, t, n_out, n_in, p, NULL), TN_OK);
            mm.b = (tn_mm_b){ .kind = kind, .w = w, .first = first };
        }
        assert_int_equal(tn_threads_set(threads, NULL), TN_OK);
        char what[120];
        snprintf(what, sizeof what, "round %lld, %d threads, B %d %s first %lld, A along %c, values %d,",
                 (long long)i, threads, (int)kind, tn_dtype_name(t), (long long)first, along_m ? 'm' : 'k',
                 ugly);
        check(what, mm);
        tn_weight_free(w);
        free(a);
        free(b);
    }
    tn_threads_set(2, NULL);
}

/* Matrices of a model share a mapping: what one of them leaves must go back to the system, and the others
 * stay as they are. */
static void a_freed_matrix_gives_its_memory_back(void **unused)
{
    enum { N = 512, K = 256 };
    const size_t  page = (size_t)sysconf(_SC_PAGESIZE);
    tn_weight    *w[3];
    float        *want = room(K * 4), *got = room(K * 4);
    unsigned char there[1];
    (void)unused;
    uint8_t *rows = weight_rows(TN_Q8_0, N, K, 1);

    for (int i = 0; i < 3; i++)
        assert_int_equal(tn_weight_pack(&w[i], rows, TN_Q8_0, N, K, TN_PROFILE_STRICT, NULL), TN_OK);
    assert_ptr_equal(w[0]->memory, w[1]->memory);
    assert_ptr_equal(w[1]->memory, w[2]->memory);
    uint8_t *inside = (uint8_t *)(((uintptr_t)w[1]->codes + w[1]->memory_bytes / 2) & ~(uintptr_t)(page - 1));
    assert_int_equal(mincore(inside, page, there), 0);
    assert_int_equal(there[0] & 1, 1);
    tn_weight_free(w[1]);
    assert_int_equal(mincore(inside, page, there), 0);
    assert_int_equal(there[0] & 1, 0);
    for (int i = 0; i < 3; i += 2)
        for (int64_t r = 0; r < N; r += N - 1) { /* the first and the last: next to the freed one */
            tn_row_to_f32(want, rows + (size_t)r * tn_row_bytes(TN_Q8_0, K), TN_Q8_0, K);
            tn_weight_row(got, w[i], r);
            assert_memory_equal(got, want, K * 4);
        }
    tn_weight_free(w[0]);
    tn_weight_free(w[2]);
    free(rows);
    free(want);
    free(got);
}

static void a_packed_row_is_the_dequantised_row(void **unused)
{
    (void)unused;
    for (int d = 0; d < N_WEIGHT; d++) {
        tn_dtype   t = weights[d];
        int64_t    n = 21, k = whole_blocks(77, t);
        uint8_t   *rows = weight_rows(t, n, k, 1);
        float     *want = room((size_t)k * 4), *got = room((size_t)k * 4);
        tn_weight *w;
        assert_int_equal(tn_weight_pack(&w, rows, t, n, k, TN_PROFILE_STRICT, NULL), TN_OK);
        for (int64_t i = 0; i < n; i++) {
            tn_row_to_f32(want, rows + (size_t)i * tn_row_bytes(t, k), t, k);
            tn_weight_row(got, w, i);
            assert_memory_equal(got, want, (size_t)k * 4);
        }
        assert_int_equal(tn_weight_dtype(w), t);
        tn_weight_free(w);
        free(rows);
        free(want);
        free(got);
    }
}

static void packing_costs_at_most_a_tenth(void **unused)
{
    (void)unused;
    for (int d = 0; d < N_WEIGHT; d++) {
        tn_dtype   t = weights[d];
        uint8_t   *rows;
        tn_weight *w;
        if (t == TN_Q2_K || t == TN_Q3_K || t == TN_MXFP4) continue; /* widened to f32, as documented */
        rows = weight_rows(t, 64, 512, 0);
        assert_int_equal(tn_weight_pack(&w, rows, t, 64, 512, TN_PROFILE_STRICT, NULL), TN_OK);
        assert_true((double)tn_weight_bytes(w) <= 1.1 * 64.0 * (double)tn_row_bytes(t, 512));
        tn_weight_free(w);
        free(rows);
    }
}

/* One product per way of running it; the first way is the reference for the others. */
static void product(float *y, const float *x, const tn_weight *w, int64_t m, tn_profile p)
{
    size_t bytes = tn_mm_scratch_bytes(tn_threads(), m, w->n_in);
    void  *scratch = room(bytes);
    tn_mm  mm = { .c = y,
                  .ldc = w->n_out,
                  .a = { x, w->n_in, 1 },
                  .b = { .kind = TN_MM_B_PACKED, .w = w },
                  .m = m,
                  .n = w->n_out,
                  .k = w->n_in,
                  .profile = p };

    tn_mm_run(&mm, scratch, bytes);
    free(scratch);
}

static void a_row_alone_equals_the_row_in_a_batch_at_any_thread_count(void **unused)
{
    static const int threads[] = { 1, 2, 3, 8 };
    enum { M = 27, K = 512, N = 83 };

    (void)unused;
    for (int d = 0; d < N_WEIGHT; d++)
        for (int p = 0; p < 3; p++) {
            uint8_t   *rows = weight_rows(weights[d], N, K, 0);
            float     *x = filled(M * K, 1), *want = room(M * N * 4), *got = room(M * N * 4);
            tn_weight *w;
            assert_int_equal(tn_weight_pack(&w, rows, weights[d], N, K, TN_PROFILE_STRICT, NULL), TN_OK);
            for (int i = 0; i < 4; i++) {
                assert_int_equal(tn_threads_set(threads[i], NULL), TN_OK);
                product(i == 0 ? want : got, x, w, M, (tn_profile)p);
                if (i > 0) assert_same("threads", got, want, M * N);
                for (int r = 0; r < M; r += 5) product(got + r * N, x + r * K, w, 1, (tn_profile)p);
                for (int r = 0; r < M; r += 5) assert_same("row alone", got + r * N, want + r * N, N);
                product(got, x, w, 6, (tn_profile)p);
                assert_same("six rows", got, want, 6 * N);
            }
            tn_threads_set(2, NULL);
            tn_weight_free(w);
            free(rows);
            free(x);
            free(want);
            free(got);
        }
}

/* The step of strict-bf16 at the border of the denormals, where "tiny" is decided. */
static void bf16_judges_tiny_after_rounding(void **unused)
{
    const float above = 0x1p-126f;

    (void)unused;
    /* 2^-126 - 1.5 * 2^-151: the grid of denormals rounds it up to 2^-126, 24 bits without a limit do not:
     * flushed. */
    assert_true(tn_bf16_fma(0x1p-75f * 1.5f, -0x1p-76f, above) == 0.0f);
    /* 2^-126 - 2^-151 rounds to even, which is 2^-126: kept. */
    assert_true(tn_bf16_fma(0x1p-75f, -0x1p-76f, above) == above);
    assert_true(tn_bf16_fma(0x1p-130f, 0x1p126f, 1.0f) == 1.0f);  /* a denormal operand is zero */
    assert_true(signbit(tn_bf16_fma(-0x1p-75f, 0x1p-60f, 0.0f))); /* a tiny result keeps its sign */

    /* The same through the kernels, many lanes: operands near 2^-63 with C near 2^-126. */
    enum { N = 64, TRIES = 2000 };
    for (int i = 0; i < TRIES; i++) {
        float x[2], w[2 * N], c[N];
        for (int k = 0; k < 2; k++)
            x[k] = ldexpf(tn_bf16_to_f32((uint16_t)(0x3f80 + next() % 128)), -63 - (int)(next() % 14)) *
                   (next() % 2 ? 1.0f : -1.0f);
        for (int k = 0; k < 2 * N; k++)
            w[k] = ldexpf(tn_bf16_to_f32((uint16_t)(0x3f80 + next() % 128)), -63 - (int)(next() % 14));
        for (int k = 0; k < N; k++) c[k] = 0x1p-126f * (1.0f + (float)(next() % 4) * 0x1p-23f);
        tn_mm  mm = { .c = c,
                      .ldc = N,
                      .a = { x, 2, 1 },
                      .b = { .kind = TN_MM_B_NK, .dtype = TN_F32, .rows = w, .ld = 2 },
                      .m = 1,
                      .n = N,
                      .k = 2,
                      .add = true,
                      .profile = TN_PROFILE_STRICT_BF16 };
        float  want[N], got[N];
        size_t bytes = tn_mm_scratch_bytes(tn_threads(), 1, 2);
        void  *scratch = room(bytes);
        memcpy(want, c, sizeof c);
        mm.c = want;
        tn_mm_run_ref(&mm);
        for (int s = 0; s < N_SET; s++) {
            if (!sets[s].usable()) continue;
            memcpy(got, c, sizeof c);
            mm.c = got;
            tn_mm_run_set(sets[s].set, &mm, scratch, bytes);
            assert_same("border of the denormals", got, want, N);
        }
        free(scratch);
    }
}

/* Rounding to bf16 comes before denormals are flushed: the largest of them become 2^-126. */
static void bf16_rounds_the_largest_denormals_to_a_normal_number(void **unused)
{
    enum { M = 33, K = 40, N = 35 };
    float *x = filled(M * K, 0), *w = filled(N * K, 0);

    (void)unused;
    for (int i = 0; i < M * K; i++)
        if (next() % 3 == 0)
            x[i] = ldexpf((float)(0x7f0000 + next() % 0x10000), -149) * (next() % 2 ? 1.0f : -1.0f);
        else x[i] = 0.0f;
    for (int i = 0; i < N * K; i++) w[i] = ldexpf(w[i], 60);
    for (int turned = 0; turned < 2; turned++) { /* the denormals on either side, rows and columns */
        const float *a = turned ? w : x, *b = turned ? x : w;
        int64_t      m = turned ? N : M, n = turned ? M : N;
        tn_mm        mm = { .ldc = n, .m = m, .n = n, .k = K, .profile = TN_PROFILE_STRICT_BF16 };
        mm.a = (tn_mm_a){ a, K, 1 };
        mm.b = (tn_mm_b){ .kind = TN_MM_B_NK, .dtype = TN_F32, .rows = b, .ld = K };
        check("largest denormals, rows", mm);
        mm.a = (tn_mm_a){ a, 1, m }; /* other numbers, as the buffer is read the other way */
        mm.b = (tn_mm_b){ .kind = TN_MM_B_KN, .dtype = TN_F32, .rows = b, .ld = n };
        check("largest denormals, columns", mm);
    }
    free(x);
    free(w);
}

static void wrong_tile(float *c, int64_t ldc, const void *a, const void *const *b, int64_t k,
                       const uint16_t *mask, bool load)
{
    const float *x = a, *w = b[0];
    float        even = 0.0f, odd = 0.0f; /* two chains: the classic mistake */

    (void)ldc, (void)mask, (void)load;
    for (int64_t i = 0; i < k; i++)
        *(i % 2 == 0 ? &even : &odd) = fmaf(x[i], w[i * TN_PANEL], i % 2 == 0 ? even : odd);
    c[0] = even + odd;
}

static void a_kernel_with_two_chains_is_seen(void **unused)
{
    enum { K = 100 };
    tn_mm_tile tiles[12] = { wrong_tile };
    tn_mm_set  set = tn_mm_avx2;
    float     *x = filled(K, 0), *w = filled(K, 0), want, got;
    size_t     bytes = tn_mm_scratch_bytes(tn_threads(), 1, K);
    void      *scratch = room(bytes);
    tn_mm      mm = { .c = &want,
                      .ldc = 1,
                      .a = { x, K, 1 },
                      .b = { .kind = TN_MM_B_NK, .dtype = TN_F32, .rows = w, .ld = K },
                      .m = 1,
                      .n = 1,
                      .k = K };

    (void)unused;
    if (!tn_cpu_avx2()) {
        print_message("skipped: this CPU has no AVX2, so there is no fast kernel to plant a bug in\n");
        skip();
    }
    set.f32 = tiles;
    set.in_place = NULL;
    bool seen = false;
    for (int i = 0; i < 20 && !seen; i++) { /* now and then both orders round to the same number */
        for (int j = 0; j < K; j++) x[j] = value(0), w[j] = value(0);
        mm.c = &want;
        tn_mm_run_ref(&mm);
        mm.c = &got;
        tn_mm_run_set(&set, &mm, scratch, bytes);
        seen = memcmp(&got, &want, sizeof got) != 0;
    }
    assert_true(seen);
    free(x);
    free(w);
    free(scratch);
}

static void bad_matrices_are_refused_with_a_reason(void **unused)
{
    tn_weight *w;
    tn_error   err;
    float      x[4] = { 0 };

    (void)unused;
    assert_int_equal(tn_weight_pack(&w, x, TN_Q4_0, 1, 33, TN_PROFILE_STRICT, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "32"));
    assert_int_equal(tn_weight_pack(&w, x, TN_F32, 0, 4, TN_PROFILE_STRICT, &err), TN_MISMATCH);
    assert_int_equal(tn_weight_pack(&w, x, TN_I32, 1, 4, TN_PROFILE_STRICT, &err), TN_UNSUPPORTED);
    assert_int_equal(tn_weight_pack(&w, x, TN_F32, INT64_MAX / 4, 1 << 20, TN_PROFILE_STRICT, &err),
                     TN_LIMIT);
    assert_null(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_equals_the_definition_with_packed_weights),
        cmocka_unit_test(q8act_equals_the_definition_for_many_rows),
        cmocka_unit_test(q8act_is_exact_at_the_largest_sums),
        cmocka_unit_test(q8act_takes_the_block_at_its_threshold),
        cmocka_unit_test(products_of_one_input_equal_those_apart),
        cmocka_unit_test(every_set_equals_the_definition_with_rows),
        cmocka_unit_test(every_number_of_rows_equals_the_definition),
        cmocka_unit_test(random_products_equal_the_definition),
        cmocka_unit_test(a_packed_row_is_the_dequantised_row),
        cmocka_unit_test(a_freed_matrix_gives_its_memory_back),
        cmocka_unit_test(packing_costs_at_most_a_tenth),
        cmocka_unit_test(a_row_alone_equals_the_row_in_a_batch_at_any_thread_count),
        cmocka_unit_test(bf16_judges_tiny_after_rounding),
        cmocka_unit_test(bf16_rounds_the_largest_denormals_to_a_normal_number),
        cmocka_unit_test(a_kernel_with_two_chains_is_seen),
        cmocka_unit_test(bad_matrices_are_refused_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
