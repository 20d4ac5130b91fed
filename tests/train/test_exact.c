/* test_exact.c - the same bits for any threads, kernels, recomputation and interruption; damage and
 * alteration are found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "provenance/provenance.h"
#include "train/train.h"

/* ThreadSanitizer makes every access some twenty times as dear: the same runs and checks on a smaller
 * shape. */
#if defined(__SANITIZE_THREAD__)
#define SHAPE "n_layer: 1\nn_embd: 16\nn_head: 2\nn_head_kv: 1\nn_ff: 32\nn_ctx: 16\n"
#else
#define SHAPE "n_layer: 2\nn_embd: 48\nn_head: 4\nn_head_kv: 2\nn_ff: 96\nn_ctx: 32\n"
#endif

static char dir[] = "/tmp/tenet-exact-XXXXXX", *config, *text_file;

static int set_up(void **state)
{
    tn_str s = { 0 };
    (void)state;
    if (mkdtemp(dir) == NULL) return -1;
    text_file = tn_path(dir, "text.txt");
    config = tn_path(dir, "c.yaml");
    for (int i = 0; i < 400; i++)
        tn_str_addf(&s, "Line %d says that %d is %s than %d.\n", i, i * 7 % 100, i % 3 ? "more" : "less",
                    i * 3 % 100);
    if (tn_file_write_all(text_file, s.p, s.len, NULL) != TN_OK) return -1;
    tn_str_clear(&s);
    tn_str_addf(&s,
                "tokenizer: bytes\n" SHAPE "data: %s\nbatch: 8\nmicro_batch: 1\n"
                "group_size: 2\nsteps: 8\nlr: 3e-3\nweight_decay: 0.1\ncheckpoint_every: 3\nsave_model: "
                "false\ntensorboard: false\n",
                text_file);
    int bad = tn_file_write_all(config, s.p, s.len, NULL) != TN_OK;
    tn_str_free(&s);
    return bad ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(text_file);
    free(config);
    return tn_remove_tree(dir, NULL) == TN_OK ? 0 : -1;
}

/* The configuration with key=value pairs set. */
static tn_status load(tn_train_config *c, const char *const *set, tn_error *err)
{
    tn_status status = tn_train_config_load(c, config, err);
    for (int i = 0; status == TN_OK && set != NULL && set[i] != NULL; i += 2)
        status = tn_option_set(c, tn_train_options, set[i], set[i + 1], "test", err);
    return status;
}

/* Runs into dir/name; returns the status. */
static tn_status run(const char *name, const char *const *set, tn_train_result *r, tn_error *err)
{
    tn_train_config c;
    char           *out = tn_path(dir, name);
    tn_train_io     io = { .out = out, .quiet = true };
    tn_status       status = load(&c, set, err);
    if (status == TN_OK) status = tn_train_run(&c, &io, r, err);
    tn_train_result_free(r);
    tn_train_config_free(&c);
    free(out);
    return status;
}

#define SET(...) ((const char *const[]){ __VA_ARGS__, NULL })

static tn_train_result must_run(const char *name, const char *const *set)
{
    tn_train_result r = { 0 };
    tn_error        err = { 0 };
    if (run(name, set, &r, &err) != TN_OK) fail_msg("%s: %s", name, err.msg);
    return r;
}

static void assert_same(const tn_train_result *a, const tn_train_result *b)
{
    assert_memory_equal(&a->weights_root, &b->weights_root, sizeof a->weights_root);
    assert_memory_equal(&a->log_root, &b->log_root, sizeof a->log_root);
}

static void threads_kernels_and_recomputation_change_nothing(void **state)
{
    (void)state;
    assert_int_equal(tn_threads_set(1, NULL), TN_OK);
    tn_train_result a = must_run("one", NULL), b;
    assert_true(a.finished && a.steps == 8);
    assert_int_equal(tn_threads_set(3, NULL), TN_OK);
    b = must_run("three", NULL);
    assert_same(&a, &b);
    b = must_run("recompute", SET("recompute", "true"));
    assert_same(&a, &b);
    static const char *const kernels[] = { "ref", "avx2", "avx512" };
    for (int i = 0; i < 3; i++) {
        if (tn_isa_set(kernels[i], NULL) != TN_OK) continue; /* not on this machine */
        tn_ops_choose(false);
        b = must_run(kernels[i], NULL);
        assert_same(&a, &b);
    }
    tn_isa_set("auto", NULL);
    tn_ops_choose(false);
    tn_threads_set(2, NULL);
    /* part of the bits: the comparison can fail */
    b = must_run("micro", SET("micro_batch", "2", "group_size", "1"));
    assert_memory_not_equal(&a.weights_root, &b.weights_root, sizeof a.weights_root);
}

