/* run.c - an evaluation: tasks in order, rows in order, answered in small groups, logged, continued where it
 * stopped.
 *
 *   names ─ load ─→ tasks, rows, shots ─ prompt ─→ texts ─ asker ─→ log-probabilities, replies ─ metric ─→ items ─ scores ─→ report
 *
 * Rows that run together share the beginnings of their texts; what runs together never changes an answer. */
#include "eval/eval.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "eval/load.h"
#include "eval/metric.h"
#include "eval/report_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Rows that are answered and then logged together: what a stop at any instant can lose. */
enum { GROUP = 32, GROUP_REPLIES = 16 };

typedef struct run {
    tn_asker              *asker;
    const tn_eval_options *o;
    tn_items              *items;
    tn_refusal            *grader;
    tn_progress           *progress;
    int64_t                n_done;
    tn_error              *err;
} run;

static tn_status group_prepare(run *r, const tn_loaded *l, size_t first, size_t n, tn_asked *list)
{
    tn_style style = r->asker->style;

    style.chat = l->chat;
    style.multiturn = !r->o->one_turn;
    style.system = r->o->system;
    for (size_t i = 0; i < n; i++) {
        const tn_doc *doc = &l->docs.list[first + i];
        uint64_t      id[2];
        memcpy(id, doc->id.b, sizeof id);
        id[1] ^= tn_hash64(l->task->name, strlen(l->task->name));
        list[i].sample_id = tn_hash64(id, sizeof id);
        TN_TRY(tn_ask_make(&list[i].ask, l->task, doc, first + i, &l->shots, &style, r->err));
        TN_TRY(r->asker->kind->prepare(r->asker, &list[i], l->task, doc->where, r->err));
    }
    return TN_OK;
}

static tn_status group_run(run *r, const tn_loaded *l, size_t first, size_t n)
{
    tn_asked *list = calloc(n, sizeof *list);
    tn_status status = TN_OK;

    if (list == NULL) return tn_fail(r->err, TN_NOMEM, "no memory for %zu rows", n);
    TN_GOTO(group_prepare(r, l, first, n, list));
    TN_GOTO(r->asker->kind->group(r->asker, list, n, l->task, r->err));
    for (size_t i = 0; i < n; i++) {
        json_t *item = NULL;
        TN_GOTO(
            tn_metric_item(&item, l->task, &l->docs.list[first + i], first + i, &list[i], r->grader, r->err));
        TN_GOTO(tn_items_add(r->items, item, r->err));
    }
    TN_GOTO(tn_items_sync(r->items, r->err));
    r->n_done += (int64_t)n;
    if (r->progress != NULL) tn_progress_set(r->progress, r->n_done, l->task->name);
out:
    for (size_t i = 0; i < n; i++) tn_asked_free(&list[i]);
    free(list);
    return status;
}

static tn_status task_run(run *r, const tn_loaded *l, size_t n_before)
{
    size_t done = tn_items_count(r->items),
           step = l->task->output == TN_TASK_GENERATE ? GROUP_REPLIES : GROUP;

    if (l->task->results == TN_RESULTS_REFUSAL && r->grader == NULL)
        TN_TRY(tn_refusal_create(&r->grader, r->err));
    for (size_t i = done > n_before ? done - n_before : 0; i < l->docs.n; i += step) {
        TN_TRY(tn_interrupted(r->err));
        TN_TRY(group_run(r, l, i, l->docs.n - i < step ? l->docs.n - i : step));
    }
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------- report */

static json_t *digest_json(const tn_digest *d)
{
    char   *text = tn_digest_text(d);
    json_t *v = text == NULL ? NULL : json_string(text);

    free(text);
    return v;
}

static json_t *task_header(const tn_loaded *l)
{
    json_t *o = json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:b}", "task", l->task->name, "version",
                          l->task->version, "file", digest_json(&l->task->digest), "rows",
                          digest_json(&l->docs.digest), "shot_rows", digest_json(&l->shots.pool.digest), "n",
                          (json_int_t)l->docs.n, "shots", (json_int_t)l->shots.n, "chat", (int)l->chat);

    if (l->task->output == TN_TASK_GENERATE)
        json_object_set_new(o, "max_tokens", json_integer((json_int_t)l->task->sampling.max_tokens));
    return o;
}

/* All that the items depend on: a log is continued only under the same. */
static tn_status header_make(json_t **out, run *r, const tn_load *l)
{
    json_t *tasks = json_array(), *o = json_pack("{s:i, s:o}", "format", 2, "tasks", tasks);

    *out = NULL;
    if (o == NULL) return tn_fail(r->err, TN_NOMEM, "no memory for a report");
    for (size_t i = 0; i < l->n; i++) json_array_append_new(tasks, task_header(&l->list[i]));
    json_object_set_new(o, "shot_seed", json_integer((json_int_t)r->o->shot_seed));
    json_object_set_new(o, "seed", json_integer((json_int_t)r->o->seed));
    json_object_set_new(o, "one_turn", json_boolean(r->o->one_turn));
    json_object_set_new(o, "system", json_string(r->o->system != NULL ? r->o->system : ""));
    tn_status s = r->asker->kind->describe(r->asker, o, r->err);
    if (s == TN_OK) *out = o;
    else json_decref(o);
    return s;
}

