/* write_gguf.c - a model as one .gguf file, whatever it came from.
 *
 * From a GGUF, its metadata are copied pair by pair as they lie (only the file type and splits change), and
 * with unchanged types the bytes of the file come out again. From Hugging Face's form, metadata are made from
 * the hyper-parameters and the tokenizer, and the original JSON files travel along, so that the way back
 * loses nothing:
 *   tokenizer.huggingface.json                    tokenizer.json
 *   tenet.huggingface.<name>                      the other JSON files */
#include "model/carried.h"
#include "model/write_parts.h"
#include "model/write_rows.h"

#include "base/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32 };

typedef struct info {
    char         name[96];
    int64_t      i_param;
    tn_dtype     dtype;
    int          n_dim;
    int64_t      shape[TN_MAX_DIM];
    uint64_t     offset, bytes;
    const float *values;
} info;

/* general.file_type of a type. */
static int64_t file_type(tn_dtype t)
{
    switch (t) {
    case TN_F16: return 1;
    case TN_Q4_0: return 2;
    case TN_Q4_1: return 3;
    case TN_Q8_0: return 7;
    case TN_Q5_0: return 8;
    case TN_Q5_1: return 9;
    case TN_Q4_K: return 14;
    case TN_Q5_K: return 16;
    case TN_Q6_K: return 18;
    case TN_BF16: return 32;
    default: return 0;
    }
}

/* What llama.cpp writes when a row is no multiple of the type's block. */
static tn_dtype fallback(tn_dtype t, int64_t n_col)
{
    if (n_col % tn_dtype_block(t) == 0) return t;
    switch (t) {
    case TN_Q4_K: t = TN_Q5_0; break;
    case TN_Q5_K: t = TN_Q5_1; break;
    case TN_Q6_K: t = TN_Q8_0; break;
    default: t = TN_F16; break;
    }
    return n_col % tn_dtype_block(t) == 0 ? t : TN_F16;
}

/* The type of a weight in the file: vectors and routers stay f32; the head, on which every token depends,
 * gets at least six bits, as llama.cpp does. A line of `notes` for each weight whose rows do not fit. */
static tn_dtype type_for(const tn_model *m, size_t i, tn_dtype type, bool keep_types, tn_str *notes)
{
    const tn_param *p = &m->params[i];
    bool            head = strcmp(p->name, "output.weight") == 0 ||
                (m->h.tied && strcmp(p->name, "token_embd.weight") == 0);

    if (p->w.n_dim == 1 || tn_ends_with(p->name, ".bias")) return TN_F32;
    if (keep_types && !m->slots[i].changed) return m->slots[i].file_dtype;
    if (keep_types) type = tn_dtype_block(m->slots[i].file_dtype) == 1 ? m->slots[i].file_dtype : TN_F32;
    if (tn_ends_with(p->name, "ffn_gate_inp.weight") || strcmp(p->name, "position_embd.weight") == 0)
        return tn_dtype_block(type) == 1 ? type : TN_F32;
    tn_dtype wanted = head && tn_dtype_block(type) > 1 && type != TN_Q8_0 ? TN_Q6_K : type,
             got = fallback(wanted, tn_cols(&p->w));
    if (got != type && notes != NULL)
        tn_str_addf(notes, "%s: %s instead of %s (%s%s%s)\n", p->name, tn_dtype_name(got),
                    tn_dtype_name(type),
                    wanted != type ? "the head keeps six bits" : "rows are no multiple of its block",
                    wanted != type && got != wanted ? ", and its rows are no multiple of the block of " : "",
                    wanted != type && got != wanted ? tn_dtype_name(wanted) : "");
    return got;
}

