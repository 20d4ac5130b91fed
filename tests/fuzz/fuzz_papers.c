/* fuzz_papers.c - any bytes as what an auditor reads: a signature bundle, a signed statement, a step log, a
 * proof of a log. The statement is signed here by a known key, so that what lies behind the signature is
 * reached too. */
#include "fuzz.h"

#include "base/file.h"
#include "provenance/provenance.h"

#include <string.h>

static tn_key *key;

static void start(void)
{
    uint8_t scalar[32];

    memset(scalar, 7, sizeof scalar);
    if (key != NULL) return;
    if (tn_key_from_scalar(&key, scalar, NULL) != TN_OK) abort();
}

static void as_bundle(const void *bytes, size_t n)
{
    tn_oms *o = NULL;

    if (tn_oms_open(&o, tn_fuzz_file(bytes, n), key, NULL) == TN_OK) tn_fuzz_use(o->n);
    tn_oms_free(o);
}

static void as_statement(const uint8_t *data, size_t size)
{
    json_t *envelope = NULL, *bundle;
    char   *text;

    if (tn_dsse_sign(&envelope, data, size, TN_INTOTO_TYPE, key, "", NULL) != TN_OK) return;
    bundle = json_pack("{s:s,s:{s:{s:s},s:[]},s:o}", "mediaType",
                       "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial", "publicKey",
                       "hint", tn_key_hint(key), "tlogEntries", "dsseEnvelope", envelope);
    text = bundle == NULL ? NULL : json_dumps(bundle, JSON_COMPACT);
    if (text != NULL) as_bundle(text, strlen(text));
    free(text);
    json_decref(bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_digest     root, leaf = tn_sha256_of("leaf", 4);
    tn_checkpoint c;
    uint64_t      index;
    char         *text;

    start();
    as_bundle(data, size);
    if (tn_steplog_read(tn_fuzz_file(data, size), NULL, NULL, NULL, &root, NULL) == TN_OK)
        tn_fuzz_use(root.b[0]);
    if ((text = malloc(size + 1)) != NULL) {
        memcpy(text, data, size);
        text[size] = '\0';
        if (tn_tlog_check(text, key, &leaf, &c, &index, "fuzz", NULL) == TN_OK) tn_fuzz_use(index);
        if (tn_tlog_check_growth(text, text, key, &c, "fuzz", NULL) == TN_OK) tn_fuzz_use(c.size);
    }
    free(text);
    as_statement(data, size);
    return 0;
}
