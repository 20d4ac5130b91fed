/* log.c - messages, the progress line, signals (see log.h).
 *
 *   terminal   "  pairs      ██████████▌·········  52 %   31 rows/s, 22 s left"    redrawn in place
 *   elsewhere  "pairs: 126 of 240 rows, 52 %, 31 rows/s, 22 s left"               a line every 10 s, and one at the end */
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static tn_log_level    level = TN_LOG_INFO;
static pthread_mutex_t print_lock = PTHREAD_MUTEX_INITIALIZER;
static bool            line_open; /* a progress bar stands on the terminal's last line */

void tn_log_set_level(tn_log_level l) { level = l; }

void tn_log(tn_log_level l, const char *fmt, ...)
{
    static const char *const head[] = { "error: ", "warning: ", "", "debug: " };
    tn_str                   text = { 0 };
    va_list                  ap;

    if (l > level) return;
    va_start(ap, fmt);
    tn_str_addv(&text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&print_lock);
    if (line_open) fputs("\r\033[K", stderr); /* the bar is drawn again at its next step */
    line_open = false;
    fprintf(stderr, "%s%s\n", head[l], text.p != NULL ? text.p : "");
    fflush(stderr);
    pthread_mutex_unlock(&print_lock);
    tn_str_free(&text);
}

/* ----------------------------------------------------------------------------------------------- progress */

struct tn_progress {
    char   *what, *unit;
    int64_t total, done, skipped;
    double  start, last; /* last: when it was drawn */
    bool    terminal, utf8;
    char    note[80];
};

static bool terminal_is_utf8(void)
{
    const char *v = getenv("LC_ALL");

    if (v == NULL || *v == '\0') v = getenv("LC_CTYPE");
    if (v == NULL || *v == '\0') v = getenv("LANG");
    return v != NULL && (strcasestr(v, "utf-8") != NULL || strcasestr(v, "utf8") != NULL);
}

static void add_duration(tn_str *s, double seconds)
{
    int64_t t = (int64_t)(seconds + 0.5);

    if (t < 100) tn_str_addf(s, "%d s", (int)t);
    else if (t < 6000) tn_str_addf(s, "%d:%02d min", (int)(t / 60), (int)(t % 60));
    else tn_str_addf(s, "%lld:%02d h", (long long)(t / 3600), (int)(t / 60 % 60));
}

static void add_rate(tn_str *s, const tn_progress *p, double seconds)
{
    double rate = seconds > 0 ? (double)(p->done - p->skipped) / seconds : 0;

    if (p->done <= 0 || rate <= 0) return;
    if (strcmp(p->unit, "bytes") == 0) tn_str_addf(s, "%.1f MB/s", rate / 1e6);
    else tn_str_addf(s, rate < 10 ? "%.1f %s/s" : "%.0f %s/s", rate, p->unit);
    if (p->total > p->done && seconds > 1) {
        tn_str_add(s, ", ");
        add_duration(s, (double)(p->total - p->done) / rate);
        tn_str_add(s, " left");
    }
}

static void add_bar(tn_str *s, double part, bool utf8)
{
    static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
    enum { CELLS = 20 };
    int n = (int)(part * CELLS * 8 + 0.5), full = n / 8;

    for (int i = 0; i < CELLS; i++) {
        if (i < full) tn_str_add(s, utf8 ? "█" : "#");
        else if (i == full && n % 8 != 0 && utf8) tn_str_add(s, eighths[n % 8]);
        else tn_str_add(s, utf8 ? "·" : ".");
    }
}

static void add_count(tn_str *s, const tn_progress *p)
{
    int64_t     largest = p->total > p->done ? p->total : p->done;
    const char *unit = p->unit;
    double      scale = 1;

    if (strcmp(unit, "bytes") == 0) {
        scale = largest >= 1000000 ? 1e6 : largest >= 1000 ? 1e3 : 1;
        unit = largest >= 1000000 ? "MB" : largest >= 1000 ? "kB" : "B";
    }
    if (p->total > 0)
        tn_str_addf(s, "%.0f of %.0f %s", (double)p->done / scale, (double)p->total / scale, unit);
    else tn_str_addf(s, "%.0f %s", (double)p->done / scale, unit);
}

void tn_line_fit(tn_str *line, size_t first)
{
    struct winsize w = { 0 };
    int            n = 0;

    if (line->p == NULL || ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col == 0) return;
    /* by characters: a byte that goes on with one takes no column */
    for (size_t i = first; i < line->len; i++) {
        if (((unsigned char)line->p[i] & 0xc0) == 0x80 || ++n < w.ws_col) continue;
        line->p[i] = '\0';
        line->len = i;
        return;
    }
}

static void draw(tn_progress *p, double now, bool last)
{
    tn_str s = { 0 };
    double seconds = now - p->start, part = p->total > 0 ? (double)p->done / (double)p->total : 0;

    if (part > 1) part = 1;
    if (p->terminal) {
        tn_str_addf(&s, "\r\033[K  %-10s ", p->what);
        if (p->total > 0) {
            add_bar(&s, part, p->utf8);
            tn_str_addf(&s, " %3d %%   ", (int)(part * 100));
        } else {
            add_count(&s, p);
            tn_str_add(&s, "   ");
        }
    } else {
        tn_str_addf(&s, "%s: ", p->what);
        add_count(&s, p);
        if (p->total > 0) tn_str_addf(&s, ", %d %%", (int)(part * 100));
        if (last || p->done > 0) tn_str_add(&s, ", ");
    }
    if (last) add_duration(&s, seconds);
    else add_rate(&s, p, seconds);
    if (p->note[0] != '\0') tn_str_addf(&s, "   %s", p->note);
    if (p->terminal && !last) tn_line_fit(&s, strlen("\r\033[K"));
    if (!p->terminal || last) tn_str_add_char(&s, '\n');
    pthread_mutex_lock(&print_lock);
    if (s.p != NULL && !s.failed) fputs(s.p, stderr);
    fflush(stderr);
    line_open = p->terminal && !last;
    pthread_mutex_unlock(&print_lock);
    tn_str_free(&s);
    p->last = now;
}

