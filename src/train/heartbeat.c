/* heartbeat.c - OUT/heartbeat-R: one line "STEP COUNT PID@HOST [end] [by JOB]" of rank R, for `--supervise`.
 *
 * STEP is the last step done. COUNT goes up while something is being done that is no step: micro-batches of a
 * long step, a validation, a reference pass, waiting for the disk. So whoever watches can tell a long
 * validation from a hang. "end": results are being written. JOB is $TENET_SUPERVISED, by which a supervisor
 * knows its own: another run in the same directory, or an older one, gives no sign of this one. */
#include "train/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

enum { LINE = 384 }; /* three numbers, a host's name and a job's; the rest is spaces */

/* One write of one length over what was there, never cut off first: a rank that is stopped at any point
 * leaves a line that names it, by which the supervisor can end it. */
static void line_write(run *r, bool ending)
{
    char       *path = tn_strf("%s/heartbeat-%d", r->io->out, r->rank), host[256] = "", line[LINE + 1];
    const char *job = getenv("TENET_SUPERVISED");
    int         fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        gethostname(host, sizeof host - 1);
        int n = snprintf(line, sizeof line, "%lld %lld %ld@%s%s%s%.40s", (long long)r->beat_step,
                         (long long)r->beat_count, (long)getpid(), host, ending ? " end" : "",
                         job != NULL ? " by " : "", job != NULL ? job : "");
        memset(line + n, ' ', LINE - (size_t)n);
        line[LINE - 1] = '\n';
        if (pwrite(fd, line, LINE, 0) != LINE)
            tn_log(TN_LOG_DEBUG, "%s: cannot write: %s", path, strerror(errno));
        close(fd);
    }
    free(path);
    r->beat_at = tn_now();
}

void train_heartbeat(run *r, int64_t step, bool ending)
{
    r->beat_step = step;
    r->beat_count++;
    line_write(r, ending);
}

/* Not of an estimate or a replay: nobody watches those, and their directory is not theirs. */
void train_alive(run *r)
{
    if (!r->beats || tn_now() - r->beat_at < 1) return;
    r->beat_count++;
    line_write(r, false);
}
