/* A tensor of a model file: a name, a shape and a view of its bytes in the mapped file. Both readers (gguf.h,
 * safetensors.h) produce it, so that nobody after them knows which kind of file it came from. */
#ifndef SPATE_FORMAT_TENSOR_H
#define SPATE_FORMAT_TENSOR_H

#include "base/arena.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/slice.h"
#include "format/tensor_type.h"

struct tensor {
  const char *name; /* NUL-terminated, printable UTF-8; owned by the reader's arena */
  enum tensor_type type;
  int n_dim;                      /* 0: a scalar, one element */
  int64_t dim[LIMIT_TENSOR_DIMS]; /* outermost first; the last is the length of a row */
  size_t count;                   /* elements: the product of the dims */
  size_t at;                      /* byte position of data in its file */
  struct slice data;              /* exactly the tensor's bytes, in the mapping */
};

/* The tensors of one file, or of all shards of a checkpoint. */
struct tensor_table {
  struct tensor *tensors; /* [n_tensor], in the order of the file's header */
  int n_tensor;
  const struct tensor **by_name; /* [n_tensor], ascending */
};

/* NULL when there is none of that name. O(log n). */
const struct tensor *tensor_find(const struct tensor_table *table, const char *name);

/* "[1024, 64]", truncated with "..." when longer. Returns out. */
const char *tensor_shape_text(const struct tensor *tensor, char out[96]);

/* --- for the readers ---------------------------------------------------------------------------------------------- */

/* A NUL-terminated copy of a name found at byte `at`; refuses an empty or over-long one and anything unprintable. */
const char *tensor_name_copy(struct slice name, const char *what, size_t at, struct arena *arena, struct error *error);

/* Fills count from the dims and *bytes from count and type; refuses an overflow and a row that is no whole number of
 * blocks, naming the tensor. */
bool tensor_measure(struct tensor *tensor, size_t *bytes, struct error *error);

/* Fills by_name; refuses a name that occurs twice. */
bool tensor_table_index(struct tensor_table *table, struct arena *arena, struct error *error);

/* What holds of the tensors of one file. They must not overlap; if `gapless`, they must also cover every byte of
 * [first, end), as safetensors demands. */
bool tensor_table_layout(const struct tensor_table *table, bool gapless, size_t first, size_t end, struct error *error);

#endif
