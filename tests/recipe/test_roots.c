/* test_roots.c - golden roots: what every stage kind makes of small inputs, to the bit.
 *
 *   tests/golden/recipe/roots.txt     STAGE KIND VERSION INPUTS ROOT      INPUTS: digest of the roots that the stage read
 *
 * The same kind, version and inputs with another root: the output changed without its version, and stores of
 * users would go on answering with the old one. Raise `.version` of the kind, then write the file anew:
 *
 *   TENET_GOLDEN=write build/tests/recipe/test_roots tests/golden/recipe
 *
 * which refuses as long as a version is missing. Every kind of the table has to be in the recipe. */
#include "every_kind.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct golden {
    char stage[64], kind[64], inputs[TN_SHA256_HEX], root[TN_SHA256_HEX];
    int  version;
} golden;

static const char how[] = "TENET_GOLDEN=write build/tests/recipe/test_roots tests/golden/recipe";

static size_t read_goldens(golden *out, size_t cap)
{
    char  *path = tn_path(every_kind_dir, "roots.txt");
    FILE  *f = fopen(path, "r");
    char   line[512];
    size_t n = 0;

    free(path);
    if (f == NULL) return 0;
    while (n < cap && fgets(line, sizeof line, f) != NULL) {
        golden *g = &out[n];
        if (line[0] != '#' &&
            sscanf(line, "%63s %63s %d %64s %64s", g->stage, g->kind, &g->version, g->inputs, g->root) == 5)
            n++;
    }
    fclose(f);
    return n;
}

static const golden *find(const golden *list, size_t n, const char *stage)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].stage, stage) == 0) return &list[i];
    return NULL;
}

static golden row_of(const json_t *row)
{
    golden    g = { .version = (int)json_integer_value(json_object_get(row, "kind_version")) };
    char     *inputs = tn_json_text(json_object_get(row, "inputs"));
    tn_digest d = tn_sha256_of(inputs, strlen(inputs));

    snprintf(g.stage, sizeof g.stage, "%s", json_string_value(json_object_get(row, "name")));
    snprintf(g.kind, sizeof g.kind, "%s", json_string_value(json_object_get(row, "kind")));
    snprintf(g.root, sizeof g.root, "%s", json_string_value(json_object_get(row, "root")) + 7);
    tn_hex(g.inputs, &d);
    free(inputs);
    return g;
}

static void write_goldens(const json_t *record)
{
    tn_str  s = { 0 };
    size_t  i;
    json_t *row;
    char   *path = tn_path(every_kind_dir, "roots.txt");

    tn_str_addf(
        &s,
        "# What each stage of every-kind.yaml makes: STAGE KIND VERSION INPUTS ROOT. Written by\n#   %s\n",
        how);
    json_array_foreach(json_object_get(record, "stages"), i, row) {
        golden g = row_of(row);
        tn_str_addf(&s, "%s %s %d %s %s\n", g.stage, g.kind, g.version, g.inputs, g.root);
    }
    assert_int_equal(tn_file_write_all(path, s.p, s.len, NULL), TN_OK);
    tn_str_free(&s);
    free(path);
}

static void output_changes_only_together_with_the_version(void **state)
{
    golden      list[256];
    size_t      n = read_goldens(list, 256), i, n_wrong = 0, n_old = 0;
    const char *mode = getenv("TENET_GOLDEN");
    json_t     *record = NULL, *row;
    tn_error    err = { .msg = "" };

    (void)state;
    if (every_kind_run(NULL, NULL, NULL, &record, &err) != TN_OK) fail_msg("%s", err.msg);
    /* Releases last: one tells the recipe and the kinds' versions of all stages, wherever they stand. */
    for (int releases = 0; releases < 2; releases++)
        json_array_foreach(json_object_get(record, "stages"), i, row) {
            golden g = row_of(row);
            if ((strcmp(g.kind, "release") == 0) != (releases == 1)) continue;
            const golden *want = find(list, n, g.stage);
            bool          same = want != NULL && strcmp(want->root, g.root) == 0 &&
                        strcmp(want->inputs, g.inputs) == 0;
            if (want != NULL && same && want->version == g.version) continue;
            bool tells = strcmp(g.kind, "release") == 0 && n_old > 0;
            if (want != NULL && !tells && strcmp(want->kind, g.kind) == 0 && want->version == g.version &&
                strcmp(want->inputs, g.inputs) == 0) {
                print_message("stage %s: kind %s makes other bytes of the same inputs, and its version is "
                              "still %d: raise it\n  expected %s\n"
                              "  found    %s\n",
                              g.stage, g.kind, g.version, want->root, g.root);
                n_wrong++;
            } else {
                print_message("stage %s: roots.txt is of %s\n", g.stage,
                              want == NULL                 ? "before this stage"
                              : want->version != g.version ? "another version of the kind"
                                                           : "other inputs");
                n_old++;
            }
        }
    if (n_wrong == 0 && mode != NULL && strcmp(mode, "write") == 0) {
        write_goldens(record);
    } else if (n_wrong > 0) {
        fail_msg("%zu stages changed what they make without their version", n_wrong);
    } else if (n_old > 0) {
        fail_msg("versions were raised (or the recipe changed): write the roots anew: %s", how);
    }
    json_decref(record);
}

static void every_kind_of_the_table_is_in_the_recipe(void **state)
{
    golden list[256];
    size_t n = read_goldens(list, 256);

    (void)state;
    for (const tn_stage_kind *const *k = tn_stage_kinds; *k != NULL; k++) {
        bool found = false;
        if ((*k)->recorded) continue; /* no pure function: what a server answers has no golden */
        for (size_t i = 0; i < n; i++) found = found || strcmp(list[i].kind, (*k)->name) == 0;
        if (!found)
            fail_msg("kind %s has no stage in tests/golden/recipe/every-kind.yaml: add one, then: %s",
                     (*k)->name, how);
    }
}

/* Any number of threads, the portable kernels: the same roots, so the goldens hold on every machine. */
static void a_rerun_gives_the_same_roots(void **state)
{
    const tn_run_options again = { .rerun = true };
    tn_error             err = { .msg = "" };

    (void)state;
    if (every_kind_run(NULL, NULL, NULL, NULL, &err) != TN_OK ||
        every_kind_run(NULL, NULL, &again, NULL, &err) != TN_OK)
        fail_msg("%s", err.msg);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, every_kind_setup, every_kind_teardown)
        T(output_changes_only_together_with_the_version),
        T(every_kind_of_the_table_is_in_the_recipe),
        T(a_rerun_gives_the_same_roots),
#undef T
    };
    if (argc < 2) return 2;
    every_kind_dir = argv[1];
    tn_log_set_level(TN_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
