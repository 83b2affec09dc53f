/* The tensors of a file that torch.save has written (pytorch_model.bin): a ZIP archive with a pickle that lists them
 * and an entry for each storage. Tensors are views of the mapped file; no code of the pickle runs (pickle.h). */
#ifndef SPATE_FORMAT_TORCH_FILE_H
#define SPATE_FORMAT_TORCH_FILE_H

#include "base/arena.h"
#include "base/error.h"
#include "format/tensor.h"

/* Fills the table from the file's bytes; its memory comes from the arena. Tensors may share bytes, as tied weights
 * do. */
bool torch_file_read(struct slice file, struct tensor_table *table, struct arena *arena, struct error *error);

#endif
