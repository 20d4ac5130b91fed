/* weight_memory.c - where packed matrices lie: one after another in large mappings, of huge pages where that
 * pays.
 *
 *   mapping  [ matrix | matrix | matrix | ...                free, untouched ]     256 MiB of addresses, or one large matrix
 *
 * Decoding reads every matrix once a token, from memory. With pages of 4 KiB two threads then get 29 GB/s
 * where huge pages give 37 (measured on a Xeon, model 167): the core's own fetching ahead stops at the end of
 * a page. A matrix alone is too small for huge pages of its own. In a virtual machine a huge page may have to
 * be had from the host first: loading 540 MB of f32 took 1.0 s so, 0.2 s with pages that the system had at
 * hand, for 4 % of decoding. So codes lie in huge pages, plain numbers only in large matrices. Untouched
 * addresses cost nothing. A freed matrix gives its whole pages back at once; the mapping goes with its last
 * matrix. */
#include "tensor/weight_memory.h"

#include "base/arena.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, MAPPING = 256 << 20, LINE = 64, ASKED_EVERY = 32 << 20 };

struct tn_weight_mapping {
    uint8_t *memory, *begin;           /* as mapped; on a huge page */
    size_t   memory_bytes, size, used; /* size and used from begin on */
    int64_t  n_alive;                  /* matrices */
    bool     huge;
};

static pthread_mutex_t    lock = PTHREAD_MUTEX_INITIALIZER;
static tn_weight_mapping *newest[2]; /* of small and of huge pages: the one with room, alive; NULL: none */

static size_t unasked; /* given since the system was asked whether there is more */

/* Can `bytes` be filled? A model's matrices may all be small, so their sum decides when the system is asked. */
static bool is_there(size_t bytes)
{
    unasked += bytes;
    if (unasked < ASKED_EVERY) return true;
    unasked = 0;
    return bytes <= tn_memory_left();
}

static tn_weight_mapping *mapping_create(size_t size, bool huge)
{
    tn_weight_mapping *m = calloc(1, sizeof *m);

    if (m == NULL) return NULL;
    m->size = size;
    m->huge = huge;
    m->used = LINE; /* and before the first */
    m->memory_bytes = size + HUGE_PAGE;
    m->memory = mmap(NULL, m->memory_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->memory == MAP_FAILED) {
        free(m);
        return NULL;
    }
    m->begin = (uint8_t *)(((uintptr_t)m->memory + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    if (huge) (void)madvise(m->begin, size, MADV_HUGEPAGE); /* only advice: failing changes nothing */
    return m;
}

static void mapping_destroy(tn_weight_mapping *m)
{
    if (m == newest[m->huge]) newest[m->huge] = NULL;
    munmap(m->memory, m->memory_bytes);
    free(m);
}

void *tn_weight_memory_get(tn_weight_mapping **from, size_t bytes, bool huge)
{
    void *p = NULL;

    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + LINE - 1) / LINE * LINE + LINE; /* a line that belongs to nobody behind each */
    pthread_mutex_lock(&lock);
    tn_weight_mapping *m = newest[huge];
    if (!is_there(bytes)) m = NULL;
    else if (m == NULL || m->size - m->used < bytes)
        m = mapping_create(bytes + LINE > MAPPING ? bytes + LINE : MAPPING, huge);
    if (m != NULL) {
        p = m->begin + m->used;
        m->used += bytes;
        m->n_alive++;
        if (newest[huge] == NULL || m->size - m->used > newest[huge]->size - newest[huge]->used)
            newest[huge] = m;
        *from = m;
    }
    pthread_mutex_unlock(&lock);
    return p;
}

void tn_weight_memory_put(tn_weight_mapping *from, void *p, size_t bytes)
{
    pthread_mutex_lock(&lock);
    if (--from->n_alive == 0) mapping_destroy(from);
    else tn_pages_drop(p, bytes);
    pthread_mutex_unlock(&lock);
}
