/* task.c - a task file: a tested subset of the public harness's fields, every one of them known, every other
 * an error. */
#include "eval/task.h"
#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TASK_BYTES = 4 << 20 };

static const char *const fields[] = {
    "task",
    "task_alias",
    "tag",
    "include",
    "dataset_path",
    "dataset_name",
    "dataset_kwargs",
    "data_files",
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "process_docs",
    "process_results",
    "description",
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
    "target_delimiter",
    "fewshot_delimiter",
    "num_fewshot",
    "fewshot_config",
    "output_type",
    "metric_list",
    "metadata",
    "words_of",
    "generation_kwargs",
    "filter_list",
    "repeats",
    "gen_prefix",
    "apply_chat_template",
    "group_by",
    "should_decontaminate",
    "doc_to_decontamination_query" /* of other programs' checks; they change no score */,
    NULL
};
static const char *const shot_fields[] = { "sampler",           "samples",     "split",
                                           "fewshot_indices",   "doc_to_text", "doc_to_target",
                                           "doc_to_choice",     "gen_prefix",  "target_delimiter",
                                           "fewshot_delimiter", "group_by",    NULL };
static const char *const metric_fields[] = { "metric", "aggregation", "higher_is_better", NULL };
static const char *const match_fields[] = { "metric",
                                            "aggregation",
                                            "higher_is_better",
                                            "ignore_case",
                                            "ignore_punctuation",
                                            "ignore_numbers",
                                            "regexes_to_ignore",
                                            NULL };
static const char *const sampling_fields[] = { "until",      "max_gen_toks", "max_new_tokens",
                                               "max_tokens", "do_sample",    "temperature",
                                               "top_p",      "top_k",        NULL };
static const char *const choice_metrics[] = { "acc",         "acc_norm",    "acc_bytes", "acc_mutual_info",
                                              "brier_score", "exact_match", "matching",  "f1",
                                              "mcc",         NULL };
static const char *const loglikelihood_metrics[] = {
    "acc", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", NULL
};
static const char *const rolling_metrics[] = { "word_perplexity", "byte_perplexity", "bits_per_byte", NULL };
static const char *const generate_metrics[] = { "exact_match", NULL };
static const char *const bias_metrics[] = {
    "acc", "accuracy_amb", "accuracy_disamb", "amb_bias_score", "disamb_bias_score", NULL
};
static const char *const refusal_metrics[] = { "refused", NULL };
static const char *const outputs[] = { "multiple_choice", "loglikelihood", "loglikelihood_rolling",
                                       "generate_until", NULL };
/* by tn_task_results */
static const char *const results_names[] = { "", "truthfulqa_mc2", "bbq", "refusal", NULL };

static bool listed(const char *word, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(word, *names) == 0) return true;
    return false;
}

static tn_status unknown(const char *what, const char *word, const char *const *names, const char *path,
                         int line, tn_error *err)
{
    const char *near = tn_nearest(word, names);
    tn_str      all = { 0 };

    for (size_t i = 0; names[i] != NULL; i++) tn_str_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    tn_status s = tn_fail(err, TN_FORMAT, "%s:%d: no %s is called \"%s\"%s%s%s; there are: %s", path, line,
                          what, word, near != NULL ? " (did you mean \"" : "", near != NULL ? near : "",
                          near != NULL ? "\"?)" : "", all.p != NULL ? all.p : "");
    tn_str_free(&all);
    return s;
}

static tn_status keys_known(const tn_yaml *map, const char *const *names, const char *what, const char *path,
                            tn_error *err)
{
    if (map->kind != TN_YAML_MAP)
        return tn_fail(err, TN_FORMAT, "%s:%d: a mapping (key: value) is expected", path, map->line);
    for (size_t i = 0; i < map->n; i++)
        if (!listed(map->keys[i], names))
            return unknown(what, map->keys[i], names, path, map->key_lines[i], err);
    return TN_OK;
}

