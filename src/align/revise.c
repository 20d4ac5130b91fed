/* revise.c - the supervised stage of Constitutional AI (arXiv:2212.08073): critique and revision, N rounds.
 *
 *   demonstrations | user: prompt | assistant: answer | user: critique request ──→ critique
 *                                                      | user: revision request ──→ revision (takes the answer's place)
 *
 * All chains go on in step, so each half-round is one batch of the engine. A principle is drawn anew in every
 * round, with replacement, among those that apply to the prompt. Every chain is kept whole: that is the
 * record. */
#include "align/rows.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

// clang-format off
const tn_option tn_align_revise_options[] = {
    TN_ALIGN_SAMPLING_OPTIONS(tn_align_revise_config, "96", "0", "train"),
    { "rounds", TN_OPT_INT, offsetof(tn_align_revise_config, rounds), "1", 1, 8, "rounds", "critique and revision, that many times", NULL },
    { .key = NULL }
};
// clang-format on

typedef struct chain {
    const tn_prompt    *prompt;
    const tn_principle *principle;
    char               *answer; /* of the last round */
    char               *critique;
    double              logprob_critique, logprob_revision;
    json_t             *rounds;
} chain;

/* What shaped a chain besides its own texts: the chat format, the sampler's settings, the demonstrations. The
 * requests are in each round, and the row's own random numbers follow from seed and id. */
static tn_status settings_make(json_t **out, const tn_align_revise_config *c, const tn_model *m,
                               const char *demos, tn_error *err)
{
    const tn_chat *chat = NULL;
    tn_digest      d;
    char           hex[TN_SHA256_HEX] = "";

    TN_TRY(tn_model_chat(m, &chat, err));
    if (demos != NULL && demos[0] != '\0') {
        TN_TRY(tn_sha256_file(demos, &d, NULL, err));
        tn_hex(hex, &d);
    }
    *out = json_pack("{s:s, s:s, s:I, s:f, s:f, s:I}", "chat_format", tn_chat_format_name(chat->format),
                     "demos_sha256", hex, "seed", (json_int_t)c->s.seed, "temperature", c->s.temperature,
                     "top_p", c->s.top_p, "max_tokens", (json_int_t)c->s.max_tokens);
    return *out != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for settings");
}

/* Demonstrations as turns, in the order of the file. Strings are borrowed from *rows. */
static tn_status demos_load(tn_message **out, size_t *n, json_t **rows, const char *path, tn_error *err)
{
    static const char *const keys[] = { "prompt",   "answer",           "critique_request",
                                        "critique", "revision_request", "revision" };
    tn_row_map               m = { 0 };

    *out = NULL;
    *n = 0;
    *rows = NULL;
    if (path == NULL || path[0] == '\0') return TN_OK;
    TN_TRY(tn_row_map_load(&m, path, "", err));
    *rows = json_incref(m.list);
    size_t count = json_array_size(m.list);
    tn_row_map_free(&m);
    if ((*out = calloc(6 * count + 1, sizeof **out)) == NULL)
        return tn_fail(err, TN_NOMEM, "%s: no memory for demonstrations", path);
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < 6; k++) {
            const char *text = tn_row_text(json_array_get(*rows, i), keys[k]);
            if (text == NULL)
                return tn_fail(err, TN_FORMAT, "%s: demonstration %zu has no \"%s\"", path, i + 1, keys[k]);
            (*out)[(*n)++] = (tn_message){ k % 2 == 0 ? "user" : "assistant", text };
        }
    return TN_OK;
}

typedef struct reviser {
    tn_align_engine   a;
    tn_sampling       s;
    chain            *chains;
    size_t            n;
    const tn_message *demos;
    size_t            n_demo;
    tn_error         *err;
} reviser;

