/* Rows of a plan's weight out of the checkpoint tensors that it is joined from, in the weight's scheme. */
#ifndef SPATE_BUILD_WEIGHT_SOURCE_H
#define SPATE_BUILD_WEIGHT_SOURCE_H

#include "base/hash.h"
#include "build/exact_codes.h"
#include "build/packed_codes.h"
#include "build/weight_transform.h"
#include "format/tensor.h"
#include "model/checkpoint.h"
#include "plan/plan.h"

/* Of experts the tensors of one of them: `slice` are its parts of tensors that are all experts'. It must stay where it
 * is. */
struct weight_source {
  const struct weight *weight;
  const char *name;
  const struct plan *plan;
  const struct checkpoint *checkpoint;
  int index, expert;                     /* of the weight in the plan */
  const struct tensor *part[PLAN_PARTS]; /* NULL: of a vector's constant part */
  struct tensor slice[PLAN_PARTS];       /* the expert's of tensors that are all experts' */
  struct packed_division packed[PLAN_PARTS];
  const int *column_order, *row_order; /* act_order.h's, of columns and of the rows of each part, of the expert's; NULL:
                                          the file's */
  const struct weight_transform *transform; /* the caller may set it; NULL: none */
};

/* Finds the tensors of a weight and checks that they hold the rows it wants and have a type that loads. */
bool weight_source_init(struct weight_source *source, const struct plan *plan, int weight,
                        const struct checkpoint *checkpoint, struct error *error);

/* Makes a source that weight_source_init has checked, which is the first expert's, the given one's. */
void weight_source_expert(struct weight_source *source, int expert);

/* A part's tensor, of the source's expert; NULL: there is none, or it cannot be divided. */
const struct tensor *weight_source_find(struct weight_source *source, int part);

/* Rows of a transposed tensor as the plan counts them: the length of its own. */
static inline size_t weight_tensor_rows(const struct tensor *tensor) { return (size_t)tensor->dim[tensor->n_dim - 1]; }

/* --- for weight_reader.c ------------------------------------------------------------------------------------------ */

/* What all its numbers are multiplied with. */
static inline float tensor_factor(const struct tensor *tensor) {
  float factor = 1;
  if (tensor->factor) memcpy(&factor, tensor->factor->data.data, sizeof factor);
  return factor;
}

/* The bytes of a row of a tensor that is not packed; the tensor's row that stands where the plan has `tensor_row`. */
const uint8_t *weight_source_row_bytes(const struct weight *weight, const struct tensor *tensor, int row);
int weight_source_file_row(const struct weight_source *source, int part, int tensor_row);

/* Row `index` of the weight, as the file has it, with what is merged into it, then multiplied with its factors. */
bool weight_source_transform(const struct weight_source *source, int index, int part, int tensor_row, float *out,
                             struct error *error);

/* Puts the row's name before the error's sentence. */
bool weight_source_refuse(const struct weight_source *source, int part, int tensor_row, struct error *error);

/* Has it each number by itself? */
static inline bool tensor_is_single(const struct tensor *tensor) {
  return !tensor->packed && (tensor->type == TENSOR_F32 || tensor->type == TENSOR_F16 || tensor->type == TENSOR_BF16);
}

/* Reads rows of one matrix. One per thread. */
struct weight_reader {
  struct weight_source source; /* of the expert whose rows are read */
  struct code_rows rows;
  struct exact_row exact;
  struct packed_buffer packed;
  float *floats; /* [cols] */
  float *turned; /* [rows of the weight's tensor][cols] and one of its lines, of transposed experts whose numbers are
                    not each by themselves; NULL: they are no such */
  int turned_expert;
};

/* At most `capacity` rows at a time. */
bool weight_reader_init(struct weight_reader *reader, const struct weight_source *source, int capacity,
                        struct error *error);
void weight_reader_release(struct weight_reader *reader);

/* Rows [first, first + count) of the same expert into reader->rows; padding rows become zeros. */
bool weight_reader_read(struct weight_reader *reader, int first, int count, struct error *error);

/* All rows of an expert's matrix, [rows][cols], by a reader whose weight's scheme is F32. */
bool weight_reader_matrix(struct weight_reader *reader, int expert, float *out, struct error *error);

/* One row of the source's expert as floats, as the file has it. */
void weight_source_row(const struct weight_source *source, struct packed_buffer *packed, int part, int tensor_row,
                       float *out);

/* All rows of a matrix, no experts', as floats, transformed, row-major; padding rows are zeros. Refused when they are
 * not finite. */
bool weight_source_floats(const struct weight_source *source, float *out, struct error *error);

/* All cols numbers of a vector, of experts of each, one after the other. */
bool weight_source_vector(struct weight_source *source, float *out, struct error *error);

enum { WEIGHT_RUNS = 4 }; /* of a file's bytes that a part's rows are made of, at most */

/* Those runs, of the source's expert; returns how many. */
int weight_source_bytes(const struct weight_source *source, int part, struct slice out[WEIGHT_RUNS]);

/* Hashes those of all parts and experts. The source is the last expert's then. */
void weight_source_hash(struct weight_source *source, struct hasher *hasher);

#endif
