/* main.c - the program: finds the command, fills its options, runs it, prints its error, exits with its code.
 *
 *   argv ── command row ── options (own, then common) ── threads, kernels, profile, log level ── run ── exit code */
#include "cli/cli.h"
#include "cli/help.h"

#include "base/cpu.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/str.h"
#include "base/thread.h"
#include "dist/dist.h"
#include "graph/graph.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const tn_command *const commands[] = {
#define X(name) &tn_cmd_##name,
#define G(title)
    TN_COMMAND_LIST(X, G)
#undef G
#undef X
        NULL,
};

#define AT(field) offsetof(tn_common, field)
// clang-format off
static const tn_option common_options[] = {
    // clang-format off
    { "threads",  TN_OPT_INT,    AT(threads),  NULL,     0, 1024, "",  "threads; 0: every CPU this process may use", NULL },
    { "seed",     TN_OPT_INT,    AT(seed),     NULL,     0, 0, "",     "number that every random choice starts from", NULL },
    { "json",     TN_OPT_BOOL,   AT(json),     NULL,     0, 0, "",     "results as JSON on standard output", NULL },
    { "quiet",    TN_OPT_BOOL,   AT(quiet),    NULL,     0, 0, "",     "warnings and errors only", "q" },
    { "verbose",  TN_OPT_BOOL,   AT(verbose),  NULL,     0, 0, "",     "more messages, and where an error arose", "v" },
    { "store",    TN_OPT_STR,    AT(store),    NULL,     0, 0, "",     "folder of the store ($TENET_STORE, else ~/.local/share/tenet)", NULL },
    { "kernels",  TN_OPT_CHOICE, AT(kernels),  "auto",   0, 0, "ref|avx2|avx512|auto", "instruction set of the kernels; never changes a result", NULL },
    { "profile",  TN_OPT_CHOICE, AT(profile),  "strict", 0, 0, "strict|strict-bf16|q8act", "arithmetic: what a result is, to the bit", NULL },
    { "hash_ops", TN_OPT_STR,    AT(hash_ops), NULL,     0, 0, "",     "write a hash of every operation's output to this file, where a model runs", NULL },
    { "timing",   TN_OPT_BOOL,   AT(timing),   NULL,     0, 0, "",     "time, GFLOP/s and share of every operation, at the end, where a model runs", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

static const tn_option no_options[] = { { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL } };

static const tn_command *find_command(const char *name)
{
    for (const tn_command *const *c = commands; *c != NULL; c++)
        if (strcmp((*c)->name, name) == 0) return *c;
    return NULL;
}

static tn_status unknown_command(const char *name, tn_error *err)
{
    const char *names[sizeof commands / sizeof commands[0] + 1], *near;
    size_t      n = 0;

    for (const tn_command *const *c = commands; *c != NULL; c++) names[n++] = (*c)->name;
    names[n++] = "help";
    names[n] = NULL;
    near = tn_nearest(name, names);
    if (near != NULL)
        return tn_fail(err, TN_USAGE, "there is no command '%s'; did you mean '%s'?  (tenet help lists them)",
                       name, near);
    return tn_fail(err, TN_USAGE, "there is no command '%s'  (tenet help lists them)", name);
}

/* What the common options say about this process. */
static tn_status apply_common(tn_common *common, tn_error *err)
{
    common->seed_given = common->seed != INT64_MIN;
    if (!common->seed_given) common->seed = 0;
    tn_log_set_level(common->quiet ? TN_LOG_WARN : common->verbose ? TN_LOG_DEBUG : TN_LOG_INFO);
    if (!tn_profile_parse(common->profile, &common->profile_id))
        return tn_fail(err, TN_USAGE, "--profile: '%s' is no profile of this build", common->profile);
    TN_TRY(tn_isa_set(common->kernels, err));
    TN_TRY(tn_memory_check(err));
    if (common->threads == 0) common->threads = tn_threads_default();
    return tn_threads_set((int)common->threads, err);
}

/* What the command's --out says; NULL: nothing, or it has none. */
static const char *out_of(const tn_command *c, const void *config)
{
    for (const tn_option *o = c->options; o != NULL && o->key != NULL; o++)
        if (o->type == TN_OPT_STR && strcmp(o->key, "out") == 0)
            return *(char *const *)(const void *)((const char *)config + o->offset);
    return NULL;
}

/* Options that look at operations are refused where none is run: they would do nothing, and say nothing. */
static tn_status needs_model(const tn_command *c, const char *option, const char *verb, tn_error *err)
{
    if (c->computes) return TN_OK;
    return tn_fail(err, TN_USAGE, "%s: tenet %s runs no model, so there are no operations to %s", option,
                   c->name, verb);
}

/* --hash-ops FILE: rank 0 writes FILE, rank N of a launcher FILE.rank-N. */
static tn_status hashes_begin(const tn_command *c, const tn_common *common, const void *config, tn_error *err)
{
    int64_t     rank = tn_dist_launched_rank();
    const char *out = out_of(c, config);

    if (common->hash_ops == NULL) return TN_OK;
    if (out != NULL && strcmp(out, common->hash_ops) == 0)
        return tn_fail(err, TN_USAGE, "--hash-ops and --out both name %s: give each its own", out);
    TN_TRY(needs_model(c, "--hash-ops", "hash", err));
    if (rank == 0) return tn_graph_set_hash_file(common->hash_ops, err);
    char *path = tn_strf("%s.rank-%lld", common->hash_ops, (long long)rank);
    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for the name of the file of --hash-ops");
    tn_status status = tn_graph_set_hash_file(path, err);
    free(path);
    return status;
}

/* The command's status, unless only the file failed. */
static tn_status hashes_end(const tn_common *common, tn_status status, tn_error *err)
{
    tn_error why = { 0 };

    if (tn_graph_hash_lines() == 0 && status == TN_OK)
        tn_log(TN_LOG_WARN, "--hash-ops: no operation was run, so %s was not written", common->hash_ops);
    tn_status closed = tn_graph_set_hash_file(NULL, &why);
    if (status != TN_OK || closed == TN_OK) return status;
    *err = why;
    return closed;
}

/* --timing: one table of whatever the command ran, also of one that failed or was interrupted. */
static void timing_show(const tn_common *common, tn_status status)
{
    char *text = common->timing ? tn_graph_timing_text() : NULL;

    if (text != NULL) fputs(text, stderr);
    else if (common->timing && status == TN_OK)
        tn_log(TN_LOG_WARN, "--timing: no operation was run, so there is nothing to show");
    free(text);
}

/* Is one of the words --help? The value of an option is none: `-p --help` asks the model. */
static bool asks_for_help(const tn_command *c, int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
        int words = tn_option_words(c->options != NULL ? c->options : no_options, argv[i]);
        if (words == 0) words = tn_option_words(common_options, argv[i]);
        if (words == 2) i++;
    }
    return false;
}

static tn_status check_arguments(const tn_command *c, int n_arg, const char **args, tn_error *err)
{
    if (n_arg < c->min_args)
        return tn_fail(err, TN_USAGE, "%s: %d argument%s needed, %d given\nusage: %s", c->name, c->min_args,
                       c->min_args == 1 ? " is" : "s are", n_arg, c->usage);
    if (c->max_args >= 0 && n_arg > c->max_args)
        return tn_fail(err, TN_USAGE, "%s: one word too many: '%s'\nusage: %s", c->name, args[c->max_args],
                       c->usage);
    return TN_OK;
}

/* Is the unknown option of a message a key of the command's config file (--weight-decay is weight_decay)?
 * NULL: no. */
static const char *key_of(const tn_option *keys, const char *message)
{
    static const char before[] = "unknown option '";
    const char       *word = strstr(message, before);

    for (const tn_option *o = keys; word != NULL && o != NULL && o->key != NULL; o++) {
        const char *w = word + sizeof before - 1;
        size_t      n = strlen(o->key), k = 0;
        while (k < n && (w[k] == o->key[k] || (w[k] == '-' && o->key[k] == '_'))) k++;
        if (k == n && w[n] == '\'') return o->key;
    }
    return NULL;
}

static tn_status run_command(const tn_command *c, int argc, char **argv, tn_common *common, tn_error *err)
{
    const tn_option        *own = c->options != NULL ? c->options : no_options;
    void                   *config = calloc(1, c->config_bytes + 1);
    const char            **args = calloc((size_t)argc + 1, sizeof *args);
    const tn_option       **owner = calloc((size_t)argc + 1, sizeof *owner);
    const tn_option_set_ref sets[] = { { own, config }, { common_options, common }, { NULL, NULL } };
    tn_status               status = TN_OK;
    int                     n_arg = 0;

    if (config == NULL || args == NULL || owner == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the options of %s", c->name);
        goto out;
    }
    TN_GOTO(tn_options_default(config, own, err));
    TN_GOTO(tn_options_default(common, common_options, err));
    common->seed = INT64_MIN;
    common->word = argv;
    common->n_word = argc;
    common->owner = owner;
    if ((status = tn_options_argv(sets, argc, argv, args, &n_arg, owner, err)) != TN_OK) {
        const char *key = key_of(c->keys, err->msg);
        size_t      n = strlen(err->msg);
        if (status == TN_USAGE && key != NULL)
            snprintf(err->msg + n, sizeof err->msg - n,
                     "\n(%s is a key of the config: --set %s=VALUE, or write it there)", key, key);
        else if (status == TN_USAGE)
            snprintf(err->msg + n, sizeof err->msg - n, "\n(tenet help %s lists the options)", c->name);
        goto out;
    }
    TN_GOTO(check_arguments(c, n_arg, args, err));
    TN_GOTO(apply_common(common, err));
    if (common->timing) TN_GOTO(needs_model(c, "--timing", "time", err));
    TN_GOTO(hashes_begin(c, common, config, err));
    tn_graph_set_timing(common->timing);
    status = hashes_end(common, c->run(common, config, n_arg, args, err), err);
    timing_show(common, status);
out:
    if (config != NULL) tn_options_free(config, own);
    free(config);
    free(args);
    free(owner);
    return status;
}

/* `tenet --json inspect M` is `tenet inspect --json M`: common options may stand before the command too. */
static void command_first(int argc, char **argv)
{
    char *command;
    int   i = 1, words;

    while (i < argc && (words = tn_option_words(common_options, argv[i])) > 0) i += words;
    if (i == 1 || i >= argc) return;
    command = argv[i];
    memmove(argv + 2, argv + 1, (size_t)(i - 1) * sizeof *argv);
    argv[1] = command;
}

static tn_status dispatch(int argc, char **argv, tn_common *common, tn_error *err)
{
    const tn_command *c;
    const char       *word;

    command_first(argc, argv);
    word = argc > 1 ? argv[1] : "help";
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("tenet %s\n", TN_VERSION);
        return TN_OK;
    }
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        if (argc <= 2 || strcmp(argv[2], "help") == 0) return tn_help_overview();
        if (strcmp(argv[2], "stages") == 0) return tn_help_stages(argc > 3 ? argv[3] : NULL, err);
        if ((c = find_command(argv[2])) == NULL) return unknown_command(argv[2], err);
        return tn_help_command(c, common_options, err);
    }
    if ((c = find_command(word)) == NULL) return unknown_command(word, err);
    if (asks_for_help(c, argc - 2, argv + 2)) return tn_help_command(c, common_options, err);
    return run_command(c, argc - 2, argv + 2, common, err);
}

