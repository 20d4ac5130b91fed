/* test_losses.c - runs with every objective on a tiny model: the first step stands at the reference to the
 * bit, all go on exactly, adapters and exports give back the weights that were trained; bf16. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "train/train.h"

static char dir[] = "/tmp/tenet-losses-XXXXXX", *scratch, *tuning, *hard;

static char *file_write(const char *name, const char *text)
{
    char *path = tn_path(dir, name);
    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
    return path;
}

#define SET(...) ((const char *const[]){ __VA_ARGS__, NULL })

typedef struct seen {
    tn_train_step first, last;
} seen;
static void on_step(void *arg, const tn_train_step *s)
{
    seen *v = arg;
    if (s->step == 1) v->first = *s;
    v->last = *s;
}

static tn_train_result run(const char *config, const char *name, const char *const *set, seen *v)
{
    tn_train_config c;
    tn_train_result r;
    tn_error        err = { 0 };
    seen            none;
    char           *out = tn_path(dir, name);
    tn_train_io     io = { .out = out, .quiet = true, .on_step = on_step, .arg = v != NULL ? v : &none };
    if (tn_train_config_load(&c, config, &err) != TN_OK) fail_msg("%s", err.msg);
    for (int i = 0; set != NULL && set[i] != NULL; i += 2)
        if (tn_option_set(&c, tn_train_options, set[i], set[i + 1], "test", &err) != TN_OK)
            fail_msg("%s", err.msg);
    if (tn_train_run(&c, &io, &r, &err) != TN_OK) fail_msg("%s: %s", name, err.msg);
    tn_train_config_free(&c);
    free(out);
    return r;
}

/* Every second pair has the soft label p. */
static char *pairs_write(const char *name, const char *p)
{
    tn_str s = { 0 };
    for (int i = 0; i < 12; i++)
        tn_str_addf(&s,
                    "{\"prompt\":\"Question %d?\",\"chosen\":\"Answer "
                    "%d.\",\"rejected\":\"No%.*s\",\"principle\":\"%s\",\"p\":%s}\n",
                    i, i * i % 97, i, "!!!!!!!!!!!!", i % 3 ? "kind" : "true", i % 2 ? "1" : p);
    char *path = file_write(name, s.p);
    tn_str_free(&s);
    return path;
}

static int set_up(void **state)
{
    tn_str s = { 0 };
    (void)state;
    if (mkdtemp(dir) == NULL) return -1;
    for (int i = 0; i < 200; i++) tn_str_addf(&s, "Question %d has answer %d.\n", i, i * i % 97);
    char *text = file_write("text.txt", s.p);
    tn_str_clear(&s);
    char *pairs = pairs_write("pairs.jsonl", "0.8");
    hard = pairs_write("hard.jsonl", "1");
    tn_str_addf(&s,
                "tokenizer: bytes\nn_layer: 2\nn_embd: 48\nn_head: 4\nn_head_kv: 2\nn_ff: 96\ndata: "
                "%s\nn_ctx: 64\nbatch: 4\nmicro_batch: 2\n"
                "steps: 4\nlr: 3e-3\ntensorboard: false\n",
                text);
    scratch = file_write("scratch.yaml", s.p);
    tn_str_clear(&s);
    tn_str_addf(&s,
                "model: %s/base/model\ndata: %s\nn_ctx: 64\nbatch: 4\nmicro_batch: 2\ngroup_size: 1\nsteps: "
                "4\nlr: 1e-3\nwarmup: 0\nlora_rank: 4\n"
                "checkpoint_every: 2\ntensorboard: false\nloss: dpo\n",
                dir, pairs);
    tuning = file_write("tuning.yaml", s.p);
    tn_str_free(&s);
    free(text);
    free(pairs);
    tn_train_result r = run(scratch, "base", NULL, NULL);
    bool            done = r.finished;
    tn_train_result_free(&r);
    return done ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free(scratch);
    free(tuning);
    free(hard);
    return tn_remove_tree(dir, NULL) == TN_OK ? 0 : -1;
}

/* B = 0: the adapted model is the reference to the bit, so the margin is 0 and not only small. */
static void dpo_starts_at_the_reference_to_the_bit(void **state)
{
    seen v;
    (void)state;
    tn_train_result r = run(tuning, "dpo", NULL, &v);
    assert_true(v.first.margin == 0 && v.first.kl == 0 && v.first.loss == 0.6931472f);
    assert_true(v.last.margin > 0 && v.last.loss < v.first.loss && v.last.kl > 0);
    assert_int_equal(r.n_principle, 2);
    assert_int_equal(r.principle[0].n + r.principle[1].n, 16);
    tn_train_result_free(&r);
}

