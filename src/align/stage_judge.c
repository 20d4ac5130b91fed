/* stage_judge.c - the stage that measures a judge before it may label anything.
 *
 *   labelled comparisons ── both orders, both wordings of the principle's comparison ──→ verdicts.jsonl (every raw logit)
 *                                                                                  └──→ judge.json (judge_measure.c)
 *   mode direct: each answer rated alone; the difference of the two ratings is the verdict
 *
 * A bad judge is a finding like any other, and the stages that would use it read judge.json and stop.
 * `on_weak: stop` stops here already, in a recipe that has long work before the judge is used. */
#include "align/judge.h"
#include "align/judge_options.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_judge_config, f)
// clang-format off
#define BAR_OPTIONS                                                                                                                             \
    { "floor",       TN_OPT_REAL, AT(bar.floor),       "0.65",  0, 1,      "", "lower bound of accuracy that a labeller needs", NULL },          \
    { "soft",        TN_OPT_REAL, AT(bar.soft),        "0.56",  0, 1,      "", "lower bound that soft, clamped labels need", NULL },             \
    { "consistency", TN_OPT_REAL, AT(bar.consistency), "0.7",   0, 1,      "", "share of comparisons that must not depend on the order", NULL }, \
    { "mass",        TN_OPT_REAL, AT(bar.mass),        "0.5",   0, 1,      "", "probability that must lie on the options", NULL },               \
    { "confidence",  TN_OPT_REAL, AT(bar.confidence),  "0.95",  0.5, 0.999, "", "of the interval", NULL },                                       \
    { "bootstrap",   TN_OPT_INT,  AT(bar.bootstrap),   "10000", 100, 1e6,  "rounds", "of the interval", NULL },                                  \
    { "seed",        TN_OPT_INT,  AT(j.seed),          "1",     0, 1e15,   "", "of reasoning, halves and bootstrap", NULL },                     \
    { "mode",        TN_OPT_CHOICE, AT(mode),          "compare", 0, 0,    "compare|direct", "what is measured: comparisons, or ratings of single answers", NULL }, \
    { "limit",       TN_OPT_INT,  AT(limit),           "0",     0, 1e9,    "comparisons", "at most, evenly spaced; 0: all", NULL }, \
    { "on_weak",     TN_OPT_CHOICE, AT(on_weak),       "keep",  0, 0,      "keep|stop", "when the judge is below its bar: keep the finding, or stop", NULL }

const tn_option tn_align_judge_options[] = {
    TN_JUDGE_OPTIONS_ALL(tn_align_judge_config), BAR_OPTIONS,
    { .key = NULL }
};
const tn_option tn_align_judge_remote_options[] = {
    TN_JUDGE_OPTIONS_ALL(tn_align_judge_config), TN_JUDGE_OPTIONS_REMOTE(tn_align_judge_config), BAR_OPTIONS,
    { .key = NULL }
};
// clang-format on

/* Keeps `limit` comparisons, evenly spaced. */
static void thin_out(tn_labelled_set *s, int64_t limit)
{
    size_t kept = 0, m = s->n, most = (size_t)limit;

    if (limit <= 0 || m <= most) return;
    for (size_t i = 0; i < m; i++) {
        if ((i + 1) * most / m == i * most / m) continue;
        tn_labelled one = s->at[kept];
        s->at[kept++] = s->at[i];
        s->at[i] = one;
    }
    tn_labelled_set tail = { malloc((m - kept) * sizeof *tail.at), m - kept };
    if (tail.at == NULL) return; /* more is judged than asked for: no harm */
    memcpy(tail.at, s->at + kept, tail.n * sizeof *tail.at);
    s->n = kept;
    tn_labelled_free(&tail);
}

/* The two wordings for a comparison's principle; the general one, positive only, where there is none. */
static int criteria_of(const tn_labelled *x, const tn_constitution *c, bool both, const char *out[2])
{
    const tn_principle *p = x->principle != NULL ? tn_constitution_find(c, x->principle) : NULL;

    out[0] = p != NULL ? p->compare_positive : tn_judge_general;
    out[1] = p != NULL ? p->compare_negative : NULL;
    return p != NULL && both ? 2 : 1;
}

