/* test_rows.c - rows from before: a changed principle computes only what it touches, and a row that was taken
 * gives the same bytes as one that was computed - after a kill, with a damaged file of rows, and never in a
 * rerun. */
#include "every_kind.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char recipe[] =
    "name: rows\n"
    "seed: 1\n"
    "vars: {dir: ., constitution: c.yaml}\n"
    "stages:\n"
    "  prompts: {kind: prompts, inputs: {constitution: \"${constitution}\", files: "
    "[\"${dir}/prompts.txt\"]}, heldout: 0.25, dev: 0}\n"
    "  own: {kind: answers, inputs: {model: \"${dir}/model\", prompts: prompts}, max_tokens: 12}\n"
    "  contrast: {kind: contrast, inputs: {model: \"${dir}/model\", prompts: prompts, constitution: "
    "\"${constitution}\"}, max_tokens: 12}\n"
    "  revise: {kind: revise, inputs: {model: \"${dir}/model\", prompts: prompts, answers: own, "
    "constitution: \"${constitution}\"}, max_tokens: 12}\n"
    "  pairs: {kind: pairs, inputs: {prompts: prompts, answers: own, contrast: contrast, revisions: revise,\n"
    "          constitution: \"${constitution}\"}, min_words: 1, max_repetition: 1}\n";

static const char *sets[3];
static char       *set_dir, *charter;

static int setup(void **state)
{
    char *from;

    if (every_kind_setup(state) != 0) return -1;
    from = tn_path(every_kind_dir, "constitution.yaml");
    set_dir = tn_strf("dir=%s", every_kind_dir);
    charter = tn_strf("constitution=%s", every_kind_at("c.yaml"));
    sets[0] = set_dir;
    sets[1] = charter;
    bool ok = tn_file_write_all(every_kind_at("r.yaml"), recipe, sizeof recipe - 1, NULL) == TN_OK &&
              tn_file_clone(from, every_kind_at("c.yaml"), false, NULL) == TN_OK;
    free(from);
    return ok ? 0 : -1;
}

static int teardown(void **state)
{
    free(set_dir);
    free(charter);
    return every_kind_teardown(state);
}

static json_t *run(const tn_run_options *o)
{
    json_t  *record = NULL;
    tn_error err = { .msg = "" };

    if (every_kind_run(every_kind_at("r.yaml"), sets, o, &record, &err) != TN_OK) fail_msg("%s", err.msg);
    return record;
}

static const char *root(const json_t *record, const char *stage)
{
    return json_string_value(json_object_get(every_kind_row(record, stage), "root"));
}

static json_t *plan_row(const char *stage)
{
    const tn_recipe_options o = { .sets = sets };
    tn_recipe              *r = NULL;
    json_t                 *plan = NULL, *row;
    tn_error                err = { .msg = "" };

    if (tn_recipe_load(&r, every_kind_at("r.yaml"), &o, &err) != TN_OK ||
        tn_recipe_plan(r, every_kind_store(), NULL, &plan, &err) != TN_OK)
        fail_msg("%s", err.msg);
    row = stage == NULL ? json_incref(plan) : json_incref(every_kind_row(plan, stage));
    json_decref(plan);
    tn_recipe_free(r);
    return row;
}

/* Writes c.yaml with one word of a principle changed. */
static void change_principle(const char *from, const char *to)
{
    char  *text = NULL, *at, *more;
    size_t n;

    assert_int_equal(tn_file_read_all(&text, &n, every_kind_at("c.yaml"), 1 << 20, NULL), TN_OK);
    at = strstr(text, from);
    assert_non_null(at);
    more = tn_strf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(tn_file_write_all(every_kind_at("c.yaml"), more, strlen(more), NULL), TN_OK);
    free(text);
    free(more);
}

static tn_store *other_store(const char *name)
{
    tn_store *s = NULL;

    assert_int_equal(tn_store_open(&s, every_kind_at(name), NULL), TN_OK);
    return s;
}

