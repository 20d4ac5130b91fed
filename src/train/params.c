/* params.c - the flat logical order of what is trained: tensors by name, each starting at a multiple of 16
 * elements.
 *
 *   | blk.0.attn_k | pad | blk.0.attn_q | pad | ... |        gradients, optimiser state, shards and slices count in it
 *   0                    first                    n_flat
 *
 * Padding holds zeros and no tensor; it only keeps vectors aligned. */
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"

static tn_status own(params *p, void **out, size_t bytes, const char *what, tn_error *err)
{
    void **list = realloc(p->own, (size_t)(p->n_own + 1) * sizeof *list);
    if (list != NULL) p->own = list;
    size_t rounded = (bytes + 63) & ~(size_t)63;
    if (list == NULL || (*out = aligned_alloc(64, rounded ? rounded : 64)) == NULL)
        return tn_fail(err, TN_NOMEM,
                       "%s needs %zu bytes; lower micro_batch or n_ctx, or train with lora_rank", what,
                       bytes);
    tn_pages_zero(*out, rounded);
    p->own[p->n_own++] = *out;
    return TN_OK;
}

/* ----------------------------------------------------------------------------------------------- adapters */

/* A layer's linear maps: our word, what modules are called in Hugging Face's families, the end of the name as
 * in GGUF. A router and the stacked experts have no row: an adapter has no form there that other programs
 * read. */
static const struct {
    const char *word, *hf[3], *part;
} targets[] = {
    { "q", { "q_proj" }, ".attn_q.weight" },
    { "k", { "k_proj" }, ".attn_k.weight" },
    { "v", { "v_proj" }, ".attn_v.weight" },
    { "qkv", { "c_attn", "query_key_value" }, ".attn_qkv.weight" },
    { "q_a", { "q_a_proj" }, ".attn_q_a.weight" },
    { "q_b", { "q_b_proj" }, ".attn_q_b.weight" },
    { "kv_a", { "kv_a_proj_with_mqa" }, ".attn_kv_a_mqa.weight" },
    { "kv_b", { "kv_b_proj" }, ".attn_kv_b.weight" },
    { "o", { "o_proj", "c_proj", "dense" }, ".attn_output.weight" },
    { "gate", { "gate_proj" }, ".ffn_gate.weight" },
    { "up", { "up_proj", "c_fc", "dense_h_to_4h" }, ".ffn_up.weight" },
    { "down", { "down_proj", "c_proj", "dense_4h_to_h" }, ".ffn_down.weight" },
    { "gate", { "gate_proj" }, ".ffn_gate_shexp.weight" },
    { "up", { "up_proj" }, ".ffn_up_shexp.weight" },
    { "down", { "down_proj" }, ".ffn_down_shexp.weight" },
};
enum { N_TARGET = sizeof targets / sizeof *targets };

static bool is_word(const char *s, size_t n, const char *word)
{
    return strlen(word) == n && strncmp(s, word, n) == 0;
}

static bool names_target(const char *s, size_t n, int k)
{
    bool found = is_word(s, n, targets[k].word);
    for (int i = 0; i < 3 && targets[k].hf[i] != NULL; i++) found |= is_word(s, n, targets[k].hf[i]);
    return found;
}

static tn_status targets_read(const char *list, bool on[N_TARGET], tn_error *err)
{
    const char *s;
    size_t      n;
    memset(on, 0, N_TARGET * sizeof *on);
    while (tn_list_next(&list, &s, &n)) {
        /* the second is PEFT's word */
        bool all = is_word(s, n, "all") || is_word(s, n, "all-linear"), found = all;
        for (int k = 0; k < N_TARGET; k++)
            if (all || names_target(s, n, k)) on[k] = found = true;
        if (!found)
            return tn_fail(err, TN_USAGE,
                           "lora_targets: '%.*s' is no kind of matrix; known: all (or all-linear), q, k, v, "
                           "qkv, q_a, q_b, kv_a, kv_b, o, gate, up, down, and Hugging Face's "
                           "names of them (q_proj)",
                           (int)n, s);
    }
    return TN_OK;
}

static void vector_shape(tn_tensor *t, void *data, int64_t n)
{
    *t = (tn_tensor){ .dtype = TN_F32, .n_dim = 1, .shape = { n }, .data = data };
}

