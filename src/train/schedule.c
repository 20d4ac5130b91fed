/* schedule.c - the learning rate of a step: linear warm-up, then constant, linear, cosine or WSD.
 * WSD (2404.06395): constant until the last `decay` share of all steps (never within the warm-up), then 1 -
 * sqrt(share of the decay done). */
#include "train/run.h"

#include <math.h>
#include <string.h>

double tn_schedule_lr(const tn_train_config *c, int64_t step, int64_t steps)
{
    const double pi = 3.14159265358979323846;
    /* 0.29 of 100 is 29 */
    double warm = c->warmup < 1 ? floor(c->warmup * (double)steps + 1e-9) : c->warmup, t = (double)step,
           last = (double)steps;
    if (t <= warm) return c->lr * t / warm;
    /* 0 after the warm-up; the end is just past the last step */
    double x = last > warm ? (t - 1 - warm) / (last - warm) : 1;
    if (x > 1) x = 1;
    if (strcmp(c->schedule, "constant") == 0) return c->lr;
    if (strcmp(c->schedule, "linear") == 0) return c->lr + (c->lr_min - c->lr) * x;
    if (strcmp(c->schedule, "cosine") == 0)
        return c->lr_min + (c->lr - c->lr_min) * 0.5 * (1 + tn_cos(pi * x));
    double start = fmax(warm, last * (1 - c->decay)), done = (t - 1 - start) / (last - start);
    return done <= 0 ? c->lr : c->lr_min + (c->lr - c->lr_min) * (1 - sqrt(done));
}

/* Not among the config's checks: a replay of a run that was made so is still a replay. */
tn_status train_warmup_check(const tn_train_config *c, int64_t steps, tn_error *err)
{
    if (steps == 0 || c->warmup < 1 || c->warmup <= (double)steps) return TN_OK;
    return tn_fail(err, TN_USAGE,
                   "warmup is %g steps and the run has %lld: the learning rate would never reach lr; give "
                   "fewer steps of warm-up, or a share of "
                   "all steps (warmup: 0.1)",
                   c->warmup, (long long)steps);
}
