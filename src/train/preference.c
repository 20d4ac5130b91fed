/* preference.c - losses on pairs of answers, and their derivatives (Rafailov et al. 2023 and successors).
 *
 *   a = log pi(y_w) - log ref(y_w), b the same for y_l: sums over the answer's tokens, stop token included; h = a - b;
 *   a bar means divided by the answer's number of tokens. eps: label noise, p: a pair's own soft label, which together are q. Where a formula
 *   has log s(x) alone and is DPO's kin (simpo, dpo_norm, r_dpo) it stands for q log s(x) + (1-q) log s(-x). The others know no q: a p
 *   other than 1 is refused, and eps too but by robust.
 *
 *   dpo       -(q log s(bh) + (1-q) log s(-bh)),  q = p (1-eps) + (1-p) eps      2305.18290; cDPO and soft labels
 *   robust    [-(1-eps) log s(bh) + eps log s(-bh)] / (1 - 2 eps)                2403.00409
 *   ipo       (h' - 1/(2b))^2,  h' of per-token means                            2310.12036
 *   hinge     max(0, 1 - bh)                                                     2305.10425
 *   kto       good (1 - s(b(a - z))), bad (1 - s(b(z - b)))                      2402.01306
 *   orpo      nll'(y_w) - alpha log s(o_w - o_l),  o = l' - log(1 - e^l')        2403.07691
 *   simpo     -log s(b l'_w - b l'_l - gamma)                                    2405.14734
 *   dpo_norm  -log s(b(a' - b'))                                                 2411.15124
 *   r_dpo     -log s(bh + alpha (|y_w| - |y_l|))                                 2403.19159
 *   apo_zero  1 - s(b a) + s(b b)                                                2408.06266
 *   rpo       dpo + alpha nll'(y_w)                                              2404.19733
 *
 * In double, with our own exp and log: the same everywhere. */
#include "train/train.h"

#include <math.h>
#include <string.h>

static double sigmoid(double x) { return x >= 0 ? 1 / (1 + tn_exp(-x)) : tn_exp(x) / (1 + tn_exp(x)); }

/* log(1 + e^x) without overflow; log1p's cancellation matters below e^-20, where e^x itself is the answer. */
static double softplus(double x)
{
    if (x > 30) return x + tn_exp(-x);
    if (x < -20) return tn_exp(x);
    return tn_ln(1 + tn_exp(x));
}

static double log_sigmoid(double x) { return -softplus(-x); }

static const char *const names[] = { "dpo",   "robust",   "ipo",   "hinge",    "kto", "orpo",
                                     "simpo", "dpo_norm", "r_dpo", "apo_zero", "rpo" };

bool tn_pref_parse(const char *name, tn_pref_kind *out)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (tn_pref_kind)i;
            return true;
        }
    return false;
}

bool tn_pref_needs_reference(tn_pref_kind k) { return k != TN_PREF_ORPO && k != TN_PREF_SIMPO; }

bool tn_pref_takes_p(tn_pref_kind k)
{
    return k == TN_PREF_DPO || k == TN_PREF_RPO || k == TN_PREF_SIMPO || k == TN_PREF_DPO_NORM ||
           k == TN_PREF_R_DPO;
}

/* -(q log s(x) + (1-q) log s(-x)) and its derivative by x. */
static double soft_label(double x, double q, double *dx)
{
    *dx = sigmoid(x) - q;
    return -(q * log_sigmoid(x) + (1 - q) * log_sigmoid(-x));
}

/* o = l - log(1 - e^l): the log odds of a mean log-probability; l just below 0 is held off the pole. */
static double log_odds(double l, double *dl)
{
    if (l > -1e-6) l = -1e-6;
    double rest = 1 - tn_exp(l);
    *dl = 1 / rest;
    return l - tn_ln(rest);
}

