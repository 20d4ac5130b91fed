/* fuzz_tokenizer.c - any bytes as tokenizer.json; what loads must tokenise and come back. */
#include "fuzz.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = " Hello <s> wörld\n\n 123 😀 it's\xff";
    tn_tokenizer     *t = NULL;
    int32_t          *ids = NULL;
    size_t            n = 0, cap = 0, n_out = 0;
    char             *out = NULL;

    if (tn_tokenizer_from_json(&t, (const char *)data, size, NULL, 0, "tokenizer.json", NULL) != TN_OK)
        return 0;
    if (tn_tokenize(t, text, sizeof text - 1, TN_TOK_BOS | TN_TOK_EOS | TN_TOK_SPECIAL, &ids, &n, &cap,
                    NULL) == TN_OK &&
        tn_detokenize(t, ids, n, true, &out, &n_out, NULL) != TN_OK)
        abort();
    tn_fuzz_use(n_out);
    free(out);
    free(ids);
    tn_tokenizer_destroy(t);
    return 0;
}
