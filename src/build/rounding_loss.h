/* How much of a matrix rounding to a scheme loses. */
#ifndef SPATE_BUILD_ROUNDING_LOSS_H
#define SPATE_BUILD_ROUNDING_LOSS_H

#include "build/weight_source.h"

/* The squared error of rounding to nearest, as a share of the sum of squares, for each of n schemes into loss. Over at
 * most ROUNDING_ROWS rows at equal distances, so that the largest matrix takes no longer than its columns ask for. */
enum { ROUNDING_ROWS = 64 };
bool rounding_loss(const struct weight_source *source, const struct scheme *schemes, int n, double *loss,
                   struct error *error);

#endif
