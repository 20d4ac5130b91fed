/* cmd_convert.c - `tenet convert MODEL OUT`: between Hugging Face's form and GGUF, by the suffix of OUT. */
#include "cli/record.h"
#include "cli/with_model.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct convert_config {
    char *type, *max_shard, *chat_format;
} convert_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "type", TN_OPT_CHOICE, offsetof(convert_config, type), "keep", 0, 0, "keep|f32|f16|bf16", "type of the weights; keep: as they are (block types become f32 in a folder)", NULL },
    { "max_shard", TN_OPT_STR, offsetof(convert_config, max_shard), NULL, 0, 0, "", "largest file of weights in a folder, such as 500MB or 2GB (5GB)", NULL },
    { "chat_format", TN_OPT_STR, offsetof(convert_config, chat_format), NULL, 0, 0, "", "chat format that is written into OUT, instead of what the model's template says", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

/* "500MB", "2GB", "20000": bytes. */
static tn_status read_bytes(int64_t *out, const char *text, tn_error *err)
{
    static const struct {
        const char *suffix;
        int64_t     factor;
    } units[] = { { "KB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 }, { "", 1 } };
    size_t k = 0;
    char  *digits;
    bool   ok;

    *out = 0;
    if (text == NULL || text[0] == '\0') return TN_OK;
    while (!tn_ends_with(text, units[k].suffix)) k++;
    if ((digits = tn_strndup(text, strlen(text) - strlen(units[k].suffix))) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory");
    ok = tn_parse_i64(digits, out) && *out > 0 && *out <= INT64_MAX / units[k].factor;
    free(digits);
    if (!ok)
        return tn_fail(err, TN_USAGE,
                       "--max-shard %s: a number of bytes, or one with KB, MB or GB, such as 500MB", text);
    *out *= units[k].factor;
    return TN_OK;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const convert_config *c = config;
    tn_model_args         a = { .model = (char *)args[0], .chat_format = c->chat_format };
    tn_model             *m = NULL;
    tn_dtype              type = TN_F32;
    bool                  keep = strcmp(c->type, "keep") == 0;
    int64_t               max_shard;
    tn_direct            *d = tn_direct_begin();
    tn_status             status = TN_OK;

    (void)n_arg;
    TN_GOTO(read_bytes(&max_shard, c->max_shard, err));
    if (max_shard > 0 && tn_ends_with(args[1], ".gguf")) {
        status = tn_fail(err, TN_USAGE, "--max-shard is for folders; %s is one file", args[1]);
        goto out;
    }
    if (!keep && !tn_dtype_parse(c->type, &type)) {
        status = tn_fail(err, TN_USAGE, "--type %s: keep, f32, f16 or bf16", c->type);
        goto out;
    }
    TN_GOTO(tn_cli_model_open(&m, common, &a, false, err));
    /* these types fit every row: no fallbacks */
    TN_GOTO(tn_model_write_sharded(m, args[1], type, keep, max_shard, NULL, err));
    tn_cli_record_made(common, d, "convert", "export", options, config, args[0], NULL, args[1]);
    d = NULL;
    if (common->json)
        TN_GOTO(tn_cli_print_json(
            json_pack("{s:o, s:s}", "out", tn_json_name(args[1]), "family", tn_model_hparams(m)->family),
            err));
    else printf("%s\n", args[1]);
out:
    tn_direct_drop(d);
    tn_model_close(m);
    return status;
}

const tn_command tn_cmd_convert = {
    .name = "convert",
    .line = "between Hugging Face's form and GGUF",
    .usage = "tenet convert MODEL OUT [--type f32|f16|bf16] [--max-shard 5GB] [--chat-format NAME]",
    .more = "OUT ending in .gguf is a GGUF file, else a folder with config.json and model.safetensors. The "
            "same form again keeps\n"
            "every byte; the other form keeps every value, and the JSON files travel along. --chat-format "
            "gives a\n"
            "model a format whose own template is not recognised, or that has none: every command and recipe "
            "finds it there.",
    .options = options,
    .config_bytes = sizeof(convert_config),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
