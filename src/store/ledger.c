/* ledger.c - who ran what, when, on what machine: records under runs/, and an SQLite view of them.
 *
 *   runs/ID.json   the truth: one record an execution, ID = first 16 digits of the SHA-256 of its canonical text
 *   ledger.sqlite  record(id, seq, type, started, seconds, recipe, stage, kind, kind_version, key, root, profile, build,
 *                         status, machine, params, metrics)       one row a record
 *                  stage(record, i, name, kind, key, root, cached)    the stages of a run
 *                  input(record, stage, name, root)                   what each stage read
 *
 * `seq` counts up over the records of a store, so that "newest" survives a clock that jumps. The ledger is a
 * view: when it is missing, damaged or of another version it is put aside and built from runs/; no answer
 * depends on it alone. */
#include "store/store_impl.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { LEDGER_VERSION = 1, RECORD_MAX = 64 << 20 };

static const char schema[] =
    "CREATE TABLE record(id TEXT PRIMARY KEY, seq INTEGER, type TEXT, started TEXT, seconds REAL, recipe "
    "TEXT, stage TEXT,"
    " kind TEXT, kind_version INTEGER, key TEXT, root TEXT, profile TEXT, build TEXT, status TEXT, machine "
    "TEXT,"
    " params TEXT, metrics TEXT) WITHOUT ROWID;"
    "CREATE TABLE stage(record TEXT, i INTEGER, name TEXT, kind TEXT, key TEXT, root TEXT, cached INTEGER,"
    " PRIMARY KEY(record, i)) WITHOUT ROWID;"
    "CREATE TABLE input(record TEXT, stage TEXT, name TEXT, root TEXT, PRIMARY KEY(record, stage, name)) "
    "WITHOUT ROWID;"
    "CREATE INDEX record_seq ON record(seq);"
    "CREATE INDEX record_key ON record(key);"
    "PRAGMA user_version = 1;";

static tn_status sql_fail(tn_store *s, tn_error *err)
{
    return tn_fail(err, TN_IO, "%s/ledger.sqlite: %s", s->dir,
                   s->ledger != NULL ? sqlite3_errmsg(s->ledger) : "not open");
}

void tn_ledger_close(tn_store *s)
{
    if (s->ledger != NULL) sqlite3_close(s->ledger);
    s->ledger = NULL;
}

