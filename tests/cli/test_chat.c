/* test_chat.c - `tenet chat` through a pseudo-terminal, as a person has it: answers that stream, a history
 * that counts, /system, /save, /clear, Ctrl-C that stops the answer and not the program, Ctrl-D that ends.
 *
 *   test ── keys ──→ pty ──→ tenet chat ──→ pty ── what is on the screen ──→ test
 *
 * The model is random and greedy, so it never says its end token: an answer ends at -n, or when it is
 * stopped. */
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include <cmocka.h>

static const char *tenet;
static char        dir[] = "/tmp/tenet-chat-XXXXXX";
static pid_t       child;
static int         tty = -1;
static tn_str      screen; /* what came since the last keys */

static char *at(const char *name)
{
    static char path[4][300];
    static int  turn;
    char       *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

/* A terminal that neither echoes nor changes line ends, so that the screen holds what the program wrote and
 * no more. */
static void start(const char *n, const char *system)
{
    struct termios t;
    int            slave;

    assert_int_equal(openpty(&tty, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(slave, &t), 0);
    t.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL | ECHOCTL);
    t.c_oflag &= ~(tcflag_t)OPOST;
    assert_int_equal(tcsetattr(slave, TCSANOW, &t), 0);
    if ((child = fork()) == 0) {
        if (login_tty(slave) != 0) _exit(126);
        execl(tenet, "tenet", "chat", "-m", at("model"), "--temperature", "0", "--ctx", "0", "--threads", "1",
              "-n", n, system != NULL ? "--system" : NULL, system, (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    close(slave);
    tn_str_clear(&screen);
}

/* Reads what is on its way for at most `ms`; false: nothing came. */
static bool listen(int ms)
{
    struct pollfd p = { .fd = tty, .events = POLLIN };
    char          bytes[4096];
    ssize_t       n;

    if (poll(&p, 1, ms) <= 0) return false;
    if ((n = read(tty, bytes, sizeof bytes)) <= 0) return false;
    tn_str_add_n(&screen, bytes, (size_t)n);
    return true;
}

static bool ends_with(const char *end)
{
    size_t n = strlen(end);

    return screen.len >= n && memcmp(screen.p + screen.len - n, end, n) == 0;
}

/* Until the program waits for a line: "> " at the beginning of one, and silence after it. */
static void await_prompt(void)
{
    for (int i = 0; i < 600; i++) {
        bool more = listen(100);
        if (!more && (ends_with("\n> ") || (screen.len == 2 && ends_with("> ")))) return;
    }
    fail_msg("no prompt came; the screen says: %.400s", screen.p != NULL ? screen.p : "");
}

static void keys(const char *text)
{
    tn_str_clear(&screen);
    assert_int_equal(write(tty, text, strlen(text)), (ssize_t)strlen(text));
}

/* Says a line; what the program wrote up to its next prompt. made: free. */
static char *say(const char *line)
{
    keys(line);
    await_prompt();
    return tn_strndup(screen.p, screen.len - 3); /* without "\n> " */
}

static void says(const char *line, const char *expected)
{
    char *got = say(line);

    if (strstr(got, expected) == NULL)
        fail_msg("%s: expected '%s', the screen says: %.400s", line, expected, got);
    free(got);
}

static int end(const char *last)
{
    int status = -1;

    keys(last);
    pid_t gone = 0;
    for (int i = 0; i < 600 && (gone = waitpid(child, &status, WNOHANG)) == 0; i++)
        if (!listen(50)) usleep(50000);
    if (gone != child || !WIFEXITED(status)) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        fail_msg("it does not end; the screen says: %.400s", screen.p != NULL ? screen.p : "");
    }
    close(tty);
    return WEXITSTATUS(status);
}

static json_t *saved(size_t n)
{
    json_t *o = NULL;
    char    command[400], line[32];

    snprintf(command, sizeof command, "/save %s\n", at("saved.json"));
    snprintf(line, sizeof line, "saved %zu turns", n);
    says(command, line);
    assert_int_equal(tn_json_load(&o, at("saved.json"), 1 << 20, NULL), TN_OK);
    return o;
}

static const char *content(const json_t *o, size_t i, const char *role)
{
    const json_t *m = json_array_get(json_object_get(o, "messages"), i);

    assert_string_equal(json_string_value(json_object_get(m, "role")), role);
    return json_string_value(json_object_get(m, "content"));
}

/* What `tenet generate` answers to the conversation without its last turn. made: free. */
static char *answered_alone(const json_t *o, const char *n)
{
    json_t *copy = json_deep_copy(o), *list = json_object_get(copy, "messages"), *row = NULL;
    char   *text;
    int     status = -1;
    pid_t   pid;

    json_array_remove(list, json_array_size(list) - 1);
    text = tn_json_text(copy);
    assert_int_equal(tn_file_write_all(at("rows.jsonl"), text, strlen(text), NULL), TN_OK);
    if ((pid = fork()) == 0) {
        if (freopen(at("answers.jsonl"), "w", stdout) == NULL) _exit(126);
        execl(tenet, "tenet", "generate", "-m", at("model"), "--file", at("rows.jsonl"), "-n", n,
              "--temperature", "0", "--json", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(tn_json_load(&row, at("answers.jsonl"), 1 << 20, NULL), TN_OK);
    char *answer = tn_strdup(json_string_value(json_object_get(row, "text")));
    json_decref(row);
    json_decref(copy);
    free(text);
    return answer;
}

static void a_conversation_has_a_history_a_system_text_and_can_be_saved(void **state)
{
    char quoted[4200];
    (void)state;
    start("24", NULL);
    await_prompt();
    assert_non_null(strstr(screen.p, "Ctrl-D ends."));
    char *first = say("hello\n"), *second, *alone;
    assert_true(strlen(first) > 0);
    json_t *o = saved(2);
    assert_string_equal(content(o, 0, "user"), "hello");
    assert_string_equal(content(o, 1, "assistant"), first);
    alone = answered_alone(o, "24");
    assert_string_equal(alone, first);
    json_decref(o);
    free(alone);

    second = say("hello\n"); /* the same words, another place in the conversation */
    o = saved(4);
    assert_string_equal(content(o, 3, "assistant"), second);
    alone = answered_alone(o, "24");
    assert_string_equal(alone, second);
    json_decref(o);
    free(alone);
    free(second);

    says("/system Speak of ships.\n", "the system text is set");
    second = say("one \\\ntwo\n"); /* a line that goes on */
    o = saved(6);
    assert_string_equal(content(o, 0, "system"), "Speak of ships.");
    assert_string_equal(content(o, 5, "user"), "one \ntwo");
    alone = answered_alone(o, "24");
    assert_string_equal(alone, second);
    json_decref(o);
    free(alone);
    free(second);

    says("/system\n", "the format's own");
    says("/nonsuch\n", "/nonsuch is no command");
    says("/nonsuch\n", "/save FILE");
    says("a \xff b\n", "no valid UTF-8: byte 3 of 5");
    free(say(" \t \n")); /* not a turn */
    says("/save\n", "/save needs a file name");
    says("/save \"\"\n", "/save needs a file name");
    snprintf(quoted, sizeof quoted, "/save \"%s\" \n", at("with space.json"));
    says(quoted, "saved 6 turns");
    assert_true(tn_exists(at("with space.json")));
    says("/save /nonsuch/dir/x\n", "/nonsuch/dir/x"); /* told, and the conversation goes on */
    free(say("/clear\n"));
    second = say("hello\n"); /* nothing is left of before */
    assert_string_equal(second, first);
    free(first);
    free(second);
    assert_int_equal(end("/quit\n"), 0);
}

static void ctrl_c_stops_the_answer_and_ctrl_d_ends(void **state)
{
    (void)state;
    start("1000000", "Be long.");
    await_prompt();
    for (int round = 0; round < 2; round++) {
        keys("go on\n");
        while (screen.len < 300) assert_true(listen(20000)); /* the answer is far from its end: it streams */
        assert_int_equal(write(tty, "\003", 1), 1);
        await_prompt();
        assert_true(ends_with(" (stopped)\n> "));
        assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
    }
    json_t *o = saved(4);
    assert_string_equal(content(o, 0, "system"), "Be long.");
    assert_true(strlen(content(o, 2, "assistant")) >= 200); /* what was said counts */
    json_decref(o);
    keys("half a lin\003"); /* while typing: the line is forgotten, the program stays */
    await_prompt();
    assert_non_null(strstr(screen.p, "(Ctrl-D or /quit ends)"));
    says("/help\n", "/system TEXT");
    assert_int_equal(end("\004"), 0);
}

/* The golden model with room for a long answer. */
static bool make_model(const char *from)
{
    json_t *config = NULL;
    bool    ok = tn_mkdirs(at("model"), NULL) == TN_OK;

    for (const char *const *n = (const char *const[]){ "config.json", "model.safetensors", "tokenizer.json",
                                                       "tokenizer_config.json", NULL };
         *n != NULL && ok; n++) {
        char *a = tn_path(from, *n), *b = tn_path(at("model"), *n);
        ok = tn_file_clone(a, b, false, NULL) == TN_OK;
        free(a);
        free(b);
    }
    ok = ok && tn_json_load(&config, at("model/config.json"), 1 << 20, NULL) == TN_OK;
    if (ok) json_object_set_new(config, "max_position_embeddings", json_integer(100000));
    ok = ok && remove(at("model/config.json")) == 0 &&
         tn_json_save(at("model/config.json"), config, true, NULL) == TN_OK;
    json_decref(config);
    return ok;
}

/* A row of `tenet generate` that says nothing is a mistake, not a prompt. */
static void an_empty_conversation_is_refused(void **state)
{
    static const char row[] = "{\"messages\":[]}\n";
    char             *text = NULL;
    size_t            n;
    int               status = -1;
    pid_t             pid;

    (void)state;
    assert_int_equal(tn_file_write_all(at("rows.jsonl"), row, strlen(row), NULL), TN_OK);
    if ((pid = fork()) == 0) {
        if (freopen(at("said"), "w", stderr) == NULL) _exit(126);
        execl(tenet, "tenet", "generate", "-m", at("model"), "--file", at("rows.jsonl"), "-n", "2",
              (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_int_equal(tn_file_read_all(&text, &n, at("said"), 1 << 16, NULL), TN_OK);
    assert_non_null(strstr(text, "rows.jsonl:1: \"messages\" is empty"));
    free(text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conversation_has_a_history_a_system_text_and_can_be_saved),
        cmocka_unit_test(an_empty_conversation_is_refused),
        cmocka_unit_test(ctrl_c_stops_the_answer_and_ctrl_d_ends),
    };
    int failed;

    if (argc < 3 || (tenet = realpath(argv[1], NULL)) == NULL || mkdtemp(dir) == NULL) return 2;
    signal(SIGPIPE, SIG_IGN);
    if (!make_model(argv[2])) {
        fprintf(stderr, "%s cannot be copied\n", argv[2]);
        return 2;
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    tn_str_free(&screen);
    tn_remove_tree(dir, NULL);
    return failed;
}
