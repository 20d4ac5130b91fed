/* fault.c - faults on purpose, so that the proofs can show what happens:
 * TENET_FAULT="what@step[:rank][,...]".
 *
 *   kill@12          SIGKILL before step 12's update      kill-writing@10   in the middle of writing checkpoint 10
 *   kill-naming@10   before the checkpoint gets its name  kill-named@10     behind that, before older ones go
 *   nan@5            step 5's loss is no number
 *   term@5           SIGTERM within step 5, of one rank alone      term-validating@4   within the validation that follows step 4
 *   flip@7:1         after step 7 a bit of rank 1's weights flips              hang@9:0   rank 0 stops in step 9
 *
 * Each fault happens in the first run that reaches it with the variable set; supervised restarts clear the
 * variable. */
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

tn_status train_fault_check(tn_error *err)
{
    static const char *const kinds[] = { "kill", "kill-writing",    "kill-naming", "kill-named", "nan",
                                         "term", "term-validating", "flip",        "hang",       NULL };
    const char              *s = getenv("TENET_FAULT");
    while (s != NULL && *s != '\0') {
        size_t  len = strcspn(s, ",");
        char    item[64] = "", *at, *colon;
        int64_t n;
        bool    known = false;
        if (len < sizeof item) memcpy(item, s, len);
        if ((at = strchr(item, '@')) != NULL) *at++ = '\0';
        if (at != NULL && (colon = strchr(at, ':')) != NULL) {
            *colon++ = '\0';
            if (!tn_parse_i64(colon, &n)) at = NULL;
        }
        for (int i = 0; kinds[i] != NULL; i++) known |= strcmp(item, kinds[i]) == 0;
        if (!known || at == NULL || !tn_parse_i64(at, &n))
            return tn_fail(err, TN_USAGE,
                           "TENET_FAULT: '%.*s' is no fault: expected kill, kill-writing, kill-naming, "
                           "kill-named, nan, term, term-validating, flip or hang, then @STEP, then :RANK or "
                           "nothing",
                           (int)len, s);
        s += len;
        if (*s == ',') s++;
    }
    return TN_OK;
}

bool train_fault(const char *what, int64_t step, int rank)
{
    const char *list = getenv("TENET_FAULT"), *s;
    size_t      n = strlen(what), len;
    while (tn_list_next(&list, &s, &len)) {
        char item[64];
        if (len < sizeof item && len > n && strncmp(s, what, n) == 0 && s[n] == '@') {
            int64_t at, who = -1;
            memcpy(item, s + n + 1, len - n - 1);
            item[len - n - 1] = '\0';
            char *colon = strchr(item, ':');
            if (colon != NULL) *colon = '\0';
            if (tn_parse_i64(item, &at) && at == step &&
                (colon == NULL || (tn_parse_i64(colon + 1, &who) && who == rank)))
                return true;
        }
    }
    return false;
}
