/* test_http.c - requests and downloads against a rude server: limits, stalls, redirects, cut connections,
 * wrong bytes, kill -9 in the middle. */
#include "../base/testing.h"
#include "net/net.h"
#include "server.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { FILE_BYTES = 400000 };
static uint8_t     content[FILE_BYTES];
static tn_digest   content_digest;
static atomic_int  n_request;
static atomic_long last_from;
static atomic_int  cut_after; /* bytes of a file answer before the connection drops; 0: whole */
static char        last_auth[200];

static void nap(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&t, NULL);
}

static void send_file(const request *r, int fd, bool slow)
{
    char   head[300];
    size_t n = FILE_BYTES - (size_t)r->from;
    int    cut = atomic_load(&cut_after);

    atomic_store(&last_from, r->from);
    if (r->from >= FILE_BYTES) {
        send_answer(fd, 416, NULL, "", 0);
        return;
    }
    if (r->from > 0)
        snprintf(head, sizeof head,
                 "HTTP/1.1 206 P\r\nContent-Range: bytes %ld-%d/%d\r\nContent-Length: %zu\r\n\r\n", r->from,
                 FILE_BYTES - 1, FILE_BYTES, n);
    else snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    send_text(fd, head);
    if (cut > 0 && (size_t)cut < n) n = (size_t)cut;
    for (size_t at = 0; at < n; at += 10000) {
        send_bytes(fd, content + r->from + at, n - at < 10000 ? n - at : 10000);
        if (slow) nap(20);
    }
}

static void answer(void *arg, const request *r, int fd)
{
    const char *auth = strcasestr(r->head, "authorization: ");

    (void)arg;
    atomic_fetch_add(&n_request, 1);
    snprintf(last_auth, sizeof last_auth, "%.*s", auth != NULL ? (int)strcspn(auth, "\r\n") : 0,
             auth != NULL ? auth : "");
    if (strcmp(r->path, "/ok") == 0) send_answer(fd, 200, NULL, "{\"a\":1}", 7);
    else if (strcmp(r->path, "/empty") == 0) send_answer(fd, 200, NULL, "", 0);
    else if (strcmp(r->path, "/redirect") == 0) send_answer(fd, 302, "Location: /ok\r\n", "", 0);
    else if (strcmp(r->path, "/loop") == 0) send_answer(fd, 302, "Location: /loop\r\n", "", 0);
    else if (strcmp(r->path, "/to-file") == 0)
        send_answer(fd, 302, "Location: file:///etc/passwd\r\n", "", 0);
    else if (strncmp(r->path, "/missing", 8) == 0) send_answer(fd, 404, NULL, "no such\nthing", 13);
    else if (strcmp(r->path, "/locked?key=secret") == 0) send_answer(fd, 401, NULL, "", 0);
    else if (strcmp(r->path, "/liar") == 0)
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    else if (strcmp(r->path, "/endless") == 0) {
        send_text(fd, "HTTP/1.1 200 OK\r\n\r\n");
        for (int i = 0; i < 1000; i++) send_bytes(fd, content, 10000);
    } else if (strcmp(r->path, "/stall") == 0) {
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        nap(1500);
    } else if (strcmp(r->path, "/garbage") == 0) send_text(fd, "\x01\x02\x03 what?\r\n\r\n");
    else if (strcmp(r->path, "/echo") == 0 && strcmp(r->method, "POST") == 0)
        send_answer(fd, 200, NULL, r->body, r->n_body);
    else if (strcmp(r->path, "/busy") == 0) send_answer(fd, 429, NULL, "{\"error\":\"slow down\"}", 21);
    else if (strcmp(r->path, "/file") == 0) send_file(r, fd, false);
    else if (strcmp(r->path, "/slow-file") == 0) send_file(r, fd, true);
    else if (strcmp(r->path, "/no-range") == 0) send_answer(fd, 200, NULL, content, FILE_BYTES);
    else send_answer(fd, 500, NULL, "", 0);
}

static server *s;

static int start(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof content; i++) content[i] = (uint8_t)(i * 2654435761u >> 13);
    content_digest = tn_sha256_of(content, sizeof content);
    s = server_start(answer, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_stop(s);
    return 0;
}

static const char *url(const char *path)
{
    static char u[600];
    snprintf(u, sizeof u, "http://127.0.0.1:%d%s", server_port(s), path);
    return u;
}

static void answers_come_whole(void **state)
{
    char    *body;
    size_t   n;
    json_t  *v;
    tn_error err;

    (void)state;
    assert_int_equal(tn_http_get(&body, &n, url("/ok"), NULL, &err), TN_OK);
    assert_string_equal(body, "{\"a\":1}");
    free(body);
    assert_int_equal(tn_http_get_json(&v, url("/redirect"), NULL, &err), TN_OK);
    assert_int_equal(json_integer_value(json_object_get(v, "a")), 1);
    json_decref(v);
    assert_int_equal(tn_http_get(&body, &n, url("/empty"), NULL, &err), TN_OK);
    assert_int_equal(n, 0);
    free(body);
}

