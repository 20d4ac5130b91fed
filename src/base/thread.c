/* thread.c - the thread pool (see thread.h).
 *
 *   caller                            worker i (i = 1 .. n-1), each with a box on its own cache line
 *   write the job                     wait: go == the number it knows   (spin ~50 us, then futex)
 *   box[i].go = number  ───────────→  run its piece
 *   run piece 0                       pending--; the last one wakes the caller if it sleeps
 *   wait: pending == 0  ←───────────
 *
 * A worker that gets no piece is not touched, so it stays asleep. When there are more threads than CPUs
 * nobody spins: the one who waits would burn the time of the one that it waits for. Sleeping and waking are
 * Dekker pairs: one side stores its word and reads the other's, both sequentially consistent, so a wake-up is
 * never lost.
 *
 * One caller at a time uses the pool; another one waits for its turn. */
#include "base/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
static void relax(void) { _mm_pause(); }
/* Round to nearest, all exceptions masked, FTZ and DAZ off; the six sticky flag bits do not matter. */
enum { MXCSR_WANTED = 0x1f80, MXCSR_FLAGS = 0x3f };
static uint32_t float_mode_set(void)
{
    uint32_t before = _mm_getcsr();
    if ((before & ~(uint32_t)MXCSR_FLAGS) != MXCSR_WANTED) _mm_setcsr(MXCSR_WANTED);
    return before;
}
static void float_mode_restore(uint32_t before)
{
    if ((before & ~(uint32_t)MXCSR_FLAGS) != MXCSR_WANTED) _mm_setcsr(before);
}
#else
static void     relax(void) {}
static uint32_t float_mode_set(void) { return 0; }
static void     float_mode_restore(uint32_t before) { (void)before; }
#endif

enum { MAX_THREADS = 1024, CACHE_LINE = 64 };
static const double SPIN_SECONDS = 50e-6;

typedef struct box {
    _Alignas(CACHE_LINE) _Atomic uint32_t go; /* number of the last job given to this worker; futex */
    _Atomic uint32_t asleep;
    bool             leave; /* written before go changes */
    int              i_thread;
    uint32_t         known; /* the worker's own copy of go when it was made */
    pthread_t        thread;
} box;

static struct {
    pthread_mutex_t turn;     /* who uses the pool, or changes it */
    int             n;        /* threads in all; 0: not started */
    int             n_wanted; /* what tn_threads_set asked for; 0: the default */
    bool            spins;
    box            *boxes; /* [n - 1] */
    /* the job */
    tn_range_fn fn;
    void       *arg;
    int64_t     n_item, grain, n_unit, n_piece;
    bool        all; /* tn_parallel_all: piece i is [i, i+1) */
    /* its end */
    _Alignas(CACHE_LINE) _Atomic uint32_t pending; /* futex */
    _Atomic uint32_t caller_asleep;
    /* the barrier of tn_parallel_all */
    _Alignas(CACHE_LINE) _Atomic uint32_t arrived;
    _Alignas(CACHE_LINE) _Atomic uint32_t phase; /* futex */
    _Atomic uint32_t barrier_sleepers;
} pool = { .turn = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local bool in_region; /* inside a piece: further calls are serial */
static _Thread_local int  my_index;
static _Thread_local bool alone; /* inside a serial tn_parallel_all: a team of one */

double tn_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t while_equal)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_equal, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* Waits a moment for *word to differ from `from`; true if it does. */
static bool spin_until_not(_Atomic uint32_t *word, uint32_t from)
{
    double end = 0;

    if (atomic_load_explicit(word, memory_order_acquire) != from) return true;
    if (!pool.spins) return false;
    for (int round = 0;; round++) {
        for (int i = 0; i < 32; i++) {
            relax();
            if (atomic_load_explicit(word, memory_order_acquire) != from) return true;
        }
        if (round == 0) end = tn_now() + SPIN_SECONDS;
        else if (tn_now() > end) return false;
    }
}

/* ----------------------------------------------------------------------------------------- pieces of work */

static void run_piece(int64_t i)
{
    int64_t begin, end;

    if (pool.all) {
        pool.fn(pool.arg, i, i + 1, (int)i);
        return;
    }
    begin = pool.n_unit * i / pool.n_piece * pool.grain;
    end = pool.n_unit * (i + 1) / pool.n_piece * pool.grain;
    if (end > pool.n_item) end = pool.n_item;
    pool.fn(pool.arg, begin, end, (int)i);
}

static void *worker_main(void *arg)
{
    box *b = arg;

    float_mode_set();
    in_region = true;
    my_index = b->i_thread;
    for (;;) {
        if (!spin_until_not(&b->go, b->known)) {
            atomic_store(&b->asleep, 1);
            while (atomic_load(&b->go) == b->known) futex_wait(&b->go, b->known);
            atomic_store(&b->asleep, 0);
        }
        b->known = atomic_load_explicit(&b->go, memory_order_acquire);
        if (b->leave) return NULL;
        run_piece(b->i_thread);
        if (atomic_fetch_sub(&pool.pending, 1) == 1 && atomic_load(&pool.caller_asleep))
            futex_wake(&pool.pending, 1);
    }
}

