/* Files that get their name last: with and without a name of their own until then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/temporary_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

static char folder[64], path[96];

static int entries(void) {
  DIR *directory = opendir(folder);
  int count = -2; /* . and .. */
  while (readdir(directory)) count++;
  closedir(directory);
  return count;
}

static void content_check(const char *expected) {
  char text[16] = "";
  int descriptor = open(path, O_RDONLY);
  assert_true(descriptor >= 0 && read(descriptor, text, sizeof text - 1) >= 0);
  close(descriptor);
  assert_string_equal(text, expected);
}

static void ways_check(bool (*file_open)(struct temporary_file *, const char *, struct error *)) {
  struct temporary_file file, other;
  struct error error;
  for (int round = 0; round < 2; round++) { /* with nothing, then with a file under the name */
    assert_true(file_open(&file, path, &error) && file_open(&other, path, &error));
    assert_int_equal(write(file.descriptor, "first", 5), 5);
    assert_int_equal(write(other.descriptor, "other", 5), 5);
    assert_true(temporary_file_commit(&file, &error));
    content_check("first");
    assert_true(temporary_file_commit(&other, &error));
    content_check("other");
    temporary_file_release(&file);
    temporary_file_release(&other);
    assert_int_equal(entries(), 1);
  }
  assert_true(file_open(&file, path, &error));
  temporary_file_release(&file); /* not committed */
  content_check("other");
  assert_int_equal(entries(), 1);
  unlink(path);
}

static void test_ways(void **state) {
  (void)state;
  ways_check(temporary_file_open);
  ways_check(temporary_file_open_named);
}

static void test_refused(void **state) {
  (void)state;
  struct temporary_file file;
  struct error error;
  char missing[160], expected[256];
  snprintf(missing, sizeof missing, "%s/none/file", folder);
  snprintf(expected, sizeof expected, "%s cannot be created: No such file or directory.", missing);
  assert_false(temporary_file_open(&file, missing, &error));
  assert_string_equal(error.text, expected);
  temporary_file_release(&file);
  assert_false(temporary_file_open_named(&file, missing, &error));
  assert_string_equal(error.text, expected);
  temporary_file_release(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ways), cmocka_unit_test(test_refused)};
  strcpy(folder, "/tmp/spate-test-XXXXXX");
  if (!mkdtemp(folder)) return 1;
  snprintf(path, sizeof path, "%s/file", folder);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rmdir(folder);
  return failed;
}
