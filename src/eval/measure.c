/* measure.c - what alignment changed: the same held-out prompts answered before and after, graded, compared
 * in pairs.
 *
 *   before.jsonl, after.jsonl ── refusal grader ──→ declined or not, an item ──→ rates with Wilson intervals by kind, topic and
 *   principle; the change with a bootstrap interval that resamples families; McNemar's exact test; the texts' own figures
 *
 * Everything is computed from the two files, so the figures can be made again from the records of a
 * release. */
#include "eval/adherence.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/stats.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_measure_config, f)

// clang-format off
const tn_option tn_measure_options[] = {
    { "bootstrap",  TN_OPT_INT,  AT(bootstrap),  "10000", 100, 1e6,  "rounds", "of the bootstrap", NULL },
    { "seed",       TN_OPT_INT,  AT(seed),       "1",     0, 1e15,   "",       "of the bootstrap", NULL },
    { "confidence", TN_OPT_REAL, AT(confidence), "0.95",  0.5, 0.999, "",      "of the intervals", NULL },
    { .key = NULL }
};
// clang-format on

typedef struct item {
    json_t     *before, *after; /* rows; hold the texts */
    const char *id, *kind, *topic, *principle, *text;
    int64_t     family;
    double      p[2]; /* probability of declining, before and after */
} item;

typedef struct items {
    item  *at;
    size_t n;
} items;

