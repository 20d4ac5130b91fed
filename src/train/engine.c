/* engine.c - the graph of a training step: the family's forward, the head with the objective on top, the
 * derived backward.
 *
 *   texts   head_loss: sum of weight * nll over the micro-batch; its seed is 1, so gradients are those of plain sums and
 *           the one division by the batch's exact token count comes at the end
 *           rows that are taught learn the distribution of a teacher (teacher.c), by the same operation
 *   pairs   head_logprob: log-probability of each answer token; the loss of the pairs says what flows back */
#include "train/run.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

static const int64_t out_shape[] = { TN_OUT_ROWS };

/* The objective on top of `hidden`; returns the value that gets the seed. */
static tn_value head_build(engine *e, const tn_train_config *c, const corpus *k, tn_param *teacher_head,
                           const tn_tensor *head_grad)
{
    tn_graph         *g = e->g;
    const tn_hparams *h = tn_model_hparams(e->net.model);
    tn_value          w = tn_net_head_weight(&e->net);

    e->target = tn_graph_input(g, "target", TN_I32, 1, out_shape);
    if (e->preference) {
        tn_head_logprob_params o = { .softcap = (float)h->logit_softcap,
                                     .temperature = 1,
                                     .profile = e->net.profile };
        tn_value               in[] = { e->net.hidden, w, e->target };
        e->out = tn_graph_op(g, "logprob", TN_OP_HEAD_LOGPROB, &o, in, 3);
    } else {
        /* What is scored is held-out text: its loss is the likelihood alone. */
        tn_head_params o = { .softcap = (float)h->logit_softcap,
                             .z_coef = e->train ? (float)c->z_loss : 0,
                             .profile = e->net.profile,
                             .train = e->train,
                             .add_dw = e->train && head_grad != NULL };
        e->weight = tn_graph_input(g, "weight", TN_F32, 1, out_shape);
        tn_value in[7] = { e->net.hidden, w, e->target, e->weight };
        if (k->teacher.n > 0) {
            in[4] = e->teacher = tn_graph_input(g, "teacher", TN_F32, 2,
                                                (int64_t[]){ TN_OUT_ROWS, k->teacher.width });
            in[5] = teacher_head != NULL ? tn_graph_weight(g, "teacher_output", &teacher_head->w, NULL) : w;
            in[6] = e->taught = tn_graph_input(g, "taught", TN_I32, 1, out_shape);
        }
        e->out = tn_graph_op(g, "loss", TN_OP_HEAD_LOSS, &o, in, k->teacher.n > 0 ? 7 : 4);
        /* the divergence of each row, for the curves */
        if (k->teacher.n > 0) tn_graph_keep(g, tn_graph_out(g, e->out, 1));
    }
    tn_graph_keep(g, e->out);
    return e->out;
}

tn_status train_engine_create(engine *e, tn_model *m, const params *p, const corpus *k,
                              const tn_train_config *c, tn_profile profile, engine_purpose purpose,
                              bool adapters, tn_param *teacher_head, tn_error *err)
{
    tn_status status = TN_OK;
    tn_value  value, seed = 0;
    bool      train = purpose == ENGINE_TRAIN;

    *e = (engine){ .preference = k->pairs, .train = train, .aux_coef = c->aux_coef, .router_z = c->router_z };
    TN_GOTO(tn_graph_create(&e->g, k->rows_max, err));
    e->net = (tn_net){ .g = e->g,
                       .model = m,
                       .profile = profile,
                       .train = train,
                       .n_out_max = k->rows_max,
                       .n_longest = k->rows_longest,
                       .recompute = c->recompute,
                       .lora = adapters ? p->lora : NULL,
                       .n_lora = adapters ? p->n_lora : 0 };
    TN_GOTO(tn_model_build(&e->net, err));
    if (purpose == ENGINE_REFERENCE && !k->pairs) {
        tn_graph_keep(e->g, e->net.hidden);
        TN_GOTO(tn_graph_status(e->g, err));
        TN_GOTO(tn_graph_plan(e->g, tn_memory_left(), &e->memory, err));
        goto out;
    }
    const tn_param *head = tn_model_find(m, "output.weight");
    if (head == NULL) head = tn_model_find(m, "token_embd.weight");
    value = head_build(e, c, k, teacher_head, head != NULL && head->grad.data != NULL ? &head->grad : NULL);
    TN_GOTO(tn_graph_status(e->g, err));
    if (train) {
        TN_GOTO(tn_graph_backward(e->g, &value, &seed, 1, c->recompute, err));
        e->seed = seed;
        for (int64_t i = 0; i < tn_model_hparams(m)->n_layer; i++) e->experts |= e->net.layer_router[i] != 0;
    }
    /* What a run needs is judged as a whole, once all of it is planned (train_memory_check). */
    size_t most = purpose == ENGINE_REFERENCE ? tn_memory_left() : 0;
    TN_GOTO(tn_graph_plan(e->g, most, &e->memory, err));
    if (train && !e->preference) *(float *)tn_graph_data(e->g, e->seed) = 1;
out:
    if (status != TN_OK) train_engine_free(e);
    return status;
}

