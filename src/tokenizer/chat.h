/* chat.h - the layout of a chat format. Private to this room. */
#ifndef TN_TOKENIZER_CHAT_H
#define TN_TOKENIZER_CHAT_H

#include "tokenizer/internal.h"

/* Ways in which templates of one format differ. */
enum {
    TN_WAY_BOS = 1 << 0,          /* begins with the vocabulary's BOS ... */
    TN_WAY_BOS_EACH = 1 << 1,     /* ... and every user turn after that, too (Llama 2) */
    TN_WAY_SYSTEM_FIRST = 1 << 2, /* the system text stands in the first user text ... */
    TN_WAY_SYSTEM_LAST = 1 << 3,  /* ... or in the last one */
    TN_WAY_NO_SYSTEM = 1 << 4,    /* a system message is an error */
    TN_WAY_TRIM_SYSTEM = 1 << 5,
    TN_WAY_TRIM_USER = 1 << 6,
    TN_WAY_TRIM_ANSWER = 1 << 7,
    TN_WAY_DATES = 1 << 8,        /* Llama 3.1: a system turn always, beginning with two dated lines */
    TN_WAY_CUT_THINKING = 1 << 9, /* earlier answers lose everything up to </think> */
    /* answers behind the last user text stand behind their thought, in a <think> block (Qwen 3) */
    TN_WAY_EMPTY_THINK = 1 << 10,
    TN_WAY_OPEN_THINK = 1 << 11,   /* the generation prompt ends with <think> and a line end */
    TN_WAY_LEAD_SPACE = 1 << 12,   /* " [INST]" */
    TN_WAY_INNER_SPACE = 1 << 13,  /* "[INST] " and "[SYSTEM_PROMPT] " */
    TN_WAY_CLOSE_SPACE = 1 << 14,  /* " [/INST]" */
    TN_WAY_ANSWER_SPACE = 1 << 15, /* a space before the answer, part of its first token */
    TN_WAY_STOP_SPACE = 1 << 16,   /* a space between the answer and its stop token */
    TN_WAY_AFTER_SPACE = 1 << 17,  /* a space after the stop token */
    TN_WAY_LAST_BARE = 1 << 18,    /* nothing after the stop token of the last message */
    TN_WAY_CLOSED_THINK = 1 << 19, /* every answer begins with <think></think> (DeepSeek V3.1) ... */
    TN_WAY_CLOSE_THINK = 1 << 20,  /* ... or with </think> alone */
    TN_WAY_TRIM_LINES = 1 << 21,   /* answers lose the line ends at their front */
    /* without a generation prompt, EOS ends the whole (Phi); it is not trained */
    TN_WAY_FINAL_EOS = 1 << 22,
    TN_WAY_SKIP_EMPTY = 1 << 23, /* an empty system text is left out */
    /* a given system text is followed by a sentence that there are no functions (OLMo 3) */
    TN_WAY_NO_FUNCTIONS = 1 << 24,
    TN_WAY_OPEN_BARE = 1 << 25, /* the generation prompt ends with <think> and no line end */
    TN_WAY_ALTERNATE = 1 << 26  /* roles that do not alternate are an error */
};

/* Text around each role's words, and where a format has them: what stands before everything, the generation
 * prompt if it is not what stands before an answer, the stop of an answer that is not the last message; "\1"
 * in it is the vocabulary's EOS. The stop is trained with the answer; what follows it is not. join: between a
 * system text and the user text that it stands in. */
typedef struct tn_chat_layout {
    tn_chat_format format;
    const char    *name;
    uint32_t       ways;
    const char    *system_before, *system_after, *join, *user_before, *user_after, *answer_before, *stop,
        *after_stop;
    const char *opening, *prompt, *earlier_stop;
} tn_chat_layout;

/* The layout of a chat with its ways put in; NULL if it has no format. */
bool tn_chat_layout_of(const tn_chat *chat, tn_chat_layout *out);
/* Whether a system message may stand only at the front. */
bool tn_chat_system_in_front(tn_chat_format f);
/* OLMo 3's sentence, as it stands in a default system text and behind others. */
#define TN_CHAT_NO_FUNCTIONS "You do not currently have access to any functions. <functions></functions>"

/* chat_write.c: whether the text is the template that we write for a format; *out is that format then. */
bool tn_chat_is_ours(tn_chat *out, const char *text);

/* encode.c: one text that stands between special tokens (or at the very start). Added tokens with skip[index]
 * set are not looked for; special ones never are. */
tn_status tn_encode_fragment(const tn_tokenizer *t, const char *text, size_t n, bool at_start,
                             bool after_special, const uint8_t *skip, int32_t **ids, size_t *n_ids,
                             size_t *cap, tn_error *err);

#endif
