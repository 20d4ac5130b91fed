/* replay_none.c - a build without the train room: replays are unchecked. */
#include "recipe/recipe.h"

const tn_replay_fn tn_replay_training = NULL;
