/* matmul_set_avx512.c - the pieces of the matrix product for AVX-512 (F, BW, DQ, VL). */
#include "tensor/cpu/matmul_avx512.h"

const tn_mm_set tn_mm_avx512 = {
    .name = "avx512", .mr = 14, .np = 2,
    .f32 = tn_mm_f32_tiles_avx512,
    .strip = tn_mm_strip_avx512,
    .panel_nk = tn_mm_panel_nk_avx512, .panels_kn = tn_mm_panels_kn_avx512,
    .panel_packed = tn_mm_panel_packed_avx512, .transpose = tn_mm_transpose_avx512,
};
