/* stats.c - intervals and tests (see stats.h). Doubles; log, exp and the like come from libm, whose last bits
 * may differ between versions: figures are for people and gates, never inputs of a stage that must replay to
 * the bit beyond the digits that reports print. */
#include "base/stats.h"

#include <math.h>
#include <stdlib.h>

/* Acklam's rational approximation of the inverse normal CDF, then one Halley step: about 1e-15 relative. */
double tn_normal_quantile(double p)
{
    static const double a[] = { -3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                                1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00 };
    static const double b[] = { -5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                                6.680131188771972e+01, -1.328068155288572e+01 };
    static const double c[] = { -7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                                -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00 };
    static const double d[] = { 7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                                3.754408661907416e+00 };
    double              x, q;

    if (!(p > 0 && p < 1)) return p == 0 ? -INFINITY : p == 1 ? INFINITY : NAN;
    if (p < 0.02425 || p > 1 - 0.02425) {
        q = sqrt(-2 * log(p < 0.5 ? p : 1 - p));
        x = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
            ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
        if (p > 0.5) x = -x;
    } else {
        q = p - 0.5;
        double r = q * q;
        x = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
            (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
    }
    double e = 0.5 * erfc(-x / sqrt(2.0)) - p, u = e * sqrt(2 * M_PI) * exp(x * x / 2);
    return x - u / (1 + x * u / 2);
}

tn_interval tn_wilson(int64_t hits, int64_t n, double confidence)
{
    if (n <= 0) return (tn_interval){ 0, 1 };
    double z = tn_normal_quantile(0.5 + confidence / 2), m = (double)n, p = (double)hits / m, z2 = z * z;
    double mid = (p + z2 / (2 * m)) / (1 + z2 / m),
           half = z / (1 + z2 / m) * sqrt(p * (1 - p) / m + z2 / (4 * m * m));

    return (tn_interval){ hits == 0 ? 0 : fmax(0, mid - half), hits == n ? 1 : fmin(1, mid + half) };
}

double tn_zero_hits_upper(int64_t n, double confidence)
{
    return n <= 0 ? 1 : -expm1(log(1 - confidence) / (double)n);
}

int tn_f64_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double tn_mean(const double *x, int64_t n)
{
    double s = 0;

    for (int64_t i = 0; i < n; i++) s += x[i];
    return n > 0 ? s / (double)n : NAN;
}

double tn_stderr_mean(const double *x, int64_t n)
{
    if (n < 2) return NAN;
    double m = tn_mean(x, n), s = 0;
    for (int64_t i = 0; i < n; i++) s += (x[i] - m) * (x[i] - m);
    return sqrt(s / (double)(n - 1) / (double)n);
}

/* Items sorted by cluster, so that each cluster is one run of equal ids. */
typedef struct item {
    int64_t cluster, index;
} item;

static int item_order(const void *a, const void *b)
{
    const item *x = a, *y = b;

    if (x->cluster != y->cluster) return x->cluster < y->cluster ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static item *items_sorted(const int64_t *cluster, int64_t n)
{
    item *it = malloc((size_t)(n > 0 ? n : 1) * sizeof *it);

    for (int64_t i = 0; it != NULL && i < n; i++) it[i] = (item){ cluster != NULL ? cluster[i] : i, i };
    if (it != NULL) qsort(it, (size_t)n, sizeof *it, item_order);
    return it;
}

tn_status tn_stderr_clustered(double *out, const double *x, const int64_t *cluster, int64_t n, tn_error *err)
{
    item   *it = items_sorted(cluster, n);
    double  mean = tn_mean(x, n), sum = 0, one = 0;
    int64_t n_cluster = 0;

    *out = NAN;
    if (it == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a standard error over %lld items", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        one += x[it[i].index] - mean;
        if (i + 1 == n || it[i + 1].cluster != it[i].cluster) {
            sum += one * one;
            one = 0;
            n_cluster++;
        }
    }
    free(it);
    if (n_cluster >= 2) *out = sqrt((double)n_cluster / (double)(n_cluster - 1) * sum) / (double)n;
    return TN_OK;
}

/* Regularised incomplete beta function by Lentz's continued fraction; x below (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    double c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), h = d;

    for (int m = 1; m < 500; m++) {
        double e = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 / (1 + e * d);
        c = 1 + e / c;
        h *= d * c;
        e = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / (1 + e * d);
        c = 1 + e / c;
        h *= d * c;
        if (fabs(d * c - 1) < 1e-15) break;
    }
    return h;
}

static double beta_share(double x, double a, double b)
{
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(x, a, b) / a
                                     : 1 - front * beta_fraction(1 - x, b, a) / b;
}

double tn_student_p(double t, double df)
{
    return df > 0 && !isnan(t) ? beta_share(df / (df + t * t), df / 2, 0.5) : NAN;
}

double tn_student_quantile(double p, double df)
{
    double lo = 0, hi = 1, tail = 2 * fmin(p, 1 - p);

    if (!(p > 0 && p < 1) || !(df > 0)) return NAN;
    while (tn_student_p(hi, df) > tail && hi < 1e12) hi *= 2;
    for (int i = 0; i < 200 && hi - lo > 1e-14 * hi; i++) {
        double mid = (lo + hi) / 2;
        if (tn_student_p(mid, df) > tail) lo = mid;
        else hi = mid;
    }
    return p < 0.5 ? -hi : hi;
}

static double log_choose(int64_t n, int64_t k)
{
    return lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1);
}

double tn_mcnemar_exact(int64_t b, int64_t c)
{
    int64_t n = b + c, least = b < c ? b : c;
    double  p = 0;

    for (int64_t i = 0; i <= least; i++) p += exp(log_choose(n, i) - (double)n * M_LN2);
    return fmin(1, 2 * p);
}

/* Linear interpolation between order statistics (type 7). */
static double quantile_sorted(const double *x, int64_t n, double p)
{
    double  h = p * (double)(n - 1);
    int64_t i = (int64_t)floor(h);

    return i + 1 < n ? x[i] + (h - (double)i) * (x[i + 1] - x[i]) : x[n - 1];
}

tn_status tn_bootstrap_mean(tn_interval *out, const double *x, const int64_t *cluster, int64_t n, int n_rep,
                            double confidence, uint64_t seed, tn_error *err)
{
    tn_status status = TN_OK;
    item     *it = items_sorted(cluster, n);
    double   *sum = malloc((size_t)(n > 0 ? n : 1) * sizeof *sum),
           *rep = malloc((size_t)(n_rep > 0 ? n_rep : 1) * sizeof *rep);
    int64_t *count = malloc((size_t)(n > 0 ? n : 1) * sizeof *count), n_cluster = 0;

    *out = (tn_interval){ NAN, NAN };
    if (it == NULL || sum == NULL || rep == NULL || count == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a bootstrap over %lld items", (long long)n);
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || it[i].cluster != it[i - 1].cluster) {
            sum[n_cluster] = 0;
            count[n_cluster++] = 0;
        }
        sum[n_cluster - 1] += x[it[i].index];
        count[n_cluster - 1]++;
    }
    if (n_cluster == 0 || n_rep < 1) goto out;
    for (int r = 0; r < n_rep; r++) {
        tn_rng_key key = { seed, TN_RNG_BOOTSTRAP, (uint64_t)r, 0 };
        double     s = 0;
        int64_t    m = 0;

        for (int64_t k = 0; k < n_cluster; k++) {
            uint64_t pick = tn_rng_below(&key, (uint64_t)k, (uint64_t)n_cluster);
            s += sum[pick];
            m += count[pick];
        }
        rep[r] = s / (double)m;
    }
    qsort(rep, (size_t)n_rep, sizeof *rep, tn_f64_order);
    *out = (tn_interval){ quantile_sorted(rep, n_rep, 0.5 - confidence / 2),
                          quantile_sorted(rep, n_rep, 0.5 + confidence / 2) };
out:
    free(it);
    free(sum);
    free(rep);
    free(count);
    return status;
}

typedef struct ranked {
    double p;
    int    index;
} ranked;

static int ranked_order(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    if (x->p != y->p) return x->p < y->p ? -1 : 1;
    return x->index - y->index;
}

tn_status tn_holm(double *p, int n, tn_error *err)
{
    ranked *r = malloc((size_t)(n > 0 ? n : 1) * sizeof *r);
    double  worst = 0;

    if (r == NULL) return tn_fail(err, TN_NOMEM, "no memory for a Holm correction of %d tests", n);
    for (int i = 0; i < n; i++) r[i] = (ranked){ p[i], i };
    qsort(r, (size_t)n, sizeof *r, ranked_order);
    for (int i = 0; i < n; i++) {
        worst = fmax(worst, fmin(1, r[i].p * (double)(n - i)));
        p[r[i].index] = worst;
    }
    free(r);
    return TN_OK;
}

double tn_rogan_gladen(double observed, double se, double sp)
{
    double youden = se + sp - 1;

    return youden < 0.1 ? NAN : fmin(1, fmax(0, (observed + sp - 1) / youden));
}
