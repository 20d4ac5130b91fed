/* test_hash.c - SHA-256 against published vectors, in one piece and in many; hex; the table hash, fixed for
 * ever. */
#include "base/hash.h"
#include "base/thread.h"
#include "testing.h"

// clang-format off
static const struct { const char *text, *hex; } vectors[] = {                /* FIPS 180-4 examples, and NIST's long one */
    { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
};
// clang-format on
static const char million_a[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void published_vectors_come_out(void **state)
{
    char hex[TN_SHA256_HEX], *big = malloc(1000000);

    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        tn_digest d = tn_sha256_of(vectors[i].text, strlen(vectors[i].text));
        tn_hex(hex, &d);
        assert_string_equal(hex, vectors[i].hex);
    }
    memset(big, 'a', 1000000);
    tn_digest d = tn_sha256_of(big, 1000000);
    tn_hex(hex, &d);
    assert_string_equal(hex, million_a);
    free(big);
}

static void pieces_hash_like_the_whole(void **state)
{
    tn_sha256 *h;
    uint8_t    bytes[1000];
    tn_digest  whole, parts;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7);
    whole = tn_sha256_of(bytes, sizeof bytes);
    assert_int_equal(tn_sha256_create(&h, NULL), TN_OK);
    for (size_t step = 1; step < 200; step += 13) {
        for (size_t at = 0; at < sizeof bytes; at += step)
            tn_sha256_update(h, bytes + at, sizeof bytes - at < step ? sizeof bytes - at : step);
        tn_sha256_final(h, &parts); /* and starts anew */
        assert_true(tn_digest_equal(&whole, &parts));
    }
    tn_sha256_destroy(h);
    tn_sha256_destroy(NULL);
}

static void many_spans_hash_like_each_alone_for_any_number_of_threads(void **state)
{
    enum { N = 57 };
    static uint8_t bytes[N * 997];
    tn_hash_span   spans[N];
    tn_digest      got[N];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 31 + i / 251);
    for (int t = 1; t < 6; t++) {
        assert_int_equal(tn_threads_set(t, NULL), TN_OK);
        for (size_t i = 0; i < N; i++) spans[i] = (tn_hash_span){ bytes + 997 * i, i * 313 % 997 };
        memset(got, 0, sizeof got);
        assert_int_equal(tn_sha256_spans(spans, N, got, NULL), TN_OK);
        for (size_t i = 0; i < N; i++) {
            tn_digest want = tn_sha256_of(spans[i].p, spans[i].n);
            assert_memory_equal(&got[i], &want, sizeof want);
        }
    }
    assert_int_equal(tn_sha256_spans(spans, 0, got, NULL), TN_OK);
}

static void hex_goes_both_ways_and_refuses_the_rest(void **state)
{
    tn_digest d, e;
    char      hex[TN_SHA256_HEX], *text;

    (void)state;
    for (int i = 0; i < 32; i++) d.b[i] = (uint8_t)(i * 9 + 3);
    tn_hex(hex, &d);
    assert_true(tn_unhex(&e, hex));
    assert_true(tn_digest_equal(&d, &e));
    text = tn_digest_text(&d);
    assert_true(tn_starts_with(text, "sha256:"));
    assert_string_equal(text + 7, hex);
    free(text);
    hex[5] = 'A';
    assert_false(tn_unhex(&e, hex));
    assert_false(tn_unhex(&e, "abc"));
    assert_false(tn_unhex(&e, ""));
    tn_hex(hex, &d);
    assert_false(
        tn_unhex(&e, (char[]){ "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0" }));
}

static void a_file_hashes_like_its_bytes(void **state)
{
    char     *path = tn_path(*state, "f"), *none = tn_path(*state, "none");
    char      bytes[5000];
    tn_digest a, b;
    uint64_t  size;
    tn_error  err;

    memset(bytes, 5, sizeof bytes);
    assert_int_equal(tn_file_write_all(path, bytes, sizeof bytes, &err), TN_OK);
    assert_int_equal(tn_sha256_file(path, &a, &size, &err), TN_OK);
    b = tn_sha256_of(bytes, sizeof bytes);
    assert_true(tn_digest_equal(&a, &b));
    assert_int_equal(size, sizeof bytes);
    assert_int_equal(tn_sha256_file(none, &a, NULL, &err), TN_NOTFOUND);
    assert_says(err, none);
    assert_int_equal(tn_sha256_file(*state, &a, NULL, &err), TN_IO);
    assert_says(err, "directory");
    free(path);
    free(none);
}

/* Part of formats: these numbers never change. */
static void the_table_hash_is_fixed_for_ever(void **state)
{
    (void)state;
    assert_true(tn_hash64("", 0) == 0);
    assert_true(tn_hash64("a", 1) == UINT64_C(0x7ce1670d1fedd612));
    assert_true(tn_hash64("constitution", 12) == UINT64_C(0x157e2bfa26df7ca8));
    assert_true(tn_hash64("a\0", 2) != tn_hash64("a", 1));
}

static void the_table_hash_spreads(void **state)
{
    int count[64] = { 0 };

    (void)state;
    for (uint32_t i = 0; i < 100000; i++)
        for (int b = 0; b < 64; b++) count[b] += (int)(tn_hash64(&i, sizeof i) >> b & 1);
    for (int b = 0; b < 64; b++)
        if (count[b] < 49000 || count[b] > 51000) fail_msg("bit %d is set in %d of 100000", b, count[b]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_come_out),
        cmocka_unit_test(pieces_hash_like_the_whole),
        cmocka_unit_test(many_spans_hash_like_each_alone_for_any_number_of_threads),
        cmocka_unit_test(hex_goes_both_ways_and_refuses_the_rest),
        folder_test(a_file_hashes_like_its_bytes),
        cmocka_unit_test(the_table_hash_is_fixed_for_ever),
        cmocka_unit_test(the_table_hash_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
