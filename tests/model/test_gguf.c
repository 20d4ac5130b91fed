/* test_gguf.c - the GGUF reader: what the reference writer wrote is read back; one deliberate defect a case
 * is refused; no flipped bit or cut makes it read outside. */
#include "base/file.h"
#include "model/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        tn_error  err_ = { 0 };                                                                              \
        tn_error *err = &err_;                                                                               \
        if ((expr) != TN_OK) fail_msg("%s", err_.msg);                                                       \
    } while (0)

static void everything_of_the_reference_writer_is_read(void **state)
{
    tn_gguf     *g;
    int64_t      v;
    double       d;
    bool         b;
    char        *s;
    const char **text;
    size_t      *bytes;
    (void)state;

    assert_ok(tn_gguf_open(&g, "tests/golden/gguf/small.gguf", err));
    assert_int_equal(g->alignment, 64);
    static const struct {
        const char *key;
        int64_t     v;
    } ints[] = { { "t.u8", 200 },        { "t.i8", -5 },           { "t.u16", 60000 },
                 { "t.i16", -300 },      { "t.u32", 4000000000 },  { "t.i32", -70000 },
                 { "t.u64", 1ll << 40 }, { "t.i64", -(1ll << 40) } };
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
        assert_ok(tn_gguf_int_or(g, ints[i].key, INT64_MIN, INT64_MAX, 0, &v, err));
        assert_int_equal(v, ints[i].v);
    }
    assert_ok(tn_gguf_real_or(g, "t.f32", 0, &d, err));
    assert_true(d == 0.25);
    assert_ok(tn_gguf_real_or(g, "t.f64", 0, &d, err));
    assert_true(d == 1e-300);
    assert_ok(tn_gguf_bool_or(g, "t.bool", false, &b, err));
    assert_true(b);
    assert_ok(tn_gguf_str(g, "t.str", &s, err));
    assert_string_equal(s, "gr\xc3\xbc\xc3\x9f"
                           "e");
    free(s);
    assert_ok(tn_gguf_strings(g, "t.strings", &text, &bytes, &v, err));
    assert_int_equal(v, 3);
    assert_int_equal(bytes[2], 3);
    assert_memory_equal(text[2], "ccc", 3);
    free(text);
    free(bytes);
    const tn_gguf_tensor *t = tn_gguf_tensor_find(g, "d.q8_0");
    assert_non_null(t);
    assert_int_equal(t->dtype, TN_Q8_0);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 64);
    assert_int_equal(t->bytes, 136);
    assert_int_equal(tn_gguf_int_or(g, "t.str", 0, 9, 0, &v, NULL), TN_FORMAT);
    assert_int_equal(tn_gguf_int_or(g, "t.u8", 0, 100, 0, &v, NULL), TN_FORMAT);
    assert_ok(tn_gguf_int_or(g, "absent", 0, 9, 7, &v, err));
    assert_int_equal(v, 7);
    tn_gguf_close(g);
}

/* ---------------------------------------------------------------------------------- files with one defect */

typedef struct build {
    uint8_t b[4096];
    size_t  n;
} build;

static void put(build *f, const void *p, size_t n)
{
    memcpy(f->b + f->n, p, n);
    f->n += n;
}

static void u32(build *f, uint32_t v) { put(f, &v, 4); }
static void u64(build *f, uint64_t v) { put(f, &v, 8); }
static void str(build *f, const char *s)
{
    u64(f, strlen(s));
    put(f, s, strlen(s));
}

typedef struct defect {
    uint32_t    version, n_dim, type, align;
    uint64_t    n_tensor, n_kv, dim, offset[2], extra;
    const char *name[2];
} defect;

static const defect whole = { .version = 3,
                              .n_dim = 1,
                              .type = 0,
                              .align = 32,
                              .n_tensor = 2,
                              .n_kv = 1,
                              .dim = 8,
                              .offset = { 0, 32 },
                              .name = { "a", "b" } };

/* One key (general.alignment), two tensors of 8 floats. */
static void make(build *f, const defect *d)
{
    f->n = 0;
    memset(f->b, 0, sizeof f->b);
    put(f, "GGUF", 4);
    u32(f, d->version);
    u64(f, d->n_tensor);
    u64(f, d->n_kv);
    str(f, "general.alignment");
    u32(f, 4);
    u32(f, d->align);
    for (int i = 0; i < 2; i++) {
        str(f, d->name[i]);
        u32(f, d->n_dim);
        for (uint32_t k = 0; k < d->n_dim && k < 8; k++) u64(f, k == 0 ? d->dim : 1);
        u32(f, d->type);
        u64(f, d->offset[i]);
    }
    f->n = (f->n + 31) / 32 * 32 + 64 + d->extra;
}

