/* What a magnitude needs of a row (DoRA): squares of W's rows, their products with B·A's, squares of these. Internal to
 * adapter_read.c. */
#ifndef SPATE_ENGINE_ADAPTER_NORMS_H
#define SPATE_ENGINE_ADAPTER_NORMS_H

#include "engine/adapter_source.h"
#include "plan/adapter.h"

struct adapter_norms {
  float *magnitude, *w2, *wd, *d2; /* [rows of the result], zeros; magnitude is there already */
};

/* Rows without factors keep their norm, whatever it is: magnitude and w2 become 1. m: [parts of the matrix]. */
bool adapter_linear_norms(const struct engine_file *engine, const struct op *op, const struct adapter_op *out,
                          const struct module_tensors *m, const struct adapter_norms *n, struct error *error);
/* Of an embedding the norms are those of its columns. */
bool adapter_embedding_norms(const struct engine_file *engine, const struct op *op, const struct adapter_op *out,
                             const struct module_tensors *m, const struct adapter_norms *n, struct error *error);

#endif
