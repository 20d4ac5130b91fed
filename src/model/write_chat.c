/* write_chat.c - the chat format that was asked for, put into what is written: whoever opens it next finds
 * it, in whatever program.
 *
 *   Hugging Face's form   tokenizer_config.json's chat_template (chat_template.jinja goes, since it would win over it), and the format's stop
 *                         token among generation_config.json's: other programs end an answer there only
 *   GGUF                  tokenizer.chat_template, and the two files that travel along
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

/* The stop token joins those of a generation_config.json. */
static tn_status put_stop(const tn_model *m, json_t *generation, tn_error *err)
{
    const int32_t id = tn_chat_stop(&m->chat, m->tok);
    json_t       *was = json_object_get(generation, "eos_token_id"), *list = json_array();
    int           failed = list == NULL;

    if (id < 0 || failed) goto out;
    for (size_t i = 0, n = json_is_array(was) ? json_array_size(was) : json_is_integer(was); i < n; i++) {
        json_t *v = json_is_array(was) ? json_array_get(was, i) : was;
        if (json_is_integer(v) && json_integer_value(v) == id) goto out;
        failed |= json_array_append(list, v);
    }
    failed |= json_array_append_new(list, json_integer(id));
    failed |= json_object_set(generation, "eos_token_id",
                              json_array_size(list) == 1 ? json_array_get(list, 0) : list);
out:
    json_decref(list);
    return failed == 0 ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for its stop tokens", m->path);
}

tn_status tn_chosen_text(const tn_model *m, const char *name, char **text, size_t *n, tn_error *err)
{
    bool      generation = strcmp(name, "generation_config.json") == 0;
    json_t   *config = NULL;
    tn_status status = TN_OK;

    if (!m->chat_chosen || (!generation && strcmp(name, "tokenizer_config.json") != 0)) return TN_OK;
    TN_GOTO(tn_json_parse(&config, *text, *n, name, err));
    TN_GOTO(generation ? put_stop(m, config, err) : put(m, config, err));
    free(*text);
    if ((*text = tn_json_text(config)) == NULL)
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its chat format", m->path);
    else *n = strlen(*text);
out:
    json_decref(config);
    return status;
}

/* A folder's generation_config.json. Where there is none, other programs take these ids from config.json: so
 * does the new one. */
static tn_status write_stop(const tn_model *m, const char *dir, tn_error *err)
{
    static const char *const ids[] = { "bos_token_id", "eos_token_id", "pad_token_id" };
    char     *path = tn_path(dir, "generation_config.json"), *config_path = tn_path(dir, "config.json");
    json_t   *generation = NULL, *config = NULL;
    tn_status status = TN_OK;

    if (path == NULL || config_path == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a path", dir);
        goto out;
    }
    if (tn_chat_stop(&m->chat, m->tok) < 0) goto out;
    if (tn_exists(path)) TN_GOTO(tn_json_load(&generation, path, MAX_CONFIG, err));
    else {
        if (tn_exists(config_path)) TN_GOTO(tn_json_load(&config, config_path, MAX_CONFIG, err));
        if ((generation = json_object()) == NULL) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory for its stop tokens", path);
            goto out;
        }
        for (int i = 0; i < 3; i++)
            if (json_object_get(config, ids[i]) != NULL)
                json_object_set(generation, ids[i], json_object_get(config, ids[i]));
    }
    TN_GOTO(put_stop(m, generation, err));
    TN_GOTO(tn_json_save(path, generation, true, err));
out:
    json_decref(generation);
    json_decref(config);
    free(path);
    free(config_path);
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
    TN_GOTO(write_stop(m, dir, err));
    if (tn_exists(jinja) && unlink(jinja) != 0) status = tn_fail(err, TN_IO, "%s: cannot be removed", jinja);
out:
    json_decref(config);
    free(path);
    free(jinja);
    return status;
}
