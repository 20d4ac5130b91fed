/* chat_recognise.c - from the text of a model's chat template to one of our formats. The template is never
 * executed: we look for the marks that it writes, and for literals in fixed places that tell its ways. What
 * does not fit is refused: a prompt that is nearly right is wrong. */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

/* Whether the template holds `part`, where a line end of `part`, written \\n, may be written so or as
 * itself. */
static bool has(const char *text, const char *part)
{
    for (const char *at = text; *at != '\0'; at++) {
        const char *p = part, *s = at;

        while (*p != '\0' && *s != '\0') {
            bool escaped = p[0] == '\\' && p[1] == 'n';

            if (escaped && *s == '\n') {
                p += 2;
                s++;
            } else if (*p == *s) {
                p++;
                s++;
            } else break;
        }
        if (*p == '\0') return true;
    }
    return false;
}

static bool has_any(const char *text, const char *const *parts)
{
    for (; *parts != NULL; parts++)
        if (has(text, *parts)) return true;
    return false;
}

static tn_status unknown_template(tn_error *err, const char *why)
{
    tn_str    names = { .max = 1 << 10 };
    tn_status status;

    tn_chat_format_names(&names);
    status = tn_fail(
        err, TN_UNSUPPORTED,
        "%s. Choose one with --chat-format %s (for recipes: tenet convert), or start from an instruct model",
        why, names.p != NULL ? names.p : "NAME");
    tn_str_free(&names);
    return status;
}

/* The template writes BOS by itself, before the messages. */
static bool writes_bos(const char *text)
{
    static const char *const ways[] = { "{{ bos_token }}", "{{- bos_token }}", "{{bos_token}}",
                                        "{{- bos_token -}}", NULL };

    return has_any(text, ways);
}

/* Reads a Jinja string literal that begins after its opening quote at p, up to `end` inside it (or the
 * closing quote when end is NULL). false if it closes before. */
static bool read_literal(tn_str *out, const char *p, char quote, const char *end)
{
    for (; *p != '\0' && *p != quote; p++) {
        if (end != NULL && strncmp(p, end, strlen(end)) == 0) return true;
        if (*p == '\\' && p[1] != '\0') {
            p++;
            tn_str_add_char(out, *p == 'n' ? '\n' : *p == 't' ? '\t' : *p);
        } else tn_str_add_char(out, *p);
    }
    return end == NULL && *p == quote;
}

static tn_status take(tn_chat *out, tn_str *text, tn_error *err)
{
    out->default_system = tn_str_take(text);
    return out->default_system != NULL ? TN_OK
                                       : tn_fail(err, TN_NOMEM, "no memory for the default system text");
}

/* The system text that a ChatML template inserts when the conversation has none: the literal
 * '<|im_start|>system\nTEXT<|im_end|>\n', or the same between two statements, or set system_message = 'TEXT'.
 * Qwen 2.5 writes a second one for tools, which differs after the text: the first that closes inside its
 * quotes counts. */
static tn_status chatml_default(tn_chat *out, const char *template_text, tn_error *err)
{
    static const char *const opens[] = { "<|im_start|>system\\n", "<|im_start|>system\n" };
    tn_str                   text = { .max = 1 << 16 };
    const char              *set;

    for (size_t k = 0; k < sizeof opens / sizeof opens[0]; k++) {
        for (const char *at = template_text; (at = strstr(at, opens[k])) != NULL; at++) {
            char quote = at > template_text ? at[-1] : '\0';

            if (quote == '}') quote = '{'; /* bare text ends at the next statement */
            else if (quote != '\'' && quote != '"') continue;
            tn_str_clear(&text);
            if (read_literal(&text, at + strlen(opens[k]), quote, "<|im_end|>") && text.len > 0)
                return take(out, &text, err);
        }
    }
    tn_str_clear(&text);
    if ((set = strstr(template_text, "set system_message = '")) != NULL &&
        read_literal(&text, strchr(set, '\'') + 1, '\'', NULL) && text.len > 0)
        return take(out, &text, err);
    tn_str_free(&text);
    return TN_OK;
}

