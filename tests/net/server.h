/* server.h - a small HTTP server on the loopback for tests: one thread, one request a connection, a handler
 * that writes the answer itself, so that it can also be rude: cut off, stall, lie about lengths. */
#ifndef TN_TESTS_NET_SERVER_H
#define TN_TESTS_NET_SERVER_H

#include <stddef.h>
#include <stdint.h>

typedef struct request {
    char   method[8], path[512]; /* with its query */
    char   head[8192];           /* all header lines */
    char  *body;
    size_t n_body;
    long   from; /* of "Range: bytes=N-", or 0 */
} request;

typedef struct server server;
typedef void (*answer_fn)(void *arg, const request *r, int fd);

server *server_start(answer_fn answer, void *arg);
int     server_port(const server *s);
void    server_stop(server *s);

/* A whole answer; type may be NULL. */
void send_answer(int fd, int status, const char *headers, const void *body, size_t n);
void send_text(int fd, const char *text);
void send_bytes(int fd, const void *p, size_t n);

#endif