static void a_stopped_run_goes_on_as_if_nothing_had_been(void **state)
{
    (void)state;
    tn_train_result          a = must_run("whole", NULL), b;
    static const char *const at[] = { "1", "3", "5", "7" };
    for (int i = 0; i < 4; i++) {
        b = must_run("parts", SET("stop_at", at[i]));
        assert_true(!b.finished);
    }
    b = must_run("parts", NULL);
    assert_same(&a, &b);
    b = must_run("parts", NULL); /* finished: only reports */
    assert_same(&a, &b);
}

/* A step may take minutes: who sends SIGTERM does not wait for its end. */
static void a_signal_gives_up_the_step_under_way(void **state)
{
    tn_train_result plain = must_run("unsignalled", NULL), r = { 0 };
    tn_error        err = { 0 };
    (void)state;
    tn_signals_install();
    setenv("TENET_FAULT", "term@5", 1);
    tn_status status = run("signalled", NULL, &r, &err);
    unsetenv("TENET_FAULT");
    tn_interrupt_clear();
    assert_int_equal(status, TN_TERMINATED);
    assert_int_equal(r.steps, 4);
    char *step_4 = tn_path(dir, "signalled/step-4");
    assert_true(tn_is_dir(step_4));
    free(step_4);
    r = must_run("signalled", NULL);
    assert_same(&plain, &r);
}

static void every_optimiser_resumes_exactly(void **state)
{
    static const char *const names[] = { "sgd", "adafactor", "muon" };
    (void)state;
    for (int i = 0; i < 3; i++) {
        char           *whole = tn_strf("w-%s", names[i]), *parts = tn_strf("p-%s", names[i]);
        tn_train_result a = must_run(whole, SET("optimizer", names[i])), b;
        must_run(parts, SET("optimizer", names[i], "stop_at", "4"));
        b = must_run(parts, SET("optimizer", names[i]));
        assert_same(&a, &b);
        free(whole);
        free(parts);
    }
}

static void flip_byte(const char *run_name, const char *file, size_t at)
{
    char  *path = tn_strf("%s/%s/%s", dir, run_name, file), *bytes;
    size_t n;
    assert_int_equal(tn_file_read_all(&bytes, &n, path, 1 << 28, NULL), TN_OK);
    bytes[at % n] ^= 1;
    assert_int_equal(tn_file_write_all(path, bytes, n, NULL), TN_OK);
    free(bytes);
    free(path);
}

static void a_damaged_checkpoint_is_never_loaded(void **state)
{
    (void)state;
    tn_train_result a = must_run("undamaged", NULL), b;
    must_run("damaged", SET("stop_at", "6"));
    flip_byte("damaged", "step-6/rank-0000.bin", 100000);
    tn_log_set_level(TN_LOG_ERROR);
    b = must_run("damaged", NULL); /* from step 3 */
    assert_same(&a, &b);
    tn_log_set_level(TN_LOG_WARN);
}

static void a_manifest_that_names_another_state_is_found(void **state)
{
    tn_error  err = { 0 };
    tn_digest root;
    char      hex[TN_SHA256_HEX];
    char     *path = tn_path(dir, "manifest/step-3/manifest.json");
    (void)state;
    must_run("manifest", SET("stop_at", "3"));
    json_t *m = json_load_file(path, 0, NULL);
    assert_non_null(m);
    assert_int_equal(tn_train_manifest_root(m, "here", &root, &err), TN_OK);
    tn_hex(hex, &root);
    assert_string_equal(hex, json_string_value(json_object_get(m, "state")));
    hex[5] = hex[5] == '0' ? '1' : '0';
    json_object_set_new(m, "state", json_string(hex));
    assert_int_equal(tn_train_manifest_root(m, "here", &root, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, hex));
    json_decref(m);
    free(path);
}

