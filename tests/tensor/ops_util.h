/* ops_util.h - tensors made for one call, its scratch, and a sum over all of its outputs: what the tests of single operations
 * share. */
#ifndef TN_TESTS_OPS_UTIL_H
#define TN_TESTS_OPS_UTIL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/thread.h"
#include "tensor/tensor.h"

static inline void *made(size_t n)
{
    void *p = aligned_alloc(64, (n + 127) / 64 * 64);
    memset(p, 0, (n + 127) / 64 * 64);
    return p;
}

static inline tn_tensor matrix(int64_t rows, int64_t cols, uint64_t seed)
{
    const tn_rng_key key = { .seed = seed, .purpose = TN_RNG_TEST };

    tn_tensor t = {
        .dtype = TN_F32, .n_dim = 2, .shape = { rows, cols }, .data = made((size_t)(rows * cols) * 4)
    };
    for (int64_t i = 0; seed != 0 && i < rows * cols; i++)
        ((float *)t.data)[i] = (float)tn_rng_normal(&key, (uint64_t)i);
    return t;
}

static inline tn_tensor ints(int64_t n, int32_t value)
{
    tn_tensor t = { .dtype = TN_I32, .n_dim = 1, .shape = { n }, .data = made((size_t)n * 4) };
    for (int64_t i = 0; i < n; i++) ((int32_t *)t.data)[i] = value;
    return t;
}

/* Scratch of the call, forward or backward; freed by the caller. */
static inline void give_scratch(tn_call *c)
{
    size_t a = c->op->scratch == NULL ? 0 : c->op->scratch(c, false),
           b = c->op->scratch == NULL ? 0 : c->op->scratch(c, true);
    c->scratch_bytes = a > b ? a : b;
    c->scratch = made(c->scratch_bytes + 64);
}

static inline bool same(const tn_tensor *a, const float *b)
{
    return tn_same_bits(a->data, b, tn_n_elem(a), NULL);
}

/* Loss over every output of the router, and over both of head_logprob, by central differences. */
static inline double all_outputs(tn_call *c, const tn_tensor *weights)
{
    double s = 0;
    tn_op_forward(c);
    for (int o = 0; o < c->n_out; o++) {
        if (c->out[o]->dtype != TN_F32) continue;
        for (int64_t i = 0; i < tn_n_elem(c->out[o]); i++)
            s += (double)((float *)c->out[o]->data)[i] * (double)((float *)weights[o].data)[i];
    }
    return s;
}

#endif