/* An earlier line may have failed, and errno is long gone: a pipe that nobody reads says so itself. */
static bool reader_gone(void)
{
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };

    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

/* Where standard input, output or error is closed, the next file would get its number, and messages would be
 * written into it. In its place comes one that fails like a closed one: nothing to read from, nothing to
 * write to. */
static void standard_files_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            _exit(1);
}

int main(int argc, char **argv)
{
    tn_common common = { 0 };
    tn_error  err = { 0 };
    tn_status status;

    standard_files_open();
    tn_signals_install();
    status = dispatch(argc, argv, &common, &err);
    bool now = fflush(stdout) != 0;
    if ((now || ferror(stdout)) && status == TN_OK) {
        status = tn_fail(&err, TN_IO, "standard output: cannot write the whole result%s%s",
                         now ? ": " : "; is the disk full?", now ? strerror(errno) : "");
        if (reader_gone()) err.msg[0] = '\0'; /* `tenet log | head`: the reader has seen enough */
    }
    if (status != TN_OK && err.msg[0] != '\0') {
        fprintf(stderr, "%s\n", err.msg);
        if (common.verbose && err.file != NULL)
            fprintf(stderr, "(%s, reported at %s:%d)\n", tn_status_text(status), err.file, err.line);
    }
    tn_options_free(&common, common_options);
    return common.exit_code != 0 ? common.exit_code : tn_status_exit_code(status);
}
