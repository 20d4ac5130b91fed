/* test_pairs.c - six steps of every preference loss from the same weights as TRL and hand-written PyTorch
 * take (make_preference.py): rendering, reference, loss, gradient and update together. Losses within 1e-5
 * relative, and 1e-6 where they are small. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "train/train.h"

enum { STEPS = 6 };
static json_t *golden;

typedef struct seen {
    float loss[STEPS];
    int   n;
} seen;
static void on_step(void *arg, const tn_train_step *s)
{
    seen *v = arg;
    if (v->n < STEPS) v->loss[v->n++] = s->loss;
}

/* The rows without "p" and "weight", as TRL takes them. */
static void plain_rows(const char *to)
{
    tn_jsonl *rows;
    json_t   *row;
    tn_str    s = { 0 };
    assert_int_equal(tn_jsonl_open(&rows, "tests/golden/train/pairs/pairs.jsonl", NULL), TN_OK);
    while (tn_jsonl_next(rows, &row, NULL) == TN_OK && row != NULL) {
        json_object_del(row, "p");
        json_object_del(row, "weight");
        char *text = tn_json_text(row);
        tn_str_addf(&s, "%s\n", text);
        free(text);
        json_decref(row);
    }
    tn_jsonl_close(rows);
    assert_int_equal(tn_file_write_all(to, s.p, s.len, NULL), TN_OK);
    tn_str_free(&s);
}

static void like_the_others(const char *name, const char *loss, bool plain, const char *extra)
{
    char            dir[] = "/tmp/tenet-pairs-XXXXXX", text[2048];
    tn_train_config c;
    tn_train_result r;
    tn_error        err = { 0 };
    seen            v = { 0 };

    assert_non_null(mkdtemp(dir));
    char *rows = tn_path(dir, "rows"), *config = tn_path(dir, "c.yaml"), *out = tn_path(dir, "run");
    plain_rows(rows);
    snprintf(text, sizeof text,
             "model: tests/golden/train/pairs\ndata: %s\nloss: %s\nn_ctx: 64\nshuffle: false\nbatch: "
             "4\nmicro_batch: 4\nsteps: 6\nlr: 2e-3\n"
             "schedule: constant\nwarmup: 0\n%sbeta2: 0.999\nsave_model: false\ncheckpoint_every: "
             "0\ntensorboard: false\n%s",
             plain ? rows : "tests/golden/train/pairs/pairs.jsonl", loss,
             strcmp(loss, "orpo") == 0 ? "" : "beta: 0.3\n", extra);
    assert_int_equal(tn_file_write_all(config, text, strlen(text), &err), TN_OK);
    if (tn_train_config_load(&c, config, &err) != TN_OK) fail_msg("%s", err.msg);
    tn_train_io io = { .out = out, .on_step = on_step, .arg = &v, .quiet = true };
    if (tn_train_run(&c, &io, &r, &err) != TN_OK) fail_msg("%s: %s", name, err.msg);
    assert_int_equal(v.n, STEPS);
    for (int i = 0; i < STEPS; i++) {
        double want = json_number_value(json_array_get(json_object_get(golden, name), (size_t)i)),
               got = (double)v.loss[i];
        if (!(fabs(got - want) <= 1e-5 * fabs(want) + 1e-6))
            fail_msg("%s step %d: loss %.8g, the other's %.8g", name, i + 1, got, want);
    }
    tn_train_result_free(&r);
    tn_train_config_free(&c);
    tn_remove_tree(dir, NULL);
    free(rows);
    free(config);
    free(out);
}

static void six_losses_are_those_of_trl(void **state)
{
    (void)state;
    like_the_others("dpo", "dpo", true, "");
    like_the_others("hinge", "hinge", true, "");
    like_the_others("ipo", "ipo", true, "");
    like_the_others("robust", "robust", true, "label_smoothing: 0.1\n");
    like_the_others("apo_zero", "apo_zero", true, "");
    like_the_others("dpo_norm", "dpo_norm", true, "");
}

static void the_rest_are_their_papers(void **state)
{
    (void)state;
    like_the_others("soft", "dpo", false, ""); /* p and weight of each row */
    like_the_others("rpo", "rpo", true, "alpha: 0.4\n");
    like_the_others("rpo", "dpo", true, "rpo_alpha: 0.4\n");
    like_the_others("kto", "kto", true, "kto_good: 1.2\nkto_bad: 0.9\n");
    like_the_others("orpo", "orpo", true, "alpha: 0.5\n");
    like_the_others("simpo", "simpo", true, "gamma: 0.7\n");
    like_the_others("r_dpo", "r_dpo", true, "alpha: 0.05\n");
}

static int set_up(void **state)
{
    (void)state;
    return tn_json_load(&golden, "tests/golden/train/pairs/loss.json", 1 << 20, NULL) == TN_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(six_losses_are_those_of_trl),
                                        cmocka_unit_test(the_rest_are_their_papers) };
    tn_log_set_level(TN_LOG_WARN);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
