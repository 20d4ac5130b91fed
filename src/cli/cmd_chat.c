/* cmd_chat.c - `tenet chat`: a conversation at the terminal. Answers appear as they are written; Ctrl-C stops
 * the answer, not the program; the history stays in the KV cache, so each turn reads only what is new. */
#include "cli/with_model.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct chat_config {
    tn_model_args a;
    char         *system;
    int64_t       n, top_k;
    double        temperature, top_p, min_p, repetition_penalty;
} chat_config;

#define AT(field) offsetof(chat_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "model",       TN_OPT_STR,    AT(a.model),       NULL,  0, 0, "", "folder, .gguf file, release, digest or name in the store", "m" },
    { "chat_format", TN_OPT_STR,    AT(a.chat_format), NULL,  0, 0, "", "chat format instead of the one that the model's template says", NULL },
    { "ctx",         TN_OPT_INT,    AT(a.n_ctx),       "4096", 0, 1e9, "tokens", "longest conversation; 0: what the model knows", "c" },
    { "kv_type",     TN_OPT_CHOICE, AT(a.kv_type),     "f32", 0, 0, "f32|bf16|q8_0", "type of the KV cache", NULL },
    { "system",      TN_OPT_STR,    AT(system),        NULL,  0, 0, "", "system text", "s" },
    TN_SAMPLING_OPTIONS(chat_config, "1024", 1, "0.7", "0.95"),
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

typedef struct talk {
    const tn_common   *common;
    const chat_config *c;
    tn_model          *m;
    tn_engine         *e;
    const tn_chat     *chat;
    char              *system; /* NULL: the format's own */
    tn_message        *turns;  /* user, assistant, user ... content made */
    size_t             n, cap;
    tn_ids             ids;
    tn_str             answer;
    uint64_t           n_turn;
    bool               terminal;
} talk;

/* Not by stdio: a Ctrl-C that meets a write would leave the stream in error for the rest of the
 * conversation. */
static void put(const char *text, size_t n)
{
    fflush(stdout);
    /* a failure is said at the end, when stdio meets the same */
    (void)tn_write_all(STDOUT_FILENO, text, n, NULL);
}

static bool show(void *arg, int32_t id, float logprob, const char *text, size_t n)
{
    talk *t = arg;

    (void)id;
    (void)logprob;
    tn_str_add_n(&t->answer, text, n);
    put(text, n);
    return tn_interrupted(NULL) == TN_OK;
}

static tn_status add_turn(talk *t, const char *role, const char *text, tn_error *err)
{
    if (t->n == t->cap) {
        size_t      cap = t->cap == 0 ? 16 : 2 * t->cap;
        tn_message *turns = realloc(t->turns, cap * sizeof *turns);
        if (turns == NULL) return tn_fail(err, TN_NOMEM, "no memory for the conversation");
        t->turns = turns;
        t->cap = cap;
    }
    char *copy = tn_strdup(text);
    if (copy == NULL) return tn_fail(err, TN_NOMEM, "no memory for the conversation");
    t->turns[t->n++] = (tn_message){ role, copy };
    return TN_OK;
}

static void drop_turns(talk *t, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++) free((char *)t->turns[i].content);
    memmove(t->turns + from, t->turns + from + n, (t->n - from - n) * sizeof *t->turns);
    t->n -= n;
}

static tn_status render(talk *t, tn_error *err)
{
    tn_message *list = calloc(t->n + 2, sizeof *list);
    size_t      n = 0;

    if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for the conversation");
    if (t->system != NULL) list[n++] = (tn_message){ "system", t->system };
    for (size_t i = 0; i < t->n; i++) list[n++] = t->turns[i];
    t->ids.n = 0;
    tn_status s = tn_chat_render(tn_model_tokenizer(t->m), t->chat, list, n, TN_TURN_OPEN, &t->ids.p, NULL,
                                 &t->ids.n, &t->ids.cap, err);
    free(list);
    return s;
}

/* The whole conversation as tokens; its oldest turns fall away when it does not leave room for an answer. */
static tn_status fit(talk *t, int64_t n_ctx, tn_error *err)
{
    size_t before = t->n;

    TN_TRY(render(t, err));
    while (t->n > 2 && (int64_t)t->ids.n + (t->c->n < n_ctx / 4 ? t->c->n : n_ctx / 4) > n_ctx) {
        drop_turns(t, 0, 2);
        TN_TRY(render(t, err));
    }
    if (t->n < before)
        tn_log(TN_LOG_WARN,
               "(the conversation is longer than --ctx %" PRId64 ": its first %zu turns are forgotten)",
               n_ctx, before - t->n);
    return TN_OK;
}

