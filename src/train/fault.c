/* fault.c - faults on purpose, so that the proofs can show what happens: TENET_FAULT="what@step[:rank][,...]".
 *
 *   kill@12          SIGKILL before step 12's update      kill-writing@10   in the middle of writing checkpoint 10
 *   kill-naming@10   before the checkpoint gets its name  nan@5             step 5's loss is no number
 *   term@5           SIGTERM within step 5, of one rank alone      term-validating@4   within the validation that follows step 4
 *   flip@7:1         after step 7 a bit of rank 1's weights flips              hang@9:0   rank 0 stops in step 9
 *
 * Each fault happens in the first run that reaches it with the variable set; supervised restarts clear the variable. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

bool train_fault(const char *what, int64_t step, int rank)
{
    const char *s = getenv("TENET_FAULT");
    size_t n = strlen(what);
    while (s != NULL && *s != '\0') {
        size_t len = strcspn(s, ",");
        char item[64];
        if (len < sizeof item && len > n && strncmp(s, what, n) == 0 && s[n] == '@') {
            int64_t at, who = -1;
            memcpy(item, s + n + 1, len - n - 1);
            item[len - n - 1] = '\0';
            char *colon = strchr(item, ':');
            if (colon != NULL) *colon = '\0';
            if (tn_parse_i64(item, &at) && at == step && (colon == NULL || (tn_parse_i64(colon + 1, &who) && who == rank))) return true;
        }
        s += len;
        if (*s == ',') s++;
    }
    return false;
}
