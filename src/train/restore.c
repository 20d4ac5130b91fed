/* restore.c - checkpoints back from disk: finding, checking, loading on any number of ranks, retiring.
 * Every length and name of a manifest is checked before use; every slice is hashed before it is taken. */
#include "train/checkpoint.h"
#include "train/policy.h"
#include "train/run.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

static const size_t max_manifest = (size_t)1 << 30;

/* Steps of the complete checkpoints below `out`, descending. made: free. */
static tn_status steps_list(const char *out, int64_t **list, int *n, tn_error *err)
{
    DIR           *d = opendir(out);
    struct dirent *e;
    *list = NULL;
    *n = 0;
    if (d == NULL && errno == ENOENT) return TN_OK;
    /* a run is not begun anew because of that */
    if (d == NULL) return tn_fail(err, TN_IO, "%s: cannot look for checkpoints: %s", out, strerror(errno));
    while ((e = readdir(d)) != NULL) {
        int64_t step;
        if (!tn_starts_with(e->d_name, "step-") || !tn_parse_i64(e->d_name + 5, &step) || step < 1) continue;
        int64_t *more = realloc(*list, (size_t)(*n + 1) * sizeof *more);
        if (more == NULL) {
            closedir(d);
            free(*list);
            *list = NULL;
            return tn_fail(err, TN_NOMEM, "%s: no memory for the list of checkpoints", out);
        }
        *list = more;
        int i = (*n)++;
        for (; i > 0 && more[i - 1] < step; i--) more[i] = more[i - 1];
        more[i] = step;
    }
    closedir(d);
    return TN_OK;
}

bool train_checkpoint_is(const char *dir)
{
    char *path = tn_path(dir, "manifest.json");
    bool  is = path != NULL && tn_exists(path);
    free(path);
    return is;
}

/* A folder without a manifest is nobody's checkpoint: it neither counts nor goes. */
static bool is_at(const char *out, int64_t step)
{
    char *path = tn_strf("%s/step-%lld", out, (long long)step);
    bool  is = path != NULL && train_checkpoint_is(path);
    free(path);
    return is;
}

void train_put_aside(const char *dir)
{
    char *name = NULL;
    bool  taken = true;
    for (int i = 1; taken && i < 1000; i++) {
        free(name);
        name = i == 1 ? tn_strf("%s.damaged", dir) : tn_strf("%s.damaged-%d", dir, i);
        taken = name != NULL && tn_exists(name);
    }
    if (name != NULL && !taken) tn_rename(dir, name, NULL);
    free(name);
}

tn_status train_checkpoint_newest(const char *out, int64_t most, int64_t *step, tn_error *err)
{
    int64_t *list;
    int      n;
    *step = 0;
    TN_TRY(steps_list(out, &list, &n, err));
    for (int i = 0; i < n && *step == 0; i++)
        if (list[i] <= most && is_at(out, list[i])) *step = list[i];
    free(list);
    return TN_OK;
}

/* Renamed first: a half-removed directory must not look whole. */
static tn_status retire(const char *out, int64_t step, tn_error *err)
{
    if (!is_at(out, step)) return TN_OK;
    char *path = tn_strf("%s/step-%lld", out, (long long)step),
         *gone = tn_strf("%s/step-%lld.tmp", out, (long long)step);
    tn_status status = path == NULL || gone == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path")
                                                    : tn_rename(path, gone, err);
    if (status == TN_OK) status = tn_remove_tree(gone, err);
    free(path);
    free(gone);
    return status;
}

tn_status train_retire(const char *out, const tn_train_config *c, const tn_steplog *log, int64_t newest,
                       int64_t best, tn_error *err)
{
    int64_t  *list, back = train_goes_back(c) ? newest - newest % c->checkpoint_every : 0;
    int       n, n_kept = 0;
    tn_status status = TN_OK;
    TN_TRY(steps_list(out, &list, &n, err));
    for (int i = 0; i < n && status == TN_OK; i++) {
        int64_t step = list[i];
        if (step > newest) continue; /* a later one is not this run's */
        bool logged = tn_steplog_has_state(log, (uint64_t)step);
        bool ruled = n_kept < c->keep_last || step == best || step == back ||
                     (c->keep_every > 0 && step % c->keep_every == 0);
        if (logged ? ruled : step == newest) n_kept += logged && is_at(out, step);
        else status = retire(out, step, err);
    }
    free(list);
    return status;
}

