/* Log lines on standard error: "time level message". Any thread; one write(2) a line, so lines never interleave. Not
 * for the token path. */
#ifndef SPATE_BASE_LOG_H
#define SPATE_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_level_set(enum log_level level); /* default LOG_INFO */

/* "error", "warning", "info" or "debug"; false on anything else. */
bool log_level_parse(const char *name, enum log_level *level);

void log_print(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_print(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_print(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_print(LOG_DEBUG, __VA_ARGS__)

#endif
