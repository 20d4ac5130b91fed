/* test_kills.c - random recipes of toy stages, killed or starved at random system calls, then run again: the
 * same roots as an undisturbed run, and never anything half-written in the store.
 *
 * write, fsync, rename, open, mkdir and link are wrapped at link time (--wrap): at the n-th of them the
 * process kills itself with SIGKILL, or the call fails with "no space left" or "input/output error", once or
 * from then on. TENET_KILLS sets the number of disturbed runs (25; `./dev soak`: 500). */
#include "toys.h"

#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---------------------------------------------------------------------------------------- the fault maker */

typedef enum fault { FAULT_NONE, FAULT_KILL, FAULT_ONCE, FAULT_FROM_NOW } fault;
static fault fault_kind;
static long  fault_at, n_call;
static int   fault_errno;

/* true: the call has to fail. */
static bool strike(void)
{
    n_call++;
    if (fault_kind == FAULT_NONE || n_call < fault_at) return false;
    if (fault_kind == FAULT_KILL) kill(getpid(), SIGKILL);
    if (fault_kind == FAULT_ONCE && n_call > fault_at) return false;
    errno = fault_errno;
    return true;
}

ssize_t __real_write(int fd, const void *p, size_t n);
int     __real_fsync(int fd);
int     __real_rename(const char *a, const char *b);
int     __real_mkdir(const char *p, mode_t m);
int     __real_link(const char *a, const char *b);
int     __real_open(const char *p, int flags, mode_t mode);
ssize_t __wrap_write(int fd, const void *p, size_t n);
int     __wrap_fsync(int fd);
int     __wrap_rename(const char *a, const char *b);
int     __wrap_mkdir(const char *p, mode_t m);
int     __wrap_link(const char *a, const char *b);
int     __wrap_open(const char *p, int flags, ...);

/* A full disk takes a part of what is written, as disks do. */
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    if (!strike()) return __real_write(fd, p, n);
    int saved = errno;
    if (n > 1 && __real_write(fd, p, n / 2) < 0) return -1;
    errno = saved;
    return -1;
}
int __wrap_fsync(int fd) { return strike() ? -1 : __real_fsync(fd); }
int __wrap_rename(const char *a, const char *b) { return strike() ? -1 : __real_rename(a, b); }
int __wrap_mkdir(const char *p, mode_t m) { return strike() ? -1 : __real_mkdir(p, m); }
int __wrap_link(const char *a, const char *b) { return strike() ? -1 : __real_link(a, b); }
int __wrap_open(const char *p, int flags, ...)
{
    va_list ap;
    mode_t  mode = 0;

    if (flags & O_CREAT) {
        va_start(ap, flags);
        mode = (mode_t)va_arg(ap, int);
        va_end(ap);
        if (strike()) return -1;
    }
    return __real_open(p, flags, mode);
}

/* ----------------------------------------------------------------------------------------- random recipes */

static char           dir[64];
static const uint64_t SEED = 20260101;

static uint64_t pick(uint64_t recipe, uint64_t *at, uint64_t n)
{
    const tn_rng_key k = { .seed = SEED, .purpose = TN_RNG_TEST, .step = recipe };

    return tn_rng_below(&k, (*at)++, n);
}

/* 3 to 9 stages; each takes what earlier ones made. */
static char *random_recipe(uint64_t i)
{
    tn_str   s = { 0 };
    uint64_t at = 0, n = 3 + pick(i, &at, 7);

    tn_str_addf(&s, "name: random-%llu\nseed: %llu\nstages:\n", (unsigned long long)i, (unsigned long long)i);
    for (uint64_t k = 0; k < n; k++) {
        uint64_t kind = k == 0 ? 0 : pick(i, &at, 4);
        switch (kind) {
        case 0:
            tn_str_addf(&s, "  s%llu: {kind: text, text: \"t%llu \"}\n", (unsigned long long)k,
                        (unsigned long long)pick(i, &at, 5));
            break;
        case 1:
            tn_str_addf(&s, "  s%llu: {kind: count, lr: %llu, inputs: {from: s%llu}}\n",
                        (unsigned long long)k, (unsigned long long)(1 + pick(i, &at, 12)),
                        (unsigned long long)pick(i, &at, k));
            break;
        case 2:
            tn_str_addf(&s, "  s%llu: {kind: tree, inputs: {from: s%llu}}\n", (unsigned long long)k,
                        (unsigned long long)pick(i, &at, k));
            break;
        default:
            tn_str_addf(&s, "  s%llu: {kind: join, inputs: {from: [s%llu, s%llu]}}\n", (unsigned long long)k,
                        (unsigned long long)pick(i, &at, k), (unsigned long long)pick(i, &at, k));
        }
    }
    char *text = tn_str_take(&s);
    tn_str_free(&s);
    return text;
}

