/* chat_render.c - a conversation to ids and the mask of what is trained.
 *
 *   <|im_start|>assistant ⏎ Paris. <|im_end|> ⏎        marks become their ids; the text between two marks is tokenised as
 *   -------------------------- 1111111111111111 --     one, because "⏎Paris" may tokenise otherwise than "⏎" and "Paris"
 *
 * What people wrote is never searched for special tokens. Where an answer begins inside such a text, the
 * first trained token is the first one that differs from the tokens of the text before it. */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

typedef struct renderer {
    const tn_tokenizer *t;
    uint8_t            *skip; /* [n_added] marks of this format that are no control tokens */
    int32_t           **ids;
    uint8_t           **mask;
    size_t             *n, *cap;
    size_t              mask_cap;
    tn_str              text;         /* waiting to be tokenised */
    tn_str             *out;          /* not NULL: the text itself is wanted, and no ids */
    size_t              trained_from; /* in text; SIZE_MAX: nothing of it is trained */
    /* in text: where the format begins to end the answer; SIZE_MAX: not in it */
    size_t  end_from;
    uint8_t mark;   /* what the mask gets for a trained token ... */
    bool    ending; /* ... and TN_MASK_END, while the answer is ended */
    bool    after_special;
    bool    strip_front; /* the mark before takes the white space behind it (rstrip) */
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

static tn_status put_id(renderer *r, int32_t id, uint8_t mark, tn_error *err)
{
    tn_ids ids = { r->ids, r->n, r->cap, false };

    if (r->out != NULL) {
        size_t      len;
        const char *piece = tn_tokenizer_piece(r->t, id, &len);
        tn_str_add_n(r->out, piece, len);
        return TN_OK;
    }
    tn_ids_put(&ids, id);
    if (ids.failed) return tn_fail(err, TN_NOMEM, "no memory for a conversation of %zu tokens", *r->n);
    TN_TRY(grow_mask(r, err));
    if (r->mask != NULL) (*r->mask)[*r->n - 1] = mark;
    return TN_OK;
}

/* How many of the ids (of r->text) come before the byte `at`: by adding up their bytes, where these give the
 * text back. */
static size_t ids_before(const renderer *r, const int32_t *ids, size_t n, size_t at)
{
    size_t total = 0, len, k, front;

    for (size_t i = 0; i < n; i++) {
        tn_pool_at(&r->t->bytes, ids[i], &len);
        total += len;
    }
    front = total - r->text.len; /* SentencePiece may have put a space in front */
    if (total < r->text.len || front > (r->t->add_space ? 1u : 0u)) return SIZE_MAX;
    for (k = 0, total = 0; k < n; k++) {
        tn_pool_at(&r->t->bytes, ids[k], &len);
        if (total + len > at + front) break;
        total += len;
    }
    return k;
}

/* The token of those from `start` on in which the byte `at` of the text lies: by their bytes, else, where a
 * normaliser changed the text, by the tokens of the text before. */
static tn_status token_at(const renderer *r, size_t start, size_t at, size_t *out, tn_error *err)
{
    int32_t  *head = NULL;
    size_t    n_head = 0, cap = 0, k = ids_before(r, *r->ids + start, *r->n - start, at);
    tn_status status = TN_OK;

    if (k == SIZE_MAX) {
        status = tn_encode_fragment(r->t, r->text.p, at, start == 0, r->after_special, r->skip, &head,
                                    &n_head, &cap, err);
        for (k = 0; k < *r->n - start && k < n_head && (*r->ids)[start + k] == head[k];) k++;
        free(head);
    }
    *out = start + k;
    return status;
}

/* What the marks on either side take of the text that waits, as they do when the whole is tokenised. */
static void strip_waiting(renderer *r, bool end)
{
    size_t begin = r->strip_front ? tn_added_space_after((const uint8_t *)r->text.p, 0, r->text.len) : 0;
    size_t stop = end ? tn_added_space_before((const uint8_t *)r->text.p, begin, r->text.len) : r->text.len;

    memmove(r->text.p, r->text.p + begin, stop - begin);
    r->text.len = stop - begin;
    r->text.p[r->text.len] = '\0';
    for (int k = 0; k < 2; k++) {
        size_t *from = k == 0 ? &r->trained_from : &r->end_from;

        if (*from != SIZE_MAX) *from = *from > begin ? *from - begin : 0;
        if (*from != SIZE_MAX && *from > r->text.len) *from = r->text.len;
    }
}

/* Nothing waits any more. An answer that was empty ends here: what follows is not trained. */
static void waiting_done(renderer *r)
{
    tn_str_clear(&r->text);
    r->trained_from = r->end_from = SIZE_MAX;
}

/* Tokenises what waits. lstrip: the mark that follows takes the white space at its end. */
static tn_status flush(renderer *r, bool lstrip, tn_error *err)
{
    size_t start = r->out == NULL ? *r->n : 0, first, end = SIZE_MAX;

    if (r->text.failed) return tn_fail(err, TN_NOMEM, "no memory for a conversation");
    if (r->out != NULL && r->text.len > 0) tn_str_add_n(r->out, r->text.p, r->text.len);
    else if (r->text.len > 0) {
        if (r->strip_front || lstrip) strip_waiting(r, lstrip);
        r->strip_front = false;
    }
    if (r->out != NULL || r->text.len == 0) {
        waiting_done(r);
        return TN_OK;
    }
    TN_TRY(tn_encode_fragment(r->t, r->text.p, r->text.len, start == 0, r->after_special, r->skip, r->ids,
                              r->n, r->cap, err));
    TN_TRY(grow_mask(r, err));
    first = *r->n;
    if (r->mask != NULL && r->trained_from != SIZE_MAX)
        TN_TRY(token_at(r, start, r->trained_from, &first, err));
    if (r->mask != NULL && r->end_from != SIZE_MAX) TN_TRY(token_at(r, start, r->end_from, &end, err));
    for (size_t i = start; r->mask != NULL && i < *r->n; i++)
        (*r->mask)[i] = i < first ? 0 : i < end ? r->mark : r->mark | TN_MASK_END;
    waiting_done(r);
    r->after_special = false;
    return TN_OK;
}

static const tn_added *added_of(const tn_tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].id == id) return &t->added[i];
    return NULL;
}

