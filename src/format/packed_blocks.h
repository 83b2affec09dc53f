/* What is checked of MXFP4's tensors. All dimensions of the blocks but the last are those of the scales. */
#ifndef SPATE_FORMAT_PACKED_BLOCKS_H
#define SPATE_FORMAT_PACKED_BLOCKS_H

#include "format/packed_matrix.h"

/* The blocks' shape and type; fills rows and cols. */
bool packed_blocks_check(struct packed_matrix *matrix, struct error *error);
/* The scales', which are there, against the blocks'. */
bool packed_block_scales_check(const struct packed_matrix *matrix, struct error *error);

/* Whether the tensor is of the type; the sentence names both. */
bool packed_type_check(const struct tensor *tensor, enum tensor_type wanted, struct error *error);

#endif
