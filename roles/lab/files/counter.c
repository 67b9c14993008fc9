/*
 * counter: a small stateful server to watch while it moves.
 * Copyright (c) 2026 the relocate project
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * usage: counter [-6] [-u SOCKET CONNECTIONS] [PORT [MEGABYTES [DIRECTORY MEGABYTES RATE]]]
 *        (7000 and 8; with -6 both families on one socket, as many servers do it)
 *
 * Every line that a client sends is answered with the next number of that client's own connection: 1, 2, 3, … A client that
 * sees a gap or a repetition knows that something was lost or done twice. The same port answers datagrams: each with the next
 * number of the address and port it came from. The server holds MEGABYTES of touched memory and
 * stamps one page of it with every answer, so that there is something to carry and something that changes. A line with a 'v' in it
 * is answered when all of the memory was found to be as it was made, but for the stamps; if it is not, the server says so and ends.
 *
 * With a DIRECTORY, it keeps so many MEGABYTES of files there, and a child writes them anew, round and round, RATE megabytes a
 * second. Each block is read before it is written over: if it is not what was written there a round ago, the server ends, too.
 * With 0 MEGABYTES, the child has the same work, and writes none of it: what remains between both is the files.
 *
 * With -u, a child has so many connections to it, through a unix socket with that path.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, BLOCKS_OF_A_FILE = 16 };
enum { CONNECTIONS = 4096, PEERS = 256, PAGE = 4096, WORDS = PAGE / sizeof(long), STREAM = 0, DATAGRAM = 1, FIRST = 2 };

static const unsigned long SEED = 88172645463325252UL;

struct connection {
    unsigned long owed;   /* lines received */
    unsigned long sent;   /* answers sent in full */
    unsigned offset;      /* bytes sent of the next answer */
};

struct peer {             /* of datagrams */
    struct sockaddr_storage address;
    socklen_t size;
    unsigned long sent;
};

static struct pollfd polls[FIRST + CONNECTIONS]; /* the first one listens, the second one takes datagrams */
static struct connection connections[FIRST + CONNECTIONS];
static unsigned used = FIRST;
static struct peer peers[PEERS];
static unsigned known; /* peers seen; the oldest is forgotten for a new one */
static unsigned long *memory;
static size_t pages;
static unsigned long *wanted, *found; /* a block of the volume each */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static unsigned long number(const char *text, const char *what, unsigned long least, unsigned long most)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || *end || end == text || value < least || value > most) {
        fprintf(stderr, "counter: %s must be a whole number from %lu to %lu, not '%s'\n", what, least, most, text);
        exit(2);
    }
    return value;
}

static unsigned long after(unsigned long x) /* xorshift64 */
{
    x ^= x << 13;
    x ^= x >> 7;
    return x ^ x << 17;
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
    unsigned long x = SEED;
    for (size_t i = 0; i < pages * WORDS; i++)
        memory[i] = x = after(x);
}

/* A page that was lost, left out or mixed up on a journey would show. */
static void verify(void)
{
    unsigned long x = SEED;
    for (size_t i = 0; i < pages * WORDS; i++) {
        x = after(x);
        int stamped = i % WORDS == 0 && memory[i] && memory[i] % pages == i / WORDS;
        if (memory[i] != x && !stamped) {
            printf("page %zu of %zu is wrong\n", i / WORDS, pages);
            exit(3);
        }
    }
}

/* A block of the volume has contents of its own in every round. */
static void make_block(unsigned long *block, size_t number, unsigned long round)
{
    unsigned long x = SEED + number * 1000003 + round;
    for (size_t i = 0; i < BLOCK / sizeof(long); i++)
        block[i] = x = after(x);
}

/* Reads the block as the round before has left it (there is nothing to read in round 0), and writes it. */
static void renew(const char *directory, size_t number, unsigned long round)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%zu", directory, number / BLOCKS_OF_A_FILE);
    off_t place = (off_t)(number % BLOCKS_OF_A_FILE) * BLOCK;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    if (round) {
        make_block(wanted, number, round - 1);
        if (pread(fd, found, BLOCK, place) != BLOCK || memcmp(found, wanted, BLOCK)) {
            printf("block %zu of the volume is wrong\n", number);
            exit(4);
        }
    }
    make_block(wanted, number, round);
    if (pwrite(fd, wanted, BLOCK, place) != BLOCK || close(fd))
        die(path);
}

static void volume_is_wrong(int signal)
{
    (void)signal;
    _exit(4);
}

/* Returns 0 in a child, which ends with its parent. */
static pid_t with_child(void)
{
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        die("counter: fork");
    if (child)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        exit(0);
    return 0;
}

static int unix_socket(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || (at && connect(fd, (const struct sockaddr *)at, sizeof *at)))
        die("counter: unix socket");
    return fd;
}

/* Has a child that is connected so many times; neither of both says anything. */
static void join_child(const char *path, unsigned long count)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    int listening = unix_socket(NULL);
    unlink(at.sun_path);
    if (bind(listening, (struct sockaddr *)&at, sizeof at) || listen(listening, 128))
        die("counter: /counter");
    if (!with_child()) {
        close(listening);
        while (count--)
            unix_socket(&at);
        for (;;)
            pause();
    }
    while (count--)
        if (accept4(listening, NULL, NULL, SOCK_CLOEXEC) < 0)
            die("counter: accept");
}

