/* sample.c - from a row of logits to a token.
 *
 *   logits ─ penalties ─ temperature ─ top-k ─ top-p ─ min-p ─→ weights ─→ the counter RNG's number picks one
 *
 * The number is a function of (seed, sample id, number of the token in the answer), and sums run in a fixed
 * order, so the choice does not depend on the batch or the threads. Log-probabilities are those of the
 * unchanged logits. */
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
        for (int k = 0; k < 16; k++) lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k]; /* NaN never wins */
    float best = tn_lane_max(lane);
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    for (i = 0; i < n; i++)
        if (x[i] == best) return (int32_t)i;
    return 0;
}

/* --------------------------------------------------------------------- the best ones, in order, by a heap */

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

/* ---------------------------------------------------------------------------------------------- penalties */

static bool has_penalties(const tn_sampling *s)
{
    return (s->repetition_penalty != 1 && s->repetition_penalty > 0) || s->presence_penalty != 0 ||
           s->frequency_penalty != 0;
}

/* repetition: prompt and answer, as in transformers; presence and frequency: the answer, as in OpenAI's
 * interface. */
static void apply_penalties(float *x, int64_t n, const tn_sampling *s, const tn_seen *seen)
{
    float rep = s->repetition_penalty > 0 ? (float)s->repetition_penalty : 1.0f;

    for (int64_t i = 0; i < n; i++) {
        if (seen->present[i] && rep != 1.0f) x[i] = x[i] > 0 ? x[i] / rep : x[i] * rep;
        if (seen->n_generated[i] > 0)
            x[i] = x[i] - (float)s->presence_penalty -
                   (float)s->frequency_penalty * (float)seen->n_generated[i];
    }
}

/* ----------------------------------------------------------------------------------------------- choosing */

enum { BLOCK = 64, FIRST_SORTED = 64 };

/* Sum of up to 64 weights: eight lanes, closed by a tree. */
static double block_sum(const float *w, int64_t n)
{
    double lane[8] = { 0 };

    for (int64_t i = 0; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) lane[k] += (double)w[i + k];
    for (int64_t i = n / 8 * 8; i < n; i++) lane[i % 8] += (double)w[i];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* Blocks of 64 one after another: the order is part of what a choice is. */
static double weights_sum(const float *w, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i += BLOCK) sum += block_sum(w + i, n - i < BLOCK ? n - i : BLOCK);
    return sum;
}

/* The index at which the running sum passes u times the whole. */
static int64_t pick(const float *w, int64_t n, double u)
{
    double  goal = u * weights_sum(w, n), sum = 0;
    int64_t i = 0, last = 0;

    for (; i < n; i += BLOCK) {
        double b = block_sum(w + i, n - i < BLOCK ? n - i : BLOCK);
        if (b > 0) last = i;
        if (sum + b > goal) break;
        sum += b;
    }
    if (i >= n) i = last; /* rounding at the very end */
    int64_t end = i + BLOCK < n ? i + BLOCK : n;
    for (last = i; i < end; i++) {
        if (w[i] > 0) last = i;
        sum += (double)w[i];
        if (sum > goal) return i;
    }
    return last;
}

/* w_i = exp((x_i - max) / T), zero below min_p. ids: of these only; NULL: all. */
static void weights_make(float *w, const float *x, const int32_t *ids, int64_t n, float max, float inv_t,
                         float min_p)
{
    for (int64_t i = 0; i < n; i++) w[i] = ((ids != NULL ? x[ids[i]] : x[i]) - max) * inv_t;
    tn_expf_each(w, w, n);
    for (int64_t i = 0; min_p > 0 && i < n; i++)
        if (w[i] < min_p) w[i] = 0;
}

/* The ids that top-k and top-p leave, best first; how many. w: scratch of n_vocab. */
static int64_t leave(const float *x, int64_t n_vocab, const tn_sampling *s, float max, float inv_t, float *w,
                     int32_t *ids)
{
    bool    limited = s->top_k > 0 && s->top_k < n_vocab;
    int64_t k = limited ? s->top_k : n_vocab < FIRST_SORTED ? n_vocab : FIRST_SORTED;
    double  all = 0;

    if (s->top_p < 1 && !limited) {
        weights_make(w, x, NULL, n_vocab, max, inv_t, 0);
        all = weights_sum(w, n_vocab);
    }
    for (;;) {
        best_k(x, n_vocab, k, ids);
        if (s->top_p >= 1) return k;
        weights_make(w, x, ids, k, max, inv_t, 0);
        double  limit = s->top_p * (limited ? weights_sum(w, k) : all), sum = 0;
        int64_t n = 0;
        while (n < k && sum < limit) sum += (double)w[n++];
        if (n == 0) n = 1;
        /* top-p rarely needs many: more are sorted only if these do not hold the mass */
        if (sum >= limit || k == n_vocab || limited) return n;
        k = k > n_vocab / 8 ? n_vocab : 8 * k;
    }
}

int32_t tn_sample(const float *logits, int64_t n_vocab, const tn_sampling *s, const tn_seen *seen,
                  uint64_t sample_id, int64_t i_token, float *work, int32_t *ids)
{
    const float *x = logits;

    if (has_penalties(s) && seen->present != NULL) {
        memcpy(work, logits, (size_t)n_vocab * sizeof *work);
        apply_penalties(work, n_vocab, s, seen);
        x = work;
    }
    int32_t best = tn_argmax(x, n_vocab);
    if (!(s->temperature > 0)) return best;

    tn_rng_key key = { .seed = s->seed, .purpose = TN_RNG_SAMPLE, .sample = sample_id };
    double     u = tn_rng_unit(&key, (uint64_t)i_token);
    float      max = x[best], inv_t = (float)(1 / s->temperature), *w = work + n_vocab;
    bool       sorted = (s->top_k > 0 && s->top_k < n_vocab) || s->top_p < 1;
    int64_t    n = sorted ? leave(x, n_vocab, s, max, inv_t, w, ids) : n_vocab;

    weights_make(w, x, sorted ? ids : NULL, n, max, inv_t, (float)s->min_p);
    int64_t i = pick(w, n, u);
    return sorted ? ids[i] : (int32_t)i;
}
