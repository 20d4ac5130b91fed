/* generate.c - new prompts by a model: constitution x topic x style, few-shot from a set's training side.
 *
 *   slot i ──→ kind, principle by weight, one of its topics, a style, K shots of that kind (same topic first)
 *   "Write one ... request about {topic}, as {style}." ──→ first line, cleaned ──→ not near to any other ──→ labelled prompt
 *
 * Shots come from the training side alone, so nothing held out leaks into what is generated; new prompts stay
 * on that side and form one family a topic. Likeness is by words (split.c). Overlaps with evaluation sets
 * fail the stage, and are all listed. */
#include "align/rows.h"
#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_SHOTS = 16, LEAST_WORDS = 3, MOST_WORDS = 60 };

#define AT(f) offsetof(tn_align_generate_config, f)

// clang-format off
const tn_option tn_align_generate_options[] = {
    TN_ALIGN_SAMPLING_OPTIONS(tn_align_generate_config, "64", "1", "train"),
    { "count",  TN_OPT_INT,  AT(count),  "100", 1, 1e6,       "prompts", "that are asked for; what is left after deduplication is fewer", NULL },
    { "shots",  TN_OPT_INT,  AT(shots),  "5",   1, MAX_SHOTS, "prompts", "shown as examples", NULL },
    { "near",   TN_OPT_REAL, AT(near),   "0.6", 0, 1,         "", "likeness of words at which a prompt is a copy of another", NULL },
    { "styles", TN_OPT_LIST, AT(styles), "a short question,an instruction,a message in the first person,a request for a text,a question asked at work", 0, 0, "",
      "ways of asking", NULL },
    { .key = NULL }
};
// clang-format on

// clang-format off
static const char *const asked_for[] = {
    "a request that an assistant should decline because helping could hurt people, named only in general terms,",
    "a harmless request that uses a word which sounds dangerous",
    "an ordinary, harmless request",
};
// clang-format on

typedef struct slot {
    tn_prompt_kind      kind;
    const tn_principle *principle;
    const tn_topic     *topic;
    const char         *style;
    const tn_prompt    *shot[MAX_SHOTS];
    int                 n_shot;
    char               *ask;
    char               *shot_ask[MAX_SHOTS];
} slot;

typedef struct generator {
    const tn_align_generate_config *c;
    const tn_constitution          *charter;
    tn_prompts                      seeds;
    char                          **styles;
    size_t                          n_style;
    tn_error                       *err;
} generator;

static int stance_for(tn_prompt_kind k)
{
    return k == TN_PROMPT_DECLINE     ? (int)TN_STANCE_DECLINE
           : k == TN_PROMPT_LOOKALIKE ? (int)TN_STANCE_ANSWER
                                      : -1;
}

/* A principle of the right stance by weight, then one of its topics (any declared one if it names none). */
static bool slot_draw(const generator *g, slot *s, uint64_t i)
{
    tn_rng_key             key = { (uint64_t)g->c->s.seed, TN_RNG_PROMPT, 2, i };
    const tn_constitution *c = g->charter;
    double                 total = 0;
    int                    stance = stance_for(s->kind);

    for (size_t k = 0; k < c->n_principle; k++)
        if (stance < 0 ? c->principles[k].stance != TN_STANCE_DECLINE
                       : (int)c->principles[k].stance == stance)
            total += c->principles[k].weight;
    double at = tn_rng_unit(&key, 0) * total;
    for (size_t k = 0; k < c->n_principle; k++) {
        const tn_principle *p = &c->principles[k];
        if (stance < 0 ? p->stance == TN_STANCE_DECLINE : (int)p->stance != stance) continue;
        s->principle = p;
        if ((at -= p->weight) < 0) break;
    }
    if (s->principle == NULL) return false;
    const tn_texts *own = &s->principle->topics;
    if (own->n > 0) s->topic = tn_constitution_topic(c, own->at[tn_rng_below(&key, 1, own->n)]);
    else if (c->n_topic > 0) s->topic = &c->topics[tn_rng_below(&key, 1, c->n_topic)];
    s->style = g->styles[tn_rng_below(&key, 2, g->n_style)];
    return s->topic != NULL;
}

/* Shots: training prompts of the slot's kind, those of its topic first, in a keyed order. */
static void shots_draw(const generator *g, slot *s, uint64_t i)
{
    tn_rng_key key = { (uint64_t)g->c->s.seed, TN_RNG_FEWSHOT, 0, i };

    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < g->seeds.n && s->n_shot < g->c->shots; k++) {
            const tn_prompt *p = &g->seeds.at[tn_rng_permute(&key, k, g->seeds.n)];
            bool             same = strcmp(p->topic, s->topic->id) == 0;

            if (p->kind == s->kind && same == (pass == 0)) s->shot[s->n_shot++] = p;
        }
}

