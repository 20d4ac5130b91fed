/* selftest_shake.c - random cases: shapes, options, weight types, thread counts and values that nobody chose.
 *
 *   (seed, operation, round) ──→ draw ──→ rig ──→ ref on one thread ──→ every kernel on 1 to 8 threads, exact scratch ──→ equal to the bit?
 *
 * The cases of selftest.c are the corners that somebody thought of; a wrong store of two words at rectangles
 * 15 rows high is not among them. A failure names its seed and round, so that it can be repeated. */
#include "tensor/selftest.h"

#include <stdio.h>

#include "base/log.h"
#include "tensor/selftest_rig.h"

/* Shapes of a case, for a message: "[3][64] [64] -". */
static void shapes_text(char *buf, size_t n, const tn_case *k)
{
    size_t at = 0;

    for (int i = 0; i < k->n_in && at < n; i++) {
        const tn_tensor *t = &k->in[i];
        int              w = snprintf(buf + at, n - at, "%s", i > 0 ? " " : "");
        at += (size_t)w;
        for (int j = 0; j < t->n_dim && at < n; j++)
            at += (size_t)snprintf(buf + at, n - at, "[%lld]", (long long)t->shape[j]);
        if (at < n)
            at += (size_t)snprintf(buf + at, n - at, "%s",
                                   t->n_dim == 0        ? "-"
                                   : t->dtype == TN_F32 ? ""
                                                        : tn_dtype_name(t->dtype));
    }
}

/* One case; false with a detail if something differs. */
static bool round_agrees(tn_rig *r, int n_thread, tn_flavour f, uint64_t seed, char *detail, size_t n,
                         tn_error *err)
{
    char        what_differs[200];
    const char *what;

    if (tn_threads_set(1, err) != TN_OK || tn_rig_fill(r, f, seed, err) != TN_OK) {
        snprintf(detail, n, "%.290s", err->msg);
        return false;
    }
    tn_rig_keep_truth(r, f, TN_WRITING | TN_ADDING);
    for (const tn_kernel *k = r->op->kernels; k->name != NULL; k++) {
        if (!k->usable()) continue;
        if (tn_threads_set(n_thread, err) != TN_OK) return false;
        if (!tn_rig_agrees(r, k, f, TN_WRITING | TN_ADDING, &what, what_differs, sizeof what_differs)) {
            snprintf(detail, n, "%s, %s, %s: %s", k->name, tn_flavour_name[f], what, what_differs);
            return false;
        }
    }
    for (const tn_kernel *k = r->op->kernels; r->k.by_row != 0 && k->name != NULL; k++) {
        if (!k->usable() || tn_rig_rows_agree(r, k, seed, what_differs, sizeof what_differs, err)) continue;
        snprintf(detail, n, "%s, a row alone: %s", k->name, what_differs);
        return false;
    }
    return true;
}

tn_status tn_selftest_shake(const tn_op *op, int64_t rounds, uint64_t seed, tn_selftest_report report,
                            void *arg, tn_error *err)
{
    char      detail[600] = "", what[80];
    int       before = tn_threads();
    bool      passed = true;
    tn_status status = TN_OK;

    if (op->draw == NULL) return TN_OK;
    for (int64_t i = 0; i < rounds && passed && status == TN_OK; i++) {
        tn_draw    d = { .seed = seed + (uint64_t)i * 0x9e3779b97f4a7c15u };
        int        n_thread = 1 + (int)tn_draw_below(&d, 8);
        tn_flavour f = (tn_flavour)tn_draw_below(&d, TN_N_FLAVOUR);
        tn_case    c = { 0 };
        tn_rig     r = { 0 };
        char       shapes[200] = "", reason[300] = "";
        if ((status = tn_interrupted(err)) != TN_OK) break;
        op->draw(&c, &d);
        status = tn_threads_set(n_thread, err); /* scratch is asked for with as many threads as will run */
        if (status == TN_OK) status = tn_rig_open(&r, op, &c, 1, err);
        if (status == TN_OK) passed = round_agrees(&r, n_thread, f, d.seed + 7, reason, sizeof reason, err);
        tn_rig_close(&r); /* of one that did not open, too: its weights may be packed already */
        shapes_text(shapes, sizeof shapes, &c);
        if (!passed)
            snprintf(detail, sizeof detail, "--seed %llu, round %lld, %d thread%s, %s: %s",
                     (unsigned long long)seed, (long long)i, n_thread, n_thread == 1 ? "" : "s", shapes,
                     reason);
        if (status != TN_OK) (void)tn_fail_prefix(err, status, "%s, round %lld", shapes, (long long)i);
    }
    tn_status back = tn_threads_set(before, status == TN_OK ? err : NULL);
    if (status != TN_OK || back != TN_OK) return status != TN_OK ? status : back;
    snprintf(what, sizeof what, "%lld random cases, kernels = ref, 1 to 8 threads", (long long)rounds);
    report(arg, op->name, what, passed, detail);
    return TN_OK;
}
