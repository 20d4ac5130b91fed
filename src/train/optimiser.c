/* optimiser.c - one update of a range of the flat order: AdamW, SGD with momentum, Adafactor, Muon.
 *
 *   sgd        m = mu m + g;  p -= lr (m + wd p)
 *   adafactor  v factored into row and column means (Shazeer & Stern 2018), update clipped to RMS 1, b2 = 1 - t^-0.8
 *   muon       matrices of the layers: m = mu m + g, d = g + mu m (Nesterov), five Newton-Schulz steps, scaled by
 *              0.2 sqrt(max(rows, cols)) so that AdamW's learning rates fit (Jordan 2024; 2502.16982); AdamW for the rest
 *
 * AdamW and SGD work element by element and are exact under any cut of the range. The others work on whole tensors. */
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

const char *train_optimiser_state_name(int i) { return i == 0 ? "m" : "v"; }

static opt_kind kind_of(const char *name)
{
    return strcmp(name, "sgd") == 0 ? OPT_SGD : strcmp(name, "adafactor") == 0 ? OPT_ADAFACTOR :
           strcmp(name, "muon") == 0 ? OPT_MUON : OPT_ADAMW;
}

tn_status train_optimiser_create(optimiser *o, const params *p, const tn_train_config *c, int64_t first, int64_t last, tn_error *err)
{
    *o = (optimiser){ .kind = kind_of(c->optimizer), .first = first, .last = last };
    o->whole = o->kind == OPT_ADAFACTOR || o->kind == OPT_MUON;
    o->n_state = o->kind == OPT_SGD ? 1 : 2;
    for (int i = 0; i < o->n_state; i++) {
        /* calloc: pages that no tensor uses (Adafactor's m) are never touched. */
        if ((o->state[i] = calloc((size_t)(last - first) + 1, 4)) == NULL) {
            train_optimiser_free(o);
            return tn_fail(err, TN_NOMEM, "the optimiser state needs %zu bytes; use more ranks with zero: 1, or lora_rank",
                           (size_t)(last - first) * 4 * (size_t)o->n_state);
        }
    }
    int64_t most = 0;
    for (int i = 0; i < p->n_slot; i++) if (p->slot[i].muon && p->slot[i].n > most) most = p->slot[i].n;
    if (most > 0) {
        int64_t side = 0;
        for (int i = 0; i < p->n_slot; i++) {
            if (!p->slot[i].muon) continue;
            int64_t r = p->slot[i].w->shape[0], k = p->slot[i].w->shape[1], s = r < k ? r : k;
            if (s > side) side = s;
        }
        o->work_floats = (size_t)(3 * most + 3 * side * side) + 192;
        if ((o->work = aligned_alloc(64, (o->work_floats * 4 + 63) & ~(size_t)63)) == NULL) {
            train_optimiser_free(o);
            return tn_fail(err, TN_NOMEM, "Muon's matrices need %zu bytes", o->work_floats * 4);
        }
    }
    return TN_OK;
}

void train_optimiser_free(optimiser *o)
{
    for (int i = 0; i < MAX_STATE; i++) free(o->state[i]);
    free(o->work);
    *o = (optimiser){0};
}

typedef struct job {
    optimiser *o;
    const params *p;
    const tn_train_config *c;
    const float *grad;                  /* flat, from o->first on */
    float scale, lr;
    int64_t t;
} job;

/* ------------------------------------------------------------------------------------------- element by element */

static void adamw_span(void *arg, const slot *s, int64_t offset, int64_t n)
{
    job *j = arg;
    if (s->muon) return;
    int64_t flat = s->first + offset, at = flat - j->o->first;
    tn_adamw_params a = { j->lr * s->lr_scale, (float)j->c->beta1, (float)j->c->beta2, (float)j->c->eps,
                          s->decay ? (float)j->c->weight_decay : 0, j->t, j->scale };
    tn_rng_key key = { (uint64_t)j->c->seed, TN_RNG_ROUND, (uint64_t)j->t, 0 };
    uint16_t *p16 = s->w->dtype == TN_BF16 ? (uint16_t *)s->w->data + offset : NULL;
    tn_adamw_step(s->master + offset, j->o->state[0] + at, j->o->state[1] + at, j->grad + at, p16, n, &a,
                  j->c->stochastic_rounding ? &key : NULL, flat);
}

