/* hf_layout.h - from the layout of a Hugging Face tensor to ours and back. Private to the room. */
#ifndef TN_MODEL_HF_LAYOUT_H
#define TN_MODEL_HF_LAYOUT_H

#include "model/names.h"
#include "model/st_write.h"

/* Weights here that come from several tensors there (experts in tensors of their own, blocks and their
 * exponents): how many of each have come, and how many are wanted (of blocks and exponents: bits 1 and 2). */
typedef struct tn_hf_stack {
    size_t  i_param;
    int64_t n, want;
} tn_hf_stack;
typedef struct tn_hf_stacks {
    tn_hf_stack *list;
    size_t       n, cap;
} tn_hf_stacks;

/* Adds the weight `name` that lies in entry e (or one expert of it). */
tn_status tn_hf_add(tn_model *m, tn_hf_stacks *stacks, const tn_name *name, const tn_st_entry *e,
                    const char *file, tn_error *err);
/* The stack of a weight, made with room for this many values of `dtype` if it is new; *rows is its memory
 * (NULL: headers only). */
tn_status tn_hf_stack_of(tn_model *m, tn_hf_stacks *stacks, const tn_name *name, tn_dtype dtype,
                         const int64_t shape[3], int64_t want, tn_hf_stack **out, uint8_t **rows,
                         tn_error *err);
/* gpt-oss as it is published: the bytes of MXFP4 blocks, or their exponents (hf_mxfp4.c). */
tn_status tn_hf_add_mxfp4(tn_model *m, tn_hf_stacks *stacks, const tn_name *name, const tn_st_entry *e,
                          const char *file, tn_error *err);
tn_status tn_hf_stacks_check(const tn_model *m, const tn_hf_stacks *stacks, tn_error *err);
void      tn_hf_stacks_free(tn_hf_stacks *stacks);

/* Where row i of a [n_head][d_head] projection lies when pairs are interleaved (GGUF's llama) and our row i
 * is half-split: row 2t of a head is its row t, row 2t + 1 its row t + d_head / 2. */
int64_t tn_row_interleaved(int64_t i, int64_t d_head);
/* The inverse: which half-split row an interleaved row is. */
int64_t tn_row_half_split(int64_t i, int64_t d_head);

#endif
