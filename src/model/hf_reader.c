/* hf_reader.c - config.json read key by key, remembering which keys were asked for. */
#include "model/hf_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

tn_status tn_hf_reader_init(tn_hf_reader *r, const json_t *config, const char *where, tn_error *err)
{
    *r = (tn_hf_reader){ .config = config, .where = where, .err = err };
    if (!json_is_object(config)) return tn_fail(err, TN_FORMAT, "%s: is no JSON object", where);
    r->used = calloc(json_object_size(config) + 1, 1);
    return r->used != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for its keys", where);
}

void tn_hf_reader_free(tn_hf_reader *r)
{
    free(r->used);
    r->used = NULL;
}

const json_t *tn_hf_get(tn_hf_reader *r, const char *key)
{
    const char *name;
    json_t     *v;
    size_t      i = 0;

    json_object_foreach((json_t *)r->config, name, v) {
        if (strcmp(name, key) == 0) {
            r->used[i] = 1;
            return json_is_null(v) ? NULL : v;
        }
        i++;
    }
    return NULL;
}

int64_t tn_hf_int(tn_hf_reader *r, const char *key, int64_t lo, int64_t hi, int64_t dflt)
{
    const json_t *v = tn_hf_get(r, key);

    if (v == NULL || r->status != TN_OK) return dflt;
    if (!json_is_integer(v) || json_integer_value(v) < lo || json_integer_value(v) > hi) {
        r->status = tn_fail(r->err, TN_FORMAT, "%s: '%s' must be a whole number from %" PRId64 " to %" PRId64,
                            r->where, key, lo, hi);
        return dflt;
    }
    return json_integer_value(v);
}

int64_t tn_hf_need_int(tn_hf_reader *r, const char *key, int64_t lo, int64_t hi)
{
    if (r->status == TN_OK && tn_hf_get(r, key) == NULL)
        r->status = tn_fail(r->err, TN_FORMAT, "%s: '%s' is missing", r->where, key);
    return tn_hf_int(r, key, lo, hi, lo);
}

double tn_hf_real(tn_hf_reader *r, const char *key, double lo, double hi, double dflt)
{
    const json_t *v = tn_hf_get(r, key);

    if (v == NULL || r->status != TN_OK) return dflt;
    if (!json_is_number(v) || !(json_number_value(v) >= lo && json_number_value(v) <= hi)) {
        r->status = tn_fail(r->err, TN_FORMAT, "%s: '%s' must be a number from %g to %g", r->where, key, lo,
                            hi);
        return dflt;
    }
    return json_number_value(v);
}

bool tn_hf_bool(tn_hf_reader *r, const char *key, bool dflt)
{
    const json_t *v = tn_hf_get(r, key);

    if (v == NULL || r->status != TN_OK) return dflt;
    if (!json_is_boolean(v)) {
        r->status = tn_fail(r->err, TN_FORMAT, "%s: '%s' must be true or false", r->where, key);
        return dflt;
    }
    return json_is_true(v);
}

const char *tn_hf_str(tn_hf_reader *r, const char *key, const char *dflt)
{
    const json_t *v = tn_hf_get(r, key);

    if (v == NULL || r->status != TN_OK) return dflt;
    if (!json_is_string(v)) {
        r->status = tn_fail(r->err, TN_FORMAT, "%s: '%s' must be a string", r->where, key);
        return dflt;
    }
    return json_string_value(v);
}

void tn_hf_expect_bool(tn_hf_reader *r, const char *key, bool value)
{
    if (tn_hf_bool(r, key, value) != value && r->status == TN_OK)
        r->status = tn_fail(r->err, TN_UNSUPPORTED,
                            "%s: '%s' is %s, which changes the mathematics; only %s is supported here",
                            r->where, key, value ? "false" : "true", value ? "true" : "false");
}

void tn_hf_expect_int(tn_hf_reader *r, const char *key, int64_t value)
{
    int64_t v = tn_hf_int(r, key, INT32_MIN, INT32_MAX, value);

    if (v != value && r->status == TN_OK)
        r->status = tn_fail(r->err, TN_UNSUPPORTED,
                            "%s: '%s' is %" PRId64 ", which changes the mathematics; only %" PRId64
                            " is supported here",
                            r->where, key, v, value);
}

void tn_hf_ignore(tn_hf_reader *r, const char *const *keys)
{
    for (; *keys != NULL; keys++) tn_hf_get(r, *keys);
}

tn_status tn_hf_check_all_used(tn_hf_reader *r)
{
    const char *name;
    json_t     *v;
    size_t      i = 0;

    if (r->status != TN_OK) return r->status;
    json_object_foreach((json_t *)r->config, name, v)
        if (!r->used[i++])
            return tn_fail(r->err, TN_UNSUPPORTED,
                           "%s: key '%.100s' is unknown for this family and may change the mathematics.\n"
                           "If it does not, remove it from the file; else this model is not supported.",
                           r->where, name);
    return TN_OK;
}

/* --------------------------------------------------------------------------------------------------- RoPE */

static double member(tn_hf_reader *r, const json_t *o, const char *key, double lo, double hi, double dflt,
                     int *n_read)
{
    const json_t *v = json_object_get(o, key);

    if (v == NULL) return dflt;
    ++*n_read;
    if (json_is_null(v) || r->status != TN_OK) return dflt;
    if (!json_is_number(v) || !(json_number_value(v) >= lo && json_number_value(v) <= hi)) {
        r->status = tn_fail(r->err, TN_FORMAT, "%s: the RoPE setting '%s' must be a number from %g to %g",
                            r->where, key, lo, hi);
        return dflt;
    }
    return json_number_value(v);
}