static void sgd_span(void *arg, const slot *s, int64_t offset, int64_t n)
{
    job *j = arg;
    int64_t at = s->first + offset - j->o->first;
    float *w = s->master + offset, *m = j->o->state[0] + at, mu = (float)j->c->momentum, lr = j->lr * s->lr_scale;
    float wd = s->decay ? (float)j->c->weight_decay : 0;
    const float *g = j->grad + at;
    for (int64_t i = 0; i < n; i++) {
        m[i] = fmaf(mu, m[i], g[i] * j->scale);
        w[i] = fmaf(-lr, fmaf(wd, w[i], m[i]), w[i]);
    }
    train_slot_round(j->p, s, offset, n);
}

static void elementwise_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    job *j = arg;
    (void)i_thread;
    train_params_spans(j->p, j->o->first + begin, j->o->first + end, j->o->kind == OPT_SGD ? sgd_span : adamw_span, j);
}

/* ----------------------------------------------------------------------------------------------- whole tensors */

/* v's place holds row means, then column means (or plain v for vectors). All sums ascending, in double. */
static void adafactor_slot(job *j, const slot *s, float *u)
{
    const float *g = j->grad + (s->first - j->o->first);
    float *v = j->o->state[1] + (s->first - j->o->first), lr = j->lr * s->lr_scale, wd = s->decay ? (float)j->c->weight_decay : 0;
    double b2 = 1 - tn_exp(-0.8 * tn_ln((double)j->t)), square = 0;
    bool factored = s->w->n_dim == 2 && s->w->shape[0] > 1 && s->w->shape[1] > 2;
    int64_t rows = factored ? s->w->shape[0] : 1, cols = factored ? s->w->shape[1] : s->n;
    float *row = v, *col = v + rows;
    double all = 0;

    for (int64_t r = 0; factored && r < rows; r++) {
        double sum = 0;
        for (int64_t k = 0; k < cols; k++) { double x = (double)g[r * cols + k] * j->scale; sum += x * x + 1e-30; }
        row[r] = (float)(b2 * row[r] + (1 - b2) * sum / (double)cols);
        all += row[r];
    }
    for (int64_t k = 0; factored && k < cols; k++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) { double x = (double)g[r * cols + k] * j->scale; sum += x * x + 1e-30; }
        col[k] = (float)(b2 * col[k] + (1 - b2) * sum / (double)rows);
    }
    all /= (double)rows;
    for (int64_t i = 0; i < s->n; i++) {
        double x = (double)g[i] * j->scale, second;
        if (factored) second = (double)row[i / cols] * (double)col[i % cols] / all;
        else second = v[i] = (float)(b2 * v[i] + (1 - b2) * (x * x + 1e-30));
        u[i] = (float)(x / sqrt(second));
        square += (double)u[i] * (double)u[i];
    }
    double rms = sqrt(square / (double)s->n), by = rms > 1 ? 1 / rms : 1;
    for (int64_t i = 0; i < s->n; i++)
        s->master[i] = fmaf(-lr, fmaf(wd, s->master[i], (float)(u[i] * by)), s->master[i]);
    train_slot_round(j->p, s, 0, s->n);
}

/* y[n_row][n_out] = x[n_row][n_in] w[n_out][n_in]^T by the operation itself, so that its fixed order holds here too. */
static void product(float *y, const float *x, const float *w, int64_t n_row, int64_t n_in, int64_t n_out)
{
    tn_matmul_params o = { TN_PROFILE_STRICT };
    tn_tensor tx = { .dtype = TN_F32, .n_dim = 2, .shape = { n_row, n_in }, .data = (void *)(uintptr_t)x };
    tn_tensor tw = { .dtype = TN_F32, .n_dim = 2, .shape = { n_out, n_in }, .data = (void *)(uintptr_t)w };
    tn_tensor ty = { .dtype = TN_F32, .n_dim = 2, .shape = { n_row, n_out }, .data = y };
    tn_call c = { .op = tn_op_get(TN_OP_MATMUL), .params = &o, .n_in = 2, .n_out = 1, .in = { &tx, &tw }, .out = { &ty } };
    c.scratch_bytes = c.op->scratch != NULL ? c.op->scratch(&c, false) : 0;
    if (c.scratch_bytes > 0) c.scratch = aligned_alloc(64, (c.scratch_bytes + 63) & ~(size_t)63);
    if (c.scratch_bytes > 0 && c.scratch == NULL) tn_bug("no memory for %zu bytes of scratch", c.scratch_bytes);
    tn_op_forward(&c);
    free(c.scratch);
}

