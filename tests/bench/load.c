/* The load generator of the benchmark: a closed loop of callers with keep-alive connections, in one thread.
 *
 *     load PORT PATH BODYFILE TOKENFILE CALLERS WARM_SECONDS SECONDS CALLS PID...
 *
 * Each caller sends its next call when the last one is answered. Calls, events and the CPU time of the processes PID
 * are taken in the same window, after WARM_SECONDS, and come out as one JSON line. Warming up and window last until
 * CALLS calls are answered, too, but not much longer than PATIENCE_SECONDS: else a slow target would be judged by the few
 * calls that happen to end in the window. Started by rounds.py. Each line of
 * TOKENFILE is a bearer token; the callers take them in turn. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_TOKENS = 1024, READY = 256, HEAD_BYTES = 8192, READ_BYTES = 1 << 18, SLOTS = 1 << 22,
       FILE_BYTES = 1 << 22, PATIENCE_SECONDS = 20 };

/* Where the parser stands in an answer. */
enum state { HEAD, BODY, CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, TRAILER };

struct text {
    char *bytes;
    size_t length;
};

struct caller {
    int fd, busy, token;
    enum state state;
    int status, close;
    long long left; /* bytes of the body or of the chunk */
    int line;       /* bytes in the current line of the trailer */
    long long newlines;
    long long began;
    size_t head_length;
    char head[HEAD_BYTES + 1];
};

static struct {
    long long calls, failed, newlines;
    int first_failure; /* its status; 0: the connection broke */
} counted;

static struct text requests[MOST_TOKENS]; /* one per token */
static int tokens;
static float *latencies; /* in microseconds */
static int poller, port;
static volatile int counting;
static long long answered; /* in warming up or window, whatever the status */

static long long nanoseconds(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time))
        return -1;
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long now_ns(void)
{
    return nanoseconds(CLOCK_MONOTONIC);
}

/* The CPU time, of user and system, that the processes have used so far. */
static long long cpu_ns(char **pids, int count)
{
    long long total = 0;
    for (int index = 0; index < count; index++) {
        clockid_t clock;
        long long used = clock_getcpuclockid(atoi(pids[index]), &clock) ? -1 : nanoseconds(clock);
        if (used < 0) {
            fprintf(stderr, "load: process %s is gone\n", pids[index]);
            exit(1);
        }
        total += used;
    }
    return total;
}

static struct text read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(1);
    }
    struct text text = {calloc(1, FILE_BYTES + 1), 0};
    text.length = fread(text.bytes, 1, FILE_BYTES, file);
    fclose(file);
    return text;
}

static struct text make_request(const char *path, const char *token, struct text body)
{
    size_t room = strlen(path) + strlen(token) + 512;
    char *bytes = malloc(room + body.length);
    int length = snprintf(bytes, room,
                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\n"
                          "User-Agent: OpenAI/Python 2.0.0\r\nContent-Type: application/json\r\n"
                          "Authorization: Bearer %s\r\nX-Stainless-Lang: python\r\n"
                          "X-Stainless-Package-Version: 2.0.0\r\nContent-Length: %zu\r\n\r\n",
                          path, port, token, body.length);
    memcpy(bytes + length, body.bytes, body.length);
    return (struct text){bytes, length + body.length};
}

static void make_requests(const char *path, struct text body, struct text lines)
{
    for (char *token = strtok(lines.bytes, "\n"); token && tokens < MOST_TOKENS; token = strtok(NULL, "\n"))
        requests[tokens++] = make_request(path, token, body);
    if (!tokens) {
        fprintf(stderr, "load: there are no tokens\n");
        exit(1);
    }
}

static void dial(struct caller *caller)
{
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    caller->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(caller->fd, (void *)&address, sizeof address)) {
        perror("load: cannot connect");
        exit(1);
    }
    setsockopt(caller->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = caller};
    epoll_ctl(poller, EPOLL_CTL_ADD, caller->fd, &event);
}

static void call(struct caller *caller)
{
    struct text request = requests[caller->token];
    caller->busy = 1;
    caller->state = HEAD;
    caller->head_length = 0;
    caller->status = caller->close = 0;
    caller->began = now_ns();
    while (request.length) { /* a failure shows when the answer is awaited */
        ssize_t sent = send(caller->fd, request.bytes, request.length, MSG_NOSIGNAL);
        if (sent <= 0)
            break;
        request.bytes += sent;
        request.length -= sent;
    }
}

static void finish(struct caller *caller, int whole)
{
    caller->busy = 0;
    answered++;
    if (counting && whole && caller->status == 200) {
        latencies[counted.calls++ % SLOTS] = (now_ns() - caller->began) / 1e3f;
    } else if (!whole || caller->status != 200) {
        if (!counted.failed++)
            counted.first_failure = caller->status;
    }
    if (!whole || caller->close) {
        close(caller->fd);
        dial(caller);
    }
    call(caller);
}

static void understand_head(struct caller *caller)
{
    char *length = strcasestr(caller->head, "\r\ncontent-length:");
    caller->status = atoi(caller->head + 9);
    caller->close = strcasestr(caller->head, "\r\nconnection: close") != NULL;
    caller->line = 0;
    caller->left = length ? atoll(length + 17) : 0;
    caller->state = strcasestr(caller->head, "\r\ntransfer-encoding: chunked") ? CHUNK_SIZE : BODY;
}

