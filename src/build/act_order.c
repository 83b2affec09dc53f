/* Pairs of linears of which the second alone reads what the first makes, channel by channel. */
#include "build/act_order.h"

#include "format/packed_matrix.h"

/* The one op that uses the weight, as its matrix; −1: there is none, or another use. */
static int user_of(const struct plan *plan, int weight) {
  int user = -1;
  for (int i = 0; i < plan->n_op; i++)
    for (int k = 0; k < OP_WEIGHTS; k++) {
      if (plan_ops(plan)[i].weight[k] != weight) continue;
      if (user >= 0 || k > 0) return -1;
      user = i;
    }
  return user;
}

/* Is the value read after an op, before another fills it anew? */
static bool read_after(const struct plan *plan, int op, int value) {
  for (int i = op + 1; i < plan->n_op; i++) {
    const struct op *next = &plan_ops(plan)[i];
    for (int k = 0; k < OP_INPUTS; k++)
      if (next->in[k] == value) return true;
    if (next->out == value) return false;
  }
  return false;
}

/* Nothing of the first linear but its matrix knows which channel is which, and nothing of either is shared. */
static bool pair_folds(const struct plan *plan, int second) {
  if (second < 1 || second >= plan->n_op) return false;
  const struct op *down = &plan_ops(plan)[second], *up = down - 1;
  const struct linear_args *makes = &up->args.linear, *reads = &down->args.linear;
  if (up->kind != OP_LINEAR || down->kind != OP_LINEAR || down->in[0] != up->out || down->in[1] == up->out)
    return false;
  if (!makes->gated || makes->post_norm != NORM_NONE || makes->lora_site >= 0 || up->weight[1] >= 0 || up->in[1] >= 0)
    return false;
  return reads->norm == NORM_NONE && reads->lora_site < 0 && plan_weights(plan)[down->weight[0]].n_part == 1 &&
         user_of(plan, up->weight[0]) == second - 1 && user_of(plan, down->weight[0]) == second &&
         !read_after(plan, second, up->out);
}

static const int *order_of(const struct plan *plan, int second, const struct checkpoint *checkpoint) {
  if (!pair_folds(plan, second)) return NULL;
  const struct weight *down = &plan_weights(plan)[plan_ops(plan)[second].weight[0]];
  const struct weight *up = &plan_weights(plan)[plan_ops(plan)[second - 1].weight[0]];
  const struct tensor *tensor = checkpoint_find(checkpoint, plan_name(plan, down->part[0].tensor));
  if (!tensor || !tensor->packed || tensor->packed->cols != down->cols) return NULL;
  for (int i = 0; i < up->n_part; i++)
    if (up->part[i].rows != down->cols) return NULL;
  return tensor->packed->order;
}

const int *act_order_columns(const struct plan *plan, int weight, const struct checkpoint *checkpoint) {
  return order_of(plan, user_of(plan, weight), checkpoint);
}

const int *act_order_rows(const struct plan *plan, int weight, const struct checkpoint *checkpoint) {
  int user = user_of(plan, weight);
  return user < 0 ? NULL : order_of(plan, user + 1, checkpoint);
}
