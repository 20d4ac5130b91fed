/* memory.h - how much memory this process may still use. Beyond it Linux has no error to give: pages are
 * promised freely, and whoever touches one too many is killed without a word. So what is large asks before it
 * is filled. */
#ifndef TN_BASE_MEMORY_H
#define TN_BASE_MEMORY_H

#include "base/err.h"

/* Files that are only mapped or cached count as free, for they can be read again; swap does not. */
typedef struct tn_memory {
    size_t   left;  /* bytes; SIZE_MAX: nothing says how many */
    size_t   own;   /* bytes that this process has filled and nobody else holds */
    uint64_t whose; /* names what is scarce, the machine or a control group: equal numbers share `left` */
} tn_memory;

tn_memory tn_memory_now(void);
/* The same, as the files of /proc and /sys below `root` have it, and `told` (NULL: nothing) for
 * TENET_MEMORY. */
tn_memory tn_memory_below(const char *root, const char *told);
/* The bytes of tn_memory_now alone; at least 1, so that it can be a limit where 0 means none. */
size_t tn_memory_left(void);
/* May `bytes` be filled? Little is not asked for: the answer takes about as long as filling a megabyte. */
bool tn_memory_has(size_t bytes);
/* USAGE where TENET_MEMORY is set and no amount of memory. */
tn_status tn_memory_check(tn_error *err);

#endif
