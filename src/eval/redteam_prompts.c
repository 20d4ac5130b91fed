/* redteam_prompts.c - what is asked: requests from the public sets or the user's file, and the harmless twins
 * with known answers.
 *
 *   CSV or JSON Lines ─ the text's column by its usual names ─→ seeds {id, text, category, principle}
 *
 * A file may name the principle of each row; else a map from category to principle does. Rows that say that
 * they are harmless (XSTest's safe ones, look-alikes) or that the model was trained on (split: train) are
 * passed over and counted. */
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "base/yaml.h"
#include "eval/redteam.h"
#include "eval/row_file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const texts[] = { "prompt",           "text", "goal",     "Behavior", "behavior",
                                     "forbidden_prompt", "Goal", "question", NULL };
static const char *const ids[] = { "id", "BehaviorID", "index", "Index", NULL };
static const char *const categories[] = { "category", "SemanticCategory", "Category", "topic", "type", NULL };
static const char *const principles_col[] = { "principle", NULL }, *const targets[] = { "target", "Target",
                                                                                        NULL };

void tn_seeds_free(tn_seeds *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->list[i].id);
        free(s->list[i].text);
        free(s->list[i].category);
        free(s->list[i].principle);
        free(s->list[i].target);
    }
    free(s->list);
    *s = (tn_seeds){ 0 };
}

/* Not to be asked: harmless, or taught. */
static bool passed_over(const json_t *row)
{
    const char *split = json_string_value(json_object_get(row, "split"));
    const char *label = json_string_value(json_object_get(row, "label")),
               *kind = json_string_value(json_object_get(row, "kind"));

    return (split != NULL && strcmp(split, "train") == 0) ||
           (label != NULL && strcasecmp(label, "safe") == 0) ||
           (kind != NULL && strcmp(kind, "decline") != 0 && strcmp(kind, "harmful") != 0);
}

static const char *principle_of(const json_t *row, const tn_yaml *map, const char *category)
{
    const char *named = tn_row_first(row, principles_col, NULL),
               *found = named != NULL ? named : tn_yaml_text(map, category);

    return found != NULL ? found : "unassigned";
}

static tn_status seed_read(tn_seed *s, const json_t *row, const tn_yaml *map, const char *path, tn_error *err)
{
    long long   line = (long long)json_integer_value(json_object_get(row, "@line"));
    char       *number = NULL;
    const char *text = tn_row_first(row, texts, NULL), *id = tn_row_first(row, ids, &number),
               *category = tn_row_first(row, categories, NULL);
    const char *target = tn_row_first(row, targets, NULL);

    if (text == NULL) {
        free(number);
        return tn_fail(
            err, TN_FORMAT,
            "%s:%lld: no text: a column named prompt, text, goal, behavior or forbidden_prompt is expected",
            path, line);
    }
    s->text = tn_strdup(text);
    s->id = id != NULL ? tn_strdup(id) : tn_strf("line-%lld", line);
    s->category = tn_strdup(category != NULL ? category : "none");
    s->principle = s->category != NULL ? tn_strdup(principle_of(row, map, s->category)) : NULL;
    s->target = target != NULL ? tn_strdup(target) : NULL;
    free(number);
    if (s->text == NULL || s->id == NULL || s->category == NULL || s->principle == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for requests");
    /* by its text: a row that is moved or renumbered is asked the same */
    s->hash = tn_hash64(s->text, strlen(s->text));
    return TN_OK;
}

static bool taken(size_t i, size_t n, int64_t limit)
{
    size_t most = (size_t)limit;
    return limit <= 0 || n <= most || (i + 1) * most / n != i * most / n;
}

tn_status tn_seeds_load(tn_seeds *out, const char *path, const char *principles, int64_t limit, tn_error *err)
{
    json_t   *rows = NULL, *row;
    tn_yaml  *map = NULL;
    size_t    i, n = 0, k = 0;
    tn_status status = TN_OK;

    /* what the stage "prompts" makes */
    char *inside = tn_is_dir(path) ? tn_path(path, "prompts.jsonl") : NULL;

    *out = (tn_seeds){ 0 };
    TN_GOTO(tn_row_file_load(&rows, inside != NULL ? inside : path, &out->digest, err));
    if (principles != NULL) TN_GOTO(tn_yaml_load(&map, principles, err));
    if (map != NULL && map->kind != TN_YAML_MAP) {
        status = tn_fail(err, TN_FORMAT, "%s: \"category: principle\" lines are expected", principles);
        goto out;
    }
    json_array_foreach(rows, i, row) n += !passed_over(row);
    if (n == 0) {
        status = tn_fail(err, TN_FORMAT,
                         "%s: every row says that it is harmless or was trained on: a red team needs "
                         "requests that should be declined",
                         path);
        goto out;
    }
    out->n_skipped = (int64_t)(json_array_size(rows) - n);
    if ((out->list = calloc(n, sizeof *out->list)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu requests", n);
        goto out;
    }
    json_array_foreach(rows, i, row) {
        if (passed_over(row) || !taken(k++, n, limit)) continue;
        out->n++;
        TN_GOTO(seed_read(&out->list[out->n - 1], row, map, path, err));
    }
out:
    free(inside);
    json_decref(rows);
    tn_yaml_free(map);
    if (status != TN_OK) tn_seeds_free(out);
    return status;
}

void tn_twins_free(tn_twins *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->list[i].id);
        free(t->list[i].text);
        free(t->list[i].expect);
    }
    free(t->list);
    *t = (tn_twins){ 0 };
}

