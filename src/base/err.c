/* err.c - statuses and errors (see err.h). */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    tn_status   code;
    int         exit_code;
    const char *text;
} statuses[] = {
#define X(name, number, exit_code, text) { TN_##name, exit_code, text },
    TN_STATUS_LIST(X)
#undef X
};

const char *tn_status_text(tn_status code)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i].code == code) return statuses[i].text;
    return "unknown status";
}

int tn_status_exit_code(tn_status code)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i].code == code) return statuses[i].exit_code;
    return 1;
}

tn_status tn_fail_at(tn_error *err, const char *file, int line, tn_status code, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL) return code;
    err->code = code;
    err->file = file;
    err->line = line;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return code;
}

tn_status tn_fail_prefix(tn_error *err, tn_status code, const char *fmt, ...)
{
    char    head[sizeof err->msg], whole[2 * sizeof err->msg];
    va_list ap;

    if (err == NULL) return code;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    if (snprintf(whole, sizeof whole, "%s: %s", head, err->msg) < 0) return err->code;
    memcpy(err->msg, whole, sizeof err->msg - 1);
    err->msg[sizeof err->msg - 1] = '\0';
    return err->code;
}

_Noreturn void tn_bug_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "tenet: bug at %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}
