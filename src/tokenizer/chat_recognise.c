/* chat_recognise.c - from the text of a model's chat template to one of our formats. The template is never executed: we
 * look for the marks that it writes, and read literals out of it by fixed patterns. */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

static tn_status unknown_template(tn_error *err, const char *why)
{
    return tn_fail(err, TN_UNSUPPORTED, "%s. Choose a format with --chat-format "
                   "chatml|llama2|llama3|mistral|gemma|zephyr|deepseek, or start from an instruct model", why);
}

/* The system text that a ChatML template inserts when the conversation has none: the literal after the first
 * "<|im_start|>system\n" that ends with <|im_end|> inside the same quotes. In a Jinja literal \n is a line end. */
static tn_status default_system(char **out, const char *template_text, tn_error *err)
{
    static const char *const opens[] = { "<|im_start|>system\\n", "<|im_start|>system\n" };
    tn_str                   text = { .max = 1 << 16 };

    for (size_t k = 0; k < sizeof opens / sizeof opens[0]; k++) {
        const char *at = template_text;

        while ((at = strstr(at, opens[k])) != NULL) {
            const char *p = at + strlen(opens[k]), *end = strstr(p, "<|im_end|>");
            char        quote = 0;

            for (const char *q = at; q > template_text && quote == 0; q--)
                if (q[-1] == '\'' || q[-1] == '"') quote = q[-1];
            at = p;
            if (end == NULL || end == p || quote == 0) continue;
            tn_str_clear(&text);
            for (; p < end && *p != quote; p++) {
                if (*p == '\\' && p + 1 < end) {
                    p++;
                    tn_str_add_char(&text, *p == 'n' ? '\n' : *p == 't' ? '\t' : *p);
                } else tn_str_add_char(&text, *p);
            }
            if (p != end) continue;
            *out = tn_str_take(&text);
            return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for the default system text");
        }
    }
    tn_str_free(&text);
    return TN_OK;
}

tn_status tn_chat_recognise(tn_chat *out, const char *template_text, const tn_tokenizer *t, tn_error *err)
{
    *out = (tn_chat){0};
    if (template_text == NULL || template_text[0] == '\0') return unknown_template(err, "the model has no chat template");
    if (strstr(template_text, "<|im_start|>") != NULL) {
        out->format = TN_CHAT_CHATML;
        return default_system(&out->default_system, template_text, err);
    }
    (void)t;
    return unknown_template(err, "the model's chat template is none that this version recognises");
}
