/* replay_train.c - a stretch of training for tn_release_verify: the run's own options out of its config.json,
 * the places of its inputs from the verifier, the work by tn_train_replay. */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/str.h"
#include "train/train.h"

#include <stdlib.h>
#include <string.h>

enum { CONFIG_MAX = 16 << 20, LIST_MAX = 64 };

/* An option that names a place is an input of the stage under the same name. Paths of "data", or of "data.0",
 * "data.1", ... joined by commas; NULL if one of them is not at hand: without it the run would be another,
 * and its bits no reason to accuse anyone. made: free. */
static char *place_of(const tn_replay_request *q, const char *key)
{
    const char *one = q->find(q->arg, key);
    tn_str      s = { 0 };

    if (one != NULL) return tn_strdup(one);
    for (int i = 0; i < LIST_MAX; i++) {
        char       *port = tn_strf("%s.%d", key, i);
        const char *path = port == NULL ? NULL : q->find(q->arg, port);
        free(port);
        if (path == NULL) {
            port = tn_strf("%s.%d", key, i);
            bool wanted = port == NULL || json_object_get(json_object_get(q->stage, "inputs"), port) != NULL;
            free(port);
            if (!wanted) break;
            tn_str_free(&s);
            return NULL;
        }
        if (i > 0) tn_str_add_char(&s, ',');
        tn_str_add(&s, path);
    }
    if (s.len == 0) return NULL;
    char *joined = tn_str_take(&s);
    tn_str_free(&s);
    return joined;
}

char *recipe_value_text(const json_t *v)
{
    tn_str  s = { 0 };
    size_t  i;
    json_t *item;

    if (json_is_string(v)) return tn_strdup(json_string_value(v));
    if (!json_is_array(v)) return tn_json_text(v);
    json_array_foreach(v, i, item) {
        if (i > 0) tn_str_add_char(&s, ',');
        if (json_is_string(item)) tn_str_add(&s, json_string_value(item));
    }
    char *text = tn_str_take(&s);
    tn_str_free(&s);
    return text;
}

bool recipe_value_is_empty(const json_t *v)
{
    return json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

static tn_status config_from(tn_train_config *c, const json_t *options, const char *where,
                             tn_replay_request *q, tn_error *err)
{
    const char *key;
    json_t     *v;

    json_object_foreach((json_t *)options, key, v) {
        char     *text;
        tn_status status;
        if (recipe_value_is_empty(v)) continue;
        text = tn_train_place(key) != NULL ? place_of(q, key) : recipe_value_text(v);
        /* a word that is no place ("tokenizer: bytes") is a parameter */
        if (text == NULL && tn_train_place(key) != NULL) {
            const json_t *word = json_object_get(json_object_get(q->stage, "params"), key);
            if (word != NULL && !recipe_value_is_empty(word)) text = recipe_value_text(word);
        }
        if (text == NULL && tn_train_place(key) != NULL) {
            q->missing = tn_train_place(key)->key;
            if (q->stage == NULL)
                return tn_fail(err, TN_UNCHECKED,
                               "the release's papers do not say what the run read ('%s'), since it was put "
                               "together by hand: one that the "
                               "last stage of a recipe makes (kind: release) can be replayed",
                               key);
            return tn_fail(err, TN_UNCHECKED,
                           "the run's '%s' is neither in the release nor in the store: pull or export it "
                           "into the store, then "
                           "verify again",
                           key);
        }
        status = text == NULL ? tn_fail(err, TN_NOMEM, "%s: no memory for its options", where)
                              : tn_option_set(c, tn_train_options, key, text, where, err);
        free(text);
        TN_TRY(status);
    }
    return TN_OK;
}

static tn_status replay(tn_replay_request *q, tn_error *err)
{
    tn_train_config c;
    json_t         *options = NULL, *run = NULL;
    char           *path = tn_path(q->run_dir, "config.json"), *run_path = tn_path(q->run_dir, "run.json");
    const char     *profile;
    tn_train_io     io = { .out = q->run_dir, .quiet = true };
    tn_status       status = TN_OK;

    memset(&c, 0, sizeof c);
    if (path == NULL || run_path == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_load(&options, path, CONFIG_MAX, err));
    TN_GOTO(tn_json_load(&run, run_path, CONFIG_MAX, err));
    profile = json_string_value(json_object_get(run, "profile"));
    if (!tn_profile_parse(profile != NULL ? profile : "strict", &io.profile)) {
        status = tn_fail(err, TN_UNSUPPORTED, "%s: profile '%s' is not known here", run_path, profile);
        goto out;
    }
    TN_GOTO(tn_options_default(&c, tn_train_options, err));
    TN_GOTO(config_from(&c, options, path, q, err));
    status = tn_train_replay(&c, q->run_dir, q->from, q->n, &io, err);
out:
    tn_train_config_free(&c);
    json_decref(options);
    json_decref(run);
    free(path);
    free(run_path);
    return status;
}

const tn_replay_fn tn_replay_training = replay;
