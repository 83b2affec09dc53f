/* A folder of adapters that changes while it is listed, or cannot be listed; looks at it one after the other, without
 * the store's threads. */
#include "engine/adapter_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../held_clock.h"
#include "base/clock.h"

static char folder[] = "/tmp/spate-adapters-XXXXXX";
static int n_listed;
static const char *arrives; /* in the folder when it has just been listed, without its time telling; NULL: nothing */
static struct adapter_store store;

static void entry_make(const char *name) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(mkdir(path, 0700), 0);
}

struct adapter_names *__real_adapter_names_read(const char *path, struct error *error);
struct adapter_names *__wrap_adapter_names_read(const char *path, struct error *error);

struct adapter_names *__wrap_adapter_names_read(const char *path, struct error *error) {
  struct stat about;
  struct adapter_names *names = __real_adapter_names_read(path, error);
  n_listed++;
  if (!arrives) return names;
  assert_int_equal(stat(path, &about), 0);
  entry_make(arrives);
  assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){about.st_atim, about.st_mtim}, 0), 0);
  arrives = NULL;
  return names;
}

static int folder_make(void **state) {
  struct error error;
  (void)state;
  strcpy(folder, "/tmp/spate-adapters-XXXXXX");
  assert_non_null(mkdtemp(folder));
  entry_make("a");
  /* long ago: what comes now has another time, however soon it comes */
  assert_int_equal(utimensat(AT_FDCWD, folder, (struct timespec[2]){{1000000000, 0}, {1000000000, 0}}, 0), 0);
  clock_hold();
  store = (struct adapter_store){.folder = folder, .swept = &store.first_file};
  pthread_mutex_init(&store.lock, NULL);
  pthread_cond_init(&store.settled, NULL);
  store.names = __real_adapter_names_read(folder, &error);
  n_listed = 0;
  arrives = NULL;
  return store.names ? 0 : -1;
}

static int folder_remove(void **state) {
  char command[128];
  (void)state;
  clock_release();
  adapter_names_free(store.names);
  pthread_mutex_destroy(&store.lock);
  pthread_cond_destroy(&store.settled);
  snprintf(command, sizeof command, "rm -rf %s %s.away", folder, folder);
  return system(command);
}

static void look(void) {
  pthread_mutex_lock(&store.lock);
  folder_look(&store);
  pthread_mutex_unlock(&store.lock);
}

static bool has(const char *name) { return adapter_names_find(store.names, name) != NULL; }

/* What has come while it was listed, at the same time by the file system's clock, is found by the look after that. */
static void test_changed_while_listed(void **state) {
  (void)state;
  arrives = "late";
  look();
  assert_int_equal(n_listed, 1);
  assert_true(has("a") && !has("late"));
  look();
  assert_int_equal(n_listed, 2);
  assert_true(has("a") && has("late"));
  look(); /* now that its time is over, only when it changes */
  assert_int_equal(n_listed, 2);
  entry_make("c");
  look();
  assert_true(n_listed == 3 && has("c"));
}

/* A file in its place: the names stay, and it is tried again after longer than usual, or when somebody loads. */
static void test_not_listed(void **state) {
  (void)state;
  char away[80];
  snprintf(away, sizeof away, "%s.away", folder);
  look();
  look();
  assert_int_equal(n_listed, 2);
  uint64_t usual = store.next_look_ns - clock_ns();
  assert_int_equal(rename(folder, away), 0);
  look(); /* nothing is there */
  assert_true(n_listed == 2 && has("a"));
  int file = open(folder, O_CREAT | O_WRONLY, 0600);
  assert_true(file >= 0);
  close(file);
  look();
  assert_true(n_listed == 3 && has("a"));
  assert_true(store.next_look_ns - clock_ns() > 5 * usual);
  store.looks_wanted++;
  look();
  assert_int_equal(n_listed, 4);
  assert_int_equal(store.looks_done, store.looks_wanted); /* whoever loads is told what there was */
  assert_true(has("a"));
  assert_int_equal(unlink(folder), 0);
  assert_int_equal(rename(away, folder), 0);
  entry_make("c");
  look();
  assert_true(has("a") && has("c"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_changed_while_listed, folder_make, folder_remove),
      cmocka_unit_test_setup_teardown(test_not_listed, folder_make, folder_remove),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