/* SmolLM3: ChatML with a system turn of its own always, whose words we have; the default text is read out of
 * the template. */
static tn_status smollm3(tn_chat *out, const char *template_text, tn_error *err)
{
    static const char        open[] = "elif reasoning_mode == \"/think\" -%}", mark[] = "{{- \"";
    static const char *const needed[] = {
        "Knowledge Cutoff Date: June 2025\\n", "\"Reasoning Mode: \" + reasoning_mode + \"\\n\\n\"",
        "\"## Custom Instructions\\n\\n\"",    "content.lstrip(\"\\n\") + \"<|im_end|>\\n\"",
        "set enable_thinking = true",          NULL
    };
    const char *p = strstr(template_text, open);
    tn_str      text = { .max = 1 << 16 };

    for (size_t i = 0; needed[i] != NULL; i++)
        if (!has(template_text, needed[i])) p = NULL;
    if (p != NULL) p = strstr(p, mark);
    if (p == NULL || !read_literal(&text, p + strlen(mark), '"', NULL) || text.len < 2 ||
        strcmp(text.p + text.len - 2, "\n\n") != 0) {
        tn_str_free(&text);
        return unknown_template(err,
                                "the model's chat template is a relative of SmolLM3's that is not supported");
    }
    text.p[text.len -= 2] = '\0'; /* they stand after every system text */
    out->format = TN_CHAT_SMOLLM3;
    out->ways = TN_WAY_TRIM_LINES;
    if (has(template_text, "Today Date: ")) out->ways |= TN_WAY_DATES;
    return take(out, &text, err);
}

/* OLMo 3: ChatML whose last answer ends with EOS. Its default system text stands in one literal (Think) or in
 * two, since the second depends on tools (Instruct). */
static tn_status olmo3(tn_chat *out, const char *text, tn_error *err)
{
    static const char *const needed[] = { "'<|im_start|>user\\n' + message['content'] + '<|im_end|>\\n'",
                                          "'<|im_start|>system\\n' + message['content']",
                                          "'<|im_end|>' + '\\n'",
                                          "eos_token",
                                          "loop.last and add_generation_prompt",
                                          NULL };
    static const char *const opens[] = { "'<|im_start|>system\\nYou", "'<|im_start|>system\nYou" };
    tn_str                   system = { .max = 1 << 16 };
    const char              *p = NULL;
    bool                     known = !has(text, "</think>"), whole = false;

    for (size_t i = 0; needed[i] != NULL; i++) known = known && has(text, needed[i]);
    for (size_t k = 0; k < 2 && p == NULL; k++)
        if ((p = strstr(text, opens[k])) != NULL) p += strlen(opens[k]) - strlen("You");
    if (known && p != NULL) whole = read_literal(&system, p, '\'', "<|im_end|>");
    if (known && p != NULL && !whole) {
        tn_str_add(&system, TN_CHAT_NO_FUNCTIONS);
        known = has(text, "{{- '" TN_CHAT_NO_FUNCTIONS "<|im_end|>\\n'");
    }
    if (!known || p == NULL) {
        tn_str_free(&system);
        return unknown_template(err,
                                "the model's chat template is a relative of OLMo 3's that is not supported");
    }
    out->format = TN_CHAT_OLMO3;
    out->ways = TN_WAY_LAST_BARE;
    if (has(text, "' " TN_CHAT_NO_FUNCTIONS "<|im_end|>\\n'")) out->ways |= TN_WAY_NO_FUNCTIONS;
    if (has(text, "<|im_start|>assistant\\n<think>'")) out->ways |= TN_WAY_OPEN_BARE;
    return take(out, &system, err);
}

/* Phi-4: no line ends, and a mark behind the role. Its first template opened the answer by itself after every
 * user text, which for a conversation that goes on is the same. The reasoning models put a long system text
 * of their own in front. */