/* One half-round for all chains: ends with the critique request, or goes on to the revision request. */
static tn_status half_round(reviser *v, int64_t round, bool revision, tn_result *r)
{
    tn_status    status = TN_OK;
    size_t       per = v->n_demo + 5;
    tn_message  *msg = calloc(v->n * per, sizeof *msg);
    tn_dialogue *d = calloc(v->n, sizeof *d);
    char         what[48];

    snprintf(what, sizeof what, "%s/%lld", revision ? "revision" : "critique", (long long)round);
    if (msg == NULL || d == NULL) {
        status = tn_fail(v->err, TN_NOMEM, "no memory for %zu chains", v->n);
        goto out;
    }
    for (size_t i = 0; i < v->n; i++) {
        tn_message *m = &msg[i * per];
        chain      *c = &v->chains[i];
        size_t      k = v->n_demo;

        if (k > 0) memcpy(m, v->demos, k * sizeof *m);
        m[k++] = (tn_message){ "user", c->prompt->text };
        m[k++] = (tn_message){ "assistant", c->answer };
        m[k++] = (tn_message){ "user", c->principle->critique };
        if (revision) {
            m[k++] = (tn_message){ "assistant", c->critique };
            m[k++] = (tn_message){ "user", c->principle->revision };
        }
        d[i] = (tn_dialogue){ m, k, tn_align_sample_id(c->prompt->id, what) };
    }
    status = tn_align_sample(v->a.engine, v->a.model, d, v->n, &v->s, r, revision ? "revisions" : "critiques",
                             v->err);
    for (size_t i = 0; status == TN_OK && i < v->n; i++)
        if (r[i].status != TN_OK)
            status = tn_fail(v->err, r[i].status, "prompt %s: %s", v->chains[i].prompt->id, r[i].message);
out:
    free(msg);
    free(d);
    return status;
}

/* Leftover lead-ins ("Here is the revised answer:") are cut: they were seen to be learnt by heart. */
const char *tn_align_skip_lead_in(const char *text)
{
    static const char *const heads[] = { "here is", "here's",    "revised answer", "revision:",
                                         "sure",    "certainly", "of course" };
    const char              *colon = strpbrk(text, ":\n");

    if (colon == NULL || colon - text > 80 || *colon != ':') return text;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        if (strncasecmp(text, heads[i], strlen(heads[i])) == 0) return colon + 1 + strspn(colon + 1, " \n\"");
    return text;
}

static tn_status round_run(reviser *v, const tn_constitution *charter, uint64_t seed, int64_t round,
                           tn_result *r)
{
    tn_status status = TN_OK;

    for (size_t i = 0; i < v->n; i++) {
        chain            *c = &v->chains[i];
        const char *const topics[] = { c->prompt->topic };
        tn_rng_key        key = { seed, TN_RNG_PRINCIPLE, (uint64_t)round,
                                  tn_align_sample_id(c->prompt->id, "revise") };
        int               stance = c->prompt->kind == TN_PROMPT_DECLINE ? (int)TN_STANCE_DECLINE : -1;

        c->principle = tn_constitution_draw(charter, topics, 1, stance, &key, 0);
        if (c->principle == NULL) c->principle = tn_constitution_draw(charter, topics, 1, -1, &key, 0);
        if (c->principle == NULL)
            return tn_fail(v->err, TN_MISMATCH,
                           "no principle of the constitution applies to prompt %s (topic '%s')",
                           c->prompt->id, c->prompt->topic);
    }
    TN_GOTO(half_round(v, round, false, r));
    for (size_t i = 0; i < v->n; i++) {
        chain *c = &v->chains[i];

        free(c->critique);
        c->critique = tn_strdup(r[i].text);
        c->logprob_critique = tn_align_logprob_sum(&r[i]);
        tn_result_free(&r[i]);
        if (c->critique == NULL) {
            status = tn_fail(v->err, TN_NOMEM, "no memory for a critique");
            goto out;
        }
    }
    TN_GOTO(half_round(v, round, true, r));
    for (size_t i = 0; i < v->n; i++) {
        chain *c = &v->chains[i];
        char  *revised = tn_strdup(tn_align_skip_lead_in(r[i].text));

        c->logprob_revision = tn_align_logprob_sum(&r[i]);
        tn_result_free(&r[i]);
        char hex[TN_SHA256_HEX];
        tn_hex(hex, &c->principle->digest);
        json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f}", "principle",
                                c->principle->id, "principle_sha256", hex, "critique_request",
                                c->principle->critique, "revision_request", c->principle->revision, "before",
                                c->answer, "critique", c->critique, "revision",
                                revised != NULL ? revised : "", "logprob_critique", c->logprob_critique,
                                "logprob_revision", c->logprob_revision);
        if (revised == NULL || row == NULL || json_array_append_new(c->rounds, row) != 0) {
            free(revised);
            status = tn_fail(v->err, TN_NOMEM, "no memory for a revision");
            goto out;
        }
        free(c->answer);
        c->answer = revised;
    }
