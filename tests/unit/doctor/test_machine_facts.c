/* Facts of made-up machines: trees of /proc and /sys files. */
#include "doctor/machine_facts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../base/fact_file.h"

struct wanted {
  enum fact_id fact;
  double value;
  const char *text; /* in place of the value */
};

static const struct {
  struct fact files[6];
  struct wanted wanted[7];
  enum fact_id unknown[3];
} cases[] = {
    {{{NULL, NULL}}, {{FACT_GPUS, 0, NULL}}, {FACT_VECTORS, FACT_MEMORY, FACT_LOAD}},
    {{{"/proc/cpuinfo", "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu avx2 avx512f amx_tile\n\nprocessor\t: 1\n"},
      {"/proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    1048576 kB\n"},
      {"/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n"},
      {"/sys/devices/system/node/node0/cpulist", "0-3\n"},
      {"/sys/devices/system/node/node1/cpulist", "4-7\n"},
      {"/sys/devices/system/node/possible", "0-1\n"}},
     {{FACT_VECTORS, 0, "AVX2 AVX-512 AMX"},
      {FACT_VECTORS_LACK, 0, NULL},
      {FACT_MEMORY, 17179869184.0, NULL},
      {FACT_MEMORY_AVAILABLE, 1073741824.0, NULL},
      {FACT_HUGE_PAGES, 0, "never"},
      {FACT_HUGE_PAGES_OFF, 1, NULL},
      {FACT_NUMA_NODES, 2, NULL}},
     {FACT_GOVERNOR, FACT_CPU_QUOTA, FACT_MEMORY_LIMIT}},
    /* what is not named whole is not there */
    {{{"/proc/cpuinfo", "flags\t\t: fpu sse2 noavx2 avx2x\n"}},
     {{FACT_VECTORS, 0, "none"}, {FACT_VECTORS_LACK, 1, NULL}},
     {FACT_MEMORY, FACT_MEMORY, FACT_MEMORY}},
    {{{"/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimddp\n"},
      {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"},
      {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "cppc_cpufreq\n"}},
     {{FACT_VECTORS, 0, "NEON dot products"},
      {FACT_VECTORS_LACK, 0, NULL},
      {FACT_GOVERNOR, 0, "powersave"},
      {FACT_GOVERNOR_SLOW, 1, NULL}},
     {FACT_HUGE_PAGES, FACT_HUGE_PAGES, FACT_HUGE_PAGES}},
    {{{"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"},
      {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n"}},
     {{FACT_GOVERNOR_SLOW, 0, NULL}},
     {FACT_VECTORS, FACT_VECTORS, FACT_VECTORS}},
    /* a container of version 2: its group is the mount */
    {{{"/proc/self/cgroup", "0::/../../x\n"},
      {"/sys/fs/cgroup/cpu.max", "250000 100000\n"},
      {"/sys/fs/cgroup/cpu.stat", "usage_usec 5\nnr_periods 200\nnr_throttled 50\nthrottled_usec 9\n"},
      {"/sys/fs/cgroup/memory.max", "1073741824\n"}},
     {{FACT_CPU_QUOTA, 2.5, NULL},
      {FACT_CPU_QUOTA_REST, 0.5, NULL},
      {FACT_THROTTLED, 0.25, NULL},
      {FACT_MEMORY_LIMIT, 1073741824.0, NULL}},
     {FACT_MEMORY, FACT_MEMORY, FACT_MEMORY}},
    /* version 1, without a limit of memory, never throttled */
    {{{"/proc/self/cgroup", "4:cpu,cpuacct:/a\n2:memory:/\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.stat", "nr_periods 0\nnr_throttled 0\n"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"}},
     {{FACT_CPU_QUOTA, 0.5, NULL}, {FACT_CPU_QUOTA_REST, 0, NULL}},
     {FACT_THROTTLED, FACT_MEMORY_LIMIT, FACT_MEMORY}},
    {{{"/proc/driver/nvidia/version",
       "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 12.2.0\n"},
      {"/proc/driver/nvidia/gpus/0000:17:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 1\n"}},
     {{FACT_GPUS, 1, NULL},
      {FACT_GPU, 0, "NVIDIA H100 80GB HBM3"},
      {FACT_DRIVER, 0, "580.95.05"},
      {FACT_DRIVER_VERSION, 580.95, NULL}},
     {FACT_MEMORY, FACT_MEMORY, FACT_MEMORY}},
    {{{"/dev/nvidia0", ""}, {"/dev/nvidia1", ""}, {"/dev/nvidiactl", ""}},
     {{FACT_GPUS, 2, NULL}},
     {FACT_GPU, FACT_DRIVER, FACT_DRIVER_VERSION}},
    /* nonsense */
    {{{"/proc/cpuinfo", "flags"},
      {"/proc/self/cgroup", ":\n::\nx\n"},
      {"/sys/kernel/mm/transparent_hugepage/enabled", "[\n"},
      {"/proc/meminfo", "MemTotal"},
      {"/proc/driver/nvidia/version", "."},
      {"/proc/driver/nvidia/gpus/0/information", "Model"}},
     {{FACT_GPUS, 1, NULL}},
     {FACT_VECTORS, FACT_HUGE_PAGES, FACT_DRIVER}},
};

static void case_check(const struct facts *facts, size_t i) {
  for (int w = 0; w < 7; w++) {
    const struct wanted *one = &cases[i].wanted[w];
    if (w && one->fact == 0) break;
    if (!facts->known[one->fact]) fail_msg("case %zu: %s is not known", i, fact_definitions[one->fact].name);
    if (one->text)
      assert_string_equal(facts->text[one->fact], one->text);
    else if (facts->value[one->fact] != one->value)
      fail_msg("case %zu: %s is %g", i, fact_definitions[one->fact].name, facts->value[one->fact]);
  }
  for (int u = 0; u < 3; u++)
    if (facts->known[cases[i].unknown[u]]) fail_msg("case %zu: %s", i, fact_definitions[cases[i].unknown[u]].name);
}

static void test_trees(void **state) {
  (void)state;
  struct facts *facts = malloc(sizeof *facts);
  assert_non_null(facts);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char root[] = "/tmp/spate-machine-XXXXXX", command[64];
    assert_non_null(mkdtemp(root));
    for (int f = 0; f < 6 && cases[i].files[f].path; f++) fact_write(root, &cases[i].files[f]);
    memset(facts, 0, sizeof *facts);
    machine_facts_find(facts, root, "/nowhere/at/all");
    case_check(facts, i);
    assert_true(facts->known[FACT_DISK]); /* of the root, the nearest that there is */
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
  }
  free(facts);
}

/* This machine, whatever it is. */
static void test_here(void **state) {
  (void)state;
  struct facts *facts = calloc(1, sizeof *facts);
  assert_non_null(facts);
  machine_facts_find(facts, "", "/tmp");
  assert_true(facts->known[FACT_CPUS] && facts->value[FACT_CPUS] >= 1);
  assert_true(facts->known[FACT_MEMORY] &&
              facts->value[FACT_MEMORY] == (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE));
  assert_true(facts->known[FACT_LOAD] && facts->value[FACT_LOAD] >= 0);
  assert_true(facts->known[FACT_DESCRIPTORS] && facts->value[FACT_DESCRIPTORS] >= 3);
  free(facts);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_trees), cmocka_unit_test(test_here)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
