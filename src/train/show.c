/* show.c - what is really trained: the first samples as text, the targets between marks; or as JSON, a line a
 * sample. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

/* n tokens as text. after: another one stands before them, without which a decoder would take off their space
 * as that of a text's beginning. */
static tn_status piece_add(tn_str *s, const tn_tokenizer *t, const int32_t *ids, int64_t n, bool after,
                           tn_error *err)
{
    char     *text = NULL, *before = NULL;
    size_t    len, skip = 0;
    tn_status status = TN_OK;
    if (n == 0) return TN_OK;
    if (after) TN_GOTO(tn_detokenize(t, ids - 1, 1, true, &before, &skip, err));
    TN_GOTO(tn_detokenize(t, ids - after, (size_t)(n + after), true, &text, &len, err));
    /* half a character on either side */
    if (len < skip || memcmp(text, before != NULL ? before : "", skip) != 0) {
        free(text);
        text = NULL;
        skip = 0;
        TN_GOTO(tn_detokenize(t, ids, (size_t)n, true, &text, &len, err));
    }
    tn_str_add_n(s, text + skip, len - skip);
out:
    free(before);
    free(text);
    return status;
}

static tn_status piece_json(json_t *pieces, const tn_tokenizer *t, const int32_t *ids, int64_t n, bool after,
                            int64_t document, bool trained, tn_error *err)
{
    tn_str    raw = { 0 }, text = { 0 };
    tn_status status = piece_add(&raw, t, ids, n, after, err);
    if (status == TN_OK && n > 0) {
        tn_str_add_utf8(&text, raw.p != NULL ? raw.p : "", raw.len);
        if (text.failed ||
            json_array_append_new(pieces,
                                  json_pack("{s:I, s:s%, s:b}", "document", (json_int_t)document, "text",
                                            text.p != NULL ? text.p : "", text.len, "trained", trained)) != 0)
            status = tn_fail(err, TN_NOMEM, "no memory for a sample's text");
    }
    tn_str_free(&raw);
    tn_str_free(&text);
    return status;
}

/* A token is trained when the row before it has it as target. pieces: where they go as JSON; NULL: into s,
 * with marks. */
static tn_status rows_show(tn_str *s, json_t *pieces, const tn_row_set *r, const tn_tokenizer *t,
                           tn_error *err)
{
    int64_t from = 0, document = 0;
    bool    on = false;
    for (int64_t i = 0; i <= r->n; i++) {
        bool start = i < r->n && r->pos[i] == 0,
             target = i < r->n && i > 0 && !start && r->target[i - 1] >= 0;
        if (i < r->n && target == on && !(start && i > 0)) continue;
        bool after = from < i && r->pos[from] > 0;
        if (pieces != NULL) TN_TRY(piece_json(pieces, t, r->ids + from, i - from, after, document, on, err));
        else TN_TRY(piece_add(s, t, r->ids + from, i - from, after, err));
        from = i;
        if (start && i > 0) document++;
        if (pieces == NULL) {
            if (on && !target) tn_str_add(s, "\xe2\x9f\xa7");
            if (start && i > 0) tn_str_add(s, "\n  ----\n");
            if (!on && target) tn_str_add(s, "\xe2\x9f\xa6");
        }
        on = target;
    }
    return TN_OK;
}

static tn_status sample_json(tn_str *s, int64_t i_sample, const tn_row_set *r, const tn_tokenizer *t,
                             tn_error *err)
{
    json_t *o = json_pack("{s:I, s:I, s:I, s:[]}", "sample", (json_int_t)i_sample, "tokens", (json_int_t)r->n,
                          "trained", (json_int_t)r->n_target, "pieces");
    char   *line = NULL;
    tn_status status = o != NULL ? rows_show(NULL, json_object_get(o, "pieces"), r, t, err) : TN_OK;
    if (status == TN_OK && (line = tn_json_text(o)) == NULL)
        status = tn_fail(err, TN_NOMEM, "no memory for a sample's text");
    if (line != NULL) tn_str_addf(s, "%s\n", line);
    free(line);
    json_decref(o);
    return status;
}

tn_status tn_train_show_batch(const tn_train_config *c, const tn_train_io *io, int64_t n, bool json,
                              char **text, tn_error *err)
{
    run       r = { 0 };
    tn_status status = TN_OK;
    char      dir[TRAIN_SCRATCH_BYTES] = "";
    tn_str    s = { 0 };
    micro     b = { 0 };

    *text = NULL;
    TN_GOTO(train_ranks_open(&r, c, io, err));
    TN_GOTO(train_scratch_dir(&r, dir, err));
    r.plan_only = true;
    TN_GOTO(train_setup(&r, dir, err));
    TN_GOTO(train_micro_init(&b, &r.data, r.micro_size, err));
    if (!json) tn_str_addf(&s, "Trained tokens stand between \xe2\x9f\xa6 and \xe2\x9f\xa7.\n");
    const int64_t first = train_first_item(&r, 1);
    for (int64_t i = first; i < first + n && i < first + r.data.n_sample; i++) {
        train_micro_fill(&b, &r.data, i, 1);
        if (json) {
            TN_GOTO(sample_json(&s, i, &b.rows, r.tokenizer, err));
            continue;
        }
        tn_str_addf(&s, "\nsample %lld: %lld tokens, %lld trained\n  ----\n", (long long)i,
                    (long long)b.rows.n, (long long)b.rows.n_target);
        TN_GOTO(rows_show(&s, NULL, &b.rows, r.tokenizer, err));
        tn_str_add(&s, "\n");
    }
    if (r.rank != 0) tn_str_clear(&s); /* the first one tells */
    TN_GOTO(tn_str_check(&s, err));
    *text = tn_str_take(&s);
out:
    tn_str_free(&s);
    train_micro_free(&b);
    train_setup_release(&r);
    if (dir[0] != '\0' && r.rank == 0) tn_remove_tree(dir, NULL);
    if (r.own_dist) tn_dist_close(r.dist, status, err);
    return status;
}
