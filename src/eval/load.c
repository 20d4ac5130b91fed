/* load.c - names to tasks.
 *
 *   hellaswag          TASK_DIR/hellaswag.yaml
 *   path/own.yaml      that file
 *   mmlu_stem          a file with "group:" and a list of tasks: all of them, and their common score
 *   mmlu_anatomy       no file of that name, but mmlu.yaml, whose rows have groups: those rows alone */
#include "eval/load.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TASKS = 512, MAX_NEST = 8 };

static tn_status add_name(tn_load *l, const char *name, const tn_eval_options *o, bool can_chat, int depth,
                          tn_error *err);

static void loaded_free(tn_loaded *t)
{
    tn_docs_free(&t->docs);
    tn_shots_free(&t->shots);
    tn_task_free(t->task);
}

static char *path_of(const char *dir, const char *name, size_t n)
{
    return dir != NULL ? tn_strf("%s/%.*s.yaml", dir, (int)n, name) : tn_strf("%.*s.yaml", (int)n, name);
}

static tn_status no_task(const char *name, const char *dir, tn_error *err)
{
    char       **files = NULL;
    const char **stems = NULL, *near = NULL;
    size_t       n = 0, k = 0;
    tn_str       names = { 0 };

    if (dir != NULL && tn_list_files(&files, &n, dir, NULL) == TN_OK &&
        (stems = calloc(n + 1, sizeof *stems)) != NULL)
        for (size_t i = 0; i < n; i++) {
            if (!tn_ends_with(files[i], ".yaml")) continue;
            files[i][strlen(files[i]) - 5] = '\0';
            stems[k++] = files[i];
            tn_str_addf(&names, "%s%s", names.len > 0 ? ", " : "", files[i]);
        }
    near = stems != NULL ? tn_nearest(name, stems) : NULL;
    tn_status s = near != NULL
                      ? tn_fail(err, TN_USAGE,
                                "there is no task \"%s\" in %s; did you mean %s? (or give --task-dir DIR)",
                                name, dir, near)
                  : dir == NULL
                      ? tn_fail(err, TN_USAGE,
                                "there is no task \"%s\": this folder has no %s.yaml, and no folder of tasks "
                                "is named or lies beside the program; give --task-dir DIR",
                                name, name)
                      : tn_fail(err, TN_USAGE,
                                "there is no task \"%s\" in %s%s%.700s%s, or give --task-dir DIR", name, dir,
                                names.p != NULL ? "; there are " : "",
                                names.p != NULL ? names.p : ", where no task is",
                                names.p != NULL ? ": choose one of them" : "");
    tn_str_free(&names);
    tn_list_free(files, n);
    free(stems);
    return s;
}

