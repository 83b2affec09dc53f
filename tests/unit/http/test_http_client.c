/* How the client gets to its server: names that have several addresses, none, or none yet. The system's resolver is
 * replaced by the one below, which gives the ports of sockets on the loopback. */
#include "base/limits.h"
#include "http/http_client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SEEN_BY_LIBUV __attribute__((visibility("default")))
enum { ADDRESSES_MAX = 4, FILLERS = 4 };

/* What the resolver finds. */
static struct {
  uint16_t port[ADDRESSES_MAX]; /* in the network's order; 0: no more */
  sem_t *wait;                  /* NULL: answers at once */
  atomic_int n_asked, n_told;
} resolver;

SEEN_BY_LIBUV int getaddrinfo(const char *restrict name, const char *restrict service,
                              const struct addrinfo *restrict hints, struct addrinfo **restrict found) {
  struct addrinfo **end = found;
  (void)name;
  (void)service;
  (void)hints;
  resolver.n_asked++;
  if (resolver.wait) sem_wait(resolver.wait);
  *found = NULL;
  for (int i = 0; i < ADDRESSES_MAX && resolver.port[i]; i++) {
    struct addrinfo *one = calloc(1, sizeof *one + sizeof(struct sockaddr_in));
    struct sockaddr_in *address = (struct sockaddr_in *)(one + 1);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = resolver.port[i]};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *one = (struct addrinfo){.ai_family = AF_INET,
                             .ai_socktype = SOCK_STREAM,
                             .ai_addrlen = sizeof *address,
                             .ai_addr = (struct sockaddr *)address};
    *end = one;
    end = &one->ai_next;
  }
  resolver.n_told++;
  return *found ? 0 : EAI_NONAME;
}

SEEN_BY_LIBUV void freeaddrinfo(struct addrinfo *list) {
  while (list) {
    struct addrinfo *next = list->ai_next;
    free(list);
    list = next;
  }
}

/* --- servers ------------------------------------------------------------------------------------------------------ */

