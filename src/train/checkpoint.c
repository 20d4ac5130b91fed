/* checkpoint.c - the state of a run on disk: sharded, hashed, written in the background, loadable on any
 * number of ranks.
 *
 *   OUT/step-N.tmp/rank-0000.bin ...   each rank writes its range of the flat order: for each kind (w, m, v) the slices
 *   OUT/step-N/manifest.json           the model that they are of (fits.c); tensors by name; slices [tensor, kind, first, n, file, offset, sha256]; step, counts; its own SHA-256
 *
 * A slice is what one tensor, or its state, has inside one grain of the flat order (ranks part at grains or
 * tensors), so the set of slices, their hashes and the root over them are the same for every number of ranks.
 * A thread hashes, writes and syncs the state where it lies, while the next step computes its gradients: only
 * an update changes the state, so before it the slices that are not written yet are copied, and only those.
 * Then rank 0 collects the hashes, writes the manifest, syncs and renames: a directory without `.tmp` is
 * whole. */
#include "train/checkpoint.h"
#include "train/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

static const char kind_names[][2] = { "w", "m", "v" };

typedef struct slice {
    int32_t   slot, kind;
    int64_t   first, n, flat;
    int32_t   file;
    int64_t   offset;
    tn_digest sha;
} slice;

struct checkpointer {
    run            *r;
    tn_digest       genesis;
    slice          *all, *mine;                 /* of all ranks (in root order), and the part that is ours */
    int64_t         n_all, n_mine, *rank_first; /* all: sorted by rank; [size + 1] */
    pthread_mutex_t lock;                       /* next, writing, copy: between the writer and the step */
    pthread_cond_t  written;
    /* the slice that is taken next; the one being written from live memory, -1: none */
    int64_t next, writing;
    float  *copy; /* the last slices of mine, one after the other; NULL: they are read where they lie */
    int64_t copied_offset; /* of the first one */
    int64_t first, last;
    progress_state at;
    char          *tmp, *path; /* step-N.tmp, its rank file */
    pthread_t      thread;
    bool           busy, joined;
    _Atomic bool   done;
    tn_status      status;
    tn_error       error;
};

/* ------------------------------------------------------------------------------------------------- slices */

typedef struct cutting {
    const params *p;
    slice        *out;
    int64_t       n;
    int           kind, file;
    int64_t       offset;
} cutting;

static void cut_span(void *arg, const slot *s, int64_t offset, int64_t n)
{
    cutting *c = arg;
    if (c->kind > 0 && n > s->n_state[c->kind - 1] - offset) n = s->n_state[c->kind - 1] - offset;
    if (n <= 0) return;
    if (c->out != NULL)
        c->out[c->n] = (slice){ (int32_t)(s - c->p->slot), c->kind, offset,    n,
                                s->first + offset,         c->file, c->offset, { { 0 } } };
    c->offset += n * 4;
    c->n++;
}

/* Slices of flat [first, last), kind by kind, grain by grain. out NULL: only counts. */
static int64_t cut(const params *p, int n_kind, int64_t first, int64_t last, int file, slice *out)
{
    cutting c = { p, out, 0, 0, file, 0 };
    for (c.kind = 0; c.kind < n_kind; c.kind++)
        for (int64_t a = first; a < last; a += p->grain - a % p->grain) {
            int64_t b = a + p->grain - a % p->grain;
            train_params_spans(p, a, b < last ? b : last, cut_span, &c);
        }
    return c.n;
}

/* Order of the root: kind, then place. */
static int by_kind_and_place(const void *a, const void *b)
{
    const slice *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return x->flat < y->flat ? -1 : x->flat > y->flat;
}

void train_slice_leaf(tn_digest *leaf, const char *tensor, const char *kind, int64_t first, int64_t n,
                      const tn_digest *sha)
{
    char hex[TN_SHA256_HEX], text[320];
    tn_hex(hex, sha);
    int len = snprintf(text, sizeof text, "%s %s %lld %lld %s", tensor, kind, (long long)first, (long long)n,
                       hex);
    tn_merkle_leaf(leaf, text, len < (int)sizeof text ? (size_t)len : sizeof text - 1);
}

