/* create.c - a model from scratch. The family is asked to build itself once without weights: every weight
 * that it asks for is noted with its shape, then made and filled.
 *
 *   norms          1 (0 where they are used as 1 + w)        biases   0
 *   other weights  N(0, init_std), one counter stream a weight, keyed by its name: the values depend on seed, name and
 *                  position alone, not on the order or the threads that fill them
 *   GPT-2          the projections into the residual stream by 1/sqrt(2 n_layer) smaller, as its paper says */
#include "model/net.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/str.h"
#include "base/thread.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct fill {
    float     *w;
    tn_rng_key key;
    double     std;
} fill;

static void fill_normal(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const fill *f = arg;

    (void)i_thread;
    tn_rng_normals(f->w + begin, &f->key, (uint64_t)begin, end - begin, f->std);
}

static void fill_weight(const tn_builder *b, const tn_wanted *want, float *w, uint64_t seed)
{
    const tn_hparams *h = b->h;
    int64_t           n = tn_n_elem(&want->t);
    const char       *name = want->name;
    bool              norm = want->t.n_dim == 1 && tn_ends_with(name, "_norm.weight");

    if (tn_ends_with(name, ".bias") || (norm && h->norm_plus_one)) return; /* memory comes zeroed */
    if (norm) {
        for (int64_t i = 0; i < n; i++) w[i] = 1;
        return;
    }
    fill f = { .w = w,
               .key = { seed, TN_RNG_INIT, 0, tn_hash64(name, strlen(name)) },
               .std = h->init_std > 0 ? h->init_std : 0.02 };
    if (b->family->scaled_residual_init &&
        (tn_ends_with(name, "attn_output.weight") || tn_ends_with(name, "ffn_down.weight")))
        f.std /= sqrt(2.0 * (double)h->n_layer);
    tn_parallel(n, 4096, fill_normal, &f);
}

tn_status tn_hparams_check_new(const tn_hparams *h, tn_error *err)
{
    // clang-format off
    const struct { const char *name; int64_t value, least; } sizes[] = {
        { "n_layer", h->n_layer, 1 }, { "n_embd", h->n_embd, 1 }, { "n_head", h->n_head, 1 }, { "n_head_kv", h->n_head_kv, 1 },
        { "d_head", h->d_head, 1 }, { "n_vocab", h->n_vocab, 2 }, { "n_ctx", h->n_ctx, 1 },
    };
    // clang-format on

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value < sizes[i].least || sizes[i].value > INT32_MAX)
            return tn_fail(err, TN_USAGE, "a new model needs %s of at least %" PRId64 ", not %" PRId64,
                           sizes[i].name, sizes[i].least, sizes[i].value);
    if (h->n_head % h->n_head_kv != 0)
        return tn_fail(err, TN_USAGE,
                       "%" PRId64 " heads cannot share %" PRId64
                       " key/value heads: n_head must be a multiple of n_head_kv",
                       h->n_head, h->n_head_kv);
    if (!(h->norm_eps > 0))
        return tn_fail(err, TN_USAGE, "a new model needs norm_eps above 0 (1e-5 is usual)");
    return TN_OK;
}

/* Builds the forward over one row with weights that have no memory yet; b->wanted has them all afterwards. */
static tn_status collect_weights(tn_builder *b, tn_error *err)
{
    tn_net    net = { .model = b->model };
    tn_status status = tn_graph_create(&net.g, 1, err);

    if (status != TN_OK) return status;
    b->net = &net;
    b->collect = true;
    status = model_build_with(b, err);
    if (status == TN_OK && !b->h->tied) {
        model_weight(b, "output", ".weight", 2, (int64_t[]){ b->h->n_vocab, b->h->n_embd });
        status = tn_graph_status(net.g, err);
    }
    tn_graph_destroy(net.g);
    b->net = NULL;
    return status;
}

/* All at once: a shape far too large is refused before minutes are spent on filling what fits of it. */
static tn_status memory_check(const tn_builder *b, tn_error *err)
{
    size_t bytes = 0;

    for (size_t i = 0; i < b->n_wanted; i++)
        if (!tn_add_size(bytes, tn_n_bytes(&b->wanted[i]->t), &bytes)) bytes = SIZE_MAX;
    if (tn_memory_has(bytes)) return TN_OK;
    return tn_fail(
        err, TN_NOMEM,
        "the weights of a new model of this shape need %.2f GiB, and this machine has %.2f GiB free: "
        "lower n_layer, n_embd, n_ff or n_vocab",
        (double)bytes / 0x1p30, (double)tn_memory_left() / 0x1p30);
}

tn_status tn_model_create(tn_model **out, const tn_hparams *h, tn_tokenizer *tok, uint64_t seed,
                          tn_error *err)
{
    tn_status  status = TN_OK;
    tn_model  *m = NULL;
    tn_builder b = { 0 };

    *out = NULL;
    TN_TRY(tn_hparams_check_new(h, err));
    TN_GOTO(tn_model_new(&m, "new model", err));
    m->h = *h;
    m->h.rope.freq_factors = NULL;
    m->tok = tok;
    snprintf(m->chat_why, sizeof m->chat_why,
             "a new model has no chat format: choose one with --chat-format");
    if (h->rope.freq_factors != NULL) {
        size_t n = (size_t)(h->d_rope > 0 ? h->d_rope : h->d_head) / 2;
        if ((m->freq_factors = malloc((n + 1) * sizeof *m->freq_factors)) == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a new model");
            goto out;
        }
        memcpy(m->freq_factors, h->rope.freq_factors, n * sizeof *m->freq_factors);
        m->h.rope.freq_factors = m->freq_factors;
    }
    b.model = m;
    b.h = &m->h;
    TN_GOTO(collect_weights(&b, err));
    TN_GOTO(memory_check(&b, err));
    for (size_t i = 0; i < b.n_wanted; i++) {
        const tn_tensor *t = &b.wanted[i]->t;
        float           *w = tn_model_alloc_rows(tn_n_bytes(t));
        if (w == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for '%s' of the new model (%zu bytes)",
                             b.wanted[i]->name, tn_n_bytes(t));
            goto out;
        }
        fill_weight(&b, b.wanted[i], w, seed);
        TN_GOTO(tn_model_add(m, b.wanted[i]->name, TN_F32, t->n_dim, t->shape, w, w, err));
    }
    TN_GOTO(tn_model_seal(m, err));
    *out = m;
    m = NULL;
out:
    for (size_t i = 0; i < b.n_wanted; i++) free(b.wanted[i]);
    free(b.wanted);
    tn_model_close(m);
    return status;
}
