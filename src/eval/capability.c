/* capability.c - what an alignment cost: two evaluations over the same rows, as a section of its page. */
#include "eval/capability.h"
#include "base/str.h"
#include "eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static bool is_share(const json_t *c)
{
    const char *m = json_string_value(json_object_get(c, "metric"));

    return strncmp(m, "acc", 3) == 0 || strncmp(m, "exact_match", 11) == 0 || strncmp(m, "refused", 7) == 0;
}

static void table(tn_page *p, const json_t *list)
{
    static const char *const head[] = { "task", "metric", "before", "after", "change", "95 % interval", "p (Holm)", "" };
    size_t       n = json_array_size(list), i;
    json_t      *c;
    char       (*text)[5][48] = calloc(n + 1, sizeof *text);
    const char **cells = calloc(8 * n + 1, sizeof *cells);

    if (text != NULL && cells != NULL) {
        json_array_foreach((json_t *)list, i, c) {
            const json_t *ci = json_object_get(c, "interval");
            double        scale = is_share(c) ? 100 : 1;
            snprintf(text[i][0], 48, is_share(c) ? "%.1f %%" : "%.4g", scale * number(c, "a"));
            snprintf(text[i][1], 48, is_share(c) ? "%.1f %%" : "%.4g", scale * number(c, "b"));
            snprintf(text[i][2], 48, is_share(c) ? "%+.1f points" : "%+.4g", scale * number(c, "change"));
            snprintf(text[i][3], 48, "%+.3g … %+.3g", scale * json_number_value(json_array_get(ci, 0)), scale * json_number_value(json_array_get(ci, 1)));
            snprintf(text[i][4], 48, "%.2g", number(c, "p_holm"));
            const char *row[] = { json_string_value(json_object_get(c, "task")), json_string_value(json_object_get(c, "metric")), text[i][0], text[i][1], text[i][2], text[i][3],
                                  text[i][4], json_string_value(json_object_get(c, "verdict")) };
            memcpy(cells + 8 * i, row, sizeof row);
        }
        tn_page_table(p, &(tn_table){ .columns = "llrrrrrl", .head = head, .cells = cells, .n_row = n });
    }
    free(text);
    free(cells);
}

tn_status tn_capability_section(tn_page *p, const char *before, const char *after, json_t **out, tn_error *err)
{
    json_t *c = NULL;

    *out = NULL;
    TN_TRY(tn_eval_compare(&c, before, after, 1, err));
    tn_page_section(p, "Capability");
    tn_page_text(p, "The same questions before and after. Tests are paired by row and corrected for their number (Holm); a change whose interval holds zero is not shown to be one.");
    table(p, json_object_get(c, "comparisons"));
    *out = c;
    return TN_OK;
}
