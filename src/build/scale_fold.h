/* Where the inverse of factors on a site's input columns can go, so that the network's function stays: into the norm
 * before it, or into the rows of the linear whose result it is (v before out, up before down). */
#ifndef SPATE_BUILD_SCALE_FOLD_H
#define SPATE_BUILD_SCALE_FOLD_H

#include "build/network_walk.h"

enum { FOLD_TARGETS = 2 };

struct scale_fold {
  int n_target; /* 0: nowhere */
  struct {
    int weight, part; /* rows of a matrix, elements of a vector */
  } target[FOLD_TARGETS];
  int n_channel; /* rows or elements of the part: independent factors */
  int shared;    /* heads that share a channel run of dim: input column → channel; 1: the same */
  int dim;
  bool powers; /* factors are powers of two: a router reads the channels too, and its numbers and results stay what they
                  are, to the bit */
};

void scale_fold_find(struct scale_fold *fold, const struct plan *plan, const struct walk_site *site);

/* The up half of a gated linear, or the linear that multiplies: adds the targets of factors on what it makes. */
void scale_fold_linear(struct scale_fold *fold, const struct plan *plan, const struct op *op);

/* The channel that an input column takes its factor from. */
static inline int scale_fold_channel(const struct scale_fold *fold, int col) {
  return fold->shared == 1 ? col : col / (fold->shared * fold->dim) * fold->dim + col % fold->dim;
}

#endif
