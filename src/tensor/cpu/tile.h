/* tile.h - small products for attention: C[m][n] continues a chain over k of fma(A[m][k], B[k][n], C[m][n]).
 * Lanes lie across n, so how C is cut changes no bit. A is read one value at a time (any strides), B in rows.
 * Private to tensor/cpu. */
#ifndef TN_TENSOR_CPU_TILE_H
#define TN_TENSOR_CPU_TILE_H

#include <stdbool.h>

#include "tensor/cpu/vec.h"

/* Rows and vectors of the largest tile: the accumulators fill the registers but for B's vectors and A's
 * value. */
#ifdef __AVX512F__
enum { TILE_M = 6, TILE_N = 4 };
#else
enum { TILE_M = 3, TILE_N = 2 };
#endif

typedef struct tile_job {
    float       *c;
    const float *a, *b;
    int64_t      ldc, ars, aks, ldb; /* A element (m, k) at a[m ars + k aks] */
    bool         load;               /* continue C's chains; false: from +0 */
} tile_job;

TN_INLINE void tile(int mr, int nv, int n_last, const tile_job *j, float *c, const float *a, const float *b,
                    int64_t k0, int64_t k1)
{
    vf acc[TILE_M][TILE_N];
#pragma GCC unroll 6
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++)
            acc[m][n] = !j->load                     ? vf_zero()
                        : n_last < 16 && n == nv - 1 ? vf_load_n(c + m * j->ldc + 16 * n, n_last)
                                                     : vf_load(c + m * j->ldc + 16 * n);
    const float *ak = a + k0 * j->aks, *bk = b + k0 * j->ldb;
    for (int64_t k = k0; k < k1; k++, ak += j->aks, bk += j->ldb) {
        vf bv[TILE_N];
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++)
            bv[n] = n_last < 16 && n == nv - 1 ? vf_load_n(bk + 16 * n, n_last) : vf_load(bk + 16 * n);
#pragma GCC unroll 6
        for (int m = 0; m < mr; m++) {
            vf av = vf_set(ak[m * j->ars]);
#pragma GCC unroll 4
            for (int n = 0; n < nv; n++) acc[m][n] = vf_fma(av, bv[n], acc[m][n]);
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
        for (int n = 0; n < nv; n++) {
            if (n_last < 16 && n == nv - 1) vf_store_n(c + m * j->ldc + 16 * n, acc[m][n], n_last);
            else vf_store(c + m * j->ldc + 16 * n, acc[m][n]);
        }
}

/* mr rows, all n columns, k in [k0, k1). mr is a constant where this is used. */
TN_INLINE void tile_rows(int mr, const tile_job *j, int64_t m, int64_t n, int64_t k0, int64_t k1)
{
    float       *c = j->c + m * j->ldc;
    const float *a = j->a + m * j->ars;
    int64_t      i = 0;
    for (; i + 16 * TILE_N <= n; i += 16 * TILE_N) tile(mr, TILE_N, 16, j, c + i, a, j->b + i, k0, k1);
#ifdef __AVX512F__
    if (i + 48 <= n) {
        tile(mr, 3, 16, j, c + i, a, j->b + i, k0, k1);
        i += 48;
    }
    if (i + 32 <= n) {
        tile(mr, 2, 16, j, c + i, a, j->b + i, k0, k1);
        i += 32;
    }
#endif
    if (i + 16 <= n) {
        tile(mr, 1, 16, j, c + i, a, j->b + i, k0, k1);
        i += 16;
    }
    if (i < n) tile(mr, 1, (int)(n - i), j, c + i, a, j->b + i, k0, k1);
}

static __attribute__((noinline)) void tile_rows_1(const tile_job *j, int64_t m, int64_t n, int64_t k0,
                                                  int64_t k1)
{
    tile_rows(1, j, m, n, k0, k1);
}
static __attribute__((noinline)) void tile_rows_2(const tile_job *j, int64_t m, int64_t n, int64_t k0,
                                                  int64_t k1)
{
    tile_rows(2, j, m, n, k0, k1);
}
static __attribute__((noinline)) void tile_rows_3(const tile_job *j, int64_t m, int64_t n, int64_t k0,
                                                  int64_t k1)
{
    tile_rows(3, j, m, n, k0, k1);
}
#ifdef __AVX512F__
static __attribute__((noinline)) void tile_rows_4(const tile_job *j, int64_t m, int64_t n, int64_t k0,
                                                  int64_t k1)
{
    tile_rows(4, j, m, n, k0, k1);
}
static __attribute__((noinline)) void tile_rows_5(const tile_job *j, int64_t m, int64_t n, int64_t k0,
                                                  int64_t k1)
{
    tile_rows(5, j, m, n, k0, k1);
}
static __attribute__((noinline)) void tile_rows_6(const tile_job *j, int64_t m, int64_t n, int64_t k0,
                                                  int64_t k1)
{
    tile_rows(6, j, m, n, k0, k1);
}
#endif

