/* stage_prompts.c - the stage that makes a prompt set: seed files to prompts.jsonl, split by family, checked
 * for overlap with the evaluation sets that it is told of. */
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
            tn_log(TN_LOG_DEBUG,
                   "prompt %s names principle '%s', which this constitution lacks: its topic decides", p->id,
                   p->principle);
        if (p->kind == TN_PROMPT_DECLINE && tn_constitution_topic(c, p->topic) == NULL)
            return tn_fail(
                err, TN_MISMATCH,
                "prompt %s is about topic '%s', which the constitution does not declare: add the topic, or "
                "leave these prompts out",
                p->id, p->topic);
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
               json_string_value(json_object_get(row, "evaluation")),
               json_string_value(json_object_get(row, "file")));
    return tn_fail(err, TN_VERIFY,
                   "%zu prompts overlap with evaluation sets, the first: '%s' and '%s' of %s. Take them out "
                   "of the prompt files: "
                   "a model must not be trained on what measures it",
                   json_array_size(overlap), json_string_value(json_object_get(first, "prompt")),
                   json_string_value(json_object_get(first, "evaluation")),
                   json_string_value(json_object_get(first, "file")));
}

/* A folder of evaluation sets: those of its files that hold prompts; others (multiple choice, plain text) are
 * not compared. */
typedef struct eval_files {
    char **paths, **names;
    size_t n, cap;
} eval_files;

static tn_status eval_file_add(eval_files *e, const char *path, const char *name, tn_error *err)
{
    if (e->n == e->cap) {
        size_t cap = e->cap == 0 ? 32 : 2 * e->cap;
        char **paths = realloc(e->paths, cap * sizeof *paths),
             **names = paths != NULL ? realloc(e->names, cap * sizeof *names) : NULL;
        if (paths != NULL) e->paths = paths;
        if (names == NULL) return tn_fail(err, TN_NOMEM, "no memory for a list of files");
        e->names = names;
        e->cap = cap;
    }
    e->paths[e->n] = tn_strdup(path);
    e->names[e->n] = tn_strdup(name);
    if (e->paths[e->n] == NULL || e->names[e->n] == NULL) {
        free(e->paths[e->n]);
        free(e->names[e->n]);
        return tn_fail(err, TN_NOMEM, "no memory for a list of files");
    }
    e->n++;
    return TN_OK;
}

static tn_status eval_folder_add(eval_files *e, const char *dir, const char *name, tn_error *err)
{
    char    **files = NULL;
    size_t    n = 0, before = e->n;
    tn_status status = tn_list_files(&files, &n, dir, err);

    for (size_t i = 0; status == TN_OK && i < n; i++) {
        if (!tn_ends_with(files[i], ".csv") && !tn_ends_with(files[i], ".jsonl")) continue;
        tn_prompts one = { 0 };
        tn_error   why = { 0 };
        char      *path = tn_path(dir, files[i]);
        if (path == NULL) status = tn_fail(err, TN_NOMEM, "no memory for a path");
        else if (tn_prompts_read_as(&one, path, files[i], TN_PROMPT_DECLINE, NULL, &why) == TN_OK &&
                 one.n > 0)
            status = eval_file_add(e, path, files[i], err);
        /* Prompts and then none: an overlap in the rest would be missed unseen. */
        else if (one.n > 0) status = tn_fail(err, why.code, "%s", why.msg);
        tn_prompts_free(&one);
        free(path);
    }
    tn_list_free(files, n);
    if (status == TN_OK && e->n == before)
        tn_log(TN_LOG_WARN, "%s: none of its files holds prompts to compare with", name);
    return status;
}

static void eval_files_free(eval_files *e)
{
    for (size_t i = 0; i < e->n; i++) {
        free(e->paths[i]);
        free(e->names[i]);
    }
    free(e->paths);
    free(e->names);
}

tn_status tn_align_prompts_run(const tn_align_prompts_config *c, const tn_named_files *files,
                               const tn_named_files *evaluation, const char *constitution,
                               const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status        status = TN_OK;
    tn_prompts       set = { 0 };
    tn_constitution *charter = NULL;
    char            *path = NULL;
    eval_files       sets = { 0 };
    size_t           removed = 0, count[3][3] = { { 0 } };
    json_t          *overlap = NULL;

    TN_GOTO(tn_constitution_load(&charter, constitution, err));
    for (size_t i = 0; i < files->n; i++)
        TN_GOTO(tn_prompts_read_as(&set, files->paths[i], files->names[i], TN_PROMPT_EVERYDAY, NULL, err));
    if (set.n == 0) {
        status = tn_fail(err, TN_FORMAT, "no prompts in the %zu files given", files->n);
        goto out;
    }
    TN_GOTO(principles_check(&set, charter, err));
    TN_GOTO(tn_prompts_split(&set, c->heldout, c->dev, (uint64_t)c->seed, &removed, err));
    for (size_t i = 0; i < evaluation->n; i++)
        TN_GOTO((tn_is_dir(evaluation->paths[i]) ? eval_folder_add : eval_file_add)(
            &sets, evaluation->paths[i], evaluation->names[i], err));
    TN_GOTO(tn_prompts_overlap(&set, (const char *const *)sets.paths, (const char *const *)sets.names, sets.n,
                               &overlap, err));
    TN_GOTO(tn_mkdirs(out_dir, err));
    if ((path = tn_path(out_dir, "overlap.json")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_save(path, overlap, true, err));
    if (json_array_size(overlap) > 0) {
        status = overlap_refused(overlap, err);
        goto out;
    }
    free(path);
    if ((path = tn_path(out_dir, "prompts.jsonl")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_prompts_write(&set, path, err));
    for (size_t i = 0; i < set.n; i++) count[set.at[i].kind][set.at[i].split]++;
    for (int k = 0; metrics != NULL && k < 3; k++)
        for (int s = 0; s < 3; s++) {
            char key[64];
            snprintf(key, sizeof key, "%s_%s", tn_prompt_kind_name((tn_prompt_kind)k),
                     tn_split_name((tn_split)s));
            json_object_set_new(metrics, key, json_integer((json_int_t)count[k][s]));
        }
    if (metrics != NULL)
        json_object_set_new(metrics, "near_duplicates_removed", json_integer((json_int_t)removed));
    if (metrics != NULL && sets.n > 0)
        json_object_set_new(metrics, "evaluation_files", json_integer((json_int_t)sets.n));
out:
    json_decref(overlap);
    eval_files_free(&sets);
    tn_constitution_free(charter);
    tn_prompts_free(&set);
    free(path);
    return status;
}
