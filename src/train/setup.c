/* setup.c - everything before the first step: ranks, model, data, parameters, optimiser, engines; and what
 * the run is. All checks that can fail a run happen here, before anything is computed or written over. */
#include "train/checkpoint.h"
#include "train/policy.h"
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

/* io's word, else the config's. */
static const char *path_of(const char *io, const char *config) { return io != NULL ? io : config; }

/* -------------------------------------------------------------------------------------------------- model */

tn_status train_shape(tn_hparams *h, const tn_train_config *c, const tn_tokenizer *t, tn_error *err)
{
    const tn_new_shape s = { .family = c->family,
                             .n_layer = c->n_layer,
                             .n_embd = c->n_embd,
                             .n_head = c->n_head,
                             .n_head_kv = c->n_head_kv,
                             .d_head = c->d_head,
                             .n_ff = c->n_ff,
                             .n_ctx = c->n_ctx,
                             .n_expert = c->n_expert,
                             .n_expert_used = c->n_expert_used,
                             .tied = c->tied,
                             .rope_theta = c->rope_theta,
                             .norm_eps = c->norm_eps,
                             .init_std = c->init_std,
                             .n_vocab = c->n_vocab > 0 ? c->n_vocab : tn_tokenizer_n_vocab(t),
                             .bos = t != NULL ? tn_tokenizer_bos(t) : -1,
                             .eos = t != NULL ? tn_tokenizer_eos(t) : -1 };

    return tn_model_new_shape(h, &s, err);
}

static tn_status tokenizer_for_scratch(run *r, const char *path, tn_error *err)
{
    if (path == NULL) return TN_OK; /* n_vocab is given: the data must be token shards */
    if (strcmp(path, "bytes") == 0) {
        TN_TRY(tn_data_byte_tokenizer(&r->own_tokenizer, err));
        r->tokenizer = r->own_tokenizer;
        return TN_OK;
    }
    TN_TRY(tn_model_open_tokenizer(&r->own_tokenizer, path, err));
    r->tokenizer = r->own_tokenizer;
    r->tokenizer_path = path;
    return TN_OK;
}

static tn_status model_scratch(run *r, tn_error *err)
{
    const tn_train_config *c = r->c;
    tn_hparams             h;

    TN_TRY(tokenizer_for_scratch(r, path_of(r->io->tokenizer, c->tokenizer != NULL ? c->tokenizer : c->like),
                                 err));
    if (c->like != NULL) {
        TN_TRY(tn_model_open_shape(&h, c->like, err));
        h.init_std = c->init_std;
        if (c->n_vocab > 0) h.n_vocab = c->n_vocab;
    } else {
        TN_TRY(train_shape(&h, c, r->tokenizer, err));
    }
    if (r->tokenizer != NULL && h.n_vocab < tn_tokenizer_n_vocab(r->tokenizer))
        return tn_fail(err, TN_MISMATCH, "n_vocab %lld is smaller than the tokenizer's %lld tokens",
                       (long long)h.n_vocab, (long long)tn_tokenizer_n_vocab(r->tokenizer));
    return tn_model_create(&r->model, &h, (tn_tokenizer *)(uintptr_t)r->tokenizer, (uint64_t)c->seed, err);
}

tn_status train_model_open(run *r, bool pack, tn_error *err)
{
    const tn_train_config *c = r->c;
    const char            *path = path_of(r->io->model, c->model);
    bool                   lora = c->lora_rank > 0 || c->adapter != NULL || r->io->adapter != NULL;

    if (path == NULL) {
        TN_TRY(model_scratch(r, err));
        if (c->chat_format != NULL) TN_TRY(tn_model_choose_chat(r->model, c->chat_format, err));
    } else {
        /* Under LoRA the base is frozen: packed for the kernels, in whatever type it is. */
        tn_model_options o = {
            .profile = r->profile, .chat_format = c->chat_format, .weights = true, .pack = lora && pack
        };
        TN_TRY(tn_model_open(&r->model, path, &o, err));
        r->tokenizer = tn_model_tokenizer(r->model);
    }
    if (r->tokenizer != NULL) tn_tokenizer_digest(r->tokenizer, &r->tokenizer_root);
    TN_TRY(tn_model_digest(r->model, &r->base_root, err));
    if (!lora || !pack) TN_TRY(tn_model_to_f32(r->model, err));
    const tn_hparams *h = tn_model_hparams(r->model);
    if (c->n_ctx > h->n_ctx && h->n_ctx > 0)
        return tn_fail(err, TN_USAGE, "n_ctx %lld is more than the model's context of %lld tokens",
                       (long long)c->n_ctx, (long long)h->n_ctx);
    if (tn_model_chat(r->model, &r->chat, NULL) == TN_OK && r->chat != NULL) return TN_OK;
    r->chat = NULL; /* plain text needs none; a conversation says that it does */
    return TN_OK;
}

