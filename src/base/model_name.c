/* Links are followed: a folder called "latest" says little. */
#include "base/model_name.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* models--ORG--NAME/snapshots/… or /blobs/… */
static const char *cached_name(const char *path, size_t *size) {
  static const char mark[] = "/models--";
  for (const char *at = path; (at = strstr(at, mark)); at++) {
    const char *name = at + sizeof mark - 1, *end = strchr(name, '/');
    if (!end || (strncmp(end, "/snapshots/", 11) != 0 && strncmp(end, "/blobs/", 7) != 0)) continue;
    *size = (size_t)(end - name);
    return name;
  }
  return NULL;
}

void model_name_of_path(const char *path, char *name, size_t room) {
  char real[PATH_MAX];
  size_t size;
  if (realpath(path, real)) path = real;
  const char *cached = cached_name(path, &size), *slash = strrchr(path, '/');
  if (cached) {
    snprintf(name, room, "%.*s", (int)size, cached);
    char *dashes = strstr(name, "--");
    if (dashes) {
      *dashes = '/';
      memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return;
  }
  const char *last = slash && slash[1] ? slash + 1 : path;
  size = strlen(last);
  if (size > 5 && strcmp(last + size - 5, ".gguf") == 0) size -= 5;
  snprintf(name, room, "%.*s", (int)size, last);
}
