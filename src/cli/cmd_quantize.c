/* cmd_quantize.c - `tenet quantize MODEL OUT.gguf --type q4_k`: weights in blocks of few bits. */
#include "cli/record.h"
#include "cli/with_model.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct quantize_config {
    char *type;
} quantize_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "type", TN_OPT_CHOICE, offsetof(quantize_config, type), "q4_k", 0, 0, "q4_0|q4_1|q5_0|q5_1|q8_0|q4_k|q5_k|q6_k|f16|bf16", "type of the matrices", "t" },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

/* "blk.7.attn_q.weight: ..." without its number. */
static void add_kind(tn_str *s, const char *line)
{
    size_t n = tn_starts_with(line, "blk.") ? strspn(line + 4, "0123456789") : 0;

    tn_str_addf(s, n > 0 ? "blk.*%s" : "%s", line + (n > 0 ? 4 + n : 0));
}

/* What became another type than was asked; the same in several layers is one line. (--json names each.) */
static tn_status print_fallbacks(const char *notes, tn_error *err)
{
    json_t     *all = tn_json_lines(notes), *kinds = json_object(), *line, *n;
    const char *kind;
    size_t      i;
    tn_str      s = { 0 };
    tn_status   status = all == NULL || kinds == NULL
                             ? tn_fail(err, TN_NOMEM, "no memory for the list of types")
                             : TN_OK;

    json_array_foreach(all, i, line) {
        tn_str_clear(&s);
        add_kind(&s, json_string_value(line));
        TN_GOTO(tn_str_check(&s, err));
        json_object_set_new(kinds, s.p, json_integer(json_integer_value(json_object_get(kinds, s.p)) + 1));
    }
    json_object_foreach(kinds, kind, n) {
        if (json_integer_value(n) > 1) printf("%s, in %lld layers\n", kind, (long long)json_integer_value(n));
        else puts(kind);
    }
out:
    tn_str_free(&s);
    json_decref(all);
    json_decref(kinds);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const quantize_config *c = config;
    tn_model_args          a = { .model = (char *)args[0] };
    tn_model              *m = NULL;
    tn_dtype               type;
    char                  *notes = NULL;
    struct stat            st = { 0 };
    tn_direct             *d = NULL;
    tn_status              status = TN_OK;

    (void)n_arg;
    if (!tn_ends_with(args[1], ".gguf"))
        return tn_fail(err, TN_USAGE,
                       "%s: quantised weights are written as GGUF: give a name that ends in .gguf", args[1]);
    if (!tn_dtype_parse(c->type, &type)) return tn_fail(err, TN_USAGE, "--type %s is unknown", c->type);
    d = tn_direct_begin();
    TN_GOTO(tn_cli_model_open(&m, common, &a, false, err));
    TN_GOTO(tn_model_write(m, args[1], type, false, &notes, err));
    tn_cli_record_made(common, d, "quantize", "export", options, config, args[0], NULL, args[1]);
    d = NULL;
    stat(args[1], &st);
    if (common->json) {
        TN_GOTO(
            tn_cli_print_json(json_pack("{s:o, s:s, s:I, s:o}", "out", tn_json_name(args[1]), "type", c->type,
                                        "bytes", (json_int_t)st.st_size, "fallbacks", tn_json_lines(notes)),
                              err));
    } else {
        printf("%s: %.1f MB, %s\n", args[1], (double)st.st_size / 1e6, c->type);
        TN_GOTO(print_fallbacks(notes, err));
    }
out:
    tn_direct_drop(d);
    free(notes);
    tn_model_close(m);
    return status;
}

const tn_command tn_cmd_quantize = {
    .name = "quantize",
    .line = "write a model with weights in blocks of few bits",
    .usage = "tenet quantize MODEL OUT.gguf --type q4_k",
    .more = "By the reference quantisers, one result on every machine. Rows that are no multiple of a type's "
            "block get the nearest\n"
            "type that fits, and the head keeps at least six bits; such weights are named (with --json each "
            "layer by itself).",
    .options = options,
    .config_bytes = sizeof(quantize_config),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
