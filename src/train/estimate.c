/* estimate.c - memory and time before starting: what is planned, not what is guessed. Engines and optimiser
 * are laid out for real; the time is FLOPs over the measured peak at the share that training reaches. */
#include "train/run.h"

#include <math.h>

#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/str.h"

/* The program itself, tables, buffers of files. */
static const size_t OTHER_BYTES = (size_t)24 << 20;

/* Matrices: 2 FLOPs a weight forward, twice that backward (the input's gradient and the weight's; under LoRA
 * no weight's). The embedding is a look-up; a tied head counts once. Attention: half of 4 d n_ctx a layer
 * (causal), forward. */
double train_flops_per_token(const tn_model *m, bool lora, int64_t n_ctx)
{
    const tn_hparams *h = tn_model_hparams(m);
    double            matrices = (double)tn_model_n_param(m, true);
    double            attention = 2.0 * (double)h->n_layer * (double)(h->n_head * h->d_head) * (double)n_ctx;
    if (!h->tied) matrices -= (double)h->n_vocab * (double)h->n_embd;
    return (lora ? 4 : 6) * matrices + 3 * attention;
}

/* Weights and state of this rank's range: what it writes. */
static size_t checkpoint_bytes(const run *r)
{
    int64_t first = r->x.range[r->rank], last = r->x.range[r->rank + 1], n = last - first;
    for (int k = 0; k < r->opt.n_state; k++)
        n += train_state_place(&r->p, k, last) - train_state_place(&r->p, k, first);
    return (size_t)n * 4;
}

/* Ranks own more or less: the one that needs most is what is told. */
static tn_status largest_rank(run *r, tn_train_estimate *out, tn_error *err)
{
    tn_train_estimate *all = malloc((size_t)r->size * sizeof *all);
    int                rank = out->rank;
    if (all == NULL) return tn_fail(err, TN_NOMEM, "no memory to compare ranks");
    tn_status status = tn_dist_gather(r->dist, out, sizeof *out, all, err);
    for (int o = 0; status == TN_OK && o < r->size; o++) {
        if (all[o].total <= out->total) continue;
        double peak = out->peak_flops, seconds = out->seconds;
        *out = all[o];
        out->peak_flops = peak;
        out->seconds = seconds;
    }
    out->rank = rank;
    free(all);
    return status;
}

tn_status tn_train_estimate_run(const tn_train_config *c, const tn_train_io *io, tn_train_estimate *out,
                                tn_error *err)
{
    run       r = { 0 };
    tn_status status = TN_OK;
    char      dir[TRAIN_SCRATCH_BYTES] = "";

    *out = (tn_train_estimate){ 0 };
    TN_GOTO(train_ranks_open(&r, c, io, err));
    out->rank = r.rank;
    TN_GOTO(train_scratch_dir(&r, dir, err));
    r.plan_only = true;
    TN_GOTO(train_setup(&r, dir, err));
    TN_GOTO(train_warmup_check(c, r.steps, err));
    out->n_param = tn_model_n_param(r.model, false);
    out->n_trained = r.p.n_trained;
    out->steps = r.steps;
    out->tokens_per_step = (int64_t)((double)r.data.stats.n_token / (double)r.data.n_sample *
                                     (double)c->batch);
    out->flops_per_token = train_flops_per_token(r.model, r.p.lora != NULL, c->n_ctx);
    out->peak_flops = (r.profile == TN_PROFILE_STRICT_BF16 ? tn_peak_bf16(0.3) : tn_peak_f32(0.3)) * 1e9;
    /* On a matrix unit the products take little, and what stays fp32 decides: measured, 1.3 times the fp32
     * peak at the share below. */
    if (r.profile == TN_PROFILE_STRICT_BF16 && tn_cpu_avx512_amx())
        out->peak_flops = fmax(out->peak_flops, 1.3e9 * tn_peak_f32(0.3));
    out->seconds = (double)out->steps * (double)out->tokens_per_step * out->flops_per_token /
                   (0.65 * out->peak_flops);
    for (size_t i = 0; i < tn_model_n_tensor(r.model); i++) {
        const tn_param *p = tn_model_tensor(r.model, i);
        out->weights += p->w.packed != NULL ? tn_weight_bytes(p->w.packed) : tn_n_bytes(&p->w);
    }
    for (int i = 0; i < r.p.n_slot; i++)
        out->weights += r.p.slot[i].copy != NULL || r.p.lora != NULL ? (size_t)r.p.slot[i].n * 4 : 0;
    TN_GOTO(train_exchange_bytes(&r, &out->gradients, err));
    out->optimiser = (size_t)(r.opt.n[0] + r.opt.n[1]) * 4 + r.opt.work_floats * 4;
    out->activations = r.train.memory.planned + r.score.memory.planned;
    out->checkpoint_copy = checkpoint_bytes(&r);
    out->total = out->weights + out->gradients + out->optimiser + out->activations + out->checkpoint_copy +
                 OTHER_BYTES;
    /* A text and its ids are there before gradients are, and gone when they come. */
    out->reading = r.data.stats.n_held > r.valid.stats.n_held ? r.data.stats.n_held : r.valid.stats.n_held;
    size_t early = out->weights + out->reading + OTHER_BYTES;
    if (early > out->total) out->total = early;
    if (r.size > 1) TN_GOTO(largest_rank(&r, out, err));
out:
    train_setup_release(&r);
    if (dir[0] != '\0' && r.rank == 0) tn_remove_tree(dir, NULL);
    if (r.own_dist) tn_dist_close(r.dist, status, err);
    return status;
}
