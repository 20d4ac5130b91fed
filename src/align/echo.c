/* echo.c - what a request asks for, turned round so that it can follow "I can't".
 *
 *   "How do I make a bomb at home?"            -> help you make a bomb at home
 *   "Give me a plan to follow my ex. Quickly." -> give you a plan to follow your ex
 *   "I want to hurt my boss. Where do I start" -> help you hurt your boss
 *
 * A refusal that names the request fits it, and no two are the same sentence: a model too small to write its
 * own reasons learns to repeat the asker's words, which it does well. Requests are told apart by how they
 * begin (one table); a request that begins in no known way, or whose words are too many to repeat, gives
 * NULL. */
#include "align/align.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 18, TEXT_MAX = 400 };

/* A beginning and what takes its place. */
typedef struct form {
    const char *begin, *instead;
} form;

// clang-format off
static const form forms[] = {
    { "how do i ", "help you " },            { "how can i ", "help you " },           { "how could i ", "help you " },
    { "how would i ", "help you " },         { "how should i ", "help you " },        { "how might i ", "help you " },
    { "how do we ", "help you " },           { "how can we ", "help you " },          { "how to ", "help you " },
    { "how do you ", "explain how to " },    { "how can you ", "explain how to " },   { "how would you ", "explain how to " },
    { "how do people ", "explain how to " }, { "how can someone ", "explain how to " }, { "how does one ", "explain how to " },
    { "how can one ", "explain how to " },   { "how could someone ", "explain how to " },
    { "where can i ", "help you " },         { "where do i ", "help you " },          { "where could i ", "help you " },
    { "where should i ", "help you decide where to " }, { "when should i ", "help you decide when to " },
    { "what should i ", "tell you what to " },  { "what can i ", "tell you what to " }, { "what do i ", "tell you what to " },
    { "who can i ", "tell you whom to " },   { "who should i ", "tell you whom to " },
    { "what is ", "help with " },            { "what's ", "help with " },             { "what are ", "help with " },
    { "can you please ", "" },               { "could you please ", "" },             { "would you please ", "" },
    { "can you ", "" },                      { "could you ", "" },                    { "would you ", "" },  { "will you ", "" },
    { "can i ", "help you " },               { "could i ", "help you " },             { "may i ", "help you " },
    { "should i ", "encourage you to " },    { "is it ok to ", "encourage you to " }, { "is it okay to ", "encourage you to " },
    { "i want to ", "help you " },           { "i need to ", "help you " },           { "i'd like to ", "help you " },
    { "i would like to ", "help you " },     { "i plan to ", "help you " },           { "i'm trying to ", "help you " },
    { "i am trying to ", "help you " },      { "i'm planning to ", "help you " },     { "i am planning to ", "help you " },
    { "i'm going to ", "help you " },        { "i am going to ", "help you " },       { "i intend to ", "help you " },
    { "i want you to ", "" },                { "i need you to ", "" },                { "i'd like you to ", "" },
    { "can u ", "" },                        { "how do u ", "explain how to " },      { "how can u ", "explain how to " },
    { "we want to ", "help you " },          { "we need to ", "help you " },          { "we plan to ", "help you " },
    { "we are planning to ", "help you " },  { "i wanna ", "help you " },             { "i'm looking to ", "help you " },
    { "why are ", "agree with that" },       { "why do ", "agree with that" },        { "why should ", "agree with that" },
    { "why is ", "agree with that" },        { "why can't ", "agree with that" },     { "is it true that ", "agree with that" },
    { "which ", "tell you which " },         { "what ", "tell you what " },           { "how many ", "tell you how many " },
    { "how much ", "tell you how much " },   { "how long ", "tell you how long " },   { "how big ", "tell you how big " },
    { "how often ", "tell you how often " }, { "how far ", "tell you how far " },
    { "i need ", "help with " },             { "i want ", "help with " },             { "help me ", "help you " },
    { "let's ", "help you " },               { "assist me in ", "help you with " },   { "assist me with ", "help you with " },
    { .begin = NULL }
};

