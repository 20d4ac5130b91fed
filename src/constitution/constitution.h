/* constitution.h - the charter as data: principles with ids, weights, wording and topics; one reviewed YAML
 * file.
 *
 *   constitution.yaml (extends: other.yaml) ──→ tn_constitution ──→ align draws principles by weight and topic
 *                                                                └→ every record, pair and gradient carries the id
 *
 * A principle's digest covers all that can change what training does with it: when a text changes, exactly
 * the work that it touches has a new key. Read-only after loading. docs/constitution.md shows the file's
 * form. */
#ifndef TN_CONSTITUTION_CONSTITUTION_H
#define TN_CONSTITUTION_CONSTITUTION_H

#include "base/hash.h"
#include "base/json.h"
#include "base/rng.h"

/* What a principle asks of an answer to a request on its topics. */
typedef enum tn_stance {
    TN_STANCE_STYLE,   /* how to answer, whatever the request */
    TN_STANCE_DECLINE, /* harmful requests on these topics are declined, with a reason and an offer */
    TN_STANCE_ANSWER   /* look-alikes on these topics are answered: declining is the fault */
} tn_stance;

typedef struct tn_texts {
    char **at;
    size_t n;
} tn_texts;

/* A mechanical test that some principles allow: PCRE2 patterns over the answer, case-insensitive. */
typedef struct tn_check {
    char   *absent, *present;
    int64_t max_words;
} tn_check;

typedef struct tn_principle {
    char     *id;       /* "privacy.no-doxxing": letters, digits, '.', '-', '_' */
    char     *group;    /* one of the constitution's groups */
    int       priority; /* index of the group: 0 wins over 1 */
    tn_stance stance;
    double    weight;              /* > 0 */
    char     *text;                /* the principle itself, one or two sentences */
    tn_texts  topics;              /* declared topics; empty: applies to every request */
    char     *critique, *revision; /* requests put to the model */
    char     *compare_positive;    /* "Which answer ... better?" */
    /* "Which answer ... worse?": the other form (C3AI: both forms, measured apart) */
    char *compare_negative;
    /* one-clause descriptions of an assistant, for contrast pairs (RLCD) */
    char     *affix_positive, *affix_negative;
    tn_texts  reasons, offers; /* DECLINE: wordings of why and of what is offered instead */
    tn_check  check;
    int       line; /* where it is written, for messages */
    char     *file;
    tn_digest digest;
} tn_principle;

typedef struct tn_topic {
    char *id, *text;
    int   line;
} tn_topic;

typedef struct tn_constitution {
    char         *name, *version, *preamble;
    tn_texts      groups; /* priority order, first wins */
    tn_topic     *topics;
    size_t        n_topic;
    tn_principle *principles;
    size_t        n_principle; /* in file order, inherited ones first */
    tn_digest     digest;      /* of the canonical form (inheritance resolved) */
} tn_constitution;

/* A YAML file, or the canonical JSON. FORMAT and USAGE name file and line: unknown key, duplicate id, missing
 * wording, weight out of range, undeclared topic or group, cycle in extends. */
tn_status tn_constitution_load(tn_constitution **out, const char *path, tn_error *err);
void      tn_constitution_free(tn_constitution *c);
/* The canonical form, inheritance resolved; made: json_decref. */
json_t *tn_constitution_json(const tn_constitution *c);
/* From the canonical form (an artifact of the store, a release). */
tn_status tn_constitution_from_json(tn_constitution **out, const json_t *v, const char *where, tn_error *err);

const tn_principle *tn_constitution_find(const tn_constitution *c, const char *id);
const tn_topic     *tn_constitution_topic(const tn_constitution *c, const char *id);
/* Does the principle apply to a request with these topics (an empty list of its own: always)? */
bool tn_principle_applies(const tn_principle *p, const char *const *topics, size_t n_topic);
/* One principle drawn by weight among those that apply and have this stance (stance -1: any); NULL if there
 * is none. */
const tn_principle *tn_constitution_draw(const tn_constitution *c, const char *const *topics, size_t n_topic,
                                         int stance, const tn_rng_key *key, uint64_t position);

/* What `tenet constitution check` prints beyond load errors: one finding a line. severity: 2 wrong, 1 worth a
 * look. */
typedef struct tn_finding {
    int   severity;
    char *where;
    char *text;
} tn_finding;
tn_status tn_constitution_lint(const tn_constitution *c, const char *path, tn_finding **out, size_t *n,
                               tn_error *err);
void      tn_findings_free(tn_finding *f, size_t n);

/* What changed between two: one entry a principle (or "preamble", "groups"). made: free with
 * tn_changes_free. */
typedef struct tn_change {
    char *id;
    enum { TN_ADDED, TN_REMOVED, TN_CHANGED } kind;
    char *fields;
} tn_change;
tn_status tn_constitution_diff(const tn_constitution *a, const tn_constitution *b, tn_change **out, size_t *n,
                               tn_error *err);
void      tn_changes_free(tn_change *c, size_t n);

/* The whole constitution as a system text: preamble, then the principles (those for these topics only, if
 * n_topic > 0). made: free. */
char *tn_constitution_prompt(const tn_constitution *c, const char *const *topics, size_t n_topic);
/* Does an answer pass a principle's mechanical check? *has = false when the principle has none. */
tn_status tn_principle_check(const tn_principle *p, const char *answer, bool *has, bool *passed,
                             tn_error *err);

#endif
