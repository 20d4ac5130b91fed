/* certificate.c - the key of a chain of X.509 certificates that ends at a root the caller trusts.
 *
 * For signatures of others: OMS bundles in certificate mode carry the chain, leaf first; the roots are never
 * taken from the bundle. Each certificate must be within its dates today (the reference looks at the leaf's
 * first day instead, so that an expired leaf passes; the specification asks for the dates), and the leaf must
 * be made for signing. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { CHAIN_MAX = 16, PEM_MAX = 1 << 20, CERTIFICATE_MAX = 1 << 16 };

static tn_status add_roots(X509_STORE *store, const char *path, tn_error *err)
{
    char  *text = NULL;
    size_t n = 0;
    int    n_cert = 0;
    X509  *c;
    BIO   *bio;

    TN_TRY(tn_file_read_all(&text, &n, path, PEM_MAX, err));
    bio = BIO_new_mem_buf(text, (int)n);
    while (bio != NULL && (c = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        n_cert += X509_STORE_add_cert(store, c) == 1;
        X509_free(c);
    }
    BIO_free(bio);
    free(text);
    ERR_clear_error();
    return n_cert > 0
               ? TN_OK
               : tn_fail(err, TN_FORMAT,
                         "%s: no certificate in PEM form (expected -----BEGIN CERTIFICATE-----)", path);
}

static tn_status read_chain(X509 *chain[CHAIN_MAX], int *n, const json_t *list, const char *where,
                            tn_error *err)
{
    size_t  i;
    json_t *v;

    if (json_array_size(list) == 0 || json_array_size(list) > CHAIN_MAX)
        return tn_fail(err, TN_VERIFY, "%s: expected 1 to %d certificates, found %zu", where, (int)CHAIN_MAX,
                       json_array_size(list));
    json_array_foreach(list, i, v) {
        static const char *const members[] = { "rawBytes", NULL };
        const char              *text = json_string_value(json_object_get(v, "rawBytes"));
        uint8_t                 *der = NULL;
        const uint8_t           *p;
        size_t                   n_der = 0;
        TN_TRY(tn_json_only(v, members, where, err));
        if (text == NULL || !tn_unbase64(&der, &n_der, text) || n_der > CERTIFICATE_MAX) {
            free(der);
            return tn_fail(err, TN_VERIFY, "%s: certificate %zu is no canonical base64", where, i + 1);
        }
        p = der;
        chain[i] = d2i_X509(NULL, &p, (long)n_der);
        bool whole = chain[i] != NULL && p == der + n_der;
        if (chain[i] != NULL) *n = (int)i + 1;
        free(der);
        if (!whole) return tn_fail(err, TN_VERIFY, "%s: certificate %zu does not parse", where, i + 1);
    }
    return TN_OK;
}

/* The leaf may sign: digitalSignature in its key usage, or codeSigning in its extended one. */
static bool may_sign(X509 *leaf)
{
    bool has_ku = (X509_get_extension_flags(leaf) & EXFLAG_KUSAGE) != 0,
         has_xku = (X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE) != 0;

    return (has_ku && (X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) != 0) ||
           (has_xku && (X509_get_extended_key_usage(leaf) & XKU_CODE_SIGN) != 0);
}

static tn_status leaf_key(tn_key **out, X509 *leaf, const char *where, tn_error *err)
{
    EVP_PKEY *pkey = X509_get0_pubkey(leaf);
    BIO      *bio = BIO_new(BIO_s_mem());
    char     *text;
    long      n = 0;
    tn_status status;

    if (pkey == NULL || bio == NULL || PEM_write_bio_PUBKEY(bio, pkey) != 1 ||
        (n = BIO_get_mem_data(bio, &text)) <= 0)
        status = tn_fail(err, TN_VERIFY, "%s: the certificate's key does not parse", where);
    else status = tn_key_from_pem(out, text, (size_t)n, where, err);
    BIO_free(bio);
    ERR_clear_error();
    return status;
}

tn_status tn_key_from_certificates(tn_key **out, const json_t *list, const char *roots, const char *where,
                                   tn_error *err)
{
    X509           *chain[CHAIN_MAX] = { NULL };
    int             n = 0;
    X509_STORE     *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    tn_status status = TN_OK;

    *out = NULL;
    if (store == NULL || ctx == NULL || between == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for certificates", where);
        goto out;
    }
    TN_GOTO(add_roots(store, roots, err));
    TN_GOTO(read_chain(chain, &n, list, where, err));
    for (int i = 1; i < n; i++) sk_X509_push(between, chain[i]);
    if (X509_STORE_CTX_init(ctx, store, chain[0], between) != 1 ||
        X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_ANY) != 1) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for certificates", where);
        goto out;
    }
    if (X509_verify_cert(ctx) != 1) {
        status = tn_fail(err, TN_VERIFY, "%s: its certificate does not lead to one in %s: %s", where, roots,
                         X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
        goto out;
    }
    if (!may_sign(chain[0])) {
        status = tn_fail(err, TN_VERIFY, "%s: its certificate is not made for signing", where);
        goto out;
    }
    status = leaf_key(out, chain[0], where, err);
out:
    sk_X509_free(between);
    for (int i = 0; i < n; i++) X509_free(chain[i]);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return status;
}
