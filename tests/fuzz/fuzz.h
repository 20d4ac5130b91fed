/* fuzz.h - a fuzz target is one function of libFuzzer's form. With clang: -fsanitize=fuzzer,address. Without
 * a fuzzer the regression driver (regress.c) gives it the corpus and fixed mutations of it. */
#ifndef TN_TESTS_FUZZ_FUZZ_H
#define TN_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keeps the compiler from leaving out reads whose result nobody needs. */
static inline void tn_fuzz_use(uint64_t v) { __asm__ volatile("" : : "r"(v)); }

/* For readers that take a path: the bytes as a file that lives in memory. The same file each time;
 * borrowed. */
static inline const char *tn_fuzz_file(const void *bytes, size_t n)
{
    static char path[64];
    static int  fd = -1;

    if (fd < 0 && (fd = memfd_create("fuzz", MFD_CLOEXEC)) < 0) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, bytes, n, 0) != (ssize_t)n) abort();
    return path;
}

#endif
