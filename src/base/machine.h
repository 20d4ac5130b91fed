/* machine.h - the most that this machine can do, measured now: what benchmarks and "67 % of peak" are a ratio
 * to. Each call runs on tn_threads() threads for about `seconds` and takes the best of several short runs. */
#ifndef TN_BASE_MACHINE_H
#define TN_BASE_MACHINE_H

#include "base/err.h"

/* Fused multiply-adds in fp32, GFLOP/s (an FMA counts as 2), at the widest vectors that tn_isa_limit()
 * allows; scalar FMA (or multiply and add where there is no FMA unit) for ref. */
double tn_peak_f32(double seconds);
/* VDPBF16PS, GFLOP/s, where the CPU has it and the limit allows it; else the same as tn_peak_f32. */
double tn_peak_bf16(double seconds);
/* TDPBF16PS on the matrix unit (AMX), GFLOP/s, with its operands in registers; 0 where there is none or the
 * limit forbids it. */
double tn_peak_amx(double seconds);
/* Reading memory that does not fit in any cache: a reader owns such a buffer, so that the rate can be taken
 * again and again between other measurements. tn_reader_rate: GB/s (1e9 bytes) of the best whole pass in
 * about `seconds`, at least one pass of each way of reading. NOMEM if the buffer cannot be had. */
typedef struct tn_reader tn_reader;
tn_status                tn_reader_create(tn_reader **out, tn_error *err);
double                   tn_reader_rate(tn_reader *r, double seconds);
void                     tn_reader_destroy(tn_reader *r);
/* Bytes of the largest cache that one core sees, as the system tells it; 0 if unknown. */
size_t tn_cache_bytes(void);

#endif
