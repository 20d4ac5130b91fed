/* supervise.c - keeps a training run alive: starts it as a child, watches its heartbeats, starts it again.
 *
 *   child ends with 0, 2, 130 or 143   the same for us: done, wrong use, stopped on purpose
 *   child ends with 1, alone; 4, 5     an error that a restart would meet again, in all ranks: as 1, or 3
 *   127 before its first sign          it, or its launcher, is not there: so too
 *   killed, crashed, 3 (unsound rank)  restart from the newest checkpoint
 *   no sign for max(60 s, 5 x median)  kill, then restart
 *
 * A launcher (mpirun, srun) that fails twice without a new step is started with one rank less: a host is
 * gone. Heartbeats are files OUT/heartbeat-RANK (heartbeat.c of train): the last step, and a count that goes
 * up while something else is done, so that a long validation or a slow disk is no hang. Before a child's
 * first sign and while it writes its results there are none: ten times as long, and twice that after each
 * failure, so that what takes long gets there in the end.
 *
 * What belongs to the job carries its name, in the environment as TENET_SUPERVISED and so in its heartbeats.
 * Only that is heard and signalled: another run in the same directory is not ours to end, and keeps us out by
 * its lock. Each start of the job has a name of its own.
 *
 *   SIGTERM, SIGHUP, SIGQUIT, Ctrl-C   to the job as SIGTERM: checkpoint and stop      SIGTSTP, SIGCONT   stop and go on together with the job
 *   SIGUSR1                            to the job: checkpoint and go on                our own death      SIGTERM to the child, by the kernel */
#include "cli/supervise.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

enum { N_INTERVAL = 64, MAX_PROCESS = 1024, STOPPED_SECONDS = 1 };
enum { NOT_STARTED = 127 }; /* as shells and env end when a program is not there */

typedef struct supervisor {
    const char *out, *launch;
    int         ranks;
    /* the command line of the child behind the program's name, without a launcher; NULL-ended */
    const char *const *words;
    char               exe[4096]; /* the program: this one */
    char             **argv;      /* of this start, with the launcher; NULL-ended */
    pid_t              child;
    char               mark[40];       /* TENET_SUPERVISED=NAME of this start */
    int64_t            step, farthest; /* of this child; of all: the same steps again are no progress */
    uint64_t           sign;           /* of what the heartbeats say; changes while the child lives */
    bool               signed_on;      /* this child gave a sign */
    bool               signless;       /* before this child's first sign, or at its end */
    int                failures;       /* in a row without a new step */
    double             least;          /* seconds without a sign that are no hang */
    double             changed, stepped, interval[N_INTERVAL];
    int                n_interval;
} supervisor;

static volatile sig_atomic_t save_wanted, pause_wanted;
static void                  on_usr1(int signal_number)
{
    (void)signal_number;
    save_wanted = 1;
}
static void on_tstp(int signal_number)
{
    (void)signal_number;
    pause_wanted = 1;
}
static void on_cont(int signal_number)
{
    (void)signal_number;
    pause_wanted = 0;
}

/* One that is ignored (by a shell without job control) stays so; SIGUSR1 is by our own start. */
static void signals_install(void)
{
    struct sigaction usr1 = { .sa_handler = on_usr1 };
    sigemptyset(&usr1.sa_mask);
    sigaction(SIGUSR1, &usr1, NULL);
    tn_signal_catch(SIGTSTP, on_tstp);
    tn_signal_catch(SIGCONT, on_cont);
    tn_signal_catch(SIGQUIT, NULL);
}

static void words_free(char **list)
{
    for (char **w = list; w != NULL && *w != NULL; w++) free(*w);
    free(list);
}

/* One word of the launcher: every %d in it is the number of ranks. made: free. */
static char *launch_word(const char *p, size_t n, int ranks)
{
    tn_str s = { 0 };
    for (size_t i = 0; i < n; i++) {
        bool number = strncmp(p + i, "%d", 2) == 0;
        if (number) tn_str_addf(&s, "%d", ranks);
        else tn_str_add_char(&s, p[i]);
        i += number;
    }
    return tn_str_take(&s);
}

/* The program and its words, behind the launcher's words when there are several ranks: env, as not every
 * launcher carries our environment to other hosts. */
