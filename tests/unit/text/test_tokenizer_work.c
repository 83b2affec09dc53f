/* Long and hostile texts: no input makes the work grow faster than n log n. The test counts nothing and times nothing;
 * with quadratic work it would run into the time limit of every test. */
#include "text_support.h"

#include "base/clock.h"
#include "text/piece_stages.h"

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

/* Added tokens that are white space, and one that takes what is behind it too. */
static void test_added_space(void **state) {
  (void)state;
  static const char json[] =
      "{\"added_tokens\":[{\"id\":1,\"content\":\" \"},{\"id\":2,\"content\":\"\\n\",\"rstrip\":true}],"
      "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
      "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
  static const char *const units[] = {"\n", "\n ", "  \n", "\n\t"};
  struct buffer blob;
  struct tokenizer *tokenizer = tokenizer_of(json, &blob);
  char *text = malloc(4 * LONG);
  assert_true(tokenizer && text);
  for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
    size_t unit = strlen(units[u]), size = 0, added = 0;
    for (; size + unit <= 4 * LONG; size += unit) memcpy(text + size, units[u], unit);
    for (size_t i = 0; i < size; i++) added += text[i] != '\t';
    struct token_list ids = encode_all(tokenizer, slice_make(text, size), 0);
    assert_int_equal(ids.count, added);
    token_list_release(&ids);
  }
  free(text);
  tokenizer_close(tokenizer);
  buffer_release(&blob);
}

static bool count_bytes(void *context, struct slice piece, struct error *error) {
  (void)error;
  *(size_t *)context += piece.size;
  return true;
}

/* A crafted engine: 512 pieces with a megabyte before each. */
static void test_pieces_grow(void **state) {
  (void)state;
  enum { PREFIX = 1 << 20, PIECES = 512 };
  char *prefix = malloc(PREFIX + 1), text[PIECES];
  assert_non_null(prefix);
  memset(prefix, 'a', PREFIX);
  prefix[PREFIX] = '.';
  memset(text, 'b', sizeof text);
  struct blob_header header = {0};
  const struct tokenizer_tables tables = {.header = &header, .text = (const uint8_t *)prefix};
  const struct blob_step steps[] = {{.kind = STEP_SPLIT, .mode = SPLIT_ISOLATED, .a = {PREFIX, 1}},
                                    {.kind = STEP_PREFIX, .mode = PREFIX_ALWAYS, .a = {0, PREFIX}}};
  struct error error = {0};
  struct piece_stages stages;
  struct stage_run run = {0};
  size_t seen = 0;
  piece_stages_init(&stages);
  for (int i = 0; i < 2; i++)
    if (!piece_stages_add(&stages, &tables, &steps[i], &error)) fail_msg("%s", error.text);
  struct split_match match;
  assert_true(split_match_init(&match));
  stage_run_init(&run, &stages, &match, (struct piece_sink){count_bytes, &seen});
  assert_false(stage_run_text(&run, slice_make(text, sizeof text), 1, &error));
  assert_string_equal(error.text, "Changing the pieces of the text makes them larger by more than 268435456 bytes.");
  assert_int_equal(seen, (size_t)256 * (PREFIX + 1));
  stage_run_release(&run);
  split_match_release(&match);
  piece_stages_close(&stages);
  free(prefix);
}

/* The first character becomes a long text, which is split: each piece of it is of the first character, and no longer
 * than itself. The ids are those of the package `tokenizers` 0.23.3. */
static void test_first_is_cut(void **state) {
  (void)state;
  enum { WORDS = 100 };
  char prepend[3 * WORDS + 1] = "", json[1024];
  for (int i = 0; i < WORDS; i++) memcpy(prepend + 3 * i, "ab ", 4);
  snprintf(json, sizeof json,
           "{\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"%s\"},\"pre_tokenizer\":{\"type\":\"Sequence\","
           "\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\",\"replacement\":\"_\","
           "\"prepend_scheme\":\"first\",\"split\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
           "\"use_regex\":false}]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"_\":3},"
           "\"merges\":[]}}",
           prepend);
  struct buffer blob;
  struct tokenizer *tokenizer = tokenizer_of(json, &blob);
  static const int32_t word[] = {3, 0, 1}, last[] = {3, 2, 2};
  struct token_list ids = encode_all(tokenizer, slice_text("c c"), 0);
  assert_int_equal(ids.count, 3 * WORDS + 3);
  for (int i = 0; i < WORDS; i++) assert_memory_equal(ids.ids + 3 * i, word, sizeof word);
  assert_memory_equal(ids.ids + 3 * WORDS, last, sizeof last);
  token_list_release(&ids);
  tokenizer_close(tokenizer);
  buffer_release(&blob);
}

/* The first character becomes a long text, most of which goes together with what follows; and it is composed with what
 * follows, so that what it is alone ends amid a character. The ids are those of the package `tokenizers` 0.23.3. */
