/* run.c - an evaluation: tasks in order, rows in order, scored in small groups, logged, continued where it stopped.
 *
 *   task file ─ task_rows ─→ rows ─ prompt ─→ texts ─ span ─→ tokens ─ engine ─→ log-probabilities ─ metric ─→ items ─→ scores
 *
 * Rows that run together share the beginnings of their texts; what runs together never changes an answer. */
#include "eval/eval.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "eval/metric.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Rows that are scored and then logged together: what a stop at any instant can lose. */
enum { GROUP = 32 };

typedef struct asked { tn_ask ask; tn_span *spans; size_t n; } asked;

typedef struct run {
    tn_model              *model;
    const tn_eval_options *o;
    tn_engine             *engine;
    int64_t                engine_ctx;
    tn_items              *items;
    tn_progress           *progress;
    int64_t                n_done;
    tn_error              *err;
} run;

typedef struct loaded { tn_task *task; tn_docs docs, pool; tn_shots shots; } loaded;

static void asked_free(asked *a)
{
    for (size_t i = 0; i < a->n; i++) free(a->spans[i].tokens);
    free(a->spans);
    tn_ask_free(&a->ask);
    *a = (asked){0};
}

static tn_status asked_make(run *r, asked *out, const loaded *l, const tn_doc *doc)
{
    const tn_tokenizer *tok = tn_model_tokenizer(r->model);
    int64_t             n_ctx = tn_model_hparams(r->model)->n_ctx;

    TN_TRY(tn_ask_make(&out->ask, l->task, doc, &l->shots, r->err));
    if (l->task->output == TN_TASK_ROLLING) return tn_span_windows(&out->spans, &out->n, tok, out->ask.continuation[0], n_ctx, doc->where, r->err);
    if ((out->spans = calloc(out->ask.n, sizeof *out->spans)) == NULL) return tn_fail(r->err, TN_NOMEM, "%s: no memory for its tokens", doc->where);
    for (; out->n < out->ask.n; out->n++)
        TN_TRY(tn_span_make(&out->spans[out->n], tok, out->ask.context[out->n], out->ask.continuation[out->n], n_ctx, doc->where, r->err));
    return TN_OK;
}

/* An engine whose context holds the longest of these; kept as long as it is large enough. */
static tn_status engine_for(run *r, int64_t longest)
{
    int64_t           n_ctx = tn_model_hparams(r->model)->n_ctx;
    tn_engine_options o = { .n_batch = r->o->n_batch, .kv_type = r->o->kv_type, .prefix_reuse = true, .hidden_layer = -1 };

    if (r->engine != NULL && longest <= r->engine_ctx) return TN_OK;
    tn_engine_destroy(r->engine);
    r->engine = NULL;
    o.n_ctx = longest + longest / 4 < n_ctx ? longest + longest / 4 : n_ctx;     /* a little room: the next group may be longer */
    r->engine_ctx = o.n_ctx;
    return tn_engine_create(&r->engine, r->model, &o, r->err);
}

static tn_status group_score(run *r, const asked *list, size_t n, tn_scored *out, size_t n_span)
{
    const int32_t **context = calloc(n_span + 1, sizeof *context), **cont = calloc(n_span + 1, sizeof *cont);
    int64_t        *n_context = calloc(n_span + 1, sizeof *n_context), *n_cont = calloc(n_span + 1, sizeof *n_cont), longest = 1;
    tn_score       *scores = calloc(n_span + 1, sizeof *scores);
    size_t          k = 0;
    tn_status       status = TN_OK;

    if (context == NULL || cont == NULL || n_context == NULL || n_cont == NULL || scores == NULL) {
        status = tn_fail(r->err, TN_NOMEM, "no memory to score %zu texts", n_span);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < list[i].n; j++, k++) {
            const tn_span *s = &list[i].spans[j];
            context[k] = s->tokens;
            n_context[k] = s->n_context;
            cont[k] = s->tokens + s->n_context;
            n_cont[k] = s->n - s->n_context;
            if (s->n > longest) longest = s->n;
        }
    TN_GOTO(engine_for(r, longest));
    TN_GOTO(tn_engine_score(r->engine, context, n_context, cont, n_cont, (int64_t)n_span, scores, NULL, r->err));
    for (k = 0; k < n_span; k++) out[k] = (tn_scored){ scores[k].logprob, scores[k].greedy };
out:
    free(context);
    free(cont);
    free(n_context);
    free(n_cont);
    free(scores);
    return status;
}

