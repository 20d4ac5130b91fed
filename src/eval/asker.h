/* asker.h - who answers the questions: a model in this program (local.c), or one behind an OpenAI-compatible
 * endpoint (remote.c). Private to this room.
 *
 *   tn_asked   one row: its texts ─ prepare ─→ tokens and the hash of what is asked ─ group ─→ log-probabilities or replies */
#ifndef TN_EVAL_ASKER_H
#define TN_EVAL_ASKER_H

#include "eval/eval.h"
#include "eval/prompt.h"

/* What was measured about one continuation (or one window of a rolling text). n_context: -1 where it is not
 * known. */
typedef struct tn_scored {
    double  ll;
    bool    greedy, truncated, boundary;
    int64_t n_context, n_token;
} tn_scored;
/* One reply. near_tie: somewhere the two best tokens were closer than 1e-4. */
typedef struct tn_reply {
    char   *text, stop[16];
    int64_t n_context, n_token;
    bool    truncated, near_tie;
} tn_reply;

typedef struct tn_asked {
    tn_ask     ask;
    tn_span   *spans; /* local only */
    size_t     n_span;
    tn_scored *scored;  /* [n_span] */
    tn_reply  *replies; /* [n_reply] of a task that generates */
    size_t     n_reply;
    char       hash[TN_SHA256_HEX]; /* of everything that was asked */
    uint64_t   sample_id;           /* of the row, for what is drawn */
} tn_asked;
void tn_asked_free(tn_asked *a);
/* Room for the answers of one row: its replies, or the log-probabilities of its spans. */
tn_status tn_asked_room(tn_asked *a, const tn_task *t, tn_error *err);

typedef struct tn_asker tn_asker;
typedef struct tn_asker_kind {
    tn_status (*prepare)(tn_asker *a, tn_asked *one, const tn_task *t, const char *where, tn_error *err);
    tn_status (*group)(tn_asker *a, tn_asked *list, size_t n, const tn_task *t, tn_error *err);
    tn_status (*describe)(const tn_asker *a, json_t *header, tn_error *err); /* what the answers depend on */
    void (*close)(tn_asker *a);
} tn_asker_kind;
struct tn_asker {
    const tn_asker_kind   *kind;
    const tn_eval_options *o;
    tn_style               style; /* how to put questions; the tasks may ask for chat too */
    bool                   can_chat;
};

tn_status tn_local_open(tn_asker **out, tn_model *m, const tn_eval_options *o, tn_error *err);
tn_status tn_remote_open(tn_asker **out, const char *url, const tn_eval_options *o, tn_error *err);

#endif
