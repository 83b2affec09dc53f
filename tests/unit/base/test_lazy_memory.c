/* Memory that is promised: all of it at first, and less by each page that is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_promised)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
