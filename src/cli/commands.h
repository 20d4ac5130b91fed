/* commands.h - the one list of commands (cli.h includes it): a row here and a file cmd_<name>.c make a
 * command. G starts a group of `tenet help`; a group of which no command exists is not shown. */
#ifndef TN_CLI_COMMANDS_H
#define TN_CLI_COMMANDS_H

// clang-format off
#define TN_COMMAND_LIST(X, G)\
    G("Models")             \
    X(pull)                 \
    X(inspect)              \
    X(chat)                 \
    X(generate)             \
    X(score)                \
    X(perplexity)           \
    X(logits)               \
    X(tokenize)             \
    X(detokenize)           \
    X(convert)              \
    X(quantize)             \
    G("Alignment")          \
    X(constitution)         \
    X(align)                \
    X(train)                \
    X(export)               \
    G("Evaluation")         \
    X(eval)                 \
    X(redteam)              \
    X(compare)              \
    X(gate)                 \
    G("Runs and proofs")    \
    X(run)                  \
    X(graph)                \
    X(log)                  \
    X(diff)                 \
    X(store)                \
    X(release)              \
    X(verify)               \
    X(why)                  \
    X(key)                  \
    X(tlog)                 \
    G("This machine")       \
    X(selftest)             \
    X(bench)
// clang-format on

#endif
