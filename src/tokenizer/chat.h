/* chat.h - the layout of a chat format. Private to this room. */
#ifndef TN_TOKENIZER_CHAT_H
#define TN_TOKENIZER_CHAT_H

#include "tokenizer/internal.h"

/* Text around each role's words. The stop is trained with the answer; what follows it is not. */
typedef struct tn_chat_layout {
    tn_chat_format format;
    const char    *name;
    bool           bos;                  /* begins with the vocabulary's BOS */
    const char    *system_before, *system_after, *user_before, *user_after, *answer_before, *stop, *after_stop;
} tn_chat_layout;

const tn_chat_layout *tn_chat_layout_of(tn_chat_format f);

/* encode.c: one text that stands between special tokens (or at the very start). Added tokens with skip[index] set are not
 * looked for; special ones never are. */
tn_status tn_encode_fragment(const tn_tokenizer *t, const char *text, size_t n, bool at_start, bool after_special, const uint8_t *skip,
                             int32_t **ids, size_t *n_ids, size_t *cap, tn_error *err);

#endif
