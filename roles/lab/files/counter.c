/*
 * counter: a small stateful server to watch while it moves.
 * Copyright (c) 2026 the relocate project
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * usage: counter [PORT [MEGABYTES]]     (7000 and 8)
 *
 * Every line that a client sends is answered with the next number of that client's own connection: 1, 2, 3, … A client that
 * sees a gap or a repetition knows that something was lost or done twice. The server holds MEGABYTES of touched memory and
 * stamps one page of it with every answer, so that there is something to carry and something that changes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 4096, PAGE = 4096 };

struct connection {
    unsigned long owed;   /* lines received */
    unsigned long sent;   /* answers sent in full */
    unsigned offset;      /* bytes sent of the next answer */
};

static struct pollfd polls[CONNECTIONS + 1]; /* the first one listens */
static struct connection connections[CONNECTIONS + 1];
static unsigned used = 1;
static unsigned long *memory;
static size_t pages;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static unsigned long number(const char *text, const char *what, unsigned long most)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || *end || end == text || value > most) {
        fprintf(stderr, "counter: %s must be a whole number up to %lu, not '%s'\n", what, most, text);
        exit(2);
    }
    return value;
}

/* Every page gets contents of its own: pages of zeros would not be carried, equal ones could be merged. */
static void fill(size_t megabytes)
{
    pages = megabytes * (1 << 20) / PAGE;
    if (!pages)
        return;
    memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("counter: memory");
    unsigned long x = 88172645463325252UL; /* xorshift64 */
    for (size_t i = 0; i < pages * PAGE / sizeof *memory; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memory[i] = x;
    }
}

static int listening(unsigned short port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 512))
        die("counter: listen");
    return fd;
}

static void accept_one(void)
{
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    int fd = accept4(polls[0].fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (used > CONNECTIONS) {
        close(fd);
        return;
    }
    polls[used] = (struct pollfd){.fd = fd, .events = POLLIN};
    connections[used++] = (struct connection){0};
    char text[INET_ADDRSTRLEN];
    printf("accepted %s:%u, %u open\n", inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text), ntohs(peer.sin_port), used - 1);
}

/* Returns 0 when the connection is over. */
static int receive(unsigned i)
{
    char buffer[65536];
    ssize_t n = read(polls[i].fd, buffer, sizeof buffer);
    if (n == 0)
        return 0;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    for (ssize_t k = 0; k < n; k++)
        connections[i].owed += buffer[k] == '\n';
    return 1;
}

/* Sends what is owed, as far as the socket takes it. Nothing is buffered: the numbers tell what is still to come. */
static int answer(unsigned i)
{
    struct connection *c = &connections[i];
    while (c->sent < c->owed) {
        char text[32];
        int length = snprintf(text, sizeof text, "%lu\n", c->sent + 1);
        ssize_t n = send(polls[i].fd, text + c->offset, length - c->offset, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0)
            return 0;
        c->offset += n;
        if (c->offset == (unsigned)length) {
            c->offset = 0;
            c->sent++;
            if (pages)
                memory[c->sent % pages * (PAGE / sizeof *memory)] = c->sent;
        }
    }
    polls[i].events = POLLIN | (c->sent < c->owed ? POLLOUT : 0);
    return 1;
}

static void drop(unsigned i)
{
    close(polls[i].fd);
    used--;
    polls[i] = polls[used];
    connections[i] = connections[used];
}

int main(int argc, char **argv)
{
    unsigned short port = argc > 1 ? number(argv[1], "PORT", 65535) : 7000;
    fill(argc > 2 ? number(argv[2], "MEGABYTES", 65536) : 8);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, _exit); /* as process 1 of a container, the default would be to ignore it */
    signal(SIGINT, _exit);
    polls[0] = (struct pollfd){.fd = listening(port), .events = POLLIN};
    printf("listening on %u with %zu MB\n", port, pages * PAGE >> 20);
    for (;;) {
        if (poll(polls, used, -1) < 0 && errno != EINTR)
            die("counter: poll");
        if (polls[0].revents)
            accept_one();
        /* backwards: drop() puts the last one, already seen to, in the place of the one that goes */
        for (unsigned i = used; --i > 0;)
            if (polls[i].revents && (!receive(i) || !answer(i)))
                drop(i);
    }
}
