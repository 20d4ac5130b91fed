/* toys.h - stage kinds that work on small files, for tests of the runner. */
#ifndef TN_TESTS_RECIPE_TOYS_H
#define TN_TESTS_RECIPE_TOYS_H

#include "recipe/recipe.h"

#define toy_kinds tn_stage_kinds /* this program's whole table */
extern int toy_runs;             /* executions of any toy in this process */

#endif
