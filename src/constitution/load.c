/* load.c - a constitution from YAML to structs: extends, override by id, defaults, digests.
 *
 *   file ──→ tn_yaml ──→ (extends: load that first) ──→ principles added or overridden by id ──→ canonical JSON ──→ digests
 *
 * An override names the id of an inherited principle and only the fields that change; `drop: true` removes
 * it. */
#include "constitution/constitution.h"
#include "base/file.h"
#include "base/str.h"
#include "base/yaml.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_EXTENDS = 8, MAX_PRINCIPLES = 2000, MAX_TEXT = 8000, MAX_FILE_BYTES = 16 << 20 };

static const char *const top_keys[] = { "name",   "version", "preamble",   "extends",
                                        "groups", "topics",  "principles", NULL };
static const char *const principle_keys[] = { "id",      "group",    "stance",   "weight",  "text",
                                              "topics",  "critique", "revision", "compare", "affix",
                                              "reasons", "offers",   "check",    "drop",    NULL };
static const char *const compare_keys[] = { "positive", "negative", NULL };
static const char *const check_keys[] = { "absent", "present", "max_words", NULL };
static const char *const stance_words[] = { "style", "decline", "answer", NULL };

typedef struct loader {
    tn_constitution *c;
    const char      *path;
    tn_error        *err;
} loader;

static tn_status no_memory(tn_error *err) { return tn_fail(err, TN_NOMEM, "no memory for a constitution"); }

static void texts_free(tn_texts *t)
{
    for (size_t i = 0; i < t->n; i++) free(t->at[i]);
    free(t->at);
    *t = (tn_texts){ 0 };
}

static void principle_free(tn_principle *p)
{
    char *const texts[] = { p->id,
                            p->group,
                            p->text,
                            p->critique,
                            p->revision,
                            p->compare_positive,
                            p->compare_negative,
                            p->affix_positive,
                            p->affix_negative,
                            p->check.absent,
                            p->check.present,
                            p->file };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) free(texts[i]);
    texts_free(&p->topics);
    texts_free(&p->reasons);
    texts_free(&p->offers);
}

void tn_constitution_free(tn_constitution *c)
{
    if (c == NULL) return;
    free(c->name);
    free(c->version);
    free(c->preamble);
    texts_free(&c->groups);
    for (size_t i = 0; i < c->n_topic; i++) {
        free(c->topics[i].id);
        free(c->topics[i].text);
    }
    for (size_t i = 0; i < c->n_principle; i++) principle_free(&c->principles[i]);
    free(c->topics);
    free(c->principles);
    free(c);
}

