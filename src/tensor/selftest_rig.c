/* selftest_rig.c - lays one case out, fills it with seeded values, runs kernels on it and compares them with
 * the definition (selftest_rig.h).
 *
 *   tn_case ──→ in[], scratch, guards behind each ──→ fill ──→ ref: want_out, want_din ──→ kernel: the same bits, guards whole? */
#include "tensor/selftest_rig.h"

#include <stdio.h>
#include <stdlib.h>

const char *const tn_flavour_name[TN_N_FLAVOUR] = { "normal values", "spread values", "ugly values" };

/* Bits of (seed, i) and four uniforms of 16 bits added: as good as the library's generator and a normal
 * number here, at a tenth of their cost, which every start pays. */
static uint64_t mixed(uint64_t seed, uint64_t i)
{
    uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15u ^ (i + 1) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float bell(uint64_t u)
{
    int32_t sum = (int32_t)(u & 0xffff) + (int32_t)(u >> 16 & 0xffff) + (int32_t)(u >> 32 & 0xffff) +
                  (int32_t)(u >> 48) - 2 * 0xffff;
    return (float)sum * 0x1.bb67aep-16f; /* sqrt(3) / 65536: variance 1 */
}

float tn_rig_value(tn_flavour f, uint64_t seed, uint64_t i)
{
    static const uint32_t ugly[] = { 0x00000000u, 0x80000000u, 0x00000001u, 0x807fffffu, 0x00800000u,
                                     0x7f7fffffu, 0xff7fffffu, 0x7f800000u, 0xff800000u, 0x7fc00000u,
                                     0x3f800000u, 0xbf800001u, 0x33800000u };
    float                 x = bell(mixed(seed, 2 * i));
    if (f == TN_NORMAL) return x;
    uint64_t u = mixed(seed, 2 * i + 1);
    if (f == TN_SPREAD) { /* many magnitudes, signed zeros and denormals, all finite */
        int e = (int)(u % 60) - 40;
        if (u >> 60 == 0) return u & 1 ? -0.0f : 0.0f;
        if (u >> 60 == 1) return x * 0x1p-140f;
        return u >> 62 == 0 ? x : ldexpf(x, e / 4);
    }
    if (f == TN_UGLY && u % 24 == 0) {
        memcpy(&x, &ugly[(u >> 8) % (sizeof ugly / sizeof ugly[0])], 4);
        return x;
    }
    return x;
}

static void fill_values(tn_tensor *t, tn_flavour f, uint64_t seed)
{
    int64_t n = tn_n_elem(t);
    for (int64_t i = 0; i < n; i++) {
        float x = tn_rig_value(f, seed, (uint64_t)i);
        if (t->dtype == TN_F32) ((float *)t->data)[i] = x;
        else if (t->dtype == TN_BF16) ((uint16_t *)t->data)[i] = tn_f32_to_bf16(x);
    }
}

/* 64 odd bytes lie behind every tensor; checked after each run. */
enum { GUARD = 64 };

static void *place(tn_arena *a, const tn_tensor *t)
{
    size_t         n = tn_n_bytes(t);
    unsigned char *p = tn_arena_get(a, n + GUARD, 1);
    if (p != NULL) memset(p + n, 0xa5, GUARD);
    return p;
}

static bool guard_is_whole(const void *data, size_t n)
{
    const unsigned char *p = (const unsigned char *)data + n;
    for (int i = 0; i < GUARD; i++)
        if (p[i] != 0xa5) return false;
    return true;
}

void tn_rig_close(tn_rig *r)
{
    for (int i = 0; i < TN_MAX_IN; i++) tn_weight_free(r->packed[i]);
    tn_arena_free(&r->arena);
}

static void rig_lay_out(tn_rig *r)
{
    tn_arena *a = &r->arena;
    for (int i = 0; i < r->k.n_in; i++) {
        if (r->in[i].n_dim == 0) continue;
        r->in[i].data = r->k.packed[i] ? NULL : place(a, &r->in[i]);
        r->din[i] = r->in[i];
        r->din[i].data = r->k.differentiable[i] ? place(a, &r->in[i]) : NULL;
        for (int f = 0; f < 2 * TN_N_FLAVOUR; f++)
            r->want_din[f / 2][f % 2][i] = r->k.differentiable[i] ? place(a, &r->in[i]) : NULL;
    }
    for (int i = 0; i < r->call.n_out; i++) {
        if (r->out[i].n_dim == 0) continue;
        r->out[i].data = place(a, &r->out[i]);
        for (int f = 0; f < TN_N_FLAVOUR; f++) r->want_out[f][i] = place(a, &r->out[i]);
    }
    r->dout = r->out[0];
    r->dout.data = place(a, &r->out[0]);
    if (r->call.scratch_bytes == 0) return;
    unsigned char *scratch = tn_arena_get(a, r->call.scratch_bytes + GUARD, 1);
    if (scratch != NULL) memset(scratch + r->call.scratch_bytes, 0xa5, GUARD);
    r->call.scratch = scratch;
}

/* Forward or backward, whichever needs more. */
static size_t scratch_most(const tn_call *c)
{
    size_t most = 0;
    if (c->op->scratch == NULL) return 0;
    for (int b = 0; b < 2; b++) {
        size_t n = c->op->scratch(c, b == 1);
        most = n > most ? n : most;
    }
    return most;
}

/* Frozen matrices from rounded values; quantisers are for numbers, so ugly ones stay out. */
static tn_status pack(tn_rig *r, tn_flavour f, uint64_t seed, tn_error *err)
{
    bool there = r->packed_flavour == f && r->packed_seed == seed;
    for (int i = 0; i < r->k.n_in; i++) {
        if (!r->k.packed[i] || (there && r->packed[i] != NULL)) continue;
        tn_tensor *t = &r->in[i];
        int64_t    rows = t->shape[0], n = t->shape[1];
        size_t     row_bytes = tn_row_bytes(t->dtype, n);
        float     *x = malloc((size_t)n * sizeof *x);
        char      *codes = malloc((size_t)rows * row_bytes);
        tn_status  status = x != NULL && codes != NULL
                                ? TN_OK
                                : tn_fail(err, TN_NOMEM, "no memory for a weight of %lld x %lld",
                                          (long long)rows, (long long)n);
        for (int64_t row = 0; row < rows && status == TN_OK; row++) {
            for (int64_t j = 0; j < n; j++)
                x[j] = tn_rig_value(f == TN_UGLY ? TN_SPREAD : f, seed + (uint64_t)i,
                                    (uint64_t)(row * n + j));
            if (!tn_row_from_f32(codes + (size_t)row * row_bytes, x, t->dtype, n))
                status = tn_fail(err, TN_MISMATCH, "no quantiser for %s", tn_dtype_name(t->dtype));
        }
        tn_weight_free(r->packed[i]);
        r->packed[i] = NULL;
        if (status == TN_OK)
            status = tn_weight_pack(&r->packed[i], codes, t->dtype, rows, n, r->k.profile, err);
        t->packed = r->packed[i];
        free(x);
        free(codes);
        TN_TRY(status);
    }
    r->packed_flavour = f;
    r->packed_seed = seed;
    return TN_OK;
}

tn_status tn_rig_open(tn_rig *r, const tn_op *op, const tn_case *k, int threads, tn_error *err)
{
    memset(r, 0, sizeof *r);
    r->op = op;
    r->k = *k;
    r->call = (tn_call){ .op = op, .params = r->k.params, .n_in = k->n_in, .n_out = op->n_out };
    for (int i = 0; i < k->n_in; i++) {
        r->in[i] = k->in[i];
        r->call.in[i] = k->in[i].n_dim == 0 ? NULL : &r->in[i];
    }
    for (int i = 0; i < op->n_out; i++) r->call.out[i] = &r->out[i];
    TN_TRY(pack(r, TN_NORMAL, 0, err)); /* the shape rules look at packed weights */
    TN_TRY(op->shape(&r->call, err));
    for (int i = 0; i < op->n_out; i++)
        if (r->out[i].n_dim == 0) r->call.out[i] = NULL;
    r->call.scratch_bytes = scratch_most(&r->call) * (size_t)threads;
    r->arena = (tn_arena){ .cap = SIZE_MAX };
    rig_lay_out(r);
    size_t need = r->arena.used;
    TN_TRY(tn_arena_init(&r->arena, need, err));
    rig_lay_out(r);
    for (int i = 0; i < op->n_out; i++)
        if (r->out[i].n_dim == 0) r->call.out[i] = NULL;
    return TN_OK;
}

tn_status tn_rig_fill(tn_rig *r, tn_flavour f, uint64_t seed, tn_error *err)
{
    for (int i = 0; i < r->k.n_in; i++) {
        if (r->in[i].n_dim == 0 || r->k.packed[i]) continue;
        fill_values(&r->in[i], f, seed + (uint64_t)i);
        if (r->k.fill != NULL) r->k.fill(&r->k, &r->in[i], i, seed + (uint64_t)i);
    }
    fill_values(&r->dout, f, seed + 100);
    return pack(r, f, seed, err);
}

void tn_rig_forward(tn_rig *r, const tn_kernel *k)
{
    for (int i = 0; i < r->call.n_out; i++)
        if (r->call.out[i] != NULL) {
            if (r->out[i].dtype == TN_F32)
                for (int64_t j = 0; j < tn_n_elem(&r->out[i]); j++) ((float *)r->out[i].data)[j] = 0.5f;
            else memset(r->out[i].data, 0, tn_n_bytes(&r->out[i]));
        }
    k->fwd(&r->call);
}

/* As the graph calls it: what the rule's masks do not name has a shape and no data. */
void tn_rig_backward(tn_rig *r, const tn_kernel *k, bool add)
{
    tn_tensor shape_in[TN_MAX_IN], shape_out[TN_MAX_OUT];
    tn_call   c;
    for (int i = 0; i < r->k.n_in; i++) {
        r->call.din[i] = r->k.differentiable[i] ? &r->din[i] : NULL;
        r->call.add[i] = add;
        if (!r->k.differentiable[i]) continue;
        for (int64_t j = 0; j < tn_n_elem(&r->din[i]); j++) ((float *)r->din[i].data)[j] = add ? 0.25f : NAN;
    }
    r->call.dout[0] = &r->dout;
    c = r->call;
    for (int i = 0; i < c.n_in; i++) {
        if (c.in[i] == NULL || (r->op->bwd_in >> i & 1) != 0) continue;
        shape_in[i] = *c.in[i];
        shape_in[i].data = NULL;
        c.in[i] = &shape_in[i];
    }
    for (int i = 0; i < c.n_out; i++) {
        if (c.out[i] == NULL || (r->op->bwd_out >> i & 1) != 0) continue;
        shape_out[i] = *c.out[i];
        shape_out[i].data = NULL;
        c.out[i] = &shape_out[i];
    }
    k->bwd(&c);
}

static bool same(char *detail, size_t n_detail, const char *what, int i, const tn_tensor *got,
                 const void *want)
{
    int64_t at = 0;
    if (got->dtype == TN_F32) {
        if (!tn_same_bits(got->data, want, tn_n_elem(got), &at)) {
            snprintf(detail, n_detail, "%s %d element %lld is %a, expected %a", what, i, (long long)at,
                     (double)((float *)got->data)[at], (double)((const float *)want)[at]);
            return false;
        }
    } else if (memcmp(got->data, want, tn_n_bytes(got)) != 0) {
        snprintf(detail, n_detail, "%s %d differs", what, i);
        return false;
    }
    if (!guard_is_whole(got->data, tn_n_bytes(got))) {
        snprintf(detail, n_detail, "%s %d was written past its end", what, i);
        return false;
    }
    return true;
}

void tn_rig_keep_outputs(tn_rig *r, tn_flavour f)
{
    for (int i = 0; i < r->call.n_out; i++)
        if (r->call.out[i] != NULL) memcpy(r->want_out[f][i], r->out[i].data, tn_n_bytes(&r->out[i]));
}

void tn_rig_keep_gradients(tn_rig *r, tn_flavour f, bool add)
{
    for (int i = 0; i < r->k.n_in; i++)
        if (r->k.differentiable[i]) memcpy(r->want_din[f][add][i], r->din[i].data, tn_n_bytes(&r->din[i]));
}

static bool same_outputs(tn_rig *r, tn_flavour f, char *detail, size_t n)
{
    for (int i = 0; i < r->call.n_out; i++)
        if (r->call.out[i] != NULL && !same(detail, n, "output", i, &r->out[i], r->want_out[f][i]))
            return false;
    return true;
}

static bool same_gradients(tn_rig *r, tn_flavour f, bool add, char *detail, size_t n)
{
    for (int i = 0; i < r->k.n_in; i++)
        if (r->k.differentiable[i] &&
            !same(detail, n, "gradient of input", i, &r->din[i], r->want_din[f][add][i]))
            return false;
    return true;
}

void tn_rig_keep_truth(tn_rig *r, tn_flavour f, int passes)
{
    const tn_kernel *ref = &r->op->kernels[0];
    tn_rig_forward(r, ref);
    tn_rig_keep_outputs(r, f);
    for (int add = 0; add < 2 && ref->bwd != NULL; add++) {
        if ((passes >> add & 1) == 0) continue;
        tn_rig_backward(r, ref, add == 1);
        tn_rig_keep_gradients(r, f, add == 1);
    }
}

/* The result written over the first input, where the operation says that it may be. */
static bool agrees_in_place(tn_rig *r, const tn_kernel *k, tn_flavour f, char *detail, size_t n)
{
    tn_call   c = r->call;
    tn_tensor in = r->in[0];
    if (r->op->in_place == 0 || tn_n_bytes(&r->in[0]) != tn_n_bytes(&r->out[0])) return true;
    memcpy(r->out[0].data, in.data, tn_n_bytes(&in));
    in.data = r->out[0].data;
    c.in[0] = &in;
    k->fwd(&c);
    return same(detail, n, "output", 0, &r->out[0], r->want_out[f][0]);
}

static bool scratch_is_whole(const tn_rig *r, char *detail, size_t n)
{
    if (r->call.scratch_bytes == 0 || guard_is_whole(r->call.scratch, r->call.scratch_bytes)) return true;
    snprintf(detail, n, "scratch was written past its end");
    return false;
}

bool tn_rig_agrees(tn_rig *r, const tn_kernel *k, tn_flavour f, int passes, const char **what, char *detail,
                   size_t n)
{
    tn_rig_forward(r, k);
    *what = "forward";
    if (!same_outputs(r, f, detail, n) || !scratch_is_whole(r, detail, n)) return false;
    *what = "forward in place";
    if (!agrees_in_place(r, k, f, detail, n)) return false;
    for (int add = 0; add < 2 && r->op->kernels[0].bwd != NULL; add++) {
        if ((passes >> add & 1) == 0) continue;
        tn_rig_backward(r, k, add == 1);
        *what = add == 1 ? "backward (adding)" : "backward";
        if (!same_gradients(r, f, add == 1, detail, n) || !scratch_is_whole(r, detail, n)) return false;
    }
    return true;
}

bool tn_rig_rows_agree(tn_rig *r, const tn_kernel *k, uint64_t seed, char *detail, size_t n, tn_error *err)
{
    tn_call   one = r->call;
    tn_tensor in[TN_MAX_IN], out[TN_MAX_OUT];
    int64_t   n_row = r->out[0].shape[0];
    if (tn_rig_fill(r, TN_NORMAL, seed, err) != TN_OK) {
        snprintf(detail, n, "%s", err->msg);
        return false;
    }
    tn_rig_forward(r, k);
    tn_rig_keep_outputs(r, TN_NORMAL);
    for (int64_t row = 0; row < n_row; row++) {
        for (int i = 0; i < r->k.n_in; i++) {
            if (r->call.in[i] == NULL || (r->k.by_row >> i & 1) == 0) continue;
            size_t row_bytes = tn_n_bytes(&r->in[i]) / (size_t)n_row;
            in[i] = r->in[i];
            in[i].shape[0] = 1;
            in[i].data = (char *)r->in[i].data + (size_t)row * row_bytes;
            one.in[i] = &in[i];
        }
        for (int i = 0; i < one.n_out; i++) {
            one.out[i] = NULL;
            if (r->call.out[i] == NULL || r->out[i].shape[0] != n_row) continue;
            out[i] = r->out[i];
            out[i].shape[0] = 1;
            out[i].data = (char *)r->out[i].data + (size_t)row * (tn_n_bytes(&r->out[i]) / (size_t)n_row);
            one.out[i] = &out[i];
        }
        k->fwd(&one);
    }
    for (int i = 0; i < one.n_out; i++)
        if (one.out[i] != NULL && !same(detail, n, "output", i, &r->out[i], r->want_out[TN_NORMAL][i]))
            return false;
    return true;
}
