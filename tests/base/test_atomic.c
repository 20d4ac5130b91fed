/* test_atomic.c - a final name always means a whole file: under kill -9 at any moment, and when any single
 * write, fsync, close or rename fails. The system calls are wrapped at link time (-Wl,--wrap), so each of
 * them can be made to fail. */
#include "base/file.h"
#include "testing.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int  calls, fail_at = -1, fail_errno; /* the n-th wrapped call fails */
static bool short_writes;
static char order[100]; /* one letter a call: w, f, c, r */

static bool fails_now(char letter)
{
    if (calls < (int)sizeof order - 1) order[calls] = letter;
    if (calls++ != fail_at) return false;
    errno = fail_errno;
    return true;
}

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
int     __real_fsync(int fd);
int     __wrap_fsync(int fd);
int     __real_close(int fd);
int     __wrap_close(int fd);
int     __real_rename(const char *a, const char *b);
int     __wrap_rename(const char *a, const char *b);

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    if (fails_now('w')) return -1;
    if (short_writes && n > 1000) n = 1000;
    return __real_write(fd, p, n);
}
int __wrap_fsync(int fd) { return fails_now('f') ? -1 : __real_fsync(fd); }
int __wrap_close(int fd)
{
    bool fails = fails_now('c');
    int  saved = errno, rc = __real_close(fd);
    errno = saved;
    return fails ? -1 : rc;
}
int __wrap_rename(const char *a, const char *b) { return fails_now('r') ? -1 : __real_rename(a, b); }

enum { SIZE = 700000 }; /* several buffers of out.c */

static bool holds_only(const char *path, char c, size_t n)
{
    char  *text;
    size_t got;
    bool   ok;

    if (tn_file_read_all(&text, &got, path, 1 << 24, NULL) != TN_OK) return false;
    ok = got == n;
    for (size_t i = 0; i < got && ok; i++) ok = text[i] == c;
    free(text);
    return ok;
}

static void one_failing_call_never_harms_the_old_file(void **state)
{
    static const int codes[] = { ENOSPC, EIO, EDQUOT };
    char            *path = tn_path(*state, "model.bin"), *old = malloc(SIZE), *new = malloc(SIZE), **list;
    size_t           n;
    tn_error         err;

    memset(old, 'o', SIZE);
    memset(new, 'n', SIZE);
    for (size_t e = 0; e < sizeof codes / sizeof codes[0]; e++) {
        bool reached_end = false;
        for (int at = 0; !reached_end; at++) {
            fail_at = -1;
            assert_int_equal(tn_file_write_all(path, old, SIZE, &err), TN_OK);
            calls = 0;
            fail_at = at;
            fail_errno = codes[e];
            tn_status status = tn_file_write_all(path, new, SIZE, &err);
            reached_end = calls <= at; /* nothing was left to fail: the loop has seen every call */
            fail_at = -1;
            if (reached_end) {
                assert_int_equal(status, TN_OK);
                assert_true(holds_only(path, 'n', SIZE));
            } else if (status != TN_OK) {
                assert_int_equal(status, TN_IO);
                assert_says(err, (const char *)*state);
                /* Old until the rename, new after it (only the sync of the directory came later); never a
                 * mixture. */
                assert_true(holds_only(path, 'o', SIZE) || holds_only(path, 'n', SIZE));
            } else { /* only the very last call, closing the directory, may fail unseen */
                assert_int_equal(at, calls - 1);
                assert_true(holds_only(path, 'n', SIZE));
            }
            assert_int_equal(tn_list_files(&list, &n, *state, NULL), TN_OK);
            assert_int_equal(n, 1); /* and no temporary is left behind */
            tn_list_free(list, n);
            assert_true(at < 100);
        }
    }
    free(old);
    free(new);
    free(path);
}