static tn_status parse(const build *f, size_t n)
{
    tn_gguf *g;
    uint8_t *exact = malloc(n + 1); /* so that a sanitizer sees the first byte too far */

    memcpy(exact, f->b, n);
    tn_status s = tn_gguf_parse(&g, exact, n, "test.gguf", NULL);
    if (s == TN_OK) tn_gguf_close(g);
    free(exact);
    return s;
}

static tn_status parse_defect(const defect *d)
{
    build f;
    make(&f, d);
    return parse(&f, f.n);
}

static void one_defect_each_is_refused(void **state)
{
    (void)state;
    assert_int_equal(parse_defect(&whole), TN_OK);
#define CASE(field, value, status)                                                                           \
    do {                                                                                                     \
        defect d = whole;                                                                                    \
        d.field = (value);                                                                                   \
        assert_int_equal(parse_defect(&d), status);                                                          \
    } while (0)
    CASE(version, 2, TN_UNSUPPORTED);
    CASE(n_kv, UINT64_MAX, TN_LIMIT);
    CASE(n_tensor, UINT64_MAX / 2, TN_LIMIT);
    CASE(n_tensor, 1, TN_FORMAT); /* the second one's bytes belong to nothing */
    CASE(align, 24, TN_FORMAT);
    CASE(align, 0, TN_FORMAT);
    CASE(n_dim, 0, TN_FORMAT);
    CASE(n_dim, 5, TN_FORMAT);
    CASE(dim, 0, TN_FORMAT);
    CASE(dim, UINT64_MAX, TN_FORMAT);
    CASE(dim, (uint64_t)1 << 62, TN_FORMAT);
    CASE(type, 4, TN_UNSUPPORTED);
    CASE(type, 999, TN_UNSUPPORTED);
    CASE(type, 8, TN_FORMAT);       /* 8 values are no Q8_0 block */
    CASE(offset[1], 0, TN_FORMAT);  /* overlap */
    CASE(offset[1], 8, TN_FORMAT);  /* not aligned */
    CASE(offset[1], 64, TN_FORMAT); /* past the end */
    CASE(offset[1], UINT64_MAX - 31, TN_FORMAT);
    CASE(extra, 64, TN_FORMAT);    /* bytes behind the last tensor */
    CASE(name[1], "a", TN_FORMAT); /* twice */
    CASE(name[1], "", TN_FORMAT);
    CASE(name[1], "new\nline", TN_FORMAT);
#undef CASE
}

static void a_hole_between_tensors_is_refused(void **state)
{
    defect d = whole;
    (void)state;
    d.offset[1] = 64;
    d.extra = 32;
    assert_int_equal(parse_defect(&d), TN_FORMAT);
}

static void cut_anywhere_it_is_refused(void **state)
{
    build f;
    (void)state;
    make(&f, &whole);
    for (size_t n = 0; n < f.n; n++) assert_int_not_equal(parse(&f, n), TN_OK);
}

static void flipped_bits_are_refused_or_harmless(void **state)
{
    char  *text;
    size_t n;
    (void)state;
    assert_ok(tn_file_read_all(&text, &n, "tests/golden/gguf/small.gguf", 1 << 20, err));
    for (size_t i = 0; i < n * 8; i++) {
        tn_gguf *g;
        text[i / 8] ^= (char)(1 << i % 8);
        if (tn_gguf_parse(&g, (const uint8_t *)text, n, "flipped", NULL) == TN_OK) {
            for (size_t t = 0; t < g->n_tensor; t++) {
                assert_true(g->tensors[t].data >= g->map.p &&
                            g->tensors[t].data + g->tensors[t].bytes <= g->map.p + n);
            }
            tn_gguf_close(g);
        }
        text[i / 8] ^= (char)(1 << i % 8);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_of_the_reference_writer_is_read),
        cmocka_unit_test(one_defect_each_is_refused),
        cmocka_unit_test(a_hole_between_tensors_is_refused),
        cmocka_unit_test(cut_anywhere_it_is_refused),
        cmocka_unit_test(flipped_bits_are_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
