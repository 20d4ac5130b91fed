/* toy_ops.c - see toy_ops.h. Real operations on small scale: matmul, add, mul, scale, tanh, a norm with a
 * saved output. */
#include "toy_ops.h"

#include "base/hash.h"

#include <math.h>
#include <string.h>

int    toy_forward_count[TN_OP_COUNT];
size_t toy_scratch_bytes = 256;
int    toy_together_count;

static float *f(const tn_tensor *t) { return t->data; }
int64_t       tn_n_elem(const tn_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dim; i++) n *= t->shape[i];
    return n;
}
size_t  tn_row_bytes(tn_dtype t, int64_t n) { return (size_t)n * (t == TN_F32 || t == TN_I32 ? 4 : 2); }
size_t  tn_n_bytes(const tn_tensor *t) { return (size_t)tn_n_elem(t) * tn_row_bytes(t->dtype, 1); }
int64_t tn_rows(const tn_tensor *t) { return tn_n_elem(t) / t->shape[t->n_dim - 1]; }
int64_t tn_cols(const tn_tensor *t) { return t->shape[t->n_dim - 1]; }
void    tn_tensor_hash(struct tn_digest *out, const tn_tensor *t)
{
    *out = tn_sha256_of(t->data, tn_n_bytes(t));
}

static void put(float *d, bool add, int64_t i, float v) { d[i] = add ? d[i] + v : v; }

static tn_status same_shape(const tn_call *c, tn_error *err)
{
    (void)err;
    *c->out[0] = *c->in[0];
    return TN_OK;
}

static tn_status matmul_shape(const tn_call *c, tn_error *err)
{
    if (tn_cols(c->in[0]) != tn_cols(c->in[1]))
        return tn_fail(err, TN_MISMATCH, "matmul: x has %lld columns, w %lld", (long long)tn_cols(c->in[0]),
                       (long long)tn_cols(c->in[1]));
    *c->out[0] = *c->in[0];
    c->out[0]->shape[1] = c->in[1]->shape[0];
    return TN_OK;
}

static void matmul_fwd(const tn_call *c)
{
    int64_t n = tn_rows(c->in[0]), k = tn_cols(c->in[0]), m = c->in[1]->shape[0];

    memset(c->scratch, 0xff, c->scratch_bytes); /* NaN bits: nobody else's bytes may lie here */
    for (int64_t r = 0; r < n; r++)
        for (int64_t o = 0; o < m; o++) {
            float acc = 0;
            for (int64_t i = 0; i < k; i++) acc = fmaf(f(c->in[0])[r * k + i], f(c->in[1])[o * k + i], acc);
            f(c->out[0])[r * m + o] = acc;
        }
}

static void matmul_bwd(const tn_call *c)
{
    int64_t n = tn_rows(c->dout[0]), m = tn_cols(c->dout[0]), k = tn_cols(c->in[0]);

    memset(c->scratch, 0xff, c->scratch_bytes);
    if (c->din[0] != NULL)
        for (int64_t r = 0; r < n; r++)
            for (int64_t i = 0; i < k; i++) {
                float acc = c->add[0] ? f(c->din[0])[r * k + i] : 0;
                for (int64_t o = 0; o < m; o++)
                    acc = fmaf(f(c->dout[0])[r * m + o], f(c->in[1])[o * k + i], acc);
                f(c->din[0])[r * k + i] = acc;
            }
    if (c->din[1] != NULL)
        for (int64_t r = 0; r < n; r++)
            for (int64_t o = 0; o < m; o++)
                for (int64_t i = 0; i < k; i++)
                    f(c->din[1])[o * k + i] += f(c->dout[0])[r * m + o] * f(c->in[0])[r * k + i];
}

static void add_fwd(const tn_call *c)
{
    for (int64_t i = 0; i < tn_n_elem(c->out[0]); i++) f(c->out[0])[i] = f(c->in[0])[i] + f(c->in[1])[i];
}

static void add_bwd(const tn_call *c)
{
    for (int64_t i = 0; i < tn_n_elem(c->dout[0]); i++)
        for (int k = 0; k < 2; k++)
            if (c->din[k] != NULL) put(f(c->din[k]), c->add[k], i, f(c->dout[0])[i]);
}

static void mul_fwd(const tn_call *c)
{
    for (int64_t i = 0; i < tn_n_elem(c->out[0]); i++) f(c->out[0])[i] = f(c->in[0])[i] * f(c->in[1])[i];
}

