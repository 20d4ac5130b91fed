/* help.c - `tenet` in one screen and `tenet help COMMAND`, both from the tables (see help.h). */
#include "cli/help.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <stdlib.h>

/* The list as `tenet help` shows it: a title, or a command under the last title. */
static const struct {
    const char       *title;
    const tn_command *command;
} rows[] = {
#define X(name) { NULL, &tn_cmd_##name },
#define G(text) { text, NULL },
    TN_COMMAND_LIST(X, G)
#undef G
#undef X
};

tn_status tn_help_overview(void)
{
    size_t n = sizeof rows / sizeof rows[0];

    puts("tenet " TN_VERSION
         ": aligns a language model to a written constitution, with proof of how it came to be.");
    for (size_t i = 0; i < n; i++) {
        if (rows[i].command != NULL) printf("  %-13s %s\n", rows[i].command->name, rows[i].command->line);
        else if (i + 1 < n && rows[i + 1].command != NULL) printf("\n%s\n", rows[i].title);
    }
    puts(
        "\ntenet help COMMAND says more, help stages what recipes hold. Everywhere: --json for results as "
        "JSON, --threads N, --seed N.\n"
        "MODEL is a folder in Hugging Face form, a .gguf file, a release, a digest, or a name in the store.");
    return TN_OK;
}

tn_status tn_help_stages(const char *kind, tn_error *err)
{
    char *text = NULL;

    TN_TRY(tn_recipe_kinds_help(&text, kind, err));
    fputs(text, stdout);
    free(text);
    return TN_OK;
}

tn_status tn_help_command(const tn_command *c, const tn_option *common, tn_error *err)
{
    char     *own = c->options != NULL ? tn_options_help(c->options) : NULL;
    char     *shared = tn_options_help(common);
    tn_status status = TN_OK;

    if (shared == NULL || (c->options != NULL && own == NULL)) {
        status = tn_fail(err, TN_NOMEM, "no memory for the help of %s", c->name);
        goto out;
    }
    printf("tenet %s: %s\n\nusage: %s\n", c->name, c->line, c->usage);
    if (c->more != NULL) printf("\n%s\n", c->more);
    if (own != NULL && own[0] != '\0') printf("\noptions:\n%s", own);
    printf("\neverywhere:\n%s", shared);
out:
    free(own);
    free(shared);
    return status;
}