static void failures_say_what_happened_and_hide_secrets(void **state)
{
    static const struct {
        const char *path;
        tn_status   status;
        const char *says;
    } cases[] = {
        { "/missing", TN_NOTFOUND, "404: no such thing" },
        { "/locked?key=secret", TN_NETWORK, "401" },
        { "/loop", TN_NETWORK, "redirects" },
        { "/to-file", TN_NETWORK, "file" },
        { "/liar", TN_NETWORK, "ended early" },
        { "/garbage", TN_NETWORK, "127.0.0.1" },
        { "/elsewhere", TN_NETWORK, "500" },
    };
    char    *body, with_password[100];
    size_t   n;
    tn_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_status status = tn_http_get(&body, &n, url(cases[i].path), NULL, &err);
        if (status != cases[i].status) fail_msg("%s gave %d: %s", cases[i].path, status, err.msg);
        assert_says(err, cases[i].says);
        assert_null(strstr(err.msg, "secret"));
        assert_null(body);
    }
    snprintf(with_password, sizeof with_password, "http://user:hush@127.0.0.1:%d/missing?token=hush",
             server_port(s));
    assert_int_equal(tn_http_get(&body, &n, with_password, NULL, &err), TN_NOTFOUND);
    assert_null(strstr(err.msg, "hush"));
    assert_int_equal(tn_http_get(&body, &n, "http://127.0.0.1:1/", NULL, &err), TN_NETWORK);
    assert_says(err, "https_proxy");
    assert_int_equal(tn_http_get(&body, &n, "file:///etc/passwd", NULL, &err), TN_NETWORK);
}

static void size_and_time_have_limits(void **state)
{
    const tn_http small = { .max_bytes = 50000 }, quick = { .timeout_s = 0.3 };
    char         *body;
    size_t        n;
    tn_error      err;

    (void)state;
    assert_int_equal(tn_http_get(&body, &n, url("/endless"), &small, &err), TN_LIMIT);
    assert_says(err, "50000");
    assert_int_equal(tn_http_get(&body, &n, url("/stall"), &quick, &err), TN_NETWORK);
    assert_says(err, "imed out");
}

static void json_is_posted_with_headers(void **state)
{
    static const char *const headers[] = { "Authorization: Bearer abc", NULL };
    const tn_http            opts = { .headers = headers };
    json_t                  *sent = json_pack("{s:s, s:[i,i]}", "model", "m\xc3\xa9", "x", 1, 2), *got;
    long                     status;
    tn_error                 err;

    (void)state;
    assert_int_equal(tn_http_post_json(&got, &status, url("/echo"), sent, &opts, &err), TN_OK);
    assert_true(json_equal(sent, got));
    assert_int_equal(status, 200);
    assert_string_equal(last_auth, "Authorization: Bearer abc");
    json_decref(got);
    assert_int_equal(tn_http_post_json(&got, &status, url("/busy"), sent, &opts, &err), TN_NETWORK);
    assert_int_equal(status, 429);
    assert_says(err, "slow down");
    assert_null(got);
    json_decref(sent);
}

/* ---- files ---- */

static bool is_content(const char *path)
{
    tn_digest d;
    return tn_sha256_file(path, &d, NULL, NULL) == TN_OK && tn_digest_equal(&d, &content_digest);
}

static void a_cut_download_goes_on_where_it_stopped(void **state)
{
    const tn_expected e = { .sha256 = &content_digest, .size = FILE_BYTES };
    char             *path = tn_path(*state, "f"), *part = tn_path(*state, "f.part");
    struct stat       st;
    tn_error          err;

    atomic_store(&cut_after, 150000);
    assert_int_equal(tn_download(url("/file"), path, &e, "f", NULL, &err), TN_NETWORK);
    assert_says(err, "goes on from there");
    assert_false(tn_exists(path));
    assert_int_equal(stat(part, &st), 0);
    assert_int_equal(st.st_size, 150000);
    assert_int_equal(tn_download(url("/file"), path, &e, "f", NULL, &err), TN_NETWORK);
    assert_int_equal(atomic_load(&last_from), 150000);
    assert_int_equal(tn_download(url("/file"), path, &e, "f", NULL, &err), TN_OK);
    assert_int_equal(atomic_load(&last_from), 300000);
    assert_true(is_content(path));
    assert_false(tn_exists(part));
    atomic_store(&cut_after, 0);
    free(path);
    free(part);
}

static void a_server_without_ranges_starts_over(void **state)
{
    const tn_expected e = { .sha256 = &content_digest, .size = FILE_BYTES };
    char             *path = tn_path(*state, "f"), *part = tn_path(*state, "f.part");

    assert_int_equal(tn_file_write_all(part, content, 1000, NULL), TN_OK);
    atomic_store(&n_request, 0);
    assert_int_equal(tn_download(url("/no-range"), path, &e, "f", NULL, NULL), TN_OK);
    /* at the first try: the whole answer took the place of the part */
    assert_int_equal(atomic_load(&n_request), 1);
    assert_true(is_content(path));
    free(path);
    free(part);
}