static tn_status group_run(run *r, const loaded *l, size_t first, size_t n)
{
    asked     *list = calloc(n, sizeof *list);
    tn_scored *scored = NULL;
    size_t     n_span = 0, k = 0;
    tn_status  status = TN_OK;

    if (list == NULL) return tn_fail(r->err, TN_NOMEM, "no memory for %zu rows", n);
    for (size_t i = 0; i < n; i++) {
        TN_GOTO(asked_make(r, &list[i], l, &l->docs.list[first + i]));
        n_span += list[i].n;
    }
    if ((scored = calloc(n_span + 1, sizeof *scored)) == NULL) {
        status = tn_fail(r->err, TN_NOMEM, "no memory for %zu scores", n_span);
        goto out;
    }
    TN_GOTO(group_score(r, list, n, scored, n_span));
    for (size_t i = 0; i < n; k += list[i++].n) {
        json_t *item = NULL;
        TN_GOTO(tn_metric_item(&item, l->task, &l->docs.list[first + i], first + i, &list[i].ask, list[i].spans, scored + k, list[i].n, r->err));
        TN_GOTO(tn_items_add(r->items, item, r->err));
    }
    TN_GOTO(tn_items_sync(r->items, r->err));
    r->n_done += (int64_t)n;
    if (r->progress != NULL) tn_progress_set(r->progress, r->n_done, l->task->name);
out:
    for (size_t i = 0; i < n; i++) asked_free(&list[i]);
    free(list);
    free(scored);
    return status;
}

static tn_status task_run(run *r, const loaded *l, size_t n_before)
{
    size_t done = tn_items_count(r->items);

    for (size_t i = done > n_before ? done - n_before : 0; i < l->docs.n; i += GROUP) {
        TN_TRY(tn_interrupted(r->err));
        TN_TRY(group_run(r, l, i, l->docs.n - i < GROUP ? l->docs.n - i : GROUP));
    }
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------------ loading */

static tn_status task_path(char **out, const char *name, const tn_eval_options *o, tn_error *err)
{
    if (tn_ends_with(name, ".yaml")) *out = tn_strdup(name);
    else *out = o->task_dir != NULL ? tn_strf("%s/%s.yaml", o->task_dir, name) : tn_strf("%s.yaml", name);
    if (*out == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (tn_exists(*out)) return TN_OK;

    char    **files = NULL;
    size_t    n = 0;
    tn_str    names = {0};
    if (o->task_dir != NULL && tn_list_files(&files, &n, o->task_dir, NULL) == TN_OK)
        for (size_t i = 0; i < n; i++)
            if (tn_ends_with(files[i], ".yaml")) tn_str_addf(&names, "%s%.*s", names.len > 0 ? ", " : "", (int)(strlen(files[i]) - 5), files[i]);
    tn_list_free(files, n);
    tn_status s = tn_fail(err, TN_USAGE, "there is no task \"%s\" in %s%s%s: choose one of them, or give --task-dir DIR", name,
                          o->task_dir != NULL ? o->task_dir : "this folder", names.p != NULL ? "; there are " : "", names.p != NULL ? names.p : "");
    tn_str_free(&names);
    free(*out);
    *out = NULL;
    return s;
}

static tn_status load(loaded *l, const char *name, const tn_eval_options *o, tn_error *err)
{
    char     *path = NULL;
    tn_status status = TN_OK;

    TN_GOTO(task_path(&path, name, o, err));
    TN_GOTO(tn_task_load(&l->task, path, err));
    TN_GOTO(tn_task_docs(l->task, l->task->split, o->data, o->limit, &l->docs, err));
    l->shots = (tn_shots){ .pool = &l->pool, .n = o->n_shot >= 0 ? o->n_shot : l->task->n_shot };
    if (l->shots.n == 0) goto out;
    if (l->task->samples != NULL) {
        TN_GOTO(tn_task_samples(l->task, &l->pool, err));
    } else if (l->task->shot_split != NULL) {
        l->shots.same_split = strcmp(l->task->shot_split, l->task->split) == 0;
        TN_GOTO(tn_task_docs(l->task, l->task->shot_split, o->data, 0, &l->pool, err));
    } else {
        status = tn_fail(err, TN_UNSUPPORTED, "%s: %" PRId64 " shots are asked for, and the task names no rows for them: write \"fewshot_split\" (the first "
                         "rows are taken) or \"fewshot_config: {samples: [...]}\"", path, l->shots.n);
    }
out:
    free(path);
    return status;
}

static void loaded_free(loaded *l)
{
    tn_docs_free(&l->docs);
    tn_docs_free(&l->pool);
    tn_task_free(l->task);
}

/* ------------------------------------------------------------------------------------------------------- report */

static json_t *digest_json(const tn_digest *d)
{
    char   *text = tn_digest_text(d);
    json_t *v = text == NULL ? NULL : json_string(text);

    free(text);
    return v;
}

/* All that the items depend on: a log is continued only under the same. */
static tn_status header_make(json_t **out, run *r, const loaded *list, size_t n)
{
    tn_digest model, tokenizer;
    json_t   *tasks = json_array();

    TN_TRY(tn_model_digest(r->model, &model, r->err));
    tn_tokenizer_digest(tn_model_tokenizer(r->model), &tokenizer);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(tasks, json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:I}", "task", list[i].task->name, "version", list[i].task->version,
                                               "file", digest_json(&list[i].task->digest), "rows", digest_json(&list[i].docs.digest),
                                               "shot_rows", digest_json(&list[i].pool.digest), "n", (json_int_t)list[i].docs.n, "shots", (json_int_t)list[i].shots.n));
    *out = json_pack("{s:i, s:o, s:o, s:s, s:s, s:o}", "format", 1, "model", digest_json(&model), "tokenizer", digest_json(&tokenizer),
                     "profile", tn_profile_name(tn_model_profile(r->model)), "kv_type", tn_dtype_name(r->o->kv_type), "tasks", tasks);
    return *out != NULL ? TN_OK : tn_fail(r->err, TN_NOMEM, "no memory for a report");
}

