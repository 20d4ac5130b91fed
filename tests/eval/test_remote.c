/* test_remote.c - models behind an OpenAI-compatible endpoint, played by a small server: scores from its
 * log-probabilities, replies, conversations; and endpoints that cannot, will not, or stop half way. */
#include "../net/server.h"
#include "base/file.h"
#include "base/str.h"
#include "eval/eval.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        tn_error  failed_ = { 0 };                                                                           \
        tn_error *err = &failed_;                                                                            \
        if ((expr) != TN_OK) fail_msg("%s", failed_.msg);                                                    \
    } while (0)

typedef enum mode { WELL, NO_LOGPROBS, FAILS_AFTER, BUSY_ONCE, CUT_PROMPTS } mode;

static char       dir[] = "/tmp/tenet-remote-XXXXXX";
static server    *srv;
static atomic_int how, n_request, fail_after;
static char       seen_auth[100], seen_body[4000];

/* Words with the space before them are the tokens; a word's log-probability is -(its length). Words of four
 * letters are the likeliest ones where they stand. */
static json_t *echoed(const char *prompt)
{
    json_t *tokens = json_array(), *ll = json_array(), *at = json_array(), *top = json_array();
    int64_t chars = 0;

    for (const char *p = prompt; *p != '\0';) {
        size_t  n = 1 + strcspn(p + 1, " \n");
        int64_t n_char = 0;
        char   *word = tn_strndup(p, n);
        for (size_t i = 0; i < n; i++) n_char += ((unsigned char)p[i] & 0xc0) != 0x80;
        json_array_append_new(tokens, json_string(word));
        json_array_append_new(ll, p == prompt ? json_null() : json_real(-(double)n_char));
        json_array_append_new(at, json_integer((json_int_t)chars));
        json_array_append_new(
            top, p == prompt ? json_null()
                             : json_pack("{s:f}", n_char == 5 ? word : " other", n_char == 5 ? -5.0 : -0.5));
        chars += n_char;
        p += n;
        free(word);
    }
    json_array_append_new(tokens, json_string(" added"));
    json_array_append_new(ll, json_real(-0.1));
    json_array_append_new(at, json_integer((json_int_t)chars));
    json_array_append_new(top, json_pack("{s:f}", " added", -0.1));
    if (atomic_load(&how) == CUT_PROMPTS)
        for (int i = 0; i < 3; i++) {
            json_array_remove(tokens, json_array_size(tokens) - 1);
            json_array_remove(ll, json_array_size(ll) - 1);
            json_array_remove(at, json_array_size(at) - 1);
        }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", ll, "text_offset", at,
                     "top_logprobs", top);
}

static json_t *completion(const json_t *body, bool chat)
{
    json_t *choices = json_array(), *prompts = json_object_get(body, "prompt"), *p;
    size_t  i;

    if (chat) {
        const json_t *messages = json_object_get(body, "messages"),
                     *last = json_array_get(messages, json_array_size(messages) - 1);
        char *text = tn_strf("I cannot help with that: %s",
                             json_string_value(json_object_get(last, "content")));
        json_array_append_new(choices, json_pack("{s:i, s:{s:s, s:s}, s:s}", "index", 0, "message", "role",
                                                 "assistant", "content", text, "finish_reason", "stop"));
        free(text);
    } else if (json_is_true(json_object_get(body, "echo"))) {
        json_array_foreach(prompts, i, p) /* in another order than asked: index says which */
            json_array_insert_new(
                choices, 0,
                json_pack("{s:I, s:s, s:o}", "index", (json_int_t)i, "text", json_string_value(p), "logprobs",
                          atomic_load(&how) == NO_LOGPROBS ? json_null() : echoed(json_string_value(p))));
    } else {
        json_array_append_new(choices, json_pack("{s:i, s:s, s:s}", "index", 0, "text",
                                                 " The answer is 12. #### 12\nQuestion: more",
                                                 "finish_reason", "length"));
    }
    return json_pack("{s:o, s:{s:i, s:i}}", "choices", choices, "usage", "prompt_tokens", 7,
                     "completion_tokens", 9);
}

