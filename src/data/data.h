/* data.h - from files of text, conversations and preference pairs to the rows of a training step.
 *
 *   text, JSONL, chat JSONL (.gz .zst)  --tokenise-->  shard (mapped)  --pack-->  samples  -+
 *   pair JSONL  --tn_pairs_load-->  pairs  ------------------------------------------------+->  rows of a micro-batch
 *
 * Sample i of a run is a pure function of (seed, i): nothing here remembers where a run stopped. */
#ifndef TN_DATA_DATA_H
#define TN_DATA_DATA_H

#include "base/hash.h"
#include "base/json.h"
#include "base/rng.h"
#include "tokenizer/tokenizer.h"

/* ------------------------------------------------------------------------------------- reader.c: bytes in */

/* A whole file, unpacked if it is gzip or zstd, NUL after the end. made: free(*out). LIMIT over max_bytes. */
tn_status tn_data_read(char **out, size_t *n, const char *path, size_t max_bytes, tn_error *err);

/* ---------------------------------------------------------------------------------- shard.c: token shards */

typedef struct tn_shard_writer tn_shard_writer;
/* n_vocab decides between 16- and 32-bit ids. Written aside; appears whole on commit. */
tn_status tn_shard_create(tn_shard_writer **out, const char *path, const tn_digest *tokenizer,
                          int64_t n_vocab, tn_error *err);
/* One document. mask: 1 for tokens that may be targets, NULL: all. weight_16: loss weight in 1/65536. taught:
 * its targets are learned as a teacher's distribution, not as the words that stand there. */
tn_status tn_shard_add(tn_shard_writer *w, const int32_t *ids, const uint8_t *mask, size_t n,
                       uint32_t weight_16, bool taught, tn_error *err);
tn_status tn_shard_commit(tn_shard_writer *w, tn_error *err); /* frees w in every case */
void      tn_shard_abandon(tn_shard_writer *w);               /* NULL is fine */

typedef struct tn_shard tn_shard;
typedef struct tn_shard_doc {
    int64_t  first, n;
    uint32_t weight_16;
    bool     taught;
} tn_shard_doc;
/* Checks structure and content digest. tokenizer (or NULL): MISMATCH when the shard was made with another
 * one. */
tn_status    tn_shard_open(tn_shard **out, const char *path, const tn_digest *tokenizer, tn_error *err);
void         tn_shard_close(tn_shard *s);
bool         tn_shard_is(const char *path); /* by its first bytes: a store's names have no suffix */
int64_t      tn_shard_n_token(const tn_shard *s);
int64_t      tn_shard_n_doc(const tn_shard *s);
tn_shard_doc tn_shard_doc_at(const tn_shard *s, int64_t i);
/* Tokens [first, first + n) and (if mask is not NULL) their mask. */
void             tn_shard_copy(const tn_shard *s, int64_t first, int64_t n, int32_t *ids, uint8_t *mask);
const tn_digest *tn_shard_content(const tn_shard *s);
/* MISMATCH names the first token that a model with this vocabulary does not have. */
tn_status tn_shard_check_ids(const tn_shard *s, const char *path, int64_t n_vocab, tn_error *err);

/* --------------------------------------------------------------------------- source.c: files to documents */

typedef enum tn_data_format { TN_DATA_AUTO, TN_DATA_TEXT, TN_DATA_JSONL, TN_DATA_CHAT } tn_data_format;
typedef struct tn_data_stats {
    int64_t n_doc, n_token, n_target, n_stop, n_chat, n_cut, n_dropped;
    size_t  n_held; /* the most bytes that one text and its ids took while it was read */
} tn_data_stats;
typedef struct tn_data_options {
    const tn_tokenizer *tokenizer;
    const tn_chat      *chat; /* NULL: rows with messages are an error */
    tn_data_format format; /* AUTO: by suffix, or content where there is none; then by the keys of each row */
    int64_t        max_tokens;   /* conversations longer than this are cut at the end (n_cut); 0: no limit */
    bool           train_prompt; /* every token is a target, not only the assistant's */
} tn_data_options;
/* Appends the documents of a file (or of every file below a directory, in name order). Text: one document a
 * file; under AUTO one that is no text (NUL bytes, UTF-16) is refused, and below a directory left out with a
 * warning. Hidden files and editors' copies below a directory are left out, which the log says.
 * Rows: {"text"}, {"messages":[{"role","content"}]}, {"prompt","answer"}; each with an optional "weight" (0
 * to 16), "open" (true: the last answer was cut off where it was sampled, so its stop token is left out) and
 * "distill" (true: the teacher's distribution is learned along this text). A message of the assistant may
 * have "weight" 0: read, but not trained. */
tn_status tn_data_tokenise(tn_shard_writer *w, const char *path, const tn_data_options *o,
                           tn_data_stats *stats, tn_error *err);

/* Ends a text of n ids with the tokenizer's end token, whether its own files say so or not: without one a
 * model never learns where a document ends. No effect where it is there, or where the tokenizer has none. */
tn_status tn_data_end(const tn_tokenizer *t, int32_t **ids, size_t *n, size_t *cap, tn_error *err);

/* A tokenizer of the 256 bytes and <|endoftext|> (id 256): for models from scratch without a vocabulary of
 * their own. */
tn_status tn_data_byte_tokenizer(tn_tokenizer **out, tn_error *err);
/* Its tokenizer.json and tokenizer_config.json into a model's directory. */
tn_status tn_data_byte_tokenizer_save(const char *dir, tn_error *err);

/* --------------------------------------------------------------------------- pack.c: documents to samples */

