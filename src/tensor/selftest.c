/* selftest.c - the walk over the table of operations: every kernel against its definition.
 *
 *   case ──→ rig: inputs (normal, spread, ugly) ──→ ref, one thread ──→ the truth
 *                                                └→ each kernel, 1 2 3 8 threads ──→ equal to the bit?
 *
 * Then rows alone against rows in the batch, and gradients against central differences of a double loss. `tenet
 * selftest` and the tests run this same walk; the start-up check runs its first cases on the chosen kernels. */
#include "tensor/selftest.h"

#include <stdio.h>

#include "tensor/op_util.h"

typedef enum flavour { NORMAL, SPREAD, UGLY, N_FLAVOUR } flavour;
static const char *const flavour_name[N_FLAVOUR] = { "normal values", "spread values", "ugly values" };

/* One case laid out: inputs, outputs, gradients, and a second set to compare with. */
typedef struct rig {
    const tn_op *op;
    tn_case      k;
    tn_arena     arena;
    tn_tensor    in[TN_MAX_IN], out[TN_MAX_OUT], din[TN_MAX_IN], dout;
    /* the truth: by flavour; gradients written, and added to what was there */
    void        *want_out[N_FLAVOUR][TN_MAX_OUT], *want_din[N_FLAVOUR][2][TN_MAX_IN];
    tn_call      call;
} rig;

static float value(flavour f, uint64_t seed, uint64_t i)
{
    static const uint32_t ugly[] = { 0x00000000u, 0x80000000u, 0x00000001u, 0x807fffffu, 0x00800000u, 0x7f7fffffu, 0xff7fffffu,
                                     0x7f800000u, 0xff800000u, 0x7fc00000u, 0x3f800000u, 0xbf800001u, 0x33800000u };
    const tn_rng_key key = { .seed = seed, .purpose = TN_RNG_TEST };
    uint64_t u = tn_rng_u64(&key, 2 * i);
    float    x = (float)tn_rng_normal(&key, 2 * i + 1);
    if (f == SPREAD) {                              /* many magnitudes, signed zeros and denormals, all finite */
        int e = (int)(u % 60) - 40;
        if (u >> 60 == 0) return u & 1 ? -0.0f : 0.0f;
        if (u >> 60 == 1) return x * 0x1p-140f;
        return u >> 62 == 0 ? x : ldexpf(x, e / 4);
    }
    if (f == UGLY && u % 24 == 0) {
        memcpy(&x, &ugly[(u >> 8) % (sizeof ugly / sizeof ugly[0])], 4);
        return x;
    }
    return x;
}

static void fill_values(tn_tensor *t, flavour f, uint64_t seed)
{
    int64_t n = tn_n_elem(t);
    for (int64_t i = 0; i < n; i++) {
        float x = value(f, seed, (uint64_t)i);
        if (t->dtype == TN_F32) ((float *)t->data)[i] = x;
        else if (t->dtype == TN_BF16) ((uint16_t *)t->data)[i] = tn_f32_to_bf16(x);
    }
}

/* 64 odd bytes lie behind every tensor; checked after each run. */
enum { GUARD = 64 };

static void *place(tn_arena *a, const tn_tensor *t)
{
    size_t n = tn_n_bytes(t);
    unsigned char *p = tn_arena_get(a, n + GUARD, 1);
    if (p != NULL) memset(p + n, 0xa5, GUARD);
    return p;
}

static bool guard_whole(const tn_tensor *t)
{
    const unsigned char *p = (const unsigned char *)t->data + tn_n_bytes(t);
    for (int i = 0; i < GUARD; i++)
        if (p[i] != 0xa5) return false;
    return true;
}

static void rig_close(rig *r) { tn_arena_free(&r->arena); }

