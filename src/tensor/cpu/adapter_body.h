/* adapter_body.h - low-rank adapters for one instruction set: included by adapter_<isa>.c. Private to tensor/cpu.
 *
 *   forward   lanes across outputs: b is turned once into panels [rank][WIDE]; a tile of rows x WIDE stays in registers
 *   dlow      lanes across the rank; t = s dout of a few rows is made a piece at a time, in the first cache
 *   db        lanes across outputs: a strip of dout is read once for SOME of the rank's columns */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/row_parts.h"

#ifdef __AVX512F__
enum { N_VEC = 2, TALL = 12, LOW_ROWS = 16, SOME = 8 };
#else
enum { N_VEC = 1, TALL = 6, LOW_ROWS = 6, SOME = 4 };
#endif
enum { WIDE = 16 * N_VEC, BLOCK = 4 * TALL, PIECE = 256, FEW = 8 };

/* ------------------------------------------------------------------------------------------------------- forward */

static void panel_make(float *dst, const float *b, int64_t rank, int64_t n)
{
    for (int64_t k = 0; k < rank; k++)
        for (int64_t j = 0; j < WIDE; j++) dst[k * WIDE + j] = j < n ? b[j * rank + k] : 0.0f;
}

/* rows x n outputs (at most WIDE); `rows` is a constant where this is used. */
TN_INLINE void tile(float *out, const float *y, int64_t ld, const float *low, const float *panel, int64_t rank, int64_t n, vf s, const int rows)
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
            if (16 * v < n) put(out + r * ld, vf_fma(s, u[r][v], get(y + r * ld, 16 * v, n)), 16 * v, n, false);
}

typedef struct up { const tn_call *c; int64_t n_row, n_out, rank; float *panels; } up;

/* Rows [r, end) of panel p. */
static void up_rows(const up *u, int64_t r, int64_t end, int64_t p)
{
    const float *low = tn_f32(u->c->in[1]), *panel = u->panels + p * u->rank * WIDE, *y = tn_f32(u->c->in[0]) + p * WIDE;
    float       *out = tn_f32(u->c->out[0]) + p * WIDE;
    vf           s = vf_set(TN_PARAMS(u->c, tn_adapter_params)->s);
    int64_t      n = tn_min64(WIDE, u->n_out - p * WIDE), ld = u->n_out;
    for (; r + TALL <= end; r += TALL) tile(out + r * ld, y + r * ld, ld, low + r * u->rank, panel, u->rank, n, s, TALL);
    for (; r < end; r++) tile(out + r * ld, y + r * ld, ld, low + r * u->rank, panel, u->rank, n, s, 1);
}

/* Panels [begin, end), and where the rows are few also all rows of them. */
static void panels_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const up *u = arg;
    (void)i_thread;
    for (int64_t p = begin; p < end; p++) {
        panel_make(u->panels + p * u->rank * WIDE, tn_f32(u->c->in[2]) + p * WIDE * u->rank, u->rank, tn_min64(WIDE, u->n_out - p * WIDE));
        if (u->n_row <= FEW) up_rows(u, 0, u->n_row, p);
    }
}

static void up_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const up *u = arg;
    (void)i_thread;
    for (int64_t r = begin; r < end; r += BLOCK)
        for (int64_t p = 0; p * WIDE < u->n_out; p++) up_rows(u, r, tn_min64(r + BLOCK, end), p);
}

void ADAPTER_FWD(const tn_call *c)
{
    up      u = { c, tn_rows(c->in[0]), tn_cols(c->in[0]), tn_cols(c->in[1]), c->scratch };
    int64_t grain = tn_row_grain(u.n_out);
    tn_parallel((u.n_out + WIDE - 1) / WIDE, tn_max64(1, TN_GRAIN_ELEMS / (WIDE * u.rank)), panels_piece, &u);
    if (u.n_row > FEW) tn_parallel(u.n_row, grain < TALL ? TALL : grain, up_piece, &u);
}

/* ------------------------------------------------------------------------------------------------------ backward */

/* dlow of `rows` rows: outputs [o, o + n) continue it. first: from +0. */
TN_INLINE void low_tile(float *dlow, const float *t, const float *b, int64_t rank, int64_t n, bool first, const int rows)
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

