/* docs.c - rows of the public sets, in their original form or packaged as {query, choices, gold}, made alike.
 *
 *   built-in     columns it gives                      rows it takes
 *   hellaswag    query, choices, gold                  activity_label, ctx_a, ctx_b, endings, label
 *   arc          query, choices, gold                  question + choices{text, label} + answerKey; query, choices, gold
 *   winogrande   contexts, continuation, gold          sentence with _, option1, option2, answer; context_options ...
 *   boolq        query, choices, gold                  passage, question, answer or label; query, choices, gold
 *   lambada      context, continuation                 text; context, continuation
 *   truthfulqa   question, mc1, mc1_labels, mc2, ...   mc1_targets as {choices, labels} or as {answer: 0 or 1}
 *   mmlu         subject, question, choices, gold      answer as a letter or a position
 *   piqa         query, choices, gold                  goal, sol1, sol2, label
 *   wikitext     text, original                        page
 *   bbq          context, question, choices, ...       bbq.c says it
 *   swap_ab      the question with (A) and (B) changed over, answers too: what a liking for a letter adds is seen
 *
 * A gold answer that lies outside the choices is an error: a row without an answer measures nothing. */
#include "eval/docs.h"
#include "base/str.h"
#include "eval/bbq.h"
#include "eval/pytext.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static tn_status column(const json_t *row, const char *key, const char **out, const char *where,
                        tn_error *err)
{
    return tn_json_str(row, key, out, where, err);
}

static tn_status list_of_texts(const json_t *v, const char *what, const char *where, tn_error *err)
{
    if (!json_is_array(v) || json_array_size(v) == 0)
        return tn_fail(err, TN_FORMAT, "%s: \"%s\" must be a list with at least one text", where, what);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (json_string_length(json_array_get(v, i)) == 0)
            return tn_fail(err, TN_FORMAT,
                           "%s: \"%s\" holds an empty text or something else, at position %zu", where, what,
                           i);
    return TN_OK;
}

static tn_status gold_in(json_int_t gold, const json_t *choices, const char *where, tn_error *err)
{
    if (gold >= 0 && (size_t)gold < json_array_size(choices)) return TN_OK;
    return tn_fail(err, TN_FORMAT, "%s: the answer is number %lld, outside the %zu choices", where,
                   (long long)gold, json_array_size(choices));
}

/* A whole number, also where the set writes it as a text ("3"). */
static tn_status whole(const json_t *row, const char *key, json_int_t *out, const char *where, tn_error *err)
{
    const json_t *v = json_object_get(row, key);
    int64_t       n;

    if (json_is_boolean(v)) *out = json_is_true(v);
    else if (json_is_integer(v)) *out = json_integer_value(v);
    else if (json_is_string(v) && tn_parse_i64(json_string_value(v), &n)) *out = n;
    else
        return tn_fail(err, TN_FORMAT, "%s: \"%s\" must be a whole number, it is %s", where, key,
                       v == NULL ? "missing" : "something else");
    return TN_OK;
}

static tn_status finished(json_t **out, json_t *doc, const char *where, tn_error *err)
{
    *out = doc;
    return doc != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "%s: no memory for a row", where);
}

/* query, choices and gold checked and put together. Takes `choices`. */
static tn_status multiple_choice(json_t **out, const char *query, json_t *choices, json_int_t gold,
                                 const char *where, tn_error *err)
{
    tn_status s = list_of_texts(choices, "choices", where, err);

    if (s == TN_OK) s = gold_in(gold, choices, where, err);
    if (s != TN_OK) {
        json_decref(choices);
        return s;
    }
    return finished(out, json_pack("{s:s, s:o, s:I}", "query", query, "choices", choices, "gold", gold),
                    where, err);
}

/* {query, choices, gold} as packaged, the query without what another packaging put in front of it or behind
 * it. */
static tn_status packaged(json_t **out, const json_t *row, const char *drop, const char *where, tn_error *err)
{
    const char *query;
    json_int_t  gold;

    TN_TRY(column(row, "query", &query, where, err));
    TN_TRY(whole(row, "gold", &gold, where, err));
    if (drop != NULL && tn_starts_with(query, drop)) query += strlen(drop);
    return multiple_choice(out, query, json_incref(json_object_get(row, "choices")), gold, where, err);
}

/* ---------------------------------------------------------------------------------------------- hellaswag */

