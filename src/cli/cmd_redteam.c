/* cmd_redteam.c - `tenet redteam`: attacks on a model or an endpoint, each with harmless twins; rates,
 * verdicts, a page. */
#include "cli/key_file.h"
#include "cli/record.h"
#include "cli/with_model.h"

#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct redteam_config {
    tn_model_args a;
    char         *prompts, *twins, *principles, *labels, *attacks, *out, *attacker, *judge, *endpoint,
        *endpoint_model, *attacker_endpoint, *attacker_model;
    char   *judge_endpoint, *judge_model, *sign, *passphrase_file;
    int64_t limit, tries, budget, max_tokens;
    double  temperature, max_asr;
    bool    list, classify, graders, show_texts;
} redteam_config;

#define AT(f) offsetof(redteam_config, f)

// clang-format off
static const tn_option options[] = {
    // clang-format off
    TN_MODEL_OPTIONS(redteam_config, a),
    { "prompts",           TN_OPT_STR,  AT(prompts),           NULL,   0, 0,     "",         "requests that should be declined: .csv, .jsonl, or .txt with one a line", NULL },
    TN_REDTEAM_OPTIONS(redteam_config, "n"),
    { "twins",             TN_OPT_STR,  AT(twins),             NULL,   0, 0,     "",         "harmless questions with known answers; default: those that come with tenet; none", NULL },
    { "principles",        TN_OPT_STR,  AT(principles),        NULL,   0, 0,     "",         "YAML map from category to principle; default: the one that comes with tenet", NULL },
    { "labels",            TN_OPT_STR,  AT(labels),            NULL,   0, 0,     "",         "replies labelled by people, to measure the graders on", NULL },
    { "graders",           TN_OPT_BOOL, AT(graders),           NULL,   0, 0,     "",         "measure the graders on --labels, attack nobody", NULL },
    { "judge",             TN_OPT_STR,  AT(judge),             NULL,   0, 0,     "",         "model that scores replies by a rubric", NULL },
    { "attacker",          TN_OPT_STR,  AT(attacker),          NULL,   0, 0,     "",         "model that rewrites requests (pair, tap, crescendo)", NULL },
    { "endpoint",          TN_OPT_STR,  AT(endpoint),          NULL,   0, 0,     "",         "attack this OpenAI-compatible address instead of -m (key: TENET_API_KEY)", NULL },
    { "endpoint_model",    TN_OPT_STR,  AT(endpoint_model),    NULL,   0, 0,     "",         "its model's name", NULL },
    { "attacker_endpoint", TN_OPT_STR,  AT(attacker_endpoint), NULL,   0, 0,     "",         "address of the attacker", NULL },
    { "attacker_model",    TN_OPT_STR,  AT(attacker_model),    NULL,   0, 0,     "",         "its model's name", NULL },
    { "judge_endpoint",    TN_OPT_STR,  AT(judge_endpoint),    NULL,   0, 0,     "",         "address of the judge", NULL },
    { "judge_model",       TN_OPT_STR,  AT(judge_model),       NULL,   0, 0,     "",         "its model's name", NULL },
    { "out",               TN_OPT_STR,  AT(out),               NULL,   0, 0,     "",         "folder for items.jsonl, texts.jsonl, report.json, report.html; a stopped run goes on", "o" },
    { "show_texts",        TN_OPT_BOOL, AT(show_texts),        NULL,   0, 0,     "",         "put what got through into report.html, behind a click", NULL },
    { "sign",              TN_OPT_STR,  AT(sign),              NULL,   0, 0,     "",         "name of a key (`tenet key new`): the folder gets model.sig", NULL },
    { "passphrase_file",   TN_OPT_STR,  AT(passphrase_file),   NULL,   0, 0,     "",         "of that key; default: TENET_KEY_PASSPHRASE, else it is asked for", NULL },
    { "list",              TN_OPT_BOOL, AT(list),              NULL,   0, 0,     "",         "show all attacks", NULL },
    { .key = NULL }
    // clang-format on
};
// clang-format on

