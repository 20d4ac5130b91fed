/* pairs.c - preference pairs: two answers to one prompt, rendered, with the border between prompt and answer.
 *
 * The border is found from the chat format (the length of the prompt with an open turn), never by tokenising the answer
 * alone. Pairs whose sides are equal teach nothing; over-long ones are left out whole, because a cut answer would be
 * compared with something nobody wrote. */
#include "data/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

enum { MAX_MESSAGES = 4096, MAX_PRINCIPLE = 4096 };

typedef struct loader {
    tn_pairs *p;
    int64_t cap;
    const tn_tokenizer *t;
    const tn_chat *chat;
    int64_t n_ctx;
} loader;

void tn_pairs_free(tn_pairs *p)
{
    for (size_t i = 0; i < p->n_chunk; i++) free(p->chunk[i]);
    for (int i = 0; i < p->n_principle; i++) free(p->principle[i]);
    free(p->chunk);
    free(p->principle);
    free(p->pair);
    *p = (tn_pairs){0};
}

static tn_status keep_ids(tn_pairs *p, int32_t *ids, tn_error *err)
{
    int32_t **list = realloc(p->chunk, (p->n_chunk + 1) * sizeof *list);
    if (list == NULL) { free(ids); return tn_fail(err, TN_NOMEM, "no memory for the pairs"); }
    p->chunk = list;
    p->chunk[p->n_chunk++] = ids;
    return TN_OK;
}

/* The prompt's messages are followed by the answer; m has room for one more. open: the answer was cut off where it was
 * sampled, so it has no stop token. */
static tn_status answer_render(loader *l, tn_message *m, size_t n, const char *answer, bool open_end, const char *where, tn_reply *out, tn_error *err)
{
    tn_status status;
    int32_t *open = NULL, *ids = NULL;
    size_t n_open = 0, n_ids = 0, cap_open = 0, cap = 0;

    *out = (tn_reply){0};
    if (l->chat != NULL) {
        m[n] = (tn_message){ "assistant", answer };
        status = tn_chat_render(l->t, l->chat, m, n, true, &open, NULL, &n_open, &cap_open, err);
        uint8_t *mask = NULL;
        if (status == TN_OK) status = tn_chat_render(l->t, l->chat, m, n + 1, false, &ids, &mask, &n_ids, &cap, err);
        if (status == TN_OK) {
            size_t first = n_open, last = n_ids;
            while (first < n_ids && !mask[first]) first++;   /* a mark that the open turn leaves out */
            while (last > first && !mask[last - 1]) last--;  /* what follows the stop token */
            n_open = first;
            n_ids = open_end && last > first ? last - 1 : last;
        }
        free(mask);
    } else {
        status = tn_tokenize(l->t, m[n - 1].content, strlen(m[n - 1].content), TN_TOK_BOS, &ids, &n_ids, &cap, err);
        n_open = n_ids;
        if (status == TN_OK) status = tn_tokenize(l->t, answer, strlen(answer), open_end ? 0 : TN_TOK_EOS, &ids, &n_ids, &cap, err);
        if (status == TN_OK && !open_end) status = tn_data_end(l->t, &ids, &n_ids, &cap, err);
    }
    free(open);
    if (status == TN_OK && (n_open < 1 || n_ids <= n_open))
        status = tn_fail(err, TN_FORMAT, "%s: the answer has no token, or the prompt is empty", where);
    if (status != TN_OK) {
        free(ids);
        return tn_fail_prefix(err, status, "%s", where);
    }
    if ((int64_t)n_ids > l->n_ctx) { free(ids); out->n = -1; return TN_OK; }
    *out = (tn_reply){ ids, (int32_t)n_ids, (int32_t)n_open };
    return keep_ids(l->p, ids, err);
}

