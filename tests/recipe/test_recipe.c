/* test_recipe.c - recipes: what is refused and how, what runs and what is cached, reruns, explanations,
 * exports. */
#include "toys.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "recipe/recipe_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char      dir[64];
static tn_store *store;

static char *at(const char *name)
{
    static char path[4][400];
    static int  turn;
    char       *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void put(const char *name, const char *text)
{
    assert_int_equal(tn_file_write_all(at(name), text, strlen(text), NULL), TN_OK);
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tenet-recipe-XXXXXX");
    toy_runs = 0;
    return mkdtemp(dir) == NULL || tn_store_open(&store, at("store"), NULL) != TN_OK;
}

static int teardown(void **state)
{
    (void)state;
    tn_store_close(store);
    return tn_remove_tree(dir, NULL) != TN_OK;
}

static tn_status load(tn_recipe **r, const char *text, const char *const *sets, tn_error *err)
{
    const tn_recipe_options o = { .sets = sets, .kinds = toy_kinds };

    put("r.yaml", text);
    return tn_recipe_load(r, at("r.yaml"), &o, err);
}

/* Runs a recipe; the record in *out if asked for. */
static tn_status run(const char *text, const char *const *sets, const tn_run_options *o, json_t **out,
                     tn_error *err)
{
    static const tn_run_options none;
    tn_recipe                  *r = NULL;

    TN_TRY(load(&r, text, sets, err));
    tn_status status = tn_recipe_run(r, store, o != NULL ? o : &none, out, err);
    tn_recipe_free(r);
    return status;
}

static json_t *row(const json_t *record, const char *name)
{
    size_t  i;
    json_t *v;

    json_array_foreach(json_object_get(record, "stages"), i, v)
        if (strcmp(json_string_value(json_object_get(v, "name")), name) == 0) return v;
    return NULL;
}

static const char chain[] = "name: chain\n"
                            "vars: {word: hello, out: ''}\n"
                            "stages:\n"
                            "  last: {kind: join, inputs: {from: [b, file:in.txt, a]}}\n"
                            "  a: {kind: text, text: \"${word} \"}\n"
                            "  b: {kind: count, inputs: {from: a}, lr: 4}\n"
                            "  side: {kind: text, text: alone}\n"
                            "export: {last: \"${out}\"}\n";

static void wrong_recipes_are_refused_with_line_and_nearest_name(void **state)
{
    // clang-format off
    static const struct { const char *text, *says; } cases[] = {
        { "stages:\n  a: {kind: text, learning_rte: 2}\n", "r.yaml:2: unknown key 'learning_rte' in stage 'a'; did you mean 'lr' (number of steps)?" },
        { "stages:\n  a:\n    kind: text\n    lr: many\n", "r.yaml:4: lr is 'many': expected a whole number" },
        { "stages:\n  a:\n    kind: text\n    lr: 5000\n", "r.yaml:4: lr is 5000: expected 1 to 1000 steps" },
        { "stages:\n  a: {kind: txet}\n", "r.yaml:2: stage 'a': unknown kind 'txet'; did you mean 'text'?" },
        { "stages:\n  a: {kind: text}\nstags: {}\n", "r.yaml:3: unknown key 'stags' in the recipe; did you mean 'stages'?" },
        { "stages:\n  a: {kind: join}\n", "r.yaml:2: stage 'a' lacks its input 'from' (files to join)" },
        { "stages:\n  first: {kind: text}\n  b: {kind: join, inputs: {from: [frst]}}\n",
          "r.yaml:3: stage 'b' takes its input from 'frst', which is no stage; did you mean 'first'?" },
        { "stages:\n  b: {kind: join, inputs: {form: []}}\n", "kind join has no input 'form'; did you mean 'from'?" },
        { "stages:\n  b: {kind: count, inputs: {from: [x]}}\n", "takes one source, not a list" },
        { "stages:\n  a: {kind: count, inputs: {from: b}}\n  b: {kind: count, inputs: {from: a}}\n", "r.yaml:2: stage 'a' needs itself: a <- b <- a" },
        { "stages:\n  b: {kind: count, inputs: {from: file:gone.txt}}\n", "no such file" },
        { "stages:\n  b: {kind: count, inputs: {from: file:../../etc/passwd}}\n", "lies outside the folder of the recipe" },
        { "stages:\n  b: {kind: count, inputs: {from: /etc/passwd}}\n", "lies outside the folder of the recipe" },
        { "stages:\n  b: {kind: count, inputs: {from: file:link}}\n", "is a symlink or special file" },
        { "stages:\n  a: {kind: text, text: \"${wrd}\"}\nvars: {word: x}\n", "r.yaml:2: unknown variable 'wrd'; did you mean 'word'?" },
        { "stages:\n  a: {kind: text, text: \"${a}\"}\nvars: {a: \"${b}\", b: \"${a}\"}\n", "in a circle" },
        { "stages:\n  a: {kind: text}\n  a: {kind: text}\n", "r.yaml:3" },
        { "stages:\n\ta: {kind: text}\n", "r.yaml:2" },
        { "stages:\n  a: {kind: text}\n  b: {kind: text, profile: q9act}\n", "r.yaml:3: stage 'b': unknown profile 'q9act'" },
        { "stages:\n  b: {kind: text, profile: [strict]}\n", "r.yaml:2: stage 'b': profile takes one word" },
        { "stages: {}\n", "has no stages" },
        { "include: r.yaml\nstages: {a: {kind: text}}\n", "includes itself" },
        { "include: ../x.yaml\nstages: {a: {kind: text}}\n", "lies outside the folder" },
        { "stages: {a: {kind: text}}\nexport: {b: x}\n", "there is no stage 'b'" },
        { "stages: {a: {kind: text}}\nexport: {a: /tmp/x}\n", "lies outside this folder" },
        { "stages: {a: {kind: text, mode: even}}\n", "expected one of plain|odd" },
        { "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
          "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n", "100" },
    };
    // clang-format on
    tn_recipe *r = NULL;
    tn_error   err;

    (void)state;
    assert_int_equal(symlink("/etc/passwd", at("link")), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_not_equal(load(&r, cases[i].text, NULL, &err), TN_OK);
        assert_null(r);
        if (strstr(err.msg, cases[i].says) == NULL) fail_msg("case %zu says: %s", i, err.msg);
        assert_int_not_equal(tn_status_exit_code(err.code), 0);
    }
    static const char *const sets[][2] = { { "wrd=1", NULL },
                                           { "nothing", NULL },
                                           { "x.lr=1", NULL },
                                           { "a.lr=0", NULL },
                                           { "a.profile=exact", NULL } };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        assert_int_equal(load(&r, "vars: {word: x}\nstages: {a: {kind: text}}\n", sets[i], &err), TN_USAGE);
}

static const char *profile_of(const json_t *record, const char *stage)
{
    return json_string_value(json_object_get(row(record, stage), "profile"));
}

static void a_stage_may_have_a_profile_of_its_own(void **state)
{
    static const char text[] =
        "profile: q8act\nstages:\n  a: {kind: text}\n  b: {kind: text, profile: strict-bf16}\n";
    static const char *const set[] = { "a.profile=strict", NULL };
    json_t                  *first = NULL, *second = NULL;
    tn_recipe               *r = NULL;

    (void)state;
    assert_int_equal(run(text, NULL, NULL, &first, NULL), TN_OK);
    assert_string_equal(profile_of(first, "a"), "q8act");
    assert_string_equal(profile_of(first, "b"), "strict-bf16");
    assert_int_equal(toy_runs, 2);
    assert_int_equal(run(text, set, NULL, &second, NULL), TN_OK); /* another profile is another key */
    assert_string_equal(profile_of(second, "a"), "strict");
    assert_true(json_is_true(json_object_get(row(second, "b"), "cached")));
    assert_int_equal(toy_runs, 3);
    assert_int_equal(load(&r, text, NULL, NULL), TN_OK);
    assert_non_null(strstr(r->text, "  a:\n    kind: text\n    text")); /* the recipe's own is not repeated */
    assert_non_null(strstr(r->text, "  b:\n    kind: text\n    profile: strict-bf16\n"));
    tn_recipe_free(r);
    json_decref(first);
    json_decref(second);
}

static void an_optional_input_may_be_offered_by_an_empty_variable(void **state)
{
    static const char text[] =
        "vars: {data: ''}\nstages:\n  a: {kind: count, lr: 4, inputs: {from: \"${data}\"}}\n";
    char             *given = tn_strf("data=%s", at("in.txt"));
    const char *const sets[] = { given, NULL };
    json_t           *without = NULL, *with = NULL;
    tn_recipe        *r = NULL;
    tn_error          err;

    (void)state;
    put("in.txt", "begin");
    assert_int_equal(run(text, NULL, NULL, &without, NULL), TN_OK);
    assert_int_equal(run(text, sets, NULL, &with, NULL), TN_OK);
    assert_false(
        json_equal(json_object_get(row(without, "a"), "root"), json_object_get(row(with, "a"), "root")));
    assert_int_equal(
        load(&r, "vars: {data: ''}\nstages:\n  a: {kind: join, inputs: {from: [\"${data}\"]}}\n", NULL, &err),
        TN_USAGE);
    assert_non_null(strstr(err.msg, "r.yaml:3: stage 'a': '${data}' is empty"));
    json_decref(without);
    json_decref(with);
    free(given);
}

static void a_second_run_computes_nothing_and_a_change_only_what_it_touches(void **state)
{
    static const char *const other[] = { "word=howdy", NULL };
    static const char *const steps[] = { "b.lr=5", NULL };
    json_t                  *first = NULL, *second = NULL, *third = NULL;

    (void)state;
    put("in.txt", "file\n");
    assert_int_equal(run(chain, NULL, NULL, &first, NULL), TN_OK);
    assert_int_equal(toy_runs, 4);
    assert_int_equal(run(chain, NULL, NULL, &second, NULL), TN_OK);
    assert_int_equal(toy_runs, 4);
    assert_true(json_is_true(json_object_get(row(second, "last"), "cached")));
    assert_true(json_equal(json_object_get(row(first, "last"), "root"),
                           json_object_get(row(second, "last"), "root")));
    assert_int_equal(run(chain, steps, NULL, &third, NULL), TN_OK);
    assert_int_equal(toy_runs, 6); /* b and last */
    assert_int_equal(run(chain, other, NULL, NULL, NULL), TN_OK);
    assert_int_equal(toy_runs, 9); /* a, b and last */
    put("in.txt", "another\n");
    assert_int_equal(run(chain, NULL, NULL, NULL, NULL), TN_OK);
    assert_int_equal(toy_runs, 10); /* last */
    put("in.txt", "file\n");
    assert_int_equal(run(chain, NULL, NULL, NULL, NULL), TN_OK);
    assert_int_equal(toy_runs, 10); /* what was, is */
    json_decref(first);
    json_decref(second);
    json_decref(third);
}

static void only_what_a_stage_needs_runs_until_it(void **state)
{
    const tn_run_options o = { .until = "b" };
    tn_error             err;

    (void)state;
    put("in.txt", "file\n");
    assert_int_equal(run(chain, NULL, &o, NULL, NULL), TN_OK);
    assert_int_equal(toy_runs, 2);
    const tn_run_options wrong = { .until = "bb" };
    assert_int_equal(run(chain, NULL, &wrong, NULL, &err), TN_USAGE);
}

static void a_rerun_computes_again_and_fails_when_the_root_differs(void **state)
{
    const tn_run_options again = { .rerun = true };
    tn_error             err;

    (void)state;
    put("in.txt", "file\n");
    assert_int_equal(run(chain, NULL, NULL, NULL, NULL), TN_OK);
    assert_int_equal(run(chain, NULL, &again, NULL, NULL), TN_OK);
    assert_int_equal(toy_runs, 8);
    assert_int_equal(run("stages: {w: {kind: whim}}\n", NULL, NULL, NULL, NULL), TN_OK);
    assert_int_equal(run("stages: {w: {kind: whim}}\n", NULL, &again, NULL, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "stage 'w': it gave another result"));
    assert_int_equal(tn_status_exit_code(err.code), 3);
    int before = toy_runs; /* a recorded kind is heard once and then believed */
    assert_int_equal(run("stages: {h: {kind: heard}}\n", NULL, NULL, NULL, NULL), TN_OK);
    assert_int_equal(run("stages: {h: {kind: heard}}\n", NULL, &again, NULL, NULL), TN_OK);
    assert_int_equal(toy_runs, before + 1);
}

static void a_stage_goes_on_from_its_own_checkpoint(void **state)
{
    const char *text = "stages: {c: {kind: count, lr: 6, text: x}}\n";
    tn_recipe  *r = NULL;
    json_t     *plan = NULL, *whole = NULL, *record = NULL, *stage = NULL;
    tn_digest   key;
    char        path[256], line[160], hex[TN_SHA256_HEX];
    tn_digest   d = tn_sha256_of("x", 1);

    (void)state;
    assert_int_equal(run(text, NULL, NULL, &whole, NULL), TN_OK);
    tn_store_close(store);
    assert_int_equal(tn_store_open(&store, at("other"), NULL), TN_OK);
    /* the same in a store where it was killed after step 4 */
    assert_int_equal(load(&r, text, NULL, NULL), TN_OK);
    assert_int_equal(tn_recipe_plan(r, store, NULL, &plan, NULL), TN_OK);
    const char *key_text = json_string_value(json_object_get(row(plan, "c"), "key"));
    assert_true(tn_unhex(&key, key_text + 7));
    for (int i = 0; i < 4; i++) d = tn_sha256_of(d.b, 32);
    tn_hex(hex, &d);
    snprintf(path, sizeof path, "other/work/%.2s/%s", key_text + 7, key_text + 9);
    assert_int_equal(tn_mkdirs(at(path), NULL), TN_OK);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/state");
    snprintf(line, sizeof line, "4 %s", hex);
    put(path, line);
    assert_int_equal(tn_recipe_run(r, store, &(tn_run_options){ 0 }, &record, NULL), TN_OK);
    assert_true(
        json_equal(json_object_get(row(whole, "c"), "root"), json_object_get(row(record, "c"), "root")));
    assert_int_equal(tn_store_log(store, "stage", NULL, "c", 1, &stage, NULL), TN_OK);
    json_t *full = NULL;
    assert_int_equal(tn_store_record_get(store,
                                         json_string_value(json_object_get(json_array_get(stage, 0), "id")),
                                         &full, NULL),
                     TN_OK);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(full, "metrics"), "went_on_from")),
                     4);
    json_decref(full);
    json_decref(stage);
    json_decref(plan);
    json_decref(whole);
    json_decref(record);
    tn_recipe_free(r);
}