static void rig_lay_out(rig *r)
{
    tn_arena *a = &r->arena;
    for (int i = 0; i < r->k.n_in; i++) {
        if (r->in[i].n_dim == 0) continue;
        r->in[i].data = place(a, &r->in[i]);
        r->din[i] = r->in[i];
        r->din[i].data = r->k.differentiable[i] ? place(a, &r->in[i]) : NULL;
        for (int f = 0; f < 2 * N_FLAVOUR; f++) r->want_din[f / 2][f % 2][i] = r->k.differentiable[i] ? place(a, &r->in[i]) : NULL;
    }
    for (int i = 0; i < r->call.n_out; i++) {
        if (r->out[i].n_dim == 0) continue;
        r->out[i].data = place(a, &r->out[i]);
        for (int f = 0; f < N_FLAVOUR; f++) r->want_out[f][i] = place(a, &r->out[i]);
    }
    r->dout = r->out[0];
    r->dout.data = place(a, &r->out[0]);
    if (r->call.scratch_bytes > 0) r->call.scratch = tn_arena_get(a, r->call.scratch_bytes, 1);
}

/* Scratch for as many threads as there will be. */
static size_t scratch_most(const tn_call *c)
{
    size_t most = 0;
    if (c->op->scratch == NULL) return 0;
    for (int b = 0; b < 2; b++) {
        size_t n = c->op->scratch(c, b == 1);
        most = n > most ? n : most;
    }
    return most * 8;
}

static tn_status rig_open(rig *r, const tn_op *op, const tn_case *k, tn_error *err)
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
    TN_TRY(op->shape(&r->call, err));
    for (int i = 0; i < op->n_out; i++)
        if (r->out[i].n_dim == 0) r->call.out[i] = NULL;
    r->call.scratch_bytes = scratch_most(&r->call);
    r->arena = (tn_arena){ .cap = SIZE_MAX };
    rig_lay_out(r);
    size_t need = r->arena.used;
    TN_TRY(tn_arena_init(&r->arena, need, err));
    rig_lay_out(r);
    for (int i = 0; i < op->n_out; i++)
        if (r->out[i].n_dim == 0) r->call.out[i] = NULL;
    return TN_OK;
}

static void rig_fill(rig *r, flavour f, uint64_t seed)
{
    for (int i = 0; i < r->k.n_in; i++) {
        if (r->in[i].n_dim == 0) continue;
        fill_values(&r->in[i], f, seed + (uint64_t)i);
        if (r->k.fill != NULL) r->k.fill(&r->in[i], i, seed + (uint64_t)i);
    }
    fill_values(&r->dout, f, seed + 100);
}

static void run_forward(rig *r, const tn_kernel *k)
{
    for (int i = 0; i < r->call.n_out; i++)
        if (r->call.out[i] != NULL) {
            if (r->out[i].dtype == TN_F32) for (int64_t j = 0; j < tn_n_elem(&r->out[i]); j++) ((float *)r->out[i].data)[j] = 0.5f;
            else memset(r->out[i].data, 0, tn_n_bytes(&r->out[i]));
        }
    k->fwd(&r->call);
}

/* As the graph calls it: what the rule's masks do not name has a shape and no data. */
static void run_backward(rig *r, const tn_kernel *k, bool add)
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

static bool same(char *detail, size_t n_detail, const char *what, int i, const tn_tensor *got, const void *want)
{
    int64_t at = 0;
    if (got->dtype == TN_F32) {
        if (!tn_same_bits(got->data, want, tn_n_elem(got), &at)) {
            snprintf(detail, n_detail, "%s %d element %lld is %a, expected %a", what, i, (long long)at, (double)((float *)got->data)[at], (double)((const float *)want)[at]);
            return false;
        }
    } else if (memcmp(got->data, want, tn_n_bytes(got)) != 0) {
        snprintf(detail, n_detail, "%s %d differs", what, i);
        return false;
    }
    if (!guard_whole(got)) {
        snprintf(detail, n_detail, "%s %d was written past its end", what, i);
        return false;
    }
    return true;
}