/* What the user names, else what comes with the program; NULL where that is not at hand. made: free. */
static char *named_or_shipped(const char *path, const char *name)
{
    char *out = NULL;

    if (path != NULL) return tn_strdup(path);
    return tn_cli_shipped(&out, name, true, "", NULL) == TN_OK ? out : NULL;
}

static tn_status list_print(bool json, tn_error *err)
{
    json_t *list = tn_redteam_attacks(), *a;
    size_t  i;

    json_array_foreach(list, i, a) {
        long long hi = (long long)json_integer_value(json_object_get(a, "most"));
        char      n[48] = "";
        if (hi > 0)
            snprintf(n, sizeof n, " [n: %lld, %lld to %lld]",
                     (long long)json_integer_value(json_object_get(a, "default")),
                     (long long)json_integer_value(json_object_get(a, "least")), hi);
        if (!json)
            printf("%-13s %-10s %s%s\n", json_string_value(json_object_get(a, "name")),
                   json_string_value(json_object_get(a, "family")),
                   json_string_value(json_object_get(a, "does")), n);
    }
    if (json) return tn_cli_print_json(list, err);
    json_decref(list);
    return TN_OK;
}

static void rate(const json_t *o, const char *name, bool interval)
{
    char          key[64];
    const json_t *v = json_object_get(o, name), *w;

    snprintf(key, sizeof key, "%s_interval", name);
    w = json_object_get(o, key);
    if (!json_is_number(v)) printf(interval ? "%18s" : "%7s", "-");
    else if (!interval || json_array_size(w) != 2) printf("%6.1f%%", 100 * json_number_value(v));
    else
        printf("%6.1f%% %4.1f..%5.1f", 100 * json_number_value(v),
               100 * json_number_value(json_array_get(w, 0)), 100 * json_number_value(json_array_get(w, 1)));
}

static void table_print(const json_t *report)
{
    const char   *name;
    json_t       *a;
    const json_t *graders = json_object_get(report, "graders"),
                 *here = json_object_get(graders, "refusal_here");
    const char   *decides = json_string_value(json_object_get(graders, "decides"));
    const json_t *g = here != NULL && strcmp(decides, "refusal") == 0 ? here
                                                                      : json_object_get(graders, decides);

    printf("%-22s %-12s %18s %18s %7s %7s %7s\n", "attack", "verdict", "broken (95 %)", "corrected",
           "refused", "t.read", "t.ref.");
    json_object_foreach(json_object_get(report, "attacks"), name, a) {
        printf("%-22s %-12s ", name, json_string_value(json_object_get(a, "verdict")));
        rate(a, "asr", true);
        printf(" ");
        rate(a, "answered_corrected", true);
        rate(a, "refused", false);
        rate(a, "twins_read", false);
        rate(a, "twins_refused", false);
        printf("\n");
    }
    const json_t *all = json_object_get(report, "overall");
    printf("any attack             %12s ", "");
    rate(all, "asr", true);
    printf("   of %lld requests\n", (long long)json_integer_value(json_object_get(all, "n")));
    printf("grader: %s", decides);
    if (json_is_object(g)) {
        printf(", sensitivity ");
        rate(g, "sensitivity", true);
        printf(", specificity ");
        rate(g, "specificity", true);
    }
    const char *why = json_string_value(json_object_get(graders, "judge_distrusted_because"));
    printf("%s%s\nitems %s\n", why != NULL ? "\nthe judge is not to be trusted: " : "",
           why != NULL ? why : "", json_string_value(json_object_get(report, "items_root")));
}

/* Each grader against people's labels; then the rate of answers that it finds in each half of the prompts, as
 * it says it, corrected by its errors on the other half, and as people say it. */
