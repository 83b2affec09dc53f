/* Weights' way to a device, over a link that is as late as a link may be: a buffer is emptied only when somebody waits
 * for it, or at the end. So bytes that are overwritten before they have left arrive wrong. */
#include "backend/cuda/upload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PIECES = 11, MOST = PIECES * UPLOAD_BYTES };

struct late_link {
  struct upload_link link;
  struct {
    void *to;
    size_t bytes; /* 0: nothing is on its way */
  } out[UPLOAD_BUFFERS];
  atomic_int sends;
  int fail_at; /* the send of this number fails; −1: none */
};

static void buffer_empty(struct late_link *late, int buffer) {
  if (late->out[buffer].bytes) memcpy(late->out[buffer].to, late->link.buffer[buffer], late->out[buffer].bytes);
  late->out[buffer].bytes = 0;
}

static bool late_await(void *user, int buffer, struct error *error) {
  (void)error;
  buffer_empty(user, buffer);
  return true;
}

static bool late_send(void *user, int buffer, void *to, size_t bytes, struct error *error) {
  struct late_link *late = user;
  if (atomic_fetch_add(&late->sends, 1) == late->fail_at) return error_set(error, ERROR_DEVICE, "The link is cut.");
  late->out[buffer].to = to;
  late->out[buffer].bytes = bytes;
  return true;
}

static struct late_link *link_make(void) {
  struct late_link *late = calloc(1, sizeof *late);
  assert_non_null(late);
  *late = (struct late_link){.link = {.user = late, .send = late_send, .await = late_await}, .fail_at = -1};
  for (int i = 0; i < UPLOAD_BUFFERS; i++) {
    late->link.buffer[i] = malloc(UPLOAD_BYTES);
    assert_non_null(late->link.buffer[i]);
  }
  return late;
}

static void link_free(struct late_link *late) {
  for (int i = 0; i < UPLOAD_BUFFERS; i++) free(late->link.buffer[i]);
  free(late);
}

static uint8_t *noise_make(size_t size) {
  uint8_t *bytes = malloc(size);
  uint32_t state = 7;
  assert_non_null(bytes);
  for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
  return bytes;
}

/* All weights together, by any number of threads; some stay on the host, for which nothing is sent. */
static void test_arrives(void **state) {
  (void)state;
  static const size_t sizes[] = {0,   1, UPLOAD_BYTES - 1, UPLOAD_BYTES, UPLOAD_BYTES + 1, 3 * UPLOAD_BYTES + 12345,
                                 MOST};
  static const int threads[] = {1, 2, 3, UPLOAD_THREADS, UPLOAD_THREADS + 5};
  enum { SIZES = sizeof sizes / sizeof *sizes };
  uint8_t *from = noise_make(MOST), *to[SIZES];
  struct upload_job jobs[SIZES];
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    struct late_link *late = link_make();
    struct error error = {0};
    int sends = 0;
    for (int i = 0; i < SIZES; i++) {
      to[i] = calloc(1, sizes[i] + 1);
      assert_non_null(to[i]);
      jobs[i] = (struct upload_job){.to = to[i], .host = i % 2 == 0, .from = slice_make(from, sizes[i])};
      for (size_t at = 0; i % 2 && at < sizes[i]; at += UPLOAD_BYTES) sends++;
    }
    assert_true(upload_run(&late->link, threads[t], jobs, SIZES, &error));
    assert_int_equal(late->sends, sends);
    for (int i = 0; i < UPLOAD_BUFFERS; i++) buffer_empty(late, i);
    for (int i = 0; i < SIZES; i++) {
      assert_memory_equal(to[i], from, sizes[i]);
      assert_int_equal(to[i][sizes[i]], 0);
      free(to[i]);
    }
    link_free(late);
  }
  free(from);
}

/* Whichever thread meets it, the sentence comes out; a thread that is alone sends nothing after it. */
static void test_fails(void **state) {
  (void)state;
  uint8_t *from = noise_make(MOST), *to = malloc(MOST);
  assert_non_null(to);
  struct upload_job job = {.to = to, .from = slice_make(from, MOST)};
  for (int run = 0; run < 2 * PIECES; run++) {
    struct late_link *late = link_make();
    struct error error = {0};
    int at = run / 2, n_thread = run % 2 ? 3 : 1;
    late->fail_at = at;
    assert_false(upload_run(&late->link, n_thread, &job, 1, &error));
    assert_int_equal(error.code, ERROR_DEVICE);
    assert_string_equal(error.text, "The link is cut.");
    if (n_thread == 1) assert_int_equal(late->sends, at + 1);
    link_free(late);
  }
  free(to);
  free(from);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_arrives), cmocka_unit_test(test_fails)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