/* Runs the recipe; writes the roots of all stages to `roots` when it is done. */
static tn_status run_here(const char *recipe_path, const char *store_dir, char **roots, tn_error *err)
{
    tn_recipe *r = NULL;
    tn_store  *s = NULL;
    json_t    *record = NULL, *row;
    size_t     i;
    tn_str     text = { 0 };
    tn_status  status = TN_OK;

    TN_GOTO(tn_recipe_load(&r, recipe_path, NULL, err));
    TN_GOTO(tn_store_open(&s, store_dir, err));
    TN_GOTO(tn_recipe_run(r, s, &(tn_run_options){ 0 }, &record, err));
    json_array_foreach(json_object_get(record, "stages"), i, row)
        tn_str_addf(&text, "%s %s\n", json_string_value(json_object_get(row, "name")),
                    json_string_value(json_object_get(row, "root")));
    *roots = tn_str_take(&text);
out:
    tn_str_free(&text);
    json_decref(record);
    tn_store_close(s);
    tn_recipe_free(r);
    return status;
}

/* One attempt in a process of its own; how it ended: 0 done, else killed or failed. */
static pid_t attempt(const char *recipe_path, const char *store_dir, fault kind, long at, int code)
{
    pid_t pid = fork();

    if (pid == 0) {
        char    *roots = NULL;
        tn_error err;
        fault_kind = kind;
        fault_at = at;
        fault_errno = code;
        n_call = 0;
        _exit(run_here(recipe_path, store_dir, &roots, &err) == TN_OK ? 0 : 1);
    }
    return pid;
}

static void store_is_whole(const char *store_dir)
{
    tn_store *s = NULL;
    json_t   *bad = NULL;
    int64_t   n;

    assert_int_equal(tn_store_open(&s, store_dir, NULL), TN_OK);
    assert_int_equal(tn_store_verify(s, NULL, false, &bad, &n, NULL), TN_OK);
    if (json_array_size(bad) != 0) fail_msg("%s", tn_json_text(bad));
    json_decref(bad);
    tn_store_close(s);
}

static void disturbed_runs_end_with_the_roots_of_an_undisturbed_one(void **state)
{
    const char *many = getenv("TENET_KILLS");
    int64_t     n_kill = 25, done = 0;
    int64_t     n_ended = 0;

    (void)state;
    if (many != NULL && !tn_parse_i64(many, &n_kill)) fail_msg("TENET_KILLS is no number");
    for (uint64_t i = 0; done < n_kill; i++) {
        char    *text = random_recipe(i), path[128], calm[128], rough[128], *want = NULL, *got = NULL;
        uint64_t at = 1000;
        tn_error err = { .msg = "" };
        snprintf(path, sizeof path, "%s/r.yaml", dir);
        snprintf(calm, sizeof calm, "%s/calm", dir);
        snprintf(rough, sizeof rough, "%s/rough", dir);
        assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
        n_call = 0;
        if (run_here(path, calm, &want, &err) != TN_OK) fail_msg("%s\n%s", err.msg, text);
        long n_calm = n_call;
        /* up to four disturbances, one after the other, in one store */
        for (int k = 0; k < 4 && done < n_kill; k++) {
            fault kind = FAULT_KILL + (fault)pick(i, &at, 3);
            /* less is left each time */
            long  when = 1 + (long)pick(i, &at, (uint64_t)(n_calm / (2 * k + 1) + 1));
            int   code = pick(i, &at, 2) == 0 ? ENOSPC : EIO, how = 0, how2 = 0;
            bool  two = pick(i, &at, 5) == 0; /* now and then a second process at the same time */
            pid_t other = two ? attempt(path, rough, FAULT_NONE, 0, 0) : 0,
                  pid = attempt(path, rough, kind, when, code);
            waitpid(pid, &how, 0);
            if (two) {
                waitpid(other, &how2, 0);
                assert_int_equal(how2, 0);
            }
            done++;
            n_ended += how != 0;
            store_is_whole(rough);
        }
        if (run_here(path, rough, &got, &err) != TN_OK) fail_msg("%s\n%s", err.msg, text);
        if (strcmp(want, got) != 0)
            fail_msg("recipe %llu:\n%s\nexpected\n%s\nfound\n%s", (unsigned long long)i, text, want, got);
        store_is_whole(rough);
        assert_int_equal(tn_remove_tree(calm, NULL), TN_OK);
        assert_int_equal(tn_remove_tree(rough, NULL), TN_OK);
        free(text);
        free(want);
        free(got);
    }
    print_message("%lld disturbances, %lld runs ended by them\n", (long long)done, (long long)n_ended);
    assert_true(n_ended * 5 > done); /* the faults do strike */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(
        disturbed_runs_end_with_the_roots_of_an_undisturbed_one) };

    snprintf(dir, sizeof dir, "/tmp/tenet-kills-XXXXXX");
    if (mkdtemp(dir) == NULL) return 1;
    tn_log_set_level(TN_LOG_ERROR);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tn_remove_tree(dir, NULL);
    return failed;
}
