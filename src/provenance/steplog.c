/* steplog.c - the hash chain of training: one record a step, as JSON Lines that a person can read.
 *
 *   line 0   {"format":"tenet/steplog/v1","genesis":"<64 hex>"}        genesis: digest of the run's configuration
 *   line k   {"batch":"<hex>","chain":"<hex>","grad_norm":0.5,"grad_norm_bits":"3f000000","loss":...,"loss_bits":...,
 *             "lr":...,"lr_bits":...,"note":"","state":"<hex>" or null,"step":k}
 *
 *   h_0 = SHA-256("tenet/steplog/v1" || genesis)
 *   h_k = SHA-256("tenet/step/v1" || h_{k-1} || k u64 BE || batch || lr || loss || grad norm (f32 bits, BE) ||
 *                 state or 32 zero bytes || note padded with zeros to 32 bytes)
 *   root  RFC 9162 tree over the leaves h_0 ... h_n
 *
 * Every line is in the one form that the writer gives it (a reader writes it again and compares), so no byte
 * of a log can change unseen; the bits are the value, the decimal number beside them is for people. A reader
 * stops at the first line that is wrong and names the step. */
#include "provenance/provenance.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char log_tag[] = "tenet/steplog/v1";
static const char step_tag[] = "tenet/step/v1";

struct tn_steplog {
    FILE     *file;
    char     *path;
    tn_digest chain;
    uint64_t  step;
    long      end;    /* of the last whole record */
    uint64_t *stated; /* steps whose record has a state, ascending */
    size_t    n_stated, stated_cap;
};

static uint32_t bits_of(float v)
{
    uint32_t u;

    if (isnan(v)) return 0x7fc00000u; /* one NaN for all, as everywhere in tenet */
    memcpy(&u, &v, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float v;

    memcpy(&v, &u, sizeof v);
    return v;
}

static void put_be(uint8_t **p, uint64_t v, int n_bytes)
{
    for (int i = n_bytes - 1; i >= 0; i--) *(*p)++ = (uint8_t)(v >> (8 * i));
}

static void put_bytes(uint8_t **p, const void *bytes, size_t n)
{
    memcpy(*p, bytes, n);
    *p += n;
}

static void chain_start(tn_digest *out, const tn_digest *genesis)
{
    uint8_t buf[64], *p = buf;

    put_bytes(&p, log_tag, sizeof log_tag - 1);
    put_bytes(&p, genesis->b, TN_SHA256_BYTES);
    *out = tn_sha256_of(buf, (size_t)(p - buf));
}

void tn_step_chain(tn_digest *out, const tn_digest *before, const tn_step_record *r)
{
    static const tn_digest none;
    uint8_t                buf[256], *p = buf;
    char                   note[sizeof r->note] = { 0 };

    memcpy(note, r->note, strnlen(r->note, sizeof note - 1));
    put_bytes(&p, step_tag, sizeof step_tag - 1);
    put_bytes(&p, before->b, TN_SHA256_BYTES);
    put_be(&p, r->step, 8);
    put_bytes(&p, r->batch.b, TN_SHA256_BYTES);
    put_be(&p, bits_of(r->lr), 4);
    put_be(&p, bits_of(r->loss), 4);
    put_be(&p, bits_of(r->grad_norm), 4);
    put_bytes(&p, r->has_state ? r->state.b : none.b, TN_SHA256_BYTES);
    put_bytes(&p, note, sizeof note);
    *out = tn_sha256_of(buf, (size_t)(p - buf));
}

static void add_float(tn_str *s, const char *key, float v)
{
    char text[32];

    tn_str_addf(s, "\"%s\":%s,\"%s_bits\":\"%08x\",", key, isfinite(v) ? tn_f32_text(v, text) : "null", key,
                bits_of(v));
}

/* The one text of a record, without the newline. */
static void record_text(tn_str *s, const tn_step_record *r)
{
    char batch[TN_SHA256_HEX], chain[TN_SHA256_HEX], state[TN_SHA256_HEX];

    tn_hex(batch, &r->batch);
    tn_hex(chain, &r->chain);
    tn_str_addf(s, "{\"batch\":\"%s\",\"chain\":\"%s\",", batch, chain);
    add_float(s, "grad_norm", r->grad_norm);
    add_float(s, "loss", r->loss);
    add_float(s, "lr", r->lr);
    tn_str_addf(s, "\"note\":\"%s\",", r->note);
    if (r->has_state) {
        tn_hex(state, &r->state);
        tn_str_addf(s, "\"state\":\"%s\",", state);
    } else {
        tn_str_add(s, "\"state\":null,");
    }
    tn_str_addf(s, "\"step\":%llu}", (unsigned long long)r->step);
}

static bool note_is_plain(const char *note)
{
    for (; *note != '\0'; note++)
        if (!((*note >= 'a' && *note <= 'z') || (*note >= '0' && *note <= '9') || *note == '-' ||
              *note == ' '))
            return false;
    return true;
}

static bool read_bits(const json_t *o, const char *key, float *out)
{
    const char *text = json_string_value(json_object_get(o, key));
    char       *end;

    if (text == NULL || strlen(text) != 8) return false;
    unsigned long u = strtoul(text, &end, 16);
    *out = float_of((uint32_t)u);
    return *end == '\0';
}

static bool read_digest(const json_t *o, const char *key, tn_digest *out)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text != NULL && tn_unhex(out, text);
}

