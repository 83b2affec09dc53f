/* Memory that is promised: all of it at first, and less by each page that is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/lazy_memory.h"

enum { SMALL = 3, LARGE = 100000 }; /* pages; LARGE are more than one look takes */

static void test_promised(void **state) {
  (void)state;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *large = lazy_memory_map(LARGE * page), *small = lazy_memory_map(SMALL * page);
  assert_true(large && small);
  madvise(large, LARGE * page, MADV_NOHUGEPAGE);
  assert_int_equal(lazy_memory_promised(), (LARGE + SMALL) * page);
  small[page] = 1;
  large[0] = large[LARGE * page - 1] = 1;
  memset(large + 70000 * page, 1, 5 * page);
  assert_int_equal(lazy_memory_promised(), (LARGE + SMALL - 8) * page);
  lazy_memory_forget(large);
  assert_int_equal(large[0], 0); /* reading it brings a page too */
  assert_in_range(lazy_memory_promised(), (LARGE + SMALL - 2) * page, (LARGE + SMALL - 1) * page);
  lazy_memory_unmap(large);
  assert_int_equal(lazy_memory_promised(), (SMALL - 1) * page);
  lazy_memory_unmap(small);
  lazy_memory_unmap(NULL);
  assert_int_equal(lazy_memory_promised(), 0);
  assert_null(lazy_memory_map(SIZE_MAX / 2));
}

/* --- while pages are counted -------------------------------------------------------------------------------------- */

static void (*while_counting)(void); /* called once, in the midst of a count */

/* In place of the system's, which lazy_memory.c calls for the pages. */
int mincore(void *start, size_t size, unsigned char *there) {
  void (*call)(void) = while_counting;
  while_counting = NULL;
  if (call) call();
  return (int)syscall(SYS_mincore, start, size, there);
}

static char *small_memory;
static pthread_t other;

static void *small_forget(void *argument) {
  lazy_memory_forget(small_memory);
  return argument;
}

/* Ends before the count does, or never. */
static void forget_beside(void) {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += 60;
  assert_int_equal(pthread_create(&other, NULL, small_forget, NULL), 0);
  if (pthread_timedjoin_np(other, NULL, &end) != 0) fail_msg("to forget waits for who counts");
}

static void *small_unmap(void *argument) {
  lazy_memory_unmap(small_memory);
  return argument;
}

static void unmap_beside(void) {
  assert_int_equal(pthread_create(&other, NULL, small_unmap, NULL), 0);
  usleep(20000); /* so that it comes to wait: were the mapping gone, the count would end sooner */
}

static void test_beside_a_count(void **state) {
  (void)state;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  small_memory = lazy_memory_map(SMALL * page);
  assert_non_null(small_memory);
  small_memory[0] = 1;
  while_counting = forget_beside;
  assert_int_equal(lazy_memory_promised(), SMALL * page);
  assert_int_equal(small_memory[0], 0);
  while_counting = unmap_beside;
  assert_int_equal(lazy_memory_promised(), (SMALL - 1) * page);
  pthread_join(other, NULL);
  assert_int_equal(lazy_memory_promised(), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_promised), cmocka_unit_test(test_beside_a_count)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
