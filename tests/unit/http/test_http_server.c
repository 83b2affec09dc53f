/* The HTTP server over loopback sockets: a handler with one path per behaviour, and a client that sends raw bytes.
 * Nothing here measures time: waits end when what they wait for has happened, and give up after WAIT_MS. */
#include "http/http_query.h"
#include "http/http_server.h"
#include "http/sse.h"

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 120000, FLOOD_PIECE = 16 << 10, FLOOD_PIECES = 512 };

/* What the handler does, seen by the test's thread. Callbacks use assert: cmocka's checks belong to that thread. */
struct fixture {
  struct http_server *server;
  atomic_int n_handled, n_closed, n_finished, n_aborted, n_stopped, n_drained, last_status, n_loop_started,
      n_loop_stopped, n_refused[HTTP_REFUSALS];
  atomic_ullong last_id, work_id, bytes_in, bytes_out;
  int event_fd;                     /* wakes the first loop to answer last_id */
  pthread_mutex_t gate;             /* work waits while a test holds it */
  atomic_int n_worked, n_work_done; /* that have begun; whose argument was given back */
  char turns[16];                   /* of the works, in the order of their beginning */
  int n_flooded;
};

static bool on_loop_start(struct http_loop *loop, void *user, struct error *error);

static void on_loop_stop(struct http_loop *loop, void *user) {
  struct fixture *fixture = user;
  assert(http_loop_user(loop) == fixture);
  atomic_fetch_add(&fixture->n_loop_stopped, 1);
}

static size_t on_head(struct http_request *request, void *user) {
  (void)user;
  if (slice_is(request->head.path, "/missing")) http_respond_error(request, 404, NULL, "There is no such path.");
  return slice_is(request->head.path, "/tiny") ? 4 : LIMIT_BODY_BYTES;
}

static void flood(struct fixture *fixture, struct http_request *request) {
  static const uint8_t piece[FLOOD_PIECE];
  while (fixture->n_flooded < FLOOD_PIECES) {
    fixture->n_flooded++;
    enum http_flow flow = http_stream_write(request, slice_make(piece, sizeof piece));
    if (flow == HTTP_STOP) atomic_fetch_add(&fixture->n_stopped, 1);
    if (flow != HTTP_PROCEED) return;
  }
  http_stream_end(request);
}

static void stream_two(struct http_request *request) {
  struct buffer event;
  buffer_init(&event, 1024);
  http_stream_begin(request, 200, SSE_CONTENT_TYPE, NULL);
  sse_write_event(&event, slice_text("one"));
  http_stream_write(request, buffer_slice(&event));
  http_stream_write(request, slice_text(""));
  buffer_clear(&event);
  sse_write_event(&event, slice_text("two"));
  http_stream_write(request, buffer_slice(&event));
  http_stream_end(request);
  buffer_release(&event);
}

/* Of the path /turn/LETTER. */
struct turn_work {
  struct fixture *fixture;
  uint64_t id;
  char letter;
};

static void turn_run(void *argument) {
  struct turn_work *own = argument;
  struct fixture *fixture = own->fixture;
  fixture->turns[atomic_fetch_add(&fixture->n_worked, 1)] = own->letter;
  pthread_mutex_lock(&fixture->gate);
  pthread_mutex_unlock(&fixture->gate);
}

static void turn_done(struct http_loop *loop, void *argument) {
  struct turn_work *own = argument;
  struct http_request *request = http_find(loop, own->id);
  if (request) http_respond(request, 200, "text/plain", NULL, slice_text("in turn"));
  atomic_fetch_add(&own->fixture->n_work_done, 1);
  free(own);
}

static void turn_begin(struct fixture *fixture, struct http_request *request) {
  struct turn_work *own = malloc(sizeof *own);
  assert(own);
  *own = (struct turn_work){fixture, request->id, (char)request->head.path.data[6]};
  bool begun = http_request_work(request, own->letter, turn_run, turn_done, own);
  assert(begun), (void)begun;
}

static void work(void *argument) {
  struct fixture *fixture = argument;
  atomic_fetch_add(&fixture->n_worked, 1);
  pthread_mutex_lock(&fixture->gate);
  pthread_mutex_unlock(&fixture->gate);
}

