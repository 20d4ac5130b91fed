/* estimate.c - memory and time before starting: what is planned, not what is guessed. Engines and optimiser
 * are laid out for real; the time is FLOPs over the measured peak at the share that training reaches. */
#include "train/run.h"

#include <math.h>

#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/memory.h"
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

/* Weights that this process has made: those of a frozen base may lie in its file. */
static size_t weights_bytes(tn_model *m, bool made)
{
    size_t n = 0;
    for (size_t i = 0; m != NULL && i < tn_model_n_tensor(m); i++) {
        const tn_param *p = tn_model_tensor(m, i);
        n += p->w.packed != NULL ? tn_weight_bytes(p->w.packed) : made ? tn_n_bytes(&p->w) : 0;
    }
    return n;
}

/* Gradients of which much may never be written: the rows of words and the experts that nothing comes to. */
static size_t sparse_bytes(const run *r)
{
    size_t n = 0;
    for (int i = 0; r->p.lora == NULL && i < r->p.n_slot; i++) {
        const slot *s = &r->p.slot[i];
        bool        table = tn_starts_with(s->name, "position_embd") ||
                     (tn_starts_with(s->name, "token_embd") && !tn_model_hparams(r->model)->tied);
        if (table || s->w->n_dim == 3) n += (size_t)s->n * 4;
    }
    return n;
}

/* Of the values that an engine has planned: a micro-batch seldom has the most rows that it could have, and rows
 * without a target do not reach the head, which has about so many values of n_embd for each. */
enum { HEAD_VALUES = 8 };
static size_t sure_values(const run *r, const engine *e, const corpus *k)
{
    const tn_data_stats *s = &k->stats;
    if (e->g == NULL) return 0;
    double rows = fmin((double)k->rows_sure, (double)k->rows_max),
           idle = s->n_target < s->n_token ? rows * (1 - (double)s->n_target / (double)s->n_token) : 0;
    double bytes = (double)e->memory.live_peak * rows / (double)k->rows_max -
                   idle * HEAD_VALUES * 4 * (double)tn_model_hparams(r->model)->n_embd;
    return bytes > 0 ? (size_t)bytes : 0;
}

/* The parts, as planned, and what of them will be filled whatever the data are. */
static tn_status needs_find(const run *r, tn_train_estimate *out, tn_error *err)
{
    size_t copies = 0, values = sure_values(r, &r->train, &r->data), sparse = sparse_bytes(r);
    for (int i = 0; i < r->p.n_slot; i++)
        copies += r->p.slot[i].copy != NULL || r->p.lora != NULL ? (size_t)r->p.slot[i].n * 4 : 0;
    out->weights = weights_bytes(r->model, true) + weights_bytes(r->reference, false) + copies;
    TN_TRY(train_exchange_bytes(r, &out->gradients, err));
    out->optimiser = (size_t)(r->opt.n[0] + r->opt.n[1]) * 4 + r->opt.work_floats * 4;
    out->activations = r->train.memory.planned + r->score.memory.planned;
    out->checkpoint_copy = checkpoint_bytes(r);
    out->total = out->weights + out->gradients + out->optimiser + out->activations + out->checkpoint_copy +
                 OTHER_BYTES;
    /* what a validation fills depends on how much is held out, and on which rank it comes to: not counted */
    out->sure = weights_bytes(r->model, r->p.lora == NULL) + weights_bytes(r->reference, false) + copies +
                (out->gradients > sparse ? out->gradients - sparse : 0) + out->optimiser + values;
    return TN_OK;
}

