/* cmd_quantize.c - `tenet quantize MODEL OUT.gguf --type q4_k`: weights in blocks of few bits. */
#include "cli/record.h"
#include "cli/with_model.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct quantize_config { char *type; } quantize_config;

static const tn_option options[] = {
    // clang-format off
    { "type", TN_OPT_CHOICE, offsetof(quantize_config, type), "q4_k", 0, 0, "q4_0|q4_1|q5_0|q5_1|q8_0|q4_k|q5_k|q6_k|f16|bf16", "type of the matrices", "t" },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const quantize_config *c = config;
    tn_model_args          a = { .model = (char *)args[0] };
    tn_model              *m = NULL;
    tn_dtype               type;
    char                  *notes = NULL;
    struct stat            st = {0};
    tn_direct             *d = NULL;
    tn_status              status = TN_OK;

    (void)n_arg;
    if (!tn_ends_with(args[1], ".gguf")) return tn_fail(err, TN_USAGE, "%s: quantised weights are written as GGUF: give a name that ends in .gguf", args[1]);
    if (!tn_dtype_parse(c->type, &type)) return tn_fail(err, TN_USAGE, "--type %s is unknown", c->type);
    d = tn_direct_begin();
    TN_GOTO(tn_cli_model_open(&m, common, &a, false, err));
    TN_GOTO(tn_model_write(m, args[1], type, false, &notes, err));
    tn_cli_record_made(common, d, "quantize", "export", options, config, args[0], NULL, args[1]);
    d = NULL;
    stat(args[1], &st);
    if (common->json) {
        TN_GOTO(tn_cli_print_json(json_pack("{s:o, s:s, s:I, s:o}", "out", tn_json_name(args[1]), "type", c->type, "bytes", (json_int_t)st.st_size,
                                            "fallbacks", tn_json_lines(notes)), err));
    } else {
        printf("%s: %.1f MB, %s\n", args[1], (double)st.st_size / 1e6, c->type);
        if (notes != NULL) fputs(notes, stdout);
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
    .more = "By the reference quantisers, one result on every machine. Rows that are no multiple of a type's block get the nearest\n"
            "type that fits, and the head keeps at least six bits; every such weight is named.",
    .options = options,
    .config_bytes = sizeof(quantize_config),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
