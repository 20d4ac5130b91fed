/* lora_file.c - adapters in the form of Hugging Face's PEFT: a directory with
 *
 *   adapter_config.json         rank, alpha, which modules, DoRA or not
 *   adapter_model.safetensors   base_model.model.<module>.lora_A.weight   [rank][n_in]
 *                               base_model.model.<module>.lora_B.weight   [n_out][rank]
 *                               base_model.model.<module>.lora_magnitude_vector  [n_out]      (DoRA)
 *
 * <module> is the weight's name in Hugging Face's form without ".weight". Where our rows lie in another order
 * (Q and K of a GGUF, GPT-NeoX's fused matrix) the rows of B are put into the file's order. */
#include "model/hf_layout.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "base_model.model."

/* The file's row for row i of ours. */
static int64_t file_row(const tn_model *m, tn_layout layout, int64_t i)
{
    const tn_hparams *h = &m->h;

    if (layout == TN_LAYOUT_QK && h->rope_interleaved) return tn_row_half_split(i, h->d_head);
    if (layout != TN_LAYOUT_NEOX_QKV) return i;
    int64_t part = i / (h->n_head * h->d_head), head = i / h->d_head % h->n_head;
    return (3 * head + part) * h->d_head + i % h->d_head;
}

static bool layout_can_adapt(tn_layout layout)
{
    return layout == TN_LAYOUT_SAME || layout == TN_LAYOUT_QK || layout == TN_LAYOUT_TRANSPOSED ||
           layout == TN_LAYOUT_NEOX_QKV;
}

/* ------------------------------------------------------------------------------------------------ writing */

typedef struct writer {
    const tn_model *m;
    tn_st_entry    *entries;
    void          **own;
    size_t          n, n_own;
    json_t         *modules; /* set of short names ("q_proj") as an object */
    const tn_lora  *lora;
    size_t          n_lora;
} writer;

/* A copy with its rows in the file's order. */
static tn_status add_tensor(writer *w, const char *module, const char *suffix, const tn_tensor *t,
                            const tn_layout *layout, tn_error *err)
{
    tn_st_entry *e = &w->entries[w->n];
    int64_t      n = t->n_dim == 1 ? 1 : t->shape[1];
    float       *copy = malloc((size_t)tn_n_elem(t) * sizeof *copy + 1);

    if (copy == NULL) return tn_fail(err, TN_NOMEM, "no memory to write an adapter");
    w->own[w->n_own++] = copy;
    for (int64_t i = 0; i < t->shape[0]; i++)
        memcpy(copy + (layout != NULL ? file_row(w->m, *layout, i) : i) * n, (const float *)t->data + i * n,
               (size_t)n * sizeof *copy);
    if (snprintf(e->name, sizeof e->name, PREFIX "%s.%s", module, suffix) >= (int)sizeof e->name)
        return tn_fail(err, TN_LIMIT, "the adapter's module name '%s' is too long", module);
    e->dtype = TN_F32;
    e->n_dim = t->n_dim;
    for (int i = 0; i < t->n_dim; i++) e->shape[i] = t->shape[i];
    e->data = copy;
    w->n++;
    return TN_OK;
}

/* The module's name in Hugging Face's form, without ".weight"; false: it has none. */
static bool module_of(const tn_model *m, const char *weight, tn_name *hf)
{
    if (!tn_name_to_hf(&m->h, weight, -1, hf) || !layout_can_adapt(hf->layout) ||
        !tn_ends_with(hf->name, ".weight"))
        return false;
    hf->name[strlen(hf->name) - strlen(".weight")] = '\0';
    return true;
}

static tn_status add_adapter(writer *w, const tn_lora *l, tn_error *err)
{
    tn_name hf;

    if (!module_of(w->m, l->name, &hf))
        return tn_fail(err, TN_UNSUPPORTED, "the adapter of '%s' has no name in Hugging Face's form",
                       l->name);
    const char *dot = strrchr(hf.name, '.');
    json_object_set_new(w->modules, dot != NULL ? dot + 1 : hf.name, json_true());
    TN_TRY(add_tensor(w, hf.name, "lora_A.weight", &l->a, NULL, err));
    TN_TRY(add_tensor(w, hf.name, "lora_B.weight", &l->b, &hf.layout, err));
    if (l->magnitude.data != NULL)
        TN_TRY(add_tensor(w, hf.name, "lora_magnitude_vector", &l->magnitude, &hf.layout, err));
    return TN_OK;
}