/* Text of the format: its special tokens become ids, and "\1" is the vocabulary's EOS. Plain text of it is
 * trained only as part of an answer (`trained`). */
static tn_status put_format(renderer *r, const char *text, bool trained, tn_error *err)
{
    size_t  n = strlen(text), at = 0, begin = 0, end;
    int32_t index;

    while (at < n) {
        const char *eos = memchr(text + at, '\1', n - at);
        size_t      stop = eos != NULL && r->t->eos >= 0 ? (size_t)(eos - text) : n;
        int32_t     id = r->t->eos;

        if (tn_added_find(r->t, false, true, (const uint8_t *)text, stop, at, &begin, &end, &index))
            id = r->t->added[index].id;
        else if (stop < n) end = (begin = stop) + 1;
        else break;
        if (trained && begin > at && r->trained_from == SIZE_MAX) r->trained_from = r->text.len;
        tn_str_add_n(&r->text, text + at, begin - at);
        const tn_added *mark = added_of(r->t, id);
        TN_TRY(flush(r, mark != NULL && mark->lstrip, err));
        TN_TRY(put_id(r, id, !trained ? 0 : r->ending ? r->mark | TN_MASK_END : r->mark, err));
        r->after_special = true;
        r->strip_front = mark != NULL && mark->rstrip;
        at = end;
    }
    if (trained && at < n && r->trained_from == SIZE_MAX) r->trained_from = r->text.len;
    for (; at < n; at++)
        if (text[at] != '\1') tn_str_add_char(&r->text, text[at]);
    return TN_OK;
}

/* What someone wrote: [p, p + n). */
static void put_content(renderer *r, const char *p, size_t n, bool trained)
{
    if (trained && r->trained_from == SIZE_MAX) r->trained_from = r->text.len;
    tn_str_add_n(&r->text, p, n);
}

