/* Target table. */
#include "plan/target.h"

#include <stddef.h>
#include <string.h>

static const struct target targets[TARGET_COUNT] = {
    [TARGET_CPU] = {"cpu", 1},
    [TARGET_REFERENCE] = {"reference", 1},
    [TARGET_CUDA] = {"cuda", 4},
};

const struct target *target_get(int kind) { return kind >= 0 && kind < TARGET_COUNT ? &targets[kind] : NULL; }

const struct target *target_find(const char *name, int *kind) {
  for (*kind = 0; *kind < TARGET_COUNT; (*kind)++)
    if (strcmp(targets[*kind].name, name) == 0) return &targets[*kind];
  return NULL;
}
