/* The provider of the benchmark: a server that costs almost nothing. One thread, loopback only.
 *
 *     mock PORT [FOLDER]
 *
 * It speaks OpenAI's API, or whatever FOLDER holds (written by vendors.py): a whole answer (`whole`), the head of a
 * stream (`head`) and its pieces (`events`, each behind its length as ten digits).
 * It answers each POST at once: with JSON, or, when the body holds "stream":true or the path "tream", with 100 events,
 * a usage event and the end mark. They come in one write, or 10 ms apart when the body holds "@sparse@". Each GET gets
 * the list of its models, which some gateways ask for. Built by cache.py, started by targets.py. Bodies must have a Content-Length; one
 * request is answered after the other. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 102, MOST_EVENTS = 256, READY = 256, REQUEST_BYTES = 1 << 17, PAUSE_NS = 10000000 };

struct text {
    char *bytes;
    size_t length;
};

struct connection {
    int fd;
    int event;      /* the next event of a sparse stream; -1: none is under way */
    long long due;  /* when it is sent */
    int closed;     /* freed when it leaves the queue */
    struct connection *next;
    size_t filled;
    char request[REQUEST_BYTES];
};

static struct text json_answer, models_answer, stream_head, burst_answer, events[MOST_EVENTS];
static int event_count = EVENTS;
static struct connection *first_due, *last_due; /* all pauses are equal, so that a plain queue is in order */
static int poller;

static const char HEADERS[] =
    "date: Sun, 22 Nov 2026 14:00:00 GMT\r\nopenai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\n"
    "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-request-id: req_5d1f0c0e7a6b\r\n";

static const char COMPLETION[] =
    "{\"id\":\"chatcmpl-BnH2rT9sWq4vY7xK1mZ3pL8cD5fG6\",\"object\":\"chat.completion\",\"created\":1763812345,"
    "\"model\":\"provider-model\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
    "\"The capital of France is Paris. It lies on the river Seine in the north of the country and has been the seat of "
    "government for most of the time since the Middle Ages. \\\"Paris\\\" is named after the Parisii.\","
    "\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":"
    "213,\"completion_tokens\":47,\"total_tokens\":260,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":"
    "0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}},\"service_tier\":\"default\"}";

static const char MODELS[] = "{\"object\":\"list\",\"data\":[{\"id\":\"provider-model\",\"object\":\"model\",\"created\":0,"
                             "\"owned_by\":\"mock\"}]}";

static const char EVENT_START[] =
    "data: {\"id\":\"chatcmpl-BnH2rT9sWq4vY7xK1mZ3pL8cD5fG6\",\"object\":\"chat.completion.chunk\",\"created\":"
    "1763812345,\"model\":\"provider-model\",\"service_tier\":\"default\",";

static long long now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static struct text keep(const char *bytes, size_t length)
{
    struct text text = {malloc(length), length};
    memcpy(text.bytes, bytes, length);
    return text;
}

static struct text make_event(int number)
{
    char event[1024], chunk[1200];
    if (number < EVENTS - 2)
        sprintf(event, "%s\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tok%d\"},\"logprobs\":null,"
                "\"finish_reason\":null}],\"usage\":null}\n\n", EVENT_START, number);
    else if (number == EVENTS - 2)
        sprintf(event, "%s\"choices\":[],\"usage\":{\"prompt_tokens\":213,\"completion_tokens\":100,\"total_tokens\":"
                "313}}\n\n", EVENT_START);
    else
        strcpy(event, "data: [DONE]\n\n");
    const char *end = number == EVENTS - 1 ? "0\r\n\r\n" : "";
    int length = sprintf(chunk, "%zx\r\n%s\r\n%s", strlen(event), event, end);
    return keep(chunk, length);
}

static struct text make_json(const char *body)
{
    char text[4096];
    int length = sprintf(text, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n%s\r\n%s",
                         strlen(body), HEADERS, body);
    return keep(text, length);
}

static void make_answers(void)
{
    char text[EVENTS * 1200];
    json_answer = make_json(COMPLETION);
    models_answer = make_json(MODELS);
    int length = sprintf(text, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                     "transfer-encoding: chunked\r\ncache-control: no-cache\r\n%s\r\n", HEADERS);
    stream_head = keep(text, length);
    for (int number = 0; number < EVENTS; number++) {
        events[number] = make_event(number);
        memcpy(text + length, events[number].bytes, events[number].length);
        length += events[number].length;
    }
    burst_answer = keep(text, length);
}

static struct text read_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    struct text text = {malloc(ftell(file) + 1), ftell(file)};
    rewind(file);
    text.length = fread(text.bytes, 1, text.length, file);
    text.bytes[text.length] = 0;
    fclose(file);
    return text;
}

