/* task.h - one task file as a struct, and the rows it is asked over (private to this room). */
#ifndef TN_EVAL_TASK_H
#define TN_EVAL_TASK_H

#include "base/hash.h"
#include "base/json.h"
#include "base/yaml.h"
#include "eval/docs.h"
#include "eval/filter.h"

typedef enum tn_task_output {
    TN_TASK_CHOICE,
    TN_TASK_LOGLIKELIHOOD,
    TN_TASK_ROLLING,
    TN_TASK_GENERATE
} tn_task_output;

/* process_results: who makes an item's scores of what the model said. */
typedef enum tn_task_results {
    TN_RESULTS_PLAIN,
    TN_RESULTS_MC2,
    TN_RESULTS_BBQ,
    TN_RESULTS_REFUSAL
} tn_task_results;

/* How a text is asked for (generation_kwargs). */
typedef struct tn_task_sampling {
    const char *until[16];
    int         n_until;
    int64_t     max_tokens;
    double      temperature, top_p;
    int64_t     top_k;
} tn_task_sampling;

/* Templates that the shots of a task may have in their own form. */
typedef struct tn_task_form {
    const char    *text, *target, *choice, *prefix, *target_delimiter, *fewshot_delimiter;
    const tn_yaml *choice_list;
} tn_task_form;

enum { TN_TASK_FILES = 8 };

/* The file and what it includes, nearest first; texts are borrowed from them. */
typedef struct tn_task {
    tn_yaml        *yaml[TN_TASK_FILES];
    char           *path[TN_TASK_FILES];
    int             n_file;
    const char     *name, *version;
    tn_task_output  output;
    tn_task_results results;
    tn_docs_fn     *process;           /* or NULL: rows as they are */
    bool            empty_choices;     /* a choice may be empty: the delimiter before it is scored */
    tn_task_form    form, shot_form;   /* choice NULL: choice_list, or none */
    const tn_yaml  *samples, *metrics; /* samples: or NULL; rows of the shots, written in the task file */
    const char     *description, *group_by, *words_of;
    const char     *section; /* refusal: of all rows ("metadata: {section: unsafe}"); NULL: the row's label */
    /* rows whose group_by column is this, and the name that asked for it; or NULL */
    char   *only, *given_name;
    int64_t n_shot; /* -1: the file says nothing */
    /* sampler; chat: the model's format is put around it unless it is told otherwise */
    bool        first_n, chat;
    const char *train, *validation, *test, *shot_split; /* splits, or NULL */
    const char *split;                                  /* the tested one */
    /* dataset_path and dataset_name of a set that is named as on the hub, or NULL */
    const char      *set, *set_part;
    int64_t          shot_index[64], n_shot_index; /* fewshot_indices */
    tn_pipelines    *pipelines;                    /* generate: of filter_list */
    tn_matcher      *matcher;                      /* generate: exact_match's options */
    tn_task_sampling sampling;
    int64_t          repeats;
    tn_digest        digest; /* of the files' bytes */
} tn_task;

/* only: rows of one group (NULL: all); the task is then called `name`. */
tn_status tn_task_load(tn_task **out, const char *path, const char *name, const char *only, tn_error *err);
void      tn_task_free(tn_task *t);
/* Does the file name a group of tasks instead of one task? */
bool tn_task_is_group(const tn_yaml *y);
/* The first metric of the file: what a table shows first. */
const char *tn_task_metric(const tn_task *t, size_t i);

typedef struct tn_doc {
    json_t   *row;
    char     *where;
    tn_digest id;
} tn_doc; /* id: of the row as it was read */
typedef struct tn_docs {
    tn_doc   *list;
    size_t    n, cap;
    tn_digest digest;
} tn_docs; /* digest: over the ids */

/* Rows of a split below `data` (a folder), or of the file `data` itself when it is the tested split; NULL:
 * beside the task file. limit 0: all. optional: no rows is no error. */
tn_status tn_task_docs(const tn_task *t, const char *split, const char *data, int64_t limit, bool optional,
                       tn_docs *out, tn_error *err);
/* The rows written as fewshot_config.samples. */
tn_status tn_task_samples(const tn_task *t, tn_docs *out, tn_error *err);
void      tn_docs_free(tn_docs *d);

/* The shots of a task: of `pool`, n a row; pick[i_doc * n + k] is the place of row i_doc's k-th shot. */
typedef struct tn_shots {
    tn_docs  pool;
    int64_t  n;
    int64_t *pick;
} tn_shots;
/* Finds the pool and draws, as the public harness does with this seed. docs: the tested rows. */
tn_status tn_shots_draw(tn_shots *out, const tn_task *t, const tn_docs *docs, int64_t n, int64_t seed,
                        const char *data, tn_error *err);
void      tn_shots_free(tn_shots *s);

#endif
