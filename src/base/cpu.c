/* cpu.c - CPU features by CPUID, with the check that the system saves the wide registers (see cpu.h). */
#include "base/cpu.h"

#include <pthread.h>
#include <string.h>

typedef struct features {
    bool avx2, avx512, avx512_bf16, avx512_vnni, avx512_amx;
    char name[64];
} features;

static features       cpu;
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;
/* what --kernels says; the CPU's own bound is applied on reading */
static tn_isa limit = TN_ISA_AVX512;

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

/* Tiles are 8 KiB more to save at each switch: Linux wants a process to ask before its first use of them. */
static bool tiles_granted(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
static bool tiles_granted(void) { return false; }
#endif

static uint64_t read_xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static void read_name(void)
{
    uint32_t r[12];
    size_t   skip;

    if ((uint32_t)__get_cpuid_max(0x80000000u, NULL) < 0x80000004u) return;
    for (uint32_t i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
    memcpy(cpu.name, r, sizeof r);
    skip = strspn(cpu.name, " ");
    memmove(cpu.name, cpu.name + skip, strlen(cpu.name) + 1 - skip);
    for (size_t n = strlen(cpu.name); n > 0 && cpu.name[n - 1] == ' '; n--) cpu.name[n - 1] = '\0';
}

static void read_cpu(void)
{
    uint32_t a, b, c, d, b7 = 0, c7 = 0, d7 = 0, a71 = 0;
    uint64_t xcr0;
    bool     ymm, zmm;

    read_name();
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX)) return;
    xcr0 = read_xcr0();
    ymm = (xcr0 & 0x06) == 0x06; /* xmm, ymm */
    zmm = (xcr0 & 0xe6) == 0xe6; /* and opmask, zmm */
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return;
    if (a >= 1) __get_cpuid_count(7, 1, &a71, &b, &a, &d);
    cpu.avx2 = ymm && (b7 & bit_AVX2) && (c & bit_FMA) && (c & bit_F16C);
    cpu.avx512 = cpu.avx2 && zmm && (b7 & bit_AVX512F) && (b7 & bit_AVX512BW) && (b7 & bit_AVX512DQ) &&
                 (b7 & bit_AVX512VL);
    cpu.avx512_bf16 = cpu.avx512 && (a71 & (1u << 5));
    cpu.avx512_vnni = cpu.avx512 && (c7 & bit_AVX512VNNI);
    cpu.avx512_amx = cpu.avx512_bf16 && (xcr0 & 0x60000) == 0x60000 && (c7 & (1u << 8)) &&
                     (d7 & (1u << 22)) && (d7 & (1u << 24)) && (d7 & (1u << 25)) && tiles_granted();
}
#else
static void read_cpu(void) { memcpy(cpu.name, "no x86-64", sizeof "no x86-64"); }
#endif

static const features *get(void)
{
    pthread_once(&cpu_once, read_cpu);
    return &cpu;
}

bool        tn_cpu_any(void) { return true; }
bool        tn_cpu_avx2(void) { return get()->avx2; }
bool        tn_cpu_avx512(void) { return get()->avx512; }
bool        tn_cpu_avx512_bf16(void) { return get()->avx512_bf16; }
bool        tn_cpu_avx512_vnni(void) { return get()->avx512_vnni; }
bool        tn_cpu_avx512_amx(void) { return get()->avx512_amx; }
const char *tn_cpu_name(void) { return get()->name[0] != '\0' ? get()->name : "unnamed CPU"; }

void tn_cpu_hide_above(tn_isa most)
{
    (void)get();
    if (most < TN_ISA_AVX512) cpu.avx512 = cpu.avx512_bf16 = cpu.avx512_vnni = cpu.avx512_amx = false;
    if (most < TN_ISA_AVX2) cpu.avx2 = false;
}

static tn_isa cpu_isa(void) { return get()->avx512 ? TN_ISA_AVX512 : get()->avx2 ? TN_ISA_AVX2 : TN_ISA_REF; }

tn_isa tn_isa_limit(void)
{
    tn_isa here = cpu_isa();
    return limit < here ? limit : here;
}

tn_status tn_isa_set(const char *name, tn_error *err)
{
    static const char *const names[] = { "ref", "avx2", "avx512" };

    if (strcmp(name, "auto") == 0) {
        limit = TN_ISA_AVX512;
        return TN_OK;
    }
    for (int i = TN_ISA_REF; i <= TN_ISA_AVX512; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        if ((tn_isa)i > cpu_isa())
            return tn_fail(err, TN_USAGE,
                           "kernels '%s' cannot run here: this CPU (%s) has at most %s; "
                           "use --kernels auto",
                           name, tn_cpu_name(), names[cpu_isa()]);
        limit = (tn_isa)i;
        return TN_OK;
    }
    return tn_fail(err, TN_USAGE, "unknown kernels '%s': expected ref, avx2, avx512 or auto", name);
}