static int socket_listen(int backlog, uint16_t *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
  if (backlog >= 0) assert_int_equal(listen(fd, backlog), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
  *port = address.sin_port;
  return fd;
}

/* Answers each connection's one request, and counts. */
struct server {
  const char *answer; /* NULL: "hi" */
  int fd, n_answered;
  uint16_t port;
  pthread_t thread;
};

static void *server_run(void *argument) {
  struct server *server = argument;
  const char *hi = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
  const char *answer = server->answer ? server->answer : hi;
  for (int fd; (fd = accept(server->fd, NULL, NULL)) >= 0; close(fd)) {
    char bytes[4096];
    assert(read(fd, bytes, sizeof bytes) > 0 && write(fd, answer, strlen(answer)) > 0);
    server->n_answered++;
  }
  return NULL;
}

static void server_begin_with(struct server *server, const char *answer) {
  server->answer = answer;
  server->n_answered = 0;
  server->fd = socket_listen(16, &server->port);
  assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

static void server_begin(struct server *server) { server_begin_with(server, NULL); }

static void server_end(struct server *server) {
  shutdown(server->fd, SHUT_RDWR);
  pthread_join(server->thread, NULL);
  close(server->fd);
}

/* --- the client --------------------------------------------------------------------------------------------------- */

struct seen {
  uv_loop_t loop;
  struct http_client *client;
  int n_end;
  enum http_end end;
  char sentence[ERROR_TEXT_MAX];
};

static void on_head(void *user, int status, const char *content_type) {
  (void)user;
  (void)status;
  (void)content_type;
}

static void on_body(void *user, struct slice bytes) {
  (void)user;
  (void)bytes;
}

static void on_end(void *user, enum http_end end, const char *sentence) {
  struct seen *seen = user;
  seen->n_end++;
  seen->end = end;
  snprintf(seen->sentence, sizeof seen->sentence, "%s", sentence ? sentence : "");
}

static void client_begin_with(struct seen *seen, const struct http_client_options *options) {
  static const struct http_client_callbacks callbacks = {.head = on_head, .body = on_body, .end = on_end};
  struct error error;
  *seen = (struct seen){.n_end = 0};
  assert_int_equal(uv_loop_init(&seen->loop), 0);
  seen->client = http_client_open(&seen->loop, options, &callbacks, &error);
  assert_non_null(seen->client);
}

static void client_begin(struct seen *seen, const char *url) {
  client_begin_with(seen, &(struct http_client_options){.url = url, .look_ups = HTTP_LOOK_UP_EACH});
}

static void client_end(struct seen *seen) {
  http_client_close(seen->client);
  uv_run(&seen->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&seen->loop), 0);
  http_client_free(seen->client);
}

static void ask(struct seen *seen, enum http_end end, const char *sentence) {
  seen->n_end = 0;
  http_client_post(seen->client, "/x", slice_text("{}"), seen);
  uv_run(&seen->loop, UV_RUN_DEFAULT);
  assert_int_equal(seen->n_end, 1);
  assert_string_equal(seen->sentence, sentence);
  assert_int_equal(seen->end, end);
}

static void resolver_set(uint16_t first, uint16_t second, uint16_t third) {
  resolver.port[0] = first, resolver.port[1] = second, resolver.port[2] = third;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

/* Nobody listens at the first two: the third takes each connection. Where none does, that is told once. */
static void test_several_addresses(void **state) {
  (void)state;
  struct server server;
  struct seen seen;
  uint16_t dead, dead_too;
  int bound = socket_listen(-1, &dead), bound_too = socket_listen(-1, &dead_too);
  server_begin(&server);
  client_begin(&seen, "http://several:81");
  resolver_set(dead, dead_too, server.port);
  ask(&seen, HTTP_END_DONE, "");
  ask(&seen, HTTP_END_DONE, "");
  resolver_set(server.port, 0, 0); /* fewer than there were */
  ask(&seen, HTTP_END_DONE, "");
  resolver_set(dead, dead_too, 0);
  ask(&seen, HTTP_END_REFUSED, "several:81 cannot be reached: connection refused.");
  client_end(&seen);
  server_end(&server);
  assert_int_equal(server.n_answered, 3);
  close(bound);
  close(bound_too);
}

/* A name that is not there yet is looked up again for the next request. */
static void test_name_comes_later(void **state) {
  (void)state;
  struct server server;
  struct seen seen;
  server_begin(&server);
  client_begin(&seen, "http://later/v1/");
  resolver_set(0, 0, 0);
  ask(&seen, HTTP_END_REFUSED, "later cannot be found: Name or service not known.");
  resolver_set(server.port, 0, 0);
  ask(&seen, HTTP_END_DONE, "");
  client_end(&seen);
  server_end(&server);
}

/* An address that neither takes connections nor refuses them: who has given up on it goes on to the next, and whoever
 * waits long enough does so by himself. */
static void test_silent_address(void **state) {
  (void)state;
  struct server server;
  struct seen seen;
  uint16_t silent;
  int listener = socket_listen(0, &silent), filler[FILLERS];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = silent};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < FILLERS; i++) { /* until nobody more may wait to be accepted */
    filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(connect(filler[i], (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS);
  }
  server_begin(&server);
  client_begin(&seen, "http://silent");
  resolver_set(silent, server.port, 0);
  struct http_exchange *exchange = http_client_post(seen.client, "", slice_text("{}"), &seen);
  assert_non_null(exchange);
  uv_run(&seen.loop, UV_RUN_ONCE); /* the name has been found: it connects */
  http_exchange_cancel(exchange);
  uv_run(&seen.loop, UV_RUN_DEFAULT);
  assert_int_equal(seen.n_end, 0);
  ask(&seen, HTTP_END_DONE, "");
  client_end(&seen);
  client_begin(&seen, "http://silent");
  ask(&seen, HTTP_END_DONE, "");
  client_end(&seen);
  server_end(&server);
  assert_int_equal(server.n_answered, 2);
  for (int i = 0; i < FILLERS; i++) close(filler[i]);
  close(listener);
}

static void work_run(uv_work_t *work) { (void)work; }

static void work_done(uv_work_t *work, int status) { *(bool *)work->data = status == 0; }

/* The loop and work beside it go on while a resolver does not answer, and a request may be given up meanwhile: others
 * wait for the same look-up. A client that is closed waits for none. */
static void test_silent_resolver(void **state) {
  (void)state;
  struct server server;
  struct seen seen;
  sem_t wait;
  bool worked = false;
  uv_work_t work = {.data = &worked};
  sem_init(&wait, 0, 0);
  server_begin(&server);
  client_begin(&seen, "http://silent");
  resolver_set(server.port, 0, 0);
  resolver.wait = &wait;
  resolver.n_asked = resolver.n_told = 0;
  struct http_exchange *given_up = http_client_post(seen.client, "", slice_text("{}"), &seen);
  struct http_exchange *exchange = http_client_post(seen.client, "", slice_text("{}"), &seen);
  assert_true(given_up && exchange);
  uv_queue_work(&seen.loop, &work, work_run, work_done);
  while (!worked) uv_run(&seen.loop, UV_RUN_ONCE);
  http_exchange_cancel(given_up);
  sem_post(&wait);
  while (seen.n_end == 0) uv_run(&seen.loop, UV_RUN_ONCE);
  assert_int_equal(seen.end, HTTP_END_DONE);
  assert_int_equal(resolver.n_asked, 1);
  exchange = http_client_post(seen.client, "", slice_text("{}"), &seen);
  uv_run(&seen.loop, UV_RUN_NOWAIT);
  http_exchange_cancel(exchange);
  client_end(&seen);
  assert_int_equal(seen.n_end, 1);
  sem_post(&wait);
  while (resolver.n_told < 2) sched_yield();
  resolver.wait = NULL;
  sem_destroy(&wait);
  server_end(&server);
}

/* Asked to, a client looks its host up until it is found, and never again, though each connection is a new one. */
static void test_look_up_once(void **state) {
  (void)state;
  struct server server;
  struct seen seen;
  server_begin(&server);
  client_begin_with(&seen, &(struct http_client_options){.url = "http://once", .look_ups = HTTP_LOOK_UP_ONCE});
  resolver_set(0, 0, 0);
  resolver.n_asked = 0;
  ask(&seen, HTTP_END_REFUSED, "once cannot be found: Name or service not known.");
  resolver_set(server.port, 0, 0);
  for (int i = 0; i < 3; i++) ask(&seen, HTTP_END_DONE, "");
  assert_int_equal(resolver.n_asked, 2);
  server_end(&server);
  ask(&seen, HTTP_END_REFUSED, "once cannot be reached: connection refused.");
  assert_int_equal(resolver.n_asked, 2);
  client_end(&seen);
}

/* A guarded client connects to no address that is not public, and to one that was let in by what the look-up found: the
 * name is not looked up once more. */
static void test_guard(void **state) {
  (void)state;
  struct server server;
  struct seen seen;
  struct address_range range;
  struct error error;
  struct http_guard guard = {&range, 0};
  assert_true(address_range_parse(&range, slice_text("127.0.0.1"), &error));
  server_begin(&server);
  client_begin_with(&seen, &(struct http_client_options){.url = "http://name", .guard = &guard});
  resolver_set(server.port, 0, 0);
  resolver.n_asked = 0;
  ask(&seen, HTTP_END_REFUSED, "name has an address that is not public: loopback.");
  assert_int_equal(resolver.n_asked, 1);
  guard.n = 1;
  ask(&seen, HTTP_END_DONE, "");
  assert_int_equal(resolver.n_asked, 2);
  client_end(&seen);
  server_end(&server);
  assert_int_equal(server.n_answered, 1);
}

static char told[256];

static void on_header(void *user, const char *name, const char *value) {
  size_t size = strlen(told);
  (void)user;
  snprintf(told + size, sizeof told - size, "%s=%s;", name, value);
}

/* Each header of the response itself, whole: none of an interim one, of a trailer or too long. */
static void test_headers(void **state) {
  static const struct http_client_callbacks callbacks = {on_header, on_head, on_body, on_end};
  static char answer[LIMIT_HEADER_BYTES + 1024];
  char *at = answer;
  struct server server;
  struct seen seen = {.n_end = 0};
  struct error error;
  (void)state;
  at += sprintf(at, "HTTP/1.1 103 Early Hints\r\nLink: early\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /a?b\r\nX-Long: ");
  memset(at, 'x', LIMIT_HEADER_BYTES);
  sprintf(at + LIMIT_HEADER_BYTES,
          "\r\nX-Empty:\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Trailer: t\r\n\r\n");
  server_begin_with(&server, answer);
  assert_int_equal(uv_loop_init(&seen.loop), 0);
  seen.client =
      http_client_open(&seen.loop, &(struct http_client_options){.url = "http://headers"}, &callbacks, &error);
  resolver_set(server.port, 0, 0);
  ask(&seen, HTTP_END_DONE, "");
  assert_string_equal(told, "Location=/a?b;X-Empty=;Transfer-Encoding=chunked;");
  client_end(&seen);
  server_end(&server);
}

static void test_bad_urls(void **state) {
  (void)state;
  static const char *const urls[] = {
      "",           "host",          "https://host", "http://",        "http://host:99999",
      "http://h?q", "http://u@host", "http://h#f",   "http://h:80:80/"};
  static const struct http_client_callbacks callbacks = {.head = on_head, .body = on_body, .end = on_end};
  uv_loop_t loop;
  uv_loop_init(&loop);
  for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
    struct error error;
    char sentence[ERROR_TEXT_MAX];
    const struct http_client_options options = {.url = urls[i], .look_ups = HTTP_LOOK_UP_EACH};
    assert_null(http_client_open(&loop, &options, &callbacks, &error));
    snprintf(sentence, sizeof sentence, "\"%s\" is no address of a server, expected http://HOST:PORT.", urls[i]);
    assert_string_equal(error.text, sentence);
  }
  uv_loop_close(&loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_several_addresses), cmocka_unit_test(test_name_comes_later),
      cmocka_unit_test(test_silent_address),    cmocka_unit_test(test_silent_resolver),
      cmocka_unit_test(test_look_up_once),      cmocka_unit_test(test_guard),
      cmocka_unit_test(test_headers),           cmocka_unit_test(test_bad_urls),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
