/* Long and hostile texts: no input makes the work grow faster than n log n. The test counts nothing and times nothing;
 * with quadratic work it would run into the time limit of every test. */
#include "text_support.h"

#include <stdlib.h>

enum { LONG = 1 << 18 }; /* bytes */

static void test_long(void **state) {
  (void)state;
  static const char *const names[] = {"gpt2", "llama3", "qwen2", "smollm", "llama2", "gemma", "added"};
  static const char *const units[] = {"a", " ", "ab", "\n", "<", "0", "\xCC\x81", "\xE2\x96\x81", "!", "a b"};
  char *text = malloc(LONG + 8);
  assert_non_null(text);
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    struct fixture fixture;
    fixture_open(&fixture, names[n]);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
      size_t unit = strlen(units[u]), size = 0;
      for (; size < LONG; size += unit) memcpy(text + size, units[u], unit);
      struct token_list ids = encode_all(fixture.tokenizer, slice_make(text, size), 0);
      struct buffer out;
      buffer_init(&out, 4 * LONG);
      assert_true(detokenize(fixture.tokenizer, ids.ids, ids.count, DETOKENIZE_START, &out));
      bool as_is = strcmp(names[n], "added") != 0 && strcmp(units[u], "\xE2\x96\x81") != 0;
      if (as_is) assert_true(slice_equal(buffer_slice(&out), slice_make(text, size)));
      buffer_release(&out);
      token_list_release(&ids);
    }
    fixture_close(&fixture);
  }
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_long)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