static void replace_all(tn_str *out, const char *s, const char *from, const char *to)
{
    for (const char *hit; (hit = strstr(s, from)) != NULL; s = hit + strlen(from)) {
        tn_str_add_n(out, s, (size_t)(hit - s));
        tn_str_add(out, to);
    }
    tn_str_add(out, s);
}

/* Strip; " [title]" becomes ". "; every [...] goes; two spaces become one (one pass, as the reference
 * does). */
static char *clean(const char *text)
{
    tn_str a = { 0 }, b = { 0 }, c = { 0 };
    size_t n;

    text += tn_py_front(text, strlen(text));
    n = tn_py_end(text, strlen(text));
    char *s = tn_strndup(text, n);
    if (s == NULL) return NULL;
    replace_all(&a, s, " [title]", ". ");
    free(s);
    for (const char *p = a.p; p != NULL && *p != '\0';) {
        /* "." in the reference's pattern stops at a newline */
        const char *end = *p == '[' ? strpbrk(p, "]\n") : NULL;
        if (end != NULL && *end == ']') p = end + 1;
        else tn_str_add_char(&b, *p++);
    }
    tn_str_add(&b, "");
    if (b.p != NULL) replace_all(&c, b.p, "  ", " ");
    tn_str_free(&a);
    tn_str_free(&b);
    return tn_str_take(&c);
}

/* First letter up, the rest down. */
static char *capitalised(const char *s)
{
    tn_str out = { 0 };

    tn_py_cased(&out, s, strlen(s), TN_PY_CAPITALIZE);
    return tn_str_take(&out);
}

static tn_status hellaswag(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const char *label, *a, *b;
    json_int_t  gold;
    char       *up = NULL, *joint = NULL, *query = NULL;
    json_t     *choices = json_array(), *endings = json_object_get(row, "endings");
    tn_status   status = TN_OK;

    TN_GOTO(column(row, "activity_label", &label, where, err));
    TN_GOTO(column(row, "ctx_a", &a, where, err));
    TN_GOTO(column(row, "ctx_b", &b, where, err));
    TN_GOTO(whole(row, "label", &gold, where, err));
    TN_GOTO(list_of_texts(endings, "endings", where, err));
    if ((up = capitalised(b)) != NULL) joint = tn_strf("%s: %s %s", label, a, up);
    query = joint != NULL ? clean(joint) : NULL;
    for (size_t i = 0; i < json_array_size(endings) && query != NULL; i++) {
        char *c = clean(json_string_value(json_array_get(endings, i)));
        if (c == NULL || json_array_append_new(choices, json_string(c)) != 0) {
            free(query);
            query = NULL;
        }
        free(c);
    }
    if (query == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a row", where);
        goto out;
    }
    status = multiple_choice(out, query, choices, gold, where, err);
    choices = NULL;
out:
    json_decref(choices);
    free(up);
    free(joint);
    free(query);
    return status;
}

/* ---------------------------------------------------------------------------------------------------- arc */

/* Position of a label ("B", "2") in the list of labels. */
static json_int_t position(const json_t *labels, const char *key)
{
    for (size_t i = 0; i < json_array_size(labels); i++) {
        const char *s = json_string_value(json_array_get(labels, i));
        if (s != NULL && strcmp(s, key) == 0) return (json_int_t)i;
    }
    return -1;
}

/* [{text, label}, ...] as the authors publish it, or {text: [...], label: [...]}. made: both. */
static void arc_choices(const json_t *v, json_t **texts, json_t **labels)
{
    if (json_is_object(v)) {
        *texts = json_incref(json_object_get(v, "text"));
        *labels = json_incref(json_object_get(v, "label"));
        return;
    }
    *texts = json_array();
    *labels = json_array();
    for (size_t i = 0; i < json_array_size(v); i++) {
        json_array_append(*texts, json_object_get(json_array_get(v, i), "text"));
        json_array_append(*labels, json_object_get(json_array_get(v, i), "label"));
    }
}

static tn_status arc(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const json_t *question = json_object_get(row, "question"),
                 *holder = json_is_object(question) ? question : row;
    const char *stem, *key;
    json_t     *texts = NULL, *labels = NULL;

    if (question == NULL) return packaged(out, row, "Question: ", where, err);
    TN_TRY(column(holder, holder == question ? "stem" : "question", &stem, where, err));
    TN_TRY(column(row, "answerKey", &key, where, err));
    arc_choices(json_object_get(holder, "choices"), &texts, &labels);
    tn_status s = multiple_choice(out, stem, texts, position(labels, key), where, err);
    json_decref(labels);
    return s;
}