static char *ask_text(const generator *g, tn_prompt_kind kind, const char *topic_id, const char *style)
{
    const tn_topic *t = tn_constitution_topic(g->charter, topic_id);

    return tn_strf("Write %s about this topic: %s. Form: %s. Reply with the request alone, in one line.",
                   asked_for[kind], t != NULL ? t->text : topic_id, style);
}

/* The first line without number, bullet or quotes. made: free; NULL: nothing of use. */
static char *clean(const char *text)
{
    static const char *const talk[] = { "sure",      "here is",  "here's",  "certainly", "of course",
                                        "i'm sorry", "i cannot", "i can't", "as an ai",  "request:" };

    text += strspn(text, " \n\t\"'*-#");
    if (*text >= '0' && *text <= '9') {
        const char *p = text + strspn(text, "0123456789");
        if (*p == '.' || *p == ')') text = p + 1 + strspn(p + 1, " \"'");
    }
    for (size_t i = 0; i < sizeof talk / sizeof talk[0]; i++)
        if (strncasecmp(text, talk[i], strlen(talk[i])) == 0) return NULL;
    size_t n = strcspn(text, "\n");
    while (n > 0 && strchr(" \t\r\"'*", text[n - 1]) != NULL) n--;
    int64_t words = 0;
    for (size_t i = 0; i < n; i++) words += text[i] != ' ' && (i == 0 || text[i - 1] == ' ');
    return words >= LEAST_WORDS && words <= MOST_WORDS ? tn_strndup(text, n) : NULL;
}

