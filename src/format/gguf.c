/* Opening a GGUF file: the header's fixed part, the tensor list, and where the tensors' bytes lie. */
#include "format/gguf.h"

#include "base/file_guard.h"
#include "base/limits.h"
#include "format/gguf_cursor.h"
#include "format/gguf_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
  GGUF_DIMS = 4, /* the format's own limit */
  TENSOR_BYTES_MIN = 8 + 1 + 4 + 4 + 8,
  ALIGNMENT_DEFAULT = 32,
  ALIGNMENT_MAX = 1 << 16,
};

static bool read_version(struct gguf *gguf, struct gguf_cursor *cursor) {
  cursor_subject(cursor, "the header");
  const uint8_t *magic = cursor_take(cursor, 4);
  if (!magic) return false;
  if (memcmp(magic, "GGUF", 4) != 0)
    return error_set(cursor->error, ERROR_FORMAT,
                     "This is no GGUF file: it begins with bytes %02x %02x %02x %02x, not with \"GGUF\".", magic[0],
                     magic[1], magic[2], magic[3]);
  if (!cursor_u32(cursor, &gguf->version)) return false;
  if (gguf->version == 2 || gguf->version == 3) return true;
  if (gguf->version != 0 && (gguf->version & 0xFFFF) == 0)
    return error_set(cursor->error, ERROR_UNSUPPORTED,
                     "This GGUF file is big-endian; convert it to little-endian (gguf_convert_endian.py).");
  return error_set(cursor->error, ERROR_UNSUPPORTED,
                   "This GGUF file is of version %" PRIu32 "; versions 2 and 3 are supported: convert the model again.",
                   gguf->version);
}

static bool read_dims(struct gguf_cursor *cursor, struct tensor *tensor) {
  uint32_t n_dim;
  if (!cursor_u32(cursor, &n_dim)) return false;
  if (n_dim > GGUF_DIMS)
    return error_set(cursor->error, ERROR_FORMAT,
                     "The shape of %s has %" PRIu32 " dimensions (byte %zu); GGUF allows %d.", cursor->subject, n_dim,
                     cursor->at - sizeof n_dim, GGUF_DIMS);
  tensor->n_dim = (int)n_dim;
  for (int i = tensor->n_dim - 1; i >= 0; i--) { /* the file has the innermost first */
    uint64_t dim;
    if (!cursor_u64(cursor, &dim)) return false;
    if (dim > INT64_MAX)
      return error_set(cursor->error, ERROR_FORMAT,
                       "The shape of %s has a dimension of %" PRIu64 " (byte %zu), which is too large.",
                       cursor->subject, dim, cursor->at - sizeof dim);
    tensor->dim[i] = (int64_t)dim;
  }
  return true;
}

/* One entry of the tensor list. Its offset counts from data_start, known only after the list: kept in at until then. */
static bool read_tensor(struct arena *arena, struct gguf_cursor *cursor, struct tensor *tensor) {
  struct slice name;
  if (!cursor_string(cursor, &name)) return false;
  tensor->name = tensor_name_copy(name, cursor->subject, arena, cursor->error);
  if (!tensor->name) return false;
  cursor_subject(cursor, "tensor \"%.200s\"", tensor->name);
  uint32_t type;
  uint64_t offset;
  if (!read_dims(cursor, tensor) || !cursor_u32(cursor, &type)) return false;
  if (!tensor_type_from_ggml(type, &tensor->type))
    return error_set(cursor->error, ERROR_UNSUPPORTED,
                     "The type of %s is number %" PRIu32 " (byte %zu), which is unknown.", cursor->subject, type,
                     cursor->at - sizeof type);
  if (!cursor_u64(cursor, &offset)) return false;
  tensor->at = offset;
  return true;
}

static bool read_tensors(struct gguf *gguf, struct gguf_cursor *cursor, uint64_t n_tensor) {
  if (n_tensor > LIMIT_TENSOR_COUNT)
    return error_set(cursor->error, ERROR_LIMIT, "The file has %" PRIu64 " tensors; at most %d are supported.",
                     n_tensor, LIMIT_TENSOR_COUNT);
  if (n_tensor > cursor_left(cursor) / TENSOR_BYTES_MIN)
    return error_set(cursor->error, ERROR_FORMAT, "The file claims %" PRIu64 " tensors, but ends at byte %zu.",
                     n_tensor, cursor->bytes.size);
  gguf->tensors.tensors = arena_array(&gguf->arena, n_tensor, sizeof *gguf->tensors.tensors);
  if (!gguf->tensors.tensors)
    return error_set(cursor->error, ERROR_MEMORY, "There is no memory for %" PRIu64 " tensors.", n_tensor);
  gguf->tensors.n_tensor = (int)n_tensor;
  for (int i = 0; i < gguf->tensors.n_tensor; i++) {
    cursor_subject(cursor, "tensor %d (from byte %zu)", i, cursor->at);
    if (!read_tensor(&gguf->arena, cursor, &gguf->tensors.tensors[i])) return false;
  }
  return tensor_table_index(&gguf->tensors, &gguf->arena, cursor->error);
}

