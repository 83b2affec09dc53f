/* Logging to standard error. */
#include "base/log.h"

#include "base/json.h"
#include "base/utf8.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 16 << 10 }; /* while a text is cut to LOG_TEXT_BYTES; lines stay below 4 KiB */

static const char *const level_name[] = {"error", "warning", "info", "debug"};
static const char *const format_name[] = {"text", "json"};
static atomic_int level_max = LOG_INFO, format_now = LOG_TEXT;

void log_level_set(enum log_level level) { atomic_store(&level_max, (int)level); }

void log_format_set(enum log_format format) { atomic_store(&format_now, (int)format); }

enum log_format log_format_get(void) {
  return (enum log_format)atomic_load_explicit(&format_now, memory_order_relaxed);
}

static bool name_find(const char *name, const char *const *names, int count, int *index) {
  for (*index = 0; *index < count; ++*index)
    if (strcmp(name, names[*index]) == 0) return true;
  return false;
}

bool log_level_parse(const char *name, enum log_level *level) {
  int index;
  bool known = name_find(name, level_name, LOG_DEBUG + 1, &index);
  if (known) *level = (enum log_level)index;
  return known;
}

bool log_format_parse(const char *name, enum log_format *format) {
  int index;
  bool known = name_find(name, format_name, LOG_JSON + 1, &index);
  if (known) *format = (enum log_format)index;
  return known;
}

bool log_wants(enum log_level level) { return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed); }

/* --- lines -------------------------------------------------------------------------------------------------------- */

static void time_write(struct buffer *out) {
  char text[40];
  struct timespec now;
  struct tm utc;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &utc);
  size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(text + size, sizeof text - size, ".%03ldZ", now.tv_nsec / 1000000);
  buffer_text(out, text);
}

/* Quoted and escaped; as much of it as LOG_TEXT_BYTES hold. */
static void string_write(struct buffer *out, struct slice text) {
  size_t start = out->size;
  if (text.size > LOG_TEXT_BYTES) text.size = utf8_complete(slice_make(text.data, LOG_TEXT_BYTES));
  for (; json_write_string(out, text) && out->size - start > LOG_TEXT_BYTES + 2; text.size /= 2) out->size = start;
}

/* A message as text: quotes stay as they are, what could end the line or move a terminal's cursor does not. */
static void message_write(struct buffer *out, const char *message) {
  for (; *message; message++) buffer_append(out, (unsigned char)*message < 0x20 || *message == 0x7f ? " " : message, 1);
}

void log_begin(struct log_line *line, enum log_level level, const char *message) {
  line->format = log_format_get();
  bool json = line->format == LOG_JSON;
  buffer_init(&line->text, LINE_BYTES);
  buffer_text(&line->text, json ? "{\"time\":\"" : "");
  time_write(&line->text);
  buffer_print(&line->text, json ? "\",\"level\":\"%s\",\"message\":" : " %s ", level_name[level]);
  if (json)
    string_write(&line->text, slice_text(message));
  else
    message_write(&line->text, message);
}

static void key_write(struct log_line *line, const char *key) {
  buffer_print(&line->text, line->format == LOG_JSON ? ",\"%s\":" : " %s=", key);
}

void log_text(struct log_line *line, const char *key, struct slice value) {
  key_write(line, key);
  string_write(&line->text, value);
}

void log_count(struct log_line *line, const char *key, uint64_t value) {
  key_write(line, key);
  buffer_print(&line->text, "%llu", (unsigned long long)value);
}

void log_flag(struct log_line *line, const char *key) {
  key_write(line, key);
  buffer_text(&line->text, "true");
}

void log_milliseconds(struct log_line *line, const char *key, uint64_t microseconds) {
  key_write(line, key);
  buffer_print(&line->text, "%llu.%03llu", (unsigned long long)microseconds / 1000,
               (unsigned long long)microseconds % 1000);
}

/* --- out ---------------------------------------------------------------------------------------------------------- */

static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t n_lost; /* lines that standard error did not take, since it last took one */

/* False when it would wait. A pipe that is ready takes 4 KiB at once. */
static bool bytes_write(const struct buffer *text) {
  struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
  return poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) && write(STDERR_FILENO, text->data, text->size) > 0;
}

static void line_close(struct log_line *line) { buffer_text(&line->text, line->format == LOG_JSON ? "}\n" : "\n"); }

static void lost_tell(void) {
  struct log_line line;
  log_begin(&line, LOG_WARNING, "Standard error is read too slowly: log lines are lost.");
  log_count(&line, "lines", n_lost);
  line_close(&line);
  if (bytes_write(&line.text)) n_lost = 0;
  buffer_release(&line.text);
}

void log_end(struct log_line *line) {
  line_close(line);
  pthread_mutex_lock(&out_lock);
  if (n_lost > 0) lost_tell();
  if (line->text.failed || n_lost > 0 || !bytes_write(&line->text)) n_lost++;
  pthread_mutex_unlock(&out_lock);
  buffer_release(&line->text);
}

void log_print(enum log_level level, const char *format, ...) {
  char message[LOG_TEXT_BYTES];
  if (!log_wants(level)) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  struct log_line line;
  log_begin(&line, level, message);
  log_end(&line);
}