static void an_explanation_names_what_changed(void **state)
{
    static const char *const steps[] = { "b.lr=5", NULL };
    tn_recipe               *r = NULL;
    json_t                  *why = NULL;
    char                    *text;

    (void)state;
    put("in.txt", "file\n");
    assert_int_equal(load(&r, chain, NULL, NULL), TN_OK);
    assert_int_equal(tn_recipe_explain(r, store, "b", &why, NULL), TN_OK);
    text = tn_json_text(why);
    assert_non_null(strstr(text, "will run first"));
    free(text);
    json_decref(why);
    tn_recipe_free(r);
    assert_int_equal(run(chain, NULL, NULL, NULL, NULL), TN_OK);
    assert_int_equal(load(&r, chain, steps, NULL), TN_OK);
    assert_int_equal(tn_recipe_explain(r, store, "b", &why, NULL), TN_OK);
    text = tn_json_text(why);
    assert_non_null(strstr(text, "{\"before\":4,\"now\":5,\"what\":\"parameter 'lr'\"}"));
    assert_non_null(strstr(text, "\"state\":\"will run\""));
    free(text);
    json_decref(why);
    assert_int_equal(tn_recipe_explain(r, store, "side", &why, NULL), TN_OK);
    assert_string_equal(json_string_value(json_object_get(why, "state")), "cached");
    assert_int_equal(json_array_size(json_object_get(why, "why")), 0);
    json_decref(why);
    tn_recipe_free(r);
    put("in.txt", "other\n");
    assert_int_equal(load(&r, chain, NULL, NULL), TN_OK);
    assert_int_equal(tn_recipe_explain(r, store, "last", &why, NULL), TN_OK);
    text = tn_json_text(why);
    assert_non_null(strstr(text, "input 'from.1'"));
    free(text);
    json_decref(why);
    tn_recipe_free(r);
}