static tn_status keys_check(loader *l, const tn_yaml *map, const char *const *known, const char *what)
{
    if (map->kind != TN_YAML_MAP)
        return tn_fail(l->err, TN_FORMAT, "%s:%d: %s: expected keys and values", l->path, map->line, what);
    for (size_t i = 0; i < map->n; i++) {
        bool found = false;

        for (const char *const *k = known; *k != NULL; k++) found = found || strcmp(*k, map->keys[i]) == 0;
        if (found) continue;
        const char *near = tn_nearest(map->keys[i], known);
        return tn_fail(l->err, TN_FORMAT, "%s:%d: %s: unknown key '%s'%s%s%s", l->path, map->key_lines[i],
                       what, map->keys[i], near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?" : "");
    }
    return TN_OK;
}

/* Replaces *slot by the trimmed text of a key, if the key is there. */
static tn_status text_take(loader *l, const tn_yaml *map, const char *key, char **slot)
{
    const tn_yaml *v = tn_yaml_get(map, key);

    if (v == NULL) return TN_OK;
    if (v->kind != TN_YAML_SCALAR)
        return tn_fail(l->err, TN_FORMAT, "%s:%d: '%s': expected text", l->path, v->line, key);
    const char *s = v->text;
    while (*s == ' ' || *s == '\n') s++;
    size_t n = strlen(s);
    while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\n')) n--;
    if (n == 0)
        return tn_fail(l->err, TN_FORMAT, "%s:%d: '%s' is empty: expected text", l->path, v->line, key);
    if (n > MAX_TEXT)
        return tn_fail(l->err, TN_LIMIT, "%s:%d: '%s' has %zu bytes: at most %d", l->path, v->line, key, n,
                       MAX_TEXT);
    char *copy = tn_strndup(s, n);
    if (copy == NULL) return no_memory(l->err);
    free(*slot);
    *slot = copy;
    return TN_OK;
}

static tn_status texts_take(loader *l, const tn_yaml *map, const char *key, tn_texts *slot)
{
    const tn_yaml *v = tn_yaml_get(map, key);

    if (v == NULL) return TN_OK;
    if (v->kind != TN_YAML_SEQ)
        return tn_fail(l->err, TN_FORMAT, "%s:%d: '%s': expected a list", l->path, v->line, key);
    tn_texts t = { calloc(v->n + 1, sizeof(char *)), 0 };
    if (t.at == NULL) return no_memory(l->err);
    for (size_t i = 0; i < v->n; i++) {
        const tn_yaml *item = v->items[i];

        if (item->kind != TN_YAML_SCALAR || item->text[0] == '\0') {
            texts_free(&t);
            return tn_fail(l->err, TN_FORMAT, "%s:%d: '%s': items must be text", l->path, item->line, key);
        }
        if ((t.at[t.n] = tn_strdup(item->text)) == NULL) {
            texts_free(&t);
            return no_memory(l->err);
        }
        t.n++;
    }
    texts_free(slot);
    *slot = t;
    return TN_OK;
}

static int group_index(const tn_constitution *c, const char *group)
{
    for (size_t i = 0; i < c->groups.n; i++)
        if (strcmp(c->groups.at[i], group) == 0) return (int)i;
    return -1;
}

static tn_principle *principle_find(tn_constitution *c, const char *id)
{
    for (size_t i = 0; i < c->n_principle; i++)
        if (strcmp(c->principles[i].id, id) == 0) return &c->principles[i];
    return NULL;
}

const tn_principle *tn_constitution_find(const tn_constitution *c, const char *id)
{
    for (size_t i = 0; i < c->n_principle; i++)
        if (strcmp(c->principles[i].id, id) == 0) return &c->principles[i];
    return NULL;
}

const tn_topic *tn_constitution_topic(const tn_constitution *c, const char *id)
{
    for (size_t i = 0; i < c->n_topic; i++)
        if (strcmp(c->topics[i].id, id) == 0) return &c->topics[i];
    return NULL;
}

static bool id_is_plain(const char *id)
{
    if (id[0] == '\0' || strlen(id) > 80) return false;
    for (const char *p = id; *p != '\0'; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '.' || *p == '-' || *p == '_'))
            return false;
    return true;
}

static tn_status topics_load(loader *l, const tn_yaml *map)
{
    if (map == NULL) return TN_OK;
    if (map->kind != TN_YAML_MAP)
        return tn_fail(l->err, TN_FORMAT, "%s:%d: topics: expected 'id: what it covers' lines", l->path,
                       map->line);
    for (size_t i = 0; i < map->n; i++) {
        const tn_yaml *v = map->items[i];
        tn_topic      *t = NULL;

        if (!id_is_plain(map->keys[i]) || v->kind != TN_YAML_SCALAR)
            return tn_fail(l->err, TN_FORMAT, "%s:%d: topic '%s': expected a plain id and one line of text",
                           l->path, map->key_lines[i], map->keys[i]);
        for (size_t k = 0; k < l->c->n_topic; k++)
            if (strcmp(l->c->topics[k].id, map->keys[i]) == 0) t = &l->c->topics[k];
        if (t == NULL) {
            tn_topic *grown = realloc(l->c->topics, (l->c->n_topic + 1) * sizeof *grown);
            if (grown == NULL) return no_memory(l->err);
            l->c->topics = grown;
            t = &grown[l->c->n_topic];
            *t = (tn_topic){ .id = tn_strdup(map->keys[i]) };
            if (t->id == NULL) return no_memory(l->err);
            l->c->n_topic++;
        }
        char *text = tn_strdup(v->text);
        if (text == NULL) return no_memory(l->err);
        free(t->text);
        t->text = text;
        t->line = map->key_lines[i];
    }
    return TN_OK;
}

