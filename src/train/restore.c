/* restore.c - checkpoints back from disk: finding, checking, loading on any number of ranks, retiring.
 * Every length and name of a manifest is checked before use; every slice is hashed before it is taken. */
#include "train/run.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

static const size_t max_manifest = (size_t)1 << 30;

/* Steps of the complete checkpoints below `out`, descending. made: free. */
static tn_status steps_list(const char *out, int64_t **list, int *n, tn_error *err)
{
    DIR *d = opendir(out);
    struct dirent *e;
    *list = NULL;
    *n = 0;
    if (d == NULL) return TN_OK;
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

tn_status train_checkpoint_newest(const char *out, int64_t most, int64_t *step, tn_error *err)
{
    int64_t *list;
    int n;
    *step = 0;
    TN_TRY(steps_list(out, &list, &n, err));
    for (int i = 0; i < n && *step == 0; i++) {
        char *path = tn_strf("%s/step-%lld/manifest.json", out, (long long)list[i]);
        if (list[i] <= most && path != NULL && tn_exists(path)) *step = list[i];
        free(path);
    }
    free(list);
    return TN_OK;
}

tn_status train_retire(const char *out, const tn_train_config *c, int64_t best, tn_error *err)
{
    int64_t *list;
    int n;
    tn_status status = TN_OK;
    TN_TRY(steps_list(out, &list, &n, err));
    for (int i = (int)c->keep_last; i < n && status == TN_OK; i++) {
        if (list[i] == best || (c->keep_every > 0 && list[i] % c->keep_every == 0)) continue;
        char *path = tn_strf("%s/step-%lld", out, (long long)list[i]), *gone = tn_strf("%s/step-%lld.tmp", out, (long long)list[i]);
        /* Renamed first: a half-removed directory must not look whole. */
        if (path == NULL || gone == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
        if (status == TN_OK) status = tn_rename(path, gone, err);
        if (status == TN_OK) status = tn_remove_tree(gone, err);
        free(path);
        free(gone);
    }
    free(list);
    return status;
}

/* ------------------------------------------------------------------------------------------------------ loading */

typedef struct loading {
    run *r;
    const char *dir;
    const json_t *manifest, *tensors;
    int *slot_of; size_t n_tensor;      /* slot of each tensor in the manifest */
    tn_map *file; size_t n_file;
    bool state;
    int64_t seen;                       /* elements of w that were set */
} loading;

static tn_status tensors_match(loading *l, tn_error *err)
{
    run *r = l->r;
    l->tensors = json_object_get(l->manifest, "tensors");
    l->n_tensor = json_array_size(l->tensors);
    if (l->n_tensor != (size_t)r->p.n_slot)
        return tn_fail(err, TN_MISMATCH, "%s: the checkpoint has %zu trained tensors, this run %d: it belongs to another architecture or LoRA setting",
                       l->dir, l->n_tensor, r->p.n_slot);
    if ((l->slot_of = calloc(l->n_tensor, sizeof *l->slot_of)) == NULL) return tn_fail(err, TN_NOMEM, "%s: out of memory", l->dir);
    for (size_t i = 0; i < l->n_tensor; i++) {
        const json_t *t = json_array_get(l->tensors, i), *shape = json_object_get(t, "shape");
        const char *name;
        int k = 0;
        TN_TRY(tn_json_str(t, "name", &name, l->dir, err));
        while (k < r->p.n_slot && strcmp(r->p.slot[k].name, name) != 0) k++;
        if (k == r->p.n_slot) return tn_fail(err, TN_MISMATCH, "%s: tensor '%s' is in the checkpoint, but not in this run", l->dir, name);
        const tn_tensor *w = r->p.slot[k].w;
        bool same = json_array_size(shape) == (size_t)w->n_dim;
        for (int d = 0; same && d < w->n_dim; d++) same = json_integer_value(json_array_get(shape, (size_t)d)) == w->shape[d];
        if (!same) return tn_fail(err, TN_MISMATCH, "%s: tensor '%s' has another shape in the checkpoint than in this run", l->dir, name);
        l->slot_of[i] = k;
    }
    return TN_OK;
}

static tn_status files_open(loading *l, tn_error *err)
{
    const json_t *files = json_object_get(l->manifest, "files");
    size_t n = json_array_size(files);
    if (n < 1 || n > 65536 || (l->file = calloc(n, sizeof *l->file)) == NULL) return tn_fail(err, TN_FORMAT, "%s: %zu files in the manifest", l->dir, n);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(files, i));
        if (name == NULL || !tn_path_is_plain(name) || strchr(name, '/') != NULL)
            return tn_fail(err, TN_FORMAT, "%s: file %zu of the manifest has no plain name", l->dir, i);
        char *path = tn_path(l->dir, name);
        if (path == NULL) return tn_fail(err, TN_NOMEM, "%s: out of memory", l->dir);
        tn_status status = tn_map_open(&l->file[i], path, err);
        free(path);
        TN_TRY(status);
        l->n_file = i + 1;
    }
    return TN_OK;
}

