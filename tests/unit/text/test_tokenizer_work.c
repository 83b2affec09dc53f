/* Long and hostile texts: no input makes the work grow faster than n log n. The test counts nothing and times nothing;
 * with quadratic work it would run into the time limit of every test. */
#include "text_support.h"

#include <stdlib.h>

enum { LONG = 1 << 18 }; /* bytes */

static void test_long(void **state) {
  (void)state;
  static const char *const names[] = {"gpt2",  "llama3", "qwen2", "smollm",  "llama2", "gemma",
                                      "added", "t5",     "clip",  "letters", "gemma4", "scripts"};
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
      buffer_init(&out, 8 * LONG); /* CLIP shows its suffix */
      assert_true(detokenize(fixture.tokenizer, ids.ids, ids.count, DETOKENIZE_START, &out));
      bool as_is = strcmp(names[n], "added") != 0 && strcmp(names[n], "t5") != 0 && strcmp(names[n], "clip") != 0 &&
                   strcmp(names[n], "scripts") != 0 && strcmp(units[u], "\xE2\x96\x81") != 0;
      if (as_is) assert_true(slice_equal(buffer_slice(&out), slice_make(text, size)));
      buffer_release(&out);
      token_list_release(&ids);
    }
    fixture_close(&fixture);
  }
  free(text);
}

/* Marks in the wrong order: normalizing sorts a few, and refuses many. */
static void test_marks(void **state) {
  (void)state;
  static const struct {
    int count;
    const char *low, *high, *sentence;
  } rows[] = {
      {200, "\xCC\xA7", "\xCC\x81", NULL},
      {LONG / 2, "\xCC\xA7", "\xCC\x81",
       "Normalizing the text makes it larger than 268435456 bytes, or more than 256 unsorted combining marks follow a "
       "character."},
      {LONG / 3, "\xE0\xBD\xB3", "\xE0\xBD\xB3",
       "Normalizing the text makes it larger than 268435456 bytes, or more than 256 unsorted combining marks follow a "
       "character."},
  };
  struct fixture fixture;
  fixture_open(&fixture, "qwen2");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    size_t unit = strlen(rows[i].low), size = (size_t)rows[i].count * unit;
    char *text = malloc(size);
    for (int n = 0; n < rows[i].count; n++)
      memcpy(text + (size_t)n * unit, n < rows[i].count / 2 ? rows[i].high : rows[i].low, unit);
    struct token_list ids;
    struct error error = {0};
    token_list_init(&ids, size + 1);
    assert_int_equal(tokenizer_encode(fixture.tokenizer, slice_make(text, size), 0, &ids, &error), !rows[i].sentence);
    if (rows[i].sentence) assert_string_equal(error.text, rows[i].sentence);
    token_list_release(&ids);
    free(text);
  }
  fixture_close(&fixture);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_long), cmocka_unit_test(test_marks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
