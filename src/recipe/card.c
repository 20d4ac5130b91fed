/* card.c - README.md of a release: a model card in Hugging Face form, from what release.json says. */
#include "recipe/release.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text != NULL ? text : "";
}

/* A YAML scalar in double quotes (JSON strings are YAML). */
static void add_yaml(tn_str *s, const char *key, const char *value)
{
    json_t *v = value == NULL ? NULL : json_string(value);
    char   *q = v == NULL ? NULL : json_dumps(v, JSON_ENCODE_ANY);

    if (q != NULL) tn_str_addf(s, "%s: %s\n", key, q);
    free(q);
    json_decref(v);
}

static void add_list(tn_str *s, const char *key, const char *commas)
{
    const char *word;
    size_t      n;

    if (commas == NULL || commas[0] == '\0') return;
    tn_str_addf(s, "%s:\n", key);
    while (tn_list_next(&commas, &word, &n)) {
        json_t *v = json_stringn(word, n);
        char   *q = v == NULL ? NULL : json_dumps(v, JSON_ENCODE_ANY);
        if (q != NULL) tn_str_addf(s, "- %s\n", q);
        free(q);
        json_decref(v);
    }
}

static void add_front_matter(tn_str *s, const json_t *m, const tn_release_options *o)
{
    tn_str_add(s, "---\n");
    add_yaml(s, "license", o->license);
    add_yaml(s, "base_model", o->base_model);
    add_list(s, "language", o->languages);
    add_yaml(s, "pipeline_tag", "text-generation");
    tn_str_add(s, "tags:\n- tenet\n- text-generation\n");
    if (json_object_get(m, "constitution") != NULL) tn_str_add(s, "- constitutional-ai\n");
    add_yaml(s, "model_name", o->name);
    tn_str_add(s, "---\n\n");
}

static void add_model(tn_str *s, const json_t *m)
{
    const json_t *inspect = json_object_get(json_object_get(m, "model"), "inspect");

    tn_str_add(s, "## Model\n\n| | |\n|---|---|\n");
    tn_str_addf(s, "| family | %s |\n", text_of(inspect, "family"));
    tn_str_addf(s, "| parameters | %lld |\n",
                (long long)json_integer_value(json_object_get(inspect, "parameters")));
    tn_str_addf(s, "| layers × width | %lld × %lld |\n",
                (long long)json_integer_value(json_object_get(inspect, "n_layer")),
                (long long)json_integer_value(json_object_get(inspect, "n_embd")));
    tn_str_addf(s, "| context | %lld tokens |\n",
                (long long)json_integer_value(json_object_get(inspect, "n_ctx")));
    tn_str_addf(s, "| weights | %s, `%s` |\n", text_of(inspect, "dtype"),
                text_of(json_object_get(m, "model"), "digest"));
    if (json_is_string(json_object_get(inspect, "chat_format")))
        tn_str_addf(s, "| chat format | %s |\n", text_of(inspect, "chat_format"));
    tn_str_add(s, "\n");
}

static void add_parts(tn_str *s, const json_t *m, const char *role, const char *title, const char *line)
{
    const json_t *parts = json_object_get(m, "parts");
    size_t        i, n = 0;
    json_t       *p;

    json_array_foreach(parts, i, p) {
        if (strcmp(text_of(p, "role"), role) != 0) continue;
        if (n++ == 0) tn_str_addf(s, "## %s\n\n%s\n\n", title, line);
        tn_str_addf(s, "- `%s`\n", text_of(p, "path"));
    }
    if (n > 0) tn_str_add(s, "\n");
}

char *recipe_release_card(const json_t *m, const tn_release_options *o)
{
    const json_t *charter = json_object_get(m, "constitution"), *closure = json_object_get(m, "closure"),
                 *logs = json_object_get(m, "steplogs");
    tn_str  s = { .max = 1 << 20 };
    size_t  i;
    json_t *row;

    add_front_matter(&s, m, o);
    tn_str_addf(&s, "# %s\n\n%s\n\n", o->name,
                o->summary != NULL
                    ? o->summary
                    : "A language model released with tenet, with proof of how it came to be.");
    add_model(&s, m);
    if (o->use_case != NULL) tn_str_addf(&s, "## Intended use\n\n%s\n\n", o->use_case);
    if (o->limits != NULL) tn_str_addf(&s, "## Limits\n\n%s\n\n", o->limits);
    if (charter != NULL)
        tn_str_addf(&s, "## Constitution\n\nAligned to `%s` (%s %s, %lld principles), `%s`.\n\n",
                    RELEASE_CHARTER, text_of(charter, "name"), text_of(charter, "version"),
                    (long long)json_integer_value(json_object_get(charter, "principles")),
                    text_of(charter, "digest"));
    add_parts(&s, m, "report", "Evaluation", "Reports, signed as everything else here:");
    if (json_array_size(closure) > 0) {
        tn_str_add(&s, "## How it was made\n\n| stage | kind | result |\n|---|---|---|\n");
        json_array_foreach(closure, i, row)
            tn_str_addf(&s, "| %s | %s %lld%s | `%.19s` |\n", text_of(row, "name"), text_of(row, "kind"),
                        (long long)json_integer_value(json_object_get(row, "kind_version")),
                        json_is_true(json_object_get(row, "recorded")) ? ", recorded" : "",
                        text_of(row, "root"));
        tn_str_add(&s, "\n");
    }
    json_array_foreach(logs, i, row)
        tn_str_addf(&s, "`%s`: %lld training steps logged, root `%.19s`.\n", text_of(row, "path"),
                    (long long)json_integer_value(json_object_get(row, "steps")), text_of(row, "root"));
    if (json_array_size(logs) > 0) tn_str_add(&s, "\n");
    tn_str_add(&s, "## Check it\n\n```\ntenet verify . --key PUBLIC-KEY.pem\n```\n\nchecks the signature, "
                   "every file, the bill of materials, the "
                   "statement of every stage and the step logs; `--replay 3`\ncomputes three stretches of "
                   "the training again and compares every bit.\n");
    char *text = tn_str_take(&s);
    tn_str_free(&s);
    return text;
}
