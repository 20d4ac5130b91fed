/* cmd_why.c - `tenet why RELEASE "prompt"`: the answer before and after, and the training records nearest to
 * the prompt with the principle that made each. Everything comes out of the release. */
#include "align/align.h"
#include "base/file.h"
#include "base/str.h"
#include "cli/with_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AROUND = 12 }; /* records that tell which principles are involved */

typedef struct why_config {
    tn_model_args a;
    char         *base;
    int64_t       k, n;
} why_config;

#define AT(f) offsetof(why_config, f)
// clang-format off
static const tn_option options[] = {
    { "base",        TN_OPT_STR,    AT(base), NULL, 0, 0,     "",        "the model as it was; none: the one that the release holds for replay", NULL },
    { "nearest",     TN_OPT_INT,    AT(k),    "3",  1, 100,   "records", "training records shown", "k" },
    { "n",           TN_OPT_INT,    AT(n),    "96", 1, 65536, "tokens",  "longest answer", NULL },
    { "chat_format", TN_OPT_STR,    offsetof(why_config, a.chat_format), NULL, 0, 0, "", "chat format, when the model does not tell", NULL },
    { .key = NULL }
};
// clang-format on

/* The first file below dir/sub whose name ends so. made: free; NULL if there is none. */
static char *find_below(const char *dir, const char *sub, const char *suffix)
{
    char  *base = tn_path(dir, sub), **list = NULL, *found = NULL;
    size_t n = 0;

    if (base == NULL || !tn_is_dir(base) || tn_list_files(&list, &n, base, NULL) != TN_OK) {
        free(base);
        return NULL;
    }
    for (size_t i = 0; i < n && found == NULL; i++)
        if (tn_ends_with(list[i], suffix)) found = tn_path(base, list[i]);
    tn_list_free(list, n);
    free(base);
    return found;
}

/* The base model that a release keeps for replay: the first input that opens as a model. made: free. */
static char *held_base(const char *release)
{
    static const tn_model_options o = { .profile = TN_PROFILE_STRICT };
    char                         *dir = tn_path(release, "replay/inputs"), **list = NULL, *found = NULL;
    size_t                        n = 0;

    if (dir == NULL || !tn_is_dir(dir) || tn_list_files(&list, &n, dir, NULL) != TN_OK) {
        free(dir);
        return NULL;
    }
    for (size_t i = 0; i < n && found == NULL; i++) {
        char     *slash = strchr(list[i], '/'), *path;
        tn_model *m = NULL;

        if (slash != NULL) *slash = '\0';
        path = tn_path(dir, list[i]);
        if (path != NULL && tn_model_open(&m, path, &o, NULL) == TN_OK) found = path;
        else free(path);
        tn_model_close(m);
    }
    tn_list_free(list, n);
    free(dir);
    return found;
}

/* One greedy answer. made: free. */
static tn_status answer(char **out, const tn_common *common, const why_config *c, const char *path,
                        const char *prompt, tn_error *err)
{
    tn_status        status = TN_OK;
    tn_model        *m = NULL;
    tn_engine       *e = NULL;
    tn_model_options mo = {
        .profile = common->profile_id, .chat_format = c->a.chat_format, .weights = true, .pack = true
    };
    tn_engine_options eo = { .n_batch = 1, .hidden_layer = -1 };
    tn_message        msg = { "user", prompt };
    tn_dialogue       d = { &msg, 1, tn_align_sample_id(prompt, "why") };
    tn_result         r = { 0 };
    tn_sampling       s = tn_sampling_default();

    s.max_tokens = c->n;
    s.temperature = 0;
    TN_GOTO(tn_model_open(&m, path, &mo, err));
    TN_GOTO(tn_engine_create(&e, m, &eo, err));
    TN_GOTO(tn_align_sample(e, m, &d, 1, &s, &r, NULL, err));
    if (r.status != TN_OK) {
        status = tn_fail(err, r.status, "%s", r.message);
        goto out;
    }
    if ((*out = tn_strdup(r.text)) == NULL) status = tn_fail(err, TN_NOMEM, "no memory for an answer");
out:
    tn_result_free(&r);
    tn_engine_destroy(e);
    tn_model_close(m);
    return status;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));

    return s != NULL ? s : "";
}

