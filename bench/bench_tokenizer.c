/* bench_tokenizer.c - megabytes of text a second on one core, by vocabulary.
 *
 *   bench_tokenizer [TEXT VOCAB.gguf|tokenizer.json ...]      CSV: vocabulary, text, bytes, tokens, MB/s of work of the best of 5 runs
 *
 * Without arguments it uses the small golden vocabulary on its own source text, repeated, which shows that it
 * runs and little else: bench/tokenizer_hf.py gives the same text and vocabulary to Hugging Face
 * tokenizers. */
#include "base/file.h"
#include "base/str.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N_RUN = 5 };

/* Seconds that this thread has worked: other programs on the machine do not count. */
static double work_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int measure(const char *vocab, const char *name, const char *text, size_t n_text)
{
    tn_tokenizer *t = NULL;
    tn_error      err = { 0 };
    int32_t      *ids = NULL;
    size_t        n = 0, cap = 0;
    double        best = 1e30;

    if (tn_model_open_tokenizer(&t, vocab, &err) != TN_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    for (int run = 0; run < N_RUN; run++) {
        double start = work_seconds(), seconds;

        n = 0;
        if (tn_tokenize(t, text, n_text, 0, &ids, &n, &cap, &err) != TN_OK) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        if ((seconds = work_seconds() - start) < best) best = seconds;
    }
    printf("%s,%s,%zu,%zu,%.1f\n", tn_basename(vocab), name, n_text, n, (double)n_text / best / 1e6);
    fflush(stdout);
    free(ids);
    tn_tokenizer_destroy(t);
    return 0;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "tests/oracle/make_tokenizer.py";
    char       *text = NULL;
    size_t      n = 0;
    tn_error    err = { 0 };
    int         rc = 0;

    if (tn_file_read_all(&text, &n, path, (size_t)1 << 32, &err) != TN_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    puts("vocabulary,text,bytes,tokens,MB_per_s");
    if (argc <= 2) rc = measure("tests/golden/tokenizer/bpe.json", tn_basename(path), text, n);
    for (int i = 2; i < argc; i++) rc |= measure(argv[i], tn_basename(path), text, n);
    free(text);
    return rc;
}
