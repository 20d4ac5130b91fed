/* dtype.c - the table of number formats, and single numbers of 16 bits.
 *
 *   f32   1 | 8 exponent | 23 fraction          f16   1 | 5 | 10          bf16   1 | 8 | 7  (the upper half of f32)
 *
 * Narrowing rounds to nearest even. A NaN that is stored is the canonical one: 0x7fc00000, 0x7e00, 0x7fc0.
 * The formats in blocks are read in dequantize.c and written in quantize.c. */
#include "tensor/tensor.h"

#include <string.h>

static const struct {
    const char *name;
    int         gguf;
    int         block;
    int         bytes;
} formats[TN_DTYPE_COUNT] = {
#define X(name, gguf, block, bytes) { #name, gguf, block, bytes },
    TN_DTYPE_LIST(X)
#undef X
};

/* The list spells names in capitals (they are enum names); users read and write "q4_k" and "bf16". */
static const char *const names[TN_DTYPE_COUNT] = {
    "f32",  "f16",  "bf16", "q4_0",  "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k",
    "q4_k", "q5_k", "q6_k", "mxfp4", "i8",   "i16",  "i32",  "i64",  "f64",  "u8",
};
_Static_assert(sizeof names / sizeof names[0] == TN_DTYPE_COUNT, "a name for every dtype");

const char *tn_dtype_name(tn_dtype t) { return (unsigned)t < TN_DTYPE_COUNT ? names[t] : "unknown"; }

/* Capitals or not: "Q4_K" is how GGUF files call it. */
bool tn_dtype_parse(const char *name, tn_dtype *out)
{
    for (int t = 0; t < TN_DTYPE_COUNT; t++)
        if (strcmp(name, names[t]) == 0 || strcmp(name, formats[t].name) == 0) {
            *out = (tn_dtype)t;
            return true;
        }
    return false;
}

bool tn_dtype_from_gguf(uint32_t id, tn_dtype *out)
{
    for (int t = 0; t < TN_DTYPE_COUNT; t++)
        if (formats[t].gguf >= 0 && (uint32_t)formats[t].gguf == id) {
            *out = (tn_dtype)t;
            return true;
        }
    return false;
}

int tn_dtype_gguf(tn_dtype t) { return (unsigned)t < TN_DTYPE_COUNT ? formats[t].gguf : -1; }

int64_t tn_dtype_block(tn_dtype t) { return (unsigned)t < TN_DTYPE_COUNT ? formats[t].block : 0; }

size_t tn_row_bytes(tn_dtype t, int64_t n)
{
    size_t bytes;

    if ((unsigned)t >= TN_DTYPE_COUNT || n < 0 || n % formats[t].block != 0) return 0;
    if (__builtin_mul_overflow((size_t)(n / formats[t].block), (size_t)formats[t].bytes, &bytes)) return 0;
    return bytes;
}

static uint32_t bits_of(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

float tn_bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t tn_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);

    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float tn_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 0x3ffu;

    if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0) return float_of(sign | (exponent + 112u) << 23 | fraction << 13);
    /* Zero and denormals: fraction * 2^-24, exact in f32. */
    float f = (float)fraction * 0x1p-24f;
    return sign != 0 ? -f : f;
}

uint16_t tn_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;

    if (a > 0x7f800000u) return 0x7e00;
    if (a >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 2^16 and more; 65520..65535 round up below */
    if (a < 0x38800000u) {
        /* Below 2^-14: adding 1/2 puts the 2^-24 grid at the end of the fraction, so the addition rounds for
         * us. */
        float grid = float_of(a) + 0.5f;
        return (uint16_t)(sign | (bits_of(grid) - 0x3f000000u));
    }
    a += 0xfffu + ((a >> 13) & 1u);
    return (uint16_t)(sign | (a - 0x38000000u) >> 13);
}

static const char *const profiles[] = { "strict", "strict-bf16", "q8act" };

bool tn_profile_parse(const char *name, tn_profile *out)
{
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++)
        if (strcmp(name, profiles[i]) == 0) {
            *out = (tn_profile)i;
            return true;
        }
    return false;
}

const char *tn_profile_name(tn_profile p)
{
    return (size_t)p < sizeof profiles / sizeof profiles[0] ? profiles[p] : "unknown";
}
