/* test_data.c - shards, packing, the mixture, the order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "data/data.h"

static char dir[] = "/tmp/tenet-data-XXXXXX";
static int  set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) != NULL ? 0 : -1;
}
static int tear_down(void **state)
{
    (void)state;
    return tn_remove_tree(dir, NULL) == TN_OK ? 0 : -1;
}

static const tn_digest tokenizer = { { 7 } };
static int32_t id_of(int64_t t, int64_t n_vocab) { return (int32_t)((t * 2654435761u) % (uint64_t)n_vocab); }
static int     mask_of(int64_t t) { return t % 3 != 0; }

/* Documents of the given lengths; token t of the shard is id_of(t). */
static char *shard_make(const char *name, const int *len, int n, int64_t n_vocab)
{
    char            *path = tn_path(dir, name);
    tn_shard_writer *w;
    tn_error         err;
    int64_t          at = 0;
    assert_int_equal(tn_shard_create(&w, path, &tokenizer, n_vocab, &err), TN_OK);
    for (int d = 0; d < n; d++) {
        int32_t *ids = malloc((size_t)(len[d] + 1) * 4);
        uint8_t *mask = malloc((size_t)len[d] + 1);
        for (int t = 0; t < len[d]; t++, at++) {
            ids[t] = id_of(at, n_vocab);
            mask[t] = (uint8_t)mask_of(at);
        }
        assert_int_equal(tn_shard_add(w, ids, mask, (size_t)len[d], 65536u + (uint32_t)d, d % 2 == 1, &err),
                         TN_OK);
        free(ids);
        free(mask);
    }
    assert_int_equal(tn_shard_commit(w, &err), TN_OK);
    return path;
}

static void a_shard_reads_back(void **state)
{
    static const int     len[] = { 5, 1, 40000, 17 };
    static const int64_t vocabs[] = { 1000, 100000 };
    (void)state;
    for (int v = 0; v < 2; v++) {
        char     *path = shard_make("a.tns", len, 4, vocabs[v]);
        tn_shard *s;
        tn_error  err;
        int32_t   ids[100];
        uint8_t   mask[100];
        if (tn_shard_open(&s, path, &tokenizer, &err) != TN_OK) fail_msg("%s", err.msg);
        assert_int_equal(tn_shard_n_doc(s), 4);
        assert_int_equal(tn_shard_n_token(s), 40023);
        assert_int_equal(tn_shard_doc_at(s, 3).first, 40006);
        assert_int_equal(tn_shard_doc_at(s, 2).weight_16, 65538);
        tn_shard_copy(s, 39990, 33, ids, mask);
        for (int i = 0; i < 33; i++)
            assert_true(ids[i] == id_of(39990 + i, vocabs[v]) && mask[i] == mask_of(39990 + i));
        tn_shard_close(s);
        free(path);
    }
}

/* The first token that a model does not have is named: the graph would read beside its embeddings. */
static void ids_of_a_shard_are_those_of_the_model(void **state)
{
    static const int     len[] = { 3000 };
    static const int64_t vocabs[] = { 1000, 100000 };
    (void)state;
    for (int v = 0; v < 2; v++) {
        char     *path = shard_make("ids.tns", len, 1, vocabs[v]), want[64];
        tn_shard *s;
        tn_error  err;
        int64_t   top = 0, at = 0;
        for (int64_t i = 0; i < 3000; i++)
            if (id_of(i, vocabs[v]) > top) top = id_of(at = i, vocabs[v]);
        assert_int_equal(tn_shard_open(&s, path, &tokenizer, &err), TN_OK);
        assert_int_equal(tn_shard_check_ids(s, path, top + 1, &err), TN_OK);
        assert_int_equal(tn_shard_check_ids(s, path, top, &err), TN_MISMATCH);
        snprintf(want, sizeof want, "ids.tns: token %d has the id %d, ", (int)at, (int)top);
        if (strstr(err.msg, want) == NULL) fail_msg("should say '%s': %s", want, err.msg);
        tn_shard_close(s);
        free(path);
    }
}