/* Takes bytes of the head; returns how many belong to it. */
static size_t take_head(struct caller *caller, const char *bytes, size_t length)
{
    size_t before = caller->head_length, room = HEAD_BYTES - before;
    size_t taken = length < room ? length : room;
    memcpy(caller->head + before, bytes, taken);
    caller->head_length += taken;
    caller->head[caller->head_length] = 0;
    char *end = strstr(caller->head, "\r\n\r\n");
    if (!end)
        return room ? taken : length; /* a head that is too long is never understood: the call does not count */
    end[2] = 0;
    understand_head(caller);
    return end + 4 - caller->head - before;
}

/* Takes bytes of body or chunk; returns how many. */
static size_t take_data(struct caller *caller, const char *bytes, size_t length)
{
    size_t taken = (long long)length < caller->left ? length : (size_t)caller->left;
    for (const char *at = bytes; (at = memchr(at, '\n', bytes + taken - at)); at++)
        counted.newlines += counting;
    caller->left -= taken;
    return taken;
}

/* Takes one byte of the framing between chunks; returns 1 when it was the last of the answer. */
static int take_framing(struct caller *caller, char byte)
{
    switch (caller->state) {
    case CHUNK_SIZE:
        if (byte == ';')
            caller->state = CHUNK_EXTENSION;
        else if (byte == '\n')
            caller->state = caller->left ? CHUNK_DATA : TRAILER;
        else if (byte != '\r')
            caller->left = caller->left * 16 + (byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10);
        return 0;
    case CHUNK_EXTENSION:
        if (byte == '\n')
            caller->state = caller->left ? CHUNK_DATA : TRAILER;
        return 0;
    case CHUNK_END:
        if (byte == '\n')
            caller->state = CHUNK_SIZE;
        return 0;
    default: /* TRAILER: lines up to an empty one */
        if (byte == '\n' && !caller->line)
            return 1;
        if (byte != '\r')
            caller->line = byte == '\n' ? 0 : caller->line + 1;
        return 0;
    }
}

/* Takes what one read brought; returns 1 when the answer is complete. */
static int take(struct caller *caller, const char *bytes, size_t length)
{
    while (length) {
        size_t taken = 1;
        if (caller->state == HEAD) {
            taken = take_head(caller, bytes, length);
        } else if (caller->state == BODY || caller->state == CHUNK_DATA) {
            taken = take_data(caller, bytes, length);
            if (caller->state == CHUNK_DATA && !caller->left)
                caller->state = CHUNK_END;
        } else if (take_framing(caller, *bytes)) {
            return 1;
        }
        if (caller->state == BODY && !caller->left)
            return 1;
        bytes += taken;
        length -= taken;
    }
    return 0;
}

static void receive(struct caller *caller)
{
    static char bytes[READ_BYTES];
    ssize_t got = recv(caller->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0 && caller->busy) {
        finish(caller, 0);
    } else if (got <= 0) { /* idle: it has not begun yet */
        close(caller->fd);
        dial(caller);
    } else if (caller->busy && take(caller, bytes, got)) {
        finish(caller, 1);
    }
}

/* Handles what happens until `end`. */
static void serve_until(long long end)
{
    struct epoll_event ready[READY];
    for (long long wait; (wait = end - now_ns()) > 0;) {
        struct timespec timeout = {wait / 1000000000, wait % 1000000000};
        int found = epoll_pwait2(poller, ready, READY, &timeout, NULL);
        for (int index = 0; index < found; index++)
            receive(ready[index].data.ptr);
    }
}

/* Handles what happens for some seconds, and on until enough calls are answered. */
static void serve(long long began, double seconds, long long enough)
{
    answered = 0;
    serve_until(began + (long long)(seconds * 1e9));
    while (answered < enough && now_ns() < began + PATIENCE_SECONDS * 1000000000LL)
        serve_until(now_ns() + 50000000);
}

static int compare(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

static double quantile(double part)
{
    long long kept = counted.calls < SLOTS ? counted.calls : SLOTS;
    return kept ? latencies[(long long)(part * (kept - 1))] : 0;
}

int main(int count, char **arguments)
{
    if (count < 9) {
        fprintf(stderr, "usage: load PORT PATH BODYFILE TOKENFILE CALLERS WARM_SECONDS SECONDS CALLS PID...\n");
        return 2;
    }
    port = atoi(arguments[1]);
    int callers = atoi(arguments[5]);
    double warm = atof(arguments[6]), seconds = atof(arguments[7]);
    long long enough = atoll(arguments[8]);
    make_requests(arguments[2], read_file(arguments[3]), read_file(arguments[4]));
    latencies = malloc(SLOTS * sizeof *latencies);
    poller = epoll_create1(0);
    struct caller *all = calloc(callers, sizeof *all);
    for (int index = 0; index < callers; index++) {
        all[index].token = index % tokens;
        dial(&all[index]);
    }
    long long began = now_ns();
    for (int index = 0; index < callers; index++) { /* spread over half the warm-up, so that streams do not march in step */
        serve_until(began + (long long)(warm * 0.5e9 * index / callers));
        call(&all[index]);
    }
    serve(began, warm, enough);
    long long cpu = cpu_ns(arguments + 9, count - 9), start = now_ns();
    counting = 1;
    serve(start, seconds, enough);
    counting = 0;
    cpu = cpu_ns(arguments + 9, count - 9) - cpu;
    double took = (now_ns() - start) / 1e9;
    qsort(latencies, counted.calls < SLOTS ? counted.calls : SLOTS, sizeof *latencies, compare);
    printf("{\"calls\": %lld, \"failed\": %lld, \"first_failure\": %d, \"events\": %lld, \"seconds\": %.6f, "
           "\"cpu_seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           counted.calls, counted.failed, counted.first_failure, counted.newlines / 2, took, cpu / 1e9, quantile(0.5),
           quantile(0.99));
    return 0;
}
