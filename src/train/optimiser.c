/* optimiser.c - one update of a range of the flat order: AdamW, SGD with momentum, Adafactor, Muon.
 *
 *   sgd        m = mu m + g;  p -= lr (m + wd p)
 *   adafactor  v factored into row and column means (Shazeer & Stern 2018), update clipped to RMS 1, b2 = 1 - t^-0.8
 *   muon       matrices of the layers: m = mu m + g, d = g + mu m (Nesterov), five Newton-Schulz steps, scaled by
 *              0.2 sqrt(max(rows, cols)) so that AdamW's learning rates fit (Jordan 2024; 2502.16982); AdamW for the rest
 *
 * AdamW and SGD work element by element and are exact under any cut of the range. Muon's matrices
 * (Newton-Schulz) and all of Adafactor's tensors (row and column means, the root mean square of the update)
 * are whole: the rank that owns one has its summed gradient and all of its state, and no rank has more state
 * than its tensors need:
 *
 *   adamw      m [n], v [n]          muon       m [n] for its matrices, as adamw for the rest
 *   sgd        m [n]                 adafactor  v [rows + cols], or [n] for a vector
 *
 * Three-dimensional tensors (the weights of experts) are no matrices here: Muon leaves them to AdamW,
 * Adafactor keeps all of their v. */
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/thread.h"

static opt_kind kind_of(const char *name)
{
    return strcmp(name, "sgd") == 0         ? OPT_SGD
           : strcmp(name, "adafactor") == 0 ? OPT_ADAFACTOR
           : strcmp(name, "muon") == 0      ? OPT_MUON
                                            : OPT_ADAMW;
}

/* ----------------------------------------------------------------------------------------- what is needed */

static bool is_factored(const slot *s)
{
    return s->matrix && s->w->n_dim == 2 && s->w->shape[0] > 1 && s->w->shape[1] > 2;
}

static int64_t round16(int64_t n) { return (n + 15) & ~(int64_t)15; }

void train_optimiser_plan(params *p, const tn_train_config *c)
{
    opt_kind kind = kind_of(c->optimizer);
    int64_t  at[MAX_STATE] = { 0 };
    for (int i = 0; i < p->n_slot; i++) {
        slot *s = &p->slot[i];
        s->muon = kind == OPT_MUON && p->lora == NULL && s->matrix && s->w->n_dim == 2 &&
                  tn_starts_with(s->name, "blk.");
        s->whole = s->muon || kind == OPT_ADAFACTOR;
        s->n_state[0] = kind == OPT_ADAFACTOR ? 0 : s->n;
        s->n_state[1] = kind == OPT_SGD || s->muon                ? 0
                        : kind == OPT_ADAFACTOR && is_factored(s) ? s->w->shape[0] + s->w->shape[1]
                                                                  : s->n;
        for (int k = 0; k < MAX_STATE; k++) {
            s->state_at[k] = at[k];
            at[k] += round16(s->n_state[k]);
        }
    }
}

int64_t train_state_place(const params *p, int k, int64_t flat)
{
    int64_t at = 0;
    for (int i = 0; i < p->n_slot && p->slot[i].first < flat; i++) {
        int64_t n = round16(p->slot[i].n_state[k]), before = flat - p->slot[i].first;
        at = p->slot[i].state_at[k] + (before < n ? before : n);
    }
    return at;
}

float *train_state(const optimiser *o, const slot *s, int k, int64_t offset)
{
    return o->state[k] + (s->state_at[k] + offset - o->at[k]);
}

static bool owns(const optimiser *o, const slot *s)
{
    return s->first >= o->first && s->first + s->n <= o->last;
}

/* y[n_row][n_out] = x[n_row][n_in] w[n_out][n_in]^T by the operation itself, so that its fixed order holds
 * here too. scratch NULL: nothing is computed. Returns the floats of scratch that are needed. */
static size_t product(float *y, const float *x, const float *w, int64_t n_row, int64_t n_in, int64_t n_out,
                      float *scratch)
{
    tn_matmul_params o = { TN_PROFILE_STRICT };
    tn_tensor tx = { .dtype = TN_F32, .n_dim = 2, .shape = { n_row, n_in }, .data = (void *)(uintptr_t)x };
    tn_tensor tw = { .dtype = TN_F32, .n_dim = 2, .shape = { n_out, n_in }, .data = (void *)(uintptr_t)w };
    tn_tensor ty = { .dtype = TN_F32, .n_dim = 2, .shape = { n_row, n_out }, .data = y };

    tn_call c = {
        .op = tn_op_get(TN_OP_MATMUL),
        .params = &o,
        .n_in = 2,
        .n_out = 1,
        .in = { &tx, &tw },
        .out = { &ty },
    };
    c.scratch_bytes = c.op->scratch != NULL ? c.op->scratch(&c, false) : 0;
    c.scratch = c.scratch_bytes > 0 ? scratch : NULL;
    if (scratch != NULL) tn_op_forward(&c);
    return (c.scratch_bytes + 3) / 4;
}

