/* Opening safetensors: one file, or all shards of a directory joined into one table of tensors. Where a directory has
 * PyTorch's files alone, those are read in their place. */
#include "format/safetensors.h"

#include "base/file_guard.h"
#include "base/limits.h"
#include "format/safetensors_header.h"
#include "format/torch_file.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the weights of a directory are called, in the order in which they are looked for. */
static const struct weight_names {
  const char *single, *index;
} weight_names[] = {{"model.safetensors", "model.safetensors.index.json"},
                    {"pytorch_model.bin", "pytorch_model.bin.index.json"}};

static bool is_torch(const char *path) {
  size_t size = strlen(path);
  return size > 4 && strcmp(path + size - 4, ".bin") == 0;
}

static struct safetensors *safetensors_new(struct error *error) {
  struct safetensors *safetensors = calloc(1, sizeof *safetensors);
  if (safetensors)
    arena_init(&safetensors->arena, LIMIT_MODEL_HEADER_MEMORY);
  else
    error_set(error, ERROR_MEMORY, "There is no memory to open a safetensors file.");
  return safetensors;
}

static bool shards_allocate(struct safetensors *safetensors, int max, struct error *error) {
  safetensors->shards = arena_array(&safetensors->arena, (size_t)max, sizeof *safetensors->shards);
  return safetensors->shards || error_set(error, ERROR_MEMORY, "There is no memory for %d files.", max);
}

void safetensors_close(struct safetensors *safetensors) {
  if (!safetensors) return;
  for (int i = 0; i < safetensors->n_shard; i++) {
    json_decref(safetensors->shards[i].metadata);
    file_guard_remove(&safetensors->shards[i].file);
    file_close(&safetensors->shards[i].file);
  }
  arena_release(&safetensors->arena);
  free(safetensors);
}

/* Maps path as the next shard, called name, and reads its header. */
static bool shard_open(struct safetensors *safetensors, const char *path, const char *name, struct error *error) {
  struct safetensors_shard *shard = &safetensors->shards[safetensors->n_shard];
  shard->name = name;
  if (!file_open(&shard->file, path, error)) return false;
  file_guard_add(&shard->file); /* one too many for it is merely not guarded */
  safetensors->n_shard++;
  shard->bytes = slice_make(shard->file.data, shard->file.size);
  return (is_torch(path) ? torch_file_read(shard->bytes, &shard->tensors, &safetensors->arena, error)
                         : safetensors_read_header(shard, &safetensors->arena, error)) ||
         error_prefix(error, "%s: ", path);
}

/* --- a directory -------------------------------------------------------------------------------------------------- */

static char *path_join(struct arena *arena, const char *directory, const char *name) {
  size_t size = strlen(directory) + strlen(name) + 2;
  char *path = arena_alloc(arena, size);
  if (path) snprintf(path, size, "%s/%s", directory, name);
  return path;
}

/* A file of the index must lie in the directory itself: the index is as little trusted as the weights. */
static bool name_is_plain(struct slice name) {
  if (name.size == 0 || slice_is(name, ".") || slice_is(name, "..")) return false;
  return !memchr(name.data, '/', name.size) && !memchr(name.data, 0, name.size);
}

static struct safetensors_shard *shard_find(const struct safetensors *safetensors, const char *name) {
  for (int i = 0; i < safetensors->n_shard; i++)
    if (strcmp(safetensors->shards[i].name, name) == 0) return &safetensors->shards[i];
  return NULL;
}

/* Opens each file that the weight map names. */
static bool shards_open(struct safetensors *safetensors, const char *directory, const char *index_name,
                        json_t *weight_map, struct error *error) {
  if (!shards_allocate(safetensors, LIMIT_MODEL_SHARDS, error)) return false;
  const char *tensor;
  json_t *file;
  json_object_foreach(weight_map, tensor, file) {
    if (!json_is_string(file) || !name_is_plain(json_slice(file)))
      return error_set(error, ERROR_FORMAT,
                       "%s: tensor \"%.100s\" is not in a file of this directory; expected a plain file name.",
                       index_name, tensor);
    if (shard_find(safetensors, json_string_value(file))) continue;
    if (safetensors->n_shard == LIMIT_MODEL_SHARDS)
      return error_set(error, ERROR_LIMIT, "%s: more than %d files are listed.", index_name, LIMIT_MODEL_SHARDS);
    const char *name = arena_text(&safetensors->arena, json_slice(file));
    const char *path = name ? path_join(&safetensors->arena, directory, name) : NULL;
    if (!path) return error_set(error, ERROR_MEMORY, "There is no memory for the name of a file.");
    if (!shard_open(safetensors, path, name, error)) return false;
  }
  return true;
}

/* Every tensor of the index is in the file that it says. */
static bool check_listed(const struct safetensors *safetensors, const char *index_name, json_t *weight_map,
                         struct error *error) {
  const char *name;
  json_t *file;
  json_object_foreach(weight_map, name, file) {
    const struct safetensors_shard *shard = shard_find(safetensors, json_string_value(file));
    assert(shard); /* shards_open has */
    if (!tensor_find(&shard->tensors, name))
      return error_set(error, ERROR_FORMAT, "%s: tensor \"%.100s\" should be in %.100s, but is not there.", index_name,
                       name, shard->name);
  }
  return true;
}

