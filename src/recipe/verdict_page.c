/* verdict_page.c - a verdict as one self-contained HTML page. */
#include "recipe/verify.h"

#include "base/file.h"
#include "report/report.h"

#include <stdlib.h>
#include <string.h>

static tn_tone tone_of(const char *state)
{
    return strcmp(state, "ok") == 0 || strcmp(state, "sound") == 0 ? TN_TONE_GOOD : strcmp(state, "wrong") == 0 ? TN_TONE_BAD : TN_TONE_UNSURE;
}

static void add_table(tn_page *p, const json_t *rows, const char *caption, const char *const *keys, const char *const *head, const char *columns)
{
    size_t       n_col = strlen(columns), n = json_array_size(rows), i;
    const char **cells = calloc(n * n_col + 1, sizeof *cells);
    json_t      *row;

    if (cells == NULL || n == 0) {
        free(cells);
        return;
    }
    json_array_foreach(rows, i, row)
        for (size_t k = 0; k < n_col; k++) cells[i * n_col + k] = json_string_value(json_object_get(row, keys[k]));
    tn_page_table(p, &(tn_table){ .caption = caption, .columns = columns, .head = head, .cells = cells, .n_row = n });
    free(cells);
}

tn_status recipe_verdict_page(const json_t *verdict, const char *dir, const char *path, tn_error *err)
{
    static const char *const check_keys[] = { "name", "state", "text" }, *const check_head[] = { "Check", "State", "What was seen" };
    static const char *const reason_keys[] = { "what", "where", "expected", "found" }, *const reason_head[] = { "What", "Where", "Expected", "Found" };
    const char *word = recipe_verify_text(verdict, "verdict");
    tn_page    *p = NULL;

    TN_TRY(tn_page_create(&p, "Verdict", tn_basename(dir), err));
    tn_page_figures(p, &(tn_figure){ .label = "Verdict", .value = word, .detail = strcmp(word, "sound") == 0 ? "everything that was looked at holds"
                                     : strcmp(word, "wrong") == 0 ? "looked, and found wrong: see the reasons" : "something could not be checked: see the reasons",
                                     .tone = tone_of(word) }, 1);
    tn_page_section(p, "Checks");
    add_table(p, json_object_get(verdict, "checks"), "In the order in which they were made", check_keys, check_head, "lll");
    if (json_array_size(json_object_get(verdict, "reasons")) > 0) {
        tn_page_section(p, "Reasons");
        add_table(p, json_object_get(verdict, "reasons"), "Each thing that is wrong or could not be checked", reason_keys, reason_head, "llmm");
    }
    tn_status status = tn_page_write(p, path, err);
    tn_page_destroy(p);
    return status;
}