typedef enum tn_pack_kind {
    TN_PACK_GREEDY,   /* in order; a document goes on in the next sample where it does not fit */
    TN_PACK_BEST_FIT, /* best-fit decreasing: whole documents, long ones cut into n_ctx pieces first */
    TN_PACK_NONE      /* one document (or piece) a sample */
} tn_pack_kind;
bool tn_pack_parse(const char *name, tn_pack_kind *out);

/* ends: the last token has no target. */
typedef struct tn_piece {
    int64_t  first;
    int32_t  n;
    uint32_t weight_16;
    bool     ends, taught;
} tn_piece;
typedef struct tn_pack tn_pack;
tn_status tn_pack_create(tn_pack **out, const tn_shard *s, int64_t n_ctx, tn_pack_kind kind, tn_error *err);
void      tn_pack_destroy(tn_pack *p);
int64_t   tn_pack_n(const tn_pack *p);
const tn_piece *tn_pack_sample(const tn_pack *p, int64_t i, int64_t *n_piece);
int64_t tn_pack_taught(const tn_pack *p, int64_t i); /* tokens of the sample's documents that are taught */

/* The rows of a micro-batch, no padding: row r is token ids[r] at position pos[r] of the document that starts
 * at row doc_start[r]; its target is target[r] (-1: none) with loss weight weight_16[r] / 65536. taught[r]:
 * the row's place in its shard when a teacher's distribution stands for the target, else -1. */
typedef struct tn_row_set {
    int64_t   n, cap;
    int32_t  *ids, *pos, *doc_start, *target;
    uint32_t *weight_16;
    int64_t  *taught;
    uint64_t  sum_weight_16; /* of rows with a target: the exact normaliser */
    int64_t   n_target;
} tn_row_set;
tn_status tn_row_set_init(tn_row_set *r, int64_t cap, tn_error *err);
void      tn_row_set_free(tn_row_set *r);
void      tn_row_set_clear(tn_row_set *r);
/* Appends sample i of the pack. The caller made room for n_ctx rows a sample. */
void tn_row_set_add_sample(tn_row_set *r, const tn_shard *s, const tn_pack *p, int64_t i);
/* Only its documents that are taught; the same rows as among the others, since none sees another document. */
void tn_row_set_add_taught(tn_row_set *r, const tn_shard *s, const tn_pack *p, int64_t i);

/* -------------------------------------------------------------------------- order.c: which sample is next */

/* Without weights several sources are as one: an epoch is every sample once, in a keyed permutation of all of
 * them. With weights they are drawn in rounds of TN_MIX_ROUND samples: each round holds exactly the integer
 * counts that the weights give (largest remainder), and inside a source the draws walk through its own
 * epochs, each a keyed permutation of its samples. */
enum { TN_MIX_ROUND = 1024, TN_MIX_MAX = 64 };
typedef struct tn_mix {
    int     n_source;
    bool    weighted;
    int64_t n_sample[TN_MIX_MAX], n_total; /* of each source, of all */
    int64_t count[TN_MIX_MAX]; /* weighted: of each source in a round; they add up to TN_MIX_ROUND */
    /* weighted: whose draw it is, and how many of the same came before it in the round */
    struct {
        int16_t source, before;
    } slot[TN_MIX_ROUND];
    uint64_t seed;
    bool     shuffle; /* false: each source in the order of its samples, by size one source after the other */
} tn_mix;
/* weights NULL: by size; 0 leaves a source out. USAGE for a weight that is negative, not finite, so small
 * that its source would never be drawn, or where all are zero; empty sources are refused. */
tn_status tn_mix_init(tn_mix *m, const int64_t *n_sample, const double *weights, int n, uint64_t seed,
                      bool shuffle, tn_error *err);
/* Sample i of the run: source and index in it. */
void tn_mix_at(const tn_mix *m, uint64_t i, int *source, int64_t *index);

/* ------------------------------------------------------------------------------ pairs.c: preference pairs */

/* One sequence: prompt and answer (with its stop token); rows [n_prompt - 1, n - 1) predict the answer. */
typedef struct tn_reply {
    const int32_t *ids;
    int32_t        n, n_prompt;
} tn_reply;
typedef struct tn_pair {
    tn_reply chosen, rejected; /* n = 0: absent (unpaired rows for KTO) */
    float    p;                /* probability that chosen is better; 1 when not given */
    uint32_t weight_16;        /* loss weight in 1/65536 */
    int32_t  principle;        /* index into the set's names, or -1 */
    bool     whole;            /* an answer of it was not cut off: it ends as the format ends one */
} tn_pair;
typedef struct tn_pairs {
    tn_pair  *pair;
    int64_t   n, n_overlong, n_equal, n_weightless;
    int64_t  *first; /* [n_path + 1] where the pairs of each path begin; then n */
    char    **principle;
    int       n_principle;
    int32_t **chunk;
    size_t    n_chunk; /* memory of the ids */
    tn_digest content; /* of the tokenised pairs, in order */
} tn_pairs;
/* Rows: {"prompt": text | "messages": [...], "chosen", "rejected", "p"?, "weight"?, "principle"?} or
 * {"prompt", "completion", "label"}; TRL's lists of messages too: as "prompt", and as an answer, which may
 * bring its prompt along. A path may be a folder. Pairs with a side over n_ctx tokens, with equal sides (also
 * once rendered) or of weight 0 are left out and counted. chat NULL: raw text. */
tn_status tn_pairs_load(tn_pairs *out, const char *const *paths, int n_path, const tn_tokenizer *t,
                        const tn_chat *chat, int64_t n_ctx, tn_error *err);
void      tn_pairs_free(tn_pairs *p);
/* Appends an answer as one document; weight 1 on the answer's rows. Returns its first row. */
int64_t tn_row_set_add_answer(tn_row_set *r, const tn_reply *a);

#endif
