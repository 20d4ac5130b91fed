/* task.c - a task file: a tested subset of the public harness's fields, every one of them known, every other an error. */
#include "eval/task.h"
#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TASK_BYTES = 4 << 20 };

static const char *const fields[] = {
    "task", "task_alias", "tag", "include", "dataset_path", "dataset_name", "dataset_kwargs", "data_files", "training_split", "validation_split",
    "test_split", "fewshot_split", "process_docs", "process_results", "description", "doc_to_text", "doc_to_target", "doc_to_choice",
    "target_delimiter", "fewshot_delimiter", "num_fewshot", "fewshot_config", "output_type", "metric_list", "metadata", "words_of",
    "should_decontaminate", "doc_to_decontamination_query" /* of other programs' checks; they change no score */, NULL };
static const char *const shot_fields[] = { "sampler", "samples", "group_by", NULL };
static const char *const metric_fields[] = { "metric", "aggregation", "higher_is_better", NULL };
static const char *const choice_metrics[] = { "acc", "acc_norm", "acc_bytes", "brier_score", NULL };
static const char *const loglikelihood_metrics[] = { "acc", "perplexity", NULL };
static const char *const rolling_metrics[] = { "word_perplexity", "byte_perplexity", "bits_per_byte", NULL };
static const char *const outputs[] = { "multiple_choice", "loglikelihood", "loglikelihood_rolling", NULL };

static bool listed(const char *word, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(word, *names) == 0) return true;
    return false;
}

static tn_status unknown(const char *what, const char *word, const char *const *names, const char *path, int line, tn_error *err)
{
    const char *near = tn_nearest(word, names);
    tn_str      all = {0};

    for (size_t i = 0; names[i] != NULL; i++) tn_str_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    tn_status s = tn_fail(err, TN_FORMAT, "%s:%d: no %s is called \"%s\"%s%s%s; there are: %s", path, line, what, word, near != NULL ? " (did you mean \"" : "",
                          near != NULL ? near : "", near != NULL ? "\"?)" : "", all.p != NULL ? all.p : "");
    tn_str_free(&all);
    return s;
}

static tn_status keys_known(const tn_yaml *map, const char *const *names, const char *what, const char *path, tn_error *err)
{
    if (map->kind != TN_YAML_MAP) return tn_fail(err, TN_FORMAT, "%s:%d: a mapping (key: value) is expected", path, map->line);
    for (size_t i = 0; i < map->n; i++)
        if (!listed(map->keys[i], names)) return unknown(what, map->keys[i], names, path, map->key_lines[i], err);
    return TN_OK;
}

/* The value of a field in the nearest file that has it; *i_file says which. */
static const tn_yaml *field(const tn_task *t, const char *key, int *i_file)
{
    for (int i = 0; i < t->n_file; i++) {
        const tn_yaml *v = tn_yaml_get(t->yaml[i], key);
        if (v == NULL) continue;
        if (v->kind == TN_YAML_SCALAR && !v->quoted && strcmp(v->text, "null") == 0) return NULL;       /* taken back */
        if (i_file != NULL) *i_file = i;
        return v;
    }
    return NULL;
}

static tn_status scalar(const tn_task *t, const char *key, const char *dflt, const char **out, tn_error *err)
{
    int            i = 0;
    const tn_yaml *v = field(t, key, &i);

    *out = dflt;
    if (v == NULL) return TN_OK;
    if (v->kind != TN_YAML_SCALAR) return tn_fail(err, TN_FORMAT, "%s:%d: \"%s\" must be a text", t->path[i], v->line, key);
    *out = v->text;
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------------- files */

static tn_status file_add(tn_task *t, const char *path, tn_sha256 *hash, tn_error *err)
{
    char     *text = NULL;
    size_t    n = 0;
    tn_status status = TN_OK;

    if (t->n_file == TN_TASK_FILES) return tn_fail(err, TN_LIMIT, "%s: more than %d files include one another", path, TN_TASK_FILES);
    TN_GOTO(tn_file_read_all(&text, &n, path, MAX_TASK_BYTES, err));
    tn_sha256_update(hash, text, n);
    if ((t->path[t->n_file] = tn_strdup(path)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its name", path);
        goto out;
    }
    TN_GOTO(tn_yaml_parse(&t->yaml[t->n_file], text, n, path, err));
    t->n_file++;
    TN_GOTO(keys_known(t->yaml[t->n_file - 1], fields, "field of a task", path, err));
out:
    free(text);
    return status;
}

static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL || name[0] == '/') return tn_strdup(name);
    return tn_strf("%.*s/%s", (int)(slash - path), path, name);
}

