/* How many CPUs a cgroup's quota leaves, over made-up hierarchies. */
#include "base/cpu_share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void file_make(const char *root, const char *path, const char *text) {
  char full[512];
  snprintf(full, sizeof full, "%s/%s", root, path);
  for (char *slash = full + 1; (slash = strchr(slash, '/')); slash++) {
    *slash = '\0';
    mkdir(full, 0700);
    *slash = '/';
  }
  FILE *file = fopen(full, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static void test_quota_is_the_tightest_of_a_group_and_its_parents(void **state) {
  (void)state;
  char root[] = "/tmp/test_cpu_share_XXXXXX", command[96];
  assert_non_null(mkdtemp(root));
  file_make(root, "a/cpu.max", "350000 100000\n");
  file_make(root, "a/b/cpu.max", "max 100000\n");
  file_make(root, "half/cpu.max", "50000 100000\n");
  file_make(root, "free/cpu.max", "max 100000\n");
  file_make(root, "cpu/pod/cpu.cfs_quota_us", "400000\n");
  file_make(root, "cpu/pod/cpu.cfs_period_us", "100000\n");
  file_make(root, "cpu/open/cpu.cfs_quota_us", "-1\n");
  file_make(root, "cpu/open/cpu.cfs_period_us", "100000\n");
  assert_int_equal(cpu_share_quota(root, "0::/a/b\n"), 3);
  assert_int_equal(cpu_share_quota(root, "0::/half\n"), 1);
  assert_int_equal(cpu_share_quota(root, "0::/free\n"), 0);
  assert_int_equal(cpu_share_quota(root, "0::/missing/group\n"), 0);
  assert_int_equal(cpu_share_quota(root, "5:memory:/pod\n4:cpu,cpuacct:/pod\n"), 4);
  assert_int_equal(cpu_share_quota(root, "4:cpuset:/pod\n"), 0);
  assert_int_equal(cpu_share_quota(root, "4:cpu,cpuacct:/open\n0::/a\n"), 3);
  assert_int_equal(cpu_share_quota(root, "no colons\n:\n\n"), 0);
  assert_true(cpu_share_count() >= 1);
  snprintf(command, sizeof command, "rm -r %s", root);
  assert_int_equal(system(command), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_quota_is_the_tightest_of_a_group_and_its_parents)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
