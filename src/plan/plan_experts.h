/* What plan_check asks of experts; all of it may be of a damaged file. The sentences go on from an op's name; NULL: it
 * is sound. */
#ifndef SPATE_PLAN_PLAN_EXPERTS_H
#define SPATE_PLAN_PLAN_EXPERTS_H

#include "plan/plan.h"

/* A value of the plan; NULL: there is none. */
static inline const struct value *plan_value(const struct plan *p, int index) {
  return index >= 0 && index < p->n_value ? plan_values(p) + index : NULL;
}

/* Whether a value can be routes' result, or says that it is none. */
bool route_value_valid(const struct plan *plan, const struct value *value);

/* Of a route; of a linear with an expert_mode, a route or a weight of experts. */
const char *route_misfit(const struct plan *plan, const struct op *op);
const char *experts_misfit(const struct plan *plan, const struct op *op, const struct weight *weight);

#endif