static tn_status stance_take(loader *l, const tn_yaml *map, tn_principle *p)
{
    const char *s = tn_yaml_text(map, "stance");

    if (s == NULL) return TN_OK;
    for (int i = 0; stance_words[i] != NULL; i++)
        if (strcmp(stance_words[i], s) == 0) {
            p->stance = (tn_stance)i;
            return TN_OK;
        }
    return tn_fail(l->err, TN_FORMAT, "%s:%d: stance is '%s': expected style, decline or answer", l->path,
                   tn_yaml_get(map, "stance")->line, s);
}

static tn_status weight_take(loader *l, const tn_yaml *map, tn_principle *p)
{
    const tn_yaml *v = tn_yaml_get(map, "weight");

    if (v == NULL) return TN_OK;
    if (v->kind != TN_YAML_SCALAR || !tn_parse_f64(v->text, &p->weight) ||
        !(p->weight > 0 && p->weight <= 1000))
        return tn_fail(l->err, TN_FORMAT, "%s:%d: weight is '%s': expected a number above 0, at most 1000",
                       l->path, v->line, v->kind == TN_YAML_SCALAR ? v->text : "a list");
    return TN_OK;
}

static tn_status check_take(loader *l, const tn_yaml *map, tn_principle *p)
{
    const tn_yaml *v = tn_yaml_get(map, "check");
    const char    *n;

    if (v == NULL) return TN_OK;
    TN_TRY(keys_check(l, v, check_keys, "check"));
    TN_TRY(text_take(l, v, "absent", &p->check.absent));
    TN_TRY(text_take(l, v, "present", &p->check.present));
    if ((n = tn_yaml_text(v, "max_words")) != NULL &&
        (!tn_parse_i64(n, &p->check.max_words) || p->check.max_words < 1))
        return tn_fail(l->err, TN_FORMAT, "%s:%d: max_words is '%s': expected a whole number from 1", l->path,
                       v->line, n);
    return TN_OK;
}

static tn_status fields_take(loader *l, const tn_yaml *map, tn_principle *p)
{
    const tn_yaml *v;

    TN_TRY(text_take(l, map, "group", &p->group));
    TN_TRY(stance_take(l, map, p));
    TN_TRY(weight_take(l, map, p));
    TN_TRY(text_take(l, map, "text", &p->text));
    TN_TRY(texts_take(l, map, "topics", &p->topics));
    TN_TRY(text_take(l, map, "critique", &p->critique));
    TN_TRY(text_take(l, map, "revision", &p->revision));
    if ((v = tn_yaml_get(map, "compare")) != NULL) {
        TN_TRY(keys_check(l, v, compare_keys, "compare"));
        TN_TRY(text_take(l, v, "positive", &p->compare_positive));
        TN_TRY(text_take(l, v, "negative", &p->compare_negative));
    }
    if ((v = tn_yaml_get(map, "affix")) != NULL) {
        TN_TRY(keys_check(l, v, compare_keys, "affix"));
        TN_TRY(text_take(l, v, "positive", &p->affix_positive));
        TN_TRY(text_take(l, v, "negative", &p->affix_negative));
    }
    TN_TRY(texts_take(l, map, "reasons", &p->reasons));
    TN_TRY(texts_take(l, map, "offers", &p->offers));
    return check_take(l, map, p);
}

