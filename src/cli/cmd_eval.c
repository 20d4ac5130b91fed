/* cmd_eval.c - `tenet eval`: scores of a model on tasks, with errors, intervals and the root of everything that was measured. */
#include "cli/with_model.h"

#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TASKS = 64 };

typedef struct eval_config { tn_model_args a; char *tasks, *task_dir, *data, *out; int64_t limit, n_shot; } eval_config;

static const tn_option options[] = {
    // clang-format off
    TN_MODEL_OPTIONS(eval_config, a),
    { "tasks",       TN_OPT_LIST, offsetof(eval_config, tasks),    NULL, 0,  0,    "",     "names, or paths that end in .yaml", NULL },
    { "task_dir",    TN_OPT_STR,  offsetof(eval_config, task_dir), NULL, 0,  0,    "",     "where NAME.yaml lies; default: the tasks that come with tenet", NULL },
    { "data",        TN_OPT_STR,  offsetof(eval_config, data),     NULL, 0,  0,    "",     "folder or file of rows; default: beside the task file", NULL },
    { "limit",       TN_OPT_INT,  offsetof(eval_config, limit),    "0",  0,  1e9,  "rows", "first rows of each task; 0: all", NULL },
    { "num_fewshot", TN_OPT_INT,  offsetof(eval_config, n_shot),   "-1", -1, 1000, "shots", "instead of what the task says", NULL },
    { "out",         TN_OPT_STR,  offsetof(eval_config, out),      NULL, 0,  0,    "",     "folder for items.jsonl and report.json; a stopped run goes on", "o" },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};

/* The tasks that come with the program: in this folder, beside the program's folder, or where it is installed. made. */
static char *shipped_tasks(void)
{
    static const char *const places[] = { "tasks", "../tasks", "../share/tenet/tasks" };
    char    self[4096], *path = tn_is_dir("tasks") ? tn_strdup("tasks") : NULL;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL) return path;
    *slash = '\0';
    for (size_t i = 0; path == NULL && i < sizeof places / sizeof *places; i++) {
        path = tn_path(self, places[i]);
        if (path == NULL || tn_is_dir(path)) break;
        free(path);
        path = NULL;
    }
    return path;
}

static void table_print(const json_t *report)
{
    const char *task, *key;
    json_t     *scores, *v;

    printf("%-24s %-18s %10s %10s %6s\n", "task", "metric", "value", "error", "rows");
    json_object_foreach(json_object_get(report, "tasks"), task, scores)
        json_object_foreach(scores, key, v) {
            char    name[80];
            json_t *error;
            snprintf(name, sizeof name, "%s_stderr", key);
            if (!json_is_number(v) || (error = json_object_get(scores, name)) == NULL) continue;
            printf("%-24s %-18s %10.4f ", task, key, json_number_value(v));
            if (json_is_number(error)) printf("%10.4f", json_number_value(error));
            else printf("%10s", "-");
            printf(" %6lld\n", (long long)json_integer_value(json_object_get(scores, "n")));
        }
    printf("items %s\n", json_string_value(json_object_get(report, "items_root")));
}

static size_t split_names(char *text, const char **names, size_t max)
{
    size_t n = 0;

    for (char *save = NULL, *p = strtok_r(text, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
        if (n < max) names[n] = p;
        n++;
    }
    return n;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    eval_config    *c = config;
    tn_model       *m = NULL;
    json_t         *report = NULL;
    const char     *names[MAX_TASKS];
    char           *dir = NULL;
    tn_eval_options o = { .data = c->data, .out_dir = c->out, .limit = c->limit, .n_shot = c->n_shot, .n_batch = c->a.n_batch, .progress = !common->quiet };
    tn_status       status = TN_OK;

    (void)n_arg;
    (void)args;
    if (c->tasks == NULL) return tn_fail(err, TN_USAGE, "eval: give --tasks NAME[,NAME]");
    size_t n = split_names(c->tasks, names, MAX_TASKS);
    if (n == 0 || n > MAX_TASKS) return tn_fail(err, TN_USAGE, "eval: --tasks takes 1 to %d names", MAX_TASKS);
    if (!tn_dtype_parse(c->a.kv_type, &o.kv_type)) return tn_fail(err, TN_USAGE, "--kv-type %s: f32, bf16 or q8_0", c->a.kv_type);
    dir = c->task_dir != NULL ? tn_strdup(c->task_dir) : shipped_tasks();
    o.task_dir = dir;
    TN_GOTO(tn_cli_model_open(&m, common, &c->a, true, err));
    TN_GOTO(tn_eval_run(&report, m, names, n, &o, err));
    if (common->json) status = tn_cli_print_json(json_incref(report), err);
    else table_print(report);
out:
    free(dir);
    json_decref(report);
    tn_model_close(m);
    return status;
}

const tn_command tn_cmd_eval = {
    .name = "eval",
    .line = "scores on tasks: multiple choice, last words, perplexity",
    .usage = "tenet eval -m MODEL --tasks NAME[,NAME] [--task-dir DIR] [--data DIR or FILE] [--limit N] [--num-fewshot K] [--out DIR] --json",
    .more = "Tasks are YAML files (docs/eval.md); hellaswag, arc_easy, arc_challenge, winogrande, boolq, lambada_openai, mmlu, piqa,\n"
            "truthfulqa_mc1, truthfulqa_mc2, wikitext and rolling_text come with tenet. Scores follow the public harness's rules.\n"
            "With --out every scored row is logged, and a run that was stopped goes on.",
    .options = options,
    .config_bytes = sizeof(eval_config),
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
