/* row_parts.h - sixteen elements of a row, its last part included, for the kernels written over vec.h.
 * Private to tensor/cpu. */
#ifndef TN_TENSOR_CPU_ROW_PARTS_H
#define TN_TENSOR_CPU_ROW_PARTS_H

#include <stdbool.h>

#include "tensor/cpu/vec.h"

TN_INLINE vf get(const float *p, int64_t i, int64_t n)
{
    return i + 16 <= n ? vf_load(p + i) : vf_load_n(p + i, (int)(n - i));
}
TN_INLINE void put(float *p, vf v, int64_t i, int64_t n, bool add)
{
    if (i + 16 <= n) vf_store(p + i, add ? vf_add(vf_load(p + i), v) : v);
    else vf_store_n(p + i, add ? vf_add(vf_load_n(p + i, (int)(n - i)), v) : v, (int)(n - i));
}

#endif
