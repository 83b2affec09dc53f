/* How far a name that does not exist is from one that does. */
#ifndef SPATE_BASE_NAME_DISTANCE_H
#define SPATE_BASE_NAME_DISTANCE_H

#include "base/slice.h"

enum {
  NAME_COMPARED_MAX = 256
}; /* bytes of the given name that are compared; a caller refuses or shortens longer ones */

/* Insertions, deletions and changes of bytes that turn one into the other (Wagner and Fischer, 1974). */
size_t name_distance(struct slice given, struct slice name);

#endif
