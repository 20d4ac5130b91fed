/* note.c - signed notes and checkpoints (C2SP): the small text that commits to a whole log.
 *
 *   ORIGIN LF size LF base64(root) LF          the checkpoint
 *   LF
 *   U+2014 SP NAME SP base64(key id || signature) LF
 *
 *   key id     first 4 bytes of SHA-256(NAME LF 0x02 SubjectPublicKeyInfo in DER); 0x02: ECDSA
 *   signature  ECDSA P-256 over SHA-256 of the checkpoint's text, DER, deterministic */
#include "provenance/provenance.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static const char dash[] = "\xe2\x80\x94 ";

/* The DER inside the PEM text of a public key. made: free. */
static bool spki_of(const tn_key *key, uint8_t **der, size_t *n)
{
    const char *pem = tn_key_pem(key), *p = strchr(pem, '\n');
    char        text[512];
    size_t      k = 0;

    for (; p != NULL && *p != '\0' && *p != '-'; p++)
        if (*p != '\n' && k < sizeof text - 1) text[k++] = *p;
    text[k] = '\0';
    return tn_unbase64(der, n, text);
}

static tn_status key_id(const tn_key *key, const char *name, uint8_t out[4], tn_error *err)
{
    uint8_t  *der = NULL;
    size_t    n = 0;
    tn_str    s = { 0 };
    tn_digest d;

    if (!spki_of(key, &der, &n)) return tn_fail(err, TN_NOMEM, "no memory for a key's id");
    tn_str_addf(&s, "%s\n\x02", name);
    tn_str_add_n(&s, der, n);
    free(der);
    tn_status status = tn_str_check(&s, err);
    if (status == TN_OK) {
        d = tn_sha256_of(s.p, s.len);
        memcpy(out, d.b, 4);
    }
    tn_str_free(&s);
    return status;
}

static bool name_is_plain(const char *name)
{
    if (*name == '\0') return false;
    for (; *name != '\0'; name++)
        if ((unsigned char)*name <= 0x20 || *name == '+' || *name == 0x7f) return false;
    return true;
}

tn_status tn_checkpoint_sign(char **out, const char *origin, uint64_t size, const tn_digest *root,
                             const tn_key *key, tn_error *err)
{
    uint8_t   blob[4 + TN_SIGNATURE_MAX];
    size_t    n_sig = 0;
    tn_str    s = { 0 };
    char     *root64 = tn_base64(root->b, TN_SHA256_BYTES), *sig64 = NULL;
    tn_status status = TN_OK;

    *out = NULL;
    if (!name_is_plain(origin)) {
        status = tn_fail(err, TN_USAGE,
                         "'%.80s' is no origin for a log: no spaces, no '+', such as example.org/models",
                         origin);
        goto out;
    }
    tn_str_addf(&s, "%s\n%llu\n%s\n", origin, (unsigned long long)size, root64 != NULL ? root64 : "");
    TN_GOTO(tn_str_check(&s, err));
    TN_GOTO(key_id(key, origin, blob, err));
    TN_GOTO(tn_key_sign(key, s.p, s.len, blob + 4, &n_sig, err));
    if (root64 == NULL || (sig64 = tn_base64(blob, 4 + n_sig)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a checkpoint");
        goto out;
    }
    tn_str_addf(&s, "\n%s%s %s\n", dash, origin, sig64);
    TN_GOTO(tn_str_check(&s, err));
    *out = tn_str_take(&s);
out:
    tn_str_free(&s);
    free(root64);
    free(sig64);
    return status;
}

/* One signature line: of this key and name? */
static bool line_is_of(const char *line, size_t n, const char *origin, const tn_key *key, const char *text,
                       size_t n_text)
{
    char    *copy = tn_strndup(line, n), *space, *sig64;
    uint8_t *blob = NULL, id[4];
    size_t   n_blob = 0;
    bool     ok = false;

    if (copy == NULL || !tn_starts_with(copy, dash) || (space = strchr(copy + sizeof dash - 1, ' ')) == NULL)
        goto out;
    *space = '\0';
    sig64 = space + 1;
    if (strcmp(copy + sizeof dash - 1, origin) != 0 || !tn_unbase64(&blob, &n_blob, sig64) || n_blob < 5)
        goto out;
    ok = key_id(key, origin, id, NULL) == TN_OK && memcmp(blob, id, 4) == 0 &&
         tn_key_verify(key, text, n_text, blob + 4, n_blob - 4);
out:
    free(blob);
    free(copy);
    return ok;
}

tn_status tn_checkpoint_open(tn_checkpoint *out, const char *note, const tn_key *key, const char *where,
                             tn_error *err)
{
    const char *blank = strstr(note, "\n\n"), *l1, *l2, *l3, *p;
    char       *size_text = NULL, *root64 = NULL;
    uint8_t    *root = NULL;
    size_t      n = 0, n_text;
    bool        signed_ok = false;

    memset(out, 0, sizeof *out);
    if (blank == NULL || (l1 = strchr(note, '\n')) == NULL || (l2 = strchr(l1 + 1, '\n')) == NULL ||
        (l3 = strchr(l2 + 1, '\n')) == NULL || l3 > blank)
        return tn_fail(err, TN_VERIFY, "%s: no checkpoint (origin, size, root, blank line, signature)",
                       where);
    n_text = (size_t)(blank - note) + 1;
    size_text = tn_strndup(l1 + 1, (size_t)(l2 - l1 - 1));
    root64 = tn_strndup(l2 + 1, (size_t)(l3 - l2 - 1));
    bool ok = (size_t)(l1 - note) < sizeof out->origin && size_text != NULL && root64 != NULL &&
              tn_parse_u64(size_text, &out->size) && (size_text[0] != '0' || size_text[1] == '\0') &&
              tn_unbase64(&root, &n, root64) && n == TN_SHA256_BYTES;
    if (ok) {
        memcpy(out->origin, note, (size_t)(l1 - note));
        memcpy(out->root.b, root, TN_SHA256_BYTES);
    }
    free(size_text);
    free(root64);
    free(root);
    if (!ok) return tn_fail(err, TN_VERIFY, "%s: a checkpoint that does not parse", where);
    for (p = blank + 2; *p != '\0' && !signed_ok;) { /* witnesses may have added lines of their own */
        size_t len = strcspn(p, "\n");
        signed_ok = line_is_of(p, len, out->origin, key, note, n_text);
        p += len + (p[len] == '\n');
    }
    return signed_ok ? TN_OK
                     : tn_fail(err, TN_VERIFY, "%s: the checkpoint is not signed by key %.16s...", where,
                               tn_key_hint(key));
}