static tn_status slice_load(loading *l, const json_t *s, size_t i, tn_error *err)
{
    run *r = l->r;
    json_int_t v[6];
    tn_digest want, got;
    const char *hex = json_string_value(json_array_get(s, 6));

    for (size_t k = 0; k < 6; k++) {
        const json_t *e = json_array_get(s, k);
        v[k] = json_integer_value(e);
        if (!json_is_integer(e) || v[k] < 0) return tn_fail(err, TN_FORMAT, "%s: slice %zu of the manifest is malformed", l->dir, i);
    }
    if (hex == NULL || !tn_unhex(&want, hex) || (size_t)v[0] >= l->n_tensor || v[1] > MAX_STATE || (size_t)v[4] >= l->n_file)
        return tn_fail(err, TN_FORMAT, "%s: slice %zu of the manifest is malformed", l->dir, i);
    const slot *t = &r->p.slot[l->slot_of[v[0]]];
    int64_t first = v[2], n = v[3];
    const tn_map *f = &l->file[v[4]];
    if (first > t->n || n > t->n - first || (uint64_t)v[5] > f->n || (uint64_t)n > (f->n - (uint64_t)v[5]) / 4 || v[5] % 4 != 0)
        return tn_fail(err, TN_FORMAT, "%s: slice %zu of '%s' lies outside its tensor or its file", l->dir, i, t->name);
    const float *p = (const float *)(const void *)(f->p + v[5]);
    got = tn_sha256_of(p, (size_t)n * 4);
    if (!tn_digest_equal(&got, &want))
        return tn_fail(err, TN_VERIFY, "%s: '%s' elements %lld to %lld do not match their SHA-256: the checkpoint is damaged", l->dir, t->name,
                       (long long)first, (long long)(first + n));
    if (v[1] == 0) {
        train_params_set(&r->p, t->first + first, t->first + first + n, p);
        l->seen += n;
    } else if (l->state && v[1] <= r->opt.n_state) {
        int64_t a = t->first + first, b = a + n;
        if (a < r->opt.first) a = r->opt.first;
        if (b > r->opt.last) b = r->opt.last;
        if (b > a) memcpy(r->opt.state[v[1] - 1] + (a - r->opt.first), p + (a - t->first - first), (size_t)(b - a) * 4);
    }
    return TN_OK;
}

tn_status train_checkpoint_load(run *r, const char *dir, const tn_digest *genesis, bool state, progress_state *at, tn_digest *root, tn_error *err)
{
    tn_status status = TN_OK;
    json_t *m = NULL;
    loading l = { .r = r, .dir = dir, .state = state };
    char *path = tn_path(dir, "manifest.json"), hex[TN_SHA256_HEX];
    const char *text;
    const json_t *slices, *s;
    size_t i;
    double best;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "%s: out of memory", dir);
    TN_GOTO(tn_json_load(&m, path, max_manifest, err));
    l.manifest = m;
    TN_GOTO(tn_json_str(m, "format", &text, path, err));
    if (strcmp(text, "tenet-checkpoint/1") != 0) { status = tn_fail(err, TN_UNSUPPORTED, "%s: format '%s' is not known", path, text); goto out; }
    TN_GOTO(tn_json_str(m, "run", &text, path, err));
    if (genesis != NULL) tn_hex(hex, genesis);
    if (genesis != NULL && strcmp(text, hex) != 0) {
        status = tn_fail(err, TN_MISMATCH, "%s: the checkpoint belongs to another run (%.12s, not %.12s)", dir, text, hex);
        goto out;
    }
    TN_GOTO(tn_json_str(m, "optimizer", &text, path, err));
    if (state && strcmp(text, r->c->optimizer) != 0) {
        status = tn_fail(err, TN_MISMATCH, "%s: the checkpoint has the state of '%s', this run uses '%s'", dir, text, r->c->optimizer);
        goto out;
    }
    TN_GOTO(tn_json_str(m, "state", &text, path, err));
    if (root != NULL && !tn_unhex(root, text)) { status = tn_fail(err, TN_FORMAT, "%s: the state root is malformed", path); goto out; }
    *at = (progress_state){0};
    TN_GOTO(tn_json_int(m, "step", 1, INT64_MAX, &at->step, path, err));
    TN_GOTO(tn_json_int(m, "update", 0, INT64_MAX, &at->update, path, err));
    TN_GOTO(tn_json_int(m, "tokens", 0, INT64_MAX, &at->tokens, path, err));
    TN_GOTO(tn_json_int(m, "best_step", 0, INT64_MAX, &at->best_step, path, err));
    TN_GOTO(tn_json_int(m, "worse", 0, INT64_MAX, &at->worse, path, err));
    TN_GOTO(tn_json_real_or(m, "best_valid", 0, &best, path, err));
    at->best_valid = (float)best;
    r->p.update = at->update;                                /* before the weights: their rounding depends on it */
    TN_GOTO(tensors_match(&l, err));
    TN_GOTO(files_open(&l, err));
    slices = json_object_get(m, "slices");
    json_array_foreach(slices, i, s) TN_GOTO(slice_load(&l, s, i, err));
    if (l.seen != r->p.n_trained)
        status = tn_fail(err, TN_FORMAT, "%s: the slices hold %lld of %lld weights", dir, (long long)l.seen, (long long)r->p.n_trained);
out:
    for (size_t f = 0; f < l.n_file; f++) tn_map_close(&l.file[f]);
    free(l.file);
    free(l.slot_of);
    json_decref(m);
    free(path);
    return status;
}