static tn_status principle_complete(loader *l, tn_principle *p)
{
    const struct {
        const char *key;
        const char *value;
    } need[] = { { "text", p->text },
                 { "group", p->group },
                 { "critique", p->critique },
                 { "revision", p->revision },
                 { "compare.positive", p->compare_positive },
                 { "compare.negative", p->compare_negative } };

    for (size_t i = 0; i < sizeof need / sizeof need[0]; i++)
        if (need[i].value == NULL)
            return tn_fail(
                l->err, TN_FORMAT,
                "%s:%d: principle '%s' has no %s: every principle needs text, group, critique, revision "
                "and both forms of compare",
                p->file, p->line, p->id, need[i].key);
    if (p->stance == TN_STANCE_DECLINE && (p->reasons.n == 0 || p->offers.n == 0))
        return tn_fail(
            l->err, TN_FORMAT,
            "%s:%d: principle '%s' declines, so it needs reasons and offers (one wording each at least)",
            p->file, p->line, p->id);
    if ((p->priority = group_index(l->c, p->group)) < 0)
        return tn_fail(l->err, TN_FORMAT, "%s:%d: principle '%s': group '%s' is not in groups", p->file,
                       p->line, p->id, p->group);
    for (size_t i = 0; i < p->topics.n; i++)
        if (tn_constitution_topic(l->c, p->topics.at[i]) == NULL)
            return tn_fail(l->err, TN_FORMAT,
                           "%s:%d: principle '%s': topic '%s' is not declared under topics", p->file, p->line,
                           p->id, p->topics.at[i]);
    return TN_OK;
}

static tn_status principle_load(loader *l, const tn_yaml *map, size_t n_inherited)
{
    char id[96];

    TN_TRY(keys_check(l, map, principle_keys, "principle"));
    const char *given = tn_yaml_text(map, "id");
    if (given == NULL || !id_is_plain(given))
        return tn_fail(l->err, TN_FORMAT,
                       "%s:%d: a principle needs an id of lowercase letters, digits, '.', '-', '_'%s%s%s",
                       l->path, map->line, given != NULL ? ": found '" : "", given != NULL ? given : "",
                       given != NULL ? "'" : "");
    snprintf(id, sizeof id, "%s", given);
    tn_principle *p = principle_find(l->c, id);
    if (p != NULL && (size_t)(p - l->c->principles) >= n_inherited)
        return tn_fail(l->err, TN_FORMAT, "%s:%d: id '%s' is here twice (first on line %d)", l->path,
                       map->line, id, p->line);
    const char *drop = tn_yaml_text(map, "drop");
    if (drop != NULL && strcmp(drop, "true") == 0) {
        if (p == NULL)
            return tn_fail(l->err, TN_FORMAT, "%s:%d: cannot drop '%s': no inherited principle has this id",
                           l->path, map->line, id);
        p->weight = 0; /* swept after all files are read */
        return TN_OK;
    }
    if (p == NULL) {
        if (l->c->n_principle >= MAX_PRINCIPLES)
            return tn_fail(l->err, TN_LIMIT, "%s: more than %d principles", l->path, MAX_PRINCIPLES);
        tn_principle *grown = realloc(l->c->principles, (l->c->n_principle + 1) * sizeof *grown);
        if (grown == NULL) return no_memory(l->err);
        l->c->principles = grown;
        p = &grown[l->c->n_principle];
        *p = (tn_principle){ .id = tn_strdup(id), .weight = 1 };
        if (p->id == NULL) return no_memory(l->err);
        l->c->n_principle++;
    }
    free(p->file);
    if ((p->file = tn_strdup(l->path)) == NULL) return no_memory(l->err);
    p->line = map->line;
    return fields_take(l, map, p);
}

