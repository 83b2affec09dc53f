/* By the ends of names. */
#include "model/old_names.h"

#include <stdio.h>
#include <string.h>

static const struct {
  const char *old, *now;
} endings[] = {{"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}};

/* The name of today; NULL without memory for it. */
static const char *name_mend(const char *name, struct arena *arena) {
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    size_t size = strlen(name), old = strlen(endings[i].old), room = size - old + strlen(endings[i].now) + 1;
    if (size < old || strcmp(name + size - old, endings[i].old) != 0) continue;
    char *now = arena_alloc(arena, room);
    if (now) snprintf(now, room, "%.*s%s", (int)(size - old), name, endings[i].now);
    return now;
  }
  return name;
}

bool old_names_mend(struct tensor_table *table, struct arena *arena, struct error *error) {
  bool changed = false;
  for (int i = 0; i < table->n_tensor; i++) {
    const char *now = name_mend(table->tensors[i].name, arena);
    if (!now) return error_set(error, ERROR_MEMORY, "There is no memory for the name of a tensor.");
    changed |= now != table->tensors[i].name;
    table->tensors[i].name = now;
  }
  return !changed || tensor_table_index(table, arena, error);
}
