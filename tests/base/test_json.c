/* test_json.c - strict reading, canonical writing, exact floats, JSON Lines plain and packed. */
#include "base/json.h"
#include "testing.h"

#include <math.h>
#include <zlib.h>
#include <zstd.h>

static void what_is_not_one_json_value_is_refused(void **state)
{
    static const char *const bad[] = { "",       "{",   "{} {}", "{\"a\":1,\"a\":2}",
                                       "[1,]",   "nan", "'a'",   "{\"a\":\"\xff\"}",
                                       "[1e999]" };
    json_t                  *v;
    tn_error                 err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (tn_json_parse(&v, bad[i], strlen(bad[i]), "x.json", &err) != TN_FORMAT)
            fail_msg("'%s' passed as JSON", bad[i]);
        assert_says(err, "x.json");
        assert_null(v);
    }
    assert_int_equal(tn_json_parse(&v, "[1]\0", 4, "x", &err), TN_FORMAT);
    assert_int_equal(tn_json_parse(&v, "3", 1, "x", &err), TN_OK);
    json_decref(v);
}

static void deep_nesting_is_an_error_not_a_crash(void **state)
{
    char    *text = malloc(200000);
    json_t  *v;
    tn_error err;

    (void)state;
    memset(text, '[', 200000);
    assert_int_equal(tn_json_parse(&v, text, 200000, "deep", &err), TN_FORMAT);
    free(text);
}

static void writing_is_canonical_and_exact(void **state)
{
    static const char in[] = "{\"b\":[1,2.50,1e-7,true,null],\"a\":{\"\\u00e9\":\"x\\ny\"},\"c\":3.0}";
    json_t           *v, *again;
    char             *a, *b;

    (void)state;
    assert_int_equal(tn_json_parse(&v, in, strlen(in), "x", NULL), TN_OK);
    a = tn_json_text(v);
    assert_string_equal(a, "{\"a\":{\"\xc3\xa9\":\"x\\ny\"},\"b\":[1,2.5,1e-07,true,null],\"c\":3.0}");
    assert_int_equal(tn_json_parse(&again, a, strlen(a), "x", NULL), TN_OK);
    b = tn_json_text(again);
    assert_string_equal(a, b);
    assert_true(json_equal(v, again));
    free(a);
    free(b);
    json_decref(v);
    json_decref(again);
}

static void whole_numbers_beyond_64_bits_are_reals(void **state)
{
    static const char in[] = "{\"limit\":1000000000000000019884624838656,\"text\":\"a "
                             "\\\"10000000000000000000000\",\"n\":8192,\"most\":9223372036854775807,"
                             "\"more\":[-9223372036854775809,9223372036854775808],\"x\":1e-"
                             "00000000000000000000001,\"y\":0.12345678901234567890123}";
    json_t           *v;
    char             *text;

    (void)state;
    assert_int_equal(tn_json_parse(&v, in, strlen(in), "x", NULL), TN_OK);
    assert_true(json_is_real(json_object_get(v, "limit")) &&
                json_real_value(json_object_get(v, "limit")) == 1e30);
    assert_true(json_is_integer(json_object_get(v, "n")) &&
                json_integer_value(json_object_get(v, "most")) == INT64_MAX);
    assert_true(json_real_value(json_array_get(json_object_get(v, "more"), 0)) == -0x1p63);
    assert_true(json_real_value(json_array_get(json_object_get(v, "more"), 1)) == 0x1p63);
    assert_true(json_real_value(json_object_get(v, "x")) == 0.1);
    assert_string_equal(json_string_value(json_object_get(v, "text")), "a \"10000000000000000000000");
    text = tn_json_text(v);
    assert_non_null(strstr(text, "\"limit\":1e+30,"));
    free(text);
    json_decref(v);
    assert_int_equal(tn_json_parse(&v, "1e999", 5, "x", NULL), TN_FORMAT);
}

static void every_float_reads_back_the_same(void **state)
{
    uint32_t x = 12345;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        float   f;
        json_t *v, *back;
        char   *text;
        x = x * 1664525u + 1013904223u;
        memcpy(&f, &x, sizeof f);
        v = tn_json_f32(f);
        text = tn_json_text(v);
        if (!isfinite(f)) assert_string_equal(text, "null");
        else {
            assert_int_equal(tn_json_parse(&back, text, strlen(text), "x", NULL), TN_OK);
            assert_true((float)json_number_value(back) == f);
            json_decref(back);
        }
        free(text);
        json_decref(v);
    }
}