static tn_status file_load(tn_constitution *c, const char *path, int depth, tn_error *err)
{
    tn_status      status = TN_OK;
    loader         l = { c, path, err };
    tn_yaml       *y = NULL;
    char          *base = NULL;
    const tn_yaml *v;

    if (depth > MAX_EXTENDS)
        return tn_fail(err, TN_FORMAT, "%s: extends goes round in a circle, or deeper than %d files", path,
                       MAX_EXTENDS);
    TN_GOTO(tn_yaml_load(&y, path, err));
    TN_GOTO(keys_check(&l, y, top_keys, "constitution"));
    if ((v = tn_yaml_get(y, "extends")) != NULL) {
        if (v->kind != TN_YAML_SCALAR || !tn_path_is_plain(v->text)) {
            status = tn_fail(err, TN_FORMAT, "%s:%d: extends: expected the name of a file beside this one",
                             path, v->line);
            goto out;
        }
        const char *slash = strrchr(path, '/');
        base = slash != NULL ? tn_strf("%.*s/%s", (int)(slash - path), path, v->text) : tn_strdup(v->text);
        if (base == NULL) {
            status = no_memory(err);
            goto out;
        }
        TN_GOTO(file_load(c, base, depth + 1, err));
    }
    TN_GOTO(text_take(&l, y, "name", &c->name));
    TN_GOTO(text_take(&l, y, "version", &c->version));
    TN_GOTO(text_take(&l, y, "preamble", &c->preamble));
    TN_GOTO(texts_take(&l, y, "groups", &c->groups));
    TN_GOTO(topics_load(&l, tn_yaml_get(y, "topics")));
    if ((v = tn_yaml_get(y, "principles")) != NULL) {
        size_t n_inherited = c->n_principle;

        if (v->kind != TN_YAML_SEQ) {
            status = tn_fail(err, TN_FORMAT, "%s:%d: principles: expected a list", path, v->line);
            goto out;
        }
        for (size_t i = 0; i < v->n; i++) TN_GOTO(principle_load(&l, v->items[i], n_inherited));
    }
out:
    tn_yaml_free(y);
    free(base);
    return status;
}

static tn_status digests_set(tn_constitution *c, tn_error *err)
{
    json_t *whole = tn_constitution_json(c);
    json_t *list = json_object_get(whole, "principles");
    char   *text = whole != NULL ? tn_json_text(whole) : NULL;
    bool    ok = text != NULL;

    if (ok) c->digest = tn_sha256_of(text, strlen(text));
    free(text);
    for (size_t i = 0; ok && i < c->n_principle; i++) {
        ok = (text = tn_json_text(json_array_get(list, i))) != NULL;
        if (ok) c->principles[i].digest = tn_sha256_of(text, strlen(text));
        free(text);
    }
    json_decref(whole);
    return ok ? TN_OK : no_memory(err);
}

static tn_status finish(tn_constitution *c, const char *path, tn_error *err)
{
    loader l = { c, path, err };
    size_t kept = 0;

    for (size_t i = 0; i < c->n_principle; i++) {
        if (c->principles[i].weight > 0) c->principles[kept++] = c->principles[i];
        else principle_free(&c->principles[i]);
    }
    c->n_principle = kept;
    if (c->name == NULL) return tn_fail(err, TN_FORMAT, "%s: 'name' is missing", path);
    if (c->version == NULL) return tn_fail(err, TN_FORMAT, "%s: 'version' is missing", path);
    if (c->groups.n == 0)
        return tn_fail(err, TN_FORMAT,
                       "%s: 'groups' is missing: a list of groups, the first one wins a conflict", path);
    if (c->n_principle == 0)
        return tn_fail(err, TN_FORMAT, "%s: no principles: a constitution needs at least one", path);
    for (size_t i = 0; i < c->n_principle; i++) TN_TRY(principle_complete(&l, &c->principles[i]));
    return digests_set(c, err);
}

/* The canonical form is JSON, so it starts with a brace; a YAML constitution starts with a key or a
 * comment. */
