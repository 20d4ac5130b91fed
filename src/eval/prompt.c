/* prompt.c - the text of a question, as turns; then one continuation a choice.
 *
 *   system  user     assistant  user     assistant   user          continuation
 *   text    shot 1   answer 1   shot 2   answer 2    question  |   delimiter choice
 *
 * Plain text is the turns one after the other, each with its delimiter behind it; a chat format wraps them
 * instead. Where doc_to_text gives a position, the choices are contexts and doc_to_target is the one
 * continuation (WinoGrande). */
#include "eval/prompt.h"
#include "base/log.h"
#include "base/str.h"
#include "eval/pytext.h"
#include "eval/template.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------- turns */

/* tail: stands behind the text where there is no chat format */
typedef struct turn {
    char *role, *text, *tail;
} turn;
typedef struct turns {
    turn  *list;
    size_t n, cap;
} turns;

static void turns_free(turns *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->list[i].text);
        free(s->list[i].tail);
    }
    free(s->list);
    *s = (turns){ 0 };
}

static tn_status turn_add(turns *s, const char *role, const char *text, const char *tail, tn_error *err)
{
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 16 : 2 * s->cap;
        turn  *list = realloc(s->list, cap * sizeof *list);
        if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for a prompt");
        s->list = list;
        s->cap = cap;
    }
    s->list[s->n] = (turn){ (char *)role, tn_strdup(text), tn_strdup(tail) };
    s->n++;
    return s->list[s->n - 1].text != NULL && s->list[s->n - 1].tail != NULL
               ? TN_OK
               : tn_fail(err, TN_NOMEM, "no memory for a prompt");
}

static bool starts_blank(const char *s) { return tn_py_front(s, strlen(s)) > 0; }

static bool ends_blank(const char *s) { return tn_py_end(s, strlen(s)) < strlen(s); }

/* Is white space missing where these two meet? */
static bool apart(const char *a, const char *b)
{
    return a[0] != '\0' && b[0] != '\0' && !ends_blank(a) && !starts_blank(b);
}

/* A question, and its answer if there is one. prefix: what the answer begins with, or NULL. */
static tn_status turn_pair(turns *s, const char *question, const char *answer, const char *prefix,
                           const char *delimiter, const char *tail, tn_error *err)
{
    bool has_answer = answer != NULL && answer[0] != '\0', has_prefix = prefix != NULL && prefix[0] != '\0';

    TN_TRY(turn_add(s, "user", question,
                    (has_answer && !has_prefix) || (has_prefix && apart(question, prefix)) ? delimiter : "",
                    err));
    if (!has_answer) return has_prefix ? turn_add(s, "assistant", prefix, "", err) : TN_OK;
    char *text = tn_strf("%s%s%s", has_prefix ? prefix : "", has_prefix && apart(prefix, answer) ? " " : "",
                         answer);
    tn_status status = text != NULL ? turn_add(s, "assistant", text, tail, err)
                                    : tn_fail(err, TN_NOMEM, "no memory for a prompt");
    free(text);
    return status;
}

static char *as_text(const turn *list, size_t n, bool last_tail)
{
    tn_str s = { 0 };

    for (size_t i = 0; i < n; i++)
        tn_str_addf(&s, "%s%s", list[i].text, i + 1 == n && !last_tail ? "" : list[i].tail);
    return tn_str_take(&s);
}

/* Messages as JSON: what an endpoint puts into its model's format itself. */
static tn_status messages_text(char **out, const tn_message *list, size_t n, tn_error *err)
{
    json_t *v = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(v, json_pack("{s:s, s:s}", "role", list[i].role, "content", list[i].content));
    *out = tn_json_text(v);
    json_decref(v);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a prompt");
}

static tn_status chat_text(char **out, const tn_style *y, const tn_message *list, size_t n, tn_error *err)
{
    if (y->format == NULL) return messages_text(out, list, n, err);
    tn_error  why = { 0 };
    tn_status s = tn_chat_text(y->tokenizer, y->format, list, n, TN_TURN_OPEN, out, &why);

    /* a format without a place for it */
    if (s == TN_UNSUPPORTED && n > 1 && strcmp(list[0].role, "system") == 0) {
        tn_log(TN_LOG_DEBUG, "the model's chat format takes no system text: it is left out");
        return tn_chat_text(y->tokenizer, y->format, list + 1, n - 1, TN_TURN_OPEN, out, err);
    }
    return s == TN_OK ? TN_OK : tn_fail(err, s, "%s", why.msg);
}