static void mul_bwd(const tn_call *c)
{
    for (int64_t i = 0; i < tn_n_elem(c->dout[0]); i++)
        for (int k = 0; k < 2; k++)
            if (c->din[k] != NULL) put(f(c->din[k]), c->add[k], i, f(c->dout[0])[i] * f(c->in[1 - k])[i]);
}

static void scale_fwd(const tn_call *c)
{
    float s = ((const tn_scale_params *)c->params)->s;

    for (int64_t i = 0; i < tn_n_elem(c->out[0]); i++) f(c->out[0])[i] = s * f(c->in[0])[i];
}

static void scale_bwd(const tn_call *c)
{
    float s = ((const tn_scale_params *)c->params)->s;

    for (int64_t i = 0; i < tn_n_elem(c->dout[0]); i++) put(f(c->din[0]), c->add[0], i, s * f(c->dout[0])[i]);
}

static void tanh_fwd(const tn_call *c)
{
    for (int64_t i = 0; i < tn_n_elem(c->out[0]); i++) f(c->out[0])[i] = tanhf(f(c->in[0])[i]);
}

static void tanh_bwd(const tn_call *c) /* reads its output, not its input */
{
    for (int64_t i = 0; i < tn_n_elem(c->dout[0]); i++)
        put(f(c->din[0]), c->add[0], i, f(c->dout[0])[i] * (1 - f(c->out[0])[i] * f(c->out[0])[i]));
}

static tn_status norm_shape(const tn_call *c, tn_error *err)
{
    TN_TRY(same_shape(c, err));
    *c->out[1] = (tn_tensor){ .dtype = TN_F32, .n_dim = 1, .shape = { tn_rows(c->in[0]) } };
    return TN_OK;
}

static void norm_fwd(const tn_call *c) /* y = x / (1 + sum of squares), the divisor kept in output 1 */
{
    int64_t n = tn_rows(c->in[0]), k = tn_cols(c->in[0]);

    for (int64_t r = 0; r < n; r++) {
        float ss = 1;
        for (int64_t i = 0; i < k; i++) ss += f(c->in[0])[r * k + i] * f(c->in[0])[r * k + i];
        f(c->out[1])[r] = ss;
        for (int64_t i = 0; i < k; i++) f(c->out[0])[r * k + i] = f(c->in[0])[r * k + i] / ss;
    }
}

static void norm_bwd(const tn_call *c)
{
    int64_t n = tn_rows(c->in[0]), k = tn_cols(c->in[0]);

    for (int64_t r = 0; r < n; r++) {
        float ss = f(c->out[1])[r], dot = 0;
        for (int64_t i = 0; i < k; i++) dot += f(c->dout[0])[r * k + i] * f(c->in[0])[r * k + i];
        for (int64_t i = 0; i < k; i++)
            put(f(c->din[0]), c->add[0], r * k + i,
                f(c->dout[0])[r * k + i] / ss - 2 * f(c->in[0])[r * k + i] * dot / (ss * ss));
    }
}

static tn_status gather_shape(const tn_call *c, tn_error *err)
{
    TN_TRY(same_shape(c, err));
    c->out[0]->shape[0] = c->in[1]->shape[0];
    return TN_OK;
}

static void gather_fwd(const tn_call *c)
{
    int64_t k = tn_cols(c->in[0]);

    for (int64_t r = 0; r < tn_rows(c->out[0]); r++)
        memcpy(f(c->out[0]) + r * k, f(c->in[0]) + ((const int32_t *)c->in[1]->data)[r] * k, (size_t)k * 4);
}

static void gather_bwd(const tn_call *c)
{
    int64_t k = tn_cols(c->dout[0]);

    if (!c->add[0]) memset(c->din[0]->data, 0, tn_n_bytes(c->din[0]));
    for (int64_t r = 0; r < tn_rows(c->dout[0]); r++)
        for (int64_t i = 0; i < k; i++)
            f(c->din[0])[((const int32_t *)c->in[1]->data)[r] * k + i] += f(c->dout[0])[r * k + i];
}

/* The last one first, and its scratch is filled again after the others: outputs that lie in it are lost. */
static void matmul_together(const tn_call *const *calls, int n)
{
    toy_together_count += n;
    for (int i = n; i-- > 0;) {
        tn_call c = *calls[i];
        c.scratch = calls[n - 1]->scratch;
        toy_forward_count[TN_OP_MATMUL]++;
        matmul_fwd(&c);
        memset(c.scratch, 0xff, c.scratch_bytes);
    }
}

