/* filter.h - from a generated reply to the answer that is compared: named pipelines, and when two answers are
 * the same (private to this room). */
#ifndef TN_EVAL_FILTER_H
#define TN_EVAL_FILTER_H

#include "base/json.h"
#include "base/yaml.h"

/* A regular expression in Python's meaning (Unicode classes), with bounded effort. */
typedef struct tn_pattern tn_pattern;
tn_status tn_pattern_create(tn_pattern **out, const char *text, const char *where, tn_error *err);
void      tn_pattern_destroy(tn_pattern *p);
/* re.sub: "\1" in `with` stands for a group. made: free. */
tn_status tn_pattern_replace(const tn_pattern *p, const char *s, const char *with, char **out, tn_error *err);
/* re.findall()[which] (negative: from the end); of several groups the first that is not empty. made: free.
 * NULL: no such match. */
tn_status tn_pattern_find(const tn_pattern *p, const char *s, int64_t which, char **out, tn_error *err);

/* multi_choice_regex: from a free reply to the letter of a choice of the row ("(B)"), else the fallback
 * (filter_choice.c). */
typedef struct tn_choice_filter tn_choice_filter;
tn_status tn_choice_filter_create(tn_choice_filter **out, const tn_yaml *step, const char *pattern,
                                  int64_t which, const char *where, tn_error *err);
void      tn_choice_filter_destroy(tn_choice_filter *f);
tn_status tn_choice_filter_run(const tn_choice_filter *f, const json_t *row, const char *reply,
                               const char *fallback, char **out, tn_error *err);

/* filter_list of a task file: pipelines over the same replies. NULL list: one pipeline "none" that takes the
 * first. */
typedef struct tn_pipelines tn_pipelines;
tn_status   tn_pipelines_create(tn_pipelines **out, const tn_yaml *filter_list, const char *path,
                                tn_error *err);
void        tn_pipelines_destroy(tn_pipelines *p);
size_t      tn_pipelines_count(const tn_pipelines *p);
const char *tn_pipelines_name(const tn_pipelines *p, size_t i);
/* The answer that pipeline i makes of replies[n] to a row. made: free. */
tn_status tn_pipelines_run(const tn_pipelines *p, size_t i, const json_t *row, const char *const *replies,
                           size_t n, char **out, tn_error *err);

/* exact_match with its options; the same changes are made to both sides. */
typedef struct tn_matcher tn_matcher;
tn_status tn_matcher_create(tn_matcher **out, const tn_yaml *metric, const char *path, tn_error *err);
void      tn_matcher_destroy(tn_matcher *m);
tn_status tn_matcher_same(const tn_matcher *m, const char *a, const char *b, bool *same, tn_error *err);

#endif
