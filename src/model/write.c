/* write.c - a model to a file or directory, by the suffix of the name. */
#include "model/write_parts.h"

#include "base/file.h"

#include <stdlib.h>
#include <sys/stat.h>

tn_status tn_model_write(const tn_model *m, const char *out, tn_dtype type, bool keep_types, char **fallbacks,
                         tn_error *err)
{
    return tn_model_write_sharded(m, out, type, keep_types, 0, fallbacks, err);
}

/* The file that a model was read from is not replaced by what is made of it: the original would be gone. */
static tn_status check_not_itself(const tn_model *m, const char *out, tn_error *err)
{
    struct stat from, to;

    if (stat(tn_model_path(m), &from) != 0 || stat(out, &to) != 0 || from.st_dev != to.st_dev ||
        from.st_ino != to.st_ino)
        return TN_OK;
    return tn_fail(err, TN_USAGE, "%s: is the file that the model is read from: give another name", out);
}

tn_status tn_model_write_sharded(const tn_model *m, const char *out, tn_dtype type, bool keep_types,
                                 int64_t max_shard, char **fallbacks, tn_error *err)
{
    tn_str    notes = { 0 };
    tn_status status;

    if (fallbacks != NULL) *fallbacks = NULL;
    if (!tn_ends_with(out, ".gguf")) {
        if (!keep_types && tn_dtype_block(type) > 1)
            return tn_fail(err, TN_USAGE,
                           "%s: a directory in Hugging Face form holds f32, f16 or bf16, not %s: give a name "
                           "that ends in .gguf",
                           out, tn_dtype_name(type));
        char *folder = tn_strdup(out);
        if (folder == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a path", out);
        tn_path_trim(folder);
        status = tn_write_hf(m, folder, type, keep_types, max_shard, err);
        free(folder);
        return status;
    }
    TN_TRY(check_not_itself(m, out, err));
    status = tn_write_gguf(m, out, type, keep_types, fallbacks != NULL ? &notes : NULL, err);
    if (status == TN_OK && fallbacks != NULL) *fallbacks = tn_str_take(&notes);
    tn_str_free(&notes);
    return status;
}
