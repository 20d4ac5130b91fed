/* bytes.c - a tokenizer without a vocabulary file: the 256 bytes and one end-of-text token.
 * Built as tokenizer.json text (a byte-level BPE without merges), so that it is saved and read like any
 * other. */
#include "data/data.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

/* The byte alphabet of byte-level BPE: printable bytes stand for themselves, the others for U+0100 and up in
 * order. */
static uint32_t byte_symbol(int b)
{
    uint32_t next = 256;
    for (int i = 0; i < 256; i++) {
        bool plain = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || (i >= 174);
        if (i == b) return plain ? (uint32_t)i : next;
        if (!plain) next++;
    }
    return 0;
}

static const char config_text[] = "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"clean_up_tokenization_"
                                  "spaces\":false,\"eos_token\":\"<|endoftext|>\"}";

static tn_status tokenizer_json(char **text, tn_error *err)
{
    json_t *vocab = json_object(), *root = NULL;

    for (int b = 0; b < 256; b++) {
        char symbol[5] = { 0 };
        symbol[tn_utf8_encode(byte_symbol(b), symbol)] = '\0';
        json_object_set_new(vocab, symbol, json_integer(b));
    }
    json_object_set_new(vocab, "<|endoftext|>", json_integer(256));
    root = json_pack("{s:s, s:n, s:n, s:[{s:i,s:s,s:b,s:b,s:b,s:b,s:b}], s:n, s:{s:s,s:b,s:b,s:b}, s:n, "
                     "s:{s:s,s:b,s:b,s:b},"
                     " s:{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:O,s:[]}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", "id", 256, "content",
                     "<|endoftext|>", "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special",
                     1, "normalizer", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", 1, "post_processor", "decoder", "type", "ByteLevel",
                     "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1, "model", "type", "BPE",
                     "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                     "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges");
    *text = root != NULL ? tn_json_text(root) : NULL;
    json_decref(vocab);
    json_decref(root);
    return *text != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for the byte tokenizer");
}

tn_status tn_data_byte_tokenizer(tn_tokenizer **out, tn_error *err)
{
    char *text;
    TN_TRY(tokenizer_json(&text, err));
    tn_status status = tn_tokenizer_from_json(out, text, strlen(text), config_text, sizeof config_text - 1,
                                              "byte tokenizer", err);
    free(text);
    return status;
}

tn_status tn_data_byte_tokenizer_save(const char *dir, tn_error *err)
{
    char *text = NULL, *path = tn_path(dir, "tokenizer.json"),
         *config = tn_path(dir, "tokenizer_config.json");
    tn_status status = TN_OK;
    if (path == NULL || config == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for a path");
        goto out;
    }
    TN_GOTO(tokenizer_json(&text, err));
    TN_GOTO(tn_file_write_all(path, text, strlen(text), err));
    TN_GOTO(tn_file_write_all(config, config_text, sizeof config_text - 1, err));
out:
    free(text);
    free(path);
    free(config);
    return status;
}