static void work_done(struct http_loop *loop, void *argument) {
  struct fixture *fixture = argument;
  assert(http_loop_user(loop) == fixture);
  struct http_request *request = http_find(loop, atomic_load(&fixture->work_id));
  if (request) http_respond(request, 200, "text/plain", NULL, slice_text("worked"));
  atomic_fetch_add(&fixture->n_work_done, 1);
}

static void on_handle(struct http_request *request, void *user) {
  struct fixture *fixture = user;
  struct slice path = request->head.path;
  atomic_store(&fixture->last_id, request->id);
  if (slice_is(path, "/echo") || slice_is(path, "/tiny")) {
    http_respond(request, 200, "text/plain", NULL, request->body);
  } else if (slice_is(path, "/query")) {
    http_respond(request, 200, "text/plain", "X-Test: 1\r\n", request->head.query);
  } else if (slice_is(path, "/stream")) {
    stream_two(request);
  } else if (slice_is(path, "/flood")) {
    http_stream_begin(request, 200, "application/octet-stream", NULL);
    flood(fixture, request);
  } else if (slice_is(path, "/hang")) {
    http_stream_begin(request, 200, SSE_CONTENT_TYPE, NULL);
  } else if (slice_is(path, "/none")) {
    http_respond(request, 204, NULL, NULL, slice_text(""));
  } else if (slice_is(path, "/work")) {
    atomic_store(&fixture->work_id, request->id);
    bool begun = http_request_work(request, 0, work, work_done, fixture);
    assert(begun), (void)begun;
  } else if (path.size == 7 && memcmp(path.data, "/turn/", 6) == 0) {
    turn_begin(fixture, request);
  } else if (!slice_is(path, "/later")) {
    http_respond(request, 200, "text/plain", NULL, slice_text("hello"));
  }
  atomic_fetch_add(&fixture->n_handled, 1);
}

static void on_drain(struct http_request *request, void *user) {
  struct fixture *fixture = user;
  atomic_fetch_add(&fixture->n_drained, 1);
  flood(fixture, request);
}

static void on_close(struct http_request *request, void *user) {
  struct fixture *fixture = user;
  assert(!http_find(request->loop, request->id));
  assert(http_stream_write(request, slice_text("x")) == HTTP_GONE);
  atomic_fetch_add(&fixture->n_closed, 1);
}

static void on_finish(struct http_request *request, const struct http_summary *summary, void *user) {
  struct fixture *fixture = user;
  assert(request->id != 0);
  atomic_store(&fixture->last_status, summary->status);
  atomic_store(&fixture->bytes_in, summary->bytes_in);
  atomic_store(&fixture->bytes_out, summary->bytes_out);
  if (summary->aborted) atomic_fetch_add(&fixture->n_aborted, 1);
  atomic_fetch_add(&fixture->n_refused[summary->refusal], 1);
  atomic_fetch_add(&fixture->n_finished, 1);
}

static void on_event(struct http_loop *loop, void *argument) {
  struct fixture *fixture = argument;
  uint64_t count;
  if (read(fixture->event_fd, &count, sizeof count) != sizeof count) return;
  struct http_request *request = http_find(loop, atomic_load(&fixture->last_id));
  if (request) http_respond(request, 200, "text/plain", NULL, slice_text("late"));
}

static bool on_loop_start(struct http_loop *loop, void *user, struct error *error) {
  struct fixture *fixture = user;
  http_loop_set_user(loop, fixture);
  bool first = atomic_fetch_add(&fixture->n_loop_started, 1) == 0;
  return !first || http_loop_watch(loop, fixture->event_fd, on_event, fixture, error);
}

static const struct http_callbacks callbacks = {.loop_start = on_loop_start,
                                                .loop_stop = on_loop_stop,
                                                .head = on_head,
                                                .handle = on_handle,
                                                .drain = on_drain,
                                                .close = on_close,
                                                .finish = on_finish};

static void start(struct fixture *fixture, struct http_options options) {
  struct error error = {0};
  options.port = 0;
  *fixture = (struct fixture){.event_fd = eventfd(0, EFD_CLOEXEC), .gate = PTHREAD_MUTEX_INITIALIZER};
  fixture->server = http_server_open(&options, &callbacks, fixture, &error);
  if (!fixture->server) fail_msg("%s", error.text);
}