static tn_status verdict_add(tn_row_file *rows, const tn_labelled *x, const tn_comparison *c, int n,
                             const tn_verdict *v, tn_error *err)
{
    json_t *asked = json_array();

    for (int i = 0; i < n; i++)
        json_array_append_new(asked, json_pack("{s:s, s:b, s:[[f,f],[f,f]], s:f}", "criterion",
                                               c[i].criterion, "worse", c[i].worse, "logprobs", c[i].l[0][0],
                                               c[i].l[0][1], c[i].l[1][0], c[i].l[1][1], "mass", c[i].mass));
    return tn_row_file_add(rows,
                           json_pack("{s:s, s:s, s:s, s:s, s:s*, s:f, s:o}", "id", x->id, "prompt",
                                     x->request, "chosen", x->chosen, "rejected", x->rejected, "principle",
                                     x->principle, "z", v->z, "asked", asked),
                           err);
}

/* The same by ratings: the better answer's reward minus the other's. There are no slots to prefer. */
static tn_status rated(json_t **out, tn_row_file *rows, const tn_labelled_set *set,
                       const tn_constitution *charter, tn_judge *judge, const tn_judge_bar *bar,
                       size_t *skipped, tn_error *err)
{
    tn_status   status = TN_OK;
    size_t      n = 0;
    tn_verdict *v = calloc(set->n + 1, sizeof *v);
    tn_rating  *r = calloc(2 * set->n + 1, sizeof *r);

    *skipped = 0;
    if (v == NULL || r == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for verdicts");
        goto out;
    }
    for (size_t i = 0; i < set->n; i++) {
        const tn_labelled  *x = &set->at[i];
        const tn_principle *p = x->principle != NULL ? tn_constitution_find(charter, x->principle) : NULL;
        const char         *criterion = p != NULL ? p->text : tn_judge_general_text;

        r[2 * i] = (tn_rating){
            .id = x->id, .request = x->request, .answer = x->chosen, .criterion = criterion
        };
        r[2 * i + 1] = (tn_rating){
            .id = x->id, .request = x->request, .answer = x->rejected, .criterion = criterion
        };
    }
    TN_GOTO(tn_judge_rate(judge, r, 2 * set->n, "judge", err));
    for (size_t i = 0; i < set->n; i++) {
        const tn_labelled *x = &set->at[i];
        const tn_rating   *a = &r[2 * i], *b = a + 1;

        if (a->failed || b->failed) {
            ++*skipped;
            continue;
        }
        v[n++] = (tn_verdict){ .z = a->reward - b->reward,
                               .first = 0.5,
                               .consistent = 1,
                               .mass = (a->mass + b->mass) / 2,
                               .longer = (int64_t)strlen(x->chosen) - (int64_t)strlen(x->rejected),
                               .context = (int64_t)(x->context >> 1) };
        TN_GOTO(
            tn_row_file_add(rows,
                            json_pack("{s:s, s:s, s:s, s:s, s:s*, s:f, s:f, s:f, s:f}", "id", x->id, "prompt",
                                      x->request, "chosen", x->chosen, "rejected", x->rejected, "principle",
                                      x->principle, "z", a->reward - b->reward, "score_chosen", a->score,
                                      "score_rejected", b->score, "mass", (a->mass + b->mass) / 2),
                            err));
    }
    if (10 * *skipped > set->n) {
        status = tn_fail(err, TN_LIMIT, "%zu of %zu labelled comparisons do not fit the judge: %s", *skipped,
                         set->n, r[0].why);
        goto out;
    }
    status = tn_judge_measure(out, v, n, bar, err);
out:
    free(v);
    free(r);
    return status;
}

static tn_status measured(json_t **out, tn_row_file *rows, const tn_labelled_set *set, const tn_comparison *c,
                          const int *first, const tn_judge_bar *bar, size_t *skipped, tn_error *err)
{
    tn_status   status = TN_OK;
    size_t      n = 0;
    const char *why = "";
    tn_verdict *v = calloc(set->n + 1, sizeof *v);

    *skipped = 0;
    if (v == NULL) return tn_fail(err, TN_NOMEM, "no memory for verdicts");
    for (size_t i = 0; i < set->n; i++) {
        int        m = first[i + 1] - first[i];
        tn_verdict one = { .longer = (int64_t)strlen(set->at[i].chosen) -
                                     (int64_t)strlen(set->at[i].rejected),
                           .context = (int64_t)(set->at[i].context >> 1) };
        bool       failed = false;

        for (int k = 0; k < m; k++) {
            const tn_comparison *q = &c[first[i] + k];
            double               d0 = q->l[0][0] - q->l[0][1], d1 = q->l[1][0] - q->l[1][1];

            if (q->failed) why = q->why;
            failed = failed || q->failed;
            one.z += q->z / m;
            one.first += ((d0 > 0) + 0.5 * (d0 == 0) + (d1 > 0) + 0.5 * (d1 == 0)) / (2 * m);
            one.consistent += (d0 > 0 && d1 < 0) || (d0 < 0 && d1 > 0) ? 1.0 / m : 0;
            one.mass += q->mass / m;
        }
        if (failed) {
            ++*skipped;
            continue;
        }
        v[n++] = one;
        TN_GOTO(verdict_add(rows, &set->at[i], &c[first[i]], m, &one, err));
    }
    if (10 * *skipped > set->n) {
        status = tn_fail(err, TN_LIMIT, "%zu of %zu labelled comparisons do not fit the judge: %s", *skipped,
                         set->n, why);
        goto out;
    }
    status = tn_judge_measure(out, v, n, bar, err);
out:
    free(v);
    return status;
}