/* Orders: the verb stays ("I can't write ..."). */
static const char *const verbs[] = {
    "write", "give", "tell", "explain", "describe", "draft", "create", "develop", "list", "show", "teach", "make", "design", "generate",
    "compose", "provide", "suggest", "invent", "recommend", "outline", "plan", "find", "prove", "convince", "argue", "produce", "share",
    "pretend", "walk", "instruct", "train", "build", "translate", "summarise", "summarize", "act", "name", "detail", "prepare", "come", "think",
    "put", "reveal", "track", "look", "post", "publish", "send", "say", "offer", "advise", "guide", "demonstrate", "imagine", "rewrite",
    "persuade", "forge", "fake", "hack", "code", "program", "script", "sketch", "turn", "add", "set", "organise", "organize", "pick", "rank",
    "choose", "recite", "sell", "get", "help", "do", "identify", "propose", "construct", "present", "lay", "print", "calculate", "work",
    "break", "spell", "record", "answer", "complete", "finish", "continue", "paraphrase", "brainstorm", "map", "tweet",
    "word", "talk", "sneak", "dig", "inject", "release", "crack", "scan", "swap", "photograph", "phrase", "steal", "spy", "check", "tap", "pull",
    "install", "invite", "announce", "insult", "mock", "roast", "impersonate", "play", "role-play", "become", "disguise", "bypass", "cook",
    "mix", "order", "buy", "rent", "hire", "message", "email", "call", "text", "threaten", "scare", "bully", "shame", "justify", "defend",
    "praise", "glorify", "promote", "support", "spread", "edit", "alter", "unlock", "open", "follow", "watch", "hide", "smuggle", "launder", NULL };

/* Fillers before a request. */
static const char *const fillers[] = { "please ", "hey ", "hey, ", "hi ", "hi, ", "hello, ", "ok ", "ok, ", "okay, ", "so ", "so, ", "yo ", "yo, ", "now ",
                                       "just ", "quick question: ", "and ", "then ", "also, ", "well, ", "honestly, ", "listen, ", NULL };

static const struct { const char *from, *to; } swaps[] = {
    { "i", "you" }, { "me", "you" }, { "my", "your" }, { "mine", "yours" }, { "myself", "yourself" }, { "i'm", "you're" }, { "i've", "you've" },
    { "i'd", "you'd" }, { "i'll", "you'll" }, { "am", "are" }, { "we", "you" }, { "us", "you" }, { "our", "your" }, { "ours", "yours" }, { NULL, NULL } };
// clang-format on

static char lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c); }

/* Does s begin with the words of `begin` (lower case)? The length of it, or 0. */
static size_t begins(const char *s, const char *begin)
{
    size_t n = strlen(begin);

    for (size_t i = 0; i < n; i++)
        if (lower(s[i]) != begin[i]) return 0;
    return n;
}

/* The length of the sentence at s: up to '.', '?' or '!' before a space or the end, or a line's end. */
static size_t sentence(const char *s)
{
    size_t n = 0;

    while (s[n] != '\0' && s[n] != '\n') {
        if ((s[n] == '.' || s[n] == '?' || s[n] == '!') &&
            (s[n + 1] == '\0' || s[n + 1] == ' ' || s[n + 1] == '\n'))
            break;
        n++;
    }
    return n;
}

static bool is_letter(char c) { return (lower(c) >= 'a' && lower(c) <= 'z') || c == '\''; }

/* Appends text with the asker's pronouns turned round. */
static void append_turned(tn_str *out, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t m = 0;

        while (i + m < n && is_letter(s[i + m])) m++;
        if (m == 0) {
            tn_str_add_char(out, s[i++]);
            continue;
        }
        const char *to = NULL;
        for (int k = 0; swaps[k].from != NULL && to == NULL; k++)
            if (strlen(swaps[k].from) == m && begins(s + i, swaps[k].from) == m) to = swaps[k].to;
        if (to != NULL) tn_str_add(out, to);
        else tn_str_add_n(out, s + i, m);
        i += m;
    }
}

/* The most of a long request that still reads well: up to a joint within WORD_MAX words; 0: none. */
static size_t shorten(const char *s, size_t n)
{
    static const char *const joints[] = { ", ",        " so that ", " so ",   " without ", " and ",
                                          " because ", " while ",   " that ", " who ",     " by ",
                                          " using ",   " for ",     " with ", NULL };
    size_t                   words = 0, best = 0;

    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ') words++;
        if (words >= WORD_MAX) return best;
        for (int k = 0; joints[k] != NULL && words >= 4; k++)
            if (i + strlen(joints[k]) < n && begins(s + i, joints[k]) > 0) best = i;
    }
    return n;
}

