/* test_release.c - releases and verdicts: the same bytes from the same parts, every flipped bit found, every
 * kind of forgery by someone who holds the key found for the right reason. */
#include "release_util.h"

#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void same_parts_and_key_give_the_same_bytes(void **state)
{
    tn_digest a, b;

    (void)state;
    release_make("one");
    release_make("two");
    assert_int_equal(tn_tree_digest(release_at("one"), &a, NULL, NULL), TN_OK);
    assert_int_equal(tn_tree_digest(release_at("two"), &b, NULL, NULL), TN_OK);
    assert_true(tn_digest_equal(&a, &b));
}

static void a_release_is_sound_and_without_a_key_unchecked(void **state)
{
    json_t *v = NULL;

    (void)state;
    release_make("r");
    v = release_verdict("r", 0);
    if (strcmp(json_string_value(json_object_get(v, "verdict")), "sound") != 0)
        fail_msg("%s", tn_json_text(v));
    json_decref(v);
    const tn_verify_options none = { .key = NULL };
    assert_int_equal(tn_release_verify(release_at("r"), &none, &v, NULL), TN_OK);
    assert_string_equal(json_string_value(json_object_get(v, "verdict")), "unchecked");
    json_decref(v);
}

/* A verdict travels without the release: it must say which one it is about, as JSON and as a page that needs
 * nothing else. */
static void a_verdict_names_its_release_and_stands_by_itself(void **state)
{
    json_t *v = NULL, *bom = NULL;
    char   *page = NULL, serial[TN_BOM_SERIAL];
    size_t  n = 0;

    (void)state;
    release_make("r");
    const tn_verify_options o = { .key = NULL, .html = release_at("verdict.html") };
    assert_int_equal(tn_release_verify(release_at("r"), &o, &v, NULL), TN_OK);
    const json_t *about = json_object_get(v, "release");
    const char   *content = json_string_value(json_object_get(about, "content"));
    tn_digest     root;
    assert_non_null(content);
    assert_true(tn_unhex(&root, content + 7));
    assert_int_equal(tn_json_load(&bom, release_at("r/bom.cdx.json"), 1 << 20, NULL), TN_OK);
    tn_bom_serial(serial, &root); /* the root is the one that the papers are made from */
    assert_string_equal(json_string_value(json_object_get(bom, "serialNumber")), serial);
    assert_int_equal(tn_file_read_all(&page, &n, release_at("verdict.html"), 1 << 20, NULL), TN_OK);
    assert_non_null(strstr(page, content));
    assert_non_null(strstr(page, json_string_value(json_object_get(about, "name"))));
    assert_null(strstr(page, "src=\"http"));
    assert_null(strstr(page, "href=\"http"));
    free(page);
    json_decref(bom);
    json_decref(v);
}

/* A sample of single bits over all files, drawn by a fixed seed. */
static void every_flipped_bit_is_found(void **state)
{
    const char *many = getenv("TENET_FLIPS");
    int64_t     n_flip = 60;

    (void)state;
    if (many != NULL && !tn_parse_i64(many, &n_flip)) fail_msg("TENET_FLIPS is no number");
    release_make("r");
    release_flips("r", (int)n_flip);
}

/* ---- forgeries by someone who holds the key: each is signed anew ---- */

static void expect_wrong(const char *name, const char *what, const char *where)
{
    json_t *v = release_verdict(name, 0);

    if (strcmp(json_string_value(json_object_get(v, "verdict")), "wrong") != 0 ||
        !release_has_reason(v, what, where))
        fail_msg("expected '%s' at '%s', the verdict is %s", what, where, tn_json_text(v));
    json_decref(v);
}

static void an_altered_step_is_found_and_named(void **state)
{
    (void)state;
    release_make("r");
    release_edit("r/replay/steps-run/steps.jsonl", "\"loss\":", 5);
    release_sign("r");
    expect_wrong("r", "step log was altered", "replay/steps-run/steps.jsonl");
    expect_wrong("r", "artifact differs from its root", "replay/steps-run");
}

/* The trainer himself wrote another state than the one that he logged; every paper says the same. */
static void a_checkpoint_of_another_state_is_found(void **state)
{
    (void)state;
    release_other_state(true);
    release_make("r");
    expect_wrong("r", "checkpoint is not of the logged state", "replay/steps-run/step-4/manifest.json");
    expect_wrong("r", "checkpoint is not of the logged state", "replay/steps-run/step-8/manifest.json");
}

static void altered_weights_are_found(void **state)
{
    (void)state;
    release_make("r");
    release_flip_byte("r/model.safetensors", 4000);
    release_sign("r");
    expect_wrong("r", "weights differ from those that were released", "model");
}

/* The byte itself when one word differs, the block when more do, the end when something was cut off or
 * added. */
