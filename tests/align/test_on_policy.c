/* test_on_policy.c - the log-probability recorded while sampling is the trainer's, to the bit: with the model
 * alone and with an adapter, whatever is batched with what.
 *
 *   samples stage ──→ tokens, log-probabilities ┐
 *   the same answers as pairs, no step to speak of ── tn_train_run ── sum over the answer's tokens, a step a pair ──→ must be equal
 */
#include "../base/testing.h"
#include "align/align.h"
#include "base/log.h"
#include "train/train.h"

static const char MODEL[] = "tests/golden/recipe/model";
enum { MAX_STEPS = 512 };

typedef struct seen {
    float   logp[MAX_STEPS];
    float   length[MAX_STEPS];
    int64_t n;
} seen;

static void on_step(void *arg, const tn_train_step *s)
{
    seen *out = arg;

    assert_true(out->n < MAX_STEPS);
    out->logp[out->n] = s->logp_chosen;
    out->length[out->n++] = s->length_chosen;
}

static void set_all(tn_train_config *c, const char *const (*kv)[2], size_t n)
{
    tn_error err = { .msg = "" };

    assert_int_equal(tn_options_default(c, tn_train_options, NULL), TN_OK);
    for (size_t i = 0; i < n; i++)
        if (tn_option_set(c, tn_train_options, kv[i][0], kv[i][1], "test", &err) != TN_OK)
            fail_msg("%s", err.msg);
}

