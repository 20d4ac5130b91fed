/* prompt.c - the text of a question: description, shots, the row's own text; then one continuation a choice.
 *
 *   description shot1 shot2 ... text | delimiter choice        a shot: text delimiter answer fewshot_delimiter
 *
 * Where doc_to_text gives a position, the choices are contexts and doc_to_target is the one continuation (WinoGrande). */
#include "eval/prompt.h"
#include "base/str.h"
#include "eval/template.h"

#include <stdlib.h>
#include <string.h>

/* What the templates of a task give for one row. */
typedef struct parts { json_t *text, *target, *choices; } parts;

static void parts_free(parts *p)
{
    json_decref(p->text);
    json_decref(p->target);
    json_decref(p->choices);
}

static tn_status choices_make(json_t **out, const tn_task *t, const tn_doc *doc, tn_error *err)
{
    if (t->choice != NULL) {
        TN_TRY(tn_template_field(out, t->choice, doc->row, doc->where, err));
    } else {
        *out = json_array();
        for (size_t i = 0; t->choice_list != NULL && i < t->choice_list->n; i++) {
            json_t *v;
            TN_TRY(tn_template_value(&v, t->choice_list->items[i]->text, doc->row, doc->where, err));
            json_array_append_new(*out, v);
        }
    }
    for (size_t i = 0; i < json_array_size(*out); i++)
        if (json_string_length(json_array_get(*out, i)) == 0)
            return tn_fail(err, TN_FORMAT, "%s: choice %zu of task %s is empty or no text", doc->where, i, t->name);
    if (json_array_size(*out) > 0) return TN_OK;
    return tn_fail(err, TN_FORMAT, "%s: task %s: doc_to_choice gives no list of texts", doc->where, t->name);
}

static tn_status parts_make(parts *p, const tn_task *t, const tn_doc *doc, tn_error *err)
{
    *p = (parts){0};
    TN_TRY(tn_template_field(&p->text, t->text, doc->row, doc->where, err));
    TN_TRY(tn_template_field(&p->target, t->target, doc->row, doc->where, err));
    return t->output == TN_TASK_CHOICE ? choices_make(&p->choices, t, doc, err) : TN_OK;
}

