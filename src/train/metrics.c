/* metrics.c - what one plots: metrics.jsonl, and TensorBoard event files.
 *
 * An event file is a row of records: length u64, masked CRC-32C of it, an Event message, masked CRC-32C of
 * that. The message (protobuf): 1 wall time (double), 2 step (int64), then one of 3 version (string), 5 Summary
 * { 1 Value { 1 tag (string), 2 simple value (float) } }, 7 SessionLog { 1 status }. Status START takes back
 * what the files before say of its step and later ones, as a run does that goes on from a checkpoint. Files are
 * read in the order of their names. */
#include "train/run.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

struct metrics {
    FILE *rows, *events;
    char *path;
};

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = (c >> 1) ^ (0x82f63b78u & (0u - (c & 1)));
    }
    return ~c;
}

static uint32_t masked(const uint8_t *p, size_t n)
{
    uint32_t c = crc32c(p, n);
    return ((c >> 15) | (c << 17)) + 0xa282ead8u;
}

typedef struct message {
    uint8_t b[512];
    size_t  n;
} message;

static void put_varint(message *m, uint64_t v)
{
    for (; v > 127; v >>= 7) m->b[m->n++] = (uint8_t)(v | 128);
    m->b[m->n++] = (uint8_t)v;
}

static void put_bytes(message *m, int field, const void *p, size_t n)
{
    put_varint(m, (uint64_t)(field << 3 | 2));
    put_varint(m, n);
    memcpy(m->b + m->n, p, n);
    m->n += n;
}

static void record_write(FILE *f, const message *m)
{
    uint64_t n = m->n;
    uint32_t head = masked((const uint8_t *)&n, 8), body = masked(m->b, m->n);
    fwrite(&n, 8, 1, f);
    fwrite(&head, 4, 1, f);
    fwrite(m->b, m->n, 1, f);
    fwrite(&body, 4, 1, f);
}

static void event_start(message *m, int64_t step)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    double wall = (double)now.tv_sec + 1e-6 * (double)now.tv_usec;
    m->n = 0;
    put_varint(m, 1 << 3 | 1);
    memcpy(m->b + m->n, &wall, 8);
    m->n += 8;
    put_varint(m, 2 << 3 | 0);
    put_varint(m, (uint64_t)step);
}

static void scalar_write(FILE *f, const char *tag, int64_t step, float value)
{
    message v = { 0 }, s = { 0 }, m;
    put_bytes(&v, 1, tag, strlen(tag));
    put_varint(&v, 2 << 3 | 5);
    memcpy(v.b + v.n, &value, 4);
    v.n += 4;
    put_bytes(&s, 1, v.b, v.n);
    event_start(&m, step);
    put_bytes(&m, 5, s.b, s.n);
    record_write(f, &m);
}

/* Rows after the step that is resumed from are computed again: they are cut off. */
static tn_status rows_cut(const char *path, int64_t after_step, tn_error *err)
{
    char     *line = NULL;
    size_t    cap = 0, len = 0;
    tn_status status = TN_OK;
    FILE     *f = fopen(path, "r");
    if (f == NULL) return TN_OK;
    long keep = 0;
    while (tn_read_line(f, &line, &cap, &len)) {
        json_t *row = NULL;
        int64_t step = 0;
        bool    good = tn_json_parse(&row, line, len, path, NULL) == TN_OK &&
                    tn_json_int(row, "step", 1, INT64_MAX, &step, path, NULL) == TN_OK;
        json_decref(row);
        if (!good && tn_read_line(f, &line, &cap, &len))
            tn_log(TN_LOG_WARN, "%s: a line in the middle is no row; it and what lies behind it are cut off",
                   path);
        if (!good || step > after_step) break;
        keep = ftell(f);
    }
    free(line);
    fclose(f);
    if (truncate(path, keep) != 0)
        status = tn_fail(err, TN_IO, "%s: cannot cut off the rows after step %lld", path,
                         (long long)after_step);
    return status;
}

static const char events_name[] = "events.out.tfevents.";