tn_status tn_progress_start(tn_progress **out, const char *what, const char *unit, int64_t total,
                            tn_error *err)
{
    tn_progress *p = calloc(1, sizeof *p);

    *out = NULL;
    if (p == NULL || (p->what = tn_strdup(what)) == NULL || (p->unit = tn_strdup(unit)) == NULL) {
        if (p != NULL) free(p->what);
        free(p);
        return tn_fail(err, TN_NOMEM, "no memory for the progress line of '%s'", what);
    }
    p->total = total;
    p->terminal = isatty(STDERR_FILENO) && getenv("NO_PROGRESS") == NULL;
    p->utf8 = terminal_is_utf8();
    p->start = p->last = tn_now();
    *out = p;
    return TN_OK;
}

void tn_progress_skip(tn_progress *p, int64_t done) { p->skipped = p->done = done; }

void tn_progress_set(tn_progress *p, int64_t done, const char *note)
{
    double now;

    if (p == NULL) return;
    p->done = done;
    if (note != NULL) snprintf(p->note, sizeof p->note, "%s", note);
    if (level < TN_LOG_INFO) return;
    now = tn_now();
    if (now - p->last >= (p->terminal ? 0.2 : 10.0)) draw(p, now, false);
}

void tn_progress_end(tn_progress *p)
{
    if (p == NULL) return;
    if (level >= TN_LOG_INFO) draw(p, tn_now(), true);
    free(p->what);
    free(p->unit);
    free(p);
}

/* ------------------------------------------------------------------------------------------------ signals */

static volatile sig_atomic_t signal_seen;

/* A terminal that closes may say so twice, first through its shell: a second SIGHUP hurries nobody. */
static void on_signal(int sig)
{
    if (signal_seen != 0 && sig == SIGHUP) return;
    if (signal_seen != 0) _exit(128 + sig); /* the second one: at once */
    signal_seen = sig;
}

void tn_signal_catch(int signal_number, void (*handler)(int))
{
    struct sigaction sa, before;

    memset(&sa, 0, sizeof sa);
    sa.sa_handler = handler != NULL ? handler : on_signal;
    if (sigaction(signal_number, NULL, &before) == 0 && before.sa_handler == SIG_IGN) return;
    sigaction(signal_number, &sa, NULL);
}

/* Which file lies at this address: the name in its line of /proc/self/maps. Only what a signal handler may
 * call. */
static size_t mapped_name(uintptr_t at, char *line, size_t cap)
{
    int    fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    char   c;

    while (fd >= 0 && read(fd, &c, 1) == 1) {
        if (c != '\n') {
            if (n < cap) line[n++] = c;
            continue;
        }
        uintptr_t bound[2] = { 0 };
        size_t    i = 0;
        for (int k = 0; k < 2; k++, i++)
            for (; i < n && line[i] != '-' && line[i] != ' '; i++)
                bound[k] = bound[k] * 16 + (uintptr_t)(line[i] <= '9' ? line[i] - '0' : line[i] - 'a' + 10);
        while (i < n && line[i] != '/') i++;
        if (at >= bound[0] && at < bound[1]) {
            close(fd);
            memmove(line, line + i, n - i);
            return n - i;
        }
        n = 0;
    }
    if (fd >= 0) close(fd);
    return 0;
}

/* A file that we read by mapping it (weights, token shards) was cut off by somebody, or its disk cannot give
 * it: nothing to go on with. The handler was taken away as it was called, so the same access ends the program
 * as it would have. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
    static const char head[] = "error: a file was made shorter while it was being read, or its disk failed: ",
                      tail[] = "; put it back as it was and start again\n";
    char   name[1024];
    size_t n = mapped_name((uintptr_t)info->si_addr, name, sizeof name);

    (void)sig;
    (void)context;
    if (write(STDERR_FILENO, head, sizeof head - 1) < 0 ||
        write(STDERR_FILENO, n > 0 ? name : "?", n > 0 ? n : 1) < 0 ||
        write(STDERR_FILENO, tail, sizeof tail - 1) < 0)
        return;
}

void tn_signals_install(void)
{
    struct sigaction sa;

    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    tn_signal_catch(SIGHUP, NULL); /* nohup's stays ignored */
    sa.sa_handler = SIG_IGN;
    /* a closed pipe and a file over `ulimit -f` are errors of write(), with a message */
    sigaction(SIGPIPE, &sa, NULL);
    sigaction(SIGXFSZ, &sa, NULL);
    /* "write a checkpoint": where there is nothing to write yet or any more, no reason to die */
    sigaction(SIGUSR1, &sa, NULL);
    sa.sa_flags = SA_SIGINFO | (int)SA_RESETHAND;
    sa.sa_sigaction = on_bus;
    sigaction(SIGBUS, &sa, NULL);
}

tn_status tn_interrupted(tn_error *err)
{
    switch (signal_seen) {
    case SIGINT: return tn_fail(err, TN_INTERRUPTED, "interrupted; what was finished is kept");
    case 0: return TN_OK;
    default: return tn_fail(err, TN_TERMINATED, "terminated; what was finished is kept");
    }
}

void tn_interrupt_clear(void) { signal_seen = 0; }
