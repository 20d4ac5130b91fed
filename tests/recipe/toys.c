/* toys.c - stage kinds for tests: `text` makes a file, `join` joins files, `count` works in steps that it can
 * go on from (a checkpoint a step in the work place), `tree` makes a directory, `whim` gives another result
 * each time, `heard` is a recorded kind. */
#include "toys.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct toy_config {
    char   *text, *mode;
    int64_t n, seed;
    bool    upper;
} toy_config;

int toy_runs;

// clang-format off
static const tn_option options[] = {
    // clang-format off
    { "text",  TN_OPT_STR,    offsetof(toy_config, text),  "",      0, 0,     "",          "what the file says", NULL },
    { "lr",    TN_OPT_INT,    offsetof(toy_config, n),     "3",     1, 1000,  "steps",     "number of steps", "learning_rate" },
    { "seed",  TN_OPT_INT,    offsetof(toy_config, seed),  "0",     0, 0,     "",          "seed", NULL },
    { "upper", TN_OPT_BOOL,   offsetof(toy_config, upper), "false", 0, 0,     "",          "in capitals", NULL },
    { "mode",  TN_OPT_CHOICE, offsetof(toy_config, mode),  "plain", 0, 0,     "plain|odd", "a choice", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on

static const tn_stage_port no_inputs[] = { { NULL, false, false, NULL } };
static const tn_stage_port from_many[] = { { "from", false, true, "files to join" },
                                           { NULL, false, false, NULL } };
static const tn_stage_port from_maybe[] = { { "from", true, false, "a file to begin with" },
                                            { NULL, false, false, NULL } };

static tn_status read_text(const char *path, char **out, size_t *n, tn_error *err)
{
    char     *inside = tn_is_dir(path) ? tn_path(path, "text") : NULL;
    tn_status status = tn_file_read_all(out, n, inside != NULL ? inside : path, 1 << 20, err);

    free(inside);
    return status;
}

static tn_status text_run(tn_stage_run *r, const void *config, const char *const *in, const char *out,
                          json_t *metrics, tn_error *err)
{
    const toy_config *c = config;
    char             *line = tn_strf("%s%lld\n", c->text, (long long)c->seed);

    (void)r, (void)in;
    toy_runs++;
    for (char *p = line; c->upper && *p != '\0'; p++)
        if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 32);
    json_object_set_new(metrics, "bytes", json_integer((json_int_t)strlen(line)));
    tn_status status = tn_file_write_all(out, line, strlen(line), err);
    free(line);
    return status;
}

extern const tn_stage_kind toy_join;
static tn_status join_run(tn_stage_run *r, const void *config, const char *const *in, const char *out,
                          json_t *metrics, tn_error *err)
{
    const toy_config *c = config;
    const char       *paths[64];
    size_t            n = tn_stage_many(r, &toy_join, "from", NULL, NULL);
    tn_str            s = { 0 };

    (void)in, (void)metrics;
    toy_runs++;
    if (n > 64) return tn_fail(err, TN_LIMIT, "too many");
    tn_stage_many(r, &toy_join, "from", paths, NULL);
    for (size_t i = 0; i < n; i++) {
        char  *text = NULL;
        size_t len;
        TN_TRY(read_text(paths[i], &text, &len, err));
        tn_str_add_n(&s, text, len);
        free(text);
    }
    tn_str_add(&s, c->text);
    tn_status status = tn_file_write_all(out, s.p != NULL ? s.p : "", s.len, err);
    tn_str_free(&s);
    return status;
}

/* n steps, each mixing the last state; the state is saved after every step and gone on from. */
static tn_status count_run(tn_stage_run *r, const void *config, const char *const *in, const char *out,
                           json_t *metrics, tn_error *err)
{
    const toy_config *c = config;
    char             *saved = tn_path(r->work, "state"), *text = NULL, line[160], hex[TN_SHA256_HEX];
    size_t            n;
    int64_t           step = 0;
    tn_digest         d = tn_sha256_of(c->text, strlen(c->text));
    tn_status         status = TN_OK;

    toy_runs++;
    if (in[0] != NULL) {
        TN_GOTO(read_text(in[0], &text, &n, err));
        d = tn_sha256_of(text, n);
        free(text);
        text = NULL;
    }
    if (tn_file_read_all(&text, &n, saved, 200, NULL) == TN_OK) {
        char *space = strchr(text, ' ');
        if (space == NULL || !tn_unhex(&d, space + 1) || (*space = '\0', !tn_parse_i64(text, &step))) {
            status = tn_fail(err, TN_FORMAT, "%s: damaged", saved);
            goto out;
        }
    }
    json_object_set_new(metrics, "went_on_from", json_integer(step));
    while (step < c->n) {
        TN_GOTO(tn_interrupted(err));
        d = tn_sha256_of(d.b, sizeof d.b);
        step++;
        tn_hex(hex, &d);
        int len = snprintf(line, sizeof line, "%lld %s", (long long)step, hex);
        TN_GOTO(tn_file_write_all(saved, line, (size_t)len, err));
    }
    tn_hex(hex, &d);
    status = tn_file_write_all(out, hex, 64, err);
out:
    free(saved);
    free(text);
    return status;
}

static tn_status tree_run(tn_stage_run *r, const void *config, const char *const *in, const char *out,
                          json_t *metrics, tn_error *err)
{
    char  *a = tn_path(out, "text"), *sub = tn_path(out, "sub"), *b = tn_path(out, "sub/more"), *text = NULL;
    size_t n = 0;
    tn_status status = TN_OK;

    (void)config, (void)r, (void)metrics;
    toy_runs++;
    if (in[0] != NULL) TN_GOTO(read_text(in[0], &text, &n, err));
    TN_GOTO(tn_mkdirs(sub, err));
    TN_GOTO(tn_file_write_all(a, text != NULL ? text : "", n, err));
    TN_GOTO(tn_file_write_all(b, "more\n", 5, err));
    if (chmod(b, 0755) != 0) status = tn_fail(err, TN_IO, "%s: chmod", b);
out:
    free(a);
    free(sub);
    free(b);
    free(text);
    return status;
}

static tn_status whim_run(tn_stage_run *r, const void *config, const char *const *in, const char *out,
                          json_t *metrics, tn_error *err)
{
    char line[64];

    (void)r, (void)config, (void)in, (void)metrics;
    toy_runs++;
    int n = snprintf(line, sizeof line, "%d %d\n", (int)getpid(), toy_runs);
    return tn_file_write_all(out, line, (size_t)n, err);
}

#define KIND(id, kind_name, ports, fn, rec)                                                                  \
    const tn_stage_kind id = { .name = kind_name,                                                            \
                               .version = 1,                                                                 \
                               .line = "a toy",                                                              \
                               .options = options,                                                           \
                               .config_bytes = sizeof(toy_config),                                           \
                               .inputs = ports,                                                              \
                               .output = "a file",                                                           \
                               .recorded = rec,                                                              \
                               .run = fn }
KIND(toy_join, "join", from_many, join_run, false);
static KIND(toy_text, "text", no_inputs, text_run, false);
static KIND(toy_count, "count", from_maybe, count_run, false);
static KIND(toy_tree, "tree", from_maybe, tree_run, false);
static KIND(toy_whim, "whim", no_inputs, whim_run, false);
static KIND(toy_heard, "heard", no_inputs, whim_run, true);

extern const tn_stage_kind tn_stage_file;
const tn_stage_kind *const toy_kinds[] = { &toy_text, &toy_join,  &toy_count,     &toy_tree,
                                           &toy_whim, &toy_heard, &tn_stage_file, NULL };
