/* err.h - statuses and errors: how every function of tenet says that it could not do its work.
 *
 * A function that can fail returns tn_status and takes `tn_error *err` last (NULL is allowed and drops the
 * message). The message names what was expected, what was found, where, and the way out. Only cli/ prints it,
 * only cli/ exits. */
#ifndef TN_BASE_ERR_H
#define TN_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* code, number (never reused), exit code of the program, text */
// clang-format off
#define TN_STATUS_LIST(X)                                                  \
    X(OK,           0,   0, "ok")                                          \
    X(NOMEM,        1,   1, "out of memory")                               \
    X(IO,           2,   1, "input/output error")                          \
    X(USAGE,        3,   2, "wrong use")                                   \
    X(FORMAT,       4,   1, "malformed input")                             \
    X(LIMIT,        5,   1, "over a limit")                                \
    X(NOTFOUND,     6,   1, "not found")                                   \
    X(UNSUPPORTED,  7,   1, "not supported")                               \
    X(VERIFY,       8,   3, "looked, and found wrong")                     \
    X(INTERRUPTED,  9, 130, "interrupted")                                 \
    X(TERMINATED,  10, 143, "terminated")                                  \
    X(NETWORK,     11,   1, "network error")                               \
    X(MISMATCH,    12,   1, "things that do not fit together")             \
    X(UNCHECKED,   13,   1, "could not be checked")                        \
    X(UNSOUND,     14,   3, "memory or a processor is not sound")
// clang-format on

typedef enum tn_status {
#define X(name, number, exit_code, text) TN_##name = number,
    TN_STATUS_LIST(X)
#undef X
} tn_status;

typedef struct tn_error {
    tn_status   code;
    const char *file; /* source file and line that reported it, for debugging builds and --verbose */
    int         line;
    char        msg[1024];
} tn_error;

const char *tn_status_text(tn_status code);
int         tn_status_exit_code(tn_status code);

/* Fills *err (if not NULL) and returns `code`. */
tn_status tn_fail_at(tn_error *err, const char *file, int line, tn_status code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Puts "text: " in front of the message already in *err; returns err->code (or `code` if err is NULL). */
tn_status tn_fail_prefix(tn_error *err, tn_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define tn_fail(err, code, ...) tn_fail_at((err), __FILE__, __LINE__, (code), __VA_ARGS__)
#define TN_TRY(expr)                                                                                         \
    do {                                                                                                     \
        tn_status s_ = (expr);                                                                               \
        if (s_ != TN_OK) return s_;                                                                          \
    } while (0)
#define TN_GOTO(expr)                                                                                        \
    do {                                                                                                     \
        if ((status = (expr)) != TN_OK) goto out;                                                            \
    } while (0)

/* Our own broken invariant: prints file, line and text, then aborts. Never for a bad file, flag or disk. */
_Noreturn void tn_bug_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define tn_bug(...) tn_bug_at(__FILE__, __LINE__, __VA_ARGS__)

#endif
