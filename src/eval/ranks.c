/* ranks.c - who is better of many models, from judged pairs of answers (Bradley and Terry 1952).
 *
 *   P(i beats j) = g_i / (g_i + g_j)      g_i <- W_i / sum_j n_ij / (g_i + g_j)      (Hunter 2004: rises to the maximum)
 *   rating = 1000 + 400 log10(g_i / g_anchor)
 *
 * A tie is half a win for each. Half a virtual tie with the anchor keeps a model that only won (or only lost)
 * finite. Intervals resample prompts, because one prompt serves many pairs. */
#include "base/rng.h"
#include "base/stats.h"
#include "eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 2000 };

/* wins[i * k + j]: points of i against j. ratings into out[k]. */
static void fit(double *out, const double *wins, int k, int anchor, double *g)
{
    for (int i = 0; i < k; i++) g[i] = 1;
    for (int round = 0; round < ROUNDS; round++) {
        double moved = 0;
        for (int i = 0; i < k; i++) {
            double won = 0, met = 0;
            for (int j = 0; j < k; j++) {
                double extra = (i == anchor) != (j == anchor) ? 0.25 : 0,
                       n = wins[i * k + j] + wins[j * k + i] + 2 * extra;
                if (i == j || n == 0) continue;
                won += wins[i * k + j] + extra;
                met += n / (g[i] + g[j]);
            }
            double next = met > 0 ? won / met : 1;
            moved = fmax(moved, fabs(log(next / g[i])));
            g[i] = next;
        }
        if (moved < 1e-12) break;
    }
    for (int i = 0; i < k; i++) out[i] = 1000 + 400 * log10(g[i] / g[anchor]);
}

static int by_prompt(const void *a, const void *b)
{
    const tn_battle *x = a, *y = b;

    return (x->prompt > y->prompt) - (x->prompt < y->prompt);
}

static void count(double *wins, int k, const tn_battle *b)
{
    wins[b->b * k + b->a] += b->b_won;
    wins[b->a * k + b->b] += 1 - b->b_won;
}

tn_status tn_bradley_terry(tn_rank *out, int k, const tn_battle *battles, size_t n, int anchor, int n_rep,
                           double confidence, uint64_t seed, tn_error *err)
{
    tn_battle *list = malloc((n + 1) * sizeof *list);
    size_t    *begin = malloc((n + 2) * sizeof *begin), n_prompt = 0, k2 = (size_t)k * (size_t)k;
    double    *wins = calloc(k2 + 1, sizeof *wins);
    double    *g = calloc((size_t)k + 1, sizeof *g);
    double    *one = calloc((size_t)k + 1, sizeof *one);
    double    *rep = calloc((size_t)k * (size_t)(n_rep > 0 ? n_rep : 1), sizeof *rep);
    tn_status  status = TN_OK;

    if (list == NULL || begin == NULL || wins == NULL || g == NULL || one == NULL || rep == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the ranks of %d models", k);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        if (battles[i].a < 0 || battles[i].a >= k || battles[i].b < 0 || battles[i].b >= k ||
            battles[i].a == battles[i].b || !(battles[i].b_won >= 0 && battles[i].b_won <= 1)) {
            status = tn_fail(err, TN_FORMAT,
                             "verdict %zu names models %d and %d of %d, and %g points: two different models "
                             "and 0, 0.5 or 1 are expected",
                             i, battles[i].a, battles[i].b, k, battles[i].b_won);
            goto out;
        }
    memcpy(list, battles, n * sizeof *list);
    qsort(list, n, sizeof *list, by_prompt);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || list[i].prompt != list[i - 1].prompt) begin[n_prompt++] = i;
        count(wins, k, &list[i]);
    }
    begin[n_prompt] = n;
    fit(one, wins, k, anchor, g);
    for (int i = 0; i < k; i++) out[i] = (tn_rank){ one[i], { NAN, NAN } };
    for (int r = 0; r < n_rep && n_prompt > 0; r++) {
        tn_rng_key key = { seed, TN_RNG_BOOTSTRAP, (uint64_t)r, 0 };
        memset(wins, 0, k2 * sizeof *wins);
        for (size_t p = 0; p < n_prompt; p++) {
            size_t pick = tn_rng_below(&key, p, n_prompt);
            for (size_t i = begin[pick]; i < begin[pick + 1]; i++) count(wins, k, &list[i]);
        }
        fit(one, wins, k, anchor, g);
        for (int i = 0; i < k; i++) rep[i * n_rep + r] = one[i];
    }
    for (int i = 0; i < k && n_rep > 0 && n_prompt > 0; i++) {
        double *x = rep + i * n_rep;
        int     tail = (int)((1 - confidence) / 2 * n_rep);
        qsort(x, (size_t)n_rep, sizeof *x, tn_f64_order);
        out[i].interval = (tn_interval){ x[tail], x[n_rep - 1 - tail] };
    }
out:
    free(list);
    free(begin);
    free(wins);
    free(g);
    free(one);
    free(rep);
    return status;
}
