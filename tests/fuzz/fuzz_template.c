/* fuzz_template.c - a row as JSON in the first line, and any bytes behind it as a template of a task file
 * over that row. */
#include "fuzz.h"

#include "eval/template.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    json_t        *row = NULL, *value = NULL, *list = NULL;
    size_t         n = end == NULL ? 0 : (size_t)(end - data) + 1;
    char          *text = malloc(size - n + 1), *shown = NULL;

    if (text == NULL) return 0;
    memcpy(text, data + n, size - n);
    text[size - n] = '\0';
    if (n == 0 || tn_json_parse(&row, (const char *)data, n - 1, "row", NULL) != TN_OK ||
        !json_is_object(row)) {
        json_decref(row);
        row = json_pack("{s:s,s:[s,s],s:i,s:{s:[i,f]}}", "question", "why", "choices", "a", "b", "answer", 1,
                        "deep", "x", 1, 2.5);
    }
    if (tn_template_value(&value, text, row, "fuzz", NULL) == TN_OK &&
        tn_template_text(&shown, value, "fuzz", NULL) == TN_OK)
        tn_fuzz_use(strlen(shown));
    json_decref(value);
    value = NULL;
    if (tn_template_field(&value, text, row, "fuzz", NULL) == TN_OK)
        tn_fuzz_use((uint64_t)json_typeof(value));
    if (tn_template_list(&list, text, "fuzz", NULL) == TN_OK) tn_fuzz_use(json_array_size(list));
    json_decref(value);
    json_decref(list);
    json_decref(row);
    free(shown);
    free(text);
    return 0;
}