static void add_info(info *list, size_t *n, const char *name, int64_t i_param, tn_dtype dtype, int n_dim,
                     const int64_t *shape, uint64_t *offset)
{
    info *t = &list[(*n)++];

    *t = (info){ .i_param = i_param, .dtype = dtype, .n_dim = n_dim, .offset = *offset };
    snprintf(t->name, sizeof t->name, "%s", name);
    uint64_t rows = 1;
    for (int d = 0; d < n_dim; d++) t->shape[d] = shape[d];
    for (int d = 0; d + 1 < n_dim; d++) rows *= (uint64_t)shape[d];
    t->bytes = rows * tn_row_bytes(dtype, shape[n_dim - 1]);
    *offset += (t->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* A tied head is one weight, but llama.cpp refuses these architectures without an output.weight: it is
 * written as a copy, under a key that says so, and is one weight again when read (open.c). */
static bool head_is_copied(const tn_model *m)
{
    static const char *const archs[] = { "gptneox", "olmo2", "gpt-oss" };
    const char              *arch = tn_gguf_arch(&m->h);

    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (m->h.tied && arch != NULL && strcmp(arch, archs[i]) == 0) return true;
    return false;
}

/* Parameter i under `name`; behind the embedding its copy, where one is wanted. */
static void add_param(const tn_model *m, info *list, size_t *n, const char *name, size_t i, tn_dtype type,
                      bool keep_types, uint64_t *offset, tn_str *notes)
{
    const tn_tensor *w = &m->params[i].w;
    tn_dtype         got = type_for(m, i, type, keep_types, notes);

    add_info(list, n, name, (int64_t)i, got, w->n_dim, w->shape, offset);
    if (head_is_copied(m) && strcmp(m->params[i].name, "token_embd.weight") == 0)
        add_info(list, n, "output.weight", (int64_t)i, got, w->n_dim, w->shape, offset);
}

/* In the source file's order if there is one, else in the order of names; rope_freqs where it was, or
 * first. */
static size_t list_tensors(const tn_model *m, info *list, tn_dtype type, bool keep_types, float *factors,
                           tn_str *notes)
{
    size_t   n = 0;
    uint64_t offset = 0;
    int64_t  half = m->h.d_rope / 2;

    if (factors != NULL && m->n_gguf == 0) {
        add_info(list, &n, "rope_freqs.weight", -1, TN_F32, 1, &half, &offset);
        list[0].values = factors;
    }
    for (size_t g = 0; g < m->n_gguf; g++)
        for (size_t k = 0; k < m->gguf[g]->n_tensor; k++) {
            const char *name = m->gguf[g]->tensors[k].name;
            int64_t     i = tn_model_index(m, name);
            if (i >= 0) {
                add_param(m, list, &n, name, (size_t)i, type, keep_types, &offset, notes);
            } else if (m->freq_factors != NULL && strcmp(name, "rope_freqs.weight") == 0) {
                add_info(list, &n, name, -1, TN_F32, 1, &half, &offset);
                list[n - 1].values = m->freq_factors;
            }
        }
    for (size_t i = 0; i < m->n_param && m->n_gguf == 0; i++)
        add_param(m, list, &n, m->params[i].name, i, type, keep_types, &offset, notes);
    return n;
}

/* The type of most values, for general.file_type. */
static tn_dtype main_type(const info *list, size_t n)
{
    uint64_t sum[TN_DTYPE_COUNT] = { 0 };
    int      best = TN_F32;

    for (size_t i = 0; i < n; i++)
        if (list[i].n_dim > 1) sum[list[i].dtype] += list[i].bytes;
    for (int t = 0; t < TN_DTYPE_COUNT; t++)
        if (sum[t] > sum[best]) best = t;
    return (tn_dtype)best;
}

static bool skip_key(const tn_gguf_kv *kv)
{
    static const char *const keys[] = { "split.no",
                                        "split.count",
                                        "split.tensors.count",
                                        "general.file_type",
                                        "general.quantization_version",
                                        TN_GGUF_TIED };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (kv->key_n == strlen(keys[i]) && memcmp(kv->key, keys[i], kv->key_n) == 0) return true;
    return false;
}

/* A chat format was asked for: the file's own templates go, and the files inside get the new one and its stop
 * token. */
static bool skip_template(const tn_gguf_kv *kv)
{
    static const char *const keys[] = { "tokenizer.chat_template", "tenet.huggingface.chat_template.jinja",
                                        "tenet.huggingface.tokenizer_config.json",
                                        "tenet.huggingface.generation_config.json" };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (kv->key_n >= strlen(keys[i]) && memcmp(kv->key, keys[i], strlen(keys[i])) == 0) return true;
    return false;
}

/* The folder's name, unless that is a digest, as a store names folders, or no text; or where the bytes may
 * not depend on where the model lies. */
static const char *name_of(const tn_model *m)
{
    const char *name = tn_basename(m->path);
    size_t      n = strspn(name, "0123456789abcdef");

    return m->nameless || (n >= 32 && name[n] == '\0') || strcmp(name, ".") == 0 ||
                   !tn_utf8_valid(name, strlen(name))
               ? tn_gguf_arch(&m->h)
               : name;
}

static tn_status put_template(const tn_model *m, tn_str *s, uint64_t *n, tn_error *err)
{
    static const char *const names[] = { "tokenizer_config.json", "generation_config.json" };
    char                    *text = NULL, *config = NULL;
    tn_status                status = TN_OK;

    TN_GOTO(tn_chosen_template(m, &text, err));
    tn_kv_str(s, n, "tokenizer.chat_template", text, strlen(text));
    for (int i = 0; i < 2; i++) {
        char   key[96];
        size_t config_n;
        free(config);
        config = NULL;
        TN_GOTO(tn_carried(m->gguf[0], names[i], &config, err));
        if (config == NULL) continue;
        config_n = strlen(config);
        TN_GOTO(tn_chosen_text(m, names[i], &config, &config_n, err));
        snprintf(key, sizeof key, "tenet.huggingface.%s", names[i]);
        tn_kv_str(s, n, key, config, config_n);
    }
out:
    free(text);
    free(config);
    return status;
}

static tn_status metadata(const tn_model *m, tn_str *s, uint64_t *n, tn_dtype most, tn_error *err)
{
    if (m->n_gguf > 0) {
        const tn_gguf *g = m->gguf[0];
        for (size_t i = 0; i < g->n_kv; i++)
            if (!skip_key(&g->kv[i]) && !(m->chat_chosen && skip_template(&g->kv[i])) &&
                !(g->kv[i].key_n == 17 && memcmp(g->kv[i].key, "general.alignment", 17) == 0)) {
                tn_str_add_n(s, g->kv[i].begin, (size_t)(g->kv[i].end - g->kv[i].begin));
                ++*n;
            }
        if (m->chat_chosen) TN_TRY(put_template(m, s, n, err));
    } else {
        const char *arch = tn_gguf_arch(&m->h), *name = name_of(m);
        if (arch == NULL) return tn_fail(err, TN_UNSUPPORTED, "family '%s' has no form in GGUF", m->h.family);
        tn_kv_str(s, n, "general.architecture", arch, strlen(arch));
        tn_kv_str(s, n, "general.type", "model", 5);
        tn_kv_str(s, n, "general.name", name, strlen(name));
        TN_TRY(tn_kv_hparams(s, n, &m->h, err));
        TN_TRY(tn_carry_tokenizer(m, s, n, err));
    }
    if (head_is_copied(m)) tn_kv_bool(s, n, TN_GGUF_TIED, true);
    tn_kv_u32(s, n, "general.file_type", file_type(most));
    if (tn_dtype_block(most) > 1) tn_kv_u32(s, n, "general.quantization_version", 2);
    return tn_str_check(s, err);
}

static tn_status pad(tn_out *o, uint64_t bytes, tn_error *err)
{
    static const uint8_t zero[ALIGNMENT];

    return bytes % ALIGNMENT == 0 ? TN_OK : tn_out_write(o, zero, ALIGNMENT - bytes % ALIGNMENT, err);
}

static tn_status write_tensors(const tn_model *m, tn_out *o, const info *list, size_t n, tn_error *err)
{
    for (size_t i = 0; i < n; i++) {
        tn_bytes b = { .p = (const uint8_t *)list[i].values, .n = list[i].bytes };
        if (list[i].values == NULL) TN_TRY(tn_bytes_gguf(&b, m, (size_t)list[i].i_param, list[i].dtype, err));
        tn_status s = tn_out_write(o, b.p, b.n, err);
        free(b.own);
        TN_TRY(s);
        TN_TRY(pad(o, b.n, err));
    }
    return TN_OK;
}

static void add_infos(tn_str *s, const info *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const info *t = &list[i];
        uint64_t    len = strlen(t->name);
        uint32_t    n_dim = (uint32_t)t->n_dim, type = (uint32_t)tn_dtype_gguf(t->dtype);
        tn_str_add_n(s, &len, sizeof len);
        tn_str_add_n(s, t->name, len);
        tn_str_add_n(s, &n_dim, sizeof n_dim);
        for (int d = t->n_dim - 1; d >= 0; d--) {
            uint64_t dim = (uint64_t)t->shape[d];
            tn_str_add_n(s, &dim, sizeof dim);
        }
        tn_str_add_n(s, &type, sizeof type);
        tn_str_add_n(s, &t->offset, sizeof t->offset);
    }
}

static bool is_unchanged(const tn_model *m)
{
    for (size_t i = 0; i < m->n_param; i++)
        if (m->slots[i].changed) return false;
    return true;
}

tn_status tn_write_gguf(const tn_model *m, const char *out, tn_dtype type, bool keep_types, tn_str *notes,
                        tn_error *err)
{
    size_t    n = 0, room = m->n_param + 2; /* rope_freqs, and a head that is a copy */
    info     *list = calloc(room + 1, sizeof *list);
    float    *factors = NULL;
    tn_str    kv = { 0 }, head = { 0 };
    uint64_t  n_kv = 0;
    tn_out   *o = NULL;
    tn_status status = TN_OK;

    if (keep_types && m->n_gguf == 1 && is_unchanged(m) && !m->chat_chosen) {
        free(list);
        return tn_file_clone(m->gguf[0]->path, out, false, err);
    }
    if (m->h.rope.kind == TN_ROPE_LLAMA3) factors = malloc((size_t)(m->h.d_rope / 2 + 1) * sizeof *factors);
    if (list == NULL || (m->h.rope.kind == TN_ROPE_LLAMA3 && factors == NULL)) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its index", out);
        goto out;
    }
    if (factors != NULL) tn_llama3_factors(factors, m->h.d_rope, m->h.rope_theta, &m->h.rope);
    n = list_tensors(m, list, type, keep_types, factors, notes);
    TN_GOTO(metadata(m, &kv, &n_kv, main_type(list, n), err));
    uint32_t version = 3;
    uint64_t count = n;
    tn_str_add_n(&head, "GGUF", 4);
    tn_str_add_n(&head, &version, sizeof version);
    tn_str_add_n(&head, &count, sizeof count);
    tn_str_add_n(&head, &n_kv, sizeof n_kv);
    tn_str_add_n(&head, kv.p, kv.len);
    add_infos(&head, list, n);
    TN_GOTO(tn_str_check(&head, err));
    if (m->n_gguf == 0) TN_GOTO(tn_gguf_says_all(&m->h, (const uint8_t *)head.p, head.len, out, err));
    TN_GOTO(tn_out_open(&o, out, err));
    TN_GOTO(tn_out_write(o, head.p, head.len, err));
    TN_GOTO(pad(o, head.len, err));
    TN_GOTO(write_tensors(m, o, list, n, err));
    status = tn_out_commit(o, err);
    o = NULL;
out:
    tn_out_abandon(o);
    tn_str_free(&kv);
    tn_str_free(&head);
    free(factors);
    free(list);
    return status;
}
