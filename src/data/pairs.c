/* pairs.c - preference pairs: two answers to one prompt, rendered, with the border between prompt and answer.
 *
 * The border is where the chat format's mask begins to train the answer, as in fine-tuning; an open turn may
 * end with a mark that the answer does not begin with (<think>). Pairs whose sides are equal teach nothing;
 * over-long ones are left out whole, because a cut answer would be compared with something nobody wrote. */
#include "data/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

enum { MAX_PRINCIPLE = 4096 };

typedef struct loader {
    tn_pairs           *p;
    int64_t             cap;
    const tn_tokenizer *t;
    const tn_chat      *chat;
    int64_t             n_ctx;
} loader;

void tn_pairs_free(tn_pairs *p)
{
    for (size_t i = 0; i < p->n_chunk; i++) free(p->chunk[i]);
    for (int i = 0; i < p->n_principle; i++) free(p->principle[i]);
    free(p->chunk);
    free(p->principle);
    free(p->pair);
    free(p->first);
    *p = (tn_pairs){ 0 };
}

static tn_status keep_ids(tn_pairs *p, int32_t *ids, tn_error *err)
{
    int32_t **list = realloc(p->chunk, (p->n_chunk + 1) * sizeof *list);
    if (list == NULL) {
        free(ids);
        return tn_fail(err, TN_NOMEM, "no memory for the pairs");
    }
    p->chunk = list;
    p->chunk[p->n_chunk++] = ids;
    return TN_OK;
}

/* Tokens of the prompt and of prompt and answer, and their ids. open: the answer was cut off where it was
 * sampled. */
static tn_status chat_render(loader *l, const tn_message *m, size_t n, bool open, int32_t **ids,
                             size_t *n_prompt, size_t *n_ids, tn_error *err)
{
    uint8_t  *mask = NULL;
    size_t    cap = 0;
    tn_status status = tn_chat_render(l->t, l->chat, m, n, open ? TN_TURN_CUT : 0, ids, &mask, n_ids, &cap,
                                      err);

    if (status == TN_OK) {
        while (*n_prompt < *n_ids && (mask[*n_prompt] & TN_MASK_LAST) == 0) ++*n_prompt;
        if (open) *n_ids = tn_data_cut(mask, *n_ids);
        while (*n_ids > *n_prompt && !mask[*n_ids - 1]) --*n_ids; /* what follows the stop token */
    }
    free(mask);
    return status;
}

/* Without a chat format a prompt is a text: nothing would tell a user's words from the system's, or from an
 * earlier answer. */
static tn_status text_render(loader *l, const tn_message *m, size_t n, bool open, int32_t **ids,
                             size_t *n_prompt, size_t *n_ids, tn_error *err)
{
    size_t cap = 0;

    if (n != 2 || strcmp(m[0].role, "user") != 0)
        return tn_fail(
            err, TN_UNSUPPORTED,
            "a prompt of several messages, but the model has no chat format; choose one with chat_format");
    TN_TRY(tn_tokenize(l->t, m[0].content, strlen(m[0].content), TN_TOK_BOS, ids, n_ids, &cap, err));
    *n_prompt = *n_ids;
    TN_TRY(
        tn_tokenize(l->t, m[1].content, strlen(m[1].content), open ? 0 : TN_TOK_EOS, ids, n_ids, &cap, err));
    return open ? TN_OK : tn_data_end(l->t, ids, n_ids, &cap, err);
}

/* The n messages of the prompt are followed by the answer, for which m has room. */
static tn_status answer_render(loader *l, tn_message *m, size_t n, const char *answer, bool open,
                               const char *where, tn_reply *out, tn_error *err)
{
    int32_t *ids = NULL;
    size_t   n_prompt = 0, n_ids = 0;

    *out = (tn_reply){ 0 };
    m[n] = (tn_message){ "assistant", answer };
    tn_status status = (l->chat != NULL ? chat_render : text_render)(l, m, n + 1, open, &ids, &n_prompt,
                                                                     &n_ids, err);
    if (status == TN_OK && (n_prompt < 1 || n_ids <= n_prompt))
        status = tn_fail(err, TN_FORMAT, "the answer has no token, or the prompt is empty");
    if (status != TN_OK) {
        free(ids);
        return tn_fail_prefix(err, status, "%s", where);
    }
    if ((int64_t)n_ids > l->n_ctx) {
        free(ids);
        out->n = -1;
        return TN_OK;
    }
    *out = (tn_reply){ ids, (int32_t)n_ids, (int32_t)n_prompt };
    return keep_ids(l->p, ids, err);
}

