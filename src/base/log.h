/* log.h - messages to stderr by level, and the progress line (a bar on a terminal, plain lines in a pipe or
 * log). Library rooms report through these; they never print otherwise. */
#ifndef TN_BASE_LOG_H
#define TN_BASE_LOG_H

#include "base/err.h"
#include "base/str.h"

typedef enum tn_log_level { TN_LOG_ERROR, TN_LOG_WARN, TN_LOG_INFO, TN_LOG_DEBUG } tn_log_level;
void tn_log_set_level(tn_log_level level); /* INFO by default; --quiet sets WARN */
void tn_log(tn_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Progress of a long work: "pairs  ████▌···  48 %   31 rows/s, 22 s left". Drawn at most 5 times a second on a
 * terminal, once every 10 seconds elsewhere. */
typedef struct tn_progress tn_progress;
tn_status                  tn_progress_start(tn_progress **out, const char *what, const char *unit,
                                             int64_t total /* 0: unknown */, tn_error *err);
/* so much was there before: it counts, but not for the rate */
void tn_progress_skip(tn_progress *p, int64_t done);
void tn_progress_set(tn_progress *p, int64_t done, const char *note /* or NULL */);
void tn_progress_end(tn_progress *p); /* frees; NULL is fine */

/* A line that is drawn over by the next one: what the terminal is too narrow for is cut off, from byte
 * `first` on, since a line that wraps would stay. Without a terminal nothing is. */
void tn_line_fit(tn_str *line, size_t first);

/* Ctrl-C, SIGTERM and SIGHUP (a closed terminal; not under nohup): the first sets a flag that long loops poll
 * (finish cleanly), the second ends at once. SIGPIPE, SIGXFSZ and SIGUSR1 are ignored; training catches the
 * last. */
void tn_signals_install(void);
/* One more signal, with a handler of its own or (NULL) counted like SIGTERM; one that is ignored stays so. */
void tn_signal_catch(int signal_number, void (*handler)(int));
/* TN_OK, or TN_INTERRUPTED / TN_TERMINATED once a signal came. */
tn_status tn_interrupted(tn_error *err);
void      tn_interrupt_clear(void);

#endif
