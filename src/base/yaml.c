/* yaml.c - YAML text to a small tree, by libyaml's parser events.
 *
 *   bytes ── yaml_parser_parse (events) ──→ node_read, recursive ──→ tn_yaml tree
 *
 * An anchor keeps a pointer to its finished node; an alias copies that node, counted against the node limit,
 * so nested aliases cannot explode. Merge keys (<<) are not YAML 1.2 and are refused as an ordinary unknown
 * key would be. */
#include "base/yaml.h"
#include "base/file.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_NODES = 100000, MAX_DEPTH = 64, MAX_ANCHORS = 256, MAX_FILE_BYTES = 16 << 20 };

typedef struct anchor {
    char    *name;
    tn_yaml *node;
} anchor;

typedef struct reader {
    yaml_parser_t parser;
    const char   *where;
    int           n_node;
    anchor        anchors[MAX_ANCHORS];
    int           n_anchor;
    tn_error     *err;
} reader;

static tn_status node_read(reader *r, const yaml_event_t *first, int depth, tn_yaml **out);

void tn_yaml_free(tn_yaml *y)
{
    if (y == NULL) return;
    for (size_t i = 0; i < y->n; i++) {
        tn_yaml_free(y->items[i]);
        if (y->keys != NULL) free(y->keys[i]);
    }
    free(y->items);
    free(y->keys);
    free(y->key_lines);
    free(y->text);
    free(y);
}

static tn_status no_memory(reader *r)
{
    return tn_fail(r->err, TN_NOMEM, "%s: no memory for the YAML tree", r->where);
}

static tn_status node_new(reader *r, tn_yaml_kind kind, int line, tn_yaml **out)
{
    *out = NULL;
    if (++r->n_node > MAX_NODES)
        return tn_fail(r->err, TN_LIMIT,
                       "%s:%d: more than %d YAML nodes (aliases count each time they are used)", r->where,
                       line, MAX_NODES);
    if ((*out = calloc(1, sizeof **out)) == NULL) return no_memory(r);
    (*out)->kind = kind;
    (*out)->line = line;
    return TN_OK;
}

/* Appends a child (given: owned by the parent afterwards, or freed on failure); key is given too, or NULL. */
static tn_status node_add(reader *r, tn_yaml *parent, char *key, int key_line, tn_yaml *child)
{
    size_t n = parent->n;

    if ((n & (n - 1)) == 0) { /* powers of two: grow to twice */
        size_t    cap = n == 0 ? 1 : 2 * n;
        tn_yaml **items = realloc(parent->items, cap * sizeof *items);
        if (items != NULL) parent->items = items;
        char **keys = parent->kind == TN_YAML_MAP ? realloc(parent->keys, cap * sizeof *keys) : NULL;
        if (keys != NULL) parent->keys = keys;
        int *lines = parent->kind == TN_YAML_MAP ? realloc(parent->key_lines, cap * sizeof *lines) : NULL;
        if (lines != NULL) parent->key_lines = lines;
        if (items == NULL || (parent->kind == TN_YAML_MAP && (keys == NULL || lines == NULL))) {
            tn_yaml_free(child);
            free(key);
            return no_memory(r);
        }
    }
    parent->items[n] = child;
    if (parent->kind == TN_YAML_MAP) {
        parent->keys[n] = key;
        parent->key_lines[n] = key_line;
    }
    parent->n = n + 1;
    return TN_OK;
}

static tn_status node_copy(reader *r, const tn_yaml *from, int depth, tn_yaml **out)
{
    tn_yaml  *y = NULL;
    tn_status status = TN_OK;

    *out = NULL;
    if (depth > MAX_DEPTH)
        return tn_fail(r->err, TN_LIMIT, "%s:%d: YAML nested deeper than %d", r->where, from->line,
                       MAX_DEPTH);
    TN_GOTO(node_new(r, from->kind, from->line, &y));
    y->quoted = from->quoted;
    if (from->text != NULL && (y->text = tn_strdup(from->text)) == NULL) {
        status = no_memory(r);
        goto out;
    }
    for (size_t i = 0; i < from->n; i++) {
        tn_yaml *child = NULL;
        char    *key = NULL;

        TN_GOTO(node_copy(r, from->items[i], depth + 1, &child));
        if (from->keys != NULL && (key = tn_strdup(from->keys[i])) == NULL) {
            tn_yaml_free(child);
            status = no_memory(r);
            goto out;
        }
        TN_GOTO(node_add(r, y, key, from->key_lines != NULL ? from->key_lines[i] : 0, child));
    }
    *out = y;
    y = NULL;
out:
    tn_yaml_free(y);
    return status;
}

