/* judged.c - ranks of many models from files of judged pairs.
 *
 *   {"prompt","a","b","winner"}          names of two models, and "a", "b", "tie" or one of the names
 *   A:B=COMPARISONS                      what the stage kind compare wrote: `first` is A's answer, `second` B's
 *        ─→ points by pair and prompt ─→ tn_bradley_terry (ranks.c) ─→ ratings with intervals, best first
 *
 * Two models whose pairs are linked by no chain of others have no common scale: that is an error, not a
 * guess. */
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "eval/eval.h"
#include "eval/row_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 256, ROUNDS = 1000 };
#define CONFIDENCE 0.95

typedef struct judged {
    char      *names[MODELS];
    int64_t    won[MODELS], tied[MODELS], lost[MODELS];
    int        n_model;
    tn_battle *list;
    size_t     n, cap;
    int64_t    n_failed;
} judged;

static tn_status model_of(judged *j, const char *name, const char *where, int *out, tn_error *err)
{
    for (*out = 0; *out < j->n_model; (*out)++)
        if (strcmp(j->names[*out], name) == 0) return TN_OK;
    if (j->n_model == MODELS) return tn_fail(err, TN_LIMIT, "%s: more than %d models", where, MODELS);
    j->names[j->n_model] = tn_strdup(name);
    return j->names[j->n_model++] != NULL ? TN_OK
                                          : tn_fail(err, TN_NOMEM, "%s: no memory for its names", where);
}

static tn_status battle_add(judged *j, const char *prompt, const char *a, const char *b, double b_won,
                            const char *where, tn_error *err)
{
    tn_battle x = { .b_won = b_won, .prompt = (int64_t)(tn_hash64(prompt, strlen(prompt)) >> 1) };

    TN_TRY(model_of(j, a, where, &x.a, err));
    TN_TRY(model_of(j, b, where, &x.b, err));
    if (x.a == x.b)
        return tn_fail(err, TN_FORMAT, "%s: both answers are of '%s': two different models are expected",
                       where, a);
    if (j->n == j->cap) {
        size_t     cap = j->cap > 0 ? 2 * j->cap : 256;
        tn_battle *grown = realloc(j->list, cap * sizeof *grown);
        if (grown == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its pairs", where);
        j->list = grown;
        j->cap = cap;
    }
    j->list[j->n++] = x;
    j->won[x.a] += b_won == 0;
    j->lost[x.a] += b_won == 1;
    j->won[x.b] += b_won == 1;
    j->lost[x.b] += b_won == 0;
    j->tied[x.a] += b_won == 0.5;
    j->tied[x.b] += b_won == 0.5;
    return TN_OK;
}

/* A verdict in words as half points of b; -1: none. */
static double points(const char *winner, const char *a, const char *b)
{
    if (strcmp(winner, "a") == 0 || strcmp(winner, "model_a") == 0 || strcmp(winner, a) == 0) return 0;
    if (strcmp(winner, "b") == 0 || strcmp(winner, "model_b") == 0 || strcmp(winner, b) == 0) return 1;
    return strncmp(winner, "tie", 3) == 0 ? 0.5 : -1;
}

static tn_status add_verdict(judged *j, const json_t *row, const char *where, tn_error *err)
{
    static const char *const        prompts[] = { "prompt", "id", "question_id", NULL },
                             *const as[] = { "a", "model_a", NULL }, *const bs[] = { "b", "model_b", NULL },
                             *const winners[] = { "winner", NULL };
    char                           *made[4] = { 0 };
    const char *prompt = tn_row_first(row, prompts, &made[0]), *a = tn_row_first(row, as, &made[1]),
               *b = tn_row_first(row, bs, &made[2]), *winner = tn_row_first(row, winners, &made[3]);
    double    b_won;
    tn_status status;

    if (prompt == NULL || a == NULL || b == NULL || winner == NULL)
        status = tn_fail(err, TN_FORMAT,
                         "%s: '%s' is missing: expected {\"prompt\",\"a\",\"b\",\"winner\"} with the names "
                         "of two models (what a compare stage "
                         "wrote has no names: give them as A:B=FILE)",
                         where,
                         prompt == NULL ? "prompt"
                         : a == NULL    ? "a"
                         : b == NULL    ? "b"
                                        : "winner");
    else if ((b_won = points(winner, a, b)) < 0)
        status = tn_fail(err, TN_FORMAT, "%s: winner is '%.60s': expected a, b, tie, '%s' or '%s'", where,
                         winner, a, b);
    else status = battle_add(j, prompt, a, b, b_won, where, err);
    for (int i = 0; i < 4; i++) free(made[i]);
    return status;
}

/* A row of comparisons.jsonl: p is how sure the judge is of `first`. */
static tn_status add_comparison(judged *j, const json_t *row, const char *a, const char *b, const char *where,
                                tn_error *err)
{
    const char   *prompt = json_string_value(json_object_get(row, "prompt"));
    const json_t *p = json_object_get(row, "p");

    if (prompt == NULL || !json_is_number(p))
        return tn_fail(err, TN_FORMAT,
                       "%s: expected a row of a compare stage's comparisons.jsonl, with \"prompt\" and \"p\"",
                       where);
    if (json_is_true(json_object_get(row, "failed"))) {
        j->n_failed++;
        return TN_OK;
    }
    double first = json_number_value(p);
    return battle_add(j, prompt, a, b,
                      json_is_true(json_object_get(row, "tie")) || first == 0.5 ? 0.5
                      : first > 0.5                                             ? 0
                                                                                : 1,
                      where, err);
}

static tn_status file_add(judged *j, const char *file, tn_error *err)
{
    const char *eq = strchr(file, '='), *colon = eq != NULL ? memchr(file, ':', (size_t)(eq - file)) : NULL;
    char       *a = NULL, *b = NULL, *path = NULL;
    json_t     *rows = NULL, *row;
    size_t      i;
    tn_status   status = TN_OK;

    if (colon != NULL) {
        a = tn_strndup(file, (size_t)(colon - file));
        b = tn_strndup(colon + 1, (size_t)(eq - colon - 1));
        file = eq + 1;
    }
    path = tn_is_dir(file) ? tn_path(file, "comparisons.jsonl") : tn_strdup(file);
    if (path == NULL || (colon != NULL && (a == NULL || b == NULL))) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its path", file);
        goto out;
    }
    TN_GOTO(tn_row_file_load(&rows, path, NULL, err));
    json_array_foreach(rows, i, row) {
        char where[512];
        snprintf(where, sizeof where, "%s:%" PRId64, path,
                 (int64_t)json_integer_value(json_object_get(row, "@line")));
        status = a != NULL ? add_comparison(j, row, a, b, where, err) : add_verdict(j, row, where, err);
        if (status != TN_OK) break;
    }
out:
    json_decref(rows);
    free(path);
    free(a);
    free(b);
    return status;
}