static tn_status principle_find(tn_pairs *p, const char *name, int32_t *out, tn_error *err)
{
    *out = -1;
    if (name == NULL) return TN_OK;
    for (int i = 0; i < p->n_principle; i++)
        if (strcmp(p->principle[i], name) == 0) {
            *out = i;
            return TN_OK;
        }
    if (p->n_principle == MAX_PRINCIPLE)
        return tn_fail(err, TN_LIMIT, "more than %d different principles in the pairs", MAX_PRINCIPLE);
    char **list = realloc(p->principle, (size_t)(p->n_principle + 1) * sizeof *list);
    if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for the principles");
    p->principle = list;
    if ((list[p->n_principle] = tn_strdup(name)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the principles");
    *out = p->n_principle++;
    return TN_OK;
}

/* The words of an answer: a text, or a list of messages, as TRL has it, of which the last one is the answer;
 * *before: how many come before it. */
static tn_status answer_read(const json_t *row, const char *key, const char **answer, size_t *before,
                             const char *where, tn_error *err)
{
    const json_t *v = tn_row_get(row, key);
    const char   *role;

    *before = 0;
    if (!json_is_array(v)) return tn_json_str(row, key, answer, where, err);
    const json_t *last = json_array_get(v, json_array_size(v) - 1);
    TN_TRY(tn_json_str(last, "role", &role, where, err));
    TN_TRY(tn_row_nothing_lost(last, where, err));
    if (strcmp(role, "assistant") != 0)
        return tn_fail(err, TN_FORMAT,
                       "%s: \"%s\" ends with a message of the %s; it must end with the assistant's answer",
                       where, key, role);
    *before = json_array_size(v) - 1;
    return tn_json_str(last, "content", answer, where, err);
}

/* The prompt as messages (content borrowed from the row). before: so many of those of `key` are the
 * prompt. */
static tn_status prompt_read(const json_t *row, const char *key, size_t before, tn_message *m, size_t *n,
                             const char *where, tn_error *err)
{
    const json_t *messages = tn_row_get(row, "messages"), *prompt = tn_row_get(row, "prompt"),
                 *own = tn_row_get(row, key);
    const char *list = messages != NULL        ? "messages"
                       : json_is_array(prompt) ? "prompt"
                                               : NULL,
               *text = json_string_value(own);

    *n = 0;
    TN_TRY(tn_row_system(row, m, n, where, err));
    /* a column that says the chosen conversation once more */
    if (before > 0 && messages != NULL && json_equal(messages, own)) list = NULL;
    if (before > 0 && list != NULL)
        return tn_fail(
            err, TN_FORMAT,
            "%s: \"%s\" has %zu messages before the answer, beside those of \"%s\"; leave one of the two out",
            where, key, before, list);
    if (before > 0) {
        TN_TRY(tn_row_messages(own, key, m, n, where, err));
        --*n;
        if (json_is_string(prompt) && (strcmp(m[*n - 1].role, "user") != 0 ||
                                       strcmp(m[*n - 1].content, json_string_value(prompt)) != 0))
            return tn_fail(err, TN_FORMAT,
                           "%s: \"prompt\" is not what the user says last in \"%s\"; leave it out", where,
                           key);
        return TN_OK;
    }
    if (list != NULL) return tn_row_messages(messages != NULL ? messages : prompt, list, m, n, where, err);
    if (prompt == NULL)
        return tn_fail(err, TN_FORMAT, "%s: a row needs \"prompt\" or \"messages\", which \"%s\" answers%s",
                       where, key,
                       text != NULL && strstr(text, "\n\nHuman:") != NULL
                           ? " (of hh-rlhf's dialogues all but the last answer is \"messages\" here: Human "
                             "is \"user\", Assistant \"assistant\")"
                           : "");
    m[*n] = (tn_message){ "user", NULL };
    return tn_json_str(row, "prompt", &m[(*n)++].content, where, err);
}

static bool share_beginning(const json_t *a, const json_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!json_equal(json_array_get(a, i), json_array_get(b, i))) return false;
    return true;
}

static bool replies_equal(const tn_reply *a, const tn_reply *b)
{
    return a->n == b->n && a->n_prompt == b->n_prompt && a->n > 0 &&
           memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids) == 0;
}