static void a_damaged_or_foreign_shard_is_refused(void **state)
{
    static const int len[] = { 50, 60 };
    char            *path = shard_make("b.tns", len, 2, 1000), *bytes;
    size_t           n;
    tn_shard        *s;
    tn_error         err;
    tn_digest        other = { { 8 } };
    (void)state;
    assert_int_equal(tn_shard_open(&s, path, &other, &err), TN_MISMATCH);
    assert_int_equal(tn_file_read_all(&bytes, &n, path, 1 << 20, &err), TN_OK);
    for (size_t cut = 0; cut < n; cut += 13) { /* cut off anywhere */
        assert_int_equal(tn_file_write_all(path, bytes, cut, &err), TN_OK);
        assert_int_not_equal(tn_shard_open(&s, path, &tokenizer, &err), TN_OK);
    }
    for (size_t at = 0; at < n; at += 7) { /* one bit anywhere but in the reserved bytes */
        if (at >= n - 16 && at < n - 8) continue;
        bytes[at] ^= 4;
        assert_int_equal(tn_file_write_all(path, bytes, n, &err), TN_OK);
        if (tn_shard_open(&s, path, &tokenizer, &err) == TN_OK)
            fail_msg("a flipped bit at byte %zu is not seen", at);
        bytes[at] ^= 4;
    }
    free(bytes);
    free(path);
}

/* Every token of every document is a row exactly once; targets are the next token of the same document. */
static void check_packing(tn_pack_kind kind, int64_t n_ctx)
{
    static const int len[] = { 7, 3, 100, 31, 32, 33, 2, 64, 5, 5, 5, 18 };
    char            *path = shard_make("p.tns", len, 12, 500);
    tn_shard        *s;
    tn_pack         *p;
    tn_row_set       r;
    tn_error         err;
    int64_t          total = 0, targets = 0, masked = 0, at = 0;
    assert_int_equal(tn_shard_open(&s, path, &tokenizer, &err), TN_OK);
    assert_int_equal(tn_pack_create(&p, s, n_ctx, kind, &err), TN_OK);
    assert_int_equal(tn_row_set_init(&r, n_ctx, &err), TN_OK);
    for (int d = 0; d < 12; d++) {
        for (int t = 1; t < len[d]; t++) masked += mask_of(at + t);
        at += len[d];
    }
    for (int64_t i = 0; i < tn_pack_n(p); i++) {
        tn_row_set_clear(&r);
        tn_row_set_add_sample(&r, s, p, i);
        assert_true(r.n <= n_ctx && r.n > 0);
        int64_t         n_piece;
        const tn_piece *piece = tn_pack_sample(p, i, &n_piece);
        for (int64_t k = 0, row = 0; k < n_piece; k++) {
            for (int64_t t = 0; t < piece[k].n; t++, row++) {
                assert_int_equal(r.pos[row], t);
                assert_int_equal(r.doc_start[row], row - t);
                assert_int_equal(r.ids[row], id_of(piece[k].first + t, 500));
                if (r.target[row] >= 0) assert_int_equal(r.target[row], id_of(piece[k].first + t + 1, 500));
            }
            total += piece[k].n;
        }
        targets += r.n_target;
    }
    assert_int_equal(targets, masked);
    assert_true(total >= 300 && total <= 305); /* a last token alone in its sample may be left out */
    tn_row_set_free(&r);
    tn_pack_destroy(p);
    tn_shard_close(s);
    free(path);
}

static void packing_loses_no_target_and_crosses_no_document(void **state)
{
    (void)state;
    for (int kind = TN_PACK_GREEDY; kind <= TN_PACK_NONE; kind++)
        for (int64_t n_ctx = 16; n_ctx <= 128; n_ctx += 8) check_packing((tn_pack_kind)kind, n_ctx);
}

/* Long prompts, and a turn of the user at the end: no sample is without a target, whose step would have no
 * loss, and no target is lost. */
