/* release.h - a release as a directory: what goes in, where it lies. Shared by release.c (builds) and
 * verify*.c (checks).
 *
 *   README.md                 model card (Hugging Face front matter)
 *   config.json, *.safetensors, tokenizer.json ... or model.gguf        the model's own files, as they were
 *   constitution.yaml  recipe.yaml
 *   release.json              what all this is: roots, step logs, the closure (recipe.h)
 *   reports/NAME  records/NAME  replay/NAME  replay/inputs/HEX          artifacts, byte for byte: their roots are in release.json
 *   bom.cdx.json              CycloneDX 1.6
 *   provenance.intoto.jsonl   one signed statement a line: each stage, each report, the release
 *   model.sig                 OMS v1.0 over every other file
 *
 * "Content" is every file but the last three: they are made from its root. */
#ifndef TN_RECIPE_RELEASE_H
#define TN_RECIPE_RELEASE_H

#include "recipe/recipe.h"

#define RELEASE_FORMAT "tenet/release/v1"
#define RELEASE_MANIFEST "release.json"
#define RELEASE_BOM "bom.cdx.json"
#define RELEASE_STATEMENTS "provenance.intoto.jsonl"
#define RELEASE_CARD "README.md"
#define RELEASE_RECIPE "recipe.yaml"
#define RELEASE_CHARTER "constitution.yaml"

/* Root over the content among `files` (sorted by name). */
tn_status recipe_release_content_root(const tn_tree_file *files, size_t n, tn_digest *out, tn_error *err);
/* Is this name one of the three that are made from the content? */
bool recipe_release_is_derived(const char *name);
/* Digests and sums of a file's blocks; made. NULL: unreadable, or out of memory. */
json_t *recipe_blocks_of(const char *path, tn_error *err);
/* First difference of the file from what the entry was made of: *first == *last when the byte is known, else
 * the block. false: none, or the entry does not parse. */
bool recipe_blocks_locate(const json_t *entry, const char *path, int64_t *first, int64_t *last);
/* README.md from the manifest; made: free. */
char *recipe_release_card(const json_t *manifest, const tn_release_options *o);

#endif