static tn_status slots_ask(generator *g, tn_align_engine *a, slot *s, size_t n, tn_result *r)
{
    tn_status    status = TN_OK;
    size_t       per = 2 * MAX_SHOTS + 1;
    tn_message  *msg = calloc(n * per, sizeof *msg);
    tn_dialogue *d = calloc(n, sizeof *d);
    tn_sampling  sampling = tn_align_sampling_of(&g->c->s);

    if (msg == NULL || d == NULL) {
        status = tn_fail(g->err, TN_NOMEM, "no memory for %zu prompts", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        tn_message *m = &msg[i * per];
        size_t      k = 0;
        char        what[32];

        for (int x = 0; x < s[i].n_shot; x++) {
            /* A shot is asked for in the words that it answers, so that the last turn differs in topic and
             * style alone. */
            s[i].shot_ask[x] = ask_text(
                g, s[i].kind, s[i].shot[x]->topic,
                g->styles[strchr(s[i].shot[x]->text, '?') != NULL ? 0 : g->n_style > 1]);
            if (s[i].shot_ask[x] == NULL) {
                status = tn_fail(g->err, TN_NOMEM, "no memory for a prompt");
                goto out;
            }
            m[k++] = (tn_message){ "user", s[i].shot_ask[x] };
            m[k++] = (tn_message){ "assistant", s[i].shot[x]->text };
        }
        if ((s[i].ask = ask_text(g, s[i].kind, s[i].topic->id, s[i].style)) == NULL) {
            status = tn_fail(g->err, TN_NOMEM, "no memory for a prompt");
            goto out;
        }
        m[k++] = (tn_message){ "user", s[i].ask };
        snprintf(what, sizeof what, "%zu", i);
        d[i] = (tn_dialogue){ m, k, tn_align_sample_id("generate", what) };
    }
    status = tn_align_sample(a->engine, a->model, d, n, &sampling, r, "generate", g->err);
out:
    free(msg);
    free(d);
    return status;
}

/* Adds what is clean and no near copy of a seed or of an earlier one. */
static tn_status harvest(generator *g, const slot *s, size_t n, const tn_result *r, tn_prompts *out,
                         int64_t *unfit, int64_t *copies)
{
    for (size_t i = 0; i < n; i++) {
        char *text = r[i].status == TN_OK ? clean(r[i].text) : NULL;
        bool  copy = false;

        if (text == NULL) {
            ++*unfit;
            continue;
        }
        for (size_t k = 0; k < g->seeds.n && !copy; k++)
            copy = tn_words_alike(text, g->seeds.at[k].text) >= g->c->near;
        for (size_t k = 0; k < out->n && !copy; k++)
            copy = tn_words_alike(text, out->at[k].text) >= g->c->near;
        if (copy) {
            free(text);
            ++*copies;
            continue;
        }
        tn_prompt  p = { .text = text,
                         .kind = s[i].kind,
                         .split = TN_SPLIT_TRAIN,
                         .id = tn_strf("gen/%zu", i),
                         .topic = tn_strdup(s[i].topic->id),
                         .principle = tn_strdup(s[i].principle->id),
                         .family = tn_strf("gen-%s-%s", s[i].topic->id, tn_prompt_kind_name(s[i].kind)) };
        tn_prompt *grown = realloc(out->at, (out->n + 1) * sizeof *grown);
        if (grown != NULL) {
            out->at = grown;
            out->at[out->n++] = p;
        }
        if (grown == NULL || p.id == NULL || p.topic == NULL || p.principle == NULL || p.family == NULL)
            return tn_fail(g->err, TN_NOMEM, "no memory for a prompt");
    }
    return TN_OK;
}

tn_status tn_align_generate_run(const tn_align_generate_config *c, tn_profile profile, const char *model,
                                const char *prompts, const char *constitution,
                                const tn_named_files *evaluation, const char *out_dir, json_t *metrics,
                                tn_error *err)
{
    tn_status         status = TN_OK;
    tn_constitution  *charter = NULL;
    tn_align_engine   a = { 0 };
    tn_prompts        made = { 0 };
    generator         g = { .c = c, .err = err };
    tn_align_sampling train = { .split = (char[]){ "train" } };
    slot             *s = NULL;
    tn_result        *r = NULL;
    json_t           *overlap = NULL;
    char             *path = NULL;
    int64_t           unfit = 0, copies = 0;
    size_t            n = (size_t)c->count;
    int               order[3], n_kind = 0;

    TN_GOTO(tn_constitution_load(&charter, constitution, err));
    g.charter = charter;
    if ((g.styles = tn_list_split(c->styles, &g.n_style)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for styles");
        goto out;
    }
    if (g.n_style == 0) {
        status = tn_fail(err, TN_USAGE, "styles: at least one is needed");
        goto out;
    }
    TN_GOTO(tn_prompts_select(&g.seeds, prompts, &train, err));
    for (int k = 0; k < 3; k++)
        if (tn_align_takes(c->s.kinds, (tn_prompt_kind)k)) order[n_kind++] = k;
    if (n_kind == 0) {
        status = tn_fail(err, TN_USAGE, "kinds is '%s': expected decline, lookalike or everyday", c->s.kinds);
        goto out;
    }
    TN_GOTO(tn_align_engine_open(&a, model, NULL, profile, c->s.batch, NULL, c->s.memo, err));
    s = calloc(n, sizeof *s);
    r = calloc(n, sizeof *r);
    if (s == NULL || r == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for %zu prompts", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        s[i].kind = (tn_prompt_kind)order[i % (size_t)n_kind];
        if (!slot_draw(&g, &s[i], i)) {
            status = tn_fail(
                err, TN_MISMATCH,
                "the constitution has no principle with a topic that asks for prompts of kind '%s'",
                tn_prompt_kind_name(s[i].kind));
            goto out;
        }
        shots_draw(&g, &s[i], i);
    }
    TN_GOTO(slots_ask(&g, &a, s, n, r));
    TN_GOTO(harvest(&g, s, n, r, &made, &unfit, &copies));
    if (made.n == 0) {
        status = tn_fail(err, TN_MISMATCH,
                         "nothing of use came out of %zu tries (%lld unfit, %lld copies): this model does "
                         "not write prompts; use a larger one, or "
                         "files",
                         n, (long long)unfit, (long long)copies);
        goto out;
    }
    TN_GOTO(tn_prompts_overlap(&made, evaluation->paths, evaluation->names, evaluation->n, &overlap, err));
    TN_GOTO(tn_mkdirs(out_dir, err));
    if ((path = tn_path(out_dir, "overlap.json")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_json_save(path, overlap, true, err));
    if (json_array_size(overlap) > 0) {
        for (size_t i = 0; i < json_array_size(overlap); i++)
            tn_log(TN_LOG_ERROR, "overlap: '%s' is near '%s' of %s",
                   tn_row_text(json_array_get(overlap, i), "prompt"),
                   tn_row_text(json_array_get(overlap, i), "evaluation"),
                   tn_row_text(json_array_get(overlap, i), "file"));
        status = tn_fail(err, TN_VERIFY,
                         "%zu generated prompts overlap with evaluation sets (listed above): take another "
                         "seed, or fewer shots",
                         json_array_size(overlap));
        goto out;
    }
    free(path);
    if ((path = tn_path(out_dir, "prompts.jsonl")) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tn_prompts_write(&made, path, err));
    if (metrics != NULL) {
        json_object_set_new(metrics, "prompts", json_integer((json_int_t)made.n));
        json_object_set_new(metrics, "unfit", json_integer(unfit));
        json_object_set_new(metrics, "copies", json_integer(copies));
    }
out:
    json_decref(overlap);
    free(path);
    for (size_t i = 0; r != NULL && i < n; i++) tn_result_free(&r[i]);
    for (size_t i = 0; s != NULL && i < n; i++) {
        free(s[i].ask);
        for (int k = 0; k < MAX_SHOTS; k++) free(s[i].shot_ask[k]);
    }
    free(g.styles);
    free(r);
    free(s);
    tn_align_engine_close(&a);
    tn_prompts_free(&made);
    tn_prompts_free(&g.seeds);
    tn_constitution_free(charter);
    return status;
}
