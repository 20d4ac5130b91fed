/* option.h - one row drives the YAML key, the flag, the help, the docs and the manifest.
 *
 * A config is a plain struct; a row says where its field lies. String fields are `char *` owned by the config
 * (made by these functions, freed by tn_options_free). */
#ifndef TN_BASE_OPTION_H
#define TN_BASE_OPTION_H

#include "base/json.h"
#include "base/yaml.h"

typedef enum tn_opt_type {
    TN_OPT_INT,    /* int64_t */
    TN_OPT_REAL,   /* double  */
    TN_OPT_BOOL,   /* bool: flag alone means true; --no-x means false */
    TN_OPT_STR,    /* char *  */
    TN_OPT_CHOICE, /* char *, one of `choices` ("a|b|c") */
    TN_OPT_LIST,   /* char *: comma-separated on the command line, a sequence or a comma list in YAML */
    TN_OPT_MANY /* char *: a flag that may be given again and again (--set); the values joined by newlines */
} tn_opt_type;

typedef struct tn_option {
    const char *key; /* lr_min in YAML, --lr-min as a flag */
    tn_opt_type type;
    size_t      offset;   /* offsetof(config, field) */
    const char *dflt;     /* as text; NULL: no default (0, false, NULL) */
    double      min, max; /* for INT and REAL; both 0: any */
    /* "tokens", "steps", ... or "" ; for CHOICE the choices; for LIST what its items may be ("a|b"), or "" */
    const char *unit;
    const char *help;  /* one line */
    const char *alias; /* another flag for the same ("m" for --model gives -m), or NULL */
} tn_option;           /* a table ends with key NULL */

tn_status tn_options_default(void *config, const tn_option *table, tn_error *err);
tn_status tn_option_set(void *config, const tn_option *table, const char *key, const char *text,
                        const char *where, tn_error *err);
/* Every key of the map must be in the table (else: nearest name, line), except those in `also` (NULL-ended,
 * or NULL). */
tn_status tn_options_yaml(void *config, const tn_option *table, const tn_yaml *map, const char *where,
                          const char *const *also, tn_error *err);
/* Parses flags; what is no flag goes to rest (borrowed from argv, in order). "--" ends flags. `tables` is
 * NULL-ended pairs of (table, config): a command's own options and the common ones. owner (or NULL): [argc]
 * the option whose flag or value that word is, NULL: none. USAGE with the nearest name. */
typedef struct tn_option_set_ref {
    const tn_option *table;
    void            *config;
} tn_option_set_ref;
tn_status tn_options_argv(const tn_option_set_ref *sets, int argc, char **argv, const char **rest,
                          int *n_rest, const tn_option **owner, tn_error *err);
/* The key that is meant by a word that is none: what another program calls it (learning_rate: lr), else the
 * nearest of `keys` (NULL-ended), else that of a word which is nearly another program's. *o: its row in one
 * of the tables; NULL: it is a key of `keys` alone. NULL: nobody can tell. */
const char *tn_option_meant(const tn_option_set_ref *sets, const char *const *keys, const char *word,
                            const tn_option **o);
/* option_words.c: our name for what another program calls `key`; nearly: slips of the pen are looked over.
 * NULL: none. */
const char *tn_option_elsewhere(const char *key, bool nearly);
/* How many words of a command line the flag `arg` and its value take; 0: it is no flag of this table. */
int tn_option_words(const tn_option *table, const char *arg);
/* Every value, defaults included, as an object with sorted keys: what manifests and stage keys hold. made. */
json_t *tn_options_json(const void *config, const tn_option *table);
void    tn_options_free(void *config, const tn_option *table);
/* Help text, one option a line (made: free). */
char *tn_options_help(const tn_option *table);

#endif