static tn_status report_make(json_t **out, run *r, const loaded *list, size_t n)
{
    json_t   *tasks = json_object(), *scores;
    tn_digest root;
    size_t    first = 0;

    for (size_t i = 0; i < n; first += list[i++].docs.n) {
        tn_status s = tn_metric_task(&scores, list[i].task, r->items, first, list[i].docs.n, r->err);
        if (s != TN_OK) {
            json_decref(tasks);
            return s;
        }
        json_object_set_new(scores, "shots", json_integer(list[i].shots.n));
        json_object_set_new(tasks, list[i].task->name, scores);
    }
    tn_status s = tn_items_root(r->items, &root, r->err);
    *out = s != TN_OK ? NULL : json_pack("{s:o, s:o, s:O}", "tasks", tasks, "items_root", digest_json(&root), "run", (json_t *)tn_items_header(r->items));
    if (s == TN_OK && *out == NULL) s = tn_fail(r->err, TN_NOMEM, "no memory for a report");
    return s;
}

static tn_status names_differ(const loaded *list, size_t n, tn_error *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(list[i].task->name, list[j].task->name) == 0) return tn_fail(err, TN_USAGE, "task %s is asked for twice", list[i].task->name);
    return TN_OK;
}

static tn_status run_all(run *r, const loaded *list, size_t n, const char *items_path, json_t **report)
{
    json_t   *header = NULL;
    size_t    first = 0, total = 0;
    tn_status status = TN_OK;

    for (size_t i = 0; i < n; i++) total += list[i].docs.n;
    TN_GOTO(names_differ(list, n, r->err));
    TN_GOTO(header_make(&header, r, list, n));
    TN_GOTO(tn_items_open(&r->items, items_path, header, r->err));
    if (tn_items_count(r->items) > total) {
        status = tn_fail(r->err, TN_FORMAT, "%s: it holds more items than the tasks have rows", items_path);
        goto out;
    }
    r->n_done = (int64_t)tn_items_count(r->items);
    if (r->o->progress) TN_GOTO(tn_progress_start(&r->progress, "eval", "rows", (int64_t)total, r->err));
    for (size_t i = 0; i < n; first += list[i++].docs.n) TN_GOTO(task_run(r, &list[i], first));
    status = report_make(report, r, list, n);
out:
    tn_progress_end(r->progress);
    json_decref(header);
    tn_engine_destroy(r->engine);
    tn_items_close(r->items);
    return status;
}

tn_status tn_eval_run(json_t **report, tn_model *m, const char *const *names, size_t n, const tn_eval_options *o, tn_error *err)
{
    loaded   *list = calloc(n + 1, sizeof *list);
    run       r = { .model = m, .o = o, .err = err };
    char     *items_path = NULL, *report_path = NULL;
    tn_status status = TN_OK;

    *report = NULL;
    if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu tasks", n);
    if (tn_model_tokenizer(m) == NULL) {
        status = tn_fail(err, TN_UNSUPPORTED, "%s has no tokenizer (tokenizer.json is missing), so it cannot read text", tn_model_path(m));
        goto out;
    }
    for (size_t i = 0; i < n; i++) TN_GOTO(load(&list[i], names[i], o, err));
    if (o->out_dir != NULL) {
        TN_GOTO(tn_mkdirs(o->out_dir, err));
        items_path = tn_path(o->out_dir, "items.jsonl");
        report_path = tn_path(o->out_dir, "report.json");
        if (items_path == NULL || report_path == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
            goto out;
        }
    }
    TN_GOTO(run_all(&r, list, n, items_path, report));
    if (report_path != NULL) TN_GOTO(tn_json_save(report_path, *report, true, err));
out:
    for (size_t i = 0; i < n; i++) loaded_free(&list[i]);
    free(list);
    free(items_path);
    free(report_path);
    if (status != TN_OK) {
        json_decref(*report);
        *report = NULL;
    }
    return status;
}
