/* Names in a folder, and two tables of tensors in one. */
#include "model/gguf_pair.h"

#include "base/limits.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool name_ends(const char *name, const char *end) {
  size_t size = strlen(name), tail = strlen(end);
  return size > tail && strcmp(name + size - tail, end) == 0;
}

static void path_note(const char *folder, const char *name, struct gguf_paths *paths) {
  bool projector = strstr(name, "mmproj") != NULL;
  char *path = projector ? paths->projector : paths->model;
  int size = snprintf(path, PATH_MAX, "%s/%s", folder, name);
  if (size >= PATH_MAX) return;
  paths->n_projector += projector;
  paths->n_model += !projector;
}

bool gguf_paths_find(const char *folder, struct gguf_paths *paths, struct error *error) {
  *paths = (struct gguf_paths){0};
  DIR *directory = opendir(folder);
  if (!directory) return error_set(error, ERROR_IO, "%s cannot be read: %s.", folder, strerror(errno));
  for (const struct dirent *entry; (entry = readdir(directory));)
    if (name_ends(entry->d_name, ".gguf")) path_note(folder, entry->d_name, paths);
  closedir(directory);
  if (paths->n_projector == 0 || (paths->n_model == 1 && paths->n_projector == 1)) return true;
  return error_set(error, ERROR_INVALID,
                   "%s has %d .gguf files of models and %d of encoders (mmproj), expected one of each.", folder,
                   paths->n_model, paths->n_projector);
}

bool gguf_pair_open(struct gguf_pair *pair, const struct gguf *model, const char *path, struct error *error) {
  struct tensor_table *table = &pair->table;
  arena_init(&pair->arena, LIMIT_MODEL_HEADER_MEMORY);
  pair->projector = gguf_open(path, error);
  if (!pair->projector) return false;
  const struct tensor_table *both[] = {&model->tensors, &pair->projector->tensors};
  size_t count = (size_t)both[0]->n_tensor + (size_t)both[1]->n_tensor;
  table->tensors = arena_array(&pair->arena, count + 1, sizeof *table->tensors);
  if (!table->tensors) return error_set(error, ERROR_MEMORY, "There is no memory for a list of tensors.");
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < both[k]->n_tensor; i++) table->tensors[table->n_tensor++] = both[k]->tensors[i];
  return tensor_table_index(table, &pair->arena, error) || error_prefix(error, "%s: ", path);
}

void gguf_pair_release(struct gguf_pair *pair) {
  gguf_close(pair->projector);
  arena_release(&pair->arena);
}
