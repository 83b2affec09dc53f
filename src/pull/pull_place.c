/* Paths of the cache, links and refs. Nothing is written over in place: a reader sees the former or the new. */
#include "pull/pull_state.h"

#include "base/folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool long_refuse(struct error *error) {
  return error_set(error, ERROR_INVALID, "The path of the cache of models is too long: set HF_HOME to a shorter one.");
}

static bool write_refuse(const char *path, struct error *error) {
  return error_set(error, ERROR_IO, "%s cannot be written: %s.", path, strerror(errno));
}

bool pull_blob_path(const struct pull *pull, const struct hub_file *file, const char *tail, char path[PATH_MAX],
                    struct error *error) {
  int size = snprintf(path, PATH_MAX, "%s/blobs/%s%s", pull->folder, file->digest, tail);
  if (size >= PATH_MAX) return long_refuse(error);
  return folder_make_above(path) || write_refuse(path, error);
}

bool pull_link_path(const struct pull *pull, const struct hub_file *file, char path[PATH_MAX], struct error *error) {
  int size = snprintf(path, PATH_MAX, "%s/snapshots/%s/%s", pull->folder, pull->commit, file->name);
  return size < PATH_MAX || long_refuse(error);
}

/* Where nobody looks, until it is renamed to its place. */
static bool made_path(const struct pull *pull, const char *name, char path[PATH_MAX]) {
  return snprintf(path, PATH_MAX, "%s/.new-%s", pull->folder, name) < PATH_MAX;
}

bool pull_placed(const struct pull *pull, const struct hub_file *file) {
  char path[PATH_MAX];
  struct stat status;
  return pull_link_path(pull, file, path, NULL) && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
         (uint64_t)status.st_size == file->size;
}

bool pull_place(const struct pull *pull, const struct hub_file *file, struct error *error) {
  char path[PATH_MAX], made[PATH_MAX], target[PATH_MAX];
  size_t size = 0;
  if (!pull_link_path(pull, file, path, error)) return false;
  if (!made_path(pull, file->digest, made)) return long_refuse(error);
  size += (size_t)snprintf(target, sizeof target, "../../");
  for (const char *c = file->name; *c; c++)
    if (*c == '/') size += (size_t)snprintf(target + size, sizeof target - size, "../");
  snprintf(target + size, sizeof target - size, "blobs/%s", file->digest);
  if (!folder_make_above(path)) return write_refuse(path, error);
  unlink(made); /* what was killed left it */
  if (symlink(target, made) == 0 && rename(made, path) == 0) return true;
  return write_refuse(path, error);
}

bool pull_ref_write(const struct pull *pull, struct error *error) {
  char path[PATH_MAX], made[PATH_MAX], process[32], former[HUB_COMMIT_BYTES];
  const struct hub_id *id = &pull->options->id;
  bool same = hub_cache_commit(pull->folder, id, former) && strcmp(former, pull->commit) == 0;
  if (same) return true; /* also of a commit; a cache that is only read needs nothing more */
  snprintf(process, sizeof process, "%ld", (long)getpid());
  if (snprintf(path, sizeof path, "%s/refs/%s", pull->folder, id->revision) >= PATH_MAX ||
      !made_path(pull, process, made))
    return long_refuse(error);
  if (!folder_make_above(path)) return write_refuse(path, error);
  FILE *file = fopen(made, "w");
  bool good = file && fputs(pull->commit, file) >= 0;
  if (file && fclose(file) != 0) good = false;
  return (good && rename(made, path) == 0) || write_refuse(path, error);
}

bool pull_room_check(const struct pull *pull, uint64_t missing, struct error *error) {
  struct statvfs status;
  if (!folder_make(pull->folder)) return write_refuse(pull->folder, error);
  if (statvfs(pull->folder, &status) != 0) return true;
  uint64_t room = (uint64_t)status.f_bavail * status.f_frsize;
  return missing <= room ||
         error_set(error, ERROR_IO,
                   "%.1f GB are to be fetched and %s has room for %.1f: make room, or set HF_HOME to a folder of "
                   "another disk.",
                   (double)missing / 1e9, pull->root, (double)room / 1e9);
}