/* Every tensor of the shard is listed, and listed there: so none is in two shards. */
static bool check_shard(const struct safetensors_shard *shard, const char *index_name, json_t *weight_map,
                        struct error *error) {
  for (int i = 0; i < shard->tensors.n_tensor; i++) {
    const char *name = shard->tensors.tensors[i].name;
    const json_t *file = json_object_get(weight_map, name);
    if (!file)
      return error_set(error, ERROR_FORMAT, "%.100s has a tensor \"%.100s\" that %s does not list.", shard->name, name,
                       index_name);
    if (strcmp(json_string_value(file), shard->name) != 0)
      return error_set(error, ERROR_FORMAT, "Tensor \"%.100s\" is in %.100s, but %s lists it in %.100s.", name,
                       shard->name, index_name, json_string_value(file));
  }
  return true;
}

static bool shards_join(struct safetensors *safetensors, struct error *error) {
  struct tensor_table *all = &safetensors->tensors;
  size_t n = 0;
  for (int i = 0; i < safetensors->n_shard; i++) n += (size_t)safetensors->shards[i].tensors.n_tensor;
  if (n > LIMIT_TENSOR_COUNT)
    return error_set(error, ERROR_LIMIT, "The files have %zu tensors; at most %d are supported.", n,
                     LIMIT_TENSOR_COUNT);
  all->tensors = arena_array(&safetensors->arena, n, sizeof *all->tensors);
  if (!all->tensors) return error_set(error, ERROR_MEMORY, "There is no memory for %zu tensors.", n);
  for (int i = 0; i < safetensors->n_shard; i++) {
    const struct tensor_table *part = &safetensors->shards[i].tensors;
    memcpy(all->tensors + all->n_tensor, part->tensors, (size_t)part->n_tensor * sizeof *part->tensors);
    all->n_tensor += part->n_tensor;
  }
  return tensor_table_index(all, &safetensors->arena, error);
}

static bool directory_sharded(struct safetensors *safetensors, const char *directory, const char *index_name,
                              struct error *error) {
  const char *index_path = path_join(&safetensors->arena, directory, index_name);
  if (!index_path) return error_set(error, ERROR_MEMORY, "There is no memory for the path of a file.");
  json_t *index = json_read(index_path, LIMIT_CONFIG_BYTES, error);
  if (!index) return false;
  json_t *weight_map = json_object_get(index, "weight_map");
  bool fine =
      json_is_object(weight_map) || error_set(error, ERROR_FORMAT, "%s has no object \"weight_map\".", index_path);
  fine = fine && shards_open(safetensors, directory, index_name, weight_map, error) &&
         check_listed(safetensors, index_name, weight_map, error);
  for (int i = 0; fine && i < safetensors->n_shard; i++)
    fine = check_shard(&safetensors->shards[i], index_name, weight_map, error);
  json_decref(index);
  return fine && shards_join(safetensors, error);
}

static bool directory_read(struct safetensors *safetensors, const char *directory, struct error *error) {
  for (size_t i = 0; i < sizeof weight_names / sizeof *weight_names; i++) {
    const struct weight_names *names = &weight_names[i];
    const char *index_path = path_join(&safetensors->arena, directory, names->index);
    const char *path = path_join(&safetensors->arena, directory, names->single);
    if (!index_path || !path) return error_set(error, ERROR_MEMORY, "There is no memory for the path of a file.");
    if (access(index_path, F_OK) == 0) return directory_sharded(safetensors, directory, names->index, error);
    if (access(path, F_OK) == 0)
      return shards_allocate(safetensors, 1, error) && shard_open(safetensors, path, names->single, error) &&
             shards_join(safetensors, error);
  }
  return error_set(error, ERROR_NOT_FOUND, "%s has neither %s nor %s, nor a %s.", directory, weight_names[0].single,
                   weight_names[0].index, weight_names[1].single);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

struct safetensors *safetensors_open_directory(const char *path, struct error *error) {
  struct safetensors *safetensors = safetensors_new(error);
  if (!safetensors) return NULL;
  if (directory_read(safetensors, path, error)) return safetensors;
  safetensors_close(safetensors);
  return NULL;
}

struct safetensors *safetensors_open(const char *path, struct error *error) {
  struct safetensors *safetensors = safetensors_new(error);
  if (!safetensors) return NULL;
  if (shards_allocate(safetensors, 1, error) && shard_open(safetensors, path, "", error) &&
      shards_join(safetensors, error))
    return safetensors;
  safetensors_close(safetensors);
  return NULL;
}

struct safetensors *safetensors_read(struct slice bytes, struct error *error) {
  struct safetensors *safetensors = safetensors_new(error);
  if (!safetensors) return NULL;
  if (shards_allocate(safetensors, 1, error)) {
    struct safetensors_shard *shard = safetensors->shards;
    *shard = (struct safetensors_shard){.name = "", .file.descriptor = -1, .bytes = bytes};
    safetensors->n_shard = 1;
    if (safetensors_read_header(shard, &safetensors->arena, error) && shards_join(safetensors, error))
      return safetensors;
  }
  safetensors_close(safetensors);
  return NULL;
}

bool safetensors_intact(const struct safetensors *safetensors, struct error *error) {
  for (int i = 0; i < safetensors->n_shard; i++) {
    const struct safetensors_shard *shard = &safetensors->shards[i];
    if (shard->file.descriptor >= 0 && (!file_intact(&shard->file) || file_guard_tripped(&shard->file)))
      return error_set(error, ERROR_IO, "%s changed its size while it was being read.", shard->name);
  }
  return true;
}