tn_status train_retire_after(const char *out, int64_t to, int64_t was, tn_error *err)
{
    int64_t  *list;
    int       n;
    tn_status status = TN_OK;
    TN_TRY(steps_list(out, &list, &n, err));
    for (int i = 0; i < n && status == TN_OK; i++)
        if (list[i] > to && list[i] <= was) status = retire(out, list[i], err);
    free(list);
    return status == TN_OK ? tn_fsync_dir(out, err) : status;
}

/* ------------------------------------------------------------------------------------------------ loading */

/* One slice as the manifest has it: [tensor, kind, first, n, file, offset, sha256]. */
typedef struct piece {
    int64_t   tensor, kind, first, n, file, offset;
    tn_digest sha;
} piece;

static tn_status piece_read(piece *p, const json_t *s, size_t i, const char *where, tn_error *err)
{
    int64_t     v[6];
    const char *hex = json_string_value(json_array_get(s, 6));

    for (size_t k = 0; k < 6; k++) {
        const json_t *e = json_array_get(s, k);
        v[k] = json_integer_value(e);
        if (!json_is_integer(e) || v[k] < 0)
            return tn_fail(err, TN_FORMAT, "%s: slice %zu of the manifest is malformed", where, i);
    }
    *p = (piece){ v[0], v[1], v[2], v[3], v[4], v[5], { { 0 } } };
    if (hex == NULL || !tn_unhex(&p->sha, hex))
        return tn_fail(err, TN_FORMAT, "%s: slice %zu of the manifest is malformed", where, i);
    return TN_OK;
}