/* Muon's memory for one matrix: [x, x^T, y] [rows cols], [gram, gram2] [rows rows], the product's scratch. */
typedef struct muon_work {
    float *x, *xt, *y, *gram, *gram2, *scratch;
    size_t floats;
} muon_work;

static muon_work muon_lay_out(float *work, const slot *s)
{
    int64_t r = s->w->shape[0], k = s->w->shape[1], small = r < k ? r : k, large = r < k ? k : r,
            n = round16(s->n), side = round16(small * small);
    muon_work m = { .floats = (size_t)(3 * n + 2 * side) };
    size_t    most = 0;
    if (work != NULL)
        m = (muon_work){ work,    work + n, work + 2 * n, work + 3 * n, work + 3 * n + side, work + m.floats,
                         m.floats };
    const int64_t shape[3][3] = { { small, large, small }, { small, small, small }, { small, small, large } };
    for (int i = 0; i < 3; i++) {
        size_t need = product(NULL, NULL, NULL, shape[i][0], shape[i][1], shape[i][2], NULL);
        if (need > most) most = need;
    }
    m.floats += most + 16;
    return m;
}

tn_status train_optimiser_create(optimiser *o, const params *p, const tn_train_config *c, int64_t first,
                                 int64_t last, tn_error *err)
{
    *o = (optimiser){ .kind = kind_of(c->optimizer), .first = first, .last = last };
    o->n_state = o->kind == OPT_SGD ? 1 : 2;
    for (int k = 0; k < o->n_state; k++) {
        o->at[k] = train_state_place(p, k, first);
        o->n[k] = train_state_place(p, k, last) - o->at[k];
        if ((o->state[k] = calloc((size_t)o->n[k] + 1, 4)) == NULL) {
            size_t bytes = (size_t)o->n[k] * 4;
            train_optimiser_free(o);
            return tn_fail(
                err, TN_NOMEM,
                "the optimiser state needs %zu bytes more; use more ranks with zero: 1, or lora_rank", bytes);
        }
    }
    for (int i = 0; i < p->n_slot; i++) {
        if (!p->slot[i].muon || !owns(o, &p->slot[i])) continue;
        size_t need = muon_lay_out(NULL, &p->slot[i]).floats;
        if (need > o->work_floats) o->work_floats = need;
    }
    if (o->work_floats > 0 &&
        (o->work = aligned_alloc(64, (o->work_floats * 4 + 63) & ~(size_t)63)) == NULL) {
        size_t bytes = o->work_floats * 4;
        train_optimiser_free(o);
        return tn_fail(err, TN_NOMEM, "Muon's matrices need %zu bytes", bytes);
    }
    return TN_OK;
}

void train_optimiser_free(optimiser *o)
{
    for (int i = 0; i < MAX_STATE; i++) free(o->state[i]);
    free(o->work);
    *o = (optimiser){ 0 };
}

typedef struct job {
    optimiser             *o;
    const params          *p;
    const tn_train_config *c;
    float                 *grad; /* flat, from o->first on */
    float                  scale, lr;
    int64_t                t;
} job;

/* ------------------------------------------------------------------------------------- element by element */

static void adamw_span(void *arg, const slot *s, int64_t offset, int64_t n)
{
    job *j = arg;
    if (s->muon) return;
    int64_t         flat = s->first + offset;
    tn_adamw_params a = { j->lr * s->lr_scale,
                          (float)j->c->beta1,
                          (float)j->c->beta2,
                          (float)j->c->eps,
                          s->decay ? (float)j->c->weight_decay : 0,
                          j->t,
                          j->scale };
    tn_rng_key      key = { (uint64_t)j->c->seed, TN_RNG_ROUND, (uint64_t)j->t, 0 };
    uint16_t       *p16 = s->w->dtype == TN_BF16 ? (uint16_t *)s->w->data + offset : NULL;
    tn_adamw_step(s->master + offset, train_state(j->o, s, 0, offset), train_state(j->o, s, 1, offset),
                  j->grad + (flat - j->o->first), p16, n, &a, j->c->stochastic_rounding ? &key : NULL, flat);
}

static void sgd_span(void *arg, const slot *s, int64_t offset, int64_t n)
{
    job   *j = arg;
    float *w = s->master + offset, *m = train_state(j->o, s, 0, offset), mu = (float)j->c->momentum,
          lr = j->lr * s->lr_scale;
    float        wd = s->decay ? (float)j->c->weight_decay : 0;
    const float *g = j->grad + (s->first + offset - j->o->first);
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
    train_params_spans(j->p, j->o->first + begin, j->o->first + end,
                       j->o->kind == OPT_SGD ? sgd_span : adamw_span, j);
}

/* ------------------------------------------------------------------------------------------ whole tensors */

/* v holds row means, then column means (or plain v for vectors). All sums ascending, in double. The update
 * takes the gradient's place. */
