/* sample.c - from a row of logits to a token.
 *
 *   logits ─ penalties ─ temperature ─ top-k ─ top-p ─ min-p ─→ weights ─→ the counter RNG's number picks one
 *
 * The number is a function of (seed, sample id, number of the token in the answer), and sums run in a fixed order, so
 * the choice does not depend on the batch or the threads. Log-probabilities are those of the unchanged logits. */
#include "infer/engine_impl.h"

#include <math.h>
#include <string.h>

tn_sampling tn_sampling_default(void)
{
    return (tn_sampling){ .max_tokens = 256, .temperature = 0, .top_p = 1, .repetition_penalty = 1 };
}

int32_t tn_argmax(const float *x, int64_t n)
{
    float   lane[16];
    int64_t i = 0;

    for (int k = 0; k < 16; k++) lane[k] = -INFINITY;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++) lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];       /* NaN never wins */
    float best = tn_lane_max(lane);
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    for (i = 0; i < n; i++)
        if (x[i] == best) return (int32_t)i;
    return 0;
}

/* ---------------------------------------------------------------------------------- the best ones, in order, by a heap */

/* b before a in the answer? Larger logit first, ties by the lower id. */
static bool better(const float *x, int32_t a, int32_t b) { return x[a] > x[b] || (x[a] == x[b] && a < b); }

/* A heap with the worst of the chosen on top. */
static void sift(const float *x, int32_t *heap, int64_t n, int64_t i)
{
    for (;;) {
        int64_t worst = i, l = 2 * i + 1, r = l + 1;
        if (l < n && better(x, heap[worst], heap[l])) worst = l;
        if (r < n && better(x, heap[worst], heap[r])) worst = r;
        if (worst == i) return;
        int32_t t = heap[i];
        heap[i] = heap[worst];
        heap[worst] = t;
        i = worst;
    }
}

/* The k best of n into ids, best first. */
static void best_k(const float *x, int64_t n, int64_t k, int32_t *ids)
{
    for (int64_t i = 0; i < k; i++) ids[i] = (int32_t)i;
    for (int64_t i = k / 2; i-- > 0;) sift(x, ids, k, i);
    for (int64_t i = k; i < n; i++)
        if (better(x, (int32_t)i, ids[0])) {
            ids[0] = (int32_t)i;
            sift(x, ids, k, 0);
        }
    for (int64_t m = k - 1; m > 0; m--) {
        int32_t t = ids[0];
        ids[0] = ids[m];
        ids[m] = t;
        sift(x, ids, m, 0);
    }
}

void tn_top_k(const float *logits, int64_t n_vocab, int k, int32_t *ids)
{
    best_k(logits, n_vocab, k < n_vocab ? k : n_vocab, ids);
}

/* ------------------------------------------------------------------------------------------------------- penalties */

static bool has_penalties(const tn_sampling *s)
{
    return (s->repetition_penalty != 1 && s->repetition_penalty > 0) || s->presence_penalty != 0 || s->frequency_penalty != 0;
}

/* repetition: prompt and answer, as in transformers; presence and frequency: the answer, as in OpenAI's interface. */
static void apply_penalties(float *x, int64_t n, const tn_sampling *s, const tn_seen *seen)
{
    float rep = s->repetition_penalty > 0 ? (float)s->repetition_penalty : 1.0f;

    for (int64_t i = 0; i < n; i++) {
        if (seen->present[i] && rep != 1.0f) x[i] = x[i] > 0 ? x[i] / rep : x[i] * rep;
        if (seen->n_generated[i] > 0)
            x[i] = x[i] - (float)s->presence_penalty - (float)s->frequency_penalty * (float)seen->n_generated[i];
    }
}

/* ---------------------------------------------------------------------------------------------------------- choosing */

static int32_t pick(const float *weight, const int32_t *ids, int64_t n, double total, double u)
{
    double  goal = u * total, sum = 0;
    int64_t i;

    for (i = 0; i < n; i++) {
        sum += (double)weight[i];
        if (sum > goal) break;
    }
    if (i == n) for (i = n - 1; i > 0 && weight[i] == 0; i--) {}       /* rounding at the very end */
    return ids != NULL ? ids[i] : (int32_t)i;
}

int32_t tn_sample(const float *logits, int64_t n_vocab, const tn_sampling *s, const tn_seen *seen, uint64_t sample_id, int64_t i_token,
                  float *work, int32_t *ids)
{
    const float *x = logits;
    double       total = 0;

    if (has_penalties(s) && seen->present != NULL) {
        memcpy(work, logits, (size_t)n_vocab * sizeof *work);
        apply_penalties(work, n_vocab, s, seen);
        x = work;
    }
    if (!(s->temperature > 0)) return tn_argmax(x, n_vocab);

    tn_rng_key key = { .seed = s->seed, .purpose = TN_RNG_SAMPLE, .sample = sample_id };
    double     u = tn_rng_unit(&key, (uint64_t)i_token);
    float      max = x[tn_argmax(x, n_vocab)], inv_t = (float)(1 / s->temperature);
    bool       sorted = (s->top_k > 0 && s->top_k < n_vocab) || s->top_p < 1;
    int64_t    n = n_vocab;

    if (sorted) {
        /* top-p rarely needs many: sort 256 at first, everything only if they do not hold the mass */
        int64_t k = s->top_k > 0 && s->top_k < n_vocab ? s->top_k : n_vocab < 256 ? n_vocab : 256;
        double  all = 0;
        if (s->top_k <= 0 || s->top_k >= n_vocab)
            for (int64_t i = 0; i < n_vocab; i++) all += (double)tn_expf((x[i] - max) * inv_t);
        for (;;) {
            best_k(x, n_vocab, k, ids);
            n = k;
            double mass = 0, sum = 0, limit;
            for (int64_t i = 0; i < k; i++) mass += (double)tn_expf((x[ids[i]] - max) * inv_t);
            limit = s->top_p * (s->top_k > 0 && s->top_k < n_vocab ? mass : all);
            if (s->top_p >= 1) break;
            for (n = 0; n < k;) {
                sum += (double)tn_expf((x[ids[n++]] - max) * inv_t);
                if (sum >= limit) break;
            }
            if (n < k || sum >= limit || k == n_vocab || (s->top_k > 0 && s->top_k < n_vocab)) break;
            k = k > n_vocab / 8 ? n_vocab : 8 * k;
        }
        float *w = work + n_vocab;
        for (int64_t i = 0; i < n; i++) {
            w[i] = tn_expf((x[ids[i]] - max) * inv_t);
            if (w[i] < (float)s->min_p) w[i] = 0;
            total += (double)w[i];
        }
        return pick(w, ids, n, total, u);
    }
    float *w = work + n_vocab;
    for (int64_t i = 0; i < n_vocab; i++) {
        w[i] = tn_expf((x[i] - max) * inv_t);
        if (w[i] < (float)s->min_p) w[i] = 0;
        total += (double)w[i];
    }
    return pick(w, NULL, n_vocab, total, u);
}