static tn_status json_load(tn_constitution **out, const char *path, bool *is_json, tn_error *err)
{
    char   *text = NULL;
    size_t  n = 0;
    json_t *v = NULL;

    *is_json = false;
    TN_TRY(tn_file_read_all(&text, &n, path, MAX_FILE_BYTES, err));
    tn_status status = TN_OK;
    if (text[strspn(text, " \n\t\r")] == '{') {
        *is_json = true;
        status = tn_json_parse(&v, text, n, path, err);
        if (status == TN_OK) status = tn_constitution_from_json(out, v, path, err);
        json_decref(v);
    }
    free(text);
    return status;
}

tn_status tn_constitution_load(tn_constitution **out, const char *path, tn_error *err)
{
    bool is_json;

    *out = NULL;
    TN_TRY(json_load(out, path, &is_json, err));
    if (is_json) return TN_OK;
    tn_constitution *c = calloc(1, sizeof *c);
    if (c == NULL) return no_memory(err);
    tn_status status = file_load(c, path, 0, err);
    if (status == TN_OK) status = finish(c, path, err);
    if (status != TN_OK) {
        tn_constitution_free(c);
        return status;
    }
    *out = c;
    return TN_OK;
}

/* ----------------------------------------------------------------------------------------- canonical form */

static json_t *texts_json(const tn_texts *t)
{
    json_t *a = json_array();

    for (size_t i = 0; a != NULL && i < t->n; i++) json_array_append_new(a, json_string(t->at[i]));
    return a;
}

static void set_text(json_t *o, const char *key, const char *text)
{
    if (text != NULL) json_object_set_new(o, key, json_string(text));
}

static json_t *principle_json(const tn_principle *p)
{
    json_t *o = json_object();

    set_text(o, "id", p->id);
    set_text(o, "group", p->group);
    set_text(o, "stance", stance_words[p->stance]);
    json_object_set_new(o, "weight", json_real(p->weight));
    set_text(o, "text", p->text);
    json_object_set_new(o, "topics", texts_json(&p->topics));
    set_text(o, "critique", p->critique);
    set_text(o, "revision", p->revision);
    set_text(o, "compare_positive", p->compare_positive);
    set_text(o, "compare_negative", p->compare_negative);
    set_text(o, "affix_positive", p->affix_positive);
    set_text(o, "affix_negative", p->affix_negative);
    json_object_set_new(o, "reasons", texts_json(&p->reasons));
    json_object_set_new(o, "offers", texts_json(&p->offers));
    set_text(o, "absent", p->check.absent);
    set_text(o, "present", p->check.present);
    if (p->check.max_words > 0) json_object_set_new(o, "max_words", json_integer(p->check.max_words));
    return o;
}

json_t *tn_constitution_json(const tn_constitution *c)
{
    json_t *o = json_object(), *topics = json_object(), *list = json_array();

    for (size_t i = 0; i < c->n_topic; i++) set_text(topics, c->topics[i].id, c->topics[i].text);
    for (size_t i = 0; i < c->n_principle; i++)
        json_array_append_new(list, principle_json(&c->principles[i]));
    set_text(o, "name", c->name);
    set_text(o, "version", c->version);
    set_text(o, "preamble", c->preamble);
    json_object_set_new(o, "groups", texts_json(&c->groups));
    json_object_set_new(o, "topics", topics);
    json_object_set_new(o, "principles", list);
    return o;
}

static tn_status json_text_take(const json_t *o, const char *key, char **slot, tn_error *err)
{
    const char *s = json_string_value(json_object_get(o, key));

    if (s != NULL && (*slot = tn_strdup(s)) == NULL) return no_memory(err);
    return TN_OK;
}

