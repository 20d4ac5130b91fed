/* judge_options.h - private to align: the option rows that every stage with a judge has. */
#ifndef TN_ALIGN_JUDGE_OPTIONS_H
#define TN_ALIGN_JUDGE_OPTIONS_H

// clang-format off
#define TN_JUDGE_OPTIONS_ALL(type)                                                                                                                   \
    { "batch",      TN_OPT_INT,    offsetof(type, j.batch),      "16",   1, 1024, "streams", "questions read together (no effect on the result)", NULL },   \
    { "reasoning",  TN_OPT_INT,    offsetof(type, j.reasoning),  "0",    0, 4096, "tokens",  "of step-by-step reasoning before the letter; 0: none", NULL }, \
    { "reasonings", TN_OPT_INT,    offsetof(type, j.reasonings), "1",    1, 32,   "",        "pieces of reasoning whose probabilities are averaged", NULL }, \
    { "forms",      TN_OPT_CHOICE, offsetof(type, j.forms),      "both", 0, 0,    "positive|both", "wordings asked: which is better, or also which is worse", NULL }

#define TN_JUDGE_OPTIONS_REMOTE(type)                                                                                                                \
    { "url",     TN_OPT_STR,  offsetof(type, j.url),     NULL,  0, 0,    "",        "base URL of an OpenAI-compatible server: http://host:port/v1", NULL },  \
    { "name",    TN_OPT_STR,  offsetof(type, j.name),    NULL,  0, 0,    "",        "the model's name there", NULL },                                     \
    { "key_env", TN_OPT_STR,  offsetof(type, j.key_env), NULL,  0, 0,    "",        "environment variable that holds the server's key", NULL },            \
    { "votes",   TN_OPT_INT,  offsetof(type, j.votes),   "0",   0, 99,   "",        "sampled replies counted a question; 0: its log-probabilities", NULL }, \
    { "timeout", TN_OPT_REAL, offsetof(type, j.timeout), "120", 1, 3600, "seconds", "for one reply", NULL }
// clang-format on

#endif