/* Where the tensors' bytes begin: the end of the list, rounded up to the file's alignment. */
static bool find_data(struct gguf *gguf, size_t list_end, struct error *error) {
  uint32_t alignment = ALIGNMENT_DEFAULT;
  if (!gguf_get_u32(gguf, "general.alignment", GGUF_OPTIONAL, &alignment, error)) return false;
  if (alignment == 0 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0)
    return error_set(error, ERROR_FORMAT, "Key \"general.alignment\" is %" PRIu32 "; expected a power of two up to %d.",
                     alignment, ALIGNMENT_MAX);
  gguf->alignment = alignment;
  gguf->data_start = (list_end + alignment - 1) / alignment * alignment; /* list_end is within the file: no overflow */
  return true;
}

static bool place_tensor(const struct gguf *gguf, struct tensor *tensor, struct error *error) {
  size_t size, offset = tensor->at;
  if (!tensor_measure(tensor, &size, error)) return false;
  if (offset % gguf->alignment != 0)
    return error_set(error, ERROR_FORMAT,
                     "Tensor \"%.200s\" is at offset %zu of the data, which begins at byte %zu; the offset should be a "
                     "multiple of the alignment, %zu.",
                     tensor->name, offset, gguf->data_start, gguf->alignment);
  return tensor_place(tensor, gguf->bytes, gguf->data_start, offset, size, error);
}

static bool read_file(struct gguf *gguf, struct error *error) {
  struct gguf_cursor cursor = {.bytes = gguf->bytes, .error = error};
  uint64_t n_tensor, n_value;
  if (!read_version(gguf, &cursor)) return false;
  if (!cursor_u64(&cursor, &n_tensor) || !cursor_u64(&cursor, &n_value)) return false;
  if (!gguf_read_metadata(gguf, &cursor, n_value)) return false;
  if (!read_tensors(gguf, &cursor, n_tensor) || !find_data(gguf, cursor.at, error)) return false;
  for (int i = 0; i < gguf->tensors.n_tensor; i++)
    if (!place_tensor(gguf, &gguf->tensors.tensors[i], error)) return false;
  return tensor_table_layout(&gguf->tensors, false, gguf->data_start, error);
}

static struct gguf *gguf_new(struct error *error) {
  struct gguf *gguf = calloc(1, sizeof *gguf);
  if (!gguf) {
    error_set(error, ERROR_MEMORY, "There is no memory to open a GGUF file.");
    return NULL;
  }
  gguf->file.descriptor = -1;
  arena_init(&gguf->arena, LIMIT_MODEL_HEADER_MEMORY);
  return gguf;
}

struct gguf *gguf_read(struct slice bytes, struct error *error) {
  struct gguf *gguf = gguf_new(error);
  if (!gguf) return NULL;
  gguf->bytes = bytes;
  if (read_file(gguf, error) && gguf_refuse_parts(gguf, error)) return gguf;
  gguf_close(gguf);
  return NULL;
}

struct gguf *gguf_open_part(const char *path, struct error *error) {
  struct gguf *gguf = gguf_new(error);
  if (!gguf) return NULL;
  if (file_open(&gguf->file, path, error)) {
    file_guard_add(&gguf->file); /* one too many for it is merely not guarded */
    gguf->bytes = slice_make(gguf->file.data, gguf->file.size);
    if (read_file(gguf, error)) return gguf;
    error_prefix(error, "%s: ", path);
  }
  gguf_close(gguf);
  return NULL;
}

struct gguf *gguf_open(const char *path, struct error *error) {
  struct gguf *gguf = gguf_open_part(path, error);
  if (!gguf || gguf_join_parts(gguf, path, error)) return gguf;
  gguf_close(gguf);
  return NULL;
}

bool gguf_intact(const struct gguf *gguf, struct error *error) {
  for (int i = 0; i < gguf->n_part; i++)
    if (!gguf_intact(gguf->parts[i], error)) return false;
  if (gguf->file.descriptor < 0 || (file_intact(&gguf->file) && !file_guard_tripped(&gguf->file))) return true;
  return error_set(error, ERROR_IO, "The GGUF file changed its size while it was being read.");
}

void gguf_close(struct gguf *gguf) {
  if (!gguf) return;
  for (int i = 0; i < gguf->n_part; i++) gguf_close(gguf->parts[i]);
  file_guard_remove(&gguf->file);
  file_close(&gguf->file);
  arena_release(&gguf->arena);
  free(gguf);
}
