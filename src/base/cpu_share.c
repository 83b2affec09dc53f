/* CPUs by affinity and cgroup quota, read from files of the kernel. Any thread; at start-up only. */
#include "base/cpu_share.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first bytes of a small file as text; false when it cannot be read. */
static bool text_read(const char *path, char *text, size_t size) {
  FILE *file = fopen(path, "re");
  if (!file) return false;
  size_t got = fread(text, 1, size - 1, file);
  text[got] = '\0';
  fclose(file);
  return got > 0;
}

/* Microseconds of CPU a period → CPUs. */
static double quota_cpus(long long quota, long long period) {
  return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

/* "max 100000" or "150000 100000" of version 2. */
static double quota_unified(const char *directory) {
  char path[PATH_MAX + 32], text[64];
  long long quota = 0, period = 0;
  snprintf(path, sizeof path, "%s/cpu.max", directory);
  if (!text_read(path, text, sizeof text) || sscanf(text, "%lld %lld", &quota, &period) != 2) return 0;
  return quota_cpus(quota, period);
}

/* Two files of version 1; a quota of −1 means none. */
static double quota_legacy(const char *directory) {
  char path[PATH_MAX + 32], text[64];
  snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
  if (!text_read(path, text, sizeof text)) return 0;
  long long quota = strtoll(text, NULL, 10);
  snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
  if (!text_read(path, text, sizeof text)) return 0;
  return quota_cpus(quota, strtoll(text, NULL, 10));
}

static double tighter(double a, double b) { return a != 0 && (b == 0 || a < b) ? a : b; }

/* The tightest of a cgroup and its parents, up to the root of the hierarchy (all that a container sees of it). */
static double quota_walk(const char *hierarchy, const char *group, double (*quota)(const char *directory)) {
  char directory[PATH_MAX];
  int length = snprintf(directory, sizeof directory, "%s%s", hierarchy, group);
  if (length < 0 || length >= (int)sizeof directory) return 0;
  double tightest = 0;
  for (;;) {
    tightest = tighter(quota(directory), tightest);
    char *slash = strrchr(directory, '/');
    if (!slash || slash < directory + strlen(hierarchy)) return tightest;
    *slash = '\0';
  }
}

static bool controllers_name(const char *list, const char *name) {
  size_t length = strlen(name);
  for (const char *at = list; *at;) {
    size_t span = strcspn(at, ",");
    if (span == length && strncmp(at, name, span) == 0) return true;
    at += span + (at[span] == ',');
  }
  return false;
}

/* One line of the membership: "id:controllers:group"; version 2 names no controllers. */
static double quota_line(const char *root, char *line) {
  char *controllers = strchr(line, ':');
  char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group) return 0;
  *group++ = '\0';
  controllers++;
  if (*controllers == '\0') return quota_walk(root, group, quota_unified);
  if (!controllers_name(controllers, "cpu")) return 0;
  char hierarchy[PATH_MAX];
  snprintf(hierarchy, sizeof hierarchy, "%s/cpu", root);
  return quota_walk(hierarchy, group, quota_legacy);
}

double cpu_share_quota_exact(const char *root, const char *membership) {
  double tightest = 0;
  while (*membership) {
    size_t length = strcspn(membership, "\n");
    char line[PATH_MAX];
    if (length < sizeof line) {
      memcpy(line, membership, length);
      line[length] = '\0';
      tightest = tighter(quota_line(root, line), tightest);
    }
    membership += length + (membership[length] == '\n');
  }
  return tightest;
}

/* Part of a CPU more would only be throttled at the barriers. */
int cpu_share_quota(const char *root, const char *membership) {
  double cpus = cpu_share_quota_exact(root, membership);
  return cpus <= 0 ? 0 : cpus < 1 ? 1 : cpus > INT_MAX ? INT_MAX : (int)cpus;
}

int cpu_share_count(void) {
  cpu_set_t allowed;
  int count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
  char membership[8192];
  if (!text_read("/proc/self/cgroup", membership, sizeof membership)) return count;
  int quota = cpu_share_quota("/sys/fs/cgroup", membership);
  return quota && quota < count ? quota : count;
}

const char *cpu_share_model(char out[96]) {
  strcpy(out, "unknown");
  FILE *file = fopen("/proc/cpuinfo", "re");
  if (!file) return out;
  char line[256];
  while (fgets(line, sizeof line, file)) {
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, "model name", 10) != 0) continue;
    snprintf(out, 96, "%.95s", colon + 1 + (colon[1] == ' '));
    out[strcspn(out, "\n")] = '\0';
    break;
  }
  fclose(file);
  return out;
}