static tn_status slices_root(const params *p, const slice *list, int64_t n, tn_digest *root, tn_error *err)
{
    slice     *sorted = malloc((size_t)(n + 1) * sizeof *sorted);
    tn_digest *leaf = malloc((size_t)(n + 1) * sizeof *leaf);
    if (sorted == NULL || leaf == NULL) {
        free(sorted);
        free(leaf);
        return tn_fail(err, TN_NOMEM, "no memory for %lld digests", (long long)n);
    }
    memcpy(sorted, list, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_kind_and_place);
    for (int64_t i = 0; i < n; i++)
        train_slice_leaf(&leaf[i], p->slot[sorted[i].slot].name, kind_names[sorted[i].kind], sorted[i].first,
                         sorted[i].n, &sorted[i].sha);
    tn_merkle_root(root, leaf, (size_t)n);
    free(sorted);
    free(leaf);
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------ writing */

void train_checkpoint_destroy(checkpointer *k)
{
    if (k == NULL) return;
    if (k->busy && !k->joined) pthread_join(k->thread, NULL);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->written);
    free(k->copy);
    free(k->all);
    free(k->rank_first);
    free(k->tmp);
    free(k->path);
    free(k);
}

tn_status train_checkpoint_create(checkpointer **out, run *r, const tn_digest *genesis, tn_error *err)
{
    int           n_kind = 1 + r->opt.n_state;
    checkpointer *k = calloc(1, sizeof *k);

    *out = NULL;
    if (k == NULL) return tn_fail(err, TN_NOMEM, "no memory for checkpoints");
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->written, NULL);
    k->r = r;
    k->genesis = *genesis;
    k->first = r->x.range[r->rank];
    k->last = r->x.range[r->rank + 1];
    if ((k->rank_first = calloc((size_t)r->size + 1, sizeof *k->rank_first)) == NULL) goto nomem;
    for (int o = 0; o < r->size; o++)
        k->rank_first[o + 1] = k->rank_first[o] +
                               cut(&r->p, n_kind, r->x.range[o], r->x.range[o + 1], o, NULL);
    k->n_all = k->rank_first[r->size];
    if ((k->all = malloc((size_t)(k->n_all + 1) * sizeof *k->all)) == NULL) goto nomem;
    for (int o = 0; o < r->size; o++)
        cut(&r->p, n_kind, r->x.range[o], r->x.range[o + 1], o, k->all + k->rank_first[o]);
    k->mine = k->all + k->rank_first[r->rank];
    k->n_mine = k->rank_first[r->rank + 1] - k->rank_first[r->rank];
    *out = k;
    return TN_OK;
nomem:
    train_checkpoint_destroy(k);
    return tn_fail(err, TN_NOMEM, "no memory for the list of a checkpoint's slices");
}

/* Where a slice lies in the run itself. */
static const float *slice_live(const run *r, const slice *s)
{
    const slot *t = &r->p.slot[s->slot];
    return s->kind == 0 ? t->master + s->first : train_state(&r->opt, t, s->kind - 1, s->first);
}

static struct timespec in_a_second(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec++;
    return t;
}

/* An update comes: what is not written yet is copied; the slice at hand is waited for. Without memory for the
 * copy all is waited for. */
void train_checkpoint_before_update(checkpointer *k)
{
    if (!k->busy || k->done) return;
    pthread_mutex_lock(&k->lock);
    if (k->copy == NULL && k->next < k->n_mine) {
        size_t n = 0;
        for (int64_t i = k->next; i < k->n_mine; i++) n += (size_t)k->mine[i].n;
        k->copied_offset = k->mine[k->next].offset;
        float *to = malloc(n * 4);
        /* Slices lie in the file as they lie in `mine`, so one offset serves both. */
        for (int64_t i = k->next; to != NULL && i < k->n_mine; i++)
            memcpy(to + (k->mine[i].offset - k->copied_offset) / 4, slice_live(k->r, &k->mine[i]),
                   (size_t)k->mine[i].n * 4);
        k->copy = to;
    }
    while (k->writing >= 0 || (k->copy == NULL && k->next < k->n_mine)) {
        struct timespec until = in_a_second();
        pthread_cond_timedwait(&k->written, &k->lock, &until);
        train_alive(k->r);
    }
    pthread_mutex_unlock(&k->lock);
}

/* The writer takes its next slice; NULL: none is left. */
static const float *slice_take(checkpointer *k)
{
    const float *from = NULL;
    pthread_mutex_lock(&k->lock);
    k->writing = -1;
    if (k->next < k->n_mine) {
        const slice *s = &k->mine[k->next];
        from = k->copy != NULL ? k->copy + (s->offset - k->copied_offset) / 4 : slice_live(k->r, s);
        if (k->copy == NULL) k->writing = k->next;
        k->next++;
    }
    pthread_cond_broadcast(&k->written);
    pthread_mutex_unlock(&k->lock);
    return from;
}

