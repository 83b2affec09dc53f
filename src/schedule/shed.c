/* The order in which waiting requests give up their places. */
#include "schedule/shed.h"

#include <stdbool.h>
#include <stdlib.h>

static int goes_before(const void *left, const void *right) {
  const struct shed_candidate *a = left, *b = right;
  if (a->priority != b->priority) return a->priority > b->priority ? -1 : 1;
  return (a->arrival < b->arrival) - (a->arrival > b->arrival);
}

static bool met(const struct shed_need *need) { return need->requests <= 0 && need->tokens <= 0 && need->bytes <= 0; }

size_t shed_choose(struct shed_candidate *candidate, size_t n, int32_t priority, const struct shed_need *need) {
  struct shed_need left = *need;
  qsort(candidate, n, sizeof *candidate, goes_before);
  size_t count = 0;
  for (; !met(&left); count++) {
    if (count == n || candidate[count].priority <= priority) return 0;
    left.requests--;
    left.tokens -= candidate[count].tokens;
    left.bytes -= (int64_t)candidate[count].bytes;
  }
  return count;
}
