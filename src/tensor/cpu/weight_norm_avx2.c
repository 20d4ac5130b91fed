/* weight_norm_avx2.c - rows of weight_norm with eight columns a register; two registers are the 16 lanes. */
#include "tensor/weight_norm.h"

#include <immintrin.h>

static float row_length(const float *w, const float *a, const float *b, int64_t n, int64_t rank, float scale)
{
    __m256  low = _mm256_setzero_ps(), high = _mm256_setzero_ps(), s = _mm256_set1_ps(scale);
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) {
        __m256 x = _mm256_setzero_ps(), y = _mm256_setzero_ps();
        for (int64_t k = 0; k < rank; k++) {
            __m256 b_k = _mm256_set1_ps(b[k]);
            x = _mm256_fmadd_ps(b_k, _mm256_loadu_ps(a + k * n + i), x);
            y = _mm256_fmadd_ps(b_k, _mm256_loadu_ps(a + k * n + i + 8), y);
        }
        x = _mm256_fmadd_ps(s, x, _mm256_loadu_ps(w + i));
        y = _mm256_fmadd_ps(s, y, _mm256_loadu_ps(w + i + 8));
        low = _mm256_fmadd_ps(x, x, low);
        high = _mm256_fmadd_ps(y, y, high);
    }
    float lane[16];
    _mm256_storeu_ps(lane, low);
    _mm256_storeu_ps(lane + 8, high);
    for (; i < n; i++) {
        float sum = 0.0f;
        for (int64_t k = 0; k < rank; k++) sum = fmaf(b[k], a[k * n + i], sum);
        float v = fmaf(scale, sum, w[i]);
        lane[i % 16] = fmaf(v, v, lane[i % 16]);
    }
    return sqrtf(tn_lane_sum(lane));
}

void tn_weight_norm_fwd_avx2(const tn_call *c) { tn_weight_norm_fwd(c, row_length); }