static tn_status part_write(checkpointer *k, tn_error *err)
{
    tn_status status = TN_OK;
    int       fd = open(k->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0) return tn_fail(err, TN_IO, "%s: cannot create: %s", k->path, strerror(errno));
    const char *p;
    for (int64_t i = 0; (p = (const char *)slice_take(k)) != NULL; i++) {
        slice *s = &k->mine[i];
        s->sha = tn_sha256_of(p, (size_t)s->n * 4);
        for (size_t at = 0, n = (size_t)s->n * 4; at < n;) {
            ssize_t got = write(fd, p + at, n - at);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) {
                status = tn_fail(err, TN_IO, "%s: cannot write: %s", k->path, strerror(errno));
                goto out;
            }
            at += (size_t)got;
        }
        if (i == k->n_mine / 2 && train_fault("kill-writing", k->at.step, k->r->rank)) raise(SIGKILL);
    }
    if (fsync(fd) != 0) status = tn_fail(err, TN_IO, "%s: cannot sync: %s", k->path, strerror(errno));
out:
    if (close(fd) != 0 && status == TN_OK)
        status = tn_fail(err, TN_IO, "%s: cannot close: %s", k->path, strerror(errno));
    return status;
}

static void *writer(void *arg)
{
    checkpointer *k = arg;
    k->status = part_write(k, &k->error);
    pthread_mutex_lock(&k->lock); /* also after an error: nobody waits for more */
    k->next = k->n_mine;
    k->writing = -1;
    pthread_cond_broadcast(&k->written);
    pthread_mutex_unlock(&k->lock);
    k->done = true;
    return NULL;
}

static tn_status directory_make(checkpointer *k, tn_error *err)
{
    if (k->r->rank != 0) return TN_OK;
    TN_TRY(tn_remove_tree(k->tmp, err)); /* what an interrupted writer left */
    return tn_mkdirs(k->tmp, err);
}

tn_status train_checkpoint_begin(checkpointer *k, const progress_state *at, tn_error *err)
{
    run *r = k->r;
    free(k->tmp);
    free(k->path);
    k->at = *at;
    k->tmp = tn_strf("%s/step-%lld.tmp", r->io->out, (long long)at->step);
    k->path = k->tmp != NULL ? tn_strf("%s/rank-%04d.bin", k->tmp, r->rank) : NULL;
    TN_TRY(tn_dist_agree(
        r->dist, k->path == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : directory_make(k, err),
        err));
    k->next = 0;
    k->writing = -1;
    k->done = false;
    k->joined = false;
    k->status = TN_OK;
    sigset_t all, before; /* signals belong to the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int rc = pthread_create(&k->thread, NULL, writer, k);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    k->busy = true;
    if (rc == 0) return TN_OK;
    k->status = tn_fail(&k->error, TN_NOMEM, "cannot start the thread that writes checkpoints: %s",
                        strerror(rc));
    k->joined = true;
    k->done = true; /* the other ranks learn it when all meet at the end of this checkpoint */
    return TN_OK;
}

bool    train_checkpoint_busy(const checkpointer *k) { return k->busy; }
int64_t train_checkpoint_step(const checkpointer *k) { return k->at.step; }
bool    train_checkpoint_done(checkpointer *k) { return k->busy && k->done; }

/* Rank 0 gets the hashes that the others' writers made. */
static tn_status hashes_collect(checkpointer *k, tn_error *err)
{
    run       *r = k->r;
    tn_status  status = TN_OK;
    tn_digest *sha = malloc((size_t)(k->n_all + 1) * sizeof *sha);
    int        n_recv = 0;

    if (sha == NULL) return tn_fail(err, TN_NOMEM, "no memory for %lld digests", (long long)k->n_all);
    for (int64_t i = 0; i < k->n_mine; i++) sha[k->rank_first[r->rank] + i] = k->mine[i].sha;
    if (r->rank != 0) {
        tn_dist_message m = { 0, sha + k->rank_first[r->rank], (size_t)k->n_mine * sizeof *sha };
        status = tn_dist_exchange(r->dist, &m, k->n_mine > 0, NULL, 0, err);
    } else {
        for (int o = 1; o < r->size; o++) {
            int64_t n = k->rank_first[o + 1] - k->rank_first[o];
            if (n > 0)
                r->x.recv[n_recv++] = (tn_dist_message){ o, sha + k->rank_first[o], (size_t)n * sizeof *sha };
        }
        if (r->size > 1) status = tn_dist_exchange(r->dist, NULL, 0, r->x.recv, n_recv, err);
        for (int64_t i = 0; i < k->n_all; i++) k->all[i].sha = sha[i];
    }
    free(sha);
    return status;
}

