/* The one table of what an engine file can be packed for. Device names appear here and in backend/ and build/ only. */
#ifndef SPATE_PLAN_TARGET_H
#define SPATE_PLAN_TARGET_H

#include <stdint.h>

enum target_kind { TARGET_CPU, TARGET_REFERENCE, TARGET_CUDA, TARGET_COUNT };

struct target {
  const char *name;
  uint32_t layout; /* version of its packed layout: a file packed with another is refused */
};

/* NULL when kind or name is unknown. */
const struct target *target_get(int kind);
const struct target *target_find(const char *name, int *kind);

#endif
