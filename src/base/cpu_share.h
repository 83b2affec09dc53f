/* How many CPUs this process may really use. */
#ifndef SPATE_BASE_CPU_SHARE_H
#define SPATE_BASE_CPU_SHARE_H

/* CPUs of the affinity mask, or fewer when a cgroup's quota allows less; at least 1. */
int cpu_share_count(void);

/* The tightest quota in whole CPUs (at least 1) of the cgroup whose /proc/self/cgroup is `membership`, or of any of its
 * parents, under the file system at `root`; versions 1 and 2. 0: no quota. */
int cpu_share_quota(const char *root, const char *membership);
double cpu_share_quota_exact(const char *root, const char *membership); /* in parts of CPUs too */

/* The CPU's model name for people and cache keys; "unknown" when the system does not say. Returns out. */
const char *cpu_share_model(char out[96]);

#endif