static void keep_outputs(rig *r, flavour f)
{
    for (int i = 0; i < r->call.n_out; i++)
        if (r->call.out[i] != NULL) memcpy(r->want_out[f][i], r->out[i].data, tn_n_bytes(&r->out[i]));
}

static void keep_gradients(rig *r, flavour f, bool add)
{
    for (int i = 0; i < r->k.n_in; i++)
        if (r->k.differentiable[i]) memcpy(r->want_din[f][add][i], r->din[i].data, tn_n_bytes(&r->din[i]));
}

static bool same_outputs(rig *r, flavour f, char *detail, size_t n)
{
    for (int i = 0; i < r->call.n_out; i++)
        if (r->call.out[i] != NULL && !same(detail, n, "output", i, &r->out[i], r->want_out[f][i])) return false;
    return true;
}

static bool same_gradients(rig *r, flavour f, bool add, char *detail, size_t n)
{
    for (int i = 0; i < r->k.n_in; i++)
        if (r->k.differentiable[i] && !same(detail, n, "gradient of input", i, &r->din[i], r->want_din[f][add][i])) return false;
    return true;
}

/* Backward passes: gradients written, gradients added to what was there. */
enum { WRITING = 1, ADDING = 2 };

/* What ref makes of the rig's inputs. */
static void keep_truth(rig *r, flavour f, int passes)
{
    const tn_kernel *ref = &r->op->kernels[0];
    run_forward(r, ref);
    keep_outputs(r, f);
    for (int add = 0; add < 2 && ref->bwd != NULL; add++) {
        if ((passes >> add & 1) == 0) continue;
        run_backward(r, ref, add == 1);
        keep_gradients(r, f, add == 1);
    }
}

/* The result written over the first input, where the operation says that it may be. */
static bool agrees_in_place(rig *r, const tn_kernel *k, flavour f, char *detail, size_t n)
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

/* Kernel k against the truth; `what` names the pass that differed. */
static bool agrees(rig *r, const tn_kernel *k, flavour f, int passes, const char **what, char *detail, size_t n)
{
    run_forward(r, k);
    *what = "forward";
    if (!same_outputs(r, f, detail, n)) return false;
    *what = "forward in place";
    if (!agrees_in_place(r, k, f, detail, n)) return false;
    for (int add = 0; add < 2 && r->op->kernels[0].bwd != NULL; add++) {
        if ((passes >> add & 1) == 0) continue;
        run_backward(r, k, add == 1);
        *what = add == 1 ? "backward (adding)" : "backward";
        if (!same_gradients(r, f, add == 1, detail, n)) return false;
    }
    return true;
}

