/* adapter_body.h - low-rank adapters for one instruction set: included by adapter_<isa>.c. Private to
 * tensor/cpu.
 *
 *   forward   lanes across outputs: b is turned once into panels [rank][WIDE]; a tile of rows x WIDE stays in registers
 *   dlow      lanes across the rank; t = s dout of a few rows is made a piece at a time, in the first cache
 *   db        lanes across outputs: a strip of dout is read once for SOME of the rank's columns */
#include "tensor/adapter.h"
#include "tensor/cpu/row_parts.h"
#include "tensor/op_util.h"

#ifdef __AVX512F__
enum { N_VEC = 2, TALL = 12, LOW_ROWS = 16, SOME = 8 };
#else
enum { N_VEC = 1, TALL = 6, LOW_ROWS = 6, SOME = 4 };
#endif
enum { WIDE = 16 * N_VEC, BLOCK = 4 * TALL, PIECE = 256, DB_ROWS = 64 };

/* ------------------------------------------------------------------------------------------------ forward */

static void panel_make(float *dst, const float *b, int64_t rank, int64_t n)
{
    for (int64_t k = 0; k < rank; k++)
        for (int64_t j = 0; j < WIDE; j++) dst[k * WIDE + j] = j < n ? b[j * rank + k] : 0.0f;
}

/* rows x n outputs (at most WIDE); `rows` is a constant where this is used. */
TN_INLINE void tile(float *out, const float *y, int64_t ld, const float *low, const float *panel,
                    int64_t rank, int64_t n, vf s, const int rows)
{
    vf u[TALL][N_VEC];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < N_VEC; v++) u[r][v] = vf_zero();
    for (int64_t k = 0; k < rank; k++) {
        vf b[N_VEC];
#pragma GCC unroll 2
        for (int v = 0; v < N_VEC; v++) b[v] = vf_load(panel + k * WIDE + 16 * v);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vf x = vf_set(low[r * rank + k]);
#pragma GCC unroll 2
            for (int v = 0; v < N_VEC; v++) u[r][v] = vf_fma(x, b[v], u[r][v]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < N_VEC; v++)
            if (16 * v < n)
                put(out + r * ld, vf_fma(s, u[r][v], get(y + r * ld, 16 * v, n)), 16 * v, n, false);
}

/* Rows [r, end) of panel p. */
static void up_rows(const tn_adapter *a, int64_t r, int64_t end, int64_t p)
{
    const float *panel = a->turned + p * a->rank * WIDE, *y = a->y + p * WIDE;
    float       *out = a->out + p * WIDE;
    vf           s = vf_set(a->s);
    int64_t      n = tn_min64(WIDE, a->n_out - p * WIDE), ld = a->n_out;
    for (; r + TALL <= end; r += TALL)
        tile(out + r * ld, y + r * ld, ld, a->low + r * a->rank, panel, a->rank, n, s, TALL);
    for (; r < end; r++) tile(out + r * ld, y + r * ld, ld, a->low + r * a->rank, panel, a->rank, n, s, 1);
}

static void panels_make(const tn_adapter *a, int64_t begin, int64_t end)
{
    for (int64_t p = begin; p < end; p++)
        panel_make(a->turned + p * a->rank * WIDE, a->b + p * WIDE * a->rank, a->rank,
                   tn_min64(WIDE, a->n_out - p * WIDE));
}

static void up_all(const tn_adapter *a, int64_t r0, int64_t r1, int64_t p0, int64_t p1)
{
    for (int64_t r = r0; r < r1; r += BLOCK)
        for (int64_t p = p0; p < p1; p++) up_rows(a, r, tn_min64(r + BLOCK, r1), p);
}

/* ----------------------------------------------------------------------------------------------- backward */

/* dlow of `rows` rows: outputs [o, o + n) continue it. first: from +0. */
TN_INLINE void low_tile(float *dlow, const float *t, const float *b, int64_t rank, int64_t n, bool first,
                        const int rows)
{
    for (int64_t k = 0; k < rank; k += 16) {
        vf d[LOW_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) d[r] = first ? vf_zero() : get(dlow + r * rank, k, rank);
        for (int64_t o = 0; o < n; o++) {
            vf v = get(b + o * rank, k, rank);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) d[r] = vf_fma(vf_set(t[r * PIECE + o]), v, d[r]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) put(dlow + r * rank, d[r], k, rank, false);
    }
}

