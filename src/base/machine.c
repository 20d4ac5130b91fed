/* machine.c - measuring FMA peaks and read bandwidth (see machine.h).
 *
 * The peak loops are written in assembly, because a compiler may move sums to memory and then the peak is a
 * lie: 24 independent accumulators hide the latency of 4 to 5 cycles at two instructions a cycle with room to
 * spare. */
#include "base/machine.h"
#include "base/cpu.h"
#include "base/thread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Runs n rounds; returns the floating-point operations of one round. */
typedef struct peak_loop {
    void (*run)(int64_t n);
    double flops_a_round;
} peak_loop;

#if defined(__x86_64__)
#include <immintrin.h>

// clang-format off
#define R12(op, r)                                                                                              \
    op " %%" r "14, %%" r "15, %%" r "0\n\t"  op " %%" r "14, %%" r "15, %%" r "1\n\t"                              \
    op " %%" r "14, %%" r "15, %%" r "2\n\t"  op " %%" r "14, %%" r "15, %%" r "3\n\t"                              \
    op " %%" r "14, %%" r "15, %%" r "4\n\t"  op " %%" r "14, %%" r "15, %%" r "5\n\t"                              \
    op " %%" r "14, %%" r "15, %%" r "6\n\t"  op " %%" r "14, %%" r "15, %%" r "7\n\t"                              \
    op " %%" r "14, %%" r "15, %%" r "8\n\t"  op " %%" r "14, %%" r "15, %%" r "9\n\t"                              \
    op " %%" r "14, %%" r "15, %%" r "10\n\t" op " %%" r "14, %%" r "15, %%" r "11\n\t"
// clang-format on
/* The upper twelve, for 512-bit registers only. */
#define R12_UP(op)                                                                                           \
    op " %%zmm14, %%zmm15, %%zmm16\n\t" op " %%zmm14, %%zmm15, %%zmm17\n\t" op                               \
       " %%zmm14, %%zmm15, %%zmm18\n\t" op " %%zmm14, %%zmm15, %%zmm19\n\t" op                               \
       " %%zmm14, %%zmm15, %%zmm20\n\t" op " %%zmm14, %%zmm15, %%zmm21\n\t" op                               \
       " %%zmm14, %%zmm15, %%zmm22\n\t" op " %%zmm14, %%zmm15, %%zmm23\n\t" op                               \
       " %%zmm14, %%zmm15, %%zmm24\n\t" op " %%zmm14, %%zmm15, %%zmm25\n\t" op                               \
       " %%zmm14, %%zmm15, %%zmm26\n\t" op " %%zmm14, %%zmm15, %%zmm27\n\t"
#define ROUNDS(body)                                                                                         \
    __asm__ volatile("1:\n\t" body "dec %0\n\t"                                                              \
                     "jnz 1b\n\t"                                                                            \
                     : "+r"(n)                                                                               \
                     :                                                                                       \
                     : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",       \
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15" UPPER)

/* All registers start as zero: no denormals, no overflow, and the speed of an FMA does not depend on its
 * values. */
#define UPPER
__attribute__((target("avx2,fma"))) static void loop_avx2(int64_t n)
{
    _mm256_zeroall();
    ROUNDS(R12("vfmadd231ps", "ymm"));
    _mm256_zeroupper();
}

__attribute__((target("avx2,fma"))) static void loop_scalar(int64_t n)
{
    _mm256_zeroall();
    ROUNDS(R12("vfmadd231ss", "xmm"));
}
#undef UPPER
#define UPPER                                                                                                \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",     \
        "xmm27"
__attribute__((target("avx512f"))) static void loop_avx512(int64_t n)
{
    _mm256_zeroall();
    ROUNDS(R12("vfmadd231ps", "zmm") R12_UP("vfmadd231ps"));
    _mm256_zeroupper();
}

__attribute__((target("avx512f,avx512bf16"))) static void loop_bf16(int64_t n)
{
    _mm256_zeroall();
    ROUNDS(R12("vdpbf16ps", "zmm") R12_UP("vdpbf16ps"));
    _mm256_zeroupper();
}

