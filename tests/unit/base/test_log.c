/* The log: lines that a parser of JSON takes, whatever is in their values, and that hold up nobody. */
#include "base/json.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* Standard error goes into a pipe while a test looks at what is logged. */
static struct { int read, real; } capture;

static void capture_begin(void) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  capture.read = ends[0];
  capture.real = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  close(ends[1]);
}

/* All that was logged since, and what remains of the pipe's output. */
static struct slice capture_end(char *bytes, size_t room) {
  size_t size = 0;
  ssize_t got;
  dup2(capture.real, STDERR_FILENO);
  close(capture.real);
  while ((got = read(capture.read, bytes + size, room - size)) > 0) size += (size_t)got;
  close(capture.read);
  assert_true(size < room);
  return slice_make(bytes, size);
}

static json_t *line_parse(struct slice line) {
  struct error error;
  json_t *object = json_parse(line, &error);
  if (!object) fail_msg("%s: %.*s", error.text, SLICE_ARGS(line));
  return object;
}

/* RFC 3339, in the time zone of nowhere. */
static void times_hide(char *text) {
  static const char form[] = "0000-00-00T00:00:00.000Z";
  for (; strlen(text) >= sizeof form - 1; text++) {
    size_t at = 0;
    while (form[at] && (form[at] == '0' ? text[at] >= '0' && text[at] <= '9' : text[at] == form[at])) at++;
    if (!form[at]) memcpy(text, form, at);
  }
}

static void test_forms(void **state) {
  (void)state;
  char bytes[4096];
  capture_begin();
  for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
    struct log_line line;
    log_format_set((enum log_format)format);
    log_begin(&line, LOG_WARNING, "two \"words\"\n");
    log_text(&line, "who", slice_text("a \"b\"\n"));
    log_count(&line, "n", UINT64_MAX);
    log_flag(&line, "yes");
    log_milliseconds(&line, "ms", 1234567);
    log_end(&line);
  }
  log_info("%d", 5);
  log_debug("not wanted");
  log_format_set(LOG_TEXT);
  struct slice all = capture_end(bytes, sizeof bytes);
  bytes[all.size] = '\0';
  times_hide(bytes);
  assert_string_equal(
      bytes, "0000-00-00T00:00:00.000Z warning two \"words\"  who=\"a \\\"b\\\"\\n\" n=18446744073709551615 yes=true "
             "ms=1234.567\n"
             "{\"time\":\"0000-00-00T00:00:00.000Z\",\"level\":\"warning\",\"message\":\"two \\\"words\\\"\\n\","
             "\"who\":\"a \\\"b\\\"\\n\",\"n\":18446744073709551615,\"yes\":true,\"ms\":1234.567}\n"
             "{\"time\":\"0000-00-00T00:00:00.000Z\",\"level\":\"info\",\"message\":\"5\"}\n");
}

/* Values of random bytes and of all lengths, some far too long. */
static void test_any_bytes(void **state) {
  (void)state;
  static uint8_t value[5000];
  static char bytes[1 << 16];
  uint32_t random = 1;
  for (int i = 0; i < 3000; i++) {
    size_t size = i % 3 ? (size_t)(i % 40) : (size_t)i;
    for (size_t k = 0; k < size; k++) {
      random = random * 1664525u + 1013904223u;
      value[k] = (uint8_t)(i % 2 ? random >> 24 : (random >> 24) % 32);
    }
    value[size] = '\0';
    struct log_line line;
    capture_begin();
    log_format_set(i % 4 ? LOG_JSON : LOG_TEXT);
    log_begin(&line, LOG_INFO, (const char *)value);
    log_text(&line, "value", slice_make(value, size));
    log_text(&line, "last", slice_text("end"));
    log_end(&line);
    log_format_set(LOG_TEXT);
    struct slice all = capture_end(bytes, sizeof bytes);
    assert_true(all.size > 0 && all.size <= 4096);
    for (size_t k = 0; k + 1 < all.size; k++) assert_true(all.data[k] >= 0x20 && all.data[k] != 0x7f);
    assert_int_equal(all.data[all.size - 1], '\n');
    if (i % 4 == 0) continue;
    json_t *object = line_parse(all);
    assert_string_equal(json_string_value(json_object_get(object, "last")), "end");
    json_decref(object);
  }
}

/* Nobody reads: the writer goes on, and tells later how many lines are lost. */
static void test_unread(void **state) {
  (void)state;
  enum { LINES = 5000 };
  static char bytes[1 << 20];
  size_t size = 0;
  int n_kept = 0, n_lost = 0;
  capture_begin();
  log_format_set(LOG_JSON);
  for (int i = 0; i < LINES; i++) log_info("line %d of many, long enough to fill a pipe that nobody reads", i);
  size += (size_t)read(capture.read, bytes, 32768);
  log_info("one more");
  log_format_set(LOG_TEXT);
  struct slice all = capture_end(bytes + size, sizeof bytes - size);
  size += all.size;
  for (char *at = bytes, *end; at < bytes + size; at = end + 1) {
    end = memchr(at, '\n', size - (size_t)(at - bytes));
    assert_non_null(end);
    json_t *object = line_parse(slice_make(at, (size_t)(end - at)));
    const json_t *lost = json_object_get(object, "lines");
    n_lost += lost ? (int)json_integer_value(lost) : 0;
    n_kept += lost ? 0 : 1;
    json_decref(object);
  }
  assert_true(n_lost > 0 && n_kept > 100);
  assert_int_equal(n_kept + n_lost, LINES + 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_any_bytes),
                                     cmocka_unit_test(test_unread)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
