/* onednn.h - one fp32 product by oneDNN, for bench_matmul.c: created once for a shape, run again and
 * again. */
#ifndef TN_BENCH_ONEDNN_H
#define TN_BENCH_ONEDNN_H

#include <stdbool.h>
#include <stdint.h>

/* c [m][n] = a b (+ c with add): element (i, j) of a lies at a[i a_stride[0] + j a_stride[1]], so too for b.
 *   ONEDNN_PLAIN   b is given as it lies          ONEDNN_PACKED   b was brought into oneDNN's own layout beforehand
 *   ONEDNN_PACKS   that is done within each run */
typedef enum onednn_how { ONEDNN_PLAIN, ONEDNN_PACKED, ONEDNN_PACKS } onednn_how;
typedef struct onednn onednn;

/* NULL: oneDNN is not there, or cannot. */
onednn     *onednn_create(int64_t m, int64_t n, int64_t k, const float *a, const int64_t a_stride[2],
                          const float *b, const int64_t b_stride[2], float *c, bool add, onednn_how how);
void        onednn_run(onednn *o);
void        onednn_destroy(onednn *o);
const char *onednn_name(void);

#endif
