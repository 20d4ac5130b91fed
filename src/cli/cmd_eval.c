/* cmd_eval.c - `tenet eval`: scores of a model on tasks, with errors, intervals and the root of everything
 * that was measured. */
#include "cli/key_file.h"
#include "cli/record.h"
#include "cli/with_model.h"

#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"
#include "provenance/provenance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval_config {
    tn_model_args a;
    char         *tasks, *task_dir, *data, *out, *chat, *system, *remote_model, *sign, *passphrase_file;
    int64_t       limit, n_shot, shot_seed, max_tokens;
    bool          one_turn, harmful;
} eval_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    TN_MODEL_OPTIONS(eval_config, a),
    { "tasks",       TN_OPT_LIST, offsetof(eval_config, tasks),    NULL, 0,  0,    "",     "names, or paths that end in .yaml", NULL },
    { "task_dir",    TN_OPT_STR,  offsetof(eval_config, task_dir), NULL, 0,  0,    "",     "where NAME.yaml lies; default: the tasks that come with tenet", NULL },
    { "data",        TN_OPT_STR,  offsetof(eval_config, data),     NULL, 0,  0,    "",     "folder or file of rows, or a set in the store; default: beside the task file", NULL },
    TN_EVAL_OPTIONS(eval_config),
    { "remote_model", TN_OPT_STR, offsetof(eval_config, remote_model), NULL, 0, 0, "",     "with an address as model: the name that the endpoint knows it by", NULL },
    { "out",         TN_OPT_STR,  offsetof(eval_config, out),      NULL, 0,  0,    "",     "folder for items.jsonl, report.json and report.html; a stopped run goes on", "o" },
    { "show_harmful", TN_OPT_BOOL, offsetof(eval_config, harmful), NULL, 0,  0,    "",     "report.html shows texts that it otherwise withholds", NULL },
    { "sign",        TN_OPT_STR,  offsetof(eval_config, sign),     NULL, 0,  0,    "",     "name of a key (`tenet key new`): the folder gets model.sig", NULL },
    { "passphrase_file", TN_OPT_STR, offsetof(eval_config, passphrase_file), NULL, 0, 0, "", "of that key; default: TENET_KEY_PASSPHRASE, else it is asked for", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

static void table_print(const json_t *report, const char *table)
{
    const char *task, *key;
    json_t     *scores, *v;

    json_object_foreach(json_object_get(report, table), task, scores)
        json_object_foreach(scores, key, v) {
            char    name[80];
            json_t *error;
            snprintf(name, sizeof name, "%s_stderr", key);
            if (!json_is_number(v) || (error = json_object_get(scores, name)) == NULL) continue;
            printf("%-24s %-28s %10.4f ", task, key, json_number_value(v));
            if (json_is_number(error)) printf("%10.4f", json_number_value(error));
            else printf("%10s", "-");
            printf(" %6lld\n", (long long)json_integer_value(json_object_get(scores, "n")));
        }
}

static void report_print(const json_t *report, const char *out)
{
    printf("%-24s %-28s %10s %10s %6s\n", "task", "metric", "value", "error", "rows");
    table_print(report, "tasks");
    table_print(report, "groups");
    printf("items %s\n", json_string_value(json_object_get(report, "items_root")));
    if (out != NULL) printf("report %s/report.html\n", out);
}

static bool is_address(const char *model)
{
    return model != NULL && (tn_starts_with(model, "http://") || tn_starts_with(model, "https://"));
}

static tn_status evaluate(tn_common *common, const eval_config *c, const char *const *names, size_t n,
                          tn_eval_options *o, json_t **report, tn_error *err)
{
    tn_model *m = NULL;

    if (is_address(c->a.model)) {
        o->model_name = c->remote_model;
        o->key = getenv("TENET_API_KEY") != NULL ? getenv("TENET_API_KEY") : getenv("OPENAI_API_KEY");
        return tn_eval_run_remote(report, c->a.model, names, n, o, err);
    }
    TN_TRY(tn_cli_model_open(&m, common, &c->a, true, err));
    tn_status s = tn_eval_run(report, m, names, n, o, err);
    tn_model_close(m);
    return s;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    eval_config    *c = config;
    json_t         *report = NULL;
    size_t          n = 0;
    char          **names = NULL, *dir = NULL, *rows = NULL;
    tn_eval_options o = { .data = c->data,
                          .out_dir = c->out,
                          .limit = c->limit,
                          .n_shot = c->n_shot,
                          .n_batch = c->a.n_batch,
                          .progress = !common->quiet,
                          .shot_seed = c->shot_seed,
                          .seed = common->seed,
                          .max_tokens = c->max_tokens,
                          .one_turn = c->one_turn,
                          .system = c->system };
    tn_direct      *d = NULL;
    tn_key         *key = NULL;
    tn_status       status = TN_OK;

    (void)n_arg;
    (void)args;
    if (c->tasks == NULL) return tn_fail(err, TN_USAGE, "eval: give --tasks NAME[,NAME]");
    if (c->sign != NULL && c->out == NULL)
        return tn_fail(err, TN_USAGE, "eval: --sign signs the folder of --out: give both");
    if (!tn_dtype_parse(c->a.kv_type, &o.kv_type))
        return tn_fail(err, TN_USAGE, "--kv-type %s: f32, bf16 or q8_0", c->a.kv_type);
    if ((names = tn_list_split(c->tasks, &n)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the names of tasks");
    if (n == 0) {
        status = tn_fail(err, TN_USAGE, "eval: --tasks names none: give --tasks NAME[,NAME]");
        goto out;
    }
    o.chat = strcmp(c->chat, "yes") == 0  ? TN_EVAL_CHAT_ON
             : strcmp(c->chat, "no") == 0 ? TN_EVAL_CHAT_OFF
                                          : TN_EVAL_CHAT_TASK;
    if (c->data != NULL && !tn_exists(c->data)) {
        TN_GOTO(tn_cli_model_path(common, c->data, &rows, err)); /* a set by its name in the store */
        o.data = rows;
    }
    /* not at hand: paths of tasks are still paths */
    if (c->task_dir == NULL) tn_cli_shipped(&dir, "tasks", tn_is_dir("tasks"), "--task-dir", NULL);
    o.task_dir = c->task_dir != NULL ? c->task_dir : dir;
    TN_GOTO(tn_cli_sign_key(&key, common, c->sign, c->passphrase_file, err));
    d = tn_direct_begin();
    TN_GOTO(evaluate(common, c, (const char *const *)names, n, &o, &report, err));
    if (c->out != NULL && c->harmful) TN_GOTO(tn_eval_page_write(c->out, true, err));
    TN_GOTO(tn_cli_sign(c->out, key, err));
    if (c->out != NULL) {
        tn_cli_record_made(common, d, "eval", "eval", options, config,
                           is_address(c->a.model) ? NULL : c->a.model,
                           (const char *const[]){ "task_dir", o.task_dir, "data", o.data, NULL }, c->out);
        d = NULL;
    }
    if (common->json) status = tn_cli_print_json(json_incref(report), err);
    else report_print(report, c->out);
out:
    free(names);
    tn_direct_drop(d);
    tn_key_free(key);
    free(dir);
    free(rows);
    json_decref(report);
    return status;
}

const tn_command tn_cmd_eval = {
    .name = "eval",
    .line = "scores on tasks: multiple choice, last words, perplexity, replies, refusals, bias",
    .usage = "tenet eval -m MODEL --tasks NAME[,NAME] [--task-dir DIR] [--data DIR or FILE] [--limit N] "
             "[--num-fewshot K] [--out DIR] --json",
    .more = "Tasks are YAML files (docs/eval.md), groups of them (mmlu_stem, suite_honesty), or one part of "
            "a task's rows\n"
            "(mmlu_anatomy, bbq_Age). Scores follow the public harness's rules, shots and chat formats "
            "included.\n"
            "MODEL may be the address of an OpenAI-compatible endpoint (http://host:port/v1); its key is "
            "read from TENET_API_KEY\n"
            "or OPENAI_API_KEY. With --out every row is logged, and a run that was stopped goes on.",
    .options = options,
    .config_bytes = sizeof(eval_config),
    .min_args = 0,
    .max_args = 0,
    .computes = true,
    .run = run,
};
