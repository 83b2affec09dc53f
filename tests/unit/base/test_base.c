/* The base room: bounded buffers, arenas, UTF-8, JSON, hashes, metrics. */
#include "base/arena.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/keyed_hash.h"
#include "base/limits.h"
#include "base/metric.h"
#include "base/scaled_name.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_buffer(void **state) {
  (void)state;
  struct buffer b;
  buffer_init(&b, 600);
  for (int i = 0; i < 60; i++) assert_true(buffer_text(&b, "0123456789"));
  assert_int_equal(b.size, 600);
  assert_false(buffer_append(&b, "x", 1));
  assert_true(b.failed && b.size == 600);
  buffer_consume(&b, 595);
  assert_memory_equal(b.data, "56789", 5);
  buffer_clear(&b);
  assert_true(buffer_print(&b, "%d-%s", 42, "x"));
  assert_true(slice_is(buffer_slice(&b), "42-x"));
  buffer_release(&b);
}

/* What was handed out before is zeros again, in the same memory where it fits and in no other that is too large. */
static void test_arena_renew(void **state) {
  enum { BYTES = 8 << 20 };
  struct arena arena;
  (void)state;
  arena_init(&arena, SIZE_MAX);
  arena_renew(&arena, BYTES);
  char *first = arena_alloc(&arena, BYTES);
  assert_non_null(first);
  memset(first, 7, BYTES);
  assert_non_null(arena_alloc(&arena, 3 * BYTES));
  arena_renew(&arena, BYTES * 3 / 4);
  char *again = arena_alloc(&arena, BYTES / 2), *rest = arena_alloc(&arena, BYTES / 4);
  assert_ptr_equal(again, first);
  for (int i = 0; i < BYTES / 2; i++) assert_int_equal(again[i], 0);
  for (int i = 0; i < BYTES / 4; i++) assert_int_equal(rest[i], 0);
  memset(again, 7, 16);
  arena_renew(&arena, 1);
  assert_ptr_not_equal(arena_alloc(&arena, 1), first);
  assert_true(arena.used == 16);
  arena_release(&arena);
}

static void test_arena(void **state) {
  (void)state;
  struct arena arena;
  arena_init(&arena, 1000);
  char *text = arena_text(&arena, slice_text("hello"));
  assert_string_equal(text, "hello");
  assert_true((uintptr_t)arena_alloc(&arena, 3) % 16 == 0);
  assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
  assert_null(arena_alloc(&arena, 1000));
  arena_release(&arena);
  assert_non_null(arena_alloc(&arena, 990));
  arena_release(&arena);
}

static void test_utf8(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    bool valid;
    size_t complete; /* of all the bytes */
  } table[] = {
      {"", true, 0},          {"abc", true, 3},           {"\xC3\xA9", true, 2},          {"a\xC3", false, 1},
      {"\xE2\x82", false, 0}, {"\xE2\x82\xAC", true, 3},  {"\xF0\x9F\x98", false, 0},     {"\xF0\x9F\x98\x80", true, 4},
      {"\xC0\x80", false, 2}, {"\xED\xA0\x80", false, 3}, {"\xF4\x90\x80\x80", false, 4}, {"x\x80", false, 2},
      {"\xE0\x80", false, 2},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    assert_int_equal(utf8_valid(slice_text(table[i].bytes)), table[i].valid);
    assert_int_equal(utf8_complete(slice_text(table[i].bytes)), table[i].complete);
  }
  static const struct {
    const char *bytes;
    uint32_t code;
  } characters[] = {{"A", 0x41}, {"\xC3\xA4", 0xE4}, {"\xE6\xBC\xA2", 0x6F22}, {"\xF0\x9F\x99\x82", 0x1F642}};
  for (size_t i = 0; i < sizeof characters / sizeof *characters; i++) {
    uint32_t code = 0;
    assert_int_equal(utf8_read(slice_text(characters[i].bytes), &code), strlen(characters[i].bytes));
    assert_int_equal(code, characters[i].code);
  }
}

static void test_json_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *sentence;
  } table[] = {
      {"{\"a\":1,\"a\":2}", "Not valid JSON at line 1, column 10: duplicate object key near '\"a\"'."},
      {"{\"a\":1} x", "Not valid JSON at line 1, column 9: end of file expected near 'x'."},
      {"[1,", "Not valid JSON at line 1, column 3: ']' expected near end of file."},
      {"\"\xFF\"", "Not valid JSON at line 1, column 1: unable to decode byte 0xff near '\"'."},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct error error = {0};
    assert_null(json_parse(slice_text(table[i].text), &error));
    assert_string_equal(error.text, table[i].sentence);
  }
  struct error empty = {0};
  assert_null(json_parse((struct slice){0}, &empty));
  assert_string_equal(empty.text, "Not valid JSON at line 1, column 0: '[' or '{' expected near end of file.");
  char deep[200];
  memset(deep, '[', sizeof deep);
  struct error error = {0};
  assert_null(json_parse(slice_make(deep, sizeof deep), &error));
  assert_string_equal(error.text, "The JSON nests deeper than 64 levels; send it flatter.");
}

static void test_json_written(void **state) {
  (void)state;
  struct buffer b;
  buffer_init(&b, 4096);
  json_write_string(&b, slice_make("a\"\\\n\x01\xC3\xA9\xFF\0z", 10));
  assert_true(slice_is(buffer_slice(&b), "\"a\\\"\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBD\\u0000z\""));
  buffer_clear(&b);
  json_write_number(&b, 0.1), buffer_text(&b, " ");
  json_write_number(&b, -3), buffer_text(&b, " ");
  json_write_number(&b, 1.0 / 3), buffer_text(&b, " ");
  json_write_number(&b, 1e300 * 1e300);
  assert_true(slice_is(buffer_slice(&b), "0.1 -3 0.3333333333333333 null"));
  buffer_release(&b);
}

