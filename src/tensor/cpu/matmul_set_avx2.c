/* matmul_set_avx2.c - the pieces of the matrix product for AVX2. */
#include "tensor/cpu/matmul_avx2.h"

// clang-format off
const tn_mm_set tn_mm_avx2 = {
    .name = "avx2", .mr = 6, .mr_bf16 = 6, .np = 1, .f32 = tn_mm_f32_tiles_avx2, .in_place = tn_mm_f32_in_place_avx2, .kc_by_panel = 384,
    .bf16 = tn_mm_bf16_tiles_avx2, .strip = tn_mm_strip_avx2, .strip_bf16 = tn_mm_strip_bf16_avx2, .strip_bf16_wide = true,
    .panel_nk = tn_mm_panel_nk_avx2, .panels_kn = tn_mm_panels_kn_avx2, .panel_packed = tn_mm_panel_packed_avx2, .pairs = tn_mm_pairs_avx2,
    .transpose = tn_mm_transpose_avx2, .few = tn_mm_few_avx2,
    .strip_q8 = tn_mm_strip_q8_avx2, .mr_q8 = 4, .q8 = {
        [TN_Q8_0] = tn_mm_q8_0_tiles_avx2, [TN_Q4_0] = tn_mm_q4_0_tiles_avx2, [TN_Q4_1] = tn_mm_q4_1_tiles_avx2,
        [TN_Q5_0] = tn_mm_q5_0_tiles_avx2, [TN_Q5_1] = tn_mm_q5_1_tiles_avx2, [TN_Q4_K] = tn_mm_q4_k_tiles_avx2,
        [TN_Q5_K] = tn_mm_q5_k_tiles_avx2, [TN_Q6_K] = tn_mm_q6_k_tiles_avx2 }
};
// clang-format on