static tn_status principle_find(tn_pairs *p, const char *name, int32_t *out, tn_error *err)
{
    *out = -1;
    if (name == NULL) return TN_OK;
    for (int i = 0; i < p->n_principle; i++)
        if (strcmp(p->principle[i], name) == 0) { *out = i; return TN_OK; }
    if (p->n_principle == MAX_PRINCIPLE) return tn_fail(err, TN_LIMIT, "more than %d different principles in the pairs", MAX_PRINCIPLE);
    char **list = realloc(p->principle, (size_t)(p->n_principle + 1) * sizeof *list);
    if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for the principles");
    p->principle = list;
    if ((list[p->n_principle] = tn_strdup(name)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for the principles");
    *out = p->n_principle++;
    return TN_OK;
}

/* The prompt as messages (content borrowed from the row). */
static tn_status prompt_read(const json_t *row, tn_message *m, size_t *n, const char *where, tn_error *err)
{
    const json_t *list = json_object_get(row, "messages"), *e;
    size_t i;
    *n = 0;
    if (list == NULL && json_is_array(json_object_get(row, "prompt"))) list = json_object_get(row, "prompt");
    if (list == NULL) {
        const char *prompt, *system = NULL;
        if (json_object_get(row, "system") != NULL && !json_is_null(json_object_get(row, "system"))) TN_TRY(tn_json_str(row, "system", &system, where, err));
        TN_TRY(tn_json_str(row, "prompt", &prompt, where, err));
        if (system != NULL) m[(*n)++] = (tn_message){ "system", system };
        m[(*n)++] = (tn_message){ "user", prompt };
        return TN_OK;
    }
    if (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) >= MAX_MESSAGES)
        return tn_fail(err, TN_FORMAT, "%s: \"messages\" must be a list of 1 to %d objects", where, MAX_MESSAGES - 1);
    json_array_foreach(list, i, e) {
        TN_TRY(tn_json_str(e, "role", &m[*n].role, where, err));
        TN_TRY(tn_json_str(e, "content", &m[*n].content, where, err));
        ++*n;
    }
    return TN_OK;
}

static tn_status row_load(loader *l, const json_t *row, const char *where, tn_error *err)
{
    tn_message m[MAX_MESSAGES + 1];
    size_t n;
    double p, weight;
    bool open, rejected_open;
    tn_pair pair = { .principle = -1 };
    tn_pairs *all = l->p;

    if (!json_is_object(row)) return tn_fail(err, TN_FORMAT, "%s: a row must be an object", where);
    TN_TRY(prompt_read(row, m, &n, where, err));
    TN_TRY(tn_json_real_or(row, "p", 1.0, &p, where, err));
    if (!(p >= 0 && p <= 1)) return tn_fail(err, TN_FORMAT, "%s: \"p\" is %g; a probability is from 0 to 1", where, p);
    pair.p = (float)p;
    TN_TRY(tn_json_real_or(row, "weight", 1.0, &weight, where, err));
    if (!(weight >= 0 && weight <= 16)) return tn_fail(err, TN_FORMAT, "%s: \"weight\" is %g; it must be from 0 to 16", where, weight);
    pair.weight_16 = (uint32_t)llround(weight * 65536.0);
    TN_TRY(tn_json_bool_or(row, "open", false, &open, where, err));
    TN_TRY(tn_json_bool_or(row, "rejected_open", false, &rejected_open, where, err));
    TN_TRY(principle_find(all, json_string_value(json_object_get(row, "principle")), &pair.principle, err));
    if (json_object_get(row, "chosen") != NULL) {
        const char *chosen, *rejected;
        TN_TRY(tn_json_str(row, "chosen", &chosen, where, err));
        TN_TRY(tn_json_str(row, "rejected", &rejected, where, err));
        if (strcmp(chosen, rejected) == 0) { all->n_equal++; return TN_OK; }
        TN_TRY(answer_render(l, m, n, chosen, open, where, &pair.chosen, err));
        TN_TRY(answer_render(l, m, n, rejected, rejected_open, where, &pair.rejected, err));
    } else {
        const char *completion;
        bool label;
        TN_TRY(tn_json_str(row, "completion", &completion, where, err));
        if (!json_is_boolean(json_object_get(row, "label")))
            return tn_fail(err, TN_FORMAT, "%s: a row needs \"chosen\" and \"rejected\", or \"completion\" and \"label\" (true or false)", where);
        label = json_is_true(json_object_get(row, "label"));
        TN_TRY(answer_render(l, m, n, completion, open, where, label ? &pair.chosen : &pair.rejected, err));
    }
    if (pair.chosen.n < 0 || pair.rejected.n < 0) { all->n_overlong++; return TN_OK; }
    if (pair.weight_16 == 0) { all->n_weightless++; return TN_OK; }      /* a batch of such would have no loss */
    if (all->n == l->cap) {
        int64_t cap = l->cap ? l->cap * 2 : 256;
        tn_pair *list = realloc(all->pair, (size_t)cap * sizeof *list);
        if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for %lld pairs", (long long)cap);
        all->pair = list;
        l->cap = cap;
    }
    all->pair[all->n++] = pair;
    return TN_OK;
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
    for (int i = 0; i < p->n_principle; i++) tn_sha256_update(h, p->principle[i], strlen(p->principle[i]) + 1);
    tn_sha256_final(h, &p->content);
    tn_sha256_destroy(h);
    return TN_OK;
}

tn_status tn_pairs_load(tn_pairs *out, const char *const *paths, int n_path, const tn_tokenizer *t, const tn_chat *chat,
                        int64_t n_ctx, tn_error *err)
{
    tn_status status = TN_OK;
    tn_jsonl *rows = NULL;
    json_t *row = NULL;
    loader l = { .p = out, .t = t, .chat = chat, .n_ctx = n_ctx };

    *out = (tn_pairs){0};
    for (int i = 0; i < n_path; i++) {
        TN_GOTO(tn_jsonl_open(&rows, paths[i], err));
        for (;;) {
            char where[512];
            status = tn_jsonl_next(rows, &row, err);
            if (status == TN_FORMAT && tn_jsonl_line(rows) <= 1)
                status = tn_fail_prefix(err, status, "a preference loss learns from rows {\"prompt\", \"chosen\", \"rejected\"}");
            TN_GOTO(status);
            if (row == NULL) break;
            snprintf(where, sizeof where, "%s:%lld", paths[i], (long long)tn_jsonl_line(rows));
            TN_GOTO(row_load(&l, row, where, err));
            json_decref(row);
            row = NULL;
            TN_GOTO(tn_interrupted(err));
        }
        tn_jsonl_close(rows);
        rows = NULL;
    }
    if (out->n == 0) {
        status = tn_fail(err, TN_FORMAT, "%s%s: no usable pair: %lld are over n_ctx %lld tokens, %lld have equal sides, %lld have weight 0", n_path > 0 ? paths[0] : "",
                         n_path > 1 ? " and the others" : "", (long long)out->n_overlong, (long long)n_ctx, (long long)out->n_equal, (long long)out->n_weightless);
        goto out;
    }
    TN_GOTO(content_hash(out, err));
out:
    json_decref(row);
    tn_jsonl_close(rows);
    if (status != TN_OK) tn_pairs_free(out);
    return status;
}
