/* selftest.c - the walk over the table of operations: every kernel against its definition.
 *
 *   case ──→ rig: inputs (normal, spread, ugly) ──→ ref, one thread ──→ the truth
 *                                                └→ each kernel, 1 2 3 8 threads ──→ equal to the bit?
 *
 * Then rows alone against rows in the batch, gradients against central differences of a double loss, and
 * random cases (selftest_shake.c). `tenet selftest` and the tests run this same walk; the start-up check runs
 * its first cases on the chosen kernels. */
#include "tensor/selftest.h"

#include <stdio.h>

#include "base/log.h"
#include "tensor/loops.h"
#include "tensor/selftest_rig.h"

bool tn_selftest_kernel_quick(const tn_op *op, const tn_kernel *k, char *detail, size_t n_detail)
{
    tn_case c;
    int     n = op->n_quick != 0 ? op->n_quick : 2;
    detail[0] = '\0';
    if (op->quick != NULL) return op->quick(op, k, detail, n_detail);
    for (int i = 0; i < n && op->cases != NULL && op->cases(&c, i) != 0; i++) {
        tn_rig      r;
        tn_error    err;
        bool        good = true;
        const char *what;
        tn_status   status = tn_rig_open(&r, op, &c, 1, &err);
        for (int f = TN_NORMAL; f <= (i == 0 ? TN_UGLY : TN_NORMAL) && good && status == TN_OK;
             f += TN_UGLY - TN_NORMAL) {
            if ((status = tn_rig_fill(&r, (tn_flavour)f, 0, &err)) != TN_OK) break;
            int pass = f == TN_UGLY ? TN_ADDING : TN_WRITING;
            tn_rig_keep_truth(&r, (tn_flavour)f, pass);
            good = tn_rig_agrees(&r, k, (tn_flavour)f, pass, &what, detail, n_detail);
        }
        tn_rig_close(&r);
        if (!good) return false;
        if (status == TN_OK) continue;
        /* no memory for a case: that says nothing about the kernel */
        snprintf(detail, n_detail, "%s", err.msg);
        return true;
    }
    return true;
}

/* ----------------------------------------------------------------------------------------------- the walk */

typedef struct walk {
    tn_selftest_report report;
    void              *arg;
    int                threads_before;
} walk;

/* The first failure of one property of one operation. */
typedef struct verdict {
    bool passed;
    char detail[512];
} verdict;

static void fail_once(verdict *v, const tn_case *k, int i_case, const char *where, const char *detail)
{
    if (!v->passed) return;
    v->passed = false;
    snprintf(v->detail, sizeof v->detail, "case %d%s%s, %s: %s", i_case, k->what[0] ? " " : "", k->what,
             where, detail);
}

static const int thread_counts[] = { 1, 2, 3, 8 };

enum { MAX_KERNEL = 8 };

/* Every usable kernel, every flavour of values, every number of threads; the truth comes from ref on one
 * thread. */
static tn_status walk_case(tn_rig *r, int i_case, verdict *v, tn_error *err)
{
    char        detail[256], where[96];
    const char *what;
    TN_TRY(tn_threads_set(1, err));
    for (int f = 0; f < TN_N_FLAVOUR; f++) {
        TN_TRY(tn_rig_fill(r, (tn_flavour)f, 1000 + 10 * (uint64_t)i_case, err));
        tn_rig_keep_truth(r, (tn_flavour)f, TN_WRITING | TN_ADDING);
    }
    for (size_t t = 0; t < sizeof thread_counts / sizeof thread_counts[0]; t++) {
        /* a walk that is cut has no verdict, so nothing of this operation is reported */
        TN_TRY(tn_interrupted(err));
        TN_TRY(tn_threads_set(thread_counts[t], err));
        for (int f = 0; f < TN_N_FLAVOUR; f++) {
            TN_TRY(tn_rig_fill(r, (tn_flavour)f, 1000 + 10 * (uint64_t)i_case, err));
            for (int k = 0; r->op->kernels[k].name != NULL && k < MAX_KERNEL; k++) {
                if (!r->op->kernels[k].usable() ||
                    tn_rig_agrees(r, &r->op->kernels[k], (tn_flavour)f, TN_WRITING | TN_ADDING, &what, detail,
                                  sizeof detail))
                    continue;
                snprintf(where, sizeof where, "%s, %s, %d thread%s", tn_flavour_name[f], what,
                         thread_counts[t], thread_counts[t] == 1 ? "" : "s");
                fail_once(&v[k], &r->k, i_case, where, detail);
            }
        }
    }
    return TN_OK;
}

