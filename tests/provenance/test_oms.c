/* test_oms.c - model signing: the published test vector to the byte, every flipped bit, and the holes that
 * are closed. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const uint8_t scalar[32] = { 0xC9, 0xAF, 0xA9, 0xD8, 0x45, 0xBA, 0x75, 0x16, 0x6B, 0x5C, 0x21,
                                    0x57, 0x67, 0xB1, 0xD6, 0x93, 0x4E, 0x50, 0xC3, 0xDB, 0x36, 0xE8,
                                    0x9B, 0x12, 0x7B, 0x8A, 0x62, 0x2B, 0x12, 0x0F, 0x67, 0x21 };
static char          dir[] = "/tmp/tenet-oms-XXXXXX";
static tn_key       *key;
static const char   *certificates; /* tests/golden/provenance/certificate */

static char *at(const char *name)
{
    static char path[4][128];
    static int  turn;
    char       *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void write_bytes(const char *name, const void *bytes, size_t n)
{
    assert_int_equal(tn_file_write_all(at(name), bytes, n, NULL), TN_OK);
}

static void the_published_vector_is_reproduced_to_the_byte(void **state)
{
    tn_tree_file *files = NULL;
    size_t        n = 0, n_payload = 0;
    char         *bundle = NULL, hex[TN_SHA256_HEX];
    uint8_t      *payload = NULL;
    json_t       *b = NULL;
    tn_digest     d;

    (void)state;
    assert_string_equal(tn_key_hint(key), "4975c03dd2ad43f3803bf943ca231389c41f26352bf098c930568797eff44dcc");
    assert_int_equal(tn_tree_list(at("toy"), &files, &n, NULL), TN_OK);
    assert_int_equal(n, 2);
    assert_int_equal(tn_oms_bundle(&bundle, files, n, "toy", NULL, key, NULL), TN_OK);
    assert_int_equal(tn_json_parse(&b, bundle, strlen(bundle), "bundle", NULL), TN_OK);
    assert_true(
        tn_unbase64(&payload, &n_payload,
                    json_string_value(json_object_get(json_object_get(b, "dsseEnvelope"), "payload"))));
    assert_int_equal(n_payload, 615);
    d = tn_sha256_of(payload, n_payload);
    tn_hex(hex, &d);
    assert_string_equal(hex, "325b430bcae6af1c0f1637d19f4ccdffac8107d09376896934ad4850140e8557");
    assert_int_equal(strlen(bundle), 1219);
    d = tn_sha256_of(bundle, strlen(bundle));
    tn_hex(hex, &d);
    assert_string_equal(hex, "908ffc3c6cb3916d1e68b26f051f9a2d9110c2271e97ac4289de36f7ba6c9311");
    json_decref(b);
    free(payload);
    free(bundle);
    tn_tree_free(files, n);
}

static void compare(const tn_oms *o, json_t *reasons)
{
    tn_tree_file *files = NULL;
    size_t        n = 0;

    assert_int_equal(tn_tree_list(at("toy"), &files, &n, NULL), TN_OK);
    tn_oms_compare(o, files, n, false, NULL, reasons);
    tn_tree_free(files, n);
}

static void a_signed_directory_is_sound_and_signs_to_the_same_bytes(void **state)
{
    tn_oms *o = NULL;
    json_t *reasons = json_array();
    char   *first = NULL, *second = NULL;

    (void)state;
    assert_int_equal(tn_oms_sign(at("toy"), "toy", key, NULL), TN_OK);
    assert_int_equal(tn_file_read_all(&first, NULL, at("toy/model.sig"), 1 << 20, NULL), TN_OK);
    assert_int_equal(tn_oms_sign(at("toy"), "toy", key, NULL), TN_OK);
    assert_int_equal(tn_file_read_all(&second, NULL, at("toy/model.sig"), 1 << 20, NULL), TN_OK);
    assert_string_equal(first, second);
    assert_int_equal(tn_oms_open(&o, at("toy/model.sig"), key, NULL), TN_OK);
    compare(o, reasons);
    assert_int_equal(json_array_size(reasons), 0);

    write_bytes("toy/extra", "x", 1);
    write_bytes("toy/a.txt", "tenez\n", 6);
    compare(o, reasons);
    assert_int_equal(json_array_size(reasons), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(reasons, 0), "what")),
                        "file differs");
    assert_string_equal(json_string_value(json_object_get(json_array_get(reasons, 1), "what")),
                        "file is not signed");
    json_array_clear(reasons);
    unlink(at("toy/extra"));
    unlink(at("toy/a.txt"));
    compare(o, reasons);
    assert_string_equal(json_string_value(json_object_get(json_array_get(reasons, 0), "what")),
                        "file is missing");
    write_bytes("toy/a.txt", "tenet\n", 6);
    json_decref(reasons);
    tn_oms_free(o);
    free(first);
    free(second);
}

