/* internal.h - how a tokenizer lies in memory. Private to this room.
 *
 *   text ─ added tokens cut out ─ normalise ─ split into pieces ─ model (BPE, SentencePiece BPE, Unigram) ─ ids
 *   ids ─ bytes of each token ─ joined, decoder's rules ─ text
 *
 * tokenizer.json and a GGUF vocabulary both become this one structure; after creation it is only read
 * (`whole` fills a cache of facts with relaxed atomics: every thread would write the same value). */
#ifndef TN_TOKENIZER_INTERNAL_H
#define TN_TOKENIZER_INTERNAL_H

#include "base/hash.h"
#include "base/str.h"
#include "tokenizer/split.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

enum {
    TN_TOKEN_NORMAL = 1,
    TN_TOKEN_UNKNOWN = 2,
    TN_TOKEN_CONTROL = 3,
    TN_TOKEN_USER = 4,
    TN_TOKEN_UNUSED = 5,
    TN_TOKEN_BYTE = 6
};

/* Limits on what a file may ask for; real ones lie far below. */
enum { TN_MAX_VOCAB = 1 << 22, TN_MAX_TOKEN_BYTES = 1 << 16, TN_MAX_ADDED_BYTES = 1024, TN_MAX_STEPS = 64 };

/* Strings in one block: string i is p[at[i], at[i + 1]). */
typedef struct tn_pool {
    char     *p;
    uint32_t *at;
} tn_pool;

/* Open addressing from bytes to an index into a pool; 0 is empty, else index + 1 in the low TN_INDEX_BITS,
 * bits of the hash above. */
typedef struct tn_index {
    uint32_t *slot;
    size_t    mask;
} tn_index;
enum { TN_INDEX_BITS = 24 };

/* Merge (left, right): lower rank first; `to` is the symbol it gives. Open addressing; key 0 is empty. */
typedef struct tn_merge {
    uint64_t key;
    uint32_t rank;
    int32_t  to;
} tn_merge;

typedef enum tn_model_kind { TN_MODEL_BPE, TN_MODEL_SPM, TN_MODEL_UNIGRAM } tn_model_kind;

/* A token looked for in the text before anything else, as HF's added tokens and GGUF's control and user types
 * are. */
typedef struct tn_added {
    char   *text;
    size_t  n;
    int32_t id;
    bool    special, lstrip, rstrip, single_word, normalised;
} tn_added;

/* All added tokens of one kind as a trie; the children of a node lie together, sorted by byte. */
typedef struct tn_trie_node {
    int32_t first, n_child, value;
    uint8_t byte;
} tn_trie_node;
typedef struct tn_trie {
    tn_trie_node *node;
    size_t        n, cap;
    int32_t       root[256];
} tn_trie;

typedef enum tn_step_kind {
    TN_STEP_FORM,
    TN_STEP_LOWER,
    TN_STEP_PREPEND,
    TN_STEP_REPLACE,
    TN_STEP_REPLACE_REGEX,
    TN_STEP_STRIP,
    TN_STEP_STRIP_ACCENTS,
    TN_STEP_CHARSMAP,
    TN_STEP_NMT,
    TN_STEP_SPACES
} tn_step_kind;

/* One normaliser step. */
typedef struct tn_step {
    tn_step_kind     kind;
    tn_uc_form       form;
    char            *from, *to; /* REPLACE; PREPEND and REPLACE_REGEX (to); CHARSMAP (from: the blob) */
    size_t           from_n, to_n;
    bool             left, right; /* STRIP: which ends; SPACES: a space in front, runs become one */
    struct tn_regex *regex;
} tn_step;

struct tn_tokenizer {
    tn_model_kind model;
    char          kind[64]; /* "bpe (smollm)" */
    int64_t       n_vocab;
    tn_pool       raw;   /* vocabulary as the file spells it */
    tn_pool       bytes; /* what each token stands for in the text */
    uint8_t      *type;  /* [n_vocab] TN_TOKEN_ */
    /* [n_vocab] tokenizer.json: the model has the token itself, not the added tokens alone; NULL: all */
    uint8_t *in_model;
    double  *score;            /* [n_vocab] SPM, UNIGRAM; or NULL */
    tn_index by_raw, by_bytes; /* by_bytes leaves out control and user tokens */
    int32_t  byte_id[256];     /* token of one byte, or -1 */

