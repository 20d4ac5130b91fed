/* banned.h - functions that never come back, as compile errors: the build puts this file in front of every
 * other (-include). The headers that declare them are taken in first; after the pragma their names cannot be
 * written.
 *
 *   overrun their buffer     strcpy strcat sprintf vsprintf gets stpcpy getwd scanf: tn_str, snprintf, memcpy
 *   cut without saying       strncpy strncat: tn_strndup, tn_str
 *   keep hidden state        strtok rand srand random drand48 lrand48 asctime ctime localtime gmtime: tn_rng,
 *                            strchr, the _r forms
 *   differ by libc           rand_r: tn_rng
 *   cannot tell an error     atoi atol atoll atof: tn_parse_i64, tn_parse_f64
 *   race or grow the stack   tmpnam tempnam mktemp alloca: tn_out, tn_store_temp, malloc
 *   start a shell            system popen: posix_spawn with an argument list
 *
 * tools/check-names reads the same names here and looks for them in the objects, where no spelling hides them
 * (a pointer to one of the words of the last part, an #undef). */
#ifndef TN_BASE_BANNED_H
#define TN_BASE_BANNED_H

#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#undef alloca
#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef stpcpy
#pragma GCC poison strcpy strcat sprintf vsprintf stpcpy strncpy strncat strtok                     getwd
#pragma GCC poison srand rand_r drand48                                                             lrand48
#pragma GCC poison asctime ctime localtime gmtime atoi atol atoll atof tmpnam tempnam mktemp alloca popen

/* Words that other headers use for their own things: only a call is an error. */
#define gets(a) tn_banned_gets
#define rand() tn_banned_rand
#define random() tn_banned_random
#define system(a) tn_banned_system
#define scanf(...) tn_banned_scanf

#endif
