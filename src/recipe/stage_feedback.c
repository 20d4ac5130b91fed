/* stage_feedback.c - the stage kinds of AI feedback: samples, texts, judge, compare, direct, screen, distill,
 * generate. A judge that is a local model makes a pure stage; an endpoint makes a recorded one (..._remote),
 * whose artifact replay starts from. */
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

static tn_status samples_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                             json_t *metrics, tn_error *err)
{
    /* shares its strings; the memo is of this execution */
    tn_align_samples_config c = *(const tn_align_samples_config *)config;

    c.s.memo = r->memo;
    return tn_align_samples_run(&c, r->profile, inputs[0], inputs[2], inputs[1], out, metrics, err);
}

const tn_stage_kind tn_stage_samples = {
    .name = "samples",
    .version = 1,
    .line = "several answers to each prompt, with every token's log-probability",
    .options = tn_align_samples_options,
    .config_bytes = sizeof(tn_align_samples_config),
    .inputs = samples_inputs,
    .output = "a directory with samples.jsonl",
    .rows = true,
    .run = samples_run,
};

/* ---- texts */
static tn_status texts_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                           json_t *metrics, tn_error *err)
{
    tn_align_texts_config c = *(const tn_align_texts_config *)config;

    c.memo = r->memo;
    return tn_align_texts_run(&c, r->profile, inputs[0], out, metrics, err);
}

static const tn_stage_port texts_inputs[] = {
    { "model", false, false, "the model that writes" },
    { NULL, false, false, NULL },
};

const tn_stage_kind tn_stage_texts = {
    .name = "texts",
    .version = 1,
    .line = "plain text of a model's own, sampled without a prompt",
    .options = tn_align_texts_options,
    .config_bytes = sizeof(tn_align_texts_config),
    .inputs = texts_inputs,
    .output = "a directory with texts.jsonl",
    .rows = true,
    .run = texts_run,
};

/* ---- judge: the first port is the judge in the local kinds, and absent in the remote ones */
// clang-format off
static const tn_stage_port judge_inputs[] = {
    { "judge", false, false, "the model that judges" },
    { "labelled", false, false, "labelled comparisons: ranked answers (prompts/judge.txt), or .jsonl with chosen and rejected" },
    { "constitution", false, false, "the constitution file" },
    { NULL, false, false, NULL },
};
// clang-format on

static tn_status judge_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                           json_t *metrics, tn_error *err)
{
    return tn_align_judge_run(config, &(tn_judge_source){ inputs[0], NULL, r->profile, r->memo }, inputs[1],
                              inputs[2], out, metrics, err);
}

static tn_status judge_remote_run(tn_stage_run *r, const void *config, const char *const *inputs,
                                  const char *out, json_t *metrics, tn_error *err)
{
    return tn_align_judge_run(config, &(tn_judge_source){ NULL, r->work, r->profile, NULL }, inputs[0],
                              inputs[1], out, metrics, err);
}

const tn_stage_kind tn_stage_judge = {
    .name = "judge",
    .version = 3,
    .line = "a judge measured on labelled comparisons: accuracy, position and length bias, calibration",
    .options = tn_align_judge_options,
    .config_bytes = sizeof(tn_align_judge_config),
    .inputs = judge_inputs,
    .output = "a directory with judge.json and verdicts.jsonl",
    .rows = true,
    .run = judge_run,
};

const tn_stage_kind tn_stage_judge_remote = {
    .name = "judge_remote",
    .version = 2,
    .line = "the same for a model behind an OpenAI-compatible endpoint (recorded)",
    .options = tn_align_judge_remote_options,
    .config_bytes = sizeof(tn_align_judge_config),
    .inputs = judge_inputs + 1,
    .output = "a directory with judge.json and verdicts.jsonl",
    .recorded = true,
    .run = judge_remote_run,
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
    return (tn_compare_inputs){ .judge = in[0],
                                .prompts = in[1],
                                .constitution = in[2],
                                .samples = in[3],
                                .first = in[4],
                                .second = in[5],
                                .revisions = in[6] };
}

static tn_status compare_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                             json_t *metrics, tn_error *err)
{
    tn_compare_inputs in = inputs_of(inputs + 1);

    return tn_align_compare_run(config, &(tn_judge_source){ inputs[0], NULL, r->profile, r->memo }, &in, out,
                                metrics, err);
}

static tn_status compare_remote_run(tn_stage_run *r, const void *config, const char *const *inputs,
                                    const char *out, json_t *metrics, tn_error *err)
{
    tn_compare_inputs in = inputs_of(inputs);

    return tn_align_compare_run(config, &(tn_judge_source){ NULL, r->work, r->profile, NULL }, &in, out,
                                metrics, err);
}

