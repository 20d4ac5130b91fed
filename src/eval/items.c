/* items.c - the log of scored items.
 *
 *   {"eval":{model, tasks, settings ...}}                       h0 = SHA-256 of this line
 *   {"hash":"<h1>","item":{...}}                                h1 = SHA-256(h0 || text of the item)
 *   {"hash":"<h2>","item":{...}}                                ...
 *
 * Items stand in the order of tasks and rows whatever ran together, so a log continues where it stopped, and
 * the same run gives the same bytes. The root is the Merkle root (RFC 9162) over the items' texts. */
#include "eval/items.h"
#include "base/file.h"
#include "base/str.h"
#include "provenance/provenance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct tn_items {
    char      *path;
    FILE      *file;
    json_t    *header, *list;
    tn_digest *leaves, chain;
    size_t     n, cap;
};

static tn_digest link_of(const tn_digest *before, const char *text)
{
    char     *joint = malloc(TN_SHA256_BYTES + strlen(text));
    tn_digest d = { { 0 } };

    if (joint == NULL) return d;
    memcpy(joint, before->b, TN_SHA256_BYTES);
    memcpy(joint + TN_SHA256_BYTES, text, strlen(text));
    d = tn_sha256_of(joint, TN_SHA256_BYTES + strlen(text));
    free(joint);
    return d;
}

