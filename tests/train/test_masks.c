/* test_masks.c - which tokens of a conversation are trained, against TRL's own training templates
 * (make_masks.py): the same ids, and the same mask but for what TRL trains beside the answer and its stop
 * token:
 *
 *   chatml      the newline before the answer, and the one after <|im_end|>
 *   gemma       the newline after <end_of_turn>
 *   deepseek3   the mark <|Assistant|> before the answer
 *   harmony     <|start|>assistant, which the prompt ends with
 *   phi3        the newline after <|end|>, and the end token that closes the text
 *   qwen3       the newline after <|im_end|>
 *
 * None of these is sampled by the model in use: they belong to the prompt, or come after the stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "data/data.h"
#include "model/model.h"

/* Is it one of the differences above: right before the answer (or its stop token, if the answer is empty), or
 * right after the stop token? */
static bool explained(const char *format, const tn_tokenizer *t, const int32_t *ids, const uint8_t *mine,
                      size_t n, size_t i)
{
    bool before = i + 1 < n && (mine[i + 1] || tn_tokenizer_is_stop(t, ids[i + 1])),
         after = i > 0 && mine[i - 1] && tn_tokenizer_is_stop(t, ids[i - 1]);
    if (strcmp(format, "chatml") == 0) return before || after;
    if (strcmp(format, "gemma") == 0) return after;
    if (strcmp(format, "deepseek3") == 0) return before;
    if (strcmp(format, "qwen3") == 0) return after;
    if (strcmp(format, "phi3") == 0)
        return after || (i > 1 && mine[i - 2] && tn_tokenizer_is_stop(t, ids[i - 2]));
    if (strcmp(format, "harmony") == 0) { /* of "<|start|>assistant" */
        size_t k = i;
        while (k > 0 && i - k < strlen("assistant") && !mine[k]) k--;
        while (k < i && ids[k] != tn_tokenizer_find(t, "<|start|>")) k++;
        return !mine[k] && ids[k] == tn_tokenizer_find(t, "<|start|>");
    }
    return false;
}

/* Qwen 3's is no format with a name: it is known by the template. */
static void find_format(tn_chat *out, const char *format, const tn_tokenizer *t)
{
    json_t *all;

    *out = (tn_chat){ 0 };
    if (strcmp(format, "qwen3") != 0) {
        assert_true(tn_chat_format_parse(format, &out->format));
        return;
    }
    assert_int_equal(tn_json_load(&all, "tests/golden/train/masks/renderings.json", 1 << 24, NULL), TN_OK);
    const char *text = json_string_value(json_object_get(json_object_get(all, format), "template"));
    assert_int_equal(tn_chat_recognise(out, text, t, NULL), TN_OK);
    json_decref(all);
}

static void one(const json_t *row)
{
    const char   *format = json_string_value(json_object_get(row, "format"));
    const json_t *list = json_object_get(row, "messages"), *want = json_object_get(row, "ids"),
                 *trained = json_object_get(row, "mask"), *e;
    char         *folder = tn_strf("tests/golden/train/masks/%s", format), *text = NULL;
    tn_tokenizer *t;
    tn_chat       chat = { 0 };
    tn_message    m[8];
    size_t        n_message = 0, i, n = 0, cap = 0, len;
    int32_t      *ids = NULL;
    uint8_t      *mask = NULL;
    tn_error      err = { 0 };

    if (tn_model_open_tokenizer(&t, folder, &err) != TN_OK) fail_msg("%s: %s", format, err.msg);
    find_format(&chat, format, t);
    json_array_foreach(list, i, e)
        m[n_message++] = (tn_message){ json_string_value(json_object_get(e, "role")),
                                       json_string_value(json_object_get(e, "content")) };
    if (tn_chat_render(t, &chat, m, n_message, TN_TURN_EACH, &ids, &mask, &n, &cap, &err) != TN_OK)
        fail_msg("%s: %s", format, err.msg);
    assert_int_equal(tn_detokenize(t, ids, n, true, &text, &len, &err), TN_OK);
    if (n != json_array_size(want))
        fail_msg("%s: %zu tokens, TRL has %zu: %s", format, n, json_array_size(want), text);
    for (i = 0; i < n; i++) {
        if (json_integer_value(json_array_get(want, i)) != ids[i])
            fail_msg("%s: token %zu differs: %s", format, i, text);
        bool theirs = json_integer_value(json_array_get(trained, i)) != 0;
        if (theirs == (mask[i] != 0)) continue;
        if (!theirs || !explained(format, t, ids, mask, n, i))
            fail_msg("%s: token %zu of '%s' is trained %s", format, i, text,
                     theirs ? "by TRL only" : "here only");
    }
    tn_chat_free(&chat);
    tn_tokenizer_destroy(t);
    free(folder);
    free(text);
    free(ids);
    free(mask);
}

