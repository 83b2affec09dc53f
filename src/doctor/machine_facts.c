/* Small files of /proc and /sys. They are the kernel's, and read with bounds all the same: a container may mount its
 * own. */
#include "doctor/machine_facts.h"

#include "base/cpu_share.h"
#include "base/machine_memory.h"

#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { FILE_BYTES = 64 << 10 };

/* The beginning of a file as text; false when it cannot be read or is empty. */
static bool file_text(const char *root, const char *path, char text[FILE_BYTES]) {
  char full[PATH_MAX];
  int length = snprintf(full, sizeof full, "%s%s", root, path);
  FILE *file = length > 0 && length < (int)sizeof full ? fopen(full, "re") : NULL;
  if (!file) return false;
  size_t size = fread(text, 1, FILE_BYTES - 1, file);
  text[size] = '\0';
  fclose(file);
  return size > 0;
}

/* What follows `key` and a colon or blanks at the beginning of a line, to the line's end; NULL when there is none. */
static char *line_value(char *text, const char *key) {
  size_t size = strlen(key);
  for (char *line = text; line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, key, size) != 0 || line[size] == '\0' || !strchr(" \t:", line[size])) continue;
    line += size;
    line += strspn(line, " \t:");
    line[strcspn(line, "\n")] = '\0';
    return line;
  }
  return NULL;
}

/* --- CPU ---------------------------------------------------------------------------------------------------------- */

static bool has_word(const char *list, const char *word) {
  size_t size = strlen(word);
  for (const char *at = strstr(list, word); at; at = strstr(at + 1, word))
    if ((at == list || at[-1] == ' ') && (at[size] == ' ' || at[size] == '\0')) return true;
  return false;
}

static void vectors_find(struct facts *facts, const char *root, char *text) {
  static const struct {
    const char *flag, *name;
    bool enough; /* there are kernels for it */
  } known[] = {{"avx2", "AVX2", true},         {"avx_vnni", "AVX-VNNI", false},    {"avx512f", "AVX-512", false},
               {"avx512_vnni", "VNNI", false}, {"avx512_bf16", "BF16", false},     {"avx512_fp16", "FP16", false},
               {"amx_tile", "AMX", false},     {"amx_int8", "AMX-INT8", false},    {"amx_bf16", "AMX-BF16", false},
               {"asimd", "NEON", true},        {"asimddp", "dot products", false}, {"i8mm", "I8MM", false}};
  char names[FACT_TEXT_MAX] = "";
  bool enough = false;
  if (!file_text(root, "/proc/cpuinfo", text)) return;
  char *flags = line_value(text, "flags");
  if (!flags && file_text(root, "/proc/cpuinfo", text)) flags = line_value(text, "Features");
  if (!flags) return;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (!has_word(flags, known[i].flag)) continue;
    size_t size = strlen(names);
    snprintf(names + size, sizeof names - size, "%s%s", size ? " " : "", known[i].name);
    enough = enough || known[i].enough;
  }
  fact_set_text(facts, FACT_VECTORS, *names ? names : "none");
  fact_set(facts, FACT_VECTORS_LACK, !enough);
}

/* The figures of a cgroup's cpu.stat, of version 2 or of version 1's controller. */
static void throttling_find(struct facts *facts, const char *root, char *membership, char *text) {
  for (char *line = strtok(membership, "\n"); line; line = strtok(NULL, "\n")) {
    char path[PATH_MAX], *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) continue;
    *group++ = '\0';
    controllers++;
    if (*controllers && strncmp(controllers, "cpu", 3) != 0) continue;
    const char *mount = *controllers ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup";
    snprintf(path, sizeof path, "%s%s/cpu.stat", mount, group);
    bool there = file_text(root, path, text);
    snprintf(path, sizeof path, "%s/cpu.stat", mount); /* all that a container sees */
    if (!there && !file_text(root, path, text)) continue;
    char copy[FILE_BYTES];
    strcpy(copy, text);
    const char *periods = line_value(text, "nr_periods"), *throttled = line_value(copy, "nr_throttled");
    double all = periods ? strtod(periods, NULL) : 0;
    if (throttled && all > 0) fact_set(facts, FACT_THROTTLED, strtod(throttled, NULL) / all);
  }
}

static void cpus_find(struct facts *facts, const char *root, char *text) {
  char model[96], groups[PATH_MAX], membership[FILE_BYTES];
  const char *isa = getenv("SPATE_ISA");
  fact_set_text(facts, FACT_CPU, cpu_share_model(model));
  fact_set(facts, FACT_CPUS, cpu_share_count());
  fact_set(facts, FACT_ISA_FORCED, isa && *isa);
  double online = (double)sysconf(_SC_NPROCESSORS_ONLN); /* the load is the whole machine's, also in a container */
  if (file_text(root, "/proc/loadavg", text) && online > 0) fact_set(facts, FACT_LOAD, strtod(text, NULL) / online);
  if (!file_text(root, "/proc/self/cgroup", membership)) return;
  snprintf(groups, sizeof groups, "%s/sys/fs/cgroup", root);
  double quota = cpu_share_quota_exact(groups, membership);
  if (quota > 0) {
    fact_set(facts, FACT_CPU_QUOTA, quota);
    fact_set(facts, FACT_CPU_QUOTA_REST, quota < 1 ? 0 : quota - (double)(uint64_t)quota);
  }
  throttling_find(facts, root, membership, text);
}