static bool layer_has(const writer *w, int64_t layer)
{
    char   start[32];
    size_t n = (size_t)snprintf(start, sizeof start, "blk.%lld.", (long long)layer);
    for (size_t i = 0; i < w->n_lora; i++)
        if (strncmp(w->lora[i].name, start, n) == 0) return true;
    return false;
}

/* Adapters whose rank or scale are not the first one's: by the module's whole name, as PEFT looks them up. */
static void patterns_add(const writer *w, json_t *c)
{
    json_t *rank = json_object(), *alpha = json_object();
    int64_t r = tn_cols(&w->lora[0].b);
    double  a = (double)w->lora[0].scale * (double)r;
    tn_name hf;

    for (size_t i = 1; i < w->n_lora; i++) {
        int64_t own_r = tn_cols(&w->lora[i].b);
        double  own_a = (double)w->lora[i].scale * (double)own_r;
        if ((own_r == r && own_a == a) || !module_of(w->m, w->lora[i].name, &hf)) continue;
        if (own_r != r) json_object_set_new(rank, hf.name, json_integer((json_int_t)own_r));
        if (own_a != a) json_object_set_new(alpha, hf.name, json_real(own_a));
    }
    if (json_object_size(rank) > 0) json_object_set(c, "rank_pattern", rank);
    if (json_object_size(alpha) > 0) json_object_set(c, "alpha_pattern", alpha);
    json_decref(rank);
    json_decref(alpha);
}

static tn_status write_config(const writer *w, const tn_lora *l, const char *path, tn_error *err)
{
    json_t     *targets = json_array(), *layers = json_array();
    const char *key;
    json_t     *value;
    tn_status   status;

    json_object_foreach(w->modules, key, value) json_array_append_new(targets, json_string(key));
    for (int64_t i = 0; i < w->m->h.n_layer; i++)
        if (layer_has(w, i)) json_array_append_new(layers, json_integer(i));
    /* alpha = scale * rank is exact in double, so that alpha / rank reads back as the same scale */
    json_t *c = json_pack("{s:s, s:s, s:n, s:I, s:f, s:f, s:s, s:o, s:b, s:b, s:b, s:b, s:n}", "peft_type",
                          "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", "r",
                          (json_int_t)tn_cols(&l->b), "lora_alpha", (double)l->scale * (double)tn_cols(&l->b),
                          "lora_dropout", 0.0, "bias", "none", "target_modules", targets, "fan_in_fan_out",
                          strcmp(w->m->h.family, "gpt2") == 0, "use_dora", l->magnitude.data != NULL,
                          "use_rslora", 0, "inference_mode", 1, "modules_to_save");
    if (c == NULL) {
        json_decref(layers);
        return tn_fail(err, TN_NOMEM, "%s: no memory", path);
    }
    if ((int64_t)json_array_size(layers) < w->m->h.n_layer) json_object_set(c, "layers_to_transform", layers);
    json_decref(layers);
    patterns_add(w, c);
    status = tn_json_save(path, c, true, err);
    json_decref(c);
    return status;
}

