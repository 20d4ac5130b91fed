/* infer.c - how fast does a model load, read a prompt, write alone, write eight texts together, answer a
 * batch of short prompts that begin alike, score four continuations of each question, and in how much memory?
 *
 *   infer MODEL [PROFILE] [THREADS] [BATCH]
 *
 * One row of CSV a question: dtype,profile,threads,question,value,unit. BATCH: streams of the batch (24).
 * Every figure is the best of three runs but the load and the batch, which runs long enough once. */
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "infer/infer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMPT = 512,
    ANSWER = 64,
    STREAMS = 8,
    N_SHORT = 64,
    SHORT = 45,
    SHARED = 30,
    N_QUESTION = 8,
    CONTEXT = 200,
    CHOICE = 12,
    REPEATS = 3
};

typedef struct bench {
    const char *dtype, *profile;
    tn_model   *m;
    int64_t     n_vocab;
} bench;

static void row(const bench *b, const char *question, double value, const char *unit)
{
    printf("%s,%s,%d,%s,%.3f,%s\n", b->dtype, b->profile, tn_threads(), question, value, unit);
    fflush(stdout);
}

/* Random ids, the same in every run; the first n_shared are those of every sequence. */
static void ids_fill(int32_t *ids, int64_t n, int64_t n_shared, int64_t sequence, int64_t n_vocab)
{
    tn_rng_key key = { .seed = 1, .purpose = TN_RNG_TEST };

    for (int64_t k = 0; k < n; k++)
        ids[k] = (int32_t)tn_rng_below(&key, (uint64_t)(k < n_shared ? k : sequence * 4096 + k),
                                       (uint64_t)n_vocab);
}

/* Seconds for n requests of n_prompt tokens, the first n_shared alike, with answers of n_answer. */
static tn_status run(const bench *b, tn_engine *e, int64_t n, int64_t n_prompt, int64_t n_shared,
                     int64_t n_answer, double *seconds, tn_error *err)
{
    tn_request *requests = calloc((size_t)n, sizeof *requests);
    tn_result  *results = calloc((size_t)n, sizeof *results);
    int32_t    *prompts = malloc((size_t)(n * n_prompt) * sizeof *prompts);
    tn_status   status = TN_OK;

    if (requests == NULL || results == NULL || prompts == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %lld requests", (long long)n);
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        ids_fill(prompts + i * n_prompt, n_prompt, n_shared, i, b->n_vocab);
        requests[i] = (tn_request){ .prompt = prompts + i * n_prompt,
                                    .n_prompt = n_prompt,
                                    .sampling = { .max_tokens = n_answer, .ignore_eos = true } };
    }
    double start = tn_now();
    TN_GOTO(tn_engine_run(e, requests, results, n, NULL, err));
    *seconds = tn_now() - start;
    for (int64_t i = 0; i < n && status == TN_OK; i++)
        if (results[i].status != TN_OK) status = tn_fail(err, results[i].status, "%s", results[i].message);
out:
    for (int64_t i = 0; results != NULL && i < n; i++) tn_result_free(&results[i]);
    free(requests);
    free(results);
    free(prompts);
    return status;
}

typedef struct question {
    const char *name;
    int64_t     n, n_prompt, n_shared, n_answer;
    double      count;
} question;

/* A new engine for each measurement, so that nothing is taken over from the one before. */
static tn_status ask(const bench *b, const question *q, int64_t n_batch, bool reuse, tn_error *err)
{
    double    best = 1e30, seconds = 0;
    tn_status status = TN_OK;

    for (int i = 0; i < (q->n == N_SHORT ? 1 : REPEATS); i++) {
        tn_engine        *e;
        tn_engine_options o = {
            .n_batch = n_batch, .n_ctx = q->n_prompt + q->n_answer, .prefix_reuse = reuse, .hidden_layer = -1
        };
        TN_TRY(tn_engine_create(&e, b->m, &o, err));
        status = run(b, e, q->n, q->n_prompt, q->n_shared, q->n_answer, &seconds, err);
        tn_engine_destroy(e);
        if (status != TN_OK) return status;
        best = seconds < best ? seconds : best;
    }
    row(b, q->name, q->count / best, "tok/s");
    return TN_OK;
}

/* Four continuations of each context, as multiple-choice tasks ask for them: rows of continuation a
 * second. */
