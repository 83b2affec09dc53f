/* The one error idiom: a function that can fail returns false or NULL and fills a struct error.
 * The text is a sentence for the person who reads it: what, expected against actual, what to do. */
#ifndef SPATE_BASE_ERROR_H
#define SPATE_BASE_ERROR_H

#include <stdbool.h>

enum error_code {
  ERROR_NONE,
  ERROR_INVALID,     /* the caller's request or option is wrong */
  ERROR_FORMAT,      /* a file that others wrote is malformed */
  ERROR_UNSUPPORTED, /* well formed, but not something Spate does */
  ERROR_NOT_FOUND,
  ERROR_LIMIT,  /* over a limit of limits.h or of the engine */
  ERROR_MEMORY, /* does not fit, or allocation failed */
  ERROR_IO,     /* the operating system said no */
  ERROR_BUSY,   /* a bounded queue is full: try again later */
  ERROR_CANCELLED,
  ERROR_DEVICE,   /* the device failed: the engine stops */
  ERROR_INTERNAL, /* an invariant of ours did not hold */
  ERROR_TIMEOUT,  /* the caller's own limit of time has passed */
};

enum { ERROR_TEXT_MAX = 512 };

struct error {
  enum error_code code;
  char text[ERROR_TEXT_MAX]; /* NUL-terminated, truncated with "..." when longer */
};

/* Fills *error and returns false, so that a failing function ends in `return error_set(...)`. error may be NULL. */
bool error_set(struct error *error, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Puts context ("model.gguf: ") in front of the sentence already there. Returns false. */
bool error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

#endif
