/* policy.c - steps whose numbers are bad: not a number, or a gradient norm far above what was seen lately.
 *
 *   stop   end with an error; the newest checkpoint stays
 *   skip   no update for this batch; the next one follows
 *   back   load the newest checkpoint and pass over all batches from there up to this one
 *
 * The decision is a function of the losses and norms in the step log, so a resumed or replayed run decides
 * the same. */
#include "train/policy.h"
#include "train/run.h"

#include <math.h>
#include <string.h>

void train_policy_seen(policy *p, float grad_norm) { p->norm[p->n++ % POLICY_WINDOW] = grad_norm; }

void train_policy_recall(policy *p, const tn_step_record *rec, size_t n)
{
    *p = (policy){ 0 };
    for (size_t i = 0; i < n; i++)
        if (rec[i].note[0] == '\0') train_policy_seen(p, rec[i].grad_norm);
}

bool train_goes_back(const tn_train_config *c)
{
    return c->checkpoint_every > 0 &&
           (strcmp(c->on_nan, "back") == 0 || (c->spike > 0 && strcmp(c->on_spike, "back") == 0));
}

static policy_action by_name(const char *name)
{
    return strcmp(name, "skip") == 0 ? POLICY_SKIP : strcmp(name, "back") == 0 ? POLICY_BACK : POLICY_STOP;
}

policy_action train_policy_decide(const policy *p, const tn_train_config *c, float loss, float grad_norm,
                                  char why[200])
{
    if (!isfinite(loss) || !isfinite(grad_norm)) {
        snprintf(why, 200, "the loss is %g and the gradient norm %g", (double)loss, (double)grad_norm);
        return by_name(c->on_nan);
    }
    if (c->spike <= 0 || p->n < POLICY_WINDOW) return POLICY_GO_ON;
    double sum = 0, square = 0;
    for (int i = 0; i < POLICY_WINDOW; i++) sum += (double)p->norm[i];
    double mean = sum / POLICY_WINDOW;
    for (int i = 0; i < POLICY_WINDOW; i++)
        square += ((double)p->norm[i] - mean) * ((double)p->norm[i] - mean);
    double sd = sqrt(square / (POLICY_WINDOW - 1));
    if (sd <= 0 || ((double)grad_norm - mean) / sd <= c->spike) return POLICY_GO_ON;
    snprintf(why, 200, "the gradient norm %g lies %.1f standard deviations above the last %d (mean %g)",
             (double)grad_norm, ((double)grad_norm - mean) / sd, POLICY_WINDOW, mean);
    return by_name(c->on_spike);
}