static tn_status json_texts_take(const json_t *o, const char *key, tn_texts *slot, const char *where,
                                 tn_error *err)
{
    const json_t *a = json_object_get(o, key);
    size_t        n = json_array_size(a);

    if ((slot->at = calloc(n + 1, sizeof(char *))) == NULL) return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(a, i));
        if (s == NULL) return tn_fail(err, TN_FORMAT, "%s: '%s': items must be text", where, key);
        if ((slot->at[i] = tn_strdup(s)) == NULL) return no_memory(err);
        slot->n++;
    }
    return TN_OK;
}

static tn_status principle_from_json(tn_principle *p, const json_t *o, const char *where, tn_error *err)
{
    const char *stance = json_string_value(json_object_get(o, "stance"));

    *p = (tn_principle){ .weight = json_number_value(json_object_get(o, "weight")) };
    p->check.max_words = json_integer_value(json_object_get(o, "max_words"));
    for (int i = 0; stance != NULL && stance_words[i] != NULL; i++)
        if (strcmp(stance, stance_words[i]) == 0) p->stance = (tn_stance)i;
    if ((p->file = tn_strdup(where)) == NULL) return no_memory(err);
    TN_TRY(json_text_take(o, "id", &p->id, err));
    if (p->id == NULL || !id_is_plain(p->id))
        return tn_fail(err, TN_FORMAT, "%s: a principle without a plain id", where);
    TN_TRY(json_text_take(o, "group", &p->group, err));
    TN_TRY(json_text_take(o, "text", &p->text, err));
    TN_TRY(json_text_take(o, "critique", &p->critique, err));
    TN_TRY(json_text_take(o, "revision", &p->revision, err));
    TN_TRY(json_text_take(o, "compare_positive", &p->compare_positive, err));
    TN_TRY(json_text_take(o, "compare_negative", &p->compare_negative, err));
    TN_TRY(json_text_take(o, "affix_positive", &p->affix_positive, err));
    TN_TRY(json_text_take(o, "affix_negative", &p->affix_negative, err));
    TN_TRY(json_text_take(o, "absent", &p->check.absent, err));
    TN_TRY(json_text_take(o, "present", &p->check.present, err));
    TN_TRY(json_texts_take(o, "topics", &p->topics, where, err));
    TN_TRY(json_texts_take(o, "reasons", &p->reasons, where, err));
    return json_texts_take(o, "offers", &p->offers, where, err);
}

tn_status tn_constitution_from_json(tn_constitution **out, const json_t *v, const char *where, tn_error *err)
{
    tn_status        status = TN_OK;
    tn_constitution *c = calloc(1, sizeof *c);
    const json_t    *topics = json_object_get(v, "topics"), *list = json_object_get(v, "principles"), *item;
    const char      *key;
    size_t           n = json_array_size(list);

    *out = NULL;
    if (c == NULL || (c->topics = calloc(json_object_size(topics) + 1, sizeof *c->topics)) == NULL ||
        (c->principles = calloc(n + 1, sizeof *c->principles)) == NULL) {
        status = no_memory(err);
        goto out;
    }
    TN_GOTO(json_text_take(v, "name", &c->name, err));
    TN_GOTO(json_text_take(v, "version", &c->version, err));
    TN_GOTO(json_text_take(v, "preamble", &c->preamble, err));
    TN_GOTO(json_texts_take(v, "groups", &c->groups, where, err));
    json_object_foreach((json_t *)topics, key, item) {
        tn_topic *t = &c->topics[c->n_topic++];
        if ((t->id = tn_strdup(key)) == NULL ||
            (t->text = tn_strdup(json_is_string(item) ? json_string_value(item) : "")) == NULL) {
            status = no_memory(err);
            goto out;
        }
    }
    for (size_t i = 0; i < n; i++) {
        status = principle_from_json(&c->principles[c->n_principle], json_array_get(list, i), where, err);
        c->n_principle++;
        if (status != TN_OK) goto out;
    }
    TN_GOTO(finish(c, where, err));
    *out = c;
    c = NULL;
out:
    tn_constitution_free(c);
    return status;
}
