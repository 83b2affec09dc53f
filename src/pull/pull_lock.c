/* flock on a file, which others may remove when they let go of it. */
#include "pull/pull_lock.h"

#include "base/file.h"
#include "base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum lock_outcome pull_lock_try(const char *path, int *descriptor, struct error *error) {
  for (;;) {
    *descriptor = folder_make_above(path) ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664) : -1;
    if (*descriptor < 0) {
      error_set(error, ERROR_IO, "%s cannot be written: %s.", path, strerror(errno));
      return LOCK_FAILED;
    }
    bool taken = flock(*descriptor, LOCK_EX | LOCK_NB) == 0;
    if (taken && file_named(*descriptor, path)) return LOCK_TAKEN;
    int why = taken ? 0 : errno;
    close(*descriptor);
    *descriptor = -1;
    if (why == EWOULDBLOCK || why == EINTR) return LOCK_BUSY;
    if (why == 0) continue; /* it was removed between the two: another file has the name now */
    error_set(error, ERROR_IO, "%s cannot be locked: %s.", path, strerror(why));
    return LOCK_FAILED;
  }
}
