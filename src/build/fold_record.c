/* Vectors are left out: what is stored of them is what belongs to the stored rows. So are the orders that experts have,
 * each its own: that they are there is all that is told. */
#include "build/fold_record.h"

#include "build/act_order.h"

#include <stdlib.h>

static struct weight_fold fold_of(const struct plan *plan, int weight, const struct checkpoint *checkpoint,
                                  const struct weight_transform *transforms) {
  struct weight_fold fold = {0};
  int n_expert = plan_weights(plan)[weight].n_expert;
  for (int e = 0; e < n_expert && !fold.apart; e++)
    fold.apart = act_order_columns(plan, weight, checkpoint, e) || act_order_rows(plan, weight, checkpoint, e);
  if (n_expert == 0) {
    fold.column_order = act_order_columns(plan, weight, checkpoint, 0);
    fold.row_order = act_order_rows(plan, weight, checkpoint, 0);
  }
  if (!transforms) return fold;
  fold.column = transforms[weight].column;
  for (int i = 0; i < PLAN_PARTS; i++) fold.row[i] = transforms[weight].row[i];
  return fold;
}

bool fold_record_make(const struct plan *plan, const struct checkpoint *checkpoint,
                      const struct weight_transform *transforms, struct buffer *section, struct error *error) {
  struct weight_fold *folds = calloc((size_t)plan->n_weight + 1, sizeof *folds);
  if (!folds) return error_set(error, ERROR_MEMORY, "Out of memory for the folds of %d weights.", plan->n_weight);
  for (int i = 0; i < plan->n_weight; i++)
    if (plan_weights(plan)[i].use == WEIGHT_MATRIX) folds[i] = fold_of(plan, i, checkpoint, transforms);
  bool done = engine_folds_write(plan, folds, section, error);
  free(folds);
  return done;
}