/* The value of a field in the nearest file that has it; *i_file says which. */
static const tn_yaml *field(const tn_task *t, const char *key, int *i_file)
{
    for (int i = 0; i < t->n_file; i++) {
        const tn_yaml *v = tn_yaml_get(t->yaml[i], key);
        if (v == NULL) continue;
        /* taken back */
        if (v->kind == TN_YAML_SCALAR && !v->quoted && strcmp(v->text, "null") == 0) return NULL;
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
    if (v->kind != TN_YAML_SCALAR)
        return tn_fail(err, TN_FORMAT, "%s:%d: \"%s\" must be a text", t->path[i], v->line, key);
    *out = v->text;
    return TN_OK;
}

static tn_status not_in(const tn_task *t, const char *key, const char *range, const char *word, tn_error *err)
{
    int            i = 0;
    const tn_yaml *v = field(t, key, &i);

    return tn_fail(err, TN_FORMAT, "%s:%d: \"%s\" must be %s, it is %s", t->path[i], v != NULL ? v->line : 1,
                   key, range, word);
}

/* -------------------------------------------------------------------------------------------------- files */

static tn_status file_add(tn_task *t, const char *path, tn_sha256 *hash, tn_error *err)
{
    char     *text = NULL;
    size_t    n = 0;
    tn_status status = TN_OK;

    if (t->n_file == TN_TASK_FILES)
        return tn_fail(err, TN_LIMIT, "%s: more than %d files include one another", path, TN_TASK_FILES);
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
        status = next == NULL ? tn_fail(err, TN_NOMEM, "%s: no memory for a path", path)
                              : file_add(t, next, hash, err);
        free(next);
        if (status != TN_OK) goto out;
    }
    tn_sha256_final(hash, &t->digest);
out:
    tn_sha256_destroy(hash);
    return status;
}

/* ------------------------------------------------------------------------------------------------- fields */

static tn_status read_output(tn_task *t, tn_error *err)
{
    int            i = 0, k = 0;
    const char    *word;
    const tn_yaml *v = field(t, "output_type", &i);

    TN_TRY(scalar(t, "output_type", "generate_until", &word, err));
    if (!listed(word, outputs)) return unknown("output_type", word, outputs, t->path[i], v->line, err);
    while (strcmp(outputs[k], word) != 0) k++;
    t->output = (tn_task_output)k;
    return TN_OK;
}

static const char *const *metrics_of(const tn_task *t)
{
    static const char *const *const known[] = { choice_metrics, loglikelihood_metrics, rolling_metrics,
                                                generate_metrics };

    return t->results == TN_RESULTS_BBQ       ? bias_metrics
           : t->results == TN_RESULTS_REFUSAL ? refusal_metrics
                                              : known[t->output];
}

static const char *aggregation_of(const char *m)
{
    static const struct {
        const char *metric, *how;
    } own[] = { { "perplexity", "perplexity" },
                { "bits_per_byte", "bits_per_byte" },
                { "word_perplexity", "weighted_perplexity" },
                { "byte_perplexity", "weighted_perplexity" },
                { "brier_score", "brier_score" },
                { "f1", "f1" },
                { "mcc", "matthews_corrcoef" } };

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i].metric, m) == 0) return own[i].how;
    return "mean";
}

static tn_status read_metrics(tn_task *t, tn_error *err)
{
    int            i_file = 0;
    const tn_yaml *v = field(t, "metric_list", &i_file);
    const char    *path = t->path[i_file];

    if (v == NULL || v->kind != TN_YAML_SEQ || v->n == 0)
        return tn_fail(err, TN_FORMAT, "%s: \"metric_list\" must be a list with at least one metric",
                       t->path[0]);
    for (size_t i = 0; i < v->n; i++) {
        const char *m = tn_yaml_text(v->items[i], "metric"), *how = tn_yaml_text(v->items[i], "aggregation");
        if (v->items[i]->kind != TN_YAML_MAP || m == NULL)
            return tn_fail(err, TN_FORMAT, "%s:%d: an entry without \"metric\"", path, v->items[i]->line);
        bool match = strcmp(m, "exact_match") == 0 && t->output == TN_TASK_GENERATE;
        TN_TRY(keys_known(v->items[i], match ? match_fields : metric_fields, "field of a metric", path, err));
        if (!listed(m, metrics_of(t)))
            return unknown("metric of this output_type", m, metrics_of(t), path, v->items[i]->line, err);
        if (how != NULL && t->results != TN_RESULTS_BBQ && strcmp(how, aggregation_of(m)) != 0)
            return tn_fail(err, TN_UNSUPPORTED, "%s:%d: %s is aggregated as %s, not as %s", path,
                           v->items[i]->line, m, aggregation_of(m), how);
        if (match && t->matcher == NULL) TN_TRY(tn_matcher_create(&t->matcher, v->items[i], path, err));
    }
    t->metrics = v;
    return TN_OK;
}

