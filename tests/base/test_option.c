/* test_option.c - one row drives flag, YAML key, default, range, help and manifest. */
#include "base/option.h"
#include "testing.h"

typedef struct config {
    int64_t steps;
    double  lr;
    bool    shuffle, packed;
    char   *name, *type, *tasks, *kinds;
} config;
#define AT(f) offsetof(config, f)
// clang-format off
static const tn_option table[] = {
    { "steps",   TN_OPT_INT,    AT(steps),   "1000",   1, 1e6, "steps", "optimiser steps", "n" },
    { "lr_max",  TN_OPT_REAL,   AT(lr),      "3e-4",   0, 1,   "",      "peak learning rate", "lr" },
    { "shuffle", TN_OPT_BOOL,   AT(shuffle), "true",   0, 0,   "",      "in a new order each epoch", NULL },
    { "packed",  TN_OPT_BOOL,   AT(packed),  NULL,     0, 0,   "",      "many documents a row", NULL },
    { "name",    TN_OPT_STR,    AT(name),    NULL,     0, 0,   "",      "a name", NULL },
    { "type",    TN_OPT_CHOICE, AT(type),    "q8_0",   0, 0,   "q8_0|q4_k|f16", "how weights are stored", NULL },
    { "tasks",   TN_OPT_LIST,   AT(tasks),   NULL,     0, 0,   "",      "what to do", NULL },
    { "kinds",   TN_OPT_LIST,   AT(kinds),   NULL,     0, 0,   "red|green", "which ones", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
};
// clang-format on

static const tn_option *owner[32];

static tn_status argv_parse(config *c, const char *const *words, int n, const char **rest, int *n_rest,
                            tn_error *err)
{
    const tn_option_set_ref sets[] = { { table, c }, { NULL, NULL } };
    char                   *argv[32];

    memset(c, 0, sizeof *c);
    assert_int_equal(tn_options_default(c, table, err), TN_OK);
    for (int i = 0; i < n; i++) argv[i] = (char *)(uintptr_t)words[i];
    return tn_options_argv(sets, n, argv, rest, n_rest, owner, err);
}

static void defaults_come_from_the_table(void **state)
{
    config c = { 0 };

    (void)state;
    assert_int_equal(tn_options_default(&c, table, NULL), TN_OK);
    assert_int_equal(c.steps, 1000);
    assert_true(c.lr == 3e-4 && c.shuffle && !c.packed);
    assert_string_equal(c.type, "q8_0");
    assert_null(c.name);
    tn_options_free(&c, table);
    assert_null(c.type);
}

static void flags_are_read_in_every_form(void **state)
{
    const char *const words[] = { "file", "--steps",   "5", "-lr=0.5", "--no-shuffle", "--packed",
                                  "-5",   "--name=-x", "-", "--",      "--steps" };
    const char       *rest[16];
    config            c;
    int               n_rest;
    tn_error          err;

    (void)state;
    assert_int_equal(argv_parse(&c, words, 11, rest, &n_rest, &err), TN_OK);
    assert_int_equal(c.steps, 5);
    assert_true(c.lr == 0.5);
    assert_false(c.shuffle);
    assert_true(c.packed);
    assert_string_equal(c.name, "-x");
    assert_int_equal(n_rest, 4);
    assert_string_equal(rest[0], "file");
    assert_string_equal(rest[1], "-5");
    static const char *const owned[] = { NULL, "steps", "steps", "lr_max", "shuffle", "packed",
                                         NULL, "name",  NULL,    NULL,     NULL };
    for (int i = 0; i < 11; i++) { /* each word knows its option */
        if (owned[i] == NULL) assert_null(owner[i]);
        else assert_string_equal(owner[i]->key, owned[i]);
    }
    assert_string_equal(rest[2], "-");
    assert_string_equal(rest[3], "--steps");
    tn_options_free(&c, table);
}

static void wrong_flags_say_what_would_be_right(void **state)
{
    // clang-format off
    static const struct { const char *words[3]; int n; const char *says; } cases[] = {
        { { "--step", "5" }, 2, "did you mean 'steps' (optimiser steps)" },
        { { "--steps" }, 1, "needs a value" },
        { { "-n" }, 1, "-n needs a value (optimiser steps)" }, { { "-n", "0" }, 2, "-n: steps is 0" }, { { "--steps", "0" }, 2, "--steps: steps is 0" },
        { { "--steps", "0" }, 2, "expected 1 to 1000000" },
        { { "--steps", "five" }, 2, "expected a whole number" },
        { { "--steps", "1.5" }, 2, "expected a whole number" },
        { { "--lr", "x" }, 2, "expected a number" },
        { { "--type", "q9" }, 2, "expected one of q8_0|q4_k|f16" },
        { { "--kinds", "red, gren" }, 2, "--kinds: kinds is 'gren': expected one of red|green; did you mean 'green'?" },
        { { "--kinds", "blue" }, 2, "kinds is 'blue': expected one of red|green" },
        { { "--shuffle=maybe" }, 1, "expected true or false" },
        { { "--frobnicate" }, 1, "unknown option 'frobnicate'" },
    };
    // clang-format on
    const char *rest[8];
    config      c;
    int         n_rest;
    tn_error    err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(argv_parse(&c, cases[i].words, cases[i].n, rest, &n_rest, &err), TN_USAGE);
        assert_says(err, cases[i].says);
        if (strcmp(cases[i].words[0], "-n") == 0) assert_null(strstr(err.msg, "--n")); /* as it was written */
        tn_options_free(&c, table);
    }
}