out:
    return status;
}

tn_status tn_align_revise_run(const tn_align_revise_config *c, tn_profile profile, const tn_revise_inputs *in,
                              const char *out_dir, json_t *metrics, tn_error *err)
{
    tn_status        status = TN_OK;
    tn_constitution *charter = NULL;
    tn_prompts       set = { 0 };
    tn_row_map       first = { 0 };
    tn_message      *demos = NULL;
    json_t          *demo_rows = NULL;
    tn_row_file      rows = { 0 };
    tn_result       *r = NULL;
    reviser          v = { .s = tn_align_sampling_of(&c->s), .err = err };
    int64_t          changed = 0;
    json_t          *settings = NULL;

    TN_GOTO(tn_constitution_load(&charter, in->constitution, err));
    TN_GOTO(tn_prompts_select(&set, in->prompts, &c->s, err));
    TN_GOTO(tn_row_map_load(&first, in->answers, "answers.jsonl", err));
    TN_GOTO(demos_load(&demos, &v.n_demo, &demo_rows, in->demos, err));
    v.demos = demos;
    TN_GOTO(tn_align_engine_open(&v.a, in->model, NULL, profile, c->s.batch, NULL, c->s.memo, err));
    v.chains = calloc(set.n, sizeof *v.chains);
    r = calloc(set.n, sizeof *r);
    if (v.chains == NULL || r == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu chains", set.n);
        goto out;
    }
    for (size_t i = 0; i < set.n; i++) {
        const char *answer = tn_row_text(tn_row_map_get(&first, set.at[i].id), "answer");

        if (answer == NULL) {
            status = tn_fail(err, TN_MISMATCH,
                             "%s has no answer to prompt %s: run the answers stage over the same prompts",
                             in->answers, set.at[i].id);
            goto out;
        }
        v.chains[i] = (chain){ .prompt = &set.at[i], .answer = tn_strdup(answer), .rounds = json_array() };
        v.n++;
        if (v.chains[i].answer == NULL || v.chains[i].rounds == NULL) {
            status = tn_fail(err, TN_NOMEM, "no memory for a chain");
            goto out;
        }
    }
    for (int64_t round = 1; round <= c->rounds; round++)
        TN_GOTO(round_run(&v, charter, (uint64_t)c->s.seed, round, r));
    TN_GOTO(settings_make(&settings, c, v.a.model, in->demos, err));
    TN_GOTO(tn_row_file_open(&rows, out_dir, "revisions.jsonl", err));
    for (size_t i = 0; i < v.n; i++) {
        chain        *k = &v.chains[i];
        const json_t *own = tn_row_map_get(&first, k->prompt->id);
        const char   *start = tn_row_text(own, "answer");

        changed += strcmp(start, k->answer) != 0;
        TN_GOTO(tn_row_file_add(&rows,
                                json_pack("{s:s, s:s, s:s, s:s, s:s, s:O*, s:s, s:O, s:s, s:O}", "id",
                                          k->prompt->id, "kind", tn_prompt_kind_name(k->prompt->kind),
                                          "prompt", k->prompt->text, "topic", k->prompt->topic, "answer",
                                          start, "logprob_answer", json_object_get(own, "logprob"),
                                          "principle", k->principle->id, "rounds", k->rounds, "revision",
                                          k->answer, "settings", settings),
                                err));
    }
    TN_GOTO(tn_row_file_commit(&rows, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "chains", json_integer((json_int_t)v.n));
        json_object_set_new(metrics, "changed", json_integer(changed));
    }
out:
    tn_row_file_abandon(&rows);
    for (size_t i = 0; r != NULL && i < set.n; i++) tn_result_free(&r[i]);
    for (size_t i = 0; i < v.n; i++) {
        free(v.chains[i].answer);
        free(v.chains[i].critique);
        json_decref(v.chains[i].rounds);
    }
    free(v.chains);
    free(r);
    free(demos);
    json_decref(demo_rows);
    json_decref(settings);
    tn_align_engine_close(&v.a);
    tn_row_map_free(&first);
    tn_prompts_free(&set);
    tn_constitution_free(charter);
    return status;
}
