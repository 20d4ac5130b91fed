/* print_json.c - what --json prints. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

tn_status tn_cli_print_json(json_t *o, tn_error *err)
{
    char *text = o == NULL ? NULL : tn_json_text(o);

    json_decref(o);
    if (text == NULL) return tn_fail(err, TN_NOMEM, "no memory for the result");
    puts(text);
    free(text);
    return TN_OK;
}
