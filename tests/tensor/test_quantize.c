/* test_quantize.c - quantised rows are byte for byte those of the gguf package and of ggml's reference
 * quantisers, whose digests tests/oracle/make_quantize.py wrote; and single 16-bit numbers round as they
 * should. */
#include "base/hash.h"
#include "tensor/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 256 * 64 };

/* The maker's inputs: integers of 24 bits and powers of two, so that they are the same floats in any
 * language. */
static void inputs(float *x, int kind)
{
    uint64_t state = (uint64_t)kind + 1;

    for (int i = 0; i < N; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t r = (uint32_t)(state >> 32);
        float    v = ((float)(r >> 8) - 0x1p23f) * 0x1p-23f;
        if (kind == 1) v = ldexpf(v, -(int)(r % 16));
        if (kind == 2) v = i / 32 % 3 == 0 ? 0.0f : v * 0x1p-12f;
        if (kind == 3) v = fabsf(v) + 1.0f;
        x[i] = v;
    }
}

static void quantised_rows_have_the_reference_bytes(void **unused)
{
    static float   x[N];
    static uint8_t bytes[4 * N];
    char           line[200], name[16], want[80], got[TN_SHA256_HEX];
    int            kind, n_case = 0;
    FILE          *f = fopen(TN_GOLDEN_DIR "/tensor/quantize.txt", "r");

    (void)unused;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        tn_dtype t;
        if (line[0] == '#') continue;
        assert_int_equal(sscanf(line, "%15s %d %79s", name, &kind, want), 3);
        assert_true(tn_dtype_parse(name, &t));
        inputs(x, kind);
        assert_true(tn_row_from_f32(bytes, x, t, N));
        tn_digest d = tn_sha256_of(bytes, tn_row_bytes(t, N));
        tn_hex(got, &d);
        if (strcmp(got, want) != 0) fail_msg("%s kind %d: %s, the reference has %s", name, kind, got, want);
        n_case++;
    }
    fclose(f);
    assert_int_equal(n_case, 32);
}

/* What a KV cache of q8_0 keeps: the block of a NaN or an infinity is NaN, its neighbours are what they
 * were. */
static void a_block_that_is_not_finite_comes_back_as_nan(void **unused)
{
    static const float odd[] = { NAN, -NAN, INFINITY, -INFINITY };
    float              x[96], y[96], plain[96];
    uint8_t            bytes[3 * 34];

    (void)unused;
    for (int i = 0; i < 96; i++) x[i] = (float)(i - 40);
    assert_int_equal(tn_row_finite(x, 96), 96);
    assert_true(tn_row_from_f32(bytes, x, TN_Q8_0, 96));
    tn_row_to_f32(plain, bytes, TN_Q8_0, 96);
    for (int k = 0; k < 4; k++)
        for (int at = 32; at < 64; at++) {
            float was = x[at];
            x[at] = odd[k];
            assert_int_equal(tn_row_finite(x, 96), at);
            assert_true(tn_row_from_f32(bytes, x, TN_Q8_0, 96));
            tn_row_to_f32(y, bytes, TN_Q8_0, 96);
            for (int i = 0; i < 96; i++)
                if (i / 32 == 1 ? !isnan(y[i]) : y[i] != plain[i])
                    fail_msg("%g at %d: element %d came back as %g", (double)odd[k], at, i, (double)y[i]);
            x[at] = was;
        }
}

static void every_half_survives_a_round_trip(void **unused)
{
    (void)unused;
    for (uint32_t h = 0; h < 65536; h++) {
        float f16 = tn_f16_to_f32((uint16_t)h), bf16 = tn_bf16_to_f32((uint16_t)h);
        if (isnan(f16)) assert_int_equal(tn_f32_to_f16(f16), 0x7e00);
        else assert_int_equal(tn_f32_to_f16(f16), h);
        if (isnan(bf16)) assert_int_equal(tn_f32_to_bf16(bf16), 0x7fc0);
        else assert_int_equal(tn_f32_to_bf16(bf16), h);
    }
}

static void narrowing_rounds_to_nearest_even(void **unused)
{
    (void)unused;
    assert_int_equal(tn_f32_to_f16(1.0f + 0x1p-11f), 0x3c00); /* a tie goes to even */
    assert_int_equal(tn_f32_to_f16(1.0f + 3.0f * 0x1p-11f), 0x3c02);
    assert_int_equal(tn_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(tn_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(tn_f32_to_f16(0x1p-25f), 0x0000);
    assert_int_equal(tn_f32_to_f16(0x1.8p-25f), 0x0001);
    assert_int_equal(tn_f32_to_f16(-1e-10f), 0x8000);
    assert_int_equal(tn_f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(tn_f32_to_bf16(1.0f + 3.0f * 0x1p-8f), 0x3f82);
    assert_int_equal(tn_f32_to_bf16(3.4e38f), 0x7f80);
}

static void a_type_that_cannot_be_written_is_refused(void **unused)
{
    float   x[256] = { 0 };
    uint8_t bytes[1024];

    (void)unused;
    assert_false(tn_row_from_f32(bytes, x, TN_Q2_K, 256));
    assert_false(tn_row_from_f32(bytes, x, TN_I32, 256));
    assert_int_equal(tn_row_bytes(TN_Q4_K, 255), 0);
    assert_int_equal(tn_row_bytes(TN_Q4_K, 512), 288);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantised_rows_have_the_reference_bytes),
        cmocka_unit_test(a_block_that_is_not_finite_comes_back_as_nan),
        cmocka_unit_test(every_half_survives_a_round_trip),
        cmocka_unit_test(narrowing_rounds_to_nearest_even),
        cmocka_unit_test(a_type_that_cannot_be_written_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
