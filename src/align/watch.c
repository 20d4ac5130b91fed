/* watch.c - how a policy changes while it is trained, and where it should have stopped.
 *
 *   checkpoints of a training run ── an adapter each ──→ samples on prompts that training does not see ──→ curves.jsonl
 *     KL to the reference (k3, a token), entropy (mean of -log pi over its own samples), words, repetition, distinct-2, degenerate
 *     answers, refusals by kind of prompt, share of answers that pass each principle's check
 *   rules on KL and collapse ── the newest checkpoint before the first that breaks one ──→ adapter/, watch.json
 *
 * The run itself stays a pure function of its data: nothing here changes a step. Stopping is choosing the
 * checkpoint at which the run would have been stopped, so a replay proves that checkpoint like any other. */
#include "align/rows.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/str.h"
#include "train/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_watch_config, f)

// clang-format off
const tn_option tn_align_watch_options[] = {
    TN_ALIGN_SAMPLING_OPTIONS(tn_align_watch_config, "64", "1", "dev"),
    { "points",         TN_OPT_INT,  AT(points),         "5",    1, 1000, "checkpoints", "looked at, evenly spaced, the last one among them", NULL },
    { "max_kl",         TN_OPT_REAL, AT(max_kl),         "1",    0, 1e6,  "nats", "a token, from the reference: more stops", NULL },
    { "max_length",     TN_OPT_REAL, AT(max_length),     "0.5",  0, 1e6,  "", "change of the mean words of harmless answers, as a share, that stops", NULL },
    { "max_repetition", TN_OPT_REAL, AT(max_repetition), "0.1",  0, 1,    "", "rise of the share of repeated 4-grams that stops", NULL },
    { "min_distinct",   TN_OPT_REAL, AT(min_distinct),   "0.7",  0, 1,    "", "share of the reference's distinct-2 that must be left", NULL },
    { "max_refusals",   TN_OPT_REAL, AT(max_refusals),   "0.25", 0, 1,    "", "rise of refusals of harmless prompts that stops", NULL },
    { .key = NULL }
};
// clang-format on

typedef struct point {
    int64_t step; /* 0: the reference */
    double  kl, entropy, words, repetition, distinct, degenerate, refused_harmless, refused_harmful;
    json_t *checks;   /* {principle: share that passes} */
    char    why[200]; /* the rule it breaks, or "" */
} point;

typedef struct watcher {
    const tn_align_watch_config *c;
    const tn_constitution       *charter; /* or NULL */
    tn_prompts                   set;
    tn_align_engine              ref;
    int32_t                    **ids; /* rendered prompts */
    size_t                      *n_id;
    tn_result                   *r;
    tn_error                    *err;
} watcher;

static tn_status prompts_render(watcher *w)
{
    const tn_chat *chat = NULL;
    bool           told = w->c->s.system != NULL && w->c->s.system[0] != '\0';

    w->ids = calloc(w->set.n, sizeof *w->ids);
    w->n_id = calloc(w->set.n, sizeof *w->n_id);
    w->r = calloc(w->set.n, sizeof *w->r);
    if (w->ids == NULL || w->n_id == NULL || w->r == NULL)
        return tn_fail(w->err, TN_NOMEM, "no memory for %zu prompts", w->set.n);
    TN_TRY(tn_model_chat(w->ref.model, &chat, w->err));
    for (size_t i = 0; i < w->set.n; i++) {
        tn_message m[2] = { { "system", w->c->s.system }, { "user", w->set.at[i].text } };
        size_t     cap = 0;
        TN_TRY(tn_chat_render(tn_model_tokenizer(w->ref.model), chat, told ? m : m + 1, told ? 2 : 1,
                              TN_TURN_OPEN, &w->ids[i], NULL, &w->n_id[i], &cap, w->err));
    }
    return TN_OK;
}

