/* stage_eval.c - the stage kind eval: a model's scores on tasks, as an artifact. The task files and the rows
 * are inputs, so that a changed question or row is another stage. */
#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"
#include "recipe/stage.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval_config {
    char   *tasks, *if_there, *chat, *system;
    int64_t limit, n_shot, shot_seed, max_tokens, seed;
    bool    one_turn;
} eval_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "tasks",       TN_OPT_LIST, offsetof(eval_config, tasks),  NULL, 0,  0,    "",      "names of task files in task_dir, without .yaml", NULL },
    { "if_there",    TN_OPT_LIST, offsetof(eval_config, if_there), NULL, 0, 0,   "",      "further tasks, asked if their rows are found (public sets)", NULL },
    TN_EVAL_OPTIONS(eval_config),
    { "seed",        TN_OPT_INT,  offsetof(eval_config, seed),   "1",  0,  1e15, "",      "of replies that are sampled", NULL },
    { .key = NULL }
    // clang-format on
};
// clang-format on

static const tn_stage_port inputs_table[] = {
    { "model", false, false, "the model that is asked" },
    { "task_dir", false, false, "folder with the task files" },
    { "data", true, false, "folder or file of rows; absent, and what a folder lacks: beside the task files" },
    { NULL, false, false, NULL },
};

/* The scores as the run's metrics: "arc_easy.acc": 0.61 */
static void metrics_fill(json_t *metrics, const json_t *report)
{
    const char *task, *key;
    json_t     *scores, *v;

    json_object_foreach(json_object_get(report, "tasks"), task, scores)
        json_object_foreach(scores, key, v) {
            char *name = json_is_real(v) ? tn_strf("%s.%s", task, key) : NULL;
            if (name != NULL) json_object_set(metrics, name, v);
            free(name);
        }
}

static tn_status eval_check(const void *config, const bool *given, tn_error *err)
{
    const char *p = ((const eval_config *)config)->tasks, *name;
    size_t      n;

    (void)given;
    return tn_list_next(&p, &name, &n) ? TN_OK : tn_fail(err, TN_USAGE, "tasks: expected at least one name");
}

/* Logged in the work folder, so that a stopped stage goes on; copied when it is whole. */
static tn_status eval_run(tn_stage_run *r, const void *config, const char *const *inputs, const char *out,
                          json_t *metrics, tn_error *err)
{
    const eval_config *c = config;
    tn_model_options   mo = { .profile = r->profile, .weights = true, .pack = true };
    size_t             n = 0, n_more = 0;
    char             **names = tn_list_split(c->tasks, &n);
    char             **more = tn_list_split(c->if_there, &n_more);
    char              *log = tn_path(r->work, "eval");
    tn_model          *m = NULL;
    json_t            *report = NULL;
    tn_status          status = TN_OK;

    if (log == NULL || names == NULL || more == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the names of tasks");
        goto out;
    }
    TN_GOTO(tn_model_open(&m, inputs[0], &mo, err));
    TN_GOTO(tn_eval_run(&report, m, (const char *const *)names, n,
                        &(tn_eval_options){ .task_dir = inputs[1],
                                            .data = inputs[2],
                                            .if_there = (const char *const *)more,
                                            .n_if_there = n_more,
                                            .out_dir = log,
                                            .limit = c->limit,
                                            .n_shot = c->n_shot,
                                            .n_batch = 16,
                                            .kv_type = TN_F32,
                                            .progress = true,
                                            .shot_seed = c->shot_seed,
                                            .seed = c->seed,
                                            .max_tokens = c->max_tokens,
                                            .one_turn = c->one_turn,
                                            .system = c->system,
                                            .chat = strcmp(c->chat, "yes") == 0  ? TN_EVAL_CHAT_ON
                                                    : strcmp(c->chat, "no") == 0 ? TN_EVAL_CHAT_OFF
                                                                                 : TN_EVAL_CHAT_TASK },
                        err));
    TN_GOTO(tn_stage_keep(log, out,
                          (const char *const[]){ "items.jsonl", "report.json", "report.html", NULL }, err));
    metrics_fill(metrics, report);
out:
    json_decref(report);
    tn_model_close(m);
    free(names);
    free(more);
    free(log);
    return status;
}

const tn_stage_kind tn_stage_eval = {
    .name = "eval",
    .version = 6,
    .line = "a model's scores on tasks, every row logged",
    .options = options,
    .config_bytes = sizeof(eval_config),
    .inputs = inputs_table,
    .output = "a directory with report.json, report.html and items.jsonl",
    .check = eval_check,
    .run = eval_run,
};
