/* supervise.c - keeps a training run alive: starts it as a child, watches its heartbeats, starts it again.
 *
 *   child ends with 0, 2, 130 or 143   the same for us: done, wrong use, stopped on purpose
 *   child ends with 1, alone           an error that a restart would meet again: passed on
 *   killed, crashed, 3 (unsound rank)  restart from the newest checkpoint
 *   no sign for max(60 s, 5 x median)  kill, then restart
 *
 * A launcher (mpirun, srun) that fails twice without a new step is started with one rank less: a host is gone. Heartbeats
 * are files OUT/heartbeat-RANK (heartbeat.c of train): the last step, and a count that goes up while something else is done, so that a long
 * validation or a slow disk is no hang. Before a child's first sign and while it writes its results there are none: ten times as long, and
 * twice that after each failure, so that what takes long gets there in the end. */
#include "cli/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

enum { MAX_ARG = 1024, N_INTERVAL = 64, STOPPED_SECONDS = 1 };
static const char *const own_flags[] = { "--ranks", "--launch", "--restarts", NULL };

typedef struct supervisor {
    const char *out, *launch;
    int     ranks;
    char   *words[MAX_ARG]; int n_word;                      /* the command line of the child, without a launcher */
    char   *argv[MAX_ARG];
    pid_t   child;
    int64_t step, farthest;                                  /* of this child; of all: the same steps again are no progress */
    uint64_t sign;                                           /* of what the heartbeats say; changes while the child lives */
    bool    signed_on;                                       /* this child gave a sign */
    time_t  began;                                           /* this child */
    bool    signless;                                        /* before this child's first sign, or at its end */
    int     failures;                                        /* in a row without a new step */
    double  changed, stepped, interval[N_INTERVAL]; int n_interval;
} supervisor;

/* Our own command line without what belongs to supervision. */
static tn_status words_read(supervisor *s, tn_error *err)
{
    char *text, exe[4096];
    size_t n;
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    TN_TRY(tn_file_read_all(&text, &n, "/proc/self/cmdline", 1 << 20, err));
    if (len < 0) { free(text); return tn_fail(err, TN_IO, "/proc/self/exe: %s", strerror(errno)); }
    exe[len] = '\0';
    bool skip = false, failed = false;
    for (size_t at = 0, i = 0; at < n && s->n_word < MAX_ARG - 64; at += strlen(text + at) + 1, i++) {
        const char *word = text + at;
        if (skip) { skip = false; continue; }
        if (strcmp(word, "--supervise") == 0) continue;
        bool mine = false;
        for (int k = 0; own_flags[k] != NULL; k++) {
            size_t m = strlen(own_flags[k]);
            if (strncmp(word, own_flags[k], m) != 0 || (word[m] != '\0' && word[m] != '=')) continue;
            mine = true;
            skip = word[m] == '\0';
        }
        if (mine) continue;
        if ((s->words[s->n_word++] = tn_strdup(i == 0 ? exe : word)) == NULL) failed = true;
    }
    free(text);
    return failed ? tn_fail(err, TN_NOMEM, "no memory for the command line") : TN_OK;
}

/* words, behind the launcher's words when there are several ranks. */
static tn_status argv_make(supervisor *s, tn_error *err)
{
    int n = 0;
    for (int i = 0; s->argv[i] != NULL; i++) free(s->argv[i]);
    memset(s->argv, 0, sizeof s->argv);
    for (const char *p = s->ranks > 1 ? s->launch : ""; *p != '\0' && n < 60;) {
        size_t len = strcspn(p, " ");
        if (len == 2 && strncmp(p, "%d", 2) == 0) s->argv[n] = tn_strf("%d", s->ranks);
        else if (len > 0) s->argv[n] = tn_strndup(p, len);
        if (len > 0 && s->argv[n++] == NULL) return tn_fail(err, TN_NOMEM, "no memory for the command line");
        p += len + strspn(p + len, " ");
    }
    for (int i = 0; i < s->n_word; i++)
        if ((s->argv[n++] = tn_strdup(s->words[i])) == NULL) return tn_fail(err, TN_NOMEM, "no memory for the command line");
    return TN_OK;
}

