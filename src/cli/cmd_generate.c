/* cmd_generate.c - `tenet generate`: answers to one prompt or to a file of them, as one batch, in input
 * order. */
#include "cli/with_model.h"

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct generate_config {
    tn_model_args a;
    char         *prompt, *file, *stop;
    int64_t       n, top_k, n_top_logprobs;
    double        temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
    bool          chat, ignore_eos;
} generate_config;

#define AT(field) offsetof(generate_config, field)
// clang-format off
static const tn_option options[] = {
    // clang-format off
    TN_MODEL_OPTIONS(generate_config, a),
    { "prompt",             TN_OPT_STR,  AT(prompt),             NULL,  0, 0,    "",       "one prompt, as raw text", "p" },
    { "chat",               TN_OPT_BOOL, AT(chat),               NULL,  0, 0,    "",       "the prompt is a user's turn: put it into the chat format", NULL },
    { "file",               TN_OPT_STR,  AT(file),               NULL,  0, 0,    "",       "JSON Lines with \"prompt\" or \"messages\", and \"id\" if wanted", "f" },
    TN_SAMPLING_OPTIONS(generate_config, "256", 0, "0", "1"),
    { "presence_penalty",   TN_OPT_REAL, AT(presence_penalty),   "0",   -100, 100, "",     "taken off the logits of tokens that were generated", NULL },
    { "frequency_penalty",  TN_OPT_REAL, AT(frequency_penalty),  "0",   -100, 100, "",     "the same, once for every time", NULL },
    { "stop",               TN_OPT_STR,  AT(stop),               NULL,  0, 0,    "",       "end before this text (\\n and \\t are understood)", NULL },
    { "ignore_eos",         TN_OPT_BOOL, AT(ignore_eos),         NULL,  0, 0,    "",       "go on after the end token", NULL },
    { "top_logprobs",       TN_OPT_INT,  AT(n_top_logprobs),     "0",   0, 1000, "tokens", "also the most likely tokens of every step", NULL },
    { NULL, TN_OPT_INT, 0, NULL, 0, 0, NULL, NULL, NULL },
    // clang-format on
};
// clang-format on
#undef AT

typedef struct row {
    json_t *id;
    tn_ids  ids;
    char   *stop[8];
    int     n_stop;
} row;

typedef struct batch {
    row        *rows;
    int64_t     n, cap, n_longest;
    tn_request *requests;
    tn_result  *results;
} batch;

/* \n, \t, \r and \\ in a stop string from the command line. made: free. */
static char *unescape(const char *s)
{
    char  *out = malloc(strlen(s) + 1);
    size_t n = 0;

    if (out == NULL) return NULL;
    for (; *s != '\0'; s++) {
        if (s[0] == '\\' && (s[1] == 'n' || s[1] == 't' || s[1] == 'r' || s[1] == '\\')) {
            s++;
            out[n++] = *s == 'n' ? '\n' : *s == 't' ? '\t' : *s == 'r' ? '\r' : '\\';
        } else {
            out[n++] = *s;
        }
    }
    out[n] = '\0';
    return out;
}

static tn_status row_stops(row *r, const json_t *stop, const char *flag, const char *where, tn_error *err)
{
    size_t n = json_is_array(stop) ? json_array_size(stop) : stop != NULL;

    if (flag != NULL) r->stop[r->n_stop++] = unescape(flag);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(s) || r->n_stop == (int)(sizeof r->stop / sizeof r->stop[0]))
            return tn_fail(err, TN_FORMAT, "%s: \"stop\" must be a string or at most 7 of them", where);
        r->stop[r->n_stop++] = tn_strdup(json_string_value(s));
    }
    for (int i = 0; i < r->n_stop; i++)
        if (r->stop[i] == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory", where);
    return TN_OK;
}

typedef struct reader {
    batch                 *b;
    const tn_model        *m;
    const generate_config *c;
} reader;

static tn_status add_row(void *ctx, const json_t *o, const char *where, tn_error *err)
{
    const reader          *x = ctx;
    const generate_config *c = x->c;
    batch                 *b = x->b;

    if (b->n == b->cap) {
        int64_t cap = b->cap == 0 ? 64 : 2 * b->cap;
        row    *rows = realloc(b->rows, (size_t)cap * sizeof *rows);
        if (rows == NULL) return tn_fail(err, TN_NOMEM, "%s: no memory for its row", where);
        b->rows = rows;
        b->cap = cap;
    }
    row *r = &b->rows[b->n++];
    *r = (row){ .id = json_incref(json_object_get(o, "id")) };
    TN_TRY(row_stops(r, json_object_get(o, "stop"), c->stop, where, err));
    TN_TRY(tn_cli_row_tokens(x->m, o, c->a.special, where, &r->ids, err));
    if ((int64_t)r->ids.n + c->n > b->n_longest) b->n_longest = (int64_t)r->ids.n + c->n;
    return TN_OK;
}

