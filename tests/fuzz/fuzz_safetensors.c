/* fuzz_safetensors.c - any bytes as a safetensors file; every byte of every tensor is read. */
#include "fuzz.h"
#include "model/st_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_st_file *f;

    if (tn_st_parse(&f, data, size, "fuzz.safetensors", NULL) != TN_OK) return 0;
    for (size_t i = 0; i < tn_st_count(f); i++) {
        const tn_st_entry *e = tn_st_at(f, i);
        const uint8_t     *p = e->data;
        uint64_t           sum = 0;
        for (uint64_t b = 0; b < e->end - e->begin; b++) sum += p[b];
        tn_fuzz_use(sum);
    }
    tn_st_close(f);
    return 0;
}
