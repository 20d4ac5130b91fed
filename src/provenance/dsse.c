/* dsse.c - signed envelopes (DSSE): a payload, its type, one signature over both.
 *
 *   PAE  "DSSEv1" SP len(type) SP type SP len(payload) SP payload      lengths in bytes, decimal
 *   {"payload":"<base64>","payloadType":TYPE,"signatures":[{"sig":"<base64 of DER>","keyid":...}]}
 *
 * The reader is strict: exactly these members, one signature, canonical base64. The payload is handed out
 * only after its signature was found good. */
#include "provenance/provenance.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { PAYLOAD_MAX = 64 << 20 };

static tn_status pae(tn_str *s, const char *type, const void *payload, size_t n, tn_error *err)
{
    s->max = (size_t)PAYLOAD_MAX + 4096;
    tn_str_addf(s, "DSSEv1 %zu %s %zu ", strlen(type), type, n);
    tn_str_add_n(s, payload, n);
    return tn_str_check(s, err);
}

tn_status tn_dsse_sign(json_t **out, const void *payload, size_t n, const char *type, const tn_key *key,
                       const char *keyid, tn_error *err)
{
    tn_str    text = { 0 };
    uint8_t   sig[TN_SIGNATURE_MAX];
    size_t    n_sig = 0;
    char     *sig64 = NULL, *payload64 = NULL;
    tn_status status = TN_OK;

    *out = NULL;
    TN_GOTO(pae(&text, type, payload, n, err));
    TN_GOTO(tn_key_sign(key, text.p, text.len, sig, &n_sig, err));
    sig64 = tn_base64(sig, n_sig);
    payload64 = tn_base64(payload, n);
    if (sig64 != NULL && payload64 != NULL)
        *out = json_pack("{s:s,s:s,s:[{s:s,s:s}]}", "payload", payload64, "payloadType", type, "signatures",
                         "sig", sig64, "keyid", keyid);
    if (*out == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a signed envelope");
out:
    tn_str_free(&text);
    free(sig64);
    free(payload64);
    return status;
}

tn_status tn_json_only(const json_t *o, const char *const *allowed, const char *where, tn_error *err)
{
    const char *key;
    json_t     *v;

    if (!json_is_object(o)) return tn_fail(err, TN_VERIFY, "%s: expected an object", where);
    json_object_foreach((json_t *)o, key, v) {
        size_t i = 0;
        while (allowed[i] != NULL && strcmp(allowed[i], key) != 0) i++;
        if (allowed[i] == NULL) return tn_fail(err, TN_VERIFY, "%s: unknown member '%.80s'", where, key);
    }
    return TN_OK;
}

tn_status tn_dsse_open(const json_t *envelope, const char *type, const tn_key *key, uint8_t **payload,
                       size_t *n, const char *where, tn_error *err)
{
    static const char *const members[] = { "payload", "payloadType", "signatures", NULL };
    static const char *const sig_members[] = { "sig", "keyid", NULL };
    const json_t *signatures = json_object_get(envelope, "signatures"), *one = json_array_get(signatures, 0),
                 *keyid;
    const char *text = json_string_value(json_object_get(envelope, "payload"));
    const char *found = json_string_value(json_object_get(envelope, "payloadType")), *sig64;
    uint8_t    *sig = NULL;
    size_t      n_sig = 0;
    tn_str      signed_bytes = { 0 };
    tn_status   status = TN_OK;

    *payload = NULL;
    TN_TRY(tn_json_only(envelope, members, where, err));
    if (found == NULL || strcmp(found, type) != 0)
        return tn_fail(err, TN_VERIFY, "%s: payload type: expected %s, found %.80s", where, type,
                       found != NULL ? found : "none");
    if (json_array_size(signatures) != 1)
        return tn_fail(err, TN_VERIFY, "%s: expected one signature, found %zu", where,
                       json_array_size(signatures));
    TN_TRY(tn_json_only(one, sig_members, where, err));
    keyid = json_object_get(one, "keyid");
    if (keyid != NULL && !json_is_null(keyid)) {
        const char *id = json_string_value(keyid);
        if (id == NULL || (id[0] != '\0' && strcmp(id, tn_key_hint(key)) != 0))
            return tn_fail(err, TN_VERIFY, "%s: signed by another key: expected key %.16s..., found %.16s...",
                           where, tn_key_hint(key), id != NULL ? id : "none");
    }
    sig64 = json_string_value(json_object_get(one, "sig"));
    if (text == NULL || strlen(text) > (size_t)PAYLOAD_MAX || !tn_unbase64(payload, n, text))
        status = tn_fail(err, TN_VERIFY, "%s: the payload is no canonical base64", where);
    else if (sig64 == NULL || !tn_unbase64(&sig, &n_sig, sig64))
        status = tn_fail(err, TN_VERIFY, "%s: the signature is no canonical base64", where);
    if (status != TN_OK) goto out;
    TN_GOTO(pae(&signed_bytes, type, *payload, *n, err));
    if (!tn_key_verify(key, signed_bytes.p, signed_bytes.len, sig, n_sig))
        status = tn_fail(err, TN_VERIFY, "%s: the signature is not of key %.16s... over this content", where,
                         tn_key_hint(key));
out:
    tn_str_free(&signed_bytes);
    free(sig);
    if (status != TN_OK) {
        free(*payload);
        *payload = NULL;
    }
    return status;
}
