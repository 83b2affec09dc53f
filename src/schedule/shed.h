/* Who of those that wait gives up their place when the queue is full and somebody who matters more comes: the lowest
 * priority goes first, of equals who came last. Nobody goes for an equal, and nobody when all of them together would
 * not make enough room. */
#ifndef SPATE_SCHEDULE_SHED_H
#define SPATE_SCHEDULE_SHED_H

#include <stddef.h>
#include <stdint.h>

struct shed_candidate {
  int32_t priority; /* a lower number matters more */
  uint64_t arrival;
  int64_t tokens;
  size_t bytes;
  void *owner;
};

/* What the queue has too much of with the newcomer; nothing below 1. */
struct shed_need {
  int64_t requests, tokens, bytes;
};

/* How many must go for a newcomer of this priority, and puts them in front, those that go first before the others; 0
 * when they are not enough, or nobody has to. */
size_t shed_choose(struct shed_candidate *candidate, size_t n, int32_t priority, const struct shed_need *need);

#endif
