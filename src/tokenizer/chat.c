/* chat.c - the chat formats by name, and the marks of each. The table is what a format is; chat_render.c walks it.
 *
 * A format's own text may hold special tokens; what people write never does (chat_render.c sees to that). */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

// clang-format off
static const tn_chat_layout layouts[] = {
    /* format, name, bos,   system before, after,                  user before, after,
       assistant before, stop, after the stop */
    { TN_CHAT_CHATML, "chatml", false,
      "<|im_start|>system\n", "<|im_end|>\n",                      "<|im_start|>user\n", "<|im_end|>\n",
      "<|im_start|>assistant\n", "<|im_end|>", "\n" },
};
// clang-format on

const tn_chat_layout *tn_chat_layout_of(tn_chat_format f)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i].format == f) return &layouts[i];
    return NULL;
}

const char *tn_chat_format_name(tn_chat_format f)
{
    const tn_chat_layout *l = tn_chat_layout_of(f);

    return l != NULL ? l->name : "none";
}

bool tn_chat_format_parse(const char *name, tn_chat_format *out)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (strcmp(layouts[i].name, name) == 0) {
            *out = layouts[i].format;
            return true;
        }
    return false;
}

void tn_chat_free(tn_chat *c)
{
    free(c->default_system);
    *c = (tn_chat){0};
}