static tn_status choices_of(const tn_yaml *v, const char *path, tn_task_form *f, tn_error *err)
{
    f->choice = NULL;
    f->choice_list = NULL;
    if (v->kind == TN_YAML_SCALAR) {
        f->choice = v->text;
        return TN_OK;
    }
    if (v->n == 0)
        return tn_fail(err, TN_FORMAT,
                       "%s:%d: \"doc_to_choice\" must be a column, a template, a list or a mapping of texts",
                       path, v->line);
    for (size_t k = 0; k < v->n; k++)
        if (v->items[k]->kind != TN_YAML_SCALAR || v->items[k]->text[0] == '\0')
            return tn_fail(err, TN_FORMAT, "%s:%d: a choice is empty or no text", path, v->items[k]->line);
    f->choice_list = v;
    return TN_OK;
}

static tn_status read_form(tn_task *t, tn_error *err)
{
    int            i = 0;
    const tn_yaml *v = field(t, "doc_to_choice", &i);
    tn_task_form  *f = &t->form;

    TN_TRY(scalar(t, "doc_to_text", NULL, &f->text, err));
    TN_TRY(scalar(t, "doc_to_target", t->results == TN_RESULTS_REFUSAL ? "" : NULL, &f->target, err));
    if (f->text == NULL || f->target == NULL)
        return tn_fail(err, TN_FORMAT, "%s: \"%s\" is missing", t->path[0],
                       f->text == NULL ? "doc_to_text" : "doc_to_target");
    TN_TRY(scalar(t, "gen_prefix", NULL, &f->prefix, err));
    TN_TRY(scalar(t, "target_delimiter", " ", &f->target_delimiter, err));
    TN_TRY(scalar(t, "fewshot_delimiter", "\n\n", &f->fewshot_delimiter, err));
    if (v == NULL && t->output == TN_TASK_CHOICE)
        return tn_fail(err, TN_FORMAT, "%s: a multiple_choice task needs \"doc_to_choice\"", t->path[0]);
    return v != NULL ? choices_of(v, t->path[i], f, err) : TN_OK;
}

static tn_status read_indices(tn_task *t, const tn_yaml *v, const char *path, tn_error *err)
{
    if (v == NULL) return TN_OK;
    if (v->kind != TN_YAML_SEQ || v->n > sizeof t->shot_index / sizeof *t->shot_index)
        return tn_fail(err, TN_FORMAT, "%s:%d: \"fewshot_indices\" must be a list of at most 64 positions",
                       path, v->line);
    for (size_t k = 0; k < v->n; k++)
        if (v->items[k]->kind != TN_YAML_SCALAR ||
            !tn_parse_i64(v->items[k]->text, &t->shot_index[t->n_shot_index++]) || t->shot_index[k] < 0)
            return tn_fail(err, TN_FORMAT,
                           "%s:%d: a position of \"fewshot_indices\" must be a whole number from 0 on", path,
                           v->items[k]->line);
    return TN_OK;
}

static tn_status read_shots(tn_task *t, tn_error *err)
{
    int            i = 0;
    const char    *word;
    const tn_yaml *v = field(t, "fewshot_config", &i), *list;

    t->shot_form = t->form;
    TN_TRY(scalar(t, "num_fewshot", "-1", &word, err));
    if (!tn_parse_i64(word, &t->n_shot) || t->n_shot < -1 || t->n_shot > 1000)
        return not_in(t, "num_fewshot", "0 to 1000", word, err);
    TN_TRY(scalar(t, "fewshot_split", NULL, &t->shot_split, err));
    TN_TRY(scalar(t, "group_by", NULL, &t->group_by, err));
    if (v == NULL) return TN_OK;
    TN_TRY(keys_known(v, shot_fields, "field of fewshot_config", t->path[i], err));
    const char *sampler = tn_yaml_text(v, "sampler");
    if (sampler != NULL && strcmp(sampler, "first_n") != 0 && strcmp(sampler, "default") != 0)
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s:%d: sampler %s: shots are drawn with a seed (default) or the first rows (first_n)",
                       t->path[i], v->line, sampler);
    t->first_n = sampler != NULL && strcmp(sampler, "first_n") == 0;
    t->samples = tn_yaml_get(v, "samples");
    if (tn_yaml_text(v, "group_by") != NULL) t->group_by = tn_yaml_text(v, "group_by");
    if (tn_yaml_text(v, "split") != NULL) t->shot_split = tn_yaml_text(v, "split");
    if (t->samples != NULL && t->samples->kind != TN_YAML_SEQ)
        return tn_fail(err, TN_FORMAT, "%s:%d: \"samples\" must be a list of rows", t->path[i],
                       t->samples->line);
    TN_TRY(read_indices(t, tn_yaml_get(v, "fewshot_indices"), t->path[i], err));
    const struct {
        const char *key, **where;
    } own[] = { { "doc_to_text", &t->shot_form.text },
                { "doc_to_target", &t->shot_form.target },
                { "gen_prefix", &t->shot_form.prefix },
                { "target_delimiter", &t->shot_form.target_delimiter },
                { "fewshot_delimiter", &t->shot_form.fewshot_delimiter } };
    for (size_t k = 0; k < sizeof own / sizeof *own; k++)
        if (tn_yaml_text(v, own[k].key) != NULL) *own[k].where = tn_yaml_text(v, own[k].key);
    list = tn_yaml_get(v, "doc_to_choice");
    return list != NULL ? choices_of(list, t->path[i], &t->shot_form, err) : TN_OK;
}