/* *equal: both sides say the same, as written or as the chat format has it. */
static tn_status sides_read(loader *l, const json_t *row, tn_message *m, bool open, bool rejected_open,
                            tn_pair *pair, bool *equal, const char *where, tn_error *err)
{
    const char *chosen, *rejected;
    size_t      n, before, other;

    TN_TRY(answer_read(row, "chosen", &chosen, &before, where, err));
    TN_TRY(answer_read(row, "rejected", &rejected, &other, where, err));
    if (before != other || !share_beginning(tn_row_get(row, "chosen"), tn_row_get(row, "rejected"), before))
        return tn_fail(err, TN_FORMAT,
                       "%s: \"chosen\" and \"rejected\" must have the same messages before the answer",
                       where);
    TN_TRY(prompt_read(row, "chosen", before, m, &n, where, err));
    if ((*equal = strcmp(chosen, rejected) == 0)) return TN_OK;
    TN_TRY(answer_render(l, m, n, chosen, open, where, &pair->chosen, err));
    TN_TRY(answer_render(l, m, n, rejected, rejected_open, where, &pair->rejected, err));
    *equal = replies_equal(&pair->chosen, &pair->rejected);
    pair->whole = !open || !rejected_open;
    return TN_OK;
}

static tn_status side_read(loader *l, const json_t *row, tn_message *m, bool open, tn_pair *pair,
                           const char *where, tn_error *err)
{
    const char   *completion;
    size_t        n, before;
    const json_t *label = tn_row_get(row, "label");

    if (tn_row_get(row, "completion") == NULL || !json_is_boolean(label))
        return tn_fail(
            err, TN_FORMAT,
            "%s: a row needs \"chosen\" and \"rejected\", or \"completion\" and \"label\" (true or false)",
            where);
    TN_TRY(answer_read(row, "completion", &completion, &before, where, err));
    TN_TRY(prompt_read(row, "completion", before, m, &n, where, err));
    pair->whole = !open;
    return answer_render(l, m, n, completion, open, where,
                         json_is_true(label) ? &pair->chosen : &pair->rejected, err);
}

static tn_status row_load(loader *l, const json_t *row, const char *where, tn_error *err)
{
    tn_message  m[TN_ROW_MESSAGES + 1];
    double      p, weight;
    bool        open, rejected_open, equal = false;
    const char *principle = NULL;
    tn_pair     pair = { .principle = -1 };
    tn_pairs   *all = l->p;

    if (!json_is_object(row)) return tn_fail(err, TN_FORMAT, "%s: a row must be an object", where);
    TN_TRY(tn_json_real_or(row, "p", 1.0, &p, where, err));
    if (!(p >= 0 && p <= 1))
        return tn_fail(err, TN_FORMAT, "%s: \"p\" is %g; a probability is from 0 to 1", where, p);
    pair.p = (float)p;
    TN_TRY(tn_json_real_or(row, "weight", 1.0, &weight, where, err));
    if (!(weight >= 0 && weight <= 16))
        return tn_fail(err, TN_FORMAT, "%s: \"weight\" is %g; it must be from 0 to 16", where, weight);
    pair.weight_16 = (uint32_t)llround(weight * 65536.0);
    TN_TRY(tn_json_bool_or(row, "open", false, &open, where, err));
    TN_TRY(tn_json_bool_or(row, "rejected_open", false, &rejected_open, where, err));
    if (tn_row_get(row, "principle") != NULL) TN_TRY(tn_json_str(row, "principle", &principle, where, err));
    TN_TRY(principle_find(all, principle, &pair.principle, err));
    if (tn_row_get(row, "chosen") != NULL)
        TN_TRY(sides_read(l, row, m, open, rejected_open, &pair, &equal, where, err));
    else TN_TRY(side_read(l, row, m, open, &pair, where, err));
    if (equal) {
        all->n_equal++;
        return TN_OK;
    }
    if (pair.chosen.n < 0 || pair.rejected.n < 0) {
        all->n_overlong++;
        return TN_OK;
    }
    if (pair.weight_16 == 0) {
        all->n_weightless++;
        return TN_OK;
    } /* a batch of such would have no loss */
    if (all->n == l->cap) {
        int64_t  cap = l->cap ? l->cap * 2 : 256;
        tn_pair *list = realloc(all->pair, (size_t)cap * sizeof *list);
        if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for %lld pairs", (long long)cap);
        all->pair = list;
        l->cap = cap;
    }
    all->pair[all->n++] = pair;
    return TN_OK;
}

