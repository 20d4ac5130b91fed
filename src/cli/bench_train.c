/* bench_train.c - a training step at the shape of SmolLM2-135M (576 wide, 30 layers, 9/3 heads, feed-forward
 * 1536, vocabulary
 * 49152), batch 4 x 512: all weights in fp32 and in bf16, and LoRA of rank 16 over the frozen fp32 weights,
 * in tokens a second against the peak, which is measured between the steps; then a mixture of 8 experts of
 * which a token uses 2 of half the width, so the same active FLOPs as the first, and GPT-2 124M at llm.c's
 * batch of 4 x 64. New weights and counted tokens: the arithmetic does not care. The first step warms up and
 * is not counted. */
#include "cli/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "train/train.h"

enum { N_BATCH = 4, N_STEP = 4, N_CTX_MAX = 512 };

typedef struct kind {
    const char *what, *shape, *dtype;
    int         n_ctx, n_vocab;
    const char *extra; /* lines of the configuration */
} kind;

static tn_status shard_write(const char *path, int n_ctx, int n_vocab, tn_error *err)
{
    tn_shard_writer *w;
    tn_digest        none = { { 0 } };
    int32_t          ids[N_CTX_MAX];
    TN_TRY(tn_shard_create(&w, path, &none, n_vocab, err));
    for (int i = 0; i < N_BATCH * N_STEP; i++) {
        for (int t = 0; t < n_ctx; t++)
            ids[t] = (int32_t)(((uint32_t)(i * n_ctx + t) * 2654435761u) % (uint32_t)n_vocab);
        tn_status status = tn_shard_add(w, ids, NULL, n_ctx, 65536, false, err);
        if (status != TN_OK) {
            tn_shard_abandon(w);
            return status;
        }
    }
    return tn_shard_commit(w, err);
}

typedef struct times {
    tn_bench      *b;
    tn_bench_limit limit;
    double         since, step[N_STEP], peak[N_STEP], peak_f32[N_STEP];
    int            n;
} times;

static void on_step(void *arg, const tn_train_step *s)
{
    times *t = arg;
    (void)s;
    if (t->n == N_STEP) return;
    t->step[t->n] = tn_now() - t->since;
    t->peak[t->n] = tn_bench_limit_now(t->b, t->limit, 0.1);
    t->peak_f32[t->n++] = tn_bench_limit_now(t->b, TN_LIMIT_F32, 0.1);
    t->since = tn_now();
}

/* One row; *speed: tokens a second for each GFLOP/s of the fp32 peak at that time, so that rows can be
 * compared. */
static tn_status one_kind(tn_bench *b, const char *dir, const kind *k, double *speed, tn_error *err)
{
    tn_status       status = TN_OK;
    tn_train_config c = { 0 };
    tn_train_result r = { 0 };
    times           t = { .b = b, .limit = strcmp(k->dtype, "bf16") == 0 ? TN_LIMIT_BF16 : TN_LIMIT_F32 };
    double          rate[N_STEP], ratio[N_STEP];
    char           *config = tn_strf("%s/%s.yaml", dir, k->what);
    char           *out = tn_strf("%s/%s", dir, k->what);
    char           *shard = tn_strf("%s/%s.tns", dir, k->what);
    char *text = tn_strf("data: %s/%s.tns\npack: none\nn_ctx: %d\nbatch: %d\nmicro_batch: %d\nsteps: "
                         "%d\ncheckpoint_every: -1\ntensorboard: false\n"
                         "dist: one\n%s",
                         dir, k->what, k->n_ctx, N_BATCH, N_BATCH, N_STEP, k->extra);
    if (config == NULL || out == NULL || shard == NULL || text == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(shard_write(shard, k->n_ctx, k->n_vocab, err));
    TN_GOTO(tn_file_write_all(config, text, strlen(text), err));
    TN_GOTO(tn_train_config_load(&c, config, err));
    tn_train_io io = { .out = out, .on_step = on_step, .arg = &t, .quiet = true };
    t.since = tn_now();
    TN_GOTO(tn_train_run(&c, &io, &r, err));
    for (int i = 1; i < N_STEP; i++) { /* a step lies between two peaks */
        rate[i] = N_BATCH * k->n_ctx / t.step[i];
        ratio[i] = rate[i] * r.flops_per_token / (0.5e9 * (t.peak[i - 1] + t.peak[i]));
    }
    *speed = tn_bench_median(rate + 1, N_STEP - 1) / tn_bench_median(t.peak_f32, N_STEP);
    TN_GOTO(tn_bench_row(b, k->what, k->shape, k->dtype, tn_bench_median(rate + 1, N_STEP - 1), "tokens/s",
                         tn_bench_median(t.peak, N_STEP) * 1e9 / r.flops_per_token,
                         tn_bench_median(ratio + 1, N_STEP - 1), err));
out:
    tn_train_result_free(&r);
    tn_train_config_free(&c);
    free(config);
    free(out);
    free(shard);
    free(text);
    return status;
}

#define BODY "n_layer: 30\nn_embd: 576\nn_head: 9\nn_head_kv: 3\nn_vocab: 49152\nrope_theta: 1e5\n"
#define DENSE BODY "n_ff: 1536\n"
#define NOSAVE "save_model: false\n"
#define VOCAB 49152

static tn_status kinds(tn_bench *b, const char *dir, tn_error *err)
{
    double full = 0, bf16 = 0, lora = 0, moe = 0, gpt2 = 0;
    char  *over_base = tn_strf("model: %s/train/model\nlora_rank: 16\n" NOSAVE, dir);
    // clang-format off
    kind   of[] = {
        { "train",        "135M 4x512",     "f32",  512, VOCAB, DENSE },                       /* kept: LoRA's base */
        { "train-bf16",   "135M 4x512",     "bf16", 512, VOCAB, DENSE "dtype: bf16\n" NOSAVE },
        { "train-lora16", "135M 4x512",     "f32",  512, VOCAB, over_base },
        { "train-moe",    "8x2 768 4x512",  "f32",  512, VOCAB, BODY "family: mixtral\nn_ff: 768\nn_expert: 8\nn_expert_used: 2\n" NOSAVE },
        { "train-gpt2",   "124M 4x64",      "f32",  64,  50257, "family: gpt2\nn_layer: 12\nn_embd: 768\nn_head: 12\nn_ff: 3072\nn_vocab: 50257\n" NOSAVE },
    };
    // clang-format on
    double   *speed[] = { &full, &bf16, &lora, &moe, &gpt2 };
    tn_status status = over_base == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;

    for (size_t i = 0; i < sizeof of / sizeof of[0] && status == TN_OK; i++)
        status = one_kind(b, dir, &of[i], speed[i], err);
    free(over_base);
    if (status != TN_OK) return status;
    TN_TRY(tn_bench_row(b, "train-bf16/train", "135M 4x512", "bf16", bf16 / full, "times", 1.7,
                        bf16 / full / 1.7, err));
    TN_TRY(tn_bench_row(b, "train-moe/train", "same active FLOPs", "f32", moe / full, "times", 0.85,
                        moe / full / 0.85, err));
    return tn_bench_row(b, "train-lora16/train", "135M 4x512", "f32", lora / full, "times", 1.25,
                        lora / full / 1.25, err);
}

tn_status tn_bench_train(tn_bench *b, tn_error *err)
{
    char dir[] = "/tmp/tenet-bench-XXXXXX";

    if (mkdtemp(dir) == NULL) return tn_fail(err, TN_IO, "%s: cannot make a directory", dir);
    tn_status status = kinds(b, dir, err);
    tn_remove_tree(dir, NULL);
    return status;
}
