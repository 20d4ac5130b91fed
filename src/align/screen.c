/* screen.c - which revisions are fit to be learnt.
 *
 *   revisions ── empty? short? repeating? unchanged? a lead-in or talk about the revision? no better by the judge? ──→ kept | dropped
 *
 * Each row that is dropped is kept in dropped.jsonl with its reason: a filter that nobody can look at hides
 * its mistakes. */
#include "align/rows.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define AT(f) offsetof(tn_align_screen_config, f)

// clang-format off
const tn_option tn_align_screen_options[] = {
    { "max_repetition", TN_OPT_REAL, AT(max_repetition), "0.2",  0, 1,    "", "share of repeated 4-grams above which a text is dropped", NULL },
    { "least",          TN_OPT_REAL, AT(least),          "0.5",  0, 1,    "", "probability, by the judge, that the revision is better: at or below it is dropped", NULL },
    { "min_words",      TN_OPT_INT,  AT(min_words),      "5",    1, 1000, "words", "shorter texts are dropped", NULL },
    { .key = NULL }
};
// clang-format on

/* Words that open a text about the answer instead of the answer. */
static const char *const lead_ins[] = { "here is",
                                        "here's",
                                        "here are",
                                        "revised answer",
                                        "revised response",
                                        "revision:",
                                        "the revised",
                                        "my revised",
                                        "sure, here",
                                        "certainly, here",
                                        "of course, here",
                                        "this is the revised",
                                        "below is",
                                        "i have revised",
                                        "i've revised",
                                        "i have rewritten",
                                        "i've rewritten",
                                        "the answer should",
                                        "the assistant should",
                                        "critique:",
                                        "the answer could" };

static bool opens_with_lead_in(const char *text)
{
    text += strspn(text, " \n\t\"*");
    for (size_t i = 0; i < sizeof lead_ins / sizeof lead_ins[0]; i++)
        if (strncasecmp(text, lead_ins[i], strlen(lead_ins[i])) == 0) return true;
    return false;
}

/* Talk about revising may also stand inside. */
static bool speaks_of_revision(const char *text)
{
    static const char *const marks[] = { "revised answer",    "revised response", "original answer",
                                         "original response", "previous answer",  "previous response",
                                         "critique" };

    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strcasestr(text, marks[i]) != NULL) return true;
    return false;
}

/* Why a revision is dropped, or NULL. */
static const char *fault_of(const tn_align_screen_config *c, const char *answer, const char *revision,
                            const json_t *comparison)
{
    if (revision[strspn(revision, " \n\t\r")] == '\0') return "empty";
    if (tn_words(revision) < c->min_words) return "short";
    if (tn_repetition(revision) > c->max_repetition) return "repeating";
    if (answer != NULL && strcmp(answer, revision) == 0) return "unchanged";
    if (opens_with_lead_in(revision)) return "lead-in";
    if (speaks_of_revision(revision)) return "speaks of the revision";
    if (comparison == NULL) return NULL;
    if (json_is_true(json_object_get(comparison, "failed"))) return "not judged";
    if (json_is_true(json_object_get(comparison, "tie"))) return "no better by the judge";
    return json_number_value(json_object_get(comparison, "p")) <= c->least ? "no better by the judge" : NULL;
}

tn_status tn_align_screen_run(const tn_align_screen_config *c, const char *revisions, const char *comparisons,
                              const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status   status = TN_OK;
    tn_row_map  rows = { 0 }, judged = { 0 };
    tn_row_file kept = { 0 }, dropped = { 0 };
    json_t     *count = json_object();
    int64_t     n_kept = 0;

    if (count == NULL) return tn_fail(err, TN_NOMEM, "no memory for counts");
    TN_GOTO(tn_row_map_load(&rows, revisions, "revisions.jsonl", err));
    if (comparisons != NULL) TN_GOTO(tn_row_map_load(&judged, comparisons, "comparisons.jsonl", err));
    /* a skipped judge says nothing */
    bool by_judge = comparisons != NULL && json_array_size(judged.list) > 0;
    TN_GOTO(tn_row_file_open(&kept, out_dir, "revisions.jsonl", err));
    TN_GOTO(tn_row_file_open(&dropped, out_dir, "dropped.jsonl", err));
    for (size_t i = 0; i < json_array_size(rows.list); i++) {
        json_t       *row = json_array_get(rows.list, i);
        const char   *id = tn_row_text(row, "id"), *revision = tn_row_text(row, "revision");
        const json_t *verdict = tn_row_map_get(&judged, id);

        if (revision == NULL) {
            status = tn_fail(err, TN_FORMAT, "%s: row '%s' has no \"revision\"", revisions, id);
            goto out;
        }
        if (by_judge && verdict == NULL) {
            status = tn_fail(err, TN_MISMATCH,
                             "%s has no comparison for revision '%s': compare the same revisions",
                             comparisons, id);
            goto out;
        }
        const char *fault = fault_of(c, tn_row_text(row, "answer"), revision, verdict);
        n_kept += fault == NULL;
        if (fault == NULL) {
            TN_GOTO(tn_row_file_add(&kept, json_incref(row), err));
            continue;
        }
        json_t *copy = json_copy(row);
        if (copy == NULL || json_object_set_new(copy, "dropped", json_string(fault)) != 0) {
            json_decref(copy);
            status = tn_fail(err, TN_NOMEM, "no memory for a row");
            goto out;
        }
        TN_GOTO(tn_row_file_add(&dropped, copy, err));
        json_object_set_new(count, fault,
                            json_integer(json_integer_value(json_object_get(count, fault)) + 1));
    }
    if (n_kept == 0) {
        status = tn_fail(err, TN_MISMATCH,
                         "none of the %zu revisions is fit to be learnt: this model does not revise; use "
                         "contrast pairs (kind "
                         "contrast) or context distillation (kind distill)",
                         json_array_size(rows.list));
        goto out;
    }
    TN_GOTO(tn_row_file_commit(&kept, err));
    TN_GOTO(tn_row_file_commit(&dropped, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "kept", json_integer(n_kept));
        json_object_set(metrics, "dropped", count);
    }
out:
    json_decref(count);
    tn_row_file_abandon(&kept);
    tn_row_file_abandon(&dropped);
    tn_row_map_free(&rows);
    tn_row_map_free(&judged);
    return status;
}
