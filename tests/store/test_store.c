/* test_store.c - artifacts, names, keys, records, the ledger and garbage collection. */
#include "store/store.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state)
{
    tn_store *s = NULL;

    snprintf(dir, sizeof dir, "/tmp/tenet-store-XXXXXX");
    if (mkdtemp(dir) == NULL || tn_store_open(&s, dir, NULL) != TN_OK) return -1;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    tn_store_close(*state);
    return tn_remove_tree(dir, NULL) == TN_OK ? 0 : -1;
}

/* An artifact with this text: a file, or a directory that holds it. */
static tn_digest make(tn_store *s, const char *text, bool directory)
{
    char     *temp = NULL, *path, *file;
    tn_digest root;

    assert_int_equal(tn_store_temp(s, &temp, NULL), TN_OK);
    path = tn_path(temp, "new");
    if (directory) assert_int_equal(mkdir(path, 0755), 0);
    file = directory ? tn_path(path, "text") : tn_strdup(path);
    assert_int_equal(tn_file_write_all(file, text, strlen(text), NULL), TN_OK);
    assert_int_equal(tn_store_put(s, path, &root, NULL), TN_OK);
    assert_false(tn_exists(path));
    free(file);
    free(path);
    free(temp);
    return root;
}

static void an_artifact_is_found_by_digest_prefix_and_name(void **state)
{
    tn_store *s = *state;
    tn_digest root = make(s, "hello", false), dup = make(s, "hello", false), tree = make(s, "hello", true),
              found;
    char       *text = tn_digest_text(&root), *path = NULL, *bytes = NULL;
    size_t      n;
    tn_error    err;
    struct stat st;

    assert_true(tn_digest_equal(&root, &dup));
    assert_false(tn_digest_equal(&root, &tree));
    assert_string_equal(text, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_int_equal(tn_store_path(s, &root, &path, NULL), TN_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0444);
    assert_int_equal(tn_file_read_all(&bytes, &n, path, 100, NULL), TN_OK);
    assert_string_equal(bytes, "hello");
    assert_int_equal(tn_store_resolve(s, text, &found, NULL), TN_OK);
    assert_int_equal(tn_store_resolve(s, "2cf24dba", &found, NULL), TN_OK);
    assert_true(tn_digest_equal(&root, &found));
    assert_int_equal(tn_store_name(s, "greeting", &root, NULL), TN_OK);
    assert_int_equal(tn_store_resolve(s, "greeting", &found, NULL), TN_OK);
    assert_int_equal(tn_store_resolve(s, "greting", &found, &err), TN_NOTFOUND);
    assert_non_null(strstr(err.msg, "did you mean 'greeting'"));
    assert_int_equal(tn_store_name(s, "../escape", &root, NULL), TN_USAGE);
    free(text);
    free(path);
    free(bytes);
}

static void an_exported_artifact_is_the_same(void **state)
{
    tn_store *s = *state;
    tn_digest root = make(s, "content", true), again;
    char      to[96];

    snprintf(to, sizeof to, "%s/out", dir);
    assert_int_equal(tn_store_export(s, &root, to, NULL), TN_OK);
    assert_int_equal(tn_tree_digest(to, &again, NULL, NULL), TN_OK);
    assert_true(tn_digest_equal(&root, &again));
    assert_int_equal(tn_store_export(s, &root, to, NULL), TN_USAGE);
}

static void a_key_answers_only_while_its_artifact_is_there(void **state)
{
    tn_store *s = *state;
    tn_digest root = make(s, "result", false), key = tn_sha256_of("key", 3), found;
    char     *path = NULL;
    bool      has;

    assert_int_equal(tn_store_key_get(s, &key, &found, &has, NULL), TN_OK);
    assert_false(has);
    assert_int_equal(tn_store_key_set(s, &key, &root, NULL), TN_OK);
    assert_int_equal(tn_store_key_get(s, &key, &found, &has, NULL), TN_OK);
    assert_true(has && tn_digest_equal(&found, &root));
    assert_int_equal(tn_store_path(s, &root, &path, NULL), TN_OK);
    unlink(path);
    assert_int_equal(tn_store_key_get(s, &key, &found, &has, NULL), TN_OK);
    assert_false(has);
    free(path);
}

static void a_flipped_bit_is_found(void **state)
{
    tn_store *s = *state;
    tn_digest root = make(s, "one file", false);
    json_t   *bad = NULL;
    int64_t   n;
    char     *path = NULL;

    make(s, "another", true);
    assert_int_equal(tn_store_verify(s, NULL, false, &bad, &n, NULL), TN_OK);
    assert_int_equal(n, 2);
    assert_int_equal(json_array_size(bad), 0);
    json_decref(bad);
    assert_int_equal(tn_store_path(s, &root, &path, NULL), TN_OK);
    chmod(path, 0644);
    FILE *f = fopen(path, "r+b");
    fseek(f, 4, SEEK_SET);
    fputc('f' ^ 1, f);
    fclose(f);
    assert_int_equal(tn_store_verify(s, NULL, false, &bad, &n, NULL), TN_OK);
    assert_int_equal(json_array_size(bad), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(bad, 0), "where")), path);
    json_decref(bad);
    free(path);
}

