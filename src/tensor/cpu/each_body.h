/* each_body.h - the cheap operations (add, scale, mul, bias, and the embedding's gradient) for one
 * instruction set: included by each_<isa>.c. The steps are those of the operations' files. They are bound by
 * memory, and by calls of fmaf where the compiler has no FMA: sixteen elements at a time is all that there is
 * to gain. Private to tensor/cpu. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/row_parts.h"

/* ---------------------------------------------------------------------------------------------------- add */

static void add_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *a = tn_f32(c->in[0]), *b = tn_f32(c->in[1]);
    float         *y = tn_f32(c->out[0]), s = TN_PARAMS(c, tn_add_params)->s;
    (void)i_thread;
    if (s == 1.0f)
        for (int64_t i = begin; i < end; i += 16)
            put(y, vf_add(get(a, i, end), get(b, i, end)), i, end, false);
    else
        for (int64_t i = begin; i < end; i += 16)
            put(y, vf_fma(vf_set(s), get(b, i, end), get(a, i, end)), i, end, false);
}

void ADD_FWD(const tn_call *c) { tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, add_piece, (void *)c); }

/* d = s g or d + s g; a multiplication by 1 is left out, as in the definition. */
static void pass_on(float *d, const float *g, float s, bool add, int64_t begin, int64_t end)
{
    if (d == NULL || (d == g && !add && s == 1.0f)) return;
    if (s == 1.0f)
        for (int64_t i = begin; i < end; i += 16) put(d, get(g, i, end), i, end, add);
    else
        for (int64_t i = begin; i < end; i += 16) put(d, vf_mul(vf_set(s), get(g, i, end)), i, end, add);
}

static void add_bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const float   *dy = tn_f32(c->dout[0]);
    (void)i_thread;
    pass_on(tn_f32(c->din[0]), dy, 1.0f, c->add[0], begin, end);
    pass_on(tn_f32(c->din[1]), dy, TN_PARAMS(c, tn_add_params)->s, c->add[1], begin, end);
}

void ADD_BWD(const tn_call *c) { tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, add_bwd_piece, (void *)c); }

/* -------------------------------------------------------------------------------------------------- scale */

static void scale_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    vf             s = vf_set(TN_PARAMS(c, tn_scale_params)->s);
    (void)i_thread;
    for (int64_t i = begin; i < end; i += 16)
        put(tn_f32(c->out[0]), vf_mul(s, get(tn_f32(c->in[0]), i, end)), i, end, false);
}

void SCALE_FWD(const tn_call *c) { tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, scale_piece, (void *)c); }

static void scale_bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    vf             s = vf_set(TN_PARAMS(c, tn_scale_params)->s);
    (void)i_thread;
    for (int64_t i = begin; i < end; i += 16)
        put(tn_f32(c->din[0]), vf_mul(s, get(tn_f32(c->dout[0]), i, end)), i, end, c->add[0]);
}

void SCALE_BWD(const tn_call *c)
{
    if (c->din[0] != NULL) tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, scale_bwd_piece, (void *)c);
}

/* ---------------------------------------------------------------------------------------------------- mul */

typedef enum { SAME, ONE_ROW, ONE_COL } mul_form;

static mul_form mul_form_of(const tn_call *c)
{
    const tn_tensor *a = c->in[0], *b = c->in[1];
    if (tn_cols(b) != tn_cols(a)) return ONE_COL;
    return tn_rows(b) == 1 ? ONE_ROW : SAME;
}

TN_INLINE vf factor(const float *b, mul_form f, int64_t i, int64_t n)
{
    return f == ONE_COL ? vf_set(*b) : get(b, i, n);
}

static void mul_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    mul_form       f = mul_form_of(c);
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *a = tn_f32(c->in[0]) + r * n, *b = tn_f32(c->in[1]) + (f == SAME      ? r * n
                                                                            : f == ONE_COL ? r
                                                                                           : 0);
        for (int64_t i = 0; i < n; i += 16)
            put(tn_f32(c->out[0]) + r * n, vf_mul(get(a, i, n), factor(b, f, i, n)), i, n, false);
    }
}

void MUL_FWD(const tn_call *c)
{
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), mul_piece, (void *)c);
}

/* The sum along a row: lanes behind its end must not change a sign. */
static float row_dot(const float *x, const float *y, int64_t n)
{
    vf sum = vf_zero();
    for (int64_t i = 0; i < n; i += 16) {
        vf next = vf_fma(get(x, i, n), get(y, i, n), sum);
        sum = i + 16 <= n ? next : vf_sel(vm_range(0, (int)(n - i)), next, sum);
    }
    return vf_sum(sum);
}

static void mul_bwd_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    mul_form       f = mul_form_of(c);
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++) {
        const float *a = tn_f32(c->in[0]) + r * n, *b = tn_f32(c->in[1]) + (f == SAME      ? r * n
                                                                            : f == ONE_COL ? r
                                                                                           : 0);
        const float *dy = tn_f32(c->dout[0]) + r * n;
        float       *db = tn_f32(c->din[1]);
        if (db != NULL && f == SAME)
            for (int64_t i = 0; i < n; i += 16)
                put(db + r * n, vf_mul(get(dy, i, n), get(a, i, n)), i, n, c->add[1]);
        if (db != NULL && f == ONE_COL) db[r] = tn_put(db[r], c->add[1], row_dot(dy, a, n));
        if (c->din[0] == NULL) continue;
        for (int64_t i = 0; i < n; i += 16)
            put(tn_f32(c->din[0]) + r * n, vf_mul(get(dy, i, n), factor(b, f, i, n)), i, n, c->add[0]);
    }
}

