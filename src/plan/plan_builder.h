/* Building a plan: ops, weights and values are appended, then everything is laid out as one block. A failing append
 * marks the builder failed; look once, at the end. */
#ifndef SPATE_PLAN_PLAN_BUILDER_H
#define SPATE_PLAN_PLAN_BUILDER_H

#include "base/buffer.h"
#include "plan/plan.h"

struct plan_builder {
  struct buffer ops, weights, values, groups, floats, names;
  struct plan head;
  int length; /* of the longest text that the plan is for; 0: unknown */
};

void plan_builder_init(struct plan_builder *builder, enum plan_role role);
void plan_builder_release(struct plan_builder *builder);

/* Each returns the index of what it added. */
int plan_add_value(struct plan_builder *builder, int cols, enum value_rows rows);
/* Of a route: a choice of k experts for each token. */
int plan_add_choice(struct plan_builder *builder, int n_expert, int k);
int plan_add_group(struct plan_builder *builder, struct kv_group group);
uint32_t plan_add_floats(struct plan_builder *builder, const float *data, uint32_t count);

/* A vector (one row of F32) or a matrix whose scheme is settled later by the build. `tensors` are n_part names. A bias
 * is the vector that goes with a matrix of the same parts. */
int plan_add_vector(struct plan_builder *builder, const char *tensor, int cols, float add);
int plan_add_bias(struct plan_builder *builder, const char *name, const char *const *tensors, const int *part_rows,
                  int n_part, bool interleaved);
int plan_add_matrix(struct plan_builder *builder, const char *name, const char *const *tensors, const int *part_rows,
                    int n_part, int cols, bool interleaved);
/* The same, a matrix or a bias, of any rows of tensors; a slice of a vector may have no tensor ("") and is zeros then.
 */
struct tensor_slice {
  const char *tensor;
  int first, rows;
  int run, period; /* as in struct weight_part */
};
int plan_add_slices(struct plan_builder *builder, const char *name, enum weight_use use,
                    const struct tensor_slice *slices, int n_part, int cols, bool interleaved);

/* A matrix of one tensor whose columns have another order there, enum weight_order. */
int plan_add_ordered(struct plan_builder *builder, const char *name, const char *tensor, int rows, int cols,
                     uint8_t order);

/* Experts' matrices or biases, of tensors whose names have EXPERT_MARK or that are of all experts. The order is
 * ORDER_AS_IS or ORDER_TRANSPOSED. */
struct expert_spec {
  enum weight_use use;
  int n_expert, n_part, cols;
  bool interleaved;
  uint8_t order;
};
int plan_add_experts(struct plan_builder *builder, const char *name, const struct tensor_slice *slices,
                     const struct expert_spec *spec);

/* An op with every index −1, scale 1, rope_scale 1 and all else 0: fill it, then add it. */
struct op op_make(enum op_kind kind, int layer);
int plan_add_op(struct plan_builder *builder, const struct op *op);

/* Lays out the plan in `block` (cleared first) and checks it. Schemes may still be zero (F32). */
bool plan_finish(struct plan_builder *builder, struct buffer *block, struct error *error);

#endif
