/* hf_layout.h - from the layout of a Hugging Face tensor to ours and back. Private to the room. */
#ifndef TN_MODEL_HF_LAYOUT_H
#define TN_MODEL_HF_LAYOUT_H

#include "model/names.h"
#include "model/st_write.h"

/* Experts that lie in tensors of their own there become one tensor here: how many of each have come. */
typedef struct tn_hf_stack { size_t i_param; int64_t n; } tn_hf_stack;
typedef struct tn_hf_stacks { tn_hf_stack *list; size_t n, cap; } tn_hf_stacks;

/* Adds the weight `name` that lies in entry e (or one expert of it). */
tn_status tn_hf_add(tn_model *m, tn_hf_stacks *stacks, const tn_name *name, const tn_st_entry *e, const char *file, tn_error *err);
tn_status tn_hf_stacks_check(const tn_model *m, const tn_hf_stacks *stacks, tn_error *err);
void      tn_hf_stacks_free(tn_hf_stacks *stacks);

/* Where row i of a [n_head][d_head] projection lies when pairs are interleaved (GGUF's llama) and our row i is
 * half-split: row 2t of a head is its row t, row 2t + 1 its row t + d_head / 2. */
int64_t tn_row_interleaved(int64_t i, int64_t d_head);
/* The inverse: which half-split row an interleaved row is. */
int64_t tn_row_half_split(int64_t i, int64_t d_head);

#endif