static void every_flipped_bit_of_the_signature_file_is_found(void **state)
{
    char  *text = NULL;
    size_t n = 0;

    (void)state;
    assert_int_equal(tn_file_read_all(&text, &n, at("toy/model.sig"), 1 << 20, NULL), TN_OK);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            tn_oms *o = NULL;
            /* the payload is long: one bit of each byte there */
            if (i % 7 != (size_t)bit && i > 300) continue;
            text[i] = (char)(text[i] ^ (1 << bit));
            FILE *f = fopen(at("flipped.sig"), "wb");
            fwrite(text, 1, n, f);
            fclose(f);
            if (tn_oms_open(&o, at("flipped.sig"), key, NULL) == TN_OK)
                fail_msg("bit %d of byte %zu", bit, i);
            text[i] = (char)(text[i] ^ (1 << bit));
        }
    free(text);
}

/* Signs a statement of our own making, as a hostile signer would. */
static tn_status open_statement(const char *statement, tn_error *err)
{
    json_t *envelope = NULL;
    tn_oms *o = NULL;
    char   *text;

    assert_int_equal(tn_dsse_sign(&envelope, statement, strlen(statement), TN_INTOTO_TYPE, key, "", NULL),
                     TN_OK);
    json_t *b = json_pack("{s:s,s:{s:{s:s},s:[]},s:o}", "mediaType",
                          "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial",
                          "publicKey", "hint", tn_key_hint(key), "tlogEntries", "dsseEnvelope", envelope);
    text = json_dumps(b, JSON_COMPACT);
    write_bytes("hostile.sig", text, strlen(text));
    free(text);
    json_decref(b);
    tn_status status = tn_oms_open(&o, at("hostile.sig"), key, err);
    tn_oms_free(o);
    return status;
}

#define STATEMENT(root, ignore, resources)                                                                   \
    "{\"_type\":\"https://in-toto.io/Statement/"                                                             \
    "v1\",\"subject\":[{\"name\":\"toy\",\"digest\":{\"sha256\":\"" root "\"}}],"                            \
    "\"predicateType\":\"https://model_signing/signature/"                                                   \
    "v1.0\",\"predicate\":{\"serialization\":{\"method\":\"files\","                                         \
    "\"hash_type\":\"sha256\",\"allow_symlinks\":false,\"ignore_paths\":[" ignore                            \
    "]},\"resources\":[" resources "]}}"
#define A_DIGEST "dbff0925a2606ba81a705a51d170b9202f21e641ff1c7d5493499e0869b6b75b"
#define A_ROOT "3306d2ea4b0107d8f0bcaf6f8ad9e0bf7d6a4c2ce57ab17d0ddf38a39d94ee7a"
#define FILE_A(name) "{\"name\":\"" name "\",\"algorithm\":\"sha256\",\"digest\":\"" A_DIGEST "\"}"

