/* test_thread.c - the pool: every item exactly once, pieces as promised, nested calls, barriers, forks,
 * rounding mode. */
#include "base/thread.h"
#include "testing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

enum { MAX_N = 300, MAX_T = 9 };

typedef struct seen {
    int        hits[MAX_N];
    int64_t    begin[MAX_T], end[MAX_T];
    atomic_int n_piece;
} seen;

static void mark(void *arg, int64_t begin, int64_t end, int i_thread)
{
    seen *s = arg;

    for (int64_t i = begin; i < end; i++) s->hits[i]++;
    s->begin[i_thread] = begin;
    s->end[i_thread] = end;
    atomic_fetch_add(&s->n_piece, 1);
}

static void every_item_is_done_once_in_even_pieces(void **state)
{
    (void)state;
    for (int t = 1; t < MAX_T; t++) {
        assert_int_equal(tn_threads_set(t, NULL), TN_OK);
        assert_int_equal(tn_threads(), t);
        for (int64_t n = 0; n < MAX_N; n += n < 20 ? 1 : 31)
            for (int64_t grain = 1; grain < 40; grain += 6) {
                seen    s = { 0 };
                int64_t unit = (n + grain - 1) / grain, least = INT64_MAX, most = 0;
                tn_parallel(n, grain, mark, &s);
                for (int64_t i = 0; i < n; i++) assert_int_equal(s.hits[i], 1);
                assert_int_equal(atomic_load(&s.n_piece), unit < t ? unit : t);
                for (int p = 0; p < s.n_piece; p++) {
                    int64_t units = (s.end[p] - s.begin[p] + grain - 1) / grain;
                    assert_int_equal(s.begin[p] % grain, 0);
                    if (s.end[p] != n) assert_int_equal(s.end[p] % grain, 0);
                    if (p > 0) assert_int_equal(s.begin[p], s.end[p - 1]);
                    if (units < least) least = units;
                    if (units > most) most = units;
                }
                if (s.n_piece > 0) assert_true(most - least <= 1);
            }
    }
}

static void take_one(void *arg, size_t i) { atomic_fetch_add(&((atomic_int *)arg)[i], 1); }

static void every_single_item_is_taken_once(void **state)
{
    (void)state;
    for (int t = 1; t < MAX_T; t++) {
        assert_int_equal(tn_threads_set(t, NULL), TN_OK);
        for (size_t n = 0; n < MAX_N; n += n < 20 ? 1 : 31) {
            atomic_int taken[MAX_N] = { 0 };
            tn_parallel_items(n, take_one, taken);
            for (size_t i = 0; i < MAX_N; i++) assert_int_equal(atomic_load(&taken[i]), i < n);
        }
    }
}

static void inner(void *arg, int64_t begin, int64_t end, int i_thread)
{
    int *inside = arg;
    (void)i_thread;
    *inside += (int)(end - begin);
}

static void nest(void *arg, int64_t begin, int64_t end, int i_thread)
{
    int *sums = arg, inside = 0;

    (void)begin;
    (void)end;
    tn_parallel(100, 1, inner, &inside); /* serial, as one piece: no race on `inside` */
    sums[i_thread] = inside;
}

static void a_nested_call_runs_as_one_piece(void **state)
{
    int sums[4] = { 0 };

    (void)state;
    assert_int_equal(tn_threads_set(4, NULL), TN_OK);
    tn_parallel(4, 1, nest, sums);
    for (int i = 0; i < 4; i++) assert_int_equal(sums[i], 100);
}

typedef struct phases {
    int     n;
    int64_t a[8], b[8];
    bool    wrong;
} phases;

static void phase_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    phases *p = arg;

    (void)end;
    if (begin != i_thread) p->wrong = true;
    for (int round = 0; round < 200; round++) {
        p->a[i_thread] = round;
        tn_barrier();
        for (int i = 0; i < p->n; i++)
            if (p->a[i] != round) p->wrong = true;
        p->b[i_thread] = round;
        tn_barrier();
        for (int i = 0; i < p->n; i++)
            if (p->b[i] != round) p->wrong = true;
    }
}

