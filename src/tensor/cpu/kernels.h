/* kernels.h - the kernels that live in cpu/: <operation>_<isa>.c, compiled with that instruction set's flags. Private to
 * tensor. */
#ifndef TN_TENSOR_CPU_KERNELS_H
#define TN_TENSOR_CPU_KERNELS_H

#include "tensor/tensor.h"

#endif
