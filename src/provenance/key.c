/* key.c - P-256 signing keys: made, kept encrypted, read, and used for deterministic signatures.
 *
 *   NAME.pem       PKCS#8, encrypted: PBES2, PBKDF2-HMAC-SHA-256 (600 000 rounds), AES-256-CBC; mode 0600
 *   NAME.pub.pem   SubjectPublicKeyInfo, 178 bytes of PEM; its SHA-256 is the key's hint in signatures
 *
 * Signatures are ECDSA with the nonce of RFC 6979 (libgcrypt: OpenSSL 3.0 has no such option), s made low,
 * DER: the same message and key give the same bytes. Copies of the private scalar are wiped after use.
 * P-384 and P-521 keys of others (SHA-384, -512) sign and verify too, as OMS asks. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"

#include <gcrypt.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PBKDF2_ROUNDS = 600000, SALT_BYTES = 16, SCALAR_BYTES = 32, POINT_BYTES = 65, KEY_FILE_MAX = 65536 };

struct tn_key {
    EVP_PKEY *pkey;
    bool      is_private;
    char      pem[512]; /* SubjectPublicKeyInfo */
    char      hint[TN_SHA256_HEX];
};

static tn_status ssl_fail(tn_error *err, tn_status code, const char *what)
{
    unsigned long e = ERR_get_error();
    const char   *why = e == 0 ? NULL : ERR_reason_error_string(e);

    ERR_clear_error();
    return tn_fail(err, code, "%s: %s", what, why != NULL ? why : "OpenSSL gave no reason");
}

static pthread_once_t gcrypt_once = PTHREAD_ONCE_INIT;
static void           gcrypt_start(void)
{
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) return;
    if (gcry_check_version(NULL) == NULL) tn_bug("libgcrypt has no version");
    gcry_control(GCRYCTL_INIT_SECMEM, 32768, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
}

static tn_status fill_public(tn_key *k, const char *where, tn_error *err)
{
    BIO      *bio = BIO_new(BIO_s_mem());
    char     *text;
    long      n;
    tn_digest d;
    tn_status status = TN_OK;

    if (bio == NULL || PEM_write_bio_PUBKEY(bio, k->pkey) != 1 || (n = BIO_get_mem_data(bio, &text)) <= 0 ||
        n >= (long)sizeof k->pem) {
        status = ssl_fail(err, TN_FORMAT, where);
    } else {
        memcpy(k->pem, text, (size_t)n);
        k->pem[n] = '\0';
        d = tn_sha256_of(k->pem, (size_t)n);
        tn_hex(k->hint, &d);
    }
    BIO_free(bio);
    return status;
}

static tn_status curve_check(const EVP_PKEY *pkey, const char *where, tn_error *err)
{
    char group[64] = "";

    if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_EC ||
        EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) != 1)
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: not an elliptic-curve key: model signing takes P-256, P-384 and P-521", where);
    if (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0 ||
        strcmp(group, "secp521r1") == 0)
        return TN_OK;
    return tn_fail(err, TN_UNSUPPORTED,
                   "%s: its curve is %s: expected P-256, P-384 or P-521 (`tenet key new` makes a P-256 key)",
                   where, group);
}

static tn_status wrap(tn_key **out, EVP_PKEY *pkey, bool is_private, const char *where, tn_error *err)
{
    tn_key   *k = calloc(1, sizeof *k);
    tn_status status;

    if (k == NULL) {
        EVP_PKEY_free(pkey);
        return tn_fail(err, TN_NOMEM, "%s: no memory for a key", where);
    }
    k->pkey = pkey;
    k->is_private = is_private;
    if ((status = curve_check(pkey, where, err)) == TN_OK) status = fill_public(k, where, err);
    if (status == TN_OK) *out = k;
    else tn_key_free(k);
    return status;
}

void tn_key_free(tn_key *k)
{
    if (k == NULL) return;
    EVP_PKEY_free(k->pkey);
    free(k);
}

const char *tn_key_pem(const tn_key *k) { return k->pem; }
const char *tn_key_hint(const tn_key *k) { return k->hint; }

tn_status tn_key_new(tn_key **out, tn_error *err)
{
    *out = NULL;
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    if (pkey == NULL) return ssl_fail(err, TN_NOMEM, "cannot make a P-256 key");
    return wrap(out, pkey, true, "new key", err);
}

