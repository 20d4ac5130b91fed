/* moves.c - the plain loops of moves.h: the definition. */
#include "tensor/moves.h"

#include "tensor/op_util.h"

static void copy(float *y, const float *x, int64_t n) { memcpy(y, x, (size_t)n * 4); }
static void add(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}
static void scale(float *y, float s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] *= s;
}

static float dot(const float *a, const float *b, int64_t n)
{
    float lane[16] = { 0 };
    for (int64_t i = 0; i < n; i++) lane[i % 16] = fmaf(a[i], b[i], lane[i % 16]);
    return tn_lane_sum(lane);
}

static void combine(float *y, const float *o, const int32_t *place, const float *w, int64_t k, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = 0.0f;
        for (int64_t j = 0; j < k; j++) v = place[j] < 0 ? NAN : fmaf(w[j], o[place[j] * n + i], v);
        y[i] = v;
    }
}

static void spread(float *dx, const float *from, const int32_t *place, int64_t k, int64_t n, bool more)
{
    for (int64_t i = 0; i < n; i++) {
        float v = more ? dx[i] : 0.0f;
        for (int64_t j = 0; j < k; j++)
            if (place[j] >= 0) v += from[place[j] * n + i];
        dx[i] = v;
    }
}

static float exps(float *e, const float *l, int64_t n, float *top)
{
    float lane[16] = { 0 };
    *top = -INFINITY;
    for (int64_t i = 0; i < n; i++) *top = l[i] > *top ? l[i] : *top;
    for (int64_t i = 0; i < n; i++) {
        e[i] = tn_expf(l[i] - *top);
        lane[i % 16] += e[i];
    }
    return tn_lane_sum(lane);
}

static float sigmoids(float *s, const float *l, int64_t n)
{
    float lane[16] = { 0 };
    for (int64_t i = 0; i < n; i++) {
        s[i] = tn_sigmoidf(l[i]);
        lane[i % 16] += s[i];
    }
    return tn_lane_sum(lane);
}

static void divide(float *y, const float *x, float d, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] / d;
}

static void add_soft(float *y, const float *l, float lse, float f, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = fmaf(f, tn_expf(l[i] - lse), y[i]);
}

static void softmax_back(float *dl, const float *p, const float *dp, int64_t n)
{
    float mean = dot(p, dp, n);
    for (int64_t i = 0; i < n; i++) dl[i] = p[i] * (dp[i] - mean);
}

const tn_moves tn_moves_ref = { copy, add,      scale,  dot,      combine,     spread,
                                exps, sigmoids, divide, add_soft, softmax_back };