static tn_status files_read(tn_task *t, const char *path, tn_error *err)
{
    tn_sha256 *hash = NULL;
    tn_status  status = TN_OK;

    TN_GOTO(tn_sha256_create(&hash, err));
    TN_GOTO(file_add(t, path, hash, err));
    for (const char *base; (base = tn_yaml_text(t->yaml[t->n_file - 1], "include")) != NULL;) {
        char *next = beside(t->path[t->n_file - 1], base);
        status = next == NULL ? tn_fail(err, TN_NOMEM, "%s: no memory for a path", path) : file_add(t, next, hash, err);
        free(next);
        if (status != TN_OK) goto out;
    }
    tn_sha256_final(hash, &t->digest);
out:
    tn_sha256_destroy(hash);
    return status;
}

/* ------------------------------------------------------------------------------------------------------ fields */

static tn_status read_output(tn_task *t, tn_error *err)
{
    int            i = 0;
    const char    *word;
    const tn_yaml *v = field(t, "output_type", &i);

    TN_TRY(scalar(t, "output_type", NULL, &word, err));
    if (word == NULL) return tn_fail(err, TN_FORMAT, "%s: \"output_type\" is missing: multiple_choice, loglikelihood or loglikelihood_rolling", t->path[0]);
    if (!listed(word, outputs)) return unknown("output_type", word, outputs, t->path[i], v->line, err);
    t->output = strcmp(word, "multiple_choice") == 0 ? TN_TASK_CHOICE : strcmp(word, "loglikelihood") == 0 ? TN_TASK_LOGLIKELIHOOD : TN_TASK_ROLLING;
    return TN_OK;
}

static tn_status read_metrics(tn_task *t, tn_error *err)
{
    static const char *const *const known[] = { choice_metrics, loglikelihood_metrics, rolling_metrics };
    int            i_file = 0;
    const tn_yaml *v = field(t, "metric_list", &i_file);

    if (v == NULL || v->kind != TN_YAML_SEQ || v->n == 0) return tn_fail(err, TN_FORMAT, "%s: \"metric_list\" must be a list with at least one metric", t->path[0]);
    for (size_t i = 0; i < v->n; i++) {
        TN_TRY(keys_known(v->items[i], metric_fields, "field of a metric", t->path[i_file], err));
        const char *m = tn_yaml_text(v->items[i], "metric"), *how = tn_yaml_text(v->items[i], "aggregation");
        if (m == NULL) return tn_fail(err, TN_FORMAT, "%s:%d: an entry without \"metric\"", t->path[i_file], v->items[i]->line);
        if (!listed(m, known[t->output])) return unknown("metric of this output_type", m, known[t->output], t->path[i_file], v->items[i]->line, err);
        const char *own = strcmp(m, "perplexity") == 0 || strcmp(m, "bits_per_byte") == 0 ? m : strstr(m, "_perplexity") != NULL ? "weighted_perplexity" : "mean";
        if (how != NULL && strcmp(how, own) != 0)
            return tn_fail(err, TN_UNSUPPORTED, "%s:%d: %s is aggregated as %s, not as %s", t->path[i_file], v->items[i]->line, m, own, how);
    }
    t->metrics = v;
    return TN_OK;
}

static tn_status read_shots(tn_task *t, tn_error *err)
{
    int            i = 0;
    const char    *word;
    const tn_yaml *v = field(t, "fewshot_config", &i);

    TN_TRY(scalar(t, "num_fewshot", "0", &word, err));
    if (!tn_parse_i64(word, &t->n_shot) || t->n_shot < 0 || t->n_shot > 1000)
        return tn_fail(err, TN_FORMAT, "%s: \"num_fewshot\" must be 0 to 1000, it is %s", t->path[0], word);
    TN_TRY(scalar(t, "fewshot_split", NULL, &t->shot_split, err));
    if (v == NULL) return TN_OK;
    TN_TRY(keys_known(v, shot_fields, "field of fewshot_config", t->path[i], err));
    const char *sampler = tn_yaml_text(v, "sampler");
    if (sampler != NULL && strcmp(sampler, "first_n") != 0)
        return tn_fail(err, TN_UNSUPPORTED, "%s:%d: sampler %s: shots are the first rows (first_n) or written out as \"samples\"; to repeat a random draw of "
                       "another program write its rows there", t->path[i], v->line, sampler);
    t->samples = tn_yaml_get(v, "samples");
    t->group_by = tn_yaml_text(v, "group_by");
    if (t->samples != NULL && t->samples->kind != TN_YAML_SEQ) return tn_fail(err, TN_FORMAT, "%s:%d: \"samples\" must be a list of rows", t->path[i], t->samples->line);
    return TN_OK;
}

