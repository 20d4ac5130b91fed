/* verdict_page.c - a verdict as one self-contained HTML page. */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"
#include "report/report.h"

#include <stdlib.h>
#include <string.h>

static tn_tone tone_of(const char *state)
{
    return strcmp(state, "ok") == 0 || strcmp(state, "sound") == 0 ? TN_TONE_GOOD
           : strcmp(state, "wrong") == 0                           ? TN_TONE_BAD
                                                                   : TN_TONE_UNSURE;
}

/* A digest by its first 16 digits: two whole ones side by side are wider than a page (--json has them whole).
 * made: free. */
static char *shortened(const char *text)
{
    size_t n = strlen(text), hex = 0;

    while (hex < n && strchr("0123456789abcdef", text[n - 1 - hex]) != NULL) hex++;
    return hex == 64 ? tn_strf("%.*s...", (int)(n - 48), text) : tn_strdup(text);
}

static void add_table(tn_page *p, const json_t *rows, const char *caption, const char *const *keys,
                      const char *const *head, const char *columns)
{
    size_t  n_col = strlen(columns), n = json_array_size(rows), i;
    char  **cells = calloc(n * n_col + 1, sizeof *cells);
    json_t *row;

    if (cells == NULL || n == 0) {
        free(cells);
        return;
    }
    json_array_foreach(rows, i, row)
        for (size_t k = 0; k < n_col; k++) cells[i * n_col + k] = shortened(recipe_verify_text(row, keys[k]));
    tn_page_table(p, &(tn_table){ .caption = caption,
                                  .columns = columns,
                                  .head = head,
                                  .cells = (const char *const *)cells,
                                  .n_row = n });
    for (size_t k = 0; k < n * n_col; k++) free(cells[k]);
    free(cells);
}

/* Whole digests: this is what a verdict is compared by. */
static void add_about(tn_page *p, const json_t *about)
{
    static const char *const keys[][2] = { { "name", "Name" },
                                           { "version", "Version" },
                                           { "date", "Date" },
                                           { "content", "Content" },
                                           { "key", "Key" } };
    static const char *const head[] = { "What", "Which" };
    const char              *cells[2 * sizeof keys / sizeof keys[0]];
    size_t                   n = 0;

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *text = recipe_verify_text(about, keys[i][0]);
        if (text[0] == '\0') continue;
        cells[n++] = keys[i][1];
        cells[n++] = text;
    }
    if (n == 0) return;
    tn_page_section(p, "Release");
    tn_page_table(
        p,
        &(tn_table){
            .caption =
                "As it names itself, the root of its content as it was found, and the key that was trusted",
            .columns = "lm",
            .head = head,
            .cells = cells,
            .n_row = n / 2 });
}

tn_status recipe_verdict_page(const json_t *verdict, const char *dir, const char *path, tn_error *err)
{
    static const char *const check_keys[] = { "name", "state", "text" }, *const check_head[] = {
        "Check", "State", "What was seen"
    };
    static const char *const        reason_keys[] = { "what", "where", "expected", "found" },
                             *const reason_head[] = { "What", "Where", "Expected", "Found" };
    const char                     *word = recipe_verify_text(verdict, "verdict");
    char                           *place = tn_strdup(dir);
    tn_page                        *p = NULL;

    tn_path_trim(place);
    tn_status status = tn_page_create(&p, "Verdict", place != NULL ? tn_basename(place) : dir, err);
    free(place);
    TN_TRY(status);
    tn_page_figures(p,
                    &(tn_figure){ .label = "Verdict",
                                  .value = word,
                                  .detail = strcmp(word, "sound") == 0 ? "everything that was looked at holds"
                                            : strcmp(word, "wrong") == 0
                                                ? "looked, and found wrong: see the reasons"
                                                : "something could not be checked: see the reasons",
                                  .tone = tone_of(word) },
                    1);
    add_about(p, json_object_get(verdict, "release"));
    tn_page_section(p, "Checks");
    add_table(p, json_object_get(verdict, "checks"), "In the order in which they were made", check_keys,
              check_head, "lll");
    if (json_array_size(json_object_get(verdict, "reasons")) > 0) {
        tn_page_section(p, "Reasons");
        add_table(p, json_object_get(verdict, "reasons"), "Each thing that is wrong or could not be checked",
                  reason_keys, reason_head, "llmm");
    }
    status = tn_page_write(p, path, err);
    tn_page_destroy(p);
    return status;
}
