/* cpu.h - what this CPU can do, and which kernels were asked for (--kernels). */
#ifndef TN_BASE_CPU_H
#define TN_BASE_CPU_H

#include "base/err.h"

typedef enum tn_isa { TN_ISA_REF = 0, TN_ISA_AVX2 = 1, TN_ISA_AVX512 = 2 } tn_isa;

bool tn_cpu_any(void);    /* true */
bool tn_cpu_avx2(void);   /* AVX2 + FMA + F16C, and the system saves the registers */
bool tn_cpu_avx512(void); /* AVX-512 F, BW, DQ, VL on top */
bool tn_cpu_avx512_bf16(void);
bool tn_cpu_avx512_vnni(void);
/* AMX tiles with bf16 and int8, and GFNI, beside AVX-512 with bf16, and the system lets this process use
 * tiles */
bool        tn_cpu_avx512_amx(void);
const char *tn_cpu_name(void); /* brand string */
/* For tests: from now on this process sees a CPU that has no more than `most`, as if the others were missing.
 * Before kernels are chosen. */
void tn_cpu_hide_above(tn_isa most);
/* The highest ISA that kernels may use: min(what the CPU has, what --kernels says). */
tn_isa    tn_isa_limit(void);
tn_status tn_isa_set(const char *name /* ref|avx2|avx512|auto */,
                     tn_error   *err); /* USAGE if unknown or not here */

#endif
