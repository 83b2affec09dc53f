/* Networks whose shape is known without their files: what benches with random weights run. */
#ifndef SPATE_MODEL_KNOWN_MODEL_H
#define SPATE_MODEL_KNOWN_MODEL_H

#include "model/checkpoint.h"

/* A checkpoint with the config of that name and no tensors. The sentence for an unknown name lists those that are
 * known. */
struct checkpoint *known_model_open(const char *name, struct error *error);

#endif