static void altered_weights_are_named_by_tensor_and_byte(void **state)
{
    (void)state;
    release_make("r");
    release_without_store(true);
    release_flip_byte("r/model.safetensors", 20000);
    expect_wrong("r", "file differs, tensor blk.0.", "model.safetensors");
    expect_wrong("r", "first difference at byte 20,000", "model.safetensors");
    release_flip_byte("r/model.safetensors", 20009);
    expect_wrong("r", "first difference in bytes 16,384 to 20,479", "model.safetensors");
    release_without_store(false); /* the store has the original */
    expect_wrong("r", "first difference at byte 20,000", "model.safetensors");
    release_without_store(true);
    release_flip_byte("r/model.safetensors", 20000);
    release_flip_byte("r/model.safetensors", 20009);
    release_flip_byte("r/model.safetensors", 65119); /* the last byte of all: a word that is not whole */
    expect_wrong("r", "first difference at byte 65,119", "model.safetensors");
    release_flip_byte("r/model.safetensors", 65119);
    assert_int_equal(truncate(release_at("r/model.safetensors"), 65000), 0);
    expect_wrong("r", "first difference in bytes 61,440 to 65,119", "model.safetensors");
    release_without_store(false);
}

static void a_swapped_data_set_is_found(void **state)
{
    (void)state;
    release_make("r");
    release_flip_byte("r/replay/steps-run/data/part.tns", 3);
    release_sign("r");
    expect_wrong("r", "artifact differs from its root", "replay/steps-run");
}

static void an_edited_recipe_is_found(void **state)
{
    (void)state;
    release_make("r");
    release_edit("r/recipe.yaml", "lr: 4", 4);
    release_sign("r");
    expect_wrong("r", "recipe differs from what was run", "recipe.yaml: stage 'steps-run': lr");
    expect_wrong("r", "recipe is not the one that was run", "recipe.yaml");
}

static void an_edited_profile_is_found(void **state)
{
    (void)state;
    release_make("r");
    release_edit("r/recipe.yaml", "profile: strict-bf16", 18);
    release_sign("r");
    expect_wrong("r", "recipe differs from what was run", "recipe.yaml: stage 'steps-run': profile");
    release_make("r2");
    release_edit("r2/release.json", "\"profile\": \"strict-bf16", 20);
    release_sign("r2");
    expect_wrong("r2", "stage's key does not follow from its parameters and inputs", "steps-run");
}

static void an_edited_parameter_in_the_papers_is_found(void **state)
{
    (void)state;
    release_make("r");
    release_edit("r/release.json", "\"lr\": 4", 6);
    release_sign("r");
    expect_wrong("r", "stage's key does not follow from its parameters and inputs", "steps-run");
}

static void another_constitution_is_found(void **state)
{
    (void)state;
    release_make("r");
    release_edit("r/constitution.yaml", "name: ", 8);
    release_sign("r");
    expect_wrong("r", "constitution differs from the one named", "constitution.yaml");
}

static void an_extra_file_a_missing_file_and_a_symlink_are_found(void **state)
{
    (void)state;
    release_make("r");
    assert_int_equal(tn_file_write_all(release_at("r/extra.txt"), "x", 1, NULL), TN_OK);
    expect_wrong("r", "file is not signed", "extra.txt");
    unlink(release_at("r/extra.txt"));
    assert_int_equal(mkdir(release_at("r/.git"), 0755), 0);
    assert_int_equal(tn_file_write_all(release_at("r/.git/config"), "x", 1, NULL), TN_OK);
    expect_wrong("r", "file is not signed", ".git/config");
    tn_remove_tree(release_at("r/.git"), NULL);
    assert_int_equal(mkdir(release_at("r/reports/more"), 0755), 0);
    assert_int_equal(mkdir(release_at("r/reports/more/yet"), 0755), 0);
    expect_wrong("r", "empty folder", "reports/more");
    expect_wrong("r", "empty folder", "reports/more/yet");
    tn_remove_tree(release_at("r/reports/more"), NULL);
    json_t *v = release_verdict("r", 0);
    assert_string_equal(json_string_value(json_object_get(v, "verdict")), "sound");
    json_decref(v);
    unlink(release_at("r/README.md"));
    expect_wrong("r", "file is missing", "README.md");
    assert_int_equal(symlink("release.json", release_at("r/README.md")), 0);
    expect_wrong("r", "something that is no plain file", "");
}