tn_status tn_key_from_scalar(tn_key **out, const uint8_t scalar[32], tn_error *err)
{
    EC_GROUP       *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    BIGNUM         *d = BN_bin2bn(scalar, SCALAR_BYTES, NULL);
    EC_POINT       *q = group == NULL ? NULL : EC_POINT_new(group);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM     *params = NULL;
    EVP_PKEY_CTX   *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY       *pkey = NULL;
    uint8_t         point[POINT_BYTES];

    *out = NULL;
    bool ok = q != NULL && d != NULL && bld != NULL && ctx != NULL && !BN_is_zero(d) &&
              BN_cmp(d, EC_GROUP_get0_order(group)) < 0 && EC_POINT_mul(group, q, d, NULL, NULL, NULL) == 1 &&
              EC_POINT_point2oct(group, q, POINT_CONVERSION_UNCOMPRESSED, point, sizeof point, NULL) ==
                  sizeof point &&
              OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
              OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) == 1 &&
              OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d) == 1 &&
              (params = OSSL_PARAM_BLD_to_param(bld)) != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) == 1;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    EC_POINT_free(q);
    EC_GROUP_free(group);
    BN_clear_free(d);
    return ok ? wrap(out, pkey, true, "key from a scalar", err)
              : ssl_fail(err, TN_FORMAT, "no P-256 private scalar");
}

/* Without this OpenSSL would ask at the terminal by itself. */
static int no_passphrase(char *buf, int size, int rwflag, void *u)
{
    (void)rwflag;
    const char *pass = u;
    if (pass == NULL) return -1;
    int n = (int)strlen(pass);
    if (n > size) return -1;
    memcpy(buf, pass, (size_t)n);
    return n;
}

tn_status tn_key_load_private(tn_key **out, const char *path, const char *passphrase, tn_error *err)
{
    char     *text = NULL;
    size_t    n = 0;
    EVP_PKEY *pkey;
    BIO      *bio;

    *out = NULL;
    TN_TRY(tn_file_read_all(&text, &n, path, KEY_FILE_MAX, err));
    bool encrypted = strstr(text, "ENCRYPTED") != NULL;
    bio = BIO_new_mem_buf(text, (int)n);
    pkey = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, (void *)passphrase);
    BIO_free(bio);
    OPENSSL_cleanse(text, n);
    free(text);
    ERR_clear_error();
    if (pkey != NULL) return wrap(out, pkey, true, path, err);
    if (encrypted && passphrase == NULL)
        return tn_fail(err, TN_USAGE,
                       "%s is encrypted: give its passphrase in TENET_KEY_PASSPHRASE or by --passphrase-file",
                       path);
    return tn_fail(err, TN_FORMAT,
                   encrypted ? "%s: wrong passphrase, or a damaged key" : "%s: no private key in PEM form",
                   path);
}

bool tn_key_is_encrypted(const char *path)
{
    char  *text = NULL;
    size_t n = 0;

    if (tn_file_read_all(&text, &n, path, KEY_FILE_MAX, NULL) != TN_OK) return false;
    bool is = strstr(text, "ENCRYPTED") != NULL;
    OPENSSL_cleanse(text, n);
    free(text);
    return is;
}

tn_status tn_key_from_pem(tn_key **out, const char *pem, size_t n, const char *where, tn_error *err)
{
    EVP_PKEY *pkey;
    BIO      *bio = BIO_new_mem_buf(pem, (int)n);

    *out = NULL;
    pkey = bio == NULL ? NULL : PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    ERR_clear_error();
    if (pkey == NULL)
        return tn_fail(err, TN_FORMAT, "%s: no public key in PEM form (expected -----BEGIN PUBLIC KEY-----)",
                       where);
    return wrap(out, pkey, false, where, err);
}

tn_status tn_key_load_public(tn_key **out, const char *path, tn_error *err)
{
    char  *text = NULL;
    size_t n = 0;

    *out = NULL;
    TN_TRY(tn_file_read_all(&text, &n, path, KEY_FILE_MAX, err));
    tn_status status = tn_key_from_pem(out, text, n, path, err);
    free(text);
    return status;
}

