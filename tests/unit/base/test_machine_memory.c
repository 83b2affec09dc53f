/* Available memory, from made-up /proc and /sys trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/machine_memory.h"
#include "fact_file.h"

#define MEMINFO                                                                                                        \
  { "/proc/meminfo", "MemTotal:  4000 kB\nMemFree: 100 kB\nMemAvailable:    2000 kB\n" }

static const struct {
  struct fact facts[6];
  uint64_t available;
} cases[] = {
    {{{NULL, NULL}}, UINT64_MAX},
    {{MEMINFO}, 2000 * 1024},
    {{MEMINFO, {"/proc/self/cgroup", "0::/\n"}}, 2000 * 1024},
    {{MEMINFO,
      {"/proc/self/cgroup", "0::/\n"},
      {"/sys/fs/cgroup/memory.max", "max\n"},
      {"/sys/fs/cgroup/memory.current", "5000\n"}},
     2000 * 1024},
    {{MEMINFO,
      {"/proc/self/cgroup", "0::/\n"},
      {"/sys/fs/cgroup/memory.max", "100000\n"},
      {"/sys/fs/cgroup/memory.current", "60000\n"},
      {"/sys/fs/cgroup/memory.stat", "anon 1\nfile 30000\ninactive_file 20000\nactive_file 5000\n"}},
     65000},
    /* A parent's limit counts, and a container sees its own group at the mount only. */
    {{MEMINFO,
      {"/proc/self/cgroup", "0::/a/b\n"},
      {"/sys/fs/cgroup/a/memory.max", "90000\n"},
      {"/sys/fs/cgroup/a/memory.current", "95000\n"}},
     0},
    {{MEMINFO,
      {"/proc/self/cgroup", "0::/docker/1234\n"},
      {"/sys/fs/cgroup/memory.max", "70000\n"},
      {"/sys/fs/cgroup/memory.current", "20000\n"}},
     50000},
    {{MEMINFO,
      {"/proc/self/cgroup", "5:cpu:/x\n4:memory:/pod\n0::/\n"},
      {"/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "80000\n"},
      {"/sys/fs/cgroup/memory/pod/memory.usage_in_bytes", "30000\n"},
      {"/sys/fs/cgroup/memory/pod/memory.stat", "cache 9\ntotal_inactive_file 1000\ntotal_active_file 500\n"}},
     51500},
};

static void test_cases(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char root[] = "/tmp/spate-test-XXXXXX", clean[64];
    assert_non_null(mkdtemp(root));
    for (int k = 0; k < 6 && cases[i].facts[k].path; k++) fact_write(root, &cases[i].facts[k]);
    uint64_t available = machine_memory_available(root);
    snprintf(clean, sizeof clean, "rm -r %s", root);
    assert_int_equal(system(clean), 0);
    assert_int_equal(available, cases[i].available);
  }
}

static void test_this_machine(void **state) {
  (void)state;
  uint64_t available = machine_memory_available("");
  assert_true(available > 1 << 20 && available < UINT64_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_this_machine)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
