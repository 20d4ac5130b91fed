/* regress.c - runs a fuzz target without a fuzzer: `fuzz_x N FILE-OR-FOLDER...` gives it every file, and N
 * mutations of each: cut, bits flipped, numbers replaced by extreme ones, pieces doubled. The same ones on
 * every machine. */
#include "fuzz.h"

#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t draw(tn_rng_key *key, uint64_t below) { return tn_rng_below(key, key->step++, below); }

static size_t mutate(uint8_t *p, size_t n, size_t cap, tn_rng_key *key)
{
    static const uint64_t extreme[] = { 0,
                                        1,
                                        0x7f,
                                        0xff,
                                        0x7fff,
                                        0xffff,
                                        0x7fffffff,
                                        0xffffffff,
                                        0x7fffffffffffffff,
                                        UINT64_MAX,
                                        (uint64_t)1 << 63 };

    for (uint64_t k = 1 + draw(key, 4); k > 0 && n > 0; k--) {
        size_t at = draw(key, n);
        switch (draw(key, 5)) {
        case 0: p[at] ^= (uint8_t)(1 << draw(key, 8)); break;
        case 1: p[at] = (uint8_t)draw(key, 256); break;
        case 2: {
            uint64_t v = extreme[draw(key, sizeof extreme / sizeof *extreme)];
            size_t   w = (size_t)1 << draw(key, 4);
            if (w > n - at) w = n - at;
            memcpy(p + at, &v, w > 8 ? 8 : w);
            break;
        }
        case 3: n = at; break;
        default: {
            size_t len = 1 + draw(key, 32);
            if (len > n - at) len = n - at;
            if (n + len > cap) break;
            memmove(p + at + len, p + at, n - at);
            n += len;
            break;
        }
        }
    }
    return n;
}

static int run_file(const char *path, int64_t n_mutation)
{
    char    *text;
    size_t   n;
    tn_error err;

    if (tn_file_read_all(&text, &n, path, (size_t)64 << 20, &err) != TN_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)text, n);
    tn_rng_key key = { .seed = tn_rng_u64(&(tn_rng_key){ .seed = n }, 0), .purpose = TN_RNG_TEST };
    for (int64_t i = 0; i < n_mutation; i++) {
        size_t   cap = n + 256;
        uint8_t *copy = malloc(cap);
        if (copy == NULL) return 1;
        memcpy(copy, text, n);
        size_t   m = mutate(copy, n, cap, &key);
        uint8_t *exact = realloc(copy, m > 0 ? m : 1); /* so that a sanitizer sees the first byte too far */
        if (exact == NULL) return 1;
        LLVMFuzzerTestOneInput(exact, m);
        free(exact);
    }
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    int64_t n_mutation = 0;
    int     n_file = 0;

    if (argc < 3 || !tn_parse_i64(argv[1], &n_mutation)) return 2;
    for (int i = 2; i < argc; i++) {
        char   **list;
        size_t   n = 0;
        tn_error err;
        if (!tn_is_dir(argv[i])) {
            if (run_file(argv[i], n_mutation) != 0) return 1;
            n_file++;
            continue;
        }
        if (tn_list_files(&list, &n, argv[i], &err) != TN_OK) return 1;
        for (size_t k = 0; k < n; k++, n_file++) {
            char *path = tn_path(argv[i], list[k]);
            if (path == NULL || run_file(path, n_mutation) != 0) return 1;
            free(path);
        }
        tn_list_free(list, n);
    }
    printf("%d files, %lld mutations each\n", n_file, (long long)n_mutation);
    return n_file > 0 ? 0 : 1;
}