static tn_status argv_make(supervisor *s, tn_error *err)
{
    const char *launch = s->ranks > 1 ? s->launch : "", *const env[] = { "env", s->mark, s->exe };
    size_t n = 0, cap = strlen(launch) + sizeof env / sizeof *env + 1;
    bool   failed = false;
    for (const char *const *w = s->words; *w != NULL; w++) cap++;
    words_free(s->argv);
    if ((s->argv = calloc(cap, sizeof *s->argv)) == NULL)
        return tn_fail(err, TN_NOMEM, "no memory for the command line");
    for (const char *p = launch + strspn(launch, " "); *p != '\0' && !failed; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        failed = (s->argv[n++] = launch_word(p, len, s->ranks)) == NULL;
        p += len;
    }
    for (int i = s->ranks > 1 ? 0 : 2; i < 3 && !failed; i++)
        failed = (s->argv[n++] = tn_strdup(env[i])) == NULL;
    for (const char *const *w = s->words; *w != NULL && !failed; w++)
        failed = (s->argv[n++] = tn_strdup(*w)) == NULL;
    return failed ? tn_fail(err, TN_NOMEM, "no memory for the command line") : TN_OK;
}

/* Does process pid's environment carry the job's mark? Not that of a zombie, nor of another user's
 * process. */
static bool is_ours(const supervisor *s, const char *pid)
{
    char  *path = tn_strf("/proc/%s/environ", pid), *text = NULL;
    size_t n = 0;
    bool   ours = false;
    if (path != NULL && tn_file_read_all(&text, &n, path, 1 << 22, NULL) == TN_OK)
        for (size_t at = 0; at < n && !ours; at += strlen(text + at) + 1)
            ours = strcmp(text + at, s->mark) == 0;
    free(text);
    free(path);
    return ours;
}

/* Does it run our program? A launcher and its helpers do not. */
static bool is_rank(const char *pid)
{
    char   *link = tn_strf("/proc/%s/exe", pid), a[4096], b[4096];
    ssize_t n = link != NULL ? readlink(link, a, sizeof a) : -1, m = readlink("/proc/self/exe", b, sizeof b);
    free(link);
    return n > 0 && n == m && memcmp(a, b, (size_t)n) == 0;
}

/* The job's processes on this host, in groups of their own too: all, or the ranks among them. Returns how
 * many. */
static int job_find(const supervisor *s, bool ranks_only, pid_t *out, int cap)
{
    DIR    *d = opendir("/proc");
    int64_t pid;
    int     n = 0;
    for (const struct dirent *e; d != NULL && n < cap && (e = readdir(d)) != NULL;)
        if (tn_parse_i64(e->d_name, &pid) && pid > 1 && pid != getpid() && is_ours(s, e->d_name) &&
            (!ranks_only || is_rank(e->d_name)))
            out[n++] = (pid_t)pid;
    if (d != NULL) closedir(d);
    return n;
}

static void job_signal(const supervisor *s, int signal_number)
{
    pid_t pid[MAX_PROCESS];
    int   n = job_find(s, false, pid, MAX_PROCESS);
    for (int i = 0; i < n; i++) kill(pid[i], signal_number);
}

/* One rank tells all the others. A launcher is not told, if a rank is here: Open MPI's kills its ranks a
 * second later, in the middle of their checkpoint. Before the first sign there is nothing to save, and ranks
 * that have not met yet would wait for the one that leaves. */
static void job_tell(const supervisor *s, int signal_number)
{
    pid_t rank;
    if (s->ranks > 1 && s->signed_on && job_find(s, true, &rank, 1) == 1) kill(rank, signal_number);
    else kill(-s->child, signal_number);
}

/* The lowest step among the heartbeats: a rank that stands still holds all. *sign: a hash of all they say.
 * job: of this job alone. */
static int64_t heartbeat_read(const supervisor *s, bool job, uint64_t *sign, bool *ending)
{
    const char *name = strchr(s->mark, '=') + 1;
    int64_t     least = -1;
    *sign = 0;
    *ending = false;
    for (int r = 0; r < s->ranks; r++) {
        char   *path = tn_strf("%s/heartbeat-%d", s->out, r), line[400] = "";
        FILE   *f = path != NULL ? fopen(path, "r") : NULL;
        int64_t step;
        if (f != NULL && fgets(line, sizeof line, f) != NULL && (!job || strstr(line, name) != NULL)) {
            *sign = *sign * 31 + tn_hash64(line, strlen(line));
            *ending |= strstr(line, " end ") != NULL;
            line[strcspn(line, " \n")] = '\0';
            if (tn_parse_i64(line, &step) && (least < 0 || step < least)) least = step;
        }
        if (f != NULL) fclose(f);
        free(path);
    }
    return least;
}

