/* test_family_bits.c - the same bits, for every family: decoding = training, packed = alone, recomputed =
 * kept, any thread count, any kernels. */
#include "base/cpu.h"
#include "base/thread.h"
#include "family_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void same(const char *who, const char *what, const float *got, const float *want, int64_t n)
{
    int64_t i;

    if (!tn_same_bits(got, want, n, &i))
        fail_msg("%s, %s: element %lld is %a, not %a", who, what, (long long)i, (double)got[i],
                 (double)want[i]);
}

/* The logits of the golden text, as training computes them: [n_token][n_vocab], to be freed. */
static float *whole_text(family_model *f)
{
    family_run r;
    size_t     bytes = (size_t)(f->n_token * f->n_vocab) * sizeof(float);
    float     *y = malloc(bytes);

    family_build(&r, f, f->n_token, false, false, NULL, 0);
    family_forward(&r, f->tokens, &f->n_token, 1);
    memcpy(y, family_logits(&r), bytes);
    family_run_free(&r);
    return y;
}

/* One decoding run: row i continues sequence seq[i] at position pos[i]. */
static void decode(family_run *r, const int32_t *tokens, const int32_t *pos, const int32_t *seq, int64_t n)
{
    memcpy(tn_graph_data(r->g, r->net.tokens), tokens, (size_t)n * sizeof *tokens);
    memcpy(tn_graph_data(r->g, r->net.pos), pos, (size_t)n * sizeof *pos);
    /* one page a sequence: its number */
    memcpy(tn_graph_data(r->g, r->net.pages), seq, (size_t)n * sizeof *seq);
    assert_ok(tn_graph_forward(r->g, n, err));
}

/* Two streams of the same text at different speeds: a prefill of 9 rows, then single rows beside a second
 * prefill. */
static void decoding_equals_training(void **state)
{
    const family_case *c = *state;
    family_model       f;
    family_run         r;
    int32_t            ids[64], pos[64], seq[64];

    family_open(&f, c, false);
    float  *want = whole_text(&f);
    int64_t v = f.n_vocab, at[2] = { 0, 0 };
    family_build_decode(&r, &f, 40, 2);
    for (int64_t step = 0; at[0] < f.n_token || at[1] < f.n_token; step++) {
        int64_t n = 0,
                take[2] = { step == 0 ? 9 : 1, step == 0   ? 0
                                               : step == 1 ? 5
                                                           : 3 },
                from[2] = { at[0], at[1] };
        for (int s = 0; s < 2; s++)
            for (int64_t i = 0; i < take[s] && at[s] < f.n_token; i++, at[s]++, n++) {
                ids[n] = f.tokens[at[s]];
                pos[n] = (int32_t)at[s];
                seq[n] = s;
            }
        decode(&r, ids, pos, seq, n);
        int64_t first = at[0] - from[0];
        same(c->name, "first stream", family_logits(&r), want + from[0] * v, first * v);
        same(c->name, "second stream", family_logits(&r) + first * v, want + from[1] * v,
             (at[1] - from[1]) * v);
    }
    free(want);
    family_run_free(&r);
    family_close(&f);
}

static void packed_equals_alone(void **state)
{
    const family_case *c = *state;
    family_model       f;
    family_run         r, alone;

    family_open(&f, c, false);
    int64_t lengths[] = { 11, f.n_token - 11 - 4, 4 }, at = 0;
    family_build(&r, &f, f.n_token, false, false, NULL, 0);
    family_build(&alone, &f, f.n_token, false, false, NULL, 0);
    family_forward(&r, f.tokens, lengths, 3);
    for (int d = 0; d < 3; d++) {
        family_forward(&alone, f.tokens + at, &lengths[d], 1);
        same(c->name, "packed", family_logits(&r) + at * f.n_vocab, family_logits(&alone),
             lengths[d] * f.n_vocab);
        at += lengths[d];
    }
    family_run_free(&r);
    family_run_free(&alone);
    family_close(&f);
}

/* Forward and backward with a fixed seed; gradients are left in f->grads. */
static void train_once(family_model *f, bool recompute, float *logits)
{
    family_run r;
    int64_t    n = f->n_token * f->n_vocab;

    family_zero_grads(f);
    family_build(&r, f, f->n_token, true, recompute, NULL, 0);
    family_forward(&r, f->tokens, (int64_t[]){ 7, f->n_token - 7 }, 2);
    memcpy(logits, family_logits(&r), (size_t)n * sizeof *logits);
    float *seed = tn_graph_data(r.g, r.seed);
    for (int64_t i = 0; i < n; i++) seed[i] = (float)((i * 7919) % 101 - 50) / 100;
    assert_ok(tn_graph_run_backward(r.g, err));
    family_run_free(&r);
}

static void nothing_but_the_recipe_changes_bits(void **state)
{
    // clang-format off
    static const struct { const char *what, *kernels; int threads; bool recompute; } ways[] = {
        { "reference", "auto", 1, false }, { "recomputed", "auto", 1, true }, { "2 threads", "auto", 2, false },
        { "3 threads, recomputed", "auto", 3, true }, { "ref", "ref", 2, false }, { "avx2", "avx2", 2, false },
        { "avx512", "avx512", 1, false },
    };
    // clang-format on
    const family_case *c = *state;
    family_model       f;

    family_open(&f, c, true);
    int64_t n = f.n_token * f.n_vocab;
    size_t  n_grad = family_n_grad(&f);
    float  *want = malloc((n_grad + (size_t)n) * sizeof *want), *got = malloc((size_t)n * sizeof *got);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (tn_isa_set(ways[i].kernels, NULL) != TN_OK) continue; /* not on this CPU */
        tn_ops_choose(false);
        assert_ok(tn_threads_set(ways[i].threads, err));
        train_once(&f, ways[i].recompute, i == 0 ? want : got);
        if (i == 0) memcpy(want + n, f.grads, n_grad * sizeof *want);
        else {
            same(c->name, ways[i].what, got, want, n);
            same(c->name, ways[i].what, f.grads, want + n, (int64_t)n_grad);
        }
    }
    assert_ok(tn_isa_set("auto", err));
    tn_ops_choose(false);
    free(want);
    free(got);
    family_close(&f);
}

int main(void)
{
    struct CMUnitTest tests[3 * 64];
    char              names[3 * 64][96];
    int               n = 0;
    // clang-format off
    const struct { const char *name; CMUnitTestFunction fn; } kinds[] = {
        { "decoding equals training", decoding_equals_training }, { "packed equals alone", packed_equals_alone },
        { "nothing but the recipe changes bits", nothing_but_the_recipe_changes_bits },
    };
    // clang-format on

    for (int k = 0; k < 3; k++)
        for (int i = 0; i < n_family_case; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", family_cases[i].name, kinds[k].name);
            tests[n] = (struct CMUnitTest){ .name = names[n],
                                            .test_func = kinds[k].fn,
                                            .initial_state = (void *)&family_cases[i] };
        }
    return _cmocka_run_group_tests("families, bit for bit", tests, (size_t)n, NULL, NULL);
}
