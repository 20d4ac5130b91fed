/* shard.c - token shards. Little-endian. The reader refuses any magic, version or length it does not know.
 *
 *   0          8         12         16               48          64
 *   +----------+---------+----------+----------------+-----------+------------------------------------
 *   | TNSHARD1 | version | id bytes | tokenizer hash | zero      | token ids, u16 or u32 each, pad to 8
 *   +----------+---------+----------+----------------+-----------+------------------------------------
 *   | mask, one bit a token, pad to 8 | documents: end u64, weight u32, flags u32| footer, 64 bytes     |
 *   footer: n_token u64, n_doc u64, SHA-256 of all before the footer, zero u64, "TNSHEND1"
 *
 * Counts stand at the end so that a shard is written in one pass; a cut-off file has no footer and is
 * refused. The whole tokenizer hash is kept: a wrong tokenizer is an error, not a bad loss. */
#include "data/data.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"

static const char head_magic[8] = "TNSHARD1", foot_magic[8] = "TNSHEND1";
enum { HEAD_BYTES = 64, FOOT_BYTES = 64, DOC_BYTES = 16, VERSION = 2, OUT_IDS = 16384 };

enum { FLAG_TAUGHT = 1 };
typedef struct doc_record {
    uint64_t end;
    uint32_t weight_16, flags;
} doc_record;

struct tn_shard_writer {
    tn_out     *out;
    tn_sha256  *hash;
    int         id_bytes;
    int64_t     n_vocab;
    uint64_t    n_token, n_doc;
    doc_record *doc;
    size_t      doc_cap;
    uint8_t    *mask;
    size_t      mask_cap; /* in bytes; one bit a token */
    char       *path;
};

struct tn_shard {
    tn_map            map;
    const uint8_t    *ids, *mask;
    const doc_record *doc;
    int64_t           n_token, n_doc;
    int               id_bytes;
    tn_digest         content;
};

bool tn_shard_is(const char *path)
{
    char  head[sizeof head_magic];
    FILE *f = tn_is_dir(path) ? NULL : fopen(path, "rb");
    if (f == NULL) return false;
    bool is = fread(head, 1, sizeof head, f) == sizeof head && memcmp(head, head_magic, sizeof head) == 0;
    fclose(f);
    return is;
}

static size_t pad8(size_t n) { return (n + 7) & ~(size_t)7; }

/* Everything that reaches the file goes through the hash. */
static tn_status put(tn_shard_writer *w, const void *p, size_t n, tn_error *err)
{
    tn_sha256_update(w->hash, p, n);
    return tn_out_write(w->out, p, n, err);
}

void tn_shard_abandon(tn_shard_writer *w)
{
    if (w == NULL) return;
    tn_out_abandon(w->out);
    tn_sha256_destroy(w->hash);
    free(w->doc);
    free(w->mask);
    free(w->path);
    free(w);
}