static tn_status read_processing(tn_task *t, tn_error *err)
{
    int            i = 0, k = 1;
    const char    *process, *results;
    const tn_yaml *v = field(t, "process_docs", &i);

    TN_TRY(scalar(t, "process_docs", NULL, &process, err));
    if (process != NULL && (t->process = tn_docs_find(process)) == NULL)
        return unknown("built-in for process_docs", process, tn_docs_names(), t->path[i], v->line, err);
    t->empty_choices = process != NULL && strcmp(process, "truthfulqa") == 0;
    v = field(t, "process_results", &i);
    TN_TRY(scalar(t, "process_results", NULL, &results, err));
    if (results == NULL) return TN_OK;
    if (!listed(results, results_names + 1))
        return unknown("built-in for process_results", results, results_names + 1, t->path[i], v->line, err);
    while (strcmp(results_names[k], results) != 0) k++;
    t->results = (tn_task_results)k;
    tn_task_output needs = t->results == TN_RESULTS_REFUSAL ? TN_TASK_GENERATE : TN_TASK_CHOICE;
    if (t->output == needs) return TN_OK;
    return tn_fail(err, TN_FORMAT, "%s:%d: process_results %s belongs to output_type %s", t->path[i], v->line,
                   results, outputs[needs]);
}

static tn_status real_of(const tn_yaml *y, const char *key, double dflt, double lo, double hi, double *out,
                         const char *path, tn_error *err)
{
    const char *text = tn_yaml_text(y, key);

    *out = dflt;
    if (tn_yaml_get(y, key) == NULL || (text != NULL && tn_parse_f64(text, out) && *out >= lo && *out <= hi))
        return TN_OK;
    return tn_fail(err, TN_FORMAT, "%s:%d: \"%s\" must be a number, %g to %g", path,
                   tn_yaml_get(y, key)->line, key, lo, hi);
}

static tn_status read_until(tn_task *t, const tn_yaml *v, const char *path, tn_error *err)
{
    tn_task_sampling *s = &t->sampling;

    if (v == NULL) s->until[s->n_until++] = t->form.fewshot_delimiter;
    else if (v->kind == TN_YAML_SCALAR) s->until[s->n_until++] = v->text;
    else if (v->kind == TN_YAML_MAP || v->n > sizeof s->until / sizeof *s->until)
        return tn_fail(err, TN_FORMAT, "%s:%d: \"until\" must be a text or a list of at most 16", path,
                       v->line);
    for (size_t k = 0; v != NULL && v->kind == TN_YAML_SEQ && k < v->n; k++) {
        if (v->items[k]->kind != TN_YAML_SCALAR)
            return tn_fail(err, TN_FORMAT, "%s:%d: a stop text is no text", path, v->items[k]->line);
        if (v->items[k]->text[0] != '\0') s->until[s->n_until++] = v->items[k]->text;
    }
    return TN_OK;
}

static tn_status read_generation(tn_task *t, tn_error *err)
{
    int               i = 0;
    const tn_yaml    *v = field(t, "generation_kwargs", &i), *filters;
    const char       *path = t->path[i], *sample, *word;
    tn_task_sampling *s = &t->sampling;
    double            most = 256, k;

    *s = (tn_task_sampling){ .max_tokens = 256, .top_p = 1 };
    TN_TRY(scalar(t, "repeats", "1", &word, err));
    if (!tn_parse_i64(word, &t->repeats) || t->repeats < 1 || t->repeats > 1000)
        return not_in(t, "repeats", "1 to 1000", word, err);
    if (v != NULL) TN_TRY(keys_known(v, sampling_fields, "field of generation_kwargs", path, err));
    if (t->output != TN_TASK_GENERATE) return TN_OK;
    TN_TRY(read_until(t, tn_yaml_get(v, "until"), path, err));
    for (size_t key = 3; key >= 1; key--) /* max_gen_toks, the last looked at, wins */
        if (tn_yaml_get(v, sampling_fields[key]) != NULL)
            TN_TRY(real_of(v, sampling_fields[key], most, 1, 1e6, &most, path, err));
    s->max_tokens = (int64_t)most;
    TN_TRY(real_of(v, "temperature", 0, 0, 100, &s->temperature, path, err));
    TN_TRY(real_of(v, "top_p", 1, 0, 1, &s->top_p, path, err));
    TN_TRY(real_of(v, "top_k", 0, 0, 1e9, &k, path, err));
    s->top_k = (int64_t)k;
    sample = tn_yaml_text(v, "do_sample");
    if (sample != NULL && (strcmp(sample, "false") == 0 || strcmp(sample, "False") == 0)) s->temperature = 0;
    else if (sample != NULL && s->temperature == 0) s->temperature = 1;
    filters = field(t, "filter_list", &i);
    return tn_pipelines_create(&t->pipelines, filters, t->path[i], err);
}

