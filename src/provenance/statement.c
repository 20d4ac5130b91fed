/* statement.c - in-toto statements: how each stage's artifact came to be (SLSA provenance v1), and what a
 * report is of.
 *
 *   subject             the artifact: {"name": stage, "digest": {"sha256": root}}       a directory's root: tree.c
 *   buildDefinition     kind, version, every parameter, the numerics profile; inputs as resolvedDependencies
 *   runDetails          builder, invocationId = the stage's key; byproducts: root of its step log
 *
 * No clock, host or speed: the same stage gives the same statement everywhere. Texts are canonical JSON. */
#include "provenance/provenance.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

static const char *hex_of(const char *root)
{
    return root != NULL && tn_starts_with(root, "sha256:") ? root + 7 : root != NULL ? root : "";
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));

    return text != NULL ? text : "";
}

static json_t *statement(const char *name, const char *root, const char *type, json_t *predicate)
{
    return json_pack("{s:s,s:[{s:s,s:{s:s}}],s:s,s:o}", "_type", "https://in-toto.io/Statement/v1", "subject",
                     "name", name, "digest", "sha256", hex_of(root), "predicateType", type, "predicate",
                     predicate);
}

static char *finish(json_t *s)
{
    char *text = s == NULL ? NULL : tn_json_text(s);

    json_decref(s);
    return text;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* By port name: a closure that was written and read again has its members in another order than the one in
 * memory. */
static json_t *dependencies(const json_t *row)
{
    const json_t *inputs = json_object_get(row, "inputs"), *from = json_object_get(row, "from");
    json_t       *list = json_array(), *root;
    const char   *port, **ports = calloc(json_object_size(inputs) + 1, sizeof *ports);
    size_t        n = 0;

    if (ports == NULL) {
        json_decref(list);
        return NULL;
    }
    json_object_foreach((json_t *)inputs, port, root) ports[n++] = port;
    qsort(ports, n, sizeof *ports, by_text);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s,s:s,s:{s:s}}", "name", ports[i], "uri",
                                              text_of(from, ports[i]), "digest", "sha256",
                                              hex_of(json_string_value(json_object_get(inputs, ports[i])))));
    free(ports);
    return list;
}

char *tn_statement_stage(const json_t *row, const char *recipe_sha256, const char *log_root)
{
    json_t *definition, *details, *external = json_object(), *byproducts = json_array();

    json_object_set_new(external, "kind", json_string(text_of(row, "kind")));
    json_object_set(external, "kind_version", json_object_get(row, "kind_version"));
    json_object_set(external, "params", json_object_get(row, "params"));
    json_object_set_new(external, "profile", json_string(text_of(row, "profile")));
    if (recipe_sha256 != NULL) json_object_set_new(external, "recipe", json_string(recipe_sha256));
    definition = json_pack("{s:s,s:o,s:{s:b},s:o}", "buildType", "urn:tenet:stage:v1", "externalParameters",
                           external, "internalParameters", "recorded",
                           json_is_true(json_object_get(row, "recorded")), "resolvedDependencies",
                           dependencies(row));
    if (log_root != NULL)
        json_array_append_new(byproducts, json_pack("{s:s,s:{s:s}}", "name", "step log root", "digest",
                                                    "sha256", hex_of(log_root)));
    details = json_pack("{s:{s:s},s:{s:s},s:o}", "builder", "id", "urn:tenet:builder:v1", "metadata",
                        "invocationId", text_of(row, "key"), "byproducts", byproducts);
    return finish(statement(text_of(row, "name"), text_of(row, "root"), "https://slsa.dev/provenance/v1",
                            json_pack("{s:o,s:o}", "buildDefinition", definition, "runDetails", details)));
}

char *tn_statement_report(const char *name, const char *root, const char *model_root)
{
    return finish(statement(name, root, "urn:tenet:report:v1",
                            json_pack("{s:{s:{s:s}}}", "model", "digest", "sha256", hex_of(model_root))));
}

char *tn_statement_release(const char *name, const char *content_root, const char *model_root)
{
    return finish(statement(name, content_root, "urn:tenet:release:v1",
                            json_pack("{s:{s:{s:s}}}", "model", "digest", "sha256", hex_of(model_root))));
}
