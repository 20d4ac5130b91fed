/* cmd_graph.c - `tenet graph RECIPE`: the stages as a picture. */
#include "cli/cli.h"
#include "recipe/recipe.h"

#include "base/file.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct graph_config {
    char *format, *out;
} graph_config;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "format", TN_OPT_CHOICE, offsetof(graph_config, format), "auto", 0, 0, "auto|svg|dot", "an SVG picture, or text for Graphviz; auto: dot for a file that ends in .dot or .gv", NULL },
    { "out",    TN_OPT_STR,    offsetof(graph_config, out),    NULL,  0, 0, "",        "file to write (standard output)", "o" },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const graph_config *c = config;
    tn_recipe          *r = NULL;
    char               *text = NULL;
    tn_status           status;

    (void)n_arg;
    TN_TRY(tn_recipe_load(&r, args[0], NULL, err));
    bool dot = strcmp(c->format, "dot") == 0 ||
               (strcmp(c->format, "auto") == 0 && c->out != NULL &&
                (tn_ends_with(c->out, ".dot") || tn_ends_with(c->out, ".gv")));
    status = dot ? tn_recipe_dot(r, &text, err) : tn_recipe_svg(r, &text, err);
    if (status == TN_OK && c->out != NULL) {
        status = tn_file_write_all(c->out, text, strlen(text), err);
    } else if (status == TN_OK && common->json) {
        status = tn_cli_print_json(json_pack("{s:s,s:s}", "format", dot ? "dot" : "svg", "text", text), err);
    } else if (status == TN_OK) {
        fputs(text, stdout);
    }
    free(text);
    tn_recipe_free(r);
    return status;
}

const tn_command tn_cmd_graph = {
    .name = "graph",
    .line = "draw a recipe: SVG, or DOT for Graphviz",
    .usage = "tenet graph RECIPE.yaml [--format svg|dot] [-o FILE]",
    .options = options,
    .config_bytes = sizeof(graph_config),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