tn_status tn_key_save(const tn_key *k, const char *path, const char *passphrase, tn_error *err)
{
    PKCS8_PRIV_KEY_INFO *info = NULL;
    X509_SIG            *sealed = NULL;
    BIO                 *bio = BIO_new(BIO_s_mem());
    char                *text;
    long                 n;
    unsigned char        salt[SALT_BYTES];
    tn_status            status = TN_OK;

    if (passphrase == NULL || passphrase[0] == '\0') {
        BIO_free(bio);
        return tn_fail(
            err, TN_USAGE,
            "a key needs a passphrase: type one, set TENET_KEY_PASSPHRASE, or give --passphrase-file");
    }
    if (bio == NULL || (info = EVP_PKEY2PKCS8(k->pkey)) == NULL || gcry_check_version(NULL) == NULL) {
        status = ssl_fail(err, TN_NOMEM, path);
        goto out;
    }
    pthread_once(&gcrypt_once, gcrypt_start);
    gcry_randomize(salt, sizeof salt, GCRY_STRONG_RANDOM);
    sealed = PKCS8_encrypt(-1, EVP_aes_256_cbc(), passphrase, (int)strlen(passphrase), salt, sizeof salt,
                           PBKDF2_ROUNDS, info);
    if (sealed == NULL || PEM_write_bio_PKCS8(bio, sealed) != 1 || (n = BIO_get_mem_data(bio, &text)) <= 0) {
        status = ssl_fail(err, TN_NOMEM, path);
        goto out;
    }
    mode_t before = umask(077); /* the file is never readable by others, not for an instant */
    status = tn_file_write_all(path, text, (size_t)n, err);
    umask(before);
out:
    PKCS8_PRIV_KEY_INFO_free(info);
    X509_SIG_free(sealed);
    BIO_free(bio);
    return status;
}

/* --------------------------------------------------------------------------------------------- signatures */

static tn_status gcry_fail(tn_error *err, gcry_error_t e)
{
    return tn_fail(err, TN_NOMEM, "cannot sign: %s", gcry_strerror(e));
}

/* The curves that model signing knows, each with its hash. */
typedef struct curve {
    const char *name, *gcrypt, *hash;
    int         nid, bits;
    size_t      n_scalar, n_hash;
    const EVP_MD *(*md)(void);
} curve;
enum { SCALAR_MAX = 66, POINT_MAX = 1 + 2 * SCALAR_MAX };
// clang-format off
static const curve curves[] = {
    { "P-256", "NIST P-256", "sha256", NID_X9_62_prime256v1, 256, 32, 32, EVP_sha256 },
    { "P-384", "NIST P-384", "sha384", NID_secp384r1,        384, 48, 48, EVP_sha384 },
    { "P-521", "NIST P-521", "sha512", NID_secp521r1,        521, 66, 64, EVP_sha512 },
};
// clang-format on

static const curve *curve_of(const tn_key *k)
{
    int bits = EVP_PKEY_get_bits(k->pkey);

    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
        if (curves[i].bits == bits) return &curves[i];
    tn_bug("a key of %d bits", bits);
}

const char *tn_key_curve(const tn_key *k) { return curve_of(k)->name; }

/* The public point, uncompressed; some key files hold the compressed one, or none. */
static bool point_of(const curve *c, const BIGNUM *d, uint8_t out[POINT_MAX])
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(c->nid);
    EC_POINT *q = group == NULL ? NULL : EC_POINT_new(group);
    size_t    n = 1 + 2 * c->n_scalar;
    bool      ok = q != NULL && EC_POINT_mul(group, q, d, NULL, NULL, NULL) == 1 &&
              EC_POINT_point2oct(group, q, POINT_CONVERSION_UNCOMPRESSED, out, n, NULL) == n;

    EC_POINT_free(q);
    EC_GROUP_free(group);
    return ok;
}

/* r and s of RFC 6979 over a digest. */
static tn_status sign_raw(const tn_key *k, const curve *c, const uint8_t *hash, uint8_t r[SCALAR_MAX],
                          uint8_t s[SCALAR_MAX], tn_error *err)
{
    BIGNUM      *d = NULL;
    uint8_t      scalar[SCALAR_MAX], point[POINT_MAX];
    gcry_sexp_t  key = NULL, data = NULL, sig = NULL, part = NULL;
    gcry_error_t e;
    tn_status    status = TN_OK;

    pthread_once(&gcrypt_once, gcrypt_start);
    if (EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d) != 1 ||
        BN_bn2binpad(d, scalar, (int)c->n_scalar) < 0 || !point_of(c, d, point)) {
        status = ssl_fail(err, TN_FORMAT, "cannot use the private key");
        goto out;
    }
    if ((e = gcry_sexp_build(&key, NULL, "(private-key (ecc (curve %s) (q %b) (d %b)))", c->gcrypt,
                             (int)(1 + 2 * c->n_scalar), point, (int)c->n_scalar, scalar)) != 0 ||
        (e = gcry_sexp_build(&data, NULL, "(data (flags rfc6979) (hash %s %b))", c->hash, (int)c->n_hash,
                             hash)) != 0 ||
        (e = gcry_pk_sign(&sig, data, key)) != 0) {
        status = gcry_fail(err, e);
        goto out;
    }
    for (int i = 0; i < 2; i++) {
        uint8_t    *to = i == 0 ? r : s;
        size_t      n = 0;
        const char *bytes;
        part = gcry_sexp_find_token(sig, i == 0 ? "r" : "s", 1);
        bytes = part == NULL ? NULL : gcry_sexp_nth_data(part, 1, &n);
        while (bytes != NULL && n > c->n_scalar && *bytes == 0) bytes++, n--;
        if (bytes == NULL || n > c->n_scalar) {
            status = tn_fail(err, TN_FORMAT, "libgcrypt gave a signature of a form that is not known");
            goto out;
        }
        memset(to, 0, c->n_scalar);
        memcpy(to + c->n_scalar - n, bytes, n);
        gcry_sexp_release(part);
        part = NULL;
    }