static tn_status replay(const char *name, const char *const *set, int64_t from, int64_t n, tn_error *err)
{
    tn_train_config c;
    char           *out = tn_path(dir, name);
    tn_train_io     io = { .out = out, .quiet = true };
    assert_int_equal(load(&c, set, err), TN_OK);
    tn_status status = tn_train_replay(&c, out, from, n, &io, err);
    tn_train_config_free(&c);
    free(out);
    return status;
}

static void replay_finds_what_was_altered(void **state)
{
    tn_error err = { 0 };
    (void)state;
    must_run("audit", SET("keep_last", "5"));
    if (replay("audit", NULL, 0, 8, &err) != TN_OK) fail_msg("%s", err.msg);
    if (replay("audit", NULL, 3, 3, &err) != TN_OK) fail_msg("%s", err.msg);
    /* An option that does nothing is refused today; a run that was made with one is replayed. */
    tn_train_config c;
    assert_int_equal(load(&c, SET("keep_every", "5"), &err), TN_OK);
    assert_int_equal(tn_train_config_check(&c, &err), TN_USAGE);
    tn_train_config_free(&c);
    if (replay("audit", SET("keep_every", "5"), 3, 3, &err) != TN_OK) fail_msg("%s", err.msg);
    flip_byte("audit", "step-3/rank-0000.bin", 4000); /* the weights */
    assert_int_equal(replay("audit", NULL, 3, 3, &err), TN_VERIFY);
    char  *log = tn_strf("%s/audit/steps.jsonl", dir), *bytes;
    size_t n;
    assert_int_equal(tn_file_read_all(&bytes, &n, log, 1 << 20, NULL), TN_OK);
    char *digit = strstr(bytes, "\"loss\":") + 9; /* a step in the log */
    *digit = *digit == '5' ? '6' : '5';
    assert_int_equal(tn_file_write_all(log, bytes, n, NULL), TN_OK);
    assert_int_equal(replay("audit", NULL, 0, 2, &err), TN_VERIFY);
    free(bytes);
    free(log);
    must_run("audit2", NULL);
    char *data;
    assert_int_equal(tn_file_read_all(&data, &n, text_file, 1 << 20, NULL), TN_OK);
    data[50] ^= 1; /* the data */
    assert_int_equal(tn_file_write_all(text_file, data, n, NULL), TN_OK);
    assert_int_equal(replay("audit2", NULL, 0, 2, &err), TN_VERIFY);
    data[50] ^= 1;
    assert_int_equal(tn_file_write_all(text_file, data, n, NULL), TN_OK);
    free(data);
}

/* One bit of the byte at a place (negative: from the end) of a file. */
static void flip_bit(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, -1, SEEK_CUR), 0);
    fputc(c ^ 1, f);
    fclose(f);
}

/* The log with one record changed, and its chain made whole again, as one who holds the key would do it. */
typedef void (*forging)(tn_step_record *rec);
static void loss_bit(tn_step_record *rec)
{
    uint32_t b;
    memcpy(&b, &rec[1].loss, 4);
    b ^= 1;
    memcpy(&rec[1].loss, &b, 4);
}
static void norm_bit(tn_step_record *rec)
{
    uint32_t b;
    memcpy(&b, &rec[1].grad_norm, 4);
    b ^= 1;
    memcpy(&rec[1].grad_norm, &b, 4);
}
static void rate_bit(tn_step_record *rec)
{
    uint32_t b;
    memcpy(&b, &rec[1].lr, 4);
    b ^= 1;
    memcpy(&rec[1].lr, &b, 4);
}
static void two_lines(tn_step_record *rec)
{
    tn_step_record t = rec[0];
    rec[0] = rec[1];
    rec[1] = t;
    rec[0].step = 1;
    rec[1].step = 2;
}
static void skip_note(tn_step_record *rec) { memcpy(rec[1].note, "skip", 5); }
static void state_bit(tn_step_record *rec) { rec[2].state.b[31] ^= 1; }
static void batch_bit(tn_step_record *rec) { rec[1].batch.b[0] ^= 128; }

