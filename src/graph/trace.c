/* trace.c - looking at runs: the table of --timing and the hashes of --hash-ops. Neither changes a run.
 *
 * Both are of the process: whatever graphs a command makes, and whichever of its threads run them, there is
 * one table and one file.
 *
 * A hash line is "run node name sha256": the run's number in this graph, the node's, its name (with .grad.K
 * for the gradient of input K, .again for a recomputation) and the digest of the tensor's bytes. Two runs
 * that should agree are compared with diff; the first line that differs names the operation. */
#include "graph/graph_impl.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool graph_timing_on;

/* [i] forward, [TN_OP_COUNT + i] backward of operation i. */
static double          op_seconds[2 * TN_OP_COUNT], op_flops[2 * TN_OP_COUNT];
static int64_t         op_calls[2 * TN_OP_COUNT];
static tn_str          timing_notes;
static pthread_mutex_t timing_lock = PTHREAD_MUTEX_INITIALIZER; /* graphs run on several threads */

static tn_out   *hash_out;
static char     *hash_path;
static int64_t   hash_lines;  /* in this file so far */
static tn_status hash_status; /* of the first line that could not be written */
static tn_error  hash_why;

void tn_graph_set_timing(bool on)
{
    graph_timing_on = on;
    if (!on) return;
    memset(op_seconds, 0, sizeof op_seconds);
    memset(op_flops, 0, sizeof op_flops);
    memset(op_calls, 0, sizeof op_calls);
    tn_str_free(&timing_notes);
}

void graph_time_step(tn_graph *g, const step *s, double seconds)
{
    if (s->kind == STEP_COPY) return;
    const node *n = &g->nodes[s->node];
    int         i = (s->kind == STEP_BACKWARD ? TN_OP_COUNT : 0) + (int)n->id;
    int         n_product = 1;

    /* as many products as inputs want gradients; head_loss made its own before */
    if (s->kind == STEP_BACKWARD) {
        n_product = 0;
        for (int k = 0; k < n->n_in && n->id != TN_OP_HEAD_LOSS; k++) n_product += s->call.din[k] != NULL;
    }
    g->timed_seconds += seconds;
    pthread_mutex_lock(&timing_lock);
    op_seconds[i] += seconds;
    op_flops[i] += n->flops * n_product;
    op_calls[i]++;
    pthread_mutex_unlock(&timing_lock);
}

double tn_graph_timed_seconds(const tn_graph *g) { return g->timed_seconds; }

void tn_graph_timing_note(const char *line)
{
    pthread_mutex_lock(&timing_lock);
    tn_str_addf(&timing_notes, "%s\n", line);
    pthread_mutex_unlock(&timing_lock);
}

static void timing_table(tn_str *text)
{
    double total = 0;

    for (int i = 0; i < 2 * TN_OP_COUNT; i++) total += op_seconds[i];
    tn_str_addf(text, "%-18s %-9s %9s %11s %10s %7s\n", "operation", "pass", "calls", "ms", "GFLOP/s",
                "share");
    for (int i = 0; i < 2 * TN_OP_COUNT; i++) {
        if (op_calls[i] == 0) continue;
        const tn_op *op = tn_op_get((tn_op_id)(i % TN_OP_COUNT));
        tn_str_addf(text, "%-18s %-9s %9lld %11.2f ", op->name, i < TN_OP_COUNT ? "forward" : "backward",
                    (long long)op_calls[i], 1e3 * op_seconds[i]);
        if (op_flops[i] > 0 && op_seconds[i] > 0)
            tn_str_addf(text, "%10.1f ", 1e-9 * op_flops[i] / op_seconds[i]);
        else tn_str_addf(text, "%10s ", "-");
        tn_str_addf(text, "%6.1f%%\n", total > 0 ? 100 * op_seconds[i] / total : 0.0);
    }
    if (timing_notes.len > 0) tn_str_add(text, timing_notes.p);
}