/* --------------------------------------------------------------------------------------------- winogrande */

static tn_status winogrande(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const char *sentence, *option[2], *rest;
    json_int_t  gold;

    if (json_object_get(row, "context_options") != NULL) {
        json_t *contexts = json_object_get(row, "context_options");
        TN_TRY(column(row, "continuation", &rest, where, err));
        TN_TRY(whole(row, "gold", &gold, where, err));
        TN_TRY(list_of_texts(contexts, "context_options", where, err));
        TN_TRY(gold_in(gold, contexts, where, err));
        rest += tn_py_front(rest, strlen(rest));
        return finished(
            out, json_pack("{s:O, s:s, s:I}", "contexts", contexts, "continuation", rest, "gold", gold),
            where, err);
    }
    TN_TRY(column(row, "sentence", &sentence, where, err));
    TN_TRY(column(row, "option1", &option[0], where, err));
    TN_TRY(column(row, "option2", &option[1], where, err));
    TN_TRY(whole(row, "answer", &gold, where, err));
    const char *gap = strchr(sentence, '_');
    if (gap == NULL || gold < 1 || gold > 2)
        return tn_fail(err, TN_FORMAT, "%s: %s", where,
                       gap == NULL ? "\"sentence\" has no _ to fill" : "\"answer\" must be 1 or 2");
    size_t head = (size_t)(gap - sentence), n;
    rest = gap + 1;
    rest += tn_py_front(rest, strlen(rest));
    n = tn_py_end(rest, strlen(rest));
    char *a = tn_strf("%.*s%s", (int)head, sentence, option[0]),
         *b = tn_strf("%.*s%s", (int)head, sentence, option[1]);
    json_t *doc = a == NULL || b == NULL ? NULL
                                         : json_pack("{s:[s, s], s:s%, s:I}", "contexts", a, b,
                                                     "continuation", rest, n, "gold", gold - 1);
    free(a);
    free(b);
    return finished(out, doc, where, err);
}

/* ----------------------------------------------------------------------------------- boolq, lambada, mmlu */

static tn_status boolq(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const char *passage, *question;
    json_int_t  gold;

    if (json_object_get(row, "query") != NULL) return packaged(out, row, "Passage: ", where, err);
    TN_TRY(column(row, "passage", &passage, where, err));
    TN_TRY(column(row, "question", &question, where, err));
    TN_TRY(whole(row, json_object_get(row, "label") != NULL ? "label" : "answer", &gold, where, err));
    char     *query = tn_strf("%s\nQuestion: %s?", passage, question);
    tn_status s = query == NULL
                      ? tn_fail(err, TN_NOMEM, "%s: no memory for a row", where)
                      : multiple_choice(out, query, json_pack("[s, s]", "no", "yes"), gold, where, err);
    free(query);
    return s;
}

static tn_status lambada(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const char *text, *last;

    if (json_object_get(row, "text") == NULL) {
        TN_TRY(column(row, "context", &text, where, err));
        TN_TRY(column(row, "continuation", &last, where, err));
        while (*last == ' ') last++;
        return finished(out, json_pack("{s:s, s:s}", "context", text, "continuation", last), where, err);
    }
    TN_TRY(column(row, "text", &text, where, err));
    last = strrchr(text, ' ');
    if (last == NULL || last[1] == '\0')
        return tn_fail(err, TN_FORMAT, "%s: \"text\" has no last word after a space", where);
    return finished(
        out, json_pack("{s:s%, s:s}", "context", text, (size_t)(last - text), "continuation", last + 1),
        where, err);
}

static tn_status mmlu(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const char   *question, *subject;
    const json_t *answer = json_object_get(row, "answer");
    json_t       *choices = json_object_get(row, "choices");
    json_int_t    gold = -1;

    TN_TRY(column(row, "question", &question, where, err));
    TN_TRY(column(row, "subject", &subject, where, err));
    if (json_string_length(answer) == 1 && isalpha((unsigned char)json_string_value(answer)[0]))
        gold = toupper((unsigned char)json_string_value(answer)[0]) - 'A';
    else TN_TRY(whole(row, "answer", &gold, where, err));
    TN_TRY(list_of_texts(choices, "choices", where, err));
    TN_TRY(gold_in(gold, choices, where, err));
    if (json_array_size(choices) != 4)
        return tn_fail(err, TN_FORMAT, "%s: %zu choices; this task's question sheet has four", where,
                       json_array_size(choices));
    return finished(out,
                    json_pack("{s:s, s:s, s:O, s:I}", "subject", subject, "question", question, "choices",
                              choices, "gold", gold),
                    where, err);
}