static tn_status phi4(tn_chat *out, const char *text, tn_error *err)
{
    bool known = has(text, "'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'") &&
                 has(text, "'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>") &&
                 has(text, "message['content'] + '<|im_end|>'") && !has(text, "You are Phi") &&
                 !has(text, "tool");

    if (!known)
        return unknown_template(err,
                                "the model's chat template is a relative of Phi-4's that is not supported");
    out->format = TN_CHAT_PHI4;
    return TN_OK;
}

static tn_status chatml(tn_chat *out, const char *text, tn_error *err)
{
    static const char *const relatives[] = { "{{ system_message }}",
                                             "'<|im_start|>system\\n' + '",
                                             "<end_of_utterance>",
                                             "<|im_middle|>",
                                             "<functions>",
                                             "function calling AI model",
                                             NULL };
    bool                     qwen3 = has(text, "ns.last_query_index") &&
                 has(text, "'\\n<think>\\n' + reasoning_content.strip('\\n')") &&
                 has(text, "enable_thinking is defined and enable_thinking is false");
    bool qwq = has(text, "content.split('</think>')[-1].lstrip('\\n')") && !has(text, "enable_thinking") &&
               !has(text, "reasoning_content");

    if (has(text, "## Metadata")) return smollm3(out, text, err);
    if (has(text, "<|im_sep|>")) return phi4(out, text, err);
    if (has(text, "<functions></functions>")) return olmo3(out, text, err);
    if (has_any(text, relatives) || (has(text, "</think>") && !qwen3 && !qwq))
        return unknown_template(err,
                                "the model's chat template is a relative of ChatML that is not supported");
    out->format = TN_CHAT_CHATML;
    if (writes_bos(text)) out->ways |= TN_WAY_BOS;
    if (qwen3 || qwq) out->ways |= TN_WAY_CUT_THINKING;
    if (qwen3) out->ways |= TN_WAY_EMPTY_THINK;
    if (has(text, "<|im_start|>assistant\\n<think>\\n")) out->ways |= TN_WAY_OPEN_THINK;
    return chatml_default(out, text, err);
}

static tn_status llama3(tn_chat *out, const char *text, tn_error *err)
{
    static const char *const relatives[] = { "Task: Check if there is unsafe content",
                                             "'image'",
                                             "<function=",
                                             "function(s)",
                                             "functions |",
                                             "functions|",
                                             NULL };

    /* Nemotron keeps Llama 3.1's system turn and leaves the dates out of it. */
    if (has_any(text, relatives) ||
        (has(text, "tools_in_user_message") && !has(text, "Cutting Knowledge Date: December 2023")))
        return unknown_template(err,
                                "the model's chat template is a relative of Llama 3's that is not supported");
    out->format = TN_CHAT_LLAMA3;
    out->ways = (has(text, "bos_token") ? TN_WAY_BOS : 0u) | TN_WAY_TRIM_SYSTEM | TN_WAY_TRIM_USER |
                TN_WAY_TRIM_ANSWER;
    if (has(text, "Cutting Knowledge Date: December 2023") && has(text, "Today Date: "))
        out->ways |= TN_WAY_DATES;
    return TN_OK;
}

/* Mistral Small's default system text: set default_system_message = "..." with today's (or yesterday's) date
 * put in. A prompt must not change from day to day, so the dates are pinned, as Llama 3.1's is. */
static tn_status mistral_default(tn_chat *out, const char *template_text, tn_error *err)
{
    static const char open[] = "set default_system_message = ";
    static const struct {
        const char *name, *value;
    } dates[] = { { " + today + ", "2024-07-26" }, { " + yesterday + ", "2024-07-25" } };
    const char *p = strstr(template_text, open);
    tn_str      text = { .max = 1 << 16 };
    char        quote;

    if (p == NULL) return TN_OK;
    for (p += strlen(open); (quote = *p) == '"' || quote == '\'';) {
        size_t k = 0;

        if (!read_literal(&text, p + 1, quote, NULL)) break;
        for (p++; *p != quote; p += *p == '\\' ? 2 : 1) {
        }
        p++;
        while (k < 2 && strncmp(p, dates[k].name, strlen(dates[k].name)) != 0) k++;
        if (k == 2) return take(out, &text, err);
        tn_str_add(&text, dates[k].value);
        p += strlen(dates[k].name);
    }
    tn_str_free(&text);
    return unknown_template(
        err, "the model's chat template makes its default system text in a way that is not supported");
}

