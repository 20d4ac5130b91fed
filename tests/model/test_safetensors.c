/* test_safetensors.c - the reference writer's bytes again; damaged and hostile headers refused. */
#include "base/file.h"
#include "base/str.h"
#include "model/st_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        tn_error  err_ = { 0 };                                                                              \
        tn_error *err = &err_;                                                                               \
        if ((expr) != TN_OK) fail_msg("%s", err_.msg);                                                       \
    } while (0)

static void written_bytes_are_the_reference_writers(void **state)
{
    static const char path[] = "tests/golden/gguf/order.safetensors";
    char              out[] = "/tmp/tenet-st-XXXXXX", *a, *b;
    size_t            n, k;
    tn_st_file       *f;
    tn_st_entry       list[16];
    (void)state;

    int fd = mkstemp(out);
    assert_true(fd >= 0);
    close(fd);
    assert_ok(tn_st_open(&f, path, err));
    assert_int_equal(tn_st_count(f), 8);
    /* in another order */
    for (size_t i = 0; i < tn_st_count(f); i++) list[i] = *tn_st_at(f, tn_st_count(f) - 1 - i);
    assert_ok(tn_st_write(out, list, tn_st_count(f), tn_st_metadata(f), err));
    assert_ok(tn_file_read_all(&a, &n, path, 1 << 20, err));
    assert_ok(tn_file_read_all(&b, &k, out, 1 << 20, err));
    assert_int_equal(n, k);
    assert_memory_equal(a, b, n);
    unlink(out);
    free(a);
    free(b);
    tn_st_close(f);
}

/* A file with this header and n_data bytes behind it. */
static tn_status parse(const char *header, size_t n_data)
{
    uint64_t    n = strlen(header);
    uint8_t    *file = calloc(1, 8 + n + n_data);
    tn_st_file *f;

    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    tn_status s = tn_st_parse(&f, file, 8 + n + n_data, "test.safetensors", NULL);
    if (s == TN_OK) tn_st_close(f);
    free(file);
    return s;
}

static void hostile_headers_are_refused(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8), TN_OK);
    assert_int_equal(parse("{}", 0), TN_OK);
    assert_int_equal(parse("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4), TN_OK);
    assert_int_equal(parse("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0), TN_OK);
    // clang-format off
    static const struct { const char *header; size_t n_data; } bad[] = {
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7 },                       /* cut off */
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9 },                       /* a byte too many */
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8 },                       /* shape and bytes */
        { "{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8 },
        { "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2 },                        /* 12 bits */
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}", 8 },   /* overflow */
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}", 12 },
        { "{\"__metadata__\":{\"k\":1}}", 0 },
        { "{\"a\\u0007\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4 },
        { " {}", 0 },
        { "[]", 0 },
        { "{\"a\":[[[[[[]]]]]]}", 0 },
        { "{\"a\":\xff}", 0 },
    };
    // clang-format on
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(bad[i].header, bad[i].n_data) == TN_OK) fail_msg("accepted: %s", bad[i].header);
}

static void lengths_beyond_the_file_are_refused(void **state)
{
    uint8_t     file[16] = { 0 };
    uint64_t    huge[] = { 100000001, UINT64_MAX, 9 };
    tn_st_file *f;
    (void)state;
    for (size_t i = 0; i < 8; i++) assert_int_not_equal(tn_st_parse(&f, file, i, "short", NULL), TN_OK);
    for (size_t i = 0; i < 3; i++) {
        memcpy(file, &huge[i], 8);
        assert_int_not_equal(tn_st_parse(&f, file, sizeof file, "huge", NULL), TN_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_bytes_are_the_reference_writers),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(lengths_beyond_the_file_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