tn_status tn_align_judge_run(const tn_align_judge_config *c, const tn_judge_source *who, const char *labelled,
                             const char *constitution, const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status        status = TN_OK;
    tn_constitution *charter = NULL;
    tn_labelled_set  set = { 0 };
    tn_judge         judge = { 0 };
    tn_comparison   *q = NULL;
    int             *first = NULL, n = 0;
    tn_row_file      rows = { 0 };
    json_t          *found = NULL;
    char            *path = NULL, hex[TN_SHA256_HEX];
    tn_judge_bar     bar = c->bar;
    size_t           skipped = 0;

    bar.seed = c->j.seed;
    TN_GOTO(tn_constitution_load(&charter, constitution, err));
    TN_GOTO(tn_labelled_read(&set, labelled, err));
    thin_out(&set, c->limit);
    TN_GOTO(tn_judge_open(&judge, who, &c->j, err));
    q = calloc(2 * set.n, sizeof *q);
    first = calloc(set.n + 1, sizeof *first);
    if (q == NULL || first == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu comparisons", set.n);
        goto out;
    }
    bool direct = strcmp(c->mode, "direct") == 0;
    for (size_t i = 0; i < set.n && !direct; i++) {
        const tn_labelled *x = &set.at[i];
        const char        *words[2];
        int                m = criteria_of(x, charter, strcmp(c->j.forms, "both") == 0, words);

        first[i] = n;
        for (int k = 0; k < m; k++)
            q[n++] = (tn_comparison){ .id = x->id,
                                      .request = x->request,
                                      .first = x->chosen,
                                      .second = x->rejected,
                                      .criterion = words[k],
                                      .worse = k == 1 };
    }
    first[set.n] = n;
    if (!direct) TN_GOTO(tn_judge_compare(&judge, &c->j, q, (size_t)n, "judge", err));
    TN_GOTO(tn_row_file_open(&rows, out_dir, "verdicts.jsonl", err));
    TN_GOTO(direct ? rated(&found, &rows, &set, charter, &judge, &bar, &skipped, err)
                   : measured(&found, &rows, &set, q, first, &bar, &skipped, err));
    json_object_set_new(found, "direct", json_boolean(direct));
    tn_digest d = tn_judge_template();
    tn_hex(hex, &d);
    json_object_set_new(found, "judge", json_string(judge.identity));
    json_object_set_new(found, "template_sha256", json_string(hex));
    json_object_set_new(found, "reasoning", json_integer(c->j.reasoning));
    json_object_set_new(found, "skipped", json_integer((json_int_t)skipped));
    if ((path = tn_path(out_dir, "judge.json")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_save(path, found, true, err));
    TN_GOTO(tn_row_file_commit(&rows, err));
    static const char *const told[] = { "accuracy", "consistency", "first_share",
                                        "verdict",  "diagnosis",   "temperature" };
    for (size_t i = 0; metrics != NULL && i < sizeof told / sizeof told[0]; i++)
        json_object_set(metrics, told[i], json_object_get(found, told[i]));
    if (strcmp(c->on_weak, "stop") == 0) {
        tn_judge_trust trust;
        TN_GOTO(tn_judge_trust_load(&trust, out_dir, &judge, &c->j, direct, err));
        if (trust.use == TN_JUDGE_NONE) status = tn_judge_refused(&trust, direct ? "rate" : "label", err);
    }
out:
    free(path);
    json_decref(found);
    tn_row_file_abandon(&rows);
    free(q);
    free(first);
    tn_judge_close(&judge);
    tn_labelled_free(&set);
    tn_constitution_free(charter);
    return status;
}

/* ----------------------------------------------------------------------------------- what it allows later */

tn_status tn_judge_refused(const tn_judge_trust *t, const char *what, tn_error *err)
{
    return tn_fail(err, TN_VERIFY,
                   "this judge must not %s: it is %s. Use contrast pairs (kind contrast) or context "
                   "distillation (kind distill), which need no "
                   "judge, or a larger judge",
                   what, t->why);
}

/* "mumbles, no better than chance". */
static void join(char *out, size_t n, const json_t *list)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(list) && used < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));
        used += (size_t)snprintf(out + used, n - used, "%s%s", i > 0 ? ", " : "", s != NULL ? s : "?");
    }
}

