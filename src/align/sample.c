/* sample.c - conversations to answers through the engine; which prompts of a set a stage takes. */
#include "align/align.h"
#include "align/rows.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

uint64_t tn_align_sample_id(const char *prompt_id, const char *what)
{
    char *s = tn_strf("%s\n%s", prompt_id, what);
    /* Out of memory is not a reason to change a sample: the two hashes then stand for the joined text. */
    uint64_t h = s != NULL ? tn_hash64(s, strlen(s))
                           : tn_hash64(prompt_id, strlen(prompt_id)) ^ tn_hash64(what, strlen(what));

    free(s);
    return h;
}

tn_status tn_align_sample(tn_engine *e, const tn_model *m, const tn_dialogue *d, size_t n,
                          const tn_sampling *s, tn_result *results, const char *progress, tn_error *err)
{
    tn_status      status = TN_OK;
    const tn_chat *chat = NULL;
    tn_request    *req = calloc(n + 1, sizeof *req);
    int32_t      **ids = calloc(n + 1, sizeof *ids);

    memset(results, 0, n * sizeof *results);
    if (req == NULL || ids == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu requests", n);
        goto out;
    }
    TN_GOTO(tn_model_chat(m, &chat, err));
    for (size_t i = 0; i < n; i++) {
        size_t n_id = 0, cap = 0;

        TN_GOTO(tn_chat_render(tn_model_tokenizer(m), chat, d[i].messages, d[i].n, TN_TURN_OPEN, &ids[i],
                               NULL, &n_id, &cap, err));
        req[i] = (tn_request){
            .prompt = ids[i], .n_prompt = (int64_t)n_id, .sampling = *s, .sample_id = d[i].sample_id
        };
    }
    TN_GOTO(tn_engine_run(e, req, results, (int64_t)n, progress, err));
out:
    for (size_t i = 0; ids != NULL && i < n; i++) free(ids[i]);
    free(ids);
    free(req);
    return status;
}

bool tn_align_takes(const char *kinds, tn_prompt_kind k)
{
    return kinds == NULL || kinds[0] == '\0' || tn_list_has(kinds, tn_prompt_kind_name(k));
}

static bool fits(const tn_prompt *p, const tn_align_sampling *c)
{
    return tn_align_takes(c->kinds, p->kind) && (c->split == NULL || strcmp(c->split, "all") == 0 ||
                                                 strcmp(c->split, tn_split_name(p->split)) == 0);
}

tn_status tn_prompts_select(tn_prompts *out, const char *path, const tn_align_sampling *c, tn_error *err)
{
    tn_status status = TN_OK;
    char     *file = tn_is_dir(path) ? tn_path(path, "prompts.jsonl") : tn_strdup(path);
    size_t    kept = 0, all[3] = { 0 }, seen[3] = { 0 };

    if (file == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_prompts_read(out, file, TN_PROMPT_EVERYDAY, NULL, err));
    for (size_t i = 0; i < out->n; i++) all[out->at[i].kind] += fits(&out->at[i], c);
    for (size_t i = 0; i < out->n; i++) {
        tn_prompt *p = &out->at[i];
        bool       take = fits(p, c);

        if (take) {
            /* Evenly spaced ones of each kind, so that a small limit still reaches every topic. */
            size_t k = seen[p->kind]++, m = all[p->kind], most = (size_t)c->limit;
            take = c->limit <= 0 || m <= most || (k + 1) * most / m != k * most / m;
        }
        if (take) {
            tn_prompt one = out->at[kept];
            out->at[kept++] = *p;
            *p = one; /* swapped to the tail, freed below */
        }
    }
    tn_prompts tail = { out->at + kept, out->n - kept };
    for (size_t i = 0; i < tail.n; i++) {
        free(tail.at[i].id);
        free(tail.at[i].text);
        free(tail.at[i].topic);
        free(tail.at[i].principle);
        free(tail.at[i].family);
    }
    out->n = kept;
    if (kept == 0)
        status = tn_fail(err, TN_FORMAT, "%s: no prompt of split '%s' and kinds '%s'", path,
                         c->split != NULL ? c->split : "all",
                         c->kinds != NULL && c->kinds[0] != '\0' ? c->kinds : "all");
out:
    free(file);
    return status;
}

tn_status tn_align_engine_open(tn_align_engine *a, const char *model, const char *adapter, tn_profile profile,
                               int64_t batch, const char *kv_type, tn_memo *memo, tn_error *err)
{
    tn_status         status = TN_OK;
    tn_model_options  mo = { .profile = profile, .weights = true, .pack = true };
    tn_engine_options eo = { .n_batch = batch, .prefix_reuse = true, .hidden_layer = -1, .memo = memo };

    memset(a, 0, sizeof *a);
    if (kv_type != NULL && !tn_dtype_parse(kv_type, &eo.kv_type))
        return tn_fail(err, TN_USAGE, "kv type '%s': expected f32, bf16 or q8_0", kv_type);
    TN_GOTO(tn_model_open(&a->model, model, &mo, err));
    if (adapter != NULL) {
        TN_GOTO(tn_lora_read(&a->lora, &a->n_lora, a->model, adapter, err));
        eo.lora = a->lora;
        eo.n_lora = a->n_lora;
    }
    TN_GOTO(tn_engine_create(&a->engine, a->model, &eo, err));
out:
    if (status != TN_OK) tn_align_engine_close(a);
    return status;
}

void tn_align_engine_close(tn_align_engine *a)
{
    tn_engine_destroy(a->engine);
    tn_lora_free(a->lora, a->n_lora);
    tn_model_close(a->model);
    memset(a, 0, sizeof *a);
}

double tn_align_logprob_sum(const tn_result *r)
{
    double s = 0;

    for (int64_t i = 0; i < r->n; i++) s += (double)r->logprobs[i];
    return s;
}

tn_sampling tn_align_sampling_of(const tn_align_sampling *c)
{
    tn_sampling s = tn_sampling_default();

    s.max_tokens = c->max_tokens;
    s.temperature = c->temperature;
    s.top_p = c->top_p;
    s.seed = (uint64_t)c->seed;
    return s;
}