/* The reference's log-probabilities of what the policy said: KL by k3 = e^d - 1 - d, d = log ref - log pi. */
static tn_status divergence(watcher *w, point *p)
{
    tn_status   status = TN_OK;
    size_t      n = w->set.n;
    tn_request *req = calloc(n, sizeof *req);
    tn_result  *ref = calloc(n, sizeof *ref);
    double      k3 = 0, nll = 0;
    int64_t     tokens = 0;

    if (req == NULL || ref == NULL) {
        status = tn_fail(w->err, TN_NOMEM, "no memory for %zu answers", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        req[i] = (tn_request){ .prompt = w->ids[i],
                               .n_prompt = (int64_t)w->n_id[i],
                               .forced = w->r[i].tokens,
                               .n_forced = w->r[i].n,
                               .sampling = { .max_tokens = 0 } };
    TN_GOTO(tn_engine_run(w->ref.engine, req, ref, (int64_t)n, NULL, w->err));
    for (size_t i = 0; i < n; i++) {
        if (ref[i].status != TN_OK) {
            status = tn_fail(w->err, ref[i].status, "prompt %s: %s", w->set.at[i].id, ref[i].message);
            goto out;
        }
        for (int64_t t = 0; t < w->r[i].n; t++, tokens++) {
            double d = (double)ref[i].logprobs[t] - (double)w->r[i].logprobs[t];
            k3 += tn_exp(d < 30 ? d : 30) - 1 - d;
            nll -= (double)w->r[i].logprobs[t];
        }
    }
    p->kl = tokens > 0 ? k3 / (double)tokens : 0;
    p->entropy = tokens > 0 ? nll / (double)tokens : 0;
out:
    for (size_t i = 0; ref != NULL && i < n; i++) tn_result_free(&ref[i]);
    free(ref);
    free(req);
    return status;
}

static int u64_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Different pairs of words among all pairs, over all harmless answers. */
static tn_status distinct_2(const watcher *w, double *out)
{
    size_t cap = 1, n = 0, d = 0;

    for (size_t i = 0; i < w->set.n; i++) cap += strlen(w->r[i].text) / 2 + 1;
    uint64_t *gram = malloc(cap * sizeof *gram);
    if (gram == NULL) return tn_fail(w->err, TN_NOMEM, "no memory for pairs of words");
    for (size_t i = 0; i < w->set.n; i++) {
        uint64_t last = 0;
        bool     first = true;

        if (w->set.at[i].kind == TN_PROMPT_DECLINE) continue;
        for (const char *s = w->r[i].text + strspn(w->r[i].text, " \n\t\r"); *s != '\0';
             s += strspn(s, " \n\t\r")) {
            size_t   len = strcspn(s, " \n\t\r");
            uint64_t h = tn_hash64(s, len);
            if (!first) gram[n++] = last * 0x9e3779b97f4a7c15u ^ h;
            first = false;
            last = h;
            s += len;
        }
    }
    qsort(gram, n, sizeof *gram, u64_order);
    for (size_t i = 0; i < n; i++) d += i == 0 || gram[i] != gram[i - 1];
    *out = n > 0 ? (double)d / (double)n : 0;
    free(gram);
    return TN_OK;
}

static tn_status checks_count(const watcher *w, point *p)
{
    if ((p->checks = json_object()) == NULL) return tn_fail(w->err, TN_NOMEM, "no memory for verdicts");
    for (size_t k = 0; w->charter != NULL && k < w->charter->n_principle; k++) {
        const tn_principle *q = &w->charter->principles[k];
        int64_t             n = 0, passed = 0;

        for (size_t i = 0; i < w->set.n; i++) {
            const char *const topics[] = { w->set.at[i].topic };
            bool              has, pass;

            if (!tn_principle_applies(q, topics, 1)) continue;
            TN_TRY(tn_principle_check(q, w->r[i].text, &has, &pass, w->err));
            if (!has && q->stance == TN_STANCE_DECLINE && w->set.at[i].kind == TN_PROMPT_DECLINE &&
                (w->set.at[i].principle == NULL || strcmp(w->set.at[i].principle, q->id) == 0)) {
                has = true;
                pass = tn_looks_declining(w->r[i].text);
            }
            n += has;
            passed += has && pass;
        }
        if (n > 0) json_object_set_new(p->checks, q->id, json_real((double)passed / (double)n));
    }
    return TN_OK;
}

static tn_status texts_count(watcher *w, point *p)
{
    int64_t n = (int64_t)w->set.n, harmless = 0, harmful = 0;

    for (size_t i = 0; i < w->set.n; i++) {
        const char *s = w->r[i].text;
        bool        declines = tn_looks_declining(s);
        double      rep = tn_repetition(s);

        p->repetition += rep / (double)n;
        p->degenerate += (tn_words(s) < 5 || rep > 0.5) / (double)n;
        if (w->set.at[i].kind == TN_PROMPT_DECLINE) {
            harmful++;
            p->refused_harmful += declines;
            continue;
        }
        harmless++;
        p->words += (double)tn_words(s);
        p->refused_harmless += declines;
    }
    if (harmless > 0) {
        p->words /= (double)harmless;
        p->refused_harmless /= (double)harmless;
    }
    if (harmful > 0) p->refused_harmful /= (double)harmful;
    TN_TRY(distinct_2(w, &p->distinct));
    return checks_count(w, p);
}

/* The rule that the point breaks, in words. */
static void rules_apply(const tn_align_watch_config *c, const point *ref, point *p)
{
    if (p->kl > c->max_kl)
        snprintf(p->why, sizeof p->why, "KL to the reference is %.3f a token, over %.3f", p->kl, c->max_kl);
    else if (ref->words > 0 && fabs(p->words / ref->words - 1) > c->max_length)
        snprintf(p->why, sizeof p->why, "harmless answers have %.0f words, the reference's %.0f", p->words,
                 ref->words);
    else if (p->repetition > ref->repetition + c->max_repetition)
        snprintf(p->why, sizeof p->why, "repeated 4-grams rose from %.3f to %.3f", ref->repetition,
                 p->repetition);
    else if (p->distinct < c->min_distinct * ref->distinct)
        snprintf(p->why, sizeof p->why, "distinct-2 fell from %.3f to %.3f", ref->distinct, p->distinct);
    else if (p->refused_harmless > ref->refused_harmless + c->max_refusals)
        snprintf(p->why, sizeof p->why, "refusals of harmless prompts rose from %.0f %% to %.0f %%",
                 100 * ref->refused_harmless, 100 * p->refused_harmless);
}

/* Samples at one point: the reference (adapter NULL) or a checkpoint's adapter. */
static tn_status point_measure(watcher *w, tn_align_engine *a, point *p)
{
    tn_status   status = TN_OK;
    size_t      n = w->set.n;
    tn_request *req = calloc(n, sizeof *req);
    tn_sampling s = tn_align_sampling_of(&w->c->s);

    if (req == NULL) return tn_fail(w->err, TN_NOMEM, "no memory for %zu prompts", n);
    for (size_t i = 0; i < n; i++) {
        tn_result_free(&w->r[i]);
        memset(&w->r[i], 0, sizeof w->r[i]);
        req[i] = (tn_request){ .prompt = w->ids[i],
                               .n_prompt = (int64_t)w->n_id[i],
                               .sampling = s,
                               .sample_id = tn_align_sample_id(w->set.at[i].id, "watch") };
    }
    TN_GOTO(tn_engine_run(a->engine, req, w->r, (int64_t)n, "watch", w->err));
    for (size_t i = 0; i < n; i++)
        if (w->r[i].status != TN_OK) {
            status = tn_fail(w->err, w->r[i].status, "prompt %s: %s", w->set.at[i].id, w->r[i].message);
            goto out;
        }
    TN_GOTO(divergence(w, p));
    status = texts_count(w, p);
out:
    free(req);
    return status;
}

/* -------------------------------------------------------------------------------------------- checkpoints */

static int i64_order(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Steps of the whole checkpoints of a run, ascending. made: free. */
static tn_status steps_find(int64_t **out, size_t *n, const char *run, tn_error *err)
{
    static const char tail[] = "/manifest.json";
    char            **list = NULL;
    size_t            n_file = 0;

    *n = 0;
    TN_TRY(tn_list_files(&list, &n_file, run, err));
    *out = calloc(n_file + 1, sizeof **out);
    for (size_t i = 0; *out != NULL && i < n_file; i++) {
        char *end = NULL;
        if (!tn_starts_with(list[i], "step-") || !tn_ends_with(list[i], tail)) continue;
        int64_t step = strtoll(list[i] + 5, &end, 10);
        if (end != NULL && strcmp(end, tail) == 0) (*out)[(*n)++] = step;
    }
    tn_list_free(list, n_file);
    if (*out == NULL) return tn_fail(err, TN_NOMEM, "no memory for a list of checkpoints");
    qsort(*out, *n, sizeof **out, i64_order);
    return *n > 0 ? TN_OK
                  : tn_fail(err, TN_NOTFOUND,
                            "%s holds no checkpoint: train with checkpoint_every and keep_last so that there "
                            "is something to watch",
                            run);
}

/* Keeps `points` of them, evenly spaced, the last one among them. */
static void steps_thin(int64_t *steps, size_t *n, size_t points)
{
    size_t kept = 0;

    for (size_t i = 0; i < *n; i++)
        if (*n <= points || (i + 1) * points / *n != i * points / *n) steps[kept++] = steps[i];
    *n = kept;
}

static json_t *point_json(const point *p)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:O, s:s}", "step", (json_int_t)p->step,
                     "kl", p->kl, "entropy", p->entropy, "words", p->words, "repetition", p->repetition,
                     "distinct_2", p->distinct, "degenerate", p->degenerate, "refused_harmless",
                     p->refused_harmless, "refused_harmful", p->refused_harmful, "principles", p->checks,
                     "breaks", p->why);
}