/* Without the white space at its ends, as Python's strip sees it. */
static void trim(const char **p, size_t *n, bool front)
{
    const uint8_t *s = (const uint8_t *)*p;
    size_t         begin = 0, end = *n, len;

    while (front && begin < end && (len = tn_uc_char_bytes(s + begin, end - begin)) != 0 &&
           ((tn_uc_mask(tn_uc_decode(s + begin, &len)) & TN_UC_SPACE) != 0 ||
            (s[begin] >= 0x1c && s[begin] <= 0x1f)))
        begin += len;
    while (end > begin) {
        size_t at = end - 1;

        while (at > begin && (s[at] & 0xc0) == 0x80) at--;
        if (tn_uc_char_bytes(s + at, end - at) != end - at) break;
        if ((tn_uc_mask(tn_uc_decode(s + at, &len)) & TN_UC_SPACE) == 0 && !(s[at] >= 0x1c && s[at] <= 0x1f))
            break;
        end = at;
    }
    *p += begin;
    *n = end - begin;
}

/* Marks that the vocabulary does not call special must not be found in what people write either. */
static void skip_marks(renderer *r, const tn_chat_layout *l)
{
    const char *const parts[] = { l->system_before,
                                  l->system_after,
                                  l->user_before,
                                  l->user_after,
                                  l->answer_before,
                                  l->stop,
                                  l->after_stop,
                                  l->opening != NULL ? l->opening : "",
                                  l->earlier_stop != NULL ? l->earlier_stop : "" };

    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        size_t  n = strlen(parts[k]), at = 0, end;
        int32_t index;

        for (; tn_added_find(r->t, false, true, (const uint8_t *)parts[k], n, at, &at, &end, &index);
             at = end)
            r->skip[index] = 1;
    }
}

/* The conversation as it is walked. */
typedef struct walk {
    const tn_chat_layout *l;
    const tn_message     *messages;
    int                   turn;         /* TN_TURN_ */
    size_t                n, last_user; /* index of the last user message; n if there is none */
    const char           *system;       /* waits to stand in a user text */
    const char           *default_system;
} walk;

/* SmolLM3 puts its own headings around the system text, in which words beginning with / are switches. */
static tn_status render_smollm3_system(renderer *r, const walk *w, const char *text, tn_error *err)
{
    size_t n = strlen(text);

    if (text != w->default_system && (strstr(text, "/think") != NULL || strstr(text, "/no_think") != NULL ||
                                      strstr(text, "/system_override") != NULL))
        return tn_fail(err, TN_UNSUPPORTED,
                       "the system text holds a switch of SmolLM3's (/think, /no_think or /system_override), "
                       "which is not "
                       "supported: leave it out");
    while (n > 0 && strchr(" \t\r\n\v\f", text[n - 1]) != NULL) n--;
    if (n == 0 && w->default_system != NULL) n = strlen(text = w->default_system);
    TN_TRY(put_format(r, w->l->system_before, false, err));
    if ((w->l->ways & TN_WAY_DATES) != 0) TN_TRY(put_format(r, "Today Date: 26 July 2024\n", false, err));
    TN_TRY(put_format(r, "Reasoning Mode: /think\n\n## Custom Instructions\n\n", false, err));
    put_content(r, text, n, false);
    return put_format(r, w->l->system_after, false, err);
}

static tn_status render_system(renderer *r, const walk *w, const char *text, tn_error *err)
{
    size_t n = strlen(text);

    if (w->l->format == TN_CHAT_SMOLLM3) return render_smollm3_system(r, w, text, err);
    if (n == 0 && (w->l->format == TN_CHAT_HARMONY || (w->l->ways & TN_WAY_SKIP_EMPTY) != 0)) return TN_OK;
    if ((w->l->ways & TN_WAY_TRIM_SYSTEM) != 0) trim(&text, &n, true);
    TN_TRY(put_format(r, w->l->system_before, false, err));
    /* Pinned: a prompt must not change from day to day. */
    if ((w->l->ways & TN_WAY_DATES) != 0)
        TN_TRY(
            put_format(r, "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n", false, err));
    put_content(r, text, n, false);
    if ((w->l->ways & TN_WAY_NO_FUNCTIONS) != 0 && text != w->default_system)
        TN_TRY(put_format(r, " " TN_CHAT_NO_FUNCTIONS, false, err));
    return put_format(r, w->l->system_after, false, err);
}

