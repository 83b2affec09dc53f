/* The tactic file: what was put is found again, and a file that is not exactly right counts as none and is replaced. */
#include "backend/cpu/tactic_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADING "spate tactics 2, version " SPATE_VERSION "\n"

static char path[] = "/tmp/test_tactic_cache_XXXXXX";

static void file_set(const char *text, size_t size) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, size, file), size);
  fclose(file);
}

static int file_get(const char *key) {
  struct tactic_cache cache;
  int value = -1;
  tactic_cache_open(&cache, path);
  tactic_cache_get(&cache, key, &value);
  tactic_cache_close(&cache, path);
  return value;
}

static void test_values_are_found_again(void **state) {
  (void)state;
  struct tactic_cache cache;
  unlink(path);
  assert_int_equal(file_get("a"), -1);
  tactic_cache_open(&cache, path);
  tactic_cache_put(&cache, "a", 3);
  tactic_cache_put(&cache, "a, longer", 0);
  tactic_cache_close(&cache, path);
  assert_int_equal(file_get("a"), 3);
  assert_int_equal(file_get("a, longer"), 0);
  assert_int_equal(file_get("b"), -1);
  tactic_cache_open(&cache, path);
  tactic_cache_put(&cache, "a", 5); /* overrules */
  tactic_cache_close(&cache, path);
  assert_int_equal(file_get("a"), 5);
}

static void test_a_corrupt_file_counts_as_none(void **state) {
  (void)state;
  static const char *const texts[] = {
      "",
      "spate tactics 1\na\t3\n",
      "spate tactics 2, version 0.0.0\na\t3\n",
      HEADING "a\t3",
      HEADING "a\t3\n\n",
      HEADING "a\t3\nb\n",
      HEADING "a\t3\nb\t\n",
      HEADING "a\t3\nb\t-1\n",
      HEADING "a\t3\nb\t99999999\n",
      HEADING "a\t3\n\x01\t1\n",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct tactic_cache cache;
    file_set(texts[i], strlen(texts[i]));
    assert_int_equal(file_get("a"), -1);
    tactic_cache_open(&cache, path);
    tactic_cache_put(&cache, "c", 7);
    tactic_cache_close(&cache, path);
    assert_int_equal(file_get("c"), 7);
  }
}

static void test_no_path_and_a_path_that_cannot_be_written(void **state) {
  (void)state;
  const char *const paths[] = {NULL, "/nonexistent/folder/tactics"};
  for (int i = 0; i < 2; i++) {
    struct tactic_cache cache;
    int value = -1;
    tactic_cache_open(&cache, paths[i]);
    tactic_cache_put(&cache, "a", 2);
    assert_true(tactic_cache_get(&cache, "a", &value));
    assert_int_equal(value, 2);
    tactic_cache_close(&cache, paths[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values_are_found_again),
      cmocka_unit_test(test_a_corrupt_file_counts_as_none),
      cmocka_unit_test(test_no_path_and_a_path_that_cannot_be_written),
  };
  int descriptor = mkstemp(path);
  if (descriptor >= 0) close(descriptor);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(path);
  return failed;
}