static tn_status report_make(json_t **out, run *r, const tn_load *l)
{
    json_t   *tasks = json_object(), *groups = json_object(), *scores;
    tn_digest root;
    size_t    first = 0;
    tn_status status = TN_OK;

    for (size_t i = 0; i < l->n; first += l->list[i++].docs.n) {
        TN_GOTO(tn_metric_task(&scores, l->list[i].task, r->items, first, l->list[i].docs.n, r->err));
        json_object_set_new(scores, "shots", json_integer((json_int_t)l->list[i].shots.n));
        json_object_set_new(tasks, l->list[i].task->name, scores);
    }
    for (size_t i = 0; i < l->n_group; i++) {
        const tn_loaded_group *g = &l->groups[i];
        TN_GOTO(tn_metric_group(&scores, g->yaml, g->path, tasks, g->members, g->n, r->err));
        json_object_set_new(groups, tn_yaml_text(g->yaml, "group"), scores);
    }
    TN_GOTO(tn_items_root(r->items, &root, r->err));
    *out = json_pack("{s:O, s:o, s:O}", "tasks", tasks, "items_root", digest_json(&root), "run",
                     (json_t *)tn_items_header(r->items));
    if (*out == NULL) status = tn_fail(r->err, TN_NOMEM, "no memory for a report");
    else if (l->n_group > 0) json_object_set(*out, "groups", groups);
    if (status == TN_OK && l->joined != NULL) json_object_set(*out, "joined", l->joined);
    if (status == TN_OK && l->absent != NULL) json_object_set(*out, "absent", l->absent);
    if (status == TN_OK) status = tn_report_seal(*out, r->err);
out:
    json_decref(tasks);
    json_decref(groups);
    return status;
}

static tn_status run_all(run *r, const tn_load *l, const char *items_path, json_t **report)
{
    json_t   *header = NULL;
    size_t    first = 0, total = 0;
    tn_status status = TN_OK;

    for (size_t i = 0; i < l->n; i++) total += l->list[i].docs.n;
    TN_GOTO(header_make(&header, r, l));
    TN_GOTO(tn_items_open(&r->items, items_path, header, r->err));
    if (tn_items_count(r->items) > total) {
        status = tn_fail(r->err, TN_FORMAT, "%s: it holds more items than the tasks have rows", items_path);
        goto out;
    }
    r->n_done = (int64_t)tn_items_count(r->items);
    if (r->o->progress) TN_GOTO(tn_progress_start(&r->progress, "eval", "rows", (int64_t)total, r->err));
    for (size_t i = 0; i < l->n; first += l->list[i++].docs.n) TN_GOTO(task_run(r, &l->list[i], first));
    status = report_make(report, r, l);
out:
    tn_progress_end(r->progress);
    json_decref(header);
    tn_items_close(r->items);
    tn_refusal_destroy(r->grader);
    return status;
}

/* Before the first row: what a comparison over so many rows can see. */
static void power_say(const tn_load *l, const tn_eval_options *o)
{
    const char **names = calloc(l->n + 1, sizeof *names);
    int64_t     *n = calloc(l->n + 1, sizeof *n);

    for (size_t i = 0; names != NULL && n != NULL && i < l->n; i++) {
        names[i] = l->list[i].task->name;
        n[i] = (int64_t)l->list[i].docs.n;
    }
    json_t *list = names != NULL && n != NULL && o->progress ? tn_eval_power(names, n, l->n) : NULL, *one;
    size_t  i;
    json_array_foreach(list, i, one)
        if (json_number_value(json_object_get(one, "smallest")) >=
            json_number_value(json_object_get(one, "disagree")))
            tn_log(TN_LOG_INFO,
                   "%s: %lld rows are too few to tell two models apart that agree on 8 rows of 10",
                   json_string_value(json_object_get(one, "task")),
                   (long long)json_integer_value(json_object_get(one, "n")));
        else
            tn_log(TN_LOG_INFO,
                   "%s: %lld rows; two models that differ by less than %.1f points will usually look alike",
                   json_string_value(json_object_get(one, "task")),
                   (long long)json_integer_value(json_object_get(one, "n")),
                   100 * json_number_value(json_object_get(one, "smallest")));
    json_decref(list);
    free(names);
    free(n);
}

static tn_status evaluate(json_t **report, tn_asker *asker, const char *const *names, size_t n,
                          const tn_eval_options *o, tn_error *err)
{
    run       r = { .asker = asker, .o = o, .err = err };
    tn_load   l;
    char     *items_path = NULL, *report_path = NULL;
    tn_status status = TN_OK;

    TN_TRY(tn_load_tasks(&l, names, n, o, asker->can_chat, err));
    if (o->out_dir != NULL) {
        TN_GOTO(tn_mkdirs(o->out_dir, err));
        items_path = tn_path(o->out_dir, "items.jsonl");
        report_path = tn_path(o->out_dir, "report.json");
        if (items_path == NULL || report_path == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
            goto out;
        }
    }
    power_say(&l, o);
    TN_GOTO(run_all(&r, &l, items_path, report));
    if (report_path != NULL) TN_GOTO(tn_json_save(report_path, *report, true, err));
    if (report_path != NULL) TN_GOTO(tn_eval_page_write(o->out_dir, false, err));
out:
    tn_load_free(&l);
    free(items_path);
    free(report_path);
    if (status != TN_OK) {
        json_decref(*report);
        *report = NULL;
    }
    return status;
}

tn_status tn_eval_run(json_t **report, tn_model *m, const char *const *names, size_t n,
                      const tn_eval_options *o, tn_error *err)
{
    tn_asker *asker;

    *report = NULL;
    TN_TRY(tn_local_open(&asker, m, o, err));
    tn_status s = evaluate(report, asker, names, n, o, err);
    asker->kind->close(asker);
    return s;
}

tn_status tn_eval_run_remote(json_t **report, const char *url, const char *const *names, size_t n,
                             const tn_eval_options *o, tn_error *err)
{
    tn_asker *asker;

    *report = NULL;
    TN_TRY(tn_remote_open(&asker, url, o, err));
    tn_status s = evaluate(report, asker, names, n, o, err);
    asker->kind->close(asker);
    return s;
}
