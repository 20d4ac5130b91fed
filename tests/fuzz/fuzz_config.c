/* fuzz_config.c - any bytes as config.json. */
#include "fuzz.h"
#include "model/model_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t    *o;
    tn_hparams h;

    if (tn_json_parse(&o, (const char *)data, size, "config.json", NULL) != TN_OK) return 0;
    tn_hparams_from_hf(&h, o, "config.json", NULL);
    json_decref(o);
    return 0;
}