static void holes_of_the_reference_are_closed(void **state)
{
    tn_error  err;
    tn_digest d, root, two;
    char      hex[TN_SHA256_HEX], good[2048], *p;
    uint8_t   both[64];

    (void)state;
    assert_true(tn_unhex(&d, A_DIGEST));
    root = tn_sha256_of(d.b, 32);
    memcpy(both, d.b, 32);
    memcpy(both + 32, d.b, 32);
    two = tn_sha256_of(both, 64);
    // clang-format off
    const struct { const char *text; const tn_digest *root; const char *says; } cases[] = {
        { STATEMENT("@", "\".git\"", FILE_A("a.txt")),                       &root, NULL },
        { STATEMENT("@", "7", FILE_A("a.txt")),                              &root, "ignore_paths" },
        { STATEMENT("@", "", FILE_A("../a.txt")),                            &root, "no plain relative name" },
        { STATEMENT("@", "", FILE_A("/a.txt")),                              &root, "no plain relative name" },
        { STATEMENT("@", "", FILE_A("a.txt") "," FILE_A("a.txt")),           &two,  "listed twice" },
        { STATEMENT("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "", ""), &root, "covers no file" },
        { STATEMENT(A_ROOT, "", FILE_A("a.txt")),                            &root, "root digest" },
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_hex(hex, cases[i].root);
        p = strchr(cases[i].text, '@');
        if (p == NULL) snprintf(good, sizeof good, "%s", cases[i].text);
        else snprintf(good, sizeof good, "%.*s%s%s", (int)(p - cases[i].text), cases[i].text, hex, p + 1);
        tn_status status = open_statement(good, &err);
        if (cases[i].says == NULL) {
            assert_int_equal(status, TN_OK);
        } else {
            assert_int_equal(status, TN_VERIFY);
            if (strstr(err.msg, cases[i].says) == NULL) fail_msg("case %zu says: %s", i, err.msg);
        }
    }
}

/* A signature may say that it leaves the weights out: they are looked for all the same. */
static void what_a_signature_leaves_out_is_not_left_out(void **state)
{
    static const char *const mine[] = { "sub", NULL };
    tn_tree_file            *files = NULL, *kept = NULL;
    size_t                   n = 0;
    tn_oms                  *o = NULL;
    json_t                  *reasons = json_array();
    char                    *bundle = NULL;

    (void)state;
    write_bytes("toy/weights.bin", "w", 1);
    assert_int_equal(tn_tree_list(at("toy"), &files, &n, NULL), TN_OK);
    kept = calloc(n, sizeof *kept);
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].name, "a.txt") == 0) kept[k++] = files[i];
    assert_int_equal(tn_oms_bundle(&bundle, kept, k, "toy", "weights.bin", key, NULL), TN_OK);
    write_bytes("left.sig", bundle, strlen(bundle));
    assert_int_equal(tn_oms_open(&o, at("left.sig"), key, NULL), TN_OK);
    tn_oms_compare(o, files, n, false, mine, reasons); /* what the verifier names himself is his own word */
    assert_int_equal(json_array_size(reasons), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(reasons, 0), "what")),
                        "file is left out by the signature");
    assert_string_equal(json_string_value(json_object_get(json_array_get(reasons, 0), "where")),
                        "weights.bin");
    unlink(at("toy/weights.bin"));
    free(kept);
    free(bundle);
    tn_tree_free(files, n);
    tn_oms_free(o);
    json_decref(reasons);
}

static const char p384[] = /* of these tests alone */
    "-----BEGIN PRIVATE KEY-----\n"
    "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBb3+6b/MXdFD1kRCew\n"
    "/+e0Jhv+mnSg+PAxbYYJKNKoQ88gT7JLJQ9Xl4GHXmGoIuChZANiAARm+OVfScTv\n"
    "CMi7b9LqCH8IRwwNiHS9F444Qjt4yyPgMrHj8fx1HpGvGuvUTxbxwR9Sx+a5AxsF\n"
    "WfERfJnE8jHUH0wJ/MmczISGMDb4/Gt3U0KvMpylC7kq+Y0YUXqoqWA=\n"
    "-----END PRIVATE KEY-----\n";
