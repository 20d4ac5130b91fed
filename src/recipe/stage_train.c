/* stage_train.c - the stage kind `train`: tn_train_run inside the private work folder, then the artifact
 * taken from it.
 *
 *   work/run/ (checkpoints, log; an interrupted run goes on there) ──→ out/ adapter/ or model/, run.json, steps.jsonl,
 *   metrics.jsonl without speeds, data/ and step-N/ (what a replay starts from)
 *
 * The options are those of `tenet train`, except the ones that name files: those are inputs here. */
#include "recipe/recipe.h"
#include "recipe/stage.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DATA = 64 };

extern const tn_stage_kind tn_stage_train; /* its row stands below; ports are looked up in it by name */

// clang-format off
static const tn_stage_port train_inputs[] = {
    { "model", true, false, "model to start from; none: from scratch" },
    { "data", false, true, "files or directories of text, JSONL, conversations or pairs" },
    { "adapter", true, false, "LoRA adapter to go on with" },
    { "reference", true, false, "reference model of preference losses; none: the model as it was at the start" },
    { "tokenizer", true, false, "from scratch: a model whose tokenizer is used" },
    { "valid", true, true, "held-out files of the same kind" },
    { "checkpoint", true, false, "a run of stage train that this one goes on from: its weights, optimiser state and place in the data" },
    { NULL, false, false, NULL },
};
// clang-format on

/* Options that name files: a recipe gives them as inputs, so that their content is part of the key. */
static tn_status files_refused(const tn_train_config *c, tn_error *err)
{
    const struct {
        const char *key, *value;
    } files[] = { { "model", c->model },     { "data", c->data },
                  { "adapter", c->adapter }, { "reference", c->reference },
                  { "valid", c->valid },     { "checkpoint", c->checkpoint },
                  { "like", c->like } };

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (files[i].value != NULL && files[i].value[0] != '\0')
            return tn_fail(
                err, TN_USAGE,
                "%s: in a recipe this is an input of the stage, not an option: write it under inputs",
                files[i].key);
    return TN_OK;
}

/* What a configuration lacks, found before an hour of other stages has gone. Ports stand for the files. */
static tn_status train_check(const void *config, const bool *given, tn_error *err)
{
    static char     there[] = "an input of the stage";
    tn_train_config c = *(const tn_train_config *)config;
    char          **files[] = { &c.model, &c.data, &c.adapter, &c.reference };

    TN_TRY(files_refused(&c, err));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) *files[i] = given[i] ? there : NULL;
    if (given[4]) c.tokenizer = there;
    if (given[5]) c.valid = there;
    if (given[6]) c.checkpoint = there;
    return tn_train_config_check(&c, err);
}

/* Paths of a `many` port as the comma list that the config takes. made: free; NULL in *out when there are
 * none. */
static tn_status paths_join(char **out, const tn_stage_run *r, const char *port, tn_error *err)
{
    const char *paths[MAX_DATA];
    size_t      n = tn_stage_many(r, &tn_stage_train, port, NULL, NULL);
    tn_str      s = { 0 };

    *out = NULL;
    if (n == 0) return TN_OK;
    if (n > MAX_DATA) return tn_fail(err, TN_LIMIT, "%s: more than %d files", port, MAX_DATA);
    tn_stage_many(r, &tn_stage_train, port, paths, NULL);
    for (size_t i = 0; i < n; i++) {
        if (strchr(paths[i], ',') != NULL) {
            tn_str_free(&s);
            return tn_fail(err, TN_UNSUPPORTED, "%s: a path with a comma cannot be trained on: rename it",
                           paths[i]);
        }
        tn_str_addf(&s, "%s%s", i > 0 ? "," : "", paths[i]);
    }
    tn_status status = tn_str_check(&s, err);
    *out = status == TN_OK ? tn_str_take(&s) : NULL;
    if (status != TN_OK) tn_str_free(&s);
    return status;
}

