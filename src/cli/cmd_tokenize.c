/* cmd_tokenize.c - `tenet tokenize`: text to token ids, the whole file or line by line. */
#include "cli/with_model.h"

#include "base/file.h"
#include "base/str.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokenize_config {
    char *model;
    bool  lines, special, bos;
} tokenize_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "model",   TN_OPT_STR,  offsetof(tokenize_config, model),   NULL, 0, 0, "", "folder, .gguf file, tokenizer.json, release, digest or name in the store", "m" },
    { "lines",   TN_OPT_BOOL, offsetof(tokenize_config, lines),   NULL, 0, 0, "", "one array a line of the input, without its line end", NULL },
    { "special", TN_OPT_BOOL, offsetof(tokenize_config, special), NULL, 0, 0, "", "special tokens written in the text count as such", NULL },
    { "bos",     TN_OPT_BOOL, offsetof(tokenize_config, bos),     NULL, 0, 0, "", "add what the model adds at the ends (BOS, EOS)", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

typedef struct out_ids {
    int32_t *p;
    size_t   n, cap;
} out_ids;

static tn_status print_ids(const tn_common *common, const tokenize_config *c, const tn_tokenizer *t,
                           const char *text, size_t n, out_ids *ids, tn_error *err)
{
    int flags = (c->special ? TN_TOK_SPECIAL : 0) | (c->bos ? TN_TOK_BOS | TN_TOK_EOS : 0);

    ids->n = 0;
    TN_TRY(tn_tokenize(t, text, n, flags, &ids->p, &ids->n, &ids->cap, err));
    if (common->json) putchar('[');
    for (size_t i = 0; i < ids->n; i++) printf(i == 0 ? "%d" : common->json ? ",%d" : " %d", ids->p[i]);
    puts(common->json ? "]" : "");
    return ferror(stdout) ? tn_fail(err, TN_IO, "cannot write to standard output") : TN_OK;
}

static tn_status by_lines(const tn_common *common, const tokenize_config *c, const tn_tokenizer *t, FILE *f,
                          out_ids *ids, tn_error *err)
{
    char     *line = NULL;
    size_t    cap = 0, len, number = 0;
    tn_status status = TN_OK;

    while (status == TN_OK && tn_read_line(f, &line, &cap, &len)) {
        number++;
        if ((status = print_ids(common, c, t, line, len, ids, err)) != TN_OK)
            tn_fail_prefix(err, status, "line %zu", number);
    }
    free(line);
    return status;
}

/* All of a stream. made: free. */
static tn_status read_stream(char **text, size_t *n, FILE *f, tn_error *err)
{
    tn_str s = { .max = (size_t)4 << 30 };
    char   block[65536];
    size_t got;

    while ((got = fread(block, 1, sizeof block, f)) > 0) tn_str_add_n(&s, block, got);
    *n = s.len;
    *text = ferror(f) ? NULL : tn_str_take(&s);
    if (*text != NULL) return TN_OK;
    tn_str_free(&s);
    return tn_fail(err, ferror(f) ? TN_IO : TN_NOMEM, "cannot read the text");
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    tokenize_config *c = config;
    FILE            *f = NULL;
    char            *text = NULL;
    size_t           n;
    tn_tokenizer    *t = NULL;
    out_ids          ids = { 0 };
    tn_status        status = TN_OK;

    TN_GOTO(tn_cli_tokenizer_open(&t, &f, common, c->model, n_arg > 0 ? args[0] : NULL, err));
    if (c->lines) TN_GOTO(by_lines(common, c, t, f, &ids, err));
    else {
        TN_GOTO(read_stream(&text, &n, f, err));
        TN_GOTO(print_ids(common, c, t, text, n, &ids, err));
    }
out:
    if (f != NULL && f != stdin) fclose(f);
    free(text);
    free(ids.p);
    tn_tokenizer_destroy(t);
    return status;
}

const tn_command tn_cmd_tokenize = {
    "tokenize",
    "text to token ids",
    "tenet tokenize -m MODEL [FILE] [--lines] [--special] [--bos] [--json]",
    "Reads FILE or standard input. Without --lines the whole input is one text. What people write is never "
    "taken for a special\n"
    "token unless --special says so, and nothing is added at the ends unless --bos says so.",
    options,
    sizeof(tokenize_config),
    0,
    1,
    run,
    false,
    NULL,
};