static tn_status piqa(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const char *goal, *one, *two;
    json_int_t  gold;

    TN_TRY(column(row, "goal", &goal, where, err));
    TN_TRY(column(row, "sol1", &one, where, err));
    TN_TRY(column(row, "sol2", &two, where, err));
    TN_TRY(whole(row, "label", &gold, where, err));
    return multiple_choice(out, goal, json_pack("[s, s]", one, two), gold, where, err);
}

/* --------------------------------------------------------------------------------------------- truthfulqa */

/* Either packaging to a list of answers and a list of 0 and 1. */
static tn_status targets(json_t *doc, const json_t *row, const char *key, const char *name, const char *where,
                         tn_error *err)
{
    const json_t *v = json_object_get(row, key);
    json_t       *choices = json_object_get(v, "choices"), *labels = json_object_get(v, "labels"), *one;
    const char   *answer;
    char          label_name[16];

    if (json_is_array(choices) && json_is_array(labels)) {
        json_incref(choices);
        json_incref(labels);
    } else {
        choices = json_array();
        labels = json_array();
        json_object_foreach((json_t *)v, answer, one) {
            json_array_append_new(choices, json_string(answer));
            json_array_append(labels, one);
        }
    }
    snprintf(label_name, sizeof label_name, "%s_labels", name);
    json_object_set_new(doc, name, choices);
    json_object_set_new(doc, label_name, labels);
    if (!json_is_array(choices) || json_array_size(choices) == 0)
        return list_of_texts(choices, key, where, err);
    size_t n_true = 0, i;
    /* An answer may be empty: one of the published set is (what is scored is then the space before it, as in
     * the public harness). */
    json_array_foreach(choices, i, one)
        if (!json_is_string(one)) return list_of_texts(choices, key, where, err);
    if (json_array_size(labels) != json_array_size(choices))
        return tn_fail(err, TN_FORMAT, "%s: \"%s\" has as many labels as answers, here not", where, key);
    json_array_foreach(labels, i, one) {
        if (!json_is_integer(one) || json_integer_value(one) < 0 || json_integer_value(one) > 1)
            return tn_fail(err, TN_FORMAT, "%s: labels of \"%s\" are 0 or 1", where, key);
        n_true += json_integer_value(one) == 1;
    }
    return n_true > 0 ? TN_OK : tn_fail(err, TN_FORMAT, "%s: \"%s\" has no true answer", where, key);
}

