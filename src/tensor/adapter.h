/* adapter.h - what the two operations with low-rank adapters share: the parts that a set of kernels has.
 * Private to tensor. */
#ifndef TN_TENSOR_ADAPTER_H
#define TN_TENSOR_ADAPTER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tn_adapter {
    int64_t      n_row, n_out, rank;
    float        s;
    const float *low, *b; /* [n_row][rank]; [n_out][rank] */
    const float *y;       /* [n_row][n_out]; may be out */
    float       *out;
    const float *g;               /* gradient of out */
    float       *dlow, *db;       /* NULL: not wanted */
    bool         add_low, add_db; /* continue what is there */
    float       *turned;          /* n_out rounded up to 32, times rank: b as columns, or the sums of db */
} tn_adapter;

/* wide: outputs of a panel. panels, db: panels [begin, end). up, low: rows [begin, end); up needs all panels
 * that it is given. */
typedef struct tn_adapter_kernels {
    int64_t wide;
    void (*panels)(const tn_adapter *a, int64_t begin, int64_t end);
    void (*up)(const tn_adapter *a, int64_t r0, int64_t r1, int64_t p0, int64_t p1);
    void (*low)(const tn_adapter *a, int64_t begin, int64_t end);
    void (*db)(const tn_adapter *a, int64_t begin, int64_t end);
    bool reference_mm;
} tn_adapter_kernels;

extern const tn_adapter_kernels tn_adapter_ref, tn_adapter_avx2, tn_adapter_avx512;

#endif