    /* BPE and SPM */
    tn_merge *merge;
    size_t    n_merge_slot;
    tn_pool   lone; /* SPM: characters that tokens contain but that are no token: symbols n_vocab.. */
    tn_index  by_lone;
    int64_t   n_lone;
    bool      byte_level, byte_fallback, ignore_merges, fuse_unk;
    bool      skip_missing; /* a byte without a token is not there, and its neighbours may merge (as in HF) */
    uint8_t  *whole;        /* [n_vocab] 0 not known yet, 1 the piece is this one token, 2 it is not */

    /* UNIGRAM */
    tn_trie pieces;
    double  unk_score;

    tn_added *added;
    size_t    n_added;
    tn_trie   trie_raw, trie_normalised;
    tn_step  *normaliser;
    size_t    n_normaliser;
    tn_split  split;
    bool      add_space;   /* SPM: a text at the start or after a special token gets U+2581 in front */
    bool      strip_space; /* the decoder takes one space off the front */
    bool      strip_marks; /* the decoder takes every U+2581 out of the first token (Metaspace) */

    int32_t   bos, eos, unk, pad;
    bool      add_bos, add_eos;
    int32_t  *prefix, *suffix; /* ids that BOS and EOS stand for in a template post-processor */
    size_t    n_prefix, n_suffix;
    int32_t   stop[16];
    int       n_stop;
    char     *recipe; /* tokenizer.json's parts but the vocabulary, as canonical text, for the digest */
    tn_digest digest;
};

/* Whether the model may give this token out for text: what only stands among the added tokens is found as a
 * whole or not at all. */
static inline bool tn_token_in_model(const tn_tokenizer *t, int32_t id)
{
    return t->type[id] != TN_TOKEN_CONTROL && (t->in_model == NULL || t->in_model[id] != 0);
}

/* A growable array of ids, as the face passes it. */
typedef struct tn_ids {
    int32_t **p;
    size_t   *n, *cap;
    bool      failed;
} tn_ids;
bool               tn_ids_grow(tn_ids *ids, size_t more);
static inline bool tn_ids_reserve(tn_ids *ids, size_t more)
{
    return *ids->cap - *ids->n >= more || tn_ids_grow(ids, more);
}
static inline void tn_ids_put(tn_ids *ids, int32_t id)
{
    if (*ids->n < *ids->cap || tn_ids_reserve(ids, 1)) (*ids->p)[(*ids->n)++] = id;
}

/* trie.c: reorders keys. Of equal texts the lowest value counts. Values are >= 0. */
typedef struct tn_trie_key {
    const char *text;
    size_t      n;
    int32_t     value;
} tn_trie_key;
tn_status tn_trie_build(tn_trie *trie, tn_trie_key *keys, size_t n, tn_error *err);
int32_t   tn_trie_child(const tn_trie *trie, int32_t at, uint8_t byte); /* -1: none */
void      tn_trie_free(tn_trie *trie);

/* vocab.c */
tn_status tn_pool_fill(tn_pool *pool, const char *const *text, const size_t *n_bytes, int64_t n,
                       const char *where, tn_error *err);
static inline const char *tn_pool_at(const tn_pool *pool, int64_t i, size_t *n)
{
    *n = pool->at[i + 1] - pool->at[i];
    return pool->p + pool->at[i];
}
void      tn_pool_free(tn_pool *pool);
tn_status tn_index_create(tn_index *index, int64_t n, tn_error *err);
/* Puts string i of the pool in, unless the same bytes are there already; returns the index that holds
 * them. */
int32_t tn_index_put(tn_index *index, const tn_pool *pool, int32_t i);
int32_t tn_index_find(const tn_index *index, const tn_pool *pool, const void *text, size_t n);
void    tn_index_free(tn_index *index);
/* Raw spelling of a byte-level token to bytes (GPT-2's alphabet); a token outside the alphabet stands for
 * itself. */
