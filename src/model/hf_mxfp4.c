/* hf_mxfp4.c - gpt-oss as it is published: experts in MXFP4 (OCP Microscaling Formats v1.0), in two tensors
 * of bytes.
 *
 *   there  <name>_blocks [expert][row][in/32][16]   byte b: element 2b in the low nibble, 2b + 1 in the high one
 *          <name>_scales [expert][row][in/32]       E8M0 exponent
 *   here   [expert][row] blocks of 17 bytes         exponent, then byte j: element j in the low nibble, j + 16 in the high
 *
 * gate_up holds gate in its even rows and up in its odd ones. Codes are moved, never decoded: every value
 * stays what it was. The two tensors may come in any order. */
#include "model/hf_layout.h"

#include <inttypes.h>
#include <string.h>

enum { BLOCK = 32, CODES = 16, BYTES = 17 };

static void put_codes(uint8_t *to, const uint8_t *from)
{
    for (int j = 0; j < CODES; j++) {
        int low = from[j / 2] >> 4 * (j % 2) & 15, high = from[(j + CODES) / 2] >> 4 * (j % 2) & 15;
        to[1 + j] = (uint8_t)(low | high << 4);
    }
}

tn_status tn_hf_add_mxfp4(tn_model *m, tn_hf_stacks *stacks, const tn_name *name, const tn_st_entry *e,
                          const char *file, tn_error *err)
{
    tn_layout l = name->layout;
    bool      scales = l == TN_LAYOUT_MX_GATE_SCALES || l == TN_LAYOUT_MX_UP_SCALES ||
                  l == TN_LAYOUT_MX_DOWN_SCALES;
    bool         down = l == TN_LAYOUT_MX_DOWN || l == TN_LAYOUT_MX_DOWN_SCALES;
    int64_t      step = down ? 1 : 2, first = l == TN_LAYOUT_MX_UP || l == TN_LAYOUT_MX_UP_SCALES;
    tn_hf_stack *s;
    uint8_t     *rows;

    if (e->dtype != TN_U8 || e->n_dim != (scales ? 3 : 4) || e->shape[0] != m->h.n_expert ||
        e->shape[1] % step != 0 || e->shape[2] < 1 || e->shape[2] > INT32_MAX ||
        (!scales && e->shape[3] != CODES))
        return tn_fail(err, TN_MISMATCH,
                       "%s: tensor '%s' is not [%" PRId64 " experts][rows][blocks]%s of U8, as MXFP4 %s are",
                       file, e->name, m->h.n_expert, scales ? "" : "[16]", scales ? "scales" : "blocks");
    int64_t shape[3] = { e->shape[0], e->shape[1] / step, e->shape[2] * BLOCK };
    TN_TRY(tn_hf_stack_of(m, stacks, name, TN_MXFP4, shape, 3, &s, &rows, err));
    const tn_tensor *w = &m->params[s->i_param].w;
    if (w->dtype != TN_MXFP4 || memcmp(w->shape, shape, sizeof shape) != 0)
        return tn_fail(err, TN_MISMATCH, "%s: tensor '%s' does not fit the other part of '%s'", file, e->name,
                       name->name);
    const uint8_t *from = e->data;
    for (int64_t r = 0; r < shape[0] * shape[1] && rows != NULL; r++)
        for (int64_t b = 0; b < e->shape[2]; b++) {
            uint8_t *to = rows + (size_t)(r * e->shape[2] + b) * BYTES;
            int64_t  at = (r * step + first) * e->shape[2] + b;
            if (scales) to[0] = from[at];
            else put_codes(to, from + at * CODES);
        }
    s->n |= scales ? 2 : 1; /* both bits: whole */
    return TN_OK;
}