static const char p521[] = "-----BEGIN PRIVATE KEY-----\n"
                           "MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAvDAHL4KGONttMYcG\n"
                           "sJEgRDOxiFk/sY5ZbZDZB5himU1dNn41FSdF7jVN/1vXr6NYxidLa840bRdAoEVD\n"
                           "0RAw5MihgYkDgYYABAHXj9XxH02Vf7cjg0Pc/YVVR9pxu2iOPiKVFmhQyAVpHkVK\n"
                           "0QyFOmzETr6XpYMcZodD32mUL0LMY8XP7yCVg7UYeQFv4iTJCEI4lr4eTdD1sjRY\n"
                           "fg/h+D7T7e6Z0RUpYXetV76UWHsbxNfrQhipe5gvKliPNUCOZ4n+mmKAcR3XR/sL\n"
                           "kg==\n"
                           "-----END PRIVATE KEY-----\n";

static void keys_of_other_curves_sign_alike_every_time(void **state)
{
    static const char *const pems[] = { p384, p521 }, *const names[] = { "P-384", "P-521" };

    (void)state;
    for (int i = 0; i < 2; i++) {
        tn_key *k = NULL;
        uint8_t a[TN_SIGNATURE_MAX], b[TN_SIGNATURE_MAX];
        size_t  n_a = 0, n_b = 0;
        write_bytes("curve.pem", pems[i], strlen(pems[i]));
        assert_int_equal(tn_key_load_private(&k, at("curve.pem"), NULL, NULL), TN_OK);
        assert_string_equal(tn_key_curve(k), names[i]);
        for (int m = 0; m < 8; m++) { /* some nonces and signatures begin with zeros */
            assert_int_equal(tn_key_sign(k, &m, sizeof m, a, &n_a, NULL), TN_OK);
            assert_int_equal(tn_key_sign(k, &m, sizeof m, b, &n_b, NULL), TN_OK);
            assert_int_equal(n_a, n_b);
            assert_memory_equal(a, b, n_a);
            assert_true(tn_key_verify(k, &m, sizeof m, a, n_a));
            a[n_a - 1] ^= 1;
            assert_false(tn_key_verify(k, &m, sizeof m, a, n_a));
        }
        tn_key_free(k);
    }
}

/* Signed by the reference with a certificate (tests/oracle/make_oms_certificate.sh). */
static void a_certificate_counts_if_it_leads_to_a_trusted_one_and_may_sign(void **state)
{
    static const struct {
        const char *sig, *roots, *says;
    } cases[] = {
        { "signer.sig", "root.pem", NULL },
        { "signer.sig", "other.pem", "does not lead to one in" },
        { "server.sig", "root.pem", "is not made for signing" },
        { "signer.sig", "toy/a.txt", "no certificate in PEM form" },
        { "signer.sig", NULL, "--certificates" },
    };
    tn_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *sig = tn_path(certificates, cases[i].sig),
             *roots = cases[i].roots != NULL ? tn_path(certificates, cases[i].roots) : NULL;
        tn_oms   *o = NULL;
        tn_status status = tn_oms_open_by(&o, sig, &(tn_oms_trust){ .certificates = roots, .key = key },
                                          &err);
        if (cases[i].says == NULL) {
            tn_tree_file *files = NULL;
            size_t        n = 0;
            json_t       *reasons = json_array();
            char         *toy = tn_path(certificates, "toy");
            assert_int_equal(status, TN_OK);
            assert_int_equal(tn_tree_list(toy, &files, &n, NULL), TN_OK);
            tn_oms_compare(o, files, n, true, NULL, reasons);
            assert_int_equal(json_array_size(reasons), 0);
            assert_int_equal(o->n, 2);
            json_decref(reasons);
            tn_tree_free(files, n);
            free(toy);
        } else {
            assert_int_not_equal(status, TN_OK);
            if (strstr(err.msg, cases[i].says) == NULL) fail_msg("case %zu says: %s", i, err.msg);
        }
        tn_oms_free(o);
        free(sig);
        free(roots);
    }
}

static void another_key_is_refused_and_named(void **state)
{
    tn_key  *other = NULL;
    tn_oms  *o = NULL;
    tn_error err;

    (void)state;
    assert_int_equal(tn_key_new(&other, NULL), TN_OK);
    assert_int_equal(tn_oms_open(&o, at("toy/model.sig"), other, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "another key"));
    tn_key_free(other);
}

