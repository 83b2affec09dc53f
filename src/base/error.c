/* Error sentences: formatting with truncation marked, context put in front. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void text_format(char *text, const char *format, va_list arguments) {
  int length = vsnprintf(text, ERROR_TEXT_MAX, format, arguments);
  if (length >= ERROR_TEXT_MAX) strcpy(text + ERROR_TEXT_MAX - 4, "...");
}

bool error_set(struct error *error, enum error_code code, const char *format, ...) {
  if (!error) return false;
  error->code = code;
  va_list arguments;
  va_start(arguments, format);
  text_format(error->text, format, arguments);
  va_end(arguments);
  return false;
}

bool error_prefix(struct error *error, const char *format, ...) {
  if (!error) return false;
  char old[ERROR_TEXT_MAX];
  strcpy(old, error->text);
  va_list arguments;
  va_start(arguments, format);
  text_format(error->text, format, arguments);
  va_end(arguments);
  size_t size = strlen(error->text), rest = ERROR_TEXT_MAX - size;
  if ((size_t)snprintf(error->text + size, rest, "%s", old) >= rest) strcpy(error->text + ERROR_TEXT_MAX - 4, "...");
  return false;
}
