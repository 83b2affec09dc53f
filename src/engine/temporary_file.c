/* Names that come last. */
#include "engine/temporary_file.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN_FILES "/proc/self/fd" /* which a root of its own (chroot) may lack */

enum { ATTEMPTS = 100 };

bool temporary_file_refuse(const struct temporary_file *file, const char *what, struct error *error) {
  enum error_code code = errno == ENOSPC || errno == EDQUOT ? ERROR_MEMORY : ERROR_IO;
  return error_set(error, code, "%s cannot be %s: %s.", file->path, what, strerror(errno));
}

/* The folder that a path lies in, opened; −1 with errno. */
static int folder_open(const char *path, int flags) {
  char *copy = strdup(path);
  int descriptor = copy ? open(dirname(copy), flags | O_CLOEXEC, 0666) : -1;
  free(copy);
  return descriptor;
}

static bool file_init(struct temporary_file *file, const char *path, struct error *error) {
  *file = (struct temporary_file){.descriptor = -1, .path = strdup(path)};
  return file->path || error_set(error, ERROR_MEMORY, "Out of memory for the name %s.", path);
}

/* A name beside the final one, of this host, another for each attempt. */
static bool name_make(struct temporary_file *file, int attempt) {
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof host - 1);
  for (char *c = host; *c; c++)
    if (*c == '/') *c = '-';
  free(file->name);
  if (asprintf(&file->name, "%s.%s-%d.part", file->path, host, attempt) >= 0) return true;
  file->name = NULL;
  errno = ENOMEM;
  return false;
}

static void name_forget(struct temporary_file *file) {
  int reason = errno;
  free(file->name); /* another's: not to be removed */
  file->name = NULL;
  errno = reason;
}

/* Who writes a file has its lock, so that a name whose file has none is known to be left by a program that was killed.
 * Locks may be of one host alone, as on NFS: names are too. False when another has it. */
static bool lock_take(int descriptor) { return flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

static bool created(struct temporary_file *file) {
  file->descriptor = open(file->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file->descriptor < 0) return false;
  if (lock_take(file->descriptor) && file_named(file->descriptor, file->name)) return true;
  close(file->descriptor); /* taken for one that was left, before it was locked */
  file->descriptor = -1;
  errno = EEXIST;
  return false;
}

/* Removes what nobody writes any more: only who has its lock may, so that the name is still that file's. */
static bool left_removed(const struct temporary_file *file) {
  struct stat status;
  int descriptor = open(file->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  bool removed = descriptor >= 0 && fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
                 flock(descriptor, LOCK_EX | LOCK_NB) == 0 && file_named(descriptor, file->name) &&
                 unlink(file->name) == 0;
  if (descriptor >= 0) close(descriptor);
  errno = EEXIST;
  return removed;
}

/* Ends with EEXIST when the name is another's. */
static bool name_take(struct temporary_file *file) {
  return created(file) || (errno == EEXIST && left_removed(file) && created(file));
}

bool temporary_file_open_named(struct temporary_file *file, const char *path, struct error *error) {
  if (!file_init(file, path, error)) return false;
  for (int attempt = 0; attempt < ATTEMPTS && file->descriptor < 0 && name_make(file, attempt); attempt++) {
    if (name_take(file) || errno != EEXIST) break;
  }
  if (file->descriptor >= 0) return true;
  if (errno == EEXIST)
    error_set(error, ERROR_IO, "%s cannot be created: %d files like %s are others'. Remove those that no build writes.",
              file->path, ATTEMPTS, file->name);
  else
    temporary_file_refuse(file, "created", error);
  name_forget(file);
  return false;
}

bool temporary_file_open(struct temporary_file *file, const char *path, struct error *error) {
  if (access(OWN_FILES, X_OK) != 0) return temporary_file_open_named(file, path, error); /* it could be given no name */
  if (!file_init(file, path, error)) return false;
  file->descriptor = folder_open(path, O_TMPFILE | O_RDWR);
  if (file->descriptor >= 0) {
    lock_take(file->descriptor); /* before it has a name that others see */
    return true;
  }
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) return temporary_file_refuse(file, "created", error);
  temporary_file_release(file);
  return temporary_file_open_named(file, path, error);
}

/* Gives a file without a name one: the final one if it is free, else a temporary one to rename from. */
static bool name_give(struct temporary_file *file) {
  char self[64];
  snprintf(self, sizeof self, OWN_FILES "/%d", file->descriptor);
  if (linkat(AT_FDCWD, self, AT_FDCWD, file->path, AT_SYMLINK_FOLLOW) == 0) return true;
  for (int attempt = 0; attempt < ATTEMPTS && errno == EEXIST && name_make(file, attempt); attempt++)
    if (linkat(AT_FDCWD, self, AT_FDCWD, file->name, AT_SYMLINK_FOLLOW) == 0) return true;
  name_forget(file);
  return false;
}

bool temporary_file_commit(struct temporary_file *file, struct error *error) {
  if (fsync(file->descriptor) != 0) return temporary_file_refuse(file, "flushed to the disk", error);
  if (!file->name && !name_give(file)) return temporary_file_refuse(file, "given its name", error);
  if (file->name && rename(file->name, file->path) != 0) return temporary_file_refuse(file, "given its name", error);
  free(file->name);
  file->name = NULL;
  int folder = folder_open(file->path, O_RDONLY | O_DIRECTORY); /* the name survives a power cut once this is there */
  if (folder >= 0) {
    fsync(folder);
    close(folder);
  }
  return true;
}

void temporary_file_release(struct temporary_file *file) {
  if (file->name) unlink(file->name);
  if (file->descriptor >= 0) close(file->descriptor);
  free(file->name);
  free(file->path);
  *file = (struct temporary_file){.descriptor = -1};
}