static void forge(const char *log, forging how)
{
    tn_step_record *rec;
    tn_steplog     *l;
    size_t          n;
    tn_digest       genesis;
    assert_int_equal(tn_steplog_genesis(log, &genesis, NULL), TN_OK);
    assert_int_equal(tn_steplog_read(log, &genesis, &rec, &n, NULL, NULL), TN_OK);
    how(rec);
    assert_int_equal(unlink(log), 0);
    assert_int_equal(tn_steplog_open(&l, log, &genesis, 0, NULL), TN_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(tn_steplog_append(l, &rec[i], NULL), TN_OK);
    assert_int_equal(tn_steplog_close(l, NULL), TN_OK);
    free(rec);
}

/* Everything that a signer could change afterwards, of a run of all weights and of one of adapters. */
static void a_replay_finds_the_last_bit_of_everything(void **state)
{
    static const struct {
        const char *name;
        forging     how;
    } records[] = { { "a loss", loss_bit },     { "a norm", norm_bit },  { "a learning rate", rate_bit },
                    { "the order", two_lines }, { "a note", skip_note }, { "a state", state_bit },
                    { "a batch", batch_bit } };
    static const struct {
        const char *run, *file;
        long        at;
    } bits[] = { { "all", "model/model.safetensors", -1 },
                 { "all", "model/config.json", 40 },
                 { "low", "adapter/adapter_model.safetensors", -4 },
                 { "low", "adapter/adapter_config.json", 40 },
                 { "low", "../all/model/model.safetensors", -4 },
                 { "low", "step-6/rank-0000.bin", 4 },
                 { "all", "../text.txt", 60 } };
    tn_error err = { 0 };
    char    *base = tn_path(dir, "all/model");
    (void)state;
    must_run("all", SET("save_model", "true", "keep_last", "5"));
#define LOW                                                                                                  \
    "model", base, "tokenizer", "", "n_layer", "0", "n_embd", "0", "n_head", "0", "n_head_kv", "0", "n_ff",  \
        "0", "lora_rank", "3"
    must_run("low", SET(LOW, "save_model", "true", "keep_last", "5"));
    const char *const *low = SET(LOW);
    if (replay("all", NULL, 6, 2, &err) != TN_OK || replay("all", NULL, 0, 8, &err) != TN_OK)
        fail_msg("all: %s", err.msg);
    if (replay("low", low, 6, 2, &err) != TN_OK || replay("low", low, 0, 8, &err) != TN_OK)
        fail_msg("low: %s", err.msg);
    for (int k = 0; k < 2; k++) {
        const char *name = k == 0 ? "all" : "low";
        char       *log = tn_strf("%s/%s/steps.jsonl", dir, name), *bytes;
        size_t      n;
        assert_int_equal(tn_file_read_all(&bytes, &n, log, 1 << 20, NULL), TN_OK);
        for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
            forge(log, records[i].how);
            if (replay(name, k == 0 ? NULL : low, 0, 3, &err) != TN_VERIFY)
                fail_msg("%s: %s was altered, and not found: %s", name, records[i].name, err.msg);
            assert_int_equal(tn_file_write_all(log, bytes, n, NULL), TN_OK);
        }
        free(bytes);
        free(log);
    }
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        bool  all = bits[i].run[0] == 'a';
        char *path = tn_strf("%s/%s/%s", dir, bits[i].run, bits[i].file);
        flip_bit(path, bits[i].at);
        if (replay(bits[i].run, all ? NULL : low, 6, 2, &err) != TN_VERIFY)
            fail_msg("%s of %s was altered, and not found: %s", bits[i].file, bits[i].run, err.msg);
        flip_bit(path, bits[i].at);
        free(path);
    }
    char *more = tn_path(dir, "all/model/model-2.safetensors");
    assert_int_equal(tn_file_write_all(more, "", 0, NULL), TN_OK);
    assert_int_equal(replay("all", NULL, 6, 2, &err), TN_VERIFY);
    assert_int_equal(unlink(more), 0);
    if (replay("all", NULL, 6, 2, &err) != TN_OK || replay("low", low, 6, 2, &err) != TN_OK)
        fail_msg("put back: %s", err.msg);
    free(more);
    free(base);
}

/* The log of one run under the name of another one, as if that other one had been configured: its records,
 * states and chain agree with each other. */