/* Exports the checkpoint's adapter to `to` and measures it. */
static tn_status checkpoint_measure(watcher *w, const char *model, tn_profile profile, const char *run,
                                    int64_t step, const char *to, point *p)
{
    tn_status         status = TN_OK;
    tn_align_engine   a = { 0 };
    tn_digest         root;
    char             *dir = tn_strf("%s/step-%lld", run, (long long)step), *last = tn_path(run, "adapter");
    tn_export_options o = { .model = model, .adapter = last };

    if (dir == NULL || last == NULL) {
        status = tn_fail(w->err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    if (!tn_exists(last)) {
        status = tn_fail(w->err, TN_UNSUPPORTED,
                         "%s is no LoRA run (it has no adapter/): watch looks at adapters", run);
        goto out;
    }
    TN_GOTO(tn_train_export(dir, to, &o, &root, w->err));
    TN_GOTO(tn_align_engine_open(&a, model, to, profile, w->c->s.batch, NULL, NULL, w->err));
    status = point_measure(w, &a, p);
out:
    tn_align_engine_close(&a);
    free(dir);
    free(last);
    return status;
}

static tn_status watched_write(const point *p, size_t n, size_t chosen, const char *out_dir, json_t *metrics,
                               tn_error *err)
{
    tn_status   status = TN_OK;
    tn_row_file rows = { 0 };
    char       *path = tn_path(out_dir, "watch.json");
    json_t     *v = NULL;
    bool        stopped = chosen + 1 < n;

    TN_GOTO(tn_row_file_open(&rows, out_dir, "curves.jsonl", err));
    for (size_t i = 0; i < n; i++) TN_GOTO(tn_row_file_add(&rows, point_json(&p[i]), err));
    TN_GOTO(tn_row_file_commit(&rows, err));
    v = json_pack("{s:I, s:b, s:s, s:o, s:o}", "step", (json_int_t)p[chosen].step, "stopped", stopped, "why",
                  stopped ? p[chosen + 1].why : "", "reference", point_json(&p[0]), "chosen",
                  point_json(&p[chosen]));
    if (path == NULL || v == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a summary");
        goto out;
    }
    TN_GOTO(tn_json_save(path, v, true, err));
    static const char *const told[] = { "step", "stopped", "why" };
    for (size_t i = 0; metrics != NULL && i < 3; i++)
        json_object_set(metrics, told[i], json_object_get(v, told[i]));
out:
    tn_row_file_abandon(&rows);
    json_decref(v);
    free(path);
    return status;
}

tn_status tn_align_watch_run(const tn_align_watch_config *c, tn_profile profile, const char *model,
                             const char *run, const char *prompts, const char *constitution, const char *work,
                             const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status        status = TN_OK;
    tn_constitution *charter = NULL;
    watcher          w = { .c = c, .err = err };
    int64_t         *steps = NULL;
    size_t           n = 0, seen = 0, chosen = 0;
    point           *p = NULL;
    char            *to = NULL, *from = NULL, *kept = tn_path(out_dir, "adapter");

    if (kept == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (constitution != NULL) TN_GOTO(tn_constitution_load(&charter, constitution, err));
    w.charter = charter;
    TN_GOTO(tn_prompts_select(&w.set, prompts, &c->s, err));
    TN_GOTO(steps_find(&steps, &n, run, err));
    steps_thin(steps, &n, (size_t)c->points);
    TN_GOTO(tn_align_engine_open(&w.ref, model, NULL, profile, c->s.batch, NULL, NULL, err));
    TN_GOTO(prompts_render(&w));
    if ((p = calloc(n + 1, sizeof *p)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu points", n);
        goto out;
    }
    TN_GOTO(point_measure(&w, &w.ref, &p[seen++]));
    for (size_t i = 0; i < n && p[seen - 1].why[0] == '\0'; i++) {
        free(to);
        if ((to = tn_strf("%s/at-%lld", work, (long long)steps[i])) == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a path");
            goto out;
        }
        TN_GOTO(tn_remove_tree(to, err));
        p[seen].step = steps[i];
        TN_GOTO(checkpoint_measure(&w, model, profile, run, steps[i], to, &p[seen]));
        rules_apply(c, &p[0], &p[seen]);
        if (p[seen].why[0] == '\0') {
            chosen = seen;
            free(from);
            from = tn_strdup(to);
        } else tn_log(TN_LOG_WARN, "watch: stopped at step %lld: %s", (long long)steps[i], p[seen].why);
        seen++;
    }
    if (chosen == 0) {
        status = tn_fail(err, TN_VERIFY,
                         "the run breaks a rule by its first checkpoint, step %lld: %s. Lower lr or raise "
                         "beta, or keep earlier checkpoints "
                         "(checkpoint_every)",
                         (long long)p[1].step, p[1].why);
        goto out;
    }
    TN_GOTO(tn_mkdirs(out_dir, err));
    char **list = NULL;
    size_t n_file = 0;
    TN_GOTO(tn_mkdirs(kept, err));
    status = from != NULL ? tn_list_files(&list, &n_file, from, err)
                          : tn_fail(err, TN_NOMEM, "no memory for a path");
    for (size_t i = 0; status == TN_OK && i < n_file; i++) {
        char *a = tn_path(from, list[i]), *b = tn_path(kept, list[i]);
        status = a != NULL && b != NULL ? tn_file_clone(a, b, false, err)
                                        : tn_fail(err, TN_NOMEM, "no memory for a path");
        free(a);
        free(b);
    }
    tn_list_free(list, n_file);
    if (status == TN_OK) status = watched_write(p, seen, chosen, out_dir, metrics, err);
out:
    for (size_t i = 0; p != NULL && i < seen; i++) json_decref(p[i].checks);
    for (size_t i = 0; w.r != NULL && i < w.set.n; i++) tn_result_free(&w.r[i]);
    for (size_t i = 0; w.ids != NULL && i < w.set.n; i++) free(w.ids[i]);
    free(w.r);
    free(w.ids);
    free(w.n_id);
    free(p);
    free(steps);
    free(to);
    free(from);
    free(kept);
    tn_align_engine_close(&w.ref);
    tn_prompts_free(&w.set);
    tn_constitution_free(charter);
    return status;
}
