/* stage_align.c - the stage kinds of Constitutional AI over files: prompts, answers, contrast, revise, pairs.
 * Each is a thin row over the align room's function of the same name, which says what it does. */
#include "align/align.h"
#include "base/file.h"
#include "recipe/stage.h"

#include <stddef.h>
#include <stdlib.h>

enum { MAX_FILES = 64 };

extern const tn_stage_kind tn_stage_prompts; /* its row stands below; ports are looked up in it by name */

/* ---- prompts */
static const tn_stage_port prompts_inputs[] = {
    { "constitution", false, false, "the constitution file" },
    { "files", false, true, "prompt files: seeds (.txt), .jsonl or .csv" },
    { "evaluation", true, true, "evaluation files, or folders of them, that training must not have seen" },
    { NULL, false, false, NULL },
};

static tn_status prompts_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                             json_t *metrics, tn_error *err)
{
    const char *files[MAX_FILES], *file_names[MAX_FILES], *evals[MAX_FILES], *eval_names[MAX_FILES];
    size_t      n_file = tn_stage_many(r, &tn_stage_prompts, "files", NULL, NULL);
    size_t      n_eval = tn_stage_many(r, &tn_stage_prompts, "evaluation", NULL, NULL);

    if (n_file > MAX_FILES || n_eval > MAX_FILES)
        return tn_fail(err, TN_LIMIT, "more than %d prompt files", MAX_FILES);
    tn_stage_many(r, &tn_stage_prompts, "files", files, file_names);
    tn_stage_many(r, &tn_stage_prompts, "evaluation", evals, eval_names);
    return tn_align_prompts_run(config, &(tn_named_files){ files, file_names, n_file },
                                &(tn_named_files){ evals, eval_names, n_eval }, inputs[0], out, metrics, err);
}

const tn_stage_kind tn_stage_prompts = {
    .name = "prompts",
    .version = 1,
    .line = "a prompt set: expanded, split by family, checked for overlap with evaluation sets",
    .options = tn_align_prompts_options,
    .config_bytes = sizeof(tn_align_prompts_config),
    .inputs = prompts_inputs,
    .output = "a directory with prompts.jsonl and overlap.json",
    .quick = true,
    .run = prompts_run,
};

/* ---- answers */
static const tn_stage_port answers_inputs[] = {
    { "model", false, false, "the model that answers" },
    { "prompts", false, false, "output of a prompts stage, or a .jsonl" },
    { "adapter", true, false, "a LoRA adapter on the model, left unmerged" },
    { NULL, false, false, NULL },
};

static tn_status answers_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                             json_t *metrics, tn_error *err)
{
    /* shares its strings; the memo is of this execution */
    tn_align_answers_config c = *(const tn_align_answers_config *)config;

    c.s.memo = r->memo;
    return tn_align_answers_run(&c, r->profile, inputs[0], inputs[2], inputs[1], out, metrics, err);
}

const tn_stage_kind tn_stage_answers = {
    .name = "answers",
    .version = 1,
    .line = "a model's answers to a prompt set",
    .options = tn_align_answers_options,
    .config_bytes = sizeof(tn_align_answers_config),
    .inputs = answers_inputs,
    .output = "a directory with answers.jsonl",
    .rows = true,
    .run = answers_run,
};

/* ---- contrast */
static const tn_stage_port contrast_inputs[] = {
    { "model", false, false, "the model that answers" },
    { "prompts", false, false, "output of a prompts stage" },
    { "constitution", false, false, "the constitution file" },
    { NULL, false, false, NULL },
};

static tn_status contrast_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                              json_t *metrics, tn_error *err)
{
    tn_align_contrast_config c = *(const tn_align_contrast_config *)config;

    c.s.memo = r->memo;
    return tn_align_contrast_run(&c, r->profile, inputs[0], inputs[1], inputs[2], out, metrics, err);
}

