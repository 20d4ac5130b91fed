/* memo.h - answers known from before, by key: what a room may ask without knowing where they are kept.
 *
 * A memo is only for pure functions: the key is the hash of everything that the row depends on, so that
 * taking a row from the memo and computing it again give the same bytes. The store keeps the rows
 * (store/rows.c); infer asks (infer/memo.c). */
#ifndef TN_BASE_MEMO_H
#define TN_BASE_MEMO_H

#include "base/hash.h"
#include "base/json.h"

typedef struct tn_memo {
    /* The row of this key, borrowed until the memo is closed; NULL: not known. */
    const json_t *(*get)(void *arg, const tn_digest *key);
    /* Keeps a row; takes it (NULL is fine: nothing is kept). A row that cannot be kept is no error of the
     * work: it is computed again the next time. */
    void (*put)(void *arg, const tn_digest *key, json_t *row);
    void *arg;
    /* compute nothing: a row that is not known ends the work with TN_UNCHECKED, after counting */
    bool    count_only;
    int64_t n_row, n_known; /* rows asked for, rows that were known */
} tn_memo;

#endif
