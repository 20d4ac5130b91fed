/* cmd_train.c - tenet train CONFIG.yaml: trains, or goes on; shows progress, rows of JSON, the estimate, the
 * samples. */
#include "cli/record.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "cli/supervise.h"
#include "cli/with_model.h"
#include "graph/graph.h"
#include "train/train.h"

/* What only a supervisor is told: words that its child's command line has not. */
typedef struct supervision {
    bool    on;
    char   *launch;
    int64_t ranks, restarts;
} supervision;

typedef struct train_flags {
    char       *set, *out;
    bool        estimate, show_batch, keys;
    supervision supervise;
} train_flags;

#define AT(field) offsetof(train_flags, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "set",        TN_OPT_MANY, AT(set),        NULL,  0, 0,    "", "key=value over the file's: --set steps=20 --set lr=1e-4", NULL },
    { "out",        TN_OPT_STR,  AT(out),        NULL,  0, 0,    "", "directory of the run (default: the config's name without .yaml, in runs/)", NULL },
    { "estimate",   TN_OPT_BOOL, AT(estimate),   NULL,  0, 0,    "", "memory, FLOPs and time; trains nothing", NULL },
    { "show_batch", TN_OPT_BOOL, AT(show_batch), NULL,  0, 0,    "", "print samples with the trained tokens marked; trains nothing", NULL },
    { "supervise",  TN_OPT_BOOL, AT(supervise.on), NULL,  0, 0,    "", "restart from the newest checkpoint after a crash, a kill or a hang", NULL },
    { "keys",       TN_OPT_BOOL, AT(keys),       NULL,  0, 0,    "", "every key of CONFIG.yaml (and of --set) with its default; trains nothing", NULL },
    { "ranks",      TN_OPT_INT,  AT(supervise.ranks), "1",   1, 65536, "ranks", "with --supervise: how many to launch", NULL },
    { "launch",     TN_OPT_STR,  AT(supervise.launch), "mpirun -n %d", 0, 0, "", "with --supervise and --ranks above 1: the launcher, %d in it is the number of ranks", NULL },
    { "restarts",   TN_OPT_INT,  AT(supervise.restarts), "5",   0, 1e6,  "", "with --supervise: how many restarts in a row without a new step", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

static bool is_supervision(const tn_option *o)
{
    const size_t first = offsetof(train_flags, supervise);
    for (const tn_option *mine = options; mine->key != NULL; mine++)
        if (mine == o) return o->offset >= first && o->offset < first + sizeof(supervision);
    return false;
}

/* Flags that would have no effect beside the others. */
static tn_status flags_check(const tn_common *common, const train_flags *f, tn_error *err)
{
    const supervision *s = &f->supervise;
    if (f->estimate + f->show_batch + f->keys + s->on > 1)
        return tn_fail(
            err, TN_USAGE,
            "--estimate, --show-batch, --keys and --supervise each do something else: give one of them");
    for (int i = 0; i < common->n_word && !s->on; i++)
        if (common->owner[i] != NULL && is_supervision(common->owner[i]) &&
            common->owner[i]->type != TN_OPT_BOOL)
            return tn_fail(err, TN_USAGE,
                           "--%s is for --supervise, which starts the ranks; without it: mpirun -n RANKS "
                           "tenet train ...",
                           common->owner[i]->key);
    if (s->on && getenv(TN_SUPERVISED) != NULL)
        return tn_fail(err, TN_USAGE,
                       "--supervise: a supervisor started this process already (" TN_SUPERVISED
                       " is set in its environment): leave --supervise out");
    if (s->on && s->ranks > 1 && strstr(s->launch, "%d") == NULL)
        return tn_fail(
            err, TN_USAGE,
            "--launch '%s' does not say where the number of ranks goes: write %%d there (mpirun -n %%d)",
            s->launch);
    return TN_OK;
}

static tn_status supervise(tn_common *common, const char *out, const supervision *s, tn_error *err)
{
    const char **words = calloc((size_t)common->n_word + 2, sizeof *words);
    int          n = 0;
    if (words == NULL) return tn_fail(err, TN_NOMEM, "no memory for the command line");
    words[n++] = "train";
    for (int i = 0; i < common->n_word; i++)
        if (common->owner[i] == NULL || !is_supervision(common->owner[i])) words[n++] = common->word[i];
    common->timing = false; /* the child shows its own, and writes the hashes */
    tn_status status = tn_graph_set_hash_file(NULL, err);
    if (status == TN_OK)
        status = tn_cli_supervise(words, out, s->launch, (int)s->ranks, (int)s->restarts, err);
    free(words);
    return status;
}

/* What a supervisor is told; 0: what everybody is told. A rank that is not sound may be sound in the next
 * start, or be left out of it: that is no error to end the job by. */
static int supervised_exit_code(tn_status status)
{
    int code = tn_status_exit_code(status);
    if (code == 1) return TN_SUPERVISED_ERROR;
    return code == 3 && status != TN_UNSOUND ? TN_SUPERVISED_WRONG : 0;
}

/* One --set: key=value, separated by commas. */
static tn_status set_apply(tn_train_config *c, const char *list, tn_error *err)
{
    const char *item, *before, *rest = list;
    size_t      n, m;
    while (tn_list_next_set(&rest, &item, &n)) {
        char     *key = tn_strndup(item, n), *eq = key != NULL ? strchr(key, '=') : NULL;
        tn_status status = TN_OK;
        if (eq != NULL) *eq = '\0';
        for (const char *p = list;
             eq != NULL && status == TN_OK && tn_list_next_set(&p, &before, &m) && before < item;)
            if (m > strlen(key) && strncmp(before, key, strlen(key)) == 0 && before[strlen(key)] == '=')
                status = tn_fail(
                    err, TN_USAGE,
                    "--set: %s is given twice in one --set: leave one out (a later --set may give it again)",
                    key);
        if (status == TN_OK)
            status = key == NULL  ? tn_fail(err, TN_NOMEM, "no memory for --set")
                     : eq == NULL ? tn_fail(err, TN_USAGE, "--set %s: expected key=value", key)
                                  : tn_option_set(c, tn_train_options, key, eq + 1, "--set", err);
        free(key);
        TN_TRY(status);
    }
    return TN_OK;
}

static tn_status sets_apply(tn_train_config *c, const char *lines, tn_error *err)
{
    tn_status status = TN_OK;
    while (lines != NULL && status == TN_OK) {
        size_t n = strcspn(lines, "\n");
        char  *text = tn_strndup(lines, n);
        status = text != NULL ? set_apply(c, text, err) : tn_fail(err, TN_NOMEM, "no memory for --set");
        free(text);
        lines = lines[n] == '\n' ? lines + n + 1 : NULL;
    }
    return status;
}

typedef struct view {
    bool   json, quiet, terminal;
    double shown;
} view;

static void time_text(char buf[32], double s)
{
    long t = (long)s;
    if (t >= 3600) snprintf(buf, 32, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
    else snprintf(buf, 32, "%ld:%02ld", t / 60, t % 60);
}

/* The row of metrics.jsonl, and the loss to the bit. */
static void step_json(const tn_train_step *s)
{
    uint32_t bits;
    memcpy(&bits, &s->loss, 4);
    json_t *o = tn_train_step_json(s);
    char   *text = o != NULL && json_object_set_new(o, "loss_bits", json_integer((json_int_t)bits)) == 0
                       ? tn_json_text(o)
                       : NULL;
    if (text != NULL) puts(text);
    fflush(stdout);
    free(text);
    json_decref(o);
}

static void on_step(void *arg, const tn_train_step *s)
{
    view  *v = arg;
    double now = tn_now();
    bool   last = s->step == s->steps;
    if (v->json) step_json(s);
    if (v->quiet || (!last && !s->has_valid && now - v->shown < (v->terminal ? 0.2 : 10))) return;
    v->shown = now;
    char left[32], valid[48] = "", pref[96] = "", kl[32] = "", peak[32] = "";
    time_text(left, s->seconds_left);
    if (s->has_valid) snprintf(valid, sizeof valid, "  valid %.4f", (double)s->valid);
    if (s->compared) snprintf(kl, sizeof kl, "  KL %.4f", (double)s->kl);
    if (s->preference)
        snprintf(pref, sizeof pref, "  margin %.3f  right %.0f %%%s", (double)s->margin,
                 100 * (double)s->accuracy, kl);
    if (s->peak_share > 0) snprintf(peak, sizeof peak, "  %.0f %% of peak", 100 * s->peak_share);
    bool   stays = !v->terminal || last || s->has_valid;
    tn_str line = { 0 };
    tn_str_addf(&line,
                "step %lld/%lld  loss %.4f (smooth %.4f)%s%s  lr %.3g  |g| %.3g  %.0f tok/s%s  %s left",
                (long long)s->step, (long long)s->steps, (double)s->loss, s->smooth, valid, pref,
                (double)s->lr, (double)s->grad_norm, s->tokens_per_s, peak, left);
    if (!stays) tn_line_fit(&line, 0);
    fprintf(stderr, "%s%s%s", v->terminal ? "\r\033[K" : "", line.p != NULL ? line.p : "", stays ? "\n" : "");
    tn_str_free(&line);
}

static void result_print(const tn_common *common, const tn_train_result *r, const char *run)
{
    char *root = tn_digest_text(&r->weights_root);
    if (common->json) {
        json_t *o = json_pack("{s:s?}", "weights_root", root);
        char   *text = tn_json_text(o);
        if (text != NULL) puts(text);
        free(text);
        json_decref(o);
    } else {
        if (r->finished && r->steps < r->planned)
            printf("stopped early after %lld of %lld steps (early_stop: no better validation), loss %.4f\n",
                   (long long)r->steps, (long long)r->planned, (double)r->loss);
        else
            printf("%s after %lld steps, loss %.4f\n", r->finished ? "finished" : "stopped",
                   (long long)r->steps, (double)r->loss);
        printf("weights  %s\n", root != NULL ? root : "?");
        if (r->weights != NULL) printf("written  %s\n", r->weights);
        if (r->best_step > 0 && r->best_step < r->steps)
            printf("best     validation %.4f at step %lld: tenet export %s/step-%lld DIR\n",
                   (double)r->best_valid, (long long)r->best_step, run, (long long)r->best_step);
        printf("report   %s/report.html\n", run);
        for (int i = 0; i < r->n_principle; i++)
            printf("  %-32s %6lld pairs  margin %8.3f  right %3.0f %%\n", r->principle[i].name,
                   (long long)r->principle[i].n, r->principle[i].margin, 100 * r->principle[i].accuracy);
    }
    free(root);
}

/* Where the same command would go on. */
static void stopped_say(const tn_train_result *r)
{
    if (r->newest == r->steps)
        tn_log(TN_LOG_INFO, "stopped after step %lld: the same command goes on from there",
               (long long)r->steps);
    else if (r->newest > 0)
        tn_log(TN_LOG_INFO,
               "stopped after step %lld: the same command goes on from the newest checkpoint, step %lld",
               (long long)r->steps, (long long)r->newest);
    else
        tn_log(TN_LOG_INFO,
               "stopped after step %lld: no checkpoint was kept (checkpoint_every), so the same command "
               "begins anew",
               (long long)r->steps);
}

static tn_status estimate_print(const tn_common *common, const tn_train_config *c, const tn_train_io *io,
                                tn_error *err)
{
    tn_train_estimate e;
    char              left[32];
    TN_TRY(tn_train_estimate_run(c, io, &e, err));
    if (e.rank != 0) return TN_OK;
    if (common->json) {
        json_t *o = json_pack(
            "{s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "parameters", (json_int_t)e.n_param,
            "trained", (json_int_t)e.n_trained, "steps", (json_int_t)e.steps, "tokens_per_step",
            (json_int_t)e.tokens_per_step, "flops_per_token", e.flops_per_token, "peak_flops", e.peak_flops,
            "seconds", e.seconds, "weights", (json_int_t)e.weights, "gradients", (json_int_t)e.gradients,
            "optimiser", (json_int_t)e.optimiser, "activations", (json_int_t)e.activations, "checkpoint_copy",
            (json_int_t)e.checkpoint_copy, "reading", (json_int_t)e.reading, "memory", (json_int_t)e.total);
        bool ok = o != NULL &&
                  json_object_set_new(o, "memory_at_least", json_integer((json_int_t)e.sure)) == 0 &&
                  json_object_set_new(o, "fits", json_boolean(e.sure_there <= e.available)) == 0 &&
                  (e.available == SIZE_MAX ||
                   json_object_set_new(o, "available", json_integer((json_int_t)e.available)) == 0);
        if (ok) return tn_cli_print_json(o, err);
        json_decref(o);
        return tn_fail(err, TN_NOMEM, "no memory for the estimate");
    }
    time_text(left, e.seconds);
    printf("%lld steps of %lld tokens: about %s at %.0f tok/s on this machine (%d threads, %.0f GFLOP/s "
           "measured)\n",
           (long long)e.steps, (long long)e.tokens_per_step, left,
           (double)e.steps * (double)e.tokens_per_step / e.seconds, tn_threads(), e.peak_flops * 1e-9);
    const char  *unit = e.total >= (1 << 30) ? "GiB" : "MiB"; /* of all parts, so that they can be added */
    const double u = e.total >= (1 << 30) ? 1.0 / (1 << 30) : 1.0 / (1 << 20);
    printf("memory %.2f %s: weights %.2f, gradients %.2f, optimiser %.2f, activations %.2f, checkpoint's "
           "copy %.2f; before, the largest text while it is read %.2f\n",
           (double)e.total * u, unit, (double)e.weights * u, (double)e.gradients * u, (double)e.optimiser * u,
           (double)e.activations * u, (double)e.checkpoint_copy * u, (double)e.reading * u);
    char ranks[64] = "";
    if (e.n_there > 1) snprintf(ranks, sizeof ranks, " for the %d ranks on it", e.n_there);
    if (e.sure_there > e.available)
        printf("does not fit: this machine has %.2f %s free%s; %s\n", (double)e.available * u, unit, ranks,
               e.advice);
    else if (e.total_there > e.available)
        printf("may not fit: this machine has %.2f %s free%s\n", (double)e.available * u, unit, ranks);
    bool small = e.flops_per_token < 1e9;
    printf("%lld parameters, %lld of them trained; %.2f %s a token\n", (long long)e.n_param,
           (long long)e.n_trained, e.flops_per_token * (small ? 1e-6 : 1e-9), small ? "MFLOP" : "GFLOP");
    return TN_OK;
}

/* Names of models become paths here: the rooms below know no store. */
static tn_status paths_resolve(const tn_common *common, const tn_train_config *c, char *made[3],
                               tn_train_io *io, tn_error *err)
{
    if (c->model != NULL) TN_TRY(tn_cli_model_path(common, c->model, &made[0], err));
    if (c->tokenizer != NULL && strcmp(c->tokenizer, "bytes") != 0)
        TN_TRY(tn_cli_model_path(common, c->tokenizer, &made[1], err));
    if (c->reference != NULL) TN_TRY(tn_cli_model_path(common, c->reference, &made[2], err));
    io->model = made[0];
    io->tokenizer = made[1];
    io->reference = made[2];
    return TN_OK;
}

/* A data file that is not below the current directory is looked for beside the config. One whose name has a
 * comma cannot be named. */
static tn_status data_resolve(char **list, const char *config, tn_error *err)
{
    const char *slash = strrchr(config, '/');
    const char *left = *list, *item;
    size_t      n;
    tn_str      s = { 0 };
    if (*list != NULL && strchr(*list, ',') != NULL && tn_exists(*list))
        return tn_fail(
            err, TN_USAGE,
            "%s: a comma parts the files of a list: give the file a name without one, or name its folder",
            *list);
    if (*list == NULL || slash == NULL) return TN_OK;
    while (tn_list_next(&left, &item, &n)) {
        char *name = tn_strndup(item, n),
             *beside = name != NULL ? tn_strf("%.*s/%s", (int)(slash - config), config, name) : NULL;
        bool use = name != NULL && beside != NULL && name[0] != '/' && !tn_exists(name) && tn_exists(beside);
        tn_str_addf(&s, "%s%s", s.len > 0 ? "," : "", use ? beside : name != NULL ? name : "");
        free(name);
        free(beside);
    }
    char *text = tn_str_take(&s);
    if (text == NULL) return tn_fail(err, TN_NOMEM, "no memory for the list of files");
    free(*list);
    *list = text;
    return TN_OK;
}

static char *default_out(const char *config)
{
    const char *base = strrchr(config, '/');
    base = base != NULL ? base + 1 : config;
    size_t n = strlen(base);
    if (n > 5 && strcmp(base + n - 5, ".yaml") == 0) n -= 5;
    return tn_strf("runs/%.*s", (int)n, base);
}

static tn_status keys_print(const tn_common *common, tn_error *err)
{
    for (const tn_option *o = tn_train_options; o->key != NULL; o++) {
        if (common->json) {
            TN_TRY(tn_cli_print_json(json_pack("{s:s, s:s, s:s?, s:s?}", "key", o->key, "help", o->help,
                                               "unit", o->unit, "default", o->dflt),
                                     err));
            continue;
        }
        printf("%-20s  %s", o->key, o->help);
        if (o->unit != NULL && o->unit[0] != '\0') printf(" [%s]", o->unit);
        if (o->dflt != NULL && o->dflt[0] != '\0') printf(" (%s)", o->dflt);
        putchar('\n');
    }
    return TN_OK;
}

/* With the root of everything that was read. That of the result is of the weights: what lies beside them
 * tells of speeds too. */
static void record(const tn_common *common, const tn_train_config *c, const tn_train_io *io, tn_direct *d)
{
    char *adapter = tn_path(io->out, "adapter"), *model = tn_path(io->out, "model"),
         *made = adapter != NULL && tn_exists(adapter) ? adapter : model;
    const char *const inputs[] = { "model",    io->model,   "data",        c->data,       "adapter",
                                   c->adapter, "reference", io->reference, "tokenizer",   io->tokenizer,
                                   "valid",    c->valid,    "checkpoint",  c->checkpoint, "like",
                                   c->like,    NULL };

    if (made != NULL && tn_exists(made))
        tn_cli_record(common, d,
                      &(tn_direct_what){ .command = "train",
                                         .kind = "train",
                                         .params = tn_options_json(c, tn_train_options),
                                         .profile = io->profile,
                                         .made = made,
                                         .inputs = inputs });
    else tn_direct_drop(d);
    free(adapter);
    free(model);
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    train_flags    *f = config;
    tn_train_config c;
    tn_train_result result = { 0 };
    tn_status       status = TN_OK;
    char           *made[3] = { 0 }, *out = NULL, *text = NULL;
    view            v = { common->json, common->quiet, isatty(2) != 0, 0 };
    tn_train_io io = { .profile = common->profile_id, .on_step = on_step, .arg = &v, .quiet = common->quiet };

    TN_TRY(flags_check(common, f, err));
    if (f->keys) return keys_print(common, err);
    if (n_arg == 0)
        return tn_fail(
            err, TN_USAGE,
            "which CONFIG.yaml? recipes/train-tiny.yaml is one; tenet train --keys lists what it may hold");
    TN_TRY(tn_train_config_load(&c, args[0], err));
    TN_GOTO(sets_apply(&c, f->set, err));
    if (common->seed_given) { /* in the range of the key: config.json is read by it again */
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)common->seed);
        TN_GOTO(tn_option_set(&c, tn_train_options, "seed", number, "--seed", err));
    }
    if ((out = f->out != NULL ? tn_strdup(f->out) : default_out(args[0])) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    io.out = out;
    TN_GOTO(data_resolve(&c.data, args[0], err));
    TN_GOTO(data_resolve(&c.valid, args[0], err));
    TN_GOTO(tn_train_config_check(&c, err));
    TN_GOTO(paths_resolve(common, &c, made, &io, err));
    if (f->supervise.on) {
        TN_GOTO(supervise(common, out, &f->supervise, err));
    } else if (f->estimate) {
        TN_GOTO(estimate_print(common, &c, &io, err));
    } else if (f->show_batch) {
        TN_GOTO(tn_train_show_batch(&c, &io, c.batch, common->json, &text, err));
        fputs(text, stdout);
    } else {
        tn_direct *d = tn_direct_begin();
        status = tn_train_run(&c, &io, &result, err); /* a rank that fails alone does not come back from it */
        if (getenv(TN_SUPERVISED) != NULL) common->exit_code = supervised_exit_code(status);
        if (status == TN_OK && result.rank == 0) record(common, &c, &io, d);
        else tn_direct_drop(d);
        if (result.rank == 0 && result.steps > 0 && (status == TN_INTERRUPTED || status == TN_TERMINATED))
            stopped_say(&result);
        if (result.rank == 0 && (status == TN_OK || result.steps > 0)) result_print(common, &result, out);
    }
out:
    tn_train_result_free(&result);
    tn_train_config_free(&c);
    for (int i = 0; i < 3; i++) free(made[i]);
    free(text);
    free(out);
    return status;
}

const tn_command tn_cmd_train = {
    .name = "train",
    .line = "train a model from a config: pre-train, fine-tune, LoRA, preferences",
    .usage = "tenet train CONFIG.yaml [--set KEY=VALUE]... [--out DIR] [--estimate | --show-batch | "
             "--supervise]\n       tenet train --keys",
    .more = "The same --out again goes on from its newest checkpoint; a finished run only reports. Ctrl-C, "
            "SIGTERM and a closed\n"
            "terminal (SIGHUP) make it write a checkpoint and stop; SIGUSR1: write one and go on. Under "
            "mpirun or srun the ranks\n"
            "share the work: same bits. tenet train --keys lists what the config may hold.\n"
            "TENET_MEMORY=8G in the environment: as if this machine had so much memory, no more and no less.",
    .options = options,
    .keys = tn_train_options,
    .config_bytes = sizeof(train_flags),
    .min_args = 0,
    .max_args = 1,
    .computes = true,
    .run = run,
};