/* The root of a stage in a store that knows nothing. */
static char *computed_root(const char *stage)
{
    static int              n;
    const tn_recipe_options o = { .sets = sets };
    tn_recipe              *r = NULL;
    json_t                 *record = NULL;
    char                    name[32];
    tn_error                err = { .msg = "" };

    snprintf(name, sizeof name, "fresh-%d", n++);
    tn_store *s = other_store(name);
    if (tn_recipe_load(&r, every_kind_at("r.yaml"), &o, &err) != TN_OK ||
        tn_recipe_run(r, s, &(tn_run_options){ 0 }, &record, &err) != TN_OK)
        fail_msg("%s", err.msg);
    char *out = tn_strdup(root(record, stage));
    json_decref(record);
    tn_recipe_free(r);
    tn_store_close(s);
    return out;
}

static void a_changed_principle_computes_only_the_rows_that_it_touches(void **state)
{
    json_t *first = run(NULL), *second, *row, *plan;
    char   *want;

    (void)state;
    change_principle("an assistant that refuses to help with theft",
                     "an assistant that will not help with theft");
    plan = plan_row(NULL);
    row = every_kind_row(plan, "own");
    assert_string_equal(json_string_value(json_object_get(row, "state")), "cached");
    row = every_kind_row(plan, "contrast");
    assert_string_equal(json_string_value(json_object_get(row, "state")), "will run");
    int64_t n = json_integer_value(json_object_get(row, "rows")),
            known = json_integer_value(json_object_get(row, "rows_known"));
    assert_int_equal(n, 28);
    assert_int_equal(known, 21); /* seven positive affixes are other words now */
    row = json_array_get(json_object_get(plan, "constitution"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "id")), "harm.theft");
    assert_string_equal(json_string_value(json_object_get(row, "change")), "changed");
    json_decref(plan);
    second = run(NULL);
    want = computed_root("contrast");
    assert_string_equal(root(second, "contrast"), want);
    assert_string_not_equal(root(first, "contrast"), want);
    free(want);
    want = computed_root("pairs");
    assert_string_equal(root(second, "pairs"), want);
    free(want);
    json_decref(first);
    json_decref(second);
}

static void rows_that_are_all_known_are_put_together_while_planning(void **state)
{
    json_t *row;

    (void)state;
    json_decref(run(NULL));
    change_principle("Do not help anyone take", "Never help anyone take"); /* no wording that sampling sees */
    row = plan_row("contrast");
    assert_string_equal(json_string_value(json_object_get(row, "state")), "done");
    json_decref(row);
    row = plan_row("revise"); /* the second time, what was done in planning is cached */
    assert_string_equal(json_string_value(json_object_get(row, "state")), "cached");
    json_decref(row);
}

static void a_killed_stage_goes_on_row_by_row_to_the_same_root(void **state)
{
    char *want = computed_root("revise");

    (void)state;
    for (int k = 0; k < 6; k++) {
        pid_t pid = fork();
        if (pid == 0) {
            tn_store               *s = NULL; /* a process of its own, with a store of its own */
            const tn_recipe_options o = { .sets = sets };
            tn_recipe              *r = NULL;
            if (tn_store_open(&s, every_kind_at("killed"), NULL) != TN_OK) _exit(2);
            if (tn_recipe_load(&r, every_kind_at("r.yaml"), &o, NULL) != TN_OK) _exit(2);
            _exit(tn_recipe_run(r, s, &(tn_run_options){ 0 }, NULL, NULL) == TN_OK ? 0 : 1);
        }
        usleep(6000u + 9000u * (unsigned)k);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    tn_store               *s = other_store("killed");
    const tn_recipe_options o = { .sets = sets };
    tn_recipe              *r = NULL;
    json_t                 *record = NULL;
    assert_int_equal(tn_recipe_load(&r, every_kind_at("r.yaml"), &o, NULL), TN_OK);
    assert_int_equal(tn_recipe_run(r, s, &(tn_run_options){ 0 }, &record, NULL), TN_OK);
    assert_string_equal(root(record, "revise"), want);
    json_decref(record);
    tn_recipe_free(r);
    tn_store_close(s);
    free(want);
}

/* Every file under rows/ changed by `damage`. */
static void damage_rows(void (*damage)(const char *path))
{
    char **names = NULL;
    size_t n = 0;

    assert_int_equal(tn_list_files(&names, &n, every_kind_at("store/rows"), NULL), TN_OK);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        char *path = tn_path(every_kind_at("store/rows"), names[i]);
        damage(path);
        free(path);
    }
    tn_list_free(names, n);
}