static tn_status read_processing(tn_task *t, tn_error *err)
{
    int            i = 0;
    const char    *process, *results;
    const tn_yaml *v = field(t, "process_docs", &i);

    TN_TRY(scalar(t, "process_docs", NULL, &process, err));
    if (process != NULL && (t->process = tn_docs_find(process)) == NULL) return unknown("built-in for process_docs", process, tn_docs_names(), t->path[i], v->line, err);
    v = field(t, "process_results", &i);
    TN_TRY(scalar(t, "process_results", NULL, &results, err));
    if (results == NULL) return TN_OK;
    static const char *const known[] = { "truthfulqa_mc2", NULL };
    if (!listed(results, known)) return unknown("built-in for process_results", results, known, t->path[i], v->line, err);
    t->mc2 = true;
    return TN_OK;
}

static tn_status read_choices(tn_task *t, tn_error *err)
{
    int            i = 0;
    const tn_yaml *v = field(t, "doc_to_choice", &i);

    if (v == NULL && t->output == TN_TASK_CHOICE) return tn_fail(err, TN_FORMAT, "%s: a multiple_choice task needs \"doc_to_choice\"", t->path[0]);
    if (v == NULL) return TN_OK;
    if (v->kind == TN_YAML_SCALAR) {
        t->choice = v->text;
        return TN_OK;
    }
    if (v->kind != TN_YAML_SEQ || v->n == 0) return tn_fail(err, TN_FORMAT, "%s:%d: \"doc_to_choice\" must be a column, a template or a list of texts", t->path[i], v->line);
    for (size_t k = 0; k < v->n; k++)
        if (v->items[k]->kind != TN_YAML_SCALAR || v->items[k]->text[0] == '\0')
            return tn_fail(err, TN_FORMAT, "%s:%d: a choice is empty or no text", t->path[i], v->items[k]->line);
    t->choice_list = v;
    return TN_OK;
}

static tn_status read_fields(tn_task *t, tn_error *err)
{
    const char    *where, *test, *validation;
    const tn_yaml *meta = field(t, "metadata", NULL);

    TN_TRY(scalar(t, "task", NULL, &t->name, err));
    if (t->name == NULL) return tn_fail(err, TN_FORMAT, "%s: \"task\" (the name) is missing", t->path[0]);
    TN_TRY(scalar(t, "dataset_path", "json", &where, err));
    if (strcmp(where, "json") != 0)
        return tn_fail(err, TN_UNSUPPORTED, "%s: dataset_path %s: rows come from local JSON Lines; write \"dataset_path: json\" and \"data_files\"", t->path[0], where);
    TN_TRY(read_output(t, err));
    TN_TRY(read_processing(t, err));
    TN_TRY(read_choices(t, err));
    TN_TRY(scalar(t, "doc_to_text", NULL, &t->text, err));
    TN_TRY(scalar(t, "doc_to_target", NULL, &t->target, err));
    if (t->text == NULL || t->target == NULL) return tn_fail(err, TN_FORMAT, "%s: \"%s\" is missing", t->path[0], t->text == NULL ? "doc_to_text" : "doc_to_target");
    TN_TRY(scalar(t, "description", "", &t->description, err));
    TN_TRY(scalar(t, "target_delimiter", " ", &t->target_delimiter, err));
    TN_TRY(scalar(t, "fewshot_delimiter", "\n\n", &t->fewshot_delimiter, err));
    TN_TRY(scalar(t, "words_of", NULL, &t->words_of, err));
    TN_TRY(scalar(t, "test_split", NULL, &test, err));
    TN_TRY(scalar(t, "validation_split", NULL, &validation, err));
    t->split = test != NULL ? test : validation;
    if (t->split == NULL) return tn_fail(err, TN_FORMAT, "%s: \"test_split\" or \"validation_split\" must name the split to ask", t->path[0]);
    t->version = tn_yaml_text(meta, "version") != NULL ? tn_yaml_text(meta, "version") : "0";
    TN_TRY(read_shots(t, err));
    return read_metrics(t, err);
}

tn_status tn_task_load(tn_task **out, const char *path, tn_error *err)
{
    tn_task  *t = calloc(1, sizeof *t);
    tn_status status = TN_OK;

    *out = NULL;
    if (t == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a task", path);
    TN_GOTO(files_read(t, path, err));
    TN_GOTO(read_fields(t, err));
    *out = t;
    t = NULL;
out:
    tn_task_free(t);
    return status;
}

void tn_task_free(tn_task *t)
{
    if (t == NULL) return;
    for (int i = 0; i < TN_TASK_FILES; i++) {
        tn_yaml_free(t->yaml[i]);
        free(t->path[i]);
    }
    free(t);
}