static void no_sample_is_without_a_target(void **state)
{
    static const struct {
        int n, first, last;
    } doc[] = { { 30, 25, 28 }, { 40, 3, 5 }, { 9, 8, 8 },   { 20, 99, 0 },
                { 64, 31, 32 }, { 2, 1, 1 },  { 50, 49, 49 } };
    char            *path = tn_path(dir, "chats.tns");
    tn_shard_writer *w;
    tn_shard        *s;
    tn_error         err;
    int64_t          want = 0;
    (void)state;
    assert_int_equal(tn_shard_create(&w, path, &tokenizer, 500, &err), TN_OK);
    for (int d = 0; d < 7; d++) {
        int32_t ids[64];
        uint8_t mask[64];
        for (int t = 0; t < doc[d].n; t++) {
            ids[t] = t;
            mask[t] = t >= doc[d].first && t <= doc[d].last;
            want += mask[t];
        }
        assert_int_equal(tn_shard_add(w, ids, mask, (size_t)doc[d].n, 65536, false, &err), TN_OK);
    }
    assert_int_equal(tn_shard_commit(w, &err), TN_OK);
    assert_int_equal(tn_shard_open(&s, path, &tokenizer, &err), TN_OK);
    for (int kind = TN_PACK_GREEDY; kind <= TN_PACK_NONE; kind++)
        for (int64_t n_ctx = 2; n_ctx <= 70; n_ctx++) {
            tn_pack   *p;
            tn_row_set r;
            int64_t    got = 0;
            assert_int_equal(tn_pack_create(&p, s, n_ctx, (tn_pack_kind)kind, &err), TN_OK);
            assert_int_equal(tn_row_set_init(&r, n_ctx, &err), TN_OK);
            for (int64_t i = 0; i < tn_pack_n(p); i++) {
                tn_row_set_clear(&r);
                tn_row_set_add_sample(&r, s, p, i);
                if (r.n_target == 0)
                    fail_msg("pack %d, n_ctx %d: sample %d has no target", kind, (int)n_ctx, (int)i);
                got += r.n_target;
            }
            assert_int_equal(got, want);
            tn_row_set_free(&r);
            tn_pack_destroy(p);
        }
    tn_shard_close(s);
    free(path);
}

static void best_fit_needs_few_samples(void **state)
{
    int       len[400];
    int64_t   total = 0;
    tn_shard *s;
    tn_pack  *p;
    (void)state;
    for (int i = 0; i < 400; i++) total += len[i] = 4 + i * 37 % 60;
    char *path = shard_make("f.tns", len, 400, 500);
    assert_int_equal(tn_shard_open(&s, path, &tokenizer, NULL), TN_OK);
    assert_int_equal(tn_pack_create(&p, s, 64, TN_PACK_BEST_FIT, NULL), TN_OK);
    assert_true((double)total / (double)(tn_pack_n(p) * 64) > 0.97);
    tn_pack_destroy(p);
    tn_shard_close(s);
    free(path);
}

static void a_round_of_the_mixture_holds_exact_counts(void **state)
{
    static const int64_t n_sample[] = { 100, 7, 3000 };
    static const double  weights[] = { 5, 2, 1 };
    tn_mix               m;
    (void)state;
    assert_int_equal(tn_mix_init(&m, n_sample, weights, 3, 42, true, NULL), TN_OK);
    for (int round = 0; round < 5; round++) {
        int64_t seen[3] = { 0 };
        for (int i = 0; i < TN_MIX_ROUND; i++) {
            int     source;
            int64_t index;
            tn_mix_at(&m, (uint64_t)(round * TN_MIX_ROUND + i), &source, &index);
            assert_in_range(index, 0, n_sample[source] - 1);
            seen[source]++;
        }
        assert_true(seen[0] == 640 && seen[1] == 256 && seen[2] == 128);
    }
    assert_int_equal(tn_mix_init(&m, n_sample, (double[]){ 0, 0, 0 }, 3, 1, true, NULL), TN_USAGE);
    assert_int_equal(tn_mix_init(&m, n_sample, (double[]){ 1, -1, 1 }, 3, 1, true, NULL), TN_USAGE);
}

/* In every beginning of the run each source has been walked through before one of its samples comes again,
 * and a small source has its share. */
static void a_weighted_source_is_walked_through_before_it_repeats(void **state)
{
    static const int64_t n_sample[] = { 100, 7, 3000, 50 };
    static const double  weights[] = { 5, 2, 1, 0 };
    tn_mix               m;
    (void)state;
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        int32_t seen[4][3000] = { { 0 } };
        int64_t drawn[4] = { 0 };
        assert_int_equal(tn_mix_init(&m, n_sample, weights, 4, 42, shuffle != 0, NULL), TN_OK);
        for (uint64_t i = 0; i < 5000; i++) {
            int     source;
            int64_t index;
            tn_mix_at(&m, i, &source, &index);
            int64_t epoch = drawn[source]++ / n_sample[source];
            if (seen[source][index]++ != epoch)
                fail_msg("draw %d: sample %d of source %d comes too early", (int)i, (int)index, source);
            if (!shuffle) assert_int_equal(index, (drawn[source] - 1) % n_sample[source]);
        }
        assert_int_equal(drawn[3], 0);
    }
}

