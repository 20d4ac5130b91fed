/* source.c - files into documents of token ids.
 *
 * Text: one document a file. JSON Lines: one document a row, by the keys the row has. Conversations are
 * rendered by the chat format, and their mask trains what the assistant says with its stop token. */
#include "data/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

static const size_t max_file_bytes = (size_t)8 << 30;

typedef struct sink {
    tn_shard_writer       *w;
    const tn_data_options *o;
    tn_data_stats         *stats;
    int32_t               *ids;
    uint8_t               *mask;
    size_t                 n, cap; /* one conversation, reused: both hold cap */
    int32_t               *text_ids;
    size_t                 text_cap; /* one text, reused */
} sink;

/* Stop tokens count where an answer ends with one (chat): the end of a plain text teaches nobody to end an
 * answer. */
static tn_status document_put(sink *s, const int32_t *ids, const uint8_t *mask, bool chat, uint32_t weight_16,
                              bool taught, tn_error *err)
{
    if (s->n < 2) {
        s->stats->n_dropped++;
        return TN_OK;
    }
    TN_TRY(tn_shard_add(s->w, ids, mask, s->n, weight_16, taught, err));
    if (weight_16 == 0) {
        s->stats->n_dropped++;
        return TN_OK;
    } /* it is in the shard, but in no sample */
    s->stats->n_doc++;
    s->stats->n_token += (int64_t)s->n;
    for (size_t i = 1; i < s->n; i++) {
        if (mask != NULL && !mask[i]) continue;
        s->stats->n_target++;
        if (chat && tn_chat_is_stop(s->o->chat, s->o->tokenizer, ids[i])) s->stats->n_stop++;
    }
    return TN_OK;
}

tn_status tn_data_end(const tn_tokenizer *t, int32_t **ids, size_t *n, size_t *cap, tn_error *err)
{
    int32_t eos = tn_tokenizer_eos(t);
    if (eos < 0 || (*n > 0 && (*ids)[*n - 1] == eos)) return TN_OK;
    if (*n == *cap) {
        int32_t *more = realloc(*ids, (*n + 16) * sizeof *more);
        if (more == NULL) return tn_fail(err, TN_NOMEM, "no memory for %zu tokens", *n);
        *ids = more;
        *cap = *n + 16;
    }
    (*ids)[(*n)++] = eos;
    return TN_OK;
}

static tn_status text_put(sink *s, const char *text, size_t n, uint32_t weight_16, bool taught,
                          const char *where, tn_error *err)
{
    s->n = 0;
    tn_status status = tn_tokenize(s->o->tokenizer, text, n, TN_TOK_BOS | TN_TOK_EOS | TN_TOK_STOPS,
                                   &s->text_ids, &s->n, &s->text_cap, err);
    if (status == TN_OK) status = tn_data_end(s->o->tokenizer, &s->text_ids, &s->n, &s->text_cap, err);
    size_t held = n + s->n * sizeof *s->text_ids; /* what reading it takes, beside what is mapped */
    if (held > s->stats->n_held) s->stats->n_held = held;
    if (status != TN_OK) return tn_fail_prefix(err, status, "%s", where);
    return document_put(s, s->text_ids, NULL, false, weight_16, taught, err);
}

enum { SKIPPED = 128 }; /* in a mask, beside the renderer's bits: of a turn of weight 0 */

/* Tokens up to and with the last trained one of a conversation's beginning, which must be the beginning of
 * the whole one's too. */
