/* fuzz_chat.c - any bytes as a chat template: it is refused, or what it says renders a conversation. */
#include "base/file.h"
#include "base/str.h"
#include "fuzz.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>

static tn_tokenizer *small_tokenizer(void)
{
    static tn_tokenizer *t;
    char                *text = NULL;
    size_t               n;

    if (t == NULL &&
        tn_file_read_all(&text, &n, "tests/golden/tokenizer/bpe.json", (size_t)1 << 24, NULL) == TN_OK)
        tn_tokenizer_from_json(&t, text, n, NULL, 0, "bpe.json", NULL);
    free(text);
    if (t == NULL) abort(); /* run from the source folder */
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tn_message m[] = {
        { "system", " S\n" },
        { "user", "U" },
        { "assistant", "<think>x</think>A" },
        { "user", " V " },
    };
    char    *text = tn_strndup((const char *)data, size);
    tn_chat  chat;
    int32_t *ids = NULL;
    uint8_t *mask = NULL;
    size_t   n = 0, cap = 0;

    if (text != NULL && tn_chat_recognise(&chat, text, small_tokenizer(), NULL) == TN_OK) {
        for (size_t from = 0; from < 2; from++) {
            n = 0;
            if (tn_chat_render(small_tokenizer(), &chat, m + from, 4 - from, true, &ids, &mask, &n, &cap,
                               NULL) == TN_OK)
                for (size_t i = 0; i < n; i++) tn_fuzz_use((uint64_t)ids[i] + mask[i]);
        }
        tn_chat_free(&chat);
    }
    free(text);
    free(ids);
    free(mask);
    return 0;
}
