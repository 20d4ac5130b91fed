/* lora.c - low-rank adapters (arXiv:2106.09685) put into the weights, with DoRA's magnitudes
 * (arXiv:2402.09353).
 *
 *   W' = W + scale B A                 the sum over the rank is one chain from 0, ascending; then fma(scale, sum, W)
 *   W' = (m / |W'|) W' by rows         DoRA
 *
 * in fp32, then rounded once to the type that the weight is stored in. */
#include "model/model_impl.h"

#include "base/thread.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void tn_lora_free(tn_lora *lora, size_t n)
{
    for (size_t i = 0; lora != NULL && i < n; i++) {
        free(lora[i].a.data);
        free(lora[i].b.data);
        free(lora[i].magnitude.data);
    }
    free(lora);
}

typedef struct merge {
    const tn_lora   *l;
    const uint8_t   *from; /* rows of `dtype`, or NULL: packed */
    const tn_weight *packed;
    uint8_t         *to;
    tn_dtype         dtype;
    int64_t          n_in, rank;
    size_t           row_bytes;
    float           *work; /* a row for each thread */
    _Atomic bool     lost; /* a value is not finite, and blocks of `dtype` cannot hold it */
} merge;

static void merge_rows(void *arg, int64_t begin, int64_t end, int i_thread)
{
    merge       *j = arg;
    const float *a = j->l->a.data, *b = j->l->b.data, *m = j->l->magnitude.data;
    float       *w = j->work + (int64_t)i_thread * j->n_in;

    for (int64_t r = begin; r < end; r++) {
        if (j->from != NULL) tn_row_to_f32(w, j->from + (size_t)r * j->row_bytes, j->dtype, j->n_in);
        else tn_weight_row(w, j->packed, r);
        for (int64_t i = 0; i < j->n_in; i++) {
            float sum = 0;
            for (int64_t k = 0; k < j->rank; k++) sum = fmaf(b[r * j->rank + k], a[k * j->n_in + i], sum);
            w[i] = fmaf(j->l->scale, sum, w[i]);
        }
        if (m != NULL) {
            float lane[16] = { 0 };
            for (int64_t i = 0; i < j->n_in; i++) lane[i % 16] = fmaf(w[i], w[i], lane[i % 16]);
            float length = sqrtf(tn_lane_sum(lane)), s = length == 0 ? 0 : m[r] / length;
            for (int64_t i = 0; i < j->n_in; i++) w[i] *= s;
        }
        if (tn_dtype_block(j->dtype) > 1 && tn_row_finite(w, j->n_in) < j->n_in) j->lost = true;
        tn_row_from_f32(j->to + (size_t)r * j->row_bytes, w, j->dtype, j->n_in);
    }
}

static tn_status merge_one(tn_model *m, const tn_lora *l, tn_error *err)
{
    int64_t    i = tn_model_index(m, l->name);
    tn_status  status = TN_OK;
    tn_weight *packed = NULL;

    if (i < 0)
        return tn_fail(err, TN_MISMATCH, "%s: the adapter's weight '%s' is not in this model", m->path,
                       l->name);
    tn_param *p = &m->params[i];
    tn_slot  *s = &m->slots[i];
    merge     j = { .l = l, .packed = s->packed, .n_in = tn_cols(&p->w), .rank = tn_cols(&l->b) };
    if (p->w.n_dim != 2 || tn_cols(&l->a) != j.n_in || tn_rows(&l->b) != tn_rows(&p->w) ||
        tn_rows(&l->a) != j.rank)
        return tn_fail(err, TN_MISMATCH, "%s: the adapter of '%s' has another shape than the weight", m->path,
                       l->name);
    j.from = tn_model_rows(m, (size_t)i, &j.dtype);
    j.row_bytes = tn_row_bytes(j.dtype, j.n_in);
    if (j.from == NULL && j.packed == NULL)
        return tn_fail(err, TN_USAGE, "%s: the weights were not loaded, so nothing can be merged into them",
                       m->path);
    /* one block tells whether the type can be written at all */
    if (tn_dtype_block(j.dtype) > 1 &&
        !tn_row_from_f32((uint8_t[512]){ 0 }, (float[256]){ 0 }, j.dtype, tn_dtype_block(j.dtype)))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: '%s' is %s, which cannot be written: convert the model to f16 or q8_0 first",
                       m->path, l->name, tn_dtype_name(j.dtype));
    j.to = tn_model_alloc_rows(j.row_bytes * (size_t)tn_rows(&p->w));
    j.work = tn_model_alloc_rows((size_t)tn_threads() * (size_t)j.n_in * sizeof *j.work);
    if (j.to == NULL || j.work == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory to merge the adapter of '%s'", m->path, l->name);
        goto out;
    }
    tn_parallel(tn_rows(&p->w), 16, merge_rows, &j);
    if (j.lost) {
        status = tn_fail(
            err, TN_FORMAT,
            "%s: '%s' with its adapter holds values that are not finite: as %s they would become numbers",
            m->path, l->name, tn_dtype_name(j.dtype));
        goto out;
    }
    if (s->packed != NULL)
        TN_GOTO(tn_weight_pack(&packed, j.to, j.dtype, tn_rows(&p->w), j.n_in, m->profile, err));
    tn_weight_free(s->packed);
    free(s->own);
    free(s->own_file);
    s->packed = packed;
    s->own_file = NULL;
    s->own = j.to;
    s->file_rows = j.to;
    s->file_dtype = j.dtype;
    s->changed = true;
    s->has_leaf = false;
    p->w.packed = packed;
    p->w.dtype = j.dtype;
    p->w.data = packed == NULL ? j.to : NULL;
    j.to = NULL;
out:
    free(j.to);
    free(j.work);
    return status;
}

tn_status tn_model_merge_lora(tn_model *m, const tn_lora *lora, size_t n, tn_error *err)
{
    for (size_t i = 0; i < n; i++) TN_TRY(merge_one(m, &lora[i], err));
    return TN_OK;
}
