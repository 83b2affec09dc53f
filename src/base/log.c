/* Logging to standard error. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_name[] = {"error", "warning", "info", "debug"};
static atomic_int level_max = LOG_INFO;

void log_level_set(enum log_level level) { atomic_store(&level_max, (int)level); }

bool log_level_parse(const char *name, enum log_level *level) {
  for (int i = 0; i <= LOG_DEBUG; i++) {
    if (strcmp(name, level_name[i]) != 0) continue;
    *level = (enum log_level)i;
    return true;
  }
  return false;
}

void log_print(enum log_level level, const char *format, ...) {
  if ((int)level > atomic_load_explicit(&level_max, memory_order_relaxed)) return;
  char line[1024];
  struct timespec now;
  struct tm utc;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &utc);
  size_t size = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
  size += (size_t)snprintf(line + size, sizeof line - size, ".%03ldZ %s ", now.tv_nsec / 1000000, level_name[level]);
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line + size, sizeof line - size - 1, format, arguments);
  va_end(arguments);
  size_t room = sizeof line - size - 2;
  size += length < 0 ? 0 : (size_t)length < room ? (size_t)length : room;
  line[size++] = '\n';
  ssize_t written = write(STDERR_FILENO, line, size);
  (void)written; /* nowhere to report a failing standard error */
}