tn_status tn_lora_write(const tn_model *m, const tn_lora *lora, size_t n, const char *dir, tn_error *err)
{
    tn_status status = TN_OK;
    writer    w = { .m = m, .lora = lora, .n_lora = n };
    char *weights = tn_path(dir, "adapter_model.safetensors"), *config = tn_path(dir, "adapter_config.json");
    json_t *metadata = json_pack("{s:s}", "format", "pt");

    w.entries = calloc(3 * n + 1, sizeof *w.entries);
    w.own = calloc(3 * n + 1, sizeof *w.own);
    w.modules = json_object();
    if (weights == NULL || config == NULL || metadata == NULL || w.entries == NULL || w.own == NULL ||
        w.modules == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to write an adapter", dir);
        goto out;
    }
    if (n == 0) {
        status = tn_fail(err, TN_USAGE, "%s: there is no adapter to write", dir);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        if ((lora[i].magnitude.data != NULL) != (lora[0].magnitude.data != NULL)) {
            status = tn_fail(err, TN_UNSUPPORTED,
                             "of the adapters of '%s' and '%s' one has magnitudes (DoRA) and one has none: "
                             "one file holds adapters of "
                             "one kind",
                             lora[0].name, lora[i].name);
            goto out;
        }
        TN_GOTO(add_adapter(&w, &lora[i], err));
    }
    if (m->h.n_expert > 0 &&
        (json_object_get(w.modules, "gate_proj") != NULL || json_object_get(w.modules, "up_proj") != NULL ||
         json_object_get(w.modules, "down_proj") != NULL))
        tn_log(TN_LOG_WARN,
               "%s: PEFT 0.21 with transformers 5 takes gate_proj, up_proj and down_proj of a model with "
               "experts for the stacked experts, and leaves the "
               "adapters of dense and shared feed-forwards aside: for use there write the whole model "
               "('tenet export --merge')",
               dir);
    TN_GOTO(tn_mkdirs(dir, err));
    TN_GOTO(tn_st_write(weights, w.entries, w.n, metadata, err));
    TN_GOTO(write_config(&w, &lora[0], config, err));
out:
    for (size_t i = 0; i < w.n_own; i++) free(w.own[i]);
    free(w.own);
    free(w.entries);
    json_decref(w.modules);
    json_decref(metadata);
    free(weights);
    free(config);
    return status;
}

/* ------------------------------------------------------------------------------------------------ reading */

/* rank 0: the tensors say it, each its own. targets: the list of modules that PEFT would adapt; NULL: not
 * told by a list. ranks, alphas: modules that have another rank or alpha, by name; NULL: none. */
typedef struct config {
    double  alpha;
    int64_t rank;
    bool    rs, dora;
    json_t *targets, *ranks, *alphas;
} config;

/* Keys that are read below, or change nothing in the forward. A key that is none of these must be off. */
static const char *const known_keys[] = { "peft_type",
                                          "r",
                                          "lora_alpha",
                                          "use_rslora",
                                          "use_dora",
                                          "bias",
                                          "target_modules",
                                          "rank_pattern",
                                          "alpha_pattern",
                                          "base_model_name_or_path",
                                          "revision",
                                          "task_type",
                                          "inference_mode",
                                          "init_lora_weights",
                                          "lora_dropout",
                                          "layers_pattern",
                                          "layers_to_transform",
                                          "peft_version",
                                          "auto_mapping",
                                          "megatron_core",
                                          "fan_in_fan_out",
                                          "qalora_group_size",
                                          "exclude_modules",
                                          "loftq_config",
                                          "eva_config",
                                          "runtime_config",
                                          NULL };

