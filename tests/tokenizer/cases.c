/* cases.c - golden cases and the small tokenizers of tests/golden/tokenizer (see cases.h). */
#include "base/file.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

bool case_open(case_file *c, const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "tests/golden/tokenizer/%s", name);
    *c = (case_file){ .f = fopen(path, "rb") };
    if (c->f == NULL) fprintf(stderr, "%s: cannot be opened\n", path);
    return c->f != NULL;
}

bool case_next(case_file *c, tok_case *out)
{
    size_t len;

    out->n = 0;
    while (tn_read_line(c->f, &c->line, &c->cap, &len)) {
        c->number++;
        if (len == 0 && out->n > 0) return true;
        if (len == 0 || c->line[0] == '#' || out->n == CASE_LINES || len >= sizeof out->line[0]) continue;
        if (out->n == 0) out->at = c->number;
        memcpy(out->line[out->n++], c->line, len + 1);
    }
    return out->n > 0;
}

void case_close(case_file *c)
{
    if (c->f != NULL) fclose(c->f);
    free(c->line);
}

json_t *case_json(const char *text) { return json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL); }

char *golden_text(const char *name, size_t *n)
{
    char     path[256], *text = NULL;
    tn_error err = { 0 };

    snprintf(path, sizeof path, "tests/golden/tokenizer/%s", name);
    if (tn_file_read_all(&text, n, path, (size_t)1 << 24, &err) != TN_OK) fprintf(stderr, "%s\n", err.msg);
    return text;
}

static tn_tokenizer *from_rows(void)
{
    enum { MAX = 1024 };
    static char     text[MAX][64];
    const char     *tokens[MAX];
    size_t          bytes[MAX];
    float           scores[MAX];
    int32_t         types[MAX];
    case_file       c;
    tn_tokenizer   *t = NULL;
    tn_error        err = { 0 };
    tn_vocab_source src = { .model = "llama",
                            .tokens = tokens,
                            .token_bytes = bytes,
                            .scores = scores,
                            .types = types,
                            .bos = 1,
                            .eos = 2,
                            .eot = -1,
                            .unk = 0,
                            .pad = -1,
                            .add_bos = 1,
                            .add_eos = 0,
                            .add_space_prefix = -1 };
    size_t          len;

    if (!case_open(&c, "spm.vocab")) return NULL;
    while (tn_read_line(c.f, &c.line, &c.cap, &len) && src.n_token < MAX) {
        char   *space = strchr(c.line + 1, '"') + 1, *end;
        json_t *s;

        while (*space != ' ') space = strchr(space, '"') + 1;
        *space = '\0';
        s = case_json(c.line);
        bytes[src.n_token] = json_string_length(s);
        memcpy(text[src.n_token], json_string_value(s), json_string_length(s));
        tokens[src.n_token] = text[src.n_token];
        scores[src.n_token] = strtof(space + 1, &end);
        types[src.n_token++] = (int32_t)strtol(end, NULL, 10);
        json_decref(s);
    }
    case_close(&c);
    if (tn_tokenizer_from_vocab(&t, &src, "spm.vocab", &err) != TN_OK) fprintf(stderr, "%s\n", err.msg);
    return t;
}

tn_tokenizer *golden_tokenizer(const char *name)
{
    char              file[64], *text;
    size_t            n;
    tn_tokenizer     *t = NULL;
    tn_error          err = { 0 };
    static const char config[] = "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}}";

    if (strcmp(name, "spm") == 0) return from_rows();
    snprintf(file, sizeof file, "%s.json", name);
    if ((text = golden_text(file, &n)) == NULL) return NULL;
    if (tn_tokenizer_from_json(&t, text, n, config, strlen(config), file, &err) != TN_OK)
        fprintf(stderr, "%s\n", err.msg);
    free(text);
    return t;
}