static tn_status render_user(renderer *r, walk *w, size_t i, tn_error *err)
{
    const tn_chat_layout *l = w->l;
    const char           *text = w->messages[i].content;
    size_t                n = strlen(text);
    bool with_system = w->system != NULL && ((l->ways & TN_WAY_SYSTEM_LAST) == 0 || i == w->last_user);

    if ((l->ways & TN_WAY_BOS_EACH) != 0 && r->t->bos >= 0) {
        TN_TRY(flush(r, false, err));
        TN_TRY(put_id(r, r->t->bos, 0, err));
        r->after_special = true;
    }
    TN_TRY(put_format(r, l->user_before, false, err));
    if (with_system) {
        TN_TRY(put_format(r, l->system_before, false, err));
        put_content(r, w->system, strlen(w->system), false);
        TN_TRY(put_format(r, l->system_after, false, err));
        TN_TRY(put_format(r, l->join, false, err));
        w->system = NULL;
    }
    /* Llama 2 strips the system and the user text as one: what stands behind a system text keeps its
     * front. */
    if ((l->ways & TN_WAY_TRIM_USER) != 0) trim(&text, &n, !(with_system && l->system_after[0] != '\0'));
    put_content(r, text, n, false);
    return put_format(r, l->user_after, false, err);
}

/* What the turn of an answer opens with: the last of its text that the model does not write itself. */
static const char *prompt_of(const tn_chat_layout *l)
{
    return l->prompt != NULL ? l->prompt : l->answer_before;
}

/* What stands before every answer of a model that can think and is asked not to. */
static const char *closed_thought(const tn_chat_layout *l)
{
    return (l->ways & TN_WAY_CLOSED_THINK) != 0  ? "<think></think>"
           : (l->ways & TN_WAY_CLOSE_THINK) != 0 ? "</think>"
                                                 : "";
}

/* Qwen 3 writes an answer behind the last user text with its thought, the last one with an empty block if it
 * has none; all lose the line ends around them. The block is trained, the empty one too: the prompt that the
 * model answers to ends before it. The others lose the thought. *text becomes what follows. */
static tn_status render_block(renderer *r, const char **text, bool behind, bool last, tn_error *err)
{
    const char *begin = *text, *end = strstr(begin, "</think>"), *next;
    bool        own = end != NULL;

    if (own) {
        for (*text = next = end; (next = strstr(next, "</think>")) != NULL; next += strlen("</think>"))
            *text = next + strlen("</think>");
        for (; (next = strstr(begin, "<think>")) != NULL && next < end;) begin = next + strlen("<think>");
        while (begin < end && *begin == '\n') begin++;
        while (end > begin && end[-1] == '\n') end--;
        while (**text == '\n') ++*text;
    }
    if (!behind || (!last && (!own || begin == end))) return TN_OK;
    while (**text == '\n') ++*text;
    if (!own) return put_format(r, "<think>\n\n</think>\n\n", true, err);
    TN_TRY(put_format(r, "<think>\n", true, err));
    put_content(r, begin, (size_t)(end - begin), true);
    return put_format(r, "\n</think>\n\n", true, err);
}

/* Was the answer cut off before its thought had ended? Then the block that opens it is its own. */
static bool in_thought(const walk *w, const char *text)
{
    while (*text == '\n') text++;
    return (w->turn & TN_TURN_CUT) != 0 && tn_starts_with(text, "<think>") &&
           strstr(text, "</think>") == NULL;
}

