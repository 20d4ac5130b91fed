/* cmd_export.c - tenet export CHECKPOINT OUT: weights alone, out of a run or one of its checkpoints. */
#include "cli/record.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/with_model.h"
#include "train/train.h"

typedef struct export_flags {
    char *model, *type;
    bool  merge;
} export_flags;

#define AT(field) offsetof(export_flags, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "model", TN_OPT_STR,    AT(model), NULL,   0, 0, "", "where the model lies that the run started from, if it was moved", "m" },
    { "merge", TN_OPT_BOOL,   AT(merge), NULL,   0, 0, "", "LoRA: put the adapter into its base (default: the adapter alone, PEFT's form)", NULL },
    { "type",  TN_OPT_CHOICE, AT(type),  "f32",  0, 0, "f32|f16|bf16", "type of the weights", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    export_flags     *f = config;
    tn_export_options o = { .merge = f->merge };
    tn_digest         root;
    char             *model = NULL, *text;
    tn_status         status;

    (void)n_arg;
    if (!tn_dtype_parse(f->type, &o.type))
        return tn_fail(err, TN_USAGE, "--type: '%s' is not known", f->type);
    if (f->model != NULL) TN_TRY(tn_cli_model_path(common, f->model, &model, err));
    o.model = model;
    tn_direct *d = tn_direct_begin();
    status = tn_train_export(args[0], args[1], &o, &root, err);
    if (status == TN_OK)
        tn_cli_record_made(common, d, "export", "export", options, config, args[0], NULL, args[1]);
    else tn_direct_drop(d);
    free(model);
    if (status != TN_OK) return status;
    if ((text = tn_digest_text(&root)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a digest");
    if (common->json)
        status = tn_cli_print_json(
            json_pack("{s:o, s:s}", "out", tn_json_name(args[1]), "weights_root", text), err);
    else printf("written  %s\nweights  %s\n", args[1], text);
    free(text);
    return status;
}

const tn_command tn_cmd_export = {
    .name = "export",
    .line = "weights alone, out of a training run or checkpoint",
    .usage = "tenet export CHECKPOINT OUT [--merge] [--type f32|f16|bf16]",
    .more = "CHECKPOINT is RUN/step-N, or RUN for its newest. OUT is a directory in Hugging Face form, a "
            ".gguf file, or for LoRA\n"
            "without --merge the adapter's directory.",
    .options = options,
    .config_bytes = sizeof(export_flags),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