tn_status tn_store_run_ids(tn_store *s, char ***out, size_t *n, tn_error *err)
{
    char          *dir = tn_path(s->dir, "runs");
    DIR           *d = dir == NULL ? NULL : opendir(dir);
    struct dirent *e;
    size_t         cap = 0;
    tn_status      status = TN_OK;

    *out = NULL;
    *n = 0;
    if (d == NULL) status = tn_fail(err, TN_IO, "%s/runs: %s", s->dir, strerror(errno));
    while (status == TN_OK && (e = readdir(d)) != NULL) {
        if (strlen(e->d_name) != 16 + 5 || !tn_ends_with(e->d_name, ".json")) continue;
        if (*n == cap) {
            char **more = realloc(*out, (cap = cap == 0 ? 64 : 2 * cap) * sizeof **out);
            if (more == NULL) {
                status = tn_fail(err, TN_NOMEM, "no memory for %zu records", cap);
                break;
            }
            *out = more;
        }
        if (((*out)[*n] = tn_strndup(e->d_name, 16)) == NULL)
            status = tn_fail(err, TN_NOMEM, "no memory for a record's id");
        else (*n)++;
    }
    if (d != NULL) closedir(d);
    free(dir);
    if (status != TN_OK) {
        tn_list_free(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}

/* --------------------------------------------------------------------------------------- rows of a record */

static void bind_text(sqlite3_stmt *q, int i, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    if (json_is_string(v)) {
        sqlite3_bind_text(q, i, json_string_value(v), -1, SQLITE_TRANSIENT);
    } else if (json_is_object(v)) {
        char *text = tn_json_text(v);
        sqlite3_bind_text(q, i, text, -1, SQLITE_TRANSIENT);
        free(text);
    }
}

static bool finish(sqlite3_stmt *q)
{
    bool ok = q != NULL && sqlite3_step(q) == SQLITE_DONE;

    sqlite3_finalize(q);
    return ok;
}

static bool add_inputs(sqlite3 *db, const char *id, const char *stage, const json_t *inputs)
{
    const char   *name;
    const json_t *root;

    json_object_foreach((json_t *)inputs, name, root) {
        sqlite3_stmt *q = NULL;
        sqlite3_prepare_v2(db, "INSERT OR IGNORE INTO input VALUES(?,?,?,?)", -1, &q, NULL);
        sqlite3_bind_text(q, 1, id, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(q, 2, stage, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(q, 3, name, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(q, 4, json_string_value(root), -1, SQLITE_TRANSIENT);
        if (!finish(q)) return false;
    }
    return true;
}

static bool add_rows(sqlite3 *db, const char *id, const json_t *r)
{
    static const char *const text_columns[] = { "type",    "started", "recipe",  "stage", "kind",
                                                "key",     "root",    "profile", "build", "status",
                                                "machine", "params",  "metrics" };
    sqlite3_stmt            *q = NULL;
    const char              *stage = json_string_value(json_object_get(r, "stage"));
    size_t                   i;
    const json_t            *st;

    sqlite3_prepare_v2(
        db,
        "INSERT OR IGNORE INTO record(id,seq,seconds,kind_version,type,started,recipe,stage,kind,key,root,"
        "profile,build,status,machine,params,metrics) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        -1, &q, NULL);
    if (q == NULL) return false;
    sqlite3_bind_text(q, 1, id, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(q, 2, json_integer_value(json_object_get(r, "seq")));
    sqlite3_bind_double(q, 3, json_number_value(json_object_get(r, "seconds")));
    sqlite3_bind_int64(q, 4, json_integer_value(json_object_get(r, "kind_version")));
    for (size_t k = 0; k < sizeof text_columns / sizeof text_columns[0]; k++)
        bind_text(q, (int)k + 5, r, text_columns[k]);
    if (!finish(q) || !add_inputs(db, id, stage == NULL ? "" : stage, json_object_get(r, "inputs")))
        return false;
    json_array_foreach(json_object_get(r, "stages"), i, st) {
        const char *name = json_string_value(json_object_get(st, "name"));
        q = NULL;
        sqlite3_prepare_v2(db, "INSERT OR IGNORE INTO stage VALUES(?,?,?,?,?,?,?)", -1, &q, NULL);
        sqlite3_bind_text(q, 1, id, -1, SQLITE_TRANSIENT);
        sqlite3_bind_int64(q, 2, (sqlite3_int64)i);
        bind_text(q, 3, st, "name");
        bind_text(q, 4, st, "kind");
        bind_text(q, 5, st, "key");
        bind_text(q, 6, st, "root");
        sqlite3_bind_int(q, 7, json_is_true(json_object_get(st, "cached")));
        if (!finish(q) || !add_inputs(db, id, name == NULL ? "" : name, json_object_get(st, "inputs")))
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------ open, rebuild */

static bool known(sqlite3 *db, const char *id)
{
    sqlite3_stmt *q = NULL;

    sqlite3_prepare_v2(db, "SELECT 1 FROM record WHERE id = ?", -1, &q, NULL);
    sqlite3_bind_text(q, 1, id, -1, SQLITE_STATIC);
    bool is = q != NULL && sqlite3_step(q) == SQLITE_ROW;
    sqlite3_finalize(q);
    return is;
}

static int64_t n_known(sqlite3 *db)
{
    sqlite3_stmt *q = NULL;
    int64_t       n = -1;

    if (sqlite3_prepare_v2(db, "SELECT count(*) FROM record", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

/* Every record under runs/ that the ledger does not know yet. Records are never taken away, so as many as
 * there are files means all of them: nothing is locked and nothing looked up then. */
static tn_status import_missing(tn_store *s, int64_t *n_added, tn_error *err)
{
    char    **ids = NULL;
    size_t    n = 0;
    tn_status status;

    TN_TRY(tn_store_run_ids(s, &ids, &n, err));
    if (n_known(s->ledger) == (int64_t)n) {
        tn_list_free(ids, n);
        return TN_OK;
    }
    if (sqlite3_exec(s->ledger, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) {
        tn_list_free(ids, n);
        return sql_fail(s, err);
    }
    status = TN_OK;
    for (size_t i = 0; i < n && status == TN_OK; i++) {
        json_t  *r = NULL;
        tn_error why;
        if (known(s->ledger, ids[i])) continue;
        if (tn_store_record_get(s, ids[i], &r, &why) != TN_OK) {
            tn_log(TN_LOG_WARN, "%s; this record is left out of the ledger", why.msg);
            continue;
        }
        if (!add_rows(s->ledger, ids[i], r)) status = sql_fail(s, err);
        else if (n_added != NULL) (*n_added)++;
        json_decref(r);
    }
    tn_list_free(ids, n);
    if (sqlite3_exec(s->ledger, status == TN_OK ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK &&
        status == TN_OK)
        status = sql_fail(s, err);
    return status;
}

static int64_t user_version(sqlite3 *db)
{
    sqlite3_stmt *q = NULL;
    int64_t       v = -1;

    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return v;
}

/* Opens the file; *fresh when its tables were made just now. false: damaged or of another version. */
static bool open_file(tn_store *s, const char *path, bool *fresh)
{
    *fresh = false;
    if (sqlite3_open_v2(path, &s->ledger, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return false;
    sqlite3_busy_timeout(s->ledger, 20000);
    if (sqlite3_exec(s->ledger, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;", NULL, NULL, NULL) !=
        SQLITE_OK)
        return false;
    if (user_version(s->ledger) == LEDGER_VERSION) return true;
    if (sqlite3_exec(s->ledger, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) return false;
    int64_t v = user_version(s->ledger); /* another process may have made the tables meanwhile */
    bool    ok = v == LEDGER_VERSION ||
              (v == 0 && sqlite3_exec(s->ledger, schema, NULL, NULL, NULL) == SQLITE_OK);
    *fresh = v == 0;
    return sqlite3_exec(s->ledger, ok ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK && ok;
}

static void put_aside(tn_store *s, const char *path)
{
    static const char *const parts[] = { "", "-wal", "-shm" };
    char                    *aside = tn_strf("%s.damaged", path);

    for (size_t i = 0; i < 3 && aside != NULL; i++) {
        char *part = tn_strf("%s%s", path, parts[i]);
        if (part != NULL && i == 0) {
            if (rename(part, aside) != 0 && errno != ENOENT) unlink(part);
        } else if (part != NULL) {
            unlink(part);
        }
        free(part);
    }
    free(aside);
    tn_log(TN_LOG_WARN, "%s was damaged: put aside as ledger.sqlite.damaged and built anew from runs/", path);
    (void)s;
}

/* Another's store, or a full disk: what cannot be written is not damaged. The view is then built in memory,
 * for this process. */
static bool is_closed_to_us(tn_store *s, const char *path)
{
    int code = s->ledger == NULL ? SQLITE_OK : sqlite3_errcode(s->ledger);

    return code == SQLITE_FULL || access(s->dir, W_OK) != 0 ||
           (access(path, F_OK) == 0 && access(path, W_OK) != 0);
}

static tn_status open_memory(tn_store *s, bool *fresh, tn_error *err)
{
    tn_ledger_close(s);
    return open_file(s, ":memory:", fresh) ? TN_OK : sql_fail(s, err);
}

static tn_status ledger_open(tn_store *s, tn_error *err)
{
    char     *path = tn_path(s->dir, "ledger.sqlite"), *lock_path = NULL;
    bool      fresh;
    int       lock = -1;
    tn_status status = TN_OK;

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for the ledger's path");
    bool closed = is_closed_to_us(s, path), ok = !closed && open_file(s, path, &fresh);
    if (!ok && (closed || is_closed_to_us(s, path))) {
        status = open_memory(s, &fresh, err);
    } else if (!ok) {
        tn_ledger_close(s);
        if ((lock_path = tn_path(s->dir, "ledger.lock")) != NULL)
            lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (lock >= 0) flock(lock, LOCK_EX); /* one process repairs; the others find it whole */
        if (!open_file(s, path, &fresh)) {
            tn_ledger_close(s);
            put_aside(s, path);
            if (!open_file(s, path, &fresh)) status = sql_fail(s, err);
        }
    }
    if (status == TN_OK && fresh) status = import_missing(s, NULL, err);
    if (lock >= 0) close(lock);
    if (status != TN_OK) tn_ledger_close(s);
    free(lock_path);
    free(path);
    return status;
}

static tn_status ledger_ready(tn_store *s, tn_error *err)
{
    return s->ledger != NULL ? TN_OK : ledger_open(s, err);
}

tn_status tn_store_ledger_rebuild(tn_store *s, int64_t *n_records, tn_error *err)
{
    char *path = tn_path(s->dir, "ledger.sqlite");

    if (path == NULL) return tn_fail(err, TN_NOMEM, "no memory for the ledger's path");
    tn_ledger_close(s);
    put_aside(s, path);
    free(path);
    TN_TRY(ledger_open(s, err));
    *n_records = 0;
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->ledger, "SELECT count(*) FROM record", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        *n_records = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return TN_OK;
}

/* A page may be damaged where no opening looks: whoever meets it drops the view, and the next use builds it
 * anew. */
static bool is_damage(tn_store *s)
{
    int code = s->ledger == NULL ? SQLITE_OK : sqlite3_errcode(s->ledger);

    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_IOERR || code == SQLITE_ERROR;
}

static tn_status after_damage(tn_store *s, tn_error *err)
{
    int64_t n;

    return tn_store_ledger_rebuild(s, &n, err);
}

tn_status tn_ledger_add(tn_store *s, const char *id, const json_t *record, tn_error *err)
{
    TN_TRY(ledger_ready(s, err));
    for (int attempt = 0; attempt < 2; attempt++) {
        bool ok = sqlite3_exec(s->ledger, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
                  add_rows(s->ledger, id, record) &&
                  sqlite3_exec(s->ledger, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
        if (ok) return TN_OK;
        bool      damaged = is_damage(s);
        tn_status status = sql_fail(s, err);
        sqlite3_exec(s->ledger, "ROLLBACK", NULL, NULL, NULL);
        if (!damaged || attempt == 1) return status;
        TN_TRY(after_damage(s, err));
    }
    return TN_OK;
}

/* ------------------------------------------------------------------------------------------------ records */

static int64_t next_seq(tn_store *s)
{
    sqlite3_stmt *q = NULL;
    int64_t       seq = 0;

    if (ledger_ready(s, NULL) != TN_OK) return 0;
    if (sqlite3_prepare_v2(s->ledger, "SELECT max(seq) FROM record", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        seq = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return seq + 1;
}

tn_status tn_store_record_id(tn_store *s, const json_t *record, char id[17], tn_error *err)
{
    tn_status status = TN_OK;
    json_t   *r = json_copy((json_t *)record);
    char     *text = NULL, *path = NULL;
    char      hex[TN_SHA256_HEX];
    tn_digest d;
    tn_error  why;

    if (r != NULL && json_object_get(r, "seq") == NULL)
        json_object_set_new(r, "seq", json_integer(next_seq(s)));
    if (r == NULL || (text = tn_json_text(r)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a run's record");
        goto out;
    }
    d = tn_sha256_of(text, strlen(text));
    tn_hex(hex, &d);
    if ((path = tn_strf("%s/runs/%.16s.json", s->dir, hex)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a record's path");
        goto out;
    }
    TN_GOTO(tn_file_write_all(path, text, strlen(text), err));
    memcpy(id, hex, 16);
    id[16] = '\0';
    if (tn_ledger_add(s, id, r, &why) != TN_OK)
        tn_log(TN_LOG_WARN, "%s; the record itself is safe in %s", why.msg, path);
out:
    json_decref(r);
    free(text);
    free(path);
    return status;
}

tn_status tn_store_record(tn_store *s, const json_t *record, tn_error *err)
{
    char id[17];

    return tn_store_record_id(s, record, id, err);
}

tn_status tn_store_record_get(tn_store *s, const char *id, json_t **out, tn_error *err)
{
    char    **ids = NULL;
    size_t    n = 0, hits = 0, n_id = strlen(id);
    char      found[17] = { 0 }, *path = NULL;
    char     *text = NULL;
    size_t    n_text = 0;
    tn_digest d;
    char      hex[TN_SHA256_HEX];
    tn_status status = TN_OK;

    *out = NULL;
    if (n_id < 16) {
        TN_TRY(tn_store_run_ids(s, &ids, &n, err));
        for (size_t i = 0; i < n; i++)
            if (n_id >= 4 && strncmp(ids[i], id, n_id) == 0) {
                memcpy(found, ids[i], 16);
                hits++;
            }
        tn_list_free(ids, n);
        if (hits > 1) return tn_fail(err, TN_USAGE, "%s... fits %zu runs: give more digits", id, hits);
    } else if (n_id == 16) {
        memcpy(found, id, 16);
        hits = 1;
    }
    if (hits == 0 || !tn_path_is_plain(found))
        return tn_fail(err, TN_NOTFOUND, "the store at %s has no run '%.40s' (`tenet log` lists them)",
                       s->dir, id);
    if ((path = tn_strf("%s/runs/%s.json", s->dir, found)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for a path");
    status = tn_file_read_all(&text, &n_text, path, RECORD_MAX, err);
    if (status == TN_NOTFOUND)
        status = tn_fail(err, TN_NOTFOUND, "the store at %s has no run '%s' (`tenet log` lists them)", s->dir,
                         found);
    if (status != TN_OK) goto out;
    d = tn_sha256_of(text, n_text);
    tn_hex(hex, &d);
    if (memcmp(hex, found, 16) != 0) {
        status = tn_fail(err, TN_FORMAT,
                         "%s: damaged (its content does not give its name); remove it: what it told of, the "
                         "time and place of a run, is lost",
                         path);
        goto out;
    }
    status = tn_json_parse(out, text, n_text, path, err);
out:
    free(text);
    free(path);
    return status;
}

/* ---------------------------------------------------------------------------------------------------- log */

static tn_status query_log(tn_store *s, const char *type, const char *recipe, const char *stage,
                           int64_t limit, json_t *rows, tn_error *err)
{
    static const char *const columns[] = { "id",   "type", "started", "recipe", "stage",
                                           "kind", "key",  "root",    "status" };
    sqlite3_stmt            *q = NULL;
    int                      rc;

    sqlite3_prepare_v2(s->ledger,
                       "SELECT id,type,started,recipe,stage,kind,key,root,status,seconds FROM record WHERE "
                       "(?1 IS NULL OR type=?1 OR (?1='asked' AND (type='run' OR recipe IS NULL))) AND (?2 "
                       "IS NULL OR recipe=?2) AND (?3 IS NULL OR stage=?3) "
                       "ORDER BY seq DESC, started DESC, id LIMIT ?4",
                       -1, &q, NULL);
    if (q == NULL) return sql_fail(s, err);
    if (type != NULL) sqlite3_bind_text(q, 1, type, -1, SQLITE_STATIC);
    if (recipe != NULL) sqlite3_bind_text(q, 2, recipe, -1, SQLITE_STATIC);
    if (stage != NULL) sqlite3_bind_text(q, 3, stage, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 4, limit > 0 ? limit : -1);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
        json_t *row = json_object();
        for (int i = 0; i < 9; i++) {
            const unsigned char *text = sqlite3_column_text(q, i);
            json_object_set_new(row, columns[i],
                                text == NULL ? json_null() : json_string((const char *)text));
        }
        json_object_set_new(row, "seconds", json_real(sqlite3_column_double(q, 9)));
        json_array_append_new(rows, row);
    }
    tn_status status = rc == SQLITE_DONE ? TN_OK : sql_fail(s, err);
    sqlite3_finalize(q);
    return status;
}

tn_status tn_store_log(tn_store *s, const char *type, const char *recipe, const char *stage, int64_t limit,
                       json_t **out, tn_error *err)
{
    tn_status status = TN_OK;

    *out = json_array();
    TN_TRY(ledger_ready(s, err));
    for (int attempt = 0; attempt < 2; attempt++) {
        status = import_missing(s, NULL, err);
        if (status == TN_OK) status = query_log(s, type, recipe, stage, limit, *out, err);
        bool full = status != TN_OK && s->ledger != NULL && sqlite3_errcode(s->ledger) == SQLITE_FULL, fresh;
        if (status == TN_OK || !(full || is_damage(s))) return status;
        json_array_clear(*out);
        TN_TRY(full ? open_memory(s, &fresh, err) : after_damage(s, err));
    }
    return status;
}
