/* record.c - what every record of an execution says about the program, the machine and the time. */
#include "recipe/recipe_impl.h"

#include "base/cpu.h"
#include "base/str.h"
#include "base/thread.h"

#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

/* The linker's build id of this program: the same sources, compiler and flags give the same id. */
static int find_build_id(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        const char *p, *end;
        if (ph->p_type != PT_NOTE) continue;
        p = (const char *)(info->dlpi_addr + ph->p_vaddr);
        end = p + ph->p_memsz;
        while (p + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) note;
            const uint8_t *desc;
            memcpy(&note, p, sizeof note);
            desc = (const uint8_t *)p + sizeof note + ((note.n_namesz + 3u) & ~3u);
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz <= 32) {
                char *hex = out;
                for (uint32_t k = 0; k < note.n_descsz; k++) snprintf(hex + 2 * k, 3, "%02x", desc[k]);
                return 1;
            }
            p = (const char *)desc + ((note.n_descsz + 3u) & ~3u);
        }
    }
    return 1; /* the first object is the program itself */
}

const char *recipe_build_id(void)
{
    static char id[72];

    if (id[0] == '\0') {
        char hex[72] = "none";
        dl_iterate_phdr(find_build_id, hex);
        memcpy(id, hex, sizeof id);
    }
    return id;
}

json_t *recipe_record_begin(const char *type)
{
    struct timespec t;
    struct tm       tm;
    struct utsname  u;
    char            started[64];

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    snprintf(started, sizeof started, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, t.tv_nsec / 1000000);
    if (uname(&u) != 0) memset(&u, 0, sizeof u);
    return json_pack("{s:s,s:s,s:s,s:{s:s,s:s,s:s,s:i,s:i}}", "type", type, "started", started, "build",
                     recipe_build_id(), "machine", "host", u.nodename, "system", u.release, "cpu",
                     tn_cpu_name(), "cpus", tn_threads_default(), "threads", tn_threads());
}
