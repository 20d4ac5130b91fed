/* cli.h - the commands: one file each (cmd_<name>.c), one row each in TN_COMMAND_LIST.
 *
 * main.c finds the row, fills the command's config and the common options from the flags, opens nothing, runs
 * it, prints the error if there is one and exits with its code. Only this room prints and exits. */
#ifndef TN_CLI_CLI_H
#define TN_CLI_CLI_H

#include "base/option.h"
#include "tensor/tensor.h"

/* What every command takes. */
typedef struct tn_common {
    int64_t           threads, seed;
    bool              json, quiet, verbose, timing;
    char             *store, *kernels, *profile, *hash_ops;
    tn_profile        profile_id;
    bool              seed_given;
    int               exit_code; /* not 0: that of the program, whatever the status says */
    char            **word;
    int               n_word; /* the command line behind the command's name */
    const tn_option **owner;  /* [n_word] the option whose flag or value it is; NULL: none */
} tn_common;

typedef struct tn_command {
    const char      *name;
    const char      *line;    /* one line, shown by `tenet help` */
    const char      *usage;   /* "tenet generate -m MODEL (-p TEXT | --file IN.jsonl) ..." */
    const char      *more;    /* paragraphs for `tenet help NAME`, or NULL */
    const tn_option *options; /* of this command */
    size_t           config_bytes;
    int              min_args, max_args; /* positional ones; max -1: any */
    tn_status (*run)(tn_common *common, void *config, int n_arg, const char **args, tn_error *err);
    bool             computes; /* runs models: --hash-ops and --timing mean something */
    const tn_option *keys;     /* of its config file, given by --set; NULL: none */
} tn_command;

/* In the order that `tenet help` shows. Each name gives `extern const tn_command tn_cmd_<name>;` */
#include "cli/commands.h"

#define X(name) extern const tn_command tn_cmd_##name;
#define G(title)
TN_COMMAND_LIST(X, G)
#undef G
#undef X

/* One compact line of JSON on standard output. Takes the reference of o (NULL: out of memory while it was
 * made). */
tn_status tn_cli_print_json(json_t *o, tn_error *err);
/* A file or folder that comes with the program, such as recipes/align.yaml; made: free. here: one of that
 * name in the current folder comes first. option: what names another one, for the message. NOTFOUND, *out
 * NULL. */
tn_status tn_cli_shipped(char **out, const char *name, bool here, const char *option, tn_error *err);
/* Turns MODEL (directory, .gguf, release, digest, name in the store) into a path. made: free. */
tn_status tn_cli_model_path(const tn_common *common, const char *text, char **path, tn_error *err);

#endif