tn_status tn_shard_create(tn_shard_writer **out, const char *path, const tn_digest *tokenizer,
                          int64_t n_vocab, tn_error *err)
{
    tn_status        status = TN_OK;
    uint8_t          head[HEAD_BYTES] = { 0 };
    tn_shard_writer *w = calloc(1, sizeof *w);

    *out = NULL;
    if (w == NULL || (w->path = strdup(path)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a shard", path);
        goto out;
    }
    w->n_vocab = n_vocab;
    w->id_bytes = n_vocab <= 65536 ? 2 : 4;
    TN_GOTO(tn_sha256_create(&w->hash, err));
    TN_GOTO(tn_out_open(&w->out, path, err));
    uint32_t version = VERSION, id_bytes = (uint32_t)w->id_bytes;
    memcpy(head, head_magic, 8);
    memcpy(head + 8, &version, 4);
    memcpy(head + 12, &id_bytes, 4);
    memcpy(head + 16, tokenizer->b, 32);
    TN_GOTO(put(w, head, sizeof head, err));
    *out = w;
    w = NULL;
out:
    tn_shard_abandon(w);
    return status;
}

static tn_status grow(void **p, size_t *cap, size_t need, const char *path, tn_error *err)
{
    if (need <= *cap) return TN_OK;
    size_t bigger = *cap ? *cap * 2 : 4096;
    if (bigger < need) bigger = need;
    void *q = realloc(*p, bigger);
    if (q == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the document index (%zu bytes)", path, bigger);
    memset((char *)q + *cap, 0, bigger - *cap);
    *p = q;
    *cap = bigger;
    return TN_OK;
}

tn_status tn_shard_add(tn_shard_writer *w, const int32_t *ids, const uint8_t *mask, size_t n,
                       uint32_t weight_16, bool taught, tn_error *err)
{
    if (n == 0) return TN_OK;
    if (n > INT32_MAX)
        return tn_fail(err, TN_LIMIT, "%s: a document of %zu tokens; at most %d: split it", w->path, n,
                       INT32_MAX);
    TN_TRY(grow((void **)&w->doc, &w->doc_cap, (w->n_doc + 1) * DOC_BYTES, w->path, err));
    TN_TRY(grow((void **)&w->mask, &w->mask_cap, pad8((w->n_token + n + 7) / 8), w->path, err));
    for (size_t i = 0; i < n;) {
        uint8_t buf[OUT_IDS * 4];
        size_t  m = n - i < OUT_IDS ? n - i : OUT_IDS;
        for (size_t j = 0; j < m; j++) {
            int32_t id = ids[i + j];
            if (id < 0 || id >= w->n_vocab)
                return tn_fail(err, TN_MISMATCH, "%s: token id %d is outside the vocabulary of %lld", w->path,
                               id, (long long)w->n_vocab);
            if (w->id_bytes == 2) {
                uint16_t h = (uint16_t)id;
                memcpy(buf + 2 * j, &h, 2);
            } else memcpy(buf + 4 * j, &id, 4);
            uint64_t t = w->n_token + i + j;
            if (mask == NULL || mask[i + j]) w->mask[t >> 3] |= (uint8_t)(1u << (t & 7));
        }
        TN_TRY(put(w, buf, m * (size_t)w->id_bytes, err));
        i += m;
    }
    w->n_token += n;
    w->doc[w->n_doc++] = (doc_record){ w->n_token, weight_16, taught ? FLAG_TAUGHT : 0 };
    return TN_OK;
}

tn_status tn_shard_commit(tn_shard_writer *w, tn_error *err)
{
    tn_status            status = TN_OK;
    static const uint8_t zero[8];
    uint8_t              foot[FOOT_BYTES] = { 0 };
    tn_digest            content;
    size_t               id_bytes = w->n_token * (size_t)w->id_bytes, mask_bytes = (w->n_token + 7) / 8;

    TN_GOTO(put(w, zero, pad8(id_bytes) - id_bytes, err));
    TN_GOTO(put(w, w->mask, mask_bytes, err));
    TN_GOTO(put(w, zero, pad8(mask_bytes) - mask_bytes, err));
    TN_GOTO(put(w, w->doc, w->n_doc * DOC_BYTES, err));
    tn_sha256_final(w->hash, &content);
    memcpy(foot, &w->n_token, 8);
    memcpy(foot + 8, &w->n_doc, 8);
    memcpy(foot + 16, content.b, 32);
    memcpy(foot + 56, foot_magic, 8);
    TN_GOTO(tn_out_write(w->out, foot, sizeof foot, err));
    tn_out *file = w->out;
    w->out = NULL;
    TN_GOTO(tn_out_commit(file, err));
out:
    tn_shard_abandon(w);
    return status;
}

void tn_shard_close(tn_shard *s)
{
    if (s == NULL) return;
    tn_map_close(&s->map);
    free(s);
}

/* Places the parts inside the file; every length is checked before use. */
static tn_status parts_find(tn_shard *s, const char *path, tn_error *err)
{
    const uint8_t *p = s->map.p, *foot = p + s->map.n - FOOT_BYTES;
    uint32_t       version, id_bytes;
    uint64_t       n_token, n_doc;

    if (s->map.n < HEAD_BYTES + FOOT_BYTES || memcmp(p, head_magic, 8) != 0)
        return tn_fail(err, TN_FORMAT, "%s: not a token shard", path);
    memcpy(&version, p + 8, 4);
    memcpy(&id_bytes, p + 12, 4);
    if (version != VERSION || (id_bytes != 2 && id_bytes != 4))
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: shard version %u with %u-byte ids; this program reads version %d", path, version,
                       id_bytes, VERSION);
    if (memcmp(foot + 56, foot_magic, 8) != 0)
        return tn_fail(err, TN_FORMAT, "%s: the shard is cut off; make it again", path);
    memcpy(&n_token, foot, 8);
    memcpy(&n_doc, foot + 8, 8);
    if (n_token > s->map.n || n_doc > s->map.n / DOC_BYTES ||
        HEAD_BYTES + pad8(n_token * id_bytes) + pad8((n_token + 7) / 8) + n_doc * DOC_BYTES + FOOT_BYTES !=
            s->map.n)
        return tn_fail(err, TN_FORMAT, "%s: %llu tokens and %llu documents do not fit a file of %zu bytes",
                       path, (unsigned long long)n_token, (unsigned long long)n_doc, s->map.n);
    s->id_bytes = (int)id_bytes;
    s->n_token = (int64_t)n_token;
    s->n_doc = (int64_t)n_doc;
    s->ids = p + HEAD_BYTES;
    s->mask = s->ids + pad8(n_token * id_bytes);
    s->doc = (const doc_record *)(const void *)(s->mask + pad8((n_token + 7) / 8));
    uint64_t last = 0;
    for (uint64_t i = 0; i < n_doc; i++) {
        if (s->doc[i].end <= last || s->doc[i].end > n_token || s->doc[i].end - last > INT32_MAX)
            return tn_fail(err, TN_FORMAT, "%s: document %llu ends at token %llu", path,
                           (unsigned long long)i, (unsigned long long)s->doc[i].end);
        if ((s->doc[i].flags & ~(uint32_t)FLAG_TAUGHT) != 0)
            return tn_fail(err, TN_UNSUPPORTED,
                           "%s: document %llu has flags %#x that this program does not know", path,
                           (unsigned long long)i, s->doc[i].flags);
        last = s->doc[i].end;
    }
    if (last != n_token)
        return tn_fail(err, TN_FORMAT, "%s: the documents end at token %llu of %llu", path,
                       (unsigned long long)last, (unsigned long long)n_token);
    return TN_OK;
}

tn_status tn_shard_open(tn_shard **out, const char *path, const tn_digest *tokenizer, tn_error *err)
{
    tn_status status = TN_OK;
    tn_shard *s = calloc(1, sizeof *s);

    *out = NULL;
    if (s == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for a shard handle", path);
    TN_GOTO(tn_map_open(&s->map, path, err));
    TN_GOTO(parts_find(s, path, err));
    if (tokenizer != NULL && memcmp(s->map.p + 16, tokenizer->b, 32) != 0) {
        status = tn_fail(err, TN_MISMATCH,
                         "%s: made with another tokenizer than the model's; tokenise the text again", path);
        goto out;
    }
    s->content = tn_sha256_of(s->map.p, s->map.n - FOOT_BYTES);
    if (memcmp(s->content.b, s->map.p + s->map.n - FOOT_BYTES + 16, 32) != 0) {
        status = tn_fail(err, TN_FORMAT,
                         "%s: the content does not match its SHA-256; the file is damaged: make it again",
                         path);
        goto out;
    }
    *out = s;
    s = NULL;
out:
    tn_shard_close(s);
    return status;
}

int64_t          tn_shard_n_token(const tn_shard *s) { return s->n_token; }
int64_t          tn_shard_n_doc(const tn_shard *s) { return s->n_doc; }
const tn_digest *tn_shard_content(const tn_shard *s) { return &s->content; }

tn_status tn_shard_check_ids(const tn_shard *s, const char *path, int64_t n_vocab, tn_error *err)
{
    for (int64_t i = 0; i < s->n_token; i++) {
        uint32_t id = 0;
        memcpy(&id, s->ids + i * s->id_bytes, (size_t)s->id_bytes); /* little-endian */
        if (id >= n_vocab)
            return tn_fail(err, TN_MISMATCH,
                           "%s: token %lld has the id %u, and the model's vocabulary has %lld (ids from 0 to "
                           "%lld): the shard was not made for this model",
                           path, (long long)i, id, (long long)n_vocab, (long long)n_vocab - 1);
    }
    return TN_OK;
}

tn_shard_doc tn_shard_doc_at(const tn_shard *s, int64_t i)
{
    int64_t first = i == 0 ? 0 : (int64_t)s->doc[i - 1].end;
    return (tn_shard_doc){ first, (int64_t)s->doc[i].end - first, s->doc[i].weight_16,
                           (s->doc[i].flags & FLAG_TAUGHT) != 0 };
}

void tn_shard_copy(const tn_shard *s, int64_t first, int64_t n, int32_t *ids, uint8_t *mask)
{
    for (int64_t i = 0; i < n; i++) {
        if (s->id_bytes == 2) {
            uint16_t h;
            memcpy(&h, s->ids + 2 * (first + i), 2);
            ids[i] = h;
        } else {
            memcpy(&ids[i], s->ids + 4 * (first + i), 4);
        }
        if (mask != NULL) mask[i] = (s->mask[(first + i) >> 3] >> ((first + i) & 7)) & 1;
    }
}