/* One dictionary of RoPE settings. theta: in: what is known; out: with what the dictionary says. */
static void read_scaling(tn_hf_reader *r, const json_t *o, tn_hparams *h, tn_rope_scaling *s, double *theta,
                         double *partial)
{
    // clang-format off
    static const struct { const char *name; int kind; } kinds[] = {
        { "default", TN_ROPE_PLAIN }, { "linear", TN_ROPE_LINEAR }, { "dynamic", TN_ROPE_NTK }, { "llama3", TN_ROPE_LLAMA3 },
        { "yarn", TN_ROPE_YARN },
    };
    // clang-format on
    const char   *type = json_string_value(json_object_get(o, "rope_type"));
    const json_t *truncate = json_object_get(o, "truncate");
    int           n_read = 0, kind = -1;

    if (type != NULL) n_read++;
    if (json_object_get(o, "type") != NULL) {
        if (type == NULL) type = json_string_value(json_object_get(o, "type"));
        n_read++;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (type != NULL && strcmp(type, kinds[i].name) == 0) kind = kinds[i].kind;
    if (kind < 0) {
        if (r->status == TN_OK)
            r->status = tn_fail(r->err, TN_UNSUPPORTED,
                                "%s: RoPE type '%.40s'; supported: default, linear, dynamic, llama3, yarn",
                                r->where, type != NULL ? type : "(none)");
        return;
    }
    *s = (tn_rope_scaling){
        .factor = 1, .beta_fast = 32, .beta_slow = 1, .truncate = true, .n_ctx_orig = h->n_ctx
    };
    memcpy(&s->kind, &kind, sizeof s->kind);
    *theta = member(r, o, "rope_theta", 1, 1e12, *theta, &n_read);
    *partial = member(r, o, "partial_rotary_factor", 1e-3, 1, *partial, &n_read);
    s->factor = member(r, o, "factor", 1e-3, 1e6, 1, &n_read);
    s->low_freq_factor = member(r, o, "low_freq_factor", 0, 1e6, 1, &n_read);
    s->high_freq_factor = member(r, o, "high_freq_factor", 0, 1e6, 4, &n_read);
    s->n_ctx_orig = (int64_t)member(r, o, "original_max_position_embeddings", 1, INT32_MAX, (double)h->n_ctx,
                                    &n_read);
    s->beta_fast = member(r, o, "beta_fast", 0, 1e6, 32, &n_read);
    s->beta_slow = member(r, o, "beta_slow", 0, 1e6, 1, &n_read);
    s->attn_factor = member(r, o, "attention_factor", 0, 1e6, 0, &n_read);
    s->mscale = member(r, o, "mscale", 0, 1e6, 0, &n_read);
    s->mscale_all_dim = member(r, o, "mscale_all_dim", 0, 1e6, 0, &n_read);
    if (truncate != NULL) {
        n_read++;
        s->truncate = !json_is_false(truncate);
    }
    if ((size_t)n_read != json_object_size(o) && r->status == TN_OK)
        r->status = tn_fail(
            r->err, TN_UNSUPPORTED,
            "%s: the RoPE settings hold a key that is not known and may change the mathematics", r->where);
}

void tn_hf_rope(tn_hf_reader *r, tn_hparams *h)
{
    const json_t *p = tn_hf_get(r, "rope_parameters"), *old = tn_hf_get(r, "rope_scaling");
    const json_t *full = json_object_get(p, "full_attention"),
                 *local = json_object_get(p, "sliding_attention");
    tn_rope_scaling other;
    double          partial = 1;

    h->rope_theta = tn_hf_real(r, "rope_theta", 1, 1e12, h->rope_theta);
    h->rope_theta_local = tn_hf_real(r, "rope_local_base_freq", 1, 1e12, 0);
    h->rope = (tn_rope_scaling){
        .factor = 1, .beta_fast = 32, .beta_slow = 1, .truncate = true, .n_ctx_orig = h->n_ctx
    };
    if (p != NULL && old != NULL && !json_equal(p, old) && r->status == TN_OK)
        r->status = tn_fail(
            r->err, TN_FORMAT,
            "%s: 'rope_parameters' and 'rope_scaling' are both there and differ: readers would disagree "
            "which counts; remove the one that does not",
            r->where);
    if (p == NULL) p = old;
    if (full != NULL && local != NULL) {
        read_scaling(r, full, h, &h->rope, &h->rope_theta, &partial);
        read_scaling(r, local, h, &other, &h->rope_theta_local, &partial);
        if (r->status == TN_OK && other.kind != TN_ROPE_PLAIN)
            r->status = tn_fail(r->err, TN_UNSUPPORTED, "%s: RoPE scaling of sliding layers is not supported",
                                r->where);
    } else if (p != NULL) {
        read_scaling(r, p, h, &h->rope, &h->rope_theta, &partial);
    }
    h->rotary_pct = partial;
    if (h->rope_theta == 0 && r->status == TN_OK)
        r->status = tn_fail(
            r->err, TN_FORMAT,
            "%s: neither 'rope_theta' nor 'rope_parameters' says the RoPE base; it is not guessed: "
            "add \"rope_theta\": 10000.0 if that is what the model was trained with",
            r->where);
}
