/* What the file system tells of an adapter's files, by which their content is known again without reading it. */
#include "engine/adapter_state.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A change that comes now would not have the time of this one: clocks of file systems tick some hundred times a second,
 * or once, where times have no fraction. */
static bool time_is_over(struct timespec changed) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  int64_t ms = (int64_t)(now.tv_sec - changed.tv_sec) * 1000 + (now.tv_nsec - changed.tv_nsec) / 1000000;
  return ms > (changed.tv_nsec == 0 ? 2000 : 50);
}

void identity_read(const char *path, struct identity *identity) {
  static const char *const parts[2] = {"/adapter_model.safetensors", "/adapter_config.json"};
  char part[PATH_MAX];
  struct stat about;
  memset(identity, 0, sizeof *identity);
  identity->settled = true;
  for (int i = 0; i < 2; i++) {
    bool single = stat(path, &about) == 0 && !S_ISDIR(about.st_mode);
    if (snprintf(part, sizeof part, "%s%s", path, single ? "" : parts[i]) >= (int)sizeof part) return;
    if (stat(part, &about) < 0) return;
    identity->part[i].device = about.st_dev;
    identity->part[i].inode = about.st_ino;
    identity->part[i].size = about.st_size;
    identity->part[i].written = about.st_mtim;
    identity->part[i].changed = about.st_ctim;
    identity->settled &= time_is_over(about.st_ctim);
  }
}