static tn_status bad_text(const char *text, tn_error *err)
{
    size_t n = strlen(text), at = tn_utf8_valid_prefix(text, n);

    if (at == n) return tn_fail(err, TN_NOMEM, "no memory for the prompt");
    return tn_fail(err, TN_USAGE,
                   "the prompt is no valid UTF-8: byte %zu of %zu is 0x%02x, which cannot stand there. Give "
                   "it as UTF-8 (iconv turns "
                   "other encodings into it)",
                   at + 1, n, (unsigned char)text[at]);
}

static tn_status read_prompt(batch *b, const tn_model *m, const generate_config *c, tn_error *err)
{
    json_t *o = c->chat ? json_pack("{s:[{s:s, s:s}]}", "messages", "role", "user", "content", c->prompt)
                        : json_pack("{s:s}", "prompt", c->prompt);

    if (o == NULL) return bad_text(c->prompt, err);
    tn_status s = add_row(&(reader){ b, m, c }, o, "prompt", err);
    json_decref(o);
    return s;
}

/* Sample ids of rows without an id: how often did the same prompt come before? A table by hash answers it. */
static tn_status make_requests(batch *b, const tn_common *common, const generate_config *c, tn_error *err)
{
    size_t n_slot = 16;
    struct slot {
        uint64_t hash, count;
    } * table;

    while (n_slot < 2 * (size_t)b->n) n_slot *= 2;
    table = calloc(n_slot, sizeof *table);
    b->requests = calloc((size_t)b->n + 1, sizeof *b->requests);
    b->results = calloc((size_t)b->n + 1, sizeof *b->results);
    if (table == NULL || b->requests == NULL || b->results == NULL) {
        free(table);
        return tn_fail(err, TN_NOMEM, "no memory for %" PRId64 " requests", b->n);
    }
    for (int64_t i = 0; i < b->n; i++) {
        row     *r = &b->rows[i];
        uint64_t hash = tn_cli_sample_id(NULL, &r->ids, 0) | 1, k = hash & (n_slot - 1);
        while (table[k].hash != 0 && table[k].hash != hash) k = (k + 1) & (n_slot - 1);
        table[k].hash = hash;
        b->requests[i] = (tn_request){
            .prompt = r->ids.p,
            .n_prompt = (int64_t)r->ids.n,
            .sample_id = tn_cli_sample_id(r->id, &r->ids, table[k].count++),
            .sampling = { .max_tokens = c->n,
                          .top_k = c->top_k,
                          .temperature = c->temperature,
                          .top_p = c->top_p,
                          .min_p = c->min_p,
                          .repetition_penalty = c->repetition_penalty,
                          .presence_penalty = c->presence_penalty,
                          .frequency_penalty = c->frequency_penalty,
                          .seed = (uint64_t)common->seed,
                          .stop = (const char *const *)r->stop,
                          .n_stop = r->n_stop,
                          .n_top_logprobs = (int)c->n_top_logprobs,
                          .ignore_eos = c->ignore_eos },
        };
    }
    free(table);
    return TN_OK;
}

static json_t *numbers(const int32_t *ids, const float *reals, int64_t n)
{
    json_t *a = json_array();

    for (int64_t i = 0; i < n && a != NULL; i++)
        json_array_append_new(a, ids != NULL ? json_integer(ids[i]) : tn_json_f32(reals[i]));
    return a;
}

static json_t *result_json(const batch *b, int64_t i, int64_t k)
{
    const tn_result *r = &b->results[i];
    json_t          *o;

    if (r->status != TN_OK) {
        o = json_pack("{s:I, s:s}", "index", (json_int_t)i, "error", r->message);
    } else {
        o = json_pack("{s:I, s:o, s:o, s:o, s:s, s:I}", "index", (json_int_t)i, "text", json_string(r->text),
                      "tokens", numbers(r->tokens, NULL, r->n), "logprobs", numbers(NULL, r->logprobs, r->n),
                      "stop_reason", r->stop_reason, "prompt_tokens", (json_int_t)b->requests[i].n_prompt);
        if (o != NULL && k > 0) {
            json_t *steps = json_array();
            for (int64_t t = 0; t < r->n; t++)
                json_array_append_new(steps,
                                      json_pack("{s:o, s:o}", "tokens", numbers(r->top_ids + t * k, NULL, k),
                                                "logprobs", numbers(NULL, r->top_logprobs + t * k, k)));
            json_object_set_new(o, "top", steps);
        }
    }
    if (o != NULL && b->rows[i].id != NULL) json_object_set(o, "id", b->rows[i].id);
    return o;
}

