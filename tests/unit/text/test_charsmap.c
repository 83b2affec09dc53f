/* Hostile rules of SentencePiece: what they make is text, and making too much ends at once. */
#include "text_support.h"

#include "text/charsmap.h"

#include <stdlib.h>

enum { UNITS = 512, HEAD = 4 + 4 * UNITS, LABEL_ENDS = 1 << 8, APART = 0x80 /* from a unit to its value's */ };

static void unit_put(uint8_t *map, uint32_t at, uint32_t unit) { memcpy(map + 4 + 4 * at, &unit, 4); }

/* A map of two rules, "a" and U+0301, that both make what lies at `value` of the texts. The caller frees it. */
static struct slice map_make(uint32_t value, const void *texts, size_t size) {
  uint8_t *map = calloc(1, HEAD + size);
  uint32_t trie = 4 * UNITS, mark = 0xCC ^ 0x100 ^ 0x81;
  assert_non_null(map);
  memcpy(map, &trie, 4);
  unit_put(map, 'a', 'a' | LABEL_ENDS | APART << 10);
  unit_put(map, 'a' ^ APART, value | 1u << 31);
  unit_put(map, 0xCC, 0xCC | 0x100 << 10);
  unit_put(map, mark, 0x81 | LABEL_ENDS | APART << 10);
  unit_put(map, mark ^ APART, value | 1u << 31);
  memcpy(map + HEAD, texts, size);
  return slice_make(map, HEAD + size);
}

static void test_results(void **state) {
  (void)state;
  static const struct {
    uint32_t value;
    const char *texts, *result; /* of "a"; NULL: the map is refused */
    size_t size;
  } rows[] = {
      {0, "b", "b", 2},         {1, "b\xC3\xA9", "\xC3\xA9", 4},
      {2, "b\xC3\xA9", "a", 4}, /* amid a character: no rule */
      {4, "b\xC3\xA9", "a", 4}, /* behind the end */
      {0, "b\xC3", NULL, 3},    {0, "\xFF", NULL, 2},
      {0, "b", NULL, 1}, /* without an end */
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct slice map = map_make(rows[i].value, rows[i].texts, rows[i].size);
    struct buffer out;
    buffer_init(&out, 100);
    assert_int_equal(charsmap_check(map), rows[i].result != NULL);
    for (enum charsmap_mode mode = 0; rows[i].result && mode < CHARSMAP_MODES; mode++) {
      buffer_clear(&out);
      assert_true(charsmap_apply(map, mode, slice_text("a"), &out));
      assert_true(slice_equal(buffer_slice(&out), slice_text(rows[i].result)));
    }
    buffer_release(&out);
    free((void *)(uintptr_t)map.data);
  }
}

/* One grapheme cluster of half a million marks, each to become 4 MiB: measuring each would take minutes. */
static void test_much(void **state) {
  (void)state;
  enum { MARKS = 1 << 19, RESULT = 1 << 22 };
  char *texts = malloc(RESULT), *text = malloc(2 * MARKS);
  assert_true(texts && text);
  memset(texts, 'b', RESULT - 1);
  texts[RESULT - 1] = 0;
  for (size_t i = 0; i < MARKS; i++) memcpy(text + 2 * i, "\xCC\x81", 2);
  struct slice map = map_make(0, texts, RESULT);
  struct buffer out;
  buffer_init(&out, 2 * RESULT);
  assert_true(charsmap_check(map));
  for (enum charsmap_mode mode = 0; mode < CHARSMAP_MODES; mode++) {
    buffer_clear(&out);
    assert_false(charsmap_apply(map, mode, slice_make(text, 2 * MARKS), &out));
  }
  buffer_release(&out);
  free((void *)(uintptr_t)map.data);
  free(text);
  free(texts);
}

/* A trie that leads back to itself, and a rule of which much becomes where a longer one makes nothing: each in a text
 * of many characters. */
static void test_hostile_tries(void **state) {
  (void)state;
  enum { SIZE = 1 << 18, RESULT = 1 << 22, NEXT = 0x100 };
  char *texts = malloc(RESULT), *text = malloc(SIZE);
  assert_true(texts && text);
  memset(texts, 'b', RESULT - 1);
  texts[RESULT - 1] = 0;
  memset(text, 'a', SIZE);
  struct slice map = map_make(0, texts, RESULT);
  struct buffer out;
  buffer_init(&out, SIZE);
  unit_put((uint8_t *)(uintptr_t)map.data, APART, 'a' | LABEL_ENDS | NEXT << 10); /* behind the first "a" */
  unit_put((uint8_t *)(uintptr_t)map.data, APART ^ NEXT, (RESULT - 1) | 1u << 31);
  assert_true(charsmap_check(map));
  assert_true(charsmap_apply(map, CHARSMAP_LONGEST, slice_make(text, SIZE), &out));
  assert_int_equal(out.size, 0);
  unit_put((uint8_t *)(uintptr_t)map.data, 'a', 'a');
  unit_put((uint8_t *)(uintptr_t)map.data, 0, 'a');
  assert_true(charsmap_apply(map, CHARSMAP_LONGEST, slice_make(text, SIZE), &out));
  assert_int_equal(out.size, SIZE);
  buffer_release(&out);
  free((void *)(uintptr_t)map.data);
  free(text);
  free(texts);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_results), cmocka_unit_test(test_much),
                                     cmocka_unit_test(test_hostile_tries)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
