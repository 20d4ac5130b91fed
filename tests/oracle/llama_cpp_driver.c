/* llama_cpp_driver.c - llama.cpp behind a pipe, in the words of tests/tokenizer/driver.c, for comparing with
 * it.
 *
 *   llama_cpp_driver MODEL.gguf [vocab]      vocab: the file's weights are not loaded
 *   in:   flags u32, n u32, n bytes of text      1: special tokens in the text count; 2: add what the model adds in front
 *         2048 + k: the bytes are i32 ids; out: the k ids that follow greedily
 *   out:  n u32, n ids i32
 *
 * Compiled by the scripts that use it, against the llama.cpp that they built; no part of tenet's own
 * build. */
#include <llama.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quiet(enum ggml_log_level level, const char *text, void *arg)
{
    (void)arg;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static void put(const llama_token *ids, int32_t n)
{
    uint32_t count = (uint32_t)n;

    fwrite(&count, 4, 1, stdout);
    fwrite(ids, sizeof *ids, (size_t)n, stdout);
    fflush(stdout);
}

static int greedy(struct llama_model *model, const llama_token *prompt, int32_t n, int32_t k)
{
    struct llama_context_params p = llama_context_default_params();
    int32_t                     n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_token                *all = malloc((size_t)(n + k) * sizeof *all);
    struct llama_context       *c;

    p.n_ctx = (uint32_t)(n + k + 8);
    p.n_threads = p.n_threads_batch = 1;
    p.type_k = p.type_v = GGML_TYPE_F32;
    p.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    if (all == NULL || (c = llama_init_from_model(model, p)) == NULL) return 1;
    memcpy(all, prompt, (size_t)n * sizeof *all);
    for (int32_t i = 0; i < k; i++) {
        struct llama_batch b = i == 0 ? llama_batch_get_one(all, n) : llama_batch_get_one(all + n + i - 1, 1);
        const float       *logits;
        llama_token        best = 0;

        if (llama_decode(c, b) != 0) return 1;
        logits = llama_get_logits_ith(c, -1);
        for (llama_token t = 1; t < n_vocab; t++)
            if (logits[t] > logits[best]) best = t;
        all[n + i] = best;
    }
    put(all + n, k);
    free(all);
    llama_free(c);
    return 0;
}

int main(int argc, char **argv)
{
    struct llama_model_params p = llama_model_default_params();
    struct llama_model       *model;
    llama_token              *ids = NULL;
    char                     *text = NULL;
    uint32_t                  head[2];
    int32_t                   n;

    llama_log_set(quiet, NULL);
    p.vocab_only = argc > 2 && strcmp(argv[2], "vocab") == 0;
    if (argc < 2 || (model = llama_model_load_from_file(argv[1], p)) == NULL) return 1;
    while (fread(head, sizeof head, 1, stdin) == 1) {
        if ((text = realloc(text, head[1] + 1)) == NULL ||
            (head[1] > 0 && fread(text, head[1], 1, stdin) != 1))
            return 1;
        if (head[0] >= 2048) {
            if (greedy(model, (const llama_token *)(const void *)text, (int32_t)(head[1] / 4),
                       (int32_t)(head[0] - 2048)) != 0)
                return 1;
            continue;
        }
        if ((ids = realloc(ids, (head[1] + 16) * sizeof *ids)) == NULL) return 1;
        n = llama_tokenize(llama_model_get_vocab(model), text, (int32_t)head[1], ids, (int32_t)head[1] + 16,
                           (head[0] & 2) != 0, (head[0] & 1) != 0);
        if (n < 0) return 1;
        put(ids, n);
    }
    return 0;
}
