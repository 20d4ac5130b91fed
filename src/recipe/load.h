/* load.h - what the files that read a recipe share.
 *
 *   load.c          the order of reading; the recipe's own line of life
 *   load_files.c    the file and what it includes              load_inputs.c   where each input comes from
 *   load_vars.c     variables, and putting them in             load_order.c    the order of execution, circles
 *   load_stages.c   kinds and options of stages                load_text.c     exports, and the recipe written out whole */
#ifndef TN_RECIPE_LOAD_H
#define TN_RECIPE_LOAD_H

#include "base/yaml.h"
#include "recipe/recipe_impl.h"

typedef struct loaded {
    tn_yaml *y;
    char    *path;
    int      parent;
} loaded; /* one file of the recipe */

typedef struct loader {
    tn_recipe               *r;
    const tn_recipe_options *o;
    loaded                   files[64]; /* the recipe itself first */
    int                      n_file;
    json_t                  *from_set; /* variables that --set gave: their paths are the user's own word */
    char                    *root;     /* paths of the recipe lie below it */
} loader;

enum { RECIPE_TEXT_MAX = 1 << 20 };

tn_status recipe_load_no_memory(const loader *l, tn_error *err);
char     *recipe_load_dir(const char *path);     /* of a file; made */
bool      recipe_load_is_name(const char *s);    /* a letter, then letters, digits, '_' and '-' */
bool      recipe_load_escapes(const char *path); /* a part of it is ".." */
/* symlinks on its way end outside root */
bool recipe_load_leads_out(const char *root, const char *path);

tn_status recipe_load_file(loader *l, const char *path, int parent, int depth, tn_error *err);
tn_status recipe_load_vars(loader *l, tn_error *err);
/* Puts variables in. *user: a variable of --set took part. made: free(*out). depth: 0. */
tn_status recipe_load_expand(loader *l, const char *text, const char *where, int depth, char **out,
                             bool *user, tn_error *err);
tn_status recipe_load_expand_tree(loader *l, tn_yaml *y, const char *file, tn_error *err);
tn_status recipe_load_stages(loader *l, const char *seed, tn_error *err);
tn_status recipe_load_inputs(loader *l, tn_error *err);
tn_status recipe_load_order(loader *l, tn_error *err);
tn_status recipe_load_exports(loader *l, tn_error *err);
tn_status recipe_load_text(loader *l, tn_error *err);

#endif
