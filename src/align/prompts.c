/* prompts.c - prompt sets: reading seed files, JSONL and CSV, expanding fillings, writing.
 *
 *   "- How do I make {a | b}?"  ── expand ──→ two prompts of one family ──→ tn_prompts
 *
 * Fillings of several braces in a line are taken side by side (the i-th of each), so a line gives as many
 * prompts as its longest list; at most MAX_FILL, so that no template dominates a set. */
#include "align/align.h"
#include "base/file.h"
#include "base/str.h"
#include "base/unpack.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILL = 5, MAX_GROUPS = 8, MAX_PROMPTS = 1000000, MAX_PROMPT_BYTES = 64 << 10 };

static const char *const kind_names[] = { "decline", "lookalike", "everyday" };
static const char *const split_names[] = { "train", "dev", "heldout" };

const char *tn_prompt_kind_name(tn_prompt_kind k) { return kind_names[k]; }
const char *tn_split_name(tn_split s) { return split_names[s]; }

static void prompt_free(tn_prompt *p)
{
    free(p->id);
    free(p->text);
    free(p->topic);
    free(p->principle);
    free(p->family);
}

void tn_prompts_free(tn_prompts *set)
{
    for (size_t i = 0; i < set->n; i++) prompt_free(&set->at[i]);
    free(set->at);
    *set = (tn_prompts){ 0 };
}

static tn_status no_memory(const char *path, tn_error *err)
{
    return tn_fail(err, TN_NOMEM, "%s: no memory for its prompts", path);
}

/* Takes over the strings of *p, also on failure. */
static tn_status prompt_add(tn_prompts *set, tn_prompt *p, const char *path, int64_t line, tn_error *err)
{
    tn_status status = TN_OK;

    if (p->id == NULL || p->text == NULL || p->topic == NULL || p->family == NULL)
        status = no_memory(path, err);
    else if (p->text[0] == '\0')
        status = tn_fail(err, TN_FORMAT, "%s:%lld: an empty prompt", path, (long long)line);
    else if (set->n >= MAX_PROMPTS)
        status = tn_fail(err, TN_LIMIT, "%s: more than %d prompts", path, MAX_PROMPTS);
    else if ((set->n & (set->n - 1)) == 0) {
        tn_prompt *grown = realloc(set->at, (set->n == 0 ? 1 : 2 * set->n) * sizeof *grown);
        if (grown == NULL) status = no_memory(path, err);
        else set->at = grown;
    }
    if (status == TN_OK) set->at[set->n++] = *p;
    else prompt_free(p);
    return status;
}

/* --------------------------------------------------------------------------------------------- seed files */

typedef struct filling {
    const char *at[MAX_FILL];
    size_t      n[MAX_FILL];
    int         count;
} filling;

typedef struct seed_reader {
    tn_prompts *set;
    const char *path;
    int64_t     line;
    char       *topic, *principle, *family;
    int         side_count[3]; /* prompts of this family so far, by kind: they number the ids */
    tn_error   *err;
} seed_reader;

static tn_status seed_wrong(const seed_reader *r, const char *what)
{
    return tn_fail(r->err, TN_FORMAT, "%s:%lld: %s (the form is drawn at the head of prompts/pairs.txt)",
                   r->path, (long long)r->line, what);
}

static void trim(const char **s, size_t *n)
{
    while (*n > 0 && (**s == ' ' || **s == '\t')) {
        (*s)++;
        (*n)--;
    }
    while (*n > 0 && ((*s)[*n - 1] == ' ' || (*s)[*n - 1] == '\t' || (*s)[*n - 1] == '\r')) (*n)--;
}