/* No other job's, on any host that shares the directory. */
static void mark_make(supervisor *s)
{
    struct {
        char            host[256];
        struct timespec now;
        pid_t           pid;
    } from;
    memset(&from, 0, sizeof from);
    gethostname(from.host, sizeof from.host - 1);
    clock_gettime(CLOCK_REALTIME, &from.now);
    from.pid = getpid();
    snprintf(s->mark, sizeof s->mark, TN_SUPERVISED "=%016llx",
             (unsigned long long)tn_hash64(&from, sizeof from));
}

static tn_status child_start(supervisor *s, bool again, tn_error *err)
{
    bool  ending;
    pid_t self = getpid();
    mark_make(s);
    TN_TRY(argv_make(s, err));
    if (!again) s->farthest = heartbeat_read(s, false, &s->sign, &ending); /* of an earlier job */
    s->sign = 0;
    s->step = -1;
    s->child = fork();
    if (s->child < 0) return tn_fail(err, TN_NOMEM, "cannot start the training process: %s", strerror(errno));
    if (s->child == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* a supervisor that is killed leaves no run behind */
        if (getppid() != self) _exit(1);  /* it was already */
        signal(SIGUSR1, SIG_IGN);
        if (again) unsetenv("TENET_FAULT");
        setenv(TN_SUPERVISED, strchr(s->mark, '=') + 1, 1);
        execvp(s->argv[0], s->argv);
        fprintf(stderr, "tenet: cannot run %s: %s\n", s->argv[0], strerror(errno));
        _exit(NOT_STARTED);
    }
    setpgid(s->child, s->child);
    s->changed = s->stepped = tn_now();
    s->signless = true;
    s->signed_on = false;
    return TN_OK;
}

/* What is left of the job on this host: killed, and waited for. Ranks outlive their launcher in groups of
 * their own, and would hold the run's lock. */
static void job_end(const supervisor *s)
{
    pid_t one;
    kill(-s->child, SIGKILL);
    for (int i = 0; i < 100 && job_find(s, false, &one, 1) > 0; i++) {
        job_signal(s, SIGKILL);
        nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
    }
}

