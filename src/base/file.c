/* Read-only file mapping. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool file_map(struct file *file, const char *path, struct error *error) {
  struct stat status;
  if (fstat(file->descriptor, &status) != 0)
    return error_set(error, ERROR_IO, "%s cannot be read: %s.", path, strerror(errno));
  if (!S_ISREG(status.st_mode)) return error_set(error, ERROR_IO, "%s is not a regular file.", path);
  file->size = (size_t)status.st_size;
  if (file->size == 0) return true;
  void *data = mmap(NULL, file->size, PROT_READ, MAP_SHARED, file->descriptor, 0);
  if (data == MAP_FAILED) return error_set(error, ERROR_IO, "%s cannot be mapped: %s.", path, strerror(errno));
  file->data = data;
  return true;
}

/* Without waiting: who opens a FIFO would, for whoever writes to it. */
bool file_open(struct file *file, const char *path, struct error *error) {
  *file = (struct file){.descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file->descriptor < 0) {
    enum error_code code = errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO;
    return error_set(error, code, "%s cannot be opened: %s.", path, strerror(errno));
  }
  if (file_map(file, path, error)) return true;
  file_close(file);
  return false;
}

void file_close(struct file *file) {
  if (file->data) munmap((void *)(uintptr_t)file->data, file->size);
  if (file->descriptor >= 0) close(file->descriptor);
  *file = (struct file){.descriptor = -1};
}

bool file_named(int descriptor, const char *path) {
  struct stat open, named;
  return fstat(descriptor, &open) == 0 && stat(path, &named) == 0 && open.st_ino == named.st_ino &&
         open.st_dev == named.st_dev;
}

bool file_intact(const struct file *file) {
  struct stat status; /* what cannot be asked has not changed: the guard of the mapping sees what is really lost */
  return fstat(file->descriptor, &status) != 0 || (size_t)status.st_size == file->size;
}