static void test_hash(void **state) {
  (void)state;
  struct hash128 whole = hash_bytes(slice_text("hello world"), 5);
  struct hasher *hasher = hasher_new(5);
  hasher_update(hasher, slice_text("hello "));
  hasher_update(hasher, slice_text("world"));
  assert_true(hash_equal(whole, hasher_finish(hasher)));
  assert_false(hash_equal(whole, hash_bytes(slice_text("hello world"), 6)));
  char text[33];
  hash_format((struct hash128){.high = 0xA, .low = UINT64_MAX}, text);
  assert_string_equal(text, "000000000000000affffffffffffffff");
}

static void test_metrics(void **state) {
  (void)state;
  static const double bounds[] = {0.1, 1};
  struct metric_registry registry = {0};
  struct metric count = {.kind = METRIC_COUNTER, .name = "c_total", .help = "Counts.", .labels = "k=\"v\""};
  struct metric time = {
      .kind = METRIC_HISTOGRAM, .name = "t_seconds", .help = "Times.", .bounds = bounds, .n_bound = 2};
  metric_register(&registry, &count);
  metric_register(&registry, &time);
  metric_add(&count, 3);
  metric_observe(&time, 0.05);
  metric_observe(&time, 0.5);
  metric_observe(&time, 5);
  struct buffer b;
  buffer_init(&b, 4096);
  assert_true(metric_write(&registry, &b));
  assert_true(slice_is(buffer_slice(&b), "# HELP c_total Counts.\n# TYPE c_total counter\nc_total{k=\"v\"} 3\n"
                                         "# HELP t_seconds Times.\n# TYPE t_seconds histogram\n"
                                         "t_seconds_bucket{le=\"0.1\"} 1\nt_seconds_bucket{le=\"1\"} 2\n"
                                         "t_seconds_bucket{le=\"+Inf\"} 3\nt_seconds_sum 5.55\nt_seconds_count 3\n"));
  buffer_clear(&b);
  const struct metric_alias alias[] = {{&count, "v:c_total", "m=\"x\"", "r=\"a\""},
                                       {&count, "v:c_total", "m=\"x\"", NULL},
                                       {&time, "v:t_seconds", "m=\"x\"", NULL}};
  assert_true(metric_write_aliases(alias, 3, &b));
  assert_true(slice_is(buffer_slice(&b), "# HELP v:c_total Counts.\n# TYPE v:c_total counter\n"
                                         "v:c_total{m=\"x\",r=\"a\"} 3\nv:c_total{m=\"x\",k=\"v\"} 3\n"
                                         "# HELP v:t_seconds Times.\n# TYPE v:t_seconds histogram\n"
                                         "v:t_seconds_bucket{m=\"x\",le=\"0.1\"} 1\n"
                                         "v:t_seconds_bucket{m=\"x\",le=\"1\"} 2\n"
                                         "v:t_seconds_bucket{m=\"x\",le=\"+Inf\"} 3\n"
                                         "v:t_seconds_sum{m=\"x\"} 5.55\nv:t_seconds_count{m=\"x\"} 3\n"));
  buffer_clear(&b);
  assert_true(metric_write_label(&b, "l", slice_text("a\"b\\c\nd\xffé")));
  assert_true(slice_is(buffer_slice(&b), "l=\"a\\\"b\\\\c\\nd\xEF\xBF\xBDé\""));
  buffer_release(&b);
}

/* Key 00 01 … 0f over the bytes 00 01 …: what `openssl mac -macopt size:16 siphash` prints. */
static void test_keyed_hash(void **state) {
  (void)state;
  static const struct {
    size_t size;
    const char *expected;
  } cases[] = {{0, "a3817f04ba25a8e66df67214c7550293"},
               {1, "da87c1d86b99af44347659119b22fc45"},
               {2, "8177228da4a45dc7fca38bdef60affe4"},
               {15, "5493e99933b0a8117e08ec0f97cfc3d9"}};
  static const struct hash_key key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
  static const uint8_t bytes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct hash128 hash = keyed_hash(&key, slice_make(bytes, cases[i].size));
    char text[33] = "";
    for (int b = 0; b < 16; b++) {
      unsigned byte = (unsigned)((b < 8 ? hash.low : hash.high) >> (8 * (b % 8)) & 0xFF);
      text[2 * b] = "0123456789abcdef"[byte >> 4];
      text[2 * b + 1] = "0123456789abcdef"[byte & 15];
    }
    assert_string_equal(text, cases[i].expected);
  }
}

static void test_scaled_names(void **state) {
  (void)state;
  static const struct {
    const char *given, *name;
    float scale;
  } cases[] = {
      {"a", "a", 1},         {"a=0.5", "a", 0.5f},    {"a=b=-2", "a=b", -2}, {"a=b", "a=b", 1}, {"a=", "a=", 1},
      {"a=inf", "a=inf", 1}, {"a=1e99", "a=1e99", 1}, {"a=1x", "a=1x", 1},   {"=3", "", 3},     {"", "", 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    float scale;
    assert_true(slice_is(scaled_name_read(cases[i].given, &scale), cases[i].name));
    assert_true(scale == cases[i].scale);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_buffer),       cmocka_unit_test(test_arena),        cmocka_unit_test(test_arena_renew),
      cmocka_unit_test(test_utf8),         cmocka_unit_test(test_json_refused), cmocka_unit_test(test_json_written),
      cmocka_unit_test(test_hash),         cmocka_unit_test(test_metrics),      cmocka_unit_test(test_keyed_hash),
      cmocka_unit_test(test_scaled_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