/* Takes one line apart; the caller compares it with record_text, which catches whatever this one lets
 * pass. */
static bool record_parse(tn_step_record *r, const char *line, size_t n)
{
    json_t     *o = NULL;
    bool        ok = false;
    const char *note;

    memset(r, 0, sizeof *r);
    if (tn_json_parse(&o, line, n, "step log", NULL) != TN_OK) return false;
    const json_t *step = json_object_get(o, "step");
    note = json_string_value(json_object_get(o, "note"));
    if (!json_is_integer(step) || json_integer_value(step) < 1) goto out;
    if (note == NULL || strlen(note) >= sizeof r->note || !note_is_plain(note)) goto out;
    r->step = (uint64_t)json_integer_value(step);
    memcpy(r->note, note, strlen(note) + 1);
    r->has_state = json_is_string(json_object_get(o, "state"));
    ok = read_digest(o, "batch", &r->batch) && read_digest(o, "chain", &r->chain) &&
         (!r->has_state || read_digest(o, "state", &r->state)) && read_bits(o, "loss_bits", &r->loss) &&
         read_bits(o, "grad_norm_bits", &r->grad_norm) && read_bits(o, "lr_bits", &r->lr);
out:
    json_decref(o);
    return ok;
}

static void header_text(tn_str *s, const tn_digest *genesis)
{
    char hex[TN_SHA256_HEX];

    tn_hex(hex, genesis);
    tn_str_addf(s, "{\"format\":\"%s\",\"genesis\":\"%s\"}", log_tag, hex);
}

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct reader {
    FILE           *file;
    const char     *path;
    char           *line;
    size_t          cap, len;
    tn_digest       genesis, chain;
    uint64_t        step;
    long            good; /* file offset after the last line that was right */
    tn_step_record *records;
    size_t          n, n_cap;
} reader;

static tn_status read_header(reader *in, const tn_digest *genesis, tn_error *err)
{
    static const char before[] = "{\"format\":\"tenet/steplog/v1\",\"genesis\":\"";
    char              hex[TN_SHA256_HEX] = { 0 };

    if (!tn_read_line(in->file, &in->line, &in->cap, &in->len) || in->len != sizeof before - 1 + 64 + 2 ||
        memcmp(in->line, before, sizeof before - 1) != 0 || memcmp(in->line + in->len - 2, "\"}", 2) != 0)
        return tn_fail(err, TN_FORMAT, "%s:1: no step log (its first line names the format %s)", in->path,
                       log_tag);
    memcpy(hex, in->line + sizeof before - 1, 64);
    if (!tn_unhex(&in->genesis, hex)) return tn_fail(err, TN_FORMAT, "%s:1: genesis is no SHA-256", in->path);
    if (genesis != NULL && !tn_digest_equal(genesis, &in->genesis)) {
        char want[TN_SHA256_HEX];
        tn_hex(want, genesis);
        return tn_fail(err, TN_MISMATCH,
                       "%s: this log belongs to another configuration: expected genesis %.16s..., "
                       "found %.16s...: use another output directory",
                       in->path, want, hex);
    }
    chain_start(&in->chain, &in->genesis);
    in->good = ftell(in->file);
    return TN_OK;
}

