/* fuzz_task.c - any bytes as a task file of `tenet eval`, and what it asks about a row with the columns that
 * tasks know. */
#include "fuzz.h"

#include "eval/prompt.h"

#include <string.h>

static const char row_text[] =
    "{\"question\":\"Can a hen fly?\",\"answer\":1,\"label\":\"B\",\"ctx\":\"A "
    "hen\",\"endings\":[\"flies\",\"walks\"],\"choices\":"
    "{\"text\":[\"yes\",\"no\"],\"label\":[\"A\",\"B\"]},\"options\":[\"a\",\"b\"],\"sentence\":\"The _ "
    "sat.\",\"text\":\"A long text.\","
    "\"mc1_targets\":{\"choices\":[\"x\",\"y\"],\"labels\":[1,0]},\"n\":-3.5,\"none\":null,\"yes\":true}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const tn_style plain = { 0 };
    tn_task       *t = NULL;
    tn_shots       none = { 0 };
    tn_doc         doc = { .where = (char[]){ "row" } };
    tn_ask         ask = { 0 };

    if (tn_task_load(&t, tn_fuzz_file(data, size), "fuzz", NULL, NULL) != TN_OK) return 0;
    if (tn_json_parse(&doc.row, row_text, sizeof row_text - 1, "row", NULL) == TN_OK &&
        tn_ask_make(&ask, t, &doc, 0, &none, &plain, NULL) == TN_OK) {
        for (size_t i = 0; i < ask.n; i++) tn_fuzz_use(strlen(ask.context[i]) + strlen(ask.continuation[i]));
        tn_ask_free(&ask);
    }
    json_decref(doc.row);
    tn_task_free(t);
    return 0;
}
