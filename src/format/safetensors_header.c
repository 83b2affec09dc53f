/* One safetensors file: 8 bytes of header length, a JSON object that maps names to {dtype, shape, data_offsets}, then
 * the tensors' bytes without gaps. */
#include "format/safetensors_header.h"

#include "base/checked.h"
#include "base/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };
static const char metadata_key[] = "__metadata__";

static bool find_header(struct slice file, struct slice *header, struct error *error) {
  if (file.size < LENGTH_BYTES)
    return error_set(error, ERROR_FORMAT, "The file has %zu bytes; a safetensors file has at least %d.", file.size,
                     LENGTH_BYTES);
  uint64_t size;
  memcpy(&size, file.data, sizeof size);
  if (size > LIMIT_SAFETENSORS_HEADER_BYTES)
    return error_set(error, ERROR_FORMAT,
                     "The header would have %" PRIu64 " bytes, more than the format's %d: this is no safetensors file.",
                     size, LIMIT_SAFETENSORS_HEADER_BYTES);
  if (!range_within(LENGTH_BYTES, size, file.size))
    return error_set(error, ERROR_FORMAT,
                     "The header has bytes %d to %" PRIu64
                     ", but the file ends at byte %zu: it is truncated or damaged; get it again.",
                     LENGTH_BYTES, LENGTH_BYTES + size, file.size);
  *header = slice_make(file.data + LENGTH_BYTES, size);
  return true;
}

static bool check_metadata(const json_t *metadata, struct error *error) {
  const char *key;
  json_t *value;
  if (!json_is_object(metadata))
    return error_set(error, ERROR_FORMAT, "The header's \"%s\" is not an object of strings.", metadata_key);
  json_object_foreach((json_t *)(uintptr_t)metadata, key, value) {
    if (!json_is_string(value))
      return error_set(error, ERROR_FORMAT, "\"%s\" has a value for \"%.200s\" that is not a string.", metadata_key,
                       key);
  }
  return true;
}

static bool read_dtype(const json_t *entry, struct tensor *tensor, struct error *error) {
  const json_t *dtype = json_object_get(entry, "dtype");
  if (!json_is_string(dtype))
    return error_set(error, ERROR_FORMAT, "Tensor \"%.200s\" has no dtype that is a string.", tensor->name);
  struct slice name = json_slice(dtype);
  if (tensor_type_from_safetensors(name, &tensor->type)) return true;
  return error_set(error, ERROR_UNSUPPORTED, "Tensor \"%.200s\" has dtype \"%.*s\", which is unknown.", tensor->name,
                   (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
}

static bool read_shape(const json_t *entry, struct tensor *tensor, struct error *error) {
  const json_t *shape = json_object_get(entry, "shape");
  if (!json_is_array(shape))
    return error_set(error, ERROR_FORMAT, "Tensor \"%.200s\" has no shape that is an array.", tensor->name);
  size_t n_dim = json_array_size(shape);
  if (n_dim > LIMIT_TENSOR_DIMS)
    return error_set(error, ERROR_LIMIT, "Tensor \"%.200s\" has %zu dimensions; at most %d are supported.",
                     tensor->name, n_dim, LIMIT_TENSOR_DIMS);
  tensor->n_dim = (int)n_dim;
  for (size_t i = 0; i < n_dim; i++) {
    const json_t *dim = json_array_get(shape, i);
    if (!json_is_integer(dim) || json_integer_value(dim) < 0)
      return error_set(error, ERROR_FORMAT, "Dimension %zu of tensor \"%.200s\" is no whole number from 0 up.", i,
                       tensor->name);
    tensor->dim[i] = json_integer_value(dim);
  }
  return true;
}

static bool read_offsets(const json_t *entry, struct tensor *tensor, size_t *begin, size_t *end, struct error *error) {
  const json_t *offsets = json_object_get(entry, "data_offsets");
  const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second) ||
      json_integer_value(first) < 0 || json_integer_value(second) < json_integer_value(first))
    return error_set(error, ERROR_FORMAT, "Tensor \"%.200s\" has no data_offsets of the form [begin, end].",
                     tensor->name);
  *begin = (size_t)json_integer_value(first);
  *end = (size_t)json_integer_value(second);
  return true;
}