static void a_diff_names_stages_and_parameters(void **state)
{
    static const char *const steps[] = { "b.lr=5", NULL };
    json_t                  *a = NULL, *b = NULL, *diff = NULL;
    char                    *text;

    (void)state;
    put("in.txt", "file\n");
    assert_int_equal(run(chain, NULL, NULL, &a, NULL), TN_OK);
    assert_int_equal(run(chain, steps, NULL, &b, NULL), TN_OK);
    assert_int_equal(tn_run_diff(a, a, &diff, NULL), TN_OK);
    assert_true(json_is_true(json_object_get(diff, "same")));
    json_decref(diff);
    assert_int_equal(tn_run_diff(a, b, &diff, NULL), TN_OK);
    text = tn_json_text(diff);
    assert_non_null(strstr(text, "{\"a\":4,\"b\":5,\"stage\":\"b\",\"what\":\"parameter 'lr'\"}"));
    assert_non_null(strstr(text, "\"stage\":\"last\",\"what\":\"input 'from.0'\""));
    assert_null(strstr(text, "\"stage\":\"side\""));
    free(text);
    json_decref(diff);
    json_decref(a);
    json_decref(b);
}

static void an_export_replaces_only_what_the_store_has_too(void **state)
{
    char    *set = NULL;
    tn_error err;
    char    *text = NULL;

    (void)state;
    put("in.txt", "file\n");
    set = tn_strf("out=%s", at("result"));
    const char *const sets[] = { set, NULL };
    const char *const more[] = { set, "word=bye", NULL };
    assert_int_equal(run(chain, sets, NULL, NULL, &err), TN_OK);
    assert_int_equal(tn_file_read_all(&text, NULL, at("result"), 1000, NULL), TN_OK);
    assert_non_null(strstr(text, "hello 0"));
    free(text);
    assert_int_equal(run(chain, more, NULL, NULL, &err), TN_OK);
    assert_int_equal(tn_file_read_all(&text, NULL, at("result"), 1000, NULL), TN_OK);
    assert_non_null(strstr(text, "bye 0"));
    free(text);
    unlink(at("result"));
    put("result", "precious");
    assert_int_equal(run(chain, sets, NULL, NULL, &err), TN_USAGE);
    assert_non_null(strstr(err.msg, "holds something that the store does not have"));
    free(set);
}