static void flip(const char *path)
{
    chmod(path, 0644);
    FILE *f = fopen(path, "r+b");
    int   c = fgetc(f);
    rewind(f);
    fputc(c ^ 1, f);
    fclose(f);
}

static size_t entries(const char *folder)
{
    char **names = NULL, **bare = NULL;
    size_t n = 0, m = 0;

    assert_int_equal(tn_list_files(&names, &n, folder, NULL), TN_OK);
    assert_int_equal(tn_list_bare(&bare, &m, folder, NULL), TN_OK);
    tn_list_free(names, n);
    tn_list_free(bare, m);
    return n + m;
}

/* Not given out, nothing left behind; made again, it is replaced. */
static void a_damaged_artifact_leaves_the_store_by_no_way(void **state)
{
    tn_store *s = *state, *later = NULL;
    tn_digest root = make(s, "content", true);
    char     *path = NULL, *file, folder[96], to[128];
    tn_error  err;

    snprintf(folder, sizeof folder, "%s/shop", dir);
    snprintf(to, sizeof to, "%s/new/out", folder);
    assert_int_equal(tn_store_path(s, &root, &path, NULL), TN_OK);
    file = tn_path(path, "text");
    flip(file);
    assert_int_equal(tn_store_open(&later, dir, NULL), TN_OK); /* another process, that did not see it made */
    assert_int_equal(tn_store_check(later, &root, &err), TN_VERIFY);
    assert_int_equal(tn_store_export(later, &root, to, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "damaged in the store"));
    assert_false(tn_exists(to));
    assert_int_equal(entries(folder), 1); /* the empty folder "new" */
    /* What a killed export left is taken away by the next one to the same place. */
    snprintf(to, sizeof to, "%s/new/.out.tenet-1-0", folder);
    assert_int_equal(tn_mkdirs(to, NULL), TN_OK);
    snprintf(to, sizeof to, "%s/new/out", folder);
    root = make(later, "content", true); /* computed again: this copy wins over the damaged one */
    assert_int_equal(tn_store_export(later, &root, to, &err), TN_OK);
    assert_int_equal(entries(folder), 1); /* new/out/text */
    tn_store_close(later);

    flip(file);
    json_t *bad = NULL;
    int64_t n;
    assert_int_equal(tn_store_verify(s, NULL, true, &bad, &n, NULL), TN_OK);
    assert_int_equal(json_array_size(bad), 1);
    assert_false(tn_store_has(s, &root));
    json_decref(bad);
    assert_int_equal(tn_store_verify(s, NULL, false, &bad, &n, NULL), TN_OK);
    assert_int_equal(json_array_size(bad), 0);
    json_decref(bad);
    free(file);
    free(path);
}

static json_t *stage_record(const char *stage, const tn_digest *root, const tn_digest *input)
{
    char   *r = tn_digest_text(root), *i = input == NULL ? NULL : tn_digest_text(input);
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:{}}", "type", "stage", "stage", stage, "started",
                          "2026-01-01T00:00:00Z", "root", r, "status", "done", "inputs");

    if (i != NULL) json_object_set_new(json_object_get(o, "inputs"), "in", json_string(i));
    free(r);
    free(i);
    return o;
}

static void the_ledger_is_rebuilt_when_it_is_missing_or_damaged(void **state)
{
    tn_store *s = *state;
    tn_digest root = make(s, "x", false);
    char      path[96];
    json_t   *rows = NULL;

    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        json_t *r = stage_record(name, &root, NULL);
        assert_int_equal(tn_store_record(s, r, NULL), TN_OK);
        json_decref(r);
    }
    snprintf(path, sizeof path, "%s/ledger.sqlite", dir);
    tn_log_set_level(TN_LOG_ERROR);
    for (int how = 0; how < 3; how++) {
        tn_store_close(s);
        if (how == 1) unlink(path);
        if (how == 2) {
            FILE *f = fopen(path, "r+b");
            for (int i = 0; i < 3000; i++) fputc(0x5a, f);
            fclose(f);
        }
        assert_int_equal(tn_store_open(&s, dir, NULL), TN_OK);
        *state = s;
        assert_int_equal(tn_store_log(s, NULL, NULL, NULL, 0, &rows, NULL), TN_OK);
        assert_int_equal(json_array_size(rows), 5);
        assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "stage")), "s4");
        json_decref(rows);
    }
    tn_log_set_level(TN_LOG_INFO);
}

