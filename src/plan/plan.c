/* Facts about a plan: ops by kind, where a weight's rows come from, in which order weights are read. */
#include "plan/plan.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>

const struct op *plan_find(const struct plan *plan, enum op_kind kind) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == (int32_t)kind) return plan_ops(plan) + i;
  return NULL;
}

const struct op *plan_embed(const struct plan *plan, enum embed_source source) {
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_EMBED && op->args.embed.source == source) return op;
  }
  return NULL;
}

int plan_merged(const struct plan *plan) {
  const struct op *select = plan_find(plan, OP_SELECT);
  if (!select) return 1;
  if (select->args.select.mean) return select->args.select.mean;
  return plan_values(plan)[select->out].cols / plan_values(plan)[select->in[0]].cols;
}

bool plan_has_axes(const struct plan *plan) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_ATTEND && attend_has_axes(&plan_ops(plan)[i].args.attend)) return true;
  return false;
}

bool plan_has_spans(const struct plan *plan) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_ATTEND && plan_ops(plan)[i].args.attend.local) return true;
  return false;
}

bool weight_order_valid(const struct weight *w) {
  if (w->order == ORDER_AS_IS) return true;
  if (w->n_expert > 0) return w->use == WEIGHT_MATRIX && w->order == ORDER_TRANSPOSED;
  bool whole =
      w->use == WEIGHT_MATRIX && w->n_part == 1 && !w->interleaved && w->part[0].first == 0 && w->part[0].run == 0;
  return whole && (w->order == ORDER_TRANSPOSED || w->cols % w->order == 0);
}

enum { PLAN_ROWS_MAX = 1 << 30 }; /* of a tensor that parts are taken from */

/* Some rows of a tensor, the last of which an int counts, or, in a vector, no tensor's. */
bool weight_part_valid(const struct plan *p, const struct weight *w, const struct weight_part *part) {
  if (part->rows < 1 || part->rows > LIMIT_MODEL_WIDTH || part->first < 0 || part->run < 0 || part->period < part->run)
    return false;
  if (part_is_constant(p, part)) return w->use == WEIGHT_VECTOR && part->first == 0 && part->run == 0;
  if (part->run == 0) return part->period == 0 && part->first <= PLAN_ROWS_MAX;
  return part->rows % part->run == 0 && part->first + (int64_t)(part->rows / part->run) * part->period <= PLAN_ROWS_MAX;
}

bool attend_alibi_valid(const struct plan *p, const struct attend_args *a) {
  if (a->alibi == 0) return true;
  return a->alibi == 1 && p->role == PLAN_DECODER && (uint64_t)a->alibi_slope + (uint64_t)a->n_head <= p->n_float;
}

bool attend_axes_valid(const struct attend_args *args) {
  int64_t axes = 0;
  for (int i = 0; i < 3; i++) {
    if (args->rope_axis[i] < 0) return false;
    axes += args->rope_axis[i];
  }
  return axes == 0 || axes == args->rope_dim / 2;
}

bool expert_tensor_apart(const char *name) { return strstr(name, EXPERT_MARK) != NULL; }

const char *expert_tensor_name(const char *name, int expert, char out[EXPERT_NAME_BYTES]) {
  const char *mark = strstr(name, EXPERT_MARK);
  snprintf(out, EXPERT_NAME_BYTES, "%.*s%d%s", mark ? (int)(mark - name) : 0, name, expert,
           mark ? mark + strlen(EXPERT_MARK) : "");
  return out;
}

bool weight_row_source(const struct weight *weight, int row, int *part, int *tensor_row) {
  if (weight->n_expert > 0) row %= weight->use == WEIGHT_VECTOR ? weight->cols : weight->rows;
  if (weight->interleaved) {
    int run = row / GATE_INTERLEAVE, within = run / 2 * GATE_INTERLEAVE + row % GATE_INTERLEAVE;
    *part = run % 2;
    *tensor_row = part_tensor_row(&weight->part[*part], within);
    return within < weight->part[*part].rows;
  }
  for (*part = 0; *part < weight->n_part; (*part)++) {
    if (row < weight->part[*part].rows) {
      *tensor_row = part_tensor_row(&weight->part[*part], row);
      return true;
    }
    row -= weight->part[*part].rows;
  }
  return false;
}

static void order_append(const struct plan *plan, enum weight_use use, bool *seen, int *order, int *count) {
  for (int i = 0; i < plan->n_op; i++) {
    for (int k = 0; k < OP_WEIGHTS; k++) {
      int weight = plan_ops(plan)[i].weight[k];
      if (weight < 0 || seen[weight] || plan_weights(plan)[weight].use != use) continue;
      seen[weight] = true;
      order[(*count)++] = weight;
    }
  }
}

bool plan_read_order(const struct plan *plan, int *order) {
  bool *seen = calloc((size_t)plan->n_weight + 1, sizeof *seen);
  if (!seen) return false;
  int count = 0;
  order_append(plan, WEIGHT_MATRIX, seen, order, &count);
  order_append(plan, WEIGHT_VECTOR, seen, order, &count);
  for (int i = 0; i < plan->n_weight; i++) /* weights that no op uses still have a place */
    if (!seen[i]) order[count++] = i;
  free(seen);
  return true;
}
