/* matmul_set_avx512.c - the pieces of the matrix product for AVX-512 (F, BW, DQ, VL), alone and with its
 * extensions. */
#include "tensor/cpu/matmul_avx2.h"
#include "tensor/cpu/matmul_avx512.h"

// clang-format off
#define COMMON                                                                                                        \
    .mr = 14, .np = 2, .f32 = tn_mm_f32_tiles_avx512, .in_place = tn_mm_f32_in_place_avx512, .near = 4096, .strip = tn_mm_strip_avx512,       \
    .panel_nk = tn_mm_panel_nk_avx512, .panels_kn = tn_mm_panels_kn_avx512,                                           \
    .panel_packed = tn_mm_panel_packed_avx512, .transpose = tn_mm_transpose_avx512, .few = tn_mm_few_avx512

#define PAIRS .strip_bf16 = tn_mm_strip_bf16_avx512, .pairs = tn_mm_pairs_avx512

#define VNNI                                                                                                          \
    .strip_q8 = tn_mm_strip_q8_vnni, .mr_q8 = 12, .q8 = {                                                             \
        [TN_Q8_0] = tn_mm_q8_0_tiles_vnni, [TN_Q4_0] = tn_mm_q4_0_tiles_vnni, [TN_Q4_1] = tn_mm_q4_1_tiles_vnni,      \
        [TN_Q5_0] = tn_mm_q5_0_tiles_vnni, [TN_Q5_1] = tn_mm_q5_1_tiles_vnni, [TN_Q4_K] = tn_mm_q4_k_tiles_vnni,      \
        [TN_Q5_K] = tn_mm_q5_k_tiles_vnni, [TN_Q6_K] = tn_mm_q6_k_tiles_vnni }

/* Without the dot product instruction the 256-bit tiles serve: VPMADDUBSW has no masks and signs at 512 bits. */
#define MADDUBS                                                                                                       \
    .strip_q8 = tn_mm_strip_q8_avx2, .mr_q8 = 4, .q8 = {                                                              \
        [TN_Q8_0] = tn_mm_q8_0_tiles_avx2, [TN_Q4_0] = tn_mm_q4_0_tiles_avx2, [TN_Q4_1] = tn_mm_q4_1_tiles_avx2,      \
        [TN_Q5_0] = tn_mm_q5_0_tiles_avx2, [TN_Q5_1] = tn_mm_q5_1_tiles_avx2, [TN_Q4_K] = tn_mm_q4_k_tiles_avx2,      \
        [TN_Q5_K] = tn_mm_q5_k_tiles_avx2, [TN_Q6_K] = tn_mm_q6_k_tiles_avx2 }

const tn_mm_set tn_mm_avx512 =      {.name = "avx512",      COMMON, PAIRS, MADDUBS, .mr_bf16 = 12, .bf16 = tn_mm_bf16_tiles_avx512};
const tn_mm_set tn_mm_avx512_vnni = {.name = "avx512_vnni", COMMON, PAIRS, VNNI, .mr_bf16 = 12, .bf16 = tn_mm_bf16_tiles_avx512};
const tn_mm_set tn_mm_avx512_bf16 = {.name = "avx512_bf16", COMMON, PAIRS, VNNI, .mr_bf16 = 14, .bf16 = tn_mm_dpbf16_tiles_avx512};
const tn_mm_set tn_mm_avx512_amx =  {.name = "avx512_amx",  COMMON, VNNI, .unit = &tn_mm_unit_amx, .q8_unit = tn_mm_q8_amx};
// clang-format on