/* Without weights several sources are one: the same permutation, the same order. */
static void sources_by_size_are_as_one(void **state)
{
    static const int64_t sizes[][3] = { { 200, 400, 1 }, { 3, 5, 2 }, { 2, 5000, 1 }, { 700, 900, 800 } };
    (void)state;
    for (int c = 0; c < 4; c++)
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            const int64_t *n = sizes[c];
            int64_t        total = n[0] + n[1] + n[2];
            tn_mix         one, three;
            assert_int_equal(tn_mix_init(&one, &total, NULL, 1, 11, shuffle != 0, NULL), TN_OK);
            assert_int_equal(tn_mix_init(&three, n, NULL, 3, 11, shuffle != 0, NULL), TN_OK);
            for (int64_t i = 0; i < 3 * total; i++) {
                int     source;
                int64_t want, got;
                tn_mix_at(&one, (uint64_t)i, &source, &want);
                tn_mix_at(&three, (uint64_t)i, &source, &got);
                assert_in_range(got, 0, n[source] - 1);
                for (int k = 0; k < source; k++) got += n[k];
                assert_int_equal(got, want);
                if (!shuffle) assert_int_equal(want, i % total);
            }
        }
}

static void a_weight_that_draws_nothing_is_refused(void **state)
{
    static const int64_t n_sample[] = { 100, 50 };
    tn_mix               m;
    tn_error             err;
    (void)state;
    assert_int_equal(tn_mix_init(&m, n_sample, (double[]){ 10000, 1 }, 2, 1, true, &err), TN_USAGE);
    assert_non_null(strstr(
        err.msg,
        "weight 2 of the mixture, 1, gives its source none of the 1024 draws of a round; raise it to 9.87"));
    assert_int_equal(tn_mix_init(&m, n_sample, (double[]){ 10000, 9.87 }, 2, 1, true, &err), TN_OK);
    assert_int_equal(m.count[1], 1);
    assert_int_equal(tn_mix_init(&m, n_sample, (double[]){ 1e308, 1e308 }, 2, 1, true, &err), TN_OK);
    assert_int_equal(m.count[1], 512);
    assert_int_equal(tn_mix_init(&m, n_sample, (double[]){ 3e-310, 1e-310 }, 2, 1, true, &err), TN_OK);
    assert_int_equal(m.count[1], 256);
}

/* Each epoch is another permutation of all samples. */
static void an_epoch_sees_every_sample_once(void **state)
{
    int64_t n = 321;
    tn_mix  m;
    int64_t first[2] = { -1, -1 };
    (void)state;
    assert_int_equal(tn_mix_init(&m, &n, NULL, 1, 9, true, NULL), TN_OK);
    for (int e = 0; e < 2; e++) {
        uint8_t seen[321] = { 0 };
        for (int64_t i = 0; i < n; i++) {
            int     source;
            int64_t index;
            tn_mix_at(&m, (uint64_t)(e * n + i), &source, &index);
            assert_false(seen[index]);
            seen[index] = 1;
            if (i == 0) first[e] = index;
        }
    }
    assert_int_not_equal(first[0], first[1]);
}

static tn_digest content_of(const char *name, const char *bytes, size_t n, tn_data_stats *stats)
{
    char            *path = tn_path(dir, name), *shard = tn_path(dir, "content.tns");
    tn_tokenizer    *t;
    tn_shard_writer *w;
    tn_shard        *s;
    tn_error         err = { 0 };
    *stats = (tn_data_stats){ 0 };
    assert_int_equal(tn_file_write_all(path, bytes, n, &err), TN_OK);
    assert_int_equal(tn_data_byte_tokenizer(&t, &err), TN_OK);
    tn_data_options o = { .tokenizer = t };
    assert_int_equal(tn_shard_create(&w, shard, &tokenizer, 257, &err), TN_OK);
    if (tn_data_tokenise(w, path, &o, stats, &err) != TN_OK) fail_msg("%s: %s", name, err.msg);
    assert_int_equal(tn_shard_commit(w, &err), TN_OK);
    assert_int_equal(tn_shard_open(&s, shard, &tokenizer, &err), TN_OK);
    assert_true(tn_shard_is(shard) && !tn_shard_is(path));
    tn_shard_doc last = tn_shard_doc_at(s, tn_shard_n_doc(s) - 1);
    int32_t      end;
    tn_shard_copy(s, last.first + last.n - 1, 1, &end, NULL);
    assert_int_equal(end, 256); /* every document ends with the end token */
    tn_digest d = *tn_shard_content(s);
    tn_shard_close(s);
    tn_tokenizer_destroy(t);
    free(path);
    free(shard);
    return d;
}