static void stop(struct fixture *fixture) {
  http_server_close(fixture->server);
  close(fixture->event_fd);
  assert_true(atomic_load(&fixture->n_loop_stopped) > 0);
}

/* Deadlines that no test meets: one that is to be met is a test's own. */
static struct http_options options_patient(void) {
  struct http_options options = http_options_default();
  options.head_ms = options.body_ms = options.keep_alive_ms = options.stall_ms = WAIT_MS;
  return options;
}

/* The client. */

static int dial(const struct fixture *fixture) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(fixture->server))};
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  return fd;
}

static void say(int fd, const char *text) {
  size_t size = strlen(text);
  while (size > 0) {
    ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
    assert_true(sent > 0);
    text += sent;
    size -= (size_t)sent;
  }
}

/* Reads what comes into text until it ends in tail (NULL: until the server closes). False: the other of the two came
 * first. */
static bool hear(int fd, char *text, size_t room, const char *tail) {
  size_t size = 0;
  text[0] = 0;
  while (true) {
    if (tail && size >= strlen(tail) && strcmp(text + size - strlen(tail), tail) == 0) return true;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, WAIT_MS) != 1) fail_msg("nothing more came after: %s", text);
    ssize_t got = recv(fd, text + size, room - 1 - size, 0);
    if (got <= 0) return tail == NULL;
    size += (size_t)got;
    text[size] = 0;
  }
}

/* One exchange on a fresh connection that the server closes. */
static void ask(const struct fixture *fixture, const char *request, char *answer, size_t room) {
  int fd = dial(fixture);
  say(fd, request);
  assert_true(hear(fd, answer, room, NULL));
  close(fd);
}

static void wait_for(atomic_int *value, int least) {
  for (int i = 0; i < WAIT_MS && atomic_load(value) < least; i++) usleep(1000);
  assert_true(atomic_load(value) >= least);
}

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

#define HOST "Host: test\r\n"
#define LAST "Host: test\r\nConnection: close\r\n"

