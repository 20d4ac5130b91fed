/* teacher.c - the teacher of rows whose target is a distribution (data.h, "distill"): who it is, what it
 * says.
 *
 *   packs  →  which samples hold taught rows, and the place of each  →  one forward pass of the teacher over these samples
 *   →  its last hidden states, in a nameless file of the run's directory  →  the out rows of a micro-batch
 *
 * The teacher is the model as it was before the first step, or another one with the same vocabulary
 * (reference). Its hidden state and its head give its whole distribution, so nothing is cut to the likeliest
 * tokens, and n_embd numbers are kept a row. They are a pure function of teacher and data: a run that goes on
 * finds them in OUT (said.c), and a replay makes those of the steps that it repeats. */
#include "train/run.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

static tn_status sample_note(teacher *t, int source, int64_t index, size_t *cap, tn_error *err)
{
    if ((size_t)t->n_sample == *cap) {
        size_t         bigger = *cap ? *cap * 2 : 256;
        taught_sample *more = realloc(t->sample, bigger * sizeof *more);
        if (more == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu samples that are taught", bigger);
        t->sample = more;
        *cap = bigger;
    }
    t->sample[t->n_sample++] = (taught_sample){ source, index, t->n, true };
    return TN_OK;
}

static tn_status source_place(corpus *k, int source, tn_row_set *rows, size_t *cap, tn_error *err)
{
    teacher *t = &k->teacher;
    int64_t  n_token = tn_shard_n_token(k->shard[source]);
    bool     any = false;

    for (int64_t d = 0; d < tn_shard_n_doc(k->shard[source]) && !any; d++)
        any = tn_shard_doc_at(k->shard[source], d).taught;
    if (!any) return TN_OK;
    if ((t->at[source] = malloc((size_t)n_token * sizeof **t->at)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the places of %lld tokens", (long long)n_token);
    for (int64_t i = 0; i < n_token; i++) t->at[source][i] = -1;
    for (int64_t s = 0; s < tn_pack_n(k->pack[source]); s++) {
        int64_t before = t->n;
        tn_row_set_clear(rows);
        tn_row_set_add_taught(rows, k->shard[source], k->pack[source], s);
        for (int64_t i = 0; i < rows->n; i++) {
            if (rows->taught[i] < 0) continue;
            if (before == t->n) TN_TRY(sample_note(t, source, s, cap, err));
            if (t->n == INT32_MAX) return tn_fail(err, TN_LIMIT, "more than %d tokens are taught", INT32_MAX);
            t->at[source][rows->taught[i]] = (int32_t)t->n++;
        }
    }
    return TN_OK;
}

tn_status train_teacher_place(corpus *k, int64_t n_ctx, tn_error *err)
{
    tn_status  status = TN_OK;
    tn_row_set rows = { 0 };
    size_t     cap = 0;

    if (k->pairs) return TN_OK;
    TN_GOTO(tn_row_set_init(&rows, n_ctx, err));
    for (int i = 0; i < k->n_source; i++) TN_GOTO(source_place(k, i, &rows, &cap, err));
out:
    tn_row_set_free(&rows);
    return status;
}

void train_teacher_close(teacher *t)
{
    for (int i = 0; i < TN_MIX_MAX; i++) free(t->at[i]);
    if (t->hidden != NULL) munmap(t->hidden, (size_t)t->n * (size_t)t->width * sizeof *t->hidden);
    free(t->sample);
    *t = (teacher){ 0 };
}

/* Memory that the system may write to the disk of the run's directory. */
static tn_status hidden_map(teacher *t, const char *dir, tn_error *err)
{
    size_t    bytes = (size_t)t->n * (size_t)t->width * sizeof *t->hidden;
    char     *path = tn_strf("%s/teacher.XXXXXX", dir);
    int       fd = path != NULL ? mkstemp(path) : -1;
    tn_status status = TN_OK;

    if (fd < 0 || unlink(path) != 0 || posix_fallocate(fd, 0, (off_t)bytes) != 0) {
        status = tn_fail(
            err, TN_IO,
            "%s: no room for the teacher's hidden states (%zu MB); free space there, or teach fewer rows",
            dir, bytes >> 20);
        goto out;
    }
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        status = tn_fail(err, TN_NOMEM, "%s: cannot map %zu MB for the teacher's hidden states", dir,
                         bytes >> 20);
    else t->hidden = p;
out:
    if (fd >= 0) close(fd);
    free(path);
    return status;
}

static int by_place(const void *a, const void *b)
{
    const taught_sample *x = a, *y = b;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

void train_teacher_limit(corpus *k, int64_t first, int64_t n)
{
    teacher *t = &k->teacher;
    for (int64_t i = 0; i < t->n_sample; i++) t->sample[i].wanted = false;
    for (int64_t i = 0; i < n; i++) {
        taught_sample key = { 0 }, *found;
        tn_mix_at(&k->mix, (uint64_t)(first + i), &key.source, &key.index);
        found = bsearch(&key, t->sample, (size_t)t->n_sample, sizeof key, by_place);
        if (found != NULL) found->wanted = true;
    }
}

/* Taught rows of sample i, and where they begin among all. */
static int64_t sample_first(const teacher *t, int64_t i)
{
    return i < t->n_sample ? t->sample[i].first : t->n;
}

/* The taught documents of sample *i and of as many after it, up to `last`, as the micro-batch holds; *i: the
 * first that is not in. */
static void samples_fill(micro *b, const corpus *k, int64_t *i, int64_t last)
{
    tn_row_set *r = &b->rows;
    tn_row_set_clear(r);
    for (; *i < last && k->teacher.sample[*i].wanted; ++*i) {
        const taught_sample *s = &k->teacher.sample[*i];
        if (r->n > 0 && r->n + tn_pack_taught(k->pack[s->source], s->index) > k->rows_max) break;
        tn_row_set_add_taught(r, k->shard[s->source], k->pack[s->source], s->index);
    }
    b->n_out = 0;
    for (int64_t t = 0; t < r->n; t++)
        if (r->taught[t] >= 0) b->out_row[b->n_out++] = (int32_t)t;
}

static tn_status hidden_share(run *r, teacher *t, tn_error *err)
{
    tn_dist_message *send = calloc((size_t)r->size, sizeof *send),
                    *recv = calloc((size_t)r->size, sizeof *recv);
    int64_t   first, last;
    int       n = 0;
    tn_status status = TN_OK;

    if (send == NULL || recv == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to exchange the teacher's hidden states");
        goto out;
    }
    tn_dist_share(t->n_sample, r->rank, r->size, &first, &last);
    for (int o = 0; o < r->size; o++) {
        int64_t a, z;
        if (o == r->rank) continue;
        tn_dist_share(t->n_sample, o, r->size, &a, &z);
        send[n] = (tn_dist_message){ o, t->hidden + sample_first(t, first) * t->width,
                                     (size_t)((sample_first(t, last) - sample_first(t, first)) * t->width) *
                                         sizeof *t->hidden };
        recv[n++] = (tn_dist_message){ o, t->hidden + sample_first(t, a) * t->width,
                                       (size_t)((sample_first(t, z) - sample_first(t, a)) * t->width) *
                                           sizeof *t->hidden };
    }
    TN_GOTO(tn_dist_exchange(r->dist, send, n, recv, n, err));
out:
    free(send);
    free(recv);
    return status;
}

tn_status train_teacher_fill(run *r, corpus *k, engine *e, const char *dir, tn_error *err)
{
    tn_status    status = TN_OK;
    teacher     *t = &k->teacher;
    micro        b = { 0 };
    int64_t      first, last, n = 0, done = 0;
    tn_progress *bar = NULL;

    for (int64_t i = 0; i < t->n_sample; i++) n += t->sample[i].wanted;
    if (n == 0) return hidden_map(t, dir, err);
    tn_dist_share(t->n_sample, r->rank, r->size, &first, &last);
    if (r->rank == 0 && !r->io->quiet)
        TN_TRY(tn_progress_start(&bar, "teacher", "samples", n / r->size, err));
    TN_GOTO(hidden_map(t, dir, err));
    TN_GOTO(train_micro_init(&b, k, 1, err));
    for (int64_t i = first; i < last;) {
        const float *hidden;
        float       *place = t->hidden + t->sample[i].first * t->width;
        if (!t->sample[i].wanted) {
            i++;
            continue;
        }
        done -= i;
        samples_fill(&b, k, &i, last);
        done += i;
        TN_GOTO(train_engine_hidden(e, &b, &hidden, err));
        memcpy(place, hidden, (size_t)(b.n_out * t->width) * sizeof *hidden);
        if (bar != NULL) tn_progress_set(bar, done, NULL);
        train_alive(r);
        TN_GOTO(tn_interrupted(err));
    }
    if (r->size > 1) TN_GOTO(hidden_share(r, t, err));
out:
    tn_progress_end(bar);
    train_micro_free(&b);
    return status;
}
