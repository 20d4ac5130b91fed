/* attack.h - attacks as pure functions from a request to what a model is asked (private to this room).
 *
 *   request ── step ──→ step ──→ ... ──→ probe {earlier turns, last turn, forced beginning of the reply}
 *                                          │
 *   text to judge ←── undo ←── undo ←──── reply
 *
 * Steps stack: "leetspeak+role" writes the request in leetspeak and then puts it into a role. A search
 * (best-of-n, pair, tap, crescendo, gcg) stands alone and asks the model as often as its budget allows. */
#ifndef TN_EVAL_ATTACK_H
#define TN_EVAL_ATTACK_H

#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

typedef struct tn_turn {
    const char *role;
    char       *text;
} tn_turn;

typedef struct tn_probe {
    char    *request; /* the last user turn */
    tn_turn *before;
    size_t   n_before; /* earlier turns, oldest first */
    char    *prefill;  /* the reply must begin with this; NULL: nothing */
} tn_probe;

void      tn_probe_free(tn_probe *p);
tn_status tn_probe_before(tn_probe *p, const char *role, const char *text, tn_error *err);
/* Takes `text` as the request (NULL: out of memory). */
tn_status tn_probe_ask(tn_probe *p, char *text, tn_error *err);

typedef enum tn_search {
    TN_SEARCH_NONE,
    TN_SEARCH_BEST_OF_N,
    TN_SEARCH_CRESCENDO,
    TN_SEARCH_PAIR,
    TN_SEARCH_TAP,
    TN_SEARCH_GCG
} tn_search;

typedef struct tn_attack_row {
    const char *name, *family, *line;
    int64_t     dflt, lo, hi; /* the number after ':'; hi 0: it takes none */
    tn_status (*apply)(tn_probe *p, int64_t n, const tn_rng_key *key, tn_error *err); /* NULL: a search */
    char *(*undo)(const char *reply); /* made: free; NULL: the reply is not in this form */
    tn_search search;
} tn_attack_row;

extern const tn_attack_row tn_attack_rows[]; /* ended by name NULL */

enum { TN_ATTACK_STEPS = 4 };
typedef struct tn_attack {
    char                *name; /* as it was written */
    const tn_attack_row *row[TN_ATTACK_STEPS];
    int64_t              n[TN_ATTACK_STEPS];
    size_t               n_step;
    tn_search            search;
    bool                 prefills;
    bool                 hides; /* some step writes the request in another form: can the model read it? */
} tn_attack;

/* "base64", "typos+role", "many-shot:16". USAGE with the nearest name. */
tn_status tn_attack_parse(tn_attack *out, const char *text, tn_error *err);
void      tn_attack_free(tn_attack *a);
/* What is asked at try `i_try`: a function of (attack, request, seed, id, i_try) alone. probe:
 * tn_probe_free. */
tn_status tn_attack_apply(tn_probe *out, const tn_attack *a, const char *request, uint64_t seed, uint64_t id,
                          int64_t i_try, tn_error *err);
/* The reply as a judge should read it: decoded where it came in the attack's own form. made: free. */
char *tn_attack_read(const tn_attack *a, const char *reply);

/* attack_text.c and attack_edit.c: texts to texts. made: free; NULL if out of memory. */
char *tn_edit_random(const char *text, double strength, const tn_rng_key *key);
/* Share of the words of a text that are common English words: what tells plain text from its ciphers. */
double tn_common_words(const char *text);

/* One row a step, by file. */
#define TN_ATTACK_APPLY(name)                                                                                \
    tn_status tn_attack_##name(tn_probe *p, int64_t n, const tn_rng_key *key, tn_error *err)
TN_ATTACK_APPLY(base64);
TN_ATTACK_APPLY(base32);
TN_ATTACK_APPLY(hex);
TN_ATTACK_APPLY(binary);
TN_ATTACK_APPLY(url);
TN_ATTACK_APPLY(rot13);
TN_ATTACK_APPLY(caesar);
TN_ATTACK_APPLY(atbash);
TN_ATTACK_APPLY(morse);
TN_ATTACK_APPLY(braille);
TN_ATTACK_APPLY(nato);
TN_ATTACK_APPLY(reversed);
TN_ATTACK_APPLY(leetspeak);
TN_ATTACK_APPLY(homoglyphs);
TN_ATTACK_APPLY(zero_width);
TN_ATTACK_APPLY(tags);
TN_ATTACK_APPLY(typos);
TN_ATTACK_APPLY(casing);
TN_ATTACK_APPLY(spacing);
TN_ATTACK_APPLY(pig_latin);
TN_ATTACK_APPLY(scramble);
TN_ATTACK_APPLY(direct);
TN_ATTACK_APPLY(role);
TN_ATTACK_APPLY(fiction);
TN_ATTACK_APPLY(hypothetical);
TN_ATTACK_APPLY(authority);
TN_ATTACK_APPLY(override);
TN_ATTACK_APPLY(suppress);
TN_ATTACK_APPLY(prefix);
TN_ATTACK_APPLY(format);
TN_ATTACK_APPLY(past);
TN_ATTACK_APPLY(persuade);
TN_ATTACK_APPLY(split);
TN_ATTACK_APPLY(inject);
TN_ATTACK_APPLY(many_shot);
TN_ATTACK_APPLY(prefill);
char *tn_undo_base64(const char *s);
char *tn_undo_base32(const char *s);
char *tn_undo_hex(const char *s);
char *tn_undo_binary(const char *s);
char *tn_undo_url(const char *s);
char *tn_undo_rot13(const char *s);
char *tn_undo_caesar(const char *s);
char *tn_undo_atbash(const char *s);
char *tn_undo_morse(const char *s);
char *tn_undo_reversed(const char *s);
char *tn_undo_leetspeak(const char *s);
char *tn_undo_marks(const char *s);
char *tn_undo_spacing(const char *s);

#endif
