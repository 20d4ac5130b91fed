/* why.c - which training records lie nearest to a prompt, by the model's own representation.
 *
 *   records.jsonl + released model ── index ──→ index.safetensors  hidden [n_record][n_embd] f32, unit length after the mean
 *                                                                  is taken off; mean [n_embd]
 *   prompt ── the same layer, last token of the prompt ──→ cosine with every record ──→ the nearest ones, with their principle
 *
 * The layer is in the middle of the network by default: there a model tells kinds of requests apart best. */
#include "align/rows.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_index_config, f)

// clang-format off
const tn_option tn_align_index_options[] = {
    { "layer", TN_OPT_INT, AT(layer), "-1", -1, 4095, "", "whose output is compared; -1: the middle one", NULL },
    { "batch", TN_OPT_INT, AT(batch), "16",  1, 1024, "streams", "prompts read together (no effect on the result)", NULL },
    { .key = NULL }
};
// clang-format on

/* Hidden states of prompts: out [n][n_embd] f32, made: free. */
static tn_status hidden_states(float **out, const char *model, tn_profile profile, int64_t *layer,
                               int64_t batch, const char *const *prompts, size_t n, int64_t *n_embd,
                               tn_error *err)
{
    tn_status         status = TN_OK;
    tn_model         *m = NULL;
    tn_engine        *e = NULL;
    tn_model_options  mo = { .profile = profile, .weights = true, .pack = true };
    tn_engine_options eo = { .n_batch = batch, .prefix_reuse = true };
    tn_message       *msg = calloc(n + 1, sizeof *msg);
    tn_dialogue      *d = calloc(n + 1, sizeof *d);
    tn_result        *r = calloc(n + 1, sizeof *r);
    tn_sampling       s = tn_sampling_default();

    *out = NULL;
    s.max_tokens = 1;
    s.temperature = 0;
    if (msg == NULL || d == NULL || r == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu prompts", n);
        goto out;
    }
    TN_GOTO(tn_model_open(&m, model, &mo, err));
    const tn_hparams *h = tn_model_hparams(m);
    if (*layer < 0) *layer = h->n_layer / 2;
    if (*layer >= h->n_layer) {
        status = tn_fail(err, TN_USAGE, "layer is %lld: the model has layers 0 to %lld", (long long)*layer,
                         (long long)h->n_layer - 1);
        goto out;
    }
    eo.hidden_layer = (int)*layer;
    *n_embd = h->n_embd;
    TN_GOTO(tn_engine_create(&e, m, &eo, err));
    for (size_t i = 0; i < n; i++) {
        msg[i] = (tn_message){ "user", prompts[i] };
        d[i] = (tn_dialogue){ &msg[i], 1, i };
    }
    TN_GOTO(tn_align_sample(e, m, d, n, &s, r, n > 1 ? "index" : NULL, err));
    if ((*out = malloc((n + 1) * (size_t)*n_embd * sizeof(float))) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for hidden states");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        if (r[i].status != TN_OK || r[i].hidden == NULL) {
            status = tn_fail(err, r[i].status != TN_OK ? r[i].status : TN_MISMATCH, "prompt %zu: %s", i + 1,
                             r[i].status != TN_OK ? r[i].message : "no hidden state");
            goto out;
        }
        memcpy(*out + i * (size_t)*n_embd, r[i].hidden, (size_t)*n_embd * sizeof(float));
    }
out:
    if (status != TN_OK) {
        free(*out);
        *out = NULL;
    }
    for (size_t i = 0; r != NULL && i < n; i++) tn_result_free(&r[i]);
    free(r);
    free(d);
    free(msg);
    tn_engine_destroy(e);
    tn_model_close(m);
    return status;
}

/* Takes the mean off and brings to unit length; sums in double, in order. A zero vector stays zero. */
static void centre(float *v, const float *mean, int64_t n)
{
    double sq = 0;

    for (int64_t i = 0; i < n; i++) {
        v[i] -= mean[i];
        sq += (double)v[i] * (double)v[i];
    }
    for (int64_t i = 0; sq > 0 && i < n; i++) v[i] = (float)((double)v[i] / sqrt(sq));
}

