/* Sizes of a program on a GPU, and which kernels its ops run in: what follows from plan and limits, in host code. */
#ifndef SPATE_BACKEND_CUDA_MEASURE_H
#define SPATE_BACKEND_CUDA_MEASURE_H

#include "backend/cuda/attend_split.h"
#include "backend/cuda/cuda_image.h"
#include "backend/cuda/cuda_paths.h"
#include "plan/backend.h"

enum { CUDA_GRAPHS = 64 /* sizes of decode steps */ };

bool cuda_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                  struct error *error);
/* Rows of the decode steps for which graphs are made, ascending; returns how many. */
int cuda_graph_sizes(const struct limits *limits, int32_t rows[CUDA_GRAPHS]);
size_t cuda_rows_most(const struct plan *plan, const struct limits *limits, int value);
/* Is a linear's activation or post norm one for which there is a kernel after the product alone? */
bool cuda_linear_ends_apart(const struct op *op);
/* What linears need at most: floats of prepared inputs, of products, of those that end apart, words of lists of
 * experts, floats of sums of squares, bytes of fragments and of a matrix that is expanded, units of what lies between
 * those of a chain. */
struct cuda_linear_needs {
  size_t prepared, product, ended, lists, squares, fragments, expanded;
  uint32_t between;
};
struct cuda_linear_needs cuda_linear_most(const struct plan *plan, const struct limits *limits);
/* Does any op but the next read what this one makes, before another overwrites it? */
bool cuda_read_later(const struct plan *plan, const struct op *op);
/* cuda_weights_layout.c: bytes of all weights on the device, of those that stay on the host, and of the buffer that
 * these come to in turn. */
struct cuda_weight_needs {
  size_t device, host, stage;
  int n_hosted;
};
struct cuda_weight_needs cuda_weights_most(const struct plan *plan, const struct limits *limits);
size_t cuda_weight_room(const struct weight *weight); /* of a weight among them */
/* cuda_experts_layout.c: is it a linear over experts? Pairs that a token has of it; does it run on matrix units (path
 * NULL: on any path's)? Bytes from one expert to the next. What it needs, added to what all need at most. */
bool cuda_op_has_experts(const struct op *op);
int cuda_expert_results(const struct plan *plan, const struct op *op);
bool cuda_experts_units(const struct cuda_path *path, const struct plan *plan, const struct op *op);
size_t cuda_expert_bytes(const struct weight *weight);
/* Bytes of its matrices in bf16, for steps of many tokens; 0: it is never expanded. */
size_t cuda_experts_expanded(const struct plan *plan, const struct limits *limits, const struct op *op);
void cuda_experts_need(const struct plan *plan, const struct limits *limits, const struct op *op,
                       struct cuda_linear_needs *most);
/* Does the linear run on the matrix units? path NULL: on any path's? */
bool cuda_linear_fast(const struct cuda_path *path, const struct plan *plan, const struct op *op);
/* The same of a linear of eight-bit weights and tokens. */
bool cuda_linear_bytes_fit(const struct cuda_path *path, const struct plan *plan, const struct op *op);
/* The same of weights of 4 and 8 bits and 16-bit tokens. */
bool cuda_linear_coded_fit(const struct cuda_path *path, const struct plan *plan, const struct op *op);
/* The most tokens of one that are multiplied by weights of 4 and 8 bits as they are packed: for more the matrix is
 * expanded to bf16 before. Bytes of a strip that is. */
int cuda_linear_packed_most(const struct cuda_path *path, const struct plan *plan, const struct op *op);
size_t cuda_expanded_strip(const struct weight *weight);
/* Floats of room for rows that draw, and of strips' exponents, on paths that want them. */
size_t cuda_room_most(const struct plan *plan, const struct limits *limits);
size_t cuda_exponents_of(const struct weight *weight);
/* Has a linear of a matrix for each part of its input kernels of its own? path NULL: on any path? */
bool cuda_each_fits(const struct cuda_path *path, const struct plan *plan, const struct op *op);
/* Have kernels of attention on the matrix units such heads? */
bool cuda_attend_dim(int32_t dim);
/* Do a KV group's layers run on the matrix units? Then what they have in common. path NULL: on any path's? */
bool cuda_attend_fast(const struct cuda_path *path, const struct plan *plan, const struct limits *limits, int group,
                      struct attend_heads *heads);
/* Numbers of the buffers of attention; 0 where no group is fast. path NULL: on any path, which no path exceeds. */
struct cuda_attend_needs {
  size_t angle, parts, query, arrived;
};
struct cuda_attend_needs cuda_attend_most(const struct cuda_path *path, const struct plan *plan,
                                          const struct limits *limits);
/* Chunks of prefill attention that any group may have. */
int32_t cuda_chunks_most(const struct plan *plan, const struct limits *limits, int tokens, int rows);
size_t cuda_block_bytes(const struct plan *plan, const struct limits *limits, int group);
/* Where the arrays of a batch of these counts and so many blocks in its tables lie in a slab; bytes that they take. */
size_t cuda_slab_lay(const struct plan *plan, bool sees, size_t n_table, uint8_t *slab, struct cuda_batch *batch,
                     struct cuda_places *places);
size_t cuda_slab_most(const struct plan *plan, const struct limits *limits); /* of the largest, with its rules */

#endif