/* *path: the file (made); *part: what of the name says a group of its rows, or NULL (borrowed). */
static tn_status find(char **path, const char **part, const char *name, const tn_eval_options *o,
                      tn_error *err)
{
    *part = NULL;
    if (tn_ends_with(name, ".yaml")) *path = tn_strdup(name);
    else *path = path_of(o->task_dir, name, strlen(name));
    if (*path == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    if (tn_exists(*path)) return TN_OK;
    for (const char *cut = strchr(name, '_'); cut != NULL && !tn_ends_with(name, ".yaml");
         cut = strchr(cut + 1, '_')) {
        char *base = path_of(o->task_dir, name, (size_t)(cut - name));
        if (base != NULL && tn_exists(base)) {
            free(*path);
            *path = base;
            *part = cut + 1;
            return TN_OK;
        }
        free(base);
    }

    tn_status s = no_task(name, o->task_dir, err);
    free(*path);
    *path = NULL;
    return s;
}

static tn_status want_chat(bool *chat, const tn_task *t, const tn_eval_options *o, bool can_chat,
                           tn_error *err)
{
    *chat = o->chat == TN_EVAL_CHAT_ON || (o->chat == TN_EVAL_CHAT_TASK && t->chat);
    if (t->output == TN_TASK_ROLLING) *chat = false;
    if (!*chat || can_chat) return TN_OK;
    return tn_fail(err, TN_USAGE,
                   "task %s is put as a conversation, and the model names no chat format: give --chat-format "
                   "NAME, or --apply-chat-template no",
                   t->name);
}

static int64_t shots_of(const tn_task *t, const tn_eval_options *o)
{
    if (o->n_shot < 0) return t->n_shot > 0 ? t->n_shot : 0;
    if (t->n_shot != 0 || o->n_shot == 0) return o->n_shot;
    tn_log(TN_LOG_WARN,
           "task %s says num_fewshot: 0, so it is asked without shots whatever --num-fewshot says", t->name);
    return 0;
}

static tn_status add_task(tn_load *l, const char *path, const char *name, const char *part,
                          const tn_eval_options *o, bool can_chat, tn_error *err)
{
    if (l->n == l->cap) {
        size_t     cap = l->cap == 0 ? 16 : 2 * l->cap;
        tn_loaded *list = realloc(l->list, cap * sizeof *list);
        if (list == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu tasks", cap);
        l->list = list;
        l->cap = cap;
    }
    if (l->n == MAX_TASKS) return tn_fail(err, TN_LIMIT, "more than %d tasks", MAX_TASKS);
    tn_loaded *one = &l->list[l->n++];
    *one = (tn_loaded){ 0 };
    TN_TRY(tn_task_load(&one->task, path, name, part, err));
    for (size_t i = 0; i + 1 < l->n; i++)
        if (strcmp(l->list[i].task->name, one->task->name) == 0)
            return tn_fail(err, TN_USAGE, "task %s is asked for twice", one->task->name);
    if (o->max_tokens > 0) one->task->sampling.max_tokens = o->max_tokens;
    TN_TRY(want_chat(&one->chat, one->task, o, can_chat, err));
    TN_TRY(tn_task_docs(one->task, one->task->split, o->data, o->limit, false, &one->docs, err));
    return tn_shots_draw(&one->shots, one->task, &one->docs,
                         one->task->output == TN_TASK_ROLLING ? 0 : shots_of(one->task, o), o->shot_seed,
                         o->data, err);
}

static tn_status add_group(tn_load *l, tn_yaml *y, char *path, const tn_eval_options *o, bool can_chat,
                           int depth, tn_error *err)
{
    static const char *const known[] = { "group",    "group_alias", "task", "aggregate_metric_list",
                                         "metadata", "tag",         NULL };
    const tn_yaml           *list = tn_yaml_get(y, "task");

    for (size_t i = 0; i < y->n; i++) {
        size_t k = 0;
        while (known[k] != NULL && strcmp(known[k], y->keys[i]) != 0) k++;
        if (known[k] == NULL) {
            tn_status s = tn_fail(err, TN_FORMAT,
                                  "%s:%d: no field of a group is called \"%s\" (group, group_alias, task, "
                                  "aggregate_metric_list, metadata)",
                                  path, y->key_lines[i], y->keys[i]);
            tn_yaml_free(y);
            free(path);
            return s;
        }
    }
    if (l->n_group == l->cap_group) {
        size_t           cap = l->cap_group == 0 ? 8 : 2 * l->cap_group;
        tn_loaded_group *groups = realloc(l->groups, cap * sizeof *groups);
        if (groups == NULL) {
            tn_yaml_free(y);
            free(path);
            return tn_fail(err, TN_NOMEM, "no memory for %zu groups", cap);
        }
        l->groups = groups;
        l->cap_group = cap;
    }
    size_t at = l->n_group++, first = l->n;
    l->groups[at] = (tn_loaded_group){ .yaml = y, .path = path };
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i]->kind != TN_YAML_SCALAR)
            return tn_fail(err, TN_UNSUPPORTED, "%s:%d: a group here lists names of tasks", path,
                           list->items[i]->line);
        TN_TRY(add_name(l, list->items[i]->text, o, can_chat, depth + 1, err));
    }
    tn_loaded_group *g = &l->groups[at]; /* the list may have moved */
    if ((g->members = calloc(l->n - first + 1, sizeof *g->members)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a group");
    for (size_t i = first; i < l->n; i++) g->members[g->n++] = l->list[i].task->name;
    return TN_OK;
}

static tn_status add_name(tn_load *l, const char *name, const tn_eval_options *o, bool can_chat, int depth,
                          tn_error *err)
{
    char       *path = NULL;
    const char *part = NULL;
    tn_yaml    *y = NULL;
    tn_status   status = TN_OK;

    if (depth > MAX_NEST) return tn_fail(err, TN_LIMIT, "%s: groups nested deeper than %d", name, MAX_NEST);
    TN_GOTO(find(&path, &part, name, o, err));
    TN_GOTO(tn_yaml_load(&y, path, err));
    if (tn_task_is_group(y)) {
        status = add_group(l, y, path, o, can_chat, depth, err); /* takes both */
        y = NULL;
        path = NULL;
    } else {
        status = add_task(l, path, name, part, o, can_chat, err);
    }
out:
    tn_yaml_free(y);
    free(path);
    return status;
}

/* A task without rows is taken off the list again and named. */
static tn_status add_if_there(tn_load *l, const char *name, const tn_eval_options *o, bool can_chat,
                              tn_error *err)
{
    size_t    n = l->n, n_group = l->n_group;
    tn_error  why = { 0 };
    tn_status status = add_name(l, name, o, can_chat, 0, &why);

    if (l->absent == NULL) l->absent = json_array();
    if (l->joined == NULL) l->joined = json_array();
    if (status != TN_OK && (status != TN_NOTFOUND || l->n_group != n_group))
        return tn_fail(err, status, "%s", why.msg);
    bool kept = true;
    if (status == TN_OK)
        for (size_t i = n; i < l->n; i++)
            kept = kept && json_array_append_new(l->joined, json_string(l->list[i].task->name)) == 0;
    else {
        while (l->n > n) loaded_free(&l->list[--l->n]);
        kept = json_array_append_new(l->absent, json_string(name)) == 0;
    }
    return kept ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a list of tasks");
}

tn_status tn_load_tasks(tn_load *out, const char *const *names, size_t n, const tn_eval_options *o,
                        bool can_chat, tn_error *err)
{
    *out = (tn_load){ 0 };
    for (size_t i = 0; i < n; i++) {
        tn_status s = add_name(out, names[i], o, can_chat, 0, err);
        if (s == TN_OK) continue;
        tn_load_free(out);
        return s;
    }
    for (size_t i = 0; i < o->n_if_there; i++) {
        tn_status s = add_if_there(out, o->if_there[i], o, can_chat, err);
        if (s == TN_OK) continue;
        tn_load_free(out);
        return s;
    }
    return TN_OK;
}

void tn_load_free(tn_load *l)
{
    for (size_t i = 0; i < l->n; i++) loaded_free(&l->list[i]);
    json_decref(l->joined);
    json_decref(l->absent);
    for (size_t i = 0; i < l->n_group; i++) {
        tn_yaml_free(l->groups[i].yaml);
        free(l->groups[i].path);
        free(l->groups[i].members);
    }
    free(l->list);
    free(l->groups);
    *l = (tn_load){ 0 };
}