out:
    OPENSSL_cleanse(scalar, sizeof scalar);
    BN_clear_free(d);
    gcry_sexp_release(key);
    gcry_sexp_release(data);
    gcry_sexp_release(sig);
    gcry_sexp_release(part);
    return status;
}

tn_status tn_key_sign(const tn_key *k, const void *bytes, size_t n, uint8_t out[TN_SIGNATURE_MAX],
                      size_t *n_out, tn_error *err)
{
    const curve *c = curve_of(k);
    uint8_t      hash[EVP_MAX_MD_SIZE], r[SCALAR_MAX], s[SCALAR_MAX], *p = out;
    EC_GROUP    *group = EC_GROUP_new_by_curve_name(c->nid);
    BIGNUM      *half = BN_new(), *bn_s = NULL, *bn_r = NULL;
    ECDSA_SIG   *sig = ECDSA_SIG_new();
    tn_status    status = TN_OK;
    int          len = 0;

    if (!k->is_private) {
        status = tn_fail(err, TN_USAGE, "only a private key can sign");
        goto out;
    }
    if (EVP_Digest(bytes, n, hash, NULL, c->md(), NULL) != 1) {
        status = ssl_fail(err, TN_NOMEM, "cannot sign");
        goto out;
    }
    TN_GOTO(sign_raw(k, c, hash, r, s, err));
    if (group == NULL || half == NULL || sig == NULL ||
        (bn_r = BN_bin2bn(r, (int)c->n_scalar, NULL)) == NULL ||
        (bn_s = BN_bin2bn(s, (int)c->n_scalar, NULL)) == NULL ||
        BN_rshift1(half, EC_GROUP_get0_order(group)) != 1 ||
        (BN_cmp(bn_s, half) > 0 && BN_sub(bn_s, EC_GROUP_get0_order(group), bn_s) != 1)) {
        status = ssl_fail(err, TN_NOMEM, "cannot sign");
        goto out;
    }
    ECDSA_SIG_set0(sig, bn_r, bn_s);
    bn_r = bn_s = NULL; /* they belong to sig now */
    if ((len = i2d_ECDSA_SIG(sig, NULL)) <= 0 || len > TN_SIGNATURE_MAX || i2d_ECDSA_SIG(sig, &p) != len)
        status = ssl_fail(err, TN_NOMEM, "cannot sign");
    *n_out = (size_t)len;
out:
    BN_free(bn_r);
    BN_free(bn_s);
    BN_free(half);
    ECDSA_SIG_free(sig);
    EC_GROUP_free(group);
    return status;
}

/* Only the one DER form of a signature is taken, so that no bit of it can change unseen. */
static bool der_is_canonical(const uint8_t *sig, size_t n)
{
    const uint8_t *p = sig;
    ECDSA_SIG     *parsed = d2i_ECDSA_SIG(NULL, &p, (long)n);
    uint8_t       *again = NULL;
    int            len = parsed == NULL ? -1 : i2d_ECDSA_SIG(parsed, &again);
    bool           ok = len == (int)n && p == sig + n && memcmp(again, sig, n) == 0;

    OPENSSL_free(again);
    ECDSA_SIG_free(parsed);
    return ok;
}

bool tn_key_verify(const tn_key *k, const void *bytes, size_t n, const uint8_t *sig, size_t n_sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool        ok = ctx != NULL && der_is_canonical(sig, n_sig) &&
              EVP_DigestVerifyInit(ctx, NULL, curve_of(k)->md(), NULL, k->pkey) == 1 &&
              EVP_DigestVerify(ctx, sig, n_sig, bytes, n) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}