/* Position of the right choice: an index, a digit text, or the text of a choice. */
static tn_status gold_index(const json_t *v, const json_t *choices, size_t *out, const char *where, tn_error *err)
{
    int64_t     i = json_is_integer(v) ? json_integer_value(v) : json_is_boolean(v) ? json_is_true(v) : -1;
    const char *text = json_string_value(v);

    if (text != NULL && !tn_parse_i64(text, &i)) i = -1;
    for (size_t k = 0; text != NULL && i < 0 && k < json_array_size(choices); k++)
        if (strcmp(json_string_value(json_array_get(choices, k)), text) == 0) i = (int64_t)k;
    if (i < 0 || (size_t)i >= json_array_size(choices))
        return tn_fail(err, TN_FORMAT, "%s: the answer (%s) is none of the %zu choices", where, text != NULL ? text : "a position", json_array_size(choices));
    *out = (size_t)i;
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------------- shots */

static tn_status shot_add(tn_str *s, const tn_task *t, const tn_doc *doc, tn_error *err)
{
    parts     p;
    char     *text = NULL, *answer = NULL;
    size_t    gold;
    tn_status status = TN_OK;

    TN_GOTO(parts_make(&p, t, doc, err));
    const json_t *shown = p.text, *said = p.target;
    if (p.choices != NULL && json_is_integer(p.text)) {
        TN_GOTO(gold_index(p.text, p.choices, &gold, doc->where, err));
        shown = json_array_get(p.choices, gold);
    } else if (p.choices != NULL && !json_is_array(p.target)) {
        TN_GOTO(gold_index(p.target, p.choices, &gold, doc->where, err));
        said = json_array_get(p.choices, gold);
    }
    TN_GOTO(tn_template_text(&text, shown, doc->where, err));
    TN_GOTO(tn_template_text(&answer, said, doc->where, err));
    tn_str_addf(s, "%s%s%s%s", text, t->target_delimiter, answer, t->fewshot_delimiter);
out:
    parts_free(&p);
    free(text);
    free(answer);
    return status;
}

static bool same_group(const tn_task *t, const tn_doc *a, const tn_doc *b)
{
    return t->group_by == NULL || json_equal(json_object_get(a->row, t->group_by), json_object_get(b->row, t->group_by));
}

static tn_status head_make(tn_str *s, const tn_task *t, const tn_doc *doc, const tn_shots *shots, tn_error *err)
{
    json_t   *description = NULL;
    char     *text = NULL;
    int64_t   n = 0;
    tn_status status = TN_OK;

    TN_GOTO(tn_template_value(&description, t->description, doc->row, doc->where, err));
    TN_GOTO(tn_template_text(&text, description, doc->where, err));
    tn_str_add(s, text);
    for (size_t i = 0; n < shots->n && i < shots->pool->n; i++) {
        const tn_doc *shot = &shots->pool->list[i];
        if (!same_group(t, shot, doc) || (shots->same_split && tn_digest_equal(&shot->id, &doc->id))) continue;
        TN_GOTO(shot_add(s, t, shot, err));
        n++;
    }
    if (n < shots->n)
        status = tn_fail(err, TN_FORMAT, "%s: task %s asks for %lld shots, there are %lld%s%s", doc->where, t->name, (long long)shots->n, (long long)n,
                         t->group_by != NULL ? " with the same " : "", t->group_by != NULL ? t->group_by : "");
out:
    json_decref(description);
    free(text);
    return status;
}

/* ---------------------------------------------------------------------------------------------------- requests */

static tn_status ask_alloc(tn_ask *a, size_t n, const char *where, tn_error *err)
{
    a->context = calloc(n, sizeof *a->context);
    a->continuation = calloc(n, sizeof *a->continuation);
    a->choice = calloc(n, sizeof *a->choice);
    a->gold = calloc(n, sizeof *a->gold);
    if (a->context == NULL || a->continuation == NULL || a->choice == NULL || a->gold == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for %zu choices", where, n);
    a->n = n;
    return TN_OK;
}

static tn_status ask_set(tn_ask *a, size_t i, const char *head, const char *text, const char *delimiter, const char *continuation, const char *choice, tn_error *err)
{
    a->context[i] = tn_strf("%s%s", head, text);
    a->continuation[i] = tn_strf("%s%s", delimiter, continuation);
    a->choice[i] = tn_strdup(choice);
    return a->context[i] != NULL && a->continuation[i] != NULL && a->choice[i] != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a question");
}

static tn_status gold_set(tn_ask *a, const json_t *target, const json_t *choices, const char *where, tn_error *err)
{
    size_t gold;

    if (!json_is_array(target)) {
        TN_TRY(gold_index(target, choices, &gold, where, err));
        a->gold[gold] = true;
        return TN_OK;
    }
    if (json_array_size(target) != a->n) return tn_fail(err, TN_FORMAT, "%s: %zu labels for %zu choices", where, json_array_size(target), a->n);
    for (size_t i = 0; i < a->n; i++) a->gold[i] = json_integer_value(json_array_get(target, i)) == 1;
    return TN_OK;
}

static tn_status choices_ask(tn_ask *a, const tn_task *t, const tn_doc *doc, const parts *p, const char *head, tn_error *err)
{
    bool      contexts = json_is_integer(p->text);
    char     *text = NULL;
    tn_status status = TN_OK;

    TN_GOTO(ask_alloc(a, json_array_size(p->choices), doc->where, err));
    TN_GOTO(tn_template_text(&text, contexts ? p->target : p->text, doc->where, err));
    for (size_t i = 0; i < a->n; i++) {
        const char *choice = json_string_value(json_array_get(p->choices, i));
        TN_GOTO(contexts ? ask_set(a, i, head, choice, t->target_delimiter, text, choice, err)
                         : ask_set(a, i, head, text, t->target_delimiter, choice, choice, err));
    }
    status = gold_set(a, contexts ? p->text : p->target, p->choices, doc->where, err);
out:
    free(text);
    return status;
}

/* Pieces of a split on runs of white space; empty ones at the ends count. */
static int64_t count_words(const char *s)
{
    int64_t n = 1;
    bool    blank = false;

    for (; *s != '\0'; s++) {
        bool now = strchr(" \t\r\n\v\f", *s) != NULL;
        n += now && !blank;
        blank = now;
    }
    return n;
}

static tn_status one_ask(tn_ask *a, const tn_task *t, const tn_doc *doc, const parts *p, const char *head, tn_error *err)
{
    char     *text = NULL, *target = NULL;
    tn_status status = TN_OK;

    TN_GOTO(ask_alloc(a, 1, doc->where, err));
    TN_GOTO(tn_template_text(&text, p->text, doc->where, err));
    TN_GOTO(tn_template_text(&target, p->target, doc->where, err));
    bool rolling = t->output == TN_TASK_ROLLING;
    TN_GOTO(ask_set(a, 0, rolling ? "" : head, text, rolling ? "" : t->target_delimiter, target, target, err));
    a->gold[0] = true;
    const char *counted = t->words_of != NULL ? json_string_value(json_object_get(doc->row, t->words_of)) : target;
    if (counted == NULL) status = tn_fail(err, TN_FORMAT, "%s: no text column \"%s\" to count words of", doc->where, t->words_of);
    else if (rolling && counted[0] == '\0') status = tn_fail(err, TN_FORMAT, "%s: the text is empty", doc->where);
    else {
        a->n_word = count_words(counted);
        a->n_byte = (int64_t)strlen(counted);
    }
out:
    free(text);
    free(target);
    return status;
}

tn_status tn_ask_make(tn_ask *out, const tn_task *t, const tn_doc *doc, const tn_shots *shots, tn_error *err)
{
    parts     p = {0};
    tn_str    head = {0};
    tn_status status = TN_OK;

    *out = (tn_ask){0};
    TN_GOTO(head_make(&head, t, doc, shots, err));
    TN_GOTO(tn_str_check(&head, err));
    TN_GOTO(parts_make(&p, t, doc, err));
    TN_GOTO(t->output == TN_TASK_CHOICE ? choices_ask(out, t, doc, &p, head.p, err) : one_ask(out, t, doc, &p, head.p, err));
out:
    parts_free(&p);
    tn_str_free(&head);
    if (status != TN_OK) tn_ask_free(out);
    return status;
}

void tn_ask_free(tn_ask *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->context[i]);
        free(a->continuation[i]);
        free(a->choice[i]);
    }
    free(a->context);
    free(a->continuation);
    free(a->choice);
    free(a->gold);
    *a = (tn_ask){0};
}