static void low_rows(const tn_call *c, int64_t r, int n_row)
{
    float        t[LOW_ROWS * PIECE];
    const float *g = tn_f32(c->dout[0]), *b = tn_f32(c->in[2]);
    int64_t      n_out = tn_cols(c->dout[0]), rank = tn_cols(c->in[1]);
    float       *dlow = tn_f32(c->din[1]) + r * rank;
    vf           s = vf_set(TN_PARAMS(c, tn_adapter_params)->s);
    for (int64_t o = 0; o < n_out; o += PIECE) {
        int64_t n = tn_min64(PIECE, n_out - o);
        for (int i = 0; i < n_row; i++)
            for (int64_t j = 0; j < n; j += 16) put(t + i * PIECE, vf_mul(s, get(g + (r + i) * n_out + o, j, n)), j, n, false);
        if (n_row == LOW_ROWS) low_tile(dlow, t, b + o * rank, rank, n, o == 0 && !c->add[1], LOW_ROWS);
        else
            for (int i = 0; i < n_row; i++) low_tile(dlow + i * rank, t + i * PIECE, b + o * rank, rank, n, o == 0 && !c->add[1], 1);
    }
}

static void rows_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *g = tn_f32(c->dout[0]);
    float         *dy = tn_f32(c->din[0]);
    int64_t        n_out = tn_cols(c->dout[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r += LOW_ROWS) {
        int64_t last = tn_min64(r + LOW_ROWS, end);
        if (c->din[1] != NULL) low_rows(c, r, (int)(last - r));
        if (dy == NULL || dy == g) continue;
        for (int64_t i = r * n_out; i < last * n_out; i += 16) put(dy, get(g, i, last * n_out), i, last * n_out, c->add[0]);
    }
}

/* db of outputs [o, o + n), columns k .. k + some. */
TN_INLINE void db_tile(const tn_call *c, int64_t o, int64_t n, int64_t k, vf s, const int some)
{
    const float *g = tn_f32(c->dout[0]) + o, *low = tn_f32(c->in[1]) + k;
    int64_t      n_out = tn_cols(c->dout[0]), rank = tn_cols(c->in[1]), n_row = tn_rows(c->dout[0]);
    float       *db = tn_f32(c->din[2]) + o * rank + k, turned[SOME][WIDE];
    vf           d[SOME][N_VEC];
    for (int i = 0; i < some; i++)
        for (int64_t j = 0; j < WIDE; j++) turned[i][j] = c->add[2] && j < n ? db[j * rank + i] : 0.0f;
#pragma GCC unroll 8
    for (int i = 0; i < some; i++)
#pragma GCC unroll 2
        for (int v = 0; v < N_VEC; v++) d[i][v] = vf_load(turned[i] + 16 * v);
    for (int64_t r = 0; r < n_row; r++) {
        vf t[N_VEC];
#pragma GCC unroll 2
        for (int v = 0; v < N_VEC; v++) t[v] = 16 * v < n ? vf_mul(s, get(g + r * n_out, 16 * v, n)) : vf_zero();
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
        for (int v = 0; v < N_VEC; v++) vf_store(turned[i] + 16 * v, d[i][v]);
    for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < some; i++) db[j * rank + i] = turned[i][j];
}

static void db_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    int64_t        n_out = tn_cols(c->dout[0]), rank = tn_cols(c->in[1]);
    vf             s = vf_set(TN_PARAMS(c, tn_adapter_params)->s);
    (void)i_thread;
    for (int64_t p = begin; p < end; p++) {
        int64_t k = 0, o = p * WIDE, n = tn_min64(WIDE, n_out - o);
        for (; k + SOME <= rank; k += SOME) db_tile(c, o, n, k, s, SOME);
        for (; k < rank; k++) db_tile(c, o, n, k, s, 1);
    }
}

void ADAPTER_BWD(const tn_call *c)
{
    int64_t n_out = tn_cols(c->dout[0]), grain = tn_row_grain(n_out);
    tn_parallel(tn_rows(c->dout[0]), grain < LOW_ROWS ? LOW_ROWS : grain, rows_piece, (void *)c);
    if (c->din[2] != NULL) tn_parallel((n_out + WIDE - 1) / WIDE, tn_max64(1, TN_GRAIN_ELEMS / (WIDE * tn_rows(c->dout[0]) + 1)), db_piece, (void *)c);
}