static void masks_are_those_of_trl(void **state)
{
    json_t       *rows;
    const json_t *row;
    size_t        i;
    (void)state;
    assert_int_equal(tn_json_load(&rows, "tests/golden/train/masks/masks.json", 1 << 20, NULL), TN_OK);
    assert_true(json_array_size(rows) >= 40);
    json_array_foreach(rows, i, row) one(row);
    json_decref(rows);
}

/* ------------------------------------------------------------------------------- what is trained, as text */

/* What is trained of an answer: lead, the answer as the format writes it, tail, its stop. */
// clang-format off
static const struct { const char *format, *lead, *tail, *stop, *earlier_stop; enum { WHOLE, STRIP, LSTRIP_LINES } trim; } trained_of[] = {
    { "chatml", "", "", "<|im_end|>", NULL, WHOLE },          { "llama2", " ", " ", "</s>", NULL, STRIP },
    { "llama3", "", "", "<|eot_id|>", NULL, STRIP },          { "mistral-v1", " ", "", "</s>", NULL, WHOLE },
    { "mistral-v3", " ", "", "</s>", NULL, STRIP },           { "mistral-tekken", "", "", "</s>", NULL, WHOLE },
    { "mistral-v7", " ", "", "</s>", NULL, WHOLE },           { "gemma", "", "", "<end_of_turn>", NULL, STRIP },
    { "zephyr", "", "", "</s>", NULL, WHOLE },                { "deepseek2", " ", "", "</s>", NULL, WHOLE },
    { "deepseek3", "", "", "<｜end▁of▁sentence｜>", NULL, WHOLE }, { "tulu", "", "", "</s>", NULL, WHOLE },
    { "smollm3", "", "", "<|im_end|>", NULL, LSTRIP_LINES },
    { "harmony", "<|channel|>final<|message|>", "", "<|return|>", "<|end|>", WHOLE },
    { "phi3", "", "", "<|end|>", NULL, WHOLE },               { "phi4", "", "", "<|im_end|>", NULL, WHOLE },
    { "phi4-mini", "", "", "<|end|>", NULL, WHOLE },          { "granite", "", "", "<|end_of_text|>", NULL, WHOLE },
    { "olmo3", "", "", "</s>", "<|im_end|>", WHOLE },
};
// clang-format on

static char *trained_text(const tn_tokenizer *t, const tn_chat *chat, const tn_message *m, size_t n_message)
{
    int32_t *ids = NULL;
    uint8_t *mask = NULL;
    size_t   n = 0, cap = 0, n_trained = 0, len;
    char    *text = NULL;
    tn_error err = { 0 };

    if (tn_chat_render(t, chat, m, n_message, false, &ids, &mask, &n, &cap, &err) != TN_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++)
        if (mask[i]) ids[n_trained++] = ids[i];
    assert_int_equal(tn_detokenize(t, ids, n_trained, true, &text, &len, &err), TN_OK);
    free(ids);
    free(mask);
    return text;
}

/* vocabulary: of bytes, so that no token reaches over the border of an answer. eos: how it writes "\1"; "" if
 * it has none. */
