/* stage_feedback.c - the stage kinds of AI feedback: samples, judge, compare. A judge that is a local model makes a pure stage;
 * an endpoint makes a recorded one (..._remote), whose artifact replay starts from. */
#include "align/align.h"
#include "recipe/stage.h"

#include <stddef.h>

/* ---- samples */
static const tn_stage_port samples_inputs[] = {
    { "model", false, false, "the model that answers" },
    { "prompts", false, false, "output of a prompts stage" },
    { "adapter", true, false, "a LoRA adapter on the model, left unmerged" },
    { NULL, false, false, NULL },
};

static tn_status samples_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out, json_t *metrics, tn_error *err)
{
    return tn_align_samples_run(config, r->profile, inputs[0], inputs[2], inputs[1], out, metrics, err);
}

const tn_stage_kind tn_stage_samples = {
    .name = "samples", .version = 1, .line = "several answers to each prompt, with every token's log-probability", .options = tn_align_samples_options,
    .config_bytes = sizeof(tn_align_samples_config), .inputs = samples_inputs, .output = "a directory with samples.jsonl", .run = samples_run,
};

/* ---- judge: the first port is the judge in the local kinds, and absent in the remote ones */
static const tn_stage_port judge_inputs[] = {
    { "judge", false, false, "the model that judges" },
    { "labelled", false, false, "labelled comparisons: ranked answers (prompts/judge.txt), or .jsonl with chosen and rejected" },
    { "constitution", false, false, "the constitution file" },
    { NULL, false, false, NULL },
};

static tn_status judge_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out, json_t *metrics, tn_error *err)
{
    return tn_align_judge_run(config, &(tn_judge_source){ inputs[0], NULL, r->profile }, inputs[1], inputs[2], out, metrics, err);
}

static tn_status judge_remote_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out, json_t *metrics, tn_error *err)
{
    return tn_align_judge_run(config, &(tn_judge_source){ NULL, r->work, r->profile }, inputs[0], inputs[1], out, metrics, err);
}

const tn_stage_kind tn_stage_judge = {
    .name = "judge", .version = 1, .line = "a judge measured on labelled comparisons: accuracy, position and length bias, calibration",
    .options = tn_align_judge_options, .config_bytes = sizeof(tn_align_judge_config), .inputs = judge_inputs,
    .output = "a directory with judge.json and verdicts.jsonl", .run = judge_run,
};

const tn_stage_kind tn_stage_judge_remote = {
    .name = "judge_remote", .version = 1, .line = "the same for a model behind an OpenAI-compatible endpoint (recorded)",
    .options = tn_align_judge_remote_options, .config_bytes = sizeof(tn_align_judge_config), .inputs = judge_inputs + 1,
    .output = "a directory with judge.json and verdicts.jsonl", .recorded = true, .run = judge_remote_run,
};

/* ---- compare */
static const tn_stage_port compare_inputs[] = {
    { "judge", false, false, "the model that judges" },
    { "measured", false, false, "output of a judge stage for this judge" },
    { "prompts", false, false, "output of a prompts stage" },
    { "constitution", false, false, "the constitution file" },
    { "samples", true, false, "output of a samples stage: its answers are compared in pairs" },
    { "first", true, false, "an answers stage: its win rate against `second` is measured" },
    { "second", true, false, "another answers stage over the same prompts" },
    { "revisions", true, false, "a revise stage: each revision against what it revised" },
    { NULL, false, false, NULL },
};

static tn_compare_inputs inputs_of(const char *const *in)
{
    return (tn_compare_inputs){ .judge = in[0], .prompts = in[1], .constitution = in[2], .samples = in[3], .first = in[4], .second = in[5], .revisions = in[6] };
}

static tn_status compare_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out, json_t *metrics, tn_error *err)
{
    tn_compare_inputs in = inputs_of(inputs + 1);

    return tn_align_compare_run(config, &(tn_judge_source){ inputs[0], NULL, r->profile }, &in, out, metrics, err);
}

static tn_status compare_remote_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out, json_t *metrics, tn_error *err)
{
    tn_compare_inputs in = inputs_of(inputs);

    return tn_align_compare_run(config, &(tn_judge_source){ NULL, r->work, r->profile }, &in, out, metrics, err);
}

const tn_stage_kind tn_stage_compare = {
    .name = "compare", .version = 1, .line = "pairs of answers compared by a measured judge under drawn principles (RLAIF); win rates",
    .options = tn_align_compare_options, .config_bytes = sizeof(tn_align_compare_config), .inputs = compare_inputs,
    .output = "a directory with comparisons.jsonl, pairs.jsonl, records.jsonl and compare.json", .run = compare_run,
};

const tn_stage_kind tn_stage_compare_remote = {
    .name = "compare_remote", .version = 1, .line = "the same by a model behind an OpenAI-compatible endpoint (recorded)",
    .options = tn_align_compare_remote_options, .config_bytes = sizeof(tn_align_compare_config), .inputs = compare_inputs + 1,
    .output = "a directory with comparisons.jsonl, pairs.jsonl, records.jsonl and compare.json", .recorded = true, .run = compare_remote_run,
};