static bool is_off(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

/* Is `name` the module's whole name, or its end behind a dot? */
static bool ends_in_module(const char *module, const char *name)
{
    if (!tn_ends_with(module, name)) return false;
    size_t before = strlen(module) - strlen(name);
    return before == 0 || module[before - 1] == '.';
}

/* PEFT takes the keys for regular expressions that a module's name must end in. Read are names, with ^ (the
 * whole name) and $ around them. */
static bool is_pattern(const char *key)
{
    key += *key == '^';
    size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return n > 0 && (key[n] == '\0' || strcmp(key + n, "$") == 0);
}

static bool pattern_is(const char *key, const char *module)
{
    char   name[256];
    bool   whole = *key == '^';
    size_t n = strcspn(key + whole, "$");
    if (n >= sizeof name) return false;
    memcpy(name, key + whole, n);
    name[n] = '\0';
    return whole ? strcmp(module, name) == 0 : ends_in_module(module, name);
}

/* *regex: a key is more than a name; then nothing is read. */
static tn_status pattern_read(json_t **out, const json_t *root, const char *key, bool *regex,
                              const char *path, tn_error *err)
{
    json_t     *o = json_object_get(root, key), *value;
    const char *name;

    *regex = false;
    if (o == NULL || is_off(o)) return TN_OK;
    if (!json_is_object(o))
        return tn_fail(err, TN_FORMAT, "%s: '%s' is no object of modules and their values", path, key);
    json_object_foreach(o, name, value) {
        *regex |= !is_pattern(name);
        if (!json_is_number(value) || !(json_number_value(value) > 0 && json_number_value(value) < 1e9))
            return tn_fail(err, TN_FORMAT, "%s: '%s' of '%.60s' is no positive number", path, key, name);
    }
    if (!*regex) *out = json_incref(o);
    return TN_OK;
}

/* The value for a module: that of the first key which is its name; else `otherwise`. */
static double pattern_of(json_t *patterns, const char *module, double otherwise)
{
    const char *name;
    json_t     *value;

    json_object_foreach(patterns, name, value)
        if (pattern_is(name, module)) return json_number_value(value);
    return otherwise;
}

/* PEFT begins some adapters by taking from the base what it puts into them, and most of these again when it loads
 * them: W + B A with the base as it is in its files would be another model than the one that was trained. */
static tn_status init_check(const json_t *root, const char *path, tn_error *err)
{
    static const char *const plain[] = { "gaussian", "eva", "orthogonal", "mica", NULL };
    const json_t            *init = json_object_get(root, "init_lora_weights");

    if (init == NULL || json_is_boolean(init) || json_is_null(init)) return TN_OK;
    for (int i = 0; json_is_string(init) && plain[i] != NULL; i++)
        if (strcasecmp(json_string_value(init), plain[i]) == 0) return TN_OK;
    return tn_fail(
        err, TN_UNSUPPORTED,
        "%s: 'init_lora_weights' is '%.40s': such an adapter belongs to a base that PEFT changes first; "
        "write it as a plain one (PEFT: save_pretrained with "
        "path_initial_model_for_weight_conversion), or merge it there",
        path, json_is_string(init) ? json_string_value(init) : "no word");
}

static tn_status read_config(config *c, const char *path, tn_error *err)
{
    json_t     *root = NULL, *value;
    const char *type = "", *bias = "none", *key;
    bool        regex;
    tn_status   status = TN_OK;

    TN_GOTO(tn_json_load(&root, path, 1 << 20, err));
    TN_GOTO(tn_json_str(root, "peft_type", &type, path, err));
    if (strcmp(type, "LORA") != 0) {
        status = tn_fail(err, TN_UNSUPPORTED, "%s: 'peft_type' is '%.40s'; LORA is supported", path, type);
        goto out;
    }
    TN_GOTO(init_check(root, path, err));
    if (json_object_get(root, "bias") != NULL) TN_GOTO(tn_json_str(root, "bias", &bias, path, err));
    if (strcmp(bias, "none") != 0) {
        status = tn_fail(err, TN_UNSUPPORTED,
                         "%s: 'bias' is '%.40s'; adapters with trained biases are not supported", path, bias);
        goto out;
    }
    json_object_foreach(root, key, value) {
        bool known = false;
        for (int i = 0; known_keys[i] != NULL; i++) known |= strcmp(key, known_keys[i]) == 0;
        if (!known && !is_off(value)) {
            status = tn_fail(
                err, TN_UNSUPPORTED,
                "%s: key '%.60s' is set; it may change what the adapter does, and is not supported", path,
                key);
            goto out;
        }
    }
    TN_GOTO(tn_json_real_or(root, "lora_alpha", 8, &c->alpha, path, err));
    TN_GOTO(tn_json_bool_or(root, "use_rslora", false, &c->rs, path, err));
    TN_GOTO(tn_json_bool_or(root, "use_dora", false, &c->dora, path, err));
    TN_GOTO(pattern_read(&c->alphas, root, "alpha_pattern", &regex, path, err));
    if (regex) {
        status = tn_fail(err, TN_UNSUPPORTED,
                         "%s: 'alpha_pattern' has a regular expression; the names of modules are supported, "
                         "with ^ and $ around them",
                         path);
        goto out;
    }
    TN_GOTO(pattern_read(&c->ranks, root, "rank_pattern", &regex, path, err));
    if (json_object_get(root, "r") != NULL && !regex)
        TN_GOTO(tn_json_int(root, "r", 1, 1 << 20, &c->rank, path, err));
    if (json_is_array(json_object_get(root, "target_modules")))
        c->targets = json_incref(json_object_get(root, "target_modules"));
    if (!(fabs(c->alpha) < 1e9)) status = tn_fail(err, TN_FORMAT, "%s: 'lora_alpha' is %g", path, c->alpha);
out:
    json_decref(root);
    return status;
}

typedef struct reader {
    const tn_model *m;
    const char     *path;
    const json_t   *targets;
    tn_lora        *lora;
    size_t          n;
} reader;

/* The adapter of a weight, made if it is new. */
static tn_lora *adapter_of(reader *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->lora[i].name, name) == 0) return &r->lora[i];
    tn_lora *l = &r->lora[r->n++];
    snprintf(l->name, sizeof l->name, "%s", name);
    return l;
}