static void trains_answers_and_stops(const char *vocabulary, const char *eos)
{
    static const char *const answers[] = { "",        " ",  "\n",           " \n\t ",    "\n\nYes",
                                           " Yes \n", "ok", "\xe3\x80\x80", "a</think>", "</think>" };
    enum { N_ANSWER = sizeof answers / sizeof answers[0] };
    tn_tokenizer *t;
    tn_error      err = { 0 };

    if (tn_model_open_tokenizer(&t, vocabulary, &err) != TN_OK) fail_msg("%s: %s", vocabulary, err.msg);
    assert_int_equal(sizeof trained_of / sizeof trained_of[0], TN_CHAT_COUNT - 1);
    for (size_t f = 0; f < sizeof trained_of / sizeof trained_of[0]; f++) {
        tn_chat chat = { 0 };
        assert_true(tn_chat_format_parse(trained_of[f].format, &chat.format));
        for (size_t k = 0; k < (size_t)N_ANSWER * N_ANSWER * 8; k++) {
            const char *a[3] = { answers[k / 8 % N_ANSWER], answers[k / 8 / N_ANSWER],
                                 answers[(k / 8 + 3) % N_ANSWER] };
            const bool  ends_with_user = (k & 1) != 0, system = (k & 2) != 0, bare_user = (k & 4) != 0;
            tn_message  m[8];
            size_t      n = 0;
            tn_str      want = { 0 };

            if (system) m[n++] = (tn_message){ "system", "Be kind." };
            for (size_t i = 0; i < 3; i++) {
                m[n++] = (tn_message){ "user", bare_user ? "" : "q \n" };
                m[n++] = (tn_message){ "assistant", a[i] };
            }
            if (ends_with_user) m[n++] = (tn_message){ "user", "tail" };
            for (size_t i = 0; i < 3; i++) {
                const char *p = a[i], *stop = trained_of[f].earlier_stop != NULL && (i < 2 || ends_with_user)
                                                  ? trained_of[f].earlier_stop
                                                  : trained_of[f].stop;
                size_t      len = strlen(p);
                if (trained_of[f].trim == STRIP && strcmp(p, "\xe3\x80\x80") == 0) len = 0;
                while (trained_of[f].trim == STRIP && len > 0 && strchr(" \n\t", p[len - 1]) != NULL) len--;
                while (len > 0 && strchr(trained_of[f].trim == STRIP          ? " \n\t"
                                         : trained_of[f].trim == LSTRIP_LINES ? "\n"
                                                                              : "",
                                         *p) != NULL) {
                    p++;
                    len--;
                }
                tn_str_add(&want, trained_of[f].lead);
                tn_str_add_n(&want, p, len);
                tn_str_add(&want, trained_of[f].tail);
                tn_str_add(&want, strcmp(stop, "</s>") == 0 ? eos : stop);
            }
            char *got = trained_text(t, &chat, m, n);
            if (strcmp(got, want.p != NULL ? want.p : "") != 0)
                fail_msg("%s, %s, '%s', '%s', '%s' (%zu): trained is '%s', not '%s'", vocabulary,
                         trained_of[f].format, a[0], a[1], a[2], k & 7, got, want.p);
            free(got);
            tn_str_free(&want);
        }
    }
    tn_tokenizer_destroy(t);
}

static void answers_and_their_stops_are_trained_and_nothing_else(void **state)
{
    (void)state;
    trains_answers_and_stops("tests/golden/train/masks/all", "</s>");
    trains_answers_and_stops("tests/golden/train/pairs", "<|endoftext|>"); /* the marks are text there */
}

/* An answer of which the format cuts all is empty, too. */
static void what_is_cut_to_nothing_trains_its_stop_alone(void **state)
{
    static const tn_message m[] = { { "user", "a" },
                                    { "assistant", "hm</think>" },
                                    { "user", "b" },
                                    { "assistant", "<think>x</think>" },
                                    { "user", "c" } };
    // clang-format off
    static const struct { const char *text, *want; } rows[] = {
        { "<｜User｜> <｜Assistant｜> </think>", "<｜end▁of▁sentence｜><｜end▁of▁sentence｜>" },
        { "<｜User｜><｜Assistant｜> thinking ns.is_last_user content.split('</think>', 1)[1] {{'<think></think>'}}", "<｜end▁of▁sentence｜><｜end▁of▁sentence｜>" },
        { "<|im_start|> content.split('</think>')[-1].lstrip('\\n')", "<|im_end|><|im_end|>" },
    };
    // clang-format on
    tn_tokenizer *t;
    (void)state;
    assert_int_equal(tn_model_open_tokenizer(&t, "tests/golden/train/masks/all", NULL), TN_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tn_chat chat;
        assert_int_equal(tn_chat_recognise(&chat, rows[i].text, t, NULL), TN_OK);
        char *got = trained_text(t, &chat, m, 5);
        assert_string_equal(got, rows[i].want);
        free(got);
        tn_chat_free(&chat);
    }
    tn_tokenizer_destroy(t);
}