static void other_text(const char *path) /* a row that was tampered with: its check does not hold */
{
    char  *text = NULL;
    size_t n;

    assert_int_equal(tn_file_read_all(&text, &n, path, 1 << 24, NULL), TN_OK);
    for (char *p = text; (p = strstr(p, "\"text\":\"")) != NULL; p += 8)
        p[8] = p[8] == '"' ? '"' : (char)(p[8] ^ 1);
    assert_int_equal(tn_file_write_all(path, text, n, NULL), TN_OK);
    free(text);
}

static void torn(const char *path)
{
    char  *text = NULL;
    size_t n;

    assert_int_equal(tn_file_read_all(&text, &n, path, 1 << 24, NULL), TN_OK);
    assert_int_equal(tn_file_write_all(path, text, n - 40, NULL), TN_OK);
    free(text);
}

static void damaged_rows_are_computed_again(void **state)
{
    json_t *second;
    char   *want;

    (void)state;
    json_decref(run(NULL));
    damage_rows(other_text);
    change_principle("an assistant that refuses to help with theft",
                     "an assistant that will not help with theft");
    want = computed_root("pairs");
    second = run(NULL);
    assert_string_equal(root(second, "pairs"), want);
    json_decref(second);
    free(want);
    damage_rows(torn);
    change_principle("an assistant that will not help with theft", "an assistant that helps no thief");
    want = computed_root("pairs");
    second = run(NULL);
    assert_string_equal(root(second, "pairs"), want);
    json_decref(second);
    free(want);
}

/* A rerun that believed the rows could not find what it is there to find. */
static void lie(const char *path)
{
    char  *text = NULL, *line, *save = NULL;
    size_t n;
    tn_str out = { 0 };

    assert_int_equal(tn_file_read_all(&text, &n, path, 1 << 24, NULL), TN_OK);
    for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        json_t *o = NULL, *row;
        char   *row_text, *joined, hex[TN_SHA256_HEX];
        assert_int_equal(tn_json_parse(&o, line, strlen(line), path, NULL), TN_OK);
        row = json_object_get(o, "row");
        json_object_set_new(row, "text", json_string("a lie"));
        row_text = tn_json_text(row);
        joined = tn_strf("%s%s", json_string_value(json_object_get(o, "key")), row_text);
        tn_digest d = tn_sha256_of(joined, strlen(joined));
        tn_hex(hex, &d);
        hex[16] = '\0';
        json_object_set_new(o, "check", json_string(hex));
        free(row_text);
        free(joined);
        joined = tn_json_text(o);
        tn_str_addf(&out, "%s\n", joined);
        free(joined);
        json_decref(o);
    }
    assert_int_equal(tn_file_write_all(path, out.p, out.len, NULL), TN_OK);
    tn_str_free(&out);
    free(text);
}

static void a_rerun_believes_no_row(void **state)
{
    const tn_run_options again = { .rerun = true };

    (void)state;
    json_decref(run(NULL));
    damage_rows(lie);
    json_decref(run(&again)); /* VERIFY, if a lie had been taken */
}

