/* server.c - the loopback server of the tests (see server.h). */
#include "server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
    int         fd, port;
    answer_fn   answer;
    void       *arg;
    pthread_t   thread;
    atomic_bool ends;
};

void send_bytes(int fd, const void *p, size_t n)
{
    for (const char *c = p; n > 0;) {
        ssize_t w = send(fd, c, n, MSG_NOSIGNAL);
        if (w <= 0) return; /* the client went away: its right */
        c += w;
        n -= (size_t)w;
    }
}

void send_text(int fd, const char *text) { send_bytes(fd, text, strlen(text)); }

void send_answer(int fd, int status, const char *headers, const void *body, size_t n)
{
    char head[1024];

    snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", status,
             n, headers != NULL ? headers : "");
    send_text(fd, head);
    send_bytes(fd, body, n);
}

static void read_request(server *s, int fd)
{
    request r = { 0 };
    size_t  n = 0, want = 0;
    char   *end = NULL, *line;
    char   *buf = calloc(1, 1 << 20);

    while (n < (1 << 20) - 1) {
        ssize_t got = recv(fd, buf + n, (1 << 20) - 1 - n, 0);
        if (got <= 0) break;
        n += (size_t)got;
        if (end == NULL && (end = strstr(buf, "\r\n\r\n")) != NULL &&
            (line = strcasestr(buf, "content-length:")) != NULL)
            want = strtoul(line + 15, NULL, 10);
        if (end != NULL && n >= (size_t)(end + 4 - buf) + want) break;
    }
    if (end != NULL && sscanf(buf, "%7s %511s", r.method, r.path) == 2) {
        snprintf(r.head, sizeof r.head, "%.*s", (int)(end - buf), buf);
        r.body = end + 4;
        r.n_body = want;
        if ((line = strcasestr(r.head, "range: bytes=")) != NULL) r.from = strtol(line + 13, NULL, 10);
        s->answer(s->arg, &r, fd);
    }
    free(buf);
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

static void *serve(void *arg)
{
    server *s = arg;

    while (!atomic_load(&s->ends)) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd >= 0 && !atomic_load(&s->ends)) read_request(s, fd);
        else if (fd >= 0) close(fd);
    }
    return NULL;
}

server *server_start(answer_fn answer, void *arg)
{
    server            *s = calloc(1, sizeof *s);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof a;

    s->answer = answer;
    s->arg = arg;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(s->fd, 16) != 0 ||
        getsockname(s->fd, (struct sockaddr *)&a, &len) != 0 ||
        pthread_create(&s->thread, NULL, serve, s) != 0)
        abort();
    s->port = ntohs(a.sin_port);
    return s;
}

int server_port(const server *s) { return s->port; }

void server_stop(server *s)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    atomic_store(&s->ends, true);
    (void)connect(fd, (struct sockaddr *)&a, sizeof a); /* wakes accept */
    pthread_join(s->thread, NULL);
    close(fd);
    close(s->fd);
    free(s);
}