static void members_of_the_wrong_kind_are_named(void **state)
{
    json_t     *o;
    const char *s;
    int64_t     i;
    double      d;
    bool        b;
    tn_error    err;

    (void)state;
    assert_int_equal(
        tn_json_parse(&o, "{\"s\":\"t\",\"i\":7,\"d\":1.5,\"b\":true,\"z\":null}", 41, "x", NULL), TN_OK);
    assert_int_equal(tn_json_str(o, "s", &s, "c.json", &err), TN_OK);
    assert_int_equal(tn_json_str(o, "i", &s, "c.json", &err), TN_FORMAT);
    assert_says(err, "c.json: 'i'");
    assert_int_equal(tn_json_str(o, "none", &s, "c.json", &err), TN_FORMAT);
    assert_says(err, "missing");
    assert_int_equal(tn_json_int(o, "i", 0, 6, &i, "c.json", &err), TN_LIMIT);
    assert_says(err, "expected 0 to 6");
    assert_int_equal(tn_json_int(o, "d", 0, 6, &i, "c.json", &err), TN_FORMAT);
    assert_int_equal(tn_json_int_or(o, "z", 0, 6, 5, &i, "c.json", &err), TN_OK);
    assert_int_equal(i, 5);
    assert_int_equal(tn_json_real_or(o, "i", 0, &d, "c.json", &err), TN_OK);
    assert_true(d == 7);
    assert_int_equal(tn_json_real_or(o, "s", 0, &d, "c.json", &err), TN_FORMAT);
    assert_int_equal(tn_json_bool_or(o, "b", false, &b, "c.json", &err), TN_OK);
    assert_true(b);
    assert_int_equal(tn_json_bool_or(o, "none", true, &b, "c.json", &err), TN_OK);
    assert_true(b);
    json_decref(o);
}

/* The same three rows from a plain, a gzip and a zstd file. */
static const char lines[] = "\xef\xbb\xbf{\"a\":1}\n\n  \r\n{\"a\":2}\r\n{\"a\":3}";

static void write_packed(const char *path, const char *text, size_t n)
{
    if (tn_ends_with(path, ".gz")) {
        gzFile f = gzopen(path, "wb");
        gzwrite(f, text, (unsigned)n);
        gzclose(f);
    } else if (tn_ends_with(path, ".zst")) {
        size_t cap = ZSTD_compressBound(n);
        void  *out = malloc(cap);
        assert_int_equal(tn_file_write_all(path, out, ZSTD_compress(out, cap, text, n, 3), NULL), TN_OK);
        free(out);
    } else assert_int_equal(tn_file_write_all(path, text, n, NULL), TN_OK);
}

static void json_lines_come_from_plain_and_packed_files(void **state)
{
    static const char *const names[] = { "r.jsonl", "r.jsonl.gz", "r.jsonl.zst" };
    static const int64_t     at[] = { 1, 4, 5 };

    for (int k = 0; k < 3; k++) {
        char     *path = tn_path(*state, names[k]);
        tn_jsonl *r;
        json_t   *row;
        write_packed(path, lines, strlen(lines));
        assert_int_equal(tn_jsonl_open(&r, path, NULL), TN_OK);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(tn_jsonl_next(r, &row, NULL), TN_OK);
            assert_int_equal(json_integer_value(json_object_get(row, "a")), i + 1);
            assert_int_equal(tn_jsonl_line(r), at[i]);
            json_decref(row);
        }
        assert_int_equal(tn_jsonl_next(r, &row, NULL), TN_OK);
        assert_null(row);
        tn_jsonl_close(r);
        free(path);
    }
}

