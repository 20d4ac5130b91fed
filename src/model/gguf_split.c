/* gguf_split.c - a model in several GGUF files: NAME-00001-of-00003.gguf holds the metadata, the others more
 * tensors. */
#include "model/open.h"

#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SPLIT = 9999 };

/* Path of file i (from 1) of n, by the path of the first. made: free; NULL if the name does not follow the
 * rule. */
static char *sibling(const char *first, int64_t i, int64_t n)
{
    char   tail[40];
    size_t len = strlen(first);

    snprintf(tail, sizeof tail, "-%05d-of-%05" PRId64 ".gguf", 1, n);
    if (len < strlen(tail) || strcmp(first + len - strlen(tail), tail) != 0) return NULL;
    return tn_strf("%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf", (int)(len - strlen(tail)), first, i, n);
}

static tn_status open_one(tn_model *m, const char *path, int64_t i, int64_t n, tn_error *err)
{
    tn_gguf *g;
    int64_t  no, count;

    TN_TRY(tn_gguf_open(&g, path, err));
    m->gguf[m->n_gguf++] = g;
    TN_TRY(tn_gguf_int_or(g, "split.no", 0, MAX_SPLIT, 0, &no, err));
    TN_TRY(tn_gguf_int_or(g, "split.count", 0, MAX_SPLIT, 1, &count, err));
    if (no != i || count != n)
        return tn_fail(err, TN_MISMATCH,
                       "%s: says that it is part %" PRId64 " of %" PRId64 ", but part %" PRId64 " of %" PRId64
                       " is expected: "
                       "files of different models are mixed",
                       path, no + 1, count, i + 1, n);
    return TN_OK;
}

tn_status tn_open_gguf_files(tn_model *m, tn_error *err)
{
    tn_gguf *g;
    int64_t  no, n, said, n_tensor;

    TN_TRY(tn_gguf_open(&g, m->path, err));
    if ((m->gguf = calloc(1, sizeof *m->gguf)) == NULL) {
        tn_gguf_close(g);
        return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
    }
    m->gguf[m->n_gguf++] = g;
    TN_TRY(tn_gguf_int_or(g, "split.no", 0, MAX_SPLIT, 0, &no, err));
    TN_TRY(tn_gguf_int_or(g, "split.count", 0, MAX_SPLIT, 1, &n, err));
    if (n <= 1) return TN_OK;
    if (no != 0)
        return tn_fail(err, TN_USAGE,
                       "%s: is part %" PRId64 " of %" PRId64
                       ": open the first part, whose name ends in -00001-of-%05" PRId64 ".gguf",
                       m->path, no + 1, n, n);
    tn_gguf **list = realloc(m->gguf, (size_t)n * sizeof *list);
    if (list == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", m->path);
    m->gguf = list;
    for (int64_t i = 1; i < n; i++) {
        char *path = sibling(m->path, i + 1, n);
        if (path == NULL)
            return tn_fail(err, TN_USAGE,
                           "%s: is the first of %" PRId64
                           " files, whose names must end in -00001-of-%05" PRId64 ".gguf and so on",
                           m->path, n, n);
        tn_status s = open_one(m, path, i, n, err);
        free(path);
        TN_TRY(s);
    }
    n_tensor = 0;
    for (size_t i = 0; i < m->n_gguf; i++) n_tensor += (int64_t)m->gguf[i]->n_tensor;
    TN_TRY(tn_gguf_int_or(m->gguf[0], "split.tensors.count", 0, INT32_MAX, n_tensor, &said, err));
    if (said != n_tensor)
        return tn_fail(err, TN_MISMATCH,
                       "%s: says that the model has %" PRId64 " tensors, but its files hold %" PRId64,
                       m->path, said, n_tensor);
    return TN_OK;
}