/* made: json_decref; NULL: no memory. Half a manifest would be a checkpoint that cannot be loaded. */
static json_t *manifest_make(checkpointer *k, const tn_digest *root)
{
    run    *r = k->r;
    char    hex[TN_SHA256_HEX];
    json_t *tensors = json_array(), *slices = json_array(), *files = json_array(), *m = json_object(),
           *kinds = json_array();
    bool ok = true;

    for (int i = 0; i < r->p.n_slot; i++) {
        const slot *s = &r->p.slot[i];
        json_t     *shape = json_array();
        for (int d = 0; d < s->w->n_dim; d++)
            ok &= 0 == json_array_append_new(shape, json_integer(s->w->shape[d]));
        ok &= 0 == json_array_append_new(
                       tensors, json_pack("{s:s,s:o,s:s}", "name", s->name, "shape", shape, "dtype", "f32"));
    }
    for (int64_t i = 0; i < k->n_all; i++) {
        const slice *s = &k->all[i];
        tn_hex(hex, &s->sha);
        ok &= 0 == json_array_append_new(slices,
                                         json_pack("[i,i,I,I,i,I,s]", s->slot, s->kind, (json_int_t)s->first,
                                                   (json_int_t)s->n, s->file, (json_int_t)s->offset, hex));
    }
    for (int o = 0; o < r->size; o++) {
        char name[32];
        snprintf(name, sizeof name, "rank-%04d.bin", o);
        ok &= 0 == json_array_append_new(files, json_string(name));
    }
    for (int i = 0; i < 1 + r->opt.n_state; i++)
        ok &= 0 == json_array_append_new(kinds, json_string(kind_names[i]));
    ok &= 0 == json_object_set_new(m, "format", json_string("tenet-checkpoint/2"));
    tn_hex(hex, &k->genesis);
    ok &= 0 == json_object_set_new(m, "run", json_string(hex));
    tn_hex(hex, root);
    ok &= 0 == json_object_set_new(m, "state", json_string(hex));
    ok &= 0 == json_object_set_new(m, "step", json_integer(k->at.step));
    ok &= 0 == json_object_set_new(m, "update", json_integer(k->at.update));
    ok &= 0 == json_object_set_new(m, "tokens", json_integer(k->at.tokens));
    ok &= 0 == json_object_set_new(m, "best_valid", tn_json_f32(k->at.best_valid));
    ok &= 0 == json_object_set_new(m, "best_step", json_integer(k->at.best_step));
    ok &= 0 == json_object_set_new(m, "worse", json_integer(k->at.worse));
    ok &= 0 == json_object_set_new(m, "items", json_integer(train_first_item(r, k->at.step + 1)));
    tn_hex(hex, &r->order);
    ok &= 0 == json_object_set_new(m, "order", json_string(hex));
    if (k->at.owed) ok &= 0 == json_object_set_new(m, "validation_owed", json_true());
    if (k->at.skip_to > k->at.step) ok &= 0 == json_object_set_new(m, "skip_to", json_integer(k->at.skip_to));
    if (k->at.bad > 0) ok &= 0 == json_object_set_new(m, "bad", json_integer(k->at.bad));
    ok &= 0 == json_object_set_new(m, "model", train_weights_of(r));
    ok &= 0 == json_object_set_new(m, "optimizer", json_string(r->c->optimizer));
    ok &= 0 == json_object_set_new(m, "files", files);
    ok &= 0 == json_object_set_new(m, "kinds", kinds);
    ok &= 0 == json_object_set_new(m, "tensors", tensors);
    ok &= 0 == json_object_set_new(m, "slices", slices);
    if (ok && train_manifest_digest(m, hex) && json_object_set_new(m, "seal", json_string(hex)) == 0)
        return m;
    json_decref(m);
    return NULL;
}