/* The number in the name of the next file: the time, but behind those of all files that are there, since
 * several may be of one second, and a clock may be behind. */
static int64_t events_number(const char *tb)
{
    int64_t next = (int64_t)time(NULL), n;
    DIR    *d = opendir(tb);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char   digits[19] = "";
        size_t len = tn_starts_with(e->d_name, events_name)
                         ? strspn(e->d_name + strlen(events_name), "0123456789")
                         : 0;
        if (len >= sizeof digits) continue;
        memcpy(digits, e->d_name + strlen(events_name), len);
        if (tn_parse_i64(digits, &n) && n >= next) next = n + 1;
    }
    if (d != NULL) closedir(d);
    return next;
}

static tn_status events_open(metrics *m, const char *dir, int64_t after_step, tn_error *err)
{
    tn_status status = TN_OK;
    char     *tb = tn_path(dir, "tb"), *path = NULL;
    message   e;
    if (tb == NULL) return tn_fail(err, TN_NOMEM, "no memory for a path");
    TN_GOTO(tn_mkdirs(tb, err));
    path = tn_strf("%s/%s%010lld.tenet", tb, events_name, (long long)events_number(tb));
    if (path == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    if ((m->events = fopen(path, "wbx")) == NULL) {
        status = tn_fail(err, TN_IO, "%s: cannot create: %s", path, strerror(errno));
        goto out;
    }
    event_start(&e, 0);
    put_bytes(&e, 3, "brain.Event:2", 13);
    record_write(m->events, &e);
    event_start(&e, after_step + 1);
    put_bytes(&e, 7, (const uint8_t[]){ 1 << 3 | 0, 1 }, 2);
    record_write(m->events, &e);
out:
    free(tb);
    free(path);
    return status;
}

tn_status train_metrics_open(metrics **out, const char *dir, int64_t after_step, bool tensorboard,
                             tn_error *err)
{
    tn_status status = TN_OK;
    metrics  *m = calloc(1, sizeof *m);

    *out = NULL;
    if (m == NULL || (m->path = tn_path(dir, "metrics.jsonl")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for metrics");
        goto out;
    }
    TN_GOTO(rows_cut(m->path, after_step, err));
    if ((m->rows = fopen(m->path, "a")) == NULL) {
        status = tn_fail(err, TN_IO, "%s: cannot open", m->path);
        goto out;
    }
    if (tensorboard) TN_GOTO(events_open(m, dir, after_step, err));
    *out = m;
    m = NULL;
out:
    train_metrics_close(m);
    return status;
}

void train_metrics_close(metrics *m)
{
    if (m == NULL) return;
    if (m->rows != NULL) fclose(m->rows);
    if (m->events != NULL) fclose(m->events);
    free(m->path);
    free(m);
}

/* What a step is told as: under tag in TensorBoard, under key in a row. */
typedef struct value {
    const char *tag, *key;
    float       v;
    bool        on;
} value;
enum { N_VALUE = 13 };

static void values_of(value out[N_VALUE], const tn_train_step *s)
{
    // clang-format off
    const value all[N_VALUE] = {
        { "train/loss", "loss", s->loss, true },            { "train/lr", "lr", s->lr, true },
        { "distill/kl", "kl", s->kl, s->taught },
        { "train/grad_norm", "grad_norm", s->grad_norm, true }, { "train/tokens_per_s", "tokens_per_s", (float)s->tokens_per_s, true },
        { "valid/loss", "valid", s->valid, s->has_valid },  { "preference/margin", "margin", s->margin, s->preference },
        { "preference/accuracy", "accuracy", s->accuracy, s->preference }, { "preference/kl", "kl", s->kl, s->compared },
        { "preference/logp_chosen", "logp_chosen", s->logp_chosen, s->preference },
        { "preference/logp_rejected", "logp_rejected", s->logp_rejected, s->preference },
        { "preference/length_chosen", "length_chosen", s->length_chosen, s->preference },
        { "preference/length_rejected", "length_rejected", s->length_rejected, s->preference },
    };
    // clang-format on
    memcpy(out, all, sizeof all);
}

json_t *tn_train_step_json(const tn_train_step *s)
{
    value   row[N_VALUE];
    json_t *o = json_object();
    bool    ok = json_object_set_new(o, "step", json_integer(s->step)) == 0 &&
              json_object_set_new(o, "tokens", json_integer(s->tokens)) == 0;
    if (s->note[0] != '\0') ok &= 0 == json_object_set_new(o, "note", json_string(s->note));
    values_of(row, s);
    for (int i = 0; i < N_VALUE; i++)
        if (row[i].on) ok &= 0 == json_object_set_new(o, row[i].key, tn_json_f32(row[i].v));
    if (ok) return o;
    json_decref(o);
    return NULL;
}

/* One row, and what is in the buffer of the events with it: what a full disk does not take would be a hole in
 * the curves. */
static tn_status row_write(metrics *m, int64_t step, const json_t *row, tn_error *err)
{
    char *text = row != NULL ? tn_json_text(row) : NULL;
    if (text == NULL) return tn_fail(err, TN_NOMEM, "no memory for a row of %s", m->path);
    bool written = fprintf(m->rows, "%s\n", text) >= 0 && fflush(m->rows) == 0;
    free(text);
    if (written && m->events != NULL) written = fflush(m->events) == 0 && !ferror(m->events);
    if (written) return TN_OK;
    return tn_fail(err, TN_IO, "%s and tb/ beside it: cannot write the row of step %lld; is the disk full?",
                   m->path, (long long)step);
}

tn_status train_metrics_step(metrics *m, const tn_train_step *s, tn_error *err)
{
    value   row[N_VALUE];
    json_t *o = tn_train_step_json(s);
    values_of(row, s);
    for (int i = 0; m->events != NULL && i < N_VALUE; i++)
        if (row[i].on) scalar_write(m->events, row[i].tag, s->step, row[i].v);
    tn_status status = row_write(m, s->step, o, err);
    json_decref(o);
    return status;
}

/* The row as it would have been: "valid" stands behind "tokens_per_s". */
static json_t *row_with(json_t *old, float valid)
{
    json_t     *o = json_object(), *v;
    const char *key;
    bool        ok = o != NULL;
    json_object_foreach(old, key, v) {
        if (strcmp(key, "valid") != 0) ok &= 0 == json_object_set(o, key, v);
        if (strcmp(key, "tokens_per_s") == 0) ok &= 0 == json_object_set_new(o, "valid", tn_json_f32(valid));
    }
    if (ok) return o;
    json_decref(o);
    return NULL;
}

tn_status train_metrics_valid(metrics *m, int64_t step, float valid, tn_error *err)
{
    char     *line = NULL;
    size_t    cap = 0, len = 0;
    json_t   *row = NULL, *made = NULL;
    long      at = 0, next = 0;
    int64_t   found = 0;
    tn_status status = TN_OK;
    FILE     *f = fopen(m->path, "r");

    if (f == NULL)
        return tn_fail(err, TN_IO, "%s: cannot read the row of step %lld", m->path, (long long)step);
    while (tn_read_line(f, &line, &cap, &len)) {
        json_decref(row);
        row = NULL;
        at = next;
        next = ftell(f);
        TN_GOTO(tn_json_parse(&row, line, len, m->path, err));
    }
    if (row == NULL || tn_json_int(row, "step", 1, INT64_MAX, &found, m->path, NULL) != TN_OK ||
        found != step)
        goto out;
    made = row_with(row, valid);
    if (truncate(m->path, at) != 0) {
        status = tn_fail(err, TN_IO, "%s: cannot write the row of step %lld: %s", m->path, (long long)step,
                         strerror(errno));
        goto out;
    }
    if (m->events != NULL) scalar_write(m->events, "valid/loss", step, valid);
    status = row_write(m, step, made, err);
out:
    json_decref(row);
    json_decref(made);
    free(line);
    fclose(f);
    return status;
}