/* Rows [m, m + mr), mr <= TILE_M. */
static inline __attribute__((unused)) void tile_some(int64_t mr, const tile_job *j, int64_t m, int64_t n,
                                                     int64_t k0, int64_t k1)
{
    switch (mr) {
    case 1: tile_rows_1(j, m, n, k0, k1); break;
    case 2: tile_rows_2(j, m, n, k0, k1); break;
    case 3: tile_rows_3(j, m, n, k0, k1); break;
#ifdef __AVX512F__
    case 4: tile_rows_4(j, m, n, k0, k1); break;
    case 5: tile_rows_5(j, m, n, k0, k1); break;
    case 6: tile_rows_6(j, m, n, k0, k1); break;
#endif
    }
}

/* Rows [m0, m1) with a range of k each, [lo[m], hi[m]): what all rows of a tile share runs as a tile, what
 * lies before and behind row by row, so that every chain stays ascending and skips what it must not see. */
static inline __attribute__((unused)) void tile_ranges(const tile_job *job, int64_t m0, int64_t m1, int64_t n,
                                                       const int32_t *lo, const int32_t *hi)
{
    tile_job j = *job;
    for (int64_t m = m0; m < m1; m += TILE_M) {
        int64_t mr = m1 - m < TILE_M ? m1 - m : TILE_M, first = lo[m], last = hi[m];
        for (int64_t i = 1; i < mr; i++) {
            first = lo[m + i] > first ? lo[m + i] : first;
            last = hi[m + i] < last ? hi[m + i] : last;
        }
        if (first >= last) {
            j.load = job->load;
            for (int64_t i = m; i < m + mr; i++) tile_rows_1(&j, i, n, lo[i], hi[i]);
            continue;
        }
        bool before = false;
        for (int64_t i = m; i < m + mr; i++) before |= lo[i] < first;
        j.load = job->load;
        if (before) {
            for (int64_t i = m; i < m + mr; i++) tile_rows_1(&j, i, n, lo[i], first);
            j.load = true;
        }
        tile_some(mr, &j, m, n, first, last);
        j.load = true;
        for (int64_t i = m; i < m + mr; i++)
            if (hi[i] > last) tile_rows_1(&j, i, n, last, hi[i]);
    }
}

/* dst[d][64] = src[j][d] for j < n <= 64, zero beyond: keys as columns. ld: floats from row to row of src. */
static inline __attribute__((unused)) void transpose_block(float *dst, const float *src, int64_t ld,
                                                           int64_t n, int64_t d)
{
    for (int64_t j = 0; j < 64; j += 8) {
        int64_t rows = n - j < 0 ? 0 : n - j > 8 ? 8 : n - j, i = 0;
        for (int64_t r = j + 8; r < j + 16 && r < n; r++)
            for (int64_t k = 0; k < d; k += 16) __builtin_prefetch(src + r * ld + k);
        for (; rows == 8 && i + 8 <= d; i += 8) {
            __m256 r[8], t[8];
            for (int k = 0; k < 8; k++) r[k] = _mm256_loadu_ps(src + (j + k) * ld + i);
            for (int k = 0; k < 4; k++) {
                t[2 * k] = _mm256_unpacklo_ps(r[2 * k], r[2 * k + 1]);
                t[2 * k + 1] = _mm256_unpackhi_ps(r[2 * k], r[2 * k + 1]);
            }
            for (int k = 0; k < 2; k++) {
                r[4 * k] = _mm256_shuffle_ps(t[4 * k], t[4 * k + 2], 0x44);
                r[4 * k + 1] = _mm256_shuffle_ps(t[4 * k], t[4 * k + 2], 0xee);
                r[4 * k + 2] = _mm256_shuffle_ps(t[4 * k + 1], t[4 * k + 3], 0x44);
                r[4 * k + 3] = _mm256_shuffle_ps(t[4 * k + 1], t[4 * k + 3], 0xee);
            }
            for (int k = 0; k < 4; k++) {
                _mm256_storeu_ps(dst + (i + k) * 64 + j, _mm256_permute2f128_ps(r[k], r[k + 4], 0x20));
                _mm256_storeu_ps(dst + (i + k + 4) * 64 + j, _mm256_permute2f128_ps(r[k], r[k + 4], 0x31));
            }
        }
        for (; i < d; i++)
            for (int k = 0; k < 8; k++) dst[i * 64 + j + k] = k < rows ? src[(j + k) * ld + i] : 0.0f;
    }
}

#endif