/* Llama 2 relatives may set a system text of their own; the original has one that a condition never lets
 * in. */
static tn_status llama2_default(tn_chat *out, const char *template_text, tn_error *err)
{
    static const char open[] = "set system_message = '";
    const char       *p = strstr(template_text, open);
    tn_str            text = { .max = 1 << 16 };

    if (p == NULL || has(template_text, "false == true")) return TN_OK;
    if (read_literal(&text, p + strlen(open), '\'', NULL) && text.len > 0) return take(out, &text, err);
    tn_str_free(&text);
    return TN_OK;
}

/* Everything with [INST]: Llama 2 and the Mistral versions tell themselves apart by spaces and by where the
 * system goes. */
static tn_status inst(tn_chat *out, const char *text, tn_error *err)
{
    bool answer_space = has(text, "' ' + message['content']") || has(text, "\" \" + message[\"content\"]") ||
                        has(text, "' '  + content.strip()") || has(text, "' ' + content.strip()") ||
                        has(text, "\" \" + message['content']") || has(text, "' '  + message['content']");

    if (has(text, "' [INST]") || has(text, "\" [INST]")) out->ways |= TN_WAY_LEAD_SPACE;
    if (has(text, "[INST] ")) out->ways |= TN_WAY_INNER_SPACE;
    if (has(text, "' [/INST]") || has(text, "\" [/INST]")) out->ways |= TN_WAY_CLOSE_SPACE;
    if (answer_space) out->ways |= TN_WAY_ANSWER_SPACE;
    if (has(text, "eos_token + ' '") || has(text, "eos_token + \" \"")) out->ways |= TN_WAY_AFTER_SPACE;
    if (has(text, "[SYSTEM_PROMPT]")) {
        out->format = TN_CHAT_MISTRAL_V7;
        out->ways |= TN_WAY_BOS;
        if (!has(text, "[SYSTEM_PROMPT] ") != !has(text, "[INST] "))
            return unknown_template(err, "the model's chat template mixes the spaces of Mistral v7 formats");
        return mistral_default(out, text, err);
    }
    if (has(text, "<<SYS>>") && !has(text, "content.strip()"))
        return unknown_template(err,
                                "the model's chat template is a relative of Llama 2's that is not supported");
    if (has(text, "<<SYS>>") || has(text, "bos_token + '[INST]")) {
        out->format = TN_CHAT_LLAMA2;
        out->ways |= has(text, "bos_token + '[INST]") ? TN_WAY_BOS_EACH : TN_WAY_BOS;
        out->ways |= has(text, "<<SYS>>") ? TN_WAY_SYSTEM_FIRST : TN_WAY_NO_SYSTEM;
        if (has(text, "content.strip()")) out->ways |= TN_WAY_TRIM_USER | TN_WAY_TRIM_ANSWER;
        if (has(text, "+ ' ' + eos_token")) out->ways |= TN_WAY_STOP_SPACE;
        return llama2_default(out, text, err);
    }
    out->ways |= TN_WAY_BOS;
    if (has(text, "message[\"content\"]|trim + eos_token") ||
        has(text, "message['content']|trim + eos_token"))
        out->ways |= TN_WAY_TRIM_ANSWER;
    if (!has(text, "system_message")) out->ways |= TN_WAY_NO_SYSTEM;
    else out->ways |= has(text, "loop.last and system_message") ? TN_WAY_SYSTEM_LAST : TN_WAY_SYSTEM_FIRST;
    out->format = (out->ways & TN_WAY_CLOSE_SPACE) != 0   ? TN_CHAT_MISTRAL_V1
                  : (out->ways & TN_WAY_INNER_SPACE) != 0 ? TN_CHAT_MISTRAL_V3
                                                          : TN_CHAT_MISTRAL_TEKKEN;
    return TN_OK;
}

