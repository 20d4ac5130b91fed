/* test_file.c - reading, mapping, paths, trees, copies. */
#include "base/file.h"
#include "testing.h"

#include <sys/stat.h>
#include <unistd.h>

static void put(const char *path, const char *text)
{
    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
}

static void a_file_reads_back_and_its_limit_holds(void **state)
{
    char    *path = tn_path(*state, "f"), *text;
    size_t   n;
    tn_error err;

    put(path, "hello");
    assert_int_equal(tn_file_read_all(&text, &n, path, 5, &err), TN_OK);
    assert_string_equal(text, "hello");
    assert_int_equal(n, 5);
    free(text);
    assert_int_equal(tn_file_read_all(&text, &n, path, 4, &err), TN_LIMIT);
    assert_says(err, path);
    assert_null(text);
    /* size 0, but not empty */
    assert_int_equal(tn_file_read_all(&text, &n, "/proc/self/stat", 100000, &err), TN_OK);
    assert_true(n > 0);
    free(text);
    assert_int_equal(tn_file_read_all(&text, &n, *state, 100, &err), TN_IO);
    assert_says(err, "directory");
    free(path);
}

static void a_map_shows_the_bytes_and_an_empty_file_is_empty(void **state)
{
    char    *path = tn_path(*state, "f"), *big = calloc(1, 100000);
    tn_map   m;
    tn_error err;

    put(path, "");
    assert_int_equal(tn_map_open(&m, path, &err), TN_OK);
    assert_int_equal(m.n, 0);
    assert_non_null(m.p);
    tn_map_close(&m);
    big[70000] = 9;
    assert_int_equal(tn_file_write_all(path, big, 100000, &err), TN_OK);
    assert_int_equal(tn_map_open(&m, path, &err), TN_OK);
    tn_map_drop(&m, m.p + 1, 90000); /* dropped pages come back from the file */
    assert_int_equal(m.p[70000], 9);
    tn_map_close(&m);
    tn_map_close(&m);
    tn_map_close(NULL);
    assert_int_equal(tn_map_open(&m, "/nowhere/at/all", &err), TN_NOTFOUND);
    assert_int_equal(m.n, 0);
    free(big);
    free(path);
}