static void low_rows(const tn_adapter *a, int64_t begin, int64_t end)
{
    float   t[LOW_ROWS * PIECE];
    int64_t n_out = a->n_out, rank = a->rank;
    vf      s = vf_set(a->s);
    for (int64_t r = begin; r < end; r += LOW_ROWS) {
        int    n_row = (int)tn_min64(LOW_ROWS, end - r);
        float *dlow = a->dlow + r * rank;
        for (int64_t o = 0; o < n_out; o += PIECE) {
            int64_t      n = tn_min64(PIECE, n_out - o);
            const float *b = a->b + o * rank;
            bool         first = o == 0 && !a->add_low;
            for (int i = 0; i < n_row; i++)
                for (int64_t j = 0; j < n; j += 16)
                    put(t + i * PIECE, vf_mul(s, get(a->g + (r + i) * n_out + o, j, n)), j, n, false);
            if (n_row == LOW_ROWS) low_tile(dlow, t, b, rank, n, first, LOW_ROWS);
            else
                for (int i = 0; i < n_row; i++)
                    low_tile(dlow + i * rank, t + i * PIECE, b, rank, n, first, 1);
        }
    }
}

/* Rows [r0, r1) of a strip of outputs continue `some` columns of db, which lie in `sum` as [column][WIDE]. */
TN_INLINE void db_tile(float *sum, const float *g, int64_t ld, const float *low, int64_t rank, int64_t r0,
                       int64_t r1, int64_t n, vf s, const int some)
{
    vf d[SOME][N_VEC];
#pragma GCC unroll 8
    for (int i = 0; i < some; i++)
#pragma GCC unroll 2
        for (int v = 0; v < N_VEC; v++) d[i][v] = vf_load(sum + i * WIDE + 16 * v);
    for (int64_t r = r0; r < r1; r++) {
        vf t[N_VEC];
#pragma GCC unroll 2
        for (int v = 0; v < N_VEC; v++) t[v] = 16 * v < n ? vf_mul(s, get(g + r * ld, 16 * v, n)) : vf_zero();
#pragma GCC unroll 8
        for (int i = 0; i < some; i++) {
            vf x = vf_set(low[r * rank + i]);
#pragma GCC unroll 2
            for (int v = 0; v < N_VEC; v++) d[i][v] = vf_fma(t[v], x, d[i][v]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < some; i++)
#pragma GCC unroll 2
        for (int v = 0; v < N_VEC; v++) vf_store(sum + i * WIDE + 16 * v, d[i][v]);
}

/* Strips [begin, end), some rows at a time, so that g comes from memory once. */
static void db_strips(const tn_adapter *a, int64_t begin, int64_t end)
{
    int64_t n_out = a->n_out, rank = a->rank;
    float  *sums = a->turned, *db = a->db;
    vf      s = vf_set(a->s);
    for (int64_t o = begin * WIDE; o < end * WIDE; o++)
        for (int64_t k = 0; k < rank; k++)
            sums[(o / WIDE * rank + k) * WIDE + o % WIDE] = a->add_db && o < n_out ? db[o * rank + k] : 0.0f;
    for (int64_t r = 0; r < a->n_row; r += DB_ROWS)
        for (int64_t p = begin; p < end; p++) {
            const float *g = a->g + p * WIDE;
            int64_t      k = 0, n = tn_min64(WIDE, n_out - p * WIDE), last = tn_min64(r + DB_ROWS, a->n_row);
            float       *sum = sums + p * rank * WIDE;
            for (; k + SOME <= rank; k += SOME)
                db_tile(sum + k * WIDE, g, n_out, a->low + k, rank, r, last, n, s, SOME);
            for (; k < rank; k++) db_tile(sum + k * WIDE, g, n_out, a->low + k, rank, r, last, n, s, 1);
        }
    for (int64_t o = begin * WIDE; o < tn_min64(end * WIDE, n_out); o++)
        for (int64_t k = 0; k < rank; k++) db[o * rank + k] = sums[(o / WIDE * rank + k) * WIDE + o % WIDE];
}

const tn_adapter_kernels ADAPTER_KERNELS = { WIDE, panels_make, up_all, low_rows, db_strips, false };
