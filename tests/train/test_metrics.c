/* test_metrics.c - what TensorBoard shows of a run that was interrupted, and went back: each step once. The reader
 * here is TensorBoard's (event_accumulator.py): the files of the folder by name; an event START discards what was
 * read of its step and later ones. */
#include "../base/testing.h"
#include "train/run.h"

enum { N_STEP = 16 };

typedef struct curve {
    int   n[N_STEP]; /* points of train/loss at each step */
    float loss[N_STEP];
} curve;

static uint64_t varint(const uint8_t **p)
{
    uint64_t v = 0;
    int      shift = 0;
    do v |= (uint64_t)(**p & 127) << shift;
    while (shift += 7, *(*p)++ & 128);
    return v;
}

/* One field of a message at *p: its number; *v its number value, or *body its bytes. */
static int field(const uint8_t **p, uint64_t *v, const uint8_t **body)
{
    uint64_t key = varint(p);
    *v = 0;
    *body = *p;
    if ((key & 7) == 0) *v = varint(p);
    else if ((key & 7) == 1) *p += 8;
    else if ((key & 7) == 5) *p += 4;
    else {
        assert_int_equal(key & 7, 2);
        *v = varint(p);
        *body = *p;
        *p += *v;
    }
    return (int)(key >> 3);
}

/* Summary { Value { tag, value } }: the loss, if it is that. */
static bool loss_of(const uint8_t *p, float *loss)
{
    uint64_t       n;
    const uint8_t *body, *name = NULL;
    size_t         n_name = 0;
    assert_int_equal(field(&p, &n, &body), 1);
    for (const uint8_t *end = body + n, *q = body; q < end;) {
        int k = field(&q, &n, &body);
        if (k == 1) name = body, n_name = n;
        else memcpy(loss, body, 4);
    }
    return n_name == 10 && memcmp(name, "train/loss", 10) == 0;
}

static void event_read(curve *c, const uint8_t *p, const uint8_t *end)
{
    uint64_t       v, step = 0;
    const uint8_t *body;
    float          loss;
    while (p < end) {
        int k = field(&p, &v, &body);
        if (k == 2) step = v;
        if (k == 7) {
            assert_int_equal(v, 2);
            assert_memory_equal(body, "\x08\x01", 2);
            for (uint64_t s = step; s < N_STEP; s++) c->n[s] = 0;
        }
        if (k == 5 && loss_of(body, &loss)) {
            assert_true(step < N_STEP);
            c->n[step]++;
            c->loss[step] = loss;
        }
    }
}

static void shown(curve *c, const char *dir, size_t n_files)
{
    char   **list, *tb = tn_path(dir, "tb");
    size_t   n;
    tn_error err;
    *c = (curve){ 0 };
    assert_int_equal(tn_list_files(&list, &n, tb, &err), TN_OK);
    assert_int_equal(n, n_files);
    for (size_t i = 0; i < n; i++) {
        char    *path = tn_path(tb, list[i]), *bytes;
        size_t   len;
        uint64_t body;
        assert_int_equal(tn_file_read_all(&bytes, &len, path, 1 << 20, &err), TN_OK);
        for (size_t at = 0; at < len; at += 16 + body) {
            memcpy(&body, bytes + at, 8);
            event_read(c, (const uint8_t *)bytes + at + 12, (const uint8_t *)bytes + at + 12 + body);
        }
        free(bytes);
        free(path);
    }
    tn_list_free(list, n);
    free(tb);
}

/* A process that goes on behind `after` and ends at step `last`: its losses are those of process `who`. */
static void process(const char *dir, int who, int64_t after, int64_t last)
{
    metrics *m;
    tn_error err;
    if (train_metrics_open(&m, dir, after, true, &err) != TN_OK) fail_msg("%s", err.msg);
    for (int64_t s = after + 1; s <= last; s++) {
        const tn_train_step step = { .step = s, .steps = N_STEP, .loss = (float)(100 * who + s), .note = "" };
        if (train_metrics_step(m, &step, &err) != TN_OK) fail_msg("%s", err.msg);
    }
    train_metrics_close(m);
}

/* All of one second, and of one process id: a name that knew no more would be taken twice. */
static void each_step_is_shown_once_as_it_was_computed_last(void **state)
{
    curve c;
    process(*state, 0, 0, 2); /* killed before its first checkpoint */
    process(*state, 1, 0, 5);
    process(*state, 2, 2, 9);
    process(*state, 3, 7, 10);
    shown(&c, *state, 4);
    for (int s = 1; s <= 10; s++) {
        int who = s <= 2 ? 1 : s <= 7 ? 2 : 3;
        if (c.n[s] != 1 || c.loss[s] != (float)(100 * who + s))
            fail_msg("step %d: %d points, the last %g", s, c.n[s], (double)c.loss[s]);
    }
}

static void a_clock_that_is_behind_does_not_change_the_order(void **state)
{
    curve c;
    char *tb = tn_path(*state, "tb"), *ahead = tn_path(tb, "events.out.tfevents.4102444800.tenet.7");
    process(*state, 0, 0, 5);
    char   **list;
    size_t   n;
    tn_error err;
    assert_int_equal(tn_list_files(&list, &n, tb, &err), TN_OK);
    char *path = tn_path(tb, list[0]);
    assert_int_equal(tn_rename(path, ahead, &err), TN_OK);
    process(*state, 1, 3, 6);
    shown(&c, *state, 2);
    for (int s = 1; s <= 6; s++)
        if (c.n[s] != 1 || c.loss[s] != (float)(s <= 3 ? s : 100 + s))
            fail_msg("step %d: %d points", s, c.n[s]);
    tn_list_free(list, n);
    free(path);
    free(ahead);
    free(tb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        folder_test(each_step_is_shown_once_as_it_was_computed_last),
        folder_test(a_clock_that_is_behind_does_not_change_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