static tn_status truthfulqa(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const char *question;
    json_t     *doc;
    tn_status   status;

    TN_TRY(column(row, "question", &question, where, err));
    if ((doc = json_pack("{s:s}", "question", question)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for a row", where);
    status = targets(doc, row, "mc1_targets", "mc1", where, err);
    if (status == TN_OK) status = targets(doc, row, "mc2_targets", "mc2", where, err);
    if (status == TN_OK) *out = doc;
    else json_decref(doc);
    return status;
}

/* ----------------------------------------------------------------------------------------------- wikitext */

static char *rewrite(char *s, const char *from, const char *to)
{
    tn_str out = { 0 };

    if (s == NULL) return NULL;
    replace_all(&out, s, from, to);
    free(s);
    return tn_str_take(&out);
}

/* Spaces just inside a pair of marks go: "( a )" to "(a)", where both marks stand in one stretch of text. */
static char *tighten(char *s, char open, char close)
{
    tn_str out = { 0 };

    if (s == NULL) return NULL;
    for (const char *p = s; *p != '\0';) {
        const char *end = NULL, *inner = p + 1;
        if (*p == open) {
            while (isspace((unsigned char)*inner)) inner++;
            end = inner;
            while (*end != '\0' && *end != close && !(open != close && *end == open)) end++;
        }
        if (end == NULL || *end != close || *inner == close) {
            tn_str_add_char(&out, *p++);
            continue;
        }
        const char *last = end;
        while (last > inner && isspace((unsigned char)last[-1])) last--;
        tn_str_add_char(&out, open);
        tn_str_add_n(&out, inner, (size_t)(last - inner));
        tn_str_add_char(&out, close);
        p = end + 1;
    }
    tn_str_add(&out, "");
    free(s);
    return tn_str_take(&out);
}

/* Undoes the tokenised punctuation; words and bytes are counted on the page as it was. */
static tn_status wikitext(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    static const char *const marks[][2] = { { "s '", "s'" },  { " @-@ ", "-" }, { " @,@ ", "," },
                                            { " @.@ ", "." }, { " : ", ": " },  { " ; ", "; " },
                                            { " . ", ". " },  { " ! ", "! " },  { " ? ", "? " },
                                            { " , ", ", " } };
    static const char *const ends[][2] = { { "= = = =", "====" }, { "= = =", "===" },
                                           { "= =", "==" },       { " \xc2\xb0 ", "\xc2\xb0" },
                                           { " \n", "\n" },       { "\n ", "\n" },
                                           { " N ", " 1 " },      { " 's", "'s" } };
    const char              *page;

    TN_TRY(column(row, "page", &page, where, err));
    char *s = tn_strdup(page);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) s = rewrite(s, marks[i][0], marks[i][1]);
    s = tighten(tighten(tighten(tighten(tighten(s, '(', ')'), '[', ']'), '{', '}'), '"', '"'), '\'', '\'');
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) s = rewrite(s, ends[i][0], ends[i][1]);
    json_t *doc = s == NULL ? NULL : json_pack("{s:s, s:s}", "text", s, "original", page);
    free(s);
    return finished(out, doc, where, err);
}

/* --------------------------------------------------------------------------------- questions with letters */

/* "... (A) one\n (B) two" with one and two changed over; what follows them, a (C) too, stays. */
static char *changed_over(const char *q)
{
    const char *a = strstr(q, "(A)"), *b = a != NULL ? strstr(a, "(B)") : NULL, *end;

    if (b == NULL) return NULL;
    end = b + 3 + strcspn(b + 3, "\n");
    const char *gap = b; /* white space between the first answer and (B) stays where it is */
    while (gap > a + 3 && isspace((unsigned char)gap[-1])) gap--;
    return tn_strf("%.*s%.*s%.*s(B)%.*s%s", (int)(a + 3 - q), q, (int)(end - b - 3), b + 3, (int)(b - gap),
                   gap, (int)(gap - a - 3), a + 3, end);
}

static json_t *other_letter(const char *answer)
{
    return json_string(strstr(answer, "(A)") != NULL ? " (B)" : " (A)");
}

static tn_status swap_ab(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    const char *question, *match, *other;

    TN_TRY(column(row, "question", &question, where, err));
    TN_TRY(column(row, "answer_matching_behavior", &match, where, err));
    TN_TRY(column(row, "answer_not_matching_behavior", &other, where, err));
    char *q = changed_over(question);
    if (q == NULL) return tn_fail(err, TN_FORMAT, "%s: \"question\" must offer (A) and then (B)", where);
    json_t *doc = json_copy((json_t *)row);
    json_object_set_new(doc, "question", json_string(q));
    json_object_set_new(doc, "answer_matching_behavior", other_letter(match));
    json_object_set_new(doc, "answer_not_matching_behavior", other_letter(other));
    free(q);
    return finished(out, doc, where, err);
}

/* -------------------------------------------------------------------------------------------------- table */

static tn_status bbq(json_t **out, const json_t *row, const char *where, tn_error *err)
{
    return tn_bbq_docs(out, row, where, err);
}

// clang-format off
#define DOCS_LIST(X)                                                                                         \
    X(hellaswag)                                                                                             \
    X(arc) X(winogrande) X(boolq) X(lambada) X(truthfulqa) X(mmlu) X(piqa) X(wikitext) X(swap_ab) X(bbq)
// clang-format on

static tn_docs_fn *const functions[] = {
#define X(name) name,
    DOCS_LIST(X)
#undef X
};
static const char *const names[] = {
#define X(name) #name,
    DOCS_LIST(X)
#undef X
        NULL
};

tn_docs_fn *tn_docs_find(const char *name)
{
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0) return functions[i];
    return NULL;
}

const char *const *tn_docs_names(void) { return names; }