/* Rows are of the model that answered: another judge's are not taken, under whatever port it comes. */
static void rows_of_another_model_are_not_taken(void **state)
{
    static const char text[] = "name: judges\n"
                               "vars: {dir: ., other: .}\n"
                               "stages:\n"
                               "  one: {kind: judge, inputs: {judge: \"${dir}/model\", labelled: "
                               "\"${dir}/labelled.txt\", constitution: \"${dir}/constitution.yaml\"},\n"
                               "        floor: 0, soft: 0, consistency: 0, mass: 0}\n"
                               "  two: {kind: judge, inputs: {judge: \"${other}\", labelled: "
                               "\"${dir}/labelled.txt\", constitution: \"${dir}/constitution.yaml\"},\n"
                               "        floor: 0, soft: 0, consistency: 0, mass: 0}\n";
    char *other = tn_strf("other=%s", every_kind_at("other")), *from = tn_path(every_kind_dir, "model"),
         *weights = NULL;
    const char *const two[] = { set_dir, other, NULL };
    char            **names = NULL;
    size_t            n = 0, n_weights = 0;
    json_t           *record = NULL;
    tn_error          err = { .msg = "" };

    (void)state;
    assert_int_equal(tn_list_files(&names, &n, from, NULL), TN_OK);
    assert_int_equal(tn_mkdirs(every_kind_at("other"), NULL), TN_OK);
    for (size_t i = 0; i < n; i++) {
        char *a = tn_path(from, names[i]), *b = tn_path(every_kind_at("other"), names[i]);
        assert_int_equal(tn_file_clone(a, b, false, NULL), TN_OK);
        free(a);
        free(b);
    }
    tn_list_free(names, n);
    assert_int_equal(
        tn_file_read_all(&weights, &n_weights, every_kind_at("other/model.safetensors"), 1 << 20, NULL),
        TN_OK);
    /* the signs of some weights */
    for (size_t i = n_weights - 256; i < n_weights; i += 4) weights[i + 3] ^= (char)0x80;
    assert_int_equal(tn_file_write_all(every_kind_at("other/model.safetensors"), weights, n_weights, NULL),
                     TN_OK);
    assert_int_equal(tn_file_write_all(every_kind_at("j.yaml"), text, sizeof text - 1, NULL), TN_OK);
    if (every_kind_run(every_kind_at("j.yaml"), two, NULL, &record, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_string_not_equal(root(record, "one"), root(record, "two"));
    json_decref(record);
    json_t *log = NULL;
    assert_int_equal(tn_store_log(every_kind_store(), "stage", "judges", "two", 1, &log, NULL), TN_OK);
    assert_int_equal(tn_store_record_get(every_kind_store(),
                                         json_string_value(json_object_get(json_array_get(log, 0), "id")),
                                         &record, NULL),
                     TN_OK);
    const json_t *metrics = json_object_get(record, "metrics");
    assert_true(json_integer_value(json_object_get(metrics, "rows")) > 0);
    assert_int_equal(json_integer_value(json_object_get(metrics, "rows_from_before")), 0);
    json_decref(log);
    json_decref(record);
    free(weights);
    free(from);
    free(other);
}

static void gc_takes_old_rows_away(void **state)
{
    tn_gc_result g;

    (void)state;
    json_decref(run(NULL));
    assert_int_equal(tn_store_gc(every_kind_store(), 20, false, &g, NULL), TN_OK);
    char **names = NULL;
    size_t n = 0;
    assert_int_equal(tn_list_files(&names, &n, every_kind_at("store/rows"), NULL), TN_OK);
    assert_int_equal(n, 1); /* one model, no adapter: one space, and it is young */
    char                 *old = tn_path(every_kind_at("store/rows"), names[0]);
    const struct timespec times[2] = { { time(NULL) - 30 * 86400, 0 }, { time(NULL) - 30 * 86400, 0 } };
    assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
    free(old);
    tn_list_free(names, n);
    assert_int_equal(tn_store_gc(every_kind_store(), 20, false, &g, NULL), TN_OK);
    assert_int_equal(tn_list_files(&names, &n, every_kind_at("store/rows"), NULL), TN_OK);
    assert_int_equal(n, 0);
    tn_list_free(names, n);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(a_changed_principle_computes_only_the_rows_that_it_touches),
        T(rows_that_are_all_known_are_put_together_while_planning),
        T(a_killed_stage_goes_on_row_by_row_to_the_same_root),
        T(damaged_rows_are_computed_again),
        T(a_rerun_believes_no_row),
        T(rows_of_another_model_are_not_taken),
        T(gc_takes_old_rows_away),
#undef T
    };
    if (argc < 2) return 2;
    every_kind_dir = argv[1];
    tn_log_set_level(TN_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
