/* tlog.c - an append-only log in the layout of C2SP tlog-tiles: static files, served from any disk.
 *
 *   LOG/checkpoint                signed note: origin, size, root (note.c); written last
 *   LOG/tile/<L>/<N>[.p/<W>]      256 hashes of height 8 L (W of them in a partial tile); N in groups of three: x001/x234/067
 *   LOG/tile/entries/<N>[.p/<W>]  the entries themselves, each led by its length, u16 BE
 *   LOG/lock                      one writer at a time
 *
 * The leaf of an entry is SHA-256(0x00 || entry), the tree that of RFC 9162 (merkle.c). Tiles are written
 * aside and renamed before the checkpoint that needs them: a stop leaves the old log, with tiles that nobody
 * asks for. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { TILE = 256, ENTRY_MAX = 65535, BUNDLE_MAX = TILE * (ENTRY_MAX + 2), LOG_MAX = 1 << 26, LEVELS = 8 };

typedef struct log_state {
    uint64_t   size;
    tn_digest *leaves;
    size_t     cap;
} log_state;

/* "tile/0/x001/067" with ".p/5" for a partial tile. made: free. */
static char *tile_path(const char *dir, const char *level, uint64_t n, unsigned width)
{
    char groups[64] = "";
    char part[16];

    snprintf(part, sizeof part, "%03llu", (unsigned long long)(n % 1000));
    memcpy(groups, part, strlen(part) + 1);
    for (n /= 1000; n > 0; n /= 1000) {
        char longer[64];
        snprintf(longer, sizeof longer, "x%03llu/%.50s", (unsigned long long)(n % 1000), groups);
        memcpy(groups, longer, sizeof groups);
    }
    return width == TILE ? tn_strf("%s/tile/%s/%s", dir, level, groups)
                         : tn_strf("%s/tile/%s/%s.p/%u", dir, level, groups, width);
}

static tn_status write_tile(const char *dir, const char *level, uint64_t n, unsigned width, const void *bytes,
                            size_t n_bytes, tn_error *err)
{
    char     *path = tile_path(dir, level, n, width), *slash;
    tn_status status;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a tile's path");
    slash = strrchr(path, '/');
    *slash = '\0';
    status = tn_mkdirs(path, err);
    *slash = '/';
    if (status == TN_OK && !tn_exists(path)) status = tn_file_write_all(path, bytes, n_bytes, err);
    free(path);
    return status;
}

static tn_status read_tile(const char *dir, const char *level, uint64_t n, unsigned width, char **out,
                           size_t *n_bytes, tn_error *err)
{
    char     *path = tile_path(dir, level, n, width);
    tn_status status = path == NULL ? tn_fail(err, TN_NOMEM, "no memory for a tile's path")
                                    : tn_file_read_all(out, n_bytes, path, BUNDLE_MAX, err);

    free(path);
    return status;
}