static tn_status gemma(tn_chat *out, const char *text, tn_error *err)
{
    if (has(text, "policy expert"))
        return unknown_template(err,
                                "the model's chat template is a relative of Gemma's that is not supported");
    out->format = TN_CHAT_GEMMA;
    out->ways = (has(text, "bos_token") ? TN_WAY_BOS : 0u) | TN_WAY_TRIM_USER | TN_WAY_TRIM_ANSWER;
    out->ways |= has(text, "first_user_prefix") ? TN_WAY_SYSTEM_FIRST : TN_WAY_NO_SYSTEM;
    if (has(text, "roles must alternate")) out->ways |= TN_WAY_ALTERNATE;
    return TN_OK;
}

static tn_status deepseek3(tn_chat *out, const char *text, tn_error *err)
{
    if (has(text, "message['content'] + '<｜end▁of▁sentence｜>' + '") ||
        has(text, "'<｜User｜>' + message['content'] + '<｜end▁of▁sentence｜>'"))
        return unknown_template(
            err, "the model's chat template is a relative of DeepSeek V3's that is not supported");
    bool v31 = has(text, "ns.is_last_user") && has(text, "content.split('</think>', 1)[1]") &&
               !has(text, "reasoning_content");

    if (has(text, "thinking") && !v31)
        return unknown_template(
            err, "the model's chat template is a relative of DeepSeek V3.1's that is not supported");
    out->format = TN_CHAT_DEEPSEEK3;
    out->ways = TN_WAY_BOS;
    if (v31) {
        out->ways |= TN_WAY_CUT_THINKING |
                     (has(text, "{{'<think></think>'}}") ? TN_WAY_CLOSED_THINK : TN_WAY_CLOSE_THINK);
        return TN_OK;
    }
    if (has(text, "</think>")) out->ways |= TN_WAY_CUT_THINKING;
    if (has(text, "<｜Assistant｜><think>\\n")) out->ways |= TN_WAY_OPEN_THINK;
    return TN_OK;
}

/* Phi-3, Phi-3.5 and Phi-4-mini: turns that end with <|end|>, and EOS behind a whole conversation. */
static tn_status phi3(tn_chat *out, const char *text, tn_error *err)
{
    bool any_role = has(text, "'<|' + message['role'] + '|>'"),
         small = any_role && has(text, "'|>' + '\\n' + message['content'] + '<|end|>\\n'");
    bool mini = any_role && !small &&
                (has(text, "'|>' + message['content'] + '<|end|>'") ||
                 (has(text, "'<|system|>' + system_message") && has(text, "{{- '<|end|>' -}}")));
    bool lines = has(text, "'<|user|>\\n' + message['content'] + '<|end|>\\n'") &&
                 has(text, "'<|assistant|>\\n' + message['content'] + '<|end|>\\n'") &&
                 has(text, "'<|system|>\\n' + message['content'] + '<|end|>\\n'");

    if ((!small && !mini && !lines) || has(text, "<think>") || has(text, "<|system|>Your name is"))
        return unknown_template(err,
                                "the model's chat template is a relative of Phi-3's that is not supported");
    out->format = mini ? TN_CHAT_PHI4_MINI : TN_CHAT_PHI3;
    if (has(text, "eos_token")) out->ways |= TN_WAY_FINAL_EOS;
    if (writes_bos(text)) out->ways |= TN_WAY_BOS;
    if (lines && has(text, "message['role'] == 'system' and message['content']"))
        out->ways |= TN_WAY_SKIP_EMPTY;
    return TN_OK;
}