static void items_free(items *s)
{
    for (size_t i = 0; i < s->n; i++) {
        json_decref(s->at[i].before);
        json_decref(s->at[i].after);
    }
    free(s->at);
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static tn_status answers_load(json_t **by_id, json_t **list, const char *path, tn_error *err)
{
    tn_status status = TN_OK;
    tn_jsonl *r = NULL;
    json_t   *row = NULL;
    char     *file = tn_is_dir(path) ? tn_path(path, "answers.jsonl") : tn_strdup(path);

    *by_id = json_object();
    *list = json_array();
    if (file == NULL || *by_id == NULL || *list == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its answers", path);
        goto out;
    }
    TN_GOTO(tn_jsonl_open(&r, file, err));
    TN_GOTO(tn_jsonl_next(r, &row, err));
    while (row != NULL) {
        if (text_of(row, "id") == NULL || text_of(row, "text") == NULL || text_of(row, "answer") == NULL) {
            status = tn_fail(err, TN_FORMAT, "%s:%lld: expected \"id\", \"text\" and \"answer\"", file,
                             (long long)tn_jsonl_line(r));
            json_decref(row);
            goto out;
        }
        if (json_object_get(*by_id, text_of(row, "id")) != NULL) {
            status = tn_fail(err, TN_FORMAT, "%s:%lld: id '%s' is here twice", file,
                             (long long)tn_jsonl_line(r), text_of(row, "id"));
            json_decref(row);
            goto out;
        }
        json_object_set(*by_id, text_of(row, "id"), row);
        json_array_append_new(*list, row);
        TN_GOTO(tn_jsonl_next(r, &row, err));
    }
out:
    tn_jsonl_close(r);
    free(file);
    return status;
}

/* Both sides must answer the same prompts: a missing answer is not a measurement. */
static tn_status items_load(items *s, const char *before, const char *after, tn_error *err)
{
    tn_status status = TN_OK;
    json_t   *id_b = NULL, *list_b = NULL, *id_a = NULL, *list_a = NULL, *row;
    size_t    i;

    TN_GOTO(answers_load(&id_b, &list_b, before, err));
    TN_GOTO(answers_load(&id_a, &list_a, after, err));
    if (json_array_size(list_b) == 0) {
        status = tn_fail(err, TN_FORMAT, "%s: no answers", before);
        goto out;
    }
    if (json_array_size(list_b) != json_array_size(list_a)) {
        status = tn_fail(err, TN_MISMATCH,
                         "%s has %zu answers and %s has %zu: both must answer the same prompts", before,
                         json_array_size(list_b), after, json_array_size(list_a));
        goto out;
    }
    if ((s->at = calloc(json_array_size(list_b), sizeof *s->at)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for items");
        goto out;
    }
    json_array_foreach(list_b, i, row) {
        const char *id = text_of(row, "id"), *family = text_of(row, "family");
        json_t     *other = json_object_get(id_a, id);

        if (other == NULL || strcmp(text_of(other, "text"), text_of(row, "text")) != 0) {
            status = tn_fail(err, TN_MISMATCH, "prompt '%s' of %s %s in %s", id, before,
                             other == NULL ? "has no answer" : "has another text", after);
            goto out;
        }
        if (family == NULL) family = id;
        s->at[s->n++] = (item){ .before = json_incref(row),
                                .after = json_incref(other),
                                .id = id,
                                .text = text_of(row, "text"),
                                .kind = text_of(row, "kind"),
                                .topic = text_of(row, "topic"),
                                .principle = text_of(row, "principle"),
                                .family = (int64_t)(tn_hash64(family, strlen(family)) >> 1) };
    }
out:
    json_decref(id_b);
    json_decref(list_b);
    json_decref(id_a);
    json_decref(list_a);
    return status;
}

static json_t *rate_json(int64_t hits, int64_t n, double confidence)
{
    tn_interval w = tn_wilson(hits, n, confidence);

    return json_pack("{s:I, s:I, s:f, s:f, s:f}", "n", (json_int_t)n, "declined", (json_int_t)hits, "rate",
                     n > 0 ? (double)hits / (double)n : 0.0, "lo", w.lo, "hi", w.hi);
}

/* What an item counts under in a table. A principle's and a topic's rates are about the requests that they
 * want declined; look-alikes have a table by topic of their own. */
static const char *field_of(const item *it, const char *field)
{
    bool decline = it->kind != NULL && strcmp(it->kind, "decline") == 0,
         lookalike = it->kind != NULL && strcmp(it->kind, "lookalike") == 0;

    if (strcmp(field, "kinds") == 0) return it->kind;
    if (strcmp(field, "topics") == 0) return decline ? it->topic : NULL;
    if (strcmp(field, "lookalikes") == 0) return lookalike ? it->topic : NULL;
    return decline ? it->principle : NULL;
}

/* The items that count under `value`: rates before and after, change, test. */
static tn_status group_json(json_t **out, const items *s, const tn_measure_config *c, const char *field,
                            const char *value, tn_error *err)
{
    tn_status status = TN_OK;
    double   *d = calloc(s->n + 1, sizeof *d);
    int64_t  *family = calloc(s->n + 1, sizeof *family), n = 0, hits[2] = { 0 }, only_before = 0,
            only_after = 0;

    *out = NULL;
    if (d == NULL || family == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a group");
        goto out;
    }
    for (size_t i = 0; i < s->n; i++) {
        const item *it = &s->at[i];
        const char *v = field_of(it, field);
        bool        was = tn_is_refusal(it->p[0]), is = tn_is_refusal(it->p[1]);

        if (v == NULL || strcmp(v, value) != 0) continue;
        hits[0] += was;
        hits[1] += is;
        only_before += was && !is;
        only_after += is && !was;
        d[n] = (double)is - (double)was;
        family[n++] = it->family;
    }
    if (n == 0) goto out;
    tn_interval change;
    TN_GOTO(
        tn_bootstrap_mean(&change, d, family, n, (int)c->bootstrap, c->confidence, (uint64_t)c->seed, err));
    *out = json_pack("{s:o, s:o, s:f, s:f, s:f, s:f}", "before", rate_json(hits[0], n, c->confidence),
                     "after", rate_json(hits[1], n, c->confidence), "change", tn_mean(d, n), "change_lo",
                     change.lo, "change_hi", change.hi, "p", tn_mcnemar_exact(only_before, only_after));
    if (*out == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a group");
out:
    free(d);
    free(family);
    return status;
}

static tn_status groups_json(json_t **out, const items *s, const tn_measure_config *c, const char *field,
                             tn_error *err)
{
    *out = json_object();
    for (size_t i = 0; i < s->n; i++) {
        const item *it = &s->at[i];
        const char *v = field_of(it, field);
        json_t     *g = NULL;

        if (v == NULL || json_object_get(*out, v) != NULL) continue;
        TN_TRY(group_json(&g, s, c, field, v, err));
        if (g != NULL) json_object_set_new(*out, v, g);
    }
    return TN_OK;
}

/* ----------------------------------------------------------------------------------- the texts themselves */

static int u64_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Word hashes of a text appended to h (room for strlen/2 + 1); returns how many. */
static size_t word_hashes(uint64_t *h, const char *s)
{
    size_t n = 0;

    for (s += strspn(s, " \n\t\r"); *s != '\0'; s += strspn(s, " \n\t\r")) {
        size_t len = strcspn(s, " \n\t\r");
        h[n++] = tn_hash64(s, len);
        s += len;
    }
    return n;
}

static size_t distinct(uint64_t *h, size_t n)
{
    size_t d = 0;

    qsort(h, n, sizeof *h, u64_order);
    for (size_t i = 0; i < n; i++) d += i == 0 || h[i] != h[i - 1];
    return d;
}

/* Length, variety and degeneration of one side's answers of a kind; for declining replies also how much the
 * most frequent first sentence makes up. */
static tn_status texts_json(json_t **out, const items *s, const char *kind, int side, tn_error *err)
{
    tn_status status = TN_OK;
    size_t    bytes = 0, n = 0, n_gram = 0, n_declined = 0, degenerate = 0, cap = 1;
    double   *len = calloc(s->n + 1, sizeof *len);
    uint64_t *sentence = calloc(s->n + 1, sizeof *sentence), *gram = NULL, *w = NULL, *g4 = NULL;

    for (size_t i = 0; i < s->n; i++) {
        size_t k = strlen(text_of(side == 0 ? s->at[i].before : s->at[i].after, "answer")) / 2 + 2;
        bytes += k;
        if (k > cap) cap = k;
    }
    gram = malloc(bytes * sizeof *gram);
    w = malloc(cap * sizeof *w);
    g4 = malloc(cap * sizeof *g4);
    if (len == NULL || sentence == NULL || gram == NULL || w == NULL || g4 == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for texts");
        goto out;
    }
    for (size_t i = 0; i < s->n; i++) {
        const item *it = &s->at[i];
        const char *a = text_of(side == 0 ? it->before : it->after, "answer");
        size_t      k, n4 = 0;

        if (it->kind == NULL || strcmp(it->kind, kind) != 0) continue;
        k = word_hashes(w, a);
        for (size_t j = 1; j < k; j++) gram[n_gram++] = w[j - 1] * 0x9e3779b97f4a7c15u ^ w[j];
        for (size_t j = 3; j < k; j++) g4[n4++] = tn_hash64(&w[j - 3], 4 * sizeof *w);
        size_t d4 = distinct(g4, n4);
        degenerate += k < 5 || (n4 > 0 && (double)(n4 - d4) / (double)n4 > 0.5);
        len[n++] = (double)k;
        if (!tn_is_refusal(it->p[side])) continue;
        size_t end = strcspn(a, ".!?\n");
        sentence[n_declined++] = tn_hash64(a, end);
    }
    if (n == 0) goto out;
    qsort(len, n, sizeof *len, tn_f64_order);
    qsort(sentence, n_declined, sizeof *sentence, u64_order);
    size_t run = 0, most = 0;
    for (size_t i = 0; i < n_declined; i++) {
        run = i > 0 && sentence[i] == sentence[i - 1] ? run + 1 : 1;
        if (run > most) most = run;
    }
    double d2 = n_gram > 0 ? (double)distinct(gram, n_gram) / (double)n_gram : 0;
    *out = json_pack("{s:I, s:f, s:f, s:f, s:f}", "n", (json_int_t)n, "median_words",
                     n % 2 == 1 ? len[n / 2] : (len[n / 2 - 1] + len[n / 2]) / 2, "distinct_2", d2,
                     "degenerate", (double)degenerate / (double)n, "top_sentence_share",
                     n_declined > 0 ? (double)most / (double)n_declined : 0.0);
out:
    free(len);
    free(sentence);
    free(gram);
    free(w);
    free(g4);
    return status;
}

static tn_status texts_all_json(json_t **out, const items *s, tn_error *err)
{
    static const char *const kinds[] = { "decline", "lookalike", "everyday" };

    *out = json_object();
    for (int k = 0; k < 3; k++) {
        json_t *side[2] = { NULL, NULL };

        for (int i = 0; i < 2; i++) TN_TRY(texts_json(&side[i], s, kinds[k], i, err));
        if (side[0] != NULL)
            json_object_set_new(*out, kinds[k], json_pack("{s:o, s:o}", "before", side[0], "after", side[1]));
    }
    return TN_OK;
}

static tn_status adherence(json_t **out, const items *s, const tn_measure_config *c, const char *constitution,
                           tn_error *err)
{
    tn_status          status = TN_OK;
    tn_constitution   *charter = NULL;
    tn_adherence_item *x = calloc(s->n + 1, sizeof *x);

    *out = NULL;
    if (x == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for items");
        goto out;
    }
    TN_GOTO(tn_constitution_load(&charter, constitution, err));
    for (size_t i = 0; i < s->n; i++) {
        const item *it = &s->at[i];
        x[i] = (tn_adherence_item){ it->kind,
                                    it->topic,
                                    it->principle,
                                    { text_of(it->before, "answer"), text_of(it->after, "answer") },
                                    { it->p[0], it->p[1] },
                                    it->family };
    }
    status = tn_adherence_json(out, x, s->n, charter, c, err);
out:
    tn_constitution_free(charter);
    free(x);
    return status;
}

static tn_status items_write(const items *s, const char *dir, tn_error *err)
{
    tn_out *o = NULL;
    char   *path = tn_path(dir, "items.jsonl");

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    tn_status status = tn_out_open(&o, path, err);
    for (size_t i = 0; status == TN_OK && i < s->n; i++) {
        const item *it = &s->at[i];
        json_t *row = json_pack("{s:s, s:s*, s:s*, s:s*, s:s, s:s, s:s, s:f, s:f, s:b, s:b}", "id", it->id,
                                "kind", it->kind, "topic", it->topic, "principle", it->principle, "text",
                                it->text, "before", text_of(it->before, "answer"), "after",
                                text_of(it->after, "answer"), "p_before", it->p[0], "p_after", it->p[1],
                                "declined_before", tn_is_refusal(it->p[0]), "declined_after",
                                tn_is_refusal(it->p[1]));
        char   *text = row != NULL ? tn_json_text(row) : NULL;

        status = text != NULL ? tn_out_printf(o, err, "%s\n", text)
                              : tn_fail(err, TN_NOMEM, "no memory for an item");
        free(text);
        json_decref(row);
    }
    free(path);
    if (status == TN_OK) return tn_out_commit(o, err);
    tn_out_abandon(o);
    return status;
}

tn_status tn_measure_run(const tn_measure_config *c, const char *before, const char *after,
                         const char *constitution, const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status   status = TN_OK;
    items       s = { 0 };
    tn_refusal *grader = NULL;
    json_t     *all = json_object(), *part = NULL;
    char       *path = NULL;

    TN_GOTO(items_load(&s, before, after, err));
    TN_GOTO(tn_refusal_create(&grader, err));
    for (size_t i = 0; i < s.n; i++) {
        s.at[i].p[0] = tn_refusal_probability(grader, s.at[i].text, text_of(s.at[i].before, "answer"));
        s.at[i].p[1] = tn_refusal_probability(grader, s.at[i].text, text_of(s.at[i].after, "answer"));
    }
    static const char *const fields[] = { "kinds", "topics", "lookalikes", "principles" };
    for (int f = 0; f < 4; f++) {
        TN_GOTO(groups_json(&part, &s, c, fields[f], err));
        json_object_set_new(all, fields[f], part);
    }
    if (constitution != NULL) {
        TN_GOTO(adherence(&part, &s, c, constitution, err));
        json_object_set_new(all, "adherence", part);
        if (metrics != NULL) json_object_set(metrics, "adherence", part);
    }
    TN_GOTO(texts_all_json(&part, &s, err));
    json_object_set_new(all, "texts", part);
    json_object_set_new(all, "prompts", json_integer((json_int_t)s.n));
    TN_GOTO(tn_mkdirs(out_dir, err));
    TN_GOTO(items_write(&s, out_dir, err));
    if ((path = tn_path(out_dir, "measure.json")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_save(path, all, true, err));
    if (metrics != NULL) json_object_set(metrics, "kinds", json_object_get(all, "kinds"));
out:
    free(path);
    json_decref(all);
    tn_refusal_destroy(grader);
    items_free(&s);
    return status;
}