static void matrix_shape(tn_tensor *t, void *data, int64_t rows, int64_t cols)
{
    *t = (tn_tensor){ .dtype = TN_F32, .n_dim = 2, .shape = { rows, cols }, .data = data };
}

float train_lora_scale(const tn_train_config *c, int64_t rank)
{
    double r = (double)rank, alpha = c->lora_alpha > 0 ? c->lora_alpha : 2.0 * r;
    return (float)(alpha / (c->lora_rs ? sqrt(r) : r));
}

/* A is uniform in +-1/sqrt(n_in) (PEFT's kaiming with a = sqrt 5), B zero: the first step starts at the base
 * model. */
static tn_status lora_init(params *p, tn_lora *l, const tn_param *w, const tn_train_config *c, tn_error *err)
{
    int64_t    n_out = w->w.shape[0], n_in = w->w.shape[1], r = c->lora_rank;
    float     *a, *b;
    double     bound = 1 / sqrt((double)n_in);
    tn_rng_key key = { (uint64_t)c->seed, TN_RNG_LORA, 0, tn_hash64(w->name, strlen(w->name)) };

    snprintf(l->name, sizeof l->name, "%s", w->name);
    l->scale = train_lora_scale(c, r);
    TN_TRY(own(p, (void **)&a, (size_t)(r * n_in) * 4, "an adapter", err));
    TN_TRY(own(p, (void **)&b, (size_t)(n_out * r) * 4, "an adapter", err));
    for (int64_t i = 0; i < r * n_in; i++) a[i] = (float)((2 * tn_rng_unit(&key, (uint64_t)i) - 1) * bound);
    matrix_shape(&l->a, a, r, n_in);
    matrix_shape(&l->b, b, n_out, r);
    if (c->dora) { /* the magnitude starts as the length of each row */
        float *m, *row = malloc((size_t)n_in * 4);
        if (row == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a row", w->name);
        tn_status status = own(p, (void **)&m, (size_t)n_out * 4, "an adapter", err);
        for (int64_t i = 0; status == TN_OK && i < n_out; i++) {
            if (w->w.packed != NULL) tn_weight_row(row, w->w.packed, i);
            else
                tn_row_to_f32(row, (const char *)w->w.data + (size_t)i * tn_row_bytes(w->w.dtype, n_in),
                              w->w.dtype, n_in);
            m[i] = sqrtf((float)tn_sum_sq(row, n_in));
        }
        free(row);
        if (status != TN_OK) return status;
        vector_shape(&l->magnitude, m, n_out);
    }
    return TN_OK;
}

/* "all", or FROM-TO, both included. */
static tn_status layers_read(const char *text, int64_t n_layer, int64_t *first, int64_t *last, tn_error *err)
{
    const char *dash = strchr(text, '-');
    char        from[24] = "";
    *first = 0;
    *last = n_layer - 1;
    if (strcmp(text, "all") == 0) return TN_OK;
    if (strcmp(text, "upper") == 0) {
        *first = n_layer / 2;
        return TN_OK;
    }
    if (dash != NULL && (size_t)(dash - text) < sizeof from) memcpy(from, text, (size_t)(dash - text));
    if (dash == NULL || !tn_parse_i64(from, first) || !tn_parse_i64(dash + 1, last) || *first < 0 ||
        *first > *last || *last >= n_layer)
        return tn_fail(err, TN_USAGE,
                       "lora_layers is '%s': all, upper, or FROM-TO between 0 and %lld (as %lld-%lld)", text,
                       (long long)n_layer - 1, (long long)n_layer / 2, (long long)n_layer - 1);
    return TN_OK;
}

static int64_t layer_of(const char *name) /* of blk.N.part */
{
    int64_t n = 0;
    for (const char *d = name + strlen("blk."); *d >= '0' && *d <= '9'; d++) n = 10 * n + (*d - '0');
    return n;
}

static bool is_target(const tn_param *w, const bool on[N_TARGET], int64_t first, int64_t last)
{
    if (w->w.n_dim != 2 || !w->matrix) return false;
    if (tn_starts_with(w->name, "blk.") && (layer_of(w->name) < first || layer_of(w->name) > last))
        return false;
    for (int k = 0; k < N_TARGET; k++)
        if (on[k] && tn_ends_with(w->name, targets[k].part)) return true;
    return false;
}

/* A product B A has no higher rank than the matrix that it is added to: more than the widest of them can have
 * is memory without effect (keys and values are often narrower than the rest). Before memory is taken for
 * any. */
static tn_status rank_check(const params *p, const tn_train_config *c, const bool on[N_TARGET], int64_t first,
                            int64_t last, tn_error *err)
{
    int64_t most = 0;
    for (size_t i = 0; i < tn_model_n_tensor(p->model); i++) {
        const tn_param *w = tn_model_tensor(p->model, i);
        if (!is_target(w, on, first, last)) continue;
        int64_t side = w->w.shape[0] < w->w.shape[1] ? w->w.shape[0] : w->w.shape[1];
        most = side > most ? side : most;
    }
    if (most == 0)
        return tn_fail(err, TN_USAGE, "lora_targets '%s' names no matrix of this model", c->lora_targets);
    if (c->lora_rank > most)
        return tn_fail(err, TN_USAGE,
                       "lora_rank %lld is more than any matrix of this model's lora_targets can have: at "
                       "most %lld (16 is usual)",
                       (long long)c->lora_rank, (long long)most);
    return TN_OK;
}

static tn_status lora_create(params *p, const tn_train_config *c, const char *adapter, tn_error *err)
{
    bool    on[N_TARGET];
    int64_t first, last;
    if (adapter != NULL) {
        p->lora_read = true;
        return tn_lora_read(&p->lora, &p->n_lora, p->model, adapter, err);
    }
    TN_TRY(targets_read(c->lora_targets, on, err));
    TN_TRY(layers_read(c->lora_layers, tn_model_hparams(p->model)->n_layer, &first, &last, err));
    size_t n = tn_model_n_tensor(p->model);
    TN_TRY(rank_check(p, c, on, first, last, err));
    if ((p->lora = calloc(n + 1, sizeof *p->lora)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the adapters");
    for (size_t i = 0; i < n; i++) {
        const tn_param *w = tn_model_tensor(p->model, i);
        if (is_target(w, on, first, last)) TN_TRY(lora_init(p, &p->lora[p->n_lora++], w, c, err));
    }
    return TN_OK;
}

tn_status train_lora_agrees(const params *p, const tn_train_config *c, const char *adapter, tn_error *err)
{
    bool    on[N_TARGET];
    int64_t first, last;
    TN_TRY(targets_read(c->lora_targets, on, err));
    TN_TRY(layers_read(c->lora_layers, tn_model_hparams(p->model)->n_layer, &first, &last, err));
    for (size_t i = 0; i < p->n_lora; i++) {
        const tn_lora *l = &p->lora[i];
        int64_t     rank = l->a.shape[0], layer = tn_starts_with(l->name, "blk.") ? layer_of(l->name) : first;
        const char *key = NULL;
        bool        target = strcmp(c->lora_targets, "all") == 0;
        for (int k = 0; k < N_TARGET; k++) target |= on[k] && tn_ends_with(l->name, targets[k].part);
        if (c->lora_rank > 0 && rank != c->lora_rank) key = "lora_rank";
        else if ((c->lora_alpha > 0 || c->lora_rs) && l->scale != train_lora_scale(c, rank))
            key = c->lora_rs ? "lora_rs" : "lora_alpha";
        else if (c->dora && l->magnitude.n_dim == 0) key = "dora";
        else if (!target) key = "lora_targets";
        else if (layer < first || layer > last) key = "lora_layers";
        if (key == NULL) continue;
        return tn_fail(err, TN_MISMATCH,
                       "%s is not as in the adapter %s, which has rank %lld, scale %g and %s at %s: an "
                       "adapter that goes on keeps its shape; leave %s out",
                       key, adapter, (long long)rank, (double)l->scale,
                       l->magnitude.n_dim > 0 ? "magnitudes (DoRA)" : "no magnitudes", l->name, key);
    }
    return TN_OK;
}

/* -------------------------------------------------------------------------------------------------- slots */

static slot *slot_add(params *p, const char *name, const char *suffix, tn_tensor *w, tn_tensor *grad)
{
    slot *s = &p->slot[p->n_slot++];
    *s = (slot){
        .w = w, .grad = grad, .master = w->data, .first = p->n_flat, .n = tn_n_elem(w), .lr_scale = 1
    };
    snprintf(s->name, sizeof s->name, "%s%s", name, suffix);
    p->n_flat += (s->n + 15) & ~(int64_t)15;
    p->n_trained += s->n;
    return s;
}

/* A table that rows are looked up in; w->matrix only when it is the head too. */
static bool is_embedding(const tn_param *w)
{
    return tn_starts_with(w->name, "token_embd") || tn_starts_with(w->name, "position_embd");
}

static void place_gradient(params *p, slot *s)
{
    *s->grad = *s->w;
    s->grad->dtype = TN_F32;
    s->grad->packed = NULL;
    s->grad->data = p->grad + s->first;
}

/* bf16 training: products read a rounded copy, the f32 values stay as masters. */
static tn_status bf16_copy(params *p, slot *s, tn_error *err)
{
    uint16_t *h;
    TN_TRY(own(p, (void **)&h, (size_t)s->n * 2, "the bf16 copy of the weights", err));
    for (int64_t i = 0; i < s->n; i++) h[i] = tn_f32_to_bf16(s->master[i]);
    s->w->dtype = TN_BF16;
    s->w->data = s->copy = h;
    return TN_OK;
}

void train_params_masters(params *p, bool masters)
{
    for (int i = 0; i < p->n_slot; i++) {
        slot *s = &p->slot[i];
        if (s->copy == NULL) continue;
        s->w->dtype = masters ? TN_F32 : TN_BF16;
        s->w->data = masters ? (void *)s->master : s->copy;
    }
}

tn_status train_params_create(params *p, tn_model *m, const tn_train_config *c, const char *adapter,
                              tn_error *err)
{
    tn_status status = TN_OK;
    bool      bf16 = strcmp(c->dtype, "bf16") == 0;

    *p = (params){ .model = m, .seed = (uint64_t)c->seed, .stochastic = c->stochastic_rounding };
    if (c->lora_rank > 0 || adapter != NULL) TN_GOTO(lora_create(p, c, adapter, err));
    size_t n = tn_model_n_tensor(m), most = p->lora != NULL ? 3 * p->n_lora : n;
    if ((p->slot = calloc(most + 1, sizeof *p->slot)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu tensors", most);
        goto out;
    }
    for (size_t i = 0; i < p->n_lora; i++) {
        tn_lora *l = &p->lora[i];
        slot    *a = slot_add(p, l->name, ".lora_a", &l->a, &l->da);
        slot    *b = slot_add(p, l->name, ".lora_b", &l->b, &l->db);
        a->matrix = b->matrix = a->decay = b->decay = true;
        b->lr_scale = (float)c->lora_plus;
        if (l->magnitude.n_dim > 0) slot_add(p, l->name, ".lora_m", &l->magnitude, &l->dmagnitude);
    }
    for (size_t i = 0; p->lora == NULL && i < n; i++) {
        tn_param *w = tn_model_tensor(m, i);
        slot     *s = slot_add(p, w->name, "", &w->w, &w->grad);
        s->matrix = w->matrix || is_embedding(w);
        s->decay = s->matrix && !is_embedding(w);
    }
    p->grain = p->n_flat <= (int64_t)1 << 24 ? BLOCK : 16 * BLOCK;
    void *grad;
    TN_GOTO(own(p, &grad, (size_t)p->n_flat * 4, "the gradient", err));
    p->grad = grad;
    for (int i = 0; i < p->n_slot; i++) {
        slot *s = &p->slot[i];
        place_gradient(p, s);
        if (bf16 && p->lora == NULL && s->matrix && s->w->n_dim == 2) TN_GOTO(bf16_copy(p, s, err));
    }
out:
    if (status != TN_OK) train_params_free(p);
    return status;
}

void train_params_free(params *p)
{
    for (int i = 0; i < p->n_slot; i++) { /* the model gets its own memory back */
        slot *s = &p->slot[i];
        s->w->dtype = TN_F32;
        s->w->data = s->master;
        if (s->grad != NULL) s->grad->data = NULL;
    }
    for (int i = 0; i < p->n_own; i++) free(p->own[i]);
    free(p->own);
    if (p->lora_read) tn_lora_free(p->lora, p->n_lora);
    else free(p->lora);
    free(p->slot);
    *p = (params){ 0 };
}

void train_params_spans(const params *p, int64_t first, int64_t last, span_fn fn, void *arg)
{
    int lo = 0, hi = p->n_slot; /* the first slot that ends after `first` */
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (p->slot[mid].first + p->slot[mid].n <= first) lo = mid + 1;
        else hi = mid;
    }
    for (; lo < p->n_slot && p->slot[lo].first < last; lo++) {
        const slot *s = &p->slot[lo];
        int64_t     a = first > s->first ? first - s->first : 0;
        int64_t     b = last - s->first < s->n ? last - s->first : s->n;
        if (b > a) fn(arg, s, a, b - a);
    }
}

void train_slot_round(const params *p, const slot *s, int64_t offset, int64_t n)
{
    /* Stochastic rounding is a function of (seed, update, element): the copy of a loaded state is the one
     * that was trained. */
    tn_rng_key key = { p->seed, TN_RNG_ROUND, (uint64_t)p->update, 0 };
    if (s->copy != NULL)
        tn_round_bf16((uint16_t *)s->copy + offset, s->master + offset, n,
                      p->stochastic && p->update > 0 ? &key : NULL, s->first + offset);
}

typedef struct copying {
    const params *p;
    int64_t       first;
    float        *out;
    const float  *in;
} copying;

static void get_span(void *arg, const slot *s, int64_t offset, int64_t n)
{
    copying *c = arg;
    memcpy(c->out + (s->first + offset - c->first), s->master + offset, (size_t)n * 4);
}

static void set_span(void *arg, const slot *s, int64_t offset, int64_t n)
{
    copying     *c = arg;
    const float *in = c->in + (s->first + offset - c->first);
    memcpy(s->master + offset, in, (size_t)n * 4);
    train_slot_round(c->p, s, offset, n);
}

void train_params_get(const params *p, int64_t first, int64_t last, float *out)
{
    memset(out, 0, (size_t)(last - first) * 4);
    train_params_spans(p, first, last, get_span, &(copying){ p, first, out, NULL });
}

void train_params_set(params *p, int64_t first, int64_t last, const float *in)
{
    train_params_spans(p, first, last, set_span, &(copying){ p, first, NULL, in });
}

tn_status train_params_root(const params *p, tn_digest *out, tn_error *err)
{
    tn_status  status = TN_OK;
    tn_sha256 *h = NULL;
    tn_digest *leaf = calloc((size_t)p->n_slot + 1, sizeof *leaf),
              *content = calloc((size_t)p->n_slot + 1, sizeof *content);
    tn_hash_span *spans = calloc((size_t)p->n_slot + 1, sizeof *spans);

    if (leaf == NULL || content == NULL || spans == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the digests of %d tensors", p->n_slot);
        goto out;
    }
    for (int i = 0; i < p->n_slot; i++)
        spans[i] = (tn_hash_span){ p->slot[i].master, (size_t)p->slot[i].n * 4 };
    TN_GOTO(tn_sha256_spans(spans, (size_t)p->n_slot, content, err));
    TN_GOTO(tn_sha256_create(&h, err));
    for (int i = 0; i < p->n_slot; i++) {
        const slot *s = &p->slot[i];
        char        head[256];
        int         n = snprintf(head, sizeof head, "%s f32", s->name);
        for (int d = 0; d < s->w->n_dim; d++)
            n += snprintf(head + n, sizeof head - (size_t)n, " %lld", (long long)s->w->shape[d]);
        unsigned char zero = 0; /* an RFC 9162 leaf: head, NUL, digest of the bytes */
        tn_sha256_update(h, &zero, 1);
        tn_sha256_update(h, head, (size_t)n + 1);
        tn_sha256_update(h, content[i].b, TN_SHA256_BYTES);
        tn_sha256_final(h, &leaf[i]);
    }
    tn_merkle_root(out, leaf, (size_t)p->n_slot);
out:
    tn_sha256_destroy(h);
    free(leaf);
    free(content);
    free(spans);
    return status;
}
