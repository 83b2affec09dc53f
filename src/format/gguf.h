/* A GGUF file (versions 2 and 3, little-endian), or a model in several, mapped and checked. Opening reads the header
 * only: no byte of weights is touched, so that it takes milliseconds whatever the size. Every length, count and offset
 * is checked against the file before use; what does not hold is refused with a sentence that names the key or tensor
 * and the byte positions.
 *
 * Everything returned points into the struct gguf or the mapping and lives until gguf_close. Immutable after opening:
 * any number of threads may read it. */
#ifndef SPATE_FORMAT_GGUF_H
#define SPATE_FORMAT_GGUF_H

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/slice.h"
#include "format/tensor.h"

/* The numbers are the format's. */
enum gguf_type {
  GGUF_UINT8,
  GGUF_INT8,
  GGUF_UINT16,
  GGUF_INT16,
  GGUF_UINT32,
  GGUF_INT32,
  GGUF_FLOAT32,
  GGUF_BOOL,
  GGUF_STRING,
  GGUF_ARRAY,
  GGUF_UINT64,
  GGUF_INT64,
  GGUF_FLOAT64,
};

/* One metadata value. A scalar is an array of one whose is_array is false. */
struct gguf_value {
  const char *key;     /* NUL-terminated, printable UTF-8 */
  enum gguf_type type; /* of the scalar or of each element; never GGUF_ARRAY */
  bool is_array;
  size_t count;                /* elements; 1 for a scalar */
  size_t at;                   /* byte position of the first element */
  const uint8_t *data;         /* elements as stored, maybe unaligned */
  const struct slice *strings; /* [count] for GGUF_STRING, otherwise NULL; any bytes */
};

struct gguf {
  struct file file;   /* descriptor -1 when read from memory */
  struct slice bytes; /* the whole file */
  uint32_t version;
  size_t alignment;  /* of every tensor's data */
  size_t data_start; /* byte position that tensor offsets count from */
  struct gguf_value *values;
  int n_value;                      /* in the order of the file */
  const struct gguf_value **by_key; /* [n_value], ascending */
  struct tensor_table tensors;      /* those of all parts, each with its place in its own file */
  struct gguf **parts;              /* [n_part], of a model in several files: those after this one */
  int n_part;
  struct arena arena; /* of all of the above */
};

/* Sentences begin with the path. Of a model that was split (llama-gguf-split) it is the first part's: the others stand
 * beside it. */
struct gguf *gguf_open(const char *path, struct error *error);
void gguf_close(struct gguf *gguf); /* NULL is allowed */

/* One file alone, over bytes that stay in place until gguf_close. */
struct gguf *gguf_read(struct slice bytes, struct error *error);

/* False, with a sentence, once the file has another size than when it was mapped, or had: what was read of it may be
 * zeros that it never held (base/file_guard.h). */
bool gguf_intact(const struct gguf *gguf, struct error *error);

/* --- metadata ----------------------------------------------------------------------------------------------------- */

/* The value of a key, or NULL. O(log n). */
const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key);

/* An absent key leaves *out as it is when GGUF_OPTIONAL (so preset the default), and is an error when GGUF_REQUIRED.
 * A value of another type or out of the range is always an error; any integer type serves where its value fits.
 * Sentences name the key, the expected type and the actual one. */
enum gguf_need { GGUF_OPTIONAL, GGUF_REQUIRED };

bool gguf_get_u32(const struct gguf *gguf, const char *key, enum gguf_need need, uint32_t *out, struct error *error);
bool gguf_get_i64(const struct gguf *gguf, const char *key, enum gguf_need need, int64_t *out, struct error *error);
bool gguf_get_float(const struct gguf *gguf, const char *key, enum gguf_need need, double *out, struct error *error);
bool gguf_get_bool(const struct gguf *gguf, const char *key, enum gguf_need need, bool *out, struct error *error);
bool gguf_get_string(const struct gguf *gguf, const char *key, enum gguf_need need, struct slice *out,
                     struct error *error);

/* An integer that the file has, perhaps for each layer: then all of them have to be the same. */
bool gguf_get_alike(const struct gguf *gguf, const char *key, int64_t *out, struct error *error);

/* An array of the given element type (GGUF_STRING: use its strings). */
bool gguf_get_array(const struct gguf *gguf, const char *key, enum gguf_need need, enum gguf_type element,
                    const struct gguf_value **out, struct error *error);

/* Element i < count as a number. Integers of any integer type (bool included), false when it does not fit an int64;
 * floats of either float type. */
bool gguf_value_int(const struct gguf_value *value, size_t i, int64_t *out);
bool gguf_value_float(const struct gguf_value *value, size_t i, double *out);

/* "uint32", "array of string": for people. */
const char *gguf_type_name(enum gguf_type type);
const char *gguf_value_type(const struct gguf_value *value, char out[32]);

#endif
