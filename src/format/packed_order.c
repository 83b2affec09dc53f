/* The columns of a packed matrix by their groups. */
#include "format/packed_matrix.h"

#include <stdlib.h>

bool packed_matrix_order(const struct packed_matrix *matrix, int *order) {
  int size = matrix->spec.group, *next = calloc((size_t)matrix->n_group, sizeof *next); /* places taken in a group */
  bool even = next != NULL;
  for (int col = 0; even && col < matrix->cols; col++) {
    int group = packed_group(matrix, col), first = group * size;
    even = next[group] < size && next[group] < matrix->cols - first;
    if (even) order[first + next[group]++] = col;
  }
  free(next);
  return even;
}