/* One bit of what this stage of the run made; the store is opened anew, as by another process. */
static void damage(const json_t *record, const char *stage)
{
    tn_digest root;
    char     *path = NULL, *text = NULL;
    size_t    n;

    assert_true(tn_unhex(&root, json_string_value(json_object_get(row(record, stage), "root")) + 7));
    assert_int_equal(tn_store_path(store, &root, &path, NULL), TN_OK);
    assert_int_equal(tn_file_read_all(&text, &n, path, 1 << 20, NULL), TN_OK);
    text[0] = (char)(text[0] ^ 1);
    chmod(path, 0644);
    FILE *f = fopen(path, "r+b");
    fwrite(text, 1, n, f);
    fclose(f);
    free(text);
    free(path);
    tn_store_close(store);
    assert_int_equal(tn_store_open(&store, at("store"), NULL), TN_OK);
}

/* Nothing is made from it (the result would be kept under a good key), and no export is replaced by it. */
static void a_damaged_artifact_is_not_used_and_made_again(void **state)
{
    char    *set = NULL, *text = NULL;
    json_t  *first = NULL, *again = NULL, *bad = NULL;
    tn_error err;
    int64_t  n;

    (void)state;
    put("in.txt", "file\n");
    set = tn_strf("out=%s", at("result"));
    const char *const sets[] = { set, NULL }, *const more[] = { set, "word=bye", NULL };
    assert_int_equal(run(chain, more, NULL, NULL, &err), TN_OK);
    assert_int_equal(run(chain, sets, NULL, &first, &err), TN_OK);
    damage(first, "b");
    put("in.txt", "another\n");
    toy_runs = 0;
    assert_int_equal(run(chain, sets, NULL, NULL, &err), TN_VERIFY);
    assert_non_null(strstr(err.msg, "stage 'last': its input 'b'"));
    assert_non_null(strstr(err.msg, "damaged in the store"));
    assert_int_equal(toy_runs, 0);
    assert_int_equal(tn_store_verify(store, NULL, true, &bad, &n, NULL), TN_OK);
    assert_int_equal(json_array_size(bad), 1);
    assert_int_equal(run(chain, sets, NULL, &again, &err), TN_OK);
    assert_int_equal(toy_runs, 2); /* b and last */
    assert_true(
        json_equal(json_object_get(row(first, "b"), "root"), json_object_get(row(again, "b"), "root")));

    damage(again, "last");
    assert_int_equal(run(chain, more, NULL, NULL, &err), TN_OK); /* another export at that place */
    assert_int_equal(run(chain, sets, NULL, NULL, &err), TN_VERIFY);
    assert_int_equal(tn_file_read_all(&text, NULL, at("result"), 1000, NULL), TN_OK);
    assert_non_null(strstr(text, "bye 0")); /* stays until something whole comes */
    free(text);
    unlink(at("result"));
    assert_int_equal(run(chain, sets, NULL, NULL, &err), TN_VERIFY);
    assert_false(tn_exists(at("result")));
    /* what is computed replaces what is damaged */
    assert_int_equal(run(chain, sets, &(tn_run_options){ .rerun = true }, NULL, &err), TN_OK);
    assert_true(tn_exists(at("result")));
    json_decref(first);
    json_decref(again);
    json_decref(bad);
    free(set);
}

