/* By the ends of names. */
#include "model/old_names.h"

#include <stdio.h>
#include <string.h>

static const struct {
  const char *old, *now;
} endings[] = {{"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}};

/* The name of today, but where another tensor has that; NULL without memory for it. */
static const char *name_mend(const char *name, const struct tensor_table *table, struct arena *arena) {
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    size_t size = strlen(name), old = strlen(endings[i].old), room = size - old + strlen(endings[i].now) + 1;
    if (size < old || strcmp(name + size - old, endings[i].old) != 0) continue;
    char *now = arena_alloc(arena, room);
    if (now) snprintf(now, room, "%.*s%s", (int)(size - old), name, endings[i].now);
    return now && tensor_find(table, now) ? name : now;
  }
  return name;
}

/* The index is of the names before, and serves until all are known. */
bool old_names_mend(struct tensor_table *table, struct arena *arena, struct error *error) {
  const char **now = arena_array(arena, (size_t)table->n_tensor, sizeof *now);
  bool changed = false, ok = now != NULL;
  for (int i = 0; ok && i < table->n_tensor; i++) {
    now[i] = name_mend(table->tensors[i].name, table, arena);
    changed |= now[i] != table->tensors[i].name;
    ok = now[i] != NULL;
  }
  if (!ok) return error_set(error, ERROR_MEMORY, "There is no memory for the names of tensors.");
  for (int i = 0; changed && i < table->n_tensor; i++) table->tensors[i].name = now[i];
  return !changed || tensor_table_index(table, arena, error);
}
