/* corpus.h - what is trained on: shards, packs, pairs, a teacher's words, and the samples of a micro-batch. Private to the room. */
#ifndef TN_TRAIN_CORPUS_H
#define TN_TRAIN_CORPUS_H

#include "train/train.h"

/* teacher.c: rows that learn a distribution. */
typedef struct taught_sample {
    int     source;
    int64_t index, first;
    bool    wanted;
} taught_sample;
typedef struct teacher {
    int64_t n, width; /* rows that are taught, of all sources; floats each */
    float  *hidden;   /* [n][width]: the teacher's last hidden states, mapped; NULL before the pass */
    /* [tokens of the source's shard] place in hidden, -1: not taught; NULL: none in this source */
    int32_t *at[TN_MIX_MAX];
    /* those that hold such rows, by source and index; first: place of the first one */
    taught_sample *sample;
    int64_t        n_sample;
} teacher;

typedef struct corpus {
    bool          pairs;
    tn_pref       pref;
    int           n_source;
    tn_shard     *shard[TN_MIX_MAX];
    tn_pack      *pack[TN_MIX_MAX];
    tn_pairs      pair;
    tn_reply     *mismatched; /* KTO: prompt i with the answer of pair i + 1; [pair.n] */
    int32_t      *mismatched_ids;
    float        *reference;    /* log-probabilities of every answer token by the reference */
    int64_t      *reference_at; /* [pair.n][3] where chosen, rejected, mismatched begin; then the end */
    teacher       teacher;
    tn_mix        mix;
    int64_t       n_sample;     /* of one epoch */
    int64_t       rows_longest; /* of one item */
    int64_t       rows_max;     /* the most rows that n_item items can have */
    int64_t       rows_sure;    /* so many some n_item items will have: the mean, or with weights the least */
    tn_data_stats stats;
    tn_digest     content;
} corpus;
/* USAGE where `out`, the run's folder, lies in a folder of its data: what the run writes would be data of the
 * same run's next start. */
tn_status train_corpus_apart(const tn_train_config *c, const char *out, tn_error *err);
/* Warns of a file that data names twice, or valid too. */
tn_status train_corpus_warn(const tn_train_config *c, tn_error *err);
/* Tokenises into dir (rank 0; the others wait and map). */
tn_status train_corpus_open(corpus *k, const tn_train_config *c, const char *list, const char *dir,
                            const char *prefix, tn_model *m, const tn_tokenizer *t, const tn_chat *chat,
                            int64_t n_item, tn_dist *dist, tn_error *err);
void      train_corpus_close(corpus *k);

/* The samples of one micro-batch. Only rows that have a target go through the head: out rows. */
typedef struct micro {
    tn_row_set rows;
    int64_t    n_out;                /* at least 1 */
    int32_t   *out_row, *out_target; /* [n_out] row, and its target (-1: none) */
    float     *out_weight;           /* [n_out] weight_16 / 65536 */
    /* [n_out] 1: learns the distribution of out_teacher's row; both NULL without a teacher */
    int32_t *out_taught;
    float   *out_teacher;    /* [n_out][width] */
    int64_t  n_item;         /* samples or pairs */
    uint64_t weight_16;      /* of its targets, or of its pairs, in 1/65536 */
    int64_t *source, *index; /* [n_item] */
    int64_t *start;          /* pairs: [n_item][3] first out row, -1: absent */
} micro;
tn_status train_micro_init(micro *b, const corpus *k, int64_t n_item, tn_error *err);
void      train_micro_free(micro *b);
/* The pair that is item i of the run. */
int64_t train_pair_at(const corpus *k, uint64_t i);
/* Items first .. first + n of the run. */
void train_micro_fill(micro *b, const corpus *k, int64_t first, int64_t n);

#endif
