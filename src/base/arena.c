/* arena.c - memory by lifetime (see arena.h).
 *
 *   base                                        base + used            base + cap
 *   | block 0 (64-aligned) | block 1 | ... | block n |   never touched   |
 *
 * A counting arena has base NULL and cap SIZE_MAX: the same calls move `used` alone. Under AddressSanitizer
 * every block is followed by 64 poisoned bytes, and memory that was given back is filled with 0xff (a NaN in
 * every float type) and poisoned, so that a use after the lifetime is found at once. */
#include "base/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
enum { REDZONE = 64 };
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
enum { REDZONE = 0 };
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 64 };

tn_status tn_arena_init(tn_arena *a, size_t cap, tn_error *err)
{
    void *p;

    memset(a, 0, sizeof *a);
    if (cap == 0) cap = ALIGN; /* mmap refuses a length of 0; an empty arena is fine */
    p = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return tn_fail(err, TN_NOMEM,
                       "no address space for an arena of %zu bytes: %s; raise this process's limit (ulimit "
                       "-v), or ask for less",
                       cap, strerror(errno));
    (void)madvise(p, cap, MADV_HUGEPAGE); /* fewer TLB misses; only a wish */
    a->base = p;
    a->cap = cap;
    POISON(a->base, a->cap);
    return TN_OK;
}

void tn_arena_free(tn_arena *a)
{
    if (a->base != NULL) {
        UNPOISON(a->base, a->cap);
        munmap(a->base, a->cap);
    }
    memset(a, 0, sizeof *a);
}

void *tn_arena_get(tn_arena *a, size_t n, size_t size)
{
    size_t bytes, start, end;
    void  *p;

    if (a->full) return NULL;
    if (!tn_add_size(a->used, ALIGN - 1, &start) || !tn_mul_size(n, size, &bytes) ||
        !tn_add_size(bytes, REDZONE, &bytes)) {
        a->full = true;
        return NULL;
    }
    start &= ~(size_t)(ALIGN - 1);
    if (!tn_add_size(start, bytes, &end) || end > a->cap) {
        a->full = true;
        return NULL;
    }
    a->used = end;
    if (a->base == NULL) return NULL;
    p = a->base + start;
    UNPOISON(p, bytes - REDZONE);
    return p;
}

void tn_pages_drop(void *p, size_t n)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t       begin = ((uintptr_t)p + page - 1) & ~(page - 1), end = ((uintptr_t)p + n) & ~(page - 1);

    if (begin < end) (void)madvise((uint8_t *)p + (begin - (uintptr_t)p), end - begin, MADV_DONTNEED);
}

void tn_pages_zero(void *p, size_t n)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t       at = (uintptr_t)p, begin = (at + page - 1) & ~(page - 1), end = (at + n) & ~(page - 1);

    if (begin >= end || madvise((uint8_t *)p + (begin - at), end - begin, MADV_DONTNEED) != 0) {
        memset(p, 0, n);
        return;
    }
    memset(p, 0, begin - at);
    memset((uint8_t *)p + (end - at), 0, at + n - end);
}