const tn_stage_kind tn_stage_compare = {
    .name = "compare",
    .version = 2,
    .line = "pairs of answers compared by a measured judge under drawn principles (RLAIF); win rates",
    .options = tn_align_compare_options,
    .config_bytes = sizeof(tn_align_compare_config),
    .inputs = compare_inputs,
    .output = "a directory with comparisons.jsonl, pairs.jsonl, records.jsonl and compare.json",
    .rows = true,
    .run = compare_run,
};

const tn_stage_kind tn_stage_compare_remote = {
    .name = "compare_remote",
    .version = 1,
    .line = "the same by a model behind an OpenAI-compatible endpoint (recorded)",
    .options = tn_align_compare_remote_options,
    .config_bytes = sizeof(tn_align_compare_config),
    .inputs = compare_inputs + 1,
    .output = "a directory with comparisons.jsonl, pairs.jsonl, records.jsonl and compare.json",
    .recorded = true,
    .run = compare_remote_run,
};

/* ---- direct */
static const tn_stage_port direct_inputs[] = {
    { "judge", false, false, "the model that rates" },
    { "measured", false, false, "output of a judge stage for this judge, mode direct" },
    { "prompts", false, false, "output of a prompts stage" },
    { "constitution", false, false, "the constitution file" },
    { "samples", false, false, "output of a samples stage" },
    { NULL, false, false, NULL },
};

static tn_status direct_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                            json_t *metrics, tn_error *err)
{
    tn_direct_inputs in = {
        .judge = inputs[1], .prompts = inputs[2], .constitution = inputs[3], .samples = inputs[4]
    };

    return tn_align_direct_run(config, &(tn_judge_source){ inputs[0], NULL, r->profile, r->memo }, &in, out,
                               metrics, err);
}

static tn_status direct_remote_run(tn_stage_run *r, const void *config, const char *const *inputs,
                                   const char *out, json_t *metrics, tn_error *err)
{
    tn_direct_inputs in = {
        .judge = inputs[0], .prompts = inputs[1], .constitution = inputs[2], .samples = inputs[3]
    };

    return tn_align_direct_run(config, &(tn_judge_source){ NULL, r->work, r->profile, NULL }, &in, out,
                               metrics, err);
}

const tn_stage_kind tn_stage_direct = {
    .name = "direct",
    .version = 2,
    .line = "answers rated one by one by a measured judge; the best against the worst (d-RLAIF)",
    .options = tn_align_direct_options,
    .config_bytes = sizeof(tn_align_direct_config),
    .inputs = direct_inputs,
    .output = "a directory with scores.jsonl, pairs.jsonl and records.jsonl",
    .rows = true,
    .run = direct_run,
};

const tn_stage_kind tn_stage_direct_remote = {
    .name = "direct_remote",
    .version = 1,
    .line = "the same by a model behind an OpenAI-compatible endpoint (recorded)",
    .options = tn_align_direct_remote_options,
    .config_bytes = sizeof(tn_align_direct_config),
    .inputs = direct_inputs + 1,
    .output = "a directory with scores.jsonl, pairs.jsonl and records.jsonl",
    .recorded = true,
    .run = direct_remote_run,
};

/* ---- screen */
static const tn_stage_port screen_inputs[] = {
    { "revisions", false, false, "output of a revise stage" },
    { "comparisons", true, false, "output of a compare stage over these revisions" },
    { NULL, false, false, NULL },
};

static tn_status screen_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                            json_t *metrics, tn_error *err)
{
    (void)r;
    return tn_align_screen_run(config, inputs[0], inputs[1], out, metrics, err);
}

const tn_stage_kind tn_stage_screen = {
    .name = "screen",
    .version = 1,
    .line = "which revisions are fit to be learnt, with a reason for each that is not",
    .options = tn_align_screen_options,
    .config_bytes = sizeof(tn_align_screen_config),
    .inputs = screen_inputs,
    .output = "a directory with revisions.jsonl and dropped.jsonl",
    .quick = true,
    .run = screen_run,
};

/* ---- check */
enum { MAX_SETS = 16 };

extern const tn_stage_kind tn_stage_check; /* its row stands below; ports are looked up in it by name */

static const tn_stage_port check_inputs[] = {
    { "prompts", false, false, "output of a prompts stage" },
    { "constitution", false, false, "the constitution file; principles with a check count" },
    { "samples", false, true, "outputs of samples stages over these prompts" },
    { NULL, false, false, NULL },
};

static tn_status check_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                           json_t *metrics, tn_error *err)
{
    const char *sets[MAX_SETS];
    size_t      n = tn_stage_many(r, &tn_stage_check, "samples", NULL, NULL);

    if (n > MAX_SETS) return tn_fail(err, TN_LIMIT, "more than %d sets of samples", MAX_SETS);
    tn_stage_many(r, &tn_stage_check, "samples", sets, NULL);
    return tn_align_check_run(config, inputs[0], inputs[1], sets, n, out, metrics, err);
}