static void includes_bring_stages_and_variables_and_the_recipe_wins(void **state)
{
    json_t *record = NULL;

    (void)state;
    assert_int_equal(tn_mkdirs(at("parts"), NULL), TN_OK);
    put("parts/p.yaml",
        "vars: {word: theirs, other: kept}\nstages:\n  a: {kind: text, text: \"${word} ${other}\"}\n");
    assert_int_equal(run("include: parts/p.yaml\nvars: {word: mine}\nseed: 7\nstages:\n  b: {kind: tree, "
                         "inputs: {from: a}}\n"
                         "  c: {kind: join, inputs: {from: [b/text, b/sub/more]}}\n",
                         NULL, NULL, &record, NULL),
                     TN_OK);
    json_t *params = json_object_get(row(record, "a"), "params");
    assert_string_equal(json_string_value(json_object_get(params, "text")), "mine kept");
    assert_int_equal(json_integer_value(json_object_get(params, "seed")), 7);
    char     *path = NULL, *text = NULL;
    tn_digest root;
    assert_true(tn_unhex(&root, json_string_value(json_object_get(row(record, "c"), "root")) + 7));
    assert_int_equal(tn_store_path(store, &root, &path, NULL), TN_OK);
    assert_int_equal(tn_file_read_all(&text, NULL, path, 1000, NULL), TN_OK);
    assert_string_equal(text, "mine kept7\nmore\n");
    free(path);
    free(text);
    json_decref(record);
}

