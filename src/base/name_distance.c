/* One row of the table of distances between all beginnings of two names. */
#include "base/name_distance.h"

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

size_t name_distance(struct slice given, struct slice name) {
  size_t row[NAME_COMPARED_MAX + 1], size = least(given.size, NAME_COMPARED_MAX);
  for (size_t i = 0; i <= size; i++) row[i] = i;
  for (size_t n = 1; n <= name.size; n++) {
    size_t diagonal = row[0];
    row[0] = n;
    for (size_t i = 1; i <= size; i++) {
      size_t changed = diagonal + (given.data[i - 1] != name.data[n - 1]);
      diagonal = row[i];
      row[i] = least(changed, least(row[i], row[i - 1]) + 1);
    }
  }
  return row[size];
}
