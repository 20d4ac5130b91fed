/* cmd_inspect.c - `tenet inspect MODEL`: family, sizes, types, tokenizer, chat format, memory. */
#include "cli/with_model.h"

#include <stdio.h>
#include <string.h>

typedef struct inspect_config {
    tn_model_args a;
} inspect_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "model",       TN_OPT_STR, offsetof(inspect_config, a.model),       NULL, 0, 0, "", "the model, if not given without a flag", "m" },
    { "chat_format", TN_OPT_STR, offsetof(inspect_config, a.chat_format), NULL, 0, 0, "", "chat format instead of the one that the model's template says", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

static const char *size_text(double bytes, char buf[32])
{
    if (bytes >= 1e9) snprintf(buf, 32, "%.1f GB", bytes / 1e9);
    else if (bytes >= 10e6) snprintf(buf, 32, "%.0f MB", bytes / 1e6);
    else snprintf(buf, 32, "%.1f MB", bytes / 1e6);
    return buf;
}

/* "135 M" */
static const char *count_text(double n, char buf[32])
{
    if (n >= 1e9) snprintf(buf, 32, "%.2f B", n / 1e9);
    else if (n >= 1e6) snprintf(buf, 32, n >= 10e6 ? "%.0f M" : "%.1f M", n / 1e6);
    else if (n >= 1e3) snprintf(buf, 32, "%.0f k", n / 1e3);
    else snprintf(buf, 32, "%.0f", n);
    return buf;
}

static const char *grouped(long long v, char buf[32])
{
    char plain[24];
    int  n = snprintf(plain, sizeof plain, "%lld", v), k = 0;

    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) buf[k++] = ',';
        buf[k++] = plain[i];
    }
    buf[k] = '\0';
    return buf;
}

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

/* The words that people know, for the short ones of the JSON. */
static const char *known_as(const char *word, size_t n)
{
    // clang-format off
    static const struct { const char *is, *name; } words[] = {
        { "bpe", "byte-level BPE" }, { "spm", "SentencePiece BPE" }, { "unigram", "SentencePiece Unigram" }, { "chatml", "ChatML" },
        { "llama2", "Llama 2" }, { "llama3", "Llama 3" }, { "gemma", "Gemma" }, { "zephyr", "Zephyr" }, { "deepseek2", "DeepSeek 2" },
        { "deepseek3", "DeepSeek 3" },
    };
    // clang-format on

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i].is) == n && strncmp(words[i].is, word, n) == 0) return words[i].name;
    return NULL;
}

static void print_known(const char *word)
{
    size_t      n = strcspn(word, " ");
    const char *name = known_as(word, n);

    if (name != NULL) printf("%s%s", name, word + n);
    else fputs(word, stdout);
}

static void print_text(const json_t *o, bool chosen)
{
    char        a[32], b[32];
    const char *chat = json_string_value(json_object_get(o, "chat_format")),
               *tok = json_string_value(json_object_get(o, "tokenizer"));
    const char *name = json_string_value(json_object_get(o, "name")),
               *title = json_string_value(json_object_get(o, "title"));
    double n = (double)number(o, "parameters");

    if (name != NULL) printf("%s (%s)   ", name, title);
    else printf("%s   ", title);
    printf("%lld layers × %lld, %lld/%lld heads, ", number(o, "n_layer"), number(o, "n_embd"),
           number(o, "n_head"), number(o, "n_head_kv"));
    if (number(o, "n_expert") > 0)
        printf("%lld of %lld experts, ", number(o, "n_expert_used"), number(o, "n_expert"));
    printf("vocabulary %s, context %s, ", grouped(number(o, "n_vocab"), a), grouped(number(o, "n_ctx"), b));
    printf("%s parameters", count_text(n, a));
    if (number(o, "parameters_active") != number(o, "parameters"))
        printf(" (%s active)", count_text((double)number(o, "parameters_active"), a));
    printf("%s, %s\ntokenizer ", json_is_true(json_object_get(o, "tied")) ? " (tied)" : "",
           json_string_value(json_object_get(o, "dtype")));
    print_known(tok != NULL ? tok : "none");
    fputs(chat != NULL ? ", chat format " : ", no chat format (choose one with --chat-format)", stdout);
    if (chat != NULL) print_known(chat);
    if (chat != NULL) fputs(chosen ? ", chosen" : ", recognised from the template", stdout);
    printf("; memory to run %s, to fine-tune with LoRA %s\n", size_text((double)number(o, "memory_run"), a),
           size_text((double)number(o, "memory_tune"), b));
    printf("weights %s, their digest in any file form %s\n", size_text((double)number(o, "bytes"), a),
           json_string_value(json_object_get(o, "digest")));
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    inspect_config *c = config;
    tn_model_args   a = c->a;
    tn_model       *m = NULL;
    json_t         *o;
    tn_status       status;

    if (n_arg == 1) a.model = (char *)args[0];
    TN_TRY(tn_cli_model_open(&m, common, &a, false, err));
    if ((o = tn_model_inspect(m, err)) == NULL) {
        tn_model_close(m);
        return err->code;
    }
    if (common->json) {
        status = tn_cli_print_json(o, err);
    } else {
        print_text(o, a.chat_format != NULL);
        json_decref(o);
        status = TN_OK;
    }
    tn_model_close(m);
    return status;
}

const tn_command tn_cmd_inspect = {
    .name = "inspect",
    .line = "say what a model is: family, sizes, types, tokenizer, chat format, memory",
    .usage = "tenet inspect MODEL [--json]",
    .options = options,
    .config_bytes = sizeof(inspect_config),
    .min_args = 0,
    .max_args = 1,
    .run = run,
};
