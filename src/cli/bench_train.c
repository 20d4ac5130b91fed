/* bench_train.c - a training step at the shape of SmolLM2-135M (576 wide, 30 layers, 9/3 heads, feed-forward 1536, vocabulary
 * 49152), batch 4 x 512: fp32 and bf16, in tokens a second against the measured peak. New weights and
 * counted tokens: the arithmetic does not care. The second step is timed; the first warms up. */
#include "cli/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "train/train.h"

enum { N_CTX = 512, N_BATCH = 4, N_STEP = 2, N_VOCAB = 49152 };

static tn_status shard_write(const char *path, tn_error *err)
{
    tn_shard_writer *w;
    tn_digest none = {{ 0 }};
    int32_t ids[N_CTX];
    TN_TRY(tn_shard_create(&w, path, &none, N_VOCAB, err));
    for (int i = 0; i < N_BATCH * N_STEP; i++) {
        for (int t = 0; t < N_CTX; t++) ids[t] = (int32_t)(((uint32_t)(i * N_CTX + t) * 2654435761u) % N_VOCAB);
        tn_status status = tn_shard_add(w, ids, NULL, N_CTX, 65536, err);
        if (status != TN_OK) {
            tn_shard_abandon(w);
            return status;
        }
    }
    return tn_shard_commit(w, err);
}

typedef struct times { double at[N_STEP]; int n; } times;
static void on_step(void *arg, const tn_train_step *s)
{
    times *t = arg;
    (void)s;
    if (t->n < N_STEP) t->at[t->n++] = tn_now();
}

static tn_status one_kind(tn_bench *b, const char *dir, const char *what, const char *dtype, const char *extra, tn_error *err)
{
    tn_status status = TN_OK;
    tn_train_config c = {0};
    tn_train_result r = {0};
    times t = {0};
    char *config = tn_strf("%s/%s.yaml", dir, what), *out = tn_strf("%s/%s", dir, what);
    char *text = tn_strf("n_layer: 30\nn_embd: 576\nn_head: 9\nn_head_kv: 3\nn_ff: 1536\nn_vocab: %d\nrope_theta: 1e5\ndata: %s/tokens.tns\npack: none\n"
                         "n_ctx: %d\nbatch: %d\nmicro_batch: %d\nsteps: %d\ncheckpoint_every: -1\nsave_model: false\ntensorboard: false\ndist: one\n%s",
                         N_VOCAB, dir, N_CTX, N_BATCH, N_BATCH, N_STEP, extra);
    if (config == NULL || out == NULL || text == NULL) { status = tn_fail(err, TN_NOMEM, "no memory for a path"); goto out; }
    TN_GOTO(tn_file_write_all(config, text, strlen(text), err));
    TN_GOTO(tn_train_config_load(&c, config, err));
    tn_train_io io = { .out = out, .on_step = on_step, .arg = &t, .quiet = true };
    TN_GOTO(tn_train_run(&c, &io, &r, err));
    double peak = strcmp(dtype, "bf16") == 0 ? tn_bench_peak_bf16(b) : tn_bench_peak_f32(b);
    TN_GOTO(tn_bench_row(b, what, "135M 4x512", dtype, N_BATCH * N_CTX / (t.at[1] - t.at[0]), "tokens/s", peak * 1e9 / r.flops_per_token, err));
out:
    tn_train_result_free(&r);
    tn_train_config_free(&c);
    free(config);
    free(out);
    free(text);
    return status;
}

tn_status tn_bench_train(tn_bench *b, tn_error *err)
{
    char dir[] = "/tmp/tenet-bench-XXXXXX", *shard;
    tn_status status;

    if (mkdtemp(dir) == NULL) return tn_fail(err, TN_IO, "%s: cannot make a directory", dir);
    if ((shard = tn_path(dir, "tokens.tns")) == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
    else status = shard_write(shard, err);
    if (status == TN_OK) status = one_kind(b, dir, "train", "f32", "", err);
    if (status == TN_OK) status = one_kind(b, dir, "train-bf16", "bf16", "dtype: bf16\n", err);
    tn_remove_tree(dir, NULL);
    free(shard);
    return status;
}
