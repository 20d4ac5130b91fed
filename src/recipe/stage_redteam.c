/* stage_redteam.c - the stage kind redteam: attacks on a model, as an artifact. Requests, twins, labels,
 * judge and attacker are inputs, so that a changed one is another stage. What was asked and said stays out of
 * the artifact unless keep_texts asks for it. */
#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"
#include "recipe/stage.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct redteam_config {
    char   *attacks;
    int64_t limit, tries, budget, max_tokens, seed;
    double  temperature, max_asr;
    bool    classify, keep_texts;
} redteam_config;

#define AT(f) offsetof(redteam_config, f)

// clang-format off
static const tn_option options[] = {
    // clang-format off
    TN_REDTEAM_OPTIONS(redteam_config, NULL),
    { "keep_texts",  TN_OPT_BOOL, AT(keep_texts),  NULL,  0, 0,     "",         "keep what was asked and said in the artifact", NULL },
    { "seed",        TN_OPT_INT,  AT(seed),        "1",   0, 1e15,  "",         "of attacks and sampling", NULL },
    { .key = NULL }
    // clang-format on
};
// clang-format on

static const tn_stage_port inputs_table[] = {
    { "model", false, false, "the model that is attacked" },
    { "prompts", false, false, "requests that should be declined: .csv, .jsonl, or a prompts stage" },
    { "twins", true, false, "harmless questions with known answers" },
    { "principles", true, false, "YAML map from category to principle" },
    { "labels", true, false, "replies labelled by people" },
    { "judge", true, false, "a model that scores replies" },
    { "attacker", true, false, "a model that rewrites requests" },
    { NULL, false, false, NULL },
};
enum { MODEL, PROMPTS, TWINS, PRINCIPLES, LABELS, JUDGE, ATTACKER };

static tn_status open_if(tn_model **m, const char *path, const tn_model_options *o, tn_error *err)
{
    return path != NULL ? tn_model_open(m, path, o, err) : TN_OK;
}

/* Logged in the work folder, so that a stopped stage goes on; copied when it is whole. */
static tn_status redteam_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                             json_t *metrics, tn_error *err)
{
    const redteam_config *c = config;
    tn_model_options      mo = { .profile = r->profile, .weights = true, .pack = true };
    char                 *log = tn_path(r->work, "redteam");
    tn_model             *m = NULL, *judge = NULL, *attacker = NULL;
    json_t               *report = NULL;
    tn_status             status = TN_OK;

    if (log == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_model_open(&m, inputs[MODEL], &mo, err));
    TN_GOTO(open_if(&judge, inputs[JUDGE], &mo, err));
    TN_GOTO(open_if(&attacker, inputs[ATTACKER], &mo, err));
    tn_redteam_options o = { .prompts = inputs[PROMPTS],
                             .twins = inputs[TWINS],
                             .principles = inputs[PRINCIPLES],
                             .labels = inputs[LABELS],
                             .out_dir = log,
                             .attacks = c->attacks,
                             .limit = c->limit,
                             .tries = c->tries,
                             .budget = c->budget,
                             .max_tokens = c->max_tokens,
                             .n_batch = 16,
                             .seed = c->seed,
                             .temperature = c->temperature,
                             .max_asr = c->max_asr,
                             .kv_type = TN_F32,
                             .progress = true,
                             .show_texts = c->keep_texts,
                             .classify = c->classify,
                             .model = m,
                             .attacker = attacker,
                             .judge = judge };
    TN_GOTO(tn_redteam_run(&report, &o, err));
    TN_GOTO(tn_stage_keep(log, out,
                          (const char *const[]){ "items.jsonl", "report.json", "report.html",
                                                 c->keep_texts ? "texts.jsonl" : NULL, NULL },
                          err));
    const json_t *all = json_object_get(report, "overall");
    if (json_object_get(all, "asr") != NULL) json_object_set(metrics, "asr", json_object_get(all, "asr"));
    if (json_object_get(all, "twins_refused") != NULL)
        json_object_set(metrics, "twins_refused", json_object_get(all, "twins_refused"));
out:
    json_decref(report);
    tn_model_close(m);
    tn_model_close(judge);
    tn_model_close(attacker);
    free(log);
    return status;
}

const tn_stage_kind tn_stage_redteam = {
    .name = "redteam",
    .version = 6,
    .line = "attacks on a model, each with harmless twins",
    .options = options,
    .config_bytes = sizeof(redteam_config),
    .inputs = inputs_table,
    .output = "a directory with report.json, report.html and items.jsonl",
    .run = redteam_run,
};