/* A store's names have no suffix: the same bytes are the same documents. */
static void content_tells_what_a_name_does_not(void **state)
{
    static const char rows[] = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n", text[] = "{ this is no row }\n";
    // clang-format off
    static const unsigned char gz[] = { /* gzip -9 of rows */
                                        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xab,
                                        0x56, 0x2a, 0x49, 0xad, 0x28, 0x51, 0xb2, 0x52, 0xca, 0xcf, 0x4b,
                                        0x55, 0xaa, 0xe5, 0xaa, 0x86, 0x71, 0x4b, 0xca, 0xf3, 0x81, 0x5c,
                                        0x00, 0xfb, 0x0e, 0x50, 0xcb, 0x1e, 0x00, 0x00, 0x00
    };
    // clang-format on
    tn_data_stats a, b, c, d;
    (void)state;
    tn_digest named = content_of("rows.jsonl", rows, sizeof rows - 1, &a),
              bare = content_of("rows", rows, sizeof rows - 1, &b);
    tn_digest packed = content_of("packed", (const char *)gz, sizeof gz, &c);
    tn_digest suffix = content_of("packed.gz", (const char *)gz, sizeof gz, &c);
    assert_int_equal(a.n_doc, 2);
    assert_memory_equal(&named, &bare, sizeof named);
    assert_memory_equal(&named, &packed, sizeof named);
    assert_memory_equal(&named, &suffix, sizeof named);
    content_of("text", text, sizeof text - 1, &d);
    assert_int_equal(d.n_doc, 1);
}

static tn_status status_of(const char *name, const char *bytes, size_t n, tn_data_format format,
                           int64_t *n_token, tn_error *err)
{
    char            *path = tn_path(dir, name), *shard = tn_path(dir, "status.tns");
    tn_tokenizer    *t;
    tn_shard_writer *w;
    tn_data_stats    stats = { 0 };
    if (bytes != NULL) assert_int_equal(tn_file_write_all(path, bytes, n, err), TN_OK);
    assert_int_equal(tn_data_byte_tokenizer(&t, err), TN_OK);
    tn_data_options o = { .tokenizer = t, .format = format };
    assert_int_equal(tn_shard_create(&w, shard, &tokenizer, 257, err), TN_OK);
    tn_status status = tn_data_tokenise(w, path, &o, &stats, err);
    tn_shard_abandon(w);
    tn_tokenizer_destroy(t);
    free(path);
    free(shard);
    *n_token = stats.n_token;
    return status;
}

/* A byte order mark is no part of a text, and a picture among the texts of a folder is none. */
static void only_text_is_taken_for_text(void **state)
{
    static const char png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", wide[] = "\xff\xfeh\0i\0",
                      list[] = "[{\"text\":\"one\"},\n{\"text\":\"two\"}]\n",
                      rows[] = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
    tn_data_stats a, b, c;
    int64_t       n;
    tn_error      err;
    (void)state;
    tn_digest plain = content_of("plain.txt", "some text", 9, &a),
              marked = content_of("marked.txt", "\xef\xbb\xbfsome text", 12, &b);
    assert_memory_equal(&plain, &marked, sizeof plain);

    assert_int_equal(status_of("pic.png", png, sizeof png, TN_DATA_AUTO, &n, &err), TN_FORMAT);
    assert_non_null(strstr(err.msg, "NUL"));
    assert_int_equal(status_of("pic.png", png, sizeof png, TN_DATA_TEXT, &n, &err), TN_OK);
    assert_int_equal(status_of("wide.txt", wide, sizeof wide - 1, TN_DATA_AUTO, &n, &err), TN_FORMAT);
    assert_non_null(strstr(err.msg, "UTF-16"));
    assert_int_equal(status_of("list.json", list, sizeof list - 1, TN_DATA_AUTO, &n, &err), TN_FORMAT);
    assert_non_null(strstr(err.msg, "one row a line"));
    content_of("rows.json", rows, sizeof rows - 1, &c);
    assert_int_equal(c.n_doc, 2);

    char *below = tn_path(dir, "mixed");
    assert_int_equal(tn_mkdirs(below, &err), TN_OK);
    free(below);
    assert_int_equal(status_of("mixed/pic.png", png, sizeof png, TN_DATA_TEXT, &n, &err), TN_OK);
    assert_int_equal(status_of("mixed/plain.txt", "some text", 9, TN_DATA_TEXT, &n, &err), TN_OK);
    tn_log_set_level(TN_LOG_ERROR);
    assert_int_equal(status_of("mixed", NULL, 0, TN_DATA_AUTO, &n, &err), TN_OK);
    assert_int_equal(n, a.n_token);
}

