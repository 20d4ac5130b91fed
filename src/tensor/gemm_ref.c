/* gemm_ref.c - the plain loops that define the matrix product. Every kernel must equal them to the bit.
 *
 *   strict        c = fmaf(a[k], b[k], c)                                        k = 0, 1, 2 ...
 *   strict-bf16   for each 32 k (the last ones padded with +0, operands rounded to bf16):  c = c + (s + t), where s is the
 *                 chain of its first 16 k from +0 and t that of the other 16: step(a[k+1], b[k+1], s), step(a[k], b[k], s)
 *                 for k = 0, 2, 4 ...; steps and sums take denormals as signed zero (tn_bf16_fma)
 *
 *   q8act         c = fmaf(D * d, (float)s, c); c = fmaf(M, d * (float)t, c)     blocks of 32 k, ascending; see q8act.c
 *
 * C is +0 before, or what it holds when the product continues a chain. */
#include "tensor/matmul.h"

#include "base/thread.h"

#include <math.h>
#include <string.h>

enum { PART = 256 }; /* a multiple of 32: a block of strict-bf16 is never cut */

void tn_mm_column(float *dst, const tn_mm_b *b, int64_t n, int64_t k0, int64_t k)
{
    size_t         bytes = b->rows != NULL ? tn_row_bytes(b->dtype, 1) : 0;
    const uint8_t *rows = b->rows;

    switch (b->kind) {
    case TN_MM_B_NK: tn_row_to_f32(dst, rows + (size_t)(n * b->ld + k0) * bytes, b->dtype, k); break;
    case TN_MM_B_KN:
        for (int64_t i = 0; i < k; i++)
            tn_row_to_f32(dst + i, rows + (size_t)((k0 + i) * b->ld + n) * bytes, b->dtype, 1);
        break;
    case TN_MM_B_PACKED: tn_weight_part(dst, b->w, b->first + n, k0, k); break;
    case TN_MM_B_PACKED_T:
        for (int64_t i = 0; i < k; i++) tn_weight_part(dst + i, b->w, b->first + k0 + i, n, 1);
        break;
    }
}

static float flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }

/* fmaf with denormal a, b, c taken as signed zero, and a result that is tiny made signed zero. Tiny is judged
 * as the hardware judges it, after rounding to 24 bits without a lower limit of the exponent: a result that
 * only the coarser grid of the denormals rounds up to 2^-126 was tiny. Near there a * b + c is exact in
 * double: the product of two bf16 has 16 bits. */
float tn_bf16_fma(float a, float b, float c)
{
    float r;

    a = flush(a), b = flush(b), c = flush(c);
    r = fmaf(a, b, c);
    if (fabsf(r) == 0x1p-126f && fabs((double)a * (double)b + (double)c) < 0x1p-126 - 0x1p-151)
        return copysignf(0.0f, r);
    return flush(r);
}

static float rounded(float x) { return tn_bf16_to_f32(tn_f32_to_bf16(x)); }

/* One block of 32 k, of which `k` exist. */
static float block_bf16(float c, const float *x, int64_t ks, const float *b, int64_t k)
{
    float part[2] = { 0.0f, 0.0f };

    for (int64_t i = 0; i < 32; i += 2) {
        float *s = &part[i / 16];
        for (int64_t j = i + 1; j >= i; j--)
            *s = tn_bf16_fma(j < k ? rounded(x[j * ks]) : 0.0f, j < k ? rounded(b[j]) : 0.0f, *s);
    }
    return flush(flush(c) + flush(part[0] + part[1]));
}

static float chain_bf16(float c, const tn_mm_a *a, int64_t m, const float *b, int64_t k0, int64_t k)
{
    const float *x = a->a + m * a->rs + k0 * a->ks;

    for (int64_t i = 0; i < k; i += 32)
        c = block_bf16(c, x + i * a->ks, a->ks, b + i, k - i < 32 ? k - i : 32);
    return c;
}

static void columns(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_mm *mm = arg;
    float        b[PART];

    (void)i_thread;
    for (int64_t n = begin; n < end; n++)
        for (int64_t k0 = 0; k0 < mm->k; k0 += PART) {
            int64_t k = mm->k - k0 < PART ? mm->k - k0 : PART;
            tn_mm_column(b, &mm->b, n, k0, k);
            for (int64_t m = 0; m < mm->m; m++) {
                const float *x = mm->a.a + m * mm->a.rs + k0 * mm->a.ks;
                float        c = mm->add || k0 > 0 ? mm->c[m * mm->ldc + n] : 0.0f;
                if (mm->profile == TN_PROFILE_STRICT_BF16) c = chain_bf16(c, &mm->a, m, b, k0, k);
                else
                    for (int64_t i = 0; i < k; i++) c = fmaf(x[i * mm->a.ks], b[i], c);
                mm->c[m * mm->ldc + n] = isnan(c) ? NAN : c;
            }
        }
}

void tn_mm_run_ref(const tn_mm *mm)
{
    if (mm->profile == TN_PROFILE_Q8ACT && mm->b.kind == TN_MM_B_PACKED && tn_q8_takes(mm->b.w->dtype))
        tn_parallel(mm->n, 1, tn_q8_columns, (void *)mm);
    else tn_parallel(mm->n, 1, columns, (void *)mm);
}
