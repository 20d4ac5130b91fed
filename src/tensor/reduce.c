/* reduce.c - sums over rows and long vectors in one fixed order, and comparisons and hashes of tensors.
 *
 * A row: element t goes to lane t mod 16, in order; the lanes meet in the tree (i, i+8), (i, i+4), (i, i+2),
 * (i, i+1). A long vector: blocks of 65 536 elements, each summed like a row; block sums meet in a binary
 * tree by block index (level by level: block 2i with 2i+1, an odd last one moves up alone). Any number of
 * threads gives the same bits. */
#include "base/hash.h"
#include "tensor/cpu/kernels.h"
#include "tensor/loops.h"
#include "tensor/op_util.h"

enum { BLOCK = 65536, LEVELS = 48 };

float tn_lane_sum(const float lane[16])
{
    float s[8];
    for (int i = 0; i < 8; i++) s[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; i++) s[i] = s[i] + s[i + 4];
    s[0] = s[0] + s[2];
    s[1] = s[1] + s[3];
    return s[0] + s[1];
}

/* NaNs lose against numbers; the order cannot matter, because a maximum is exact. */
float tn_lane_max(const float lane[16])
{
    float m = lane[0];
    for (int i = 1; i < 16; i++) m = lane[i] > m || m != m ? lane[i] : m;
    return m;
}

static float block_sum_ref(const float *x, int64_t n, bool square)
{
    float   lane[16] = { 0 };
    int64_t i = 0;
    if (square) {
        for (; i + 16 <= n; i += 16)
            for (int l = 0; l < 16; l++) lane[l] = fmaf(x[i + l], x[i + l], lane[l]);
        for (; i < n; i++) lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
    } else {
        for (; i + 16 <= n; i += 16)
            for (int l = 0; l < 16; l++) lane[l] += x[i + l];
        for (; i < n; i++) lane[i % 16] += x[i];
    }
    return tn_lane_sum(lane);
}

static float block_sum(tn_isa isa, const float *x, int64_t n, bool square)
{
    if (isa == TN_ISA_AVX512) return tn_block_sum_avx512(x, n, square);
    if (isa == TN_ISA_AVX2) return tn_block_sum_avx2(x, n, square);
    return block_sum_ref(x, n, square);
}

void tn_loops_run_block_sum(tn_isa isa, float *y, const float *x)
{
    int64_t n[] = { 1, 16, 37, 500, TN_LOOPS_N };
    for (int i = 0; i < 10; i++) y[i] = block_sum(isa, x, n[i / 2], i % 2 == 0);
}

/* A run of blocks whose sums wait in a binary counter: level l holds the sum of 2^l aligned blocks. */
typedef struct {
    float sum[LEVELS];
    bool  used[LEVELS];
} counter;

static void counter_add(counter *c, float s)
{
    int l = 0;
    for (; c->used[l]; l++) {
        s = c->sum[l] + s;
        c->used[l] = false;
    }
    c->sum[l] = s;
    c->used[l] = true;
}

/* The pieces that are left join from the smallest on, exactly as the levels of the full tree would. */
static float counter_close(const counter *c)
{
    bool  have = false;
    float s = 0.0f;
    for (int l = 0; l < LEVELS; l++)
        if (c->used[l]) {
            s = have ? c->sum[l] + s : c->sum[l];
            have = true;
        }
    return s;
}

enum { BATCH = 1024 };
typedef struct {
    const float *x;
    int64_t      n, first;
    bool         square;
    tn_isa       isa;
    float        sums[BATCH];
} batch;

static void batch_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    batch *b = arg;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t at = (b->first + i) * BLOCK;
        b->sums[i] = block_sum(b->isa, b->x + at, tn_min64(BLOCK, b->n - at), b->square);
    }
}

static float long_sum(const float *x, int64_t n, bool square)
{
    counter c = { .used = { false } };
    batch   b = { .x = x, .n = n, .square = square, .isa = tn_loops_isa(TN_LOOPS_BLOCK_SUM) };
    int64_t n_block = (n + BLOCK - 1) / BLOCK;
    for (b.first = 0; b.first < n_block; b.first += BATCH) {
        int64_t m = tn_min64(BATCH, n_block - b.first);
        tn_parallel(m, 1, batch_piece, &b);
        for (int64_t i = 0; i < m; i++) counter_add(&c, b.sums[i]);
    }
    return counter_close(&c);
}

double tn_sum_sq(const float *x, int64_t n) { return (double)long_sum(x, n, true); }
float  tn_block_tree_sum(const float *x, int64_t n) { return long_sum(x, n, false); }

bool tn_same_bits(const float *a, const float *b, int64_t n, int64_t *first)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t u, v;
        memcpy(&u, a + i, 4);
        memcpy(&v, b + i, 4);
        if (u != v && !(a[i] != a[i] && b[i] != b[i])) {
            if (first != NULL) *first = i;
            return false;
        }
    }
    return true;
}

/* A stored NaN is 0x7fc00000 (bf16 0x7fc0), so that NaN payloads, which instructions choose freely, never
 * show. */
void tn_tensor_hash(struct tn_digest *out, const tn_tensor *t)
{
    tn_sha256 *h = NULL;
    memset(out, 0, sizeof *out);
    if (t == NULL || t->data == NULL || tn_sha256_create(&h, NULL) != TN_OK) return;
    if (t->dtype == TN_F32) {
        const float *x = t->data;
        float        buf[1024];
        for (int64_t i = 0, n = tn_n_elem(t); i < n; i += 1024) {
            int64_t m = tn_min64(1024, n - i);
            for (int64_t j = 0; j < m; j++) {
                static const uint32_t nan_bits = 0x7fc00000u;
                buf[j] = x[i + j];
                if (buf[j] != buf[j]) memcpy(buf + j, &nan_bits, 4);
            }
            tn_sha256_update(h, buf, (size_t)m * 4);
        }
    } else {
        tn_sha256_update(h, t->data, tn_n_bytes(t));
    }
    tn_sha256_final(h, out);
    tn_sha256_destroy(h);
}
