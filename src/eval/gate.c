/* gate.c - may this model be released? A file of bounds against a recorded report; what is not shown counts as failed.
 *
 *   gates:
 *     - {task: hellaswag, metric: acc_norm, min: 0.30, min_n: 500, max_width: 0.10}
 *     - {task: xstest,    metric: refused,  max: 0.05}
 *
 * min is held against the lower end of the interval, max against the upper end. A missing task or metric, a missing
 * interval, too few rows or a wide interval fail the gate, each with its reason. */
#include "base/str.h"
#include "base/yaml.h"
#include "eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const keys[] = { "task", "metric", "min", "max", "min_n", "max_width", NULL };

typedef struct gate { const char *task, *metric; double min, max, min_n, max_width; } gate;

static tn_status bound(const tn_yaml *y, const char *key, double dflt, double *out, const char *path, tn_error *err)
{
    const char *text = tn_yaml_text(y, key);

    *out = dflt;
    if (tn_yaml_get(y, key) == NULL) return TN_OK;
    if (text != NULL && tn_parse_f64(text, out) && isfinite(*out)) return TN_OK;
    return tn_fail(err, TN_FORMAT, "%s:%d: \"%s\" must be a number", path, tn_yaml_get(y, key)->line, key);
}

static tn_status gate_read(gate *g, const tn_yaml *y, const char *path, tn_error *err)
{
    if (y->kind != TN_YAML_MAP) return tn_fail(err, TN_FORMAT, "%s:%d: a gate is a mapping {task, metric, min or max}", path, y->line);
    for (size_t i = 0; i < y->n; i++) {
        size_t k = 0;
        while (keys[k] != NULL && strcmp(keys[k], y->keys[i]) != 0) k++;
        if (keys[k] != NULL) continue;
        const char *near = tn_nearest(y->keys[i], keys);
        return tn_fail(err, TN_FORMAT, "%s:%d: a gate has no \"%s\"%s%s%s", path, y->key_lines[i], y->keys[i], near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                       near != NULL ? "\"?" : "");
    }
    *g = (gate){ .task = tn_yaml_text(y, "task"), .metric = tn_yaml_text(y, "metric") };
    TN_TRY(bound(y, "min", NAN, &g->min, path, err));
    TN_TRY(bound(y, "max", NAN, &g->max, path, err));
    TN_TRY(bound(y, "min_n", 1, &g->min_n, path, err));
    TN_TRY(bound(y, "max_width", INFINITY, &g->max_width, path, err));
    if (g->task == NULL || g->metric == NULL) return tn_fail(err, TN_FORMAT, "%s:%d: a gate needs \"task\" and \"metric\"", path, y->line);
    if (isnan(g->min) && isnan(g->max)) return tn_fail(err, TN_FORMAT, "%s:%d: a gate needs \"min\" or \"max\": one that cannot fail is none", path, y->line);
    return TN_OK;
}

/* NULL if the gate holds, else why not (made: free). */
static char *held_against(const gate *g, const json_t *report)
{
    const json_t *scores = json_object_get(json_object_get(report, "tasks"), g->task);
    char         *name = tn_strf("%s_interval", g->metric);
    const json_t *interval = name != NULL ? json_object_get(scores, name) : NULL;
    double        n = json_number_value(json_object_get(scores, "n"));

    free(name);
    if (scores == NULL) return tn_strf("the report has no task %s", g->task);
    if (!json_is_number(json_object_get(scores, g->metric))) return tn_strf("the report has no %s of task %s", g->metric, g->task);
    if (json_array_size(interval) != 2 || !json_is_number(json_array_get(interval, 0)) || !json_is_number(json_array_get(interval, 1)))
        return tn_strf("%s of task %s has no interval, so nothing is shown", g->metric, g->task);
    double lo = json_number_value(json_array_get(interval, 0)), hi = json_number_value(json_array_get(interval, 1));
    if (!(n >= g->min_n)) return tn_strf("%.0f rows, at least %.0f are needed", n, g->min_n);
    if (!(hi - lo <= g->max_width)) return tn_strf("the interval is %.4f wide, at most %.4f is allowed: measure more rows", hi - lo, g->max_width);
    if (!isnan(g->min) && !(lo >= g->min)) return tn_strf("the lower end %.4f is under the bound %.4f", lo, g->min);
    if (!isnan(g->max) && !(hi <= g->max)) return tn_strf("the upper end %.4f is over the bound %.4f", hi, g->max);
    return NULL;
}

tn_status tn_eval_gate(json_t **out, bool *passed, const char *gates_path, const json_t *report, tn_error *err)
{
    tn_yaml  *y = NULL;
    json_t   *list = json_array();
    tn_status status = TN_OK;

    *out = NULL;
    *passed = false;
    TN_GOTO(tn_yaml_load(&y, gates_path, err));
    const tn_yaml *gates = tn_yaml_get(y, "gates");
    if (y->kind != TN_YAML_MAP || y->n != 1 || gates == NULL || gates->kind != TN_YAML_SEQ || gates->n == 0) {
        status = tn_fail(err, TN_FORMAT, "%s: \"gates:\" with a list of at least one gate is expected, and nothing else", gates_path);
        goto out;
    }
    bool all = true;
    for (size_t i = 0; i < gates->n; i++) {
        gate g;
        TN_GOTO(gate_read(&g, gates->items[i], gates_path, err));
        char *why = held_against(&g, report);
        all = all && why == NULL;
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s}", "task", g.task, "metric", g.metric, "passed", why == NULL, "reason", why != NULL ? why : "held"));
        free(why);
    }
    *passed = all && json_array_size(list) == gates->n;
    *out = json_pack("{s:b, s:O}", "passed", (int)*passed, "gates", list);
    if (*out == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a verdict");
out:
    tn_yaml_free(y);
    json_decref(list);
    return status;
}
