/* Listening at a path. */
#include "http/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Removes a socket whose server is gone. */
static bool clear_path(const struct sockaddr_un *address, struct error *error) {
  struct stat found;
  if (lstat(address->sun_path, &found) < 0) return true; /* bind says what else is wrong */
  if (!S_ISSOCK(found.st_mode))
    return error_set(error, ERROR_INVALID, "Cannot listen on \"%s\": a file that is no socket is there.",
                     address->sun_path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return error_set(error, ERROR_IO, "Cannot make a socket: %s.", strerror(errno));
  bool stale = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED;
  close(fd);
  if (stale) {
    unlink(address->sun_path);
    return true;
  }
  return error_set(error, ERROR_IO, "Cannot listen on \"%s\": another program does. Stop it or choose another path.",
                   address->sun_path);
}

int unix_socket_listen(const char *path, int backlog, struct error *error) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) == 0 || strlen(path) >= sizeof address.sun_path) {
    error_set(error, ERROR_INVALID, "The path of the socket has %zu bytes, expected 1 to %zu.", strlen(path),
              sizeof address.sun_path - 1);
    return -1;
  }
  strcpy(address.sun_path, path);
  if (!clear_path(&address, error)) return -1;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  /* The file gets the mode that the socket has when it is bound: there is no moment in which others may connect. */
  bool listens = fd >= 0 && fchmod(fd, 0600) == 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
                 listen(fd, backlog) == 0;
  if (listens) return fd;
  error_set(error, ERROR_IO, "Cannot listen on \"%s\": %s.", path, strerror(errno));
  if (fd >= 0) close(fd);
  return -1;
}
