/* tokenizer.h - text to token ids and back, chat formats and their masks.
 *
 * A tokenizer comes from tokenizer.json text or from the arrays of a GGUF vocabulary; both become the same
 * object. Read-only after creation, shared by threads. No template or code from a model file is ever
 * executed: a template's text is recognised and mapped to one of our formats. */
#ifndef TN_TOKENIZER_TOKENIZER_H
#define TN_TOKENIZER_TOKENIZER_H

#include "base/err.h"

typedef struct tn_tokenizer tn_tokenizer;

/* tokenizer.json (+ tokenizer_config.json text or NULL for bos/eos flags). `where` for messages. */
tn_status tn_tokenizer_from_json(tn_tokenizer **out, const char *text, size_t n, const char *config_text,
                                 size_t config_n, const char *where, tn_error *err);

/* A GGUF vocabulary, as its reader found it (strings borrowed during the call). */
typedef struct tn_vocab_source {
    const char        *model, *pre; /* tokenizer.ggml.model ("gpt2", "llama", "unigram"...), .pre or NULL */
    int64_t            n_token;
    const char *const *tokens;
    const size_t      *token_bytes;
    const float       *scores; /* or NULL */
    const int32_t     *types;  /* 1 normal 2 unknown 3 control 4 user 5 unused 6 byte; or NULL */
    int64_t            n_merge;
    const char *const *merges;
    const size_t      *merge_bytes;
    int64_t            bos, eos, eot, unk, pad;            /* -1: none */
    int                add_bos, add_eos, add_space_prefix; /* 0, 1, or -1 for the model's default */
    const char        *chat_template;                      /* or NULL */
    const uint8_t     *charsmap;
    size_t             charsmap_bytes;      /* tokenizer.ggml.precompiled_charsmap, or NULL */
    bool               remove_extra_spaces; /* tokenizer.ggml.remove_extra_whitespaces */
} tn_vocab_source;
tn_status tn_tokenizer_from_vocab(tn_tokenizer **out, const tn_vocab_source *src, const char *where,
                                  tn_error *err);
void      tn_tokenizer_destroy(tn_tokenizer *t);

enum {
    TN_TOK_SPECIAL = 1 /* special tokens in the text count */,
    TN_TOK_BOS = 2 /* add what the model adds at the front */,
    TN_TOK_EOS = 4,
    TN_TOK_STOPS = 8 /* a signal ends it, as tn_interrupted says: for texts that take minutes */
};
/* Appends ids to a growable array (*ids made/grown with realloc; *n in use, *cap allocated). Each ill-formed
 * byte counts as U+FFFD; SentencePiece BPE keeps the bytes themselves where its vocabulary has them (decision
 * 050). */
tn_status tn_tokenize(const tn_tokenizer *t, const char *text, size_t n_bytes, int flags, int32_t **ids,
                      size_t *n, size_t *cap, tn_error *err);
/* Text of ids; made: free. special = false leaves control tokens out. */
tn_status tn_detokenize(const tn_tokenizer *t, const int32_t *ids, size_t n, bool special, char **out,
                        size_t *out_n, tn_error *err);

/* Streaming decode: bytes come out only as whole UTF-8 characters. */
/* start as {0} */
typedef struct tn_decode_stream {
    char pending[4];
    int  n_pending;
    bool started;
} tn_decode_stream;
/* Appends to *out (growable, made). Flush with id -1: what is pending comes out as U+FFFD. */
tn_status tn_decode_next(const tn_tokenizer *t, tn_decode_stream *s, int32_t id, char **out, size_t *n,
                         size_t *cap, tn_error *err);

int64_t tn_tokenizer_n_vocab(const tn_tokenizer *t);
int32_t tn_tokenizer_bos(const tn_tokenizer *t); /* -1: none */
int32_t tn_tokenizer_eos(const tn_tokenizer *t);
bool    tn_tokenizer_adds_bos(const tn_tokenizer *t);
bool    tn_tokenizer_is_stop(const tn_tokenizer *t, int32_t id); /* eos, eot, eom */
bool    tn_tokenizer_is_special(const tn_tokenizer *t, int32_t id);
/* id of a token by its exact text, -1 */
int32_t     tn_tokenizer_find(const tn_tokenizer *t, const char *token);
const char *tn_tokenizer_piece(const tn_tokenizer *t, int32_t id, size_t *n); /* raw vocabulary text */
const char *tn_tokenizer_kind(const tn_tokenizer *t); /* "bpe (smollm)", "spm", "unigram" */
/* What a GGUF calls (tokenizer.ggml.pre) the way in which this byte-level BPE splits text; NULL: it has no
 * name for it. */
