/* said.c - what the reference or the teacher said before the first step, kept in OUT until the run has ended,
 * so that a run which was stopped or killed goes on without asking again.
 *
 *   OUT/said-train, OUT/said-valid:  head (key, digest and number of the floats)  →  at HEAD the floats
 *
 * The key is a digest of all that they follow from: what the run is, the data, who was asked. A file with
 * another key, or whose floats are not those of its digest, is none: they are made again and take its place.
 * So nothing here has to be synced. A replay neither reads nor writes one: it makes the floats itself. */
#include "train/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

enum { HEAD = 65536 }; /* the floats begin at a page of any machine */

typedef struct head {
    char      magic[16];
    tn_digest key, content;
    uint64_t  n;
} head;

static const char magic[16] = "tenet-said/1\n";

static float *floats(const corpus *k) { return k->pairs ? k->reference : k->teacher.hidden; }

static size_t count(const corpus *k)
{
    return (size_t)(k->pairs ? k->reference_at[3 * k->pair.n] : k->teacher.n * k->teacher.width);
}

static tn_status key_make(tn_digest *out, const run *r, const corpus *k, tn_model *other, tn_error *err)
{
    json_t   *o = train_description(r, err);
    char      hex[TN_SHA256_HEX], *text = NULL;
    tn_digest who;
    tn_status status = TN_OK;

    if (o == NULL) return TN_NOMEM;
    tn_hex(hex, &k->content);
    json_object_set_new(o, "said_of", json_string(hex));
    if (other != NULL) {
        TN_GOTO(tn_model_digest(other, &who, err));
        tn_hex(hex, &who);
        json_object_set_new(o, "said_by", json_string(hex));
    }
    if ((text = tn_json_text(o)) == NULL) {
        status = tn_fail(err, TN_NOMEM, "no memory for the run's description");
        goto out;
    }
    *out = tn_sha256_of(text, strlen(text));
out:
    json_decref(o);
    free(text);
    return status;
}

tn_status train_said_open(said *s, const run *r, const corpus *k, tn_model *other, tn_error *err)
{
    *s = (said){ 0 };
    if (!r->beats) return TN_OK; /* an estimate, a replay */
    TN_TRY(key_make(&s->key, r, k, other, err));
    s->path = tn_strf("%s/said-%s", r->io->out, k == &r->data ? "train" : "valid");
    return s->path != NULL ? TN_OK : tn_fail(err, TN_NOMEM, "no memory for a path");
}

void train_said_close(said *s)
{
    free(s->path);
    *s = (said){ 0 };
}

/* The floats as they lie in the file, to be unmapped; NULL: it is not this run's, or not whole. */
static float *file_map(const said *s, size_t n)
{
    int         fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    head        h;
    struct stat st;
    void       *p = MAP_FAILED;

    if (fd < 0) return NULL;
    if (read(fd, &h, sizeof h) == (ssize_t)sizeof h && memcmp(h.magic, magic, sizeof magic) == 0 &&
        tn_digest_equal(&h.key, &s->key) && h.n == n && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        (size_t)st.st_size == HEAD + n * sizeof(float))
        p = mmap(NULL, n * sizeof(float), PROT_READ, MAP_SHARED, fd, HEAD);
    close(fd);
    if (p == MAP_FAILED) return NULL;
    tn_digest content = tn_sha256_of(p, n * sizeof(float));
    if (tn_digest_equal(&content, &h.content)) return p;
    munmap(p, n * sizeof(float));
    return NULL;
}

/* The mapped floats become the corpus's. */
static void take(corpus *k, float *p, size_t n)
{
    if (k->pairs) {
        memcpy(k->reference, p, n * sizeof *p);
        munmap(p, n * sizeof *p);
        return;
    }
    if (k->teacher.hidden != NULL) munmap(k->teacher.hidden, n * sizeof *p);
    k->teacher.hidden = p;
}

tn_status train_said_take(const said *s, const run *r, corpus *k, bool *there, tn_error *err)
{
    size_t    n = count(k);
    float    *p = s->path != NULL && n > 0 ? file_map(s, n) : NULL;
    uint8_t   mine = p != NULL, *all = malloc((size_t)r->size);
    tn_status status = all != NULL ? TN_OK
                                   : tn_fail(err, TN_NOMEM, "no memory to agree with the other ranks");

    *there = false;
    TN_GOTO(tn_dist_gather(r->dist, &mine, 1, all, err));
    *there = true;
    for (int o = 0; o < r->size; o++) *there &= all[o] != 0; /* all ranks ask together, or none */
out:
    free(all);
    if (*there) take(k, p, n);
    else if (p != NULL) munmap(p, n * sizeof *p);
    if (*there && r->rank == 0)
        tn_log(TN_LOG_INFO, "what the %s said is taken from %s", k->pairs ? "reference" : "teacher", s->path);
    return status;
}

/* Not by tn_out: a kill in the middle would leave a large file under a name that nobody knows, and nothing
 * here needs a sync. */
static bool write_at(int fd, const void *p, size_t n, off_t at)
{
    const char *from = p;
    while (n > 0) {
        ssize_t done = pwrite(fd, from, n, at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        from += done;
        n -= (size_t)done;
        at += done;
    }
    return true;
}

void train_said_keep(const said *s, const run *r, corpus *k)
{
    size_t n = count(k);
    char  *aside = s->path != NULL && r->rank == 0 && n > 0 ? tn_strf("%s.new", s->path) : NULL;
    head   h = { .key = s->key, .n = n };

    if (aside == NULL) return;
    memcpy(h.magic, magic, sizeof magic);
    h.content = tn_sha256_of(floats(k), n * sizeof(float));
    int  fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    bool ok = fd >= 0 && write_at(fd, floats(k), n * sizeof(float), HEAD) && write_at(fd, &h, sizeof h, 0);
    if (fd >= 0) ok &= close(fd) == 0;
    ok = ok && rename(aside, s->path) == 0;
    if (!ok) {
        tn_log(TN_LOG_WARN, "%s: cannot be written (%s); if this run is interrupted, the %s is asked again",
               s->path, strerror(errno), k->pairs ? "reference" : "teacher");
        unlink(aside);
    }
    /* in place of memory without a name, which takes as much of the disk */
    float *p = ok && !k->pairs ? file_map(s, n) : NULL;
    if (p != NULL) take(k, p, n);
    free(aside);
}
