/* task.h - one task file as a struct, and the rows it is asked over (private to this room). */
#ifndef TN_EVAL_TASK_H
#define TN_EVAL_TASK_H

#include "base/hash.h"
#include "base/json.h"
#include "base/yaml.h"
#include "eval/docs.h"

typedef enum tn_task_output { TN_TASK_CHOICE, TN_TASK_LOGLIKELIHOOD, TN_TASK_ROLLING } tn_task_output;

enum { TN_TASK_FILES = 8 };

/* The file and what it includes, nearest first; texts are borrowed from them. */
typedef struct tn_task {
    tn_yaml        *yaml[TN_TASK_FILES];
    char           *path[TN_TASK_FILES];
    int             n_file;
    const char     *name, *version;
    tn_task_output  output;
    tn_docs_fn     *process;                                 /* or NULL: rows as they are */
    const char     *text, *target, *choice;                  /* templates; choice NULL: choice_list, or none */
    const tn_yaml  *choice_list, *samples, *metrics;         /* or NULL; samples: rows of the shots, written in the task file */
    const char     *description, *target_delimiter, *fewshot_delimiter, *group_by, *words_of;
    bool            mc2;                                     /* process_results: truthfulqa_mc2 */
    int64_t         n_shot;
    const char     *split, *shot_split;
    tn_digest       digest;                                  /* of the files' bytes */
} tn_task;

tn_status tn_task_load(tn_task **out, const char *path, tn_error *err);
void      tn_task_free(tn_task *t);

typedef struct tn_doc { json_t *row; char *where; tn_digest id; } tn_doc;            /* id: of the row as it was read */
typedef struct tn_docs { tn_doc *list; size_t n, cap; tn_digest digest; } tn_docs;    /* digest: over the ids */

/* Rows of a split below `data` (a folder), or of the file `data` itself when it is the tested split; NULL: beside the
 * task file. limit 0: all. */
tn_status tn_task_docs(const tn_task *t, const char *split, const char *data, int64_t limit, tn_docs *out, tn_error *err);
/* The rows written as fewshot_config.samples. */
tn_status tn_task_samples(const tn_task *t, tn_docs *out, tn_error *err);
void      tn_docs_free(tn_docs *d);

#endif