/* made: free(*out). */
static tn_status pieces_read(piece **out, size_t *n, const json_t *manifest, const char *where, tn_error *err)
{
    const json_t *slices = json_object_get(manifest, "slices"), *s;
    size_t        i;

    *n = json_array_size(slices);
    if ((*out = calloc(*n + 1, sizeof **out)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for %zu slices", where, *n);
    json_array_foreach(slices, i, s) {
        tn_status status = piece_read(*out + i, s, i, where, err);
        if (status == TN_OK) continue;
        free(*out);
        *out = NULL;
        return status;
    }
    return TN_OK;
}

/* Order of the root: kind, then place; a manifest lists its tensors in the order of the flat range. */
static int by_kind_and_place(const void *a, const void *b)
{
    const piece *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->tensor != y->tensor) return x->tensor < y->tensor ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

tn_status tn_train_manifest_root(const json_t *manifest, const char *where, tn_digest *root, tn_error *err)
{
    const json_t *tensors = json_object_get(manifest, "tensors"), *kinds = json_object_get(manifest, "kinds");
    piece        *list = NULL;
    tn_digest    *leaf = NULL, named;
    size_t        n;
    const char   *text;
    tn_status     status = TN_OK;

    TN_TRY(tn_json_str(manifest, "state", &text, where, err));
    if (!tn_unhex(&named, text)) return tn_fail(err, TN_FORMAT, "%s: the state root is malformed", where);
    TN_TRY(pieces_read(&list, &n, manifest, where, err));
    if ((leaf = calloc(n + 1, sizeof *leaf)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for %zu slices", where, n);
        goto out;
    }
    qsort(list, n, sizeof *list, by_kind_and_place);
    for (size_t i = 0; i < n; i++) {
        const char *tensor = json_string_value(
            json_object_get(json_array_get(tensors, (size_t)list[i].tensor), "name"));
        const char *kind = json_string_value(json_array_get(kinds, (size_t)list[i].kind));
        if (tensor == NULL || kind == NULL) {
            status = tn_fail(err, TN_FORMAT, "%s: a slice of the manifest is of an unknown tensor or kind",
                             where);
            goto out;
        }
        train_slice_leaf(&leaf[i], tensor, kind, list[i].first, list[i].n, &list[i].sha);
    }
    tn_merkle_root(root, leaf, n);
    if (!tn_digest_equal(root, &named)) {
        char found[TN_SHA256_HEX];
        tn_hex(found, root);
        status = tn_fail(err, TN_VERIFY, "%s: the manifest names the state %s, its slices give %s", where,
                         text, found);
    }
out:
    free(leaf);
    free(list);
    return status;
}

typedef struct loading {
    run          *r;
    const char   *dir;
    const json_t *manifest, *tensors;
    int          *slot_of;
    size_t        n_tensor; /* slot of each tensor in the manifest */
    tn_map       *file;
    size_t        n_file;
    bool          state;
    int64_t       seen; /* elements of w that were set */
} loading;

static tn_status tensors_match(loading *l, tn_error *err)
{
    run *r = l->r;
    l->tensors = json_object_get(l->manifest, "tensors");
    l->n_tensor = json_array_size(l->tensors);
    if (l->n_tensor != (size_t)r->p.n_slot)
        return tn_fail(err, TN_MISMATCH,
                       "%s: the checkpoint has %zu trained tensors, this run %d: it belongs to another "
                       "architecture or LoRA setting",
                       l->dir, l->n_tensor, r->p.n_slot);
    if ((l->slot_of = calloc(l->n_tensor, sizeof *l->slot_of)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: out of memory", l->dir);
    for (size_t i = 0; i < l->n_tensor; i++) {
        const json_t *t = json_array_get(l->tensors, i), *shape = json_object_get(t, "shape");
        const char   *name;
        int           k = 0;
        TN_TRY(tn_json_str(t, "name", &name, l->dir, err));
        while (k < r->p.n_slot && strcmp(r->p.slot[k].name, name) != 0) k++;
        if (k == r->p.n_slot)
            return tn_fail(err, TN_MISMATCH, "%s: tensor '%s' is in the checkpoint, but not in this run",
                           l->dir, name);
        const tn_tensor *w = r->p.slot[k].w;
        bool             same = json_array_size(shape) == (size_t)w->n_dim;
        for (int d = 0; same && d < w->n_dim; d++)
            same = json_integer_value(json_array_get(shape, (size_t)d)) == w->shape[d];
        if (!same)
            return tn_fail(err, TN_MISMATCH,
                           "%s: tensor '%s' has another shape in the checkpoint than in this run", l->dir,
                           name);
        l->slot_of[i] = k;
    }
    return TN_OK;
}

static tn_status files_open(loading *l, tn_error *err)
{
    const json_t *files = json_object_get(l->manifest, "files");
    size_t        n = json_array_size(files);
    if (n < 1 || n > 65536 || (l->file = calloc(n, sizeof *l->file)) == NULL)
        return tn_fail(err, TN_FORMAT, "%s: %zu files in the manifest", l->dir, n);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(files, i));
        if (name == NULL || !tn_path_is_plain(name) || strchr(name, '/') != NULL)
            return tn_fail(err, TN_FORMAT, "%s: file %zu of the manifest has no plain name", l->dir, i);
        char *path = tn_path(l->dir, name);
        if (path == NULL) return tn_fail(err, TN_NOMEM, "%s: out of memory", l->dir);
        tn_status status = tn_exists(path) && !tn_is_dir(path)
                               ? tn_map_open(&l->file[i], path, err)
                               : tn_fail(err, TN_VERIFY, "%s is missing: the checkpoint is damaged", path);
        free(path);
        TN_TRY(status);
        l->n_file = i + 1;
    }
    return TN_OK;
}

/* The bytes of a slice, within its tensor and its file. */
static tn_status piece_locate(const loading *l, const piece *p, size_t i, tn_hash_span *span, tn_error *err)
{
    if ((size_t)p->tensor >= l->n_tensor || p->kind > MAX_STATE || (size_t)p->file >= l->n_file)
        return tn_fail(err, TN_FORMAT, "%s: slice %zu of the manifest is malformed", l->dir, i);
    const slot   *t = &l->r->p.slot[l->slot_of[p->tensor]];
    const tn_map *f = &l->file[p->file];
    if (p->first > t->n || p->n > t->n - p->first || (uint64_t)p->offset > f->n ||
        (uint64_t)p->n > (f->n - (uint64_t)p->offset) / 4 || p->offset % 4 != 0)
        return tn_fail(err, TN_FORMAT, "%s: slice %zu of '%s' lies outside its tensor or its file", l->dir, i,
                       t->name);
    *span = (tn_hash_span){ f->p + p->offset, (size_t)p->n * 4 };
    return TN_OK;
}

static void piece_take(loading *l, const piece *p, const float *from)
{
    run        *r = l->r;
    const slot *t = &r->p.slot[l->slot_of[p->tensor]];
    int64_t     a = t->first + p->first, b = a + p->n;

    if (p->kind == 0) {
        train_params_set(&r->p, a, b, from);
        l->seen += p->n;
    } else if (l->state && p->kind <= r->opt.n_state) {
        /* before version 9 of `train` zeros were written beyond */
        int64_t start = a, end = t->first + t->n_state[p->kind - 1];
        if (a < r->opt.first) a = r->opt.first;
        if (b > r->opt.last) b = r->opt.last;
        if (b > end) b = end;
        if (b > a)
            memcpy(train_state(&r->opt, t, (int)p->kind - 1, a - t->first), from + (a - start),
                   (size_t)(b - a) * 4);
    }
}

/* Every slice is hashed before the first one is taken. */
static tn_status slices_load(loading *l, tn_error *err)
{
    piece        *list = NULL;
    tn_hash_span *spans = NULL;
    tn_digest    *got = NULL;
    size_t        n;
    tn_status     status = TN_OK;

    TN_TRY(pieces_read(&list, &n, l->manifest, l->dir, err));
    spans = calloc(n + 1, sizeof *spans);
    got = calloc(n + 1, sizeof *got);
    if (spans == NULL || got == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for %zu slices", l->dir, n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) TN_GOTO(piece_locate(l, &list[i], i, &spans[i], err));
    TN_GOTO(tn_sha256_spans(spans, n, got, err));
    for (size_t i = 0; i < n; i++)
        if (!tn_digest_equal(&got[i], &list[i].sha)) {
            status = tn_fail(
                err, TN_VERIFY,
                "%s: '%s' elements %lld to %lld do not match their SHA-256: the checkpoint is damaged",
                l->dir, l->r->p.slot[l->slot_of[list[i].tensor]].name, (long long)list[i].first,
                (long long)(list[i].first + list[i].n));
            goto out;
        }
    for (size_t i = 0; i < n; i++) piece_take(l, &list[i], (const float *)spans[i].p);
out:
    free(list);
    free(spans);
    free(got);
    return status;
}

tn_status train_extend(run *r, tn_error *err)
{
    progress_state at;
    tn_digest      root;
    if (r->from_dir == NULL) return TN_OK;
    TN_TRY(train_checkpoint_load(r, r->from_dir, NULL, true, &at, &root, err));
    if (!tn_digest_equal(&root, &r->from.state) || at.update != r->from.update)
        return tn_fail(err, TN_VERIFY, "%s: the checkpoint was changed while it was being read", r->from_dir);
    r->update = at.update;
    return TN_OK;
}

bool train_manifest_digest(json_t *m, char hex[TN_SHA256_HEX])
{
    json_t   *seal = json_incref(json_object_get(m, "seal"));
    tn_digest d;

    json_object_del(m, "seal");
    char *text = json_dumps(m, JSON_COMPACT | JSON_SORT_KEYS);
    if (seal != NULL) json_object_set_new(m, "seal", seal);
    if (text == NULL) return false;
    d = tn_sha256_of(text, strlen(text));
    tn_hex(hex, &d);
    free(text);
    return true;
}

/* Nothing of a manifest is believed before its own digest is right. Checkpoints of before version 10 of
 * `train` have none. */
static tn_status manifest_open(json_t **m, const char *path, tn_error *err)
{
    char        hex[TN_SHA256_HEX];
    const char *format, *seal;

    TN_TRY(tn_json_load(m, path, max_manifest, err));
    TN_TRY(tn_json_str(*m, "format", &format, path, err));
    if (strcmp(format, "tenet-checkpoint/1") == 0) return TN_OK;
    if (strcmp(format, "tenet-checkpoint/2") != 0)
        return tn_fail(err, TN_FORMAT, "%s: format '%s' is not known (known: tenet-checkpoint/2)", path,
                       format);
    TN_TRY(tn_json_str(*m, "seal", &seal, path, err));
    if (!train_manifest_digest(*m, hex)) return tn_fail(err, TN_NOMEM, "%s: no memory for its text", path);
    if (strcmp(hex, seal) != 0)
        return tn_fail(err, TN_VERIFY, "%s does not match its own SHA-256: the checkpoint is damaged", path);
    return TN_OK;
}

/* What a checkpoint is, without its weights. */
tn_status train_checkpoint_origin(const run *r, const char *dir, origin *out, tn_error *err)
{
    json_t     *m = NULL;
    char       *path = tn_path(dir, "manifest.json");
    const char *data;
    tn_status   status = TN_OK;

    *out = (origin){ 0 };
    if (path == NULL) return tn_fail(err, TN_NOMEM, "%s: out of memory", dir);
    if (!tn_exists(path)) {
        status = tn_fail(err, TN_NOTFOUND, "%s holds no checkpoint; name one of a run's: RUN/step-N", dir);
        goto out;
    }
    TN_GOTO(manifest_open(&m, path, err));
    if (r->replay_steps == 0) TN_GOTO(train_weights_fit(r, m, dir, err));
    TN_GOTO(tn_train_manifest_root(m, path, &out->state, err));
    TN_GOTO(tn_json_int(m, "update", 0, INT64_MAX, &out->update, path, err));
    if (json_object_get(m, "items") == NULL) goto out; /* of before version 10 */
    TN_GOTO(tn_json_int(m, "items", 0, INT64_MAX, &out->items, path, err));
    TN_GOTO(tn_json_str(m, "order", &data, path, err));
    if (!tn_unhex(&out->order, data))
        status = tn_fail(err, TN_FORMAT, "%s: the digest of its data is malformed", path);
out:
    json_decref(m);
    free(path);
    return status;
}

tn_status train_checkpoint_load(run *r, const char *dir, const tn_digest *genesis, bool state,
                                progress_state *at, tn_digest *root, tn_error *err)
{
    tn_status   status = TN_OK;
    json_t     *m = NULL;
    loading     l = { .r = r, .dir = dir, .state = state };
    char       *path = tn_path(dir, "manifest.json"), hex[TN_SHA256_HEX];
    const char *text;
    tn_digest   found;
    double      best;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "%s: out of memory", dir);
    if (!tn_exists(path)) {
        status = tn_fail(err, TN_NOTFOUND, "%s holds no checkpoint; name one of a run's: RUN/step-N", dir);
        goto out;
    }
    TN_GOTO(manifest_open(&m, path, err));
    l.manifest = m;
    TN_GOTO(tn_json_str(m, "run", &text, path, err));
    if (genesis != NULL) tn_hex(hex, genesis);
    if (genesis != NULL && strcmp(text, hex) != 0) {
        status = tn_fail(err, TN_MISMATCH, "%s: the checkpoint belongs to another run (%.12s, not %.12s)",
                         dir, text, hex);
        goto out;
    }
    TN_GOTO(tn_json_str(m, "optimizer", &text, path, err));
    if (state && strcmp(text, r->c->optimizer) != 0) {
        status = tn_fail(err, TN_MISMATCH, "%s: the checkpoint has the state of '%s', this run uses '%s'",
                         dir, text, r->c->optimizer);
        goto out;
    }
    TN_GOTO(tn_train_manifest_root(m, path, &found, err));
    if (root != NULL) *root = found;
    *at = (progress_state){ 0 };
    TN_GOTO(tn_json_int(m, "step", 1, INT64_MAX, &at->step, path, err));
    TN_GOTO(tn_json_int(m, "update", 0, INT64_MAX, &at->update, path, err));
    TN_GOTO(tn_json_int(m, "tokens", 0, INT64_MAX, &at->tokens, path, err));
    TN_GOTO(tn_json_int(m, "best_step", 0, INT64_MAX, &at->best_step, path, err));
    TN_GOTO(tn_json_int(m, "worse", 0, INT64_MAX, &at->worse, path, err));
    TN_GOTO(tn_json_bool_or(m, "validation_owed", false, &at->owed, path, err));
    TN_GOTO(tn_json_int_or(m, "skip_to", 0, INT64_MAX, 0, &at->skip_to, path, err));
    TN_GOTO(tn_json_int_or(m, "bad", 0, INT64_MAX, 0, &at->bad, path, err));
    TN_GOTO(tn_json_real_or(m, "best_valid", 0, &best, path, err));
    at->best_valid = (float)best;
    r->p.update = at->update; /* before the weights: their rounding depends on it */
    TN_GOTO(tensors_match(&l, err));
    TN_GOTO(files_open(&l, err));
    TN_GOTO(slices_load(&l, err));
    if (l.seen != r->p.n_trained)
        status = tn_fail(err, TN_FORMAT, "%s: the slices hold %lld of %lld weights", dir, (long long)l.seen,
                         (long long)r->p.n_trained);
out:
    for (size_t f = 0; f < l.n_file; f++) tn_map_close(&l.file[f]);
    free(l.file);
    free(l.slot_of);
    json_decref(m);
    free(path);
    return status;
}
