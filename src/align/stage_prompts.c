/* stage_prompts.c - the stage that makes a prompt set: seed files to prompts.jsonl, split by family, checked for overlap
 * with the evaluation sets that it is told of. */
#include "align/align.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(tn_align_prompts_config, f)

// clang-format off
const tn_option tn_align_prompts_options[] = {
    { "heldout",    TN_OPT_REAL, AT(heldout),    "0.2",  0, 0.9,  "",       "share of families that are held out",  NULL },
    { "dev",        TN_OPT_REAL, AT(dev),        "0.1",  0, 0.9,  "",       "share of families for tuning",         NULL },
    { "seed",       TN_OPT_INT,  AT(seed),       "1",    0, 1e15, "",       "of the split",                         NULL },
    { .key = NULL }
};
// clang-format on

static tn_status principles_check(const tn_prompts *set, const tn_constitution *c, tn_error *err)
{
    for (size_t i = 0; i < set->n; i++) {
        const tn_prompt *p = &set->at[i];

        if (p->principle != NULL && tn_constitution_find(c, p->principle) == NULL)
            tn_log(TN_LOG_DEBUG, "prompt %s names principle '%s', which this constitution lacks: its topic decides", p->id, p->principle);
        if (p->kind == TN_PROMPT_DECLINE && tn_constitution_topic(c, p->topic) == NULL)
            return tn_fail(err, TN_MISMATCH, "prompt %s is about topic '%s', which the constitution does not declare: add the topic, or "
                           "leave these prompts out", p->id, p->topic);
    }
    return TN_OK;
}

/* Every one is named: what a failed stage has written is gone with it. */
static tn_status overlap_refused(const json_t *overlap, tn_error *err)
{
    const json_t *first = json_array_get(overlap, 0), *row;
    size_t        i;

    json_array_foreach(overlap, i, row)
        tn_log(TN_LOG_WARN, "overlap: '%s' and '%s' of %s", json_string_value(json_object_get(row, "prompt")),
               json_string_value(json_object_get(row, "evaluation")), json_string_value(json_object_get(row, "file")));
    return tn_fail(err, TN_VERIFY, "%zu prompts overlap with evaluation sets, the first: '%s' and '%s' of %s. Take them out of the prompt files: "
                   "a model must not be trained on what measures it", json_array_size(overlap),
                   json_string_value(json_object_get(first, "prompt")), json_string_value(json_object_get(first, "evaluation")),
                   json_string_value(json_object_get(first, "file")));
}

tn_status tn_align_prompts_run(const tn_align_prompts_config *c, const tn_named_files *files, const tn_named_files *evaluation,
                               const char *constitution, const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status        status = TN_OK;
    tn_prompts       set = {0};
    tn_constitution *charter = NULL;
    char            *path = NULL;
    size_t           removed = 0, count[3][3] = {{0}};
    json_t          *overlap = NULL;

    TN_GOTO(tn_constitution_load(&charter, constitution, err));
    for (size_t i = 0; i < files->n; i++) TN_GOTO(tn_prompts_read_as(&set, files->paths[i], files->names[i], TN_PROMPT_EVERYDAY, NULL, err));
    if (set.n == 0) {
        status = tn_fail(err, TN_FORMAT, "no prompts in the %zu files given", files->n);
        goto out;
    }
    TN_GOTO(principles_check(&set, charter, err));
    TN_GOTO(tn_prompts_split(&set, c->heldout, c->dev, (uint64_t)c->seed, &removed, err));
    TN_GOTO(tn_prompts_overlap(&set, evaluation->paths, evaluation->names, evaluation->n, &overlap, err));
    TN_GOTO(tn_mkdirs(out_dir, err));
    if ((path = tn_path(out_dir, "overlap.json")) == NULL) { status = tn_fail(err, TN_NOMEM, "no memory for a path"); goto out; }
    TN_GOTO(tn_json_save(path, overlap, true, err));
    if (json_array_size(overlap) > 0) {
        status = overlap_refused(overlap, err);
        goto out;
    }
    free(path);
    if ((path = tn_path(out_dir, "prompts.jsonl")) == NULL) { status = tn_fail(err, TN_NOMEM, "no memory for a path"); goto out; }
    TN_GOTO(tn_prompts_write(&set, path, err));
    for (size_t i = 0; i < set.n; i++) count[set.at[i].kind][set.at[i].split]++;
    for (int k = 0; metrics != NULL && k < 3; k++)
        for (int s = 0; s < 3; s++) {
            char key[64];
            snprintf(key, sizeof key, "%s_%s", tn_prompt_kind_name((tn_prompt_kind)k), tn_split_name((tn_split)s));
            json_object_set_new(metrics, key, json_integer((json_int_t)count[k][s]));
        }
    if (metrics != NULL) json_object_set_new(metrics, "near_duplicates_removed", json_integer((json_int_t)removed));
out:
    json_decref(overlap);
    tn_constitution_free(charter);
    tn_prompts_free(&set);
    free(path);
    return status;
}
