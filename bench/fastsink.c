/*
 * An SMTP server that takes every message and keeps none, fast enough not to be the bottleneck of what is measured.
 *
 *     fastsink PORT [DELAY_MS] [LOG]
 *
 * Answers wait for DELAY_MS. LOG gets a line "recipient seconds" for each recipient of a message that is accepted,
 * before the answer is written: whoever has read the answer finds the line. SIGTERM ends it, with a line of JSON on
 * stderr; so does the end of its parent. bench/slowsink.py does the same where there is no C compiler.
 *
 * Linux only. One thread: epoll tells which connections can be read, a list holds the answers that wait.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define END "\r\n.\r\n" /* of a message's content */

enum { END_SIZE = 5, TAIL_SIZE = END_SIZE - 1, LINE_SIZE = 4096, READ_SIZE = 1 << 18, EVENTS = 256, FILES = 1 << 16 };

struct connection {
    int fd;     /* -1: closed, while answers still wait */
    int waits;  /* how many entries of the list point here */
    bool in_content, is_leaving, is_full;
    char tail[TAIL_SIZE];              /* the last bytes of the content: a read may cut its end in two */
    char line[LINE_SIZE];              /* a command's beginning, while its end has not come */
    char recipients[LINE_SIZE];        /* of this message, each with a newline */
    size_t line_size, recipients_size;
    char *answers;                     /* all that was said since everything was written */
    size_t written, due, queued, size, capacity;  /* each at most the next */
};

/* At `time`, `size` more bytes of a connection's answers are due. */
struct wait {
    struct wait *next;
    struct connection *connection;
    double time;
    size_t size;
};