/* A thread owns columns [begin, end). */
static void mul_row_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    float         *db = tn_f32(c->din[1]);
    int64_t        n = tn_cols(c->in[0]), n_row = tn_rows(c->in[0]);
    (void)i_thread;
    for (int64_t i = begin; i < end; i += 16) {
        vf s = c->add[1] ? get(db, i, end) : vf_zero();
        for (int64_t r = 0; r < n_row; r++)
            s = vf_fma(get(tn_f32(c->dout[0]) + r * n, i, end), get(tn_f32(c->in[0]) + r * n, i, end), s);
        put(db, s, i, end, false);
    }
}

void MUL_BWD(const tn_call *c)
{
    int64_t n = tn_cols(c->in[0]);
    if (c->din[1] != NULL && mul_form_of(c) == ONE_ROW) tn_parallel(n, 64, mul_row_piece, (void *)c);
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(n), mul_bwd_piece, (void *)c);
}

/* --------------------------------------------------------------------------------------------------- bias */

static void bias_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    int64_t        n = tn_cols(c->in[0]);
    (void)i_thread;
    for (int64_t r = begin; r < end; r++)
        for (int64_t i = 0; i < n; i += 16)
            put(tn_f32(c->out[0]) + r * n,
                vf_add(get(tn_f32(c->in[0]) + r * n, i, n), get(tn_f32(c->in[1]), i, n)), i, n, false);
}

void BIAS_FWD(const tn_call *c)
{
    tn_parallel(tn_rows(c->in[0]), tn_row_grain(tn_cols(c->in[0])), bias_piece, (void *)c);
}

static void bias_dx_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    (void)i_thread;
    pass_on(tn_f32(c->din[0]), tn_f32(c->dout[0]), 1.0f, c->add[0], begin, end);
}

/* A thread owns columns [begin, end). */
static void bias_db_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    float         *db = tn_f32(c->din[1]);
    int64_t        n = tn_cols(c->in[0]), n_row = tn_rows(c->in[0]);
    (void)i_thread;
    for (int64_t i = begin; i < end; i += 64) {
        vf s[4];
        for (int v = 0; v < 4; v++)
            s[v] = c->add[1] && i + 16 * v < end ? get(db, i + 16 * v, end) : vf_zero();
        for (int64_t r = 0; r < n_row; r++)
            for (int v = 0; v < 4; v++) {
                if (i + 16 * v >= end) break;
                s[v] = vf_add(s[v], get(tn_f32(c->dout[0]) + r * n, i + 16 * v, end));
            }
        for (int v = 0; v < 4; v++)
            if (i + 16 * v < end) put(db, s[v], i + 16 * v, end, false);
    }
}

void BIAS_BWD(const tn_call *c)
{
    if (c->din[1] != NULL) tn_parallel(tn_cols(c->in[0]), 64, bias_db_piece, (void *)c);
    if (c->din[0] != NULL) tn_parallel(tn_n_elem(c->in[0]), TN_GRAIN_ELEMS, bias_dx_piece, (void *)c);
}

/* ---------------------------------------------------------------------------------------------- embedding */

/* A thread owns columns [begin, end) of every id's row. */
static void embedding_dw_piece(void *arg, int64_t begin, int64_t end, int i_thread)
{
    const tn_call *c = arg;
    const int32_t *id = tn_i32(c->in[0]);
    float         *dw = tn_f32(c->din[1]);
    vf             scale = vf_set(TN_PARAMS(c, tn_embedding_params)->scale);
    bool           plain = TN_PARAMS(c, tn_embedding_params)->scale == 1.0f;
    int64_t        n_vocab = c->in[1]->shape[0], n = c->in[1]->shape[1], n_row = tn_n_elem(c->in[0]);
    (void)i_thread;
    if (!c->add[1])
        for (int64_t v = 0; v < n_vocab; v++) memset(dw + v * n + begin, 0, (size_t)(end - begin) * 4);
    if (c->dout[0] == NULL) return;
    for (int64_t r = 0; r < n_row; r++) {
        if (id[r] < 0 || id[r] >= n_vocab) continue;
        float       *d = dw + (int64_t)id[r] * n;
        const float *g = tn_f32(c->dout[0]) + r * n;
        for (int64_t i = begin; i < end; i += 16)
            put(d,
                plain ? vf_add(get(d, i, end), get(g, i, end))
                      : vf_fma(scale, get(g, i, end), get(d, i, end)),
                i, end, false);
    }
}

void EMBEDDING_BWD(const tn_call *c)
{
    if (c->din[1] != NULL) tn_parallel(c->in[1]->shape[1], 16, embedding_dw_piece, (void *)c);
}
