/* bom.c - the bill of materials: CycloneDX 1.6 with a machine-learning-model component.
 *
 *   metadata.component   the model: hashes, modelCard, pedigree.ancestors = what it was made from
 *   components           every file of the release with its SHA-256; data that went in, by digest
 *   serialNumber         a UUID (version 8) of the content's root: the same content, the same number
 *
 * Nothing here knows a clock: the timestamp is the release date, when one is given. */
#include "provenance/provenance.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tn_bom_serial(char out[TN_BOM_SERIAL], const tn_digest *root)
{
    uint8_t b[16];

    memcpy(b, root->b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x80); /* version 8: own content (RFC 9562) */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(out, TN_BOM_SERIAL,
             "urn:uuid:%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static json_t *hashes(const char *hex) { return json_pack("[{s:s,s:s}]", "alg", "SHA-256", "content", hex); }

/* Weights and tables are data, the rest are files. */
static json_t *file_component(const tn_tree_file *f)
{
    char    hex[TN_SHA256_HEX];
    json_t *c;

    tn_hex(hex, &f->digest);
    c = json_pack("{s:s,s:s,s:s,s:o}", "type", "file", "name", f->name, "bom-ref", f->name, "hashes",
                  hashes(hex));
    if (tn_ends_with(f->name, ".safetensors") || tn_ends_with(f->name, ".gguf"))
        json_object_set_new(c, "mime-type", json_string("application/octet-stream"));
    return c;
}

static json_t *material_component(const tn_bom_material *m, size_t i)
{
    char   *ref = tn_strf("material-%zu", i);
    json_t *c = json_pack("{s:s,s:s,s:s,s:o}", "type", m->is_model ? "machine-learning-model" : "data",
                          "name", m->name, "bom-ref", ref != NULL ? ref : "material", "hashes",
                          hashes(m->sha256));

    if (!m->is_model)
        json_object_set_new(c, "data", json_pack("[{s:s,s:s}]", "type", "dataset", "name", m->name));
    free(ref);
    return c;
}

static json_t *model_card(const tn_bom_input *in)
{
    json_t *parameters = json_pack("{s:s,s:[{s:s}],s:[{s:s}]}", "task", "text-generation", "inputs", "format",
                                   "text", "outputs", "format", "text");
    json_t *considerations = json_object(), *card = json_object();

    if (in->approach != NULL)
        json_object_set_new(parameters, "approach", json_pack("{s:s}", "type", in->approach));
    if (in->family != NULL) json_object_set_new(parameters, "architectureFamily", json_string(in->family));
    if (in->architecture != NULL)
        json_object_set_new(parameters, "modelArchitecture", json_string(in->architecture));
    json_object_set_new(card, "modelParameters", parameters);
    if (in->use_case != NULL) json_object_set_new(considerations, "useCases", json_pack("[s]", in->use_case));
    if (in->limits != NULL)
        json_object_set_new(considerations, "technicalLimitations", json_pack("[s]", in->limits));
    if (json_object_size(considerations) > 0) json_object_set(card, "considerations", considerations);
    json_decref(considerations);
    return card;
}

static json_t *properties(const tn_bom_input *in)
{
    json_t *list = json_array();
    const struct {
        const char *name, *value;
    } rows[] = { { "tenet:model:root", in->model_root },
                 { "tenet:weights:digest", in->weights_digest },
                 { "tenet:constitution:digest", in->constitution_digest },
                 { "tenet:recipe:sha256", in->recipe_sha256 },
                 { "tenet:log:root", in->log_root } };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].value != NULL)
            json_array_append_new(list, json_pack("{s:s,s:s}", "name", rows[i].name, "value", rows[i].value));
    return list;
}

tn_status tn_bom_build(json_t **out, const tn_bom_input *in, tn_error *err)
{
    char    serial[TN_BOM_SERIAL];
    json_t *components = json_array(), *ancestors = json_array(), *depends = json_array(), *model, *metadata;

    for (size_t i = 0; i < in->n_file; i++) {
        json_array_append_new(components, file_component(&in->files[i]));
        json_array_append_new(depends, json_string(in->files[i].name));
    }
    for (size_t i = 0; i < in->n_material; i++) {
        json_t *c = material_component(&in->materials[i], i);
        if (in->materials[i].is_model) {
            json_array_append_new(ancestors, c);
        } else {
            json_array_append(depends, json_object_get(c, "bom-ref"));
            json_array_append_new(components, c);
        }
    }
    tn_bom_serial(serial, in->content_root);
    model = json_pack("{s:s,s:s,s:s,s:s,s:o,s:o}", "type", "machine-learning-model", "bom-ref", "model",
                      "name", in->name, "version", in->version, "modelCard", model_card(in), "properties",
                      properties(in));
    if (in->license != NULL)
        json_object_set_new(
            model, "licenses",
            json_pack("[{s:{s:s}}]", "license", in->license_is_spdx ? "id" : "name", in->license));
    if (json_array_size(ancestors) > 0)
        json_object_set_new(model, "pedigree", json_pack("{s:O}", "ancestors", ancestors));
    json_decref(ancestors);
    metadata = json_pack("{s:{s:[{s:s,s:s}]},s:o}", "tools", "components", "type", "application", "name",
                         "tenet", "component", model);
    if (in->date != NULL) {
        char *stamp = tn_strf("%sT00:00:00Z", in->date);
        json_object_set_new(metadata, "timestamp", json_string(stamp != NULL ? stamp : ""));
        free(stamp);
    }
    *out = json_pack("{s:s,s:s,s:s,s:i,s:o,s:o,s:[{s:s,s:o}]}", "bomFormat", "CycloneDX", "specVersion",
                     "1.6", "serialNumber", serial, "version", 1, "metadata", metadata, "components",
                     components, "dependencies", "ref", "model", "dependsOn", depends);
    return *out == NULL ? tn_fail(err, TN_NOMEM, "no memory for a bill of materials") : TN_OK;
}