/* Every model must be reached from the anchor over pairs. */
static tn_status linked(const judged *j, int anchor, tn_error *err)
{
    bool seen[MODELS] = { 0 }, more = true;

    seen[anchor] = true;
    while (more) {
        more = false;
        for (size_t i = 0; i < j->n; i++)
            if (seen[j->list[i].a] != seen[j->list[i].b])
                more = seen[j->list[i].a] = seen[j->list[i].b] = true;
    }
    for (int m = 0; m < j->n_model; m++)
        if (!seen[m])
            return tn_fail(err, TN_MISMATCH,
                           "'%s' and '%s' never meet, not over others either: they have no common scale. "
                           "Judge a pair that links them",
                           j->names[anchor], j->names[m]);
    return TN_OK;
}

static json_t *ranks_json(const judged *j, const tn_rank *ranks, int anchor)
{
    json_t *list = json_array();
    bool    done[MODELS] = { 0 };

    for (int k = 0; k < j->n_model; k++) { /* best first; equal ones as they were first named */
        int best = -1;
        for (int m = 0; m < j->n_model; m++)
            if (!done[m] && (best < 0 || ranks[m].rating > ranks[best].rating)) best = m;
        done[best] = true;
        json_array_append_new(list,
                              json_pack("{s:s,s:f,s:[f,f],s:I,s:I,s:I}", "model", j->names[best], "rating",
                                        ranks[best].rating, "interval", ranks[best].interval.lo,
                                        ranks[best].interval.hi, "won", (json_int_t)j->won[best], "tied",
                                        (json_int_t)j->tied[best], "lost", (json_int_t)j->lost[best]));
    }
    return json_pack("{s:o,s:s,s:I,s:I}", "ranks", list, "anchor", j->names[anchor], "pairs",
                     (json_int_t)j->n, "failed", (json_int_t)j->n_failed);
}

tn_status tn_eval_ranks(json_t **out, const char *const *files, size_t n, const char *anchor, int64_t seed,
                        tn_error *err)
{
    judged   *j = calloc(1, sizeof *j);
    tn_rank  *ranks = NULL;
    int       i_anchor = 0;
    tn_status status = TN_OK;

    *out = NULL;
    if (j == NULL) return tn_fail(err, TN_NOMEM, "no memory for judged pairs");
    for (size_t i = 0; i < n; i++) TN_GOTO(file_add(j, files[i], err));
    if (j->n == 0) {
        status = tn_fail(err, TN_FORMAT, "%s: no judged pair in it", files[0]);
        goto out;
    }
    if (anchor != NULL) {
        const char *names[MODELS + 1] = { 0 }, *near;
        for (int m = 0; m < j->n_model; m++) names[m] = j->names[m];
        while (i_anchor < j->n_model && strcmp(names[i_anchor], anchor) != 0) i_anchor++;
        if (i_anchor == j->n_model) {
            near = tn_nearest(anchor, names);
            status = tn_fail(err, TN_USAGE, "--anchor: no pair names '%s'; did you mean '%s'?", anchor,
                             near != NULL ? near : names[0]);
            goto out;
        }
    }
    TN_GOTO(linked(j, i_anchor, err));
    if ((ranks = calloc((size_t)j->n_model, sizeof *ranks)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for ranks");
        goto out;
    }
    TN_GOTO(tn_bradley_terry(ranks, j->n_model, j->list, j->n, i_anchor, ROUNDS, CONFIDENCE, (uint64_t)seed,
                             err));
    if ((*out = ranks_json(j, ranks, i_anchor)) == NULL)
        status = tn_fail(err, TN_NOMEM, "no memory for ranks");
out:
    for (int m = 0; m < j->n_model; m++) free(j->names[m]);
    free(j->list);
    free(ranks);
    free(j);
    return status;
}