static void print_text(const char *prompt, const char *before, const char *after, const json_t *involved,
                       const json_t *nearest, size_t k, const tn_constitution *charter)
{
    size_t  i;
    json_t *row;

    printf("prompt    %s\n\nbefore    %s\n\nafter     %s\n\nthe principles involved, by the training records "
           "around it\n",
           prompt, before != NULL ? before : "(the base model is not here: give it with --base)", after);
    json_array_foreach(involved, i, row) {
        const tn_principle *p = charter != NULL ? tn_constitution_find(charter, text_of(row, "principle"))
                                                : NULL;

        if (i < 3)
            printf("  %3.0f %%  %s%s%s\n", 100 * json_number_value(json_object_get(row, "share")),
                   text_of(row, "principle"), p != NULL ? ": " : "", p != NULL ? p->text : "");
    }
    printf("\nthe training records nearest to it, by the model's own representation\n");
    json_array_foreach(nearest, i, row) {
        if (i == k) break;
        const tn_principle *p = charter != NULL ? tn_constitution_find(charter, text_of(row, "principle"))
                                                : NULL;

        printf("\n  %.2f  %s%s%s\n        asked     %s\n        chosen    %s\n        rejected  %s\n",
               json_number_value(json_object_get(row, "similarity")), text_of(row, "principle"),
               p != NULL ? ": " : "", p != NULL ? p->text : "", text_of(row, "prompt"),
               text_of(row, "chosen"), text_of(row, "rejected"));
        if (text_of(row, "critique")[0] != '\0')
            printf("        asked to  %s\n        critique  %s\n        revision  %s\n",
                   text_of(row, "critique_request"), text_of(row, "critique"), text_of(row, "revision"));
    }
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    why_config *c = config;
    tn_status   status = TN_OK;
    char *release = NULL, *records = NULL, *index = NULL, *base = NULL, *charter_path = NULL, *before = NULL,
         *after = NULL;
    char            *revisions = NULL;
    json_t          *nearest = NULL, *involved = NULL;
    tn_constitution *charter = NULL;

    (void)n_arg;
    TN_GOTO(tn_cli_model_path(common, args[0], &release, err));
    records = find_below(release, "records", "records.jsonl");
    index = find_below(release, "records", "index.safetensors");
    charter_path = tn_path(release, "constitution.yaml");
    if (records == NULL || index == NULL) {
        status = tn_fail(err, TN_NOTFOUND,
                         "%s holds no %s: why needs a release whose recipe ran the stages 'pairs' and "
                         "'index' and put both "
                         "into its records",
                         release, records == NULL ? "records.jsonl" : "index.safetensors");
        goto out;
    }
    if (charter_path != NULL && tn_exists(charter_path) &&
        tn_constitution_load(&charter, charter_path, NULL) != TN_OK)
        charter = NULL;
    if (c->base != NULL) TN_GOTO(tn_cli_model_path(common, c->base, &base, err));
    else base = held_base(release);
    TN_GOTO(tn_align_nearest(&nearest, release, common->profile_id, records, index, args[1],
                             c->k > AROUND ? c->k : AROUND, err));
    TN_GOTO(tn_align_involved(&involved, nearest, err));
    if ((revisions = find_below(release, "records", "revisions.jsonl")) != NULL)
        TN_GOTO(tn_align_add_critiques(nearest, revisions, err));
    TN_GOTO(answer(&after, common, c, release, args[1], err));
    if (base != NULL) TN_GOTO(answer(&before, common, c, base, args[1], err));
    if (common->json) {
        while (json_array_size(nearest) > (size_t)c->k)
            json_array_remove(nearest, json_array_size(nearest) - 1);
        TN_GOTO(tn_cli_print_json(json_pack("{s:s, s:s*, s:s, s:O, s:O}", "prompt", args[1], "before", before,
                                            "after", after, "principles", involved, "nearest", nearest),
                                  err));
    } else print_text(args[1], before, after, involved, nearest, (size_t)c->k, charter);
out:
    json_decref(nearest);
    json_decref(involved);
    free(revisions);
    tn_constitution_free(charter);
    free(release);
    free(records);
    free(index);
    free(base);
    free(charter_path);
    free(before);
    free(after);
    return status;
}

const tn_command tn_cmd_why = {
    .name = "why",
    .line = "why an aligned model answers as it does: before, after, and the training records behind it",
    .usage = "tenet why RELEASE \"prompt\" [--nearest K] [--base MODEL]",
    .more = "Shows the answer of the model as it was and as it is, and the training records nearest to the "
            "prompt by the model's own\n"
            "representation, each with the principle of the constitution that made it, and the critique "
            "where there was one (recipes that put\n"
            "the revise stage into the release's records). The principles involved are weighed over the "
            "twelve nearest records.",
    .options = options,
    .config_bytes = sizeof(why_config),
    .min_args = 2,
    .max_args = 2,
    .computes = true,
    .run = run,
};
