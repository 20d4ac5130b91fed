/* base64.c - base64, standard alphabet with padding, and a reader that takes only the one canonical text of
 * some bytes: no line breaks, no missing padding, no bits set beyond the data. */
#include "provenance/provenance.h"

#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *tn_base64(const void *bytes, size_t n)
{
    const uint8_t *b = bytes;
    char          *out = malloc((n + 2) / 3 * 4 + 1), *p = out;

    if (out == NULL) return NULL;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)b[i] << 16 | (i + 1 < n ? (uint32_t)b[i + 1] << 8 : 0) |
                     (i + 2 < n ? b[i + 2] : 0);
        *p++ = alphabet[v >> 18];
        *p++ = alphabet[v >> 12 & 63];
        *p++ = i + 1 < n ? alphabet[v >> 6 & 63] : '=';
        *p++ = i + 2 < n ? alphabet[v & 63] : '=';
    }
    *p = '\0';
    return out;
}

static int value_of(char c)
{
    const char *at = c == '\0' ? NULL : strchr(alphabet, c);

    return at == NULL ? -1 : (int)(at - alphabet);
}

bool tn_unbase64(uint8_t **out, size_t *n, const char *text)
{
    size_t   len = strlen(text), pad = 0, k = 0;
    uint8_t *b;

    *out = NULL;
    if (len % 4 != 0) return false;
    if (len > 0 && text[len - 1] == '=') pad = text[len - 2] == '=' ? 2 : 1;
    if ((b = malloc(len / 4 * 3 + 1)) == NULL) return false;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t v = 0;
        size_t   missing = i + 4 == len ? pad : 0;
        for (size_t j = 0; j < 4; j++) {
            int d = j >= 4 - missing ? 0 : value_of(text[i + j]);
            if (d < 0) goto bad;
            v = v << 6 | (uint32_t)d;
        }
        if ((missing == 1 && (v & 0xff) != 0) || (missing == 2 && (v & 0xffff) != 0)) goto bad;
        b[k++] = (uint8_t)(v >> 16);
        if (missing < 2) b[k++] = (uint8_t)(v >> 8);
        if (missing < 1) b[k++] = (uint8_t)v;
    }
    b[k] = 0; /* so that text inside can be read as a string */
    *out = b;
    *n = k;
    return true;
bad:
    free(b);
    return false;
}
