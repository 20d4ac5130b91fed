/* infer.c - how fast does a model load, read a prompt, write alone and write eight texts together?
 *
 *   infer MODEL [PROFILE] [THREADS]      one row of CSV a question: model,profile,threads,question,value,unit */
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "infer/infer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 512, ANSWER = 64, STREAMS = 8 };

/* Seconds for n requests of n_prompt tokens with answers of n_answer. */
static tn_status run(tn_engine *e, int64_t n_vocab, int n, int64_t n_prompt, int64_t n_answer, double *seconds, tn_error *err)
{
    tn_request requests[STREAMS] = {0};
    tn_result  results[STREAMS];
    int32_t    prompts[STREAMS][PROMPT];
    tn_rng_key key = { .seed = 1, .purpose = TN_RNG_TEST };

    for (int i = 0; i < n; i++) {
        for (int64_t k = 0; k < n_prompt; k++) prompts[i][k] = (int32_t)tn_rng_below(&key, (uint64_t)(i * PROMPT + k), (uint64_t)n_vocab);
        requests[i] = (tn_request){ .prompt = prompts[i], .n_prompt = n_prompt, .sampling = { .max_tokens = n_answer, .ignore_eos = true } };
    }
    double start = tn_now();
    TN_TRY(tn_engine_run(e, requests, results, n, NULL, err));
    *seconds = tn_now() - start;
    for (int i = 0; i < n; i++) {
        if (results[i].status != TN_OK) return tn_fail(err, results[i].status, "%s", results[i].message);
        tn_result_free(&results[i]);
    }
    return TN_OK;
}

static tn_status measure(const char *path, tn_profile profile, tn_error *err)
{
    static const struct { const char *name; int n; int64_t n_prompt, n_answer; double count; } questions[] = {
        { "prefill_512", 1, PROMPT, 0, PROMPT }, { "decode", 1, 1, ANSWER, ANSWER }, { "decode_8", STREAMS, 1, ANSWER, STREAMS * ANSWER },
    };
    tn_model_options  o = { .profile = profile, .weights = true, .pack = true };
    tn_engine_options eo = { .n_batch = STREAMS, .n_ctx = PROMPT + ANSWER, .hidden_layer = -1 };
    tn_model         *m = NULL;
    tn_engine        *e = NULL;
    tn_status         status = TN_OK;
    double            start = tn_now(), seconds, best;

    TN_GOTO(tn_model_open(&m, path, &o, err));
    printf("%s,%s,%d,load,%.3f,s\n", tn_model_dtype_name(m), tn_profile_name(profile), tn_threads(), tn_now() - start);
    TN_GOTO(tn_engine_create(&e, m, &eo, err));
    for (size_t q = 0; q < sizeof questions / sizeof questions[0]; q++) {
        best = 1e30;
        for (int i = 0; i < 3; i++) {
            TN_GOTO(run(e, tn_model_hparams(m)->n_vocab, questions[q].n, questions[q].n_prompt, questions[q].n_answer, &seconds, err));
            best = seconds < best ? seconds : best;
        }
        printf("%s,%s,%d,%s,%.1f,tok/s\n", tn_model_dtype_name(m), tn_profile_name(profile), tn_threads(), questions[q].name, questions[q].count / best);
        fflush(stdout);
    }
out:
    tn_engine_destroy(e);
    tn_model_close(m);
    return status;
}

int main(int argc, char **argv)
{
    tn_error   err = {0};
    tn_profile profile = TN_PROFILE_STRICT;
    int64_t    threads = 2;

    if (argc < 2 || (argc > 2 && !tn_profile_parse(argv[2], &profile)) || (argc > 3 && !tn_parse_i64(argv[3], &threads))) {
        fprintf(stderr, "infer MODEL [strict|strict-bf16|q8act] [THREADS]\n");
        return 2;
    }
    tn_log_set_level(TN_LOG_WARN);
    if (tn_threads_set((int)threads, &err) == TN_OK && measure(argv[1], profile, &err) == TN_OK) return 0;
    fprintf(stderr, "%s\n", err.msg);
    return 1;
}
