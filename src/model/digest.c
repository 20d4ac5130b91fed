/* digest.c - what "the weights" are, whatever file they came from: a Merkle root over the tensors in name
 * order.
 *
 *   leaf  = SHA-256 of  name \0 dtype \0 n_dim u32, shape u64 each, bytes        (little-endian)
 *   root  = Merkle tree over the leaves (provenance's tree)
 *
 * The canonical form is GGUF's: rotated rows interleaved where its architecture does so, vectors as f32,
 * Gemma's norms as
 * 1 + w. So a directory and the .gguf made from it have one digest. */
#include "model/hf_layout.h"

#include "base/hash.h"
#include "base/thread.h"
#include "provenance/provenance.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 4 << 20 };

static void hash_head(tn_sha256 *s, const tn_param *p, tn_dtype dtype)
{
    uint32_t n_dim = (uint32_t)p->w.n_dim;

    tn_sha256_update(s, p->name, strlen(p->name) + 1);
    tn_sha256_update(s, tn_dtype_name(dtype), strlen(tn_dtype_name(dtype)) + 1);
    tn_sha256_update(s, &n_dim, sizeof n_dim);
    for (int i = 0; i < p->w.n_dim; i++) {
        uint64_t d = (uint64_t)p->w.shape[i];
        tn_sha256_update(s, &d, sizeof d);
    }
}

/* Rows that nobody else reads (the panels took their place) leave memory behind us: else a model would lie
 * there twice. */
static void hash_rows(tn_sha256 *s, const tn_model *m, size_t i, const uint8_t *rows, size_t n)
{
    bool drop = m->params[i].w.data == NULL;

    for (size_t at = 0, k; at < n; at += k) {
        k = n - at < PIECE ? n - at : PIECE;
        tn_sha256_update(s, rows + at, k);
        if (drop) tn_model_drop_pages(m, rows + at, k);
    }
}

static void leaf(const tn_model *m, size_t i, tn_sha256 *s, tn_digest *out)
{
    const tn_param *p = &m->params[i];
    tn_dtype        dtype;
    const uint8_t  *rows = tn_model_rows(m, i, &dtype);
    tn_name         name;
    int64_t         n_head;

    hash_head(s, p, dtype);
    size_t row = tn_row_bytes(dtype, tn_cols(&p->w)),
           all = p->w.n_dim == 1 ? tn_n_bytes(&p->w) : row * (size_t)tn_rows(&p->w);
    if (!m->h.rope_interleaved && tn_gguf_interleaves(&m->h) && tn_is_qk(p->name, &m->h, &n_head)) {
        int64_t n = p->w.shape[0];
        size_t  one = p->w.n_dim == 1 ? sizeof(float) : row;
        for (int64_t r = 0; r < n; r++)
            tn_sha256_update(s, rows + (size_t)tn_row_half_split(r, m->h.d_head) * one, one);
        if (p->w.data == NULL) tn_model_drop_pages(m, rows, all);
    } else if (m->h.norm_plus_one && tn_name_to_hf(&m->h, p->name, -1, &name) &&
               name.layout == TN_LAYOUT_NORM) {
        for (int64_t k = 0; k < p->w.shape[0]; k++) {
            float one_more = 1.0f + ((const float *)(const void *)rows)[k];
            tn_sha256_update(s, &one_more, sizeof one_more);
        }
    } else {
        hash_rows(s, m, i, rows, all);
    }
    tn_sha256_final(s, out);
}

typedef struct leaf_job {
    const tn_model *m;
    tn_digest      *leaves;
    tn_sha256     **hash;
} leaf_job;

static void make_leaf(void *arg, size_t i)
{
    const leaf_job *job = arg;

    if (job->m->slots[i].has_leaf) job->leaves[i] = job->m->slots[i].leaf;
    else leaf(job->m, i, job->hash[i], &job->leaves[i]);
}

tn_status tn_model_leaf(const tn_model *m, size_t i, tn_digest *out, tn_error *err)
{
    tn_sha256 *hash;

    TN_TRY(tn_sha256_create(&hash, err));
    leaf(m, i, hash, out);
    tn_sha256_destroy(hash);
    return TN_OK;
}

tn_status tn_model_digest(const tn_model *m, tn_digest *out, tn_error *err)
{
    leaf_job  job = { m, malloc((m->n_param + 1) * sizeof *job.leaves),
                      calloc(m->n_param + 1, sizeof *job.hash) };
    tn_dtype  unused;
    tn_status status = TN_OK;

    if (job.leaves == NULL || job.hash == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for its digest", m->path);
        goto out;
    }
    for (size_t i = 0; i < m->n_param; i++) {
        TN_GOTO(tn_sha256_create(&job.hash[i], err));
        if (m->slots[i].has_leaf || tn_model_rows(m, i, &unused) != NULL) continue;
        status = tn_fail(err, TN_USAGE,
                         "%s: the digest needs the rows of '%s', which were packed and dropped: open the "
                         "model without packing",
                         m->path, m->params[i].name);
        goto out;
    }
    tn_parallel_items(m->n_param, make_leaf, &job);
    tn_merkle_root(out, job.leaves, m->n_param);
    /* A page that is read brings the pages around it, also of rows that were dropped a moment before. */
    bool packed = false;
    for (size_t i = 0; i < m->n_param; i++) packed = packed || m->params[i].w.data == NULL;
    if (packed) tn_model_drop_files(m);
out:
    for (size_t i = 0; job.hash != NULL && i < m->n_param; i++) tn_sha256_destroy(job.hash[i]);
    free(job.hash);
    free(job.leaves);
    return status;
}
