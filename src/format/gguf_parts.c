/* The keys are llama-gguf-split's: split.count, split.no from 0, split.tensors.count. */
#include "format/gguf_parts.h"

#include "base/limits.h"
#include "base/part_name.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

struct split {
  uint32_t count, number;
  int64_t n_tensor; /* of all parts; −1: not told */
};

static bool split_read(const struct gguf *gguf, struct split *split, struct error *error) {
  *split = (struct split){.count = 1, .n_tensor = -1};
  return gguf_get_u32(gguf, "split.count", GGUF_OPTIONAL, &split->count, error) &&
         gguf_get_u32(gguf, "split.no", GGUF_OPTIONAL, &split->number, error) &&
         gguf_get_i64(gguf, "split.tensors.count", GGUF_OPTIONAL, &split->n_tensor, error);
}

bool gguf_refuse_parts(const struct gguf *gguf, struct error *error) {
  struct split split;
  if (!split_read(gguf, &split, error)) return false;
  return split.count <= 1 ||
         error_set(error, ERROR_UNSUPPORTED, "This is one of %" PRIu32 " parts of a split model, expected a whole one.",
                   split.count);
}

static bool first_check(const struct split *split, const struct part_name *name, struct error *error) {
  if (split->count > LIMIT_MODEL_SHARDS)
    return error_set(error, ERROR_LIMIT, "The model is split into %" PRIu32 " files, expected at most %d.",
                     split->count, LIMIT_MODEL_SHARDS);
  if (split->number != 0)
    return error_set(error, ERROR_INVALID,
                     "This is part %" PRIu32 " of %" PRIu32 " of a split model: give the first, whose name ends in "
                     "-00001-of-%05" PRIu32 ".gguf.",
                     split->number + 1, split->count, split->count);
  return (name->part == 1 && name->parts == (int)split->count) ||
         error_set(error, ERROR_FORMAT,
                   "This is the first of %" PRIu32
                   " parts of a split model, and the others cannot be found by its name, "
                   "expected one that ends in -00001-of-%05" PRIu32 ".gguf.",
                   split->count, split->count);
}

static bool part_open(struct gguf *first, const char *path, const struct part_name *name, int part,
                      struct error *error) {
  char other[PATH_MAX];
  struct split split;
  if (!part_name_other(path, name, part, other, sizeof other))
    return error_set(error, ERROR_INVALID, "The path of a part of the model is too long.");
  struct gguf *gguf = gguf_open_part(other, error);
  if (!gguf) return false;
  first->parts[first->n_part++] = gguf;
  if (!split_read(gguf, &split, error)) return error_prefix(error, "%s: ", other);
  return (split.count == (uint32_t)name->parts && split.number == (uint32_t)part - 1) ||
         error_set(error, ERROR_FORMAT,
                   "%s says that it is part %" PRIu32 " of %" PRIu32
                   ", expected part %d of %d: is it of another model?",
                   other, split.number + 1, split.count, part, name->parts);
}

/* The bound is one for all of a model's files. */
static bool parts_open(struct gguf *first, const char *path, const struct part_name *name, struct error *error) {
  size_t used = first->arena.used;
  for (int part = 2; part <= name->parts; part++) {
    if (!part_open(first, path, name, part, error)) return false;
    used += first->parts[first->n_part - 1]->arena.used;
    if (used > LIMIT_MODEL_HEADER_MEMORY)
      return error_set(error, ERROR_LIMIT, "%s: The headers of the model's parts take more than %d MiB of memory.",
                       path, LIMIT_MODEL_HEADER_MEMORY >> 20);
  }
  return true;
}

static bool tables_join(struct gguf *first, const struct split *split, struct error *error) {
  struct tensor_table all = {0};
  size_t count = (size_t)first->tensors.n_tensor;
  for (int i = 0; i < first->n_part; i++) count += (size_t)first->parts[i]->tensors.n_tensor;
  if (split->n_tensor >= 0 && (uint64_t)split->n_tensor != count)
    return error_set(error, ERROR_FORMAT, "The parts have %zu tensors together, expected %" PRId64 ".", count,
                     split->n_tensor);
  if (count > LIMIT_TENSOR_COUNT)
    return error_set(error, ERROR_LIMIT, "The parts have %zu tensors together; at most %d are supported.", count,
                     LIMIT_TENSOR_COUNT);
  all.tensors = arena_array(&first->arena, count + 1, sizeof *all.tensors);
  if (!all.tensors) return error_set(error, ERROR_MEMORY, "There is no memory for %zu tensors.", count);
  for (int i = -1; i < first->n_part; i++) {
    const struct tensor_table *part = i < 0 ? &first->tensors : &first->parts[i]->tensors;
    memcpy(all.tensors + all.n_tensor, part->tensors, (size_t)part->n_tensor * sizeof *part->tensors);
    all.n_tensor += part->n_tensor;
  }
  first->tensors = all;
  return tensor_table_index(&first->tensors, &first->arena, error);
}

bool gguf_join_parts(struct gguf *first, const char *path, struct error *error) {
  struct part_name name = part_name_read(path);
  struct split split;
  if (!split_read(first, &split, error)) return error_prefix(error, "%s: ", path);
  if (split.count <= 1) return true;
  if (!first_check(&split, &name, error)) return error_prefix(error, "%s: ", path);
  first->parts = arena_array(&first->arena, split.count, sizeof *first->parts);
  if (!first->parts) return error_set(error, ERROR_MEMORY, "There is no memory for a list of files.");
  if (!parts_open(first, path, &name, error)) return false;
  return tables_join(first, &split, error) || error_prefix(error, "%s: ", path);
}