static double loss_of(tn_rig *r)
{
    double       s = 0;
    const float *y = r->out[0].data, *c = r->dout.data;
    r->op->kernels[0].fwd(&r->call);
    for (int64_t i = 0; i < tn_n_elem(&r->out[0]); i++) s += (double)c[i] * (double)y[i];
    return s;
}

/* Central differences of some elements of every differentiable input, and of one direction through all of
 * it. */
static tn_status walk_gradient(tn_rig *r, int i_case, verdict *v, tn_error *err)
{
    enum { N_PICK = 10 };
    double tol = r->k.fd_tolerance > 0 ? r->k.fd_tolerance : 2e-2;
    char   detail[200];
    TN_TRY(tn_rig_fill(r, TN_NORMAL, 37 + (uint64_t)i_case, err));
    tn_rig_forward(r, &r->op->kernels[0]);
    tn_rig_backward(r, &r->op->kernels[0], false);
    tn_rig_keep_gradients(r, TN_NORMAL, false);
    for (int i = 0; i < r->k.n_in; i++) {
        if (!r->k.differentiable[i]) continue;
        int64_t      n = tn_n_elem(&r->in[i]);
        float       *x = r->in[i].data;
        const float *g = r->want_din[TN_NORMAL][0][i];
        double       rms = 0;
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
            snprintf(detail, sizeof detail, "input %d element %lld: gradient %g, finite difference %g", i,
                     (long long)j, (double)g[j], fd);
            fail_once(v, &r->k, i_case, "ref", detail);
        }
    }
    return TN_OK;
}

static tn_status walk_op(const walk *w, const tn_op *op, tn_error *err)
{
    tn_case c;
    verdict v[MAX_KERNEL], rows = { .passed = true }, grad = { .passed = true };
    bool    any_rows = false, any_grad = false;
    char    what[64], detail[256];
    for (int k = 0; k < MAX_KERNEL; k++) v[k] = (verdict){ .passed = true };
    for (int i = 0; op->cases != NULL && op->cases(&c, i) != 0; i++) {
        tn_rig    r;
        tn_status status = tn_rig_open(&r, op, &c, 8, err);
        if (status == TN_OK) status = walk_case(&r, i, v, err);
        if (status == TN_OK) status = tn_threads_set(w->threads_before, err);
        for (const tn_kernel *k = op->kernels; status == TN_OK && c.by_row != 0 && k->name != NULL; k++) {
            any_rows = true;
            if (!k->usable() || tn_rig_rows_agree(&r, k, 55 + (uint64_t)i, detail, sizeof detail, err))
                continue;
            snprintf(what, sizeof what, "kernel %s", k->name);
            fail_once(&rows, &r.k, i, what, detail);
        }
        if (status == TN_OK && op->kernels[0].bwd != NULL && c.fd_tolerance >= 0) {
            any_grad = true;
            status = walk_gradient(&r, i, &grad, err);
        }
        tn_rig_close(&r);
        TN_TRY(status);
    }
    for (int k = 0; op->kernels[k].name != NULL && k < MAX_KERNEL; k++) {
        if (!op->kernels[k].usable()) continue;
        snprintf(what, sizeof what,
                 k == 0 ? "%s the same on 1, 2, 3, 8 threads" : "%s = ref, 1, 2, 3, 8 threads",
                 op->kernels[k].name);
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

tn_status tn_selftest(const char *const *names, int64_t rounds, uint64_t seed, tn_selftest_report report,
                      void *arg, tn_error *err)
{
    for (int n = 0; names != NULL && names[n] != NULL; n++)
        if (tn_op_by_name(names[n]) == NULL)
            return tn_fail(err, TN_USAGE, "no operation is called '%s'", names[n]);
    for (int i = 1; i < TN_OP_COUNT; i++) {
        const tn_op *op = tn_op_get((tn_op_id)i);
        bool         wanted = names == NULL || names[0] == NULL;
        for (int n = 0; names != NULL && names[n] != NULL; n++) wanted |= strcmp(names[n], op->name) == 0;
        if (!wanted) continue;
        TN_TRY(tn_selftest_op(op, report, arg, err));
        if (rounds > 0) TN_TRY(tn_selftest_shake(op, rounds, seed, report, arg, err));
        if (op == tn_op_get(TN_OP_ATTENTION_CACHE))
            TN_TRY(tn_selftest_decode(rounds, seed, report, arg, err));
    }
    if (names == NULL || names[0] == NULL) tn_selftest_loops(report, arg);
    return TN_OK;
}
