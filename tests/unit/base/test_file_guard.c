/* A mapped file that shrinks: zeros instead of a signal where it is guarded, the signal everywhere else. Each case is a
 * child process, because cmocka has a SIGBUS handler of its own. */
#include "base/file_guard.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* The exit status of a child that runs the case; what it returns is its exit code. */
static int child_run(int (*run)(void)) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    signal(SIGBUS, SIG_DFL);
    _exit(run());
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static int guarded_run(void) {
  int wrong = 0;
  for (int round = 0; round < 2; round++) {
    struct file file = file_make();
    wrong += !file_guard_add(&file) || truncate(path, KEPT) != 0;
    wrong += file.data[FILE_SIZE / 2] != 0 || file.data[FILE_SIZE - 1] != 0 || file.data[1 << 16] != 0;
    wrong += file.data[KEPT - 1] != 'x' || file_intact(&file);
    file_guard_remove(&file);
    file_close(&file);
  }
  return wrong;
}

/* A file that was cut and written anew has its old size, and its zeros stay. */
static int rewritten_run(void) {
  struct file file = file_make();
  int wrong = !file_guard_add(&file) || file_guard_tripped(&file) || truncate(path, KEPT) != 0;
  wrong += file.data[FILE_SIZE / 2] != 0 || truncate(path, FILE_SIZE) != 0;
  wrong += !file_intact(&file) || !file_guard_tripped(&file);
  file_guard_remove(&file);
  file_close(&file);
  file = file_make();
  wrong += !file_guard_add(&file) || file_guard_tripped(&file); /* the next one starts anew */
  return wrong;
}

static void test_rewritten(void **state) {
  (void)state;
  int status = child_run(rewritten_run);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_guarded(void **state) {
  (void)state;
  int status = child_run(guarded_run);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static int unguarded_run(void) {
  struct file guarded = file_make(), file = file_make();
  if (!file_guard_add(&guarded) || !file_guard_add(&file)) return 0;
  file_guard_remove(&file);
  if (truncate(path, KEPT) != 0) return 0;
  return file.data[FILE_SIZE / 2];
}

static void test_unguarded(void **state) {
  (void)state;
  int status = child_run(unguarded_run);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGBUS);
}

int main(void) {
  int descriptor = mkstemp(path);
  if (descriptor < 0) return 1;
  close(descriptor);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_guarded), cmocka_unit_test(test_rewritten),
                                     cmocka_unit_test(test_unguarded)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(path);
  return failed;
}
