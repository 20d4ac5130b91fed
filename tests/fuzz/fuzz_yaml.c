/* fuzz_yaml.c - any bytes as YAML, and as JSON: the trees that recipes, configs and constitutions are read
 * into. */
#include "fuzz.h"

#include "base/json.h"
#include "base/yaml.h"

#include <stdlib.h>
#include <string.h>

static uint64_t walk(const tn_yaml *y)
{
    uint64_t sum = y->text != NULL ? strlen(y->text) : 0;

    for (size_t i = 0; i < y->n; i++) sum += walk(y->items[i]) + (y->keys != NULL ? strlen(y->keys[i]) : 0);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_yaml *y;
    json_t  *v;

    if (tn_yaml_parse(&y, (const char *)data, size, "fuzz.yaml", NULL) == TN_OK) {
        tn_fuzz_use(walk(y));
        tn_yaml_free(y);
    }
    if (tn_json_parse(&v, (const char *)data, size, "fuzz.json", NULL) == TN_OK) {
        char *text = tn_json_text(v);
        tn_fuzz_use(text != NULL ? strlen(text) : 0);
        free(text);
        json_decref(v);
    }
    return 0;
}
