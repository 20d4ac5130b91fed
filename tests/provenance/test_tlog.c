/* test_tlog.c - a transparency log in files: growth over several tiles, proofs, and every kind of
 * tampering. */
#include "provenance/provenance.h"

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_ENTRY = 300 }; /* a full tile, a partial one, and one of level 1 */

static char    dir[] = "/tmp/tenet-tlog-XXXXXX", log_dir[64];
static tn_key *key;
static char   *old_note; /* the checkpoint at 100 entries */

static char *at(const char *name)
{
    static char path[3][160];
    static int  turn;
    char       *p = path[turn++ % 3];

    snprintf(p, sizeof path[0], "%s/%s", log_dir, name);
    return p;
}

static tn_digest leaf_of(int i)
{
    char      text[32];
    tn_digest d;

    snprintf(text, sizeof text, "entry %d", i);
    tn_merkle_leaf(&d, text, strlen(text));
    return d;
}

static void a_log_grows_in_the_layout_of_tiles(void **state)
{
    tn_checkpoint c;
    uint64_t      index;
    char         *bytes = NULL;
    size_t        n;

    (void)state;
    /* a new log needs an origin */
    assert_int_equal(tn_tlog_add(log_dir, NULL, "x", 1, key, &index, NULL), TN_USAGE);
    for (int i = 0; i < N_ENTRY; i++) {
        char text[32];
        snprintf(text, sizeof text, "entry %d", i);
        assert_int_equal(
            tn_tlog_add(log_dir, i == 0 ? "example.org/models" : NULL, text, strlen(text), key, &index, NULL),
            TN_OK);
        assert_int_equal(index, i);
        if (i == 99)
            assert_int_equal(tn_file_read_all(&old_note, NULL, at("checkpoint"), 1 << 16, NULL), TN_OK);
    }
    assert_int_equal(tn_file_read_all(&bytes, &n, at("tile/0/000"), 1 << 20, NULL), TN_OK);
    assert_int_equal(n, 8192);
    tn_digest first = leaf_of(0);
    assert_memory_equal(bytes, first.b, 32);
    free(bytes);
    assert_true(tn_exists(at("tile/0/001.p/44")) && tn_exists(at("tile/1/000.p/1")) &&
                tn_exists(at("tile/entries/000")) && tn_exists(at("tile/entries/001.p/44")));
    assert_int_equal(tn_tlog_verify(log_dir, key, &c, NULL), TN_OK);
    assert_int_equal(c.size, N_ENTRY);
    assert_string_equal(c.origin, "example.org/models");
}

static void inclusion_proofs_hold_and_do_not_fit_another_entry(void **state)
{
    tn_checkpoint c;
    uint64_t      index;

    (void)state;
    for (int i = 0; i < N_ENTRY; i += 37) {
        tn_digest leaf = leaf_of(i), other = leaf_of(i + 1);
        char     *proof = NULL;
        assert_int_equal(tn_tlog_prove(log_dir, key, &leaf, &proof, NULL), TN_OK);
        assert_int_equal(tn_tlog_check(proof, key, &leaf, &c, &index, "proof", NULL), TN_OK);
        assert_int_equal(index, i);
        assert_int_equal(tn_tlog_check(proof, key, &other, &c, &index, "proof", NULL), TN_VERIFY);
        for (size_t k = 0; k < strlen(proof); k += 5) { /* no flipped bit survives */
            proof[k] = (char)(proof[k] ^ 1);
            if (tn_tlog_check(proof, key, &leaf, &c, &index, "proof", NULL) == TN_OK) fail_msg("byte %zu", k);
            proof[k] = (char)(proof[k] ^ 1);
        }
        free(proof);
    }
    tn_digest absent = leaf_of(N_ENTRY);
    char     *none = NULL;
    assert_int_equal(tn_tlog_prove(log_dir, key, &absent, &none, NULL), TN_NOTFOUND);
}

static void growth_is_proved_and_a_changed_history_is_not(void **state)
{
    tn_checkpoint c;
    char         *proof = NULL, *forged = NULL;
    tn_digest     wrong = leaf_of(5);

    (void)state;
    assert_int_equal(tn_tlog_prove_growth(log_dir, key, 100, &proof, NULL), TN_OK);
    assert_int_equal(tn_tlog_check_growth(proof, old_note, key, &c, "proof", NULL), TN_OK);
    assert_int_equal(tn_checkpoint_sign(&forged, "example.org/models", 100, &wrong, key, NULL), TN_OK);
    assert_int_equal(tn_tlog_check_growth(proof, forged, key, &c, "proof", NULL), TN_VERIFY);
    free(proof);
    free(forged);
}

static void flip(const char *name, long offset)
{
    FILE *f = fopen(at(name), "r+b");
    int   c;

    assert_non_null(f);
    fseek(f, offset, SEEK_SET);
    c = fgetc(f);
    fseek(f, offset, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

static void a_changed_tile_entry_or_checkpoint_is_found(void **state)
{
    static const char *const names[] = { "tile/0/000",       "tile/0/001.p/44",       "tile/1/000.p/1",
                                         "tile/entries/000", "tile/entries/001.p/44", "checkpoint" };
    tn_checkpoint            c;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        flip(names[i], 21);
        if (tn_tlog_verify(log_dir, key, &c, NULL) == TN_OK) fail_msg("%s", names[i]);
        flip(names[i], 21);
    }
    assert_int_equal(tn_tlog_verify(log_dir, key, &c, NULL), TN_OK);
    tn_key *other = NULL;
    assert_int_equal(tn_key_new(&other, NULL), TN_OK);
    assert_int_equal(tn_tlog_verify(log_dir, other, &c, NULL), TN_VERIFY);
    tn_key_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_grows_in_the_layout_of_tiles),
        cmocka_unit_test(inclusion_proofs_hold_and_do_not_fit_another_entry),
        cmocka_unit_test(growth_is_proved_and_a_changed_history_is_not),
        cmocka_unit_test(a_changed_tile_entry_or_checkpoint_is_found),
    };
    if (mkdtemp(dir) == NULL || tn_key_new(&key, NULL) != TN_OK) return 1;
    snprintf(log_dir, sizeof log_dir, "%s/log", dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tn_key_free(key);
    free(old_note);
    tn_remove_tree(dir, NULL);
    return failed;
}
