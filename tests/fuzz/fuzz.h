/* fuzz.h - a fuzz target is one function of libFuzzer's form. With clang: -fsanitize=fuzzer,address. Without a fuzzer the
 * regression driver (regress.c) gives it the corpus and fixed mutations of it. */
#ifndef TN_TESTS_FUZZ_FUZZ_H
#define TN_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keeps the compiler from leaving out reads whose result nobody needs. */
static inline void tn_fuzz_use(uint64_t v) { __asm__ volatile("" : : "r"(v)); }

#endif
