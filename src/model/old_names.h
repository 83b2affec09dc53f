/* Tensors under the names of old files. */
#ifndef SPATE_MODEL_OLD_NAMES_H
#define SPATE_MODEL_OLD_NAMES_H

#include "format/tensor.h"

/* Renames what TensorFlow's names left in a table of tensors, as transformers does whatever the network: a LayerNorm's
 * gamma and beta are its weight and bias, unless it has those too. Names that are new lie in the arena; the index is
 * made again. */
bool old_names_mend(struct tensor_table *table, struct arena *arena, struct error *error);

#endif