static void box_go(box *b)
{
    atomic_fetch_add(&b->go, 1);
    if (atomic_load(&b->asleep)) futex_wake(&b->go, 1);
}

/* Runs the job in pool.* as `n_piece` pieces on as many threads. The turn is ours. */
static void run_job(int n_piece)
{
    uint32_t mode = float_mode_set(), left;

    atomic_store_explicit(&pool.pending, (uint32_t)n_piece - 1, memory_order_relaxed);
    for (int i = 1; i < n_piece; i++) box_go(&pool.boxes[i - 1]);
    in_region = true;
    my_index = 0;
    run_piece(0);
    in_region = false;
    while ((left = atomic_load_explicit(&pool.pending, memory_order_acquire)) != 0) {
        if (spin_until_not(&pool.pending, left)) continue;
        atomic_store(&pool.caller_asleep, 1);
        while ((left = atomic_load(&pool.pending)) != 0) futex_wait(&pool.pending, left);
        atomic_store(&pool.caller_asleep, 0);
    }
    float_mode_restore(mode);
}

/* ------------------------------------------------------------------------------- starting and stopping it */

static int affinity_count(void)
{
    int n = 1;

    for (int n_cpu = 1024; n_cpu <= 1 << 20; n_cpu *= 4) { /* more CPUs than the mask: EINVAL, try larger */
        cpu_set_t *set = CPU_ALLOC((size_t)n_cpu);
        size_t     bytes = CPU_ALLOC_SIZE((size_t)n_cpu);
        int        rc;
        if (set == NULL) return 1;
        CPU_ZERO_S(bytes, set);
        rc = sched_getaffinity(0, bytes, set);
        if (rc == 0) n = CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (rc == 0 || errno != EINVAL) break;
    }
    return n < 1 ? 1 : n;
}

/* Two numbers of a small file ("200000 100000"); "max" or anything else gives false. */
static bool read_pair(const char *path, long long *a, long long *b)
{
    FILE *f = fopen(path, "re");
    bool  ok;

    if (f == NULL) return false;
    *b = 0;
    ok = fscanf(f, "%lld %lld", a, b) >= 1;
    fclose(f);
    return ok;
}

static int quota_cpus(long long quota, long long period, int n)
{
    long long cpus = quota > 0 && period > 0 ? (quota + period - 1) / period : n;
    return cpus < n ? (int)cpus : n;
}

