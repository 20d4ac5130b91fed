/* report.c - OUT/report.html: the curves of a run from its metrics.jsonl, on one axis of steps. */
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "report/report.h"

enum { N_CURVE = 9, KL_PANEL = 6 };
// clang-format off
static const struct { const char *key, *name; int panel; } curves[N_CURVE] = {
    { "loss", "train", 0 }, { "valid", "validation", 0 }, { "lr", "learning rate", 1 }, { "grad_norm", "gradient norm", 2 },
    { "tokens_per_s", "tokens/s", 3 }, { "margin", "reward margin", 4 }, { "accuracy", "accuracy", 5 }, { "kl", "KL to the reference", 6 },
    { "length_chosen", "chosen", 7 },
};
// clang-format on
static const char *const panels[] = { "loss",
                                      "learning rate",
                                      "gradient norm",
                                      "tokens a second",
                                      "reward margin",
                                      "accuracy",
                                      "KL to the reference (k3)",
                                      "answer length" };
enum { N_PANEL = sizeof panels / sizeof *panels };

typedef struct columns {
    double *x[N_CURVE], *y[N_CURVE];
    size_t  n[N_CURVE], cap;
} columns;

static tn_status rows_read(columns *c, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    tn_jsonl *rows = NULL;
    json_t   *row = NULL;
    TN_TRY(tn_jsonl_open(&rows, path, err));
    for (size_t n = 0;; n++) {
        TN_GOTO(tn_jsonl_next(rows, &row, err));
        if (row == NULL) break;
        if (n == c->cap) {
            c->cap = c->cap ? c->cap * 2 : 1024;
            for (int k = 0; k < N_CURVE; k++) {
                double *x = realloc(c->x[k], c->cap * sizeof *x);
                if (x != NULL) c->x[k] = x;
                double *y = realloc(c->y[k], c->cap * sizeof *y);
                if (y != NULL) c->y[k] = y;
                if (x == NULL || y == NULL) {
                    status = tn_fail(err, TN_NOMEM, "%s: no memory for its curves", path);
                    goto out;
                }
            }
        }
        for (int k = 0; k < N_CURVE; k++) {
            const json_t *v = json_object_get(row, curves[k].key);
            if (!json_is_number(v)) continue;
            c->x[k][c->n[k]] = (double)json_integer_value(json_object_get(row, "step"));
            c->y[k][c->n[k]++] = json_number_value(v);
        }
        json_decref(row);
        row = NULL;
    }
out:
    json_decref(row);
    tn_jsonl_close(rows);
    return status;
}

static void curves_draw(tn_page *p, const columns *c, bool pairs)
{
    tn_series series[N_CURVE];
    tn_panel  panel[N_PANEL];
    size_t    n_panel = 0, n_series = 0;
    for (int k = 0; k < N_PANEL; k++) {
        size_t first = n_series;
        for (int i = 0; i < N_CURVE; i++)
            if (curves[i].panel == k && c->n[i] > 0)
                series[n_series++] = (tn_series){ curves[i].name, c->x[i], c->y[i], c->n[i] };
        if (n_series > first)
            panel[n_panel++] = (tn_panel){ .title = k == KL_PANEL && !pairs ? "divergence from the teacher"
                                                                            : panels[k],
                                           .series = series + first,
                                           .n_series = n_series - first,
                                           .unit = k == 5 ? TN_UNIT_PERCENT : TN_UNIT_PLAIN };
    }
    tn_page_curves(p, &(tn_curves){ "Training", "step", panel, n_panel });
}

static void principles_show(tn_page *p, const run *r)
{
    int                      n = r->data.pair.n_principle;
    char                   **cell = calloc((size_t)n * 4 + 1, sizeof *cell);
    static const char *const head[] = { "principle", "pairs seen", "mean margin", "right" };
    for (int i = 0; cell != NULL && i < n; i++) {
        const principle_stats *s = &r->principle[i];
        double                 k = s->n > 0 ? (double)s->n : 1;
        cell[4 * i] = tn_strdup(r->data.pair.principle[i]);
        cell[4 * i + 1] = tn_strf("%lld", (long long)s->n);
        cell[4 * i + 2] = tn_strf("%.3f", s->margin / k);
        cell[4 * i + 3] = tn_strf("%.0f %%", 100 * s->right / k);
    }
    if (cell != NULL && n > 0) {
        tn_page_section(p, "Principles");
        tn_page_table(p, &(tn_table){ "Margins of the pairs that each principle caused, over the whole run",
                                      "lrrr", head, (const char *const *)cell, (size_t)n });
    }
    for (int i = 0; cell != NULL && i < 4 * n; i++) free(cell[i]);
    free(cell);
}

/* What was trained on what, how far, and how good. */
static void head_show(tn_page *p, const run *r, const run_state *at)
{
    const tn_train_config *c = r->c;
    const tn_hparams      *h = tn_model_hparams(r->model);
    char                   model[400], data[1000], state[1300], loss[32], best[64];
    const tn_fact          facts[] = { { "model", model },
                                       { "data", data },
                                       { "step", state },
                                       { "last loss", loss },
                                       { "best validation", best } };

    if (c->model != NULL) snprintf(model, sizeof model, "%s", c->model);
    else
        snprintf(model, sizeof model, "from scratch: %s, %lld layers of %lld", h->family,
                 (long long)h->n_layer, (long long)h->n_embd);
    snprintf(data, sizeof data, "%s%s%s", c->data, r->has_valid ? "; held out: " : "",
             r->has_valid ? c->valid : "");
    snprintf(state, sizeof state, "%lld of %lld (%s)", (long long)at->step, (long long)r->steps, at->text);
    snprintf(loss, sizeof loss, "%.4f", (double)at->loss);
    if (at->best_step > 0)
        snprintf(best, sizeof best, "%.4f at step %lld", (double)at->best_valid, (long long)at->best_step);
    tn_page_facts(p, facts, sizeof facts / sizeof *facts - (at->best_step == 0));
}

tn_status train_report(const run *r, const run_state *at, tn_error *err)
{
    tn_status status = TN_OK;
    tn_page  *page = NULL;
    columns   c = { 0 };
    char *path = tn_path(r->io->out, "metrics.jsonl"), *html = tn_path(r->io->out, "report.html"), line[240];

    if (path == NULL || html == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(rows_read(&c, path, err));
    snprintf(line, sizeof line, "%s: %lld steps of %lld sequences, %lld of %lld parameters trained",
             r->c->loss, (long long)r->steps, (long long)r->c->batch, (long long)r->p.n_trained,
             (long long)tn_model_n_param(r->model, false));
    TN_GOTO(tn_page_create(&page, "Training run", line, err));
    head_show(page, r, at);
    curves_draw(page, &c, r->data.pairs);
    principles_show(page, r);
    TN_GOTO(tn_page_write(page, html, err));
out:
    tn_page_destroy(page);
    for (int k = 0; k < N_CURVE; k++) {
        free(c.x[k]);
        free(c.y[k]);
    }
    free(path);
    free(html);
    return status;
}
