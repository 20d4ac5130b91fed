/* dropout_body.h - dropout for one instruction set: included by dropout_<isa>.c. Sixteen Philox counters a
 * step, one a lane: 64 columns of a row. Word j of counter q belongs to column 4q + j, so the words of four
 * lanes are brought together at the end. Private to tensor/cpu. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/row_parts.h"

#ifdef __AVX512F__
TN_INLINE vi vi_xor3(vi a, vi b, vi c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
TN_INLINE vi vi_counters(int32_t first)
{
    return _mm512_add_epi32(_mm512_set1_epi32(first),
                            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
TN_INLINE vi vi_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
TN_INLINE vm vm_not_below(vi a, uint32_t limit)
{
    return _mm512_cmpge_epu32_mask(a, _mm512_set1_epi32((int32_t)limit));
}
/* The lower and upper halves of the 64-bit products. */
TN_INLINE void vi_product(vi *low, vi *high, vi a, uint32_t m)
{
    vi even = _mm512_mul_epu32(a, _mm512_set1_epi32((int32_t)m)),
       odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_set1_epi32((int32_t)m));
    *low = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
    *high = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
}
/* dst[4q + j] = word j of lane q */
TN_INLINE void words_in_order(uint32_t dst[64], const vi w[4])
{
    vi a = _mm512_unpacklo_epi32(w[0], w[1]), b = _mm512_unpackhi_epi32(w[0], w[1]),
       c = _mm512_unpacklo_epi32(w[2], w[3]), d = _mm512_unpackhi_epi32(w[2], w[3]);
    vi v[4] = { _mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c), _mm512_unpacklo_epi64(b, d),
                _mm512_unpackhi_epi64(b, d) };
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm_storeu_si128((void *)(dst + 4 * i), _mm512_extracti32x4_epi32(v[i], 0));
        _mm_storeu_si128((void *)(dst + 16 + 4 * i), _mm512_extracti32x4_epi32(v[i], 1));
        _mm_storeu_si128((void *)(dst + 32 + 4 * i), _mm512_extracti32x4_epi32(v[i], 2));
        _mm_storeu_si128((void *)(dst + 48 + 4 * i), _mm512_extracti32x4_epi32(v[i], 3));
    }
}
#else
TN_INLINE vi vi_xor3(vi a, vi b, vi c)
{
    return (vi){ _mm256_xor_si256(_mm256_xor_si256(a.a, b.a), c.a),
                 _mm256_xor_si256(_mm256_xor_si256(a.b, b.b), c.b) };
}
TN_INLINE vi vi_counters(int32_t first)
{
    __m256i f = _mm256_set1_epi32(first);
    return (vi){ _mm256_add_epi32(f, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
                 _mm256_add_epi32(f, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)) };
}
TN_INLINE vi vi_load(const uint32_t *p)
{
    return (vi){ _mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + 8)) };
}
TN_INLINE vm vm_not_below(vi a, uint32_t limit)
{
    __m256i l = _mm256_set1_epi32((int32_t)limit);
    return (vm){ _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(a.a, l), a.a)),
                 _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(a.b, l), a.b)) };
}
TN_INLINE void half_product(__m256i *low, __m256i *high, __m256i a, __m256i m)
{
    __m256i even = _mm256_mul_epu32(a, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), m);
    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}
TN_INLINE void vi_product(vi *low, vi *high, vi a, uint32_t m)
{
    half_product(&low->a, &high->a, a.a, _mm256_set1_epi32((int32_t)m));
    half_product(&low->b, &high->b, a.b, _mm256_set1_epi32((int32_t)m));
}
TN_INLINE void half_in_order(uint32_t dst[32], __m256i w0, __m256i w1, __m256i w2, __m256i w3)
{
    __m256i a = _mm256_unpacklo_epi32(w0, w1), b = _mm256_unpackhi_epi32(w0, w1),
            c = _mm256_unpacklo_epi32(w2, w3), d = _mm256_unpackhi_epi32(w2, w3);
    __m256i v[4] = { _mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c), _mm256_unpacklo_epi64(b, d),
                     _mm256_unpackhi_epi64(b, d) };
    for (int i = 0; i < 4; i++) {
        _mm_storeu_si128((void *)(dst + 4 * i), _mm256_castsi256_si128(v[i]));
        _mm_storeu_si128((void *)(dst + 16 + 4 * i), _mm256_extracti128_si256(v[i], 1));
    }
}
TN_INLINE void words_in_order(uint32_t dst[64], const vi w[4])
{
    half_in_order(dst, w[0].a, w[1].a, w[2].a, w[3].a);
    half_in_order(dst + 32, w[0].b, w[1].b, w[2].b, w[3].b);
}
#endif

/* The words of columns c .. c + 64 of a row whose stream is `key` (rng.c). */
TN_INLINE void words_of(uint32_t dst[64], const tn_dropout_params *p, uint64_t key, uint32_t sample,
                        int64_t c)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    vi w[4] = { vi_counters((int32_t)(c / 4)), vi_set((int32_t)p->node), vi_set((int32_t)(uint32_t)p->step),
                vi_set((int32_t)sample) };

#pragma GCC unroll 10
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
        vi low0, high0, low1, high1;
        vi_product(&low0, &high0, w[0], 0xd2511f53u);
        vi_product(&low1, &high1, w[2], 0xcd9e8d57u);
        w[0] = vi_xor3(high1, w[1], vi_set((int32_t)k0));
        w[1] = low1;
        w[2] = vi_xor3(high0, w[3], vi_set((int32_t)k1));
        w[3] = low0;
    }
    words_in_order(dst, w);
}

typedef struct drop_job {
    const tn_call *c;
    const float   *x;
    float         *y;
    bool           add;
} drop_job;

static void drop_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const drop_job          *j = arg;
    const tn_dropout_params *p = j->c->params;
    const int32_t           *sample = tn_i32(j->c->in[1]);
    int64_t                  n = tn_cols(j->c->in[0]);
    uint32_t                 limit = (uint32_t)((double)p->p * 4294967296.0), words[64];
    vf                       scale = vf_set(1.0f / (1.0f - p->p));
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const tn_rng_key key = { .seed = p->seed,
                                 .purpose = TN_RNG_DROPOUT,
                                 .step = p->step,
                                 .sample = (uint64_t)(uint32_t)sample[r] };
        uint64_t         stream = tn_rng_stream(&key);
        for (int64_t c = 0; c < n; c += 64) {
            words_of(words, p, stream, (uint32_t)sample[r], c);
            for (int64_t i = c; i < n && i < c + 64; i += 16)
                put(j->y + r * n,
                    vf_sel(vm_not_below(vi_load(words + (i - c)), limit),
                           vf_mul(get(j->x + r * n, i, n), scale), vf_zero()),
                    i, n, j->add);
        }
    }
}

void DROPOUT_FWD(const tn_call *c)
{
    drop_job j = { c, tn_f32(c->in[0]), tn_f32(c->out[0]), false };
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), drop_piece, &j);
}

void DROPOUT_BWD(const tn_call *c)
{
    if (c->din[0] == NULL) return;
    drop_job j = { c, tn_f32(c->dout[0]), tn_f32(c->din[0]), c->add[0] };
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), drop_piece, &j);
}