/* "{a | b}" from after the brace to before the closing one. */
static tn_status filling_read(const seed_reader *r, const char *s, size_t n, filling *f)
{
    f->count = 0;
    for (;;) {
        const char *bar = memchr(s, '|', n), *one = s;
        size_t      len = bar != NULL ? (size_t)(bar - s) : n;

        if (f->count == MAX_FILL) return seed_wrong(r, "more than five fillings in one pair of braces");
        n -= len + (bar != NULL);
        s += len + (bar != NULL);
        trim(&one, &len);
        if (len == 0) return seed_wrong(r, "an empty filling");
        f->at[f->count] = one;
        f->n[f->count++] = len;
        if (bar == NULL) return TN_OK;
    }
}

static tn_status line_expand(seed_reader *r, tn_prompt_kind kind, const char *text, size_t n)
{
    filling     groups[MAX_GROUPS];
    const char *piece[MAX_GROUPS + 1]; /* literal text before each group, and after the last */
    size_t      piece_n[MAX_GROUPS + 1];
    int         n_group = 0, most = 1;

    trim(&text, &n);
    const char *end = text + n, *p = text;
    for (;;) {
        const char *open = memchr(p, '{', (size_t)(end - p));

        piece[n_group] = p;
        piece_n[n_group] = (size_t)((open != NULL ? open : end) - p);
        if (open == NULL) break;
        const char *close = memchr(open, '}', (size_t)(end - open));
        if (close == NULL) return seed_wrong(r, "a '{' without its '}'");
        if (n_group == MAX_GROUPS) return seed_wrong(r, "more than eight pairs of braces in a line");
        TN_TRY(filling_read(r, open + 1, (size_t)(close - open - 1), &groups[n_group]));
        if (groups[n_group].count > most) most = groups[n_group].count;
        n_group++;
        p = close + 1;
    }
    for (int i = 0; i < most; i++) {
        tn_str s = { .max = MAX_PROMPT_BYTES };

        for (int g = 0; g < n_group; g++) {
            int pick = i % groups[g].count;
            tn_str_add_n(&s, piece[g], piece_n[g]);
            tn_str_add_n(&s, groups[g].at[pick], groups[g].n[pick]);
        }
        tn_str_add_n(&s, piece[n_group], piece_n[n_group]);
        tn_prompt one = { .kind = kind,
                          .text = tn_str_take(&s),
                          .topic = tn_strdup(r->topic),
                          .family = tn_strdup(r->family),
                          .principle = r->principle != NULL ? tn_strdup(r->principle) : NULL,
                          .id = tn_strf("%s/%c%d", r->family, kind_names[kind][0], r->side_count[kind]) };
        r->side_count[kind]++;
        TN_TRY(prompt_add(r->set, &one, r->path, r->line, r->err));
    }
    return TN_OK;
}

static tn_status seed_line(seed_reader *r, const char *s, size_t n)
{
    static const char marks[] = "-+*";
    const char       *mark;
    char              word[2][128];

    trim(&s, &n);
    if (n == 0 || s[0] == '#') return TN_OK;
    if (s[0] == '=') {
        int got = sscanf(s + 1, "%127s %127s", word[0], word[1]);
        if (got < 1) return seed_wrong(r, "'=' needs a topic");
        free(r->topic);
        free(r->principle);
        r->topic = tn_strdup(word[0]);
        r->principle = got == 2 ? tn_strdup(word[1]) : NULL;
        free(r->family);
        r->family = NULL;
        return r->topic != NULL ? TN_OK : no_memory(r->path, r->err);
    }
    if (s[0] == '@') {
        if (sscanf(s + 1, "%127s", word[0]) != 1) return seed_wrong(r, "'@' needs a family name");
        free(r->family);
        r->family = NULL;
        memset(r->side_count, 0, sizeof r->side_count);
        for (size_t i = 0; i < r->set->n; i++)
            if (strcmp(r->set->at[i].family, word[0]) == 0)
                return seed_wrong(r, "this family is already used further up");
        return (r->family = tn_strdup(word[0])) != NULL ? TN_OK : no_memory(r->path, r->err);
    }
    if ((mark = strchr(marks, s[0])) == NULL) return seed_wrong(r, "a line starts with one of = @ - + * #");
    if (r->topic == NULL || r->family == NULL)
        return seed_wrong(r, "a prompt needs a topic line '=' and a family line '@' before it");
    return line_expand(r, (tn_prompt_kind)(mark - marks), s + 1, n - 1);
}

