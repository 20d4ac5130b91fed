/* power.c - what a comparison can see, said before it is made.
 *
 * Two models on the same n rows: the smallest change of a right-or-wrong score that a paired test at 5 %
 * finds with 80 % power. d = share of rows on which the two disagree; a difference D has variance (d - D^2) /
 * n; d = 0.2 is usual for a model and its fine-tuned child (what is seen then is smaller where they disagree
 * less). */
#include "base/stats.h"
#include "eval/eval.h"

#include <math.h>

#define DISAGREE 0.2
#define ALPHA 0.05
#define POWER 0.8

json_t *tn_eval_power(const char *const *names, const int64_t *n, size_t n_task)
{
    double  z = tn_normal_quantile(1 - ALPHA / 2) + tn_normal_quantile(POWER);
    json_t *list = json_array();

    for (size_t i = 0; i < n_task; i++) {
        /* D = z sqrt((d - D^2) / n), solved for D */
        double m = (double)n[i], d = z * sqrt(DISAGREE / (m + z * z));
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:f, s:f, s:f}", "task", names[i], "n", (json_int_t)n[i],
                                        "smallest", fmin(d, DISAGREE), "power", POWER, "disagree", DISAGREE));
    }
    return list;
}