void train_engine_free(engine *e)
{
    tn_graph_destroy(e->g);
    *e = (engine){ 0 };
}

static tn_status forward(engine *e, const micro *b, tn_error *err)
{
    tn_graph_bind(e->g, e->net.tokens, b->rows.ids);
    tn_graph_bind(e->g, e->net.pos, b->rows.pos);
    tn_graph_bind(e->g, e->net.doc_start, b->rows.doc_start);
    tn_graph_bind(e->g, e->net.out_rows, b->out_row);
    if (e->target != 0) tn_graph_bind(e->g, e->target, b->out_target);
    if (e->weight != 0) tn_graph_bind(e->g, e->weight, b->out_weight);
    if (e->teacher != 0) {
        tn_graph_bind(e->g, e->teacher, b->out_teacher);
        tn_graph_bind(e->g, e->taught, b->out_taught);
    }
    tn_graph_set_out_rows(e->g, b->n_out);
    return tn_graph_forward(e->g, b->rows.n, err);
}

tn_status train_engine_logp(engine *e, const micro *b, const float **out, tn_error *err)
{
    TN_TRY(forward(e, b, err));
    *out = tn_graph_data(e->g, e->out);
    return TN_OK;
}

tn_status train_engine_hidden(engine *e, const micro *b, const float **out, tn_error *err)
{
    TN_TRY(forward(e, b, err));
    *out = tn_graph_data(e->g, e->net.hidden);
    return TN_OK;
}

/* The sum of the taught rows' divergences, in order. */
static void taught_count(engine *e, const micro *b, micro_stats *out)
{
    const float *nll = tn_graph_data(e->g, tn_graph_out(e->g, e->out, 1));
    for (int64_t i = 0; i < b->n_out; i++) {
        if (!b->out_taught[i]) continue;
        out->v[STAT_KL] += (double)nll[i];
        out->v[STAT_N_TAUGHT]++;
    }
}

/* -------------------------------------------------------------------------------------------------- pairs */

typedef struct side {
    double  sum, ref, k3;
    int64_t n, at;
} side;

/* Sums in double, in the order of the tokens. k3 = e^d - 1 - d with d = log ref - log pi: at least 0, 0 when
 * equal. */
static side side_sum(const corpus *k, const micro *b, int64_t item, int which, const float *logp)
{
    int64_t i = b->index[item], start = k->reference_at[3 * i + which];
    side    s = { .at = b->start[3 * item + which] };
    if (s.at < 0) return s;
    s.n = k->reference_at[3 * i + which + 1] - start;
    for (int64_t t = 0; t < s.n; t++) {
        double lp = logp[s.at + t], ref = k->reference[start + t], d = ref - lp;
        s.sum += lp;
        s.ref += ref;
        s.k3 += tn_exp(d) - 1 - d;
    }
    return s;
}

static void seed_set(float *seed, const side *s, double d)
{
    for (int64_t t = 0; t < s->n; t++) seed[s->at + t] = (float)d;
}