/* The tightest CPU quota on the way from this process's control group up to the root. */
static int cgroup_count(int n)
{
    char      line[4096], path[4400], *rel = NULL;
    long long quota, period, unused;
    FILE     *f = fopen("/proc/self/cgroup", "re");

    while (f != NULL && rel == NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "0::", 3) == 0) rel = line + 3;
    if (f != NULL) fclose(f);
    if (rel != NULL) {
        rel[strcspn(rel, "\n")] = '\0';
        for (;;) {
            char *slash;
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", strcmp(rel, "/") == 0 ? "" : rel);
            if (read_pair(path, &quota, &period)) n = quota_cpus(quota, period, n);
            if ((slash = strrchr(rel, '/')) == NULL || rel[0] == '\0') break;
            *slash = '\0';
        }
    }
    if (read_pair("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota, &unused) &&
        read_pair("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period, &unused))
        n = quota_cpus(quota, period, n);
    return n < 1 ? 1 : n;
}

int tn_threads_default(void)
{
    int n = cgroup_count(affinity_count());
    return n > MAX_THREADS ? MAX_THREADS : n;
}

static void pool_stop(void)
{
    for (int i = 0; i < pool.n - 1; i++) {
        pool.boxes[i].leave = true;
        box_go(&pool.boxes[i]);
    }
    for (int i = 0; i < pool.n - 1; i++) pthread_join(pool.boxes[i].thread, NULL);
    free(pool.boxes);
    pool.boxes = NULL;
    pool.n = 0;
}

/* The child of a fork has no workers: forget the parent's, start again when needed. */
static void forget_in_child(void)
{
    pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

    pool.turn = fresh;
    free(pool.boxes);
    pool.boxes = NULL;
    pool.n = 0;
    atomic_store(&pool.pending, 0);
    atomic_store(&pool.caller_asleep, 0);
    atomic_store(&pool.arrived, 0);
    atomic_store(&pool.barrier_sleepers, 0);
    in_region = alone = false;
}

static void register_fork(void) { pthread_atfork(NULL, NULL, forget_in_child); }

/* Starts n threads in all; on failure the pool has as many as could be started, and works. The turn is
 * ours. */
static tn_status pool_start(int n, tn_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t                n_box = (size_t)n - 1;

    pthread_once(&once, register_fork);
    pool.spins = n <= affinity_count() && n <= cgroup_count(MAX_THREADS);
    pool.n = 1;
    if (n_box == 0) return TN_OK;
    if ((pool.boxes = aligned_alloc(CACHE_LINE, n_box * sizeof *pool.boxes)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %d threads", n);
    memset(pool.boxes, 0, n_box * sizeof *pool.boxes);
    for (size_t i = 0; i < n_box; i++) {
        int rc;
        pool.boxes[i].i_thread = (int)i + 1;
        if ((rc = pthread_create(&pool.boxes[i].thread, NULL, worker_main, &pool.boxes[i])) != 0)
            return tn_fail(err, TN_NOMEM, "thread %zu of %d did not start (%s): use fewer --threads", i + 2,
                           n, strerror(rc));
        pool.n++;
    }
    return TN_OK;
}

/* Without the memory for all, the pool still has those that started: fewer threads never change a result. */
static void pool_need(void)
{
    if (pool.n == 0) (void)pool_start(pool.n_wanted > 0 ? pool.n_wanted : tn_threads_default(), NULL);
}

tn_status tn_threads_set(int n, tn_error *err)
{
    tn_status status;

    if (n < 1 || n > MAX_THREADS)
        return tn_fail(err, TN_USAGE, "%d threads: expected 1 to %d", n, (int)MAX_THREADS);
    if (in_region) return tn_fail(err, TN_USAGE, "the number of threads cannot change inside parallel work");
    pthread_mutex_lock(&pool.turn);
    pool_stop();
    pool.n_wanted = n;
    status = pool_start(n, err);
    pthread_mutex_unlock(&pool.turn);
    return status;
}

int tn_threads(void)
{
    int n;

    if (alone) return 1;
    if (in_region) return pool.n; /* cannot change while a region runs */
    pthread_mutex_lock(&pool.turn);
    pool_need();
    n = pool.n;
    pthread_mutex_unlock(&pool.turn);
    return n;
}

int tn_threads_here(void) { return in_region ? 1 : tn_threads(); }

/* ------------------------------------------------------------------------------------- the parallel calls */

void tn_parallel(int64_t n, int64_t grain, tn_range_fn fn, void *arg)
{
    int64_t n_unit;

    if (n <= 0) return;
    if (grain < 1) grain = 1;
    n_unit = (n - 1) / grain + 1;
    if (in_region || n_unit == 1) {
        uint32_t mode = float_mode_set();
        fn(arg, 0, n, in_region ? my_index : 0);
        float_mode_restore(mode);
        return;
    }
    pthread_mutex_lock(&pool.turn);
    pool_need();
    pool.fn = fn;
    pool.arg = arg;
    pool.all = false;
    pool.n_item = n;
    pool.grain = grain;
    pool.n_unit = n_unit;
    pool.n_piece = n_unit < pool.n ? n_unit : pool.n;
    run_job((int)pool.n_piece);
    pthread_mutex_unlock(&pool.turn);
}

typedef struct items {
    tn_item_fn    fn;
    void         *arg;
    size_t        n;
    atomic_size_t next;
} items;

static void take_items(void *arg, int64_t begin, int64_t end, int i_thread)
{
    items *w = arg;

    (void)begin;
    (void)end;
    (void)i_thread;
    for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->n;) w->fn(w->arg, i);
}

void tn_parallel_items(size_t n, tn_item_fn fn, void *arg)
{
    items w = { .fn = fn, .arg = arg, .n = n };

    tn_parallel((int64_t)n < tn_threads() ? (int64_t)n : tn_threads(), 1, take_items, &w);
}

void tn_parallel_all(tn_range_fn fn, void *arg)
{
    if (in_region) {
        bool before = alone;
        alone = true;
        fn(arg, 0, 1, 0);
        alone = before;
        return;
    }
    pthread_mutex_lock(&pool.turn);
    pool_need();
    pool.fn = fn;
    pool.arg = arg;
    pool.all = true;
    atomic_store(&pool.arrived, 0);
    run_job(pool.n);
    pthread_mutex_unlock(&pool.turn);
}

void tn_barrier(void)
{
    uint32_t phase;

    if (alone || pool.n == 1) return;
    phase = atomic_load(&pool.phase);
    if (atomic_fetch_add(&pool.arrived, 1) == (uint32_t)pool.n - 1) {
        atomic_store(&pool.arrived, 0);
        atomic_fetch_add(&pool.phase, 1);
        if (atomic_load(&pool.barrier_sleepers) != 0) futex_wake(&pool.phase, MAX_THREADS);
        return;
    }
    if (spin_until_not(&pool.phase, phase)) return;
    atomic_fetch_add(&pool.barrier_sleepers, 1);
    while (atomic_load(&pool.phase) == phase) futex_wait(&pool.phase, phase);
    atomic_fetch_sub(&pool.barrier_sleepers, 1);
}
