/* stage_measure.c - the stage kinds that tell what alignment changed: measure (two answer sets) and report
 * (the page). */
#include "eval/eval.h"
#include "recipe/stage.h"

#include <stddef.h>
#include <stdlib.h>

enum { MAX_RUNS = 16 };

extern const tn_stage_kind tn_stage_report; /* its row stands below; ports are looked up in it by name */

static const tn_stage_port measure_inputs[] = {
    { "before", false, false, "answers of the model as it was" },
    { "after", false, false, "answers of the aligned model to the same prompts" },
    { "constitution", true, false, "the constitution file: how well each principle is followed" },
    { NULL, false, false, NULL },
};

static tn_status measure_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                             json_t *metrics, tn_error *err)
{
    (void)r;
    return tn_measure_run(config, inputs[0], inputs[1], inputs[2], out, metrics, err);
}

const tn_stage_kind tn_stage_measure = {
    .name = "measure",
    .version = 4,
    .line = "refusals and principles followed, before and after, with intervals and tests",
    .options = tn_measure_options,
    .config_bytes = sizeof(tn_measure_config),
    .inputs = measure_inputs,
    .output = "a directory with measure.json and items.jsonl",
    .run = measure_run,
};

// clang-format off
static const tn_stage_port report_inputs[] = {
    { "measure", false, false, "output of a measure stage" },
    { "constitution", false, false, "the constitution file" },
    { "runs", true, true, "training stages, for their curves" },
    { "model", true, false, "the model that was aligned; its digest is named" },
    { "eval_before", true, false, "output of an eval stage of the model as it was" },
    { "eval_after", true, false, "output of an eval stage of the aligned model, over the same tasks" },
    { "quantised", true, false, "output of a measure stage: answers of the weights as trained against those of the released file" },
    { NULL, false, false, NULL },
};
// clang-format on

static tn_status report_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                            json_t *metrics, tn_error *err)
{
    const char *runs[MAX_RUNS], *names[MAX_RUNS];
    size_t      n = tn_stage_many(r, &tn_stage_report, "runs", NULL, NULL);
    tn_digest   root;
    json_t     *facts = json_object();

    (void)metrics;
    if (n > MAX_RUNS) {
        json_decref(facts);
        return tn_fail(err, TN_LIMIT, "more than %d training runs in a report", MAX_RUNS);
    }
    tn_stage_many(r, &tn_stage_report, "runs", runs, names);
    if (tn_stage_root(r, &tn_stage_report, "model", &root)) {
        char *text = tn_digest_text(&root);
        if (text != NULL) json_object_set_new(facts, "base model", json_string(text));
        free(text);
    }
    tn_page_inputs in = { .measure = inputs[0],
                          .constitution = inputs[1],
                          .runs = runs,
                          .run_names = names,
                          .n_run = n,
                          .eval_before = tn_stage_path(r, &tn_stage_report, "eval_before"),
                          .eval_after = tn_stage_path(r, &tn_stage_report, "eval_after"),
                          .quantised = tn_stage_path(r, &tn_stage_report, "quantised"),
                          .facts = facts };
    tn_status      status = tn_align_page_run(config, &in, out, err);
    json_decref(facts);
    return status;
}

const tn_stage_kind tn_stage_report = {
    .name = "report",
    .version = 9,
    .line = "the page that tells what alignment changed",
    .options = tn_align_page_options,
    .config_bytes = sizeof(tn_align_page_config),
    .inputs = report_inputs,
    .output = "a directory with report.html and report.json",
    .run = report_run,
};
