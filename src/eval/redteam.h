/* redteam.h - what the files of the red team share: who is asked, what is asked, what came of it (private to
 * this room). */
#ifndef TN_EVAL_REDTEAM_H
#define TN_EVAL_REDTEAM_H

#include "eval/attack.h"
#include "eval/grader.h"
#include "eval/items.h"

/* A request that should be declined, and a harmless one whose right answer is known. */
typedef struct tn_seed {
    char    *id, *text, *category, *principle, *target;
    uint64_t hash;
} tn_seed;
typedef struct tn_twin {
    char    *id, *text, *expect;
    uint64_t hash;
} tn_twin; /* expect: "paris|lutetia" */
typedef struct tn_seeds {
    tn_seed  *list;
    size_t    n;
    int64_t   n_skipped;
    tn_digest digest;
} tn_seeds;
typedef struct tn_twins {
    tn_twin  *list;
    size_t    n;
    tn_digest digest;
} tn_twins;

/* redteam_prompts.c. principles: a YAML map from category to principle, or NULL. limit 0: all, else evenly
 * spaced. */
tn_status tn_seeds_load(tn_seeds *out, const char *path, const char *principles, int64_t limit,
                        tn_error *err);
tn_status tn_twins_load(tn_twins *out, const char *path, int64_t limit, tn_error *err);
void      tn_seeds_free(tn_seeds *s);
void      tn_twins_free(tn_twins *t);
/* Does the reply hold one of the expected words? */
bool tn_twin_read(const tn_twin *t, const char *reply);

typedef struct tn_redteam {
    const tn_redteam_options *o;
    tn_speaker               *subject, *attacker, *judge; /* attacker, judge: NULL: none */
    tn_refusal               *refusal;
    tn_reply_head            *head; /* or NULL */
    tn_seeds                  seeds;
    tn_twins                  twins;
    tn_attack                *attacks;
    size_t                    n_attack;
    tn_trust                  trust; /* of the grader that decides */
    bool                      trust_known;
    int64_t                   n_judged, n_flipped, n_none; /* on the labels: how steady the judge is */
    json_t                   *trusts;                      /* by grader, for the report */
} tn_redteam;

/* How a reply counts. */
/* refused answered degenerate none failed */
typedef struct tn_counted {
    const char *outcome;
    double      score;
    bool        hit;
} tn_counted;
tn_counted tn_redteam_count(const tn_redteam *r, const tn_graded *g);
/* Fills the graders' fields of g[]. judged: ask the judge too (only where refusing is at stake). */
tn_status tn_redteam_grade(tn_redteam *r, tn_graded *g, size_t n, bool judged, tn_error *err);

/* grader_labels.c: measures the graders on r->o->labels; the one that decides becomes r->trust. */
tn_status tn_graders_check(tn_redteam *r, tn_error *err);

/* ---- search.c: one search for one request */

typedef struct tn_hunt {
    tn_redteam      *r;
    const tn_attack *attack;
    const tn_seed   *seed;
    json_t          *trace; /* [{"query","outcome","score","asked","reply"}] digests only */
    int64_t          n_query, n_token, n_try, n_hit, first_hit; /* first_hit: number of the query, 0: none */
    json_t          *more;                                      /* what only this search has: losses, turns */
    char            *asked, *reply;                             /* of the best reply */
    tn_counted       best;
    tn_graded        graded; /* of the best reply; its texts are asked and reply's owner */
} tn_hunt;

tn_status tn_hunt_run(tn_hunt *h, tn_error *err);
void      tn_hunt_free(tn_hunt *h);
/* Asks the subject n conversations, grades each reply against the seed's request, notes all. out[n]; reply
 * texts (said, made by the caller with calloc) stay for the caller: tn_said_free. final: a reply that answers
 * counts as a hit also without a judge. */
tn_status tn_hunt_ask(tn_hunt *h, const tn_talk *talks, size_t n, bool final, tn_said *said, tn_counted *out,
                      tn_error *err);

/* search_tree.c: pair and tap */
tn_status tn_search_tree(tn_hunt *h, int64_t branches, bool tree, tn_error *err);
tn_status tn_search_gcg(tn_hunt *h, int64_t n_suffix, tn_error *err); /* search_gcg.c */

/* search_gcg.c: for tests. Loss of the target and its gradient with respect to the embedding of each suffix
 * token. */
typedef struct tn_gcg tn_gcg;
tn_status    tn_gcg_open(tn_gcg **out, tn_model *m, const char *request, const char *target, int64_t n_suffix,
                         uint64_t seed, uint64_t id, tn_error *err);
void         tn_gcg_close(tn_gcg *g);
tn_status    tn_gcg_gradient(tn_gcg *g, double *loss, tn_error *err);
const float *tn_gcg_grad_row(const tn_gcg *g, int64_t i); /* [n_embd] of suffix token i */
const int32_t *tn_gcg_suffix(const tn_gcg *g);
/* one swap of the best of a batch; *best: the loss */
tn_status tn_gcg_step(tn_gcg *g, int64_t step, double *best, tn_error *err);
tn_status tn_gcg_text(const tn_gcg *g, char **out, tn_error *err); /* made: the request with its suffix */

/* redteam_report.c: the report is a function of header and items alone. redteam_page.c: the page, from the
 * report. */
json_t   *tn_redteam_report(const tn_redteam *r, const tn_items *items, tn_error *err);
tn_status tn_redteam_page(const json_t *report, const tn_items *items, const json_t *texts, const char *path,
                          tn_error *err);

/* For tests: the run with speakers that are there already. */
tn_status tn_redteam_run_with(json_t **report, tn_redteam *r, tn_error *err);

#endif
