/* bench_util.h - what the C benchmarks share: operands, and the median of their rounds. */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <stdlib.h>

/* n floats in [-1, 1], on a cache line; made: free. Without memory the benchmark ends. */
static inline void *numbers(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);

    if (p == NULL) exit(1);
    for (size_t i = 0; i < n; i++) p[i] = (float)((i * 2654435761u >> 8) % 2001) / 1000.0f - 1.0f;
    return p;
}

static inline int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts v. */
static inline double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

#endif
