#include "base/scaled_name.h"

#include <math.h>
#include <stdlib.h>

struct slice scaled_name_read(const char *given, float *scale) {
  const char *equals = strrchr(given, '=');
  char *end = NULL;
  float number = equals ? strtof(equals + 1, &end) : 1;
  bool has = equals && equals[1] && !*end && isfinite(number);
  *scale = has ? number : 1;
  return slice_make(given, has ? (size_t)(equals - given) : strlen(given));
}