static tn_status next_event(reader *r, yaml_event_t *e)
{
    if (yaml_parser_parse(&r->parser, e)) return TN_OK;
    if (r->parser.error == YAML_MEMORY_ERROR) return no_memory(r);
    return tn_fail(r->err, TN_FORMAT, "%s:%d: %s%s%s%s", r->where, (int)r->parser.problem_mark.line + 1,
                   r->parser.problem != NULL ? r->parser.problem : "not YAML",
                   r->parser.context != NULL ? " (" : "", r->parser.context != NULL ? r->parser.context : "",
                   r->parser.context != NULL ? "); YAML is indented with spaces, never tabs" : "");
}

static tn_status anchor_set(reader *r, const yaml_char_t *name, tn_yaml *node)
{
    if (name == NULL) return TN_OK;
    if (r->n_anchor == MAX_ANCHORS)
        return tn_fail(r->err, TN_LIMIT, "%s:%d: more than %d YAML anchors", r->where, node->line,
                       MAX_ANCHORS);
    char *copy = tn_strdup((const char *)name);
    if (copy == NULL) return no_memory(r);
    r->anchors[r->n_anchor++] = (anchor){ copy, node };
    return TN_OK;
}

static tn_status alias_read(reader *r, const yaml_event_t *e, int line, int depth, tn_yaml **out)
{
    const char *name = (const char *)e->data.alias.anchor;

    for (int i = r->n_anchor - 1; i >= 0; i--)
        if (strcmp(r->anchors[i].name, name) == 0) return node_copy(r, r->anchors[i].node, depth, out);
    return tn_fail(r->err, TN_FORMAT, "%s:%d: alias *%s has no anchor &%s before it", r->where, line, name,
                   name);
}

static tn_status map_read(reader *r, tn_yaml *y, int depth)
{
    for (;;) {
        yaml_event_t e;
        char        *key = NULL;
        tn_yaml     *child = NULL;

        TN_TRY(next_event(r, &e));
        int line = (int)e.start_mark.line + 1;
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return TN_OK;
        }
        if (e.type != YAML_SCALAR_EVENT) {
            yaml_event_delete(&e);
            return tn_fail(r->err, TN_FORMAT, "%s:%d: a key must be plain text", r->where, line);
        }
        key = tn_strndup((const char *)e.data.scalar.value, e.data.scalar.length);
        size_t key_bytes = e.data.scalar.length;
        yaml_event_delete(&e);
        if (key == NULL) return no_memory(r);
        tn_status status = TN_OK;
        if (strlen(key) != key_bytes) {
            status = tn_fail(r->err, TN_FORMAT, "%s:%d: a key holds a NUL byte", r->where, line);
        }
        for (size_t i = 0; status == TN_OK && i < y->n; i++)
            if (strcmp(y->keys[i], key) == 0)
                status = tn_fail(r->err, TN_FORMAT, "%s:%d: key '%s' is here twice (first on line %d)",
                                 r->where, line, key, y->key_lines[i]);
        if (status == TN_OK) status = next_event(r, &e);
        if (status == TN_OK) {
            status = node_read(r, &e, depth + 1, &child);
            yaml_event_delete(&e);
        }
        if (status != TN_OK) {
            free(key);
            return status;
        }
        TN_TRY(node_add(r, y, key, line, child));
    }
}

static tn_status seq_read(reader *r, tn_yaml *y, int depth)
{
    for (;;) {
        yaml_event_t e;
        tn_yaml     *child = NULL;

        TN_TRY(next_event(r, &e));
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return TN_OK;
        }
        tn_status status = node_read(r, &e, depth + 1, &child);
        yaml_event_delete(&e);
        if (status != TN_OK) return status;
        TN_TRY(node_add(r, y, NULL, 0, child));
    }
}

/* A tag of another program ("!function utils.x" runs Python there) changes what a value is: taken as plain
 * text it would mean something else. */
static tn_status tag_known(reader *r, const yaml_event_t *e, int line)
{
    const char *tag = (const char *)(e->type == YAML_SCALAR_EVENT           ? e->data.scalar.tag
                                     : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag
                                     : e->type == YAML_MAPPING_START_EVENT  ? e->data.mapping_start.tag
                                                                            : NULL);

    if (tag == NULL || strcmp(tag, "!") == 0 || strncmp(tag, "tag:yaml.org,2002:", 18) == 0) return TN_OK;
    return tn_fail(
        r->err, TN_FORMAT,
        "%s:%d: the tag %.60s belongs to another program and is not known here: write the value itself",
        r->where, line, tag);
}

