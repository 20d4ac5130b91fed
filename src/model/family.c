/* family.c - the family table (see family.h). */
#include "model/family.h"

#include <string.h>

static const tn_family *const families[] = {
#define X(name) &tn_family_##name,
    TN_FAMILY_LIST(X)
#undef X
};

const tn_family *tn_family_find(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i]->name, name) == 0) return families[i];
    return NULL;
}