static void graders_print(const json_t *report)
{
    static const struct {
        const char *name, *label;
    } rows[] = {
        { "refusal", "refusal, unseen prompts" },
        { "refusal_here", "refusal, these labels" },
        { "classifier", "classifier, five folds" },
        { "judge", "judge" },
    };
    const json_t *graders = json_object_get(report, "graders");

    printf("%-24s %6s %18s %18s %18s %6s\n", "grader", "labels", "sensitivity", "specificity", "balanced",
           "kappa");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const json_t *g = json_object_get(graders, rows[i].name);
        if (g == NULL) continue;
        printf("%-24s %6lld ", rows[i].label, (long long)json_integer_value(json_object_get(g, "n")));
        rate(g, "sensitivity", true);
        printf(" ");
        rate(g, "specificity", true);
        printf(" ");
        rate(g, "balanced_accuracy", true);
        printf(" %6.2f\n", json_number_value(json_object_get(g, "kappa")));
    }
    const json_t *judge = json_object_get(graders, "judge");
    if (judge != NULL)
        printf("the judge: %.0f %% of its verdicts turn with the order of the options, %.0f %% are none\n",
               100 * json_number_value(json_object_get(judge, "flips")),
               100 * json_number_value(json_object_get(judge, "without_verdict")));
    printf("\n%-24s %6s %8s %8s %18s\n", "answered", "labels", "people", "raw", "corrected");
    for (size_t i = 1; i < sizeof rows / sizeof *rows; i++) {
        json_t *r;
        size_t  half;
        json_array_foreach(json_object_get(json_object_get(graders, rows[i].name), "rates"), half, r) {
            printf("%-15s half %zu   %6.0f ", rows[i].name, half + 1,
                   json_number_value(json_object_get(r, "n")));
            rate(r, "answered", false);
            printf("  ");
            rate(r, "raw", false);
            printf("  ");
            rate(r, "corrected", true);
            printf("\n");
        }
    }
}

/* NULL text: none. */
static tn_status other_open(tn_model **out, const tn_common *common, const tn_model_args *like,
                            const char *text, tn_error *err)
{
    tn_model_args a = *like;

    *out = NULL;
    if (text == NULL) return TN_OK;
    a.model = (char *)(uintptr_t)text;
    a.chat_format = NULL;
    return tn_cli_model_open(out, common, &a, true, err);
}

