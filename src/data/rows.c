/* rows.c - what files of rows have in common: members that may be null, conversations. */
#include "data/rows.h"

#include <string.h>

const json_t *tn_row_get(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return json_is_null(v) ? NULL : v;
}

/* Nothing, also as tables that keep JSON as text have it, or a flag that is off. */
static bool is_empty(const json_t *v)
{
    static const char *const words[] = { "[]", "{}", "null", NULL };
    if (v == NULL || json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) ||
        (json_is_object(v) && json_object_size(v) == 0))
        return true;
    const char *s = json_string_value(v);
    if (s == NULL) return false;
    s += strspn(s, " \t\r\n");
    bool empty = *s == '\0';
    for (int i = 0; words[i] != NULL; i++) empty |= strcmp(s, words[i]) == 0;
    return empty;
}

/* What says something that no rendering here has: without it the model would learn to say nothing, or what
 * has no ground. */
tn_status tn_row_nothing_lost(const json_t *o, const char *where, tn_error *err)
{
    static const char *const keys[] = {
        "tools", "functions", "tool_calls", "function_call", "reasoning_content", "thinking", NULL
    };
    for (int i = 0; keys[i] != NULL; i++)
        if (!is_empty(tn_row_get(o, keys[i])))
            return tn_fail(err, TN_UNSUPPORTED,
                           "%s: \"%s\" would be lost: tools and thoughts have no place of their own here; "
                           "write them into \"content\" as the model "
                           "writes them, or leave the row out",
                           where, keys[i]);
    return TN_OK;
}

tn_status tn_row_system(const json_t *row, tn_message *m, size_t *n, const char *where, tn_error *err)
{
    const json_t *system = tn_row_get(row, "system");
    TN_TRY(tn_row_nothing_lost(row, where, err));
    if (system == NULL || (json_is_string(system) && json_string_length(system) == 0)) return TN_OK;
    m[*n] = (tn_message){ "system", NULL };
    return tn_json_str(row, "system", &m[(*n)++].content, where, err);
}

tn_status tn_row_messages(const json_t *list, const char *key, tn_message *m, size_t *n, const char *where,
                          tn_error *err)
{
    static const char *const roles[] = { "system", "user", "assistant", NULL };
    bool          own = *n > 0 && strcmp(m[0].role, "system") == 0; /* the row's "system" stands there */
    size_t        i;
    const json_t *e;

    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > TN_ROW_MESSAGES - *n)
        return tn_fail(err, TN_FORMAT, "%s: \"%s\" must be a list of 1 to %d objects", where, key,
                       TN_ROW_MESSAGES - (int)*n);
    json_array_foreach(list, i, e) {
        const char *role;
        bool        known = false;
        TN_TRY(tn_row_nothing_lost(e, where, err));
        TN_TRY(tn_json_str(e, "role", &role, where, err));
        TN_TRY(tn_json_str(e, "content", &m[*n].content, where, err));
        for (int k = 0; roles[k] != NULL; k++) known |= strcmp(role, roles[k]) == 0;
        if (!known)
            return tn_fail(err, TN_FORMAT, "%s: role \"%s\"; system, user and assistant are known", where,
                           role);
        if (own && strcmp(role, "system") == 0)
            return tn_fail(err, TN_FORMAT,
                           "%s: \"system\" beside a message of the system in \"%s\"; leave one of them out",
                           where, key);
        m[(*n)++].role = role;
    }
    return TN_OK;
}