tn_status tn_judge_trust_load(tn_judge_trust *t, const char *dir, const tn_judge *j, const tn_judge_asking *o,
                              bool direct, tn_error *err)
{
    tn_status status = TN_OK;
    json_t   *v = NULL;
    char     *path = tn_is_dir(dir) ? tn_path(dir, "judge.json") : tn_strdup(dir), hex[TN_SHA256_HEX];
    tn_digest d = tn_judge_template();

    memset(t, 0, sizeof *t);
    tn_hex(hex, &d);
    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_json_load(&v, path, (size_t)16 << 20, err));
    const json_t *acc = json_object_get(v, "accuracy");
    const char   *who = NULL, *verdict = NULL, *template = NULL;
    int64_t       reasoning = 0;
    bool          was_direct = false;
    TN_GOTO(tn_json_str(v, "judge", &who, path, err));
    TN_GOTO(tn_json_str(v, "verdict", &verdict, path, err));
    TN_GOTO(tn_json_str(v, "template_sha256", &template, path, err));
    TN_GOTO(tn_json_int_or(v, "reasoning", 0, 1 << 20, 0, &reasoning, path, err));
    TN_GOTO(tn_json_bool_or(v, "direct", false, &was_direct, path, err));
    TN_GOTO(tn_json_real_or(v, "temperature", 1, &t->temperature, path, err));
    TN_GOTO(tn_json_real_or(v, "consistency", 0, &t->consistency, path, err));
    if (!json_is_object(acc)) {
        status = tn_fail(err, TN_FORMAT, "%s: no \"accuracy\": expected the output of a judge stage", path);
        goto out;
    }
    TN_GOTO(tn_json_real_or(acc, "mean", 0, &t->accuracy, path, err));
    TN_GOTO(tn_json_real_or(acc, "lo", 0, &t->lo, path, err));
    TN_GOTO(tn_json_real_or(acc, "hi", 1, &t->hi, path, err));
    snprintf(t->identity, sizeof t->identity, "%s", who);
    snprintf(t->template, sizeof t->template, "%s", template);
    if (strcmp(who, j->identity) != 0) {
        status = tn_fail(err, TN_MISMATCH,
                         "%s measured the judge '%s', and '%s' is to label: measure the one that is used",
                         path, who, j->identity);
        goto out;
    }
    if (strcmp(template, hex) != 0 || (reasoning > 0) != (o->reasoning > 0)) {
        status = tn_fail(err, TN_MISMATCH, "%s was measured with %s: run the judge stage again", path,
                         strcmp(template, hex) != 0 ? "another wording of the questions"
                         : reasoning > 0            ? "reasoning, and none is asked for now"
                                                    : "no reasoning");
        goto out;
    }
    if (was_direct != direct) {
        status = tn_fail(err, TN_MISMATCH,
                         "%s measured this judge %s, and here it %s: measure it with mode: %s", path,
                         was_direct ? "rating" : "comparing", direct ? "rates" : "compares",
                         direct ? "direct" : "compare");
        goto out;
    }
    t->use = strcmp(verdict, "labels") == 0 ? TN_JUDGE_LABELS
             : strcmp(verdict, "soft") == 0 ? TN_JUDGE_SOFT
                                            : TN_JUDGE_NONE;
    if (t->temperature <= 0) {
        status = tn_fail(err, TN_FORMAT, "%s: temperature is %g: expected above 0", path, t->temperature);
        goto out;
    }
    char words[200];
    join(words, sizeof words, json_object_get(v, "diagnosis"));
    snprintf(t->why, sizeof t->why,
             "right in %.0f %% of labelled comparisons (95 %% interval %.0f to %.0f), %.0f %% of them the "
             "same in both orders; "
             "diagnosis: %s",
             100 * t->accuracy, 100 * t->lo, 100 * t->hi, 100 * t->consistency, words);
out:
    json_decref(v);
    free(path);
    return status;
}
