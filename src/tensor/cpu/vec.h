/* vec.h - sixteen fp32 lanes, written once for the kernels of cpu/: one 512-bit register where the file is
 * compiled for AVX-512, two 256-bit ones where it is compiled for AVX2. Every function is one IEEE operation
 * a lane, so a kernel body gives the same bits under both. Private to tensor/cpu.
 *
 * lt, gt and the selections behave as the scalar a < b ? a : b: with a NaN the second operand passes. */
#ifndef TN_TENSOR_CPU_VEC_H
#define TN_TENSOR_CPU_VEC_H

#include <immintrin.h>
#include <stdint.h>

#define TN_INLINE static inline __attribute__((always_inline, unused))

#ifdef __AVX512F__

typedef __m512    vf;
typedef __m512i   vi;
typedef __mmask16 vm;

TN_INLINE vf        vf_load(const float *p) { return _mm512_loadu_ps(p); }
TN_INLINE void      vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
TN_INLINE __mmask16 vf_first(int n) { return (__mmask16)((1u << n) - 1u); }
TN_INLINE vf        vf_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(vf_first(n), p); }
TN_INLINE void      vf_store_n(float *p, vf v, int n) { _mm512_mask_storeu_ps(p, vf_first(n), v); }
TN_INLINE vf        vf_set(float x) { return _mm512_set1_ps(x); }
TN_INLINE vf        vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
TN_INLINE vf        vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
TN_INLINE vf        vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
TN_INLINE vf        vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
TN_INLINE vf        vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
TN_INLINE vf        vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
TN_INLINE vf        vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
/* a b - c in even lanes, a b + c in odd ones; both lanes of a pair its first, or its second; the two
 * exchanged. */
TN_INLINE vf vf_fma_sub_add(vf a, vf b, vf c) { return _mm512_fmaddsub_ps(a, b, c); }
TN_INLINE vf vf_firsts(vf v) { return _mm512_moveldup_ps(v); }
TN_INLINE vf vf_seconds(vf v) { return _mm512_movehdup_ps(v); }
TN_INLINE vf vf_swapped(vf v) { return _mm512_permute_ps(v, 0xb1); }
TN_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
TN_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
TN_INLINE vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }
TN_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
TN_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
TN_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
TN_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
#define vi_sll(a, n) _mm512_slli_epi32((a), (n))
#define vi_sra(a, n) _mm512_srai_epi32((a), (n))
TN_INLINE vf vi_to_float(vi a) { return _mm512_cvtepi32_ps(a); }
TN_INLINE vi vf_bits(vf a) { return _mm512_castps_si512(a); }
TN_INLINE vf vi_floats(vi a) { return _mm512_castsi512_ps(a); }
TN_INLINE vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
TN_INLINE vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
TN_INLINE vf vf_sel(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); } /* m ? a : b */
/* Lanes [lo, hi) of sixteen. */
TN_INLINE vm vm_range(int lo, int hi) { return (vm)(((1u << hi) - 1u) & ~((1u << lo) - 1u)); }
/* v 2^k for a whole k: rounded once, as two multiplications with powers of two are. */
TN_INLINE vf     vf_scale2(vf v, vf k) { return _mm512_scalef_ps(v, k); }
TN_INLINE __m256 vf_lower(vf v) { return _mm512_castps512_ps256(v); }
TN_INLINE __m256 vf_upper(vf v) { return _mm512_extractf32x8_ps(v, 1); }
/* 16 bf16 values as fp32. */
TN_INLINE vf vf_load_bf16(const uint16_t *p)
{
    return vi_floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}
TN_INLINE vf vf_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
TN_INLINE vf vf_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}

#else

typedef struct vf {
    __m256 a, b;
} vf;
typedef struct vi {
    __m256i a, b;
} vi;
typedef struct vm {
    __m256 a, b;
} vm;