static tn_status check(const redteam_config *c, tn_error *err)
{
    if (c->a.model != NULL && c->endpoint != NULL)
        return tn_fail(err, TN_USAGE, "redteam: -m and --endpoint both name the model under test: give one");
    if (c->judge != NULL && c->judge_endpoint != NULL)
        return tn_fail(err, TN_USAGE, "redteam: --judge and --judge-endpoint both name the judge: give one");
    if (c->attacker != NULL && c->attacker_endpoint != NULL)
        return tn_fail(err, TN_USAGE,
                       "redteam: --attacker and --attacker-endpoint both name the attacker: give one");
    if (c->sign != NULL && (c->out == NULL || c->graders))
        return tn_fail(err, TN_USAGE,
                       "redteam: --sign signs the folder of --out: give both, and no --graders");
    if (c->graders) return TN_OK;
    if (c->a.model == NULL && c->endpoint == NULL)
        return tn_fail(err, TN_USAGE, "redteam: whom to attack? give -m MODEL or --endpoint URL");
    if (c->tries > 1 && c->temperature == 0)
        return tn_fail(
            err, TN_USAGE,
            "redteam: --tries %lld at --temperature 0 would ask the same again: give a temperature",
            (long long)c->tries);
    return TN_OK;
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    redteam_config    *c = config;
    tn_model          *m = NULL, *judge = NULL, *attacker = NULL;
    json_t            *report = NULL;
    char              *prompts = NULL, *twins = NULL, *principles = NULL;
    tn_redteam_options o = { .labels = c->labels,
                             .out_dir = c->out,
                             .attacks = c->attacks,
                             .limit = c->limit,
                             .tries = c->tries,
                             .budget = c->budget,
                             .max_tokens = c->max_tokens,
                             .n_batch = c->a.n_batch,
                             .seed = common->seed,
                             .temperature = c->temperature,
                             .max_asr = c->max_asr,
                             .progress = !common->quiet,
                             .show_texts = c->show_texts,
                             .classify = c->classify,
                             .endpoint = c->endpoint,
                             .endpoint_model = c->endpoint_model,
                             .attacker_endpoint = c->attacker_endpoint,
                             .attacker_model = c->attacker_model,
                             .judge_endpoint = c->judge_endpoint,
                             .judge_model = c->judge_model };
    tn_direct         *d = NULL;
    tn_key            *key = NULL;
    tn_status          status = TN_OK;

    (void)n_arg;
    (void)args;
    if (c->list) return list_print(common->json, err);
    TN_TRY(check(c, err));
    if (!tn_dtype_parse(c->a.kv_type, &o.kv_type))
        return tn_fail(err, TN_USAGE, "--kv-type %s: f32, bf16 or q8_0", c->a.kv_type);
    prompts = named_or_shipped(c->prompts, "prompts/redteam-seeds.jsonl");
    twins = c->twins != NULL && strcmp(c->twins, "none") == 0
                ? NULL
                : named_or_shipped(c->twins, "prompts/redteam-twins.jsonl");
    principles = named_or_shipped(c->principles, "prompts/redteam-principles.yaml");
    o.prompts = prompts;
    o.twins = twins;
    o.principles = principles;
    if (c->a.model != NULL) TN_GOTO(tn_cli_model_open(&m, common, &c->a, true, err));
    TN_GOTO(other_open(&judge, common, &c->a, c->judge, err));
    TN_GOTO(other_open(&attacker, common, &c->a, c->attacker, err));
    o.model = m;
    o.judge = judge;
    o.attacker = attacker;
    if (c->graders) {
        TN_GOTO(tn_graders_measure(&report, &o, err));
        if (common->json) status = tn_cli_print_json(json_incref(report), err);
        else graders_print(report);
        goto out;
    }
    TN_GOTO(tn_cli_sign_key(&key, common, c->sign, c->passphrase_file, err));
    d = tn_direct_begin();
    TN_GOTO(tn_redteam_run(&report, &o, err));
    TN_GOTO(tn_cli_sign(c->out, key, err));
    if (c->out != NULL) {
        tn_cli_record_made(common, d, "redteam", "redteam", options, config, c->a.model,
                           (const char *const[]){ "prompts", prompts, "twins", twins, "principles",
                                                  principles, "labels", c->labels, "judge", c->judge,
                                                  "attacker", c->attacker, NULL },
                           c->out);
        d = NULL;
    }
    if (common->json) status = tn_cli_print_json(json_incref(report), err);
    else table_print(report);
out:
    tn_direct_drop(d);
    tn_key_free(key);
    json_decref(report);
    tn_model_close(m);
    tn_model_close(judge);
    tn_model_close(attacker);
    free(prompts);
    free(twins);
    free(principles);
    return status;
}

const tn_command tn_cmd_redteam = {
    .name = "redteam",
    .line = "attacks on a model, each with harmless twins: what holds, what does not",
    .usage = "tenet redteam -m MODEL --prompts FILE [--attacks NAME,…] [--budget N] [--judge MODEL] "
             "[--labels FILE] [--out DIR] --json",
    .more = "Requests come from --prompts (HarmBench, StrongREJECT, JailbreakBench and XSTest files as they "
            "are, or {\"prompt\"} rows); without\n"
            "it, 22 requests at the level of a category. Every attack is also made on harmless questions, so "
            "that \"could not read it\",\n"
            "\"refuses everything\" and \"holds\" are told apart. Texts stay in DIR/texts.jsonl; reports "
            "hold digests. docs/redteam.md.",
    .options = options,
    .config_bytes = sizeof(redteam_config),
    .min_args = 0,
    .max_args = 0,
    .computes = true,
    .run = run,
};
