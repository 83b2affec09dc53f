/* Detokenizer: whole characters only, whatever the tokens cut; the same bytes as decoding at once. */
#include "text_support.h"

#include "base/utf8.h"

/* Feeds ids one by one, checks that every output is whole characters, and returns all of it in out. */
static void feed_all(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags,
                     struct buffer *out) {
  struct detokenizer detokenizer;
  uint8_t text[DETOKENIZER_OUT_MAX];
  detokenizer_init(&detokenizer, tokenizer, flags);
  for (size_t i = 0; i <= count; i++) {
    size_t size = i < count ? detokenizer_feed(&detokenizer, ids[i], text) : detokenizer_flush(&detokenizer, text);
    assert_true(utf8_valid(slice_make(text, size)));
    buffer_append(out, text, size);
  }
  assert_int_equal(detokenizer_flush(&detokenizer, text), 0);
}

static void check_text(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags,
                       const char *expected) {
  struct buffer out;
  buffer_init(&out, 1 << 16);
  feed_all(tokenizer, ids, count, flags, &out);
  buffer_append(&out, "", 1);
  assert_string_equal(out.data, expected);
  buffer_release(&out);
}

static void test_round_trip(void **state) {
  (void)state;
  static const char *const names[] = {"gpt2", "llama2", "gemma"};
  struct slice text = slice_text(" Hi \xF0\x9F\xA6\x99 \xE2\x82\xAC\xE4\xB8\xAD\xD7\xA9 na\xC3\xAFve \x01\n");
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    struct fixture fixture;
    fixture_open(&fixture, names[n]);
    struct token_list ids = encode_all(fixture.tokenizer, text, 0);
    struct buffer out;
    buffer_init(&out, 1 << 16);
    feed_all(fixture.tokenizer, ids.ids, ids.count, DETOKENIZE_START, &out);
    assert_true(slice_equal(buffer_slice(&out), text));
    buffer_release(&out);
    token_list_release(&ids);
    fixture_close(&fixture);
  }
}

/* Byte-level tokens of single bytes, so that every cut is inside a character. */
static void test_bytes(void **state) {
  (void)state;
  static const struct {
    const char *bytes, *expected;
  } rows[] = {
      {"\xE2\x82\xAC", "\xE2\x82\xAC"},
      {"\xE2\x82", "\xEF\xBF\xBD"},
      {"\xE2\x82x", "\xEF\xBF\xBDx"},
      {"\xE2\xE2\x82\xAC", "\xEF\xBF\xBD\xE2\x82\xAC"},
      {"\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xF0\x9F\xA6", "\xEF\xBF\xBD"},
      {"\xF0\x9F\xA6\x99", "\xF0\x9F\xA6\x99"},
      {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xFF", "\xEF\xBF\xBD"},
      {"a\xC3", "a\xEF\xBF\xBD"},
  };
  struct fixture fixture;
  fixture_open(&fixture, "gpt2");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int32_t ids[8];
    size_t count = strlen(rows[i].bytes);
    for (size_t b = 0; b < count; b++) ids[b] = tokenizer_find(fixture.tokenizer, slice_make(rows[i].bytes + b, 1));
    check_text(fixture.tokenizer, ids, count, 0, rows[i].expected);
  }
  fixture_close(&fixture);
}

static void test_first_space(void **state) {
  (void)state;
  struct fixture fixture;
  fixture_open(&fixture, "llama2");
  int32_t space = tokenizer_find(fixture.tokenizer, slice_text(" the"));
  int32_t begin = tokenizer_find(fixture.tokenizer, slice_text("<s>"));
  assert_true(space > 0 && begin == 1);
  check_text(fixture.tokenizer, (int32_t[]){space, space}, 2, DETOKENIZE_START, "the the");
  check_text(fixture.tokenizer, (int32_t[]){space, space}, 2, 0, " the the");
  check_text(fixture.tokenizer, (int32_t[]){begin, space}, 2, DETOKENIZE_START, "the");
  check_text(fixture.tokenizer, (int32_t[]){begin, space}, 2, DETOKENIZE_SPECIAL, "<s> the");
  fixture_close(&fixture);
}

/* Among marks are none that begin or end a text or a turn, which an answer that goes on after its end may have. */
static void test_marks(void **state) {
  (void)state;
  struct fixture fixture;
  struct buffer out;
  fixture_open(&fixture, "phi3");
  buffer_init(&out, 1 << 16);
  struct slice text = slice_text("<s>a<|user|>b<|assistant|>c<|end|>d<unk>");
  struct token_list ids = encode_all(fixture.tokenizer, text, ENCODE_PARSE_SPECIAL);
  assert_true(detokenize(fixture.tokenizer, ids.ids, ids.count, DETOKENIZE_MARKS, &out));
  if (memmem(out.data, out.size, "<|assistant|>", 13) == NULL) fail_msg("%.*s", SLICE_ARGS(buffer_slice(&out)));
  assert_null(memmem(out.data, out.size, "<|user|>", 8));
  assert_null(memmem(out.data, out.size, "<|end|>", 7));
  assert_null(memmem(out.data, out.size, "<s>", 3));
  assert_null(memmem(out.data, out.size, "<unk>", 5));
  token_list_release(&ids);
  buffer_release(&out);
  fixture_close(&fixture);
}

/* However a text is cut, its changes are those of the whole: what may begin a match waits. */
static void test_text_changes(void **state) {
  (void)state;
  static const struct text_changes changes = {3,
                                              {{{(const uint8_t *)"aab", 3}, {(const uint8_t *)"x", 1}},
                                               {{(const uint8_t *)"xx", 2}, {(const uint8_t *)"", 0}},
                                               {{(const uint8_t *)"c", 1}, {(const uint8_t *)"d", 1}}}};
  static const char text[] = "aaabcaabaabaaaabxa aab", expected[] = "axdaaa x";
  for (size_t part = 1; part < sizeof text; part++) {
    struct text_changing changing = {0};
    uint8_t out[sizeof text + 2 * TEXT_CHANGES_HELD];
    size_t size = 0;
    for (size_t at = 0; at < sizeof text - 1; at += part) {
      size_t left = sizeof text - 1 - at, next = left < part ? left : part;
      memcpy(out + size, text + at, next);
      size += text_changes_apply(&changes, &changing, out + size, next, next == left);
    }
    assert_true(slice_is(slice_make(out, size), expected));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_bytes),        cmocka_unit_test(test_marks),
      cmocka_unit_test(test_first_space), cmocka_unit_test(test_text_changes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
