/* cmd_diff.c - `tenet diff RUN RUN`: what differs between two runs; `tenet diff FILE FILE`: the first
 * operation whose hash differs (files written by --hash-ops), or the first line of any two text files. */
#include "cli/cli.h"
#include "store/store.h"
#include "recipe/recipe.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tn_option options[] = { { .key = NULL } };

static tn_status diff_files(const tn_common *common, const char *a, const char *b, tn_error *err)
{
    FILE     *fa = fopen(a, "rb"), *fb = fopen(b, "rb");
    char     *la = NULL, *lb = NULL;
    size_t    ca = 0, cb = 0, na = 0, nb = 0;
    int64_t   line = 0;
    bool      ha, hb, differ = false;
    tn_status status = TN_OK;

    if (fa == NULL || fb == NULL) {
        status = tn_fail(err, TN_IO, "%s: %s", fa == NULL ? a : b, strerror(errno));
        goto out;
    }
    do {
        ha = tn_read_line(fa, &la, &ca, &na);
        hb = tn_read_line(fb, &lb, &cb, &nb);
        line++;
        differ = ha != hb || (ha && (na != nb || memcmp(la, lb, na) != 0));
    } while (!differ && ha);
    if (common->json) {
        json_t *o = json_pack("{s:b}", "same", !differ);
        if (differ) {
            json_object_set_new(o, "line", json_integer(line));
            json_object_set_new(o, "a", ha ? json_stringn(la, na) : json_null());
            json_object_set_new(o, "b", hb ? json_stringn(lb, nb) : json_null());
        }
        status = tn_cli_print_json(o, err);
    } else if (!differ) {
        printf("the same, %lld lines\n", (long long)line - 1);
    } else {
        printf("first difference in line %lld\n  %s: %.400s\n  %s: %.400s\n", (long long)line, a,
               ha ? la : "(ends before)", b, hb ? lb : "(ends before)");
    }
out:
    if (fa != NULL) fclose(fa);
    if (fb != NULL) fclose(fb);
    free(la);
    free(lb);
    return status;
}

static void say(const char *word, const json_t *v)
{
    char *text = json_is_string(v) ? tn_strdup(json_string_value(v))
                 : json_is_null(v) ? tn_strdup("-")
                                   : tn_json_text(v);

    printf("    %s %s\n", word, text != NULL ? text : "");
    free(text);
}

/* Stages that only one run has, as one line: "only in the second run: base, before". */
static void say_lonely(const json_t *rows, const char *what, const char *line)
{
    size_t  i, n = 0;
    json_t *row;

    json_array_foreach(rows, i, row)
        if (strcmp(json_string_value(json_object_get(row, "what")), what) == 0)
            printf("%s%s", n++ == 0 ? line : ", ", json_string_value(json_object_get(row, "stage")));
    if (n > 0) putchar('\n');
}

static tn_status diff_runs(const tn_common *common, const char *a, const char *b, tn_error *err)
{
    tn_store                *s = NULL;
    static const char *const lonely[][2] = { { "stage is only in the first run", "only in the first run: " },
                                             { "stage is only in the second run",
                                               "only in the second run: " } };
    json_t                  *ra = NULL, *rb = NULL, *d = NULL, *row;
    size_t                   i;
    tn_status                status;

    TN_TRY(tn_store_open(&s, common->store, err));
    TN_GOTO(tn_store_record_get(s, a, &ra, err));
    TN_GOTO(tn_store_record_get(s, b, &rb, err));
    TN_GOTO(tn_run_diff(ra, rb, &d, err));
    if (common->json) {
        status = tn_cli_print_json(json_incref(d), err);
        goto out;
    }
    if (json_is_true(json_object_get(d, "same"))) puts("the same recipe, inputs, parameters and results");
    json_array_foreach(json_object_get(d, "stages"), i, row) {
        const char *stage = json_string_value(json_object_get(row, "stage")),
                   *what = json_string_value(json_object_get(row, "what"));
        if (strcmp(what, lonely[0][0]) == 0 || strcmp(what, lonely[1][0]) == 0) continue;
        printf("%s%s%s\n", stage, stage[0] != '\0' ? ": " : "", what);
        say("first ", json_object_get(row, "a"));
        say("second", json_object_get(row, "b"));
    }
    for (int k = 0; k < 2; k++) say_lonely(json_object_get(d, "stages"), lonely[k][0], lonely[k][1]);
out:
    json_decref(ra);
    json_decref(rb);
    json_decref(d);
    tn_store_close(s);
    return status;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    (void)config, (void)n_arg;
    return tn_exists(args[0]) && tn_exists(args[1]) ? diff_files(common, args[0], args[1], err)
                                                    : diff_runs(common, args[0], args[1], err);
}

const tn_command tn_cmd_diff = {
    .name = "diff",
    .line = "what differs between two runs, or two files of --hash-ops",
    .usage = "tenet diff RUN RUN | FILE FILE",
    .more = "Runs are named by the ids that `tenet log` shows (a unique beginning is enough).",
    .options = options,
    .config_bytes = 1,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