size_t tn_byte_level_decode(char *out, const char *raw, size_t n);
/* Fills by_raw from raw. */
tn_status tn_raw_index(tn_tokenizer *t, tn_error *err);
/* Fills bytes, by_bytes and byte_id from raw and type. */
tn_status tn_vocab_finish(tn_tokenizer *t, tn_error *err);
/* Value of "<0x41>", or -1. */
int tn_byte_token(const char *text, size_t n);

/* added.c */
tn_status tn_added_put(tn_tokenizer *t, const char *text, size_t n, int32_t id, bool special, tn_error *err);
tn_status tn_added_finish(tn_tokenizer *t, tn_error *err);
/* The leftmost-longest added token at or after `from`; false if there is none. */
bool tn_added_find(const tn_tokenizer *t, bool normalised, bool special, const uint8_t *s, size_t n,
                   size_t from, size_t *begin, size_t *end, int32_t *index);
/* Where the white space in front of `to` begins (not before `from`), and where that from `from` on ends: what
 * lstrip and rstrip take. */
size_t tn_added_space_before(const uint8_t *s, size_t from, size_t to);
size_t tn_added_space_after(const uint8_t *s, size_t from, size_t n);

/* merges.c: the table of merges, from a list of pairs by raw spelling (rank = place in the list) ... */
tn_status tn_merges_create(tn_tokenizer *t, int64_t n, tn_error *err);
tn_status tn_merges_add(tn_tokenizer *t, const char *left, size_t left_n, const char *right, size_t right_n,
                        int64_t rank, const char *where, tn_error *err);
/* ... or, for SentencePiece, from every way to cut a token in two (rank = order of the scores). */
tn_status tn_merges_from_scores(tn_tokenizer *t, tn_error *err);
/* Where a pair is looked for first. The number of slots is no power of two: the table is the largest part of
 * a tokenizer. */
static inline size_t tn_merge_slot(const tn_tokenizer *t, uint64_t key)
{
    return (size_t)(((key * 0x9e3779b97f4a7c15u) >> 32) * t->n_merge_slot >> 32);
}
/* The merge of two symbols, or NULL. */
static inline const tn_merge *tn_merge_find(const tn_tokenizer *t, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)((uint32_t)left + 1) << 32 | ((uint32_t)right + 1);

    for (size_t i = tn_merge_slot(t, key); t->merge[i].key != 0; i = i + 1 < t->n_merge_slot ? i + 1 : 0)
        if (t->merge[i].key == key) return &t->merge[i];
    return NULL;
}

/* normalise.c: text through the normaliser's steps. *changed is set when out holds the result, else it is s
 * as it was. */
tn_status tn_normalise(const tn_step *steps, size_t n_step, const uint8_t *s, size_t n, tn_str *out,
                       bool *changed, tn_error *err);
/* The longest rule of a SentencePiece charsmap at the front of s; false if none. UNSUPPORTED blobs are
 * refused by _check. */
tn_status tn_charsmap_check(const char *blob, size_t n, const char *where, tn_error *err);
void      tn_steps_free(tn_step *steps, size_t n);

/* unigram.c */
tn_status tn_unigram_create(tn_tokenizer *t, tn_error *err);
tn_status tn_unigram_encode(const tn_tokenizer *t, const uint8_t *s, size_t n, tn_ids *out, tn_error *err);

/* bpe.c: one piece to ids, for BPE and SentencePiece BPE. */
tn_status tn_bpe_encode(const tn_tokenizer *t, const uint8_t *s, size_t n, tn_ids *out, tn_error *err);

/* tokenizer.c: what both sources share. */
tn_status tn_tokenizer_create(tn_tokenizer **out, int64_t n_vocab, const char *where, tn_error *err);
void      tn_tokenizer_stops(tn_tokenizer *t, int32_t eot);
/* Builds the tries and the digest, checks the flags. */
tn_status tn_tokenizer_finish(tn_tokenizer *t, const char *where, tn_error *err);

#endif
