/* kinds.h - the one list of stage kinds: a row here and a file stage_<kind>.c make a kind. */
#ifndef TN_RECIPE_KINDS_H
#define TN_RECIPE_KINDS_H

// clang-format off
#define TN_STAGE_LIST(X)     \
    X(file)                  \
    X(release)               \
    X(prompts)               \
    X(answers)               \
    X(contrast)              \
    X(revise)                \
    X(pairs)                 \
    X(samples) X(texts)               \
    X(judge)                 \
    X(judge_remote)          \
    X(compare)               \
    X(compare_remote)        \
    X(direct)                \
    X(direct_remote)         \
    X(screen)                \
    X(check)                 \
    X(watch)                 \
    X(distill)               \
    X(generate)              \
    X(measure)               \
    X(eval)                  \
    X(redteam)               \
    X(report)                \
    X(index)                 \
    X(train)                 \
    X(export)
// clang-format on

#endif
