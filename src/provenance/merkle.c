/* merkle.c - the RFC 9162 tree: roots, inclusion and consistency proofs.
 *
 *   leaf  SHA-256(0x00 || entry)         node  SHA-256(0x01 || left || right)
 *
 *               root                     n leaves split at k, the largest power of two below n: the left part is a
 *              /    \                    whole tree, so a log that grows never changes the hash of what was full.
 *          [0,k)    [k,n)
 *
 * Proofs list hashes from the leaf upwards, as in RFC 9162 sections 2.1.3 and 2.1.4. */
#include "provenance/provenance.h"

#include <string.h>

void tn_merkle_leaf(tn_digest *out, const void *entry, size_t n)
{
    tn_sha256 *h = NULL;
    uint8_t    small[1 + 512];

    if (n <= sizeof small - 1) {
        small[0] = 0x00;
        if (n > 0) memcpy(small + 1, entry, n);
        *out = tn_sha256_of(small, n + 1);
        return;
    }
    if (tn_sha256_create(&h, NULL) != TN_OK) tn_bug("no memory for a hash context");
    small[0] = 0x00;
    tn_sha256_update(h, small, 1);
    tn_sha256_update(h, entry, n);
    tn_sha256_final(h, out);
    tn_sha256_destroy(h);
}

void tn_merkle_node(tn_digest *out, const tn_digest *left, const tn_digest *right)
{
    uint8_t pair[1 + 2 * TN_SHA256_BYTES];

    pair[0] = 0x01;
    memcpy(pair + 1, left->b, TN_SHA256_BYTES);
    memcpy(pair + 1 + TN_SHA256_BYTES, right->b, TN_SHA256_BYTES);
    *out = tn_sha256_of(pair, sizeof pair);
}

/* The largest power of two below n (n > 1). */
static size_t split_point(size_t n)
{
    size_t k = 1;

    while (k < n - k) k *= 2;
    return k;
}

/* Without recursion over single leaves: whole subtrees are folded on a stack of at most 64 sizes, which gives
 * the same tree and needs no copy of the leaves. */
void tn_merkle_root(tn_digest *out, const tn_digest *leaves, size_t n)
{
    tn_digest stack[64];
    size_t    depth = 0;

    if (n == 0) {
        *out = tn_sha256_of("", 0);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        stack[depth++] = leaves[i];
        for (size_t full = i + 1; (full & 1) == 0; full >>= 1) {
            tn_merkle_node(&stack[depth - 2], &stack[depth - 2], &stack[depth - 1]);
            depth--;
        }
    }
    while (depth > 1) {
        tn_merkle_node(&stack[depth - 2], &stack[depth - 2], &stack[depth - 1]);
        depth--;
    }
    *out = stack[0];
}

size_t tn_merkle_inclusion(tn_digest proof[TN_MERKLE_PROOF_MAX], const tn_digest *leaves, size_t n,
                           size_t index)
{
    size_t path[TN_MERKLE_PROOF_MAX][2], depth = 0; /* sibling ranges, from the root downwards */
    size_t begin = 0, count = n;

    if (index >= n) return 0;
    while (count > 1) {
        size_t k = split_point(count);
        if (index - begin < k) {
            path[depth][0] = begin + k;
            path[depth++][1] = count - k;
            count = k;
        } else {
            path[depth][0] = begin;
            path[depth++][1] = k;
            begin += k;
            count -= k;
        }
    }
    for (size_t i = 0; i < depth; i++)
        tn_merkle_root(&proof[i], leaves + path[depth - 1 - i][0], path[depth - 1 - i][1]);
    return depth;
}

/* RFC 9162, 2.1.3.2. */
bool tn_merkle_check_inclusion(const tn_digest *root, size_t n, size_t index, const tn_digest *leaf,
                               const tn_digest *proof, size_t n_proof)
{
    size_t    fn = index, sn;
    tn_digest r = *leaf;

    if (n == 0 || index >= n) return false;
    sn = n - 1;
    for (size_t i = 0; i < n_proof; i++) {
        if (sn == 0) return false;
        if ((fn & 1) || fn == sn) {
            tn_merkle_node(&r, &proof[i], &r);
            while (!(fn & 1) && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            tn_merkle_node(&r, &r, &proof[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && tn_digest_equal(&r, root);
}

/* RFC 9162, 2.1.4.1: SUBPROOF(m, D[n], whole). */
size_t tn_merkle_consistency(tn_digest proof[TN_MERKLE_PROOF_MAX], const tn_digest *leaves, size_t n,
                             size_t old)
{
    tn_digest reversed[TN_MERKLE_PROOF_MAX];
    size_t    n_proof = 0, begin = 0, count = n, m = old;
    bool      whole = true;

    if (old == 0 || old >= n) return 0;
    while (m != count) {
        size_t k = split_point(count);
        if (m <= k) {
            tn_merkle_root(&reversed[n_proof++], leaves + begin + k, count - k);
            count = k;
        } else {
            tn_merkle_root(&reversed[n_proof++], leaves + begin, k);
            begin += k;
            count -= k;
            m -= k;
            whole = false;
        }
    }
    if (!whole) tn_merkle_root(&reversed[n_proof++], leaves + begin, count);
    for (size_t i = 0; i < n_proof; i++) proof[i] = reversed[n_proof - 1 - i];
    return n_proof;
}

/* RFC 9162, 2.1.4.2. */
bool tn_merkle_check_consistency(const tn_digest *old_root, size_t old, const tn_digest *new_root, size_t n,
                                 const tn_digest *proof, size_t n_proof)
{
    size_t    fn, sn, i = 0;
    tn_digest fr, sr;

    if (old > n) return false;
    if (old == n) return n_proof == 0 && tn_digest_equal(old_root, new_root);
    if (old == 0) return n_proof == 0;
    if (n_proof == 0) return false;
    fn = old - 1;
    sn = n - 1;
    if ((old & (old - 1)) == 0) fr = *old_root; /* the old tree is whole: the proof leaves it out */
    else fr = proof[i++];
    sr = fr;
    while (fn & 1) {
        fn >>= 1;
        sn >>= 1;
    }
    for (; i < n_proof; i++) {
        if (sn == 0) return false;
        if ((fn & 1) || fn == sn) {
            tn_merkle_node(&fr, &proof[i], &fr);
            tn_merkle_node(&sr, &proof[i], &sr);
            while (!(fn & 1) && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            tn_merkle_node(&sr, &sr, &proof[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && tn_digest_equal(&fr, old_root) && tn_digest_equal(&sr, new_root);
}