static tn_status take_tensor(reader *r, const tn_st_entry *e, tn_tensor *t, const tn_layout *layout,
                             int64_t n_row, tn_error *err)
{
    if (t->data != NULL) return tn_fail(err, TN_FORMAT, "%s: tensor '%s' is there twice", r->path, e->name);
    if (e->dtype != TN_F32 && e->dtype != TN_F16 && e->dtype != TN_BF16)
        return tn_fail(err, TN_UNSUPPORTED, "%s: tensor '%s' must be F32, F16 or BF16", r->path, e->name);
    if (e->n_dim < 1 || e->n_dim > 2 || e->shape[0] < 1 || (e->n_dim == 2 && e->shape[1] < 1) ||
        (n_row > 0 && e->shape[0] != n_row))
        return tn_fail(err, TN_MISMATCH, "%s: tensor '%s' has not the shape that the model's weight asks for",
                       r->path, e->name);
    int64_t n = e->n_dim == 2 ? e->shape[1] : 1;
    float  *f = tn_model_alloc_rows((size_t)(e->shape[0] * n) * sizeof *f);
    if (f == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for '%s'", r->path, e->name);
    *t = (tn_tensor){ .dtype = TN_F32, .n_dim = e->n_dim, .shape = { e->shape[0], n }, .data = f };
    for (int64_t i = 0; i < e->shape[0]; i++) {
        int64_t from = layout != NULL ? file_row(r->m, *layout, i) : i;
        tn_row_to_f32(f + i * n, (const uint8_t *)e->data + (size_t)from * tn_row_bytes(e->dtype, n),
                      e->dtype, n);
    }
    return TN_OK;
}

/* PEFT's rule for targets; tensors of other modules it leaves aside without a word. */
static bool is_target(const json_t *targets, const char *module)
{
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *t = json_string_value(json_array_get(targets, i));
        if (t != NULL && ends_in_module(module, t)) return true;
    }
    return targets == NULL;
}

static tn_status take_entry(reader *r, const tn_st_entry *e, tn_error *err)
{
    static const char *const suffixes[] = { ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector",
                                            ".lora_magnitude_vector.weight" };
    char                     hf[256];
    tn_name                  names[2];
    int                      kind = 0;

    while (kind < 4 && !tn_ends_with(e->name, suffixes[kind])) kind++;
    if (kind == 4 || !tn_starts_with(e->name, PREFIX))
        return tn_fail(err, TN_UNSUPPORTED, "%s: tensor '%s' is no part of a LoRA adapter as PEFT writes it",
                       r->path, e->name);
    size_t n = strlen(e->name) - strlen(PREFIX) - strlen(suffixes[kind]);
    if (n + sizeof ".weight" > sizeof hf)
        return tn_fail(err, TN_FORMAT, "%s: tensor '%s': name too long", r->path, e->name);
    memcpy(hf, e->name + strlen(PREFIX), n);
    hf[n] = '\0';
    if (!is_target(r->targets, hf))
        return tn_fail(err, TN_MISMATCH,
                       "%s: '%s' adapts '%s', which adapter_config.json does not name in 'target_modules': "
                       "other programs would leave it aside. "
                       "Add it there, or take the tensor out",
                       r->path, e->name, hf);
    memcpy(hf + n, ".weight", sizeof ".weight");
    tn_param *p = NULL;
    if (tn_names_from_hf(&r->m->h, hf, names) == 1 && layout_can_adapt(names[0].layout)) {
        int64_t i = tn_model_index(r->m, names[0].name);
        p = i < 0 ? NULL : &r->m->params[i];
    }
    if (p == NULL || p->w.n_dim != 2)
        return tn_fail(err, TN_MISMATCH,
                       "%s: '%s' adapts '%s', which is no matrix of %s: is it an adapter of another model?",
                       r->path, e->name, hf, tn_model_path(r->m));
    tn_lora *l = adapter_of(r, p->name);
    int64_t  n_out = tn_rows(&p->w);
    if (kind == 0) return take_tensor(r, e, &l->a, NULL, 0, err);
    if (kind == 1) return take_tensor(r, e, &l->b, &names[0].layout, n_out, err);
    return take_tensor(r, e, &l->magnitude, &names[0].layout, n_out, err);
}