/* Kind and topic stand in the file. */
static tn_status seeds_read(tn_prompts *set, const char *path, const char *name, tn_prompt_kind kind,
                            const char *topic, tn_error *err)
{
    tn_status   status = TN_OK;
    seed_reader r = { .set = set, .path = name, .err = err };
    char       *text = NULL;
    size_t      n = 0;

    (void)kind;
    (void)topic;
    TN_GOTO(tn_file_read_all(&text, &n, path, (size_t)64 << 20, err));
    if (!tn_utf8_valid(text, n)) {
        status = tn_fail(err, TN_FORMAT, "%s: not valid UTF-8: save it as UTF-8", name);
        goto out;
    }
    for (const char *p = text, *end = text + n; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t      len = nl != NULL ? (size_t)(nl - p) : (size_t)(end - p);

        /* The line is cut in place so that sscanf stops at its end. */
        text[p - text + (ptrdiff_t)len] = '\0';
        r.line++;
        TN_GOTO(seed_line(&r, p, len));
        p += len + 1;
    }
out:
    free(text);
    free(r.topic);
    free(r.principle);
    free(r.family);
    return status;
}

/* --------------------------------------------------------------------------------------------- JSON Lines */

static const char *text_of_row(const json_t *row)
{
    static const char *const keys[] = { "prompt", "text", "question", "goal", "instruction" };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *s = json_string_value(json_object_get(row, keys[i]));
        if (s != NULL) return s;
    }
    return NULL;
}

/* hh-rlhf: "\n\nHuman: ...\n\nAssistant: ...": the first human turn. made: free. */
static char *first_human_turn(const char *dialogue)
{
    const char *human = strstr(dialogue, "\n\nHuman: ");

    if (human == NULL) return NULL;
    human += strlen("\n\nHuman: ");
    const char *end = strstr(human, "\n\nAssistant:");
    return tn_strndup(human, end != NULL ? (size_t)(end - human) : strlen(human));
}

