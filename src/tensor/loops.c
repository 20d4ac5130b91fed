/* loops.c - which instruction set the loops outside the table of operations use, and their check against the
 * plain loop.
 *
 *   first use ── numbers, then ugly ones ──→ ref's loop ──→ the truth
 *                                        └→ this set's  ──→ equal to the bit? else a line in the log, and the next set down */
#include "tensor/loops.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tensor/selftest_rig.h"

static const struct {
    const char  *name;
    tn_loops_run run;
} table[TN_LOOPS_COUNT] = {
#define X(NAME, name) { #name, tn_loops_run_##name },
    TN_LOOPS_LIST(X)
#undef X
};

static const char *const isa_name[] = { "ref", "avx2", "avx512" };

/* Bit i: instruction set i passed, or failed. */
static _Atomic uint32_t sound[TN_LOOPS_COUNT], failed[TN_LOOPS_COUNT];
static pthread_mutex_t  checking = PTHREAD_MUTEX_INITIALIZER;

bool tn_selftest_loops_agree(tn_loops_run run, tn_isa isa, char *detail, size_t n_detail)
{
    static const tn_flavour flavours[] = { TN_NORMAL, TN_UGLY };
    float                   x[TN_LOOPS_N], want[4 * TN_LOOPS_N], got[4 * TN_LOOPS_N];
    int64_t                 at;

    for (size_t f = 0; f < sizeof flavours / sizeof *flavours; f++) {
        for (int i = 0; i < TN_LOOPS_N; i++) x[i] = tn_rig_value(flavours[f], 91, (uint64_t)i);
        memset(want, 0, sizeof want);
        memset(got, 0, sizeof got);
        run(TN_ISA_REF, want, x);
        run(isa, got, x);
        if (tn_same_bits(got, want, 4 * TN_LOOPS_N, &at)) continue;
        snprintf(detail, n_detail, "%s, number %lld is %a, expected %a", tn_flavour_name[flavours[f]],
                 (long long)at, (double)got[at], (double)want[at]);
        return false;
    }
    return true;
}

static void check(tn_loops which, int isa)
{
    char detail[256];

    pthread_mutex_lock(&checking);
    if (((sound[which] | failed[which]) >> isa & 1) == 0) {
        bool good = tn_selftest_loops_agree(table[which].run, (tn_isa)isa, detail, sizeof detail);
        atomic_fetch_or(good ? &sound[which] : &failed[which], 1u << isa);
        if (!good)
            tn_log(TN_LOG_WARN,
                   "%s: the loop for %s differs from its definition on this machine (%s); left out",
                   table[which].name, isa_name[isa], detail);
    }
    pthread_mutex_unlock(&checking);
}

tn_isa tn_loops_isa(tn_loops which)
{
    int isa = tn_isa_limit();

    for (; isa > TN_ISA_REF; isa--) {
        if (((atomic_load(&sound[which]) | atomic_load(&failed[which])) >> isa & 1) == 0) check(which, isa);
        if (atomic_load(&sound[which]) >> isa & 1) break;
    }
    return (tn_isa)isa;
}

void tn_selftest_loops(tn_selftest_report report, void *arg)
{
    char what[64], detail[256];

    for (int l = 0; l < TN_LOOPS_COUNT; l++)
        for (int isa = TN_ISA_AVX2;
             isa <= TN_ISA_AVX512 && (isa == TN_ISA_AVX2 ? tn_cpu_avx2() : tn_cpu_avx512()); isa++) {
            bool good = tn_selftest_loops_agree(table[l].run, (tn_isa)isa, detail, sizeof detail);
            snprintf(what, sizeof what, "%s = ref", isa_name[isa]);
            report(arg, table[l].name, what, good, good ? "" : detail);
        }
}
