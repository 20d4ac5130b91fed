/* chat_render.c - a conversation to ids and the mask of what is trained.
 *
 *   <|im_start|>assistant ⏎ Paris. <|im_end|> ⏎        marks become their ids; the text between two marks is tokenised as
 *   -------------------------- 1111111111111111 --     one, because "⏎Paris" may tokenise otherwise than "⏎" and "Paris"
 *
 * What people wrote is never searched for special tokens. Where an answer begins inside such a text, the first trained
 * token is the first one that differs from the tokens of the text before it. */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

typedef struct renderer {
    const tn_tokenizer *t;
    uint8_t            *skip;            /* [n_added] marks of this format that are no control tokens */
    int32_t           **ids;
    uint8_t           **mask;
    size_t             *n, *cap;
    size_t              mask_cap;
    tn_str              text;            /* waiting to be tokenised */
    size_t              trained_from;    /* in text; SIZE_MAX: nothing of it is trained */
    bool                after_special;
} renderer;

/* Gives the mask room for as many tokens as the ids have. */
static tn_status grow_mask(renderer *r, tn_error *err)
{
    if (r->mask == NULL) return TN_OK;
    if (r->mask_cap < *r->cap) {
        uint8_t *p = realloc(*r->mask, *r->cap);

        if (p == NULL) return tn_fail(err, TN_NOMEM, "no memory for the mask of %zu tokens", *r->n);
        *r->mask = p;
        r->mask_cap = *r->cap;
    }
    return TN_OK;
}

static tn_status put_id(renderer *r, int32_t id, bool trained, tn_error *err)
{
    tn_ids ids = { r->ids, r->n, r->cap, false };

    tn_ids_put(&ids, id);
    if (ids.failed) return tn_fail(err, TN_NOMEM, "no memory for a conversation of %zu tokens", *r->n);
    TN_TRY(grow_mask(r, err));
    if (r->mask != NULL) (*r->mask)[*r->n - 1] = trained;
    return TN_OK;
}

/* Tokenises what waits. */
static tn_status flush(renderer *r, tn_error *err)
{
    tn_status status = TN_OK;
    int32_t  *head = NULL;
    size_t    start = *r->n, first = SIZE_MAX, n_head = 0, head_cap = 0;

    if (r->text.failed) return tn_fail(err, TN_NOMEM, "no memory for a conversation");
    if (r->text.len == 0) return TN_OK;
    TN_GOTO(tn_encode_fragment(r->t, r->text.p, r->text.len, start == 0, r->after_special, r->skip, r->ids, r->n, r->cap, err));
    TN_GOTO(grow_mask(r, err));
    if (r->mask != NULL && r->trained_from != SIZE_MAX) {
        TN_GOTO(tn_encode_fragment(r->t, r->text.p, r->trained_from, start == 0, r->after_special, r->skip, &head, &n_head, &head_cap, err));
        for (first = start; first < *r->n && first - start < n_head && (*r->ids)[first] == head[first - start];) first++;
    }
    if (r->mask != NULL)
        for (size_t i = start; i < *r->n; i++) (*r->mask)[i] = i >= first;
    tn_str_clear(&r->text);
    r->trained_from = SIZE_MAX;
    r->after_special = false;
out:
    free(head);
    return status;
}

/* Text of the format: its special tokens become ids. */
static tn_status put_format(renderer *r, const char *text, bool trained, tn_error *err)
{
    size_t  n = strlen(text), at = 0, begin, end;
    int32_t index;

    while (tn_added_find(r->t, false, true, (const uint8_t *)text, n, at, &begin, &end, &index)) {
        tn_str_add_n(&r->text, text + at, begin - at);
        TN_TRY(flush(r, err));
        TN_TRY(put_id(r, r->t->added[index].id, trained, err));
        r->after_special = true;
        at = end;
    }
    tn_str_add_n(&r->text, text + at, n - at);
    return TN_OK;
}

/* What someone wrote. */
static void put_content(renderer *r, const char *text, bool trained)
{
    if (trained && r->trained_from == SIZE_MAX) r->trained_from = r->text.len;
    tn_str_add(&r->text, text);
}

/* Marks that the vocabulary does not call special must not be found in what people write either. */
static void skip_marks(renderer *r, const tn_chat_layout *l)
{
    const char *const parts[] = { l->system_before, l->system_after, l->user_before, l->user_after, l->answer_before, l->stop, l->after_stop };

    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        size_t  n = strlen(parts[k]), at = 0, end;
        int32_t index;

        for (; tn_added_find(r->t, false, true, (const uint8_t *)parts[k], n, at, &at, &end, &index); at = end) r->skip[index] = 1;
    }
}

static tn_status render_message(renderer *r, const tn_chat_layout *l, const tn_message *m, size_t i, tn_error *err)
{
    if (strcmp(m->role, "system") == 0) {
        TN_TRY(put_format(r, l->system_before, false, err));
        put_content(r, m->content, false);
        return put_format(r, l->system_after, false, err);
    }
    if (strcmp(m->role, "user") == 0) {
        TN_TRY(put_format(r, l->user_before, false, err));
        put_content(r, m->content, false);
        return put_format(r, l->user_after, false, err);
    }
    if (strcmp(m->role, "assistant") == 0) {
        TN_TRY(put_format(r, l->answer_before, false, err));
        put_content(r, m->content, true);
        TN_TRY(put_format(r, l->stop, true, err));
        return put_format(r, l->after_stop, false, err);
    }
    return tn_fail(err, TN_FORMAT, "message %zu has the role '%s'; roles are system, user and assistant", i, m->role);
}

tn_status tn_chat_render(const tn_tokenizer *t, const tn_chat *chat, const tn_message *messages, size_t n_message, bool open_turn,
                         int32_t **ids, uint8_t **mask, size_t *n, size_t *cap, tn_error *err)
{
    tn_status             status = TN_OK;
    const tn_chat_layout *l = tn_chat_layout_of(chat->format);
    renderer              r = { .t = t, .ids = ids, .mask = mask, .n = n, .cap = cap, .trained_from = SIZE_MAX, .after_special = true };

    if (l == NULL) return tn_fail(err, TN_USAGE, "the model has no chat format: choose one with --chat-format");
    r.mask_cap = mask != NULL && *mask != NULL ? *cap : 0;
    if ((r.skip = calloc(t->n_added + 1, 1)) == NULL) return tn_fail(err, TN_NOMEM, "no memory for a conversation");
    skip_marks(&r, l);
    if (l->bos && t->bos >= 0) TN_GOTO(put_id(&r, t->bos, false, err));
    if (chat->default_system != NULL && (n_message == 0 || strcmp(messages[0].role, "system") != 0)) {
        tn_message m = { "system", chat->default_system };

        TN_GOTO(render_message(&r, l, &m, 0, err));
    }
    for (size_t i = 0; i < n_message; i++) TN_GOTO(render_message(&r, l, &messages[i], i, err));
    if (open_turn) TN_GOTO(put_format(&r, l->answer_before, false, err));
    TN_GOTO(flush(&r, err));
out:
    tn_str_free(&r.text);
    free(r.skip);
    return status;
}
