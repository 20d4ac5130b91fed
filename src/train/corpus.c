/* corpus.c - the data of a run: shards and packs, or pairs, and the rows of a micro-batch.
 * Item i of the run is a pure function of (seed, i); nothing is remembered between steps. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

/* Whether folder `out`, which need not be there yet, is folder `data` or lies in it. */
static tn_status lies_inside(bool *inside, const char *out, const char *data, tn_error *err)
{
    char *at = tn_strdup(out), *real, *real_data = realpath(data, NULL);

    while (at != NULL && at[0] != '\0' && !tn_exists(at)) { /* what is there of it */
        char *slash = strrchr(at, '/');
        if (slash == at && at[1] != '\0') slash++;
        *(slash != NULL ? slash : at) = '\0';
    }
    real = at != NULL ? realpath(at[0] != '\0' ? at : ".", NULL) : NULL;
    tn_status status = at == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;
    size_t    n = real_data != NULL ? strlen(real_data) : 0;
    *inside = real != NULL && n > 0 && strncmp(real, real_data, n) == 0 &&
              (n == 1 || real[n] == '/' || real[n] == '\0');
    free(at);
    free(real);
    free(real_data);
    return status;
}

tn_status train_corpus_apart(const tn_train_config *c, const char *out, tn_error *err)
{
    tn_status   status = TN_OK;
    const char *lists[] = { c->data, c->valid }, *item;
    char       *file = NULL;
    size_t      n;

    for (int k = 0; k < 2; k++)
        while (tn_list_next(&lists[k], &item, &n)) {
            bool inside = false;
            free(file);
            if ((file = tn_strndup(item, n)) == NULL)
                return tn_fail(err, TN_NOMEM, "no memory for the name of a file");
            if (tn_is_dir(file)) TN_GOTO(lies_inside(&inside, out, file, err));
            if (!inside) continue;
            status = tn_fail(err, TN_USAGE,
                             "%s, where the run would write, lies inside the data folder %s: it would train "
                             "on its own files, and never go on; choose an "
                             "--out outside, or name the files themselves",
                             out, file);
            goto out;
        }
out:
    free(file);
    return status;
}

/* A pipe can be read once and data are read more often, to see what they are; without somebody who writes it,
 * reading it never ends. */