static bool   any(void) { return true; }
static size_t matmul_scratch(const tn_call *c, bool backward)
{
    (void)c;
    (void)backward;
    return toy_scratch_bytes;
}
static double matmul_flops(const tn_call *c)
{
    return 2.0 * (double)tn_n_elem(c->in[0]) * (double)c->in[1]->shape[0];
}

#define KERNELS(name)                                                                                        \
    static const tn_kernel name##_kernels[] = { { "ref", any, name##_fwd, name##_bwd },                      \
                                                { NULL, NULL, NULL, NULL } }
KERNELS(matmul);
KERNELS(add);
KERNELS(mul);
KERNELS(scale);
KERNELS(tanh);
KERNELS(norm);
KERNELS(gather);

static const tn_op toy_matmul = { .name = "matmul",
                                  .params_bytes = sizeof(tn_matmul_params),
                                  .n_in = 2,
                                  .n_out = 1,
                                  .shape = matmul_shape,
                                  .scratch = matmul_scratch,
                                  .kernels = matmul_kernels,
                                  .bwd_in = 3,
                                  .flops = matmul_flops,
                                  .together = matmul_together };
static const tn_op toy_add = { .name = "add",
                               .params_bytes = sizeof(tn_add_params),
                               .n_in = 2,
                               .n_out = 1,
                               .shape = same_shape,
                               .kernels = add_kernels,
                               .in_place = 1 };
static const tn_op toy_mul = {
    .name = "mul", .n_in = 2, .n_out = 1, .shape = same_shape, .kernels = mul_kernels, .bwd_in = 3
};
static const tn_op toy_scale = { .name = "scale",
                                 .params_bytes = sizeof(tn_scale_params),
                                 .n_in = 1,
                                 .n_out = 1,
                                 .shape = same_shape,
                                 .kernels = scale_kernels,
                                 .in_place = 1 };
static const tn_op toy_tanh = { .name = "unary",
                                .params_bytes = sizeof(tn_unary_params),
                                .n_in = 1,
                                .n_out = 1,
                                .shape = same_shape,
                                .kernels = tanh_kernels,
                                .bwd_out = 1,
                                .in_place = 1 };
static const tn_op toy_norm = { .name = "rmsnorm",
                                .params_bytes = sizeof(tn_rmsnorm_params),
                                .n_in = 2,
                                .n_out = 2,
                                .shape = norm_shape,
                                .kernels = norm_kernels,
                                .bwd_in = 1,
                                .bwd_out = 2 };
/* y = a + s b, where b is a constant by definition; and one that merely has no gradient of it. */
static const tn_op toy_held = { .name = "held",
                                .params_bytes = sizeof(tn_add_params),
                                .n_in = 2,
                                .n_out = 1,
                                .shape = same_shape,
                                .kernels = add_kernels,
                                .no_grad_in = 2,
                                .held_in = 2 };
static const tn_op toy_cut = { .name = "cut",
                               .params_bytes = sizeof(tn_add_params),
                               .n_in = 2,
                               .n_out = 1,
                               .shape = same_shape,
                               .kernels = add_kernels,
                               .no_grad_in = 2 };
static const tn_op toy_gather = { .name = "gather_rows",
                                  .n_in = 2,
                                  .n_out = 1,
                                  .shape = gather_shape,
                                  .kernels = gather_kernels,
                                  .bwd_in = 2 };

// clang-format off
static const tn_op *const toy_table[TN_OP_COUNT] = {
    [TN_OP_MATMUL] = &toy_matmul,      [TN_OP_ADD] = &toy_add,          [TN_OP_MUL] = &toy_mul,
    [TN_OP_SCALE] = &toy_scale,        [TN_OP_UNARY] = &toy_tanh,       [TN_OP_RMSNORM] = &toy_norm,
    [TN_OP_GATHER_ROWS] = &toy_gather, [TN_OP_WEIGHT_NORM] = &toy_held, [TN_OP_BIAS] = &toy_cut,
};
// clang-format on

const tn_op *tn_op_get(tn_op_id id) { return (int)id < 0 || id >= TN_OP_COUNT ? NULL : toy_table[id]; }

void tn_op_forward(const tn_call *c)
{
    for (int i = 0; i < TN_OP_COUNT; i++)
        toy_forward_count[i] += c->op == toy_table[i] && toy_table[i] != NULL;
    c->op->kernels[0].fwd(c);
}

void tn_op_backward(const tn_call *c) { c->op->kernels[0].bwd(c); }
void tn_ops_choose(bool check) { (void)check; } /* there is one kernel each */