static struct wait *first, *last;  /* all wait equally long: first in, first out */
static volatile sig_atomic_t is_over;
static int epoll_fd, log_fd = -1;
static double delay_seconds;
static long messages, bytes, connections;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *grow(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (memory == NULL) fail("realloc");
    return memory;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- answers ---- */

static void drop(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    if (c->waits > 0) return;  /* the last of them comes back here */
    free(c->answers);
    free(c);
}

/* Ask epoll to tell when a full socket takes more, and no longer when it did. */
static void set_full(struct connection *c, bool is_full) {
    if (c->is_full == is_full) return;
    c->is_full = is_full;
    struct epoll_event event = {.events = is_full ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* Write what is due. Frees the connection if it is broken, or has had its answer to QUIT. */
static void write_due(struct connection *c) {
    while (c->written < c->due) {
        ssize_t size = write(c->fd, c->answers + c->written, c->due - c->written);
        if (size < 0 && errno == EAGAIN) {
            set_full(c, true);
            return;
        }
        if (size < 0) {
            drop(c);
            return;
        }
        c->written += (size_t)size;
    }
    set_full(c, false);
    if (c->written < c->size) return;
    /* Comes soon enough for the answers to stay few: no client goes on before it has the answer to DATA. */
    c->written = c->due = c->queued = c->size = 0;
    if (c->is_leaving) drop(c);
}

static void say(struct connection *c, const char *answer) {
    size_t size = strlen(answer);
    if (c->size + size > c->capacity) {
        c->capacity = 2 * (c->size + size);
        c->answers = grow(c->answers, c->capacity);
    }
    memcpy(c->answers + c->size, answer, size);
    c->size += size;
}

/* Write what was said, now or after the delay. May free the connection. */
static void send_said(struct connection *c) {
    size_t size = c->size - c->queued;
    if (size == 0) return;
    c->queued = c->size;
    if (delay_seconds == 0) {
        c->due = c->size;
        write_due(c);
        return;
    }
    struct wait *wait = grow(NULL, sizeof *wait);
    *wait = (struct wait){.connection = c, .time = seconds(CLOCK_MONOTONIC) + delay_seconds, .size = size};
    last = *(first == NULL ? &first : &last->next) = wait;
    c->waits++;
}

static void send_waiting(void) {
    double now = first == NULL ? 0 : seconds(CLOCK_MONOTONIC);
    while (first != NULL && first->time <= now) {
        struct wait *wait = first;
        struct connection *c = wait->connection;
        first = wait->next;
        c->waits--;
        c->due += wait->size;
        free(wait);
        if (c->fd < 0)
            drop(c);
        else
            write_due(c);
    }
}

static int milliseconds_to_wait(void) {
    if (first == NULL) return 1000;
    double left = first->time - seconds(CLOCK_MONOTONIC);
    return left <= 0 ? 0 : (int)(left * 1e3) + 1;  /* rounded down, the last millisecond would be a busy loop */
}

/* ---- SMTP ---- */

static void add_recipient(struct connection *c, const char *line, size_t size) {
    const char *begin = memchr(line, '<', size);
    const char *end = begin == NULL ? NULL : memchr(begin, '>', size - (size_t)(begin - line));
    if (end == NULL) {
        say(c, "501 5.1.3 An address stands between < and >\r\n");
        return;
    }
    size_t length = (size_t)(end - begin) - 1;
    if (c->recipients_size + length + 1 > sizeof c->recipients) {
        say(c, "452 4.5.3 Too many recipients\r\n");
        return;
    }
    memcpy(c->recipients + c->recipients_size, begin + 1, length);
    c->recipients_size += length;
    c->recipients[c->recipients_size++] = '\n';
    say(c, "250 2.1.5 Ok\r\n");
}

static void log_recipients(struct connection *c) {
    double now = seconds(CLOCK_REALTIME);
    char *end = c->recipients + c->recipients_size;
    for (char *one = c->recipients, *newline; one < end; one = newline + 1) {
        newline = memchr(one, '\n', (size_t)(end - one));
        if (dprintf(log_fd, "%.*s %.3f\n", (int)(newline - one), one, now) < 0) fail("log");
    }
}

static bool is_command(const char *line, size_t size, const char *name) {
    return size >= 4 && strncasecmp(line, name, 4) == 0;
}

static void answer(struct connection *c, const char *line, size_t size) {
    if (is_command(line, size, "RCPT")) {
        add_recipient(c, line, size);
    } else if (is_command(line, size, "MAIL")) {
        c->recipients_size = 0;
        say(c, "250 2.1.0 Ok\r\n");
    } else if (is_command(line, size, "DATA")) {
        c->in_content = true;
        memcpy(c->tail, "\0\0\r\n", TAIL_SIZE);  /* the content may be nothing but its dot */
        say(c, "354 End data with <CR><LF>.<CR><LF>\r\n");
    } else if (is_command(line, size, "EHLO")) {
        say(c, "250-fastsink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 20000000\r\n");
    } else if (is_command(line, size, "QUIT")) {
        c->is_leaving = true;
        say(c, "221 2.0.0 Bye\r\n");
    } else {
        say(c, "250 2.0.0 Ok\r\n");
    }
}

/* Return how many bytes belong to a command, answered if it is complete. */
static size_t take_command(struct connection *c, const char *data, size_t size) {
    const char *newline = memchr(data, '\n', size);
    size_t used = newline == NULL ? size : (size_t)(newline - data) + 1;
    size_t kept = used < LINE_SIZE - c->line_size ? used : LINE_SIZE - c->line_size;  /* nothing looks further */
    memcpy(c->line + c->line_size, data, kept);
    c->line_size += kept;
    if (newline == NULL) return used;
    answer(c, c->line, c->line_size);
    c->line_size = 0;
    return used;
}

/* Return how many bytes there are up to the end of the content, or 0 if it does not end here. */
static size_t size_to_end(const struct connection *c, const char *data, size_t size) {
    char seam[2 * TAIL_SIZE];
    size_t more = size < TAIL_SIZE ? size : TAIL_SIZE;
    memcpy(seam, c->tail, TAIL_SIZE);
    memcpy(seam + TAIL_SIZE, data, more);
    const char *found = memmem(seam, TAIL_SIZE + more, END, END_SIZE);
    if (found != NULL) return (size_t)(found - seam) + END_SIZE - TAIL_SIZE;
    found = memmem(data, size, END, END_SIZE);
    return found == NULL ? 0 : (size_t)(found - data) + END_SIZE;
}

/* Return how many bytes belong to the content; its end is logged, then answered. */
static size_t take_content(struct connection *c, const char *data, size_t size) {
    size_t used = size_to_end(c, data, size);
    if (used == 0) {
        size_t kept = size < TAIL_SIZE ? size : TAIL_SIZE;
        memmove(c->tail, c->tail + kept, TAIL_SIZE - kept);
        memcpy(c->tail + TAIL_SIZE - kept, data + size - kept, kept);
        return size;
    }
    messages++;
    if (log_fd >= 0) log_recipients(c);
    c->in_content = false;
    say(c, "250 2.0.0 Ok: queued\r\n");
    return used;
}

/* Take what a client sends: any part of a command or of content, or many of them (PIPELINING). */
static void receive(struct connection *c) {
    static char data[READ_SIZE];
    ssize_t size = read(c->fd, data, sizeof data);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        drop(c);
        return;
    }
    bytes += size;
    for (char *one = data, *end = data + size; one < end && !c->is_leaving;)
        one += c->in_content ? take_content(c, one, (size_t)(end - one)) : take_command(c, one, (size_t)(end - one));
    send_said(c);
}

/* ---- sockets ---- */

static void watch(int fd, struct connection *c) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0) fail("listen");
    return fd;
}

static void welcome(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = grow(NULL, sizeof *c);
        *c = (struct connection){.fd = fd};
        connections++;
        watch(fd, c);
        say(c, "220 fastsink ESMTP\r\n");
        send_said(c);
    }
}

static void serve(int listener) {
    struct epoll_event events[EVENTS];
    watch(listener, NULL);
    while (!is_over) {
        int count = epoll_wait(epoll_fd, events, EVENTS, milliseconds_to_wait());
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL)
                welcome(listener);
            else if (events[i].events & EPOLLOUT)
                write_due(c);  /* what there is to read is told again */
            else
                receive(c);
        }
        send_waiting();  /* last: it may free connections that events point to */
    }
}

static void stop(int number) {
    (void)number;
    is_over = 1;
}

static void prepare_process(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

int main(int count, char **arguments) {
    if (count < 2 || count > 4) {
        fprintf(stderr, "Usage: %s PORT [DELAY_MS] [LOG]\n", arguments[0]);
        return 2;
    }
    if (count > 2) delay_seconds = atoi(arguments[2]) * 1e-3;
    if (count > 3 && (log_fd = open(arguments[3], O_WRONLY | O_CREAT | O_APPEND, 0600)) < 0) fail(arguments[3]);
    prepare_process();
    epoll_fd = epoll_create1(0);
    serve(listen_on(atoi(arguments[1])));
    fprintf(stderr, "{\"msgs\":%ld,\"bytes\":%ld,\"conns\":%ld}\n", messages, bytes, connections);
    return 0;
}