/* Where the tensor's bytes are; offsets count from data_start. */
static bool place_tensor(struct slice file, size_t data_start, size_t begin, size_t end, struct tensor *tensor,
                         struct error *error) {
  size_t size;
  char shape[TENSOR_SHAPE_TEXT];
  if (!tensor_measure(tensor, &size, error)) return false;
  if (end - begin != size)
    return error_set(error, ERROR_FORMAT,
                     "Tensor \"%.200s\" of type %s and shape %s takes %zu bytes, but its data_offsets give it %zu.",
                     tensor->name, tensor_type_name(tensor->type), tensor_shape_text(tensor, shape), size, end - begin);
  if (!tensor_place(tensor, file, data_start, begin, size, error)) return false;
  size_t unit = tensor_type_info(tensor->type)->block_bytes;
  return tensor->at % unit == 0 ||
         error_set(
             error, ERROR_FORMAT,
             "Tensor \"%.200s\" begins at byte %zu, which is no multiple of %zu, the size of one %s; save the model "
             "again with a current safetensors.",
             tensor->name, tensor->at, unit, tensor_type_name(tensor->type));
}

static bool read_tensor(const json_t *entry, struct slice file, size_t data_start, struct tensor *tensor,
                        struct error *error) {
  size_t begin = 0, end = 0;
  if (!json_is_object(entry))
    return error_set(error, ERROR_FORMAT, "Tensor \"%.200s\" is not described by an object.", tensor->name);
  return read_dtype(entry, tensor, error) && read_shape(entry, tensor, error) &&
         read_offsets(entry, tensor, &begin, &end, error) && place_tensor(file, data_start, begin, end, tensor, error);
}

static bool read_entries(struct safetensors_shard *shard, json_t *header, size_t data_start, struct arena *arena,
                         struct error *error) {
  struct tensor_table *table = &shard->tensors;
  size_t n = json_object_size(header), position = 0;
  if (n > LIMIT_TENSOR_COUNT)
    return error_set(error, ERROR_LIMIT, "The file has %zu tensors; at most %d are supported.", n, LIMIT_TENSOR_COUNT);
  table->tensors = arena_array(arena, n, sizeof *table->tensors);
  if (!table->tensors) return error_set(error, ERROR_MEMORY, "There is no memory for %zu tensors.", n);
  const char *key;
  json_t *entry;
  json_object_foreach(header, key, entry) {
    if (strcmp(key, metadata_key) == 0) {
      if (!check_metadata(entry, error)) return false;
      shard->metadata = json_incref(entry);
      continue;
    }
    char subject[32];
    snprintf(subject, sizeof subject, "tensor %zu", position++);
    struct tensor *tensor = &table->tensors[table->n_tensor];
    tensor->name = tensor_name_copy(slice_text(key), subject, arena, error);
    if (!tensor->name || !read_tensor(entry, shard->bytes, data_start, tensor, error)) return false;
    table->n_tensor++;
  }
  return true;
}

/* The format allows no byte that belongs to no tensor. */
static bool check_end(const struct safetensors_shard *shard, size_t data_start, struct error *error) {
  size_t end = data_start;
  for (int i = 0; i < shard->tensors.n_tensor; i++) {
    const struct tensor *tensor = &shard->tensors.tensors[i];
    if (tensor->at + tensor->data.size > end) end = tensor->at + tensor->data.size;
  }
  return end == shard->bytes.size ||
         error_set(error, ERROR_FORMAT, "Bytes %zu to %zu, at the file's end, belong to no tensor.", end,
                   shard->bytes.size);
}

bool safetensors_read_header(struct safetensors_shard *shard, struct arena *arena, struct error *error) {
  struct slice header;
  if (!find_header(shard->bytes, &header, error)) return false;
  size_t data_start = LENGTH_BYTES + header.size;
  json_t *root = json_parse(header, error);
  if (!root) {
    if (error && error->code == ERROR_INVALID) error->code = ERROR_FORMAT; /* not the user's request, a file */
    return error_prefix(error, "The header (bytes %d to %zu): ", LENGTH_BYTES, data_start);
  }
  bool fine = json_is_object(root) || error_set(error, ERROR_FORMAT, "The header is no JSON object.");
  fine = fine && read_entries(shard, root, data_start, arena, error);
  json_decref(root);
  return fine && tensor_table_index(&shard->tensors, arena, error) &&
         tensor_table_layout(&shard->tensors, true, data_start, error) && check_end(shard, data_start, error);
}