static void garbage_collection_keeps_what_pins_names_runs_and_releases_reach(void **state)
{
    tn_store *s = *state;
    tn_digest base = make(s, "base", false), model = make(s, "model", false), lost = make(s, "lost", false),
              pinned = make(s, "pinned", false), named = make(s, "named", false),
              release = make(s, "release", true), old = make(s, "old run", false);
    tn_gc_result gc;
    json_t      *r = stage_record("train", &model, &base);

    assert_int_equal(tn_store_record(s, r, NULL), TN_OK);
    json_decref(r);
    r = stage_record("release", &release, &model);
    json_object_set_new(r, "type", json_string("release"));
    assert_int_equal(tn_store_record(s, r, NULL), TN_OK);
    json_decref(r);
    char *text = tn_digest_text(&old);
    r = json_pack("{s:s,s:[{s:s,s:s}]}", "type", "run", "stages", "name", "a", "root", text);
    assert_int_equal(tn_store_record(s, r, NULL), TN_OK);
    json_decref(r);
    r = json_pack("{s:s,s:s,s:[]}", "type", "run", "recipe", "newest", "stages");
    assert_int_equal(tn_store_record(s, r, NULL), TN_OK);
    json_decref(r);
    free(text);
    assert_int_equal(tn_store_pin(s, &pinned, true, NULL), TN_OK);
    assert_int_equal(tn_store_name(s, "n", &named, NULL), TN_OK);
    assert_int_equal(tn_store_gc(s, 1, true, &gc, NULL), TN_OK);
    assert_int_equal(gc.removed, 2);
    assert_true(tn_store_has(s, &lost));
    assert_int_equal(tn_store_gc(s, 1, false, &gc, NULL), TN_OK);
    assert_int_equal(gc.removed, 2);
    assert_int_equal(gc.kept, 5);
    assert_false(tn_store_has(s, &lost) || tn_store_has(s, &old));
    assert_true(tn_store_has(s, &base) && tn_store_has(s, &model) && tn_store_has(s, &pinned) &&
                tn_store_has(s, &named) && tn_store_has(s, &release));
}

static void garbage_is_not_collected_while_another_has_the_store_open(void **state)
{
    tn_store    *other = NULL;
    tn_gc_result gc;

    assert_int_equal(tn_store_open(&other, dir, NULL), TN_OK);
    assert_int_equal(tn_store_gc(*state, 1, false, &gc, NULL), TN_MISMATCH);
    tn_store_close(other);
    assert_int_equal(tn_store_gc(*state, 1, false, &gc, NULL), TN_OK);
}

static void work_left_by_a_dead_process_is_swept(void **state)
{
    char  path[128] = "";
    int   p[2];
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(p), 0);
    if ((pid = fork()) == 0) {
        tn_store *s = NULL;
        char     *temp = NULL;
        if (tn_store_open(&s, dir, NULL) != TN_OK || tn_store_temp(s, &temp, NULL) != TN_OK) _exit(1);
        if (write(p[1], temp, strlen(temp)) < 0) _exit(1);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    assert_true(read(p[0], path, sizeof path - 1) > 0);
    close(p[0]);
    close(p[1]);
    assert_true(tn_exists(path));
    char *temp = NULL;
    assert_int_equal(tn_store_temp(*state, &temp, NULL), TN_OK);
    assert_false(tn_exists(path));
    free(temp);
}

static void two_processes_may_make_the_same_artifacts_at_once(void **state)
{
    enum { N_PROCESS = 4, N_ARTIFACT = 30 };
    pid_t   pids[N_PROCESS];
    json_t *bad = NULL, *rows = NULL;
    int64_t n;

    for (int k = 0; k < N_PROCESS; k++)
        if ((pids[k] = fork()) == 0) {
            tn_store *s = NULL;
            if (tn_store_open(&s, dir, NULL) != TN_OK) _exit(1);
            for (int i = 0; i < N_ARTIFACT; i++) {
                char text[32];
                snprintf(text, sizeof text, "artifact %d", i);
                tn_digest root = make(s, text, i % 2 == 0), key = tn_sha256_of(text, strlen(text));
                json_t   *r = stage_record(text, &root, NULL);
                json_object_set_new(r, "process", json_integer(k));
                if (tn_store_key_set(s, &key, &root, NULL) != TN_OK || tn_store_record(s, r, NULL) != TN_OK)
                    _exit(2);
                json_decref(r);
            }
            tn_store_close(s);
            _exit(0);
        }
    for (int k = 0; k < N_PROCESS; k++) {
        int code;
        waitpid(pids[k], &code, 0);
        assert_int_equal(code, 0);
    }
    assert_int_equal(tn_store_verify(*state, NULL, false, &bad, &n, NULL), TN_OK);
    assert_int_equal(n, N_ARTIFACT);
    assert_int_equal(json_array_size(bad), 0);
    json_decref(bad);
    assert_int_equal(tn_store_log(*state, "stage", NULL, NULL, 0, &rows, NULL), TN_OK);
    assert_int_equal(json_array_size(rows), N_PROCESS * N_ARTIFACT);
    json_decref(rows);
}