static void a_picture_holds_every_stage_and_source(void **state)
{
    tn_recipe *r = NULL;
    char      *dot = NULL, *svg = NULL;

    (void)state;
    put("in.txt", "x");
    assert_int_equal(load(&r, chain, NULL, NULL), TN_OK);
    assert_int_equal(tn_recipe_dot(r, &dot, NULL), TN_OK);
    assert_int_equal(tn_recipe_svg(r, &svg, NULL), TN_OK);
    assert_non_null(strstr(dot, "\"a\" -> \"b\" [label=\"from\"]"));
    assert_non_null(strstr(dot, "\"file:in.txt\" -> \"last\""));
    for (const char *const *n =
             (const char *const[]){ ">last<", ">a<", ">b<", ">side<", ">file:in.txt<", NULL };
         *n != NULL; n++)
        assert_non_null(strstr(svg, *n));
    free(dot);
    free(svg);
    tn_recipe_free(r);
}

/* Whatever crosses a column does so on a line of its own: no line behind a box, no two boxes on one place. */
static void no_line_of_a_picture_runs_behind_a_box(void **state)
{
    enum { MOST = 64 };
    struct {
        int x, y, w, h;
    } box[MOST];
    char      *recipe = tn_strdup("stages:\n  s0: {kind: join, inputs: {from: file:in.txt}}\n"), *svg = NULL;
    int        n_box = 0, n_lane = 0, n_hop = 0;
    tn_recipe *r = NULL;

    (void)state;
    put("in.txt", "x");
    for (int i = 1; i < 12; i++) { /* each takes the one before, an early one, and the file */
        char *more = tn_strf("%s  s%d: {kind: join, inputs: {from: [s%d, s%d, file:in.txt]}}\n", recipe, i,
                             i - 1, i / 3);
        free(recipe);
        recipe = more;
    }
    tn_error err = { 0 };
    if (load(&r, recipe, NULL, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_int_equal(tn_recipe_svg(r, &svg, NULL), TN_OK);
    for (const char *p = svg; (p = strstr(p, "<rect ")) != NULL && n_box < MOST; p++, n_box++)
        assert_int_equal(sscanf(strstr(p, " x="), " x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"",
                                &box[n_box].x, &box[n_box].y, &box[n_box].w, &box[n_box].h),
                         4);
    assert_int_equal(n_box, 13);
    for (int a = 0; a < n_box; a++)
        for (int b = 0; b < a; b++)
            if (box[a].x == box[b].x && abs(box[a].y - box[b].y) < box[a].h)
                fail_msg("two boxes on one place");
    for (const char *p = svg; (p = strstr(p, " d=\"M")) != NULL; p += 5) {
        int  x1, y1, x2, y2, c[6];
        bool lane = sscanf(p, " d=\"M%d %d L%d %d C%d %d %d %d %d %d", &x1, &y1, &x2, &y2, &c[0], &c[1],
                           &c[2], &c[3], &c[4], &c[5]) == 10;
        /* an arrowhead */
        if (!lane && sscanf(p, " d=\"M%d %d C%d %d %d %d %d %d", &x2, &y2, &c[0], &c[1], &c[2], &c[3], &c[4],
                            &c[5]) != 8)
            continue;
        n_hop++;
        n_lane += lane;
        for (int i = 0; i < n_box; i++) {
            if (lane && box[i].x == x1 && y1 >= box[i].y && y1 <= box[i].y + box[i].h)
                fail_msg("a line runs behind a box");
        }
        assert_true(c[4] - x2 < box[0].w); /* a curve spans the gap between two columns, no more */
    }
    assert_true(n_lane > 11 && n_hop > 30);
    free(svg);
    free(recipe);
    tn_recipe_free(r);
}

/* The output of a kind may change only together with its version. The roots were computed by another
 * program. */
static void every_kind_gives_its_golden_root(void **state)
{
    json_t *record = NULL;

    (void)state;
    assert_int_equal(run("stages:\n  a: {kind: text, text: golden}\n  f: {kind: tree, inputs: {from: a}}\n"
                         "  g: {kind: file, inputs: {from: f}, name: text}\n",
                         NULL, NULL, &record, NULL),
                     TN_OK);
    assert_string_equal(json_string_value(json_object_get(row(record, "a"), "root")),
                        "sha256:b564847f8629be4bbe6112c6a021c4548e767ea247024f950644d9fc35eedc7b");
    assert_string_equal(json_string_value(json_object_get(row(record, "f"), "root")),
                        "sha256:e6b24fa7436c3e284257cc888b030894a0e326164531d8ed50797b8a6cd5af11");
    assert_string_equal(json_string_value(json_object_get(row(record, "g"), "root")),
                        json_string_value(json_object_get(row(record, "a"), "root")));
    json_decref(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(wrong_recipes_are_refused_with_line_and_nearest_name),
        T(a_stage_may_have_a_profile_of_its_own),
        T(an_optional_input_may_be_offered_by_an_empty_variable),
        T(a_second_run_computes_nothing_and_a_change_only_what_it_touches),
        T(only_what_a_stage_needs_runs_until_it),
        T(a_rerun_computes_again_and_fails_when_the_root_differs),
        T(a_stage_goes_on_from_its_own_checkpoint),
        T(an_explanation_names_what_changed),
        T(a_diff_names_stages_and_parameters),
        T(an_export_replaces_only_what_the_store_has_too),
        T(a_damaged_artifact_is_not_used_and_made_again),
        T(includes_bring_stages_and_variables_and_the_recipe_wins),
        T(a_picture_holds_every_stage_and_source),
        T(no_line_of_a_picture_runs_behind_a_box),
        T(every_kind_gives_its_golden_root),
#undef T
    };
    tn_log_set_level(TN_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