static void a_key_is_kept_encrypted_and_opens_only_with_its_passphrase(void **state)
{
    tn_key     *k = NULL, *again = NULL;
    tn_error    err;
    struct stat st;
    char       *text = NULL;
    uint8_t     sig[TN_SIGNATURE_MAX];
    size_t      n;

    (void)state;
    assert_int_equal(tn_key_new(&k, NULL), TN_OK);
    assert_int_equal(tn_key_save(k, at("k.pem"), "", &err), TN_USAGE);
    assert_int_equal(tn_key_save(k, at("k.pem"), "open sesame", &err), TN_OK);
    assert_int_equal(stat(at("k.pem"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(tn_file_read_all(&text, NULL, at("k.pem"), 1 << 16, NULL), TN_OK);
    assert_non_null(strstr(text, "BEGIN ENCRYPTED PRIVATE KEY"));
    assert_int_equal(tn_key_load_private(&again, at("k.pem"), "open sesamo", &err), TN_FORMAT);
    assert_int_equal(tn_key_load_private(&again, at("k.pem"), NULL, &err), TN_USAGE);
    assert_int_equal(tn_key_load_private(&again, at("k.pem"), "open sesame", &err), TN_OK);
    assert_string_equal(tn_key_hint(k), tn_key_hint(again));
    assert_int_equal(tn_key_sign(again, "m", 1, sig, &n, NULL), TN_OK);
    assert_true(tn_key_verify(k, "m", 1, sig, n));
    assert_false(tn_key_verify(k, "n", 1, sig, n));
    sig[n - 1] ^= 1;
    assert_false(tn_key_verify(k, "m", 1, sig, n));
    free(text);
    tn_key_free(k);
    tn_key_free(again);
}

static void base64_takes_only_the_canonical_text(void **state)
{
    static const char *const bad[] = { "A",    "AA",   "AAA",   "AB==", "AAB=",     "AA=A",
                                       "A===", "====", "AA\n=", "-_==", "QUI=QUI=", " QUI=" };
    uint8_t                 *out = NULL;
    size_t                   n;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (tn_unbase64(&out, &n, bad[i])) fail_msg("'%s' was taken", bad[i]);
    for (size_t k = 0; k < 40; k++) {
        uint8_t bytes[40];
        for (size_t i = 0; i < k; i++) bytes[i] = (uint8_t)(i * 37 + k);
        char *text = tn_base64(bytes, k);
        assert_true(tn_unbase64(&out, &n, text));
        assert_int_equal(n, k);
        assert_memory_equal(out, bytes, k);
        free(text);
        free(out);
    }
}

int main(int argc, char **argv)
{
    static const uint8_t    w[4] = { 0, 1, 2, 3 };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_vector_is_reproduced_to_the_byte),
        cmocka_unit_test(a_signed_directory_is_sound_and_signs_to_the_same_bytes),
        cmocka_unit_test(every_flipped_bit_of_the_signature_file_is_found),
        cmocka_unit_test(holes_of_the_reference_are_closed),
        cmocka_unit_test(what_a_signature_leaves_out_is_not_left_out),
        cmocka_unit_test(keys_of_other_curves_sign_alike_every_time),
        cmocka_unit_test(a_certificate_counts_if_it_leads_to_a_trusted_one_and_may_sign),
        cmocka_unit_test(another_key_is_refused_and_named),
        cmocka_unit_test(a_key_is_kept_encrypted_and_opens_only_with_its_passphrase),
        cmocka_unit_test(base64_takes_only_the_canonical_text),
    };
    certificates = argc > 1 ? argv[1] : "tests/golden/provenance/certificate";
    if (mkdtemp(dir) == NULL || tn_key_from_scalar(&key, scalar, NULL) != TN_OK ||
        tn_mkdirs(at("toy/sub"), NULL) != TN_OK)
        return 1;
    tn_file_write_all(at("toy/a.txt"), "tenet\n", 6, NULL);
    tn_file_write_all(at("toy/sub/w.bin"), w, 4, NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tn_key_free(key);
    tn_remove_tree(dir, NULL);
    return failed;
}