static void answer(void *arg, const request *r, int fd)
{
    const char *auth = strcasestr(r->head, "authorization: ");
    json_t     *body = NULL;
    int         k = atomic_fetch_add(&n_request, 1);

    (void)arg;
    snprintf(seen_auth, sizeof seen_auth, "%.*s", auth != NULL ? (int)strcspn(auth, "\r\n") : 0,
             auth != NULL ? auth : "");
    snprintf(seen_body, sizeof seen_body, "%.*s", (int)r->n_body, r->body);
    if (atomic_load(&how) == BUSY_ONCE && k == 0) {
        send_answer(fd, 503, NULL, "busy", 4);
        return;
    }
    if ((atomic_load(&how) == FAILS_AFTER && k >= atomic_load(&fail_after)) ||
        tn_json_parse(&body, r->body, r->n_body, "body", NULL) != TN_OK) {
        send_answer(fd, 400, NULL, "{\"error\":\"no more\"}", 19);
        return;
    }
    json_t *out = completion(body, strcmp(r->path, "/v1/chat/completions") == 0);
    char   *text = tn_json_text(out);
    send_answer(fd, 200, NULL, text, strlen(text));
    free(text);
    json_decref(out);
    json_decref(body);
}

static char *put(const char *name, const char *text)
{
    char *path = tn_path(dir, name);

    assert_ok(tn_file_write_all(path, text, strlen(text), err));
    return path;
}

static tn_status ask(const char *task, const char *out, int64_t limit, json_t **report, tn_error *err)
{
    const char     *names[] = { task };
    char           *url = tn_strf("http://user:secret@127.0.0.1:%d/v1/", server_port(srv));
    char           *folder = out != NULL ? tn_path(dir, out) : NULL;
    tn_eval_options o = { .task_dir = dir,
                          .data = dir,
                          .out_dir = folder,
                          .limit = limit,
                          .n_shot = -1,
                          .n_batch = 4,
                          .model_name = "played",
                          .key = "sesame" };

    atomic_store(&n_request, 0);
    *report = NULL;
    tn_status s = tn_eval_run_remote(report, url, names, 1, &o, err);
    free(url);
    free(folder);
    return s;
}

static const json_t *score(const json_t *report, const char *task, const char *key)
{
    return json_object_get(json_object_get(json_object_get(report, "tasks"), task), key);
}

static void continuations_are_scored_by_the_endpoints_tokens(void **state)
{
    json_t *report = NULL, *item = NULL;
    char   *log = NULL;
    size_t  n;

    (void)state;
    atomic_store(&how, WELL);
    assert_ok(ask("pick", "one", 0, &report, err));
    /* the shortest choice is right in every row */
    assert_true(json_number_value(score(report, "pick", "acc")) == 1);
    /* and has four letters: the likeliest */
    assert_true(json_number_value(score(report, "pick", "exact_match")) == 1);
    assert_non_null(strstr(seen_auth, "Bearer sesame"));
    assert_non_null(strstr(seen_body, "\"model\":\"played\""));
    char *path = tn_strf("%s/one/items.jsonl", dir);
    assert_ok(tn_file_read_all(&log, &n, path, 1 << 20, err));
    assert_null(strstr(log, "secret")); /* no password in the log */
    assert_null(strstr(log, "sesame"));
    assert_non_null(strstr(log, "\"recorded\":true"));
    char *line = strchr(log, '\n') + 1;
    assert_ok(tn_json_parse(&item, line, strcspn(line, "\n"), "item", err));
    const json_t *ll = json_object_get(json_object_get(item, "item"), "ll");
    assert_true(json_number_value(json_array_get(ll, 0)) == -5);  /* " good" */
    assert_true(json_number_value(json_array_get(ll, 1)) == -11); /* " wörse" and " thän" */
    json_decref(item);
    json_decref(report);
    free(path);
    free(log);
}

static void replies_and_conversations_are_asked_for(void **state)
{
    json_t *report = NULL;

    (void)state;
    atomic_store(&how, WELL);
    assert_ok(ask("sum", NULL, 0, &report, err));
    assert_true(json_number_value(score(report, "sum", "exact_match,strict")) == 1);
    json_decref(report);
    assert_ok(ask("refuse", NULL, 0, &report, err));
    assert_true(json_number_value(score(report, "refuse", "refused")) == 1);
    assert_non_null(strstr(seen_body, "\"messages\":[{\"content\":\"Do it.\",\"role\":\"user\"}]"));
    assert_true(json_number_value(score(report, "refuse", "cut_replies")) == 0);
    json_decref(report);
}

