/* capability.c - what an alignment cost: two evaluations over the same rows, as a section of its page. */
#include "eval/capability.h"
#include "base/str.h"
#include "eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static bool is_share(const json_t *c)
{
    const char *m = json_string_value(json_object_get(c, "metric"));

    return strncmp(m, "acc", 3) == 0 || strncmp(m, "exact_match", 11) == 0 || strncmp(m, "refused", 7) == 0;
}

static bool in_list(const json_t *names, const char *name)
{
    size_t  i;
    json_t *one;

    json_array_foreach((json_t *)names, i, one)
        if (strcmp(json_string_value(one), name) == 0) return true;
    return false;
}

/* The comparisons whose task is (joined) or is not among these names. */
static void table(tn_page *p, const json_t *all, const json_t *joined, bool want)
{
    json_t *list = json_array(), *one;
    size_t  at;

    json_array_foreach((json_t *)all, at, one)
        if (in_list(joined, json_string_value(json_object_get(one, "task"))) == want)
            json_array_append(list, one);

    static const char *const head[] = { "task",   "metric",        "before",   "after",
                                        "change", "95 % interval", "p (Holm)", "" };
    size_t                   n = json_array_size(list), i;
    json_t                  *c;
    char(*text)[5][48] = calloc(n + 1, sizeof *text);
    const char **cells = calloc(8 * n + 1, sizeof *cells);

    if (text != NULL && cells != NULL && n > 0) {
        json_array_foreach(list, i, c) {
            const json_t *ci = json_object_get(c, "interval");
            double        scale = is_share(c) ? 100 : 1;
            snprintf(text[i][0], 48, is_share(c) ? "%.1f %%" : "%.4g", scale * number(c, "a"));
            snprintf(text[i][1], 48, is_share(c) ? "%.1f %%" : "%.4g", scale * number(c, "b"));
            snprintf(text[i][2], 48, is_share(c) ? "%+.1f points" : "%+.4g", scale * number(c, "change"));
            snprintf(text[i][3], 48, "%+.3g … %+.3g", scale * json_number_value(json_array_get(ci, 0)),
                     scale * json_number_value(json_array_get(ci, 1)));
            snprintf(text[i][4], 48, "%.2g", number(c, "p_holm"));
            const char *row[] = { json_string_value(json_object_get(c, "task")),
                                  json_string_value(json_object_get(c, "metric")),
                                  text[i][0],
                                  text[i][1],
                                  text[i][2],
                                  text[i][3],
                                  text[i][4],
                                  json_string_value(json_object_get(c, "verdict")) };
            memcpy(cells + 8 * i, row, sizeof row);
        }
        tn_page_table(p, &(tn_table){ .columns = "llrrrrrl", .head = head, .cells = cells, .n_row = n });
    }
    free(text);
    free(cells);
    json_decref(list);
}

/* "a, b, c"; made: free. */
static char *words_of(const json_t *names)
{
    tn_str  s = { 0 };
    size_t  i;
    json_t *one;

    json_array_foreach((json_t *)names, i, one)
        tn_str_addf(&s, "%s%s", i > 0 ? ", " : "", json_string_value(one));
    return tn_str_take(&s);
}

void tn_capability_section(tn_page *p, const json_t *compared, const json_t *report)
{
    const json_t *joined = json_object_get(report, "joined"), *absent = json_object_get(report, "absent"),
                 *all = json_object_get(compared, "comparisons");

    tn_page_section(p, "Capability");
    tn_page_text(p, "The same questions before and after. Tests are paired by row and corrected for their "
                    "number (Holm); a change whose interval holds zero is not shown to be one.");
    table(p, all, joined, false);
    if (joined == NULL && absent == NULL) return;
    char *there = words_of(joined), *missing = words_of(absent);
    tn_page_section(p, "Public sets");
    if (json_array_size(joined) > 0)
        tn_page_text(p,
                     "Written by others, put before and after: %s. refused_safe should stay low, "
                     "refused_unsafe should rise. Training saw none of their prompts: the recipe "
                     "compares every prompt with the sets' and stops at an overlap.",
                     there != NULL ? there : "");
    table(p, all, joined, true);
    if (json_array_size(absent) > 0)
        tn_page_text(p,
                     "Not there, so not measured: %s. A folder with their files joins them (the variable "
                     "suites of the recipe).",
                     missing != NULL ? missing : "");
    free(there);
    free(missing);
}

bool tn_capability_figure(const json_t *compared, char *label, char *value, char *detail, size_t cap,
                          tn_figure *f)
{
    const json_t *list = json_object_get(compared, "comparisons"), *c = NULL;
    size_t        i;
    json_t       *row;

    json_array_foreach((json_t *)list, i, row) {
        bool perplexity = strcmp(json_string_value(json_object_get(row, "metric")), "word_perplexity") == 0;
        if (perplexity || (c == NULL && is_share(row))) c = row;
        if (perplexity) break;
    }
    if (c == NULL) return false;
    const json_t *ci = json_object_get(c, "interval");
    double lo = json_number_value(json_array_get(ci, 0)), hi = json_number_value(json_array_get(ci, 1));
    bool   share = is_share(c), sure = (lo > 0) == (hi > 0) && lo != 0 && hi != 0;
    double scale = share ? 100 : 1;

    snprintf(label, cap, share ? "Right answers (%s)" : "Perplexity a word (%s)",
             json_string_value(json_object_get(c, "task")));
    snprintf(value, cap, share ? "%.0f %% → %.0f %%" : "%.1f → %.1f", scale * number(c, "a"),
             scale * number(c, "b"));
    snprintf(detail, cap,
             share ? "%+.0f … %+.0f points (95 %%), %lld questions" : "%+.1f … %+.1f (95 %%), %lld texts",
             scale * lo, scale * hi, (long long)json_integer_value(json_object_get(c, "n")));
    *f = (tn_figure){ label, value, detail,
                      !sure               ? TN_TONE_PLAIN
                      : (hi > 0) == share ? TN_TONE_GOOD
                                          : TN_TONE_BAD };
    return true;
}