static void rename_log(const char *from, const char *to)
{
    char           *a = tn_strf("%s/%s/steps.jsonl", dir, from), *b = tn_strf("%s/%s/steps.jsonl", dir, to);
    tn_step_record *rec;
    tn_steplog     *l;
    size_t          n;
    tn_digest       genesis;
    assert_int_equal(tn_steplog_genesis(b, &genesis, NULL), TN_OK);
    assert_int_equal(tn_steplog_read(a, NULL, &rec, &n, NULL, NULL), TN_OK);
    assert_int_equal(unlink(b), 0);
    assert_int_equal(tn_steplog_open(&l, b, &genesis, 0, NULL), TN_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(tn_steplog_append(l, &rec[i], NULL), TN_OK);
    assert_int_equal(tn_steplog_close(l, NULL), TN_OK);
    free(rec);
    free(a);
    free(b);
}

/* How many steps of a run's log have a note; every stretch between checkpoints with such a step is replayed,
 * and those that begin among steps that are passed over are counted. */
static int n_noted(const char *name, const char *const *set, int *n_within)
{
    char           *log = tn_strf("%s/%s/steps.jsonl", dir, name);
    tn_step_record *rec;
    size_t          n;
    int64_t         from = 0;
    int             found = 0, before = 0;
    tn_error        err = { 0 };
    assert_int_equal(tn_steplog_read(log, NULL, &rec, &n, NULL, NULL), TN_OK);
    *n_within = 0;
    for (size_t i = 0; i < n; i++) {
        found += rec[i].note[0] != '\0';
        if (!rec[i].has_state) continue;
        if (found > before && replay(name, set, from, (int64_t)i + 1 - from, &err) != TN_OK)
            fail_msg("%s: steps %lld to %zu: %s", name, (long long)from + 1, i + 1, err.msg);
        *n_within += from > 0 && strcmp(rec[from - 1].note, "back") == 0 &&
                     strcmp(rec[from].note, "back") == 0;
        from = (int64_t)i + 1;
        before = found;
    }
    free(rec);
    free(log);
    return found;
}

/* A batch is left out only where the run's policy leaves it out, whatever its log says. */
static void a_replay_decides_as_the_run_did(void **state)
{
#define SHORT                                                                                                \
    "n_layer", "1", "n_embd", "16", "n_head", "2", "n_head_kv", "1", "n_ff", "32", "n_ctx", "16", "batch",   \
        "2", "schedule", "constant", "warmup", "0", "steps", "168", "checkpoint_every", "8", "keep_last",    \
        "200", "spike"
    const char *const *skip = SET(SHORT, "0.5"), *const *high = SET(SHORT, "50"),
                      *const *back = SET(SHORT, "0.5", "on_spike", "back", "valid", text_file, "valid_every",
                                         "3", "valid_samples", "8"),
                      *const *back_high = SET(SHORT, "50", "on_spike", "back");
    tn_error err = { 0 };
    int      within;
    (void)state;
    tn_log_set_level(TN_LOG_ERROR);
    must_run("skips", skip);
    assert_true(n_noted("skips", skip, &within) > 2);
    must_run("skips-none", SET(SHORT, "50", "stop_at", "1")); /* whose name is enough */
    rename_log("skips", "skips-none");
    assert_int_equal(replay("skips-none", high, 0, 168, &err), TN_VERIFY);
    assert_non_null(
        strstr(err.msg, "the log says 'skip', the run's policy 'go on' (on_nan is stop, spike 50"));
    must_run("takes", high);
    rename_log("takes", "skips");
    assert_int_equal(replay("skips", skip, 0, 168, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "the log says 'go on', the run's policy 'skip'"));

    must_run("backs", back);
    assert_true(n_noted("backs", back, &within) > 2);
    assert_true(within > 0);
    must_run("backs-none", SET(SHORT, "50", "on_spike", "back", "stop_at", "1"));
    rename_log("backs", "backs-none");
    assert_int_equal(replay("backs-none", back_high, 0, 168, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "the log says 'back', but the run's policy calls none of the steps"));
    rename_log("backs", "takes");
    assert_int_equal(replay("takes", high, 0, 168, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "the log says 'back', but no policy of the run goes back"));
    tn_log_set_level(TN_LOG_WARN);
}

/* Other floats in a file of said.c; repaired: with its digest, so that nothing seems to have happened. */
static void said_alter(const char *path, bool repaired)
{
    enum { CONTENT = 48, FLOATS = 65536 };
    char  *p;
    size_t n;
    assert_int_equal(tn_file_read_all(&p, &n, path, 1 << 26, NULL), TN_OK);
    assert_true(n > FLOATS + 400);
    for (size_t i = FLOATS + 2; i < n; i += 4) p[i] ^= 1;
    tn_digest d = tn_sha256_of(p + FLOATS, n - FLOATS);
    if (repaired) memcpy(p + CONTENT, &d, sizeof d);
    assert_int_equal(tn_file_write_all(path, p, n, NULL), TN_OK);
    free(p);
}

/* Rows with "distill": adapters on a model, taught by that model or by another one. */
static void a_teacher_is_learned_the_same_way_everywhere(void **state)
{
    tn_str          s = { 0 };
    tn_error        err = { 0 };
    tn_train_result r = { 0 }, a, b;
    char           *rows = tn_path(dir, "taught.jsonl");
    char           *base = tn_path(dir, "base-run/model");
    char           *other = tn_path(dir, "other-run/model");
    (void)state;
    for (int i = 0; i < 60; i++)
        tn_str_addf(&s, "{\"text\": \"Row %d is %s than %d.\", \"distill\": %s, \"weight\": %s}\n", i,
                    i % 3 ? "more" : "less", i * 7 % 50, i % 3 ? "true" : "false", i % 2 ? "1" : "2.5");
    assert_int_equal(tn_file_write_all(rows, s.p, s.len, NULL), TN_OK);
    must_run("base-run", SET("save_model", "true"));
    char *plain = tn_path(dir, "plain.txt"); /* the other model knows what the rows are like */
    tn_str_clear(&s);
    for (int i = 0; i < 400; i++)
        tn_str_addf(&s, "Row %d is %s than %d.\n", i % 60, i % 3 ? "more" : "less", i * 7 % 50);
    assert_int_equal(tn_file_write_all(plain, s.p, s.len, NULL), TN_OK);
    must_run("other-run", SET("save_model", "true", "data", plain, "steps", "60"));

#define TAUGHT                                                                                               \
    "tokenizer", "", "n_layer", "0", "n_embd", "0", "n_head", "0", "n_head_kv", "0", "n_ff", "0", "data",    \
        rows, "lora_rank", "4"
    a = must_run("taught", SET("model", base, TAUGHT));
    tn_threads_set(3, NULL);
    b = must_run("taught-3", SET("model", base, TAUGHT));
    assert_same(&a, &b);
    static const char *const kernels[] = { "ref", "avx2" };
    for (int i = 0; i < 2; i++) {
        if (tn_isa_set(kernels[i], NULL) != TN_OK) continue;
        tn_ops_choose(false);
        b = must_run(i == 0 ? "taught-ref" : "taught-avx2", SET("model", base, TAUGHT));
        assert_same(&a, &b);
    }
    tn_isa_set("auto", NULL);
    tn_ops_choose(false);
    tn_threads_set(2, NULL);
    /* What the teacher said is kept until the run has ended: used as it is if its digest says that it is
     * whole, else made again. */
    for (int i = 0; i < 4; i++) {
        char *parts = tn_strf("taught-parts-%d", i), *kept = tn_strf("%s/%s/said-train", dir, parts);
        b = must_run(parts, SET("model", base, "stop_at", "4", TAUGHT));
        assert_false(b.finished);
        assert_true(tn_exists(kept));
        if (i == 1) said_alter(kept, true);
        if (i == 2) said_alter(kept, false);
        if (i == 3) assert_int_equal(tn_file_write_all(kept, "not whole", 9, NULL), TN_OK);
        b = must_run(parts, SET("model", base, TAUGHT));
        if (i == 1) assert_memory_not_equal(&a.weights_root, &b.weights_root, sizeof a.weights_root);
        else assert_same(&a, &b);
        assert_false(tn_exists(kept));
        free(parts);
        free(kept);
    }
    /* Another run's is none of this one's. */
    must_run("taught-mine", SET("model", base, "reference", other, "stop_at", "4", TAUGHT));
    char *from = tn_path(dir, "taught-mine/said-train"), *to = tn_path(dir, "taught-yours/said-train");
    b = must_run("taught-yours", SET("model", base, "stop_at", "4", TAUGHT));
    assert_int_equal(tn_rename(from, to, NULL), TN_OK);
    b = must_run("taught-yours", SET("model", base, TAUGHT));
    assert_same(&a, &b);
    free(from);
    free(to);

    if (replay("taught", SET("model", base, TAUGHT), 0, 2, &err) != TN_OK) fail_msg("%s", err.msg);
    if (replay("taught", SET("model", base, TAUGHT), 6, 2, &err) != TN_OK) fail_msg("%s", err.msg);

    /* A new adapter is nothing yet: the first step diverges by nothing from its own base, and by something
     * from another model. */
    b = must_run("taught-one", SET("model", base, "steps", "1", TAUGHT));
    assert_true(b.last.taught && fabsf(b.last.kl) < 1e-5f);
    b = must_run("taught-other", SET("model", base, "reference", other, "steps", "1", TAUGHT));
    float first = b.last.kl;
    assert_true(first > 1e-3f);
    if (replay("taught-other", SET("model", base, "reference", other, "steps", "1", TAUGHT), 0, 1, &err) !=
        TN_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(
        replay("taught-other", SET("model", base, "reference", base, "steps", "1", TAUGHT), 0, 1, &err),
        TN_VERIFY);
    b = must_run("taught-long", SET("model", base, "reference", other, "steps", "150", "lr", "1e-2", TAUGHT,
                                    "lora_rank", "0"));
    if (!(b.last.kl < 0.8f * first))
        fail_msg("divergence from the teacher: %g, at first %g", (double)b.last.kl, (double)first);

    /* All weights: the teacher would change with the model, so it must be named. */
    assert_int_equal(run("taught-full", SET("model", base, TAUGHT, "lora_rank", "0"), &r, &err), TN_USAGE);
    assert_non_null(strstr(err.msg, "reference"));
    must_run("taught-full", SET("model", base, "reference", base, TAUGHT, "lora_rank", "0"));
    tn_str_free(&s);
    free(rows);
    free(plain);
    free(base);
    free(other);
}

static void bad_input_is_refused_before_the_first_step(void **state)
{
    tn_train_result r;
    tn_error        err = { 0 };
    (void)state;
    must_run("mine", SET("stop_at", "2"));
    assert_int_equal(run("mine", SET("seed", "9"), &r, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "seed"));
    assert_int_equal(run("mine", SET("n_ff", "64"), &r, &err), TN_MISMATCH);
    assert_int_equal(run("mine", SET("steps", "20"), &r, &err), TN_MISMATCH);
    assert_non_null(strstr(err.msg, "steps"));
    assert_int_equal(run("new", SET("lr", "0"), &r, &err), TN_USAGE);
    assert_int_equal(run("new", SET("lr", "inf"), &r, &err), TN_USAGE);
    assert_int_equal(run("new", SET("batch", "6"), &r, &err), TN_USAGE);
    assert_int_equal(run("new", SET("n_vocab", "100"), &r, &err), TN_MISMATCH);
    char *empty = tn_path(dir, "empty.txt");
    assert_int_equal(tn_file_write_all(empty, "", 0, NULL), TN_OK);
    assert_int_equal(run("new", SET("data", empty), &r, &err), TN_FORMAT);
    assert_int_equal(run("new", SET("data", "nowhere.txt"), &r, &err), TN_NOTFOUND);
    assert_int_equal(run("new", SET("tokenizer", "nowhere"), &r, &err), TN_NOTFOUND);
    free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_kernels_and_recomputation_change_nothing),
        cmocka_unit_test(a_stopped_run_goes_on_as_if_nothing_had_been),
        cmocka_unit_test(a_signal_gives_up_the_step_under_way),
        cmocka_unit_test(every_optimiser_resumes_exactly),
        cmocka_unit_test(a_teacher_is_learned_the_same_way_everywhere),
        cmocka_unit_test(a_damaged_checkpoint_is_never_loaded),
        cmocka_unit_test(a_manifest_that_names_another_state_is_found),
        cmocka_unit_test(replay_finds_what_was_altered),
        cmocka_unit_test(a_replay_finds_the_last_bit_of_everything),
        cmocka_unit_test(a_replay_decides_as_the_run_did),
        cmocka_unit_test(bad_input_is_refused_before_the_first_step),
    };
    tn_log_set_level(TN_LOG_WARN);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