static void advise(const run *r, tn_train_estimate *e)
{
    const tn_train_config *c = r->c;
    tn_str                 s = { .max = sizeof e->advice - 1 };

    if (e->activations > e->sure / 4) {
        tn_str_addf(&s, "lower micro_batch (%lld now) or n_ctx (%lld)", (long long)r->micro_size,
                    (long long)c->n_ctx);
        if (!c->recompute) tn_str_add(&s, ", set recompute");
    }
    if (e->activations < e->sure / 4 * 3) {
        tn_str_add(&s, s.len > 0 ? "; " : "");
        if (r->n_group > 1)
            tn_str_addf(&s, "group_size %lld sums gradients in one place, ", (long long)r->n_micro);
        if (r->p.lora == NULL)
            tn_str_add(&s, "lora_rank trains adapters alone, optimizer adafactor has a small state, ");
        tn_str_add(&s, "zero 2 parts both among the ranks of more machines");
    }
    snprintf(e->advice, sizeof e->advice, "%s", s.p != NULL ? s.p : "");
    tn_str_free(&s);
}

/* What the ranks of one machine, or of one control group, need together, and what there is for them: what is left,
 * and what they have filled already, which is part of what they need. */
typedef struct share {
    tn_memory memory;
    size_t    sure, total;
} share;
static tn_status room_find(run *r, tn_train_estimate *e, tn_error *err)
{
    share *all = calloc((size_t)r->size, sizeof *all), mine;
    if (all == NULL) return tn_fail(err, TN_NOMEM, "no memory to compare ranks");
    /* All have filled what they fill before the first step. */
    tn_status status = tn_dist_barrier(r->dist, err);
    memset(&mine, 0, sizeof mine);
    mine = (share){ tn_memory_now(), e->sure, e->total };
    if (status == TN_OK) status = tn_dist_gather(r->dist, &mine, sizeof mine, all, err);
    e->available = mine.memory.left;
    for (int o = 0; status == TN_OK && o < r->size; o++) {
        if (all[o].memory.whose != mine.memory.whose) continue;
        if (all[o].memory.left < e->available) e->available = all[o].memory.left;
    }
    for (int o = 0; status == TN_OK && o < r->size; o++) {
        if (all[o].memory.whose != mine.memory.whose) continue;
        if (e->available < SIZE_MAX) e->available += all[o].memory.own;
        e->sure_there += all[o].sure;
        e->total_there += all[o].total;
        e->n_there++;
    }
    if (status == TN_OK && e->sure_there > e->available) advise(r, e);
    free(all);
    return status;
}

tn_status train_memory_check(run *r, tn_error *err)
{
    tn_train_estimate e = { 0 };
    TN_TRY(needs_find(r, &e, err));
    TN_TRY(room_find(r, &e, err));
    if (e.sure_there <= e.available) return TN_OK;
    const double u = 0x1p-30;
    char         ranks[48] = "";
    bool         several = e.n_there > 1;
    if (several) snprintf(ranks, sizeof ranks, " of %d ranks", e.n_there);
    return tn_fail(err, TN_NOMEM,
                   "the steps%s need at least %.2f GiB of memory, and this machine has %.2f GiB for them (%s"
                   "weights %.2f, gradients %.2f, optimiser %.2f, activations %.2f): %s",
                   ranks, (double)e.sure_there * u, (double)e.available * u, several ? "each: " : "",
                   (double)e.weights * u, (double)e.gradients * u, (double)e.optimiser * u,
                   (double)e.activations * u, e.advice);
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
        const tn_train_estimate mine = *out;
        *out = all[o];
        out->peak_flops = mine.peak_flops;
        out->seconds = mine.seconds;
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
    TN_GOTO(needs_find(&r, out, err));
    /* A text and its ids are there before gradients are, and gone when they come. */
    out->reading = r.data.stats.n_held > r.valid.stats.n_held ? r.data.stats.n_held : r.valid.stats.n_held;
    size_t early = out->weights + out->reading + OTHER_BYTES;
    if (early > out->total) out->total = early;
    TN_GOTO(room_find(&r, out, err));
    if (r.size > 1) TN_GOTO(largest_rank(&r, out, err));
out:
    train_setup_release(&r);
    if (dir[0] != '\0' && r.rank == 0) tn_remove_tree(dir, NULL);
    if (r.own_dist) tn_dist_close(r.dist, status, err);
    return status;
}