static void test_keep_alive(void **state) {
  (void)state;
  struct fixture fixture;
  char answer[4096];
  start(&fixture, options_patient());
  int fd = dial(&fixture);
  for (int i = 0; i < 3; i++) {
    say(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_true(hear(fd, answer, sizeof answer, "hello"));
    assert_true(has(answer, "HTTP/1.1 200 OK\r\nDate: "));
    assert_true(
        has(answer, "\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"));
  }
  assert_int_equal(http_server_connections(fixture.server), 1);
  say(fd, "GET / HTTP/1.1\r\n" LAST "\r\n");
  assert_true(hear(fd, answer, sizeof answer, NULL));
  assert_true(has(answer, "Connection: close\r\n"));
  close(fd);
  wait_for(&fixture.n_finished, 4);
  assert_int_equal(atomic_load(&fixture.n_aborted), 0);
  assert_int_equal(atomic_load(&fixture.n_closed), 0);
  stop(&fixture);
}

static void test_pipelining(void **state) {
  (void)state;
  struct fixture fixture;
  char answer[4096];
  start(&fixture, options_patient());
  ask(&fixture,
      "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\none"
      "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nt\r\n2;x=y\r\nwo\r\n0\r\nA: b\r\n\r\n"
      "GET /query?a=%41&b=c+d HTTP/1.1\r\n" LAST "\r\n",
      answer, sizeof answer);
  const char *one = strstr(answer, "\r\n\r\none"), *two = strstr(answer, "\r\n\r\ntwo");
  assert_true(one && two && one < two);
  assert_true(has(two, "X-Test: 1\r\n") && has(two, "\r\n\r\na=%41&b=c+d"));
  stop(&fixture);
}

static void test_answers(void **state) {
  (void)state;
  static const struct {
    const char *request, *expected;
  } table[] = {
      {"GET /stream HTTP/1.1\r\n" LAST "\r\n",
       "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nb\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n0\r\n\r\n"},
      {"GET /stream HTTP/1.0\r\n\r\n", "Connection: close\r\n\r\ndata: one\n\ndata: two\n\n"},
      {"HEAD / HTTP/1.1\r\n" LAST "\r\n", "Content-Length: 5\r\n\r\n"},
      {"GET /none HTTP/1.1\r\n" LAST "\r\n", "HTTP/1.1 204 No Content\r\n"},
      {"GET /%65cho HTTP/1.1\r\n" LAST "\r\n", "Content-Length: 0\r\n\r\n"},
      {"GET http://test/query?x HTTP/1.1\r\n" LAST "\r\n", "\r\n\r\nx"},
      {"POST /missing HTTP/1.1\r\n" HOST "Content-Length: 900000\r\n\r\n", "{\"error\":\"There is no such path.\"}"},
      {"POST /tiny HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n",
       "The body is larger than the 4 bytes that this path takes."},
      {"POST /tiny HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\n", "HTTP/1.1 413 "},
      {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n",
       "{\"error\":\"A chunk size must be hexadecimal digits that end in CR LF.\"}"},
      {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: +2\r\n\r\nab",
       "{\"error\":\"Content-Length must be decimal digits.\"}"},
      {"POST /echo HTTP/1.1\r\n" HOST "Expect: magic\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 417 "},
      /* a coding that libhttp-parser alone would overlook, and read its chunks as requests */
      {"POST /echo HTTP/1.1\r\n" HOST "Connection: close, upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\t\r\n\r\n"
       "3\r\nabc\r\n0\r\n\r\n",
       "\r\n\r\nabc"},
      {"BREW / HTTP/1.1\r\n" LAST "\r\n", "\r\n\r\nhello"}, /* what a method means is for the handler */
      {"GET / HTTP/2.0\r\n" HOST "\r\n", "HTTP/1.1 505 "},
      {"GET /%00 HTTP/1.1\r\n" HOST "\r\n", "The URL has a bad percent-encoding."},
      {"GET / HTTP/1.1\n", "The head has a line feed without a carriage return."},
  };
  struct fixture fixture;
  char answer[4096];
  start(&fixture, options_patient());
  int n = sizeof table / sizeof table[0];
  for (int i = 0; i < n; i++) {
    ask(&fixture, table[i].request, answer, sizeof answer);
    if (!has(answer, table[i].expected)) fail_msg("%s\ngave: %s", table[i].request, answer);
  }
  wait_for(&fixture.n_finished, n);
  stop(&fixture);
}

/* The loop answers others meanwhile. A client that leaves, and a server that ends, are waited for by nobody: what has
 * begun ends, the rest is left out, and each is given back. */
static void test_work(void **state) {
  (void)state;
  struct fixture fixture;
  char answer[4096];
  start(&fixture, options_patient());
  pthread_mutex_lock(&fixture.gate);
  int fd = dial(&fixture);
  say(fd, "GET /work HTTP/1.1\r\n" LAST "\r\n");
  wait_for(&fixture.n_handled, 1);
  ask(&fixture, "GET / HTTP/1.1\r\n" LAST "\r\n", answer, sizeof answer);
  assert_true(has(answer, "hello"));
  assert_int_equal(atomic_load(&fixture.n_work_done), 0);
  pthread_mutex_unlock(&fixture.gate);
  assert_true(hear(fd, answer, sizeof answer, NULL));
  assert_true(has(answer, "worked"));
  close(fd);
  pthread_mutex_lock(&fixture.gate);
  for (int i = 0; i < 3; i++) {
    fd = dial(&fixture);
    say(fd, "GET /work HTTP/1.1\r\n" LAST "\r\n");
    wait_for(&fixture.n_handled, 3 + i);
    wait_for(&fixture.n_worked, 2); /* the first has begun */
    close(fd);
    wait_for(&fixture.n_closed, 1 + i);
  }
  wait_for(&fixture.n_work_done, 3); /* two of three are left out while the first waits */
  http_server_drain(fixture.server, 0);
  pthread_mutex_unlock(&fixture.gate);
  stop(&fixture);
  assert_int_equal(atomic_load(&fixture.n_work_done), 4);
  assert_int_equal(atomic_load(&fixture.n_worked), 2);
}

/* One that has many works, each before any of the others', keeps these waiting for one; of loops it does not matter
 * which. The work of a client that has gone is left out. */
static void test_turns(void **state) {
  (void)state;
  static const char arrivals[] = "AAAABABCX", begun[] = "ABCABAAA";
  enum { N = sizeof arrivals - 1 };
  struct fixture fixture;
  struct http_options options = options_patient();
  char answer[4096], ask_text[64];
  int fd[N];
  options.loops = 2;
  start(&fixture, options);
  pthread_mutex_lock(&fixture.gate);
  for (int i = 0; i < N; i++) {
    fd[i] = dial(&fixture);
    snprintf(ask_text, sizeof ask_text, "GET /turn/%c HTTP/1.1\r\n" LAST "\r\n", arrivals[i]);
    say(fd[i], ask_text);
    wait_for(&fixture.n_handled, i + 1);
    if (i == 0) wait_for(&fixture.n_worked, 1);
  }
  close(fd[N - 1]);
  wait_for(&fixture.n_work_done, 1);
  pthread_mutex_unlock(&fixture.gate);
  for (int i = 0; i < N - 1; i++) {
    assert_true(hear(fd[i], answer, sizeof answer, NULL));
    assert_true(has(answer, "in turn"));
    close(fd[i]);
  }
  stop(&fixture);
  assert_string_equal(fixture.turns, begun);
}

static void test_expect_continue(void **state) {
  (void)state;
  struct fixture fixture;
  char answer[4096];
  start(&fixture, options_patient());
  int fd = dial(&fixture);
  say(fd, "POST /echo HTTP/1.1\r\n" LAST "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  assert_true(hear(fd, answer, sizeof answer, "HTTP/1.1 100 Continue\r\n\r\n"));
  say(fd, "body");
  assert_true(hear(fd, answer, sizeof answer, NULL));
  assert_true(has(answer, "HTTP/1.1 200 OK\r\n") && has(answer, "\r\n\r\nbody"));
  close(fd);
  stop(&fixture);
}

/* Many reads in, more out than a socket takes at once; the same bytes with either framing. */
static void test_large_body(void **state) {
  (void)state;
  enum { SIZE = 900000, ROOM = 1 << 20 };
  static const char *const framings[] = {"Content-Length: 900000\r\n\r\n",
                                         "Transfer-Encoding: chunked\r\n\r\ndbba0\r\n"};
  struct fixture fixture;
  char *body = calloc(1, SIZE + 1), *answer = malloc(ROOM);
  for (int i = 0; i < SIZE; i++) body[i] = (char)('a' + i % 23);
  start(&fixture, options_patient());
  for (int i = 0; i < 2; i++) {
    int fd = dial(&fixture);
    say(fd, "POST /echo HTTP/1.1\r\n" LAST);
    say(fd, framings[i]);
    say(fd, body);
    if (i == 1) say(fd, "\r\n0\r\n\r\n");
    assert_true(hear(fd, answer, ROOM, NULL));
    const char *echo = strstr(answer, "\r\n\r\n");
    assert_non_null(echo);
    assert_string_equal(echo + 4, body);
    close(fd);
  }
  free(body);
  free(answer);
  stop(&fixture);
}

static void say_zeros(int fd, int count) {
  char zeros[1024];
  memset(zeros, '0', sizeof zeros - 1);
  zeros[sizeof zeros - 1] = 0;
  for (; count > 0; count -= (int)sizeof zeros - 1) say(fd, zeros + (count < 1023 ? 1023 - count : 0));
}

/* Bodies share a room: the one that does not fit is refused, others go on, and what is released can be used again. */
static void test_bodies_together(void **state) {
  (void)state;
  static const char post[] = "POST /echo HTTP/1.1\r\n" LAST "Content-Length: 9000\r\n\r\n";
  struct fixture fixture;
  char answer[16384];
  struct http_options options = options_patient();
  options.bodies_bytes = 10000;
  start(&fixture, options);
  for (int round = 0; round < 2; round++) {
    int first = dial(&fixture), second = dial(&fixture);
    say(first, post);
    say_zeros(first, 6000);
    ask(&fixture, "GET / HTTP/1.1\r\n" LAST "\r\n", answer, sizeof answer); /* by now the first has been read */
    say(second, post);
    say_zeros(second, 6000);
    assert_true(hear(second, answer, sizeof answer, NULL));
    assert_true(has(answer, "HTTP/1.1 503 Service Unavailable\r\n") && has(answer, "\r\nRetry-After: 1\r\n"));
    assert_true(has(answer,
                    "{\"error\":\"The bodies of requests that are arriving take all the room for them; try again "
                    "later.\"}"));
    ask(&fixture, "GET / HTTP/1.1\r\n" LAST "\r\n", answer, sizeof answer);
    assert_true(has(answer, "HTTP/1.1 200 OK\r\n"));
    say_zeros(first, 3000);
    assert_true(hear(first, answer, sizeof answer, NULL));
    assert_true(has(answer, "HTTP/1.1 200 OK\r\n"));
    close(first);
    close(second);
  }
  int held = dial(&fixture), fits = dial(&fixture); /* a body is the server's no longer than its handler runs */
  say(held, "POST /later HTTP/1.1\r\n" HOST "Content-Length: 9000\r\n\r\n");
  say_zeros(held, 9000);
  wait_for(&fixture.n_handled, 7);
  say(fits, post);
  say_zeros(fits, 9000);
  assert_true(hear(fits, answer, sizeof answer, NULL));
  assert_true(has(answer, "HTTP/1.1 200 OK\r\n"));
  close(held);
  close(fits);
  stop(&fixture);
  assert_int_equal(atomic_load(&fixture.n_refused[HTTP_REFUSED_BODIES]), 2);
  assert_int_equal(atomic_load(&fixture.n_refused[HTTP_REFUSED_PEER]), 0);
  assert_int_equal(atomic_load(&fixture.n_refused[HTTP_REFUSED_CONNECTIONS]), 0);
}

static void test_answer_from_another_thread(void **state) {
  (void)state;
  struct fixture fixture;
  char answer[4096];
  start(&fixture, options_patient());
  int fd = dial(&fixture);
  for (int i = 0; i < 2; i++) {
    say(fd, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&fixture.n_handled, i + 1);
    uint64_t one = 1;
    assert_int_equal(write(fixture.event_fd, &one, sizeof one), sizeof one);
    assert_true(hear(fd, answer, sizeof answer, "\r\n\r\nlate"));
  }
  close(fd);
  stop(&fixture);
}

static void test_slow_clients(void **state) {
  (void)state;
  static const char *const parts[] = {"G", "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nab"};
  struct fixture fixture;
  char answer[4096];
  struct http_options options = options_patient();
  options.head_ms = options.body_ms = 1000;
  start(&fixture, options);
  for (size_t i = 0; i < 2; i++) {
    ask(&fixture, parts[i], answer, sizeof answer);
    assert_true(has(answer, "HTTP/1.1 408 Request Timeout\r\n"));
  }
  stop(&fixture);
  options = options_patient();
  options.keep_alive_ms = 50;
  start(&fixture, options);
  int fd = dial(&fixture);
  say(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
  assert_true(hear(fd, answer, sizeof answer, NULL)); /* answered, then closed as idle */
  assert_true(has(answer, "hello"));
  close(fd);
  stop(&fixture);
}

static void test_drip_does_not_move_deadline(void **state) {
  (void)state;
  struct fixture fixture;
  struct http_options options = options_patient();
  options.head_ms = options.linger_ms = 100;
  start(&fixture, options);
  int fd = dial(&fixture), sent = 0;
  while (send(fd, "G", 1, MSG_NOSIGNAL) == 1 && sent++ < WAIT_MS / 10) usleep(10000);
  assert_true(sent < WAIT_MS / 10);
  close(fd);
  stop(&fixture);
}

static void test_client_leaves(void **state) {
  (void)state;
  static const char *const requests[] = {"GET /hang HTTP/1.1\r\n" HOST "\r\n", "GET /later HTTP/1.1\r\n" HOST "\r\n"};
  struct fixture fixture;
  start(&fixture, options_patient());
  for (int i = 0; i < 2; i++) {
    int fd = dial(&fixture);
    say(fd, requests[i]);
    wait_for(&fixture.n_handled, i + 1);
    close(fd);
    wait_for(&fixture.n_closed, i + 1);
    wait_for(&fixture.n_aborted, i + 1);
  }
  uint64_t one = 1; /* the id of a request that is gone finds nothing */
  assert_int_equal(write(fixture.event_fd, &one, sizeof one), sizeof one);
  stop(&fixture);
  assert_int_equal(atomic_load(&fixture.n_closed), 2);
  assert_int_equal(atomic_load(&fixture.n_finished), 2);
}

static void test_back_pressure(void **state) {
  (void)state;
  struct fixture fixture;
  start(&fixture, options_patient());
  int fd = dial(&fixture);
  say(fd, "GET /flood HTTP/1.0\r\n\r\n");
  wait_for(&fixture.n_stopped, 1);
  size_t total = 0;
  ssize_t got;
  static char bytes[1 << 16];
  while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0) total += (size_t)got;
  assert_int_equal(got, 0);
  assert_true(total > (size_t)FLOOD_PIECE * FLOOD_PIECES);
  close(fd);
  wait_for(&fixture.n_finished, 1);
  assert_true(atomic_load(&fixture.n_drained) >= 1);
  assert_int_equal(atomic_load(&fixture.bytes_out), total);
  assert_int_equal(atomic_load(&fixture.n_aborted), 0);
  stop(&fixture);
}

static void test_stalled_client(void **state) {
  (void)state;
  struct fixture fixture;
  struct http_options options = options_patient();
  options.stall_ms = 50;
  start(&fixture, options);
  int fd = dial(&fixture);
  say(fd, "GET /flood HTTP/1.1\r\n" HOST "\r\n");
  wait_for(&fixture.n_closed, 1);
  wait_for(&fixture.n_aborted, 1);
  close(fd);
  stop(&fixture);
}

static void test_sends_too_far_ahead(void **state) {
  (void)state;
  struct fixture fixture;
  start(&fixture, options_patient());
  int fd = dial(&fixture);
  say(fd, "GET /later HTTP/1.1\r\n" HOST "\r\n");
  wait_for(&fixture.n_handled, 1);
  static char bytes[4096];
  memset(bytes, 'x', sizeof bytes);
  for (int i = 0; i < 4096 && send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0;) i++;
  wait_for(&fixture.n_closed, 1);
  close(fd);
  stop(&fixture);
}

static void test_connection_limit(void **state) {
  (void)state;
  struct fixture fixture;
  char answer[4096];
  struct http_options options = options_patient();
  options.max_connections = 1;
  start(&fixture, options);
  int first = dial(&fixture);
  say(first, "GET / HTTP/1.1\r\n" HOST "\r\n");
  assert_true(hear(first, answer, sizeof answer, "hello"));
  ask(&fixture, "GET / HTTP/1.1\r\n" HOST "\r\n", answer, sizeof answer);
  assert_true(has(answer, "HTTP/1.1 503 Service Unavailable\r\n") && has(answer, "Retry-After: 1\r\n"));
  close(first);
  for (int i = 0; i < WAIT_MS && http_server_connections(fixture.server) > 0; i++) usleep(1000);
  ask(&fixture, "GET / HTTP/1.1\r\n" LAST "\r\n", answer, sizeof answer);
  assert_true(has(answer, "hello"));
  stop(&fixture);
}

static void test_drain(void **state) {
  (void)state;
  struct fixture fixture;
  char answer[4096];
  start(&fixture, options_patient());
  int idle = dial(&fixture), busy = dial(&fixture);
  say(idle, "GET / HTTP/1.1\r\n" HOST "\r\n");
  assert_true(hear(idle, answer, sizeof answer, "hello"));
  say(busy, "GET /later HTTP/1.1\r\n" HOST "\r\n");
  wait_for(&fixture.n_handled, 2);
  http_server_drain(fixture.server, WAIT_MS);
  assert_true(hear(idle, answer, sizeof answer, NULL)); /* idle connections close, running requests go on */
  uint64_t one = 1;
  assert_int_equal(write(fixture.event_fd, &one, sizeof one), sizeof one);
  assert_true(hear(busy, answer, sizeof answer, NULL));
  assert_true(has(answer, "Connection: close\r\n") && has(answer, "\r\n\r\nlate"));
  close(idle);
  close(busy);
  http_server_join(fixture.server);
  assert_int_equal(atomic_load(&fixture.n_closed), 0);
  stop(&fixture);
}

static void test_drain_deadline(void **state) {
  (void)state;
  struct fixture fixture;
  start(&fixture, options_patient());
  int fd = dial(&fixture);
  say(fd, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
  wait_for(&fixture.n_handled, 1);
  http_server_drain(fixture.server, 20);
  http_server_join(fixture.server);
  assert_int_equal(atomic_load(&fixture.n_closed), 1);
  close(fd);
  stop(&fixture);
}

struct burst {
  const struct fixture *fixture;
  int n_ok;
};

static void *run_burst(void *argument) {
  struct burst *burst = argument;
  char answer[4096];
  for (int i = 0; i < 50; i++) {
    ask(burst->fixture, "GET /stream HTTP/1.1\r\n" LAST "\r\n", answer, sizeof answer);
    burst->n_ok += has(answer, "data: two\n\n");
  }
  return NULL;
}

static void test_several_loops(void **state) {
  (void)state;
  struct fixture fixture;
  struct http_options options = options_patient();
  options.loops = 3;
  start(&fixture, options);
  struct burst bursts[4];
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) {
    bursts[i] = (struct burst){&fixture, 0};
    pthread_create(&threads[i], NULL, run_burst, &bursts[i]);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(bursts[i].n_ok, 50);
  }
  wait_for(&fixture.n_finished, 200);
  stop(&fixture);
  assert_int_equal(atomic_load(&fixture.n_loop_stopped), 3);
}

static bool refuse_start(struct http_loop *loop, void *user, struct error *error) {
  struct fixture *fixture = user;
  (void)loop;
  if (atomic_fetch_add(&fixture->n_loop_started, 1) == 1) return true; /* the one after the fixture's own */
  return error_set(error, ERROR_MEMORY, "The inbox does not fit.");
}

static void test_open_errors(void **state) {
  (void)state;
  struct fixture fixture;
  struct error error = {0};
  struct http_options options = options_patient();
  start(&fixture, options);
  for (int loops = 1; loops <= 2; loops++) {
    char expected[200];
    options.port = http_server_port(fixture.server);
    options.loops = loops;
    snprintf(expected, sizeof expected,
             "Cannot listen on 127.0.0.1 port %d: another program does. Stop it or choose another port.", options.port);
    assert_null(http_server_open(&options, &callbacks, &fixture, &error));
    assert_string_equal(error.text, expected);
  }
  options.port = 0;
  struct http_callbacks refusing = callbacks;
  refusing.loop_start = refuse_start;
  refusing.loop_stop = NULL;
  assert_null(http_server_open(&options, &refusing, &fixture, &error));
  assert_string_equal(error.text, "The inbox does not fit.");
  options.port = 70000;
  assert_null(http_server_open(&options, &callbacks, &fixture, &error));
  assert_string_equal(error.text, "The port is 70000; it must be 0 to 65535.");
  options.port = 0;
  options.loops = 0;
  assert_null(http_server_open(&options, &callbacks, &fixture, &error));
  assert_string_equal(error.text, "0 network loops are asked for; 1 to 64 are possible.");
  stop(&fixture);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_keep_alive),
      cmocka_unit_test(test_pipelining),
      cmocka_unit_test(test_answers),
      cmocka_unit_test(test_work),
      cmocka_unit_test(test_turns),
      cmocka_unit_test(test_expect_continue),
      cmocka_unit_test(test_large_body),
      cmocka_unit_test(test_bodies_together),
      cmocka_unit_test(test_answer_from_another_thread),
      cmocka_unit_test(test_slow_clients),
      cmocka_unit_test(test_drip_does_not_move_deadline),
      cmocka_unit_test(test_client_leaves),
      cmocka_unit_test(test_back_pressure),
      cmocka_unit_test(test_stalled_client),
      cmocka_unit_test(test_sends_too_far_ahead),
      cmocka_unit_test(test_connection_limit),
      cmocka_unit_test(test_drain),
      cmocka_unit_test(test_drain_deadline),
      cmocka_unit_test(test_several_loops),
      cmocka_unit_test(test_open_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