/* Ctrl-Z: the job stands still with us, and goes on with us. */
static void job_pause(const supervisor *s)
{
    kill(-s->child, SIGSTOP);
    job_signal(s, SIGSTOP);
    if (pause_wanted) raise(SIGSTOP); /* or it was taken back already */
    pause_wanted = 0;
    job_signal(s, SIGCONT);
    kill(-s->child, SIGCONT);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* For tests: another number than the 60 of the rule. */
static tn_status least_read(double *least, tn_error *err)
{
    const char *text = getenv("TENET_HANG_SECONDS");

    *least = 60;
    if (text == NULL || (tn_parse_f64(text, least) && *least > 0)) return TN_OK;
    return tn_fail(err, TN_USAGE, "TENET_HANG_SECONDS is '%s': expected seconds above 0", text);
}

static double patience(const supervisor *s)
{
    double sorted[N_INTERVAL];
    int    n = s->n_interval < N_INTERVAL ? s->n_interval : N_INTERVAL;
    double least = s->least;
    if (s->signless || n == 0) return 10 * least * (double)(1 << (s->failures < 8 ? s->failures : 8));
    memcpy(sorted, s->interval, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return 5 * sorted[n / 2] > least ? 5 * sorted[n / 2] : least;
}

/* Until the child ends; signals to us go on to the job. Returns the wait status; *hung: we ended it. */
static int child_watch(supervisor *s, bool *hung, bool *moved)
{
    int    wait_status = 0;
    bool   told = false;
    double last = tn_now();
    *hung = *moved = false;
    for (;;) {
        if (waitpid(s->child, &wait_status, WNOHANG) == s->child) break;
        double now = tn_now();
        /* Whoever stopped us (docker pause, a frozen cgroup, Ctrl-Z, a paused virtual machine) stopped the
         * ranks too: that time is no hang. */
        if (now - last > STOPPED_SECONDS) {
            s->changed += now - last;
            s->stepped += now - last;
        }
        last = now;
        uint64_t sign;
        bool     ending;
        int64_t  step = heartbeat_read(s, true, &sign, &ending);
        if (!told && tn_interrupted(NULL) != TN_OK) {
            job_tell(s, SIGTERM);
            told = true;
        }
        if (save_wanted && s->signed_on) { /* before, there is nothing to save */
            save_wanted = 0;
            job_tell(s, SIGUSR1);
        }
        if (pause_wanted) job_pause(s);
        if (sign != s->sign) {
            s->sign = sign;
            s->changed = now;
            s->signless = ending;
            s->signed_on = true;
        }
        if (step != s->step) {
            if (s->step >= 0 && step > s->step)
                s->interval[s->n_interval++ % N_INTERVAL] = (now - s->stepped) / (double)(step - s->step);
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
    job_end(s);
    return wait_status;
}

static tn_status give_up(const supervisor *s, int wait_status, tn_error *err)
{
    if (!WIFEXITED(wait_status))
        return tn_fail(err, TN_IO, "the training process was killed by signal %d", WTERMSIG(wait_status));
    switch (WEXITSTATUS(wait_status)) {
    case 0: return TN_OK;
    case 2: return tn_fail(err, TN_USAGE, "the training process refused its command line");
    case 130: return tn_fail(err, TN_INTERRUPTED, "interrupted");
    case 143: return tn_fail(err, TN_TERMINATED, "terminated");
    case NOT_STARTED:
        return tn_fail(err, TN_IO,
                       "the training process could not be started: '%s' is not there, or cannot be run; see "
                       "the message above%s",
                       s->argv[0], s->ranks > 1 ? ", and name the launcher with --launch" : "");
    case TN_SUPERVISED_ERROR:
        return tn_fail(
            err, TN_IO,
            "the training process ended with the error above, which another start would meet again");
    case TN_SUPERVISED_WRONG:
        return tn_fail(
            err, TN_VERIFY,
            "the training process found something wrong, see above, which another start would find "
            "again");
    default: return tn_fail(err, TN_IO, "the training process ended with %d", WEXITSTATUS(wait_status));
    }
}

tn_status tn_cli_supervise(const char *const *words, const char *out, const char *launch, int ranks,
                           int restarts, tn_error *err)
{
    tn_status   status = TN_OK;
    supervisor *s = calloc(1, sizeof *s);

    if (s == NULL) return tn_fail(err, TN_NOMEM, "no memory to supervise");
    *s = (supervisor){
        .out = out, .launch = launch, .ranks = ranks, .words = words, .step = -1, .farthest = -1
    };
    TN_GOTO(least_read(&s->least, err));
    if (readlink("/proc/self/exe", s->exe, sizeof s->exe - 1) < 0) {
        status = tn_fail(err, TN_IO, "/proc/self/exe: %s", strerror(errno));
        goto out;
    }
    signals_install();
    for (bool again = false;; again = true) {
        bool hung, moved;
        TN_GOTO(child_start(s, again, err));
        int w = child_watch(s, &hung, &moved);
        int code = WIFEXITED(w) ? WEXITSTATUS(w) : -1;
        /* An error of all ranks before the first sign, after a restart, may be the run's lock in the hands of
         * a rank on another host that is not dead yet. */
        bool all = code == TN_SUPERVISED_ERROR || code == TN_SUPERVISED_WRONG,
             lock = code == TN_SUPERVISED_ERROR && again && s->ranks > 1 && !s->signed_on,
             absent = code == NOT_STARTED && !s->signed_on;
        if (!hung && !lock &&
            (code == 0 || code == 2 || code == 130 || code == 143 || all || absent ||
             (code == 1 && s->ranks == 1))) {
            status = give_up(s, w, err);
            goto out;
        }
        TN_GOTO(tn_interrupted(err)); /* a launcher that was told to stop may end with any code */
        s->failures = moved ? 1 : s->failures + 1;
        if (s->failures > restarts) {
            status = tn_fail(err, TN_IO,
                             "the training process failed %d times without a new step; the last checkpoint "
                             "is whole: look at the messages above",
                             s->failures);
            goto out;
        }
        if (s->failures > 1 && s->ranks > 1 && !lock) s->ranks--;
        tn_log(TN_LOG_WARN, "%s; starting again%s",
               hung        ? "no step for too long"
               : code == 3 ? "something is not sound"
                           : "the training process died",
               s->ranks < ranks ? " with fewer ranks" : "");
    }
out:
    words_free(s->argv);
    free(s);
    return status;
}
