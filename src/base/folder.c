/* mkdir, from the first that is missing on. */
#include "base/folder.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

bool folder_make(const char *path) {
  char part[PATH_MAX];
  size_t size = strlen(path);
  if (size == 0 || size >= sizeof part) {
    errno = ENAMETOOLONG;
    return false;
  }
  memcpy(part, path, size + 1);
  for (char *at = part + 1;; at++) {
    char was = *at;
    if (was != '/' && was != '\0') continue;
    *at = '\0';
    if (mkdir(part, 0777) != 0 && errno != EEXIST) return false;
    *at = was;
    if (was == '\0') return true;
  }
}

bool folder_make_above(const char *path) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t size = slash ? (size_t)(slash - path) : 0;
  if (size == 0) return true;
  if (size >= sizeof folder) {
    errno = ENAMETOOLONG;
    return false;
  }
  memcpy(folder, path, size);
  folder[size] = '\0';
  return folder_make(folder);
}