const tn_stage_kind tn_stage_contrast = {
    .name = "contrast",
    .version = 1,
    .line = "answers to each prompt under a principle's positive and negative affix (RLCD)",
    .options = tn_align_contrast_options,
    .config_bytes = sizeof(tn_align_contrast_config),
    .inputs = contrast_inputs,
    .output = "a directory with contrast.jsonl",
    .rows = true,
    .run = contrast_run,
};

/* ---- revise */
static const tn_stage_port revise_inputs[] = {
    { "model", false, false, "the model that criticises and revises" },
    { "prompts", false, false, "output of a prompts stage" },
    { "answers", false, false, "output of an answers stage over these prompts" },
    { "constitution", false, false, "the constitution file" },
    { "demos", true, false, "demonstrations of critique and revision (.jsonl)" },
    { NULL, false, false, NULL },
};

static tn_status revise_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                            json_t *metrics, tn_error *err)
{
    tn_align_revise_config c = *(const tn_align_revise_config *)config;

    c.s.memo = r->memo;
    return tn_align_revise_run(&c, r->profile,
                               &(tn_revise_inputs){ .model = inputs[0],
                                                    .prompts = inputs[1],
                                                    .answers = inputs[2],
                                                    .constitution = inputs[3],
                                                    .demos = inputs[4] },
                               out, metrics, err);
}

const tn_stage_kind tn_stage_revise = {
    .name = "revise",
    .version = 2,
    .line = "rounds of critique and revision under drawn principles (Constitutional AI)",
    .options = tn_align_revise_options,
    .config_bytes = sizeof(tn_align_revise_config),
    .inputs = revise_inputs,
    .output = "a directory with revisions.jsonl",
    .rows = true,
    .run = revise_run,
};

/* ---- pairs */
// clang-format off
static const tn_stage_port pairs_inputs[] = {
    { "prompts", false, false, "output of a prompts stage" },
    { "answers", false, false, "output of an answers stage over its training split" },
    { "constitution", false, false, "the constitution file" },
    { "contrast", true, false, "output of a contrast stage" },
    { "revisions", true, false, "output of a revise stage" },
    { "whole", true, false, "output of an answers stage: longer answers to some of the prompts, whose SFT rows keep them whole" },
    { NULL, false, false, NULL },
};
// clang-format on

static tn_status pairs_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                           json_t *metrics, tn_error *err)
{
    (void)r;
    return tn_align_pairs_run(config,
                              &(tn_pairs_inputs){ .prompts = inputs[0],
                                                  .answers = inputs[1],
                                                  .constitution = inputs[2],
                                                  .contrast = inputs[3],
                                                  .revisions = inputs[4],
                                                  .whole = inputs[5] },
                              out, metrics, err);
}

const tn_stage_kind tn_stage_pairs = {
    .name = "pairs",
    .version = 5,
    .line = "training rows with the principle on each: sft.jsonl, pairs.jsonl, records.jsonl",
    .options = tn_align_pairs_options,
    .config_bytes = sizeof(tn_align_pairs_config),
    .inputs = pairs_inputs,
    .output = "a directory with sft.jsonl, pairs.jsonl and records.jsonl",
    .quick = true,
    .run = pairs_run,
};

/* ---- index */
static const tn_stage_port index_inputs[] = {
    { "model", false, false, "the released model" },
    { "records", false, false, "output of a pairs stage" },
    { NULL, false, false, NULL },
};

static tn_status index_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                           json_t *metrics, tn_error *err)
{
    return tn_align_index_run(config, r->profile, inputs[0], inputs[1], out, metrics, err);
}

const tn_stage_kind tn_stage_index = {
    .name = "index",
    .version = 1,
    .line = "the training records by the model's own representation, for tenet why",
    .options = tn_align_index_options,
    .config_bytes = sizeof(tn_align_index_config),
    .inputs = index_inputs,
    .output = "a directory with index.safetensors",
    .run = index_run,
};
