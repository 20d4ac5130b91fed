/* params.c - the weights of a model by name: adding, sealing, packing, making them f32. */
#include "model/model_impl.h"

#include "base/memory.h"
#include "base/thread.h"
#include "model/st_write.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

tn_status tn_model_new(tn_model **out, const char *path, tn_error *err)
{
    tn_model *m = calloc(1, sizeof *m);

    *out = NULL;
    if (m == NULL || (m->path = tn_strdup(path)) == NULL) {
        free(m);
        return tn_fail(err, TN_NOMEM, "%s: no memory for a model", path);
    }
    tn_path_trim(m->path); /* its last part is the model's name */
    m->chat_status = TN_UNSUPPORTED;
    *out = m;
    return TN_OK;
}

void tn_model_close(tn_model *m)
{
    if (m == NULL) return;
    for (size_t i = 0; i < m->n_param; i++) {
        tn_weight_free(m->slots[i].packed);
        free(m->slots[i].own);
        free(m->slots[i].own_file);
    }
    free(m->params);
    free(m->slots);
    for (size_t i = 0; i < m->n_gguf; i++) tn_gguf_close(m->gguf[i]);
    for (size_t i = 0; i < m->n_st; i++) tn_st_close(m->st[i]);
    free(m->gguf);
    free(m->st);
    json_decref(m->config);
    free(m->freq_factors);
    tn_chat_free(&m->chat);
    tn_tokenizer_destroy(m->tok_own);
    free(m->path);
    free(m);
}

void *tn_model_alloc_rows(size_t bytes)
{
    size_t whole = (bytes + 63) & ~(size_t)63;
    bool   there = whole >= bytes && tn_memory_has(whole);
    void  *p = there ? aligned_alloc(64, whole == 0 ? 64 : whole) : NULL;

    if (p != NULL) memset(p, 0, whole);
    return p;
}

static bool is_weight_dtype(tn_dtype t)
{
    return t != TN_I8 && t != TN_I16 && t != TN_I32 && t != TN_I64 && t != TN_F64 && t != TN_U8 &&
           t < TN_DTYPE_COUNT;
}

tn_status tn_model_add(tn_model *m, const char *name, tn_dtype dtype, int n_dim, const int64_t *shape,
                       const void *rows, void *own, tn_error *err)
{
    if (m->n_param == m->cap) {
        size_t    cap = m->cap == 0 ? 256 : 2 * m->cap;
        tn_param *params = realloc(m->params, cap * sizeof *params);
        if (params != NULL) m->params = params;
        tn_slot *slots = realloc(m->slots, cap * sizeof *slots);
        if (slots != NULL) m->slots = slots;
        if (params == NULL || slots == NULL) {
            free(own);
            return tn_fail(err, TN_NOMEM, "%s: no memory for the list of weights", m->path);
        }
        m->cap = cap;
    }
    tn_param *p = &m->params[m->n_param];
    tn_slot  *s = &m->slots[m->n_param];
    memset(p, 0, sizeof *p);
    memset(s, 0, sizeof *s);
    if (strlen(name) >= sizeof p->name || n_dim < 1 || n_dim > TN_MAX_DIM || !is_weight_dtype(dtype)) {
        free(own);
        return tn_fail(
            err, TN_FORMAT,
            "%s: weight '%s' has %d dimensions and type %s; 1 to %d dimensions of a floating-point or "
            "block-quantised type are expected",
            m->path, name, n_dim, dtype < TN_DTYPE_COUNT ? tn_dtype_name(dtype) : "?", TN_MAX_DIM);
    }
    snprintf(p->name, sizeof p->name, "%s", name);
    p->w.dtype = dtype;
    p->w.n_dim = n_dim;
    for (int i = 0; i < n_dim; i++) p->w.shape[i] = shape[i];
    p->w.data = (void *)rows;
    s->file_dtype = dtype;
    s->file_rows = rows;
    s->own = own;
    m->n_param++;
    return TN_OK;
}

typedef struct pair {
    tn_param p;
    tn_slot  s;
} pair;