/* KTO's z: the mean log ratio of answers to other prompts, over this micro-batch, at least 0; no gradient. */
static double kto_z(const corpus *k, const micro *b, const float *logp)
{
    double sum = 0;
    for (int64_t i = 0; i < b->n_item; i++) {
        side s = side_sum(k, b, i, 2, logp);
        sum += s.sum - s.ref;
    }
    sum /= (double)b->n_item;
    return sum > 0 ? sum : 0;
}

static void pairs_loss(engine *e, const corpus *k, const micro *b, micro_stats *out, double *pair)
{
    const float *logp = tn_graph_data(e->g, e->out);
    float       *seed = e->train ? tn_graph_data(e->g, e->seed) : NULL;
    double       z = k->pref.kind == TN_PREF_KTO ? kto_z(k, b, logp) : 0;

    if (seed != NULL) memset(seed, 0, (size_t)b->n_out * sizeof *seed);
    for (int64_t i = 0; i < b->n_item; i++) {
        side         w = side_sum(k, b, i, 0, logp), l = side_sum(k, b, i, 1, logp);
        tn_pref_pair x = { w.sum, l.sum, w.ref, l.ref, (double)k->pair.pair[b->index[i]].p, z, w.n, l.n };
        tn_pref_out  r = tn_pref_loss(&k->pref, &x);
        double       weight = (double)k->pair.pair[b->index[i]].weight_16 / 65536.0;
        if (seed != NULL) {
            seed_set(seed, &w, weight * r.dchosen);
            seed_set(seed, &l, weight * r.drejected);
        }
        out->v[STAT_LOSS] += weight * r.loss;
        out->v[STAT_MARGIN] += r.margin;
        out->v[STAT_RIGHT] += r.margin > 0;
        out->v[STAT_LOGP_CHOSEN] += w.sum;
        out->v[STAT_LOGP_REJECTED] += l.sum;
        out->v[STAT_KL] += (w.k3 + l.k3) / (double)(w.n + l.n);
        out->v[STAT_N_CHOSEN] += (double)w.n;
        out->v[STAT_N_REJECTED] += (double)l.n;
        if (pair != NULL) pair[i] = r.margin;
    }
}

/* The routers' losses are means over the rows of a micro-batch; the gradients here are of sums over
 * tokens. */
static void routers_scale(engine *e, double aux_scale)
{
    for (int64_t i = 0; i < tn_model_hparams(e->net.model)->n_layer; i++) {
        if (e->net.layer_router[i] == 0) continue;
        tn_router_params *o = tn_graph_params(e->g, e->net.layer_router[i]);
        o->aux_coef = (float)(e->aux_coef * aux_scale);
        o->z_coef = (float)(e->router_z * aux_scale);
    }
}

/* Every answer has what the reference says of it. */
static tn_status reference_check(const corpus *k, const micro *b, tn_error *err)
{
    if (!tn_pref_needs_reference(k->pref.kind)) return TN_OK;
    for (int64_t i = 0; i < b->n_item; i++)
        for (int64_t t = k->reference_at[3 * b->index[i]]; t < k->reference_at[3 * b->index[i] + 3]; t++)
            if (isnan(k->reference[t]))
                return tn_fail(
                    err, TN_FORMAT,
                    "pair %lld has no log-probability by the reference: it gave no number, or was not asked",
                    (long long)b->index[i] + 1);
    return TN_OK;
}

tn_status train_engine_run(engine *e, const corpus *k, const micro *b, double aux_scale, micro_stats *out,
                           double *pair, tn_error *err)
{
    *out = (micro_stats){ .weight_16 = b->weight_16, .n_item = b->n_item, .n_row = b->rows.n };
    TN_TRY(forward(e, b, err));
    if (e->preference) {
        TN_TRY(reference_check(k, b, err));
        pairs_loss(e, k, b, out, pair);
    } else out->v[STAT_LOSS] = *(const float *)tn_graph_data(e->g, e->out);
    if (e->teacher != 0) taught_count(e, b, out);
    if (!e->train) return TN_OK;
    if (e->experts) routers_scale(e, aux_scale);
    return tn_graph_run_backward(e->g, err);
}
