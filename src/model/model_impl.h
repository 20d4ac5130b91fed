/* model_impl.h - what a tn_model is inside. Private to the room.
 *
 *   params[i]  what other rooms see: name, tensor, gradient     sorted by name, fixed once sealed
 *   slots[i]   where its bytes lie and who frees them            same index
 *
 * Making a model, whatever it comes from: tn_model_new, tn_model_add once a weight, tn_model_seal. */
#ifndef TN_MODEL_MODEL_IMPL_H
#define TN_MODEL_MODEL_IMPL_H

#include "base/file.h"
#include "model/gguf.h"
#include "model/model.h"

typedef struct tn_slot {
    tn_dtype    file_dtype; /* how the weight is stored in its file (vectors are f32 in params[i].w) */
    const void *file_rows;  /* its rows there: mapped, or rearranged memory of ours; NULL: not from a file */
    void       *own;        /* memory to free when the model ends: params[i].w.data and/or file_rows */
    void       *own_file;   /* a second block: rearranged rows that params[i].w no longer uses */
    tn_weight  *packed;     /* params[i].w.packed, to be freed */
    tn_digest   leaf;       /* of rearranged rows, made before they were packed and dropped (has_leaf) */
    bool        has_leaf;
    bool        changed; /* the values may differ from the file's (trained, merged) */
} tn_slot;

/* A model's origin: what is needed to write the same form again with every byte. */
typedef enum tn_origin { TN_ORIGIN_NEW, TN_ORIGIN_HF, TN_ORIGIN_GGUF } tn_origin;

struct tn_model {
    tn_hparams h;
    char      *path;
    tn_profile profile;
    tn_origin  origin;

    tn_param *params;
    tn_slot  *slots;
    size_t    n_param, cap;
    bool      headers_only; /* opened without weights: shapes and names, no rows */

    const tn_tokenizer *tok;
    tn_tokenizer       *tok_own; /* freed with the model; NULL: tok is borrowed */
    tn_chat             chat;
    tn_status           chat_status; /* TN_OK, or why there is no chat format: chat_why */
    char                chat_why[512];
    bool                nameless; /* see tn_model_options */
    /* chat.format was asked for: what is written says so, whatever the file said */
    bool chat_chosen;

    tn_gguf    **gguf;
    size_t       n_gguf; /* the file, or the files of a split model, in order */
    tn_st_file **st;
    size_t       n_st;         /* Hugging Face: one file, or the shards, sorted by file name */
    json_t      *config;       /* config.json of a Hugging Face directory, or NULL */
    float       *freq_factors; /* own memory behind h.rope.freq_factors */
    int32_t      stop[16];     /* ids that end an answer by config or generation_config */
    int          n_stop;
};

tn_status tn_model_new(tn_model **out, const char *path, tn_error *err);
/* rows: [product of shape but the last] rows of `dtype`; own: the same pointer when the model shall free() it
 * (it does so also when adding fails), else NULL. Shape is slowest first. A name given twice is found by
 * tn_model_seal. */
tn_status tn_model_add(tn_model *m, const char *name, tn_dtype dtype, int n_dim, const int64_t *shape,
                       const void *rows, void *own, tn_error *err);
/* Sorts by name, refuses duplicates, says which weights are matrices, makes vectors f32 (operations read
 * norms and biases as f32). Pointers to params stay valid from here on. */
tn_status tn_model_seal(tn_model *m, tn_error *err);
/* Fresh zeroed memory for a weight: 64-byte aligned, free(). NULL: no memory. */
void *tn_model_alloc_rows(size_t bytes);
/* The rows of weight i as they are now, with their type: the live ones, or the file's when the live ones are
 * packed. */
const void *tn_model_rows(const tn_model *m, size_t i, tn_dtype *dtype);
/* Tells the kernel that these rows of a mapped file are not needed for now: read again, they come back. */
void tn_model_drop_pages(const tn_model *m, const void *rows, size_t bytes);
void tn_model_drop_files(const tn_model *m); /* the same for all that is mapped */
/* Index of a weight in params, or -1. */
int64_t tn_model_index(const tn_model *m, const char *name);
/* Packs every matrix for the profile and tells the kernel that its mapped pages are not needed. */
tn_status tn_model_pack(tn_model *m, tn_error *err);
/* of params[i], whose rows are there */
tn_status tn_model_leaf(const tn_model *m, size_t i, tn_digest *out, tn_error *err);

/* create.c: USAGE if no new model can be of these sizes. */
tn_status tn_hparams_check_new(const tn_hparams *h, tn_error *err);

/* ---- hyper-parameters from files: every key that is unknown or would change the mathematics is an error naming it */
tn_status tn_hparams_from_hf(tn_hparams *h, const json_t *config, const char *where, tn_error *err);
tn_status tn_hparams_from_gguf(tn_hparams *h, tn_gguf *const *files, size_t n_file, tn_error *err);

#endif