char *tn_graph_timing_text(void)
{
    tn_str text = { 0 };
    bool   any = false;

    pthread_mutex_lock(&timing_lock);
    for (int i = 0; i < 2 * TN_OP_COUNT; i++) any |= op_calls[i] > 0;
    if (any) timing_table(&text);
    pthread_mutex_unlock(&timing_lock);
    return any ? tn_str_take(&text) : NULL;
}

tn_status graph_hash_check(tn_error *err)
{
    if (hash_status == TN_OK) return TN_OK;
    return tn_fail(err, TN_IO, "%s of --hash-ops cannot be written (%.150s)", hash_path, hash_why.msg);
}

/* "1 0 token_embd.out.0 <64 hex digits>" */
static bool is_hash_line(const char *line)
{
    int at = 0;

    return sscanf(line, "%*d %*d %*s %n", &at) == 0 && at > 0 &&
           strspn(line + at, "0123456789abcdef") == TN_SHA256_HEX - 1 && line[at + TN_SHA256_HEX - 1] == '\n';
}

/* The end of a run replaces what stands there: only hashes of an earlier one, never a model that was named by
 * mistake. */
static tn_status check_place(const char *path, tn_error *err)
{
    struct stat st;
    char        line[1024] = "";
    FILE       *f;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) return TN_OK;
    if ((f = fopen(path, "re")) == NULL)
        return tn_fail(err, TN_IO, "%s of --hash-ops cannot be read: %s", path, strerror(errno));
    bool hashes = fgets(line, sizeof line, f) != NULL && is_hash_line(line);
    fclose(f);
    if (hashes) return TN_OK;
    return tn_fail(err, TN_USAGE,
                   "--hash-ops: %s is there already and holds no hashes of an earlier run: name another "
                   "file, or remove it first",
                   path);
}

tn_status tn_graph_set_hash_file(const char *path, tn_error *err)
{
    tn_status status = TN_OK;

    if (hash_out != NULL && hash_lines > 0 && hash_status == TN_OK)
        hash_status = tn_out_commit(hash_out, &hash_why);
    else tn_out_abandon(hash_out);
    status = graph_hash_check(err);
    free(hash_path);
    hash_out = NULL;
    hash_path = NULL;
    hash_lines = 0;
    hash_status = TN_OK;
    if (path == NULL || status != TN_OK) return status;
    if ((hash_path = tn_strdup(path)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the name of the file of --hash-ops");
    TN_TRY(check_place(path, err));
    if ((status = tn_out_open(&hash_out, path, err)) != TN_OK)
        return tn_fail_prefix(err, status, "--hash-ops");
    return TN_OK;
}

int64_t tn_graph_hash_lines(void) { return hash_out != NULL ? hash_lines : -1; }

bool graph_hashing(void) { return hash_out != NULL; }

static void hash_line(const tn_graph *g, const step *s, const tn_tensor *t, const char *what, int k)
{
    const node *n = &g->nodes[s->node];
    char        hex[TN_SHA256_HEX];
    tn_digest   d;

    if (t == NULL || t->data == NULL) return;
    tn_tensor_hash(&d, t);
    tn_hex(hex, &d);
    hash_lines++;
    if (hash_status == TN_OK)
        hash_status = tn_out_printf(hash_out, &hash_why, "%lld %d %s.%s%d %s\n", (long long)g->n_run, s->node,
                                    n->name ? n->name : n->op->name, what, k, hex);
}

void graph_hash_step(const tn_graph *g, const step *s)
{
    if (s->kind == STEP_COPY) return;
    const node *n = &g->nodes[s->node];
    for (int k = 0; k < s->call.n_out && s->kind != STEP_BACKWARD; k++)
        hash_line(g, s, s->call.out[k], s->kind == STEP_AGAIN ? "again." : "out.", k);
    for (int k = 0; k < n->n_in && s->kind == STEP_BACKWARD; k++) hash_line(g, s, s->call.din[k], "grad.", k);
}