/* By another user (tests may run as root, whom no mode stops): the log is read, nothing is put aside. */
static void a_store_that_cannot_be_written_is_still_read(void **state)
{
    tn_store *s = NULL;
    tn_digest root;
    char      path[96];
    int       rc = 0;

    (void)state; /* its ledger is never opened: nobody holds the file */
    assert_int_equal(tn_store_open(&s, dir, NULL), TN_OK);
    root = make(s, "x", false);
    json_t *r = stage_record("one", &root, NULL);
    assert_int_equal(tn_store_record(s, r, NULL), TN_OK);
    json_decref(r);
    tn_store_close(s);
    chmod(dir, 0755);
    pid_t pid = fork();
    if (pid == 0) {
        tn_store *mine = NULL;
        json_t   *rows = NULL;
        tn_log_set_level(TN_LOG_ERROR);
        if (geteuid() == 0 && setuid(65534) != 0) _exit(9);
        if (geteuid() != 65534) chmod(dir, 0555);
        if (tn_store_open(&mine, dir, NULL) != TN_OK) _exit(1);
        if (tn_store_log(mine, NULL, NULL, NULL, 0, &rows, NULL) != TN_OK || json_array_size(rows) != 1)
            _exit(2);
        tn_store_close(mine);
        _exit(0);
    }
    assert_true(pid > 0 && waitpid(pid, &rc, 0) == pid);
    chmod(dir, 0755);
    assert_int_equal(rc, 0);
    snprintf(path, sizeof path, "%s/ledger.sqlite.damaged", dir);
    assert_false(tn_exists(path));
}

static void a_damaged_record_is_found_too(void **state)
{
    tn_store *s = *state;
    tn_digest root = make(s, "made", false);
    json_t   *bad = NULL, *r = stage_record("train", &root, NULL);
    char      path[400];
    int64_t   n;
    FILE     *f;

    assert_int_equal(tn_store_record(s, r, NULL), TN_OK);
    json_decref(r);
    assert_int_equal(tn_store_log(s, NULL, NULL, NULL, 0, &r, NULL), TN_OK);
    snprintf(path, sizeof path, "%s/runs/%s.json", tn_store_dir(s),
             json_string_value(json_object_get(json_array_get(r, 0), "id")));
    json_decref(r);
    chmod(path, 0644);
    assert_non_null(f = fopen(path, "r+b"));
    fseek(f, 2, SEEK_SET);
    int c = fgetc(f);
    fseek(f, 2, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
    assert_int_equal(tn_store_verify(s, NULL, false, &bad, &n, NULL), TN_OK);
    assert_int_equal(json_array_size(bad), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(bad, 0), "where")), path);
    json_decref(bad);
}

static void a_store_that_cannot_be_made_says_where_and_what_to_do(void **state)
{
    tn_store *s = NULL;
    tn_error  err;

    (void)state;
    assert_int_equal(tn_store_open(&s, "/dev/null/store", &err), TN_IO);
    assert_null(s);
    assert_non_null(strstr(err.msg, "/dev/null/store"));
    assert_non_null(strstr(err.msg, "--store"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_artifact_is_found_by_digest_prefix_and_name, setup, teardown),
        cmocka_unit_test_setup_teardown(an_exported_artifact_is_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_answers_only_while_its_artifact_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flipped_bit_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_artifact_leaves_the_store_by_no_way, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_cannot_be_written_is_still_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_record_is_found_too, setup, teardown),
        cmocka_unit_test_setup_teardown(the_ledger_is_rebuilt_when_it_is_missing_or_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_collection_keeps_what_pins_names_runs_and_releases_reach,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_not_collected_while_another_has_the_store_open, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(work_left_by_a_dead_process_is_swept, setup, teardown),
        cmocka_unit_test_setup_teardown(two_processes_may_make_the_same_artifacts_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_cannot_be_made_says_where_and_what_to_do, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
