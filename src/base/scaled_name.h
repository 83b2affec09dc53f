/* "NAME" or "NAME=NUMBER", as options name adapters: what follows the last = is the scale if it is a finite number,
 * else it belongs to the name. */
#ifndef SPATE_BASE_SCALED_NAME_H
#define SPATE_BASE_SCALED_NAME_H

#include "base/slice.h"

/* The name; *scale is 1 where there is none. */
struct slice scaled_name_read(const char *given, float *scale);

#endif