/* Granite 3: 3.0 has no default system text; from 3.1 on it is dated, pinned here as everywhere. */
static tn_status granite(tn_chat *out, const char *text, tn_error *err)
{
    static const char open[] = "set system_message = \"", date[] = " + strftime_now('%B %d, %Y') + \"",
                      tail[] = " You are a helpful AI assistant.";
    const char *p = strstr(text, open);
    bool        each = has(text, "'<|start_of_role|>user<|end_of_role|>' + message['content'] + "
                                        "'<|end_of_text|>\\n'");
    bool   any = has(text, "'<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + "
                             "'<|end_of_text|>\\n'");
    tn_str system = { .max = 1 << 16 };

    if (any && p != NULL && has(text, "\" You are a helpful AI assistant.\"") &&
        read_literal(&system, p + strlen(open), '"', NULL) && (p = strstr(p, date)) != NULL) {
        tn_str_add(&system, "July 26, 2024");
        if (read_literal(&system, p + strlen(date), '"', NULL)) {
            out->format = TN_CHAT_GRANITE;
            tn_str_add(&system, tail);
            return take(out, &system, err);
        }
    }
    tn_str_free(&system);
    if (!each || has(text, "set system_message") || has(text, "g4_default"))
        return unknown_template(err,
                                "the model's chat template is a relative of Granite's that is not supported");
    out->format = TN_CHAT_GRANITE;
    return TN_OK;
}

tn_status tn_chat_recognise(tn_chat *out, const char *template_text, const tn_tokenizer *t, tn_error *err)
{
    const char *text = template_text;

    (void)t;
    *out = (tn_chat){ .recognised = true };
    if (text == NULL || text[0] == '\0') return unknown_template(err, "the model has no chat template");
    if (tn_chat_is_ours(out, text)) return TN_OK;
    if (has(text, "<|im_start|>")) return chatml(out, text, err);
    if (has(text, "[INST]") && has(text, "[/INST]")) return inst(out, text, err);
    if (has(text, "<|start_header_id|>") && has(text, "<|eot_id|>")) return llama3(out, text, err);
    if (has(text, "<|start_of_role|>")) return granite(out, text, err);
    if (has(text, "<|end|>") && has(text, "<|assistant|>")) return phi3(out, text, err);
    if (has(text, "<start_of_turn>")) return gemma(out, text, err);
    if (has(text, "<｜Assistant｜>") && has(text, "<｜User｜>")) return deepseek3(out, text, err);
    else if (has(text, "'User: ' + message['content'] + '\\n\\n'") &&
             has(text, "'Assistant: ' + message['content'] + eos_token")) {
        out->format = TN_CHAT_DEEPSEEK2;
        out->ways = TN_WAY_BOS | TN_WAY_ANSWER_SPACE;
    } else if (has(text, "<|start|>system<|message|>") && has(text, "<|channel|>final<|message|>") &&
               has(text, "<|return|>") && has(text, "# Valid channels: analysis, commentary, final.")) {
        out->format = TN_CHAT_HARMONY;
    } else if (has(text, "<|user|>") && has(text, "<|assistant|>") && has(text, "+ eos_token") &&
               !has(text, "<|end|>")) {
        /* Zephyr ends every turn with EOS; Tulu and OLMo 2 only the answers. */
        bool tulu = has(text, "'<|user|>\\n' + message['content'] + '\\n'") &&
                    has(text, "message['content'] + eos_token }}");

        if (!tulu && !has(text, "'<|user|>\\n' + message['content'] + eos_token"))
            return unknown_template(
                err, "the model's chat template is a relative of Zephyr's that is not supported");
        out->format = tulu ? TN_CHAT_TULU : TN_CHAT_ZEPHYR;
        if (tulu) out->ways = TN_WAY_LAST_BARE | (writes_bos(text) ? TN_WAY_BOS : 0u);
    } else return unknown_template(err, "the model's chat template is none that this version recognises");
    return TN_OK;
}