/* The block that Qwen 3's template puts before the last answer stands behind the prompt, also where it is
 * empty. */
static void of_qwen_3_the_block_is_trained_even_empty(void **state)
{
    // clang-format off
    static const struct { const char *answer, *want; } rows[] = {
        { "\n\nYes", "<think>\n\n</think>\n\nYes<|im_end|>" }, { "", "<think>\n\n</think>\n\n<|im_end|>" },
        { "hm</think>\nok", "<think>\nhm\n</think>\n\nok<|im_end|>" },
        { "<think>\n\n</think>\n\nok", "<think>\n\n</think>\n\nok<|im_end|>" },
    };
    // clang-format on
    tn_tokenizer *t;
    tn_chat       chat;
    (void)state;
    assert_int_equal(tn_model_open_tokenizer(&t, "tests/golden/train/masks/all", NULL), TN_OK);
    assert_int_equal(
        tn_chat_recognise(
            &chat,
            "<|im_start|> </think> ns.last_query_index '\n<think>\n' + reasoning_content.strip('\n') "
            "enable_thinking is defined and enable_thinking is false",
            t, NULL),
        TN_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const tn_message m[] = { { "user", "a" }, { "assistant", rows[i].answer } };
        char            *got = trained_text(t, &chat, m, 2);
        assert_string_equal(got, rows[i].want);
        free(got);
    }
    /* cut off within its thought: the block is the answer's own */
    const tn_message m[] = { { "user", "a" }, { "assistant", "<think>\nI wonder" } };
    int32_t         *ids = NULL;
    size_t           n = 0, cap = 0, len;
    char            *text;
    assert_int_equal(tn_chat_render(t, &chat, m, 2, TN_TURN_CUT | TN_TURN_EACH, &ids, NULL, &n, &cap, NULL),
                     TN_OK);
    assert_int_equal(tn_detokenize(t, ids, n, true, &text, &len, NULL), TN_OK);
    assert_string_equal(
        text, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\nI wonder<|im_end|>\n");
    free(text);
    /* words put into its mouth stand where its own would */
    n = 0;
    assert_int_equal(tn_chat_render(t, &chat, m, 1, TN_TURN_ANSWERED, &ids, NULL, &n, &cap, NULL), TN_OK);
    assert_int_equal(tn_detokenize(t, ids, n, true, &text, &len, NULL), TN_OK);
    assert_string_equal(text,
                        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
    free(text);
    n = 0;
    assert_int_equal(tn_chat_render(t, &(tn_chat){ .format = TN_CHAT_HARMONY }, m, 1, TN_TURN_ANSWERED, &ids,
                                    NULL, &n, &cap, NULL),
                     TN_OK);
    assert_int_equal(tn_detokenize(t, ids, n, true, &text, &len, NULL), TN_OK);
    assert_true(tn_ends_with(text, "a<|end|><|start|>assistant<|channel|>final<|message|>"));
    free(text);
    free(ids);
    tn_chat_free(&chat);
    tn_tokenizer_destroy(t);
}

/* The vocabulary has both: <|end|> ends a message of Harmony's that another one may follow, and an answer of
 * Phi-3's. */
static void a_format_s_own_mark_is_a_stop_of_that_format(void **state)
{
    // clang-format off
    static const struct { tn_chat_format format; const char *mark; bool stop; } rows[] = {
        { TN_CHAT_PHI3, "<|end|>", true },       { TN_CHAT_PHI4_MINI, "<|end|>", true }, { TN_CHAT_HARMONY, "<|end|>", false },
        { TN_CHAT_HARMONY, "<|return|>", true }, { TN_CHAT_CHATML, "<|end|>", false },   { TN_CHAT_CHATML, "<|im_end|>", true },
        { TN_CHAT_TULU, "</s>", true },          { TN_CHAT_PHI3, "<|user|>", false },
    };
    // clang-format on
    tn_tokenizer *t;
    (void)state;
    assert_int_equal(tn_model_open_tokenizer(&t, "tests/golden/train/masks/all", NULL), TN_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(
            tn_chat_is_stop(&(tn_chat){ .format = rows[i].format }, t, tn_tokenizer_find(t, rows[i].mark)),
            rows[i].stop);
    assert_false(tn_chat_is_stop(NULL, t, tn_tokenizer_find(t, "<|end|>")));
    tn_tokenizer_destroy(t);
}

/* The published templates' texts of odd conversations. */
static void odd_conversations_render_as_the_published_templates_do(void **state)
{
    json_t       *all;
    const json_t *one, *row, *e;
    const char   *name;
    size_t        i, k, n_equal = 0, n_bad = 0;
    tn_tokenizer *t;
    (void)state;
    assert_int_equal(tn_model_open_tokenizer(&t, "tests/golden/train/masks/all", NULL), TN_OK);
    assert_int_equal(tn_json_load(&all, "tests/golden/train/masks/renderings.json", 1 << 20, NULL), TN_OK);
    json_object_foreach((json_t *)all, name, one) {
        tn_chat  chat;
        tn_error err = { 0 };
        if (tn_chat_recognise(&chat, json_string_value(json_object_get(one, "template")), t, &err) != TN_OK)
            fail_msg("%s: %s", name, err.msg);
        json_array_foreach(json_object_get(one, "rows"), i, row) {
            const char *want = json_string_value(json_object_get(row, "text"));
            char       *got = NULL, *said = json_dumps(json_object_get(row, "messages"), JSON_COMPACT);
            tn_message  m[8];
            size_t      n = 0;
            json_array_foreach(json_object_get(row, "messages"), k, e)
                m[n++] = (tn_message){ json_string_value(json_object_get(e, "role")),
                                       json_string_value(json_object_get(e, "content")) };
            tn_status status = tn_chat_text(t, &chat, m, n, false, &got, &err);
            if (want == NULL ? status == TN_OK : status != TN_OK || strcmp(got, want) != 0) {
                n_bad++;
                print_message("%s: %s:\n  got  '%s'\n  want '%s'\n", name, said, got != NULL ? got : err.msg,
                              want != NULL ? want : "(the template raises)");
            } else n_equal++;
            free(got);
            free(said);
        }
        tn_chat_free(&chat);
    }
    json_decref(all);
    tn_tokenizer_destroy(t);
    assert_int_equal(n_bad, 0);
    assert_true(n_equal >= 400);
}

/* --------------------------------------------------------------------------------------- preference pairs */

static void row_write(const char *path, const json_t *row)
{
    char *text = tn_json_text(row);
    assert_int_equal(tn_file_write_all(path, text, strlen(text), NULL), TN_OK);
    free(text);
}

static void border_is_equal(const tn_tokenizer *t, const tn_chat *chat, const char *name, const char *answer,
                            bool open)
{
    char             dir[] = "/tmp/tenet-masks-XXXXXX";
    int32_t          ids[512];
    uint8_t          mask[512];
    tn_shard_writer *w;
    tn_shard        *s;
    tn_data_stats    stats = { 0 };
    tn_pairs         pairs;
    tn_digest        none = { { 0 } };
    tn_error         err = { 0 };

    assert_non_null(mkdtemp(dir));
    char   *rows = tn_path(dir, "rows.jsonl"), *tns = tn_path(dir, "rows.tns");
    json_t *row = json_pack("{s:s, s:s, s:b}", "prompt", "q?", "answer", answer, "open", open);
    row_write(rows, row);
    assert_int_equal(tn_shard_create(&w, tns, &none, tn_tokenizer_n_vocab(t), &err), TN_OK);
    if (tn_data_tokenise(w, rows, &(tn_data_options){ .tokenizer = t, .chat = chat }, &stats, &err) != TN_OK)
        fail_msg("%s: %s", name, err.msg);
    assert_int_equal(tn_shard_commit(w, &err), TN_OK);
    assert_int_equal(tn_shard_open(&s, tns, &none, &err), TN_OK);
    assert_in_range(tn_shard_n_token(s), 2, 512);
    tn_shard_copy(s, 0, tn_shard_n_token(s), ids, mask);

    json_object_set_new(row, "chosen", json_string(answer));
    json_object_set_new(row, "rejected", json_string("something else"));
    row_write(rows, row);
    const char *path = rows;
    if (tn_pairs_load(&pairs, &path, 1, t, chat, 512, &err) != TN_OK) fail_msg("%s: %s", name, err.msg);
    const tn_reply *a = &pairs.pair[0].chosen;
    int64_t         first = 0, last = tn_shard_n_token(s);
    while (!mask[first]) first++;
    while (!mask[last - 1]) last--;
    if (a->n != last || a->n_prompt != first || memcmp(a->ids, ids, (size_t)last * sizeof *ids) != 0)
        fail_msg("%s, '%s': of a pair tokens %d to %d are trained, of a conversation %d to %d", name, answer,
                 a->n_prompt, a->n, (int)first, (int)last);
    tn_pairs_free(&pairs);
    tn_shard_close(s);
    json_decref(row);
    tn_remove_tree(dir, NULL);
    free(rows);
    free(tns);
}

/* An open turn may end with what the answer does not begin with, and an answer may begin within the last
 * token of what stands before it. */
static void of_pairs_the_same_is_trained_as_of_conversations(void **state)
{
    static const char *const answers[] = { "yes", "\nyes", " yes", "<think>\nhm\n</think>\n\nyes",
                                           "hm\n</think>\nyes" };
    static const char *const vocabularies[] = { "tests/golden/train/masks/all",
                                                "tests/golden/train/masks/chatml",
                                                "tests/golden/train/pairs" };
    static const char *const thinking[] = {
        "<｜User｜> <｜Assistant｜><think>\\n </think>",
        "<|im_start|> content.split('</think>')[-1].lstrip('\\n') <|im_start|>assistant\\n<think>\\n",
    };
    (void)state;
    for (size_t v = 0; v < sizeof vocabularies / sizeof vocabularies[0]; v++) {
        tn_tokenizer *t;
        tn_error      err = { 0 };
        if (tn_model_open_tokenizer(&t, vocabularies[v], &err) != TN_OK) fail_msg("%s", err.msg);
        for (int f = TN_CHAT_NONE + 1; f < TN_CHAT_COUNT; f++)
            for (size_t k = 0; k < 2 * sizeof answers / sizeof answers[0]; k++)
                border_is_equal(t, &(tn_chat){ .format = (tn_chat_format)f },
                                tn_chat_format_name((tn_chat_format)f), answers[k / 2], k % 2 != 0);
        /* the others have not their marks */
        for (size_t i = 0; v == 0 && i < sizeof thinking / sizeof thinking[0]; i++) {
            tn_chat  chat;
            int32_t *ids = NULL;
            size_t   n = 0, cap = 0, len;
            char    *text;
            if (tn_chat_recognise(&chat, thinking[i], t, &err) != TN_OK) fail_msg("%s", err.msg);
            assert_int_equal(
                tn_chat_render(t, &chat, &(tn_message){ "user", "q?" }, 1, true, &ids, NULL, &n, &cap, &err),
                TN_OK);
            assert_int_equal(tn_detokenize(t, ids, n, true, &text, &len, &err), TN_OK);
            assert_non_null(strstr(text, "<think>")); /* it is one of those */
            for (size_t k = 0; k < sizeof answers / sizeof answers[0]; k++)
                border_is_equal(t, &chat, thinking[i], answers[k], false);
            free(ids);
            free(text);
            tn_chat_free(&chat);
        }
        tn_tokenizer_destroy(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_are_those_of_trl),
        cmocka_unit_test(of_pairs_the_same_is_trained_as_of_conversations),
        cmocka_unit_test(answers_and_their_stops_are_trained_and_nothing_else),
        cmocka_unit_test(what_is_cut_to_nothing_trains_its_stop_alone),
        cmocka_unit_test(of_qwen_3_the_block_is_trained_even_empty),
        cmocka_unit_test(a_format_s_own_mark_is_a_stop_of_that_format),
        cmocka_unit_test(odd_conversations_render_as_the_published_templates_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
