/* Some ops of a plan as a plan of their own: what they take from earlier ops is read from tables, a row a token, and
 * what the last of them makes is the result. */
#ifndef SPATE_BUILD_PLAN_CUT_H
#define SPATE_BUILD_PLAN_CUT_H

#include "base/buffer.h"
#include "plan/plan.h"

enum { CUT_INPUTS = 4 };

struct plan_cut {
  struct buffer block;         /* the plan; all its matrices are F32 */
  int n_in, value[CUT_INPUTS]; /* the whole plan's values that it takes; its weights 0 … n_in − 1 are their tables */
  int out;                     /* the value of the whole plan that it makes */
  int *origin;                 /* [n_weight of the cut] owned: index in the whole plan; −1: a table */
};

/* Ops [first, first + count) of the plan, all over tokens, for tables of `rows` rows. With experts > 0 they are linears
 * of experts, of which a token has so many, and the cut is what one expert does: its inputs are normed rows, its
 * matrices plain ones, and what it makes is neither weighted nor added to anything. */
bool plan_cut_make(struct plan_cut *cut, const struct plan *plan, int first, int count, int rows, int experts,
                   struct error *error);
void plan_cut_release(struct plan_cut *cut);

static inline const struct plan *plan_cut_plan(const struct plan_cut *cut) {
  return (const struct plan *)(const void *)cut->block.data;
}

#endif