tn_pref_out tn_pref_loss(const tn_pref *o, const tn_pref_pair *x)
{
    tn_pref_out r = { 0 };
    double nw = x->n_chosen > 0 ? (double)x->n_chosen : 1, nl = x->n_rejected > 0 ? (double)x->n_rejected : 1;
    double a = x->chosen - x->ref_chosen, b = x->rejected - x->ref_rejected, h = a - b, d = 0;
    double q = x->p * (1 - o->eps) + (1 - x->p) * o->eps, beta = o->beta;

    r.margin = beta * h;
    switch (o->kind) {
    case TN_PREF_DPO:
    case TN_PREF_RPO:
        r.loss = soft_label(beta * h, q, &d);
        r.dchosen = beta * d;
        r.drejected = -beta * d;
        break;
    case TN_PREF_ROBUST:
        r.loss = (-(1 - o->eps) * log_sigmoid(beta * h) + o->eps * log_sigmoid(-beta * h)) / (1 - 2 * o->eps);
        d = (-(1 - o->eps) * sigmoid(-beta * h) - o->eps * sigmoid(beta * h)) / (1 - 2 * o->eps);
        r.dchosen = beta * d;
        r.drejected = -beta * d;
        break;
    case TN_PREF_IPO:
        h = a / nw - b / nl;
        r.loss = (h - 1 / (2 * beta)) * (h - 1 / (2 * beta));
        d = 2 * (h - 1 / (2 * beta));
        r.dchosen = d / nw;
        r.drejected = -d / nl;
        break;
    case TN_PREF_HINGE:
        r.loss = beta * h < 1 ? 1 - beta * h : 0;
        d = beta * h < 1 ? -beta : 0;
        r.dchosen = d;
        r.drejected = -d;
        break;
    case TN_PREF_KTO: /* each side on its own; an absent one adds nothing */
        if (x->n_chosen > 0) {
            double s = sigmoid(beta * (a - x->z));
            r.loss += o->good * (1 - s);
            r.dchosen = -o->good * beta * s * (1 - s);
        }
        if (x->n_rejected > 0) {
            double s = sigmoid(beta * (x->z - b));
            r.loss += o->bad * (1 - s);
            r.drejected = o->bad * beta * s * (1 - s);
        }
        break;
    case TN_PREF_ORPO: {
        double dw, dl, w = log_odds(x->chosen / nw, &dw), l = log_odds(x->rejected / nl, &dl);
        r.loss = -x->chosen / nw - o->alpha * log_sigmoid(w - l);
        d = -o->alpha * sigmoid(l - w);
        r.dchosen = (-1 + d * dw) / nw;
        r.drejected = -d * dl / nl;
        r.margin = w - l;
        break;
    }
    case TN_PREF_SIMPO:
        r.margin = beta * (x->chosen / nw - x->rejected / nl);
        r.loss = soft_label(r.margin - o->gamma, q, &d);
        r.dchosen = beta * d / nw;
        r.drejected = -beta * d / nl;
        break;
    case TN_PREF_DPO_NORM:
        r.margin = beta * (a / nw - b / nl);
        r.loss = soft_label(r.margin, q, &d);
        r.dchosen = beta * d / nw;
        r.drejected = -beta * d / nl;
        break;
    case TN_PREF_R_DPO:
        r.loss = soft_label(beta * h + o->alpha * (double)(x->n_chosen - x->n_rejected), q, &d);
        r.dchosen = beta * d;
        r.drejected = -beta * d;
        break;
    case TN_PREF_APO_ZERO: {
        double s = sigmoid(beta * a), t = sigmoid(beta * b);
        r.loss = 1 - s + t;
        r.dchosen = -beta * s * (1 - s);
        r.drejected = beta * t * (1 - t);
        break;
    }
    }
    if (o->nll > 0 && x->n_chosen > 0) {
        r.loss += o->nll * -x->chosen / nw;
        r.dchosen -= o->nll / nw;
    }
    return r;
}
