/* infer.h - batched generation and scoring over one model: pages of KV cache, continuous batching, prefix
 * reuse.
 *
 *   requests ──→ tn_engine (admits by free pages, prefills in chunks, decodes all streams in one run) ──→ results
 *
 * The answer to a prompt is the same alone and in any batch, at any thread count. */
#ifndef TN_INFER_INFER_H
#define TN_INFER_INFER_H

#include "base/memo.h"
#include "model/model.h"

/* Raise it whenever the same request on the same model gives another answer: rows kept from before are then
 * not taken. */
enum { TN_ENGINE_VERSION = 6 };

typedef struct tn_sampling {
    int64_t            max_tokens, top_k; /* top_k 0: off */
    double             temperature;       /* 0: greedy (ties: the lower id) */
    double             top_p, min_p;      /* 1 and 0: off */
    double             repetition_penalty, presence_penalty, frequency_penalty;
    uint64_t           seed;
    const char *const *stop;
    int                n_stop;
    int                n_top_logprobs;
    bool               ignore_eos;
} tn_sampling;
tn_sampling tn_sampling_default(void);

typedef struct tn_engine tn_engine;
typedef struct tn_engine_options {
    int64_t        n_batch;   /* streams decoded together */
    int64_t        n_ctx;     /* 0: the model's */
    int64_t        n_prefill; /* rows of a run, 0: 256 */
    tn_dtype       kv_type;   /* F32, BF16, Q8_0 */
    size_t         kv_bytes;  /* 0: enough for n_batch streams */
    const tn_lora *lora;
    size_t         n_lora; /* unmerged adapters (training stages sample like this) */
    bool           prefix_reuse;
    int            hidden_layer; /* >= 0: tn_result.hidden gets the last prompt row of this layer */
    tn_memo       *memo; /* answers of before, of this model, adapter and profile; NULL: none. See memo.c */
} tn_engine_options;
tn_status tn_engine_create(tn_engine **out, tn_model *m, const tn_engine_options *o, tn_error *err);
void      tn_engine_destroy(tn_engine *e);
/* Rows computed and rows taken over from shared beginnings in the last run. */
void tn_engine_rows(const tn_engine *e, int64_t *n_computed, int64_t *n_reused);

typedef struct tn_result tn_result;
typedef struct tn_request {
    const int32_t *prompt;
    int64_t        n_prompt;
    tn_sampling    sampling;
    uint64_t       sample_id; /* the row's own id, or the hash of its prompt and its repetition number */
    const int32_t *forced;
    int64_t        n_forced; /* scoring: these follow the prompt; no sampling */
    /* streaming: called per new token with the text that became whole; return false to stop. NULL: none */
    bool (*on_token)(void *arg, int32_t id, float logprob, const char *text, size_t n_text);
    void *arg;
    /* called once when the result is whole; not for a request that failed or was known from before. NULL:
     * none */
    void (*on_done)(void *done_arg, const tn_result *r);
    void *done_arg;
} tn_request;

struct tn_result {
    /* sampled (or forced) tokens with full-vocabulary log-probs */
    int32_t  *tokens;
    float    *logprobs;
    int64_t   n;
    bool     *greedy; /* forced: was each the argmax */
    int32_t  *top_ids;
    float    *top_logprobs;    /* [n][n_top_logprobs] or NULL */
    char     *text;            /* stop string cut off */
    char      stop_reason[16]; /* "eos" | "stop" | "length" | "context" | "scored" */
    float    *hidden;          /* [n_embd] or NULL */
    tn_status status;
    char      message[256];
};
void tn_result_free(tn_result *r);

/* Runs all requests; results in the same order. progress: "name" shown while running, or NULL. A request that
 * cannot run (prompt longer than the context) fails alone, in its result. */
tn_status tn_engine_run(tn_engine *e, const tn_request *requests, tn_result *results, int64_t n,
                        const char *progress, tn_error *err);

/* Sums of log-probabilities of continuations after their contexts. With prefix_reuse a context is computed
 * once for all continuations that follow it (and once for contexts that begin alike, from 32 tokens on): give
 * equal contexts one after another, and an n_batch of at least the choices of a question. The context's last
 * row is computed with every choice, since its logits are wanted; so k choices of m tokens cost n_context + k
 * m rows, not k (n_context + m). */
typedef struct tn_score {
    double  logprob;
    int64_t n_token;
    bool    greedy;
} tn_score;
tn_status tn_engine_score(tn_engine *e, const int32_t *const *context, const int64_t *n_context,
                          const int32_t *const *cont, const int64_t *n_cont, int64_t n, tn_score *out,
                          const char *progress, tn_error *err);

/* Logits of every position of one sequence: [n][n_vocab] f32, made: free. */
tn_status tn_logits(float **out, tn_model *m, const int32_t *tokens, int64_t n, tn_error *err);

#endif