/* "STEP COUNT PID@HOST": PID if that is this host, and a process that runs our program (a heartbeat may be an old one); else 0. */
static pid_t rank_here(const char *line)
{
    char host[256] = "", mine[256] = "", link[64], a[4096], b[4096];
    long pid = 0;
    if (sscanf(line, "%*s %*s %ld@%255s", &pid, host) != 2 || pid <= 1 || gethostname(mine, sizeof mine - 1) != 0 || strcmp(host, mine) != 0) return 0;
    snprintf(link, sizeof link, "/proc/%ld/exe", pid);
    ssize_t n = readlink(link, a, sizeof a), m = readlink("/proc/self/exe", b, sizeof b);
    if (n <= 0 || n != m || memcmp(a, b, (size_t)n) != 0) return 0;
    snprintf(link, sizeof link, "/proc/%ld/cwd", pid);       /* a launcher starts its ranks where it is itself */
    n = readlink(link, a, sizeof a);
    m = readlink("/proc/self/cwd", b, sizeof b);
    return n > 0 && n == m && memcmp(a, b, (size_t)n) == 0 ? (pid_t)pid : 0;
}

/* The lowest step among the heartbeats: a rank that stands still holds all. *sign: a hash of all they say. *rank: a rank on this host, 0: none. */
static int64_t heartbeat_read(const supervisor *s, uint64_t *sign, bool *ending, pid_t *rank)
{
    int64_t least = -1;
    *sign = 0;
    *ending = false;
    *rank = 0;
    for (int r = 0; r < s->ranks; r++) {
        char *path = tn_strf("%s/heartbeat-%d", s->out, r), line[400] = "";
        FILE *f = path != NULL ? fopen(path, "r") : NULL;
        int64_t step;
        if (f != NULL && fgets(line, sizeof line, f) != NULL) {
            *sign = *sign * 31 + tn_hash64(line, strlen(line));
            *ending |= strstr(line, " end") != NULL;
            if (*rank == 0) *rank = rank_here(line);
            line[strcspn(line, " \n")] = '\0';
            if (tn_parse_i64(line, &step) && (least < 0 || step < least)) least = step;
        }
        if (f != NULL) fclose(f);
        free(path);
    }
    return least;
}

static tn_status child_start(supervisor *s, bool again, tn_error *err)
{
    bool ending;
    pid_t rank;
    TN_TRY(argv_make(s, err));
    s->step = heartbeat_read(s, &s->sign, &ending, &rank);          /* what an earlier child left is no sign of this one */
    if (!again) s->farthest = s->step;
    s->began = time(NULL);
    s->child = fork();
    if (s->child < 0) return tn_fail(err, TN_NOMEM, "cannot start the training process: %s", strerror(errno));
    if (s->child == 0) {
        setpgid(0, 0);
        if (again) unsetenv("TENET_FAULT");
        execvp(s->argv[0], s->argv);
        fprintf(stderr, "tenet: cannot run %s: %s\n", s->argv[0], strerror(errno));
        _exit(2);
    }
    setpgid(s->child, s->child);
    s->changed = s->stepped = tn_now();
    s->signless = true;
    s->signed_on = false;
    return TN_OK;
}