static tn_status answer(talk *t, const char *line, int64_t n_ctx, tn_error *err)
{
    tn_result result = { 0 };

    TN_TRY(add_turn(t, "user", line, err));
    TN_TRY(fit(t, n_ctx, err));
    tn_request r = {
        .prompt = t->ids.p,
        .n_prompt = (int64_t)t->ids.n,
        .sample_id = t->n_turn++,
        .on_token = show,
        .arg = t,
        .sampling = { .max_tokens = t->c->n,
                      .temperature = t->c->temperature,
                      .top_k = t->c->top_k,
                      .top_p = t->c->top_p,
                      .min_p = t->c->min_p,
                      .repetition_penalty = t->c->repetition_penalty,
                      .seed = (uint64_t)t->common->seed },
    };
    tn_str_clear(&t->answer);
    tn_status s = tn_engine_run(t->e, &r, &result, 1, NULL, err);
    if (s == TN_OK && result.status != TN_OK) s = tn_fail(err, result.status, "%s", result.message);
    bool stopped = s == TN_INTERRUPTED || strcmp(result.stop_reason, "interrupted") == 0;
    tn_result_free(&result);
    if (stopped && tn_interrupted(NULL) != TN_TERMINATED) {
        tn_interrupt_clear();
        s = TN_OK;
        fputs(" (stopped)", stdout);
    }
    putchar('\n');
    if (s != TN_OK) {
        drop_turns(t, t->n - 1, 1);
        return s;
    }
    return add_turn(t, "assistant", t->answer.p != NULL ? t->answer.p : "", err);
}

/* ------------------------------------------------------------------------------------- lines and commands */

static void prompt(const char *before)
{
    printf("%s> ", before);
    fflush(stdout);
}

/* Ctrl-C while a person types: the line is forgotten (the terminal has dropped what was typed of it), not the
 * program. */
static bool line_dropped(const talk *t, tn_str *line)
{
    if (!t->terminal || tn_interrupted(NULL) != TN_INTERRUPTED) return false;
    tn_interrupt_clear();
    tn_str_clear(line);
    prompt("\n(Ctrl-D or /quit ends)\n");
    return true;
}

/* One line from standard input, without its end; lines that end in a backslash go on. false: the end, or a
 * signal. */
static bool read_line(const talk *t, tn_str *line)
{
    tn_str_clear(line);
    if (t->terminal) prompt("");
    for (;;) {
        char          c;
        struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
        if (tn_interrupted(NULL) != TN_OK && !line_dropped(t, line)) return false;
        if (poll(&p, 1, 200) <= 0) continue;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return line->len > 0;
        if (c == '\n' && line->len > 0 && line->p[line->len - 1] == '\\') line->p[line->len - 1] = '\n';
        else if (c == '\n') return true;
        else tn_str_add_char(line, c);
    }
}

static tn_status save(const talk *t, char *path, tn_error *err)
{
    json_t *list;
    size_t  n = strlen(path);

    while (n > 0 && path[n - 1] == ' ') path[--n] = '\0';
    /* in quotes, as a shell wants it */
    if (n > 1 && (path[0] == '"' || path[0] == '\'') && path[n - 1] == path[0]) {
        path[n - 1] = '\0';
        path++;
    }
    if (path[0] == '\0') return tn_fail(err, TN_USAGE, "/save needs a file name");
    list = json_array();
    if (t->system != NULL)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", "system", "content", t->system));
    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "role", t->turns[i].role, "content", t->turns[i].content));
    json_t   *o = json_pack("{s:o}", "messages", list);
    tn_status s = o == NULL ? tn_fail(err, TN_NOMEM, "no memory to save the conversation")
                            : tn_json_save(path, o, true, err);
    json_decref(o);
    if (s == TN_OK) printf("saved %zu turns to %s\n", t->n, path);
    return s;
}

