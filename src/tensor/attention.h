/* attention.h - what attention's reference, its kernels and the cached form share. Private to tensor. */
#ifndef TN_TENSOR_ATTENTION_H
#define TN_TENSOR_ATTENTION_H

#include "tensor/op_util.h"

/* One call of attention, unpacked. Backward pointers are NULL when not wanted. */
typedef struct tn_attn {
    const tn_attention_params *p;
    int64_t                    n_row, group;      /* query heads a key head */
    const float               *q, *k, *v, *sinks; /* k and v already rounded to kv_type */
    const int32_t *doc_start; /* as given where a document's rows lie together; see open_documents */
    float         *out, *lse;
    const float   *dout;
    float         *dq, *dk, *dv, *dsinks, *delta; /* delta [n_row][n_head] = sum(dout * out) */
    bool           add_q, add_k, add_v, add_sinks;
} tn_attn;

/* First row of the document of row i. */
static inline int64_t tn_attn_start(const tn_attn *a, int64_t i) { return a->doc_start[i]; }

/* First key position (in the document) that position pos may see. */
static inline int64_t tn_attn_first(const tn_attention_params *p, int64_t pos)
{
    return p->window > 0 && pos >= p->window ? pos - p->window + 1 : 0;
}

/* A stretch of a document's rows: document rows [start, end), positions [first, last) in it. */
typedef struct tn_attn_stretch {
    int32_t start, end, first, last;
} tn_attn_stretch;
/* query rows a task (see below); no kernel softens more rows at once */
enum { TN_ATTN_STRETCH = 256, TN_ATTN_TILE = 12 };

/* Most query rows of a forward task. Its keys are turned once for all of them and all heads of the group: a
 * head alone takes twice as many. */
static inline int64_t tn_attn_rows(const tn_attention_params *p)
{
    return p->n_head == p->n_head_kv ? 2 * TN_ATTN_STRETCH : TN_ATTN_STRETCH;
}

/* Memory of one thread of the kernels. Forward: a block's keys as columns, its values as rows, m, l and o of
 * a stretch, a tile of scores. Backward: a block's keys and values as columns, dk and dv, P and W, and as
 * rows the keys, and queries and dout of a block. */
static inline size_t tn_attn_slot_bytes(const tn_attention_params *p, bool backward)
{
    int64_t rows = tn_attn_rows(p) * (p->n_head / p->n_head_kv), block = TN_KV_PAGE;
    int64_t n = backward ? (4 * p->d_k + 3 * p->d_v) * block + 2 * block * block
                         : (p->d_k + p->d_v) * block + 2 * rows + TN_ATTN_TILE * block + rows * p->d_v;
    return tn_align64((size_t)(n + 64) * 4);
}

/* Reads the call; puts nonsense in doc_start right; rounds k and v into scratch where kv_type asks for it. */
void      tn_attn_open(tn_attn *a, const tn_call *c, bool backward);
size_t    tn_attn_open_bytes(const tn_call *c);
tn_status tn_attention_check(const tn_call *c, const tn_attention_params *p, tn_error *err);
/* Rounds n rows of `d` values to the cache's type and back. */
void tn_kv_round(float *dst, const float *src, tn_dtype type, int64_t n_row, int64_t d);
/* The parts of the backward pass that are the same in every kernel. */
void tn_attention_delta(const tn_attn *a);
void tn_attention_dsinks(const tn_attn *a);

#endif