/* Four products that share no result, from registers set to zero. */
__attribute__((target("amx-tile,amx-bf16"))) static void loop_amx(int64_t n)
{
    static const struct {
        uint8_t  palette, rest[15];
        uint16_t row_bytes[16];
        uint8_t  rows[16];
    } full = { .palette = 1,
               .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
               .rows = { 16, 16, 16, 16, 16, 16, 16, 16 } };

    __asm__ volatile("ldtilecfg %1\n\t"
                     "tilezero %%tmm0\n\t"
                     "tilezero %%tmm1\n\t"
                     "tilezero %%tmm2\n\t"
                     "tilezero %%tmm3\n\t"
                     "tilezero %%tmm4\n\t"
                     "tilezero %%tmm5\n\t"
                     "tilezero %%tmm6\n\t"
                     "tilezero %%tmm7\n\t"
                     "1:\n\t"
                     "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
                     "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\t"
                     "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t"
                     "dec %0\n\t"
                     "jnz 1b\n\t"
                     "tilerelease\n\t"
                     : "+r"(n)
                     : "m"(full)
                     : "cc", "memory");
}

static peak_loop loop_f32(void)
{
    switch (tn_isa_limit()) {
    case TN_ISA_AVX512: return (peak_loop){ loop_avx512, 24 * 16 * 2 };
    case TN_ISA_AVX2: return (peak_loop){ loop_avx2, 12 * 8 * 2 };
    default: break;
    }
    return (peak_loop){ tn_cpu_avx2() ? loop_scalar : NULL, 12 * 2 };
}

static uint64_t read_plain(const uint8_t *p, size_t n);

/* Which way of reading is fastest differs from machine to machine (prefetchers, streams a core can have): the
 * limit is the best.
 *   way 0  one stream, fetched far ahead     way 1  one stream, left to the hardware     way 2  four streams side by side */
enum { READ_WAYS = 3 };

#define READ_LINES(q)                                                                                        \
    a = _mm256_xor_si256(a, _mm256_load_si256((const void *)(q)));                                           \
    b = _mm256_xor_si256(b, _mm256_load_si256((const void *)((q) + 32)));                                    \
    c = _mm256_xor_si256(c, _mm256_load_si256((const void *)((q) + 64)));                                    \
    d = _mm256_xor_si256(d, _mm256_load_si256((const void *)((q) + 96)));
__attribute__((target("avx2"))) static uint64_t read_avx2(const uint8_t *p, size_t n, int way)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    size_t  quarter = n / 4 & ~(size_t)127, i = 0;

    if (way == 2) {
        for (; i + 128 <= quarter; i += 128)
            for (size_t j = 0; j < 4; j++) {
                const uint8_t *q = p + j * quarter + i;
                _mm_prefetch((const char *)q + 1024, _MM_HINT_T0);
                _mm_prefetch((const char *)q + 1088, _MM_HINT_T0);
                READ_LINES(q)
            }
        i = 4 * quarter;
    }
    for (; way == 0 && i + 256 <= n; i += 256) {
        for (size_t j = 0; j < 256; j += 64) _mm_prefetch((const char *)p + i + 4096 + j, _MM_HINT_T0);
        READ_LINES(p + i)
        READ_LINES(p + i + 128)
    }
    for (; i + 128 <= n; i += 128) {
        READ_LINES(p + i)
    }
    a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
    return (uint64_t)_mm256_extract_epi64(a, 0) ^ (uint64_t)_mm256_extract_epi64(a, 1) ^
           (uint64_t)_mm256_extract_epi64(a, 2) ^ (uint64_t)_mm256_extract_epi64(a, 3);
}
#undef READ_LINES
static uint64_t read_bytes(const uint8_t *p, size_t n, int way)
{
    return tn_cpu_avx2() ? read_avx2(p, n, way) : read_plain(p, n);
}
#else
static peak_loop loop_f32(void) { return (peak_loop){ NULL, 24 }; }
static uint64_t  read_plain(const uint8_t *p, size_t n);
enum { READ_WAYS = 1 };
static uint64_t read_bytes(const uint8_t *p, size_t n, int way)
{
    (void)way;
    return read_plain(p, n);
}
#endif

/* The loop for a machine of which we know nothing: twelve chains, left to the compiler. */
static void loop_plain(int64_t n)
{
    volatile float seed = 0.0f;
    float          c[12], a = seed, b = seed;

    for (int i = 0; i < 12; i++) c[i] = seed;
    for (; n > 0; n--)
        for (int i = 0; i < 12; i++) c[i] = c[i] + a * b;
    for (int i = 0; i < 12; i++) seed = c[i];
}

static uint64_t read_plain(const uint8_t *p, size_t n)
{
    uint64_t sum = 0, w;

    for (size_t i = 0; i + 8 <= n; i += 8) {
        memcpy(&w, p + i, 8);
        sum ^= w;
    }
    return sum;
}

