/* fuzz_encode.c - any bytes as text, through the small golden tokenizers: nothing is read past the end, ids
 * are inside the vocabulary, a stream of them gives whole characters only, and well-formed text comes back
 * from the byte-level one. */
#include "base/file.h"
#include "base/str.h"
#include "fuzz.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { N_TOKENIZER = 3 };

static tn_tokenizer *const *small_tokenizers(void)
{
    static const char *const paths[N_TOKENIZER] = { "tests/golden/tokenizer/bpe.json",
                                                    "tests/golden/tokenizer/llama.json",
                                                    "tests/golden/tokenizer/unigram.json" };
    static tn_tokenizer     *t[N_TOKENIZER];

    for (int k = 0; k < N_TOKENIZER && t[k] == NULL; k++) {
        char  *text = NULL;
        size_t n;

        if (tn_file_read_all(&text, &n, paths[k], (size_t)1 << 24, NULL) == TN_OK)
            tn_tokenizer_from_json(&t[k], text, n, NULL, 0, paths[k], NULL);
        free(text);
        if (t[k] == NULL) abort(); /* run from the source folder */
    }
    return t;
}

static void check_stream(const tn_tokenizer *t, const int32_t *ids, size_t n)
{
    tn_decode_stream s = { 0 };
    char            *out = NULL;
    size_t           n_out = 0, cap = 0;

    for (size_t i = 0; i <= n; i++) {
        if (tn_decode_next(t, &s, i < n ? ids[i] : -1, &out, &n_out, &cap, NULL) != TN_OK) abort();
        if (!tn_utf8_valid(out != NULL ? out : "", n_out)) abort();
        n_out = 0;
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int32_t *ids = NULL;
    size_t   cap = 0;

    if (size > 1 << 16) size = 1 << 16;
    for (int k = 0; k < N_TOKENIZER; k++) {
        const tn_tokenizer *t = small_tokenizers()[k];
        size_t              n = 0, n_out = 0;
        char               *out = NULL;

        if (tn_tokenize(t, (const char *)data, size, k == 1 ? TN_TOK_SPECIAL : 0, &ids, &n, &cap, NULL) !=
            TN_OK)
            abort();
        for (size_t i = 0; i < n; i++)
            if (ids[i] < 0 || ids[i] >= tn_tokenizer_n_vocab(t)) abort();
        check_stream(t, ids, n);
        if (tn_detokenize(t, ids, n, true, &out, &n_out, NULL) != TN_OK) abort();
        if (k == 0 && tn_utf8_valid((const char *)data, size) && memmem(data, size, " mask", 5) == NULL &&
            (n_out != size || memcmp(out, data, size) != 0))
            abort();
        free(out);
    }
    free(ids);
    return 0;
}
