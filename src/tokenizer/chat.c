/* chat.c - the chat formats by name, and the marks of each. The table is what a format is; chat_render.c
 * walks it.
 *
 * A format's own text may hold special tokens; what people write never does (chat_render.c sees to that). */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define ROLE(role) "<|start_of_role|>" role "<|end_of_role|>"
#define TRIM_ALL (TN_WAY_TRIM_SYSTEM | TN_WAY_TRIM_USER | TN_WAY_TRIM_ANSWER)
#define EOS "\1"
#define PLAIN NULL, NULL, NULL
/* What Harmony's own template writes when nothing else is asked for; the date pinned as everywhere (decision
 * 052). */
#define HARMONY                                                                                              \
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge "       \
    "cutoff: 2024-06\n"                                                                                      \
    "Current date: 2024-07-26\n\nReasoning: medium\n\n# Valid channels: analysis, commentary, final. "       \
    "Channel must be included "                                                                              \
    "for every message.<|end|>"

// clang-format off
static const tn_chat_layout layouts[] = {
    /* format, name, usual ways,
       system before, after,              join,   user before, after,                  answer before, stop, after it,  opening, prompt, earlier stop */
    { TN_CHAT_CHATML, "chatml", 0,
      "<|im_start|>system\n", "<|im_end|>\n", "",  "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", "<|im_end|>", "\n", PLAIN },
    { TN_CHAT_LLAMA2, "llama2", TN_WAY_BOS_EACH | TN_WAY_SYSTEM_FIRST | TN_WAY_TRIM_USER | TN_WAY_TRIM_ANSWER | TN_WAY_INNER_SPACE |
                                TN_WAY_CLOSE_SPACE | TN_WAY_ANSWER_SPACE | TN_WAY_STOP_SPACE,
      "<<SYS>>\n", "\n<</SYS>>\n\n", "",           "[INST]", "[/INST]",                  "", EOS, "", PLAIN },
    { TN_CHAT_LLAMA3, "llama3", TN_WAY_BOS | TRIM_ALL,
      HEADER("system"), "<|eot_id|>", "",          HEADER("user"), "<|eot_id|>",         HEADER("assistant"), "<|eot_id|>", "", PLAIN },
    { TN_CHAT_MISTRAL_V1, "mistral-v1", TN_WAY_BOS | TN_WAY_SYSTEM_FIRST | TN_WAY_LEAD_SPACE | TN_WAY_INNER_SPACE | TN_WAY_CLOSE_SPACE |
                                        TN_WAY_ANSWER_SPACE,
      "", "", "\n\n",                              "[INST]", "[/INST]",                  "", EOS, "", PLAIN },
    { TN_CHAT_MISTRAL_V3, "mistral-v3", TN_WAY_BOS | TN_WAY_SYSTEM_LAST | TN_WAY_INNER_SPACE | TN_WAY_ANSWER_SPACE | TN_WAY_TRIM_ANSWER,
      "", "", "\n\n",                              "[INST]", "[/INST]",                  "", EOS, "", PLAIN },
    { TN_CHAT_MISTRAL_TEKKEN, "mistral-tekken", TN_WAY_BOS | TN_WAY_SYSTEM_LAST,
      "", "", "\n\n",                              "[INST]", "[/INST]",                  "", EOS, "", PLAIN },
    { TN_CHAT_MISTRAL_V7, "mistral-v7", TN_WAY_BOS | TN_WAY_INNER_SPACE | TN_WAY_ANSWER_SPACE,
      "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "",   "[INST]", "[/INST]",                  "", EOS, "", PLAIN },
    { TN_CHAT_GEMMA, "gemma", TN_WAY_BOS | TN_WAY_SYSTEM_FIRST | TN_WAY_TRIM_USER | TN_WAY_TRIM_ANSWER | TN_WAY_ALTERNATE,
      "", "", "\n\n",                              "<start_of_turn>user\n", "<end_of_turn>\n", "<start_of_turn>model\n", "<end_of_turn>", "\n", PLAIN },
    { TN_CHAT_ZEPHYR, "zephyr", 0,
      "<|system|>\n", EOS "\n", "",                "<|user|>\n", EOS "\n",               "<|assistant|>\n", EOS, "\n", PLAIN },
    { TN_CHAT_DEEPSEEK2, "deepseek2", TN_WAY_BOS | TN_WAY_ANSWER_SPACE,
      "", "\n\n", "",                              "User: ", "\n\n",                     "Assistant:", EOS, "", PLAIN },
    { TN_CHAT_DEEPSEEK3, "deepseek3", TN_WAY_BOS,
      "", "", "",                                  "<｜User｜>", "",                     "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "", PLAIN },
    { TN_CHAT_TULU, "tulu", TN_WAY_BOS | TN_WAY_LAST_BARE,
      "<|system|>\n", "\n", "",                    "<|user|>\n", "\n",                   "<|assistant|>\n", EOS, "\n", PLAIN },
    { TN_CHAT_SMOLLM3, "smollm3", TN_WAY_DATES | TN_WAY_TRIM_LINES,
      "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\n", "\n\n<|im_end|>\n", "",
      "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", "<|im_end|>", "\n", PLAIN },
    { TN_CHAT_HARMONY, "harmony", 0,
      "<|start|>developer<|message|># Instructions\n\n", "\n\n<|end|>", "",
      "<|start|>user<|message|>", "<|end|>", "<|start|>assistant<|channel|>final<|message|>", "<|return|>", "",
      HARMONY, "<|start|>assistant", "<|end|>" },
    { TN_CHAT_PHI3, "phi3", TN_WAY_FINAL_EOS,
      "<|system|>\n", "<|end|>\n", "",            "<|user|>\n", "<|end|>\n",            "<|assistant|>\n", "<|end|>", "\n", PLAIN },
    { TN_CHAT_PHI4, "phi4", 0,
      "<|im_start|>system<|im_sep|>", "<|im_end|>", "", "<|im_start|>user<|im_sep|>", "<|im_end|>",
      "<|im_start|>assistant<|im_sep|>", "<|im_end|>", "", PLAIN },
    { TN_CHAT_PHI4_MINI, "phi4-mini", TN_WAY_FINAL_EOS,
      "<|system|>", "<|end|>", "",                 "<|user|>", "<|end|>",                "<|assistant|>", "<|end|>", "", PLAIN },
    { TN_CHAT_GRANITE, "granite", 0,
      ROLE("system"), "<|end_of_text|>\n", "",     ROLE("user"), "<|end_of_text|>\n",    ROLE("assistant"), "<|end_of_text|>", "\n", PLAIN },
    { TN_CHAT_OLMO3, "olmo3", TN_WAY_LAST_BARE,
      "<|im_start|>system\n", "<|im_end|>\n", "",  "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", EOS, "\n",
      NULL, NULL, "<|im_end|>" },
};
/* Short names for the newest of a family. */
static const struct { const char *name; tn_chat_format format; } aliases[] = {
    { "mistral", TN_CHAT_MISTRAL_V3 }, { "deepseek", TN_CHAT_DEEPSEEK3 }, { "mistral-v3-tekken", TN_CHAT_MISTRAL_TEKKEN },
    { "olmo2", TN_CHAT_TULU }, { "gpt-oss", TN_CHAT_HARMONY },
};
// clang-format on

enum { N_LAYOUT = sizeof layouts / sizeof layouts[0] };

bool tn_chat_layout_of(const tn_chat *chat, tn_chat_layout *out)
{
    size_t i = 0;

    while (i < N_LAYOUT && layouts[i].format != chat->format) i++;
    if (i == N_LAYOUT) return false;
    *out = layouts[i];
    if (chat->recognised) out->ways = chat->ways;
    if (strcmp(out->user_before, "[INST]") == 0) {
        bool lead = (out->ways & TN_WAY_LEAD_SPACE) != 0, inner = (out->ways & TN_WAY_INNER_SPACE) != 0;

        out->user_before = lead ? (inner ? " [INST] " : " [INST]") : inner ? "[INST] " : "[INST]";
        if ((out->ways & TN_WAY_CLOSE_SPACE) != 0) out->user_after = " [/INST]";
        if (out->system_before[0] == '[' && inner) out->system_before = "[SYSTEM_PROMPT] ";
        if ((out->ways & TN_WAY_AFTER_SPACE) != 0) out->after_stop = " ";
    }
    return true;
}

bool tn_chat_system_in_front(tn_chat_format f)
{
    return f == TN_CHAT_DEEPSEEK3 || f == TN_CHAT_SMOLLM3 || f == TN_CHAT_HARMONY;
}

const char *tn_chat_format_name(tn_chat_format f)
{
    for (size_t i = 0; i < N_LAYOUT; i++)
        if (layouts[i].format == f) return layouts[i].name;
    return "none";
}

bool tn_chat_format_parse(const char *name, tn_chat_format *out)
{
    for (size_t i = 0; i < N_LAYOUT; i++)
        if (strcmp(layouts[i].name, name) == 0) {
            *out = layouts[i].format;
            return true;
        }
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcmp(aliases[i].name, name) == 0) {
            *out = aliases[i].format;
            return true;
        }
    return false;
}

void tn_chat_format_names(tn_str *out)
{
    for (size_t i = 0; i < N_LAYOUT; i++) tn_str_addf(out, "%s%s", i > 0 ? "|" : "", layouts[i].name);
}

void tn_chat_free(tn_chat *c)
{
    free(c->default_system);
    *c = (tn_chat){ 0 };
}
