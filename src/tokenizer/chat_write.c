/* chat_write.c - a format as the text of a chat template, for a model whose own template says something else,
 * or that has none.
 *
 *   layout (chat.c) ──→ one line of Jinja ──→ tokenizer_config.json, tokenizer.chat_template      other programs execute it
 *                                          └─→ chat_recognise.c knows its own text again, to the byte
 *
 * What it writes for a conversation is what chat_render.c makes of it; tests/tokenizer/compare_templates.py
 * holds the two together. */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

/* text[0 .. n) as a literal. */
static void put_literal(tn_str *s, const char *text, size_t n)
{
    tn_str_add_char(s, '\'');
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n') {
            tn_str_add(s, "\\n");
            continue;
        }
        if (text[i] == '\'' || text[i] == '\\') tn_str_add_char(s, '\\');
        tn_str_add_char(s, text[i]);
    }
    tn_str_add_char(s, '\'');
}

/* {{ 'text' }}; nothing for an empty text. EOS stands by its name, as text of its own: a model without one
 * has no such name to add. */
static void put_text(tn_str *s, const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\1");

        if (n > 0) {
            tn_str_add(s, "{{ ");
            put_literal(s, text, n);
            tn_str_add(s, " }}");
        }
        if (text[n] == '\1') tn_str_add(s, "{{ eos_token }}");
        text += n + (text[n] == '\1');
    }
}

/* What SmolLM3 writes around a system text, or in its place (content NULL), as chat_render.c does. */
static void put_smollm3_system(tn_str *s, const tn_chat_layout *l, const char *content)
{
    put_text(s, l->system_before);
    put_text(s, "Today Date: 26 July 2024\nReasoning Mode: /think\n\n## Custom Instructions\n\n");
    if (content != NULL) tn_str_add(s, content);
    put_text(s, l->system_after);
}

static void put_content(tn_str *s, bool trim)
{
    tn_str_add(s, trim ? "{{ message['content'] | trim }}" : "{{ message['content'] }}");
}

/* A system text that stands inside a user text is taken out of the conversation first. */
static void put_inner_system(tn_str *s, const tn_chat_layout *l)
{
    tn_str_add(s, "{% set ns = namespace(system='', last=-1) %}{% if messages and messages[0]['role'] == "
                  "'system' %}{% set ns.system = ");
    put_literal(s, l->system_before, strlen(l->system_before));
    tn_str_add(s, " + messages[0]['content'] + ");
    put_literal(s, l->system_after, strlen(l->system_after));
    tn_str_add(s, " + ");
    put_literal(s, l->join, strlen(l->join));
    tn_str_add(s, " %}{% set messages = messages[1:] %}{% endif %}");
    if ((l->ways & TN_WAY_SYSTEM_LAST) != 0)
        tn_str_add(s, "{% for message in messages %}{% if message['role'] == 'user' %}{% set ns.last = "
                      "loop.index0 %}{% endif %}{% endfor %}");
}

static void put_user(tn_str *s, const tn_chat_layout *l)
{
    bool inner = (l->ways & (TN_WAY_SYSTEM_FIRST | TN_WAY_SYSTEM_LAST)) != 0,
         trim = (l->ways & TN_WAY_TRIM_USER) != 0;

    if ((l->ways & TN_WAY_BOS_EACH) != 0) tn_str_add(s, "{{ bos_token }}");
    put_text(s, l->user_before);
    if (inner) {
        tn_str_addf(s, "{%% if %s %%}",
                    (l->ways & TN_WAY_SYSTEM_LAST) != 0 ? "loop.index0 == ns.last" : "ns.system");
        /* A system text that closes with marks keeps the front of what follows: the two are stripped as
         * one. */
        if (trim && l->system_after[0] != '\0')
            tn_str_add(s, "{{ (ns.system + message['content']) | trim }}");
        else {
            tn_str_add(s, "{{ ns.system }}");
            put_content(s, trim);
        }
        tn_str_add(s, "{% set ns.system = '' %}{% else %}");
    }
    put_content(s, trim);
    if (inner) tn_str_add(s, "{% endif %}");
    put_text(s, l->user_after);
}

static void put_answer(tn_str *s, const tn_chat_layout *l)
{
    put_text(s, l->answer_before);
    if ((l->ways & TN_WAY_ANSWER_SPACE) != 0) put_text(s, " ");
    if ((l->ways & TN_WAY_TRIM_LINES) != 0) tn_str_add(s, "{{ message['content'].lstrip('\\n') }}");
    else put_content(s, (l->ways & TN_WAY_TRIM_ANSWER) != 0);
    if ((l->ways & TN_WAY_STOP_SPACE) != 0) put_text(s, " ");
    if (l->earlier_stop != NULL) {
        tn_str_add(s, "{% if loop.last and not add_generation_prompt %}");
        put_text(s, l->stop);
        tn_str_add(s, "{% else %}");
        put_text(s, l->earlier_stop);
        tn_str_add(s, "{% endif %}");
    } else put_text(s, l->stop);
    if ((l->ways & TN_WAY_LAST_BARE) != 0) tn_str_add(s, "{% if not loop.last %}");
    put_text(s, l->after_stop);
    if ((l->ways & TN_WAY_LAST_BARE) != 0) tn_str_add(s, "{% endif %}");
}

