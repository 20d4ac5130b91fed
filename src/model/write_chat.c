/* write_chat.c - the chat format that was asked for, put into what is written: whoever opens it next finds it, in whatever program.
 *
 *   Hugging Face's form   tokenizer_config.json's chat_template; chat_template.jinja goes, since it would win over it
 *   GGUF                  tokenizer.chat_template, and the tokenizer_config.json that travels along
 *
 * A model opened without a chosen format keeps its template as it came. */
#include "model/write_parts.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CONFIG = 64 << 20 };

tn_status tn_chosen_template(const tn_model *m, char **out, tn_error *err)
{
    *out = NULL;
    return m->chat_chosen ? tn_chat_template(out, m->chat.format, err) : TN_OK;
}

static tn_status put(const tn_model *m, json_t *config, tn_error *err)
{
    char *text;

    TN_TRY(tn_chosen_template(m, &text, err));
    if (text == NULL) return TN_OK;
    int failed = json_object_set_new(config, "chat_template", json_string(text));
    free(text);
    return failed == 0 ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for its chat template", m->path);
}

tn_status tn_chosen_config_text(const tn_model *m, char **text, size_t *n, tn_error *err)
{
    json_t   *config = NULL;
    tn_status status = TN_OK;

    if (!m->chat_chosen) return TN_OK;
    TN_GOTO(tn_json_parse(&config, *text, *n, "tokenizer_config.json", err));
    TN_GOTO(put(m, config, err));
    free(*text);
    if ((*text = tn_json_text(config)) == NULL) status = tn_fail(err, TN_NOMEM, "%s: no memory for its chat template", m->path);
    else *n = strlen(*text);
out:
    json_decref(config);
    return status;
}

tn_status tn_model_write_chat(const tn_model *m, const char *dir, tn_error *err)
{
    char     *path = tn_path(dir, "tokenizer_config.json"), *jinja = tn_path(dir, "chat_template.jinja");
    json_t   *config = NULL;
    tn_status status = TN_OK;

    if (!m->chat_chosen) goto out;
    if (path == NULL || jinja == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a path", dir);
        goto out;
    }
    if (tn_exists(path)) TN_GOTO(tn_json_load(&config, path, MAX_CONFIG, err));
    else if ((config = json_pack("{s:s}", "tokenizer_class", "PreTrainedTokenizerFast")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its chat template", path);
        goto out;
    }
    TN_GOTO(put(m, config, err));
    TN_GOTO(tn_json_save(path, config, true, err));
    if (tn_exists(jinja) && unlink(jinja) != 0) status = tn_fail(err, TN_IO, "%s: cannot be removed", jinja);
out:
    json_decref(config);
    free(path);
    free(jinja);
    return status;
}
