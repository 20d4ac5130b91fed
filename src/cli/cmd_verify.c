/* cmd_verify.c - `tenet verify RELEASE --key PUB.pem [--replay N|all]`: one verdict with reasons. */
#include "cli/cli.h"
#include "recipe/recipe.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

typedef struct verify_config {
    char *key, *certificates, *ignore, *replay, *html;
} verify_config;

#define AT(field) offsetof(verify_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "key",    TN_OPT_STR, AT(key),    NULL, 0, 0, "", "the signer's public key, PEM",                                       "k"  },
    { "certificates", TN_OPT_STR, AT(certificates), NULL, 0, 0, "", "certificates that you trust, PEM: for what was signed with one", NULL },
    { "ignore", TN_OPT_LIST, AT(ignore), NULL, 0, 0, "", "names that a signature of another program may leave out",          NULL },
    { "replay", TN_OPT_STR, AT(replay), NULL, 0, 0, "", "compute N randomly drawn stretches of training again, or all",       NULL },
    { "html",   TN_OPT_STR, AT(html),   NULL, 0, 0, "", "write the verdict to this file, as a page",                          NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

static const char *state_word(const char *state)
{
    return strcmp(state, "ok") == 0 ? "ok" : strcmp(state, "wrong") == 0 ? "WRONG" : "unchecked";
}

enum { TEXT_COLUMNS = 60, REASONS_SHOWN = 3 };

static void say_reason(const json_t *r, bool named)
{
    if (!named)
        printf("%-14s %s: %s\n", "", json_string_value(json_object_get(r, "where")),
               json_string_value(json_object_get(r, "what")));
    printf("%-14s expected %s\n%-14s found    %s\n", "", json_string_value(json_object_get(r, "expected")),
           "", json_string_value(json_object_get(r, "found")));
}

/* "files   model.gguf: file differs      WRONG", and what does not fit into the column on the next line. */
static void say_check(const char *name, const char *text, const char *state)
{
    size_t n = strlen(text), cut = n;

    if (n > TEXT_COLUMNS)
        for (size_t i = 0; i < TEXT_COLUMNS && text[i] != '\0'; i++)
            if (text[i] == ',' && text[i + 1] == ' ') cut = i;
    printf("%-14s %-*.*s %s\n", name, TEXT_COLUMNS, (int)cut, text, state_word(state));
    if (cut < n) printf("%-14s %s\n", "", text + cut + 2);
}

static void say(const json_t *verdict)
{
    const json_t *reasons = json_object_get(verdict, "reasons");
    const char   *word = json_string_value(json_object_get(verdict, "verdict"));
    /* other bytes than those signed: what comes after disagrees with them, of course */
    bool    follows = false;
    size_t  i;
    json_t *row;

    json_array_foreach(json_object_get(verdict, "checks"), i, row) {
        size_t from = (size_t)json_integer_value(json_object_get(row, "first_reason")),
               n = (size_t)json_integer_value(json_object_get(row, "n_reason"));
        const char *state = json_string_value(json_object_get(row, "state")),
                   *name = json_string_value(json_object_get(row, "name"));
        bool wrong = strcmp(state, "wrong") == 0;
        say_check(name, json_string_value(json_object_get(row, "text")), state);
        size_t shown = follows && wrong ? 0 : n < REASONS_SHOWN ? n : REASONS_SHOWN;
        for (size_t k = from; k < from + shown; k++)
            say_reason(json_array_get(reasons, k), k == from && wrong);
        if (shown > 0 && shown < n)
            printf("%-14s and %zu more (--json and --html have them all)\n", "", n - shown);
        follows = follows || (wrong && (strcmp(name, "files") == 0 || strcmp(name, "signature") == 0));
    }
    printf("verdict: %s%s\n", word,
           strcmp(word, "wrong") == 0       ? "  (exit 3)"
           : strcmp(word, "unchecked") == 0 ? "  (exit 1)"
                                            : "");
}

static tn_status replay_count(const char *text, int64_t *out, tn_error *err)
{
    *out = 0;
    if (text == NULL) return TN_OK;
    if (strcmp(text, "all") == 0) {
        *out = -1;
        return TN_OK;
    }
    if (!tn_parse_i64(text, out) || *out < 1)
        return tn_fail(err, TN_USAGE, "--replay is '%s': expected a number of stretches, or all", text);
    return TN_OK;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    verify_config    *c = config;
    tn_verify_options o = { .key = c->key,
                            .certificates = c->certificates,
                            .html = c->html,
                            .coin = (uint64_t)common->seed,
                            .replay_fn = tn_replay_training };
    tn_store         *s = NULL;
    json_t           *verdict = NULL;
    char            **ignored = NULL;
    const char       *word;
    tn_status         status = TN_OK;

    (void)n_arg;
    TN_TRY(replay_count(c->replay, &o.replay, err));
    if (!common->seed_given && getrandom(&o.coin, sizeof o.coin, 0) != sizeof o.coin)
        return tn_fail(err, TN_IO, "the system gives no random numbers");
    if ((ignored = tn_list_split(c->ignore, NULL)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the names of --ignore");
    o.ignored = (const char *const *)ignored;
    if (o.replay != 0) TN_GOTO(tn_store_open(&s, common->store, err));
    o.store = s;
    TN_GOTO(tn_release_verify(args[0], &o, &verdict, err));
    if (common->json) TN_GOTO(tn_cli_print_json(json_incref(verdict), err));
    else say(verdict);
    word = json_string_value(json_object_get(verdict, "verdict"));
    /* the verdict has been said: only the exit code is left */
    if (strcmp(word, "wrong") == 0) status = TN_VERIFY;
    else if (strcmp(word, "unchecked") == 0) status = TN_UNCHECKED;
out:
    free(ignored);
    json_decref(verdict);
    tn_store_close(s);
    return status;
}

const tn_command tn_cmd_verify = {
    .name = "verify",
    .line = "check a release: signature, files, papers, step logs, replay",
    .usage = "tenet verify RELEASE --key PUB.pem [--replay N|all] [--html FILE] | verify DIR --certificates "
             "PEM [--ignore NAME,...]",
    .more = "A directory that another program signed (OpenSSF Model Signing, method files) is checked as far "
            "as its signature goes.\n"
            "Exit 0: sound. 3: wrong. 1: unchecked (no key, or a replay whose inputs are not at hand). "
            "Replayed stretches are drawn from the\n"
            "release's root and fresh randomness (--seed repeats a draw). Needs no network and nothing but "
            "the release and the key.",
    .options = options,
    .config_bytes = sizeof(verify_config),
    .min_args = 1,
    .max_args = 1,
    .computes = true,
    .run = run,
};
