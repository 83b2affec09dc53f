/* Log lines on standard error, as text ("time level message key=value …") or each as one JSON object. Any thread; one
 * write(2) a line, so lines never interleave, and nothing in a value can end one. Whoever reads standard error slowly
 * loses lines (a later one says how many) and holds nobody up. Not for the token path. */
#ifndef SPATE_BASE_LOG_H
#define SPATE_BASE_LOG_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

void log_level_set(enum log_level level);    /* default LOG_INFO */
void log_format_set(enum log_format format); /* default LOG_TEXT */
enum log_format log_format_get(void);

/* "error", "warning", "info" or "debug"; "text" or "json". False on anything else. */
bool log_level_parse(const char *name, enum log_level *level);
bool log_format_parse(const char *name, enum log_format *format);

bool log_wants(enum log_level level);

/* A line with fields: begin, add, end. Keys are the program's; values may hold anything and are escaped. */
struct log_line {
  enum log_format format;
  struct buffer text;
};

enum { LOG_TEXT_BYTES = 1024 }; /* of one message or text as it is written; more is cut off */

void log_begin(struct log_line *line, enum log_level level, const char *message);
void log_text(struct log_line *line, const char *key, struct slice value);
void log_count(struct log_line *line, const char *key, uint64_t value);
void log_flag(struct log_line *line, const char *key); /* true */
void log_milliseconds(struct log_line *line, const char *key, uint64_t microseconds);
void log_end(struct log_line *line);

/* A line without fields, if the level is wanted. */
void log_print(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_print(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_print(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_print(LOG_DEBUG, __VA_ARGS__)

#endif