static int pair_order(const void *a, const void *b)
{
    return strcmp(((const pair *)a)->p.name, ((const pair *)b)->p.name);
}

/* Norms and biases (also the experts' [n_expert][n]): few values, read as f32 by every operation. */
static bool is_vector(const tn_param *p)
{
    size_t n = strlen(p->name);
    return p->w.n_dim == 1 || (n > 5 && strcmp(p->name + n - 5, ".bias") == 0);
}

static tn_status vector_to_f32(tn_model *m, size_t i, tn_error *err)
{
    tn_tensor *w = &m->params[i].w;
    tn_slot   *s = &m->slots[i];

    if (!is_vector(&m->params[i]) || w->dtype == TN_F32) return TN_OK;
    if (w->data != NULL) {
        float *f = tn_model_alloc_rows((size_t)tn_n_elem(w) * sizeof *f);
        if (f == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for '%s'", m->path, m->params[i].name);
        tn_row_to_f32(f, w->data, w->dtype, tn_n_elem(w));
        s->own_file = s->own;
        s->own = f;
        w->data = f;
    }
    w->dtype = TN_F32;
    return TN_OK;
}

/* Matrix products read it: everything with two dimensions, but look-up tables only when they are the head
 * too. */
static bool is_matrix(const tn_model *m, const tn_param *p)
{
    if (is_vector(p)) return false;
    if (strcmp(p->name, "token_embd.weight") == 0) return m->h.tied;
    return strcmp(p->name, "position_embd.weight") != 0;
}

tn_status tn_model_seal(tn_model *m, tn_error *err)
{
    pair *pairs = calloc(m->n_param + 1, sizeof *pairs);

    if (pairs == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for the list of weights", m->path);
    for (size_t i = 0; i < m->n_param; i++) pairs[i] = (pair){ m->params[i], m->slots[i] };
    qsort(pairs, m->n_param, sizeof *pairs, pair_order);
    for (size_t i = 0; i < m->n_param; i++) {
        m->params[i] = pairs[i].p;
        m->slots[i] = pairs[i].s;
    }
    free(pairs);
    for (size_t i = 1; i < m->n_param; i++)
        if (strcmp(m->params[i - 1].name, m->params[i].name) == 0)
            return tn_fail(err, TN_FORMAT, "%s: weight '%s' is there twice", m->path, m->params[i].name);
    for (size_t i = 0; i < m->n_param; i++) {
        TN_TRY(vector_to_f32(m, i, err));
        m->params[i].matrix = is_matrix(m, &m->params[i]);
    }
    return TN_OK;
}

int64_t tn_model_index(const tn_model *m, const char *name)
{
    size_t lo = 0, hi = m->n_param;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int    d = strcmp(m->params[mid].name, name);
        if (d == 0) return (int64_t)mid;
        if (d < 0) lo = mid + 1;
        else hi = mid;
    }
    return -1;
}

const void *tn_model_rows(const tn_model *m, size_t i, tn_dtype *dtype)
{
    const tn_param *p = &m->params[i];

    *dtype = p->w.dtype;
    if (p->w.data != NULL) return p->w.data;
    *dtype = m->slots[i].file_dtype;
    return m->slots[i].file_rows;
}

/* ---------------------------------------------------------------------------------------- packing and f32 */

void tn_model_drop_pages(const tn_model *m, const void *rows, size_t bytes)
{
    const uint8_t *p = rows;

    for (size_t i = 0; i < m->n_gguf; i++)
        if (p >= m->gguf[i]->map.p && p < m->gguf[i]->map.p + m->gguf[i]->map.n)
            tn_map_drop(&m->gguf[i]->map, p, bytes);
    for (size_t i = 0; i < m->n_st; i++) {
        const tn_map *map = tn_st_map(m->st[i]);
        if (p >= map->p && p < map->p + map->n) tn_map_drop(map, p, bytes);
    }
}

static int size_order(const void *a, const void *b)
{
    const tn_param *x = *(const tn_param *const *)a, *y = *(const tn_param *const *)b;
    size_t          n = tn_n_bytes(&x->w), k = tn_n_bytes(&y->w);

    return n != k ? (n < k ? 1 : -1) : strcmp(x->name, y->name);
}

/* Vectors that are f32 in the file are read in every run: a few kilobytes each, but between them the map
 * would bring back pages of matrices that nobody reads any more. */
static tn_status copy_vector(tn_model *m, size_t i, tn_error *err)
{
    tn_tensor *w = &m->params[i].w;
    tn_slot   *s = &m->slots[i];

    if (s->own != NULL) return TN_OK;
    if ((s->own = tn_model_alloc_rows(tn_n_bytes(w))) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for '%s'", m->path, m->params[i].name);
    memcpy(s->own, w->data, tn_n_bytes(w));
    w->data = s->own;
    return TN_OK;
}

static tn_status pack_one(tn_model *m, size_t i, tn_error *err)
{
    tn_tensor *w = &m->params[i].w;
    tn_slot   *s = &m->slots[i];

    if (w->data == NULL || s->packed != NULL) return TN_OK;
    if (is_vector(&m->params[i])) return copy_vector(m, i, err);
    TN_TRY(tn_weight_pack(&s->packed, w->data, w->dtype, tn_rows(w), tn_cols(w), m->profile, err));
    w->packed = s->packed;
    /* no file has these rows: what the digest needs of them is made now */
    if (s->own != NULL && !s->changed) {
        TN_TRY(tn_model_leaf(m, i, &s->leaf, err));
        s->has_leaf = true;
    }
    tn_model_drop_pages(m, w->data, tn_n_bytes(w));
    w->data = NULL;
    if (s->own != NULL) { /* rearranged rows: only the packed form is kept */
        free(s->own);
        s->own = NULL;
        s->file_rows = NULL;
    }
    return TN_OK;
}

/* Of all the model's files: what was read of them is not needed again soon. */
void tn_model_drop_files(const tn_model *m)
{
    for (size_t i = 0; i < m->n_gguf; i++)
        tn_map_drop(&m->gguf[i]->map, m->gguf[i]->map.p, m->gguf[i]->map.n);
    for (size_t i = 0; i < m->n_st; i++)
        tn_map_drop(tn_st_map(m->st[i]), tn_st_map(m->st[i])->p, tn_st_map(m->st[i])->n);
}

/* Vectors first: they lie scattered between the matrices, and a page that is touched brings the pages around
 * it (up to 2 MiB on newer kernels), which should not come on top of the packed weights. Then the largest
 * matrix first, for while one is packed both its forms are in memory. */
tn_status tn_model_pack(tn_model *m, tn_error *err)
{
    const tn_param **order = malloc((m->n_param + 1) * sizeof *order);
    tn_status        status = TN_OK;

    if (order == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory to pack its weights", m->path);
    for (size_t i = 0; i < m->n_param; i++) order[i] = &m->params[i];
    qsort(order, m->n_param, sizeof *order, size_order);
    for (int matrices = 0; matrices < 2; matrices++) {
        for (size_t i = 0; i < m->n_param && status == TN_OK; i++)
            if (is_vector(order[i]) != (matrices != 0))
                status = pack_one(m, (size_t)(order[i] - m->params), err);
        tn_model_drop_files(m);
    }
    free(order);
    return status;
}

typedef struct widen {
    float           *dst;
    const uint8_t   *src;
    tn_dtype         dtype;
    int64_t          n;
    size_t           row_bytes;
    const tn_weight *packed;
} widen;

static void widen_rows(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const widen *j = arg;

    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        if (j->src != NULL)
            tn_row_to_f32(j->dst + r * j->n, j->src + (size_t)r * j->row_bytes, j->dtype, j->n);
        else tn_weight_row(j->dst + r * j->n, j->packed, r);
    }
}

tn_status tn_model_to_f32(tn_model *m, tn_error *err)
{
    for (size_t i = 0; i < m->n_param; i++) {
        tn_tensor *w = &m->params[i].w;
        tn_slot   *s = &m->slots[i];
        tn_dtype   dtype;
        widen      j = { .src = tn_model_rows(m, i, &dtype), .packed = s->packed };

        if (j.src == NULL && j.packed == NULL)
            return tn_fail(err, TN_USAGE,
                           "%s: the weights were not loaded, so they cannot be trained: open it with weights",
                           m->path);
        s->changed = true;
        s->has_leaf = false;
        if (w->dtype == TN_F32 && w->data != NULL && s->own != NULL && w->data == s->own) continue;
        j.dtype = dtype;
        j.n = tn_cols(w);
        j.row_bytes = tn_row_bytes(dtype, j.n);
        j.dst = tn_model_alloc_rows((size_t)tn_n_elem(w) * sizeof(float));
        if (j.dst == NULL)
            return tn_fail(err, TN_NOMEM, "%s: no memory to make '%s' 32-bit (%" PRId64 " values)", m->path,
                           m->params[i].name, tn_n_elem(w));
        tn_parallel(tn_rows(w), 16, widen_rows, &j);
        tn_weight_free(s->packed);
        free(s->own);
        free(s->own_file);
        if (s->file_rows != NULL)
            tn_model_drop_pages(m, s->file_rows, tn_row_bytes(s->file_dtype, j.n) * (size_t)tn_rows(w));
        s->packed = NULL;
        s->own_file = NULL;
        s->file_rows = NULL;
        s->own = j.dst;
        w->packed = NULL;
        w->data = j.dst;
        w->dtype = TN_F32;
    }
    return TN_OK;
}

/* ---------------------------------------------------------------------------------------------- accessors */

const tn_hparams   *tn_model_hparams(const tn_model *m) { return &m->h; }
const tn_tokenizer *tn_model_tokenizer(const tn_model *m) { return m->tok; }
const char         *tn_model_path(const tn_model *m) { return m->path; }
tn_profile          tn_model_profile(const tn_model *m) { return m->profile; }
size_t              tn_model_n_tensor(const tn_model *m) { return m->n_param; }
tn_param           *tn_model_tensor(tn_model *m, size_t i) { return i < m->n_param ? &m->params[i] : NULL; }

tn_param *tn_model_find(tn_model *m, const char *name)
{
    int64_t i = tn_model_index(m, name);
    return i < 0 ? NULL : &m->params[i];
}

tn_status tn_model_chat(const tn_model *m, const tn_chat **out, tn_error *err)
{
    *out = NULL;
    if (m->chat_status != TN_OK) return tn_fail(err, m->chat_status, "%s", m->chat_why);
    *out = &m->chat;
    return TN_OK;
}

bool tn_model_is_stop(const tn_model *m, int32_t id)
{
    for (int i = 0; i < m->n_stop; i++)
        if (m->stop[i] == id) return true;
    return id == m->h.eos || (m->tok != NULL && tn_chat_is_stop(&m->chat, m->tok, id));
}

/* The type that holds two thirds of the matrices' values, or "mixed". */
const char *tn_model_dtype_name(const tn_model *m)
{
    static const char *const upper[TN_DTYPE_COUNT] = {
#define X(name, gguf, block, bytes) #name,
        TN_DTYPE_LIST(X)
#undef X
    };
    int64_t sum[TN_DTYPE_COUNT] = { 0 }, all = 0;

    for (size_t i = 0; i < m->n_param; i++) {
        const tn_tensor *w = &m->params[i].w;
        if (w->n_dim < 2) continue;
        sum[m->slots[i].changed ? TN_F32 : m->slots[i].file_dtype] += tn_n_elem(w);
        all += tn_n_elem(w);
    }
    for (int t = 0; t < TN_DTYPE_COUNT; t++)
        if (sum[t] > 0 && sum[t] >= all - all / 3) return upper[t];
    return "mixed";
}

int64_t tn_model_n_param(const tn_model *m, bool active_only)
{
    int64_t n = 0;

    for (size_t i = 0; i < m->n_param; i++) {
        int64_t k = tn_n_elem(&m->params[i].w);
        if (active_only && strstr(m->params[i].name, "_exps.") != NULL && m->h.n_expert > 0)
            k = k / m->h.n_expert * m->h.n_expert_used;
        n += k;
    }
    return n;
}