/* ---------------------------------------------------------------------------------------------- measuring */

enum { RUNS = 5 };

typedef struct peak_job {
    peak_loop loop;
    int64_t   n;
    double    seconds;
} peak_job;

/* Every thread runs the loop at the same time; thread 0's clock covers all of them. */
static void peak_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    peak_job *job = arg;
    double    start;

    (void)begin;
    (void)end;
    tn_barrier();
    start = tn_now();
    job->loop.run(job->n);
    tn_barrier();
    if (i_thread == 0) job->seconds = tn_now() - start;
}

static double measure_peak(peak_loop loop, double seconds)
{
    peak_job job = { .loop = loop, .n = 1000 };
    double   best = 0, each = seconds / RUNS;

    if (job.loop.run == NULL) job.loop.run = loop_plain;
    while (tn_parallel_all(peak_piece, &job), job.seconds < each / 4 && job.n < INT64_MAX / 4) job.n *= 2;
    if (job.seconds > 0) job.n = (int64_t)((double)job.n * each / job.seconds) + 1;
    for (int i = 0; i < RUNS; i++) {
        double rate;
        tn_parallel_all(peak_piece, &job);
        rate = job.loop.flops_a_round * (double)job.n * tn_threads() / job.seconds;
        if (rate > best) best = rate;
    }
    return best * 1e-9;
}

double tn_peak_f32(double seconds) { return measure_peak(loop_f32(), seconds); }

double tn_peak_bf16(double seconds)
{
#if defined(__x86_64__)
    if (tn_cpu_avx512_bf16() && tn_isa_limit() == TN_ISA_AVX512)
        return measure_peak((peak_loop){ loop_bf16, 24 * 32 * 2 }, seconds);
#endif
    return tn_peak_f32(seconds);
}

double tn_peak_amx(double seconds)
{
#if defined(__x86_64__)
    if (tn_cpu_avx512_amx() && tn_isa_limit() == TN_ISA_AVX512)
        return measure_peak((peak_loop){ loop_amx, 4 * 16 * 16 * 32 * 2 }, seconds);
#endif
    (void)seconds;
    return 0;
}

size_t tn_cache_bytes(void)
{
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);

    if (l3 < l2) l3 = l2;
    return l3 > 0 ? (size_t)l3 : 0;
}

struct tn_reader {
    uint8_t          *p;
    size_t            n;
    bool              fill;
    int               way;
    volatile uint64_t sink;
};

static void read_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    tn_reader *r = arg;
    (void)i_thread;
    /* Each thread touches its own piece first, so that the pages lie near it. */
    if (r->fill) memset(r->p + begin, 1, (size_t)(end - begin));
    else r->sink ^= read_bytes(r->p + begin, (size_t)(end - begin), r->way);
}

tn_status tn_reader_create(tn_reader **out, tn_error *err)
{
    size_t     memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    tn_reader *r = calloc(1, sizeof *r);

    *out = NULL;
    if (r == NULL) return tn_fail(err, TN_NOMEM, "no memory to measure the read bandwidth");
    r->n = 2 * tn_cache_bytes();
    if (r->n < (size_t)256 << 20) r->n = (size_t)256 << 20;
    if (r->n > memory / 4) r->n = memory / 4;
    r->n &= ~(size_t)4095;
    r->p = mmap(NULL, r->n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->p == MAP_FAILED) {
        size_t n = r->n;
        free(r);
        return tn_fail(err, TN_NOMEM, "no %zu bytes to measure the read bandwidth with", n);
    }
    (void)madvise(r->p, r->n, MADV_HUGEPAGE);
    r->fill = true;
    tn_parallel((int64_t)r->n, 4096, read_piece, r);
    r->fill = false;
    *out = r;
    return TN_OK;
}

double tn_reader_rate(tn_reader *r, double seconds)
{
    double end = tn_now() + seconds, best = 0;

    for (int i = 0; i < READ_WAYS || tn_now() < end; i++) {
        r->way = i % READ_WAYS;
        double start = tn_now();
        tn_parallel((int64_t)r->n, 4096, read_piece, r);
        double rate = (double)r->n / (tn_now() - start) * 1e-9;
        if (rate > best) best = rate;
    }
    return best;
}

void tn_reader_destroy(tn_reader *r)
{
    if (r == NULL) return;
    munmap(r->p, r->n);
    free(r);
}