/* --------------------------------------------------------------------------------------------------- data */

/* Every sample comes in an epoch: the last batch is filled up with the next one's. A hair above a whole
 * number is one (0.1 * 30 / 3). */
static int64_t steps_of(double epochs, int64_t n_sample, int64_t batch)
{
    double steps = epochs * (double)n_sample / (double)batch, whole = floor(steps + 0.5);
    if (fabs(steps - whole) > 1e-9 * whole) whole = ceil(steps);
    return whole < 1 ? 1 : (int64_t)whole;
}

static tn_status data_open(run *r, const char *dir, tn_error *err)
{
    const tn_train_config *c = r->c;
    char                  *data = tn_path(dir, train_data_name(dir));
    tn_status              status = TN_OK;

    if (data == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (r->rank == 0) status = tn_mkdirs(data, err);
    TN_GOTO(tn_dist_agree(r->dist, status, err));
    TN_GOTO(train_corpus_open(&r->data, c, c->data, data, "train", r->model, r->tokenizer, r->chat,
                              r->micro_size, r->dist, err));
    if (c->valid != NULL && c->valid[0] != '\0') {
        TN_GOTO(train_corpus_open(&r->valid, c, c->valid, data, "valid", r->model, r->tokenizer, r->chat,
                                  r->micro_size, r->dist, err));
        r->has_valid = true;
    }
    const tn_data_stats *s = &r->data.stats;
    if (s->n_chat > s->n_cut && s->n_stop == 0) {
        const int32_t stop = r->chat != NULL ? tn_chat_stop(r->chat, r->tokenizer) : -1;
        const char   *format = r->chat != NULL ? tn_chat_format_name(r->chat->format) : "of the data";
        size_t        n = 0;
        const char   *mark = stop >= 0 ? tn_tokenizer_piece(r->tokenizer, stop, &n) : "";
        if (stop >= 0 && tn_chat_is_stop(r->chat, r->tokenizer, stop))
            status = tn_fail(err, TN_FORMAT,
                             "no stop token is ever trained: in the chat format %s it is %.*s, which no "
                             "answer of the data ends with (cut, or not the "
                             "last message), so the model would never learn to stop; let conversations end "
                             "with a whole answer",
                             format, (int)n, mark);
        else
            status = tn_fail(err, TN_FORMAT,
                             "no stop token is ever trained: the chat format %s ends an answer with text "
                             "that is no stop token of this "
                             "vocabulary, so the model would never learn to stop; choose a chat_format whose "
                             "marks the vocabulary holds (tulu "
                             "and zephyr end with its own EOS)",
                             format);
        goto out;
    }
    if (s->n_chat > 0 && s->n_stop == 0) {
        status = tn_fail(err, TN_FORMAT,
                         "no stop token is ever trained: every conversation is cut before its end, so the "
                         "model would never learn to stop; "
                         "raise n_ctx (%lld tokens now)",
                         (long long)c->n_ctx);
        goto out;
    }
    /* plain text */
    if (!r->data.pairs && s->n_chat == 0 && s->n_target + s->n_doc == s->n_token && s->n_token < c->n_ctx) {
        status = tn_fail(err, TN_MISMATCH,
                         "%s is tiny: its %lld tokens do not fill one sample of n_ctx %lld; give more text, "
                         "or lower n_ctx",
                         c->data, (long long)s->n_token, (long long)c->n_ctx);
        goto out;
    }
    bool told = r->rank == 0 && r->replay_steps == 0; /* a replay was warned when it was a run */
    if (told) TN_GOTO(train_corpus_warn(c, err));
    if (told && s->n_cut > 0)
        tn_log(TN_LOG_WARN, "%lld of %lld conversations are longer than n_ctx and are cut",
               (long long)s->n_cut, (long long)s->n_chat);
    if (told && s->n_dropped > 0)
        tn_log(TN_LOG_WARN,
               "%lld documents or pairs are left out (too long, equal sides, weight 0, or nothing to learn)",
               (long long)s->n_dropped);
    if (told && r->data.n_sample < c->batch)
        tn_log(TN_LOG_WARN,
               "the data have %lld sample%s, fewer than a batch of %lld: every step repeats some of them",
               (long long)r->data.n_sample, r->data.n_sample == 1 ? "" : "s", (long long)c->batch);
    r->steps = c->steps;
    if (r->steps == 0) r->steps = steps_of(c->epochs, r->data.n_sample, c->batch);
out:
    free(data);
    return status;
}

static bool taught(const run *r) { return r->data.teacher.n > 0 || r->valid.teacher.n > 0; }

static tn_param *head_of(tn_model *m)
{
    return m == NULL ? NULL
                     : tn_model_find(m, tn_model_hparams(m)->tied ? "token_embd.weight" : "output.weight");
}

/* The other model that is compared with or taught by; *out NULL: none is named. */
static tn_status reference_open(run *r, tn_model **out, tn_error *err)
{
    const char *path = path_of(r->io->reference, r->c->reference);
    tn_digest   other;

    *out = NULL;
    if (path == NULL) return TN_OK;
    TN_TRY(tn_model_open(out, path,
                         &(tn_model_options){ .profile = r->profile, .weights = true, .pack = true }, err));
    tn_tokenizer_digest(tn_model_tokenizer(*out), &other);
    if (!tn_digest_equal(&other, &r->tokenizer_root))
        return tn_fail(err, TN_MISMATCH, "reference %s has another tokenizer than the model", path);
    return TN_OK;
}

/* Finds the rows that learn a distribution, and opens who teaches them if that is another model. */
static tn_status teacher_prepare(run *r, tn_error *err)
{
    const tn_hparams *own = tn_model_hparams(r->model), *h = own;

    TN_TRY(train_teacher_place(&r->data, r->c->n_ctx, err));
    if (r->has_valid) TN_TRY(train_teacher_place(&r->valid, r->c->n_ctx, err));
    if (!taught(r)) return TN_OK;
    TN_TRY(reference_open(r, &r->reference, err));
    if (r->reference == NULL && r->p.lora == NULL)
        return tn_fail(err, TN_USAGE,
                       "the data have rows with \"distill\", taught by the model as it is before training; "
                       "all of its weights are trained, so "
                       "name it once more as reference, or train adapters (lora_rank)");
    if (r->replay_steps > 0) { /* a replay needs no more than its own steps, and validates nothing */
        train_teacher_limit(&r->data, train_first_item(r, r->replay_from + 1), r->replay_steps * r->c->batch);
        train_teacher_limit(&r->valid, 0, 0);
    }
    if (r->reference != NULL) {
        h = tn_model_hparams(r->reference);
        TN_TRY(tn_model_digest(r->reference, &r->teacher_root, err));
    }
    if (h->logit_softcap != own->logit_softcap || h->n_vocab != own->n_vocab)
        return tn_fail(err, TN_MISMATCH,
                       "reference: logit soft cap and vocabulary (%g, %lld) must be the model's (%g, %lld) "
                       "where it teaches",
                       h->logit_softcap, (long long)h->n_vocab, own->logit_softcap, (long long)own->n_vocab);
    r->data.teacher.width = r->valid.teacher.width = h->n_embd;
    return TN_OK;
}

/* The reference's log-probabilities, or hidden states: of another model, or of this one as it is before the
 * first step, without the new adapter. */
static tn_status reference_set(run *r, const char *dir, tn_error *err)
{
    tn_status   status = TN_OK;
    engine      e = { 0 };
    said        kept = { 0 };
    const char *path = path_of(r->io->reference, r->c->reference);
    tn_model   *m = r->reference;
    bool        adapters = path == NULL && (r->c->adapter != NULL || r->io->adapter != NULL);

    if (m == NULL) TN_GOTO(reference_open(r, &m, err));
    for (int i = 0; i < (r->has_valid ? 2 : 1); i++) {
        corpus *k = i == 0 ? &r->data : &r->valid;
        bool    there;
        if (!k->pairs && k->teacher.n == 0) continue;
        train_said_close(&kept);
        TN_GOTO(train_said_open(&kept, r, k, m, err));
        TN_GOTO(train_said_take(&kept, r, k, &there, err));
        if (there) continue;
        train_engine_free(&e);
        TN_GOTO(train_engine_create(&e, m != NULL ? m : r->model, &r->p, k, r->c, r->profile,
                                    ENGINE_REFERENCE, adapters, NULL, err));
        if (k->pairs) TN_GOTO(train_reference_fill(r, k, &e, err));
        else TN_GOTO(train_teacher_fill(r, k, &e, dir, err));
        train_said_keep(&kept, r, k);
    }
out:
    train_said_close(&kept);
    train_engine_free(&e);
    if (m != r->reference) tn_model_close(m);
    return status;
}

/* ------------------------------------------------------------------------------------------- all together */

tn_status train_ranks_open(run *r, const tn_train_config *c, const tn_train_io *io, tn_error *err)
{
    *r = (run){ .c = c, .io = io, .dist = io->dist, .size = 1 };
    TN_TRY(train_config_sound(c, err));
    if (r->dist == NULL) {
        TN_TRY(tn_dist_open(&r->dist, c->dist, err));
        r->own_dist = true;
    }
    r->rank = tn_dist_rank(r->dist);
    r->size = tn_dist_size(r->dist);
    return TN_OK;
}

int64_t train_first_item(const run *r, int64_t step) { return r->first_item + (step - 1) * r->c->batch; }

/* The other run's checkpoint: RUN/step-N, or RUN for its newest. Where data and order are the same, this run
 * goes on behind the items that it has used. */
static tn_status origin_find(run *r, tn_error *err)
{
    const tn_train_config *c = r->c;
    const char            *from = path_of(r->io->checkpoint, c->checkpoint);
    char                  *text = tn_strf("%lld %d %s %s %lld", (long long)c->seed, c->shuffle, c->pack,
                         c->data_weights != NULL ? c->data_weights : "", (long long)c->n_ctx),
         hex[TN_SHA256_HEX];
    int64_t step;

    tn_hex(hex, &r->data.content);
    char *order = text != NULL ? tn_strf("%s %s", text, hex) : NULL;
    free(text);
    if (order == NULL) return tn_fail(err, TN_NOMEM, "no memory for what the data are");
    r->order = tn_sha256_of(order, strlen(order));
    free(order);
    if (from == NULL) return TN_OK;
    if (!train_checkpoint_is(from)) {
        TN_TRY(train_checkpoint_newest(from, INT64_MAX, &step, err));
        r->from_dir = step > 0 ? tn_strf("%s/step-%lld", from, (long long)step) : tn_strdup(from);
    } else {
        r->from_dir = tn_strdup(from);
    }
    if (r->from_dir == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_TRY(train_checkpoint_origin(r, r->from_dir, &r->from, err));
    if (tn_digest_equal(&r->from.order, &r->order)) r->first_item = r->from.items;
    return TN_OK;
}

tn_status train_setup(run *r, const char *work_dir, tn_error *err)
{
    tn_status              status = TN_OK;
    tn_pref_kind           kind;
    const tn_train_config *c = r->c;
    const tn_train_io     *io = r->io;

    r->profile = strcmp(c->dtype, "bf16") == 0 ? TN_PROFILE_STRICT_BF16 : io->profile;
    if (io->profile == TN_PROFILE_Q8ACT)
        return tn_fail(err, TN_USAGE, "profile q8act is for inference; training uses strict or strict-bf16");
    train_step_sizes(c, &r->micro_size, &r->n_micro, &r->group_size);
    TN_GOTO(tn_dist_agree(r->dist, train_model_open(r, true, err), err));
    TN_GOTO(data_open(r, work_dir, err));
    const char *adapter = path_of(io->adapter, c->adapter);
    TN_GOTO(train_params_create(&r->p, r->model, c, adapter, err));
    if (adapter != NULL) TN_GOTO(train_lora_agrees(&r->p, c, adapter, err));
    TN_GOTO(origin_find(r, err));
    TN_GOTO(train_params_root(&r->p, &r->start_root, err));
    TN_GOTO(teacher_prepare(r, err));
    if (r->has_valid) TN_GOTO(train_validate_check(r, err));
    if (r->replay_steps == 0) TN_GOTO(train_effect_known(r, err));
    r->zero = (int)c->zero;
    train_optimiser_plan(&r->p, c);
    TN_GOTO(train_step_prepare(r, err));
    bool shared = r->size > 1 && r->zero > 0;
    TN_GOTO(train_optimiser_create(&r->opt, &r->p, c, shared ? r->x.range[r->rank] : 0,
                                   shared ? r->x.range[r->rank + 1] : r->p.n_flat, err));
    bool wanted = r->data.pairs ? tn_pref_parse(c->loss, &kind) && tn_pref_needs_reference(kind) : taught(r);
    TN_GOTO(train_engine_create(&r->train, r->model, &r->p, &r->data, c, r->profile, ENGINE_TRAIN, true,
                                head_of(r->reference), err));
    if (r->has_valid)
        TN_GOTO(train_engine_create(&r->score, r->model, &r->p, &r->valid, c, r->profile, ENGINE_SCORE, true,
                                    head_of(r->reference), err));
    if (r->plan_only) goto out;
    TN_GOTO(tn_dist_agree(r->dist, train_memory_check(r, err),
                          err)); /* before the reference is asked for hours */
    if (wanted) TN_GOTO(reference_set(r, work_dir, err));
out:
    return status;
}

void train_setup_release(run *r)
{
    train_engine_free(&r->train);
    train_engine_free(&r->score);
    train_step_release(r);
    train_optimiser_free(&r->opt);
    train_params_free(&r->p);
    train_corpus_close(&r->data);
    train_corpus_close(&r->valid);
    tn_model_close(r->model);
    tn_model_close(r->reference);
    tn_tokenizer_destroy(r->own_tokenizer);
    free(r->from_dir);
}

/* ---------------------------------------------------------------------------------------- what the run is */

/* An option that changes no bit of the weights: where things lie (their digests are there instead), how often
 * they are written, how many share the work. */
static bool is_free(const tn_option *o, const tn_train_config *c)
{
    if (c->early_stop > 0 && tn_starts_with(o->key, "valid")) return false;
    if (train_goes_back(c) && strcmp(o->key, "checkpoint_every") == 0) return false;
    return train_option_is(o, TRAIN_PLACE) || train_option_is(o, TRAIN_FREE);
}

static bool put_digest(json_t *o, const char *key, const tn_digest *d)
{
    char hex[TN_SHA256_HEX];
    tn_hex(hex, d);
    return json_object_set_new(o, key, json_string(hex)) == 0;
}

json_t *train_description(const run *r, tn_error *err)
{
    const tn_train_config *c = r->c;
    json_t                *o = tn_options_json(c, tn_train_options);
    bool                   ok = o != NULL;

    for (const tn_option *row = tn_train_options; row->key != NULL; row++)
        if (is_free(row, c)) json_object_del(o, row->key);
    ok &= 0 == json_object_set_new(o, "format", json_string("tenet-run/1"));
    ok &= 0 == json_object_set_new(o, "profile", json_string(tn_profile_name(r->profile)));
    if (r->profile == TN_PROFILE_STRICT_BF16)
        ok &= 0 == json_object_set_new(o, "arithmetic", json_integer(TN_STRICT_BF16_VERSION));
    ok &= 0 == json_object_set_new(o, "steps", json_integer(r->steps));
    ok &= 0 == json_object_set_new(o, "micro_batch", json_integer(r->micro_size));
    ok &= 0 == json_object_set_new(o, "group_size", json_integer(r->group_size));
    ok &= put_digest(o, "base", &r->base_root);
    ok &= put_digest(o, "start", r->from_dir != NULL ? &r->from.state : &r->start_root);
    if (r->from_dir != NULL) ok &= 0 == json_object_set_new(o, "start_update", json_integer(r->from.update));
    if (r->first_item > 0) ok &= 0 == json_object_set_new(o, "first_item", json_integer(r->first_item));
    ok &= put_digest(o, "tokenizer_digest", &r->tokenizer_root);
    ok &= put_digest(o, "data_digest", &r->data.content);
    if (r->has_valid && c->early_stop > 0) ok &= put_digest(o, "valid_digest", &r->valid.content);
    if (ok) return o;
    tn_fail(err, TN_NOMEM, "no memory for the run's description");
    json_decref(o);
    return NULL;
}

tn_status train_genesis(run *r, json_t **out, tn_digest *digest, tn_error *err)
{
    json_t *o = train_description(r, err);
    char   *text = NULL;
    bool    ok = true;

    if (o == NULL) return TN_NOMEM;
    if (r->data.pairs && tn_pref_needs_reference(r->data.pref.kind)) {
        tn_digest d = tn_sha256_of(r->data.reference, (size_t)r->data.reference_at[3 * r->data.pair.n] * 4);
        ok = put_digest(o, "reference_digest", &d);
    }
    if (r->data.teacher.n > 0 && r->reference != NULL) ok &= put_digest(o, "teacher", &r->teacher_root);
    if (!ok || (text = tn_json_text(o)) == NULL) {
        json_decref(o);
        return tn_fail(err, TN_NOMEM, "no memory for the run's description");
    }
    *digest = tn_sha256_of(text, strlen(text));
    free(text);
    *out = o;
    return TN_OK;
}

static tn_status copy_tokenizer(const run *r, const char *dir, tn_error *err)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                         "chat_template.jinja" };
    tn_status                status = TN_OK;
    const char              *from = r->tokenizer_path;
    if (from == NULL) return tn_data_byte_tokenizer_save(dir, err);
    if (tn_ends_with(from, ".json")) { /* named as a file: it alone */
        char *to = tn_path(dir, "tokenizer.json");
        status = to != NULL ? tn_file_clone(from, to, false, err)
                            : tn_fail(err, TN_NOMEM, "no memory for a path");
        free(to);
        return status;
    }
    if (!tn_is_dir(from)) {
        tn_error why = { 0 };
        status = tn_model_write_tokenizer(from, dir, &why);
        /* the weights are whole, and worth more than their tokenizer's files */
        if (status == TN_UNSUPPORTED || status == TN_FORMAT) {
            tn_log(TN_LOG_WARN,
                   "tokenizer %s: its vocabulary cannot be written as a tokenizer.json, and the new weights "
                   "need one to read text: put that of the model it "
                   "came from into %s",
                   r->c->tokenizer != NULL ? r->c->tokenizer : r->c->like, dir);
            return TN_OK;
        }
        if (status != TN_OK && err != NULL) *err = why;
        return status;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names && status == TN_OK; i++) {
        char *a = tn_path(from, names[i]), *b = tn_path(dir, names[i]);
        if (a == NULL || b == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
        else if (tn_exists(a) && !tn_exists(b)) status = tn_file_clone(a, b, false, err);
        free(a);
        free(b);
    }
    return status;
}

/* A model from scratch gets the files of the tokenizer that it was trained with, and the chat format. */
tn_status train_write_tokenizer(const run *r, const char *dir, tn_error *err)
{
    if (r->own_tokenizer == NULL || !tn_is_dir(dir)) return TN_OK;
    TN_TRY(copy_tokenizer(r, dir, err));
    return tn_model_write_chat(r->model, dir, err);
}

tn_status train_write_trained(run *r, const char *path, tn_error *err)
{
    if (r->p.lora != NULL) return tn_lora_write(r->model, r->p.lora, r->p.n_lora, path, err);
    train_params_masters(&r->p, true);
    tn_status status = tn_model_write(r->model, path, TN_F32, false, NULL, err);
    train_params_masters(&r->p, false);
    return status;
}

tn_status train_write_weights(run *r, const char *path, tn_error *err)
{
    TN_TRY(train_write_trained(r, path, err));
    return r->p.lora != NULL ? TN_OK : train_write_tokenizer(r, path, err);
}