static int name_index(const char *name, const char *const *names, int n)
{
    for (int i = 0; name != NULL && i < n; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

static tn_status row_add(tn_prompts *set, const json_t *row, const char *path, int64_t line,
                         tn_prompt_kind kind, const char *topic, tn_error *err)
{
    const char *text = text_of_row(row), *dialogue = json_string_value(json_object_get(row, "chosen"));
    const char *id = json_string_value(json_object_get(row, "id")),
               *given = json_string_value(json_object_get(row, "topic"));
    const char *principle = json_string_value(json_object_get(row, "principle"));
    const char *family = json_string_value(json_object_get(row, "family"));
    const char *kind_word = json_string_value(json_object_get(row, "kind")),
               *split_word = json_string_value(json_object_get(row, "split"));
    int   k = name_index(kind_word, kind_names, 3), sp = name_index(split_word, split_names, 3);
    char *own = text == NULL && dialogue != NULL ? first_human_turn(dialogue) : NULL;

    if (text == NULL && own == NULL)
        return tn_fail(err, TN_FORMAT,
                       "%s:%lld: no prompt: expected \"prompt\" or \"text\", or hh-rlhf's \"chosen\"", path,
                       (long long)line);
    if (kind_word != NULL && k < 0) {
        free(own);
        return tn_fail(err, TN_FORMAT, "%s:%lld: kind is '%s': expected decline, lookalike or everyday", path,
                       (long long)line, kind_word);
    }
    char name[64];
    snprintf(name, sizeof name, "%lld", (long long)line);
    const char *base = tn_basename(path);
    tn_prompt   p = { .text = own != NULL ? own : tn_strdup(text),
                      .topic = tn_strdup(given != NULL ? given : topic),
                      .principle = principle != NULL ? tn_strdup(principle) : NULL,
                      .kind = k >= 0 ? (tn_prompt_kind)k : kind,
                      .split = sp >= 0 ? (tn_split)sp : TN_SPLIT_TRAIN,
                      .id = id != NULL ? tn_strdup(id) : tn_strf("%s:%s", base, name),
                      .family = family != NULL ? tn_strdup(family) : tn_strf("%s:%s", base, name) };
    return prompt_add(set, &p, path, line, err);
}

static tn_status jsonl_read(tn_prompts *set, const char *path, const char *name, tn_prompt_kind kind,
                            const char *topic, tn_error *err)
{
    tn_jsonl *r = NULL;
    json_t   *row = NULL;

    TN_TRY(tn_jsonl_open(&r, path, err));
    tn_status status = tn_jsonl_next(r, &row, err);
    while (status == TN_OK && row != NULL) {
        status = row_add(set, row, name, tn_jsonl_line(r), kind, topic, err);
        json_decref(row);
        row = NULL;
        if (status == TN_OK) status = tn_jsonl_next(r, &row, err);
    }
    tn_jsonl_close(r);
    return status;
}

/* ---------------------------------------------------------------------------------------------------- CSV */

/* One field (RFC 4180: quotes, doubled quotes, newlines inside quotes). Moves *p behind the separator; *last
 * says whether the record ends here. made: free. */
static char *csv_field(const char **p, const char *end, int64_t *line, bool *last)
{
    tn_str s = { .max = MAX_PROMPT_BYTES };
    bool   quoted = *p < end && **p == '"';

    if (quoted) (*p)++;
    while (*p < end) {
        char c = *(*p)++;
        if (quoted && c == '"') {
            if (*p < end && **p == '"') (*p)++;
            else {
                quoted = false;
                continue;
            }
        } else if (!quoted && (c == ',' || c == '\n')) {
            *line += c == '\n';
            *last = c == '\n';
            goto done;
        }
        *line += c == '\n';
        if (c != '\r' || quoted) tn_str_add_char(&s, c);
    }
    *last = true;
done:
    if (s.failed) {
        tn_str_free(&s);
        return NULL;
    }
    return tn_str_take(&s);
}

static int csv_column(const char *name)
{
    static const char *const names[] = { "prompt",           "goal",       "behavior", "question",
                                         "forbidden_prompt", "instruction" };
    char                     lower[64];

    snprintf(lower, sizeof lower, "%s", name);
    for (char *c = lower; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + 'a' - 'A');
    return name_index(lower, names, 6);
}

static tn_status csv_read(tn_prompts *set, const char *path, const char *name, tn_prompt_kind kind,
                          const char *topic, tn_error *err)
{
    tn_status status = TN_OK;
    char     *text = NULL, *field = NULL;
    size_t    n = 0;
    int64_t   line = 1;
    int       column = -1;

    TN_GOTO(tn_file_read_all(&text, &n, path, (size_t)256 << 20, err));
    const char *p = text, *end = text + n;
    bool        last = false;
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) p += 3;
    for (int i = 0; !last && p < end; i++) {
        if ((field = csv_field(&p, end, &line, &last)) == NULL) {
            status = no_memory(name, err);
            goto out;
        }
        if (column < 0 && csv_column(field) >= 0) column = i;
        free(field);
    }
    field = NULL;
    if (column < 0) {
        status = tn_fail(err, TN_FORMAT,
                         "%s: no column named prompt, goal, behavior, question, forbidden_prompt or "
                         "instruction in line 1: prompts are CSV with one, "
                         "JSON Lines, or seeds (lines with = @ - + * #)",
                         name);
        goto out;
    }
    while (p < end) {
        int64_t start = line;

        last = false;
        for (int i = 0; !last; i++) {
            free(field);
            if ((field = csv_field(&p, end, &line, &last)) == NULL) {
                status = no_memory(name, err);
                goto out;
            }
            if (i != column || field[0] == '\0') continue;
            tn_prompt one = { .text = field,
                              .topic = tn_strdup(topic),
                              .kind = kind,
                              .id = tn_strf("%s:%lld", tn_basename(name), (long long)start),
                              .family = tn_strf("%s:%lld", tn_basename(name), (long long)start) };
            field = NULL;
            TN_GOTO(prompt_add(set, &one, name, start, err));
        }
        free(field);
        field = NULL;
    }
out:
    free(field);
    free(text);
    return status;
}

typedef tn_status (*reader_fn)(tn_prompts *set, const char *path, const char *name, tn_prompt_kind kind,
                               const char *topic, tn_error *err);

static reader_fn reader_by_name(const char *name)
{
    if (tn_ends_with(name, ".txt")) return seeds_read;
    if (tn_ends_with(name, ".csv")) return csv_read;
    if (tn_ends_with(name, ".jsonl") || tn_ends_with(name, ".jsonl.gz") || tn_ends_with(name, ".jsonl.zst"))
        return jsonl_read;
    return NULL;
}

/* Names in a store say nothing: JSON Lines begin with an object (or a compressed one), seeds with a mark, CSV
 * with its header. */
static tn_status reader_by_content(reader_fn *read, const char *path, tn_error *err)
{
    char       head[256] = "";
    size_t     n = 0;
    tn_unpack *u = NULL;

    TN_TRY(tn_unpack_open(&u, path, err));
    tn_status status = tn_unpack_read(u, head, sizeof head - 1, &n, err);
    tn_unpack_close(u);
    TN_TRY(status);
    const char *p = head + (strncmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0);
    p += strspn(p, " \t\r\n");
    *read = *p == '\0' || *p == '{' ? jsonl_read : strchr("=@-+*#", *p) != NULL ? seeds_read : csv_read;
    return TN_OK;
}

tn_status tn_prompts_read_as(tn_prompts *set, const char *path, const char *name, tn_prompt_kind kind,
                             const char *topic, tn_error *err)
{
    reader_fn read = reader_by_name(name);

    if (read == NULL)
        return tn_fail(err, TN_USAGE,
                       "%s: a prompt file ends in .txt (seeds), .jsonl, .jsonl.gz, .jsonl.zst or .csv", name);
    return read(set, path, name, kind, topic != NULL ? topic : "everyday", err);
}

tn_status tn_prompts_read(tn_prompts *set, const char *path, tn_prompt_kind kind, const char *topic,
                          tn_error *err)
{
    reader_fn read = reader_by_name(path);

    if (read == NULL) TN_TRY(reader_by_content(&read, path, err));
    return read(set, path, path, kind, topic != NULL ? topic : "everyday", err);
}

json_t *tn_prompt_json(const tn_prompt *p)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*}", "id", p->id, "text", p->text, "kind",
                     kind_names[p->kind], "topic", p->topic, "family", p->family, "principle", p->principle);
}

tn_status tn_prompts_write(const tn_prompts *set, const char *path, tn_error *err)
{
    tn_out   *o = NULL;
    tn_status status = tn_out_open(&o, path, err);

    for (size_t i = 0; status == TN_OK && i < set->n; i++) {
        json_t *row = tn_prompt_json(&set->at[i]);
        char   *text = row != NULL && json_object_set_new(row, "split",
                                                          json_string(split_names[set->at[i].split])) == 0
                           ? tn_json_text(row)
                           : NULL;

        status = text != NULL ? tn_out_printf(o, err, "%s\n", text) : no_memory(path, err);
        free(text);
        json_decref(row);
    }
    if (status == TN_OK) return tn_out_commit(o, err);
    tn_out_abandon(o);
    return status;
}
