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
#include <limits.h>
#include <sys/file.h>
#include <sys/syscall.h>
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

static void name_print(char out[192], int number) {
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof host - 1);
  snprintf(out, 192, "%s.%s-%d.part", path, host, number);
}

/* A killed program's part is removed, whoever has it open; one that is being written, or is no file, is not. */
static void test_left(void **state) {
  (void)state;
  struct temporary_file file, other;
  struct error error;
  char part[192], second[192];
  name_print(part, 0);
  name_print(second, 1);
  int left = open(part, O_WRONLY | O_CREAT, 0666);
  assert_int_equal(write(left, "half of a file", 14), 14);
  assert_return_code(symlink(part, second), 0);
  assert_true(temporary_file_open_named(&file, path, &error));
  assert_string_equal(file.name, part);
  assert_true(temporary_file_open_named(&other, path, &error));
  assert_string_not_equal(other.name, part);
  assert_string_not_equal(other.name, second);
  assert_int_equal(write(file.descriptor, "first", 5), 5);
  assert_int_equal(write(left, "evil", 4), 4); /* into what has no name any more */
  close(left);
  assert_true(temporary_file_commit(&file, &error));
  content_check("first");
  temporary_file_release(&file);
  temporary_file_release(&other);
  assert_return_code(unlink(second), 0);
  assert_int_equal(entries(), 1);
  unlink(path);
}

/* What another does between a file's creation and its lock: it takes the file for one that was left. */
static const char *robbed; /* its name; NULL: nobody does */

int flock(int descriptor, int operation) {
  if (robbed) {
    unlink(robbed);
    close(open(robbed, O_WRONLY | O_CREAT | O_EXCL, 0666));
    robbed = NULL;
  }
  return (int)syscall(SYS_flock, descriptor, operation);
}

static void test_robbed(void **state) {
  (void)state;
  struct temporary_file file;
  struct error error;
  char part[192];
  name_print(part, 0);
  robbed = part;
  assert_true(temporary_file_open_named(&file, path, &error));
  assert_int_equal(write(file.descriptor, "first", 5), 5);
  assert_true(temporary_file_commit(&file, &error));
  content_check("first");
  temporary_file_release(&file);
  assert_int_equal(entries(), 1);
  unlink(path);
}

static void test_all_others(void **state) {
  (void)state;
  struct temporary_file file[101];
  struct error error;
  char expected[512], last[192];
  name_print(last, 99);
  for (int i = 0; i < 100; i++) assert_true(temporary_file_open_named(&file[i], path, &error));
  assert_false(temporary_file_open_named(&file[100], path, &error));
  snprintf(expected, sizeof expected,
           "%s cannot be created: 100 files like %s are others'. Remove those that no build writes.", path, last);
  assert_string_equal(error.text, expected);
  for (int i = 0; i <= 100; i++) temporary_file_release(&file[i]);
  assert_int_equal(entries(), 0);
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ways), cmocka_unit_test(test_left),
                                     cmocka_unit_test(test_robbed), cmocka_unit_test(test_all_others),
                                     cmocka_unit_test(test_refused)};
  strcpy(folder, "/tmp/spate-test-XXXXXX");
  if (!mkdtemp(folder)) return 1;
  snprintf(path, sizeof path, "%s/file", folder);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rmdir(folder);
  return failed;
}
