/* order.c - which sample comes next: a pure function of (seed, i).
 *
 * Round r of a mixture is TN_MIX_ROUND slots; slot j of the round is element perm(j) of the list "count[0] times source
 * 0, count[1] times source 1, ...", and the draw inside the source is r * count + place in the list. So a source gets its exact
 * share in every round and walks through all its samples before it repeats one. */
#include "data/data.h"

#include <math.h>

tn_status tn_mix_init(tn_mix *m, const int64_t *n_sample, const double *weights, int n, uint64_t seed, bool shuffle, tn_error *err)
{
    double w[TN_MIX_MAX], total = 0, rest[TN_MIX_MAX];
    int64_t given = 0;

    if (n < 1 || n > TN_MIX_MAX) return tn_fail(err, TN_USAGE, "%d data sources; 1 to %d are possible", n, TN_MIX_MAX);
    *m = (tn_mix){ .n_source = n, .seed = seed, .shuffle = shuffle };
    for (int k = 0; k < n; k++) {
        m->n_sample[k] = n_sample[k];
        if (n_sample[k] < 1)
            return tn_fail(err, TN_FORMAT, "data source %d has no sample: it is empty, or every document is too short to train on", k + 1);
        w[k] = weights != NULL ? weights[k] : (double)n_sample[k];
        if (!isfinite(w[k]) || w[k] < 0) return tn_fail(err, TN_USAGE, "weight %d of the mixture is %g; it must be finite and not negative", k + 1, w[k]);
        total += w[k];
    }
    if (total <= 0) return tn_fail(err, TN_USAGE, "the weights of the mixture add up to nothing");
    for (int k = 0; k < n; k++) {
        double share = w[k] / total * TN_MIX_ROUND;
        m->count[k] = (int64_t)floor(share);
        rest[k] = share - floor(share);
        given += m->count[k];
    }
    for (; given < TN_MIX_ROUND; given++) {                  /* largest remainder; ties to the earlier source */
        int best = 0;
        for (int k = 1; k < n; k++) if (rest[k] > rest[best]) best = k;
        m->count[best]++;
        rest[best] = -1;
    }
    return TN_OK;
}

void tn_mix_at(const tn_mix *m, uint64_t i, int *source, int64_t *index)
{
    uint64_t round = i / TN_MIX_ROUND, slot = i % TN_MIX_ROUND, draw;
    int k = 0;

    if (m->n_source == 1) {
        draw = i;
    } else {
        tn_rng_key key = { m->seed, TN_RNG_MIXTURE, round, 0 };
        uint64_t place = tn_rng_permute(&key, slot, TN_MIX_ROUND);
        while (place >= (uint64_t)m->count[k]) place -= (uint64_t)m->count[k++];
        draw = round * (uint64_t)m->count[k] + place;
    }
    uint64_t n = (uint64_t)m->n_sample[k], epoch = draw / n, at = draw % n;
    tn_rng_key key = { m->seed, TN_RNG_SHUFFLE, epoch, (uint64_t)k };
    *source = k;
    *index = (int64_t)(m->shuffle ? tn_rng_permute(&key, at, n) : at);
}