static void nobody_passes_a_barrier_early(void **state)
{
    (void)state;
    for (int t = 1; t <= 8; t++) {
        phases p = { .n = t };
        assert_int_equal(tn_threads_set(t, NULL), TN_OK);
        tn_parallel_all(phase_piece, &p);
        assert_false(p.wrong);
        assert_int_equal(p.a[t - 1], 199);
    }
}

static void team(void *arg, int64_t begin, int64_t end, int i_thread)
{
    int *n = arg;
    (void)begin;
    (void)end;
    tn_barrier();
    n[i_thread] = tn_threads();
}

static void nest_all(void *arg, int64_t begin, int64_t end, int i_thread)
{
    int *n = arg, mine[1] = { 0 };
    (void)begin;
    (void)end;
    tn_parallel_all(team, mine); /* a team of one, whose barrier stops nobody */
    n[i_thread] = mine[0];
}

static void a_nested_team_has_one_member(void **state)
{
    int n[3] = { 0 };

    (void)state;
    assert_int_equal(tn_threads_set(3, NULL), TN_OK);
    tn_parallel_all(team, n);
    for (int i = 0; i < 3; i++) assert_int_equal(n[i], 3);
    tn_parallel_all(nest_all, n);
    for (int i = 0; i < 3; i++) assert_int_equal(n[i], 1);
}

static void *user(void *arg)
{
    for (int i = 0; i < 300; i++) {
        seen s = { 0 };
        tn_parallel(MAX_N, 1, mark, &s);
        for (int k = 0; k < MAX_N; k++)
            if (s.hits[k] != 1) *(bool *)arg = true;
    }
    return NULL;
}

static void several_callers_take_turns(void **state)
{
    pthread_t t[4];
    bool      wrong = false;

    (void)state;
    assert_int_equal(tn_threads_set(3, NULL), TN_OK);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, user, &wrong), 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    assert_false(wrong);
}

static void a_forked_child_has_its_own_pool(void **state)
{
    int   status;
    pid_t pid;

    (void)state;
    assert_int_equal(tn_threads_set(3, NULL), TN_OK);
    if ((pid = fork()) == 0) {
        seen s = { 0 };
        tn_parallel(MAX_N, 1, mark, &s);
        for (int i = 0; i < MAX_N; i++)
            if (s.hits[i] != 1) _exit(1);
        _exit(tn_threads() == 3 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#if defined(__x86_64__)
static void look_at_mode(void *arg, int64_t begin, int64_t end, int i_thread)
{
    uint32_t *mode = arg;
    (void)begin;
    (void)end;
    mode[i_thread] = _mm_getcsr() & ~(uint32_t)0x3f;
}

static void denormals_live_on_every_thread_whatever_the_caller_does(void **state)
{
    uint32_t mode[4] = { 0 }, before = _mm_getcsr();

    (void)state;
    _mm_setcsr(before | 0x8040); /* FTZ and DAZ on */
    assert_int_equal(tn_threads_set(4, NULL), TN_OK);
    tn_parallel(4, 1, look_at_mode, mode);
    for (int i = 0; i < 4; i++) assert_int_equal(mode[i], 0x1f80);
    mode[0] = 0;
    tn_parallel(1, 1, look_at_mode, mode);
    assert_int_equal(mode[0], 0x1f80);
    assert_int_equal(_mm_getcsr() & 0x8040, 0x8040); /* the caller's own mode is its own again */
    _mm_setcsr(before);
}
#endif

static void wrong_numbers_of_threads_are_refused(void **state)
{
    tn_error err;

    (void)state;
    assert_int_equal(tn_threads_set(0, &err), TN_USAGE);
    assert_says(err, "expected 1 to 1024");
    assert_int_equal(tn_threads_set(5000, &err), TN_USAGE);
    assert_true(tn_threads_default() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_done_once_in_even_pieces),
        cmocka_unit_test(every_single_item_is_taken_once),
        cmocka_unit_test(a_nested_call_runs_as_one_piece),
        cmocka_unit_test(nobody_passes_a_barrier_early),
        cmocka_unit_test(a_nested_team_has_one_member),
        cmocka_unit_test(several_callers_take_turns),
        cmocka_unit_test(a_forked_child_has_its_own_pool),
#if defined(__x86_64__)
        cmocka_unit_test(denormals_live_on_every_thread_whatever_the_caller_does),
#endif
        cmocka_unit_test(wrong_numbers_of_threads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