/* With the drivers of Intel and AMD that choose the clock themselves, powersave is no low clock. */
static void governor_find(struct facts *facts, const char *root, char *text) {
  char driver[FILE_BYTES] = "";
  if (!file_text(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text)) return;
  text[strcspn(text, "\n")] = '\0';
  file_text(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", driver);
  bool own = strncmp(driver, "intel_pstate", 12) == 0 || strncmp(driver, "amd-pstate-epp", 14) == 0 ||
             strncmp(driver, "amd_pstate_epp", 14) == 0;
  fact_set_text(facts, FACT_GOVERNOR, text);
  fact_set(facts, FACT_GOVERNOR_SLOW, (strcmp(text, "powersave") == 0 && !own) || strcmp(text, "conservative") == 0);
}

/* --- memory, files ------------------------------------------------------------------------------------------------ */

/* How many entries of a folder begin so, and the first of them; −1 when there is no such folder. */
static int entries_count(const char *root, const char *folder, const char *prefix, char first[NAME_MAX + 1]) {
  char path[PATH_MAX];
  int count = 0;
  snprintf(path, sizeof path, "%s%s", root, folder);
  DIR *directory = opendir(path);
  if (!directory) return -1;
  for (const struct dirent *entry; (entry = readdir(directory));) {
    size_t size = strlen(prefix);
    bool counts = strncmp(entry->d_name, prefix, size) == 0 && entry->d_name[size] >= '0' && entry->d_name[size] <= '9';
    if (counts && count++ == 0) snprintf(first, NAME_MAX + 1, "%s", entry->d_name);
  }
  closedir(directory);
  return count;
}

static void memory_find(struct facts *facts, const char *root, char *text) {
  char name[NAME_MAX + 1];
  uint64_t limit = machine_memory_limit(root), available = machine_memory_available(root);
  int nodes = entries_count(root, "/sys/devices/system/node", "node", name);
  const char *total = file_text(root, "/proc/meminfo", text) ? line_value(text, "MemTotal") : NULL;
  if (total) fact_set(facts, FACT_MEMORY, strtod(total, NULL) * 1024);
  if (limit != UINT64_MAX) fact_set(facts, FACT_MEMORY_LIMIT, (double)limit);
  if (available != UINT64_MAX) fact_set(facts, FACT_MEMORY_AVAILABLE, (double)available);
  if (nodes > 0) fact_set(facts, FACT_NUMA_NODES, nodes);
  if (!file_text(root, "/sys/kernel/mm/transparent_hugepage/enabled", text)) return;
  char *chosen = strchr(text, '['), *end = chosen ? strchr(chosen, ']') : NULL;
  if (!end) return;
  *end = '\0';
  fact_set_text(facts, FACT_HUGE_PAGES, chosen + 1);
  fact_set(facts, FACT_HUGE_PAGES_OFF, strcmp(chosen + 1, "never") == 0);
}

/* The folder need not be there yet: then the nearest one above it counts. */
static void disk_find(struct facts *facts, const char *cache) {
  char path[PATH_MAX];
  struct statvfs disk;
  snprintf(path, sizeof path, "%s", cache);
  while (statvfs(path, &disk) < 0) {
    char *slash = strrchr(path, '/');
    if (!slash) return;
    slash[slash == path] = '\0';
    if (slash == path && statvfs(path, &disk) < 0) return;
  }
  fact_set(facts, FACT_DISK, (double)disk.f_bavail * (double)disk.f_frsize);
}

/* --- GPUs --------------------------------------------------------------------------------------------------------- */

/* The first number with a point in what the driver says of itself. */
static void driver_find(struct facts *facts, const char *root, char *text) {
  if (!file_text(root, "/proc/driver/nvidia/version", text)) return;
  for (char *word = strtok(text, " \t\n"); word; word = strtok(NULL, " \t\n")) {
    if (*word < '0' || *word > '9' || !strchr(word, '.')) continue;
    fact_set_text(facts, FACT_DRIVER, word);
    fact_set(facts, FACT_DRIVER_VERSION, strtod(word, NULL));
    return;
  }
}

/* A container may have the devices and not the driver's files. */
static void gpus_find(struct facts *facts, const char *root, char *text) {
  char name[NAME_MAX + 1] = "", path[PATH_MAX];
  int count = entries_count(root, "/proc/driver/nvidia/gpus", "", name);
  if (count <= 0) count = entries_count(root, "/dev", "nvidia", path);
  fact_set(facts, FACT_GPUS, count > 0 ? count : 0);
  if (count <= 0) return;
  driver_find(facts, root, text);
  snprintf(path, sizeof path, "/proc/driver/nvidia/gpus/%s/information", name);
  const char *model = file_text(root, path, text) ? line_value(text, "Model") : NULL;
  if (model) fact_set_text(facts, FACT_GPU, model);
}

void machine_facts_find(struct facts *facts, const char *root, const char *cache) {
  char *text = malloc(FILE_BYTES);
  struct rlimit files;
  if (!text) return;
  cpus_find(facts, root, text);
  vectors_find(facts, root, text);
  governor_find(facts, root, text);
  memory_find(facts, root, text);
  gpus_find(facts, root, text);
  if (getrlimit(RLIMIT_NOFILE, &files) == 0)
    fact_set(facts, FACT_DESCRIPTORS, files.rlim_max == RLIM_INFINITY ? 1e9 : (double)files.rlim_max);
  disk_find(facts, cache);
  free(text);
}
