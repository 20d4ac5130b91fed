/* open_tokenizer.c - the tokenizer alone: files of vocabularies hold nothing else, and tokenising needs no
 * weights. */
#include "model/open.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_JSON = 256 << 20 };

static tn_status from_folder(tn_tokenizer **out, const char *folder, tn_error *err)
{
    char *path = tn_path(folder, "tokenizer.json"), *config_path = tn_path(folder, "tokenizer_config.json"),
         *text = NULL, *config = NULL;
    size_t    n = 0, n_config = 0;
    tn_status status = TN_OK;

    if (path == NULL || config_path == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory", folder);
        goto out;
    }
    if (!tn_exists(path)) {
        status = tn_fail(err, TN_NOTFOUND, "%s: has no tokenizer.json", folder);
        goto out;
    }
    TN_GOTO(tn_file_read_all(&text, &n, path, MAX_JSON, err));
    if (tn_exists(config_path)) TN_GOTO(tn_file_read_all(&config, &n_config, config_path, MAX_JSON, err));
    TN_GOTO(tn_tokenizer_from_json(out, text, n, config, n_config, path, err));
out:
    free(text);
    free(config);
    free(path);
    free(config_path);
    return status;
}

tn_status tn_model_open_tokenizer(tn_tokenizer **out, const char *path, tn_error *err)
{
    tn_gguf  *g = NULL;
    char     *text = NULL;
    size_t    n;
    tn_status status;

    *out = NULL;
    if (tn_is_dir(path)) return from_folder(out, path, err);
    if (tn_ends_with(path, ".json")) {
        TN_TRY(tn_file_read_all(&text, &n, path, MAX_JSON, err));
        status = tn_tokenizer_from_json(out, text, n, NULL, 0, path, err);
        free(text);
        return status;
    }
    TN_TRY(tn_gguf_open(&g, path, err));
    status = tn_open_gguf_tokenizer(out, g, NULL, err);
    if (status == TN_OK && *out == NULL)
        status = tn_fail(err, TN_NOTFOUND, "%s: holds no vocabulary (tokenizer.ggml.tokens)", path);
    tn_gguf_close(g);
    return status;
}
