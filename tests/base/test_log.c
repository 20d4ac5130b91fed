/* test_log.c - messages and progress on stderr, signals as a flag, errors with prefixes, CPU choices. */
#include "base/cpu.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/thread.h"
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>

/* What fn writes to stderr. made: free. */
static char *stderr_of(const char *dir, void (*fn)(void))
{
    char  *path = tn_path(dir, "stderr"), *text;
    int    saved = dup(2), fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t n;

    dup2(fd, 2);
    fn();
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    close(fd);
    assert_int_equal(tn_file_read_all(&text, &n, path, 100000, NULL), TN_OK);
    free(path);
    return text;
}

static void say_all(void)
{
    tn_log(TN_LOG_ERROR, "e%d", 1);
    tn_log(TN_LOG_WARN, "w");
    tn_log(TN_LOG_INFO, "i");
    tn_log(TN_LOG_DEBUG, "d");
}

static void levels_are_heeded(void **state)
{
    char *text = stderr_of(*state, say_all);

    assert_string_equal(text, "error: e1\nwarning: w\ni\n");
    free(text);
    tn_log_set_level(TN_LOG_WARN);
    text = stderr_of(*state, say_all);
    assert_string_equal(text, "error: e1\nwarning: w\n");
    free(text);
    tn_log_set_level(TN_LOG_INFO);
}

static void do_work(void)
{
    tn_progress *p;

    assert_int_equal(tn_progress_start(&p, "pairs", "rows", 240, NULL), TN_OK);
    for (int i = 0; i <= 240; i++) tn_progress_set(p, i, "fine");
    tn_progress_end(p);
    tn_progress_end(NULL);
}

static void progress_in_a_pipe_is_one_plain_line(void **state)
{
    char *text = stderr_of(*state, do_work);

    assert_string_equal(text, "pairs: 240 of 240 rows, 100 %, 0 s   fine\n");
    free(text);
    tn_log_set_level(TN_LOG_WARN);
    text = stderr_of(*state, do_work);
    assert_string_equal(text, "");
    free(text);
    tn_log_set_level(TN_LOG_INFO);
}

/* On a narrow terminal a line that is drawn over keeps to its columns, or its rest would stay there. */
static void progress_fits_a_narrow_terminal(void **state)
{
    enum { COLUMNS = 24 };
    int          master = posix_openpt(O_RDWR | O_NOCTTY), slave, saved = dup(2);
    char         text[4096];
    ssize_t      n;
    tn_progress *p;

    (void)state;
    setenv("LC_ALL", "C", 1); /* a byte a column */
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    assert_true((slave = open(ptsname(master), O_RDWR | O_NOCTTY)) >= 0);
    assert_int_equal(ioctl(slave, TIOCSWINSZ, &(struct winsize){ .ws_row = 24, .ws_col = COLUMNS }), 0);
    dup2(slave, 2);
    assert_int_equal(tn_progress_start(&p, "a work with a long name", "rows", 100, NULL), TN_OK);
    nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL); /* it is drawn five times a second */
    tn_progress_set(p, 1, "and a note");
    n = read(master, text, sizeof text - 1);
    tn_progress_end(p);
    dup2(saved, 2);
    close(saved);
    close(slave);
    close(master);
    assert_true(n > 0);
    text[n] = '\0';
    assert_memory_equal(text, "\r\033[K  a work", 12);
    for (char *save, *line = strtok_r(text, "\r", &save); line != NULL; line = strtok_r(NULL, "\r", &save))
        if (strlen(line) > strlen("\033[K") + COLUMNS - 1)
            fail_msg("a line of %zu bytes on %d columns", strlen(line) - 3, COLUMNS);
}

static void the_first_signal_is_a_flag_and_the_second_ends(void **state)
{
    int      status;
    pid_t    pid;
    tn_error err;

    (void)state;
    tn_signals_install();
    assert_int_equal(tn_interrupted(&err), TN_OK);
    raise(SIGINT);
    assert_int_equal(tn_interrupted(&err), TN_INTERRUPTED);
    assert_says(err, "kept");
    tn_interrupt_clear();
    assert_int_equal(tn_interrupted(&err), TN_OK);
    raise(SIGTERM);
    assert_int_equal(tn_interrupted(&err), TN_TERMINATED);
    assert_int_equal(tn_status_exit_code(tn_interrupted(&err)), 143);
    tn_interrupt_clear();
    if ((pid = fork()) == 0) {
        raise(SIGINT);
        raise(SIGINT);
        _exit(1);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
}

static void errors_carry_prefixes_and_codes(void **state)
{
    tn_error err = { 0 };
    char     big[3000];

    (void)state;
    assert_int_equal(tn_fail(&err, TN_FORMAT, "tensor %d is short", 3), TN_FORMAT);
    assert_int_equal(tn_fail_prefix(&err, TN_FORMAT, "model.gguf"), TN_FORMAT);
    assert_string_equal(err.msg, "model.gguf: tensor 3 is short");
    assert_int_equal(tn_fail(NULL, TN_IO, "dropped"), TN_IO);
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    (void)tn_fail(&err, TN_IO, "%s", big);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    assert_int_equal(tn_status_exit_code(TN_USAGE), 2);
    assert_int_equal(tn_status_exit_code(TN_VERIFY), 3);
    assert_string_equal(tn_status_text(TN_OK), "ok");
}

static void kernels_are_chosen_by_name(void **state)
{
    tn_error err;

    (void)state;
    assert_true(tn_cpu_any());
    assert_true(tn_cpu_name()[0] != '\0');
    assert_true(!tn_cpu_avx512() || tn_cpu_avx2());
    assert_int_equal(tn_isa_set("ref", &err), TN_OK);
    assert_int_equal(tn_isa_limit(), TN_ISA_REF);
    assert_int_equal(tn_isa_set("sse9", &err), TN_USAGE);
    assert_says(err, "ref, avx2, avx512 or auto");
    assert_int_equal(tn_isa_limit(), TN_ISA_REF);
    assert_int_equal(tn_isa_set("avx512", &err), tn_cpu_avx512() ? TN_OK : TN_USAGE);
    assert_int_equal(tn_isa_set("auto", &err), TN_OK);
    assert_int_equal(tn_isa_limit(), tn_cpu_avx512() ? TN_ISA_AVX512
                                     : tn_cpu_avx2() ? TN_ISA_AVX2
                                                     : TN_ISA_REF);
}

static void the_machine_has_a_peak(void **state)
{
    (void)state;
    assert_true(tn_peak_f32(0.01) > 0.01);
    assert_true(tn_peak_bf16(0.01) > 0.01);
    assert_int_equal(tn_isa_set("ref", NULL), TN_OK);
    assert_true(tn_peak_f32(0.01) > 0.01);
    assert_int_equal(tn_isa_set("auto", NULL), TN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        folder_test(levels_are_heeded),
        folder_test(progress_in_a_pipe_is_one_plain_line),
        cmocka_unit_test(progress_fits_a_narrow_terminal),
        cmocka_unit_test(the_first_signal_is_a_flag_and_the_second_ends),
        cmocka_unit_test(errors_carry_prefixes_and_codes),
        cmocka_unit_test(kernels_are_chosen_by_name),
        cmocka_unit_test(the_machine_has_a_peak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
