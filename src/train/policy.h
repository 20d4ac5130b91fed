/* policy.h - what to do with a step whose numbers are bad (policy.c). Private to the room. */
#ifndef TN_TRAIN_POLICY_H
#define TN_TRAIN_POLICY_H

#include "train/train.h"

/* May a policy go back to a checkpoint? Then how often they are written is part of what the run is (decision
 * 079). */
bool train_goes_back(const tn_train_config *c);
typedef enum policy_action { POLICY_GO_ON, POLICY_SKIP, POLICY_BACK, POLICY_STOP } policy_action;
enum { POLICY_WINDOW = 128 };
/* So many bad steps in a row are no bad batches: the run ends. */
enum { POLICY_MOST_BAD = 20 };
/* gradient norms of the last good steps */
typedef struct policy {
    float   norm[POLICY_WINDOW];
    int64_t n;
} policy;
void train_policy_seen(policy *p, float grad_norm);
/* Its memory is the log itself: the norms of the steps that were neither skipped nor passed over. */
void          train_policy_recall(policy *p, const tn_step_record *rec, size_t n);
policy_action train_policy_decide(const policy *p, const tn_train_config *c, float loss, float grad_norm,
                                  char why[200]);

#endif