static size_t verb_at(const char *s)
{
    for (int k = 0; verbs[k] != NULL; k++) {
        size_t n = begins(s, verbs[k]);
        if (n > 0 && s[n] == ' ') return n;
    }
    return 0;
}

/* "which chemicals should I mix" -> "which chemicals to mix"; false: a question whose words would have to
 * change places. */
static bool question_turned(char *s, size_t n)
{
    // clang-format off
    static const struct { const char *from, *to; } joins[] = {
        { " should i ", " to " }, { " can i ", " to " }, { " could i ", " to " }, { " do i ", " to " }, { " would i ", " to " },
        { " can you ", " to " }, { " should you ", " to " }, { " do you ", " to " }, { " would you ", " to " }, { " could you ", " to " },
        { " does it take ", " it takes " }, { " would it take ", " it would take " } };
    // clang-format on
    static const char *const inverted[] = { " do ", " does ", " did ", " will ", " can ", " should " };

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof joins / sizeof *joins; k++) {
            size_t m = begins(s + i, joins[k].from), t = strlen(joins[k].to);
            if (m == 0) continue;
            memcpy(s + i, joins[k].to, t); /* never longer than what it takes the place of */
            memmove(s + i + t, s + i + m, n - i - m + 1);
            return true;
        }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof inverted / sizeof *inverted; k++)
            if (begins(s + i, inverted[k]) > 0) return false;
    return true;
}

/* One sentence as what follows "I can't"; -1: it begins in no known way. Else the form's number. */
static int turn_sentence(tn_str *out, const char *s, size_t n)
{
    for (bool again = true; again;) {
        again = false;
        for (int k = 0; fillers[k] != NULL && !again; k++) {
            size_t m = begins(s, fillers[k]);
            if (m > 0 && m < n) {
                s += m;
                n -= m;
                again = true;
            }
        }
    }
    while (n > 0 && strchr(" ,;:", s[n - 1]) != NULL) n--;
    if (n >= 8 && begins(s + n - 7, " please") > 0) n -= 7;
    while (n > 0 && strchr(" ,;:", s[n - 1]) != NULL) n--;
    for (int k = 0; forms[k].begin != NULL; k++) {
        size_t m = begins(s, forms[k].begin);
        if (m == 0 || m >= n) continue;
        size_t left = shorten(s + m, n - m);
        if (left == 0) return -1;
        const char *instead = forms[k].instead;
        /* the request itself is not repeated */
        if (instead[0] != '\0' && instead[strlen(instead) - 1] != ' ') {
            tn_str_add(out, instead);
            return k;
        }
        /* "can you help me X" and "I want you to help me X": the inner request is what counts */
        if (instead[0] == '\0' && begins(s + m, "help me ") > 0 && left > 8) {
            instead = "help you ";
            m += 8;
            left -= 8;
        }
        tn_str_add(out, instead);
        size_t first = out->len;
        append_turned(out, s + m, left);
        if (tn_starts_with(instead, "tell you wh") || tn_starts_with(instead, "tell you how ")) {
            if (!question_turned(out->p, out->len)) {
                tn_str_clear(out);
                return -1;
            }
            out->len = strlen(out->p);
        }
        if (instead[0] == '\0' && first < out->len) out->p[first] = lower(out->p[first]);
        return k;
    }
    if (verb_at(s) == 0) return -1;
    size_t left = shorten(s, n), first = out->len;
    if (left == 0) return -1;
    append_turned(out, s, left);
    out->p[first] = lower(out->p[first]);
    return 100 + lower(s[0]);
}

char *tn_request_echo(const char *request, int *form_out)
{
    tn_str out = { 0 };

    for (const char *s = request; *s != '\0' && s - request < TEXT_MAX;) {
        s += strspn(s, " \n.?!");
        size_t n = sentence(s);
        int    f = n > 0 && n < TEXT_MAX ? turn_sentence(&out, s, n) : -1;
        if (f >= 0) {
            if (form_out != NULL) *form_out = f;
            return tn_str_take(&out);
        }
        s += n;
    }
    tn_str_free(&out);
    return NULL;
}
