/* engine_impl.h - what a tn_engine is inside. Private to the room.
 *
 *   stream   one request in work: its tokens, its pages, how far it is
 *   seq      tokens whose keys and values lie in pages: of a running stream, or kept from a finished one for reuse
 *   lane     a graph with its inputs: one for generation (few rows reach the head), one for scoring (many do) */
#ifndef TN_INFER_ENGINE_IMPL_H
#define TN_INFER_ENGINE_IMPL_H

#include "infer/infer.h"

/* ---- pages.c: pages of the KV cache, shared by counting */
typedef struct tn_pages {
    int64_t  n;
    int32_t *count; /* how many sequences hold the page */
    int32_t *free_list;
    int64_t  n_free;
    int64_t  n_used; /* pages [0, n_used) were taken at some time: others were never touched */
} tn_pages;

tn_status tn_pages_init(tn_pages *p, int64_t n, tn_error *err);
void      tn_pages_free(tn_pages *p);
int32_t   tn_cache_page_take(tn_pages *p); /* -1: none is free */
void      tn_cache_page_hold(tn_pages *p, int32_t page);
void      tn_cache_page_drop(tn_pages *p, int32_t page);

/* Tokens [0, n) whose keys and values are in pages[0 .. ceil(n / 64)). */
typedef struct tn_seq {
    int32_t *tokens;
    int64_t  n, cap_tokens;
    int32_t *pages;
    int64_t  n_page;
    uint64_t last_use;
} tn_seq;

void    tn_seq_release(tn_seq *s, tn_pages *pages);
int64_t tn_common_prefix(const int32_t *a, int64_t n_a, const int32_t *b, int64_t n_b);

/* ---- text.c: text of a stream as it becomes whole, and stop strings */
typedef struct tn_text {
    char            *p; /* everything decoded so far */
    size_t           n, cap;
    size_t           sent; /* handed to the caller already */
    tn_decode_stream decode;
    /* of a vocabulary with Harmony's marks: */
    enum { TN_PART_TEXT, TN_PART_ROLE, TN_PART_CHANNEL, TN_PART_OTHER } part;
    char   channel[16]; /* its name so far */
    size_t n_channel;
    bool   channel_told; /* what follows in the header is no more of the name */
} tn_text;

/* Decodes one more token (id -1: the end). Of Harmony's messages only those in the channel `final` are text. *stopped: a stop string is complete, p is cut before it. */
tn_status tn_text_push(tn_text *t, const tn_tokenizer *tok, int32_t id, const tn_sampling *s, bool *stopped,
                       tn_error *err);
/* How many bytes from `sent` on can be shown: not those that may begin a stop string. last: all of them. */
size_t tn_text_ready(const tn_text *t, const tn_sampling *s, bool last);

/* ---- sample.c */
typedef struct tn_seen {  /* for the penalties; NULL arrays when there are none */
    int32_t *n_generated; /* [n_vocab] how often each token was generated */
    uint8_t *present;     /* [n_vocab] in the prompt or generated */
} tn_seen;

typedef struct tn_choice {
    int32_t id;
    float   logprob;
} tn_choice;

/* Chooses the next token from one row of logits. work: 2 n_vocab floats of scratch, ids: n_vocab. i_token:
 * its number in the answer. */
int32_t tn_sample(const float *logits, int64_t n_vocab, const tn_sampling *s, const tn_seen *seen,
                  uint64_t sample_id, int64_t i_token, float *work, int32_t *ids);
/* The k best ids, best first, ties by the lower id. */
void    tn_top_k(const float *logits, int64_t n_vocab, int k, int32_t *ids);
int32_t tn_argmax(const float *x, int64_t n);

/* ---- engine.c */
typedef struct tn_lane {
    tn_graph *g;
    tn_net    net;
    tn_value  logits;
    int64_t   rows_max, out_max;
    int32_t  *tokens, *pos, *pages, *out_rows; /* the graph's inputs */
} tn_lane;

typedef struct tn_stream {
    bool              active;
    bool              done;
    const tn_request *request;
    tn_result        *result;
    tn_seq            seq;     /* tokens: prompt, then forced or sampled; seq.n: how many are known */
    int64_t           n_done;  /* rows computed: keys and values of tokens [0, n_done) are in the pages */
    int64_t           n_total; /* most tokens it may come to */
    tn_text           text;
    tn_seen           seen;
    bool              cancelled; /* the callback said stop */
    /* this run: */
    int64_t first_row, n_row; /* its rows */
    int64_t first_out, n_out; /* its rows among those that reach the head */
} tn_stream;

enum { TN_SEQ_KEPT = 64 };

struct tn_engine {
    tn_model         *model;
    const tn_hparams *h;
    tn_engine_options o;
    tn_kv            *kv;
    tn_pages          pages;
    int64_t           n_page_max;        /* pages of one sequence */
    tn_lane           lanes[2];          /* [0] generation, [1] scoring (made when first needed) */
    tn_stream        *streams;           /* [n_batch] */
    tn_seq            kept[TN_SEQ_KEPT]; /* finished sequences whose pages may be shared */
    uint64_t          clock;
    float            *work;           /* [n_batch][2 n_vocab]: sampling */
    int32_t          *work_ids;       /* [n_batch][n_vocab] */
    struct tn_job    *jobs;           /* [out_max of a lane] rows of logits of a run, one each */
    int64_t           n_token_run;    /* statistics of the last run: rows computed, */
    int64_t           n_token_reused; /* rows taken over from a shared prefix */
};

tn_status tn_engine_lane(tn_engine *e, bool scoring, tn_lane **out, tn_error *err);

#endif