static tn_status state_room(log_state *s, uint64_t size, tn_error *err)
{
    if (size > LOG_MAX)
        return tn_fail(err, TN_LIMIT, "a log of %llu entries: at most %d are read here",
                       (unsigned long long)size, LOG_MAX);
    if (size <= s->cap) return TN_OK;
    size_t     cap = (size_t)size + 1024;
    tn_digest *more = realloc(s->leaves, cap * sizeof *more);
    if (more == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a log of %llu entries", (unsigned long long)size);
    s->leaves = more;
    s->cap = cap;
    return TN_OK;
}

/* Leaf hashes of the first `size` entries, from the tiles of level 0. */
static tn_status read_leaves(const char *dir, uint64_t size, log_state *s, tn_error *err)
{
    TN_TRY(state_room(s, size, err));
    for (uint64_t n = 0; n * TILE < size; n++) {
        unsigned  width = size - n * TILE < TILE ? (unsigned)(size - n * TILE) : TILE;
        char     *bytes = NULL;
        size_t    n_bytes = 0;
        tn_status status = read_tile(dir, "0", n, width, &bytes, &n_bytes, err);
        if (status == TN_OK && n_bytes != (size_t)width * TN_SHA256_BYTES)
            status = tn_fail(err, TN_VERIFY, "%s: tile %llu has %zu bytes, expected %u", dir,
                             (unsigned long long)n, n_bytes, width * TN_SHA256_BYTES);
        if (status == TN_OK) memcpy(&s->leaves[n * TILE], bytes, n_bytes);
        free(bytes);
        TN_TRY(status);
    }
    s->size = size;
    return TN_OK;
}

/* Tiles of every level that hold something new since `old` entries. */
static tn_status write_tiles(const char *dir, const log_state *s, uint64_t old, tn_error *err)
{
    uint64_t span = 1; /* leaves under one hash of this level */

    for (int level = 0; level < LEVELS && s->size / span > 0; level++, span *= TILE) {
        uint64_t count = s->size / span, before = old / span;
        char     name[12];
        snprintf(name, sizeof name, "%d", level);
        for (uint64_t n = before / TILE; n * TILE < count; n++) {
            unsigned  width = count - n * TILE < TILE ? (unsigned)(count - n * TILE) : TILE;
            tn_digest hashes[TILE];
            for (unsigned i = 0; i < width; i++)
                tn_merkle_root(&hashes[i], s->leaves + (n * TILE + i) * span, (size_t)span);
            TN_TRY(write_tile(dir, name, n, width, hashes, (size_t)width * sizeof hashes[0], err));
        }
    }
    return TN_OK;
}

static tn_status write_entry(const char *dir, uint64_t index, const void *entry, size_t n, tn_error *err)
{
    uint64_t  bundle = index / TILE;
    unsigned  before = (unsigned)(index % TILE);
    char     *old = NULL;
    size_t    n_old = 0;
    tn_str    s = { .max = BUNDLE_MAX };
    uint8_t   len[2] = { (uint8_t)(n >> 8), (uint8_t)n };
    tn_status status = TN_OK;

    if (before > 0) TN_TRY(read_tile(dir, "entries", bundle, before, &old, &n_old, err));
    tn_str_add_n(&s, old != NULL ? old : "", n_old);
    tn_str_add_n(&s, len, 2);
    tn_str_add_n(&s, entry, n);
    status = tn_str_check(&s, err);
    if (status == TN_OK) {
        /* A tile that a stopped writer left behind may hold another entry: this one replaces it. */
        char *path = tile_path(dir, "entries", bundle, before + 1);
        if (path != NULL) unlink(path);
        free(path);
        status = write_tile(dir, "entries", bundle, before + 1, s.p, s.len, err);
    }
    tn_str_free(&s);
    free(old);
    return status;
}

static void forget_tiles(const char *dir, uint64_t size)
{
    uint64_t span = 1;

    for (int level = 0; level < LEVELS && size / span > 0; level++, span *= TILE) {
        uint64_t count = size / span;
        char     name[12], *path;
        snprintf(name, sizeof name, "%d", level);
        path = tile_path(dir, name, (count - 1) / TILE, count % TILE == 0 ? TILE : (unsigned)(count % TILE));
        if (path != NULL && count * span == size) unlink(path);
        free(path);
    }
}

tn_status tn_tlog_add(const char *dir, const char *origin, const void *entry, size_t n, const tn_key *key,
                      uint64_t *index, tn_error *err)
{
    char         *lock_path = tn_path(dir, "lock"), *path = tn_path(dir, "checkpoint"), *note = NULL;
    int           lock = -1;
    log_state     s = { 0 };
    tn_checkpoint c = { 0 };
    tn_digest     root;
    tn_status     status = TN_OK;

    if (lock_path == NULL || path == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    if (n > ENTRY_MAX) {
        status = tn_fail(err, TN_LIMIT, "an entry of %zu bytes: at most %d", n, ENTRY_MAX);
        goto out;
    }
    if (origin == NULL && !tn_exists(path)) { /* before anything is made */
        status = tn_fail(err, TN_USAGE, "%s is a new log: name its origin (--origin example.org/models)",
                         dir);
        goto out;
    }
    TN_GOTO(tn_mkdirs(dir, err));
    if ((lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644)) < 0 || flock(lock, LOCK_EX) != 0) {
        status = tn_fail(err, TN_IO, "%s: cannot lock it: %s", lock_path, strerror(errno));
        goto out;
    }
    if (tn_exists(path)) {
        TN_GOTO(tn_file_read_all(&note, NULL, path, 1 << 16, err));
        TN_GOTO(tn_checkpoint_open(&c, note, key, path, err));
        if (origin != NULL && strcmp(origin, c.origin) != 0) {
            status = tn_fail(err, TN_MISMATCH, "%s: this log's origin is %s, not %s", dir, c.origin, origin);
            goto out;
        }
        TN_GOTO(read_leaves(dir, c.size, &s, err));
        tn_merkle_root(&root, s.leaves, (size_t)s.size);
        if (!tn_digest_equal(&root, &c.root)) {
            status = tn_fail(err, TN_VERIFY,
                             "%s: the tiles do not give the checkpoint's root: the log was changed", dir);
            goto out;
        }
        free(note);
        note = NULL;
    } else if (origin == NULL) {
        status = tn_fail(err, TN_USAGE, "%s is a new log: name its origin (--origin example.org/models)",
                         dir);
        goto out;
    }
    TN_GOTO(state_room(&s, s.size + 1, err));
    TN_GOTO(write_entry(dir, s.size, entry, n, err));
    tn_merkle_leaf(&s.leaves[s.size], entry, n);
    *index = s.size++;
    forget_tiles(dir, s.size);
    TN_GOTO(write_tiles(dir, &s, s.size - 1, err));
    tn_merkle_root(&root, s.leaves, (size_t)s.size);
    TN_GOTO(tn_checkpoint_sign(&note, origin != NULL ? origin : c.origin, s.size, &root, key, err));
    status = tn_file_write_all(path, note, strlen(note), err);
out:
    if (lock >= 0) close(lock);
    free(s.leaves);
    free(note);
    free(lock_path);
    free(path);
    return status;
}

/* ------------------------------------------------------------------------------------------------- proofs */

static tn_status open_log(const char *dir, const tn_key *key, tn_checkpoint *c, char **note, log_state *s,
                          tn_error *err)
{
    char     *path = tn_path(dir, "checkpoint");
    tn_status status = path == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path")
                                    : tn_file_read_all(note, NULL, path, 1 << 16, err);
    tn_digest root;

    if (status == TN_OK) status = tn_checkpoint_open(c, *note, key, path, err);
    free(path);
    TN_TRY(status);
    TN_TRY(read_leaves(dir, c->size, s, err));
    tn_merkle_root(&root, s->leaves, (size_t)s->size);
    return tn_digest_equal(&root, &c->root)
               ? TN_OK
               : tn_fail(err, TN_VERIFY,
                         "%s: the tiles do not give the checkpoint's root: the log was changed", dir);
}

/* Hash lines, a blank one, the checkpoint: the end of every proof. */
static tn_status end_proof(tn_str *s, const tn_digest *proof, size_t n, const char *note, char **out,
                           tn_error *err)
{
    for (size_t i = 0; i < n; i++) {
        char *text = tn_base64(proof[i].b, TN_SHA256_BYTES);
        if (text == NULL) s->failed = true;
        else tn_str_addf(s, "%s\n", text);
        free(text);
    }
    tn_str_addf(s, "\n%s", note);
    TN_TRY(tn_str_check(s, err));
    *out = tn_str_take(s);
    return TN_OK;
}

static tn_status find(const char *dir, const log_state *s, const tn_digest *leaf, uint64_t *index,
                      tn_error *err)
{
    for (*index = 0; *index < s->size; (*index)++)
        if (tn_digest_equal(&s->leaves[*index], leaf)) return TN_OK;
    return tn_fail(err, TN_NOTFOUND, "%s: no entry for it among %llu (`tenet tlog add` makes one)", dir,
                   (unsigned long long)s->size);
}

tn_status tn_tlog_prove(const char *dir, const tn_key *key, const tn_digest *leaf, char **out, tn_error *err)
{
    tn_checkpoint c;
    log_state     s = { 0 };
    tn_digest     proof[TN_MERKLE_PROOF_MAX];
    char         *note = NULL;
    tn_str        text = { 0 };
    uint64_t      index;
    tn_status     status;

    *out = NULL;
    TN_GOTO(open_log(dir, key, &c, &note, &s, err));
    TN_GOTO(find(dir, &s, leaf, &index, err));
    tn_str_addf(&text, "c2sp.org/tlog-proof@v1\nindex %llu\n", (unsigned long long)index);
    status = end_proof(&text, proof, tn_merkle_inclusion(proof, s.leaves, (size_t)s.size, (size_t)index),
                       note, out, err);
out:
    tn_str_free(&text);
    free(s.leaves);
    free(note);
    return status;
}

tn_status tn_tlog_prove_growth(const char *dir, const tn_key *key, uint64_t old, char **out, tn_error *err)
{
    tn_checkpoint c;
    log_state     s = { 0 };
    tn_digest     proof[TN_MERKLE_PROOF_MAX];
    char         *note = NULL;
    tn_str        text = { 0 };
    tn_status     status;

    *out = NULL;
    TN_GOTO(open_log(dir, key, &c, &note, &s, err));
    if (old > s.size) {
        status = tn_fail(err, TN_USAGE, "%s has %llu entries, not %llu", dir, (unsigned long long)s.size,
                         (unsigned long long)old);
        goto out;
    }
    tn_str_addf(&text, "old %llu\n", (unsigned long long)old);
    status = end_proof(&text, proof, tn_merkle_consistency(proof, s.leaves, (size_t)s.size, (size_t)old),
                       note, out, err);
out:
    tn_str_free(&text);
    free(s.leaves);
    free(note);
    return status;
}

/* Hash lines up to the blank one; the checkpoint follows. */
static tn_status read_hashes(const char **p, tn_digest proof[TN_MERKLE_PROOF_MAX], size_t *n,
                             const char *where, tn_error *err)
{
    *n = 0;
    while (**p != '\n' && **p != '\0') {
        size_t   len = strcspn(*p, "\n"), n_bytes = 0;
        char    *line = tn_strndup(*p, len);
        uint8_t *bytes = NULL;
        bool     ok = line != NULL && *n < TN_MERKLE_PROOF_MAX && tn_unbase64(&bytes, &n_bytes, line) &&
                  n_bytes == TN_SHA256_BYTES;
        if (ok) memcpy(proof[(*n)++].b, bytes, TN_SHA256_BYTES);
        free(bytes);
        free(line);
        if (!ok) return tn_fail(err, TN_VERIFY, "%s: a line that is no hash", where);
        *p += len + ((*p)[len] == '\n');
    }
    if (**p == '\n') (*p)++;
    return TN_OK;
}

/* "PREFIX<number>\n" at *p. */
static bool read_number(const char **p, const char *prefix, uint64_t *out)
{
    size_t n = strlen(prefix), len;
    char  *text;
    bool   ok;

    if (strncmp(*p, prefix, n) != 0) return false;
    len = strcspn(*p + n, "\n");
    text = tn_strndup(*p + n, len);
    ok = text != NULL && tn_parse_u64(text, out);
    free(text);
    *p += n + len + ((*p)[n + len] == '\n');
    return ok;
}

tn_status tn_tlog_check(const char *proof_text, const tn_key *key, const tn_digest *leaf, tn_checkpoint *c,
                        uint64_t *index, const char *where, tn_error *err)
{
    static const char head[] = "c2sp.org/tlog-proof@v1\n";
    const char       *p = proof_text;
    tn_digest         proof[TN_MERKLE_PROOF_MAX];
    size_t            n;

    if (strncmp(p, head, sizeof head - 1) != 0)
        return tn_fail(err, TN_VERIFY, "%s: no tlog-proof (its first line says c2sp.org/tlog-proof@v1)",
                       where);
    p += sizeof head - 1;
    if (strncmp(p, "extra ", 6) == 0) p += strcspn(p, "\n") + 1;
    if (!read_number(&p, "index ", index))
        return tn_fail(err, TN_VERIFY, "%s: the line 'index N' is missing", where);
    TN_TRY(read_hashes(&p, proof, &n, where, err));
    TN_TRY(tn_checkpoint_open(c, p, key, where, err));
    if (!tn_merkle_check_inclusion(&c->root, (size_t)c->size, (size_t)*index, leaf, proof, n))
        return tn_fail(err, TN_VERIFY, "%s: the proof does not hold: this is not entry %llu of the log %s",
                       where, (unsigned long long)*index, c->origin);
    return TN_OK;
}

tn_status tn_tlog_check_growth(const char *proof_text, const char *old_note, const tn_key *key,
                               tn_checkpoint *c, const char *where, tn_error *err)
{
    const char   *p = proof_text;
    tn_digest     proof[TN_MERKLE_PROOF_MAX];
    tn_checkpoint old;
    uint64_t      size;
    size_t        n;

    TN_TRY(tn_checkpoint_open(&old, old_note, key, "the old checkpoint", err));
    if (!read_number(&p, "old ", &size) || size != old.size)
        return tn_fail(err, TN_VERIFY, "%s: no growth proof from size %llu", where,
                       (unsigned long long)old.size);
    TN_TRY(read_hashes(&p, proof, &n, where, err));
    TN_TRY(tn_checkpoint_open(c, p, key, where, err));
    if (strcmp(old.origin, c->origin) != 0 ||
        !tn_merkle_check_consistency(&old.root, (size_t)old.size, &c->root, (size_t)c->size, proof, n))
        return tn_fail(err, TN_VERIFY,
                       "%s: the log of %llu entries does not continue the one of %llu: history was changed",
                       where, (unsigned long long)c->size, (unsigned long long)old.size);
    return TN_OK;
}

/* Entries of one bundle against the leaves. */
static tn_status check_bundle(const char *dir, uint64_t bundle, unsigned width, const log_state *s,
                              tn_error *err)
{
    char     *bytes = NULL;
    size_t    n = 0, at = 0;
    tn_status status = read_tile(dir, "entries", bundle, width, &bytes, &n, err);

    for (unsigned i = 0; i < width && status == TN_OK; i++) {
        size_t    len = at + 2 <= n ? (size_t)(uint8_t)bytes[at] << 8 | (uint8_t)bytes[at + 1] : 0;
        tn_digest leaf;
        if (at + 2 > n || len > n - at - 2) {
            status = tn_fail(err, TN_VERIFY, "%s: entry %llu is cut off", dir,
                             (unsigned long long)(bundle * TILE + i));
            break;
        }
        tn_merkle_leaf(&leaf, bytes + at + 2, len);
        if (!tn_digest_equal(&leaf, &s->leaves[bundle * TILE + i]))
            status = tn_fail(err, TN_VERIFY, "%s: entry %llu is not the one that was logged", dir,
                             (unsigned long long)(bundle * TILE + i));
        at += 2 + len;
    }
    if (status == TN_OK && at != n)
        status = tn_fail(err, TN_VERIFY, "%s: entries/%llu has bytes after its entries", dir,
                         (unsigned long long)bundle);
    free(bytes);
    return status;
}

static tn_status check_upper_tiles(const char *dir, const log_state *s, tn_error *err)
{
    uint64_t span = TILE;

    for (int level = 1; level < LEVELS && s->size / span > 0; level++, span *= TILE) {
        uint64_t count = s->size / span;
        char     name[12];
        snprintf(name, sizeof name, "%d", level);
        for (uint64_t n = 0; n * TILE < count; n++) {
            unsigned  width = count - n * TILE < TILE ? (unsigned)(count - n * TILE) : TILE;
            tn_digest hashes[TILE];
            char     *bytes = NULL;
            size_t    n_bytes = 0;
            for (unsigned i = 0; i < width; i++)
                tn_merkle_root(&hashes[i], s->leaves + (n * TILE + i) * span, (size_t)span);
            tn_status status = read_tile(dir, name, n, width, &bytes, &n_bytes, err);
            if (status == TN_OK &&
                (n_bytes != (size_t)width * TN_SHA256_BYTES || memcmp(bytes, hashes, n_bytes) != 0))
                status = tn_fail(err, TN_VERIFY, "%s: tile %s/%llu was changed", dir, name,
                                 (unsigned long long)n);
            free(bytes);
            TN_TRY(status);
        }
    }
    return TN_OK;
}

tn_status tn_tlog_verify(const char *dir, const tn_key *key, tn_checkpoint *c, tn_error *err)
{
    log_state s = { 0 };
    char     *note = NULL;
    tn_status status = open_log(dir, key, c, &note, &s, err);

    for (uint64_t n = 0; status == TN_OK && n * TILE < s.size; n++)
        status = check_bundle(dir, n, s.size - n * TILE < TILE ? (unsigned)(s.size - n * TILE) : TILE, &s,
                              err);
    if (status == TN_OK) status = check_upper_tiles(dir, &s, err);
    free(s.leaves);
    free(note);
    return status;
}

tn_status tn_tlog_find(const char *dir, const tn_key *key, const tn_digest *leaf, uint64_t *index,
                       tn_error *err)
{
    tn_checkpoint c;
    log_state     s = { 0 };
    char         *note = NULL;
    tn_status     status = open_log(dir, key, &c, &note, &s, err);

    if (status == TN_OK) status = find(dir, &s, leaf, index, err);
    free(s.leaves);
    free(note);
    return status;
}

tn_status tn_tlog_continues(const char *dir, const tn_key *key, const char *old_note, tn_error *err)
{
    tn_checkpoint old, c;
    log_state     s = { 0 };
    tn_digest     root;
    char         *note = NULL;
    tn_status     status = tn_checkpoint_open(&old, old_note, key, "the old checkpoint", err);

    if (status == TN_OK) status = open_log(dir, key, &c, &note, &s, err);
    if (status == TN_OK && strcmp(old.origin, c.origin) != 0)
        status = tn_fail(err, TN_VERIFY, "%s: this is the log %s, the old checkpoint is of %s", dir, c.origin,
                         old.origin);
    if (status == TN_OK && old.size > s.size)
        status = tn_fail(err, TN_VERIFY,
                         "%s: %llu entries, the old checkpoint has %llu: the log was rolled back", dir,
                         (unsigned long long)s.size, (unsigned long long)old.size);
    if (status == TN_OK) {
        tn_merkle_root(&root, s.leaves, (size_t)old.size);
        if (!tn_digest_equal(&root, &old.root))
            status = tn_fail(
                err, TN_VERIFY,
                "%s: the log of %llu entries does not continue the one of %llu: history was changed", dir,
                (unsigned long long)s.size, (unsigned long long)old.size);
    }
    free(s.leaves);
    free(note);
    return status;
}

/* ------------------------------------------------------------------------------------------------ entries */

tn_status tn_tlog_entry(const char *path, char **out, tn_error *err)
{
    char     *sig = tn_path(path, TN_OMS_FILE), *text = NULL;
    tn_digest d;
    tn_status status = TN_OK;

    *out = NULL;
    if (sig == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (tn_is_dir(path) && tn_exists(sig)) status = tn_sha256_file(sig, &d, NULL, err);
    else status = tn_tree_digest(path, &d, NULL, err);
    if (status == TN_OK &&
        ((text = tn_digest_text(&d)) == NULL || (*out = tn_strf("tenet/tlog/v1\n%s %s\n",
                                                                tn_is_dir(path) && tn_exists(sig) ? "release"
                                                                : tn_is_dir(path)                 ? "tree"
                                                                                                  : "file",
                                                                text)) == NULL))
        status = tn_fail(err, TN_NOMEM, "no memory for an entry");
    free(text);
    free(sig);
    return status;
}