static tn_status trained_end(sink *s, const tn_message *m, size_t n, size_t *end, const char *where,
                             tn_error *err)
{
    int32_t  *ids = NULL;
    uint8_t  *mask = NULL;
    size_t    n_id = 0, cap = 0;
    tn_status status = TN_OK;

    *end = 0;
    if (n > 0)
        status = tn_chat_render(s->o->tokenizer, s->o->chat, m, n, TN_TURN_EACH, &ids, &mask, &n_id, &cap,
                                err);
    for (size_t i = 0; status == TN_OK && i < n_id; i++)
        if (mask[i]) *end = i + 1;
    if (status == TN_OK && (*end > s->n || (*end > 0 && memcmp(ids, s->ids, *end * sizeof *ids) != 0)))
        status = tn_fail(err, TN_UNSUPPORTED,
                         "this chat format writes an earlier turn otherwise once others follow, so one of "
                         "\"weight\" 0 cannot be told apart; "
                         "end the row before it, or choose another chat_format");
    free(ids);
    free(mask);
    return status == TN_OK ? TN_OK : tn_fail_prefix(err, status, "%s", where);
}

/* Marks the turns that are not trained. */
static tn_status turns_skip(sink *s, const tn_message *m, size_t n, const bool *skip, const char *where,
                            tn_error *err)
{
    for (size_t k = 0; k < n; k++) {
        size_t from, to;
        if (!skip[k]) continue;
        TN_TRY(trained_end(s, m, k, &from, where, err));
        TN_TRY(trained_end(s, m, k + 1, &to, where, err));
        for (size_t i = from; i < to; i++)
            if (s->mask[i]) s->mask[i] |= SKIPPED;
    }
    return TN_OK;
}

size_t tn_data_cut(const uint8_t *mask, size_t n)
{
    while (n > 0 && !mask[n - 1]) n--;
    while (n > 0 && (mask[n - 1] & TN_MASK_END) != 0) n--;
    return n;
}

/* open: the last answer was cut off where it was sampled. skip (or NULL): turns that are not trained. */
static tn_status chat_put(sink *s, const tn_message *m, size_t n, const bool *skip, bool open,
                          uint32_t weight_16, bool taught, const char *where, tn_error *err)
{
    if (s->o->chat == NULL)
        return tn_fail(err, TN_UNSUPPORTED,
                       "%s: a conversation, but the model has no chat format; choose one with chat_format",
                       where);
    s->n = 0;
    tn_status status = tn_chat_render(s->o->tokenizer, s->o->chat, m, n,
                                      TN_TURN_EACH | (open ? TN_TURN_CUT : 0), &s->ids, &s->mask, &s->n,
                                      &s->cap, err);
    if (status != TN_OK) return tn_fail_prefix(err, status, "%s", where);
    if (skip != NULL) TN_TRY(turns_skip(s, m, n, skip, where, err));
    if (open) s->n = tn_data_cut(s->mask, s->n);
    bool cut = s->o->max_tokens > 0 && s->n > (size_t)s->o->max_tokens, any = false;
    if (cut) s->n = (size_t)s->o->max_tokens;
    if (weight_16 > 0) {
        s->stats->n_cut += cut;
        s->stats->n_chat++;
    }
    for (size_t i = 0; i < s->n; i++) {
        s->mask[i] = (s->mask[i] & SKIPPED) == 0 && (s->mask[i] != 0 || s->o->train_prompt);
        any |= i > 0 && s->mask[i] != 0;
    }
    if (!any) {
        s->stats->n_dropped++;
        return TN_OK;
    } /* nothing the assistant said is left */
    return document_put(s, s->ids, s->mask, true, weight_16, taught, err);
}

static tn_status row_weight(const json_t *row, const char *where, uint32_t *out, tn_error *err)
{
    double w;
    TN_TRY(tn_json_real_or(row, "weight", 1.0, &w, where, err));
    if (!(w >= 0 && w <= 16))
        return tn_fail(err, TN_FORMAT, "%s: \"weight\" is %g; it must be from 0 to 16", where, w);
    *out = (uint32_t)llround(w * 65536.0);
    return TN_OK;
}

