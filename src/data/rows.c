/* rows.c - what files of rows have in common: members that may be null, conversations. */
#include "data/rows.h"

#include <string.h>

const json_t *tn_row_get(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return json_is_null(v) ? NULL : v;
}

tn_status tn_row_system(const json_t *row, tn_message *m, size_t *n, const char *where, tn_error *err)
{
    if (tn_row_get(row, "system") == NULL) return TN_OK;
    m[*n] = (tn_message){ "system", NULL };
    return tn_json_str(row, "system", &m[(*n)++].content, where, err);
}

tn_status tn_row_messages(const json_t *list, const char *key, tn_message *m, size_t *n, const char *where, tn_error *err)
{
    static const char *const roles[] = { "system", "user", "assistant", NULL };
    bool own = *n > 0 && strcmp(m[0].role, "system") == 0;   /* the row's "system" stands there */
    size_t i;
    const json_t *e;

    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > TN_ROW_MESSAGES - *n)
        return tn_fail(err, TN_FORMAT, "%s: \"%s\" must be a list of 1 to %d objects", where, key, TN_ROW_MESSAGES - (int)*n);
    json_array_foreach(list, i, e) {
        const char *role;
        bool known = false;
        TN_TRY(tn_json_str(e, "role", &role, where, err));
        TN_TRY(tn_json_str(e, "content", &m[*n].content, where, err));
        for (int k = 0; roles[k] != NULL; k++) known |= strcmp(role, roles[k]) == 0;
        if (!known) return tn_fail(err, TN_FORMAT, "%s: role \"%s\"; system, user and assistant are known", where, role);
        if (own && strcmp(role, "system") == 0)
            return tn_fail(err, TN_FORMAT, "%s: \"system\" beside a message of the system in \"%s\"; leave one of them out", where, key);
        m[(*n)++].role = role;
    }
    return TN_OK;
}
