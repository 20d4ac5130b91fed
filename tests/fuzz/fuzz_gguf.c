/* fuzz_gguf.c - any bytes as a GGUF file: the index, the hyper-parameters, every kind of metadata. */
#include "fuzz.h"
#include "model/model_impl.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_gguf   *g;
    tn_hparams h;

    if (tn_gguf_parse(&g, data, size, "fuzz.gguf", NULL) != TN_OK) return 0;
    tn_hparams_from_gguf(&h, &g, 1, NULL);
    for (size_t i = 0; i < g->n_kv; i++) {
        char         key[64], *text = NULL;
        const char **list;
        size_t      *bytes;
        int64_t      n, v;
        double       d;
        snprintf(key, sizeof key, "%.*s", (int)(g->kv[i].key_n < 63 ? g->kv[i].key_n : 63), g->kv[i].key);
        tn_gguf_str(g, key, &text, NULL);
        free(text);
        tn_gguf_int_or(g, key, INT64_MIN, INT64_MAX, 0, &v, NULL);
        tn_gguf_real_or(g, key, 0, &d, NULL);
        if (tn_gguf_strings(g, key, &list, &bytes, &n, NULL) == TN_OK) {
            uint64_t sum = 0;
            for (int64_t k = 0; k < n; k++)
                for (size_t b = 0; b < bytes[k]; b++) sum += (uint8_t)list[k][b];
            tn_fuzz_use(sum);
            free(list);
            free(bytes);
        }
    }
    for (size_t t = 0; t < g->n_tensor; t++) {
        uint64_t sum = 0;
        for (uint64_t b = 0; b < g->tensors[t].bytes; b++) sum += g->tensors[t].data[b];
        tn_fuzz_use(sum);
    }
    tn_gguf_close(g);
    return 0;
}