static void bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(void **state)
{
    char *path = tn_path(*state, "f");

    calls = 0;
    memset(order, 0, sizeof order);
    assert_int_equal(tn_file_write_all(path, "x", 1, NULL), TN_OK);
    assert_string_equal(order, "wfcrfc"); /* write, fsync, close, rename, fsync of the folder, close */
    free(path);
}

static void an_interrupted_write_goes_on(void **state)
{
    char    *path = tn_path(*state, "f"), *text = malloc(SIZE);
    tn_error err;

    memset(text, 't', SIZE);
    calls = 0;
    fail_at = 0;
    fail_errno = EINTR;
    short_writes = true;
    assert_int_equal(tn_file_write_all(path, text, SIZE, &err), TN_OK);
    short_writes = false;
    fail_at = -1;
    assert_true(holds_only(path, 't', SIZE));
    free(text);
    free(path);
}

static void kill_9_at_any_moment_leaves_a_whole_file(void **state)
{
    char *path = tn_path(*state, "f"), *text = malloc(SIZE);

    memset(text, 'a', SIZE);
    assert_int_equal(tn_file_write_all(path, text, SIZE, NULL), TN_OK);
    for (int round = 0; round < 25; round++) {
        pid_t  pid = fork();
        char  *now;
        size_t n;
        if (pid == 0) {
            for (char c = 'a';; c = (char)(c == 'z' ? 'a' : c + 1)) {
                memset(text, c, SIZE);
                (void)tn_file_write_all(path, text, SIZE, NULL);
            }
        }
        usleep((useconds_t)(500 + 777 * round));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_int_equal(tn_file_read_all(&now, &n, path, 1 << 24, NULL), TN_OK);
        if (!holds_only(path, now[0], SIZE)) fail_msg("round %d left a broken file of %zu bytes", round, n);
        free(now);
    }
    free(text);
    free(path);
}

static void abandoned_output_leaves_nothing(void **state)
{
    char    *path = tn_path(*state, "f"), **list;
    tn_out  *o;
    size_t   n;
    tn_error err;

    assert_int_equal(tn_out_open(&o, path, &err), TN_OK);
    assert_int_equal(tn_out_printf(o, &err, "%d", 5), TN_OK);
    tn_out_abandon(o);
    tn_out_abandon(NULL);
    assert_int_equal(tn_list_files(&list, &n, *state, &err), TN_OK);
    assert_int_equal(n, 0);
    tn_list_free(list, n);
    free(path);
}

static void a_link_is_followed_and_a_device_is_written_to(void **state)
{
    char *target = tn_path(*state, "target"), *link = tn_path(*state, "link"), *sub = tn_path(*state, "sub");
    struct stat st;
    tn_error    err;

    assert_int_equal(tn_file_write_all(target, "old", 3, &err), TN_OK);
    assert_int_equal(chmod(target, 0600), 0);
    assert_int_equal(symlink("target", link), 0);
    assert_int_equal(tn_file_write_all(link, "xxx", 3, &err), TN_OK);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_true(holds_only(target, 'x', 3));
    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600); /* its mode is kept */
    assert_int_equal(tn_file_write_all("/dev/null", "x", 1, &err), TN_OK);
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_int_equal(tn_file_write_all("/dev/full", "x", 1, &err), TN_IO);
    assert_int_equal(mkdir(sub, 0700), 0);
    assert_int_equal(tn_file_write_all(sub, "x", 1, &err), TN_IO);
    assert_says(err, "is a directory");
    assert_int_equal(tn_file_write_all("/nowhere/f", "x", 1, &err), TN_IO);
    assert_says(err, "/nowhere/f");
    free(target);
    free(link);
    free(sub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        folder_test(one_failing_call_never_harms_the_old_file),
        folder_test(bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end),
        folder_test(an_interrupted_write_goes_on),
        folder_test(kill_9_at_any_moment_leaves_a_whole_file),
        folder_test(abandoned_output_leaves_nothing),
        folder_test(a_link_is_followed_and_a_device_is_written_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
