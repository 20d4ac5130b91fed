/* speaker.h - whoever answers: a local model, an OpenAI-compatible endpoint, or a script in a test (private
 * to this room).
 *
 * The red team talks to three of them: the model under test, an attacker and a judge. What they say is a
 * function of the conversation, the settings and the sample's id, never of what else is asked in the same
 * call. */
#ifndef TN_EVAL_SPEAKER_H
#define TN_EVAL_SPEAKER_H

#include "base/json.h"
#include "infer/infer.h"

typedef struct tn_talk {
    const tn_message *messages;
    size_t            n;
    const char       *prefill; /* the reply begins with this; NULL: nothing. It is no part of what is said */
    uint64_t          sample_id;
} tn_talk;

typedef struct tn_say_options {
    int64_t  max_tokens;
    double   temperature;
    uint64_t seed;
} tn_say_options;

typedef struct tn_said {
    char   *text; /* NULL: it could not answer, and `why` says so */
    int64_t n_token;
    bool    cut; /* stopped by max_tokens or the context */
    char    why[200];
} tn_said;

typedef struct tn_speaker {
    void     *self;
    json_t   *identity; /* what the answers depend on: digests, or an endpoint's name */
    bool      prefills;
    tn_model *model; /* local ones; else NULL */
    tn_status (*say)(void *self, const tn_talk *talks, size_t n, const tn_say_options *o, tn_said *out,
                     tn_error *err);
    /* Log-probability of each option as the beginning of the reply: logp[n][n_option]; NaN: the speaker gave
     * none. */
    tn_status (*weigh)(void *self, const tn_talk *talks, size_t n, const char *const *options,
                       size_t n_option, double *logp, tn_error *err);
    void (*close)(void *self);
} tn_speaker;

void tn_said_free(tn_said *s, size_t n);
void tn_speaker_close(tn_speaker *s); /* a zeroed one is fine */

/* The model is borrowed and must outlive the speaker. */
tn_status tn_speaker_local(tn_speaker *out, tn_model *m, tn_dtype kv_type, int64_t n_batch, tn_error *err);
/* url: "http://host:port/v1". The key, if any, comes from TENET_API_KEY. */
tn_status tn_speaker_endpoint(tn_speaker *out, const char *url, const char *model, tn_error *err);

#endif