static tn_status files_check(char **files, int n_file, tn_error *err)
{
    struct stat st;

    for (int i = 0; i < n_file; i++)
        if (stat(files[i], &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
            return tn_fail(
                err, TN_IO,
                "%s is a pipe or a device; data are a file or a folder: write it into a file first",
                files[i]);
    return TN_OK;
}

/* A file that is named twice counts twice; held-out data that are trained on tell nothing. By what the names
 * stand for. */
tn_status train_corpus_warn(const tn_train_config *c, tn_error *err)
{
    size_t      n_file = 0, n_valid = 0;
    char      **files = tn_list_split(c->data, &n_file), **valid = tn_list_split(c->valid, &n_valid);
    struct stat a, b;
    tn_status   status = files != NULL && valid != NULL
                             ? TN_OK
                             : tn_fail(err, TN_NOMEM, "no memory for the list of files");

    for (size_t i = 0; status == TN_OK && i < n_file; i++) {
        if (stat(files[i], &a) != 0) continue;
        for (size_t k = 0; k < i; k++)
            if (stat(files[k], &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
                tn_log(TN_LOG_WARN, "data names %s twice: what it holds is trained twice an epoch", files[i]);
        for (size_t k = 0; k < n_valid; k++)
            if (stat(valid[k], &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
                tn_log(TN_LOG_WARN,
                       "valid and data both name %s: a validation on what is trained does not tell what the "
                       "model learns of other texts",
                       files[i]);
    }
    free(files);
    free(valid);
    return status;
}

static tn_data_format format_of(const char *name)
{
    return strcmp(name, "text") == 0    ? TN_DATA_TEXT
           : strcmp(name, "jsonl") == 0 ? TN_DATA_JSONL
           : strcmp(name, "chat") == 0  ? TN_DATA_CHAT
                                        : TN_DATA_AUTO;
}

/* ----------------------------------------------------------------------------------------- text and chats */

static tn_status shard_make(const char *path, const char *source, const tn_data_options *o,
                            const tn_digest *tokenizer, int64_t n_vocab, tn_data_stats *stats, tn_error *err)
{
    tn_shard_writer *w = NULL;
    TN_TRY(tn_shard_create(&w, path, tokenizer, n_vocab, err));
    tn_status status = tn_data_tokenise(w, source, o, stats, err);
    if (status != TN_OK) {
        tn_shard_abandon(w);
        return status;
    }
    return tn_shard_commit(w, err);
}

static int shorter(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The most rows that n_item items in a row can have. They may lie across the border of two epochs, so the
 * longest one can be among them twice, and more often where they are more than the shortest epoch (n_min): of
 * all the data, or with weights that of the smallest source. */
static tn_status rows_max_find(corpus *k, int64_t *size, int64_t n, int64_t n_item, int64_t n_min,
                               bool weighted)
{
    int64_t often = 2 + (n_item - 1) / n_min, all = 0;

    qsort(size, (size_t)n, sizeof *size, shorter);
    k->rows_longest = size[0];
    k->rows_max = 0;
    for (int64_t i = 0; i < n_item; i++) k->rows_max += size[i / often < n ? i / often : n - 1];
    for (int64_t i = 0; i < n; i++) all += size[i];
    k->rows_sure = n_item * (weighted ? size[n - 1] : all / n);
    free(size);
    return TN_OK;
}

/* Why no sample came of a source. Conversations in which the assistant says nothing are not in the shard. */
static tn_status nothing_to_learn(const tn_shard *s, const char *source, bool chat, tn_error *err)
{
    bool words = false, weight = false;
    for (int64_t d = 0; d < tn_shard_n_doc(s); d++) {
        tn_shard_doc doc = tn_shard_doc_at(s, d);
        words |= doc.n >= 2;
        weight |= doc.n >= 2 && doc.weight_16 > 0;
    }
    if (words && !weight)
        return tn_fail(err, TN_FORMAT, "%s has nothing to learn: every row has \"weight\" 0", source);
    if (words)
        return tn_fail(err, TN_FORMAT, "%s has nothing to learn: its mask leaves out every token", source);
    return tn_fail(err, TN_FORMAT, "%s has nothing to learn: no document of at least two tokens%s", source,
                   chat ? ", or no assistant turn within n_ctx" : "");
}

/* data_weights, which are for what is trained; *weighted false: none are given. */
static tn_status weights_read(const tn_train_config *c, bool train, int n_file, double weights[TN_MIX_MAX],
                              bool *weighted, tn_error *err)
{
    size_t    n_word = 0;
    char    **words = tn_list_split(c->data_weights, &n_word);
    tn_status status = words != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for data_weights");

    *weighted = train && n_word > 0;
    if (status == TN_OK && *weighted && n_word != (size_t)n_file)
        status = tn_fail(err, TN_USAGE, "%zu data_weights for %d sources in data", n_word, n_file);
    if (status == TN_OK && *weighted && n_file == 1)
        status = tn_fail(err, TN_USAGE,
                         "data_weights share the draws out among several sources, and data names one: leave "
                         "data_weights out");
    if (status == TN_OK && *weighted && n_file > TN_MIX_MAX)
        status = tn_fail(err, TN_USAGE,
                         "%d data sources; at most %d can have data_weights (a directory counts as one)",
                         n_file, TN_MIX_MAX);
    for (size_t i = 0; *weighted && status == TN_OK && i < n_word; i++)
        if (!tn_parse_f64(words[i], &weights[i]))
            status = tn_fail(err, TN_USAGE, "data_weights: '%s' is no number", words[i]);
    free(words);
    return status;
}

static tn_status mix_make(corpus *k, const tn_train_config *c, const int64_t *n_sample, const double *weights,
                          int n, tn_error *err)
{
    tn_status status = tn_mix_init(&k->mix, n_sample, weights, n, (uint64_t)c->seed, c->shuffle, err);
    return status != TN_OK && weights != NULL ? tn_fail_prefix(err, status, "data_weights") : status;
}

/* Samples of the smallest source that is walked through by itself; of all where they are as one. */
static int64_t smallest(const tn_mix *m)
{
    int64_t n = m->weighted ? m->n_sample[0] : m->n_total;
    for (int i = 1; m->weighted && i < m->n_source; i++)
        if (m->n_sample[i] < n) n = m->n_sample[i];
    return n;
}

static tn_status samples_open(corpus *k, const tn_train_config *c, char **files, int n_file, const char *dir,
                              const char *prefix, tn_model *m, const tn_tokenizer *t, const tn_chat *chat,
                              int64_t n_item, tn_dist *dist, tn_error *err)
{
    tn_digest    tokenizer = { { 0 } };
    tn_pack_kind pack;
    int64_t n_sample[TN_MIX_MAX] = { 0 }, n_vocab = tn_model_hparams(m)->n_vocab, total = 0, at = 0, *size;
    double  weights[TN_MIX_MAX];
    bool    weighted;
    tn_data_stats undrawn = { 0 };
    tn_status     status = TN_OK;

    if (n_file > TN_MIX_MAX)
        return tn_fail(err, TN_USAGE, "%d data sources; at most %d (a directory counts as one)", n_file,
                       TN_MIX_MAX);
    if (!tn_pack_parse(c->pack, &pack))
        return tn_fail(err, TN_USAGE, "pack is '%s'; greedy, best-fit and none are known", c->pack);
    TN_TRY(weights_read(c, strcmp(prefix, "train") == 0, n_file, weights, &weighted, err));
    if (t != NULL) tn_tokenizer_digest(t, &tokenizer);
    for (int i = 0; t == NULL && i < n_file; i++)
        if (!tn_shard_is(files[i]))
            return tn_fail(err, TN_NOTFOUND,
                           "%s: the model has no tokenizer to read text with; give token shards (.tns)",
                           files[i]);
    tn_data_options o = { t, chat, format_of(c->format), c->n_ctx, c->train_prompt };
    for (int i = 0; i < n_file; i++) {
        /* A source that is never drawn teaches nothing, whatever it holds. A file that is a shard already is
         * mapped where it lies. */
        tn_data_stats *stats = weighted && weights[i] == 0 ? &undrawn : &k->stats;
        bool           made = tn_ends_with(files[i], ".tns") || tn_shard_is(files[i]);
        char          *path = made ? tn_strdup(files[i]) : tn_strf("%s/%s-%d.tns", dir, prefix, i);
        if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
        if (tn_dist_rank(dist) == 0 && !made)
            status = shard_make(path, files[i], &o, &tokenizer, n_vocab, stats, err);
        status = tn_dist_agree(dist, status, err);
        if (status == TN_OK) status = tn_shard_open(&k->shard[i], path, &tokenizer, err);
        free(path);
        if (status != TN_OK) return status;
        TN_TRY(tn_shard_check_ids(k->shard[i], files[i], n_vocab, err));
        if (made && tn_dist_rank(dist) == 0) {
            stats->n_doc += tn_shard_n_doc(k->shard[i]);
            stats->n_token += tn_shard_n_token(k->shard[i]);
        }
        k->n_source = i + 1;
        TN_TRY(tn_pack_create(&k->pack[i], k->shard[i], c->n_ctx, pack, err));
        n_sample[i] = tn_pack_n(k->pack[i]);
        if (n_sample[i] == 0) return nothing_to_learn(k->shard[i], files[i], chat != NULL, err);
        total += n_sample[i];
    }
    TN_TRY(tn_dist_broadcast(dist, 0, &k->stats, sizeof k->stats, err));
    TN_TRY(mix_make(k, c, n_sample, weighted ? weights : NULL, n_file, err));
    k->n_sample = total;
    if ((size = malloc((size_t)total * sizeof *size)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %lld samples", (long long)total);
    for (int i = 0; i < n_file; i++)
        for (int64_t s = 0; s < n_sample[i]; s++, at++) {
            int64_t         n_piece;
            const tn_piece *piece = tn_pack_sample(k->pack[i], s, &n_piece);
            size[at] = 0;
            for (int64_t q = 0; q < n_piece; q++) size[at] += piece[q].n;
        }
    return rows_max_find(k, size, total, n_item, smallest(&k->mix), weighted);
}

/* -------------------------------------------------------------------------------------------------- pairs */

/* KTO's z wants answers that belong to other prompts: the answer of the next pair, in the order of the
 * files. */
static tn_status mismatched_make(corpus *k, tn_error *err)
{
    int64_t n = k->pair.n;
    size_t  total = 0, at = 0;
    k->mismatched = calloc((size_t)n, sizeof *k->mismatched);
    if (k->mismatched == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %lld mismatched answers", (long long)n);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < n; i++) {
            const tn_pair  *p = &k->pair.pair[i], *q = &k->pair.pair[(i + 1) % n];
            const tn_reply *mine = p->chosen.n > 0 ? &p->chosen : &p->rejected,
                           *other = q->chosen.n > 0 ? &q->chosen : &q->rejected;
            int32_t n_answer = other->n - other->n_prompt;
            if (pass == 0) {
                total += (size_t)(mine->n_prompt + n_answer);
                continue;
            }
            int32_t *ids = k->mismatched_ids + at;
            memcpy(ids, mine->ids, (size_t)mine->n_prompt * 4);
            memcpy(ids + mine->n_prompt, other->ids + other->n_prompt, (size_t)n_answer * 4);
            k->mismatched[i] = (tn_reply){ ids, mine->n_prompt + n_answer, mine->n_prompt };
            at += (size_t)(mine->n_prompt + n_answer);
        }
        if (pass == 0 && (k->mismatched_ids = malloc(total * 4)) == NULL)
            return tn_fail(err, TN_NOMEM, "no memory for %lld mismatched answers", (long long)n);
    }
    return TN_OK;
}

/* Room for the reference's log-probability of every answer token. */
static tn_status reference_place(corpus *k, tn_error *err)
{
    int64_t n = k->pair.n, at = 0;
    if ((k->reference_at = malloc((size_t)(3 * n + 1) * sizeof *k->reference_at)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %lld pairs", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const tn_reply *side[3] = { &k->pair.pair[i].chosen, &k->pair.pair[i].rejected,
                                    k->mismatched != NULL ? &k->mismatched[i] : NULL };
        for (int s = 0; s < 3; s++) {
            k->reference_at[3 * i + s] = at;
            if (side[s] != NULL) at += side[s]->n - side[s]->n_prompt;
        }
    }
    k->reference_at[3 * n] = at;
    if ((k->reference = calloc((size_t)at + 1, sizeof *k->reference)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %lld reference log-probabilities", (long long)at);
    return TN_OK;
}

static bool ends_with_stop(const tn_reply *a, const tn_chat *chat, const tn_tokenizer *t)
{
    return a->n > 0 && tn_chat_is_stop(chat, t, a->ids[a->n - 1]);
}

/* The pairs of each file; with weights each is a source, else all are one. */
static tn_status pairs_mix(corpus *k, const tn_train_config *c, char **files, int n_file,
                           const double *weights, tn_error *err)
{
    int64_t n_pair[TN_MIX_MAX];

    if (weights == NULL) return mix_make(k, c, &k->pair.n, NULL, 1, err);
    for (int i = 0; i < n_file; i++) {
        n_pair[i] = k->pair.first[i + 1] - k->pair.first[i];
        if (n_pair[i] == 0)
            return tn_fail(err, TN_FORMAT,
                           "%s has no usable pair to be drawn by data_weights: all are too long, have equal "
                           "sides or weight 0",
                           files[i]);
    }
    return mix_make(k, c, n_pair, weights, n_file, err);
}

static tn_status pairs_open(corpus *k, const tn_train_config *c, char **files, int n_file, const char *prefix,
                            const tn_tokenizer *t, const tn_chat *chat, int64_t n_item, tn_error *err)
{
    double   weights[TN_MIX_MAX];
    bool     weighted;
    int64_t *size;

    if (t == NULL) return tn_fail(err, TN_NOTFOUND, "the model has no tokenizer to read pairs with");

    TN_TRY(weights_read(c, strcmp(prefix, "train") == 0, n_file, weights, &weighted, err));
    tn_pref_parse(c->loss, &k->pref.kind);
    k->pairs = true;
    k->pref = (tn_pref){
        k->pref.kind,       c->beta,
        c->label_smoothing, c->gamma,
        c->alpha,           c->kto_good,
        c->kto_bad,         c->rpo_alpha > 0 ? c->rpo_alpha : k->pref.kind == TN_PREF_RPO ? c->alpha : 0
    };
    TN_TRY(tn_pairs_load(&k->pair, (const char *const *)files, n_file, t, chat, c->n_ctx, err));
    int64_t n = k->pair.n;
    for (int64_t i = 0; k->pref.kind != TN_PREF_KTO && i < n; i++)
        if (k->pair.pair[i].chosen.n == 0 || k->pair.pair[i].rejected.n == 0)
            return tn_fail(err, TN_FORMAT, "pair %lld has one side only; loss '%s' needs both (kto does not)",
                           (long long)i + 1, c->loss);
    for (int64_t i = 0; !tn_pref_takes_p(k->pref.kind) && i < n; i++)
        if (k->pair.pair[i].p != 1)
            return tn_fail(err, TN_FORMAT,
                           "pair %lld has the soft label p %g, and loss '%s' has no place for it: leave "
                           "\"p\" out of the rows, or choose dpo, simpo, dpo_norm, "
                           "r_dpo or rpo",
                           (long long)i + 1, (double)k->pair.pair[i].p, c->loss);
    if (k->pref.kind == TN_PREF_KTO) TN_TRY(mismatched_make(k, err));
    TN_TRY(reference_place(k, err));
    TN_TRY(pairs_mix(k, c, files, n_file, weighted ? weights : NULL, err));
    if ((size = malloc((size_t)n * sizeof *size)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for %lld pairs", (long long)n);
    k->n_sample = n;
    k->stats.n_doc = n;
    int source = 0;
    for (int64_t i = 0; i < n; i++) {
        const tn_pair *p = &k->pair.pair[i];
        size[i] = p->chosen.n + p->rejected.n + (k->mismatched != NULL ? k->mismatched[i].n : 0);
        k->stats.n_token += p->chosen.n + p->rejected.n;
        k->stats.n_target += (p->chosen.n - p->chosen.n_prompt) + (p->rejected.n - p->rejected.n_prompt);
        while (i >= k->pair.first[source + 1]) source++;
        if (chat == NULL || (weighted && weights[source] == 0)) continue;
        k->stats.n_chat += p->whole;
        k->stats.n_stop += ends_with_stop(&p->chosen, chat, t) || ends_with_stop(&p->rejected, chat, t);
    }
    k->stats.n_dropped = k->pair.n_overlong + k->pair.n_equal + k->pair.n_weightless;
    return rows_max_find(k, size, n, n_item, smallest(&k->mix), weighted);
}

tn_status train_corpus_open(corpus *k, const tn_train_config *c, const char *list, const char *dir,
                            const char *prefix, tn_model *m, const tn_tokenizer *t, const tn_chat *chat,
                            int64_t n_item, tn_dist *dist, tn_error *err)
{
    tn_status  status = TN_OK;
    char     **files = NULL;
    size_t     n_item_list = 0;
    int        n_file = 0;
    tn_sha256 *h = NULL;

    *k = (corpus){ 0 };
    if ((files = tn_list_split(list, &n_item_list)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the list of files");
        goto out;
    }
    n_file = (int)n_item_list;
    if (n_file == 0) {
        status = tn_fail(err, TN_USAGE, "no data file is named");
        goto out;
    }
    TN_GOTO(files_check(files, n_file, err));
    if (strcmp(c->loss, "sft") != 0) TN_GOTO(pairs_open(k, c, files, n_file, prefix, t, chat, n_item, err));
    else TN_GOTO(samples_open(k, c, files, n_file, dir, prefix, m, t, chat, n_item, dist, err));
    TN_GOTO(tn_sha256_create(&h, err));
    for (int i = 0; i < k->n_source; i++)
        tn_sha256_update(h, tn_shard_content(k->shard[i])->b, TN_SHA256_BYTES);
    if (k->pairs) tn_sha256_update(h, k->pair.content.b, TN_SHA256_BYTES);
    tn_sha256_final(h, &k->content);
out:
    tn_sha256_destroy(h);
    free(files);
    if (status != TN_OK) train_corpus_close(k);
    return status;
}

void train_corpus_close(corpus *k)
{
    for (int i = 0; i < TN_MIX_MAX; i++) {
        tn_pack_destroy(k->pack[i]);
        tn_shard_close(k->shard[i]);
    }
    tn_pairs_free(&k->pair);
    free(k->mismatched);
    free(k->mismatched_ids);
    free(k->reference);
    free(k->reference_at);
    train_teacher_close(&k->teacher);
    *k = (corpus){ 0 };
}

/* ------------------------------------------------------------------------------------------ micro-batches */

tn_status train_micro_init(micro *b, const corpus *k, int64_t n_item, tn_error *err)
{
    size_t n = (size_t)k->rows_max;
    *b = (micro){ 0 };
    TN_TRY(tn_row_set_init(&b->rows, k->rows_max, err));
    b->out_row = malloc(n * sizeof *b->out_row);
    b->out_target = malloc(n * sizeof *b->out_target);
    b->out_weight = malloc(n * sizeof *b->out_weight);
    b->source = malloc((size_t)n_item * sizeof *b->source);
    b->index = malloc((size_t)n_item * sizeof *b->index);
    b->start = malloc((size_t)n_item * 3 * sizeof *b->start);
    if (k->teacher.n > 0) {
        b->out_taught = malloc(n * sizeof *b->out_taught);
        b->out_teacher = calloc(n * (size_t)k->teacher.width, sizeof *b->out_teacher);
    }
    if ((k->teacher.n > 0 && (b->out_taught == NULL || b->out_teacher == NULL)) || b->out_row == NULL ||
        b->out_target == NULL || b->out_weight == NULL || b->source == NULL || b->index == NULL ||
        b->start == NULL) {
        train_micro_free(b);
        return tn_fail(err, TN_NOMEM, "no memory for a micro-batch of %lld rows", (long long)k->rows_max);
    }
    return TN_OK;
}

void train_micro_free(micro *b)
{
    tn_row_set_free(&b->rows);
    free(b->out_row);
    free(b->out_target);
    free(b->out_weight);
    free(b->out_taught);
    free(b->out_teacher);
    free(b->source);
    free(b->index);
    free(b->start);
    *b = (micro){ 0 };
}

int64_t train_pair_at(const corpus *k, uint64_t i)
{
    int     source;
    int64_t index;
    tn_mix_at(&k->mix, i, &source, &index);
    return k->pair.first[source] + index;
}

/* Adds an answer; its first out row is the number of answer rows so far. */
static int64_t side_add(tn_row_set *r, const tn_reply *a)
{
    int64_t start = r->n_target;
    if (a->n == 0) return -1;
    tn_row_set_add_answer(r, a);
    return start;
}

void train_micro_fill(micro *b, const corpus *k, int64_t first, int64_t n)
{
    tn_row_set *r = &b->rows;
    tn_row_set_clear(r);
    b->n_item = n;
    b->weight_16 = 0;
    for (int64_t i = 0; i < n; i++) {
        int     source;
        int64_t index;
        tn_mix_at(&k->mix, (uint64_t)(first + i), &source, &index);
        if (k->pairs) index = train_pair_at(k, (uint64_t)(first + i));
        b->source[i] = source;
        b->index[i] = index;
        if (!k->pairs) {
            int64_t start = r->n;
            tn_row_set_add_sample(r, k->shard[source], k->pack[source], index);
            for (int64_t t = start; t < r->n; t++) /* from its place in the shard to that among the taught */
                if (r->taught[t] >= 0) r->taught[t] = k->teacher.at[source][r->taught[t]];
            continue;
        }
        const tn_pair *p = &k->pair.pair[index];
        b->weight_16 += p->weight_16;
        b->start[3 * i] = side_add(r, &p->chosen);
        b->start[3 * i + 1] = side_add(r, &p->rejected);
        b->start[3 * i + 2] = k->mismatched != NULL ? side_add(r, &k->mismatched[index]) : -1;
    }
    if (!k->pairs) b->weight_16 = r->sum_weight_16;
    b->n_out = 0;
    for (int64_t i = 0; i < r->n; i++) {
        if (r->target[i] < 0 && !(i + 1 == r->n && b->n_out == 0)) continue;
        b->out_row[b->n_out] = (int32_t)i;
        b->out_target[b->n_out] = r->target[i];
        if (b->out_taught != NULL) {
            b->out_taught[b->n_out] = r->taught[i] >= 0;
            if (r->taught[i] >= 0 && k->teacher.hidden != NULL)
                memcpy(b->out_teacher + b->n_out * k->teacher.width,
                       k->teacher.hidden + r->taught[i] * k->teacher.width,
                       (size_t)k->teacher.width * sizeof *b->out_teacher);
        }
        b->out_weight[b->n_out++] = (float)r->weight_16[i] / 65536.0f;
    }
}
