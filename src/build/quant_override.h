/* Modes of single weights, which a text names: "lm_head=INT8_WEIGHT,*.down_proj=BF16". Patterns are of the shell's kind
 * (fnmatch), over the names that inspect prints of a plan's weights and over the tensors that a weight is joined from,
 * each with or without ".weight". The last that matches wins. A weight that is joined of several tensors (q, k and v;
 * gate and up) is stored in one way, so that a match with any of them is a match with all. */
#ifndef SPATE_BUILD_QUANT_OVERRIDE_H
#define SPATE_BUILD_QUANT_OVERRIDE_H

#include "engine/engine_config.h"
#include "plan/plan.h"

/* Is the text well formed, and does each pattern match a weight of the plan or, if there is one, of the vision plan?
 * The sentence names the nearest name. NULL is. */
bool quant_overrides_check(const char *text, const struct plan *plan, const struct plan *vision, struct error *error);

/* The mode that a checked text has for a weight, or `mode`. */
enum quant_mode quant_override_find(const char *text, const struct plan *plan, const struct weight *weight,
                                    enum quant_mode mode);

#endif