/* In place of OpenAI's answers, those that FOLDER holds. */
static void take_answers(const char *folder)
{
    json_answer = read_file(folder, "whole");
    stream_head = read_file(folder, "head");
    struct text all = read_file(folder, "events");
    burst_answer.bytes = malloc(stream_head.length + all.length);
    memcpy(burst_answer.bytes, stream_head.bytes, stream_head.length);
    burst_answer.length = stream_head.length;
    event_count = 0;
    for (size_t at = 0; at < all.length && event_count < MOST_EVENTS;) {
        char digits[11] = {0};
        memcpy(digits, all.bytes + at, 10);
        struct text event = keep(all.bytes + at + 10, atol(digits));
        memcpy(burst_answer.bytes + burst_answer.length, event.bytes, event.length);
        burst_answer.length += event.length;
        events[event_count++] = event;
        at += 10 + event.length;
    }
}

/* Blocks when the receiver is slow: it never is, because all targets read whatever comes. */
static int put(struct connection *connection, struct text text)
{
    while (text.length) {
        ssize_t sent = send(connection->fd, text.bytes, text.length, MSG_NOSIGNAL);
        if (sent <= 0)
            return -1;
        text.bytes += sent;
        text.length -= sent;
    }
    return 0;
}

static void enqueue(struct connection *connection, long long due)
{
    connection->due = due;
    connection->next = NULL;
    if (last_due)
        last_due->next = connection;
    else
        first_due = connection;
    last_due = connection;
}

static void close_connection(struct connection *connection)
{
    close(connection->fd);
    if (connection->event >= 0)
        connection->closed = 1;
    else
        free(connection);
}

/* The length of the first complete request; 0 when it is not complete, -1 when it cannot be understood. */
static long request_length(struct connection *connection, char **body)
{
    char *end = memmem(connection->request, connection->filled, "\r\n\r\n", 4);
    if (!end)
        return connection->filled == REQUEST_BYTES ? -1 : 0;
    *body = end + 4;
    *end = 0;
    char *length = strcasestr(connection->request, "\r\ncontent-length:");
    *end = '\r';
    long total = *body - connection->request + (length ? atol(length + 17) : 0);
    if (total > REQUEST_BYTES)
        return -1;
    return (size_t)total <= connection->filled ? total : 0;
}

static int answer(struct connection *connection)
{
    char *body;
    long length = connection->event >= 0 ? 0 : request_length(connection, &body);
    if (length <= 0)
        return length;
    size_t body_length = connection->request + length - body;
    int get = !memcmp(connection->request, "GET", 3);
    char *line = memchr(connection->request, '\n', length);
    int stream = memmem(body, body_length, "\"stream\":true", 13) || memmem(body, body_length, "\"stream\": true", 14)
                 || memmem(connection->request, line - connection->request, "tream", 5);
    int sparse = stream && memmem(body, body_length, "@sparse@", 8) != NULL;
    connection->filled -= length;
    memmove(connection->request, connection->request + length, connection->filled);
    if (!sparse)
        return put(connection, stream ? burst_answer : get ? models_answer : json_answer);
    connection->event = 0;
    enqueue(connection, now_ns() + PAUSE_NS);
    return put(connection, stream_head);
}

static void receive(struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->request + connection->filled,
                       REQUEST_BYTES - connection->filled, MSG_DONTWAIT);
    if (got > 0)
        connection->filled += got;
    if (got <= 0 || answer(connection) < 0)
        close_connection(connection);
}

static void send_due_events(void)
{
    long long now = now_ns();
    while (first_due && first_due->due <= now) {
        struct connection *connection = first_due;
        first_due = connection->next;
        if (!first_due)
            last_due = NULL;
        int number = connection->event;
        connection->event = number + 1 < event_count ? number + 1 : -1;
        if (connection->closed)
            free(connection);
        else if (put(connection, events[number]) < 0)
            close_connection(connection);
        else if (connection->event >= 0)
            enqueue(connection, connection->due + PAUSE_NS);
    }
}

static void watch(int fd, struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void accept_connection(int listener)
{
    int on = 1, fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *connection = calloc(1, sizeof *connection);
    connection->fd = fd;
    connection->event = -1;
    watch(fd, connection);
}

static int open_listener(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 4096)) {
        perror("mock: cannot listen");
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments)
{
    if (count != 2 && count != 3) {
        fprintf(stderr, "usage: mock PORT [FOLDER]\n");
        return 2;
    }
    make_answers();
    if (count == 3)
        take_answers(arguments[2]);
    poller = epoll_create1(0);
    int listener = open_listener(atoi(arguments[1]));
    watch(listener, NULL);
    struct epoll_event ready[READY];
    for (;;) {
        long long wait = first_due ? first_due->due - now_ns() : 0;
        struct timespec timeout = {0, wait > 0 ? wait : 0};
        int found = epoll_pwait2(poller, ready, READY, first_due ? &timeout : NULL, NULL);
        for (int index = 0; index < found; index++) {
            if (ready[index].data.ptr)
                receive(ready[index].data.ptr);
            else
                accept_connection(listener);
        }
        send_due_events();
    }
}
