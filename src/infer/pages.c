/* pages.c - the pages of the KV cache as a pool with counts: a page is shared by the sequences that begin
 * alike. */
#include "infer/engine_impl.h"

#include <inttypes.h>
#include <stdlib.h>

tn_status tn_pages_init(tn_pages *p, int64_t n, tn_error *err)
{
    *p = (tn_pages){ .n = n };
    p->count = calloc((size_t)n + 1, sizeof *p->count);
    p->free_list = calloc((size_t)n + 1, sizeof *p->free_list);
    if (p->count == NULL || p->free_list == NULL) {
        tn_pages_free(p);
        return tn_fail(err, TN_NOMEM, "no memory for the list of %" PRId64 " cache pages", n);
    }
    for (int64_t i = 0; i < n; i++) p->free_list[i] = (int32_t)(n - 1 - i);
    p->n_free = n;
    return TN_OK;
}

void tn_pages_free(tn_pages *p)
{
    free(p->count);
    free(p->free_list);
    *p = (tn_pages){ 0 };
}

int32_t tn_cache_page_take(tn_pages *p)
{
    if (p->n_free == 0) return -1;
    int32_t page = p->free_list[--p->n_free];
    p->count[page] = 1;
    if (page >= p->n_used) p->n_used = page + 1;
    return page;
}

void tn_cache_page_hold(tn_pages *p, int32_t page) { p->count[page]++; }

void tn_cache_page_drop(tn_pages *p, int32_t page)
{
    if (--p->count[page] == 0) p->free_list[p->n_free++] = page;
}

void tn_seq_release(tn_seq *s, tn_pages *pages)
{
    for (int64_t i = 0; i < s->n_page; i++) tn_cache_page_drop(pages, s->pages[i]);
    free(s->tokens);
    free(s->pages);
    *s = (tn_seq){ 0 };
}

int64_t tn_common_prefix(const int32_t *a, int64_t n_a, const int32_t *b, int64_t n_b)
{
    int64_t n = n_a < n_b ? n_a : n_b, i = 0;

    while (i < n && a[i] == b[i]) i++;
    return i;
}
