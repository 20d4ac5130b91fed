/* verify_replay.c - stretches of training, drawn at random, computed again and compared bit for bit.
 *
 *   stretches   between neighbouring checkpoints of a run (0: its beginning), to the end of its log
 *   draw        SHA-256("tenet/replay/v1" || content root || coin || k) mod what is left: whoever made the release could not know
 *   inputs      the base model and what else the stage read: held in the release, or found by digest in the store
 *   model       then the released model is written again from the base and what training made of it */
#include "recipe/verify.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

typedef struct stretch {
    const json_t *log;
    char         *run;
    int64_t       from, n;
} stretch;

typedef struct finder {
    verifier     *v;
    const json_t *stage;
    char         *found[16];
    int           n;
} finder;

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* Steps that have a checkpoint in this run's directory and a state in its log, 0 first: from any other state
 * a replay would prove nothing. */
static int64_t *checkpoints(const verifier *v, const char *run, const char *log, size_t *n)
{
    int64_t        *list = calloc(v->n + 1, sizeof *list);
    char           *path = tn_path_is_plain(log) ? tn_path(v->dir, log) : NULL;
    size_t          n_run = strlen(run), n_record = 0;
    tn_step_record *records = NULL;

    *n = 0;
    /* one that was altered is told elsewhere */
    if (path != NULL) tn_steplog_read(path, NULL, &records, &n_record, NULL, NULL);
    free(path);
    if (list == NULL) {
        free(records);
        return NULL;
    }
    list[(*n)++] = 0;
    for (size_t i = 0; i < v->n; i++) {
        const char *name = v->files[i].name;
        char       *number;
        int64_t     step;
        if (strncmp(name, run, n_run) != 0 || !tn_starts_with(name + n_run, "/step-") ||
            !tn_ends_with(name, "/manifest.json"))
            continue;
        number = tn_strndup(name + n_run + 6, strcspn(name + n_run + 6, "/"));
        if (number != NULL && tn_parse_i64(number, &step) && step > 0 && (size_t)step <= n_record &&
            records[step - 1].has_state)
            list[(*n)++] = step;
        free(number);
    }
    free(records);
    qsort(list, *n, sizeof *list, by_number);
    return list;
}

static tn_status collect(verifier *v, stretch **out, size_t *n, tn_error *err)
{
    size_t  i;
    json_t *log;

    *out = NULL;
    *n = 0;
    json_array_foreach(json_object_get(v->manifest, "steplogs"), i, log) {
        const char *path = recipe_verify_text(log, "path"), *slash = strrchr(path, '/');
        char       *run = slash == NULL ? NULL : tn_strndup(path, (size_t)(slash - path));
        size_t      n_point = 0;
        int64_t    *points = run == NULL ? NULL : checkpoints(v, run, path, &n_point);
        int64_t     steps = json_integer_value(json_object_get(log, "steps"));
        stretch    *more = points == NULL ? NULL : realloc(*out, (*n + n_point) * sizeof *more);
        if (more == NULL) {
            free(points);
            free(run);
            return tn_fail(err, TN_NOMEM, "no memory for a replay");
        }
        *out = more;
        for (size_t k = 0; k < n_point; k++) {
            int64_t to = k + 1 < n_point ? points[k + 1] : steps;
            if (to > points[k]) more[(*n)++] = (stretch){ log, tn_strdup(run), points[k], to - points[k] };
        }
        free(points);
        free(run);
    }
    return TN_OK;
}

static const json_t *stage_of(const verifier *v, const char *run)
{
    size_t  i, k;
    json_t *part, *row;

    json_array_foreach(json_object_get(v->manifest, "parts"), i, part) {
        if (strcmp(recipe_verify_text(part, "path"), run) != 0) continue;
        json_array_foreach(json_object_get(v->manifest, "closure"), k, row)
            if (strcmp(recipe_verify_text(row, "root"), recipe_verify_text(part, "root")) == 0) return row;
    }
    return NULL;
}

/* "texts/texts.jsonl": inside an artifact that the store has and the release does not hold. made: free; NULL:
 * it has not. */