static void plain_paths_stay_below_their_root(void **state)
{
    static const char *const good[] = { "a", "a/b", "a.b/..c", ".hidden" };
    static const char *const bad[] = { "",     "/", "/a",  "a/",    "a//b", "..",   "a/..",
                                       "../a", ".", "./a", "a/./b", "a\nb", "a\x7f" };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) assert_true(tn_path_is_plain(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (tn_path_is_plain(bad[i])) fail_msg("'%s' passed as a plain path", bad[i]);
}

static void joins_and_names(void **state)
{
    static const char *const cases[][3] = {
        { "a", "b", "a/b" },
        { "a/", "b", "a/b" },
        { "", "b", "b" },
        { "/", "b", "/b" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *p = tn_path(cases[i][0], cases[i][1]);
        assert_string_equal(p, cases[i][2]);
        free(p);
    }
    assert_string_equal(tn_basename("/a/b.c"), "b.c");
    assert_string_equal(tn_basename("b.c"), "b.c");
    static const char *const slashes[][2] = {
        { "a/b//", "a/b" }, { "a/b", "a/b" }, { "/", "/" }, { "//", "/" }, { "", "" },
    };
    for (size_t i = 0; i < sizeof slashes / sizeof slashes[0]; i++) {
        char *p = tn_strdup(slashes[i][0]);
        tn_path_trim(p);
        assert_string_equal(p, slashes[i][1]);
        free(p);
    }
}

static void directories_are_made_listed_and_removed(void **state)
{
    static const char *const names[] = { "z", "a/b/c", "a/b", "a.x" }; /* sorted by bytes, '.' before '/' */
    char                    *sub = tn_path(*state, "t"), *deep = tn_path(*state, "t/a/b.d/e"), *p, **list;
    size_t                   n;
    tn_error                 err;

    assert_int_equal(tn_mkdirs(deep, &err), TN_OK);
    assert_int_equal(tn_mkdirs(deep, &err), TN_OK);
    for (int i = 0; i < 4; i += i == 1 ? 2 : 1) {
        char *up;
        p = tn_path(sub, names[i]);
        up = tn_strndup(p, (size_t)(tn_basename(p) - p));
        assert_int_equal(tn_mkdirs(up, &err), TN_OK);
        put(p, "x");
        free(up);
        free(p);
    }
    assert_int_equal(tn_list_files(&list, &n, sub, &err), TN_OK);
    assert_int_equal(n, 3);
    assert_string_equal(list[0], "a.x");
    assert_string_equal(list[1], "a/b/c");
    assert_string_equal(list[2], "z");
    tn_list_free(list, n);
    p = tn_path(sub, "z/under-a-file");
    assert_int_equal(tn_mkdirs(p, &err), TN_IO);
    free(p);
    p = tn_path(sub, "link");
    assert_int_equal(symlink("/etc", p), 0);
    assert_int_equal(tn_list_files(&list, &n, sub, &err), TN_FORMAT);
    assert_says(err, "symbolic link");
    assert_int_equal(chmod(deep, 0500), 0);
    assert_int_equal(tn_remove_tree(sub, &err), TN_OK);
    assert_false(tn_exists(sub));
    assert_true(tn_exists("/etc/passwd")); /* the link was removed, not what it points to */
    assert_int_equal(tn_remove_tree(sub, &err), TN_OK);
    assert_int_equal(tn_list_files(&list, &n, sub, &err), TN_NOTFOUND);
    free(p);
    free(sub);
    free(deep);
}

static void copies_are_equal_and_links_only_where_allowed(void **state)
{
    char       *a = tn_path(*state, "a"), *b = tn_path(*state, "b"), *c = tn_path(*state, "c"), *text;
    struct stat sa, sb, sc;
    size_t      n;
    tn_error    err;

    put(a, "content");
    put(b, "old");
    assert_int_equal(tn_file_clone(a, b, false, &err), TN_OK);
    assert_int_equal(tn_file_clone(a, c, true, &err), TN_OK);
    assert_int_equal(tn_file_clone(a, c, true, &err), TN_OK); /* again, onto itself */
    assert_int_equal(tn_file_read_all(&text, &n, b, 100, &err), TN_OK);
    assert_string_equal(text, "content");
    free(text);
    assert_int_equal(stat(a, &sa) | stat(b, &sb) | stat(c, &sc), 0);
    assert_true(sa.st_ino != sb.st_ino);
    char **list;
    assert_int_equal(tn_list_files(&list, &n, *state, &err), TN_OK);
    assert_int_equal(n, 3); /* and nothing left beside them */
    tn_list_free(list, n);
    assert_int_equal(tn_file_clone("/nowhere", b, true, &err), TN_NOTFOUND);
    free(a);
    free(b);
    free(c);
}

static void lines_of_any_length_are_read(void **state)
{
    char  *path = tn_path(*state, "f"), *line = NULL;
    size_t cap = 0, len;
    FILE  *f = fopen(path, "w");

    for (int i = 0; i < 50000; i++) fputc('x', f);
    fputs("\n\nlast", f);
    fclose(f);
    f = fopen(path, "r");
    assert_true(tn_read_line(f, &line, &cap, &len));
    assert_int_equal(len, 50000);
    assert_true(tn_read_line(f, &line, &cap, &len));
    assert_int_equal(len, 0);
    assert_true(tn_read_line(f, &line, &cap, &len));
    assert_string_equal(line, "last");
    assert_false(tn_read_line(f, &line, &cap, &len));
    fclose(f);
    free(line);
    free(path);
}

static void the_first_byte_that_differs_is_found(void **state)
{
    char    *a = tn_path(*state, "a"), *b = tn_path(*state, "b"), *bytes = calloc(1, 10000);
    int64_t  at = 7;
    tn_error err;
    static const struct {
        size_t  n, changed;
        int64_t at;
    } rows[] = { { 10000, 10000, -1 },  { 10000, 0, 0 },       { 10000, 4096, 4096 },
                 { 10000, 9999, 9999 }, { 9000, 10000, 9000 }, { 0, 10000, 0 } };

    assert_int_equal(tn_file_write_all(a, bytes, 10000, NULL), TN_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].changed < 10000) bytes[rows[i].changed] = 1;
        assert_int_equal(tn_file_write_all(b, bytes, rows[i].n, NULL), TN_OK);
        if (rows[i].changed < 10000) bytes[rows[i].changed] = 0;
        assert_int_equal(tn_file_difference(&at, a, b, &err), TN_OK);
        assert_int_equal(at, rows[i].at);
    }
    put(a, "");
    put(b, "");
    assert_int_equal(tn_file_difference(&at, a, b, &err), TN_OK);
    assert_int_equal(at, -1);
    assert_int_equal(unlink(b), 0); /* what cannot be read is no equal of anything */
    assert_int_equal(tn_file_difference(&at, a, b, &err), TN_NOTFOUND);
    assert_says(err, b);
    free(a);
    free(b);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        folder_test(a_file_reads_back_and_its_limit_holds),
        folder_test(a_map_shows_the_bytes_and_an_empty_file_is_empty),
        cmocka_unit_test(plain_paths_stay_below_their_root),
        folder_test(the_first_byte_that_differs_is_found),
        cmocka_unit_test(joins_and_names),
        folder_test(directories_are_made_listed_and_removed),
        folder_test(copies_are_equal_and_links_only_where_allowed),
        folder_test(lines_of_any_length_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