tn_status tn_align_index_run(const tn_align_index_config *c, tn_profile profile, const char *model,
                             const char *records, const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status    status = TN_OK;
    tn_row_map   rows = { 0 };
    const char **prompts = NULL;
    float       *hidden = NULL, *mean = NULL;
    int64_t      n_embd = 0, layer = c->layer;
    char        *path = NULL, number[24];
    json_t      *meta = NULL;

    TN_GOTO(tn_row_map_load(&rows, records, "records.jsonl", err));
    size_t n = json_array_size(rows.list);
    if (n == 0) {
        status = tn_fail(err, TN_FORMAT, "%s: no records to index", records);
        goto out;
    }
    if ((prompts = calloc(n, sizeof *prompts)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu records", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        if ((prompts[i] = tn_row_text(json_array_get(rows.list, i), "prompt")) == NULL) {
            status = tn_fail(err, TN_FORMAT, "%s: record %zu has no \"prompt\"", records, i + 1);
            goto out;
        }
    TN_GOTO(hidden_states(&hidden, model, profile, &layer, c->batch, prompts, n, &n_embd, err));
    if ((mean = calloc((size_t)n_embd, sizeof *mean)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for an index");
        goto out;
    }
    for (int64_t k = 0; k < n_embd; k++) {
        double s = 0;
        for (size_t i = 0; i < n; i++) s += (double)hidden[i * (size_t)n_embd + (size_t)k];
        mean[k] = (float)(s / (double)n);
    }
    for (size_t i = 0; i < n; i++) centre(hidden + i * (size_t)n_embd, mean, n_embd);
    tn_st_entry entries[2] = {
        { .name = "hidden", .dtype = TN_F32, .n_dim = 2, .shape = { (int64_t)n, n_embd }, .data = hidden },
        { .name = "mean", .dtype = TN_F32, .n_dim = 1, .shape = { n_embd }, .data = mean },
    };
    snprintf(number, sizeof number, "%lld", (long long)layer);
    meta = json_pack("{s:s, s:s}", "format", "tenet/index/v1", "layer", number);
    path = tn_path(out_dir, "index.safetensors");
    if (meta == NULL || path == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for an index");
        goto out;
    }
    TN_GOTO(tn_mkdirs(out_dir, err));
    TN_GOTO(tn_st_write(path, entries, 2, meta, err));
    if (metrics != NULL) json_object_set_new(metrics, "records", json_integer((json_int_t)n));
out:
    json_decref(meta);
    free(path);
    free(mean);
    free(hidden);
    free(prompts);
    tn_row_map_free(&rows);
    return status;
}

typedef struct near {
    double like;
    size_t i;
} near;

static int near_order(const void *a, const void *b)
{
    const near *x = a, *y = b;

    if (x->like != y->like) return x->like > y->like ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

tn_status tn_align_nearest(json_t **out, const char *model, tn_profile profile, const char *records,
                           const char *index, const char *prompt, int64_t k, tn_error *err)
{
    tn_status   status = TN_OK;
    tn_row_map  rows = { 0 };
    tn_st_file *f = NULL;
    float      *hidden = NULL;
    near       *order = NULL;
    int64_t     n_embd = 0, layer = -1;

    *out = NULL;
    TN_GOTO(tn_row_map_load(&rows, records, "records.jsonl", err));
    TN_GOTO(tn_st_open(&f, index, err));
    const tn_st_entry *all = tn_st_find(f, "hidden"), *mean = tn_st_find(f, "mean");
    const char        *word = json_string_value(json_object_get(tn_st_metadata(f), "layer"));
    size_t             n = json_array_size(rows.list);
    if (all == NULL || mean == NULL || all->dtype != TN_F32 || mean->dtype != TN_F32 || all->n_dim != 2 ||
        mean->n_dim != 1 || all->shape[0] != (int64_t)n || all->shape[1] != mean->shape[0] || word == NULL ||
        !tn_parse_i64(word, &layer)) {
        status = tn_fail(err, TN_MISMATCH,
                         "%s is no index of the %zu records in %s: make it anew with the stage kind 'index'",
                         index, n, records);
        goto out;
    }
    TN_GOTO(hidden_states(&hidden, model, profile, &layer, 1, &prompt, 1, &n_embd, err));
    if (n_embd != mean->shape[0]) {
        status = tn_fail(err, TN_MISMATCH, "%s was made by a model of width %lld; this one has %lld", index,
                         (long long)mean->shape[0], (long long)n_embd);
        goto out;
    }
    centre(hidden, mean->data, n_embd);
    if ((order = calloc(n + 1, sizeof *order)) == NULL || (*out = json_array()) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for records");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const float *v = (const float *)all->data + i * (size_t)n_embd;
        double       dot = 0;
        for (int64_t e = 0; e < n_embd; e++) dot += (double)v[e] * (double)hidden[e];
        order[i] = (near){ dot, i };
    }
    qsort(order, n, sizeof *order, near_order);
    for (size_t i = 0; i < n && (int64_t)i < k; i++) {
        json_t *row = json_copy(json_array_get(rows.list, order[i].i));
        if (row == NULL || json_object_set_new(row, "similarity", json_real(order[i].like)) != 0 ||
            json_array_append_new(*out, row) != 0) {
            status = tn_fail(err, TN_NOMEM, "no memory for records");
            goto out;
        }
    }
out:
    if (status != TN_OK) {
        json_decref(*out);
        *out = NULL;
    }
    free(order);
    free(hidden);
    tn_st_close(f);
    tn_row_map_free(&rows);
    return status;
}

/* ------------------------------------------------------------------------------------- what stands behind */

typedef struct share {
    const char *id;
    double      sum;
    int64_t     n;
} share;

static int by_share(const void *a, const void *b)
{
    const share *x = a, *y = b;

    if (x->sum != y->sum) return x->sum > y->sum ? -1 : 1;
    return strcmp(x->id, y->id);
}

tn_status tn_align_involved(json_t **out, const json_t *nearest, tn_error *err)
{
    size_t n = json_array_size(nearest), m = 0;
    share *s = calloc(n + 1, sizeof *s);
    double total = 0;

    *out = json_array();
    if (s == NULL || *out == NULL) {
        free(s);
        return tn_fail(err, TN_NOMEM, "no memory for principles");
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(nearest, i);
        const char   *id = tn_row_text(row, "principle");
        double        like = json_number_value(json_object_get(row, "similarity"));
        size_t        k = 0;

        if (id == NULL || like <= 0) continue;
        while (k < m && strcmp(s[k].id, id) != 0) k++;
        if (k == m) s[m++].id = id;
        s[k].sum += like;
        s[k].n++;
        total += like;
    }
    qsort(s, m, sizeof *s, by_share);
    for (size_t k = 0; k < m; k++)
        json_array_append_new(*out, json_pack("{s:s, s:f, s:I}", "principle", s[k].id, "share",
                                              s[k].sum / total, "records", (json_int_t)s[k].n));
    free(s);
    return TN_OK;
}

tn_status tn_align_add_critiques(json_t *nearest, const char *revisions, tn_error *err)
{
    tn_row_map m = { 0 };

    TN_TRY(tn_row_map_load(&m, revisions, "revisions.jsonl", err));
    for (size_t i = 0; i < json_array_size(nearest); i++) {
        json_t       *row = json_array_get(nearest, i);
        const json_t *chain = tn_row_map_get(&m, tn_row_text(row, "id")),
                     *rounds = json_object_get(chain, "rounds");
        const json_t *last = json_array_get(rounds,
                                            json_array_size(rounds) > 0 ? json_array_size(rounds) - 1 : 0);
        const char   *chosen = tn_row_text(row, "chosen"), *revision = tn_row_text(chain, "revision");

        if (chosen == NULL || revision == NULL || last == NULL || strcmp(chosen, revision) != 0) continue;
        static const char *const keys[] = { "critique_request", "critique", "revision_request" };
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            if (json_object_get(last, keys[k]) != NULL)
                json_object_set(row, keys[k], json_object_get(last, keys[k]));
        json_object_set_new(row, "revision", json_string(revision));
    }
    tn_row_map_free(&m);
    return TN_OK;
}
