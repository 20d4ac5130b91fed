/* commands.h - the one list of commands (cli.h includes it): a row here and a file cmd_<name>.c make a command. */
#ifndef TN_CLI_COMMANDS_H
#define TN_CLI_COMMANDS_H

#define TN_COMMAND_LIST(X)   \
    X(pull)                  \
    X(inspect)               \
    X(tokenize)              \
    X(detokenize)            \
    X(generate)              \
    X(chat)                  \
    X(score)                 \
    X(logits)                \
    X(perplexity)            \
    X(convert)               \
    X(quantize)              \
    X(train)                 \
    X(export)                \
    X(selftest)              \
    X(bench)                 \
    X(constitution)          \
    X(run)                   \
    X(diff)                  \
    X(graph)                 \
    X(log)                   \
    X(key)                   \
    X(store)                 \
    X(release)               \
    X(why)

#endif
