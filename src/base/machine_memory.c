/* Available memory from /proc/meminfo and the cgroup files. */
#include "base/machine_memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 1024, LINE_BYTES = 1024 };
static const uint64_t UNLIMITED = 1ull << 62; /* version 1 has the greatest number of whole pages where there is none */

/* The number after `key` at the start of a line ("" : the first line's own); UINT64_MAX when absent or "max". */
static uint64_t number_read(const char *path, const char *key) {
  char line[LINE_BYTES];
  uint64_t value = UINT64_MAX;
  FILE *stream = fopen(path, "re");
  if (!stream) return value;
  while (value == UINT64_MAX && fgets(line, sizeof line, stream)) {
    if (strncmp(line, key, strlen(key)) != 0) continue;
    const char *digits = line + strlen(key);
    digits += strspn(digits, " \t:");
    if (*digits >= '0' && *digits <= '9') value = strtoull(digits, NULL, 10);
    if (*key == '\0') break;
  }
  fclose(stream);
  return value;
}

/* The names of one cgroup version's files. */
struct cgroup_files {
  const char *mount, *limit, *usage, *cache[2]; /* cache: keys of memory.stat for pages of files */
};

static const struct cgroup_files version_2 = {
    "/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file", "active_file"}};
static const struct cgroup_files version_1 = {"/sys/fs/cgroup/memory",
                                              "memory.limit_in_bytes",
                                              "memory.usage_in_bytes",
                                              {"total_inactive_file", "total_active_file"}};

/* A figure of one group. */
typedef uint64_t group_figure(const char *root, const struct cgroup_files *files, const char *group);

static uint64_t group_limit(const char *root, const struct cgroup_files *files, const char *group) {
  char path[PATH_BYTES + 64];
  snprintf(path, sizeof path, "%s%s%s/%s", root, files->mount, group, files->limit);
  uint64_t limit = number_read(path, "");
  return limit < UNLIMITED ? limit : UINT64_MAX;
}

/* What one group leaves below its limit. */
static uint64_t group_available(const char *root, const struct cgroup_files *files, const char *group) {
  char path[PATH_BYTES + 64];
  uint64_t limit = group_limit(root, files, group);
  snprintf(path, sizeof path, "%s%s%s/%s", root, files->mount, group, files->usage);
  uint64_t usage = number_read(path, "");
  if (limit == UINT64_MAX || usage == UINT64_MAX) return UINT64_MAX;
  snprintf(path, sizeof path, "%s%s%s/memory.stat", root, files->mount, group);
  for (int i = 0; i < 2; i++) {
    uint64_t cache = number_read(path, files->cache[i]);
    if (cache != UINT64_MAX) usage -= cache < usage ? cache : usage;
  }
  return limit > usage ? limit - usage : 0;
}

/* The least over a group and its parents. In a container the group's path may not exist below the mount: then only the
 * mount itself, which is the container's own group, answers. */
static uint64_t groups_least(const char *root, const struct cgroup_files *files, char *group, group_figure *figure) {
  uint64_t least = UINT64_MAX;
  for (;;) {
    uint64_t one = figure(root, files, group);
    if (one < least) least = one;
    char *slash = strrchr(group, '/');
    if (!slash) return least;
    *slash = '\0';
  }
}

/* /proc/self/cgroup has lines "0::/path" (version 2) and "4:memory:/path" (version 1). */
static uint64_t cgroup_least(const char *root, group_figure *figure) {
  char path[PATH_BYTES], line[LINE_BYTES];
  uint64_t least = UINT64_MAX;
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *stream = fopen(path, "re");
  if (!stream) return least;
  while (fgets(line, sizeof line, stream)) {
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) continue;
    *group++ = '\0';
    const struct cgroup_files *files = controllers[1] == '\0' ? &version_2 : &version_1;
    if (files == &version_1 && !strstr(controllers + 1, "memory")) continue;
    uint64_t one = groups_least(root, files, group, figure);
    if (one < least) least = one;
  }
  fclose(stream);
  return least;
}

uint64_t machine_memory_available(const char *root) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/proc/meminfo", root);
  uint64_t kilobytes = number_read(path, "MemAvailable"), group = cgroup_least(root, group_available);
  uint64_t machine = kilobytes == UINT64_MAX ? kilobytes : kilobytes * 1024;
  return machine < group ? machine : group;
}

uint64_t machine_memory_limit(const char *root) { return cgroup_least(root, group_limit); }

uint64_t machine_memory_own(void) {
  char line[LINE_BYTES], *next = line;
  FILE *stream = fopen("/proc/self/statm", "re");
  bool read = stream && fgets(line, sizeof line, stream);
  if (stream) fclose(stream);
  if (!read) return 0;
  uint64_t pages[3]; /* of its addresses, resident, and of these shared with files */
  for (int i = 0; i < 3; i++) pages[i] = strtoull(next, &next, 10);
  return pages[1] > pages[2] ? (pages[1] - pages[2]) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
