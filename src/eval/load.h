/* load.h - from the names that a user writes to tasks with their rows and shots (private to this room). */
#ifndef TN_EVAL_LOAD_H
#define TN_EVAL_LOAD_H

#include "eval/asker.h"

typedef struct tn_loaded {
    tn_task *task;
    tn_docs  docs;
    tn_shots shots;
    bool     chat;
} tn_loaded;
/* A group's file, and the names of the tasks in it. */
typedef struct tn_loaded_group {
    tn_yaml     *yaml;
    char        *path;
    const char **members;
    size_t       n;
} tn_loaded_group;

typedef struct tn_load {
    tn_loaded       *list;
    size_t           n, cap;
    tn_loaded_group *groups;
    size_t           n_group, cap_group;
    /* of if_there: tasks whose rows were found; names whose rows are nowhere */
    json_t *joined, *absent;
} tn_load;

tn_status tn_load_tasks(tn_load *out, const char *const *names, size_t n, const tn_eval_options *o,
                        bool can_chat, tn_error *err);
void      tn_load_free(tn_load *l);

#endif
