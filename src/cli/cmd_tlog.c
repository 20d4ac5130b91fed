/* cmd_tlog.c - `tenet tlog add|prove|verify`: a transparency log of releases in plain files, proofs that need
 * no network. */
#include "cli/cli.h"
#include "cli/key_file.h"
#include "recipe/recipe.h"

#include "base/file.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tlog_config {
    char *key, *origin, *out, *passphrase_file, *old;
} tlog_config;

#define AT(field) offsetof(tlog_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "key",             TN_OPT_STR, AT(key),             NULL, 0, 0, "", "add: signing key of the log; prove, verify: its public key, PEM", "k" },
    { "origin",          TN_OPT_STR, AT(origin),          NULL, 0, 0, "", "add: name of a new log, such as example.org/models",  NULL },
    { "old",             TN_OPT_STR, AT(old),             NULL, 0, 0, "", "prove, verify: an old checkpoint that the log must continue", NULL },
    { "out",             TN_OPT_STR, AT(out),             NULL, 0, 0, "", "prove: file for the proof (standard output)",         "o"  },
    { "passphrase_file", TN_OPT_STR, AT(passphrase_file), NULL, 0, 0, "", "file whose first line is the key's passphrase",       NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

enum { NOTE_MAX = 1 << 20 };

static tn_status leaf_of(const char *path, tn_digest *leaf, tn_error *err)
{
    char *entry = NULL;

    TN_TRY(tn_tlog_entry(path, &entry, err));
    tn_merkle_leaf(leaf, entry, strlen(entry));
    free(entry);
    return TN_OK;
}

static tn_status add(const tn_common *common, const tlog_config *c, const char *log, const char *what,
                     tn_error *err)
{
    tn_store *s = NULL;
    tn_key   *key = NULL;
    char     *entry = NULL;
    uint64_t  index = 0;
    tn_status status;

    tn_signing_ask(tn_cli_ask);
    TN_GOTO(tn_store_open(&s, common->store, err));
    TN_GOTO(tn_signing_key(tn_store_dir(s), c->key, c->passphrase_file, &key, err));
    TN_GOTO(tn_tlog_entry(what, &entry, err));
    TN_GOTO(tn_tlog_add(log, c->origin, entry, strlen(entry), key, &index, err));
    if (common->json)
        status = tn_cli_print_json(
            json_pack("{s:o,s:I}", "log", tn_json_name(log), "index", (json_int_t)index), err);
    else printf("%s: entry %llu\n", log, (unsigned long long)index);
out:
    free(entry);
    tn_key_free(key);
    tn_store_close(s);
    return status;
}

static tn_status old_size(const char *path, const tn_key *key, uint64_t *size, tn_error *err)
{
    tn_checkpoint old;
    char         *note = NULL;

    TN_TRY(tn_file_read_all(&note, NULL, path, NOTE_MAX, err));
    tn_status status = tn_checkpoint_open(&old, note, key, path, err);
    free(note);
    *size = old.size;
    return status;
}

static tn_status prove(const tn_common *common, const tlog_config *c, const tn_key *key, const char *log,
                       const char *what, tn_error *err)
{
    char     *proof = NULL;
    tn_digest leaf;
    uint64_t  size = 0;
    tn_status status;

    if (c->old != NULL && what != NULL)
        return tn_fail(err, TN_USAGE, "tlog prove: with --old the proof is about the whole log: leave out %s",
                       what);
    if (c->old != NULL) {
        TN_TRY(old_size(c->old, key, &size, err));
        status = tn_tlog_prove_growth(log, key, size, &proof, err);
    } else if (what != NULL) {
        TN_TRY(leaf_of(what, &leaf, err));
        status = tn_tlog_prove(log, key, &leaf, &proof, err);
    } else {
        return tn_fail(err, TN_USAGE, "tlog prove: name what is in the log, or an old checkpoint with --old");
    }
    if (status == TN_OK && c->out != NULL) status = tn_file_write_all(c->out, proof, strlen(proof), err);
    else if (status == TN_OK && !common->json) fputs(proof, stdout);
    if (status == TN_OK && common->json)
        status = tn_cli_print_json(
            c->out != NULL ? json_pack("{s:o,s:o}", "log", tn_json_name(log), "out", tn_json_name(c->out))
                           : json_pack("{s:o,s:s}", "log", tn_json_name(log), "proof", proof),
            err);
    free(proof);
    return status;
}

/* The log itself: whole, with `what` among its entries, continuing the old checkpoint `note`. */
static tn_status verify_log(const char *log, const tn_key *key, const char *what, const char *note,
                            tn_checkpoint *cp, uint64_t *index, tn_error *err)
{
    tn_digest leaf;
    tn_status status = tn_tlog_verify(log, key, cp, err);

    if (status == TN_NOTFOUND)
        return tn_fail_prefix(err, err != NULL ? (err->code = TN_VERIFY) : TN_VERIFY,
                              "a part of the log is missing");
    TN_TRY(status);
    if (note != NULL) TN_TRY(tn_tlog_continues(log, key, note, err));
    if (what == NULL) return TN_OK;
    TN_TRY(leaf_of(what, &leaf, err));
    status = tn_tlog_find(log, key, &leaf, index, err);
    return status == TN_NOTFOUND ? tn_fail(err, TN_VERIFY, "%s: none of its %llu entries is %s", log,
                                           (unsigned long long)cp->size, what)
                                 : status;
}

static tn_status verify(const tn_common *common, const tlog_config *c, const tn_key *key,
                        const char *proof_path, const char *what, tn_error *err)
{
    char         *proof = NULL, *note = NULL;
    tn_checkpoint cp;
    tn_digest     leaf;
    uint64_t      index = 0;
    tn_status     status = TN_OK;

    if (c->old != NULL) TN_GOTO(tn_file_read_all(&note, NULL, c->old, NOTE_MAX, err));
    if (tn_is_dir(proof_path)) {
        TN_GOTO(verify_log(proof_path, key, what, note, &cp, &index, err));
    } else {
        TN_GOTO(tn_file_read_all(&proof, NULL, proof_path, NOTE_MAX, err));
        if (note != NULL && what != NULL) {
            status = tn_fail(err, TN_USAGE,
                             "tlog verify: a proof with --old is about the whole log: leave out %s, or name "
                             "the log's folder",
                             what);
        } else if (note != NULL) {
            status = tn_tlog_check_growth(proof, note, key, &cp, proof_path, err);
        } else if (what != NULL) {
            TN_GOTO(leaf_of(what, &leaf, err));
            status = tn_tlog_check(proof, key, &leaf, &cp, &index, proof_path, err);
        } else {
            status = tn_fail(err, TN_USAGE,
                             "tlog verify: name what the proof is about, or the old checkpoint with --old");
        }
        if (status != TN_OK) goto out;
    }
    if (common->json) {
        json_t *o = json_pack("{s:s,s:s,s:I}", "verdict", "sound", "origin", cp.origin, "size",
                              (json_int_t)cp.size);
        if (what != NULL) json_object_set_new(o, "index", json_integer((json_int_t)index));
        status = tn_cli_print_json(o, err);
    } else if (what != NULL) {
        printf("sound: entry %llu of %s (%llu entries)\n", (unsigned long long)index, cp.origin,
               (unsigned long long)cp.size);
    } else {
        printf("sound: %s, %llu entries\n", cp.origin, (unsigned long long)cp.size);
    }
out:
    free(proof);
    free(note);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const tlog_config *c = config;
    const char        *what = n_arg > 2 ? args[2] : NULL;
    tn_key            *key = NULL;
    tn_status          status;

    if (c->key == NULL) return tn_fail(err, TN_USAGE, "tlog: --key is missing");
    if (strcmp(args[0], "add") == 0)
        return what != NULL
                   ? add(common, c, args[1], what, err)
                   : tn_fail(err, TN_USAGE, "tlog add: what is to be logged? tenet tlog add LOG PATH");
    if (strcmp(args[0], "prove") != 0 && strcmp(args[0], "verify") != 0)
        return tn_fail(err, TN_USAGE, "tlog: unknown word '%s': expected add, prove or verify", args[0]);
    TN_TRY(tn_key_load_public(&key, c->key, err));
    status = strcmp(args[0], "prove") == 0 ? prove(common, c, key, args[1], what, err)
                                           : verify(common, c, key, args[1], what, err);
    tn_key_free(key);
    return status;
}

const tn_command tn_cmd_tlog = {
    .name = "tlog",
    .line = "an append-only public log of releases, with offline proofs",
    .usage = "tenet tlog add LOG PATH --key NAME [--origin NAME] | prove LOG PATH --key PUB.pem | verify "
             "PROOF PATH | verify LOG [PATH]",
    .more = "LOG is a folder in the layout of C2SP tlog-tiles; any web server or USB stick serves it. A "
            "proof is one small file to ship beside a\n"
            "release. With --old CHECKPOINT, prove and verify are about the log's growth: nothing that was "
            "logged has been changed.",
    .options = options,
    .config_bytes = sizeof(tlog_config),
    .min_args = 2,
    .max_args = 3,
    .run = run,
};
