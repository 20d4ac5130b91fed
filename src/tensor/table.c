/* table.c - the table of operations: looking one up, choosing its kernel, running it. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "tensor/loops.h"
#include "tensor/op_util.h"
#include "tensor/selftest.h"

static const tn_op *const table[TN_OP_COUNT] = {
#define X(NAME, name) [TN_OP_##NAME] = &tn_op_##name,
    TN_OP_LIST(X)
#undef X
};

/* Chosen kernel by operation; NULL until first asked. Bit i: row i of the kernel table gave ref's bits in its
 * check, or differed from them. */
static _Atomic(const tn_kernel *) chosen[TN_OP_COUNT];
static uint32_t                   sound[TN_OP_COUNT], failed[TN_OP_COUNT];
static pthread_mutex_t            choosing = PTHREAD_MUTEX_INITIALIZER;

int64_t tn_n_elem(const tn_tensor *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->n_dim; d++) n *= t->shape[d];
    return t->n_dim == 0 ? 0 : n;
}

int64_t tn_rows(const tn_tensor *t)
{
    int64_t n = 1;
    for (int d = 0; d + 1 < t->n_dim; d++) n *= t->shape[d];
    return n;
}

int64_t tn_cols(const tn_tensor *t) { return t->n_dim == 0 ? 0 : t->shape[t->n_dim - 1]; }
size_t  tn_n_bytes(const tn_tensor *t) { return (size_t)tn_rows(t) * tn_row_bytes(t->dtype, tn_cols(t)); }

const tn_op *tn_op_get(tn_op_id id) { return id > TN_OP_NONE && id < TN_OP_COUNT ? table[id] : NULL; }

const tn_op *tn_op_by_name(const char *name)
{
    for (int i = 1; i < TN_OP_COUNT; i++)
        if (strcmp(table[i]->name, name) == 0) return table[i];
    return NULL;
}

static int op_index(const tn_op *op)
{
    for (int i = 1; i < TN_OP_COUNT; i++)
        if (table[i] == op) return i;
    return 0;
}

/* The ISA that a kernel belongs to, by the start of its name. */
static tn_isa kernel_isa(const char *name)
{
    if (strncmp(name, "avx512", 6) == 0) return TN_ISA_AVX512;
    if (strncmp(name, "avx2", 4) == 0) return TN_ISA_AVX2;
    return TN_ISA_REF;
}

bool tn_kernel_usable(const tn_kernel *k) { return kernel_isa(k->name) <= tn_isa_limit() && k->usable(); }

static const tn_kernel *choose(const tn_op *op, uint32_t bad)
{
    const tn_kernel *best = &op->kernels[0];
    for (int i = 1; op->kernels[i].name != NULL; i++)
        if (tn_kernel_usable(&op->kernels[i]) && (bad >> i & 1) == 0) best = &op->kernels[i];
    return best;
}

const tn_kernel *tn_op_kernel(const tn_op *op)
{
    int i = op_index(op);
    if (i == 0) return choose(op, 0); /* an operation outside the table (tests) */
    const tn_kernel *k = atomic_load_explicit(&chosen[i], memory_order_relaxed);
    if (k == NULL) {
        k = choose(op, failed[i]);
        atomic_store_explicit(&chosen[i], k, memory_order_relaxed);
    }
    return k;
}

/* Has the best kernel that is left passed its check, so that there is nothing to find out? ref is what the
 * others are checked against. */
static bool is_checked(int i)
{
    int64_t k = choose(table[i], failed[i]) - table[i]->kernels;
    return k == 0 || (sound[i] >> k & 1) != 0;
}

/* The best kernel first; only when it fails does the next one matter. */
static void check_op(int i)
{
    const tn_op *op = table[i];
    char         detail[256];
    while (!is_checked(i)) {
        const tn_kernel *k = choose(op, failed[i]);
        bool             good = tn_selftest_kernel_quick(op, k, detail, sizeof detail);
        (good ? sound : failed)[i] |= 1u << (k - op->kernels);
        if (good && detail[0] != '\0')
            tn_log(TN_LOG_WARN, "%s: kernel %s is not checked against its definition (%s)", op->name, k->name,
                   detail);
        if (!good)
            tn_log(TN_LOG_WARN, "%s: kernel %s differs from its definition on this machine (%s); left out",
                   op->name, k->name, detail);
    }
}

/* Threads take operations, so that inside a check everything is serial: no time goes into waking others. */
static void check_some(void *arg, int64_t begin, int64_t end, int i_thread)
{
    atomic_int *next = arg;
    (void)begin;
    (void)end;
    (void)i_thread;
    for (int i; (i = atomic_fetch_add(next, 1)) < TN_OP_COUNT;) check_op(i);
}

static void check_all(void)
{
    atomic_int next = TN_OP_MATMUL + 1; /* the first row of the table is checked before the others */
    bool       checked = true;
    for (int i = 1; i < TN_OP_COUNT; i++) checked &= is_checked(i);
    if (checked) return;
    /* a product inside another operation */
    for (int i = 1; i < TN_OP_COUNT; i++) atomic_store(&chosen[i], &table[i]->kernels[0]);
    check_op(TN_OP_MATMUL);
    atomic_store(&chosen[TN_OP_MATMUL], choose(table[TN_OP_MATMUL], failed[TN_OP_MATMUL]));
    tn_parallel(tn_threads(), 1, check_some, &next);
}

void tn_ops_choose(bool check)
{
    pthread_mutex_lock(&choosing);
    if (check) check_all();
    for (int i = 1; i < TN_OP_COUNT; i++)
        atomic_store_explicit(&chosen[i], choose(table[i], failed[i]), memory_order_relaxed);
    pthread_mutex_unlock(&choosing);
    for (int l = 0; check && l < TN_LOOPS_COUNT; l++) (void)tn_loops_isa((tn_loops)l);
}

void tn_op_forward(const tn_call *c) { tn_op_kernel(c->op)->fwd(c); }
void tn_op_backward(const tn_call *c) { tn_op_kernel(c->op)->bwd(c); }
