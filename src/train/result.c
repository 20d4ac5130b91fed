/* result.c - what a run tells of itself: the means of a step's rows or pairs, and at its end result.json, the
 * principles and its lines below the table of --timing. */
#include "train/run.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/str.h"

void train_step_means(const run *r, tn_train_step *s)
{
    const double *v = r->total.v, n = (double)r->total.n_item;

    s->preference = r->data.pairs;
    s->compared = r->data.pairs && tn_pref_needs_reference(r->data.pref.kind);
    s->taught = r->data.teacher.n > 0;
    if (s->taught) s->kl = (float)(v[STAT_KL] / (v[STAT_N_TAUGHT] > 0 ? v[STAT_N_TAUGHT] : 1));
    if (!s->preference) return;
    s->margin = (float)(v[STAT_MARGIN] / n);
    s->accuracy = (float)(v[STAT_RIGHT] / n);
    s->logp_chosen = (float)(v[STAT_LOGP_CHOSEN] / n);
    s->logp_rejected = (float)(v[STAT_LOGP_REJECTED] / n);
    s->length_chosen = (float)(v[STAT_N_CHOSEN] / n);
    s->length_rejected = (float)(v[STAT_N_REJECTED] / n);
    if (s->compared) s->kl = (float)(v[STAT_KL] / n);
}

tn_status train_result_principles(const run *r, tn_train_result *out, tn_error *err)
{
    int n = r->data.pair.n_principle;
    if (n == 0) return TN_OK;
    if ((out->principle = calloc((size_t)n, sizeof *out->principle)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the principles");
    for (int i = 0; i < n; i++) {
        const principle_stats *s = &r->principle[i];
        tn_train_principle    *p = &out->principle[i];
        snprintf(p->name, sizeof p->name, "%s", r->data.pair.principle[i]);
        p->n = s->n;
        p->margin = s->n > 0 ? s->margin / (double)s->n : 0;
        p->accuracy = s->n > 0 ? s->right / (double)s->n : 0;
    }
    out->n_principle = n;
    return TN_OK;
}

tn_status train_result_save(const run *r, const tn_train_result *out, tn_error *err)
{
    char     *path = tn_path(r->io->out, "result.json"), root[TN_SHA256_HEX], log[TN_SHA256_HEX];
    json_t   *o;
    tn_status status = TN_NOMEM;
    tn_hex(root, &out->weights_root);
    tn_hex(log, &out->log_root);
    o = json_pack("{s:I,s:b,s:o,s:I,s:s,s:s}", "steps", (json_int_t)out->steps, "finished", out->finished,
                  "loss", tn_json_f32(out->loss), "tokens", (json_int_t)out->tokens, "weights_root", root,
                  "log_root", log);
    if (path != NULL && o != NULL) status = tn_json_save(path, o, true, err);
    else tn_fail(err, TN_NOMEM, "no memory for the result");
    json_decref(o);
    free(path);
    return status;
}

void train_timing_notes(const run *r, int64_t n_step, double seconds)
{
    double in_graph = tn_graph_timed_seconds(r->train.g);
    char   line[160];

    if (in_graph == 0) return;
    snprintf(line, sizeof line, "%-18s %-9s %9lld %11.2f %10s %6.1f%%  of the steps' %.2f ms", "outside", "",
             (long long)n_step, 1e3 * (seconds - in_graph), "-", 100 * (seconds - in_graph) / seconds,
             1e3 * seconds);
    tn_graph_timing_note(line);
    if (r->size == 1) return;
    snprintf(line, sizeof line,
             "exchange           %.1f%% of the gradients' way began before the backward pass had ended",
             100 * train_overlap_share(r));
    tn_graph_timing_note(line);
}

void tn_train_result_free(tn_train_result *r)
{
    free(r->principle);
    free(r->weights);
    r->weights = NULL;
    r->principle = NULL;
    r->n_principle = 0;
}
