/* q8_numbers_avx512.h - d and the sums of codes of sixteen blocks of activations at a time, for the strips of
 * q8act. One block alone would wait for two divisions and a reduction over lanes. Private to tensor/cpu. */
#ifndef TN_TENSOR_CPU_Q8_NUMBERS_AVX512_H
#define TN_TENSOR_CPU_Q8_NUMBERS_AVX512_H

#include <immintrin.h>

enum { GROUP = 16 }; /* blocks */

/* Sixteen vectors become one: lane i is the largest (or the sum) of vector i's lanes. Only integers come
 * here: any order will do. */
#define TREE(name, join)                                                                                     \
    static inline __attribute__((always_inline)) __m512i name(__m512i v[GROUP])                              \
    {                                                                                                        \
        for (int i = 0; i < 8; i++)                                                                          \
            v[i] = join(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),                                       \
                        _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));                                      \
        for (int i = 0; i < 4; i++)                                                                          \
            v[i] = join(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]),                                       \
                        _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));                                      \
        for (int i = 0; i < 2; i++)                                                                          \
            v[i] = join(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x44),                                  \
                        _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xee));                                 \
        return join(_mm512_shuffle_i32x4(v[0], v[1], 0x88), _mm512_shuffle_i32x4(v[0], v[1], 0xdd));         \
    }
TREE(largest_of, _mm512_max_epi32)
TREE(sum_of, _mm512_add_epi32)
#undef TREE

/* Of n blocks of a row: the definition's d, and 127 / amax (0 where all codes are 0), from the bits of amax:
 * as integers, NaN is above infinity. Infinity and NaN times 0 become codes of which the low byte, all that
 * is kept, is 0. */
static inline __attribute__((always_inline)) __m512 scales_of(const float *x, int n, float inverse[GROUP])
{
    const __m512  c127 = _mm512_set1_ps(127.0f);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i       v[GROUP];

    for (int j = 0; j < GROUP; j++)
        v[j] = j < n ? _mm512_max_epi32(_mm512_and_si512(_mm512_loadu_si512(x + 32 * j), magnitude),
                                        _mm512_and_si512(_mm512_loadu_si512(x + 32 * j + 16), magnitude))
                     : _mm512_setzero_si512();
    __m512i   top = largest_of(v);
    __m512    amax = _mm512_castsi512_ps(top);
    __mmask16 finite = _mm512_cmplt_epi32_mask(top, _mm512_set1_epi32(0x7f800000));
    __mmask16 some = _mm512_mask_cmp_ps_mask(finite, amax, _mm512_set1_ps(0x1p-100f), _CMP_GE_OQ);

    _mm512_storeu_ps(inverse, _mm512_maskz_div_ps(some, c127, amax));
    return _mm512_mask_mov_ps(_mm512_maskz_div_ps(some, amax, c127), (__mmask16)~finite,
                              _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

#endif
