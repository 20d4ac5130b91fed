/* test_golden.c - 20 steps against PyTorch: losses and gradient norms of tiny models from the same weights
 * and batches (make_train.py), and LoRA against PEFT. Losses within 1e-5 relative at every step. */
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

enum { N_STEP = 20, N_SEQ = 4, N_TOKEN = 24 };

static void shard_write(const char *path)
{
    tn_shard_writer *w;
    tn_digest        none = { { 0 } };
    tn_error         err;
    if (tn_shard_create(&w, path, &none, 56, &err) != TN_OK) fail_msg("%s", err.msg);
    for (int i = 0; i < N_STEP * N_SEQ; i++) {
        int32_t ids[N_TOKEN];
        for (int t = 0; t < N_TOKEN; t++) ids[t] = (7 * i + 3 * t + t * t / 5 + i * t) % 53 + 3;
        assert_int_equal(tn_shard_add(w, ids, NULL, N_TOKEN, 65536, false, &err), TN_OK);
    }
    assert_int_equal(tn_shard_commit(w, &err), TN_OK);
}

typedef struct seen {
    float loss[N_STEP], norm[N_STEP];
    int   n;
} seen;
static void on_step(void *arg, const tn_train_step *s)
{
    seen *v = arg;
    v->loss[v->n] = s->loss;
    v->norm[v->n++] = s->grad_norm;
}

static void run_case(const char *golden, const char *model, const char *adapter, const char *extra)
{
    char            dir[] = "/tmp/tenet-golden-XXXXXX", *path, text[2048];
    tn_train_config c = { 0 };
    tn_train_result r;
    tn_error        err = { 0 };
    seen            v = { 0 };
    json_t         *want;

    assert_non_null(mkdtemp(dir));
    path = tn_path(dir, "tokens.tns");
    shard_write(path);
    snprintf(text, sizeof text,
             "data: %s\nn_ctx: 24\npack: none\nshuffle: false\nbatch: 4\nmicro_batch: 2\nsteps: 20\nlr: "
             "1e-2\nwarmup: 4\n"
             "weight_decay: 0.1\naux_coef: 0\nsave_model: false\ncheckpoint_every: 0\ntensorboard: false\n%s",
             path, extra);
    char *config = tn_path(dir, "c.yaml"), *out = tn_path(dir, "run");
    assert_int_equal(tn_file_write_all(config, text, strlen(text), &err), TN_OK);
    if (tn_train_config_load(&c, config, &err) != TN_OK) fail_msg("%s", err.msg);
    c.model = tn_strdup(model);
    tn_train_io io = { .out = out, .adapter = adapter, .on_step = on_step, .arg = &v, .quiet = true };
    if (tn_train_run(&c, &io, &r, &err) != TN_OK) fail_msg("%s: %s", golden, err.msg);
    assert_int_equal(v.n, N_STEP);
    assert_int_equal(tn_json_load(&want, golden, 1 << 20, &err), TN_OK);
    for (int i = 0; i < N_STEP; i++) {
        double loss = json_number_value(json_array_get(json_object_get(want, "loss"), (size_t)i));
        double norm = json_number_value(json_array_get(json_object_get(want, "norm"), (size_t)i));
        if (!(fabs((double)v.loss[i] - loss) <= 1e-5 * loss) ||
            !(fabs((double)v.norm[i] - norm) <= 2e-4 * norm))
            fail_msg("%s step %d: loss %.8g, PyTorch %.8g; norm %.8g, PyTorch %.8g", golden, i + 1,
                     (double)v.loss[i], loss, (double)v.norm[i], norm);
    }
    json_decref(want);
    tn_train_result_free(&r);
    tn_train_config_free(&c);
    tn_remove_tree(dir, NULL);
    free(path);
    free(config);
    free(out);
}

#define FAMILY(name, dir)                                                                                    \
    static void name##_trains_like_pytorch(void **state)                                                     \
    {                                                                                                        \
        (void)state;                                                                                         \
        run_case("tests/golden/train/" dir ".json", "tests/golden/families/" dir, NULL, "");                 \
    }
FAMILY(llama, "llama")
FAMILY(gpt2, "gpt2")
FAMILY(mixtral, "mixtral")
FAMILY(deepseek, "deepseek-v2")
FAMILY(qwen3, "qwen3")

static void lora_trains_like_peft(void **state)
{
    (void)state;
    run_case("tests/golden/train/lora.json", "tests/golden/families/llama", "tests/golden/train/lora", "");
}

/* DoRA with rsLoRA's scale on the second layer only. */
static void dora_trains_like_peft(void **state)
{
    (void)state;
    run_case("tests/golden/train/dora.json", "tests/golden/families/llama", "tests/golden/train/dora", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_trains_like_pytorch),   cmocka_unit_test(gpt2_trains_like_pytorch),
        cmocka_unit_test(mixtral_trains_like_pytorch), cmocka_unit_test(deepseek_trains_like_pytorch),
        cmocka_unit_test(qwen3_trains_like_pytorch),   cmocka_unit_test(lora_trains_like_peft),
        cmocka_unit_test(dora_trains_like_peft),
    };
    tn_log_set_level(TN_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