static tn_status file_load(void *arg, const char *path, bool listed, tn_error *err)
{
    tn_status status = TN_OK;
    tn_jsonl *rows = NULL;
    json_t   *row = NULL;

    (void)listed;
    TN_GOTO(tn_jsonl_open(&rows, path, err));
    for (;;) {
        char where[512];
        status = tn_jsonl_next(rows, &row, err);
        if (status == TN_FORMAT && tn_jsonl_line(rows) <= 1)
            status = tn_fail_prefix(
                err, status, "a preference loss learns from rows {\"prompt\", \"chosen\", \"rejected\"}");
        TN_GOTO(status);
        if (row == NULL) break;
        snprintf(where, sizeof where, "%s:%lld", path, (long long)tn_jsonl_line(rows));
        TN_GOTO(row_load(arg, row, where, err));
        json_decref(row);
        row = NULL;
        TN_GOTO(tn_interrupted(err));
    }
out:
    json_decref(row);
    tn_jsonl_close(rows);
    return status;
}

static void answer_hash(tn_sha256 *h, const tn_reply *a)
{
    int32_t head[2] = { a->n, a->n_prompt };
    tn_sha256_update(h, head, sizeof head);
    tn_sha256_update(h, a->ids, (size_t)a->n * 4);
}

static tn_status content_hash(tn_pairs *p, tn_error *err)
{
    tn_sha256 *h = NULL;
    TN_TRY(tn_sha256_create(&h, err));
    for (int64_t i = 0; i < p->n; i++) {
        answer_hash(h, &p->pair[i].chosen);
        answer_hash(h, &p->pair[i].rejected);
        tn_sha256_update(h, &p->pair[i].p, 4);
        if (p->pair[i].weight_16 != 65536) tn_sha256_update(h, &p->pair[i].weight_16, 4);
        tn_sha256_update(h, &p->pair[i].principle, 4);
    }
    for (int i = 0; i < p->n_principle; i++)
        tn_sha256_update(h, p->principle[i], strlen(p->principle[i]) + 1);
    tn_sha256_final(h, &p->content);
    tn_sha256_destroy(h);
    return TN_OK;
}

tn_status tn_pairs_load(tn_pairs *out, const char *const *paths, int n_path, const tn_tokenizer *t,
                        const tn_chat *chat, int64_t n_ctx, tn_error *err)
{
    tn_status status = TN_OK;
    loader    l = { .p = out, .t = t, .chat = chat, .n_ctx = n_ctx };

    *out = (tn_pairs){ 0 };
    if ((out->first = calloc((size_t)n_path + 1, sizeof *out->first)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the pairs");
    for (int i = 0; i < n_path; i++) {
        TN_GOTO(tn_data_each_file(paths[i], file_load, &l, err));
        out->first[i + 1] = out->n;
    }
    if (out->n == 0) {
        status = tn_fail(err, TN_FORMAT,
                         "%s%s: no usable pair: %lld are over n_ctx %lld tokens, %lld have equal sides, %lld "
                         "have weight 0",
                         n_path > 0 ? paths[0] : "", n_path > 1 ? " and the others" : "",
                         (long long)out->n_overlong, (long long)n_ctx, (long long)out->n_equal,
                         (long long)out->n_weightless);
        goto out;
    }
    TN_GOTO(content_hash(out, err));
out:
    if (status != TN_OK) tn_pairs_free(out);
    return status;
}
