/* kinds.c - the table of stage kinds, made from TN_STAGE_LIST. */
#include "recipe/kinds.h"
#include "recipe/stage.h"

#define X(name) extern const tn_stage_kind tn_stage_##name;
TN_STAGE_LIST(X)
#undef X

const tn_stage_kind *const tn_stage_kinds[] = {
#define X(name) &tn_stage_##name,
    TN_STAGE_LIST(X)
#undef X
        NULL
};