static tn_status render_answer(renderer *r, const walk *w, size_t i, tn_error *err)
{
    const tn_chat_layout *l = w->l;
    const char           *text = w->messages[i].content, *thought = strstr(text, "</think>"), *next;
    bool                  block = (l->ways & TN_WAY_EMPTY_THINK) != 0;
    bool                  earlier = w->last_user < w->n && i < w->last_user, last;
    bool                  each = (w->turn & TN_TURN_EACH) != 0;
    const char           *prompt = prompt_of(l);
    size_t                n;

    r->mark = i + 1 == w->n ? TN_MASK_TRAINED | TN_MASK_LAST : TN_MASK_TRAINED;
    if (!block && (l->ways & TN_WAY_CUT_THINKING) != 0 && thought != NULL &&
        (earlier || l->format == TN_CHAT_DEEPSEEK3)) {
        while ((l->ways & (TN_WAY_CLOSED_THINK | TN_WAY_CLOSE_THINK)) == 0 &&
               (next = strstr(thought + 1, "</think>")) != NULL)
            thought = next;
        text = thought + strlen("</think>");
        while (l->format == TN_CHAT_CHATML && *text == '\n') text++;
    }
    while ((l->ways & TN_WAY_TRIM_LINES) != 0 && *text == '\n') text++;
    /* What the prompt of an open turn ends with is given; what stands between it and the answer, the model has
     * to write. */
    TN_TRY(put_format(r, prompt, false, err));
    TN_TRY(put_format(r, l->answer_before + strlen(prompt), true, err));
    TN_TRY(put_format(r, closed_thought(l), false, err));
    if (block && !(i + 1 == w->n && in_thought(w, text)))
        TN_TRY(render_block(r, &text, each || w->last_user < i, each || i + 1 == w->n, err));
    n = strlen(text);
    if ((l->ways & TN_WAY_TRIM_ANSWER) != 0) trim(&text, &n, true);
    if ((l->ways & TN_WAY_ANSWER_SPACE) != 0) put_content(r, " ", 1, true);
    put_content(r, text, n, true);
    r->end_from = r->text.len;
    r->ending = true;
    if ((l->ways & TN_WAY_STOP_SPACE) != 0) put_content(r, " ", 1, true);
    last = i + 1 == w->n && (w->turn & TN_TURN_OPEN) == 0;
    TN_TRY(put_format(r, l->earlier_stop != NULL && !last ? l->earlier_stop : l->stop, true, err));
    /* a vocabulary without this stop token: what follows is not trained */
    if (r->trained_from != SIZE_MAX) TN_TRY(flush(r, false, err));
    r->ending = false;
    return (l->ways & TN_WAY_LAST_BARE) != 0 && i + 1 == w->n ? TN_OK
                                                              : put_format(r, l->after_stop, false, err);
}

/* What a model would write between its prompt and an answer's text, were its thought empty. */
static tn_status render_lead(renderer *r, const tn_chat_layout *l, tn_error *err)
{
    TN_TRY(put_format(r, l->answer_before + strlen(prompt_of(l)), false, err));
    if ((l->ways & TN_WAY_EMPTY_THINK) != 0) TN_TRY(put_format(r, "<think>\n\n</think>\n\n", false, err));
    if ((l->ways & (TN_WAY_OPEN_THINK | TN_WAY_OPEN_BARE)) != 0)
        TN_TRY(put_format(r, "\n</think>\n\n", false, err));
    return TN_OK;
}

static bool out_of_turn(const walk *w, size_t i)
{
    const char *role = w->messages[i].role;
    bool        after_user = i > 0 && strcmp(w->messages[i - 1].role, "user") == 0;

    return (w->l->ways & TN_WAY_ALTERNATE) != 0 && strcmp(role, after_user ? "user" : "assistant") == 0;
}

static tn_status render_message(renderer *r, walk *w, size_t i, tn_error *err)
{
    const tn_message *m = &w->messages[i];

    if (out_of_turn(w, i))
        return tn_fail(err, TN_FORMAT,
                       "message %zu has the role '%s'; in the chat format %s user and assistant must "
                       "alternate, beginning with user",
                       i + 1, m->role, w->l->name);
    if (strcmp(m->role, "user") == 0) return render_user(r, w, i, err);
    if (strcmp(m->role, "assistant") == 0) return render_answer(r, w, i, err);
    if (strcmp(m->role, "system") != 0)
        return tn_fail(err, TN_FORMAT, "message %zu has the role '%s'; roles are system, user and assistant",
                       i + 1, m->role);
    if ((w->l->ways & TN_WAY_NO_SYSTEM) != 0)
        return tn_fail(err, TN_UNSUPPORTED,
                       "the model's chat format (%s) has no place for a system message: put its text in the "
                       "first user message",
                       w->l->name);
    if ((w->l->ways & (TN_WAY_SYSTEM_FIRST | TN_WAY_SYSTEM_LAST)) != 0) {
        if (i > 0 || w->last_user == w->n)
            return tn_fail(err, TN_FORMAT,
                           "message %zu is a system message; in the chat format %s it must be the first, "
                           "before a user message",
                           i + 1, w->l->name);
        w->system = m->content;
        return TN_OK;
    }
    if (i > 0 && tn_chat_system_in_front(w->l->format))
        return tn_fail(err, TN_FORMAT,
                       "message %zu is a system message; in the chat format %s it must be the first", i + 1,
                       w->l->name);
    return render_system(r, w, m->content, err);
}