static tn_status keep_record(reader *in, const tn_step_record *r, tn_error *err)
{
    if (in->n == in->n_cap) {
        size_t          cap = in->n_cap == 0 ? 256 : 2 * in->n_cap;
        tn_step_record *more = realloc(in->records, cap * sizeof *more);
        if (more == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for %zu step records", in->path, cap);
        in->records = more;
        in->n_cap = cap;
    }
    in->records[in->n++] = *r;
    return TN_OK;
}

/* Reads records up to `last_step`; VERIFY names the first step that is wrong, in->good says where it
 * begins. */
static tn_status read_records(reader *in, uint64_t last_step, tn_error *err)
{
    tn_status      status = TN_OK;
    tn_step_record r;
    tn_digest      want;
    tn_str         again = { .max = 4096 };

    while (in->step < last_step && tn_read_line(in->file, &in->line, &in->cap, &in->len)) {
        uint64_t step = in->step + 1;
        if (feof(in->file)) break; /* no newline: the log ends before this line */
        if (!record_parse(&r, in->line, in->len)) {
            status = tn_fail(err, TN_VERIFY, "%s:%llu: the record of step %llu does not parse", in->path,
                             (unsigned long long)step + 1, (unsigned long long)step);
            break;
        }
        tn_str_clear(&again);
        record_text(&again, &r);
        TN_GOTO(tn_str_check(&again, err));
        tn_step_chain(&want, &in->chain, &r);
        if (r.step != step || again.len != in->len || memcmp(again.p, in->line, in->len) != 0 ||
            !tn_digest_equal(&want, &r.chain)) {
            status = tn_fail(err, TN_VERIFY,
                             "%s:%llu: step %llu was altered: its record does not give its chain hash",
                             in->path, (unsigned long long)step + 1, (unsigned long long)step);
            break;
        }
        TN_GOTO(keep_record(in, &r, err));
        in->chain = r.chain;
        in->step = step;
        in->good = ftell(in->file);
    }
out:
    tn_str_free(&again);
    return status;
}

/* The last byte of a whole log is a newline; a torn last line would otherwise read as a line. */
static bool ends_with_newline(FILE *f)
{
    bool ok = fseek(f, -1, SEEK_END) == 0 && fgetc(f) == '\n';

    rewind(f);
    return ok;
}

static void reader_free(reader *in)
{
    if (in->file != NULL) fclose(in->file);
    free(in->line);
    free(in->records);
}

tn_status tn_steplog_read_to(const char *path, const tn_digest *genesis, uint64_t last_step,
                             tn_step_record **out, size_t *n, tn_error *err)
{
    tn_status status = TN_OK;
    reader    in = { .path = path };

    *out = NULL;
    *n = 0;
    if ((in.file = fopen(path, "rb")) == NULL) {
        if (errno != ENOENT) status = tn_fail(err, TN_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    TN_GOTO(read_header(&in, genesis, err));
    TN_GOTO(read_records(&in, last_step, err));
    *n = in.n;
    *out = in.records;
    in.records = NULL;
out:
    reader_free(&in);
    return status;
}

tn_status tn_steplog_read(const char *path, const tn_digest *genesis, tn_step_record **out, size_t *n,
                          tn_digest *root, tn_error *err)
{
    tn_status  status = TN_OK;
    reader     in = { .path = path };
    tn_digest *leaves = NULL;

    if (out != NULL) *out = NULL;
    if ((in.file = fopen(path, "rb")) == NULL) {
        status = tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (!ends_with_newline(in.file)) {
        status = tn_fail(err, TN_VERIFY, "%s: its last line is cut off", path);
        goto out;
    }
    TN_GOTO(read_header(&in, genesis, err));
    TN_GOTO(read_records(&in, UINT64_MAX, err));
    if (root != NULL) {
        if ((leaves = calloc(in.n + 1, sizeof *leaves)) == NULL) {
            status = tn_fail(err, TN_NOMEM, "%s: no memory for %zu leaves", path, in.n);
            goto out;
        }
        tn_digest start;
        chain_start(&start, &in.genesis);
        tn_merkle_leaf(&leaves[0], start.b, TN_SHA256_BYTES);
        for (size_t i = 0; i < in.n; i++)
            tn_merkle_leaf(&leaves[i + 1], in.records[i].chain.b, TN_SHA256_BYTES);
        tn_merkle_root(root, leaves, in.n + 1);
    }
    if (n != NULL) *n = in.n;
    if (out != NULL) {
        *out = in.records;
        in.records = NULL;
    }
out:
    free(leaves);
    reader_free(&in);
    return status;
}

tn_status tn_steplog_genesis(const char *path, tn_digest *out, tn_error *err)
{
    reader in = { .path = path };

    if ((in.file = fopen(path, "rb")) == NULL)
        return tn_fail(err, errno == ENOENT ? TN_NOTFOUND : TN_IO, "%s: %s", path, strerror(errno));
    tn_status status = read_header(&in, NULL, err);
    *out = in.genesis;
    reader_free(&in);
    return status;
}

/* ---------------------------------------------------------------------------------------------- appending */

/* A line that a full disk cuts short is taken back: the log ends with a whole record. */
static tn_status write_line(tn_steplog *l, tn_str *line, tn_error *err)
{
    tn_str_add_char(line, '\n');
    tn_status status = tn_str_check(line, err);
    if (status == TN_OK && fwrite(line->p, 1, line->len, l->file) != line->len) {
        int  why = errno;
        bool whole = ftruncate(fileno(l->file), l->end) == 0 && fseek(l->file, l->end, SEEK_SET) == 0;
        status = tn_fail(err, TN_IO, "%s: cannot write: %s%s", l->path, strerror(why),
                         whole ? "" : "; its last line is cut off");
    }
    if (status == TN_OK) l->end += (long)line->len;
    tn_str_free(line);
    return status;
}

static tn_status stated_add(tn_steplog *l, const tn_step_record *r, tn_error *err)
{
    if (!r->has_state) return TN_OK;
    if (l->n_stated == l->stated_cap) {
        size_t    cap = l->stated_cap == 0 ? 64 : 2 * l->stated_cap;
        uint64_t *more = realloc(l->stated, cap * sizeof *more);
        if (more == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for %zu steps", l->path, cap);
        l->stated = more;
        l->stated_cap = cap;
    }
    l->stated[l->n_stated++] = r->step;
    return TN_OK;
}

bool tn_steplog_has_state(const tn_steplog *l, uint64_t step)
{
    size_t a = 0, b = l->n_stated;

    while (a < b) {
        size_t mid = a + (b - a) / 2;
        if (l->stated[mid] < step) a = mid + 1;
        else b = mid;
    }
    return a < l->n_stated && l->stated[a] == step;
}

/* Finds where a log that is there may go on: after last_step, all before it being right. */
static tn_status go_on(tn_steplog *l, const tn_digest *genesis, uint64_t last_step, tn_error *err)
{
    reader    in = { .path = l->path };
    tn_status status = TN_OK;

    if ((in.file = fopen(l->path, "rb")) == NULL) {
        status = tn_fail(err, TN_IO, "%s: %s", l->path, strerror(errno));
        goto out;
    }
    TN_GOTO(read_header(&in, genesis, err));
    TN_GOTO(read_records(&in, last_step, err));
    if (in.step < last_step) {
        status = tn_fail(err, TN_MISMATCH, "%s: ends at step %llu, but the checkpoint is of step %llu",
                         l->path, (unsigned long long)in.step, (unsigned long long)last_step);
        goto out;
    }
    l->chain = in.chain;
    l->step = in.step;
    l->end = in.good;
    for (size_t i = 0; i < in.n; i++) TN_GOTO(stated_add(l, &in.records[i], err));
    if (truncate(l->path, in.good) != 0)
        status = tn_fail(err, TN_IO, "%s: cannot cut after step %llu: %s", l->path,
                         (unsigned long long)l->step, strerror(errno));
out:
    reader_free(&in);
    return status;
}

static bool has_header(const char *path)
{
    FILE *f = fopen(path, "rb");
    bool  whole = false;
    int   c;

    if (f == NULL) return false;
    while ((c = fgetc(f)) != EOF && !whole) whole = c == '\n';
    fclose(f);
    return whole;
}

tn_status tn_steplog_open(tn_steplog **out, const char *path, const tn_digest *genesis, uint64_t last_step,
                          tn_error *err)
{
    tn_status   status = TN_OK;
    tn_steplog *l = calloc(1, sizeof *l);
    bool        fresh;

    *out = NULL;
    if (l == NULL || (l->path = tn_strdup(path)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "%s: no memory for a step log", path);
        goto out;
    }
    fresh = last_step == 0 && !has_header(path); /* absent, or torn inside its first line */
    if (!fresh) TN_GOTO(go_on(l, genesis, last_step, err));
    if ((l->file = fopen(path, fresh ? "wb" : "ab")) == NULL) {
        status = tn_fail(err, TN_IO, "%s: cannot open for writing: %s", path, strerror(errno));
        goto out;
    }
    setvbuf(l->file, NULL, _IONBF, 0); /* nothing waits that could be written after an error */
    if (fresh) {
        tn_str line = { .max = 4096 };
        header_text(&line, genesis);
        TN_GOTO(write_line(l, &line, err));
        chain_start(&l->chain, genesis);
    }
    *out = l;
    l = NULL;
out:
    if (l != NULL) {
        if (l->file != NULL) fclose(l->file);
        free(l->stated);
        free(l->path);
        free(l);
    }
    return status;
}

tn_status tn_steplog_append(tn_steplog *l, tn_step_record *r, tn_error *err)
{
    tn_str line = { .max = 4096 };

    if (r->step != l->step + 1)
        return tn_fail(err, TN_MISMATCH, "%s: expected step %llu, was given step %llu", l->path,
                       (unsigned long long)l->step + 1, (unsigned long long)r->step);
    if (memchr(r->note, '\0', sizeof r->note) == NULL || !note_is_plain(r->note))
        return tn_fail(err, TN_FORMAT,
                       "%s: a step's note has at most %zu lowercase letters, digits, '-' and spaces", l->path,
                       sizeof r->note - 1);
    tn_step_chain(&r->chain, &l->chain, r);
    record_text(&line, r);
    TN_TRY(write_line(l, &line, err));
    l->chain = r->chain;
    l->step = r->step;
    return stated_add(l, r, err);
}

tn_status tn_steplog_sync(tn_steplog *l, tn_error *err)
{
    if (fsync(fileno(l->file)) != 0)
        return tn_fail(err, TN_IO, "%s: cannot sync: %s", l->path, strerror(errno));
    return TN_OK;
}

tn_status tn_steplog_close(tn_steplog *l, tn_error *err)
{
    if (l == NULL) return TN_OK;
    tn_status status = tn_steplog_sync(l, err);
    if (fclose(l->file) != 0 && status == TN_OK)
        status = tn_fail(err, TN_IO, "%s: cannot close: %s", l->path, strerror(errno));
    free(l->stated);
    free(l->path);
    free(l);
    return status;
}
