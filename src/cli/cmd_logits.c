/* cmd_logits.c - `tenet logits`: the logits of every position of one sequence of tokens, as a NumPy file. */
#include "cli/with_model.h"

#include "base/file.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct logits_config {
    tn_model_args a;
    char         *tokens, *out;
} logits_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "model",  TN_OPT_STR, offsetof(logits_config, a.model), NULL, 0, 0, "", "folder, .gguf file, release, digest or name in the store", "m" },
    { "tokens", TN_OPT_STR, offsetof(logits_config, tokens),  NULL, 0, 0, "", "token ids, separated by commas", NULL },
    { "out",    TN_OPT_STR, offsetof(logits_config, out),     NULL, 0, 0, "", "the .npy file to write", "o" },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

static tn_status read_ids(tn_ids *ids, const char *text, tn_error *err)
{
    const char *p;
    size_t      n;

    while (tn_list_next(&text, &p, &n)) {
        char    number[24];
        int64_t v;
        snprintf(number, sizeof number, "%.*s", (int)(n < 23 ? n : 23), p);
        if (!tn_parse_i64(number, &v) || v < 0 || v > INT32_MAX)
            return tn_fail(err, TN_USAGE, "--tokens: '%s' is no token id; write them as 1,2,3", number);
        if (ids->n == ids->cap) {
            size_t   cap = ids->cap == 0 ? 256 : 2 * ids->cap;
            int32_t *grown = realloc(ids->p, cap * sizeof *grown);
            if (grown == NULL) return tn_fail(err, TN_NOMEM, "no memory for the tokens");
            ids->p = grown;
            ids->cap = cap;
        }
        ids->p[ids->n++] = (int32_t)v;
    }
    return ids->n > 0 ? TN_OK : tn_fail(err, TN_USAGE, "logits: give --tokens 1,2,3");
}

/* NumPy's format, version 1.0: magic, header length, a Python dictionary padded to 64 bytes, the values. */
static tn_status write_npy(const char *path, const float *x, int64_t n_row, int64_t n_col, tn_error *err)
{
    char    head[128];
    tn_out *o;
    int     n = snprintf(head + 10, sizeof head - 10,
                         "{'descr': '<f4', 'fortran_order': False, "
                             "'shape': (%" PRId64 ", %" PRId64 "), }",
                         n_row, n_col);

    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10); /* 118 bytes of header follow: 128 in all */
    memset(head + 10 + n, ' ', sizeof head - 10 - (size_t)n);
    head[127] = '\n';
    TN_TRY(tn_out_open(&o, path, err));
    tn_status s = tn_out_write(o, head, sizeof head, err);
    if (s == TN_OK) s = tn_out_write(o, x, (size_t)(n_row * n_col) * sizeof *x, err);
    if (s == TN_OK) return tn_out_commit(o, err);
    tn_out_abandon(o);
    return s;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const logits_config *c = config;
    tn_model            *m = NULL;
    tn_ids               ids = { 0 };
    float               *x = NULL;
    tn_status            status = TN_OK;

    (void)n_arg;
    (void)args;
    if (c->tokens == NULL || c->out == NULL)
        return tn_fail(err, TN_USAGE, "logits: --tokens and --out are needed");
    TN_GOTO(read_ids(&ids, c->tokens, err));
    TN_GOTO(tn_cli_model_open(&m, common, &c->a, true, err));
    TN_GOTO(tn_logits(&x, m, ids.p, (int64_t)ids.n, err));
    TN_GOTO(write_npy(c->out, x, (int64_t)ids.n, tn_model_hparams(m)->n_vocab, err));
    if (common->json)
        TN_GOTO(tn_cli_print_json(json_pack("{s:o, s:[I, I]}", "out", tn_json_name(c->out), "shape",
                                            (json_int_t)ids.n, (json_int_t)tn_model_hparams(m)->n_vocab),
                                  err));
    else printf("%s: %zu × %" PRId64 " float32\n", c->out, ids.n, tn_model_hparams(m)->n_vocab);
out:
    free(x);
    free(ids.p);
    tn_model_close(m);
    return status;
}

const tn_command tn_cmd_logits = {
    .name = "logits",
    .line = "write the logits of every position of a token sequence as .npy",
    .usage = "tenet logits -m MODEL --tokens 1,2,3 --out FILE.npy",
    .options = options,
    .config_bytes = sizeof(logits_config),
    .min_args = 0,
    .max_args = 0,
    .computes = true,
    .run = run,
};