static char *inside_stored(const verifier *v, const json_t *origin, const char *inside)
{
    const char *root = recipe_verify_text(origin, "root");
    char       *whole = NULL, *path = NULL;
    tn_digest   d;

    if (v->o->store == NULL || inside == NULL || strlen(root) != 71 || !tn_unhex(&d, root + 7)) return NULL;
    if (tn_store_path(v->o->store, &d, &whole, NULL) == TN_OK) path = tn_strf("%s%s", whole, inside);
    free(whole);
    if (path != NULL && tn_exists(path)) return path;
    free(path);
    return NULL;
}

/* An input of the stage by its root: a part of the release, its model, or the store's. */
static const char *find_input(void *arg, const char *port)
{
    finder     *f = arg;
    const char *root = recipe_verify_text(json_object_get(f->stage, "inputs"), port),
               *from = recipe_verify_text(json_object_get(f->stage, "from"), port);
    const json_t *origin = recipe_verify_stage(f->v, from, strcspn(from, "/"));
    char         *path = NULL;
    size_t        i;
    json_t       *part;
    tn_digest     d;

    if (root[0] == '\0' || f->n == 16) return NULL;
    json_array_foreach(json_object_get(f->v->manifest, "parts"), i, part)
        if (path == NULL && strcmp(recipe_verify_text(part, "root"), root) == 0)
            path = tn_path(f->v->dir, recipe_verify_text(part, "path"));
    /* "sft/model": inside a part that is held */
    if (path == NULL && origin != NULL && strchr(from, '/') != NULL)
        json_array_foreach(json_object_get(f->v->manifest, "parts"), i, part)
            if (path == NULL &&
                strcmp(recipe_verify_text(part, "root"), recipe_verify_text(origin, "root")) == 0)
                path = tn_strf("%s/%s%s", f->v->dir, recipe_verify_text(part, "path"), strchr(from, '/'));
    if (path == NULL && f->v->o->store != NULL && strlen(root) == 71 && tn_unhex(&d, root + 7) &&
        tn_store_path(f->v->o->store, &d, &path, NULL) != TN_OK)
        path = NULL;
    if (path == NULL) path = inside_stored(f->v, origin, strchr(from, '/'));
    if (path != NULL) f->found[f->n++] = path;
    return path;
}

static size_t draw(const verifier *v, uint64_t k, size_t n)
{
    uint8_t   buf[15 + 32 + 16], *p = buf;
    tn_digest d;
    uint64_t  x = 0;

    memcpy(p, "tenet/replay/v1", 15);
    memcpy(p + 15, v->content.b, 32);
    for (int i = 0; i < 8; i++) p[47 + i] = (uint8_t)(v->o->coin >> (56 - 8 * i));
    for (int i = 0; i < 8; i++) p[55 + i] = (uint8_t)(k >> (56 - 8 * i));
    d = tn_sha256_of(buf, sizeof buf);
    for (int i = 0; i < 8; i++) x = x << 8 | d.b[i];
    return (size_t)(x % n);
}

static void not_checked(verifier *v, const char *where, const char *expected, const char *found)
{
    v->unchecked = true;
    recipe_verify_wrong(v, "replay was not checked", where, expected, found);
}

static tn_status replay_one(verifier *v, const stretch *s, tn_error *err)
{
    finder f = { .v = v, .stage = stage_of(v, s->run) };
    char  *dir = tn_path(v->dir, s->run),
         *where = tn_strf("%s: steps %lld-%lld", s->run, (long long)s->from + 1, (long long)(s->from + s->n));
    tn_replay_request q = {
        .run_dir = dir, .stage = f.stage, .from = s->from, .n = s->n, .find = find_input, .arg = &f
    };
    tn_error  why = { .msg = "" };
    tn_status status = dir == NULL || where == NULL ? tn_fail(&why, TN_NOMEM, "no memory for a replay")
                                                    : v->o->replay_fn(&q, &why);

    if (status == TN_VERIFY || status == TN_FORMAT || status == TN_MISMATCH) {
        recipe_verify_wrong(v, "training computed again gives other bits", where, "the logged bits", why.msg);
        status = TN_OK;
    } else if (status == TN_UNCHECKED || status == TN_NOTFOUND || status == TN_UNSUPPORTED ||
               status == TN_USAGE) {
        const char *root = q.missing != NULL
                               ? recipe_verify_text(json_object_get(f.stage, "inputs"), q.missing)
                               : "";
        not_checked(v, where,
                    root[0] != '\0'     ? root
                    : q.missing != NULL ? q.missing
                                        : "what the stretch needs",
                    why.msg);
        status = TN_OK;
    } else if (status != TN_OK && err != NULL) {
        *err = why;
    }
    for (int i = 0; i < f.n; i++) free(f.found[i]);
    free(dir);
    free(where);
    return status;
}

