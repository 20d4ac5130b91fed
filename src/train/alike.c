/* alike.c - do all ranks train the same thing? Each is started with a configuration of its own, and one that
 * differs would give a wrong sum, or wait for ever for messages that nobody sends. So the options are
 * compared before anything else, and what was read before the first step.
 *
 *   a hash of each option's value (of a path: only whether there is one) ──→ everybody ──→ the first option that differs, by name */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

/* The first rank whose n numbers are not rank 0's, and the place of the first difference; -1: all are
 * alike. */
static tn_status first_difference(run *r, const uint64_t *mine, size_t n, int *rank, size_t *at,
                                  tn_error *err)
{
    uint64_t *all = malloc((size_t)r->size * n * sizeof *all);
    tn_status status;

    *rank = -1;
    if (all == NULL) return tn_fail(err, TN_NOMEM, "no memory to compare ranks");
    status = tn_dist_gather(r->dist, mine, n * sizeof *mine, all, err);
    for (int o = 1; status == TN_OK && o < r->size && *rank < 0; o++)
        for (*at = 0; *at < n; ++*at)
            if (all[(size_t)o * n + *at] != all[*at]) {
                *rank = o;
                break;
            }
    free(all);
    return status;
}

tn_status train_ranks_alike(run *r, tn_error *err)
{
    json_t   *o;
    size_t    n = 0, at;
    int       rank;
    tn_status status;

    if (r->size == 1) return TN_OK;
    while (tn_train_options[n].key != NULL) n++;
    uint64_t keys = n;
    for (size_t i = 0; i < n; i++)
        keys = keys * 31 + tn_hash64(tn_train_options[i].key, strlen(tn_train_options[i].key));
    TN_TRY(first_difference(r, &keys, 1, &rank, &at, err));
    if (rank >= 0)
        return tn_fail(err, TN_MISMATCH,
                       "rank %d is another version of tenet than rank 0: install the same on all hosts",
                       rank);
    uint64_t *hash = calloc(n + 1, sizeof *hash);
    if (hash == NULL || (o = tn_options_json(r->c, tn_train_options)) == NULL) {
        free(hash);
        return tn_fail(err, TN_NOMEM, "no memory to compare ranks");
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_object_get(o, tn_train_options[i].key);
        bool empty = v == NULL || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0) ||
                     (json_is_array(v) && json_array_size(v) == 0);
        /* Where things lie may differ from host to host; their content is compared by the digests in the
         * run's description. */
        char *text = tn_train_place(tn_train_options[i].key) != NULL
                         ? tn_strdup(empty ? "" : "a place")
                         : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
        if (text != NULL) hash[i] = tn_hash64(text, strlen(text));
        free(text);
    }
    json_decref(o);
    hash[n] = (uint64_t)r->io->profile;
    status = first_difference(r, hash, n + 1, &rank, &at, err);
    free(hash);
    if (status == TN_OK && rank >= 0)
        status = tn_fail(err, TN_USAGE,
                         "%s of rank %d is not that of rank 0: start all ranks with the same configuration",
                         at < n ? tn_train_options[at].key : "--profile", rank);
    return status;
}

tn_status train_ranks_read_alike(run *r, const tn_digest *genesis, tn_error *err)
{
    uint64_t mine[TN_SHA256_BYTES / 8];
    size_t   at;
    int      rank;

    if (r->size == 1) return TN_OK;
    memcpy(mine, genesis->b, sizeof mine);
    TN_TRY(first_difference(r, mine, sizeof mine / sizeof *mine, &rank, &at, err));
    return rank < 0 ? TN_OK
                    : tn_fail(err, TN_USAGE,
                              "rank %d has read other inputs than rank 0 (model, adapter, tokenizer, "
                              "reference or checkpoint): name the same files on "
                              "all hosts",
                              rank);
}

tn_status train_ranks_see(const char *out, tn_error *err)
{
    char     *path = tn_path(out, "lock");
    tn_status status = path == NULL ? tn_fail(err, TN_NOMEM, "no memory for a path") : TN_OK;

    if (status == TN_OK && !tn_exists(path))
        status = tn_fail(err, TN_NOTFOUND,
                         "%s is not what rank 0 writes into: all ranks need the same folder as --out", out);
    free(path);
    return status;
}