/* A release that lay on a file system without permissions: the bits, and nothing else, are found. */
static void added_execute_permissions_are_named(void **state)
{
    json_t *v;

    (void)state;
    release_make("r");
    chmod(release_at("r/README.md"), 0755);
    chmod(release_at("r/replay/steps-run/steps.jsonl"), 0755);
    chmod(release_at("r/bom.cdx.json"), 0755); /* outside of the content's root */
    expect_wrong("r", "execute permission was added", "README.md");
    expect_wrong("r", "execute permission was added", "replay/steps-run/steps.jsonl");
    v = release_verdict("r", 0);
    assert_int_equal(json_array_size(json_object_get(v, "reasons")), 2);
    json_decref(v);
    chmod(release_at("r/README.md"), 0644);
    chmod(release_at("r/replay/steps-run/steps.jsonl"), 0644);
    v = release_verdict("r", 0);
    assert_string_equal(json_string_value(json_object_get(v, "verdict")), "sound");
    json_decref(v);
}

/* White space means nothing to a JSON parser; a signature file that differs in a byte is another file all the
 * same. */
static void white_space_in_the_signature_file_is_found(void **state)
{
    // clang-format off
    static const struct { const char *before, *after, *inside, *what; } rows[] = {
        { "", "\n", NULL, "signature is written in another way" }, { "", "\n\n", NULL, "signature does not hold" }, { "\n", "", NULL, "signature does not hold" },
        { "", " ", NULL, "signature does not hold" }, { "\t", "", NULL, "signature does not hold" },
        { "", "", ":", "signature is written in another way" }, { "", "", ",", "signature is written in another way" } };
    // clang-format on
    char  *text = NULL;
    size_t n = 0;

    (void)state;
    release_make("r");
    assert_int_equal(tn_file_read_all(&text, &n, release_at("r/model.sig"), 1 << 24, NULL), TN_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t cut = rows[i].inside != NULL ? strcspn(text, rows[i].inside) + 1 : 0;
        char  *other = tn_strf("%s%.*s%s%s%s", rows[i].before, (int)cut, text, cut > 0 ? " " : "", text + cut,
                               rows[i].after);
        assert_int_equal(tn_file_write_all(release_at("r/model.sig"), other, strlen(other), NULL), TN_OK);
        expect_wrong("r", rows[i].what, "model.sig");
        free(other);
    }
    free(text);
}

static void a_statement_that_is_left_out_or_added_is_found(void **state)
{
    char  *text = NULL, *line;
    size_t n;

    (void)state;
    release_make("r");
    assert_int_equal(tn_file_read_all(&text, &n, release_at("r/provenance.intoto.jsonl"), 1 << 24, NULL),
                     TN_OK);
    line = strchr(text, '\n') + 1;
    assert_int_equal(tn_file_write_all(release_at("r/provenance.intoto.jsonl"), line, strlen(line), NULL),
                     TN_OK);
    release_sign("r");
    expect_wrong("r", "statement is missing", "provenance.intoto.jsonl");
    free(text);
}

static void a_replay_says_same_bits_other_bits_or_what_is_missing(void **state)
{
    json_t *v;

    (void)state;
    release_make("r");
    release_replay_gives(TN_OK);
    v = release_verdict("r", -1);
    assert_string_equal(json_string_value(json_object_get(v, "verdict")), "sound");
    assert_int_equal(release_replayed(), 3); /* 0-4, 4-8, 8-10 */
    json_decref(v);
    v = release_verdict("r", 2);
    assert_int_equal(release_replayed(), 2);
    json_decref(v);
    release_replay_gives(TN_VERIFY);
    v = release_verdict("r", 1);
    assert_string_equal(json_string_value(json_object_get(v, "verdict")), "wrong");
    assert_true(release_has_reason(v, "training computed again gives other bits", "replay/steps-run"));
    json_decref(v);
    release_replay_gives(TN_UNCHECKED);
    v = release_verdict("r", 1);
    assert_string_equal(json_string_value(json_object_get(v, "verdict")), "unchecked");
    assert_true(release_has_reason(v, "replay was not checked", "replay/steps-run"));
    json_decref(v);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, release_setup, release_teardown)
        T(same_parts_and_key_give_the_same_bytes),
        T(a_release_is_sound_and_without_a_key_unchecked),
        T(a_verdict_names_its_release_and_stands_by_itself),
        T(every_flipped_bit_is_found),
        T(an_altered_step_is_found_and_named),
        T(a_checkpoint_of_another_state_is_found),
        T(altered_weights_are_found),
        T(altered_weights_are_named_by_tensor_and_byte),
        T(a_swapped_data_set_is_found),
        T(an_edited_recipe_is_found),
        T(an_edited_profile_is_found),
        T(an_edited_parameter_in_the_papers_is_found),
        T(another_constitution_is_found),
        T(an_extra_file_a_missing_file_and_a_symlink_are_found),
        T(added_execute_permissions_are_named),
        T(white_space_in_the_signature_file_is_found),
        T(a_statement_that_is_left_out_or_added_is_found),
        T(a_replay_says_same_bits_other_bits_or_what_is_missing),
#undef T
    };
    if (argc < 2) return 2;
    release_golden = argv[1];
    tn_log_set_level(TN_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
