/* from_vocab.c - a tokenizer from the arrays of a GGUF file. */
#include "tokenizer/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tn_status special_id(int64_t id, int64_t n_vocab, const char *what, const char *where, int32_t *out,
                            tn_error *err)
{
    *out = (int32_t)id;
    if (id < -1 || id >= n_vocab)
        return tn_fail(err, TN_FORMAT, "%s: %s_token_id is %lld, but the vocabulary has %lld tokens", where,
                       what, (long long)id, (long long)n_vocab);
    return TN_OK;
}

static tn_status read_types(tn_tokenizer *t, const tn_vocab_source *src, const char *where, tn_error *err)
{
    for (int64_t i = 0; i < t->n_vocab; i++) {
        int32_t type = src->types != NULL ? src->types[i] : TN_TOKEN_NORMAL;

        if (type < 0 || type > TN_TOKEN_BYTE)
            return tn_fail(err, TN_FORMAT, "%s: token %lld has type %d; types are 1 to 6", where,
                           (long long)i, type);
        t->type[i] = (uint8_t)(type == 0 ? TN_TOKEN_NORMAL : type);
    }
    return TN_OK;
}

/* Marks that end a turn are control tokens whatever the file says: some converters call them user-defined. */
static void mark_turn_ends(tn_tokenizer *t)
{
    static const char *const ends[] = { "<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "<|tool_response>",
                                        "<｜end▁of▁sentence｜>",
                                        "[e~[" };
    bool harmony = tn_tokenizer_find(t, "<|return|>") >= 0 && tn_tokenizer_find(t, "<|call|>") >= 0;
    bool normal_s = tn_tokenizer_find(t, "<|tool_response>") >= 0;

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        int32_t id = tn_tokenizer_find(t, ends[i]);

        if (id < 0 || (harmony && strcmp(ends[i], "<|end|>") == 0) ||
            (normal_s && strcmp(ends[i], "</s>") == 0))
            continue;
        if (t->type[id] != TN_TOKEN_UNUSED) t->type[id] = TN_TOKEN_CONTROL;
    }
}

static tn_status read_merges(tn_tokenizer *t, const tn_vocab_source *src, const char *where, tn_error *err)
{
    if (src->n_merge < 0 || src->n_merge > 4 * TN_MAX_VOCAB)
        return tn_fail(err, TN_LIMIT, "%s: %lld merges, at most %d are read", where, (long long)src->n_merge,
                       4 * TN_MAX_VOCAB);
    TN_TRY(tn_merges_create(t, src->n_merge, err));
    for (int64_t i = 0; i < src->n_merge; i++) {
        const char *text = src->merges[i],
                   *space = src->merge_bytes[i] > 1 ? memchr(text + 1, ' ', src->merge_bytes[i] - 1) : NULL;

        if (space == NULL)
            return tn_fail(err, TN_FORMAT, "%s: merge %lld has no space between two parts", where,
                           (long long)i);
        TN_TRY(tn_merges_add(t, text, (size_t)(space - text), space + 1,
                             src->merge_bytes[i] - (size_t)(space + 1 - text), i, where, err));
    }
    return TN_OK;
}