/* A line that begins with '/'. *quit: the conversation ends. */
static tn_status command(talk *t, char *line, bool *quit, tn_error *err)
{
    size_t n = strcspn(line, " ");
    char  *rest = line + n + strspn(line + n, " ");

    if (strncmp(line, "/quit", n) == 0 && n == 5) *quit = true;
    else if (strncmp(line, "/clear", n) == 0 && n == 6) drop_turns(t, 0, t->n);
    else if (strncmp(line, "/save", n) == 0 && n == 5) return save(t, rest, err);
    else if (strncmp(line, "/system", n) == 0 && n == 7) {
        free(t->system);
        t->system = rest[0] != '\0' ? tn_strdup(rest) : NULL;
        printf("%s\n", t->system != NULL ? "the system text is set" : "the system text is the format's own");
    } else {
        if (strncmp(line, "/help", n) != 0 || n != 5) printf("%.*s is no command; there are\n", (int)n, line);
        puts("/system TEXT   set the system text (without TEXT: the format's own)\n/save FILE     write the "
             "conversation as JSON\n"
             "/clear         forget the conversation\n/quit          leave (also Ctrl-D)\nCtrl-C stops an "
             "answer; a line that ends in \\ goes on");
    }
    return TN_OK;
}

/* What cannot be a turn: it could not be saved, and a NUL would end it. */
static tn_status text_check(const char *what, const char *text, size_t n, tn_error *err)
{
    size_t good = tn_utf8_valid_prefix(text, n);

    if (good < n)
        return tn_fail(err, TN_USAGE,
                       "%s is no valid UTF-8: byte %zu of %zu is 0x%02x, which cannot stand there", what,
                       good + 1, n, (unsigned char)text[good]);
    return memchr(text, '\0', n) == NULL ? TN_OK : tn_fail(err, TN_USAGE, "%s has a NUL byte in it", what);
}

static tn_status converse(talk *t, int64_t n_ctx, tn_error *err)
{
    tn_str    line = { .max = 1 << 20 };
    bool      quit = false;
    tn_status status = TN_OK;

    while (!quit && read_line(t, &line)) {
        if (line.failed) {
            status = tn_fail(err, TN_LIMIT, "the line is longer than %d bytes", 1 << 20);
            break;
        }
        if (strspn(line.p != NULL ? line.p : "", " \t\r\n") == line.len) continue; /* nothing is said */
        tn_status s = text_check("the line", line.p, line.len, err);
        if (s == TN_OK) s = line.p[0] == '/' ? command(t, line.p, &quit, err) : answer(t, line.p, n_ctx, err);
        if (s == TN_OK) continue;
        if (!t->terminal) {
            status = s;
            break;
        }
        fprintf(stderr, "%s\n", err->msg); /* a person can go on after a mistake */
    }
    if (t->terminal) putchar('\n');
    if (status == TN_OK) status = tn_interrupted(err); /* SIGTERM; Ctrl-C where nobody types */
    tn_str_free(&line);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const chat_config *c = config;
    talk          t = { .common = common, .c = c, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) };
    tn_model_args a = c->a;
    tn_status     status = TN_OK;

    (void)n_arg;
    (void)args;
    a.n_batch = 1;
    if (c->system != NULL) TN_GOTO(text_check("--system", c->system, strlen(c->system), err));
    TN_GOTO(tn_cli_model_open(&t.m, common, &a, true, err));
    TN_GOTO(tn_model_chat(t.m, &t.chat, err));
    int64_t known = tn_model_hparams(t.m)->n_ctx;
    if (a.n_ctx == 0 || a.n_ctx > known) a.n_ctx = known;
    TN_GOTO(tn_cli_engine(&t.e, t.m, &a, a.n_ctx, 1, err));
    if (c->system != NULL && (t.system = tn_strdup(c->system)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the system text");
        goto out;
    }
    if (t.terminal)
        printf("%s, %s format. /help lists the commands, Ctrl-D ends.\n", c->a.model,
               tn_chat_format_name(t.chat->format));
    status = converse(&t, a.n_ctx, err);
out:
    drop_turns(&t, 0, t.n);
    free(t.turns);
    free(t.system);
    free(t.ids.p);
    tn_str_free(&t.answer);
    tn_engine_destroy(t.e);
    tn_model_close(t.m);
    return status;
}

const tn_command tn_cmd_chat = {
    .name = "chat",
    .line = "talk with a model at the terminal",
    .usage = "tenet chat -m MODEL [--system TEXT]",
    .more =
        "In the conversation: /system TEXT, /save FILE, /clear, /quit; Ctrl-C stops an answer, Ctrl-D ends.",
    .options = options,
    .config_bytes = sizeof(chat_config),
    .min_args = 0,
    .max_args = 0,
    .computes = true,
    .run = run,
};
