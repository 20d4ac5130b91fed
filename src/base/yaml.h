/* yaml.h - YAML (libyaml) as a small tree with line numbers, for recipes, configs, constitutions, tasks and
 * gates. Scalars stay the words they were: the option row, not the text, decides the type. Refused: duplicate
 * keys, tabs as indentation (libyaml), more than 100 000 nodes, depth over 64, aliases that would expand to
 * more than that. */
#ifndef TN_BASE_YAML_H
#define TN_BASE_YAML_H

#include "base/err.h"

typedef enum tn_yaml_kind { TN_YAML_SCALAR, TN_YAML_SEQ, TN_YAML_MAP } tn_yaml_kind;

typedef struct tn_yaml {
    tn_yaml_kind     kind;
    int              line;   /* 1-based */
    bool             quoted; /* a scalar in quotes or a block scalar */
    char            *text;   /* scalar: NUL-terminated UTF-8 */
    size_t           n;      /* children */
    char           **keys;   /* map: n keys */
    int             *key_lines;
    struct tn_yaml **items; /* seq or map: n values */
} tn_yaml;

tn_status tn_yaml_parse(tn_yaml **out, const char *text, size_t n, const char *where, tn_error *err);
tn_status tn_yaml_load(tn_yaml **out, const char *path, tn_error *err);
void      tn_yaml_free(tn_yaml *y);
/* Value of a key of a map, or NULL (also when y is no map or NULL). */
const tn_yaml *tn_yaml_get(const tn_yaml *y, const char *key);
const char    *tn_yaml_text(const tn_yaml *y, const char *key); /* scalar value of a key, or NULL */

#endif
