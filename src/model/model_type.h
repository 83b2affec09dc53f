/* What a config.json without "architectures" describes. */
#ifndef SPATE_MODEL_MODEL_TYPE_H
#define SPATE_MODEL_MODEL_TYPE_H

#include "base/slice.h"

/* The class that transformers makes of a "model_type": the one that answers, or of encoders the one that makes vectors;
 * NULL where Spate knows none. */
const char *model_type_architecture(struct slice model_type);

#endif
