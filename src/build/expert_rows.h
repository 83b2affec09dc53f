/* Which of the calibration's tokens an expert of a layer is multiplied with: those that chose it and, where these are
 * few, others of the layer at equal distances. */
#ifndef SPATE_BUILD_EXPERT_ROWS_H
#define SPATE_BUILD_EXPERT_ROWS_H

#include "base/error.h"

enum { EXPERT_OTHERS = 512 }; /* tokens of the layer that join those of an expert with few, at most */

struct expert_rows {
  const float *choice; /* [n_token][2k] a route's result; the caller's */
  int n_token, k;
  int *token;    /* [n_row] those that chose the expert come first */
  float *weight; /* [n_chosen] by which they chose it */
  int n_chosen, n_row;
};

/* Release it in any case. */
bool expert_rows_init(struct expert_rows *rows, const float *choice, int n_token, int k, struct error *error);
void expert_rows_release(struct expert_rows *rows);

/* Those of an expert; fewer than `least` that chose it are joined by others. */
void expert_rows_find(struct expert_rows *rows, int expert, int least);

/* The rows of [n_token][cols], one after the other. */
void expert_rows_take(const struct expert_rows *rows, const float *from, int cols, float *out);

/* Adds scale × the weight × its row of [n_chosen][cols] to each of the tokens that chose the expert. */
void expert_rows_give(const struct expert_rows *rows, const float *results, float scale, int cols, float *to);

#endif
