/* family.c - the family table (see family.h). */
#include "model/family.h"

#include <string.h>

static const tn_family *const families[] = {
#define X(name) &tn_family_##name,
    TN_FAMILY_LIST(X)
#undef X
};

enum { N_FAMILY = sizeof families / sizeof families[0] };

size_t tn_family_count(void)
{
    return N_FAMILY;
}

const tn_family *tn_family_at(size_t i)
{
    return i < N_FAMILY ? families[i] : NULL;
}

const tn_family *tn_family_find(const char *name)
{
    for (size_t i = 0; i < N_FAMILY; i++)
        if (strcmp(families[i]->name, name) == 0) return families[i];
    return NULL;
}
