/* What one expert of a layer does with rows that reach it: linears of a plan as a program, whose numbers are given
 * expert by expert. */
#ifndef SPATE_BUILD_EXPERT_PROGRAM_H
#define SPATE_BUILD_EXPERT_PROGRAM_H

#include "build/network_walk.h"
#include "build/plan_cut.h"

struct expert_program {
  const struct network_walk *walk;
  struct plan_cut cut;
  struct float_program program;
  float *step;    /* [rows][cols_in] */
  float **vector; /* [n_weight of the cut] owned: all experts' biases; NULL of others */
  int rows, cols_in, cols_out;
};

/* Of the linears [first, first + count), of whose experts a token has k. Release it in any case. */
bool expert_program_open(struct expert_program *program, const struct network_walk *walk, int first, int count, int k,
                         struct error *error);
void expert_program_close(struct expert_program *program);

/* Makes it the expert's: matrix[i] is that of linear first + i. */
bool expert_program_set(struct expert_program *program, int expert, const int *weight, float *const *matrix, int count,
                        struct error *error);

/* [n][cols_in] → [n][cols_out] */
bool expert_program_run(struct expert_program *program, const float *in, int n, float *out, struct error *error);

#endif
