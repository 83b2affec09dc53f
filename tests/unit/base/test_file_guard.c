/* A mapped file that shrinks: zeros instead of a signal where it is guarded, the signal everywhere else. */
#include "base/file_guard.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILE_SIZE = 1 << 20, KEPT = 100 };

static char path[] = "/tmp/spate-file-guard-XXXXXX";

/* A file full of 'x', mapped. */
static struct file file_make(void) {
  static char bytes[FILE_SIZE];
  struct file file;
  struct error error;
  memset(bytes, 'x', sizeof bytes);
  FILE *stream = fopen(path, "wb");
  assert_non_null(stream);
  assert_int_equal(fwrite(bytes, 1, sizeof bytes, stream), sizeof bytes);
  fclose(stream);
  if (!file_open(&file, path, &error)) fail_msg("%s", error.text);
  return file;
}

static void test_zeros(void **state) {
  (void)state;
  for (int round = 0; round < 2; round++) {
    struct file file = file_make();
    assert_true(file_guard_add(&file));
    assert_int_equal(truncate(path, KEPT), 0);
    assert_int_equal(file.data[FILE_SIZE / 2], 0);
    assert_int_equal(file.data[FILE_SIZE - 1], 0);
    assert_int_equal(file.data[4096], 0);
    assert_int_equal(file.data[KEPT - 1], 'x');
    assert_false(file_intact(&file));
    file_guard_remove(&file);
    file_close(&file);
  }
}

/* In a child, which the signal kills. */
static void test_elsewhere(void **state) {
  (void)state;
  struct file guarded = file_make(), file = file_make();
  assert_true(file_guard_add(&guarded));
  assert_true(file_guard_add(&file));
  file_guard_remove(&file);
  assert_int_equal(truncate(path, KEPT), 0);
  pid_t child = fork();
  if (child == 0) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    _exit(file.data[FILE_SIZE / 2] == 0 ? 1 : 2);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_false(WIFEXITED(status) && WEXITSTATUS(status) <= 2);
  file_guard_remove(&guarded);
  file_close(&guarded);
  file_close(&file);
}

int main(void) {
  int descriptor = mkstemp(path);
  if (descriptor < 0) return 1;
  close(descriptor);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_zeros), cmocka_unit_test(test_elsewhere)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(path);
  return failed;
}