static tn_status render_all(renderer *r, const tn_chat *chat, const tn_message *messages, size_t n_message,
                            int turn, tn_error *err)
{
    tn_status      status = TN_OK;
    tn_chat_layout l;
    walk           w = { .l = &l,
                         .messages = messages,
                         .n = n_message,
                         .last_user = n_message,
                         .turn = turn,
                         .default_system = chat->default_system };
    bool           begins_with_system = n_message > 0 && strcmp(messages[0].role, "system") == 0;

    if (!tn_chat_layout_of(chat, &l))
        return tn_fail(err, TN_USAGE, "the model has no chat format: choose one with --chat-format");
    if ((r->skip = calloc(r->t->n_added + 1, 1)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a conversation");
    skip_marks(r, &l);
    for (size_t i = 0; i < n_message; i++)
        if (strcmp(messages[i].role, "user") == 0) w.last_user = i;
    if ((l.ways & TN_WAY_BOS) != 0 && r->t->bos >= 0) TN_GOTO(put_id(r, r->t->bos, 0, err));
    if (l.opening != NULL) TN_GOTO(put_format(r, l.opening, false, err));
    if (!begins_with_system && chat->default_system != NULL && (l.ways & TN_WAY_SYSTEM_FIRST) != 0)
        w.system = chat->default_system;
    else if (!begins_with_system && chat->default_system != NULL)
        TN_GOTO(render_system(r, &w, chat->default_system, err));
    else if (!begins_with_system && (l.ways & TN_WAY_DATES) != 0) TN_GOTO(render_system(r, &w, "", err));
    for (size_t i = 0; i < n_message; i++) TN_GOTO(render_message(r, &w, i, err));
    if ((turn & TN_TURN_OPEN) != 0) {
        TN_GOTO(put_format(r, prompt_of(&l), false, err));
        TN_GOTO(put_format(r, closed_thought(&l), false, err));
        if ((l.ways & TN_WAY_OPEN_THINK) != 0) TN_GOTO(put_format(r, "<think>\n", false, err));
        if ((l.ways & TN_WAY_OPEN_BARE) != 0) TN_GOTO(put_format(r, "<think>", false, err));
        if (turn == TN_TURN_ANSWERED) TN_GOTO(render_lead(r, &l, err));
    } else if ((l.ways & TN_WAY_FINAL_EOS) != 0) {
        TN_GOTO(put_format(r, "\1", false, err));
    }
    TN_GOTO(flush(r, false, err));
out:
    tn_str_free(&r->text);
    free(r->skip);
    return status;
}

tn_status tn_chat_render(const tn_tokenizer *t, const tn_chat *chat, const tn_message *messages,
                         size_t n_message, int turn, int32_t **ids, uint8_t **mask, size_t *n, size_t *cap,
                         tn_error *err)
{
    renderer r = { .t = t,
                   .ids = ids,
                   .mask = mask,
                   .n = n,
                   .cap = cap,
                   .trained_from = SIZE_MAX,
                   .end_from = SIZE_MAX,
                   .after_special = true };

    r.mask_cap = mask != NULL && *mask != NULL ? *cap : 0;
    return render_all(&r, chat, messages, n_message, turn, err);
}

tn_status tn_chat_text(const tn_tokenizer *t, const tn_chat *chat, const tn_message *messages,
                       size_t n_message, int turn, char **out, tn_error *err)
{
    tn_str   s = { 0 };
    renderer r = { .t = t, .out = &s, .trained_from = SIZE_MAX, .end_from = SIZE_MAX, .after_special = true };
    tn_status status = render_all(&r, chat, messages, n_message, turn, err);

    *out = NULL;
    if (status == TN_OK) status = tn_str_check(&s, err);
    if (status == TN_OK && (*out = tn_str_take(&s)) == NULL)
        status = tn_fail(err, TN_NOMEM, "no memory for a conversation");
    tn_str_free(&s);
    return status;
}
