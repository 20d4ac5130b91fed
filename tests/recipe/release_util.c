/* release_util.c - a release made by a recipe of toy stages, and ways to damage it (see release_util.h). */
#include "release_util.h"

#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const char      *release_golden;
static bool      no_store; /* verify as one who has nothing but the release */
static char      dir[64];
static tn_store *store;
static tn_key   *key;
static tn_status replay_status;
static int       n_replayed;
/* the slices of the toy's checkpoints are not of the state that log and manifest name */
static bool other_state;

/* ---- a toy that makes what a training run is: a log of 10 steps, two checkpoints, data; and one that gives the model ---- */

typedef struct toy_config {
    int64_t lr;
} toy_config;

static const tn_option toy_options[] = {
    { "lr", TN_OPT_INT, offsetof(toy_config, lr), "3", 1, 100, "", "a number", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
};
static const tn_stage_port toy_ports[] = { { "model", false, false, "a model" },
                                           { NULL, false, false, NULL } };

static tn_status run_run(tn_stage_run *r, const void *config, const char *const *in, const char *out,
                         json_t *metrics, tn_error *err)
{
    const toy_config *c = config;
    char             *log_path = tn_path(out, "steps.jsonl");
    char             *data = tn_path(out, "data");
    char             *part = tn_path(out, "data/part.tns");
    tn_steplog       *log = NULL;
    tn_digest         genesis = tn_sha256_of(&c->lr, sizeof c->lr);
    tn_status         status = TN_OK;

    (void)r, (void)metrics, (void)in;
    TN_GOTO(tn_mkdirs(data, err));
    TN_GOTO(tn_file_write_all(part, "shard of tokens", 15, err));
    TN_GOTO(tn_steplog_open(&log, log_path, &genesis, 0, err));
    for (uint64_t k = 1; k <= 10; k++) {
        tn_step_record rec = {
            .step = k, .loss = 2.0f / (float)k, .grad_norm = 1, .lr = 0.5f, .has_state = k % 4 == 0
        };
        rec.batch = tn_sha256_of(&k, sizeof k);
        if (rec.has_state) {
            char hex[TN_SHA256_HEX], slice[TN_SHA256_HEX], leaf[128],
                *step = tn_strf("%s/step-%d", out, (int)k),
                *manifest = tn_strf("%s/step-%d/manifest.json", out, (int)k);
            tn_digest d = tn_sha256_of(&k, sizeof k);
            tn_hex(slice, &d);
            tn_merkle_leaf(&d, leaf, (size_t)snprintf(leaf, sizeof leaf, "embed w 0 2 %s", slice));
            tn_merkle_root(&rec.state, &d, 1);
            tn_hex(hex, &rec.state);
            if (other_state) slice[63] = slice[63] == '0' ? '1' : '0';
            json_t *m = json_pack("{s:s,s:[s],s:[{s:s}],s:[[i,i,i,i,i,i,s]]}", "state", hex, "kinds", "w",
                                  "tensors", "name", "embed", "slices", 0, 0, 0, 2, 0, 0, slice);
            status = tn_mkdirs(step, err);
            if (status == TN_OK) status = tn_json_save(manifest, m, false, err);
            json_decref(m);
            free(step);
            free(manifest);
            if (status != TN_OK) goto out;
        }
        TN_GOTO(tn_steplog_append(log, &rec, err));
    }
out:
    if (log != NULL && tn_steplog_close(log, err) != TN_OK) status = TN_IO;
    free(log_path);
    free(data);
    free(part);
    return status;
}

static tn_status model_run(tn_stage_run *r, const void *config, const char *const *in, const char *out,
                           json_t *metrics, tn_error *err)
{
    static const char *const names[] = { "config.json", "model.safetensors" };

    (void)r, (void)config, (void)metrics;
    TN_TRY(tn_mkdirs(out, err));
    for (size_t i = 0; i < 2; i++) {
        char     *a = tn_path(in[0], names[i]), *b = tn_path(out, names[i]);
        tn_status status = tn_file_clone(a, b, false, err);
        free(a);
        free(b);
        TN_TRY(status);
    }
    return TN_OK;
}

/* Something that its key holds and its parameters do not. */
static tn_status toy_salt(tn_store *s, const void *config, char out[128], tn_error *err)
{
    (void)s, (void)config, (void)err;
    snprintf(out, 128, "toy/1");
    return TN_OK;
}

static const tn_stage_kind toy_train = { .name = "toy-train",
                                         .version = 1,
                                         .line = "",
                                         .options = toy_options,
                                         .config_bytes = sizeof(toy_config),
                                         .inputs = toy_ports,
                                         .salt = toy_salt,
                                         .output = "",
                                         .run = run_run };
static const tn_stage_kind toy_model = { .name = "toy-model",
                                         .version = 1,
                                         .line = "",
                                         .options = toy_options,
                                         .config_bytes = sizeof(toy_config),
                                         .inputs = toy_ports,
                                         .output = "",
                                         .run = model_run };
extern const tn_stage_kind tn_stage_release;
const tn_stage_kind *const tn_stage_kinds[] = { &toy_train, &toy_model, &tn_stage_release, NULL };

static const char recipe[] =
    "name: forged\n"
    "vars: {base: x, out: ''}\n"
    "stages:\n"
    "  weights: {kind: toy-model, inputs: {model: \"${base}\"}}\n"
    "  steps-run: {kind: toy-train, inputs: {model: weights}, lr: 4, profile: strict-bf16}\n"
    "  release:\n"
    "    kind: release\n"
    "    inputs: {model: weights, constitution: file:c.yaml, runs: [steps-run], reports: "
    "[file:report.json]}\n"
    "    key: lab\n"
    "    license: apache-2.0\n"
    "    date: 2026-01-02\n"
    "export: {release: \"${out}\"}\n";

/* of this test alone; unencrypted, because opening an encrypted one takes its time */
static const char test_key[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/e1Ivhw8UvdAL7kJ\n"
                               "e3IIk7E6EH/9qtiPE/3k9a/RTA6hRANCAARpIcS6vvgta+3TQCQAIEryMQ4MxQAm\n"
                               "tUNXZnPCysrbkGbfST6dVSM5yS2WiCp2TDW6E6pGe/0n6KYp+AS/lwCa\n"
                               "-----END PRIVATE KEY-----\n";

/* -------------------------------------------------------------------------------------------------------- */

char *release_at(const char *name)
{
    static char path[6][400];
    static int  turn;
    char       *p = path[turn++ % 6];

    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static tn_status replay(tn_replay_request *q, tn_error *err)
{
    n_replayed++;
    if (q->find(q->arg, "model") == NULL) return tn_fail(err, TN_UNCHECKED, "no model");
    q->missing = "model";
    return replay_status == TN_OK ? TN_OK : tn_fail(err, replay_status, "as the test wants it");
}

int release_replayed(void)
{
    int n = n_replayed;

    n_replayed = 0;
    return n;
}

void release_replay_gives(tn_status status) { replay_status = status; }

int release_setup(void **state)
{
    static const char report[] = "{\"acc\": 0.5}\n";
    char             *charter = tn_strf("%s/../../../../constitutions/tenet.yaml", release_golden);

    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tenet-release-XXXXXX");
    if (mkdtemp(dir) == NULL || charter == NULL || tn_store_open(&store, release_at("store"), NULL) != TN_OK)
        return -1;
    bool ok = tn_mkdirs(release_at("store/identity"), NULL) == TN_OK &&
              tn_file_write_all(release_at("store/identity/lab.pem"), test_key, sizeof test_key - 1, NULL) ==
                  TN_OK &&
              tn_key_load_private(&key, release_at("store/identity/lab.pem"), NULL, NULL) == TN_OK &&
              tn_file_write_all(release_at("store/identity/lab.pub.pem"), tn_key_pem(key),
                                strlen(tn_key_pem(key)), NULL) == TN_OK &&
              tn_file_write_all(release_at("r.yaml"), recipe, sizeof recipe - 1, NULL) == TN_OK &&
              tn_file_write_all(release_at("report.json"), report, sizeof report - 1, NULL) == TN_OK &&
              tn_file_clone(charter, release_at("c.yaml"), false, NULL) == TN_OK;
    free(charter);
    return ok ? 0 : -1;
}

int release_teardown(void **state)
{
    (void)state;
    tn_key_free(key);
    tn_store_close(store);
    no_store = other_state = false;
    return tn_remove_tree(dir, NULL) == TN_OK ? 0 : -1;
}

void release_make(const char *name)
{
    char             *base = tn_strf("base=%s", release_golden), *out = tn_strf("out=%s", release_at(name));
    const char *const sets[] = { base, out, NULL };
    const tn_recipe_options o = { .sets = sets };
    tn_recipe              *r = NULL;
    tn_error                err = { .msg = "" };

    if (tn_recipe_load(&r, release_at("r.yaml"), &o, &err) != TN_OK ||
        tn_recipe_run(r, store, &(tn_run_options){ 0 }, NULL, &err) != TN_OK)
        fail_msg("%s", err.msg);
    tn_recipe_free(r);
    free(base);
    free(out);
}

void release_sign(const char *name)
{
    assert_int_equal(tn_oms_sign(release_at(name), "model", key, NULL), TN_OK);
}

void release_without_store(bool without) { no_store = without; }

void release_other_state(bool other) { other_state = other; }

json_t *release_verdict(const char *name, int64_t n_replay)
{
    const tn_verify_options o = { .key = release_at("store/identity/lab.pub.pem"),
                                  .replay = n_replay,
                                  .coin = 7,
                                  .replay_fn = replay,
                                  .store = no_store ? NULL : store };
    json_t                 *v = NULL;
    tn_error                err = { .msg = "" };

    if (tn_release_verify(release_at(name), &o, &v, &err) != TN_OK) fail_msg("%s", err.msg);
    return v;
}

bool release_has_reason(const json_t *verdict, const char *what, const char *where)
{
    size_t  i;
    json_t *r;

    json_array_foreach(json_object_get(verdict, "reasons"), i, r)
        if (strstr(json_string_value(json_object_get(r, "what")), what) != NULL &&
            strstr(json_string_value(json_object_get(r, "where")), where) != NULL)
            return true;
    return false;
}

static void xor_byte(const char *path, long offset, int mask)
{
    FILE *f = fopen(path, "r+b");
    int   c;

    assert_non_null(f);
    fseek(f, offset, SEEK_SET);
    c = fgetc(f);
    assert_int_not_equal(c, EOF);
    fseek(f, offset, SEEK_SET);
    fputc(c ^ mask, f);
    fclose(f);
}

void release_flip_byte(const char *name, long offset) { xor_byte(release_at(name), offset, 1); }

void release_edit(const char *name, const char *text, size_t skip)
{
    char  *all = NULL, *at;
    size_t n;

    assert_int_equal(tn_file_read_all(&all, &n, release_at(name), 1 << 24, NULL), TN_OK);
    if ((at = strstr(all, text)) == NULL) fail_msg("%s holds no '%s'", name, text);
    xor_byte(release_at(name), (long)(at - all) + (long)skip, 1);
    free(all);
}

void release_flips(const char *name, int n)
{
    const tn_rng_key rng = { .seed = 11, .purpose = TN_RNG_TEST };
    tn_tree_file    *files = NULL;
    size_t           n_file = 0;
    uint64_t         at = 0;

    assert_int_equal(tn_tree_list(release_at(name), &files, &n_file, NULL), TN_OK);
    for (int i = 0; i < n; i++) {
        /* The first rounds go through the files in turn, then bits by chance: small files are not left
         * out. */
        size_t   f = (size_t)i < 3 * n_file ? (size_t)i % n_file : (size_t)tn_rng_below(&rng, at++, n_file);
        uint64_t byte = tn_rng_below(&rng, at++, files[f].bytes);
        int      mask = 1 << tn_rng_below(&rng, at++, 8);
        char    *path = tn_strf("%s/%s", name, files[f].name);
        xor_byte(release_at(path), (long)byte, mask);
        json_t *v = release_verdict(name, 0);
        if (strcmp(json_string_value(json_object_get(v, "verdict")), "wrong") != 0)
            fail_msg("%s: byte %llu, mask %d: the verdict is %s", files[f].name, (unsigned long long)byte,
                     mask, tn_json_text(v));
        json_decref(v);
        xor_byte(release_at(path), (long)byte, mask);
        free(path);
    }
    tn_tree_free(files, n_file);
}