/* Which messages of the assistant are not trained (skip); *any: there is one. */
static tn_status weights_read(const json_t *list, bool *skip, bool *any, const char *where, tn_error *err)
{
    size_t        i;
    const json_t *e;
    *any = false;
    json_array_foreach(list, i, e) {
        const char *role = json_string_value(json_object_get(e, "role"));
        double      weight;
        TN_TRY(tn_json_real_or(e, "weight", 1.0, &weight, where, err));
        if (tn_row_get(e, "weight") != NULL &&
            ((weight != 0 && weight != 1) || strcmp(role, "assistant") != 0))
            return tn_fail(err, TN_FORMAT,
                           "%s: \"weight\" %g of a message of the %s; only the assistant's have one, 0 (not "
                           "trained) or 1; a row's own \"weight\" may be "
                           "from 0 to 16",
                           where, weight, role);
        *any |= skip[i] = weight == 0;
    }
    return TN_OK;
}

static tn_status row_put(sink *s, const json_t *row, const char *where, tn_error *err)
{
    uint32_t weight = 65536;
    bool     open, taught;
    size_t   n = 0;

    if (!json_is_object(row)) return tn_fail(err, TN_FORMAT, "%s: a row must be an object", where);
    TN_TRY(row_weight(row, where, &weight, err));
    TN_TRY(tn_json_bool_or(row, "open", false, &open, where, err));
    TN_TRY(tn_json_bool_or(row, "distill", false, &taught, where, err));
    if (tn_row_get(row, "messages") != NULL && s->o->format != TN_DATA_JSONL) {
        const json_t *list = tn_row_get(row, "messages");
        tn_message    m[TN_ROW_MESSAGES];
        bool          skip[TN_ROW_MESSAGES] = { 0 }, any = false;
        TN_TRY(tn_row_system(row, m, &n, where, err));
        size_t front = n;
        TN_TRY(tn_row_messages(list, "messages", m, &n, where, err));
        TN_TRY(weights_read(list, skip + front, &any, where, err));
        return chat_put(s, m, n, any ? skip : NULL, open, weight, taught, where, err);
    }
    if (tn_row_get(row, "prompt") != NULL && s->o->format != TN_DATA_JSONL) {
        bool answer = tn_row_get(row, "answer") != NULL, completion = tn_row_get(row, "completion") != NULL;
        tn_message m[3];
        if (answer && completion)
            return tn_fail(err, TN_FORMAT,
                           "%s: \"answer\" and \"completion\" mean the same; leave one of them out", where);
        TN_TRY(tn_row_system(row, m, &n, where, err));
        m[n] = (tn_message){ "user", NULL };
        TN_TRY(tn_json_str(row, "prompt", &m[n++].content, where, err));
        m[n] = (tn_message){ "assistant", NULL };
        TN_TRY(tn_json_str(row, completion ? "completion" : "answer", &m[n++].content, where, err));
        return chat_put(s, m, n, NULL, open, weight, taught, where, err);
    }
    if (tn_row_get(row, "text") != NULL && s->o->format != TN_DATA_CHAT) {
        const char *text;
        TN_TRY(tn_json_str(row, "text", &text, where, err));
        return text_put(s, text, strlen(text), weight, taught, where, err);
    }
    const char *hint = tn_row_get(row, "conversations") != NULL
                           ? " (ShareGPT's \"conversations\" are \"messages\" here: \"from\" is \"role\", "
                             "human \"user\", gpt \"assistant\"; \"value\" is \"content\")"
                       : tn_row_get(row, "instruction") != NULL
                           ? " (Alpaca's \"instruction\", with \"input\" after it, is \"prompt\" here, and "
                             "\"output\" is \"answer\")"
                           : "";
    return tn_fail(err, TN_FORMAT, "%s: a row needs %s%s", where,
                   s->o->format == TN_DATA_JSONL  ? "\"text\""
                   : s->o->format == TN_DATA_CHAT ? "\"messages\", or \"prompt\" and \"answer\""
                                                  : "\"text\", \"messages\", or \"prompt\" and \"answer\"",
                   hint);
}

static bool ends_with_any(const char *path, const char *const *ends)
{
    size_t n = strlen(path);
    for (; *ends != NULL; ends++) /* X.JSONL holds rows too */
        if (n >= strlen(*ends) && strcasecmp(path + n - strlen(*ends), *ends) == 0) return true;
    return false;
}

