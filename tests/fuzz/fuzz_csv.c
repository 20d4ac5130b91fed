/* fuzz_csv.c - any bytes as a CSV file of rows for `tenet eval`, and of labelled replies. */
#include "fuzz.h"

#include "eval/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_csv *c = NULL;
    json_t *row = NULL;
    int64_t line = 0;

    if (tn_csv_open(&c, tn_fuzz_file(data, size), NULL) != TN_OK) return 0;
    while (tn_csv_next(c, &row, &line, NULL) == TN_OK && row != NULL) {
        tn_fuzz_use(json_object_size(row) + (uint64_t)line);
        json_decref(row);
        row = NULL;
    }
    json_decref(row);
    tn_csv_close(c);
    return 0;
}