TN_INLINE vf   vf_load(const float *p) { return (vf){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) }; }
TN_INLINE void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
TN_INLINE __m256i vf_first8(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
TN_INLINE vf vf_load_n(const float *p, int n)
{
    return (vf){ _mm256_maskload_ps(p, vf_first8(n)), _mm256_maskload_ps(p + 8, vf_first8(n - 8)) };
}
TN_INLINE void vf_store_n(float *p, vf v, int n)
{
    _mm256_maskstore_ps(p, vf_first8(n), v.a);
    _mm256_maskstore_ps(p + 8, vf_first8(n - 8), v.b);
}
TN_INLINE vf vf_set(float x)
{
    __m256 v = _mm256_set1_ps(x);
    return (vf){ v, v };
}
TN_INLINE vf vf_add(vf a, vf b) { return (vf){ _mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b) }; }
TN_INLINE vf vf_sub(vf a, vf b) { return (vf){ _mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b) }; }
TN_INLINE vf vf_mul(vf a, vf b) { return (vf){ _mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b) }; }
TN_INLINE vf vf_div(vf a, vf b) { return (vf){ _mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b) }; }
TN_INLINE vf vf_sqrt(vf a) { return (vf){ _mm256_sqrt_ps(a.a), _mm256_sqrt_ps(a.b) }; }
TN_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return (vf){ _mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b) };
}
TN_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return (vf){ _mm256_fnmadd_ps(a.a, b.a, c.a), _mm256_fnmadd_ps(a.b, b.b, c.b) };
}
TN_INLINE vf vf_fma_sub_add(vf a, vf b, vf c)
{
    return (vf){ _mm256_fmaddsub_ps(a.a, b.a, c.a), _mm256_fmaddsub_ps(a.b, b.b, c.b) };
}
TN_INLINE vf vf_firsts(vf v) { return (vf){ _mm256_moveldup_ps(v.a), _mm256_moveldup_ps(v.b) }; }
TN_INLINE vf vf_seconds(vf v) { return (vf){ _mm256_movehdup_ps(v.a), _mm256_movehdup_ps(v.b) }; }
TN_INLINE vf vf_swapped(vf v) { return (vf){ _mm256_permute_ps(v.a, 0xb1), _mm256_permute_ps(v.b, 0xb1) }; }
TN_INLINE vf vf_min(vf a, vf b) { return (vf){ _mm256_min_ps(a.a, b.a), _mm256_min_ps(a.b, b.b) }; }
TN_INLINE vf vf_max(vf a, vf b) { return (vf){ _mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b) }; }
TN_INLINE vi vi_set(int32_t x)
{
    __m256i v = _mm256_set1_epi32(x);
    return (vi){ v, v };
}
TN_INLINE vi vi_add(vi a, vi b) { return (vi){ _mm256_add_epi32(a.a, b.a), _mm256_add_epi32(a.b, b.b) }; }
TN_INLINE vi vi_sub(vi a, vi b) { return (vi){ _mm256_sub_epi32(a.a, b.a), _mm256_sub_epi32(a.b, b.b) }; }
TN_INLINE vi vi_and(vi a, vi b) { return (vi){ _mm256_and_si256(a.a, b.a), _mm256_and_si256(a.b, b.b) }; }
TN_INLINE vi vi_or(vi a, vi b) { return (vi){ _mm256_or_si256(a.a, b.a), _mm256_or_si256(a.b, b.b) }; }
#define vi_sll(v, n) ((vi){ _mm256_slli_epi32((v).a, (n)), _mm256_slli_epi32((v).b, (n)) })
#define vi_sra(v, n) ((vi){ _mm256_srai_epi32((v).a, (n)), _mm256_srai_epi32((v).b, (n)) })
TN_INLINE vf vi_to_float(vi v) { return (vf){ _mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b) }; }
TN_INLINE vi vf_bits(vf v) { return (vi){ _mm256_castps_si256(v.a), _mm256_castps_si256(v.b) }; }
TN_INLINE vf vi_floats(vi v) { return (vf){ _mm256_castsi256_ps(v.a), _mm256_castsi256_ps(v.b) }; }
TN_INLINE vm vf_lt(vf a, vf b)
{
    return (vm){ _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ), _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ) };
}
TN_INLINE vm vf_eq(vf a, vf b)
{
    return (vm){ _mm256_cmp_ps(a.a, b.a, _CMP_EQ_OQ), _mm256_cmp_ps(a.b, b.b, _CMP_EQ_OQ) };
}
TN_INLINE vf vf_sel(vm m, vf a, vf b)
{
    return (vf){ _mm256_blendv_ps(b.a, a.a, m.a), _mm256_blendv_ps(b.b, a.b, m.b) };
}
TN_INLINE vm vm_range(int lo, int hi)
{
    return (vm){ _mm256_castsi256_ps(_mm256_andnot_si256(vf_first8(lo), vf_first8(hi))),
                 _mm256_castsi256_ps(_mm256_andnot_si256(vf_first8(lo - 8), vf_first8(hi - 8))) };
}
TN_INLINE __m256 vf_lower(vf v) { return v.a; }
TN_INLINE __m256 vf_upper(vf v) { return v.b; }
TN_INLINE vf     vf_scale2(vf v, vf k)
{
    const vf magic = vf_set(0x1.8p+23f);
    vi       n = vi_sub(vf_bits(vf_add(k, magic)), vf_bits(magic)), h = vi_sra(n, 1), bias = vi_set(127);
    return vf_mul(vf_mul(v, vi_floats(vi_sll(vi_add(h, bias), 23))),
                  vi_floats(vi_sll(vi_add(vi_sub(n, h), bias), 23)));
}
TN_INLINE vf vf_load_bf16(const uint16_t *p)
{
    return (vf){ _mm256_castsi256_ps(
                     _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16)),
                 _mm256_castsi256_ps(
                     _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(p + 8))), 16)) };
}
TN_INLINE vf vf_load_f16(const uint16_t *p)
{
    return (vf){ _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 8))) };
}
TN_INLINE vf vf_load_i8(const int8_t *p)
{
    return (vf){ _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p))),
                 _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(p + 8)))) };
}

#endif

/* Lanes [lo, hi), cut to the sixteen that there are. */
TN_INLINE vm vm_between(int lo, int hi)
{
    lo = lo < 0 ? 0 : lo > 16 ? 16 : lo;
    hi = hi < lo ? lo : hi > 16 ? 16 : hi;
    return vm_range(lo, hi);
}

TN_INLINE vf vf_zero(void) { return vf_set(0.0f); }
TN_INLINE vf vf_abs(vf v) { return vi_floats(vi_and(vf_bits(v), vi_set(0x7fffffff))); }
TN_INLINE vf vf_neg(vf v) { return vf_sub(vf_set(-0.0f), v); }
/* The magnitude of v (not negative) with the sign of s. */
TN_INLINE vf vf_with_sign(vf v, vf s)
{
    return vi_floats(vi_or(vf_bits(v), vi_and(vf_bits(s), vi_set((int32_t)0x80000000u))));
}

TN_INLINE float vf_get(vf v) { return _mm256_cvtss_f32(vf_lower(v)); }

/* tn_lane_sum's tree. */
TN_INLINE float vf_sum(vf v)
{
    __m256 s8 = _mm256_add_ps(vf_lower(v), vf_upper(v));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

/* The largest lane; lanes hold no NaN. */
TN_INLINE float vf_top(vf v)
{
    __m256 m8 = _mm256_max_ps(vf_lower(v), vf_upper(v));
    __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    return _mm_cvtss_f32(_mm_max_ss(m2, _mm_shuffle_ps(m2, m2, 1)));
}

#endif
