/* sd_notify's protocol (man 3 sd_notify), of which a server needs a datagram. */
#include "cli/notify.h"

#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MESSAGE_MAX = 1024 };

/* A path, or a name of the abstract space after '@'. False for none, and for what is no address. */
static bool address_of(const char *name, struct sockaddr_un *address, socklen_t *size) {
  size_t length = name ? strlen(name) : 0;
  if (length < 2 || length >= sizeof address->sun_path || (name[0] != '/' && name[0] != '@')) return false;
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(address->sun_path, name, length);
  if (name[0] == '@') address->sun_path[0] = '\0';
  *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] == '/'));
  return true;
}

void notify_send(const char *format, ...) {
  struct sockaddr_un address;
  socklen_t size;
  if (!address_of(getenv("NOTIFY_SOCKET"), &address, &size)) return;
  char message[MESSAGE_MAX];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  if (length > 0 && length < MESSAGE_MAX)
    sendto(descriptor, message, (size_t)length, MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
  close(descriptor);
}

/* A number of a variable that the manager sets; 0 when there is none. */
static uint64_t number_of(const char *variable) {
  const char *given = getenv(variable);
  return given ? strtoull(given, NULL, 10) : 0;
}

int notify_watchdog_ms(void) {
  uint64_t process = number_of("WATCHDOG_PID"), half = number_of("WATCHDOG_USEC") / 2000;
  if (process && process != (uint64_t)getpid()) return 0; /* meant for who started us */
  return half > INT_MAX ? INT_MAX : (int)half;
}

void notify_extend(int seconds) { notify_send("EXTEND_TIMEOUT_USEC=%lld", seconds * 1000000ll); }