/* metrics.jsonl without what another machine would measure otherwise. */
static tn_status metrics_copy(const char *from, const char *to, tn_error *err)
{
    static const char *const speeds[] = { "tokens_per_s", "seconds", "seconds_left", "peak_share", "time",
                                          "wall",         NULL };
    tn_status                status = TN_OK;
    tn_jsonl                *r = NULL;
    tn_out                  *o = NULL;
    json_t                  *row = NULL;

    TN_GOTO(tn_jsonl_open(&r, from, err));
    TN_GOTO(tn_out_open(&o, to, err));
    TN_GOTO(tn_jsonl_next(r, &row, err));
    while (row != NULL) {
        for (const char *const *k = speeds; *k != NULL; k++) json_object_del(row, *k);
        char *text = tn_json_text(row);
        status = text != NULL ? tn_out_printf(o, err, "%s\n", text)
                              : tn_fail(err, TN_NOMEM, "no memory for a row of metrics");
        free(text);
        json_decref(row);
        row = NULL;
        if (status != TN_OK) goto out;
        TN_GOTO(tn_jsonl_next(r, &row, err));
    }
    status = tn_out_commit(o, err);
    o = NULL;
out:
    tn_out_abandon(o);
    tn_jsonl_close(r);
    return status;
}

/* config.json with the names of the ports in place of this machine's paths. */
static tn_status config_copy(const char *from, const char *to, tn_error *err)
{
    json_t *config = NULL;

    TN_TRY(tn_json_load(&config, from, (size_t)16 << 20, err));
    for (const tn_option *o = tn_train_options; o->key != NULL; o++) {
        const json_t *v = tn_train_place(o->key) != NULL ? json_object_get(config, o->key) : NULL;
        if (json_is_string(v) && json_string_length(v) > 0)
            json_object_set_new(config, o->key, json_string(o->key));
        else if (json_is_array(v) && json_array_size(v) > 0)
            json_object_set_new(config, o->key, json_pack("[s]", o->key));
    }
    tn_status status = tn_json_save(to, config, true, err);
    json_decref(config);
    return status;
}

/* step-N/... of a step whose state the log does not have, or put aside: it is there because the run was
 * interrupted. */
static bool is_stopgap(const char *name, const tn_step_record *records, size_t n)
{
    char   *number = tn_starts_with(name, "step-") ? tn_strndup(name + 5, strcspn(name + 5, "/")) : NULL;
    int64_t step;
    bool    is = number != NULL &&
              (!tn_parse_i64(number, &step) || step < 1 || (size_t)step > n || !records[step - 1].has_state);

    free(number);
    return is;
}

static bool left_out(const char *name)
{
    return tn_starts_with(name, "tb/") || strcmp(name, "report.html") == 0 || tn_ends_with(name, ".lock") ||
           strcmp(name, "lock") == 0 || strstr(name, ".tmp") != NULL || tn_starts_with(name, "heartbeat");
}