static tn_status read_fields(tn_task *t, tn_error *err)
{
    const char    *where, *word;
    const tn_yaml *meta = field(t, "metadata", NULL);

    t->section = tn_yaml_text(meta, "section");
    TN_TRY(scalar(t, "task", NULL, &t->name, err));
    if (t->name == NULL) return tn_fail(err, TN_FORMAT, "%s: \"task\" (the name) is missing", t->path[0]);
    TN_TRY(scalar(t, "dataset_path", "json", &where, err));
    if (strcmp(where, "json") != 0 && strcmp(where, "csv") != 0) {
        t->set = where; /* a set by its name on the hub: its files lie in --data (task_rows.c) */
        TN_TRY(scalar(t, "dataset_name", NULL, &t->set_part, err));
    }
    TN_TRY(read_output(t, err));
    TN_TRY(read_processing(t, err));
    TN_TRY(read_form(t, err));
    TN_TRY(scalar(t, "description", "", &t->description, err));
    TN_TRY(scalar(t, "words_of", NULL, &t->words_of, err));
    TN_TRY(scalar(t, "apply_chat_template", "false", &word, err));
    t->chat = strcmp(word, "true") == 0;
    TN_TRY(scalar(t, "training_split", NULL, &t->train, err));
    TN_TRY(scalar(t, "validation_split", NULL, &t->validation, err));
    TN_TRY(scalar(t, "test_split", NULL, &t->test, err));
    t->split = t->test != NULL ? t->test : t->validation;
    if (t->split == NULL)
        return tn_fail(err, TN_FORMAT,
                       "%s: \"test_split\" or \"validation_split\" must name the split to ask", t->path[0]);
    t->version = tn_yaml_text(meta, "version") != NULL ? tn_yaml_text(meta, "version") : "0";
    TN_TRY(read_shots(t, err));
    TN_TRY(read_generation(t, err));
    return read_metrics(t, err);
}

bool tn_task_is_group(const tn_yaml *y)
{
    const tn_yaml *list = tn_yaml_get(y, "task");

    return tn_yaml_text(y, "group") != NULL && list != NULL && list->kind == TN_YAML_SEQ;
}

const char *tn_task_metric(const tn_task *t, size_t i)
{
    return i < t->metrics->n ? tn_yaml_text(t->metrics->items[i], "metric") : NULL;
}

tn_status tn_task_load(tn_task **out, const char *path, const char *name, const char *only, tn_error *err)
{
    tn_task  *t = calloc(1, sizeof *t);
    tn_status status = TN_OK;

    *out = NULL;
    if (t == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a task", path);
    TN_GOTO(files_read(t, path, err));
    TN_GOTO(read_fields(t, err));
    if (only != NULL && t->group_by == NULL) {
        status = tn_fail(err, TN_USAGE, "%s: it has no group_by column, so there is no part \"%s\" of it",
                         path, only);
        goto out;
    }
    if (only != NULL) {
        t->only = tn_strdup(only);
        t->given_name = tn_strdup(name);
        if (t->only == NULL || t->given_name == NULL) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory for a name", path);
            goto out;
        }
        t->name = t->given_name;
    }
    *out = t;
    t = NULL;
out:
    tn_task_free(t);
    return status;
}

void tn_task_free(tn_task *t)
{
    if (t == NULL) return;
    tn_pipelines_destroy(t->pipelines);
    tn_matcher_destroy(t->matcher);
    free(t->only);
    free(t->given_name);
    for (int i = 0; i < TN_TASK_FILES; i++) {
        tn_yaml_free(t->yaml[i]);
        free(t->path[i]);
    }
    free(t);
}
