/* Least recently used. A file's access time, which cache_keep sets, is when it was last opened as an engine. */
#include "lib/cache_limit.h"

#include "base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENGINES_MAX = 4096 }; /* looked at; no cache has so many */

struct cached_engine {
  uint64_t bytes;
  struct timespec used;
  char name[NAME_MAX + 1];
};

struct engine_list {
  int folder; /* descriptor */
  int count;
  struct cached_engine *engine; /* [ENGINES_MAX] */
};

static bool is_engine_name(const char *name) {
  size_t size = strlen(name);
  return size > 6 && strcmp(name + size - 6, ".spate") == 0;
}

static void engine_note(struct engine_list *list, const char *name) {
  struct cached_engine *engine = &list->engine[list->count];
  struct stat status;
  if (fstatat(list->folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode)) return;
  engine->bytes = (uint64_t)status.st_size;
  engine->used = status.st_atim;
  snprintf(engine->name, sizeof engine->name, "%s", name);
  list->count++;
}

static int used_before(const void *left, const void *right) {
  const struct timespec *a = &((const struct cached_engine *)left)->used;
  const struct timespec *b = &((const struct cached_engine *)right)->used;
  if (a->tv_sec != b->tv_sec) return a->tv_sec < b->tv_sec ? -1 : 1;
  return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

/* All but the one of the name `kept`, the one used longest ago first. Returns their bytes. */
static uint64_t engines_find(struct engine_list *list, DIR *directory, const char *kept) {
  uint64_t bytes = 0;
  for (struct dirent *entry; list->count < ENGINES_MAX && (entry = readdir(directory));)
    if (is_engine_name(entry->d_name) && strcmp(entry->d_name, kept) != 0) engine_note(list, entry->d_name);
  for (int i = 0; i < list->count; i++) bytes += list->engine[i].bytes;
  qsort(list->engine, (size_t)list->count, sizeof list->engine[0], used_before);
  return bytes;
}

static void oldest_remove(const struct engine_list *list, uint64_t bytes, uint64_t most) {
  for (int i = 0; i < list->count && bytes > most; i++) {
    if (unlinkat(list->folder, list->engine[i].name, 0) != 0) continue;
    log_info("%s was removed from the cache, whose engines may take %llu bytes.", list->engine[i].name,
             (unsigned long long)most);
    bytes -= list->engine[i].bytes;
  }
}

void cache_keep(const char *path, uint64_t most) {
  char folder[PATH_MAX];
  const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
  const char *name = strrchr(path, '/') + 1; /* the cache's own paths have a folder */
  struct stat status;
  utimensat(AT_FDCWD, path, times, 0);
  snprintf(folder, sizeof folder, "%.*s", (int)(name - path), path);
  DIR *directory = most > 0 && stat(path, &status) == 0 ? opendir(folder) : NULL;
  struct engine_list list = {.engine = directory ? calloc(ENGINES_MAX, sizeof *list.engine) : NULL};
  if (list.engine) {
    list.folder = dirfd(directory);
    oldest_remove(&list, engines_find(&list, directory, name) + (uint64_t)status.st_size, most);
  }
  free(list.engine);
  if (directory) closedir(directory);
}