static bool is_json(const char *path)
{
    static const char *const ends[] = { ".json", ".json.gz", ".json.zst", NULL };
    return ends_with_any(path, ends);
}

/* A name without a suffix tells nothing (files of a store have such), and .json may hold rows as well as one
 * value: there the first line decides, by being a JSON object. */
static bool is_jsonl(const char *path)
{
    static const char *const rows_ends[] = { ".jsonl",     ".jsonl.gz",   ".jsonl.zst", ".ndjson",
                                             ".ndjson.gz", ".ndjson.zst", NULL };
    const char              *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const char              *dot = strchr(name, '.');
    tn_jsonl                *rows = NULL;
    json_t                  *row = NULL;
    bool                     object = false;

    if (ends_with_any(path, rows_ends)) return true;
    /* how a file is packed does not tell what it holds */
    bool bare = dot == NULL || strcasecmp(dot, ".gz") == 0 || strcasecmp(dot, ".zst") == 0;
    if (!bare && !is_json(path)) return false;
    if (tn_jsonl_open(&rows, path, NULL) != TN_OK) return false;
    if (tn_jsonl_next(rows, &row, NULL) == TN_OK) object = json_is_object(row);
    json_decref(row);
    tn_jsonl_close(rows);
    return object;
}

/* Why a file that is taken for text is none; NULL: it is. The byte tokenizer would train on a picture without
 * a word. */
static const char *no_text(const char *path, const char *text, size_t n, bool listed)
{
    if (n >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return "is UTF-16 text; make it UTF-8 first (iconv -f utf-16 -t utf-8)";
    if (memchr(text, 0, n) != NULL)
        return "is no text (it holds NUL bytes); leave it out, or train its bytes as they are with format: "
               "text";
    if (!listed && is_json(path))
        return "is JSON, but not one row a line; write its rows so (jq -c '.[]'), or train it as it stands "
               "with format: text";
    return NULL;
}

static tn_status file_put(void *arg, const char *path, bool listed, tn_error *err)
{
    sink     *s = arg;
    tn_status status = TN_OK;
    tn_jsonl *rows = NULL;
    json_t   *row = NULL;
    char     *text = NULL;
    size_t    n;

    TN_TRY(tn_interrupted(err));
    if (s->o->format == TN_DATA_TEXT || (s->o->format == TN_DATA_AUTO && !is_jsonl(path))) {
        TN_TRY(tn_data_read(&text, &n, path, max_file_bytes, err));
        const char *why = s->o->format == TN_DATA_AUTO ? no_text(path, text, n, listed) : NULL;
        size_t      bom = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
        if (why == NULL) status = text_put(s, text + bom, n - bom, 65536, false, path, err);
        else if (listed) tn_log(TN_LOG_WARN, "%s is no text and is left out", path);
        else status = tn_fail(err, TN_FORMAT, "%s %s", path, why);
        free(text);
        return status;
    }
    TN_TRY(tn_jsonl_open(&rows, path, err));
    for (;;) {
        char where[512];
        TN_GOTO(tn_jsonl_next(rows, &row, err));
        if (row == NULL) break;
        snprintf(where, sizeof where, "%s:%lld", path, (long long)tn_jsonl_line(rows));
        TN_GOTO(row_put(s, row, where, err));
        json_decref(row);
        row = NULL;
        TN_GOTO(tn_interrupted(err));
    }
out:
    json_decref(row);
    tn_jsonl_close(rows);
    return status;
}

tn_status tn_data_tokenise(tn_shard_writer *w, const char *path, const tn_data_options *o,
                           tn_data_stats *stats, tn_error *err)
{
    sink s = { .w = w, .o = o, .stats = stats };

    tn_status status = tn_data_each_file(path, file_put, &s, err);
    free(s.ids);
    free(s.text_ids);
    free(s.mask);
    return status;
}