static void a_wrong_half_is_thrown_away_and_fetched_anew(void **state)
{
    const tn_expected e = { .sha256 = &content_digest, .size = -1 };
    char *path = tn_path(*state, "f"), *part = tn_path(*state, "f.part"), *junk = calloc(1, FILE_BYTES + 10);

    assert_int_equal(tn_file_write_all(part, "xxxxxxxxxx", 10, NULL), TN_OK);
    assert_int_equal(tn_download(url("/file"), path, &e, "f", NULL, NULL), TN_OK);
    assert_true(is_content(path));
    assert_int_equal(unlink(path), 0);
    /* longer than the file: 416 */
    assert_int_equal(tn_file_write_all(part, junk, FILE_BYTES + 10, NULL), TN_OK);
    assert_int_equal(tn_download(url("/file"), path, &e, "f", NULL, NULL), TN_OK);
    assert_true(is_content(path));
    free(junk);
    free(path);
    free(part);
}

static void the_wrong_file_never_gets_the_name(void **state)
{
    tn_digest         other = tn_sha256_of("other", 5);
    const tn_expected wrong_hash = { .sha256 = &other, .size = -1 }, wrong_size = { .size = FILE_BYTES - 1 },
                      git = { .git_oid = "0123456789012345678901234567890123456789", .size = -1 };
    const tn_http small = { .max_bytes = 1000 };
    char         *path = tn_path(*state, "f"), *part = tn_path(*state, "f.part");
    tn_error      err;

    assert_int_equal(tn_download(url("/file"), path, &wrong_hash, "f", NULL, &err), TN_VERIFY);
    assert_says(err, "not the expected file");
    assert_false(tn_exists(path) || tn_exists(part));
    assert_int_equal(tn_download(url("/file"), path, &wrong_size, "f", NULL, &err), TN_VERIFY);
    assert_int_equal(tn_download(url("/file"), path, &git, "f", NULL, &err), TN_VERIFY);
    assert_int_equal(tn_download(url("/file"), path, NULL, "f", &small, &err), TN_LIMIT);
    assert_int_equal(tn_download(url("/endless"), path, NULL, "f", &small, &err), TN_LIMIT);
    assert_int_equal(tn_download(url("/missing"), path, NULL, "f", NULL, &err), TN_NOTFOUND);
    assert_false(tn_exists(path));
    free(path);
    free(part);
}

static void without_a_digest_two_halves_are_never_joined(void **state)
{
    char *path = tn_path(*state, "f");

    atomic_store(&cut_after, 1000);
    assert_int_equal(tn_download(url("/file"), path, NULL, "f", NULL, NULL), TN_NETWORK);
    atomic_store(&cut_after, 0);
    assert_int_equal(tn_download(url("/file"), path, NULL, "f", NULL, NULL), TN_OK);
    assert_int_equal(atomic_load(&last_from), 0);
    assert_true(is_content(path));
    free(path);
}

static void kill_9_in_the_middle_leaves_no_file_and_is_resumed(void **state)
{
    const tn_expected e = { .sha256 = &content_digest, .size = FILE_BYTES };
    char             *path = tn_path(*state, "f"), *part = tn_path(*state, "f.part");
    const char       *u = url("/slow-file");
    struct stat       st = { 0 };
    pid_t             pid = fork();

    if (pid == 0) {
        (void)tn_download(u, path, &e, "f", NULL, NULL);
        _exit(0);
    }
    for (int i = 0; i < 500 && (stat(part, &st) != 0 || st.st_size == 0); i++) nap(5);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_false(tn_exists(path));
    assert_int_equal(stat(part, &st), 0);
    assert_true(st.st_size > 0 && st.st_size < FILE_BYTES);
    assert_int_equal(tn_download(url("/file"), path, &e, "f", NULL, NULL), TN_OK);
    assert_true(atomic_load(&last_from) > 0);
    assert_true(is_content(path));
    free(path);
    free(part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_whole),
        cmocka_unit_test(failures_say_what_happened_and_hide_secrets),
        cmocka_unit_test(size_and_time_have_limits),
        cmocka_unit_test(json_is_posted_with_headers),
        folder_test(a_cut_download_goes_on_where_it_stopped),
        folder_test(a_server_without_ranges_starts_over),
        folder_test(a_wrong_half_is_thrown_away_and_fetched_anew),
        folder_test(the_wrong_file_never_gets_the_name),
        folder_test(without_a_digest_two_halves_are_never_joined),
        folder_test(kill_9_in_the_middle_leaves_no_file_and_is_resumed),
    };
    unsetenv("http_proxy");
    setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, start, stop);
}