static void test_first_shrinks(void **state) {
  (void)state;
  enum { MOST = 1000 };
  char many[MOST + 1], json[4 * MOST];
  memset(many, 'x', MOST);
  many[MOST] = 0;
  snprintf(
      json, sizeof json,
      "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\",\"pattern\":{"
      "\"String\":\"T\"},\"content\":\"%sa\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\"%sab\"},\"content\":"
      "\"\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[a-z]\"},\"content\":\"x\"}]},\"pre_tokenizer\":{\"type\":"
      "\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\",\"split\":true},\"model\":{\"type\":\"BPE\","
      "\"vocab\":{\"x\":0,\"_\":1,\"\\u00e9\":2},\"merges\":[]}}",
      many, many + 1);
  struct buffer blob;
  struct tokenizer *tokenizer = tokenizer_of(json, &blob);
  static const int32_t shrunk[] = {1, 0}, composed[] = {1, 2, 0};
  struct token_list ids = encode_all(tokenizer, slice_text("Tb"), 0);
  assert_int_equal(ids.count, 2);
  assert_memory_equal(ids.ids, shrunk, sizeof shrunk);
  token_list_release(&ids);
  ids = encode_all(tokenizer, slice_text("e\xCC\x81q"), 0);
  assert_int_equal(ids.count, 3);
  assert_memory_equal(ids.ids, composed, sizeof composed);
  token_list_release(&ids);
  tokenizer_close(tokenizer);
  buffer_release(&blob);
}

#define REGEX                                                                                                          \
  "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(?:[a-z]{1,9}\\\\p{L}{1,99}\\\\p{N}{1,99}){1,40}q\"},\"content\":"   \
  "\"z\"}"

/* A tokenizer.json whose regexes would be compiled for each of many added tokens, and one whose merges would look for
 * their halves among as many markers: minutes. */
static void test_compiling(void **state) {
  (void)state;
  enum { MANY = 1 << 16 };
  struct buffer json, blob;
  buffer_init(&json, 1 << 24);
  buffer_text(&json,
              "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" REGEX "," REGEX "," REGEX "]},"
              "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[");
  for (int i = 1; i < MANY; i++)
    buffer_print(&json, "%s{\"id\":%d,\"content\":\"<%d>\",\"normalized\":true}", i > 1 ? "," : "", i, i);
  buffer_text(&json, "],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}");
  buffer_append(&json, "", 1);
  tokenizer_close(tokenizer_of(json.data, &blob));
  buffer_release(&blob);
  buffer_clear(&json);
  buffer_text(&json,
              "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":"
              "\"BPE\",\"vocab\":{\"a\":0");
  for (int i = 1; i < MANY; i++) buffer_print(&json, ",\"中%d\":%d", i, i);
  buffer_print(&json, ",\"中x\":%d,\"中x中x\":%d},\"merges\":[\"中x 中x\"", MANY, MANY + 1);
  for (int i = 1; i < MANY; i++) buffer_text(&json, ",\"中x 中x\"");
  buffer_append(&json, "]}}", 4);
  tokenizer_close(tokenizer_of(json.data, &blob));
  buffer_release(&blob);
  buffer_release(&json);
}

/* A regex that is slow at every byte, each match within its own limits: it ends. */
static void test_slow_regex(void **state) {
  (void)state;
  static const char json[] =
      "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?:a|b)*c|a\"},\"behavior\":\"Isolated\","
      "\"invert\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
  static char text[LONG];
  struct error error = {0};
  struct buffer blob;
  struct tokenizer *tokenizer = tokenizer_of(json, &blob);
  memset(text, 'a', LONG);
  text[LONG - 2] = '.';
  text[LONG - 1] = 'c';
  struct token_list ids;
  token_list_init(&ids, 2 * LONG);
  assert_false(tokenizer_encode(tokenizer, slice_make(text, LONG), 0, &ids, &error));
  assert_memory_equal(error.text, "Splitting the text by the tokenizer's regex takes too long at byte ", 67);
  token_list_release(&ids);
  tokenizer_close(tokenizer);
  buffer_release(&blob);
}

/* Splits a text of 64 words that is the end of one of `gone` bytes, of which 10 s have gone by. */
static bool split_words(uint64_t gone, struct error *error) {
  const uint64_t passed = 10 * UINT64_C(1000000000);
  char text[128];
  struct split_pattern split;
  struct split_match match;
  size_t end = 0, start;
  for (size_t i = 0; i < sizeof text; i++) text[i] = i % 2 == 0 ? ' ' : 'a';
  assert_true(split_pattern_open(&split, slice_text(split_gpt2), VIEW_TEXT, error));
  assert_true(split_match_init(&match));
  match.gone = gone;
  match.since = clock_ns() - passed;
  match.spent = clock_thread_ns() - passed;
  while (split_pattern_next(&split, &match, slice_make(text, sizeof text), end, &start, &end, error)) continue;
  if (error->code == ERROR_NONE) assert_int_equal(match.gone - gone, sizeof text + 64 + 1);
  split_match_release(&match);
  split_pattern_close(&split);
  return error->code == ERROR_NONE;
}

/* What a text may take grows with what was gone through: time alone refuses none. */
static void test_long_text_has_time(void **state) {
  (void)state;
  struct error error = {0};
  assert_true(split_words(UINT64_C(190) << 20, &error));
  assert_false(split_words(UINT64_C(4) << 20, &error));
  assert_memory_equal(error.text, "Splitting the text by the tokenizer's regex takes too long at byte ", 67);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_long),
      cmocka_unit_test(test_marks),
      cmocka_unit_test(test_added_space),
      cmocka_unit_test(test_pieces_grow),
      cmocka_unit_test(test_first_is_cut),
      cmocka_unit_test(test_first_shrinks),
      cmocka_unit_test(test_compiling),
      cmocka_unit_test(test_slow_regex),
      cmocka_unit_test(test_long_text_has_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