/* Fills the volume, and leaves the rounds that follow to a child, whose end is the server's end. */
static void keep_volume(const char *directory, size_t blocks, unsigned long rate)
{
    wanted = malloc(BLOCK);
    found = malloc(BLOCK);
    if (!wanted || !found)
        die("counter: blocks");
    for (size_t i = 0; i < blocks; i++)
        renew(directory, i, 0);
    signal(SIGCHLD, volume_is_wrong);
    if (with_child())
        return;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (unsigned long done = blocks;; done++) {
        if (blocks)
            renew(directory, done % blocks, done / blocks);
        else
            make_block(wanted, done, 0);
        next.tv_nsec += 1000000000L / rate;
        next.tv_sec += next.tv_nsec / 1000000000L;
        next.tv_nsec %= 1000000000L;
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR)
            ;
    }
}

static int bound(int family, int kind, unsigned short port)
{
    int fd = socket(family, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, off = 0;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off)) ||
        bind(fd, address, family == AF_INET ? sizeof four : sizeof six) || (kind == SOCK_STREAM && listen(fd, 512)))
        die("counter: listen");
    return fd;
}

static void accept_one(void)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int fd = accept4(polls[STREAM].fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (used >= FIRST + CONNECTIONS) {
        close(fd);
        return;
    }
    polls[used] = (struct pollfd){.fd = fd, .events = POLLIN};
    connections[used++] = (struct connection){0};
    char text[INET6_ADDRSTRLEN];
    const struct sockaddr_in *four = (struct sockaddr_in *)&peer;
    const struct sockaddr_in6 *six = (struct sockaddr_in6 *)&peer;
    const void *address = peer.ss_family == AF_INET ? (const void *)&four->sin_addr : (const void *)&six->sin6_addr;
    unsigned port = ntohs(peer.ss_family == AF_INET ? four->sin_port : six->sin6_port);
    printf("accepted %s:%u, %u open\n", inet_ntop(peer.ss_family, address, text, sizeof text), port, used - FIRST);
}

static void stamp(unsigned long number)
{
    if (pages)
        memory[number % pages * WORDS] = number;
}

static struct peer *peer_at(const struct sockaddr_storage *address, socklen_t size)
{
    for (unsigned i = 0; i < PEERS && i < known; i++)
        if (peers[i].size == size && !memcmp(&peers[i].address, address, size))
            return &peers[i];
    struct peer *new = &peers[known++ % PEERS];
    *new = (struct peer){.address = *address, .size = size};
    return new;
}

static void answer_datagrams(void)
{
    char buffer[65536];
    struct sockaddr_storage from = {0};
    socklen_t size = sizeof from;
    while (recvfrom(polls[DATAGRAM].fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &size) >= 0) {
        struct peer *peer = peer_at(&from, size);
        int length = snprintf(buffer, sizeof buffer, "%lu\n", ++peer->sent);
        sendto(polls[DATAGRAM].fd, buffer, length, 0, (struct sockaddr *)&from, size);
        stamp(peer->sent);
        size = sizeof from;
    }
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
    if (memchr(buffer, 'v', n))
        verify();
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
            stamp(c->sent);
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
    int family = argc > 1 && !strcmp(argv[1], "-6") ? AF_INET6 : AF_INET;
    if (family == AF_INET6)
        argc--, argv++;
    if (argc > 3 && !strcmp(argv[1], "-u")) {
        join_child(argv[2], number(argv[3], "CONNECTIONS", 0, 1000));
        argc -= 3, argv += 3;
    }
    unsigned short port = argc > 1 ? number(argv[1], "PORT", 0, 65535) : 7000;
    size_t megabytes = argc > 2 ? number(argv[2], "MEGABYTES", 0, 65536) : 8;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 3 && argc != 6) {
        fprintf(stderr, "counter: DIRECTORY, MEGABYTES and RATE belong together\n");
        return 2;
    }
    if (argc == 6) /* before there is memory: the child needs none of it */
        keep_volume(argv[3], number(argv[4], "MEGABYTES", 0, 65536), number(argv[5], "RATE", 1, 1000));
    fill(megabytes);
    signal(SIGTERM, _exit); /* as process 1 of a container, the default would be to ignore it */
    signal(SIGINT, _exit);
    polls[STREAM] = (struct pollfd){.fd = bound(family, SOCK_STREAM, port), .events = POLLIN};
    polls[DATAGRAM] = (struct pollfd){.fd = bound(family, SOCK_DGRAM, port), .events = POLLIN};
    printf("listening on %u with %zu MB\n", port, pages * PAGE >> 20);
    for (;;) {
        if (poll(polls, used, -1) < 0 && errno != EINTR)
            die("counter: poll");
        if (polls[STREAM].revents)
            accept_one();
        if (polls[DATAGRAM].revents)
            answer_datagrams();
        /* backwards: drop() puts the last one, already seen to, in the place of the one that goes */
        for (unsigned i = used; --i >= FIRST;)
            if (polls[i].revents && (!receive(i) || !answer(i)))
                drop(i);
    }
}