static bool show_token(void *arg, int32_t id, float logprob, const char *text, size_t n)
{
    (void)arg;
    (void)id;
    (void)logprob;
    fwrite(text, 1, n, stdout);
    fflush(stdout);
    return true;
}

static tn_status print_results(const batch *b, const tn_common *common, const generate_config *c,
                               bool streamed, tn_error *err)
{
    int64_t     n_failed = 0;
    const char *why = "";

    for (int64_t i = 0; i < b->n; i++) {
        const tn_result *r = &b->results[i];
        if (r->status != TN_OK) {
            n_failed++;
            why = r->message;
        }
        if (common->json) TN_TRY(tn_cli_print_json(result_json(b, i, c->n_top_logprobs), err));
        else if (r->status == TN_OK && !streamed) puts(r->text);
    }
    if (streamed && n_failed == 0) putchar('\n');
    if (n_failed == 0) return TN_OK;
    if (b->n == 1) return tn_fail(err, b->results[0].status, "%s", why);
    return tn_fail(err, TN_LIMIT,
                   "%" PRId64 " of %" PRId64 " rows could not be answered; the last reason: %s", n_failed,
                   b->n, why);
}

static void batch_free(batch *b)
{
    for (int64_t i = 0; i < b->n; i++) {
        json_decref(b->rows[i].id);
        free(b->rows[i].ids.p);
        for (int k = 0; k < b->rows[i].n_stop; k++) free(b->rows[i].stop[k]);
        if (b->results != NULL) tn_result_free(&b->results[i]);
    }
    free(b->rows);
    free(b->requests);
    free(b->results);
}

static tn_status run(tn_common *common, void *config, int n_arg, const char **args, tn_error *err)
{
    const generate_config *c = config;
    tn_model              *m = NULL;
    tn_engine             *e = NULL;
    batch                  b = { 0 };
    tn_status              status = TN_OK;

    (void)n_arg;
    (void)args;
    if ((c->prompt == NULL) == (c->file == NULL))
        return tn_fail(err, TN_USAGE, "generate: give either -p TEXT or --file IN.jsonl");
    TN_GOTO(tn_cli_model_open(&m, common, &c->a, true, err));
    if (c->file != NULL) TN_GOTO(tn_jsonl_each(c->file, add_row, &(reader){ &b, m, c }, err));
    else TN_GOTO(read_prompt(&b, m, c, err));
    TN_GOTO(make_requests(&b, common, c, err));
    TN_GOTO(tn_cli_engine(&e, m, &c->a, b.n_longest, b.n > 0 ? b.n : 1, err));
    bool stream = !common->json && b.n == 1;
    if (stream) b.requests[0].on_token = show_token;
    double start = tn_now();
    TN_GOTO(tn_engine_run(e, b.requests, b.results, b.n, b.n > 1 && !common->quiet ? "generate" : NULL, err));
    double  seconds = tn_now() - start;
    int64_t n_token = 0;
    for (int64_t i = 0; i < b.n; i++) n_token += b.results[i].n;
    TN_GOTO(print_results(&b, common, c, stream, err));
    tn_log(TN_LOG_DEBUG, "%" PRId64 " tokens in %.2f s, %.1f tok/s", n_token, seconds,
           (double)n_token / seconds);
out:
    tn_engine_destroy(e);
    batch_free(&b);
    tn_model_close(m);
    return status;
}

const tn_command tn_cmd_generate = {
    .name = "generate",
    .line = "answer a prompt, or a file of prompts as one batch",
    .usage = "tenet generate -m MODEL (-p TEXT | --file IN.jsonl) [-n MAX] [--temperature T] [--stop S] "
             "[--batch B] [--json]",
    .more = "Rows of the file: {\"prompt\": text as it is} or {\"messages\": [{\"role\", \"content\"}, ...]} "
            "(the chat format is applied),\n"
            "with an \"id\" and \"stop\" strings if wanted. The answer to a row is the same alone and in any "
            "batch, at any number of threads.",
    .options = options,
    .config_bytes = sizeof(generate_config),
    .min_args = 0,
    .max_args = 0,
    .computes = true,
    .run = run,
};