/* Rank 0: manifest, sync, name. */
static tn_status directory_seal(checkpointer *k, checkpoint_seal seal, void *arg, tn_error *err)
{
    tn_status status = TN_OK;
    tn_digest root;
    json_t   *m = NULL;
    char     *manifest = NULL, *final = NULL;

    TN_GOTO(slices_root(&k->r->p, k->all, k->n_all, &root, err));
    if (seal != NULL) TN_GOTO(seal(arg, k->at.step, &root, err));
    manifest = tn_strf("%s/manifest.json", k->tmp);
    final = tn_strndup(k->tmp, strlen(k->tmp) - strlen(".tmp"));
    m = manifest_make(k, &root);
    if (manifest == NULL || final == NULL || m == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a manifest");
        goto out;
    }
    TN_GOTO(tn_json_save(manifest, m, false, err));
    TN_GOTO(tn_fsync_dir(k->tmp, err));
    if (train_fault("kill-naming", k->at.step, 0)) raise(SIGKILL);
    if (tn_exists(final) && !train_checkpoint_is(final)) train_put_aside(final);
    TN_GOTO(tn_remove_tree(final, err)); /* one of before a policy went back */
    TN_GOTO(tn_rename(k->tmp, final, err));
    TN_GOTO(tn_fsync_dir(k->r->io->out, err));
    if (train_fault("kill-named", k->at.step, 0)) raise(SIGKILL);
out:
    json_decref(m);
    free(manifest);
    free(final);
    return status;
}

tn_status train_checkpoint_finish(checkpointer *k, checkpoint_seal seal, void *arg, tn_error *err)
{
    tn_status status;
    if (!k->busy) return TN_OK;
    for (struct timespec until = in_a_second();
         !k->joined && pthread_timedjoin_np(k->thread, NULL, &until) == ETIMEDOUT; until = in_a_second())
        train_alive(k->r); /* a slow disk is no hang */
    k->joined = true;
    k->busy = false;
    free(k->copy);
    k->copy = NULL;
    if ((status = k->status) != TN_OK && err != NULL) *err = k->error;
    status = tn_dist_agree(k->r->dist, status, err);
    if (status == TN_OK) status = hashes_collect(k, err);
    if (status == TN_OK && k->r->rank == 0) status = directory_seal(k, seal, arg, err);
    status = tn_dist_agree(k->r->dist, status, err);
    if (status == TN_OK) return TN_OK;
    if (k->r->rank == 0) tn_remove_tree(k->tmp, NULL); /* the space is needed: only whole checkpoints stay */
    int64_t whole = 0;
    train_checkpoint_newest(k->r->io->out, INT64_MAX, &whole, NULL);
    char text[sizeof err->msg];
    snprintf(text, sizeof text, "%.800s", err != NULL ? err->msg : "");
    if (whole > 0)
        return tn_fail(err, status,
                       "step %lld: cannot write checkpoint: %s. The newest whole checkpoint is step %lld. "
                       "Free space or mend the cause, "
                       "then run the same command.",
                       (long long)k->at.step, text, (long long)whole);
    return tn_fail(err, status,
                   "step %lld: cannot write checkpoint: %s. There is no whole checkpoint yet. Free space or "
                   "mend the cause, then run the same command.",
                   (long long)k->at.step, text);
}

/* Flat elements from the run itself: a root without writing. */
tn_status train_checkpoint_root(run *r, tn_digest *root, tn_error *err)
{
    int           n_kind = 1 + r->opt.n_state;
    int64_t       n = cut(&r->p, n_kind, 0, r->p.n_flat, 0, NULL);
    slice        *list = malloc((size_t)(n + 1) * sizeof *list);
    tn_hash_span *spans = malloc((size_t)(n + 1) * sizeof *spans);
    tn_digest    *sha = malloc((size_t)(n + 1) * sizeof *sha);
    tn_status     status = TN_OK;
    if (list == NULL || spans == NULL || sha == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %lld digests", (long long)n);
        goto out;
    }
    cut(&r->p, n_kind, 0, r->p.n_flat, 0, list);
    for (int64_t i = 0; i < n; i++)
        spans[i] = (tn_hash_span){ slice_live(r, &list[i]), (size_t)list[i].n * 4 };
    TN_GOTO(tn_sha256_spans(spans, (size_t)n, sha, err));
    for (int64_t i = 0; i < n; i++) list[i].sha = sha[i];
    status = slices_root(&r->p, list, n, root, err);
out:
    free(list);
    free(spans);
    free(sha);
    return status;
}
