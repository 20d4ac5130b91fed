/* arena.h - memory by lifetime: laid out once, before the loop, by code that can also just count.
 *
 * The same layout function runs twice: on a counting arena (base NULL, cap SIZE_MAX) to learn the size, then
 * on a real one. An arena block is never freed alone; a lifetime ends with tn_arena_free. When an arena is
 * full, TN_NEW returns NULL and `full` is set: check once, after the layout. */
#ifndef TN_BASE_ARENA_H
#define TN_BASE_ARENA_H

#include "base/err.h"

typedef struct tn_arena {
    uint8_t *base; /* NULL: counting only */
    size_t   cap;
    size_t   used;
    bool     full;
} tn_arena;

/* 64-byte aligned, zero-filled memory of `cap` bytes (mmap: pages are touched when used). NOMEM. */
tn_status tn_arena_init(tn_arena *a, size_t cap, tn_error *err);
void      tn_arena_free(tn_arena *a);
/* n elements of `size` bytes, 64-byte aligned; overflow counts as full. A counting arena returns NULL and
 * counts. */
void *tn_arena_get(tn_arena *a, size_t n, size_t size);

#define TN_NEW(a, type, n) ((type *)tn_arena_get((a), (size_t)(n), sizeof(type)))

/* The pages that lie whole in [p, p + n) go back to the system and cost nothing until they are used again;
 * then private memory reads as zeros, a mapped file as it is. */
void tn_pages_drop(void *p, size_t n);
/* [p, p + n) becomes zeros: whole pages as above, the rest by writing. */
void tn_pages_zero(void *p, size_t n);

/* a*b and a+b with overflow check: false if it would overflow. */
static inline bool tn_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool tn_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

#endif
