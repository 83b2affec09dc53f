/* How much memory this process may still take. */
#ifndef SPATE_BASE_MACHINE_MEMORY_H
#define SPATE_BASE_MACHINE_MEMORY_H

#include <stdint.h>

/* Bytes: the kernel's MemAvailable, or what the cgroup (v2 or v1) and its parents leave below their limits with page
 * cache counted as free, whichever is least. `root` is put before /proc and /sys paths: "" but for tests. UINT64_MAX
 * when nothing can be read. */
uint64_t machine_memory_available(const char *root);

/* The least limit of the cgroup and its parents; UINT64_MAX: none. */
uint64_t machine_memory_limit(const char *root);

/* Bytes that this process has in memory which are no file's; 0 when nothing can be read. */
uint64_t machine_memory_own(void);

#endif