const char *tn_tokenizer_pre(const tn_tokenizer *t);
enum { TN_PRE_PASSES = 12 };
/* The patterns of a pre-tokenizer that a GGUF names, one a pass, as tokenizer.json spells them (made; NULL
 * behind the last), and whether a piece that is a token is taken without merging. false: the name is not
 * known, or has no such form. */
bool tn_pre_spell(const char *name, char *pattern[TN_PRE_PASSES], bool *ignore_merges);
/* Content digest (vocabulary, merges, flags): what shards and manifests hold. */
struct tn_digest;
void tn_tokenizer_digest(const tn_tokenizer *t, struct tn_digest *out);

/* --------------------------------------------------------------------------------------------------- chat */

typedef enum tn_chat_format {
    TN_CHAT_NONE,
    TN_CHAT_CHATML,
    TN_CHAT_LLAMA2,
    TN_CHAT_LLAMA3,
    TN_CHAT_MISTRAL_V1,
    TN_CHAT_MISTRAL_V3,
    TN_CHAT_MISTRAL_TEKKEN,
    TN_CHAT_MISTRAL_V7,
    TN_CHAT_GEMMA,
    TN_CHAT_ZEPHYR,
    TN_CHAT_DEEPSEEK2,
    TN_CHAT_DEEPSEEK3,
    TN_CHAT_TULU,
    TN_CHAT_SMOLLM3,
    TN_CHAT_HARMONY,
    TN_CHAT_PHI3,
    TN_CHAT_PHI4,
    TN_CHAT_PHI4_MINI,
    TN_CHAT_GRANITE,
    TN_CHAT_OLMO3,
    TN_CHAT_COUNT
} tn_chat_format;
const char *tn_chat_format_name(tn_chat_format f); /* "chatml" */
/* Appends every name: "chatml|llama2|...". */
struct tn_str;
void tn_chat_format_names(struct tn_str *out);
bool tn_chat_format_parse(const char *name, tn_chat_format *out);

/* What was recognised in a model's template text: the format, its default system text if it inserts one, and
 * the template's own ways (private to the room). {.format = f} alone means the format's usual ways. */
typedef struct tn_chat {
    tn_chat_format format;
    char          *default_system;
    bool           recognised;
    uint32_t       ways;
} tn_chat;
/* UNSUPPORTED says how to choose one (--chat-format). */
tn_status tn_chat_recognise(tn_chat *out, const char *template_text, const tn_tokenizer *t, tn_error *err);
void      tn_chat_free(tn_chat *c);
/* The token that ends an answer in this format; -1: it is no single token of t. */
int32_t tn_chat_stop(const tn_chat *chat, const tn_tokenizer *t);
/* Whether an answer ends with the token: a stop of the vocabulary, or the format's own where it is special.
 * chat may be NULL. */
bool tn_chat_is_stop(const tn_chat *chat, const tn_tokenizer *t, int32_t id);
/* The format in its usual ways as a template (one line of Jinja), which tn_chat_recognise knows again; made:
 * free. */
tn_status tn_chat_template(char **out, tn_chat_format format, tn_error *err);

/* "system" | "user" | "assistant" */
typedef struct tn_message {
    const char *role;
    const char *content;
} tn_message;

/* Of a token in a conversation's mask, 0 where it is not trained: the last message's; what the format ends
 * the answer with. */
enum { TN_MASK_TRAINED = 1, TN_MASK_LAST = 2, TN_MASK_END = 4 };
/* What a rendering is for; 0: the conversation as it is. Of formats that write a thought, or its empty block, before
 * an answer (Qwen 3): */
enum {
    TN_TURN_OPEN = 1, /* end with the generation prompt */
    TN_TURN_ANSWERED =
        3, /* and with what the model would write before an answer's text: something follows that is one */
    TN_TURN_CUT = 4, /* the last answer ends where it was cut off, which may be within its thought */
    TN_TURN_EACH =
        8 /* earlier answers stand as the model has to write them, too; else as the format shows them later */
};
/* Renders to ids. mask (or NULL) tells the tokens that are trained, by TN_MASK_ bits: assistant content and
 * its stop token. Content is tokenised without special-token parsing. Arrays grown as above. */
tn_status tn_chat_render(const tn_tokenizer *t, const tn_chat *chat, const tn_message *messages,
                         size_t n_message, int turn, int32_t **ids, uint8_t **mask, size_t *n, size_t *cap,
                         tn_error *err);
/* The same as text (made: free), as a template of the public libraries writes it: special tokens stand as
 * their texts. For those who score a text as a whole; what people wrote is not kept apart from the format in
 * it. */
tn_status tn_chat_text(const tn_tokenizer *t, const tn_chat *chat, const tn_message *messages,
                       size_t n_message, int turn, char **out, tn_error *err);

#endif