static void refused(const char *config, const char *const *set, tn_status status, const char *words)
{
    tn_train_config c;
    tn_train_result none = { 0 };
    tn_error        err = { 0 };
    char           *out = tn_path(dir, "refused");
    tn_train_io     io = { .out = out, .quiet = true };
    assert_int_equal(tn_train_config_load(&c, config, &err), TN_OK);
    for (int i = 0; set[i] != NULL; i += 2)
        assert_int_equal(tn_option_set(&c, tn_train_options, set[i], set[i + 1], "test", &err), TN_OK);
    tn_status got = tn_train_run(&c, &io, &none, &err);
    if (got != status || strstr(err.msg, words) == NULL)
        fail_msg("%s: %d '%s', expected %d and '%s'", set[1], (int)got, got != TN_OK ? err.msg : "",
                 (int)status, words);
    tn_train_result_free(&none);
    tn_train_config_free(&c);
    free(out);
}

/* Losses without a place for it refuse a soft label, and a share of wrong ones. */
static void every_objective_trains_and_goes_on_exactly(void **state)
{
    static const char *const losses[] = { "dpo",   "robust",   "ipo",   "hinge",    "kto", "orpo",
                                          "simpo", "dpo_norm", "r_dpo", "apo_zero", "rpo" };
    (void)state;
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        bool soft = strstr("dpo simpo dpo_norm r_dpo rpo", losses[i]) != NULL &&
                    strcmp(losses[i], "ipo") != 0;
        const char *key = soft ? "label_smoothing" : "data", *value = soft ? "0" : hard;
        if (!soft) refused(tuning, SET("loss", losses[i]), TN_FORMAT, "pair 1 has the soft label p 0.8");
        if (!soft && strcmp(losses[i], "robust") != 0)
            refused(tuning, SET("loss", losses[i], "data", hard, "label_smoothing", "0.1"), TN_USAGE,
                    "label_smoothing is 0.1");
        char           *whole = tn_strf("w-%s", losses[i]), *parts = tn_strf("p-%s", losses[i]);
        seen            v;
        tn_train_result a = run(tuning, whole,
                                SET("loss", losses[i], "save_model", "false", "steps", "8", "lr", "5e-3", key,
                                    value),
                                &v),
                        b;
        /* These start equal for all batches; the others have a level of their own in each (lengths, plain
         * likelihood). */
        bool level = strstr("dpo robust ipo hinge kto dpo_norm apo_zero", losses[i]) != NULL &&
                     strcmp(losses[i], "r_dpo") != 0;
        if (!isfinite(v.last.loss) || (level && !(v.last.loss < v.first.loss)))
            fail_msg("%s: %g, then %g", losses[i], (double)v.first.loss, (double)v.last.loss);
        b = run(tuning, parts,
                SET("loss", losses[i], "save_model", "false", "steps", "8", "lr", "5e-3", key, value,
                    "stop_at", "3"),
                NULL);
        tn_train_result_free(&b);
        char *kept = tn_strf("%s/%s/said-train", dir, parts); /* what the reference said */
        assert_int_equal(tn_exists(kept), strcmp(losses[i], "orpo") != 0 && strcmp(losses[i], "simpo") != 0);
        b = run(tuning, parts,
                SET("loss", losses[i], "save_model", "false", "steps", "8", "lr", "5e-3", key, value), NULL);
        assert_false(tn_exists(kept));
        free(kept);
        assert_memory_equal(&a.weights_root, &b.weights_root, sizeof a.weights_root);
        assert_memory_equal(&a.log_root, &b.log_root, sizeof a.log_root);
        tn_train_result_free(&a);
        tn_train_result_free(&b);
        free(whole);
        free(parts);
    }
}

static tn_digest export_of(const char *run_name, const char *out, bool merge)
{
    char             *from = tn_path(dir, run_name), *to = tn_path(dir, out);
    tn_digest         root;
    tn_error          err = { 0 };
    tn_export_options o = { .merge = merge, .type = TN_F32 };
    if (tn_train_export(from, to, &o, &root, &err) != TN_OK) fail_msg("%s: %s", run_name, err.msg);
    free(from);
    free(to);
    return root;
}

static tn_digest model_root(const char *name)
{
    char     *path = tn_path(dir, name);
    tn_model *m;
    tn_digest d;
    tn_error  err = { 0 };
    if (tn_model_open(&m, path, &(tn_model_options){ .weights = true }, &err) != TN_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tn_model_digest(m, &d, &err), TN_OK);
    assert_non_null(tn_model_tokenizer(m));
    tn_model_close(m);
    free(path);
    return d;
}