/* The turns as the context of what is scored. opened: the last turn begins the answer. */
static tn_status render(char **out, const tn_style *y, const turns *s, bool opened, tn_error *err)
{
    size_t      n = s->n - opened, m = 0, first = s->n > 0 && strcmp(s->list[0].role, "system") == 0;
    tn_message *list;
    char       *joint = NULL, *text = NULL;
    tn_status   status = TN_OK;

    *out = NULL;
    if (!y->chat) {
        *out = as_text(s->list, s->n, true);
        return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a prompt");
    }
    if ((list = calloc(n + 1, sizeof *list)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a prompt");
    if (y->multiturn) {
        for (; m < n; m++) list[m] = (tn_message){ s->list[m].role, s->list[m].text };
    } else {
        if (first) list[m++] = (tn_message){ "system", s->list[0].text };
        joint = as_text(s->list + first, n - first, false);
        list[m++] = (tn_message){ "user", joint };
    }
    if (!y->multiturn && joint == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a prompt");
    if (status == TN_OK) status = chat_text(&text, y, list, m, err);
    if (status == TN_OK) *out = tn_strf("%s%s", text, opened ? s->list[s->n - 1].text : "");
    if (status == TN_OK && *out == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a prompt");
    free(list);
    free(joint);
    free(text);
    return status;
}

/* -------------------------------------------------------------------------------------------------- parts */

/* What the templates of a task give for one row. */
typedef struct parts {
    json_t *text, *target, *choices;
    char   *prefix;
    bool    plain_target;
} parts;

static void parts_free(parts *p)
{
    json_decref(p->text);
    json_decref(p->target);
    json_decref(p->choices);
    free(p->prefix);
    *p = (parts){ 0 };
}

/* A field of the task over a row. What is wrong lies in one of two files: both are named. */
static tn_status field(json_t **out, const tn_task *t, const char *name, const char *text, const tn_doc *doc,
                       tn_error *err)
{
    tn_status s = tn_template_field(out, text, doc->row, doc->where, err);

    return s == TN_OK ? s : tn_fail_prefix(err, s, "%s, %s", t->path[0], name);
}

static tn_status choices_make(json_t **out, const tn_task *t, const tn_task_form *f, const tn_doc *doc,
                              tn_error *err)
{
    json_t *v;

    if (f->choice != NULL) {
        TN_TRY(field(out, t, "doc_to_choice", f->choice, doc, err));
        if (json_is_string(*out)) { /* a list that a longer template wrote down */
            tn_status s = tn_template_list(&v, json_string_value(*out), doc->where, err);
            if (s == TN_FORMAT)
                tn_fail(err, s,
                        "%s: task %s: doc_to_choice gives the text \"%.60s\", which is no list: it must name "
                        "a column of the row that is one, or give one",
                        doc->where, t->name, json_string_value(*out));
            json_decref(*out);
            *out = v;
            TN_TRY(s);
        }
    } else {
        *out = json_array();
        /* written in the file: no templates inside, as in the public harness */
        for (size_t i = 0; i < f->choice_list->n; i++) {
            const char *text = f->choice_list->items[i]->text;
            if (strstr(text, "{{") != NULL) TN_TRY(tn_template_value(&v, text, doc->row, doc->where, err));
            else v = json_string(text);
            json_array_append_new(*out, v);
        }
    }
    for (size_t i = 0; i < json_array_size(*out); i++)
        if (json_string_length(json_array_get(*out, i)) == 0 &&
            !(t->empty_choices && json_is_string(json_array_get(*out, i))))
            return tn_fail(err, TN_FORMAT, "%s: choice %zu of task %s is empty or no text", doc->where, i,
                           t->name);
    if (json_array_size(*out) > 0) return TN_OK;
    return tn_fail(err, TN_FORMAT, "%s: task %s: doc_to_choice gives no list of texts", doc->where, t->name);
}

/* A text of digits alone is a position where there are choices, a text in brackets a list. */
static void typed(json_t **v, bool choices, bool lists, const tn_doc *doc)
{
    const char *s = json_string_value(*v);
    int64_t     i;
    json_t     *list;

    if (s == NULL || s[0] == '\0') return;
    if (choices && strspn(s, "0123456789") == strlen(s) && tn_parse_i64(s, &i)) {
        json_decref(*v);
        *v = json_integer((json_int_t)i);
    } else if (lists && s[0] == '[' && s[strlen(s) - 1] == ']' &&
               tn_template_list(&list, s, doc->where, NULL) == TN_OK) {
        json_decref(*v);
        *v = list;
    }
}

static tn_status parts_make(parts *p, const tn_task *t, const tn_task_form *f, const tn_doc *doc,
                            tn_error *err)
{
    bool has_choices = f->choice != NULL || f->choice_list != NULL;

    *p = (parts){ .plain_target = json_object_get(doc->row, f->target) != NULL };
    TN_TRY(field(&p->text, t, "doc_to_text", f->text, doc, err));
    TN_TRY(field(&p->target, t, "doc_to_target", f->target, doc, err));
    if (json_object_get(doc->row, f->text) == NULL) typed(&p->text, has_choices, false, doc);
    if (!p->plain_target) typed(&p->target, has_choices, true, doc);
    if (f->prefix != NULL) {
        json_t   *v = NULL;
        tn_status s = field(&v, t, "gen_prefix", f->prefix, doc, err);
        if (s == TN_OK) s = tn_template_text(&p->prefix, v, doc->where, err);
        json_decref(v);
        TN_TRY(s);
    }
    return has_choices ? choices_make(&p->choices, t, f, doc, err) : TN_OK;
}

static json_int_t text_index(const json_t *choices, const char *text)
{
    for (size_t k = 0; text != NULL && k < json_array_size(choices); k++)
        if (strcmp(json_string_value(json_array_get(choices, k)), text) == 0) return (json_int_t)k;
    return -1;
}

/* Position of the right choice: an index, the text of a choice, or a digit text. */
static tn_status gold_index(const json_t *v, const json_t *choices, size_t *out, const char *where,
                            tn_error *err)
{
    const char *text = json_string_value(v);
    int64_t     i = json_is_integer(v) ? json_integer_value(v) : json_is_boolean(v) ? json_is_true(v) : -1;

    if (text != NULL && (i = text_index(choices, text)) < 0 && !tn_parse_i64(text, &i)) i = -1;
    if (i < 0 || (size_t)i >= json_array_size(choices))
        return tn_fail(err, TN_FORMAT, "%s: the answer (%s) is none of the %zu choices", where,
                       text != NULL ? text : "a position", json_array_size(choices));
    *out = (size_t)i;
    return TN_OK;
}

/* -------------------------------------------------------------------------------------------------- shots */

static tn_status shot_add(turns *s, const tn_task *t, const tn_doc *doc, tn_error *err)
{
    const tn_task_form *f = &t->shot_form;
    parts               p = { 0 };
    char               *text = NULL, *answer = NULL;
    size_t              gold;
    tn_status           status = TN_OK;

    TN_GOTO(parts_make(&p, t, f, doc, err));
    const json_t *shown = p.text, *said = json_is_array(p.target) ? json_array_get(p.target, 0) : p.target;
    if (p.choices != NULL && json_is_integer(p.text)) {
        TN_GOTO(gold_index(p.text, p.choices, &gold, doc->where, err));
        shown = json_array_get(p.choices, gold);
    } else if (p.choices != NULL && !json_is_string(said)) {
        TN_GOTO(gold_index(said, p.choices, &gold, doc->where, err));
        said = json_array_get(p.choices, gold);
    }
    TN_GOTO(tn_template_text(&text, shown, doc->where, err));
    TN_GOTO(tn_template_text(&answer, said, doc->where, err));
    status = turn_pair(s, text, answer, p.prefix, f->target_delimiter, f->fewshot_delimiter, err);
out:
    parts_free(&p);
    free(text);
    free(answer);
    return status;
}

/* System text, description and shots. */
static tn_status head_make(turns *s, const tn_task *t, const tn_doc *doc, size_t i_doc, const tn_shots *shots,
                           const tn_style *y, tn_error *err)
{
    json_t     *description = NULL;
    char       *text = NULL, *joint = NULL;
    const char *system = y->system != NULL ? y->system : "";
    tn_status   status = TN_OK;

    TN_GOTO(field(&description, t, "description", t->description, doc, err));
    TN_GOTO(tn_template_text(&text, description, doc->where, err));
    if ((joint = tn_strf("%s%s%s", system, apart(system, text) ? t->form.fewshot_delimiter : "", text)) ==
        NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a prompt");
        goto out;
    }
    if (joint[0] != '\0') TN_GOTO(turn_add(s, "system", joint, "", err));
    for (int64_t k = 0; k < shots->n; k++)
        TN_GOTO(shot_add(s, t, &shots->pool.list[shots->pick[(int64_t)i_doc * shots->n + k]], err));
out:
    json_decref(description);
    free(text);
    free(joint);
    return status;
}

/* ----------------------------------------------------------------------------------------------- requests */

static tn_status ask_alloc(tn_ask *a, size_t n, const char *where, tn_error *err)
{
    a->context = calloc(n, sizeof *a->context);
    a->continuation = calloc(n, sizeof *a->continuation);
    a->choice = calloc(n, sizeof *a->choice);
    a->gold = calloc(n, sizeof *a->gold);
    if (a->context == NULL || a->continuation == NULL || a->choice == NULL || a->gold == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for %zu choices", where, n);
    a->n = a->n_choice = n;
    return TN_OK;
}

static tn_status ask_set(tn_ask *a, size_t i, const char *context, const char *delimiter,
                         const char *continuation, const char *choice, tn_error *err)
{
    a->context[i] = tn_strdup(context);
    a->continuation[i] = tn_strf("%s%s", delimiter, continuation);
    a->choice[i] = tn_strdup(choice);
    return a->context[i] != NULL && a->continuation[i] != NULL && a->choice[i] != NULL
               ? TN_OK
               : tn_fail(err, TN_NOMEM, "no memory for a question");
}

static tn_status gold_set(tn_ask *a, const tn_task *t, const json_t *target, const json_t *choices,
                          const char *where, tn_error *err)
{
    size_t gold;

    if (!json_is_array(target)) {
        TN_TRY(gold_index(target, choices, &gold, where, err));
        a->gold[gold] = true;
        return TN_OK;
    }
    if (t->results == TN_RESULTS_MC2) { /* one label a choice */
        if (json_array_size(target) != a->n_choice)
            return tn_fail(err, TN_FORMAT, "%s: %zu labels for %zu choices", where, json_array_size(target),
                           a->n_choice);
        for (size_t i = 0; i < a->n_choice; i++)
            a->gold[i] = json_integer_value(json_array_get(target, i)) == 1;
        return TN_OK;
    }
    if (json_array_size(target) == 0)
        return tn_fail(err, TN_FORMAT, "%s: the list of right answers is empty", where);
    for (size_t i = 0; i < json_array_size(target); i++) {
        TN_TRY(gold_index(json_array_get(target, i), choices, &gold, where, err));
        a->gold[gold] = true;
    }
    return TN_OK;
}

static bool wants(const tn_task *t, const char *metric)
{
    for (size_t i = 0; i < t->metrics->n; i++)
        if (strcmp(tn_task_metric(t, i), metric) == 0) return true;
    return false;
}

/* The context of one question: the head's turns, then this one. Takes the question's turns off again. */
static tn_status context_make(char **out, const tn_style *y, turns *s, const char *question,
                              const char *prefix, const char *delimiter, tn_error *err)
{
    size_t    n = s->n;
    tn_status status = turn_pair(s, question, NULL, prefix, delimiter, "", err);

    if (status == TN_OK) status = render(out, y, s, prefix != NULL && prefix[0] != '\0', err);
    for (; s->n > n; s->n--) {
        free(s->list[s->n - 1].text);
        free(s->list[s->n - 1].tail);
    }
    return status;
}

static tn_status choices_ask(tn_ask *a, const tn_task *t, const tn_doc *doc, const parts *p, turns *s,
                             const tn_style *y, tn_error *err)
{
    bool        contexts = json_is_integer(p->text), mutual = wants(t, "acc_mutual_info");
    size_t      n = json_array_size(p->choices);
    const char *delimiter = !y->chat || (p->prefix != NULL && p->prefix[0] != '\0' && !ends_blank(p->prefix))
                                ? t->form.target_delimiter
                                : "";
    char       *text = NULL, *context = NULL;
    tn_status   status = TN_OK;

    TN_GOTO(ask_alloc(a, mutual ? 2 * n : n, doc->where, err));
    a->n_choice = n;
    TN_GOTO(tn_template_text(&text, contexts ? p->target : p->text, doc->where, err));
    if (!contexts) TN_GOTO(context_make(&context, y, s, text, p->prefix, t->form.target_delimiter, err));
    for (size_t i = 0; i < n; i++) {
        const char *choice = json_string_value(json_array_get(p->choices, i));
        if (contexts) {
            free(context);
            context = NULL;
            TN_GOTO(context_make(&context, y, s, choice, p->prefix, "", err));
        }
        TN_GOTO(ask_set(a, i, context, delimiter, contexts ? text : choice, choice, err));
        if (mutual) TN_GOTO(ask_set(a, n + i, "", delimiter, choice, choice, err));
    }
    status = gold_set(a, t, contexts ? p->text : p->target, p->choices, doc->where, err);
    a->question = text;
    text = NULL;
out:
    free(text);
    free(context);
    return status;
}

static tn_status one_ask(tn_ask *a, const tn_task *t, const tn_doc *doc, const parts *p, turns *s,
                         const tn_style *y, tn_error *err)
{
    char     *text = NULL, *target = NULL, *context = NULL;
    bool      rolling = t->output == TN_TASK_ROLLING;
    tn_status status = TN_OK;

    TN_GOTO(ask_alloc(a, 1, doc->where, err));
    TN_GOTO(tn_template_text(&text, p->text, doc->where, err));
    TN_GOTO(tn_template_text(&target, p->target, doc->where, err));
    if (!rolling) TN_GOTO(context_make(&context, y, s, text, p->prefix, t->form.target_delimiter, err));
    TN_GOTO(ask_set(a, 0, rolling ? "" : context, "", target, target, err));
    if (!rolling) a->question = tn_strdup(text);
    a->gold[0] = true;
    const char *counted = t->words_of != NULL ? json_string_value(json_object_get(doc->row, t->words_of))
                                              : target;
    if (counted == NULL)
        status = tn_fail(err, TN_FORMAT, "%s: no text column \"%s\" to count words of", doc->where,
                         t->words_of);
    else if (counted[0] == '\0') status = tn_fail(err, TN_FORMAT, "%s: the text is empty", doc->where);
    else {
        a->n_word = tn_py_words(counted);
        a->n_byte = (int64_t)strlen(counted);
    }
out:
    free(text);
    free(target);
    free(context);
    return status;
}

/* A reply is asked for: the context, and the texts that are right. */
static tn_status reply_ask(tn_ask *a, const tn_task *t, const tn_doc *doc, const parts *p, turns *s,
                           const tn_style *y, tn_error *err)
{
    char     *text = NULL, *context = NULL, *target = NULL;
    size_t    gold;
    tn_status status = TN_OK;

    TN_GOTO(ask_alloc(a, 1, doc->where, err));
    TN_GOTO(tn_template_text(&text, p->text, doc->where, err));
    TN_GOTO(context_make(&context, y, s, text, p->prefix, t->form.target_delimiter, err));
    TN_GOTO(ask_set(a, 0, context, "", "", text, err));
    a->question = tn_strdup(text);
    a->targets = json_array();
    bool many = json_is_array(p->target);
    for (size_t i = 0; i < (many ? json_array_size(p->target) : 1); i++) {
        const json_t *one = many ? json_array_get(p->target, i) : p->target;
        if (p->choices != NULL) {
            TN_GOTO(gold_index(one, p->choices, &gold, doc->where, err));
            one = json_array_get(p->choices, gold);
        }
        free(target);
        target = NULL;
        TN_GOTO(tn_template_text(&target, one, doc->where, err));
        json_array_append_new(a->targets, json_string(target));
    }
    if (many && json_array_size(a->targets) == 0)
        status = tn_fail(err, TN_FORMAT, "%s: the list of right answers is empty", doc->where);
out:
    free(text);
    free(context);
    free(target);
    return status;
}

tn_status tn_ask_make(tn_ask *out, const tn_task *t, const tn_doc *doc, size_t i_doc, const tn_shots *shots,
                      const tn_style *style, tn_error *err)
{
    parts     p = { 0 };
    turns     s = { 0 };
    tn_status status = TN_OK;

    *out = (tn_ask){ 0 };
    if (t->output != TN_TASK_ROLLING) TN_GOTO(head_make(&s, t, doc, i_doc, shots, style, err));
    TN_GOTO(parts_make(&p, t, &t->form, doc, err));
    if (t->output == TN_TASK_CHOICE) status = choices_ask(out, t, doc, &p, &s, style, err);
    else if (t->output == TN_TASK_GENERATE) status = reply_ask(out, t, doc, &p, &s, style, err);
    else status = one_ask(out, t, doc, &p, &s, style, err);
out:
    parts_free(&p);
    turns_free(&s);
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
    free(a->question);
    json_decref(a->targets);
    *a = (tn_ask){ 0 };
}
