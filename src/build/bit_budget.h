/* Which of several ways of storing it each weight gets, so that all together lose least within a number of bits. Plain
 * arithmetic: nothing here knows what a weight is. */
#ifndef SPATE_BUILD_BIT_BUDGET_H
#define SPATE_BUILD_BIT_BUDGET_H

#include <stdbool.h>

enum { BUDGET_CHOICES = 8 };

struct budget_weight {
  int n;                                             /* choices, at least one */
  double bits[BUDGET_CHOICES], loss[BUDGET_CHOICES]; /* of the whole weight */
  int chosen;
};

/* Starts from each weight's smallest choice and then, as long as one fits, takes the step that saves most loss for each
 * bit it costs; of equal steps the first. So the result depends on nothing but the numbers. Returns the bits of the
 * whole; more than `limit` only when the smallest choices are. */
double bit_budget_spend(struct budget_weight *weights, int n_weight, double limit);

#endif