static void put_system(tn_str *s, const tn_chat_layout *l)
{
    bool inner = (l->ways & (TN_WAY_SYSTEM_FIRST | TN_WAY_SYSTEM_LAST)) != 0;

    if (inner || (l->ways & TN_WAY_NO_SYSTEM) != 0) return;
    tn_str_addf(s, "{%% elif message['role'] == 'system'%s %%}",
                tn_chat_system_in_front(l->format) ? " and loop.first" : "");
    if (l->format == TN_CHAT_SMOLLM3) {
        tn_str_add(s, "{% if '/think' in message['content'] or '/no_think' in message['content'] or "
                      "'/system_override' in message['content'] %}"
                      "{{ raise_exception('switches in the system text are not supported') }}{% endif %}");
        put_smollm3_system(s, l, "{{ message['content'].rstrip() }}");
        return;
    }
    if (l->format == TN_CHAT_HARMONY) tn_str_add(s, "{% if message['content'] %}");
    put_text(s, l->system_before);
    put_content(s, (l->ways & TN_WAY_TRIM_SYSTEM) != 0);
    put_text(s, l->system_after);
    if (l->format == TN_CHAT_HARMONY) tn_str_add(s, "{% endif %}");
}

int32_t tn_chat_stop(const tn_chat *chat, const tn_tokenizer *t)
{
    tn_chat_layout l;

    if (t == NULL || !tn_chat_layout_of(chat, &l) || l.stop == NULL) return -1;
    return l.stop[0] == '\1' ? tn_tokenizer_eos(t) : tn_tokenizer_find(t, l.stop);
}

bool tn_chat_is_stop(const tn_chat *chat, const tn_tokenizer *t, int32_t id)
{
    return tn_tokenizer_is_stop(t, id) ||
           (chat != NULL && tn_tokenizer_is_special(t, id) && tn_chat_stop(chat, t) == id);
}

tn_status tn_chat_template(char **out, tn_chat_format format, tn_error *err)
{
    tn_str         s = { 0 };
    tn_chat        chat = { .format = format };
    tn_chat_layout l;

    *out = NULL;
    if (!tn_chat_layout_of(&chat, &l))
        return tn_fail(err, TN_USAGE, "the model has no chat format to be written into it");
    if ((l.ways & TN_WAY_BOS) != 0) tn_str_add(&s, "{{ bos_token }}");
    if (l.opening != NULL) put_text(&s, l.opening);
    if (format == TN_CHAT_SMOLLM3) {
        tn_str_add(&s, "{% if not messages or messages[0]['role'] != 'system' %}");
        put_smollm3_system(&s, &l, NULL);
        tn_str_add(&s, "{% endif %}");
    }
    if ((l.ways & (TN_WAY_SYSTEM_FIRST | TN_WAY_SYSTEM_LAST)) != 0) put_inner_system(&s, &l);
    tn_str_add(&s, "{% for message in messages %}{% if message['role'] == 'user' %}");
    put_user(&s, &l);
    tn_str_add(&s, "{% elif message['role'] == 'assistant' %}");
    put_answer(&s, &l);
    put_system(&s, &l);
    tn_str_add(&s, "{% else %}{{ raise_exception('this chat format has no place for the role ' + "
                   "message['role']) }}{% endif %}{% endfor %}"
                   "{% if add_generation_prompt %}");
    put_text(&s, l.prompt != NULL ? l.prompt : l.answer_before);
    if ((l.ways & TN_WAY_FINAL_EOS) != 0) tn_str_add(&s, "{% else %}{{ eos_token }}");
    tn_str_add(&s, "{% endif %}");
    if (tn_str_check(&s, err) != TN_OK) {
        tn_str_free(&s);
        return TN_NOMEM;
    }
    *out = tn_str_take(&s);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a chat template");
}

bool tn_chat_is_ours(tn_chat *out, const char *text)
{
    for (int f = TN_CHAT_NONE + 1; f < TN_CHAT_COUNT; f++) {
        char *ours = NULL;
        bool  same = tn_chat_template(&ours, (tn_chat_format)f, NULL) == TN_OK && strcmp(ours, text) == 0;
        free(ours);
        if (!same) continue;
        *out = (tn_chat){ .format = (tn_chat_format)f };
        return true;
    }
    return false;
}
