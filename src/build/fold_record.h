/* What packing does to matrices, put down for the engine file. */
#ifndef SPATE_BUILD_FOLD_RECORD_H
#define SPATE_BUILD_FOLD_RECORD_H

#include "build/weight_transform.h"
#include "engine/engine_folds.h"
#include "model/checkpoint.h"

/* The section of factors (transforms [n_weight], NULL: none) and of the orders that the checkpoint's matrices are
 * stored in (act_order.h), in an empty buffer. */
bool fold_record_make(const struct plan *plan, const struct checkpoint *checkpoint,
                      const struct weight_transform *transforms, struct buffer *section, struct error *error);

#endif
