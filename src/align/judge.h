/* judge.h - private to align: a judge that is asked multiple-choice questions, whatever stands behind it.
 *
 *   question (judge_text.c) ──→ tn_judge: a local model (judge.c) or an endpoint (judge_remote.c) ──→ log-probabilities of
 *   the options ──→ both orders, averaged in logit space (judge.c) ──→ z: the logit that the first answer is better
 *
 * A planted judge for tests is one more tn_judge: three functions. */
#ifndef TN_ALIGN_JUDGE_H
#define TN_ALIGN_JUDGE_H

#include "align/rows.h"

enum { TN_JUDGE_OPTIONS = 10 };

/* One multiple-choice question. The last message is the user's; the judge's next word is the option. */
typedef struct tn_judge_ask {
    const tn_message  *messages;
    size_t             n_message;
    const char *const *options;
    int                n_option;
    double             logprob[TN_JUDGE_OPTIONS]; /* out: log of the probability of each option */
    double             mass;                      /* out: their sum; what is left is other words */
    char              *failed; /* out, made: why this question could not be put (too long), or NULL */
} tn_judge_ask;

/* One piece of reasoning to be sampled. */
typedef struct tn_judge_reason {
    const tn_message *messages;
    size_t            n_message;
    uint64_t          id;   /* the row's own number, for the sampler */
    char             *text; /* out, made */
} tn_judge_reason;

typedef struct tn_judge {
    void *self;
    char *identity; /* "model sha256:..." or "endpoint URL NAME" */
    tn_status (*ask)(void *self, tn_judge_ask *asks, size_t n, tn_error *err);
    tn_status (*reason)(void *self, tn_judge_reason *r, size_t n, int64_t max_tokens, uint64_t seed,
                        tn_error *err);
    void (*close)(void *self);
} tn_judge;

/* A local model, or, with source->model NULL, the endpoint that `o` names. */
tn_status tn_judge_open(tn_judge *out, const tn_judge_source *source, const tn_judge_asking *o,
                        tn_error *err);
tn_status tn_judge_open_remote(tn_judge *out, const tn_judge_source *source, const tn_judge_asking *o,
                               tn_error *err);
void      tn_judge_close(tn_judge *j);

/* ---- judge_text.c: the wording of questions. All texts made: free; NULL if out of memory. */
/* Which of two answers, by one criterion. Texts stand between marks that none of them contains. */
char *tn_judge_question(const char *criterion, const char *request, const char *a, const char *b,
                        bool reasoning);
/* How good one answer is from 1 to `top`, by one criterion. */
char *tn_judge_rating(const char *criterion, const char *request, const char *answer, int top);
extern const char *const tn_judge_letters[2];
extern const char *const tn_judge_stub;    /* what the judge's turn is opened with, up to the option */
extern const char *const tn_judge_decide;  /* the last question after reasoning */
extern const char *const tn_judge_general; /* criterion where no principle is named */
/* SHA-256 over the wordings with place-holders: it changes when any of them does. */
tn_digest tn_judge_template(void);

/* ---- judge.c: comparisons. */
typedef struct tn_comparison {
    const char *id, *request, *first, *second; /* borrowed */
    const char *criterion;
    bool        worse;   /* the criterion asks for the worse one */
    double      l[2][2]; /* out: [order][letter]; in order 0 `first` is A */
    double      mass;    /* out: mean probability on the letters */
    double      z;       /* out: logit that `first` is better, slot bias taken out */
    bool        failed;  /* out: the question did not fit; the rest means nothing */
    char        why[160];
} tn_comparison;
tn_status tn_judge_compare(tn_judge *j, const tn_judge_asking *o, tn_comparison *c, size_t n,
                           const char *progress, tn_error *err);

/* ---- direct.c: one answer rated from 1 to 10, by the expected value over the numbers (d-RLAIF). */
typedef struct tn_rating {
    const char *id, *request, *answer, *criterion; /* borrowed */
    double      p[TN_JUDGE_OPTIONS];               /* out: share of each number, summing to 1 */
    double      score, reward, mass;               /* out: expected number; the same brought to [-1, 1] */
    bool        failed;
    char        why[160];
} tn_rating;
tn_status tn_judge_rate(tn_judge *j, tn_rating *r, size_t n, const char *progress, tn_error *err);

/* ---- judge_set.c: labelled comparisons. */
typedef struct tn_labelled {
    char    *id, *request, *chosen, *rejected, *principle /* or NULL */;
    uint64_t context;
} tn_labelled;
typedef struct tn_labelled_set {
    tn_labelled *at;
    size_t       n;
} tn_labelled_set;
/* Ranked answers in the form of prompts/judge.txt, or JSONL: {"prompt","chosen","rejected"} or hh-rlhf
 * dialogues. The form is told by the content. */
tn_status tn_labelled_read(tn_labelled_set *out, const char *path, tn_error *err);
void      tn_labelled_free(tn_labelled_set *s);

/* ---- judge_measure.c: how far a judge can be trusted. Pure arithmetic. */
typedef struct tn_verdict { /* one labelled comparison, judged */
    double  z;              /* > 0: the judge agrees with the label */
    double  first;          /* share of its questions that named slot A */
    double  consistent;     /* share of its wordings that named the same answer in both orders */
    double  mass;
    int64_t longer; /* bytes of the better answer minus those of the other */
    int64_t context;
} tn_verdict;
/* made: the object of judge.json (identity and settings are the caller's). */
tn_status tn_judge_measure(json_t **out, const tn_verdict *v, size_t n, const tn_judge_bar *bar,
                           tn_error *err);
double    tn_sigmoid(double x);
double    tn_log_sigmoid(double x);

/* What a measurement allows. */
typedef enum tn_judge_use { TN_JUDGE_NONE, TN_JUDGE_SOFT, TN_JUDGE_LABELS } tn_judge_use;
typedef struct tn_judge_trust {
    tn_judge_use use;
    double       temperature, accuracy, lo, hi, consistency;
    char         identity[200], template[80], why[400];
} tn_judge_trust;
/* From a judge stage's directory; MISMATCH if it measured another judge or another wording. */
tn_status tn_judge_trust_load(tn_judge_trust *t, const char *dir, const tn_judge *j, const tn_judge_asking *o,
                              bool direct, tn_error *err);
/* VERIFY: why a judge below its bar must not label, and what needs none. */
tn_status                tn_judge_refused(const tn_judge_trust *t, const char *what, tn_error *err);
extern const char *const tn_judge_general_text; /* what is rated where no principle is named */

#endif