/* The ranks on this host that wrote a heartbeat since the job was started: killed, and waited for. */
static void ranks_end(const supervisor *s)
{
    for (int r = 0; r < s->ranks; r++) {
        char *path = tn_strf("%s/heartbeat-%d", s->out, r), line[400] = "";
        FILE *f = path != NULL ? fopen(path, "r") : NULL;
        struct stat st;
        pid_t pid = 0;
        if (f != NULL && fgets(line, sizeof line, f) != NULL && fstat(fileno(f), &st) == 0 && st.st_mtime >= s->began) pid = rank_here(line);
        if (f != NULL) fclose(f);
        free(path);
        if (pid > 0) kill(pid, SIGKILL);
        for (int i = 0; pid > 0 && i < 100 && kill(pid, 0) == 0; i++) nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double patience(const supervisor *s)
{
    double sorted[N_INTERVAL];
    int n = s->n_interval < N_INTERVAL ? s->n_interval : N_INTERVAL;
    const char *text = getenv("TENET_HANG_SECONDS");         /* for tests: the 60 of the rule */
    double least = 60;
    if (text != NULL) tn_parse_f64(text, &least);
    if (s->signless || n == 0) return 10 * least * (double)(1 << (s->failures < 8 ? s->failures : 8));
    memcpy(sorted, s->interval, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return 5 * sorted[n / 2] > least ? 5 * sorted[n / 2] : least;
}

/* Until the child ends; a signal to us goes on to it. Returns the wait status; *hung: we ended it. */
static int child_watch(supervisor *s, bool *hung, bool *moved)
{
    int wait_status = 0;
    bool told = false;
    double last = tn_now();
    *hung = *moved = false;
    for (;;) {
        if (waitpid(s->child, &wait_status, WNOHANG) == s->child) break;
        double now = tn_now();
        /* Whoever stopped us (docker pause, a frozen cgroup, Ctrl-Z, a paused virtual machine) stopped the ranks too: that time is no hang. */
        if (now - last > STOPPED_SECONDS) {
            s->changed += now - last;
            s->stepped += now - last;
        }
        last = now;
        uint64_t sign;
        bool ending;
        pid_t rank;
        int64_t step = heartbeat_read(s, &sign, &ending, &rank);
        if (!told && tn_interrupted(NULL) != TN_OK) {
            /* One rank tells all the others. A launcher is not told: Open MPI's kills its ranks a second later, in the middle of their checkpoint. */
            if (s->ranks > 1 && rank > 0) kill(rank, SIGTERM);
            else kill(-s->child, SIGTERM);
            told = true;
        }
        if (sign != s->sign) {
            s->sign = sign;
            s->changed = now;
            s->signless = ending;
            s->signed_on = true;
        }
        if (step != s->step) {
            if (s->step >= 0 && step > s->step) s->interval[s->n_interval++ % N_INTERVAL] = (now - s->stepped) / (double)(step - s->step);
            s->step = step;
            s->stepped = now;
        }
        if (step > s->farthest) {
            s->farthest = step;
            *moved = true;
        }
        if (now - s->changed > patience(s)) {
            *hung = true;
            kill(-s->child, SIGKILL);
            waitpid(s->child, &wait_status, 0);
            break;
        }
        nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
    }
    kill(-s->child, SIGKILL);                                /* ranks that outlived their launcher ... */
    if (s->ranks > 1 && s->signed_on) ranks_end(s);          /* ... in groups of their own: they would hold the run's lock */
    return wait_status;
}

static tn_status give_up(int wait_status, tn_error *err)
{
    if (!WIFEXITED(wait_status)) return tn_fail(err, TN_IO, "the training process was killed by signal %d", WTERMSIG(wait_status));
    switch (WEXITSTATUS(wait_status)) {
    case 0:   return TN_OK;
    case 2:   return tn_fail(err, TN_USAGE, "the training process refused its command line");
    case 130: return tn_fail(err, TN_INTERRUPTED, "interrupted");
    case 143: return tn_fail(err, TN_TERMINATED, "terminated");
    case 3:   return tn_fail(err, TN_VERIFY, "the training process found something wrong");
    default:  return tn_fail(err, TN_IO, "the training process ended with %d", WEXITSTATUS(wait_status));
    }
}

tn_status tn_cli_supervise(const char *out, const char *launch, int ranks, int restarts, tn_error *err)
{
    tn_status status = TN_OK;
    supervisor *s = calloc(1, sizeof *s);

    if (s == NULL) return tn_fail(err, TN_NOMEM, "no memory to supervise");
    *s = (supervisor){ .out = out, .launch = launch, .ranks = ranks, .step = -1, .farthest = -1 };
    TN_GOTO(words_read(s, err));
    for (bool again = false;; again = true) {
        bool hung, moved;
        TN_GOTO(child_start(s, again, err));
        int w = child_watch(s, &hung, &moved);
        int code = WIFEXITED(w) ? WEXITSTATUS(w) : -1;
        if (!hung && (code == 0 || code == 2 || code == 130 || code == 143 || (code == 1 && s->ranks == 1))) {
            status = give_up(w, err);
            goto out;
        }
        TN_GOTO(tn_interrupted(err));                        /* a launcher that was told to stop may end with any code */
        s->failures = moved ? 1 : s->failures + 1;
        if (s->failures > restarts) {
            status = tn_fail(err, TN_IO, "the training process failed %d times without a new step; the last checkpoint is whole: look at the messages above", s->failures);
            goto out;
        }
        if (s->failures > 1 && s->ranks > 1) s->ranks--;
        tn_log(TN_LOG_WARN, "%s; starting again%s", hung ? "no step for too long" : code == 3 ? "a rank is not sound" : "the training process died",
               s->ranks < ranks ? " with fewer ranks" : "");
    }
out:
    for (int i = 0; i < s->n_word; i++) free(s->words[i]);
    for (int i = 0; s->argv[i] != NULL; i++) free(s->argv[i]);
    free(s);
    return status;
}
