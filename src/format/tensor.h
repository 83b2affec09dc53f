/* A tensor of a model file: a name, a shape and a view of its bytes in the mapped file. Both readers (gguf.h,
 * safetensors.h) produce it, so that nobody after them knows which kind of file it came from. */
#ifndef SPATE_FORMAT_TENSOR_H
#define SPATE_FORMAT_TENSOR_H

#include "base/arena.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/slice.h"
#include "format/tensor_type.h"

struct packed_matrix;

struct tensor {
  const char *name; /* NUL-terminated, printable UTF-8; owned by the reader's arena */
  enum tensor_type type;
  int n_dim;                          /* 0: a scalar, one element */
  int64_t dim[LIMIT_TENSOR_DIMS];     /* outermost first; the last is the length of a row */
  size_t count;                       /* elements: the product of the dims */
  size_t at;                          /* byte position of data in its file */
  struct slice data;                  /* exactly the tensor's bytes, in the mapping */
  const struct packed_matrix *packed; /* TENSOR_PACKED: what the matrix is made of; data is that of its codes */
  const struct tensor *factor;        /* one F32 that all elements are multiplied with as well; NULL: none */
};

/* The tensors of one file, or of all shards of a checkpoint. */
struct tensor_table {
  struct tensor *tensors; /* [n_tensor], in the order of the file's header */
  int n_tensor;
  const struct tensor **by_name; /* [n_tensor], ascending */
};

/* NULL when there is none of that name. O(log n). */
const struct tensor *tensor_find(const struct tensor_table *table, const char *name);

/* Whether one scheme can hold the rows of both as they are. Two that are absent (NULL) are alike. */
bool tensor_alike(const struct tensor *a, const struct tensor *b);

/* Whether both have the same shape, type and bytes; reads them. */
bool tensor_same(const struct tensor *a, const struct tensor *b);

enum { TENSOR_STORAGE_TEXT = 48 };

/* "BF16", "Q4_K", "GPTQ int4 g128": how the elements are stored, for people. */
const char *tensor_storage(const struct tensor *tensor, char out[TENSOR_STORAGE_TEXT]);

enum { TENSOR_SHAPE_TEXT = 160 }; /* holds any shape */

/* "[1024, 64]", for people. Returns out. */
const char *tensor_shape_text(const struct tensor *tensor, char out[TENSOR_SHAPE_TEXT]);

/* --- for the readers ---------------------------------------------------------------------------------------------- */

/* A NUL-terminated copy of the name of `subject` ("tensor 3"); refuses an empty, over-long or unprintable one. */
const char *tensor_name_copy(struct slice name, const char *subject, struct arena *arena, struct error *error);

/* Fills count from the dims (none negative) and *bytes from count and type; refuses an overflow and a row that is no
 * whole number of blocks, naming the tensor. */
bool tensor_measure(struct tensor *tensor, size_t *bytes, struct error *error);

/* Fills at and data: size bytes at `offset` of the file's data, which begins at data_start. Refuses what lies past the
 * end of the file. */
bool tensor_place(struct tensor *tensor, struct slice file, size_t data_start, size_t offset, size_t size,
                  struct error *error);

/* Fills by_name; refuses a name that occurs twice. */
bool tensor_table_index(struct tensor_table *table, struct arena *arena, struct error *error);

/* Refuses tensors of one file that overlap; if `gapless`, also bytes from `first` on that lie before a tensor and
 * belong to none. */
bool tensor_table_layout(const struct tensor_table *table, bool gapless, size_t first, struct error *error);

#endif