static void transpose(float *to, const float *from, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < cols; k++) to[k * rows + r] = from[r * cols + k];
}

/* Quintic Newton-Schulz: x <- a x + (b A + c A A) x, A = x x^T; x is [rows][cols] with rows <= cols. */
static void newton_schulz(float *x, float *xt, float *y, float *gram, float *gram2, int64_t rows, int64_t cols)
{
    const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    float norm = sqrtf((float)tn_sum_sq(x, rows * cols)) + 1e-7f;
    for (int64_t i = 0; i < rows * cols; i++) x[i] /= norm;
    for (int it = 0; it < 5; it++) {
        product(gram, x, x, rows, cols, rows);
        product(gram2, gram, gram, rows, rows, rows);        /* the Gram matrix is symmetric to the bit */
        for (int64_t i = 0; i < rows * rows; i++) gram[i] = fmaf(c, gram2[i], b * gram[i]);
        transpose(xt, x, rows, cols);
        product(y, gram, xt, rows, rows, cols);
        for (int64_t i = 0; i < rows * cols; i++) x[i] = fmaf(a, x[i], y[i]);
    }
}

static void muon_slot(job *j, const slot *s)
{
    int64_t rows = s->w->shape[0], cols = s->w->shape[1], at = s->first - j->o->first;
    int64_t small = rows < cols ? rows : cols, large = rows < cols ? cols : rows, n16 = (s->n + 15) & ~(int64_t)15;
    float *x = j->o->work, *xt = x + n16, *y = xt + n16, *gram = y + n16, *gram2 = gram + ((small * small + 15) & ~(int64_t)15);
    float *m = j->o->state[0] + at, mu = (float)j->c->momentum, lr = j->lr * s->lr_scale, wd = s->decay ? (float)j->c->weight_decay : 0;
    const float *g = j->grad + at;
    bool turn = rows > cols;

    for (int64_t i = 0; i < s->n; i++) {
        float gi = g[i] * j->scale;
        m[i] = fmaf(mu, m[i], gi);
        y[i] = fmaf(mu, m[i], gi);
    }
    if (turn) transpose(x, y, rows, cols);
    else memcpy(x, y, (size_t)s->n * 4);
    newton_schulz(x, xt, y, gram, gram2, small, large);
    if (turn) { transpose(y, x, cols, rows); x = y; }
    float by = 0.2f * sqrtf((float)large);
    for (int64_t i = 0; i < s->n; i++) s->master[i] = fmaf(-lr, fmaf(wd, s->master[i], by * x[i]), s->master[i]);
    train_slot_round(j->p, s, 0, s->n);
}

typedef struct adafactor_all { job *j; float *u; } adafactor_all;
static void adafactor_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    adafactor_all *a = arg;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) adafactor_slot(a->j, &a->j->p->slot[i], a->u + a->j->p->slot[i].first);
}

void train_optimiser_step(optimiser *o, params *p, const tn_train_config *c, const float *grad, float scale, float lr, int64_t t)
{
    job j = { o, p, c, grad, scale, lr, t };
    if (o->kind == OPT_ADAFACTOR) {
        /* m's array holds the update meanwhile: Adafactor keeps no momentum. */
        tn_parallel(p->n_slot, 1, adafactor_range, &(adafactor_all){ &j, o->state[0] });
        memset(o->state[0], 0, (size_t)(o->last - o->first) * 4);
        return;
    }
    tn_parallel(o->last - o->first, 16384, elementwise_range, &j);
    for (int i = 0; o->kind == OPT_MUON && i < p->n_slot; i++)
        if (p->slot[i].muon) muon_slot(&j, &p->slot[i]);
}
