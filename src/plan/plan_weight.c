/* A plan's weights: which there can be, and where their rows come from. */
#include "base/limits.h"
#include "plan/plan.h"

#include <stdio.h>

enum { PLAN_ROWS_MAX = 1 << 30 }; /* of a tensor that parts are taken from, and of all experts */

bool weight_order_valid(const struct weight *w) {
  if (w->order == ORDER_AS_IS) return true;
  if (w->n_expert > 0) return w->use == WEIGHT_MATRIX && w->order == ORDER_TRANSPOSED;
  bool whole =
      w->use == WEIGHT_MATRIX && w->n_part == 1 && !w->interleaved && w->part[0].first == 0 && w->part[0].run == 0;
  return whole && (w->order == ORDER_TRANSPOSED || w->cols % w->order == 0);
}

/* Some rows of a tensor, the last of which an int counts, or, in a vector, no tensor's. */
bool weight_part_valid(const struct plan *p, const struct weight *w, const struct weight_part *part) {
  if (part->rows < 1 || part->rows > LIMIT_MODEL_WIDTH || part->first < 0 || part->run < 0 || part->period < part->run)
    return false;
  if (part_is_constant(p, part)) return w->use == WEIGHT_VECTOR && part->first == 0 && part->run == 0;
  if (part->run == 0) return part->period == 0 && part->first <= PLAN_ROWS_MAX;
  return part->rows % part->run == 0 && part->first + (int64_t)(part->rows / part->run) * part->period <= PLAN_ROWS_MAX;
}

bool plan_check_weight(const struct plan *p, int index, struct error *error) {
  const struct weight *w = plan_weights(p) + index;
  bool named = w->name < p->names_bytes && w->n_part >= 1 && w->n_part <= PLAN_PARTS;
  for (int i = 0; named && i < w->n_part; i++) named = w->part[i].tensor < p->names_bytes;
  if (!named) return error_set(error, ERROR_FORMAT, "Weight %d of the plan has a name or part out of range.", index);
  const char *name = plan_name(p, w->name);
  int64_t rows = 0;
  int unit = w->interleaved ? GATE_INTERLEAVE : 1;
  for (int i = 0; i < w->n_part; i++) {
    if (!weight_part_valid(p, w, &w->part[i]))
      return error_set(error, ERROR_FORMAT, "Weight %s has a part of %d rows that no tensor can have.", name,
                       w->part[i].rows);
    rows += (w->part[i].rows + unit - 1) / unit * unit;
  }
  int64_t joined = w->use == WEIGHT_VECTOR ? w->cols : w->rows; /* the length along which parts follow each other */
  if (w->cols < 1 || w->cols > PLAN_PARTS * LIMIT_MODEL_WIDTH || rows != joined)
    return error_set(error, ERROR_FORMAT, "Weight %s is %d × %d; its parts have %lld rows.", name, w->rows, w->cols,
                     (long long)rows);
  if (w->n_expert < 0 || w->n_expert > LIMIT_MODEL_EXPERTS || (int64_t)w->n_expert * joined > PLAN_ROWS_MAX)
    return error_set(error, ERROR_FORMAT, "Weight %s is of %d experts with %lld rows each: out of range.", name,
                     w->n_expert, (long long)joined);
  if (w->interleaved && (w->n_part != 2 || w->part[0].rows != w->part[1].rows))
    return error_set(error, ERROR_FORMAT, "Weight %s is interleaved; that needs two parts of equal rows.", name);
  if (w->use == WEIGHT_VECTOR ? w->rows != 1 || w->scheme.kind != SCHEME_F32 : w->use != WEIGHT_MATRIX)
    return error_set(error, ERROR_FORMAT, "Weight %s is neither a matrix nor one row of F32.", name);
  if (!weight_order_valid(w))
    return error_set(error, ERROR_FORMAT, "Weight %s has columns in an order that it cannot have.", name);
  return scheme_check(&w->scheme, error) || error_prefix(error, "Weight %s: ", name);
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
