/* One table of several files. What a stage is, sentence_config.c reads; here its place alone counts. */
#include "model/stage_tensors.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

/* The folder of a Dense stage; NULL: it is another one, or malformed, which sentence_config.c tells. */
static const char *dense_folder(const json_t *stage) {
  const char *type = json_string_value(json_object_get(stage, "type"));
  const char *folder = json_string_value(json_object_get(stage, "path")), *dot = type ? strrchr(type, '.') : NULL;
  if (!type || strcmp(dot ? dot + 1 : type, "Dense") != 0) return NULL;
  bool inside = folder && *folder && *folder != '.' && strlen(folder) <= NAME_MAX && !strchr(folder, '/');
  return inside ? folder : NULL;
}

static bool tensor_add(struct stage_tensors *out, const char *folder, const struct tensor *from, struct error *error) {
  size_t size = (folder ? strlen(folder) + 1 : 0) + strlen(from->name) + 1;
  struct tensor *to = &out->table.tensors[out->table.n_tensor++];
  *to = *from;
  if (!folder) return true;
  char *name = arena_array(&out->arena, size, 1);
  if (!name) return error_set(error, ERROR_MEMORY, "There is no memory for the name of a tensor.");
  snprintf(name, size, "%s/%s", folder, from->name);
  to->name = name;
  return true;
}

static bool stage_open(struct stage_tensors *out, int index, const char *path, const char *folder,
                       struct error *error) {
  char whole[PATH_MAX];
  int size = snprintf(whole, sizeof whole, "%s/%s", path, folder);
  if (size >= (int)sizeof whole) return error_set(error, ERROR_INVALID, "The path of %s is too long.", folder);
  out->file[index] = safetensors_open_directory(whole, error);
  return out->file[index] != NULL;
}

static bool tables_join(struct stage_tensors *out, const char *const *folder, int n, const struct tensor_table *in,
                        struct error *error) {
  size_t count = (size_t)in->n_tensor + 1;
  bool ok = true;
  for (int i = 0; i < n; i++) count += (size_t)out->file[i]->tensors.n_tensor;
  out->table.tensors = arena_array(&out->arena, count, sizeof *out->table.tensors);
  if (!out->table.tensors) return error_set(error, ERROR_MEMORY, "There is no memory for a list of tensors.");
  for (int k = 0; ok && k < in->n_tensor; k++) ok = tensor_add(out, NULL, &in->tensors[k], error);
  for (int i = 0; i < n; i++)
    for (int k = 0; ok && k < out->file[i]->tensors.n_tensor; k++)
      ok = tensor_add(out, folder[i], &out->file[i]->tensors.tensors[k], error);
  return ok && tensor_table_index(&out->table, &out->arena, error);
}

bool stage_tensors_open(struct stage_tensors *out, const char *path, const json_t *modules,
                        const struct tensor_table *in, struct error *error) {
  const char *folder[DENSE_STAGES];
  int n = 0;
  for (size_t i = 0; i < json_array_size(modules) && n < DENSE_STAGES; i++)
    if ((folder[n] = dense_folder(json_array_get(modules, i)))) n++;
  *out = (struct stage_tensors){0};
  if (n == 0) return true;
  arena_init(&out->arena, LIMIT_MODEL_HEADER_MEMORY);
  for (int i = 0; i < n; i++)
    if (!stage_open(out, i, path, folder[i], error)) return false;
  return tables_join(out, folder, n, in, error);
}

void stage_tensors_release(struct stage_tensors *tensors) {
  for (int i = 0; i < DENSE_STAGES; i++) safetensors_close(tensors->file[i]);
  arena_release(&tensors->arena);
}

bool stage_tensors_intact(const struct stage_tensors *tensors, struct error *error) {
  for (int i = 0; i < DENSE_STAGES && tensors->file[i]; i++)
    if (!safetensors_intact(tensors->file[i], error)) return false;
  return true;
}