const tn_stage_kind tn_stage_check = {
    .name = "check",
    .version = 1,
    .line = "samples held against principles that a pattern can check: passing before failing",
    .options = tn_align_check_options,
    .config_bytes = sizeof(tn_align_check_config),
    .inputs = check_inputs,
    .output = "a directory with pairs.jsonl, sft.jsonl and records.jsonl",
    .quick = true,
    .run = check_run,
};

/* ---- distill */
static const tn_stage_port distill_inputs[] = {
    { "model", false, false, "the model that answers with the constitution before its eyes" },
    { "prompts", false, false, "output of a prompts stage" },
    { "constitution", false, false, "the constitution file" },
    { "answers", true, false, "output of an answers stage without it: makes pairs too" },
    { NULL, false, false, NULL },
};

static tn_status distill_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                             json_t *metrics, tn_error *err)
{
    /* shares its strings; the memo is of this execution */
    tn_align_distill_config c = *(const tn_align_distill_config *)config;

    c.s.memo = r->memo;
    return tn_align_distill_run(&c, r->profile, inputs[0], inputs[1], inputs[3], inputs[2], out, metrics,
                                err);
}

const tn_stage_kind tn_stage_distill = {
    .name = "distill",
    .version = 1,
    .line = "context distillation: answers given under the constitution become targets without it",
    .options = tn_align_distill_options,
    .config_bytes = sizeof(tn_align_distill_config),
    .inputs = distill_inputs,
    .output = "a directory with sft.jsonl, pairs.jsonl and records.jsonl",
    .rows = true,
    .run = distill_run,
};

/* ---- generate */
enum { MAX_EVALUATIONS = 64 };

extern const tn_stage_kind tn_stage_generate; /* its row stands below; ports are looked up in it by name */

static const tn_stage_port generate_inputs[] = {
    { "model", false, false, "the model that writes prompts" },
    { "prompts", false, false, "output of a prompts stage: its training side gives the examples" },
    { "constitution", false, false, "the constitution file" },
    { "evaluation", true, true, "evaluation files that training must not have seen" },
    { NULL, false, false, NULL },
};

static tn_status generate_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                              json_t *metrics, tn_error *err)
{
    const char *evals[MAX_EVALUATIONS], *names[MAX_EVALUATIONS];
    size_t      n = tn_stage_many(r, &tn_stage_generate, "evaluation", NULL, NULL);

    if (n > MAX_EVALUATIONS) return tn_fail(err, TN_LIMIT, "more than %d evaluation files", MAX_EVALUATIONS);
    tn_stage_many(r, &tn_stage_generate, "evaluation", evals, names);
    /* shares its strings; the memo is of this execution */
    tn_align_generate_config c = *(const tn_align_generate_config *)config;

    c.s.memo = r->memo;
    return tn_align_generate_run(&c, r->profile, inputs[0], inputs[1], inputs[2],
                                 &(tn_named_files){ evals, names, n }, out, metrics, err);
}

const tn_stage_kind tn_stage_generate = {
    .name = "generate",
    .version = 1,
    .line = "new prompts by a model: few-shot, over constitution x topic x style, deduplicated and labelled",
    .options = tn_align_generate_options,
    .config_bytes = sizeof(tn_align_generate_config),
    .inputs = generate_inputs,
    .output = "a directory with prompts.jsonl and overlap.json",
    .rows = true,
    .run = generate_run,
};

/* ---- watch */
static const tn_stage_port watch_inputs[] = {
    { "model", false, false, "the base model of the run" },
    { "run", false, false, "output of a train stage with a LoRA adapter and its checkpoints" },
    { "prompts", false, false, "output of a prompts stage; its development side is sampled" },
    { "constitution", true, false, "the constitution file: what passes each principle" },
    { NULL, false, false, NULL },
};

static tn_status watch_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                           json_t *metrics, tn_error *err)
{
    return tn_align_watch_run(config, r->profile, inputs[0], inputs[1], inputs[2], inputs[3], r->work, out,
                              metrics, err);
}

const tn_stage_kind tn_stage_watch = {
    .name = "watch",
    .version = 1,
    .line = "a training run's checkpoints sampled: curves, stop rules for KL and collapse, the adapter that "
            "passes",
    .options = tn_align_watch_options,
    .config_bytes = sizeof(tn_align_watch_config),
    .inputs = watch_inputs,
    .output = "a directory with adapter/, curves.jsonl and watch.json",
    .run = watch_run,
};