static tn_status score(const bench *b, tn_error *err)
{
    enum { N = N_QUESTION * 4 };
    static int32_t    contexts[N_QUESTION][CONTEXT], choices[N][CHOICE];
    const int32_t    *context[N], *choice[N];
    int64_t           n_context[N], n_choice[N];
    tn_score          out[N];
    tn_engine_options o = {
        .n_batch = 16, .n_ctx = CONTEXT + CHOICE, .prefix_reuse = true, .hidden_layer = -1
    };
    double best = 1e30;

    for (int i = 0; i < N; i++) {
        if (i % 4 == 0) ids_fill(contexts[i / 4], CONTEXT, 0, i, b->n_vocab);
        ids_fill(choices[i], CHOICE, 0, 1000 + i, b->n_vocab);
        context[i] = contexts[i / 4];
        choice[i] = choices[i];
        n_context[i] = CONTEXT;
        n_choice[i] = CHOICE;
    }
    for (int k = 0; k < REPEATS; k++) {
        tn_engine *e;
        TN_TRY(tn_engine_create(&e, b->m, &o, err));
        double    start = tn_now();
        tn_status s = tn_engine_score(e, context, n_context, choice, n_choice, N, out, NULL, err);
        double    seconds = tn_now() - start;
        tn_engine_destroy(e);
        if (s != TN_OK) return s;
        best = seconds < best ? seconds : best;
    }
    row(b, "score_4_choices", N / best, "choices/s");
    return TN_OK;
}

/* The most memory this process has had, in bytes. */
static double peak_bytes(void)
{
    char   line[256];
    double kib = 0;
    FILE  *f = fopen("/proc/self/status", "r");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "VmHWM: %lf kB", &kib) == 1) break;
    if (f != NULL) fclose(f);
    return kib * 1024;
}

static tn_status measure(const char *path, tn_profile profile, int64_t n_batch, tn_error *err)
{
    static const question questions[] = {
        { "prefill_512", 1, PROMPT, 0, 0, PROMPT },
        { "decode", 1, 1, 0, ANSWER, ANSWER },
        { "decode_8", STREAMS, 1, 0, ANSWER, STREAMS * ANSWER },
    };
    static const question batch = { "batch", N_SHORT, SHORT, SHARED, ANSWER, N_SHORT * ANSWER };
    tn_model_options      o = { .profile = profile, .weights = true, .pack = true };
    bench                 b = { .profile = tn_profile_name(profile) };
    tn_status             status = TN_OK;
    double                start = tn_now();

    TN_GOTO(tn_model_open(&b.m, path, &o, err));
    double load = tn_now() - start;
    b.dtype = tn_model_dtype_name(b.m);
    const tn_hparams *h = tn_model_hparams(b.m);
    b.n_vocab = h->n_vocab;
    row(&b, "load", load, "s");
    for (size_t q = 0; q < sizeof questions / sizeof questions[0]; q++) {
        TN_GOTO(ask(&b, &questions[q], questions[q].n, false, err));
        if (q > 0) continue;
        /* after one text of 512: weights and cache are what must be there, the rest is ours to keep small */
        double must = (double)tn_model_weight_bytes(b.m) +
                      4.0 * (double)(h->n_layer * h->n_head_kv * 2 * h->d_head * PROMPT);
        row(&b, "memory_over_weights_and_cache", peak_bytes() / must, "");
    }
    TN_GOTO(ask(&b, &batch, n_batch, true, err));
    TN_GOTO(score(&b, err));
out:
    tn_model_close(b.m);
    return status;
}

int main(int argc, char **argv)
{
    tn_error   err = { 0 };
    tn_profile profile = TN_PROFILE_STRICT;
    int64_t    threads = 2, n_batch = 24;

    if (argc < 2 || (argc > 2 && !tn_profile_parse(argv[2], &profile)) ||
        (argc > 3 && !tn_parse_i64(argv[3], &threads)) ||
        (argc > 4 && (!tn_parse_i64(argv[4], &n_batch) || n_batch < 1))) {
        fprintf(stderr, "infer MODEL [strict|strict-bf16|q8act] [THREADS] [BATCH]\n");
        return 2;
    }
    tn_log_set_level(TN_LOG_WARN);
    if (tn_threads_set((int)threads, &err) == TN_OK && measure(argv[1], profile, n_batch, &err) == TN_OK)
        return 0;
    fprintf(stderr, "%s\n", err.msg);
    return 1;
}