static void adafactor_slot(job *j, const slot *s)
{
    float *g = j->grad + (s->first - j->o->first);
    float *v = train_state(j->o, s, 1, 0), lr = j->lr * s->lr_scale,
          wd = s->decay ? (float)j->c->weight_decay : 0;
    double  b2 = 1 - tn_exp(-0.8 * tn_ln((double)j->t)), square = 0;
    bool    factored = is_factored(s);
    int64_t rows = factored ? s->w->shape[0] : 1, cols = factored ? s->w->shape[1] : s->n;
    float  *row = v, *col = v + rows;
    double  all = 0;

    for (int64_t r = 0; factored && r < rows; r++) {
        double sum = 0;
        for (int64_t k = 0; k < cols; k++) {
            double x = (double)g[r * cols + k] * j->scale;
            sum += x * x + 1e-30;
        }
        row[r] = (float)(b2 * row[r] + (1 - b2) * sum / (double)cols);
        all += row[r];
    }
    for (int64_t k = 0; factored && k < cols; k++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) {
            double x = (double)g[r * cols + k] * j->scale;
            sum += x * x + 1e-30;
        }
        col[k] = (float)(b2 * col[k] + (1 - b2) * sum / (double)rows);
    }
    all /= (double)rows;
    for (int64_t i = 0; i < s->n; i++) {
        double x = (double)g[i] * j->scale, second;
        if (factored) second = (double)row[i / cols] * (double)col[i % cols] / all;
        else second = v[i] = (float)(b2 * v[i] + (1 - b2) * (x * x + 1e-30));
        g[i] = (float)(x / sqrt(second));
        square += (double)g[i] * (double)g[i];
    }
    double rms = sqrt(square / (double)s->n), by = rms > 1 ? 1 / rms : 1;
    for (int64_t i = 0; i < s->n; i++)
        s->master[i] = fmaf(-lr, fmaf(wd, s->master[i], (float)(g[i] * by)), s->master[i]);
    train_slot_round(j->p, s, 0, s->n);
}

static void transpose(float *to, const float *from, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < cols; k++) to[k * rows + r] = from[r * cols + k];
}

/* Quintic Newton-Schulz: x <- a x + (b A + c A A) x, A = x x^T; x is [rows][cols] with rows <= cols. */
static void newton_schulz(const muon_work *m, int64_t rows, int64_t cols)
{
    const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    float      *x = m->x, *y = m->y, *gram = m->gram, norm = sqrtf((float)tn_sum_sq(x, rows * cols)) + 1e-7f;
    for (int64_t i = 0; i < rows * cols; i++) x[i] /= norm;
    for (int it = 0; it < 5; it++) {
        product(gram, x, x, rows, cols, rows, m->scratch);
        /* the Gram matrix is symmetric to the bit */
        product(m->gram2, gram, gram, rows, rows, rows, m->scratch);
        for (int64_t i = 0; i < rows * rows; i++) gram[i] = fmaf(c, m->gram2[i], b * gram[i]);
        transpose(m->xt, x, rows, cols);
        product(y, gram, m->xt, rows, rows, cols, m->scratch);
        for (int64_t i = 0; i < rows * cols; i++) x[i] = fmaf(a, x[i], y[i]);
    }
}

static void muon_slot(job *j, const slot *s)
{
    int64_t rows = s->w->shape[0], cols = s->w->shape[1], small = rows < cols ? rows : cols,
            large = rows < cols ? cols : rows;
    muon_work    k = muon_lay_out(j->o->work, s);
    float       *x = k.x;
    float       *m = train_state(j->o, s, 0, 0);
    float        mu = (float)j->c->momentum;
    float        lr = j->lr * s->lr_scale;
    float        wd = s->decay ? (float)j->c->weight_decay : 0;
    const float *g = j->grad + (s->first - j->o->first);
    bool         turn = rows > cols;

    for (int64_t i = 0; i < s->n; i++) {
        float gi = g[i] * j->scale;
        m[i] = fmaf(mu, m[i], gi);
        k.y[i] = fmaf(mu, m[i], gi);
    }
    if (turn) transpose(x, k.y, rows, cols);
    else memcpy(x, k.y, (size_t)s->n * 4);
    newton_schulz(&k, small, large);
    if (turn) {
        transpose(k.y, x, cols, rows);
        x = k.y;
    }
    float by = 0.2f * sqrtf((float)large);
    for (int64_t i = 0; i < s->n; i++)
        s->master[i] = fmaf(-lr, fmaf(wd, s->master[i], by * x[i]), s->master[i]);
    train_slot_round(j->p, s, 0, s->n);
}

static void adafactor_range(void *arg, int64_t begin, int64_t end, int i_thread)
{
    job *j = arg;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++)
        if (owns(j->o, &j->p->slot[i])) adafactor_slot(j, &j->p->slot[i]);
}

void train_optimiser_step(optimiser *o, params *p, const tn_train_config *c, float *grad, float scale,
                          float lr, int64_t t)
{
    job j = { o, p, c, grad, scale, lr, t };
    if (o->kind == OPT_ADAFACTOR) {
        tn_parallel(p->n_slot, 1, adafactor_range, &j);
        return;
    }
    tn_parallel(o->last - o->first, 16384, elementwise_range, &j);
    for (int i = 0; o->kind == OPT_MUON && i < p->n_slot; i++)
        if (p->slot[i].muon && owns(o, &p->slot[i])) muon_slot(&j, &p->slot[i]);
}