static tn_status node_read(reader *r, const yaml_event_t *e, int depth, tn_yaml **out)
{
    tn_yaml  *y = NULL;
    tn_status status = TN_OK;
    int       line = (int)e->start_mark.line + 1;

    *out = NULL;
    if (depth > MAX_DEPTH)
        return tn_fail(r->err, TN_LIMIT, "%s:%d: YAML nested deeper than %d", r->where, line, MAX_DEPTH);
    TN_TRY(tag_known(r, e, line));
    switch (e->type) {
    case YAML_ALIAS_EVENT: return alias_read(r, e, line, depth, out);
    case YAML_SCALAR_EVENT:
        TN_GOTO(node_new(r, TN_YAML_SCALAR, line, &y));
        y->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        if ((y->text = tn_strndup((const char *)e->data.scalar.value, e->data.scalar.length)) == NULL) {
            status = no_memory(r);
            goto out;
        }
        if (strlen(y->text) != e->data.scalar.length) {
            status = tn_fail(r->err, TN_FORMAT, "%s:%d: text holds a NUL byte", r->where, line);
            goto out;
        }
        TN_GOTO(anchor_set(r, e->data.scalar.anchor, y));
        break;
    case YAML_SEQUENCE_START_EVENT:
        TN_GOTO(node_new(r, TN_YAML_SEQ, line, &y));
        TN_GOTO(seq_read(r, y, depth));
        TN_GOTO(anchor_set(r, e->data.sequence_start.anchor, y));
        break;
    case YAML_MAPPING_START_EVENT:
        TN_GOTO(node_new(r, TN_YAML_MAP, line, &y));
        TN_GOTO(map_read(r, y, depth));
        TN_GOTO(anchor_set(r, e->data.mapping_start.anchor, y));
        break;
    default: status = tn_fail(r->err, TN_FORMAT, "%s:%d: expected a value", r->where, line); goto out;
    }
    *out = y;
    y = NULL;
out:
    /* A failed node may be an anchor's target only after anchor_set, which is the last step: freeing it is
     * safe. */
    tn_yaml_free(y);
    return status;
}

tn_status tn_yaml_parse(tn_yaml **out, const char *text, size_t n, const char *where, tn_error *err)
{
    tn_status    status = TN_OK;
    reader       r = { .where = where, .err = err };
    yaml_event_t e;
    tn_yaml     *y = NULL;

    *out = NULL;
    if (!yaml_parser_initialize(&r.parser))
        return tn_fail(err, TN_NOMEM, "%s: no memory for a YAML parser", where);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a BOM, which some editors put there */
        text += 3;
        n -= 3;
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    do { /* stream start, document start */
        TN_GOTO(next_event(&r, &e));
        if (e.type == YAML_STREAM_END_EVENT) {
            yaml_event_delete(&e);
            status = tn_fail(err, TN_FORMAT, "%s: empty: expected a YAML document", where);
            goto out;
        }
        if (e.type == YAML_STREAM_START_EVENT || e.type == YAML_DOCUMENT_START_EVENT) {
            yaml_event_delete(&e);
            continue;
        }
        status = node_read(&r, &e, 0, &y);
        yaml_event_delete(&e);
        if (status != TN_OK) goto out;
    } while (y == NULL);
    TN_GOTO(next_event(&r, &e)); /* document end */
    yaml_event_delete(&e);
    TN_GOTO(next_event(&r, &e));
    if (e.type != YAML_STREAM_END_EVENT)
        status = tn_fail(err, TN_FORMAT, "%s:%d: a second YAML document: expected one", where,
                         (int)e.start_mark.line + 1);
    yaml_event_delete(&e);
    if (status != TN_OK) goto out;
    *out = y;
    y = NULL;
out:
    tn_yaml_free(y);
    for (int i = 0; i < r.n_anchor; i++) free(r.anchors[i].name);
    yaml_parser_delete(&r.parser);
    return status;
}

tn_status tn_yaml_load(tn_yaml **out, const char *path, tn_error *err)
{
    char  *text = NULL;
    size_t n = 0;

    *out = NULL;
    TN_TRY(tn_file_read_all(&text, &n, path, MAX_FILE_BYTES, err));
    tn_status status = tn_yaml_parse(out, text, n, path, err);
    free(text);
    return status;
}

const tn_yaml *tn_yaml_get(const tn_yaml *y, const char *key)
{
    if (y == NULL || y->kind != TN_YAML_MAP) return NULL;
    for (size_t i = 0; i < y->n; i++)
        if (strcmp(y->keys[i], key) == 0) return y->items[i];
    return NULL;
}

const char *tn_yaml_text(const tn_yaml *y, const char *key)
{
    const tn_yaml *v = tn_yaml_get(y, key);

    return v != NULL && v->kind == TN_YAML_SCALAR ? v->text : NULL;
}