/* The model itself, where a stage `export` wrote it: what training made is not yet what people run. */
static tn_status replay_model(verifier *v, tn_str *said, tn_error *err)
{
    const char *from = recipe_verify_text(json_object_get(v->manifest, "model"), "from"),
               *inside = strchr(from, '/');
    const json_t *row = recipe_verify_stage(v, from, strcspn(from, "/"));
    finder        f = { .v = v, .stage = row };
    tn_error      why = { .msg = "" };
    tn_status     status;

    if (row == NULL || strcmp(recipe_verify_text(row, "kind"), "export") != 0 ||
        tn_stage_find(tn_stage_kinds, "export") == NULL)
        return TN_OK;
    status = recipe_replay_export(v, row, inside != NULL ? inside : "", find_input, &f, &why);
    tn_str_add(said, ", and the model's file");
    if (status == TN_VERIFY || status == TN_FORMAT || status == TN_MISMATCH) {
        recipe_verify_wrong(v, "the model written again is another one", "model", "the released bytes",
                            why.msg);
        status = TN_OK;
    } else if (status == TN_UNCHECKED || status == TN_NOTFOUND || status == TN_UNSUPPORTED ||
               status == TN_USAGE) {
        not_checked(v, "model", "what the stage that wrote it needs", why.msg);
        status = TN_OK;
    } else if (status != TN_OK && err != NULL) {
        *err = why;
    }
    for (int i = 0; i < f.n; i++) free(f.found[i]);
    return status;
}

static tn_status replay_drawn(verifier *v, stretch *all, size_t n, tn_str *said, tn_error *err)
{
    size_t want = v->o->replay < 0 || (uint64_t)v->o->replay > n ? n : (size_t)v->o->replay;

    for (size_t k = 0; k < want; k++) {
        size_t  i = v->o->replay < 0 ? k : k + draw(v, k, n - k); /* without drawing one twice */
        stretch s = all[i];
        all[i] = all[k];
        all[k] = s;
        TN_TRY(tn_interrupted(err));
        TN_TRY(replay_one(v, &s, err));
        tn_str_addf(said, "%s%s %lld-%lld", k == 0 ? "steps of " : ", ", tn_basename(s.run),
                    (long long)s.from + 1, (long long)(s.from + s.n));
    }
    return TN_OK;
}

tn_status recipe_verify_replay(verifier *v, tn_error *err)
{
    stretch  *all = NULL;
    size_t    n = 0, before = recipe_verify_mark(v);
    bool      unchecked_before = v->unchecked;
    tn_str    said = { .max = 4096 };
    tn_status status = TN_OK;

    v->unchecked = false;
    if (v->o->replay_fn == NULL) not_checked(v, "replay/", "a program that can train", "this build cannot");
    else if (json_array_size(json_object_get(v->manifest, "steplogs")) == 0)
        not_checked(v, "replay/", "a training run with its step log", "the release holds none");
    else if ((status = collect(v, &all, &n, err)) == TN_OK &&
             (status = replay_drawn(v, all, n, &said, err)) == TN_OK)
        status = replay_model(v, &said, err);
    tn_str_add(&said, recipe_verify_mark(v) == before ? ": equal bit for bit"
                      : v->unchecked                  ? " not checked"
                                                      : ": other bits");
    recipe_verify_check(v, "replay",
                        v->unchecked                     ? "unchecked"
                        : recipe_verify_mark(v) > before ? "wrong"
                                                         : "ok",
                        before, said.p != NULL ? said.p : "");
    v->unchecked = v->unchecked || unchecked_before;
    for (size_t i = 0; i < n; i++) free(all[i].run);
    free(all);
    tn_str_free(&said);
    return status;
}
