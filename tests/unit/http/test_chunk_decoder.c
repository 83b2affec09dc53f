/* The chunked decoder, from a table {bytes, outcome}; each row fed whole and byte by byte. */
#include "http/chunk_decoder.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { BODY_MAX = 16 };

struct outcome {
  enum chunk_progress progress;
  int status;
  const char *reason;
  size_t left; /* bytes of input not taken */
};

static struct outcome decode(const char *bytes, size_t step, struct buffer *body) {
  struct chunk_decoder decoder = {0};
  struct head_verdict verdict = {0, ""};
  struct outcome outcome = {.progress = CHUNK_MORE};
  size_t total = strlen(bytes), at = 0;
  while (at < total && outcome.progress == CHUNK_MORE) {
    struct slice input = slice_make(bytes + at, total - at < step ? total - at : step);
    size_t given = input.size;
    outcome.progress = chunk_decoder_feed(&decoder, &input, body, &verdict);
    at += given - input.size;
  }
  outcome.status = verdict.status;
  outcome.reason = verdict.reason;
  outcome.left = total - at;
  return outcome;
}

static void test_table(void **state) {
  (void)state;
  static const char size_fault[] = "A chunk size must be hexadecimal digits that end in CR LF.";
  static const char data_fault[] = "The data of a chunk must end in CR LF.";
  static const char trailer_fault[] = "A trailer line is malformed.";
  static const char too_large[] = "The body is larger than this path accepts.";
  static const struct {
    const char *bytes;
    enum chunk_progress progress;
    const char *body; /* NULL: not looked at */
    int status;
    const char *reason;
  } table[] = {
      {"0\r\n\r\n", CHUNK_END, "", 0, ""},
      {"3\r\nabc\r\n0\r\n\r\n", CHUNK_END, "abc", 0, ""},
      {"1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\n", CHUNK_END, "a0123456789", 0, ""},
      {"2;name=\"v\"\r\nab\r\n0;x\r\n\r\n", CHUNK_END, "ab", 0, ""},
      {"1\r\na\r\n0\r\nTrailer: x\r\nOther:\r\n\r\n", CHUNK_END, "a", 0, ""},
      {"10\r\n0123456789abcdef\r\n0\r\n\r\n", CHUNK_END, "0123456789abcdef", 0, ""},
      {"3\r\nab", CHUNK_MORE, "ab", 0, ""},
      {"0\r\n", CHUNK_MORE, "", 0, ""},
      {"11\r\n", CHUNK_BAD, NULL, 413, too_large},
      {"8\r\n01234567\r\n9\r\n", CHUNK_BAD, NULL, 413, too_large},
      {"fffffffffffffff\r\n", CHUNK_BAD, NULL, 413, too_large},
      {"ffffffffffffffff\r\n", CHUNK_BAD, NULL, 400, "A chunk size has more than 15 digits."},
      {"0000000000000001\r\n", CHUNK_BAD, NULL, 400, "A chunk size has more than 15 digits."},
      {"\r\n", CHUNK_BAD, NULL, 400, size_fault},
      {";x\r\n", CHUNK_BAD, NULL, 400, size_fault},
      {"x\r\n", CHUNK_BAD, NULL, 400, size_fault},
      {"+1\r\n", CHUNK_BAD, NULL, 400, size_fault},
      {"-1\r\n", CHUNK_BAD, NULL, 400, size_fault},
      {"0x1\r\n", CHUNK_BAD, NULL, 400, size_fault},
      {" 1\r\n", CHUNK_BAD, NULL, 400, size_fault},
      {"1 \r\n", CHUNK_BAD, NULL, 400, size_fault},
      {"1\n", CHUNK_BAD, NULL, 400, size_fault},
      {"1\rx", CHUNK_BAD, NULL, 400, size_fault},
      {"1;a\nb", CHUNK_BAD, NULL, 400, size_fault},
      {"1;a\x01", CHUNK_BAD, NULL, 400, size_fault},
      {"1\r\nab", CHUNK_BAD, NULL, 400, data_fault},
      {"1\r\na\n", CHUNK_BAD, NULL, 400, data_fault},
      {"1\r\na\rb", CHUNK_BAD, NULL, 400, data_fault},
      {"0\r\n x\r\n\r\n", CHUNK_BAD, NULL, 400, trailer_fault},
      {"0\r\nx\r\n", CHUNK_BAD, NULL, 400, trailer_fault},
      {"0\r\nx : y\r\n", CHUNK_BAD, NULL, 400, trailer_fault},
      {"0\r\nx: y\n", CHUNK_BAD, NULL, 400, trailer_fault},
      {"0\r\n\rx", CHUNK_BAD, NULL, 400, trailer_fault},
      {"0\r\n\n", CHUNK_BAD, NULL, 400, trailer_fault},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    for (size_t step = 1; step <= 100; step += 99) {
      struct buffer body;
      buffer_init(&body, BODY_MAX);
      struct outcome outcome = decode(table[i].bytes, step, &body);
      bool right = outcome.progress == table[i].progress && outcome.status == table[i].status &&
                   strcmp(outcome.reason, table[i].reason) == 0;
      if (right && table[i].body) right = slice_is(buffer_slice(&body), table[i].body) && outcome.left == 0;
      if (!right) fail_msg("row %zu, step %zu: %d %s", i, step, outcome.status, outcome.reason);
      buffer_release(&body);
    }
  }
}

static void test_what_follows_is_left(void **state) {
  (void)state;
  struct buffer body;
  buffer_init(&body, BODY_MAX);
  struct outcome outcome = decode("1\r\na\r\n0\r\n\r\nGET /", 100, &body);
  assert_int_equal(outcome.progress, CHUNK_END);
  assert_int_equal(outcome.left, 5);
  buffer_release(&body);
}

static void test_long_extension_and_trailer(void **state) {
  (void)state;
  struct buffer text, body;
  buffer_init(&text, 1 << 20);
  buffer_init(&body, BODY_MAX);
  for (int i = 0; i < 200; i++) buffer_text(&text, "0;xxxxxxxx");
  buffer_append(&text, "", 1);
  struct outcome outcome = decode(text.data, 100, &body);
  assert_string_equal(outcome.reason, "The chunk extensions are longer than 256 bytes.");
  buffer_clear(&text);
  buffer_text(&text, "0\r\n");
  for (int i = 0; i <= LIMIT_TRAILER_BYTES / 4; i++) buffer_text(&text, "a:b\r\n");
  buffer_append(&text, "", 1);
  outcome = decode(text.data, 100, &body);
  assert_string_equal(outcome.reason, "The trailer is larger than 4096 bytes.");
  buffer_release(&text);
  buffer_release(&body);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_what_follows_is_left),
      cmocka_unit_test(test_long_extension_and_trailer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
