/* order.c - which sample comes next: a pure function of (seed, i).
 *
 * By size, several sources are one: epoch e is a keyed permutation of all samples, source after source. So an
 * epoch is every sample once, as if the sources had been one file.
 *
 * By weights, a round is TN_MIX_ROUND draws, and every round takes the sources in the same keyed arrangement,
 * a table. The draws of a source are numbered through all rounds (so many a round, and so many before it in
 * the table), and draw d of a source is sample d of its own epochs. So in every beginning of the run a source
 * has been walked through before one of its samples comes again. */
#include "data/data.h"

#include <math.h>

/* Integer counts for a round: largest remainder, ties to the earlier source. */
static tn_status counts_make(tn_mix *m, const double *weights, tn_error *err)
{
    double  w[TN_MIX_MAX], total = 0, rest[TN_MIX_MAX];
    int64_t given = 0;
    int     largest = 0, exponent;

    for (int k = 0; k < m->n_source; k++) {
        if (!isfinite(weights[k]) || weights[k] < 0)
            return tn_fail(err, TN_USAGE,
                           "weight %d of the mixture is %g; it must be finite and not negative", k + 1,
                           weights[k]);
        if (weights[k] > weights[largest]) largest = k;
    }
    if (weights[largest] <= 0) return tn_fail(err, TN_USAGE, "the weights of the mixture add up to nothing");
    /* Only their ratios count: by a power of two, which rounds nothing, to a sum that cannot overflow. */
    frexp(weights[largest], &exponent);
    for (int k = 0; k < m->n_source; k++) total += w[k] = ldexp(weights[k], -exponent);
    for (int k = 0; k < m->n_source; k++) {
        double share = w[k] / total * TN_MIX_ROUND;
        m->count[k] = (int64_t)floor(share);
        rest[k] = share - floor(share);
        given += m->count[k];
    }
    for (; given < TN_MIX_ROUND; given++) {
        int best = 0;
        for (int k = 1; k < m->n_source; k++)
            if (rest[k] > rest[best]) best = k;
        m->count[best]++;
        rest[best] = -1;
    }
    for (int k = 0; k < m->n_source; k++)
        if (m->count[k] == 0 && weights[k] > 0)
            return tn_fail(err, TN_USAGE,
                           "weight %d of the mixture, %g, gives its source none of the %d draws of a round; "
                           "raise it to %.3g, or make it 0 to leave the "
                           "source out",
                           k + 1, weights[k], TN_MIX_ROUND,
                           ldexp((total - w[k]) / (TN_MIX_ROUND - 1) * 1.01, exponent));
    return TN_OK;
}

tn_status tn_mix_init(tn_mix *m, const int64_t *n_sample, const double *weights, int n, uint64_t seed,
                      bool shuffle, tn_error *err)
{
    int32_t drawn[TN_MIX_MAX] = { 0 };

    if (n < 1 || n > TN_MIX_MAX)
        return tn_fail(err, TN_USAGE, "%d data sources; 1 to %d are possible", n, TN_MIX_MAX);
    *m = (tn_mix){ .n_source = n, .weighted = weights != NULL && n > 1, .seed = seed, .shuffle = shuffle };
    for (int k = 0; k < n; k++) {
        m->n_sample[k] = n_sample[k];
        m->n_total += n_sample[k];
        if (n_sample[k] < 1)
            return tn_fail(
                err, TN_FORMAT,
                "data source %d has no sample: it is empty, or every document is too short to train on",
                k + 1);
    }
    if (weights != NULL) TN_TRY(counts_make(m, weights, err));
    for (int slot = 0; m->weighted && slot < TN_MIX_ROUND; slot++) {
        tn_rng_key key = { seed, TN_RNG_MIXTURE, 0, 0 };
        int64_t    place = (int64_t)tn_rng_permute(&key, (uint64_t)slot, TN_MIX_ROUND);
        int        k = 0;
        while (place >= m->count[k]) place -= m->count[k++];
        m->slot[slot].source = (int16_t)k;
        m->slot[slot].before = (int16_t)drawn[k]++;
    }
    return TN_OK;
}

/* Sample `draw` of the endless row of epochs over n samples. */
static int64_t walk(const tn_mix *m, uint64_t draw, uint64_t n, uint64_t who)
{
    tn_rng_key key = { m->seed, TN_RNG_SHUFFLE, draw / n, who };
    return (int64_t)(m->shuffle ? tn_rng_permute(&key, draw % n, n) : draw % n);
}

void tn_mix_at(const tn_mix *m, uint64_t i, int *source, int64_t *index)
{
    int k = 0;

    if (m->weighted) {
        k = m->slot[i % TN_MIX_ROUND].source;
        uint64_t draw = i / TN_MIX_ROUND * (uint64_t)m->count[k] + (uint64_t)m->slot[i % TN_MIX_ROUND].before;
        *index = walk(m, draw, (uint64_t)m->n_sample[k], (uint64_t)k);
    } else {
        *index = walk(m, i, (uint64_t)m->n_total, 0);
        while (*index >= m->n_sample[k]) *index -= m->n_sample[k++];
    }
    *source = k;
}