static void yaml_keys_are_checked_against_the_same_rows(void **state)
{
    static const char *const also[] = { "model", NULL };
    static const char        good[] = "model: x\nsteps: 1e3\nlr: 0.1\nname: no\ntasks: [a, b]\n";
    static const char        bad[] = "steps: 1\nlr_mx: 2\n";
    config                   c = { 0 };
    tn_yaml                 *y;
    tn_error                 err;

    (void)state;
    assert_int_equal(tn_yaml_parse(&y, good, strlen(good), "t.yaml", &err), TN_OK);
    assert_int_equal(tn_options_yaml(&c, table, y, "t.yaml", also, &err), TN_OK);
    assert_int_equal(c.steps, 1000);
    assert_string_equal(c.name, "no"); /* the row decides the type */
    assert_string_equal(c.tasks, "a,b");
    tn_yaml_free(y);
    assert_int_equal(tn_yaml_parse(&y, bad, strlen(bad), "t.yaml", &err), TN_OK);
    assert_int_equal(tn_options_yaml(&c, table, y, "t.yaml", also, &err), TN_USAGE);
    assert_says(err, "t.yaml:2");
    assert_says(err, "lr_max");
    tn_yaml_free(y);
    /* a BOM; as YAML 1.1 writes them; empty on purpose */
    static const char said[] = "\xef\xbb\xbfshuffle: False\npacked: On\nname: ''\n";
    assert_int_equal(tn_yaml_parse(&y, said, strlen(said), "t.yaml", &err), TN_OK);
    assert_int_equal(tn_options_yaml(&c, table, y, "t.yaml", NULL, &err), TN_OK);
    assert_true(!c.shuffle && c.packed && c.name[0] == '\0');
    tn_yaml_free(y);
    static const char *const nothing[] = { "steps: 1\nname:\n", "steps: 1\nname: ~\n",
                                           "steps: 1\ntasks: null\n", "shuffle: on\nlr: # later\n" };
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        assert_int_equal(tn_yaml_parse(&y, nothing[i], strlen(nothing[i]), "t.yaml", &err), TN_OK);
        assert_int_equal(tn_options_yaml(&c, table, y, "t.yaml", NULL, &err), TN_USAGE);
        assert_says(err, "t.yaml:2");
        assert_says(err, "has no value");
        tn_yaml_free(y);
    }
    tn_options_free(&c, table);
}

static void the_manifest_has_every_value_and_the_help_every_row(void **state)
{
    config  c = { 0 };
    json_t *o;
    char   *text, *help;

    (void)state;
    assert_int_equal(tn_options_default(&c, table, NULL), TN_OK);
    assert_int_equal(tn_option_set(&c, table, "tasks", "a, b,", "here", NULL), TN_OK); /* the same list */
    o = tn_options_json(&c, table);
    text = tn_json_text(o);
    assert_string_equal(text, "{\"kinds\":[],\"lr_max\":0.0003,\"name\":null,\"packed\":false,\"shuffle\":"
                              "true,\"steps\":1000,\"tasks\":[\"a\",\"b\"],\"type\":\"q8_0\"}");
    help = tn_options_help(table);
    for (const tn_option *row = table; row->key != NULL; row++) assert_non_null(strstr(help, row->help));
    assert_non_null(strstr(help, "--lr-max"));
    assert_non_null(strstr(help, "-n, --steps N"));
    free(text);
    free(help);
    json_decref(o);
    tn_options_free(&c, table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(flags_are_read_in_every_form),
        cmocka_unit_test(wrong_flags_say_what_would_be_right),
        cmocka_unit_test(yaml_keys_are_checked_against_the_same_rows),
        cmocka_unit_test(the_manifest_has_every_value_and_the_help_every_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
