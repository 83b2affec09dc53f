/* Layers that have experts: those of which a backend with memory of its own leaves some in the host's
 * (limits.cpu_experts). What counts is what a choice is made of: matrices that each token multiplies with all of
 * (EXPERTS_EACH) are not. */
#ifndef SPATE_PLAN_EXPERT_LAYERS_H
#define SPATE_PLAN_EXPERT_LAYERS_H

#include "plan/plan.h"

enum { HOST_PAGE = 2 << 20 }; /* bytes: all that stays in the host's memory takes whole ones together */

/* How many layers of the plan have experts, in the order of its ops. */
int plan_expert_layers(const struct plan *plan);

/* Which of these layers the matrices of a weight are experts of, from 0 on; −1: of none, or something else reads them
 * too. */
int plan_expert_layer(const struct plan *plan, int weight);

/* Is the weight one that limits.cpu_experts keeps in the host's memory? */
bool plan_weight_on_host(const struct plan *plan, int weight, int cpu_experts);

/* The part of a weight's matrices that one token reads: k of n; 0: it is not of experts. */
double plan_expert_share(const struct plan *plan, int weight);

#endif