static tn_status finish(reader *r, const config *c, tn_error *err)
{
    for (size_t i = 0; i < r->n; i++) {
        tn_lora        *l = &r->lora[i];
        const tn_param *p = &r->m->params[tn_model_index(r->m, l->name)];
        if (l->a.data == NULL || l->b.data == NULL || (l->magnitude.data != NULL) != c->dora)
            return tn_fail(err, TN_FORMAT,
                           "%s: the adapter of '%s' is not whole: lora_A, lora_B%s are expected", r->path,
                           l->name, c->dora ? " and lora_magnitude_vector" : "");
        if (l->a.n_dim != 2 || l->b.n_dim != 2 || tn_cols(&l->a) != tn_cols(&p->w) ||
            tn_rows(&l->a) != tn_cols(&l->b) || (c->dora && tn_n_elem(&l->magnitude) != tn_rows(&p->w)))
            return tn_fail(err, TN_MISMATCH,
                           "%s: the adapter of '%s' (%" PRId64 "x%" PRId64
                           ") does not fit the weight (%" PRId64 "x%" PRId64 ")",
                           r->path, l->name, tn_rows(&l->b), tn_cols(&l->a), tn_rows(&p->w), tn_cols(&p->w));
        tn_name hf = { 0 };
        if (!module_of(r->m, l->name, &hf))
            return tn_fail(err, TN_MISMATCH, "%s: '%s' has no name in Hugging Face's form", r->path, l->name);
        double rank = (double)tn_cols(&l->b), said = pattern_of(c->ranks, hf.name, (double)c->rank);
        if (said > 0 && said != rank)
            return tn_fail(err, TN_MISMATCH,
                           "%s: the adapter of '%s' has rank %g, but adapter_config.json says %g: they do "
                           "not belong together, and the scale "
                           "is alpha / r",
                           r->path, l->name, rank, said);
        l->scale = (float)(pattern_of(c->alphas, hf.name, c->alpha) / (c->rs ? sqrt(rank) : rank));
        l->magnitude.n_dim = l->magnitude.data != NULL;
    }
    return r->n > 0 ? TN_OK : tn_fail(err, TN_FORMAT, "%s: holds no adapter", r->path);
}

tn_status tn_lora_read(tn_lora **out, size_t *n, const tn_model *m, const char *dir, tn_error *err)
{
    tn_status   status = TN_OK;
    config      c = { 0 };
    tn_st_file *f = NULL;
    char       *weights = tn_path(dir, "adapter_model.safetensors");
    char       *settings = tn_path(dir, "adapter_config.json");
    char       *within = NULL;
    reader      r = { .m = m, .path = weights };

    *out = NULL;
    *n = 0;
    if (weights == NULL || settings == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to read an adapter", dir);
        goto out;
    }
    if (!tn_exists(settings) && (within = tn_path(dir, "adapter/adapter_config.json")) != NULL &&
        tn_exists(within)) {
        status = tn_fail(err, TN_NOTFOUND, "%s is a run's folder; its adapter is %s/adapter", dir, dir);
        goto out;
    }
    TN_GOTO(read_config(&c, settings, err));
    r.targets = c.targets;
    TN_GOTO(tn_st_open(&f, weights, err));
    if ((r.lora = calloc(tn_st_count(f) + 1, sizeof *r.lora)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to read an adapter", dir);
        goto out;
    }
    for (size_t i = 0; i < tn_st_count(f); i++) TN_GOTO(take_entry(&r, tn_st_at(f, i), err));
    TN_GOTO(finish(&r, &c, err));
    *out = r.lora;
    *n = r.n;
    r.lora = NULL;
out:
    tn_lora_free(r.lora, r.n);
    tn_st_close(f);
    json_decref(c.targets);
    json_decref(c.ranks);
    json_decref(c.alphas);
    free(weights);
    free(settings);
    free(within);
    return status;
}