/* Every space becomes U+2581. */
static tn_status spaces_as_marks(tn_tokenizer *t, const char *where, tn_error *err)
{
    if ((t->normaliser = calloc(1, sizeof *t->normaliser)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the normaliser", where);
    t->n_normaliser = 1;
    *t->normaliser = (tn_step){ .kind = TN_STEP_REPLACE,
                                .from = tn_strdup(" "),
                                .from_n = 1,
                                .to = tn_strdup("\xe2\x96\x81"),
                                .to_n = 3 };
    if (t->normaliser->from == NULL || t->normaliser->to == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the normaliser", where);
    return TN_OK;
}

/* Byte-level BPE ("gpt2") and Gemma 4's BPE over characters ("gemma4"). */
static tn_status set_up_bpe(tn_tokenizer *t, const tn_vocab_source *src, const char *where, tn_error *err)
{
    bool          gemma = strcmp(src->model, "gemma4") == 0;
    const char   *name = src->pre == NULL || src->pre[0] == '\0' ? "default" : src->pre;
    const tn_pre *pre = tn_pre_find(gemma ? "gemma4" : name);

    if (pre == NULL)
        return tn_fail(
            err, TN_UNSUPPORTED,
            "%s: tokenizer.ggml.pre is '%s', a pre-tokenizer that this version does not know: use the "
            "model's Hugging Face directory (its tokenizer.json spells the pattern out)",
            where, name);
    t->model = TN_MODEL_BPE;
    t->ignore_merges = (pre->flags & TN_PRE_WHOLE) != 0;
    t->add_bos = (pre->flags & TN_PRE_BOS) != 0;
    t->byte_level = (pre->flags & TN_PRE_CHARACTERS) == 0;
    t->byte_fallback = !t->byte_level;
    if (!t->byte_level) TN_TRY(spaces_as_marks(t, where, err));
    for (int i = 0; i < TN_MAX_PASS && pre->pass[i] != NULL; i++)
        t->split.pass[t->split.n_pass++] = (tn_pass){ .find = pre->pass[i] };
    snprintf(t->kind, sizeof t->kind, "bpe (%s)", pre->name);
    return TN_OK;
}

static tn_status set_up_spm(tn_tokenizer *t, const tn_vocab_source *src, const char *where, tn_error *err)
{
    if (src->scores == NULL)
        return tn_fail(err, TN_FORMAT,
                       "%s: tokenizer.ggml.scores is missing: a SentencePiece vocabulary needs it", where);
    t->model = TN_MODEL_SPM;
    t->byte_fallback = true;
    t->add_space = t->strip_space = t->add_bos = true;
    snprintf(t->kind, sizeof t->kind, "spm");
    return spaces_as_marks(t, where, err);
}

/* "t5": the Unigram model, with the normaliser that its charsmap spells out. */
static tn_status set_up_unigram(tn_tokenizer *t, const tn_vocab_source *src, const char *where, tn_error *err)
{
    size_t   n = 0;
    tn_step *steps;

    if (src->scores == NULL)
        return tn_fail(err, TN_FORMAT, "%s: tokenizer.ggml.scores is missing: a Unigram vocabulary needs it",
                       where);
    t->model = TN_MODEL_UNIGRAM;
    t->add_eos = t->strip_space = true;
    snprintf(t->kind, sizeof t->kind, "unigram");
    if ((t->normaliser = steps = calloc(2, sizeof *steps)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for the normaliser", where);
    if (src->charsmap_bytes > 0) {
        TN_TRY(tn_charsmap_check((const char *)src->charsmap, src->charsmap_bytes, where, err));
        if ((steps[n].from = malloc(src->charsmap_bytes)) == NULL)
            return tn_fail(err, TN_NOMEM, "%s: no memory for the charsmap", where);
        memcpy(steps[n].from, src->charsmap, src->charsmap_bytes);
        steps[n].from_n = src->charsmap_bytes;
        steps[n++].kind = TN_STEP_CHARSMAP;
    }
    steps[n++] = (tn_step){ .kind = TN_STEP_SPACES,
                            .left = src->add_space_prefix != 0,
                            .right = src->remove_extra_spaces };
    t->n_normaliser = n;
    return TN_OK;
}

tn_status tn_tokenizer_from_vocab(tn_tokenizer **out, const tn_vocab_source *src, const char *where,
                                  tn_error *err)
{
    tn_status     status = TN_OK;
    tn_tokenizer *t = NULL;

    *out = NULL;
    if (src->n_token <= 0 || src->n_token > TN_MAX_VOCAB || src->tokens == NULL)
        return tn_fail(err, TN_LIMIT, "%s: the vocabulary has %lld tokens; 1 to %d are read", where,
                       (long long)src->n_token, TN_MAX_VOCAB);
    TN_TRY(tn_tokenizer_create(&t, src->n_token, where, err));
    if (src->model != NULL && (strcmp(src->model, "gpt2") == 0 || strcmp(src->model, "gemma4") == 0))
        TN_GOTO(set_up_bpe(t, src, where, err));
    else if (src->model != NULL && strcmp(src->model, "llama") == 0) TN_GOTO(set_up_spm(t, src, where, err));
    else if (src->model != NULL && strcmp(src->model, "t5") == 0) TN_GOTO(set_up_unigram(t, src, where, err));
    else {
        status = tn_fail(err, TN_UNSUPPORTED,
                         "%s: tokenizer.ggml.model is '%s'; gpt2, llama, t5 and gemma4 are read", where,
                         src->model != NULL ? src->model : "missing");
        goto out;
    }
    TN_GOTO(tn_pool_fill(&t->raw, src->tokens, src->token_bytes, src->n_token, where, err));
    TN_GOTO(read_types(t, src, where, err));
    TN_GOTO(special_id(src->bos, src->n_token, "bos", where, &t->bos, err));
    TN_GOTO(special_id(src->eos, src->n_token, "eos", where, &t->eos, err));
    TN_GOTO(special_id(src->unk, src->n_token, "unknown", where, &t->unk, err));
    if (t->model == TN_MODEL_BPE) t->unk = -1; /* a byte that the vocabulary lacks gives no token here */
    TN_GOTO(special_id(src->pad, src->n_token, "padding", where, &t->pad, err));
    TN_GOTO(tn_raw_index(t, err));
    mark_turn_ends(t);
    if (src->scores != NULL) {
        if ((t->score = malloc((size_t)src->n_token * sizeof *t->score)) == NULL) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory for scores", where);
            goto out;
        }
        for (int64_t i = 0; i < src->n_token; i++) t->score[i] = (double)src->scores[i];
    }
    TN_GOTO(tn_vocab_finish(t, err));
    if (t->model == TN_MODEL_BPE) TN_GOTO(read_merges(t, src, where, err));
    else if (t->model == TN_MODEL_SPM) TN_GOTO(tn_merges_from_scores(t, err));
    else TN_GOTO(tn_unigram_create(t, err));
    if (src->add_bos >= 0) t->add_bos = src->add_bos != 0;
    if (src->add_eos >= 0) t->add_eos = src->add_eos != 0;
    if (src->add_space_prefix >= 0 && t->model == TN_MODEL_SPM)
        t->add_space = t->strip_space = src->add_space_prefix != 0;
    for (int64_t i = 0; i < t->n_vocab; i++) {
        size_t      n;
        const char *text = tn_pool_at(&t->raw, i, &n);
        bool        special = t->type[i] == TN_TOKEN_CONTROL || t->type[i] == TN_TOKEN_UNKNOWN;

        if (special || t->type[i] == TN_TOKEN_USER)
            TN_GOTO(tn_added_put(t, text, n, (int32_t)i, special, err));
    }
    tn_tokenizer_stops(t, src->eot >= 0 && src->eot < t->n_vocab ? (int32_t)src->eot : -1);
    TN_GOTO(tn_tokenizer_finish(t, where, err));
    *out = t;
    t = NULL;
out:
    tn_tokenizer_destroy(t);
    return status;
}
