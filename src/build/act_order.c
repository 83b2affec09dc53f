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

/* The op that makes what op `second` reads; −1: there is none. */
static int maker_of(const struct plan *plan, int second) {
  int i = second - 1;
  while (i >= 0 && plan_ops(plan)[i].out != plan_ops(plan)[second].in[0]) i--;
  return i;
}

/* Is what op `first` makes read by another op than `second`, before an op fills the value anew? */
static bool read_elsewhere(const struct plan *plan, int first, int second) {
  int value = plan_ops(plan)[first].out;
  for (int i = first + 1; i < plan->n_op; i++) {
    const struct op *next = &plan_ops(plan)[i];
    for (int k = 0; k < OP_INPUTS; k++)
      if (next->in[k] == value && (i != second || k > 0)) return true;
    if (next->out == value) return false;
  }
  return false;
}

/* Nothing of the first linear but its matrix knows which channel is which, and nothing of either is shared. */
static bool pair_folds(const struct plan *plan, int first, int second) {
  const struct op *down = &plan_ops(plan)[second], *up = &plan_ops(plan)[first];
  const struct linear_args *makes = &up->args.linear, *reads = &down->args.linear;
  if (up->kind != OP_LINEAR || down->kind != OP_LINEAR || !makes->gated || makes->post_norm != NORM_NONE) return false;
  if (makes->lora_site >= 0 || up->weight[1] >= 0 || up->in[1] >= 0) return false;
  return reads->norm == NORM_NONE && reads->lora_site < 0 && plan_weights(plan)[down->weight[0]].n_part == 1 &&
         user_of(plan, up->weight[0]) == first && user_of(plan, down->weight[0]) == second &&
         !read_elsewhere(plan, first, second);
}

/* Of an expert's pair, where experts have matrices of their own. */
static const struct tensor *tensor_of(const struct weight *down, const struct plan *plan,
                                      const struct checkpoint *checkpoint, int expert) {
  const char *name = plan_name(plan, down->part[0].tensor);
  char own[EXPERT_NAME_BYTES];
  if (down->n_expert == 0) return checkpoint_find(checkpoint, name);
  return expert_tensor_apart(name) ? checkpoint_find(checkpoint, expert_tensor_name(name, expert, own)) : NULL;
}

static const int *order_of(const struct plan *plan, int first, int second, const struct checkpoint *checkpoint,
                           int expert) {
  if (first < 0 || second < 0 || !pair_folds(plan, first, second)) return NULL;
  const struct weight *down = &plan_weights(plan)[plan_ops(plan)[second].weight[0]];
  const struct weight *up = &plan_weights(plan)[plan_ops(plan)[first].weight[0]];
  const struct tensor *tensor = tensor_of(down, plan, checkpoint, expert);
  if (!tensor || !tensor->packed || tensor->packed->cols != down->cols) return NULL;
  for (int i = 0; i < up->n_part; i++)
    if (up->part[i].rows != down->cols) return NULL;
  return tensor->packed->order;
}

const int *act_order_columns(const struct plan *plan, int weight, const struct checkpoint *checkpoint, int expert) {
  int user = user_of(plan, weight);
  return user < 0 ? NULL : order_of(plan, maker_of(plan, user), user, checkpoint, expert);
}

const int *act_order_rows(const struct plan *plan, int weight, const struct checkpoint *checkpoint, int expert) {
  int user = user_of(plan, weight), reader = user + 1;
  if (user < 0) return NULL;
  while (reader < plan->n_op && plan_ops(plan)[reader].in[0] != plan_ops(plan)[user].out) reader++;
  return reader < plan->n_op ? order_of(plan, user, reader, checkpoint, expert) : NULL;
}
