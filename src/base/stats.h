/* stats.h - intervals and tests used by eval, align and reports. Doubles, counter RNG, the same answer
 * everywhere. */
#ifndef TN_BASE_STATS_H
#define TN_BASE_STATS_H

#include "base/rng.h"
#include "base/err.h"

typedef struct tn_interval {
    double lo, hi;
} tn_interval;

double      tn_normal_quantile(double p);                          /* inverse of the normal CDF */
tn_interval tn_wilson(int64_t hits, int64_t n, double confidence); /* n = 0: [0,1] */
double      tn_zero_hits_upper(int64_t n, double confidence);      /* 1 - (1-confidence)^(1/n) */
int         tn_f64_order(const void *a, const void *b);            /* for qsort: the smallest first */
double      tn_mean(const double *x, int64_t n);
double      tn_stderr_mean(const double *x, int64_t n); /* sample sd / sqrt(n); NaN for n < 2 */
/* Clustered standard error of the mean; cluster[i] is any id. */
tn_status tn_stderr_clustered(double *out, const double *x, const int64_t *cluster, int64_t n, tn_error *err);
/* Student's t with any degrees of freedom: two-sided p of |t|, and the t that this share lies below. */
double tn_student_p(double t, double df);
double tn_student_quantile(double p, double df);
double tn_mcnemar_exact(int64_t b, int64_t c); /* two-sided p */
/* Percentile interval of the mean by resampling clusters (pass NULL for one item each). */
tn_status tn_bootstrap_mean(tn_interval *out, const double *x, const int64_t *cluster, int64_t n, int n_rep,
                            double confidence, uint64_t seed, tn_error *err);
/* Holm: adjusted p-values in place of p[], any order. */
tn_status tn_holm(double *p, int n, tn_error *err);
/* Rogan-Gladen: true rate from an observed one with a judge of given sensitivity and specificity; NaN if
 * se+sp-1 < 0.1 */
double tn_rogan_gladen(double observed, double se, double sp);

#endif
