/* texts.c - plain text of a model's own, sampled without any prompt.
 *
 *   token that a document begins after ── N draws, each keyed by its number ──→ texts.jsonl {"id","text","distill","weight","open"}
 *
 * Training that sees conversations alone also moves what the model makes of plain text. These rows hold it
 * there: along each of them the model's whole distribution of before is the target (train's "distill"), so no
 * data of its pre-training are needed (Liu et al. 2023, LLM-QAT, make such text to quantise with). */
#include "align/align.h"
#include "align/rows.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_texts_config, f)
// clang-format off
const tn_option tn_align_texts_options[] = {
    { "texts",       TN_OPT_INT,  AT(texts),       "200", 1, 1e6,    "texts",   "how many", NULL },
    { "max_tokens",  TN_OPT_INT,  AT(max_tokens),  "160", 8, 65536,  "tokens",  "the longest text", NULL },
    { "batch",       TN_OPT_INT,  AT(batch),       "32",  1, 1024,   "streams", "texts sampled together (no effect on them)", NULL },
    { "seed",        TN_OPT_INT,  AT(seed),        "1",   0, 1e15,   "",        "of the sampler", NULL },
    { "temperature", TN_OPT_REAL, AT(temperature), "1",   0.01, 10,  "",        "1: as the model was trained", NULL },
    { "weight",      TN_OPT_REAL, AT(weight),      "1",   0, 16,     "",        "of each token when trained on", NULL },
    { "min_tokens",  TN_OPT_INT,  AT(min_tokens),  "8",   1, 65536,  "tokens",  "shorter texts are dropped", NULL },
    { .key = NULL }
};
// clang-format on

/* Where a model that was trained on documents begins one: its BOS if it adds one, else the token that ends
 * documents. */
static int32_t document_token(const tn_tokenizer *t)
{
    static const char *const ends[] = { "<|endoftext|>", "<|end_of_text|>",
                                        ("<\xef\xbd\x9c"
                                         "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"),
                                        "</s>" };

    if (tn_tokenizer_adds_bos(t) && tn_tokenizer_bos(t) >= 0) return tn_tokenizer_bos(t);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        int32_t id = tn_tokenizer_find(t, ends[i]);
        if (id >= 0 && tn_tokenizer_is_special(t, id)) return id;
    }
    return tn_tokenizer_eos(t) >= 0 ? tn_tokenizer_eos(t) : tn_tokenizer_bos(t);
}

tn_status tn_align_texts_run(const tn_align_texts_config *c, tn_profile profile, const char *model,
                             const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status       status = TN_OK;
    tn_align_engine a = { 0 };
    tn_row_file     rows = { 0 };
    tn_sampling     s = tn_sampling_default();
    size_t          n = (size_t)c->texts;
    tn_request     *req = calloc(n, sizeof *req);
    tn_result      *r = calloc(n, sizeof *r);
    int64_t         kept = 0, n_token = 0;
    int32_t         first;

    if (req == NULL || r == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu texts", n);
        goto out;
    }
    TN_GOTO(tn_align_engine_open(&a, model, NULL, profile, c->batch, NULL, c->memo, err));
    if ((first = document_token(tn_model_tokenizer(a.model))) < 0) {
        status = tn_fail(err, TN_UNSUPPORTED,
                         "%s: its tokenizer has no token that begins or ends a document, so nothing can be "
                         "sampled without a prompt",
                         model);
        goto out;
    }
    s.max_tokens = c->max_tokens;
    s.temperature = c->temperature;
    s.seed = (uint64_t)c->seed;
    for (size_t i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof id, "text/%zu", i);
        req[i] = (tn_request){
            .prompt = &first, .n_prompt = 1, .sampling = s, .sample_id = tn_align_sample_id(id, "text")
        };
    }
    TN_GOTO(tn_engine_run(a.engine, req, r, (int64_t)n, "texts", err));
    TN_GOTO(tn_row_file_open(&rows, out_dir, "texts.jsonl", err));
    for (size_t i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof id, "text/%zu", i);
        if (r[i].status != TN_OK) {
            status = tn_fail(err, r[i].status, "%s: %s", id, r[i].message);
            goto out;
        }
        if (r[i].n < c->min_tokens || r[i].text[strspn(r[i].text, " \n\t\r")] == '\0') continue;
        TN_GOTO(
            tn_row_file_add(&rows,
                            json_pack("{s:s, s:s, s:b, s:f, s:b}", "id", id, "text", r[i].text, "distill", 1,
                                      "weight", c->weight, "open", strcmp(r[i].stop_reason, "length") == 0),
                            err));
        kept++;
        n_token += r[i].n;
    }
    if (kept == 0) {
        status = tn_fail(err, TN_FORMAT,
                         "%s: none of its %zu texts has %lld tokens: it ends at once without a prompt; raise "
                         "temperature or leave this stage out",
                         model, n, (long long)c->min_tokens);
        goto out;
    }
    TN_GOTO(tn_row_file_commit(&rows, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "texts", json_integer((json_int_t)kept));
        json_object_set_new(metrics, "tokens", json_integer((json_int_t)n_token));
    }
out:
    tn_row_file_abandon(&rows);
    for (size_t i = 0; r != NULL && i < n; i++) tn_result_free(&r[i]);
    free(r);
    free(req);
    tn_align_engine_close(&a);
    return status;
}
