/* heartbeat.c - OUT/heartbeat-R: one line "STEP COUNT PID@HOST [end]" of rank R, for `--supervise`.
 *
 * STEP is the last step done. COUNT goes up while something is being done that is no step: micro-batches of a long step, a validation, a
 * reference pass, waiting for the disk. So whoever watches can tell a long validation from a hang. "end": results are being written. */
#include "train/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "base/thread.h"

static void line_write(run *r, bool ending)
{
    char *path = tn_strf("%s/heartbeat-%d", r->io->out, r->rank), host[256] = "";
    FILE *f = path != NULL ? fopen(path, "w") : NULL;
    if (f != NULL) {
        gethostname(host, sizeof host - 1);
        fprintf(f, "%lld %lld %ld@%s%s\n", (long long)r->beat_step, (long long)r->beat_count, (long)getpid(), host, ending ? " end" : "");
        fclose(f);
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