/* Trains; steps' sums of the chosen answers' log-probabilities in *out. */
static void train(const char *dir, const char *name, const char *data, const char *adapter, const char *lr,
                  int64_t steps, seen *out)
{
    char            number[24], *run = tn_path(dir, name);
    tn_train_config c = { 0 };
    tn_train_result result = { 0 };
    tn_error        err = { .msg = "" };

    tn_train_io io = {
        .out = run, .model = MODEL, .adapter = adapter, .on_step = on_step, .arg = out, .quiet = true
    };

    snprintf(number, sizeof number, "%lld", (long long)steps);
    const char *const kv[][2] = { { "model", MODEL },  { "data", data },        { "loss", "dpo" },
                                  { "lr", lr },        { "lora_rank", "2" },    { "n_ctx", "512" },
                                  { "batch", "1" },    { "micro_batch", "1" },  { "group_size", "1" },
                                  { "steps", number }, { "shuffle", "false" },  { "tensorboard", "false" },
                                  { "warmup", "0" },   { "weight_decay", "0" }, { "adapter", adapter } };
    set_all(&c, kv, sizeof kv / sizeof kv[0] - (adapter == NULL));
    if (tn_train_run(&c, &io, &result, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_int_equal(result.steps, steps);
    tn_train_result_free(&result);
    tn_options_free(&c, tn_train_options);
    free(run);
}

/* Plain printable bytes come back as the tokens that they were. */
static bool plain(const char *s)
{
    bool letter = false;

    for (; *s != '\0'; s++) {
        if (*s < 32 || *s > 126) return false;
        letter = letter || *s != ' ';
    }
    return letter;
}

/* Samples, writes the plain ones as pairs, and what was recorded of each. */
static int64_t sample(const char *dir, const char *adapter, const char *max_tokens, char **pairs,
                      double *recorded, int64_t *n_token)
{
    tn_align_samples_config c = { 0 };
    tn_error                err = { .msg = "" };
    char                   *prompts = tn_path(dir, "prompts.jsonl");
    char                   *out = tn_path(dir, "samples");
    char                   *path = tn_path(out, "samples.jsonl");
    tn_jsonl               *r = NULL;
    json_t                 *row = NULL;
    tn_str                  s = { 0 };
    int64_t                 n = 0;

    assert_int_equal(tn_options_default(&c, tn_align_samples_options, NULL), TN_OK);
    assert_int_equal(tn_option_set(&c, tn_align_samples_options, "max_tokens", max_tokens, "test", NULL),
                     TN_OK);
    c.samples = 32;
    c.s.batch = 7;
    assert_int_equal(tn_file_write_all(
                         prompts,
                         "{\"id\":\"a\",\"prompt\":\"What is a store?\"}\n{\"id\":\"b\",\"prompt\":\"Hi\"}\n",
                         63, NULL),
                     TN_OK);
    if (tn_align_samples_run(&c, TN_PROFILE_STRICT, MODEL, adapter, prompts, out, NULL, &err) != TN_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tn_jsonl_open(&r, path, NULL), TN_OK);
    while (tn_jsonl_next(r, &row, NULL) == TN_OK && row != NULL) {
        const json_t *answers = json_object_get(row, "answers");
        for (size_t k = 0; k < json_array_size(answers); k++) {
            const json_t *a = json_array_get(answers, k), *lp = json_object_get(a, "logprobs");
            const char   *text = json_string_value(json_object_get(a, "answer"));
            double        sum = 0;

            if (!plain(text)) continue;
            for (size_t t = 0; t < json_array_size(lp); t++)
                sum += (double)(float)json_number_value(json_array_get(lp, t));
            bool    open = strcmp(json_string_value(json_object_get(a, "stop_reason")), "length") == 0;
            json_t *pair = json_pack("{s:s, s:s, s:s, s:b}", "prompt",
                                     json_string_value(json_object_get(row, "text")), "chosen", text,
                                     "rejected", "another", "open", open);
            char   *line = tn_json_text(pair);
            tn_str_addf(&s, "%s\n", line);
            free(line);
            json_decref(pair);
            n_token[n] = (int64_t)json_array_size(lp);
            recorded[n++] = sum;
        }
        json_decref(row);
    }
    tn_jsonl_close(r);
    *pairs = tn_path(dir, "pairs.jsonl");
    assert_int_equal(tn_file_write_all(*pairs, s.p, s.len, NULL), TN_OK);
    tn_str_free(&s);
    free(prompts);
    free(out);
    free(path);
    tn_options_free(&c, tn_align_samples_options);
    return n;
}

static void compare(const char *dir, const char *adapter, const char *max_tokens, const char *name)
{
    static double  recorded[MAX_STEPS];
    static int64_t n_token[MAX_STEPS];
    static seen    s;
    char          *pairs = NULL;
    int64_t        n = sample(dir, adapter, max_tokens, &pairs, recorded, n_token);

    assert_true(n >= 4); /* enough plain ones to say something */
    s.n = 0;
    train(dir, name, pairs, adapter, "1e-30", n, &s); /* too small to move any weight that is not 0 */
    assert_int_equal(s.n, n);
    for (int64_t i = 0; i < n; i++) {
        float want = (float)recorded[i];
        assert_true(s.length[i] == (float)n_token[i]);
        if (memcmp(&want, &s.logp[i], sizeof want) != 0)
            fail_msg("pair %lld: sampled %a, trainer %a", (long long)i, (double)want, (double)s.logp[i]);
    }
    free(pairs);
}

static void one_token_answers_agree_to_the_bit(void **state) { compare(*state, NULL, "1", "one"); }
static void longer_answers_agree_to_the_bit(void **state) { compare(*state, NULL, "6", "six"); }

static void an_unmerged_adapter_agrees_to_the_bit(void **state)
{
    static double  recorded[MAX_STEPS];
    static int64_t n_token[MAX_STEPS];
    static seen    s;
    const char    *dir = *state;
    char          *pairs = NULL, *run = tn_path(dir, "adapt"), *adapter = tn_path(run, "adapter");

    assert_true(sample(dir, NULL, "4", &pairs, recorded, n_token) >= 4);
    s.n = 0;
    train(dir, "adapt", pairs, NULL, "0.05", 4, &s); /* an adapter that changes something */
    compare(dir, adapter, "3", "adapted");
    free(pairs);
    free(adapter);
    free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_token_answers_agree_to_the_bit, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(longer_answers_agree_to_the_bit, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(an_unmerged_adapter_agrees_to_the_bit, folder_make, folder_remove),
    };
    tn_log_set_level(TN_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
