/* carried.c - what travels between the two forms besides weights: Hugging Face's JSON files as GGUF
 * metadata. */
#include "model/carried.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

const char *const tn_carried_files[] = { "config.json",
                                         "tokenizer_config.json",
                                         "generation_config.json",
                                         "special_tokens_map.json",
                                         "chat_template.jinja",
                                         NULL };

static void carried_key(char key[96], const char *name)
{
    if (strcmp(name, "tokenizer.json") == 0) snprintf(key, 96, "tokenizer.huggingface.json");
    else snprintf(key, 96, "tenet.huggingface.%s", name);
}

tn_status tn_carried(const tn_gguf *g, const char *name, char **out, tn_error *err)
{
    char key[96];

    carried_key(key, name);
    return tn_gguf_str(g, key, out, err);
}

/* Text of a file of the model's directory; *out NULL when it is not there. */
static tn_status read_file(const tn_model *m, const char *name, char **out, size_t *n, tn_error *err)
{
    char     *path = tn_path(m->path, name);
    tn_status s = TN_OK;

    *out = NULL;
    *n = 0;
    if (path == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
    if (tn_exists(path)) s = tn_file_read_all(out, n, path, (size_t)256 << 20, err);
    free(path);
    return s;
}

static tn_status add_template(const tn_model *m, tn_str *s, uint64_t *n, const json_t *tok_config,
                              tn_error *err)
{
    const json_t *t = json_object_get(tok_config, "chat_template");
    char         *text;
    size_t        bytes;

    TN_TRY(tn_chosen_template(m, &text, err));
    if (text != NULL) bytes = strlen(text);
    else TN_TRY(read_file(m, "chat_template.jinja", &text, &bytes, err));
    if (text != NULL) tn_kv_str(s, n, "tokenizer.chat_template", text, bytes);
    else if (json_is_string(t))
        tn_kv_str(s, n, "tokenizer.chat_template", json_string_value(t), json_string_length(t));
    free(text);
    return TN_OK;
}

tn_status tn_carry_tokenizer(const tn_model *m, tn_str *s, uint64_t *n, tn_error *err)
{
    char     *text = NULL, *config_text = NULL;
    size_t    bytes = 0, config_bytes = 0;
    json_t   *tokenizer = NULL, *config = NULL;
    tn_status status = TN_OK;

    if (m->origin != TN_ORIGIN_HF) return TN_OK;
    TN_GOTO(read_file(m, "tokenizer.json", &text, &bytes, err));
    TN_GOTO(read_file(m, "tokenizer_config.json", &config_text, &config_bytes, err));
    if (text != NULL) {
        TN_GOTO(tn_json_parse(&tokenizer, text, bytes, "tokenizer.json", err));
        if (config_text != NULL)
            TN_GOTO(tn_json_parse(&config, config_text, config_bytes, "tokenizer_config.json", err));
        TN_GOTO(tn_kv_vocabulary(s, n, tokenizer, config, m, "tokenizer.json", err));
        TN_GOTO(add_template(m, s, n, config, err));
        tn_kv_str(s, n, "tokenizer.huggingface.json", text, bytes);
    }
    for (const char *const *f = tn_carried_files; *f != NULL; f++) {
        char   key[96], *file;
        size_t file_bytes;
        TN_GOTO(read_file(m, *f, &file, &file_bytes, err));
        if (file == NULL) continue;
        status = tn_chosen_text(m, *f, &file, &file_bytes, err);
        carried_key(key, *f);
        if (status == TN_OK && !(m->chat_chosen && strcmp(*f, "chat_template.jinja") == 0))
            tn_kv_str(s, n, key, file, file_bytes);
        free(file);
        if (status != TN_OK) goto out;
    }
out:
    json_decref(tokenizer);
    json_decref(config);
    free(text);
    free(config_text);
    return status;
}
