/* cmd_detokenize.c - `tenet detokenize`: token ids back to text. */
#include "cli/with_model.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct detokenize_config {
    char *model;
    bool  lines, hide_special;
} detokenize_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "model",        TN_OPT_STR,  offsetof(detokenize_config, model),        NULL, 0, 0, "", "folder, .gguf file, tokenizer.json, release, digest or name in the store", "m" },
    { "lines",        TN_OPT_BOOL, offsetof(detokenize_config, lines),        NULL, 0, 0, "", "a line end after the text of each array", NULL },
    { "hide_special", TN_OPT_BOOL, offsetof(detokenize_config, hide_special), NULL, 0, 0, "", "leave special tokens out of the text", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

typedef struct in_ids {
    int32_t *p;
    size_t   n, cap;
} in_ids;

/* "[1,2,3]", "1 2 3" or "1,2,3". */
static tn_status read_ids(in_ids *ids, const char *line, size_t number, tn_error *err)
{
    ids->n = 0;
    for (const char *p = line; *p != '\0';) {
        size_t  n;
        char    word[24];
        int64_t v;

        p += strspn(p, "[], \t\r");
        if ((n = strcspn(p, "[], \t\r")) == 0) break;
        snprintf(word, sizeof word, "%.*s", (int)(n < 23 ? n : 23), p);
        if (!tn_parse_i64(word, &v) || v < 0 || v > INT32_MAX)
            return tn_fail(err, TN_FORMAT,
                           "line %zu: '%s' is no token id; a line is an array of ids, as [1,2,3]", number,
                           word);
        if (ids->n == ids->cap) {
            size_t   cap = 2 * ids->cap + 256;
            int32_t *grown = realloc(ids->p, cap * sizeof *grown);

            if (grown == NULL) return tn_fail(err, TN_NOMEM, "line %zu: no memory for its ids", number);
            ids->p = grown;
            ids->cap = cap;
        }
        ids->p[ids->n++] = (int32_t)v;
        p += n;
    }
    return TN_OK;
}

/* JSON holds characters only: bytes that are none become U+FFFD there. */
static tn_status print_json(const char *text, size_t n, tn_error *err)
{
    tn_str whole = { 0 };

    tn_str_add_utf8(&whole, text, n);
    tn_status status = tn_cli_print_json(
        whole.failed ? NULL : json_pack("{s:s%}", "text", whole.p != NULL ? whole.p : "", whole.len), err);
    tn_str_free(&whole);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    detokenize_config *c = config;
    FILE              *f = NULL;
    char              *line = NULL, *text = NULL;
    size_t             cap = 0, len, number = 0, n;
    tn_tokenizer      *t = NULL;
    in_ids             ids = { 0 };
    tn_status          status = TN_OK;

    TN_GOTO(tn_cli_tokenizer_open(&t, &f, common, c->model, n_arg > 0 ? args[0] : NULL, err));
    while (tn_read_line(f, &line, &cap, &len)) {
        TN_GOTO(read_ids(&ids, line, ++number, err));
        TN_GOTO(tn_detokenize(t, ids.p, ids.n, !c->hide_special, &text, &n, err));
        if (common->json) TN_GOTO(print_json(text, n, err));
        else {
            fwrite(text, 1, n, stdout);
            if (c->lines) putchar('\n');
        }
        free(text);
        text = NULL;
    }
    if (fflush(stdout) != 0) status = tn_fail(err, TN_IO, "cannot write to standard output");
out:
    if (f != NULL && f != stdin) fclose(f);
    free(line);
    free(text);
    free(ids.p);
    tn_tokenizer_destroy(t);
    return status;
}

const tn_command tn_cmd_detokenize = {
    "detokenize",
    "token ids to text",
    "tenet detokenize -m MODEL [FILE] [--lines] [--hide-special] [--json]",
    "Reads FILE or standard input: one array of ids a line, as `tenet tokenize` writes them, and gives back "
    "the text, byte for byte.",
    options,
    sizeof(detokenize_config),
    0,
    1,
    run,
    false,
    NULL,
};
