/* cmd_gate.c - `tenet gate GATES.yaml REPORT`: exit 0 if every bound is shown to hold, 3 if one is not. */
#include "cli/with_model.h"

#include "eval/eval.h"

#include <stdio.h>
#include <stddef.h>

typedef struct gate_config {
    char *base, *key;
} gate_config;

// clang-format off
static const tn_option options[] = {
    { "base", TN_OPT_STR, offsetof(gate_config, base), NULL, 0, 0, "", "report of the model that this one came from, for gates that compare", NULL },
    { "key",  TN_OPT_STR, offsetof(gate_config, key),  NULL, 0, 0, "", "public key (PEM): the reports must be signed by it, alone (--sign) or within a release", NULL },
    { .key = NULL },
};
// clang-format on

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const gate_config *c = config;
    json_t            *verdict = NULL, *g;
    bool               passed = false;
    tn_key            *key = NULL;
    size_t             i;
    tn_status          status = TN_OK;

    (void)n_arg;
    if (c->key != NULL) TN_GOTO(tn_key_load_public(&key, c->key, err));
    TN_GOTO(tn_eval_gate(&verdict, &passed, args[0], args[1], c->base, key, common->seed, err));
    if (common->json) TN_GOTO(tn_cli_print_json(json_incref(verdict), err));
    json_array_foreach(json_object_get(verdict, "gates"), i, g)
        if (!common->json)
            printf("%-6s %s %s: %s\n", json_is_true(json_object_get(g, "passed")) ? "holds" : "FAILS",
                   json_string_value(json_object_get(g, "task")),
                   json_string_value(json_object_get(g, "metric")),
                   json_string_value(json_object_get(g, "reason")));
    if (!passed) status = tn_fail(err, TN_VERIFY, "%s does not pass the gates of %s", args[1], args[0]);
out:
    tn_key_free(key);
    json_decref(verdict);
    return status;
}

const tn_command tn_cmd_gate = {
    .name = "gate",
    .line = "does a report keep the bounds for a release? fails closed",
    .usage = "tenet gate GATES.yaml REPORT [--base REPORT] [--key PUB.pem] [--json]",
    .more = "Exit code 0: every bound is shown to hold. 3: one is not, something is missing, or the report "
            "is not\nwhat was made: its hash, its log or, with --key, its signature does not hold.",
    .options = options,
    .config_bytes = sizeof(gate_config),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