tn_status tn_twins_load(tn_twins *out, const char *path, int64_t limit, tn_error *err)
{
    static const char *const expect[] = { "expect", NULL };
    json_t                  *rows = NULL, *row;
    size_t                   i;
    tn_status                status = TN_OK;

    *out = (tn_twins){ 0 };
    TN_GOTO(tn_row_file_load(&rows, path, &out->digest, err));
    if ((out->list = calloc(json_array_size(rows), sizeof *out->list)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for twins");
        goto out;
    }
    json_array_foreach(rows, i, row) {
        const char *text = tn_row_first(row, texts, NULL), *words = tn_row_first(row, expect, NULL),
                   *id = tn_row_first(row, ids, NULL);
        long long line = (long long)json_integer_value(json_object_get(row, "@line"));
        if (text == NULL || words == NULL) {
            status = tn_fail(
                err, TN_FORMAT,
                "%s:%lld: a twin needs \"prompt\" and \"expect\" (words of a right answer, parted by |)",
                path, line);
            goto out;
        }
        if (!taken(i, json_array_size(rows), limit)) continue;
        tn_twin *t = &out->list[out->n++];
        *t = (tn_twin){ .id = id != NULL ? tn_strdup(id) : tn_strf("twin-%lld", line),
                        .text = tn_strdup(text),
                        .expect = tn_strdup(words),
                        .hash = tn_hash64(text, strlen(text)) };
        if (t->id == NULL || t->text == NULL || t->expect == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for twins");
            goto out;
        }
    }
out:
    json_decref(rows);
    if (status != TN_OK) tn_twins_free(out);
    return status;
}

/* The word stands by itself, whatever its case. */
static bool holds_word(const char *text, const char *word, size_t n)
{
    for (const char *p = text; *p != '\0'; p++)
        if (strncasecmp(p, word, n) == 0 && (p == text || !isalnum((unsigned char)p[-1])) &&
            !isalnum((unsigned char)p[n]))
            return true;
    return false;
}

bool tn_twin_read(const tn_twin *t, const char *reply)
{
    for (const char *p = t->expect; *p != '\0';) {
        size_t n = strcspn(p, "|");
        if (n > 0 && holds_word(reply, p, n)) return true;
        p += n + (p[n] == '|');
    }
    return false;
}
