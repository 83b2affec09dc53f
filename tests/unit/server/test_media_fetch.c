/* Fetches beside each other: threads share the rules, TLS's context and the count of bytes, and are told to stop by
 * others. */
#include "server/media_fetch.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 6, ROUNDS = 8, IMAGES = 7, BYTES = 100000 };

/* Answers every connection with as many bytes, or not at all; a thread for each. */
static struct {
  int fd;
  char url[64];
  atomic_bool silent;
  pthread_t thread;
} store;

static void *connection_run(void *argument) {
  char bytes[4096];
  int fd = (int)(intptr_t)argument;
  if (read(fd, bytes, sizeof bytes) > 0 && !atomic_load(&store.silent)) {
    static char body[BYTES];
    int size = snprintf(bytes, sizeof bytes, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BYTES);
    if (send(fd, bytes, (size_t)size, MSG_NOSIGNAL) == size) send(fd, body, sizeof body, MSG_NOSIGNAL);
  }
  while (read(fd, bytes, sizeof bytes) > 0) {
  }
  close(fd);
  return NULL;
}

static void *store_run(void *argument) {
  for (int fd; (fd = accept(store.fd, NULL, NULL)) >= 0;) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, connection_run, (void *)(intptr_t)fd), 0);
    pthread_detach(thread);
  }
  return argument;
}

static int store_begin(void **state) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  (void)state;
  store.fd = socket(AF_INET, SOCK_STREAM, 0);
  return bind(store.fd, (struct sockaddr *)&address, size) || listen(store.fd, 64) ||
         getsockname(store.fd, (struct sockaddr *)&address, &size) ||
         snprintf(store.url, sizeof store.url, "http://127.0.0.1:%d/", ntohs(address.sin_port)) < 0 ||
         pthread_create(&store.thread, NULL, store_run, NULL);
}

static int store_end(void **state) {
  (void)state;
  shutdown(store.fd, SHUT_RDWR);
  pthread_join(store.thread, NULL);
  return close(store.fd);
}

static struct media_rules *rules_open(int timeout_s) {
  static const char *range = "127.0.0.1";
  const char *prefix = store.url;
  struct error error = {0};
  const struct media_options options = {
      .prefixes = &prefix, .n_prefix = 1, .ranges = &range, .n_range = 1, .timeout_s = timeout_s};
  struct media_rules *rules = media_rules_open(&options, &error);
  if (!rules) fail_msg("%s", error.text);
  return rules;
}

static struct media_fetch *fetch_new(const struct media_rules *rules, atomic_size_t *bytes, int n) {
  struct media_fetch *fetch = calloc(1, sizeof *fetch);
  assert_non_null(fetch);
  *fetch = (struct media_fetch){
      .rules = rules, .n = n, .bytes_of_all = bytes, .image = calloc((size_t)n, sizeof *fetch->image)};
  for (int i = 0; i < n; i++) assert_true(media_rules_check(rules, slice_text(store.url), &fetch->image[i].url, NULL));
  return fetch;
}

static void fetch_free(struct media_fetch *fetch) {
  media_fetch_release(fetch);
  free(fetch->image);
  free(fetch);
}

struct asker {
  const struct media_rules *rules;
  atomic_size_t *bytes;
  int n_whole;
  pthread_t thread;
};

static void *asker_run(void *argument) {
  struct asker *asker = argument;
  for (int round = 0; round < ROUNDS; round++) {
    struct error error;
    struct media_fetch *fetch = fetch_new(asker->rules, asker->bytes, IMAGES);
    bool fetched = media_fetch_run(fetch, &error);
    for (int i = 0; fetched && i < IMAGES; i++) asker->n_whole += fetch->image[i].bytes.size == BYTES;
    fetch_free(fetch);
  }
  return NULL;
}

static void test_beside_each_other(void **state) {
  (void)state;
  struct asker asker[THREADS];
  atomic_size_t bytes = 0;
  struct media_rules *rules = rules_open(LIMIT_FETCH_SECONDS);
  for (int i = 0; i < THREADS; i++) {
    asker[i] = (struct asker){.rules = rules, .bytes = &bytes};
    assert_int_equal(pthread_create(&asker[i].thread, NULL, asker_run, &asker[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(asker[i].thread, NULL);
  for (int i = 0; i < THREADS; i++) assert_int_equal(asker[i].n_whole, ROUNDS * IMAGES);
  assert_int_equal(atomic_load(&bytes), 0);
  media_rules_free(rules);
}

static void *cancel_run(void *argument) {
  struct media_fetch *fetch = argument;
  usleep(100000);
  atomic_store(&fetch->cancelled, true);
  return NULL;
}

/* Long before its time. */
static void test_cancelled(void **state) {
  (void)state;
  pthread_t thread;
  struct error error;
  atomic_size_t bytes = 0;
  struct media_rules *rules = rules_open(LIMIT_FETCH_SECONDS);
  struct media_fetch *fetch = fetch_new(rules, &bytes, IMAGES);
  atomic_store(&store.silent, true);
  assert_int_equal(pthread_create(&thread, NULL, cancel_run, fetch), 0);
  assert_false(media_fetch_run(fetch, &error));
  pthread_join(thread, NULL);
  assert_int_equal(error.code, ERROR_CANCELLED);
  atomic_store(&store.silent, false);
  fetch_free(fetch);
  media_rules_free(rules);
}

/* What others hold leaves no room: whoever comes then is told to come later, and what he had is given back. */
static void test_no_room(void **state) {
  (void)state;
  struct error error;
  atomic_size_t bytes = LIMIT_FETCHED_BYTES - BYTES;
  struct media_rules *rules = rules_open(LIMIT_FETCH_SECONDS);
  struct media_fetch *fetch = fetch_new(rules, &bytes, 2);
  assert_false(media_fetch_run(fetch, &error));
  assert_int_equal(error.code, ERROR_BUSY);
  assert_string_equal(error.text, "Too many images are being fetched: try again later.");
  fetch_free(fetch);
  assert_int_equal(atomic_load(&bytes), LIMIT_FETCHED_BYTES - BYTES);
  media_rules_free(rules);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_beside_each_other),
      cmocka_unit_test(test_cancelled),
      cmocka_unit_test(test_no_room),
  };
  return cmocka_run_group_tests(tests, store_begin, store_end);
}