static void a_packed_file_that_was_cut_off_is_an_error(void **state)
{
    static const char *const names[] = { "r.jsonl.gz", "r.jsonl.zst" };
    char                    *text = malloc(300001);
    tn_error                 err;

    for (size_t i = 0; i < 300000; i++)
        text[i] = i % 100 == 99 ? '\n' : i % 100 == 0 || i % 100 == 98 ? '"' : (char)('1' + i * 7919 % 9);
    text[300000] = '\0';
    for (int k = 0; k < 2; k++) {
        char     *path = tn_path(*state, names[k]), *bytes;
        size_t    n;
        tn_jsonl *r;
        json_t   *row;
        tn_status status;
        write_packed(path, text, 300000);
        assert_int_equal(tn_file_read_all(&bytes, &n, path, 1 << 24, NULL), TN_OK);
        assert_int_equal(tn_file_write_all(path, bytes, n / 2, NULL), TN_OK);
        assert_int_equal(tn_jsonl_open(&r, path, NULL), TN_OK);
        while ((status = tn_jsonl_next(r, &row, &err)) == TN_OK && row != NULL) json_decref(row);
        assert_int_equal(status, TN_FORMAT);
        assert_says(err, names[k]);
        assert_says(err, "end too early"); /* not merely wrong JSON in the last line */
        tn_jsonl_close(r);
        free(bytes);
        free(path);
    }
    free(text);
}

/* What stands behind the last member is read, refused, or padding: never lost without a word. */
static void what_follows_a_packed_member_is_not_lost(void **state)
{
    static const char *const names[] = { "r.jsonl.gz", "r.jsonl.zst" };
    tn_error                 err;

    for (int k = 0; k < 2; k++) {
        char  *path = tn_path(*state, names[k]), *one, two[256];
        size_t n;
        write_packed(path, "{\"a\":1}\n", 8);
        assert_int_equal(tn_file_read_all(&one, &n, path, 1 << 20, NULL), TN_OK);
        assert_true(2 * n < sizeof two);
        /* two members; the second one's head damaged; zeros; nothing at all */
        for (int form = 0; form < 4; form++) {
            tn_jsonl *r;
            json_t   *row;
            tn_status status;
            int       n_row = 0;
            if (form == 2 && k == 1) continue; /* zstd knows no padding by zeros */
            memcpy(two, one, n);
            memcpy(two + n, one, n);
            if (form == 1) two[n] ^= 1;
            if (form == 2) memset(two + n, 0, n);
            assert_int_equal(tn_file_write_all(path, two, form == 3 ? 0 : 2 * n, NULL), TN_OK);
            assert_int_equal(tn_jsonl_open(&r, path, NULL), TN_OK);
            while ((status = tn_jsonl_next(r, &row, &err)) == TN_OK && row != NULL) {
                n_row++;
                json_decref(row);
            }
            assert_int_equal(status, form == 1 || form == 3 ? TN_FORMAT : TN_OK);
            if (status == TN_OK) assert_int_equal(n_row, form == 0 ? 2 : 1);
            else assert_says(err, names[k]);
            tn_jsonl_close(r);
        }
        free(one);
        free(path);
    }
}

static void a_wrong_line_is_named_by_its_number(void **state)
{
    char     *path = tn_path(*state, "r.jsonl");
    tn_jsonl *r;
    json_t   *row;
    tn_error  err;

    assert_int_equal(tn_file_write_all(path, "{}\n{]\n", 6, NULL), TN_OK);
    assert_int_equal(tn_jsonl_open(&r, path, &err), TN_OK);
    assert_int_equal(tn_jsonl_next(r, &row, &err), TN_OK);
    json_decref(row);
    assert_int_equal(tn_jsonl_next(r, &row, &err), TN_FORMAT);
    assert_says(err, "r.jsonl:2");
    assert_null(strstr(err.msg, "(line 1,")); /* of the row: that is the file's line 2 */
    tn_jsonl_close(r);
    free(path);
    assert_int_equal(tn_jsonl_open(&r, "/nowhere.jsonl", &err), TN_NOTFOUND);
    assert_null(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_one_json_value_is_refused),
        cmocka_unit_test(deep_nesting_is_an_error_not_a_crash),
        cmocka_unit_test(writing_is_canonical_and_exact),
        cmocka_unit_test(whole_numbers_beyond_64_bits_are_reals),
        cmocka_unit_test(every_float_reads_back_the_same),
        cmocka_unit_test(members_of_the_wrong_kind_are_named),
        folder_test(json_lines_come_from_plain_and_packed_files),
        folder_test(a_packed_file_that_was_cut_off_is_an_error),
        folder_test(what_follows_a_packed_member_is_not_lost),
        folder_test(a_wrong_line_is_named_by_its_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