bool tn_selftest_kernel_quick(const tn_op *op, const tn_kernel *k, char *detail, size_t n_detail)
{
    tn_case c;
    if (op->cases == NULL) return true;
    for (int i = 0; i < 2 && op->cases(&c, i) != 0; i++) {
        rig      r;
        tn_error err;
        bool     good = false;
        const char *what;
        if (rig_open(&r, op, &c, &err) != TN_OK) snprintf(detail, n_detail, "%s", err.msg);
        else good = true;
        for (int f = NORMAL; f <= UGLY && good; f += UGLY - NORMAL) {
            rig_fill(&r, (flavour)f, 77 + (uint64_t)i);
            int pass = f == UGLY ? ADDING : WRITING;
            keep_truth(&r, (flavour)f, pass);
            good = agrees(&r, k, (flavour)f, pass, &what, detail, n_detail);
        }
        rig_close(&r);
        if (!good) return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------------ the walk */

typedef struct walk {
    tn_selftest_report report;
    void              *arg;
    int                threads_before;
} walk;

/* The first failure of one property of one operation. */
typedef struct verdict { bool passed; char detail[512]; } verdict;

static void fail_once(verdict *v, const tn_case *k, int i_case, const char *where, const char *detail)
{
    if (!v->passed) return;
    v->passed = false;
    snprintf(v->detail, sizeof v->detail, "case %d%s%s, %s: %s", i_case, k->what[0] ? " " : "", k->what, where, detail);
}

static const int thread_counts[] = { 1, 2, 3, 8 };

enum { MAX_KERNEL = 8 };

/* Every usable kernel, every flavour of values, every number of threads; the truth comes from ref on one thread. */
static tn_status walk_case(rig *r, int i_case, verdict *v, tn_error *err)
{
    char        detail[256], where[96];
    const char *what;
    TN_TRY(tn_threads_set(1, err));
    for (int f = 0; f < N_FLAVOUR; f++) {
        rig_fill(r, (flavour)f, 1000 + 10 * (uint64_t)i_case);
        keep_truth(r, (flavour)f, WRITING | ADDING);
    }
    for (size_t t = 0; t < sizeof thread_counts / sizeof thread_counts[0]; t++) {
        TN_TRY(tn_threads_set(thread_counts[t], err));
        for (int f = 0; f < N_FLAVOUR; f++) {
            rig_fill(r, (flavour)f, 1000 + 10 * (uint64_t)i_case);
            for (int k = 0; r->op->kernels[k].name != NULL && k < MAX_KERNEL; k++) {
                if (!r->op->kernels[k].usable() || agrees(r, &r->op->kernels[k], (flavour)f, WRITING | ADDING, &what, detail, sizeof detail)) continue;
                snprintf(where, sizeof where, "%s, %s, %d thread%s", flavour_name[f], what, thread_counts[t], thread_counts[t] == 1 ? "" : "s");
                fail_once(&v[k], &r->k, i_case, where, detail);
            }
        }
    }
    return TN_OK;
}

/* Each row computed alone, by kernel k, against the rows of the batch. */
static void walk_rows(rig *r, int i_case, const tn_kernel *k, verdict *v)
{
    tn_call   one = r->call;
    tn_tensor in[TN_MAX_IN], out[TN_MAX_OUT];
    int64_t   n_row = r->out[0].shape[0];
    rig_fill(r, NORMAL, 55 + (uint64_t)i_case);
    run_forward(r, k);
    keep_outputs(r, NORMAL);
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
    char detail[256], where[64];
    snprintf(where, sizeof where, "kernel %s", k->name);
    for (int i = 0; i < one.n_out; i++)
        if (one.out[i] != NULL && !same(detail, sizeof detail, "output", i, &r->out[i], r->want_out[NORMAL][i])) fail_once(v, &r->k, i_case, where, detail);
}

static double loss_of(rig *r)
{
    double s = 0;
    const float *y = r->out[0].data, *c = r->dout.data;
    r->op->kernels[0].fwd(&r->call);
    for (int64_t i = 0; i < tn_n_elem(&r->out[0]); i++) s += (double)c[i] * (double)y[i];
    return s;
}

/* Central differences of some elements of every differentiable input, and of one direction through all of it. */
static void walk_gradient(rig *r, int i_case, verdict *v)
{
    enum { N_PICK = 10 };
    double tol = r->k.fd_tolerance > 0 ? r->k.fd_tolerance : 2e-2;
    char   detail[200];
    rig_fill(r, NORMAL, 31 + (uint64_t)i_case);
    run_forward(r, &r->op->kernels[0]);
    run_backward(r, &r->op->kernels[0], false);
    keep_gradients(r, NORMAL, false);
    for (int i = 0; i < r->k.n_in; i++) {
        if (!r->k.differentiable[i]) continue;
        int64_t n = tn_n_elem(&r->in[i]);
        float  *x = r->in[i].data;
        const float *g = r->want_din[NORMAL][0][i];
        double  rms = 0;
        for (int64_t j = 0; j < n; j++) rms += (double)g[j] * (double)g[j];
        rms = sqrt(rms / (double)(n > 0 ? n : 1));
        const tn_rng_key key = { .seed = 9, .purpose = TN_RNG_TEST, .sample = (uint64_t)i };
        for (int t = 0; t < N_PICK && n > 0; t++) {
            int64_t j = (int64_t)tn_rng_below(&key, (uint64_t)t, (uint64_t)n);
            float   was = x[j], h = 0x1p-7f;
            x[j] = was + h;
            float  up = x[j];
            double a = loss_of(r);
            x[j] = was - h;
            double b = loss_of(r), fd = (a - b) / ((double)up - (double)x[j]);
            x[j] = was;
            if (fabs(fd - (double)g[j]) <= tol * (fabs((double)g[j]) + rms + 1e-3)) continue;
            snprintf(detail, sizeof detail, "input %d element %lld: gradient %g, finite difference %g", i, (long long)j, (double)g[j], fd);
            fail_once(v, &r->k, i_case, "ref", detail);
        }
    }
}

static tn_status walk_op(const walk *w, const tn_op *op, tn_error *err)
{
    tn_case c;
    verdict v[MAX_KERNEL], rows = { .passed = true }, grad = { .passed = true };
    bool    any_rows = false, any_grad = false;
    char    what[64];
    for (int k = 0; k < MAX_KERNEL; k++) v[k] = (verdict){ .passed = true };
    for (int i = 0; op->cases != NULL && op->cases(&c, i) != 0; i++) {
        rig       r;
        tn_status status = rig_open(&r, op, &c, err);
        if (status == TN_OK) status = walk_case(&r, i, v, err);
        if (status == TN_OK) status = tn_threads_set(w->threads_before, err);
        for (const tn_kernel *k = op->kernels; status == TN_OK && c.by_row != 0 && k->name != NULL; k++) {
            any_rows = true;
            if (k->usable()) walk_rows(&r, i, k, &rows);
        }
        if (status == TN_OK && op->kernels[0].bwd != NULL && c.fd_tolerance >= 0) {
            any_grad = true;
            walk_gradient(&r, i, &grad);
        }
        rig_close(&r);
        TN_TRY(status);
    }
    for (int k = 0; op->kernels[k].name != NULL && k < MAX_KERNEL; k++) {
        if (!op->kernels[k].usable()) continue;
        snprintf(what, sizeof what, k == 0 ? "%s the same on 1, 2, 3, 8 threads" : "%s = ref, 1, 2, 3, 8 threads", op->kernels[k].name);
        w->report(w->arg, op->name, what, v[k].passed, v[k].detail);
    }
    if (any_rows) w->report(w->arg, op->name, "a row alone = in the batch", rows.passed, rows.detail);
    if (any_grad) w->report(w->arg, op->name, "gradients = finite differences", grad.passed, grad.detail);
    return TN_OK;
}

tn_status tn_selftest_op(const tn_op *op, tn_selftest_report report, void *arg, tn_error *err)
{
    int       before = tn_threads();
    walk      w = { .report = report, .arg = arg, .threads_before = before };
    tn_status status = walk_op(&w, op, err);
    if (status == TN_OK) status = tn_threads_set(before, err);
    else (void)tn_threads_set(before, NULL);
    return status;
}

tn_status tn_selftest(const char *const *names, tn_selftest_report report, void *arg, tn_error *err)
{
    for (int n = 0; names != NULL && names[n] != NULL; n++)
        if (tn_op_by_name(names[n]) == NULL) return tn_fail(err, TN_USAGE, "no operation is called '%s'", names[n]);
    for (int i = 1; i < TN_OP_COUNT; i++) {
        const tn_op *op = tn_op_get((tn_op_id)i);
        bool         wanted = names == NULL || names[0] == NULL;
        for (int n = 0; names != NULL && names[n] != NULL; n++) wanted |= strcmp(names[n], op->name) == 0;
        if (!wanted) continue;
        TN_TRY(tn_selftest_op(op, report, arg, err));
        if (op == tn_op_get(TN_OP_ATTENTION_CACHE)) TN_TRY(tn_selftest_decode(report, arg, err));
    }
    return TN_OK;
}
