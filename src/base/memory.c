/* memory.c - what /proc and /sys/fs/cgroup say of memory (see memory.h).
 *
 *   the machine      MemAvailable of /proc/meminfo
 *   a control group  its limit - its use + the cached files in that use, for this process's group and each one above it
 *                    version 2   /sys/fs/cgroup/GROUP          memory.max, memory.current, *_file of memory.stat
 *                    version 1   /sys/fs/cgroup/memory/GROUP   memory.limit_in_bytes, usage_in_bytes, total_*_file
 *
 * The least of them counts. TENET_MEMORY=BYTES (K, M, G, T: powers of 1024) takes the place of them all: as if the
 * machine had so much for this process. */
#include "base/memory.h"

#include "base/hash.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Below, nobody is asked. */
enum { LITTLE = 4 << 20 };

/* The number behind `key` at the begin of a line of the file; key "": the first one. */
static bool number_read(const char *root, const char *path, const char *key, uint64_t *out)
{
    char  line[256], *name = tn_strf("%s%s", root, path);
    FILE *f = name != NULL ? fopen(name, "re") : NULL;
    bool  found = false;

    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        if (!tn_starts_with(line, key)) continue;
        char *digits = line + strlen(key) + strspn(line + strlen(key), " ");
        digits[strspn(digits, "0123456789")] = '\0';
        found = tn_parse_u64(digits, out);
    }
    if (f != NULL) fclose(f);
    free(name);
    return found;
}

/* The number that TENET_MEMORY is to be. */
static bool amount_parse(const char *text, size_t *out)
{
    static const char units[] = "KMGT";
    char              digits[24];
    size_t            n = strspn(text, "0123456789");
    const char       *unit = text[n] != '\0' ? strchr(units, text[n]) : NULL;
    uint64_t          v;

    if (n == 0 || n >= sizeof digits || (text[n] != '\0' && (unit == NULL || text[n + 1] != '\0')))
        return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    if (!tn_parse_u64(digits, &v) || v == 0) return false;
    int shift = unit != NULL ? 10 * (int)(unit - units + 1) : 0;
    if (v > SIZE_MAX >> shift) return false;
    *out = (size_t)v << shift;
    return true;
}

/* Pages that are this process's alone: all that it has in memory but files and what it shares. */
static size_t own_bytes(const char *root)
{
    char      *name = tn_strf("%s/proc/self/statm", root);
    FILE      *f = name != NULL ? fopen(name, "re") : NULL;
    long long  resident = 0, shared = 0;
    const bool ok = f != NULL && fscanf(f, "%*s %lld %lld", &resident, &shared) == 2 && resident > shared;

    if (f != NULL) fclose(f);
    free(name);
    return ok ? (size_t)(resident - shared) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* What has a number of its own: a machine by its boot, a control group by its folder too. */
static uint64_t name_of(const char *root, const char *group)
{
    struct {
        char     boot[40];
        uint64_t device, file;
    } it;
    struct stat s;
    char       *boot = tn_strf("%s/proc/sys/kernel/random/boot_id", root),
         *folder = group != NULL ? tn_strf("%s%s", root, group) : NULL;
    FILE *f = boot != NULL ? fopen(boot, "re") : NULL;

    memset(&it, 0, sizeof it);
    if (f != NULL && fgets(it.boot, sizeof it.boot, f) == NULL) it.boot[0] = '\0';
    if (f != NULL) fclose(f);
    if (folder != NULL && stat(folder, &s) == 0) {
        it.device = (uint64_t)s.st_dev;
        it.file = (uint64_t)s.st_ino;
    }
    free(folder);
    free(boot);
    return tn_hash64(&it, sizeof it);
}

static const struct version {
    const char *mount, *limit, *use, *given_back[4]; /* what the kernel takes back when the group is full */
} versions[] = {
    { "/sys/fs/cgroup",
      "memory.max",
      "memory.current",
      { "inactive_file", "active_file", "slab_reclaimable" } },
    { "/sys/fs/cgroup/memory",
      "memory.limit_in_bytes",
      "memory.usage_in_bytes",
      { "total_inactive_file", "total_active_file" } },
};

/* One group: no limit, or none that is told, changes nothing. */
static void group_look(tn_memory *m, const char *root, const struct version *v, const char *group)
{
    char *folder = tn_strf("%s%s", v->mount, group),
         *limit = tn_strf("%s/%s", folder != NULL ? folder : "", v->limit),
         *use = tn_strf("%s/%s", folder != NULL ? folder : "", v->use),
         *parts = tn_strf("%s/memory.stat", folder != NULL ? folder : "");
    uint64_t most, used, part;

    if (folder != NULL && limit != NULL && use != NULL && parts != NULL &&
        number_read(root, limit, "", &most) && number_read(root, use, "", &used)) {
        for (int i = 0; v->given_back[i] != NULL; i++)
            if (number_read(root, parts, v->given_back[i], &part)) used -= part < used ? part : used;
        uint64_t left = most > used ? most - used : 0;
        if (left < m->left) {
            m->left = (size_t)left;
            m->whose = name_of(root, folder);
        }
    }
    free(parts);
    free(use);
    free(limit);
    free(folder);
}

/* Every line of /proc/self/cgroup that is about memory names a group; a container may see another path than its
 * own folder's, but always the root of what it sees. */
static void groups_look(tn_memory *m, const char *root)
{
    char  line[4096], *name = tn_strf("%s/proc/self/cgroup", root);
    FILE *f = name != NULL ? fopen(name, "re") : NULL;

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *control = strchr(line, ':'), *group = control != NULL ? strchr(control + 1, ':') : NULL;
        if (group == NULL) continue;
        *group++ = '\0';
        const bool old = tn_list_has(control + 1, "memory");
        if (!old && control[1] != '\0') continue;
        for (char *slash = group; slash != NULL;) {
            if (strcmp(group, "/") == 0) *group = '\0';
            group_look(m, root, &versions[old], group);
            if ((slash = strrchr(group, '/')) != NULL) *slash = '\0';
        }
    }
    if (f != NULL) fclose(f);
    free(name);
}

tn_memory tn_memory_below(const char *root, const char *told)
{
    tn_memory m = { .left = SIZE_MAX, .own = own_bytes(root), .whose = name_of(root, NULL) };
    size_t    all;
    uint64_t  kib;

    if (told != NULL && amount_parse(told, &all)) {
        m.left = all > m.own ? all - m.own : 0;
        return m;
    }
    if (number_read(root, "/proc/meminfo", "MemAvailable:", &kib) && kib < SIZE_MAX >> 10)
        m.left = (size_t)kib << 10;
    groups_look(&m, root);
    return m;
}

tn_memory tn_memory_now(void) { return tn_memory_below("", getenv("TENET_MEMORY")); }

size_t tn_memory_left(void)
{
    tn_memory m = tn_memory_now();
    return m.left > 0 ? m.left : 1;
}

bool tn_memory_has(size_t bytes) { return bytes < LITTLE || bytes <= tn_memory_left(); }

tn_status tn_memory_check(tn_error *err)
{
    const char *text = getenv("TENET_MEMORY");
    size_t      all;

    if (text == NULL || amount_parse(text, &all)) return TN_OK;
    return tn_fail(err, TN_USAGE,
                   "TENET_MEMORY=%s is no amount of memory: write bytes, or a number and K, M, G or T (2G)",
                   text);
}
