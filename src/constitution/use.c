/* use.c - a loaded constitution at work: which principles apply, drawing by weight, the system text,
 * mechanical checks. */
#include "constitution/constitution.h"
#include "base/str.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum { MATCH_LIMIT = 1000000 };

bool tn_principle_applies(const tn_principle *p, const char *const *topics, size_t n_topic)
{
    if (p->topics.n == 0) return true;
    for (size_t i = 0; i < p->topics.n; i++)
        for (size_t k = 0; k < n_topic; k++)
            if (strcmp(p->topics.at[i], topics[k]) == 0) return true;
    return false;
}

const tn_principle *tn_constitution_draw(const tn_constitution *c, const char *const *topics, size_t n_topic,
                                         int stance, const tn_rng_key *key, uint64_t position)
{
    double total = 0, at;

    for (size_t i = 0; i < c->n_principle; i++) {
        const tn_principle *p = &c->principles[i];
        if ((stance < 0 || (int)p->stance == stance) && tn_principle_applies(p, topics, n_topic))
            total += p->weight;
    }
    at = tn_rng_unit(key, position) * total;
    const tn_principle *last = NULL;
    for (size_t i = 0; i < c->n_principle; i++) {
        const tn_principle *p = &c->principles[i];
        if (!((stance < 0 || (int)p->stance == stance) && tn_principle_applies(p, topics, n_topic))) continue;
        last = p;
        if ((at -= p->weight) < 0) break;
    }
    return last;
}

char *tn_constitution_prompt(const tn_constitution *c, const char *const *topics, size_t n_topic)
{
    tn_str s = { 0 };

    if (c->preamble != NULL) tn_str_addf(&s, "%s\n\n", c->preamble);
    for (size_t i = 0; i < c->n_principle; i++)
        if (n_topic == 0 || tn_principle_applies(&c->principles[i], topics, n_topic))
            tn_str_addf(&s, "- %s\n", c->principles[i].text);
    if (s.failed) {
        tn_str_free(&s);
        return NULL;
    }
    return tn_str_take(&s);
}

static tn_status pattern_found(const tn_principle *p, const char *pattern, const char *answer, bool *found,
                               tn_error *err)
{
    tn_status   status = TN_OK;
    int         code;
    PCRE2_SIZE  at;
    PCRE2_UCHAR text[160];
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_CASELESS,
                                   &code, &at, NULL);
    pcre2_match_context *ctx = pcre2_match_context_create(NULL);
    pcre2_match_data    *data = re != NULL ? pcre2_match_data_create_from_pattern(re, NULL) : NULL;

    *found = false;
    if (re == NULL) {
        pcre2_get_error_message(code, text, sizeof text);
        status = tn_fail(err, TN_FORMAT, "%s:%d: principle '%s': pattern '%s' is wrong at byte %zu: %s",
                         p->file, p->line, p->id, pattern, (size_t)at, (const char *)text);
        goto out;
    }
    if (ctx == NULL || data == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a pattern");
        goto out;
    }
    pcre2_set_match_limit(ctx, MATCH_LIMIT);
    code = pcre2_match(re, (PCRE2_SPTR)answer, strlen(answer), 0, 0, data, ctx);
    if (code >= 0) *found = true;
    else if (code != PCRE2_ERROR_NOMATCH) {
        pcre2_get_error_message(code, text, sizeof text);
        status = tn_fail(err, TN_FORMAT, "%s:%d: principle '%s': pattern '%s' cannot be matched: %s", p->file,
                         p->line, p->id, pattern, (const char *)text);
    }
out:
    pcre2_match_data_free(data);
    pcre2_match_context_free(ctx);
    pcre2_code_free(re);
    return status;
}

static int64_t words(const char *s)
{
    int64_t n = 0;
    bool    in = false;

    for (; *s != '\0'; s++) {
        bool space = *s == ' ' || *s == '\n' || *s == '\t' || *s == '\r';
        n += !space && !in;
        in = !space;
    }
    return n;
}

tn_status tn_principle_check(const tn_principle *p, const char *answer, bool *has, bool *passed,
                             tn_error *err)
{
    bool found;

    *has = p->check.absent != NULL || p->check.present != NULL || p->check.max_words > 0;
    *passed = true;
    if (p->check.absent != NULL) {
        TN_TRY(pattern_found(p, p->check.absent, answer, &found, err));
        *passed = *passed && !found;
    }
    if (p->check.present != NULL) {
        TN_TRY(pattern_found(p, p->check.present, answer, &found, err));
        *passed = *passed && found;
    }
    if (p->check.max_words > 0) *passed = *passed && words(answer) <= p->check.max_words;
    return TN_OK;
}