tn_status tn_train_run_take(const char *run, const char *out, tn_error *err)
{
    tn_status       status = TN_OK;
    char          **list = NULL, *from = NULL, *to = NULL, *log = tn_path(run, "steps.jsonl");
    size_t          n = 0, n_record = 0;
    tn_step_record *records = NULL;

    if (log == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (tn_exists(log)) TN_GOTO(tn_steplog_read(log, NULL, &records, &n_record, NULL, err));
    TN_GOTO(tn_list_files(&list, &n, run, err));
    for (size_t i = 0; i < n; i++) {
        if (left_out(list[i]) || is_stopgap(list[i], records, n_record)) continue;
        free(from);
        free(to);
        from = tn_path(run, list[i]);
        to = tn_path(out, list[i]);
        if (from == NULL || to == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
            goto out;
        }
        char *slash = strrchr(to, '/');
        *slash = '\0';
        status = tn_mkdirs(to, err);
        *slash = '/';
        if (status != TN_OK) goto out;
        if (strcmp(list[i], "metrics.jsonl") == 0) TN_GOTO(metrics_copy(from, to, err));
        else if (strcmp(list[i], "config.json") == 0) TN_GOTO(config_copy(from, to, err));
        else TN_GOTO(tn_file_clone(from, to, false, err));
    }
out:
    tn_list_free(list, n);
    free(records);
    free(log);
    free(from);
    free(to);
    return status;
}

/* One line of progress; a run that goes on starts where it stopped. */
typedef struct view {
    const char  *stage;
    tn_progress *bar;
} view;

static void on_step(void *arg, const tn_train_step *s)
{
    view *v = arg;
    char  note[80];
    int   n = snprintf(note, sizeof note, "loss %.4f", s->smooth);

    if (v->bar == NULL) {
        if (tn_progress_start(&v->bar, v->stage, "steps", s->steps, NULL) != TN_OK) return;
        tn_progress_skip(v->bar, s->step - 1);
    }
    if (s->preference)
        n += snprintf(note + n, sizeof note - (size_t)n, ", right %.0f %%", 100 * (double)s->accuracy);
    snprintf(note + n, sizeof note - (size_t)n, ", %.0f tok/s", s->tokens_per_s);
    tn_progress_set(v->bar, s->step, note);
}

static tn_status train_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                           json_t *metrics, tn_error *err)
{
    tn_status       status = TN_OK;
    tn_train_config c = *(const tn_train_config *)config; /* shares its strings; the paths below are ours */
    tn_train_result result = { 0 };
    char           *data = NULL, *valid = NULL, *run = tn_path(r->work, "run");
    view            v = { r->stage, NULL };

    if (run == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(files_refused(&c, err));
    TN_GOTO(paths_join(&data, r, "data", err));
    TN_GOTO(paths_join(&valid, r, "valid", err));
    c.data = data;
    c.valid = valid;
    c.model = (char *)inputs[0];
    c.adapter = (char *)inputs[2];
    c.reference = (char *)inputs[3];
    if (inputs[4] != NULL) c.tokenizer = (char *)inputs[4];
    c.checkpoint = (char *)inputs[6];
    c.tensorboard = false;
    tn_train_io io = { .out = run,
                       .model = inputs[0],
                       .adapter = inputs[2],
                       .reference = inputs[3],
                       .tokenizer = inputs[4],
                       .checkpoint = inputs[6],
                       .profile = r->profile,
                       .on_step = on_step,
                       .arg = &v };
    TN_GOTO(tn_train_run(&c, &io, &result, err));
    if (!result.finished) {
        status = tn_fail(err, TN_INTERRUPTED,
                         "training stopped after step %lld; the same command goes on from there",
                         (long long)result.steps);
        goto out;
    }
    TN_GOTO(tn_train_run_take(run, out, err));
    json_object_set_new(metrics, "steps", json_integer(result.steps));
    json_object_set_new(metrics, "loss", tn_json_f32(result.loss));
    json_object_set_new(metrics, "tokens", json_integer(result.tokens));
    if (result.last.taught) json_object_set_new(metrics, "kl", tn_json_f32(result.last.kl));
    if (result.last.preference) {
        json_object_set_new(metrics, "margin", tn_json_f32(result.last.margin));
        json_object_set_new(metrics, "accuracy", tn_json_f32(result.last.accuracy));
    }
out:
    tn_progress_end(v.bar);
    tn_train_result_free(&result);
    free(data);
    free(valid);
    free(run);
    return status;
}

/* In bf16 also which definition of its arithmetic this is; with a chat format that it is written into the
 * model. */
static tn_status train_salt(tn_store *s, const void *config, char out[128], tn_error *err)
{
    const tn_train_config *c = config;
    bool                   bf16 = strcmp(c->dtype, "bf16") == 0, chat = c->chat_format != NULL;

    (void)s, (void)err;
    if (bf16) snprintf(out, 128, "strict-bf16/%d", (int)TN_STRICT_BF16_VERSION);
    if (chat) snprintf(out + strlen(out), 128 - strlen(out), "%stemplate/1", bf16 ? " " : "");
    return TN_OK;
}

const tn_stage_kind tn_stage_train = {
    .name = "train",
    .version = 12,
    .line = "training: from scratch, fine-tuning, LoRA, preference losses",
    .options = tn_train_options,
    .config_bytes = sizeof(tn_train_config),
    .inputs = train_inputs,
    .salt = train_salt,
    .check = train_check,
    .output = "a directory with adapter/ or model/, the step log and what a replay needs",
    .run = train_run,
};

/* ---- export: an adapter put into its base, or weights in another form */
typedef struct export_config {
    char *type, *form, *chat_format;
} export_config;

// clang-format off
static const tn_option export_options[] = {
    { "type", TN_OPT_STR, offsetof(export_config, type), "f32", 0, 0, "", "keep, f32, f16, bf16, or a quantised type (gguf); keep: as the weights are", NULL },
    { "form", TN_OPT_CHOICE, offsetof(export_config, form), "directory", 0, 0, "directory|gguf|keep", "Hugging Face directory, or one .gguf; keep: as the model is", NULL },
    { "chat_format", TN_OPT_STR, offsetof(export_config, chat_format), NULL, 0, 0, "", "chat format that is written into the model, instead of what its template says", NULL },
    { .key = NULL }
};
// clang-format on

static const tn_stage_port export_inputs[] = {
    { "model", false, false, "the base model" },
    { "adapter", true, false, "a LoRA adapter that is put into it" },
    { NULL, false, false, NULL },
};

static tn_status chat_format_check(const char *name, tn_error *err)
{
    tn_chat_format f;
    tn_str         names = { .max = 1 << 10 };

    if (tn_chat_format_parse(name, &f)) return TN_OK;
    tn_chat_format_names(&names);
    tn_fail(err, TN_USAGE, "chat_format is '%s': expected %s", name, names.p != NULL ? names.p : "a name");
    tn_str_free(&names);
    return TN_USAGE;
}

/* A model is a .gguf file or a folder with one, or a folder in Hugging Face form. */
static tn_status is_gguf(bool *out, const char *path, tn_error *err)
{
    char *config = tn_path(path, "config.json");

    if (config == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    *out = !tn_exists(config);
    free(config);
    return TN_OK;
}

static tn_status export_check(const void *config, const bool *given, tn_error *err)
{
    const export_config *c = config;
    tn_dtype             type;
    bool                 keep = strcmp(c->type, "keep") == 0;

    (void)given;
    if (!keep && !tn_dtype_parse(c->type, &type))
        return tn_fail(err, TN_USAGE, "type is '%s': expected keep, f32, f16, bf16, q8_0, q4_0, q4_1 ...",
                       c->type);
    return c->chat_format == NULL ? TN_OK : chat_format_check(c->chat_format, err);
}

/* A weight that got another type than was asked is named in the record, and how many there are is said even
 * to who wants no progress: the recipe asked for something else. A replay, which has no store, was told when
 * it was a run. */
static void say_fallbacks(const tn_stage_run *r, const char *asked, const char *fallbacks, json_t *metrics)
{
    json_t *list = tn_json_lines(fallbacks);
    size_t  n = json_array_size(list);

    if (n > 0) json_object_set(metrics, "fallbacks", list);
    if (n > 0 && r->store != NULL)
        tn_log(TN_LOG_WARN,
               "%s: %zu weight%s of another type than %s, as %s; `tenet log --stage %s` has the run whose "
               "record names each",
               r->stage, n, n == 1 ? " is" : "s are", asked, json_string_value(json_array_get(list, 0)),
               r->stage);
    json_decref(list);
}

static tn_status export_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                            json_t *metrics, tn_error *err)
{
    const export_config *c = config;
    tn_status            status = TN_OK;
    tn_model            *m = NULL;
    tn_lora             *lora = NULL;
    size_t               n_lora = 0;
    tn_dtype             type = TN_F32;
    char                *fallbacks = NULL, *path = NULL;

    tn_model_options o = {
        .profile = r->profile, .chat_format = c->chat_format, .weights = true, .nameless = true
    };
    bool gguf = strcmp(c->form, "gguf") == 0, keep = strcmp(c->type, "keep") == 0;

    TN_TRY(export_check(c, NULL, err));
    if (!keep && !tn_dtype_parse(c->type, &type)) tn_bug("export: type %s", c->type);
    if (strcmp(c->form, "keep") == 0) TN_TRY(is_gguf(&gguf, inputs[0], err));
    TN_GOTO(tn_model_open(&m, inputs[0], &o, err));
    if (inputs[1] != NULL) {
        TN_GOTO(tn_lora_read(&lora, &n_lora, m, inputs[1], err));
        TN_GOTO(tn_model_to_f32(m, err));
        TN_GOTO(tn_model_merge_lora(m, lora, n_lora, err));
    }
    if (gguf) TN_GOTO(tn_mkdirs(out, err));
    path = gguf ? tn_path(out, "model.gguf") : tn_strdup(out);
    if (path == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_model_write(m, path, type, keep, &fallbacks, err));
    say_fallbacks(r, c->type, fallbacks, metrics);
out:
    tn_lora_free(lora, n_lora);
    tn_model_close(m);
    free(fallbacks);
    free(path);
    return status;
}

const tn_stage_kind tn_stage_export = {
    .name = "export",
    .version = 4,
    .line = "a model written anew: an adapter put into it, another type, another form",
    .options = export_options,
    .config_bytes = sizeof(export_config),
    .inputs = export_inputs,
    .output = "a model",
    .check = export_check,
    .run = export_run,
};