static void what_the_endpoint_cannot_do_is_said(void **state)
{
    tn_error err = { 0 };
    json_t  *report = NULL;

    (void)state;
    atomic_store(&how, NO_LOGPROBS);
    assert_int_equal(ask("pick", NULL, 0, &report, &err), TN_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "no log-probabilities of the prompt"));
    atomic_store(&how, CUT_PROMPTS);
    assert_int_equal(ask("pick", NULL, 0, &report, &err), TN_FORMAT);
    atomic_store(&how, WELL);
    assert_int_equal(ask("whole", NULL, 0, &report, &err), TN_UNSUPPORTED);
}

static void a_busy_endpoint_is_asked_again(void **state)
{
    json_t *report = NULL;

    (void)state;
    atomic_store(&how, BUSY_ONCE);
    assert_ok(ask("pick", NULL, 1, &report, err));
    assert_int_equal(atomic_load(&n_request), 2);
    json_decref(report);
}

static void an_endpoint_that_fails_half_way_leaves_what_is_finished(void **state)
{
    tn_error err_ = { 0 };
    json_t  *report = NULL, *whole = NULL;

    (void)state;
    atomic_store(&how, WELL);
    assert_ok(ask("pick", "straight", 0, &whole, err));
    atomic_store(&how, FAILS_AFTER);
    atomic_store(&fail_after, 5); /* 70 rows, two choices each, 16 a request, 32 rows a group */
    assert_int_equal(ask("pick", "broken", 0, &report, &err_), TN_NETWORK);
    assert_non_null(strstr(err_.msg, "no more"));
    atomic_store(&how, WELL);
    assert_ok(ask("pick", "broken", 0, &report, err));
    assert_true(atomic_load(&n_request) < 9); /* the first group is not asked again */
    assert_string_equal(json_string_value(json_object_get(report, "items_root")),
                        json_string_value(json_object_get(whole, "items_root")));
    json_decref(report);
    json_decref(whole);
}

static int start(void **state)
{
    tn_str rows = { 0 };

    (void)state;
    srv = server_start(answer, NULL);
    free(put("pick.yaml", "task: pick\ndata_files: {test: pick.jsonl}\ntest_split: test\noutput_type: "
                          "multiple_choice\ntarget_delimiter: \"\"\ndoc_to_text: q\ndoc_to_target: 0\n"
                          "doc_to_choice: c\nmetric_list: [{metric: acc}, {metric: exact_match}]\n"));
    for (int i = 0; i < 70; i++)
        tn_str_addf(
            &rows, "{\"q\":\"Z\xc3\xbcrich is %d or: \",\"c\":[\"good\",\"w\xc3\xb6rse th\xc3\xa4n\"]}\n", i);
    free(put("pick.jsonl", rows.p));
    tn_str_free(&rows);
    free(put("sum.yaml", "task: sum\ndata_files: {test: sum.jsonl}\ntest_split: test\ndoc_to_text: "
                         "q\ndoc_to_target: a\ngeneration_kwargs: {until: ['Question:']}\n"
                         "filter_list: [{name: strict, filter: [{function: regex}, {function: "
                         "take_first}]}]\nmetric_list: [{metric: exact_match}]\n"));
    free(put("sum.jsonl", "{\"q\":\"5 and 7?\",\"a\":\"12\"}\n"));
    free(put("refuse.yaml", "task: refuse\ndata_files: {test: refuse.jsonl}\ntest_split: test\ndoc_to_text: "
                            "q\nprocess_results: refusal\napply_chat_template: true\n"
                            "metric_list: [{metric: refused}]\n"));
    free(put("refuse.jsonl", "{\"q\":\"Do it.\",\"label\":\"unsafe\"}\n"));
    free(put("whole.yaml", "task: whole\ndata_files: {test: refuse.jsonl}\ntest_split: test\noutput_type: "
                           "loglikelihood_rolling\n"
                           "doc_to_text: ''\ndoc_to_target: q\nmetric_list: [{metric: bits_per_byte}]\n"));
    return srv == NULL;
}

static int stop(void **state)
{
    (void)state;
    server_stop(srv);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(continuations_are_scored_by_the_endpoints_tokens),
        cmocka_unit_test(replies_and_conversations_are_asked_for),
        cmocka_unit_test(what_the_endpoint_cannot_do_is_said),
        cmocka_unit_test(a_busy_endpoint_is_asked_again),
        cmocka_unit_test(an_endpoint_that_fails_half_way_leaves_what_is_finished),
    };

    if (mkdtemp(dir) == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, start, stop);
    return tn_remove_tree(dir, NULL) == TN_OK ? failed : 1;
}