static void exports_hold_what_was_trained(void **state)
{
    (void)state;
    tn_train_result r = run(scratch, "base", NULL, NULL); /* finished: only reports */
    tn_digest       root = export_of("base", "base-export", false);
    tn_digest       a = model_root("base/model");
    tn_digest       b = model_root("base-export");
    assert_memory_equal(&root, &r.weights_root, sizeof root);
    assert_memory_equal(&a, &b, sizeof a);
    tn_train_result t = run(tuning, "dpo-export", NULL, NULL);
    root = export_of("dpo-export", "adapter-out", false);
    assert_memory_equal(&root, &t.weights_root, sizeof root);
    root = export_of("dpo-export", "merged", true);
    b = model_root("merged");
    assert_memory_not_equal(&a, &b, sizeof a);
    assert_memory_equal(&root, &b, sizeof root); /* what is told is what was written, not the adapter */
    char *adapter = tn_path(dir, "adapter-out");
    /* an adapter goes on */
    tn_train_result on = run(tuning, "on", SET("adapter", adapter, "lora_rank", "0"), NULL);
    assert_true(on.finished);
    tn_train_result_free(&r);
    tn_train_result_free(&t);
    tn_train_result_free(&on);
    free(adapter);
}

/* What is scored is likelihood: z_loss is for training. */
static void validation_is_without_the_z_loss(void **state)
{
    char *text = tn_path(dir, "text.txt");
    float valid[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        tn_train_result r = run(
            scratch, i == 0 ? "plain" : "z",
            SET("valid", text, "steps", "1", "lr", "1e-30", "warmup", "0", "z_loss", i == 0 ? "0" : "0.5"),
            NULL);
        valid[i] = r.best_valid;
        assert_int_equal(r.best_step, 1);
        tn_train_result_free(&r);
    }
    assert_true(valid[0] > 0 && valid[0] == valid[1]);
    free(text);
}

static void bf16_is_exact_too(void **state)
{
    (void)state;
    const char *const *set = SET("dtype", "bf16", "stochastic_rounding", "true");
    tn_threads_set(1, NULL);
    tn_train_result a = run(scratch, "bf16", set, NULL), b;
    tn_threads_set(2, NULL);
    if (tn_isa_set("ref", NULL) == TN_OK) tn_ops_choose(false);
    b = run(scratch, "bf16-ref", set, NULL);
    assert_memory_equal(&a.weights_root, &b.weights_root, sizeof a.weights_root);
    tn_train_result_free(&b);
    tn_isa_set("auto", NULL);
    tn_ops_choose(false);
    b = run(scratch, "bf16-parts", SET("dtype", "bf16", "stochastic_rounding", "true", "stop_at", "2"), NULL);
    tn_train_result_free(&b);
    b = run(scratch, "bf16-parts", set, NULL);
    assert_memory_equal(&a.weights_root, &b.weights_root, sizeof a.weights_root);
    tn_train_result_free(&a);
    tn_train_result_free(&b);
}

/* Only the second layer has adapters, the file says so in PEFT's words, and the first layer is left as it
 * was. */
static void adapters_can_be_on_some_layers_only(void **state)
{
    json_t  *config;
    tn_error err = { 0 };
    (void)state;
    tn_train_result r = run(tuning, "layers", SET("lora_layers", "1-1"), NULL);
    char           *path = tn_path(dir, "layers/adapter/adapter_config.json");
    assert_int_equal(tn_json_load(&config, path, 1 << 20, NULL), TN_OK);
    const json_t *layers = json_object_get(config, "layers_to_transform");
    assert_int_equal(json_array_size(layers), 1);
    assert_int_equal(json_integer_value(json_array_get(layers, 0)), 1);
    json_decref(config);
    free(path);
    path = tn_path(dir, "layers/adapter");
    char     *base = tn_path(dir, "base/model");
    tn_model *m;
    tn_lora  *lora;
    size_t    n;
    assert_int_equal(tn_model_open(&m, base, &(tn_model_options){ .weights = true }, &err), TN_OK);
    if (tn_lora_read(&lora, &n, m, path, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_int_equal(n, 7);
    for (size_t i = 0; i < n; i++) assert_true(tn_starts_with(lora[i].name, "blk.1."));
    tn_lora_free(lora, n);
    tn_model_close(m);
    tn_train_config c;
    assert_int_equal(tn_train_config_load(&c, tuning, &err), TN_OK);
    static const char *const wrong[] = { "1-2", "1", "-1-1", "1-0", "x-1", "" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(tn_option_set(&c, tn_train_options, "lora_layers", wrong[i], "test", &err), TN_OK);
        char           *out = tn_path(dir, "wrong-layers");
        tn_train_io     io = { .out = out, .quiet = true };
        tn_train_result none;
        assert_int_equal(tn_train_run(&c, &io, &none, &err), TN_USAGE);
        assert_non_null(strstr(err.msg, "lora_layers"));
        free(out);
    }
    tn_train_config_free(&c);
    tn_train_result_free(&r);
    free(path);
    free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dpo_starts_at_the_reference_to_the_bit),
        cmocka_unit_test(every_objective_trains_and_goes_on_exactly),
        cmocka_unit_test(exports_hold_what_was_trained),
        cmocka_unit_test(adapters_can_be_on_some_layers_only),
        cmocka_unit_test(validation_is_without_the_z_loss),
        cmocka_unit_test(bf16_is_exact_too),
    };
    tn_log_set_level(TN_LOG_WARN);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
