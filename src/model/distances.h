/* What attention's scores gain by how far apart two tokens are (LEAN_DISTANCES of plan/op.h), of encoders of texts. */
#ifndef SPATE_MODEL_DISTANCES_H
#define SPATE_MODEL_DISTANCES_H

#include "model/decoder.h"

/* Numbers by head and distance, which the caller frees; NULL, with a sentence: too many of them, or no memory. */
float *distances_alibi(const struct decoder *decoder, double most, struct error *error); /* −slope × distance */

/* T5's buckets: [32][n_head] of a table, half of them for keys behind the query; near ones have each their own, and
 * those from 128 on share the last. */
float *distances_buckets(const struct decoder *decoder, const struct tensor *table, struct error *error);

#endif