/* Nobody means .git or an editor's copy when he names a folder; a suffix in capitals is the same suffix. */
static void a_folder_holds_what_is_meant(void **state)
{
    static const char *const aside[] = { ".hidden", ".git/config", "sub/.ipynb_checkpoints/a.txt",
                                         "a.txt~",  "#a.txt#",     "old~/b.txt" };
    static const char        rows[] = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
    tn_data_stats            a, b;
    int64_t                  n;
    tn_error                 err;
    (void)state;
    tn_digest low = content_of("case.jsonl", rows, sizeof rows - 1, &a),
              high = content_of("case.JSONL", rows, sizeof rows - 1, &b);
    assert_int_equal(b.n_doc, 2);
    assert_memory_equal(&low, &high, sizeof low);

    tn_log_set_level(TN_LOG_ERROR);
    for (size_t i = 0; i < sizeof aside / sizeof *aside; i++) {
        char name[64], *path, *slash;
        snprintf(name, sizeof name, "folder/%s", aside[i]);
        path = tn_path(dir, name);
        slash = strrchr(path, '/');
        *slash = '\0';
        assert_int_equal(tn_mkdirs(path, &err), TN_OK);
        free(path);
        assert_int_equal(status_of(name, "not meant", 9, TN_DATA_TEXT, &n, &err), TN_OK);
    }
    assert_int_equal(status_of("folder", NULL, 0, TN_DATA_AUTO, &n, &err), TN_FORMAT);
    assert_non_null(strstr(err.msg, "hidden files and editors' copies only (#a.txt#)"));
    assert_int_equal(status_of("folder/sub/a#b.txt", "some text", 9, TN_DATA_AUTO, &n, &err), TN_OK);
    assert_int_equal(status_of("folder", NULL, 0, TN_DATA_AUTO, &n, &err), TN_OK);
    assert_int_equal(n, 10);
}

static void bytes_go_there_and_back(void **state)
{
    static const char text[] = "Gr\xc3\xbc\xc3\x9f"
                               "e, \xe4\xb8\x96\xe7\x95\x8c\t\n 42";
    tn_tokenizer     *t;
    tn_error          err;
    int32_t          *ids = NULL;
    size_t            n = 0, cap = 0, m;
    char             *back;
    (void)state;
    if (tn_data_byte_tokenizer(&t, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_int_equal(tn_tokenizer_n_vocab(t), 257);
    assert_int_equal(tn_tokenizer_eos(t), 256);
    assert_int_equal(tn_tokenize(t, text, strlen(text), 0, &ids, &n, &cap, &err), TN_OK);
    assert_int_equal(n, strlen(text));
    for (size_t i = 0; i < n; i++) assert_int_equal(ids[i], (unsigned char)text[i]);
    assert_int_equal(tn_detokenize(t, ids, n, true, &back, &m, &err), TN_OK);
    assert_string_equal(back, text);
    free(ids);
    free(back);
    tn_tokenizer_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_reads_back),
        cmocka_unit_test(ids_of_a_shard_are_those_of_the_model),
        cmocka_unit_test(a_damaged_or_foreign_shard_is_refused),
        cmocka_unit_test(packing_loses_no_target_and_crosses_no_document),
        cmocka_unit_test(no_sample_is_without_a_target),
        cmocka_unit_test(best_fit_needs_few_samples),
        cmocka_unit_test(a_round_of_the_mixture_holds_exact_counts),
        cmocka_unit_test(an_epoch_sees_every_sample_once),
        cmocka_unit_test(a_weighted_source_is_walked_through_before_it_repeats),
        cmocka_unit_test(sources_by_size_are_as_one),
        cmocka_unit_test(a_weight_that_draws_nothing_is_refused),
        cmocka_unit_test(content_tells_what_a_name_does_not),
        cmocka_unit_test(only_text_is_taken_for_text),
        cmocka_unit_test(a_folder_holds_what_is_meant),
        cmocka_unit_test(bytes_go_there_and_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