/* Into memory only; the item is borrowed. *text: its canonical text, made. */
static tn_status remember(tn_items *l, json_t *item, char **text, tn_error *err)
{
    if (l->n == l->cap) {
        size_t     cap = l->cap == 0 ? 256 : 2 * l->cap;
        tn_digest *leaves = realloc(l->leaves, cap * sizeof *leaves);
        if (leaves == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu items", cap);
        l->leaves = leaves;
        l->cap = cap;
    }
    if ((*text = tn_json_text(item)) == NULL || json_array_append(l->list, item) != 0)
        return tn_fail(err, TN_NOMEM, "no memory for an item");
    tn_merkle_leaf(&l->leaves[l->n++], *text, strlen(*text));
    l->chain = link_of(&l->chain, *text);
    return TN_OK;
}

static tn_status line_read(tn_items *l, const char *line, size_t n, int64_t number, tn_error *err)
{
    char      where[512], hex[TN_SHA256_HEX], *text = NULL;
    json_t   *o = NULL;
    tn_status status = TN_OK;

    snprintf(where, sizeof where, "%s:%lld", l->path, (long long)number);
    TN_GOTO(tn_json_parse(&o, line, n, where, err));
    if (number == 1) {
        l->header = json_incref(json_object_get(o, "eval"));
        l->chain = tn_sha256_of(line, n);
        if (l->header == NULL)
            status = tn_fail(err, TN_FORMAT, "%s: this is no log of an evaluation (\"eval\" is missing)",
                             where);
        goto out;
    }
    const char *hash = json_string_value(json_object_get(o, "hash"));
    json_t     *item = json_object_get(o, "item");
    if (hash == NULL || !json_is_object(item)) {
        status = tn_fail(err, TN_FORMAT, "%s: \"hash\" and \"item\" are expected", where);
        goto out;
    }
    TN_GOTO(remember(l, item, &text, err));
    tn_hex(hex, &l->chain);
    if (strcmp(hex, hash) != 0)
        status = tn_fail(err, TN_VERIFY,
                         "%s: the running hash does not fit: this line or one before it was changed", where);
out:
    free(text);
    json_decref(o);
    return status;
}

/* Whole lines are read; *whole: their bytes. What follows the last newline is torn. */
static tn_status lines_read(tn_items *l, size_t *whole, tn_error *err)
{
    FILE     *f = fopen(l->path, "r");
    char     *line = NULL;
    size_t    cap = 0, len = 0;
    int64_t   number = 0;
    tn_status status = TN_OK;

    *whole = 0;
    if (f == NULL)
        return tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: %s", l->path, strerror(errno));
    while (status == TN_OK && tn_read_line(f, &line, &cap, &len)) {
        long at = ftell(f);
        if (at < 0 || (size_t)at != *whole + len + 1) break;
        status = line_read(l, line, len, ++number, err);
        *whole = (size_t)at;
    }
    free(line);
    fclose(f);
    return status;
}

static tn_status items_new(tn_items **out, const char *path, tn_error *err)
{
    tn_items *l = calloc(1, sizeof *l);

    if (l == NULL || (l->list = json_array()) == NULL ||
        (path != NULL && (l->path = tn_strdup(path)) == NULL)) {
        tn_items_close(l);
        return tn_fail(err, TN_NOMEM, "no memory for a log of items");
    }
    *out = l;
    return TN_OK;
}

static tn_status header_write(tn_items *l, const json_t *header, tn_error *err)
{
    json_t   *o = json_pack("{s:O}", "eval", (json_t *)header);
    char     *text = o != NULL ? tn_json_text(o) : NULL;
    tn_status status = TN_OK;

    if (text == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a log's header");
        goto out;
    }
    l->header = json_incref((json_t *)header);
    l->chain = tn_sha256_of(text, strlen(text));
    if (l->file != NULL && fprintf(l->file, "%s\n", text) < 0)
        status = tn_fail(err, TN_IO, "%s: %s", l->path, strerror(errno));
out:
    free(text);
    json_decref(o);
    return status;
}

tn_status tn_items_open(tn_items **out, const char *path, const json_t *header, tn_error *err)
{
    tn_items *l = NULL;
    size_t    whole = 0;
    tn_status status = TN_OK;

    *out = NULL;
    TN_GOTO(items_new(&l, path, err));
    if (path != NULL) { /* opened and locked before it is read: two runs would mix their lines */
        if ((l->file = fopen(path, "a")) == NULL) {
            status = tn_fail(err, TN_IO, "%s: %s", path, strerror(errno));
            goto out;
        }
        if (flock(fileno(l->file), LOCK_EX | LOCK_NB) != 0) {
            status = tn_fail(
                err, TN_IO, "%s: another run is writing it: wait for that one, or give another folder", path);
            goto out;
        }
        TN_GOTO(lines_read(l, &whole, err));
    }
    if (l->header != NULL && !json_equal(l->header, (json_t *)header)) {
        status = tn_fail(err, TN_MISMATCH,
                         "%s: it was begun with another model, other tasks, rows or settings: give another "
                         "folder, or remove it",
                         path);
        goto out;
    }
    if (path != NULL && ftruncate(fileno(l->file), (off_t)whole) != 0) {
        status = tn_fail(err, TN_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (whole == 0) TN_GOTO(header_write(l, header, err));
    TN_GOTO(tn_items_sync(l, err));
    *out = l;
    l = NULL;
out:
    tn_items_close(l);
    return status;
}

tn_status tn_items_load(tn_items **out, const char *path, tn_error *err)
{
    tn_items *l = NULL;
    size_t    whole;
    tn_status status = TN_OK;

    *out = NULL;
    TN_GOTO(items_new(&l, path, err));
    TN_GOTO(lines_read(l, &whole, err));
    if (l->header == NULL) {
        status = tn_fail(err, TN_FORMAT, "%s: this is no log of an evaluation, or it is empty", path);
        goto out;
    }
    *out = l;
    l = NULL;
out:
    tn_items_close(l);
    return status;
}

tn_status tn_items_add(tn_items *l, json_t *item, tn_error *err)
{
    char      hex[TN_SHA256_HEX], *text = NULL;
    tn_status status = item == NULL ? tn_fail(err, TN_NOMEM, "no memory for an item")
                                    : remember(l, item, &text, err);

    tn_hex(hex, &l->chain);
    if (status == TN_OK && l->file != NULL &&
        fprintf(l->file, "{\"hash\":\"%s\",\"item\":%s}\n", hex, text) < 0)
        status = tn_fail(err, TN_IO, "%s: %s", l->path, strerror(errno));
    free(text);
    json_decref(item);
    return status;
}

tn_status tn_items_sync(tn_items *l, tn_error *err)
{
    if (l->file == NULL || (fflush(l->file) == 0 && fsync(fileno(l->file)) == 0)) return TN_OK;
    return tn_fail(err, TN_IO, "%s: %s", l->path, strerror(errno));
}

tn_status tn_items_root(const tn_items *l, tn_digest *out, tn_error *err)
{
    if (l->n == 0) return tn_fail(err, TN_FORMAT, "there are no items to take a root of");
    tn_merkle_root(out, l->leaves, l->n);
    return TN_OK;
}

size_t tn_items_count(const tn_items *l) { return l->n; }

const json_t *tn_items_at(const tn_items *l, size_t i) { return json_array_get(l->list, i); }

const json_t *tn_items_header(const tn_items *l) { return l->header; }

void tn_items_close(tn_items *l)
{
    if (l == NULL) return;
    if (l->file != NULL) fclose(l->file);
    json_decref(l->header);
    json_decref(l->list);
    free(l->leaves);
    free(l->path);
    free(l);
}
