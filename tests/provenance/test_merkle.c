/* test_merkle.c - the RFC 9162 tree against known roots, every proof of small trees, and digests of
 * directories. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_MAX = 40 };

/* The eight entries of the test tree that Certificate Transparency implementations share, and its roots. */
static const struct {
    const char *bytes;
    size_t      n;
} entries[8] = { { "", 0 },
                 { "\x00", 1 },
                 { "\x10", 1 },
                 { "\x20\x21", 2 },
                 { "\x30\x31", 2 },
                 { "\x40\x41\x42\x43", 4 },
                 { "\x50\x51\x52\x53\x54\x55\x56\x57", 8 },
                 { "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16 } };
// clang-format off
static const char *const roots[8] = {
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328" };
// clang-format on

static void fill(tn_digest *leaves, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)i;
        tn_merkle_leaf(&leaves[i], &b, 1);
    }
}

static void roots_are_those_of_certificate_transparency(void **state)
{
    tn_digest leaves[8], root;
    char      hex[TN_SHA256_HEX];

    (void)state;
    tn_merkle_root(&root, NULL, 0);
    tn_hex(hex, &root);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t i = 0; i < 8; i++) {
        tn_merkle_leaf(&leaves[i], entries[i].bytes, entries[i].n);
        tn_merkle_root(&root, leaves, i + 1);
        tn_hex(hex, &root);
        assert_string_equal(hex, roots[i]);
    }
}

static void every_inclusion_proof_holds_and_no_other_leaf_fits(void **state)
{
    tn_digest leaves[N_MAX], proof[TN_MERKLE_PROOF_MAX], root;

    (void)state;
    fill(leaves, N_MAX);
    for (size_t n = 1; n <= N_MAX; n++) {
        tn_merkle_root(&root, leaves, n);
        for (size_t i = 0; i < n; i++) {
            size_t k = tn_merkle_inclusion(proof, leaves, n, i);
            assert_true(tn_merkle_check_inclusion(&root, n, i, &leaves[i], proof, k));
            if (n > 1) {
                assert_false(tn_merkle_check_inclusion(&root, n, (i + 1) % n, &leaves[i], proof, k));
                proof[k / 2].b[3] ^= 1;
                assert_false(tn_merkle_check_inclusion(&root, n, i, &leaves[i], proof, k));
                proof[k / 2].b[3] ^= 1;
            }
            assert_false(tn_merkle_check_inclusion(&root, n, i, &leaves[i], proof, k + 1));
            if (k > 0) assert_false(tn_merkle_check_inclusion(&root, n, i, &leaves[i], proof, k - 1));
        }
    }
}

static void every_consistency_proof_holds_and_a_changed_history_does_not(void **state)
{
    tn_digest leaves[N_MAX], proof[TN_MERKLE_PROOF_MAX], old_root, root;

    (void)state;
    fill(leaves, N_MAX);
    for (size_t n = 1; n <= N_MAX; n++)
        for (size_t old = 1; old <= n; old++) {
            tn_merkle_root(&root, leaves, n);
            tn_merkle_root(&old_root, leaves, old);
            size_t k = tn_merkle_consistency(proof, leaves, n, old);
            assert_true(tn_merkle_check_consistency(&old_root, old, &root, n, proof, k));
            old_root.b[0] ^= 1;
            assert_false(tn_merkle_check_consistency(&old_root, old, &root, n, proof, k));
            old_root.b[0] ^= 1;
            root.b[31] ^= 0x80;
            assert_false(tn_merkle_check_consistency(&old_root, old, &root, n, proof, k));
        }
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char *path = tn_path(dir, name);

    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
    free(path);
}

static void a_directory_digest_sees_names_content_and_the_execute_bit_only(void **state)
{
    char      dir[] = "/tmp/tenet-tree-XXXXXX", path[64];
    tn_digest first, again;
    uint64_t  bytes;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sub", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(tn_tree_digest(dir, &first, NULL, NULL), TN_OK);
    tn_digest empty_file = tn_sha256_of("", 0);
    assert_false(tn_digest_equal(&first, &empty_file));

    write_text(dir, "a", "one");
    write_text(dir, "sub/b", "two");
    assert_int_equal(tn_tree_digest(dir, &first, &bytes, NULL), TN_OK);
    assert_int_equal(bytes, 6);
    snprintf(path, sizeof path, "%s/a", dir);
    chmod(path, 0600);
    assert_int_equal(tn_tree_digest(dir, &again, NULL, NULL), TN_OK);
    assert_true(tn_digest_equal(&first, &again));
    chmod(path, 0700);
    assert_int_equal(tn_tree_digest(dir, &again, NULL, NULL), TN_OK);
    assert_false(tn_digest_equal(&first, &again));
    chmod(path, 0600);
    write_text(dir, "a", "onf");
    assert_int_equal(tn_tree_digest(dir, &again, NULL, NULL), TN_OK);
    assert_false(tn_digest_equal(&first, &again));
    write_text(dir, "a", "one");
    char *to = tn_path(dir, "c");
    assert_int_equal(rename(path, to), 0);
    free(to);
    assert_int_equal(tn_tree_digest(dir, &again, NULL, NULL), TN_OK);
    assert_false(tn_digest_equal(&first, &again));
    assert_int_equal(symlink("c", path), 0);
    assert_int_not_equal(tn_tree_digest(dir, &again, NULL, NULL), TN_OK);
    assert_int_equal(tn_remove_tree(dir, NULL), TN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_are_those_of_certificate_transparency),
        cmocka_unit_test(every_inclusion_proof_holds_and_no_other_leaf_fits),
        cmocka_unit_test(every_consistency_proof_holds_and_a_changed_history_does_not),
        cmocka_unit_test(a_directory_digest_sees_names_content_and_the_execute_bit_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
