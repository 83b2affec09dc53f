/* Stop matcher: a table of texts, each fed whole, byte by byte and cut everywhere in two; then random texts against
 * a search that has the whole text. */
#include "text_support.h"

#include "text/stop_matcher.h"

#include <stdlib.h>

struct row {
  const char *strings[4], *text, *shown;
  int found;
};

/* `muted` bytes stop nothing. */
static void test_muted_and_shown(void **state) {
  (void)state;
  static const struct {
    const char *string, *text;
    size_t muted;
    const char *hidden, *shown; /* what is written without and with `shown` */
  } rows[] = {
      {"stop", "a stop here", 0, "a ", "a stop"},
      {"stop", "a stop here", 5, "a ", "a stop"},
      {"stop", "a stop here", 6, "a stop here", "a stop here"},
      {"aa", "aaaa", 2, "a", "aaa"},
      {"aa", "aaaa", 3, "aa", "aaaa"},
      {"abab", "ababab", 4, "ab", "ababab"},
      {"x", "xxx", 2, "xx", "xxx"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int shown = 0; shown < 2; shown++) {
      struct stop_matcher matcher;
      struct slice string = slice_text(rows[i].string), text = slice_text(rows[i].text);
      uint8_t out[2 * LIMIT_STOP_BYTES + 64];
      size_t total = 0, size;
      assert_true(stop_matcher_init(&matcher, &string, 1, NULL));
      matcher.shown = shown;
      for (size_t at = 0; at < text.size && matcher.found < 0; at++) {
        matcher.muted = at < rows[i].muted;
        stop_matcher_feed(&matcher, slice_make(text.data + at, 1), out + total, &size);
        total += size;
      }
      if (matcher.found < 0) total += stop_matcher_flush(&matcher, out + total);
      assert_true(slice_is(slice_make(out, total), shown ? rows[i].shown : rows[i].hidden));
    }
}

/* Feeds text in pieces that end at each position for which cut says so; returns what was shown. */
static struct slice run(struct stop_matcher *matcher, struct slice text, unsigned cuts, uint8_t *out) {
  size_t total = 0, start = 0, size;
  for (size_t at = 1; at <= text.size; at++) {
    if (at < text.size && !(cuts >> (at % 32) & 1)) continue;
    bool stopped = stop_matcher_feed(matcher, slice_make(text.data + start, at - start), out + total, &size);
    total += size;
    start = at;
    if (stopped) return slice_make(out, total);
  }
  return slice_make(out, total + stop_matcher_flush(matcher, out + total));
}

static int init(struct stop_matcher *matcher, const char *const *strings) {
  struct slice slices[4];
  int count = 0;
  for (; count < 4 && strings[count]; count++) slices[count] = slice_text(strings[count]);
  assert_true(stop_matcher_init(matcher, slices, (size_t)count, NULL));
  return count;
}

static void test_table(void **state) {
  (void)state;
  static const struct row rows[] = {
      {{"stop"}, "go on, stop here", "go on, ", 0},
      {{"stop"}, "stosto", "stosto", -1},
      {{"stop"}, "ststop", "st", 0},
      {{"aab"}, "aaaab", "aa", 0},
      {{"abab", "bc"}, "ababc", "", 0},
      {{"abcd", "bc"}, "abcd", "a", 1},
      {{"c", "bc", "abc"}, "xabc", "x", 2},
      {{"\n\n"}, "a\nb\n\n", "a\nb", 0},
      {{"abcabd"}, "abcabcabd!", "abc", 0},
      {{NULL}, "anything", "anything", -1},
      {{"x"}, "", "", -1},
      {{"\xC3\xA9"}, "\xC3\xA8\xC3\xA9", "\xC3\xA8", 0},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    for (unsigned cuts = 0; cuts < 1024; cuts++) {
      struct stop_matcher matcher;
      uint8_t out[2 * LIMIT_STOP_BYTES + 64];
      init(&matcher, rows[i].strings);
      struct slice shown = run(&matcher, slice_text(rows[i].text), cuts, out);
      assert_true(slice_is(shown, rows[i].shown));
      assert_int_equal(matcher.found, rows[i].found);
    }
  }
}

/* Nothing is held back that cannot become a stop string. */
static void test_holds_least(void **state) {
  (void)state;
  struct stop_matcher matcher;
  uint8_t out[LIMIT_STOP_BYTES + 64];
  size_t size;
  init(&matcher, (const char *const[]){"</end>", NULL});
  assert_false(stop_matcher_feed(&matcher, slice_text("text <"), out, &size));
  assert_int_equal(size, 5);
  assert_false(stop_matcher_feed(&matcher, slice_text("b>"), out, &size));
  assert_int_equal(size, 3);
}

/* The end of the first occurrence that completes, and the longest string that ends there. */
static size_t search(struct slice text, const char *const *strings, int count) {
  for (size_t end = 1; end <= text.size; end++) {
    size_t longest = 0;
    for (int i = 0; i < count; i++) {
      size_t size = strlen(strings[i]);
      if (size <= end && size > longest && memcmp(text.data + end - size, strings[i], size) == 0) longest = size;
    }
    if (longest) return end - longest;
  }
  return text.size;
}

static void test_random(void **state) {
  (void)state;
  srand(1);
  for (int round = 0; round < 20000; round++) {
    char texts[4][8], text[64];
    const char *strings[4] = {texts[0], texts[1], texts[2], texts[3]};
    for (int i = 0; i < 4; i++) {
      int size = 1 + rand() % 7;
      for (int b = 0; b < size; b++) texts[i][b] = (char)('a' + rand() % 2);
      texts[i][size] = '\0';
    }
    for (int b = 0; b < 63; b++) text[b] = (char)('a' + rand() % 3 % 2);
    text[63] = '\0';
    struct stop_matcher matcher;
    uint8_t out[2 * LIMIT_STOP_BYTES + 64];
    init(&matcher, strings);
    struct slice shown = run(&matcher, slice_text(text), (unsigned)rand(), out);
    assert_int_equal(shown.size, search(slice_text(text), strings, 4));
    assert_memory_equal(shown.data, text, shown.size);
  }
}

static void test_refused(void **state) {
  (void)state;
  static char longest[LIMIT_STOP_BYTES + 1];
  struct stop_matcher matcher;
  struct error error;
  struct slice many[LIMIT_STOP_STRINGS + 1];
  for (int i = 0; i <= LIMIT_STOP_STRINGS; i++) many[i] = slice_text("x");
  assert_false(stop_matcher_init(&matcher, many, LIMIT_STOP_STRINGS + 1, &error));
  assert_string_equal(error.text, "17 stop strings were given; at most 16 are allowed.");
  many[1] = slice_text("");
  assert_false(stop_matcher_init(&matcher, many, 2, &error));
  assert_string_equal(error.text, "Stop string 1 is empty.");
  many[0] = slice_make(longest, sizeof longest);
  assert_false(stop_matcher_init(&matcher, many, 1, &error));
  assert_string_equal(error.text, "Stop string 0 has 257 bytes; at most 256 are allowed.");
  many[0].size = LIMIT_STOP_BYTES;
  assert_true(stop_matcher_init(&matcher, many, 1, &error));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),  cmocka_unit_test(test_muted_and_shown), cmocka_unit_test(test_holds_least),
      cmocka_unit_test(test_random), cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
