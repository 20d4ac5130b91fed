/* moves_body.h - moves.h for one instruction set: included by moves_<isa>.c. Private to tensor/cpu. */
#include "tensor/moves.h"

#include "tensor/cpu/row_parts.h"
#include "tensor/cpu/vec_math.h"

/* s continues its lanes with v only where elements i ... are inside the row. */
TN_INLINE vf keep(vf s, vf v, int64_t i, int64_t n)
{
    return i + 16 <= n ? v : vf_sel(vm_range(0, (int)(n - i)), v, s);
}

static void copy(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, get(x, i, n), i, n, false);
}
static void add(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, get(x, i, n), i, n, true);
}
static void scale(float *y, float s, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, vf_mul(get(y, i, n), vf_set(s)), i, n, false);
}

static float dot(const float *a, const float *b, int64_t n)
{
    vf lanes = vf_zero();
    for (int64_t i = 0; i < n; i += 16) lanes = keep(lanes, vf_fma(get(a, i, n), get(b, i, n), lanes), i, n);
    return vf_sum(lanes);
}

static void combine(float *y, const float *o, const int32_t *place, const float *w, int64_t k, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        vf v = vf_zero();
        for (int64_t j = 0; j < k; j++)
            v = place[j] < 0 ? vf_set(NAN) : vf_fma(vf_set(w[j]), get(o + place[j] * n, i, n), v);
        put(y, v, i, n, false);
    }
}

static void spread(float *dx, const float *from, const int32_t *place, int64_t k, int64_t n, bool more)
{
    for (int64_t i = 0; i < n; i += 16) {
        vf v = more ? get(dx, i, n) : vf_zero();
        for (int64_t j = 0; j < k; j++)
            if (place[j] >= 0) v = vf_add(v, get(from + place[j] * n, i, n));
        put(dx, v, i, n, false);
    }
}

/* A maximum may be taken in any order; a NaN is never the larger one. */
static float exps(float *e, const float *l, int64_t n, float *top)
{
    vf best = vf_set(-INFINITY), lanes = vf_zero();
    for (int64_t i = 0; i < n; i += 16) best = keep(best, vf_max(get(l, i, n), best), i, n);
    *top = vf_top(best);
    for (int64_t i = 0; i < n; i += 16) {
        vf v = vf_exp(vf_sub(get(l, i, n), vf_set(*top)));
        lanes = keep(lanes, vf_add(lanes, v), i, n);
        put(e, v, i, n, false);
    }
    return vf_sum(lanes);
}

static float sigmoids(float *s, const float *l, int64_t n)
{
    vf lanes = vf_zero();
    for (int64_t i = 0; i < n; i += 16) {
        vf v = vf_sigmoid(get(l, i, n));
        lanes = keep(lanes, vf_add(lanes, v), i, n);
        put(s, v, i, n, false);
    }
    return vf_sum(lanes);
}

static void divide(float *y, const float *x, float d, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) put(y, vf_div(get(x, i, n), vf_set(d)), i, n, false);
}

static void add_soft(float *y, const float *l, float lse, float f, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16)
        put(y, vf_fma(vf_set(f), vf_exp(vf_sub(get(l, i, n), vf_set(lse))), get(y, i, n)), i, n, false);
}

static void softmax_back(float *dl, const float *p, const float *dp, int64_t n)
{
    vf mean = vf_set(dot(p, dp, n));
    for (int64_t i = 0; i < n; i += 16)
        put(dl, vf_mul(get(p, i, n), vf_sub(get(dp, i, n), mean)), i, n, false);
}

const tn_moves MOVES = { copy, add,      scale,  dot,      combine,     spread,
                         exps, sigmoids, divide, add_soft, softmax_back };
